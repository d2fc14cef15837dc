"""An evaluation written for another tool: the way back gives the same verdicts, and others' schemas take it."""

from __future__ import annotations

import json
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from tests.evaluation.exchange.cases import CORRECT, INCORRECT, UNSCORABLE, evaluation, imported, taken
from tests.shared_data import shared

from openklear.errors import DataError, UsageError
from openklear.evaluation.exchange.exporting import export
from openklear.evaluation.exchange.livecodebench import program_in
from openklear.evaluation.exchange.names import Format
from openklear.evaluation.stored import Sample, open_stored

TEXTS: dict[tuple[str, str], Any] = {
    ("aime25", "I/1"): [("<think>\nhm\n</think>\n\nso 7", CORRECT), ("cut off in the middle ...", INCORRECT)],
    ("aime25", "../2"): [("\x00 \ud800 <script>alert(1)</script> 7", UNSCORABLE), ("", INCORRECT)],
    ("aime25", "three"): [(None, INCORRECT), ("<think>a</think>b</think>c", CORRECT)],
}
"""Two samples a problem; the last but one was never asked."""


def facts(sample: Sample) -> Sample:
    """What a way out and back in must not change; an empty text is as good as none."""
    return replace(sample, start=None, length=0, format_fault="")


@pytest.mark.parametrize("tail", ["", "<think>\n"])
def test_inspect_and_back(tmp_path: Path, tail: str) -> None:
    ours = open_stored(evaluation(tmp_path / "ours", TEXTS, tail=tail))
    found = export(ours.directory, "inspect", tmp_path / "a.eval")
    assert found.files == [tmp_path / "a.eval"]
    back, said = taken(tmp_path / "back", tmp_path / "a.eval")
    assert [facts(one) for one in back.samples] == [facts(one) for one in ours.samples]
    texts = [back.text(one) for one in back.samples if one.start is not None]
    assert texts == [ours.text(one) if one.start is not None else "" for one in ours.samples]
    assert said["tool"] == "inspect"
    assert back.settings["sampling"] == {"temperature": 0.6, "top_p": 0.95, "max_tokens": 32768}
    claims = {row["metric"]: row for row in said["scores"]}
    assert claims["accuracy"]["rows_give"] == pytest.approx((1 / 2 + 0 + 1 / 2) / 3)
    assert claims["accuracy"]["agrees"] is True
    assert [one.prompt for one in back.asked.values()] == [one.prompt for one in ours.asked.values()]


def test_inspect_takes_thoughts_apart(tmp_path: Path) -> None:
    ours = evaluation(tmp_path / "ours", {("a", "1"): [("hm</think>so 7", CORRECT)]}, tail="<think>")
    export(ours, "inspect", tmp_path / "a.eval")
    with zipfile.ZipFile(tmp_path / "a.eval") as packed:
        row = json.loads(packed.read("samples/1_epoch_1.json"))
    assert row["messages"][-1]["content"] == [
        {"type": "reasoning", "reasoning": "hm"},
        {"type": "text", "text": "so 7"},
    ]
    assert row["output"]["completion"] == "so 7"
    assert row["output"]["usage"] == {"input_tokens": 5, "output_tokens": 14, "total_tokens": 19}


def test_the_same_evaluation_makes_the_same_bytes(tmp_path: Path) -> None:
    ours = evaluation(tmp_path / "ours", TEXTS)
    for name in ("a", "b"):
        export(ours, "inspect", tmp_path / f"{name}.eval")
    assert (tmp_path / "a.eval").read_bytes() == (tmp_path / "b.eval").read_bytes()


def test_a_log_of_inspect_and_back(tmp_path: Path) -> None:
    """The handmade log of the shared data, through ours, with its verdicts, answers and texts."""
    first, _ = imported(tmp_path / "first", "inspect/handmade_stdlib_aime25.eval")
    export(first.directory, "inspect", tmp_path / "a.eval")
    back, _ = taken(tmp_path / "back", tmp_path / "a.eval")
    assert [facts(one) for one in back.samples] == [facts(one) for one in first.samples]
    assert [back.text(one) for one in back.samples] == [first.text(one) for one in first.samples]


