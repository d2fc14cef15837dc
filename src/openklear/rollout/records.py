"""Rollouts on disk: one Parquet row per rollout. The same rollouts give the same bytes.

Wall-clock times are not stored (a verdict's `seconds` is read back as 0): a record must not depend on how busy the
machine was. Problems are not stored either, only their ids and content hashes. `well_formed` is there for readers
of the file: `format_fault` is empty.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from openklear.errors import DataError
from openklear.think import FormatFault
from openklear.types import (
    Completion,
    Outcome,
    Problem,
    Reward,
    Rollout,
    RolloutGroup,
    StopReason,
    Verdict,
)

Key = tuple[int, int]
"""(index of the group in the file, sample_index of the rollout)."""

_TOKEN_VERSIONS = "token_versions"
_IDS, _FLOATS = pa.large_list(pa.int32()), pa.large_list(pa.float32())
SCHEMA = pa.schema(
    [
        pa.field("group", pa.int32(), nullable=False),
        pa.field("problem_id", pa.string(), nullable=False),
        pa.field("content_hash", pa.string(), nullable=False),
        pa.field("sample_index", pa.int32(), nullable=False),
        pa.field("prompt_ids", _IDS, nullable=False),
        pa.field("token_ids", _IDS, nullable=False),
        pa.field("logprobs", _FLOATS, nullable=False),
        pa.field("old_logprobs", _FLOATS),
        pa.field("old_entropies", _FLOATS),
        pa.field("stop_reason", pa.string(), nullable=False),
        pa.field("text", pa.large_string(), nullable=False),
        pa.field("outcome", pa.string(), nullable=False),
        pa.field("reason", pa.string(), nullable=False),
        pa.field("extracted", pa.large_string()),
        pa.field("passed", pa.int32(), nullable=False),
        pa.field("total", pa.int32(), nullable=False),
        pa.field("well_formed", pa.bool_(), nullable=False),
        pa.field("format_fault", pa.string(), nullable=False),
        pa.field("reward", pa.float64(), nullable=False),
        pa.field("reward_parts", pa.string(), nullable=False),
        pa.field("advantage", pa.float64()),
        pa.field("policy_version", pa.int32(), nullable=False),
        pa.field(_TOKEN_VERSIONS, _IDS),
    ]
)
"""`policy_version` is that of the last token; `token_versions` has one for each where they differ, else it is null."""


class Trained(NamedTuple):
    """What is known of a rollout that is in an update; (T,), one number per completion token."""

    old_logprobs: NDArray[np.float32]
    advantage: float
    old_entropies: NDArray[np.float32] | None = None
    """Only where an entropy gate asked for them."""


class StoredRollouts(NamedTuple):
    """A file of rollouts, read back."""

    groups: list[RolloutGroup]
    trained: dict[Key, Trained]


def write_rollouts(path: Path, groups: Sequence[RolloutGroup], trained: Mapping[Key, Trained] | None = None) -> None:
    """Write the groups in their order; rollouts in no update (filtered ones) get null for what `Trained` has."""
    left = dict(trained or {})
    columns: dict[str, list[Any]] = {field.name: [] for field in SCHEMA}
    for number, group in enumerate(groups):
        for rollout in group.rollouts:
            row = _row(rollout, left.pop((number, rollout.sample_index), None))
            for name, value in {"group": number, **row}.items():
                columns[name].append(value)
    if left:
        raise ValueError(f"what was trained on is not in the groups: {sorted(left)[:3]}")
    pq.write_table(pa.table(columns, schema=SCHEMA), path, compression="zstd")


def read_rollouts(path: Path, problems: Mapping[str, Problem]) -> StoredRollouts:
    """Read what write_rollouts wrote. `problems` by id supplies the problems.

    DataError: the file is missing, malformed, or of problems that are not (or no longer) those given.
    """
    trained: dict[Key, Trained] = {}
    rollouts: list[list[Rollout]] = []
    for row in rows_of(read_table(path)):
        problem, number = known_problem(path, row, problems), row["group"]
        while len(rollouts) <= number:
            rollouts.append([])
        rollouts[number].append(_rollout(row, problem))
        if row["old_logprobs"] is not None:
            trained[number, row["sample_index"]] = Trained(row["old_logprobs"], row["advantage"], row["old_entropies"])
    return StoredRollouts([RolloutGroup(group[0].problem, tuple(group)) for group in rollouts], trained)


def known_problem(path: Path, row: Mapping[str, Any], problems: Mapping[str, Problem]) -> Problem:
    """The problem of a row. DataError where it is not, or no longer, among those given."""
    problem = problems.get(row["problem_id"])
    if problem is None or problem.content_hash != row["content_hash"]:
        state = "is not among the problems given" if problem is None else "has another prompt now"
        raise DataError(f"{path}: problem {row['problem_id']} {state}: these rollouts belong to other data")
    return problem


def read_table(path: Path, schema: pa.Schema = SCHEMA) -> pa.Table:
    """The file as an Arrow table of `schema`, for those who need some columns only. DataError as in read_rollouts."""
    try:
        table = pq.read_table(path)
    except FileNotFoundError as error:
        raise DataError(f"{path}: there are no rollouts here") from error
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{path}: not a readable Parquet file: {error}") from error
    if schema is SCHEMA and table.schema.equals(_BEFORE):
        table = table.append_column(SCHEMA.field(_TOKEN_VERSIONS), pa.nulls(table.num_rows, _IDS))
    if not table.schema.equals(schema):
        raise DataError(f"{path}: these are not rollouts of this version: its columns are {table.schema.names}")
    return table


_BEFORE = pa.schema([field for field in SCHEMA if field.name != _TOKEN_VERSIONS])
"""Of files from before tokens had versions of their own."""


def _row(rollout: Rollout, trained: Trained | None) -> dict[str, Any]:
    completion, verdict = rollout.completion, rollout.verdict
    old, entropies = (trained.old_logprobs, trained.old_entropies) if trained else (None, None)
    versions = completion.versions
    if versions is not None and (versions == rollout.policy_version).all():
        versions = None
    lengths = {len(a) for a in (completion.token_ids, completion.logprobs, versions, old, entropies) if a is not None}
    if len(lengths) != 1:
        raise ValueError(f"{rollout.problem.id}: the arrays of its tokens differ in length: {sorted(lengths)}")
    return {
        "problem_id": rollout.problem.id,
        "content_hash": rollout.problem.content_hash,
        "sample_index": rollout.sample_index,
        "prompt_ids": rollout.prompt_ids,
        "token_ids": completion.token_ids,
        "logprobs": completion.logprobs,
        "old_logprobs": old,
        "old_entropies": entropies,
        "stop_reason": str(completion.stop_reason),
        "text": rollout.text,
        "outcome": str(verdict.outcome),
        "reason": verdict.reason,
        "extracted": verdict.extracted,
        "passed": verdict.passed,
        "total": verdict.total,
        "well_formed": verdict.well_formed,
        "format_fault": str(verdict.format_fault),
        "reward": rollout.reward.value,
        "reward_parts": json.dumps(dict(rollout.reward.parts), sort_keys=True),
        "advantage": trained.advantage if trained else None,
        "policy_version": rollout.policy_version,
        _TOKEN_VERSIONS: versions,
    }


def _rollout(row: Mapping[str, Any], problem: Problem) -> Rollout:
    return Rollout(
        problem=problem,
        sample_index=row["sample_index"],
        prompt_ids=row["prompt_ids"],
        completion=Completion(row["token_ids"], row["logprobs"], StopReason(row["stop_reason"]), row[_TOKEN_VERSIONS]),
        text=row["text"],
        verdict=Verdict(
            outcome=Outcome(row["outcome"]),
            reason=row["reason"],
            extracted=row["extracted"],
            passed=row["passed"],
            total=row["total"],
            format_fault=FormatFault(row["format_fault"]),
        ),
        reward=Reward(row["reward"], json.loads(row["reward_parts"])),
        policy_version=row["policy_version"],
    )


def rows_of(table: pa.Table) -> Iterator[dict[str, Any]]:
    """The rows with numpy arrays for lists."""
    names = table.column_names
    columns = [_values(column.combine_chunks()) for column in table.columns]
    for values in zip(*columns, strict=True):
        yield dict(zip(names, values, strict=True))


def _values(column: pa.Array) -> list[Any]:
    if not pa.types.is_large_list(column.type):
        return list(column.to_pylist())
    return [None if row is None else row.copy() for row in column.to_numpy(zero_copy_only=False)]
