r"""Mutations of what an answer is worth: digits, signs, factors, terms. Each answer truly differs from its reference."""

from __future__ import annotations

import random
import re
from fractions import Fraction

from tests.respelling.kinds import mutation
from tests.respelling.shapes import (
    DECIMAL,
    FRACTION,
    LETTER,
    differ,
    fraction,
    joined,
    members,
    plain,
    terms,
    value,
    whole,
)
from tests.respelling.worth import words

_DIGIT = re.compile(r"(?<![_\d.])[1-9](?!\d*(?:\}|pt))|(?<=\d)\d|(?<=\.)\d|(?<=\{)\d")


def _unlike(reference: str, answer: str | None) -> str | None:
    """The answer, where it is worth something else."""
    return answer if answer is not None and differ(reference, answer) else None


def _numeric(reference: str) -> bool:
    return (
        whole(reference) is not None
        or DECIMAL.fullmatch(reference) is not None
        or FRACTION.fullmatch(reference) is not None
    )


@mutation("the sign flipped")
def sign_flipped(reference: str, chance: random.Random) -> str | None:
    if not plain(reference) or reference.startswith((r"\$", "|")):
        return None
    if reference.startswith("-") and not terms(reference):
        return _unlike(reference, reference[1:])
    return _unlike(reference, f"-({reference})" if terms(reference) else f"-{reference}")


@mutation("the sign flipped, with a Unicode minus")
def sign_flipped_unicode(reference: str, chance: random.Random) -> str | None:
    return (
        _unlike(reference, f"\u2212{reference}".replace("\u2212-", ""))
        if _numeric(reference) and reference != "0"
        else None
    )


@mutation("one digit changed")
def digit_changed(reference: str, chance: random.Random) -> str | None:
    places = [match.start() for match in _DIGIT.finditer(reference)]
    if not places:
        return None
    place = chance.choice(places)
    digit = chance.choice([digit for digit in "123456789" if digit != reference[place]])
    answer = reference[:place] + digit + reference[place + 1 :]
    return _unlike(reference, answer) if plain(reference) else answer if members(reference) else None


@mutation("two digits transposed")
def digits_transposed(reference: str, chance: random.Random) -> str | None:
    places = [
        i for i in range(len(reference) - 1) if reference[i : i + 2].isdigit() and reference[i] != reference[i + 1]
    ]
    if not places:
        return None
    i = chance.choice(places)
    return _unlike(reference, reference[:i] + reference[i + 1] + reference[i] + reference[i + 2 :])


@mutation("a digit lost")
def digit_lost(reference: str, chance: random.Random) -> str | None:
    number = whole(reference)
    if number is None or abs(number) < 10:
        return None
    i = chance.randrange(int(number < 0), len(reference))
    return _unlike(reference, reference[:i] + reference[i + 1 :])


@mutation("a zero too many")
def zero_added(reference: str, chance: random.Random) -> str | None:
    number = whole(reference)
    return f"{reference}0" if number else None


@mutation("off by one")
def off_by_one(reference: str, chance: random.Random) -> str | None:
    number = whole(reference)
    return None if number is None else str(number + chance.choice((-1, 1)))


@mutation("the decimal point moved or lost")
def point_moved(reference: str, chance: random.Random) -> str | None:
    if whole(reference) and len(reference.lstrip("-")) > 1:
        return f"{reference[:-1]}.{reference[-1]}"
    if not DECIMAL.fullmatch(reference) or not float(reference):
        return None
    head, _, tail = reference.partition(".")
    return chance.choice(
        (f"{head}{tail}", f"{head}{tail[0]}.{tail[1:]}" if len(tail) > 1 else f"0.0{tail}", f"{head}.0{tail}")
    )


@mutation("numerator and denominator swapped")
def inverted(reference: str, chance: random.Random) -> str | None:
    match = FRACTION.fullmatch(reference)
    return (
        _unlike(reference, rf"{match.group(1)}\frac{{{match.group(3)}}}{{{match.group(2)}}}")
        if match and int(match.group(2))
        else None
    )


@mutation("a denominator lost")
def denominator_lost(reference: str, chance: random.Random) -> str | None:
    match = FRACTION.fullmatch(reference)
    return match.group(1) + match.group(2) if match and fraction(reference) else None


@mutation("a fraction rounded to two places")
def rounded(reference: str, chance: random.Random) -> str | None:
    found = fraction(reference)
    return f"{float(found):.2f}" if found and 100 % found.denominator else None


