"""A recipe's plan on a machine: what it will hold, how long it will take, what that costs, and whether it fits."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from openklear.planner.amounts import Amounts
from openklear.planner.auto import Sizes, usable
from openklear.planner.costs import EFFICIENCY, Expected, estimate
from openklear.planner.fit import Change, fits, nearest_change, smallest_gpu, stage_sizes
from openklear.planner.footprints import footprints
from openklear.planner.machines import Machine
from openklear.planner.memory import Footprint
from openklear.planner.parts import TRAINED, Part, parts
from openklear.planner.shape import ModelShape
from openklear.recipe.engine import gpus_of
from openklear.recipe.schema import Recipe


@dataclass(frozen=True, slots=True)
class Timed:
    """A part of a stage with its seconds."""

    part: Part
    time: Expected

    @property
    def seconds(self) -> float:
        """Expected, graders included."""
        return self.time.expected + self.part.graders

    @property
    def bound(self) -> str:
        """What takes most of it."""
        return "graders" if self.part.graders > self.time.expected else self.time.bound


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything that `openklear plan` says."""

    recipe: Recipe
    shape: ModelShape
    machine: Machine
    amounts: Amounts
    sizes: Mapping[str, Sizes]
    """Of each stage; those of the evaluations are one."""
    memory: Sequence[tuple[str, Footprint]]
    times: Sequence[Timed]
    fits: bool
    change: Change | None
    """Where it does not fit."""
    bigger: str | None
    """The same."""

    @property
    def peak(self) -> int:
        """Bytes of the stage that holds most."""
        return max(footprint.peak for _, footprint in self.memory)

    @property
    def floor(self) -> float:
        """Seconds of computing that no program can go below."""
        return sum(one.time.floor for one in self.times)

    @property
    def seconds(self) -> float:
        """Expected seconds of computing and grading."""
        return sum(one.seconds for one in self.times)

    def verdict(self) -> list[str]:
        """Whether it fits, and if not, what would."""
        room = size(usable(self.machine))
        holds = f"{self.machine.name} has {size(self.machine.memory_bytes)}, of which {room} are planned with"
        if self.fits:
            return [f"fits: at most {size(self.peak)}; {holds}"]
        lines = [f"does NOT fit: {size(self.peak)} at most; {holds}"]
        if self.change is not None:
            lines.append(f"  nearest change that fits ({size(self.change.peak)}): {self.change}")
        else:
            lines.append("  no change of sizes, optimizer, adapters or lengths makes it fit; take a smaller model")
        return lines + ([f"  as it is, it fits --device {self.bigger}"] if self.bigger is not None else [])

    def lines(self, price: float | None = None) -> list[str]:
        """One screen."""
        told = [self._auto(), "", *self._memory(), "", *self._times(), ""]
        hours = self.seconds / 3600
        whole = f"in all {duration(self.seconds)} expected, {duration(self.floor)} at the least"
        cost = "" if price is None else f"; {hours * price:,.2f} at {price:g} an hour"
        return [*told, f"{whole} (loading, data and the report are not counted){cost}", *self.verdict(), *self._notes()]

    def short(self) -> list[str]:
        """For a dry run: memory and time of each stage, and whether it fits."""
        told = [self._auto()]
        for stage, found in self.memory:
            mine = [one for one in self.times if one.part.stage.startswith(stage)]
            expected = sum(one.seconds for one in mine)
            took = f", about {duration(expected)}" if expected else ""
            told.append(f"{stage}: at most about {size(found.peak)} of memory{took} (openklear plan says more)")
        return told + self.verdict()

    def document(self, price: float | None = None) -> dict[str, Any]:
        """For --json."""
        return {
            "machine": asdict(self.machine),
            "sizes": {stage: asdict(sizes) for stage, sizes in self.sizes.items()},
            "memory": [{"stage": name, **_bytes(one), "peak": one.peak} for name, one in self.memory],
            "times": [_document(one) for one in self.times],
            "floor_seconds": self.floor,
            "expected_seconds": self.seconds,
            "cost": None if price is None else self.seconds / 3600 * price,
            "peak_bytes": self.peak,
            "usable_bytes": usable(self.machine),
            "sources_not_counted": list(self.amounts.unknown),
            "fits": self.fits,
            "change": None if self.change is None else list(self.change.keys),
            "fits_device": self.bigger,
        }

    def _auto(self) -> str:
        one = self.sizes["evaluate"]
        sampler = f"{one.slots:,} slots, cache of {one.cache_tokens:,} tokens"
        if self.recipe.engine.type != "local":
            gpus = gpus_of(self.recipe.engine)
            where = "a process of its own" if gpus == 1 else f"{gpus} processes of its own"
            sampler = f"engine {self.recipe.engine.type} in {where}, whose speed is taken to be ours"
        stages = {name: sizes for name, sizes in self.sizes.items() if name != "evaluate"}
        tokens = {name: f"{sizes.microbatch_tokens:,}" for name, sizes in stages.items()}
        again = {name: "on" if sizes.activation_checkpointing else "off" for name, sizes in stages.items()}
        return (
            f"sizes: micro-batches of {_shared(tokens)} tokens, activation checkpointing {_shared(again)}, {sampler}, "
            f"weights in {one.dtype}"
        )

    def _memory(self) -> Iterator[str]:
        names = ["weights", "optimizer", "gradients", "activations", "attention", "head"]
        local = self.recipe.engine.type == "local"
        alone = local and self.recipe.cluster is None
        names += [*([] if alone else ["sampler"]), *(["copies", "cache", "logits"] if local else []), "peak"]
        yield "memory      " + "".join(f"{name:>12}" for name in names)
        for stage, found in self.memory:
            held = {**found.kept, **found.training, **found.sampling, "peak": found.peak}
            yield f"{stage:12}" + "".join(f"{size(held.get(name, 0)) if held.get(name) else '':>12}" for name in names)

    def _times(self) -> Iterator[str]:
        yield f"{'time':34}{'tokens':>12}{'floor':>10}{'expected':>10}{'tokens/s':>10}{'MFU':>7}  bound by"
        for one in self.times:
            if not one.part.load.tokens:
                continue
            name, tokens, found = f"{one.part.stage}: {one.part.name}", one.part.load.tokens, one.time
            rate = f"{tokens / one.seconds:,.0f}" if one.seconds else ""
            shown = f"{short(tokens):>12}{duration(found.floor):>10}{duration(one.seconds):>10}{rate:>10}"
            yield f"{name:34}{shown}{found.mfu:>7.1%}  {one.bound}"

    def _notes(self) -> Iterator[str]:
        share = EFFICIENCY[self.machine.kind]
        yield (
            f"expected: {share.compute:.0%} of the peak, {share.reading:.0%} of the bandwidth, and what element-wise "
            f"passes and a layer's start take ({share.where})"
        )
        if self.amounts.unknown:
            yield f"NOT counted, as they are not fetched yet: the rows of {', '.join(self.amounts.unknown)}"
        counted = "counted after curation" if self.amounts.exact else "from the first rows of each source, uncurated"
        yield f"rows {counted}; {self.amounts.said()}{self._groups()}"

    def _groups(self) -> str:
        phases = self.recipe.rl.phase if self.recipe.rl is not None else ()
        if any(phase.filter_zero_advantage is True for phase in phases):
            return f"; {TRAINED:.0%} of the groups are taken to have an advantage where the others are left out"
        return ""


