"""Texts of a run that people look at: a held-out problem before and after, and what the model was trained on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from openklear.durable.files import read_json
from openklear.evaluation.gains import shares_of
from openklear.evaluation.results import ProblemResult, Series
from openklear.reporting.texts import Excerpt, excerpt, visible
from openklear.types import Problem

_COLUMNS = ["sample_index", "text", "outcome", "reason", "token_ids"]
LONGEST = 1600
"""Characters of an example that are shown of each stretch."""


def before_and_after(
    root: Path,
    evaluated: Mapping[str, Sequence[ProblemResult]],
    problems: Mapping[str, Problem],
    names: Mapping[Series, str],
) -> Iterator[dict[str, Any]]:
    """For each benchmark the problem that gained most from SFT (without it, base) to the last stage, and the one that
    lost most; of each the first draw whose verdict changed that way. Ties go to the earlier problem."""
    stages = list(evaluated)
    if len(stages) < 2:
        return
    first = "sft" if "sft" in stages[:-1] else stages[0]
    for series, name in names.items():
        shares = [shares_of(evaluated[stage], series) for stage in (first, stages[-1])]
        for what, problem_id in chosen(*shares).items():
            case = _case(root, (first, stages[-1]), problem_id, gained=what == "gained")
            if case is not None:
                problem = problems.get(problem_id)
                asked = visible(problem.prompt[-1]["content"]) if problem else ""
                reference = visible(problem.answer) if problem and problem.answer is not None else None
                title = f"{name}: {what} most, {_change(shares, problem_id)}"
                yield {"title": title, "id": problem_id, "prompt": asked, "reference": reference, "answers": case}


def chosen(before: Mapping[str, float | None], after: Mapping[str, float | None]) -> dict[str, str]:
    """`gained` and `lost` -> id of the problem that moved most that way; a way that none moved is left out."""
    moved: dict[str, float] = {}
    for name, share in before.items():
        last = after.get(name)
        if share is not None and last is not None:
            moved[name] = last - share
    found = {}
    for what, sign in (("gained", 1.0), ("lost", -1.0)):
        best = max(moved, key=lambda name: sign * moved[name], default=None)
        if best is not None and sign * moved[best] > 0:
            found[what] = best
    return found


def _change(shares: Sequence[Mapping[str, float | None]], problem_id: str) -> str:
    before, after = (shares[0][problem_id], shares[1][problem_id])
    return f"{before:.0%} to {after:.0%} of its completions are correct"


def _case(root: Path, stages: tuple[str, str], problem_id: str, *, gained: bool) -> list[dict[str, Any]] | None:
    """Both models' completion of the same draw; None where no draw changed that way or the rollouts are gone."""
    old, new = (_rollouts(root / f"evaluate-{stage}", problem_id) for stage in stages)
    for sample in sorted(old.keys() & new.keys()):
        right = [row[sample]["outcome"] == "correct" for row in (old, new)]
        if right == [not gained, gained]:
            return [_answer(stage, row[sample]) for stage, row in zip(stages, (old, new), strict=True)]
    return None


def _rollouts(stage: Path, problem_id: str) -> dict[int, dict[str, Any]]:
    """Sample index -> completion of one problem."""
    for path in sorted((stage / "parts").glob("*/rollouts.parquet")):
        rows = pq.read_table(path, columns=_COLUMNS, filters=[("problem_id", "==", problem_id)]).to_pylist()
        if rows:
            return {row["sample_index"]: row for row in rows}
    return {}


def _answer(stage: str, row: Mapping[str, Any]) -> dict[str, Any]:
    verdict = row["outcome"] + (f": {row['reason']}" if row["reason"] else "")
    label = f"{stage}, draw {row['sample_index'] + 1}, {len(row['token_ids'])} tokens"
    text: Excerpt = excerpt(row["text"])
    return {"label": label, "verdict": verdict, "right": row["outcome"] == "correct", "text": text}


def examples(encode: Path) -> list[dict[str, Any]]:
    """One row of each source as the model is given it, in stretches that are trained or not; [] in older runs."""
    path = encode / "examples.json"
    found = read_json(path) if path.is_file() else []
    shown = []
    for one in found:
        stretches = [(excerpt(text, LONGEST // 2, LONGEST // 2), trained) for text, trained in one["segments"]]
        shown.append({"source": one["source"], "role": one["role"], "segments": stretches})
    return shown


def lost_rows(encode: Path) -> list[dict[str, Any]]:
    """What the template and the length limits left of the prepared rows, by source and stage; [] in older runs."""
    path = encode / "rows.json"
    return list(read_json(path)["roles"]) if path.is_file() else []
