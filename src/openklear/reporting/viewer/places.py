"""What there is to look at below the directories that were named: evaluations, and phases of RL."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

from openklear.durable.files import read_json
from openklear.errors import OpenKlearError, UsageError
from openklear.evaluation.stored import COMPLETIONS, PROMPTS, SAMPLES, SETTINGS

EVALUATION, PHASE, OLDER = "evaluation", "phase", "older"
DEPTH = 3
"""So far below a named directory is looked: a directory of runs, a run, its stages."""
_CLOSED = {"model", "checkpoints", "iterations", "parts", "superseded", "prepare", "rows", "data", "world", "files"}
"""Directories of a run that hold nothing to look at, or much else."""


@dataclass(frozen=True, slots=True)
class Exhibit:
    """A directory that the page shows."""

    id: str
    """Of its path: the page names it by this, so that no request holds a path."""
    kind: str
    directory: Path
    name: str
    """Its path from the directory that was named, whose own name begins it."""

    @property
    def run(self) -> Path:
        """The run that it is a stage of, where it is one."""
        return self.directory.parent


def find(roots: Sequence[Path]) -> list[Exhibit]:
    """What the directories hold, by path; nothing of one that is not there (any more)."""
    found: dict[Path, Exhibit] = {}
    for root in map(Path.absolute, roots):
        for directory, kind in _below(root, DEPTH):
            if directory not in found:
                name = "/".join((root.name, *directory.relative_to(root).parts))
                number = blake2b(str(directory).encode("utf-8", "surrogateescape"), digest_size=6).hexdigest()
                found[directory] = Exhibit(number, kind, directory, name)
    return list(found.values())


def require(roots: Sequence[Path]) -> None:
    """UsageError where a directory is not there, or nothing can be looked at in any of them."""
    for root in roots:
        if not root.is_dir():
            raise UsageError(f"{root}: there is no such directory; name an evaluation, a run, or a directory of those")
    if not find(roots):
        listed = ", ".join(map(str, roots))
        raise UsageError(f"{listed}: holds no evaluation (no {SETTINGS}) and no iterations of RL; name one that does")


def stamp(exhibit: Exhibit) -> str:
    """Changes when the exhibit does: sizes and times of its files, which cost no reading."""
    if exhibit.kind == PHASE:
        paths = [exhibit.directory / "metrics.jsonl", exhibit.directory / "iterations"]
    else:
        names = (SETTINGS, PROMPTS, SAMPLES, COMPLETIONS, "scores.json")
        paths = [exhibit.directory / name for name in names]
    return "/".join(map(_stamp, paths))


def origin(exhibit: Exhibit) -> str:
    """The model of an evaluation, as its settings name it; empty where they do not."""
    try:
        settings = read_json(exhibit.directory / SETTINGS)
    except OpenKlearError:
        return ""
    model = settings.get("model") if isinstance(settings, dict) else None
    if isinstance(model, dict):
        model = next((model[key] for key in ("name", "path", "id", "model") if model.get(key)), None)
    return model if isinstance(model, str) else ""


def _stamp(path: Path) -> str:
    try:
        found = path.stat()
    except OSError:
        return "-"
    return f"{found.st_ino}.{found.st_size}.{found.st_mtime_ns}"


def _below(directory: Path, depth: int) -> Iterator[tuple[Path, str]]:
    kind = _kind(directory)
    if kind is not None:
        yield directory, kind
    elif depth:
        try:
            inside = sorted(path for path in directory.iterdir() if path.is_dir() and not path.is_symlink())
        except OSError:
            return
        for path in inside:
            if path.name not in _CLOSED and not path.name.startswith("."):
                yield from _below(path, depth - 1)


def _kind(directory: Path) -> str | None:
    if (directory / SETTINGS).is_file():
        return EVALUATION
    if (directory / "iterations").is_dir():
        return PHASE
    if directory.name.startswith("evaluate-") and (directory / "stage.json").is_file():
        return OLDER
    return None
