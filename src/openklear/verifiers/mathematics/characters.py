r"""One spelling of Unicode: whatever an ASCII spelling can say is said in ASCII and LaTeX commands, before any rule.

Never so that a meaning changes: superscripts stay raised (10⁵ is 10^{5}, not 105), vulgar fractions stay fractions
(3½ is the mixed number 3\frac{1}{2}), circled digits (①③ name statements) stay as they are.
"""

from __future__ import annotations

import re
import unicodedata
from itertools import chain


def _drawn(kind: str) -> str:
    """The characters that Unicode calls raised ("<super>") or lowered ("<sub>"), but ordinal marks and trade marks."""
    blocks = (
        range(0xB2, 0xBA),
        range(0x2B0, 0x2B9),
        range(0x1D2C, 0x1D6B),
        range(0x2070, 0x209D),
        range(0x2C7C, 0x2C7E),
    )
    return "".join(chr(code) for code in chain(*blocks) if unicodedata.decomposition(chr(code)).startswith(kind))


_UP, _DOWN = _drawn("<super>"), _drawn("<sub>")
_NAMED = {
    "\u03c0": "pi", "\u221e": "infty", "\u00d7": "times", "\u2715": "times", "\u2716": "times", "\u2a2f": "times",
    "\u00b7": "cdot", "\u22c5": "cdot", "\u2219": "cdot", "\u00f7": "div", "\u00b1": "pm", "\u2213": "mp",
    "\u2264": "leq", "\u2266": "leq", "\u2a7d": "leq", "\u2265": "geq", "\u2267": "geq", "\u2a7e": "geq",
    "\u2260": "neq", "\u2248": "approx", "\u2261": "equiv", "\u2245": "cong", "\u223c": "sim", "\uff5e": "sim",
    "\u301c": "sim", "\u221d": "propto", "\u222a": "cup", "\u2229": "cap", "\u22c3": "bigcup", "\u22c2": "bigcap",
    "\u2208": "in", "\u2209": "notin", "\u2205": "emptyset", "\u2216": "setminus", "\u29f5": "setminus",
    "\uff3c": "setminus", "\u2282": "subset", "\u2286": "subseteq", "\u2283": "supset", "\u2287": "supseteq",
    "\u2192": "to", "\u21d2": "Rightarrow", "\u21d4": "Leftrightarrow", "\u21a6": "mapsto", "\u2200": "forall",
    "\u2203": "exists", "\u2227": "land", "\u2228": "lor", "\u00ac": "neg", "\u2220": "angle", "\u25b3": "triangle",
    "\u22a5": "perp", "\u2225": "parallel", "\u2218": "circ", "\u2211": "sum", "\u220f": "prod", "\u222b": "int",
    "\u2202": "partial", "\u2207": "nabla", "\u2113": "ell", "\u230a": "lfloor", "\u230b": "rfloor",
    "\u2308": "lceil", "\u2309": "rceil", "\u27e8": "langle", "\u3008": "langle", "\u27e9": "rangle",
    "\u3009": "rangle", "\u22ef": "cdots", "\u22ee": "vdots", "\u22f1": "ddots", "\u03f5": "epsilon",
    "\u03d5": "phi", "\u03d1": "theta",
}  # fmt: skip
_CAPITALS = frozenset(("gamma", "delta", "theta", "lambda", "xi", "pi", "sigma", "phi", "psi", "omega"))
"""Greek capitals that have a command; the others look like Latin letters."""
_GREEK = re.compile("GREEK (SMALL|CAPITAL) LETTER ([A-Z]+)")
_SETS = {"\u2102": "C", "\u210d": "H", "\u2115": "N", "\u2119": "P", "\u211a": "Q", "\u211d": "R", "\u2124": "Z"}
_SIGNS = {
    **dict.fromkeys("\u2212\u2010\u2011\u2012\u2013\u02d7\ufe63\uff0d", "-"),
    **dict.fromkeys("\u2217\u204e", "*"), **dict.fromkeys("\u2044\u2215", "/"), "\u2223": "|",
    **dict.fromkeys("\u2018\u2019\u2032\u02b9", "'"), "\u2033": "''", "\u2034": "'''",
    **dict.fromkeys("\u201c\u201d", '"'),
    "\u3002": ". ", "\uff61": ". ", "\u3001": ", ", "\uff64": ", ", "\u2236": ":", "\u2016": r"\|",
    "\uff5b": r"\{", "\uff5d": r"\}", "\ufe5b": r"\{", "\ufe5c": r"\}", "\uff04": r"\$",
    "\u00ba": "°", "\u02da": "°", "\u066b": ".", "\u066c": ",", "\u066a": "%", "\u060c": ",", "\u061b": ";",
    "\u2028": "\n", "\u2029": "\n", "\u0085": "\n", "\u20e3": "",
    **{chr(0x2487 + value): f"{value}. " for value in range(1, 21)}, "\u2206": r"\Delta ",
}  # fmt: skip
"""A full stop of Chinese keeps its distance: 5。3 is no decimal. Braces and dollars of full width mean themselves."""
_KEPT = ("<super>", "<sub>", "<circle>", "<initial>", "<medial>", "<final>", "<isolated>")
"""What compatibility would change the meaning of, ² to 2 and ①③ to 13, and letters that join."""
_MOST_KEPT = 20_000


