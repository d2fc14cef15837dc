"""Counter-based seeds against a slow version in plain Python integers."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from openklear.rollout.seeds import copies, rollout_key, uniforms

WORD = 2**64


def slow_mix(z: int) -> int:
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) % WORD
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) % WORD
    return z ^ (z >> 31)


def slow_uniform(key: int, position: int) -> float:
    counter = slow_mix((position + 1) * 0x9E3779B97F4A7C15 % WORD)
    return (slow_mix((key + counter) % WORD) >> 11) / 2**53


def test_mixer_is_the_published_splitmix64():
    # First outputs of splitmix64 seeded with 1234567, as printed with the reference C code.
    state, outputs = 1234567, []
    for _ in range(3):
        state = (state + 0x9E3779B97F4A7C15) % WORD
        outputs.append(slow_mix(state))
    assert outputs == [6457827717110365317, 3203168211198807973, 9817491932198370423]


def test_uniforms_equal_the_slow_version_bit_for_bit():
    pairs = [(k, p) for k in (0, 1, 2**63, 2**64 - 1, 0x0123456789ABCDEF) for p in (0, 1, 2, 63, 10**6)]
    fast = uniforms(np.array([k for k, _ in pairs], np.uint64), np.array([p for _, p in pairs], np.int64))
    assert fast.dtype == np.float64
    assert fast.tolist() == [slow_uniform(k, p) for k, p in pairs]


def test_fixed_vectors():
    got = uniforms(np.array([0, 1, 42], np.uint64), np.array([0, 0, 7], np.int64))
    assert got.tolist() == FIXED


FIXED = [0.28176129772258496, 0.9160981669305095, 0.14734349408720393]


def test_rollout_key_is_blake2b_of_the_canonical_tuple():
    name = b'[7,"train",3,"00ff",5]'
    assert rollout_key(7, "train", 3, "00ff", 5) == int.from_bytes(
        hashlib.blake2b(name, digest_size=8).digest(), "little"
    )


def test_every_part_of_the_name_changes_the_key():
    base = (7, "train", 3, "00ff", 5)
    others = [
        (8, *base[1:]),
        (7, "validation", 3, "00ff", 5),
        (7, "train", 4, "00ff", 5),
        (7, "train", 3, "00fe", 5),
        (7, "train", 3, "00ff", 6),
    ]
    assert len({rollout_key(*name) for name in (base, *others)}) == 6


def test_a_copy_is_written_into_the_name_and_the_first_has_the_name_it_always_had():
    name = b'[7,"train",3,"00ff",5,2]'
    assert rollout_key(7, "train", 3, "00ff", 5, 2) == int.from_bytes(
        hashlib.blake2b(name, digest_size=8).digest(), "little"
    )
    assert rollout_key(7, "train", 3, "00ff", 5, 0) == rollout_key(7, "train", 3, "00ff", 5)


def test_copies_are_counted_by_prompt():
    assert copies("abacab") == [0, 0, 1, 0, 2, 1]
    assert copies([]) == []


def test_order_and_batch_change_nothing():
    keys = np.random.default_rng(0).integers(0, 2**64, 200, dtype=np.uint64)
    positions = np.arange(200, dtype=np.int64) % 17
    whole = uniforms(keys, positions)
    order = np.random.default_rng(1).permutation(200)
    assert np.array_equal(uniforms(keys[order], positions[order]), whole[order])
    assert [float(uniforms(keys[i : i + 1], positions[i : i + 1])[0]) for i in range(200)] == whole.tolist()


@pytest.mark.parametrize("along", ["keys", "positions"])
def test_uniformity(along: str):
    n, bins = 100_000, 100
    counter = np.arange(n)
    if along == "keys":  # consecutive keys, one position: the hardest case for a weak mixer
        sample = uniforms(counter.astype(np.uint64), np.zeros(n, np.int64))
    else:
        sample = uniforms(np.full(n, 12345, np.uint64), counter.astype(np.int64))
    assert sample.min() >= 0.0
    assert sample.max() < 1.0
    observed = np.bincount((sample * bins).astype(int), minlength=bins)
    chi_square = float(((observed - n / bins) ** 2 / (n / bins)).sum())
    assert 60.0 < chi_square < 150.0  # 99 degrees of freedom: mean 99, standard deviation 14
    assert abs(float(np.corrcoef(sample[:-1], sample[1:])[0, 1])) < 0.013  # 4 standard errors


def test_neighbouring_positions_do_not_share_a_shifted_sequence():
    gamma = 0x9E3779B97F4A7C15
    steps = np.arange(50, dtype=np.int64)
    one = uniforms(np.full(50, 5, np.uint64), steps)
    shifted = uniforms(np.full(50, (5 + gamma) % WORD, np.uint64), steps)
    assert not set(one.tolist()) & set(shifted.tolist())


def test_wrong_types_are_refused():
    with pytest.raises(ValueError, match="uint64"):
        uniforms(np.zeros(3, np.int64), np.zeros(3, np.int64))
    with pytest.raises(ValueError, match="shape"):
        uniforms(np.zeros(3, np.uint64), np.zeros(2, np.int64))
