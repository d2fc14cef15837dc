"""Plans: memory by hand, laws of memory and time, and the nearest change that makes a recipe fit."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from openklear.cli import main
from openklear.planner.amounts import Amounts, RowCount
from openklear.planner.auto import Sizes, usable
from openklear.planner.fit import fits, nearest_change, smallest_gpu
from openklear.planner.footprints import footprints
from openklear.planner.machines import GPUS, Machine, machine_named
from openklear.planner.memory import LIBRARIES, layer_bytes, probability_bytes, token_bytes
from openklear.planner.plan import Plan, make_plan
from openklear.planner.shape import ModelShape
from openklear.recipe.load import load_recipe, with_overrides
from openklear.recipe.schema import Recipe
from openklear.run.model_facts import facts_or_fetch
from openklear.run.unseen import expected_amounts

RECIPES = Path(__file__).parents[2] / "recipes"
LAPTOP = Machine("a laptop", "cpu", 16 * 10**9, 40e9, {"float32": 100e9}, cores=4)
BILLION = ModelShape(10**9, 1000, 10, 100, 4, 2, 25, 400, 4096, True)
QWEN3 = ModelShape(596_049_920, 151_936, 28, 1024, 16, 8, 128, 3072, 40_960, True, query_norms=True)
AMOUNTS = Amounts(RowCount(100, 100, 200, 400), {"math": RowCount(50, 80)}, {}, RowCount(40, 80), 40)


def recipe(*changes: str) -> Recipe:
    return load_recipe(RECIPES / "gsm8k-smollm2.toml", changes)


def plan(machine: Machine, *changes: str, shape: ModelShape = QWEN3) -> Plan:
    return make_plan(recipe(*changes), shape, machine, AMOUNTS)


def test_memory_by_hand() -> None:
    """10^9 parameters in fp32, AdamW: 4 GB of weights, 4 GB of gradients, 8 GB of moments."""
    sizes = Sizes(1024, False, 64, 64 * 416, "float32")
    stages = dict.fromkeys(("sft", "rl-gsm8k", "evaluate"), sizes)
    (sft, rl, evaluation) = (found for _, found in footprints(recipe(), BILLION, stages, LAPTOP, AMOUNTS))
    assert sft.kept == {"libraries": LIBRARIES["cpu"], "weights": 4 * 10**9, "optimizer": 8 * 10**9}
    # a token keeps 10 layers x (24 x 100 of norms + (2 x 100 + 2 x 50 + 4 x 400) x 4) = 100 kB
    assert token_bytes(BILLION, 4) == 10 * layer_bytes(BILLION, 4) == 100_000
    assert sft.training["gradients"] == 4 * 10**9
    assert sft.training["activations"] == 1024 * 100_000
    assert sft.training["head"] == 8 * 1024 * 1000 + 4 * 1000 * 100  # two buffers of logits, and the head's gradient
    # 32 rollouts of 416 tokens, each 10 layers x 2 x 50 x 4 bytes; logits of 32 x 1000 in fp32, three times
    # the sampler's copies of the weights
    assert rl.sampling == {"copies": 4 * 10**9, "cache": 32 * 416 * 4000, "logits": 3 * 32 * 1000 * 4}
    assert evaluation.peak == LIBRARIES["cpu"] + 8 * 10**9 + 40 * 416 * 4000 + 3 * 40 * 1000 * 4
    again = replace(sizes, activation_checkpointing=True)
    _, found = next(iter(footprints(recipe(), BILLION, dict.fromkeys(stages, again), LAPTOP, AMOUNTS)))
    # states between layers and what attention gave, with a number for each of 4 heads; and one layer
    assert found.training["activations"] == 1024 * (10 * (100 * 4 + 100 * 4 + 4 * 4) + 10_000)


def test_twice_the_iterations_take_twice_the_time_and_the_same_memory() -> None:
    one, two = plan(GPUS["h100"]), plan(GPUS["h100"], "rl.phase.gsm8k.iterations=10")
    assert one.peak == two.peak
    for a, b in zip(one.times, two.times, strict=True):
        twice = 2 if a.part.stage == "rl-gsm8k" and a.part.name != "validation" else 1
        assert b.seconds == pytest.approx(twice * a.seconds)
        assert a.time.floor <= a.time.expected


def test_old_log_probabilities_cost_a_pass_only_where_they_are_computed() -> None:
    def tokens(machine: Machine, *changes: str) -> float:
        found = plan(machine, "rl.phase.gsm8k.problems_per_update=1", *changes).times
        return sum(one.part.load.tokens for one in found if one.part.name == "old log-probabilities")

    trained = 5 * 4 * 8 * (80 + 20 + 160)  # iterations x problems x rollouts x (prompt, template, completion)
    assert tokens(LAPTOP) == 0  # the sampler's serve
    assert tokens(LAPTOP, "rl.old_logprobs=trainer") == pytest.approx(trained * 3 / 4)  # all but the first update's
    assert tokens(LAPTOP, "rl.entropy_gate.type=ratio") == pytest.approx(trained * 3 / 4)
    assert tokens(LAPTOP, "rl.phase.gsm8k.problems_per_update=4", "rl.old_logprobs=trainer") == 0


def test_a_machine_twice_as_fast_halves_the_floor() -> None:
    card = GPUS["a100"]
    fast = replace(card, bandwidth=2 * card.bandwidth, flops={name: 2 * each for name, each in card.flops.items()})
    assert plan(card).floor == pytest.approx(2 * plan(fast).floor)


def test_a_recipe_that_fits_is_not_changed() -> None:
    found = plan(GPUS["h200"])
    assert (found.fits, found.change) == (True, None)
    assert found.verdict()[0].startswith("fits: at most ")


@pytest.mark.parametrize("gigabytes", [4, 6, 8, 12, 16, 24])
def test_the_nearest_change_fits_and_is_nearest(gigabytes: int) -> None:
    machine = replace(GPUS["3090"], memory_bytes=gigabytes * 10**9)
    asked = recipe("microbatch_tokens=32768", "model.dtype=float32")
    change = nearest_change(asked, QWEN3, machine, AMOUNTS)
    if fits(asked, QWEN3, machine, AMOUNTS):
        return
    if change is None:
        assert gigabytes == 4
        return
    changed = with_overrides(asked, list(change.keys))
    assert changed is not None
    assert fits(changed, QWEN3, machine, AMOUNTS)
    assert change.peak <= usable(machine)
    if len(change.keys) > 1:  # none of its keys alone would do
        for key in change.keys:
            alone = with_overrides(asked, [key])
            assert alone is None or not fits(alone, QWEN3, machine, AMOUNTS)


def test_half_of_the_groups_are_trained_where_the_others_are_left_out() -> None:
    """32 rollouts an iteration; a group's prompt is computed once."""
    some, every = plan(LAPTOP), plan(LAPTOP, "rl.filter_zero_advantage=false")
    tokens = [
        next(
            one.part.load.tokens for one in found.times if one.part.stage == "rl-gsm8k" and one.part.name == "training"
        )
        for found in (some, every)
    ]
    phase = recipe().rl.phase[0]  # type: ignore[union-attr]
    rollouts = phase.problems_per_iteration * phase.group_size * phase.iterations
    alone = rollouts * AMOUNTS.completion(phase.max_completion_tokens)
    assert 2 * tokens[0] == pytest.approx(tokens[1])
    prompts = tokens[1] - alone
    assert 0 < prompts <= rollouts / phase.group_size * phase.max_prompt_tokens
    assert "50% of the groups" in "\n".join(some.lines())
    assert "of the groups" not in "\n".join(every.lines())


