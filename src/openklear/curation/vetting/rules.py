"""What a problem must pass before it is trained on with verifiable rewards (report, section 2.2).

Each rule is a pure function of a row and of what graded responses to it say; it answers with a reason and a detail, or
with None. A response that could not be scored says nothing: it is left out of every count, and a problem without any
scorable response is dropped with a reason of its own, since vetting asks for evidence and there is none.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from openklear.curation.rules.filters import Judge
from openklear.curation.vetting.difficulty import pass_rates
from openklear.data.rows import Dropped, Row, normalise
from openklear.types import AnyTest, Attempt, Outcome, Verdict
from openklear.verifiers.domains import DOMAINS

MIN_TESTS = 16
CODE_PASS_RATE = 0.5
"""As published: fewest tests of a code problem; the teacher's mean pass rate must be above this."""
KEPT_TESTS = 0.5
"""Share of its tests that a reference solution must pass for the tests, and not it, to be at fault (ours)."""

Reason = tuple[str, str] | None


@dataclass(frozen=True, slots=True)
class Response:
    """A graded response to a problem."""

    key: str
    """The problem: its normalised prompt (`rows.prompt_key`)."""
    sample: int
    """Which response to it."""
    correct: bool | None
    """None: unscorable."""
    passed: int
    total: int
    """Tests passed of all tests, with every test run (not `stop_early`); 1 of 1 or 0 of 1 in mathematics."""
    answer: str | None = None
    """What it answers, where something could be extracted."""


def by_problem(responses: Iterable[Response]) -> dict[str, list[Response]]:
    """Key -> its responses by sample."""
    found: dict[str, list[Response]] = {}
    for response in responses:
        found.setdefault(response.key, []).append(response)
    return {key: sorted(some, key=lambda response: response.sample) for key, some in found.items()}


def too_few_tests(row: Row, minimum: int = MIN_TESTS) -> Reason:
    """Code problems with fewer tests than the minimum; a program that is wrong must have a chance to be found out."""
    if not DOMAINS[row.problem.domain].tested or len(row.problem.tests) >= minimum:
        return None
    return "too few tests", f"{len(row.problem.tests)}; at least {minimum}"


def teacher_fails(row: Row, responses: Sequence[Response], code_pass_rate: float = CODE_PASS_RATE) -> Reason:
    """The teacher's evidence that a problem can be graded: `low_pass_rate` for code, `no_agreement` for mathematics."""
    tested = DOMAINS[row.problem.domain].tested
    return low_pass_rate(responses, code_pass_rate) if tested else no_agreement(responses)


def low_pass_rate(responses: Sequence[Response], above: float = CODE_PASS_RATE) -> Reason:
    """Code: the mean over the responses of the share of passed tests must be above `above`.

    The report writes "pass@16 above 0.5" for 16 responses; a mean is what its figure 4 and its threshold make sense
    of, since a pass@16 of 16 responses is 0 or 1. A response without a program passed nothing.
    """
    if missing := _no_evidence(responses):
        return missing
    shares = [one.passed / one.total if one.total else 0.0 for one in responses if one.correct is not None]
    mean = sum(shares) / len(shares)
    return None if mean > above else ("low pass rate", f"{mean:.3f} over {len(shares)}; above {above:g} is asked for")


def no_agreement(responses: Sequence[Response]) -> Reason:
    """Mathematics: the answer that most responses give must be the reference's, by the verifier.

    The report keeps what "the majority" of 16 responses passes; we read: the most frequent answer is correct. Correct
    responses have one answer, however they write it; wrong ones agree where their texts are the same but for case and
    blanks, and responses without an answer agree with nobody. A tie is no majority. (So equal wrong answers in two
    spellings count apart: the verifier compares with the reference alone.)
    """
    if missing := _no_evidence(responses):
        return missing
    scorable = [one for one in responses if one.correct is not None]
    right = sum(one.correct is True for one in scorable)
    wrong = Counter(normalise(one.answer) for one in scorable if not one.correct and one.answer)
    answer, votes = max(wrong.items(), key=lambda item: (item[1], item[0])) if wrong else ("", 0)
    if right > votes:
        return None
    if not right and not votes:
        return "no majority", f"none of {len(scorable)} responses has an answer"
    told = f"{right} of {len(scorable)} correct, {votes} say {answer}"
    return ("no majority" if right == votes else "the majority is wrong"), told


