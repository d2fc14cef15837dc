"""Reference solutions of four public sets, each with a broken twin, through the code judge.

    python benchmarks/code_references.py [--set humaneval] [--workers 2]

A twin is the reference with one operator flipped or one constant changed (seeded by its id). Whether its behaviour on
the given tests differs is found without the judge: program and tests together in a plain interpreter, as the sets'
own harnesses run them, or its output beside the recorded one. Of each reference up to six twins are tried, until one
differs. All that differ must be rejected, all that do not must be accepted. A twin that runs into the time limit of
the plain interpreter is left out.

Predicted before it was run: every reference of HumanEval (164), leetcode_functional (402) and taco_stdin (183) is
accepted; of MBPP (974) all but about ten, which return what is not plain (generators, matches, ranges). About one in
ten references has no twin that differs (MBPP's three tests see little). No twin that differs is accepted. The four
sets take under ten minutes on two cores, of which taco_stdin's slow programs are half.
"""

from __future__ import annotations

import argparse
import ast
import gzip
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from openklear.types import AnyTest, AssertTest, Test
from openklear.verifiers.code import CodeGrader

DATA = Path(os.environ.get("OPENKLEAR_DATA", Path(__file__).parents[2] / "shared" / "data"))
SECONDS, MEMORY_MB = 10.0, 1024
"""Limits of the judge."""
HONEST_SECONDS = 2.0
"""Limit of the plain interpreter; a reference that needs more gets six times as much."""
TWINS = 6

LEETCODE = (
    "from collections import *\nfrom typing import *\nfrom itertools import *\nfrom functools import *\n"
    "from heapq import *\nfrom bisect import *\nfrom operator import *\nfrom math import *\nimport math\n"
)


@dataclass(frozen=True)
class Reference:
    """A program, its tests, and how the set itself runs them."""

    id: str
    program: str
    tests: tuple[AnyTest, ...]
    header: str = ""
    """What the set's own harness puts before a program."""
    checker: str | None = None


@dataclass
class Count:
    """One row of the table."""

    references: int = 0
    accepted: int = 0
    differ: int = 0
    rejected: int = 0
    alike: int = 0
    alike_accepted: int = 0
    without: int = 0
    exceptions: list[str] = field(default_factory=list)


def humaneval() -> Iterator[Reference]:
    """program = prompt + canonical solution; one test: `check` and its call."""
    with gzip.open(DATA / "benchmarks" / "humaneval.jsonl.gz", "rt") as file:
        for row in map(json.loads, file):
            test = f"{row['test']}\ncheck({row['entry_point']})"
            yield Reference(row["task_id"], row["prompt"] + row["canonical_solution"], (AssertTest(test),))


def mbpp() -> Iterator[Reference]:
    """One test for each assert, after the set's own set-up code."""
    for row in _lines("benchmarks/mbpp.jsonl"):
        setup = row["test_setup_code"]
        tests = tuple(AssertTest(f"{setup}\n{test}" if setup else test) for test in row["test_list"])
        yield Reference(f"MBPP/{row['task_id']}", row["code"], tests)


def leetcode() -> Iterator[Reference]:
    """One test: `check`, and its call with a method of Solution."""
    for row in _lines("train/leetcode_functional.jsonl"):
        yield Reference(row["id"], row["reference_solution"], (AssertTest(row["tests"]),), LEETCODE)


def taco() -> Iterator[Reference]:
    """stdin and stdout; compared by words, as where they come from: two recorded outputs break lines elsewhere."""
    for row in _lines("train/taco_stdin.jsonl"):
        tests = tuple(map(Test, row["inputs"], row["outputs"]))
        yield Reference(row["id"], row["reference_solution"], tests, checker="tokens")


SETS: dict[str, Callable[[], Iterator[Reference]]] = {
    "humaneval": humaneval,
    "mbpp": mbpp,
    "leetcode_functional": leetcode,
    "taco_stdin": taco,
}


def _lines(name: str) -> Iterator[dict[str, str]]:
    with (DATA / name).open() as file:
        yield from map(json.loads, file)


def twins(program: str, name: str) -> Iterator[str]:
    """The program with one place changed, in an order that depends on its name alone."""
    tree = ast.parse(program)
    idle = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}  # docstrings
    places = [i for i, node in enumerate(ast.walk(tree)) if _mutated(node) is not None and id(node) not in idle]
    random.Random(name).shuffle(places)
    for place in places:
        copy = ast.parse(program)
        node = list(ast.walk(copy))[place]
        change = _mutated(node)
        assert change is not None
        change()
        yield ast.unparse(copy)


_FLIPPED: dict[type[ast.AST], type[ast.AST]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Add,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.FloorDiv,
    ast.Lt: ast.GtE,
    ast.GtE: ast.Lt,
    ast.Gt: ast.LtE,
    ast.LtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.And: ast.Or,
    ast.Or: ast.And,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
}


