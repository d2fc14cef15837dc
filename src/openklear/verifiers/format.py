"""Which part of a completion is graded. Pure functions, linear in the text: the text is hostile."""

from __future__ import annotations

import re

OPEN, CLOSE = "<think>", "</think>"


def split_reasoning(text: str, prompt_tail: str = "") -> tuple[bool, str | None]:
    """(well formed?, what follows the last </think>).

    Well formed: exactly one <think> ... </think>, only white space before it, an answer after it. The prompt's end may
    already open it. The answer is None where the thought is never closed or nothing follows it; it is the whole text
    where neither the prompt nor the completion opens or closes a thought.
    """
    start = prompt_tail.rfind(OPEN)
    whole = (prompt_tail[start:] if start >= 0 else "") + text
    if CLOSE in whole:
        before, _, answer = whole.rpartition(CLOSE)
    elif OPEN in whole:
        return False, None
    else:
        before, answer = "", whole
    if not answer.strip():
        return False, None
    lone = whole.count(OPEN) == 1 and whole.count(CLOSE) == 1
    return lone and before.lstrip().startswith(OPEN), answer


_BRACES = re.compile(r"\\(?:boxed|fbox)\s*\{|\\.|[{}]", re.DOTALL)


def extract_boxed(text: str) -> str | None:
    r"""Content of the last complete \boxed{...} (of boxes in each other, the outermost); None where there is none."""
    opened: list[int] = []  # start of the content where a box opened, -1 where a plain brace did
    last: tuple[int, int] | None = None
    for match in _BRACES.finditer(text):
        token = match.group()
        if token == "{":
            opened.append(-1)
        elif token == "}":
            start = opened.pop() if opened else -1
            if start >= 0:
                last = start, match.start()
        elif token.endswith("{") and len(token) > 2:
            opened.append(match.end())
    return None if last is None else text[last[0] : last[1]].strip()


_STATED = re.compile(r"(?:\banswer(?:\s+is|\s*:|\s*=)(?:\s*:)?|^\s*####)", re.IGNORECASE | re.MULTILINE)
_CANDIDATE = re.compile(
    r"(?:\$\$([^$]+)\$\$|\$([^$\n]+)\$|\\\[(.+?)\\\]|\\\((.+?)\\\))(\s*(?:\\?%|percent\b|pct\b))?"
    r"|(-?\d[\d,]*(?:\.\d+)?(?:/\d+)?%?)",
    re.DOTALL,
)
_WORD = re.compile(r"(?<![\\a-zA-Z{])[a-zA-Z]{3,}")
_TAIL = 4096
"""Characters at the end of an answer without a box that are searched."""
_SHORT = 40
"""Characters of a phrase that is nothing but an answer."""


def extract_answer(text: str) -> str | None:
    """What a text answers: the first of these that it has.

    The last box; what follows the last "the answer is"; all of a text that is one line and nothing but an answer; the
    last formula between delimiters or number.
    """
    boxed = extract_boxed(text)
    if boxed is not None:
        return boxed
    tail = text[-_TAIL:].strip()
    starts = [match.end() for match in _STATED.finditer(tail)]
    if starts and (stated := _statement(tail[starts[-1] :])):
        return stated
    if "\n" not in tail and _bare(tail) and tail:
        return tail
    candidates = _candidates(tail)
    return candidates[-1] if candidates else None


def _bare(text: str) -> bool:
    """Whether a line is an answer and not a sentence with one in it."""
    return "$" not in text and (not _WORD.search(text) or (len(text) <= _SHORT and text.count(" ") <= 2))


def _candidates(text: str) -> list[str]:
    """Formulas between delimiters, and numbers outside of them, in their order."""
    found = []
    for match in _CANDIDATE.finditer(text):
        *formulas, percent, plain = match.groups(default="")
        candidate = ("".join(formulas) + percent if any(formulas) else plain.rstrip(",")).strip()
        if candidate:
            found.append(candidate)
    return found


def _statement(text: str) -> str:
    """What a sentence states: the formula it starts with; else all of it where it is bare; else its last candidate."""
    text = text.strip(" \t*:\n")
    if text.startswith(("$", r"\[", r"\(")) and (formulas := _candidates(text)):
        return formulas[0]
    sentence = re.split(r"\.(?:\s|$)|\n", text, maxsplit=1)[0].strip(" *`\"'")
    if _bare(sentence):
        return sentence
    candidates = _candidates(sentence)
    return candidates[-1] if candidates else sentence


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
