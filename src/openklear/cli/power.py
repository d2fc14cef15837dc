"""`openklear evaluate power`: what it takes to see a difference. What it does is imported when it runs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from openklear.cli.options import AsJson, above_zero, tell
from openklear.errors import UsageError

if TYPE_CHECKING:
    from openklear.evaluation.power import Needed, Pair, Variation

Directory = Annotated[
    Path | None,
    typer.Argument(
        metavar="[DIR]", help="An evaluation of such problems with 2 samples each or more, or a run: its last model."
    ),
]
Against = Annotated[
    Path | None,
    typer.Option(
        "--against", metavar="DIR2", help="One of another model: how differently the problems react is measured."
    ),
]
Benchmark = Annotated[str | None, typer.Option(metavar="NAME", help="One of DIR's benchmarks. Without it: each.")]
Difference = Annotated[
    float, typer.Option(callback=above_zero, metavar="POINTS", help="What is to be seen, in percentage points.")
]
Problems = Annotated[
    int | None, typer.Option(min=2, metavar="N", help="Of the planned evaluation. Without it: DIR's, or 30.")
]
Samples = Annotated[int | None, typer.Option(min=1, metavar="K", help="Of each problem. Without it: DIR's, or 64.")]
Mean = Annotated[
    float | None, typer.Option(metavar="SHARE", help="Without DIR: the share correct that is expected, such as 0.8.")
]
Between = Annotated[
    float | None,
    typer.Option(
        metavar="SHARE",
        help="Without DIR: how much of the variance lies between problems; 0: all are equally hard, 1: each is always "
        "solved or never. Contests: about 0.4.",
    ),
]
Correlation = Annotated[
    float | None,
    typer.Option(
        metavar="R",
        help="Without DIR2: how the two models' chances correlate over problems; 1: a gain is the same on all. "
        "Without it: 0.8.",
    ),
]
SeedSd = Annotated[
    float | None,
    typer.Option(
        "--seed-sd",
        callback=above_zero,
        metavar="POINTS",
        help="Standard deviation of the score from one training seed to the next; with it studies are planned too.",
    ),
]
Seeds = Annotated[int, typer.Option(min=2, metavar="S", help="Of each arm of a planned study.")]
Power = Annotated[float, typer.Option(metavar="SHARE", help="How often the difference is to be seen: 0.5 or more.")]


@dataclass(frozen=True, slots=True)
class _Known:
    """What is known of one benchmark, and how large the planned evaluation is."""

    benchmark: str
    one: Variation
    two: Pair
    problems: int
    samples: int


def power(
    directory: Directory = None,
    against: Against = None,
    benchmark: Benchmark = None,
    difference: Difference = 5.0,
    problems: Problems = None,
    samples: Samples = None,
    mean: Mean = None,
    between: Between = None,
    correlation: Correlation = None,
    seed_sd: SeedSd = None,
    seeds: Seeds = 4,
    power: Power = 0.8,
    as_json: AsJson = False,
) -> None:
    """Say how many problems, samples or seeds it takes to see a difference, before they are paid for.

    A score varies because problems differ, because samples of one problem differ, and because trainings differ. More
    samples mend only the second: thirty problems that are 64 times sampled still are thirty problems. How much each
    is worth is taken from an evaluation that is there (DIR), or from a mean and a guess (--mean, --between). Answers
    are at the 5 % level: an interval of 95 % that leaves out 0.

    Example: openklear evaluate power runs/quickstart/evaluate-sft --difference 3

    Example: openklear evaluate power --mean 0.8 --between 0.4 --problems 30 --samples 64 --seed-sd 1
    """
    if not 0.5 <= power < 1:
        raise UsageError(f"--power {power}: it is a share, from 0.5 on and below 1")
    if directory is not None:
        if mean is not None or between is not None:
            raise UsageError("--mean and --between stand for an evaluation that is not there; leave them out, or DIR")
        known = list(_measured(directory, against, benchmark, problems, samples, correlation))
    else:
        if mean is None or between is None or against is not None or benchmark is not None:
            raise UsageError("name an evaluation to learn from, or give --mean and --between (and no other evaluation)")
        known = [_guessed(mean, between, problems, samples, correlation)]
    found = [_answers(one, difference / 100, power, seeds, None if seed_sd is None else seed_sd / 100) for one in known]
    pairs = list(zip(known, found, strict=True))
    asked = {"difference": difference / 100, "power": power, "seeds": seeds if seed_sd else None}
    documents = [{**asdict(one), **asked, **_plain(answers)} for one, answers in pairs]
    tell(documents, _all_lines(pairs, f"{difference:g} points", power, seeds), as_json=as_json)


def _measured(
    directory: Path,
    against: Path | None,
    benchmark: str | None,
    problems: int | None,
    samples: int | None,
    correlation: float | None,
) -> Iterator[_Known]:
    from openklear.evaluation.power import counts_of, pair, pair_of, variation

    if against is not None and correlation is not None:
        raise UsageError("--correlation stands for another evaluation that is not there; leave it out, or --against")
    there = counts_of(directory)
    other = None if against is None else counts_of(against)
    both = [series for series in there if other is None or series in other]
    chosen = [series for series in both if benchmark in (None, series[0])]
    if not chosen:
        where = f"{directory} has" if other is None else f"{directory} and {against} both have"
        named = ", ".join(sorted({series[0] for series in both})) or "no benchmark with a verdict"
        raise UsageError(f"there is no {benchmark or 'benchmark'} to learn from: {where} {named}")
    for series in chosen:
        counts = there[series]
        one = variation(counts)
        guess = pair_of(one, 0.8 if correlation is None else correlation)
        two = guess if other is None else pair(counts, other[series])
        most = max(of for _, of in counts.values())
        yield _Known(f"{series[0]} ({series[1]})", one, two, problems or len(counts), samples or most)


def _guessed(
    mean: float, between: float, problems: int | None, samples: int | None, correlation: float | None
) -> _Known:
    from openklear.evaluation.power import pair_of, variation_of

    one = variation_of(mean, between)
    two = pair_of(one, 0.8 if correlation is None else correlation)
    return _Known("as guessed", one, two, problems or 30, samples or 64)


def _answers(known: _Known, difference: float, power: float, seeds: int, seed_sd: float | None) -> dict[str, Needed]:
    from openklear.evaluation.power import TwoArms, needed_for_pair, needed_for_score, needed_for_study

    size = known.problems, known.samples
    found = {
        "score": needed_for_score(known.one, difference, *size),
        "pair": needed_for_pair(known.two, difference, *size, power),
    }
    if seed_sd is not None:
        study = TwoArms(known.two, seed_sd)
        found["these"] = needed_for_study(study, difference, seeds, *size, power, these=True)
        found["like_these"] = needed_for_study(study, difference, seeds, *size, power)
    return found


def _plain(answers: dict[str, Needed]) -> dict[str, Any]:
    return {name: asdict(one) for name, one in answers.items()}


def _all_lines(
    pairs: list[tuple[_Known, dict[str, Needed]]], difference: str, power: float, seeds: int
) -> Iterator[str]:
    for number, (known, answers) in enumerate(pairs):
        if number:
            yield ""
        yield from _lines(known, answers, difference, power, seeds)


def _lines(known: _Known, answers: dict[str, Needed], difference: str, power: float, seeds: int) -> Iterator[str]:
    one, often = known.one, f"{100 * power:g} % of the time"
    yield f"{known.benchmark}: mean {one.mean:.3f}, planned {known.problems:,} problems x {known.samples:,} samples"
    yield (
        f"  standard deviations: {_points(one.between)} points from problem to problem, {_points(one.within)} of one "
        f"sample within a problem, {_points(known.two.moved)} in how problems react to the other model"
    )
    score, pair = answers["score"], answers["pair"]
    yield f"one score to +-{difference}: as planned +-{100 * score.now:.1f}"
    yield from _remedies(score, known)
    yield f"{difference} between two models on the same problems, {often}: as planned {100 * pair.now:.0f} %"
    yield from _remedies(pair, known)
    if "these" in answers:
        these, like = answers["these"], answers["like_these"]
        what = f"{difference} in a study of {seeds} seeds, {often}"
        yield f"{what}, on these problems: as planned {100 * these.now:.0f} %"
        yield from _study_remedies(these, known, "seeds")
        yield f"{what}, on problems like these: as planned {100 * like.now:.0f} %"
        yield from _study_remedies(like, known, "seeds and problems")


def _points(variance: float) -> str:
    return f"{100 * variance**0.5:.1f}"


def _remedies(needed: Needed, known: _Known) -> Iterator[str]:
    """What would be enough, one thing changed at a time."""
    endless = f"; {needed.least_problems:,} with samples without end" if needed.least_problems else ""
    yield f"  problems: {_count(needed.problems, f'x {known.samples:,} samples', 'samples')}{endless}"
    yield f"  samples:  {_count(needed.samples, f'of each of {known.problems:,} problems', 'problems')}"


def _study_remedies(needed: Needed, known: _Known, beyond_samples: str) -> Iterator[str]:
    each = f"of each arm, {known.problems:,} problems x {known.samples:,} samples"
    yield f"  seeds:    {_count(needed.seeds, each, 'problems')}"
    yield f"  problems: {_count(needed.problems, f'x {known.samples:,} samples', 'seeds')}"
    yield f"  samples:  {_count(needed.samples, f'of each of {known.problems:,} problems', beyond_samples)}"
    if needed.seeds is None and needed.problems is None and needed.least_seeds and needed.least_problems:
        least = f"{needed.least_seeds:,} seeds and {needed.least_problems:,} problems"
        yield f"  both must grow: fewer than {least} never do"


def _count(number: int | None, of: str, instead: str) -> str:
    return f"no number suffices: only more {instead} help" if number is None else f"{number:,} {of}"
