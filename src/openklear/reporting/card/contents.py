"""What the card says: funnel, statistics and examples, read from the files and checked against each other."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from openklear import __version__
from openklear.curation.profile import COLUMNS, SourceStatistics, by_source
from openklear.data.store import PreparedPaths
from openklear.durable.files import read_json
from openklear.errors import DataError
from openklear.reporting.card import figures
from openklear.reporting.card.page import CardTable, Chapter, Figure
from openklear.reporting.card.rows import TEXTS_AT_ONCE, batches
from openklear.reporting.card.samples import audited, dropped, kept
from openklear.reporting.texts import NOT_STATED, NOTHING, plain, share, short, tally, visible

DATASETS = {
    "demonstrations": "Demonstrations",
    "problems": "RL problems",
    "validation": "Validation problems",
    "heldout": "Held-out problems",
}
"""The data sets that have a file, by their name in the funnel, in the order of the card."""
TRAINING, EVALUATION = ("demonstrations", "problems"), ("validation", "heldout")
HASH = "blake2b, 128 bits"
LENGTH_NAMES = ("rows", "mean", "median", "95 %", "longest")

Lines = Sequence[Mapping[str, Any]]
Statistics = Mapping[str, Sequence[SourceStatistics]]


@dataclass(frozen=True, slots=True)
class CardFacts:
    """What the files hold, and what the recipe says."""

    paths: PreparedPaths
    recipe: Mapping[str, Any]
    funnel: Lines
    statistics: Statistics
    """Data set -> its sources, as counted in its file."""

    @property
    def seed(self) -> int:
        """The recipe's seed: it chooses the examples too."""
        return int(self.recipe.get("seed") or 0)

    def lines(self, dataset: str, source: str | None = None) -> Lines:
        """The funnel's lines of a data set, in the order of its steps."""
        return [row for row in self.funnel if row["dataset"] == dataset and source in (None, row["source"])]

    def rows(self, *datasets: str) -> int:
        """Rows in the files of the data sets."""
        sources = chain.from_iterable(self.statistics[dataset] for dataset in datasets)
        return sum(source.rows for source in sources)

    @property
    def sources(self) -> list[tuple[str, str]]:
        """(data set, source) of every line of the funnel, once."""
        return list(dict.fromkeys((row["dataset"], row["source"]) for row in self.funnel))


def contents(paths: PreparedPaths, recipe: Mapping[str, Any]) -> dict[str, Any]:
    """The card of what `prepare` left; DataError where a file cannot be read or does not agree with the funnel.

    `headlines` are (label, number, note); `proved` says whether training and evaluation prompts are known to share
    nothing, and `proof` says it in words.
    """
    statistics = {name: by_source(batches(getattr(paths, name), COLUMNS, TEXTS_AT_ONCE)) for name in DATASETS}
    funnel = sorted(read_json(paths.funnel), key=lambda row: _place(row["dataset"]))
    facts = CardFacts(paths, recipe, funnel, statistics)
    require_agreement(facts)
    proved, proof = proof_of(facts)
    gone = dropped(paths.dropped, facts.funnel, facts.seed)
    examples = [kept(getattr(paths, role), role, DATASETS[role], facts.seed) for role in TRAINING if facts.rows(role)]
    chapters = [_made(facts), _funnel(facts), *_sources(facts), *examples, gone, *audited(paths), _files(paths)]
    return {
        "title": "Data card",
        "text": _introduction(facts),
        "proved": proved,
        "proof": proof,
        "headlines": list(_headlines(facts)),
        "chapters": chapters,
        "version": __version__,
    }


def require_agreement(facts: CardFacts) -> None:
    """DataError unless every source has as many rows in its file as the funnel kept."""
    for dataset in DATASETS:
        last = {row["source"]: row["kept"] for row in facts.lines(dataset)}
        found = {one.source: one.rows for one in facts.statistics[dataset]}
        for source in {**last, **found}:
            if last.get(source, 0) != found.get(source, 0):
                raise DataError(
                    f"{getattr(facts.paths, dataset)}: {found.get(source, 0)} rows of {source}, but the funnel kept "
                    f"{last.get(source, 0)}; run the stage prepare again"
                )


