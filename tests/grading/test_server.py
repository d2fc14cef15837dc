"""The grading server as a process: verdicts, bounds, slow and broken clients, and how it ends."""

import concurrent.futures
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from openklear.grading import Grader, Limits
from openklear.grading.server import GradingServer, ServerBounds

SOURCE = Path(__file__).parents[2] / "src"
JSON = {"Content-Type": "application/json"}
RIGHT = {"id": 1, "reference": "1/2", "completion": r"\boxed{0.5}", "z": {"kept": None}}
WRONG = {"id": 2, "reference": "1/2", "completion": r"\boxed{2}"}
SLOW = {"program": "import time\ntime.sleep(0.4)\nprint(1)", "tests": [{"stdin": "", "stdout": "1"}]}


@contextmanager
def started(*options):
    command = [sys.executable, "-m", "openklear", "grade", "serve", "--port", "0", "--workers", "2", *options]
    environment = {**os.environ, "PYTHONPATH": str(SOURCE)}
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        host = process.stdout.readline().decode().strip().removeprefix("http://")
        assert host, process.stderr.read().decode()
        yield process, host
    finally:
        process.kill()
        process.communicate()


@pytest.fixture(scope="module")
def host():
    with started() as (_, at):
        yield at


def ask(host, path, body, headers=JSON, method="POST"):
    connection = http.client.HTTPConnection(host, timeout=60)
    try:
        data = body if isinstance(body, bytes | str) or body is None else json.dumps(body)
        connection.request(method, path, data, headers)
        answer = connection.getresponse()
        assert answer.headers["Content-Type"] == "application/json"
        return answer.status, json.loads(answer.read()), answer.headers
    finally:
        connection.close()


def test_one_row_and_many(host):
    status, row, headers = ask(host, "/grade/math", RIGHT)
    assert status == 200
    assert headers["Connection"] == "close"
    assert list(row) == ["id", "reference", "completion", "z", "verdict", "reason", "passed", "total", "seconds"]
    assert (row["verdict"], row["z"]) == ("correct", {"kept": None})
    status, said, _ = ask(host, "/grade/math", {"rows": [WRONG, RIGHT] * 100})
    assert status == 200
    assert [row["verdict"] for row in said["rows"]] == ["incorrect", "correct"] * 100
    assert ask(host, "/grade/math", {"rows": []})[:2] == (200, {"rows": []})


def test_programs(host):
    tests = [{"stdin": "3", "stdout": "6"}, {"stdin": "5", "stdout": "11"}]
    status, row, _ = ask(host, "/grade/code", {"program": "print(int(input()) * 2)", "tests": tests})
    assert (status, row["verdict"], row["passed"], row["total"]) == (200, "incorrect", 1, 2)
    assert row["reason"] == "test 2 of 2: wrong output"


def test_health_counts(host):
    before = ask(host, "/health", None, method="GET")[1]
    ask(host, "/grade/math", {"rows": [RIGHT, WRONG]})
    status, health, _ = ask(host, "/health", None, method="GET")
    assert (status, health["status"], health["workers"]) == (200, "ok", 2)
    assert health["isolation_description"].startswith(health["isolation"])
    grown = {name: health["counters"][name] - before["counters"][name] for name in before["counters"]}
    assert grown == {"requests": 1, "rows": 2, "correct": 1, "incorrect": 1} | dict.fromkeys(
        ("unscorable", "refused", "errors", "running"), 0
    )


