"""What is left of an evaluation once every sample is judged: counts and scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from openklear.durable.files import write_json
from openklear.evaluation.results import RESULTS, results, write_results
from openklear.evaluation.scores import asked_rows, score_rows
from openklear.evaluation.stored import Sample

SCORES = "scores.json"


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
    found = {"benchmarks": asked_rows(stage, samples, asked), "scores": score_rows(stage, samples, list(asked))}
    write_json(directory / SCORES, found)
    return found
