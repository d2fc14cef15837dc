"""LeetCode's convention for calls: an argument is written as a list where the function says that it takes nodes.

`def f(self, head: Optional[ListNode])` called with [[1, 2]] gets the first node of the list 1, 2, and a node that it
returns is read as a list again. The same holds for TreeNode, by levels, and for lists of them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from . import nodes, values

_BUILD: dict[str, Callable[..., Any]] = {"ListNode": nodes.list_node, "TreeNode": nodes.tree_node}
_READ: dict[str, Callable[..., Any]] = {"ListNode": nodes.list_values, "TreeNode": nodes.tree_values}


@dataclass(frozen=True)
class Wish:
    """What an annotation asks for: nodes of a class, one or a list of them."""

    name: str
    several: bool


@dataclass(frozen=True)
class Signature:
    """Which parameters of a function are nodes, and whether its result is."""

    parameters: tuple[str, ...] = ()
    wishes: Mapping[str, Wish] = field(default_factory=dict)
    classes: Mapping[str, type] = field(default_factory=dict)
    """By name, the program's own where it has one."""
    returns: bool = False
    """It says that it returns a node, not a list of nodes."""

    def given(self, positional: list[Any], named: dict[str, Any]) -> tuple[list[Any], dict[str, Any]]:
        """The arguments with nodes where nodes are asked for."""
        if not self.wishes:
            return positional, named
        names = [*self.parameters, *[""] * len(positional)]
        first = [self._given(name, value) for name, value in zip(names, positional, strict=False)]
        return first, {name: self._given(name, value) for name, value in named.items()}

    def _given(self, name: str, value: Any) -> Any:
        wish = self.wishes.get(name)
        if wish is None or type(value) is not list:
            return value
        build, kind = _BUILD[wish.name], self.classes[wish.name]
        if not wish.several:
            return build(value, kind)
        return [build(one, kind) if type(one) is list else one for one in value]

    def shown(self, result: Any) -> Any:
        """The result with lists for its nodes; values.NotPlain for nodes that lead back to themselves."""
        if not self.classes:
            return result
        if type(result) is list:
            return [self._shown(one) for one in result]
        return self._shown(result)

    def _shown(self, result: Any) -> Any:
        for name, kind in self.classes.items():
            if type(result) is kind:
                try:
                    return _READ[name](result, values.MAX_NODES)
                except ValueError as error:
                    raise values.NotPlain(f"{name} {error}") from error
        return result


PLAIN = Signature()


def read(function: Any, namespace: Mapping[str, Any]) -> Signature:
    """The signature of a function or method; PLAIN where it names no class of nodes."""
    bound = hasattr(function, "__self__")
    function = getattr(function, "__wrapped__", getattr(function, "__func__", function))
    code, annotations = getattr(function, "__code__", None), getattr(function, "__annotations__", None)
    if code is None or type(annotations) is not dict:
        return PLAIN
    wishes = {name: wish for name, hint in annotations.items() if (wish := _wish(hint)) is not None}
    if not wishes:
        return PLAIN
    result = wishes.pop("return", None)
    parameters = code.co_varnames[bound : code.co_argcount]
    classes = {name: _class(name, namespace) for name in _BUILD}
    return Signature(parameters, wishes, classes, result is not None and not result.several)


def _class(name: str, namespace: Mapping[str, Any]) -> type:
    own = namespace.get(name)
    return own if isinstance(own, type) else nodes.CLASSES[name]


def _wish(hint: Any) -> Wish | None:
    text = hint if isinstance(hint, str) else hint.__name__ if isinstance(hint, type) else repr(hint)
    words = re.findall(r"\w+", text[:500])
    name = next((name for name in _BUILD if name in words), None)
    return None if name is None else Wish(name, "List" in words or "list" in words)
