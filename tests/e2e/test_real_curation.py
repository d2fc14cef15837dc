"""Curation of real data: recipes/curation.toml, and real traces that are all test items of two benchmarks."""

from __future__ import annotations

import json
from collections import Counter
from itertools import pairwise
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from tests.shared_data import ROOT, shared

from openklear.data.store import prepared, read_demonstrations, read_problems
from openklear.durable.files import read_json
from openklear.errors import DataError
from openklear.recipe.load import load_recipe
from openklear.run.pipeline import run_pipeline
from openklear.think import FormatFault, split_thought

pytestmark = pytest.mark.long
RECIPE = Path(__file__).parents[2] / "recipes" / "curation.toml"
TRACES = """
[data]
correct_only = ["*"]
drop_broken = true
[data.near_duplicates]
[data.lengths]
max_response = 100000
"""
EVERY_TRACE = """
[data]
correct_only = []
deduplicate = false
require_format = false
"""
SOURCE = """
[[data.source]]
name = "traces"
path = "$OPENKLEAR_DATA/traces/long_cot.jsonl"
role = "demonstrations"
domain = "math"
"""
BENCHMARKS = """
[[data.source]]
name = "gsm8k-test"
path = "$OPENKLEAR_DATA/benchmarks/gsm8k_test.jsonl"
role = "benchmark"
domain = "math"
[[data.source]]
name = "math-500"
path = "$OPENKLEAR_DATA/benchmarks/math500.jsonl"
role = "benchmark"
domain = "math"
"""


@pytest.fixture(scope="module")
def curated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    for name in ("train/gsm8k_train.jsonl", "benchmarks/math500.jsonl"):
        shared(name)
    root = tmp_path_factory.mktemp("curated")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OPENKLEAR_DATA", str(ROOT))
        change = ("verifiers.minimum_isolation=rlimits", "data.vetting.check_solutions=false")
        run_pipeline(load_recipe(RECIPE, change), root, through="prepare")
    return root


def test_the_funnel_balances_to_the_row(curated: Path) -> None:
    paths, lines = prepared(curated / "prepare"), read_json(curated / "funnel.json")
    left = Counter(row.problem.source for row in read_demonstrations(paths.demonstrations))
    left += Counter(problem.source for problem in read_problems(paths.problems))
    gone = Counter((row["source"], row["step"], row["reason"]) for row in pq.read_table(paths.dropped).to_pylist())
    told = Counter(
        {(line["source"], line["step"], reason): n for line in lines for reason, n in line["reasons"].items()}
    )
    assert gone == told
    for source in {line["source"] for line in lines if line["dataset"] != "benchmark"}:
        mine = [line for line in lines if line["source"] == source]
        assert mine[-1]["kept"] == left[source]
        assert mine[0]["read"] == left[source] + sum(n for (name, _, _), n in gone.items() if name == source)
        assert all(line["kept"] == after["read"] for line, after in pairwise(mine))


def test_what_is_kept_is_in_one_form_and_correct(curated: Path) -> None:
    rows = read_demonstrations(prepared(curated / "prepare").demonstrations)
    assert len(rows) > 7000
    for row in rows:
        fault, _, answer = split_thought(row.response)
        assert fault is FormatFault.NONE
        assert f"\\boxed{{{row.problem.answer}}}" in (answer or "").replace(",", "")
        assert "<<" not in row.response


def test_both_sets_hold_what_the_recipe_names(curated: Path) -> None:
    lines = read_json(curated / "funnel.json")
    kept = {line["source"]: line["kept"] for line in lines}
    assert {"gsm8k", "math", "aime", "deepmath", "leetcode", "taco", "gsm8k-solutions"} <= {
        s for s, n in kept.items() if n
    }
    tests = pq.read_table(prepared(curated / "prepare").problems, columns=["source", "tests"]).to_pylist()
    assert min(len(row["tests"]) for row in tests if row["source"] in ("leetcode", "taco")) == 2


@pytest.mark.parametrize("rule", ["weighted", "ngrams"])
def test_all_traces_are_test_items(tmp_path: Path, rule: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """1,604 traces of five teachers, all on items of two benchmarks: none may be left, and the audit names the items."""
    shared("traces/long_cot.jsonl")
    monkeypatch.setenv("OPENKLEAR_DATA", str(ROOT))
    (tmp_path / "recipe.toml").write_text(f'{EVERY_TRACE}[data.decontaminate]\ntype = "{rule}"\n{SOURCE}{BENCHMARKS}')
    with pytest.raises(DataError, match=r"no demonstrations left.*\n.*decontaminate: read 1604, kept 0, dropped 1604"):
        run_pipeline(load_recipe(tmp_path / "recipe.toml"), tmp_path / "run", through="prepare")


FORMS = {
    "deepseek-r1": "closing",
    "qwq-32b": "closing",
    "r1-distill-qwen-32b": "closing",
    "s1.1-32b": "s1",
    "limo-32b": "boxed",
}


def test_five_teachers_in_one_form(tmp_path: Path) -> None:
    """Each teacher's way of writing, named in the recipe; the funnel says what of it could not be used."""
    lines = shared("traces/long_cot.jsonl").read_text().splitlines()
    written = Counter(json.loads(line)["teacher"] for line in lines)
    assert set(written) == set(FORMS)
    text = TRACES
    for number, (teacher, form) in enumerate(FORMS.items()):
        mine = [line for line in lines if json.loads(line)["teacher"] == teacher]
        (tmp_path / f"{number}.jsonl").write_text("\n".join(mine) + "\n")
        text += (
            f'[[data.source]]\nname = "s{number}"\npath = "{number}.jsonl"\nrole = "demonstrations"\ndomain = "math"\n'
        )
        text += f'reasoning = "{form}"\n'
    (tmp_path / "recipe.toml").write_text(text)
    run_pipeline(load_recipe(tmp_path / "recipe.toml"), tmp_path / "run", through="prepare")
    rows = read_demonstrations(prepared(tmp_path / "run" / "prepare").demonstrations)
    assert all(split_thought(row.response).fault is FormatFault.NONE for row in rows)
    kept = Counter(row.teacher for row in rows)
    for teacher, count in written.items():
        assert kept[teacher] >= 0.85 * count, (teacher, kept[teacher], count)
    gone = pq.read_table(prepared(tmp_path / "run" / "prepare").dropped).to_pylist()
    assert len(rows) + len(gone) == 1604
    assert Counter(row["step"] for row in gone).keys() <= {"require_format", "broken_traces", "correct_only", "lengths"}
