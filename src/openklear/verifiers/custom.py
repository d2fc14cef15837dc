"""Verifiers of the user's own: a function of a problem and a completion, run in worker processes with a wall limit.

A function is named `module:function`, or by an entry point of the group `openklear.verifiers`. It is trusted code that
reads hostile text: it has the user's environment and no walls, but what it does to its process stops there. One that
hangs, crashes or raises is asked once more, after a loss in a fresh process; then the verdict is unscorable, because
nobody can tell whose fault it was.
"""

from __future__ import annotations

import hashlib
import importlib
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from openklear.errors import UsageError, VerifierError
from openklear.types import Outcome, Problem, Verdict
from openklear.verifiers.pool import Pool, Worker, WorkerLost, worker_command

GROUP = "openklear.verifiers"


@dataclass(frozen=True, slots=True)
class Function:
    """A function that a recipe names, loaded."""

    target: str
    """module:function"""
    call: Callable[..., Any]
    file: Path | None
    """The module's source."""

    @property
    def identity(self) -> str:
        """Its name and its version."""
        return f"{self.target} {self.version}"

    @property
    def version(self) -> str:
        """Hash of the source file: verdicts of another version are not used. Empty where there is no file."""
        return "" if self.file is None else hashlib.blake2b(self.file.read_bytes(), digest_size=8).hexdigest()


def verifier(name: str) -> Function:
    """The verifier of that name: `module:function`, or an entry point of GROUP. UsageError where there is none."""
    if ":" in name:
        return function(name)
    found = entry_points(group=GROUP)
    if name not in found.names:
        known = ", ".join(sorted(found.names)) or "none is installed"
        raise UsageError(
            f'no installed package has an entry point "{name}" in the group {GROUP} ({known}); '
            'write "module:function", or install the package'
        )
    return function(found[name].value)


@cache
def function(target: str) -> Function:
    """What `module:function` names. UsageError where it cannot be imported, is not there, or cannot be called."""
    name, _, attribute = target.partition(":")
    if not name or not attribute:
        raise UsageError(f'"{target}" is not of the form "module:function"')
    try:
        module = importlib.import_module(name)
    except Exception as error:  # importing runs the user's code, which may raise anything
        hint = f"; is its directory in PYTHONPATH? ({error})" if isinstance(error, ModuleNotFoundError) else ""
        raise UsageError(f"{name} cannot be imported: {type(error).__name__}: {error}{hint}") from error
    call = getattr(module, attribute, None)
    if not callable(call):
        what = "has no" if call is None else "has an uncallable"
        raise UsageError(f"{name} {what} {attribute}; name one of its functions")
    source = getattr(module, "__file__", None)
    return Function(target, call, None if source is None else Path(source))


def as_plain(problem: Problem, prompt_tail: str) -> dict[str, Any]:
    """The problem as a verifier gets it: its fields as plain data, each test with the fields it has."""
    fields = asdict(problem)
    # verdicts are kept under a hash of this order
    return {"id": fields.pop("id"), "prompt": fields.pop("prompt"), "prompt_tail": prompt_tail, **fields}


class CustomGrader:
    """Grades completions with one function over `workers` processes. Any thread may call; `close` it."""

    def __init__(self, name: str, workers: int):
        """UsageError where the function cannot be loaded."""
        self.name = name
        self._function = verifier(name)
        self.version = self._function.identity
        self._pool = Pool(self._start, workers)

    def grade(self, problem: Mapping[str, Any], completion: str, seconds: float) -> Verdict:
        """What the function says of the whole completion, in at most twice `seconds` (of the clock).

        `problem` is `as_plain`'s. VerifierError where the function cannot be loaded in a worker.
        """
        trouble = ""
        for _ in range(2):
            try:
                said = self._pool.call({"problem": problem, "completion": completion}, seconds)
            except WorkerLost as error:
                trouble = str(error)
                continue
            if "error" not in said:
                return Verdict(Outcome(said.pop("outcome")), **said)
            trouble = said["error"]
        return Verdict(Outcome.UNSCORABLE, f"{self.name}, asked twice: {trouble}", total=1)

    def _start(self) -> Worker:
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(os.path.abspath(path) for path in sys.path),  # "" is where we are
            "PYTHONHASHSEED": "0",
        }
        worker = Worker(worker_command("custom", self._function.target), environment, os.getcwd())
        if "error" in worker.hello:
            worker.close(0.0)
            raise VerifierError(f"{self.name} cannot be loaded in a worker process: {worker.hello['error']}")
        return worker

    def close(self) -> None:
        """Ends all workers."""
        self._pool.close()
