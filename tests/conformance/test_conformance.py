"""The suite must find a framework that is wrong in one cell, one denominator or one unguarded token; and only such."""

import dataclasses
import json
import math

import pytest
import torch
from tests.objectives.closed_forms import WEIGHTS

from openklear.conformance import __main__ as command
from openklear.conformance import compare, house, render
from openklear.conformance.compare import Comparison, Framework, Report
from openklear.conformance.fixture import EQUAL, UNEQUAL, WHOLE, fixtures
from openklear.errors import UsageError
from openklear.objectives.policy import OBJECTIVES

NEAR = fixtures()["near"]
RATIO = (NEAR.logprobs - NEAR.old_logprobs).exp()
POSITIVE = (NEAR.advantages > 0)[:, None].expand_as(RATIO)
CELLS = {
    "A > 0, above": POSITIVE & (RATIO > 1.28),
    "A > 0, below": POSITIVE & (RATIO < 0.8),
    "A < 0, above": ~POSITIVE & (RATIO > 1.28),
    "A < 0, below": ~POSITIVE & (RATIO < 0.8),
}


@pytest.fixture(scope="module")
def report():
    return compare.run([])


def framework(evaluate, objective="gppo", aggregation="token_mean", **more):
    return Framework("wrong", "1", {objective: {}}, {aggregation: aggregation}, evaluate, **more)


def row_of(peer, objective="gppo"):
    """The one row of a peer."""
    (row,) = [row for row in compare.run([peer], objectives=[objective]).rows if row.framework == peer.name]
    return row


# ---- the fixture


@pytest.mark.parametrize("fixture", fixtures().values(), ids=fixtures())
def test_numbers_are_exact_in_fp32_and_partitions_hold_every_row_once(fixture):
    for tensor in (fixture.logprobs, fixture.old_logprobs, fixture.advantages):
        assert tensor.dtype == torch.float64
        assert torch.equal(tensor.float().double().nan_to_num(), tensor.nan_to_num())
    for partition in (WHOLE, EQUAL, UNEQUAL):
        assert sorted(sum(partition, ())) == list(range(len(fixture.mask)))
    assert (len(WHOLE), {len(rows) for rows in EQUAL}, len({len(rows) for rows in UNEQUAL})) == (1, {1}, 3)
    inside = fixture.logprobs[fixture.mask], fixture.old_logprobs[fixture.mask]
    assert all((t < 0).all() for t in inside), "a log-probability is negative"


def test_tokens_stand_in_every_cell_and_above_every_dual_clip():
    for cell in CELLS.values():
        assert int((cell & NEAR.mask).sum()) >= 2
    for bound in (3, 10):
        assert int((~POSITIVE & (bound < RATIO) & NEAR.mask).sum()) >= 1
    assert len(set(NEAR.lengths)) == len(NEAR.lengths), "ragged, so that a wrong denominator shows"
    cases = fixtures()
    for name in ("far", "runaway"):
        log_ratio = (cases[name].logprobs - cases[name].old_logprobs).masked_fill(~NEAR.mask, 0.0)
        assert float(log_ratio.max()) == 100.0
    assert float((cases["far"].logprobs - cases["far"].old_logprobs).min()) == -100.0
    assert torch.equal(cases["masked"].logprobs.isnan(), ~NEAR.mask)


# ---- ours


def test_ours_in_fp32_agrees_for_every_objective_and_aggregation(report):
    mine = [row for row in report.rows if row.framework == house.NAME]
    assert {row.objective for row in mine} == set(OBJECTIVES)
    assert {row.aggregation for row in mine if row.objective == "gppo"} == set(house.AGGREGATIONS)
    assert report.ours_agree
    for row in mine:
        assert max(row.value, row.gradient, row.far, row.runaway) < 2e-6, row
        assert row.masked == 0
        assert (row.verdict == "agrees") == (row.aggregation != "klear_released"), row
        assert bool(row.note) == (row.verdict != "agrees")


