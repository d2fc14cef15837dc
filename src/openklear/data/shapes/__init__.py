"""What a row of a public data set means, told from its columns.

Demonstrations have one of these shapes; the first that fits is taken.

    OpenR1-Math     problem, generations [text], correctness_math_verify [truth value]: a row for each generation
    messages        messages [{role, content, reasoning_content | reasoning | thinking}], ending with the assistant's
                    turn; or with the user's, beside one of the columns that hold an answer below
    ShareGPT        conversations [{from, value}] (`shapes.turns` has the roles); OpenThoughts too
    plain           prompt | problem | question (text or messages) with response or completion (text or messages, of
                    which the last answers and the others stand in the prompt)
    OpenAI API      the same with choices [{message: {content, reasoning_content | reasoning}}], also inside response
    R1 API          the same with message_thinking and message_content
    s1K             question, {gemini, deepseek}_thinking_trajectory and _attempt, or thinking_trajectories and attempt
    AceCoder        question, inferences [{completion, model_name, pass_rate}]: a row for each
    Alpaca          instruction, input, output
    Nemotron        input (text or messages), output

Problems, and the sets that training is measured by, have a prompt

    plain           prompt | problem | question (text or messages): verl, ROLL, open-instruct, DeepScaleR, APPS, TACO
    others          messages | conversations | instruction | question_content (LiveCodeBench) | content
                    (LiveCodeBench as SandboxFusion ships it) | text (MBPP)

and with it what answers are compared with (benchmarks that are only kept out of training need none)

    an answer       answer | gtruth_answer | ground_truth | reward_model.ground_truth: text or a number, or a structure,
                    which becomes JSON text with sorted keys (knights and knaves)
    tests           tests (openklear.data.test_cases; with reference_solution also code that defines check) | test_cases
                    (AceCoder) | input_output {inputs, outputs, fn_name} (APPS, TACO) | inputs and outputs |
                    public_test_cases and private_test_cases (LiveCodeBench) | test_list (MBPP) | test (HumanEval,
                    SandboxFusion) | ground_truth, where it holds tests (verl, open-instruct)

Of a text that is more than an answer (GSM8K's solution with its ####, MATH's with its box) the final answer is taken
(openklear.data.finals); a row whose text has none is dropped.

Besides, in every shape: system | system_prompt (the first turn), history (pairs or messages, before the question),
solution | solutions | reference_solution | canonical_solution | code, level | difficulty,
id | task_id | question_id | problem_id | uuid | unique_id | extra_info.id, teacher | model | model_name | generator,
claimed | correct | is_correct | math_verify, thinking | reasoning_content | message_thinking | reasoning (reasoning
that is kept apart: it is put before the answer, between <think> and </think>), domain (or verl's ability), checker
(openklear.verifiers.checkers), starter_code (put after the prompt). A row is dropped that says more than a prompt can
carry: tools | functions, image(s) | video(s) | audio(s), chat_template_kwargs. Other columns are left alone.

Where no shape fits, or another is meant, the recipe maps our column to the file's: columns = { response = "solution",
answer = "meta.gold" }. An empty name takes a column away: columns = { tools = "" }.

`openklear.data.reading` says which faults are of a row, which goes, and which of a file, which is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from itertools import chain
from typing import Any

from openklear.data.finals import NO_ANSWER
from openklear.data.rows import Dropped, Row
from openklear.data.shapes.columns import IDS, LEVELS, Columns, lenient, renamed, scalar, table
from openklear.data.shapes.known import Role, find_shape
from openklear.data.shapes.prompts import TALKS, asked, not_carried
from openklear.data.shapes.references import answer_of, solution_of, tests_of
from openklear.data.shapes.replies import Reply, from_turns
from openklear.data.shapes.turns import NO_RESPONSE, Turns
from openklear.data.test_cases import texts as test_texts
from openklear.data.test_cases import wrong
from openklear.errors import DataError, UsageError
from openklear.think import OPEN
from openklear.types import Problem
from openklear.verifiers.checkers import checker
from openklear.verifiers.domains import DOMAINS

__all__ = ["Role", "find_shape", "parse_rows"]
PREFILLED = "a prompt that ends with the assistant's turn"
"""Reason."""


def parse_rows(
    raw: Mapping[str, Any],
    where: str,
    *,
    role: Role,
    source: str,
    domain: str | None,
    mapping: Mapping[str, str] | None = None,
) -> list[Row | Dropped]:
    """Make rows of a row of the file, one for each response; those that cannot be used are dropped with a reason.

    `mapping` leads from our columns to the file's. Raises DataError, with `where` and the column, for an unknown shape
    or a column of a wrong type; RowFault where the row is understood and holds what no prompt can carry.
    """
    columns = renamed(raw, mapping, where)
    shape = find_shape(columns.row, role, where)
    turns = asked(columns, shape.columns[0])
    found: list[Reply] = []
    if role == "demonstrations":
        found = shape.replies(columns) if shape.replies else from_turns(columns, turns)
        found = found or [Reply(None, reason=NO_RESPONSE)]
    talk = not TALKS.isdisjoint(shape.columns[0])
    if turns and turns[-1]["role"] == "assistant":
        if not talk:
            found = [_continued(turns[-1]["content"], reply) for reply in found or [Reply(None)]]
        turns = turns[:-1]
    problem, fault = _problem(columns, turns, role, source, domain)
    solution = None if role == "benchmark" else solution_of(columns)
    return [_row(problem, reply, columns, solution, role, fault) for reply in found or [Reply(None)]]


def _problem(
    columns: Columns, turns: Turns, role: Role, source: str, domain: str | None
) -> tuple[Problem, tuple[str, str] | None]:
    """The problem without its id, and why it cannot be used."""
    found_domain = _domain(columns, domain)
    plain = role == "benchmark"
    answer, missing = (None, "") if plain else answer_of(columns, found_domain)
    problem = Problem(
        id="",
        prompt=turns,
        domain=found_domain,
        answer=answer,
        tests=() if plain else tests_of(columns, found_domain),
        checker=None if plain else _checker(columns),
        level=_level(columns),
        source=source,
    )
    fault = None if plain else not_carried(columns)
    if fault is None and missing and role != "demonstrations":
        fault = NO_ANSWER, missing
    return DOMAINS[found_domain].complete(problem), fault


def _continued(begun: str, reply: Reply) -> Reply:
    """The answer to a prompt that ends with the assistant's own turn: it goes on where that is an opened thought."""
    if begun.strip() in (OPEN, (reply.text or "").strip()):
        text = reply.text
        goes_on = text is not None and begun.strip() == OPEN and not text.lstrip().startswith(OPEN)
        return replace(reply, text=f"{begun}{text}") if goes_on else reply
    return replace(reply, reason=PREFILLED, detail="it is not known whether the answer goes on or begins anew")


