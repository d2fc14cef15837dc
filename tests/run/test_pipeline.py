import ast
import importlib
import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file
from tests import fake_run
from tests.fake_run import digest, go, recipe

from openklear.durable import files as rundir
from openklear.errors import (
    DataError,
    NoSpace,
    ProcessLost,
    RankLost,
    RunError,
    RunLocked,
    StageChanged,
    UsageError,
)
from openklear.recipe.curation import Data, Source
from openklear.recipe.schema import Evaluation, Phase, PretrainedModel, Recipe, Rl, Sft, TinyModel, World
from openklear.run import manifest as manifests
from openklear.run.fingerprint import closure, fingerprint
from openklear.run.pipeline import LOST, plan, plan_parts, run_pipeline
from openklear.run.plan import Stage, select, stages
from openklear.run.record import settled

TESTS = Path(__file__).parents[1]


def small_recipe(phases: tuple[str, ...] = ("math", "code")) -> Recipe:
    source = tuple(
        Source(name=role, path=f"world:{role}.jsonl", role=role)
        for role in ("heldout", "validation", "demonstrations", "problems")
    )
    rl = Rl(
        phase=tuple(
            Phase(name=n, domains=(n.removesuffix("2"),), max_prompt_tokens=64, max_completion_tokens=64)
            for n in phases
        )
    )
    return Recipe(
        world=World(),
        model=TinyModel(),
        data=Data(source=source),
        sft=Sft(max_tokens=128),
        rl=rl,
        evaluation=Evaluation(max_completion_tokens=64),
    )


def changed(of: Recipe, path: str, value) -> Recipe:
    """The recipe with one key changed, unchecked; phases by name."""
    head, _, rest = path.partition(".")
    if head == "rl":
        _, name, key = rest.split(".")
        phases = tuple(p.model_copy(update={key: value}) if p.name == name else p for p in of.rl.phase)
        return of.model_copy(update={"rl": Rl(phase=phases)})
    if not rest:
        return of.model_copy(update={head: value})
    return of.model_copy(update={head: changed(getattr(of, head), rest, value)})


# ---- the stages of a recipe


def test_stages_stand_in_order_and_models_are_handed_on():
    every = {s.name: s for s in stages(small_recipe())}
    assert list(every) == [
        *("world", "prepare", "card", "base", "encode", "evaluate-base", "sft", "evaluate-sft"),
        *("rl-math", "evaluate-rl-math", "rl-code", "evaluate-rl-code", "report"),
    ]
    models = {name: stage.inputs["model"] for name, stage in every.items() if "model" in stage.inputs}
    assert models == {
        "encode": "base",
        "evaluate-base": "base",
        "sft": "base",
        "evaluate-sft": "sft",
        "rl-math": "sft",
        "evaluate-rl-math": "rl-math",
        "rl-code": "rl-math",
        "evaluate-rl-code": "rl-code",
    }
    assert [s.name for s in every.values() if s.model] == ["base", "sft", "rl-math", "rl-code"]
    assert every["prepare"].inputs == {"world": "world"}
    assert set(every["report"].inputs.values()) == set(every) - {"report"}
    for stage in every.values():
        assert importlib.util.find_spec(stage.module.rpartition(".")[0]) is not None


def test_a_recipe_without_world_and_sft_has_fewer_stages():
    shorter = small_recipe(("math",)).model_copy(update={"world": None, "sft": None})
    every = {s.name: s for s in stages(shorter)}
    assert list(every) == [
        "prepare",
        "card",
        "base",
        "encode",
        "evaluate-base",
        "rl-math",
        "evaluate-rl-math",
        "report",
    ]
    assert every["rl-math"].inputs["model"] == "base"
    assert every["prepare"].inputs == {}


@pytest.mark.parametrize(
    ("through", "names"),
    [
        ("prepare", ["world", "prepare", "card"]),
        ("sft", ["world", "prepare", "card", "base", "encode", "sft"]),
        ("rl", ["world", "prepare", "card", "base", "encode", "sft", "rl-math", "rl-code"]),
        ("evaluate", [s.name for s in stages(small_recipe())][:-1]),
        ("report", [s.name for s in stages(small_recipe())]),
        (None, [s.name for s in stages(small_recipe())]),
    ],
)
def test_a_run_can_end_early(through, names):
    assert [s.name for s in select(stages(small_recipe()), through)] == names


