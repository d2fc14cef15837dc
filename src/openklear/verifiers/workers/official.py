"""A program as LiveCodeBench's own harness runs it: all tests in one process, over a stdin and a stdout that are none.

What that harness does (LiveCodeBench/LiveCodeBench at 28fef95, MIT: lcb_runner/evaluation/testing_util.py), written
here anew. A whole program becomes the body of a function, its imports before it, behind a prelude of open modules; a
last `if __name__ == "__main__"` is opened, any other is not run. `sys.stdin` is an object that reads but is no file:
it cannot be iterated, and descriptor 0 is the harness's own, where nobody types. Output is what stands in `sys.stdout`
when the function ends: what a thread prints later, an exit handler, or whoever writes to descriptor 1 is lost. Each
test has an alarm of wall seconds. Functions that could harm the host are None.

The walls around the process are those of every program. It hears {"name", "seconds"}, then {"input"} of one test after
another, and never what is expected. To each it says

    {"more": text}, ..., {"out": text}  what was printed, in pieces
    {"value": packed}                   what was returned; {"kind": type} where that is not plain
    {"code": -3 or -4, "error": text}   the test failed with an exception
    {"broken": text}                    the program could not be loaded, or has no such function
"""

from __future__ import annotations

import ast
import builtins
import io
import json
import os
import resource
import signal
import sys
from collections.abc import Callable, Iterable
from types import FrameType, ModuleType
from typing import Any, NoReturn

from . import stacks, test_process, values, wire

TIMEOUT, ERROR = -3, -4
"""The harness's codes of a test that took too long, and of one that raised."""
DIGITS = 50_000
"""Of whole numbers as text."""
RECURSION = 50_000
STACK_BYTES = 8 * 2**20
"""What a shell gives to the harness, which leaves it so."""
MOST_STARVED = 30.0
"""Seconds, at most, that a program waited for a processor and that its alarm therefore does not count."""
PIECE = 500_000
"""Characters of output that are said at a time."""
_SHOWN = 300

_OPENED = (
    *("string", "re", "datetime", "collections", "heapq", "bisect", "copy", "math", "random", "statistics"),
    *("itertools", "functools", "operator", "io", "sys", "json", "builtins", "typing"),
)
"""Modules whose names stand before a program, the later over the earlier."""
_NAMED = tuple(name for name in _OPENED if name not in ("builtins", "typing"))
PRELUDE = "\n".join(
    (
        *(f"from {name} import *" for name in _OPENED),
        *(f"import {name}" for name in _NAMED),
        f"sys.setrecursionlimit({RECURSION})",
    )
)
_WITHOUT = {
    "os": (
        *("kill", "system", "putenv", "remove", "removedirs", "rmdir", "fchdir", "setuid", "fork", "forkpty"),
        *("killpg", "rename", "renames", "truncate", "replace", "unlink", "fchmod", "fchown", "chmod", "chown"),
        *("chroot", "lchflags", "lchmod", "lchown", "getcwd", "chdir"),
    ),
    "builtins": ("quit", "help"),
    "shutil": ("rmtree", "move", "chown"),
    "subprocess": ("Popen",),
}
"""Functions that are None to a program."""
_NO_MODULES = ("ipdb", "joblib", "resource", "psutil", "tkinter")
_WRAPPED = "wrapped_function"


class TimeoutException(Exception):
    """The alarm of a test went off. A program may catch it, as it may there."""


class Alarm:
    """Wall seconds of a test, without those in which the process waited for a processor (house rule 5)."""

    def __init__(self, seconds: float):
        self._seconds, self._before, self._lent = seconds, 0.0, 0.0
        self._open, self._set, self._real = open, signal.setitimer, signal.ITIMER_REAL
        signal.signal(signal.SIGALRM, self._ring)

    def start(self) -> None:
        """From now on."""
        self._before, self._lent = self._starved(), 0.0
        self._set(self._real, self._seconds)

    def stop(self) -> None:
        """It will not ring."""
        self._set(self._real, 0)

    def _ring(self, number: int, frame: FrameType | None) -> None:
        waited = min(self._starved() - self._before, MOST_STARVED) - self._lent
        if waited > 0.01:
            self._lent += waited
            self._set(self._real, waited)
            return
        print("timeout occured: alarm went off")  # there it is printed too, into the output of whoever catches it
        raise TimeoutException

    def _starved(self) -> float:
        try:
            with self._open("/proc/self/schedstat") as file:
                return int(file.read().split()[1]) * 1e-9
        except (OSError, ValueError, IndexError):  # a kernel without scheduler statistics
            return 0.0