TOKEN_OBJECTIVES = [name for name in OBJECTIVES if name not in ("topr", "dppo_tv", *house.SEQUENCE)]


@pytest.mark.parametrize("objective", TOKEN_OBJECTIVES)
def test_what_all_are_measured_by_is_the_closed_form(objective):
    numbers = compare.numbers_of(objective)
    _, gradient = house.published(objective, numbers, "token_mean", NEAR)
    weights = WEIGHTS[objective](RATIO, POSITIVE, **numbers)
    wanted = torch.where(NEAR.mask, -NEAR.advantages[:, None] * weights / int(NEAR.mask.sum()), 0.0)
    torch.testing.assert_close(gradient, wanted, rtol=1e-12, atol=1e-14)


def test_numbers_are_the_published_ones():
    assert compare.numbers_of("gppo") == {"clip_low": 0.2, "clip_high": 0.28, "beta_low": 1.0, "beta_high": 1.0}
    assert compare.numbers_of("two_sided")["delta"] == 4.0
    assert compare.numbers_of("reinforce") == {}


@pytest.mark.parametrize("aggregation", ["token_mean", "group_token_mean", "sequence_mean", "constant"])
def test_the_reference_has_the_denominator_of_its_name(aggregation):
    """Of REINFORCE with A = 1, whose slope at a token is minus the token's weight."""
    flat = dataclasses.replace(NEAR, advantages=torch.ones_like(NEAR.advantages))
    _, gradient = house.published("reinforce", {}, aggregation, flat)
    lengths = (8, 5, 3, 7, 1, 6)
    wanted = {
        "token_mean": [1 / 30] * 6,
        "group_token_mean": [1 / (3 * n) for n in (13, 13, 10, 10, 7, 7)],
        "sequence_mean": [1 / (6 * n) for n in lengths],
        "constant": [1 / (6 * 8)] * 6,
    }[aggregation]
    assert -gradient[:, 0] == pytest.approx(wanted)


# ---- the released code


def test_the_released_aggregation_depends_on_the_split_and_nothing_else(report):
    found = {row.objective: row for row in report.rows if row.aggregation == "klear_released"}
    assert set(found) == set(house.ALL_AGGREGATIONS)
    for row in found.values():
        assert row.verdict == "depends on the split"
        assert row.split > 0.1


def test_the_released_formula_is_gppo_until_it_overflows(report):
    plain, dual = (row for row in report.rows if row.framework == house.RELEASED)
    assert max(plain.value, plain.gradient) < 1e-6, "written apart from ours, so this also vouches for ours"
    assert plain.split > 0.1
    assert math.isnan(plain.far)
    assert math.isnan(plain.runaway)
    assert math.isnan(plain.masked)
    assert plain.verdict.startswith("depends on the split")
    assert "dual clip=3" in dual.setting
    assert dual.verdict.startswith("departs: value, gradient")


# ---- frameworks that are wrong


@pytest.mark.parametrize("cell", CELLS.values(), ids=CELLS)
def test_a_sign_flipped_in_one_cell_is_found(cell):
    def evaluate(*asked):
        value, gradient = house.evaluate(*asked)
        return value, torch.where(cell, -gradient, gradient)

    row = row_of(framework(evaluate))
    assert row.verdict == "departs: gradient"
    assert row.value < 1e-6
    assert row.gradient > 1e-3


def test_one_token_that_is_a_thousandth_off_is_found():
    def evaluate(*asked):
        value, gradient = house.evaluate(*asked)
        gradient[3, 2] *= 1.001
        return value, gradient

    assert row_of(framework(evaluate)).verdict == "departs: gradient"


def test_a_local_mean_is_found_and_told_from_a_wrong_formula():
    def evaluate(objective, numbers, _, fixture, partition):
        return house.evaluate(objective, numbers, "klear_released", fixture, partition)

    row = row_of(framework(evaluate))
    assert row.verdict == "depends on the split"
    assert row.gradient < 1e-6


