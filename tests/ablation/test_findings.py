"""Findings of a study: hand-computed cases, a slow independent version, laws, every sentence, and what is refused."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from scipy.stats import t

from openklear.ablation.definition import Arm, Contrast, Measure, Study, StudySeeds
from openklear.ablation.findings import findings
from openklear.ablation.scores import FailedRun, RunScores, SeriesScores, StudyScores
from openklear.errors import DataError
from openklear.evaluation.statistics import holm, mean_interval

SUMS, CODE = Measure(name="sums", model="rl", domain="math"), Measure(name="code", model="rl", domain="code")
BEFORE, AFTER = [[0, 2, 4], [1, 2, 3]], [[2, 2, 4], [2, 4, 4]]
"""Correct of 4 samples: shares differ by (1/2, 0, 0) and (1/4, 1/2, 1/4)."""


def study(arms="ab", seeds=(0, 1), comparison=(), measure=(SUMS,), labels=None):
    return Study(
        name="one",
        title="One",
        question="Is it so?",
        recipe="one.toml",
        seeds=StudySeeds(values=tuple(seeds), vary=("rl",)),
        arm=tuple(Arm(name=name, label=(labels or {}).get(name)) for name in arms),
        measure=measure,
        comparison=comparison,
    )


def series(correct, of=4, model="rl", domain="math", problems="same"):
    scorable = tuple(of) if isinstance(of, tuple | list) else (of,) * len(correct)
    return SeriesScores(model, "bench", domain, problems, tuple(map(int, correct)), scorable, max(scorable))


def run(arm, seed, *some):
    return RunScores(arm, seed, some, {}, {}, {})


def runs(tables, seeds=(0, 1), of=4):
    """Of each arm a table of correct samples by seed and problem."""
    return [
        run(arm, seed, series(row, of)) for arm, table in tables.items() for seed, row in zip(seeds, table, strict=True)
    ]


def found(some, failed=(), **asked):
    return findings(study(**asked), StudyScores(tuple(some), tuple(failed), 0, {}))


def drawn(arms="abcd", seeds=4, problems=30, shifts=(), of=8):
    """Arm -> table, each seed with a shift of its own."""
    rng = np.random.default_rng(3)
    shifts = dict(zip(arms, shifts, strict=False))
    chances = rng.uniform(0.3, 0.7, problems)
    return {
        arm: rng.binomial(of, np.clip(chances + shifts.get(arm, 0) + rng.normal(0, 0.02, (seeds, 1)), 0, 1))
        for arm in arms
    }


# Numbers


def test_a_comparison_by_hand():
    """V_seed 1/144, V_problem 1/192, V_cell 1/120: V = V_seed, not below it; 1 degree of freedom; t = 3."""
    (one,) = found(runs({"a": BEFORE, "b": AFTER})).compared
    assert one.by_seed == ((0, pytest.approx(1 / 6)), (1, pytest.approx(1 / 3)))
    assert (one.effect.value, one.effect.error, one.effect.freedom) == pytest.approx((1 / 4, 1 / 12, 1))
    assert one.effect.low == pytest.approx(1 / 4 - t.ppf(0.975, 1) / 12)
    assert (one.these.value, one.these.error, one.these.freedom) == pytest.approx((1 / 4, 1 / 12, 1))
    assert one.p == 0.5, "of four choices of signs, two are as far from 0"
    assert one.p_t == one.p_holm == pytest.approx(1 - 2 / math.pi * math.atan(3))
    assert not one.seen
    assert (one.label_before, one.label_after) == ("a", "b")


def test_a_score_by_hand():
    """The seeds have equal means; the problems' are 1/8, 1/2, 7/8, their variance 9/64, over 3; the rest 1/192."""
    score = found(runs({"a": BEFORE, "b": AFTER})).scores[0]
    assert (score.arm, score.model, score.measure, score.seeds, score.problems) == ("a", "rl", "sums", 2, 3)
    assert score.by_seed == ((0, 0.5), (1, 0.5))
    assert (score.mean, score.low, score.high) == (0.5, 0.0, 1.0), "0.5 +- 4.3 * 0.22, cut"
    assert score.freedom == pytest.approx(1 / (1 / 2 + (1 / 9) ** 2 / 5))


