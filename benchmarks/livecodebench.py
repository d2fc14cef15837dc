"""Real programs and official verdicts of LiveCodeBench, judged by our judge and by its own harness's semantics.

    python benchmarks/livecodebench.py DATA [--workers 2] [--rows 200] [--journal FILE]

DATA holds problems_2023-05_2025-01.jsonl, problems_leetcode_2025-02_2025-03.jsonl and runs_o1.jsonl: problems with
some of their tests, and outputs of two models with the official verdicts, failing inputs included
(LiveCodeBench/submissions at 4d04b02, MIT). That harness was of January 2025: its stdin was a plain StringIO, while
today's, which `--judge official` follows, cannot be iterated and begins anew with every read(). Told are the problems
and errata of the windows V5 and V6, what our judge and `--judge official` say beside the official verdict, and why
they differ.

Rows that can be compared: passes, which must pass all tests at hand; failures on a test that is at hand, or before
any test ran. The others failed on a test that nobody has here.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from openklear.data.formats import read_rows
from openklear.data.reading import parsed
from openklear.data.rows import Dropped
from openklear.data.sources import choose
from openklear.evaluation.catalogue.errata import errata
from openklear.evaluation.harnesses import both, differences, why
from openklear.types import AnyTest, Attempt, CallTest, Problem, Test, Verdict
from openklear.verifiers.limits import Limits

PROBLEMS = ("problems_2023-05_2025-01.jsonl", "problems_leetcode_2025-02_2025-03.jsonl")
RUNS = "runs_o1.jsonl"
WINDOWS = {"V5": ("2024-08-01", "2025-02-01"), "V6": ("2025-02-01", "2025-05-01")}
"""Both ends are included, as lcb_runner's --start_date and --end_date are."""
SHOWN = 300


@dataclass(frozen=True)
class Run:
    """A row of runs_o1.jsonl whose problem is at hand."""

    name: str
    attempt: Attempt
    official: bool
    comparable: bool
    artifact: str


def read_problems(path: Path) -> tuple[dict[str, Problem], list[dict[str, Any]]]:
    """Problems by question_id, and the rows they are from. A row that cannot be read stops the benchmark."""
    rows = [row for file in choose(str(path), "heldout", None).files for row in read_rows(file)]
    found = {}
    for (where, raw), items in zip(rows, parsed(rows, "heldout", "lcb", "code"), strict=True):
        (item,) = items
        if isinstance(item, Dropped):
            raise SystemExit(f"{where}: {item.detail}")
        found[raw["question_id"]] = item.problem
    return found, [dict(raw) for _, raw in rows]


def cut(text: str) -> str:
    """As the harness keeps inputs and outputs in its metadata."""
    half = SHOWN // 2
    return text if len(text) <= SHOWN else f"{text[:half]}...(truncated) ...{text[-half:]}"


def as_recorded(test: AnyTest) -> str:
    """A test's input as the metadata of a failure shows it."""
    if isinstance(test, Test):
        return cut(test.stdin)
    assert isinstance(test, CallTest)
    return cut(str(json.loads(test.args)))


def read_runs(path: Path, problems: dict[str, Problem]) -> list[Run]:
    """The runs whose problems are at hand, in the order of the file."""
    found = []
    for line in path.open(encoding="utf-8"):
        row = json.loads(line)
        problem = problems.get(row["question_id"])
        if problem is None:
            continue
        said = row["official_metadata"]
        at_hand = "inputs" in said and said["inputs"] in set(map(as_recorded, problem.tests))
        comparable = row["official"] or at_hand or (said.get("error_code") == -4 and "inputs" not in said)
        attempt = Attempt(problem, row["output"])
        name = f"{row['question_id']} {row['model']}"
        found.append(Run(name, attempt, row["official"], comparable, row["harness_artifact"] or ""))
    return found


def windows(rows: Sequence[dict[str, Any]]) -> list[str]:
    """A line for each window: problems in it, and errata among them."""
    known = errata("lcb-errata")
    lines = ["| window | problems | errata |", "|---|---|---|"]
    for name, ends in WINDOWS.items():
        first, last = map(date.fromisoformat, ends)
        inside = [row for row in rows if first <= date.fromisoformat(row["contest_date"][:10]) <= last]
        wrong = [row for row in inside if row["question_id"] in known or row["question_title"] in known]
        names = ", ".join(row["question_id"] for row in wrong)
        lines.append(f"| {name} {ends[0]}..{ends[1]} | {len(inside)} | {len(wrong)}{f' ({names})' if names else ''} |")
    wrong = [row for row in rows if row["question_id"] in known or row["question_title"] in known]
    return [*lines, f"| all | {len(rows)} | {len(wrong)} of {len(known)} listed |"]


