"""`openklear evaluate rescore`: completions judged again. What it does is imported when it runs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from openklear.cli.limits import (
    CodeSeconds,
    Graders,
    Isolation,
    JudgeName,
    MathSeconds,
    Memory,
    Packages,
    Workers,
    judged_by,
    limits_of,
)
from openklear.cli.options import AsJson, json_only, tell

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
    math_seconds: MathSeconds = 5.0,
    code_seconds: CodeSeconds = 2.0,
    memory_mb: Memory = 256,
    isolation: Isolation = None,
    packages: Packages = None,
    graders: Graders = None,
    judge: JudgeName = "openklear",
    as_json: AsJson = False,
) -> None:
    """Judge the completions of an evaluation again, and say what moved and why. Nothing is sampled.

    For a verifier that has changed, other limits, or a grader of your own; with --judge official for what
    LiveCodeBench's own harness says of the programs, and why. `openklear evaluate --rescore DIR` is the same.

    Example: openklear evaluate rescore evaluations/qwen3-klear --math-seconds 10
    """
    limits = limits_of(
        workers, isolation, None, graders, packages,
        math_seconds=math_seconds, code_seconds=code_seconds, code_memory_mb=memory_mb,
    )  # fmt: skip
    with json_only(as_json):
        limits = judged_by(judge, limits)
        from openklear import progress
        from openklear.evaluation import rescoring

        progress.quiet(as_json)
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