def test_a_run_cannot_end_where_the_recipe_does_not_go():
    with pytest.raises(UsageError, match=r"no \[sft\]"):
        select(stages(small_recipe().model_copy(update={"sft": None})), "sft")
    with pytest.raises(UsageError, match="choose one of prepare, sft, rl"):
        select(stages(small_recipe()), "base")


AFTER_SFT = {"evaluate-sft", "rl-math", "evaluate-rl-math", "rl-code", "evaluate-rl-code", "report"}
EVALUATIONS = {"evaluate-base", "evaluate-sft", "evaluate-rl-math", "evaluate-rl-code"}
ALL = {s.name for s in stages(small_recipe())}


@pytest.mark.parametrize(
    ("path", "value", "repeated"),
    [
        ("sft.learning_rate", 1e-3, {"sft"} | AFTER_SFT),
        ("rl.phase.code.learning_rate", 1e-3, {"rl-code", "evaluate-rl-code", "report"}),
        ("rl.phase.math.learning_rate", 1e-3, AFTER_SFT - {"evaluate-sft"}),
        ("evaluation.samples", 3, EVALUATIONS | {"report"}),
        ("evaluation.temperature", 0.5, EVALUATIONS | AFTER_SFT | {"sft"}),
        ("evaluation.validation_samples", 3, AFTER_SFT | {"sft"}),
        ("evaluation.max_completion_tokens", 65, ALL - {"world", "prepare", "card"}),
        ("microbatch_tokens", 4096, {"report"}),
        ("device", "cpu", {"report"}),
        ("activation_checkpointing", True, {"report"}),
        ("engine.slots", 8, {"report"}),
        ("threads", 2, {"report"}),
        ("sft.save_every", 7, {"report"}),
        ("rl.phase.math.save_every", 7, {"report"}),
        ("rl.phase.math.validate_every", 7, AFTER_SFT - {"evaluate-sft"}),
        ("rl.phase.math.iterations", 7, AFTER_SFT - {"evaluate-sft"}),
        ("seed", 1, ALL - {"world", "prepare"}),
        ("world.seed", 1, ALL - {"base"}),
        ("model.layers", 2, ALL - {"world", "prepare", "card"}),
        ("data.top_sources", 1, ALL - {"world", "base"}),
        ("verifiers.code_seconds", 1.0, ALL - {"world", "base"}),
        ("checkpoints.keep_best", True, AFTER_SFT | {"sft", "encode"}),
        ("sft.max_tokens", 90, AFTER_SFT | {"sft", "encode"}),
        ("stop.dropped_share", 0.1, {"encode", "report"}),
        ("verifiers.workers", 1, {"report"}),
        ("verifiers.minimum_isolation", "rlimits", {"report"}),
        ("checkpoints.keep_last", 3, {"report"}),
        ("checkpoints.keep_rollouts", 3, {"report"}),
    ],
)
def test_a_key_repeats_the_stages_that_depend_on_it(path, value, repeated):
    """The right column is written by hand from what the stages read."""
    before, after = (plan_parts(stages(r)) for r in (small_recipe(), changed(small_recipe(), path, value)))
    assert {name for name in ALL if fingerprint(before[name]) != fingerprint(after[name])} == repeated


@pytest.mark.parametrize(
    "change", [{"samples": 64}, {"limit": 5}, {"limit": 5, "limit_by": "seed"}, {"prompt_template": "{problem}!"}]
)
def test_how_a_benchmark_is_asked_repeats_its_evaluation_alone(change):
    of = small_recipe()
    first, *rest = of.data.source
    asked = of.model_copy(update={"data": Data(source=(Source(**(first.model_dump() | change)), *rest))})
    before, after = (plan_parts(stages(r)) for r in (of, asked))
    encoded = set() if change == {"samples": 64} else {"encode"}  # which problems are asked, and in which words
    assert {name for name in ALL if before[name] != after[name]} == EVALUATIONS | {"report"} | encoded


