"""Whether the levels that `correct_only` names are levels of the demonstrations."""

from __future__ import annotations

from collections import Counter

from openklear import progress
from openklear.curation.rules.filters import EVERY_LEVEL
from openklear.curation.table import RowTable
from openklear.errors import DataError
from openklear.recipe.curation import DEFAULT_LEVELS, Data

_SHOWN = 12


def require_levels(table: RowTable, data: Data) -> None:
    """DataError for a named level that no row has as it was read: nothing of it would be checked.

    The default level is only said to be absent. Levels that [data.difficulty] gives are known to the schema.
    """
    named = [level for level in data.correct_only if level != EVERY_LEVEL]
    if not named or not len(table) or (data.difficulty is not None and tuple(named) != DEFAULT_LEVELS):
        return
    found: Counter[str | None] = Counter()
    for batch in table.batches(("level",)):
        found.update(batch["level"].to_pylist())
    missing = ", ".join(f'"{level}"' for level in named if level not in found)
    if not missing:
        return
    text = f"correct_only names the level {missing}, which no demonstration has; {_shown(found)}"
    if tuple(named) != DEFAULT_LEVELS:
        raise DataError(f'data.{text}; name those, ["*"] for all responses, or [] for none')
    progress.say(f"prepare: {text}; no response is checked")


def _shown(found: Counter[str | None]) -> str:
    levels = [(level, count) for level, count in found.most_common() if level is not None]
    if not levels:
        return "none has a level"
    more = f" and {len(levels) - _SHOWN} more" if len(levels) > _SHOWN else ""
    listed = ", ".join(f'"{level}" ({count:,} rows)' for level, count in levels[:_SHOWN])
    without = f"; {found[None]:,} rows have none" if found[None] else ""
    return f"there are {listed}{more}{without}"
