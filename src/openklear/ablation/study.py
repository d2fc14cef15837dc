"""Running a study: its stages, the scores of each run as it ends, and what its page is made of.

DIR/study.toml                the study's file, as it was run
DIR/stages/STAGE-HASH/STAGE/  each stage, once; log.txt beside it has what it said, error.txt why it failed
DIR/runs/ARM/SEED/STAGE       links to them, so that a run can be looked at as any other
DIR/scores/ARM/SEED.json      what a finished run left: all that the page is made of
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from openklear import progress
from openklear.ablation.definition import Study
from openklear.ablation.design import Design, Run, design
from openklear.ablation.losses import loss_name, losses_of
from openklear.ablation.pairing import result_of
from openklear.ablation.scores import (
    FailedRun,
    RunScores,
    StudyScores,
    curves_of,
    read_scores,
    series_of,
    write_scores,
)
from openklear.ablation.work import StudyCrew, seconds
from openklear.ablation.worker import LOG
from openklear.data.store import prepared, read_problems
from openklear.durable import files
from openklear.errors import UsageError
from openklear.planner.machines import machine_named
from openklear.recipe.load import read_toml
from openklear.recipe.schema import Recipe
from openklear.recipe.section import VARIABLE
from openklear.recipe.show import resolved_toml
from openklear.run import manifest
from openklear.run.extras import require_for_training
from openklear.verifiers.limits import cores

SHOWN_RUNS = 4
"""By name, where a stage that many share fails."""


@dataclass(slots=True)
class _Bench:
    """A study that is under way."""

    study: Study
    path: Path
    """The study's file."""
    plan: Design
    crew: StudyCrew
    root: Path

    def wanted(self, run: Run) -> list[str]:
        return list(run.works.values())

    def place(self, run: Run) -> Path:
        return self.root / "scores" / run.arm / f"{run.seed}.json"


def run_study(study: Study, path: Path, root: Path, jobs: int | None = None) -> StudyScores:
    """Run what is not finished of the study in the file `path`, in the directory `root`; return all its scores.

    `jobs` stages run at a time, by default as many as the cores allow, on a GPU one. Called again after a kill it goes
    on, and ends with the same scores. A run that fails is listed, and tried again next time. Raises UsageError where
    `root` holds another study, RunLocked where another process works there.
    """
    plan = design(study, path)
    for run in plan.runs:
        require_for_training(run.recipe)
    with files.lock(root), files.disk_errors(root):
        _claim(root, path, study)
        bench = _Bench(study, path, plan, StudyCrew(plan.works, root / "stages"), root)
        bench.crew.look()
        jobs = jobs or jobs_for(plan.runs[0].recipe)
        _say_before(bench, jobs)
        for run in plan.runs:
            _link(bench, run)
        _work(bench, jobs)
        return _scores(bench)


