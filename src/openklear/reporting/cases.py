"""Texts of a run that people look at: a held-out problem before and after, and what the model was trained on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from openklear.durable.files import read_json
from openklear.evaluation.gains import shares_of
from openklear.evaluation.results import ProblemResult, Series
from openklear.evaluation.stored import SETTINGS, Sample, Stored, open_stored
from openklear.reporting.texts import Excerpt, excerpt, visible
from openklear.types import Problem

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
    """Both models' completion of the same draw; None where no draw changed that way or the completions are gone."""
    sides = [root / f"evaluate-{stage}" for stage in stages]
    if not all((side / SETTINGS).is_file() for side in sides):
        return None
    old, new = map(open_stored, sides)
    before, after = (_of_problem(side.samples, problem_id) for side in (old, new))
    for number in sorted(before.keys() & after.keys()):
        if [before[number].correct, after[number].correct] == [not gained, gained]:
            pairs = zip(stages, (old, new), (before[number], after[number]), strict=True)
            return [_answer(stage, side, sample) for stage, side, sample in pairs]
    return None


def _of_problem(samples: Sequence[Sample], problem_id: str) -> dict[int, Sample]:
    """Those of one problem that have a text, by their number."""
    return {one.sample: one for one in samples if one.problem == problem_id and one.start is not None}


def _answer(stage: str, side: Stored, sample: Sample) -> dict[str, Any]:
    verdict = sample.outcome.value + (f": {sample.reason}" if sample.reason else "")
    label = f"{stage}, draw {sample.sample + 1}, {sample.tokens} tokens"
    text: Excerpt = excerpt(side.text(sample))
    return {"label": label, "verdict": verdict, "right": sample.correct, "text": text}


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
