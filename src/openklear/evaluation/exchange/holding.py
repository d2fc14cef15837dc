"""A tool's own summary scores, held against what its rows give. A difference is said, never hidden."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

from openklear.evaluation.exchange.rows import Claim, JudgedRow
from openklear.types import Outcome

CLOSE_ENOUGH = 1e-4
"""Tools round to four digits."""
Answers = list[tuple[float | None, bool, str | None]]
"""Of one problem, in the order of its samples: the tool's score, whether that is a full mark, and the answer."""


def held(claims: Sequence[Claim], rows: Sequence[JudgedRow]) -> list[dict[str, Any]]:
    """A row for each claim: its value, what the rows give for it in the same way, and whether the two agree.

    `rows_give` counts parts of a mark as the tool does; `full_marks` is the score of the verdicts, where it differs.
    """
    return [_held(claim, _problems(claim, rows)) for claim in claims]


def disagreements(found: Sequence[dict[str, Any]]) -> list[str]:
    """The claims that the rows do not bear out, in words."""
    return [f"{_name(row)}: {row['says']}" for row in found if row["agrees"] is False or row["full_marks"] is not None]


def _name(row: dict[str, Any]) -> str:
    level = f" ({row['level']})" if row["level"] else ""
    return f"{row['benchmark']}{level}, {row['metric']}"


def _problems(claim: Claim, rows: Sequence[JudgedRow]) -> list[Answers]:
    found: dict[str, Answers] = {}
    for row in rows:
        if row.asked.benchmark == claim.benchmark and claim.level in (None, row.asked.level):
            one = (row.mark.score, row.mark.outcome is Outcome.CORRECT, row.extracted)
            found.setdefault(row.asked.problem, []).append(one)
    return list(found.values())


def _held(claim: Claim, problems: Sequence[Answers]) -> dict[str, Any]:
    kind, k = claim.ours or ("", 0)
    gives = _score(kind, k, problems, parts=True) if claim.ours else None
    full = _score(kind, k, problems, parts=False) if claim.ours else None
    agrees = None if gives is None else abs(gives - claim.value) <= CLOSE_ENOUGH
    apart = None if full is None or gives is None or math.isclose(full, gives) else full
    return {
        "benchmark": claim.benchmark,
        "level": claim.level,
        "metric": claim.metric,
        "value": claim.value,
        "over": claim.over,
        "problems": len(problems),
        "rows_give": gives,
        "full_marks": apart,
        "agrees": agrees,
        "says": _says(claim, len(problems), gives, apart, agrees),
    }


def _says(claim: Claim, problems: int, gives: float | None, full: float | None, agrees: bool | None) -> str:
    if gives is None:
        return "kept; the rows here give nothing to hold it against"
    apart = claim.over is not None and claim.over != problems
    size = f", over {claim.over:,} problems there and {problems:,} here" if apart else ""
    same = f"the same ({gives:.4f})" if agrees else f"{claim.value:.4f} there, {gives:.4f} from the rows"
    parts = "" if full is None else f"; {full:.4f} where only full marks count, as they do here"
    return f"{same}{size}{parts}"


def _score(kind: str, k: int, problems: Sequence[Answers], *, parts: bool) -> float | None:
    """The mean over problems of one metric; None where no problem has it."""
    values = []
    for answers in problems:
        scored = [one for one in answers if one[0] is not None]
        value = _METRICS[kind](scored, k, parts)
        if value is not None:
            values.append(value)
    return sum(values) / len(values) if values else None


def _marks(answers: Answers, parts: bool) -> list[float]:
    return [float(score or 0.0) if parts else float(right) for score, right, _ in answers]


def _mean(answers: Answers, k: int, parts: bool) -> float | None:
    marks = _marks(answers[: k or None], parts)
    return sum(marks) / len(marks) if marks else None


def _pass(answers: Answers, k: int, parts: bool) -> float | None:
    """1 - C(n - c, k) / C(n, k), of full marks: a part of one does not pass."""
    count, right = len(answers), sum(one[1] for one in answers)
    return 1.0 - math.comb(count - right, k) / math.comb(count, k) if count >= k else None


def _majority(answers: Answers, k: int, parts: bool) -> float | None:
    """The commonest answer of the first k, by its text; of several as common, the mean of their marks.

    Completions without an answer do not vote; where none votes, the problem is not solved.
    """
    some = answers[:k]
    votes = Counter((one[2], mark) for one, mark in zip(some, _marks(some, parts), strict=True) if one[2] is not None)
    if len(some) < k:
        return None
    most = max(votes.values(), default=0)
    first = [mark for (_, mark), count in votes.items() if count == most]
    return sum(first) / len(first) if first else 0.0


_METRICS = {"avg": _mean, "pass": _pass, "maj": _majority}
