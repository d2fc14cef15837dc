"""A server of the page as a process of its own."""

from __future__ import annotations

import http.client
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

SOURCE = Path(__file__).parents[3] / "src"
COMMAND = "import sys; from pathlib import Path; from openklear.cli.view import view; "
COMMAND += "view([Path(one) for one in sys.argv[1:]], port=0, export=None, no_browser=True)"


@contextmanager
def served(*directories: Path) -> Iterator[str]:
    """host:port of `openklear view` over the directories."""
    environment = {**os.environ, "PYTHONPATH": str(SOURCE)}
    process = subprocess.Popen(
        [sys.executable, "-c", COMMAND, *map(str, directories)],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    try:
        address = process.stdout.readline().decode().strip()
        assert address.startswith("http://127.0.0.1:"), process.stderr.read().decode()
        yield address.removeprefix("http://").rstrip("/")
    finally:
        process.kill()
        process.communicate()


def get(host: str, path: str, headers: dict[str, str] | None = None, method: str = "GET") -> tuple[int, Any, Any]:
    """(status, headers, body as text or what its JSON means)."""
    connection = http.client.HTTPConnection(host, timeout=60)
    try:
        connection.request(method, path, headers=headers or {})
        answer = connection.getresponse()
        body = answer.read().decode()
        is_json = answer.headers.get_content_type() == "application/json"
        return answer.status, answer.headers, json.loads(body) if is_json else body
    finally:
        connection.close()
