"""What stands on the card: funnel, statistics and examples, read from the files and held against each other."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from openklear import __version__
from openklear.curation.profile import COLUMNS, SourceStatistics, by_source
from openklear.data.store import PreparedPaths
from openklear.durable.files import read_json
from openklear.errors import DataError
from openklear.reporting.card import figures
from openklear.reporting.card.page import Card, Figure, Headline, Section, Table
from openklear.reporting.card.rows import TEXTS_AT_ONCE, batches
from openklear.reporting.card.samples import audited, dropped, kept
from openklear.reporting.card.texts import NOT_STATED, NOTHING, number, plain, share, short, tally, visible

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
class Known:
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
        return sum(one.rows for dataset in datasets for one in self.statistics[dataset])


def contents(paths: PreparedPaths, recipe: Mapping[str, Any]) -> Card:
    """The card of what `prepare` left; DataError where a file cannot be read or does not agree with the funnel."""
    statistics = {name: by_source(batches(getattr(paths, name), COLUMNS, TEXTS_AT_ONCE)) for name in DATASETS}
    known = Known(paths, recipe, sorted(read_json(paths.funnel), key=lambda row: _place(row["dataset"])), statistics)
    require_agreement(known)
    name = recipe.get("name")
    proved, proof = proof_of(known)
    gone = dropped(paths.dropped, known.funnel, known.seed)
    examples = (kept(getattr(paths, role), role, DATASETS[role], known.seed) for role in TRAINING if known.rows(role))
    sections = [_made(known), _funnel(known), *_sources(known), *examples, gone, *audited(paths), _files(paths)]
    return Card(
        title=f"Data card: {short(name)}" if name else "Data card",
        text=_introduction(known),
        proved=proved,
        proof=proof,
        headlines=tuple(_headlines(known)),
        sections=tuple(section for section in sections if section is not None),
        version=__version__,
    )


def require_agreement(known: Known) -> None:
    """DataError unless every source has as many rows in its file as the funnel kept."""
    for dataset in DATASETS:
        last = {row["source"]: row["kept"] for row in known.lines(dataset)}
        found = {one.source: one.rows for one in known.statistics[dataset]}
        for source in {**last, **found}:
            if last.get(source, 0) != found.get(source, 0):
                raise DataError(
                    f"{getattr(known.paths, dataset)}: {found.get(source, 0)} rows of {source}, but the funnel kept "
                    f"{last.get(source, 0)}; run the stage prepare again"
                )


def proof_of(known: Known) -> tuple[bool, str]:
    """Whether the step `disjoint` found training and evaluation prompts to share nothing, and that in words."""
    training, evaluation = known.rows(*TRAINING), known.rows(*EVALUATION)
    if not training:
        return False, "There are no training rows, so there is nothing to prove disjoint from the evaluation sets."
    if not evaluation:
        return False, "There are no evaluation sets, so nothing was proved disjoint from the training rows."
    for dataset in TRAINING:
        last = {row["source"]: row["step"] for row in known.lines(dataset)}
        if any(last.get(one.source) != "disjoint" for one in known.statistics[dataset]):
            return False, f"It was not proved that {dataset} and evaluation sets share no prompt."
    return True, (
        f"Proved disjoint: none of the {training:,} training rows has the normalised prompt of one of the "
        f"{evaluation:,} evaluation rows."
    )


def _place(dataset: str) -> int:
    return list(DATASETS).index(dataset) if dataset in DATASETS else len(DATASETS)


def _read(lines: Lines) -> int:
    """Rows that the first steps of the sources read."""
    return sum({row["source"]: row["read"] for row in reversed(lines)}.values())


def _introduction(known: Known) -> str:
    names = {(row["dataset"], row["source"]) for row in known.funnel}
    demonstrations, problems = known.rows("demonstrations"), known.rows("problems")
    return (
        f"Curated from {len(names):,} sources with {_read_all(known.funnel):,} rows: {demonstrations:,} demonstrations "
        f"for supervised fine-tuning and {problems:,} problems for reinforcement learning, beside "
        f"{known.rows('validation'):,} validation and {known.rows('heldout'):,} held-out problems. Seed {known.seed}. "
        "Every row that was read is kept in one of the files below, or dropped by a step that says why."
    )


def _read_all(funnel: Lines) -> int:
    return sum(_read([row for row in funnel if row["dataset"] == name]) for name in {row["dataset"] for row in funnel})


def _headlines(known: Known) -> Iterator[Headline]:
    for dataset, title in DATASETS.items():
        if lines := known.lines(dataset):
            rows, read = known.rows(dataset), _read(lines)
            yield Headline(title, f"{rows:,}", f"of {read:,} read, {share(rows, read)}")


def _made(known: Known) -> Section:
    sources, steps = known.recipe.get("sources") or (), known.recipe.get("steps") or ()
    rows = tuple(
        (
            short(one.get("name")),
            short(one.get("role") or NOTHING),
            short(one.get("path") or NOTHING, 200),
            short(one.get("domain") or "by row"),
            short(one.get("licence") or NOT_STATED, 200),
            _hashes(one.get("hash")),
        )
        for one in sources
    )
    steps = tuple(
        (short(one.get("dataset")), short(one.get("step")), plain(one.get("parameters")), plain(one.get("facts")))
        for one in steps
    )
    tables = (
        Table("recipe", ("source", "role", "path", "domain", "licence", HASH), rows, codes=(HASH,)),
        Table("steps", ("data set", "step", "parameters", "found"), steps),
    )
    text = "Where the rows come from and which steps they went through, in this order, with their parameters."
    return Section("made", "How it was made", text, tables)


def _hashes(found: object) -> str:
    """The hash of a source's contents, or of each of its files, by the last word of the name it has there."""
    if isinstance(found, Mapping):
        named = [(str(name).rpartition("/")[2], text) for name, text in found.items()]
        shown = [str(text) if len(named) == 1 else f"{short(name)}: {text}" for name, text in named[:8]]
        return visible("; ".join([*shown, *([f"{len(named) - 8:,} more"] if len(named) > 8 else [])])) or NOTHING
    return short(found, 200) if found else NOTHING


