"""Rows of stored generations: what a row asks of the judge, and the row with its verdict.

    math   {"id", "reference", "completion"}            and, if wanted, "prompt_tail"; of a reference that is a whole
                                                        solution the final answer is taken (`openklear.data.finals`)
    code   {"id", "program" | "completion", "tests"}    and, if wanted, "checker", "prompt_tail", "problem" | "prompt",
                                                        "fn_name" | "func_name" | "metadata" (of functional tests)

`tests` is a list of {"stdin", "stdout"}, of {"call", "args", "expected"} or of assert strings, or the JSON text of such
a list (`openklear.data.test_cases`). A program is graded as it stands; from a completion it is extracted. Other fields
are left alone. A row comes back as it was, with `verdict`, `reason`, `passed`, `total` and `seconds` at its end,
instead of any it had before.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from difflib import get_close_matches
from typing import Any

from openklear.data.finals import NO_ANSWER, final_answer
from openklear.data.test_cases import function_named, parse_tests
from openklear.errors import DataError, UsageError
from openklear.types import AnyTest, Attempt, Message, Outcome, Problem, Verdict
from openklear.verifiers.answers import extract_answer
from openklear.verifiers.checkers import checker
from openklear.verifiers.domains import domain_named

VERDICT_FIELDS = ("verdict", "reason", "passed", "total", "seconds")
INPUT_FIELDS = (
    *("id", "reference", "completion", "prompt_tail", "program", "tests", "checker", "problem", "prompt"),
    *("fn_name", "func_name", "metadata"),
)
"""Every field that grading looks at."""
_OTHER_NAMES = {
    "reference": ("answer", "ground_truth", "gold", "target", "solution"),
    "completion": ("response", "output", "generation", "prediction", "generated_text", "text"),
    "program": ("code", "solution", "generated_code"),
    "tests": ("test", "test_cases", "test_list", "input_output", "inputs_outputs"),
}
"""What other projects call a field: the error for a row that lacks the field says to rename it."""
_MOST_SHOWN = 60
_MOST_NAMES = 12

MALFORMED = "malformed row"
"""How the reason of a row begins that asks nothing which could be judged."""


def to_attempt(row: Mapping[str, Any], kind: str, checkers: Collection[str] = ()) -> Attempt:
    """What the row asks of the judge. DataError (without the row's place) says which field is wrong and what to do.

    `checkers`: those of the user's own (`module:function`) that rows may name.
    """
    tested = domain_named(kind).tested
    program = _text(row, "program") if tested else None
    if tested and program is None and row.get("completion") is None:
        raise _missing(row, "program", "completion")
    if program is not None and row.get("completion") is not None:
        raise DataError("the row has both program and completion; take one of them out, or rename it")
    asked: dict[str, Any]
    asked = {"tests": _tests(row), "checker": _checker(row, checkers)} if tested else {"answer": _reference(row, kind)}
    problem = Problem(str(row.get("id", "")), _prompt(row), kind, **asked)
    if program is not None:
        return Attempt(problem, program, exact=True)
    completion = _text(row, "completion")
    if completion is None:
        raise _missing(row, "completion")
    return Attempt(problem, completion, _text(row, "prompt_tail") or "")


def _reference(row: Mapping[str, Any], kind: str) -> str:
    """The reference; of a text that is more than an answer (GSM8K's solutions) its final answer."""
    reference = row.get("reference")
    if isinstance(reference, float) and reference.is_integer():
        reference = int(reference)  # whole numbers with a gap come out of data frames as 5.0
    if reference is None or (isinstance(reference, str) and not reference.strip()):
        raise _missing(row, "reference")
    if isinstance(reference, bool) or not isinstance(reference, str | int | float):
        raise _wrong("reference", reference, "a string or a number")
    text = str(reference).strip()
    if domain_named(kind).extract is not extract_answer:
        return text
    found = final_answer(text)
    if found is None:
        raise DataError(
            f"reference is a text with {NO_ANSWER}: {text[-_MOST_SHOWN:]!r}; give the row the answer itself"
        )
    return found


def _tests(row: Mapping[str, Any]) -> tuple[AnyTest, ...]:
    try:
        tests = parse_tests(row.get("tests"), "row", function=function_named(row))
    except DataError as error:
        raise DataError(str(error).removeprefix("row: ")) from error
    if not tests:
        raise _missing(row, "tests")
    return tests


def _checker(row: Mapping[str, Any], allowed: Collection[str]) -> str | None:
    name = _text(row, "checker") or None
    if name is not None and ":" in name and not name.startswith("float:") and name not in allowed:
        raise DataError(
            f"checker {name[:_MOST_SHOWN]} is code, which no row may choose by itself; allow it with --checker, or "
            "take one of ours"
        )
    try:
        checker(name)
    except UsageError as error:
        raise DataError(str(error)) from error
    return name


def _prompt(row: Mapping[str, Any]) -> tuple[Message, ...]:
    """The problem's statement, where the row has it as text."""
    value = row.get("problem", row.get("prompt"))
    return (Message(role="user", content=value),) if isinstance(value, str) else ()


def _text(row: Mapping[str, Any], name: str) -> str | None:
    value = row.get(name)
    if value is None or isinstance(value, str):
        return value
    raise _wrong(name, value, "a string")


def _missing(row: Mapping[str, Any], *names: str) -> DataError:
    """Where a field is missing or empty: what the row has instead."""
    wanted = " or ".join(names)
    if any(name in row for name in names):
        what = f"{wanted} is empty"
    else:
        has = [*map(str, list(row)[:_MOST_NAMES]), *(["..."] if len(row) > _MOST_NAMES else [])]
        what = f"{wanted} is missing (the row has {', '.join(has) or 'no fields'})"
    for name in names:
        near = [other for other in _OTHER_NAMES[name] if other in row] or get_close_matches(name, map(str, row), n=1)
        near = [other for other in near if other not in INPUT_FIELDS]
        if near:
            return DataError(f"{what}; is it {near[0]}? Then rename that to {name}")
    return DataError(f"{what}; give every row one")


def _wrong(name: str, value: Any, wanted: str) -> DataError:
    shown = repr(value)
    shown = shown if len(shown) <= _MOST_SHOWN else f"{shown[: _MOST_SHOWN - 3]}..."
    return DataError(f"{name} is {shown}, but {wanted} is expected; correct the row")


def verdict_fields(verdict: Verdict) -> dict[str, Any]:
    """The fields that a graded row gains, in their order. All but `seconds` is the same in every run."""
    return {
        "verdict": verdict.outcome.value,
        "reason": verdict.reason.encode("utf-8", "replace").decode(),  # a program's error may hold half a character
        "passed": verdict.passed,
        "total": verdict.total,
        "seconds": round(verdict.seconds, 6),
    }


def graded(row: Mapping[str, Any], fields: Mapping[str, Any]) -> dict[str, Any]:
    """The row with its verdict at the end."""
    return {name: value for name, value in row.items() if name not in VERDICT_FIELDS} | dict(fields)


def dumps(row: Mapping[str, Any]) -> bytes:
    """A row as one line of UTF-8."""
    try:
        return json.dumps(row, ensure_ascii=False).encode() + b"\n"
    except UnicodeEncodeError:  # half a character, which model output can hold, has only an escaped form
        return json.dumps(row).encode() + b"\n"


def malformed(error: DataError) -> Verdict:
    """The verdict of a row that asks nothing that could be judged."""
    return Verdict(Outcome.UNSCORABLE, f"{MALFORMED}: {error}")
