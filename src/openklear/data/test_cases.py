"""The tests of a row, of any kind, read from its columns.

    {"stdin", "stdout"} or {"input", "output"}   a run of the program
    {"call", "args", "expected"}                 a call of a function; args and expected both JSON, or both JSON text
    a string                                     code that asserts

A list of them, or its JSON text. Fields that are null count as absent, for Parquet gives every object all of them.

An {"input", "output"} that says it is functional ("testtype": "functional", LiveCodeBench; "type": "function_call",
SYNTHETIC-1) or names a function ("fn_name", "func_name", "metadata") is a call: of its input the JSON of one argument a
line, or the list of them. The row may name the function for all its tests. It is never run over stdin: without a name
it is an error.

Data sets of programs from contests hold {"inputs", "outputs", "fn_name"} instead (APPS, TACO, PRIME, verl), and
function tests as code with one `check(candidate)` (`in_out_tests`, `check_tests`).
"""

from __future__ import annotations

import ast
import json
import reprlib
from collections.abc import Mapping
from typing import Any

from openklear.errors import DataError
from openklear.types import AnyTest, AssertTest, CallTest, Test

WANTED = "a list of {input, output}, of {call, args, expected} or of assert strings"
_TEXTS = (("input", "output"), ("stdin", "stdout"))
_CALLS = ("functional", "function_call", "function", "call", "call_based")
_RUNS = ("stdin", "stdio", "stdin_stdout", "standard_input")
_SHOWN = reprlib.Repr()
_SHOWN.maxstring = _SHOWN.maxother = 60


def parse_tests(value: Any, where: str, column: str = "tests", function: str | None = None) -> tuple[AnyTest, ...]:
    """The tests, in order; none for an empty cell. DataError, with `where`, for anything else.

    `function` is called by functional tests that do not name one.
    """
    tests = listed(value, column, WANTED, where)
    outputs = [test.get("output") for test in tests if isinstance(test, dict) and isinstance(test.get("input"), list)]
    wrapped = bool(outputs) and _all_wrapped(outputs)
    return tuple(_test(test, f"{column}[{index}]", where, function, wrapped) for index, test in enumerate(tests))


def function_named(row: Mapping[str, Any]) -> str | None:
    """The function that a row, or a test, says is called: its fn_name or func_name, or that of its metadata."""
    metadata = as_json(row.get("metadata"))
    for place in (row, metadata if isinstance(metadata, Mapping) else {}):
        for name in ("fn_name", "func_name"):
            found = place.get(name)
            if isinstance(found, str) and found.strip():
                return found.strip()
    return None


def in_out_tests(value: Any, where: str, column: str, function: str | None = None) -> tuple[AnyTest, ...]:
    """The tests of {"inputs", "outputs"} or its JSON text; with "fn_name", or a `function`, they are calls of it.

    An input or output of a program may be a list of lines. The arguments of a call are a list, or text with the JSON of
    one a line and the result's JSON as output. Where every output is a list of one, as APPS and TACO store results,
    the one is meant. verl's sandbox scorer knows "assert_case" beside them: code that asserts, each on its own.
    """
    value = from_cell(value, column, "{inputs, outputs}", where)
    if value is None:
        return ()
    if not isinstance(value, dict) or not ({"inputs", "outputs"} <= value.keys() or "assert_case" in value):
        raise wrong(column, value, "an object with inputs and outputs", where)
    if value.get("assert_case"):
        return parse_tests(value["assert_case"], where, f"{column}.assert_case")
    inputs, outputs = value["inputs"], value["outputs"]
    for kind, given in (("inputs", inputs), ("outputs", outputs)):
        if not isinstance(given, list):
            raise wrong(f"{column}.{kind}", given, "a list", where)
    if len(inputs) != len(outputs):
        what = f"{column} has {len(inputs)} inputs and {len(outputs)} outputs"
        raise DataError(f"{where}: {what}; correct or remove the row")
    name = value.get("call") or value.get("fn_name") or function_named(value)
    name = _called_by(value, name or function, column, where)
    if not name:
        return tuple(_run(given, expected, column, where) for given, expected in zip(inputs, outputs, strict=True))
    results = [output[0] for output in outputs] if _all_wrapped(outputs) else outputs
    return tuple(_called(name, *pair, column, where) for pair in zip(inputs, results, strict=True))


