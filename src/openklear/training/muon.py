"""torch's Muon, with the matrices of one shape moved together.

A small model has dozens of matrices of few shapes, and torch orthogonalises each with fifteen products of its own: the
products are small, and calling them is most of their time. One batched product of them all is the same arithmetic
(docs/decisions/0009-muon.md has the measurement).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor


class BatchedMuon(torch.optim.Muon):
    """As `torch.optim.Muon` in all but speed: state, groups, and the original scale sqrt(max(1, rows / columns))."""

    kind = "Muon"
    """What checkpoints call it: the moments are those of torch's."""

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Move every matrix that has a gradient. `closure` is not for this optimizer: ValueError."""
        if closure is not None:
            raise ValueError("BatchedMuon computes no loss; call it without a closure")
        for group in self.param_groups:
            by_shape: dict[tuple[torch.Size, torch.device], list[Tensor]] = {}
            for matrix in group["params"]:
                if matrix.grad is not None:
                    by_shape.setdefault((matrix.shape, matrix.device), []).append(matrix)
            for matrices in by_shape.values():
                self._move(matrices, group)

    def _move(self, matrices: list[Tensor], group: dict[str, Any]) -> None:
        momentum, rate = group["momentum"], float(group["lr"])
        updates = [self._update(matrix, momentum, nesterov=group["nesterov"]) for matrix in matrices]
        straight = orthogonal(torch.stack(updates), group["ns_coefficients"], group["ns_steps"], group["eps"])
        rows, columns = matrices[0].shape
        scale = max(1.0, rows / columns) ** 0.5
        torch._foreach_mul_(matrices, 1 - rate * group["weight_decay"])
        for matrix, update in zip(matrices, straight, strict=True):
            matrix.add_(update, alpha=-rate * scale)

    def _update(self, matrix: Tensor, momentum: float, *, nesterov: bool) -> Tensor:
        """(rows, columns) the gradient with its momentum, which is moved on."""
        gradient = matrix.grad
        assert gradient is not None, "only matrices with a gradient are moved"
        state = self.state[matrix]
        if "momentum_buffer" not in state:
            state["momentum_buffer"] = torch.zeros_like(gradient, memory_format=torch.preserve_format)
        buffer = state["momentum_buffer"]
        buffer.lerp_(gradient, 1 - momentum)
        return gradient.lerp(buffer, momentum) if nesterov else buffer


def orthogonal(matrices: Tensor, coefficients: tuple[float, float, float], steps: int, eps: float) -> Tensor:
    """(B, m, n) -> bfloat16 (B, m, n): each matrix nearly with its singular values at 1, by the quintic iteration of
    Newton and Schulz (Jordan et al. 2024) as torch has it."""
    a, b, c = coefficients
    tall = matrices.size(-2) > matrices.size(-1)
    found = matrices.bfloat16()
    found = found.mT if tall else found
    found = found / found.norm(dim=(-2, -1), keepdim=True).clamp(min=eps)
    for _ in range(steps):
        gram = found @ found.mT
        found = torch.baddbmm(found, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), found, beta=a)
    return found.mT if tall else found
