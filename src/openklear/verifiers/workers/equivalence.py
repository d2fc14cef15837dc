"""The mathematics worker: asks math-verify whether two answers are equal, under an alarm that nothing can catch.

The first process loads math-verify and forks a second that answers. The second sets alarms whose default action,
death, works in the middle of any C call; the first then says "timeout" in its place and forks again (a few ms).
Answers only ever pass through math-verify's LaTeX grammar; sympy's parse_expr, an eval, is replaced before any comes.
"""

from __future__ import annotations

import functools
import gc
import itertools
import logging
import os
import re
import resource
import signal
import sys
from typing import Any

from . import identities, wire
from .outlive import outlive

MEMORY_BYTES = 4 * 2**30
PARSED = 512
"""Parsed answers and references that a worker keeps."""
SMALL = 1e-3
"""Constants below this are compared relative to their size too."""
WALL_FACTOR = 6.0
"""Wall seconds a question may take for each of its CPU seconds: a crowded machine is not the answer's fault."""
_NUMERAL = re.compile(r"[-+]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)")
_ALARMS = (signal.SIGPROF, signal.SIGALRM)


def main() -> None:
    """Serves until the end of stdin. argv: [-c, directory, module, seconds]."""
    seconds = float(sys.argv[3])
    incoming, outgoing = os.dup(0), os.dup(1)
    os.dup2(os.open(os.devnull, os.O_RDWR), 1)  # whatever a library prints is not an answer
    logging.disable(logging.CRITICAL)
    warm_up()
    wire.write_message(outgoing, {"ready": True})
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)  # a parse makes many objects and few cycles
    while True:
        pid = os.fork()
        if pid == 0:
            _serve(incoming, outgoing, seconds)
            os._exit(0)
        code = outlive(pid, incoming)
        if code is None or -code not in _ALARMS:
            return  # perhaps killed between two questions: a word now would be taken for the next one's answer
        wire.write_message(outgoing, {"error": "timeout"})


def warm_up() -> None:
    """Loads what the first question would load, and walls off evaluation: sympy reads no string but a numeral.

    math-verify hands every number it finds to sympify, which hands strings to parse_expr, which is an eval.
    """
    from latex2sympy2_extended import latex2sympy2
    from math_verify import parser
    from sympy import parsing
    from sympy.parsing import sympy_parser
    from sympy.physics import units as _  # noqa: F401  (loaded by simplify when needed, and sympifies its own names)

    for module in (sympy_parser, parsing, parser, latex2sympy2):
        module.parse_expr = numeral
    if not equal(r"\frac{1}{2}x", r"\frac{x}{2}"):
        raise RuntimeError("math-verify does not know that x/2 is x/2")


def numeral(text: str, *_: Any, **__: Any) -> Any:
    """Stands in for sympy's parse_expr: an Integer or Float of a numeral; ValueError for any other text."""
    from sympy import Float, Integer

    text = text.strip()
    if not _NUMERAL.fullmatch(text):
        raise ValueError("not a numeral")
    return Float(text) if "." in text else Integer(text)


def _serve(incoming: int, outgoing: int, seconds: float) -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform == "linux":  # macOS accepts the call and ignores it
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    for number in _ALARMS:
        signal.signal(number, signal.SIG_DFL)
    while (message := wire.read_message(incoming)) is not None:
        _set_alarms(seconds)
        try:
            is_equal, rule = judged(message["reference"], message["answer"])
            answer: dict[str, Any] = {"equal": is_equal, "rule": rule}
        except Exception as error:  # sympy raises anything; the caller grades the reference against itself
            answer = {"error": type(error).__name__}
        _set_alarms(0.0)
        wire.write_message(outgoing, answer)


def _set_alarms(seconds: float) -> None:
    """Death after so many CPU seconds, or WALL_FACTOR times as many of the clock; 0 calls both off."""
    signal.setitimer(signal.ITIMER_PROF, seconds)
    signal.setitimer(signal.ITIMER_REAL, WALL_FACTOR * seconds)


def equal(reference: str, answer: str) -> bool:
    """Whether two LaTeX answers (the contents of boxes) are one."""
    return judged(reference, answer)[0]


def judged(reference: str, answer: str) -> tuple[bool, str]:
    """Whether two LaTeX answers are one, and what says so.

    They are where math-verify holds them for equal and their difference is none, or where their values are the same.
    """
    from math_verify import verify

    sides = _parsed(reference), _parsed(answer)
    for side, name in zip(sides, ("reference", "answer"), strict=True):
        if not side:
            return False, f"math-verify reads nothing in the {name}"
    if verify(list(sides[0]), list(sides[1]), timeout_seconds=0, raise_on_error=True):
        apart = any(_differ(left, right) for left, right in itertools.product(*sides))
        return not apart, "constants, by their relative difference" if apart else "math-verify"
    if len(sides[0]) == len(sides[1]) == 1 and identities.same(sides[0][0], sides[1][0]):
        return True, "equal values, to 300 digits, wherever both are real"
    return False, "math-verify, and values at points"


@functools.lru_cache(maxsize=PARSED)
def _parsed(text: str) -> tuple[Any, ...]:
    """What math-verify reads; the same reference comes with every answer to its problem."""
    from math_verify import LatexExtractionConfig, parse

    config = [LatexExtractionConfig(boxed_match_priority=0)]
    return tuple(
        parse(f"\\boxed{{{text}}}", config, parsing_timeout=0, fallback_mode="no_fallback", raise_on_error=True)
    )


def _differ(left: Any, right: Any) -> bool:
    """Whether two constants are apart by more than their size allows.

    math-verify calls e^{-100} and e^{-101}, or 1/2^99 and 1/2^98, equal: their difference is nearly 0.
    """
    from sympy import Expr, Float

    if not all(isinstance(side, Expr) and side.is_number and not side.has(Float) for side in (left, right)):
        return False
    size = max(abs(complex(side.evalf(20))) for side in (left, right))
    if size == 0.0 or size > SMALL:
        return False
    return abs(complex((left - right).evalf(20))) > 1e-9 * size
