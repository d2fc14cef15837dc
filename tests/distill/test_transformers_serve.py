"""Against `transformers serve`, a real OpenAI-compatible server, with a real model directory."""

import os
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import contextmanager

import pyarrow.parquet as pq
import pytest
from tests.distill.rough import keys, killed, put_problems, rows_of, run
from transformers.utils.import_utils import is_serve_available

from openklear.models.loading import save_model
from openklear.models.tiny import make_tiny

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(not is_serve_available(), reason="transformers[serving] is not installed"),
]


CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n<think>\n{% endif %}"
)
"""What the server expects of a Qwen3; it takes the reasoning apart by the opened thought."""


def blank_tokens(tokenizer):
    """With one of them first, an untrained model may end its thought before it has said a word."""
    every = range(len(tokenizer))
    thought = tokenizer.convert_tokens_to_ids(["<think>", "</think>"])
    return [n for n in every if n in thought or not tokenizer.decode([n], skip_special_tokens=True).strip()]


def make_model(directory):
    loaded = make_tiny(32, 2, 2, 512, 0)
    loaded.tokenizer.chat_template = CHATML
    loaded.model.generation_config.do_sample = True  # else the server is greedy whatever the temperature
    loaded.model.generation_config.begin_suppress_tokens = blank_tokens(loaded.tokenizer)
    directory.mkdir()
    save_model(loaded, directory)
    return directory


@contextmanager
def transformers_serve(model, log):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = ["serve", str(model), "--device", "cpu", "--host", "127.0.0.1", "--port", str(port)]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    start = "from transformers.cli.transformers import main; main()"
    with open(log, "w") as file:
        server = subprocess.Popen([sys.executable, "-c", start, *words], stdout=file, stderr=file, env=environment)
    try:
        wait_for(f"http://127.0.0.1:{port}/health", server, log)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        server.kill()
        server.wait()


def wait_for(url, server, log):
    deadline = time.monotonic() + 50
    while True:
        assert server.poll() is None, log.read_text()
        assert time.monotonic() < deadline, log.read_text()
        try:
            with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url, timeout=2):
                return
        except OSError:
            time.sleep(0.1)


def test_killed_and_resumed_against_a_real_server(tmp_path):
    model, source = make_model(tmp_path / "tiny"), put_problems(tmp_path / "problems.jsonl", 8)
    journal = tmp_path / "out" / "responses.jsonl"
    with transformers_serve(model, tmp_path / "log") as endpoint:
        teacher = ("--endpoint", endpoint, "--model", model, "--max-tokens", 48, "--temperature", 1.0)
        words = (source, "--output", tmp_path / "out", *teacher, "--samples", 4, "--concurrency", 4)
        code, err = killed(journal, 6, *words)
        assert code < 0, err
        before = journal.read_bytes()
        assert 6 <= before.count(b"\n") < 32
        out, _ = run(*words)
        served = (tmp_path / "log").read_text().count('"POST /v1/chat/completions HTTP/1.1" 200')
    assert "32 responses to 8 problems" in out
    assert journal.read_bytes().startswith(before)
    rows = rows_of(journal)
    assert len(keys(rows)) == len(set(keys(rows))) == 32
    assert served <= 32 + 4  # the killed run had four under way at most
    assert {row["finish_reason"] for row in rows} <= {"stop", "length"}
    assert all(row["error"] is None and row["tokens_counted"] and row["tries"] == 1 for row in rows)
    assert all(row["completion_tokens"] <= 48 and row["seed"] is not None for row in rows)
    assert {row["model"].partition("@")[0] for row in rows} == {str(model)}
    assert len({row["response"] for row in rows}) > 16
    assert all(row["reasoning"] and row["response"].startswith("<think>\n") for row in rows)
    table = pq.read_table(tmp_path / "out" / "responses.parquet")
    assert table.num_rows == 32
    assert set(table["outcome"].to_pylist()) <= {"correct", "incorrect"}
