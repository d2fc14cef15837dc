"""What a test that calls the program runs in the program's process, and what runs in the process of the test's code.

`call` answers a list of calls and is done. Where a test is code, it runs in another box: `candidate` and `testing.run`
are the two ends of a talk. The test's code holds handles of the program's objects, and every use of one is a request to
the other end; only plain values cross (`values`). Nothing that the program says can end or rule the test: it is a
value, an exception of a built-in type, or a handle that is equal to nothing but itself.
"""

from __future__ import annotations

import builtins
import operator
import os
import sys
import types
from collections.abc import Callable
from typing import Any

from . import graphs, nodes, packages, prelude, signatures, test_process, values
from .talk import IN_PLACE, ITEMS, PAIRS, UNARY, Gone, TalkEnd, as_exception, raised

RECURSION = 50_000
"""How deep programs that are called may recurse, as on LiveCodeBench's judge (LeetCode's lets them deeper)."""
_VERBS: dict[str, Callable[..., Any]] = {
    verb: getattr(operator, verb, None) or getattr(builtins, verb)
    for verb in ("call", "getattr", "setattr", "delattr", "isinstance", *UNARY, *PAIRS, *ITEMS)
}


def call(program: str, name: str, plan: dict[str, Any], channel: int) -> int:
    """Runs the program, then the plan's calls of its function `name`, and writes their results to `channel`.

    plan: {"nonce", "calls": [[arguments, named], ...] (packed), "keep": one object for all methods called, "nodes":
    arguments and results become nodes where the function says so}. Written: the nonce and a JSON array with, for each
    call, [value (packed)], or [type, truth] of a result that is not plain, or [] for no node at all.
    """
    status, namespace = _load(program)
    if namespace is None:
        return status
    results: list[Any] = []
    try:
        function = _find(namespace, name)
        for arguments, named in plan["calls"]:
            if results and not plan["keep"]:
                function = _find(namespace, name)
            signature = signatures.read(function, namespace) if plan["nodes"] else signatures.PLAIN
            given, by_name = signature.given(values.unpack(arguments), values.unpack(named))
            results.append(_shown(signature, function(*given, **by_name)))
        view = memoryview((plan["nonce"] + values.to_text(results)).encode("ascii"))
        while view:
            view = view[os.write(channel, view) :]
    except BaseException as error:  # whatever the program raises, SystemExit too, is its answer: a wrong one
        test_process.report(error)
        return 1
    return 0


def _shown(signature: signatures.Signature, result: object) -> list[Any]:
    if signature.returns and result is None:
        return []
    try:
        return [values.pack(signature.shown(result))]
    except values.NotPlain as error:
        return [str(error), bool(result)]


def _load(program: str) -> tuple[int, dict[str, Any] | None]:
    """Runs the program as a module that is not __main__, with the prelude's names: (0, its names) or (status, None)."""
    code = test_process.compile_program(program)
    if code is None:
        return test_process.COMPILE_ERROR, None
    module = test_process.fresh_main()
    module.__name__ = "solution"
    sys.modules["solution"] = module
    module.__dict__.update(prelude.NAMES)
    module.__dict__.update(packages.opened(program))
    nodes.suit(program)
    sys.setrecursionlimit(max(RECURSION, sys.getrecursionlimit()))
    try:
        exec(code, module.__dict__)
    except BaseException as error:  # SystemExit too: a program that is asked for a function must live to give it
        test_process.report(error)
        return 1, None
    return 0, module.__dict__


def _find(namespace: dict[str, Any], name: str) -> Any:
    """What a test calls: `f`, else the method `f` of a fresh Solution(); or `Class.f` and `Class().f`."""
    owner, _, attribute = name.rpartition(".")
    owner = owner.removesuffix("()")
    if owner:
        found = namespace.get(owner)
        if found is None:
            raise NameError(f"name {owner!r} is not defined")
        return getattr(found() if isinstance(found, type) else found, attribute)
    if _defines(namespace, attribute):
        return namespace[attribute]
    solution = namespace.get("Solution")
    if isinstance(solution, type) and hasattr(solution, attribute):
        return getattr(solution(), attribute)
    if hasattr(builtins, attribute):
        return getattr(builtins, attribute)
    raise NameError(f"name {attribute!r} is not defined")