def proof_of(facts: CardFacts) -> tuple[bool, str]:
    """Whether the step `disjoint` found training and evaluation prompts to share nothing, and the same in words."""
    training, evaluation = facts.rows(*TRAINING), facts.rows(*EVALUATION)
    if not training:
        return False, "There are no training rows, so there is nothing to prove disjoint from the evaluation sets."
    if not evaluation:
        return False, "There are no evaluation sets, so nothing was proved disjoint from the training rows."
    for dataset in TRAINING:
        last = {row["source"]: row["step"] for row in facts.lines(dataset)}
        if any(last.get(one.source) != "disjoint" for one in facts.statistics[dataset]):
            return False, f"It was not proved that {dataset} and evaluation sets share no prompt."
    return True, (
        f"Proved disjoint: none of the {training:,} training rows has the normalised prompt of one of the "
        f"{evaluation:,} evaluation rows."
    )


def _place(dataset: str) -> int:
    return list(DATASETS).index(dataset) if dataset in DATASETS else len(DATASETS)


def _read(lines: Lines) -> int:
    """Rows that the first step of each source read."""
    return sum({row["source"]: row["read"] for row in reversed(lines)}.values())


def _introduction(facts: CardFacts) -> str:
    demonstrations, problems = facts.rows("demonstrations"), facts.rows("problems")
    return (
        f"Curated from {len(facts.sources):,} sources with {_read_all(facts):,} rows: {demonstrations:,} "
        f"demonstrations for supervised fine-tuning and {problems:,} problems for reinforcement learning, with "
        f"{facts.rows('validation'):,} validation and {facts.rows('heldout'):,} held-out problems. "
        f"Seed {facts.seed}. Every row that was read is either kept in one of the files below or dropped by a step "
        "that says why."
    )


def _read_all(facts: CardFacts) -> int:
    datasets = {row["dataset"] for row in facts.funnel}
    return sum(_read(facts.lines(dataset)) for dataset in datasets)


def _headlines(facts: CardFacts) -> Iterator[tuple[str, str, str]]:
    for dataset, title in DATASETS.items():
        if lines := facts.lines(dataset):
            rows, read = facts.rows(dataset), _read(lines)
            yield title, f"{rows:,}", f"of {read:,} read, {share(rows, read)}"


def _made(facts: CardFacts) -> Chapter:
    rows = [
        (
            short(one["name"]),
            short(one["role"]),
            short(one["path"], 200),
            short(one.get("domain") or "by row"),
            short(one.get("licence") or NOT_STATED, 200),
            _hashes(one.get("hash") or {}),
        )
        for one in facts.recipe.get("sources", ())
    ]
    steps = [
        (short(one["dataset"]), short(one["step"]), plain(one["parameters"]), plain(one["facts"]))
        for one in facts.recipe.get("steps", ())
    ]
    tables = (
        CardTable("recipe", ("source", "role", "path", "domain", "licence", HASH), rows),
        CardTable("steps", ("data set", "step", "parameters", "found"), steps),
    )
    text = "Where the rows come from and which steps they went through, in this order, with their parameters."
    return Chapter("made", "How it was made", text, tables)


def _hashes(found: Mapping[str, str]) -> str:
    """The hash of a source's contents, or of each of its files, by the last word of the name it has there."""
    shown = [f"{short(name.rpartition('/')[2])}: {text}" for name, text in found.items()]
    if len(shown) == 1:
        shown = list(found.values())
    elif len(shown) > 8:
        shown[8:] = [f"{len(shown) - 8:,} more"]
    return visible("; ".join(shown)) or NOTHING


def _funnel(facts: CardFacts) -> Chapter:
    rows = list(map(_funnel_row, facts.funnel))
    numbers = ("read", "kept", "dropped", "changed")
    columns = ("data set", "source", "step", *numbers, "reasons")
    table = CardTable("funnel", columns, rows, numbers, folded=f"The funnel in full: {len(rows):,} lines")
    drawn: list[Figure] = []
    for name in DATASETS:
        lines = facts.lines(name)
        lost = any(row["dropped"] for row in lines)
        if _read(lines) and (lost or name in TRAINING):
            drawn.append(figures.funnel(name, lines))
    if _read_all(facts):
        drawn.append(figures.fates(facts.funnel))
    text = (
        "What each step read, kept and dropped. The funnel balances to the row: kept and dropped are what was read, "
        "and the next step reads what was kept."
    )
    return Chapter("funnel", "The funnel", text, (table,), drawn)


