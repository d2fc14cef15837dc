"""What a text answers: an expression. Pure functions, linear in the text: the text is hostile."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import NamedTuple

from openklear.verifiers.mathematics.characters import plain
from openklear.verifiers.prose.lead_ins import is_placeholder, without_lead_in
from openklear.verifiers.prose.stated import said_from, stated, takes_back
from openklear.verifiers.prose.units import with_unit

_BRACES = re.compile(r"(?:\\|(?<!\\)\\\\)(?:(?:begin)?boxed|fbox)\s*\{|\\.|[{}]", re.DOTALL)
"""A box may begin with two backslashes, as in JSON that was escaped twice, but not with more."""


_TAG = re.compile(r"<\s{0,3}(/?)\s{0,3}(?:final[ _-]?)?answer(?:\s[^<>]{0,100})?>", re.IGNORECASE)
_OPENED = re.compile(r"(?<!\\)\\(?:boxed|fbox)\s*\{")
"""A box that is never closed, in a text without a closed one: what it begins to hold still counts as stated."""
_BEHIND = 80
"""Characters behind a box in which a unit is looked for."""
_MARKS = 64
"""Boxes and answer tags at the end of a text that are looked at for one that is filled."""
_TAIL = 4096
"""Characters at the end of an answer without a box that are searched."""


class _Boxed(NamedTuple):
    """Where a complete box begins, where its content does, and where its closing brace stands."""

    start: int
    opened: int
    end: int

    def content(self, text: str) -> str:
        content = text[self.opened : self.end].strip()
        return content.replace("\\\\", "\\") if text.startswith("\\\\", self.start) else content


def _boxes(text: str) -> list[_Boxed]:
    """Every complete box, nested ones too, by where they end."""
    opened: list[tuple[int, int]] = []  # where a box and its content opened, (-1, -1) where a plain brace did
    found = []
    for match in _BRACES.finditer(text) if "box" in text else ():
        token = match.group()
        if token == "{":
            opened.append((-1, -1))
        elif token == "}":
            start, content = opened.pop() if opened else (-1, -1)
            if start >= 0:
                found.append(_Boxed(start, content, match.start()))
        elif token.endswith("{") and len(token) > 2:
            opened.append((match.start(), match.end()))
    return found


def _last_box(text: str) -> _Boxed | None:
    """The last complete box (the outermost of nested ones) that holds an answer."""
    held = (
        box for box in reversed(_boxes(text)) if not is_placeholder(text[box.opened : min(box.end, box.opened + 99)])
    )
    return next(held, None)


def extract_boxed(text: str) -> str | None:
    r"""Content of the last complete \boxed{...} (the outermost of nested boxes); None if there is none."""
    boxes = _boxes(text)
    return boxes[-1].content(text) if boxes else None


def boxed_texts(text: str, most: int = _MARKS) -> list[str]:
    """What the complete boxes of a text hold, wherever they stand: the last `most` of them, in order."""
    return [box.content(text) for box in _boxes(text)[-most:]]


def join_boxes(text: str) -> str:
    """A reference without its boxes; several side by side are a list of answers.

    Only for references, which we trust: of an attempt only the last box counts (extract_boxed).
    """
    outer: list[_Boxed] = []
    for box in _boxes(text):
        while outer and outer[-1].start > box.start:  # a box in this one
            outer.pop()
        outer.append(box)
    contents = list(dict.fromkeys(box.content(text) for box in outer))
    return _and_unit(contents[0], text, outer[-1].end) if len(contents) == 1 else ", ".join(contents) or text


def _and_unit(value: str, text: str, end: int) -> str:
    """A value with the unit right behind its box."""
    return with_unit(value, plain(text[end + 1 : end + 1 + _BEHIND]), 0)[0]


class Extracted(NamedTuple):
    """An answer, and from where in a text it was taken, in words."""

    text: str
    where: str


def extract_answer(text: str, reference: str | None = None) -> str | None:
    """What a text answers: what its last box or its last pair of answer tags holds, whichever begins later.

    Boxes and tags that hold nothing, or only the words "your answer", do not count. In tags and in a text without
    marks: the last option letter it states, where the reference is one; else what its prose states (`prose.stated`). A
    text that is the reference and nothing else answers it, whatever else could be found in it.
    """
    found = find_answer(text, reference)
    return None if found is None else found.text


def find_answer(text: str, reference: str | None = None) -> Extracted | None:
    """What `extract_answer` takes, and from where."""
    box = _last_box(text)
    for start, end in reversed(_tagged(text)):
        if box and box.start >= start:
            break
        if not is_placeholder(inner := text[start:end].strip()) and (found := _from_prose(inner, reference, True)):
            return Extracted(found.text, f"the last answer tags, {found.where}")
    return Extracted(_from_box(text, box), "the last box") if box else _from_prose(text, reference, False)


def _tagged(text: str) -> list[tuple[int, int]]:
    """Where each text between answer tags begins and ends, of the last few; one never closed ends with the text."""
    marks = [(mark.start(), mark.end(), mark.group(1)) for mark in _TAG.finditer(text)] if "<" in text else []
    following = pairwise([*marks[-_MARKS:], (len(text), 0, "")])
    return [(end, after) for (_, end, closes), (after, _, _) in following if not closes]


def _from_box(text: str, box: _Boxed) -> str:
    content = box.content(text)
    if len(content) > _TAIL:
        return content
    inner = without_lead_in(content)
    if (only := _box_among_words(inner)) is not None:
        return without_lead_in(only)
    return _and_unit(inner, text, box.end)


def _box_among_words(content: str) -> str | None:
    """What the box in a box holds that has nothing else around it but words."""
    boxes = _boxes(content)
    if len(boxes) != 1:
        return None
    around = _TEXT.sub(r"\1", content[: boxes[0].start] + content[boxes[0].end + 1 :])
    return None if _NOT_WORDS.search(around) else boxes[0].content(content)


_TEXT = re.compile(r"\\(?:text|textbf|textrm|mathrm|mbox)\s?\{([^{}]*)\}|\\[,;: ]")
_NOT_WORDS = re.compile(r"[\d\\{}+*/^_<>-]|\b(?:not|or|and)\b", re.IGNORECASE)


def _from_prose(text: str, reference: str | None, is_answer: bool) -> Extracted | None:
    tail = _without_placeholders(text[-_TAIL:]).strip()
    if reference is not None and tail:
        if _stripped(tail) == _stripped(reference):
            return Extracted(_stripped(tail), "a text that is the reference")
        if is_option(reference):
            letter = _option(plain(_OPENED.sub("", tail)))
            return Extracted(letter, "the option that the text states") if letter else None
    where = "what the text states"
    if opened := _OPENED.split(tail)[1:]:
        tail, is_answer = without_lead_in(opened[-1].strip().partition("\n")[0]), True
        where = "a box that is never closed"
    said = stated(plain(tail), is_answer)
    return Extracted(said, where) if said else None


def _without_placeholders(tail: str) -> str:
    """Without its boxes: they hold nothing, or there would be no look at the prose."""
    for box in reversed(_boxes(tail)):
        tail = tail[: box.start] + tail[box.end + 1 :]
    return tail


def _stripped(text: str) -> str:
    return text.strip(" *`\n").rstrip(".")


_OPTION_REFERENCE = re.compile(r"^\(?[A-J]\)?[.:]?$|^(?:\([A-J]\)|[A-J][.):])\s+[\w$\\]")
_OPTION_FIRST = re.compile(r"^[*\s(]*([A-J])(?:[).:,*\u3002]|$|(?=[^\x00-\x7f]))")
_OPTION = re.compile(
    r"(?<![A-Za-z\d\\'’])(?<!not )(?<!n't )(?<!(?:not|n't) be )([A-J])(?![A-Za-z\d'’])(?! [a-z]+ (?:is|are|was)\b)"
    r"(?! (?:is|are|was)(?:n't| not| too| wrong| incorrect| false| impossible)\b)"
)
_OPTIONS = re.compile(r"[A-J]\)?(?:\s?(?:[,/&\u6216]|and|or)\s?\(?[A-J]\)?(?![A-Za-z\d'’ ] ?[a-z]))+")
"""Several options that are offered together: A or B is neither."""


def is_option(reference: str) -> bool:
    """Whether a reference is an option of a question: a letter from A to J, bare or as a label: B, (B), (B) blue."""
    return _OPTION_REFERENCE.match(reference.strip()) is not None


_DENIED = re.compile(
    r"\b(?:not|nor|rather than|instead of|unlike)\s{1,3}(?:option |choice |answer )?\W{0,3}$", re.IGNORECASE
)


def _is_denied(tail: str, place: int) -> bool:
    """Whether the option there is named as one that is not right: (C), not (B)."""
    return _DENIED.search(tail[max(0, place - 30) : place]) is not None


def _option(tail: str) -> str | None:
    """The option letter that a text states: after its "the answer is", at its start, or the last one."""
    said = said_from(tail)
    found = None if takes_back(tail[said:]) else _OPTION.search(tail, said) or _OPTION_FIRST.match(tail)
    if found is None:
        found = next(
            (match for match in reversed([*_OPTION.finditer(tail)]) if not _is_denied(tail, match.start())), None
        )
    if found is None:
        return None
    place = found.start(1)
    together = (offer.group() for offer in _OPTIONS.finditer(tail) if offer.start() <= place < offer.end())
    return next(together, found.group(1))
