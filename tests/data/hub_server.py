"""As much of the hub as its client asks for when it fetches a data set or a model: names, commits, a tree, files."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote


class HubServer(ThreadingHTTPServer):
    """Serves `files` (revision -> name -> bytes) of one data set or, by its `kind`, model; `asked` lists the paths."""

    daemon_threads = True

    def __init__(self, name: str, files: Mapping[str, Mapping[str, bytes]], kind: str = "datasets"):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.name, self.files, self.kind = name, files, kind
        self.asked: list[str] = []

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def commit(self, revision: str) -> str:
        return revision if len(revision) == 40 else hashlib.sha1(revision.encode()).hexdigest()

    def at(self, revision: str) -> Mapping[str, bytes] | None:
        named = {**self.files, **{self.commit(name): files for name, files in self.files.items()}}
        return named.get(revision)


class _Handler(BaseHTTPRequestHandler):
    server: HubServer

    def log_message(self, *args: object) -> None:
        return

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def _answer(self, body: bool) -> None:
        path = unquote(self.path.partition("?")[0])
        self.server.asked.append(path)
        name, kind = self.server.name, self.server.kind
        api, files = f"/api/{kind}/{name}", f"{'' if kind == 'models' else f'/{kind}'}/{name}/resolve/"
        if path == api:
            self._json(self._about("main"), body)
        elif path.startswith(f"{api}/revision/"):
            revision = path.removeprefix(f"{api}/revision/")
            known = self.server.at(revision) is not None
            self._json(self._about(revision), body) if known else self._missing("RevisionNotFound")
        elif path.startswith(f"{api}/tree/"):
            listed = self.server.at(path.removeprefix(f"{api}/tree/")) or {}
            tree = [
                {"type": "file", "path": name, "size": len(data), "oid": hashlib.sha1(data).hexdigest()}
                for name, data in listed.items()
            ]
            self._json(tree, body)
        elif path.startswith(files):
            revision, _, name = path.removeprefix(files).partition("/")
            data = (self.server.at(revision) or {}).get(name)
            self._send(data, revision, body) if data is not None else self._missing("EntryNotFound")
        else:
            self._missing("RepoNotFound")

    def _about(self, revision: str) -> object:
        names = [{"rfilename": name} for name in self.server.at(revision) or {}]
        return {"id": self.server.name, "sha": self.server.commit(revision), "siblings": names, "tags": []}

    def _json(self, value: object, body: bool) -> None:
        data = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if body:
            self.wfile.write(data)

    def _send(self, data: bytes, revision: str, body: bool) -> None:
        self.send_response(200)
        self.send_header("ETag", f'"{hashlib.sha1(data).hexdigest()}"')
        self.send_header("X-Repo-Commit", self.server.commit(revision))
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if body:
            self.wfile.write(data)

    def _missing(self, code: str) -> None:
        self.send_response(404)
        self.send_header("X-Error-Code", code)
        self.send_header("X-Error-Message", f"{code}: not here")
        self.send_header("Content-Length", "0")
        self.end_headers()
