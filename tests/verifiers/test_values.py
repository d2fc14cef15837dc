"""Values cross as they are, with their exact types; anything else, and anything hostile, does not cross."""

import json
import math
import random
import time
from collections import Counter, OrderedDict, defaultdict, deque, namedtuple
from fractions import Fraction

import pytest

from openklear.verifiers.workers import values

PLAIN = [
    *(None, True, False, 0, -1, 2**63 - 1, 2**63, -(2**64), 10**5000, 0.1, -0.0, 1e308, 5e-324, math.inf, -math.inf),
    *("", "a\n\0\u2028", "half a pair: \ud83d", b"\0\xff", bytearray(b"x"), 1 + 2j, complex(math.inf, -0.0)),
    *([], (), set(), frozenset(), {}, [[]], ([], ()), {1: {2: [3]}}, {(1, 2): "t", None: 0, True: 1, "l": ["l"]}),
    *({1, "1", 2.5, (1,), frozenset({2})}, range(3), range(10, -2, -3), ["h", 1, "x"], ["d"], [["i", "5"]]),
]


def through(value):
    return values.unpack(values.from_text(values.to_text(values.pack(value))))


def kinds(value):
    """The value with the type of every part: 1, 1.0 and True are equal, and so are 0.0 and -0.0."""
    if isinstance(value, dict):
        return dict, [(kinds(key), kinds(inner)) for key, inner in value.items()]
    if isinstance(value, list | tuple):
        return type(value), [kinds(inner) for inner in value]
    if isinstance(value, set | frozenset):
        return type(value), {repr(kinds(inner)) for inner in value}
    return type(value), repr(value) if isinstance(value, float | complex) else value


@pytest.mark.parametrize("value", PLAIN, ids=lambda value: type(value).__name__)
def test_plain_values_cross(value):
    assert kinds(through(value)) == kinds(value)


def test_nan_crosses():
    assert math.isnan(through(math.nan))


@pytest.mark.parametrize("value", [Counter("aab"), OrderedDict(a=1), defaultdict(list, a=[1])])
def test_dictionaries_with_a_habit_cross_as_what_they_are_equal_to(value):
    assert type(through(value)) is dict
    assert through(value) == value


class Equal(int):
    def __eq__(self, other):
        return True

    __hash__ = int.__hash__


Pair = namedtuple("Pair", "a b")
LOOP: list[object] = []
LOOP.append(LOOP)
TWICE: list[object] = []
TWICE += [TWICE, TWICE]
DEEP: list[object] = []
for _ in range(5000):
    DEEP = [DEEP]


@pytest.mark.parametrize(
    "value",
    [
        *(Equal(0), [Equal(0)], {Equal(0): 1}, type("S", (str,), {})("a"), type("L", (list,), {})(), Pair(1, 2)),
        *(object(), len, int, deque([1]), Fraction(1, 2), iter([]), {}.keys(), map(str, []), math, ..., Exception("x")),
        *(LOOP, TWICE, {"a": LOOP}, DEEP, list(range(values.MAX_NODES))),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_is_not_plain_does_not_cross(value):
    with pytest.raises(values.NotPlain):
        values.pack(value)


HOSTILE = [
    *("", "x", "[", "{}", '{"l": 1}', "[]", '["q"]', "[1]", '["l", {}]', '["i"]', '["i", 5]', '["i", "xyz"]'),
    *('["f", "1"]', '["f", 1]', '["b", "0"]', '["b", 5]', '["c", 1]', '["c", "a", 1]', '["r"]', '["r", 1, 2, 0]'),
    *('["r", "a"]', '["d", 1]', '["d", ["l"], 1]', '["s", ["l"]]', '["h", 1, "x"]', '["o", 1]', '["n", "eval"]'),
    *("[" * 100_000, '["l",' * 200 + "1" + "]" * 200, "9" * 5000, "[" + "[]," * (values.MAX_NODES + 1) + "1]"),
    '"' + "x" * values.MAX_CHARACTERS + '"',
]


@pytest.mark.parametrize("text", HOSTILE, ids=lambda text: text[:20])
def test_hostile_texts_are_no_values(text):
    with pytest.raises(ValueError, match=r"."):
        values.unpack(values.from_text(text))


@pytest.mark.parametrize("tag", ["s", "z", "d"])
def test_equal_hashes_cost_no_time(tag):
    """A set of 100,000 whole numbers that share a hash would take hours to build."""
    numbers = [["i", hex(n * (2**61 - 1))] for n in range(1, 100_001)]
    items = [part for number in numbers for part in ((number, 1) if tag == "d" else (number,))]
    start = time.process_time()
    with pytest.raises(ValueError, match="equal hashes"):
        values.unpack(json.loads(json.dumps([tag, *items])))
    assert time.process_time() - start < 20.0


def test_objects_cross_by_reference_where_that_is_wanted():
    thing = object()
    tree = values.pack([thing, {"a": (thing,)}], lambda one: ["h", 7, type(one).__name__])
    assert tree == ["l", ["h", 7, "object"], ["d", "a", ["t", ["h", 7, "object"]]]]
    assert values.unpack(tree, lambda tree: thing if tree[1] == 7 else None) == [thing, {"a": (thing,)}]


def random_tree(rng, depth=0):
    """Anything that JSON can hold, often nearly a value."""
    kind = rng.randrange(9 if depth < 4 else 5)
    if kind < 5:
        return rng.choice([None, True, 0, 2**70, 1.5, "l", "d", "i", "0x1f", "zz", "h", "f", "nan", {}, {"l": 1}])
    tag = rng.choice(["l", "t", "s", "z", "d", "i", "f", "b", "a", "c", "r", "o", "h", "n", "q", 5, None, []])
    return [tag, *[random_tree(rng, depth + 1) for _ in range(rng.randrange(4))]]


def test_random_trees_are_values_or_value_errors():
    """No other exception may leave: it would end the grader, not the test."""
    rng, values_found = random.Random(5), 0
    for _ in range(20_000):
        tree = random_tree(rng)
        try:
            value = values.unpack(values.from_text(json.dumps(tree)))
        except ValueError:
            continue
        values_found += 1
        assert kinds(through(value)) == kinds(value)
    assert 5_000 < values_found < 15_000
