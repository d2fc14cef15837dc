"""Problems of benchmarks that are known to be wrong: kept in their scores, and counted apart."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path

from openklear.errors import DataError
from openklear.recipe.load import read_toml

DATA = Path(__file__).parent / "data"


@cache
def errata(name: str = "lcb-errata") -> Mapping[str, str]:
    """What is known to be wrong, as "kind: sentence", by question id or title. `name` is a table in `data/`.

    DataError where there is no such table, or a row of it lacks its kind or its sentence.
    """
    path = DATA / f"{name}.toml"
    if not path.is_file():
        known = ", ".join(sorted(file.stem for file in DATA.glob("*-errata.toml")))
        raise DataError(f"{path}: there is no such table of errata; there are {known}")
    found = {}
    for problem, row in read_toml(path).items():
        try:
            found[problem] = f"{row['kind']}: {row['text']}"
        except (KeyError, TypeError) as error:
            raise DataError(f"{path}: {problem} needs a kind and a text; complete it") from error
    return found
