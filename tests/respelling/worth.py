r"""Respellings of what an answer is worth: other digits, other order, other words for the same."""

from __future__ import annotations

import random
import re
from fractions import Fraction

from tests.respelling.kinds import Made, respelling
from tests.respelling.shapes import BASED, DECIMAL, fraction, joined, plain, terms, value, whole

_ONES = [
    "zero",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
    "thirteen",
    "fourteen",
    "fifteen",
    "sixteen",
    "seventeen",
    "eighteen",
    "nineteen",
]
_TENS = ["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]
_BASES = {2: "two", 3: "three", 4: "four", 5: "five", 6: "six", 7: "seven", 8: "eight", 9: "nine"}


def words(number: int) -> str:
    """A numeral from 0 to 9,999 in words."""
    if number < 20:
        return _ONES[number]
    if number < 100:
        return _TENS[number // 10 - 2] + (f"-{_ONES[number % 10]}" if number % 10 else "")
    size, name = (100, "hundred") if number < 1000 else (1000, "thousand")
    rest = f" {words(number % size)}" if number % size else ""
    return f"{words(number // size)} {name}{rest}"


def ordinal(number: int) -> str:
    """The letters after an ordinal: 21st."""
    return "th" if number // 10 % 10 == 1 else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")


@respelling("a decimal for a fraction that ends")
def decimal(reference: str, chance: random.Random) -> str | None:
    found = fraction(reference)
    if found is None or 10**6 % found.denominator:
        return None
    written = f"{float(found):.6f}".rstrip("0")
    return chance.choice((written, written + "0", written.replace("0.", ".") if abs(found) < 1 else written))


@respelling(r"a repeating decimal for a fraction: 0.\overline{3}")
def repeating(reference: str, chance: random.Random) -> str | None:
    found = fraction(reference)
    if found is None or found.denominator not in (3, 7, 9, 11, 27, 33, 37, 99, 101, 6, 12, 15, 18, 22):
        return None
    top, bottom = abs(found.numerator), found.denominator
    ahead = max(next(k for k in range(9) if 2**k == bottom // _odd(bottom)), int(bottom % 5 == 0))
    period = next(k for k in range(1, 60) if (10**k - 1) * 10**ahead % bottom == 0)
    digits = f"{10 ** (ahead + period) * top // bottom:0{ahead + period + 1}d}"
    head, loop = digits[: -period - ahead] + "." + digits[-period - ahead : -period or None][:ahead], digits[-period:]
    mark = chance.choice((rf"\overline{{{loop}}}", rf"\overline{{{loop}}}", rf"\bar{{{loop}}}", f"({loop})"))
    return ("-" if found < 0 else "") + head + mark


def _odd(number: int) -> int:
    while number % 2 == 0:
        number //= 2
    return number


@respelling("e notation: 1.5e6")
def e_notation(reference: str, chance: random.Random) -> str | None:
    number = whole(reference)
    if number is None or abs(number) < 100 or number % 10:
        return None
    digits, exponent = str(number).rstrip("0"), len(str(number)) - len(str(number).rstrip("0"))
    if len(digits.lstrip("-")) > 1:
        exponent += len(digits.lstrip("-")) - 1
        digits = digits.replace("-", "")
        digits = ("-" if number < 0 else "") + f"{digits[0]}.{digits[1:]}"
    return (
        digits
        + chance.choice(("e", "E", "e+", "E+0", r"\times 10^", r" \times 10^", " x 10^", r"\cdot 10^", "*10^"))
        + f"{exponent}"
        if exponent < 10
        else None
    )


@respelling("grouped thousands")
def grouped(reference: str, chance: random.Random) -> str | None:
    number = whole(reference)
    if number is None or abs(number) < 1000:
        return None
    return f"{number:,}".replace(",", chance.choice((",", "{,}", r"\,", r",\!", " ", "\u2009", r"\ ", r"{,}\!")[:7]))


@respelling("a grouped reference in plain digits")
def ungrouped(reference: str, chance: random.Random) -> str | None:
    return re.sub(r",(?:\\!)?\s?", "", reference) if re.fullmatch(r"\d{1,3}(?:,(?:\\!\s?)?\d{3})+", reference) else None


@respelling("zeros behind a decimal point")
def trailing_zeros(reference: str, chance: random.Random) -> str | None:
    if DECIMAL.fullmatch(reference):
        return reference + chance.choice(("0", "00"))
    return None if whole(reference) is None else reference + chance.choice((".0", ".00"))


@respelling(r"a mixed number: 1\frac{1}{4}, 1 1/4")
def mixed(reference: str, chance: random.Random) -> str | None:
    found = fraction(reference)
    if found is None or abs(found) < 1:
        return None
    count, rest = divmod(abs(found), 1)
    sign = "-" if found < 0 else ""
    top, bottom = rest.numerator, rest.denominator
    return sign + chance.choice(
        (rf"{count}\frac{{{top}}}{{{bottom}}}", f"{count} {top}/{bottom}", rf"{count} \dfrac{{{top}}}{{{bottom}}}")
    )


@respelling("an improper fraction for a mixed number")
def improper(reference: str, chance: random.Random) -> str | Made | None:
    found = fraction(reference)
    if found is None or found < 1:
        return None
    count, rest = divmod(found, 1)
    form = chance.choice((r"{}\frac{{{}}}{{{}}}", "{} {}/{}"))
    return Made(
        form.format(count, rest.numerator, rest.denominator), rf"\frac{{{found.numerator}}}{{{found.denominator}}}"
    )


@respelling("a fraction not in lowest terms")
def unreduced(reference: str, chance: random.Random) -> str | None:
    found, times = fraction(reference), chance.choice((2, 3, 10))
    return rf"\frac{{{found.numerator * times}}}{{{found.denominator * times}}}" if found else None


@respelling("a numeral in words")
def in_words(reference: str, chance: random.Random) -> str | None:
    number = whole(reference)
    if number is None or not 0 <= number < 1000:
        return None
    written = words(number)
    return chance.choice((written, written.capitalize(), rf"\text{{{written}}}", written.replace("-", " ")))


@respelling("an ordinal: 21st, 4^{\\text{th}}")
def as_ordinal(reference: str, chance: random.Random) -> str | None:
    number = whole(reference)
    if number is None or number < 1:
        return None
    mark = ordinal(number)
    return reference + chance.choice(
        (mark, rf"^{{\text{{{mark}}}}}", rf"\text{{{mark}}}", rf"^\text{{{mark}}}", rf"^{{{mark}}}")
    )


@respelling("a unit that the reference lacks")
def with_unit(reference: str, chance: random.Random) -> str | None:
    if whole(reference) is None and not DECIMAL.fullmatch(reference):
        return None
    unit = chance.choice(
        ("cm", "dollars", "hours", "students", "square units", "apples", "km/h", "ways", "points", "years old")
    )
    return chance.choice((rf"{reference} \text{{ {unit}}}", f"{reference} {unit}", rf"{reference}\ \mathrm{{{unit}}}"))


@respelling(r"a currency sign")
def currency(reference: str, chance: random.Random) -> str | None:
    sign = chance.choice((r"\$", "€", "£", r"\$ "))
    return sign + reference if (whole(reference) or 0) > 0 else None


@respelling("without the reference's unit")
def without_unit(reference: str, chance: random.Random) -> str | None:
    match = re.fullmatch(r"([\d.]+)\s*\\(?:text|mbox)\{ ?[a-z. ]+\}(?:\^2|\^\{2\})?", reference)
    return match.group(1) if match and not re.search(r"[ap]\.?m\.?|even|odd|million|dozen|or|and", reference) else None


@respelling("base: 1011_{\\text{two}}, (1011)_2")
def base_written(reference: str, chance: random.Random) -> str | None:
    match = BASED.fullmatch(reference)
    if not match or int(match.group(2)) not in _BASES:
        return None
    digits, base = match.groups()
    name = _BASES[int(base)]
    forms = (
        rf"{digits}_{{\text{{{name}}}}}",
        rf"{digits}_\text{{{name}}}",
        rf"({digits})_{base}",
        rf"{digits}_{{{base}}}",
        rf"{digits}_{{({base})}}",
    )
    return chance.choice((*forms, rf"{digits} \text{{ (base }} {base})", rf"{digits}_{{\mathrm{{{name}}}}}"))


@respelling("words in another case and font")
def cased(reference: str, chance: random.Random) -> str | None:
    match = re.fullmatch(r"\\text\{([a-zA-Z ]{3,})\}|([a-zA-Z]{4,})", reference)
    if not match:
        return None
    word = match.group(1) or match.group(2)
    return chance.choice(
        (
            word,
            word.upper(),
            word.capitalize(),
            rf"\textbf{{{word}}}",
            rf"\mathrm{{{word.lower()}}}",
            rf"\text{{{word}.}}",
        )
    )


@respelling("the terms of a sum in another order")
def terms_reordered(reference: str, chance: random.Random) -> str | None:
    found = terms(reference)
    if not found:
        return None
    found = [part if part[0] in "+-" else f"+{part}" for part in found]
    return joined(found[1:] + found[:1])


@respelling("the factors of a product in another order")
def factors_reordered(reference: str, chance: random.Random) -> str | None:
    match = re.fullmatch(r"(\d+)\s*(\\sqrt\{\d+\}|\\pi)", reference)
    return rf"{match.group(2)} \cdot {match.group(1)}" if match else None


@respelling("rationalised the other way: \\frac{1}{\\sqrt{3}}")
def rationalised(reference: str, chance: random.Random) -> str | None:
    match = re.fullmatch(r"\\[dt]?frac\{(\d*)\\sqrt\{(\d+)\}\}\{(\d+)\}", reference)
    if not match or int(match.group(3)) > 9999:
        return None
    found = Fraction(int(match.group(1) or 1) * int(match.group(2)), int(match.group(3)))
    bottom = "" if found.denominator == 1 else found.denominator
    return rf"\frac{{{found.numerator}}}{{{bottom}\sqrt{{{match.group(2)}}}}}"


@respelling("one root for a product: \\sqrt{48}")
def under_one_root(reference: str, chance: random.Random) -> str | None:
    match = re.fullmatch(r"(\d{1,3})\s*\\sqrt\{(\d{1,4})\}", reference)
    return rf"\sqrt{{{int(match.group(1)) ** 2 * int(match.group(2))}}}" if match else None


@respelling("a power for a root: 2^{1/2}")
def root_as_power(reference: str, chance: random.Random) -> str | None:
    written, count = re.subn(
        r"\\sqrt\{(\d+)\}", chance.choice((r"\1^{1/2}", r"\1^{\\frac{1}{2}}", r"(\1)^{0.5}")), reference
    )
    return (
        written
        if count and re.match(r"\\sqrt|\\frac\{\\sqrt", reference) and not re.search(r"\d\s*\\sqrt", reference)
        else None
    )


@respelling("complex numbers: i in front, i·b, (a) + (b)i")
def complex_forms(reference: str, chance: random.Random) -> str | None:
    match = re.fullmatch(r"(-?\d+)\s*([-+])\s*(\d*)i", reference)
    if not match:
        return None
    real, sign, times = match.groups()
    turned = f"{'-' if sign == '-' else ''}{times}i {real if real.startswith('-') else '+' + real}"
    return chance.choice(
        (
            turned,
            rf"{real} {sign} {times or 1} \cdot i",
            rf"{real} {sign} {times}\mathrm{{i}}",
            rf"{real} {sign} {times}\text{{i}}",
        )
    )


@respelling("a root of a quotient for a quotient of roots")
def root_of_quotient(reference: str, chance: random.Random) -> str | None:
    match = re.fullmatch(r"\\[dt]?frac\{\\sqrt\{(\d{1,4})\}\}\{(\d{1,4})\}", reference)
    return rf"\sqrt{{\frac{{{match.group(1)}}}{{{int(match.group(2)) ** 2}}}}}" if match else None


@respelling(r"an approximation behind the exact value: \sqrt{2} \approx 1.414")
def approximated(reference: str, chance: random.Random) -> str | None:
    letters = re.search("[a-df-zA-Z]|[a-z]{2}", re.sub(r"\\[a-zA-Z]+", "", reference))
    worth = value(reference) if plain(reference) and not letters else None
    if worth is None or worth.imag or whole(reference) is not None or DECIMAL.fullmatch(reference) or abs(worth) > 1e6:
        return None
    return rf"{reference} \approx {worth.real:.{chance.choice((2, 3, 4))}f}"


@respelling(r"the same value twice: \frac{3}{4} = 0.75, 2^3 - 1 = 7")
def twice(reference: str, chance: random.Random) -> str | None:
    number, found = whole(reference), fraction(reference)
    if number is not None and abs(number) < 10**9:
        return chance.choice(
            (rf"{number - 3} + 3 = {reference}", rf"2 \cdot {number} - {number} = {reference}".replace("- -", "+ "))
        )
    if found is None or 10**4 % found.denominator:
        return None
    return f"{reference} = {float(found):g}"


@respelling("round brackets, braces or a plus around")
def bracketed(reference: str, chance: random.Random) -> str | None:
    if not plain(reference) or (
        whole(reference) is None and fraction(reference) is None and not DECIMAL.fullmatch(reference)
    ):
        return None
    return chance.choice(
        (
            f"({reference})",
            f"{{{reference}}}",
            f"+{reference}" if reference[0] not in "-." else f"({reference})",
            rf"\left({reference}\right)",
        )
    )


@respelling(r"a/b within an expression: \sqrt{3}/2, (1 + \sqrt{5})/2, \pi/6")
def slash_within(reference: str, chance: random.Random) -> str | None:
    match = re.fullmatch(r"(-?)\\[dt]?frac\s*\{([^{}]*(?:\{[^{}]*\}[^{}]*)*)\}\s*\{(\d+|[a-z])\}", reference)
    if not match or fraction(reference) is not None or not plain(reference):
        return None
    sign, top, bottom = match.groups()
    return (
        f"{sign}({top})/{bottom}" if re.search(r"(?<=.)[-+]", top) or chance.random() < 0.3 else f"{sign}{top}/{bottom}"
    )


@respelling(r"a negative exponent for a reciprocal: x^{-1}, 2^{-3}")
def negative_exponent(reference: str, chance: random.Random) -> str | None:
    match = re.fullmatch(r"\\[dt]?frac\{1\}\{(\d+|[a-zA-Z])(?:\^\{?(\d+)\}?)?\}", reference)
    return rf"{match.group(1)}^{{-{match.group(2) or 1}}}" if match else None


@respelling(r"a square root with its degree: \sqrt[2]{3}")
def square_root_degree(reference: str, chance: random.Random) -> str | None:
    written = reference.replace(r"\sqrt{", r"\sqrt[2]{")
    return written if written != reference else None


@respelling(r"absolute values: \lvert x \rvert, \left| x \right|")
def absolute(reference: str, chance: random.Random) -> str | None:
    if reference.count("|") != 2 or re.search(r"\\left\||\\\||\\\{|,", reference):
        return None
    left, right = chance.choice(((r"\lvert ", r" \rvert "), (r"\left|", r"\right|"), (r"\vert ", r"\vert ")))
    head, inner, tail = reference.split("|")
    return f"{head}{left}{inner}{right}{tail}"
