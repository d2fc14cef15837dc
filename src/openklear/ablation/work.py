"""The stages of a study, each in a process of its own, as many at once as asked for.

The result does not depend on how many: a stage reads finished directories and writes its own. One that fails takes
what needs it out of the study, and nothing else.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from signal import Signals

from openklear.ablation.design import StageWork
from openklear.ablation.worker import ERROR, LOG, PRELOADED, Order, carry_out
from openklear.durable import files
from openklear.run.fingerprint import code_of, fingerprint


@dataclass(slots=True)
class StudyCrew:
    """Works that are done, under way, or failed."""

    works: Mapping[str, StageWork]
    """Key -> work; what a work needs stands before it."""
    root: Path
    """Each work has a directory below it."""
    done: set[str] = field(default_factory=set)
    failed: dict[str, str] = field(default_factory=dict)
    """Key -> why, and where its log lies, in the study's directory; of a work that needs a failed one, why that
    failed."""

    def directory(self, key: str) -> Path:
        """Of the stage that this work is."""
        return self.root / key / self.works[key].stage.name

    def look(self) -> None:
        """Take in what earlier attempts finished."""
        self.done |= {key for key in self.works if is_finished(self.directory(key), self.works[key])}

    def run(self, jobs: int, ended: Callable[[str], None]) -> None:
        """Do all that is not done; `ended` is told the key of each work that ran as it ends, well or not."""
        processes = multiprocessing.get_context("forkserver")
        processes.set_forkserver_preload(list(PRELOADED))
        under_way: dict[BaseProcess, str] = {}
        try:
            while (ready := self._next(set(under_way.values()), jobs - len(under_way))) or under_way:
                for key in ready:
                    if _code_changed(self.works[key]):
                        self.failed[key] = f"{self.works[key].stage.name}: {_CHANGED}"
                        ended(key)
                        continue
                    (self.root / key / ERROR).unlink(missing_ok=True)  # what an earlier attempt said
                    process: BaseProcess = processes.Process(target=carry_out, args=(self._order(key),))
                    process.start()
                    under_way[process] = key
                for process in _ended(under_way):
                    key = under_way.pop(process)
                    self._end(key, process.exitcode)
                    ended(key)
        finally:
            for process in under_way:
                process.terminate()
            for process in under_way:  # one that trains would end and save its step first
                process.join(GRACE)
                process.kill()
                process.join()

    def _next(self, busy: set[str], free: int) -> list[str]:
        """The first works, as many as there is room for, whose inputs are done."""
        found: list[str] = []
        for key, work in self.works.items():
            if key in self.done or key in self.failed or key in busy:
                continue
            reason = next((self.failed[one] for one in work.inputs.values() if one in self.failed), None)
            if reason is not None:
                self.failed[key] = reason
            elif len(found) < free and self.done.issuperset(work.inputs.values()):
                found.append(key)
        return found

    def _order(self, key: str) -> Order:
        work = self.works[key]
        return Order(work, self.root / key, {role: self.directory(one) for role, one in work.inputs.items()})

    def _end(self, key: str, code: int | None) -> None:
        if code == 0 and is_finished(self.directory(key), self.works[key]):
            self.done.add(key)
            return
        reason = how_it_ended(self.root / key / ERROR, code)
        self.failed[key] = f"{self.works[key].stage.name}: {reason} ({self.root.name}/{key}/{LOG})"


GRACE = 2.0
"""Seconds in which a stage may end by itself when its study ends."""


def _ended(processes: Iterable[BaseProcess]) -> list[BaseProcess]:
    """Those that have ended, once one has; none of none."""
    some = list(processes)
    if some:
        wait([process.sentinel for process in some])
    return [process for process in some if not process.is_alive()]


_CHANGED = "its code changed while the study was under way; run the same command again: finished stages are kept"


def _code_changed(work: StageWork) -> bool:
    """Whether the stage would run with other code than its fingerprint says."""
    hashes, _ = code_of(work.stage.module, *work.stage.also)
    return hashes != work.parts["code"]


def how_it_ended(error: Path, code: int | None) -> str:
    """Why the process that left `code` and perhaps this file did not finish its stage."""
    if error.is_file():
        return error.read_text(encoding="utf-8")
    if code is not None and code < 0:
        return f"its process was ended by {_signal(-code)}"
    return f"its process ended with {code}"


def _signal(number: int) -> str:
    """Its name; those for real time have none."""
    return Signals(number).name if number in {*Signals} else f"signal {number}"


def is_finished(directory: Path, work: StageWork) -> bool:
    """Whether the stage is there, whole, made with what it would be made with now."""
    record = files.stage_record(directory)
    return record is not None and record["state"] == "finished" and record["fingerprint"] == fingerprint(work.parts)


def seconds(crew: StudyCrew, keys: Sequence[str]) -> dict[str, float]:
    """Key -> wall seconds of these finished works."""
    records = {key: files.stage_record(crew.directory(key)) for key in keys}
    return {key: float(record["seconds"]) for key, record in records.items() if record is not None}
