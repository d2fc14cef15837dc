"""Files that outlive a kill: whole or not there, never torn.

Everything that is being written carries the name `.partial-NAME` beside its place and takes its own name by a rename
once its bytes are on the disk. What a killed process left under such a name is removed on the next use.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import math
import os
import shutil
import socket
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from openklear.errors import DataError, NoSpace, OpenKlearError, RunLocked, UsageError

_PARTIAL = ".partial-"
_held_locks: set[int] = set()


def write_atomic(path: Path, data: bytes | str) -> None:
    """Put `data` (text as UTF-8) at `path`: after a kill the old bytes or the new ones stand there.

    Missing parent directories are made. Raises NoSpace where the disk is full.
    """
    payload = data.encode() if isinstance(data, str) else data
    with writing(path) as file:
        file.write(payload)


@contextmanager
def writing(path: Path) -> Iterator[BinaryIO]:
    """Write the yielded file bit by bit; at the end it stands at `path`, whole and on the disk.

    On an error the old bytes stay. Missing parent directories are made. Raises NoSpace where the disk is full.
    """
    partial = _partial(path)
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with open(partial, "wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            os.replace(partial, path)
        except BaseException:  # an interrupt too: what is half written must not stay
            partial.unlink(missing_ok=True)
            raise
        fsync_directory(path.parent)


@contextmanager
def whole_directory(path: Path) -> Iterator[Path]:
    """Fill the yielded empty directory; at the end it stands at `path`, whole and on the disk.

    On an error it is removed. A directory that stands at `path` already is replaced; a kill between the two renames
    of that replacement leaves none, and the stage, called again, writes it again. Raises NoSpace.
    """
    partial, old = _partial(path), _partial(path.with_name(f"old-{path.name}"))
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        remove(partial)
        remove(old)
        partial.mkdir()
        try:
            yield partial
            fsync_tree(partial)
            if path.exists():
                os.replace(path, old)
            os.replace(partial, path)
        except BaseException:  # an interrupt too: what is half written must not stay
            remove(partial)
            raise
        fsync_directory(path.parent)
        remove(old)


def write_json(path: Path, value: Any) -> None:
    """Write a JSON document atomically. A number that is not finite becomes null, as JSON knows no other way."""
    write_atomic(path, json_text(value, indent=2) + "\n")


def read_json(path: Path) -> Any:
    """Read a JSON document; DataError names the file that is missing or malformed."""
    try:
        return json.loads(_read_text(path))
    except json.JSONDecodeError as error:
        raise DataError(f"{path}:{error.lineno}: not valid JSON: {error.msg}") from error


def write_jsonl_atomic(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write rows as JSON lines, atomically; one row is in memory at a time."""
    with writing(path) as file:
        for row in rows:
            file.write(json_line(row))


def json_line(row: Mapping[str, Any]) -> bytes:
    """A row as a line of a .jsonl file."""
    return f"{json_text(row)}\n".encode()


def append_jsonl(path: Path, row: Mapping[str, Any]) -> None:
    """Add one row to JSON lines, in one write: who follows the file sees whole lines. It outlives a killed process.

    What outlives a loss of power is what `sync` brought to the disk. NoSpace where the disk is full; the row is then
    not there at all.
    """
    line = json_line(row)
    with disk_errors(path):
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
        try:
            end = os.fstat(descriptor).st_size
            if os.write(descriptor, line) < len(line):
                os.ftruncate(descriptor, end)
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        finally:
            os.close(descriptor)


def sync(path: Path) -> None:
    """Bring a file that has grown to the disk."""
    with disk_errors(path):
        _fsync(path, os.O_RDONLY)


def read_whole_jsonl(path: Path) -> list[dict[str, Any]]:
    """The rows of a file that a killed process was writing, up to the first line that is not whole."""
    rows: list[dict[str, Any]] = []
    for line in path.read_bytes().split(b"\n")[:-1] if path.is_file() else ():
        try:
            row = json.loads(line)
        except ValueError:  # power was lost: what follows was never brought to the disk
            break
        if not isinstance(row, dict):
            break
        rows.append(row)
    return rows


