"""An evaluation on disk: the files of one directory, whoever sampled, and how they are read back.

evaluation.json     what a score depends on: the model, each benchmark with the hash of its data, prompts, sampling, the
                    engine, the verifiers' limits, versions (docs/evaluation.md lists the keys)
prompts.jsonl       `Asked`, one row a problem
completions.jsonl   every completion with its text and token ids, appended as it ended: a killed evaluation lost none
samples.jsonl       `Sample`, one row a completion: its verdict, and where in completions.jsonl its text stands. While
                    the evaluation runs, in the order of the verdicts; at its end by benchmark, problem and sample
problems.jsonl      `ProblemResult`, one row a problem, and scores.json: what follows from samples.jsonl

Thousands of long completions are looked at without reading their texts: samples.jsonl alone is small.
"""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from openklear.durable.files import read_json, read_whole_jsonl, write_jsonl_atomic
from openklear.errors import DataError, UsageError
from openklear.types import Message, Outcome, StopReason

SETTINGS, PROMPTS, COMPLETIONS, SAMPLES = "evaluation.json", "prompts.jsonl", "completions.jsonl", "samples.jsonl"
FORMAT = 1
"""Of these files; in evaluation.json."""
Place = tuple[str, str]
"""(benchmark, id of a problem): ids are unique within a benchmark."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A problem as it was asked."""

    benchmark: str
    problem: str
    """Its id."""
    domain: str
    prompt: tuple[Message, ...]
    """As the model was given it, before the chat template."""
    level: str | None = None
    reference: str | None = None
    """The answer that counts as right; None where tests decide."""
    tests: int = 0
    prompt_tokens: int | None = None
    prompt_tail: str = ""
    """The end of the prompt after the chat template, which may open `<think>`."""
    checker: str | None = None
    """How answers or outputs are compared where equality is not it."""
    refused: str = ""
    """Why it could not be asked (all its samples count as wrong then); empty where it was."""
    facts: Mapping[str, Any] = field(default_factory=dict)
    """What else its source says: contest date, platform, difficulty, title."""

    @property
    def place(self) -> Place:
        """Where it stands."""
        return self.benchmark, self.problem


@dataclass(frozen=True, slots=True)
class Sample:
    """One judged completion, without its text."""

    benchmark: str
    problem: str
    domain: str
    sample: int
    """From 0 on, within its problem."""
    outcome: Outcome
    level: str | None = None
    reason: str = ""
    """Why it is not correct."""
    extracted: str | None = None
    """The answer or program that was graded, cut after 400 characters; None where none was found, or looked for."""
    passed: int = 0
    total: int = 0
    format_fault: str = ""
    stop_reason: StopReason = StopReason.STOP
    tokens: int | None = None
    """Of the completion; None where nobody counted."""
    stands: bool = False
    """Not correct, though the right answer stands in the text (`evaluation.standing`)."""
    start: int | None = None
    """First byte of its line in completions.jsonl; None where there is no text."""
    length: int = 0
    """Bytes of that line."""
    key: str = ""
    """Under which it is kept there."""

    @property
    def place(self) -> Place:
        """The problem that it answers."""
        return self.benchmark, self.problem

    @property
    def correct(self) -> bool:
        """Only of a correct one."""
        return self.outcome is Outcome.CORRECT

    @property
    def truncated(self) -> bool:
        """Stopped by length."""
        return self.stop_reason is StopReason.LENGTH

    @property
    def unanswered(self) -> bool:
        """It ended by itself, and no answer was found in it."""
        return self.stop_reason is StopReason.STOP and self.extracted is None and self.outcome is Outcome.INCORRECT


EXTRACTED_SHOWN = 400


@dataclass(frozen=True, slots=True)
class Stored:
    """An evaluation that was read back."""

    directory: Path
    settings: dict[str, Any]
    asked: dict[Place, Asked]
    samples: list[Sample]

    def completion(self, sample: Sample) -> dict[str, Any]:
        """The row of completions.jsonl: text, ids, stop_reason, tokens, key. DataError where it is gone."""
        path = self.directory / COMPLETIONS
        if sample.start is None:
            raise DataError(f"{path}: has no text of {sample.problem}, sample {sample.sample}")
        try:
            with path.open("rb") as file:
                file.seek(sample.start)
                row: dict[str, Any] = json.loads(file.read(sample.length))
            if sample.key and row["key"] != sample.key:
                raise ValueError("another completion stands there")
        except (OSError, ValueError, KeyError, TypeError) as error:
            what = f"the completion of {sample.problem}, sample {sample.sample}, cannot be read: {error}"
            raise DataError(f"{path}: {what}; give the evaluation's command again, or restore the file") from error
        return row

    def text(self, sample: Sample) -> str:
        """What the model wrote."""
        return str(self.completion(sample)["text"])


def open_stored(directory: Path) -> Stored:
    """The evaluation that lies in a directory, also one under way. UsageError where there is none."""
    if not (directory / SETTINGS).is_file():
        raise UsageError(f"{directory}: holds no evaluation (there is no {SETTINGS}); name one that does")
    asked = read_asked(directory / PROMPTS)
    return Stored(directory, read_json(directory / SETTINGS), asked, read_samples(directory / SAMPLES))


def read_asked(path: Path) -> dict[Place, Asked]:
    """The problems of prompts.jsonl in their order, by place; DataError names a row that is none."""
    found: dict[Place, Asked] = {}
    for number, row in enumerate(read_whole_jsonl(path), 1):
        try:
            one = Asked(**{**row, "prompt": tuple(row["prompt"])})
        except (TypeError, KeyError) as error:
            raise DataError(f"{path}:{number}: is no problem of an evaluation ({error}); evaluate again") from error
        found[one.place] = one
    return found


def read_samples(path: Path) -> list[Sample]:
    """The rows of samples.jsonl, also of one that is being written; DataError names one that is none."""
    found: list[Sample] = []
    for number, row in enumerate(read_whole_jsonl(path), 1):
        try:
            found.append(sample_of(row))
        except (TypeError, ValueError, KeyError) as error:
            raise DataError(f"{path}:{number}: is no row of an evaluation ({error}); evaluate again") from error
    return found


def sample_of(row: Mapping[str, Any]) -> Sample:
    """From its row."""
    kinds = {"outcome": Outcome(row["outcome"]), "stop_reason": StopReason(row["stop_reason"])}
    return Sample(**{**row, **kinds})


def row_of(sample: Sample) -> dict[str, Any]:
    """As samples.jsonl has it."""
    return asdict(sample)


def write_asked(path: Path, asked: Iterable[Asked]) -> None:
    """prompts.jsonl."""
    write_jsonl_atomic(path, map(asdict, asked))


def write_samples(path: Path, samples: Iterable[Sample]) -> None:
    """samples.jsonl, in the order given."""
    write_jsonl_atomic(path, map(row_of, samples))


def packed(ids: Sequence[int] | NDArray[np.int32]) -> str:
    """Token ids as text: base64 of zlib of little-endian int32."""
    return base64.b64encode(zlib.compress(np.asarray(ids, dtype="<i4").tobytes(), 1)).decode()


def unpacked(text: str) -> NDArray[np.int32]:
    """(T,) the token ids that `packed` made a text of; DataError where it did not."""
    try:
        return np.frombuffer(zlib.decompress(base64.b64decode(text, validate=True)), dtype="<i4").astype(np.int32)
    except (ValueError, zlib.error) as error:
        raise DataError(f"not the packed token ids of a completion: {error}") from error
