"""Models of the Hugging Face hub, by the hub's own client: only the files that a model is loaded from, at one commit.

The client keeps what it fetched in its cache and needs no network for what is there; its environment variables apply
(HF_ENDPOINT for a mirror, HF_TOKEN, HF_HOME, HF_HUB_OFFLINE). Nothing that is fetched is run.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from openklear.errors import ModelError
from openklear.recipe.hub import FORM, HUB, hub_fault, model_place

__all__ = ["fetch", "local_directory"]

SETTINGS = ("*.json", "*.jinja", "*.model", "*.tiktoken", "merges.txt", "vocab.*", "README.md")
WEIGHTS = ("*.safetensors", "*.safetensors.index.json")
OLDER_WEIGHTS = ("pytorch_model*.bin", "pytorch_model.bin.index.json")
LEFT_OUT = ("*/*", "consolidated*")
"""Other formats of the same weights: folders (onnx, original) and Mistral's single file."""


def local_directory(path: str | Path, *, gguf_file: str | None = None) -> Path:
    """The directory of a model: a path as it is, a hub's name (see `recipe.hub`) fetched at its newest commit."""
    place = model_place(str(path), Path.cwd())
    return fetch(place, gguf_file=gguf_file)[0] if place.startswith(HUB) else Path(path)


def fetch(name: str, *, commit: str | None = None, gguf_file: str | None = None) -> tuple[Path, str]:
    """The directory with the files of `hub:OWNER/NAME[@REVISION]`, and the commit they are of.

    With `commit` exactly that one. ModelError for a malformed name, and where the client fails.
    """
    found = FORM.fullmatch(name)
    if found is None:
        raise ModelError(f"model.path: {hub_fault(name)}.")
    revision = commit or found["revision"]
    wanted = [gguf_file] if gguf_file is not None else [*SETTINGS, *WEIGHTS]
    directory = _snapshot(name, found["name"], revision, wanted)
    if gguf_file is None and not any(directory.glob("*.safetensors")):
        directory = _snapshot(name, found["name"], directory.name, [*SETTINGS, *OLDER_WEIGHTS])
    return directory, directory.name


def _snapshot(name: str, repository: str, revision: str | None, wanted: list[str]) -> Path:
    from huggingface_hub import snapshot_download

    download: Any = snapshot_download
    left_out = [] if any("/" in pattern for pattern in wanted) else [*LEFT_OUT]
    try:
        return Path(download(repository, revision=revision, allow_patterns=wanted, ignore_patterns=left_out))
    except Exception as error:  # the client's own, its HTTP library's, the disk's: all mean that the files are not here
        first = str(error).strip().partition("\n")[0] or type(error).__name__
        raise ModelError(
            f"{name}: there is no such directory, and the hub's model of that name cannot be fetched: {first} Correct "
            "model.path or the connection; a model that is not public needs HF_TOKEN."
        ) from error
