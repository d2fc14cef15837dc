"""What studies ask of the demo world: the same prompts for every teacher, planted faults, graded responses."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any

import pyarrow.parquet as pq
from tests.demo.test_world import passed, read_jsonl

from openklear.cli import main
from openklear.curation.vetting import steps as vetting
from openklear.demo import programs
from openklear.demo.exercises import DOMAINS, Exercise
from openklear.demo.faulty import plant
from openklear.demo.programs import CodeTask, Phrase
from openklear.demo.teachers import TEACHERS
from openklear.demo.world import write_world
from openklear.recipe.verifiers import Verifiers
from openklear.types import Attempt, Message, Problem, Test, Verdict
from openklear.verifiers.judge import open_judge

SIZES = {"seed": 3, "demonstrations": 50, "problems": 120, "validation": 5, "heldout": 7}
BEFORE = {
    "demonstrations/careful.jsonl": "0cf838353cfae33d",
    "demonstrations/noise.jsonl": "0815088f6bfaea52",
    "demonstrations/sloppy.parquet": "cd31636ec1324613",
    "heldout/code.jsonl": "b5f0cad805bb7420",
    "heldout/math.jsonl": "351e5a12e14d2099",
    "problems/code.jsonl": "9ac438c857b1c2a8",
    "problems/math.jsonl": "ed22eb340ede1404",
    "validation/code.jsonl": "fea4eeeb12a7417d",
    "validation/math.jsonl": "a9c6e478c5d6321c",
}
"""Digests of the files (a Parquet file's rows) with 30 problems, written before there were keys for studies."""
ASKED: Message = {"role": "user", "content": "The judge does not read it."}
LIMITS = Verifiers(minimum_isolation="rlimits", workers=1).limits


def made(directory: Path, **more: Any) -> Path:
    write_world(directory, **{**SIZES, **more})
    return directory


def digests(directory: Path) -> dict[str, str]:
    found = {}
    for path in (path for path in directory.rglob("*") if path.is_file()):
        rows = path.suffix == ".parquet"
        data = json.dumps(pq.read_table(path).to_pylist()).encode() if rows else path.read_bytes()
        found[path.relative_to(directory).as_posix()] = hashlib.sha256(data).hexdigest()[:16]
    return found


def taught(directory: Path) -> dict[str, list[dict[str, Any]]]:
    """Teacher -> its rows, prompt and completion lifted out."""
    folder, found = directory / "demonstrations", {}
    rows = {name: read_jsonl(folder / f"{name}.jsonl") for name in ("careful", "noise")}
    rows["sloppy"] = pq.read_table(folder / "sloppy.parquet").to_pylist()
    for name, some in rows.items():
        asks, text = ("messages", "content") if name == "careful" else ("conversations", "value")
        found[name] = [{**row, "prompt": row[asks][0][text], "completion": row[asks][1][text]} for row in some]
    return found


def said(directory: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = pq.read_table(directory / "responses" / "responses.parquet").to_pylist()
    return rows


def judged(rows: Sequence[dict[str, Any]], text: str) -> Sequence[Verdict]:
    """The real judge on the texts of rows."""
    attempts = []
    for number, row in enumerate(rows):
        tests = tuple(Test(test["input"], test["output"]) for test in row["tests"] or ())
        problem = Problem(str(number), (ASKED,), row["domain"], row["answer"], tests)
        attempts.append(Attempt(problem, row[text]))
    with open_judge(LIMITS, DOMAINS, lambda said: None) as judge:
        return judge.judge(attempts)


def test_without_the_keys_every_byte_is_what_it_was(tmp_path: Path) -> None:
    assert digests(made(tmp_path, problems=30)) == BEFORE


def test_every_teacher_answers_every_prompt_in_the_same_row(tmp_path: Path) -> None:
    rows = taught(made(tmp_path, same_prompts=True))
    prompts = {teacher: [row["prompt"] for row in rows[teacher]] for teacher in TEACHERS}
    assert prompts["careful"] == prompts["sloppy"] == prompts["noise"]
    leaks, copies = 2 * 2, 2 * 2  # 13 % of 12 evaluation problems and 4 % of 50 exercises, in two domains
    assert len(prompts["careful"]) == 2 * 50 + leaks + copies
    assert len(set(prompts["careful"])) == 2 * 50 + leaks
    for teacher, some in rows.items():
        assert {row["teacher"] for row in some} == {teacher}
        assert Counter(row["domain"] for row in some) == {"math": 54, "code": 54}
        pairs = {(row["prompt"], row["completion"]) for row in some}
        assert len(pairs) == len(some) - copies
    alone = {row["prompt"] for some in taught(made(tmp_path / "alone")).values() for row in some}
    assert alone == set(prompts["careful"])
    assert digests(tmp_path)["problems/code.jsonl"] == digests(tmp_path / "alone")["problems/code.jsonl"]


def test_slips_change_the_sloppy_teacher_alone_and_only_where_it_slips(tmp_path: Path) -> None:
    some, every = (taught(made(tmp_path / str(x), same_prompts=True, slips=x)) for x in (0.5, 1.0))
    assert some["careful"] == every["careful"]
    assert some["noise"] == every["noise"]
    right = {row["prompt"]: row["completion"] for row in every["careful"]}
    fewer, more = (
        {row["prompt"]: row["completion"] for row in x["sloppy"] if row["completion"] != right[row["prompt"]]}
        for x in (some, every)
    )
    assert fewer.items() < more.items()
    assert 0.3 < len(fewer) / len(more) < 0.7


def test_without_slips_the_sloppy_teacher_is_never_wrong(tmp_path: Path) -> None:
    rows = taught(made(tmp_path, slips=0.0))["sloppy"]
    assert len(rows) > 20
    assert all(verdict.correct for verdict in judged(rows, "completion"))


def test_with_many_slips_it_is_never_right(tmp_path: Path) -> None:
    """3.4 times 0.3 is above 1 on the easiest level; math alone, as wrong programs may pass by chance."""
    rows = [row for row in taught(made(tmp_path, slips=3.4))["sloppy"] if row["domain"] == "math"]
    assert not any(row["completion"].endswith(f"\\boxed{{{row['answer']}}}") for row in rows)


def test_faulty_tests_pay_the_program_without_conditions(tmp_path: Path) -> None:
    clean, faulty = made(tmp_path / "clean"), made(tmp_path / "faulty", faulty_tests=0.3)
    found, asked = digests(faulty), digests(clean)
    planted = read_jsonl(faulty / "planted" / "faulty.jsonl")
    assert {name for name in found if found[name] != asked.get(name)} == {"problems/code.jsonl", "planted/faulty.jsonl"}
    assert len(planted) == round(0.3 * 90)  # of 120 problems, 90 are of levels 2 to 4
    assert {row["level"] for row in planted} == {"2", "3", "4"}
    was, now = ({row["id"]: row for row in read_jsonl(x / "problems" / "code.jsonl")} for x in (clean, faulty))
    assert {name for name in now if now[name] != was[name]} == {row["id"] for row in planted}
    for row in planted:
        before, after = was[row["id"]], now[row["id"]]
        assert row["prompt"] == before["prompt"] == after["prompt"]
        assert [test["input"] for test in before["tests"]] == [test["input"] for test in after["tests"]]
        assert " if " not in row["program"]
        assert passed(row["program"], after["tests"]) == len(after["tests"])
        assert passed(row["program"], before["tests"]) <= len(before["tests"]) / 2


def test_the_judge_says_so_too(tmp_path: Path) -> None:
    """The teacher's right programs, at faulty and at sound tests."""
    directory = made(tmp_path, faulty_tests=0.3, responses=1)
    planted = {row["prompt"]: row["program"] for row in read_jsonl(directory / "planted" / "faulty.jsonl")}
    rows = [row for row in said(directory) if row["prompt"][0]["content"] in planted][:12]
    wrong = [{**row, "program": f"```python\n{planted[row['prompt'][0]['content']]}\n```"} for row in rows]
    assert all(verdict.passed <= verdict.total / 2 for verdict in judged(rows, "response"))
    assert all(verdict.correct for verdict in judged(wrong, "program"))


def test_the_whole_share_is_planted_as_far_as_formulas_allow(tmp_path: Path) -> None:
    planted = read_jsonl(made(tmp_path, faulty_tests=1.0) / "planted" / "faulty.jsonl")
    assert 80 < len(planted) <= 90


def test_the_formula_is_that_of_the_case_that_applies_least() -> None:
    """Over x = 1..8: 6 inputs are above 2, 2 are not, and x squared meets x*3 nowhere among them but at 3."""
    task = CodeTask("x", ((Phrase("above 2", "x>2"), Phrase("", "x*x")), (None, Phrase("", "x*3"))), (2,))
    exercise = Exercise(
        "?", "code", 2, "?", "", lambda rng: "", tests=tuple(programs.tests_on(task, range(1, 9))), task=task
    )
    (changed,), (planted,) = plant(Random(0), [exercise], 1.0)
    assert planted.task.program() == "x=int(input())\nprint(x*3)"
    assert [test["output"] for test in changed.tests] == [f"{3 * x}\n" for x in range(1, 9)]
    assert task.passed(changed.tests) == 3


def test_responses_are_graded_as_the_judge_grades_them(tmp_path: Path) -> None:
    directory = made(tmp_path, faulty_tests=0.4, responses=4, problems=80)
    rows = said(directory)
    problems = [row for domain in DOMAINS for row in read_jsonl(directory / "problems" / f"{domain}.jsonl")]
    assert [row["prompt"][0]["content"] for row in rows[::4]] == [row["prompt"] for row in problems]
    assert [row["sample"] for row in rows[:8]] == [0, 1, 2, 3] * 2
    wrong = [row for row in rows if row["outcome"] != "correct"]
    checked = [*rows[::23], *wrong]
    assert {(row["domain"], row["outcome"]) for row in checked} == {
        (domain, outcome) for domain in DOMAINS for outcome in ("correct", "incorrect")
    }
    for row, verdict in zip(checked, judged(checked, "response"), strict=True):
        assert (row["outcome"], row["passed"], row["total"]) == (verdict.outcome, verdict.passed, verdict.total)
        assert row["extracted"].strip() == str(verdict.extracted).strip()


def test_more_responses_add_to_fewer(tmp_path: Path) -> None:
    two, four = (said(made(tmp_path / str(count), responses=count)) for count in (2, 4))
    assert two == [row for row in four if row["sample"] < 2]
    share = sum(row["outcome"] != "correct" for row in four) / len(four)
    assert 0.03 < share < 0.07


RECIPE = """
[world]
problems = 60
validation = 4
heldout = 6
faulty_tests = 0.4
responses = 4
[data.vetting]
min_tests = 1
check_solutions = false
responses = "world:responses"
[[data.source]]
name = "code"
path = "world:problems/code.jsonl"
role = "problems"
[verifiers]
minimum_isolation = "rlimits"
workers = 1
"""


def test_vetting_drops_what_was_planted_and_keeps_what_is_sound(tmp_path: Path) -> None:
    recipe, run = tmp_path / "recipe.toml", tmp_path / "run"
    recipe.write_text(RECIPE)
    assert main.main(["prepare", str(recipe), "--output", str(run)]) == 0
    planted = {row["id"] for row in read_jsonl(run / "world/files/planted/faulty.jsonl")}
    dropped = pq.read_table(run / "prepare/data/dropped.parquet").to_pylist()
    vetted = {row["id"].partition("/")[2] for row in dropped if row["step"] == "teacher"}
    kept = pq.read_table(run / "prepare/data/problems.parquet").num_rows
    assert len(planted) == round(0.4 * 45)
    assert planted <= vetted
    assert len(vetted - planted) <= 2  # sound problems whose teacher slipped
    assert kept == 61 - len(vetted)  # with one leak, as no evaluation set is read here
    steps = json.loads((run / "prepare/data/steps.json").read_text())
    assert [step["parameters"]["responses"] for step in steps if step["step"] == "teacher"] == ["world:responses"]


def test_responses_read_back_as_a_teacher_s(tmp_path: Path) -> None:
    """By the code that reads what `openklear distill` leaves."""
    directory = made(tmp_path, responses=2)
    found = list(vetting.responses(directory / "responses"))
    assert len(found) == 2 * 2 * (120 + 2)
    assert {one.total for one in found} == {1, 8}