def test_a_mean_over_rows_of_each_micro_batch_is_found_where_they_are_unequal():
    """What frameworks with a fixed number of rows a micro-batch do: right for them, wrong once rows are packed."""

    def evaluate(objective, numbers, aggregation, fixture, partition):
        scale = torch.zeros(len(fixture.mask), 1)
        for rows in partition:
            scale[list(rows)] = len(fixture.mask) / (len(partition) * len(rows))
        value, gradient = house.evaluate(objective, numbers, aggregation, fixture, partition)
        return value, gradient * scale

    row = row_of(framework(evaluate, aggregation="sequence_mean"))
    assert row.verdict == "depends on an unequal split"
    assert row.split < 1e-6
    assert row.unequal > 0.1


def test_a_loss_that_is_added_where_it_should_be_averaged_is_found():
    def evaluate(objective, numbers, aggregation, fixture, partition):
        value, gradient = house.evaluate(objective, numbers, aggregation, fixture, partition)
        return value * len(partition), gradient * len(partition)

    row = row_of(framework(evaluate))
    assert row.verdict == "depends on the split"
    assert row.split == pytest.approx(5.0)


def test_a_wrong_value_with_the_right_gradient_is_found():
    def evaluate(*asked):
        value, gradient = house.evaluate(*asked)
        return value + 0.01, gradient

    row = row_of(framework(evaluate))
    assert row.verdict == "departs: value"


def test_gradients_that_end_beyond_a_bound_are_found_at_far_ratios_alone():
    def evaluate(objective, numbers, aggregation, fixture, partition):
        value, gradient = house.evaluate(objective, numbers, aggregation, fixture, partition)
        return value, torch.where((fixture.logprobs - fixture.old_logprobs).abs() > 20, 0.0, gradient)

    assert row_of(framework(evaluate)).verdict == "departs at far ratios; departs at runaway ratios"


@pytest.mark.parametrize("spoiled", ["value", "gradient outside the mask"])
def test_a_mask_that_leaks_is_found(spoiled):
    def evaluate(objective, numbers, aggregation, fixture, partition):
        value, gradient = house.evaluate(objective, numbers, aggregation, fixture, partition)
        hidden = torch.where(fixture.mask, 0.0, fixture.logprobs) * 0.0
        return (value + float(hidden.sum()), gradient) if spoiled == "value" else (value, gradient + hidden)

    assert row_of(framework(evaluate)).verdict == "NaN leaks through the mask"


def test_nan_departs_everywhere():
    row = row_of(framework(lambda *asked: (math.nan, house.evaluate(*asked)[1] * math.nan)))
    assert row.verdict.startswith("departs: value, gradient; depends on the split")


def test_a_right_framework_agrees_and_its_reasons_are_not_shown():
    row = row_of(framework(house.evaluate, notes={"gppo": "why"}, setting="as it is"))
    assert row.verdict == "agrees"
    assert row.note == ""
    assert row.setting == "as it is"


def test_reasons_stand_beside_what_departs():
    def evaluate(*asked):
        value, gradient = house.evaluate(*asked)
        return 2 * value, gradient

    assert row_of(framework(evaluate, notes={"gppo": "why", "token_mean": "no"})).note == "why"
    assert row_of(framework(evaluate, notes={"token_mean": "why"})).note == "why"


def test_a_combination_that_a_framework_does_not_have_has_no_row():
    def evaluate(*asked):
        raise UsageError("not that")

    peer = framework(evaluate)
    assert not [row for row in compare.run([peer], objectives=["gppo"]).rows if row.framework == "wrong"]


def test_sequence_losses_are_asked_with_their_own_aggregation_only():
    peer = Framework("p", "1", {"gspo": {}}, {"token_mean": "t", "sequence_mean": "s"}, house.evaluate)
    assert row_of(peer, "gspo").aggregation == "sequence_mean = s"


# ---- what is printed


