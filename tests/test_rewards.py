import pytest

from openklear.rewards import reward_of
from openklear.types import Outcome, Verdict


def code_verdict(passed, total, *, well_formed=True):
    outcome = Outcome.CORRECT if passed == total else Outcome.INCORRECT
    return Verdict(outcome, passed=passed, total=total, well_formed=well_formed)


def test_soft_code_reward_is_the_share_of_tests():
    reward = reward_of(code_verdict(4, 16), "code", code="soft", format_penalty=0.5)
    assert reward.value == 0.25  # the report's own example
    assert reward.parts == {"task": 0.25, "format": 0.0}


def test_hard_code_reward_wants_all_tests():
    assert reward_of(code_verdict(15, 16), "code", code="hard", format_penalty=0.0).value == 0.0
    assert reward_of(code_verdict(16, 16), "code", code="hard", format_penalty=0.0).value == 1.0


def test_mathematics_is_binary_whatever_the_code_rule():
    right = Verdict(Outcome.CORRECT, passed=1, total=1)
    wrong = Verdict(Outcome.INCORRECT, passed=0, total=1)
    for rule in ("soft", "hard"):
        assert reward_of(right, "math", code=rule, format_penalty=0.3).value == 1.0
        assert reward_of(wrong, "math", code=rule, format_penalty=0.3).value == 0.0


def test_the_penalty_is_taken_off_and_shown():
    reward = reward_of(code_verdict(8, 8, well_formed=False), "code", code="soft", format_penalty=0.25)
    assert reward.value == 0.75
    assert reward.parts == {"task": 1.0, "format": -0.25}
    assert sum(reward.parts.values()) == reward.value


def test_unscorable_has_no_reward():
    with pytest.raises(ValueError, match="engine error"):
        reward_of(Verdict(Outcome.UNSCORABLE, "engine error"), "math", code="soft", format_penalty=0.0)


def test_a_soft_reward_without_tests_is_refused():
    with pytest.raises(ValueError, match="without tests"):
        reward_of(Verdict(Outcome.INCORRECT), "code", code="soft", format_penalty=0.0)
