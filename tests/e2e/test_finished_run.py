"""What a run leaves: the promised files, loadable by others, and nothing done twice."""

import json
import re
from itertools import pairwise

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from tests.e2e.conftest import MINI
from transformers import AutoModelForCausalLM, AutoTokenizer

from openklear.data.store import prepared, read_problems
from openklear.models.loading import load_model, weights_hash
from openklear.recipe.load import load_recipe
from openklear.rollout.records import read_rollouts
from openklear.run.pipeline import plan, run_pipeline
from openklear.training import checkpoint

pytestmark = pytest.mark.slow
MODELS = ("base", "sft", "rl-math", "rl-code")


def test_summary_is_as_promised(finished):
    summary = json.loads((finished / "summary.json").read_text())
    assert set(summary) >= {"scores", "gains", "benchmarks", "rows", "weights", "seconds", "recipe", "seed", "version"}
    keys = {"stage", "benchmark", "domain", "level", "metric", "k", "value", "low", "high", "problems"}
    keys |= {"of", "stopped_by_length", "unscorable", "no_answer", "stands", "mean_tokens", "worst", "best"}
    for row in summary["scores"]:
        assert set(row) == keys | ({"sampling_error"} if row["metric"] == "avg" else set())
    assert {(r["stage"], r["domain"]) for r in summary["scores"]} == {(s, d) for s in MODELS for d in ("math", "code")}
    assert {(r["benchmark"], r["domain"]) for r in summary["scores"]} == {
        ("math-heldout", "math"),
        ("code-heldout", "code"),
    }
    asked = [(r["stage"], r["benchmark"], r["problems"], r["completions"]) for r in summary["benchmarks"]]
    assert asked == [(s, b, 6, 12) for s in MODELS for b in ("math-heldout", "code-heldout")]
    steady = {"gpass0.5", "gpass0.75", "gpass1", "mgpass"}
    assert {r["metric"] for r in summary["scores"]} == {"avg", "pass", "maj", *steady}
    assert {r["domain"] for r in summary["scores"] if r["metric"] == "maj"} == {"math"}
    for row in summary["scores"]:
        assert row["low"] is None or 0 <= row["low"] <= row["value"] <= row["high"] <= 1
    totals = [r for r in summary["scores"] if r["level"] is None and r["metric"] == "avg"]
    assert [(r["problems"], r["of"]) for r in totals] == [(6, 6)] * 8
    assert summary["weights"] == {name: weights_hash(finished / name / "model") for name in MODELS}
    assert len(set(summary["weights"].values())) == 4, "every stage moved the weights"
    assert set(summary["seconds"]) >= {"prepare", "sft", "rl-math", "rl-code", "report"}
    assert all(seconds > 0 for seconds in summary["seconds"].values())


def test_gains_are_those_of_the_rollouts(finished):
    """Held against the scores: every model was scored on the same problems, so a gain is the difference of two."""
    summary = json.loads((finished / "summary.json").read_text())
    value = {
        (r["stage"], r["benchmark"]): r["value"] for r in summary["scores"] if r["metric"] == "avg" and not r["level"]
    }
    pairs = [*pairwise(MODELS), ("base", "rl-code"), ("sft", "rl-code")]
    sets = ("math-heldout", "code-heldout")
    assert [(r["benchmark"], r["from"], r["to"]) for r in summary["gains"]] == [
        (s, *pair) for s in sets for pair in pairs
    ]
    for row in summary["gains"]:
        gain = value[row["to"], row["benchmark"]] - value[row["from"], row["benchmark"]]
        assert (row["gain"], row["problems"]) == (pytest.approx(gain), 6)
        assert -1 <= row["low"] <= row["gain"] <= row["high"] <= 1
        assert row["low"] < row["high"]


def test_models_load_with_plain_transformers_and_give_our_logits(finished):
    for name in MODELS:
        ours = load_model(finished / name / "model")
        theirs = AutoModelForCausalLM.from_pretrained(finished / name / "model")
        tokenizer = AutoTokenizer.from_pretrained(finished / name / "model")
        ids = tokenizer("2+3*4=?", return_tensors="pt").input_ids
        with torch.no_grad():
            assert torch.equal(ours.model(ids).logits, theirs(ids).logits)
        assert tokenizer.chat_template == ours.tokenizer.chat_template
        stops = theirs.generation_config.eos_token_id
        assert ours.end_ids == frozenset(stops if isinstance(stops, list) else [stops])