def read_jsonl(path: Path) -> list[dict[str, Any]]:
    """Read JSON lines; DataError names file:line of a row that is not a JSON object. Blank lines are skipped."""
    rows: list[dict[str, Any]] = []
    for number, line in enumerate(_read_text(path).split("\n"), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise DataError(f"{path}:{number}: not valid JSON: {error.msg}") from error
        if not isinstance(row, dict):
            raise DataError(f"{path}:{number}: a JSON object was expected, not {type(row).__name__}")
        rows.append(row)
    return rows


def hash_file(path: Path) -> str:
    """32 hexadecimal digits of a file's content."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()


def stage_record(directory: Path) -> dict[str, Any] | None:
    """stage.json of a stage's directory; None where the stage has not begun. DataError where it is damaged."""
    path = directory / "stage.json"
    if not path.is_file():
        return None
    remedy = f"restore it from a copy of the run, or move {directory} away to run the stage again"
    try:
        record: dict[str, Any] = read_json(path)
    except DataError as error:
        raise DataError(f"{error}; {remedy}") from error
    if not isinstance(record, dict) or not {"state", "fingerprint", "parts"} <= record.keys():
        raise DataError(f"{path}: not a stage's record; {remedy}")
    return record


@contextmanager
def lock(root: Path) -> Iterator[None]:
    """Hold the run directory for this process; RunLocked names the process that holds it.

    The system gives the lock back when the process ends, however it ends. Forked children let go of it at once, so
    that an orphan of a killed run does not keep the next one out.
    """
    try:
        root.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(root / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        if _is_disk_full(error):
            raise
        raise UsageError(f"cannot use {root} as a run directory: {error.strerror}; choose another --output") from error
    with _held(descriptor, fcntl.LOCK_EX, root):
        os.ftruncate(descriptor, 0)
        os.write(descriptor, json.dumps({"pid": os.getpid(), "host": socket.gethostname()}).encode())
        yield


@contextmanager
def reading(root: Path) -> Iterator[None]:
    """Keep others from working in a run directory while it is read, without writing there; RunLocked as with `lock`."""
    with _held(os.open(root / "lock", os.O_RDONLY | os.O_CLOEXEC), fcntl.LOCK_SH, root):
        yield


def require_space(path: Path, bytes_needed: int, what: str) -> None:
    """Raise NoSpace if fewer than `bytes_needed` bytes are free where `path` is or will be; `what` names the need."""
    place = next(p for p in (path, *path.absolute().parents) if p.exists())
    free = shutil.disk_usage(place).free
    if free < bytes_needed:
        raise NoSpace(
            f"{what} needs {_size(bytes_needed)}, but {_size(free)} are free at {place}; "
            "free some space and run the same command again"
        )


@contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Turn the many ways in which libraries say 'disk full' into one NoSpace that names `path`."""
    try:
        yield
    except OpenKlearError:
        raise
    except Exception as error:  # safetensors, pyarrow and torch each raise a type of their own; others pass unchanged
        if not _is_disk_full(error):
            raise
        raise NoSpace(
            f"no space left on the disk while writing {path}; free some and run the same command again: "
            "it goes on from the last checkpoint"
        ) from error


def remove_partials(root: Path) -> None:
    """Remove what killed processes left half written, beside the stages and at any depth in them.

    Only the holder of the lock may do this. Directories that belong to no stage are not searched.
    """
    found = list(root.glob(f"{_PARTIAL}*"))
    for record in root.glob("*/stage.json"):
        found += record.parent.rglob(f"{_PARTIAL}*")
    for path in sorted(found, key=lambda p: len(p.parts)):
        remove(path)


def remove(path: Path) -> None:
    """Remove a file, a link or a whole directory, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def publish(made: Path, path: Path) -> None:
    """Bring a file to the disk, then give it its name: after a kill it is whole there, or what was there before is."""
    _fsync(made, os.O_RDONLY)
    os.replace(made, path)
    fsync_directory(path.parent)


def fsync_tree(directory: Path) -> None:
    """Bring every file and directory below `directory`, and itself, to the disk."""
    for parent, _, files in os.walk(directory):
        for name in files:
            _fsync(Path(parent, name), os.O_RDONLY)
        fsync_directory(Path(parent))


def fsync_directory(directory: Path) -> None:
    """Bring a directory's entries to the disk: a rename lasts only after this."""
    _fsync(directory, os.O_RDONLY | os.O_DIRECTORY)


def _fsync(path: Path, flags: int) -> None:
    descriptor = os.open(path, flags)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _partial(path: Path) -> Path:
    return path.with_name(f"{_PARTIAL}{path.name}")


def _read_text(path: Path) -> str:
    try:
        return path.read_bytes().decode()
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not UTF-8 at byte {error.start}") from error


def json_text(value: Any, indent: int | None = None) -> str:
    """A value as JSON that every reader takes: see `write_json`."""
    text = json.dumps(_plain(value), ensure_ascii=False, indent=indent, allow_nan=False)
    try:
        text.encode()
    except UnicodeEncodeError:  # a lone surrogate, which model output can hold, has only an escaped form
        return json.dumps(_plain(value), ensure_ascii=True, indent=indent, allow_nan=False)
    return text


def _plain(value: Any) -> Any:
    """The value as JSON can hold it: numpy scalars and arrays through `tolist`, paths as text, no NaN, no infinity."""
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, Sequence | set | frozenset):
        return [_plain(item) for item in (sorted(value) if isinstance(value, set | frozenset) else value)]
    if hasattr(value, "tolist"):
        return _plain(value.tolist())
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    raise TypeError(f"{type(value).__name__} has no JSON form")


@contextmanager
def _held(descriptor: int, kind: int, root: Path) -> Iterator[None]:
    _held_locks.add(descriptor)
    try:
        try:
            fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise RunLocked(f"{root} is in use by {_holder(root / 'lock')}; wait for it or stop it") from error
        yield
    finally:
        _held_locks.discard(descriptor)
        os.close(descriptor)


def _holder(path: Path) -> str:
    with suppress(DataError, KeyError, TypeError):  # the holder may be writing its name just now
        held = read_json(path)
        return f"process {held['pid']} on {held['host']}"
    return "another process"


def _is_disk_full(error: BaseException) -> bool:
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return True
    # safetensors passes the system's words on; torch's archive writer notices only that the file is too short
    words = ("No space left on device", "PytorchStreamWriter failed writing", "inline_container.cc", "unexpected pos")
    return any(word in str(error) for word in words)


def _size(count: int) -> str:
    if count < 1 << 20:
        return f"{count} bytes"
    return f"{count / 2**20:.1f} MiB" if count < 1 << 30 else f"{count / 2**30:.1f} GiB"


def _let_go() -> None:
    for descriptor in _held_locks:
        os.close(descriptor)
    _held_locks.clear()


os.register_at_fork(after_in_child=_let_go)
