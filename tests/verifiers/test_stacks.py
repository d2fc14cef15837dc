"""Deep recursion and reserved stacks: judges lift the 8 MiB, and memory is what is used."""

import pytest

from openklear.errors import VerifierError
from openklear.types import CallTest, Test
from openklear.verifiers.code import CodeGrader
from openklear.verifiers.pool import WorkerLost
from openklear.verifiers.walls import LEVELS, Boxes

CACHED = """
import sys, threading
from functools import lru_cache
sys.setrecursionlimit(10**7)
@lru_cache(None)
def depth(n): return 0 if n == 0 else 1 + depth(n - 1)
"""
PLAIN = "import sys\nsys.setrecursionlimit(10**7)\ndef depth(n): return 0 if n == 0 else 1 + depth(n - 1)\n"
IN_THREAD = "threading.stack_size({})\nt = threading.Thread(target=lambda: print(depth({})))\nt.start(); t.join()"


@pytest.fixture(scope="module", params=[(level, megabytes) for level in LEVELS for megabytes in (64, 256)], ids=str)
def grader(request):
    level, megabytes = request.param
    try:
        Boxes("rlimits", 2**28, level).start().close()
    except (WorkerLost, OSError, VerifierError) as error:
        pytest.skip(f"this host does not give {level}: {error}")
    made = CodeGrader(1, 4.0, megabytes, "rlimits", level)
    yield made
    made.close()


def said(grader, program, output):
    verdict = grader.grade(program, [Test("", output)])
    return verdict.reason.removeprefix("test 1 of 1: ")


@pytest.mark.parametrize(
    ("program", "output"),
    [
        (CACHED + "print(depth(20000))", "20000"),
        (PLAIN + "print(depth(100000))", "100000"),
        *((CACHED + IN_THREAD.format(size, 20000), "20000") for size in (2**26, 2**27, 2**28, 2**29, 2**30)),
        (
            CACHED + "print(threading.stack_size(2**28), threading.stack_size(), threading.stack_size())",
            "0 268435456 0",
        ),
        ("import threading\ntry: threading.stack_size(5)\nexcept ValueError: print(1)", "1"),
        (
            "import resource\nmost = resource.RLIM_INFINITY\nresource.setrlimit(resource.RLIMIT_STACK, (most, most))\n"
            + CACHED
            + "print(depth(20000))",
            "20000",
        ),
        (
            "import threading\nthreading.stack_size(2**28)\nmade = [threading.Thread(target=int) for _ in range(3)]\n"
            "for t in made: t.start()\nfor t in made: t.join()\nprint(3)",
            "3",
        ),
    ],
)
def test_stacks_are_as_deep_as_memory_allows(grader, program, output):
    assert said(grader, program, output) == ""


GROWS = "x = []\nwhile True: x.append(bytearray(1 << 20))"


@pytest.mark.parametrize(
    ("program", "reason"),
    [
        (CACHED + "depth(-1)", "too much memory"),
        (CACHED + IN_THREAD.format(2**29, -1), "too much memory"),
        (PLAIN + "class A:\n    def __lt__(self, other): return self < other\nA() < A()", "too much memory"),
        ("def f(): return 1 + f()\nf()", "RecursionError: maximum recursion depth exceeded"),
        ("bytearray(300 << 20)", "MemoryError:"),
        (GROWS, "MemoryError:"),
        ("import threading\nthreading.stack_size(2**28)\n" + GROWS, "too much memory"),
        ("import mmap\nm = mmap.mmap(-1, 400 << 20)\nfor i in range(0, len(m), 4096): m[i] = 1", "too much memory"),
        ("import mmap\nm = mmap.mmap(-1, 400 << 20, flags=mmap.MAP_SHARED | 0x8000)\nm.close()", "too much memory"),
        (
            "import resource\nhard = resource.getrlimit(resource.RLIMIT_DATA)[1]\n"
            "resource.setrlimit(resource.RLIMIT_DATA, (hard, hard))\nx = bytearray(b'1') * (700 << 20)",
            "too much memory",
        ),
        ("import mmap\nmmap.mmap(-1, 2 << 30)", "OSError: [Errno 12] Cannot allocate memory"),
        ("import resource\nresource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))", "ValueError: not allowed"),
    ],
)
def test_memory_ends_in_words(grader, program, reason):
    assert said(grader, program, "x").startswith(reason)


def test_a_program_that_is_called_may_recurse_deep(grader):
    program = "def f(n): return 0 if n == 0 else 1 + f(n - 1)"
    assert grader.grade(program, [CallTest("f", "[40000]", "40000")]).correct
