"""The command's words: what it refuses, what it prints."""

import json

import pytest
from tests.distill.rough import here, put_problems, rough_server

SERVER = ("--endpoint", "http://127.0.0.1:9/v1", "--model", "m")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "name one teacher: --endpoint URL with --model NAME, or --local MODEL_DIR"),
        ((*SERVER, "--local", "x"), "name one teacher"),
        (("--endpoint", "http://127.0.0.1:9/v1"), "--endpoint needs --model NAME"),
        (("--endpoint", "localhost:8000", "--model", "m"), "'localhost:8000' is not an http address"),
        ((*SERVER, "--samples", "0"), "greater than or equal to 1"),
        ((*SERVER, "--top-p", "0"), "must be above 0"),
        ((*SERVER, "--requests-per-minute", "0"), "must be above 0"),
        ((*SERVER, "--temperature", "-1"), "must be 0 or above"),
        ((*SERVER, "--extra", "{"), "--extra is not valid JSON"),
        ((*SERVER, "--extra", "[1]"), "--extra must be one JSON object"),
        ((*SERVER, "--extra", '{"seed": 1}'), "--extra holds seed, which this command sets itself"),
        ((*SERVER, "--isolation", "steel"), "'steel' is unknown"),
        (("--local", "no-model"), "no *.safetensors file"),
        (("--local", "x", "--extra", '{"top_k": 1}', "--api-key-env", "K"), "--extra, --api-key-env: for requests"),
    ],
)
def test_what_cannot_be_is_explained(capsys, tmp_path, monkeypatch, words, said):
    monkeypatch.chdir(tmp_path)
    put_problems(tmp_path / "problems.jsonl", 1)
    out, err = here(capsys, "problems.jsonl", "--output", "out", *words, code=2)
    assert said in err + out


def test_a_missing_file_and_a_damaged_journal(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    _, err = here(capsys, "problems.jsonl", "--output", "out", *SERVER, code=2)
    assert "no such file" in err
    put_problems(tmp_path / "problems.jsonl", 1)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "responses.jsonl").write_text("{}\n")
    _, err = here(capsys, "problems.jsonl", "--output", "out", *SERVER, code=2)
    assert "responses.jsonl:1: not a line that openklear wrote" in err


def test_it_says_what_came_of_it(capsys, tmp_path):
    source = put_problems(tmp_path / "problems.jsonl", 4, [("long", "LONG", 0)])
    with rough_server(tmp_path / "log") as endpoint:
        words = (source, "--output", tmp_path / "out", "--endpoint", endpoint, "--model", "adder", "--samples", 4)
        out, err = here(capsys, *words, "--budget-tokens", 90, "--price-in", 1e5, "--price-out", 0)
        lines = out.splitlines()
        assert lines[0] == "3 responses to 5 problems (3 of them now), 90 tokens, cost 3.00"
        assert "stopped: the budget of 90 tokens is spent; the same command with a larger one goes on" in lines
        assert lines[-1] == str(tmp_path / "out" / "responses.parquet")
        assert "distilling: 3/20 responses" in err
        assert "tokens 90, cost 3.00" in err
        out, err = here(capsys, *words)
        assert "16 responses to 5 problems (13 of them now), 480 tokens" in out
        assert "4 failed: status 400: This model's maximum context length" in out
        assert "math: pass rate 0." in out
        out, err = here(capsys, *words, "--json")
    assert err == ""
    summary = json.loads(out)
    assert (summary["responses"], summary["failed"], summary["sampled_now"]) == (16, 4, 0)
