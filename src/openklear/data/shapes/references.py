"""What a row's answers are compared with: a final answer, tests, a reference solution."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from openklear.data.finals import final_answer
from openklear.data.private_tests import read_private
from openklear.data.shapes.columns import ANSWERS, SOLUTIONS, Columns, scalar, table
from openklear.data.shapes.replies import inferences
from openklear.data.test_cases import (
    as_json,
    check_tests,
    function_named,
    in_out_tests,
    listed,
    parse_tests,
    to_json,
    wrong,
)
from openklear.types import AnyTest, AssertTest
from openklear.verifiers.answers import extract_answer
from openklear.verifiers.domains import DOMAINS

Tests = tuple[AnyTest, ...]
_SHOWN = 60


def answer_of(columns: Columns, domain: str) -> tuple[str | None, str]:
    """The reference answer, and why there is none though the row has a text: it holds no final answer.

    Where attempts answer with an expression, it is the final answer of what the row holds (`data.finals`).
    """
    given = _given(columns, domain)
    if given is None or DOMAINS[domain].extract is not extract_answer:
        return given, ""
    found = final_answer(given)
    return (found, "") if found is not None else (None, f"the reference ends with {given[-_SHOWN:].strip()!r}")


def _given(columns: Columns, domain: str) -> str | None:
    """The reference as the row has it; a structure that is no text, number or tests becomes JSON with sorted keys."""
    name = columns.first(ANSWERS)
    if name in ("answer", "gtruth_answer"):
        return scalar(columns.row[name], name, columns.where)
    place, value = _truth(columns)
    if value is None or (DOMAINS[domain].tested and _holds_tests(value)):
        return None
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    if isinstance(value, dict | list) and value:
        return to_json(value, place, columns.where, sort_keys=True)
    return scalar(value, place, columns.where)


def tests_of(columns: Columns, domain: str) -> Tests:
    """The tests, of the first kind that the row has; those of data sets of programs only for domains with tests."""
    if columns.has("tests"):
        return _tests(columns)
    if not DOMAINS[domain].tested:
        return ()
    for names, read in _KINDS:
        if columns.has(*names):
            return read(columns)
    place, value = _truth(columns)
    return _of_truth(value, place, columns) if _holds_tests(value) else ()


def solution_of(columns: Columns) -> str | None:
    """The first reference solution."""
    if columns.has("content", "test"):
        return None  # SandboxFusion's is a program that does nothing
    if columns.has("prompt", "entry_point", "canonical_solution"):
        return columns.text("prompt") + columns.text("canonical_solution")
    for name in SOLUTIONS:
        found = _first_text(columns.row.get(name), name)
        if found is not None:
            return found
        if name in columns.asked and columns.has(name):
            raise wrong(name, columns.row[name], "a string", columns.where)
    if columns.has("inferences", "test_cases"):
        passing = (item.get("completion") for item in inferences(columns) if item.get("pass_rate") == 1.0)
        return next((text for text in passing if isinstance(text, str)), None)
    return None


def _first_text(value: Any, name: str) -> str | None:
    if name == "solutions" and isinstance(value, str) and value.lstrip().startswith("["):
        found = as_json(value)
        value = None if found is value else found
    if isinstance(value, list):
        value = next((item for item in value if isinstance(item, str) and item.strip()), None)
    return value if isinstance(value, str) and value.strip() else None


def _truth(columns: Columns) -> tuple[str, Any]:
    """ground_truth, or verl's reward_model.ground_truth, with the name of its place."""
    if columns.row.get("ground_truth") is not None:
        return "ground_truth", columns.row["ground_truth"]
    return "reward_model.ground_truth", table(columns, "reward_model").get("ground_truth")


def _holds_tests(value: Any) -> bool:
    """Whether a ground truth is tests: a list of them, {inputs, outputs}, or the JSON text of either."""
    if isinstance(value, str):
        return isinstance(as_json(value), list | dict)
    return isinstance(value, list) or (isinstance(value, dict) and "inputs" in value)


def _of_truth(value: Any, place: str, columns: Columns) -> Tests:
    value = as_json(value)
    read = in_out_tests if isinstance(value, dict) else parse_tests
    return read(value, columns.where, place, function_named(columns.row))


def _tests(columns: Columns) -> Tests:
    value = columns.row["tests"]
    if isinstance(value, str) and columns.has("reference_solution") and as_json(value) is value:
        return check_tests(value)
    return parse_tests(value, columns.where, function=function_named(columns.row))


def _inputs_outputs(columns: Columns) -> Tests:
    value = {name: columns.row.get(name) for name in ("inputs", "outputs", "fn_name")}
    return in_out_tests(value, columns.where, "row", function_named(columns.row))


def _mbpp(columns: Columns) -> Tests:
    """Asserts, each after the set's own set-up code."""
    asserts = parse_tests(columns.row["test_list"], columns.where, "test_list")
    imports = columns.row.get("test_imports")
    setup = [line for line in imports if isinstance(line, str)] if isinstance(imports, list) else []
    before = "\n".join([*setup, *filter(None, [columns.text("test_setup_code")])])
    return tuple(AssertTest(f"{before}\n{t.code}") if before and isinstance(t, AssertTest) else t for t in asserts)


def _humaneval(columns: Columns) -> Tests:
    return (AssertTest(f"{columns.text('test')}\ncheck({columns.text('entry_point')})"),)


def _sandbox(columns: Columns) -> Tests:
    stored = read_private(columns.text("test"), "test", columns.where)
    value = stored if isinstance(stored, str) else stored.get("input_output", "")
    return in_out_tests(value, columns.where, "test")


def _livecodebench(columns: Columns) -> Tests:
    """Public tests, then private ones; functional ones call the function that the metadata name."""
    found: list[Any] = []
    for name in ("public_test_cases", "private_test_cases"):
        value = columns.row.get(name)
        if isinstance(value, str) and value.strip() and value.lstrip()[:1] not in ("[", "{"):
            stored = read_private(value, name, columns.where)
            value = stored if isinstance(stored, str) else ""
        found += listed(value, name, "a list of {input, output, testtype}", columns.where)
    for index, test in enumerate(found):
        if not isinstance(test, dict) or not {"input", "output"} <= test.keys():
            raise wrong(f"test {index}", test, "an object with input and output", columns.where)
    return parse_tests(found, columns.where, "the tests", function_named(columns.row))


_KINDS: tuple[tuple[tuple[str, ...], Callable[[Columns], Tests]], ...] = (
    (("test_cases",), lambda c: _of_truth(c.row["test_cases"], "test_cases", c)),
    (("input_output",), lambda c: in_out_tests(c.row["input_output"], c.where, "input_output", function_named(c.row))),
    (("inputs", "outputs"), _inputs_outputs),
    (("public_test_cases",), _livecodebench),
    (("private_test_cases",), _livecodebench),
    (("test_list",), _mbpp),
    (("test", "entry_point"), _humaneval),
    (("test", "content"), _sandbox),
)
"""Columns that must hold something, and how the tests are read off them."""
