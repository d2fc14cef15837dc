r"""The words beside a value: which must agree, which may be missing, and which say nothing.

A filler ("the", "ways") says nothing. A word that states a condition or a direction ("even", "p.m.", "increase") is
part of the answer. Any other word, a unit or a noun, may be missing on one side, but the sides must not differ in it.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain, pairwise

_UNITS = """
mm millimeter millimetre, cm centimeter centimetre, dm decimeter decimetre, m meter metre, km kilometer kilometre,
in inch, ft foot feet, yd yard, mi mile, mg milligram, g gram, kg kilogram, lb pound, oz ounce, t ton tonne,
s sec second, min minute, h hr hour, day, week, month, yr year, ml milliliter millilitre, l liter litre, gal gallon,
mi/h mph, km/h kph kmph kmh, m/s, dollar usd, cent, rad radian, degree deg, hz hertz, n newton, j joule, w watt
"""
"""The spellings of each unit; the first one is its name."""
UNITS: dict[str, str] = {}
for _spellings in map(str.split, _UNITS.split(",")):
    UNITS |= dict.fromkeys(_spellings, _spellings[0])
UNIT_NAMES = frozenset(UNITS.values())

_FILLER_WORDS = """
a an the of is are was be been being in on at to for with there it its that this these those which we get so then thus
hence and or if where when as have has can answer final result value equal total exactly about approximately approx
roughly around nearly only just way combination possibility possible outcome arrangement unit number different distinct
all any every each some th st nd rd either both respectively per square sq squared cubic cubed
"""
_FILLERS = frozenset(_FILLER_WORDS.split())
_STATING_WORDS = """
even odd prime composite positive negative nonnegative nonpositive nonzero non not no never none except excluding
without north south east west northeast northwest southeast southwest clockwise counterclockwise anticlockwise up down
upward downward above below am pm noon midnight increase decrease increased decreased increasing decreasing rise fall
loss profit gain least most than greater fewer smaller larger over under before after between rational irrational
perfect divisible bc ad bce ce half twice double triple hundred thousand million billion trillion dozen true
false undefined infinite infinitely
"""
_STATING = frozenset(_STATING_WORDS.split())
_COMPARED = frozenset(("more", "less", "fewer", "greater", "higher", "lower", "above", "below", "larger", "smaller"))
_RELATED = frozenset(("multiple", "power", "factor", "divisor"))
_FUNCTION_WORDS = """
sin cos tan cot sec csc arcsin arccos arctan sinh cosh tanh log ln exp sqrt cbrt mod gcd lcm max min det deg arg sgn
rank inf sup lim pi infinity infty frac dfrac tfrac floor ceil abs
"""
_FUNCTIONS = frozenset(_FUNCTION_WORDS.split())
_PIECE = re.compile(
    r"(?P<text>\\(?:text[a-z]*|mathrm|mathsf|mathtt|mathit|mbox|hbox|rm)\s*\{)"
    r"|\\(?:begin|end|operatorname) ?\*?\{[a-zA-Z*]*\}|\\(?:[a-zA-Z]+|.)|(?P<brace>[{}])"
    r"|(?P<letters>(?<![a-zA-Z])[ap]\.\s?m(?![a-zA-Z])\.?|[a-zA-Z]+)|(?P<mathematics>[^\s.,;:()'\"!?-])"
)
_WORDY = re.compile(r"\\(?:text|math|mbox|hbox|rm)|(?<![\\a-zA-Z])[a-zA-Z]{2}|[ap]\.\s?m|\d\s?[a-zA-Z](?:\.?$| \d)")
_LONG = 5
"""Letters from which on a run of them, outside of \text, is no product of symbols."""


def may_have_words(text: str) -> bool:
    """Whether a normalised text is worth reading for words."""
    return _WORDY.search(text) is not None


def canonical(word: str) -> str:
    """A word without capitals, dots and the ending of a plural; units by their names."""
    if len(word) == 1 and word.isupper():
        return word  # A is no article, but amperes or a symbol
    word = word.casefold().replace(".", "").replace(" ", "")
    if word in UNITS:
        return UNITS[word]
    if word in _STATING or word in _FILLERS:
        return word
    for ending, instead in (("ies", "y"), ("es", ""), ("s", "")):
        stem = word.removesuffix(ending) + instead
        if word.endswith(ending) and (stem in UNITS or stem in _STATING or stem in _FILLERS):
            return UNITS.get(stem, stem)
    return word[:-1] if word.endswith("s") and len(word) > 3 and not word.endswith("ss") else word


def bare_word(letters: str, counted: bool) -> bool:
    """Whether letters outside of \\text are a word, and no product of symbols; `counted`: a number is before them."""
    plain = letters.casefold().replace(".", "").replace(" ", "")
    if len(plain) < 2 or (plain in _FUNCTIONS and not (counted and plain in ("min", "sec"))):
        return False
    if letters.isupper() and len(plain) < 4 and not counted:
        return False  # NO and ABE are segments and angles
    word = canonical(letters)
    if len(plain) == 2:
        return (counted and (plain in UNITS or word in ("am", "pm", "bc", "ad"))) or plain in ("is", "if", "or", "no")
    if word in _STATING or word in _FILLERS or word in UNITS or word in _COMPARED:
        return True
    steps = {ord(after) - ord(before) for before, after in pairwise(plain)}
    spoken = bool(set(plain) & set("aeiou")) and steps != {1} and not letters.isupper()
    return spoken and (counted or len(plain) >= _LONG)


@dataclass(frozen=True, slots=True)
class _Piece:
    """A piece of a text: a "text" command up to its brace, a "brace", a "word", other "letters", or "mathematics"."""

    kind: str
    token: str
    start: int
    end: int
    inside: bool
    """Whether it is in a text command."""
    counted: bool
    """Whether the piece before it is a number."""


def _pieces(text: str) -> Iterator[_Piece]:
    within: list[bool] = []  # for every open brace: whether it is in a text command
    counted = False
    for match in _PIECE.finditer(text):
        kind, token = match.lastgroup or "command", match.group()
        inside = bool(within) and within[-1]
        if kind == "text" or token == "{":
            within.append(inside or kind == "text")
        elif token == "}" and within:
            within.pop()
        elif kind == "letters" and (inside or bare_word(token, counted) or _is_unit(token, counted, text, match.end())):
            kind = "word"
        elif kind == "command" and not token.strip("\\ ,;:!"):
            continue
        yield _Piece(kind, token, match.start(), match.end(), inside, counted)
        if kind in ("letters", "word", "mathematics", "command"):
            counted = token[-1].isdigit() or token == "%"


def _is_unit(token: str, counted: bool, text: str, end: int) -> bool:
    """Whether one letter between two numbers is a unit: 2 h 5 min."""
    return counted and token in UNITS and text[end : end + 1] == " " and text[end + 1 : end + 2].isdigit()


Groups = tuple[tuple[str, ...], ...]


@lru_cache(maxsize=1024)
def words(text: str) -> tuple[Groups, bool]:
    """The words of a normalised text that are no fillers, those between two formulas in one group; and whether there
    is any formula at all."""
    if not _WORDY.search(text):
        return (), True
    groups: list[list[str]] = [[]]
    formula = False
    previous = ""
    for piece in _pieces(text):
        if piece.kind == "word":
            word = canonical(piece.token)
            groups[-1] += _said(word, previous, piece.counted)
            previous = word
        elif piece.kind in ("letters", "mathematics", "command"):
            formula = True
            if groups[-1]:
                groups.append([])
    return tuple(tuple(sorted(group)) for group in groups if group), formula


def _said(word: str, previous: str, counted: bool) -> list[str]:
    """What a word says after another one: "more" in "or more" is no noun, nor are powers in "powers of", and "in" is
    inches behind a number alone."""
    if (word in _COMPARED and previous == "or") or (word == "of" and previous in _RELATED):
        return [f"{previous} {word}"]
    if previous == "perfect":
        return [word]  # a perfect square
    return word.split("/") if word not in _FILLERS or (word == "in" and counted) else []


def say_different(left: str, right: str) -> bool:
    """Whether two normalised texts say different things in words beside what they say in formulas."""
    ours, theirs = words(left), words(right)
    if not (ours[0] or theirs[0]) or not (ours[1] and theirs[1]):
        return False  # no words, or nothing but words
    counts = [Counter(chain.from_iterable(groups)) for groups, _ in (ours, theirs)]
    missing, added = counts[0] - counts[1], counts[1] - counts[0]
    if missing and added:
        return set(missing) != set(added)
    return any(word in _STATING or " " in word for word in chain(missing, added))


def in_other_places(left: str, right: str) -> bool:
    """Whether the words are the same but stand beside other formulas: 3 (even), 5 (odd)."""
    ours, theirs = words(left)[0], words(right)[0]
    return len(ours) == len(theirs) > 1 and ours != theirs and sorted(ours) == sorted(theirs)


def same_words(left: str, right: str) -> bool:
    """Whether two texts of nothing but words are one, but for capitals, fillers and plurals."""
    if left.casefold() == right.casefold():
        return True
    ours, theirs = _telling(left), _telling(right)
    return bool(ours) and ours == theirs


def _telling(text: str) -> list[str]:
    return [word for word in map(canonical, text.split()) if word not in _FILLERS]


_KEPT = frozenset(("and", "or"))
_EMPTY = re.compile(r"\( ?\)|[ ,;:]+$")
_GONE = "\0"
_POWER_OF_NOTHING = re.compile(r"\0 ?(?:\^ ?(?:-?\d|\{ ?-?\d ?\}))?")
"""A word that is gone, and the exponent of the unit it was."""
_SPACES = re.compile(r" {2,}")


@lru_cache(maxsize=1024)
def without_words(text: str) -> str:
    """A normalised text that has formulas without the words beside them, but for "and" and "or": math-verify drops all
    that follows a first \\text."""
    if not _WORDY.search(text) or not words(text)[1]:
        return text
    kept: list[str] = []
    end, start, depth = 0, -1, 0  # of the text command that is open: its place in what is kept, and its open braces
    for piece in _pieces(text):
        kept.append(text[end : piece.start])
        if piece.kind == "text" and start < 0:
            start = len(kept)
        kept.append(piece.token)
        end = piece.end
        if start >= 0:
            depth += (piece.token[-1:] == "{") - (piece.token == "}")
            if not depth:
                kept[start:] = [_outside("".join(kept[start:]), text[end : end + 3])]
                start = -1
        elif piece.kind == "word" and piece.token.casefold() not in _KEPT:
            kept[-1] = _GONE
    bare = _SPACES.sub(" ", _POWER_OF_NOTHING.sub(" ", "".join([*kept, text[end:]])))
    bare = _EMPTY.sub("", bare).strip()
    return text if not bare or (len(bare) == 1 and bare.isupper()) else bare  # "A dog" is not the option A


def _outside(command: str, follows: str) -> str:
    """What a text command leaves: itself where it joins answers, names a function or a symbol, else its numbers."""
    inner = command.partition("{")[2][:-1].strip(" ,;")
    if inner.casefold() in _KEPT or len(inner) < 2 or follows.strip().startswith(("(", "_", "^{-")):
        return command
    return " ".join(["", *re.findall(r"\d[\d.,/]*", inner), _GONE])
