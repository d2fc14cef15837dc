"""Groups that are carried over, on disk: one Parquet row per rollout, whether it has ended or not.

The file belongs to the iteration that they were broken off in, and the next one goes on from it after a kill, with the
same bits. Verdicts are not in it: a rollout that has ended is judged again, which the journal of verdicts answers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from openklear.rollout.carry import Begun, BegunGroup, versions
from openklear.rollout.encoding import EncodedProblem
from openklear.rollout.records import known_problem, read_table, rows_of
from openklear.types import Completion, StopReason

_IDS = pa.large_list(pa.int32())
CARRIED_SCHEMA = pa.schema(
    [
        pa.field("group", pa.int32(), nullable=False),
        pa.field("problem_id", pa.string(), nullable=False),
        pa.field("content_hash", pa.string(), nullable=False),
        pa.field("since", pa.int32(), nullable=False),
        pa.field("sample_index", pa.int32(), nullable=False),
        pa.field("key", pa.uint64(), nullable=False),
        pa.field("token_ids", _IDS, nullable=False),
        pa.field("logprobs", pa.large_list(pa.float32()), nullable=False),
        pa.field("token_versions", _IDS, nullable=False),
        pa.field("stop_reason", pa.string(), nullable=False),
    ]
)
"""`since` is the iteration that a group was begun in; stop_reason "partial" says that a rollout goes on."""


def write_carried(path: Path, groups: Sequence[BegunGroup], version: int) -> None:
    """Write groups in their order; `version` counts for tokens of which the sampler said none."""
    columns: dict[str, list[Any]] = {field.name: [] for field in CARRIED_SCHEMA}
    for number, group in enumerate(groups):
        for rollout in group.rollouts:
            for name, value in _row(number, group, rollout, version).items():
                columns[name].append(value)
    pq.write_table(pa.table(columns, schema=CARRIED_SCHEMA), path, compression="zstd")


def _row(number: int, group: BegunGroup, rollout: Begun, version: int) -> dict[str, Any]:
    problem, drawn = group.owner.problem, rollout.drawn
    return {
        "group": number,
        "problem_id": problem.id,
        "content_hash": problem.content_hash,
        "since": group.since,
        "sample_index": rollout.sample,
        "key": rollout.key,
        "token_ids": drawn.token_ids,
        "logprobs": drawn.logprobs,
        "token_versions": versions(drawn, version),
        "stop_reason": str(drawn.stop_reason),
    }


def read_carried(path: Path, problems: Mapping[str, EncodedProblem]) -> list[BegunGroup]:
    """Read what write_carried wrote. `problems` by id supplies the problems; DataError as in read_rollouts."""
    plain = {name: encoded.problem for name, encoded in problems.items()}
    owners: list[EncodedProblem] = []
    since: list[int] = []
    rollouts: list[list[Begun]] = []
    for row in rows_of(read_table(path, CARRIED_SCHEMA)):
        problem = known_problem(path, row, plain)
        if row["group"] == len(rollouts):
            owners.append(problems[problem.id])
            since.append(row["since"])
            rollouts.append([])
        drawn = Completion(row["token_ids"], row["logprobs"], StopReason(row["stop_reason"]), row["token_versions"])
        rollouts[row["group"]].append(Begun(row["sample_index"], row["key"], drawn))
    return [BegunGroup(*one) for one in zip(owners, since, map(tuple, rollouts), strict=True)]
