"""The local engine with a tiny model, and what a distillation leaves for the other rooms."""

import json
from dataclasses import replace

import pyarrow.parquet as pq
import pytest
from tests.distill.rough import keys, put_problems, rows_of

from openklear.data import store
from openklear.data.formats import read_rows
from openklear.data.shapes import parse_rows
from openklear.distill import local
from openklear.distill.run import distill
from openklear.distill.settings import Settings
from openklear.errors import StageChanged, UsageError
from openklear.models.loading import save_model
from openklear.models.tiny import make_tiny
from openklear.types import CallTest, Problem, Test
from openklear.verifiers.limits import Limits


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    directory = tmp_path_factory.mktemp("model") / "tiny-teacher"
    directory.mkdir()
    save_model(make_tiny(32, 1, 2, 96, 0), directory)
    return directory


def settings(tmp_path, model, **changes):
    base = {
        "problems": str(tmp_path / "problems.jsonl"),
        "output": tmp_path / "out",
        "local": model,
        "samples": 3,
        "max_tokens": 20,
        "temperature": 1.0,
        "concurrency": 8,
        "judging": Limits(workers=1),
    }
    return Settings(**base | changes)


def test_responses_depend_on_their_seeds_not_on_when_they_are_sampled(tmp_path, model, monkeypatch):
    put_problems(tmp_path / "problems.jsonl", 6)
    whole = distill(settings(tmp_path, model))
    rows = rows_of(tmp_path / "out" / "responses.jsonl")
    assert len(set(keys(rows))) == whole["responses"] == 18
    assert {row["finish_reason"] for row in rows} <= {"stop", "length"}
    assert len({row["response"] for row in rows}) > 9
    assert whole["teacher"] == "tiny-teacher"
    monkeypatch.setattr(local, "TASKS_AT_ONCE", 4)
    budget = distill(settings(tmp_path, model, output=tmp_path / "parts", budget_tokens=150, concurrency=2))
    assert budget["prompt_tokens"] + budget["completion_tokens"] >= 150
    assert 0 < budget["responses"] < 18
    assert budget["stopped"] == "the budget of 150 tokens is spent"
    distill(settings(tmp_path, model, output=tmp_path / "parts", concurrency=2))
    columns = ["id", "sample", "response", "outcome", "seed", "completion_tokens"]
    tables = [pq.read_table(tmp_path / one / "responses.parquet", columns=columns) for one in ("out", "parts")]
    assert tables[0].equals(tables[1])


def test_a_prompt_that_does_not_fit_is_recorded(tmp_path, model):
    put_problems(tmp_path / "problems.jsonl", 1, [("long", "x" * 200, 0)])
    summary = distill(settings(tmp_path, model, samples=1))
    assert (summary["responses"], summary["failed"]) == (1, 1)
    (reason,) = summary["failures"]
    assert reason == "the prompt has N tokens, and the model N positions"


def test_another_model_is_another_teacher(tmp_path, model):
    put_problems(tmp_path / "problems.jsonl", 1)
    distill(settings(tmp_path, model, judging=None))
    other = tmp_path / "tiny-teacher"
    other.mkdir()
    save_model(make_tiny(32, 1, 2, 96, 1), other)
    with pytest.raises(StageChanged, match=r"weights was '.*' and is '.*'"):
        distill(settings(tmp_path, other, judging=None))


def test_prepared_problems_are_asked_as_they_are(tmp_path, model):
    prompt = ({"role": "system", "content": "s"}, {"role": "user", "content": "Print 1."})
    problems = [
        Problem("src/a", prompt, "code", tests=(Test("", "1"), Test("2", "1")), level="3", source="src"),
        Problem("src/b", prompt, "code", tests=(CallTest("f", "[1]", "2"),), source="src"),
        Problem("src/c", prompt, "math", answer="7", source="src"),
    ]
    store.write_problems(tmp_path / "problems.parquet", problems)
    distill(settings(tmp_path, model, problems=str(tmp_path / "problems.parquet"), samples=2))
    assert [row.problem for row in read_back(tmp_path / "out" / "responses.parquet")[::2]] == [
        problem_with_source(problem) for problem in problems
    ]
    table = pq.read_table(tmp_path / "out" / "responses.parquet").to_pylist()
    assert [row["total"] for row in table] == [2, 2, 1, 1, 1, 1]
    assert {row["outcome"] for row in table} <= {"correct", "incorrect"}
    assert {row["content_hash"] for row in table} == {problems[0].content_hash}


def read_back(path):
    """The file as a source of demonstrations of a recipe reads it."""
    return [
        row
        for where, raw in read_rows(path)
        for row in parse_rows(raw, where, role="demonstrations", source="teacher", domain=None)
    ]


def problem_with_source(problem):
    return replace(problem, id=f"teacher/{problem.id}", source="teacher")


def test_greedy_responses_depend_on_no_seed_and_are_one_each(tmp_path, model):
    put_problems(tmp_path / "problems.jsonl", 3)
    found = []
    for seed in (0, 1):
        asked = settings(tmp_path, model, samples=1, temperature=0.0, seed=seed, output=tmp_path / str(seed))
        distill(asked)
        found.append(sorted((row["id"], row["response"]) for row in rows_of(asked.output / "responses.jsonl")))
    assert found[0] == found[1]
    with pytest.raises(UsageError, match=r"--temperature 0 is greedy.*--samples 1"):
        settings(tmp_path, model, temperature=0.0)


def test_the_summary_is_on_disk(tmp_path, model):
    put_problems(tmp_path / "problems.jsonl", 2)
    summary = distill(settings(tmp_path, model, samples=1))
    assert json.loads((tmp_path / "out" / "summary.json").read_text()) == json.loads(json.dumps(summary))
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "distill.json", "lock", "responses.jsonl", "responses.parquet", "summary.json", "verdicts.jsonl",
    ]  # fmt: skip


def test_a_thought_that_the_template_opens_is_a_thought(tmp_path):
    loaded = make_tiny(32, 1, 2, 96, 0)
    loaded.tokenizer.chat_template = (
        "{% for m in messages %}{{ m.content }}{% endfor %}{% if add_generation_prompt %}<think>\n{% endif %}"
    )
    (tmp_path / "opened").mkdir()
    save_model(loaded, tmp_path / "opened")
    put_problems(tmp_path / "problems.jsonl", 2)
    distill(settings(tmp_path, tmp_path / "opened", judging=None))
    rows = rows_of(tmp_path / "out" / "responses.jsonl")
    assert len(rows) == 6
    assert all(row["response"].startswith("<think>\n") for row in rows if "<think>" not in row["content"])
