"""The card as plain values, before it has a form: what the templates of Markdown and HTML both show."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from openklear.reporting.texts import Excerpt


@dataclass(frozen=True, slots=True)
class CardTable:
    """Cells as they are shown, unescaped."""

    name: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    numbers: Sequence[str] = ()
    """Columns that are aligned to the right."""
    folded: str = ""
    """The summary behind which HTML folds a long table; empty: it is shown."""


@dataclass(frozen=True, slots=True)
class Figure:
    """A drawing, and the same in letters for readers without drawings."""

    title: str
    svg: str
    letters: str


@dataclass(frozen=True, slots=True)
class Example:
    """A row that people look at: its facts and its texts, by their labels."""

    title: str
    facts: Mapping[str, str]
    texts: Mapping[str, Excerpt]


@dataclass(frozen=True, slots=True)
class Chapter:
    """A chapter of the card."""

    name: str
    title: str
    text: str
    tables: Sequence[CardTable] = ()
    figures: Sequence[Figure] = ()
    groups: Sequence[tuple[str, Sequence[Example]]] = ()
    """Examples that belong together, after a title behind which HTML folds them; empty: they are shown."""
