"""How often the intervals of evaluations hold the truth: synthetic evaluations, problems drawn anew each time.

    python benchmarks/coverage.py                                 # 1,000 evaluations a cell: one minute on one core
    python benchmarks/coverage.py --evaluations 200 --only score

score    one evaluation: avg@k and pass@8 of 64 against their mean over all problems of that kind, over 14 shapes of
         difficulty; and avg@k with the error of sampling alone against the mean of the very problems that were drawn
paired   two models on the same problems: the interval of the difference, and how often a null difference is refused by
         it and by the sign-flip test
study    two arms x S seeds x N problems without an effect: t over seeds, paired over problems (which takes the seeds
         for one model), two-way, and how often the sign-flip test over seeds refuses; and the mean of one arm
power    how often an effect is seen with what `openklear evaluate power` says is enough for 80 %

A nominal 95 % interval should hold the truth in 93 to 98 %: less is marked (!), more, which is wider than it need be,
(+). Truths over all problems of a kind are means of 4,000,000 draws. Everything is drawn from --seed, so the same
command prints the same tables.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cache

import numpy as np
from numpy.typing import NDArray

from openklear.evaluation.power import (
    Pair,
    TwoArms,
    Variation,
    half_width,
    needed_for_pair,
    needed_for_score,
    needed_for_study,
    seen_in_pairs,
    seen_in_study,
)
from openklear.evaluation.statistics import (
    Effect,
    Estimate,
    SamplingError,
    arm_mean,
    difference_interval,
    mean_interval,
    over_seeds,
    pass_share,
    sampling_error,
    sign_flip,
    two_way,
)

Array = NDArray[np.float64]
Draw = Callable[[np.random.Generator, int], Array]
"""(random, count) -> (count,) how likely a sample of each problem is correct."""

LOW, HIGH = 0.93, 0.98
TRUTH = 4_000_000
PASS_OF, PASS = 64, 8


def two_points(share: float, first: float, second: float) -> Draw:
    return lambda random, count: np.where(random.random(count) < share, first, second)


def beta(a: float, b: float) -> Draw:
    return lambda random, count: random.beta(a, b, count)


def logistic(logits: Array) -> Array:
    chances: Array = 1 / (1 + np.exp(-logits))
    return chances


SHAPES: dict[str, Draw] = {
    "AIME-like, mean .8: Beta(1.2, .3)": beta(1.2, 0.3),
    "AIME-like, mean .2: Beta(.3, 1.2)": beta(0.3, 1.2),
    "near 1: Beta(9, .5)": beta(9, 0.5),
    "near 0: Beta(.5, 9)": beta(0.5, 9),
    "all or nothing, half wrong": two_points(0.5, 0.0, 1.0),
    "all or nothing, 5 % wrong": two_points(0.05, 0.0, 1.0),
    "all or nothing, 1 % wrong": two_points(0.01, 0.0, 1.0),
    "90/10 mixture of .95 and .2": two_points(0.9, 0.95, 0.2),
    "uniform": beta(1, 1),
    "two heaps: Beta(.2, .2)": beta(0.2, 0.2),
    "one hill: Beta(5, 5)": beta(5, 5),
    "logit-normal(1.4, 1.5)": lambda random, count: logistic(random.normal(1.4, 1.5, count)),
    "all alike, .5": two_points(0.5, 0.5, 0.5),
    "all alike, .99": two_points(0.5, 0.99, 0.99),
}


@dataclass(frozen=True)
class Share:
    """A share of the evaluations of a cell."""

    count: int
    of: int
    promised: bool = True
    """Whether it should lie within 93 to 98 %."""

    def __str__(self) -> str:
        share = self.count / self.of
        mark = " (!)" if share < LOW else " (+)" if share > HIGH else ""
        return f"{100 * share:.1f}{mark if self.promised else ''}"


class Counted:
    """Counts by column how often something held, and how far outside a truth lay at most."""

    def __init__(self, evaluations: int, random: np.random.Generator):
        self.evaluations, self.random = evaluations, random
        self.counts: dict[str, int] = {}
        self.outside: dict[str, float] = {}

    def add(self, column: str, held: bool) -> None:
        self.counts[column] = self.counts.get(column, 0) + bool(held)

    def holds(self, column: str, interval: Estimate | SamplingError | Effect, truth: float) -> None:
        self.add(column, interval.low <= truth <= interval.high)
        outside = max(interval.low - truth, truth - interval.high)
        self.outside[column] = max(self.outside.get(column, 0.0), outside)

    def share(self, column: str, promised: bool = True) -> Share | str:
        return Share(self.counts[column], self.evaluations, promised) if column in self.counts else ""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--evaluations", type=int, default=1000, help="of each cell")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", choices=list(TABLES), help="one of the tables")
    arguments = parser.parse_args()
    most = 100 * math.sqrt(0.05 * 0.95 / arguments.evaluations)
    print(f"{arguments.evaluations:,} evaluations a cell, seed {arguments.seed}; Monte-Carlo error {most:.1f} points\n")
    for name, table in TABLES.items():
        if arguments.only in (None, name):
            start = time.perf_counter()
            table(lambda: Counted(arguments.evaluations, np.random.default_rng(arguments.seed)))
            print(f"\n{time.perf_counter() - start:.0f} s\n", flush=True)


Cell = Callable[[], Counted]
"""Makes an empty cell, always with the same draws before it."""


def table(title: str, columns: Sequence[str], rows: Iterator[Sequence[object]]) -> None:
    """Prints it row by row as Markdown."""
    print(f"## {title}\n\n| {' | '.join(columns)} |\n|{'---|' * len(columns)}", flush=True)
    for row in rows:
        print(f"| {' | '.join(map(str, row))} |", flush=True)


# One evaluation


def score(cell: Cell) -> None:
    columns = ["avg@8", "avg@64", "pass@8 of 64", "avg@8, sampling", "avg@64, sampling"]
    found: dict[str, list[float]] = {}
    short: list[str] = []

    def rows() -> Iterator[Sequence[object]]:
        for problems in (30, 200):
            for name, draw in SHAPES.items():
                counted = score_cell(cell(), draw, problems)
                yield [name, problems, *map(counted.share, columns)]
                for column in columns:
                    held = counted.counts[column] / counted.evaluations
                    found.setdefault(f"{column}, n {problems}", []).append(100 * held)
                    if held < LOW:
                        short.append(f"{column}, n {problems}, {name}: {100 * counted.outside[column]:.3f} points")

    table("One score: how often its interval holds the truth, %", ["difficulty", "n", *columns], rows())
    print("\nleast, mean and most over the shapes:")
    for name, held in found.items():
        print(f"- {name}: {min(held):.1f}, {np.mean(held):.1f}, {max(held):.1f}")
    print("\nhow far outside the truth lay at most, where fewer than 93 % held it:")
    for line in short:
        print(f"- {line}")


def score_cell(counted: Counted, draw: Draw, problems: int) -> Counted:
    random = counted.random
    many = draw(np.random.default_rng(0), TRUTH)
    truth, passing = float(many.mean()), float((1 - (1 - many) ** PASS).mean())
    passes = np.array([pass_share(PASS_OF, right, PASS) for right in range(PASS_OF + 1)])
    for _ in range(counted.evaluations):
        chances = draw(random, problems)
        for k in (8, 64):
            right = random.binomial(k, chances)  # (problems,)
            counted.holds(f"avg@{k}", mean_interval(right / k, k), truth)
            verdicts = (np.arange(k) < right[:, None]).astype(np.float64)  # the order of samples says nothing
            counted.holds(f"avg@{k}, sampling", sampling_error(verdicts), float(chances.mean()))
        counted.holds(f"pass@{PASS} of {PASS_OF}", mean_interval(passes[right], PASS_OF), passing)
    return counted


# Two models on the same problems

Two = Callable[[np.random.Generator, int], tuple[Array, Array]]
"""(random, count) -> how likely a sample of each problem is correct for both models."""


def shifted(mean: float, gain: float, reaction: float) -> Two:
    """Logit-normal problems, the second model `gain` logits better, each problem reacting by so many more."""

    def draw(random: np.random.Generator, count: int) -> tuple[Array, Array]:
        logits = random.normal(mean, 1.5, count)
        reactions = reaction * random.standard_normal(count)
        return logistic(logits - (gain + reactions) / 2), logistic(logits + (gain + reactions) / 2)

    return draw


def flipped(lost: float, won: float) -> Two:
    """Every problem is always right or always wrong: a share of all is lost, another won, the rest is right in both."""

    def draw(random: np.random.Generator, count: int) -> tuple[Array, Array]:
        place = random.random(count)
        before, after = (lost <= place) & (place < lost + won), place < lost  # wrong
        return 1.0 - before.astype(np.float64), 1.0 - after.astype(np.float64)

    return draw


def alike(draw: Draw) -> Two:
    def both(random: np.random.Generator, count: int) -> tuple[Array, Array]:
        chances = draw(random, count)
        return chances, chances

    return both


PAIRS: dict[str, Two] = {
    "no difference, AIME-like": alike(beta(1.2, 0.3)),
    "no difference, near 1": alike(beta(9, 0.5)),
    "no difference, uniform": alike(beta(1, 1)),
    "no difference, problems react by .5": shifted(1.4, 0.0, 0.5),
    "no difference, 5 % lost and 5 % won": flipped(0.05, 0.05),
    "better by .3 logits": shifted(1.4, 0.3, 0.0),
    "better by .3, problems react by .5": shifted(1.4, 0.3, 0.5),
    "better by 1, problems react by 1": shifted(-1.0, 1.0, 1.0),
    "10 % lost, nothing else moves": flipped(0.1, 0.0),
    "5 % lost, nothing else moves": flipped(0.05, 0.0),
    "2 % lost, nothing else moves": flipped(0.02, 0.0),
}


def paired(cell: Cell) -> None:
    def rows() -> Iterator[Sequence[object]]:
        for problems in (30, 200):
            for name, draw in PAIRS.items():
                counted = paired_cell(cell(), draw, problems, null=name.startswith("no "))
                last = [counted.share(column, False) for column in ("outside", "refused")]
                yield [name, problems, counted.share("k 8"), counted.share("k 64"), *last]

    columns = ["truth", "n", "k 8", "k 64", "0 outside, k 8", "sign-flip p <= .05, k 8"]
    table("Two models on the same problems: how often the interval holds the difference, %", columns, rows())


def paired_cell(counted: Counted, draw: Two, problems: int, null: bool) -> Counted:
    one, other = draw(np.random.default_rng(0), TRUTH)
    truth = 0.0 if null else float((other - one).mean())
    for _ in range(counted.evaluations):
        chances = np.array(draw(counted.random, problems))
        for k in (8, 64):
            before, after = counted.random.binomial(k, chances)
            found = difference_interval((after - before) / k)
            counted.holds(f"k {k}", found, truth)
            if null and k == 8:
                counted.add("outside", not found.low <= 0 <= found.high)
                counted.add("refused", sign_flip([Fraction(int(one), k) for one in after - before]) <= 0.05)
    return counted


# Two arms x seeds x problems

STUDIES = {
    "seeds differ by .15 logits": (8, 200, 0.15, 0.0),
    "seeds differ by .4": (8, 200, 0.4, 0.0),
    "problems react by .5": (8, 200, 0.0, 0.5),
    "seeds .15, problems .5": (8, 200, 0.15, 0.5),
    "N 30: seeds .15, problems .5": (8, 30, 0.15, 0.5),
    "S 4: seeds .3": (4, 200, 0.3, 0.0),
    "S 4, N 30: seeds .3, problems .5": (4, 30, 0.3, 0.5),
}
"""Seeds, problems, standard deviation in logits of a seed of either arm, and of what an arm does to a problem."""


def study(cell: Cell) -> None:
    def rows() -> Iterator[Sequence[object]]:
        for name, (seeds, problems, spread, reaction) in STUDIES.items():
            counted = cell()
            for _ in range(counted.evaluations):
                study_once(counted, seeds, problems, spread, reaction)
            kept = [("t over seeds", False), ("over problems", False), ("two-way", True), ("refused", False)]
            kept.append(("an arm's mean", True))
            yield [name, f"{seeds} x {problems}", *(counted.share(*column) for column in kept)]

    columns = ["no effect", "S x N", "t over seeds", "over problems", "two-way", "sign-flip over seeds, p <= .05"]
    columns.append("an arm's mean")
    table("Two arms x seeds x problems, k 8: how often the interval holds 0 on problems like these, %", columns, rows())


def study_once(counted: Counted, seeds: int, problems: int, spread: float, reaction: float, k: int = 8) -> None:
    before, after = study_draw(counted.random, seeds, problems, spread, reaction, 0.0, k)
    counted.holds("t over seeds", over_seeds(before, after), 0.0)
    counted.holds("over problems", difference_interval((after - before).mean(axis=0)), 0.0)
    counted.holds("two-way", two_way(before, after), 0.0)
    sums = np.rint((after - before).sum(axis=1) * k)
    counted.add("refused", sign_flip([Fraction(int(one), k * problems) for one in sums]) <= 0.05)
    counted.holds("an arm's mean", arm_mean(before), arm_truth(math.hypot(spread, reaction / 2)))


@cache
def arm_truth(spread: float) -> float:
    """An arm's mean over all problems and seeds."""
    return float(logistic(np.random.default_rng(0).normal(1.4, math.hypot(1.5, spread), TRUTH)).mean())


