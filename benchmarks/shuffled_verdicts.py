"""A control of the demonstration: RL whose verdicts are permuted among the rollouts of each problem.

    python benchmarks/shuffled_verdicts.py RUN --output runs/shuffled

RUN is a finished run of recipes/quickstart.toml; its data and SFT model are taken over. The rewards are the same, and
tell nothing of the rollouts: what RL gains here it does not gain from its verdicts.
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path
from unittest.mock import patch

import numpy as np

from openklear.evaluation.results import RESULTS, read_results
from openklear.recipe.load import load_recipe
from openklear.run.pipeline import run_pipeline
from openklear.stages import rl
from openklear.types import Attempt, Verdict
from openklear.verifiers.judge import open_judge

SHARED = ("world", "prepare", "card", "base", "encode", "evaluate-base", "sft", "evaluate-sft")
"""Stages before RL."""


class ShuffledJudge:
    """Permutes verdicts among the attempts at each problem."""

    def __init__(self, judge, seed: int) -> None:
        self.inner, self.generator = judge, np.random.default_rng(seed)

    def __enter__(self) -> ShuffledJudge:
        self.inner.__enter__()
        return self

    def __exit__(self, *error) -> None:
        self.inner.__exit__(*error)

    def begin(self, *, stop_early: bool = False) -> ShuffledBatch:
        return ShuffledBatch(self.inner.begin(stop_early=stop_early), self.generator)


class ShuffledBatch:
    """The attempts of one call, and who they belong to."""

    def __init__(self, inner, generator) -> None:
        self.inner, self.generator = inner, generator
        self.owners: list[str] = []

    def __enter__(self) -> ShuffledBatch:
        self.inner.__enter__()
        return self

    def __exit__(self, *error) -> None:
        self.inner.__exit__(*error)

    def add(self, attempt: Attempt) -> None:
        self.owners.append(attempt.problem.id)
        self.inner.add(attempt)

    def check(self) -> None:
        self.inner.check()

    def finish(self, on_progress=None) -> list[Verdict]:
        verdicts = self.inner.finish(on_progress)
        owners = np.array(self.owners)
        for owner in dict.fromkeys(self.owners):
            places = np.flatnonzero(owners == owner)
            shuffled = [verdicts[i] for i in self.generator.permutation(places)]
            for place, verdict in zip(places, shuffled, strict=True):
                verdicts[place] = verdict
        return verdicts


def score(root: Path, stage: str, domain: str) -> float:
    """avg@k in per cent."""
    shares = [one.share for one in read_results(root / f"evaluate-{stage}" / RESULTS) if one.domain == domain]
    return 100 * float(np.mean([share for share in shares if share is not None]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, metavar="RUN")
    parser.add_argument("--output", type=Path, default=Path("runs/shuffled"))
    given = parser.parse_args()
    recipe = load_recipe(given.run / "recipe.toml")
    assert recipe.rl is not None, "the quickstart has RL"
    wrapped = patch.object(rl, "open_judge", lambda *a, **named: ShuffledJudge(open_judge(*a, **named), recipe.seed))
    for stage in SHARED:
        if not (given.output / stage).exists():
            shutil.copytree(given.run / stage, given.output / stage)
    with wrapped:
        run_pipeline(recipe, given.output, through="evaluate")
    for stage in ("sft", *(f"rl-{phase.name}" for phase in recipe.rl.phase)):
        told = ", ".join(f"{domain} {score(given.output, stage, domain):.1f}" for domain in ("math", "code"))
        print(
            f"{stage}: {told} with shuffled verdicts, {score(given.run, stage, 'math'):.1f} and "
            f"{score(given.run, stage, 'code'):.1f} with their own"
        )


if __name__ == "__main__":
    main()
