"""Time left in tokens, against sampling played through with a clock of its own: slots, ragged lengths, a limit."""

import math

import numpy as np
import pytest

from openklear import progress
from openklear.rollout.ahead import TokensAhead
from openklear.types import Completion, StopReason

LIMIT = 2000


def completion(length):
    reason = StopReason.LENGTH if length == LIMIT else StopReason.STOP
    return Completion(np.zeros(length, np.int32), np.zeros(length, np.float32), reason)


def played(lengths, slots, per_step, per_token):
    """[(seconds, completions ended so far, tokens drawn so far)] after every 16th step, and at the end."""
    queue, going, ended = list(lengths[::-1]), [], []
    seconds, drawn, step, moments = 0.0, 0, 0, []
    while queue or going:
        while queue and len(going) < slots:
            going.append([queue.pop(), 0])
        step, drawn = step + 1, drawn + len(going)
        seconds += per_step + per_token * len(going)
        going = [[length, age + 1] for length, age in going]
        ended += [length for length, age in going if age >= length]
        going = [one for one in going if one[1] < one[0]]
        if step % 16 == 0 or not (queue or going):
            moments.append((seconds, list(ended), drawn))
    return moments


def errors(lengths, slots, costs, earlier=None):
    """Estimated over true seconds left after a tenth of the time: by tokens, and by counting finished rollouts."""
    moments = played(lengths, slots, *costs)
    total = moments[-1][0]
    seconds, ended, drawn = next(moment for moment in moments if moment[0] >= total / 10)
    ahead = TokensAhead(len(lengths), slots, LIMIT, earlier)
    for length in ended:
        ahead.add(completion(length).stop_reason)
    counted = seconds * (len(lengths) - len(ended)) / len(ended) if ended else math.inf
    return seconds * ahead.tokens(drawn) / drawn / (total - seconds), counted / (total - seconds)


def ragged(kind, count, seed):
    draw = np.random.default_rng(seed)
    lengths = {
        "long tail": np.exp(draw.normal(5.3, 1.0, count)),
        "two kinds": np.where(draw.random(count) < 0.7, draw.normal(150, 30, count), draw.normal(1200, 200, count)),
        "half cut": np.where(draw.random(count) < 0.5, draw.normal(300, 80, count), 2 * LIMIT),
        "even chance": draw.exponential(300, count),
    }[kind]
    return np.clip(lengths, 5, LIMIT).astype(int).tolist()


@pytest.mark.parametrize("costs", [(1.0, 0.0), (1.0, 0.05)], ids=["a step costs the same", "a token costs too"])
@pytest.mark.parametrize("kind", ["long tail", "two kinds", "half cut", "even chance"])
def test_within_a_quarter_after_a_tenth_of_a_ragged_run(kind, costs):
    found = [errors(ragged(kind, 512, seed), 32, costs)[0] for seed in range(4)]
    assert 0.75 <= float(np.median(found)) <= 1.25, found


@pytest.mark.parametrize("kind", ["long tail", "two kinds", "half cut", "even chance"])
def test_within_three_tenths_in_every_single_run_after_an_earlier_iteration(kind):
    for seed in range(4):
        before = ragged(kind, 512, seed + 50)
        stopped = sum(length < LIMIT for length in before)
        found, _ = errors(ragged(kind, 512, seed), 32, (1.0, 0.02), sum(before) / stopped)
        assert 0.7 <= found <= 1.3, (kind, seed, found)


def test_counting_rollouts_is_far_off_where_all_begin_together():
    """Sixty-four slots for 128 rollouts around 400 tokens: after a tenth hardly any has ended."""
    lengths = np.clip(np.random.default_rng(1).normal(400, 60, 128), 5, LIMIT).astype(int).tolist()
    by_tokens, counted = errors(lengths, 64, (1.0, 0.0), earlier=400.0)
    assert counted > 10
    assert by_tokens < 2.5


def test_a_geometric_length_has_a_mean_in_closed_form():
    """1,000 tokens and 10 ended by themselves: a chance of 1 % a token, and a mean of (1 - e^-20) / 0.01 tokens."""
    ahead = TokensAhead(total=10_010, width=1, limit=2000, ended=10, stopped=10)
    assert ahead.rate(1000) == 0.01
    assert ahead.tokens(1000) == pytest.approx(10_000 * 100, rel=1e-3)
    assert TokensAhead(5, 1, 50).tokens(0) == pytest.approx(250)  # nothing is known: all may run to the limit


def test_the_end_is_the_end():
    ahead = TokensAhead(2, 2, 50)
    for length in (10, 20):
        ahead.add(completion(length).stop_reason)
    assert ahead.tokens(30) == 0.0


def test_pace(monkeypatch):
    now = [5.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    pace = progress.Stopwatch()
    assert pace.left(0, 10) is None
    now[0] += 4
    assert (pace.left(2, 10), pace.speed(8)) == (20.0, 2.0)
