"""openklear evaluate: models that there are, and servers, on benchmarks; judged again; and how it fails."""

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
from tests.distill.rough import ROOT, rough_server

from openklear.cli.main import main
from openklear.durable.files import read_jsonl
from openklear.evaluation.stored import open_stored
from openklear.models.loading import save_model
from openklear.models.tiny import make_tiny

SUMS = [{"id": f"s{n}", "problem": f"What is {n} + {n % 7}?", "answer": str(n + n % 7)} for n in range(6)]
DOUBLE = {"id": "d", "problem": "Print n doubled.", "tests": [{"input": "2\n", "output": "4\n"}]}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    directory = tmp_path_factory.mktemp("model") / "tiny"
    directory.mkdir()
    save_model(make_tiny(16, 1, 2, 192, 0), directory)
    return directory


@pytest.fixture
def sums(tmp_path):
    return put(tmp_path / "sums.jsonl", SUMS)


def put(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def evaluate(*words, code=0):
    assert main(["evaluate", *map(str, words)]) == code


SMALL = ("--samples", 2, "--max-completion-tokens", 12, "--threads", 1, "--temperature", 1)


def test_a_model_on_files_of_ones_own(model, sums, tmp_path, capsys):
    code = put(tmp_path / "code.jsonl", [DOUBLE])
    evaluate(model, sums, code, "-o", tmp_path / "e", *SMALL, "--isolation", "rlimits")
    said = capsys.readouterr()
    assert f"{model}  sums  avg@2 " in said.out
    assert "pass@2" in said.out
    assert f"{model}  code  avg@2 0.000" in said.out
    there = open_stored(tmp_path / "e")
    assert Counter(one.benchmark for one in there.samples) == {"sums": 12, "code": 2}
    facts = there.settings
    assert facts["sampling"] == {"temperature": 1.0, "top_p": 0.95, "top_k": 0, "min_p": 0.0}
    assert facts["protocol"]["name"] == "klear, changed: samples, temperature, max_completion_tokens"
    assert [(row["name"], row["samples"], row["max_completion_tokens"]) for row in facts["benchmarks"]] == [
        ("sums", 2, 12),
        ("code", 2, 12),
    ]
    assert len(facts["model"]["weights"]) == 32
    assert {"dtype", "device", "chat_template", "positions"} <= facts["model"].keys()
    assert facts["benchmarks"][0]["prompts"]["{problem}"]["template"] == "{problem}"
    evaluate(model, sums, code, "-o", tmp_path / "e", *SMALL, "--isolation", "rlimits", "--json")
    document = json.loads(capsys.readouterr().out)
    assert {row["benchmark"] for row in document["scores"]} == {"sums", "code"}
    assert len(read_jsonl(tmp_path / "e" / "completions.jsonl")) == 14, "nothing was sampled again"


def test_another_benchmark_joins_and_another_model_or_protocol_does_not(model, sums, tmp_path, capsys):
    evaluate(model, sums, "-o", tmp_path / "e", *SMALL)
    other = put(tmp_path / "other.jsonl", SUMS[:2])
    evaluate(model, other, "-o", tmp_path / "e", *SMALL)
    assert "sums" in capsys.readouterr().out
    assert Counter(one.benchmark for one in open_stored(tmp_path / "e").samples) == {"sums": 12, "other": 4}
    evaluate(model, sums, "-o", tmp_path / "e", *SMALL, "--top-p", 0.5, code=2)
    said = capsys.readouterr().err
    assert "was made otherwise: sampling.top_p was 0.95 and is 0.5" in said
    assert "Choose another --output" in said


def test_more_samples_and_another_spelling_of_the_model_go_on(model, sums, tmp_path, capsys, monkeypatch):
    evaluate(model, sums, "-o", tmp_path / "e", *SMALL)
    monkeypatch.chdir(model.parent)
    evaluate(model.name, sums, "-o", tmp_path / "e", *SMALL[2:], "--samples", 3)
    assert "12 completions are there already, 6 are sampled" in capsys.readouterr().err
    assert len(open_stored(tmp_path / "e").samples) == 18


def test_a_benchmark_that_is_half_done_is_not_taken_for_whole(model, sums, tmp_path, capsys):
    evaluate(model, sums, "-o", tmp_path / "e", *SMALL)
    lines = (tmp_path / "e" / "samples.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "e" / "samples.jsonl").write_text("".join(lines[:5]))  # as a kill leaves it
    evaluate(model, put(tmp_path / "other.jsonl", SUMS[:1]), "-o", tmp_path / "e", *SMALL)
    said = capsys.readouterr()
    assert "sums is not finished there; name it again to go on" in said.err
    there = open_stored(tmp_path / "e")
    assert {one.benchmark for one in there.samples} == {"other"}
    evaluate(model, sums, "-o", tmp_path / "e", *SMALL)
    assert "are sampled" not in capsys.readouterr().err, "its completions were kept"
    assert Counter(one.benchmark for one in open_stored(tmp_path / "e").samples) == {"other": 2, "sums": 12}


def test_what_the_model_is_told_is_compared(sums, tmp_path, capsys):
    with rough_server(tmp_path / "log.jsonl") as endpoint:
        words = ("--endpoint", endpoint, "--model", "m", sums, "-o", tmp_path / "e", "--samples", 1)
        evaluate(*words)
        evaluate(*words, "--extra", '{"top_k": 20}', code=2)
    assert "told.extra" in capsys.readouterr().err


def test_a_first_try_that_sampled_nothing_binds_nobody(model, sums, tmp_path):
    evaluate(model, sums, "-o", tmp_path / "e", *SMALL)
    (tmp_path / "e" / "completions.jsonl").write_bytes(b"")
    evaluate(model, sums, "-o", tmp_path / "e", *SMALL[:-2], "--temperature", 0.5)


def test_the_prompt_is_the_one_that_is_named(model, sums, tmp_path):
    evaluate(model, sums, "-o", tmp_path / "e", *SMALL, "--prompt", "Q: {problem}", "--limit", 1)
    (asked,) = open_stored(tmp_path / "e").asked.values()
    assert asked.prompt[-1]["content"] == "Q: What is 0 + 0?"
    evaluate(model, sums, "-o", tmp_path / "f", *SMALL, "--prompt", "math-boxed", "--limit", 1)
    (asked,) = open_stored(tmp_path / "f").asked.values()
    assert asked.prompt[-1]["content"].endswith("put your final answer within \\boxed{}.")


def test_yarn_stretches_the_positions_and_is_recorded(model, sums, tmp_path):
    evaluate(model, sums, "-o", tmp_path / "e", *SMALL, "--yarn", 2, "--limit", 1)
    facts = open_stored(tmp_path / "e").settings
    assert (facts["model"]["positions"], facts["protocol"]["yarn"]) == (384, 2.0)


def test_a_server_is_asked_in_the_same_way(sums, tmp_path, capsys, monkeypatch):
    """The teacher is right for even seeds; what it is asked for is kept, and nothing is asked for twice."""
    monkeypatch.setattr("openklear.evaluation.sources.FIRST_WAIT", 0.01)
    log = tmp_path / "log.jsonl"
    with rough_server(log, faults=0.2) as endpoint:
        words = ("--endpoint", endpoint, "--model", "m", sums, "-o", tmp_path / "e", "--samples", 4, "--timeout", 1)
        evaluate(*words)
        asked = len([row for row in read_jsonl(log) if not row["fault"]])
        evaluate(*words)
    assert len([row for row in read_jsonl(log) if not row["fault"]]) == asked == 24
    there = open_stored(tmp_path / "e")
    assert len(there.samples) == 24
    seeds = {(row["prompt"], row["seed"]) for row in read_jsonl(log)}
    assert len(seeds) == 24
    right = sum(row["seed"] % 2 == 0 for row in read_jsonl(log) if not row["fault"])
    assert sum(one.correct for one in there.samples) == right
    assert there.settings["model"]["endpoint"] == endpoint
    assert "avg@4" in capsys.readouterr().out


def test_a_server_that_refuses_a_prompt_costs_its_samples_alone(tmp_path):
    long = {"id": "l", "problem": "LONG What is 1 + 1?", "answer": "2"}
    path = put(tmp_path / "p.jsonl", [*SUMS[:2], long])
    with rough_server(tmp_path / "log.jsonl") as endpoint:
        evaluate("--endpoint", endpoint, "--model", "m", path, "-o", tmp_path / "e", "--samples", 2)
    refused = [one for one in open_stored(tmp_path / "e").samples if "l" in one.problem.split("/")[-1]]
    assert [one.correct for one in refused] == [False, False]
    assert all(one.reason.startswith("not asked: the server refuses the prompt") for one in refused)


def test_a_server_that_refuses_every_prompt_is_at_fault_itself(tmp_path, capsys):
    path = put(tmp_path / "p.jsonl", [{**SUMS[0], "id": f"l{n}", "problem": f"LONG {n}"} for n in range(9)])
    with rough_server(tmp_path / "log.jsonl") as endpoint:
        evaluate("--endpoint", endpoint, "--model", "m", path, "-o", tmp_path / "e", "--samples", 4, code=1)
    said = capsys.readouterr().err
    assert "all of the first 5 problems were refused" in said
    assert "maximum context length is 16 tokens" in said
    assert "lower --max-completion-tokens" in said


def test_a_server_that_is_not_there_is_said_soon(sums, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("openklear.evaluation.sources.FIRST_WAIT", 0.01)
    evaluate("--endpoint", "http://127.0.0.1:9/v1", "--model", "m", sums, "-o", tmp_path / "e", code=1)
    assert "cannot connect" in capsys.readouterr().err


def test_judged_again_by_a_grader_that_changed(model, tmp_path, capsys, monkeypatch):
    """The same texts, nothing sampled: what moved is told, and written only where that is asked for."""
    path = put(tmp_path / "sums.jsonl", SUMS)
    with rough_server(tmp_path / "log.jsonl") as endpoint:
        evaluate("--endpoint", endpoint, "--model", "m", path, "-o", tmp_path / "e", "--samples", 4)
    before = open_stored(tmp_path / "e")
    (tmp_path / "lenient.py").write_text("def grade(problem, completion):\n    return True\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    wrong = sum(not one.correct for one in before.samples)
    assert 0 < wrong < 24
    capsys.readouterr()
    evaluate("--rescore", tmp_path / "e", "--grader", "math=lenient:grade", "--moved", 1)
    said = capsys.readouterr().out
    assert f"-> 1.000 of 24 completions; {wrong} incorrect to correct" in said
    assert f"and {wrong - 1} more" in said
    assert open_stored(tmp_path / "e").samples == before.samples
    evaluate("rescore", tmp_path / "e", "--grader", "math=lenient:grade", "--write")
    assert all(one.correct for one in open_stored(tmp_path / "e").samples)
    evaluate("rescore", tmp_path / "e")
    assert "nothing moved" in capsys.readouterr().out, "the grader is the one that the evaluation now says"
    evaluate("rescore", tmp_path / "e", "--grader", "none", "--json")
    printed = capsys.readouterr().out
    document = json.loads(printed[printed.index('{\n  "benchmarks"') :])
    assert len(document["moved"]) == wrong


def test_killed_and_given_again(model, tmp_path):
    """The process itself, killed without warning, at two moments: the same files, and no completion twice."""
    path = put(tmp_path / "many.jsonl", [{**SUMS[0], "id": f"m{n}", "problem": f"{n} + 1?"} for n in range(30)])
    words = [str(model), str(path), "--samples", "2", "--max-completion-tokens", "60", "--threads", "1"]
    words += ["--temperature", "1", "--slots", "2"]
    evaluate(*words, "-o", tmp_path / "whole")
    for least in (1, 30):
        process = started(words, tmp_path / "parts")
        lines = tmp_path / "parts" / "completions.jsonl"
        until = time.monotonic() + 120
        while process.poll() is None and time.monotonic() < until and count(lines) < least:
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
        process.wait()
    found = [row["key"] for row in whole_rows(lines)]
    assert len(set(found)) == len(found) > 0
    evaluate(*words, "-o", tmp_path / "parts")
    for name in ("completions.jsonl", "samples.jsonl", "problems.jsonl"):
        assert (tmp_path / "parts" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name


def count(path):
    return path.read_bytes().count(b"\n") if path.exists() else 0


def whole_rows(path):
    return [json.loads(line) for line in path.read_bytes().split(b"\n")[:-1]]


def started(words, output):
    start = "import sys; from openklear.cli.main import main; sys.exit(main(sys.argv[1:]))"
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1"}
    argv = [sys.executable, "-c", start, "evaluate", *words, "-o", str(output)]
    return subprocess.Popen(argv, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["MODEL"], "name at least one benchmark after the model"),
        (["MODEL", "aime99"], "no such benchmark and no such file; did you mean aime"),
        (["MODEL", "hmmt24"], "hmmt24: say where its problems are: --data hmmt24=PATH"),
        (["nowhere", "SUMS"], "nowhere"),
        (["MODEL", "SUMS", "--protocol", "clear"], "did you mean klear?"),
        (["MODEL", "SUMS", "--data", "aime24"], "write NAME=PATH"),
        (["MODEL", "SUMS", "--template-args", "[1]"], "write a JSON object"),
        (["MODEL", "SUMS", "--engine", "sglang"], "write local or vllm"),
        (["--endpoint", "http://x/v1", "SUMS"], "--endpoint needs --model NAME"),
        (["--endpoint", "x", "--model", "m", "SUMS"], "is not an http address"),
        (["MODEL", "SUMS", "--temperature", "-1"], "must be 0 or above"),
        (
            ["MODEL", "SUMS", "--max-completion-tokens", "8", "--prompt", "{problem}" + "9" * 300],
            "no problem can be asked",
        ),
        (["rescore", "nowhere"], "holds no evaluation"),
        (["MODEL", "SUMS", "--judge", "offical"], "write openklear or official"),
        (["MODEL", "SUMS", "--model", "m"], "--model: for --endpoint alone"),
        (["--endpoint", "http://x/v1", "--model", "m", "SUMS", "--dtype", "float32"], "--dtype: of a model that is"),
        (["--endpoint", "http://x/v1", "--model", "m", "SUMS", "--protocol", "klear-64k"], "stretches the model's"),
        (["--endpoint", "http://x/v1", "--model", "m", "SUMS", "--extra", '{"seed": 1}'], "--extra holds seed"),
        (["MODEL", "SUMS", "--protocol", "greedy", "--samples", "8"], "temperature 0 is greedy"),
        (["MODEL", "SUMS", "sums.jsonl"], "a second benchmark is called sums"),
    ],
)
def test_bad_usage_says_what_to_do(words, said, model, sums, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("OPENKLEAR_BENCHMARKS", raising=False)
    given = [{"MODEL": str(model), "SUMS": str(sums)}.get(word, word) for word in words]
    evaluate(*given, code=2)
    captured = capsys.readouterr()
    assert said in captured.err
    assert "Traceback" not in captured.err


def test_the_catalogue_is_listed(capsys):
    evaluate("benchmarks")
    said = capsys.readouterr().out
    assert "AIME 2024: 30 problems, k 64" in said
    assert "math-boxed" in said
    evaluate("benchmarks", "--json")
    document = json.loads(capsys.readouterr().out)
    assert document.keys() == {"benchmarks", "protocols", "prompts"}


def test_a_recipe_is_still_evaluated(tmp_path, capsys):
    evaluate(tmp_path / "r.toml", "-o", tmp_path / "run", code=2)
    assert f"{tmp_path / 'r.toml'}: cannot be read" in capsys.readouterr().err


RECIPE = """
[world]
demonstrations = 4
problems = 4
validation = 2
heldout = 3
[model]
type = "tiny"
hidden_size = 16
layers = 1
heads = 2
[[data.source]]
name = "math-heldout"
path = "world:heldout/math.jsonl"
role = "heldout"
[evaluation]
samples = 2
max_completion_tokens = 8
"""


def test_a_recipe_without_training_evaluates_alone(tmp_path, capsys):
    (tmp_path / "r.toml").write_text(RECIPE)
    evaluate(tmp_path / "r.toml", "-o", tmp_path / "run")
    assert "base  math-heldout  avg@2" in capsys.readouterr().out
    assert len(open_stored(tmp_path / "run" / "evaluate-base").samples) == 6
    evaluate("rescore", tmp_path / "run" / "evaluate-base")
    assert "of 6 completions; nothing moved" in capsys.readouterr().out


def test_the_output_has_a_name_of_its_own(model, sums, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("m").symlink_to(model)
    evaluate("m", sums, "--limit", 1, *SMALL)
    assert (tmp_path / "evaluations" / "m-klear" / "scores.json").is_file()
