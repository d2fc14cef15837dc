"""Rules of the import on files written for it: parts of a mark, filters, matching, damage."""

from __future__ import annotations

import json
import struct
import zipfile
import zlib
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from tests.evaluation.exchange.cases import CORRECT, INCORRECT, UNSCORABLE, scores, taken
from tests.shared_data import shared

from openklear.errors import DataError, UsageError
from openklear.evaluation.exchange import inspect_logs
from openklear.evaluation.exchange.opening import open_file
from openklear.evaluation.exchange.recognising import read_files
from openklear.evaluation.exchange.rows import ImportChoice, answer_of, mark_of, text_of
from openklear.types import Outcome


def lines(path: Path, *rows: Any) -> Path:
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return path


def log(path: Path, *samples: Any, **header: Any) -> Path:
    """A log of inspect_ai as one JSON document."""
    document = {"version": 2, "status": "success", "eval": {"task": "t", "model": "m"}, "samples": samples, **header}
    path.write_text(json.dumps(document))
    return path


def sample(name: Any, value: Any, epoch: int = 1, **more: Any) -> dict[str, Any]:
    output = {"choices": [{"message": {"role": "assistant", "content": "it is 7"}, "stop_reason": "stop"}]}
    scored = {"s": {"value": value, "answer": "7"}}
    return {"id": name, "epoch": epoch, "input": "?", "target": "7", "output": output, "scores": scored, **more}


def nemo(right: Any, answer: str = "1", **more: Any) -> dict[str, Any]:
    return {"generation": f"so {answer}", "predicted_answer": answer, "symbolic_correct": right, **more}


@pytest.mark.parametrize(
    ("value", "outcome", "score", "reason"),
    [
        (True, CORRECT, 1.0, ""),
        (0, INCORRECT, 0.0, ""),
        ("C", CORRECT, 1.0, ""),
        ("N", INCORRECT, 0.0, ""),
        ("P", INCORRECT, 0.5, "score 0.5 of 1"),
        ("0.25", INCORRECT, 0.25, "score 0.25 of 1"),
        (None, UNSCORABLE, None, "no score"),
        (float("nan"), UNSCORABLE, None, "no score"),
        ("fine", UNSCORABLE, None, "no score: 'fine'"),
        ({"a": 1}, UNSCORABLE, None, "no score: \"{'a': 1}\""),
    ],
)
def test_scores_as_verdicts(value: Any, outcome: Outcome, score: float | None, reason: str) -> None:
    assert mark_of(value, "here") == (outcome, reason, score)


@pytest.mark.parametrize("value", [7, -0.1, float("inf"), 10**400])
def test_another_scale_is_no_share_of_a_mark(value: Any) -> None:
    with pytest.raises(DataError, match=r"here: a score of .* is no share of a full mark"):
        mark_of(value, "here")


def test_parts_of_a_mark_are_said(tmp_path: Path) -> None:
    results = {"scores": [{"name": "s", "scorer": "s", "metrics": {"accuracy": {"value": 0.75}}}]}
    path = log(tmp_path / "a.json", sample("a", 0.5), sample("b", 1.0), results=results)
    stored, said = taken(tmp_path / "e", path)
    assert [one.outcome for one in stored.samples] == [INCORRECT, CORRECT]
    assert said["parts_of_a_mark"] == 1
    assert scores(said)["accuracy"] == (0.75, 0.75)
    (row,) = said["scores"]
    assert row["full_marks"] == 0.5
    assert row["says"] == "the same (0.7500); 0.5000 where only full marks count, as they do here"


def test_epochs_reduced_otherwise(tmp_path: Path) -> None:
    """pass_at_2 of (1, 0, 0): 1 - C(2, 2) / C(3, 2) = 2/3."""
    results = {
        "scores": [
            {"name": "s", "scorer": "s", "reducer": "pass_at_2", "metrics": {"accuracy": {"value": 2 / 3}}},
            {"name": "s", "scorer": "s", "reducer": "max", "metrics": {"accuracy": {"value": 1.0}}},
        ]
    }
    path = log(tmp_path / "a.json", *(sample("a", v, e) for e, v in enumerate("CII", 1)), results=results)
    _, said = taken(tmp_path / "e", path)
    assert scores(said) == {"accuracy (pass_at_2)": (pytest.approx(2 / 3), pytest.approx(2 / 3))}


