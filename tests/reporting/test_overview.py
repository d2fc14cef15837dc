"""The head of the page: what was trained on what, and every number with its interval."""

import re

import pytest
import torch
from safetensors.torch import save_file

from openklear.recipe.curation import Data, Source
from openklear.recipe.schema import PretrainedModel, Recipe, Sft, TinyModel
from openklear.reporting import overview


def recipe(model):
    source = (Source(name="a", path="a.jsonl", role="heldout"), Source(name="b", path="b.jsonl", role="demonstrations"))
    return Recipe(model=model, data=Data(source=source), sft=Sft(max_tokens=64))


def score(stage, value, *, benchmark="sums", domain="math", problems=30, of=30, cut=0.12, unscorable=0.0):
    spread = None if value is None else (value - 0.05, value + 0.05)
    low, high = spread or (None, None)
    place = {"stage": stage, "benchmark": benchmark, "domain": domain, "level": None, "metric": "avg", "k": 8}
    beside = {"problems": problems, "of": of, "stopped_by_length": cut, "unscorable": unscorable}
    return {**place, "value": value, "low": low, "high": high, **beside}


def gain(before, after, value, *, benchmark="sums", domain="math"):
    place = {"benchmark": benchmark, "domain": domain, "from": before, "to": after, "problems": 30}
    return {**place, "gain": value, "low": value - 0.03, "high": value + 0.03}


SCORES = [score("base", 0.1), score("sft", 0.7), score("rl-math", 0.88), score("rl-code", 0.82)]
GAINS = [
    *(gain("base", "sft", 0.6), gain("sft", "rl-math", 0.18), gain("rl-math", "rl-code", -0.06)),
    *(gain("base", "rl-code", 0.72), gain("sft", "rl-code", 0.12)),
]


def test_the_headline_is_the_gain_of_each_stage_a_fall_among_them():
    (card,) = overview.cards(SCORES, GAINS, [], scratch=False)
    told = [(row["stage"], row["gain"] and (row["gain"]["points"], row["gain"]["note"])) for row in card["rows"]]
    assert told == [
        ("base", None),
        ("sft", ("+60.0", "over base")),
        ("rl-math", ("+18.0", "over sft")),
        ("rl-code", ("-6.0", "over rl-math")),
    ]
    assert [row["gain"]["direction"] for row in card["rows"][1:]] == ["better", "better", "worse"]
    assert [row["step"] for row in card["whole"]] == ["base → rl-code", "sft → rl-code"]
    assert (card["k"], card["problems"]) == (8, "30 held-out problems")


def test_every_number_has_its_interval():
    (card,) = overview.cards(SCORES, GAINS, [], scratch=False)
    cells = [row["gain"] for row in card["rows"][1:]] + card["whole"]
    assert all(re.fullmatch(r"[+-]\d+\.\d to [+-]\d+\.\d", cell["interval"]) for cell in cells)
    assert [row["interval"] for row in card["rows"]] == ["5.0 to 15.0", "65.0 to 75.0", "83.0 to 93.0", "77.0 to 87.0"]
    assert all(row["over"] == ["30 problems", "12.0 % stopped by length"] for row in card["rows"])


def test_what_is_gained_over_random_weights_is_called_so_and_is_no_total():
    (card,) = overview.cards(SCORES, GAINS, [], scratch=True)
    assert card["rows"][1]["gain"]["note"] == "over random weights"
    assert [row["step"] for row in card["whole"]] == ["sft → rl-code"]


def test_a_score_over_some_of_the_problems_says_so_and_why():
    asked = [{"stage": "sft", "benchmark": "sums", "domain": "math", "not_asked": {"prompt too long": 6}}]
    (card,) = overview.cards([score("sft", 0.5, problems=24, unscorable=0.031)], [], asked, scratch=False)
    over = ["24 of 30 problems (6 not asked, which counts as wrong: prompt too long)", "12.0 % stopped by length"]
    over.append("3.1 % unscorable")
    assert card["rows"][0]["over"] == over
    assert card["problems"] == "24 of 30 held-out problems"


def test_a_benchmark_that_could_not_be_asked_keeps_its_card():
    (card,) = overview.cards([score("sft", None, problems=0, cut=None)], [], [], scratch=False)
    assert (card["rows"][0]["score"], card["rows"][0]["interval"], card["rows"][0]["gain"]) == (None, "", None)
    assert card["rows"][0]["over"] == ["0 of 30 problems"]


def test_benchmarks_of_several_domains_have_cards_for_each():
    scores = [
        score("base", 0.1),
        score("base", 0.2, domain="code"),
        score("sft", 0.3),
        score("sft", 0.4, domain="code"),
    ]
    gains = [gain("base", "sft", 0.2), gain("base", "sft", 0.21, domain="code")]
    cards = overview.cards(scores, gains, [], scratch=False)
    assert [(card["benchmark"], card["rows"][1]["gain"]["points"]) for card in cards] == [
        ("sums (math)", "+20.0"),
        ("sums (code)", "+21.0"),
    ]


@pytest.mark.parametrize(
    ("number", "text"), [(197_120, "197,120"), (134_515_008, "134.5 M"), (7_615_616_512, "7.62 B")]
)
def test_parameters_are_readable(number, text):
    assert overview.amount(number) == text


def test_parameters_are_counted_from_the_heads_of_the_files(tmp_path):
    model = tmp_path / "base" / "model"
    model.mkdir(parents=True)
    assert overview.parameters(model) is None
    save_file({"a": torch.zeros(3, 5), "b": torch.zeros(7)}, model / "model-00001.safetensors", {"format": "pt"})
    save_file({"c": torch.zeros(2, 2, 2)}, model / "model-00002.safetensors")
    assert overview.parameters(model) == 15 + 7 + 8
    tiny = overview.model_text(recipe(TinyModel(hidden_size=64, layers=3)), tmp_path / "base")
    assert tiny == ("tiny, 30 parameters", "made from scratch, hidden size 64, 3 layers")
    path = recipe(PretrainedModel(type="pretrained", path="/models/SmolLM2-135M"))
    assert overview.model_text(path, tmp_path / "base") == ("SmolLM2-135M, 30 parameters", "/models/SmolLM2-135M")
    hub = recipe(PretrainedModel(type="pretrained", path="hub:org/name"))
    assert overview.model_text(hub, tmp_path) == ("name", "hub:org/name")


def test_sources_are_named_with_the_rows_that_were_used():
    """b loses 4 more to its template; c lost all in curation; a benchmark is no training data."""
    steps = [("demonstrations", "b", 12), ("demonstrations", "b", 10), ("demonstrations", "c", 0), ("heldout", "h", 30)]
    funnel = [{"dataset": dataset, "source": source, "kept": kept} for dataset, source, kept in steps]
    lost = [
        {"role": "demonstrations", "source": "b", "consumer": "sft", "read": 10, "kept": 6},
        {"role": "heldout", "source": "h", "consumer": "evaluation", "read": 30, "kept": 24},
    ]
    assert overview.data_lines(funnel, []) == [("demonstrations", "b (10)"), ("held-out problems", "h (30)")]
    assert overview.data_lines(funnel, lost) == [("demonstrations", "b (6)"), ("held-out problems", "h (24)")]
