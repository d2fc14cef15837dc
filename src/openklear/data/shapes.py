"""What a row of a public data set means, read off its columns.

    messages       [{role, content}, ...], ending with the assistant's turn in demonstrations
    conversations  [{from, value}, ...] (ShareGPT): human or user, gpt or assistant, system
    plain          prompt (a string or messages) | problem | question
                   with response (demonstrations), or with
                   answer | ground_truth | tests | reward_model.ground_truth (problems)

Beside them, in every shape: answer or ground_truth (a string or a number), tests (see openklear.data.tests), checker
(see openklear.verifiers.checkers), domain, level (a number or a string), id. Other columns are left alone.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from difflib import get_close_matches
from typing import Any, Literal

from openklear.data.rows import Dropped, Row
from openklear.data.tests import parse_tests
from openklear.data.tests import texts as test_texts
from openklear.errors import DataError, UsageError
from openklear.types import DOMAINS, Domain, Message, Problem
from openklear.verifiers.checkers import checker

Role = Literal["demonstrations", "problems", "validation", "heldout"]
PROMPTS = ("prompt", "problem", "question")
REFERENCES = ("answer", "ground_truth", "tests", "reward_model")
SPEAKERS = {
    "system": "system",
    "user": "user",
    "human": "user",
    "assistant": "assistant",
    "gpt": "assistant",
}

Turns = tuple[Message, ...]


@dataclass(frozen=True, slots=True)
class Shape:
    """Groups of columns of which one each must be there, and how the turns are read."""

    columns: tuple[tuple[str, ...], ...]
    turns: Callable[[Mapping[str, Any], str], Turns]

    def missing(self, row: Mapping[str, Any]) -> list[tuple[str, ...]]:
        """The groups of which the row has no column."""
        return [group for group in self.columns if not any(name in row for name in group)]

    def __str__(self) -> str:
        return "{" + ", ".join(" | ".join(group) for group in self.columns) + "}"


def parse_row(raw: Mapping[str, Any], where: str, *, role: Role, source: str, domain: Domain | None) -> Row | Dropped:
    """Make a row of what stands in the file, or drop it where it says nothing (an empty prompt or response).

    Raises DataError, with `where` and the column, for an unknown shape or a column of a wrong type.
    """
    shape = find_shape(raw, role, where)
    turns = shape.turns(raw, where)
    prompt, response = _split(turns)
    if role != "demonstrations":
        response = None
    problem = Problem(
        id="",
        prompt=prompt,
        domain=_domain(raw, where, domain),
        answer=_answer(raw, where),
        tests=parse_tests(raw.get("tests"), where),
        checker=_checker(raw, where),
        level=_scalar(raw, "level", where),
        source=source,
    )
    row = _with_id(Row(problem, where, response), _scalar(raw, "id", where))
    reason = _says_nothing(row, role)
    return Dropped(row, reason) if reason else row


def find_shape(raw: Mapping[str, Any], role: Role, where: str) -> Shape:
    """The shape of the row: the first that fits, for the role; DataError shows the columns and the nearest shape."""
    shapes = DEMONSTRATION_SHAPES if role == "demonstrations" else PROBLEM_SHAPES
    for shape in shapes:
        if not shape.missing(raw):
            return shape
    nearest = min(shapes, key=lambda s: len(s.missing(raw)) / len(s.columns))
    lacks = nearest.missing(raw)
    hints = [f'; is it "{near[0]}"?' for group in lacks for near in [_near(group, raw)] if near]
    raise DataError(
        f"{where}: no known shape of {role} has the columns {', '.join(map(str, raw)) or '(none)'}; the nearest is "
        f"{nearest}, which lacks {', '.join(' | '.join(group) for group in lacks)}{hints[0] if hints else ''}; "
        "rename the columns"
    )


def _near(group: tuple[str, ...], raw: Mapping[str, Any]) -> list[str]:
    return [name for wanted in group for name in get_close_matches(wanted, map(str, raw), n=1)]


def _from_messages(raw: Mapping[str, Any], where: str) -> Turns:
    return _turns(raw["messages"], "messages", "role", "content", where)


def _from_conversations(raw: Mapping[str, Any], where: str) -> Turns:
    return _turns(raw["conversations"], "conversations", "from", "value", where)


def _from_prompt(raw: Mapping[str, Any], where: str) -> Turns:
    name = next(name for name in PROMPTS if name in raw)
    value = raw[name]
    if value is None or isinstance(value, str):
        return (Message(role="user", content=value or ""),)
    return _turns(value, name, "role", "content", where)


def _from_prompt_and_response(raw: Mapping[str, Any], where: str) -> Turns:
    response = raw["response"]
    if response is not None and not isinstance(response, str):
        raise _wrong("response", response, "a string", where)
    return (*_from_prompt(raw, where), Message(role="assistant", content=response or ""))


MESSAGES = Shape((("messages",),), _from_messages)
CONVERSATIONS = Shape((("conversations",),), _from_conversations)
DEMONSTRATION_SHAPES = (MESSAGES, CONVERSATIONS, Shape((PROMPTS, ("response",)), _from_prompt_and_response))
PROBLEM_SHAPES = (
    Shape((PROMPTS, REFERENCES), _from_prompt),
    Shape((("messages",), REFERENCES), _from_messages),
    Shape((("conversations",), REFERENCES), _from_conversations),
)


def _turns(value: Any, column: str, speaker: str, said: str, where: str) -> Turns:
    if isinstance(value, str):
        value = _from_json(value, column, f"a list of {{{speaker}, {said}}}", where)
    if not isinstance(value, list):
        raise _wrong(column, value, f"a list of {{{speaker}, {said}}}", where)
    turns: list[Message] = []
    for index, turn in enumerate(value):
        here = f"{column}[{index}]"
        if not isinstance(turn, dict) or not {speaker, said} <= turn.keys():
            raise _wrong(here, turn, f"an object with {speaker} and {said}", where)
        if turn[speaker] not in SPEAKERS:
            known = ", ".join(SPEAKERS)
            raise DataError(
                f"{where}: {here}.{speaker} is {turn[speaker]!r}, but {known} are known; rename or remove it"
            )
        if not isinstance(turn[said], str):
            raise _wrong(f"{here}.{said}", turn[said], "a string", where)
        turns.append(Message(role=SPEAKERS[turn[speaker]], content=turn[said]))
    return tuple(turns)


def _split(turns: Turns) -> tuple[Turns, str | None]:
    """The prompt, and the assistant's turn after it if there is one."""
    if turns and turns[-1]["role"] == "assistant":
        return turns[:-1], turns[-1]["content"]
    return turns, None


