"""The stage `prepare` where a sentence-embedding model chooses the demonstrations: it alone depends on torch."""

from __future__ import annotations

from openklear.models.embedding import transformers_embedding
from openklear.run.context import StageContext
from openklear.stages import prepare


def run(context: StageContext) -> None:
    """See `openklear.stages.prepare.run`."""
    prepare.run(context, transformers_embedding)
