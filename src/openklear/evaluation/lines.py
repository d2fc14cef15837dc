"""Scores and gains in words, the same on the terminal and on pages: what a number is over stands beside it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from openklear.evaluation.scores import Row, labels


def score_lines(summary: Mapping[str, Any]) -> list[str]:
    """The avg@k of every model on every benchmark, over all levels, with its interval and what it is over."""
    rows = _whole(summary.get("scores", ()))
    names, asked = labels(rows), asked_by_place(summary.get("benchmarks", ()))
    wide = max((len(row["stage"]) for row in rows), default=0)
    wider = max(map(len, names.values()), default=0)
    lines = []
    for row in rows:
        name = names[row["benchmark"], row["domain"]]
        text = score_text(row, asked.get(place_of(row)), _others(row, summary["scores"]))
        lines.append(f"{row['stage']:{wide}}  {name:{wider}}  {text}")
    return lines


def gain_lines(summary: Mapping[str, Any]) -> list[str]:
    """What each stage gained, paired over problems, with its interval."""
    rows = summary.get("gains", ())
    names = labels(rows)
    steps = [f"{row['from']} -> {row['to']}" for row in rows]
    wide, wider = max(map(len, steps), default=0), max(map(len, names.values()), default=0)
    return [
        f"{step:{wide}}  {names[row['benchmark'], row['domain']]:{wider}}  {gain_text(row)}"
        for step, row in zip(steps, rows, strict=True)
    ]


def score_text(row: Row, asked: Row | None = None, others: Sequence[Row] = ()) -> str:
    """`avg@8 0.701 (0.655 to 0.743; resampling +-0.012), pass@8 0.840, maj@8 0.755, 30 problems, 12.0 % stopped by
    length`, where `others` are rows of the same completions."""
    value = f"{row['metric']}@{row['k']} "
    if row["value"] is None:
        value += "none"
    else:
        value += f"{row['value']:.3f}"
        anew = "" if row.get("sampling_error") is None else f"; resampling +-{1.96 * row['sampling_error']:.3f}"
        value += "" if row["low"] is None else f" ({row['low']:.3f} to {row['high']:.3f}{anew})"
    more = [f"{one['metric']}@{one['k']} {one['value']:.3f}" for one in others]
    return ", ".join([value, *more, problems_text(row) + not_asked_text(asked), *beside(row)])


def _others(row: Row, rows: Sequence[Row]) -> list[Row]:
    """pass@k and maj@k of the same completions, k above 1."""
    same = [one for one in rows if place_of(one) == place_of(row) and one["level"] is None and one["k"] == row["k"]]
    return [one for one in same if one["metric"] in ("pass", "maj") and one["value"] is not None and one["k"] > 1]


def gain_text(row: Row) -> str:
    """`+18.4 points (+15.4 to +21.5) on 200 problems`."""
    count = row["problems"]
    return f"{points(row['gain'])} points ({points(row['low'])} to {points(row['high'])}) on {problems(count)}"


def points(share: float) -> str:
    """A difference of shares in percentage points, with its sign; one that rounds to nothing has none."""
    text = f"{100 * share:+.1f}"
    return "0.0" if text in ("+0.0", "-0.0") else text


def problems_text(row: Row) -> str:
    """`200 problems`; `24 of 30 problems` where a score is not over all that there are."""
    count, of = row["problems"], row.get("of", row["problems"])
    return problems(count) if count == of else f"{count:,} of {problems(of)}"


def problems(count: int) -> str:
    """`1 problem`, `1,200 problems`."""
    return f"{count:,} problem" if count == 1 else f"{count:,} problems"


def not_asked_text(asked: Row | None) -> str:
    """` (6 not asked, which counts as wrong: prompt too long)`; nothing where all were asked."""
    reasons: Mapping[str, int] = (asked or {}).get("not_asked", {})
    if not reasons:
        return ""
    listed = next(iter(reasons)) if len(reasons) == 1 else ", ".join(f"{why}: {n:,}" for why, n in reasons.items())
    return f" ({sum(reasons.values()):,} not asked, which counts as wrong: {listed})"


_SHARES = {
    "no_answer": "without an answer",
    "stands": "not right though the answer stands in them",
    "unscorable": "unscorable",
}
"""Share of a score's completions -> what is said of it where there are any."""


def beside(row: Row) -> Iterator[str]:
    """What became of the completions behind a score: how many were stopped by length, always; the rest where there are
    any, with what the score could be where some could not be scored."""
    if row.get("stopped_by_length") is not None:
        yield f"{100 * row['stopped_by_length']:.1f} % stopped by length"
    for key, words in _SHARES.items():
        if row.get(key):
            yield f"{_at_least(row[key])} {words}"
    if row.get("worst") is not None:
        yield f"{row['worst']:.3f} to {row['best']:.3f} if those were all wrong or all right"
    if row.get("mean_tokens") is not None:
        yield f"mean length {row['mean_tokens']:,.0f} tokens"


def _at_least(share: float) -> str:
    """Per cent; a few among many are not shown as none."""
    return f"{100 * share:.1f} %" if share >= 0.0005 else "under 0.1 %"


def place_of(row: Row) -> tuple[str, str, str]:
    """Where a score and what was asked for it meet."""
    return row["stage"], row["benchmark"], row["domain"]


def asked_by_place(rows: Sequence[Row]) -> dict[tuple[str, str, str], Row]:
    """The rows of `benchmarks` by their place."""
    return {place_of(row): row for row in rows}


def _whole(rows: Sequence[Row]) -> list[Row]:
    """Rows of avg@k over all levels, and of benchmarks of which nothing could be scored."""
    return [row for row in rows if row["metric"] == "avg" and row["level"] is None]
