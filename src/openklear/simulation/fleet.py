"""Many GPUs: how fast they talk to each other, and who of them samples and who trains."""

from __future__ import annotations

from dataclasses import dataclass

from openklear.planner.machines import Machine

NODE = 8
"""GPUs that share a fast link."""
WITHIN = {"NVIDIA B200": 900e9, "NVIDIA H200": 450e9, "NVIDIA H100 80GB HBM3": 450e9, "NVIDIA A100-SXM4-80GB": 300e9}
"""Bytes a second that a GPU sends to its neighbours of a node: half of what the makers' datasheets give for NVLink,
which is both directions together."""
OTHER_WITHIN = 25e9
"""Of cards that talk over PCIe: 16 lanes of generation 4, less what is lost."""
BETWEEN = 50e9
"""Bytes a second that a GPU sends to another node: one adapter of 400 Gbit/s each, as in a DGX H100."""
USED = 0.7
"""Share of a link that collectives reach; ours, not measured."""


@dataclass(frozen=True, slots=True)
class Placement:
    """Who does what. Where all GPUs do both, they sample and train in turn."""

    gpus: int
    trainers: int
    """That train alone; all of `gpus` where they take turns."""
    tensor_parallel: int = 1
    """GPUs that hold one copy of a sampler's weights together."""
    staleness: int = 0
    """Updates of the policy that may lie between the start of a rollout and its use; 0 is synchronous."""

    @property
    def colocated(self) -> bool:
        """Whether the same GPUs sample and train."""
        return self.trainers == self.gpus

    @property
    def samplers(self) -> int:
        """Engines that decode."""
        free = self.gpus if self.colocated else self.gpus - self.trainers
        return free // self.tensor_parallel

    def __str__(self) -> str:
        engines = f"{self.samplers} x {self.tensor_parallel}"
        if self.colocated:
            return f"all {self.gpus} in turn, engines {engines}"
        return f"{self.trainers} train, engines {engines}"


def link(machine: Machine, gpus: int) -> float:
    """Bytes a second that each of so many GPUs sends while all of them exchange; infinite for one alone."""
    if gpus <= 1:
        return float("inf")
    within = next((speed for name, speed in WITHIN.items() if machine.name.startswith(name)), OTHER_WITHIN)
    return USED * (within if gpus <= NODE else BETWEEN)


def gather_seconds(machine: Machine, gpus: int, size: float) -> float:
    """In a ring: to have on every GPU `size` bytes that lie in equal parts on all of them. To reduce takes as long."""
    return size * (gpus - 1) / gpus / link(machine, gpus) if gpus > 1 else 0.0