def test_lm_eval_and_back(tmp_path: Path) -> None:
    ours = open_stored(evaluation(tmp_path / "ours", TEXTS))
    files = export(ours.directory, "lm-eval", tmp_path / "out").files
    assert [path.name.partition("_")[0] for path in files] == ["results", "samples"]
    rows = [json.loads(line) for line in files[1].read_text().splitlines()]
    assert [row["exact_match"] for row in rows] == [0.5, 0.0, 0.5]
    assert rows[0]["resps"][0][0] == "<think>\nhm\n</think>\n\nso 7"
    results = json.loads(files[0].read_text())
    assert results["results"]["aime25"]["exact_match,openklear"] == pytest.approx(1 / 3)
    # sqrt(((1/6)^2 + (1/3)^2 + (1/6)^2) / 2) / sqrt(3) = 1/6
    assert results["results"]["aime25"]["exact_match_stderr,openklear"] == pytest.approx(1 / 6)
    assert results["configs"]["aime25"]["generation_kwargs"]["max_gen_toks"] == 32768
    back, said = taken(tmp_path / "back", *files)
    alike = {"level": "easy", "start": None, "length": 0, "format_fault": ""}
    assert [replace(one, **alike) for one in back.samples] == [replace(one, **alike) for one in ours.samples]
    assert {row["agrees"] for row in said["scores"] if row["rows_give"] is not None} == {True}


def test_livecodebench_gives_the_file_again(tmp_path: Path) -> None:
    stored, _ = imported(tmp_path / "e", "livecodebench/official_eval_all_o1-mini.json")
    export(stored.directory, "livecodebench", tmp_path / "again.json")
    official = json.loads(shared("evaluation/livecodebench/official_eval_all_o1-mini.json").read_text())
    again = json.loads((tmp_path / "again.json").read_text())
    assert again == official
    assert [list(entry) for entry in again] == [list(entry) for entry in official]


def test_livecodebench_lists_without_verdicts_again(tmp_path: Path) -> None:
    mine = [{"question_id": "abc1", "code_list": ["print(1)", ""]}, {"question_id": "7", "code_list": ["x"]}]
    (tmp_path / "mine.json").write_text(json.dumps(mine))
    taken(tmp_path / "e", tmp_path / "mine.json")
    export(tmp_path / "e", "livecodebench", tmp_path / "again.json")
    assert json.loads((tmp_path / "again.json").read_text()) == mine


def test_livecodebench_of_our_own(tmp_path: Path) -> None:
    texts = {("lcb", "a"): [("so\n```python\nprint(7)\n```\n", CORRECT), ("none", INCORRECT), ("", UNSCORABLE)]}
    export(evaluation(tmp_path / "ours", texts, domain="code"), "livecodebench", tmp_path / "a.json")
    assert json.loads((tmp_path / "a.json").read_text()) == [
        {
            "question_id": "a",
            "question_content": "What is a?",
            "output_list": ["so\n```python\nprint(7)\n```\n", "none", ""],
            "code_list": ["print(7)", "", ""],
            "graded_list": [True, False, None],
            "pass@1": 0.5,
            "metadata": ["{}", '{"error_message": "because 1"}', '{"error_message": "because 2"}'],
        }
    ]


def test_the_program_of_a_response_as_lcb_runner_takes_it() -> None:
    """The last two lines with a fence in them, whatever stands around them."""
    assert program_in("```\na\n```\n```py\nb\n  ``` x") == "b"
    assert program_in("```\na") == ""


@pytest.fixture(scope="module")
def schemas() -> dict[str, Any]:
    found = {}
    for kind in ("eval", "instance"):
        schema = json.loads(shared(f"evaluation/every_eval_ever.{kind}.schema.json").read_text())
        found[kind] = jsonschema.Draft7Validator(schema)
    return found


def checked(directory: Path, schemas: dict[str, Any]) -> list[tuple[dict[str, Any], list[dict[str, Any]]]]:
    """Aggregates and their instances, after both schemas took them."""
    found = []
    for path in sorted(directory.rglob("*.json")):
        aggregate = json.loads(path.read_text())
        schemas["eval"].validate(aggregate)
        rows = directory / aggregate["detailed_evaluation_results"]["file_path"]
        instances = [json.loads(line) for line in rows.read_text().split("\n")[:-1]]
        for one in instances:
            schemas["instance"].validate(one)
            assert one["evaluation_id"] == aggregate["evaluation_id"]
        found.append((aggregate, instances))
    return found


