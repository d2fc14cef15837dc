r"""The value of a LaTeX expression, exactly where it can be had, else with a bound of its error. Nothing is evaluated
but what this parser knows: numbers, fractions, roots, powers, factorials, elementary functions, and symbols, which
stand for fixed integers (two expressions that differ there are not equal; ones that agree may be).

What is not known raises Unknown, what is larger than the limits TooLarge: work is bounded by the limits alone.
"""

from __future__ import annotations

import cmath
import hashlib
import math
import re
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

from openklear.verifiers.mathematics.limits import MAX_BOUND, MAX_EXPONENT, MAX_FACTORIAL

MAX_BITS = 1 << 17
"""Bits of an exact numerator or denominator; 10,000! has 118,458."""
_EPSILON = 2.0**-50


class Unknown(Exception):
    """Not an expression this parser knows."""


class TooLarge(Exception):
    """A value larger than the limits; the words say which."""


@dataclass(frozen=True, slots=True)
class Approximate:
    """A complex number and a bound of its absolute error (of its order, not proven). Unknown for results like 1/0."""

    value: complex
    error: float

    def __neg__(self) -> Approximate:
        return Approximate(-self.value, self.error)

    def __add__(self, other: Value) -> Approximate:
        b = approximate(other)
        return _checked(self.value + b.value, self.error + b.error)

    def __mul__(self, other: Value) -> Approximate:
        b = approximate(other)
        error = abs(self.value) * b.error + abs(b.value) * self.error + self.error * b.error
        return _checked(self.value * b.value, error)

    def __truediv__(self, other: Value) -> Approximate:
        b = approximate(other)
        size = abs(b.value)
        if size <= 1e3 * b.error:
            raise Unknown("perhaps a division by zero")
        value = self.value / b.value
        return _checked(value, (self.error + abs(value) * b.error) / (size - b.error))

    def __rtruediv__(self, other: Value) -> Approximate:
        return approximate(other) / self

    __radd__, __rmul__ = __add__, __mul__


Value = Fraction | Approximate
PI = Approximate(complex(math.pi), math.pi * _EPSILON)
_E = Approximate(complex(math.e), math.e * _EPSILON)
_I = Approximate(1j, 0.0)
_ONE = Approximate(1 + 0j, 0.0)


def approximate(value: Value) -> Approximate:
    """A value as a float; Unknown or OverflowError where it does not fit into one."""
    if isinstance(value, Approximate):
        return value
    near = float(value)
    if near == 0.0 and value:
        raise Unknown("no float")
    return Approximate(complex(near), abs(near) * _EPSILON)


def _checked(value: complex, error: float) -> Approximate:
    if not cmath.isfinite(value) or not math.isfinite(error):
        raise Unknown("not finite")
    return Approximate(value, error + abs(value) * _EPSILON)


def _root(value: Fraction, degree: int) -> Fraction | None:
    """The exact real root of a positive fraction; None where it is not rational or the degree is large."""
    if degree > 64 or value < 0:
        return None
    roots = []
    for part in (value.numerator, value.denominator):
        guess = math.isqrt(part) if degree == 2 else round(float(part) ** (1 / degree)) if part < 1 << 900 else 0
        if guess**degree != part:
            return None
        roots.append(guess)
    return Fraction(roots[0], roots[1])


def power(base: Value, exponent: Value) -> Value:
    """base ** exponent. TooLarge for exponents above the limit; Unknown where several values are meant."""
    if isinstance(exponent, Fraction):
        if isinstance(base, Fraction) and base in (1, 0) and exponent > 0:
            return base
        if abs(exponent) > MAX_EXPONENT:
            raise TooLarge(f"an exponent above {MAX_EXPONENT}")
        if exponent.denominator == 1:
            return _integer_power(base, exponent.numerator)
        if isinstance(base, Fraction):
            root = _root(base, exponent.denominator)
            if root is not None:
                return _integer_power(root, exponent.numerator)
    a, b = approximate(base), approximate(exponent)
    if a.value.imag or a.value.real <= 4 * a.error:
        raise Unknown("a power with several values")
    logarithm = math.log(a.value.real)
    value = cmath.exp(b.value * logarithm)
    slack = abs(b.value) * a.error / a.value.real + abs(logarithm) * (b.error + _EPSILON * abs(b.value))
    return _checked(value, abs(value) * slack)


def _integer_power(base: Value, exponent: int) -> Value:
    if isinstance(base, Fraction):
        if base == exponent == 0:
            raise Unknown("a power of zero")
        bits = max(base.numerator.bit_length(), base.denominator.bit_length())
        if bits * abs(exponent) > MAX_BITS and abs(base) != 1:
            raise TooLarge(f"a number of more than {MAX_BITS} bits")
        return Fraction(base**exponent)
    if exponent < 0:
        return Fraction(1) / _integer_power(base, -exponent)
    value = base.value**exponent
    steep = exponent * abs(base.value) ** max(exponent - 1, 0) * base.error
    return _checked(value, steep + exponent * _EPSILON * abs(value))


