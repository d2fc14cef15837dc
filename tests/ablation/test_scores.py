"""What a run leaves says which problems were asked: by what they are, and not by their numbers alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from openklear.ablation.definition import Arm, Measure, Study, StudySeeds
from openklear.ablation.findings import findings
from openklear.ablation.scores import RunScores, SeriesScores, StudyScores, series_of
from openklear.demo.world import write_world
from openklear.durable.files import read_jsonl
from openklear.errors import DataError
from openklear.evaluation.results import RESULTS, ProblemResult, write_results
from openklear.types import Message, Problem, Test

STUDY = Study(
    name="worlds",
    title="Worlds",
    question="Which world?",
    recipe="none.toml",
    seeds=StudySeeds(values=(0,), vary=("rl",)),
    arm=(Arm(name="one"), Arm(name="other")),
    measure=(Measure(name="code", model="sft", domain="code"),),
)


def heldout(directory: Path, seed: int) -> list[Problem]:
    """Of a demo world, as curation leaves them."""
    write_world(directory, seed=seed, demonstrations=4, problems=4, validation=4, heldout=5)
    rows = read_jsonl(directory / "heldout" / "code.jsonl")
    return [
        Problem(row["id"], (Message(role="user", content=row["prompt"]),), "code", tests=_tests(row)) for row in rows
    ]


def _tests(row: dict) -> tuple[Test, ...]:
    return tuple(Test(one["input"], one["output"]) for one in row["tests"])


def run(arm: str, directory: Path, problems: list[Problem]) -> RunScores:
    """As its evaluation leaves it."""
    results = [ProblemResult(one.id, "code-heldout", "code", None, 8, 8, 4, 0, 0) for one in problems]
    directory.mkdir()
    write_results(directory / RESULTS, results)
    return RunScores(arm, 0, tuple(series_of("sft", directory, problems)), {}, {}, {})


def test_problems_of_another_world_are_other_problems_though_their_ids_are_the_same(tmp_path):
    """An arm that changes world.seed was held against the others problem by problem: the ids are numbers."""
    one, again, other = (heldout(tmp_path / str(at), seed) for at, seed in enumerate((0, 0, 5)))
    assert [p.id for p in one] == [p.id for p in other]
    first = run("one", tmp_path / "a", one)
    findings(STUDY, StudyScores((first, run("other", tmp_path / "b", again)), (), 0, {}))
    with pytest.raises(DataError, match="were asked different problems in code"):
        findings(STUDY, StudyScores((first, run("other", tmp_path / "c", other)), (), 0, {}))


@pytest.mark.parametrize("changed", ["prompt", "tests"])
def test_what_is_asked_and_what_is_right_both_count(changed, tmp_path):
    problem = Problem("p", (Message(role="user", content="Print 1."),), "code", tests=(Test("", "1"),))
    more = {"prompt": (Message(role="user", content="Print 2."),), "tests": (Test("", "2"),)}
    other = Problem(**{**{name: getattr(problem, name) for name in problem.__slots__}, changed: more[changed]})
    hashes = {run("one", tmp_path / str(at), [one]).series[0].problems for at, one in enumerate((problem, other))}
    assert len(hashes) == 2


def test_a_measure_may_name_its_benchmark():
    first, second = (SeriesScores("sft", name, "math", "", (n,), (8,), 8) for name, n in (("a", 1), ("b", 2)))
    found = RunScores("x", 0, (first, second), {}, {}, {})
    assert found.of("sft", "math") == found.of("sft", "math", "a") == first
    assert found.of("sft", "math", "b") == second
    assert found.of("sft", "math", "c") is None
