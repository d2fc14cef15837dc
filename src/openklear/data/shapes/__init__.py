"""What a row of a public data set means, told from its columns.

Demonstrations have one of these shapes; the first that fits is taken.

    OpenR1-Math     problem, generations [text], correctness_math_verify [truth value]: a row for each generation
    messages        messages [{role, content, reasoning_content}], ending with the assistant's turn
    ShareGPT        conversations [{from, value}]: human or user, gpt or assistant, system; OpenThoughts too
    plain           prompt | problem | question (text or messages) with response (text) or completion (text, messages)
    OpenAI API      the same with choices [{message: {content, reasoning_content}}], also inside response
    R1 API          the same with message_thinking and message_content
    s1K             question, {gemini, deepseek}_thinking_trajectory and _attempt, or thinking_trajectories and attempt
    AceCoder        question, inferences [{completion, model_name, pass_rate}]: a row for each
    Alpaca          instruction, input, output

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

Besides, in every shape: solution | solutions | reference_solution | canonical_solution | code, level | difficulty,
id | task_id | question_id | problem_id | uuid | unique_id | extra_info.id, teacher | model | model_name | generator,
claimed | correct | is_correct | math_verify, thinking | reasoning_content | message_thinking (reasoning that is kept
apart: it is put before the answer, between <think> and </think>), domain (or verl's ability), checker
(openklear.verifiers.checkers), starter_code (put after the prompt). Other columns are left alone.

Where no shape fits, or another is meant, the recipe maps our column to the file's: columns = { response = "solution",
answer = "meta.gold" }.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from difflib import get_close_matches
from itertools import chain
from typing import Any, Literal

from openklear.data.rows import Dropped, Row
from openklear.data.shapes import prompts, replies
from openklear.data.shapes.columns import (
    ASKING,
    IDS,
    LEVELS,
    OURS,
    PROMPTS,
    RESPONSES,
    Columns,
    lenient,
    renamed,
    scalar,
    table,
)
from openklear.data.shapes.references import answer_of, solution_of, tests_of
from openklear.data.shapes.replies import Reply
from openklear.data.test_cases import texts as test_texts
from openklear.data.test_cases import wrong
from openklear.errors import DataError, UsageError
from openklear.types import Problem
from openklear.verifiers.checkers import checker
from openklear.verifiers.domains import DOMAINS

Role = Literal["demonstrations", "problems", "validation", "heldout", "benchmark"]
REFERENCES = (
    *("answer", "ground_truth", "tests", "reward_model", "gtruth_answer"),
    *("test_cases", "input_output", "inputs", "test_list", "test"),
)


@dataclass(frozen=True, slots=True)
class Shape:
    """Groups of columns, of which a row needs one each; the first holds the turns."""

    columns: tuple[tuple[str, ...], ...]
    replies: Callable[[Columns], list[Reply]] | None = None
    """How the responses are read; None where the assistant's last turn is it."""

    def missing(self, row: Mapping[str, Any]) -> list[tuple[str, ...]]:
        """The groups of which the row has no column."""
        return [group for group in self.columns if row.keys().isdisjoint(group)]

    def __str__(self) -> str:
        return "{" + ", ".join(map(" | ".join, self.columns)) + "}"


_PROMPTS = (PROMPTS, *((name,) for name in ASKING if name not in PROMPTS))
_PLAIN = Shape((PROMPTS, RESPONSES), replies.from_response)
DEMONSTRATION_SHAPES = (
    Shape((PROMPTS, ("generations",)), replies.from_generations),
    Shape((("messages",),)),
    Shape((("conversations",),)),
    _PLAIN,
    Shape((PROMPTS, ("choices",)), replies.from_choices),
    Shape((PROMPTS, ("message_content",)), replies.from_r1),
    Shape((PROMPTS, ("gemini_attempt", "deepseek_attempt")), replies.from_attempts),
    Shape((PROMPTS, ("thinking_trajectories",), ("attempt",)), replies.from_attempts),
    Shape((PROMPTS, ("inferences",)), replies.from_inferences),
    Shape((("instruction",), ("output",)), replies.from_output),
)
BENCHMARK_SHAPES = tuple(Shape((names,)) for names in _PROMPTS)
PROBLEM_SHAPES = (
    *(Shape((names, REFERENCES)) for names in _PROMPTS if names != ("question_content",)),
    Shape((("question_content",), ("public_test_cases", "private_test_cases"))),
)