def test_a_sample_whose_run_failed_is_unscorable(tmp_path: Path) -> None:
    path = log(tmp_path / "a.json", sample("a", "C"), sample("b", "I", error={"message": "429 too many"}))
    stored, said = taken(tmp_path / "e", path)
    assert stored.samples[1].outcome is UNSCORABLE
    assert stored.samples[1].reason == "the run of it failed: 429 too many"
    assert said["unscorable"] == 1


def test_several_scorers(tmp_path: Path) -> None:
    one = sample("a", "I")
    one["scores"]["judge"] = {"value": "C"}
    path = log(tmp_path / "a.json", one)
    stored, said = taken(tmp_path / "e", path)
    assert not stored.samples[0].correct
    assert said["notes"] == ["verdicts are those of s; --score takes one of judge instead"]
    assert taken(tmp_path / "f", path, score="judge")[0].samples[0].correct
    with pytest.raises(DataError, match="has no score 'none'; there are s, judge"):
        read_files([path], None, ImportChoice(score="none"))


def test_long_texts_that_a_log_keeps_apart(tmp_path: Path) -> None:
    one = sample("a", "C", attachments={"f00": "a long text"})
    one["output"]["choices"][0]["message"]["content"] = [
        {"type": "reasoning", "reasoning": "attachment://f00"},
        {"type": "image", "image": "data:"},
        {"type": "text", "text": "7"},
    ]
    stored, _ = taken(tmp_path / "e", log(tmp_path / "a.json", one))
    assert stored.text(stored.samples[0]) == "<think>\na long text\n</think>\n\n7"


def test_text_of_keeps_a_thought_that_is_there_already() -> None:
    assert text_of("<think>a</think>b", "a") == "<think>a</think>b"
    assert text_of("b", "a") == "<think>\na\n</think>\n\nb"
    assert text_of(None) == ""


def test_conversations_are_their_last_answer() -> None:
    turns = [{"role": "user", "content": "?"}, {"role": "assistant", "content": "7", "reasoning_content": "hm"}]
    assert answer_of(turns) == "<think>\nhm\n</think>\n\n7"
    assert answer_of(turns[:1]) is None
    assert answer_of([[-0.5, True]]) is None
    assert answer_of("7") == "7"


def test_filters_of_lm_eval_are_not_samples(tmp_path: Path) -> None:
    row = {"doc_id": 0, "target": "7", "resps": [["so 7."]], "metrics": ["exact_match"]}
    strict = {**row, "filter": "strict-match", "filtered_resps": ["[invalid]"], "exact_match": 0.0}
    loose = {**row, "filter": "flexible-extract", "filtered_resps": ["7"], "exact_match": 1.0}
    path = lines(tmp_path / "samples_gsm8k_2026-01-01T00-00-00.1.jsonl", strict, loose)
    stored, said = taken(tmp_path / "e", path)
    assert [(one.benchmark, one.correct) for one in stored.samples] == [("gsm8k", False)]
    assert "flexible-extract" in said["notes"][0]
    stored, _ = taken(tmp_path / "f", path, score="exact_match,flexible-extract")
    assert [one.extracted for one in stored.samples] == ["7"]


def test_lm_eval_choices_have_no_text(tmp_path: Path) -> None:
    rows = [{"doc_id": i, "target": 1, "resps": [[[-1.5, False]], [[-0.5, True]]], "acc": float(i)} for i in range(2)]
    stored, _ = taken(tmp_path / "e", lines(tmp_path / "samples_arc.jsonl", *rows))
    assert [(one.correct, one.start) for one in stored.samples] == [(False, None), (True, None)]
    with pytest.raises(DataError, match="has no text of 0, sample 0"):
        stored.completion(stored.samples[0])


def test_several_completions_with_one_score_are_said(tmp_path: Path) -> None:
    row = {"doc_id": 0, "target": "7", "resps": [["7", "8"]], "filtered_resps": ["7"], "exact_match": 1.0}
    stored, said = taken(tmp_path / "e", lines(tmp_path / "samples_a.jsonl", row))
    assert len(stored.samples) == 1
    assert said["notes"][0].startswith("1 rows hold several completions and one score")


def test_nemo_rows_are_matched_by_text(tmp_path: Path) -> None:
    """The second file has them in another order, and one problem twice."""
    first = lines(tmp_path / "output-rs0.jsonl", nemo(True, problem="a"), nemo(False, problem="b"))
    last = lines(
        tmp_path / "output-rs1.jsonl", nemo(False, problem="b"), nemo(True, problem="a"), nemo(True, problem="a")
    )
    stored, said = taken(tmp_path / "e", last, first, benchmark="x")
    assert [(s.problem, s.sample, s.correct) for s in stored.samples] == [
        ("0", 0, True),
        ("0", 1, True),
        ("1", 0, False),
        ("1", 1, False),
        ("2", 0, True),  # the first of its own
    ]
    assert said["notes"] == ["rows have no id: matched by problem text"]