def jobs_for(recipe: Recipe) -> int:
    """As many stages at a time as the cores have threads for; what computes on a GPU has it for itself."""
    if machine_named(recipe.device, "device =").kind != "cpu":
        return 1
    return max(1, cores() // recipe.threads)


def _claim(root: Path, path: Path, study: Study) -> None:
    """A directory holds one study; its file may change, since scores follow from what the stages were made with."""
    known = root / "study.toml"
    if known.is_file():
        other = read_toml(known, "study").get("name")  # alone: what else was allowed then may be refused now
        if other != study.name:
            raise UsageError(f"{root} holds the study {other}, not {study.name}; choose another --output")
    files.write_atomic(known, path.read_bytes())


def _say_before(bench: _Bench, jobs: int) -> None:
    works, done = len(bench.plan.works), len(bench.crew.done)
    runs, arms = len(bench.plan.runs), len(bench.study.arm)
    progress.say(
        f"{bench.study.name}: {arms} arms x {len(bench.study.seeds.values)} seeds = {runs} runs; {works} stages, "
        f"shared ones once, {done} of them finished before; {jobs} at a time"
    )
    progress.say(f"what a stage says while it runs is in {bench.crew.root}/*/{LOG}")


def _work(bench: _Bench, jobs: int) -> None:
    """Run the stages; write the scores of each run as soon as its last stage ends."""
    left = {(run.arm, run.seed): run for run in bench.plan.runs}

    def settle() -> None:
        for place, run in list(left.items()):
            if bench.crew.done.issuperset(bench.wanted(run)):
                _commit(bench, left.pop(place))

    with progress.task(bench.study.name, len(bench.plan.works), "stages", done=len(bench.crew.done)) as advance:
        settle()
        tell = _teller(bench, advance, settle)
        bench.crew.run(jobs, tell)


def _teller(bench: _Bench, advance: progress.Advance, settle: Callable[[], None]) -> Callable[[str], None]:
    """What is done and said as each stage ends."""

    def ended(key: str) -> None:
        advance()
        if key in bench.crew.failed:
            runs = [f"{run.arm}, seed {run.seed}" for run in bench.plan.runs if key in run.works.values()]
            more = [f"{len(runs) - SHOWN_RUNS} more runs"] if len(runs) > SHOWN_RUNS else []
            progress.say(f"FAILED ({'; '.join(runs[:SHOWN_RUNS] + more)}): {bench.crew.failed[key]}")
        settle()

    return ended


def _commit(bench: _Bench, run: Run) -> None:
    """Write the scores of a finished run, and say the measured ones."""
    scores = _scores_of(bench, run)
    write_scores(bench.place(run), scores)
    told = []
    for measure in bench.study.measure:
        series = result_of(scores, measure.model, measure)
        if series is None:
            asked = sorted({one.domain for one in scores.series if one.model == measure.model})
            raise UsageError(
                f"{bench.study.name}: measure.{measure.name}.domain: {measure.model} of arm {run.arm} was asked no "
                f"held-out problems of {measure.domain}; measure {' or '.join(asked)}, or give its recipe a held-out "
                f"source of {measure.domain}"
            )
        told.append(f"{measure.title} {measure.unit.level(series.mean)}")
    progress.say(f"{run.arm}, seed {run.seed}: {', '.join(told)}")


def _scores_of(bench: _Bench, run: Run) -> RunScores:
    places = {name: bench.crew.directory(key) for name, key in run.works.items()}
    series = []
    for name, place in places.items():
        if name.startswith("evaluate-"):
            heldout = read_problems(prepared(places["prepare"]).heldout)
            series += series_of(name.removeprefix("evaluate-"), place, heldout)
    for measure in (one for one in bench.study.measure if one.kind == "loss"):
        for model in bench.study.models(measure):
            series.append(losses_of(model, measure, places[loss_name(model, measure)]))
    trained = [name for name, key in run.works.items() if bench.plan.works[key].stage.trains]
    took = seconds(bench.crew, list(run.works.values()))
    return RunScores(
        arm=run.arm,
        seed=run.seed,
        series=tuple(series),
        curves={name: curves_of(places[name]) for name in trained},
        seconds={name: took[key] for name, key in run.works.items()},
        stages=dict(run.works),
    )


def _link(bench: _Bench, run: Run) -> None:
    """DIR/runs/ARM/SEED looks like a run directory."""
    place = bench.root / "runs" / run.arm / str(run.seed)
    place.mkdir(parents=True, exist_ok=True)
    files.write_atomic(place / "recipe.toml", resolved_toml(run.recipe))
    for name, key in run.works.items():
        target = Path(os.path.relpath(bench.crew.directory(key), place))
        link = place / name
        if link.is_symlink() and link.readlink() != target:
            link.unlink()
        if not link.is_symlink() and not link.exists():  # a stage that someone ran there stays
            link.symlink_to(target)


def _scores(bench: _Bench) -> StudyScores:
    """The scores of the finished runs, and what stopped the others."""
    runs, failed = [], []
    for arm in bench.study.arm:
        for run in (one for one in bench.plan.runs if one.arm == arm.name):
            reasons = [bench.crew.failed[key] for key in run.works.values() if key in bench.crew.failed]
            if bench.crew.done.issuperset(run.works.values()):
                runs.append(read_scores(bench.place(run)))
            elif reasons:
                failed.append(FailedRun(run.arm, run.seed, reasons[0]))
    missing = len(bench.plan.runs) - len(runs) - len(failed)
    return StudyScores(tuple(runs), tuple(failed), missing, _facts(bench))


def _facts(bench: _Bench) -> dict[str, Any]:
    took = seconds(bench.crew, sorted(bench.crew.done))
    by_stage: dict[str, float] = {}
    for key, spent in took.items():
        name = bench.plan.works[key].stage.name
        by_stage[name] = by_stage.get(name, 0.0) + spent
    return {
        "cpu": manifest.cpu_model(),
        "cores": cores(),
        "git": manifest.git_revision(Path(manifest.__file__).parent),
        "stages": len(took),
        "seconds": by_stage,
        "recipe": _portable(bench, resolved_toml(bench.plan.runs[0].recipe)),
    }


def _portable(bench: _Bench, toml: str) -> str:
    """The recipe as its file could hold it: $NAME for a directory that recipe or study call so, other paths from there.

    Pages are read on other machines.
    """
    base = bench.path.parent / bench.study.recipe
    written = bench.path.read_text("utf-8") + base.read_text("utf-8")
    for name in sorted({found[1] or found[2] for found in VARIABLE.finditer(written)}):
        place = os.environ.get(name, "")
        if os.path.isabs(place):
            toml = toml.replace(os.path.normpath(place), f"${name}")

    def nearer(found: re.Match[str]) -> str:
        return f'{found[1]}"{os.path.relpath(found[2], base.parent)}"'

    return re.sub(r'^(\w+ = )"(/[^"\n]*)"', nearer, toml, flags=re.M)
