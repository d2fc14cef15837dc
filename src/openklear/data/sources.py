"""Which files a source's path means.

    data/train.jsonl             a file
    data/                        every file below it that can be read (`formats.KINDS`), hidden ones left out
    data/**/*.parquet            a glob; `**` is any number of directories
    hub:owner/name               a data set of the hub, all its files that can be read
    hub:owner/name@v1:train/*    the same at a revision (branch, tag or commit), and the files that a glob takes

Files come in the order of their names, directory by directory, whatever the file system's. `resolve` names them all;
`choose` takes of them what a role reads: rows, not descriptions, of one configuration and one split.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from glob import glob, has_magic
from pathlib import Path

from openklear.data import hub
from openklear.data.configs import Config, configs, one_config, one_directory
from openklear.data.describing import SAVED, STATE, table_of, why_no_rows
from openklear.data.formats import KINDS, kind_of, nearest_name
from openklear.data.splits import EVERY, AskedSplit, split_of, taken
from openklear.errors import DataError

_SHOWN = 6


@dataclass(frozen=True, slots=True)
class Chosen:
    """The files that a source reads, at least one, and those beside them that it does not."""

    files: tuple[Path, ...]
    read: tuple[str, ...] = ()
    """Their names inside the data set, where some were left or a split was chosen."""
    split: str | None = None
    """The one that was chosen."""
    left: tuple[tuple[str, str], ...] = ()
    """(name, why)."""

    def said(self) -> str | None:
        """What to tell a person; None where all files are read and nothing was chosen."""
        if not self.left and self.split is None:
            return None
        named = f" (split {self.split})" if self.split is not None else ""
        text = f"reads {_listed(self.read)}{named}"
        by_reason: dict[str, list[str]] = {}
        for name, why in self.left:
            by_reason.setdefault(why, []).append(name)
        parts = [f"{_listed(names)} ({why})" for why, names in by_reason.items()]
        return f"{text}; leaves {'; '.join(parts)}" if parts else text


@dataclass(frozen=True, slots=True)
class _Place:
    """Files that can be read, in order, the directory that their names count from, and the path's glob."""

    root: Path
    files: list[Path]
    pattern: str | None = None


def resolve(path: str) -> list[Path]:
    """The files of a source, in order; at least one. DataError, with the nearest name, where there is none."""
    return _found(path).files


def choose(path: str, role: str, split: str | None = None, *, fetch: bool = True) -> Chosen:
    """The files of a source that its role reads; `split` names another split than the role's own.

    A file that is named itself is read whatever its name. Without `fetch` the hub is not asked. DataError where there
    is nothing, or where the path or `split` must say what is meant.
    """
    if not path.startswith(hub.PREFIX) and Path(path).is_file():
        if split is not None:
            raise DataError(f"{path}: is one file, which has no splits; leave split out")
        return Chosen((Path(path),))
    found = _found(path, describe=True, local=not fetch)
    names = {file: file.relative_to(found.root).as_posix() for file in found.files}
    left = {name: why for file, name in names.items() if (why := why_no_rows(file, name))}
    kept = [file for file in found.files if names[file] not in left]
    if not kept:
        raise DataError(f"{path}: holds {_listed([*left])}, but no rows; name the files that hold them")
    asked = AskedSplit(path, role, split, found.pattern)
    splits = _by_split(found, {file: names[file] for file in kept}, asked, left)
    wanted = taken([*splits], asked)
    for one, files in splits.items():
        if one not in wanted:
            left |= {names[file]: f"split {one}" if one else "names no split" for file in files}
    read = tuple(file for file in kept if names[file] not in left)
    only = wanted[0] if len(wanted) == 1 else None
    return Chosen(read, tuple(names[file] for file in read), only, tuple(left.items()))


def _by_split(
    found: _Place, names: dict[Path, str], asked: AskedSplit, left: dict[str, str]
) -> dict[str | None, list[Path]]:
    """The files of one configuration by their splits; those of the others go to `left`."""
    known = configs(found.root, left)
    config = None
    if asked.split != EVERY:
        config = one_config(known, asked) if found.pattern is None else None
        if config is None:
            one_directory([*names.values()], asked)
    splits: dict[str | None, list[Path]] = {}
    for file, name in names.items():
        inside, split = config.split_of(name) if config else (True, _split(file, name, found.root, known))
        if inside:
            splits.setdefault(split, []).append(file)
        else:
            left[name] = f"not of the configuration {config.name}" if config else ""
    if not splits and config is not None:
        raise DataError(f"{asked.path}: the configuration {config.name} of its README matches no file; correct it")
    return splits


def _split(file: Path, name: str, root: Path, known: Sequence[Config]) -> str | None:
    """By the configurations if all that hold the file agree, by what `save_to_disk` noted, or by the file's name."""
    told: set[str | None] = set()
    for config in known:
        inside, split = config.split_of(name)
        told |= {split} if inside else set()
    if len(told) == 1:
        return told.pop()
    if file.parent != root and file.parent.name in table_of(file.parent.with_name(SAVED)).get("splits", ()):
        return file.parent.name
    noted = table_of(file.with_name(STATE)).get("_split") if file.suffix == ".arrow" else None
    return split_of(name) or (noted if isinstance(noted, str) else None)


def _found(path: str, *, describe: bool = False, local: bool = False) -> _Place:
    """With `describe` the README of a data set of the hub is fetched too."""
    if path.startswith(hub.PREFIX):
        return _of_hub(path, describe, local)
    place = Path(path)
    if place.is_file():
        return _Place(place.parent, [place])
    if place.is_dir():
        return _Place(place, _readable(_below(place), path))
    if has_magic(path):
        return _of_glob(path)
    hint = nearest_name(place)
    raise DataError(f"{path}: no such file or directory{', and ' if hint.startswith('no ') else '; '}{hint}")


def _of_hub(source: str, describe: bool, local: bool) -> _Place:
    directory, pattern = hub.fetch(source, describe=describe, local=local)
    found = _below(directory)
    if pattern is not None:
        found = [file for file in found if hub.matches(file.relative_to(directory).as_posix(), pattern)]
    if not any(map(kind_of, found)):
        raise DataError(f"{source}: {_nothing(pattern or '', hub.names(source))}")
    return _Place(directory, _readable(found, source), pattern)


def _of_glob(pattern: str) -> _Place:
    found = [Path(name) for name in glob(pattern, recursive=True) if os.path.isfile(name)]
    root = _fixed_part(pattern)
    wanted = os.path.relpath(pattern, root)
    if not found:
        names = [file.relative_to(root).as_posix() for file in _below(root)] if root.is_dir() else []
        raise DataError(f"{pattern}: {_nothing(wanted, names) if root.is_dir() else f'there is no directory {root}'}")
    return _Place(root, _readable(found, pattern), wanted)


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
        directories[:] = [name for name in directories if not name.startswith((".", "__"))]
        found += [Path(here, name) for name in files if not name.startswith(".")]
    return found


def _readable(files: Iterable[Path], source: str) -> list[Path]:
    files = sorted(set(files), key=lambda file: file.parts)
    readable = [file for file in files if kind_of(file) is not None]
    if not readable:
        others = ", ".join(file.name for file in files[:3]) or "no files"
        raise DataError(f"{source}: holds {others}, but no readable file; known endings: {', '.join(KINDS)}")
    return readable


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f"{', '.join(names[:_SHOWN])}{more}"