def study_draw(
    random: np.random.Generator, seeds: int, problems: int, spread: float, reaction: float, gain: float, k: int
) -> Array:
    """(2, S, N) share correct by arm, seed and problem, for k 0 how likely a sample is; the second arm is `gain` logits
    better."""
    arms = np.array([[-0.5], [0.5]])
    logits = random.normal(1.4, 1.5, problems) + arms * (gain + random.normal(0, reaction, problems))  # (2, N)
    logits = logits[:, None, :] + random.normal(0, spread, (2, seeds, 1))
    chances = logistic(logits)
    return random.binomial(k, chances) / k if k else chances


# What is said to be enough

OFTEN = 0.8


def power(cell: Cell) -> None:
    """80 % is what is to be seen; a count of problems or seeds can only reach a little more."""

    def rows() -> Iterator[Sequence[object]]:
        for name, draw in list(SHAPES.items())[:4]:
            yield score_enough(cell(), name, draw, 0.05)
        for name, both in PAIRS.items():
            if name.startswith("better"):
                yield pair_enough(cell(), name, both, 8)
        for these in (True, False):
            yield study_enough(cell(), problems=300, spread=0.15, reaction=0.3, gain=0.25, k=8, these=these)

    columns = ["what is to be seen", "enough", "as computed", "as simulated"]
    table("Power: what is said to be enough, tried", columns, rows())


