"""openklear evaluate import, evaluate export and leaderboard, as commands."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import typer
from tests.evaluation.exchange.cases import CORRECT, INCORRECT, evaluation
from tests.shared_data import shared
from typer.testing import CliRunner

from openklear.cli.exchange import export, import_
from openklear.cli.leaderboard import leaderboard
from openklear.evaluation.comparison import compare
from openklear.evaluation.evaluated import differences, open_evaluated
from openklear.evaluation.exchange.names import Tool
from openklear.evaluation.exchange.recognising import TOOLS

app = typer.Typer()
app.command("import")(import_)
app.command("export")(export)
app.command("leaderboard")(leaderboard)


def run(*words: object) -> str:
    done = CliRunner().invoke(app, list(map(str, words)), catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.stdout


def test_every_tool_that_is_offered_is_there() -> None:
    assert set(TOOLS) == set(Tool.__args__)  # type: ignore[attr-defined]


def test_in_and_out_and_on_the_board(tmp_path: Path) -> None:
    files = [shared(f"evaluation/nemo_skills/math-aime25-rs{seed}.jsonl") for seed in range(3)]
    metrics = shared("evaluation/nemo_skills/metrics.json")
    said = run("import", *files, metrics, "--benchmark", "math", "-o", tmp_path / "e").splitlines()
    assert said[0] == f"{tmp_path / 'e'}: 21 completions of a model without a name"
    assert said[1] == "from nemo-skills, verdicts: symbolic_correct"
    assert said[2] == "  math: 7 problems x 3 samples"
    assert said[3] == "  21 of its own scores agree with its rows"
    assert said[4] == "  rows have neither ids nor problem texts: matched by position in their files"
    assert run("export", tmp_path / "e", "--format", "inspect", "-o", tmp_path / "a.eval") == f"{tmp_path / 'a.eval'}\n"
    assert (tmp_path / "a.eval").is_file()
    board = json.loads(run("leaderboard", tmp_path / "e", "--quoted", "klear-report", "--json"))
    assert board["rows"][0]["scores"]["math"]["value"] == pytest.approx(15 / 21)
    assert [row["quoted"] for row in board["rows"]] == [False] + [True] * 8


def test_differences_are_printed(tmp_path: Path) -> None:
    """metrics.json says 80 % over five problems of what are seven here."""
    files = [shared(f"evaluation/nemo_skills/{name}") for name in ("math-aime25-rs0.jsonl", "metrics.json")]
    said = run("import", *files, "-o", tmp_path / "e")
    line = "  differs: math-aime25, pass@1: 0.8000 there, 0.7143 from the rows, over 5 problems there and 7 here"
    assert line in said.splitlines()


def test_one_document_with_json(tmp_path: Path) -> None:
    said = json.loads(run("import", shared("evaluation/inspect/log_streaming.eval"), "-o", tmp_path / "e", "--json"))
    assert said["imported"]["scores"][0]["rows_give"] == 0.75
    out = json.loads(run("export", tmp_path / "e", "--format", "lm-eval", "-o", tmp_path / "out", "--json"))
    assert len(out["files"]) == 2


def test_the_table_is_printed_as_markdown(tmp_path: Path) -> None:
    ours = evaluation(tmp_path / "a", {("aime25", "1"): [("7", CORRECT)], ("aime25", "2"): [("8", INCORRECT)]})
    assert run("leaderboard", ours).splitlines()[:2] == ["| model | aime25 avg@1 |", "| --- | --- |"]


def test_what_was_left_out_is_printed(tmp_path: Path) -> None:
    texts = {("a", "1"): [("```\nx\n```", CORRECT)]}
    path = evaluation(tmp_path / "a", texts, domain="code")
    said = run("export", path, "--format", "livecodebench", "-o", tmp_path / "x.json")
    assert said == f"{tmp_path / 'x.json'}\n"


def test_imports_are_compared_by_what_scores_depend_on(tmp_path: Path) -> None:
    """Not by the files they came from, or by the claims that were held against their rows."""
    for seed in range(2):
        run(
            "import",
            shared(f"evaluation/nemo_skills/output-rs{seed}.jsonl"),
            "--benchmark",
            "m",
            "-o",
            tmp_path / str(seed),
        )
    first, last = (open_evaluated(tmp_path / str(seed)) for seed in range(2))
    assert first.settings["imported.tool"] == "nemo-skills"
    assert differences(first.settings, last.settings) == {}
    assert len(compare(first.results, last.results)) == 1
