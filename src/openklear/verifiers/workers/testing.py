"""The code of a test, in a box of its own: the program is in another, and is only talked to.

A name that the test uses and nobody here defines is asked for at the program's end. What comes back is a plain value,
or a handle: a stand-in whose attributes, methods and calls are requests. A handle is equal to nothing but itself, and
an operator never carries a value of the test's to the program: `f(x) - 0.5` would show it what is expected.
"""

from __future__ import annotations

import ast
import builtins
import types
from collections.abc import Callable
from typing import Any

from . import prelude, test_process, values
from .talk import IN_PLACE, ITEMS, PAIRS, UNARY, TalkEnd, as_exception, raised

_FUNCTIONS = (types.FunctionType, types.MethodType, types.BuiltinFunctionType)
_SHOWN = 200


class Ended(BaseException):
    """The program ended itself in a call, or broke the talk. The test has failed, whatever its code catches."""


class CannotCross(BaseException):
    """The test gives the program something that stays here."""


class Handle:
    """A stand-in for an object of the program's."""

    __slots__ = ("_openklear_end", "_openklear_number")  # all other names are the object's own

    def __init__(self, end: Tester, number: int):
        object.__setattr__(self, "_openklear_end", end)
        object.__setattr__(self, "_openklear_number", number)

    def __instancecheck__(self, instance: object) -> bool:
        return type(instance) is Handle and _ask(instance, "isinstance", self) is True

    def __eq__(self, other: object) -> bool:
        return self is other

    def __hash__(self) -> int:
        return int(object.__getattribute__(self, "_openklear_number"))  # the same in every run, unlike an address

    def __reduce_ex__(self, protocol: object) -> Any:
        raise TypeError("objects of the program cannot be copied here")


def _ask(handle: Handle, verb: str, *operands: object, **named: object) -> Any:
    end: Tester = object.__getattribute__(handle, "_openklear_end")
    return end.use(verb, [handle, *operands], named)


def _between_handles(verb: str) -> Callable[[Handle, object], Any]:
    return lambda self, other: _ask(self, verb, other) if type(other) is Handle else NotImplemented


def _asking(verb: str) -> Callable[..., Any]:
    return lambda self, *operands, **named: _ask(self, verb, *operands, **named)


for _verb in ("call", "getattr", "setattr", "delattr", *UNARY, *ITEMS):
    setattr(Handle, f"__{_verb}__", _asking(_verb))
for _verb in PAIRS:
    setattr(Handle, f"__{_verb.strip('_')}__", _between_handles(_verb))


