"""All stages of a recipe on many GPUs: against the plan of one, the simulation of one phase, and itself on more."""

import json
from itertools import pairwise
from pathlib import Path

import pytest

from openklear.cli import main
from openklear.planner.machines import machine_named
from openklear.planner.plan import make_plan
from openklear.planner.published import published_shape
from openklear.recipe.load import load_recipe
from openklear.run.unseen import expected_amounts
from openklear.simulation.fleet import Placement
from openklear.simulation.sweep import job_of, simulate
from openklear.simulation.whole import ITERATIONS, Hands, Whole

RECIPES = Path(__file__).parents[2] / "recipes"
SMALL = RECIPES / "klear-1.7b" / "recipe.toml"


def whole_of(name: str, *overrides: str) -> Whole:
    recipe = load_recipe(RECIPES / name / "recipe.toml", list(overrides))
    assert recipe.model is not None
    shape = published_shape(getattr(recipe.model, "path", "").removeprefix("hub:"))
    assert shape is not None
    return Whole(recipe, shape, machine_named("h200"), expected_amounts(recipe))


@pytest.fixture(scope="module")
def small():
    return whole_of("klear-1.7b")


def seconds(run, stage):
    return next(one.seconds for one in run.stages if one.stage == stage)


def test_sft_on_one_gpu_takes_what_the_plan_of_one_says(small):
    plan = make_plan(small.recipe, small.shape, small.machine, small.amounts)
    planned = next(one.seconds for one in plan.times if (one.part.stage, one.part.name) == ("sft", "training"))
    assert seconds(small.on(Hands(1)), "sft") == pytest.approx(planned, rel=0.1)


def test_all_stages_are_there_in_their_order(small):
    names = [one.stage for one in small.on(Hands(8)).stages]
    assert names == [
        *("evaluate-base", "sft", "evaluate-sft", "rl-math", "evaluate-rl-math", "rl-code", "evaluate-rl-code")
    ]  # fmt: skip


def test_no_stage_is_slower_on_more(small):
    runs = [small.on(Hands(number)) for number in (2, 8, 32)]
    for fewer, more in pairwise(runs):
        for one, other in zip(fewer.stages, more.stages, strict=True):
            assert other.seconds <= one.seconds
            assert other.peak <= one.peak


def test_a_cluster_is_planned_as_it_is_written(small):
    assert small.written() == Hands(8, 8)
    apart = whole_of("klear-1.7b", "cluster.trainers=4", "cluster.samplers=4")
    hands = apart.written()
    assert hands == Hands(8, 4)
    run = apart.on(hands)
    assert seconds(run, "sft") == pytest.approx(seconds(small.on(Hands(4)), "sft"), rel=0.02)
    phase = apart.recipe.rl.phase[0]
    job = job_of(apart.recipe, phase, apart.shape, apart.machine, apart.amounts)
    iteration = simulate(job, Placement(8, 4), job.rows(ITERATIONS)).seconds
    assert seconds(run, "rl-math") == pytest.approx(iteration * phase.iterations)
    assert run.hours == pytest.approx(8 * run.seconds / 3600)


def test_a_samplers_gpus_are_those_of_its_engine():
    words = ("cluster.trainers=4", "cluster.samplers=2", "engine.type=vllm", "engine.tensor_parallel=2")
    apart = whole_of("klear-1.7b", *words)
    hands = apart.written()
    assert hands == Hands(8, 4, 2)
    placements = {one.stage: one.placement for one in apart.on(hands).stages}
    assert placements["rl-math"] == "4 train, engines 2 x 2"
    assert placements["evaluate-base"] == "engines 2 x 2"


def test_an_asynchronous_phase_is_planned_as_one():
    apart = ("cluster.trainers=4", "cluster.samplers=4")
    turns = whole_of("klear-1.7b", *apart)
    whole = whole_of("klear-1.7b", *apart, "rl.asynchronous=true", "rl.correction.type=truncate")
    phase = whole.recipe.rl.phase[0]
    job = job_of(whole.recipe, phase, whole.shape, whole.machine, whole.amounts)
    iteration = simulate(job, Placement(8, 4, staleness=1), job.rows(ITERATIONS + 2)).seconds
    run, before = whole.on(whole.written()), turns.on(turns.written())
    validations = seconds(run, "rl-math") - iteration * phase.iterations
    assert 0 <= validations < 0.01 * seconds(run, "rl-math")
    assert seconds(run, "rl-math") < 0.8 * seconds(before, "rl-math"), "sampling and training no longer wait"


def test_beside_each_other_is_no_slower_than_apart(small):
    apart = whole_of("klear-1.7b", "cluster.trainers=4", "cluster.samplers=4")
    for one, other in zip(small.on(small.written()).stages, apart.on(apart.written()).stages, strict=True):
        assert one.seconds <= other.seconds


def test_sft_is_as_long_as_its_rows_and_epochs(small):
    half = whole_of("klear-1.7b", "data.source.acereason.limit=100000")
    twice = whole_of("klear-1.7b", "sft.epochs=4")
    one = seconds(small.on(Hands(8)), "sft")
    assert seconds(half.on(Hands(8)), "sft") == pytest.approx(one / 2, rel=0.01)
    assert seconds(twice.on(Hands(8)), "sft") == pytest.approx(2 * one, rel=0.01)


def test_what_has_not_the_memory_is_named_and_the_exit_code_says_it(capsys):
    words = ["plan", str(RECIPES / "klear-8b" / "recipe.toml"), "--gpus", "1"]
    words += ["--set", "cluster.trainers=1", "--set", "cluster.samplers=1"]
    assert main.main(words) == 3
    said = capsys.readouterr().out
    assert "no memory" in said
    assert "1: sft, rl-math, rl-code do not fit" in said


def test_the_document_has_every_column(capsys):
    assert main.main(["plan", str(SMALL), "--gpus", "8", "--price", "2", "--json"]) == 0
    best, written = json.loads(capsys.readouterr().out)["runs"]
    assert (best["gpus"], best["trainers"], written["trainers"]) == (8, None, 8)
    assert best["cost"] == pytest.approx(2 * best["gpu_hours"])
    assert best["gpu_hours"] == pytest.approx(8 * best["expected_seconds"] / 3600)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--gpus", "8,"], None),
        (["--gpus", ","], "--gpus ,: write whole numbers"),
        (["--gpus", "8", "--device", "cpu"], "--gpus needs a GPU"),
        (["--gpus", "8", "--measure"], "cannot be combined with --output or --measure"),
    ],
)
def test_words(words, said, capsys):
    assert main.main(["plan", str(SMALL), *words]) == (0 if said is None else 2)
    assert said is None or said in capsys.readouterr().err
