"""Which placements there are, which of them have the memory, and what is said of the best."""

import json
from itertools import chain, groupby, pairwise
from pathlib import Path

import numpy as np
import pytest

from openklear.cli import main
from openklear.planner.amounts import Amounts
from openklear.planner.machines import machine_named
from openklear.planner.published import published_shape
from openklear.recipe.load import load_recipe
from openklear.simulation.fleet import Placement
from openklear.simulation.lengths import BETWEEN_PROBLEMS, WITHIN_PROBLEMS, drawn_rows
from openklear.simulation.summary import Summary
from openklear.simulation.sweep import Best, cache_tokens, job_of, placements, simulate, sweep

RECIPE = Path(__file__).parents[2] / "studies" / "bases" / "klear-8b-rl.toml"
SMALL = ["rl.phase.math.problems_per_iteration=16", "rl.phase.math.problems_per_update=8"]


@pytest.fixture(scope="module")
def job():
    recipe = load_recipe(RECIPE, SMALL)
    shape = published_shape("Qwen/Qwen3-8B")
    assert recipe.rl is not None
    assert shape is not None
    return job_of(recipe, recipe.rl.phase[0], shape, machine_named("h200"), Amounts(length=8000.0))


def test_lengths_are_spread_as_they_are_said_to_be():
    rows = drawn_rows(4, 500, 16, mean=4000.0, most=10**6, prompt=50.0)
    lengths = np.array([row.completion for row in chain.from_iterable(rows)]).reshape(2000, 16)
    logs = np.log(lengths)
    assert lengths.mean() == pytest.approx(4000, rel=0.03)
    assert logs.std(axis=1, ddof=1).mean() == pytest.approx(WITHIN_PROBLEMS, rel=0.03)
    assert np.sqrt(logs.mean(axis=1).var() - WITHIN_PROBLEMS**2 / 16) == pytest.approx(BETWEEN_PROBLEMS, rel=0.05)


def test_lengths_are_cut_and_drawn_the_same_every_time():
    settings = {"mean": 4000.0, "most": 5000, "prompt": 50.0}
    rows = drawn_rows(2, 8, 4, **settings)
    assert rows == drawn_rows(2, 8, 4, **settings)
    assert max(row.completion for row in rows[0]) == 5000
    assert [len(list(group)) for _, group in groupby(rows[1], key=lambda row: row.group)] == [4] * 8


def test_one_gpu_has_not_the_memory_and_taking_turns_is_synchronous(job):
    assert list(placements(job, 1, 0)) == []
    assert Placement(8, 8, 1) in list(placements(job, 8, 0))
    assert all(not one.colocated for one in placements(job, 8, 1))


def test_every_placement_uses_no_more_than_there_is(job):
    for gpus in (2, 8, 24):
        for staleness in (0, 2):
            for one in placements(job, gpus, staleness):
                decoding = one.samplers * one.tensor_parallel
                assert one.samplers >= 1
                assert decoding + (0 if one.colocated else one.trainers) <= gpus
                assert cache_tokens(job, one) >= job.longest


def test_what_trains_beside_an_engine_takes_room_from_its_cache(job):
    assert cache_tokens(job, Placement(16, 16)) < cache_tokens(job, Placement(16, 8))


def test_more_gpus_are_no_slower_and_the_longest_completion_bounds_them(job):
    found = list(sweep(job, [8, 32, 128], [0]))
    seconds = [one.outcome.seconds for one in found]
    assert all(more < fewer for fewer, more in pairwise(seconds))
    rows = job.rows(6)[:2]
    longest = max(row.completion for row in rows[0])
    assert seconds[-1] > longest * 2e-3


def test_a_bound_on_staleness_is_kept(job):
    rows = job.rows(14)
    for bound in (1, 3):
        assert simulate(job, Placement(16, 4, 2, staleness=bound), rows).staleness <= bound


def test_asynchrony_pays_from_where_it_goes_on_to_pay(job):
    def best(gpus: int, staleness: int, seconds: float) -> Best:
        outcome = simulate(job, Placement(8, 8), job.rows(4))
        return Best(gpus, staleness, outcome.__class__(outcome.placement, seconds, 0.0, 0.0, 0.0, 0.0, 0.0))

    rows = [best(8, 0, 10.0), best(8, 1, 8.0), best(16, 0, 6.0), best(16, 1, 6.0), best(32, 0, 5.0), best(32, 1, 4.0)]
    summary = Summary(job, rows)
    assert summary.gain(rows[1]) == 1.25
    assert summary.pays_from(1) is rows[5]
    assert Summary(job, rows[:4]).pays_from(1) is None


COMMAND = ["simulate", str(RECIPE), "--completion-tokens", "6000", "--staleness", "1"]
FEW = ["--set", SMALL[0], "--set", SMALL[1]]


def test_the_command_says_it_in_one_document_and_draws_it(capsys, tmp_path):
    plot = tmp_path / "scaling.svg"
    words = [*COMMAND, *FEW, "--gpus", "1,16", "--price", "2", "--plot", str(plot), "--json"]
    assert main.main(words) == 0
    told = json.loads(capsys.readouterr().out)
    assert [(row["gpus"], row["staleness_bound"], row["fits"]) for row in told["found"]] == [
        (1, 0, False), (1, 1, False), (16, 0, True), (16, 1, True),
    ]  # fmt: skip
    row = told["found"][2]
    assert row["cost"] == pytest.approx(2 * row["seconds"] * 100 / 3600 * 16)
    assert plot.read_text().startswith("<svg")


def test_the_command_says_what_it_assumed(capsys):
    assert main.main([*COMMAND, *FEW, "--gpus", "8"]) == 0
    said = capsys.readouterr().out
    assert "no placement" not in said
    assert "Not measured on GPUs with this code" in said


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--gpus", "0"], "--gpus 0: write whole numbers from 1"),
        (["--gpus", "8,x"], "--gpus 8,x: write whole numbers"),
        (["--staleness", "0"], "--staleness 0: write whole numbers from 1"),
        (["--phase", "codes"], "--phase codes: "),
        (["--device", "cpu"], "the simulation needs a GPU"),
        (["--device", "h900"], "no such machine"),
    ],
)
def test_bad_words_are_one_line(words, said, capsys):
    assert main.main([*COMMAND, *FEW, *words]) == 2
    assert said in capsys.readouterr().err


def test_a_recipe_without_rl_has_nothing_to_simulate(capsys):
    assert main.main(["simulate", str(RECIPE.parent / "demo-sft.toml")]) == 2
    assert "has no phase of RL" in capsys.readouterr().err