@pytest.mark.parametrize(
    ("role", "repeated"),
    [
        ("demonstrations", AFTER_SFT | {"sft", "encode"}),
        ("problems", AFTER_SFT - {"evaluate-sft"} | {"encode"}),
        ("validation", AFTER_SFT | {"sft", "encode"}),
        ("heldout", EVALUATIONS | {"encode", "report"}),
    ],
)
@pytest.mark.parametrize("key", ["system_prompt", "prompt_suffix"])
def test_how_a_source_is_worded_repeats_what_asks_or_trains_it(role, repeated, key):
    of = small_recipe()
    worded = tuple(s.model_copy(update={key: "Now."}) if s.role == role else s for s in of.data.source)
    before, after = (plan_parts(stages(r)) for r in (of, of.model_copy(update={"data": Data(source=worded)})))
    assert {name for name in ALL if before[name] != after[name]} == repeated


def test_samples_of_its_own_stand_above_those_of_the_recipe():
    of = small_recipe()
    first, *rest = of.data.source
    own = of.model_copy(update={"data": Data(source=(first.model_copy(update={"samples": 5}), *rest))})
    before, after = (plan_parts(stages(r)) for r in (own, changed(own, "evaluation.samples", 3)))
    assert {name for name in ALL if before[name] != after[name]} == {"report"}


def test_a_new_phase_retrains_nothing_before_it():
    one, two = (plan_parts(stages(small_recipe(phases))) for phases in (("math",), ("math", "math2")))
    assert [name for name in one if one[name] != two[name]] == ["encode", "report"]


def test_outside_files_count_by_content(tmp_path):
    def fingerprints(place: Path) -> list[str]:
        model = PretrainedModel(path=str(place / "model"), chat_template=str(place / "chat.jinja"))
        sources = tuple(s.model_copy(update={"path": str(place / "rows.jsonl")}) for s in small_recipe().data.source)
        of = small_recipe().model_copy(update={"model": model, "data": Data(source=sources), "world": None})
        parts = plan_parts(stages(of))
        return [fingerprint(parts[name]) for name in ("prepare", "base")]

    for name in ("one", "two"):
        (tmp_path / name / "model").mkdir(parents=True)
        for file in ("rows.jsonl", "chat.jinja", "model/config.json"):
            (tmp_path / name / file).write_text(file)
    one = fingerprints(tmp_path / "one")
    assert fingerprints(tmp_path / "two") == one
    for file, changes in (
        ("rows.jsonl", [True, False]),
        ("chat.jinja", [False, True]),
        ("model/config.json", [False, True]),
    ):
        (tmp_path / "two" / file).write_text("else")
        assert [a != b for a, b in zip(fingerprints(tmp_path / "two"), one, strict=True)] == changes, file
        (tmp_path / "two" / file).write_text(file)


COMPUTED = {
    "base": {"rl", "sft", "evaluation"},  # through "positions"
    "encode": {"rl", "sft", "stop"},  # through "phases", and the keys of the other two by name
    "prepare": {"rl", "sft"},  # only to refuse an empty data set
    "sft": {"track"},  # what is shown changes nothing
    "rl-math": {"track"},
}


@pytest.mark.parametrize("name", ["world", "prepare", "card", "base", "encode", "sft", "rl-math", "evaluate-base"])
def test_a_stage_reads_no_section_of_the_recipe_that_it_does_not_depend_on(name):
    of = small_recipe().model_copy(update={"model": PretrainedModel(path="model")})  # it has a dtype
    stage = next(s for s in stages(of) if s.name == name)
    declared = {key.split(".")[0] for key in (*stage.settings, *stage.pace)} | COMPUTED.get(name, set())
    spec = importlib.util.find_spec(stage.module)
    assert spec is not None
    assert spec.origin is not None
    read = {
        node.attr
        for node in ast.walk(ast.parse(Path(spec.origin).read_text()))
        if isinstance(node, ast.Attribute) and ast.unparse(node.value).endswith("recipe")
    }
    assert read & set(Recipe.model_fields), "the test looks for the wrong thing"
    assert read & set(Recipe.model_fields) <= declared


# ---- running


@pytest.fixture
def package(tmp_path, request):
    """A package of fake stages, with a name of its own, as modules are imported once."""
    name = "fakes_" + "".join(c if c.isalnum() else "_" for c in request.node.name)
    fake_run.write_modules(tmp_path / "modules", name)
    yield name
    sys.path.remove(str(tmp_path / "modules"))
    for module in [m for m in sys.modules if m.startswith(name)]:
        del sys.modules[module]