@mutation("the bar over a repeating decimal lost")
def bar_lost(reference: str, chance: random.Random) -> str | None:
    found = fraction(reference)
    if found is None or found.denominator not in (3, 9, 11, 33, 37, 99):
        return None
    period = next(k for k in range(1, 9) if (10**k - 1) % found.denominator == 0)
    return f"{'-' if found < 0 else ''}{10**period * abs(found.numerator) // found.denominator / 10**period}"


@mutation("a mixed number read as a product or a sum of digits")
def mixed_misread(reference: str, chance: random.Random) -> str | None:
    found = fraction(reference)
    if found is None or found < 1:
        return None
    count, rest = divmod(found, 1)
    form = chance.choice(("{} {}/{}", r"{}\frac{{{}}}{{{}}}"))
    return form.format(count + 1, rest.numerator, rest.denominator)


@mutation("a blank within a number")
def blank_within(reference: str, chance: random.Random) -> str | None:
    number = whole(reference)
    if number is None or abs(number) < 10:
        return None
    least = 2 if number < 0 else 1
    places = [i for i in range(least, len(reference)) if len(reference) - i != 3]
    return f"{reference[: (i := chance.choice(places))]} {reference[i:]}" if places else None


@mutation("a comma and zero behind a whole number")
def comma_zero(reference: str, chance: random.Random) -> str | None:
    return f"{reference},0" if whole(reference) else None


@mutation("an exponent of e notation off by one")
def exponent_off(reference: str, chance: random.Random) -> str | None:
    number = whole(reference)
    if not number or number % 10:
        return None
    digits, zeros = reference.rstrip("0"), len(reference) - len(reference.rstrip("0"))
    return digits + chance.choice(("e", "E+", r"\times 10^", " x 10^")) + str(zeros + chance.choice((-1, 1)))


@mutation("a numeral in words that is another one")
def other_words(reference: str, chance: random.Random) -> str | None:
    number = whole(reference)
    return words(number + chance.choice((1, 10, 7))) if number is not None and 0 <= number < 900 else None


@mutation("a vulgar fraction that is another one")
def other_vulgar(reference: str, chance: random.Random) -> str | None:
    wrong = {"1/2": "⅓", "1/3": "½", "2/3": "⅓", "1/4": "¾", "3/4": "¼"}
    found = fraction(reference)
    return wrong.get(str(found)) or (f"2{chance.choice('½¼')}" if found and found.denominator > 4 else None)


@mutation(r"\pi lost")
def pi_lost(reference: str, chance: random.Random) -> str | None:
    if not plain(reference):
        return None
    answer = re.sub(r"(?<=\d)\s*\\pi(?![a-zA-Z^])", "", reference)
    return _unlike(reference, answer) if answer != reference else None


@mutation("a root lost")
def root_lost(reference: str, chance: random.Random) -> str | None:
    if not plain(reference):
        return None
    answer = re.sub(
        r"(\d*)\\sqrt\{(\d+)\}", lambda m: rf"{m.group(1)} \cdot {m.group(2)}" if m.group(1) else m.group(2), reference
    )
    return _unlike(reference, answer) if answer != reference else None


@mutation("another number under the root")
def other_root(reference: str, chance: random.Random) -> str | None:
    if not plain(reference):
        return None
    form = chance.choice((r"\sqrt{{{}}}", r"\sqrt({})", "√{}", "sqrt({})"))
    answer = re.sub(r"\\sqrt\{(\d+)\}", lambda m: form.format(int(m.group(1)) + 1), reference, count=1)
    return answer if answer != reference else None


@mutation("an exponent lost or written on the line")
def exponent_lost(reference: str, chance: random.Random) -> str | None:
    if not plain(reference) or "circ" in reference:
        return None
    answer = re.sub(
        r"\^(?:\{(\d+)\}|(\d))", lambda m: chance.choice(("", (m.group(1) or m.group(2)))), reference, count=1
    )
    return _unlike(reference, answer) if answer != reference and not re.search(r"[)}]\d", answer) else None


@mutation("another exponent, as a superscript")
def other_superscript(reference: str, chance: random.Random) -> str | None:
    answer = re.sub(
        r"\^(?:\{([1-8])\}|([1-8])(?!\d))", lambda m: "²³⁴⁵⁶⁷⁸⁹"[int(m.group(1) or m.group(2)) - 1], reference, count=1
    )
    return _unlike(reference, answer) if answer != reference and plain(reference) else None


@mutation("a term lost")
def term_lost(reference: str, chance: random.Random) -> str | None:
    found = terms(reference)
    if not found:
        return None
    found = [part if part[0] in "+-" else f"+{part}" for part in found]
    found.pop(chance.randrange(len(found)))
    return _unlike(reference, joined(found))


