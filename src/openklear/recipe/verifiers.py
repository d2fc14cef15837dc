"""The table [verifiers]: who grades, and within which limits."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field

from openklear.recipe.numbers import Seconds
from openklear.recipe.section import Broken, Section
from openklear.verifiers.domains import grader_faults
from openklear.verifiers.limits import Limits
from openklear.verifiers.packages import faults as package_faults


class Verifiers(Section):
    """Who grades, and within which limits."""

    workers: Annotated[int, Field(gt=0, le=4096)] = Field(2, description="grader processes")
    math_seconds: Seconds = Field(5.0, description="CPU seconds to compare two answers")
    code_seconds: Seconds = Field(2.0, description="CPU seconds per test of a program")
    code_memory_mb: Annotated[int, Field(gt=0, le=16 * 2**20)] = Field(256, description="memory of a program in MiB")
    minimum_isolation: Literal["rlimits", "bubblewrap"] = Field(
        "bubblewrap", description="refuse to run programs if less isolation than this is available"
    )
    packages: tuple[str, ...] = Field((), description="packages that programs may import: numpy, sortedcontainers")
    graders: dict[str, str] = Field(
        {},
        description="graders of your own by domain: module:function or the name of an entry point; for code also the "
        "http address of a SandboxFusion server",
    )

    @property
    def limits(self) -> Limits:
        """The same for the judge."""
        return Limits(**dict(self))

    def broken_rules(self) -> Iterator[Broken]:
        """Graders for domains and packages that there are; and no demand on a box that no program runs in."""
        for domain, fault in grader_faults(self.graders):
            yield Broken(("graders", domain), fault)
        if "code" in self.graders and self.minimum_isolation != type(self).model_fields["minimum_isolation"].default:
            yield Broken(("minimum_isolation",), _NO_BOX)
        if "code" in self.graders and self.packages:
            yield Broken(("packages",), _NO_BOX)
        for fault in package_faults(self.packages):
            yield Broken(("packages",), fault)


_NO_BOX = "programs run in no box of this machine, because graders.code says otherwise; leave one of the two out"