def table(name: str, runs: Sequence[Run], verdicts: Sequence[Verdict]) -> list[str]:
    """How often a judge agrees with the recorded verdicts, on the rows that can be compared."""
    pairs = [(run, one) for run, one in zip(runs, verdicts, strict=True) if run.comparable]
    passes = [one.correct for run, one in pairs if run.official]
    failures = [not one.correct for run, one in pairs if not run.official]
    agreed, total = sum(passes) + sum(failures), len(pairs)
    share = 100 * agreed / max(1, total)
    return [
        f"| {name} | {sum(passes)} of {len(passes)} | {sum(failures)} of {len(failures)} "
        f"| {agreed} of {total} | {share:.2f} % |"
    ]


def disagreements(title: str, runs: Sequence[Run], verdicts: Sequence[Verdict], others: Sequence[Verdict]) -> list[str]:
    """The comparable rows on which a judge and the recorded verdict differ, by class. `others`: of the other judge."""
    found: dict[str, list[str]] = {}
    for run, one, other in zip(runs, verdicts, others, strict=True):
        if run.comparable and one.correct != run.official:
            reason = explained(run, one, other)
            found.setdefault(reason, []).append(f"{run.name}: {one.outcome.value} {one.reason}")
    lines = ["", f"{title}: {sum(map(len, found.values()))} rows differ"]
    for reason, rows in sorted(found.items(), key=lambda item: -len(item[1])):
        lines.append(f"- {len(rows)} x {reason}")
        lines += [f"    {row}" for row in rows[:4]]
    return lines


def between(runs: Sequence[Run], ours: Sequence[Verdict], official: Sequence[Verdict]) -> list[str]:
    """The differences of the two judges on all rows, by class."""
    found = list(differences([run.attempt for run in runs], ours, official))
    lines = ["", f"ours and official, all rows: {len(found)} differ"]
    for (reason, right), rows in Counter((one.why, one.ours.correct) for one in found).most_common():
        lines.append(f"- {rows} x {reason} ({'ours' if right else 'official'} takes them for correct)")
    threads = [one.correct for run, one in zip(runs, official, strict=True) if run.artifact.startswith("thread")]
    return [*lines, f"of {len(threads)} rows whose thread's output the record lost, official passes {sum(threads)}"]


def explained(run: Run, verdict: Verdict, other: Verdict) -> str:
    """Why a verdict is not the recorded one."""
    if verdict.correct != other.correct and other.correct == run.official:
        ours, official = (other, verdict) if "(-" in verdict.reason else (verdict, other)
        return why(run.attempt, ours, official)
    recorded = run.artifact or ("passed" if run.official else "failed")
    return f"neither judge agrees (recorded: {recorded}; now: {verdict.reason or 'passes'})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--rows", type=int, default=None, help="only so many rows, spread over the file")
    parser.add_argument("--packages", default="", help="packages that programs may import, by commas: numpy")
    parser.add_argument("--journal", type=Path, default=None, help="keeps verdicts from one call to the next")
    given = parser.parse_args()
    problems: dict[str, Problem] = {}
    rows = []
    for name in PROBLEMS:
        some, raw = read_problems(given.data / name)
        problems = problems or some  # runs are of the first file; LeetCode's ids in the second are others
        rows += raw
        tests = sum(len(problem.tests) for problem in some.values())
        print(f"{name}: {len(raw)} rows, {len(some)} problems, {tests} tests, 0 lost")
    print("\n".join(["", *windows(rows), ""]))
    runs = read_runs(given.data / RUNS, problems)
    recorded = sum(1 for _ in (given.data / RUNS).open(encoding="utf-8"))
    print(f"{RUNS}: {recorded} rows, {recorded - len(runs)} of them on problems that are not here")
    if given.rows:
        runs = runs[:: max(1, len(runs) // given.rows)][: given.rows]
    packages = tuple(filter(None, given.packages.split(",")))
    limits = Limits(workers=given.workers, code_seconds=6.0, code_memory_mb=1024, packages=packages)
    started = time.monotonic()
    ours, official = both([run.attempt for run in runs], limits, print, journal=given.journal)
    kinds = Counter((run.official, run.comparable) for run in runs)
    print(f"\n{len(runs)} programs judged both ways in {time.monotonic() - started:.0f} s; recorded: {kinds}\n")
    print("| judge | passes that pass | failures that fail | agree | |\n|---|---|---|---|---|")
    print("\n".join(table("ours", runs, ours) + table("official", runs, official)))
    print("\n".join(disagreements("ours and the recorded verdict", runs, ours, official)))
    print("\n".join(disagreements("official and the recorded verdict", runs, official, ours)))
    print("\n".join(between(runs, ours, official)))


if __name__ == "__main__":
    main()
