"""What a distillation leaves: responses.parquet and summary.json, made of the lines that were written on the way."""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from openklear import progress
from openklear.data.store import PROBLEM_SCHEMA, problem_columns
from openklear.distill.ahead import attempt_of
from openklear.distill.ledger import Ledger
from openklear.distill.problems import ResponseKey
from openklear.distill.settings import Settings
from openklear.durable.files import fsync_directory
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
_ROWS_PER_GROUP = 256
_MOST_BYTES = 64 << 20
"""Of texts in memory before a group is written."""


def write(path: Path, problems: Sequence[Problem], ledger: Ledger, judge: Judge | None, settings: Settings) -> Tally:
    """Write responses.parquet (whole when it appears) and count what is in it; what has no verdict yet gets it now."""
    tally = Tally(settings)
    at_once = min(DOMAINS[problem.domain].batch for problem in problems)
    names = {(problem.id, problem.content_hash) for problem in problems}
    total = sum((key.id, key.content_hash) in names for key in ledger.lines)
    partial = path.with_name(f".partial-{path.name}")
    with pq.ParquetWriter(partial, RESPONSE_SCHEMA, compression="zstd", version="2.6") as writer:
        group: list[dict[str, Any]] = []
        size = 0
        for row in _judged(_rows(problems, ledger, settings), judge, at_once, total):
            tally.add(row)
            group.append(row)
            size += _characters(row)
            if len(group) == _ROWS_PER_GROUP or size > _MOST_BYTES:
                writer.write_table(pa.Table.from_pylist(group, schema=RESPONSE_SCHEMA))
                group, size = [], 0
        writer.write_table(pa.Table.from_pylist(group, schema=RESPONSE_SCHEMA))
    _to_disk(partial)
    partial.replace(path)
    fsync_directory(path.parent)
    return tally


def _to_disk(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())


def _characters(row: dict[str, Any]) -> int:
    size = len(row["response"] or "")
    for test in row["tests"]:
        size += sum(len(text or "") for text in test.values())
    return size


def _rows(
    problems: Sequence[Problem], ledger: Ledger, settings: Settings
) -> Iterator[tuple[dict[str, Any], Attempt | Verdict]]:
    """Rows without their verdicts, and what is asked of the judge; nothing where there is no response."""
    samples: defaultdict[tuple[str, str], list[int]] = defaultdict(list)
    for key in ledger.lines:
        samples[key.id, key.content_hash].append(key.sample)
    for problem in problems:
        columns = problem_columns(problem)
        for sample in sorted(samples[problem.id, problem.content_hash]):
            line = ledger.lines.get(ResponseKey(problem.id, problem.content_hash, sample))
            assert line is not None, "a key of the ledger has a row"
            copied = ("response", "finish_reason", "seed", "prompt_tokens", "completion_tokens", "error")
            row = {
                **columns,
                **{name: line[name] for name in copied},
                "teacher": settings.teacher,
                "content_hash": problem.content_hash,
                "sample": sample,
                "server_model": line["model"],
            }
            yield row, attempt_of(problem, line) if line["error"] is None else _FAILED


def _judged(
    rows: Iterator[tuple[dict[str, Any], Attempt | Verdict]], judge: Judge | None, at_once: int, total: int
) -> Iterator[dict[str, Any]]:
    """The rows with their verdicts. Those that were judged before are in the judge's journal."""
    if judge is None:
        for row, _ in rows:
            yield row | _verdict_columns(None)
        return
    with progress.task("grading", total, "responses") as advance:
        for batch in judged(judge, rows, at_once, advance):
            for row, verdict in batch:
                yield row | _verdict_columns(None if verdict is _FAILED else verdict)


def _verdict_columns(verdict: Verdict | None) -> dict[str, Any]:
    """All are empty where there is no verdict."""
    if verdict is None:
        return dict.fromkeys(("outcome", "reason", "extracted", "passed", "total", "format_fault"))
    return {
        "outcome": verdict.outcome.value,
        "reason": verdict.reason,
        "extracted": verdict.extracted,
        "passed": verdict.passed,
        "total": verdict.total,
        "format_fault": verdict.format_fault.value,
    }


class Tally:
    """Counts of a set of responses, by domain."""

    def __init__(self, settings: Settings):
        self._settings = settings
        self._counts: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self._finish: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self._failures: Counter[str] = Counter()
        self._reasons: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self._rates: defaultdict[str, dict[str, list[float]]] = defaultdict(dict)

    def add(self, row: dict[str, Any]) -> None:
        """Count a row of `RESPONSE_SCHEMA`."""
        domain = row["domain"]
        counts = self._counts[domain]
        if row["error"] is not None:
            counts["failed"] += 1
            self._failures[short(row["error"])] += 1
            return
        counts["responses"] += 1
        counts["prompt_tokens"] += row["prompt_tokens"]
        counts["completion_tokens"] += row["completion_tokens"]
        self._finish[domain][row["finish_reason"] or "not said"] += 1
        outcome = row["outcome"]
        counts[outcome or "not graded"] += 1
        if outcome in ("incorrect", "unscorable"):
            self._reasons[domain][f"{outcome}: {short(row['reason'])}"] += 1
        if outcome in ("correct", "incorrect"):
            self._rates[domain].setdefault(f"{row['id']}\n{row['content_hash']}", []).append(
                float(outcome == "correct")
            )

    def domains(self) -> dict[str, dict[str, Any]]:
        """Domain -> its figures."""
        return {domain: self._figures(domain) for domain in sorted(self._counts)}

    def failures(self) -> dict[str, int]:
        """Reason -> responses that failed for it, most first."""
        return _most_first(self._failures)

    def _figures(self, domain: str) -> dict[str, Any]:
        counts, rates = self._counts[domain], [sum(r) / len(r) for r in self._rates[domain].values()]
        scored = counts["correct"] + counts["incorrect"]
        tokens = counts["prompt_tokens"], counts["completion_tokens"]
        return {
            **{n: counts[n] for n in ("responses", "failed", "correct", "incorrect", "unscorable")},
            "not_graded": counts["not graded"],
            "share_correct": counts["correct"] / scored if scored else None,
            "problems_graded": len(rates),
            "mean_pass_rate": sum(rates) / len(rates) if rates else None,
            "problems_never_solved": sum(rate == 0.0 for rate in rates),
            "problems_always_solved": sum(rate == 1.0 for rate in rates),
            "prompt_tokens": tokens[0],
            "completion_tokens": tokens[1],
            "cost": self._settings.cost(*tokens),
            "finish_reasons": _most_first(self._finish[domain]),
            "reasons": _most_first(self._reasons[domain]),
        }


def short(reason: str) -> str:
    """A reason that many rows share: no numbers of one row, no long tail."""
    what = reason.partition(": ")[2] if reason.startswith("test ") else reason
    words = " ".join("N" if word.strip("(),.:;").isdecimal() and i > 1 else word for i, word in enumerate(what.split()))
    return words if len(words) <= 160 else f"{words[:157]}..."


def _most_first(counts: Counter[str]) -> dict[str, int]:
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))
