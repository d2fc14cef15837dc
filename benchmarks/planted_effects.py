"""Whether findings of a study see a planted effect, and none where there is none, as often as power says.

    python benchmarks/planted_effects.py                     # 20 studies a row, half a minute on one core
    python benchmarks/planted_effects.py --repetitions 200

No model is trained. A study has three arms: `better` is right 3 points more often than `base`, `same` as often.
Problems are logit-normal, as those of a model that is right in about 73 %; every seed of every arm makes all problems
easier or harder by some logits. Each run's scores are drawn, written and read as a real run's are, and
`ablation.findings` says what it sees: with the interval of each comparison by itself, and after Holm's correction for
the two. The effect counts as seen where it is seen with its sign.

Beside each count stands how often `evaluation.power` says it happens, and in how many of so many repetitions that is,
95 times in 100. The corrected effect is said to be seen at least so often. Of the null 5 % are said to be seen; after
the correction, with an effect that is there, up to that. The intervals of such studies were measured to hold the truth
in 93 to 96 %, so 4 to 7 % may be.
"""

from __future__ import annotations

import argparse
import math
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from openklear.ablation.definition import Arm, Contrast, Measure, Study, StudySeeds
from openklear.ablation.findings import Findings, findings
from openklear.ablation.scores import RunScores, SeriesScores, StudyScores, read_scores, write_scores
from openklear.evaluation import power

MEAN, SPREAD = 1.4, 1.5
"""Of the problems' logits."""
GAIN = 0.03
SEEDS, PROBLEMS, SAMPLES = 8, 200, 8
NOISE = (0.0, 0.1, 0.2, 0.4)
"""Standard deviations of a seed in logits."""
ARMS = ("base", "better", "same")
EVER_SAME = "0" * 16


@dataclass(frozen=True)
class Planted:
    """How studies are drawn, and what power says of them."""

    noise: float
    gain: float
    """In logits: with it, the mean over problems and seeds is 3 points higher."""
    known: power.TwoArms

    def seen(self, difference: float, tests: int = 1) -> float:
        """How often it is seen, with its sign."""
        return power.seen_in_study(self.known, difference, SEEDS, PROBLEMS, SAMPLES, tests=tests)


def planted(noise: float) -> Planted:
    """By quadrature over problems and seeds, 80 points each."""
    points, weights = np.polynomial.hermite_e.hermegauss(80)
    weights = weights / weights.sum()

    def chances(gain: float) -> NDArray[np.float64]:
        return logistic(MEAN + gain + SPREAD * points[:, None] + noise * points)  # (problems, seeds)

    def mean(gain: float) -> float:
        return float(weights @ chances(gain) @ weights)

    low, high = 0.0, 2.0
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (middle, high) if mean(middle) - mean(0.0) < GAIN else (low, middle)
    base, better = chances(0.0), chances(low)
    moved = (better - base) @ weights  # by problem
    within = weights @ (base * (1 - base) + better * (1 - better)) @ weights
    by_seed = weights @ base
    seed = math.sqrt(max(0.0, weights @ by_seed**2 - (weights @ by_seed) ** 2))
    pair = power.Pair(float(weights @ moved**2 - (weights @ moved) ** 2), float(within))
    return Planted(noise, low, power.TwoArms(pair, seed))


def logistic(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    return 1 / (1 + np.exp(-logits))


STUDY = Study(
    name="planted",
    title="Planted effects",
    question="Is a planted effect seen?",
    recipe="none.toml",
    seeds=StudySeeds(values=tuple(range(SEEDS)), vary=("rl",)),
    arm=tuple(Arm(name=name) for name in ARMS),
    measure=(Measure(name="sums", model="rl-math", domain="math"),),
    comparison=(Contrast(before="base", after="better"), Contrast(before="base", after="same")),
)


def repetition(truth: Planted, random: np.random.Generator, directory: Path) -> Findings:
    """One study: drawn, written, read and looked at."""
    logits = random.normal(MEAN, SPREAD, PROBLEMS)
    runs = []
    for arm in ARMS:
        gain = truth.gain if arm == "better" else 0.0
        for seed in STUDY.seeds.values:
            path = directory / f"{arm}-{seed}.json"
            write_scores(path, run(arm, seed, logits + gain + random.normal(0, truth.noise), random))
            runs.append(read_scores(path))
    return findings(STUDY, StudyScores(tuple(runs), (), 0, {}))


def run(arm: str, seed: int, logits: NDArray[np.float64], random: np.random.Generator) -> RunScores:
    correct = tuple(map(int, random.binomial(SAMPLES, logistic(logits))))
    series = SeriesScores("rl-math", "sums", "math", EVER_SAME, correct, (SAMPLES,) * PROBLEMS, SAMPLES)
    return RunScores(arm, seed, (series,), {}, {}, {})


def counted(truth: Planted, repetitions: int, seed: int, directory: Path) -> Mapping[str, int]:
    """In how many repetitions each was seen: by its own interval, and after Holm's correction."""
    random = np.random.default_rng((seed, round(1000 * truth.noise)))
    names = ("effect", "effect after Holm", "null", "null after Holm")
    counts = dict.fromkeys(names, 0)
    for _ in range(repetitions):
        effect, null = repetition(truth, random, directory).compared
        counts["effect"] += effect.effect.low > 0
        counts["effect after Holm"] += effect.seen and effect.effect.value > 0
        counts["null"] += not null.effect.low <= 0 <= null.effect.high
        counts["null after Holm"] += null.seen
    return counts


def predicted(truth: Planted) -> Mapping[str, float]:
    """How often power says that each is seen; after Holm's correction, at least (the effect) or at most (the null)."""
    return {
        "effect": truth.seen(GAIN),
        "effect after Holm": truth.seen(GAIN, tests=2),
        "null": 2 * truth.seen(0.0),
        "null after Holm": 2 * truth.seen(0.0),
    }


def likely(chance: float, repetitions: int, level: float) -> tuple[int, int]:
    """The counts between which what happens with this chance lies `level` of the time: the fewest and the most."""
    ways = [math.comb(repetitions, count) for count in range(repetitions + 1)]
    shares = [way * chance**count * (1 - chance) ** (repetitions - count) for count, way in enumerate(ways)]
    sums = np.cumsum(shares)
    side = (1 - level) / 2
    return int(np.searchsorted(sums, side)), min(repetitions, int(np.searchsorted(sums, 1 - side)))


def rows(repetitions: int, seed: int, directory: Path) -> Iterator[list[str]]:
    for noise in NOISE:
        truth = planted(noise)
        chances = predicted(truth)
        for name, count in counted(truth, repetitions, seed, directory).items():
            fewest, most = likely(chances[name], repetitions, 0.95)
            bound = {"effect after Holm": "at least ", "null after Holm": "at most "}.get(name, "")
            of_all = f"{bound}{100 * chances[name]:.1f} %"
            points = f"{100 * truth.known.seed:.1f} points ({noise} logits)"
            yield [points, name, f"{count} of {repetitions}", of_all, f"{fewest} to {most}"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repetitions", type=int, default=20, help="studies of each row")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    print(f"{SEEDS} seeds x {PROBLEMS} problems x {SAMPLES} samples, an effect of {100 * GAIN:.0f} points\n")
    print("| seeds differ by | what | seen | power says | 95 % of such counts |\n|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as directory:
        for row in rows(arguments.repetitions, arguments.seed, Path(directory)):
            print(f"| {' | '.join(row)} |", flush=True)


if __name__ == "__main__":
    main()