def run(program: str, channel: int) -> NoReturn:
    """Runs the program on inputs as they are said, answers to each, and ends the process.

    "name" is the function that is called with an input's JSON of positional arguments; None: inputs are stdin.
    "seconds" are those of a test.
    """
    tell = _Teller(channel)
    try:
        plan = wire.read_message(channel) or {}
        alarm, name = Alarm(plan["seconds"]), plan["name"]
        _settle(program)
        loaded = _load(program, name, alarm)
        one = _on_stdin if name is None else _called
        while (asked := wire.read_message(channel)) is not None:
            if isinstance(loaded, str):
                tell(broken=loaded)
            else:
                one(loaded, asked["input"], alarm, tell)
    except Exception as error:  # whatever the program made of this process is its own doing
        tell(broken=_text(error))
    finally:  # threads are not waited for, exit handlers do not run
        tell.end()


class _Teller:
    """Says what came of a test, whatever a program makes of `os`, `json` and the built-ins."""

    def __init__(self, channel: int):
        self._channel, self._write, self._exit, self._encode = channel, os.write, os._exit, wire.encode

    def __call__(self, **said: Any) -> None:
        view = memoryview(self._encode(said))
        while view:
            view = view[self._write(self._channel, view) :]

    def end(self) -> NoReturn:
        """The process is over, with what still runs in it."""
        self._exit(0)


def _settle(program: str) -> None:
    """What the harness does to its process before a program is loaded."""
    test_process.fresh_main()
    stacks.lower(resource.RLIMIT_STACK, STACK_BYTES, None)
    silent, _held = os.pipe()  # as a terminal where nobody types: the other end stays open
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(silent, 0)
    os.dup2(null, 1)
    sys.stdin, sys.stdout = open(null, closefd=False), open(1, "w", closefd=False)  # noqa: SIM115
    sys.set_int_max_str_digits(DIGITS)
    import random

    random.seed(0)  # a program that draws at random gets the same verdict every time
    os.environ["OMP_NUM_THREADS"] = "1"
    for name in _NO_MODULES:
        sys.modules[name] = None  # type: ignore[assignment]
    _take(os, _WITHOUT["os"])
    _take(builtins, _WITHOUT["builtins"])
    if "shutil" in program:  # an import that few programs need
        import shutil

        _take(shutil, _WITHOUT["shutil"])
    if "subprocess" in program:
        import subprocess

        _take(subprocess, _WITHOUT["subprocess"])


def _take(module: ModuleType, functions: Iterable[str]) -> None:
    for name in functions:
        setattr(module, name, None)


def _load(program: str, name: str | None, alarm: Alarm) -> Any:
    """What is called for every test; a text that says why nothing can be."""
    module = ModuleType("tmp_sol")
    alarm.start()
    try:
        code = _whole(program) if name is None else f"{PRELUDE}\n\n{program}"
        exec(compile(code, "<string>", "exec", dont_inherit=True), module.__dict__)
        owner = module.Solution() if "class Solution" in program and name is not None else module
    except Exception as error:  # what a program raises while it is loaded is its failure
        return f"error during testing: {type(error).__name__}: {error}"[:_SHOWN]
    finally:
        alarm.stop()
    function = getattr(owner, name or _WRAPPED, None)
    return f"error during testing: there is no {name or 'function of the program'}" if function is None else function


