"""Tests that call the program: calls with an expected value, and code that asserts. Neither is shown to the program.

Code that only compares results of one function with literals (nearly all of MBPP and HumanEval) is translated into
calls; the results are compared here, as Python compares. Any other code runs in a box of its own (`workers.testing`)
and talks with the program in another; `relay` passes the words on and rules.
"""

from __future__ import annotations

import ast
import json
import secrets
import threading
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from openklear.types import CallTest
from openklear.verifiers import sizes
from openklear.verifiers.pool import Worker, WorkerLost
from openklear.verifiers.workers import values

_SEND_SECONDS = 10.0
"""A box that does not take a word for so long is lost: its program may talk and never listen."""
_LONG = 2**19
"""Characters of a test whose expected values may together be more than can be read."""
_COMPILING = threading.Lock()
"""The filters of warnings belong to all threads."""
Result = tuple[Any, ...]
"""A value; or the type and the truth of an object that is not plain; or nothing: no node where one is returned."""


class BrokenTest(Exception):
    """The test cannot run, whatever the program is; the text says why."""


@dataclass(frozen=True, slots=True)
class Check:
    """What the result of a call must be: `relation` is ==, !=, is, is not (of `expected`), true or false."""

    relation: str
    expected: Any = None


@dataclass(frozen=True, slots=True)
class Calls:
    """Calls of one function, and what each result must be."""

    function: str
    arguments: tuple[Any, ...]
    """[positional, named] of each call, packed."""
    checks: tuple[Check, ...]
    keep: bool = False
    """All are calls of one object's method."""
    nodes: bool = False
    """Arguments and results are written as lists where the function says that they are linked lists or trees."""

    def plan(self, nonce: str) -> list[Any]:
        """What goes into the program's box: no expected value."""
        return [self.function, {"nonce": nonce, "calls": list(self.arguments), "keep": self.keep, "nodes": self.nodes}]


def calls_of(test: CallTest) -> Calls:
    """A test by call. BrokenTest where its JSON is none, or its arguments are neither an array nor an object."""
    try:
        arguments, expected = json.loads(test.args), json.loads(test.expected)
        if not isinstance(arguments, list | dict):
            raise ValueError("args is neither an array nor an object")
        positional, named = (arguments, {}) if isinstance(arguments, list) else ([], arguments)
        packed = [values.pack(positional), values.pack(named)]
        values.pack(expected)  # not too deep or big to be compared
        if len(test.expected) > _LONG and (why := sizes.readable([expected])):
            raise ValueError(why)
    except (ValueError, RecursionError, values.NotPlain) as error:
        raise BrokenTest(str(error)) from error
    return Calls(test.call, (packed,), (Check("==", expected),), nodes=True)


@lru_cache(maxsize=1024)
def translate(code: str) -> Calls | None:
    """The calls that the code amounts to; None where it must run. BrokenTest where it does not compile."""
    try:
        with _COMPILING, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the style of a data set's tests is nobody's business here
            compile(code, "test.py", "exec", dont_inherit=True)
            tree = ast.parse(code)
        calls = _translated(tree)
    except (SyntaxError, ValueError, RecursionError, MemoryError, OverflowError) as error:
        raise BrokenTest(f"{type(error).__name__}: {error}") from error
    if calls is not None and len(code) > _LONG and (why := sizes.readable([check.expected for check in calls.checks])):
        raise BrokenTest(why)
    return calls


