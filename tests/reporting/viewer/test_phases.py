"""A phase of RL as the page is told it, from files alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from openklear.data.store import prepared
from openklear.errors import DataError
from openklear.models.tiny import make_tokenizer
from openklear.reporting.texts import visible
from openklear.reporting.viewer.answers import Answers
from openklear.reporting.viewer.phases import PhaseView, spelled


def test_an_iteration_by_group_with_reward_and_advantage(stage: Path) -> None:
    view = PhaseView(stage)
    found = view.overview()
    assert (found["iterations"], found["kept"], found["weights"]) == ([7], [7], [])
    assert (found["curves"]["reward"], found["curves"]["entropy"]) == ([0.5], [None])
    assert found["objective"] == "gppo"
    assert found["band"] == pytest.approx((0.8, 1.28))
    groups = view.iteration(7)["groups"]
    assert [(one["group"], one["problem"], one["title"]) for one in groups] == [(0, "p0", "0?"), (1, "p1", "1?")]
    assert [one["advantage"] for group in groups for one in group["rollouts"]] == [None, None, None, 0.5, -0.5, 0.0]
    assert [one["truncated"] for one in groups[0]["rollouts"]] == [True, False, False]
    assert {one["length"] for group in groups for one in group["rollouts"]} == {4}


def test_a_rollout_token_by_token(stage: Path) -> None:
    view = PhaseView(stage)
    raised, lowered, level = (view.rollout(7, 1, sample) for sample in range(3))
    assert raised["before"] == {"kinds": ".hn.", "ratios": pytest.approx([1, 2, 0.5, 1], abs=1e-3)}
    assert lowered["before"]["kinds"] == ".nl."
    assert level["before"]["kinds"] == ".nn."
    assert view.rollout(7, 0, 0)["before"] is None, "it was in no update"
    assert len(raised["tokens"]) == len(raised["logprobs"]) == 4
    assert raised["tokens"] == ["7", "+", "1", "\ufffd"], "the last one is a third of a character"
    assert raised["parts"] == [("thought", "<think>7+1</think>"), ("text", "⟨U+202E⟩")]
    assert (raised["prompt"], raised["reference"]) == ([("user", "1?")], "1")


def test_a_character_of_several_tokens_stands_at_its_last() -> None:
    tokenizer = make_tokenizer()
    for text in ("7+é=日本 \U0001f469\u200d\U0001f469!", "plain", "", "\u202e"):
        ids = tokenizer.encode(text)
        found = spelled(ids, tokenizer.decode)
        assert len(found) == len(ids)
        assert "".join(found) == visible(text)
        assert not any("\ufffd" in one for one in found)
    cut = tokenizer.encode("日")[:2]
    assert spelled([*cut, *tokenizer.encode("ab")], tokenizer.decode)[-1] == "b"


def test_what_is_not_there_is_said(stage: Path) -> None:
    view = PhaseView(stage)
    with pytest.raises(DataError, match="not on disk"):
        view.iteration(8)
    with pytest.raises(DataError, match="no rollout 9 in group 1"):
        view.rollout(7, 1, 9)
    with pytest.raises(DataError, match="weights after iteration 7 are not"):
        view.clip(7, 1, 0)
    with pytest.raises(DataError, match="in no update"):
        view.clip(7, 0, 0)
    (stage / "iterations" / "000007" / "rollouts.parquet").write_bytes(b"PAR1 damaged")
    with pytest.raises(DataError, match="cannot be read"):
        view.iteration(7)


def test_without_recipe_problems_or_tokenizer_the_rest_is_shown(stage: Path) -> None:
    for path in (stage.parent / "recipe.toml", stage / "model" / "tokenizer.json"):
        path.unlink()
    prepared(stage.parent / "prepare").problems.write_bytes(b"damaged")
    view = PhaseView(stage)
    assert view.overview()["band"] is None
    found = view.rollout(7, 1, 0)
    assert (found["tokens"], found["before"], found["prompt"]) == (None, None, [])
    assert found["parts"]
    (item,) = Answers([stage.parent]).listed()["items"]
    assert (item["kind"], item["iterations"], item["kept"], item["last"]["reward"]) == ("phase", 1, 1, 0.5)