@pytest.fixture
def root(tmp_path):
    return tmp_path / "runs" / "a"


def states(root: Path, package: str, of: Recipe | None = None) -> list[str]:
    of = recipe() if of is None else of
    return [s.state for s in plan(of, root, stage_list=fake_run.stages(of, package))]


def stop_at(root: Path, step: int | None) -> None:
    root.parent.mkdir(parents=True, exist_ok=True)
    stop = root.parent / "stop"
    stop.unlink(missing_ok=True) if step is None else stop.write_text(str(step))


def test_a_stage_that_loses_a_process_goes_on_from_its_checkpoint(package, root, tmp_path, monkeypatch, capsys):
    go(tmp_path / "runs" / "whole", package)
    module = importlib.import_module(f"{package}.sft")
    own, begun = module.run, []

    def losing(context):
        begun.append(context.name)
        stop_at(root, {1: 1, 2: 2}.get(len(begun)))
        try:
            own(context)
        except KeyboardInterrupt:
            raise ProcessLost(f"rank {len(begun)} died") from None

    monkeypatch.setattr(module, "run", losing)
    go(root, package)
    assert digest(root) == digest(tmp_path / "runs" / "whole")
    assert len(begun) == 3
    assert (root / "sft" / "journal.log").read_text() == "1\n2\n3\n", "no step is doubled or missing"
    assert "sft: rank 2 died; the stage begins again, from its newest checkpoint" in capsys.readouterr().err


def test_a_stage_that_only_loses_processes_ends_with_the_reason(package, root, monkeypatch):
    module = importlib.import_module(f"{package}.sft")
    begun = []

    def lost(context):
        begun.append(context.name)
        raise ProcessLost("rank 0 died")

    monkeypatch.setattr(module, "run", lost)
    with pytest.raises(ProcessLost, match="rank 0 died"):
        go(root, package)
    assert len(begun) == LOST + 1


@pytest.mark.parametrize(("kind", "opened"), [(ProcessLost, 2), (RankLost, 1)])
def test_what_a_stage_keeps_outlives_a_lost_rank_and_nothing_else(package, root, monkeypatch, kind, opened):
    module = importlib.import_module(f"{package}.sft")
    own, told = module.run, []

    @contextmanager
    def samplers():
        told.append("opened")
        yield "samplers"
        told.append("ended")

    def losing(context):
        assert context.kept.once("samplers", samplers) == context.kept.once("samplers", samplers) == "samplers"
        told.append("begun")
        if told.count("begun") == 1:
            raise kind("rank 0 died")
        own(context)

    monkeypatch.setattr(module, "run", losing)
    go(root, package)
    again = ["ended", "opened"] if opened == 2 else []
    assert told == ["opened", "begun", *again, "begun", "ended"]


def half(root: Path, package: str, of: Recipe | None = None, step: int = 2) -> None:
    """A run that was interrupted in its sft stage."""
    stop_at(root, step)
    with pytest.raises(KeyboardInterrupt):
        go(root, package, of)
    stop_at(root, None)


def journal(root: Path) -> list[str]:
    return (root / "sft" / "journal.log").read_text().split()


def record(root: Path, stage: str):
    return json.loads((root / stage / "stage.json").read_text())


def test_a_run_leaves_what_it_promises(root, package):
    summary = go(root, package)
    assert summary["scores"] == [{"stage": "sft", "value": 882}]  # 10; 310 + 11; (31 * 321 + 12) % 1009
    assert json.loads((root / "summary.json").read_text()) == summary
    assert list(summary) == [
        *("scores", "gains", "benchmarks", "rows", "weights", "seconds", "recipe", "seed", "version")
    ]
    assert list(summary["seconds"]) == ["prepare", "sft", "evaluate-sft"]
    assert all(0 < seconds < 60 for seconds in summary["seconds"].values())
    assert summary["recipe"]["sft"]["epochs"] == 3
    manifest = json.loads((root / "manifest.json").read_text())
    assert (manifest["seed"], manifest["threads"], len(manifest["starts"])) == (0, 1, 1)
    assert "epochs = 3" in (root / "recipe.toml").read_text()
    assert {record(root, name)["state"] for name in ("prepare", "sft", "evaluate-sft")} == {"finished"}


