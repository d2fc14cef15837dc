"""What a person meets who makes a mistake: one message with what, where and what to do; nothing half-written."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pytest
from tests.easy_sources import write_easy_sources

from openklear import progress
from openklear.cli import main
from openklear.models.loading import save_model
from openklear.models.numerics import set_up
from openklear.models.tiny import make_tiny
from openklear.verifiers.pool import WorkerLost
from openklear.verifiers.walls import Boxes

pytestmark = pytest.mark.slow

SRC = Path(__file__).parents[2] / "src"
RECIPE = """
microbatch_tokens = 512

[model]
type = "pretrained"
path = "model"

[data]
correct_only = []
require_format = false
deduplicate = false

[[data.source]]
name = "taught"
path = "sources/demonstrations.jsonl"
role = "demonstrations"

[[data.source]]
name = "problems"
path = "sources/math.jsonl"
role = "problems"

[[data.source]]
name = "heldout"
path = "sources/math-heldout.jsonl"
role = "heldout"

[sft]
epochs = 1
batch_tokens = 600
max_tokens = 200

[rl]
iterations = 1
problems_per_iteration = 2
problems_per_update = 1
group_size = 2
max_prompt_tokens = 128
max_completion_tokens = 8

[[rl.phase]]
name = "math"
domains = ["math"]

[evaluation]
samples = 1
max_completion_tokens = 8
"""


@dataclass
class Desk:
    """A recipe with its data and model, all in order, until a case breaks something."""

    place: Path
    sets: list[str] = field(default_factory=list)

    @property
    def recipe(self) -> Path:
        return self.place / "recipe.toml"

    @property
    def output(self) -> Path:
        return self.place / "run"

    @property
    def model(self) -> Path:
        return self.place / "model"

    def source(self, name: str) -> Path:
        return self.place / "sources" / f"{name}.jsonl"

    def set(self, *overrides: str) -> None:
        self.sets += [word for override in overrides for word in ("--set", override)]

    def edit(self, old: str, new: str) -> None:
        text = self.recipe.read_text()
        assert old in text
        self.recipe.write_text(text.replace(old, new))

    def line(self, name: str, number: int, text: str) -> None:
        """Put another text at a line (from 1) of a source."""
        lines = self.source(name).read_text().splitlines()
        lines[number - 1] = text
        self.source(name).write_text("\n".join(lines) + "\n")

    def each(self, name: str, change: Callable[[dict[str, object]], dict[str, object]]) -> None:
        """Change every row of a source."""
        rows = [change(json.loads(line)) for line in self.source(name).read_text().splitlines()]
        self.source(name).write_text("".join(json.dumps(row) + "\n" for row in rows))

    def arguments(self, command: str = "run", output: Path | None = None) -> list[str]:
        return [command, str(self.recipe), "--output", str(output or self.output), *self.sets]


@pytest.fixture(scope="module")
def in_order(tmp_path_factory):
    place = tmp_path_factory.mktemp("in-order")
    set_up(1)
    write_easy_sources(place / "sources")
    save_model(make_tiny(16, 1, 2, 256, 0), place / "model")
    (place / "recipe.toml").write_text(RECIPE)
    return place


@pytest.fixture
def desk(in_order, tmp_path):
    shutil.copytree(in_order, tmp_path / "desk")
    yield Desk(tmp_path / "desk")
    progress.quiet(False)


# -- recipes


def no_recipe(desk):
    desk.recipe.unlink()


def recipe_is_a_directory(desk):
    desk.recipe.unlink()
    desk.recipe.mkdir()


def malformed_toml(desk):
    desk.edit("epochs = 1", "epochs = = 1")


def unknown_key(desk):
    desk.edit("epochs = 1", "epoch = 1")


def unknown_table(desk):
    desk.edit("[evaluation]", "[evalution]")


def key_of_another_objective(desk):
    desk.set("rl.objective.type=reinforce", "rl.phase.math.objective.clip_low=0.1")


def wrong_type(desk):
    desk.set('sft.epochs="two"')


def heads_do_not_divide(desk):
    desk.edit('type = "pretrained"\npath = "model"', 'type = "tiny"\nhidden_size = 16\nheads = 3')


def update_over_iteration(desk):
    desk.set("rl.problems_per_update=3")


def unknown_phase(desk):
    desk.set("rl.phase.maths.learning_rate=1e-5")


def microbatch_under_sequence(desk):
    desk.set("microbatch_tokens=100")


# -- data


def batch_over_data(desk):
    desk.set("rl.problems_per_iteration=50")


def verifier_returns_no_verdict(desk):
    desk.set("verifiers.graders.math=builtins:print")


def verifier_raises(desk):
    desk.set("verifiers.graders.math=builtins:len")


def reward_raises(desk):
    desk.set("rl.reward.type=custom", "rl.reward.function=builtins:len")


VALIDATION = """
[[data.source]]
name = "validation"
path = "sources/code-validation.jsonl"
role = "validation"

