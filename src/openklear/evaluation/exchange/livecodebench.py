"""LiveCodeBench: lcb_runner's *_eval_all.json and the list that its custom_evaluator takes, read and written.

Each entry is a problem with lists that have an item a sample. A custom_evaluator list has programs and no verdicts.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from openklear.errors import DataError
from openklear.evaluation.exchange.opening import OpenedFile
from openklear.evaluation.exchange.rows import (
    Claim,
    Fields,
    ImportChoice,
    ImportedFiles,
    JudgedRow,
    Mark,
    items,
    mapping,
    mark_of,
    messages_of,
    text_or_none,
)
from openklear.evaluation.stored import Asked, Sample, Stored
from openklear.types import Outcome

LOOKED_FOR = "an array of objects with `question_id` and `code_list` (*_eval_all.json, or custom_evaluator's list)"
FACTS = (
    "question_title",
    "question_content",
    "platform",
    "question_id",
    "contest_id",
    "contest_date",
    "starter_code",
    "difficulty",
)
"""What lcb_runner writes of a problem, in its order."""
REPORT, PROGRAM, CLAIMED = "metadata", "program", "pass@1"


def role(file: OpenedFile) -> str | None:
    """What a file is to this tool; None: nothing."""
    found = file.document
    if isinstance(found, list) and found and {"question_id", "code_list"} <= mapping(found[0]).keys():
        return "eval_all"
    return None


def read(files: Sequence[tuple[str, OpenedFile]], choice: ImportChoice) -> ImportedFiles:
    """One benchmark."""
    rows: list[JudgedRow] = []
    claimed: list[float] = []
    unlike = 0
    for _, file in files:
        for number, entry in enumerate(file.document, 1):
            where = f"{file.path}: entry {number}"
            if not isinstance(entry, dict):
                raise DataError(f"{where}: a JSON object was expected, not {type(entry).__name__}")
            found = list(_rows(entry, where, choice))
            rows += found
            said = entry.get(CLAIMED)
            if isinstance(said, int | float) and found:
                claimed.append(float(said))
                right = sum(one.mark.outcome is Outcome.CORRECT for one in found)
                unlike += abs(said - right / len(found)) > 1e-9
    notes = [f"{unlike:,} entries claim another pass@1 than their graded_list gives"] if unlike else []
    if rows and all(row.mark.outcome is Outcome.UNSCORABLE for row in rows):
        notes.append("the file holds programs without verdicts: all are unscorable until they are judged")
    name = choice.benchmark or "livecodebench"
    mean = sum(claimed) / len(claimed) if claimed else 0.0
    claims = [Claim(name, CLAIMED, mean, ("avg", 0), over=len(claimed))] if claimed else []
    return ImportedFiles("livecodebench", None, None, rows, claims, score="graded_list", notes=notes)


def _rows(entry: dict[str, Any], where: str, choice: ImportChoice) -> Iterator[JudgedRow]:
    name = text_or_none(entry.get("question_id"))
    programs, graded = entry.get("code_list"), entry.get("graded_list")
    if name is None or not isinstance(programs, list):
        raise DataError(f"{where}: has no question_id, or no code_list")
    if isinstance(graded, list) and len(graded) != len(programs):
        raise DataError(f"{where}: graded_list has {len(graded)} items, code_list {len(programs)}")
    statement = entry.get("question_content")
    asked = Asked(
        choice.benchmark or "livecodebench",
        name,
        choice.domain or "code",
        messages_of(statement),
        level=text_or_none(entry.get("difficulty")),
        facts={key: entry[key] for key in FACTS if key in entry},
    )
    outputs, reports = items(entry.get("output_list")), items(entry.get(REPORT))
    for place, program in enumerate(programs):
        text = outputs[place] if place < len(outputs) else program
        if not isinstance(program, str) or not isinstance(text, str):
            raise DataError(f"{where}: sample {place} has no text")
        report = reports[place] if place < len(reports) else None
        beside: dict[str, Any] = {} if report is None else {REPORT: report}
        if program_in(text) != program:
            beside[PROGRAM] = program
        mark = mark_of(graded[place], where) if isinstance(graded, list) else Mark(Outcome.UNSCORABLE, "not judged")
        if mark.outcome is Outcome.INCORRECT:
            mark = mark._replace(reason=_reason(report))
        yield JudgedRow(asked, mark, text, place, extracted=program or None, beside=beside)


def _reason(report: object) -> str:
    if isinstance(report, str):
        try:
            report = json.loads(report)
        except (ValueError, RecursionError):  # a harness of another version
            return report if isinstance(report, str) else ""
    return str(mapping(report).get("error_message") or "")


def program_in(text: str) -> str:
    """The program that lcb_runner takes from a response: what stands between the last two lines with ```."""
    lines = text.split("\n")
    fences = [place for place, line in enumerate(lines) if "```" in line]
    return "\n".join(lines[fences[-2] + 1 : fences[-1]]) if len(fences) > 1 else ""


def entries(stored: Stored, samples: Iterable[Sample]) -> Iterator[dict[str, Any]]:
    """An evaluation as lcb_runner writes it, an entry a problem.

    Unscorable samples are null in graded_list, which lcb_runner never writes, and in no pass@1. Facts that our
    evaluation does not have are left out, but for the statement, which is then the prompt.
    """
    groups: dict[tuple[str, str], list[Sample]] = {}
    for sample in samples:
        groups.setdefault(sample.place, []).append(sample)
    for place, group in groups.items():
        asked = stored.asked.get(place)
        facts: Mapping[str, Any] = asked.facts if asked else {}
        rows = [stored.completion(one) if one.start is not None else {} for one in group]
        entry = {key: facts[key] for key in FACTS if key in facts}
        entry.setdefault("question_id", place[1])
        if asked and asked.prompt:
            entry.setdefault("question_content", asked.prompt[-1]["content"])
        yield entry | _lists(group, rows)


def _lists(group: Sequence[Sample], rows: Sequence[Fields]) -> dict[str, Any]:
    texts = [str(row.get("text", "")) for row in rows]
    beside = [mapping(row.get("beside")) for row in rows]
    graded = [None if one.outcome is Outcome.UNSCORABLE else one.correct for one in group]
    scored = [one for one in graded if one is not None]
    programs = [one.get(PROGRAM, program_in(text)) for one, text in zip(beside, texts, strict=True)]
    # custom_evaluator's list, which knows programs alone, was read with the programs as texts
    bare = not scored and programs == texts
    found: dict[str, Any] = {"code_list": texts} if bare else {"output_list": texts, "code_list": programs}
    if not scored:
        return found
    found |= {"graded_list": graded, CLAIMED: sum(scored) / len(scored)}
    return found | {REPORT: [one.get(REPORT, _report(s)) for one, s in zip(beside, group, strict=True)]}


def _report(sample: Sample) -> str:
    """What our judge says, as the harness keeps it: a JSON text."""
    return json.dumps({"error_message": sample.reason} if sample.reason else {})