def _domain(raw: Mapping[str, Any], where: str, wanted: Domain | None) -> Domain:
    """The row's column, or the recipe's; where both know a domain they must agree."""
    found = next((name for name in DOMAINS if raw.get("domain") == name), None)
    if found and wanted and found != wanted:
        raise DataError(
            f'{where}: domain is "{found}", but the recipe says this source is "{wanted}"; '
            "take domain out of the recipe's source, or correct the row"
        )
    if found or wanted:
        return found or wanted  # type: ignore[return-value]
    value = raw.get("domain")
    what = "there is no domain" if value is None else f"domain is {value!r}"
    raise DataError(f'{where}: {what}; write domain = "math" or domain = "code" into the recipe\'s source or the row')


def _answer(raw: Mapping[str, Any], where: str) -> str | None:
    for name in ("answer", "ground_truth"):
        if raw.get(name) is not None:
            return _scalar(raw, name, where)
    graded = raw.get("reward_model")
    if isinstance(graded, dict) and graded.get("ground_truth") is not None:
        return _scalar(graded, "ground_truth", where, "reward_model.")
    return None


def _scalar(raw: Mapping[str, Any], name: str, where: str, inside: str = "") -> str | None:
    """A string or a number as text; None for nothing."""
    value = raw.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise _wrong(inside + name, value, "a string or a number", where)
    if isinstance(value, float) and value.is_integer():
        value = int(value)  # integers with a gap come out of data frames as 5.0
    return str(value).strip() or None


def _checker(raw: Mapping[str, Any], where: str) -> str | None:
    """The row's checker, known to be there."""
    name = raw.get("checker")
    if name is None or name == "":
        return None
    if not isinstance(name, str):
        raise _wrong("checker", name, "the name of a checker", where)
    if ":" in name and not name.startswith("float:"):
        raise DataError(
            f"{where}: checker {name!r} is code, which no row may choose by itself; name one of ours, or grade this "
            "domain by a function of your own (verifiers.graders in the recipe)"
        )
    try:
        checker(name)
    except UsageError as error:
        raise DataError(f"{where}: {error}") from error
    return name


def _from_json(text: str, column: str, wanted: str, where: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise DataError(
            f"{where}: {column} is text, but not the JSON of {wanted}: {error.msg}; write {wanted}"
        ) from error


def _with_id(row: Row, found: str | None) -> Row:
    """The row with its own id, or a hash of its prompt; `source/` before it keeps the ids of two files apart."""
    own = found or row.problem.content_hash
    return replace(row, problem=replace(row.problem, id=f"{row.problem.source}/{own}"))


def _says_nothing(row: Row, role: Role) -> str | None:
    problem = row.problem
    if not any(m["content"].strip() for m in problem.prompt if m["role"] == "user"):
        return "empty prompt"
    if role == "demonstrations" and not (row.response or "").strip():
        return "no response"
    texts = [m["content"] for m in problem.prompt] + [row.response or "", problem.answer or "", problem.level or ""]
    texts += [text for test in problem.tests for text in test_texts(test)]
    return "not valid Unicode" if any(_has_surrogate(text) for text in texts) else None


def _has_surrogate(text: str) -> bool:
    """JSON can hold half of a surrogate pair, which no file of text can."""
    return not text.isascii() and any("\ud800" <= letter <= "\udfff" for letter in text)


def _wrong(column: str, value: Any, wanted: str, where: str) -> DataError:
    shown = repr(value)
    shown = shown if len(shown) <= 60 else f"{shown[:57]}..."
    return DataError(f"{where}: {column} is {shown}, but {wanted} is expected; correct the row or rename the column")