def _greek(name: str, capital: bool) -> str:
    """The command of a Greek letter; "" where there is none."""
    if name == "omicron" or (capital and name not in _CAPITALS):
        return ""
    return rf"\{name.title() if capital else name} "


class _Table(dict[int, str]):
    """What a character of `str.translate` becomes; ones not seen before are worked out once."""

    def __missing__(self, code: int) -> str:
        found = self._found(chr(code)) if code > 127 else chr(code)
        if len(self) < _MOST_KEPT:
            self[code] = found
        return found

    def _found(self, character: str) -> str:
        if greek := _GREEK.fullmatch(unicodedata.name(character, "")):
            return _greek(greek.group(2).lower().replace("lamda", "lambda"), greek.group(1) == "CAPITAL") or character
        category = unicodedata.category(character)
        if category == "Nd":
            return str(unicodedata.decimal(character))
        if category == "Zs":
            return " "
        if category == "Cf" or 0xFE00 <= ord(character) <= 0xFE0F:  # zero-width and direction marks, variants
            return ""
        meant = unicodedata.decomposition(character)
        if meant.startswith("<fraction>"):
            top, _, bottom = unicodedata.normalize("NFKC", character).partition("\u2044")
            return rf"\frac{{{top}}}{{{bottom}}}" if bottom else top + "/"
        if not meant or (meant.startswith(_KEPT) and not "\u24b6" <= character <= "\u24e9"):  # circled letters: options
            return character
        composed = unicodedata.normalize("NFKC", character)
        return composed if composed == character else composed.translate(self)


_TABLE = _Table({ord(character): meant for character, meant in _SIGNS.items()})
_TABLE |= {ord(character): rf"\{name} " for character, name in _NAMED.items()}
_TABLE |= {ord(character): rf"\mathbb{{{letter}}}" for character, letter in _SETS.items()}
_SMALL = str.maketrans({character: unicodedata.normalize("NFKC", character) for character in _UP + _DOWN})
_SMALL |= dict.fromkeys((0x2044, 0x2215, 0x141F), "/")


def _group(mark: str, run: str) -> str:
    return f"{mark}{{{run.translate(_SMALL)}}}"


def _raised(match: re.Match[str]) -> str:
    """A run of raised characters: ² as ^{2}, ²⁄³ as ^{2/3}, and ¹⁄₂ as a fraction."""
    top, below, beside = match.groups()
    if below:
        return r"\frac" + _group("", top) + _group("", below)
    return _group("^", f"{top}/{beside}" if beside else top)


def _root(match: re.Match[str]) -> str:
    r"""A root sign with its degree, if it has one, and its number or letter in braces: of \sqrt12 that is 1 alone."""
    degree = {"\u221b": "3", "\u221c": "4"}.get(match.group(2)) or (match.group(1) or "").translate(_SMALL)
    under = (match.group(3) or match.group(4) or "").replace("\u0305", "")
    return r"\sqrt" + (f"[{degree}]" if degree else "") + (f"{{{under}}}" if under else "")


_FORMS = tuple(
    (re.compile(pattern.replace("UP", re.escape(_UP)).replace("DOWN", re.escape(_DOWN))), meant)
    for pattern, meant in (
        (r"(?<![\w)\]}])\u207b(?=\d)", lambda _: "-"),  # a raised sign before a number: ⁻5
        (
            r"(?:(?<![\w)\]}])([UP]{1,8}))?([\u221a-\u221c])\s*(?:((?:\w\u0305)+)|(\d+(?:\.\d+)?|[a-zA-Z\u03c0]))?",
            _root,
        ),
        (r"([UP]+)(?:[/\u2044\u2215\u141f](?:([DOWN]+)|([UP]+)))?", _raised),
        (r"[DOWN]+", lambda match: _group("_", match.group())),
        (r"(?:\d[\u0305\u0304])+", lambda match: rf"\overline{{{match.group()[::2]}}}"),
        (r"(\d)\u0307", lambda match: rf"\dot{{{match.group(1)}}}"),
        (r"([a-zA-Z])[\u0304\u0305]", lambda match: rf"\bar{{{match.group(1)}}}"),
        (r"=\u0338", lambda _: r"\neq "),
    )
)


def plain(text: str) -> str:
    """The same text with ASCII and LaTeX commands for all that has them; commands end with a space. Linear."""
    if text.isascii():
        return text
    for pattern, meant in _FORMS:
        text = pattern.sub(meant, text)
    return text.translate(_TABLE)