def slow_interval(table):
    """By loops over a two-way layout: V_seed + V_problem - V_rest, with SciPy's t."""
    seeds, problems = len(table), len(table[0])
    places = list(product(range(seeds), range(problems)))
    mean = sum(table[s][i] for s, i in places) / len(places)
    by_seed = [sum(row) / problems for row in table]
    by_problem = [sum(table[s][i] for s in range(seeds)) / seeds for i in range(problems)]
    of_seeds = sum((one - mean) ** 2 for one in by_seed) / (seeds - 1) / seeds
    of_problems = sum((one - mean) ** 2 for one in by_problem) / (problems - 1) / problems
    rest = sum((table[s][i] - by_seed[s] - by_problem[i] + mean) ** 2 for s, i in places)
    rest = rest / ((seeds - 1) * (problems - 1)) / len(places)
    variance = max(of_seeds + of_problems - rest, of_seeds, of_problems)
    down = of_seeds**2 / (seeds - 1) + of_problems**2 / (problems - 1) + rest**2 / (seeds * problems - 1)
    half = t.ppf(0.975, max(seeds - 1, variance**2 / down)) * math.sqrt(variance)
    return mean, mean - half, mean + half


@pytest.mark.parametrize(("seeds", "problems"), [(2, 40), (4, 30), (8, 50)])
def test_the_interval_of_an_arm_is_that_of_loops(seeds, problems):
    tables = drawn("ab", seeds, problems)
    for score in found(runs(tables, range(seeds), of=8), seeds=range(seeds)).scores:
        slow = slow_interval((np.array(tables[score.arm]) / 8).tolist())
        assert (score.mean, score.low, score.high) == pytest.approx(slow)


def test_one_seed_has_an_interval_over_problems_and_says_so():
    score = found(runs({"a": BEFORE[:1], "b": AFTER[:1]}, [0]), seeds=[0]).scores[0]
    alone = mean_interval(np.array([0, 0.5, 1]), 4)
    assert (score.mean, score.low, score.high) == (alone.value, alone.low, alone.high)
    assert math.isnan(score.freedom)
    assert score.seeds == 1


def test_an_arm_without_runs_has_no_score():
    score = found(runs({"a": BEFORE})).scores[1]
    assert (score.arm, score.by_seed, score.seeds, score.problems) == ("b", (), 0, 0)
    assert math.isnan(score.mean)
    assert math.isnan(score.low)


def test_a_problem_that_one_run_could_not_judge_is_in_no_number():
    some = runs({"a": BEFORE, "b": AFTER})
    some[1] = run("a", 1, series([1, 0, 3], (4, 0, 4)))
    result = found(some)
    without = found(runs({"a": [[0, 4], [1, 3]], "b": [[2, 4], [2, 4]]}))
    assert result.compared[0].effect == without.compared[0].effect
    assert result.compared[0].by_seed == without.compared[0].by_seed
    assert result.scores[0] == without.scores[0]
    assert result.scores[1].problems == 3
    assert "1 of 3 problems could not be judged" in result.warnings[-1]


def test_shares_of_fewer_samples_are_exact():
    """1/3 - 1/4 and 1/4 - 1/3, mean 0: every choice of signs is as far."""
    rows = [series([1], 4), series([1], 3)], [series([1], 3), series([1], 4)]
    (one,) = found(run(arm, seed, rows[k][seed]) for k, arm in enumerate("ab") for seed in (0, 1)).compared
    assert [value for _, value in one.by_seed] == [1 / 12, -1 / 12]
    assert one.p == 1.0


# Laws


def numbers(one):
    return [one.effect.value, one.effect.low, one.effect.high, one.these.low, one.p, one.p_t, one.p_holm, one.smallest]


