"""Sentences of findings: every kind, word by word, with numbers like those of pilots."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from openklear.ablation.sentences import Told, headline, is_nothing, seeds, sentence
from openklear.ablation.units import NATS, SHARE
from openklear.evaluation.statistics import Effect

NAN = math.nan
GPPO = Told(
    before="PPO clip-higher",
    after="GPPO",
    effect=Effect(-0.097, -0.191, -0.003, 0.0295, 3.0, 4, 200),
    seeds=(0, 1, 2, 3),
    p_t=0.0443,
    p_holm=0.0443,
    smallest=0.126,
    seen=True,
    tests=1,
    measure=None,
)
UNSEEN = replace(
    GPPO, effect=Effect(-0.013, -0.083, 0.057, 0.022, 3.0, 4, 200), p_t=0.6, p_holm=0.6, smallest=0.098, seen=False
)


def test_seen():
    assert sentence(GPPO) == (
        "GPPO ends 9.7 points below PPO clip-higher (95 % interval -19.1 to -0.3, p 0.044, 4 seeds x 200 problems)."
    )
    up = replace(GPPO, effect=Effect(0.097, 0.003, 0.191, 0.03, 3.0, 4, 200), p_holm=0.00002, tests=5, measure="Code")
    assert sentence(up) == (
        "Code: GPPO ends 9.7 points above PPO clip-higher "
        "(95 % interval +0.3 to +19.1, p below 0.0001 after Holm, 4 seeds x 200 problems)."
    )


def test_not_seen():
    assert sentence(UNSEEN) == (
        "No difference seen from PPO clip-higher to GPPO: -1.3 points (95 % interval -8.3 to +5.7, 4 seeds x "
        "200 problems); a difference of 9.8 points would have been seen in 80 % of such studies."
    )
    assert sentence(replace(UNSEEN, smallest=1.3)).endswith("; the study is too small to see any difference reliably.")


def test_seen_by_itself_alone():
    text = sentence(replace(GPPO, p_holm=0.2215, seen=False, tests=5))
    assert text == (
        "No difference is claimed: -9.7 points from PPO clip-higher to GPPO (-19.1 to -0.3, 4 seeds x 200 problems), "
        "and the interval by itself excludes zero, but not after allowing for the 5 comparisons (p 0.22 after Holm); "
        "a difference of 12.6 points would have been seen in 80 % of such studies."
    )


ALONE = replace(
    GPPO, effect=Effect(0.013, -1, 1, NAN, NAN, 1, 200), seeds=(3,), p_t=NAN, p_holm=NAN, smallest=NAN, seen=False
)
NONE = replace(ALONE, effect=Effect(NAN, NAN, NAN, NAN, NAN, 0, 0), seeds=())


def test_too_little_to_say_anything():
    assert sentence(ALONE) == (
        "One seed says nothing of training: +1.3 points from PPO clip-higher to GPPO with seed 3, on 200 problems."
    )
    problem = replace(ALONE, effect=replace(ALONE.effect, seeds=2, problems=1), seeds=(0, 3))
    assert sentence(problem) == (
        "One problem says nothing of other problems: +1.3 points from PPO clip-higher to GPPO with seeds 0 and 3, "
        "on 1 problem."
    )
    assert sentence(NONE) == ("Nothing to compare between PPO clip-higher and GPPO: no seed has been run in both.")
    blank = replace(NONE, effect=replace(NONE.effect, seeds=4))
    assert sentence(blank).endswith("no problem could be judged in all runs.")


SAME = replace(UNSEEN, effect=Effect(0.0, 0.0, 0.0, 0.0, 3.0, 4, 200), p_t=1.0, p_holm=1.0, smallest=NAN)


def test_nothing_varies():
    assert sentence(SAME) == (
        "PPO clip-higher and GPPO score the same with every seed and every problem (4 seeds x 200 problems)."
    )
    moved = replace(SAME, effect=Effect(0.5, 0.5, 0.5, 1e-17, 3.0, 4, 200), p_t=0.125, p_holm=0.125)
    assert sentence(moved) == (
        "From PPO clip-higher to GPPO it is +50.0 points with every seed and every problem (4 seeds x 200 problems): "
        "nothing varies, so that no interval can be given (sign-flip p 0.12)."
    )


def test_a_headline_of_one_comparison_is_its_sentence():
    for one in (GPPO, UNSEEN, ALONE, NONE, SAME):
        assert headline([one]) == sentence(one)


def test_a_headline_of_several():
    cispo = replace(GPPO, after="CISPO", effect=replace(GPPO.effect, value=-0.305), tests=5)
    other = replace(UNSEEN, after="CE-GPPO", tests=5, smallest=0.044)
    alone = replace(GPPO, after="high side", seen=False, tests=5)
    assert headline([GPPO, UNSEEN, cispo, other, alone, replace(NONE, after="z")]) == (
        "Against PPO clip-higher, GPPO ends 9.7 points below and CISPO ends 30.5 points below; -9.7 points for high side "
        "would be seen alone, but not after allowing for the 5 comparisons; no difference was seen for GPPO and CE-GPPO, "
        "where a difference of 9.8 points would have been seen in 80 % of such studies (4 seeds x 200 problems); nothing can be said yet for z: that takes two seeds or more of both."
    )


@pytest.mark.parametrize(
    ("some", "text"),
    [
        (
            [replace(UNSEEN, effect=replace(UNSEEN.effect, seeds=3)), replace(UNSEEN, after="b")],
            "Against PPO clip-higher, no difference was seen for GPPO and b, where a difference of 9.8 points would "
            "have been seen in 80 % of such studies (3 to 4 seeds x 200 problems).",
        ),
        (
            [SAME, replace(SAME, after="b")],
            "Against PPO clip-higher, no difference was seen for GPPO and b (4 seeds x 200 problems).",
        ),
        (
            [ALONE, replace(NONE, after="b")],
            "Against PPO clip-higher, nothing can be said yet for GPPO and b: that takes two seeds or more of both.",
        ),
        (
            [GPPO, replace(UNSEEN, before="x", after="y")],
            "GPPO ends 9.7 points below PPO clip-higher; no difference was seen between x and y, where a difference "
            "of 9.8 points would have been seen in 80 % of such studies (4 seeds x 200 problems).",
        ),
        (
            [UNSEEN, replace(ALONE, before="x", after="y", measure="Code")],
            "No difference was seen between PPO clip-higher and GPPO, where a difference of 9.8 points would have "
            "been seen in 80 % of such studies (4 seeds x 200 problems); nothing can be said yet between x and y: "
            "that takes two seeds or more of both.",
        ),
    ],
)
def test_headlines_of_one_kind_or_of_unlike_pairs(some, text):
    assert headline(some) == text
    assert headline([replace(some[0], measure="Sums"), *some[1:]]) == f"Sums: {text}"


def test_words():
    told = (SHARE.size(-0.0972), SHARE.signed(-0.0972), SHARE.signed(0.0004))
    assert told == ("9.7 points", "-9.7 points", "0.0 points")
    assert (NATS.size(-0.0972), NATS.signed(-0.0972)) == ("0.097 nats per token", "-0.097 nats per token")
    assert (seeds([3]), seeds([3, 4]), seeds([3, 4, 5])) == ("seed 3", "seeds 3 and 4", "seeds 3, 4 and 5")
    assert is_nothing(1e-17)
    assert not is_nothing(1e-4)