def test_the_card_that_it_would_fit_is_named() -> None:
    name = smallest_gpu(
        recipe("model.dtype=float32"), ModelShape(3 * 10**9, 32000, 28, 3072, 24, 8, 128, 8192, None, True), AMOUNTS
    )
    assert name is not None
    assert GPUS[name].memory_bytes * 0.9 > 3 * 10**9 * 16


def test_the_command_on_a_real_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["plan", str(RECIPES / "quickstart.toml"), "--device", "a100", "--price", "2"]
    assert main.main(words) == 0
    told = capsys.readouterr().out
    assert "machine: NVIDIA A100-SXM4-80GB: 80 GB, 2,039 GB/s" in told
    assert "rl-code: training" in told
    assert len(told.splitlines()) < 40
    assert main.main([*words, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["fits"] is True
    assert document["cost"] == pytest.approx(document["expected_seconds"] / 1800)
    training = [one for one in document["times"] if (one["stage"], one["part"]) == ("sft", "training")]
    assert training[0]["floor_seconds"] < training[0]["expected_seconds"]


def test_sources_that_are_not_fetched_are_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("openklear.data.hub.names", lambda source: ["main/train.parquet"])
    model = "model={ type = 'tiny', hidden_size = 16, layers = 1, heads = 2 }"
    assert main.main(["plan", str(RECIPES / "gsm8k-smollm2.toml"), "--set", model]) == 0
    told = capsys.readouterr().out
    assert "NOT counted, as they are not fetched yet: the rows of gsm8k-solutions, gsm8k-problems, gsm8k-test" in told
    assert "rl-gsm8k: training" in told  # its iterations are known


def test_what_does_not_fit_has_its_own_exit_code(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["plan", str(RECIPES / "quickstart.toml"), "--device", "3090"]
    words += ["--set", "model.hidden_size=16384", "--set", "model.layers=40", "--set", "model.heads=128"]
    assert main.main(words) == 3
    assert "does NOT fit" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--device", "h101"], "no such machine"),
        (["--price", "-1"], "must be 0 or above"),
        (["--completion-tokens", "0"], "must be above 0"),
        (["--device", "h100", "--measure"], "measures this machine's processor"),
        (["-o", "/nowhere/at/all"], "run openklear prepare first"),
    ],
)
def test_bad_words_are_said(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["plan", str(RECIPES / "quickstart.toml"), *words]) == 2
    assert said in capsys.readouterr().err


def test_probabilities_by_hand() -> None:
    """What attention keeps on a CPU: half the length, for each token, head and layer, 4 bytes; none of one row alone."""
    kept = probability_bytes(BILLION, 2048, 100, checkpointing=False)
    assert kept == 2048 * 50 * BILLION.heads * BILLION.layers * 4
    assert probability_bytes(BILLION, 2048, 100, checkpointing=True) * BILLION.layers == kept
    assert probability_bytes(BILLION, 4096, 1500, checkpointing=True) == 4096 * 512 * BILLION.heads * 4
    assert probability_bytes(BILLION, 2048, 2048, checkpointing=False) == 0


def on_a_cluster(*changes: str) -> Plan:
    loaded = load_recipe(RECIPES / "klear-1.7b" / "recipe.toml", list(changes))
    return make_plan(loaded, facts_or_fetch(loaded).shape, machine_named("h200"), expected_amounts(loaded))


def test_ranks_share_what_is_kept_and_a_sampler_beside_them_has_a_whole_model():
    def held(*changes: str) -> tuple[dict[str, int], dict[str, int]]:
        found = dict(on_a_cluster(*changes).memory)["rl-math"]
        return {**found.kept, **found.training}, dict(found.sampling)

    two, _ = held("cluster.trainers=2", "cluster.samplers=6")
    eight, apart = held("cluster.trainers=8", "cluster.samplers=1")
    beside, _ = held("cluster.trainers=8", "cluster.samplers=0")
    for part in ("weights", "optimizer"):
        assert two[part] == pytest.approx(4 * eight[part], rel=1e-9)
        assert beside[part] == eight[part]
    assert "sampler" not in eight
    assert beside["sampler"] == apart["sampler"] == pytest.approx(8 * eight["weights"], rel=1e-9)


def test_of_trainers_and_samplers_on_their_own_gpus_the_fuller_one_counts():
    """A cache that fits beside no trainer: the sampler's GPU holds a model to hand on, vLLM's weights, and the cache."""
    words = ("cluster.samplers=4", "engine.type=vllm", "engine.cache_gb=80")
    (one, two, beside) = (
        dict(on_a_cluster(*words, f"cluster.trainers={trainers}", *more).memory)["rl-math"]
        for trainers, *more in ((1,), (1, "engine.tensor_parallel=2"), (1, "cluster.samplers=0"))
    )
    model = one.training["weights"]
    assert one.sampling["sampler"] - two.sampling["sampler"] == pytest.approx(model / 2, abs=1)
    assert one.peak == one.kept["libraries"] + max(sum(one.training.values()), one.sampling["sampler"])
    assert beside.peak > one.peak + model
