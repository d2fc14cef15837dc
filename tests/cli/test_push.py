"""`openklear push` against a hub on this machine, through the hub's own client."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest


class Hub(ThreadingHTTPServer):
    """Takes repositories and commits; `refuse` is the status of its answers where it takes nothing."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.asked, self.created, self.files, self.refuse = [], [], {}, 0


class _Handler(BaseHTTPRequestHandler):
    server: Hub

    def log_message(self, *args):
        return

    def do_GET(self):
        self.server.asked.append(self.path)
        self._answer({"sha": "0" * 40, "id": "me/mine", "siblings": []})

    def do_POST(self):
        self.server.asked.append(self.path)
        body = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
        if self.server.refuse:
            self._answer({"error": "no"}, self.server.refuse)
        elif self.path == "/api/repos/create":
            self.server.created.append(json.loads(body))
            self._answer({"url": "https://huggingface.co/me/mine", "name": "me/mine", "id": "1"})
        elif "/preupload/" in self.path:
            files = json.loads(body)["files"]
            answers = [{"path": f["path"], "uploadMode": "regular", "shouldIgnore": False} for f in files]
            self._answer({"files": answers})
        elif "/commit/" in self.path:
            for line in body.splitlines():
                one = json.loads(line)
                if one["key"] == "file":
                    self.server.files[one["value"]["path"]] = base64.b64decode(one["value"]["content"])
            self._answer(
                {"commitUrl": "https://huggingface.co/me/mine/commit/abc", "commitOid": "abc", "success": True}
            )
        else:
            self._answer({"errors": [], "warnings": []})

    def _answer(self, value, status=200):
        data = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


@pytest.fixture
def hub():
    with Hub() as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield running
        running.shutdown()


@pytest.fixture
def run(tmp_path):
    """As much of a run as a push reads."""
    for stage in ("base", "sft"):
        model = tmp_path / stage / "model"
        model.mkdir(parents=True)
        (model / "config.json").write_text("{}")
        (model / "model.safetensors").write_bytes(stage.encode())
        (model / "optimizer.pt").write_bytes(b"no")
    summary = {
        "scores": [], "gains": [], "weights": {"base": "aa", "sft": "bb"}, "seed": 0, "version": "0.1.0",
        "recipe": {"model": {"layers": 1}, "data": {"source": []}, "sft": {"epochs": 1, "learning_rate": 1e-4}, "rl": None},
    }  # fmt: skip
    (tmp_path / "summary.json").write_text(json.dumps(summary))
    (tmp_path / "manifest.json").write_text("{}")
    return tmp_path


def push(hub, home, *arguments):
    address = f"http://127.0.0.1:{hub.server_address[1]}"
    own = {
        "HF_ENDPOINT": address,
        "HF_HOME": str(home / "hf"),
        "HF_TOKEN": "hf_x",
        "NO_PROXY": "*",
        "HF_HUB_DISABLE_XET": "1",
    }
    plain = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    command = [sys.executable, "-m", "openklear", "push", *map(str, arguments)]
    return subprocess.run(command, env={**plain, **own}, capture_output=True, text=True, timeout=120)


def test_the_last_model_of_a_run_goes_with_its_card(hub, run, tmp_path):
    done = push(hub, tmp_path, run, "me/mine", "--private")
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "https://huggingface.co/me/mine/commit/abc"
    assert hub.created[0].get("private") is True or hub.created[0].get("visibility") == "private"
    assert sorted(hub.files) == ["README.md", "config.json", "model.safetensors"]
    assert hub.files["model.safetensors"] == b"sft"
    assert b"# sft:" in hub.files["README.md"]


def test_a_dry_run_sends_nothing(hub, run, tmp_path):
    done = push(hub, tmp_path, run / "base/model", "me/mine", "--dry-run", "--json")
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert "# base:" in document["card"]
    assert set(document["files"]) == {"README.md", "config.json", "model.safetensors"}
    assert hub.asked == []


@pytest.mark.parametrize(("status", "remedy"), [(401, "hf auth login"), (403, "may not write"), (500, "connection")])
def test_what_the_hub_does_not_take_is_said(hub, run, tmp_path, status, remedy):
    hub.refuse = status
    done = push(hub, tmp_path, run, "me/mine")
    assert done.returncode == 1
    assert remedy in done.stderr
    assert "Traceback" not in done.stderr


def test_what_is_no_model_or_no_name(hub, run, tmp_path):
    (tmp_path / "empty").mkdir()
    for arguments in ((run, "mine"), (tmp_path / "none", "me/mine"), (tmp_path / "empty", "me/mine")):
        done = push(hub, tmp_path, *arguments)
        assert done.returncode == 2, done.stdout
        assert "Traceback" not in done.stderr
    assert hub.asked == []
