"""Joining the Ray cluster on which curation runs.

Ray tries an address where nothing answers for minutes, and then ends in its C++ library. So the address is looked up
the way Ray does (https://docs.ray.io/en/latest/ray-core/api/doc/ray.init.html) and tried first.
"""

from __future__ import annotations

import os
import re
import socket
from importlib.util import find_spec
from pathlib import Path

import daft

from openklear.errors import DataError

KEY = "data.engine.address"
KNOCK_SECONDS = 5.0
_ADDRESS = re.compile(r"(?:ray://)?(?P<host>\[[^\]]+\]|[^:/]+):(?P<port>\d{1,5})")


def use_ray(address: str | None) -> None:
    """From now on, run on the Ray cluster at `address`: `host:port`, or what Ray knows as "auto" or "local".

    None is the cluster that Ray finds, or a new one on this machine. The nodes must have openklear installed, and see
    the run directory and the sources under the same paths. Raises DataError where no cluster is available.
    """
    if find_spec("ray") is None:
        raise DataError(
            "data.engine: a cluster needs Ray; run pip install 'openklear[cluster]' here and on every node, or set "
            "data.engine.type = local"
        )
    where, named_by = looked_up(address)
    if where is not None:
        knock(where, named_by)
    try:
        daft.set_runner_ray(address=address, noop_if_initialized=True)
    except ConnectionError as error:
        raise DataError(f'{KEY}: {error} Start one with `ray start --head`, or set "local" for a new one') from error


def looked_up(address: str | None, key: str = KEY) -> tuple[str | None, str]:
    """The `host:port` that Ray would try and what named it; None where Ray finds a cluster itself or starts a new one.

    An address that `key` has comes first; then the variable RAY_ADDRESS; then the file in which `ray start` notes it.
    """
    if address not in (None, "auto"):
        return (None if address == "local" else address), key
    if (variable := os.environ.get("RAY_ADDRESS", "auto") or "auto") != "auto":
        return (None if variable == "local" else variable), "the environment variable RAY_ADDRESS"
    note = Path(os.environ.get("RAY_TMPDIR") or os.environ.get("TMPDIR") or "/tmp") / "ray" / "ray_current_cluster"
    return (note.read_text().strip() or None if note.is_file() else None), f"{note}, which `ray stop` removes"


def knock(where: str, named_by: str) -> None:
    """Raises DataError where `where` is no `host:port` or nothing listens there; what listens, Ray finds out."""
    parts = _ADDRESS.fullmatch(where)
    if parts is None:
        raise DataError(f'{named_by}: {where!r} is not an address; write "host:port", "auto" or "local"')
    try:
        socket.create_connection((parts["host"].strip("[]"), int(parts["port"])), KNOCK_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise DataError(
            f"nothing answers at {where} ({error}), the address named by {named_by}; start the cluster with "
            '`ray start --head`, name another address, or set "local" for a new one on this machine'
        ) from error
