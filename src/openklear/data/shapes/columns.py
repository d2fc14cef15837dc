"""A row's columns as values of a known type, under the names that the recipe gives them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from openklear.data.test_cases import as_json, from_json, wrong
from openklear.errors import DataError

PROMPTS = ("prompt", "problem", "question")
RESPONSES = ("response", "completion")
ANSWERS = ("answer", "ground_truth", "gtruth_answer")
LEVELS = ("level", "difficulty")
IDS = ("id", "task_id", "question_id", "problem_id", "uuid", "unique_id")
TEACHERS = ("teacher", "model", "model_name", "generator")
CLAIMS = ("claimed", "correct", "is_correct", "math_verify")
SOLUTIONS = ("solution", "solutions", "reference_solution", "canonical_solution", "code")
THOUGHTS = ("thinking", "reasoning_content", "message_thinking", "reasoning")
SYSTEMS = ("system", "system_prompt")
TOOLS = ("tools", "functions")
MEDIA = ("image", "images", "video", "videos", "audio", "audios")
ASKING = ("messages", "conversations", *PROMPTS, "instruction", "question_content", "text", "content")
OURS: dict[str, tuple[str, ...]] = {
    "prompt": ASKING,
    "messages": ASKING,
    "conversations": ASKING,
    "response": (*RESPONSES, "generations", "choices", "inferences", "message_content"),
    "thinking": THOUGHTS,
    "system": SYSTEMS,
    "history": ("history",),
    "tools": TOOLS,
    "images": MEDIA,
    "answer": (*ANSWERS, "reward_model"),
    "tests": ("tests", "test_cases", "input_output", "public_test_cases", "private_test_cases", "test_list", "test"),
    "solution": SOLUTIONS,
    "level": LEVELS,
    "id": IDS,
    "teacher": TEACHERS,
    "claimed": CLAIMS,
    "domain": ("domain", "ability"),
    "checker": ("checker",),
}
"""What a recipe may map, and the columns that the mapped one replaces: they are ignored beside it. Mapped to an empty
name, they are ignored alone."""


@dataclass(frozen=True, slots=True)
class Columns:
    """A row, and where it comes from."""

    row: Mapping[str, Any]
    where: str
    asked: frozenset[str] = frozenset()
    """Columns that the recipe named itself: a value of a wrong type is an error, not a column of another meaning."""

    def has(self, *names: str) -> bool:
        """Whether all these columns hold something."""
        return all(self.row.get(name) not in (None, "") for name in names)

    def first(self, names: Sequence[str]) -> str | None:
        """The first of these columns that holds something."""
        return next((name for name in names if self.has(name)), None)

    def text(self, name: str) -> str:
        """A text, empty for nothing; DataError for another type."""
        return string(self.row.get(name), name, self.where) or ""


def renamed(raw: Mapping[str, Any], mapping: Mapping[str, str] | None, where: str) -> Columns:
    """The row under our names: `mapping` leads from ours to the file's, of which a dotted one goes into objects.

    What is mapped to an empty name is left out.

    DataError for a name that is not ours, and for a column that is not there.
    """
    if not mapping:
        return Columns(raw, where)
    row = dict(raw)
    for ours in mapping:
        if ours not in OURS:
            near = get_close_matches(ours, OURS, n=1, cutoff=0.0)[0]
            raise DataError(
                f'{where}: the recipe maps a column to "{ours}", which is not one of ours; the nearest is "{near}" '
                f"(known: {', '.join(OURS)})"
            )
        for name in OURS[ours]:
            row.pop(name, None)
    for ours, theirs in mapping.items():
        if theirs:
            row[ours] = _found(raw, ours, theirs, where)
    return Columns(row, where, frozenset(ours for ours, theirs in mapping.items() if theirs))


def _found(raw: Mapping[str, Any], ours: str, theirs: str, where: str) -> Any:
    """The value under a column's name, or under a dotted path; JSON text on the way is read."""
    if theirs in raw:
        return raw[theirs]
    value: Any = raw
    for part in theirs.split("."):
        if isinstance(value, str):
            value = from_json(value, theirs, "an object", where)
        if value is None:
            return None
        if isinstance(value, list) and part.isdecimal() and int(part) < len(value):
            value = value[int(part)]
        elif isinstance(value, Mapping) and part in value:
            value = value[part]
        else:
            names = list(map(str, value)) if isinstance(value, Mapping) else []
            near = get_close_matches(part, names, n=1, cutoff=0.0)
            hint = f'; is it "{near[0]}"?' if near else ""
            what = f'the recipe says that {ours} is the column "{theirs}", but there is no "{part}"'
            raise DataError(f"{where}: {what} among {', '.join(names)[:200] or 'its values'}{hint}")
    return value


def string(value: Any, name: str, where: str) -> str | None:
    """A text, or None for nothing; DataError for another type."""
    if value is not None and not isinstance(value, str):
        raise wrong(name, value, "a string", where)
    return value


def scalar(value: Any, name: str, where: str) -> str | None:
    """A string or a number as text; None for nothing. DataError for another type."""
    if value is None or value != value:  # data frames write NaN where nothing is
        return None
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise wrong(name, value, "a string or a number", where)
    if isinstance(value, float) and value.is_integer():
        value = int(value)  # integers with a gap come out of data frames as 5.0
    return str(value).strip() or None


def lenient(columns: Columns, names: Sequence[str]) -> str | None:
    """The first text or number of these columns. The first name is ours: there another type is an error."""
    for index, name in enumerate(names):
        value = columns.row.get(name)
        if (index == 0 or name in columns.asked) and name in columns.row:
            found = scalar(value, name, columns.where)
        else:
            plain = isinstance(value, str | int | float) and not isinstance(value, bool)
            found = scalar(value, name, columns.where) if plain else None
        if found is not None:
            return found
    return None


def flag(value: Any) -> bool | None:
    """A truth value, or the word for one; None for anything else."""
    if isinstance(value, bool):
        return value
    return _WORDS.get(value.strip().lower()) if isinstance(value, str) else None


_WORDS = {"true": True, "yes": True, "false": False, "no": False}


def table(columns: Columns, name: str) -> Mapping[str, Any]:
    """An object, or its JSON text; empty where the column is neither."""
    value = as_json(columns.row.get(name))
    return value if isinstance(value, Mapping) else {}
