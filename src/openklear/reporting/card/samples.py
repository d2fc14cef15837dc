"""Rows to look at: some that were kept, some of each reason to drop, and what decontamination matched."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from openklear.data.rows import prompt_text
from openklear.data.store import PreparedPaths, problem_of
from openklear.errors import DataError
from openklear.reporting.card.page import CardTable, Chapter, Example
from openklear.reporting.card.rows import Kind, chosen, ends
from openklear.reporting.texts import excerpt, share, short

A_SOURCE, A_DATASET = 3, 9
"""Examples of kept rows: at most this many per source, and per data set."""
A_REASON = 3
ENDS = 10
"""Matches of decontamination shown from either end."""


def kept(path: Path, dataset: str, title: str, seed: int) -> Chapter:
    """Rows that were kept, chosen by the seed: the first of every source, then the second of each."""
    columns = ("id", "source", "where", "prompt", "domain", "level", "answer", "response", "teacher", "claimed")
    found = chosen(path, ("source",), columns, A_SOURCE, seed)
    rows: list[dict[str, Any]] = []
    for number in range(A_SOURCE):
        rows += [kind.rows[number] for kind in found.values() if number < len(kind.rows)]
    examples = list(map(_kept_example, rows[:A_DATASET]))
    text = "Chosen by the recipe's seed, not by hand."
    return Chapter(f"kept-{dataset}", f"{title}: examples", text, groups=[("", examples)])


def dropped(path: Path, funnel: Sequence[Mapping[str, Any]], seed: int) -> Chapter:
    """Rows that were dropped, by reason; DataError where the file does not hold what the funnel counted."""
    columns = ("id", "source", "where", "detail", "domain", "level", "text")
    found = chosen(path, ("dataset", "step", "reason"), columns, A_REASON, seed)
    _require_agreement(path, funnel, found)
    read: Counter[tuple[str, str]] = Counter()
    for row in funnel:
        read[row["dataset"], row["step"]] += row["read"]
    rows, groups = [], []
    for (dataset, step, reason), kind in found.items():
        names, count = (short(dataset), short(step), short(reason)), f"{kind.count:,}"
        rows.append((*names, count, share(kind.count, read[dataset, step])))
        groups.append((f"{dataset}, {step}: {reason} ({count})", list(map(_dropped_example, kind.rows))))
    numbers = ("rows", "of those the step read")
    table = CardTable("dropped", ("data set", "step", "reason", *numbers), rows, numbers)
    text = f"All of them are in {path.name}, with their texts. Up to {A_REASON} of each reason, chosen by the seed:"
    if not rows:
        text = "Nothing was dropped."
    return Chapter("dropped", "What was dropped, and why", text, [table], groups=groups)


def audited(paths: PreparedPaths) -> Iterator[Chapter]:
    """What decontamination matched, if it left an audit: its strongest and its weakest matches."""
    path = paths.audit
    if not path.is_file():
        return
    kinds = chosen(path, ("kind",), (), 0, 0)
    columns = ("dataset", "source", "id", "row", "where", "item", "score", "kind", "matched", "text")
    top, low = ends(path, "score", columns, ENDS)
    counts = [(short(name), f"{kind.count:,}") for (name,), kind in kinds.items()]
    counted = CardTable("audit-kinds", ("kind of match", "rows"), counts, ("rows",))
    rows = [_audit_row("strongest", row) for row in top] + [_audit_row("weakest", row) for row in low]
    shown = ("", "row", "evaluation item", "score", "kind", "matched", "text of the row")
    table = CardTable("audit", shown, rows, ("score",))
    text = (
        f"Training rows that an evaluation set or a benchmark holds; all are in {path.name}. The weakest matches are "
        "the ones to read: there the rule is most likely to be wrong."
    )
    if rows:
        yield Chapter("audit", "Decontamination", text, [counted, table])
    else:
        yield Chapter("audit", "Decontamination", "No row matched an item.")


def _require_agreement(path: Path, funnel: Sequence[Mapping[str, Any]], found: Mapping[tuple[Any, ...], Kind]) -> None:
    counted: Counter[tuple[Any, ...]] = Counter()
    for row in funnel:
        for reason, count in row["reasons"].items():
            counted[row["dataset"], row["step"], reason] += count
    for key in {**counted, **found}:
        rows = found[key].count if key in found else 0
        if counted[key] != rows:
            raise DataError(
                f"{path}: {rows} rows of {' / '.join(map(str, key))}, but the funnel dropped {counted[key]}; run the "
                "stage prepare again"
            )


def _kept_example(row: Mapping[str, Any]) -> Example:
    texts = {"prompt": excerpt(prompt_text(problem_of({**row, "tests": None})))}
    if row.get("response") is not None:
        texts["response"] = excerpt(row["response"])
    facts = _facts(row, ("source", "where", "domain", "level", "answer", "teacher"))
    if row.get("claimed") is not None:
        facts["claimed correct"] = "yes" if row["claimed"] else "no"
    return Example(short(row["id"]), facts, texts)


def _dropped_example(row: Mapping[str, Any]) -> Example:
    facts = _facts(row, ("source", "where", "domain", "level", "detail"))
    return Example(short(row["id"]), facts, {"text": excerpt(row["text"], 400, 200)})


def _facts(row: Mapping[str, Any], names: Sequence[str]) -> dict[str, str]:
    return {name: short(row[name], 200) for name in names if row.get(name) not in (None, "")}


def _audit_row(which: str, row: Mapping[str, Any]) -> tuple[str, ...]:
    name = next((row[name] for name in ("id", "row", "where") if row.get(name) is not None), "")
    score = f"{row['score']:.3f}"
    texts = (short(row.get("matched") or "", 160), short(row.get("text") or "", 240))
    return which, short(name), short(row.get("item") or ""), score, short(row.get("kind") or ""), *texts
