"""One session: a program, its tests, and nothing else. Runs in a fork of the box, in namespaces made for it alone.

Kinds of session, by their first frame (more in each function):

stdio   {"program"}, then {"stdins": [...]} -> {"results": [...]}: the program is run on each input
calls   {"program"}, then {"calls": [[name, arguments], ...]} -> {"results": [...]}: one call of it each
talk    {"role", "source"}: one process, whose words are passed on both ways; it is the program (candidate), code that
        tests one (tester), or a program as LiveCodeBench's own harness runs it, on one input after another (official)

No frame ever holds an expected output. A session ends with {"end": true}, or with the end of the box's stdin.
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Callable
from typing import Any

from . import kernel, official, session, stacks, test_process, testing, watcher, wire

DONE, END_OF_INPUT = 0, 3
"""How a session ended, for the box: the next one may come; nobody will ask again."""
SCRATCH_MEBIBYTES = 64

Run = Callable[[str, Any, test_process.Bounds], dict[str, Any]]


class Runner:
    """Serves one session over the box's descriptors."""

    def __init__(self, incoming: int, outgoing: int, walled: bool, scratch: Scratch):
        self.incoming, self.outgoing, self.walled, self.scratch = incoming, outgoing, walled, scratch

    def serve(self) -> int:
        """Waits for a session, serves it, says how it ended. watcher.ParentGone where its user went in the middle."""
        header = wire.read_message(self.incoming)
        if header is None:
            return END_OF_INPUT
        seconds = header["cpu_seconds"]
        wall = header.get("wall_seconds", 2 * seconds + 1.0)
        written = header.get("output_bytes", test_process.OUTPUT_BYTES)
        bounds = test_process.Bounds(seconds, wall, header["memory_bytes"], self.walled, written)
        if header["kind"] == "talk":
            return self._talk(header, bounds)
        while (frame := wire.read_message(self.incoming)) is not None:
            if "end" in frame:
                return DONE
            run, inputs = (self._call, frame["calls"]) if header["kind"] == "calls" else (self._stdio, frame["stdins"])
            self._answer(run, header["program"], inputs, bounds)
        return END_OF_INPUT

    def _answer(self, run: Run, program: str, inputs: list[Any], bounds: test_process.Bounds) -> None:
        """Runs tests in their order; one that does not compile is the last."""
        results: list[dict[str, Any]] = []
        for given in inputs:
            results.append(run(program, given, bounds))
            self.scratch.clean()
            if results[-1]["code"] == test_process.COMPILE_ERROR:
                break
        wire.write_message(self.outgoing, {"results": results})

    def _stdio(self, program: str, stdin: str, bounds: test_process.Bounds) -> dict[str, Any]:
        look, result = self._run(lambda channel: test_process.run_script(program), stdin, bounds, None)
        return result | {"stdout": look.stdout.data[: bounds.output_bytes].decode("utf-8", "surrogateescape")}

    def _call(self, program: str, call: list[Any], bounds: test_process.Bounds) -> dict[str, Any]:
        """`value` is what the call wrote to its channel; None where it wrote nothing."""
        name, arguments = call
        ours, theirs = os.pipe()
        value = watcher.Collected(ours, watcher.VALUE_CAP)
        _, result = self._run(
            lambda channel: session.call(program, name, arguments, channel), "", bounds, (value, theirs)
        )
        return result | {"value": value.data.decode("utf-8", "surrogateescape") or None}

    def _talk(self, header: dict[str, Any], bounds: test_process.Bounds) -> int:
        """Passes words on, says how the process ended, always, and waits for the end of the session."""
        entry = {"candidate": session.candidate, "tester": testing.run, "official": official.run}[header["role"]]
        ours, theirs = socket.socketpair()
        relay = watcher.Relay(ours.detach(), self.incoming, self.outgoing)
        _, result = self._run(lambda channel: entry(header["source"], channel), "", bounds, (relay, theirs.detach()))
        wire.write_message(self.outgoing, result)
        while not relay.ended:  # what was said before its user knew
            frame = wire.read_message(self.incoming)
            if frame is None:
                return END_OF_INPUT
            relay.ended = "end" in frame
        return DONE

    def _run(
        self,
        entry: Callable[[int], int],
        stdin: str,
        bounds: test_process.Bounds,
        channel: tuple[watcher.Channel, int] | None,
    ) -> tuple[watcher.Watch, dict[str, Any]]:
        """Forks a test, watches it, kills and reaps its family. `channel`: our end, and the test's descriptor."""
        source = _input_file(self.scratch.base, stdin)
        out, out_inner = os.pipe()
        err, err_inner = os.pipe()
        theirs = [source, out_inner, err_inner, *([] if channel is None else [channel[1]])]
        pid = os.fork()
        if pid == 0:
            test_process.run(entry, theirs, bounds)
        for descriptor in theirs:
            os.close(descriptor)
        look = watcher.Watch(pid, out, err, bounds, self.incoming, None if channel is None else channel[0])
        try:
            ended = look.until_end()
        finally:
            watcher.kill_family(pid, bounds.walled)
            _, status, usage = os.wait4(pid, 0)
            watcher.reap(bounds.walled)
        look.drain()
        if ended == "exit" and (look.stdout.over or (channel is not None and channel[0].over == "output")):
            ended = "output"
        if ended == "exit" and usage.ru_maxrss * watcher.PEAK_UNIT > bounds.memory_bytes + stacks.SLACK_BYTES:
            ended = "memory"  # between two looks, or all of it as a stack, which ends in SIGSEGV
        code, cpu = os.waitstatus_to_exitcode(status), usage.ru_utime + usage.ru_stime
        return look, {"ended": ended, "code": code, "cpu": cpu, "error": look.last_error()}