def test_swapping_the_sides_negates():
    some = runs(drawn("ab"), range(4), of=8)
    there = Contrast(before="a", after="b")
    back = Contrast(before="b", after="a")
    (one,), (other,) = (found(some, seeds=range(4), comparison=(pair,)).compared for pair in (there, back))
    assert other.effect.value == pytest.approx(-one.effect.value)
    assert (other.effect.low, other.effect.high) == pytest.approx((-one.effect.high, -one.effect.low))
    assert (other.p, other.p_t, other.smallest) == pytest.approx((one.p, one.p_t, one.smallest))
    assert other.by_seed == tuple((seed, pytest.approx(-value)) for seed, value in one.by_seed)


def test_names_of_seeds_and_order_of_problems_change_nothing():
    tables = drawn("abc", shifts=(0, 0.2))
    order = np.random.default_rng(0).permutation(30)
    whole = found(runs(tables, range(4), of=8), arms="abc", seeds=range(4))
    renamed = found(runs(tables, (7, 3, 11, 2), of=8), arms="abc", seeds=(7, 3, 11, 2))
    turned = found(runs({a: x[:, order] for a, x in tables.items()}, range(4), of=8), arms="abc", seeds=range(4))
    upside = found(runs(tables, range(4), of=8)[::-1], arms="abc", seeds=(3, 2, 1, 0))
    for other in (renamed, turned, upside):
        assert other.headline == whole.headline
        for mine, one in zip(other.compared, whole.compared, strict=True):
            assert numbers(mine) == pytest.approx(numbers(one))
        for mine, one in zip(other.scores, whole.scores, strict=True):
            assert (mine.mean, mine.low, mine.high) == pytest.approx((one.mean, one.low, one.high))


def test_holm_is_over_the_comparisons_of_a_measure():
    tables = drawn("abcd", shifts=(0, 0.03, 0.05))
    some = [
        run(arm, seed, series(row, 8), series(row, 8, domain="code"))
        for arm, table in tables.items()
        for seed, row in enumerate(table)
    ]
    compared = found(some, arms="abcd", seeds=range(4), measure=(SUMS, CODE)).compared
    assert [one.measure.name for one in compared] == ["sums"] * 3 + ["code"] * 3
    p = [one.p_t for one in compared[:3]]
    order = sorted(range(3), key=p.__getitem__)
    by_hand = [3 * p[order[0]], 2 * p[order[1]], p[order[2]]]
    by_hand = [min(1, max(by_hand[: place + 1])) for place in range(3)]
    assert [compared[place].p_holm for place in order] == pytest.approx(by_hand)
    assert [one.p_holm for one in compared[3:]] == [one.p_holm for one in compared[:3]], "twice three, not six"
    two = found(some, arms="abcd", seeds=range(4), comparison=(Contrast(before="a", after="b"),)).compared[0]
    assert two.p_holm == two.p_t == compared[0].p_t
    assert two.smallest < compared[0].smallest, "allowing for three takes a larger one"


def test_a_comparison_that_cannot_be_made_yet_counts_for_the_correction():
    tables = drawn("abc", shifts=(0, 0.05))
    some = [one for one in runs(tables, range(4), of=8) if one.arm != "c" or one.seed == 0]
    first, second = found(some, arms="abc", seeds=range(4)).compared
    assert first.p_holm == holm([first.p_t, 1.0])[0] == pytest.approx(2 * first.p_t)
    assert math.isnan(second.p_holm)
    assert math.isnan(second.p_t)
    assert (second.p, second.seen) == (1.0, False)


def test_seen_is_what_holm_leaves():
    """b differs by itself, not when four are looked at; c does in both."""
    tables = drawn("abcde", shifts=(0, 0.13, 0.2))
    some = runs(tables, range(4), of=8)
    result = found(some, arms="abcde", seeds=range(4))
    b, c, *others = result.compared
    assert b.p_t <= 0.05 < b.p_holm
    assert b.effect.low > 0
    assert c.p_holm <= 0.05
    assert [one.seen for one in result.compared] == [False, True, False, False]
    assert b.sentence.startswith("No difference is claimed: +")
    assert c.sentence.startswith("c ends ")
    assert all(one.sentence.startswith("No difference seen from a to ") for one in others)
    assert result.headline.startswith("Against a, c ends ")
    assert " for b would be seen alone, but not after allowing for the 4 comparisons" in result.headline
    assert "no difference was seen for d and e" in result.headline
    alone = found(some, arms="abcde", seeds=range(4), comparison=(Contrast(before="a", after="b"),))
    assert alone.compared[0].seen
    assert alone.headline == alone.compared[0].sentence


