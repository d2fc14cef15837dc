"""Against a real server on loopback that misbehaves by a seeded schedule."""

import collections

import pyarrow.parquet as pq
import pytest
from tests.distill.rough import keys, put_problems, rough_server, rows_of
from tests.distill.rough_server import FAULTS, MOST, fault

from openklear.distill.run import distill
from openklear.distill.settings import Settings
from openklear.errors import EngineError, UsageError
from openklear.verifiers.limits import Limits


def settings(tmp_path, endpoint, **changes):
    base = {
        "problems": str(tmp_path / "problems.jsonl"),
        "output": tmp_path / "out",
        "endpoint": endpoint,
        "model": "adder",
        "samples": 4,
        "concurrency": 16,
        "first_wait": 0.01,
        "judging": None,
    }
    return Settings(**base | changes)


def test_every_response_arrives_once_whatever_the_server_does(tmp_path):
    put_problems(tmp_path / "problems.jsonl", 30)
    with rough_server(tmp_path / "log", seed=5, faults=0.5) as endpoint:
        summary = distill(settings(tmp_path, endpoint, timeout=0.4, judging=Limits(workers=1)))
    rows, log = rows_of(tmp_path / "out" / "responses.jsonl"), rows_of(tmp_path / "log")
    assert len(rows) == len(set(keys(rows))) == summary["responses"] == summary["sampled_now"] == 120
    assert all(row["error"] is None and row["model"] == "adder-v1" for row in rows)
    asked = collections.defaultdict(list)
    for line in log:
        asked[line["prompt"], line["seed"]].append(line["fault"])
    assert {one for faults in asked.values() for one in faults} == {"", *FAULTS}  # the schedule holds every fault
    prompts = {f"sum-{n}": f"What is {n} + {n % 7}?" for n in range(30)}
    for row in rows:
        prompt = prompts[row["id"].partition("/")[2]]
        faults = [fault(5, 0.5, prompt, row["seed"], number) for number in range(MOST + 1)]
        assert asked[prompt, row["seed"]] == faults[: row["tries"]]
        assert faults.index("") == row["tries"] - 1
    # The teacher is right for even seeds; the grader finds that out by itself.
    table = pq.read_table(tmp_path / "out" / "responses.parquet").to_pylist()
    assert keys(table) == sorted(keys(table), key=lambda key: (int(key[0].partition("-")[2]), key[2]))
    assert {row["outcome"] == "correct" for row in table if row["seed"] % 2 == 0} == {True}
    assert {row["outcome"] for row in table if row["seed"] % 2} == {"incorrect"}
    assert summary["domains"]["math"]["correct"] == sum(row["seed"] % 2 == 0 for row in table)
    assert {(row["passed"], row["total"]) for row in table} == {(0, 1), (1, 1)}


def test_reasoning_is_brought_to_one_form_and_kept_as_it_came(tmp_path):
    more = [(kind, f"What is 2 + 3? {kind}", 5) for kind in ("FIELD", "REASONING", "PLAIN", "TAGS")]
    put_problems(tmp_path / "problems.jsonl", 0, more)
    with rough_server(tmp_path / "log") as endpoint:
        distill(settings(tmp_path, endpoint, samples=1))
    rows = {row["id"].partition("/")[2]: row for row in rows_of(tmp_path / "out" / "responses.jsonl")}
    for kind in ("FIELD", "REASONING", "TAGS"):
        sum_ = 5 + rows[kind]["seed"] % 2
        assert rows[kind]["response"] == f"<think>\n2 and 3.\n</think>\n\nThe answer is {sum_}."
        assert rows[kind]["reasoning"] == (None if kind == "TAGS" else "2 and 3.")
    assert rows["PLAIN"]["response"] == rows["PLAIN"]["content"] == f"The answer is {5 + rows['PLAIN']['seed'] % 2}."


def test_a_prompt_that_is_refused_is_recorded_and_the_run_goes_on(tmp_path):
    put_problems(tmp_path / "problems.jsonl", 3, [("long", "LONG", 0), ("poison", "POISON", 0)])
    with rough_server(tmp_path / "log") as endpoint:
        summary = distill(settings(tmp_path, endpoint, samples=2, tries=3))
        rows = rows_of(tmp_path / "out" / "responses.jsonl")
        failed = {row["id"]: row for row in rows if row["error"] is not None}
        assert (summary["responses"], summary["failed"], len(rows)) == (6, 4, 10)
        assert "maximum context length" in failed["problems/long"]["error"]
        assert failed["problems/long"]["tries"] == 1
        assert failed["problems/poison"]["error"] == "status 500: a bug of the server"
        assert failed["problems/poison"]["tries"] == 3
        assert sum(summary["failures"].values()) == 4
        asked = len(rows_of(tmp_path / "log"))
        assert asked == 6 + 2 + 6
        distill(settings(tmp_path, endpoint, samples=2, tries=3))
        assert len(rows_of(tmp_path / "log")) == asked  # a recorded failure is not asked for again
        distill(settings(tmp_path, endpoint, samples=2, tries=3, retry_failed=True))
        assert len(rows_of(tmp_path / "log")) == asked + 8
    table = pq.read_table(tmp_path / "out" / "responses.parquet")
    assert table.num_rows == 10
    assert table["response"].null_count == table["outcome"].null_count - 6 == 4


