"""From a model directory and prompts to texts."""

from __future__ import annotations

from pathlib import Path

import pytest

from openklear.errors import EngineError, ModelError
from openklear.models.loading import save_model
from openklear.models.tiny import make_tiny
from openklear.rollout.generate import Generated, generate
from openklear.types import StopReason


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("model")
    save_model(make_tiny(32, 2, 4, 64, seed=3), target)
    return target


def ask(directory: Path, prompts: list[str], **changes: object) -> list[list[Generated]]:
    settings = {"count": 2, "temperature": 1.0, "top_p": 1.0, "max_tokens": 12, "seed": 0, **changes}
    return generate(directory, prompts, **settings)


def test_count_completions_of_each_prompt_in_order(directory: Path):
    both = ask(directory, ["1+1=?", "2+3=?"], count=3)
    assert [len(completions) for completions in both] == [3, 3]
    alone = ask(directory, ["2+3=?"], count=3)
    assert alone == both[1:]
    assert len({completion.text for completion in alone[0]}) == 3
    for completion in alone[0]:
        assert completion.stop_reason in (StopReason.STOP, StopReason.LENGTH)
        assert 1 <= completion.tokens <= 12


def test_the_seed_decides(directory: Path):
    assert ask(directory, ["1+1=?"]) == ask(directory, ["1+1=?"])
    assert ask(directory, ["1+1=?"]) != ask(directory, ["1+1=?"], seed=1)


def test_what_cannot_be_done_is_said(directory: Path, tmp_path: Path):
    with pytest.raises(ModelError):
        ask(tmp_path / "nowhere", ["1+1=?"])
    with pytest.raises(EngineError, match="64 positions"):
        ask(directory, ["~" * 80])
