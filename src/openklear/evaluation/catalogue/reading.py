"""A benchmark's problems: found, read, held against the copies that are known, and each asked once."""

from __future__ import annotations

import ast
import hashlib
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from itertools import product
from pathlib import Path
from typing import Any

from openklear.data.formats import KINDS, read_rows
from openklear.data.hub import PREFIX
from openklear.data.reading import parsed
from openklear.data.rows import Dropped, normalise, prompt_text
from openklear.data.sources import choose
from openklear.errors import DataError, UsageError
from openklear.evaluation.catalogue.definition import Definition, Named
from openklear.evaluation.catalogue.errata import errata
from openklear.evaluation.catalogue.livecodebench import official_prompt
from openklear.types import Message, Problem
from openklear.verifiers.domains import domain_named
from openklear.verifiers.mathematics.tolerance import within

FACTS = ("contest_date", "platform", "difficulty", "question_title", "title", "subfield", "subject", "type", "url")
"""Columns that are kept beside a problem wherever they are there."""
TESTS = ("tests", "test_cases", "input_output", "inputs", "test_list", "test", "public_test_cases")
"""Columns that only problems of programs have."""
LCB = "lcb-"
"""How the names of LiveCodeBench's own prompts begin."""
TITLES = ("question_id", "question_title", "title")
"""Columns by which a table of errata may name a problem."""


@dataclass(frozen=True, slots=True)
class Posed:
    """A problem of a benchmark, and what its source says of it besides."""

    problem: Problem
    facts: Mapping[str, Any] = field(default_factory=dict)
    prompt: str = ""
    """The definition's prompt for it."""
    messages: tuple[Message, ...] = ()
    """What is asked, where the benchmark's own harness has words of its own; empty: the prompt around the problem."""
    erratum: str = ""
    """What is known to be wrong with it; empty for nearly all."""


@dataclass(frozen=True, slots=True)
class Posing:
    """A benchmark's problems, and what there is to say of the data they are from."""

    named: Named
    problems: list[Posed]
    path: str
    texts: str
    """Hash of the whole data's statements and answers, before any part of it was taken."""
    copy: str
    """Which known copy that is; empty where it is none."""
    notes: tuple[str, ...]
    """What a person should know: copies that were left out, rows that cannot be read."""


def read(named: Named, directory: Path | None = None, *, unpinned: bool = False) -> Posing:
    """The problems of a benchmark, from the path that was named, from `directory`, or from where its definition says.

    Rows that ask the same with the same reference are one problem (verl ships each 32 times). DataError where nothing
    is found, a row cannot be read, or the answers are not the benchmark's, unless `unpinned`.
    """
    path = _path(named, directory)
    rows = list(_rows(named, path))
    posed, notes = _usable(named, path, rows)
    posed, copied = _once(posed)
    if copied:
        notes.append(f"{path}: {len(posed) + copied:,} rows are {len(posed):,} problems; each is asked once")
    texts, copy = _pinned(named, path, posed, notes, unpinned)
    part = [one for one in posed if _in_part(one, named)]
    if not part:
        raise DataError(f"{path}: none of its {len(posed):,} problems is of {named.name}; {_span(posed, named)}")
    unique = _unique_ids([replace(one, problem=replace(one.problem, source=named.name)) for one in part])
    return Posing(named, unique, path, texts, copy, tuple(notes))


def _path(named: Named, directory: Path | None) -> str:
    """Where the data is."""
    definition = named.definition
    if named.path is not None:
        return named.path
    stem = named.name.partition(":")[0]
    names = (*definition.files, stem)
    if directory is not None:
        candidates = [directory / f"{name}{kind}" for name, kind in product(names, ("", *KINDS))]
        found = next((path for path in candidates if path.exists()), None)
        if found is not None:
            return str(found)
    if definition.data is None:
        where = f"{directory} has none of {', '.join(names)}; " if directory else ""
        raise UsageError(f"{named.name}: {where}say where its problems are: --data {stem}=PATH")
    if definition.data.startswith(PREFIX):
        return definition.data
    return str(named.base / definition.data)