def test_nemo_rows_that_nothing_matches(tmp_path: Path) -> None:
    first = lines(tmp_path / "output-rs0.jsonl", nemo(True), nemo(False))
    with pytest.raises(DataError, match=r"files differ in length \(output-rs0.jsonl 2, output-rs1.jsonl 1\)"):
        read_files([first, lines(tmp_path / "output-rs1.jsonl", nemo(True))])
    first = lines(tmp_path / "output-rs0.jsonl", nemo(True, expected_answer="1"))
    with pytest.raises(DataError, match="row 1 has another expected_answer in another file"):
        read_files([first, lines(tmp_path / "output-rs1.jsonl", nemo(True, expected_answer="2"))])


def test_nemo_generations_that_nobody_judged(tmp_path: Path) -> None:
    row = {"generation": "7", "problem": "a", "reasoning_content": "hm"}
    stored, _ = taken(tmp_path / "e", lines(tmp_path / "output.jsonl", row))
    assert stored.samples[0].reason == "not judged: the file holds generations without verdicts"
    assert stored.text(stored.samples[0]) == "<think>\nhm\n</think>\n\n7"


def test_repeats_of_evalscope_are_samples(tmp_path: Path) -> None:
    rows = []
    for index in range(4):
        scored = {"score": {"value": {"acc": float(index == 3)}}, "sample_id": index, "group_id": index // 2}
        rows.append({"index": index, "target": "7", "messages": [], "sample_score": scored})
    stored, said = taken(tmp_path / "e", lines(tmp_path / "m_reviews_a_main.jsonl", *rows))
    assert [(s.problem, s.sample, s.correct) for s in stored.samples][2:] == [("1", 0, False), ("1", 1, True)]
    assert said["score"] == "acc"


def test_predictions_without_reviews_are_counted(tmp_path: Path) -> None:
    output = {"choices": [{"message": {"content": "7"}, "stop_reason": "max_tokens"}]}
    rows = [{"index": i, "model": "m", "model_output": output, "messages": []} for i in range(2)]
    scored = {"score": {"value": {"acc": 1.0}}, "group_id": 0}
    one = lines(tmp_path / "m_predictions_a.jsonl", *rows)
    other = lines(tmp_path / "m_reviews_a.jsonl", {"index": 0, "messages": [], "sample_score": scored})
    stored, said = taken(tmp_path / "e", one, other)
    assert [(s.outcome, s.truncated) for s in stored.samples] == [(CORRECT, True), (UNSCORABLE, True)]
    assert said["notes"] == ["a: 1 predictions have no review, and are unscorable"]


DEEP = "[" * 100_000
ROW = json.dumps(nemo(True, id="a"))
DAMAGED: list[tuple[str, bytes, str]] = [
    ("a.jsonl", b"", "is empty"),
    ("a.jsonl", b"\xff\xfe{}", "not UTF-8 at byte 0"),
    ("a.jsonl", f"{ROW}\n{ROW[:30]}".encode(), "a.jsonl:2: not valid JSON"),
    ("a.jsonl", f"{ROW}\n[1, 2]\n".encode(), "a.jsonl:2: a JSON object was expected, not list"),
    ("a.jsonl", f"{ROW}\n\xff".encode("latin-1"), "a.jsonl:2: not UTF-8"),
    ("a.json", DEEP.encode(), "nested too deeply"),
    ("a.json", b'{"a": ' + b"9" * 5000 + b"}", "not valid JSON"),
    ("a.json", b'{\n  "eval": {"task": ', "a.json:2: not valid JSON"),
    ("a.json", b'{"some": "thing"}', "is of no tool that is known here. Looked for were inspect: a zip"),
    ("a.json", b"[1, 2]", "is of no tool that is known here"),
    ("a.eval", b"PK\x03\x04half a zip", "a zip that is damaged or not whole"),
    ("a.json", b'[{"question_id": 1, "code_list": ["a"]}, 7]', "entry 2: a JSON object was expected, not int"),
    ("a.json", b'[{"question_id": 1, "code_list": ["a"], "graded_list": []}]', "graded_list has 0 items, code_list 1"),
    ("a.json", b'[{"question_id": 1, "code_list": [7]}]', "sample 0 has no text"),
    ("a.json", b'{"version": 2, "eval": {}, "samples": [3]}', "sample 1: a JSON object was expected, not int"),
    ("a.json", b'{"version": 2, "eval": {}, "samples": [{}]}', "sample 1: has no id or no epoch"),
    ("a.json", b'{"version": 2, "eval": {}}', "holds no judged completion"),
    ("a.json", b'{"results": {}, "configs": {}}', "holds sums alone"),
    ("a.json", b'{"metrics": [], "dataset_name": "x"}', "a report holds sums alone"),
    ("a.jsonl", b'{"doc_id": null, "resps": []}', "a.jsonl:1: has no doc_id"),
    ("a.jsonl", b'{"sample_score": 3}', "a.jsonl:1: has neither a group_id nor an index"),
    ("a.jsonl", f"{ROW[:-1]}, \"symbolic_correct\": 7}}".encode(), "a.jsonl:1: a score of 7 is no share"),
    ("a.jsonl", json.dumps(nemo(True, id="x" * 5000)).encode(), "an id of 5,000 characters is none"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "data", "said"), DAMAGED, ids=[said[:40] for _, _, said in DAMAGED])
def test_damaged_files(tmp_path: Path, name: str, data: bytes, said: str) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(DataError) as error:
        taken(tmp_path / "e", tmp_path / name)
    assert said in str(error.value)
    assert not (tmp_path / "e").exists()


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be read: No such file"):
        read_files([tmp_path / "a.eval"])


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.99])
def test_half_a_log(tmp_path: Path, share: float) -> None:
    data = shared("evaluation/inspect/popularity_a.eval").read_bytes()
    (tmp_path / "a.eval").write_bytes(data[: int(len(data) * share)])
    with pytest.raises(DataError, match="a zip that is damaged or not whole"):
        read_files([tmp_path / "a.eval"])


