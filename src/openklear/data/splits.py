"""Which split a file of a data set belongs to, and which split a role reads.

A split is told as the hub tells it: by the README's `configs`, by a shard's name
(`data/train_sft-00000-of-00004.parquet`), or by a keyword that stands alone in the name of a file or a directory
(`main/test.jsonl`, `gsm8k_train.csv`, `dev/a.json`). Where names hold several keywords, the one that measures wins, so
that a test set is never taken for training by accident.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from openklear.errors import DataError

KEYWORDS = {
    "test": ("test", "testing", "eval", "evaluation", "heldout", "holdout"),
    "validation": ("validation", "valid", "val", "dev"),
    "train": ("train", "training"),
}
"""Family of splits -> the words that name it; the hub's, and two of our own. An earlier family wins."""
WANTED = {"demonstrations": "train", "problems": "train", "validation": "validation"}
"""Role -> the family it reads; all others measure, and read the test split."""
EVERY = "all"
"""The `split` that means every file."""
_EDGE = r"[-._ 0-9*?\[\]{}]"
_WORDS = {
    family: re.compile(rf"(?:^|{_EDGE})(?:{'|'.join(words)})(?:{_EDGE}|$)", re.IGNORECASE)
    for family, words in KEYWORDS.items()
}
_SHARD = re.compile(r"(?P<split>[\w.]+)-\d{5}-of-\d{5}.*")


@dataclass(frozen=True, slots=True)
class AskedSplit:
    """What a source asks for: its path as written, its role, its `split`, and the glob in its path."""

    path: str
    role: str
    split: str | None = None
    pattern: str | None = None


def family(name: str) -> str | None:
    """The family that a name, or any part of a path, belongs to; None where no keyword stands in it."""
    parts = PurePosixPath(name).parts
    return next((one for one, words in _WORDS.items() if any(map(words.search, parts))), None)


def split_of(name: str) -> str | None:
    """The split of a file by its path inside the data set; None where the path names none."""
    place, of = PurePosixPath(name), family(name)
    found = _SHARD.fullmatch(place.name)
    if found is None or family(found["split"]) != of:
        return of
    return found["split"] if of is not None or place.parent.name == "data" else None


def taken(splits: Sequence[str | None], asked: AskedSplit) -> tuple[str | None, ...]:
    """The splits that are read, of those there are; None stands for files that name none.

    DataError where the recipe must say which, with what to write.
    """
    names = [name for name in splits if name is not None]
    if asked.split == EVERY or (asked.split is None and not names):
        return tuple(splits)
    if asked.split is not None:
        return (_named(asked.split, names, asked),)
    wanted = WANTED.get(asked.role, "test")
    alike = [wanted] if wanted in names else [name for name in names if family(name) == wanted]
    if len(alike) == 1:
        return (alike[0],)
    trains = wanted == "train"
    if not alike and trains and None in splits:
        return (None,)
    if not alike and len(names) == 1 and None not in splits:
        measures = family(names[0]) in ("test", "validation")
        if not (trains and measures) or family(asked.pattern or "") == family(names[0]):
            return (names[0],)
    raise DataError(_which(names, alike, wanted, asked))


def _named(split: str, names: Sequence[str], asked: AskedSplit) -> str:
    alike = [split] if split in names else [name for name in names if family(name) == family(split) is not None]
    if len(alike) == 1:
        return alike[0]
    listed = ", ".join(names) if names else "none: its files name no split, so leave split out"
    raise DataError(f'{asked.path}: split = "{split}" is not one of its splits; they are {listed}')


def _which(names: Sequence[str], alike: Sequence[str], wanted: str, asked: AskedSplit) -> str:
    listed = ", ".join(names)
    if alike:
        what = f"has the splits {listed}, of which {', '.join(alike)} may be meant"
    else:
        what = f"has no {wanted} split but {listed}" if len(names) > 1 else f"has only the split {listed}"
    if wanted == "train" and not alike:
        what += ", which other models are measured by"
    return (
        f'{asked.path}: the role "{asked.role}" reads the {wanted} split, but the set {what}; say which one is meant, '
        f'as in split = "{(alike or names)[0]}", or split = "{EVERY}" for every file'
    )
