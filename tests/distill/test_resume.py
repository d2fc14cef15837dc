"""The command as a process: killed, interrupted, given again with other settings."""

import json
import signal

import pyarrow.parquet as pq
from tests.distill.rough import here, keys, killed, put_problems, rough_server, rows_of, run


def words(tmp_path, endpoint, output="out", *more):
    source = tmp_path / "problems.jsonl"
    fixed = ("--model", "adder", "--samples", 4, "--concurrency", 8, "--workers", 1)
    return (source, "--output", tmp_path / output, "--endpoint", endpoint, *fixed, *more)


def test_killed_and_resumed_no_response_is_lost_or_doubled(tmp_path):
    put_problems(tmp_path / "problems.jsonl", 30)
    journal = tmp_path / "out" / "responses.jsonl"
    with rough_server(tmp_path / "log", seed=3, faults=0.1, seconds=0.03) as endpoint:
        faulty = words(tmp_path, endpoint, "out", "--timeout", 0.5)
        code, _ = killed(journal, 25, *faulty)
        assert code == -signal.SIGKILL
        before = journal.read_bytes()
        assert 25 <= before.count(b"\n") < 120
        with journal.open("ab") as file:
            file.write(b'{"id": "problems/sum-29", "content_ha')  # what a torn write leaves
        out, err = run(*faulty)
        done_before = before.count(b"\n")
        assert f"{done_before} responses are there already, {120 - done_before} are left to sample" in err
        assert f"120 responses to 30 problems ({120 - done_before} of them now)" in out
        assert journal.read_bytes().startswith(before)
        rows = rows_of(journal)
        assert len(keys(rows)) == len(set(keys(rows))) == 120
        # What was there was not asked for again.
        answered = [(line["prompt"], line["seed"]) for line in rows_of(tmp_path / "log") if not line["fault"]]
        prompts = {f"problems/sum-{n}": f"What is {n} + {n % 7}?" for n in range(30)}
        assert all(answered.count((prompts[row["id"]], row["seed"])) == 1 for row in rows[:done_before])
        assert len(answered) <= 120 + 8  # the killed run had at most so many under way
        # The same as undisturbed, to the byte.
        run(*words(tmp_path, endpoint, "calm"))
        columns = ["id", "sample", "response", "outcome", "passed", "total", "seed"]
        disturbed, calm = (
            pq.read_table(tmp_path / one / "responses.parquet", columns=columns) for one in ("out", "calm")
        )
        assert disturbed.equals(calm)
        # A third time there is nothing to do.
        asked = len(rows_of(tmp_path / "log"))
        document, err = run(*faulty, "--json")
        assert err == ""
        summary = json.loads(document)
        assert (summary["responses"], summary["sampled_now"], summary["complete"]) == (120, 0, True)
        assert len(rows_of(tmp_path / "log")) == asked


def test_interrupted_it_says_how_to_go_on(tmp_path):
    put_problems(tmp_path / "problems.jsonl", 30)
    journal = tmp_path / "out" / "responses.jsonl"
    with rough_server(tmp_path / "log", seconds=0.05) as endpoint:
        code, err = killed(journal, 9, *words(tmp_path, endpoint), by=signal.SIGINT)
        assert code == 130
        assert "interrupted; give the same command again to continue" in err
        assert "Traceback" not in err
        assert len(set(keys(rows_of(journal)))) == len(rows_of(journal)) >= 9


def test_other_settings_are_refused_by_name(tmp_path, capsys):
    put_problems(tmp_path / "problems.jsonl", 2)
    with rough_server(tmp_path / "log") as endpoint:
        base = words(tmp_path, endpoint, "out", "--no-grade")
        here(capsys, *base)
        _, err = here(capsys, *base, "--temperature", 0.7, "--extra", '{"top_k": 20}', code=2)
        assert "temperature was 0.6 and is 0.7; extra was {} and is {'top_k': 20}" in err
        assert "--restart" in err
        _, err = here(capsys, *base, "--model", "other", code=2)
        assert "model was 'adder' and is 'other'" in err
        # What changes no response is no other setting: more samples, more speed, a grader.
        out, _ = here(capsys, *base, "--samples", 6, "--concurrency", 2, "--grade")
        assert "12 responses to 2 problems (4 of them now)" in out
        assert "(n = 12)" in out
        out, _ = here(capsys, *base, "--temperature", 0.7, "--restart")
        assert "8 responses to 2 problems (8 of them now)" in out


def test_a_changed_reference_is_graded_anew_without_sampling(tmp_path, capsys):
    put_problems(tmp_path / "problems.jsonl", 1)
    with rough_server(tmp_path / "log") as endpoint:
        here(capsys, *words(tmp_path, endpoint))
        first = pq.read_table(tmp_path / "out" / "responses.parquet").to_pylist()
        text = (tmp_path / "problems.jsonl").read_text()
        (tmp_path / "problems.jsonl").write_text(text.replace('"answer": "0"', '"answer": "1"'))
        out, _ = here(capsys, *words(tmp_path, endpoint))
        second = pq.read_table(tmp_path / "out" / "responses.parquet").to_pylist()
    assert "(0 of them now)" in out
    assert [row["outcome"] for row in first] == ["incorrect" if row["seed"] % 2 else "correct" for row in first]
    assert [row["outcome"] for row in second] == ["correct" if row["seed"] % 2 else "incorrect" for row in second]
