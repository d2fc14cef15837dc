"""What an evaluation of ours says of itself, in the words that exports need; None where it does not say."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from openklear import __version__
from openklear.errors import DataError, UsageError
from openklear.evaluation.exchange.rows import count_or_none, items, mapping, share_or_none, text_or_none
from openklear.evaluation.statistics import Estimate, Table, avg_at_k
from openklear.evaluation.stored import SETTINGS, Sample, Stored
from openklear.think import CLOSE, OPEN, split_thought
from openklear.types import Outcome

BUDGETS = ("max_completion_tokens", "max_tokens", "max_gen_toks")
"""What we and other tools call the tokens that a completion may have."""


@dataclass(frozen=True, slots=True)
class About:
    """The choices beside the numbers."""

    model: str | None
    tool: str
    """What the evaluation was made with: openklear, or the tool it was imported from."""
    version: str | None
    made: datetime
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    max_tokens: int | None = None
    protocol: str | None = None
    yarn: float | None = None
    """By which factor positions are stretched."""


def about(stored: Stored, benchmark: str | None = None) -> About:
    """From evaluation.json, with the budget of a benchmark; where it says no time, the time of the file."""
    settings, imported = stored.settings, mapping(stored.settings.get("imported"))
    sampling, protocol = mapping(settings.get("sampling")), settings.get("protocol")
    asked = next((one for one in map(mapping, items(settings.get("benchmarks"))) if one.get("name") == benchmark), {})
    stated = {**sampling, **asked}
    budgets = (count_or_none(stated[key]) for key in BUDGETS if stated.get(key) is not None)
    ours = text_or_none(mapping(settings.get("versions")).get("openklear")) or __version__
    return About(
        text_or_none(mapping(settings.get("model")).get("name")),
        text_or_none(imported.get("tool")) or "openklear",
        text_or_none(imported.get("version")) if imported else ours,
        _made(stored),
        share_or_none(sampling.get("temperature")),
        share_or_none(sampling.get("top_p")),
        count_or_none(sampling.get("top_k")) or None,
        next(budgets, None) or None,
        text_or_none(mapping(protocol).get("name")),
        share_or_none(mapping(protocol).get("yarn")),
    )


def _made(stored: Stored) -> datetime:
    said = stored.settings.get("created") or stored.settings.get("started")
    try:
        found = datetime.fromisoformat(said) if isinstance(said, str) else None
    except ValueError:
        found = None
    if found is not None:
        return found if found.tzinfo else found.replace(tzinfo=UTC)
    return datetime.fromtimestamp(int((stored.directory / SETTINGS).stat().st_mtime), UTC)


def by_benchmark(stored: Stored) -> dict[str, list[list[Sample]]]:
    """The samples of each benchmark, problem by problem. DataError where there are none."""
    found: dict[str, dict[str, list[Sample]]] = {}
    for sample in stored.samples:
        found.setdefault(sample.benchmark, {}).setdefault(sample.problem, []).append(sample)
    if not found:
        raise DataError(f"{stored.directory}: holds no judged completion yet; let the evaluation run on")
    return {name: list(map(_in_order, groups.values())) for name, groups in found.items()}


def _in_order(samples: Sequence[Sample]) -> list[Sample]:
    return sorted(samples, key=lambda one: one.sample)


def table_of(groups: Sequence[Sequence[Sample]]) -> Table:
    """(problems, samples) 1.0 correct, 0.0 incorrect, nan unscorable or not there."""
    width = max((len(group) for group in groups), default=0)
    table = np.full((len(groups), width), np.nan)
    for row, group in enumerate(groups):
        for place, one in enumerate(group):
            table[row, place] = np.nan if one.outcome is Outcome.UNSCORABLE else float(one.correct)
    return table


def average(groups: Sequence[Sequence[Sample]]) -> Estimate | None:
    """avg@k with its interval; None where no sample is scorable."""
    found = avg_at_k(table_of(groups))
    return None if math.isnan(found.value) else found


def text_of_sample(stored: Stored, sample: Sample) -> str:
    """What the model wrote; empty where it was not kept."""
    return "" if sample.start is None else stored.text(sample)


def apart(text: str, prompt_tail: str = "") -> tuple[str, str, str] | None:
    """(mark that opens the thought, thought, answer): together again they are the text. None where it has no thought,
    or one in a form that cannot be put together again."""
    split = split_thought(text, prompt_tail)
    if split.answer is None or CLOSE not in text:
        return None
    for opened in (OPEN, ""):
        if f"{opened}{split.thought}{CLOSE}{split.answer}" == text:
            return opened, split.thought, split.answer
    return None


def file_names(names: Iterable[str]) -> dict[str, str]:
    """For each name one that a file can have, told apart: names come from others' files, and may hold anything."""
    found: dict[str, str] = {}
    for name in names:
        plain = re.sub(r"[^\w.-]+", "_", name, flags=re.ASCII).strip(".")[:100] or "benchmark"
        taken = sum(other == plain or other.startswith(f"{plain}~") for other in found.values())
        found[name] = f"{plain}~{taken + 1}" if taken else plain
    return found


def new_file(path: Path) -> Path:
    """A path to write to; UsageError where something is there already."""
    if path.exists():
        raise UsageError(f"{path}: exists already; name another, or remove it")
    return path


def problem_text(stored: Stored, sample: Sample) -> str:
    """The last turn of the prompt; empty where prompts.jsonl does not have it."""
    asked = stored.asked.get(sample.place)
    return asked.prompt[-1]["content"] if asked and asked.prompt else ""


def known(values: dict[str, Any]) -> dict[str, Any]:
    """Without what nobody knows: left out of an export rather than invented."""
    return {name: value for name, value in values.items() if value is not None}
