"""What grading may use, and who grades."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Limits:
    """What grading may use, and who grades (the recipe's [verifiers])."""

    workers: int = 2
    math_seconds: float = 5.0
    code_seconds: float = 2.0
    code_memory_mb: int = 256
    minimum_isolation: str = "bubblewrap"
    sandbox_url: str | None = None
    """A SandboxFusion server that runs the programs instead of boxes on this machine."""
    custom: Mapping[str, str] = field(default_factory=dict)
    """Verifiers of the user's own in the place of ours (verifiers.custom), by domain."""