def _input_file(directory: str, text: str) -> int:
    """The input as an open file without a name: nothing needs to feed it, and reading past its end ends."""
    path = f"{directory}/{os.urandom(8).hex()}"
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    os.unlink(path)
    view = memoryview(text.encode("utf-8", "surrogateescape"))
    while view:
        view = view[os.write(descriptor, view) :]
    os.lseek(descriptor, 0, os.SEEK_SET)
    return descriptor


class Scratch:
    """The working directory of tests: empty for each, whatever the one before left in it."""

    def __init__(self, base: str | None):
        """`base` is a directory of our own; None where /tmp shall be one, in a mount that ends with the session."""
        self.base = base or "/tmp"
        if base is None:
            kernel.mount_scratch(self.base, SCRATCH_MEBIBYTES)
        os.chdir(self.base)

    def clean(self) -> None:
        """Empties the directory, also where a test removed it or locked it."""
        try:
            if not os.listdir("."):
                return
        except OSError:  # removed or locked: repaired below
            pass
        os.chdir("/")
        with contextlib.suppress(FileExistsError):
            os.mkdir(self.base)
        os.chmod(self.base, 0o700)
        for name in os.listdir(self.base):
            remove(f"{self.base}/{name}")
        os.chdir(self.base)


def remove(path: str) -> None:
    """Removes a file or a tree that a program may have locked or made very deep; what resists goes with the mount.

    Inner directories are moved beside the outer one, so that no path gets long and nothing recurses.
    """
    if os.path.islink(path) or not os.path.isdir(path):
        os.unlink(path)
        return
    beside = f"{os.path.dirname(path)}/{os.urandom(8).hex()}."
    waiting, count = [path], 0
    while waiting:
        directory = waiting.pop()
        os.chmod(directory, 0o700)
        for entry in list(os.scandir(directory)):
            if entry.is_dir(follow_symlinks=False):
                count += 1
                os.chmod(entry.path, 0o700)
                os.rename(entry.path, f"{beside}{count}")
                waiting.append(f"{beside}{count}")
            else:
                os.unlink(entry.path)
        os.rmdir(directory)
