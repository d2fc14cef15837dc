"""How much a test may hold, and how much a program may answer: never less than the test expects."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from openklear.types import AnyTest, Test
from openklear.verifiers.workers import values
from openklear.verifiers.workers.test_process import OUTPUT_BYTES
from openklear.verifiers.workers.watcher import VALUE_CAP

MOST_INPUT = 32 * 2**20
"""Bytes of a test's input: it is a file in a program's /tmp."""
MOST_OUTPUT = 16 * 2**20
"""Bytes of output that a test may expect."""
_TOGETHER = 32 * 2**20
"""Bytes of input and output that are asked for at a time."""


def refusal(tests: Iterable[AnyTest]) -> str:
    """Why tests over stdin are too big to be run; empty where they are not."""
    for number, test in enumerate(tests, start=1):
        if isinstance(test, Test) and (why := _too_big(test)):
            return f"test {number} {why}"
    return ""


def _too_big(test: Test) -> str:
    for what, text, most in (("has an input", test.stdin, MOST_INPUT), ("expects an output", test.stdout, MOST_OUTPUT)):
        if (size := _bytes(text, most)) > most:
            return f"{what} of {size / 2**20:.1f} MiB, and at most {most >> 20} MiB can be judged"
    return ""


def output_bytes(tests: Iterable[AnyTest]) -> int:
    """How much a program may write: 4 MiB, or the next power of two that is a quarter above what a test expects."""
    expected = max((_bytes(test.stdout, OUTPUT_BYTES) for test in tests if isinstance(test, Test)), default=0)
    allowed = OUTPUT_BYTES
    while allowed < 1.25 * expected:
        allowed *= 2
    return allowed


def together(tests: Sequence[AnyTest]) -> int:
    """How many of the first tests are run in one request: at least one."""
    held = 0
    for number, test in enumerate(tests):
        held += len(test.stdin) + len(test.stdout) if isinstance(test, Test) else 0
        if held > _TOGETHER and number:
            return number
    return len(tests)


def _bytes(text: str, most: int) -> int:
    """Of a text as UTF-8; some upper bound where that is far below `most`, which need not be exact."""
    return len(text) if 4 * len(text) <= most else len(text.encode("utf-8", "surrogatepass"))


def readable(results: Sequence[object]) -> str:
    """Why results that are expected could not be read from a program; empty where they could."""
    try:
        text = values.to_text([[values.pack(result)] for result in results])
    except (values.NotPlain, RecursionError) as error:
        return f"an expected value is {error}"
    return f"more than {VALUE_CAP >> 20} MiB of values are expected" if values.too_big(text) else ""
