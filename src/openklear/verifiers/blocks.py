"""Which block of a text is its program. Pure functions, linear in the text: the text is hostile.

It is the last block that is a program, whatever follows it: examples of output or of use, commands, other languages. A
program says that it is Python, or says nothing and parses as more than values. Blocks within the last <answer> come
before all others. Where there is no fence, the program stands between tags, or is the whole text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum
from textwrap import dedent

from openklear.verifiers.fences import Block, Fences
from openklear.verifiers.pythonic import (
    MOST_PARSED,
    Looks,
    borrowed,
    is_outline,
    is_program,
    looks,
    made_names,
    parsed,
)

_NAMES = "(?:answer|final_answer|code|python|program|solution)"
_TAG = re.compile(rf"<(/?)({_NAMES})(?:[ \t][^<>\n]{{0,99}})?>", re.IGNORECASE)
_WRAPPING = re.compile(
    rf"\A\s*+<{_NAMES}(?:[ \t][^<>\n]{{0,99}})?>|\A\s*+python3?[ \t]*\n|(?<!\s)\s*</{_NAMES}>\s*+\Z", re.IGNORECASE
)
"""A tag around all of a text, or a language whose fence is lost."""
_BRACKETED = re.compile(r"^\[(?:(BEGIN|PYTHON|CODE|ANSWER)|/(?:PYTHON|CODE|ANSWER)|DONE)\][ \t]*$", re.MULTILINE)
"""Tags on lines of their own, as prompts with examples have them."""
_IN_LINE = re.compile(r"\s*+(`{1,2})([^`]++)\1\s*+")
_UNREAL = re.compile(rf"(\w[ \t]*<{_NAMES}>)", re.IGNORECASE)
"""A tag behind a word, which Python would take for two comparisons, but not before two numbers."""
_INDENT = ("    ", "\t")
_INDENTED = re.compile(r"\n[ \t]*\n((?:(?: {4}|\t)[^\n]*\n|[ \t]*\n)+)")
"""Lines that are indented or empty, behind an empty one."""
_MOST_READ = 30
"""Blocks, from the end, whose contents are read; of those before them no program is expected."""
_LONGEST_READ = 5 * MOST_PARSED
"""Characters of blocks that are parsed, all of them together."""


class _Rank(IntEnum):
    """How likely a block is the program; the last of the likeliest is it."""

    NOTHING = 0
    """Another language."""
    UNLIKELY = 1
    SNIPPET = 2
    LEANING = 3
    """An example of use: it needs what an earlier block makes."""
    PROGRAM = 4


def extract_program(text: str) -> str:
    """The program that a text answers; all of the text where nothing says where one is."""
    text = text.replace("\r\n", "\n").replace("\r", "\n").removeprefix("\ufeff")
    text = _BRACKETED.sub(lambda tag: "<code>" if tag[1] else "</code>", text)
    whole = in_line[2] if (in_line := _IN_LINE.fullmatch(text)) else _WRAPPING.sub("", text)
    if not whole.lstrip().startswith(("```", "~~~")) and _is_program(_UNREAL.sub(r"\1 1 1 ", whole)):
        return whole.strip("\n")  # what it holds of fences and tags is in strings
    lines = text.split("\n")
    fences = Fences(lines)
    found = _in_blocks(fences)
    if fences.blocks and not (found and found.rank is _Rank.PROGRAM and fences.blocks[-1].closed):
        found = _after_prompt(lines) or found
    if found is not None:
        return found.program.removeprefix("\ufeff")
    return "" if fences.blocks else _indented(text) or whole.strip()


def _indented(text: str) -> str:
    """The last block that stands four columns in behind an empty line, as Markdown has it; "" where there is none that
    is a program, and where the lines around it may be Python themselves."""
    around = [line for line in text.split("\n") if not line.startswith(_INDENT)]
    runs = _INDENTED.findall(f"\n\n{text}\n")
    if not runs or len(runs[-1]) > MOST_PARSED or looks("\n".join(around)) is Looks.PROGRAM:
        return ""
    program = dedent(runs[-1].expandtabs(4)).strip("\n")
    return program if _is_program(program) else ""


def _after_prompt(lines: list[str]) -> _Found | None:
    """The likeliest block where the text begins with a program, whose fence the prompt opened, it seems."""
    if next(filter(str.strip, lines)).lstrip().startswith(("```", "~~~")):
        return None
    fences = Fences(["```python", *lines])
    return _in_blocks(fences) if fences.blocks[-1].closed and _is_program(fences.blocks[0].content()) else None


def _is_program(text: str) -> bool:
    return looks(text) > Looks.NOTHING and is_program(text)


def _in_blocks(fences: Fences) -> _Found | None:
    """The likeliest block, or what stands between tags without one; None where there is neither."""
    blocks = [block for block in fences.blocks if any(map(str.strip, block.lines))]
    answer = _region(fences, ("answer", "final_answer"))
    within = [block for block in blocks if answer and answer.first <= block.line <= answer.last]
    if answer and looks(answer.text) and (not within or is_program(answer.text)):
        return _Found(_Rank.PROGRAM, answer.text)
    found = _best(within) if within else None
    if blocks and (found is None or found.rank < _Rank.SNIPPET):
        found = _best(blocks)
    if found is None or found.rank < _Rank.PROGRAM:
        tagged = _region(fences, ("code", "python", "program", "solution"))
        if tagged and looks(tagged.text) and (not blocks or is_program(tagged.text)):
            return _Found(_Rank.PROGRAM, tagged.text)
    return found


@dataclass(frozen=True, slots=True)
class _Region:
    """What stands between two tags."""

    first: int
    last: int
    """Lines of the tags."""
    text: str


def _region(fences: Fences, names: tuple[str, ...]) -> _Region | None:
    """The last region between such tags outside of blocks, up to the end of the text where it is not closed.

    A tag begins or ends its line, or is closed on it: others are talk of tags.
    """
    start, end = None, None
    for number, piece in fences.outside:
        for tag in _real_tags(piece) if "<" in piece else ():
            if tag[2].lower() not in names:
                continue
            if tag[1]:
                end = end or (number, tag[0])
            else:
                start, end = (number, tag[0]), None
    if start is None and end is None:
        return None
    first, last = start[0] if start else 0, end[0] if end else len(fences.lines)
    text = "\n".join(fences.lines[first : last + 1])
    text = text.partition(start[1])[2] if start else text
    text = text.rpartition(end[1])[0] if end else _WRAPPING.sub("", text)
    return _Region(first, last, text.strip("\n"))


def _real_tags(line: str) -> Iterator[re.Match[str]]:
    """Those that begin or end the line, or pair up on it; others are talk of tags."""
    tags = list(_TAG.finditer(line))
    first, last = len(line) - len(line.lstrip()), len(line.rstrip())
    opened, closed = {tag[2] for tag in tags if not tag[1]}, {tag[2] for tag in tags if tag[1]}
    for tag in tags:
        if tag.start() == first or tag.end() == last or tag[2] in opened & closed:
            yield tag


@dataclass(frozen=True, slots=True)
class _Found:
    rank: _Rank
    program: str


def _best(blocks: Sequence[Block]) -> _Found:
    """The last of the likeliest blocks."""
    best: _Found | None = None
    reader = _Reader(blocks)
    for index in range(len(blocks) - 1, max(len(blocks) - 1 - _MOST_READ, -1), -1):
        found = reader.read(index)
        if best is None or found.rank > best.rank:
            best = found
        if best.rank is _Rank.PROGRAM:
            break
    assert best is not None, "there is a block"
    return best


class _Reader:
    """Ranks the blocks of a text; parses no more of them than is quick."""

    def __init__(self, blocks: Sequence[Block]):
        self._blocks = blocks
        self._left = _LONGEST_READ
        self._made: dict[str, int] | None = None

    def read(self, index: int) -> _Found:
        """The block's rank, and what it holds."""
        block = self._blocks[index]
        program = block.content()
        return _Found(_Rank.NOTHING if block.other else self._rank(index, block, program), program)

    def _rank(self, index: int, block: Block, program: str) -> _Rank:
        kind = looks(program)
        if kind is not Looks.PROGRAM:
            return _Rank.SNIPPET if kind is Looks.SNIPPET else _Rank.UNLIKELY
        if index == 0 and block.python and block.closed:
            return _Rank.PROGRAM
        self._left -= len(program)
        long = len(program) > MOST_PARSED or self._left < 0
        tree = None if long else parsed(program)
        if tree is None and not long and not (block.python and block.closed):
            return _Rank.SNIPPET  # prose, or a program that was cut off
        if index > 0 and tree is not None and is_outline(tree):
            return _Rank.SNIPPET
        borrows = index > 0 and tree is not None and any(self._makes(name, index) for name in borrowed(tree))
        return _Rank.LEANING if borrows else _Rank.PROGRAM

    def _makes(self, name: str, index: int) -> bool:
        """Whether a block before that one makes the name."""
        if self._made is None:
            self._made = {}
            for number, block in enumerate(self._blocks):
                for made in () if block.other else made_names(block.content()):
                    self._made.setdefault(made, number)
        return self._made.get(name, index) < index
