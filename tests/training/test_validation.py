"""What validation says and what it refuses; nothing is sampled here."""

import pytest
from tests.training.test_metrics import LOST, PROBLEM, RIGHT, WRONG, group

from openklear.errors import DataError
from openklear.rollout.encoding import EncodedProblem
from openklear.training.validation import require_choice, scores_of

KEPT = [EncodedProblem(PROBLEM, (1, 2), "")]
LONG = [(PROBLEM, "prompt of 99 tokens; max_prompt_tokens is 9")]


def test_the_best_of_nothing_is_refused():
    with pytest.raises(DataError, match=r"rl-code: .*keep_best.*there are none in its domains"):
        require_choice(True, [], [], "rl-code")
    with pytest.raises(DataError, match=r"all 1 are left out; the first, p: prompt of 99 tokens"):
        require_choice(True, [], LONG, "sft")


def test_what_is_left_chooses():
    require_choice(True, KEPT, LONG, "sft")
    require_choice(False, [], LONG, "sft")


def test_no_score_stands_for_what_could_not_be_scored():
    assert scores_of([group(RIGHT, WRONG, LOST)]) == {"validation_math": 0.5, "validation_score": 0.5}
    assert scores_of([group(LOST)]) == {}
