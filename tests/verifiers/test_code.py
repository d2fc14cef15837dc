import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from openklear.errors import VerifierError
from openklear.types import Outcome, Test
from openklear.verifiers import code as code_module
from openklear.verifiers.code import CodeGrader, same_output
from openklear.verifiers.isolation import demand

SECONDS = 0.3
SUM = "a, b = map(int, input().split())\nprint(a + b)"
TESTS = tuple(Test(f"{a} {b}\n", f"{a + b}\n") for a, b in ((2, 3), (0, 0), (-1, 1), (10, 20)))


@pytest.fixture(scope="module", params=["namespaces", "rlimits"])
def grader(request):
    made = CodeGrader(1, seconds=SECONDS, memory_mb=256, minimum_isolation="rlimits")
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "rlimits":
            patch.setattr(code_module, "UNSHARE", ("false",))  # a host without `unshare`
        level = made.isolation().level
    if level != request.param:
        pytest.skip(f"this host gives {level} only")
    yield made
    made.close()


@pytest.fixture(scope="module")
def walled():
    try:
        made = CodeGrader(1, seconds=SECONDS, memory_mb=256, minimum_isolation="namespaces")
        made.isolation()
    except VerifierError as error:
        pytest.skip(f"attacks are run under namespaces only: {error}")
    yield made
    made.close()


def test_outputs_are_equal_but_for_trailing_space():
    assert same_output("1 2\n3\n", "1 2  \r\n3\n\n\n")
    assert same_output("", "\n")
    assert not same_output("1 2\n", "1  2\n")
    assert not same_output("1\n2\n", "1\n\n2\n")
    assert not same_output("a\n", " a\n")


@pytest.mark.parametrize(
    ("program", "passed", "reason"),
    [
        (SUM, 4, ""),
        ("print(*[sum(map(int, input().split()))], end='')", 4, ""),
        (SUM + "\nimport sys; sys.exit(0)", 4, ""),
        (SUM + "\nexit()", 4, ""),
        ("import atexit, sys\n" + SUM.replace("print(", "atexit.register(print, "), 4, ""),
        (
            "import threading\ndef f():\n    " + SUM.replace("\n", "\n    ") + "\nthreading.Thread(target=f).start()",
            4,
            "",
        ),
        ("def main():\n    " + SUM.replace("\n", "\n    ") + "\nif __name__ == '__main__':\n    main()", 4, ""),
        ("import os\nos.write(1, b'%d' % sum(map(int, open(0).read().split())))", 4, ""),
        ("print(5)", 1, "test 2 of 4: wrong output"),
        (SUM.replace("+", "-"), 1, "test 1 of 4: wrong output"),
        ("pass", 0, "test 1 of 4: wrong output"),
        (
            "a, b = map(int, input().split())\nif a == 10: raise ValueError('no')\nprint(a + b)",
            3,
            "test 4 of 4: ValueError: no",
        ),
        ("input(); print(input())", 0, "test 1 of 4: EOFError: EOF when reading a line"),
        (SUM + "\nimport sys; sys.exit(3)", 0, "test 1 of 4: exit status 3"),
        (SUM + "\nimport sys; sys.exit('so')", 0, "test 1 of 4: so"),
        ("import os; os._exit(0)", 0, "test 1 of 4: wrong output"),
        ("print(", 0, "test 1 of 4: SyntaxError: '(' was never closed (solution.py, line 1)"),
        ("import numpy", 0, "test 1 of 4: ModuleNotFoundError: No module named 'numpy'"),
        ("import openklear", 0, "test 1 of 4: ModuleNotFoundError: No module named 'openklear'"),
        ("import okworkers", 0, "test 1 of 4: ModuleNotFoundError: No module named 'okworkers'"),
        ("raise ValueError(object())", 0, "test 1 of 4: ValueError: <object object at 0x...>"),
        ("\0", 0, "test 1 of 4: SyntaxError: source code string cannot contain null bytes"),
        ("(" * 5000, 0, "test 1 of 4: SyntaxError: too many nested parentheses (solution.py, line 1)"),
    ],
)
def test_verdicts_at_every_level(grader, program, passed, reason):
    grade = grader.grade(program, TESTS)
    assert (grade.passed, grade.total, grade.reason) == (passed, 4, reason)
    assert grade.outcome is (Outcome.CORRECT if passed == 4 else Outcome.INCORRECT)


def test_sets_and_random_numbers_are_the_same_every_time(grader):
    program = "import random\nprint(set('abcdefgh'), random.random())"
    output = _output_of(grader, program)
    for pid in grader._pool.pids():
        os.killpg(pid, signal.SIGKILL)
    with contextlib.suppress(code_module.WorkerLost):
        _output_of(grader, program)
    assert _output_of(grader, program) == output


