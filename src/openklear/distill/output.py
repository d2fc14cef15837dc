"""What a distillation leaves: responses.parquet and summary.json, made of the lines that were written on the way."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

from openklear import progress
from openklear.data.store import PROBLEM_SCHEMA, problem_columns, write_rows
from openklear.distill.ahead import attempt_of
from openklear.distill.ledger import Ledger, ResponseKey
from openklear.distill.settings import Settings
from openklear.durable.files import publish
from openklear.types import Attempt, Outcome, Problem, Verdict
from openklear.verifiers.domains import DOMAINS
from openklear.verifiers.judge import Judge
from openklear.verifiers.stream import judged

RESPONSE_SCHEMA = pa.schema(
    [
        *PROBLEM_SCHEMA,
        pa.field("teacher", pa.string(), nullable=False),
        pa.field("response", pa.string()),
        pa.field("content_hash", pa.string(), nullable=False),
        pa.field("sample", pa.int32(), nullable=False),
        pa.field("outcome", pa.string()),
        pa.field("reason", pa.string()),
        pa.field("extracted", pa.string()),
        pa.field("passed", pa.int32()),
        pa.field("total", pa.int32()),
        pa.field("format_fault", pa.string()),
        pa.field("finish_reason", pa.string()),
        pa.field("server_model", pa.string()),
        pa.field("seed", pa.uint64()),
        pa.field("prompt_tokens", pa.int64(), nullable=False),
        pa.field("completion_tokens", pa.int64(), nullable=False),
        pa.field("error", pa.string()),
    ]
)
"""One row per response, failed ones (without a response) too, in the order of the problems and the samples.

The columns of a problem, so that the file is a source of demonstrations; then `outcome` (correct, incorrect,
unscorable; null: not judged), `passed` and `total` (tests, or 1 for an answer) by `content_hash` and `sample`, which
pass rates are made of.
"""
_FAILED = Verdict(Outcome.UNSCORABLE, "no response")


def write(path: Path, problems: Sequence[Problem], ledger: Ledger, judge: Judge | None, settings: Settings) -> Tally:
    """Write responses.parquet (whole when it appears) and count what is in it; what has no verdict yet gets it now."""
    tally = Tally(settings)
    partial = path.with_name(f".partial-{path.name}")
    write_rows(partial, RESPONSE_SCHEMA, map(tally.add, _judged(problems, ledger, judge, settings)), _characters)
    publish(partial, path)
    return tally


def _characters(row: dict[str, Any]) -> int:
    size = len(row["response"] or "")
    for test in row["tests"]:
        size += sum(len(text or "") for text in test.values())
    return size


def _judged(
    problems: Sequence[Problem], ledger: Ledger, judge: Judge | None, settings: Settings
) -> Iterator[dict[str, Any]]:
    """The rows with their verdicts. Those that were judged before are in the judge's journal."""
    there = ledger.of(problems)
    rows = _rows(there, ledger, settings.teacher)
    if judge is None:
        yield from (row for row, _ in rows)
        return
    at_once = min(DOMAINS[problem.domain].batch for problem in problems)
    with progress.task("grading", sum(len(keys) for _, keys in there), "responses") as advance:
        for batch in judged(judge, rows, at_once, advance):
            for row, verdict in batch:
                yield row if verdict is _FAILED else row | _verdict_columns(verdict)


def _rows(
    there: Sequence[tuple[Problem, Sequence[ResponseKey]]], ledger: Ledger, teacher: str
) -> Iterator[tuple[dict[str, Any], Attempt | Verdict]]:
    """Rows without their verdicts, and what is asked of the judge; nothing where there is no response."""
    copied = ("response", "finish_reason", "seed", "prompt_tokens", "completion_tokens", "error")
    for problem, keys in there:
        columns = {**dict.fromkeys(RESPONSE_SCHEMA.names), **problem_columns(problem), "teacher": teacher}
        for key in keys:
            line = ledger.lines.get(key)
            assert line is not None, "a key of the ledger has a row"
            row = {**columns, **key._asdict(), **{name: line[name] for name in copied}, "server_model": line["model"]}
            yield row, attempt_of(problem, line) if line["error"] is None else _FAILED