def _row(
    problem: Problem,
    reply: Reply,
    columns: Columns,
    solution: str | None,
    role: Role,
    fault: tuple[str, str] | None,
) -> Row | Dropped:
    if reply.before:
        whole = reply.before[: len(problem.prompt)] == problem.prompt  # it repeats the prompt
        problem = replace(problem, prompt=reply.before if whole else problem.prompt + reply.before)
    own = "/".join(filter(None, (_own_id(columns, problem), reply.name)))
    prefix = f"{problem.source}/"  # it keeps the ids of two files apart
    named = replace(problem, id=own if own.startswith(prefix) else prefix + own)
    row = Row(named, columns.where, reply.text, solution, reply.teacher, reply.claimed)
    reason, detail = _says_nothing(row, role) or "", ""
    if reason in ("", NO_RESPONSE) and reply.reason:
        reason, detail = reply.reason, reply.detail
    elif not reason and fault:
        reason, detail = fault
    return Dropped(row, reason, detail.removeprefix(f"{columns.where}: ")) if reason else row


def _own_id(columns: Columns, problem: Problem) -> str:
    """The row's id, or a hash of its prompt."""
    own = lenient(columns, IDS)
    if own is None:
        value = table(columns, "extra_info").get("id")
        own = value if isinstance(value, str) and value else None
    return own or problem.content_hash


def _domain(columns: Columns, wanted: str | None) -> str:
    """The row's column, or the recipe's; where both know a domain they must agree. Neither: verl's `ability`."""
    value = columns.row.get("domain")
    found = next((name for name in DOMAINS if value == name), None)
    if found and wanted and found != wanted:
        raise DataError(
            f'{columns.where}: domain is "{found}", but the recipe says this source is "{wanted}"; '
            "take domain out of the recipe's source, or correct the row"
        )
    for known in (found, wanted, *(name for name in DOMAINS if columns.row.get("ability") == name)):
        if known:
            return known
    written = " or ".join(f'domain = "{name}"' for name in DOMAINS)
    what = "there is no domain" if value is None else f"domain is {value!r:.60}"
    raise DataError(f"{columns.where}: {what}; write {written} into the recipe's source or the row")


def _level(columns: Columns) -> str | None:
    found = lenient(columns, LEVELS)
    if found is not None:
        return found
    for name, key in (("labels", "difficulty"), ("extra_info", "level")):
        value = table(columns, name).get(key)
        if isinstance(value, str | int | float) and not isinstance(value, bool):
            return scalar(value, f"{name}.{key}", columns.where)
    return None


def _checker(columns: Columns) -> str | None:
    """The name of the row's checker, which exists."""
    where = columns.where
    name = columns.row.get("checker") or table(columns, "extra_info").get("checker")
    if name is None or name == "":
        return None
    if not isinstance(name, str):
        raise wrong("checker", name, "the name of a checker", where)
    if ":" in name and not name.startswith("float:"):
        raise DataError(
            f"{where}: checker {name[:60]!r} is code, which no row may choose by itself; name one of ours, or grade "
            "this domain by a function of your own (verifiers.graders in the recipe)"
        )
    try:
        checker(name)
    except UsageError as error:
        raise DataError(f"{where}: {error}") from error
    return name


def _says_nothing(row: Row, role: Role) -> str | None:
    problem = row.problem
    if not any(m["content"].strip() for m in problem.prompt if m["role"] == "user"):
        return "empty prompt"
    if role == "demonstrations" and not (row.response or "").strip():
        return NO_RESPONSE
    texts = [m["content"] for m in problem.prompt]
    texts += [problem.id, problem.answer or "", problem.level or ""]
    texts += [row.response or "", row.solution or "", row.teacher or ""]
    texts += chain.from_iterable(map(test_texts, problem.tests))
    try:
        "".join(texts).encode()
    except UnicodeEncodeError:  # JSON can hold half of a surrogate pair, which no text file can
        return "not valid Unicode"
    return None
