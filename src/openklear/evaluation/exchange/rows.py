"""What every tool's files come to before they are an evaluation of ours: judged completions, and what the tool claims.

Verdicts are the tool's. A score of 1 is correct, and everything below it is incorrect, since a verdict has no halves;
a part of the mark, such as a rubric's 0.5, stays beside the verdict as its reason and in the tool's own mean. A row
without a score, or with the tool's word that its scorer failed, is unscorable: counted, and in no score.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from openklear.errors import DataError
from openklear.evaluation.stored import Asked
from openklear.think import CLOSE, OPEN, join_thought
from openklear.types import Message, Outcome, StopReason

Fields = Mapping[str, Any]
"""A JSON object of some tool."""


class Mark(NamedTuple):
    """What a tool says of one completion."""

    outcome: Outcome
    reason: str = ""
    score: float | None = None
    """In [0, 1]; None where it has none."""


@dataclass(frozen=True, slots=True)
class JudgedRow:
    """One completion of another tool, with its verdict."""

    asked: Asked
    mark: Mark
    text: str | None
    """What the model wrote; None where the file does not hold it."""
    sample: int | None = None
    """Which of its problem's completions; None: the next one."""
    extracted: str | None = None
    stop_reason: StopReason = StopReason.STOP
    tokens: int | None = None
    beside: Fields = field(default_factory=dict)
    """What else the tool keeps of it and an export gives back: its program, its harness's report."""


@dataclass(frozen=True, slots=True)
class Claim:
    """A summary score of the tool's own."""

    benchmark: str
    metric: str
    """As the tool calls it."""
    value: float
    ours: tuple[str, int] | None = None
    """What it must equal: ("avg" | "pass" | "maj", k; 0: all samples). None: kept, and held against nothing."""
    over: int | None = None
    """Problems, where the tool says how many."""
    level: str | None = None
    """The level whose problems it is over; None: all."""


@dataclass(frozen=True, slots=True)
class ImportedFiles:
    """The files of one evaluation of another tool, read."""

    tool: str
    version: str | None
    model: str | None
    rows: list[JudgedRow]
    claims: list[Claim] = field(default_factory=list)
    sampling: Fields = field(default_factory=dict)
    score: str | None = None
    """Which of the tool's scores the verdicts are."""
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class ImportChoice:
    """What only the caller can say."""

    benchmark: str | None = None
    domain: str | None = None
    score: str | None = None


def mark_of(value: object, where: str) -> Mark:
    """The verdict of a score: true, 1 or "C" is correct. DataError, with the place, where it is no share of a mark."""
    if isinstance(value, str):
        value = _WORDS.get(value.strip().lower(), value)
    if isinstance(value, bool):
        return Mark(Outcome.CORRECT if value else Outcome.INCORRECT, "", float(value))
    number = _number(value)
    if number is None or math.isnan(number):
        said = "no score" if number is not None or value is None else f"no score: {str(value)[:80]!r}"
        return Mark(Outcome.UNSCORABLE, said)
    if not 0.0 <= number <= 1.0:
        raise DataError(f"{where}: a score of {number:g} is no share of a full mark; choose another with --score")
    if number == 1.0:
        return Mark(Outcome.CORRECT, "", 1.0)
    return Mark(Outcome.INCORRECT, f"score {number:g} of 1" if number else "", number)


_WORDS: dict[str, float] = {"c": 1.0, "i": 0.0, "p": 0.5, "n": 0.0, "yes": 1.0, "no": 0.0, "true": 1.0, "false": 0.0}
"""Inspect's letters (correct, incorrect, partial, no answer) and what it takes for a number besides."""


def _number(value: object) -> float | None:
    if isinstance(value, int | float):
        try:
            return float(value)
        except OverflowError:
            return math.inf
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            return None
    return None


def text_of(content: object, thought: object = None) -> str:
    """The text of a message, with the reasoning in front where the tool keeps it apart.

    `content` is text, or a list of parts {type: text | reasoning}; pictures and other parts are left out.
    """
    parts: Sequence[object] = content if isinstance(content, list) else [content]
    answers, thoughts = [], [thought] if isinstance(thought, str) and thought else []
    for part in parts:
        if isinstance(part, str):
            answers.append(part)
        elif isinstance(part, Mapping):
            reasoning = part.get("reasoning") if part.get("type") == "reasoning" else None
            kept, where = (reasoning, thoughts) if reasoning else (part.get("text"), answers)
            if isinstance(kept, str):
                where.append(kept)
    answer = "\n".join(answers)
    already = answer.lstrip().startswith(OPEN) and CLOSE in answer
    return join_thought("\n".join(thoughts), answer) if thoughts and not already else answer


def answer_of(value: object, thought: object = None) -> str | None:
    """What the model wrote, given as text, or as a conversation, of which its last turn is taken; None where nothing
    is there."""
    if isinstance(value, str):
        return text_of(value, thought)
    turns = [one for one in items(value) if isinstance(one, Mapping) and one.get("role") == "assistant"]
    return text_of(turns[-1].get("content"), turns[-1].get("reasoning_content") or thought) if turns else None


def messages_of(value: object) -> tuple[Message, ...]:
    """A prompt, given as text or as messages, up to the model's own last turn."""
    if isinstance(value, str):
        return ({"role": "user", "content": value},)
    found: list[Message] = []
    for one in value if isinstance(value, list) else ():
        if isinstance(one, Mapping):
            found.append({"role": str(one.get("role", "user")), "content": text_of(one.get("content"))})
    while found and found[-1]["role"] == "assistant":
        found.pop()
    return tuple(found)


def mapping(value: object) -> Fields:
    """An object of a file, or an empty one where it has something else there."""
    return value if isinstance(value, Mapping) else {}


def items(value: object) -> list[Any]:
    """An array of a file, or an empty one where it has something else there."""
    return value if isinstance(value, list) else []


def text_or_none(value: object) -> str | None:
    """An answer or an id as text; None where there is none."""
    if value is None or isinstance(value, str):
        return value
    return str(value) if isinstance(value, int | float) else None


def count_or_none(value: object) -> int | None:
    """A number of tokens; None where nobody counted."""
    return int(value) if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 1e15 else None


def share_or_none(value: object) -> float | None:
    """A finite number; None where there is none."""
    number = None if isinstance(value, bool | str) else _number(value)
    return number if number is not None and math.isfinite(number) else None


def stop_of(value: object) -> StopReason:
    """Why a completion ended, in any tool's word for it."""
    if value == StopReason.ERROR:  # our own word for what was never asked
        return StopReason.ERROR
    return StopReason.LENGTH if value in _CUT else StopReason.STOP


_CUT = ("length", "max_tokens", "model_length")


def first_score(names: Iterator[str] | Sequence[str], choice: ImportChoice, where: str) -> str | None:
    """The score that verdicts are taken from: the one chosen, else the first. DataError where it is not there."""
    there = list(dict.fromkeys(names))
    if choice.score is not None and choice.score not in there:
        said = f"there are {', '.join(there)}" if there else "there is none"
        raise DataError(f"{where}: has no score {choice.score!r}; {said}")
    return choice.score or (there[0] if there else None)


def other_scores(names: Sequence[str], taken: str | None) -> list[str]:
    """A note on the scores that were left: nothing where there are none."""
    rest = [name for name in dict.fromkeys(names) if name != taken]
    return [f"verdicts are those of {taken}; --score takes one of {', '.join(rest)} instead"] if rest else []