def _output_of(grader, program):
    return grader._pool.call(grader._job(program, (Test("", ""),)), 10.0)["tests"][0]["stdout"]


@pytest.mark.parametrize(
    ("program", "reason"),
    [
        ("while True: pass", "timeout"),
        ("import time; time.sleep(1000)", "timeout"),
        ("import signal\nsignal.signal(signal.SIGXCPU, signal.SIG_IGN)\nwhile True: pass", "timeout"),
        ("x = 7 ** (10 ** 9)", "timeout"),
        ("bytearray(300 << 20)", "MemoryError:"),
        ("while True: print('x' * 1000)", "too much output"),
        ("import sys\nwhile True: sys.stderr.write('x' * 10**6)", "too much output"),
        ("import ctypes; ctypes.string_at(0)", "killed by SIGSEGV"),
        ("import os; os.abort()", "killed by SIGABRT"),
        ("import sys\nsys.stdout.buffer.write(bytes(range(256)))", "wrong output"),
    ],
)
def test_what_a_program_causes_is_incorrect(grader, program, reason):
    grade = grader.grade(program, TESTS[:1])
    assert grade.outcome is Outcome.INCORRECT
    assert grade.reason == f"test 1 of 1: {reason}"
    assert grader.grade(SUM, TESTS).outcome is Outcome.CORRECT


@pytest.mark.parametrize(
    "program",
    [
        "import os\nwhile True: os.fork()",
        "import os, time\nfor _ in range(60): os.fork() or time.sleep(100)",
        "import os, time\nb = bytearray(200 << 20)\nfor _ in range(3):\n    if os.fork() == 0:\n        b[:] = bytes(200 << 20); time.sleep(9)",
        "import os\nos.kill(os.getppid(), 9)",
        "import os\nos.kill(-1, 9)",
        "import os\nos.killpg(0, 9)",
        "import os\nos.kill(1, 19)\nos.kill(1, 9)",
        "open('/dev/shm/x', 'wb').write(b'0' * (80 << 20))",
        "import os\nfor n in range(9): open(f'f{n}', 'wb').write(b'0' * (15 << 20))",
        "open('/usr/owned', 'w')",
        "import os; print(os.listdir('/home'))",
        "import socket; socket.create_connection(('127.0.0.1', 9), timeout=2)",
        "import os; print(open('/proc/1/environ').read())",
        "import os; print(os.open('/proc/1/mem', os.O_RDWR))",
        "import ctypes; raise SystemExit(ctypes.CDLL(None).unshare(0x10000000) or 'made a user namespace')",
        "import os\nfor fd in range(3, 100):\n    try: os.fstat(fd); print('fd', fd)\n    except OSError: pass",
    ],
)
def test_attacks_fail_and_leave_the_worker_well(walled, program):
    before = walled._pool.pids()
    assert walled.grade(program, TESTS[:1]).outcome is Outcome.INCORRECT
    assert walled._pool.pids() == before  # the worker lived through it
    assert walled.grade(SUM, TESTS).outcome is Outcome.CORRECT


def test_no_capability_no_user_namespace_no_privileges(walled):
    status = _output_of(walled, "print(open('/proc/self/status').read())")
    fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    assert {fields[name] for name in ("CapInh", "CapPrm", "CapEff", "CapBnd")} == {"0" * 16}
    assert fields["NoNewPrivs"] == "1"


def test_what_a_program_sees(walled):
    program = (
        "import os\nprint(sorted(os.environ), os.listdir('.'), os.listdir('/tmp'), os.getcwd())\nprint(os.listdir('/'))"
    )
    first, second = _output_of(walled, program).splitlines()
    assert first == f"{sorted(code_module.ENVIRONMENT)} [] [] /tmp"
    assert not {"home", "work", "mnt"} & set(json.loads(second.replace("'", '"')))


def test_files_do_not_reach_the_next_test(grader):
    program = "import os\nprint(os.listdir('.'))\nos.mkdir('d'); open('d/f', 'w').close(); os.chmod('d', 0)"
    grade = grader.grade(program, (Test("", "[]\n"), Test("", "[]\n")))
    assert grade.outcome is Outcome.CORRECT


def test_the_working_directory_may_be_removed(grader):
    grader.grade("import os, shutil\nshutil.rmtree(os.getcwd(), ignore_errors=True)", TESTS[:1])
    assert grader.grade(SUM, TESTS).outcome is Outcome.CORRECT


def test_no_process_outlives_its_test(grader):
    mark = f"4{os.getpid()}.25"
    program = f"import os, time\nif os.fork() == 0:\n    os.setsid()\n    if os.fork() == 0: os.execlp('sleep', 'sleep', '{mark}')\n    os._exit(0)\nos.wait()\n"
    assert grader.grade(program + SUM, TESTS[:1]).outcome is Outcome.CORRECT
    assert not _processes_with(mark)


