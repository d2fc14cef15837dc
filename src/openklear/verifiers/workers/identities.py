r"""Whether two expressions have one value wherever both are real: found by evaluation at points, to 330 digits.

sympy proves no identity that holds only where its symbols are positive (\frac{1}{\sqrt n} = \sqrt{\frac{1}{n}}, the
laws of logarithms), so what math-verify tells apart is evaluated. A point at which either side has no real value says
nothing; where an `i` is written, values are complex.

Why that is sound: the expressions are built of elementary functions, which are analytic on each piece of where they are
real. Two that differ on a piece agree there on a set of measure 0 at most, which random points do not meet; the points
are drawn from the two texts, so no answer can be made for them. They are of both signs (|x| is not x), small and large,
and not whole (a floor is not its argument); symbols in exponents are whole where a base may be negative: (-1)^n. What
is missed is a piece into which no point falls, and a difference below the 300th digit beside an irrational number.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from fractions import Fraction
from typing import Any

from .points import agree, value_at

POINTS = 24
ENOUGH = 4
"""Points at which both sides must have values."""
MAX_SYMBOLS = 12
MAX_MEMBERS = 20


def same(left: Any, right: Any) -> bool:
    """Whether two things that math-verify read are one by the values of their expressions, member by member."""
    from sympy import And, Expr, FiniteSet, Interval, Tuple, Union
    from sympy.core.relational import Relational

    if isinstance(left, Expr) and isinstance(right, Expr):
        return left == right or same_values(left, right)
    if isinstance(left, Interval) and isinstance(right, Interval):
        ends = (left.left_open, left.right_open) == (right.left_open, right.right_open)
        return bool(ends) and _in_order((left.start, left.end), (right.start, right.end))
    if type(left) is not type(right):
        return False
    if isinstance(left, (And, FiniteSet, Union)):
        return _in_any_order(left.args, right.args)
    return isinstance(left, (Relational, Tuple)) and _in_order(left.args, right.args)


def _in_order(left: tuple[Any, ...], right: tuple[Any, ...]) -> bool:
    return len(left) == len(right) <= MAX_MEMBERS and all(map(same, left, right))


def _in_any_order(left: tuple[Any, ...], right: tuple[Any, ...]) -> bool:
    rest = list(right)
    if len(left) != len(rest) or len(rest) > MAX_MEMBERS:
        return False
    for one in left:
        found = next((other for other in rest if same(one, other)), None)
        if found is None:
            return False
        rest.remove(found)
    return True


def same_values(left: Any, right: Any) -> bool:
    """Whether two sympy expressions, the reference first, agree where both have values, which is often enough."""
    symbols = sorted({one.name for one in left.free_symbols | right.free_symbols} - {"e", "i"})
    if len(symbols) > MAX_SYMBOLS:
        return False
    agreed = 0
    try:
        for point in _points(left, right, symbols):
            ours, theirs = value_at(point, left), value_at(point, right)
            if ours is None or theirs is None:
                if ours is not None and _has_absolute(left) and not _has_absolute(right):
                    return False  # \ln|x| is not \ln x: the reference says that it holds for both signs
                continue
            equal = agree(ours, theirs)
            if equal is False:
                return False
            agreed += equal is True
    except Exception:  # sympy raises anything, and what cannot be evaluated is not known to be equal
        return False
    return agreed >= (ENOUGH if symbols else 1)


def _has_absolute(side: Any) -> bool:
    from sympy import Abs

    return bool(side.has(Abs))


def _points(left: Any, right: Any, symbols: list[str]) -> Iterator[dict[str, Fraction]]:
    r"""Positive points, and as many with a negative symbol where exponents are whole; a single one without symbols.

    One symbol alone is negative: \frac{\sqrt{gl}}{l} for two negative lengths is not what anybody means.
    """
    exponents = _in_exponents(left) | _in_exponents(right)
    draw = random.Random(f"{left}\0{right}")
    for number in range(POINTS if symbols else 1):
        point = {name: Fraction(round(2 ** draw.uniform(-3, 6) * 1009), 1009) for name in symbols}
        if number % 2:
            point |= {name: Fraction(draw.randint(1, 9)) for name in exponents & point.keys()}
            point[symbols[number // 2 % len(symbols)]] *= -1
        yield point


def _in_exponents(side: Any) -> set[str]:
    from sympy import Pow, exp

    found: set[str] = set()
    for one in side.atoms(Pow, exp):
        found |= {symbol.name for symbol in one.exp.free_symbols}
    return found
