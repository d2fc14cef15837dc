r"""Respellings of characters and commands: the same signs from another keyboard or in another LaTeX."""

from __future__ import annotations

import random
import re

from tests.respelling.kinds import respelling
from tests.respelling.shapes import FRACTION, WORDS, fraction, members, plain

_WIDE = {ord(a): ord(a) + 0xFEE0 for a in "0123456789+=<>()[],.|"}
_SUPERSCRIPT = str.maketrans("0123456789-n", "⁰¹²³⁴⁵⁶⁷⁸⁹⁻ⁿ")
_POWER = re.compile(r"\^(?:\{(-?\d+|n)\}|(\d|n))(?![\d!])")
_VULGAR = {"1/2": "½", "1/3": "⅓", "2/3": "⅔", "1/4": "¼", "3/4": "¾", "1/5": "⅕", "2/5": "⅖", "1/6": "⅙", "5/6": "⅚",
           "1/8": "⅛", "3/8": "⅜", "5/8": "⅝", "7/8": "⅞"}  # fmt: skip
_SIGNS = {r"\pi": "π", r"\infty": "∞", r"\cup": "∪", r"\leq": "≤", r"\geq": "≥", r"\le": "≤", r"\ge": "≥", r"\times": "×",
          r"\cdot": "·", r"\theta": "θ", r"\alpha": "α", r"\emptyset": "∅", r"\in": "∈", r"\pm": "±", r"\neq": "≠"}  # fmt: skip


def _replaced(pattern: str, replacement: str, reference: str) -> str | None:
    """The reference with all that a pattern finds replaced; None where it finds nothing."""
    written, count = re.subn(pattern, replacement, reference)
    return written if count else None


@respelling("full-width digits and punctuation")
def full_width(reference: str, chance: random.Random) -> str | None:
    if "\\" in reference or not (plain(reference) or members(reference)):
        return None
    return reference.translate(_WIDE)


@respelling("− (U+2212) or – for the minus")
def unicode_minus(reference: str, chance: random.Random) -> str | None:
    return _replaced("-", chance.choice("\u2212\u2212\u2013"), reference) if not WORDS.search(reference) else None


@respelling("superscripts: x², 2¹⁰")
def superscripts(reference: str, chance: random.Random) -> str | None:
    if not _POWER.search(reference):
        return None
    return _POWER.sub(lambda match: (match.group(1) or match.group(2)).translate(_SUPERSCRIPT), reference)


@respelling("½ for a fraction")
def vulgar(reference: str, chance: random.Random) -> str | None:
    found = fraction(reference)
    sign = _VULGAR.get(str(abs(found))) if found else None
    return None if sign is None else "-" + sign if found and found < 0 else sign


@respelling("Unicode signs: π, ∞, ∪, ≤, ×")
def unicode_signs(reference: str, chance: random.Random) -> str | None:
    names = "|".join(re.escape(name) for name in _SIGNS)
    written = re.sub(rf"({names})(?![a-zA-Z])", lambda match: _SIGNS[match.group(1)], reference)
    return written if written != reference else None


@respelling("√ for a root")
def root_sign(reference: str, chance: random.Random) -> str | None:
    return _replaced(r"\\sqrt\{(\d+)\}", chance.choice((r"√\1", r"√(\1)", r"√{\1}")), reference)


@respelling("invisible characters")
def invisible(reference: str, chance: random.Random) -> str:
    mark = chance.choice("\u200b\u2060\ufeff\u200e\u2061")
    return mark + reference if chance.random() < 0.5 else reference + mark


@respelling("wide and narrow blanks")
def blanks(reference: str, chance: random.Random) -> str | None:
    blank = chance.choice(("\u00a0", "\u2009", "\u3000", r"\,", r"\; ", "~", r"\quad "))
    spaced = re.sub(r"(?<=\S) *([-+=,]) *(?=\S)", lambda match: blank + match.group(1) + blank, reference)
    return spaced if spaced != reference and (plain(reference) or members(reference)) else None