def _verdict_columns(verdict: Verdict) -> dict[str, Any]:
    return {
        "outcome": verdict.outcome.value,
        "reason": verdict.reason,
        "extracted": verdict.extracted,
        "passed": verdict.passed,
        "total": verdict.total,
        "format_fault": verdict.format_fault.value,
    }


@dataclass(frozen=True, slots=True)
class _Counts:
    """Of one domain."""

    rows: Counter[str] = field(default_factory=Counter)
    finish: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    correct: defaultdict[tuple[str, str], list[bool]] = field(default_factory=lambda: defaultdict(list))
    """Of each problem: whether its scored responses are."""
    failures: list[str] = field(default_factory=list)
    """Of each unscorable response, why."""


class Tally:
    """Counts of a set of responses, by domain."""

    def __init__(self, settings: Settings):
        self._settings = settings
        self._domains: defaultdict[str, _Counts] = defaultdict(_Counts)
        self._failures = Counter[str]()

    def add(self, row: dict[str, Any]) -> dict[str, Any]:
        """Count a row of `RESPONSE_SCHEMA`, and pass it on."""
        counts, outcome = self._domains[row["domain"]], row["outcome"]
        if row["error"] is not None:
            counts.rows["failed"] += 1
            self._failures[short(row["error"])] += 1
            return row
        counts.rows.update(responses=1, prompt_tokens=row["prompt_tokens"], completion_tokens=row["completion_tokens"])
        counts.rows[outcome or "not_graded"] += 1
        counts.finish[row["finish_reason"] or "not said"] += 1
        if outcome in ("incorrect", "unscorable"):
            counts.reasons[f"{outcome}: {short(row['reason'])}"] += 1
        if outcome == "unscorable":
            counts.failures.append(row["reason"] if not counts.failures else "")
        if outcome in ("correct", "incorrect"):
            counts.correct[row["id"], row["content_hash"]].append(outcome == "correct")
        return row

    def domains(self) -> dict[str, dict[str, Any]]:
        """Domain -> its figures."""
        return {domain: self._figures(counts) for domain, counts in sorted(self._domains.items())}

    def failures(self) -> dict[str, int]:
        """Reason -> responses that failed for it, most first."""
        return _most_first(self._failures)

    def _figures(self, counts: _Counts) -> dict[str, Any]:
        rows, rates = counts.rows, [sum(one) / len(one) for one in counts.correct.values()]
        scored = rows["correct"] + rows["incorrect"]
        names = ("responses", "failed", "correct", "incorrect", "unscorable", "not_graded")
        return {
            **{name: rows[name] for name in names},
            "first_failure": counts.failures[0] if counts.failures else None,
            "share_correct": rows["correct"] / scored if scored else None,
            "problems_graded": len(rates),
            "mean_pass_rate": sum(rates) / len(rates) if rates else None,
            "problems_never_solved": sum(rate == 0.0 for rate in rates),
            "problems_always_solved": sum(rate == 1.0 for rate in rates),
            "prompt_tokens": rows["prompt_tokens"],
            "completion_tokens": rows["completion_tokens"],
            "cost": self._settings.cost(rows["prompt_tokens"], rows["completion_tokens"]),
            "finish_reasons": _most_first(counts.finish),
            "reasons": _most_first(counts.reasons),
        }


def short(reason: str) -> str:
    """A reason that many rows share: no numbers of one row, no long tail."""
    what = reason.partition(": ")[2] if reason.startswith("test ") else reason
    words = " ".join("N" if word.strip("(),.:;").isdecimal() and i > 1 else word for i, word in enumerate(what.split()))
    return words if len(words) <= 160 else f"{words[:157]}..."


def _most_first(counts: Counter[str]) -> dict[str, int]:
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))
