r"""Mathematics grading beside plain math-verify, pair by pair, in one process order: pairs a second and verdicts.

    OMP_NUM_THREADS=1 python benchmarks/math_grading.py [--pairs 400] [--rounds 5]

Real pairs of OPENKLEAR_DATA. (a) equal: what models answered (traces, math_cot_100), where either side calls it right;
(b) unequal: references of MATH, DeepMath, AIME and HMMT, each beside another one of its own set; (c) those of all
pairs, and of three peers' suites, that need math-verify because the exact path leaves them open. Ours is `MathGrader`
with one worker, asked from one thread. Plain math-verify is what its README does: `parse` (LaTeX and plain expressions,
its own timeout) of both in dollars, and `verify`. Contenders take turns; a round grades pairs that no round before has
seen, so that nobody's cache knows them; both have been warmed up with the first slice. Wall time of each round, then
the ratio.

Predicted before the first run: (a) 100x, for the exact path takes 10 to 20 microseconds and math-verify about 2 ms;
(b) 20x, for about 5 % of the pairs still go to the worker; (c) 1.1x: the same parse and a pipe, less its regexes.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from math_verify import parse, verify

from openklear.think import split_thought
from openklear.types import Outcome
from openklear.verifiers.answers import extract_answer, join_boxes
from openklear.verifiers.mathematics.exact import decide
from openklear.verifiers.mathematics.grader import MathGrader
from openklear.verifiers.mathematics.limits import over_limit
from openklear.verifiers.mathematics.values import TooLarge

DATA = Path(os.environ.get("OPENKLEAR_DATA", Path(__file__).parents[2] / "shared" / "data"))
Pair = tuple[str, str]
REVIEWED = {
    ("3", "three"): "a numeral in words",
    ("7", "7 nickels"): "math-verify reads the word as a product of symbols; what is counted says nothing",
    ("6", "6 Trinkets"): "as 7 nickels",
    ("90", "90 different combinations"): "as 7 nickels",
    (r"6\sqrt{2}", "6\u221a2 cm"): "the sign of the root, and a unit that the reference leaves out",
    (r"\sqrt{3} - 1", "-1 + sqrt(3)"): "sqrt in plain letters",
    **{(n, rf"{n}\%"): "policy: a percentage is a hundredth" for n in ("10", "35", "50", "70")},
}
"""Why ours is right, or what was decided, where the two differ."""
BARS = {"equal": 10.0, "unequal": 1.5, "open": 0.9}


def lines(name: str) -> Iterator[dict[str, object]]:
    with open(DATA / name, encoding="utf-8") as file:
        yield from map(json.loads, file)


def answered() -> list[Pair]:
    """(reference, what a model answered), whether right or wrong."""
    found = []
    for row in lines("traces/long_cot.jsonl"):
        found.append((str(row["answer"]), _after_thought(str(row["response"]))))
    for row in lines("metrics/math_cot_100.jsonl"):
        found += [(str(row["gt"]), text) for text in row["code"]]  # type: ignore[attr-defined]
    pairs = [(reference, extract_answer(text, reference)) for reference, text in found if text]
    return list(dict.fromkeys((reference, answer) for reference, answer in pairs if answer))


def _after_thought(text: str) -> str:
    return split_thought(text).answer or ""


def rotated() -> list[Pair]:
    """References, each beside the next of its own set that differs."""
    sets = [
        [row["answer"] for row in lines("benchmarks/math500.jsonl")],
        [row["answer"] for row in json.loads((DATA / "train/math_train.json").read_text())],
        [row["ground_truth"] for row in lines("train/deepmath.jsonl")],
        [row["answer"] for row in json.loads((DATA / "train/aime_1983_2023.json").read_text())],
        [row["answer"] for name in ("hmmt_feb_2024", "hmmt_feb_2025") for row in lines(f"benchmarks/{name}.jsonl")],
    ]
    pairs = []
    for answers in sets:
        texts = [str(answer) for answer in answers]
        pairs += [(text, texts[i - 7]) for i, text in enumerate(texts) if text != texts[i - 7]]
    return list(dict.fromkeys(pairs))


SUITES = ("math_verify_cases", "lighteval_cases", "inspect_math_cases", "known_errors")


def suite(name: str) -> list[tuple[Pair, Pair, bool]]:
    """(reference and answer to us, both texts as they are, what the suite expects) of each case."""
    found = []
    for row in json.loads((DATA / "grading" / f"{name}.json").read_text()):
        gold = extract_answer(row["gold"]) if "answer is" in row["gold"] else join_boxes(row["gold"])
        answer = extract_answer(row["pred"], gold)
        expected = bool(row.get("expected", row.get("human_expected")))
        found.append(((gold or "", answer or ""), (row["gold"], row["pred"]), expected))
    return found


def agreement(ours: Callable[[Pair], bool]) -> None:
    """Prints in how many cases of each suite either side says what the suite expects."""
    for name in SUITES:
        rows = suite(name)
        mine = sum(ours(pair) == expected for pair, _, expected in rows)
        theirs = sum(bool(verify(parse(texts[0]), parse(texts[1]))) == expected for _, texts, expected in rows)
        print(f"{name}: {len(rows)} cases, ours agrees in {mine}, plain math-verify in {theirs}")


def is_open(pair: Pair) -> bool:
    """Whether it takes math-verify."""
    if any(over_limit(text) for text in pair):
        return False
    try:
        return decide(*pair) is None
    except TooLarge:
        return False


def plain(pair: Pair) -> bool:
    reference, answer = (text if "$" in text else f"${text}$" for text in pair)
    return bool(verify(parse(reference), parse(answer)))


def rounds(
    name: str, pairs: Sequence[Pair], ours: Callable[[Pair], bool], count: int
) -> tuple[list[float], list[float], list[tuple[Pair, bool, bool]]]:
    """Pairs a second of ours and of math-verify in each round, and the pairs on which they differ."""
    size = len(pairs) // (count + 1)
    speeds: tuple[list[float], list[float]] = ([], [])
    verdicts: tuple[dict[Pair, bool], dict[Pair, bool]] = ({}, {})
    for i in range(count + 1):
        part = pairs[i * size : (i + 1) * size]
        order = (0, 1) if i % 2 else (1, 0)
        for side in order:
            grade = ours if side == 0 else plain
            start = time.perf_counter()
            verdicts[side].update((pair, grade(pair)) for pair in part)
            if i:  # the first slice warms up
                speeds[side].append(len(part) / (time.perf_counter() - start))
    differ = [(p, verdicts[0][p], verdicts[1][p]) for p in verdicts[0] if verdicts[0][p] != verdicts[1][p]]
    return speeds[0], speeds[1], differ


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=600, help="at most so many of each kind")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path, help="write the figures and every differing verdict here")
    options = parser.parse_args()
    chosen = random.Random(0)
    given, others = answered(), rotated()
    peers = [pair for name in SUITES[:3] for pair, _, _ in suite(name) if all(pair)]
    open_pairs = [pair for pair in dict.fromkeys(given + others + peers) if is_open(pair)]
    grader = MathGrader(1, 5.0)

    def ours(pair: Pair) -> bool:
        return grader.grade(*pair).outcome is Outcome.CORRECT

    agreement(ours)
    equal = [pair for pair in given if ours(pair) or plain(pair)]
    grader.close()
    grader = MathGrader(1, 5.0)
    written = {}
    for name, pairs in (("equal", equal), ("unequal", others), ("open", open_pairs)):
        pairs = chosen.sample(pairs, min(len(pairs), options.pairs))
        left, right, differ = rounds(name, pairs, ours, options.rounds)
        ratios = [a / b for a, b in zip(left, right, strict=True)]
        print(
            f"{name}: {len(pairs)} pairs, ours {statistics.median(left):.0f}/s, math-verify "
            f"{statistics.median(right):.0f}/s, ratio {statistics.median(ratios):.2f} "
            f"({min(ratios):.2f} to {max(ratios):.2f}), bar {BARS[name]}; verdicts that differ: {len(differ)}"
        )
        for (reference, answer), mine, theirs in differ:
            reason = REVIEWED.get((reference, answer), "NOT REVIEWED")
            print(f"  {reference!r} beside {answer!r}: ours {mine}, math-verify {theirs} ({reason})")
        written[name] = {
            "pairs": len(pairs), "ours": left, "math_verify": right, "ratios": ratios,
            "differ": [[*pair, mine, theirs] for pair, mine, theirs in differ],
        }  # fmt: skip
    grader.close()
    if options.json:
        options.json.write_text(json.dumps(written, indent=1))


if __name__ == "__main__":
    main()
