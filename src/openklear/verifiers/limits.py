"""What judging may use, and which graders judge: the one value that recipes, commands and programs all become."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from openklear.errors import UsageError
from openklear.types import DOMAINS, Domain
from openklear.verifiers.walls import LEVELS


def cores() -> int:
    """Processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@dataclass(frozen=True, slots=True)
class Limits:
    """What judging may use, and which graders judge. Seconds are CPU seconds: of a comparison, of a program's test."""

    workers: int = field(default_factory=cores)
    math_seconds: float = 5.0
    code_seconds: float = 2.0
    code_memory_mb: int = 256
    minimum_isolation: str = "bubblewrap"
    """The weakest isolation that programs may run under (`verifiers.walls`)."""
    graders: Mapping[str, str] = field(default_factory=dict)
    """Graders other than ours, by domain: a function of the user's (`verifiers.custom`), or a SandboxFusion server."""

    def __post_init__(self) -> None:
        """UsageError for impossible limits, and for graders of unknown domains."""
        for name in ("workers", "math_seconds", "code_seconds", "code_memory_mb"):
            if not getattr(self, name) > 0:
                raise UsageError(f"{name} is {getattr(self, name)}; it must be above 0")
        if self.minimum_isolation not in LEVELS:
            raise UsageError(f"isolation {self.minimum_isolation!r} is unknown; weakest first: {', '.join(LEVELS)}")
        for domain, fault in grader_faults(self.graders):
            raise UsageError(f"grader {domain}={self.graders[domain]}: {fault}")

    @property
    def sandbox_url(self) -> str | None:
        """The SandboxFusion server that runs the programs; None where boxes of this machine do."""
        code = self.graders.get("code", "")
        return code if _is_address(code) else None

    @property
    def custom(self) -> dict[Domain, str]:
        """The user's own verifiers by domain."""
        return {d: self.graders[d] for d in DOMAINS if d in self.graders and not _is_address(self.graders[d])}


def grader_faults(graders: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """(domain, what is wrong) of graders for unknown domains, and of servers that would have nothing to run."""
    for domain, grader in graders.items():
        if domain not in DOMAINS:
            near = [name for name in DOMAINS if domain[:1] == name[:1]]
            hint = f"did you mean {near[0]}? " if near else ""
            yield domain, f"there is no domain {domain}; {hint}its keys are {', '.join(DOMAINS)}"
        elif domain == "math" and _is_address(grader):
            yield (
                domain,
                "a server runs programs, which mathematics has none of; name a module:function or an entry point",
            )


def _is_address(grader: str) -> bool:
    return "://" in grader
