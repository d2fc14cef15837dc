"""Checkpoints on disk, without what is in them: which there are, and which are as they were written.

A sealed directory holds a place.json with facts and the hash of every other file in it. The file ends with a hash of
its own content, so that a flipped byte is found there too.
"""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import blake2b
from pathlib import Path
from typing import Any

from openklear.durable.files import hash_file, json_text, read_json, write_json
from openklear.errors import DataError

PLACE = "place.json"


def seal(directory: Path, facts: Mapping[str, Any]) -> None:
    """Write place.json over all files that are in the directory by now."""
    written = [path for path in sorted(directory.rglob("*")) if path.is_file()]
    known = {**facts, "files": {path.relative_to(directory).as_posix(): hash_file(path) for path in written}}
    write_json(directory / PLACE, {**known, "hash": _hash(known)})


def seal_again(directory: Path, facts: Mapping[str, Any]) -> None:
    """Change facts of a sealed directory; the hashes of its files stay those they were written with."""
    known = {**read_json(directory / PLACE), **facts}
    del known["hash"]
    write_json(directory / PLACE, {**known, "hash": _hash(known)})


def fault(directory: Path) -> str | None:
    """What is wrong with a sealed directory; None where it is as it was written. Reads all of it."""
    try:
        known = read_json(directory / PLACE)
    except DataError as error:
        return str(error)
    if not isinstance(known, dict) or not isinstance(known.get("files"), dict) or known.get("hash") != _hash(known):
        return f"{directory / PLACE} is not what was written"
    for name, hashed in known["files"].items():
        if not (directory / name).is_file():
            return f"{directory / name} is missing"
        if hash_file(directory / name) != hashed:
            return f"{directory / name} is not what was written"
    return None


def checkpoints(stage: Path) -> list[Path]:
    """The checkpoints of a stage, oldest first, sound or not."""
    found = [path for path in (stage / "checkpoints").glob("[0-9]*") if path.is_dir()]
    return sorted(found, key=lambda path: int(path.name))


def latest(stage: Path) -> Path | None:
    """The newest sound checkpoint of a stage."""
    return next((path for path in reversed(checkpoints(stage)) if fault(path) is None), None)


def _hash(known: Mapping[str, Any]) -> str:
    """Of a place.json without its own hash."""
    text = json_text({key: value for key, value in known.items() if key != "hash"})
    return blake2b(text.encode(), digest_size=16).hexdigest()