def parse_rows(
    raw: Mapping[str, Any],
    where: str,
    *,
    role: Role,
    source: str,
    domain: str | None,
    mapping: Mapping[str, str] | None = None,
) -> list[Row | Dropped]:
    """Make rows of a row of the file, one for each response; those that say nothing are dropped.

    `mapping` leads from our columns to the file's. Raises DataError, with `where` and the column, for an unknown shape
    or a column of a wrong type.
    """
    columns = renamed(raw, mapping, where)
    shape = find_shape(columns.row, role, where)
    turns = prompts.asked(columns, shape.columns[0])
    last = turns[-1]["content"] if turns and turns[-1]["role"] == "assistant" else None
    answers: list[Reply] = []
    if role == "demonstrations":
        answers = shape.replies(columns) if shape.replies else replies.from_turns(columns, last)
    found_domain = _domain(columns, domain)
    plain = role == "benchmark"
    problem = Problem(
        id="",
        prompt=turns if last is None else turns[:-1],
        domain=found_domain,
        answer=None if plain else answer_of(columns, found_domain),
        tests=() if plain else tests_of(columns, found_domain),
        checker=None if plain else _checker(columns),
        level=_level(columns),
        source=source,
    )
    problem = DOMAINS[found_domain].complete(problem)
    solution = None if plain else solution_of(columns)
    return [_row(problem, reply, columns, solution, role) for reply in answers or [Reply(None)]]


def find_shape(raw: Mapping[str, Any], role: Role, where: str) -> Shape:
    """The shape of the row: the first that fits, for the role; DataError shows the columns and the nearest shape."""
    shapes = {"demonstrations": DEMONSTRATION_SHAPES, "benchmark": BENCHMARK_SHAPES}.get(role, PROBLEM_SHAPES)
    for shape in shapes:
        if not shape.missing(raw):
            return shape

    def distance(shape: Shape) -> tuple[float, bool, bool]:
        lacks = shape.missing(raw)
        return len(lacks) / len(shape.columns), not _near(lacks, raw), shape is not _PLAIN

    nearest = min(shapes, key=distance)
    lacks = nearest.missing(raw)
    hints = [f'; is it "{name}"?' for name in _near(lacks, raw)]
    shown = ", ".join(map(str, raw))
    raise DataError(
        f"{where}: no known shape of {role} has the columns {shown[:500] or '(none)'}; the nearest is "
        f"{nearest}, which lacks {', '.join(map(' | '.join, lacks))}{hints[0] if hints else ''}; "
        f"rename the columns, or say in the recipe which they are, as in columns = {_example(lacks)}"
    )


def _example(lacks: list[tuple[str, ...]]) -> str:
    """A mapping of what a row lacks, as a recipe would spell it."""
    ours = dict.fromkeys(_our_name(group[0]) for group in lacks)
    return "{ " + ", ".join(f'{name} = "their_column"' for name in ours) + " }"


def _our_name(column: str) -> str:
    """What a recipe calls this column of a shape."""
    return column if column in OURS else next((name for name in OURS if column in OURS[name]), "response")


def _near(groups: list[tuple[str, ...]], raw: Mapping[str, Any]) -> list[str]:
    names, near = list(map(str, raw)), list[str]()
    for wanted in chain.from_iterable(groups):
        near += get_close_matches(wanted, names, n=1)
    return near


def _row(problem: Problem, reply: Reply, columns: Columns, solution: str | None, role: Role) -> Row | Dropped:
    own = "/".join(filter(None, (_own_id(columns, problem), reply.name)))
    prefix = f"{problem.source}/"  # it keeps the ids of two files apart
    named = replace(problem, id=own if own.startswith(prefix) else prefix + own)
    row = Row(named, columns.where, reply.text, solution, reply.teacher, reply.claimed)
    reason = _says_nothing(row, role)
    return Dropped(row, reason) if reason else row


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
        return "no response"
    texts = [m["content"] for m in problem.prompt]
    texts += [problem.id, problem.answer or "", problem.level or ""]
    texts += [row.response or "", row.solution or "", row.teacher or ""]
    texts += chain.from_iterable(map(test_texts, problem.tests))
    try:
        "".join(texts).encode()
    except UnicodeEncodeError:  # JSON can hold half of a surrogate pair, which no text file can
        return "not valid Unicode"
    return None
