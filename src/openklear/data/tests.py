"""The tests of a row, of any kind, read off its columns.

    {"stdin", "stdout"} or {"input", "output"}   a run of the program
    {"call", "args", "expected"}                 a call of a function; args and expected both JSON, or both JSON text
    a string                                     code that asserts

A list of them, or its JSON text. Fields that are null count as absent, for Parquet gives every object all of them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from openklear.errors import DataError
from openklear.types import AnyTest, AssertTest, CallTest, Test

WANTED = "a list of {input, output}, of {call, args, expected} or of assert strings"
_TEXTS = (("input", "output"), ("stdin", "stdout"))


def parse_tests(value: Any, where: str) -> tuple[AnyTest, ...]:
    """The tests, in order; none for nothing. DataError, with `where`, for what is none."""
    if isinstance(value, str) and value.strip():
        try:
            value = json.loads(value)
        except (ValueError, RecursionError) as error:
            message = error.msg if isinstance(error, json.JSONDecodeError) else str(error)
            raise DataError(
                f"{where}: tests is text, but not the JSON of {WANTED}: {message}; write {WANTED}"
            ) from error
    if value is None or value == "":
        return ()
    if not isinstance(value, list):
        raise _wrong("tests", value, WANTED, where)
    return tuple(_test(test, f"tests[{index}]", where) for index, test in enumerate(value))


def texts(test: AnyTest) -> tuple[str, ...]:
    """All text of a test."""
    return tuple(getattr(test, name) for name in test.__slots__)


def _test(value: Any, here: str, where: str) -> AnyTest:
    if isinstance(value, str) and value.strip():
        return AssertTest(value)
    if isinstance(value, dict):
        for given, expected in _TEXTS:
            if isinstance(value.get(given), str) and isinstance(value.get(expected), str):
                return Test(value[given], value[expected])
        if value.get("call") is not None:
            return _call(value, here, where)
        if isinstance(value.get("code"), str) and value["code"].strip():
            return AssertTest(value["code"])
    wanted = "an object with input and output (or stdin and stdout), both strings, or with call, args and expected"
    raise _wrong(here, value, f"{wanted}, or an assert string", where)


def _call(value: Mapping[str, Any], here: str, where: str) -> CallTest:
    call, arguments = value["call"], value.get("args")
    if not isinstance(call, str) or not call.strip():
        raise _wrong(f"{here}.call", call, "the name of a function", where)
    if "expected" not in value:
        raise _wrong(here, value, "an object with call, args and expected", where)
    expected, wanted = value["expected"], "an array of arguments or an object of named ones"
    if not isinstance(arguments, str):
        if not isinstance(arguments, list | dict):
            raise _wrong(f"{here}.args", arguments, wanted, where)
        return CallTest(call, json.dumps(arguments), json.dumps(expected))
    if not isinstance(expected, str):
        raise _wrong(f"{here}.expected", expected, "JSON text, like args,", where)
    for name, text in (("args", arguments), ("expected", expected)):
        try:
            parsed = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise _wrong(f"{here}.{name}", text, "JSON text", where) from error
        if name == "args" and not isinstance(parsed, list | dict):
            raise _wrong(f"{here}.args", text, wanted, where)
    return CallTest(call, arguments, expected)


def _wrong(column: str, value: Any, wanted: str, where: str) -> DataError:
    shown = repr(value)
    shown = shown if len(shown) <= 60 else f"{shown[:57]}..."
    return DataError(f"{where}: {column} is {shown}, but {wanted} is expected; correct the row or rename the column")
