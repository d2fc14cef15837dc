import importlib
import sys
from types import SimpleNamespace

import pytest

from openklear.errors import RecipeError
from openklear.recipe.reward import CustomReward, KlearReleased, ReportReward
from openklear.rewards import needs_every_test, reward_of
from openklear.think import FormatFault
from openklear.types import Outcome, Verdict

RIGHT = Verdict(Outcome.CORRECT, passed=1, total=1)
WRONG = Verdict(Outcome.INCORRECT, passed=0, total=1)


def code_verdict(passed, total, fault=FormatFault.NONE):
    outcome = Outcome.CORRECT if passed == total else Outcome.INCORRECT
    return Verdict(outcome, passed=passed, total=total, format_fault=fault)


def of_form(verdict, fault):
    return Verdict(verdict.outcome, passed=verdict.passed, total=verdict.total, format_fault=fault)


def test_soft_code_reward_is_the_share_of_tests():
    reward = reward_of(code_verdict(4, 16), "code", ReportReward())
    assert reward.value == 0.25  # the report's own example
    assert reward.parts == {"task": 0.25, "format": 0.0}


def test_hard_code_reward_wants_all_tests():
    hard = ReportReward(code="hard", format_penalty=0.0)
    assert reward_of(code_verdict(15, 16), "code", hard).value == 0.0
    assert reward_of(code_verdict(16, 16), "code", hard).value == 1.0


@pytest.mark.parametrize("rule", ["soft", "hard"])
def test_mathematics_is_binary_whatever_the_code_rule(rule):
    scheme = ReportReward(code=rule, format_penalty=0.3)
    assert reward_of(RIGHT, "math", scheme).value == 1.0
    assert reward_of(WRONG, "math", scheme).value == 0.0


@pytest.mark.parametrize("fault", [fault for fault in FormatFault if fault])
def test_the_penalty_is_taken_off_and_shown(fault):
    reward = reward_of(code_verdict(8, 8, fault), "code", ReportReward(format_penalty=0.25))
    assert reward.value == 0.75
    assert reward.parts == {"task": 1.0, "format": -0.25}
    assert sum(reward.parts.values()) == reward.value


@pytest.mark.parametrize(
    ("verdict", "fault", "value"),
    [
        (RIGHT, FormatFault.NONE, 1.0),
        (WRONG, FormatFault.NONE, -1.0),
        (RIGHT, FormatFault.SEVERAL, -1.0),
        (RIGHT, FormatFault.TEXT_BEFORE, -1.0),
        (WRONG, FormatFault.NO_ANSWER, -1.0),
        (WRONG, FormatFault.NOT_CLOSED, -0.5),  # cut off: punished less than a wrong answer
        (RIGHT, FormatFault.NOT_OPENED, -2.0),
        (WRONG, FormatFault.NOT_OPENED, -2.0),
    ],
)
def test_the_released_numbers_for_mathematics(verdict, fault, value):
    reward = reward_of(of_form(verdict, fault), "math", KlearReleased())
    assert reward.value == value
    assert reward.parts["task"] == (1.0 if verdict.correct else -1.0)
    assert sum(reward.parts.values()) == value


@pytest.mark.parametrize(("passed", "value"), [(0, -1.0), (4, -0.5), (8, 0.0), (16, 1.0)])
def test_the_released_numbers_for_programs(passed, value):
    """The mean of +1 and -1 over the tests, whatever the form."""
    for fault in (FormatFault.NONE, FormatFault.NOT_OPENED):
        assert reward_of(code_verdict(passed, 16, fault), "code", KlearReleased()).value == value


@pytest.mark.parametrize("scheme", [ReportReward(), KlearReleased()])
def test_unscorable_has_no_reward(scheme):
    with pytest.raises(ValueError, match="engine error"):
        reward_of(Verdict(Outcome.UNSCORABLE, "engine error"), "math", scheme)


@pytest.mark.parametrize("scheme", [ReportReward(), KlearReleased()])
def test_a_share_of_no_tests_is_refused(scheme):
    with pytest.raises(ValueError, match="without tests"):
        reward_of(Verdict(Outcome.INCORRECT), "code", scheme)


def test_only_the_hard_reward_may_stop_at_the_first_test_that_fails():
    assert not needs_every_test(ReportReward(code="hard"))
    assert needs_every_test(ReportReward())
    assert needs_every_test(KlearReleased())
    assert needs_every_test(CustomReward(function="a:b"))


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    """A module of a user, with reward functions."""
    folder = tmp_path_factory.mktemp("own")
    (folder / "own_rewards_of_a_test.py").write_text("""
def plain(verdict, domain):
    return 2.0 if verdict.correct and domain == "math" else -verdict.total

def parts(verdict, domain):
    return {"tests": verdict.passed / verdict.total, "form": -0.125 * (str(verdict.format_fault) != "")}

def broken(verdict, domain):
    return verdict.nothing

def nonsense(verdict, domain):
    return "a lot"

def endless(verdict, domain):
    return {"task": float("inf")}

def empty(verdict, domain):
    return {}
""")
    sys.path.insert(0, str(folder))
    importlib.invalidate_caches()
    yield SimpleNamespace(of=lambda name: CustomReward(function=f"own_rewards_of_a_test:{name}"))
    sys.path.remove(str(folder))


def test_a_function_of_the_users_own(own):
    assert reward_of(RIGHT, "math", own.of("plain")).value == 2.0
    reward = reward_of(code_verdict(1, 4, FormatFault.SEVERAL), "code", own.of("plain"))
    assert (reward.value, reward.parts) == (-4.0, {"custom": -4.0})
    reward = reward_of(code_verdict(1, 4, FormatFault.SEVERAL), "code", own.of("parts"))
    assert (reward.value, reward.parts) == (0.125, {"tests": 0.25, "form": -0.125})


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("broken", "it raised AttributeError"),
        ("nonsense", "it returned 'a lot'; return a number"),
        ("endless", "not a finite number"),
        ("empty", "not a finite number"),
    ],
)
def test_its_failures_name_the_key_and_the_row(own, name, words):
    with pytest.raises(RecipeError, match=words) as caught:
        reward_of(RIGHT, "math", own.of(name), "problem sums/7, sample 2")
    place = f'rl.reward.function = "own_rewards_of_a_test:{name}", problem sums/7, sample 2: '
    assert str(caught.value).startswith(place)