@mutation("plus for minus, minus for plus")
def operator_changed(reference: str, chance: random.Random) -> str | None:
    found = terms(reference)
    if not found:
        return None
    found = [part if part[0] in "+-" else f"+{part}" for part in found]
    i = chance.randrange(1, len(found))
    found[i] = ("-" if found[i][0] == "+" else "+") + found[i][1:]
    return _unlike(reference, joined(found))


@mutation("a factor too many")
def factor_added(reference: str, chance: random.Random) -> str | None:
    return (
        _unlike(reference, f"{chance.choice((2, 3, 10))}({reference})")
        if plain(reference) and not reference.startswith(r"\$")
        else None
    )


@mutation("another letter for the unknown")
def other_letter(reference: str, chance: random.Random) -> str | None:
    letters = sorted(set(LETTER.findall(reference)) - {"e", "i", "d"})
    if not plain(reference) or len(letters) != 1 or reference in letters:
        return None
    other = "t" if letters[0] != "t" else "s"
    return re.sub(rf"(?<![\\a-zA-Z]){letters[0]}(?![a-zA-Z])", other, reference)


@mutation("another function")
def other_function(reference: str, chance: random.Random) -> str | None:
    if not plain(reference):
        return None
    answer = re.sub(
        r"\\(sin|cos|tan|ln)(?![a-zA-Z])",
        lambda m: {"sin": r"\cos", "cos": r"\sin", "tan": r"\cot", "ln": r"\exp"}[m.group(1)],
        reference,
        count=1,
    )
    return _unlike(reference, answer) if answer != reference else None


@mutation("the conjugate, or i lost")
def conjugate(reference: str, chance: random.Random) -> str | None:
    if not re.fullmatch(r"-?\d+\s*[-+]\s*\d*i", reference):
        return None
    if chance.random() < 0.4:
        return re.sub(r"(\d)i$", r"\1", reference) if re.search(r"\di$", reference) else None
    return reference[:1] + reference[1:].translate(str.maketrans("+-", "-+"))


@mutation("a factorial added or lost")
def factorial(reference: str, chance: random.Random) -> str | None:
    if "!" in reference and plain(reference):
        return reference.replace("!", "", 1)
    number = whole(reference)
    return f"{reference}!" if number is not None and 2 < number < 1000 else None


@mutation("other digits under the bar of a repeating decimal")
def other_bar(reference: str, chance: random.Random) -> str | None:
    found = fraction(reference)
    if found is None or found.denominator not in (3, 9) or found < 0:
        return None
    digit = 9 * (found % 1)
    return rf"{int(found)}.{chance.choice(('', '0'))}\overline{{{digit % 8 + 1}}}"


@mutation("a bar where there is none")
def bar_added(reference: str, chance: random.Random) -> str | None:
    match = re.fullmatch(r"(-?\d*\.\d{0,3}?)(\d{1,2})", reference)
    return rf"{match.group(1)}\overline{{{match.group(2)}}}" if match and int(match.group(2)) else None


@mutation("digits that look like a mixed number: 1 1/2 for 11/2")
def mixed_digits(reference: str, chance: random.Random) -> str | None:
    match = FRACTION.fullmatch(reference)
    if not match or len(match.group(2)) < 2 or match.group(2)[1] == "0":
        return None
    sign, top, bottom = match.groups()
    mixed = int(top[0]) + Fraction(int(top[1:]), int(bottom))
    grouped = len(top) == 4  # 1 997/2
    return None if grouped or mixed == fraction(reference) else f"{sign}{top[0]} {top[1:]}/{bottom}"


@mutation("base and exponent exchanged")
def power_turned(reference: str, chance: random.Random) -> str | None:
    match = re.fullmatch(r"(\d+|[a-z])\^(?:\{(\d+|[a-z])\}|(\d|[a-z]))", reference)
    if not match:
        return None
    return _unlike(reference, rf"{match.group(2) or match.group(3)}^{{{match.group(1)}}}")


@mutation("an equation that ends in another value: R = R + 1")
def ends_elsewhere(reference: str, chance: random.Random) -> str | None:
    number = whole(reference)
    return None if number is None else f"{reference} = {number + chance.choice((1, 2, 10))}"


@mutation("a decimal that the value only begins like")
def rounded_root(reference: str, chance: random.Random) -> str | None:
    worth = value(reference) if plain(reference) and re.search(r"sqrt|pi", reference) else None
    return f"{worth.real:.2f}" if worth is not None and not worth.imag and LETTER.search(reference) is None else None
