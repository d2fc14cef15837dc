"""Rollouts written and read back."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from openklear.errors import DataError
from openklear.rollout.records import SCHEMA, Trained, read_rollouts, read_table, write_rollouts
from openklear.types import (
    Completion,
    FormatFault,
    Outcome,
    Problem,
    Reward,
    Rollout,
    RolloutGroup,
    StopReason,
    Verdict,
)


def problem(name: str) -> Problem:
    return Problem(name, ({"role": "user", "content": f"what is {name}?"},), "math", answer="4")


def rollout(of: Problem, sample: int, length: int, **changes: object) -> Rollout:
    rng = np.random.default_rng(sample)
    made = Rollout(
        problem=of,
        sample_index=sample,
        prompt_ids=np.arange(5, dtype=np.int32) + sample,
        completion=Completion(
            rng.integers(0, 150_000, length, dtype=np.int32),
            -rng.random(length, dtype=np.float32),
            StopReason.STOP if sample % 2 else StopReason.LENGTH,
        ),
        text=f"<think>zero\x00, é, 東, \U0001f600\n{sample}</think>",
        verdict=Verdict(
            Outcome.INCORRECT, "expected 4", "5", passed=1, total=3, format_fault=FormatFault.SEVERAL, seconds=0.25
        ),
        reward=Reward(-0.5 + sample / 3, {"correct": 0.0, "format": -0.5}),
        policy_version=7,
    )
    return replace(made, **changes)


@pytest.fixture
def groups() -> list[RolloutGroup]:
    one, two = problem("one"), problem("two")
    odd = rollout(two, 4, 0, verdict=Verdict(Outcome.UNSCORABLE), reward=Reward(0.0))
    return [
        RolloutGroup(one, (rollout(one, 0, 3), rollout(one, 1, 5))),
        RolloutGroup(two, (odd, rollout(two, 2, 1))),
        RolloutGroup(one, (rollout(one, 0, 2),)),  # the same problem a second time
    ]


PROBLEMS = {p.id: p for p in (problem("one"), problem("two"), problem("three"))}


def plain(value: Rollout) -> dict[str, object]:
    """Everything of a rollout that must survive, as comparable values."""
    completion = value.completion
    return {
        "problem": value.problem, "sample": value.sample_index, "prompt": (value.prompt_ids.dtype, value.prompt_ids.tolist()),
        "ids": (completion.token_ids.dtype, completion.token_ids.tolist()),
        "logprobs": (completion.logprobs.dtype, completion.logprobs.tolist()),
        "stop": completion.stop_reason, "text": value.text, "verdict": replace(value.verdict, seconds=0.0),
        "reward": value.reward, "version": value.policy_version,
    }  # fmt: skip


def test_read_back_equal(tmp_path: Path, groups: list[RolloutGroup]):
    trained = {
        (0, 1): Trained(np.linspace(-1, 0, 5, dtype=np.float32), -1.25, np.linspace(0, 2, 5, dtype=np.float32)),
        (1, 4): Trained(np.zeros(0, np.float32), 0.0),
        (1, 2): Trained(np.array([-0.5], np.float32), 1 / 3),
    }
    write_rollouts(tmp_path / "rollouts.parquet", groups, trained)
    stored = read_rollouts(tmp_path / "rollouts.parquet", PROBLEMS)
    assert [g.problem for g in stored.groups] == [g.problem for g in groups]
    assert [[plain(r) for r in g.rollouts] for g in stored.groups] == [[plain(r) for r in g.rollouts] for g in groups]
    assert {key: listed(one) for key, one in stored.trained.items()} == {k: listed(t) for k, t in trained.items()}
    assert all(one.old_logprobs.dtype == np.float32 for one in stored.trained.values())


def listed(one: Trained) -> tuple[list[float], float, list[float] | None]:
    return one.old_logprobs.tolist(), one.advantage, None if one.old_entropies is None else one.old_entropies.tolist()


def test_without_updates_nothing_is_trained(tmp_path: Path, groups: list[RolloutGroup]):
    write_rollouts(tmp_path / "r.parquet", groups)
    stored = read_rollouts(tmp_path / "r.parquet", PROBLEMS)
    assert len(stored.groups) == 3
    assert stored.trained == {}


def test_no_rollouts(tmp_path: Path):
    write_rollouts(tmp_path / "r.parquet", [])
    assert read_rollouts(tmp_path / "r.parquet", PROBLEMS).groups == []


def test_same_rollouts_same_bytes_and_clocks_leave_no_trace(tmp_path: Path, groups: list[RolloutGroup]):
    def slower(r: Rollout) -> Rollout:
        parts = dict(reversed(r.reward.parts.items()))
        return replace(r, verdict=replace(r.verdict, seconds=9.75), reward=Reward(r.reward.value, parts))

    again = [RolloutGroup(g.problem, tuple(map(slower, g.rollouts))) for g in groups]
    trained = {(0, 0): Trained(np.zeros(3, np.float32), 1.0)}
    write_rollouts(tmp_path / "a.parquet", groups, trained)
    write_rollouts(tmp_path / "b.parquet", again, trained)
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()


def test_plain_parquet_readers_see_the_columns(tmp_path: Path, groups: list[RolloutGroup]):
    write_rollouts(tmp_path / "r.parquet", groups, {(0, 1): Trained(np.zeros(5, np.float32), 2.0)})
    rows = pq.read_table(tmp_path / "r.parquet").to_pylist()
    assert [row["advantage"] for row in rows] == [None, 2.0, None, None, None]
    assert [row["group"] for row in rows] == [0, 0, 1, 1, 2]
    assert rows[1]["token_ids"] == groups[0].rollouts[1].completion.token_ids.tolist()
    assert rows[2]["token_ids"] == []
    assert rows[2]["extracted"] is None
    assert rows[0]["content_hash"] == problem("one").content_hash
    assert [(row["well_formed"], row["format_fault"]) for row in rows[1:3]] == [(False, "several thoughts"), (True, "")]
    assert "seconds" not in rows[0]
    assert read_table(tmp_path / "r.parquet").schema.equals(SCHEMA)


def test_numbers_that_do_not_belong_are_refused(tmp_path: Path, groups: list[RolloutGroup]):
    short, fits = np.zeros(2, np.float32), np.zeros(3, np.float32)
    for trained in (Trained(short, 1.0), Trained(fits, 1.0, short)):
        with pytest.raises(ValueError, match="differ in length"):
            write_rollouts(tmp_path / "r.parquet", groups, {(0, 0): trained})
    with pytest.raises(ValueError, match=r"\(0, 9\)"):
        write_rollouts(tmp_path / "r.parquet", groups, {(0, 9): Trained(fits, 1.0)})


def test_files_that_cannot_be_read_are_named(tmp_path: Path, groups: list[RolloutGroup]):
    path = tmp_path / "r.parquet"
    with pytest.raises(DataError, match=r"r\.parquet: there are no rollouts"):
        read_rollouts(path, PROBLEMS)
    path.write_bytes(b"PAR1 not really")
    with pytest.raises(DataError, match=r"r\.parquet: not a readable"):
        read_rollouts(path, PROBLEMS)
    pq.write_table(pa.table({"a": [1]}), path)
    with pytest.raises(DataError, match=r"r\.parquet: these are not rollouts"):
        read_rollouts(path, PROBLEMS)
    write_rollouts(path, groups)
    with pytest.raises(DataError, match="problem two is not among"):
        read_rollouts(path, {"one": problem("one")})
    with pytest.raises(DataError, match="problem one has another prompt"):
        read_rollouts(path, {**PROBLEMS, "one": replace(problem("two"), id="one")})
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match="not a readable"):
        read_rollouts(path, PROBLEMS)
