"""Real traces of three teachers on the same problems, as the sources of studies/small/teacher-traces.toml.

    python studies/traces.py long_cot.jsonl DIR [--train 16] [--heldout 16] [--longest 220]

Reads JSONL rows {teacher, problem, answer, response, math_verify}: responses of DeepSeek-R1, QwQ-32B and s1.1-32B. They
are those of github.com/tianyi-lab/MiP-Overthinking (MIT), on problems of GSM8K's test set and MATH-500: what is trained
on them must never be scored on those benchmarks.

Taken are problems of at most `longest` characters that all three teachers answered well formed and right, so that the
teachers differ in how they reason and write, not in what comes out. Writes DIR/TEACHER-train.jsonl and
DIR/TEACHER-heldout.jsonl, {id, problem, answer, response}: the reasoning in <think>, the same problems in the same
order for every teacher, none in both parts, chosen by a hash of the problem's text and so always the same.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from openklear.data.reasoning import to_one_form
from openklear.durable.files import read_jsonl, write_jsonl_atomic
from openklear.errors import OpenKlearError, UsageError
from openklear.think import FormatFault, split_thought

TEACHERS = {"deepseek-r1": "r1", "qwq-32b": "qwq", "s1.1-32b": "s1"}
"""Name in the file -> name of its files."""

Row = dict[str, str]


def main() -> None:
    """Split the file as the arguments say; what is wrong with them is said in a line."""
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("source", type=Path)
    parser.add_argument("directory", type=Path)
    parser.add_argument("--train", type=int, default=16, help="problems to train on")
    parser.add_argument("--heldout", type=int, default=16, help="problems whose traces are held out")
    parser.add_argument("--longest", type=int, default=220, help="characters of a problem")
    asked = parser.parse_args()
    try:
        problems = shared(read_jsonl(asked.source), asked.longest)
        if len(problems) < asked.train + asked.heldout:
            raise UsageError(f"{len(problems)} problems are left; ask for fewer, or for a larger --longest")
    except OpenKlearError as error:
        sys.exit(f"{asked.source}: {error}")
    asked.directory.mkdir(parents=True, exist_ok=True)
    for teacher in TEACHERS.values():
        rows = [problem[teacher] for problem in problems]
        parts = {"heldout": rows[: asked.heldout], "train": rows[asked.heldout :][: asked.train]}
        for part, some in parts.items():
            write_jsonl_atomic(asked.directory / f"{teacher}-{part}.jsonl", some)
            print(f"{asked.directory / f'{teacher}-{part}.jsonl'}: {len(some)} rows")


def shared(rows: list[dict[str, Any]], longest: int) -> list[Mapping[str, Row]]:
    """The problems that may be taken, by the hash of their text: of each, teacher -> its row."""
    found: dict[str, dict[str, Row]] = {}
    for row in rows:
        response = to_one_form(row["response"], "auto")
        formed = split_thought(response).fault is FormatFault.NONE
        if row["teacher"] not in TEACHERS or not formed or not row["math_verify"] or len(row["problem"]) > longest:
            continue
        problem = " ".join(row["problem"].split())
        name = hashlib.blake2b(problem.encode(), digest_size=8).hexdigest()
        told = {"id": name, "problem": problem, "answer": str(row["answer"]), "response": response}
        found.setdefault(name, {})[TEACHERS[row["teacher"]]] = told
    return [found[name] for name in sorted(found) if len(found[name]) == len(TEACHERS)]


if __name__ == "__main__":
    main()
