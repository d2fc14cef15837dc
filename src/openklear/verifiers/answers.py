"""What a text answers: an expression. Pure functions, linear in the text: the text is hostile."""

from __future__ import annotations

import re
from itertools import pairwise

from openklear.verifiers.mathematics.characters import plain
from openklear.verifiers.prose.lead_ins import is_placeholder, without_lead_in
from openklear.verifiers.prose.stated import said_from, stated
from openklear.verifiers.prose.units import with_unit

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
    if len(contents) == 1:
        contents[0] = with_unit(contents[0], text, outer[-1][1] + 1)[0]
    return ", ".join(contents) or text


_TAG = re.compile(r"<\s{0,3}(/?)\s{0,3}(?:final[ _-]?)?answer(?:\s[^<>]{0,100})?>", re.IGNORECASE)
_OPENED = re.compile(r"\\(?:boxed|fbox)\s*\{")
"""A box that is never closed, in a text without a closed one: what it begins to hold still counts as stated."""
_MARKS = 16
"""Answer tags at the end of a text that are looked at."""
_TAIL = 4096
"""Characters at the end of an answer without a box that are searched."""


def extract_answer(text: str, reference: str | None = None) -> str | None:
    """What a text answers: what its last box or its last pair of answer tags holds, whichever begins later.

    Boxes and tags that hold nothing, or only the words "your answer", do not count. In tags and in a text without
    marks: the last option letter it states, where the reference is one; else what its prose states (`prose.stated`). A
    text that is the reference and nothing else answers it, whatever else could be found in it.
    """
    boxes = [box for box in _boxes(text) if not is_placeholder(box[2])] if "box" in text else []
    box = boxes[-1] if boxes else None
    for start, end in reversed(_tagged(text)):
        if box and box[0] >= start:
            break
        if not is_placeholder(inner := text[start:end].strip()) and (found := _from_prose(inner, reference, True)):
            return found
    return _from_box(text, box) if box else _from_prose(text, reference, False)


def _tagged(text: str) -> list[tuple[int, int]]:
    """Where each text between answer tags begins and ends, of the last few; one never closed ends with the text."""
    marks = [(mark.start(), mark.end(), mark.group(1)) for mark in _TAG.finditer(text)] if "<" in text else []
    following = pairwise([*marks[-_MARKS:], (len(text), 0, "")])
    return [(end, after) for (_, end, closes), (after, _, _) in following if not closes]


def _from_box(text: str, box: tuple[int, int, str]) -> str:
    _, end, content = box
    inner = without_lead_in(content)
    if (only := _box_among_words(inner)) is not None:
        inner = without_lead_in(only)
    return with_unit(inner, text, end + 1)[0] if inner == content else inner


def _box_among_words(content: str) -> str | None:
    """The box in a box that holds nothing else but words."""
    boxes = _boxes(content) if "boxed" in content else []
    if len(boxes) != 1:
        return None
    start, end, inner = boxes[0]
    around = _TEXT.sub(r"\1", content[:start] + content[end + 1 :])
    return None if _NOT_WORDS.search(around) else inner


_TEXT = re.compile(r"\\(?:text|textbf|textrm|mathrm|mbox)\s?\{([^{}]*)\}|\\[,;: ]")
_NOT_WORDS = re.compile(r"[\d\\{}+*/^_<>-]|\b(?:not|or|and)\b", re.IGNORECASE)


def _from_prose(text: str, reference: str | None, announced: bool) -> str | None:
    tail = _OPENED.sub("", _without_boxes(text[-_TAIL:])).strip()
    if reference is not None and tail:
        if _stripped(tail) == _stripped(reference):
            return tail
        if is_option(reference):
            return _option(plain(tail))
    return stated(plain(tail), announced) or None


def _without_boxes(tail: str) -> str:
    """Without the boxes that it holds: they are placeholders, or there would be no look at the prose."""
    for start, end, content in reversed(_boxes(tail) if "box" in tail else []):
        if is_placeholder(content):
            tail = tail[:start] + tail[end + 1 :]
    return tail


def _stripped(text: str) -> str:
    return text.strip(" *`\n").rstrip(".")


_OPTION_REFERENCE = re.compile(r"^\(?[A-J]\)?[.:]?$|^(?:\([A-J]\)|[A-J][.):])\s+[\w$\\]")
_OPTION_FIRST = re.compile(r"^[*\s(]*([A-J])(?:[).:,*\u3002]|$|(?=[^\x00-\x7f]))")
_OPTION = re.compile(r"(?<![A-Za-z\d\\'’])([A-J])(?![A-Za-z\d'’])(?! [a-z]+ (?:is|are|was)\b)")


def is_option(reference: str) -> bool:
    """Whether a reference is an option of a question: a letter from A to J, bare or as a label: B, (B), (B) blue."""
    return _OPTION_REFERENCE.match(reference.strip()) is not None


def _option(tail: str) -> str | None:
    """The option letter that a text states: after its "the answer is", at its start, or the last one."""
    start = said_from(tail)
    if found := _OPTION.search(tail, start) or _OPTION_FIRST.match(tail):
        return found.group(1)
    return next(reversed(_OPTION.findall(tail)), None)