def _mutated(node: ast.AST) -> Callable[[], None] | None:
    """What changes the node; None where nothing is to be changed."""
    if isinstance(node, ast.BinOp | ast.BoolOp | ast.AugAssign) and type(node.op) in _FLIPPED:
        return lambda: setattr(node, "op", _FLIPPED[type(node.op)]())
    if isinstance(node, ast.Compare) and type(node.ops[0]) in _FLIPPED:
        return lambda: node.ops.__setitem__(0, _FLIPPED[type(node.ops[0])]())  # type: ignore[call-overload]
    if isinstance(node, ast.Constant) and isinstance(node.value, bool | int | str):
        return lambda: setattr(node, "value", _changed(node.value))
    return None


def _changed(value: object) -> object:
    if isinstance(value, bool):
        return not value
    return value + "x" if isinstance(value, str) else value + 1  # type: ignore[operator]


def honest(reference: Reference, program: str, seconds: float) -> bool | None:
    """Whether the program passes without any judge; None where it takes too long."""
    if isinstance(reference.tests[0], Test):
        for test in reference.tests:
            assert isinstance(test, Test)
            done = _plain(program, test.stdin, seconds)
            if done is None:
                return None
            if done[0] != 0 or test.stdout.split() != done[1].split():
                return False
        return True
    code = [test.code for test in reference.tests if isinstance(test, AssertTest)]
    done = _plain("\n".join([reference.header, program, *code]), "", seconds)
    return None if done is None else done[0] == 0


def _plain(source: str, stdin: str, seconds: float) -> tuple[int, str] | None:
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "program.py"
        path.write_text(source)
        try:
            done = subprocess.run(
                [sys.executable, "-s", str(path)],
                input=stdin,
                capture_output=True,
                text=True,
                timeout=seconds,
                check=False,
                cwd=directory,
                env={"PATH": "/usr/bin:/bin", "PYTHONHASHSEED": "0"},
            )
        except subprocess.TimeoutExpired:
            return None
        except UnicodeDecodeError:
            return 1, ""
        return done.returncode, done.stdout


def weigh(reference: Reference, grader: CodeGrader) -> Count:
    """A reference and its twins, before the judge and without it."""
    count = Count(references=1)
    grade = grader.grade(reference.program, reference.tests, reference.checker)
    count.accepted = int(grade.outcome == "correct")
    if not count.accepted:
        count.exceptions.append(f"{reference.id}: the reference is {grade.outcome}: {grade.reason}")
    start = time.monotonic()
    if honest(reference, reference.program, 60.0) is not True:
        count.exceptions.append(f"{reference.id}: the reference fails in a plain interpreter too")
    limit = HONEST_SECONDS * (6 if time.monotonic() - start > HONEST_SECONDS / 4 else 1)
    for _, twin in zip(range(TWINS), twins(reference.program, reference.id), strict=False):
        passes = honest(reference, twin, limit)
        if passes is None:
            continue
        grade = grader.grade(twin, reference.tests, reference.checker)
        if (grade.outcome == "correct") != passes:
            count.exceptions.append(
                f"{reference.id}: a twin that {'passes' if passes else 'fails'} is {grade.outcome}: {grade.reason}"
            )
        if passes:
            count.alike += 1
            count.alike_accepted += int(grade.outcome == "correct")
        else:
            count.differ, count.rejected = 1, int(grade.outcome == "incorrect")
            break
    count.without = 1 - count.differ
    return count


def total(counts: Sequence[Count]) -> Count:
    """The sum of the rows."""
    names = ("references", "accepted", "differ", "rejected", "alike", "alike_accepted", "without")
    sums = {name: sum(getattr(count, name) for count in counts) for name in names}
    return Count(**sums, exceptions=[line for count in counts for line in count.exceptions])


def main() -> None:
    """Prints a row a set, and every exception."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--set", choices=[*SETS, "all"], default="all")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--first", type=int, help="references of each set, for a quick look")
    options = parser.parse_args()
    grader = CodeGrader(options.workers, SECONDS, MEMORY_MB, "rlimits")
    print(f"isolation: {grader.isolation().level}; {options.workers} workers")
    print(f"{'set':<20} {'references':>11} {'twins that differ':>18} {'that do not':>12} {'none found':>11} {'s':>5}")
    exceptions: list[str] = []
    with ThreadPoolExecutor(options.workers) as threads:
        for name in SETS if options.set == "all" else [options.set]:
            start = time.monotonic()
            references = list(SETS[name]())[: options.first]
            row = total(list(threads.map(lambda reference: weigh(reference, grader), references)))
            print(
                f"{name:<20} {f'{row.accepted}/{row.references}':>11} {f'{row.rejected}/{row.differ} rejected':>18} "
                f"{f'{row.alike_accepted}/{row.alike}':>12} {row.without:>11} {time.monotonic() - start:>5.0f}",
                flush=True,
            )
            exceptions += row.exceptions
    grader.close()
    print("\n".join(exceptions) or "no exception")


if __name__ == "__main__":
    main()
