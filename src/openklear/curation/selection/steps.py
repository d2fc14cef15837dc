"""The two steps that take some of the demonstrations: those that cover the set, and a mixture of the sources."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from importlib import import_module
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


def cover(table: RowTable, budget: int, embedding: str, seed: int) -> StepResult:
    """Keep the `budget` rows whose prompts cover the set best (K-Center Greedy); the facts say how well they do.

    The embedding is "tfidf" or the name of a model.
    """
    if len(table) <= budget:
        return StepResult(NOTHING)
    with TemporaryDirectory() as directory, progress.task("prepare: selection", budget, "centres") as advance:
        if embedding == "tfidf":
            texts = (batch["text"].to_pylist() for batch in table.batches(("text",), engine.BATCH))
            made: Embedding = TfidfProjection.fit(texts, seed=seed)
        else:  # by a name in a string: only a recipe that names a model depends on torch (`run.plan.Stage.also`)
            made = import_module("openklear.models.embedding").transformers_embedding(embedding)
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
