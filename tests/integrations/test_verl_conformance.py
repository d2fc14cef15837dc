"""The conformance suite with verl in it: what we bring agrees, and what is known of verl's own losses is found."""

import pytest

pytestmark = pytest.mark.verl
pytest.importorskip("verl", reason="verl has an environment of its own: make test-verl")

from openklear.conformance import compare  # noqa: E402
from openklear.conformance import verl as adapter  # noqa: E402


@pytest.fixture(scope="module")
def rows():
    return [row for row in compare.run(adapter.peers()).rows if row.framework == adapter.NAME]


def verdicts(rows, objective, *, setting="", counted=True):
    return {
        row.aggregation.split(" = ")[0]: row.verdict
        for row in rows
        if row.objective == objective
        and setting in row.setting
        and row.setting.startswith("without global counts") != counted
    }


@pytest.mark.parametrize("objective", ["gppo", "ce_gppo"])
def test_what_we_bring_agrees_in_every_aggregation(rows, objective):
    assert verdicts(rows, objective) == dict.fromkeys(("token_mean", "sequence_mean", "constant"), "agrees")


def test_every_objective_named_was_asked(rows):
    assert {row.objective for row in rows} == {*adapter.LOSSES, *adapter.UNCAPPED}


def test_without_global_counts_the_step_depends_on_its_split(rows):
    assert verdicts(rows, "gppo", counted=False) == {
        "token_mean": "depends on the split",
        "sequence_mean": "depends on an unequal split",
        "constant": "depends on an unequal split",
    }


def test_the_dual_clip_that_verl_leaves_on_is_found(rows):
    assert verdicts(rows, "ppo_clip", setting="clip_ratio_c=3.0")["token_mean"].startswith("departs: value, gradient")
    assert verdicts(rows, "ppo_clip", setting="clip_ratio_c=inf")["token_mean"] == "departs at runaway ratios"


def test_an_aggregation_that_a_loss_ignores_is_found(rows):
    sapo = verdicts(rows, "sapo")
    assert sapo["token_mean"].startswith("departs: value, gradient")
    assert not sapo["sequence_mean"].startswith("departs")


def test_a_mean_of_each_micro_batch_that_is_added_up_is_found(rows):
    (row,) = [row for row in rows if row.objective == "gmpo"]
    assert row.split == pytest.approx(5.0)
    assert row.gradient < 1e-6
