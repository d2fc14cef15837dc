"""Benchmarks: what a name means, what their files hold, and whether that is what it says it is."""

import json
from dataclasses import replace
from datetime import date

import pytest
from tests.shared_data import shared

from openklear.errors import DataError, OpenKlearError, UsageError
from openklear.evaluation.catalogue.definition import DATA, choose, names, prompts, read_definition
from openklear.evaluation.catalogue.protocols import protocol_named, protocols
from openklear.evaluation.catalogue.reading import answers_hash, read, texts_hash
from openklear.grading import Grader

COPIES = {
    "aime24": ("benchmarks/aime24.jsonl", 30, "eth-sri/matharena@460aeba"),
    "aime25": ("benchmarks/aime25.jsonl", 30, "eth-sri/matharena@460aeba"),
    "hmmt24": ("benchmarks/hmmt_feb_2024.jsonl", 30, "eth-sri/matharena@460aeba"),
    "hmmt25": ("benchmarks/hmmt_feb_2025.jsonl", 30, "eth-sri/matharena@460aeba"),
    "amc23": ("evaluation/benchmarks/amc23.jsonl", 40, "hkust-nlp/simpleRL-reason@cf1c785"),
    "math500": ("benchmarks/math500.jsonl", 500, "hkust-nlp/simpleRL-reason"),
    "gsm8k": ("benchmarks/gsm8k_test.jsonl", 1319, "openai/grade-school-math"),
    "olympiadbench": ("evaluation/benchmarks/olympiadbench.jsonl", 675, "hkust-nlp/simpleRL-reason@cf1c785"),
    "humaneval": ("benchmarks/humaneval.jsonl.gz", 164, "openai/human-eval"),
    "mbpp": ("benchmarks/mbpp.jsonl", 500, "google-research/mbpp, task_id 11 to 510"),
}


def posing(name, path=None, **more):
    named = choose(name)
    return read(named if path is None else replace(named, path=str(path)), **more)


