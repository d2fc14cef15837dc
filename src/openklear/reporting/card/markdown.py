"""The card in Markdown. Cells and texts are escaped: a row's text stays a text, no link, image, table or tag."""

from __future__ import annotations

import re
from collections.abc import Iterator

from openklear.reporting.card.page import Card, CardTable, Chapter, Example
from openklear.reporting.card.texts import Excerpt, visible


def markdown(card: Card) -> str:
    """The whole card, for any reader of GitHub's Markdown."""
    parts = [f"# {line(card.title)}", line(card.text), f"**{line(card.proof)}**"]
    parts.append("\n".join(f"- {line(one.label)}: **{line(one.number)}** ({line(one.note)})" for one in card.headlines))
    for chapter in card.chapters:
        parts += _chapter(chapter)
    parts.append(f"Made by OpenKlear {line(card.version)}.")
    return "\n\n".join(parts) + "\n"


def line(text: str) -> str:
    """Text as one line that Markdown shows as it is."""
    text = re.sub(r"([\\`*_\[\]<>|~&$#])", r"\\\1", visible(" ".join(text.split())))
    text = text.replace("://", ":\\//")  # bare addresses would become links
    return re.sub(r"(?i)\b(www)\.", r"\1\\.", text)


def fenced(text: str) -> str:
    """Text as a block that nothing inside it can close."""
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}text\n{text}\n{fence}"


def _chapter(chapter: Chapter) -> Iterator[str]:
    yield f"## {line(chapter.title)}"
    if chapter.text:
        yield line(chapter.text)
    yield from map(_table, chapter.tables)
    for figure in chapter.figures:
        yield f"{line(figure.title)}:"
        yield fenced(figure.letters)
    for group in chapter.groups:
        if group.title:
            yield f"### {line(group.title)}"
        for example in group.examples:
            yield from _example(example)


def _table(table: CardTable) -> str:
    rows = [table.columns, *table.rows]
    lines = [f"| {' | '.join(map(line, row))} |" for row in rows]
    lines.insert(1, "|" + "|".join("---:" if name in table.numbers else "---" for name in table.columns) + "|")
    return "\n".join(lines)


def _example(example: Example) -> Iterator[str]:
    facts = "; ".join(f"{line(label)}: {line(value)}" for label, value in example.facts)
    yield f"**{line(example.title)}**" + (f" ({facts})" if facts else "")
    for label, text in example.texts:
        yield f"{line(label)}:"
        yield fenced(_joined(text))


def _joined(text: Excerpt) -> str:
    if not text.left_out:
        return text.head
    return f"{text.head}\n[... {text.left_out:,} characters left out ...]\n{text.tail}"
