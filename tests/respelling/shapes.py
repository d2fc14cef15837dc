r"""What a reference looks like, read without any of the graders' code: numbers, fractions, lists, sums, and values.

`value` is an independent check that a mutation changed something: it is right for what it knows, and None for all else.
"""

from __future__ import annotations

import math
import re
from fractions import Fraction

WHOLE = re.compile(r"-?(?:0|[1-9]\d*)")
DECIMAL = re.compile(r"-?\d*\.\d+")
FRACTION = re.compile(r"(-?)\\[dt]?frac\{(\d+)\}\{(\d+)\}")
RELATION = re.compile(r"[=<>]|\\(?:leq?|geq?|neq?|in|approx|equiv|cong|to|mid|subset)(?![a-zA-Z])")
WORDS = re.compile(r"\\(?:text|mbox|mathrm|textbf|textnormal|operatorname)(?![a-zA-Z])|[a-zA-Z]{3,}(?<!\\)")
BASED = re.compile(r"(\d+)_\{?(\d+)\}?")
OPTION = re.compile(r"(?:\\text\{)?\(?([A-J])\)?\}?")
LETTER = re.compile(r"(?<![\\a-zA-Z])[a-zA-Z](?![a-zA-Z])")
_OPENING, _CLOSING = "([{", ")]}"


def whole(reference: str) -> int | None:
    """A plain integer."""
    return int(reference) if WHOLE.fullmatch(reference) and len(reference) < 30 else None


def fraction(reference: str) -> Fraction | None:
    r"""A plain \frac{a}{b} of digits in lowest terms."""
    match = FRACTION.fullmatch(reference)
    if not match or int(match.group(3)) < 2:
        return None
    found = Fraction(int(match.group(2)), int(match.group(3)))
    in_lowest_terms = str(found.denominator) == match.group(3) and found.numerator
    return (-found if match.group(1) else found) if in_lowest_terms else None


def cut(text: str, separators: str) -> list[str] | None:
    """Parts between separators outside of brackets, each with the separator before it; None where brackets differ."""
    parts, depth = [""], 0
    for i, character in enumerate(text):
        depth += (character in _OPENING) - (character in _CLOSING)
        if depth < 0:
            return None
        if character in separators and not depth and text[i - 1 : i] != "\\":
            parts.append("")
        parts[-1] += character
    return None if depth else parts


def plain(reference: str) -> bool:
    """Whether a reference is one expression: no list, no relation, no words, no matrix, no base, no option."""
    if RELATION.search(reference) or WORDS.search(re.sub(r"\\(?!text|mbox|mathrm)[a-zA-Z]+", " ", reference)):
        return False
    if re.search(
        r"begin|\\mathbb|\\cup|\\cap|\\emptyset|\\max|\\min|\\(?:text|mbox|mathrm|pm|mp)|;|%|_\{?\d+\}?$", reference
    ):
        return False
    if cut(reference, ",") != [reference] or OPTION.fullmatch(reference):
        return False
    return re.match(r"\[|\(.*,.*\)$|\\left\s*[(\[].*,.*\\right\s*[)\]]$", reference) is None


def members(reference: str) -> tuple[str, list[str], str] | None:
    r"""Opening, members and closing of a tuple, interval, \{set\} or bare list of at least two plain members."""
    text = re.sub(r"\\(?:left|right)(?![a-zA-Z])", "", reference)
    if "or" in text or "and" in text or re.search(r"\d,\s*(?:\\!\s*)?\d{3}", text):
        return None
    opening = next((mark for mark in (r"\{", "(", "[") if text.startswith(mark)), "")
    closing = next((mark for mark in (r"\}", ")", "]") if text.endswith(mark)), "") if opening else ""
    inner = text.strip()[len(opening) : len(text.strip()) - len(closing)]
    parts = cut(inner, ",")
    if parts is None or len(parts) < 2 or bool(opening) is not bool(closing):
        return None
    parts = [part.lstrip(",").replace("\\,", " ").replace("\\;", " ").strip() for part in parts]
    return (opening, parts, closing) if all(part and plain(part) for part in parts) else None