def put(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.mark.parametrize("name", names())
def test_every_definition_can_be_read_and_says_where_it_is_from(name):
    definition = read_definition(DATA / "benchmarks" / f"{name}.toml")
    assert definition.title
    assert definition.source
    assert definition.domain in ("math", "code")
    assert all(value.strip() for value in (definition.prompt, *definition.prompt_with.values()))


@pytest.mark.parametrize("name", COPIES)
def test_the_known_copies_are_known(name):
    path, count, copy = COPIES[name]
    found = posing(name, shared(path))
    assert (len(found.problems), found.copy, found.notes) == (count, copy, ())
    assert len({one.problem.id for one in found.problems}) == count
    assert {one.problem.source for one in found.problems} == {name}


def test_files_are_found_by_the_names_that_they_have():
    directory = shared("benchmarks")
    assert {len(posing(name, directory=directory).problems) for name in ("aime24", "aime25", "hmmt24", "hmmt25")} == {
        30
    }
    with pytest.raises(UsageError, match=r"has none of amc23.*--data amc23=PATH"):
        read(
            replace(choose("amc23"), definition=choose("amc23").definition.model_copy(update={"data": None})), directory
        )


def test_thirty_two_copies_of_a_problem_are_one():
    """As Klear evaluates while training: 960 rows are 30 problems, not 960."""
    found = posing("aime24", shared("evaluation/klear/aime24_x32_verl.jsonl"))
    assert len(found.problems) == 30
    assert "960 rows are 30 problems" in found.notes[0]
    assert "32 copies" in found.copy


def test_a_wrong_file_is_refused_and_another_spelling_is_not(tmp_path):
    with pytest.raises(DataError, match=r"is not AMC 2023 as it is known \(83 problems of 40; known copies: hkust"):
        posing("amc23", shared("evaluation/benchmarks/amc_2022_2023_83.json"))
    assert (
        "taken as it is"
        in posing("amc23", shared("evaluation/benchmarks/amc_2022_2023_83.json"), unpinned=True).notes[0]
    )
    rows = [json.loads(line) for line in shared("benchmarks/aime24.jsonl").read_text().splitlines()]
    respelt = put(tmp_path / "a.jsonl", [{**row, "problem": f"Solve. {row['problem']}"} for row in rows])
    assert posing("aime24", respelt).copy == "the right answers, other spelling"
    rows[7]["answer"] = "999"
    with pytest.raises(DataError, match="statements or answers are others"):
        posing("aime24", put(tmp_path / "b.jsonl", rows))
    with pytest.raises(DataError, match=r"29 problems of 30"):
        posing("aime24", put(tmp_path / "c.jsonl", rows[:29]))


def test_hashes_see_answers_and_statements_and_no_spacing_order_or_zeros(tmp_path):
    rows = [{"id": "x", "problem": "What is  1?", "answer": "025"}, {"id": "y", "problem": "And 2?", "answer": 3.0}]
    (one,) = {frozenset(hashes(put(tmp_path / "a.jsonl", some))) for some in (rows, rows[::-1])}
    assert (
        hashes(put(tmp_path / "b.jsonl", [{"problem": "what is 1?", "answer": "25"}, {**rows[1], "answer": 3}])) == one
    )
    texts, answers = hashes_apart(put(tmp_path / "c.jsonl", [{"problem": "Other?", "answer": "25"}, rows[1]]))
    assert answers in one
    assert texts not in one
    assert not hashes(put(tmp_path / "d.jsonl", [{**rows[0], "answer": "26"}, rows[1]])) & one


def hashes_apart(path):
    problems = [one.problem for one in posing("aime24", path, unpinned=True).problems]
    return texts_hash(problems), answers_hash(problems)


def hashes(path):
    return set(hashes_apart(path))


def test_six_lines_are_a_benchmark(tmp_path):
    put(tmp_path / "mine.jsonl", [{"problem": "1 + 1?", "answer": "2"}])
    (tmp_path / "mine.toml").write_text(
        'data = "mine.jsonl"\ndomain = "math"\nprompt = "Q: {problem} \\\\boxed{}"\nsamples = 3\n'
        "max_completion_tokens = 99\n"
    )
    named = choose(str(tmp_path / "mine.toml"))
    assert (named.name, named.definition.samples, named.definition.max_completion_tokens) == ("mine", 3, 99)
    (one,) = read(named).problems
    assert (one.problem.answer, one.prompt) == ("2", "Q: {problem} \\boxed{}")
    (plain,) = read(choose(str(tmp_path / "mine.jsonl"))).problems
    assert plain.problem.answer == "2"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("prompts = 1", "prompts: there is no such key; did you mean prompt?"),
        ("samples = 0", "samples: Input should be greater than 0"),
        ('prompt = "math-box"', '"math-box" is no named prompt and has no {problem}; did you mean math-boxed?'),
        ('domain = "maths"', "domain"),
        ('[parts.a]\ndates = "2024"', 'write "2024-08-01..2025-02-01"'),
        ("samples = ", ":1: malformed TOML"),
    ],
)
def test_a_definition_with_a_fault_is_refused_with_its_key(tmp_path, text, said):
    (tmp_path / "b.toml").write_text(text)
    with pytest.raises(OpenKlearError) as caught:
        choose(str(tmp_path / "b.toml"))
    assert said in str(caught.value)
    assert str(tmp_path / "b.toml") in str(caught.value)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("aime2024", "did you mean aime24?"),
        ("aime24:v5", "there is no part v5; its parts are none"),
        ("lcb:v7", "its parts are v5, v6, or dates such as"),
        ("lcb:2025-02-01..2024-08-01", "begins after it ends"),
        ("lcb:2024-13-01..2025-02-01", "month must be in 1..12"),
        ("nowhere/x.toml", "no such benchmark and no such file"),
    ],
)
def test_what_no_benchmark_is_called(name, said):
    with pytest.raises(UsageError) as caught:
        choose(name)
    assert said in str(caught.value)


def test_windows_of_contest_dates_include_both_ends():
    path = shared("evaluation/livecodebench/problems_2023-05_2025-01.jsonl")
    every, v5 = (posing(name, path) for name in ("lcb", "lcb:v5"))
    assert (len(every.problems), len(v5.problems)) == (591, 180)
    days = [one.facts["contest_date"][:10] for one in v5.problems]
    assert min(days) >= "2024-08-01"
    assert max(days) <= "2025-02-01"
    one_day = posing(f"lcb:{days[0]}..{days[0]}", path)
    assert {one.facts["contest_date"][:10] for one in one_day.problems} == {days[0]}
    with pytest.raises(DataError, match=r"its contests are from 2023-\d\d-\d\d to 2025-01-\d\d"):
        posing("lcb:v6", path)
    later = posing("lcb:v6", shared("evaluation/livecodebench/problems_leetcode_2025-02_2025-03.jsonl"))
    assert len(later.problems) == 42
    assert {one.facts["platform"] for one in later.problems} == {"leetcode"}
    assert choose("lcb:v6").window == (date(2025, 2, 1), date(2025, 5, 1))


