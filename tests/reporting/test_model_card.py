"""The card says what summary.json says, and its head is the hub's metadata."""

import json
from pathlib import Path

import pytest
import yaml
from huggingface_hub import ModelCard

from openklear.reporting.model_card import leave_cards, licence_of, model_card


def row(stage, benchmark, value, **more):
    return {
        "stage": stage, "benchmark": benchmark, "domain": "math", "level": None, "metric": "avg", "k": 8, "value": value,
        "low": value - 0.05, "high": value + 0.05, "problems": 24, "of": 30, "stopped_by_length": 0.125, **more,
    }  # fmt: skip


@pytest.fixture
def summary():
    phase = {
        "name": "math", "domains": ["math"], "iterations": 3, "problems_per_iteration": 4, "group_size": 2,
        "objective": {"type": "gppo"}, "learning_rate": 1e-6,
    }  # fmt: skip
    sources = [
        {"name": "gsm8k", "role": "problems", "path": "hub:openai/gsm8k@main:train/*", "licence": "MIT"},
        {"name": "mine", "role": "demonstrations", "path": "/elsewhere/someone/rows.jsonl", "licence": None},
    ]
    return {
        "scores": [row("base", "aime", 0.1), row("sft", "aime", 0.3), row("sft", "one", 1.0, low=None, high=None)],
        "gains": [{"benchmark": "aime", "domain": "math", "from": "base", "to": "sft", "gain": 0.2, "low": 0.15, "high": 0.25, "problems": 24}],
        "weights": {"base": "aa", "sft": "bb", "rl-math": "cc"},
        "recipe": {
            "model": {"path": "hub:o/base@v1", "template_args": {"enable_thinking": False}},
            "data": {"source": sources},
            "sft": {"epochs": 4, "learning_rate": 8e-5},
            "rl": {"phase": [phase]},
        },
        "seed": 7,
        "version": "0.1.0",
    }  # fmt: skip


def test_scores_with_their_intervals_and_what_they_are_over(summary):
    card = model_card(summary, "sft")
    assert "| aime | avg@8 30.0% | 25.0% to 35.0% | 24 of 30 | 12.5% | +20.0% (+15.0% to +25.0%) from base |" in card
    assert "| one | avg@8 100.0% |  | 24 of 30 | 12.5% |  |" in card
    assert "Not evaluated." in model_card(summary, "rl-math")


def test_what_it_was_made_of(summary):
    card = model_card(summary, "rl-math", "apache-2.0")
    assert "stages `base`, `sft`, `rl-math`" in card
    assert "3 iterations of 4 problems with 2 rollouts each, objective gppo, learning rate 1e-06" in card
    assert "weights cc" in card
    assert "RL phase" not in model_card(summary, "sft")
    assert "| gsm8k | problems | hub:openai/gsm8k@main:train/* | MIT |" in card
    assert "| mine | demonstrations | rows.jsonl | not stated |" in card
    assert "/elsewhere/someone" not in card
    assert "enable_thinking=False" in card


def test_adapters_are_named_where_they_were_trained(summary):
    assert "LoRA" not in model_card(summary, "sft")
    summary["recipe"]["lora"] = {"rank": 8, "alpha": 16.0, "targets": ["q_proj", "v_proj"]}
    assert "(LoRA, rank 8, alpha 16, q_proj and v_proj), which are merged here" in model_card(summary, "sft")
    assert "LoRA" not in model_card(summary, "base")


def test_the_head_is_what_the_hub_reads(summary):
    card = model_card(summary, "sft", "apache-2.0")
    head = yaml.safe_load(card.split("---\n")[1])
    assert head["license"] == "apache-2.0"
    assert head["base_model"] == "o/base"
    assert head["datasets"] == ["openai/gsm8k"]
    data = ModelCard(card).data
    assert {(r.dataset_name, r.metric_value) for r in data.eval_results} == {("aime", 0.3), ("one", 1.0)}
    assert "model-index" not in model_card(summary, "rl-math").split("---\n")[1]


def test_cards_lie_beside_the_weights_and_are_renewed(summary, tmp_path):
    for stage in ("base", "sft"):
        (tmp_path / stage / "model").mkdir(parents=True)
    leave_cards(tmp_path, summary)
    path = tmp_path / "sft/model/README.md"
    assert path.read_text() == model_card(summary, "sft")
    before = path.stat().st_mtime_ns
    leave_cards(tmp_path, summary)
    assert path.stat().st_mtime_ns == before
    leave_cards(tmp_path, {**summary, "scores": []})
    assert "Not evaluated." in path.read_text()
    assert not (tmp_path / "rl-math").exists()


def test_licence(summary, tmp_path):
    model = tmp_path / "there"
    model.mkdir()
    summary["recipe"]["model"] = {"path": str(model)}
    assert licence_of(tmp_path, summary) is None
    (model / "README.md").write_text("---\nlicense: mit\n---\n# x\n")
    assert licence_of(tmp_path, summary) == "mit"
    assert "made from scratch" in model_card(
        {**summary, "recipe": {**summary["recipe"], "model": {"layers": 4}}}, "base"
    )
    assert Path(json.loads(json.dumps(str(model)))).name in model_card(summary, "base")
