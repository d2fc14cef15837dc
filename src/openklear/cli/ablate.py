"""`openklear ablate`: run a study and write its page. What it does is imported when it runs."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from openklear.cli import exits
from openklear.cli.options import AsJson, above_zero, json_only, not_negative, tell
from openklear.errors import UsageError

if TYPE_CHECKING:
    from openklear.ablation.definition import Study
    from openklear.ablation.findings import Findings
    from openklear.ablation.scores import StudyScores


StudyFile = Annotated[Path, typer.Argument(metavar="STUDY", help="The study, a TOML file.")]
Output = Annotated[
    Path | None,
    typer.Option("--output", "-o", metavar="DIR", help="Where its runs lie. What is finished there is kept."),
]
Jobs = Annotated[
    int | None,
    typer.Option(
        "--jobs",
        "-j",
        min=1,
        help="Stages at a time; the result does not depend on it. By default as many as the cores allow, on a GPU one.",
    ),
]
Reports = Annotated[
    Path | None,
    typer.Option("--reports", metavar="DIR", help="Leave page and scores in DIR/NAME too, beside an index of all."),
]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Print arms, runs, hours and memory by the planner; write nothing, and stop.")
]
Device = Annotated[
    str | None,
    typer.Option("--device", metavar="NAME", help="For which machine a dry run plans: h100, h200, cpu and others."),
]
Price = Annotated[
    float | None,
    typer.Option(
        callback=lambda value: value if value is None else not_negative(value),
        help="What that machine costs an hour, in any currency.",
    ),
]
Length = Annotated[
    float | None,
    typer.Option(callback=above_zero, metavar="N", help="Tokens of a sampled completion, as a dry run plans them."),
]


def ablate(
    study: StudyFile,
    output: Output = None,
    jobs: Jobs = None,
    reports: Reports = None,
    dry_run: DryRun = False,
    device: Device = None,
    price: Price = None,
    completion_tokens: Length = None,
    as_json: AsJson = False,
) -> None:
    """Run a study: a recipe in several arms, with several seeds, compared with two-way intervals, and its page.

    Stages that runs share are made once. After an interruption, a kill or a failure the same command goes on, and ends
    with the same page. A run that fails is shown and does not stop the others; the exit code is 1 then.

    Example: openklear ablate studies/small/clipping.toml --output runs/clipping --jobs 2
    """
    from openklear.ablation.definition import load_study

    loaded = load_study(study)
    if dry_run:
        if jobs is not None or reports is not None:
            raise UsageError("--jobs and --reports are of a study that is run; leave them out with --dry-run")
        _print_budget(loaded, study, device, price, completion_tokens, as_json)
        return
    if output is None:
        raise UsageError("give --output DIR, where the runs of the study will lie (or --dry-run to see what it takes)")
    if device is not None or price is not None or completion_tokens is not None:
        raise UsageError("--device, --price and --completion-tokens plan a study; use them with --dry-run")
    _run(loaded, study, output, jobs, reports, as_json)


def _print_budget(
    study: Study, path: Path, device: str | None, price: float | None, length: float | None, as_json: bool
) -> None:
    from openklear.ablation.budget import budget

    with json_only(as_json):
        found = budget(study, path, device, completion_tokens=length)
    tell(found.document(price), found.lines(price), as_json=as_json)


def _run(study: Study, path: Path, output: Path, jobs: int | None, reports: Path | None, as_json: bool) -> None:
    from dataclasses import replace

    from openklear import progress
    from openklear.ablation.findings import findings
    from openklear.ablation.reports import leave, publish
    from openklear.ablation.study import run_study

    exits.write_crashes_to(output)
    progress.quiet(as_json)
    with json_only(as_json):
        scores = run_study(study, path, output, jobs)
        scores = replace(scores, facts={**scores.facts, **_command(study, path)})
        found = findings(study, scores)
        pages = leave(study, scores, found, output)
        if reports is not None:
            publish(study, scores, found, reports)
    lines = [found.headline, *found.warnings, *(os.fspath(page) for page in pages)]
    tell(_document(study, scores, found), lines, as_json=as_json)
    if scores.failed or scores.missing:
        raise typer.Exit(1)


def _command(study: Study, path: Path) -> dict[str, str]:
    """The command as it is typed where the file is seen from; a path of one machine is of no use on a page."""
    shown = Path(os.path.relpath(path))
    if ".." in shown.parts:
        return {}
    return {"command": f"openklear ablate {shown.as_posix()} --output runs/{study.name}"}


def _document(study: Study, scores: StudyScores, found: Findings) -> dict[str, Any]:
    from dataclasses import asdict

    return {
        "study": study.name,
        "headline": found.headline,
        "warnings": list(found.warnings),
        "scores": [asdict(one) for one in found.scores],
        "comparisons": [
            {**asdict(one), "comparison": one.comparison.model_dump(), "measure": one.measure.name}
            for one in found.compared
        ],
        "failed": [asdict(one) for one in scores.failed],
        "missing": scores.missing,
        "seconds": dict(scores.facts["seconds"]),
    }
