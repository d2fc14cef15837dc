"""What programs are kept from on this host, measured: attack programs go through the judge, and what they got is told.

A probe prints "held" where the wall stands and ends with "open: ..." where it does not. Probes harm nobody even where
there is no wall: they read, connect and signal only what the self-test itself has put there, or ask and go.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from openklear.types import Test
from openklear.verifiers import cgroup
from openklear.verifiers.code import CodeGrader
from openklear.verifiers.pool import WorkerLost
from openklear.verifiers.walls import LEVELS, Boxes, Level

_SECONDS, _MEMORY_MB = 1.0, 256
_TESTS = (Test("", "held\n"),)

_PRELUDE = """\
import ctypes, os, platform, resource, signal, socket, sys, time
libc = ctypes.CDLL(None, use_errno=True)
def call(x86, arm, *arguments):
    number = {"x86_64": x86, "aarch64": arm}.get(platform.machine())
    return -1 if number is None else libc.syscall(ctypes.c_long(number), *arguments)
def refused(f, *arguments):
    try: f(*arguments)
    except (OSError, ValueError): return True
    return False
def demand(truth, what):
    if not truth: sys.exit("open: " + what)
"""


@dataclass(frozen=True, slots=True)
class Guarantee:
    """Something that programs are kept from: programs that try it, one after another, and who promises it."""

    name: str
    says: str
    probes: tuple[str, ...]
    promised: tuple[Level, ...] = ("bubblewrap",)
    stopped: bool = False
    """Holds too where the judge stops the program."""


@dataclass(frozen=True, slots=True)
class Finding:
    """A guarantee as it was found: `why` says what was open where it is not held."""

    name: str
    says: str
    promised: bool
    held: bool
    why: str


GUARANTEES: tuple[Guarantee, ...] = (
    Guarantee(
        "innocent",
        "Programs that do nothing wrong pass, with threads, processes and files of their own.",
        (
            "import asyncio, subprocess, tempfile, threading\nasyncio.run(asyncio.sleep(0))\n"
            "t = threading.Thread(target=open('kept', 'w').close); t.start(); t.join()\n"
            "with tempfile.TemporaryFile() as f: f.write(bytes(1 << 20))\n"
            "demand(subprocess.run(['/bin/sh', '-c', 'exit 7'], stderr=subprocess.DEVNULL).returncode == 7, 'sh')\n",
        ),
        LEVELS,
    ),
    Guarantee(
        "network",
        "No connection reaches this host or another.",
        (
            "try: socket.create_connection(('127.0.0.1', {port}), timeout=2)\nexcept OSError: pass\n"
            "else: demand(False, 'a server on this host was reached')\n",
            "for family in range(2, 46):\n  for kind in (1, 2, 3):\n"
            "    demand(refused(socket.socket, family, kind), f'sockets of the family {{family}}')\n",
        ),
    ),
    Guarantee(
        "files",
        "Files of this host cannot be read, but for the system's programs and libraries and this Python.",
        (
            "for path in ('{directory}/secret', '/etc/passwd', '/proc/1/cwd/etc/passwd', '/proc/{victim}/environ'):\n"
            "    demand(refused(open, path), path + ' can be read')\n",
        ),
    ),
    Guarantee(
        "writes",
        "Nothing outside of the program's own /tmp can be written.",
        (
            "places = ['{directory}', '/', '/usr', '/etc', '/dev', '/var/tmp', '/root', os.path.dirname(os.__file__)]\n"
            "for place in places:\n    path = place + '/{secret}'\n"
            "    if not refused(lambda: os.close(os.open(path, os.O_CREAT | os.O_WRONLY))):\n"
            "        os.unlink(path); demand(False, place + ' can be written')\n",
        ),
    ),
    Guarantee(
        "processes",
        "Programs see and signal no process but their own.",
        (
            "demand(refused(os.kill, {victim}, 0), 'processes of this host can be signalled')\n"
            "seen = [p for p in os.listdir('/proc') if p.isdigit() and int(p) not in (1, os.getpid())]\n"
            "demand(not seen, f'{{len(seen)}} other processes are seen')\n",
        ),
    ),
    Guarantee(
        "runner",
        "The process that runs the program cannot be read, traced, changed or stopped.",
        (
            "p = os.getppid()\nfor name in ('mem', 'environ', 'maps', 'fd/10'):\n"
            "    demand(refused(lambda: open(f'/proc/{{p}}/{{name}}', 'rb').read(1)), f'its {{name}} can be read')\n"
            "demand(call(101, 117, 16, p, 0, 0) != 0, 'it can be traced')\n"
            "demand(refused(resource.prlimit, p, resource.RLIMIT_CPU, (9, 9)), 'its limits can be changed')\n",
            "for number in (signal.SIGINT, signal.SIGUSR1, signal.SIGALRM, signal.SIGKILL, signal.SIGSTOP):\n"
            "    refused(os.kill, os.getppid(), number) if os.getppid() == 1 and os.getpid() < 99 else None\n"
            "time.sleep(0.05)\n",
        ),
    ),
    Guarantee(
        "memory",
        "A family of processes together is held to the limit, not each process by itself.",
        (
            "r, w = os.pipe()\nfor _ in range(8):\n    if os.fork() == 0:\n"
            "        kept = bytearray(150 << 20); os.write(w, b'x'); time.sleep(100)\n"
            "n = 0\nwhile n < 8: n += len(os.read(r, 8))\n"
            "demand(False, '8 processes held 1.2 GB under a limit of 256 MB')\n",
        ),
        stopped=True,
    ),
    Guarantee(
        "process count",
        "The number of processes is bounded, however fast they are made.",
        (
            "n = 0\ntry:\n    while n < 200:\n        if os.fork() == 0: os.setsid(); time.sleep(100)\n        n += 1\n"
            "except OSError: pass\ndemand(n < 200, '200 processes at once')\n",
        ),
        stopped=True,
    ),
    Guarantee(
        "time",
        "Programs end at their limits of time, whatever they do with signals.",
        ("for n in range(1, 65):\n    refused(signal.signal, n, signal.SIG_IGN)\nwhile time.sleep(1) is None: pass\n",),
        LEVELS,
        stopped=True,
    ),
    Guarantee(
        "system calls",
        "Calls that no program needs are denied, foreign architectures too.",
        (
            "for name, x, arm in (('personality', 135, 92), ('memfd_create', 319, 279), ('io_uring_setup', 425, 425),\n"
            "    ('keyctl', 250, 219), ('bpf', 321, 280), ('userfaultfd', 323, 282), ('perf_event_open', 298, 241),\n"
            "    ('unshare', 272, 97), ('setns', 308, 268), ('mount', 165, 40), ('clone3', 435, 435)):\n"
            "    ctypes.set_errno(0); call(x, arm, 0xffffffff if name == 'personality' else 0, 0, 0, 0, 0)\n"
            "    demand(ctypes.get_errno() in (1, 38), name + ' is not denied')\n",
        ),
    ),
    Guarantee(
        "descriptors",
        "A program has its input, its two outputs and no descriptor more.",
        (
            "for n in range(3, 4096):\n    demand(refused(os.fstat, n), f'descriptor {{n}} is open')\n",
            "demand('{secret}' not in ''.join(os.environ.values()), 'the environment is passed on')\n",
        ),
        LEVELS,
    ),
    Guarantee(
        "clean-up",
        "Nothing of a program is there for the next: no file, no process.",
        (
            "open('/tmp/{secret}' if os.getppid() == 1 else '{secret}', 'w').close(); open('left', 'w').close()\n"
            "if os.fork() == 0:\n    os.setsid()\n    if os.fork() == 0:\n"
            "        s = socket.socket(socket.AF_UNIX); s.bind(b'\\0{secret}'); s.listen(); time.sleep(100)\n"
            "    os._exit(0)\ntime.sleep(0.1)\n",
            "demand(not os.listdir('.'), f'files are left: {{os.listdir(\".\")[:3]}}')\n"
            "demand(refused(socket.socket(socket.AF_UNIX).connect, b'\\0{secret}'), 'a process is left')\n",
        ),
    ),
    Guarantee(
        "shared memory",
        "No message goes through System V or POSIX objects or abstract sockets, to the host or to another program.",
        (
            "demand(refused(socket.socket(socket.AF_UNIX).connect, b'\\0{socket}'), 'abstract sockets of this host')\n"
            "n = call(29, 194, 0, 4096, 0o1600)\n"
            "if n >= 0: call(31, 195, n, 0, 0); demand(False, 'System V segments')\n"
            "n = call(240, 180, b'{secret}', 0o102, 0o600, None)\n"
            "if n >= 0: call(241, 181, b'{secret}'); demand(False, 'POSIX queues')\n",
        ),
    ),
    Guarantee(
        "identity",
        "Programs have no power over the system and cannot gain any.",
        (
            "status = dict(line.split(':', 1) for line in open('/proc/self/status'))\n"
            "for name in ('CapEff', 'CapPrm', 'CapBnd', 'CapAmb'):\n"
            "    demand(int(status[name], 16) == 0, name + ' is ' + status[name].strip())\n"
            "demand(int(status['NoNewPrivs']) == 1, 'setuid programs keep their power')\n"
            "demand(refused(os.chroot, '/'), 'chroot')\n",
        ),
    ),
)


def available() -> dict[Level, str]:
    """Why each level of isolation is not available here, strongest first; empty where it is."""
    found: dict[Level, str] = {}
    for level in reversed(LEVELS):
        try:
            Boxes("rlimits", _MEMORY_MB * 2**20, level).start().close()
            found[level] = ""
        except (WorkerLost, OSError) as error:
            found[level] = str(error) or type(error).__name__
    return found


def memory_is_counted() -> bool:
    """Whether the kernel counts a family's memory here (a memory cgroup), or we look at it 50 times a second."""
    cage = cgroup.make(_MEMORY_MB * 2**20)
    if cage is not None:
        cage.remove()
    return cage is not None