def _funnel_row(row: Mapping[str, Any]) -> tuple[str, ...]:
    names = (short(row[name]) for name in ("dataset", "source", "step"))
    counts = (f"{row[name]:,}" for name in ("read", "kept", "dropped"))
    changed = f"{row['changed']:,}" if row.get("changed") else ""
    reasons = "; ".join(f"{short(reason)}: {count:,}" for reason, count in row["reasons"].items())
    return (*names, *counts, changed, reasons)


def _sources(facts: CardFacts) -> Iterator[Chapter]:
    rows = [_source_row(facts, dataset, source) for dataset, source in facts.sources]
    numbers = ("read", "kept", "share")
    told = "claimed correct"
    columns = ("data set", "source", *numbers, "domains", "levels", "teachers", told, "licence")
    text = (
        "Whose rows were kept, and what they are. “Claimed correct” is the share of responses that the source "
        "itself calls correct, of those it judges at all."
    )
    yield Chapter("sources", "The sources", text, (CardTable("sources", columns, rows, (*numbers, told)),))
    pairs: list[tuple[str, SourceStatistics]] = []
    for dataset, found in facts.statistics.items():
        pairs += [(dataset, one) for one in found]
    if pairs:
        yield _lengths(pairs)
        yield _difficulty(facts)


def _difficulty(facts: CardFacts) -> Chapter:
    drawn: list[Figure] = []
    for dataset, found in facts.statistics.items():
        counts = sum((one.levels for one in found), Counter())  # (domain, level) -> rows
        if any(level is not None for _, level in counts):
            drawn.append(figures.levels(dataset, counts))
    text = "Rows by level." if drawn else "No source states levels, and no step assigned them."
    return Chapter("difficulty", "Difficulty", text, figures=drawn)


def _source_row(facts: CardFacts, dataset: str, source: str) -> tuple[str, ...]:
    lines = facts.lines(dataset, source)
    one = next((one for one in facts.statistics.get(dataset, ()) if one.source == source), None)
    licences = {row["name"]: row.get("licence") for row in facts.recipe.get("sources", ())}
    claimed = one.claimed_share if one else None
    return (
        short(dataset),
        short(source),
        f"{lines[0]['read']:,}",
        f"{lines[-1]['kept']:,}",
        share(lines[-1]["kept"], lines[0]["read"]),
        tally(one.domains) if one else NOTHING,
        tally(one.by_level) if one else NOTHING,
        tally(one.teachers) if one and set(one.teachers) != {None} else NOTHING,
        share(claimed, 1) if claimed is not None else NOTHING,
        short(licences.get(source) or NOT_STATED, 200),
    )


def _lengths(pairs: Sequence[tuple[str, SourceStatistics]]) -> Chapter:
    rows = []
    for dataset, one in pairs:
        for text, found in (("prompt", one.prompts), ("response", one.responses)):
            if found.rows:
                ranks = [f"{found.percentile(percent):,}" for percent in (50, 95, 100)]
                names = (short(dataset), short(one.source), text)
                rows.append((*names, f"{found.rows:,}", f"{found.mean:,.1f}", *ranks))
    table = CardTable("lengths", ("data set", "source", "text", *LENGTH_NAMES), rows, LENGTH_NAMES)
    drawn: list[Figure] = [figures.lengths("Prompts", {(name, one.source): one.prompts for name, one in pairs})]
    responses = {(name, one.source): one.responses for name, one in pairs if one.responses.rows}
    if responses:
        drawn.append(figures.lengths("Responses", responses))
    text = (
        "In characters; prompts without system turns. The median is the shortest length that half of the rows do not "
        "exceed, and so on. In the figures each strip is as high as its fullest bin; the line is the median."
    )
    return Chapter("lengths", "Lengths", text, (table,), drawn)


def _files(paths: PreparedPaths) -> Chapter:
    named = [getattr(paths, name) for name in (*DATASETS, "dropped", "audit", "funnel", "steps")]
    rows = [(path.name, f"{path.stat().st_size:,}", _digest(path)) for path in named if path.is_file()]
    table = CardTable("files", ("file", "bytes", HASH), rows, ("bytes",))
    text = "The hash that `b2sum -l 128 FILE` prints. Equal sources and an equal recipe give equal files."
    return Chapter("files", "Files", text, (table,))


def _digest(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()