def check_tests(code: str) -> tuple[AnyTest, ...]:
    """Code that defines `check(candidate)` and calls it: a test for every assert of it, or one for the whole.

    It is split where the body holds nothing but asserts on lines of their own, so that shares of passed tests and
    numbers of tests mean what they say.
    """
    try:
        tree = ast.parse(code)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return (AssertTest(code),)  # the judge says what is wrong with it
    match tree.body:
        case [*_, ast.FunctionDef() as check, ast.Expr(ast.Call(ast.Name(name)))] if name == check.name:
            body = check.body
        case _:
            return (AssertTest(code),)
    starts = [statement.lineno for statement in body]
    ends = [statement.end_lineno or statement.lineno for statement in body]
    alone = all(end < start for end, start in zip(ends, starts[1:], strict=False))
    if not alone or not all(isinstance(statement, ast.Assert) for statement in body):
        return (AssertTest(code),)
    text = code.split("\n")
    before, after = text[: starts[0] - 1], text[ends[-1] :]
    parts = (text[start - 1 : end] for start, end in zip(starts, ends, strict=True))
    return tuple(AssertTest("\n".join([*before, *part, *after])) for part in parts)


def texts(test: AnyTest) -> tuple[str, ...]:
    """All text of a test."""
    return tuple(getattr(test, name) for name in test.__slots__)


