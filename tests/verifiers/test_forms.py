"""Forms of one answer: the modules that `text.normalise` brings together, and how long hostile text takes them."""

import time
from fractions import Fraction

import pytest

from openklear.verifiers.mathematics.commands import braced, undressed
from openklear.verifiers.mathematics.exact import decide
from openklear.verifiers.mathematics.limits import over_limit
from openklear.verifiers.mathematics.notation import ordinals, powers, repeating_decimals, scientific
from openklear.verifiers.mathematics.numerals import in_digits, spoken
from openklear.verifiers.mathematics.sets import sets
from openklear.verifiers.mathematics.text import both, normalise


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        (r"\textcolor{blue}{5}", "5"),
        (r"\textcolor[rgb]{1,0,0}{\mathbf{5}}", "5"),
        (r"1\textcolor{red}{2}3", "123"),
        (r"2\pi\mathbf{r}", r"2\pi r"),
        (r"x^{\color{red}12}", "x^{ 12}"),
        (r"x^\mathbf{12}", "x^{12}"),
        (r"\text{$x+1$}", "$x+1$"),
        (r"\begin{pmatrix} 1 & \phantom -1 \end{pmatrix}", r"\begin{pmatrix} 1 & 1 \end{pmatrix}"),
        (r"5 \text{ cm}", r"5 \text{ cm}"),
        (r"\mathbf{5", r"{5"),
    ],
)
def test_what_only_dresses_a_text_goes(text, meant):
    assert " ".join(undressed(text).split()) == meant


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        (r"\frac\pi 2", r"\frac{\pi} {2}"),
        (r"\frac12x", r"\frac{1}{2}x"),
        (r"\frac1{12}", r"\frac{1}{12}"),
        (r"\frac{\sqrt3}2", r"\frac{\sqrt{3}}{2}"),
        (r"{1 \over 2}", r"\frac{1 }{ 2}"),
        (r"\binom52", r"\binom{5}{2}"),
        (r"\sqrt[3]5", r"\sqrt[3]{5}"),
        (r"\frac123", r"\frac123"),
        (r"\sqrt12", r"\sqrt12"),
        (r"\frac{1}", r"\frac{1}"),
    ],
)
def test_arguments_get_their_braces(text, meant):
    assert braced(text) == meant


def test_numbers_in_other_notations():
    assert scientific("1.5e6") == r"1.5\times 10^{6}"
    assert scientific("2e + 3e^2 + 2x3") == "2e + 3e^2 + 2x3"
    assert scientific("2 x 3") == r"2\times 3"
    assert both("0.00002", "2e-5")[1] == r"2\times 10^{-5}"
    assert both("2e-5", "-5+2e") == ("2e-5", "-5+2e")
    assert repeating_decimals(r"0.1\overline{6}") == repeating_decimals("0.1(6)") == r"\frac{1}{6}"
    assert repeating_decimals("0.333...") == r"\frac{1}{3}"
    assert repeating_decimals("3.14159... + f(0.5)(2)") == "3.14159... + f(0.5)(2)"
    assert ordinals(r"12^{\text{th}}") == ordinals(r"12th") == "12"
    assert ordinals(r"12st + 2^{nd}") == r"12st + 2^{nd}"
    assert powers("**x**2 + 1**") == "x^{2} + 1"


def test_sets_in_one_spelling():
    assert sets(r"\mathbb{R} \setminus \{2,-2\}") == r"(-\infty,-2) \cup (-2,2) \cup (2,\infty)"
    assert sets("]0,1[") == "(0,1)"
    assert sets("[0,1],[2,3]") == "[0,1],[2,3]"
    assert sets(r"\max\{1, |z|\}") == r"\max\{1, |z|\}"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("Twenty-one", 21),
        ("one hundred and five", 105),
        ("twelve hundred", 1200),
        ("three million two hundred thousand and six", 3_200_006),
        ("minus two", -2),
        ("two thirds", Fraction(2, 3)),
        ("two and a half", Fraction(5, 2)),
        ("three point one four", Fraction("3.14")),
        ("a dozen", 12),
        ("two three", None),
        ("nineteen ninety", None),
        ("third", None),
        ("a", None),
        ("one hundred and one half", None),
        ("one thousand million", None),
        ("one to one", None),
    ],
)
def test_numerals_in_words(text, value):
    assert spoken(text) == value


def test_numerals_before_words():
    assert in_digits("twenty dollars") == "20 dollars"
    assert in_digits("thirty per cent") == "30%"
    assert in_digits("two or three") == "2 or 3"
    assert in_digits("one of them") == "one of them"
    assert in_digits("one-to-one") == "one-to-one"


def test_every_power_of_ten_meets_the_limits():
    assert over_limit("1e999999999") == over_limit("1E-999999999") == "an exponent above 10000"
    assert decide("5", "1e9999") is False
    assert decide("5", "1e-99999999999") is False


def test_long_decimals_stay_as_they_are():
    long = rf"0.\overline{{{'12' * 4000}}}"
    assert repeating_decimals(long) == long


PIECES = (
    "{", "}", r"\{", "(", "[", "]", r"\color{red}", r"\textcolor{red}{", r"\mathbf{", r"\bf", r"{\bf ", r"\text{$",
    r"\frac", r"\frac1", r"\frac{", r"\sqrt", "sqrt(", "abs(", r"\sqrt[", "**", "*", "x**2", "1e5", "1e", "1e-5", "0.",
    "1", r"0.\overline{3}", r"0.\dot{1}", "0.1(", "...", "0.33...", "12th", "12^{", "(1,2)U", r"\mathbb{R}\setminus\{",
    r"\{x|", "|", "]0,1[", r"\in[", r"\cup", "twenty ", "two and ", r"\left", r"\right.", "\\\\", "\\", r"\ ", "&",
    r"\phantom{", r"\hspace{", r"\over", r"{1\over 2", "sinx", "log2(", "xln(", "2 x 3", r"\text{", "½", "√",
)  # fmt: skip


@pytest.mark.parametrize("start", ["", r"\{", "1.", r"\mathbb{R}\setminus\{", "]"])
def test_hostile_texts_end_at_once(start):
    for piece in PIECES:
        text = (start + piece * 4096)[:4096]
        started = time.process_time()
        normalise(text)
        assert time.process_time() - started < 2.0, piece