def mixed_report():
    rows = (
        Comparison(
            "gppo", "one", "a|b", "token_mean", 0.0, 1e-8, 0.0, 0.5, 1e-8, math.nan, 0.0, "departs", "because | of this"
        ),
        Comparison("gppo", "two", "", "token_mean", *[0.0] * 7, compare.AGREES),
    )
    return Report(rows, {"one": "1.2", "two": "3"}, {"three": "No module named 'three'"})


def test_markdown_is_a_table_with_one_line_a_row():
    lines = render(mixed_report(), "markdown").splitlines()
    table = [line for line in lines if line.startswith("|")]
    assert len(table) == 4
    assert {line.replace("\\|", "").count("|") for line in table} == {13}
    assert "[1] because | of this  " in lines  # two spaces: a line of its own
    assert "nan" in table[2]
    assert "1.0e-08" in table[2]


def test_text_puts_notes_below_and_says_who_was_not_asked():
    text = render(mixed_report(), "text")
    assert "departs [1]" in text
    assert "[1] because | of this" in text
    assert "three was NOT asked (No module named 'three')" in text
    assert "one 1.2, two 3" in text


def test_json_holds_everything_and_no_number_that_is_none():
    found = json.loads(render(mixed_report(), "json"), parse_constant=pytest.fail)
    assert found["rows"][0]["runaway"] == "nan"
    assert found["rows"][0]["gradient"] == 1e-8
    assert found["missing"] == {"three": "No module named 'three'"}


def test_rows_of_some_frameworks_alone():
    assert [row["framework"] for row in json.loads(render(mixed_report(), "json", frameworks=["two"]))["rows"]] == [
        "two"
    ]


@pytest.mark.parametrize("format", ["text", "markdown", "json"])
def test_only_departures_when_asked(format):
    assert "agrees" in render(mixed_report(), format)
    assert "agrees" not in render(mixed_report(), format, departures=True)


def test_a_framework_that_is_not_installed_is_said_aloud():
    report = compare.run([], missing={"verl": "it is not installed"}, objectives=["gppo"])
    row = report.rows[-1]
    assert (row.framework, row.verdict) == ("verl", "not available")
    assert "verl was NOT asked (it is not installed)" in render(report)


# ---- the command


def run_command(monkeypatch, *arguments, rows=None):
    monkeypatch.setattr("sys.argv", ["conformance", *arguments])
    monkeypatch.setattr("openklear.conformance.installed", lambda: ([], {"verl": "not here"}))
    if rows is not None:
        monkeypatch.setattr(command, "run", lambda **_: Report(rows, {}, {}))
    return command.main()


def test_the_command_prints_the_report(monkeypatch, capsys):
    assert run_command(monkeypatch, "--objective", "gppo", "--format", "json") == 0
    assert {row["objective"] for row in json.loads(capsys.readouterr().out)["rows"]} == {"gppo", "-"}


def test_the_command_fails_when_ours_departs(monkeypatch):
    departed = Comparison("gppo", house.NAME, "float32", "token_mean", verdict="departs: value")
    assert run_command(monkeypatch, rows=[departed]) == 1
    excused = dataclasses.replace(departed, aggregation="klear_released")
    assert run_command(monkeypatch, rows=[excused]) == 0


def test_an_unknown_objective_is_an_error_that_names_the_known(monkeypatch, capsys):
    assert run_command(monkeypatch, "--objective", "gpo") == 2
    assert "gppo" in capsys.readouterr().err


# ---- TRL, where it is


def test_the_losses_we_bring_to_trl_agree():
    """TRL's own losses change with its versions; what they give today stands in docs/conformance.md."""
    pytest.importorskip("trl", reason="needs trl")
    adapter = pytest.importorskip("openklear.conformance.trl", reason="no adapter yet", exc_type=ImportError)
    rows = compare.run(adapter.peers(), objectives=["gppo", "ce_gppo"]).rows
    found = [row for row in rows if row.framework == adapter.NAME]
    assert {row.objective for row in found} == {"gppo", "ce_gppo"}
    assert {row.verdict for row in found} == {"agrees"}, found