def measure(level: Level, on_start: Callable[[str], None] = lambda name: None) -> list[Finding]:
    """Tries every guarantee at a level of isolation that is available here; `on_start` hears the name of each."""
    findings: list[Finding] = []
    grader = CodeGrader(1, _SECONDS, _MEMORY_MB, "rlimits", level)
    with contextlib.closing(grader), _bait() as bait:
        for guarantee in GUARANTEES:
            on_start(guarantee.name)
            why = _what_is_open(grader, guarantee, bait)
            findings.append(Finding(guarantee.name, guarantee.says, level in guarantee.promised, not why, why))
    return findings


def _what_is_open(grader: CodeGrader, guarantee: Guarantee, bait: Mapping[str, object]) -> str:
    for probe in guarantee.probes:
        grade = grader.grade(_PRELUDE + probe.format(**bait) + "print('held')\n", _TESTS)
        reason = grade.reason.removeprefix("test 1 of 1: ")
        if reason.startswith("open: "):
            return reason.removeprefix("open: ")
        ended = reason in ("timeout", "too many processes", "too much memory")
        stopped = guarantee.stopped and (ended or reason.startswith(("killed", "MemoryErr")))
        if not grade.correct and not stopped:
            return f"the probe ended otherwise: {reason}"
    return ""


@contextlib.contextmanager
def _bait() -> Iterator[dict[str, object]]:
    """Puts up a server, an abstract socket, a file and a process for the probes to find, by the names they use."""
    secret = f"openklear{secrets.token_hex(8)}"
    with contextlib.ExitStack() as held:
        directory = Path(held.enter_context(tempfile.TemporaryDirectory(prefix="openklear-doctor-")))
        directory.chmod(0o777)  # what keeps programs out shall be the walls, not the file's mode
        (directory / "secret").write_text(secret)
        server = held.enter_context(socket.create_server(("127.0.0.1", 0)))
        abstract = held.enter_context(socket.socket(socket.AF_UNIX))
        if sys.platform == "linux":
            abstract.bind(f"\0{secret}-host")
            abstract.listen()
        held.callback(os.environ.pop, "OPENKLEAR_DOCTOR", None)
        os.environ["OPENKLEAR_DOCTOR"] = secret
        victim = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, stderr=subprocess.DEVNULL)
        held.callback(victim.wait)
        held.callback(victim.kill)
        yield {
            "directory": directory,
            "port": server.getsockname()[1],
            "socket": f"{secret}-host",
            "victim": victim.pid,
            "secret": secret,
        }