def test_a_log_with_a_damaged_member(tmp_path: Path) -> None:
    data = bytearray(shared("evaluation/inspect/popularity_a.eval").read_bytes())
    place = data.index(b"samples/5_epoch_1.json") + 60
    data[place : place + 40] = bytes(40)
    (tmp_path / "a.eval").write_bytes(data)
    with pytest.raises(DataError, match=r"samples/5_epoch_1.json cannot be unpacked"):
        read_files([tmp_path / "a.eval"])


def test_a_log_that_was_still_being_written(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.eval", "w") as packed:
        packed.writestr("_journal/start.json", json.dumps({"version": 2, "eval": {"task": "x/t", "model": "m"}}))
        packed.writestr("samples/a_epoch_1.json", json.dumps(sample("a", "C")))
    stored, said = taken(tmp_path / "e", tmp_path / "a.eval")
    assert [one.benchmark for one in stored.samples] == ["t"]
    assert said["notes"] == ["a.eval: the run did not end: status started"]


def test_a_zip_that_claims_to_hold_terabytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("openklear.evaluation.exchange.opening.LARGEST_MEMBER", 1000)
    with zipfile.ZipFile(tmp_path / "a.eval", "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("header.json", " " * 100_000)
    with pytest.raises(DataError, match=r"header.json would unpack to 100,000 bytes"):
        read_files([tmp_path / "a.eval"])


def zstandard_zip(path: Path, name: str, data: bytes, *, claim: int | None = None) -> Path:
    """As inspect_ai packs today: Python's zipfile writes the packed bytes as they are, and the heads are changed."""
    packed = pa.compress(data, "zstd", asbytes=True)
    with zipfile.ZipFile(path, "w") as file:
        file.writestr(name, packed)
    whole = bytearray(path.read_bytes())
    size = struct.pack("<I", len(data) if claim is None else claim)
    for mark, method, crc, length in ((b"PK\x03\x04", 8, 14, 22), (b"PK\x01\x02", 10, 16, 24)):
        head = whole.rindex(mark)
        whole[head + method : head + method + 2] = struct.pack("<H", 93)
        whole[head + crc : head + crc + 4] = struct.pack("<I", zlib.crc32(data))
        whole[head + length : head + length + 4] = size
    path.write_bytes(whole)
    return path


def test_a_zip_packed_by_zstandard(tmp_path: Path) -> None:
    header = json.dumps({"version": 2, "status": "success", "eval": {"task": "t", "model": "ü" * 9000}}).encode()
    file = open_file(zstandard_zip(tmp_path / "a.eval", "header.json", header))
    assert file.member("header.json")["eval"]["model"] == "ü" * 9000
    assert inspect_logs.role(file) == "log"
    short = zstandard_zip(tmp_path / "b.eval", "header.json", header, claim=10)
    with pytest.raises(DataError, match=r"header.json cannot be unpacked: it is not what was packed"):
        read_files([short])
    damaged = bytearray((tmp_path / "a.eval").read_bytes())
    damaged[60:70] = bytes(10)
    (tmp_path / "c.eval").write_bytes(damaged)
    with pytest.raises(DataError, match=r"header.json cannot be unpacked"):
        read_files([tmp_path / "c.eval"])


@pytest.mark.parametrize("text", ["", "\x00a\x00", "７は答え \u202e", "x" * 1_000_000, "\ud800", "<script>", "<think>"])
def test_hostile_texts_come_through(tmp_path: Path, text: str) -> None:
    row = nemo(False, id="a") | {"generation": text, "predicted_answer": text[:900]}
    stored, _ = taken(tmp_path / "e", lines(tmp_path / "output.jsonl", row))
    assert stored.text(stored.samples[0]) == text
    assert len(stored.samples[0].extracted or "") <= 400


def test_the_same_file_twice(tmp_path: Path) -> None:
    path = log(tmp_path / "a.json", sample("a", "C"))
    with pytest.raises(DataError, match="problem a: sample 0 is there twice"):
        taken(tmp_path / "e", path, path)


def test_files_of_two_tools(tmp_path: Path) -> None:
    one, other = log(tmp_path / "a.json", sample("a", "C")), lines(tmp_path / "b.jsonl", nemo(True, id="a"))
    with pytest.raises(DataError, match=r"b.jsonl: is of nemo-skills; of inspect, .* import each tool's files"):
        read_files([one, other])
    with pytest.raises(DataError, match=r"a.json: is of inspect; of lm-eval, a document with `results`"):
        read_files([one], "lm-eval")


def test_logs_of_two_models(tmp_path: Path) -> None:
    one = log(tmp_path / "a.json", sample("a", "C"))
    other = log(tmp_path / "b.json", sample("a", "C"), eval={"task": "u", "model": "n"})
    with pytest.raises(DataError, match="the logs are of several models"):
        read_files([one, other])


def test_what_is_there_is_not_overwritten(tmp_path: Path) -> None:
    path = log(tmp_path / "a.json", sample("a", "C"))
    taken(tmp_path / "e", path)
    with pytest.raises(UsageError, match="exists already"):
        taken(tmp_path / "e", path)


def test_a_domain_that_there_is_not(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no domain is called poetry; known are math, code"):
        read_files([log(tmp_path / "a.json", sample("a", "C"))], None, ImportChoice(domain="poetry"))


def test_results_of_several_runs_of_lm_eval(tmp_path: Path) -> None:
    files = []
    for task, model in (("a", "m"), ("b", "m"), ("c", "n")):
        results = {"results": {task: {"acc,none": 1.0}}, "configs": {}, "model_name": model}
        files.append(tmp_path / f"results_{task}.json")
        files[-1].write_text(json.dumps(results))
        row = {"doc_id": 0, "target": 1, "resps": [["x"]], "acc": float(task == "a")}
        files.append(lines(tmp_path / f"samples_{task}_2026-01-01T00-00-00.1.jsonl", row))
    _, said = taken(tmp_path / "e", *files[:4])
    assert [(row["benchmark"], row["value"], row["rows_give"]) for row in said["scores"]] == [
        ("a", 1.0, 1.0),
        ("b", 1.0, 0.0),
    ]
    with pytest.raises(DataError, match=r"results_c.json: is of n, and others are of m"):
        read_files(files)


def test_an_array_of_rows_is_as_good_as_lines(tmp_path: Path) -> None:
    path = tmp_path / "samples_a.json"
    path.write_text(json.dumps([{"doc_id": i, "resps": [["x"]], "acc": 1.0} for i in range(3)]))
    assert len(taken(tmp_path / "e", path)[0].samples) == 3


def test_reviews_of_two_models(tmp_path: Path) -> None:
    row = {"index": 0, "messages": [], "sample_score": {"score": {"value": {"acc": 1.0}}, "group_id": 0}}
    files = []
    for model in ("m", "n"):
        (tmp_path / model).mkdir()
        files.append(lines(tmp_path / model / "gsm8k_main.jsonl", row))
    with pytest.raises(DataError, match=r"n/gsm8k_main.jsonl: is of the same set as .*m/gsm8k_main.jsonl"):
        read_files(files)
