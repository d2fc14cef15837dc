"""The words that the weighted rule compares.

A word is a run of letters, a run of digits or one of the signs `+ < >`, so that `2x` is two words and `x + 5` is not
`x - 5`. Everything else (punctuation, dollar signs, braces, hyphens, white space) only separates; case is ignored.
Every Chinese, Japanese or Korean letter is a word. LaTeX layout (`\\left`, `\\frac`) is left out, commands that say the
same are one (`\\leq` and `\\le`), and `1,000` is `1000`. A figure's code (Asymptote, TikZ) is one number, made of
its letters and digits: many figures are mostly the same code, and copies often lack it.
"""

from __future__ import annotations

import re
import string
import unicodedata
from collections.abc import Sequence
from dataclasses import replace
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from openklear.curation.contamination.weighted.vocabulary import FUNCTION, LAYOUT, SYNONYMS
from openklear.curation.text.cut import Codes, Cutter, Words, byte_kinds
from openklear.curation.text.grams import among
from openklear.curation.text.vocabulary import NUMBERS

LETTERS, DIGITS, SIGNS, COMMAND = 1, 2, 3, 4
"""What a word is made of; a command is letters behind a backslash."""

FIGURE = re.compile(r"\[asy\].*?\[/asy\]|\\begin\{tikzpicture\}.*?\\end\{tikzpicture\}", re.DOTALL | re.IGNORECASE)
_NOT_CODE = re.compile(r"[\W_]+")
_OTHER_MARKS = re.compile(r"[^\x00-\x7f\w]")
_SCRIPT_WITHOUT_BLANKS = re.compile(r"([\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af])")


_CUT = Cutter(byte_kinds(string.ascii_letters, string.digits, "+<>"), b"+<>")


def cut(texts: Sequence[str]) -> Words:
    """The words of `texts`."""
    return _tidy(_CUT([_prepared(text) for text in texts]))


def codes_of(words: Sequence[str]) -> Codes:
    """Codes of single words, as `cut` gives them."""
    return _CUT(words).codes


def _prepared(text: str) -> str:
    """Text whose bytes say which are letters: marks outside ASCII become blanks, figures numbers.

    Not `rows.normalise`: white space stays, since the ends of sentences are looked at.
    """
    if "[asy]" in text or "{tikzpicture}" in text or "[ASY]" in text or "{TIKZPICTURE}" in text:
        text = FIGURE.sub(_figure, text)
    if text.isascii():
        return text
    text = unicodedata.normalize("NFC", text).lower().encode("utf-8", "replace").decode()
    return _SCRIPT_WITHOUT_BLANKS.sub(r" \1 ", _OTHER_MARKS.sub(" ", text))


def _figure(found: re.Match[str]) -> str:
    """A number for a figure's code."""
    content = _NOT_CODE.sub("", found[0].lower())
    return f" [{int.from_bytes(blake2b(content.encode(), digest_size=8).digest(), 'big')}] "


_LAYOUT = np.sort(codes_of(LAYOUT.split()))
_SYNONYMS = dict(zip(codes_of([*SYNONYMS]).tolist(), codes_of([*SYNONYMS.values()]).tolist(), strict=True))
_REPLACED = np.sort(codes_of([*SYNONYMS]))
_NUMBERS = np.sort(codes_of(NUMBERS.split()))
FUNCTION_WORDS: frozenset[int] = frozenset(codes_of(FUNCTION.split()).tolist())
"""Codes of words that alone do not make another problem."""


def exact(words: Words) -> NDArray[np.bool_]:
    """(W,) what must agree: numbers, in digits or in words, signs and LaTeX commands."""
    return (words.kinds > LETTERS) | among(words.codes, _NUMBERS)


def _tidy(words: Words) -> Words:
    """LaTeX layout left out, synonyms made one, groups of three digits joined."""
    if not len(words.codes):
        return words
    codes, ends = words.codes, words.ends
    keep = np.ones(len(codes), np.bool_)
    commands = np.flatnonzero((words.data[words.starts - 1] == ord("\\")) & (words.starts > 0))
    words.kinds[commands] = COMMAND
    keep[commands[among(codes[commands], _LAYOUT)]] = False
    for place in commands[among(codes[commands], _REPLACED)].tolist():
        codes[place] = _SYNONYMS[int(codes[place])]
    groups = _groups_of_three(words)
    joined = codes_of([words.text(head, tail).replace(",", "") for head, tail in groups])
    for (head, tail), code in zip(groups, joined, strict=True):
        codes[head], ends[head] = code, ends[tail]
        keep[head + 1 : tail + 1] = False
    if keep.all():
        return words
    shift = np.concatenate(([0], np.cumsum(keep)))  # (W + 1,) words kept before each place
    kept = replace(words, codes=codes[keep], starts=words.starts[keep], ends=ends[keep], kinds=words.kinds[keep])
    return replace(kept, rows=shift[words.rows])


def _groups_of_three(words: Words) -> list[tuple[int, int]]:
    """(first, last) words of numbers such as 1,000,000."""
    digits = words.kinds == DIGITS
    at = np.flatnonzero(digits[:-1] & digits[1:])  # two numbers in a row, then: a comma alone between them
    at = at[(words.starts[at + 1] - words.ends[at] == 1) & (words.data[words.ends[at]] == ord(","))]
    # the second has three digits, and both stand in one text
    at = at[(words.ends[at + 1] - words.starts[at + 1] == 3) & (words.row_of(at) == words.row_of(at + 1))]
    found: list[tuple[int, int]] = []
    for place in at.tolist():
        if found and found[-1][1] == place:
            found[-1] = (found[-1][0], place + 1)
        elif words.ends[place] - words.starts[place] <= 3 and words.data[words.starts[place]] != ord("0"):
            found.append((place, place + 1))
    return found
