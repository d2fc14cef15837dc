"""Findings in words: a sentence says what the test supports, and what the study could have seen where it saw nothing.

What a difference is called is its unit's to say: points, a hundredth of all samples, or nats per token.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from openklear.ablation.units import SHARE, MeasureUnit
from openklear.evaluation.lines import problems
from openklear.evaluation.statistics import Effect


@dataclass(frozen=True, slots=True)
class Told:
    """What a sentence is made from."""

    before: str
    after: str
    effect: Effect
    seeds: tuple[int, ...]
    """Those that both sides have; () where no problem could be judged on both."""
    p_t: float
    p_holm: float
    smallest: float
    seen: bool
    tests: int
    """Comparisons that Holm's correction is for."""
    measure: str | None
    """Said first, where a study has several."""
    unit: MeasureUnit = SHARE
    """Of its differences."""

    @property
    def tested(self) -> bool:
        """Whether two seeds or more, and two problems, say how it varies."""
        return not math.isnan(self.effect.error)


def is_nothing(error: float) -> bool:
    """A standard error of rounding alone: shares of a few samples vary by far more, where they vary."""
    return error < 1e-9


def sentence(one: Told) -> str:
    """What a comparison says by itself."""
    return _of(one.measure, _kind(one)(one))


def headline(some: Sequence[Told]) -> str:
    """One sentence of all comparisons in a measure."""
    if len(some) == 1:
        return sentence(some[0])
    shared = some[0].before if len({one.before for one in some}) == 1 else None
    tested = [one for one in some if one.tested]
    unknown = [one for one in some if not one.tested]
    seen = [one for one in tested if one.seen]
    alone = [one for one in tested if not one.seen and one.p_t <= 0.05]
    unseen = [one for one in tested if not one.seen and one not in alone]
    parts = []
    if seen:
        parts.append(_listed(_ends(one, named=not shared) for one in seen))
    if alone:
        each = _listed(f"{one.unit.signed(one.effect.value)} {_among([one], shared)}" for one in alone)
        parts.append(f"{each} would be seen alone, but not after allowing for the {alone[0].tests} comparisons")
    if unseen:
        parts.append(f"no difference was seen {_among(unseen, shared)}{_could(unseen)}")
    if tested:
        parts[-1] += f" ({_design(tested)})"
    if unknown:
        parts.append(f"nothing can be said yet {_among(unknown, shared)}: that takes two seeds or more of both")
    text = "; ".join(parts) + "."
    if shared:
        text = f"Against {shared}, {text}"
    elif not seen:  # what begins with a label keeps its case
        text = text[0].upper() + text[1:]
    return _of(some[0].measure, text)


def seeds(values: Sequence[int]) -> str:
    """`seed 3`, `seeds 3, 4 and 5`."""
    return f"seed{'s' * (len(values) > 1)} {_listed(map(str, values))}"


def _kind(one: Told) -> Callable[[Told], str]:
    if not one.seeds:
        return _nothing
    if not one.tested:
        return _one_alone
    if is_nothing(one.effect.error):
        return _unvaried
    if one.seen:
        return _seen
    return _alone if one.p_t <= 0.05 else _unseen


def _nothing(one: Told) -> str:
    why = "no problem could be judged in all runs" if one.effect.seeds else "no seed has been run in both"
    return f"Nothing to compare between {one.before} and {one.after}: {why}."


def _one_alone(one: Told) -> str:
    """One seed, or one problem: a difference without a way to tell it from chance."""
    of = "training" if len(one.seeds) == 1 else "other problems"
    what = f"One {'seed' if len(one.seeds) == 1 else 'problem'} says nothing of {of}"
    found = f"{one.unit.signed(one.effect.value)} from {one.before} to {one.after}"
    return f"{what}: {found} with {seeds(one.seeds)}, on {problems(one.effect.problems)}."


def _unvaried(one: Told) -> str:
    where = f"every seed and every problem ({_design([one])})"
    if is_nothing(abs(one.effect.value)):
        same = "have the same loss" if one.unit.lower_is_better else "score the same"
        return f"{one.before} and {one.after} {same} with {where}."
    moved = f"From {one.before} to {one.after} it is {one.unit.signed(one.effect.value)} with {where}"
    return f"{moved}: nothing varies, so that no interval can be given (sign-flip {_p(one)})."


def _seen(one: Told) -> str:
    return f"{_ends(one, named=True)} (95 % interval {_span(one)}, {_p(one)}, {_design([one])})."


def _alone(one: Told) -> str:
    """Seen if it were the only comparison."""
    found = f"{one.unit.signed(one.effect.value)} from {one.before} to {one.after} ({_span(one)}, {_design([one])})"
    but = f"the interval by itself excludes zero, but not after allowing for the {one.tests} comparisons ({_p(one)})"
    return f"No difference is claimed: {found}, and {but}; {_would([one])}."


def _unseen(one: Told) -> str:
    found = f"{one.unit.signed(one.effect.value)} (95 % interval {_span(one)}, {_design([one])})"
    return f"No difference seen from {one.before} to {one.after}: {found}; {_would([one])}."


def _ends(one: Told, *, named: bool) -> str:
    """`GPPO ends 9.7 points below PPO`."""
    return f"{one.after} ends {one.unit.compared(one.effect.value, one.before if named else '')}"


def _would(some: Sequence[Told]) -> str:
    """What would have been seen; of several, in each of them."""
    least = max(one.smallest for one in some)
    unit = some[0].unit
    if least > unit.possible:
        return "the study is too small to see any difference reliably"
    return f"a difference of {unit.size(least)} would have been seen in 80 % of such studies"


def _could(some: Sequence[Told]) -> str:
    """The same, unless nothing varies in any of them."""
    varied = [one for one in some if not math.isnan(one.smallest)]
    return f", where {_would(varied)}" if varied else ""


def _among(some: Sequence[Told], shared: str | None) -> str:
    if shared:
        return f"for {_listed(one.after for one in some)}"
    return _listed(f"between {one.before} and {one.after}" for one in some)


def _span(one: Told) -> str:
    return f"{one.unit.difference(one.effect.low)} to {one.unit.difference(one.effect.high)}"


def _p(one: Told) -> str:
    """`p 0.031`, after Holm's correction where there is something to correct for."""
    text = "p below 0.0001" if one.p_holm < 1e-4 else f"p {one.p_holm:.2g}"
    return text + (" after Holm" if one.tests > 1 else "")


def _design(some: Sequence[Told]) -> str:
    """`8 seeds x 200 problems`; of comparisons that differ, from the fewest to the most."""
    counts = [one.effect.seeds for one in some], [one.effect.problems for one in some]
    ranges = [f"{min(many):,}" if min(many) == max(many) else f"{min(many):,} to {max(many):,}" for many in counts]
    return f"{ranges[0]} seeds x {ranges[1]} problems"


def _of(measure: str | None, text: str) -> str:
    return f"{measure}: {text}" if measure else text


def _listed(names: Iterable[str]) -> str:
    *most, last = names
    return f"{', '.join(most)} and {last}" if most else last