@pytest.mark.parametrize(
    ("model", "error", "said"),
    [
        ("refused", UsageError, r"401: Incorrect API key provided\. Name the environment variable .* --api-key-env"),
        ("gone", UsageError, r"404: The model `gone` does not exist\. Correct --endpoint"),
        ("hot", UsageError, r"400: temperature must be 1 for this model"),
        ("down", EngineError, r"2 responses in a row failed, .* after 2 tries: status 503: no workers"),
    ],
)
def test_what_every_request_would_meet_stops_the_run_with_the_servers_words(tmp_path, model, error, said):
    put_problems(tmp_path / "problems.jsonl", 2)
    with rough_server(tmp_path / "log") as endpoint, pytest.raises(error, match=said):
        distill(settings(tmp_path, endpoint, model=model, samples=1, tries=2))
    assert rows_of(tmp_path / "out" / "responses.jsonl") == []


def test_many_failures_in_a_row_stop_the_run_and_are_asked_for_again(tmp_path):
    put_problems(tmp_path / "problems.jsonl", 4, [(f"p{n}", f"POISON {n}", 0) for n in range(40)])
    with rough_server(tmp_path / "log") as endpoint:
        with pytest.raises(EngineError, match="20 responses in a row failed"):
            distill(settings(tmp_path, endpoint, samples=1, tries=2, concurrency=1))
        assert len(rows_of(tmp_path / "out" / "responses.jsonl")) == 4
        assert len(rows_of(tmp_path / "log")) == 4 + 2 * 20


def test_prompts_that_are_all_too_long_stop_the_run(tmp_path):
    put_problems(tmp_path / "problems.jsonl", 0, [(f"p{n}", f"LONG {n}", 0) for n in range(40)])
    with rough_server(tmp_path / "log") as endpoint, pytest.raises(EngineError, match="maximum context length"):
        distill(settings(tmp_path, endpoint, samples=2))
    assert rows_of(tmp_path / "out" / "responses.jsonl") == []


def test_a_key_is_sent_where_it_is_named(tmp_path, monkeypatch):
    put_problems(tmp_path / "problems.jsonl", 1)
    with rough_server(tmp_path / "log") as endpoint:
        asked = settings(tmp_path, endpoint, model="refused", samples=1, api_key_env="TEACHER_KEY")
        monkeypatch.delenv("TEACHER_KEY", raising=False)
        with pytest.raises(UsageError, match=r"TEACHER_KEY .* is not set"):
            distill(asked)
        monkeypatch.setenv("TEACHER_KEY", "wrong")
        with pytest.raises(UsageError, match=r"401.* environment variable TEACHER_KEY"):
            distill(asked)
        monkeypatch.setenv("TEACHER_KEY", "right")
        assert distill(asked)["responses"] == 1


def test_a_server_that_takes_no_seed_gets_none(tmp_path, capsys):
    put_problems(tmp_path / "problems.jsonl", 4)
    with rough_server(tmp_path / "log") as endpoint:
        distill(settings(tmp_path, endpoint, model="seedless", samples=1, concurrency=1))
    rows = rows_of(tmp_path / "out" / "responses.jsonl")
    assert [row["seed"] for row in rows] == [None] * 4
    assert {row["tries"] for row in rows} == {1}
    assert len(rows_of(tmp_path / "log")) == 5  # it was asked with a seed once
    assert capsys.readouterr().err.count("the server takes no seed") == 1


def test_nobody_there(tmp_path):
    put_problems(tmp_path / "problems.jsonl", 1)
    with pytest.raises(EngineError, match=r"http://127\.0\.0\.1:9/v1 cannot be reached: cannot connect"):
        distill(settings(tmp_path, "http://127.0.0.1:9/v1"))


def test_the_budget_ends_the_run_and_a_larger_one_goes_on(tmp_path):
    put_problems(tmp_path / "problems.jsonl", 10)
    with rough_server(tmp_path / "log") as endpoint:
        first = distill(settings(tmp_path, endpoint, budget_tokens=300))
        # A response takes 30 tokens.
        assert (first["responses"], first["complete"]) == (10, False)
        assert first["stopped"] == "the budget of 300 tokens is spent"
        assert len(rows_of(tmp_path / "log")) == 10
        same = distill(settings(tmp_path, endpoint, budget_tokens=300))
        assert (same["responses"], same["sampled_now"]) == (10, 0)
        more = distill(settings(tmp_path, endpoint, budget_tokens=310))
        assert (more["responses"], more["sampled_now"], more["complete"]) == (11, 1, False)
        whole = distill(settings(tmp_path, endpoint, budget_tokens=1200))
        assert (whole["responses"], whole["complete"], whole["stopped"]) == (40, True, None)


def test_the_price_is_that_of_both_directions(tmp_path):
    put_problems(tmp_path / "problems.jsonl", 5)
    with rough_server(tmp_path / "log") as endpoint:
        summary = distill(settings(tmp_path, endpoint, price_in=1000.0, price_out=3.0e5))
    # 20 responses of 10 + 20 tokens
    assert summary["cost"] == pytest.approx(20 * (10 * 1000.0 + 20 * 3.0e5) / 1e6)


def test_a_rate_is_kept_and_only_slows(tmp_path):
    put_problems(tmp_path / "problems.jsonl", 3)
    with rough_server(tmp_path / "log") as endpoint:
        summary = distill(settings(tmp_path, endpoint, requests_per_minute=6000, tokens_per_minute=1e9))
    assert summary["responses"] == 12


def test_unscorable_verdicts_of_an_earlier_run_are_not_believed(tmp_path):
    put_problems(tmp_path / "problems.jsonl", 2)
    verdicts = tmp_path / "out" / "verdicts.jsonl"
    with rough_server(tmp_path / "log") as endpoint:
        asked = settings(tmp_path, endpoint, judging=Limits(workers=1))
        first = distill(asked)["domains"]
        verdicts.write_text(verdicts.read_text().replace('"incorrect"', '"unscorable"').replace("wrong answer", "lost"))
        assert "unscorable" in verdicts.read_text()
        assert distill(asked)["domains"] == first
