"""LeetCode's world: lists, trees and graphs cross to programs and back, and nothing that a program defines rules a test."""

import tomllib
from pathlib import Path

import pytest

from openklear.grading import Grader, Limits

CASES = tomllib.loads(Path(__file__).with_name("leetcode.toml").read_text(encoding="utf-8"))["case"]


@pytest.fixture(scope="module")
def grader():
    with Grader(Limits(workers=1)) as made:
        yield made


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_a_program_passes_and_its_wrong_twin_fails(grader, case):
    verdict = grader.code(case["program"], case["tests"])
    assert verdict.correct, verdict.reason
    right, wrong = case["wrong"]
    assert case["program"].count(right) == 1
    verdict = grader.code(case["program"].replace(right, wrong), case["tests"])
    assert verdict.outcome == "incorrect", verdict.reason
    assert "not defined" not in verdict.reason


LENGTH = """
class Solution:
    def length(self, head):
        return 0
"""
TEST = "assert Solution().length(list_node([1, 2])) == 2"
REVERSED = "assert is_same_list(Solution().back(list_node([1, 2])), list_node([2, 1]))"
CHEATS = {
    "a helper that always says yes": (
        "def is_same_list(p, q): return True\nclass Solution:\n    def back(self, head): return head",
        REVERSED,
    ),
    "a class that is equal to everything": (
        "class ListNode:\n    def __init__(self, val=0, next=None): self.val, self.next = val, next\n"
        "    def __eq__(self, other): return True\nclass Solution:\n    def back(self, head): return head",
        REVERSED,
    ),
    "values that are equal to everything": (
        "class Yes(int):\n    def __eq__(self, other): return True\n    def __ne__(self, other): return False\n"
        "class Solution:\n    def back(self, head):\n        head.val = head.next.val = Yes(0)\n        return head",
        REVERSED,
    ),
    "a builder that hands over what is expected": (
        "kept = []\ndef list_node(values):\n    kept.append(values)\n    return ListNode(values[0])\n"
        "class Solution:\n    def back(self, head): return list_node(kept[-1])",
        REVERSED,
    ),
    "a class that changes what was returned when the expected is made": (
        "made = []\nclass ListNode:\n    def __init__(self, val=0, next=None):\n        self.val, self.next = val, next\n"
        "        for other in made: other.val = val\n        made.append(self)\n"
        "class Solution:\n    def back(self, head): return ListNode(0)",
        "assert Solution().back(list_node([1])).val == ListNode(5).val",
    ),
    "a list without an end": (
        "class Solution:\n    def back(self, head):\n        head.next = head\n        return head",
        REVERSED,
    ),
    "a tree instead of a list": (
        "class Solution:\n    def back(self, head): return TreeNode(2, TreeNode(1))",
        REVERSED,
    ),
    "an empty argument that is returned": (
        "class Solution:\n    def back(self, head):\n        head.val = 0\n        head.next = None\n        return head",
        "head = list_node([1, 2])\nassert is_same_list(Solution().back(head), head)",
    ),
    "fields that are more than fields": (
        "class Solution:\n    def back(self, head):\n        head.__dict__['__class__'] = int\n"
        "        head.__dict__[1] = 2\n        return head",
        REVERSED,
    ),
    "a test of the helper itself": (
        "def is_same_tree(p, q): return True",
        "assert not is_same_tree(tree_node([1]), tree_node([2]))",
    ),
    "a test of the class itself": ("def other(): pass", "assert ListNode(3).value == 3"),
}


@pytest.mark.parametrize("name", CHEATS)
def test_a_cheat_fails(grader, name):
    program, test = CHEATS[name]
    verdict = grader.code(program, [test])
    assert verdict.outcome == "incorrect", verdict.reason


@pytest.mark.parametrize(
    ("program", "test"),
    [
        (  # a class that the problem asks for is the program's, whatever its fields
            "class Node:\n    def __init__(self, data): self.data, self.next = data, None\n"
            "def push(head, data):\n    node = Node(data)\n    node.next = head\n    return node",
            "head = push(push(None, 1), 2)\nassert head.data == 2 and head.next.data == 1",
        ),
        (
            "class TreeNode:\n    def __init__(self, key): self.key, self.left, self.right = key, None, None\n"
            "def insert(root, key):\n    if root is None: return TreeNode(key)\n"
            "    if key < root.key: root.left = insert(root.left, key)\n"
            "    else: root.right = insert(root.right, key)\n    return root",
            "root = TreeNode(5)\nroot = insert(root, 3)\nassert root.left.key == 3 and root.key == 5",
        ),
        (  # and where the test only builds with it, its constructor is asked
            "class TreeNode:\n    def __init__(self, key): self.key, self.left, self.right = key, None, None\n"
            "def total(root): return root.key + total(root.left) + total(root.right) if root else 0",
            "root = TreeNode(5)\nroot.left = TreeNode(4)\nassert total(root) == 9",
        ),
        (
            "def is_same_tree(p, q):\n    if p is None or q is None: return p is q\n"
            "    return p.val == q.val and is_same_tree(p.left, q.left) and is_same_tree(p.right, q.right)",
            "assert is_same_tree(tree_node([1, 2]), tree_node([1, 2]))\n"
            "assert not is_same_tree(tree_node([1, 2]), tree_node([1, None, 2]))",
        ),
        ("class ListNode:\n    def __init__(self, value): self.value = value", "assert ListNode(3).value == 3"),
    ],
)
def test_a_class_or_helper_that_is_asked_for_is_the_programs(grader, program, test):
    verdict = grader.code(program, [test])
    assert verdict.correct, verdict.reason


def test_calls_read_lists_only_where_the_function_takes_nodes(grader):
    test = {"call": "f", "args": [[1, 2]], "expected": [1, 2]}
    assert grader.code("def f(a: List[int]) -> List[int]: return a", [test]).correct
    assert grader.code("def f(a: Optional[ListNode]) -> Optional[ListNode]: return a", [test]).correct
    assert not grader.code("def f(a): return list_node(a)", [test]).correct


@pytest.mark.parametrize("expected", [[], None])
def test_no_node_is_an_empty_list_or_null(grader, expected):
    test = {"call": "f", "args": [[1]], "expected": expected}
    assert grader.code("def f(a: ListNode) -> ListNode: return None", [test]).correct
    assert grader.code("def f(a: ListNode) -> int: return None", [test]).correct == (expected is None)


def test_a_result_that_leads_back_to_itself_is_wrong(grader):
    program = "def f(a: ListNode) -> ListNode:\n    a.next = a\n    return a"
    verdict = grader.code(program, [{"call": "f", "args": [[1]], "expected": [1]}])
    assert verdict.outcome == "incorrect"


NAMES = "ascii_lowercase deepcopy randint mean StringIO maxsize inf lru_cache timedelta findall Deque pairwise prod"


@pytest.mark.parametrize("name", NAMES.split())
def test_a_name_that_judges_open_is_there(grader, name):
    test = {"call": "f", "args": [], "expected": True}
    assert grader.code(f"def f(): return {name} is not None", [test]).correct
