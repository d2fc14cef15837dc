"""An evaluation's facts as the page takes them: columns of small numbers, no completion's text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

import numpy as np

from openklear.durable.files import read_json
from openklear.errors import OpenKlearError
from openklear.evaluation.scores import beside, labels
from openklear.evaluation.statistics import Estimate, Table, avg_at_k, pass_at_k, sampling_error
from openklear.evaluation.stored import Asked, Place, Sample
from openklear.reporting.texts import short, visible
from openklear.reporting.viewer.growing import Since, Snapshot
from openklear.types import Outcome, StopReason

OUTCOMES = tuple(Outcome)
TRUNCATED, UNANSWERED, STANDS, HAS_TEXT, REFUSED = 1, 2, 4, 8, 16
"""Bits of a sample's `flags`."""
SHOWN = 90
"""Characters of an extracted answer or a title in the list; a completion that is opened shows all there are."""
REASON = 200


@dataclass(slots=True)
class Texts:
    """Each text once; rows name its place."""

    values: list[str] = field(default_factory=list)
    places: dict[str, int] = field(default_factory=dict)

    def place(self, text: str | None) -> int | None:
        """Where the text stands."""
        if text is None:
            return None
        if text not in self.places:
            self.places[text] = len(self.values)
            self.values.append(text)
        return self.places[text]


def evaluation(snapshot: Snapshot, since: Since | None = None) -> dict[str, Any]:
    """What the page needs of an evaluation: its problems and settings, and the samples that it has not seen."""
    first = snapshot.since(since)
    stored = snapshot.stored
    return {
        "generation": snapshot.seen.generation,
        "from": first,
        "count": snapshot.seen.samples,
        "faults": list(map(visible, snapshot.faults)),
        "settings": settings_rows(stored.settings),
        "problems": [_problem(place, stored.asked.get(place)) for place in snapshot.problems],
        "wanted": wanted_samples(stored.settings),
        "samples": _columns(snapshot, first),
        "scores": scores(snapshot),
        "written": _written(snapshot),
    }


def settings_rows(settings: Mapping[str, Any]) -> list[tuple[str, str]]:
    """(dotted name, value) of all that a score depends on."""
    return [(visible(name), short(value, 600)) for name, value in _flat(settings, "")]


def wanted_samples(settings: Mapping[str, Any]) -> dict[str, int]:
    """How many samples each benchmark wants of a problem, where the settings say so."""
    found: dict[str, int] = {}
    benchmarks = settings.get("benchmarks")
    for one in benchmarks if isinstance(benchmarks, list) else ():
        if isinstance(one, Mapping) and isinstance(one.get("samples"), int):
            found[visible(str(one.get("name")))] = one["samples"]
    return found


def _flat(value: Any, name: str) -> Iterator[tuple[str, Any]]:
    parts: list[tuple[str, Any]] = []
    if isinstance(value, Mapping):
        parts = [(str(key), inner) for key, inner in value.items()]
    elif isinstance(value, list) and all(isinstance(one, Mapping) for one in value):
        parts = [(str(inner.get("name", number)), inner) for number, inner in enumerate(value)]
    if not parts:
        yield name, value
    for key, inner in parts:
        yield from _flat(inner, f"{name}.{key}" if name else key)


def _problem(place: Place, asked: Asked | None) -> dict[str, Any]:
    benchmark, name = place
    row: dict[str, Any] = {"benchmark": visible(benchmark), "id": visible(name)}
    if asked is None:
        return row
    title = asked.prompt[-1]["content"][: 4 * SHOWN] if asked.prompt else ""
    row |= {"domain": asked.domain, "title": short(title, SHOWN), "tests": asked.tests}
    if asked.level is not None:
        row["level"] = short(asked.level)
    if asked.reference is not None:
        row["reference"] = short(asked.reference, SHOWN)
    if asked.refused:
        row["refused"] = short(asked.refused, REASON)
    return row


def _columns(snapshot: Snapshot, first: int) -> dict[str, Any]:
    places = {place: number for number, place in enumerate(snapshot.problems)}
    texts = Texts()
    new = snapshot.stored.samples[first:]
    reasons = [texts.place(short(one.reason, REASON)) for one in new]
    answers = [texts.place(None if one.extracted is None else short(one.extracted, SHOWN)) for one in new]
    return {
        "problem": [places[one.place] for one in new],
        "sample": [one.sample for one in new],
        "outcome": [OUTCOMES.index(one.outcome) for one in new],
        "flags": list(map(flags, new)),
        "tokens": [one.tokens for one in new],
        "reason": reasons,
        "answer": answers,
        "texts": texts.values,
    }


