"""What a text answers: an expression. Pure functions, linear in the text: the text is hostile."""

from __future__ import annotations

import re

from openklear.verifiers.mathematics.text import depths

_BRACES = re.compile(r"(?:\\|(?<!\\)\\\\)(?:(?:begin)?boxed|fbox)\s*\{|\\.|[{}]", re.DOTALL)
"""A box may begin with two backslashes, as in JSON that was escaped twice, but not with more."""


def _boxes(text: str) -> list[tuple[int, int, str]]:
    """(start, end, content) of every complete box, nested ones too, by where they end."""
    opened: list[tuple[int, int]] = []  # where a box and its content opened, (-1, -1) where a plain brace did
    found = []
    for match in _BRACES.finditer(text):
        token = match.group()
        if token == "{":
            opened.append((-1, -1))
        elif token == "}":
            box, start = opened.pop() if opened else (-1, -1)
            if start >= 0:
                content = text[start : match.start()].strip()
                twice = text.startswith("\\\\", box)
                found.append((box, match.start(), content.replace("\\\\", "\\") if twice else content))
        elif token.endswith("{") and len(token) > 2:
            opened.append((match.start(), match.end()))
    return found


def extract_boxed(text: str) -> str | None:
    r"""Content of the last complete \boxed{...} (the outermost of nested boxes); None if there is none."""
    boxes = _boxes(text) if "box" in text else []
    return boxes[-1][2] if boxes else None


_PERCENT = re.compile(r"\}\$?\s*(?:\\?%|percent\b)")


def join_boxes(text: str) -> str:
    """A reference without its boxes; several side by side are a list of answers.

    Only for references, which we trust: of an attempt only the last box counts (extract_boxed).
    """
    outer: list[tuple[int, int, str]] = []
    for box in _boxes(text):
        while outer and outer[-1][0] > box[0]:  # a box in this one
            outer.pop()
        outer.append(box)
    contents = list(dict.fromkeys(content for _, _, content in outer))
    if len(contents) == 1 and _PERCENT.match(text, outer[-1][1]):
        contents[0] += r"\%"
    return ", ".join(contents) or text


_STATED = re.compile(
    r"(?:\banswer(?:\s+is|\s*:|\s*=)(?:\s*:)?|\b(?:réponse|respuesta)(?:\s+est?|\s*:)|答案(?:是|为|\s*[:\uff1a])|^\s*####)",
    re.IGNORECASE | re.MULTILINE,
)
_CANDIDATE = re.compile(
    r"(?:\$\$([^$]+)\$\$|\$((?:\\.|[^$\n\\])+)\$(?!\d)|\\\[(.+?)\\\]|\\\((.+?)\\\))(\s*(?:\\?%|percent\b|pct\b))?"
    r"|(-?\d[\d.]*)?(\\[^\s$]+)"
    r"|(-?\d[\d,]*(?:\.\d+)?(?:/\d+)?%?)",
    re.DOTALL,
)
_WORD = re.compile(r"(?<![\\\w{])[^\W\d_]{3,}")
_WORDS = re.compile(r"(?<![\\\w{])[^\W\d_]{2,}")
_SENTENCE = re.compile(r"[^\x00-\x7f\W\d_]{4,}|[\u3001\u3002\uff0c]")
"""A run of letters that are not Latin, or their punctuation: Chinese marks a sentence by no spaces."""
_OPENED = re.compile(r"\\(?:boxed|fbox)\s*\{")
"""A box that is never closed, in a text without a closed one: what it begins to hold still counts as stated."""
_TAIL = 4096
"""Characters at the end of an answer without a box that are searched."""
_SHORT = 40
"""Longest phrase, in characters, that may be nothing but an answer."""


def extract_answer(text: str, reference: str | None = None) -> str | None:
    """What a text answers: the first of these that it has.

    The last box; the last option letter it states, where the reference is one; what follows the last "the answer is";
    a text that is one line and nothing but an answer; the last formula between delimiters, or number. A text that is
    the reference and nothing else answers it, whatever else could be found in it.
    """
    boxed = extract_boxed(text)
    if boxed is not None:
        return boxed
    tail = _OPENED.sub("", text[-_TAIL:]).strip()
    if reference is not None and tail:
        if tail == reference.strip():
            return tail
        if is_option(reference):
            return _option(tail)
    said = _said(tail)
    if said and (stated := _statement(said)):
        return stated
    if "\n" not in tail and _bare(tail) and tail:
        return tail
    return _last(tail) or (_sentence(said) if said else "") or None


def _said(tail: str) -> str:
    """What follows the last "the answer is"; empty where it is not said."""
    starts = [match.end() for match in _STATED.finditer(tail)]
    return tail[starts[-1] :] if starts else ""


_OPTION_REFERENCE = re.compile(r"^\(?[A-J]\)?[.:]?$|^(?:\([A-J]\)|[A-J][.):])\s+[\w$\\]")
_OPTION_FIRST = re.compile(r"^[*\s(]*([A-J])(?:[).:,*\u3002]|$|(?=[^\x00-\x7f]))")
_OPTION = re.compile(r"(?<![A-Za-z\d\\'’])([A-J])(?![A-Za-z\d'’])(?! [a-z]+ (?:is|are|was)\b)")


def is_option(reference: str) -> bool:
    """Whether a reference is an option of a question: a letter from A to J, bare or as a label: B, (B), (B) blue."""
    return _OPTION_REFERENCE.match(reference.strip()) is not None


def _option(tail: str) -> str | None:
    """The option letter that a text states: after its "the answer is", at its start, or the last one."""
    start = len(tail) - len(_said(tail))
    if found := _OPTION.search(tail, start) or _OPTION_FIRST.match(tail):
        return found.group(1)
    return next(reversed(_OPTION.findall(tail)), None)


def _bare(text: str) -> bool:
    """Whether a line is an answer and not a sentence with one in it."""
    if "$" in text or _SENTENCE.search(text):
        return False
    prose = _WORD.search(text) or len(_WORDS.findall(text)) > 1
    return not prose or (len(text) <= _SHORT and text.count(" ") <= 2)


def _candidates(text: str) -> list[str]:
    """Formulas, between delimiters or begun by a command, and numbers outside of them, in order."""
    found: list[str] = []
    for match in _CANDIDATE.finditer(text):
        *formulas, percent, factor, command, plain = match.groups(default="")
        if len(_WORD.findall(formula := "".join(formulas))) > 1 and "\\" not in formula:
            found += _candidates(formula)  # two dollar signs of money, and what stands between them
            continue
        found.append(formula + percent if formula else _balanced(factor + command) or plain.rstrip(","))
    return [candidate.strip() for candidate in found if candidate.strip()]


def _last(text: str) -> str:
    return next(reversed(_candidates(text)), "")


def _balanced(text: str) -> str:
    """A formula up to its full stop, or to the first bracket that closes what it did not open."""
    end = next((i for i, depth in enumerate(depths(text)) if depth < 0), len(text))
    return text[:end].rstrip(".,;:!?*\u3002\uff0c")


def _statement(text: str) -> str:
    """What a sentence states: the formula it starts with; else all of it where it is bare; else its last candidate; ""
    where it has none (Answer: The problem asks for the cost)."""
    text = text.strip(" \t*:\n")
    if text.startswith(("$", r"\[", r"\(")) and (formulas := _candidates(text)):
        return formulas[0]
    sentence = _sentence(text)
    return sentence if _bare(sentence) else _last(sentence)


def _sentence(text: str) -> str:
    return re.split(r"\.(?:\s|$)|\n|\u3002", text.strip(" \t*:\n"), maxsplit=1)[0].strip(" *`\"'")
