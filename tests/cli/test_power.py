"""openklear evaluate power: from an evaluation on disk, from two, and from a guess."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import typer

from openklear.cli import exits
from openklear.cli.power import power
from openklear.evaluation.results import ProblemResult, write_results

app = typer.Typer(pretty_exceptions_enable=False)
app.command()(power)


def run(*words: str) -> int:
    return exits.tell(lambda: app(list(words), standalone_mode=False), as_json="--json" in words)


def evaluated(directory: Path, correct: dict[str, list[int]]) -> str:
    """Of each problem 8 samples."""
    directory.mkdir()
    rows = [
        ProblemResult(f"{name}/{i}", name, "math", None, 8, 8, right, 0, 9)
        for name, shares in correct.items()
        for i, right in enumerate(shares)
    ]
    write_results(directory / "problems.jsonl", rows)
    return str(directory)


AIME = [8, 8, 7, 6, 8, 2, 0, 8, 5, 8]


def test_a_guess(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--mean", "0.8", "--between", "0.4", "--seed-sd", "1") == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0] == "as guessed: mean 0.800, planned 30 problems x 64 samples"
    assert "one score to +-5 points: as planned +-9.7" in said
    assert "  samples:  no number suffices: only more problems help" in said
    assert sum(line.startswith("5 points in a study of 4 seeds, 80 % of the time, on") for line in said) == 2


def test_an_evaluation_teaches_what_varies(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one = evaluated(tmp_path / "one", {"aime": AIME, "hmmt": AIME[::-1]})
    assert run(one) == 0
    blocks = capsys.readouterr().out.split("\n\n")
    assert [block.partition(",")[0] for block in blocks] == ["aime (math): mean 0.750", "hmmt (math): mean 0.750"]
    assert run(one, "--benchmark", "hmmt", "--problems", "40", "--json") == 0
    (document,) = json.loads(capsys.readouterr().out)
    assert (document["benchmark"], document["problems"], document["samples"]) == ("hmmt (math)", 40, 8)
    assert document["one"]["mean"] == pytest.approx(0.75)
    assert document["two"]["moved"] == pytest.approx(2 * document["one"]["between"] * 0.2), "correlated by 0.8"


def test_two_evaluations_teach_how_problems_react(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one, same = evaluated(tmp_path / "one", {"aime": AIME}), evaluated(tmp_path / "two", {"aime": AIME})
    assert run(one, "--against", same, "--problems", "100", "--difference", "3", "--json") == 0
    (document,) = json.loads(capsys.readouterr().out)
    assert document["two"]["moved"] == 0.0
    assert document["pair"]["samples"] is not None


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "name an evaluation"),
        (["--mean", "0.8"], "--mean and --between"),
        (["--mean", "0.8", "--between", "2"], "from 0 to 1"),
        (["--mean", "0.8", "--between", "0.4", "--power", "1"], "--power 1.0"),
        (["--mean", "0.8", "--between", "0.4", "--difference", "0"], "above 0"),
        (["nowhere"], "no such directory"),
        (["ONE", "--mean", "0.8"], "leave them out"),
        (["ONE", "--benchmark", "gsm8k"], "one has aime"),
        (["ONE", "--against", "TWO"], "both have no benchmark"),
        (["ONE", "--against", "TWO", "--correlation", "0.5"], "leave it out"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(
    words: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    places = {
        "ONE": evaluated(tmp_path / "one", {"aime": AIME}),
        "TWO": evaluated(tmp_path / "two", {"hmmt": AIME}),
    }
    assert run(*(places.get(word, word) for word in words)) == 2
    assert message in " ".join(capsys.readouterr().err.replace("│", " ").split())
