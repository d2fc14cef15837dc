"""Data sets of the Hugging Face hub, by the hub's own client: `hub:owner/name[@revision][:glob]`.

The client keeps what it fetched in its cache and needs no network for what is there; its environment variables apply
(HF_ENDPOINT for a mirror, HF_TOKEN, HF_HOME, HF_HUB_OFFLINE).
"""

from __future__ import annotations

import re
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path

from openklear.data.configs import README
from openklear.data.formats import KINDS
from openklear.errors import DataError

PREFIX = "hub:"
PATIENCE = 10.0
"""Seconds that the hub may take to answer where its answer is a hint."""
_NAME = re.compile(r"hub:(?P<name>[\w.-]+/[\w.-]+)(?:@(?P<revision>[^:]+))?(?::(?P<pattern>.+))?")


def fetch(source: str, *, describe: bool = False, local: bool = False) -> tuple[Path, str | None]:
    """The directory of the data set's files of the kinds that can be read, and the source's glob.

    Only files that match the glob are fetched, with `describe` the README too. DataError for a malformed name, and
    where the client fails. With `local` nothing is fetched: what an earlier run did is there.
    """
    found = _NAME.fullmatch(source)
    if found is None:
        raise DataError(
            f"{source}: is not the name of a data set on the hub; write hub:OWNER/NAME, hub:OWNER/NAME@REVISION, or "
            "either with :GLOB"
        )
    try:
        from huggingface_hub import snapshot_download
    except ImportError as error:
        raise DataError(f"{source}: needs huggingface_hub; run pip install huggingface_hub") from error
    wanted = [found["pattern"]] if found["pattern"] else [f"*{kind}" for kind in KINDS]
    wanted += [README] if describe else []
    try:
        directory = snapshot_download(
            found["name"],
            repo_type="dataset",
            revision=found["revision"],
            allow_patterns=wanted,
            local_files_only=local,
        )
    except Exception as error:  # the client's own, its HTTP library's, the disk's: all mean that the files are not here
        first = str(error).strip().partition("\n")[0] or type(error).__name__
        raise DataError(f"{source}: cannot be fetched: {first}; correct the name or the connection") from error
    return Path(directory), found["pattern"]


def is_cached(source: str) -> bool:
    """Whether the client holds files of it already, so that reading it fetches nothing."""
    from huggingface_hub import snapshot_download

    found = _NAME.fullmatch(source)
    if found is None:
        return True  # `fetch` says what is wrong with the name
    try:
        snapshot_download(found["name"], repo_type="dataset", revision=found["revision"], local_files_only=True)
    except Exception:  # the client's own, of several kinds: nothing is there
        return False
    return True


def names(source: str) -> list[str]:
    """The names of all files of the data set, to say which is nearest; none where the hub does not answer."""
    found = _NAME.fullmatch(source)
    assert found is not None, "fetch has read this name"
    return _listed(found["name"], found["revision"])


@cache  # several sources are often of one data set
def _listed(name: str, revision: str | None) -> list[str]:
    from huggingface_hub import HfApi

    try:
        # First a question that is asked once: the listing asks a hub that is away again and again, for half a minute.
        HfApi().dataset_info(name, revision=revision, timeout=PATIENCE)
        listed: list[str] = HfApi().list_repo_files(name, repo_type="dataset", revision=revision)
    except Exception:  # a missing hint is no reason to fail in another way
        return []
    return listed


def matches(name: str, pattern: str) -> bool:
    """Whether the client's rule of allow_patterns takes the file: `*` crosses directories, `dir/` is all below it."""
    return fnmatchcase(name, f"{pattern}*" if pattern.endswith("/") else pattern)