def terms(reference: str) -> list[str] | None:
    """The terms of a sum with their signs; None where it is no sum of plain terms."""
    if not plain(reference) or "|" in reference:
        return None
    parts = cut(re.sub(r"\s*([-+])\s*", r"\1", reference), "+-") or []
    parts = [part.strip() for part in parts if part.strip()]
    return parts if len(parts) > 1 and all(len(part.lstrip("+-")) > 0 for part in parts) else None


def joined(parts: list[str]) -> str:
    """A sum of signed terms."""
    first, *others = parts
    return first.lstrip("+") + "".join(part if part[0] in "+-" else f"+{part}" for part in others)


_INNER = r"\{([^{}]*)\}"
_STEPS = (
    (re.compile(rf"\\[dtc]?frac\s*{_INNER}\s*{_INNER}"), r"((\1)/(\2))"),
    (re.compile(rf"\\sqrt\s*\[(\d)\]\s*{_INNER}"), r"(root(\2,\1))"),
    (re.compile(rf"\\sqrt\s*{_INNER}"), r"(root(\1,2))"),
    (re.compile(rf"\^\s*{_INNER}"), r"^(\1)"),
    (re.compile(rf"_\s*{_INNER}"), ""),
)
_NAMES = {"pi": math.pi, "e": math.e, "i": 1j}
_FUNCTIONS = {"sin", "cos", "tan", "ln", "log", "root", "sec", "csc", "cot", "arctan"}
_TOKEN = re.compile(r"\d*\.\d+|\d+|[a-zA-Z]+|[-+*/^(),!]")


def value(text: str) -> complex | None:
    """What an expression is worth, with letters as fixed numbers; None where it is not understood."""
    text = re.sub(r"\\(?:left|right|,|!|;|:|displaystyle)(?![a-zA-Z])|[ ~$]", "", text)
    text = re.sub(r"\\frac(\d)(\d)", r"\\frac{\1}{\2}", text)
    for _ in range(12):
        for pattern, replacement in _STEPS:
            text = pattern.sub(replacement, text)
    text = re.sub(r"\\(?:cdot|times)(?![a-zA-Z])", "*", text).replace("\\", "")
    tokens = _TOKEN.findall(text)
    if "".join(tokens) != text or "!" in tokens or "log" in tokens:
        return None
    try:
        return complex(eval(_python(tokens), {"__builtins__": {}}, _Names()))
    except Exception:
        return None


def _python(tokens: list[str]) -> str:
    """Tokens as Python, with the products that LaTeX leaves unwritten."""
    written: list[str] = []
    for token in tokens:
        pieces = [token] if token in _FUNCTIONS or token in _NAMES or not token.isalpha() else list(token)
        for piece in pieces:
            factor = piece[0].isalnum() or piece in ("(",)
            after = written[-1] if written else ""
            if factor and (after == ")" or (after[-1:].isalnum() and after not in _FUNCTIONS)):
                written.append("*")
            written.append("**" if piece == "^" else piece)
    return " ".join(written)


class _Names(dict[str, object]):
    def __missing__(self, name: str) -> object:
        if name == "root":
            return lambda radicand, degree: radicand ** (1 / degree)
        if name in _FUNCTIONS:
            return getattr(math, {"ln": "log", "arctan": "atan"}.get(name, name))
        return _NAMES.get(name, 1.37 + 0.211 * (ord(name[0]) % 32))


def differ(reference: str, answer: str) -> bool:
    """Whether two expressions are not worth the same; two that `value` does not know differ if their texts do."""
    ours, theirs = value(reference), value(answer)
    if ours is None or theirs is None:
        return reference.replace(" ", "") != answer.replace(" ", "")
    return abs(ours - theirs) > 1e-7 * max(abs(ours), abs(theirs), 1e-7)
