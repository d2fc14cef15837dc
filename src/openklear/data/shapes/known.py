"""The shapes that rows of public data sets have, and which of them a row has."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from itertools import chain
from typing import Any, Literal

from openklear.data.shapes import replies
from openklear.data.shapes.columns import ASKING, OURS, PROMPTS, RESPONSES, SOLUTIONS, Columns
from openklear.data.shapes.replies import Reply
from openklear.errors import DataError

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
    """How the responses are read; None where the assistant's last turn is one."""

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
    Shape((("input",), ("output",)), replies.from_output),
)
BENCHMARK_SHAPES = tuple(Shape((names,)) for names in _PROMPTS)
PROBLEM_SHAPES = (
    *(Shape((names, REFERENCES)) for names in _PROMPTS if names != ("question_content",)),
    Shape((("question_content",), ("public_test_cases", "private_test_cases"))),
)


def find_shape(raw: Mapping[str, Any], role: Role, where: str) -> Shape:
    """The shape of the row: the first that fits, for the role; DataError shows the columns and the nearest shape."""
    shapes = {"demonstrations": DEMONSTRATION_SHAPES, "benchmark": BENCHMARK_SHAPES}.get(role, PROBLEM_SHAPES)
    found = next((shape for shape in shapes if not shape.missing(raw)), None)
    if found is not None and None in raw.values():  # sets that were put together have columns of one another
        filled = {name: value for name, value in raw.items() if value is not None}
        return next((shape for shape in shapes if not shape.missing(filled)), found)
    if found is not None:
        return found

    def distance(shape: Shape) -> tuple[float, bool, bool]:
        lacks = shape.missing(raw)
        return len(lacks) / len(shape.columns), not _near(lacks, raw), shape is not _PLAIN

    nearest = min(shapes, key=distance)
    lacks = nearest.missing(raw)
    solutions = [name for name in SOLUTIONS if name in raw]  # of MATH, whose box is the answer; of worked examples
    hints = [f'; is it "{name}"?' for name in (*_near(lacks, raw), *solutions)]
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
