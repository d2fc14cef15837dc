"""How well programs are walled in here: said plainly, and checked against what the recipe demands."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from openklear.errors import VerifierError

Level = Literal["rlimits", "namespaces"]
LEVELS: tuple[Level, ...] = ("rlimits", "namespaces")
"""Weakest first."""

UNSHARE = (
    *("unshare", "--user", "--map-root-user", "--net", "--pid", "--ipc", "--uts", "--mount"),
    *("--fork", "--mount-proc", "--kill-child"),
)
"""Gives a worker user, network, process, IPC, host name and mount namespaces of its own."""

_COMMON = (
    "Each test runs in a process of its own with limits on CPU time, wall time, address space, file size, open files "
    "and output; the expected outputs are not in it."
)
_DESCRIPTIONS: dict[Level, str] = {
    "namespaces": (
        f"namespaces: {_COMMON} It sees its own processes only, no network, and a read-only file system of the "
        "system's programs and libraries and this Python, with 64 MiB of /tmp that is emptied after it; it has no "
        "capabilities, cannot gain any, and cannot make namespaces; all of its processes are killed after it. "
        "Not given: a system call filter (the kernel's whole surface is open), a user id of its own, exact memory "
        "accounting over several processes (looked at 50 times a second)."
    ),
    "rlimits": (
        f"rlimits: {_COMMON} Nothing else is walled off: a program can read and write whatever this user can, reach "
        "the network, signal this user's processes, and leave processes behind if it tries to. Use it for programs "
        "of models you trust, or inside a container or virtual machine of its own."
    ),
}


@dataclass(frozen=True, slots=True)
class Isolation:
    """What programs are kept from on this host."""

    level: Level
    description: str


def describe(level: Level) -> Isolation:
    """The isolation of a level, in words."""
    return Isolation(level, _DESCRIPTIONS[level])


def demand(level: Level, minimum: str, why_not: str) -> None:
    """VerifierError where `level` is weaker than `minimum`; `why_not` says why no more was to be had."""
    if LEVELS.index(level) < [str(known) for known in LEVELS].index(minimum):
        raise VerifierError(
            f"programs would run under {level!r} only, but minimum_isolation is {minimum!r} ({why_not}). "
            "Run on Linux with util-linux's `unshare` and unprivileged user namespaces allowed "
            "(sysctl kernel.unprivileged_userns_clone=1, or kernel.apparmor_restrict_unprivileged_userns=0), or set "
            '[verifiers] minimum_isolation = "rlimits" where the programs are trusted or this machine is expendable.'
        )
