"""Where a framework departs from the published formula, and by how much."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor

from openklear import __version__
from openklear.conformance import house
from openklear.conformance.fixture import EQUAL, UNEQUAL, WHOLE, Fixture, Partition, fixtures
from openklear.errors import UsageError
from openklear.objectives.policy import CATALOG, OBJECTIVES

TOLERANCE = 1e-5
"""Relative; what is computed in fp32 stays below it, a wrong cell or denominator does not."""

Evaluate = Callable[[str, Mapping[str, Any], str, Fixture, Partition], tuple[float, Tensor]]
"""(objective, numbers, aggregation, fixture, partition) -> (loss of one optimizer step, d loss / d logprobs (B, T)).

Objective, numbers and aggregation are ours by name. The rows are split as the partition says and put together again as
the framework's trainer does it. UsageError: the framework does not have this.
"""


@dataclass(frozen=True, slots=True)
class Framework:
    """A framework in one of its settings."""

    name: str
    version: str
    losses: Mapping[str, Mapping[str, Any]]
    """Our objective -> what to set in the framework."""
    aggregations: Mapping[str, str]
    """Our aggregation -> the framework's word for it."""
    evaluate: Evaluate
    notes: Mapping[str, str] = field(default_factory=dict)
    """Objective, or else aggregation -> why it departs where it does."""
    setting: str = ""
    """What holds for all objectives."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """One framework, objective and aggregation. The numbers are relative differences; None was not measured."""

    objective: str
    framework: str
    setting: str
    aggregation: str
    value: float | None = None
    """|loss - published| over |published|, on `near`, the step in one piece."""
    gradient: float | None = None
    """Norm of the difference over the norm, in the same setting."""
    split: float | None = None
    """Norm of the change of the gradient when the same step is split into micro-batches of as many rows each."""
    unequal: float | None = None
    """The same with micro-batches of different numbers of rows, as when they are filled by tokens."""
    far: float | None = None
    """The larger of the two differences on `far`."""
    runaway: float | None = None
    """The same on `runaway`."""
    masked: float | None = None
    """How far the gradient is from that on `near` with NaN outside the mask."""
    verdict: str = "not available"
    note: str = ""


@dataclass(frozen=True, slots=True)
class Report:
    """All rows, and which frameworks could be asked."""

    rows: Sequence[Comparison]
    versions: Mapping[str, str]
    missing: Mapping[str, str]
    """Framework -> why it could not be asked."""

    @property
    def ours_agree(self) -> bool:
        """Whether our losses in fp32 agree; the released aggregation, which is ours only in name, is left out."""
        mine = [row for row in self.rows if row.framework == house.NAME and row.aggregation != "klear_released"]
        return all(row.verdict == AGREES for row in mine)


AGREES = "agrees"


def numbers_of(objective: str) -> dict[str, float]:
    """The published numbers of an objective, without those that are off."""
    return {name: value for name, value in CATALOG[objective].numbers.items() if value is not None}


def run(
    peers: Iterable[Framework],
    *,
    missing: Mapping[str, str] | None = None,
    objectives: Iterable[str] | None = None,
    dtype: torch.dtype = torch.float32,
) -> Report:
    """Ours and the peers, in `dtype`, against the published formula: our losses in float64, the step in one piece."""
    asked = list(OBJECTIVES if objectives is None else objectives)
    unknown = [name for name in asked if name not in OBJECTIVES]
    if unknown:
        raise UsageError(f"there is no objective {', '.join(unknown)}; choose from {', '.join(OBJECTIVES)}")
    everyone = [*_ours(dtype), *peers]
    rows: list[Comparison] = []
    for objective in asked:
        for peer in everyone:
            rows += _rows(peer, objective, dtype)
    missing = missing or {}
    rows += [Comparison("-", name, "-", "-", note=reason) for name, reason in missing.items()]
    return Report(rows, {peer.name: peer.version for peer in everyone}, missing)


def _ours(dtype: torch.dtype) -> list[Framework]:
    """Our losses; and the code that was released with the report, without and with the dual clip it leaves on."""
    setting, word = str(dtype).removeprefix("torch."), {"token_mean": "micro-batch"}
    ours = (house.NAME, __version__, house.LOSSES, house.AGGREGATIONS, house.evaluate, house.NOTES, setting)
    released, dual = (house.RELEASED, "as printed"), partial(house.released, dual_clip=3.0)
    note = "no gradient for A < 0 above 3, the setting it ships with"
    return [
        Framework(*ours),
        Framework(*released, {"gppo": {}}, word, house.released, house.RELEASED_NOTES),
        Framework(*released, {"gppo": {"dual clip": 3.0}}, word, dual, {"gppo": note}),
    ]


def _rows(peer: Framework, objective: str, dtype: torch.dtype) -> Iterator[Comparison]:
    """One for each aggregation that the framework has with this objective; a sequence loss is defined with one."""
    for aggregation in peer.aggregations if objective in peer.losses else ():
        if objective in house.SEQUENCE and aggregation != "sequence_mean":
            continue
        try:
            found = _differences(peer, objective, aggregation, dtype)
        except UsageError:  # the framework does not have this combination
            continue
        yield _row(peer, objective, aggregation, found)


def _row(peer: Framework, objective: str, aggregation: str, found: dict[str, float]) -> Comparison:
    options = [f"{key}={value}" for key, value in peer.losses[objective].items()]
    setting = ", ".join(filter(None, (peer.setting, *options)))
    words = " = ".join(dict.fromkeys((aggregation, peer.aggregations[aggregation])))
    verdict = _verdict(found)
    note = "" if verdict == AGREES else peer.notes.get(objective, peer.notes.get(aggregation, ""))
    return Comparison(objective, peer.name, setting, words, **found, verdict=verdict, note=note)


def _differences(peer: Framework, objective: str, aggregation: str, dtype: torch.dtype) -> dict[str, float]:
    """The numbers of a row."""
    numbers, cases = numbers_of(objective), fixtures()

    def asked(name: str, partition: Partition = WHOLE) -> tuple[float, Tensor]:
        value, gradient = peer.evaluate(objective, numbers, aggregation, cases[name].to(dtype), partition)
        return value, gradient.double()

    def from_published(name: str) -> tuple[float, float]:
        return _apart(asked(name), house.published(objective, numbers, aggregation, cases[name]))

    whole, (value, gradient) = asked("near"), from_published("near")
    return {
        "value": value,
        "gradient": gradient,
        "split": _relative(asked("near", EQUAL)[1], whole[1]),
        "unequal": _relative(asked("near", UNEQUAL)[1], whole[1]),
        "far": _largest(from_published("far")),
        "runaway": _largest(from_published("runaway")),
        "masked": _largest(_apart(asked("masked"), whole)),
    }


def _verdict(found: Mapping[str, float]) -> str:
    """What departs, in the order of the columns; far ratios only where ordinary ones agree."""
    departs = {name for name, difference in found.items() if not difference <= TOLERANCE}  # NaN departs
    formula = [name for name in ("value", "gradient") if name in departs]
    said = [f"departs: {', '.join(formula)}"] if formula else []
    if "split" in departs:
        said.append("depends on the split")
    elif "unequal" in departs:
        said.append("depends on an unequal split")
    if not formula:
        said += [f"departs at {name} ratios" for name in ("far", "runaway") if name in departs]
    if "masked" in departs:
        said.append("NaN leaks through the mask")
    return "; ".join(said) or AGREES


def _apart(found: tuple[float, Tensor], wanted: tuple[float, Tensor]) -> tuple[float, float]:
    """How far value and gradient are apart."""
    values = (torch.tensor(one, dtype=torch.float64) for one in (found[0], wanted[0]))
    return _relative(*values), _relative(found[1], wanted[1])


def _relative(found: Tensor, wanted: Tensor) -> float:
    """Norm of the difference over the norm; NaN where a number is not finite."""
    if not bool(torch.isfinite(found).all()):
        return math.nan
    return float((found.double() - wanted.double()).norm() / wanted.double().norm().clamp(min=1e-12))


def _largest(numbers: Iterable[float]) -> float:
    """The largest, where NaN is larger than every number."""
    return max(numbers, key=lambda x: math.inf if math.isnan(x) else x)