# Sides


def test_models_of_one_arm_are_compared_and_named():
    some = [run("a", seed, series(AFTER[seed]), series(BEFORE[seed], model="sft")) for seed in (0, 1)]
    result = found(some, arms="a", comparison=(Contrast(before="a:sft", after="a"),), labels={"a": "GPPO"})
    (one,) = result.compared
    assert (one.label_before, one.label_after) == ("GPPO (sft)", "GPPO (rl)")
    assert one.effect.value == pytest.approx(1 / 4)
    assert [(score.arm, score.model) for score in result.scores] == [("a", "rl"), ("a", "sft")]
    assert [score.mean for score in result.scores] == pytest.approx([3 / 4, 1 / 2])


def test_only_seeds_of_both_sides_are_paired():
    tables = drawn("ab", seeds=4)
    some = runs(tables, range(4), of=8)
    lost = [one for one in some if (one.arm, one.seed) not in {("a", 1), ("b", 3)}]
    failed = [FailedRun("a", 1, "rl-math: out of memory")]
    result = found(lost, failed, seeds=range(4), labels={"a": "PPO", "b": "GPPO"})
    (one,) = result.compared
    whole = found([one for one in some if one.seed in (0, 2)], seeds=(0, 2)).compared[0]
    assert [seed for seed, _ in one.by_seed] == [0, 2]
    assert numbers(one) == numbers(whole)
    assert [score.seeds for score in result.scores] == [3, 3]
    assert result.warnings[:4] == (
        "PPO failed with seed 1: rl-math: out of memory",
        "GPPO was not run yet with seed 3",
        "PPO and GPPO are compared without seed 3, which only PPO has",
        "PPO and GPPO are compared without seed 1, which only GPPO has",
    )
    assert "with two seeds" in result.warnings[4]


def test_whole_studies_have_nothing_to_warn_of():
    assert found(runs(drawn("ab", seeds=3), range(3), of=8), seeds=range(3)).warnings == ()


def test_a_run_without_results_of_the_measure_is_told():
    some = [run("a", 0, series(BEFORE[0], model="sft")), *runs({"b": AFTER})]
    result = found(some)
    assert "a has no results of rl in math with seed 0" in " ".join(result.warnings)
    assert result.compared[0].sentence == "Nothing to compare between a and b: no seed has been run in both."


# What is refused


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (series(AFTER[1], problems="other"), "arm a, seed 0 .rl. and arm b, seed 1 .rl. were asked different problems"),
        (series(AFTER[1][:2]), r"different problems in math \(3 of bench, 2 of bench\)"),
        (series(AFTER[1], (4, 4)), "arm b, seed 1 .rl.: has 3 counts of correct samples and 2 of scorable"),
    ],
)
def test_other_problems_are_refused(wrong, message):
    some = runs({"a": BEFORE, "b": AFTER})
    with pytest.raises(DataError, match=message):
        found([*some[:3], run("b", 1, wrong)])


def test_other_problems_are_refused_among_models_too_but_not_among_measures():
    pair = (Contrast(before="a:sft", after="a"),)
    some = [run("a", 0, series([1, 2]), series([1, 2, 3], model="sft", problems="more"))]
    with pytest.raises(DataError, match=r"arm a, seed 0 \(rl\) and arm a, seed 0 \(sft\)"):
        found(some, arms="a", comparison=pair)
    both = [run(arm, 0, series([1, 2]), series([1, 2, 3], domain="code", problems="more")) for arm in "ab"]
    assert len(found(both, measure=(SUMS, CODE)).compared) == 2


def test_what_was_made_of_results_is_not_changed_by_runs_of_no_arm():
    some = runs({"a": BEFORE, "b": AFTER})
    stale = replace(some[0], arm="gone", series=(series([1], problems="old"),))
    assert found([*some, stale]) == found(some)