def _translated(tree: ast.Module) -> Calls | None:
    body, names = _without_idle(tree.body)
    function: str | None = None
    match body:
        case [  # def check(candidate): ..., and check(f)
            ast.FunctionDef(name, ast.arguments([], [parameter], None, [], [], None, []), inner, []),
            ast.Expr(ast.Call(ast.Name(called), [argument], [])),
        ] if name == called and (function := _function(argument)):
            body, more = _without_idle(inner)
            names |= more
    read = [_read_assert(statement) for statement in body]
    parts = [one for one in read if one is not None]
    callees = {part[0] for part in parts}
    if len(parts) < len(read) or len(callees) != 1 or callees & names:
        return None
    keep = function is not None
    if keep and callees != {parameter.arg}:
        return None
    function = function or callees.pop()
    if function.partition(".")[0].partition("(")[0] in names:
        return None
    return Calls(function, tuple(part[1] for part in parts), tuple(part[2] for part in parts), keep)


def _without_idle(body: Sequence[ast.stmt]) -> tuple[list[ast.stmt], set[str]]:
    """The statements that calls with literals could notice, and the names that the others bind."""
    left: list[ast.stmt] = []
    names: set[str] = set()
    for statement in body:
        match statement:
            case ast.Pass() | ast.Expr(ast.Constant()):
                pass
            case ast.Assert(ast.Constant(value)) if value:
                pass
            case ast.Import(aliases) | ast.ImportFrom(_, aliases):
                names.update((alias.asname or alias.name).partition(".")[0] for alias in aliases)
            case ast.Assign(targets, value) if _is_literal(value) and all(isinstance(one, ast.Name) for one in targets):
                names.update(map(ast.unparse, targets))
            case _:
                left.append(statement)
    return left, names


def _function(node: ast.expr) -> str | None:
    """`f`, `Class.f` or `Class().f`."""
    match node:
        case ast.Name(name):
            return name
        case ast.Attribute(ast.Name(), _) | ast.Attribute(ast.Call(ast.Name(), [], []), _):
            return ast.unparse(node)
    return None


def _read_assert(statement: ast.stmt) -> tuple[str, Any, Check] | None:
    """(function, packed arguments, check) of `assert f(literals) == literal` and the like; None for anything else."""
    match statement:
        case ast.Assert(ast.UnaryOp(ast.Not(), ast.Call() as call)):
            return _read_call(call, Check("false"))
        case ast.Assert(ast.Call() as call):
            return _read_call(call, Check("true"))
        case ast.Assert(ast.Compare(ast.Call() as call, [operator], [literal])) | ast.Assert(
            ast.Compare(literal, [ast.Eq() | ast.NotEq() as operator], [ast.Call() as call])
        ) if _is_literal(literal):
            return _read_compare(call, operator, literal)
    return None


_NO_LITERAL = (ValueError, TypeError, SyntaxError)
_RELATIONS = {ast.Eq: "==", ast.NotEq: "!=", ast.Is: "is", ast.IsNot: "is not"}


def _read_compare(call: ast.Call, operator: ast.cmpop, literal: ast.expr) -> tuple[str, Any, Check] | None:
    relation, expected = _RELATIONS.get(type(operator)), ast.literal_eval(literal)
    if relation is None or (relation.startswith("is") and not (expected is None or isinstance(expected, bool))):
        return None
    return _read_call(call, Check(relation, expected))


def _read_call(call: ast.Call, check: Check) -> tuple[str, Any, Check] | None:
    function = _function(call.func)
    if function is None or not all(keyword.arg for keyword in call.keywords):
        return None
    try:
        named = {keyword.arg: ast.literal_eval(keyword.value) for keyword in call.keywords}
        return function, [values.pack(list(map(ast.literal_eval, call.args))), values.pack(named)], check
    except (*_NO_LITERAL, values.NotPlain):  # not plain: an Ellipsis, or a literal that is too big
        return None


def _is_literal(node: ast.expr) -> bool:
    try:
        ast.literal_eval(node)
    except _NO_LITERAL:
        return False
    return True


def read_results(text: str | None, nonce: str, count: int, nodes: bool = False) -> list[Result] | None:
    """The results that a call's process wrote; None where it wrote none, or something else.

    With `nodes` one may be (): no node.
    """
    if text is None or not text.startswith(nonce):
        return None
    try:
        trees = values.from_text(text[len(nonce) :])
        found = [_read_result(tree, nodes) for tree in trees]
    except (ValueError, TypeError, IndexError, RecursionError):
        return None
    return found if len(found) == count else None


