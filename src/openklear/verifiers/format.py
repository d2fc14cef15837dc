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
_FORMULA = re.compile(r"\$\$([^$]+)\$\$|\$([^$]+)\$|\\\[(.+?)\\\]|\\\((.+?)\\\)", re.DOTALL)
_NUMBER = re.compile(r"-?\d[\d,]*(?:\.\d+)?(?:/\d+)?%?")
_TAIL = 4096
"""Characters at the end of an answer without a box that are searched."""
_PLAIN_ANSWER = 40
"""Characters of an answer that is nothing but an answer, without a formula's delimiters."""


def extract_answer(text: str) -> str | None:
    """What a text answers: the first of these that it has.

    The last box; what follows the last "the answer is"; the last formula between delimiters; all of a text that is one
    short line; the last number.
    """
    boxed = extract_boxed(text)
    if boxed is not None:
        return boxed
    tail = text[-_TAIL:].strip()
    starts = [match.end() for match in _STATED.finditer(tail)]
    if starts and (stated := _statement(tail[starts[-1] :])):
        return stated
    formulas = _formulas(tail)
    if formulas:
        return formulas[-1]
    if len(tail) <= _PLAIN_ANSWER and "\n" not in tail and tail.count(" ") <= 2:
        return tail or None
    numbers = _NUMBER.findall(tail)
    return numbers[-1].rstrip(",") if numbers else None


def _formulas(text: str) -> list[str]:
    found = ("".join(groups).strip() for groups in _FORMULA.findall(text))
    return [formula for formula in found if formula]


def _statement(text: str) -> str:
    """What a sentence states: its first formula; else all of it where it is short; else its first number."""
    text = text.strip(" \t*:\n")
    sentence = re.split(r"\.(?:\s|$)|\n", text, maxsplit=1)[0].strip(" *`\"'")
    formulas = _formulas(text if text.startswith(("$", "\\[", "\\(")) else sentence)
    if formulas:
        return formulas[0]
    if sentence.count(" ") <= 2:
        return sentence
    numbers = _NUMBER.findall(sentence)
    return numbers[0].rstrip(",") if numbers else sentence


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