def test_finished_stages_are_not_run_again(root, package, capsys):
    go(root, package)
    before = digest(root), (root / "sft" / "result.txt").stat().st_mtime_ns, (root / "manifest.json").read_bytes()
    assert states(root, package) == ["reuse"] * 3
    go(root, package)
    assert (
        digest(root),
        (root / "sft" / "result.txt").stat().st_mtime_ns,
        (root / "manifest.json").read_bytes(),
    ) == before
    assert "prepare, sft, evaluate-sft" in capsys.readouterr().err


def test_planning_writes_nothing(root, package):
    assert states(root, package) == ["run"] * 3
    assert not root.exists()


def test_a_finished_stage_that_changed_is_kept_aside_and_run_anew_with_all_after_it(root, package, capsys):
    go(root, package)
    old, number = digest(root), record(root, "sft")["fingerprint"][:8]
    assert states(root, package, recipe(warmup_steps=4)) == ["reuse", "redo", "redo"]
    summary = go(root, package, recipe(warmup_steps=4))
    assert (root / "superseded" / f"sft-{number}" / "result.txt").is_file()
    assert len(list((root / "superseded").iterdir())) == 2
    assert "recipe sft.warmup_steps: 10 -> 4" in capsys.readouterr().err
    assert summary["scores"][0]["value"] == 978  # 4; 124 + 5; (31 * 129 + 6) % 1009
    go(root, package)
    go(root, package, recipe(warmup_steps=4))
    assert len(list((root / "superseded").iterdir())) == 6, "nothing is lost when the recipe goes back and forth"
    go(root, package)
    assert {k: v for k, v in digest(root).items() if not k.startswith("superseded") and "-" not in k} == {
        k: v for k, v in old.items() if "-" not in k
    }


def test_an_interrupted_stage_goes_on_with_the_same_bits(root, tmp_path, package):
    half(root, package)
    assert states(root, package) == ["reuse", "continue", "run"]
    seconds = record(root, "sft")["seconds"]
    assert seconds > 0
    go(root, package)
    assert journal(root) == ["1", "2", "3"]
    assert record(root, "sft")["seconds"] > seconds
    go(tmp_path / "undisturbed" / "a", package)
    assert digest(root) == digest(tmp_path / "undisturbed" / "a")


def test_an_unfinished_stage_is_not_mixed_with_another_recipe(root, package):
    half(root, package)
    before = digest_of_all(root)
    with pytest.raises(StageChanged) as caught:
        go(root, package, recipe(warmup_steps=4))
    said = str(caught.value)
    assert "recipe sft.warmup_steps: 10 -> 4" in said
    assert f"openklear run RECIPE --output NEW --fork {root}" in said
    assert caught.value.exit_code == 2
    assert digest_of_all(root) == before, "refused before anything is touched"
    go(root, package)


def test_what_changed_further_up_is_named(root, package):
    half(root, package)
    with pytest.raises(StageChanged, match=r"input prepare changed\n  recipe seed: 0 -> 1"):
        go(root, package, recipe(seed=1))
    assert states(root, package, recipe(seed=1)) == ["redo", "blocked", "run"]


def test_changed_code_counts_like_a_changed_recipe(root, tmp_path, package):
    go(root, package)
    source = tmp_path / "modules" / package / "evaluate.py"
    source.write_text(source.read_text() + "\nTHRESHOLD = 1\n")
    assert states(root, package) == ["reuse", "reuse", "redo"]
    (changes,) = [s.why for s in plan(recipe(), root, stage_list=fake_run.stages(recipe(), package)) if s.why]
    assert changes == (f"code {package}.evaluate changed",)


def test_code_that_changes_under_a_going_run_ends_it(root, tmp_path, package):
    prepare, sft = (tmp_path / "modules" / package / f"{name}.py" for name in ("prepare", "sft"))
    prepare.write_text(f"{prepare.read_text()}    open({str(sft)!r}, 'a').write('\\nX = 1')\n")
    with pytest.raises(RunError, match="the code of sft changed while the run was under way"):
        go(root, package)
    assert not (root / "sft").exists()
    go(root, package)


