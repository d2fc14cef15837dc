"""openklear ablate: options, exit codes, what is printed. The runs themselves are in tests/ablation/test_study.py."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.ablation import desk, made

from openklear import progress
from openklear.ablation import study as running
from openklear.ablation.reports import study_toml
from openklear.ablation.scores import StudyScores
from openklear.cli.main import main
from openklear.errors import NoSpace


@pytest.fixture(autouse=True)
def _talk_again() -> Iterator[None]:
    yield
    progress.quiet(False)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(sys, "dont_write_bytecode", True)  # of the verifier, where no test has imported it yet
    desk.lay(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A study whose runs are made up."""
    file = tmp_path / "clipping.toml"
    file.write_text(study_toml(made.study()))
    return file


def running_gives(monkeypatch: pytest.MonkeyPatch, scores: StudyScores) -> list[Any]:
    """Instead of runs; what the command asked for."""
    asked: list[Any] = []

    def run_study(study: Any, path: Path, root: Path, jobs: int | None) -> StudyScores:
        asked.append((study.name, path, root, jobs))
        root.mkdir()
        print("a library says something")
        return scores

    monkeypatch.setattr(running, "run_study", run_study)
    return asked


def test_the_finding_the_warnings_and_the_pages(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = running_gives(monkeypatch, made.scores(made.study(), problems=30))
    reports = tmp_path / "reports"
    assert main(["ablate", str(path), "-o", str(tmp_path / "out"), "-j", "3", "--reports", str(reports)]) == 0
    assert asked == [("clipping", path, tmp_path / "out", 3)]
    lines = capsys.readouterr().out.splitlines()
    assert [Path(line).name for line in lines[-2:]] == ["page.html", "page.md"]
    assert all(Path(line).is_file() for line in lines[-2:])
    assert (reports / "clipping" / "page.html").read_bytes() == (tmp_path / "out" / "page.html").read_bytes()
    assert "clipping" in (reports / "index.md").read_text()


def test_the_page_names_the_file_and_not_what_the_study_is_called(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """studies/full/clipping.toml is clipping-full: `openklear ablate studies/full/clipping-full.toml` finds nothing."""
    scores = made.scores(made.study(), problems=30)
    running_gives(monkeypatch, StudyScores(scores.runs, (), 0, {**scores.facts, "command": None}))
    (tmp_path / "mine").mkdir()
    file = path.rename(tmp_path / "mine" / "another.toml")
    for where, command in ((tmp_path, "mine/another.toml"), (tmp_path / "mine", "another.toml")):
        monkeypatch.chdir(where)
        assert main(["ablate", str(file), "-o", str(where / "out")]) == 0
        assert f"openklear ablate {command} --output runs/clipping\n" in (where / "out" / "page.md").read_text()


@pytest.mark.parametrize("change", [{"leave_out": (("cispo", 3),)}, {"missing": 2}])
def test_runs_without_scores_are_exit_code_1_and_the_pages_are_there(
    change: dict[str, Any],
    path: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    running_gives(monkeypatch, made.scores(made.study(), problems=30, **change))
    assert main(["ablate", str(path), "--output", str(tmp_path / "out")]) == 1
    out = capsys.readouterr().out
    assert Path(out.splitlines()[-1]).is_file()
    if "leave_out" in change:
        assert "CISPO failed with seed 3: rl-math: the loss is not finite; lower the learning rate\n" in out


def test_json_is_one_document(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    nothing = StudyScores((), (), 48, made.scores(made.study(), problems=5).facts)
    for number, scores in enumerate((made.scores(made.study(), problems=30), nothing)):
        running_gives(monkeypatch, scores)
        assert main(["ablate", str(path), "--json", "--output", str(tmp_path / f"out{number}")]) == number
        document = json.loads(capsys.readouterr().out, parse_constant=lambda word: pytest.fail(f"{word} is no JSON"))
        assert document["missing"] == 48 * number
        assert len(document["comparisons"]) == 5
        assert document["comparisons"][0]["comparison"]["before"] == "ppo"
        assert (document["scores"][0]["mean"] is None) is (number == 1)


def test_an_error_is_one_document_too(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*_: Any) -> None:
        raise NoSpace("no space left")

    monkeypatch.setattr(running, "run_study", full)
    assert main(["ablate", str(path), "--json", "--output", str(tmp_path / "out")]) == 1
    out, err = capsys.readouterr()
    assert json.loads(out) == {"error": "no space left", "exit_code": 1}
    assert err == "no space left\n"


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ([], "give --output DIR, where the runs of the study will lie (or --dry-run to see what it takes)"),
        (["--output", "out", "--device", "h100"], "--device, --price and --completion-tokens plan a study; use them"),
        (["--output", "out", "--price", "0"], "--device, --price and --completion-tokens plan a study; use them"),
        (["--output", "out", "--jobs", "0"], "Invalid value for '--jobs' / '-j'"),
        (["--output", "out", "--set", "seed=1"], "No such option"),
        (["--dry-run", "--jobs", "2"], "--jobs and --reports are of a study that is run"),
        (["--dry-run", "--reports", "reports"], "--jobs and --reports are of a study that is run"),
        (["--dry-run", "--price", "-1"], "must be 0 or above"),
        (["--dry-run", "--device", "abacus"], "--device abacus: no such machine; choose one of"),
    ],
)
def test_usage(
    more: list[str],
    words: str,
    place: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(place)
    before = sorted(place.rglob("*"))
    assert main(["ablate", "study.toml", *more]) == 2
    out, err = capsys.readouterr()
    assert words in err
    assert out == ""
    assert sorted(place.rglob("*")) == before


def test_a_faulty_study_is_exit_code_2_and_leaves_nothing(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = desk.write_study(place, baseline="nobody")
    assert main(["ablate", str(path), "--output", str(place / "out")]) == 2
    assert main(["ablate", str(path), "--dry-run"]) == 2
    desk.write_study(place, set={"rl.nothing": 1})
    assert main(["ablate", str(path), "--output", str(place / "out")]) == 2
    assert main(["ablate", str(path), "--dry-run"]) == 2
    assert "Traceback" not in capsys.readouterr().err
    assert not (place / "out").exists()


def test_a_dry_run_prints_and_writes_nothing(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = sorted(place.rglob("*"))
    assert main(["ablate", str(place / "study.toml"), "--dry-run", "--output", str(place / "out")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "tiny: 2 arms x 2 seeds = 4 runs"
    assert [line.split()[:3] for line in lines if line.startswith(("rl-math", "sft"))] == [
        ["sft", "1", "4"],
        ["rl-math", "4", "4"],
    ], "SFT is made once for four runs, RL for each"
    assert main(["ablate", str(place / "study.toml"), "--dry-run", "--json", "--price", "2"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["runs"], document["seeds"], len(document["arms"])) == (4, 2, 2)
    assert document["cost"] == pytest.approx(2 * document["hours"])
    assert sorted(place.rglob("*")) == before
