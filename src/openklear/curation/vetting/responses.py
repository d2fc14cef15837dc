"""What graded responses of a model say of a problem: whether it can be graded, and how hard it is.

Rules of the report, section 2.2, are pure functions of the responses and answer with a reason. A response that could
not be scored says nothing: it is left out of every count, and a problem without any scorable response is dropped with a
reason of its own, since vetting asks for evidence and there is none.

The report judges difficulty with Qwen3-8B and finds 88 % of its samples hard, but says neither how many responses it
took nor where hard begins, so those thresholds are ours.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from openklear.curation.rules import Reason
from openklear.data.rows import Row, normalise
from openklear.verifiers.domains import DOMAINS

Label = Literal["easy", "medium", "hard"]


@dataclass(frozen=True, slots=True)
class GradedResponse:
    """A graded response to a problem."""

    key: str
    """The problem: its normalised prompt (`rows.prompt_key`)."""
    sample: int
    """Which response to it."""
    correct: bool | None
    """None: unscorable."""
    passed: int
    total: int
    """Tests passed of all tests, with every test run (not `stop_early`); 1 of 1 or 0 of 1 in mathematics."""
    answer: str | None = None
    """What it answers, where something could be extracted."""


def by_problem(responses: Iterable[GradedResponse]) -> dict[str, list[GradedResponse]]:
    """Key -> its responses by sample."""
    found: dict[str, list[GradedResponse]] = {}
    for response in responses:
        found.setdefault(response.key, []).append(response)
    return {key: sorted(some, key=lambda response: response.sample) for key, some in found.items()}


def teacher_fails(row: Row, responses: Sequence[GradedResponse], code_pass_rate: float) -> Reason:
    """The teacher's evidence that a problem can be graded: `low_pass_rate` for code, `no_agreement` for mathematics."""
    tested = DOMAINS[row.problem.domain].tested
    return low_pass_rate(responses, code_pass_rate) if tested else no_agreement(responses)


def low_pass_rate(responses: Sequence[GradedResponse], above: float) -> Reason:
    """Code: the mean over the responses of the share of passed tests must be above `above`.

    The report writes "pass@16 above 0.5" for 16 responses; a mean is what its figure 4 and its threshold make sense
    of, since a pass@16 of 16 responses is 0 or 1. A response without a program passed nothing.
    """
    if missing := _no_evidence(responses):
        return missing
    shares = [one.passed / one.total if one.total else 0.0 for one in responses if one.correct is not None]
    mean = sum(shares) / len(shares)
    return None if mean > above else ("low pass rate", f"{mean:.3f} over {len(shares)}; above {above:g} is asked for")


def no_agreement(responses: Sequence[GradedResponse]) -> Reason:
    """Mathematics: the answer that most responses give must be the reference's, by the verifier.

    The report keeps what "the majority" of 16 responses passes; we read: the most frequent answer is correct. Correct
    responses have one answer, however they write it; wrong ones agree where their texts are the same but for case and
    blanks, and responses without an answer agree with nobody. A tie is no majority. (So equal wrong answers in two
    spellings count apart: the verifier compares with the reference alone.)
    """
    if missing := _no_evidence(responses):
        return missing
    scorable = [one for one in responses if one.correct is not None]
    right = sum(one.correct is True for one in scorable)
    wrong = Counter(normalise(one.answer) for one in scorable if not one.correct and one.answer)
    answer, votes = max(wrong.items(), key=lambda item: (item[1], item[0])) if wrong else ("", 0)
    if right > votes:
        return None
    if not right and not votes:
        return "no majority", f"none of {len(scorable)} responses has an answer"
    counted = f"{right} of {len(scorable)} correct, {votes} say {answer}"
    return ("no majority" if right == votes else "the majority is wrong"), counted


def outside_window(responses: Sequence[GradedResponse], low: float, high: float) -> Reason:
    """The policy's own pass rate must lie between `low` and `high`, both left out: (0, 1) drops all right, all wrong.

    Such groups have no advantage (figure 5), whatever the reward. Right is a correct verdict: all tests passed.
    """
    if missing := _no_evidence(responses):
        return missing
    scorable = [one.correct for one in responses if one.correct is not None]
    correct, total = sum(scorable), len(scorable)
    counted = f"{correct} of {total}"
    if correct / total <= low:
        return ("too hard for the policy" if correct else "never solved by the policy"), counted
    if correct / total >= high:
        return ("too easy for the policy" if correct < total else "always solved by the policy"), counted
    return None


def pass_rates(responses: Iterable[GradedResponse]) -> dict[str, float]:
    """Key -> share of the scorable responses that are correct; a problem without scorable responses is left out."""
    found: dict[str, float] = {}
    for key, some in by_problem(responses).items():
        scorable = [one.correct for one in some if one.correct is not None]
        if scorable:
            found[key] = sum(scorable) / len(scorable)
    return found


def labels(rates: Mapping[str, float], easy: float, hard: float) -> dict[str, Label]:
    """Key -> easy for pass rates from `easy` on, hard for those below `hard`, medium between them."""
    return {key: "easy" if rate >= easy else "hard" if rate < hard else "medium" for key, rate in rates.items()}


def _no_evidence(responses: Sequence[GradedResponse]) -> Reason:
    if not responses:
        return "no responses", ""
    if all(one.correct is None for one in responses):
        return "no scorable response", f"{len(responses)} responses"
    return None