def flags(sample: Sample) -> int:
    """Its bits."""
    told = {
        TRUNCATED: sample.truncated,
        UNANSWERED: sample.unanswered,
        STANDS: sample.stands,
        HAS_TEXT: sample.start is not None,
        REFUSED: sample.stop_reason is StopReason.ERROR,
    }
    return sum(bit for bit, holds in told.items() if holds)


def scores(snapshot: Snapshot) -> list[dict[str, Any]]:
    """avg@k and pass@k of each benchmark and domain from the samples that are there, and what stands beside them.

    Problems that could not be asked count as wrong, those that nothing has been sampled of yet do not count.
    """
    series: dict[tuple[str, str], dict[Place, dict[int, Sample]]] = {}
    for place, asked in snapshot.stored.asked.items():
        series.setdefault((place[0], asked.domain), {})[place] = {}
    for one in snapshot.stored.samples:
        series.setdefault((one.benchmark, one.domain), {}).setdefault(one.place, {})[one.sample] = one
    refused = {place for place, asked in snapshot.stored.asked.items() if asked.refused}
    wanted = wanted_samples(snapshot.stored.settings)
    rows = [_score(name, problems, refused, wanted.get(name[0])) for name, problems in series.items()]
    names = labels(rows)
    return [{**row, "benchmark": visible(row["benchmark"]), "name": visible(names[_series(row)])} for row in rows]


def _series(row: Mapping[str, Any]) -> tuple[str, str]:
    return row["benchmark"], row["domain"]


def _score(
    name: tuple[str, str], problems: Mapping[Place, Mapping[int, Sample]], refused: set[Place], wanted: int | None
) -> dict[str, Any]:
    counted = {place: list(samples.values()) for place, samples in problems.items() if samples or place in refused}
    k = max(map(len, counted.values()), default=0)
    table = np.full((len(counted), k), np.nan)
    for row, (place, mine) in enumerate(counted.items()):
        values = [np.nan if one.outcome is Outcome.UNSCORABLE else float(one.correct) for one in mine]
        table[row, : len(values)] = values
        if not mine and place in refused:
            table[row] = 0.0
    every = list(chain.from_iterable(counted.values()))
    return {
        "benchmark": name[0],
        "domain": name[1],
        "problems": len(counted),
        "of": len(problems),
        "refused": len(refused & problems.keys()),
        "k": k,
        "samples": len(every),
        "wanted": wanted and wanted * (len(problems) - len(refused & problems.keys())),
        "avg": _numbers(avg_at_k(table)) if k else None,
        "error": _number(sampling_error(table).error) if k else None,
        "pass": _numbers(pass_at_k(table, k)) if k > 1 else None,
        "bounds": _bounds(table) if k else None,
        **beside(every),
    }


def _bounds(table: Table) -> list[float]:
    """The mean if all that is unscorable were wrong, and if it were right."""
    return [float(np.nan_to_num(table, nan=value).mean()) for value in (0.0, 1.0)]


def _number(value: float) -> float | None:
    return None if np.isnan(value) else value


def _numbers(estimate: Estimate) -> list[float | None] | None:
    """[value, low, high, problems]; None where there is no number."""
    if np.isnan(estimate.value):
        return None
    return [estimate.value, estimate.low, estimate.high, estimate.problems]


def _written(snapshot: Snapshot) -> list[list[str]]:
    """The rows over all levels that scores.json has; [] before the evaluation's end, and where it cannot be read."""
    path = snapshot.stored.directory / "scores.json"
    if not path.is_file():
        return []
    try:
        found = read_json(path)
        rows = found["scores"] if isinstance(found, dict) else found
        return [_written_row(row) for row in rows if row.get("level") is None and row.get("value") is not None]
    except (OpenKlearError, KeyError, TypeError, AttributeError):  # its form is another one's; the samples say the rest
        return []


def _written_row(row: Mapping[str, Any]) -> list[str]:
    metric = f"{row['metric']}@{row['k']}" if row.get("k") is not None else str(row["metric"])
    numbers = [f"{100 * row[name]:.1f}" if row.get(name) is not None else "" for name in ("value", "low", "high")]
    return [short(row["benchmark"]), short(row.get("domain", "")), short(metric), *numbers]
