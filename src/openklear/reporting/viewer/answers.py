"""What the page asks for, as plain values: the server sends them, an exported page carries them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from threading import Lock
from typing import Any

from openklear import __version__
from openklear.errors import DataError, OpenKlearError
from openklear.reporting.texts import visible
from openklear.reporting.viewer import details, places, shape
from openklear.reporting.viewer.growing import Growing, Since, Snapshot
from openklear.reporting.viewer.phases import PhaseView
from openklear.reporting.viewer.places import EVALUATION, OLDER, PHASE, Exhibit

_OLDER = "an evaluation of an older version, without its samples: evaluate again to look at it"


class Answers:
    """Of some directories. Every method may be called from several threads."""

    def __init__(self, roots: Sequence[Path]) -> None:
        self._roots = list(roots)
        self._known: dict[str, Exhibit] = {}
        self._lock = Lock()
        self._explaining = Lock()
        self._growing: dict[str, Growing] = {}
        self._phases: dict[str, PhaseView] = {}

    def exhibits(self) -> list[Exhibit]:
        """What there is now. Walks the directories."""
        found = places.find(self._roots)
        self._known = {one.id: one for one in found}
        return found

    def listed(self) -> dict[str, Any]:
        """All that there is to look at, with the scores of evaluations."""
        return {"version": __version__, "items": list(map(self._item, self.exhibits()))}

    def changes(self) -> dict[str, str]:
        """A stamp of each thing, which changes when it does."""
        return {one.id: places.stamp(one) for one in self.exhibits()}

    def evaluation(self, number: str, since: Since | None = None) -> dict[str, Any]:
        """Facts of an evaluation, without its texts; see `shape.evaluation`."""
        exhibit = self._exhibit(number, EVALUATION)
        named = {"id": number, "name": visible(exhibit.name), "model": visible(places.origin(exhibit))}
        return {**named, **shape.evaluation(self.snapshot(number), since)}

    def completion(self, number: str, problem: int, sample: int) -> dict[str, Any]:
        """One completion with its text."""
        exhibit = self._exhibit(number, EVALUATION)
        return details.completion(self.snapshot(number), exhibit.run, problem, sample)

    def explained(self, number: str, problem: int, sample: int) -> dict[str, Any]:
        """Which rule decided; one at a time, since a worker starts for it."""
        snapshot = self.snapshot(number)
        with self._explaining:
            return {"lines": details.explained(snapshot, problem, sample)}

    def phase(self, number: str) -> dict[str, Any]:
        """The iterations of a phase of RL."""
        exhibit = self._exhibit(number, PHASE)
        return {"id": number, "name": visible(exhibit.name), **self.phase_view(number).overview()}

    def snapshot(self, number: str) -> Snapshot:
        """An evaluation as it is now. DataError where there is none of that number."""
        exhibit = self._exhibit(number, EVALUATION)
        with self._lock:
            growing = self._growing.setdefault(number, Growing(exhibit.directory))
        return growing.look()

    def phase_view(self, number: str) -> PhaseView:
        """A phase of RL. DataError where there is none of that number."""
        exhibit = self._exhibit(number, PHASE)
        with self._lock:
            return self._phases.setdefault(number, PhaseView(exhibit.directory))

    def _exhibit(self, number: str, kind: str) -> Exhibit:
        known = self._known.get(number)
        if known is None or not known.directory.is_dir():
            known = next((one for one in self.exhibits() if one.id == number), None)
        if known is None or known.kind != kind:
            raise DataError("this is not there any more; look at another one")
        return known

    def _item(self, exhibit: Exhibit) -> dict[str, Any]:
        row: dict[str, Any] = {"id": exhibit.id, "kind": exhibit.kind, "name": visible(exhibit.name), "fault": ""}
        try:
            if exhibit.kind == EVALUATION:
                snapshot = self.snapshot(exhibit.id)
                scores = shape.scores(snapshot)
                faults = visible("; ".join(snapshot.faults))
                return {**row, "scores": scores, "fault": faults, "model": visible(places.origin(exhibit))}
            if exhibit.kind == PHASE:
                found = self.phase_view(exhibit.id).overview()
                last = {name: values[-1] for name, values in found["curves"].items() if values}
                return {**row, "iterations": len(found["iterations"]), "kept": len(found["kept"]), "last": last}
        except OpenKlearError as error:
            return {**row, "fault": visible(str(error))}
        return {**row, "fault": _OLDER if exhibit.kind == OLDER else ""}
