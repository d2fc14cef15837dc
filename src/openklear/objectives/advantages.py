"""Advantages of a group's rollouts from their rewards."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray


def group_advantages(rewards: ArrayLike, *, std_floor: float = 0.0) -> NDArray[np.float64]:
    """A_j = (R_j - mean R) / max(std R, std_floor), population std (report, Eq. 4); (M,) -> (M,), float64.

    Rewards that are all alike, and a group of one, give zeros. Pass scorable rollouts only: unscorable ones leave their
    group before its mean is taken, and their NaN rewards are refused here (ValueError).
    """
    values = np.asarray(rewards, dtype=np.float64)
    if values.ndim != 1:
        raise ValueError(f"rewards must be (M,), one group; got {values.shape}")
    if not np.isfinite(values).all():
        raise ValueError(f"rewards must be finite; unscorable rollouts leave their group first: {values.tolist()}")
    if not values.size or values.min() == values.max():  # asked of the values: a computed std of equals may be 1e-17
        return np.zeros_like(values)
    return np.asarray((values - values.mean()) / max(float(values.std()), std_floor))
