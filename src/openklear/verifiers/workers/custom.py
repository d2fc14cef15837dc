"""The worker of a custom verifier: asks the user's function, and outlives nothing.

The first process forks a second, which imports the function and answers. The first waits until either the second or
the one who asks is gone, and takes the second along: a function that loops in C code cannot keep it from that.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable, Mapping
from typing import Any

from . import wire
from .outlive import outlive

_FIELDS = ("outcome", "reason", "extracted", "passed", "total")
_REASONS = {"correct": "", "incorrect": "wrong answer", "unscorable": "the verifier did not say why"}
"""Of each outcome, where the function gives none."""
_LONGEST = 500
"""Characters of an error that are shown."""


def main() -> None:
    """Serves until the end of stdin. argv: [-c, directory, module, module:function]."""
    child = os.fork()
    if child == 0:
        _serve(sys.argv[3])
        os._exit(0)
    outlive(child, 0)


def _serve(target: str) -> None:
    incoming, outgoing = os.dup(0), os.dup(1)
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)  # what the function reads or prints is no part of the protocol
    os.dup2(null, 1)
    name, _, attribute = target.partition(":")
    try:
        function = getattr(importlib.import_module(name), attribute)
    except Exception as error:  # importing runs the user's code, which may raise anything
        wire.write_message(outgoing, {"error": _shown(error)})
        return
    wire.write_message(outgoing, {"ready": True})
    while (message := wire.read_message(incoming)) is not None:
        wire.write_message(outgoing, _ask(function, message))


def _ask(function: Callable[[Any, str], object], message: dict[str, Any]) -> dict[str, Any]:
    try:
        return as_answer(function(message["problem"], message["completion"]))
    except Exception as error:  # the function is the user's and may raise anything; the reason is kept
        return {"error": f"it raised {_shown(error)}"}


def as_answer(value: object) -> dict[str, Any]:
    """A returned bool, mapping or object with an `outcome` as the message that tells it. ValueError for others."""
    if isinstance(value, bool) or type(value).__name__ in ("bool", "bool_"):  # numpy has bools of its own
        return _checked({"outcome": "correct" if value else "incorrect"})
    if isinstance(value, Mapping):
        return _checked(dict(value))
    if hasattr(value, "outcome"):
        return _checked({name: getattr(value, name) for name in _FIELDS if hasattr(value, name)})
    raise ValueError(f"a result of type {type(value).__name__}; return True, False or a mapping with an outcome")


def _checked(fields: dict[str, Any]) -> dict[str, Any]:
    unknown = sorted(str(name) for name in fields if name not in _FIELDS)
    if unknown:
        raise ValueError(f"a result with {', '.join(unknown)}; its fields are {', '.join(_FIELDS)}")
    outcome = fields.get("outcome")
    outcome = getattr(outcome, "value", outcome)
    if outcome not in _REASONS:
        raise ValueError(f"the outcome {outcome!r}; it is one of {', '.join(_REASONS)}")
    total = int(fields.get("total", 1))
    passed = int(fields.get("passed", total if outcome == "correct" else 0))
    if total < 1 or not 0 <= passed <= total:
        raise ValueError(f"{passed} passed of {total}")
    extracted = fields.get("extracted")
    return {
        "outcome": outcome,
        "reason": str(fields.get("reason") or _REASONS[outcome]),
        "extracted": None if extracted is None else str(extracted),
        "passed": passed,
        "total": total,
    }


def _shown(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"[:_LONGEST]
