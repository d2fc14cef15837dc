"""The fenced blocks of a text, as people and models write them: Markdown's rules, and what is meant besides.

A block opens with three or more backticks or tildes, in a list or a quotation too, or at the end of a line of prose; it
closes with as many. Besides: a fence with a language closes a block that was left open; backticks at the end of a line
of code close it; those inside a comment, or a string of several lines, do not. Linear in the text, which is hostile.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import lru_cache

_PYTHON = re.compile(r"(?:i|c|micro)?py(?:thon|py)?[-_.]?[\d.]*|.*\.py")
_OTHERS = frozenset(
    """
    c c++ cpp cc h hpp cxx java javascript js jsx typescript ts tsx go golang rust rs ruby rb php perl lua kotlin kt
    swift scala haskell hs ocaml r julia jl dart zig nim pascal fortran matlab cs csharp c# f# objc objective-c sql html
    css xml json jsonc json5 jsonl yaml yml toml ini csv tsv diff patch bash sh shell zsh fish console terminal cmd bat
    powershell ps1 dockerfile makefile make cmake latex tex mermaid dot graphviz asm nasm wasm lisp scheme clojure
    erlang elixir pycon python-repl pyrepl pytb traceback
    """.split()  # noqa: SIM905
)
_CONTAINERS = frozenset(("markdown", "md", "mdx"))
"""Languages of texts that hold blocks themselves: their own fences are passed over."""
_FENCE_LINE = re.compile(r"((?:[ \t]|>){0,40}(?:(?:[-*+]|\d{1,3}[.)])[ \t]{1,8})?)(`{3,}|~{3,})(.*)")
_QUOTED = re.compile(r"[ \t]{0,3}(?:>[ \t]?){1,9}")
_LABEL = re.compile(r"[{\s]*+\.?(?:lang(?:uage)?[-=:])?([\w+#.-]{1,40})")
_ONE_LABEL = re.compile(r"\{?\.?[\w+#.-]{1,40}\}?")
_CODE_AFTER_LABEL = re.compile(r"(?:import|from|def|class|for|while|if)\b|print\(|\w[\w, ]{0,30} = (?:\w|\[)")
_LEXEME = re.compile(r"""#.*|'{3}|"{3}|"(?:[^"\\]|\\.)*+"?|'(?:[^'\\]|\\.)*+'?|`{3,}""")
_ENDS = {
    '"""': re.compile(r'(?:[^\\"]|\\.|"(?!""))*+"""'),
    "'''": re.compile(r"(?:[^\\']|\\.|'(?!''))*+'''"),
}
"""The rest of a string of several lines on the line where it ends."""


@lru_cache(1024)
def _is_python(label: str) -> bool:
    return label not in _OTHERS and _PYTHON.fullmatch(label) is not None


def _known(label: str) -> bool:
    return label in _OTHERS or label in _CONTAINERS or _is_python(label)


def _label_of(info: str) -> str:
    """The language that the words behind a fence begin with, in small letters."""
    match = _LABEL.match(info)
    return match[1].lower() if match else ""


@dataclass(slots=True)
class Block:
    """A block of a text."""

    label: str
    """The language that it names, in small letters; empty for none."""
    line: int
    """The line of the text on which it opens, from 0."""
    closed: bool = False
    lines: list[str] = field(default_factory=list)
    inside: list[bool] = field(default_factory=list)
    """Whether a line begins inside a string: its indentation says nothing."""

    @property
    def python(self) -> bool:
        """It says that it is Python."""
        return _is_python(self.label)

    @property
    def other(self) -> bool:
        """It says that it is another language."""
        return self.label in _OTHERS

    def add(self, line: str, inside: bool = False) -> None:
        """The next line."""
        self.lines.append(line)
        self.inside.append(inside)

    def content(self) -> str:
        """What stands between the fences, dedented as a whole."""
        told = [line for line, inside in zip(self.lines, self.inside, strict=True) if not inside and line.strip()]
        shared = _shared([line[: len(line) - len(line.lstrip(" \t"))] for line in told])
        return "\n".join(line if line[:shared].strip() else line[shared:] for line in self.lines)


def _shared(texts: list[str]) -> int:
    """The characters with which all texts begin."""
    first, last = min(texts, default=""), max(texts, default="")
    return next(
        (place for place, (one, other) in enumerate(zip(first, last, strict=False)) if one != other), len(first)
    )


