"""The thought of a response: its marks, where it ends, what is wrong with its form. No other module writes the marks.

Pure functions, linear in the text: the text is hostile.
"""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

OPEN, CLOSE = "<think>", "</think>"


class FormatFault(StrEnum):
    """What is wrong with the form of a completion; empty where nothing is."""

    NONE = ""
    NOT_OPENED = f"no {OPEN}"
    NOT_CLOSED = f"no {CLOSE}"
    SEVERAL = "several thoughts"
    TEXT_BEFORE = "text before the thought"
    NO_ANSWER = "no answer after the thought"


class Split(NamedTuple):
    """A response in its parts."""

    fault: FormatFault
    thought: str
    """What stands before the last </think>, without the first <think>; empty where no thought is closed."""
    answer: str | None
    """What follows the last </think>; None if nothing does, or if a thought is opened and never closed."""


def split_thought(text: str, prompt_tail: str = "") -> Split:
    """The thought and the answer of a response, and what is wrong with its form.

    Well formed: exactly one <think>...</think>, only white space before it, an answer after it. The prompt's end may
    already open it. The answer is the whole text where neither the prompt nor the response opens or closes a thought.
    Where there are several faults, the first in the order of FormatFault is named.
    """
    start = prompt_tail.rfind(OPEN)
    whole = (prompt_tail[start:] if start >= 0 else "") + text
    opened, closed = whole.count(OPEN), whole.count(CLOSE)
    before, _, answer = whole.rpartition(CLOSE)
    if opened and not closed:
        answer = ""
    thought = before.partition(OPEN)[2] if OPEN in before else before
    return Split(_fault(whole, opened, closed, answer), thought, answer if answer.strip() else None)


def _fault(whole: str, opened: int, closed: int, answer: str) -> FormatFault:
    if not opened:
        return FormatFault.NOT_OPENED
    if not closed:
        return FormatFault.NOT_CLOSED
    if opened > 1 or closed > 1:
        return FormatFault.SEVERAL
    if not whole.lstrip().startswith(OPEN):
        return FormatFault.TEXT_BEFORE
    return FormatFault.NONE if answer.strip() else FormatFault.NO_ANSWER


def join_thought(thought: str, answer: str) -> str:
    """The one form in which thought and answer are kept."""
    return f"{OPEN}\n{thought}\n{CLOSE}\n\n{answer}"
