"""Hostile and innocent programs, and what a judge must say of them. Material for test_attacks and storm.

A stdio attack that wants something of the host prints the right answer only where it got it: the verdict says whether
a wall held. Attacks on the judge itself try to pass without computing anything.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from openklear.types import AnyTest, AssertTest, CallTest, Test

Expected = Literal["correct", "incorrect", "any"]
SUM_TESTS: tuple[AnyTest, ...] = (Test("2 3\n", "5\n"),)
CALL_TESTS: tuple[AnyTest, ...] = (CallTest("add", "[2, 3]", "5"), CallTest("add", "[-1, 1]", "0"))
ASSERT_TESTS: tuple[AnyTest, ...] = (AssertTest("assert add(2, 3) == 5"), AssertTest("assert add(-1, 1) == 0"))

SECRET = "OPENKLEAR_ATTACKS_SECRET"
"""A variable in the environment of whoever runs the corpus."""
MARK = "OKPWNED"
"""How names of files begin that attacks try to leave on the host."""

PRELUDE = """\
import ctypes, errno, os, platform, signal, socket, struct, sys, time
a, b = map(int, sys.stdin.readline().split())
libc = ctypes.CDLL(None, use_errno=True)
def won():
    os.write(1, b"%d\\n" % (a + b))
    os._exit(0)
def call(x86, arm, *arguments):
    ctypes.set_errno(0)
    number = {"x86_64": x86, "aarch64": arm}[platform.machine()]
    return libc.syscall(ctypes.c_long(number), *arguments)
def succeeds(f, *arguments):
    try:
        f(*arguments)
        return True
    except (OSError, ValueError, PermissionError):
        return False
def daemon(f):
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            f()
        os._exit(0)
    os.wait()
"""
HELD = "\nprint('held')\n"


@dataclass(frozen=True)
class Attack:
    """A program, its tests, and what must come of it."""

    name: str
    program: str
    expected: Expected
    tests: tuple[AnyTest, ...] = SUM_TESTS
    reason: str = ""
    """What the verdict's reason must hold."""
    then: str = ""
    """A program that is judged right after it, on the sum, and must not be `correct`: it looks for what was left."""
    passed: int | None = None
    control: bool = False
    """Run without walls it does what it wants, and harms nobody: shows that the wall is what stops it."""
    plain: bool = False
    """May be run without walls on a host that matters."""

    def __str__(self) -> str:
        return self.name


def wants(name: str, body: str, **more: object) -> Attack:
    """An attack that calls won() where it got what it wants."""
    more = {"reason": "wrong output"} | more
    return Attack(name, PRELUDE + body + HELD, "incorrect", **more)  # type: ignore[arg-type]


def leaves(name: str, plant: str, look: str, **more: object) -> Attack:
    """An attack that leaves something, and a second program that calls won() where it finds it."""
    then = PRELUDE + look + HELD
    more = {"reason": "wrong output", "then": then} | more
    return Attack(name, PRELUDE + plant + HELD, "incorrect", **more)  # type: ignore[arg-type]


SUM = "a, b = map(int, input().split())\nprint(a + b)\n"
ADD = "def add(a, b):\n    return a + b\n"
INNOCENT: tuple[Attack, ...] = (
    Attack("innocent_sum", SUM, "correct"),
    Attack("innocent_call", ADD, "correct", CALL_TESTS),
    Attack("innocent_assert", ADD, "correct", ASSERT_TESTS),
    Attack("innocent_method", "class Solution:\n    def add(self, a, b): return a + b\n", "correct", CALL_TESTS),
    Attack(
        "innocent_threads",
        "import threading\n" + SUM + "t = [threading.Thread(target=sum, args=([1],)) for _ in range(8)]\n"
        "[x.start() for x in t]; [x.join() for x in t]\n",
        "correct",
    ),
    Attack(
        "innocent_subprocess",
        "import subprocess, sys\na, b = input().split()\n"
        "done = subprocess.run([sys.executable, '-c', f'print({a} + {b})'], stdout=subprocess.PIPE, "
        "stderr=subprocess.DEVNULL)\nprint(done.stdout.decode())\n",
        "correct",
    ),
    Attack(
        "innocent_files",
        "import tempfile, os\na, b = map(int, input().split())\nwith tempfile.TemporaryDirectory() as d:\n"
        "    open(d + '/x', 'w').write('y' * 10**6 + str(a + b))\n    print(open(d + '/x').read().lstrip('y'))\n"
        "open('here.txt', 'w').write('x')\n",
        "correct",
    ),
    Attack(
        "innocent_asyncio",
        "import asyncio\nasync def f():\n    await asyncio.sleep(0)\n    return sum(map(int, input().split()))\n"
        "print(asyncio.run(f()))\n",
        "correct",
    ),
    Attack(
        "innocent_pool",
        "import multiprocessing as m\na, b = map(int, input().split())\nq = m.Pipe()\n"
        "p = m.get_context('fork').Process(target=lambda: q[1].send(a + b)); p.start(); print(q[0].recv()); p.join()\n",
        "correct",
    ),
    Attack(
        "innocent_recursion",
        "import sys\nsys.setrecursionlimit(20000)\ndef f(n): return 0 if n == 0 else 1 + f(n - 1)\n"
        + SUM
        + "f(9000)\n",
        "correct",
    ),
    Attack(
        "innocent_devices",
        "a, b = map(int, open('/dev/stdin').read().split())\nopen('/dev/null', 'w').write('x')\n"
        "open('/dev/stderr', 'w').write('x')\nopen('/dev/stdout', 'w').write(str(a + b))\n",
        "correct",
    ),
    Attack("innocent_noise", "import sys\nsys.stderr.write('x' * 10**6)\n" + SUM, "correct"),
)
"""Programs that must pass, whatever ran before them."""

_SAID = {
    "AC": "correct",
    "WA": "incorrect",
    "RE": "incorrect",
    "RE/CE": "incorrect",
    "TLE": "incorrect",
    "OLE": "incorrect",
}
_READ: dict[str, Expected] = {
    "daemonize": "correct",
    "hold_stdout_open": "correct",
    "unremovable_file": "correct",
    "fifo_trap": "correct",
    "sitecustomize_plant": "correct",
    "many_files": "incorrect",
    "ptrace_parent": "incorrect",
    "setuid_bins": "incorrect",
    "nice_priority": "incorrect",
    "tty_inject": "incorrect",
    "fn_mutate_inputs": "correct",
    "fn_float_close": "any",
}
"""Where the survey's verdict is a sentence: what it comes to (many of them print the right answer, 5)."""


def surveyed(path: Path) -> list[Attack]:
    """The attacks of a survey file: {"stdio": {"programs": ...}, "functional": {"programs": ...}}."""
    survey = json.loads(path.read_text())
    found: list[Attack] = []
    for kind, tests in (("stdio", SUM_TESTS), ("functional", CALL_TESTS)):
        for name, row in survey[kind]["programs"].items():
            said = row["verdict"]
            first = said.split(" ")[0].split(",")[0].split(":")[0]
            expected = _READ.get(name) or _SAID.get(first) or "incorrect"
            found.append(Attack(name, row["code"], expected, tests))  # type: ignore[arg-type]
            if kind == "functional":
                found.append(Attack(f"{name}_asserts", row["code"], expected, ASSERT_TESTS))  # type: ignore[arg-type]
    return found