def test_a_child_that_holds_stdout_does_not_hold_us(grader):
    start = time.perf_counter()
    grade = grader.grade("import os, time\nif os.fork() == 0: time.sleep(1000)\nprint(5)", TESTS[:1])
    assert grade.outcome is Outcome.CORRECT
    assert time.perf_counter() - start < 5.0


def test_expected_outputs_never_go_to_a_worker():
    grader = CodeGrader(1, SECONDS, 256, "rlimits")
    secret = "the expected output 8471"
    tests = (Test("1", secret), Test("2", secret))
    assert secret not in json.dumps(grader._job("print(1)", tests))
    sent = []
    grader._pool.call = lambda message, seconds: sent.append(message) or {"tests": [_result(), _result()]}
    grader.grade("print(1)", tests)
    assert len(sent) == 1
    assert "8471" not in json.dumps(sent)
    grader.close()


def _result():
    return {"ended": "exit", "code": 0, "cpu": 0.0, "stdout": "", "error": ""}


def test_who_loses_its_worker_twice_is_at_fault():
    grader = CodeGrader(1, SECONDS, 256, "rlimits")
    calls = []

    def lose(message, seconds):
        calls.append(message["program"])
        if message["program"] == "kill":
            raise code_module.WorkerLost("the worker ended")
        return {"tests": [_result() | {"stdout": "2"}]}

    grader._pool.call = lose
    assert grader.grade("kill", TESTS) == code_module.Grade(Outcome.INCORRECT, "lost its worker twice", 0, 4)
    assert calls[:2] == ["kill", "kill"]
    assert len(calls) == 3
    grader.close()


def test_where_innocent_programs_lose_workers_too_nobody_is_judged():
    grader = CodeGrader(1, SECONDS, 256, "rlimits")
    grader._pool.call = lambda message, seconds: (_ for _ in ()).throw(code_module.WorkerLost("gone"))
    assert grader.grade("kill", TESTS).outcome is Outcome.UNSCORABLE
    grader.close()


def test_a_worker_lost_once_is_replaced(grader):
    grader.isolation()
    for pid in grader._pool.pids():
        os.killpg(pid, signal.SIGKILL)
    assert grader.grade(SUM, TESTS).outcome is Outcome.CORRECT


def test_demanded_isolation():
    demand("namespaces", "namespaces", "")
    demand("namespaces", "rlimits", "")
    with pytest.raises(VerifierError, match=r"no unshare.*minimum_isolation"):
        demand("rlimits", "namespaces", "no unshare")


def test_less_isolation_than_demanded_is_refused(monkeypatch):
    monkeypatch.setattr(code_module, "UNSHARE", ("false",))
    grader = CodeGrader(1, SECONDS, 256, "namespaces")
    with pytest.raises(VerifierError, match="unprivileged user namespaces"):
        grader.grade(SUM, TESTS)
    grader.close()


_HOLDER = """
import sys, time
from openklear.types import Test
from openklear.verifiers.code import CodeGrader
from openklear.verifiers import code
if sys.argv[1] == "rlimits":
    code.UNSHARE = ("false",)
grader = CodeGrader(1, 50.0, 256, "rlimits")
grader.isolation()
print("ready", flush=True)
grader.grade("import os; os.execlp('sleep', 'sleep', sys.argv[2])".replace("sys.argv[2]", repr(sys.argv[2])), (Test("", ""),))
"""


@pytest.mark.parametrize("level", ["namespaces", "rlimits"])
def test_a_killed_parent_leaves_no_orphan(level, tmp_path):
    mark = f"5{os.getpid()}.{len(level)}5"
    environment = os.environ | {"PYTHONPATH": str(Path(code_module.__file__).parents[2]), "TMPDIR": str(tmp_path)}
    parent = subprocess.Popen(
        [sys.executable, "-c", _HOLDER, level, mark], env=environment, stdout=subprocess.PIPE, text=True
    )
    assert parent.stdout.readline() == "ready\n"
    _wait_until(lambda: any("sleep" in line.split("\0")[0] for line in _processes_with(mark)))
    parent.kill()
    parent.wait()
    parent.stdout.close()
    _wait_until(lambda: not _processes_with(mark))
    _wait_until(lambda: not list(tmp_path.iterdir()))


def _processes_with(mark):
    """Command lines of all processes that name `mark`."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                line = (entry / "cmdline").read_text()
            except OSError:
                continue
            if mark in line:
                found.append(line)
    return found


def _wait_until(condition, seconds=20.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)
