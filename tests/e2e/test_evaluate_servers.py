"""One command, three ways to ask the same model: in this process, from `transformers serve`, and from vLLM."""

import json

import pytest
from tests.distill.test_transformers_serve import make_model, transformers_serve
from transformers.utils.import_utils import is_serve_available

from openklear.cli.main import main
from openklear.durable.files import read_jsonl
from openklear.evaluation.stored import open_stored
from openklear.models.loading import save_model
from openklear.models.tiny import make_tiny


def put_sums(path):
    rows = [{"id": f"s{n}", "problem": f"What is {n} + 1?", "answer": str(n + 1)} for n in range(6)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def evaluated(output, *words):
    assert main(["evaluate", *map(str, words), "-o", str(output), "--samples", "3"]) == 0
    there = open_stored(output)
    assert len(there.samples) == 18
    return there


@pytest.mark.long
@pytest.mark.skipif(not is_serve_available(), reason="transformers[serving] is not installed")
def test_from_transformers_serve(tmp_path):
    model, sums = make_model(tmp_path / "tiny"), put_sums(tmp_path / "sums.jsonl")
    words = ("--max-completion-tokens", 24, "--temperature", 1)
    with transformers_serve(model, tmp_path / "log") as endpoint:
        asked = ("--endpoint", endpoint, "--model", model, sums, *words)
        there = evaluated(tmp_path / "served", *asked)
        before = (tmp_path / "served" / "completions.jsonl").read_bytes()
        evaluated(tmp_path / "served", *asked)
        served = (tmp_path / "log").read_text().count('"POST /v1/chat/completions HTTP/1.1" 200')
    assert served == 18, "nothing is asked for twice"
    assert (tmp_path / "served" / "completions.jsonl").read_bytes() == before
    assert all(one.tokens is not None and one.tokens <= 24 for one in there.samples)
    assert len({there.text(one) for one in there.samples}) > 9
    here = evaluated(tmp_path / "here", model, sums, *words, "--threads", 1)
    assert [one.problem for one in here.samples] == [one.problem for one in there.samples]
    assert [one.prompt for one in here.asked.values()] == [one.prompt for one in there.asked.values()]


@pytest.mark.vllm
def test_by_vllm(tmp_path):
    """What vLLM wrote is kept and not sampled again."""
    model, sums = tmp_path / "tiny", put_sums(tmp_path / "sums.jsonl")
    model.mkdir()
    save_model(make_tiny(64, 2, 2, 256, 0), model)
    words = (model, sums, "--max-completion-tokens", 16, "--threads", 1)
    there = evaluated(tmp_path / "vllm", *words, "--engine", "vllm", "--temperature", 1)
    rows = read_jsonl(tmp_path / "vllm" / "completions.jsonl")
    evaluated(tmp_path / "vllm", *words, "--engine", "vllm", "--temperature", 1)
    assert read_jsonl(tmp_path / "vllm" / "completions.jsonl") == rows
    engine = there.settings["engine"]
    assert (engine["type"], engine["version"][0].isdigit()) == ("vllm", True)
    assert len({there.text(one) for one in there.samples}) > 9
