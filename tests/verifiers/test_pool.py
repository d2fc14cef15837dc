import json
import os
import signal
import threading
import time

import pytest

from openklear.verifiers.pool import Pool, Worker, WorkerLost, worker_command


class Echo(Worker):
    """A worker in Python whose behaviour the message chooses."""

    SOURCE = (
        "import os,sys,time\nfrom okworkers import wire\nwire.write_message(1, {'pid': os.getpid()})\n"
        "while (m := wire.read_message(0)) is not None:\n"
        "    if m.get('die'): os._exit(3)\n"
        "    if m.get('garbage'): os.write(1, b'\\xff' * 64)\n"
        "    if m.get('list'): os.write(1, b'\\0\\0\\0\\2[]')\n"
        "    time.sleep(m.get('sleep', 0))\n"
        "    wire.write_message(1, {'pid': os.getpid(), 'text': m.get('text', '')})\n"
    )

    def __init__(self):
        command = worker_command("none")
        boot = command[3].split(";importlib")[0]
        super().__init__([*command[:3], boot + "\n" + self.SOURCE, *command[4:]], {"PATH": os.environ["PATH"]}, "/")


@pytest.fixture
def pool():
    made = Pool(Echo, 2)
    yield made
    made.close()


def test_a_worker_is_kept_from_call_to_call(pool):
    first = pool.call({"text": "a"}, 10)
    second = pool.call({"text": "b"}, 10)
    assert first["text"] == "a"
    assert first["pid"] == second["pid"]
    assert len(pool.pids()) == 1


def test_large_messages_and_odd_characters(pool):
    text = "\udc80\u20ac\0" * 500_000
    assert pool.call({"text": text}, 30)["text"] == text


@pytest.mark.parametrize("message", [{"die": 1}, {"garbage": 1}, {"list": 1}, {"sleep": 100}])
def test_a_lost_worker_is_gone_and_replaced(pool, message):
    before = pool.hello()["pid"]
    with pytest.raises(WorkerLost):
        pool.call(message, 0.3)
    assert not os.path.exists(f"/proc/{before}")
    assert pool.call({"text": "again"}, 10)["text"] == "again"


def test_threads_share_the_workers(pool):
    seen = set()
    threads = [threading.Thread(target=lambda: seen.add(pool.call({"sleep": 0.05}, 20)["pid"])) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(seen) == 2


def test_a_worker_outlives_the_thread_that_started_it(pool):
    thread = threading.Thread(target=pool.hello)
    thread.start()
    thread.join()
    time.sleep(0.05)
    assert pool.call({"text": "alive"}, 10)["text"] == "alive"


def test_close_ends_busy_workers_and_their_callers(pool, monkeypatch):
    pid = pool.hello()["pid"]
    errors, asked, request = [], threading.Event(), Worker.request
    monkeypatch.setattr(Worker, "request", lambda *given: (asked.set(), request(*given))[1])

    def busy():
        try:
            pool.call({"sleep": 100}, 100)
        except WorkerLost as error:
            errors.append(error)

    thread = threading.Thread(target=busy)
    thread.start()
    assert asked.wait(60)
    pool.close()
    thread.join(10)
    assert len(errors) == 1
    assert not os.path.exists(f"/proc/{pid}")
    with pytest.raises(WorkerLost, match="closed"):
        pool.call({}, 1)
    pool.close()


def test_a_worker_that_cannot_start_says_why():
    plan = {"command": ["/nowhere/box"], "paths": [], "cgroup": None, "memory_bytes": 2**28}
    worker = Worker(worker_command("warden", json.dumps(plan)), {}, "/")
    assert worker.hello["level"] == "none"
    assert "No such file" in worker.hello["error"]
    worker.close()


def test_a_failed_start_leaves_the_pool_usable():
    starts = []

    def flaky():
        starts.append(1)
        if len(starts) == 1:
            raise OSError("no")
        return Echo()

    pool = Pool(flaky, 1)
    with pytest.raises(OSError, match="no"):
        pool.call({}, 5)
    assert pool.call({"text": "x"}, 10)["text"] == "x"
    pool.close()


def test_a_worker_killed_between_calls_is_noticed(pool):
    os.kill(pool.hello()["pid"], signal.SIGKILL)
    with pytest.raises(WorkerLost):
        pool.call({"text": "x"}, 10)
    assert pool.call({"text": "x"}, 10)["text"] == "x"
