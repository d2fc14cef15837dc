"""What judging may use, and which graders judge: the one value that recipes, commands and programs all become."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from openklear.errors import UsageError
from openklear.verifiers import packages
from openklear.verifiers.walls import LEVELS

HARNESSES = ("openklear", "official")
OFFICIAL: dict[str, Any] = {"harness": "official", "code_seconds": 6.0, "code_memory_mb": 4096}
"""What LiveCodeBench's harness gives a test: 6 wall seconds, and the memory that a note in it names (it sets none)."""


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
    packages: Sequence[str] = ()
    """Packages that programs may import beside the standard library (`verifiers.packages`)."""
    graders: Mapping[str, str] = field(default_factory=dict)
    """Graders other than ours, by domain: a function of the user's (`verifiers.custom`), or a SandboxFusion server."""
    harness: str = "openklear"
    """How programs are run and compared in boxes of this machine; "official": as LiveCodeBench's own harness does
    (`verifiers.official`), with `code_seconds` as wall seconds."""

    def __post_init__(self) -> None:
        """UsageError for limits that cannot be, and for packages that are not there.

        Graders are checked by the judge, which knows the domains.
        """
        for name in ("workers", "math_seconds", "code_seconds", "code_memory_mb"):
            if not getattr(self, name) > 0:
                raise UsageError(f"{name} is {getattr(self, name)}; it must be above 0")
        if self.minimum_isolation not in LEVELS:
            raise UsageError(f"isolation {self.minimum_isolation!r} is unknown; weakest first: {', '.join(LEVELS)}")
        if self.harness not in HARNESSES:
            raise UsageError(f"the judge {self.harness!r} is unknown; there are {' and '.join(HARNESSES)}")
        if self.harness != "openklear" and "code" in self.graders:
            raise UsageError(
                f"the judge {self.harness!r} runs programs in boxes of this machine, but {self.graders['code']} "
                "judges programs; leave one of the two out"
            )
        packages.require(self.packages)
        if self.packages and "code" in self.graders:
            raise UsageError(
                f"packages ({', '.join(self.packages)}) are for programs in boxes of this machine, but "
                f"{self.graders['code']} judges programs; leave one of the two out"
            )

    @property
    def sandbox_url(self) -> str | None:
        """The SandboxFusion server that runs the programs; None where boxes of this machine do."""
        return next(filter(is_address, self.graders.values()), None)

    @property
    def custom(self) -> dict[str, str]:
        """The user's own verifiers by domain."""
        return {domain: grader for domain, grader in self.graders.items() if not is_address(grader)}


def is_address(grader: str) -> bool:
    """Whether a grader is the address of a server."""
    return "://" in grader
