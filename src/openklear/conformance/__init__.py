"""Does a framework's loss compute what its paper says, and does its gradient depend on how a step is split?

`python -m openklear.conformance` puts the same few tokens through our losses, through the released GPPO code's formula
and through whichever of TRL and verl is installed, and prints where they depart from the published formula.
"""

from __future__ import annotations

from collections.abc import Iterable
from importlib.util import find_spec

import torch

from openklear.conformance import compare
from openklear.conformance.compare import Comparison, Framework, Report
from openklear.conformance.table import FORMATS, render

__all__ = ["FORMATS", "Comparison", "Framework", "Report", "installed", "render", "run"]


def installed() -> tuple[list[Framework], dict[str, str]]:
    """The frameworks that are installed here, and why the others are not available."""
    peers: list[Framework] = []
    missing: dict[str, str] = {}
    try:
        from openklear.conformance import trl

        peers += trl.peers()
    except ImportError as error:
        missing["TRL"] = _why("trl", error)
    try:
        from openklear.conformance import verl

        peers += verl.peers()
    except ImportError as error:
        missing["verl"] = _why("verl", error)
    return peers, missing


def _why(package: str, error: ImportError) -> str:
    """If the package is installed, the import that failed may be of another one."""
    return "it is not installed" if find_spec(package) is None else str(error)


def run(*, objectives: Iterable[str] | None = None, dtype: torch.dtype = torch.float32) -> Report:
    """Every framework installed here, in `dtype`, for these objectives or all. UsageError for an unknown objective."""
    peers, missing = installed()
    return compare.run(peers, missing=missing, objectives=objectives, dtype=dtype)
