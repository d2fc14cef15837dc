"""AIME 2024 and some of MATH-500 in one recipe: each has rows of its own everywhere, with its own k."""

import json
import re
from collections import Counter
from contextlib import redirect_stdout
from io import StringIO

import pyarrow.parquet as pq
import pytest
from tests.shared_data import shared
from transformers import AutoTokenizer

from openklear.cli import main
from openklear.evaluation.stored import open_stored, unpacked

pytestmark = pytest.mark.slow

RECIPE = """
microbatch_tokens = 4096
model = {{ type = "tiny", hidden_size = 16, layers = 1, heads = 2 }}

[data]
correct_only = []

[[data.source]]
name = "sums"
path = "sums.jsonl"
role = "demonstrations"
domain = "math"

[[data.source]]
name = "aime24"
path = "{aime}"
role = "heldout"
domain = "math"
samples = 8
prompt_template = "{{problem}}\\nPut the answer in \\\\boxed{{}}."

[[data.source]]
name = "math500"
path = "{math}"
role = "heldout"
domain = "math"
samples = 2
limit = 20
limit_by = "seed"

[sft]
epochs = 1
max_tokens = 4096
warmup_steps = 0

[evaluation]
temperature = 1.0
max_completion_tokens = 12
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The directory of a finished run, and what the command printed."""
    root = tmp_path_factory.mktemp("benchmarks")
    paths = {name: shared(f"benchmarks/{file}.jsonl") for name, file in (("aime", "aime24"), ("math", "math500"))}
    (root / "recipe.toml").write_text(RECIPE.format(**paths))
    rows = [{"prompt": f"{n} + {n}?", "response": f"<think>so</think>\\boxed{{{2 * n}}}"} for n in range(8)]
    (root / "sums.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    with redirect_stdout(StringIO()) as printed:
        assert main.main(["run", str(root / "recipe.toml"), "-o", str(root / "run")]) == 0
    return root / "run", printed.getvalue().splitlines()


def test_the_summary_has_a_row_for_each_benchmark_with_its_own_k(run):
    summary = json.loads((run[0] / "summary.json").read_text())
    totals = [r for r in summary["scores"] if r["metric"] == "avg" and r["level"] is None]
    assert [(r["stage"], r["benchmark"], r["k"], r["problems"]) for r in totals] == [
        ("base", "aime24", 8, 30),
        ("base", "math500", 2, 20),
        ("sft", "aime24", 8, 30),
        ("sft", "math500", 2, 20),
    ]
    assert {r["benchmark"] for r in summary["scores"] if r["level"] is not None} == {"math500"}, "AIME states no levels"
    asked = summary["benchmarks"][:2]
    assert [(r["benchmark"], r["problems"], r["completions"]) for r in asked] == [
        ("aime24", 30, 240),
        ("math500", 20, 40),
    ]
    assert asked[0]["prompt_template"] == "{problem}\nPut the answer in \\boxed{}."
    assert (asked[1]["limit"], asked[1]["limit_by"], asked[1]["prompt_template"]) == (20, "seed", None)


def test_the_terminal_and_the_report_tell_them_apart(run):
    root, printed = run
    lines = [line.split() for line in printed if "avg@" in line]
    assert [words[:3] for words in lines] == [
        [stage, *name] for stage in ("base", "sft") for name in (["aime24", "avg@8"], ["math500", "avg@2"])
    ]
    page = (root / "report.html").read_text()
    assert "aime24, avg@8 on 30 held-out problems" in page
    assert "math500, avg@2 on 20 held-out problems" in page
    cells = re.findall(r"<tr><td>sft</td><td>(\w+)</td><td>math</td><td>avg@(\d)</td>", page)
    assert cells == [("aime24", "8"), ("math500", "2")]
    titles = re.findall(r"<h2>(\w+)</h2>|<b>Accuracy: (avg@\d)</b>", page)
    assert titles[:4] == [("aime24", ""), ("", "avg@8"), ("math500", ""), ("", "avg@2")]
    assert "(drawn 20)" in page


def test_every_completion_says_its_benchmark_and_what_was_asked(run):
    there = open_stored(run[0] / "evaluate-sft")
    assert Counter(one.benchmark for one in there.samples) == {"aime24": 240, "math500": 40}
    assert {one.problem.partition("/")[0] for one in there.samples} == {"aime24", "math500"}
    for one in there.asked.values():
        assert one.prompt[-1]["content"].endswith("\nPut the answer in \\boxed{}.") == (one.benchmark == "aime24")
    tokenizer = AutoTokenizer.from_pretrained(run[0] / "sft" / "model")
    for one in there.samples[::40]:
        row = there.completion(one)
        assert len(unpacked(row["ids"])) == row["tokens"] == one.tokens
        assert tokenizer.decode(unpacked(row["ids"])).startswith(row["text"])


def test_training_rows_are_held_against_the_whole_of_a_limited_benchmark(run):
    heldout = pq.read_table(run[0] / "prepare/data/heldout.parquet")
    assert Counter(heldout["source"].to_pylist()) == {"aime24": 30, "math500": 500}
