"""A planted effect is found, and an arm that is equal to another is not, as often as power says."""

from __future__ import annotations

import pytest
from benchmarks.planted_effects import GAIN, Planted, counted, likely, planted, predicted
from scipy.stats import binom

from openklear.evaluation import power

REPETITIONS = 20


@pytest.mark.slow
@pytest.mark.parametrize("noise", [0.0, 0.1, 0.3])
def test_planted_effects_are_seen_as_often_as_predicted(noise, tmp_path):
    truth = planted(noise)
    chances = predicted(truth)
    counts = counted(truth, REPETITIONS, 2, tmp_path)
    bounds = {name: likely(chance, REPETITIONS, 0.99) for name, chance in chances.items()}
    for name in ("effect", "null"):
        assert bounds[name][0] <= counts[name] <= bounds[name][1], (name, counts, chances)
    assert bounds["effect after Holm"][0] <= counts["effect after Holm"] <= counts["effect"]
    assert counts["null after Holm"] <= min(bounds["null after Holm"][1], counts["null"])


def test_the_prediction_is_what_power_says_of_that_model():
    """With .1 logits a seed moves a mean by 1.4 points; without an effect, 2.5 % are seen on either side."""
    truth = planted(0.1)
    assert truth.known.seed == pytest.approx(0.014, abs=0.001)
    assert truth.known.pair.within == pytest.approx(2 * 0.14, abs=0.02)
    assert predicted(truth)["null"] == pytest.approx(0.05, abs=1e-6)
    assert predicted(truth)["effect"] == power.seen_in_study(truth.known, GAIN, 8, 200, 8)
    more = Planted(0.1, truth.gain, power.TwoArms(truth.known.pair, 2 * truth.known.seed))
    assert predicted(more)["effect"] < predicted(truth)["effect"]


@pytest.mark.parametrize(("chance", "level"), [(0.05, 0.95), (0.8, 0.99), (0.5, 0.95)])
def test_likely_counts_are_those_of_the_binomial(chance, level):
    side = (1 - level) / 2
    assert likely(chance, 20, level) == (binom.ppf(side, 20, chance), binom.ppf(1 - side, 20, chance))