def score_enough(counted: Counted, name: str, draw: Draw, half: float) -> Sequence[object]:
    many = draw(np.random.default_rng(0), TRUTH)
    one = Variation(float(many.mean()), float(many.var()), float((many * (1 - many)).mean()))
    problems = needed_for_score(one, half, 30, 64).problems or 0
    widths = []
    for _ in range(counted.evaluations):
        right = counted.random.binomial(64, draw(counted.random, problems))
        found = mean_interval(right / 64, 64)
        widths.append((found.high - found.low) / 2)
    computed = half_width(one, problems, 64)
    simulated = f"+-{100 * np.mean(widths):.2f} points"
    return [f"+-5 points, {name}", f"{problems} problems x 64", f"+-{100 * computed:.2f} points", simulated]


def pair_enough(counted: Counted, name: str, draw: Two, k: int) -> Sequence[object]:
    one, other = draw(np.random.default_rng(0), TRUTH)
    two = Pair(float((other - one).var()), float((one * (1 - one) + other * (1 - other)).mean()))
    difference = float((other - one).mean())
    problems = needed_for_pair(two, difference, 30, k, OFTEN).problems or 0
    for _ in range(counted.evaluations):
        before, after = counted.random.binomial(k, np.array(draw(counted.random, problems)))
        counted.add("seen", difference_interval((after - before) / k).low > 0)
    computed = f"{100 * seen_in_pairs(two, difference, problems, k):.1f} %"
    what = f"{100 * difference:.1f} points, {name}"
    return [what, f"{problems} problems x {k}", computed, f"{counted.share('seen', False)} %"]


