"""What a sweep found, in lines for people and as one document."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from openklear.planner.plan import duration, short
from openklear.simulation.fleet import BETWEEN, NODE, USED
from openklear.simulation.lengths import BETWEEN_PROBLEMS, WITHIN_PROBLEMS
from openklear.simulation.sweep import SLOTS, TENSOR_PARALLEL, Best, PhaseWork, step_of

WORTH = 1.05
"""Times as fast as the synchronous best, from where asynchrony is said to pay."""


@dataclass(frozen=True, slots=True)
class Summary:
    """The best placements of a job, by number of GPUs and bound on staleness."""

    job: PhaseWork
    found: Sequence[Best]

    @property
    def bounds(self) -> list[int]:
        """On staleness, beside 0."""
        return sorted({one.staleness for one in self.found} - {0})

    def gain(self, best: Best) -> float | None:
        """How many times as fast as the synchronous best on as many GPUs; None where either has no memory."""
        synchronous = next(one for one in self.found if one.gpus == best.gpus and one.staleness == 0)
        if best.outcome is None or synchronous.outcome is None:
            return None
        return synchronous.outcome.seconds / best.outcome.seconds

    def pays_from(self, staleness: int) -> Best | None:
        """The smallest number of GPUs on which that bound pays, and goes on to pay on more."""
        paying = None
        for best in (one for one in self.found if one.staleness == staleness):
            worth = (self.gain(best) or 0.0) >= WORTH
            paying = (paying or best) if worth else None
        return paying

    def lines(self, price: float | None = None) -> Iterator[str]:
        """A table, what follows from it, and what was assumed."""
        phase = self.job.phase
        yield (
            f"phase {phase.name}: {phase.iterations} iterations of {phase.problems_per_iteration} problems x "
            f"{phase.group_size} rollouts, {self.job.mean:,.0f} tokens a completion on average, at most "
            f"{phase.max_completion_tokens:,}; {self.job.work.machine.name}"
        )
        yield ""
        cost = f"{'cost':>12}" if price is not None else ""
        head = f"{'GPUs':>5}{'staleness':>11}{'iteration':>11}{'phase':>10}{'GPU-hours':>11}{cost}"
        yield f"{head}{'tokens/s':>10}{'idle':>6}{'gain':>7}  best placement"
        for best in self.found:
            yield self._line(best, price)
        yield ""
        yield from self._verdict()
        yield from self._assumed()

    def _line(self, best: Best, price: float | None) -> str:
        begin = f"{best.gpus:>5}{best.staleness:>11}"
        if best.outcome is None:
            return f"{begin}  no placement has the memory"
        one, gain = best.outcome, self.gain(best)
        seconds = one.seconds * self.job.phase.iterations
        hours = seconds / 3600 * best.gpus
        cost = "" if price is None else f"{hours * price:>12,.0f}"
        shown = f"{gain:.2f}x" if best.staleness and gain is not None else ""
        took = f"{duration(one.seconds):>11}{duration(seconds):>10}{hours:>11,.0f}{cost}"
        return f"{begin}{took}{short(one.tokens_per_second):>10}{one.idle:>6.0%}{shown:>7}  {one.placement}"

    def _verdict(self) -> Iterator[str]:
        for staleness in self.bounds:
            best = self.pays_from(staleness)
            if best is None:
                yield f"staleness {staleness} pays on none of these sizes (less than {WORTH:g} times as fast)"
            else:
                yield f"staleness {staleness} pays from {best.gpus} GPUs on: {self.gain(best):.2f} times as fast there"
        most = self.job.phase.max_completion_tokens
        alone = {number: step_of(self.job, number).seconds(1, 0, most) for number in TENSOR_PARALLEL}
        fastest = min(alone, key=lambda number: alone[number])
        yield (
            f"a synchronous iteration is never shorter than its longest completion: {most:,} tokens at most, which "
            f"take {duration(alone[fastest])} alone on an engine of {fastest}"
        )

    def _assumed(self) -> Iterator[str]:
        yield (
            "assumed: lengths lognormal, as spread as real traces are (standard deviation of the logarithm "
            f"{BETWEEN_PROBLEMS:g} between problems, {WITHIN_PROBLEMS:g} within); the planner's shares of peak and "
            f"bandwidth; {BETWEEN / 1e9:.0f} GB/s for a GPU between nodes of {NODE}, of which {USED:.0%} are used; "
            f"{SLOTS} slots an engine; no faults, and grading is free. Not measured on GPUs with this code"
        )

    def document(self, price: float | None = None) -> dict[str, Any]:
        """For --json."""
        return {
            "phase": self.job.phase.name,
            "machine": asdict(self.job.work.machine),
            "completion_tokens": self.job.mean,
            "found": [self._row(best, price) for best in self.found],
            "pays_from": {
                str(staleness): getattr(self.pays_from(staleness), "gpus", None) for staleness in self.bounds
            },
        }

    def _row(self, best: Best, price: float | None) -> dict[str, Any]:
        row: dict[str, Any] = {"gpus": best.gpus, "staleness_bound": best.staleness, "fits": best.outcome is not None}
        if best.outcome is not None:
            hours = best.outcome.seconds * self.job.phase.iterations / 3600 * best.gpus
            cost = None if price is None else hours * price
            row |= {**asdict(best.outcome), "gain": self.gain(best), "phase_gpu_hours": hours, "cost": cost}
        return row
