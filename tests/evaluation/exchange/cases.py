"""Evaluations for tests of the exchange with other tools."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.shared_data import shared

from openklear.durable.files import json_line, write_json
from openklear.evaluation.exchange.recognising import read_files
from openklear.evaluation.exchange.rows import ImportChoice
from openklear.evaluation.exchange.writing import write_imported
from openklear.evaluation.results import RESULTS, results, write_results
from openklear.evaluation.stored import (
    COMPLETIONS,
    PROMPTS,
    SAMPLES,
    SETTINGS,
    Asked,
    Sample,
    Stored,
    open_stored,
    write_asked,
    write_samples,
)
from openklear.types import Outcome, StopReason

CORRECT, INCORRECT, UNSCORABLE = Outcome.CORRECT, Outcome.INCORRECT, Outcome.UNSCORABLE


def imported(directory: Path, *names: str, **choice: str) -> tuple[Stored, dict[str, Any]]:
    """Files of the shared data as an evaluation of ours, and what evaluation.json says of the import."""
    files = [shared(f"evaluation/{name}") for name in names]
    settings = write_imported(read_files(files, None, ImportChoice(**choice)), files, directory)
    return open_stored(directory), settings["imported"]


def taken(path: Path, *files: Path, **choice: str) -> tuple[Stored, dict[str, Any]]:
    """The same of files that a test wrote."""
    settings = write_imported(read_files(files, None, ImportChoice(**choice)), files, path)
    return open_stored(path), settings["imported"]


def evaluation(
    directory: Path,
    texts: dict[tuple[str, str], list[tuple[str | None, Outcome]]],
    *,
    domain: str = "math",
    settings: dict[str, Any] | None = None,
    tail: str = "",
    ended: bool = True,
) -> Path:
    """An evaluation of ours: (benchmark, problem) -> its completions with their verdicts."""
    directory.mkdir(parents=True)
    asked, samples, end = [], [], 0
    with (directory / COMPLETIONS).open("wb") as file:
        for (benchmark, problem), drawn in texts.items():
            prompt = ({"role": "user", "content": f"What is {problem}?"},)
            asked.append(Asked(benchmark, problem, domain, prompt, "easy", "7", prompt_tokens=5, prompt_tail=tail))
            for number, (text, outcome) in enumerate(drawn):
                line = b"" if text is None else json_line({"text": text, "ids": None})
                file.write(line)
                stop = StopReason.LENGTH if text and text.endswith("...") else StopReason.STOP
                stop = StopReason.ERROR if text is None else stop
                samples.append(
                    Sample(
                        benchmark,
                        problem,
                        domain,
                        number,
                        outcome,
                        "easy",
                        "" if outcome is CORRECT else f"because {number}",
                        None if text is None else text[-1:],
                        stop_reason=stop,
                        tokens=None if text is None else len(text),
                        start=end if line else None,
                        length=len(line),
                    )
                )
                end += len(line)
    write_asked(directory / PROMPTS, asked)
    write_samples(directory / SAMPLES, samples)
    if ended:
        write_results(directory / RESULTS, results(samples))
    write_json(directory / SETTINGS, SETTINGS_OF_OURS if settings is None else settings)
    return directory


SETTINGS_OF_OURS: dict[str, Any] = {
    "format": 1,
    "model": {"name": "lab/model-8b"},
    "sampling": {"temperature": 0.6, "top_p": 0.95, "top_k": 0, "min_p": 0.0},
    "protocol": {"name": "klear", "yarn": None},
    "benchmarks": [{"name": "aime25", "max_completion_tokens": 32768}],
    "versions": {"openklear": "0.1.0"},
}


def scores(said: dict[str, Any], level: str | None = None) -> dict[str, Any]:
    """metric -> (value of the tool, what the rows give) of the claims that could be held against the rows."""
    held = [row for row in said["scores"] if row["level"] == level and row["rows_give"] is not None]
    return {row["metric"]: (row["value"], row["rows_give"]) for row in held}