def study_enough(
    counted: Counted, problems: int, spread: float, reaction: float, gain: float, k: int, these: bool
) -> Sequence[object]:
    one, other = study_draw(np.random.default_rng(0), 1, TRUTH, 0.0, reaction, gain, 0)
    moves = [float((chances * (1 - chances)).mean()) for chances in (one, other)]  # of a score, for each logit
    seed = spread * math.hypot(*moves) / math.sqrt(2)
    two = Pair(float((other - one).var()), float((one * (1 - one) + other * (1 - other)).mean()))
    known, difference = TwoArms(two, seed), float((other - one).mean())
    seeds = needed_for_study(known, difference, 4, problems, k, OFTEN, these=these).seeds
    what = f"{100 * difference:.1f} points, seeds differ by {100 * seed:.1f}, "
    what += "on these problems" if these else "on problems like these"
    if seeds is None:
        return [what, "no number of seeds", "", ""]
    interval = over_seeds if these else two_way
    for _ in range(counted.evaluations):
        before, after = study_draw(counted.random, seeds, problems, spread, reaction, gain, k)
        counted.add("seen", interval(before, after).low > 0)
    computed = f"{100 * seen_in_study(known, difference, seeds, problems, k, these=these):.1f} %"
    return [what, f"{seeds} seeds x {problems} problems x {k}", computed, f"{counted.share('seen', False)} %"]


TABLES: dict[str, Callable[[Cell], None]] = {"score": score, "paired": paired, "study": study, "power": power}


if __name__ == "__main__":
    main()