def make_plan(recipe: Recipe, shape: ModelShape, machine: Machine, amounts: Amounts) -> Plan:
    """The plan of a recipe with a model."""
    sizes = stage_sizes(recipe, shape, machine, amounts)
    timed = []
    for part in parts(recipe, shape, sizes, amounts):
        timed.append(Timed(part, estimate(part.load, machine, sizes["evaluate"].dtype, recipe.threads)))
    whole = fits(recipe, shape, machine, amounts)
    return Plan(
        recipe,
        shape,
        machine,
        amounts,
        sizes,
        list(footprints(recipe, shape, sizes, machine, amounts)),
        timed,
        whole,
        None if whole else nearest_change(recipe, shape, machine, amounts),
        None if whole else smallest_gpu(recipe, shape, amounts),
    )


def _shared(words: Mapping[str, str]) -> str:
    """One word where all stages have the same, else each with its stage."""
    if len(set(words.values())) == 1:
        return next(iter(words.values()))
    return ", ".join(f"{word} ({name})" for name, word in words.items())


def size(number: float) -> str:
    """Bytes for people."""
    return f"{number / 1e9:,.1f} GB" if number >= 1e8 else f"{number / 1e6:,.1f} MB"


def duration(seconds: float) -> str:
    """`1.3 h`, `12 min`, `4.1 s`, `30 ms`."""
    if seconds >= 3600:
        return f"{seconds / 3600:,.1f} h"
    if seconds >= 90:
        return f"{seconds / 60:.0f} min"
    return f"{seconds:.1f} s" if seconds >= 0.1 else f"{seconds * 1000:.0f} ms"


def short(number: float) -> str:
    """A count in few characters."""
    for unit, least in (("G", 1e9), ("M", 1e6), ("K", 1e4)):
        if number >= least:
            return f"{number / (1e3 if unit == 'K' else least):,.1f} {unit}"
    return f"{number:,.0f}"


def _bytes(found: Footprint) -> dict[str, Any]:
    return {"kept": dict(found.kept), "training": dict(found.training), "sampling": dict(found.sampling)}


def _document(one: Timed) -> dict[str, Any]:
    return {
        "stage": one.part.stage,
        "part": one.part.name,
        "tokens": one.part.load.tokens,
        "flops": one.part.load.flops,
        "floor_seconds": one.time.floor,
        "expected_seconds": one.seconds,
        "grading_seconds": one.part.graders,
        "mfu": one.time.mfu,
        "bound": one.bound,
    }