@respelling(r"\dfrac, \tfrac, \cfrac")
def other_frac(reference: str, chance: random.Random) -> str | None:
    return _replaced(r"\\[dtc]?frac(?![a-zA-Z])", rf"\\{chance.choice('dtc')}frac", reference)


@respelling(r"\frac12, \frac\pi2")
def unbraced(reference: str, chance: random.Random) -> str | None:
    return _replaced(r"\\[dt]?frac\{(\d|\\pi)\}\{(\d)\}", chance.choice((r"\\frac\1\2", r"\\frac \1 \2")), reference)


@respelling(r"\left( \right), \big( \big)")
def sized_brackets(reference: str, chance: random.Random) -> str | None:
    if not re.search(r"[(\[]", reference) or re.search(r"\\(?:left|[bB]ig|sqrt\[)|\\\(|\\\[", reference):
        return None
    left, right = chance.choice(((r"\left", r"\right"), (r"\bigl", r"\bigr"), (r"\Big", r"\Big")))
    return re.sub(
        r"[)\]]", lambda match: right + match.group(), re.sub(r"[(\[]", lambda match: left + match.group(), reference)
    )


@respelling(r"\cdot, \times or * for an unwritten product")
def written_product(reference: str, chance: random.Random) -> str | None:
    if not plain(reference) or re.search(r"frac\s*\d|\\(?:sin|cos|tan|sec|csc|cot|ln|log)", reference):
        return None
    sign = chance.choice((r" \\cdot ", r" \\times ", " * ", "*"))
    return _replaced(r"(?<=\d)\s*(?=\\sqrt\{|\\pi|(?<!\^\d)[a-z](?![a-z]))", sign, reference)


@respelling("^ as **")
def python_power(reference: str, chance: random.Random) -> str | None:
    if re.search(r"circ|\\(?:sin|cos|tan|top|ast|dim)|text|mbox|\^T|\*", reference):
        return None
    written = re.sub(
        r"\^\{([^{}]*)\}",
        lambda m: f"**{m.group(1)}" if m.group(1).isdigit() or len(m.group(1)) == 1 else f"**({m.group(1)})",
        reference,
    )
    written = re.sub(r"\^(\w)", r"**\1", written)
    return written if "**" in written and "^" not in written else None


@respelling("sqrt(n) for a root")
def plain_root(reference: str, chance: random.Random) -> str | None:
    return _replaced(r"\\sqrt\s*\{([^{}]*)\}", r"sqrt(\1)", reference)


@respelling(r"\sqrt(n), \sqrt n")
def unbraced_root(reference: str, chance: random.Random) -> str | None:
    if re.search(r"\\sqrt\s*\{[^{}]*[^{}\d][^{}]*\}|\\sqrt\{\d\d", reference):
        return _replaced(r"\\sqrt\s*\{([^{}]*)\}", r"\\sqrt(\1)", reference)
    return _replaced(r"\\sqrt\s*\{(\d)\}(?! *\d)", chance.choice((r"\\sqrt(\1)", r"\\sqrt\1", r"\\sqrt \1")), reference)


@respelling("pi for \\pi")
def plain_pi(reference: str, chance: random.Random) -> str | None:
    return (
        _replaced(r"\\pi(?![a-zA-Z])", chance.choice((" pi", "*pi", "pi")), reference)
        if re.match(r"-?\d*\\pi$", reference)
        else None
    )