def test_a_stage_that_failed_at_once_begins_anew_under_a_mended_recipe(root, tmp_path, package):
    source = tmp_path / "modules" / package / "sft.py"
    text = source.read_text()
    source.write_text("def run(context):\n    raise ValueError('bad')\n")
    with pytest.raises(ValueError, match="bad"):
        go(root, package)
    sys.modules.pop(f"{package}.sft")
    source.write_text(text)
    assert states(root, package) == ["reuse", "run", "run"]
    go(root, package)


def test_a_directory_that_is_no_stage_is_left_alone(root, package):
    (root / "sft").mkdir(parents=True)
    (root / "sft" / "thesis.tex").write_text("mine")
    with pytest.raises(UsageError, match="is not a stage of a run"):
        go(root, package)
    assert (root / "sft" / "thesis.tex").read_text() == "mine"
    assert not (root / "prepare").exists()


def test_two_runs_do_not_share_a_directory(root, package):
    with rundir.lock(root), pytest.raises(RunLocked, match=f"process {os.getpid()}"):
        go(root, package)


def test_a_full_disk_ends_the_run_and_it_goes_on(root, tmp_path, package):
    source = tmp_path / "modules" / package / "evaluate.py"
    text = source.read_text()
    source.write_text("def run(context):\n    raise OSError(28, 'No space left on device')\n")
    with pytest.raises(NoSpace, match="evaluate-sft"):
        go(root, package)
    assert record(root, "evaluate-sft")["state"] == "unfinished"
    sys.modules.pop(f"{package}.evaluate")
    source.write_text(text)
    assert len(go(root, package)["scores"]) == 1


def test_an_early_end_gives_a_summary_of_what_there_is(root, package):
    summary = go(root, package, through="sft")
    assert (summary["scores"], list(summary["seconds"])) == ([], ["prepare", "sft"])
    go(root, package)
    assert go(root, package, recipe(warmup_steps=4), through="sft")["scores"] == [], "of another recipe's model"


def test_weights_are_hashed_where_a_model_is_left(root, tmp_path, package):
    (tmp_path / "modules" / package / "model.py").write_text(
        "import numpy as np\nfrom safetensors.numpy import save_file\n\n\ndef run(context):\n"
        "    (context.directory / 'model').mkdir()\n"
        "    save_file({'w': np.full(3, context.recipe.seed, np.float32)}, context.directory / 'model/model.safetensors')\n"
    )
    importlib.invalidate_caches()

    def weights(seed: int, place: Path):
        of = recipe(seed=seed)
        stage = Stage("base", "base", f"{package}.model", {"seed": seed}, model=True)
        return run_pipeline(of, place, stage_list=[stage])["weights"]

    from openklear.models.loading import weights_hash

    (tmp_path / "expected").mkdir()
    save_file({"w": np.zeros(3, np.float32)}, tmp_path / "expected" / "model.safetensors")
    assert weights(0, root) == {"base": weights_hash(tmp_path / "expected")}
    assert weights(0, root) == {"base": weights_hash(tmp_path / "expected")}
    assert weights(1, tmp_path / "b")["base"] != weights_hash(tmp_path / "expected")


# ---- records, damage, seconds


def test_the_seconds_of_a_killed_attempt_count_up_to_its_last_file(root, package):
    half(root, package)
    known = record(root, "sft")
    killed = {**known["attempts"][0], "ended": None, "seconds": 0.0}
    started = datetime.fromisoformat(killed["started"]).timestamp()
    rundir.write_json(root / "sft" / "stage.json", {**known, "seconds": 0.0, "attempts": [killed]})
    for path in (root / "sft").rglob("*"):
        os.utime(path, (started, started))
    os.utime(root / "sft" / "journal.log", (started + 90, started + 90))
    go(root, package)
    first, last = record(root, "sft")["attempts"]
    assert (first["ended"], last["ended"]) == ("killed", "finished")
    assert first["seconds"] == pytest.approx(90, abs=0.01)
    assert record(root, "sft")["seconds"] == pytest.approx(first["seconds"] + last["seconds"])
    rundir.write_json(root / "sft" / "stage.json", {**known, "seconds": 0.0, "attempts": [{**killed, "place": -1}]})
    assert settled(root / "sft", record(root, "sft"))["seconds"] == 0.0, "a copy's files have times of their own"


