r"""The value of a sympy expression at a point: an exact fraction where it is one, else 330 digits of it.

Roots of odd degree are real, as a person takes them: \sqrt[3]{-8} = -2. Everything is bounded by the limits alone.
"""

from __future__ import annotations

from fractions import Fraction
from functools import cache
from typing import Any

DIGITS = 330
AGREE = 300
"""Digits that two rounded values share, where they are one."""
_TINY = 1e-30
"""Rounded values below it are not compared: what should be 0 is not told from what is small."""
_NODES = 400
_BITS = 2048
"""Bits of an exact power; larger ones are rounded."""
_LARGE = 20_000
"""Largest argument of a function, and logarithm of a power."""
_SAME_NAME = "exp log sin cos tan cot sec csc sinh cosh tanh asin acos atan factorial binomial"
_FUNCTIONS = dict(zip(_SAME_NAME.split(), _SAME_NAME.split(), strict=True))
_FUNCTIONS |= {"Abs": "fabs", "floor": "floor", "ceiling": "ceil"}
"""Names of sympy -> names of mpmath."""
_CONSTANTS = ("Pi", "Exp1", "ImaginaryUnit")
_COMPLEX = frozenset(("exp", "sin", "cos", "tan", "cot", "sec", "csc", "sinh", "cosh", "tanh", "Abs"))
"""Functions of one value for complex arguments too."""

Value = Any
"""A Fraction, or a number of `_context`."""


class Nowhere(Exception):
    """No real value at this point."""


class Unreadable(Exception):
    """Not an expression that is evaluated here."""


@cache
def _context() -> Any:
    from mpmath import MPContext

    context = MPContext()  # of our own: sympy uses the common one
    context.dps = DIGITS
    return context


def value_at(point: dict[str, Fraction], expression: Any) -> Value | None:
    """The value where symbols have those of the point, e and i their own; None where it has none that is real (or
    complex, where an `i` is written, or no symbol). Unreadable for what is not evaluated here."""
    written = not point or any(one.name == "i" for one in expression.free_symbols)
    try:
        return _Evaluation(point, written).of(expression)
    except (Nowhere, ArithmeticError, ValueError):
        return None


def agree(left: Value, right: Value) -> bool | None:
    """Whether two values are one: exactly, or in all digits that count. None where they are too small to tell."""
    if isinstance(left, Fraction) and isinstance(right, Fraction):
        return left == right
    a, b = _rounded(left), _rounded(right)
    scale = max(abs(a), abs(b))
    return None if scale <= _TINY else bool(abs(a - b) <= scale * _context().mpf(10) ** -AGREE)


def _rounded(value: Value) -> Any:
    return _context().mpf(value.numerator) / value.denominator if isinstance(value, Fraction) else value


def _is_real(value: Value) -> bool:
    return isinstance(value, Fraction) or not value.imag


class _Evaluation:
    """Of one expression at one point; `is_complex` where square roots of negative numbers are meant."""

    def __init__(self, point: dict[str, Fraction], is_complex: bool):
        self._point, self._complex, self._left = point, is_complex, _NODES

    def of(self, node: Any) -> Value:
        self._left -= 1
        if self._left < 0:
            raise Unreadable("too long")
        name = type(node).__name__
        if node.is_Rational:
            return Fraction(int(node.p), int(node.q))
        if node.is_Float:
            return Fraction(str(node))
        if node.is_Symbol or name in _CONSTANTS:
            return self._symbol(str(node))
        if name == "Pow":
            return self._power(node.base, node.exp)
        if name not in _FUNCTIONS and name not in ("Add", "Mul"):
            raise Unreadable(name)
        arguments = [self.of(one) for one in node.args]
        return self._function(name, arguments) if name in _FUNCTIONS else _joined(name, arguments)

    def _symbol(self, name: str) -> Value:
        if name in self._point:
            return self._point[name]
        context = _context()
        constants = {
            "pi": +context.pi,
            "E": +context.e,
            "e": +context.e,
            "i": context.mpc(0, 1),
            "I": context.mpc(0, 1),
        }
        if name not in constants:
            raise Unreadable(name)
        return constants[name]

    def _power(self, base: Any, exponent: Any) -> Value:
        a, b = self.of(base), self.of(exponent)
        if not a:
            if _is_real(b) and b > 0:
                return Fraction(0)
            raise Nowhere
        if not isinstance(b, Fraction) or not _is_real(a) or a > 0:
            return self._principal(a, b)
        if (exponent.free_symbols and b.denominator > 1) or (base.free_symbols and _divides(exponent)):
            raise Nowhere  # (x^m)^{1/n} and x^{m/n} are one where x is positive
        if b.denominator % 2:
            size = self._principal(-a, b)
            return -size if b.numerator % 2 else size
        if self._complex:
            return self._principal(a, b)
        raise Nowhere

    def _principal(self, a: Value, b: Value) -> Value:
        """A power of what is not 0; complex ones only where that is meant."""
        if isinstance(a, Fraction) and isinstance(b, Fraction) and b.denominator == 1:
            bits = max(a.numerator.bit_length(), a.denominator.bit_length())
            if bits * abs(b) <= _BITS:
                return a ** int(b)
        real = _is_real(a) and _is_real(b) and a > 0
        a, b = _rounded(a), _rounded(b)
        whole = _is_real(b) and b == int(b)
        if not (real or whole or self._complex) or abs(b * _context().log(a)) > _LARGE:
            raise Nowhere
        return _context().power(a, b)

    def _function(self, name: str, arguments: list[Value]) -> Value:
        values = [_rounded(one) for one in arguments]
        real = all(map(_is_real, arguments))
        if not real and (name not in _COMPLEX or not self._complex):
            raise Nowhere
        if name == "Abs":
            return abs(arguments[0])
        if max(map(abs, values)) > _LARGE or (name == "log" and min(values) <= 0):
            raise Nowhere
        value = getattr(_context(), _FUNCTIONS[name])(*values)
        if real and value.imag:
            raise Nowhere
        return Fraction(int(value)) if name in ("floor", "ceiling") else value


def _divides(exponent: Any) -> bool:
    """Whether an exponent with symbols is divided by anything."""
    from sympy import Pow, Rational

    if not exponent.free_symbols:
        return False
    fractions = any(not one.is_integer for one in exponent.atoms(Rational))
    return fractions or any(one.exp.could_extract_minus_sign() for one in exponent.atoms(Pow))


def _joined(name: str, values: list[Value]) -> Value:
    if not all(isinstance(one, Fraction) for one in values):
        values = [_rounded(one) for one in values]
    total = values[0]
    for one in values[1:]:
        total = total + one if name == "Add" else total * one
    return total