def _rows(named: Named, path: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every row of the data that the definition means."""
    wanted = named.definition.where.items()
    several = None if Path(path).is_file() else named.definition.split
    for file in choose(path, "heldout", several).files:
        for where, row in read_rows(file, may_be_empty=True):
            if all(_is(row.get(column), value) for column, value in wanted):
                yield where, _listed(row, named.definition) if named.definition.answer_lists else row


def _listed(row: dict[str, Any], definition: Definition) -> dict[str, Any]:
    """The row with its list of answers as one text: `69, 84`."""
    name = definition.columns.get("answer", "answer")
    value = row.get(name)
    if isinstance(value, str) and value.startswith("["):
        with suppress(ValueError, SyntaxError, RecursionError, MemoryError):
            value = ast.literal_eval(value)
    if isinstance(value, list) and all(isinstance(one, str) for one in value):
        return {**row, name: ", ".join(value)}
    return row


def _is(value: Any, wanted: str) -> bool:
    """Whether a cell is what a definition wants: the same text, or a whole number from 11 to 510 for `11..510`."""
    span = _SPAN.fullmatch(wanted)
    if span is None:
        return str(value) == wanted
    return isinstance(value, int) and int(span[1]) <= value <= int(span[2])


_SPAN = re.compile(r"(\d+)\.\.(\d+)")


def _usable(named: Named, path: str, rows: Sequence[tuple[str, Mapping[str, Any]]]) -> tuple[list[Posed], list[str]]:
    """The problems, in order; what is said of rows that are none."""
    definition, name = named.definition, named.name
    found: list[Posed] = []
    lost: list[Dropped] = []
    domain = definition.domain or (_domain_of(rows[0][1]) if rows else None)
    read_as = parsed(rows, "heldout", name.partition(":")[0], domain, definition.columns)
    for (where, raw), items in zip(rows, read_as, strict=True):
        for item in items:
            if isinstance(item, Dropped):
                lost.append(item)
            elif missing := domain_named(item.problem.domain).missing(item.problem):
                lost.append(Dropped(item, missing))
            else:
                found.append(_posed(named, item.problem, raw, where))
    if not found:
        raise DataError(f"{path}: no problem of {name} can be read; {_first(lost)}")
    if not lost:
        return found, []
    counts = Counter(item.reason for item in lost)
    reasons = ", ".join(f"{why}: {count:,}" for why, count in counts.items())
    return found, [f"{path}: {len(lost):,} rows are no problems ({reasons}); {_first(lost)}"]


def _domain_of(row: Mapping[str, Any]) -> str | None:
    """What a file is of that does not say it: programs where its rows have tests, else mathematics."""
    if not row.keys().isdisjoint(("domain", "ability")):
        return None
    return "math" if row.keys().isdisjoint(TESTS) else "code"


def _first(lost: Sequence[Dropped]) -> str:
    return f"the first is {lost[0].row.where}: {lost[0].detail or lost[0].reason}" if lost else "it has no such row"


def _posed(named: Named, problem: Problem, raw: Mapping[str, Any], where: str) -> Posed:
    definition = named.definition
    kept = [
        column for column in (*FACTS, *definition.facts, definition.date or "") if raw.get(column) not in (None, "")
    ]
    facts = {column: _plain(raw[column]) for column in dict.fromkeys(kept)}
    if definition.tolerance and (error := raw.get(definition.tolerance)):
        try:
            problem = replace(problem, checker=within(str(error)))
        except ValueError as fault:
            raise DataError(f"{where}: {definition.tolerance} is {error!r}, which is no tolerance: {fault}") from fault
    filled = [text for column, text in definition.prompt_with.items() if _says_something(raw.get(column))]
    known = errata(definition.errata) if definition.errata else {}
    titles = [str(raw[column]) for column in TITLES if raw.get(column)]
    wrong = next((known[title] for title in titles if title in known), "")
    prompt = next(iter(filled), definition.prompt)
    messages = official_prompt(raw) if prompt.startswith(LCB) else ()
    return Posed(problem, facts, prompt, messages, wrong)


def _says_something(cell: Any) -> bool:
    return cell is not None and bool(str(cell).strip())


def _plain(value: Any) -> Any:
    return value.isoformat() if isinstance(value, date) else value


def _once(posed: Sequence[Posed]) -> tuple[list[Posed], int]:
    """Each problem at its first place, and how many copies were left out."""
    first: dict[tuple[str, str | None, object], Posed] = {}
    for one in posed:
        first.setdefault((prompt_text(one.problem), one.problem.answer, one.problem.tests), one)
    return list(first.values()), len(posed) - len(first)


def texts_hash(problems: Sequence[Problem]) -> str:
    """Hash of statements and references, whatever their order, spacing, case and ids."""
    return _hash(f"{normalise(prompt_text(one))}\0{_reference(one)}" for one in problems)


def answers_hash(problems: Sequence[Problem]) -> str:
    """Hash of the references alone: the same for copies that spell the statements in another way."""
    return _hash(map(_reference, problems))


def _reference(problem: Problem) -> str:
    answer = normalise(problem.answer or "").removesuffix(".0")
    answer = answer.lstrip("0") or "0" if answer.isdecimal() else answer
    return answer if problem.answer is not None else str(len(problem.tests))


def _hash(lines: Any) -> str:
    return hashlib.blake2b("\n".join(sorted(lines)).encode(), digest_size=12).hexdigest()


def _pinned(named: Named, path: str, posed: Sequence[Posed], notes: list[str], unpinned: bool) -> tuple[str, str]:
    """(hash, name of the copy); DataError where the data is not the benchmark's."""
    definition = named.definition
    problems = [one.problem for one in posed]
    texts = texts_hash(problems)
    copy = next((one.name for one in definition.copies if one.texts == texts), "")
    if copy or not (definition.copies or definition.answers):
        return texts, copy
    same_answers = definition.answers == answers_hash(problems)
    if same_answers:
        notes.append(
            f"{path}: a copy of {named.name} that spells its statements in its own way, with the right answers"
        )
        return texts, "the right answers, other spelling"
    count = f"{len(posed):,} problems" + (f" of {definition.problems:,}" if definition.problems else "")
    known = ", ".join(one.name for one in definition.copies)
    text = f"{path}: is not {definition.title or named.name} as it is known ({count}; known copies: {known}): "
    text += "statements or answers are others"
    if not unpinned:
        raise DataError(f"{text}; give the right file, or --unpinned to take it as it is")
    notes.append(f"{text}; taken as it is")
    return texts, ""


def _in_part(one: Posed, named: Named) -> bool:
    if not all(_is(one.facts.get(column), value) for column, value in named.where.items()):
        return False
    if named.window is None:
        return True
    day = day_of(one, named)
    return named.window[0] <= day <= named.window[1]


def day_of(one: Posed, named: Named) -> date:
    """The day of a problem's contest. DataError where its source does not say."""
    said = one.facts.get(named.definition.date or "")
    try:
        return datetime.fromisoformat(str(said)).date()
    except ValueError as error:
        raise DataError(
            f"{named.name}: {one.problem.id} has no date ({named.definition.date}: {said!r}), so nobody can say "
            "whether it lies in the window; complete the data"
        ) from error


def _span(posed: Sequence[Posed], named: Named) -> str:
    if named.window is None:
        return "it has others"
    days = sorted(day_of(one, named) for one in posed)
    return f"its contests are from {days[0]} to {days[-1]}"


def _unique_ids(posed: Sequence[Posed]) -> list[Posed]:
    """Ids as the source has them; of equal ones the later ones are numbered."""
    seen: Counter[str] = Counter()
    found = []
    for one in posed:
        seen[one.problem.id] += 1
        count = seen[one.problem.id]
        name = one.problem.id if count == 1 else f"{one.problem.id}#{count}"
        found.append(replace(one, problem=replace(one.problem, id=name)))
    return found
