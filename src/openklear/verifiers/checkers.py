"""How what a program gives is compared with what is expected: by equality, or by a named checker.

    lines (default)     text: equal but for white space at line ends and empty lines at the end; values: equal
    tokens              text: equal words, whatever white space is between them
    anycase             as `lines`, of letters in any case; values: the same for their texts
    float:1e-6          text: equal words, numbers within 1e-6 (absolute or relative); values: the same for numbers.
                        Two whole numbers must be equal
    livecodebench       text: equal lines but for white space at both ends; or lines of numbers, equal as decimals;
                        values: equal in Python, where True is 1. What LiveCodeBench's own harness takes
    unordered           text: equal lines in any order; values: equal elements of the outermost list in any order
    unordered_tokens    text: equal words in any order; values: as above at every depth
    module:function     function(stdin, expected, actual) -> bool, of a test by call function(args, expected, actual)

A `module:function` runs in this process, on what hostile programs print: write it so that nothing of it is executed.

Where no checker is named, a statement that takes letters in any case asks for `anycase` (verifiers.statements).
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal, DecimalException
from difflib import get_close_matches
from functools import partial
from typing import Any

from openklear.errors import UsageError
from openklear.verifiers import custom


@dataclass(frozen=True, slots=True)
class Checker:
    """Says whether an output, or the result of a call, is what is expected."""

    name: str
    text: Callable[[str, str, str], bool]
    """(stdin, expected, actual)"""
    value: Callable[[str, Any, Any], bool]
    """(args as JSON, expected, actual)"""
    custom: bool = False
    """It is the user's, and may raise anything."""


def checker(name: str | None) -> Checker:
    """The checker of that name; None: equality. UsageError, naming the nearest, for an unknown one."""
    name = name or "lines"
    kind, _, rest = name.partition(":")
    plain = _PLAIN.get(name)
    if kind == "float":
        tolerance = _tolerance(name, rest)
        plain = partial(_close_tokens, tolerance), partial(_same, tolerance)
    if plain is not None:
        text, value = plain
        return Checker(name, lambda _, *outputs: text(*outputs), lambda _, *results: value(*results))
    if rest:
        function = custom.function(name).call
        return Checker(
            name,
            lambda stdin, expected, actual: bool(function(stdin, expected, actual)),
            lambda arguments, expected, actual: bool(function(json.loads(arguments), expected, actual)),
            custom=True,
        )
    near = get_close_matches(name, [*_PLAIN, "float"], n=1, cutoff=0.0)[0]
    nearest = "float:1e-6" if near == "float" else near
    raise UsageError(
        f'there is no checker "{name}"; the nearest is "{nearest}" (known: {", ".join(_PLAIN)}, float:TOLERANCE, '
        "module:function)"
    )


def _tolerance(name: str, text: str) -> float:
    try:
        tolerance = float(text)
    except ValueError:
        tolerance = -1.0
    if not 0.0 < tolerance < 1.0:
        raise UsageError(f'checker "{name}": write a tolerance between 0 and 1, as in "float:1e-6"')
    return tolerance


def same_output(expected: str, actual: str) -> bool:
    """Equal but for white space at the ends of lines and empty lines at the end."""
    return _lines(expected) == _lines(actual)


def _lines(text: str) -> list[str]:
    return [line.rstrip() for line in text.rstrip().split("\n")]


_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_WHOLE = re.compile(r"([+-]?)0*(\d+)", re.ASCII)


def _close_tokens(tolerance: float, expected: str, actual: str) -> bool:
    words, given = expected.split(), actual.split()
    if len(words) != len(given):
        return False
    differ = [pair for pair in zip(words, given, strict=True) if pair[0] != pair[1]]
    return all(_close_words(tolerance, word, other) for word, other in differ)


def _close_words(tolerance: float, expected: str, actual: str) -> bool:
    """Numbers that are close; of two whole ones the same digits, for no tolerance is meant for a count."""
    whole, given = _WHOLE.fullmatch(expected), _WHOLE.fullmatch(actual)
    if whole and given:
        return whole[2] == given[2] and (whole[2] == "0" or (whole[1] == "-") == (given[1] == "-"))
    if not (_NUMBER.fullmatch(expected) and _NUMBER.fullmatch(actual)):
        return False
    number = float(expected)
    return math.isfinite(number) and _close(tolerance, number, float(actual))


def _close(tolerance: float, expected: float, actual: float) -> bool:
    """Within the tolerance, of the expected number or of 1; an infinity or nan is close to itself alone.

    With tolerance 0, and of two whole numbers, equal by value: no difference of floats, which rounds, can say so.
    """
    if expected == actual or (expected != expected and actual != actual):
        return True
    if not tolerance or (type(expected) is int and type(actual) is int):
        return False
    try:
        distance, size = abs(expected - actual), abs(float(expected))
    except OverflowError:  # whole numbers beyond all floats
        return False
    return math.isfinite(size) and distance <= tolerance * max(1.0, size)


