"""LeetCode's nodes, and the helpers with which data sets build and compare them.

`list_node([1, 2])` and `tree_node([1, None, 2])` build what LeetCode writes so (a tree by levels, where a missing node
has no children to leave out); `is_same_list` and `is_same_tree` compare values and shape. Nothing here recurses, and
nodes that lead back to themselves end a comparison.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from typing import Any


class ListNode:
    """A node of a singly linked list."""

    def __init__(self, val: Any = 0, next: Any = None):
        self.val, self.next = val, next


class TreeNode:
    """A node of a binary tree."""

    def __init__(self, val: Any = 0, left: Any = None, right: Any = None):
        self.val, self.left, self.right = val, left, right


class Node:
    """LeetCode's other nodes in one: of n-ary trees, graphs, lists and trees with one more link, quad trees.

    They differ in what comes after the value, which `suit` sets for a program: a list is that of the children or the
    neighbors in any case, and every field is there.
    """

    order: tuple[str, ...] = ("left", "right", "next")

    def __init__(self, val: Any = 0, *links: Any, **named: Any):
        if len(links) > len(self.order):
            raise TypeError(f"Node takes a value, then {', '.join(self.order)}")
        order = _SEVERAL if links and isinstance(links[0], list) else self.order
        given = dict(zip(order, (*links, *links) if order is _SEVERAL else links, strict=False)) | named
        self.val: Any = val
        for field in FIELDS["Node"][1:]:
            value = given.pop(field, None)
            setattr(self, field, [] if value is None and field in _SEVERAL else value)
        if given:
            raise TypeError(f"Node has no field {next(iter(given))!r}")


_ORDERS = {
    "random": ("next", "random"),
    "topLeft": ("isLeaf", "topLeft", "topRight", "bottomLeft", "bottomRight"),
    "neighbors": ("neighbors",),
    "children": ("children",),
    ".child": ("prev", "next", "child"),
    "parent": ("left", "right", "parent"),
}
"""What a code that uses a field writes after the value of its Node; the first field found decides."""
_SEVERAL = ("children", "neighbors")


def suit(code: str) -> None:
    """Makes Node the one that this code is written for. Of a process that runs no other code."""
    Node.order = next((order for field, order in _ORDERS.items() if field in code), Node.order)


for _class in (ListNode, TreeNode, Node):
    _class.__module__ = "solution"

CLASSES: dict[str, type] = {"ListNode": ListNode, "TreeNode": TreeNode, "Node": Node}
FIELDS: dict[str, tuple[str, ...]] = {
    "ListNode": ("val", "next"),
    "TreeNode": ("val", "left", "right"),
    "Node": (
        *("val", "children", "neighbors", "left", "right", "next", "random", "prev", "child", "parent"),
        *("isLeaf", "topLeft", "topRight", "bottomLeft", "bottomRight"),
    ),
}
"""What a node is made of, by its class's name."""


def list_node(values: Iterable[Any] | None, node: type = ListNode) -> Any:
    """The first node of a linked list of the values; None where there are none."""
    head = None
    for value in reversed(list(values or ())):
        made = node(value)
        made.next, head = head, made
    return head


def tree_node(values: Sequence[Any] | None, node: type = TreeNode) -> Any:
    """The root of a binary tree given by levels, None for a missing node; None where there is no root."""
    left = deque(values or ())
    root = _made(left, node)
    waiting = deque([] if root is None else [root])
    while left and waiting:
        parent = waiting.popleft()
        parent.left = _made(left, node)
        parent.right = _made(left, node)
        waiting.extend(child for child in (parent.left, parent.right) if child is not None)
    return root


def _made(values: deque[Any], node: type) -> Any:
    value = values.popleft() if values else None
    return None if value is None else node(value)


def list_values(head: Any, most: int) -> list[Any]:
    """The values of a linked list. ValueError for more than `most`: it may lead back to itself."""
    found: list[Any] = []
    while head is not None:
        if len(found) >= most:
            raise ValueError("too long, or linked to itself")
        found.append(head.val)
        head = head.next
    return found


def tree_values(root: Any, most: int) -> list[Any]:
    """The values of a tree by levels, without None at the end. ValueError for more than `most`."""
    found: list[Any] = []
    waiting = deque([root])
    while waiting:
        if len(found) >= most:
            raise ValueError("too big, or linked to itself")
        node = waiting.popleft()
        found.append(None if node is None else node.val)
        if node is not None:
            waiting += (node.left, node.right)
    while found and found[-1] is None:
        found.pop()
    return found


def is_same_list(left: Any, right: Any) -> bool:
    """Whether two linked lists hold the same values in the same order."""
    return _same(left, right, ("next",))


def is_same_tree(left: Any, right: Any) -> bool:
    """Whether two binary trees hold the same values in the same places."""
    return _same(left, right, ("left", "right"))


def _same(left: Any, right: Any, links: tuple[str, ...]) -> bool:
    waiting, seen = [(left, right)], set()
    while waiting:
        one, other = waiting.pop()
        if one is None or other is None:
            if one is not other:
                return False
        elif (id(one), id(other)) not in seen:
            seen.add((id(one), id(other)))
            if not bool(one.val == other.val):
                return False
            waiting += [(getattr(one, link), getattr(other, link)) for link in links]
    return True


COMPARE = {"is_same_list": is_same_list, "is_same_tree": is_same_tree}
BUILD = {"list_node": list_node, "tree_node": tree_node}
