"""LiveCodeBench as data: errata, windows, prompts, and what our readers make of its rows."""

import hashlib
import json
from datetime import date

import pytest
from benchmarks.livecodebench import PROBLEMS, WINDOWS, cut, read_problems, windows
from tests.shared_data import shared

from openklear.evaluation.catalogue.definition import choose, prompts
from openklear.evaluation.catalogue.errata import errata
from openklear.evaluation.catalogue.livecodebench import official_prompt
from openklear.types import CallTest, Test

# SHA-256 of what the harness at 28fef95 makes of question_content "{problem}" and starter_code "" or "{starter_code}".
OFFICIAL = {
    "lcb-stdin": "57dec211583222143cdda396625e35d2b3a4b13c4cfe2bb3d63088dd165da01d",
    "lcb-function": "84a84139526a72436229c99a1d9ae1d2e6f019c251a8a2a627ef2f0a44bde5f3",
}
SYSTEM = "d39e6e9b11d2ac7e84a6a85ebf4cfb10489b414e74f0b52e3394eb5375bdd9ac"


def sha256(text):
    return hashlib.sha256(text.encode()).hexdigest()


def test_the_named_prompt_is_that_of_the_harness():
    named = prompts()["lcb-stdin"]
    assert (sha256(named.template), sha256(named.system)) == (OFFICIAL["lcb-stdin"], SYSTEM)


@pytest.mark.parametrize(("starter", "style"), [("", "lcb-stdin"), ("{starter_code}", "lcb-function")])
def test_a_row_is_asked_as_the_harness_asks_it(starter, style):
    system, user = official_prompt({"question_content": "{problem}", "starter_code": starter})
    assert (system["role"], sha256(system["content"])) == ("system", SYSTEM)
    assert (user["role"], sha256(user["content"])) == ("user", OFFICIAL[style])


def test_a_statement_with_braces_stays_as_it_is():
    row = {"question_content": "print {starter_code} and {problem}", "starter_code": "def f():"}
    text = official_prompt(row)[1]["content"]
    assert "print {starter_code} and {problem}\n" in text
    assert "```python\ndef f():\n```" in text


def test_the_list_of_errata():
    found = errata(choose("lcb").definition.errata)
    assert len(found) == 11 + 2 + 4
    kinds = [text.partition(":")[0] for text in found.values()]
    assert [kinds.count(kind) for kind in ("several answers", "interactive", "wrong tests")] == [11, 2, 4]
    assert found["abc337_e"].startswith("interactive: ")


def test_windows_hold_both_ends():
    rows = [
        {"question_id": name, "question_title": "t", "contest_date": f"{day}T00:00:00"}
        for name, day in (
            ("abc362_c", "2024-07-31"),
            ("arc185_c", "2024-08-01"),
            ("x", "2025-02-01"),
            ("y", "2025-05-02"),
        )
    ]
    v5, v6, whole = windows(rows)[2:]
    assert v5 == "| V5 2024-08-01..2025-02-01 | 2 | 1 (arc185_c) |"
    assert v6 == "| V6 2025-02-01..2025-05-01 | 1 | 0 |"
    assert whole == "| all | 4 | 2 of 17 listed |"


@pytest.mark.parametrize(("name", "count", "tests"), [(PROBLEMS[0], 591, 4002), (PROBLEMS[1], 42, 1680)])
def test_every_row_of_the_real_files_is_read(name, count, tests):
    problems, rows = read_problems(shared("evaluation/livecodebench") / name)
    assert (len(rows), len(problems), sum(len(one.tests) for one in problems.values())) == (count, count, tests)
    for row in rows:  # nothing of a test is lost: public ones first, as the harness runs them
        raw = [*json.loads(row["public_test_cases"]), *json.loads(row["private_test_cases"])]
        for test, given in zip(problems[row["question_id"]].tests, raw, strict=True):
            if given["testtype"] == "stdin":
                assert test == Test(given["input"], given["output"])
            else:
                assert isinstance(test, CallTest)
                assert json.loads(test.args) == [json.loads(line) for line in given["input"].split("\n")]
                assert json.loads(test.expected) == json.loads(given["output"])
                assert test.call == json.loads(row["metadata"])["func_name"]


def test_the_real_windows():
    data = shared("evaluation/livecodebench")
    rows = [row for name in PROBLEMS for row in read_problems(data / name)[1]]
    assert windows(rows)[2:] == [
        "| V5 2024-08-01..2025-02-01 | 180 | 2 (arc185_c, arc189_a) |",
        "| V6 2025-02-01..2025-05-01 | 42 | 0 |",
        "| all | 633 | 13 of 17 listed |",
    ]
    edges = {date.fromisoformat(day) for ends in WINDOWS.values() for day in ends}
    assert len(edges) == 3


def test_inputs_are_cut_as_the_harness_cuts_them():
    assert cut("x" * 300) == "x" * 300
    assert cut("a" * 150 + "b" + "c" * 150) == "a" * 150 + "...(truncated) ..." + "c" * 150
