"""openklear compare: two evaluations that lie on disk."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from openklear.cli.main import main
from openklear.durable.files import write_json
from openklear.evaluation.results import ProblemResult, write_results


def evaluated(run: Path, name: str, correct: list[int], started: str, heat: float = 1.0) -> Path:
    """An evaluation with one benchmark of 4 samples a problem."""
    place = run / f"evaluate-{name}"
    place.mkdir(parents=True)
    rows = [ProblemResult(f"aime/{i}", "aime", "math", None, 4, 4, right, 0, 10) for i, right in enumerate(correct)]
    write_results(place / "problems.jsonl", rows)
    facts = {"format": 1, "model": {"name": name, "weights": run.name, "dtype": "float32"}, "seed": 1}
    asked = [{"name": "aime", "samples": 4, "limit": None}]
    write_json(place / "evaluation.json", {**facts, "sampling": {"temperature": heat}, "benchmarks": asked})
    write_json(
        place / "stage.json",
        {
            "state": "finished",
            "fingerprint": "",
            "parts": {},
            "attempts": [{"started": started, "settings": {"device": "cpu"}}],
        },
    )
    return place


def test_two_stages_of_a_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = tmp_path / "run"
    evaluated(run, "sft", [0, 0, 1, 1, 2, 2, 3, 4], "2026-01-01")
    evaluated(run, "rl-math", [2, 2, 3, 3, 4, 4, 4, 3], "2026-01-02")
    assert main(["compare", str(run / "evaluate-sft"), str(run), "--moved", "2"]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[:2] == [f"A {run / 'evaluate-sft'}", f"B {run / 'evaluate-rl-math'}"], "a run is its last model"
    assert said[3] == "aime (math), 8 problems"
    assert "B - A +37.5 points" in said[5]
    assert "7 problems up, 1 down, the furthest 2:" in said[6]
    assert said[7:9] == ["    aime/0  0.00 -> 0.50", "    aime/1  0.00 -> 0.50"]
    assert said[-1] == "asked in the same way, as far as it is recorded"


def test_what_was_asked_differently_is_said_and_the_models_names_are_not(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one = evaluated(tmp_path / "a", "sft", [1, 2], "2026-01-01", heat=1.0)
    other = evaluated(tmp_path / "b", "sft", [1, 2, 3], "2026-01-01", heat=0.6)
    assert main(["compare", str(one), str(other)]) == 0
    said = capsys.readouterr().out
    assert said.endswith("asked differently:\n  sampling.temperature: 1.0 -> 0.6\n")
    assert "left out: 0 problems of A alone, 1 problem of B alone" in said


def test_as_a_document(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one = evaluated(tmp_path / "a", "sft", [0, 0, 0], "2026-01-01")
    other = evaluated(tmp_path / "b", "sft", [4, 4, 4], "2026-01-01")
    assert main(["compare", str(one), str(other), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    (row,) = document["benchmarks"]
    assert (row["benchmark"], row["p"], row["difference"]["value"]) == ("aime", 0.25, 1.0)
    assert document["settings"] == {}


def test_what_is_no_evaluation(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one = evaluated(tmp_path / "a", "sft", [0], "2026-01-01")
    assert main(["compare", str(one), str(tmp_path / "nowhere")]) == 2
    assert "there is no such directory" in capsys.readouterr().err
    (tmp_path / "empty").mkdir()
    assert main(["compare", str(tmp_path / "empty"), str(one)]) == 2
    assert "holds no finished evaluation" in capsys.readouterr().err
    other = evaluated(tmp_path / "b", "sft", [], "2026-01-01")
    assert main(["compare", str(one), str(other)]) == 2
    assert "no problem in common" in capsys.readouterr().err


def test_damaged_files_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one = evaluated(tmp_path / "a", "sft", [0], "2026-01-01")
    (one / "problems.jsonl").write_text('{"id": "x"}\n')
    assert main(["compare", str(one), str(one)]) == 2
    assert "problems.jsonl" in capsys.readouterr().err