@pytest.mark.parametrize(
    ("path", "body", "headers", "status", "words"),
    [
        ("/grade/math", "{", JSON, 400, "not JSON"),
        ("/grade/math", "[" * 100_000, JSON, 400, "not JSON"),
        ("/grade/math", '{"n": ' + "7" * 5000 + "}", JSON, 400, "not JSON"),
        ("/grade/math", b'{"a": "\xff"}', JSON, 400, "not JSON"),
        ("/grade/math", "[]", JSON, 400, "send a row"),
        ("/grade/math", {"rows": 3}, JSON, 400, "rows must be an array"),
        ("/grade/math", {"rows": [RIGHT, {"id": 4}, 5]}, JSON, 400, "rows[1]: reference is missing"),
        ("/grade/math", {"rows": [RIGHT] * 1025}, JSON, 413, "1,024 rows, not 1,025"),
        ("/grade/math", RIGHT, {"Content-Type": "text/plain"}, 415, "application/json"),
        ("/grade/math", RIGHT, {}, 415, "application/json"),
        ("/grade/math", RIGHT, JSON | {"Host": "evil.example"}, 421, "localhost only"),
        ("/grade/math", "", JSON | {"Content-Length": str(10**9)}, 413, "16,777,216 bytes"),
        ("/grade/math", "", JSON | {"Content-Length": "9" * 5000}, 413, "16,777,216 bytes"),
        ("/grade/math", "", JSON | {"Content-Length": "-1"}, 411, "Content-Length"),
        ("/grade/math", "", JSON | {"Transfer-Encoding": "chunked"}, 411, "in one piece"),
        ("/grade/art", RIGHT, JSON, 404, "POST /grade/math"),
        ("/health", RIGHT, JSON, 405, "takes GET"),
    ],
)
def test_refusals_say_what_to_do(host, path, body, headers, status, words):
    found, said, _ = ask(host, path, body, headers)
    assert (found, list(said)) == (status, ["error"])
    assert words in said["error"]
    assert "Traceback" not in said["error"]


def test_other_methods_and_paths(host):
    assert ask(host, "/grade/math", None, method="GET")[0] == 405
    assert ask(host, "/", None, method="GET")[0] == 404
    assert ask(host, "/grade/math", None, method="PUT")[0] == 501
    assert ask(host, "/" + "a" * 100_000, None, method="GET")[0] == 414


def test_a_big_body_is_refused_so_that_its_sender_can_read_why(host):
    status, said, _ = ask(host, "/grade/math", b"x" * (17 * 2**20))
    assert status == 413
    assert "send fewer rows" in said["error"]


def raw(host, data):
    """What the server says to some bytes, up to its end."""
    name, port = host.split(":")
    with socket.create_connection((name, int(port)), timeout=60) as connection:
        connection.sendall(data)
        found = b""
        while part := connection.recv(65536):
            found += part
        return found


def test_lines_that_are_no_http(host):
    assert b'{"error"' in raw(host, b"\x16\x03\x01 what is this\r\n\r\n")
    assert raw(host, b"POST /grade/math HTTP/1.1\r\nX: " + b"a" * 70_000 + b"\r\n\r\n").startswith(b"HTTP/1.1 431")


def test_a_client_that_waits_to_be_asked_is_asked(host):
    body = json.dumps(RIGHT).encode()
    head = f"POST /grade/math HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nExpect: 100-continue\r\nContent-Length: {len(body)}\r\n\r\n"
    found = raw(host, head.encode() + body)
    assert found.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK")
    too_big = head.replace(str(len(body)), str(2**30))
    assert raw(host, too_big.encode()).startswith(b"HTTP/1.1 413")


def test_many_clients_at_once(host):
    rows = [{"id": n, "reference": str(n), "completion": str(n + n % 2)} for n in range(200)]
    with concurrent.futures.ThreadPoolExecutor(20) as threads:
        found = list(threads.map(lambda row: ask(host, "/grade/math", row)[1], rows))
    assert [(row["id"], row["verdict"] == "correct") for row in found] == [(n, n % 2 == 0) for n in range(200)]


@contextmanager
def inside(**bounds):
    """A server in this process, for bounds that the command does not set."""
    with Grader(Limits(workers=1, code_seconds=1.0)) as grader:
        server = GradingServer("127.0.0.1", 0, grader, ServerBounds(**bounds))
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        try:
            yield server, server.url.removeprefix("http://")
        finally:
            server.stop()


def test_too_many_requests_are_told_to_come_again():
    with inside(waiting=2) as (server, host), concurrent.futures.ThreadPoolExecutor(8) as threads:
        found = list(threads.map(lambda n: ask(host, "/grade/code", SLOW | {"id": n}), range(8)))
        refused = [one for one in found if one[0] == 503]
        assert len(refused) >= 4
        assert all(one[2]["Retry-After"] == "1" for one in refused)
        assert [one[1]["verdict"] for one in found if one[0] == 200] == ["correct"] * (8 - len(refused))
        assert server.health()["counters"]["refused"] == len(refused)
        assert ask(host, "/grade/math", RIGHT)[1]["verdict"] == "correct"


