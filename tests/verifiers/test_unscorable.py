"""House rule 5: where verifiers fail, not answers, the first reason is said and nothing is scored over the rest."""

import importlib
import sys

import pytest
from tests.training.test_metrics import group, rollout

from openklear.errors import RunError, VerifierError
from openklear.types import Message, Outcome, Problem, Test, Verdict
from openklear.verifiers.domains import DOMAINS, Domain, register
from openklear.verifiers.judge import Judge, Limits
from openklear.verifiers.printable import shown
from openklear.verifiers.unscorable import refuse_unscorable, refuse_verdicts

MODULE = "failing_verifiers_of_a_test"
SOURCE = r"""
import time
import numpy

def as_float(problem, completion): return 1.0
def none(problem, completion): return None
def text(problem, completion): return "correct"
def arity(problem): return True
def raises(problem, completion): raise KeyError("no such unit \x1b[31m\nsecond line")
def leaves(problem, completion): raise SystemExit(3)
def hangs(problem, completion): time.sleep(100)
def half_said(problem, completion): return {"reason": "fine"}
def away(problem, completion): return {"outcome": "unscorable", "reason": "the model that judges is away"}
def sometimes(problem, completion):
    if problem["id"] == "0": raise ValueError("odd problem")
    return numpy.bool_(True)
"""
RIGHT, WRONG, LOST = (rollout(one, 0.0) for one in (Outcome.CORRECT, Outcome.INCORRECT, Outcome.UNSCORABLE))


@pytest.fixture(scope="module", autouse=True)
def own(tmp_path_factory):
    place = tmp_path_factory.mktemp("own")
    (place / f"{MODULE}.py").write_text(SOURCE)
    sys.path.insert(0, str(place))
    importlib.invalidate_caches()
    yield
    sys.path.remove(str(place))


def problems(count=3, domain="math"):
    prompt = (Message(role="user", content="1+1"),)
    if domain == "code":
        return [Problem(str(number), prompt, domain, tests=(Test("1", str(number)),)) for number in range(count)]
    return [Problem(str(number), prompt, domain, answer=str(number)) for number in range(count)]


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("as_float", "a result of type float; return True, False or a mapping with an outcome"),
        ("none", "a result of type NoneType"),
        ("text", "a result of type str"),
        ("arity", "TypeError: arity"),
        ("raises", r"no such unit \\x1b\[31m"),
        ("half_said", "the outcome None"),
        ("leaves", "asked twice"),
        ("hangs", "asked twice: no answer in time"),
        ("away", "the model that judges is away"),
    ],
)
def test_a_verifier_that_scores_nothing_is_refused_before_anything_is_sampled(name, reason):
    limits = Limits(workers=2, math_seconds=0.2, graders={"math": f"{MODULE}:{name}"})
    with Judge(limits) as judge, pytest.raises(VerifierError, match=reason) as caught:
        judge.trial(problems())
    assert "3 problems (0, 1, 2)" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_verifier_that_fails_at_some_problems_is_no_reason_to_stop():
    with Judge(Limits(workers=2, graders={"math": f"{MODULE}:sometimes"})) as judge:
        judge.trial(problems())


def test_our_own_verifiers_are_not_tried():
    with Judge(Limits(workers=1)) as judge:
        judge.judge = None  # would be called
        judge.trial(problems() + problems(domain="code"))


def test_a_server_that_is_away_is_said_at_once():
    limits = Limits(workers=2, graders={"code": "http://127.0.0.1:9/"})
    with Judge(limits) as judge, pytest.raises(VerifierError, match=r"127\.0\.0\.1:9/ was asked.*cannot be reached"):
        judge.trial(problems(1, "code"))


class Failing:
    """A verifier of a domain from outside."""

    def __init__(self, limits):
        self.calls = 0

    def grade(self, problem, graded, *, stop_early):
        self.calls += 1
        if problem.id == "0":
            raise ZeroDivisionError("by nothing")
        return {"1": True, "2": Verdict(Outcome.CORRECT, total=1)}[problem.id]

    def close(self):
        pass


def test_a_verifier_of_a_domain_from_outside_may_fail_too():
    register(Domain("odd", "answer", lambda text, _: text, Failing, lambda _: 1.0, lambda *_: ()))
    try:
        with Judge(Limits(workers=1)) as judge, Judge(Limits(workers=1)) as other:
            judge.trial(problems(domain="odd"))  # one of three can be scored
            with pytest.raises(VerifierError, match="asked twice: it raised ZeroDivisionError: by nothing"):
                other.trial(problems(1, "odd"))
            assert judge.verifiers["odd"].calls == 5  # 0 and 1 are asked twice, 2 once
    finally:
        del DOMAINS["odd"]


def test_above_the_share_and_not_at_it():
    two = [group(RIGHT, LOST), group(WRONG, LOST)]
    refuse_unscorable(two, 0.5, "here")
    with pytest.raises(RunError, match=r"here, math: 2 of 4 verdicts are unscorable, above .* = 0\.49"):
        refuse_unscorable(two, 0.49, "here")
    refuse_unscorable([group(LOST, LOST)] * 2, 1.0, "here")


def test_a_problem_of_its_own_does_not_stop_a_run():
    code = group(LOST, LOST)
    object.__setattr__(code, "problem", problems(1, "code")[0])
    refuse_unscorable([group(RIGHT, WRONG), code], 0.5, "here")
    with pytest.raises(RunError, match="here, code"):
        refuse_unscorable([group(RIGHT, WRONG), code, code], 0.5, "here")


def test_it_stops_as_soon_as_that_is_certain():
    lost = Verdict(Outcome.UNSCORABLE, "gone")
    refuse_verdicts([lost] * 5, 10, 0.5, "here")
    with pytest.raises(RunError, match="The first reason: gone"):
        refuse_verdicts([lost] * 6, 10, 0.5, "here")


def test_reasons_are_one_line_and_not_endless():
    assert shown("a\n b\x1b[0m") == "a b\\x1b[0m"
    assert len(shown("x" * 10_000)) < 500
