"""Files that lie in a data set's directory and hold no rows: they describe it, or are left from reading it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from openklear.data.splits import family
from openklear.data.streams import CODECS, open_stream
from openklear.errors import DataError

NAMES = frozenset(
    {
        *("dataset_info.json", "dataset_infos.json", "dataset_dict.json", "state.json", "config.json"),
        *("generation_config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"),
        *("package.json", "index.json", "croissant.json", "metadata.json"),
    }
)
STATE, SAVED = "state.json", "dataset_dict.json"
"""What `datasets.save_to_disk` leaves beside a split's files, and beside the directories of its splits."""
_SNIFFED = 1 << 20


def why_no_rows(file: Path, name: str) -> str | None:
    """Why the file at `name` inside a data set is no file of rows; None where it may be one."""
    if file.suffix == ".arrow":
        listed = table_of(file.with_name(STATE)).get("_data_files")
        names = [one.get("filename") for one in listed if isinstance(one, dict)] if isinstance(listed, list) else []
        return f"not listed in {STATE}" if names and file.name not in names else None
    if file.name in NAMES and not _begins(file, b"["):
        return "describes the set"
    ending = file.with_suffix("").suffix if file.suffix in CODECS else file.suffix
    if ending == ".json" and family(file.name) is None and _is_one_object(file):
        return "one object, no array of rows"
    return None


def table_of(file: Path) -> dict[str, Any]:
    """The object in a small JSON file; empty where there is none."""
    try:
        found = json.loads(file.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _begins(file: Path, mark: bytes) -> bool:
    return _start(file, 64).lstrip(b" \t\r\n\xef\xbb\xbf").startswith(mark)


def _start(file: Path, size: int) -> bytes:
    try:
        with open_stream(file) as stream:
            return stream.read(size)
    except (DataError, OSError, EOFError, ValueError):
        return b""  # whoever reads the file says what is wrong with it


def _is_one_object(file: Path) -> bool:
    """Whether the text begins with an object that does not end on its line, or is alone: then it is no JSON lines."""
    start = _start(file, _SNIFFED).lstrip(b" \t\r\n\xef\xbb\xbf")
    first, ended, rest = start.partition(b"\n")
    if not first.startswith(b"{") or (not ended and len(start) > _SNIFFED // 2):  # too long to say
        return False
    try:
        json.loads(first)
    except (ValueError, RecursionError):
        return True
    return not rest.strip()
