"""Judges attacks one by one and looks around after each: verdicts, processes, files, and an innocent program."""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

from tests.attacks.corpus import INNOCENT, MARK, SECRET, SUM_TESTS, Attack

from openklear.types import Verdict
from openklear.verifiers import cgroup
from openklear.verifiers.code import CodeGrader
from openklear.verifiers.walls import Level
from openklear.verifiers.workers import kernel

SECONDS, MEMORY_MB = 0.4, 256
SETTLING_SECONDS = 5.0
PATIENT_SECONDS = 10 * SECONDS
"""For an attack that must end otherwise than by its time, where that was up first: to fill the memory takes more than
half of `SECONDS` on a slow host, and all of it where others compute. Without the wall it does not end as it must."""
_PLACES = ("/", "/usr", "/usr/lib", "/usr/bin", "/etc", "/dev", "/var/tmp", "/root", "/home", "/tmp", "/dev/shm")
_MARKS = (MARK, "PWNED", "env2")


class Arena:
    """A judge at one level of isolation, with one box. Its complaints are all that went wrong."""

    def __init__(self, level: Level, scratch: Path, packages: Sequence[str] = ()):
        """`scratch`: an empty directory, which becomes this process's directory for temporary files.

        `packages` are allowed to programs.
        """
        os.environ[SECRET] = "must not be seen"
        tempfile.tempdir = str(scratch)
        kernel.become_subreaper()  # whatever escapes from a box and is left by its parents becomes ours
        self.level, self._scratch, self._before = level, scratch, descendants()
        self._packages = packages
        self.grader = self._grader(SECONDS)
        self.complaints: list[str] = []
        self.settling = SETTLING_SECONDS
        self.judged = 0
        for program in INNOCENT:
            self._judge(program)
        self._idle = self._settled(None)

    def __enter__(self) -> Arena:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def run(self, attack: Attack, innocent: Attack = INNOCENT[0]) -> None:
        """Judges an attack, what it has prepared, and an innocent program; complains about what should not be."""
        self._judge(attack)
        if attack.then:
            grade = self.grader.grade(attack.then, SUM_TESTS)
            self._expect(grade.outcome == "incorrect" and "wrong output" in grade.reason, attack.name, f"next: {grade}")
        left = self._settled(self._idle)
        said = "{} processes of the judge below its boxes and {} elsewhere, {} and {} when idle"
        self._expect(left == self._idle, attack.name, said.format(*left, *self._idle))
        self._judge(innocent, f" (after {attack.name})")
        self._expect(not (found := marks()), attack.name, f"left on the host: {found}")

    def _grader(self, seconds: float) -> CodeGrader:
        return CodeGrader(1, seconds, MEMORY_MB, self.level, self.level, self._packages)

    def _judge(self, attack: Attack, where: str = "") -> None:
        name = attack.name + where
        grade = self._graded(self.grader, attack, name, SECONDS)
        if "timeout" in grade.reason and attack.reason not in grade.reason:
            with contextlib.closing(self._grader(PATIENT_SECONDS)) as patient:
                grade = self._graded(patient, attack, name, PATIENT_SECONDS)
        self.judged += 1
        self._expect(_agrees(grade, attack), name, f"must be {attack.expected} {attack.reason!r}, is {grade}")

    def _graded(self, grader: CodeGrader, attack: Attack, name: str, limit: float) -> Verdict:
        started = time.monotonic()
        grade = grader.grade(attack.program, attack.tests)  # type: ignore[arg-type]
        seconds = time.monotonic() - started
        self._expect(seconds < 10.0 + len(attack.tests) * (2 * limit + 2.0), name, f"took {seconds:.1f} s")
        return grade

    def _expect(self, holds: bool, name: str, complaint: str) -> None:
        if not holds:
            self.complaints.append(f"{name}: {complaint}")

    def _settled(self, wanted: tuple[int, int] | None) -> tuple[int, int]:
        """The number of the judge's processes in and below its boxes, and elsewhere: once both have been the same for
        a while, and are `wanted` or time is up.

        A box has one or two fewer for some milliseconds after each program. Counted together with them, a process
        that is left would look like the one that is missing; and one look is not enough.
        """
        patience, last, same = time.monotonic() + self.settling, (-1, -1), 0
        looks = 20 if wanted is None else 4
        while time.monotonic() < patience and (same < looks or wanted not in (None, last)):
            time.sleep(0.005)
            self._reap()
            mine, boxed = descendants() - self._before, self._boxes()
            below = boxed.union(*map(descendants, boxed)) & mine
            found = len(below), len(mine - below)
            last, same = found, same + 1 if found == last else 0
        return last

    def _boxes(self) -> set[int]:
        return {*self.grader.pool.pids(), *self.grader._testers.pids()}

    def _reap(self) -> None:
        """Reaps dead processes that became ours when a killed box left them; the box itself is its pool's to reap."""
        for pid in descendants() - self._before - self._boxes():
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)

    def close(self) -> None:
        """Ends the judge, and complains about what it leaves."""
        self.grader.close()
        deadline = time.monotonic() + SETTLING_SECONDS
        while (left := descendants() - self._before) and time.monotonic() < deadline:
            time.sleep(0.01)
            self._reap()
        self._expect(not left, "close", f"processes are left: {[_name(pid) for pid in left]}")
        self._expect(not (files := os.listdir(self._scratch)), "close", f"temporary files are left: {files}")
        groups = [path for place in cgroup.directories() for path in place.glob(f"openklear-{os.getpid()}-*")]
        self._expect(not groups, "close", f"cgroups are left: {groups}")
        kernel.become_subreaper(False)


def _agrees(grade: Verdict, attack: Attack) -> bool:
    return (
        (attack.expected == "any" or grade.outcome == attack.expected)
        and grade.outcome != "unscorable"
        and attack.reason in grade.reason
        and attack.passed in (None, grade.passed)
    )


def descendants(ancestor: int | None = None) -> set[int]:
    """All processes below this one, or another; zombies too."""
    children: dict[int, list[int]] = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open(f"/proc/{name}/stat", "rb") as file:
                    parent = int(file.read().rpartition(b")")[2].split()[1])
            except OSError:  # gone meanwhile
                continue
            children.setdefault(parent, []).append(int(name))
    found: set[int] = set()
    waiting = [ancestor or os.getpid()]
    while waiting:
        below = children.get(waiting.pop(), [])
        found.update(below)
        waiting += below
    return found


def marks() -> list[str]:
    """Files that attacks left where only the host's own may be."""
    found = []
    for place in {*_PLACES, sys.prefix, sys.base_prefix, os.path.dirname(os.__file__)}:
        try:
            found += [f"{place}/{name}" for name in os.listdir(place) if name.startswith(_MARKS)]
        except OSError:  # not there, or not ours to see
            continue
    return found


def _name(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")[:100]
    except OSError:
        return str(pid)
