"""The table of models and benchmarks: values, intervals, footnotes, and quoted rows that nothing is computed from."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from tests.evaluation.exchange.cases import CORRECT, INCORRECT, SETTINGS_OF_OURS, UNSCORABLE, evaluation

from openklear.durable.files import json_text
from openklear.errors import DataError, UsageError
from openklear.evaluation.leaderboard import document, leaderboard, markdown
from openklear.evaluation.quotes import Quote, read_quotes, shipped
from openklear.evaluation.statistics import mean_interval

GOOD, BAD, LOST = ("7", CORRECT), ("8", INCORRECT), ("9", UNSCORABLE)


def test_a_score_is_the_mean_over_problems_with_its_interval(tmp_path: Path) -> None:
    texts = {("aime25", "1"): [GOOD, GOOD], ("aime25", "2"): [GOOD, BAD], ("aime25", "3"): [LOST, BAD]}
    board = leaderboard([evaluation(tmp_path / "a", texts)])
    (row,) = board.rows
    cell = row.cells["aime25"]
    found = mean_interval(np.array([1.0, 0.5, 0.0]), 2)
    assert (cell.value, cell.low, cell.high) == (0.5, found.low, found.high)
    assert cell.remarks == ("1 completions could not be scored",)
    assert board.usual["aime25"]["k"] == "2"
    assert board.usual["aime25"]["budget"] == "32768"


def test_what_differs_between_rows_is_a_footnote(tmp_path: Path) -> None:
    same = {("aime25", "1"): [GOOD], ("aime25", "2"): [BAD]}
    short = SETTINGS_OF_OURS | {
        "model": {"name": "lab/short"},
        "benchmarks": [{"name": "aime25", "max_completion_tokens": 1024}],
        "protocol": {"name": "greedy", "yarn": None},
    }
    one, other = evaluation(tmp_path / "a", same), evaluation(tmp_path / "b", same, settings=short)
    lines = markdown(leaderboard([one, other], [Quote("theirs", "aime25", 0.5, "a page", k=1, budget=32768)]))
    assert lines[0] == "| model | aime25 avg@1 |"
    assert lines[2].startswith("| lab/model-8b | 50.0 (")
    assert lines[2].endswith(") |")
    assert lines[3].endswith(") [1] |")
    assert "[1] budget 1024; protocol greedy" in lines
    assert lines[4] == "| theirs (quoted) | *50.0* [2] |"
    assert any(line.endswith(": a page") for line in lines)


def test_quoted_scores_change_no_measured_number(tmp_path: Path) -> None:
    ours = evaluation(tmp_path / "a", {("aime25", "1"): [GOOD], ("aime25", "2"): [BAD]})
    quotes = [Quote(name, "aime25", 0.99, "s", k=64, budget=65536) for name in ("x", "y", "z")]
    alone, beside = leaderboard([ours]), leaderboard([ours], quotes)
    assert beside.rows[0] == alone.rows[0]
    assert beside.usual == alone.usual
    quoted = beside.rows[1].cells["aime25"]
    assert (quoted.low, quoted.high, quoted.problems) == (None, None, None)


def test_the_reports_own_table(tmp_path: Path) -> None:
    quotes = read_quotes("klear-report")
    assert len(quotes) == 40
    values = {(one.model, one.benchmark): one.value for one in quotes}
    assert values["Klear-Reasoner-8B (64K, YaRN 2.5)", "aime24"] == pytest.approx(0.905)
    assert values["AceReason-Nemotron-1.1-7B", "lcb:v6"] == pytest.approx(0.521)
    assert {one.k for one in quotes if one.benchmark.startswith("lcb")} == {8}
    lines = markdown(leaderboard([], quotes))
    assert lines[0] == "| model | aime24 avg@64 | aime25 avg@64 | hmmt25 avg@64 | lcb:v5 avg@8 | lcb:v6 avg@8 |"
    (klear,) = [line for line in lines if "YaRN 2.5) (quoted)" in line]
    assert [cell.split()[0] for cell in klear.split("|")[2:-1]] == ["*90.5*", "*83.2*", "*70.8*", "*66.0*", "*58.1*"]
    assert "[2] budget 65536; YaRN 2.5" in lines
    assert shipped() == ["klear-report"]


def test_a_run_with_several_evaluations(tmp_path: Path) -> None:
    for stage in ("base", "sft"):
        named = SETTINGS_OF_OURS | {"model": {"name": stage}}
        evaluation(tmp_path / "run" / f"evaluate-{stage}", {("aime25", "1"): [GOOD]}, settings=named)
    assert [row.model for row in leaderboard([tmp_path / "run"]).rows] == ["base", "sft"]
    two = leaderboard([tmp_path / "run", tmp_path / "run"])
    assert two.rows[0].model == f"base ({tmp_path / 'run' / 'evaluate-base'})"
    with pytest.raises(UsageError, match="holds no evaluation: neither"):
        leaderboard([tmp_path])
    with pytest.raises(UsageError, match="there is nothing to show"):
        leaderboard([])


def test_an_evaluation_under_way_and_one_that_nothing_could_score(tmp_path: Path) -> None:
    begun = evaluation(tmp_path / "a", {("aime25", "1"): [GOOD]}, ended=False)
    assert leaderboard([begun]).rows[0].cells["aime25"].remarks == ("still under way: its problems so far",)
    lost = evaluation(tmp_path / "b", {("aime25", "1"): [LOST]})
    board = leaderboard([lost])
    assert board.rows[0].cells["aime25"].value is None
    assert markdown(board)[2].startswith("| lab/model-8b | none [1] |")


def test_names_cannot_end_a_cell(tmp_path: Path) -> None:
    named = SETTINGS_OF_OURS | {"model": {"name": "a | b\nc"}}
    board = leaderboard([evaluation(tmp_path / "a", {("x|y", "1"): [GOOD]}, settings=named)])
    assert markdown(board)[0] == "| model | x\\|y avg@1 |"
    assert markdown(board)[2].startswith("| a \\| b c | 100.0")
    assert json.loads(json_text(document(board)))["rows"][0]["scores"]["x|y"]["value"] == 1.0


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("quoted = 3", "must hold `quoted`, an array of tables"),
        ("other = 1\nquoted = []", "must hold `quoted`"),
        ("quoted = [3]", "quoted 1: must be a table"),
        ('quoted = [{ model = "m", benchmark = "b", value = 50 }]', "quoted 1: source is missing"),
        ('source = "s"\nquoted = [{ model = "m", benchmark = "b", value = 500 }]', "between 0 and 100"),
        ('source = "s"\nquoted = [{ model = "m", benchmark = "b", value = true }]', "value must be int or float"),
        ('source = "s"\nquoted = [{ model = "m", benchmark = "b", score = 5 }]', "unknown key score; known are model"),
        (
            'source = "s"\nquoted = [{ model = "m", benchmark = "b", value = 0 }, { model = "m", benchmark = "b", value = 1 }]',
            "m on b is quoted twice",
        ),
        ("quoted = [", "cannot be read"),
    ],
)
def test_files_of_quotes_that_are_none(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "q.toml").write_text(text)
    with pytest.raises(DataError, match=said):
        read_quotes(str(tmp_path / "q.toml"))


def test_a_file_of_quotes_that_is_not_there() -> None:
    with pytest.raises(DataError, match="those that are shipped: klear-report"):
        read_quotes("nowhere.toml")
