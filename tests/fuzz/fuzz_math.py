"""Fuzzing of extraction and equivalence: no crash, no hang over the limit, no disagreement with itself.

    python -m tests.fuzz.fuzz_math --minutes 10 [--seed 0]

Every round: (1) a hostile or corrupted text is extracted and graded on both sides, within the limit; (2) a random answer
is equal to itself, and to itself written differently, in both orders; (3) two random answers get the same verdict from
the exact path in both orders (the exact path alone: math-verify is asymmetric by design where relations meet sets), and
the same verdict when one is written differently; (4) sometimes, what the exact path says is held against math-verify,
and what differs is printed, but is no failure: our policies differ. Prints counts and failures; exit code 1 on failure.
"""

import argparse
import random
import sys
import time
from collections import Counter
from collections.abc import Callable

from tests.fuzz.math_strategies import INNOCENT, answer, corrupted, hostile

from openklear.types import Outcome
from openklear.verifiers.answers import extract_answer, extract_boxed
from openklear.verifiers.mathematics.exact import decide
from openklear.verifiers.mathematics.grader import MathGrader
from openklear.verifiers.mathematics.limits import over_limit
from openklear.verifiers.mathematics.values import TooLarge

SECONDS = 1.0
"""CPU seconds of the grader; a grade may take the worker twice that, its start, and a busy machine's share."""
HANG = 30.0
EXTRACTION = 0.5
"""CPU seconds that a text of at most 50,000 characters may take in this process, worker aside."""


def verdict(reference: str, text: str) -> bool | str | None:
    """What the exact path says; "large" where the reference is over the limits."""
    if over_limit(reference) or over_limit(text):
        return "large"
    try:
        return decide(reference, text)
    except TooLarge:
        return "large"


class Fuzzer:
    """Counts, and the failures found so far."""

    def __init__(self, grader: MathGrader, seed: int):
        self.grader, self.random = grader, random.Random(seed)
        self.counts: Counter[str] = Counter()
        self.failures: list[str] = []
        self.slowest = 0.0

    def fail(self, what: str, *texts: str) -> None:
        self.failures.append(f"{what}: " + " | ".join(repr(text[:300]) for text in texts))

    def timed(self, what: str, limit: float, work: Callable[[], object], *texts: str) -> object:
        clock = time.process_time if limit == EXTRACTION else time.monotonic
        start = clock()
        try:
            return work()
        except Exception as error:  # whatever it is, it is what the fuzzer looks for
            self.fail(f"{what} raised {type(error).__name__}: {error}", *texts)
            return None
        finally:
            taken = clock() - start
            self.slowest = max(self.slowest, taken)
            if taken > limit:
                self.fail(f"{what} took {taken:.1f} s", *texts)

    def hostile_text(self) -> None:
        text = hostile(self.random) if self.random.random() < 0.6 else corrupted(self.random, answer(self.random))
        extracted = self.timed("extraction", EXTRACTION, lambda: extract_answer(text, "B"), text)
        self.timed("extraction", EXTRACTION, lambda: extract_answer(text), text)
        self.timed("exact", EXTRACTION, lambda: verdict("5", text), text)
        graded = self.timed("grade", HANG, lambda: self.grader.grade("5", text), text)
        if graded is not None and graded.outcome is Outcome.UNSCORABLE:  # type: ignore[attr-defined]
            self.fail("an answer made a sound reference unscorable", text)
        if isinstance(extracted, str):
            self.timed("grade", HANG, lambda: self.grader.grade("B", extracted), extracted)
        if self.random.random() < 0.2:
            self.timed("grade", HANG, lambda: self.grader.grade(text, "5"), text)
        self.counts["hostile"] += 1

    def same(self) -> None:
        text = answer(self.random)
        name, rewrite = self.random.choice(list(INNOCENT.items()))
        other = rewrite(text)
        for pair in ((text, text), (text, other), (other, text)):
            said = self.timed("exact", EXTRACTION, lambda pair=pair: verdict(*pair), *pair)
            if said is False:
                self.fail(f"not equal to itself ({name})", *pair)
        boxed = f"So we are done: \\boxed{{{text}}} as asked."
        if extract_boxed(boxed) != text.strip():
            self.fail("not what is in the box", boxed)
        self.counts["same"] += 1

    def pair(self) -> None:
        left = answer(self.random)
        right = answer(self.random) if self.random.random() < 0.7 else corrupted(self.random, left)
        said = self.timed("exact", EXTRACTION, lambda: verdict(left, right), left, right)
        back = self.timed("exact", EXTRACTION, lambda: verdict(right, left), left, right)
        if left.rstrip("}$ ").endswith("%") != right.rstrip("}$ ").endswith("%"):
            back = said  # 35% answers the reference 35, and not the other way round
        if "," in left + right and left.replace(",", ".") == right.replace(",", "."):
            back = said  # 8,0 answers the reference 8.0; as a reference it is a list
        if left.count("=") != right.count("="):
            back = said  # x + y = 5 answers the reference 5, and 5 is no answer to x + y = 5
        if "large" not in (said, back) and said is not back:
            self.fail(f"{said} one way, {back} the other", left, right)
        if right.endswith("\\"):
            return  # whatever follows would be escaped
        name, rewrite = self.random.choice(list(INNOCENT.items()))
        again = self.timed("exact", EXTRACTION, lambda: verdict(left, rewrite(right)), left, rewrite(right))
        if again is not said:
            self.fail(f"{said}, and {again} when written differently ({name})", left, right)
        self.counts["pair " + str(said)] += 1
        if said in (True, False) and self.random.random() < 0.05:
            self.compare(left, right, bool(said))

    def compare(self, left: str, right: str, said: bool) -> None:
        answered = self.grader._request(left, right)
        self.counts["compared"] += 1
        if "equal" in answered and answered["equal"] is not said:
            self.counts[f"math-verify says {answered['equal']}"] += 1
            print(f"ours {said}, math-verify {answered['equal']}: {left!r} | {right!r}", flush=True)


def run(seconds: float, seed: int, rounds: int | None = None) -> Fuzzer:
    grader = MathGrader(1, SECONDS)
    fuzzer = Fuzzer(grader, seed)
    end = time.monotonic() + seconds
    done = 0
    while time.monotonic() < end and (rounds is None or done < rounds):
        fuzzer.hostile_text()
        for _ in range(20):
            fuzzer.same()
            fuzzer.pair()
        done += 1
    grader.close()
    return fuzzer


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    fuzzer = run(options.minutes * 60, options.seed)
    print(dict(sorted(fuzzer.counts.items())), f"slowest step {fuzzer.slowest:.2f} s, failures {len(fuzzer.failures)}")
    for failure in fuzzer.failures[:50]:
        print("FAILURE", failure)
    sys.exit(bool(fuzzer.failures))


if __name__ == "__main__":
    main()
