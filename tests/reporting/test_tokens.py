"""Where the clip acts on a token, and which rollouts are shown."""

import numpy as np
import pytest

from openklear.reporting.band import kind_of
from openklear.reporting.tokens import choose


@pytest.mark.parametrize(
    ("ratio", "advantage", "kind"),
    [
        (1.3, 1.0, "high"),
        (1.3, -1.0, "near"),
        (0.7, -1.0, "low"),
        (0.7, 1.0, "near"),
        (1.28, 1.0, ""),
        (0.8, -1.0, ""),
        (1.0, 1.0, ""),
    ],
)
def test_the_clip_acts_in_two_cells_of_four(ratio, advantage, kind):
    assert kind_of(ratio, advantage, 0.8, 1.28) == kind


def test_most_clipped_rollouts_of_each_sign_are_shown():
    ratios = {
        (0, 0): np.array([1.5, 1.0]),
        (0, 1): np.array([0.5, 0.5]),
        (1, 0): np.array([1.5, 1.5]),
        (1, 1): np.array([1.0, 0.5]),
        (2, 0): np.array([0.1, 0.1]),
    }
    advantages = {(0, 0): 1.0, (0, 1): -1.0, (1, 0): 1.0, (1, 1): -1.0, (2, 0): 1.0}
    assert choose(ratios, advantages, (0.8, 1.28)) == [(1, 0), (0, 0), (0, 1), (1, 1)]
