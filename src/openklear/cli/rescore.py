"""`openklear evaluate rescore`: completions judged again. What it does is imported when it runs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from openklear.cli.limits import (
    Graders,
    Isolation,
    JudgeName,
    Packages,
    Workers,
    judged_by,
    limits_of,
)
from openklear.cli.options import AsJson, above_zero, json_only, tell

OURS = "none"
"""`--grader none`: our own, where the evaluation had another."""
_AS_THEN = "In place of what the evaluation was made with."

if TYPE_CHECKING:
    from openklear.evaluation.rescoring import Rescored


def rescore(
    directory: Annotated[
        Path, typer.Argument(metavar="DIR", help="An evaluation, or the directory evaluate-NAME of a run.")
    ],
    write: Annotated[
        bool, typer.Option("--write", help="Put the new verdicts and scores in place of the old ones.")
    ] = False,
    shown: Annotated[int, typer.Option("--moved", min=0, metavar="N", help="How many that moved are shown.")] = 20,
    workers: Workers = None,
    math_seconds: Annotated[float | None, typer.Option(callback=above_zero, help=_AS_THEN)] = None,
    code_seconds: Annotated[float | None, typer.Option(callback=above_zero, help=_AS_THEN)] = None,
    memory_mb: Annotated[int | None, typer.Option("--memory-mb", min=16, help=_AS_THEN)] = None,
    isolation: Isolation = None,
    packages: Packages = None,
    graders: Graders = None,
    judge: JudgeName = "openklear",
    as_json: AsJson = False,
) -> None:
    """Judge the completions of an evaluation again, and say what moved and why. Nothing is sampled.

    For a verifier that has changed, other limits, or a grader of your own (`--grader none`: ours again); with --judge
    official for what LiveCodeBench's own harness says of the programs, and why. `openklear evaluate --rescore DIR` is
    the same.

    Example: openklear evaluate rescore evaluations/qwen3-klear --math-seconds 10
    """
    with json_only(as_json):
        from openklear import progress
        from openklear.evaluation import rescoring

        progress.quiet(as_json)
        then = rescoring.limits_there(directory)
        given = {"math_seconds": math_seconds, "code_seconds": code_seconds, "code_memory_mb": memory_mb}
        known = {name: value if value is not None else then.get(name) for name, value in given.items()}
        said = ",".join(then.get("packages", ())) if packages is None else packages
        named = graders or [f"{domain}={name}" for domain, name in then.get("graders", {}).items()]
        named = [] if named == [OURS] else named
        usual = {name: value for name, value in known.items() if value is not None}
        limits = judged_by(judge, limits_of(workers, isolation, None, named, said, **usual))
        found = rescoring.rescore(directory, limits)
        if write:
            rescoring.write(found)
    tell(rescoring.rows(found), [*lines(found, shown), *_written(directory, write)], as_json=as_json)


def _written(directory: Path, write: bool) -> list[str]:
    return [f"{directory}: verdicts and scores are the new ones" if write else "nothing was changed; --write does that"]


def lines(found: Rescored, most: int) -> Iterator[str]:
    """For a person: a line a benchmark, and what moved."""
    from openklear.verifiers.printable import shown

    for row in found.counts():
        before, after = (row[side] / row["samples"] for side in ("before", "after"))
        ways = ", ".join(f"{count:,} {way}" for way, count in row.items() if " to " in way) or "nothing moved"
        yield f"{row['benchmark']}  {before:.3f} -> {after:.3f} of {row['samples']:,} completions; {ways}"
    for one in found.moved[:most]:
        was = f"{one.before} ({shown(one.reason_before)})" if one.reason_before else one.before
        now = f"{one.after} ({shown(one.reason_after)})" if one.reason_after else one.after
        yield f"  {one.problem}, sample {one.sample}: {was} -> {now}{f': {one.why}' if one.why else ''}"
    if len(found.moved) > most:
        yield f"  and {len(found.moved) - most:,} more; --json has all"
