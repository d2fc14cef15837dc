"""Which files a source's path means.

    data/train.jsonl             a file
    data/                        every file below it that can be read (`formats.KINDS`), hidden ones left out
    data/**/*.parquet            a glob; `**` is any number of directories
    hub:owner/name               a data set of the hub, all its files that can be read
    hub:owner/name@v1:train/*    the same at a revision (branch, tag or commit), and the files that a glob takes

Files come in the order of their names, directory by directory, whatever the file system's.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from glob import glob, has_magic
from pathlib import Path

from openklear.data import hub
from openklear.data.formats import KINDS, kind_of, nearest_name
from openklear.errors import DataError


def resolve(path: str) -> list[Path]:
    """The files of a source, in order; at least one. DataError, with the nearest name, where there is none."""
    if path.startswith(hub.PREFIX):
        return _of_hub(path)
    place = Path(path)
    if place.is_file():
        return [place]
    if place.is_dir():
        return _readable(_below(place), path)
    if has_magic(path):
        return _of_glob(path)
    hint = nearest_name(place)
    raise DataError(f"{path}: no such file or directory{', and ' if hint.startswith('no ') else '; '}{hint}")


def _of_hub(source: str) -> list[Path]:
    directory, pattern = hub.fetch(source)
    found = _below(directory)
    if pattern is not None:
        found = [file for file in found if hub.matches(file.relative_to(directory).as_posix(), pattern)]
    if not any(map(kind_of, found)):
        raise DataError(f"{source}: {_nothing(pattern or '', hub.names(source))}")
    return _readable(found, source)


def _of_glob(pattern: str) -> list[Path]:
    found = [Path(name) for name in glob(pattern, recursive=True) if os.path.isfile(name)]
    if not found:
        root = _fixed_part(pattern)
        names = [file.relative_to(root).as_posix() for file in _below(root)] if root.is_dir() else []
        wanted = os.path.relpath(pattern, root)
        raise DataError(f"{pattern}: {_nothing(wanted, names) if root.is_dir() else f'there is no directory {root}'}")
    return _readable(found, pattern)


def _fixed_part(pattern: str) -> Path:
    """The directory before the first part that is a pattern."""
    parts = Path(pattern).parts
    fixed = next(index for index, part in enumerate(parts) if has_magic(part))
    return Path(*parts[:fixed])


def _nothing(wanted: str, names: Sequence[str]) -> str:
    near = get_close_matches(wanted, names, n=1, cutoff=0.0)
    hint = f"the nearest name there is {near[0]}" if near else "there are no files"
    return f"no readable file ({', '.join(KINDS[:4])}) matches; {hint}"


def _below(directory: Path) -> list[Path]:
    """Every file below it except hidden ones; links to directories are not followed, since they may lead in circles."""
    found: list[Path] = []
    for here, directories, files in os.walk(directory):
        directories[:] = [name for name in directories if not name.startswith(".")]
        found += [Path(here, name) for name in files if not name.startswith(".")]
    return found


def _readable(files: Iterable[Path], source: str) -> list[Path]:
    files = sorted(set(files), key=lambda file: file.parts)
    readable = [file for file in files if kind_of(file) is not None]
    if not readable:
        others = ", ".join(file.name for file in files[:3]) or "no files"
        raise DataError(f"{source}: holds {others}, but no readable file; known endings: {', '.join(KINDS)}")
    return readable
