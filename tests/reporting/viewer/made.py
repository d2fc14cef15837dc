"""Evaluations for the viewer's tests, written through `evaluation.stored`."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from openklear.durable.files import append_jsonl, json_line, write_json
from openklear.evaluation.stored import COMPLETIONS, PROMPTS, SAMPLES, SETTINGS, Asked, Sample, packed, write_asked
from openklear.types import Message, Outcome, StopReason

FATES = ("correct", "wrong", "truncated", "unanswered", "stands", "unscorable")
_OUTCOMES = {"correct": Outcome.CORRECT, "unscorable": Outcome.UNSCORABLE}
_REASONS = {
    "wrong": "wrong answer",
    "truncated": "stopped by length",
    "unanswered": "no answer found",
    "stands": "wrong answer",
    "unscorable": "the worker ended (killed by SIGKILL)",
}

TextOf = Callable[[int, int, str], str]
"""(problem, sample, fate) -> the completion."""


def text_of(problem: int, sample: int, fate: str) -> str:
    """A short one with a thought."""
    if fate == "truncated":
        return f"<think>\nproblem {problem}: I have to think about this for very long"
    end = {"correct": f"\\boxed{{{problem}}}", "unanswered": "I do not know."}.get(fate, f"\\boxed{{{problem + 1}}}")
    return f"<think>\nLet me see, sample {sample} of problem {problem}.\n</think>\n\nThe answer is {end}"


def fates(problems: int, samples: int, seed: int = 1) -> list[list[str]]:
    """What becomes of each completion: problems get harder from first to last."""
    draw = random.Random(seed)
    rows = []
    for problem in range(problems):
        right = 1 - problem / problems
        rows.append([_fate(draw, right) for _ in range(samples)])
    return rows


def _fate(draw: random.Random, right: float) -> str:
    return "correct" if draw.random() < right else draw.choice(FATES[1:])


class Made:
    """An evaluation that grows as `judge` is called."""

    def __init__(self, directory: Path, problems: int, benchmark: str = "aime24", **settings: Any) -> None:
        self.directory, self.benchmark = directory, benchmark
        directory.mkdir(parents=True, exist_ok=True)
        sampling = {"temperature": 0.6, "top_p": 0.95, **settings}
        write_json(directory / SETTINGS, {"format": 1, "model": {"name": "made-up-8b"}, "sampling": sampling})
        write_asked(directory / PROMPTS, [self.asked(problem) for problem in range(problems)])
        (directory / SAMPLES).touch()
        (directory / COMPLETIONS).touch()

    def asked(self, problem: int) -> Asked:
        prompt = (Message(role="user", content=f"What is {problem} times one? Give the answer in a box."),)
        facts = {"contest": "2024-I", "number": problem + 1}
        return Asked(self.benchmark, f"2024-{problem:02d}", "math", prompt, "5", str(problem), 0, 20, facts=facts)

    def judge(self, problem: int, sample: int, fate: str, text: str, **other: Any) -> Sample:
        """Adds a completion and its verdict."""
        asked = self.asked(problem)
        path = self.directory / COMPLETIONS
        start = path.stat().st_size
        row = {
            "key": f"{problem}-{sample}",
            "benchmark": asked.benchmark,
            "problem": asked.problem,
            "sample": sample,
            "stop_reason": "length" if fate == "truncated" else "stop",
            "tokens": len(text) // 4,
            "ids": packed([1, 2, 3]),
            "text": text,
        }
        append_jsonl(path, row)
        extracted = {"correct": str(problem), "truncated": None, "unanswered": None}.get(fate, str(problem + 1))
        values: dict[str, Any] = {
            "benchmark": asked.benchmark,
            "problem": asked.problem,
            "domain": asked.domain,
            "sample": sample,
            "outcome": str(_OUTCOMES.get(fate, Outcome.INCORRECT)),
            "level": asked.level,
            "reason": _REASONS.get(fate, ""),
            "extracted": extracted,
            "passed": int(fate == "correct"),
            "total": 1,
            "stop_reason": str(StopReason.LENGTH if fate == "truncated" else StopReason.STOP),
            "tokens": row["tokens"],
            "stands": fate == "stands",
            "start": start,
            "length": len(json_line(row)),
            **other,
        }
        append_jsonl(self.directory / SAMPLES, values)
        return Sample(
            **{**values, "outcome": Outcome(values["outcome"]), "stop_reason": StopReason(values["stop_reason"])}
        )


def evaluation(
    directory: Path, problems: int = 6, samples: int = 8, seed: int = 1, text: TextOf = text_of, **settings: Any
) -> Made:
    """A finished one."""
    made = Made(directory, problems, **settings)
    for problem, row in enumerate(fates(problems, samples, seed)):
        for sample, fate in enumerate(row):
            made.judge(problem, sample, fate, text(problem, sample, fate))
    return made


def with_texts(directory: Path, texts: Sequence[str]) -> Made:
    """One wrong completion of one problem for each text."""
    made = Made(directory, 1)
    for sample, one in enumerate(texts):
        made.judge(0, sample, "wrong", one)
    return made