def test_bytes_of_all_requests_together_are_bounded():
    with inside(body_bytes=100) as (server, _), server.admitted(700):
        with pytest.raises(Exception, match="too many requests"), server.admitted(101):
            pass
        with server.admitted(100):
            pass


def test_connections_are_bounded_and_come_back():
    with inside(connections=3, read_seconds=0.5) as (_, host):
        name, port = host.split(":")
        idle = [socket.create_connection((name, int(port))) for _ in range(3)]
        time.sleep(0.2)
        assert raw(host, b"").startswith(b"HTTP/1.1 503")
        for one in idle:
            one.settimeout(10)
            assert one.recv(100) == b""  # ended by the server
            one.close()
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:  # the threads of those three end in their own time
            with suppress(AssertionError, TypeError, OSError):
                assert ask(host, "/grade/math", RIGHT)[0] == 200
                break
        else:
            pytest.fail("the connections did not come back")


def test_a_drip_of_bytes_does_not_hold_a_connection():
    with inside(read_seconds=1.0) as (_, host):
        name, port = host.split(":")
        started = time.monotonic()
        with socket.create_connection((name, int(port)), timeout=10) as connection, suppress(OSError):
            connection.sendall(b"POST /grade/math HTTP/1.1\r\n")
            while time.monotonic() - started < 10:
                connection.sendall(b"X: y\r\n")
                connection.settimeout(0.1)
                with suppress(TimeoutError):
                    if connection.recv(100) == b"":
                        break
        assert time.monotonic() - started < 8


def test_a_body_that_does_not_come_is_given_up():
    with inside(read_seconds=0.5) as (server, host):
        head = "POST /grade/math HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 50\r\n\r\n"
        assert raw(host, head.encode() + b'{"id": 1').startswith(b"HTTP/1.1 408")
        assert server.health()["counters"]["running"] == 0


def test_clients_that_go_away_cost_nothing():
    with inside() as (server, host):
        name, port = host.split(":")
        body = json.dumps(SLOW).encode()
        head = f"POST /grade/code HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        for _ in range(3):
            with socket.create_connection((name, int(port))) as connection:
                connection.sendall(head.encode() + body)
        assert ask(host, "/grade/code", SLOW)[1]["verdict"] == "correct"
        assert server.stop()
        counters = server.health()["counters"]
        assert (counters["running"], counters["errors"]) == (0, 0)


def test_told_to_stop_it_finishes_what_is_in_work():
    with started() as (process, host), concurrent.futures.ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(ask, host, "/grade/code", SLOW)
        while ask(host, "/health", None, method="GET")[1]["counters"]["running"] == 0:
            time.sleep(0.01)
        process.send_signal(signal.SIGTERM)
        assert waiting.result()[1]["verdict"] == "correct"
        assert process.wait(20) == 0
        with pytest.raises(ConnectionRefusedError):
            ask(host, "/health", None, method="GET")
        assert b"Traceback" not in process.stderr.read()


def test_ctrl_c_ends_it_well():
    with started() as (process, _):
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 0
        assert b"stopped" in process.stderr.read()


def test_what_takes_too_long_is_cut_off():
    with inside(stop_seconds=0.2) as (server, host), concurrent.futures.ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(ask, host, "/grade/code", SLOW)
        while server.health()["counters"]["running"] == 0:
            time.sleep(0.01)
        assert server.stop() is False
        status, said, _ = waiting.result()
        assert (status, list(said)) == (503, ["error"])


def test_a_port_that_is_taken(host):
    command = [sys.executable, "-m", "openklear", "grade", "serve", "--port", host.split(":")[1]]
    environment = {**os.environ, "PYTHONPATH": str(SOURCE)}
    done = subprocess.run(command, env=environment, capture_output=True, timeout=60, check=False)
    assert done.returncode == 2
    assert b"cannot listen at 127.0.0.1" in done.stderr
    assert b"Traceback" not in done.stderr
