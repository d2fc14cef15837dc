"""Which demonstrations are taken where there are more than are wanted: coverage of the set, and the sources' mixture."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import numpy as np

from openklear import progress
from openklear.data import duplicates, engine
from openklear.data.kcenter import coverage, k_center_greedy
from openklear.data.table import Table
from openklear.data.workspace import NOTHING, Outcome
from openklear.recipe.curation import Selection


def cover(table: Table, settings: Selection, seed: int) -> Outcome:
    """Keep the `budget` rows whose prompts cover the set best (K-Center Greedy); the facts say how well they do."""
    from openklear.data.embedding import TfidfProjection

    if len(table) <= settings.budget:
        return Outcome(NOTHING)
    embedding = _embedding(table, settings, seed)
    rows, vectors = engine.vectors(table, embedding.transform, embedding.width)
    with progress.task("prepare: selection", settings.budget, "centres") as advance:
        found = k_center_greedy(vectors, settings.budget, progress=advance)
    left = np.ones(len(rows), np.bool_)
    left[found.order] = False
    gone = rows[left]
    facts = {"coverage": coverage(vectors, found.order, seed=seed)._asdict()}
    return Outcome(engine.marks(gone, ["not among the centres"] * len(gone), [""] * len(gone)), facts=facts)


def mix(table: Table, weights: Mapping[str, float], total: int, seed: int) -> Outcome:
    """Keep `total` rows in the sources' weights (fewer where a source has not enough), chosen by the seed."""
    from openklear.data.mixture import choose, mixture

    rows = table.numbers()
    sources = table.sources(rows).astype(str)
    wanted = mixture(dict(Counter(sources.tolist())), weights, total)
    keys = duplicates.prompt_keys(table)[1]
    gone = [rows[:0]]
    for source, count in wanted.items():
        mine = sources == source
        kept = choose(rows[mine], keys[mine], count, seed=seed, source=source)
        gone.append(np.setdiff1d(rows[mine], kept))
    dropped = np.sort(np.concatenate(gone))
    facts = {"taken": wanted}
    return Outcome(engine.marks(dropped, ["not in the mixture"] * len(dropped), [""] * len(dropped)), facts=facts)
