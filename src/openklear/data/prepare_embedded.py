"""The stage `prepare` where a sentence-embedding model chooses the demonstrations: it alone depends on torch."""

from __future__ import annotations

from openklear.data import prepare
from openklear.models.embedding import transformers_embedding
from openklear.stage import StageContext


def run(context: StageContext) -> None:
    """See `openklear.data.prepare.run`."""
    prepare.run(context, transformers_embedding)