def test_a_changed_byte_in_a_finished_stage_is_found_before_the_next_stage_reads_it(root, package, capsys):
    go(root, package, through="sft")
    (root / "sft" / "result.txt").write_text("883")
    with pytest.raises(RunError, match=r"finished, but damaged:\n  result\.txt is not what the stage wrote"):
        go(root, package)
    (root / "sft" / "result.txt").write_text("882")
    (root / "prepare" / "rows.json").write_text("[1, 1, 1]")
    assert go(root, package)["scores"][0]["value"] == 882, "nothing that runs reads the rows"
    shutil.rmtree(root / "sft")
    assert go(root, package)["scores"][0]["value"] == 882
    assert "rows.json is not what the stage wrote" in capsys.readouterr().err
    assert (root / "prepare" / "rows.json").read_text().split() == ["[", "0,", "0,", "0", "]"]


@pytest.mark.parametrize("text", ["{", "[]", '{"state": "finished"}'])
def test_a_damaged_record_is_named_with_a_remedy(text, root, package):
    go(root, package)
    (root / "sft" / "stage.json").write_text(text)
    with pytest.raises(DataError, match=r"sft/stage\.json.*move .*sft away to run the stage again"):
        go(root, package)


def test_a_summary_of_another_recipe_does_not_stay_when_a_stage_fails(root, tmp_path, package):
    go(root, package)
    source = tmp_path / "modules" / package / "sft.py"
    source.write_text("def run(context):\n    raise ValueError('bad')\n")
    sys.modules.pop(f"{package}.sft")
    with pytest.raises(ValueError, match="bad"):
        go(root, package, recipe(warmup_steps=4))
    summary = json.loads((root / "summary.json").read_text())
    assert summary["scores"] == []
    assert summary["recipe"]["sft"]["warmup_steps"] == 4


# ---- forks


def digest_of_all(root: Path) -> dict[str, tuple[bytes, int]]:
    """Content and time of every file but the lock's."""
    files = [p for p in root.rglob("*") if p.is_file()]
    return {str(p.relative_to(root)): (p.read_bytes(), p.stat().st_mtime_ns) for p in files if p.name != "lock"}


def test_a_fork_goes_on_from_the_checkpoint_under_the_new_recipe(root, tmp_path, package):
    half(root, package, step=2)
    before = digest_of_all(root)
    new = tmp_path / "new"
    summary = go(new, package, recipe(warmup_steps=4), fork=root)
    assert summary["scores"][0]["value"] == 876  # 10; 310 + 11; from there (31 * 321 + 2 + 4) % 1009
    assert journal(new) == ["1", "2", "3"]
    assert digest_of_all(root) == before
    forked = record(new, "sft")["forked"]
    assert forked["from"] == str(root / "sft")
    assert forked["difference"] == ["recipe sft.warmup_steps: 10 -> 4"]
    assert os.path.samefile(root / "prepare" / "rows.json", new / "prepare" / "rows.json")
    assert not os.path.samefile(root / "sft" / "journal.log", new / "sft" / "journal.log")
    assert states(new, package, recipe(warmup_steps=4)) == ["reuse"] * 3
    go(root, package)  # the old run goes on for itself


def test_iterations_beyond_the_checkpoint_and_verdicts_stay_behind(root, tmp_path, package):
    half(root, package, step=1)
    (root / "sft" / "iterations" / "000002").mkdir()
    (root / "sft" / "verdicts.jsonl").write_text("{}\n")
    stop_at(tmp_path / "new", 2)
    with pytest.raises(KeyboardInterrupt):
        go(tmp_path / "new", package, recipe(warmup_steps=4), fork=root)
    sft = tmp_path / "new" / "sft"
    assert sorted(p.name for p in (sft / "iterations").iterdir()) == ["000001", "000002"]
    assert (sft / "iterations" / "000002" / "rollouts").is_file(), "made in the fork"
    assert not (sft / "verdicts.jsonl").exists()


def test_a_fork_takes_over_what_code_alone_changed_but_not_what_the_recipe_changed(root, tmp_path, package):
    half(root, package)
    source = tmp_path / "modules" / package / "prepare.py"
    source.write_text(source.read_text() + "\nX = 1\n")
    go(tmp_path / "new", package, fork=root)
    assert journal(tmp_path / "new") == ["1", "2", "3"]
    assert record(tmp_path / "new", "prepare")["forked"]["difference"] == [f"code {package}.prepare changed"]

    go(tmp_path / "other", package, recipe(seed=1), fork=root)
    assert "forked" not in record(tmp_path / "other", "prepare")
    assert (tmp_path / "other" / "prepare" / "rows.json").read_text().split() == ["[", "1,", "1,", "1", "]"]
    assert journal(tmp_path / "other") == ["1", "2", "3"]
    assert "forked" not in record(tmp_path / "other", "sft"), (
        "its input is another now, so its checkpoint is worth nothing"
    )


