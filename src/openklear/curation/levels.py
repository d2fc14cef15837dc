"""Whether the levels that `levels` and `correct_only` name are levels of the demonstrations."""

from __future__ import annotations

from collections import Counter

from openklear import progress
from openklear.curation.rules.filters import EVERY_LEVEL
from openklear.curation.table import RowTable
from openklear.errors import DataError
from openklear.recipe.curation import DEFAULT_LEVELS, Data

_SHOWN = 12


def require_levels(table: RowTable, data: Data) -> None:
    """DataError for a named level that no row has as it was read: nothing of it would be kept, or checked.

    The default level is only said to be absent. Levels that [data.difficulty] gives are known to the schema.
    """
    checked = [level for level in data.correct_only if level != EVERY_LEVEL]
    default = tuple(checked) == DEFAULT_LEVELS
    labelled = data.difficulty is not None
    named = {"levels": [] if labelled else data.levels, "correct_only": checked if default or not labelled else []}
    if not len(table) or not any(named.values()):
        return
    found: Counter[str | None] = Counter()
    for batch in table.batches(("level",)):
        found.update(batch["level"].to_pylist())
    for key, levels in named.items():
        missing = ", ".join(f'"{level}"' for level in levels if level not in found)
        if not missing:
            continue
        text = f"{key} names the level {missing}, which no demonstration has; {_shown(found)}"
        if key == "correct_only" and default:
            progress.say(f"prepare: {text}; no response is checked")
            continue
        rest = "[] for all of them" if key == "levels" else '["*"] for all responses, or [] for none'
        raise DataError(f"data.{text}; name those, {'or ' if key == 'levels' else ''}{rest}")


def _shown(found: Counter[str | None]) -> str:
    levels = [(level, count) for level, count in found.most_common() if level is not None]
    if not levels:
        return "none has a level"
    more = f" and {len(levels) - _SHOWN} more" if len(levels) > _SHOWN else ""
    listed = ", ".join(f'"{level}" ({count:,} rows)' for level, count in levels[:_SHOWN])
    without = f"; {found[None]:,} rows have none" if found[None] else ""
    return f"there are {listed}{more}{without}"