def _read_result(tree: Any, nodes: bool) -> Result:
    if nodes and tree == []:
        return ()
    return (values.unpack(tree[0]),) if len(tree) == 1 else (str(tree[0]), bool(tree[1]))


def holds(check: Check, result: Result) -> bool:
    """Python's own answer for plain values; an object that is not plain is equal to nothing."""
    if check.relation in ("true", "false"):
        found = bool(result[-1])
    elif check.relation in ("is", "is not"):
        found = len(result) == 1 and result[0] is check.expected
    else:
        found = len(result) == 1 and bool(result[0] == check.expected)
    return found is (check.relation in ("true", "is", "=="))


def relay(
    boxes: tuple[Worker, Worker],
    headers: tuple[Mapping[str, Any], Mapping[str, Any]],
    seconds: float,
    failure: Callable[[dict[str, Any]], str],
) -> str | BrokenTest:
    """Runs a test's code against a program: empty where it passed, else why not; BrokenTest if the test is at fault.

    `boxes` and `headers`: the program's, then the test's. A box that says nothing for `seconds` is lost: WorkerLost.
    `failure` tells how a process ended; empty where it ended well.
    """
    program, test = (End(box, header, seconds) for box, header in zip(boxes, headers, strict=True))
    outcome = _talk(program, test, failure)
    program.stop()
    test.stop()
    return outcome


def _talk(program: End, test: End, failure: Callable[[dict[str, Any]], str]) -> str | BrokenTest:
    """Passes words on until the test rules, or one of the two processes ends."""
    nonce, involved = secrets.token_hex(16), False
    if program.hear() is None:
        return failure(program.ended) or "ended early"
    test.say(json.dumps({"nonce": nonce}))
    while (word := test.hear()) is not None:
        said = _read(word)
        if said.get("verdict") == nonce:
            return _ruled(said)
        involved |= said.get("do") != "name"
        program.say(word)
        answer = program.hear()
        if answer is None:
            return failure(program.ended) or "ended early"
        test.say(answer)
    why = failure(test.ended) or "ended early"
    return f"the test's code: {why}" if involved else BrokenTest(why)


def _read(word: str) -> dict[str, Any]:
    """A word of the test's end; empty for one that is none: a test may evaluate what the program returned."""
    try:
        said = json.loads(word)
    except (ValueError, RecursionError):
        return {}
    return said if isinstance(said, dict) else {}


def _ruled(verdict: dict[str, Any]) -> str | BrokenTest:
    if verdict.get("passed") is True:
        return ""
    error = str(verdict.get("error", ""))
    if not (verdict.get("involved") or verdict.get("assertion")):
        return BrokenTest(error)
    return error or "assertion failed"


class End:
    """Our side of a session that is a talk."""

    def __init__(self, box: Worker, header: Mapping[str, Any], seconds: float):
        self._box, self._seconds = box, seconds
        self.ended: dict[str, Any] = {}
        """How the process ended, once it has."""
        box.send(dict(header), _SEND_SECONDS)

    def say(self, word: str) -> None:
        """Sends a word to the process."""
        self._box.send({"say": word}, _SEND_SECONDS)

    def hear(self) -> str | None:
        """The process's next word; None where it has ended."""
        frame = self._box.receive(self._seconds)
        if "said" in frame:
            return str(frame["said"])
        self.ended = frame
        return None

    def stop(self) -> None:
        """Ends the session, and takes what is left of its words."""
        self._box.send({"end": True}, _SEND_SECONDS)
        deadline = time.monotonic() + self._seconds
        while not self.ended:
            self.hear()
            if time.monotonic() > deadline:
                raise WorkerLost("it goes on talking")
