"""The stage `rl-NAME` where rollouts are carried over: recorded, measured, resumed and prolonged in equal bits."""

import hashlib
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from openklear import progress
from openklear.data.store import named_in, write_problems
from openklear.durable.files import read_json, read_jsonl, write_json
from openklear.errors import DataError
from openklear.models.loading import save_model
from openklear.models.numerics import set_up
from openklear.models.tiny import make_tiny
from openklear.recipe.curation import Data
from openklear.recipe.objectives import Truncate
from openklear.recipe.partial import CarryOver, NoCarryOver
from openklear.recipe.schema import Checkpoints, Evaluation, Phase, Recipe, Rl, TinyModel
from openklear.rollout.local import LocalSampler
from openklear.run.context import StageContext
from openklear.stages import rl
from openklear.types import Problem


def problem(number):
    return Problem(f"p{number}", ({"role": "user", "content": f"{number}+1=?"},), "math", answer=str(number + 1))


KEYS = {
    "iterations": 4,
    "problems_per_iteration": 2,
    "group_size": 3,
    "problems_per_update": 1,
    "learning_rate": 1e-2,
    "warmup_steps": 0,
    "max_prompt_tokens": 32,
    "max_completion_tokens": 24,
    "filter_zero_advantage": False,
    "validate_every": 9,
    "save_every": 2,
    "partial_rollouts": CarryOver(extra=1.5, oldest=2),
    "correction": Truncate(),
}


class Killed(Exception):
    """Stands for a kill: nothing catches it, and nothing is written after it."""


class Desk:
    """A stage's inputs, and directories that it runs in again and again."""

    def __init__(self, root: Path) -> None:
        set_up(1)
        self.root = root
        (root / "prepare/data").mkdir(parents=True)
        paths = named_in(root / "prepare/data")
        write_problems(paths.problems, map(problem, range(8)))
        write_problems(paths.validation, [])
        save_model(make_tiny(16, 1, 2, 128, 0), root / "base/model")
        place = root / "base/model/generation_config.json"
        write_json(place, {**read_json(place), "eos_token_id": list(range(1, 22))})  # rollouts end at ragged lengths

    def run(self, name: str, checkpoints: Checkpoints = Checkpoints(keep_last=2), **changes: object) -> Path:  # noqa: B008
        out = self.root / name
        out.mkdir(exist_ok=True)
        phase = Phase(name="math", domains=("math",), **{**KEYS, **changes})
        recipe = Recipe.model_construct(
            seed=0,
            microbatch_tokens=2048,
            model=TinyModel(),
            data=Data.model_construct(source=()),
            sft=None,
            rl=Rl(phase=(phase,)),
            evaluation=Evaluation(max_completion_tokens=4, validation_samples=1),
            checkpoints=checkpoints,
        )
        inputs = {"prepare": self.root / "prepare", "model": self.root / "base"}
        rl.run(StageContext(recipe, self.root, "rl-math", out, inputs))
        return out


@pytest.fixture(scope="module")
def desk(tmp_path_factory):
    progress.quiet(True)
    yield Desk(tmp_path_factory.mktemp("rl"))
    progress.quiet(False)


@pytest.fixture(scope="module")
def undisturbed(desk):
    return digest(desk.run("undisturbed"))