def from_json(text: str, column: str, wanted: str, where: str) -> Any:
    """The value of JSON text in a cell; DataError where it is not valid JSON."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        message = error.msg if isinstance(error, json.JSONDecodeError) else str(error)
        raise DataError(
            f"{where}: {column} is text, but not the JSON of {wanted}: {message}; write {wanted}"
        ) from error


def as_json(value: Any) -> Any:
    """The value of JSON text; anything else, text that is no JSON too, as it is."""
    try:
        return json.loads(value) if isinstance(value, str) else value
    except (ValueError, RecursionError):
        return value


def from_cell(value: Any, column: str, wanted: str, where: str) -> Any:
    """The value of a cell, or of the JSON text in it; None for an empty one."""
    found = from_json(value, column, wanted, where) if isinstance(value, str) and value.strip() else value
    return None if found == "" else found


def listed(value: Any, column: str, wanted: str, where: str) -> list[Any]:
    """The list in a cell, or in its JSON text; empty for an empty one. DataError for anything else."""
    found = from_cell(value, column, wanted, where)
    if found is not None and not isinstance(found, list):
        raise wrong(column, found, wanted, where)
    return found or []


def to_json(value: Any, column: str, where: str, *, sort_keys: bool = False) -> str:
    """JSON text of a value; DataError where JSON cannot express it."""
    try:
        return json.dumps(value, sort_keys=sort_keys)
    except (TypeError, ValueError, RecursionError) as error:
        raise wrong(column, value, "a value of JSON", where) from error


def wrong(column: str, value: Any, wanted: str, where: str) -> DataError:
    """The error for a column of a wrong type."""
    shown = _SHOWN.repr(value)
    shown = shown if len(shown) <= 60 else f"{shown[:57]}..."
    return DataError(f"{where}: {column} is {shown}, but {wanted} is expected; correct the row or rename the column")


def _all_wrapped(outputs: list[Any]) -> bool:
    return all(isinstance(output, list) and len(output) == 1 for output in outputs)


def _called_by(value: Mapping[str, Any], name: Any, here: str, where: str) -> str | None:
    """The function that a test calls; None for a run. DataError where it says what it is, but not enough or unknown."""
    kind = str(value.get("testtype") or "").strip().lower()
    if not kind and value.get("type") in [*_CALLS, *_RUNS]:  # in other sets a type means other things
        kind = value["type"]
    if kind in _RUNS:
        return None
    if kind and kind not in _CALLS:
        raise wrong(f"{here}.testtype", value["testtype"], "stdin or functional", where)
    if kind and not name:
        what = f"{here} is functional, but nothing names its function"
        raise DataError(f"{where}: {what}; give it fn_name, or the row metadata with func_name")
    if name and not isinstance(name, str):
        raise wrong(f"{here}.fn_name", name, "the name of a function", where)
    return name or None


def _test(value: Any, here: str, where: str, function: str | None, wrapped: bool) -> AnyTest:
    if isinstance(value, str) and value.strip():
        return AssertTest(value)
    if isinstance(value, dict):
        for given, expected in _TEXTS:
            if value.get(given) is not None and value.get(expected) is not None:
                found = _input_output(value, (given, expected), here, where, function, wrapped)
                if found is not None:
                    return found
        if value.get("call") is not None:
            return _call(value, here, where)
        if isinstance(value.get("code"), str) and value["code"].strip():
            return AssertTest(value["code"])
    wanted = "an object with input and output (or stdin and stdout), both strings, or with call, args and expected"
    raise wrong(here, value, f"{wanted}, or an assert string", where)


def _input_output(
    value: Mapping[str, Any], names: tuple[str, str], here: str, where: str, function: str | None, wrapped: bool
) -> AnyTest | None:
    """A run, or a call; None for what is neither.

    Where it is "stdin" it is a call only if it says so itself, whatever the row names.
    """
    given, expected = (value[name] for name in names)
    said = "stdin" not in names or value.get("testtype")
    named = value.get("call") or value.get("fn_name") or function_named(value) or (said and function)
    if name := _called_by(value, named, here, where):
        if wrapped and isinstance(given, list):
            expected = expected[0]
        return _called(name, given, expected, here, where)
    return Test(given, expected) if isinstance(given, str) and isinstance(expected, str) else None


def _call(value: Mapping[str, Any], here: str, where: str) -> CallTest:
    call, arguments = value["call"], value.get("args")
    if not isinstance(call, str) or not call.strip():
        raise wrong(f"{here}.call", call, "the name of a function", where)
    if "expected" not in value:
        raise wrong(here, value, "an object with call, args and expected", where)
    expected, wanted = value["expected"], "an array of arguments or an object of named ones"
    if not isinstance(arguments, str):
        if not isinstance(arguments, list | dict):
            raise wrong(f"{here}.args", arguments, wanted, where)
        return CallTest(call, to_json(arguments, f"{here}.args", where), to_json(expected, f"{here}.expected", where))
    if not isinstance(expected, str):
        raise wrong(f"{here}.expected", expected, "JSON text, like args,", where)
    for name, text in (("args", arguments), ("expected", expected)):
        try:
            parsed = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise wrong(f"{here}.{name}", text, "JSON text", where) from error
        if name == "args" and not isinstance(parsed, list | dict):
            raise wrong(f"{here}.args", text, wanted, where)
    return CallTest(call, arguments, expected)


def _run(given: Any, expected: Any, column: str, where: str) -> Test:
    return Test(_lines(given, f"{column}.inputs", where), _lines(expected, f"{column}.outputs", where))


def _lines(value: Any, column: str, where: str) -> str:
    if isinstance(value, list) and all(isinstance(line, str) for line in value):
        return "\n".join(value)
    if not isinstance(value, str):
        raise wrong(column, value, "text, or a list of lines", where)
    return value


def _called(name: str, given: Any, expected: Any, column: str, where: str) -> CallTest:
    if isinstance(given, str):
        wanted = "the JSON of one argument a line"
        lines = given.strip("\n").split("\n") if given.strip() else []
        arguments = [from_json(line, f"{column}.inputs", wanted, where) for line in lines]
        result = from_json(_lines(expected, f"{column}.outputs", where), f"{column}.outputs", "the result", where)
        return CallTest(name, to_json(arguments, column, where), to_json(result, column, where))
    if not isinstance(given, list | dict):
        raise wrong(f"{column}.inputs", given, "a list of arguments", where)
    return CallTest(name, to_json(given, column, where), to_json(expected, column, where))
