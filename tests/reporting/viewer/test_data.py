"""What the page is told: places, growth, scores, the parts of a completion, the failing test."""

from __future__ import annotations

import json
import math
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from tests.reporting.viewer.made import Made, evaluation, with_texts

from openklear.data.store import prepared, write_problems
from openklear.durable.files import write_json
from openklear.errors import DataError, UsageError
from openklear.evaluation.statistics import mean_interval
from openklear.evaluation.stored import SAMPLES, SETTINGS, open_stored, write_samples
from openklear.reporting.viewer import places, shape
from openklear.reporting.viewer.answers import Answers
from openklear.reporting.viewer.details import parts
from openklear.reporting.viewer.growing import Growing, Since
from openklear.think import split_thought
from openklear.types import Message, Problem, Test


def only(directory: Path) -> tuple[Answers, str]:
    """The answers over a directory with one thing in it, and that thing's id."""
    asked = Answers([directory])
    (one,) = asked.exhibits()
    return asked, one.id


def test_evaluations_phases_and_runs_are_found_wherever_they_lie(tmp_path: Path) -> None:
    evaluation(tmp_path / "runs" / "one" / "evaluate-sft", 1, 1)
    evaluation(tmp_path / "alone", 1, 1)
    (tmp_path / "runs" / "one" / "rl-math" / "iterations").mkdir(parents=True)
    (tmp_path / "runs" / "old" / "evaluate-base").mkdir(parents=True)
    (tmp_path / "runs" / "old" / "evaluate-base" / "stage.json").write_text("{}")
    (tmp_path / "runs" / "one" / "superseded" / "rl-math" / "iterations").mkdir(parents=True)
    found = places.find([tmp_path / "runs", tmp_path / "alone", tmp_path / "alone"])
    assert [(one.name, one.kind) for one in found] == [
        ("runs/old/evaluate-base", "older"),
        ("runs/one/evaluate-sft", "evaluation"),
        ("runs/one/rl-math", "phase"),
        ("alone", "evaluation"),
    ]
    assert len({one.id for one in found}) == 4
    listed = Answers([tmp_path / "runs"]).listed()["items"]
    assert [bool(one["fault"]) for one in listed] == [True, False, False]


