"""The two steps that take some of the demonstrations: those that cover the set, and a mixture of the sources."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from openklear import progress
from openklear.curation import duplicates, engine
from openklear.curation.finished import NOTHING, StepResult
from openklear.curation.selection.embedding import Embedding, TfidfProjection
from openklear.curation.selection.kcenter import coverage, k_center_greedy
from openklear.curation.selection.mixture import draw, mixture
from openklear.curation.table import RowTable

EMBEDDED = "tfidf"
Named = Callable[[str], Embedding]


def cover(table: RowTable, budget: int, embedding: str, seed: int, named: Named) -> StepResult:
    """Keep the `budget` rows whose prompts cover the set best (K-Center Greedy); the facts say how well they do.

    `named` makes the embedding of a name other than "tfidf".
    """
    if len(table) <= budget:
        return StepResult(NOTHING)
    with TemporaryDirectory() as directory, progress.task("prepare: selection", budget, "centres") as advance:
        made = _embedding(table, embedding, seed, named)
        rows, vectors = engine.vectors(table, made.transform, made.width, Path(directory) / "vectors.npy")
        chosen = k_center_greedy(vectors, budget, progress=advance)
        facts = {"coverage": coverage(vectors, chosen, seed=seed)._asdict()}
    gone = np.delete(rows, chosen)
    return StepResult(engine.marks(gone, ["not among the centres"] * len(gone), [""] * len(gone)), facts=facts)


def mix(table: RowTable, weights: Mapping[str, float], total: int, seed: int) -> StepResult:
    """Keep `total` rows in the sources' weights (fewer where a source has not enough), drawn by the seed."""
    rows, digests = duplicates.prompt_keys(table)
    sources = table.sources(rows).astype(str)
    taken = mixture(Counter(sources.tolist()), weights, total)
    gone = [rows[:0]]
    for source, count in taken.items():
        mine = sources == source
        kept = draw(rows[mine], digests[mine], count, seed=seed, source=source)
        gone.append(np.setdiff1d(rows[mine], kept))
    dropped = np.sort(np.concatenate(gone))
    facts = {"taken": taken}
    return StepResult(engine.marks(dropped, ["not in the mixture"] * len(dropped), [""] * len(dropped)), facts=facts)


def _embedding(table: RowTable, name: str, seed: int, named: Named) -> Embedding:
    if name != EMBEDDED:
        return named(name)
    return TfidfProjection.fit(_texts(table), seed=seed)


def _texts(table: RowTable) -> Iterator[Sequence[str]]:
    for batch in table.batches(("text",), engine.BATCH):
        yield batch["text"].to_pylist()