def _defines(namespace: dict[str, Any], name: str) -> bool:
    """Whether the program itself gives the name a meaning, beyond what the prelude put there."""
    return name in namespace and (name not in prelude.NAMES or namespace[name] is not prelude.NAMES[name])


def candidate(source: str, channel: int) -> int:
    """The program's end of a talk: runs it, says so, and answers until the other end is gone."""
    status, namespace = _load(source)
    if namespace is None:
        return status
    end = _Candidate(channel, namespace)
    try:
        end.say({"ready": True})
        while True:
            end.say(end.serve(end.hear()))
    except Gone:
        return 0


class _Candidate(TalkEnd):
    def __init__(self, channel: int, namespace: dict[str, Any]):
        super().__init__(channel)
        self._namespace = namespace
        self._callbacks: dict[int, Callable[..., Any]] = {}

    def pack(self, value: object) -> values.Tree:
        """A value for the other end; what is not plain is named by a number."""
        return values.pack(value, self._refer)

    def _refer(self, thing: object) -> values.Tree:
        return ["h", self.keep(thing), type(thing).__name__]

    def _class(self, name: str) -> type:
        """The program's own class of nodes with this name, else the prelude's."""
        own = self._namespace.get(name)
        return own if isinstance(own, type) else nodes.CLASSES[name]

    def resolve(self, tree: list[Any]) -> object:
        """An object of ours, a function of the test's, or a built-in that both ends have."""
        if tree[0] == "o":
            return self.kept(tree[1])
        if tree[0] == "n":
            return getattr(builtins, tree[1])
        return self._callbacks.setdefault(tree[1], self._callback(tree[1]))

    def _callback(self, number: int) -> Callable[..., Any]:
        """A function of the test's, as the program sees it."""

        def function(*arguments: object, **named: object) -> Any:
            packed = {name: self.pack(value) for name, value in named.items()}
            answer = self.ask("callback", [number, *map(self.pack, arguments)], packed)
            if "raised" in answer:
                raise as_exception(answer)
            return values.unpack(answer["value"], self.resolve)

        return function

    def serve(self, request: dict[str, Any]) -> dict[str, Any]:
        """Does what the test's code asks, and says what came of it."""
        if request["do"] == "name":
            name = request["on"][0]
            found = _defines(self._namespace, name) and type(self._namespace[name]) is not types.ModuleType
            return {"value": self.pack(self._namespace[name])} if found else {"missing": True}
        try:
            classes = {name: self._class(name) for name in request["kinds"]}
            made = graphs.build(request["nodes"], classes, self.resolve)
            resolve = graphs.resolver(made, self.resolve)
            operands = [values.unpack(tree, resolve) for tree in request["on"]]
            named = {name: values.unpack(tree, resolve) for name, tree in request["named"].items()}
            result = _VERBS[request["do"]](*operands, **named)
            kinds = {kind: name for name, kind in classes.items()}
            if result is None and request["do"] == "call":  # it worked in place
                return self._changed(
                    graphs.Outgoing(kinds, self._refer, made), {**dict(enumerate(operands[1:])), **named}
                )
            return self._answer(graphs.Outgoing(kinds, self._refer), result, made, request["nodes"])
        except Gone:
            raise
        except BaseException as error:  # the program's, whatever it is: it crosses
            return raised(error)

    @staticmethod
    def _changed(out: graphs.Outgoing, given: dict[Any, object]) -> dict[str, Any]:
        """The answer of a function that returned nothing: what it made of what it was given."""
        changed = {key: thing for key, thing in given.items() if type(thing) in IN_PLACE}
        after = [[key, out.pack(thing)] for key, thing in changed.items()]
        return {"value": None, "after": after, "nodes": out.table()}

    def _answer(self, out: graphs.Outgoing, result: object, made: list[Any], table: graphs.Table) -> dict[str, Any]:
        """The answer with a result. A node of the test's, where all are as they came, is named by its place."""
        for place, node in enumerate(made):
            if result is node and graphs.Outgoing(out.kinds, self._refer, made).table() == table:
                return {"given": place}
        return {"value": out.pack(result), "nodes": out.table()}
