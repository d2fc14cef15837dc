"""What a text answers: an expression, or a program. Pure functions, linear in the text: the text is hostile."""

from __future__ import annotations

import re

_BRACES = re.compile(r"(?:\\|(?<!\\)\\\\)(?:(?:begin)?boxed|fbox)\s*\{|\\.|[{}]", re.DOTALL)
"""A box may begin with two backslashes, as in JSON that was escaped twice, but not with more."""


def _boxes(text: str) -> list[tuple[int, int, int]]:
    r"""(start, start of the content, end of the content) of every complete box, nested ones too, by where they end."""
    opened: list[tuple[int, int]] = []  # where a box and its content opened, (-1, -1) where a plain brace did
    found = []
    for match in _BRACES.finditer(text):
        token = match.group()
        if token == "{":
            opened.append((-1, -1))
        elif token == "}":
            box, start = opened.pop() if opened else (-1, -1)
            if start >= 0:
                found.append((box, start, match.start()))
        elif token.endswith("{") and len(token) > 2:
            opened.append((match.start(), match.end()))
    return found


def extract_boxed(text: str) -> str | None:
    r"""Content of the last complete \boxed{...} (the outermost of nested boxes); None if there is none."""
    if "box" not in text:
        return None
    boxes = _boxes(text)
    return _content(text, boxes[-1]) if boxes else None


def _content(text: str, box: tuple[int, int, int]) -> str:
    content = text[box[1] : box[2]].strip()
    return content.replace("\\\\", "\\") if text.startswith("\\\\", box[0]) else content


_PERCENT = re.compile(r"\}\$?\s*(?:\\?%|percent\b)")


def join_boxes(text: str) -> str:
    """A reference without its boxes; several side by side are a list of answers.

    Only for references, which we trust: of an attempt only the last box counts (extract_boxed).
    """
    if "box" not in text:
        return text
    outer: list[tuple[int, int, int]] = []
    for box in _boxes(text):
        while outer and outer[-1][0] > box[0]:  # a box in this one
            outer.pop()
        outer.append(box)
    contents = list(dict.fromkeys(_content(text, box) for box in outer))
    if len(contents) == 1 and _PERCENT.match(text, outer[-1][2]):
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
    starts = [match.end() for match in _STATED.finditer(tail)]
    if starts and (stated := _statement(tail[starts[-1] :])):
        return stated
    if "\n" not in tail and _bare(tail) and tail:
        return tail
    candidates = _candidates(tail)
    if candidates:
        return candidates[-1]
    return _sentence(tail[starts[-1] :]) or None if starts else None


_OPTION_REFERENCE = re.compile(r"^\(?[A-J]\)?[.:]?$|^(?:\([A-J]\)|[A-J][.):])\s+[\w$\\]")
_OPTION_FIRST = re.compile(r"^[*\s(]*([A-J])(?:[).:,*\u3002]|$|(?=[^\x00-\x7f]))")
_OPTION = re.compile(r"(?<![A-Za-z\d\\'’])([A-J])(?![A-Za-z\d'’])(?! [a-z]+ (?:is|are|was)\b)")


def is_option(reference: str) -> bool:
    """Whether a reference is an option of a question: a letter from A to J, bare or as a label: B, (B), (B) blue."""
    return _OPTION_REFERENCE.match(reference.strip()) is not None


def _option(tail: str) -> str | None:
    """The option letter that a text states: after its "the answer is", at its start, or the last one."""
    starts = [match.end() for match in _STATED.finditer(tail)]
    stated = _OPTION.search(tail, starts[-1]) if starts else None
    first = _OPTION_FIRST.match(tail)
    if stated or first:
        return (stated or first).group(1)  # type: ignore[union-attr]
    letters = _OPTION.findall(tail)
    return letters[-1] if letters else None


def _bare(text: str) -> bool:
    """Whether a line is an answer and not a sentence with one in it."""
    if "$" in text or _SENTENCE.search(text):
        return False
    prose = _WORD.search(text) or len(_WORDS.findall(text)) > 1
    return not prose or (len(text) <= _SHORT and text.count(" ") <= 2)


def _candidates(text: str) -> list[str]:
    """Formulas, between delimiters or begun by a command, and numbers outside of them, in order."""
    found = []
    for match in _CANDIDATE.finditer(text):
        *formulas, percent, factor, command, plain = match.groups(default="")
        if len(_WORD.findall(formula := "".join(formulas))) > 1 and "\\" not in formula:
            found += _candidates(formula)  # two dollar signs of money, and what stands between them
            continue
        candidate = formula + percent if formula else _balanced(factor + command) or plain.rstrip(",")
        if candidate.strip():
            found.append(candidate.strip())
    return found


def _balanced(text: str) -> str:
    """A formula up to its full stop, or to the first bracket that closes what it did not open."""
    depth = 0
    for i, character in enumerate(text):
        depth += (character in "({[") - (character in ")}]")
        if depth < 0:
            text = text[:i]
            break
    return text.rstrip(".,;:!?*\u3002\uff0c")


def _statement(text: str) -> str:
    """What a sentence states: the formula it starts with; else all of it where it is bare; else its last candidate; ""
    where it has none (Answer: The problem asks for the cost)."""
    text = text.strip(" \t*:\n")
    if text.startswith(("$", r"\[", r"\(")) and (formulas := _candidates(text)):
        return formulas[0]
    sentence = _sentence(text)
    if _bare(sentence):
        return sentence
    candidates = _candidates(sentence)
    return candidates[-1] if candidates else ""


def _sentence(text: str) -> str:
    return re.split(r"\.(?:\s|$)|\n|\u3002", text.strip(" \t*:\n"), maxsplit=1)[0].strip(" *`\"'")


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