def _natural(value: Value, most: int, what: str) -> int:
    if not isinstance(value, Fraction) or value.denominator != 1 or value < 0:
        raise Unknown(f"{what} of no integer")
    if value > most:
        raise TooLarge(f"{what} above {most}")
    return value.numerator


def factorial(value: Value) -> Fraction:
    """n!; Unknown for anything but an integer of at least 0."""
    return Fraction(math.factorial(_natural(value, MAX_FACTORIAL, "a factorial")))


def binomial(top: Value, bottom: Value) -> Fraction:
    """The binomial coefficient of two integers of at least 0."""
    return Fraction(math.comb(_natural(top, MAX_BOUND, "a bound"), _natural(bottom, MAX_BOUND, "a bound")))


def root(value: Value, degree: Value) -> Value:
    r"""\sqrt[degree]{value}: of negative numbers \sqrt{-a} = i \sqrt{a} alone."""
    if not isinstance(degree, Fraction) or degree.denominator != 1 or degree <= 0:
        raise Unknown("a root of no degree")
    if isinstance(value, Approximate) and (value.value.imag or abs(value.value.real) <= 4 * value.error):
        raise Unknown("a root with several values")
    if (value if isinstance(value, Fraction) else value.value.real) >= 0:
        return power(value, 1 / degree)
    if degree != 2:
        raise Unknown("a root with several values")
    return _I * root(-value, degree)


def _sine_like(name: str, argument: Approximate) -> Approximate:
    spread = (argument.error + _EPSILON * abs(argument.value)) * math.cosh(min(abs(argument.value.imag), 700.0))
    sine, cosine = _checked(cmath.sin(argument.value), spread), _checked(cmath.cos(argument.value), spread)
    above = {"sin": sine, "tan": sine, "cos": cosine, "cot": cosine}.get(name, _ONE)
    below = {"tan": cosine, "sec": cosine, "cot": sine, "csc": sine}.get(name)
    return above if below is None else above / below


def function(name: str, argument: Value) -> Value:
    """An elementary function of one argument; Unknown near its poles and outside of its real domain."""
    if name == "exp":
        return power(_E, argument)
    a = approximate(argument)
    if name in ("sin", "cos", "tan", "cot", "sec", "csc"):
        return _sine_like(name, a)
    real, bound = a.value.real, a.error
    if a.value.imag:
        raise Unknown("a complex argument")
    if name == "arctan":
        return _checked(complex(math.atan(real)), bound)
    if name in ("arcsin", "arccos") and abs(real) + bound < 1:
        found = math.asin(real) if name == "arcsin" else math.acos(real)
        return _checked(complex(found), bound / math.sqrt(1 - (abs(real) + bound) ** 2))
    if name == "ln" and real > 1e3 * bound:
        return _checked(complex(math.log(real)), 2 * bound / real)
    raise Unknown(name)


def absolute(value: Value) -> Value:
    """|value|."""
    return abs(value) if isinstance(value, Fraction) else Approximate(complex(abs(value.value)), value.error)


def rounded(value: Value, up: bool) -> Fraction:
    """Floor or ceiling; Unknown where the error could change it."""
    if isinstance(value, Approximate):
        real = value.value.real
        if value.value.imag or abs(real - round(real)) <= 1e-9 + 4 * value.error:
            raise Unknown("a floor with several values")
        value = Fraction(real)
    return Fraction(math.ceil(value) if up else math.floor(value))


@lru_cache(maxsize=1024)
def symbol(name: str, point: int = 0) -> Value:
    """The integer that a symbol stands for in every expression; e and i stand for themselves.

    At point 0 it is small, so that what is large stays within the limits; elsewhere it is one of 2^40.
    """
    if name in ("e", "i"):
        return _E if name == "e" else _I
    text = f"{point} {name}" if point else name
    digest = int.from_bytes(hashlib.blake2b(text.encode(), digest_size=5 if point else 4).digest(), "big")
    return Fraction(digest if point else 5 + digest % 53)


_TOKEN = re.compile(r"(\d+(?:\.\d*)?|\.\d+)|\\([a-zA-Z]+)|\*\*|([a-zA-Z])|[-+*/^_!%|(){}\[\]]")
FUNCTIONS = frozenset(("sin", "cos", "tan", "cot", "sec", "csc", "arctan", "arcsin", "arccos", "ln", "exp"))
_GREEK = """alpha beta gamma delta epsilon varepsilon zeta eta theta kappa lambda mu nu xi rho sigma tau phi varphi chi
psi omega Gamma Delta Theta Lambda Xi Sigma Phi Psi Omega ell"""
GREEK = frozenset(_GREEK.split())
_WORDS = re.compile(r"[a-zA-Z]{3,}|or|and|ln|in|is|mod|if|at|to|of")


def tokens(text: str) -> list[str]:
    """The tokens of a normalised text; Unknown where there is one that no expression of this parser has."""
    if _TOKEN.sub("", text).strip():
        raise Unknown("a character")
    if _WORDS.search(re.sub(r"\\[a-zA-Z]+", " ", text)):
        raise Unknown("a word")
    return [match.group() for match in _TOKEN.finditer(text)]
