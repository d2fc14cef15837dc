"""Shares of domains become whole problems of an iteration: pure functions of a phase's `mix`, `domains` and size."""

from __future__ import annotations

from collections.abc import Mapping, Sequence


def counts(mix: Mapping[str, float], domains: Sequence[str], whole: int) -> dict[str, int]:
    """The problems of each domain among `whole`: the shares, rounded by the largest remainders; {} without a mix.

    In the order of `domains`, which also decides between equal remainders.
    """
    total = sum(mix.values())
    exact = {name: mix[name] / total * whole for name in domains if name in mix}
    found = {name: int(number) for name, number in exact.items()}
    by_remainder = sorted(found, key=lambda name: found[name] - exact[name])
    for name in by_remainder[: whole - sum(found.values())]:
        found[name] += 1
    return found


def fault(mix: Mapping[str, float], domains: Sequence[str], whole: int) -> str | None:
    """What is wrong with a mix: it names the phase's domains, and leaves each at least one problem."""
    if not mix:
        return None
    if set(mix) != set(domains):
        return f"must give each of the phase's domains its share, and no other: {', '.join(domains)}"
    if nothing := [name for name, count in counts(mix, domains, whole).items() if not count]:
        text = f"leaves no {nothing[0]} problem among problems_per_iteration = {whole}; "
        return text + "raise its share, or take it out of domains and mix"
    return None


def lacking(
    counts: Mapping[str, int], domains: Sequence[str], have: Mapping[str, int], *, mixed: bool, extra: bool
) -> str | None:
    """What one iteration takes and `have` does not hold; None if it suffices.

    `counts` are by domain where they are `mixed`, else under "" alone; `extra`: some of them are for carrying over.
    """
    for name, count in counts.items() if mixed else ():
        if have.get(name, 0) < count:
            what = "mix and partial_rollouts take" if extra else "mix takes"
            return f"{what} {count} {name} problems at a time, but {have.get(name, 0)} are left"
    whole, left = sum(counts.values()), sum(have.get(name, 0) for name in domains)
    if left >= whole:
        return None
    if extra:
        return f"problems_per_iteration and partial_rollouts.extra take {whole} problems at a time, but {left} are left"
    return f"problems_per_iteration = {whole}, but {left} are left"