def digest(directory: Path) -> dict[str, str]:
    clocks = {"timings.jsonl", "verdicts.jsonl"}
    files = sorted(p for p in directory.rglob("*") if p.is_file() and p.name not in clocks)
    return {str(p.relative_to(directory)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def dying(monkeypatch: pytest.MonkeyPatch, owner: type, name: str, number: int) -> None:
    """Dies at a call of this attempt."""
    calls, original = [0], getattr(owner, name)

    def patched(self, *args, **kwargs):
        calls[0] += 1
        if calls[0] == number:
            raise Killed
        return original(self, *args, **kwargs)

    monkeypatch.setattr(owner, name, patched)


def table(directory: Path, number: int, name: str = "rollouts"):
    return pq.read_table(directory / f"iterations/{number:06d}/{name}.parquet").to_pylist()


def test_every_iteration_trains_on_its_number_of_problems_and_records_the_policy_of_every_token(desk, undisturbed):
    out, mixed = desk.root / "undisturbed", 0
    for row in read_jsonl(out / "metrics.jsonl"):
        number = row["iteration"]
        rollouts = table(out, number)
        assert row["rollouts"] == len(rollouts) == 2 * 3
        assert {r["group"] for r in table(out, number, "carried")} == {0, 1, 2}  # 2 + ceil(2 * 1.5) under way
        assert row["carried_problems"] == 3
        ages = []
        for rollout in rollouts:
            versions = rollout["token_versions"] or [rollout["policy_version"]] * len(rollout["token_ids"])
            assert versions[-1] == rollout["policy_version"]
            mixed += rollout["token_versions"] is not None
            ages += [number - 1 - version for version in versions]
        assert row["carried_tokens"] == pytest.approx(np.mean(np.array(ages) > 0))
        assert row["staleness_mean"] == pytest.approx(np.mean(ages))
        assert row["staleness_max"] == max(ages) <= 2
        if "gap_k3" in row:
            assert row["gap_k3"] < 1e-6, "fresh tokens alone: sampler and trainer compute the same model"
        if row["carried_tokens"]:
            assert row["carried_k3"] > 1e-6, "carried ones are of other weights"
    assert mixed, "some rollout was drawn from several policies, or nothing here says anything"


def test_old_logprobs_are_those_of_the_weights_before_the_updates_and_the_samplers_those_of_each_draw(
    desk, undisturbed
):
    """So that the ratio begins at one and the correction weighs what the weights have moved since the draw."""
    apart = same = 0
    for number in range(1, 5):
        for rollout in table(desk.root / "undisturbed", number):
            for old, sampled, version in zip(
                rollout["old_logprobs"],
                rollout["logprobs"],
                rollout["token_versions"] or [rollout["policy_version"]] * len(rollout["token_ids"]),
                strict=True,
            ):
                if version == number - 1:
                    same += 1
                    assert old == pytest.approx(sampled, abs=1e-5)
                else:
                    apart += abs(old - sampled) > 1e-5
    assert same
    assert apart


@pytest.mark.long
def test_no_problem_is_lost_or_trained_twice(desk):
    """Of eight problems three are under way at once: in three iterations seven are begun, and each is there once."""
    out = desk.run("whole", iterations=3, partial_rollouts=CarryOver(extra=0.5, oldest=9))
    found = [rollout["problem_id"] for number in (1, 2, 3) for rollout in table(out, number)]
    found += [rollout["problem_id"] for rollout in table(out, 3, "carried")]
    assert sorted(Counter(found).values()) == [3] * 7


CALLS = [(LocalSampler, "sample", n) for n in (2, 3, 4, 5)] + [  # the first is the probe's
    (torch.optim.Optimizer, "zero_grad", n) for n in (1, 2, 3, 5, 6, 8)
]


@pytest.mark.parametrize(
    "call",
    [
        CALLS[2],
        *(pytest.param(one, marks=pytest.mark.long) for n, one in enumerate(CALLS) if n != 2),
    ],
    ids=lambda call: f"{call[1]}-{call[2]}",
)
def test_killed_anywhere_it_ends_with_the_bits_of_an_undisturbed_phase(desk, undisturbed, call, monkeypatch):
    name = f"killed-{call[1]}-{call[2]}"
    with monkeypatch.context() as patch:
        dying(patch, *call)
        with pytest.raises(Killed):
            desk.run(name)
    assert digest(desk.run(name)) == undisturbed


@pytest.mark.long
def test_prolonged_it_ends_with_the_bits_of_a_phase_that_long(desk, undisturbed):
    desk.run("prolonged", iterations=2)
    found = digest(desk.run("prolonged"))
    assert found == undisturbed


@pytest.mark.long
def test_a_damaged_checkpoint_goes_back_to_what_was_under_way_then(desk, undisturbed):
    out = desk.run("damaged", Checkpoints(keep_last=2, keep_rollouts=1))
    newest = out / "checkpoints/000004/model.safetensors"
    newest.write_bytes(newest.read_bytes()[:-1] + b"\x01")
    assert not (out / "iterations/000002/rollouts.parquet").exists()
    again = digest(desk.run("damaged", Checkpoints(keep_last=2, keep_rollouts=1)))
    for name in ("model/model.safetensors", "metrics.jsonl", "iterations/000004/carried.parquet"):
        assert again[name] == undisturbed[name]
    assert not (out / "iterations/000001/carried.parquet").exists(), "no checkpoint goes back that far"


def test_what_was_under_way_and_is_gone_stops_the_phase_with_the_remedy(desk, monkeypatch):
    with monkeypatch.context() as patch:
        dying(patch, LocalSampler, "sample", 5)
        with pytest.raises(Killed):
            desk.run("gone")
    (desk.root / "gone/iterations/000003/carried.parquet").unlink()
    with pytest.raises(DataError, match=r"000003/carried\.parquet is gone, and with it 3 problems.*restore it"):
        desk.run("gone")


@pytest.mark.long
def test_a_fork_without_carrying_over_says_what_it_leaves(desk, monkeypatch):
    desk.run("fork", iterations=2)
    said = []
    monkeypatch.setattr(progress, "say", said.append)
    desk.run("fork", iterations=3, partial_rollouts=NoCarryOver())
    assert [line for line in said if "3 problems that were under way are left aside" in line]
    assert "carried_problems" not in read_jsonl(desk.root / "fork/metrics.jsonl")[-1]
    desk.run("fork", iterations=4)
    assert read_jsonl(desk.root / "fork/metrics.jsonl")[-1]["carried_problems"] == 3


def test_what_is_under_way_at_the_end_of_a_phase_is_said(desk, monkeypatch):
    said = []
    monkeypatch.setattr(progress, "say", said.append)
    desk.run("end", iterations=1)
    assert [line for line in said if "3 problems are under way as the phase ends, and are not trained on" in line]


def test_the_speed_of_sampling_counts_the_tokens_drawn_in_the_iteration(desk, undisturbed):
    """Not those of the groups that it trains on, of which some are from earlier iterations."""
    out = desk.root / "undisturbed"
    before: dict[tuple[str, int], int] = {}
    for row in read_jsonl(out / "timings.jsonl")[:2]:  # later ones may have a problem twice under way, from two epochs
        number = row["iteration"]
        rows = [*table(out, number), *table(out, number, "carried")]
        lengths = {(r["problem_id"], r["sample_index"]): len(r["token_ids"]) for r in rows}
        drawn = sum(length - before.get(name, 0) for name, length in lengths.items())
        assert row["sampled_tokens_per_second"] * row["sampling"] == pytest.approx(drawn)
        before = {(r["problem_id"], r["sample_index"]): len(r["token_ids"]) for r in table(out, number, "carried")}
