"""What is left of an evaluation once every sample is judged: counts and scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from openklear.durable.files import write_json
from openklear.evaluation.results import RESULTS, results, write_results
from openklear.evaluation.scores import asked_rows, score_rows
from openklear.evaluation.stored import Sample
from openklear.verifiers.mathematics.grader import MathGrader

SCORES = "scores.json"
VOTE_SECONDS = 2.0
"""CPU seconds to tell whether two answers vote together."""


def leave(
    directory: Path,
    stage: str,
    samples: Sequence[Sample],
    asked: Mapping[str, Mapping[str, Any]],
) -> dict[str, Any]:
    """Write problems.jsonl and scores.json of the model that `stage` names; the scores.

    `asked`: by benchmark, how it was asked.
    """
    write_results(directory / RESULTS, results(samples))
    with closing(MathGrader(1, VOTE_SECONDS)) as grader:  # a worker starts only where exact rules cannot tell
        scores = score_rows(stage, samples, list(asked), grader)
    found = {"benchmarks": asked_rows(stage, samples, asked), "scores": scores}
    write_json(directory / SCORES, found)
    return found
