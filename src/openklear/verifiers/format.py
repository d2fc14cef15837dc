"""Which part of a completion is graded. Pure functions, linear in the text: the text is hostile."""

from __future__ import annotations

from openklear.types import FormatFault

OPEN, CLOSE = "<think>", "</think>"


def split_reasoning(text: str, prompt_tail: str = "") -> tuple[FormatFault, str | None]:
    """(what is wrong with the form, what follows the last </think>).

    Well formed: exactly one <think> ... </think>, only white space before it, an answer after it. The prompt's end may
    already open it. The answer is None where the thought is never closed or nothing follows it; it is the whole text
    where neither the prompt nor the completion opens or closes a thought. Of several faults the first of FormatFault's
    order is named.
    """
    start = prompt_tail.rfind(OPEN)
    whole = (prompt_tail[start:] if start >= 0 else "") + text
    opened, closed = whole.count(OPEN), whole.count(CLOSE)
    answer = whole.rpartition(CLOSE)[2]
    if opened and not closed:
        answer = ""
    return _fault(whole, opened, closed, answer), answer if answer.strip() else None


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


def extract_program(text: str) -> str:
    """The last fenced block that is closed; else one that is still open at the end; else the whole text."""
    last: list[str] | None = None
    block: list[str] | None = None
    for line in text.split("\n"):
        if not line.lstrip().startswith("```"):
            if block is not None:
                block.append(line)
        elif block is None:
            block = []
        else:
            last, block = block, None
    chosen = last if last is not None else block
    return text.strip() if chosen is None else "\n".join(chosen)
