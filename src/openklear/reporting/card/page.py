"""The card as plain values, before it has a form: what Markdown and HTML both show."""

from __future__ import annotations

from dataclasses import dataclass

from openklear.reporting.card.texts import Excerpt


@dataclass(frozen=True, slots=True)
class CardTable:
    """Cells as they are shown, unescaped."""

    name: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    numbers: tuple[str, ...] = ()
    """Columns that stand to the right."""
    codes: tuple[str, ...] = ()
    """Columns of hashes."""
    folded: str = ""
    """Words behind which HTML hides a long table; empty: it is open."""


@dataclass(frozen=True, slots=True)
class Figure:
    """A drawing, and the same in letters for where there are none."""

    title: str
    svg: str
    letters: str


@dataclass(frozen=True, slots=True)
class Example:
    """A row that people look at."""

    title: str
    facts: tuple[tuple[str, str], ...]
    texts: tuple[tuple[str, Excerpt], ...]


@dataclass(frozen=True, slots=True)
class Group:
    """Examples that belong together."""

    title: str
    """HTML hides the examples behind it; empty: they stand open."""
    examples: tuple[Example, ...]


@dataclass(frozen=True, slots=True)
class Chapter:
    """A chapter of the card."""

    name: str
    title: str
    text: str
    tables: tuple[CardTable, ...] = ()
    figures: tuple[Figure, ...] = ()
    groups: tuple[Group, ...] = ()


@dataclass(frozen=True, slots=True)
class Headline:
    """A figure that stands out."""

    label: str
    number: str
    note: str


@dataclass(frozen=True, slots=True)
class Card:
    """The whole card."""

    title: str
    text: str
    proved: bool
    """Whether training and evaluation prompts are known to share nothing; `proof` says it in words."""
    proof: str
    headlines: tuple[Headline, ...]
    chapters: tuple[Chapter, ...]
    version: str
