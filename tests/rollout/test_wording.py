"""What a source puts around its problems: in the prompt's ids alone, wherever a problem is asked or trained."""

import pytest

from openklear.errors import RowRefused
from openklear.models.tiny import make_tiny
from openklear.recipe.schema import Sft
from openklear.rollout.encoding import encode_problem, encode_problems
from openklear.rollout.wording import PLAIN, Wording
from openklear.training.demonstrations import RowEncoder
from openklear.types import Demonstration, Problem

USER = {"role": "user", "content": "1+1?"}
SYSTEM = {"role": "system", "content": "own"}
BOTH = Wording(system_prompt="Be kind.", prompt_suffix="Put the answer in \\boxed{}.")


@pytest.fixture(scope="module")
def loaded():
    return make_tiny(16, 1, 2, 256, seed=0)


def problem(source="sums", *before):
    return Problem("p", (*before, USER), "math", answer="2", source=source)


def test_the_words_by_hand():
    assert PLAIN.of([USER]) == (USER,)
    assert BOTH.of([USER]) == (
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": "1+1?\nPut the answer in \\boxed{}."},
    )
    turns = [USER, {"role": "assistant", "content": "2"}, {"role": "user", "content": "sure?"}]
    assert [m["content"] for m in Wording(prompt_suffix="x").of(turns)] == ["1+1?", "2", "sure?\nx"]
    assert Wording(prompt_template="Q: {problem}").of([USER])[0]["content"] == "Q: 1+1?"


def test_a_system_turn_of_the_row_is_not_overruled():
    with pytest.raises(RowRefused, match="leave one of the two out"):
        BOTH.of([SYSTEM, USER])
    assert Wording(prompt_suffix="x").of([SYSTEM, USER])[0] == SYSTEM


def test_the_problem_itself_stays_as_it_is(loaded):
    """Draws are keyed by it, and it is what is recorded and judged."""
    encoded = encode_problem(loaded, problem(), 256, BOTH)
    assert encoded.problem == problem()
    text = "<|system|>Be kind.<|user|>1+1?\nPut the answer in \\boxed{}.<|assistant|>"
    assert loaded.tokenizer.decode(encoded.prompt_ids) == text


def test_each_source_has_its_own_words_and_a_row_that_does_not_fit_is_dropped(loaded):
    problems = [problem("sums"), problem("others"), problem("sums", SYSTEM)]
    kept, dropped = encode_problems(loaded, problems, 256, {"sums": BOTH})
    assert [loaded.tokenizer.decode(one.prompt_ids).startswith("<|system|>") for one in kept] == [True, False]
    assert [one for one, _ in dropped] == [problems[2]]


def test_what_is_trained_follows_the_words_that_are_asked(loaded):
    demonstrations = [Demonstration(problem(source), "<think>a</think>2", source) for source in ("sums", "others")]
    rows = list(RowEncoder(loaded, Sft(), {"sums": BOTH}).rows(demonstrations, pytest.fail))
    asked = [encode_problem(loaded, problem(), 256, wording).prompt_ids for wording in (BOTH, PLAIN)]
    for row, ids in zip(rows, asked, strict=True):
        assert tuple(row.ids[~row.loss_mask].tolist()) == ids
        assert loaded.tokenizer.decode(row.ids[row.loss_mask]) == "<think>a</think>2<|im_end|>"
