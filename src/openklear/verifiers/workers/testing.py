"""The code of a test, in a box of its own: the program is in another, and is only talked to.

A name that the test uses and nobody here defines is asked for at the program's end. What comes back is a plain value,
or a handle: a stand-in whose attributes, methods and calls are requests. A handle is equal to nothing but itself, and
an operator never carries a value of the test's to the program: `f(x) - 0.5` would show it what is expected.
"""

from __future__ import annotations

import ast
import builtins
import types
from collections.abc import Callable, Mapping
from typing import Any

from . import graphs, nodes, prelude, test_process, values
from .talk import IN_PLACE, ITEMS, PAIRS, UNARY, TalkEnd, as_exception, raised

_BROKEN = (LookupError, ValueError, TypeError, AttributeError, RecursionError, MemoryError)
"""What an answer that is none raises while it is read."""
_Classes = Mapping[str, type]
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
        self.names: _Names | None = None
        """The test's own names, once it runs."""

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
        classes = {} if self.names is None else self.names.node_classes()
        out = graphs.Outgoing({kind: name for name, kind in classes.items()}, self._refer)
        trees = [self._packed(out.pack, operand) for operand in operands]
        named_trees = {name: self._packed(out.pack, operand) for name, operand in named.items()}
        table = self._packed(lambda _: out.table(), None)
        self.involved = True
        answer = self.ask(verb, trees, named_trees, nodes=table, kinds=list(classes))
        if "raised" in answer:
            if "Exception" not in answer["raised"]:
                raise self.end(f"{next(iter(answer['raised']), 'an exception')}: {answer.get('text')}"[:_SHOWN])
            raise as_exception(answer)
        try:
            return self._read(answer, operands[1:], named, out.met, classes)
        except _BROKEN as error:
            raise self.end("it broke the talk") from error

    def _read(
        self, answer: dict[str, Any], operands: list[Any], named: dict[str, Any], given: list[Any], classes: _Classes
    ) -> Any:
        """What an answer says; the nodes and lists given become what a function that worked in place made of them."""
        if "given" in answer:
            return graphs.resolver(given, self._resolve)(["g", answer["given"]])
        in_place = "after" in answer
        made = graphs.build(answer["nodes"], classes, self._resolve, given if in_place else ())
        resolve = graphs.resolver(made, self._resolve)
        for key, tree in answer.get("after", ()):
            old = operands[key] if type(key) is int else named[key]
            new = values.unpack(tree, resolve)
            if type(new) is not type(old):
                raise ValueError("another type")
            IN_PLACE[type(old)](old, new)
        return values.unpack(answer["value"], resolve)

    @staticmethod
    def _packed(pack: Callable[[Any], Any], value: object) -> Any:
        """A value for the program. CannotCross for an object of the test's that is neither plain nor a function."""
        try:
            return pack(value)
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
        except _BROKEN as error:
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

    Of the prelude only modules are at hand, where nothing but their attributes is used, and nodes with their helpers:
    any other name may be what is tested, and would pass by itself (`gcd`, `add`, `copy`).
    """

    def __init__(self, end: Tester, tree: ast.Module):
        used = Used(tree)
        modules = {name: module for name, module in prelude.MODULES.items() if name not in used.alone}
        super().__init__(modules, __name__="test", __builtins__=builtins)
        self._end, self._used, self._of_program = end, used, set[str]()
        self.update({name: self._own(name) for name in used.own})

    def _own(self, name: str) -> Any:
        """A class of nodes or a helper; those that build use the test's own class where it has one."""
        build, kind = nodes.BUILD.get(name), {"list_node": "ListNode", "tree_node": "TreeNode"}.get(name, "")
        if build is None:
            return (nodes.CLASSES | nodes.COMPARE)[name]
        return lambda values: build(values, self.node_classes().get(kind, nodes.CLASSES[kind]))

    def node_classes(self) -> dict[str, type]:
        """The classes, by name, whose objects cross by value: none where the test has nothing to do with nodes."""
        own = {name: self.get(name) for name in nodes.CLASSES}
        found = {name: kind for name, kind in own.items() if isinstance(kind, type)}
        if self._used.by_value:
            others = {"ListNode", "TreeNode"} - self._of_program - found.keys()
            found |= {name: nodes.CLASSES[name] for name in others}
        return found

    def __missing__(self, name: str) -> Any:
        if hasattr(builtins, name):
            raise KeyError(name)
        try:
            found = self._end.named(name)
        except KeyError:
            if name not in self._used.nodes:
                raise
            self[name] = self._own(name)
            return self[name]
        self._of_program.add(name)
        return found


class Used:
    """What the code of a test uses of the names that the prelude has."""

    def __init__(self, tree: ast.Module):
        found = list(ast.walk(tree))
        bases = {id(node.value) for node in found if isinstance(node, ast.Attribute)}
        names = [node for node in found if isinstance(node, ast.Name)]
        self.alone = {node.id for node in names if id(node) not in bases}
        """Names that are more than something whose attributes are used."""
        free = {node.id for node in names} - _bound(found) - vars(builtins).keys() - prelude.MODULES.keys()
        self.nodes = free & (nodes.CLASSES | nodes.BUILD | nodes.COMPARE).keys()
        """Classes of nodes and helpers that the test does not define."""
        self.own = set(self.nodes) - {"Node"}
        """Those which are the test's own whatever the program says of them: it must not rule what is equal."""
        more = _reads_more(found)
        self.by_value = bool(self.nodes and not (more and self.nodes <= nodes.CLASSES.keys()))
        """Lists and trees of the prelude's classes cross, without their being named."""
        if free == self.nodes:
            self.own = set()  # nothing else is asked of the program: they are what is tested
            self.nodes -= nodes.COMPARE.keys()
        elif more:
            self.own -= nodes.CLASSES.keys()  # nodes of another kind, which only the program knows


_FIELDS = {*nodes.FIELDS["ListNode"], *nodes.FIELDS["TreeNode"]}


def _bound(found: list[ast.AST]) -> set[str]:
    """The names that code binds anywhere."""
    bound: set[str] = set()
    for node in found:
        if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
            bound.add(node.id)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            bound.add(node.name)
        elif isinstance(node, ast.arg):
            bound.add(node.arg)
        elif isinstance(node, ast.alias):
            bound.add((node.asname or node.name).partition(".")[0])
    return bound


def _reads_more(found: list[ast.AST]) -> bool:
    """Whether code uses attributes that lists and trees have not, but for methods and what modules have."""
    called = {id(node.func) for node in found if isinstance(node, ast.Call)}
    used = [node for node in found if isinstance(node, ast.Attribute) and id(node) not in called]
    return any(node.attr not in _FIELDS and not _is_made(node.value) for node in used)


def _is_made(base: ast.expr) -> bool:
    """Whether an attribute's base is no node: a module, a fresh object (`Solution().f`) or the test's own `self`."""
    match base:
        case ast.Name(name):
            return name == "self" or name in prelude.MODULES
        case ast.Call(ast.Name()):
            return True
    return False


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
        names = end.names = _Names(end, ast.parse(source))
        nodes.suit(source)
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
