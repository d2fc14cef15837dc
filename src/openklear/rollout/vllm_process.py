"""A vLLM in a process and an environment of its own: started, asked over pipes, and never left behind.

The worker (`vllm_worker`) is run by the interpreter of that environment. Every wait has a limit and a name, so that an
engine that hangs is told from one that works long, and what it last printed is in the error.
"""

from __future__ import annotations

import json
import os
import select
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

from openklear.errors import EngineError
from openklear.rollout import vllm_worker

Message = dict[str, Any]
Idle = Callable[[], None]

LOOK_SECONDS = 0.05
"""Between two looks at what the caller wants meanwhile."""
TRACKER_SECONDS = 5.0
"""That freeing shared memory may take."""
_LINES = 12
"""Of what vLLM printed last, in an error."""
_QUIET = {
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",  # one process: it starts in seconds, and dies as a whole
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "VLLM_WORKER_MULTIPROC_METHOD": "spawn",  # a fork of the worker would hold its pipes
    "VLLM_LOGGING_LEVEL": "WARNING",
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_HOST_IP": "127.0.0.1",
    "HF_HUB_OFFLINE": "1",
}


class VllmLost(Exception):
    """The process is dead, or gives no sign of life and was ended; the text says which, doing what."""


class VllmFault(Exception):
    """vLLM refused a command or failed at it; its own words."""


def _started(command: Sequence[str], **more: Any) -> subprocess.Popen[bytes]:
    """Started by a thread that lives as long as this process: Linux ends the worker with the thread that started it."""
    process: subprocess.Popen[bytes] = _STARTER.submit(lambda: subprocess.Popen(command, **more)).result()
    return process


_STARTER = ThreadPoolExecutor(max_workers=1, thread_name_prefix="vllm")


