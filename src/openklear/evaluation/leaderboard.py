"""A table of models and benchmarks from evaluations on disk, with quoted rows that are marked as such.

Under each benchmark stands how it was asked. Where a row was asked otherwise, or does not say, a footnote tells.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from openklear.errors import UsageError
from openklear.evaluation.exchange.about import about
from openklear.evaluation.quotes import Quote
from openklear.evaluation.results import RESULTS, ProblemResult, read_results, results
from openklear.evaluation.statistics import mean_interval
from openklear.evaluation.stored import SETTINGS, Stored, open_stored

UNSTATED = "not stated"


@dataclass(frozen=True, slots=True)
class Cell:
    """The score of one model on one benchmark."""

    value: float | None
    """avg@k, in [0, 1]; None where no completion could be scored."""
    low: float | None = None
    """Of the 95 % interval over problems; None of a quoted score, which nothing is computed from."""
    high: float | None = None
    problems: int | None = None
    settings: Mapping[str, str] = field(default_factory=dict)
    """How it was asked, as far as that is known."""
    remarks: tuple[str, ...] = ()
    """What else a reader must know of this number."""


@dataclass(frozen=True, slots=True)
class LeaderboardRow:
    """One model."""

    model: str
    cells: dict[str, Cell]
    directory: Path | None = None
    """None of a quoted row."""
    source: str | None = None
    """Who published it; None of a measured row."""


@dataclass(frozen=True, slots=True)
class Leaderboard:
    """The rows, measured ones first, and how each benchmark is asked in most of them."""

    benchmarks: list[str]
    rows: list[LeaderboardRow]
    usual: dict[str, dict[str, str]]
    """Benchmark -> setting -> its commonest value among the measured rows; among the quoted where none is measured."""


def leaderboard(paths: Sequence[Path], quotes: Sequence[Quote] = ()) -> Leaderboard:
    """The table of the evaluations in `paths`, each an evaluation or a run with several, and of what is quoted.

    UsageError where there is nothing to show.
    """
    measured = [_measured(open_stored(one)) for one in chain.from_iterable(map(evaluations, paths))]
    rows = [*_told_apart(measured), *_quoted(quotes)]
    benchmarks = list(dict.fromkeys(chain.from_iterable(row.cells for row in rows)))
    if not benchmarks:
        raise UsageError("there is nothing to show: name evaluations that have judged completions, or quote some")
    return Leaderboard(benchmarks, rows, {name: _usual(rows, name) for name in benchmarks})


def evaluations(path: Path) -> list[Path]:
    """The evaluation in a directory, or those of a run. UsageError where there is none."""
    if (path / SETTINGS).is_file():
        return [path]
    found = sorted(one.parent for one in path.glob(f"evaluate-*/{SETTINGS}"))
    if not found:
        raise UsageError(f"{path}: holds no evaluation: neither {SETTINGS} nor a directory evaluate-NAME with it")
    return found


def _measured(stored: Stored) -> LeaderboardRow:
    path = stored.directory / RESULTS
    ended = path.is_file()
    counted = read_results(path) if ended else results(stored.samples)
    names = dict.fromkeys(one.series for one in counted)
    domains = Counter(benchmark for benchmark, _ in names)
    cells = {}
    for benchmark, domain in names:
        mine = [one for one in counted if one.series == (benchmark, domain)]
        label = benchmark if domains[benchmark] == 1 else f"{benchmark} ({domain})"
        cells[label] = _cell(stored, benchmark, mine, ended=ended)
    return LeaderboardRow(about(stored).model or str(stored.directory), cells, stored.directory)


def _cell(stored: Stored, benchmark: str, problems: Sequence[ProblemResult], *, ended: bool) -> Cell:
    shares = [np.nan if one.share is None else one.share for one in problems]
    found = mean_interval(np.array(shares, dtype=np.float64), max(one.samples for one in problems))
    said = about(stored, benchmark)
    samples = sorted({one.samples for one in problems})
    settings = {
        "k": str(samples[-1]) if len(samples) == 1 else f"{samples[0]} to {samples[-1]}",
        "budget": _text(said.max_tokens),
        "protocol": said.protocol or UNSTATED,
        "temperature": _text(said.temperature),
        "top-p": _text(said.top_p),
        "YaRN": _text(said.yarn) if said.yarn or not said.protocol else "none",
        "problems": str(len(problems)),
        "made with": said.tool,
    }
    remarks = [] if ended else ["still under way: its problems so far"]
    if found.problems < len(problems):
        remarks.append(f"over {found.problems:,} of {len(problems):,} problems: the others could not be scored")
    lost = sum(one.samples - one.scorable for one in problems)
    if lost:
        remarks.append(f"{lost:,} completions could not be scored")
    if not found.problems:
        return Cell(None, settings=settings, remarks=tuple(remarks), problems=0)
    return Cell(found.value, found.low, found.high, found.problems, settings, tuple(remarks))


def _text(number: float | None) -> str:
    return UNSTATED if number is None else f"{number:g}" if isinstance(number, float) else str(number)


def _told_apart(rows: Sequence[LeaderboardRow]) -> Iterator[LeaderboardRow]:
    """Rows of models with one name carry their directories too."""
    counted = Counter(row.model for row in rows)
    for row in rows:
        name = row.model if counted[row.model] == 1 else f"{row.model} ({row.directory})"
        yield LeaderboardRow(name, row.cells, row.directory)


def _quoted(quotes: Sequence[Quote]) -> Iterator[LeaderboardRow]:
    for model, source in dict.fromkeys((one.model, one.source) for one in quotes):
        mine = [one for one in quotes if (one.model, one.source) == (model, source)]
        yield LeaderboardRow(model, {one.benchmark: _quoted_cell(one) for one in mine}, source=source)


def _quoted_cell(quote: Quote) -> Cell:
    yarn = None if quote.yarn is None else float(quote.yarn)
    settings = {"k": _text(quote.k), "budget": _text(quote.budget), "YaRN": _text(yarn)}
    return Cell(quote.value, settings=settings, remarks=() if quote.note is None else (quote.note,))


def _usual(rows: Sequence[LeaderboardRow], benchmark: str) -> dict[str, str]:
    measured = [row.cells[benchmark] for row in rows if row.source is None and benchmark in row.cells]
    quoted = [row.cells[benchmark] for row in rows if row.source is not None and benchmark in row.cells]
    cells = measured or quoted
    names = dict.fromkeys(chain.from_iterable(cell.settings for cell in cells))
    found = {}
    for name in names:
        values = Counter(cell.settings.get(name, UNSTATED) for cell in cells)
        found[name] = values.most_common(1)[0][0]  # of several as common, that of the first row
    return found


def differs(cell: Cell, usual: Mapping[str, str]) -> str:
    """What a reader must know of a cell beside its column: how it was asked otherwise, and its remarks."""
    said = [f"{name} {value}" for name, value in cell.settings.items() if value != usual.get(name, UNSTATED)]
    return "; ".join([*said, *cell.remarks])


def markdown(board: Leaderboard) -> list[str]:
    """The table in Markdown, with footnotes: scores in percent, with their 95 % intervals; quoted ones in italics."""
    notes: dict[str, int] = {}
    heads = [f"{_cut(name)} avg@{board.usual[name].get('k', '?')}" for name in board.benchmarks]
    lines = [_line(["model", *heads]), _line(["---"] * (len(heads) + 1))]
    for row in board.rows:
        cells = [_shown(board, row, name, notes) for name in board.benchmarks]
        label = _cut(row.model)
        lines.append(_line([label if row.source is None else f"{label} (quoted)", *cells]))
    lines += ["", "Percent, with 95 % intervals over problems where we measured.", ""]
    for name in board.benchmarks:
        asked = ", ".join(f"{key} {value}" for key, value in board.usual[name].items() if value != UNSTATED)
        lines.append(f"- {_cut(name)}: {asked or 'nobody says how it was asked'}")
    sources = dict.fromkeys(row.source for row in board.rows if row.source is not None)
    said = (
        "*quoted*, not measured here, and in no interval; beyond k, budget and YaRN nothing is known of how they asked"
    )
    lines += [f"- {said}: {_cut(source)}" for source in sources]
    lines += ["", *(f"[{number}] {note}" for note, number in notes.items())] if notes else []
    return lines


def _shown(board: Leaderboard, row: LeaderboardRow, benchmark: str, notes: dict[str, int]) -> str:
    cell = row.cells.get(benchmark)
    if cell is None:
        return ""
    if cell.value is None:
        text = "none"
    elif row.source is not None:
        text = f"*{100 * cell.value:.1f}*"
    else:
        text = f"{100 * cell.value:.1f} ({100 * (cell.low or 0.0):.1f} to {100 * (cell.high or 0.0):.1f})"
    note = differs(cell, board.usual[benchmark])
    return f"{text} [{notes.setdefault(_cut(note), len(notes) + 1)}]" if note else text


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _cut(text: str) -> str:
    """A name on one line, which cannot end its cell."""
    return " ".join(text.split()).replace("|", "\\|")


def document(board: Leaderboard) -> dict[str, Any]:
    """The table as JSON."""
    rows = []
    for row in board.rows:
        cells: dict[str, Any] = {}
        for name, cell in row.cells.items():
            cells[name] = {**asdict(cell), "differs": differs(cell, board.usual[name])}
        place = {"directory": row.directory, "quoted": row.source is not None, "source": row.source}
        rows.append({"model": row.model, **place, "scores": cells})
    return {"benchmarks": [{"name": name, "usual": board.usual[name]} for name in board.benchmarks], "rows": rows}
