"""Problems that are known to be wrong, as tables beside the definitions: by id or by title."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

from openklear.evaluation.catalogue.definition import DATA
from openklear.recipe.load import read_toml


@cache
def errata(name: str) -> Mapping[str, str]:
    """question_id or title -> what is wrong, of the table `data/NAME.toml`; empty where there is none."""
    path = DATA / f"{name}.toml"
    rows = read_toml(path)["problem"] if path.is_file() else []
    return {str(row.get("question_id") or row["title"]): f"{row['kind']}: {row['what']}" for row in rows}
