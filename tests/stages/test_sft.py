"""The stage `sft`: what is interrupted goes on with the same bits, from rows that are encoded once."""

import hashlib
from pathlib import Path

import pytest
import torch

from openklear import progress
from openklear.data.store import named_in, write_demonstrations, write_problems
from openklear.durable.files import read_json, read_jsonl, write_json
from openklear.errors import RunError
from openklear.models.loading import save_model
from openklear.models.numerics import set_up
from openklear.models.tiny import make_tiny
from openklear.recipe.curation import Data
from openklear.recipe.schema import Checkpoints, Evaluation, Recipe, Sft, TinyModel
from openklear.run.context import StageContext
from openklear.stages import sft
from openklear.training import demonstrations as encoding
from openklear.types import Demonstration, Problem

SETTINGS = Sft(
    epochs=2, batch_tokens=60, max_tokens=30, learning_rate=0.01, min_learning_rate=0.001, warmup_steps=1, save_every=2
)


def demonstration(number):
    problem = Problem(str(number), ({"role": "user", "content": "xy"},), "math", answer="1", source="lessons")
    response = f"<think>{'a' * (number % 7)}</think>{number}" if number % 5 else "z" * 60  # every fifth is too long
    return Demonstration(problem, response, f"d.jsonl:{number}")


class Killed(Exception):
    """Stands for a kill: nothing catches it, and nothing is written after it."""


class Desk:
    """A stage's inputs, and its directory, which is run in again and again."""

    def __init__(self, root: Path) -> None:
        set_up(1)
        self.root = root
        (root / "prepare/data").mkdir(parents=True)
        paths = named_in(root / "prepare/data")
        write_demonstrations(paths.demonstrations, map(demonstration, range(24)))
        write_problems(paths.validation, [demonstration(1).problem])
        save_model(make_tiny(16, 1, 2, 256, 0), root / "base/model")

    def run(self, name: str, settings: Sft = SETTINGS, seed: int = 0) -> Path:
        out = self.root / name
        out.mkdir(exist_ok=True)
        recipe = Recipe.model_construct(
            seed=seed,
            microbatch_tokens=60,
            model=TinyModel(),
            data=Data.model_construct(source=()),
            sft=settings,
            rl=None,
            evaluation=Evaluation(max_completion_tokens=4, validation_samples=1),
            checkpoints=Checkpoints(keep_last=2),
        )
        inputs = {"prepare": self.root / "prepare", "model": self.root / "base"}
        sft.run(StageContext(recipe, self.root, "sft", out, inputs))
        return out


@pytest.fixture(scope="module")
def desk(tmp_path_factory):
    progress.quiet(True)
    yield Desk(tmp_path_factory.mktemp("sft"))
    progress.quiet(False)


@pytest.fixture(scope="module")
def undisturbed(desk):
    return digest(desk.run("undisturbed"))


def digest(directory: Path) -> dict[str, str]:
    clocks = {"timings.jsonl", "verdicts.jsonl"}
    files = sorted(p for p in directory.rglob("*") if p.is_file() and p.name not in clocks)
    return {str(p.relative_to(directory)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def killed_at(step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Dies as it begins this step of the present attempt."""
    begun, zero = [0], torch.optim.Optimizer.zero_grad

    def dying(self, *args, **kwargs):
        begun[0] += 1
        if begun[0] == step:
            raise Killed
        return zero(self, *args, **kwargs)

    monkeypatch.setattr(torch.optim.Optimizer, "zero_grad", dying)


def interrupted(desk, name, step, monkeypatch):
    with monkeypatch.context() as patch:
        killed_at(step, patch)
        with pytest.raises(Killed):
            desk.run(name)


def steps(desk, undisturbed) -> int:
    return len(read_jsonl(desk.root / "undisturbed/metrics.jsonl"))


def test_epochs_are_cut_into_steps_and_what_is_dropped_is_written_down(desk, undisturbed):
    assert steps(desk, undisturbed) > 6, "several steps in an epoch, or nothing here says anything"
    counts = read_json(desk.root / "undisturbed/tokens.json")
    assert (counts["demonstrations"], counts["trained"], counts["dropped"]) == (24, 19, 5)
    dropped = read_jsonl(desk.root / "undisturbed/dropped.jsonl")
    assert [row["where"] for row in dropped] == [f"d.jsonl:{n}" for n in range(0, 24, 5)]
    assert not (desk.root / "undisturbed/rows").exists(), "what only training needed goes with its end"


@pytest.mark.parametrize("share", [0.6, *(pytest.param(n / 13, marks=pytest.mark.long) for n in range(1, 13))])
def test_killed_at_any_step_it_ends_with_the_bits_of_an_undisturbed_stage(desk, undisturbed, share, monkeypatch):
    step = max(1, round(share * steps(desk, undisturbed)))
    name = f"killed-{step}-{share}"
    interrupted(desk, name, step, monkeypatch)
    interrupted(desk, name, 1, monkeypatch)  # and again, before anything new was done
    assert digest(desk.run(name)) == undisturbed


def test_rows_are_encoded_once_however_often_the_stage_begins(desk, undisturbed, monkeypatch):
    encoded = []
    original = encoding.encode_row
    monkeypatch.setattr(encoding, "encode_row", lambda *args: encoded.append(args[1].where) or original(*args))
    for step in (1, 3, 2):
        interrupted(desk, "once", step, monkeypatch)
    assert digest(desk.run("once")) == undisturbed
    assert len(encoded) == 24


@pytest.mark.parametrize("name", ["tokens.bin", "ends.bin"])
def test_damaged_rows_are_said_and_encoded_again(desk, undisturbed, name, monkeypatch):
    interrupted(desk, f"damaged-{name}", 5, monkeypatch)
    path = desk.root / f"damaged-{name}" / "rows" / name
    path.write_bytes(path.read_bytes()[:-1] + b"\x7f")
    said = []
    monkeypatch.setattr(progress, "say", said.append)
    assert digest(desk.run(f"damaged-{name}")) == undisturbed
    assert [line for line in said if f"{name} is not what was written; the rows are encoded again" in line]


def test_rows_of_other_settings_are_not_believed(desk, monkeypatch):
    """As a fork would find them: with another limit there are other rows, and the place among them means nothing."""
    interrupted(desk, "other", 5, monkeypatch)
    with pytest.raises(RunError, match="other rows"):
        desk.run("other", SETTINGS.model_copy(update={"max_tokens": 12}))
    write_json(
        desk.root / "other/stage.json", {"state": "unfinished", "fingerprint": "", "parts": {"code": {"a": "b"}}}
    )
    said = []
    monkeypatch.setattr(progress, "say", said.append)
    desk.run("other")
    assert [line for line in said if "by other code; the rows are encoded again" in line]


def test_what_fails_while_encoding_leaves_no_half_of_anything(desk, monkeypatch):
    def failing(speaker, demo, wording):
        if demo.problem.id == "9":
            raise Killed
        return original(speaker, demo, wording)

    original = encoding.encode_row
    monkeypatch.setattr(encoding, "encode_row", failing)
    with pytest.raises(Killed):
        desk.run("half")
    assert list((desk.root / "half").iterdir()) == []
