"""Packages beside the standard library that programs may import, where a recipe or a command allows them by name.

They are those of this Python's environment. A box sees their own directories and nothing beside them, read-only. What
is allowed, with its version, is part of what a verdict depends on.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from difflib import get_close_matches
from importlib import metadata, util
from pathlib import Path

from openklear.errors import UsageError

PACKAGES: dict[str, tuple[str, ...]] = {
    "numpy": ("numpy", "numpy.libs"),
    "sortedcontainers": ("sortedcontainers",),
}
"""By name, as pip knows them and as they are imported: their directories, of which all but the first may be missing."""


def faults(names: Iterable[str]) -> Iterator[str]:
    """What is wrong with names of packages: unknown, twice, or not installed."""
    seen: set[str] = set()
    for name in names:
        if name not in PACKAGES:
            near = get_close_matches(name, PACKAGES, 1)
            hint = f"did you mean {near[0]}? " if near else ""
            yield f"the package {name} cannot be allowed; {hint}those that can are {', '.join(PACKAGES)}"
        elif name in seen:
            yield f"the package {name} is listed twice; name each once"
        elif _directory(name) is None:
            yield f"the package {name} is not installed for {sys.executable}; run: pip install {name}"
        seen.add(name)


def require(names: Iterable[str]) -> None:
    """UsageError for the first of `faults`."""
    for fault in faults(names):
        raise UsageError(fault)


def directories(names: Sequence[str]) -> dict[str, str]:
    """Real paths of all directories of the packages, by the names they must have beside one another."""
    found: dict[str, str] = {}
    for name in names:
        directory = _directory(name)
        if directory is None:
            raise UsageError(f"the package {name} is not installed for {sys.executable}; run: pip install {name}")
        beside = [directory.parent / part for part in PACKAGES[name]]
        found |= {path.name: str(path.resolve()) for path in beside if path.is_dir()}
    return found


def versions(names: Iterable[str]) -> list[str]:
    """The packages with their versions, in an order of their own: `numpy 2.4.6`."""
    return [f"{name} {metadata.version(name)}" for name in sorted(names)]


def _directory(name: str) -> Path | None:
    """Where a package is installed; None where it is not. Imports nothing."""
    spec = util.find_spec(name)
    return None if spec is None or spec.origin is None else Path(spec.origin).parent