def test_what_cannot_be_forked_is_refused(root, tmp_path, package):
    with pytest.raises(UsageError, match="holds no stage"):
        go(tmp_path / "new", package, fork=root)
    half(root, package)
    with pytest.raises(UsageError, match="into itself"):
        go(root, package, fork=root)
    go(tmp_path / "other", package)
    with pytest.raises(UsageError, match="holds a run of its own"):
        go(tmp_path / "other", package, fork=root)
    go(tmp_path / "new", package, fork=root)
    with pytest.raises(UsageError, match="is a fork of"):
        go(tmp_path / "new", package, fork=tmp_path / "other")
    go(tmp_path / "new", package, fork=root)  # the same command again
    with rundir.lock(root), pytest.raises(RunLocked):
        go(tmp_path / "newer", package, fork=root)


# ---- kills


def kills(mode: str, place: Path, stride: int) -> None:
    environment = {**os.environ, "PYTHONPATH": str(TESTS.parent / "src"), "OMP_NUM_THREADS": "1"}
    driver = [sys.executable, str(TESTS / "fake_run.py"), mode, str(place), str(stride)]
    done = subprocess.run(driver, capture_output=True, text=True, env=environment, timeout=600, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    undisturbed, *killed, last = found["left"]
    assert not found["torch"], "a run whose stages need no torch must not import it"
    assert undisturbed["status"] == last["status"] == 0
    assert len(killed) * stride > 80, "the moments must cover a run"
    for one in killed:
        assert one["status"] == signal.SIGKILL
        assert one["again"] == 0, f"after a kill at moment {one['moment']} the same command fails"
        assert one["digest"] == undisturbed["digest"], f"killed at moment {one['moment']}"


@pytest.mark.parametrize("mode", ["run", "redo", "fork"])
def test_a_run_killed_at_some_moments_ends_with_the_same_bytes(mode, tmp_path):
    kills(mode, tmp_path, stride=7)


@pytest.mark.chaos
@pytest.mark.parametrize("mode", ["run", "redo", "fork"])
def test_a_run_killed_at_any_moment_ends_with_the_same_bytes(mode, tmp_path):
    kills(mode, tmp_path, stride=1)


# ---- the manifest


def test_the_manifest_names_code_packages_and_machine(tmp_path, monkeypatch):
    found = manifests.manifest(tmp_path, seed=3, threads=2, data={"data a": "00"})
    assert found["packages"]["numpy"] == np.__version__
    assert (found["seed"], found["threads"], found["data"]) == (3, 2, {"data a": "00"})
    assert found["cores"] >= 1
    assert found["memory_bytes"] > 2**28
    rundir.write_json(tmp_path / "manifest.json", found)
    again = manifests.manifest(tmp_path, seed=3, threads=2, data={})
    assert again["starts"][0] == found["starts"][0]
    assert len(again["starts"]) == 2


def test_the_git_revision_is_that_of_a_checkout_and_may_be_absent(tmp_path, monkeypatch):
    def git(*arguments: str) -> str:
        who = ["-c", "user.name=a", "-c", "user.email=a@b"]
        done = subprocess.run(["git", *who, *arguments], cwd=tmp_path, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    assert manifests.git_revision(tmp_path) is None
    git("init", "-q")
    (tmp_path / "manifest.py").write_text("1")
    git("add", ".")
    git("commit", "-q", "-m", "x")
    assert manifests.git_revision(tmp_path) == {"revision": git("rev-parse", "HEAD"), "dirty": False}
    (tmp_path / "manifest.py").write_text("2")
    assert manifests.git_revision(tmp_path)["dirty"] is True
    monkeypatch.setenv("PATH", "")
    assert manifests.git_revision(tmp_path) is None


def test_reports_come_from_a_closure_without_the_command_line():
    assert "openklear.cli.main" not in closure("openklear.stages.report")[0]
