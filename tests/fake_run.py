"""Stages that need no torch, and a driver that kills runs of them.

    python fake_run.py MODE DIR STRIDE     runs in DIR/MOMENT, killed at every STRIDEth fsync, rename or mkdir in turn
                                           and then gone on with; prints what was left as JSON

MODE is `run` (a whole run), `redo` (a finished run under a changed recipe) or `fork` (one half done run taken over).
"""

import hashlib
import importlib
import json
import os
import signal
import sys
import time
from pathlib import Path

from openklear import progress
from openklear.recipe.curation import Data, Source
from openklear.recipe.schema import Recipe, Sft, TinyModel, World
from openklear.run import manifest
from openklear.run.pipeline import plan, run_pipeline
from openklear.run.plan import Stage

MODULES = {
    "prepare": """
from openklear.durable.files import write_json


def run(context):
    write_json(context.directory / "rows.json", [context.recipe.seed] * 3)
""",
    "sft": """
from openklear.durable.files import read_json, whole_directory, write_atomic
from openklear.durable.sealed import latest, seal


def run(context):
    checkpoints = context.directory / "checkpoints"
    newest = latest(context.directory)
    place = {} if newest is None else read_json(newest / "place.json")
    at, value = place.get("at", 0), place.get("value", read_json(context.inputs["prepare"] / "rows.json")[0])
    while at < context.recipe.sft.epochs:
        at, value = at + 1, (31 * value + at + context.recipe.sft.warmup_steps) % 1009
        with open(context.directory / "journal.log", "a") as journal:
            journal.write(f"{at}\\n")
        with whole_directory(context.directory / "iterations" / f"{at:06d}") as partial:
            (partial / "rollouts").write_text(f"{value}")
        with whole_directory(checkpoints / f"{at:06d}") as partial:
            seal(partial, {"at": at, "value": value, "places": {"": {"epoch": at, "offset": 0}}})
        stop = context.root.parent / "stop"
        if stop.exists() and at == int(stop.read_text()):
            raise KeyboardInterrupt
    write_atomic(context.directory / "result.txt", f"{value}")
""",
    "evaluate": """
from openklear.durable.files import write_json


def run(context):
    value = (context.inputs["model"] / "result.txt").read_text()
    scores = {"scores": [{"stage": "sft", "value": int(value)}], "benchmarks": []}
    write_json(context.directory / "scores.json", scores)
""",
}


def write_modules(place: Path, package: str) -> None:
    (place / package).mkdir(parents=True)
    (place / package / "__init__.py").write_text("")
    for name, text in MODULES.items():
        (place / package / f"{name}.py").write_text(text)
    sys.path.insert(0, str(place))
    importlib.invalidate_caches()


def recipe(**changes) -> Recipe:
    source = (Source(name="a", path="world:a.jsonl", role="heldout"),)
    source += (Source(name="b", path="world:b.jsonl", role="demonstrations"),)
    whole = Recipe(world=World(), model=TinyModel(), data=Data(source=source), sft=Sft(epochs=3, max_tokens=256))
    sft = whole.sft.model_copy(update={k: changes.pop(k) for k in ("epochs", "warmup_steps") if k in changes})
    return whole.model_copy(update={"sft": sft, **changes})


def stages(of: Recipe, package: str) -> list[Stage]:
    sft = {"sft.epochs": of.sft.epochs, "sft.warmup_steps": of.sft.warmup_steps}
    return [
        Stage("prepare", "prepare", f"{package}.prepare", {"seed": of.seed}),
        Stage("sft", "sft", f"{package}.sft", sft, {"prepare": "prepare"}),
        Stage("evaluate-sft", "evaluate", f"{package}.evaluate", {}, {"model": "sft"}),
    ]


def go(root: Path, package: str, of: Recipe | None = None, **options):
    of = recipe() if of is None else of
    return run_pipeline(of, root, stage_list=stages(of, package), **options)


def digest(root: Path) -> dict[str, str]:
    """Every file but clocks and the host's facts; append-only journals may repeat a line after a kill."""
    left_out = {"manifest.json", "lock", "summary.json", "stage.json", "journal.log", "fork.json"}
    files = sorted(p for p in root.rglob("*") if p.is_file() and p.name not in left_out)
    found = {str(p.relative_to(root)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}
    records = {p.parent.name: json.loads(p.read_text()) for p in sorted(root.rglob("stage.json"))}
    found |= {f"{name}/mark": f"{r['state']} {r['fingerprint']}" for name, r in records.items()}
    return found | {"scores": json.dumps(json.loads((root / "summary.json").read_text())["scores"])}


def die_at(moment: int) -> None:
    left = moment

    def dying(original):
        def patched(*args, **kwargs):
            nonlocal left
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
                time.sleep(60)
            return original(*args, **kwargs)

        return patched

    os.replace, os.fsync, os.rename, os.mkdir = map(dying, (os.replace, os.fsync, os.rename, os.mkdir))


def child(work, moment: int | None = None) -> int:
    """Wait status of a fork that does the work, killed at the given moment."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            if moment is not None:
                die_at(moment)
            work()
            code = 0
        finally:
            os._exit(code)
    return os.waitpid(pid, 0)[1]


def attempts(mode: str, place: Path, package: str):
    """What prepares a case, and what is killed in it."""
    root = place / "run"
    if mode == "run":
        return lambda: None, lambda: go(root, package)
    if mode == "redo":
        return lambda: go(root, package), lambda: go(root, package, recipe(warmup_steps=4))

    def half() -> None:
        (place / "stop").write_text("2")
        try:
            go(place / "old", package)
        except KeyboardInterrupt:
            (place / "stop").unlink()

    return half, lambda: go(root, package, recipe(warmup_steps=4), fork=place / "old")


def main(mode: str, directory: Path, stride: int) -> None:
    progress.quiet(True)
    write_modules(directory / "modules", "killed")
    os.fsync = lambda descriptor: None  # a kill does not need it, and thousands of true ones take minutes
    manifest.git_revision = manifest.package_versions = lambda *_: None
    plan(recipe(), directory, stage_list=stages(recipe(), "killed"))  # parse the sources once, not in every fork
    left, moment = [], 0
    killed = True
    while killed:
        place = directory / str(moment)
        place.mkdir()
        before, work = attempts(mode, place, "killed")
        before()
        status = child(work, moment or None)  # the first, undisturbed, is what the others must equal
        killed = moment == 0 or os.WIFSIGNALED(status)
        again = child(work)
        left.append({"moment": moment, "status": status, "again": again, "digest": digest(place / "run")})
        moment += stride
    print(json.dumps({"torch": "torch" in sys.modules, "left": left}))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]))
