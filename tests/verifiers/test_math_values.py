import math
from fractions import Fraction

import pytest

from openklear.verifiers.mathematics.parser import parse
from openklear.verifiers.mathematics.values import MAX_BITS, Approximate, TooLarge, Unknown, symbol


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2+3*4", 14),
        ("2-3-4", -5),
        ("-2^2", -4),
        ("(-2)^2", 4),
        ("2^{-3}", Fraction(1, 8)),
        ("8^{2/3}", 4),
        ("2^{3^2}", 512),
        (r"\frac{1}{2} \cdot 6", 3),
        (r"\frac{\frac{1}{2}}{3}", Fraction(1, 6)),
        ("1/2/3", Fraction(1, 6)),
        (r"3\frac{1}{4}", Fraction(13, 4)),
        (r"\sqrt{\frac{9}{4}}", Fraction(3, 2)),
        (r"\sqrt[3]{27}", 3),
        (r"\binom{10}{3}", 120),
        ("5!", 120),
        ("-5!", -120),
        ("50%", Fraction(1, 2)),
        ("|3-5|", 2),
        (r"\lfloor 7/2 \rfloor", 3),
        (r"\lceil \pi \rceil", 4),
        (r"2(3)(4)", 24),
        ("1.5", Fraction(3, 2)),
        ("{5}", 5),
    ],
)
def test_exact_values(text, expected):
    value = parse(text)
    assert isinstance(value, Fraction)
    assert value == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (r"\pi", math.pi),
        (r"2\pi", 2 * math.pi),
        (r"\sqrt{2}", math.sqrt(2)),
        ("e^2", math.e**2),
        (r"\ln 2", math.log(2)),
        (r"\ln(2)+1", math.log(2) + 1),
        (r"\log_{2} 10", math.log2(10)),
        (r"\sin^2(1)", math.sin(1) ** 2),
        (r"\sin \frac{\pi}{6}", 0.5),
        (r"\cot 1", 1 / math.tan(1)),
        (r"\arctan 1", math.pi / 4),
        (r"\arcsin \frac{1}{2}", math.pi / 6),
        ("i^2", -1),
        (r"\sqrt{-4}", 2j),
        ("2^{1/2}", math.sqrt(2)),
        (r"e^{i\pi}", -1),
    ],
)
def test_approximate_values_are_within_their_error(text, expected):
    value = parse(text)
    assert isinstance(value, Approximate)
    assert abs(value.value - expected) <= 8 * value.error + 1e-15
    assert value.error < 1e-12


def test_the_error_of_a_cancelled_difference_covers_it():
    value = parse(r"\sqrt{10^{20}+1} - 10^{10}")
    assert isinstance(value, Approximate)
    assert abs(value.value - 5e-11) <= value.error


def test_symbols_stand_for_the_same_numbers_everywhere():
    assert parse("x_1") == parse("x_{1}") == symbol("x_1")
    assert parse(r"\alpha x") == symbol(r"alpha") * symbol("x")
    assert parse("(x+1)^2") == parse("x^2+2x+1")
    assert parse("n!") == math.factorial(int(symbol("n")))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "1+",
        "1/0",
        "0^0",
        "0^{-1}",
        "1 2",
        "2x 3",
        "1/2x",
        r"\frac12",
        "sin x",
        "xyz",
        r"\foo",
        "#",
        "(1",
        "1)",
        "1,2",
        r"\sin x y",
        r"\log 2",
        r"\sin^{-1} 1",
        r"\arcsin 2",
        r"(-8)^{1/3}",
        r"\tan(\frac{\pi}{2})",
        "1.5!",
        r"\ln 0",
        r"2\frac{3}{2}",
        "e^{1000}",
        r"\lfloor \pi - \pi \rfloor",
        r"\sqrt\sqrt" * 200 + "{2}",
        "-" * 9 + "1",
    ],
)
def test_what_is_not_known(text):
    with pytest.raises(Unknown):
        parse(text)


@pytest.mark.parametrize(
    "text",
    [
        "10^{10^{10}}",
        "10**10**10",
        "10001!",
        "((9!)!)!",
        r"\binom{10^9}{2}",
        "x + 10^{10^9}",
        r"\sqrt{10^{10^9}}",
        r"\log_{10} 10^{10^9}",
        "((3^{9999})(3^{9999}))^{9}",
    ],
)
def test_what_is_too_large(text):
    with pytest.raises(TooLarge):
        parse(text)


def test_the_largest_value():
    assert MAX_BITS // 2 < parse("10000!").numerator.bit_length() < MAX_BITS


def test_a_symbol_is_not_large_for_itself():
    with pytest.raises(Unknown):
        parse("e^{-x^9}")
    with pytest.raises(Unknown):
        parse("2^{x^9}")


def test_exact_arithmetic_is_bounded_in_its_sum():
    assert parse("10000!/9999! + 1") == 10_001
    with pytest.raises(Unknown, match="work"):
        parse("10000!/9999!+" * 200 + "1")
