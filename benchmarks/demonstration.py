"""What the demonstration run shows, over seeds and against its controls: one command, one table.

    python benchmarks/demonstration.py --seeds 0 1 2 --output runs/demonstration

For every seed it runs recipes/quickstart.toml, and two controls that change one thing each:
  more-sft   no RL; SFT for as many more epochs as take the wall time that RL took
  shuffled   RL whose verdicts are permuted among the rollouts of each problem
Finished runs are reused. Differences are paired over held-out problems, with 95 % intervals.
"""

import argparse
import json
import shutil
from pathlib import Path
from unittest.mock import patch

import numpy as np

from openklear.data.store import prepared, read_problems
from openklear.evaluation.statistics import Estimate, Table, correctness, paired_difference
from openklear.recipe.load import load_recipe
from openklear.rollout.records import read_rollouts
from openklear.run.pipeline import run_pipeline
from openklear.stages import rl
from openklear.types import Attempt, Verdict
from openklear.verifiers.judge import open_judge

RECIPE = Path(__file__).parents[1] / "recipes" / "quickstart.toml"


class ShuffledJudge:
    """Permutes verdicts among the attempts at each problem: the same rewards, telling nothing of the rollouts."""

    def __init__(self, judge, seed: int) -> None:
        self.judge_inner, self.generator = judge, np.random.default_rng(seed)

    def __enter__(self) -> "ShuffledJudge":
        self.judge_inner.__enter__()
        return self

    def __exit__(self, *error) -> None:
        self.judge_inner.__exit__(*error)

    def begin(self, *, stop_early: bool = False) -> "ShuffledBatch":
        return ShuffledBatch(self.judge_inner.begin(stop_early=stop_early), self.generator)


class ShuffledBatch:
    def __init__(self, inner, generator) -> None:
        self.inner, self.generator = inner, generator
        self.owners: list[str] = []

    def __enter__(self) -> "ShuffledBatch":
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


def table(root: Path, stage: str, domain: str) -> Table:
    problems = {p.id: p for p in read_problems(prepared(root / "prepare").heldout)}
    parts = sorted((root / f"evaluate-{stage}" / "parts").iterdir())
    groups = [g for part in parts for g in read_rollouts(part / "rollouts.parquet", problems)[0]]
    return correctness([g for g in groups if g.problem.domain == domain])


def main_run(output: Path, seed: int) -> Path:
    root = output / f"seed-{seed}"
    run_pipeline(load_recipe(RECIPE, [f"seed={seed}"]), root)
    return root


def more_sft(output: Path, seed: int, main: Path) -> Path:
    seconds = json.loads((main / "summary.json").read_text())["seconds"]
    plain = load_recipe(RECIPE).sft
    assert plain is not None
    epochs = plain.epochs
    longer = round(epochs * (1 + (seconds["rl-math"] + seconds["rl-code"]) / seconds["sft"]))
    recipe = load_recipe(RECIPE, [f"seed={seed}", f"sft.epochs={longer}"])
    root = output / f"seed-{seed}-more-sft"
    run_pipeline(recipe.model_copy(update={"rl": None}), root)
    return root


def shuffled(output: Path, seed: int, main: Path) -> Path:
    root = output / f"seed-{seed}-shuffled"
    for stage in ("world", "prepare", "base", "evaluate-base", "sft", "evaluate-sft"):  # the same up to here
        if not (root / stage).exists():
            shutil.copytree(main / stage, root / stage)
    with patch.object(rl, "open_judge", lambda *given, **named: ShuffledJudge(open_judge(*given, **named), seed)):
        run_pipeline(load_recipe(RECIPE, [f"seed={seed}"]), root)
    return root


def points(estimate: Estimate) -> str:
    return f"{100 * estimate.value:+.1f} [{100 * estimate.low:+.1f}, {100 * estimate.high:+.1f}]"


def level(root: Path, stage: str, domain: str) -> str:
    return f"{100 * np.nanmean(table(root, stage, domain)):.1f}"


def change(root: Path, before: str, after: str, domain: str) -> str:
    return points(paired_difference(table(root, before, domain), table(root, after, domain)))


STAGES = ("base", "sft", "rl-math", "rl-code")
OWN = {"math": ("sft", "rl-math"), "code": ("rl-math", "rl-code")}
"""Domain -> the stages before and after its own phase; the other's phase is that of the other domain."""
OTHERS = {"math": OWN["code"], "code": OWN["math"]}
HEAD = ["seed", "domain", "base", "SFT", "math RL", "code RL", "gain", "in the other phase", "more SFT instead of RL"]


def rows(seed: int, main: Path, longer: Path | None) -> list[str]:
    lines = []
    for domain in OWN:
        cells = [str(seed), domain, *(level(main, stage, domain) for stage in STAGES)]
        cells += [change(main, *OWN[domain], domain), change(main, *OTHERS[domain], domain)]
        cells.append("" if longer is None else level(longer, "sft", domain))
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def noise_line(seed: int, noise: Path) -> str:
    ends = ", ".join(f"{domain} {level(noise, stages[1], domain)}" for domain, stages in OWN.items())
    return f"seed {seed}, verdicts permuted, after the domain's own phase: {ends}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--output", type=Path, default=Path("runs/demonstration"))
    parser.add_argument("--controls", nargs="*", default=["more-sft", "shuffled"], choices=["more-sft", "shuffled"])
    arguments = parser.parse_args()
    lines = [f"| {' | '.join(HEAD)} |", "|" + "---|" * len(HEAD)]
    told = []
    for seed in arguments.seeds:
        root = main_run(arguments.output, seed)
        longer = more_sft(arguments.output, seed, root) if "more-sft" in arguments.controls else None
        lines += rows(seed, root, longer)
        if "shuffled" in arguments.controls:
            told.append(noise_line(seed, shuffled(arguments.output, seed, root)))
    print("\n".join([*lines, "", *told]))


if __name__ == "__main__":
    main()
