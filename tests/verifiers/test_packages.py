"""Packages beside the standard library: only where they are allowed, only those, and read-only."""

import re
import sys

import pytest

from openklear.errors import UsageError, VerifierError
from openklear.grading import Grader, Limits
from openklear.types import AssertTest, CallTest, Test
from openklear.verifiers import packages
from openklear.verifiers.code import CodeGrader
from openklear.verifiers.domains import DOMAINS
from openklear.verifiers.pool import WorkerLost
from openklear.verifiers.walls import LEVELS, Boxes

ALLOWED = ("numpy", "sortedcontainers")


@pytest.fixture(scope="module", params=LEVELS)
def grader(request):
    try:
        Boxes("rlimits", 2**28, request.param).start().close()
    except (WorkerLost, OSError, VerifierError) as error:
        pytest.skip(f"this host does not give {request.param}: {error}")
    made = CodeGrader(1, 4.0, 256, "rlimits", request.param, ALLOWED)
    yield made
    made.close()


@pytest.mark.parametrize(
    ("program", "test"),
    [
        ("import numpy as np\nprint(np.arange(5).sum())", Test("", "10")),
        ("import numpy as np\nprint(np.random.randint(1000))", Test("", "684")),
        ("from numpy.random import randint\nprint(randint(1000))", Test("", "684")),
        (
            "import numpy as np\na = np.random.rand(300, 300)\nprint((a @ np.linalg.inv(a)).trace().round(3))",
            Test("", "300.0"),
        ),
        ("import numpy as np\nprint(len(np.zeros(20 * 2**20)))", Test("", "20971520")),
        (
            "from sortedcontainers import SortedList\nprint(*SortedList(map(int, input().split())))",
            Test("3 1 2", "1 2 3"),
        ),
        ("def f(n): return list(SortedList([3, 1, n]))", CallTest("f", "[2]", "[1, 2, 3]")),
        ("def f(n): return SortedDict({n: 1}).peekitem()[0]", CallTest("f", "[2]", "2")),
        ("def f(SortedList): return SortedList", CallTest("f", "[2]", "2")),
        (
            "import numpy as np\ndef f(n): return [np.int64(n), np.float64(2.5), np.True_, {np.int8(3): np.str_('a')}]",
            AssertTest("assert f(1) == [1, 2.5, True, {3: 'a'}]"),
        ),
        (
            "import numpy as np\ndef f(n): return np.full(2, n)",
            AssertTest(
                "import numpy as np\nfound = f(3)\nassert list(found) == [3, 3] and np.isclose(found.sum(), 6.0)"
            ),
        ),
    ],
)
def test_allowed_packages_are_there(grader, program, test):
    verdict = grader.grade(program, [test])
    assert verdict.correct, verdict.reason


@pytest.mark.parametrize(
    ("program", "reason"),
    [
        ("import psutil", "ModuleNotFoundError: No module named 'psutil'"),
        ("import pytest", "ModuleNotFoundError: No module named 'pytest'"),
        ("import numpy as np\nnp.ones(100 * 2**20)", "MemoryError: Unable to allocate"),
        ("import numpy as np\nx = [np.ones(2**20) for _ in range(100)]", "MemoryError: Unable to allocate"),
        ("import numpy\nopen(numpy.__path__[0] + '/mark', 'w')", "OSError: [Errno 30] Read-only file system"),
    ],
)
def test_nothing_else_is(grader, program, reason):
    if "open(" in program and grader.isolation().level == "rlimits":
        pytest.skip("walled levels only")
    verdict = grader.grade(program, [Test("", "")])
    assert reason in verdict.reason


def test_a_walled_program_sees_their_directories_only(grader):
    if grader.isolation().level == "rlimits":
        pytest.skip("walled levels only")
    program = "import os\nprint(*sorted(name for name in os.listdir('/packages') if not name.endswith('.libs')))"
    assert grader.grade(program, [Test("", "numpy sortedcontainers")]).correct


@pytest.mark.parametrize(
    "result",
    [
        "np.array([1, 2])",
        "np.longdouble(1)",
        "type('int64', (), {'__module__': 'numpy', 'item': lambda self: self})()",
        "type('int64', (), {'__module__': 'numpy', 'item': lambda self: 1})()",
    ],
)
def test_what_is_no_number_of_numpys_is_not_plain(grader, result):
    program = f"import numpy as np\ndef f(): return {result}"
    assert grader.grade(program, [CallTest("f", "[]", "1")]).outcome == "incorrect"


def test_what_is_allowed_is_said(grader):
    assert re.search(r"They may import numpy [\d.]+, sortedcontainers [\d.]+\.$", grader.isolation().description)


def test_without_leave_there_are_none():
    with Grader(Limits(workers=1)) as grader:
        for name in ALLOWED:
            assert "ModuleNotFoundError" in grader.code(f"import {name}", [{"stdin": "", "stdout": ""}]).reason
        test = {"call": "f", "args": [], "expected": 1}
        assert "NameError" in grader.code("def f(): return len(SortedList([1]))", [test]).reason
        program = "class T:\n    pass\nT.__module__ = 'numpy'\ndef f(): return T()"
        assert "of type T" in grader.code(program, [test]).reason


@pytest.mark.parametrize(
    ("names", "fault"),
    [
        (["nunpy"], "the package nunpy cannot be allowed; did you mean numpy?"),
        (["torch"], "those that can are numpy, sortedcontainers"),
        (["numpy", "numpy"], "listed twice"),
    ],
)
def test_names_that_cannot_be_are_refused(names, fault):
    with pytest.raises(UsageError, match=fault.replace("?", r"\?")):
        Limits(packages=names)


def test_a_package_that_is_missing_says_what_to_install(monkeypatch):
    monkeypatch.setitem(packages.PACKAGES, "no_such_package", ("no_such_package",))
    with pytest.raises(UsageError, match="pip install no_such_package") as caught:
        Limits(packages=["no_such_package"])
    assert sys.executable in str(caught.value)
    with pytest.raises(UsageError, match="pip install no_such_package"):
        CodeGrader(1, 1.0, 256, "rlimits", packages=["no_such_package"])


def test_packages_are_for_boxes_of_this_machine():
    with pytest.raises(UsageError, match="leave one of the two out"):
        Limits(packages=ALLOWED, graders={"code": "http://host:1"})


def test_verdicts_depend_on_packages_and_their_versions():
    settings = DOMAINS["code"].settings
    plain, allowed = settings(Limits(), False), settings(Limits(packages=ALLOWED), False)
    assert allowed[: len(plain)] == plain
    assert [word.split()[0] for word in allowed[len(plain) :]] == list(ALLOWED)
    assert all(word.split()[1][0].isdigit() for word in allowed[len(plain) :])
    assert settings(Limits(packages=ALLOWED[::-1]), False) == allowed