def test_nothing_to_look_at_is_said(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such directory"):
        places.require([tmp_path / "gone"])
    with pytest.raises(UsageError, match="holds no evaluation"):
        places.require([tmp_path])


def test_scores_are_the_means_over_problems_with_their_intervals(tmp_path: Path) -> None:
    made = Made(tmp_path, 4)
    for problem, rights in enumerate([4, 2, 1]):  # of four samples each; nothing of the fourth problem yet
        for sample in range(4):
            made.judge(problem, sample, "correct" if sample < rights else "wrong", "x" * 40)
    asked, name = only(tmp_path)
    (row,) = asked.evaluation(name)["scores"]
    value, low, high, problems = row["avg"]
    wanted = mean_interval(np.array([1, 0.5, 0.25]), 4)
    assert value == pytest.approx(7 / 12)
    assert (low, high, problems) == (wanted.low, wanted.high, 3)
    assert (row["problems"], row["of"], row["k"], row["samples"]) == (3, 4, 4, 12)
    assert row["pass"][0] == 1.0
    assert row["mean_tokens"] == 10


def test_what_stands_beside_a_score_is_counted(tmp_path: Path) -> None:
    made = Made(tmp_path, 2)
    for sample, fate in enumerate(["correct", "truncated", "unanswered", "stands", "unscorable", "wrong"]):
        made.judge(0, sample, fate, "")
    asked, name = only(tmp_path)
    (row,) = asked.evaluation(name)["scores"]
    shares = {key: row[key] for key in ("stopped_by_length", "no_answer", "unscorable", "stands")}
    assert shares == dict.fromkeys(shares, pytest.approx(1 / 6))
    assert row["avg"][0] == pytest.approx(1 / 5), "the unscorable one is in no mean"
    assert row["bounds"] == pytest.approx([1 / 6, 2 / 6])
    flags = asked.evaluation(name)["samples"]["flags"]
    assert [one & ~shape.HAS_TEXT for one in flags] == [0, shape.TRUNCATED, shape.UNANSWERED, shape.STANDS, 0, 0]


def test_problems_that_could_not_be_asked_count_as_wrong(tmp_path: Path) -> None:
    made = Made(tmp_path, 2)
    rows = [json.loads(line) for line in (tmp_path / "prompts.jsonl").read_text().splitlines()]
    rows[1]["refused"] = "prompt of 9 tokens does not fit"
    (tmp_path / "prompts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    made.judge(0, 0, "correct", "")
    asked, name = only(tmp_path)
    (row,) = asked.evaluation(name)["scores"]
    assert (row["avg"][0], row["problems"], row["refused"]) == (0.5, 2, 1)


def test_samples_of_what_was_not_asked_are_no_missing_answers(tmp_path: Path) -> None:
    made = Made(tmp_path, 1)
    made.judge(0, 0, "wrong", "", stop_reason="error", extracted=None, start=None, reason="not asked: too long")
    asked, name = only(tmp_path)
    found = asked.evaluation(name)
    assert found["samples"]["flags"] == [shape.REFUSED]
    assert (found["scores"][0]["avg"][0], found["scores"][0]["no_answer"]) == (0.0, 0.0)
    assert "has no text" in asked.completion(name, 0, 0)["fault"]


def test_only_new_samples_are_sent_while_it_grows(tmp_path: Path) -> None:
    made = Made(tmp_path, 3)
    made.judge(0, 0, "correct", "a")
    growing = Growing(tmp_path)
    first = shape.evaluation(growing.look())
    seen = Since(first["generation"], first["count"])
    made.judge(2, 0, "wrong", "b")
    with (tmp_path / SAMPLES).open("ab") as file:
        file.write(b'{"benchmark": "aime24", "prob')  # a line under way
    second = shape.evaluation(growing.look(), seen)
    assert (second["from"], second["count"], second["samples"]["problem"]) == (1, 2, [2])
    assert second["generation"] == first["generation"]
    assert second["faults"] == []
    assert shape.evaluation(growing.look(), Since("another", 1))["from"] == 0


def test_a_file_put_in_order_at_its_end_is_read_anew(tmp_path: Path) -> None:
    made = Made(tmp_path, 2)
    late, early = made.judge(1, 0, "wrong", "b"), made.judge(0, 0, "correct", "a")
    growing = Growing(tmp_path)
    first = shape.evaluation(growing.look())
    write_samples(tmp_path / SAMPLES, [early, late])
    second = shape.evaluation(growing.look(), Since(first["generation"], 2))
    assert second["generation"] != first["generation"]
    assert (second["from"], second["samples"]["problem"]) == (0, [0, 1])
    assert growing.look().stored.samples == open_stored(tmp_path).samples


def test_a_damaged_row_is_named_and_what_stands_before_it_is_shown(tmp_path: Path) -> None:
    evaluation(tmp_path, 2, 2)
    lines = (tmp_path / SAMPLES).read_bytes().split(b"\n")
    lines[2] = lines[2][:40] + b"\x00\xff" + lines[2][42:60]
    (tmp_path / SAMPLES).write_bytes(b"\n".join(lines))
    asked, name = only(tmp_path)
    found = asked.evaluation(name)
    assert found["count"] == 2
    assert f"{SAMPLES}:3: is no row of an evaluation" in found["faults"][0]
    (tmp_path / SETTINGS).write_text("{")
    assert any("not valid JSON" in one for one in asked.evaluation(name)["faults"])


def test_a_directory_that_vanishes_is_said(tmp_path: Path) -> None:
    evaluation(tmp_path / "a", 1, 1)
    asked, name = only(tmp_path / "a")
    snapshot = asked.snapshot(name)
    shutil.rmtree(tmp_path / "a")
    with pytest.raises(DataError, match="not there any more"):
        asked.evaluation(name)
    with pytest.raises(DataError, match="cannot be read"):
        snapshot.stored.text(snapshot.stored.samples[0])
    assert asked.changes() == {}


def test_a_stamp_changes_with_every_verdict(tmp_path: Path) -> None:
    made = Made(tmp_path, 1)
    asked, name = only(tmp_path)
    before = asked.changes()[name]
    assert asked.changes()[name] == before
    made.judge(0, 0, "wrong", "b")
    assert asked.changes()[name] != before


@pytest.mark.parametrize(
    ("text", "tail", "wanted"),
    [
        ("just text", "", [("text", "just text")]),
        ("<think>a</think>b", "", [("thought", "<think>a</think>"), ("text", "b")]),
        ("a</think>\n\nb", "<think>\n", [("thought", "a</think>\n\n"), ("text", "b")]),
        ("a</think>b", "", [("thought", "a</think>"), ("text", "b")]),
        ("x<think>a", "", [("text", "x"), ("thought", "<think>a")]),
        ("a", "<think>", [("thought", "a")]),
        ("</think> <think>", "", [("thought", "</think>"), ("text", " <think>")]),
        ("<think>a</think>b<think>c</think>d", "", [("thought", "<think>a</think>b<think>c</think>"), ("text", "d")]),
        ("", "", []),
        ("a\u202eb", "", [("text", "a⟨U+202E⟩b")]),
    ],
)
def test_the_parts_of_a_completion(text: str, tail: str, wanted: list[tuple[str, str]]) -> None:
    assert parts(text, tail) == wanted
    assert "".join(one for _, one in parts(text, tail)).replace("⟨U+202E⟩", "\u202e") == text
    answer = split_thought(text, tail).answer
    if answer is not None and wanted:
        assert wanted[-1][1].replace("⟨U+202E⟩", "\u202e").strip() == answer.strip(), "as the judge splits it"


def test_the_failing_test_is_shown_where_the_run_has_it(tmp_path: Path) -> None:
    made = Made(tmp_path / "run" / "evaluate-sft", 1)
    made.judge(0, 0, "wrong", "print(1)", domain="code", reason="test 2 of 2: wrong output", passed=1, total=2)
    made.judge(0, 1, "wrong", "print(1)", domain="code", reason="test 3 of 9: exit status 1")
    data = prepared(tmp_path / "run" / "prepare").heldout
    data.parent.mkdir(parents=True)
    tests = (Test("1", "1"), Test("2\n" * 9000, "4\n"))
    write_problems(data, [Problem("2024-00", (Message(role="user", content="?"),), "code", tests=tests)])
    asked, name = only(tmp_path)
    found = asked.completion(name, 0, 0)["test"]
    assert (found["number"], found["of"]) == (2, 2)
    (stdin, head, left_out, tail), stdout = found["fields"]
    assert (stdin, stdout) == ("stdin", ("stdout", "4\n", 0, ""))
    assert len(head) + left_out + len(tail) == 18_000
    unknown = asked.completion(name, 0, 1)["test"]
    assert unknown["number"] == 3
    assert "not beside this evaluation" in unknown["note"]


def test_which_rule_decided(tmp_path: Path) -> None:
    with_texts(tmp_path, [r"\boxed{1}"])
    asked, name = only(tmp_path)
    assert asked.completion(name, 0, 0)["explainable"]
    lines = asked.explained(name, 0, 0)["lines"]
    assert lines[0].split() == ["reference", "0"]
    assert lines[-1].startswith("verdict    incorrect")


def test_settings_become_dotted_names(tmp_path: Path) -> None:
    rows = shape.settings_rows(
        {"model": {"name": "x"}, "benchmarks": [{"name": "a", "k": 8}], "stop": [1, 2], "n": math.pi}
    )
    assert dict(rows) == {
        "model.name": "x",
        "benchmarks.a.name": "a",
        "benchmarks.a.k": "8",
        "stop": "[1, 2]",
        "n": str(math.pi),
    }


def test_scores_that_were_written_are_shown_in_any_form(tmp_path: Path) -> None:
    evaluation(tmp_path, 1, 1)
    asked, name = only(tmp_path)
    row = {"benchmark": "aime24", "domain": "math", "level": None, "metric": "maj", "k": 8, "value": 0.5}
    write_json(tmp_path / "scores.json", {"scores": [{**row, "low": 0.25, "high": 0.75}, {**row, "level": "1"}]})
    assert asked.evaluation(name)["written"] == [["aime24", "math", "maj@8", "50.0", "25.0", "75.0"]]
    for other in ("[1]", "{}", "nonsense", '{"scores": [{"value": 1}]}'):
        (tmp_path / "scores.json").write_text(other)
        assert asked.evaluation(name)["written"] == []


def test_what_is_still_to_be_sampled_is_known(tmp_path: Path) -> None:
    made = Made(tmp_path, 3)
    settings = {"benchmarks": [{"name": "aime24", "samples": 4}, {"name": "other"}, "odd"]}
    write_json(tmp_path / SETTINGS, settings)
    made.judge(0, 0, "wrong", "")
    asked, name = only(tmp_path)
    found = asked.evaluation(name)
    assert found["wanted"] == {"aime24": 4}
    assert (found["scores"][0]["samples"], found["scores"][0]["wanted"]) == (1, 12)
    for odd in ({}, {"benchmarks": 3}, {"benchmarks": {"aime24": 4}}):
        assert shape.wanted_samples(odd) == {}


def test_names_of_directories_show_what_they_hide(tmp_path: Path) -> None:
    place = tmp_path / "a\u202eb"
    evaluation(place, 1, 1)
    asked, _ = only(place)
    assert asked.listed()["items"][0]["name"] == "a⟨U+202E⟩b"
    assert os.path.isdir(place)
