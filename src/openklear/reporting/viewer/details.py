"""One completion as the page shows it: its text in parts, what it was asked, and what decided."""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from openklear.data.store import prepared, problem_of
from openklear.errors import DataError, OpenKlearError
from openklear.evaluation.references import references
from openklear.evaluation.stored import Asked, Sample, Stored
from openklear.reporting.texts import excerpt, short, visible
from openklear.reporting.viewer.growing import Snapshot
from openklear.reporting.viewer.shape import flags
from openklear.think import CLOSE, OPEN
from openklear.types import Message, Problem
from openklear.verifiers.answers import extract_answer
from openklear.verifiers.domains import DOMAINS

TEST_SHOWN = 6000
"""Characters of a test's input, and of its output: those of contests can be megabytes."""
MOST_BYTES = 64 << 20
"""Of a benchmark's data, for it to be read when a completion is opened."""
_FAILED = re.compile(r"test (\d{1,6}) of (\d{1,6})\b")


def completion(snapshot: Snapshot, run: Path, problem: int, number: int) -> dict[str, Any]:
    """A completion with all that is known of it. DataError where there is none, or its text is gone."""
    sample = snapshot.sample(problem, number)
    asked = snapshot.stored.asked.get(sample.place)
    tail = asked.prompt_tail if asked else ""
    text, fault = "", ""
    try:
        text = snapshot.stored.text(sample)
    except (DataError, KeyError) as error:
        fault = f"its text is not here: {error}"
    return {
        **facts(sample),
        "fault": visible(fault),
        "parts": parts(text, tail),
        "characters": len(text),
        "asked": _asked(asked),
        "test": failing_test(sample, run, snapshot.stored),
        "explainable": explainable(sample, asked) and not fault,
    }


def facts(sample: Sample) -> dict[str, Any]:
    """What its verdict says."""
    row = {name: value for name, value in asdict(sample).items() if name not in ("start", "length")}
    row |= {name: visible(row[name]) for name in ("benchmark", "problem", "reason", "format_fault")}
    row["extracted"] = None if sample.extracted is None else visible(sample.extracted)
    return {**row, "flags": flags(sample)}


def parts(text: str, prompt_tail: str = "") -> list[tuple[str, str]]:
    """("text" | "thought", what stands there) in order, marks included: nothing is left out, nothing hidden.

    The thought is what `think.split_thought` takes for it: up to the last mark that closes one, or to the end where one
    is opened and never closed.
    """
    opened = OPEN in text or prompt_tail.rfind(OPEN) > prompt_tail.rfind(CLOSE)
    end = text.rfind(CLOSE)
    end = end + len(CLOSE) if end >= 0 else (len(text) if opened else 0)
    while end and text[end : end + 1] == "\n":  # the empty lines between the two go with the thought
        end += 1
    start = text.find(OPEN, 0, end)
    in_prompt = prompt_tail.rfind(OPEN) > prompt_tail.rfind(CLOSE)
    start = 0 if start < 0 or in_prompt else start
    cut = [("text", text[:start]), ("thought", text[start:end]), ("text", text[end:])]
    return [(kind, visible(one)) for kind, one in cut if one]


def explainable(sample: Sample, asked: Asked | None) -> bool:
    """Whether `grading.explain` can say which rule decided: it knows answers of mathematics."""
    domain = DOMAINS.get(sample.domain)
    return bool(asked and asked.reference and domain and domain.extract is extract_answer)


def explained(snapshot: Snapshot, problem: int, number: int) -> list[str]:
    """The lines of `openklear grade explain` for a completion. DataError where it cannot be explained."""
    from openklear.grading.explain import explain

    sample = snapshot.sample(problem, number)
    asked = snapshot.stored.asked.get(sample.place)
    if asked is None or asked.reference is None or not explainable(sample, asked):
        raise DataError(f"{sample.problem}: only verdicts on answers of mathematics are explained")
    found = explain(asked.reference, snapshot.stored.text(sample), prompt_tail=asked.prompt_tail)
    return list(map(visible, found.lines()))


def failing_test(sample: Sample, run: Path, stored: Stored | None = None) -> dict[str, Any] | None:
    """The test that its reason names, with what it gives and expects as far as the run's data, or the benchmark's where
    the evaluation had it, say it."""
    named = _FAILED.match(sample.reason)
    if named is None:
        return None
    number = int(named[1])
    told: dict[str, Any] = {"number": number, "of": int(named[2]), "fields": []}
    problem = known_problems(prepared(run / "prepare").heldout, [sample.problem]).get(sample.problem)
    problem = problem or _of_benchmark(stored, sample)
    if problem is None or not 0 < number <= len(problem.tests):
        return {**told, "note": "The tests themselves are not beside this evaluation, so only their number is known."}
    for name, value in asdict(problem.tests[number - 1]).items():
        told["fields"].append((name, *_excerpt(value)))
    return told


def _of_benchmark(stored: Stored | None, sample: Sample) -> Problem | None:
    """The problem where the evaluation says that its data is; None where that is gone, or too big to wait for."""
    rows = [] if stored is None else stored.settings.get("benchmarks", [])
    path = next((Path(row.get("data") or "") for row in rows if row.get("name") == sample.benchmark), None)
    if stored is None or path is None or not path.is_file() or path.stat().st_size > MOST_BYTES:
        return None
    with suppress(OpenKlearError):
        return references(stored, [sample.place]).get(sample.place)
    return None


def _excerpt(text: str) -> tuple[str, int, str]:
    cut = excerpt(text, TEST_SHOWN * 2 // 3, TEST_SHOWN // 3)
    return cut.head, cut.left_out, cut.tail


def known_problems(path: Path, ids: Sequence[str]) -> dict[str, Problem]:
    """The problems of those ids that a file of problems has; {} where it is absent or cannot be read."""
    if not path.is_file():
        return {}
    try:
        rows = pq.read_table(path, filters=[("id", "in", list(ids))]).to_pylist()
        return {row["id"]: problem_of(row) for row in rows}
    except (OpenKlearError, OSError, ValueError, KeyError):  # the page shows what it can
        return {}


def _asked(asked: Asked | None) -> dict[str, Any]:
    if asked is None:
        return {"prompt": [], "facts": []}
    return {
        "prompt": messages(asked.prompt),
        "tail": visible(asked.prompt_tail),
        "reference": None if asked.reference is None else visible(asked.reference),
        "level": None if asked.level is None else short(asked.level),
        "tokens": asked.prompt_tokens,
        "tests": asked.tests,
        "refused": visible(asked.refused),
        "facts": [(short(name), short(value, 600)) for name, value in asked.facts.items()],
    }


def messages(prompt: Sequence[Message]) -> list[tuple[str, str]]:
    """(role, content) of each turn."""
    return [(short(str(one["role"])), visible(str(one["content"]))) for one in prompt]
