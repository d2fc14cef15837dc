"""A study of six arms as its files would have it, at any size, and what was found in it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from openklear.ablation.definition import Arm, Contrast, Measure, Note, Quoted, Study, StudySeeds
from openklear.ablation.scores import FailedRun, RunScores, SeriesScores, StudyScores

TITLES = {
    "ppo": "PPO clip-higher",
    "gppo": "GPPO",
    "high": "GPPO, high side alone (beta_low 0)",
    "ce-gppo": "CE-GPPO, beta_low .5",
    "cispo": "CISPO",
    "reinforce": "REINFORCE",
}
LEVELS = {"ppo": 0.79, "gppo": 0.69, "high": 0.78, "ce-gppo": 0.76, "cispo": 0.49, "reinforce": 0.55}
CELLS = ("high_positive", "low_negative", "low_positive", "high_negative")
HOSTILE = '<script>alert("1")</script> & <b>|x|</b> [a](http://b.example) `c`'


def study(**changes: Any) -> Study:
    """Of clipping, as small as a page needs it."""
    arms = tuple(Arm(name=name, label=TITLES[name], set={"rl.objective.type": name}) for name in TITLES)
    told: dict[str, Any] = {
        "name": "clipping",
        "title": "Clipping: what happens to the tokens outside the band",
        "question": "Does keeping the gradient of clipped tokens help, and on which side of the band?",
        "recipe": "../bases/clipping.toml",
        "set": {"rl.problems_per_iteration": 96, "rl.learning_rate": 5e-4},
        "seeds": StudySeeds(values=tuple(range(8)), vary=("rl",)),
        "arm": arms,
        "baseline": "ppo",
        "measure": (Measure(name="math", label="mathematics", model="rl-math", domain="math"),),
        "quoted": Quoted(
            where="Figure 2",
            claim="GPPO ends above CISPO, and both above clip-higher.",
            columns=("objective", "AIME24 avg@32", "LiveCodeBench avg@4"),
            rows=(("GPPO", "81.3", "58.9"), ("CISPO", "80.0", "58.0"), ("clip-higher", "79.1", "58.5")),
            note="Read off the curves: the mean of the last five evaluations. Single runs, without intervals.",
        ),
        "differs": ("A model of 0.6 million parameters instead of 8 billion.", "Learning rate 5e-4 instead of 1e-6."),
        "undisclosed": ("Whether the loss is averaged over tokens of a rollout or of the batch.",),
        "note": (Note(title="Why it may be so", text="The low side\nis where it falls.\n\nA second paragraph."),),
    }
    return Study(**(told | changes))


def run(arm: str, seed: int, *, problems: int = 200, samples: int = 8, iterations: int = 12) -> RunScores:
    """One run, whose level is its arm's and moves with its seed."""
    place = list(TITLES).index(arm)
    draws = np.random.default_rng((seed, place))
    hard = np.random.default_rng(7).normal(0, 1.5, problems)
    level = np.log(LEVELS[arm] / (1 - LEVELS[arm])) * 1.4 + draws.normal(0, 0.25)
    correct = draws.binomial(samples, 1 / (1 + np.exp(-(level + hard))))
    before = draws.binomial(samples, 1 / (1 + np.exp(-(0.9 + np.random.default_rng(3).normal(0, 1.5, problems)))))
    series = (_series("sft", before, samples), _series("rl-math", correct, samples))
    sft = {"at": tuple(range(30)), "loss": tuple(float(x) for x in np.linspace(2, 1, 30))}
    return RunScores(
        arm=arm,
        seed=seed,
        series=series,
        curves={"sft": sft, "rl-math": _curves(arm, draws, iterations)},
        seconds={"prepare": 2.5, "sft": 88.4, "rl-math": 31.0 + place, "evaluate-rl-math": 9.25},
        stages={"prepare": "p", "sft": "s", "rl-math": f"r{arm}{seed}", "evaluate-rl-math": f"e{arm}{seed}"},
    )


def _series(model: str, correct: Any, samples: int) -> SeriesScores:
    count = len(correct)
    return SeriesScores(
        model, "heldout", "math", "abc", tuple(map(int, correct)), (samples,) * count, samples, 3, 40 * count
    )


def _curves(arm: str, draws: Any, iterations: int) -> dict[str, tuple[float | None, ...]]:
    rise = np.linspace(0.45, LEVELS[arm], iterations)
    found = {
        "reward": rise + draws.normal(0, 0.02, iterations),
        "accuracy": rise + draws.normal(0, 0.02, iterations),
        "entropy": 0.4 * np.exp(-np.arange(iterations) / 9) + abs(draws.normal(0, 0.02, iterations)),
        "length_mean": 30 + draws.normal(0, 1, iterations).cumsum(),
        "grad_norm": 0.2 + abs(draws.normal(0, 0.05, iterations)),
        "kl_k3": abs(draws.normal(0, 0.003, iterations)),
        "zero_advantage": np.linspace(0.2, 0.6, iterations),
    }
    if arm != "reinforce":
        for place, cell in enumerate(CELLS):
            found[f"clip_fraction_{cell}"] = abs(draws.normal(0.006 / (place + 1), 0.002, iterations))
            found[f"gradient_share_{cell}"] = abs(draws.normal(0.08 / (place + 1), 0.02, iterations))
    curves: dict[str, tuple[float | None, ...]] = {"at": tuple(range(1, iterations + 1))}
    return curves | {name: tuple(float(f"{value:.6g}") for value in values) for name, values in found.items()}


def scores(one: Study, *, leave_out: Sequence[tuple[str, int]] = (), missing: int = 0, **size: int) -> StudyScores:
    """All runs of a study but those that are left out, which failed."""
    every = [(arm.name, seed) for arm in one.arm for seed in one.seeds.values]
    runs = [run(*pair, **size) for pair in every if pair not in leave_out]
    failed = tuple(
        FailedRun(arm, seed, "rl-math: the loss is not finite; lower the learning rate") for arm, seed in leave_out
    )
    facts = {
        "command": f"openklear ablate studies/{one.size}/{one.name}.toml --output runs/{one.name}",
        "cpu": "Some CPU @ 2.50GHz",
        "cores": 2,
        "git": {"revision": "dfc0985ecbd2", "dirty": False},
        "stages": 98,
        "seconds": {"sft": 475.5, "rl-math": 3600.0},
        "recipe": 'seed = 0\n[model]\ntype = "tiny"\n',
    }
    return StudyScores(tuple(runs), failed, missing, facts)


def models_of_one_arm(**changes: Any) -> Study:
    """The demonstration: one arm, and what RL gained on SFT."""
    return study(
        name="demonstration",
        title="The demonstration over seeds",
        arm=(Arm(name="gppo", label="quickstart"),),
        baseline=None,
        comparison=(Contrast(before="gppo:sft", after="gppo:rl-math"),),
        quoted=None,
        **changes,
    )


def with_facts(some: StudyScores, **facts: Any) -> StudyScores:
    return replace(some, facts={**some.facts, **facts})
