"""stage.json around a stage: how far it got, its attempts, and the hashes of what it left.

state        "unfinished", then "finished" once all its files are on disk
fingerprint  and `parts`: what its result depends on
attempts     when each began, how it ended, its seconds, and the settings that only change its pace
seconds      wall time summed over all attempts; one that was killed counts up to its last sign of life, which is
             the newest file that it left (none where the directory was copied since: copies have times of their own)
files        relative path -> hash, of what later stages read
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path
from typing import Any

from openklear import progress
from openklear.durable import files
from openklear.errors import NoSpace
from openklear.run.fingerprint import Parts, fingerprint

OWN = ("stage.json", "verdicts.jsonl", "timings.jsonl", "checkpoints/", "model/README")
"""What no later stage reads, what is hashed elsewhere, and the model card, which later stages write into."""
SPARE = "iterations/"
"""Rollouts may be removed by hand to save space; the report does without them."""


@contextmanager
def recorded(directory: Path, parts: Parts, pace: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Keep stage.json while the stage runs; what is put into the yielded record is written with it."""
    record = files.stage_record(directory) or {}
    record |= {"state": "unfinished", "fingerprint": fingerprint(parts), "parts": parts}
    attempt: dict[str, Any] = {
        "started": datetime.now(UTC).isoformat(),
        "place": _place(directory),
        "settings": dict(pace),
    }
    attempt |= {"ended": None, "seconds": 0.0}
    record["attempts"] = [*record.get("attempts", ()), attempt]
    earlier = float(record.setdefault("seconds", 0.0))
    files.write_json(directory / "stage.json", record)
    started = time.monotonic()

    def end(how: str) -> None:
        attempt.update(ended=how, seconds=time.monotonic() - started)
        record["seconds"] = earlier + attempt["seconds"]

    try:
        yield record
    except BaseException as error:  # an interrupt too: the time counts, whatever ended the stage
        with suppress(OSError, NoSpace):  # the stage's own error is the one to report
            end("failed" if isinstance(error, Exception) else "interrupted")
            files.write_json(directory / "stage.json", record)
        raise
    files.fsync_tree(directory)
    record |= {"state": "finished", "files": file_hashes(directory)}
    end("finished")
    files.write_json(directory / "stage.json", record)


def tell_found(directory: Path, record: dict[str, Any], found: Mapping[str, Any]) -> None:
    """Write beside the present attempt what "auto" stands for in it, and say it."""
    settings = record["attempts"][-1]["settings"]
    settings.update(found)
    files.write_json(directory / "stage.json", record)
    if found:
        listed = ", ".join(f"{key} = {_shown(value)}" for key, value in found.items())
        progress.say(f"{directory.name}: auto stands for {listed}")


def _shown(value: Any) -> str:
    return f"{value:_}" if isinstance(value, int) and not isinstance(value, bool) else str(value).lower()


def settle(directories: Iterable[Path]) -> None:
    """Write down how long killed attempts were alive; only the holder of the run's lock may ask."""
    for directory in directories:
        record = files.stage_record(directory)
        if record is not None and settled(directory, record) != record:
            files.write_json(directory / "stage.json", settled(directory, record))


def settled(directory: Path, record: Mapping[str, Any]) -> dict[str, Any]:
    """The record with the seconds of an attempt that never said its end."""
    attempts = list(record.get("attempts", ()))
    if not attempts or attempts[-1]["ended"] is not None:
        return dict(record)
    last = attempts[-1]
    seconds = 0.0
    if last["place"] == _place(directory):
        seconds = max(0.0, _last_sign(directory) - datetime.fromisoformat(last["started"]).timestamp())
    attempts[-1] = {**last, "ended": "killed", "seconds": seconds}
    return {**record, "attempts": attempts, "seconds": float(record["seconds"]) + seconds}


def file_hashes(directory: Path) -> dict[str, str]:
    """Relative path -> hash of every file that a later stage may read."""
    names = (path.relative_to(directory).as_posix() for path in sorted(directory.rglob("*")) if path.is_file())
    return {name: files.hash_file(directory / name) for name in names if not name.startswith(OWN)}


def damaged(directory: Path, record: Mapping[str, Any]) -> list[str]:
    """The files that are not what the finished stage wrote, or gone; files that came later are nobody's loss."""
    found = []
    for name, hashed in record.get("files", {}).items():
        path = directory / name
        if not path.is_file():
            found += [] if name.startswith(SPARE) else [name]
        elif files.hash_file(path) != hashed:
            found.append(name)
    return found


def size(directory: Path, record: Mapping[str, Any]) -> int:
    """Bytes of the files whose hashes are known."""
    paths = (directory / name for name in record.get("files", {}))
    return sum(path.stat().st_size for path in paths if path.is_file())


def _place(directory: Path) -> int:
    """A number that a copy of the directory does not share."""
    return directory.stat().st_ino


def _last_sign(directory: Path) -> float:
    """When the newest file of the stage, or of the work beside it, was written."""
    work = directory.with_name(f"{directory.name}.work")
    every = chain(directory.rglob("*"), work.rglob("*"))
    return max((path.lstat().st_mtime for path in every if not path.is_dir()), default=0.0)
