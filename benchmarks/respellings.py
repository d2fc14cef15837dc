r"""What the grader of mathematics says of answers that are written differently, and of answers that are wrong.

    python -m benchmarks.respellings [--most 200] [--only KIND] [--show 5]

Run from the root of the project. References are drawn from six sets of OPENKLEAR_DATA (MATH train, AIME, DeepMath,
GSM8K train, MATH-500, HMMT and AIME), each set in turn, so that none outweighs the others. Every kind of
tests/respelling takes the first `--most` that it applies to. Prints two tables as Markdown: respellings with the share
accepted, and mutations with the number accepted, and below them every pair that was judged otherwise (with `--show`).
"""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.respelling.kinds import Kind, Pair
from tests.respelling.references import real
from tests.respelling.tables import MUTATIONS, RESPELLINGS

from openklear.grading import Grader, Limits

DATA = Path(os.environ.get("OPENKLEAR_DATA", Path(__file__).parents[2] / "shared" / "data"))
Row = tuple[Kind, list[Pair], list[tuple[Pair, str]]]


def row(grader: Grader, kind: Kind, references: list[str], most: int, expected: str) -> Row:
    """A kind, its pairs, and those of them that are not judged as expected, with what is said of them."""
    pairs = kind.pairs(references, most)
    said = [grader.math(pair.reference, pair.completion) for pair in pairs]
    faults = [
        (pair, f"{verdict.outcome.value} ({verdict.reason})")
        for pair, verdict in zip(pairs, said, strict=True)
        if verdict.outcome.value != expected
    ]
    return kind, pairs, faults


def respellings_table(rows: Sequence[Row]) -> str:
    """A Markdown table: the share accepted of each kind, and of all pairs together."""
    lines = ["| respelling | pairs | accepted |", "|---|---|---|"]
    lines += [f"| {_cell(kind)} | {len(pairs)} | {_share(len(pairs), len(faults))} |" for kind, pairs, faults in rows]
    pairs, faults = sum(len(row[1]) for row in rows), sum(len(row[2]) for row in rows)
    return "\n".join([*lines, f"| {len(rows)} kinds | {pairs} | {_share(pairs, faults)} |"])


def mutations_table(rows: Sequence[Row]) -> str:
    """A Markdown table: the number accepted of each kind, and of those that are called unscorable."""
    lines = ["| mutation | pairs | accepted | unscorable |", "|---|---|---|---|"]
    sums = [0, 0, 0]
    for kind, pairs, faults in rows:
        accepted = sum(said.startswith("correct") for _, said in faults)
        figures = len(pairs), accepted, len(faults) - accepted
        sums = [a + b for a, b in zip(sums, figures, strict=True)]
        lines.append(f"| {_cell(kind)} | {' | '.join(map(str, figures))} |")
    return "\n".join([*lines, f"| {len(rows)} kinds | {' | '.join(map(str, sums))} |"])


def _share(pairs: int, faults: int) -> str:
    return f"{100 * (pairs - faults) / pairs:.1f} %" if pairs else "none"


def _cell(kind: Kind) -> str:
    """A name as Markdown prints it, marks and all."""
    return re.sub(r"[\\<>*_$|`]", r"\\\g<0>", kind.name)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--most", type=int, default=200, help="pairs of a kind")
    parser.add_argument("--only", default="", help="kinds with this in their name")
    parser.add_argument("--show", type=int, default=0, help="pairs judged otherwise that are shown of each kind")
    options = parser.parse_args(arguments)
    references = real(DATA)
    with Grader(Limits(workers=1, math_seconds=5.0)) as grader:
        for table, kinds, expected in (
            (respellings_table, RESPELLINGS, "correct"),
            (mutations_table, MUTATIONS, "incorrect"),
        ):
            chosen = [kind for kind in kinds if options.only in kind.name]
            rows = [row(grader, kind, references, options.most, expected) for kind in chosen]
            print(table(rows), flush=True)
            for kind, _, faults in rows:
                for pair, said in faults[: options.show]:
                    print(f"  {kind.name}: {pair.reference!r} v {pair.completion[-120:]!r}: {said}")
            print()
    return 0


if __name__ == "__main__":
    sys.exit(main())