class Fences:
    """Reads `lines` once: `blocks` in their order, empty ones too, and `outside`, what stands around them by lines."""

    def __init__(self, lines: list[str]):
        self.blocks: list[Block] = []
        self.outside: list[tuple[int, str]] = []
        self.lines = lines
        self._block: Block | None = None
        self._character, self._length = "`", 3
        self._quoted = self._doubtful = False
        self._quote = ""
        """Of the string of several lines in which the next line begins."""
        self._looked: dict[str, tuple[int, bool]] = {}
        self._longest: dict[str, list[int]] = {}
        for number, line in enumerate(lines):
            if self._block is None:
                self._read_outside(number, line)
            else:
                self._read_inside(self._block, number, line)
        if self._block is not None and self._doubtful:
            self.blocks.pop()

    def _read_outside(self, number: int, line: str) -> None:
        marked = _FENCE_LINE.match(line) if "```" in line or "~~~" in line else None
        if marked and (marked[2][0] == "~" or "```" not in marked[3]):
            self._open(number, marked[2], marked[3], quoted=">" in marked[1])
        elif "```" in line:
            self._read_within(number, line)
        else:
            self.outside.append((number, line))

    def _read_within(self, number: int, line: str) -> None:
        """Fences within a line: pairs are blocks of one line, an odd one at the end opens a block."""
        before, *parts = line.split("```")
        self.outside.append((number, before))
        for content in parts[: len(parts) // 2 * 2 : 2]:
            block = Block(_label_of(content), number, closed=True)
            if _known(block.label):
                content = content.strip().partition(" ")[2]
            else:
                block.label = ""
            block.add(content.strip())
            self.blocks.append(block)
        last = parts[-1].strip("` \t")
        if len(parts) % 2 and (not last or (_known(_label_of(last)) and _ONE_LABEL.fullmatch(last))):
            self._open(number, "```", last, quoted=False)
            self._doubtful = not last

    def _open(self, number: int, fence: str, info: str, *, quoted: bool) -> None:
        label = _label_of(info)
        if label in _CONTAINERS:
            return
        self._block = Block(label, number)
        self.blocks.append(self._block)
        self._character, self._length = fence[0], len(fence)
        if self._length > 3 and self._longest_after(number) < self._length:
            self._length = 3
        self._quoted, self._doubtful, self._quote = quoted, False, ""
        after = info.strip().partition(" ")[2]
        if self._block.python and _CODE_AFTER_LABEL.match(after):
            self._block.add(after)

    def _read_inside(self, block: Block, number: int, line: str) -> None:
        line = _QUOTED.sub("", line, count=1) if self._quoted else line
        inside = bool(self._quote)
        marked = _FENCE_LINE.match(line) if not inside and self._character * 3 in line else None
        if marked and marked[2][0] == self._character and len(marked[2]) >= self._length:
            self._close(block, number, marked[2], marked[3])
            return
        if not block.other:
            self._quote, fence = _lexed(line, self._quote)
            if fence >= 0 and not marked and self._character == "`":
                block.add(line[:fence], inside)
                self._close(block, number, "```", line[fence:].lstrip("`"))
                return
            if self._quote and not inside and not self._ends_as_a_string(number):
                self._quote = ""
        block.add(line, inside)

    def _close(self, block: Block, number: int, fence: str, rest: str) -> None:
        """Ends the block. A language behind the fence says that a next one begins."""
        block.closed, self._block, self._quote = True, None, ""
        rest = rest.strip()
        if rest and _known(_label_of(rest)) and "`" not in rest:
            self._open(number, fence, rest, quoted=self._quoted)
        elif rest:
            self.outside.append((number, rest))

    def _ends_as_a_string(self, number: int) -> bool:
        """Whether the string of several lines that a line opens is meant: it ends, and the fences in it pair up.

        Where a language stands behind every second of them, the string was left open, and they are the text's own.
        """
        end, meant = self._looked.get(self._quote, (-1, False))
        if number < end:
            return meant
        labels, meant, end = list[str](), False, len(self.lines)
        for place in range(number + 1, len(self.lines)):
            line = self.lines[place]
            if self._quote in line and _ENDS[self._quote].match(line):
                meant, end = not any(labels[1::2]), place
                break
            if self._character * 3 in line and (marked := _FENCE_LINE.match(line)):
                labels.append(marked[3].strip())
        self._looked[self._quote] = end, meant
        return meant

    def _longest_after(self, number: int) -> int:
        """The most characters of a fence that stands alone on a later line."""
        if self._character not in self._longest:
            self._longest[self._character] = _longest_fences(self.lines, self._character)
        return self._longest[self._character][number]


def _longest_fences(lines: list[str], character: str) -> list[int]:
    """For every line the length of the longest fence alone on a later one."""
    longest, found = 0, [0] * len(lines)
    for number in range(len(lines) - 1, -1, -1):
        found[number] = longest
        line = lines[number].strip(" \t>")
        if len(line) > 3 and line == character * len(line):
            longest = len(line) if len(line) > longest else longest
    return found


def _lexed(line: str, quote: str) -> tuple[str, int]:
    """(the string of several lines that is open after a line of Python, where a fence outside of strings stands or -1).

    `quote` is open before it.
    """
    place = 0
    if quote:
        ended = _ENDS[quote].match(line)
        if ended is None:
            return quote, -1
        place = ended.end()
    if '"""' not in line and "'''" not in line and "```" not in line:
        return "", -1  # nothing here outlasts the line
    while found := _LEXEME.search(line, place):
        place = found.end()
        if found[0] in _ENDS:
            ended = _ENDS[found[0]].match(line, place)
            if ended is None:
                return found[0], -1
            place = ended.end()
        elif found[0][0] == "`":
            return "", found.start()
    return "", -1