class VllmProcess:
    """One worker, from its start to its end."""

    def __init__(
        self, python: str, seconds: float, threads: int, worker: Path | None = None, *, several: bool = False
    ) -> None:
        """Start it. `seconds`: the longest it may give no sign of life. `several`: it starts processes that hold the
        model together. EngineError: the interpreter is none.
        """
        self.seconds = seconds
        self._several = several
        self._scratch = tempfile.mkdtemp(prefix="okvllm-") if several else None  # of sockets, whose paths must be short
        self.memory = _unnamed_file()
        self._printed = tempfile.TemporaryFile()  # noqa: SIM115  it is open as long as the process is
        self._buffer = b""
        script = worker or Path(vllm_worker.__file__)
        command = [python, "-u", str(script), str(os.getpid()), str(self.memory)]
        try:
            self._process = _started(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._printed,
                pass_fds=[self.memory],
                env=_environment(threads, seconds, self._scratch),
                start_new_session=True,  # an interrupt at the terminal is ours to pass on
            )
        except OSError as error:
            self._forget()
            raise EngineError(f"engine.python: {python} cannot be run ({error.strerror}); {ADVICE}") from error

    @property
    def pid(self) -> int:
        """Of the worker."""
        return self._process.pid

    def ask(self, what: str, command: str, idle: Idle | None = None, **arguments: Any) -> Iterator[Message]:
        """Send a command; its messages, the last of which holds "end". `what` names it in errors.

        `idle` is called again and again while nothing comes. VllmLost, VllmFault. Whoever leaves early calls `settle`.
        """
        self.send(what, do=command, **arguments)
        while True:
            message = self._receive(what, idle)
            if "error" in message:
                raise VllmFault(message["error"])
            yield message
            if "end" in message:
                return

    def answer(self, what: str, command: str, **arguments: Any) -> Message:
        """Send a command that has one answer."""
        *_, last = self.ask(what, command, **arguments)
        return last

    def settle(self, what: str) -> None:
        """Break off the command that was left early, and read what still comes of it. VllmLost."""
        self.send(what, do="abort")
        while not {"end", "error"} & self._receive(what, None).keys():
            pass

    def send(self, what: str, **message: Any) -> None:
        """One message. VllmLost."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(message).encode() + b"\n")
            self._process.stdin.flush()
        except OSError as error:
            raise self._lost(what) from error

    def _receive(self, what: str, idle: Idle | None) -> Message:
        assert self._process.stdout is not None
        reading, heard = self._process.stdout.fileno(), time.monotonic()
        while b"\n" not in self._buffer:
            if idle is not None:
                idle()
            if not select.select([reading], [], [], LOOK_SECONDS)[0]:
                if time.monotonic() - heard > self.seconds:
                    self.end()
                    raise VllmLost(f"gave no sign of life for {self.seconds:g} s while {what} and was ended")
                continue
            piece = os.read(reading, 1 << 20)
            if not piece:
                raise self._lost(what)
            self._buffer += piece
        line, _, self._buffer = self._buffer.partition(b"\n")
        found: Message = json.loads(line)
        return found

    def _lost(self, what: str) -> VllmLost:
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(5.0)
        code = self._process.poll()
        self.end()
        if code is None:
            how = "closed its pipes"
        elif code < 0:
            how = f"was killed by signal {-code} ({signal.Signals(-code).name})"
        else:
            how = f"ended with exit code {code}"
        return VllmLost(f"{how} while {what}")

    def printed(self) -> str:
        """The last lines that it printed, indented."""
        self._printed.seek(0)
        lines = self._printed.read().decode(errors="replace").splitlines()
        return "".join(f"\n  {line[:300]}" for line in lines[-_LINES:])

    def end(self) -> None:
        """Kill it, and whatever it has started."""
        group = self._process.pid
        if self._several:
            _kill_all_but_the_tracker(group)
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(group, signal.SIGKILL)
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(10.0)
        for pipe in (self._process.stdin, self._process.stdout):
            with suppress(OSError):
                if pipe is not None:
                    pipe.close()

    def close(self) -> None:
        """End it, and free what was shared with it."""
        self.end()
        self._forget()

    def _forget(self) -> None:
        self._printed.close()
        if self._scratch is not None:
            shutil.rmtree(self._scratch, ignore_errors=True)
        with suppress(OSError):
            os.close(self.memory)


ADVICE = "name the interpreter of an environment that holds vLLM (docs/engines.md says how to make one)"


def found_python(named: str | None) -> str:
    """The interpreter that the recipe names, the variable OPENKLEAR_VLLM, or .venv-vllm here. EngineError: none."""
    if named is None:
        named = os.environ.get("OPENKLEAR_VLLM", "").strip() or None
    place = Path(named) if named is not None else Path(".venv-vllm/bin/python")
    if not place.is_file():
        where = named or f"neither engine.python nor OPENKLEAR_VLLM is set, and {place.absolute()}"
        raise EngineError(f"engine.python: {where}: there is no such file; {ADVICE}")
    return str(place.absolute())


def _unnamed_file() -> int:
    """A file in memory that has no name: it is gone when both processes are."""
    if hasattr(os, "memfd_create"):
        return os.memfd_create("openklear-weights")
    with tempfile.TemporaryFile() as file:  # no such thing on macOS: a file on the disk, removed already
        return os.dup(file.fileno())


def _environment(threads: int, seconds: float, scratch: str | None) -> dict[str, str]:
    """Ours without what would lead its interpreter to our packages; what the user has set for vLLM stays.

    `scratch`: where several processes meet. Their own limit of a step is longer than ours, which ends them.
    """
    own = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")}
    count = {"OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}
    places = {} if scratch is None else {"TMPDIR": scratch, "VLLM_RPC_BASE_PATH": scratch}
    patience = {"VLLM_EXECUTE_MODEL_TIMEOUT_SECONDS": str(int(seconds) + 60)}
    return {**_QUIET, **own, **count, **places, **patience, "VLLM_ENABLE_V1_MULTIPROCESSING": "0"}


def _kill_all_but_the_tracker(group: int) -> None:
    """Kill a group's processes on Linux, and wait a moment for Python's tracker of shared memory, which frees what they
    have left in /dev/shm once they are dead, and ends.
    """
    for one in _members(group):
        if b"resource_tracker" not in _said_of(one, "cmdline"):
            with suppress(OSError):
                os.kill(one, signal.SIGKILL)
    until = time.monotonic() + TRACKER_SECONDS
    while any(b"resource_tracker" in _said_of(one, "cmdline") for one in _members(group)):
        if time.monotonic() > until:
            return
        time.sleep(0.01)


def _members(group: int) -> list[int]:
    """Processes of a group; none where the system does not say."""
    found = [int(one.name) for one in Path("/proc").glob("[0-9]*")]
    return [one for one in found if _said_of(one, "stat").rpartition(b")")[2].split()[2:3] == [str(group).encode()]]


def _said_of(process: int, what: str) -> bytes:
    try:
        return Path(f"/proc/{process}/{what}").read_bytes()
    except OSError:  # it has ended meanwhile
        return b""