class Tester(TalkEnd):
    """The test's end."""

    def __init__(self, channel: int):
        super().__init__(channel)
        self._handles: dict[int, Handle] = {}
        self.involved = False
        """The program was asked for more than a function that it has."""
        self.failed = ""
        """Why the test has failed already, whatever its code catches."""

    def hear(self) -> dict[str, Any]:
        """As any end does; words that are none end the test, or a program could make it look broken."""
        try:
            return super().hear()
        except (ValueError, RecursionError, MemoryError) as error:
            raise self.end("it broke the talk") from error

    def named(self, name: str) -> Any:
        """What the program calls so. KeyError where it has no such name."""
        answer = self.ask("name", [name], {})
        if "missing" in answer:
            self.involved = True  # perhaps it should have had one
            raise KeyError(name)
        value = self._value(answer)
        self.involved |= type(value) is not Handle
        return value

    def use(self, verb: str, operands: list[Any], named: dict[str, Any]) -> Any:
        """What the program's end makes of a request; raises what was raised there."""
        trees = [self.pack(operand) for operand in operands]
        named_trees = {name: self.pack(operand) for name, operand in named.items()}
        self.involved = True
        answer = self.ask(verb, trees, named_trees)
        if "raised" in answer:
            if "Exception" not in answer["raised"]:
                raise self.end(f"{next(iter(answer['raised']), 'an exception')}: {answer.get('text')}"[:_SHOWN])
            raise as_exception(answer)
        for key, tree in answer.get("after", ()):
            old = operands[1:][key] if type(key) is int else named[key]
            new = self._value({"value": tree})
            if type(new) is not type(old):
                raise self.end("it broke the talk")
            IN_PLACE[type(old)](old, new)
        return self._value(answer)

    def pack(self, value: object) -> values.Tree:
        """A value for the program. CannotCross for an object of the test's that is neither plain nor a function."""
        try:
            return values.pack(value, self._refer)
        except values.NotPlain as error:
            raise CannotCross(f"a value for the program is {error}") from error

    def _refer(self, thing: object) -> list[Any]:
        if type(thing) is Handle:
            return ["o", object.__getattribute__(thing, "_openklear_number")]
        name = getattr(thing, "__name__", None)
        if type(name) is str and getattr(builtins, name, None) is thing:
            return ["n", name]
        if type(thing) in _FUNCTIONS:
            return ["h", self.keep(thing), "function"]
        raise CannotCross(f"the test gives the program an object of type {type(thing).__name__}")

    def _value(self, answer: dict[str, Any]) -> Any:
        try:
            return values.unpack(answer["value"], self._resolve)
        except (KeyError, ValueError, RecursionError, MemoryError) as error:
            raise self.end("it broke the talk") from error

    def _resolve(self, tree: list[Any]) -> object:
        if tree[0] == "o":
            return self.kept(tree[1])
        if tree[0] != "h" or type(tree[1]) is not int:
            raise ValueError("no object")
        return self._handles.setdefault(tree[1], Handle(self, tree[1]))

    def end(self, why: str) -> Ended:
        """The exception that ends the test; it has failed from here on."""
        self.failed = self.failed or why
        return Ended(why)

    def serve(self, request: dict[str, Any]) -> dict[str, Any]:
        """Calls a function of the test's, which the program was given."""
        try:
            function = self.kept(request["on"][0])
            operands = [values.unpack(tree, self._resolve) for tree in request["on"][1:]]
            named = {name: values.unpack(tree, self._resolve) for name, tree in request["named"].items()}
        except (KeyError, IndexError, ValueError, TypeError, AttributeError) as error:
            raise self.end("it broke the talk") from error
        try:
            return {"value": values.pack(function(*operands, **named), self._refer)}
        except CannotCross as error:
            return raised(TypeError(str(error)))
        except Exception as error:  # the test's function may raise anything: the program's to handle
            if isinstance(error, AssertionError):
                self.failed = self.failed or "assertion failed"  # the program may swallow it
            return raised(error)


class _Names(dict[str, Any]):
    """The test's globals; a name that is not there, and no built-in, is the program's.

    Of the prelude only modules are at hand, where nothing but their attributes is used: any other name may be what is
    tested, and would pass by itself (`gcd`, `add`, `copy`).
    """

    def __init__(self, end: Tester, tree: ast.Module):
        bases = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
        alone = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and id(node) not in bases}
        modules = {name: module for name, module in prelude.MODULES.items() if name not in alone}
        super().__init__(modules, __name__="test", __builtins__=builtins)
        self._end = end

    def __missing__(self, name: str) -> Any:
        if hasattr(builtins, name):
            raise KeyError(name)
        return self._end.named(name)


def run(source: str, channel: int) -> int:
    """Runs a test. The first message holds the nonce of the verdict, which is the last message.

    {"verdict": nonce, "passed": True} is said only after the code came to its end. Else `error` says why not, and
    `involved` whether the program had a part in it.
    """
    end = Tester(channel)
    nonce = end.hear()["nonce"]
    test_process.fresh_main()
    verdict: dict[str, Any] = {"verdict": nonce, "passed": False}
    try:
        names = _Names(end, ast.parse(source))
        exec(compile(source, "test.py", "exec", dont_inherit=True), names)
        verdict["passed"] = not end.failed
    except AssertionError:
        verdict["assertion"] = True
    except CannotCross as error:
        verdict["error"] = str(error)
    except BaseException as error:  # the code of a test may raise anything; none of it is a pass
        verdict["error"] = f"{type(error).__name__}: {error}"[:_SHOWN]
    verdict["involved"] = end.involved
    if end.failed:
        verdict |= {"error": end.failed, "involved": True}
    end.say(verdict)
    return 0