def test_every_eval_ever_of_our_own(tmp_path: Path, schemas: dict[str, Any]) -> None:
    export(evaluation(tmp_path / "ours", TEXTS), "every-eval-ever", tmp_path / "out")
    ((aggregate, instances),) = checked(tmp_path / "out", schemas)
    (result,) = aggregate["evaluation_results"]
    assert result["score_details"]["score"] == pytest.approx(1 / 3)
    assert result["score_details"]["details"] == {
        "problems": "3",
        "completions": "6",
        "unscorable": "1",
        "stopped_by_length": "1",
    }
    assert result["generation_config"]["generation_args"] == {
        "temperature": 0.6,
        "top_p": 0.95,
        "max_tokens": 32768,
    }
    assert len(instances) == 5  # right or wrong: the unscorable one is in the aggregate's count alone
    assert instances[0]["output"] == {"raw": ["\n\nso 7"], "reasoning_trace": ["\nhm\n"]}
    assert [one["evaluation"]["is_correct"] for one in instances] == [True, False, False, False, True]


@pytest.mark.parametrize(
    "names",
    [
        ("inspect/log_streaming.eval",),
        ("inspect/data_arc_qwen.json",),
        ("nemo_skills/math-aime25-rs0.jsonl", "nemo_skills/math-aime25-rs1.jsonl"),
        ("livecodebench/official_eval_all_o1-mini.json",),
        ("evalscope/qwen-plus_reviews_gsm8k_main.jsonl", "evalscope/qwen-plus_reviews_gpqa_diamond_default.jsonl"),
    ],
)
def test_every_eval_ever_of_others(tmp_path: Path, schemas: dict[str, Any], names: tuple[str, ...]) -> None:
    stored, _ = imported(tmp_path / "e", *names)
    export(stored.directory, "every-eval-ever", tmp_path / "out")
    found = checked(tmp_path / "out", schemas)
    assert sum(len(instances) for _, instances in found) == len(stored.samples)


def test_benchmarks_that_a_format_has_no_place_for(tmp_path: Path) -> None:
    texts = {("a", "1"): [("x", UNSCORABLE)], ("b", "1"): [("x", CORRECT)]}
    ours = evaluation(tmp_path / "ours", texts)
    found = export(ours, "every-eval-ever", tmp_path / "out")
    assert found.left_out == {"a": "has no scorable completion, and a score of nothing has no place there"}
    assert len(found.files) == 2
    with pytest.raises(DataError, match="nothing to write as livecodebench: a is not of programs"):
        export(ours, "livecodebench", tmp_path / "b.json")


def test_names_of_benchmarks_may_hold_anything(tmp_path: Path) -> None:
    texts = {(name, "1"): [("x", CORRECT)] for name in ("../../a/b", "../../a:b", "\x00", "日本")}
    ours = evaluation(tmp_path / "ours", texts)
    forms: tuple[Format, ...] = ("inspect", "lm-eval", "every-eval-ever")
    counts = [len(export(ours, form, tmp_path / form).files) for form in forms]
    assert counts == [4, 5, 8]
    for form in forms:
        assert all((tmp_path / form) in path.parents for path in (tmp_path / form).rglob("*"))
    names = {path.name for path in (tmp_path / "inspect").iterdir()}
    assert names == {"_.._a_b.eval", "_.._a_b~2.eval", "_.eval", "_~2.eval"}


def test_nothing_is_overwritten_and_nothing_made_of_nothing(tmp_path: Path) -> None:
    ours = evaluation(tmp_path / "ours", TEXTS)
    with pytest.raises(UsageError, match="exists already"):
        export(ours, "inspect", tmp_path)
    with pytest.raises(UsageError, match="holds no evaluation"):
        export(tmp_path, "inspect", tmp_path / "a.eval")
    with pytest.raises(DataError, match="holds no judged completion yet"):
        export(evaluation(tmp_path / "none", {}), "inspect", tmp_path / "a.eval")
    with pytest.raises(DataError, match="still under way, and its scores would change"):
        export(evaluation(tmp_path / "begun", TEXTS, ended=False), "inspect", tmp_path / "a.eval")
