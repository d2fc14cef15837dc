"""When a model's path names a model of the Hugging Face hub: `hub:OWNER/NAME[@REVISION]`, or a bare `OWNER/NAME`."""

from __future__ import annotations

import re
from pathlib import Path

HUB = "hub:"
FORM = re.compile(r"hub:(?P<name>\w[\w.-]*/\w[\w.-]*)(?:@(?P<revision>[\w./-]+))?")
DIRECTORIES = ("models", "model", "checkpoints", "runs", "outputs", "weights", "data")
"""What people call the directory that their models lie in: never taken for an owner."""
_BARE = re.compile(r"\w[\w.-]*/\w[\w.-]*(@[\w./-]+)?")


def model_place(written: str, base: Path) -> str:
    """The text with `hub:` before it where it is a hub's name and no place below `base`; else as it is.

    A bare name is the hub's only where nothing of that name, nor a directory named like its owner, stands below `base`:
    with such a directory it is a path that was misspelt.
    """
    if written.startswith(HUB) or not _BARE.fullmatch(written):
        return written
    owner = base / written.partition("/")[0]
    return written if owner.name in DIRECTORIES or owner.is_dir() or (base / written).exists() else HUB + written


def hub_fault(path: str) -> str | None:
    """What is wrong with a path that says it is the hub's."""
    if not path.startswith(HUB) or FORM.fullmatch(path):
        return None
    return f"{path} is not the name of a model on the hub; write hub:OWNER/NAME or hub:OWNER/NAME@REVISION"