def test_starter_code_has_its_own_prompt_and_platforms_survive():
    v5 = posing("lcb:v5", shared("evaluation/livecodebench/problems_2023-05_2025-01.jsonl"))
    asked = {one.facts["platform"]: one.prompt for one in v5.problems}
    assert asked["leetcode"] == "lcb-function"
    assert asked["atcoder"] == "lcb-stdin"
    assert all("{problem}" in prompts()[name].template for name in asked.values())


def test_a_date_that_is_missing_is_said(tmp_path):
    row = {"question_content": "Q", "question_id": "a", "public_test_cases": '[{"input": "1", "output": "1"}]'}
    with pytest.raises(DataError, match=r"a has no date \(contest_date: None\)"):
        posing("lcb:v5", put(tmp_path / "x.jsonl", [row]))


def test_olympiad_answers_several_and_with_a_tolerance():
    """94 have several answers, one an error of 0.1 on 4.2."""
    found = posing("olympiadbench", shared("evaluation/benchmarks/olympiadbench.jsonl"))
    assert sum(one.facts["is_multiple_answer"] for one in found.problems if "is_multiple_answer" in one.facts) == 94
    (loose,) = [one.problem for one in found.problems if one.problem.checker]
    assert (loose.answer, loose.checker) == ("4.2", "within:1e-1")
    numerical = posing("olympiadbench:numerical", shared("evaluation/benchmarks/olympiadbench.jsonl"))
    assert len(numerical.problems) == 572
    several = next(one.problem for one in found.problems if one.problem.answer == "$69$,$84$")
    with Grader() as grader:
        said = {text: grader.math(several.answer, f"\\boxed{{{text}}}").correct for text in ("84, 69", "69", "69, 85")}
    assert said == {"84, 69": True, "69": False, "69, 85": False}


def test_rows_that_are_no_problems_are_counted_and_none_is_an_error(tmp_path):
    rows = [{"problem": "1?", "answer": "1"}, {"problem": "", "answer": "2"}, {"problem": "3?", "answer": None}]
    found = posing("aime24", put(tmp_path / "x.jsonl", rows), unpinned=True)
    assert len(found.problems) == 1
    assert "2 rows are no problems" in found.notes[0]
    with pytest.raises(DataError, match="no problem of aime24 can be read; the first is"):
        posing("aime24", put(tmp_path / "y.jsonl", rows[2:]), unpinned=True)


def test_equal_ids_are_numbered(tmp_path):
    rows = [{"id": "a", "problem": f"{n}?", "answer": "1"} for n in range(3)]
    found = posing("aime24", put(tmp_path / "x.jsonl", rows), unpinned=True)
    names_ = [one.problem.id for one in found.problems]
    assert len(set(names_)) == 3
    assert names_[1] == f"{names_[0]}#2"


def test_protocols_and_what_changes_them():
    klear = protocol_named("klear", {"every": None})
    assert (klear.name, klear.temperature, klear.top_p) == ("klear", 0.6, 0.95)
    assert (klear.samples_of(choose("aime24")), klear.samples_of(choose("lcb:v5"))) == (64, 8)
    assert klear.samples_of(choose("math500")) == 4, "a benchmark that it does not name keeps its own"
    assert protocol_named("qwen3", {}).budget_of(choose("aime25")) == 38912
    assert protocol_named("klear-64k", {}).yarn == 2.5
    changed = protocol_named("qwen3", {"every": 2, "max_completion_tokens": 100, "top_k": 20})
    assert changed.name == "qwen3, changed: samples, max_completion_tokens"
    assert (changed.samples_of(choose("aime25")), changed.budget_of(choose("aime25"))) == (2, 100)
    assert protocol_named("klear", {"temperature": 0.0}).samples_of(choose("aime24")) == 1, "greedy: all are alike"
    with pytest.raises(UsageError, match="did you mean qwen3"):
        protocol_named("qwen", {})
    assert all(one.source for one in protocols().values())
