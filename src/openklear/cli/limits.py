"""Options of the commands that judge, and the limits they come to. What judging needs is imported when it runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from openklear.cli.options import above_zero
from openklear.errors import UsageError

if TYPE_CHECKING:
    from openklear.verifiers.limits import Limits

Workers = Annotated[int | None, typer.Option(min=1, help="Processes that grade. Without it: one per core.")]
MathSeconds = Annotated[float, typer.Option("--math-seconds", callback=above_zero, help="CPU seconds of a comparison.")]
CodeSeconds = Annotated[float, typer.Option("--code-seconds", callback=above_zero, help="CPU seconds of a test.")]
Memory = Annotated[int, typer.Option("--memory-mb", min=16, help="Memory of a program, in MiB.")]
Isolation = Annotated[
    str | None,
    typer.Option(metavar="LEVEL", help="The weakest isolation that programs may run under: see openklear doctor."),
]
Sandbox = Annotated[
    str | None,
    typer.Option(metavar="URL", help="A SandboxFusion server that runs the programs instead of boxes on this machine."),
]
Packages = Annotated[
    str | None,
    typer.Option(
        metavar="NAMES", help="Packages that programs may import, by commas: numpy,sortedcontainers. Without it: none."
    ),
]
JudgeName = Annotated[
    str,
    typer.Option(
        "--judge",
        metavar="NAME",
        help="openklear, or official: as LiveCodeBench's own harness runs and compares programs, threads and all.",
    ),
]
Graders = Annotated[
    list[str] | None,
    typer.Option(
        "--grader",
        metavar="DOMAIN=NAME",
        help="A grader of your own instead of ours: math=module:function, or an entry point's name. Repeatable.",
    ),
]


def judged_by(judge: str, limits: Limits) -> Limits:
    """The limits of the judge that is named: LiveCodeBench's harness has seconds and memory of its own."""
    from openklear.evaluation.harnesses import official

    if judge not in ("openklear", "official"):
        raise UsageError(f"--judge {judge}: write openklear or official")
    return official(limits) if judge == "official" else limits


def limits_of(
    workers: int | None,
    isolation: str | None = None,
    sandbox_url: str | None = None,
    graders: Sequence[str] | None = None,
    packages: str | None = None,
    **given: Any,
) -> Limits:
    """The limits that options ask for, of `given` those that are not None; UsageError where they cannot be."""
    from openklear.verifiers.domains import require_graders
    from openklear.verifiers.limits import Limits
    from openklear.verifiers.sandbox_fusion import SandboxFusionGrader

    named = dict(_grader(text) for text in graders or ())
    require_graders(named)
    if sandbox_url is not None:
        if "code" in named:
            raise UsageError("--sandbox-url and --grader code=... both name who judges programs; leave one of them out")
        SandboxFusionGrader(sandbox_url, 1.0, 1)  # an address that cannot be one is refused here; nothing is sent
        named["code"] = sandbox_url
    if isolation is not None and "code" in named:
        raise UsageError(
            f"--isolation {isolation}: no program runs in a box of this machine, because {named['code']} judges "
            "programs; leave one of the two out"
        )
    optional: dict[str, Any] = {"workers": workers, "minimum_isolation": isolation, **given}
    asked = {name: value for name, value in optional.items() if value is not None}
    allowed = tuple(name.strip() for name in packages.split(",") if name.strip()) if packages else ()
    return Limits(**asked, graders=named, packages=allowed)


def _grader(text: str) -> tuple[str, str]:
    domain, equals, name = text.partition("=")
    if not equals or not name:
        raise UsageError(f"--grader {text}: write DOMAIN=NAME, such as math=my_module:grade")
    return domain, name
