"""A model to the Hugging Face hub, through the hub's own client, with its card."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from openklear.durable.files import read_json
from openklear.errors import RunError, UsageError
from openklear.reporting.model_card import NAME, leave_cards

__all__ = ["Upload", "plan_upload", "send"]

REPOSITORY = re.compile(r"\w[\w.-]*/\w[\w.-]*")
LEFT_OUT = ("optimizer.pt", "place.json")
"""What a checkpoint holds besides a model."""
REMEDIES = {
    401: "log in (hf auth login), or set HF_TOKEN to a token that may write",
    403: "the token may not write there: use one that may, or another OWNER/NAME",
    404: "correct OWNER/NAME",
    409: "choose another OWNER/NAME",
    413: "a file is too large for the hub's limits",
    429: "the hub asks for a pause: try again later",
}


@dataclass(frozen=True, slots=True)
class Upload:
    """What would be sent, and where to."""

    directory: Path
    repository: str
    private: bool

    @property
    def files(self) -> list[Path]:
        """The files of the model, in order."""
        return sorted(p for p in self.directory.iterdir() if p.is_file() and p.name not in LEFT_OUT)

    @property
    def card(self) -> str | None:
        """Its README.md, where there is one."""
        path = self.directory / NAME
        return path.read_text(encoding="utf-8") if path.is_file() else None


def plan_upload(place: Path, repository: str, *, private: bool) -> Upload:
    """The last model of a run directory, or a model directory. A run's cards are brought up to date first.

    UsageError where there is no model, or the name is none.
    """
    if not REPOSITORY.fullmatch(repository):
        raise UsageError(f"{repository}: is not a name on the hub; write OWNER/NAME")
    if not place.is_dir():
        raise UsageError(
            f"{place}: no such directory; give a run directory or a model directory, such as DIR/sft/model"
        )
    directory = place if (place / "config.json").is_file() else _last_model(place)
    for root in _run_of(place, directory):
        leave_cards(root, read_json(root / "summary.json"))
    if not any(directory.glob("*.safetensors")):
        raise UsageError(f"{directory}: holds no *.safetensors file, so there is no model to send")
    return Upload(directory, repository, private)


def send(upload: Upload) -> str:
    """Create the repository where it is not there yet, and send all files in one commit; returns the commit's address.

    RunError with a remedy where the hub does not take it.
    """
    from huggingface_hub import HfApi

    api: Any = HfApi()
    try:
        api.create_repo(upload.repository, private=upload.private, exist_ok=True)
        made = api.upload_folder(
            repo_id=upload.repository,
            folder_path=upload.directory,
            allow_patterns=[path.name for path in upload.files],
            commit_message="Model trained with OpenKlear",
        )
    except Exception as error:  # the client's own, its HTTP library's, the disk's: all mean that the model is not there
        status = getattr(getattr(error, "response", None), "status_code", None)
        first = str(error).strip().partition("\n")[0] or type(error).__name__
        remedy = REMEDIES.get(status or 0, "look at the connection (HF_ENDPOINT, HF_HUB_OFFLINE)")
        raise RunError(f"{upload.repository}: the hub did not take the model: {first}; {remedy}") from error
    return str(made)


def _last_model(root: Path) -> Path:
    if not (root / "summary.json").is_file():
        raise UsageError(f"{root}: holds neither a config.json nor a run's summary.json; give a model or run directory")
    stages = list(read_json(root / "summary.json")["weights"])
    if not stages:
        raise UsageError(f"{root}: no stage of this run has left a model yet; let it run further")
    return root / str(stages[-1]) / "model"


def _run_of(place: Path, directory: Path) -> Iterator[Path]:
    """The run that the model is of, where it is of one."""
    root = place if directory != place else directory.absolute().parent.parent
    if (root / "summary.json").is_file() and (root / "manifest.json").is_file():
        yield root
