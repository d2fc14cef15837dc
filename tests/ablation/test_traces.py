"""The script that makes sources of real traces: the same problems for every teacher, none in both parts."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from tests.shared_data import shared

from openklear.durable.files import read_jsonl
from openklear.think import FormatFault, split_thought

SCRIPT = Path(__file__).parents[2] / "studies" / "traces.py"
TEACHERS = ("r1", "qwq", "s1")
WRITTEN = {
    "deepseek-r1": "Hm. {}?</think>It is {}.",
    "qwq-32b": "So.\n{}\n</think>\n\n\\boxed{{{}}}",
    "s1.1-32b": "think\nWell, {}\nanswer\n{}",
}


def split(source: Path, place: Path, *more: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(SCRIPT), str(source), str(place), *more]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def parts(place: Path) -> dict[str, list[dict[str, str]]]:
    return {path.stem: read_jsonl(path) for path in sorted(place.iterdir())}


def rows(number: int, **changes: object) -> list[dict[str, object]]:
    """A problem's three traces."""
    return [
        {
            "id": f"{teacher}-{number}",
            "teacher": teacher,
            "problem": f"What is {number}  + 0?",
            "answer": number,
            "response": form.format(number, number),
            "math_verify": True,
            **changes,
        }
        for teacher, form in WRITTEN.items()
    ]


def laid(path: Path, *problems: list[dict[str, object]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for some in problems for row in some))
    return path


def test_problems_are_shared_well_formed_right_and_short(tmp_path):
    good = [rows(number) for number in range(6)]
    spoilt = [
        rows(10)[:2],  # of two teachers
        [*rows(11)[:2], {**rows(11)[2], "math_verify": False}],
        [*rows(12)[:2], {**rows(12)[2], "response": "no marks"}],
        rows(13, problem="x" * 41),
        [{**rows(14)[0], "teacher": "limo-32b"}, *rows(14)[1:]],
    ]
    done = split(
        laid(tmp_path / "all.jsonl", *good, *spoilt),
        tmp_path / "out",
        "--train",
        "4",
        "--heldout",
        "2",
        "--longest",
        "40",
    )
    assert done.returncode == 0, done.stderr
    found = parts(tmp_path / "out")
    assert set(found) == {f"{teacher}-{part}" for teacher in TEACHERS for part in ("train", "heldout")}
    for part, number in (("train", 4), ("heldout", 2)):
        ids = [[row["id"] for row in found[f"{teacher}-{part}"]] for teacher in TEACHERS]
        assert ids[0] == ids[1] == ids[2]
        assert len(set(ids[0])) == number
    taken = [*found["s1-heldout"], *found["s1-train"]]
    assert sorted(row["problem"] for row in taken) == [f"What is {number} + 0?" for number in range(6)]
    one = next(row for row in taken if row["answer"] == "3")
    assert one["response"] == "<think>\nWell, 3\n</think>\n\n3"
    again = split(
        laid(tmp_path / "all.jsonl", *spoilt, *reversed(good)), tmp_path / "again", *("--train", "4", "--heldout", "2")
    )
    assert again.returncode == 0
    short = split(tmp_path / "all.jsonl", tmp_path / "more", "--train", "60")
    assert short.returncode == 1
    assert "problems are left; ask for fewer" in short.stderr
    assert "Traceback" not in short.stderr


def test_the_order_of_the_file_changes_nothing(tmp_path):
    some = [rows(number) for number in range(9)]
    for name, order in (("one", some), ("two", some[::-1])):
        assert (
            split(
                laid(tmp_path / f"{name}.jsonl", *order), tmp_path / name, "--train", "3", "--heldout", "5"
            ).returncode
            == 0
        )
    assert parts(tmp_path / "one") == parts(tmp_path / "two")


@pytest.fixture(scope="module")
def real(tmp_path_factory):
    place = tmp_path_factory.mktemp("traces")
    done = split(shared("traces/long_cot.jsonl"), place)
    assert done.returncode == 0, done.stderr
    return parts(place)


def test_real_traces(real):
    """Three teachers, 16 and 16 of 168 problems; every trace has its one thought and an answer behind it."""
    for part in ("train", "heldout"):
        assert [[row["id"] for row in real[f"{teacher}-{part}"]] for teacher in TEACHERS] == [
            [row["id"] for row in real[f"r1-{part}"]]
        ] * 3
        assert len(real[f"r1-{part}"]) == 16
    problems = [{row["problem"] for row in real[f"r1-{part}"]} for part in ("train", "heldout")]
    assert not problems[0] & problems[1]
    for row in [row for some in real.values() for row in some]:
        assert split_thought(row["response"]).fault is FormatFault.NONE
        assert len(row["problem"]) <= 220