def test_the_last_checkpoint_is_the_model_that_was_handed_on(finished):
    for name in MODELS[1:]:
        assert weights_hash(checkpoint.latest(finished / name)) == weights_hash(finished / name / "model")


def test_every_iteration_is_on_disk_with_ids_logprobs_and_verdicts(finished):
    problems = {p.id: p for p in read_problems(prepared(finished / "prepare").problems)}
    for name in MODELS[2:]:
        directories = sorted((finished / name / "iterations").iterdir())
        assert [d.name for d in directories] == ["000001", "000002", "000003"]
        for directory in directories:
            stored = read_rollouts(directory / "rollouts.parquet", problems)
            assert [len(g.rollouts) for g in stored.groups] == [4] * 4
            for key, trained in stored.trained.items():
                rollout = stored.groups[key[0]].rollouts[key[1]]
                np.testing.assert_allclose(trained.old_logprobs, rollout.completion.logprobs, atol=2e-5)
            versions = [r.policy_version for g in stored.groups for r in g.rollouts]
            assert set(versions) == {int(directory.name) - 1}, "the updates before the iteration, none of its own"
            columns = pq.read_schema(directory / "rollouts.parquet").names
            assert {"token_ids", "logprobs", "outcome", "reward", "reward_parts", "policy_version"} <= set(columns)
        rows = [json.loads(line) for line in (finished / name / "metrics.jsonl").read_text().splitlines()]
        assert [r["iteration"] for r in rows] == [1, 2, 3]
        assert all("seconds" not in key for row in rows for key in row)


def test_every_stage_says_how_fast_it_was_beside_its_machine(finished):
    parts = {"sft": ("training",), **{f"rl-{name}": ("sampling", "training") for name in ("math", "code")}}
    parts |= {f"evaluate-{name}": ("sampling",) for name in MODELS}
    for stage, wanted in parts.items():
        rows = [json.loads(line) for line in (finished / stage / "timings.jsonl").read_text().splitlines()]
        for part in wanted:
            timed = [row for row in rows if f"{part}_mfu" in row]
            assert timed, (stage, part)
            assert all(0 < row[f"{part}_mfu"] < 1 and 0 < row[f"{part}_floor_share"] < 1 for row in timed)


def test_problems_do_not_repeat_within_an_epoch(finished):
    seen = []
    for directory in sorted((finished / "rl-math" / "iterations").iterdir()):
        table = pq.read_table(directory / "rollouts.parquet", columns=["problem_id"])
        seen += sorted(set(table.column("problem_id").to_pylist()))
    assert len(seen) == len(set(seen)) == 12


def test_the_same_command_does_nothing_twice(finished):
    recipe = load_recipe(MINI)
    assert {stage.state for stage in plan(recipe, finished)} == {"reuse"}
    before = {p: p.stat().st_mtime_ns for p in finished.rglob("*.safetensors")}
    run_pipeline(recipe, finished)
    assert {p: p.stat().st_mtime_ns for p in finished.rglob("*.safetensors")} == before


def test_a_changed_phase_retrains_itself_and_nothing_before_it(finished):
    states = {s.name: s.state for s in plan(load_recipe(MINI, ["rl.phase.code.learning_rate=5e-4"]), finished)}
    assert {name for name, state in states.items() if state != "reuse"} == {
        "rl-code",
        "evaluate-rl-code",
        "report",
    }


def test_the_stored_recipe_is_the_recipe(finished):
    assert load_recipe(finished / "recipe.toml") == load_recipe(MINI)


def test_the_report_needs_nothing_from_outside(finished):
    page = (finished / "report.html").read_text()
    addresses = set(re.findall(r"https?://[^\s\"'<)]+", page))
    assert addresses <= {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"}
    assert "<script" not in page
    figures = re.findall(r"<figure[^>]*>(.*?)</figure>", page, re.S)
    assert len(figures) > 20
    assert all("<svg" in figure for figure in figures)
    for name in MODELS[1:]:
        assert f"<h2>{name}</h2>" in page
    assert "learning_rate" in page, "the full recipe is in the page"