def outside_window(responses: Sequence[Response], low: float = 0.0, high: float = 1.0) -> Reason:
    """The policy's own pass rate must lie between `low` and `high`, both left out: (0, 1) drops all right, all wrong.

    Such groups have no advantage (figure 5), whatever the reward. Right is a correct verdict: all tests passed.
    """
    if missing := _no_evidence(responses):
        return missing
    (one,) = pass_rates([replace(response, key="") for response in responses]).values()
    rate = one.correct / one.total
    told = f"{one.correct} of {one.total}"
    if rate <= low:
        return ("never solved by the policy" if not one.correct else "too hard for the policy"), told
    if rate >= high:
        return ("always solved by the policy" if one.correct == one.total else "too easy for the policy"), told
    return None


def _no_evidence(responses: Sequence[Response]) -> Reason:
    if not responses:
        return "no responses", ""
    if all(one.correct is None for one in responses):
        return "no scorable response", f"{len(responses)} responses"
    return None


@dataclass(frozen=True, slots=True)
class FaultyTest:
    """A test that the problem's own solution does not pass."""

    where: str
    index: int
    """Its place among the row's tests as they were, from 0."""
    test: AnyTest
    why: str


@dataclass(frozen=True, slots=True)
class Checked:
    """Rows whose solutions pass, some with fewer tests than before; the rows that go; and the tests that went."""

    kept: tuple[Row, ...]
    dropped: tuple[Dropped, ...]
    faulty: tuple[FaultyTest, ...]


def check_solutions(rows: Sequence[Row], judge: Judge, share: float = KEPT_TESTS) -> Checked:
    """Run the rows' own solutions against their tests; drop tests that a sound solution fails, or the row.

    A solution that passes at least `share` of its tests is believed, and those it fails go. One that passes fewer,
    or none, shows that the problem or the solution is broken: which of them nobody can say, and the row goes. A test
    that cannot be judged is not passed: a reward must not hang on it. Rows of mathematics and rows without a solution
    stay as they are. The judge is asked once about all solutions, and once more about each test of those that fail.
    """
    tested = [row for row in rows if DOMAINS[row.problem.domain].tested and row.problem.tests]
    asked = [row for row in tested if row.solution is not None]
    failing = [row for row, verdict in _judged(asked, judge) if not verdict.correct]
    single = [_alone(row, test) for row in failing for test in row.problem.tests]
    verdicts = iter(_judged(single, judge))
    found = {id(row): [next(verdicts)[1] for _ in row.problem.tests] for row in failing}
    kept: list[Row] = []
    dropped: list[Dropped] = []
    faulty: list[FaultyTest] = []
    for row in rows:
        if id(row) not in found:
            kept.append(row)
        elif reason := _broken(found[id(row)], share):
            dropped.append(Dropped(row, *reason))
        else:
            kept.append(_sound(row, found[id(row)]))
            faulty += _faulty(row, found[id(row)])
    return Checked(tuple(kept), tuple(dropped), tuple(faulty))


def _judged(rows: Sequence[Row], judge: Judge) -> list[tuple[Row, Verdict]]:
    attempts = [Attempt(row.problem, row.solution or "", exact=True) for row in rows]
    return list(zip(rows, judge(attempts) if attempts else (), strict=True))


def _alone(row: Row, test: AnyTest) -> Row:
    return replace(row, problem=replace(row.problem, tests=(test,)))


def _broken(verdicts: Sequence[Verdict], share: float) -> Reason:
    """Why a row whose solution failed cannot be mended."""
    passed = sum(verdict.correct for verdict in verdicts)
    bad = next(verdict for verdict in verdicts if not verdict.correct) if passed < len(verdicts) else None
    if bad is None:  # it fails the tests together and none of them alone: its time, or chance
        return "solution passes only sometimes", f"{passed} of {passed} alone, not together"
    unscorable = next((one for one in verdicts if one.outcome is Outcome.UNSCORABLE), None)
    if unscorable is not None and not passed:
        return "solution cannot be graded", unscorable.reason
    if not passed:
        return "solution fails every test", bad.reason
    told = f"{passed} of {len(verdicts)} passed; {bad.reason}"
    return None if passed >= share * len(verdicts) else ("solution fails too many tests", told)


def _sound(row: Row, verdicts: Sequence[Verdict]) -> Row:
    tests = tuple(test for test, verdict in zip(row.problem.tests, verdicts, strict=True) if verdict.correct)
    return replace(row, problem=replace(row.problem, tests=tests))


def _faulty(row: Row, verdicts: Sequence[Verdict]) -> list[FaultyTest]:
    return [
        FaultyTest(row.where, index, test, verdict.reason)
        for index, (test, verdict) in enumerate(zip(row.problem.tests, verdicts, strict=True))
        if not verdict.correct
    ]
