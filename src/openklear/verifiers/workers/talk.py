"""The two ends of a talk: requests, answers, and what may cross between the program and the code that tests it."""

from __future__ import annotations

import builtins
from collections.abc import Callable
from typing import Any

from . import wire

UNARY = ("len", "iter", "next", "bool", "str", "repr", "int", "float", "neg", "abs", "index")
PAIRS = (
    *("add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "matmul", "and_", "or_", "xor", "lshift"),
    *("lt", "le", "gt", "ge"),
)
ITEMS = ("getitem", "setitem", "delitem")
"""What a test may do with an object of the program's besides calling it: names in `operator` or `builtins`."""
_SHOWN = 500
"""Characters of an exception's text that cross."""


class Gone(BaseException):
    """The other end is not there any more."""


class TalkEnd:
    """One end of a talk: asks, and while it waits for the answer serves what the other end asks."""

    def __init__(self, channel: int):
        self._channel = channel
        self._objects: dict[int, object] = {}
        self._numbers: dict[int, int] = {}

    def ask(self, verb: str, operands: list[Any], named: dict[str, Any], **more: Any) -> dict[str, Any]:
        """The other end's answer to a request."""
        self.say({"do": verb, "on": operands, "named": named, **more})
        while True:
            message = self.hear()
            if "do" not in message:
                return message
            self.say(self.serve(message))

    def serve(self, request: dict[str, Any]) -> dict[str, Any]:
        """The answer to a request."""
        raise NotImplementedError

    def say(self, message: dict[str, Any]) -> None:
        """Sends a message."""
        wire.write_message(self._channel, message)

    def hear(self) -> dict[str, Any]:
        """Receives one; Gone at the end."""
        message = wire.read_message(self._channel)
        if message is None:
            raise Gone
        return message

    def keep(self, thing: object) -> int:
        """The number under which the other end may name an object of ours; it stays alive, and its number its own."""
        number = self._numbers.setdefault(id(thing), len(self._numbers) + 1)
        self._objects[number] = thing
        return number

    def kept(self, number: object) -> Any:
        """The object of a number. ValueError where there is none."""
        if type(number) is not int or number not in self._objects:
            raise ValueError("no such object")
        return self._objects[number]


def raised(error: BaseException) -> dict[str, Any]:
    """An exception as it crosses: the names of the built-in types it is one of, nearest first, and its text."""
    kinds = [kind.__name__ for kind in type(error).__mro__ if getattr(builtins, kind.__name__, None) is kind]
    try:
        text = str(error)[:_SHOWN]
    except BaseException:  # a hostile __str__
        text = ""
    return {"raised": kinds, "text": text}


IN_PLACE: dict[type, Callable[[Any, Any], None]] = {
    list: lambda old, new: old.__setitem__(slice(None), new),
    bytearray: lambda old, new: old.__setitem__(slice(None), new),
    dict: lambda old, new: (old.clear(), old.update(new))[0],
    set: lambda old, new: (old.clear(), old.update(new))[0],
}
"""How a test's own object becomes what a function made of its copy."""


def as_exception(answer: dict[str, Any]) -> Exception:
    """The exception that crossed, as the nearest built-in type that a text can make."""
    for name in answer["raised"]:
        kind = getattr(builtins, name, None) if type(name) is str else None
        if isinstance(kind, type) and issubclass(kind, Exception):
            try:
                return kind(answer["text"])
            except TypeError:  # UnicodeDecodeError and the like want more than a text
                continue
    return Exception(answer.get("text"))
