"""Forks of an SFT that was stopped at step 12 of 24: no row of any epoch is trained twice or left out."""

import shutil
from collections import Counter

import pytest
from tests.e2e.conftest import MINI

from openklear.durable.files import read_json, read_jsonl, stage_record
from openklear.errors import UsageError
from openklear.recipe.load import load_recipe
from openklear.run.pipeline import run_pipeline
from openklear.training.learner import SupervisedLearner

pytestmark = [pytest.mark.slow, pytest.mark.long]
STOP = 8
BASE = ("sft.batch_tokens=500", "sft.save_every=4")
ADAMW = ("sft.optimizer.type=adamw", "sft.learning_rate=0.003", "sft.min_learning_rate=0.001")


class Watch:
    """What every step was given; stops the run before a step."""

    def __init__(self, stop: int | None = None):
        self.rows: list[tuple[bytes, ...]] = []
        self.rates: list[float] = []
        self.stop = stop

    def __enter__(self):
        self.update = SupervisedLearner.update

        def watched(learner, rows, rate, number):
            if self.stop == len(self.rows):
                raise KeyboardInterrupt
            self.rows.append(tuple(row.ids.tobytes() for row in rows))
            self.rates.append(rate)
            return self.update(learner, rows, rate, number)

        SupervisedLearner.update = watched
        return self

    def __exit__(self, *error):
        SupervisedLearner.update = self.update

    def seen(self) -> Counter:
        return Counter(row for batch in self.rows for row in batch)


@pytest.fixture(scope="module")
def half(tmp_path_factory, finished):
    """A run with everything before SFT taken from the finished one, stopped before step 9; its checkpoint is at 8."""
    root = tmp_path_factory.mktemp("half") / "run"
    root.mkdir()
    for name in ("world", "prepare", "card", "base", "encode", "evaluate-base"):
        shutil.copytree(finished / name, root / name)
    with Watch(STOP) as watch, pytest.raises(KeyboardInterrupt):
        run_pipeline(load_recipe(MINI, BASE), root, through="sft")
    return root, watch


def fork(half, place, *overrides):
    with Watch() as watch:
        run_pipeline(load_recipe(MINI, (*BASE, *overrides)), place, through="sft", fork=half[0])
    return watch


def test_with_a_doubled_batch_every_row_of_every_epoch_is_seen_once(half, tmp_path):
    whole = len(fork(half, tmp_path / "same").rows)
    watch = fork(half, tmp_path / "new", "sft.batch_tokens=1000")
    counts = half[1].seen() + watch.seen()
    assert set(counts.values()) == {2}
    assert len(counts) == read_json(tmp_path / "new" / "sft" / "tokens.json")["trained"]
    assert 0 < len(watch.rows) < whole - 2, "fewer and larger steps"
    assert watch.rates[-1] == pytest.approx(0.002)
    assert watch.rates[0] == pytest.approx(half[1].rates[-1], rel=0.2), "the cosine goes on by share"
    assert [r["step"] for r in read_jsonl(tmp_path / "new" / "sft" / "metrics.jsonl")] == list(
        range(1, STOP + len(watch.rows) + 1)
    )


def test_fewer_epochs_than_were_done_are_refused_and_fewer_that_remain_are_not(half, tmp_path):
    watch = fork(half, tmp_path / "one", "sft.epochs=1")
    assert set((half[1].seen() + watch.seen()).values()) == {1}
    (tmp_path / "two").mkdir()
    root = tmp_path / "two" / "run"
    shutil.copytree(half[0], root)
    with Watch(6) as more, pytest.raises(KeyboardInterrupt):  # into the second epoch
        run_pipeline(load_recipe(MINI, BASE), root, through="sft")
    assert len(more.rows) == 6
    with pytest.raises(
        UsageError, match=r"epochs done in .*: 1, so sft\.epochs = 1 \(it was 2\) leaves nothing to train"
    ):
        run_pipeline(load_recipe(MINI, (*BASE, "sft.epochs=1")), tmp_path / "late", through="sft", fork=root)


@pytest.mark.parametrize("change", ["sft.max_tokens=195", "sft.overlong=cut"])
def test_other_rows_begin_the_stage_anew(change, half, tmp_path, capsys):
    watch = fork(half, tmp_path / "new", change)
    assert (
        f"its place means nothing here: another {change.partition('=')[0]} means other rows" in capsys.readouterr().err
    )
    assert set(watch.seen().values()) == {2}


def test_adapters_in_place_of_all_weights_begin_the_stage_anew(half, tmp_path, capsys):
    """And another rank in place of one; what does not change the adapters leaves a place for them."""
    adapters = ("lora.rank=2", "lora.targets=['q_proj']")
    watch = fork(half, tmp_path / "new", *adapters)
    said = capsys.readouterr().err
    assert "another lora.rank and lora.alpha and lora.targets means that other weights are trained" in said
    assert set(watch.seen().values()) == {2}
    root = tmp_path / "two" / "run"
    root.parent.mkdir()
    shutil.copytree(half[0], root, ignore=shutil.ignore_patterns("sft"))
    with Watch(STOP) as begun, pytest.raises(KeyboardInterrupt):
        run_pipeline(load_recipe(MINI, (*BASE, *adapters)), root, through="sft")
    faster = fork((root, begun), tmp_path / "faster", *adapters, "sft.learning_rate=0.05")
    assert set((begun.seen() + faster.seen()).values()) == {2}
    other = fork((root, begun), tmp_path / "wider", *adapters, "lora.rank=3")
    assert "another lora.rank means that other weights are trained" in capsys.readouterr().err
    assert set(other.seen().values()) == {2}


def test_another_optimizer_begins_its_moments_anew_and_another_rate_keeps_them(half, tmp_path, capsys):
    fork(half, tmp_path / "kept", "sft.learning_rate=0.01", "sft.optimizer.momentum=0.9")
    assert "moments begin anew" not in capsys.readouterr().err
    watch = fork(half, tmp_path / "new", *ADAMW)
    said = capsys.readouterr().err
    assert "the optimizer's moments begin anew: those saved are of Muon and AdamW, and this is AdamW" in said
    assert set((half[1].seen() + watch.seen()).values()) == {2}
    assert stage_record(tmp_path / "new" / "sft")["state"] == "finished"


def test_a_fork_that_is_stopped_goes_on_with_the_same_bits(half, tmp_path):
    larger = ("sft.batch_tokens=900",)
    fork(half, tmp_path / "whole", *larger)
    with Watch(3), pytest.raises(KeyboardInterrupt):
        run_pipeline(load_recipe(MINI, (*BASE, *larger)), tmp_path / "parts", through="sft", fork=half[0])
    run_pipeline(load_recipe(MINI, (*BASE, *larger)), tmp_path / "parts", through="sft")
    for name in ("model/model.safetensors", "metrics.jsonl"):
        assert (tmp_path / "whole" / "sft" / name).read_bytes() == (tmp_path / "parts" / "sft" / name).read_bytes()
