import ast
import contextlib
import os
import signal
import sys
import time
from pathlib import Path

import pytest

from openklear.errors import VerifierError
from openklear.types import AssertTest, CallTest, Outcome, Test, Verdict
from openklear.verifiers import walls
from openklear.verifiers.code import CodeGrader
from openklear.verifiers.pool import Worker, WorkerLost
from openklear.verifiers.walls import LEVELS, demand
from openklear.verifiers.workers import wire

SECONDS = 0.3
SUM = "a, b = map(int, input().split())\nprint(a + b)"
TESTS = tuple(Test(f"{a} {b}\n", f"{a + b}\n") for a, b in ((2, 3), (0, 0), (-1, 1), (10, 20)))


def made_at(level):
    made = CodeGrader(1, seconds=SECONDS, memory_mb=256, minimum_isolation="rlimits", level=level)
    try:
        made.isolation()
    except (WorkerLost, OSError) as error:
        pytest.skip(f"no {level} on this host: {error}")
    return made


@pytest.fixture(scope="module", params=LEVELS)
def grader(request):
    made = made_at(request.param)
    yield made
    made.close()


@pytest.fixture(scope="module", params=LEVELS[1:])
def walled(request):
    made = made_at(request.param)
    yield made
    made.close()


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
    for pid in grader.pool.pids():
        os.killpg(pid, signal.SIGKILL)
    with contextlib.suppress(WorkerLost):
        _output_of(grader, program)
    assert _output_of(grader, program) == output


def _output_of(grader, program):
    with grader.pool.session() as box:
        box.send({"kind": "stdio", "program": program, "cpu_seconds": 2.0, "memory_bytes": 256 << 20}, 10.0)
        output = box.request({"stdins": [""]}, 10.0)["results"][0]["stdout"]
        box.send({"end": True}, 10.0)
    return output


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
        ("import os; os.kill(os.getpid(), 40)", "killed by signal 40"),
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
    before = walled.pool.pids()
    assert walled.grade(program, TESTS[:1]).outcome is Outcome.INCORRECT
    assert walled.pool.pids() == before  # the worker lived through it
    assert walled.grade(SUM, TESTS).outcome is Outcome.CORRECT


def test_no_capability_no_user_namespace_no_privileges(walled):
    status = _output_of(walled, "print(open('/proc/self/status').read())")
    fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    assert {fields[name] for name in ("CapInh", "CapPrm", "CapEff", "CapBnd")} == {"0" * 16}
    assert fields["NoNewPrivs"] == "1"


def test_what_a_program_sees(walled):
    program = (
        "import os\nprint(sorted({*os.environ} - {'PWD'}), os.listdir('.'), os.listdir('/tmp'), os.getcwd())\n"
        "for name in ('home', 'root', 'work', 'mnt', 'etc'):\n"
        "    try: print(os.listdir('/' + name))\n    except OSError: pass"
    )
    first, *rest = _output_of(walled, program).splitlines()
    assert first == f"{sorted(walls.ENVIRONMENT)} [] [] /tmp"
    bound = {"ld.so.cache", *Path(sys.base_prefix).resolve().parts, *Path(walls.__file__).parts}
    assert {name for line in rest for name in ast.literal_eval(line)} <= bound


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
    assert time.perf_counter() - start < 60.0  # the child sleeps for 1,000


def test_expected_outputs_never_go_to_a_worker(grader, monkeypatch):
    sent, encode = [], wire.encode
    monkeypatch.setattr(wire, "encode", lambda message: sent.append(encode(message)) or sent[-1])
    secret = "8471000"
    tests = (
        *(Test("1", secret), CallTest("f", "[1]", secret), AssertTest(f"assert f(1) == {secret}")),
        AssertTest(f"def check(f):\n    assert f(1) == {secret}\ncheck(f)"),
    )
    grader.grade("def f(x): return 1", tests)
    assert len(sent) == 6  # two sessions: a header, the inputs, the end
    assert secret.encode() not in b"".join(sent)
    sent.clear()
    # Code that is not translated goes to the box of the tests, and to no other.
    grader.grade("def f(x): return 1", (AssertTest(f"assert [f(1)] == [{secret}]"),))
    assert [data for data in sent if secret.encode() in data] == [data for data in sent if b'"tester"' in data]


