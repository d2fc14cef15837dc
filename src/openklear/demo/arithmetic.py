"""Arithmetic chains: the mathematics of the demo world.

A problem of level k chains k + 1 operations on one-digit operands, written in ordinary precedence with as few
parentheses as possible: ``(7+3)*4-9``. The reasoning works through the chain, one operation per line. Every
intermediate value stays within ``LIMIT``, so a step is a fact that a very small model can learn; a chain of such steps
is still easy to get wrong, which leaves reinforcement learning something to do.
"""

from __future__ import annotations

import operator
from dataclasses import dataclass
from random import Random

from openklear.think import CLOSE, OPEN

LIMIT = 20
"""Largest magnitude of any intermediate value."""

WORDINGS = ("Find {}.", "What is {}?", "Compute {}.", "Evaluate {}.")

WORDS = ("Find", "What is", "Compute", "Evaluate", "\\boxed{")
"""Strings worth a token of their own."""

_OPERATORS = {"+": operator.add, "-": operator.sub, "*": operator.mul}


@dataclass(frozen=True)
class Chain:
    """``start`` followed by (operator, operand) steps, applied from left to right."""

    start: int
    steps: tuple[tuple[str, int], ...]

    def expression(self) -> str:
        """The chain in ordinary notation, with parentheses only where precedence asks for them."""
        text, sum_is_open = str(self.start), False
        for sign, operand in self.steps:
            if sign == "*" and sum_is_open:
                text = f"({text})"
            text += f"{sign}{operand}"
            sum_is_open = sign != "*"
        return text

    def values(self) -> list[int]:
        """The value after each step; the last one is the answer."""
        values, value = [], self.start
        for sign, operand in self.steps:
            value = apply(sign, value, operand)
            values.append(value)
        return values

    @property
    def answer(self) -> str:
        """The value of the whole chain."""
        return str(self.values()[-1])


def apply(operator: str, left: int, right: int) -> int:
    """One operation."""
    result: int = _OPERATORS[operator](left, right)
    return result


def draw_chain(rng: Random, level: int) -> Chain:
    """A chain of ``level + 1`` operations whose intermediate values all stay within ``LIMIT``."""
    start = value = rng.randint(1, 9)
    steps: list[tuple[str, int]] = []
    while len(steps) <= level:
        sign, operand = rng.choice([*_OPERATORS]), rng.randint(2, 9)
        result = apply(sign, value, operand)
        if abs(result) <= LIMIT:
            steps.append((sign, operand))
            value = result
    return Chain(start, tuple(steps))


def word(rng: Random, chain: Chain) -> str:
    """The prompt: the expression in one of a few wordings."""
    return rng.choice(WORDINGS).format(chain.expression())


def solution(chain: Chain, slip: tuple[int, int] | None = None) -> str:
    """The worked answer; ``slip = (step, error)`` adds ``error`` to that step's result and carries it on."""
    lines, value = [], chain.start
    for index, (sign, operand) in enumerate(chain.steps):
        result = apply(sign, value, operand)
        if slip is not None and slip[0] == index:
            result += slip[1]
        lines.append(f"{value}{sign}{operand}={result}")
        value = result
    return OPEN + "\n".join(lines) + CLOSE + f"\\boxed{{{value}}}"


def slipped_solution(rng: Random, chain: Chain) -> str:
    """A worked answer with one wrong step; its final answer is always wrong.

    A slip before a later multiplication still changes the answer, as no operand is zero.
    """
    step = rng.randrange(len(chain.steps))
    error = rng.choice((-10, -2, -1, 1, 2, 10))
    return solution(chain, (step, error))