@respelling("a calculator's line: sqrt(3)/2, 3*pi/4, x**2+1")
def calculator(reference: str, chance: random.Random) -> str | None:
    if not plain(reference) or re.search(
        r"text|mbox|circ|binom|!|\[|\d\s*\\frac|\\(?:sin|cos|tan|ln|log|sqrt\[)|\$|\|", reference
    ):
        return None
    written = re.sub(r"\\(?:left|right|,|displaystyle)(?![a-zA-Z])", "", reference)
    for _ in range(4):
        written = re.sub(r"\\sqrt\s*\{([^{}]*)\}", r"sqrt(\1)", written)
        written = re.sub(r"\\[dt]?frac\s*\{([^{}]*)\}\s*\{([^{}]*)\}", r"((\1)/(\2))", written)
        written = re.sub(r"\^\s*\{([^{}]*)\}", r"**(\1)", written)
    written = re.sub(r"\^\s*(\w)", r"**\1", written)
    written = re.sub(r"\\(pi|cdot|times)(?![a-zA-Z])", lambda m: "pi" if m.group(1) == "pi" else "*", written)
    written = re.sub(r"(?<=[\d)])\s*(?=sqrt|pi|\(|[a-z](?![a-z]))", "*", written)
    if "\\" in written or "{" in written or not re.search(r"sqrt|pi|\*", written):
        return None
    unclear = re.search(r"[a-zA-Z]\s*[a-zA-Z(]|T$", re.sub("sqrt|pi", "", written))
    return None if unclear else written


@respelling("a/b for a fraction")
def slash(reference: str, chance: random.Random) -> str | None:
    match = FRACTION.fullmatch(reference)
    return f"{match.group(1)}{match.group(2)}{chance.choice(('/', ' / '))}{match.group(3)}" if match else None


@respelling(r"the sign of a fraction in its numerator")
def sign_in_numerator(reference: str, chance: random.Random) -> str | None:
    match = FRACTION.fullmatch(reference)
    if not match or not match.group(1):
        return None
    top, bottom = match.groups()[1:]
    return chance.choice(
        (
            rf"\frac{{-{top}}}{{{bottom}}}",
            rf"\frac{{{top}}}{{-{bottom}}}",
            f"-{top}/{bottom}",
            f"({-int(top)})/{bottom}",
        )
    )


@respelling(r"degrees: °, degrees, none")
def degrees(reference: str, chance: random.Random) -> str | None:
    if not re.fullmatch(r"\d+(?:\.\d+)?\s*\^\{?\\circ\}?", reference):
        return None
    return re.sub(
        r"\s*\^\{?\\circ\}?",
        lambda _: chance.choice(("°", r"^{\circ}", r"\text{ degrees}", " degrees", r"\degree", "")),
        reference,
    )


@respelling(r"percent: %, \%, percent")
def percent(reference: str, chance: random.Random) -> str | None:
    if not re.fullmatch(r"\d+(?:\.\d+)?\s*\\%", reference):
        return None
    return re.sub(
        r"\s*\\%",
        lambda _: chance.choice(("%", r"\ \%", " percent", r"\text{ percent}", r"\text{ per cent}", "%.")),
        reference,
    )


@respelling("matrices: bmatrix, blanks, line breaks")
def matrix(reference: str, chance: random.Random) -> str | None:
    if not re.fullmatch(r"\\begin\{pmatrix\}.*\\end\{pmatrix\}", reference, re.DOTALL):
        return None
    return chance.choice((
        reference.replace("pmatrix", "bmatrix"), re.sub(r"\s*(&|\\\\)\s*", r"\1", reference),
        rf"\left({reference.replace('pmatrix', 'matrix')}\right)", re.sub(r"\s*\\\\\s*", r" \\\\[4pt] ", reference),
    ))  # fmt: skip


@respelling(r"\varnothing, \{\}, ∅")
def empty_set(reference: str, chance: random.Random) -> str | None:
    return chance.choice((r"\varnothing", "∅", r"\{\}")) if reference == r"\emptyset" else None


@respelling("plain function names: sin x, ln(2)")
def plain_functions(reference: str, chance: random.Random) -> str | None:
    if not plain(reference) or re.search(r"\\(?:frac|dfrac|theta|alpha|beta)", reference):
        return None
    return _replaced(r"\\(sin|cos|tan|cot|ln|log)(?![a-zA-Z])", r"\1", reference)
