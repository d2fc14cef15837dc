"""The server as a process: what it refuses, what it answers, and how it ends."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.reporting.viewer.hostile import completions
from tests.reporting.viewer.made import Made, evaluation, with_texts
from tests.reporting.viewer.serving import COMMAND, SOURCE, get, served

from openklear.cli.view import view
from openklear.errors import UsageError
from openklear.reporting.viewer import server
from openklear.reporting.viewer.pages import SCRIPTS, STYLES


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("viewed")
    evaluation(root / "one", 3, 4)
    with_texts(root / "hostile", completions())
    return root


@pytest.fixture(scope="module")
def host(place: Path) -> Iterator[str]:
    with served(place) as at:
        yield at


def named(host: str, name: str) -> str:
    items = get(host, "/data/list")[2]["items"]
    return next(one["id"] for one in items if one["name"].endswith(name))


def test_every_file_of_the_page_comes_with_a_strict_policy(host: str) -> None:
    for path in ("/", *(f"/static/{name}" for name in (*SCRIPTS, *STYLES)), "/data/list", "/favicon.ico", "/no"):
        status, headers, _ = get(host, path)
        assert status == {"/no": 404, "/favicon.ico": 204}.get(path, 200), path
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert "require-trusted-types-for 'script'" in policy
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["cross-origin-resource-policy"] == "same-origin"
        assert "server" not in headers


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "example.com"},
        {"Host": "127.0.0.1.example.com"},
        {"Host": "localhost.example.com:8000"},
        {"Host": ""},
        {"Host": "10.0.0.1"},
        {"Origin": "http://example.com"},
        {"Origin": "null"},
        {"Origin": "http://localhost:1"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
def test_other_hosts_and_other_pages_are_refused(host: str, headers: dict[str, str]) -> None:
    for path in ("/", "/data/list", "/static/main.js"):
        status, _, said = get(host, path, headers)
        assert status == 403
        assert "answers to" in said["fault"]


def test_its_own_page_is_answered_under_every_local_name(host: str) -> None:
    port = host.partition(":")[2]
    for name in (f"localhost:{port}", f"127.0.0.1:{port}", f"[::1]:{port}"):
        told = {"Host": name, "Origin": f"http://{name}", "Sec-Fetch-Site": "same-origin"}
        assert get(host, "/data/list", told)[0] == 200


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "PATCH"])
def test_only_reading_is_answered(host: str, method: str) -> None:
    assert get(host, "/data/list", method=method)[0] == 405


@pytest.mark.parametrize(
    "path",
    [
        "/static/../server.py",
        "/static/..%2fserver.py",
        "/static/%2e%2e/%2e%2e/etc/passwd",
        "/..%2f..%2f..%2fetc/passwd",
        "//etc/passwd",
        "/data/evaluation/..%2f..",
        "/data/evaluation/%00",
        "/data/completion/../0/0",
        "/data/completion/abc/-1/0",
        "/data/completion/abc/99999999999999999999/0",
        "/data/iteration/abc/1",
        "/data/clip/abc/1/1/1",
    ],
)
def test_no_path_of_a_request_names_a_file(host: str, path: str) -> None:
    status, _, said = get(host, path)
    assert status == 404
    assert "root:" not in str(said)


def test_only_this_machine_is_listened_to(host: str) -> None:
    for other in ("0.0.0.0", "::", "192.168.1.1", "example.com"):
        with pytest.raises(UsageError, match="this machine alone"):
            server.listen(other, 0)
    taken = int(host.partition(":")[2])
    with pytest.raises(UsageError, match="another --port"):
        server.listen("127.0.0.1", taken)
    outside = {one[4][0] for one in socket.getaddrinfo(socket.gethostname(), None, socket.AF_INET)}
    for address in outside - {"127.0.0.1"}:
        with socket.socket() as tried:
            tried.settimeout(2)
            if not address.startswith("127."):
                assert tried.connect_ex((str(address), taken)) != 0


def test_one_completion_comes_on_demand(host: str) -> None:
    number = named(host, "/one")
    facts = get(host, f"/data/evaluation/{number}")[2]
    assert facts["count"] == 12
    assert "Let me see" not in str(facts), "no text is in the facts"
    found = get(host, f"/data/completion/{number}/2/3")[2]
    assert (found["problem"], found["sample"]) == ("2024-02", 3)
    assert found["asked"]["reference"] == "2"
    assert found["parts"][0][0] == "thought"
    status, _, said = get(host, f"/data/completion/{number}/2/4")
    assert (status, "has no sample 4" in said["fault"]) == (404, True)


def test_hostile_completions_arrive_whole_as_json(host: str) -> None:
    number = named(host, "/hostile")
    texts = completions()
    assert len(texts) == 100
    for sample, text in enumerate(texts):
        status, headers, found = get(host, f"/data/completion/{number}/0/{sample}")
        assert status == 200
        assert headers["content-type"] == "application/json"
        assert found["characters"] == len(text)
        shown = "".join(part for _, part in found["parts"])
        assert len(shown) >= len(text.replace("\r\n", "\n"))
        assert not set(shown) & set("\u202e\u2066\x00\x1b\x9b\ufeff"), "what hides or turns text around is spelled out"


def test_it_follows_a_run_and_says_when_a_directory_goes(tmp_path: Path) -> None:
    made = Made(tmp_path / "a", 2)
    with served(tmp_path) as host:
        number = named(host, "/a")
        stamp = get(host, "/data/changes")[2]
        first = get(host, f"/data/evaluation/{number}")[2]
        made.judge(1, 0, "correct", "later")
        assert get(host, "/data/changes")[2] != stamp
        more = get(host, f"/data/evaluation/{number}?since={first['generation']}:{first['count']}")[2]
        assert (more["from"], more["samples"]["problem"]) == (0, [1])
        for odd in ("x", ":", f"{first['generation']}:-1", f"{first['generation']}:99", "%00:1"):
            assert get(host, f"/data/evaluation/{number}?since={odd}")[2]["from"] == 0
        evaluation(tmp_path / "b", 1, 1)
        assert len(get(host, "/data/list")[2]["items"]) == 2, "what began since is there"
        shutil.rmtree(tmp_path / "a")
        status, _, said = get(host, f"/data/evaluation/{number}")
        assert (status, said["fault"]) == (404, "this is not there any more; look at another one")
        assert get(host, f"/data/completion/{number}/0/0")[0] == 404
        assert len(get(host, "/data/list")[2]["items"]) == 1


def test_ctrl_c_is_how_it_ends(tmp_path: Path) -> None:
    evaluation(tmp_path, 1, 1)
    environment = {**os.environ, "PYTHONPATH": str(SOURCE)}
    command = [sys.executable, "-c", COMMAND, str(tmp_path)]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        host = process.stdout.readline().decode().strip().removeprefix("http://").rstrip("/")
        assert get(host, "/data/changes")[0] == 200
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=30)
    assert (process.returncode, said) == (0, b"")


def test_a_missing_extra_is_said_with_its_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    evaluation(tmp_path, 1, 1)
    monkeypatch.setattr("openklear.cli.view.PACKAGES", ("starlette", "not_installed_here"))
    with pytest.raises(UsageError, match=r"needs not_installed_here: run pip install 'openklear\[view\]'"):
        view([tmp_path], no_browser=True)
    view([tmp_path], export=tmp_path / "page.html")
    assert (tmp_path / "page.html").is_file(), "an exported page needs no server"
