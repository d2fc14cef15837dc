"""The configurations of a data set: what its README names (`configs` in the YAML at its head), or else its directories.

configs:
- config_name: main
  data_files:
  - {split: train, path: main/train-*}
  - {split: test, path: main/test-*}
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from openklear.data.splits import AskedSplit, family, split_of
from openklear.errors import DataError

README = "README.md"


@dataclass(frozen=True, slots=True)
class Config:
    """One of several ways to read a data set."""

    name: str
    chosen: bool
    """The one that is read where none is named."""
    patterns: Mapping[str | None, tuple[str, ...]]
    """Split -> globs from the data set's root; None: the files' own names tell it."""

    def split_of(self, name: str) -> tuple[bool, str | None]:
        """Whether the file at `name` belongs to it, and the file's split."""
        for split, patterns in self.patterns.items():
            if any(_matches(name, pattern) for pattern in patterns):
                return True, split_of(name) if split is None else split
        return False, None


def configs(root: Path, left: dict[str, str]) -> list[Config]:
    """What the README names; nothing where there is none. One whose YAML cannot be read goes to `left`, with why."""
    if not (root / README).is_file():
        return []
    import yaml  # huggingface-hub reads with it
    from huggingface_hub import metadata_load

    try:
        found = (metadata_load(root / README) or {}).get("configs")
    except (ValueError, OSError, yaml.YAMLError):
        left[README] = "its YAML cannot be read, so files go by their names alone"
        return []
    named = [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []
    read = [_config(one) for one in named]
    return [one for one in read if one.patterns]


def one_config(found: Sequence[Config], asked: AskedSplit) -> Config | None:
    """The only one, or the default; None without any. DataError where the path must say which."""
    if len(found) <= 1:
        return found[0] if found else None
    chosen = [one for one in found if one.chosen] or [one for one in found if one.name == "default"]
    if chosen:
        return chosen[0]
    first = next(_globs(found[0]))
    raise DataError(
        _several([one.name for one in found], f"{first.partition('/')[0]}/*" if "/" in first else first, asked)
    )


def one_directory(names: Sequence[str], asked: AskedSplit) -> None:
    """DataError where directories at the top each hold the same split: they are different sets, or forms of one.

    Not where the path's glob names the split itself: `*/train*` means all of them.
    """
    if family(asked.pattern or "") is not None:
        return
    splits: dict[str, set[str]] = {}
    for name in names:
        top, _, below = name.partition("/")
        split = split_of(below) if below else None
        if split is not None:
            splits.setdefault(top, set()).add(split)
    seen = list(splits.values())
    if len(seen) > 1 and all(seen[0] & one for one in seen[1:]):
        raise DataError(_several(list(splits), f"{next(iter(splits))}/*", asked))


def _several(names: Sequence[str], pattern: str, asked: AskedSplit) -> str:
    glue = ":" if asked.path.startswith("hub:") else "/"
    base = asked.path.removesuffix(asked.pattern or "").rstrip("/:")
    shown = ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
    return (
        f"{asked.path}: holds {len(names)} configurations, {shown}; name the files of one, "
        f'as in path = "{base}{glue}{pattern}"'
    )


def _globs(config: Config) -> Iterator[str]:
    for patterns in config.patterns.values():
        yield from patterns


def _config(raw: Mapping[str, Any]) -> Config:
    below = str(raw.get("data_dir") or "").strip("./")
    patterns: dict[str | None, tuple[str, ...]] = {}
    for split, path in _data_files(raw.get("data_files")):
        place = path.removeprefix("./")
        patterns[split] = (*patterns.get(split, ()), f"{below}/{place}" if below else place)
    if not patterns and below:
        patterns[None] = (f"{below}/**",)
    return Config(str(raw.get("config_name") or "default"), raw.get("default") is True, patterns)


def _data_files(found: Any, split: str = "train") -> Iterator[tuple[str, str]]:
    """(split, glob) of a text, a list of them, a table of splits, or a list of {split, path}."""
    if isinstance(found, str):
        yield split, found
    elif isinstance(found, list):
        for one in found:
            yield from _data_files(one, split)
    elif isinstance(found, dict) and "path" in found:
        yield from _data_files(found["path"], str(found.get("split", split)))
    elif isinstance(found, dict):
        for name, paths in found.items():
            yield from _data_files(paths, str(name))


def _matches(name: str, pattern: str) -> bool:
    """`**` is any number of directories, `*` a part of one name; a directory means all below it."""
    return re.fullmatch(_expression(pattern), name) is not None or name.startswith(f"{pattern.rstrip('/')}/")


def _expression(pattern: str) -> str:
    pieces = re.split(r"(\*\*/|\*\*|\*|\?|\[[^\]]+\])", pattern)
    known = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    return "".join(
        known.get(piece, piece.replace("[!", "[^") if piece.startswith("[") else re.escape(piece)) for piece in pieces
    )