@pytest.fixture
def lost_over(monkeypatch):
    """Workers are lost when they are given one of these programs."""
    programs, seen, send = [], [], Worker.send

    def fail(worker, message, seconds):
        if "program" in message:
            seen.append(message["program"])
            if message["program"] in programs or not programs:
                worker.kill()
                raise WorkerLost("killed")
        send(worker, message, seconds)

    monkeypatch.setattr(Worker, "send", fail)
    return programs, seen


def test_who_loses_its_worker_twice_is_at_fault(lost_over):
    lost_over[0].append("kill")
    grader = CodeGrader(1, SECONDS, 256, "rlimits")
    assert grader.grade("kill", TESTS) == Verdict(Outcome.INCORRECT, "lost its worker twice", total=4)
    assert lost_over[1][:2] == ["kill", "kill"]
    assert len(lost_over[1]) == 3
    grader.close()


def test_where_innocent_programs_lose_workers_too_nobody_is_judged(lost_over):
    grader = CodeGrader(1, SECONDS, 256, "rlimits")
    assert grader.grade("print(1)", TESTS).outcome is Outcome.UNSCORABLE
    assert len(lost_over[1]) == 3
    grader.close()


def test_a_worker_lost_once_is_replaced(grader):
    grader.isolation()
    for pid in grader.pool.pids():
        os.killpg(pid, signal.SIGKILL)
    assert grader.grade(SUM, TESTS).outcome is Outcome.CORRECT


def test_demanded_isolation():
    demand("bubblewrap", "bubblewrap", "")
    demand("bubblewrap", "rlimits", "")
    with pytest.raises(VerifierError, match=r"no bwrap.*minimum_isolation"):
        demand("rlimits", "bubblewrap", "no bwrap")


@pytest.mark.parametrize(("wrong", "runs"), [([0], 1), ([1], 2), ([2], 4), ([3], 4), ([4], 8), ([], 12), ([2, 5], 4)])
def test_an_early_stop_runs_few_tests_and_counts_those_before(monkeypatch, wrong, runs):
    grader, asked, request = CodeGrader(1, SECONDS, 256, "rlimits"), [], Worker.request
    monkeypatch.setattr(
        Worker, "request", lambda worker, message, seconds: asked.append(message) or request(worker, message, seconds)
    )
    tests = tuple(Test(f"{n} 1\n", "no" if n in wrong else f"{n + 1}\n") for n in range(12))
    grade = grader.grade(SUM, tests, stop_early=True)
    assert (grade.passed, grade.total) == (min(wrong, default=12), 12)
    assert grade.reason == (f"test {wrong[0] + 1} of 12: wrong output" if wrong else "")
    assert sum(len(message["stdins"]) for message in asked) == runs
    whole = grader.grade(SUM, tests)
    assert (whole.passed, whole.reason, whole.outcome) == (12 - len(wrong), grade.reason, grade.outcome)
    grader.close()


def test_checkers_decide(grader):
    program = "print(0.1 + 0.2, 'b', 'a')"
    tests = (Test("", "0.3 b a\n"), Test("", "0.3 a b"), Test("", "b 0.30000000000000004 a"))
    for checker, passed in ((None, 0), ("tokens", 0), ("float:1e-9", 1), ("unordered_tokens", 1)):
        assert grader.grade(program, tests, checker).passed == passed, checker


def test_no_tests_grade_nothing(grader):
    assert grader.grade("print(1)", ()).outcome is Outcome.UNSCORABLE


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