[checkpoints]
keep_best = true
"""


def nothing_to_choose_by(desk):
    desk.edit("[sft]", VALIDATION + "[sft]")


def validation_too_long(desk):
    desk.source("code-validation").write_text(
        '{"prompt": "%s", "answer": "1", "domain": "math", "level": "1"}\n' % ("m" * 150)
    )
    desk.edit("[sft]", VALIDATION + "[sft]")


def no_source(desk):
    desk.source("math").rename(desk.source("maths"))


def malformed_row(desk):
    desk.line("demonstrations", 3, '{"prompt": "m1", "response": ')


def wrong_column(desk):
    desk.each("math", lambda row: {"promt": row.pop("prompt"), **row})


def row_of_wrong_type(desk):
    desk.line("math", 4, '["m1", "1"]')


def column_of_wrong_type(desk):
    desk.each("demonstrations", lambda row: {**row, "response": 12})


def no_rows(desk):
    desk.source("math-heldout").write_text("")


def emptied_by_curation(desk):
    desk.set("data.require_format=true")
    text = desk.source("demonstrations").read_text()
    desk.source("demonstrations").write_text(text.replace("<think>", ""))


def not_parquet(desk):
    desk.edit("sources/math.jsonl", "sources/math.parquet")
    desk.source("math").rename(desk.place / "sources/math.parquet")


def not_utf8(desk):
    path = desk.source("math")
    path.write_bytes(path.read_bytes() + b'{"prompt": "\xff"}\n')


def world_file_without_world(desk):
    desk.edit("sources/math.jsonl", "world:problems/math.jsonl")


# -- models


def no_model(desk):
    desk.model.rename(desk.place / "models")


def no_tokenizer(desk):
    (desk.model / "tokenizer.json").unlink()


def no_config(desk):
    (desk.model / "config.json").unlink()


def torn_weights(desk):
    path = desk.model / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-64])


def noise_for_weights(desk):
    (desk.model / "model.safetensors").write_bytes(b"\x07" * 4000)


def no_chat_template(desk):
    (desk.model / "chat_template.jinja").unlink()


# -- lengths


def prompts_too_long(desk):
    desk.set("rl.max_prompt_tokens=1")


def demonstrations_too_long(desk):
    desk.set("sft.max_tokens=4")


# -- the run directory


def output_is_a_file(desk):
    desk.output.write_text("mine")


def output_of_someone_else(desk):
    (desk.output / "prepare").mkdir(parents=True)
    (desk.output / "prepare" / "thesis.txt").write_text("mine")


@dataclass(frozen=True)
class Case:
    breaks: Callable[[Desk], None]
    code: int
    says: tuple[str, ...]


def case(breaks: Callable[[Desk], None], code: int, *says: str) -> Case:
    return Case(breaks, code, says)


CASES = [
    case(no_recipe, 2, "recipe.toml", "no such file", "give the path of a recipe"),
    case(recipe_is_a_directory, 2, "recipe.toml", "is a directory", "give the path of a recipe"),
    case(malformed_toml, 2, "recipe.toml:29", "malformed TOML", "fix that line"),
    case(unknown_key, 2, "sft.epoch", "did you mean", "epochs"),
    case(unknown_table, 2, "evalution", "did you mean", "evaluation"),
    case(key_of_another_objective, 2, "rl.phase.math.objective.clip_low", "reinforce", "gppo"),
    case(wrong_type, 2, "sft.epochs", "whole number", '"two"'),
    case(heads_do_not_divide, 2, "model.heads", "3 heads do not divide hidden_size 16", "choose a divisor"),
    case(update_over_iteration, 2, "problems_per_update", "3 is above problems_per_iteration 2", "lower"),
    case(unknown_phase, 2, "rl.phase.maths", 'no phase is named "maths"', 'did you mean "math"?'),
    case(microbatch_under_sequence, 2, "microbatch_tokens", "200 (sft.max_tokens)", "raise microbatch_tokens"),
    case(batch_over_data, 2, "RL phase math", "problems_per_iteration = 50", "7 are left for it", "lower it"),
    case(verifier_returns_no_verdict, 1, "builtins:print", "a result of type NoneType", "finished is kept"),
    case(verifier_raises, 1, "builtins:len", "it raised TypeError", "finished is kept"),
    case(reward_raises, 2, "rl.reward.function", "tried on a verdict in math: it raised TypeError", "fix the function"),
    case(nothing_to_choose_by, 2, "RL phase math", "no validation problem in math", "set keep_best to false"),
    case(validation_too_long, 2, "rl-math", "1 of 1 validation", "max_prompt_tokens is 128", "Raise rl.max_prompt"),
    case(no_source, 2, "sources/math.jsonl", "no such file", "the nearest name there is"),
    case(malformed_row, 2, "demonstrations.jsonl:3", "not valid JSON", "correct or remove the line"),
    case(wrong_column, 2, "math.jsonl:1", "as in all of the first", 'is it "promt"?', "rename the columns"),
    case(row_of_wrong_type, 2, "math.jsonl:4", "found an array where a row", "one object per row"),
    case(column_of_wrong_type, 2, "demonstrations.jsonl:1", "response is 12", "a string is expected", "correct"),
    case(no_rows, 2, "math-heldout.jsonl", "holds no rows", "add rows or remove the source"),
    case(emptied_by_curation, 2, "no demonstrations left", "require_format: read 48, kept 0", "loosen this step"),
    case(not_parquet, 2, "math.parquet", "cannot be read as Parquet", "write or download it again"),
    case(not_utf8, 2, "math.jsonl:8", "is not UTF-8", "save the file as UTF-8"),
    case(world_file_without_world, 2, "data.source.problems.path", "there is no [world]", "add [world]"),
    case(no_model, 2, "desk/model", "no such model directory", "correct model.path"),
    case(no_tokenizer, 2, "desk/model", "no tokenizer.json", "Copy the model's tokenizer files"),
    case(no_config, 2, "desk/model", "no config.json", "Correct model.path"),
    case(torn_weights, 2, "desk/model", "the model cannot be loaded", "Copy the directory again"),
    case(noise_for_weights, 2, "desk/model", "the model cannot be loaded", "Copy the directory again"),
    case(no_chat_template, 2, "desk/model", "no chat template", "model.chat_template"),
    case(prompts_too_long, 2, "rl-math would lose", "max_prompt_tokens is 1", "Raise rl.max_prompt_tokens"),
    case(demonstrations_too_long, 2, "lose 48 of 48 demonstrations", "demonstrations.jsonl:1", "Raise sft.max_tokens"),
    case(output_is_a_file, 2, "desk/run", "cannot use", "choose another --output"),
    case(output_of_someone_else, 2, "run/prepare", "is not a stage of a run", "choose another --output"),
]


def told(capsys, arguments: list[str]) -> tuple[int, str]:
    """Exit code and all that the command says on stderr; never a traceback, never a bug of ours."""
    capsys.readouterr()
    code = main.main(arguments)
    out, err = capsys.readouterr()
    said = "\n".join(line for line in err.splitlines() if line)
    for text in (out, said):
        assert "Traceback" not in text
        assert "bug of its own" not in text
    return code, said


def half_written(root: Path) -> list[Path]:
    return [*root.rglob(".partial-*"), *root.rglob("crash-*")] if root.is_dir() else []


def check(case: Case, code: int, said: str) -> None:
    assert code == case.code, said
    for text in case.says:
        assert text in said, f"{text!r} is not in:\n{said}"


@pytest.mark.parametrize("case", CASES, ids=[c.breaks.__name__ for c in CASES])
def test_a_mistake_is_told(case, desk, capsys):
    case.breaks(desk)
    code, said = told(capsys, desk.arguments())
    if os.environ.get("SHOW_MESSAGES"):  # for the documentation: python -m pytest -s
        with capsys.disabled():
            print(f"\n{case.breaks.__name__} -> {code}: {said[-700:]}")
    check(case, code, said)
    assert half_written(desk.output) == []


def test_after_a_row_is_mended_the_same_command_goes_on(desk, capsys):
    whole = desk.source("demonstrations").read_text()
    malformed_row(desk)
    assert told(capsys, desk.arguments("prepare"))[0] == 2
    desk.source("demonstrations").write_text(whole)
    assert told(capsys, desk.arguments("prepare"))[0] == 0
    assert json.loads((desk.output / "prepare/stage.json").read_text())["state"] == "finished"


def test_after_a_model_is_mended_the_same_command_goes_on(desk, in_order, capsys):
    no_tokenizer(desk)
    assert told(capsys, desk.arguments("sft"))[0] == 2
    shutil.copy(in_order / "model/tokenizer.json", desk.model)
    code, said = told(capsys, desk.arguments("sft"))
    assert code == 0, said
    assert "reused, since nothing they depend on changed: prepare" in said
    assert (desk.output / "sft/model/model.safetensors").is_file()


@pytest.mark.parametrize(
    ("command", "mistake", "stage"),
    [
        pytest.param("rl", "rl.max_prompt_tokens=1", "rl-math", marks=pytest.mark.long),
        pytest.param("rl", "sft.max_tokens=4", "sft", marks=pytest.mark.long),
        pytest.param("rl", "data.require_format=true", "prepare", marks=pytest.mark.long),
        ("rl", "sft.max_tokens=5", "encode"),
    ],
)
def test_who_does_as_the_message_says_goes_on(command, mistake, stage, desk, capsys):
    """The stage that stopped has begun under the old recipe, but has done nothing that could be lost."""
    if stage == "prepare":
        emptied_by_curation(desk)
        desk.set('data.correct_only=["*"]')  # its verdicts stand beside the data when the next step finds nothing
    else:
        desk.set(mistake)
        desk.set(f"stop.dropped_share={0.5 if stage == 'encode' else 1.0}")
    code, said = told(capsys, desk.arguments(command))
    assert code == 2, said
    assert json.loads((desk.output / stage / "stage.json").read_text())["state"] == "unfinished"
    desk.sets.clear()
    code, said = told(capsys, desk.arguments(command))
    assert code == 0, said
    assert (desk.output / "rl-math/model/model.safetensors").is_file()


# -- disks, processes, hosts


@contextmanager
def mounted(place: Path, options: str):
    place.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(place)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        pytest.skip(f"no small disk can be mounted here, so this was NOT tested: {done.stderr.strip()}")
    try:
        yield place
    finally:
        subprocess.run(["umount", str(place)], check=True)


BETWEEN = [pytest.param(size, marks=pytest.mark.long) for size in ("48k", "64k", "96k", "300k")]


@pytest.mark.parametrize("size", ["28k", *BETWEEN, "800k"])
def test_a_full_disk(size, desk, capsys, tmp_path):
    """At some sizes a write fails half-way, at others the need is known before."""
    with mounted(tmp_path / "disk", f"size={size}") as disk:
        code, said = told(capsys, desk.arguments(output=disk / "run"))
        assert code == 1, said
        assert str(disk) in said
        assert "no space left on the disk" in said or "are free at" in said
        assert "free some" in said
        assert half_written(disk) == []
        subprocess.run(["mount", "-o", "remount,size=64m", str(disk)], check=True)
        code, said = told(capsys, desk.arguments("prepare", output=disk / "run"))
        assert code == 0, said


def test_a_disk_that_cannot_be_written_to(desk, capsys, tmp_path):
    with mounted(tmp_path / "disk", "ro") as disk:
        code, said = told(capsys, desk.arguments(output=disk / "run"))
    check(case(no_source, 2, "disk/run", "cannot use", "Read-only file system", "choose another --output"), code, said)


def test_a_second_process_on_a_run_directory(desk, capsys):
    hold = "import sys,time,pathlib; from openklear.durable import files\nwith files.lock(pathlib.Path(sys.argv[1])): print('held', flush=True); time.sleep(60)"
    environment = {**os.environ, "PYTHONPATH": str(SRC)}
    command = [sys.executable, "-c", hold, str(desk.output)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as holder:
        try:
            assert holder.stdout is not None
            assert holder.stdout.readline() == "held\n"
            code, said = told(capsys, desk.arguments())
        finally:
            holder.kill()
    check(case(no_source, 1, "desk/run is in use", f"process {holder.pid}", "wait for it or stop it"), code, said)
    assert told(capsys, desk.arguments("prepare"))[0] == 0


def test_isolation_that_this_host_cannot_give(desk, capsys, monkeypatch):
    start = Boxes.start_at

    def denied(self, level):
        if level != "rlimits":
            raise WorkerLost("bwrap: Operation not permitted")
        return start(self, level)

    monkeypatch.setattr(Boxes, "start_at", denied)
    desk.set("verifiers.minimum_isolation=bubblewrap")
    code, said = told(capsys, desk.arguments())
    says = ("minimum_isolation", "bwrap: Operation not permitted", 'minimum_isolation = "rlimits"')
    check(case(no_source, 1, *says), code, said)
    assert half_written(desk.output) == []


@pytest.mark.long
def test_ctrl_c_and_the_same_command_again(desk):
    desk.set("sft.epochs=400", "sft.save_every=1")
    environment = {**os.environ, "PYTHONPATH": str(SRC), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "openklear", *desk.arguments("sft")]
    # A shell's background jobs ignore Ctrl-C and hand that on; here it must arrive, also where the suite is such a job.
    listening = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    start = partial(subprocess.Popen, command, stderr=subprocess.PIPE, text=True, env=environment, preexec_fn=listening)
    with start() as process:
        wait_for(lambda: list((desk.output / "sft").glob("checkpoints/0*")), process)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=120)
    assert process.returncode == 130, said
    assert "interrupted; give the same command again to continue" in said
    assert "Traceback" not in said
    assert half_written(desk.output) == []
    reached = max(int(path.name) for path in (desk.output / "sft/checkpoints").iterdir())
    with start() as process:
        assert process.stderr is not None
        found = next((line for line in process.stderr if "going on after step" in line), "")
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=120)
    assert process.returncode == 130
    assert int(found.split("after step ")[1].split()[0]) == reached


def wait_for(there: Callable[[], object], process: subprocess.Popen[str], seconds: float = 120.0) -> None:
    deadline = time.monotonic() + seconds
    while not there():
        assert process.poll() is None, process.stderr.read() if process.stderr else ""
        assert time.monotonic() < deadline
        time.sleep(0.02)