def same_value(expected: Any, actual: Any) -> bool:
    """Whether a call returned the expected value, which is JSON: no tuples there, and no keys but strings.

    Numbers are equal by value (5.0 passes for 5), true and false only to themselves, a tuple to the list of the same
    elements, a key to the string that JSON makes of it; nan to nan. A set, bytes and complex are equal to nothing.
    """
    return _same(0.0, expected, actual)


def _same(tolerance: float, expected: Any, actual: Any) -> bool:
    if type(expected) in (int, float):
        return type(actual) in (int, float) and _close(tolerance, expected, actual)
    if isinstance(expected, list):
        if not isinstance(actual, list | tuple) or len(expected) != len(actual):
            return False
        return all(_same(tolerance, one, other) for one, other in zip(expected, actual, strict=True))
    if isinstance(expected, dict):
        given = _string_keys(actual) if isinstance(actual, dict) else None
        if given is None or expected.keys() != given.keys():
            return False
        return all(_same(tolerance, one, given[key]) for key, one in expected.items())
    return type(expected) is type(actual) and bool(expected == actual)


def _string_keys(value: dict[Any, Any]) -> dict[str, Any] | None:
    """The dictionary as JSON has it; None where it has none, or two keys become one."""
    keys = [
        key if isinstance(key, str) else json.dumps(key) for key in value if isinstance(key, str | float | int | None)
    ]
    return dict(zip(keys, value.values(), strict=True)) if len(set(keys)) == len(value) else None


def _canonical(value: Any, levels: float) -> str:
    """A text that equal values share, whatever the order of sets and of the lists of so many outermost levels."""
    if isinstance(value, list | tuple | set | frozenset):
        parts = [_canonical(item, levels - 1) for item in value]
        any_order = levels > 0 or isinstance(value, set | frozenset)
        return f"[{','.join(sorted(parts) if any_order else parts)}]"
    if isinstance(value, dict):
        given = _string_keys(value)
        if given is None:
            return f"{type(value).__name__} without JSON"
        return f"{{{','.join(f'{json.dumps(key)}:{_canonical(given[key], levels - 1)}' for key in sorted(given))}}}"
    if type(value) is float and value.is_integer():
        value = int(value)
    if type(value) is int:
        return hex(value)
    return json.dumps(value) if isinstance(value, str | float | bool | None) else f"({type(value).__name__})"


def _same_in_any_case(expected: Any, actual: Any) -> bool:
    return _same(0.0, _folded(expected), _folded(actual))


def _folded(value: Any) -> Any:
    """The value with its texts, but no keys, in small letters."""
    if isinstance(value, str):
        return value.lower()
    if isinstance(value, list | tuple):
        return [_folded(item) for item in value]
    return {key: _folded(item) for key, item in value.items()} if isinstance(value, dict) else value


def _same_numbers(expected: str, actual: str) -> bool:
    """Whether outputs have as many lines, and each pair of lines is equal or holds equal decimals."""
    lines, given = expected.strip().split("\n"), actual.strip().split("\n")
    return len(lines) == len(given) and all(map(_same_decimals, lines, given))


def _same_decimals(expected: str, actual: str) -> bool:
    if expected.strip() == actual.strip():
        return True
    words, given = expected.split(), actual.split()
    if len(words) != len(given):
        return False
    try:
        return all(Decimal(one) == Decimal(other) for one, other in zip(words, given, strict=True))
    except DecimalException:  # a word, or a signaling nan, which is not even compared
        return False


def _equal_in_python(expected: Any, actual: Any) -> bool:
    """Equal, where a tuple outside counts as a list."""
    return bool((list(actual) if isinstance(actual, tuple) else actual) == expected)


def _alike(key: Callable[[Any], object]) -> Callable[[Any, Any], bool]:
    """Whether two things have the same key."""
    return lambda expected, actual: key(expected) == key(actual)


_PLAIN: dict[str, tuple[Callable[[str, str], bool], Callable[[Any, Any], bool]]] = {
    "lines": (same_output, same_value),
    "tokens": (_alike(str.split), same_value),
    "anycase": (_alike(lambda text: _lines(text.lower())), _same_in_any_case),
    "livecodebench": (_same_numbers, _equal_in_python),
    "unordered": (
        _alike(lambda text: Counter(filter(None, _lines(text)))),
        _alike(lambda value: _canonical(value, 1)),
    ),
    "unordered_tokens": (
        _alike(lambda text: Counter(text.split())),
        _alike(lambda value: _canonical(value, math.inf)),
    ),
}
