"""Counter-based randomness (house rule 9): what is drawn depends on what it is for, never on when it is drawn.

A rollout's key is a stable hash of what names the rollout; the uniform of a token is a function of that key and of the
token's position in the completion. There is no generator with a state, so the order, the batch and the number of
slots change nothing.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

# Constants of splitmix64 (Steele, Lea & Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014, fig. 17;
# the mixer is Stafford's variant 13).
_GAMMA = np.uint64(0x9E3779B97F4A7C15)
_MULTIPLIER_1 = np.uint64(0xBF58476D1CE4E5B9)
_MULTIPLIER_2 = np.uint64(0x94D049BB133111EB)
_UNIT = 2.0**-53


def rollout_key(
    run_seed: int, purpose: str, iteration: int, content_hash: str, sample_index: int, copy: int = 0
) -> int:
    """The 64-bit key of one rollout: blake2b of the canonical JSON of what names it.

    `purpose` separates uses with the same numbers ("train", "validation", ...); `content_hash` is the problem's; `copy`
    tells problems with the same prompt apart that are drawn for together (`copies`), and is written where it is not 0.
    """
    numbers = [sample_index, copy] if copy else [sample_index]
    name = json.dumps([run_seed, purpose, iteration, content_hash, *numbers], separators=(",", ":"))
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "little")


def copies(content_hashes: Iterable[str]) -> list[int]:
    """How often each hash stood there before: 0 for the first problem of a prompt, 1 for the next one, and so on."""
    seen: Counter[str] = Counter()
    found = []
    for name in content_hashes:
        found.append(seen[name])
        seen[name] += 1
    return found


def _mix(state: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The finaliser of splitmix64: a bijection of 64-bit words, elementwise."""
    state = (state ^ (state >> np.uint64(30))) * _MULTIPLIER_1
    state = (state ^ (state >> np.uint64(27))) * _MULTIPLIER_2
    return state ^ (state >> np.uint64(31))


def uniforms(keys: NDArray[np.uint64], positions: NDArray[np.int64]) -> NDArray[np.float64]:
    """One uniform in [0, 1) with 53 bits for each pair of a key (N,) and a position (N,) >= 0: float64 (N,).

    mix(key + mix((position + 1) * gamma)). The position is mixed before it meets the key, so that two keys which
    differ by a multiple of gamma do not share a shifted sequence.
    """
    if keys.dtype != np.uint64 or keys.shape != positions.shape:
        raise ValueError(f"keys must be uint64 of the positions' shape: {keys.dtype} {keys.shape}, {positions.shape}")
    # Arithmetic of uint64 arrays wraps modulo 2**64 without a warning, which is what is meant here.
    counters = _mix((positions.astype(np.uint64) + np.uint64(1)) * _GAMMA)
    return (_mix(keys + counters) >> np.uint64(11)).astype(np.float64) * _UNIT