def _funnel(known: Known) -> Section:
    rows = tuple(
        (
            *(short(row[name]) for name in ("dataset", "source", "step")),
            *(f"{row[name]:,}" for name in ("read", "kept", "dropped")),
            f"{row['changed']:,}" if row.get("changed") else "",
            "; ".join(f"{short(reason)}: {count:,}" for reason, count in row["reasons"].items()),
        )
        for row in known.funnel
    )
    numbers = ("read", "kept", "dropped", "changed")
    columns = ("data set", "source", "step", *numbers, "reasons")
    table = Table("funnel", columns, rows, numbers, folded=f"The funnel in full: {len(rows):,} lines")
    told = [name for name in DATASETS if name in TRAINING or any(row["dropped"] for row in known.lines(name))]
    drawn = [figures.funnel(name, lines) for name in told if _read(lines := known.lines(name))]
    if _read_all(known.funnel):
        drawn.append(figures.fates(known.funnel))
    text = (
        "What each step read, kept and dropped. The funnel balances to the row: kept and dropped are what was read, "
        "and the next step reads what was kept."
    )
    return Section("funnel", "The funnel", text, (table,), tuple(drawn))


def _sources(known: Known) -> Iterator[Section]:
    pairs = [(dataset, one) for dataset, found in known.statistics.items() for one in found]
    rows = tuple(_source_row(known, dataset, source) for dataset, source in _named(known))
    numbers = ("read", "kept", "share")
    told = "claimed correct"
    columns = ("data set", "source", *numbers, "domains", "levels", "teachers", told, "licence")
    text = (
        "Whose rows stayed, and what they are. “Claimed correct” is the share of responses that the source "
        "itself calls correct, of those it judges at all."
    )
    yield Section("sources", "The sources", text, (Table("sources", columns, rows, (*numbers, told)),))
    if not pairs:
        return
    yield _lengths(pairs)
    stated = [
        dataset for dataset, found in known.statistics.items() if any(set(one.by_level) - {None} for one in found)
    ]
    drawn = tuple(figures.levels(dataset, _levels(known.statistics[dataset])) for dataset in stated)
    text = "Rows by their level." if stated else "No source states levels, and no step gave them."
    yield Section("difficulty", "Difficulty", text, figures=drawn)


def _named(known: Known) -> list[tuple[str, str]]:
    """(data set, source) of every line of the funnel, once."""
    return list(dict.fromkeys((row["dataset"], row["source"]) for row in known.funnel))


def _source_row(known: Known, dataset: str, source: str) -> tuple[str, ...]:
    lines = known.lines(dataset, source)
    one = next((one for one in known.statistics.get(dataset, ()) if one.source == source), None)
    licences = [row.get("licence") for row in known.recipe.get("sources") or () if row.get("name") == source]
    claimed = None if one is None else one.claimed_share
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
        short((licences[0] if licences else None) or NOT_STATED, 200),
    )


def _lengths(pairs: Sequence[tuple[str, SourceStatistics]]) -> Section:
    rows = []
    for dataset, one in pairs:
        for text, found in (("prompt", one.prompts), ("response", one.responses)):
            if found.rows:
                values = (found.rows, found.mean, *(found.percentile(percent) for percent in (50, 95, 100)))
                rows.append((short(dataset), short(one.source), text, *map(number, values)))
    table = Table("lengths", ("data set", "source", "text", *LENGTH_NAMES), tuple(rows), LENGTH_NAMES)
    drawn: list[Figure] = [figures.lengths("Prompts", {(name, one.source): one.prompts for name, one in pairs})]
    responses = {(name, one.source): one.responses for name, one in pairs if one.responses.rows}
    if responses:
        drawn.append(figures.lengths("Responses", responses))
    text = (
        "In characters; prompts without system turns. The median is the shortest length that half of the rows do not "
        "exceed, and so on. In the figures each strip is as high as its fullest bin; the line is the median."
    )
    return Section("lengths", "Lengths", text, (table,), tuple(drawn))


def _levels(found: Sequence[SourceStatistics]) -> dict[tuple[str | None, str | None], int]:
    total: dict[tuple[str | None, str | None], int] = {}
    for one in found:
        for key, rows in one.levels.items():
            total[key] = total.get(key, 0) + rows
    return total


def _files(paths: PreparedPaths) -> Section:
    named = [getattr(paths, name, None) for name in (*DATASETS, "dropped", "audit", "funnel", "steps")]
    rows = tuple(
        (path.name, f"{path.stat().st_size:,}", _digest(path)) for path in named if path is not None and path.is_file()
    )
    table = Table("files", ("file", "bytes", HASH), rows, ("bytes",), (HASH,))
    text = "The hash that `b2sum -l 128 FILE` prints. Equal sources and an equal recipe give equal files."
    return Section("files", "Files", text, (table,))


def _digest(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()