def _whole(program: str) -> str:
    """A program over stdin as a function without arguments; itself where it cannot be read.

    Written out and read again, as there: line numbers and what hangs on them are others.
    """
    try:
        body = _opened(ast.parse(program).body)
        imports = [one for one in body if isinstance(one, ast.Import | ast.ImportFrom)]
        function = ast.parse(f"def {_WRAPPED}(): pass").body[0]
        assert isinstance(function, ast.FunctionDef)
        function.body = [one for one in body if not isinstance(one, ast.Import | ast.ImportFrom)]
        return f"{PRELUDE}\n{ast.unparse(ast.Module([*imports, function], []))}"
    except Exception:  # whatever reading and writing raise on a program, its text is taken as it is
        return program


def _opened(body: list[ast.stmt]) -> list[ast.stmt]:
    """The statements with those of a last `if __name__ == '__main__'` in its place."""
    last = body[-1] if body else None
    if isinstance(last, ast.If) and ast.unparse(last.test) == "__name__ == '__main__'":
        return [*body[:-1], *last.body]
    return body


class _Bytes:
    """`sys.stdin.buffer`: whole each time, or the first line."""

    def __init__(self, text: str):
        self.inputs = text.encode()

    def read(self, *_: object) -> bytes:
        return self.inputs

    def readline(self, *_: object) -> bytes:
        return self.inputs.split(b"\n")[0] + b"\n"


class _Stdin:
    """`sys.stdin`: no file, and not to be iterated. What is not written here a StringIO does."""

    def __init__(self, text: str):
        self.inputs, self._stringio, self.buffer = text, io.StringIO(text), _Bytes(text)

    def read(self, *_: object) -> str:
        return self.inputs

    def readline(self, *size: int) -> str:
        return self._stringio.readline(*size)

    def readlines(self, *_: object) -> list[str]:
        return self.inputs.split("\n")

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stringio, name)


def _on_stdin(function: Callable[[], object], text: str, alarm: Alarm, tell: _Teller) -> None:
    """Runs the program on an input."""
    captured = io.StringIO()
    vars(captured)["close"] = lambda x: 1  # no program can close it
    failed = None
    before = sys.stdout, sys.stdin, builtins.open
    patched = _patch_stdin(before[1], text)
    sys.stdout, sys.stdin = captured, patched
    # For modules: the program's own `open` is a name of its prelude, which was bound before.
    vars(builtins)["open"] = lambda *_, **__: io.StringIO(text)
    alarm.start()
    try:
        try:
            function()
        except SystemExit:
            pass
        finally:
            alarm.stop()
    except Exception as error:  # the program's, whatever it is; other exceptions end the process, as there
        failed = error
    finally:
        sys.stdout, sys.stdin, builtins.open = before
        for name in _READS:
            vars(before[1]).pop(name, None)
    if failed is not None:
        _failed(failed, tell)
        return
    printed = captured.getvalue()
    while len(printed) > PIECE:
        tell(more=printed[:PIECE])
        printed = printed[PIECE:]
    tell(out=printed)


_READS = ("read", "readline", "readlines")


def _patch_stdin(file: Any, text: str) -> Any:
    """The stdin of a test. The one before, which `from sys import stdin` binds, reads the same text where it is asked
    for it, and nothing where it is iterated."""
    lines = iter(text.split("\n"))
    file.read = lambda *_: text
    file.readline = lambda *_: next(lines)
    file.readlines = lambda *_: text.split("\n")
    return _Stdin(text)


def _called(function: Callable[..., object], text: str, alarm: Alarm, tell: _Teller) -> None:
    """Calls the function."""
    arguments = json.loads(text)
    alarm.start()
    try:
        result = function(*arguments)
    except Exception as error:  # the program's, whatever it is; other exceptions end the process, as there
        _failed(error, tell)
        return
    finally:
        alarm.stop()
    try:
        tell(value=values.pack(list(result) if isinstance(result, tuple) else result))
    except values.NotPlain as error:
        tell(kind=str(error))


def _failed(error: Exception, tell: _Teller) -> None:
    text = _text(error)
    tell(code=TIMEOUT if "timeoutexception" in text.lower() else ERROR, error=text)


def _text(error: BaseException) -> str:
    try:
        return repr(error)[:_SHOWN]
    except Exception:  # a hostile __repr__
        return type(error).__name__
