"""Our logs in inspect_ai's own reader. It is no dependency: OPENKLEAR_INSPECT names a Python that has it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from tests.evaluation.exchange.cases import CORRECT, INCORRECT, UNSCORABLE, evaluation, imported, taken

from openklear.evaluation.exchange.exporting import export
from openklear.evaluation.stored import open_stored

READ = """
import json, sys
from inspect_ai.log import read_eval_log, read_eval_log_sample, read_eval_log_sample_summaries
path = sys.argv[1]
header, log = read_eval_log(path, header_only=True), read_eval_log(path)
one = read_eval_log_sample(path, id=header.eval.dataset.sample_ids[0], epoch=1)
print(json.dumps({
    "header": {metric: value.value for metric, value in header.results.scores[0].metrics.items()},
    "samples": header.samples,
    "model": header.eval.model,
    "config": header.eval.model_generate_config.model_dump(exclude_none=True),
    "status": header.status,
    "rows": [
        [s.id, s.epoch, {name: score.value for name, score in s.scores.items()}, s.output.completion, s.output.stop_reason]
        for s in log.samples
    ],
    "one": [one.id, one.epoch, [[m.role, m.content if isinstance(m.content, str) else [c.type for c in m.content]]
                                for m in one.messages]],
    "summaries": len(read_eval_log_sample_summaries(path)),
}))
"""


WRITE = """
import sys
from inspect_ai.log import read_eval_log, write_eval_log
write_eval_log(read_eval_log(sys.argv[1]), sys.argv[2])
"""


def python() -> str:
    named = os.environ.get("OPENKLEAR_INSPECT")
    if named is None and find_spec("inspect_ai") is None:
        pytest.skip("inspect_ai is not here, and OPENKLEAR_INSPECT names no Python that has it")
    return named or sys.executable


def run(code: str, *paths: Path) -> str:
    done = subprocess.run([python(), "-c", code, *map(str, paths)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def read(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(run(READ, path))
    return found


@pytest.mark.parametrize("ending", ["eval", "json"])
def test_inspect_writes_ours_again_and_we_read_that(tmp_path: Path, ending: str) -> None:
    """In its own packing, with whatever it keeps apart."""
    long = "<think>\n" + "hm " * 1000 + "\n</think>\n\nso 7"
    texts = {("aime25", "I/1"): [(long, CORRECT), ("cut ...", INCORRECT)], ("aime25", "2"): [("x", UNSCORABLE)]}
    ours = open_stored(evaluation(tmp_path / "ours", texts))
    export(ours.directory, "inspect", tmp_path / "a.eval")
    run(WRITE, tmp_path / "a.eval", tmp_path / f"b.{ending}")
    back, said = taken(tmp_path / "back", tmp_path / f"b.{ending}")
    kept = ("problem", "sample", "outcome", "reason", "extracted", "stop_reason", "tokens")
    for one, other in zip(ours.samples, back.samples, strict=True):
        assert [getattr(one, name) for name in kept] == [getattr(other, name) for name in kept]
        assert ours.text(one) == back.text(other)
    assert [row["agrees"] for row in said["scores"] if row["metric"] == "accuracy"] == [True]


def test_inspect_reads_our_own(tmp_path: Path) -> None:
    thought, odd = "<think>\nhm\n</think>\n\nso 7", "\x00 <script>alert(1)</script> \ud800 日本 " + "x" * 1_000_000
    texts = {
        ("aime25", "2025/I/1"): [(thought, CORRECT), ("cut ...", INCORRECT)],
        ("aime25", "2"): [(odd, UNSCORABLE), (None, INCORRECT)],
    }
    export(evaluation(tmp_path / "ours", texts), "inspect", tmp_path / "a.eval")
    found = read(tmp_path / "a.eval")
    assert found["status"] == "success"
    assert found["samples"] is None  # the header alone was read
    assert found["header"]["accuracy"] == 0.25
    assert found["model"] == "lab/model-8b"
    assert found["config"] == {"temperature": 0.6, "top_p": 0.95, "max_tokens": 32768}
    assert found["summaries"] == 4
    rows = {(name, epoch): rest for name, epoch, *rest in found["rows"]}
    assert rows["2025/I/1", 1] == [{"openklear": "C"}, "\n\nso 7", "stop"]
    assert rows["2025/I/1", 2] == [{"openklear": "I"}, "cut ...", "max_tokens"]
    assert rows["2", 1] == [{}, odd, "stop"]
    assert rows["2", 2] == [{"openklear": "I"}, "", "unknown"]
    first = {tuple(found["one"][:2]): found["one"][2]}
    assert first == {("2025/I/1", 1): [["user", "What is 2025/I/1?"], ["assistant", ["reasoning", "text"]]]}


@pytest.mark.parametrize(
    ("name", "value", "count"),
    [("inspect/log_streaming.eval", 0.75, 4), ("livecodebench/official_eval_all_o1-mini.json", 98 / 180, 180)],
)
def test_inspect_reads_what_was_imported(tmp_path: Path, name: str, value: float, count: int) -> None:
    stored, _ = imported(tmp_path / "e", name)
    export(stored.directory, "inspect", tmp_path / "a.eval")
    found = read(tmp_path / "a.eval")
    assert found["header"]["accuracy"] == pytest.approx(value)
    assert len(found["rows"]) == count
