"""`openklear compare`: two evaluations of the same problems. What it does is imported when it runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from openklear.cli.options import AsJson, tell
from openklear.errors import UsageError

if TYPE_CHECKING:
    from openklear.evaluation.comparison import BenchmarkComparison
    from openklear.evaluation.evaluated import Evaluated

Place = "A run directory (its last model is taken), or one of its directories evaluate-NAME."


def compare(
    before: Annotated[Path, typer.Argument(metavar="A", help=Place)],
    after: Annotated[Path, typer.Argument(metavar="B", help="The same of the other model.")],
    moved: Annotated[
        int, typer.Option(min=0, metavar="N", help="How many of the problems that moved furthest are shown.")
    ] = 5,
    as_json: AsJson = False,
) -> None:
    """Say what B gained on A, problem by problem, with intervals, p-values and what was asked differently.

    The interval is for problems like these. p is of a sign-flip test: how often chance alone makes such a difference;
    with several benchmarks it is shown adjusted for their number (Holm) as well.

    Example: openklear compare runs/quickstart/evaluate-sft runs/quickstart/evaluate-rl-code
    """
    from openklear.evaluation.comparison import compare as compared
    from openklear.evaluation.evaluated import asked_otherwise, open_evaluated

    sides = open_evaluated(before), open_evaluated(after)
    found = compared(sides[0].results, sides[1].results)
    if not found:
        raise UsageError(f"{before} and {after} have no problem in common that both could score")
    changed = asked_otherwise(*sides, dict.fromkeys(one.benchmark for one in found))
    document = {
        "before": sides[0].directory,
        "after": sides[1].directory,
        "settings": {name: {"before": a, "after": b} for name, (a, b) in changed.items()},
        "benchmarks": [asdict(one) for one in found],
    }
    tell(document, _lines(sides, found, changed, moved), as_json=as_json)


def _lines(
    sides: tuple[Evaluated, Evaluated],
    found: Sequence[BenchmarkComparison],
    changed: Mapping[str, tuple[Any, Any]],
    most: int,
) -> Iterator[str]:
    from openklear.evaluation.lines import points, problems

    yield f"A {sides[0].directory}"
    yield f"B {sides[1].directory}"
    for one in found:
        yield ""
        gain, count = one.difference, one.difference.problems
        yield f"{one.benchmark} ({one.domain}), {problems(count)}"
        yield f"  A {_score(one.before)}   B {_score(one.after)}"
        several = f", {_chance(one.adjusted)} adjusted for {len(found)} benchmarks" if len(found) > 1 else ""
        span = f"{points(gain.low)} to {points(gain.high)}"
        yield f"  B - A {points(gain.value)} points ({span}), p {_chance(one.p)}{several}"
        if one.only_before or one.only_after:
            yield f"  left out: {problems(one.only_before)} of A alone, {problems(one.only_after)} of B alone"
        yield from _moves(one, most)
    yield ""
    yield "asked in the same way, as far as it is recorded" if not changed else "asked differently:"
    yield from (f"  {name}: {_setting(a)} -> {_setting(b)}" for name, (a, b) in changed.items())


def _score(estimate: Any) -> str:
    return f"{estimate.value:.3f} ({estimate.low:.3f} to {estimate.high:.3f})"


def _chance(p: float) -> str:
    return f"{p:.2g}" if p >= 1e-6 else "below 1e-6"


def _setting(value: Any) -> str:
    return "not recorded" if value is None else f"{value!r}"


def _moves(one: BenchmarkComparison, most: int) -> Iterator[str]:
    up = sum(problem.after > problem.before for problem in one.moved)
    shown = f", the furthest {min(most, len(one.moved))}:" if most and one.moved else ""
    yield f"  {up:,} problems up, {len(one.moved) - up:,} down{shown}"
    for problem in one.moved[:most]:
        yield f"    {problem.id}  {problem.before:.2f} -> {problem.after:.2f}"
