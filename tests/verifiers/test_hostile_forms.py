r"""Hostile texts for every form that answers may take: each is read and judged in under a second, whatever it holds.

A flood is a piece that a rule looks for, over and over: as long as mathematics reads (4,096 characters), and as long as
an answer may be that is only searched (hundreds of thousands).
"""

import time

import pytest
from tests.fuzz.math_strategies import FORM_FLOODS

from openklear.types import Outcome
from openklear.verifiers.answers import extract_answer, join_boxes
from openklear.verifiers.mathematics.exact import decide
from openklear.verifiers.mathematics.grader import MathGrader
from openklear.verifiers.mathematics.limits import over_limit
from openklear.verifiers.mathematics.values import TooLarge

SECONDS = 3.0
READ, SEARCHED = 4_000, 300_000

REFERENCES = (
    "5",
    r"\frac{1}{3}",
    "ABD",
    "B",
    "x=1, y=2",
    "12:00",
    "20",
    "1011_2",
    r"n \text{ even}",
    "(-2,3)",
    r"x^2+1",
)


def quickly(what, work, text):
    start = time.process_time()
    found = work()
    taken = time.process_time() - start
    assert taken < SECONDS, f"{what} took {taken:.1f} s of {len(text)} characters: ...{text[-40:]}"
    return found


def exactly(reference, answer):
    """What is said without math-verify, as the grader would."""
    if over_limit(reference) or over_limit(answer):
        return False
    try:
        return decide(reference, answer)
    except TooLarge:
        return None


@pytest.mark.parametrize("piece", FORM_FLOODS.values(), ids=FORM_FLOODS)
def test_a_flood_is_read_and_judged_at_once(piece):
    read, searched = piece * (READ // len(piece)), piece * (SEARCHED // len(piece))
    for text in (read, f"5 {read}", f"{read}5", f"\\boxed{{{read}}}", searched, f"{searched} The answer is 5."):
        quickly("joining", lambda text=text: join_boxes(text), text)
        for reference in (None, "5", "B"):
            quickly("extraction", lambda text=text, r=reference: extract_answer(text, r), text)
    for text in (read, f"5 {read}"):
        for reference in REFERENCES:
            quickly("judging", lambda text=text, r=reference: exactly(r, text), text)
            quickly("judging", lambda text=text, r=reference: exactly(text, r), text)
        quickly("judging", lambda text=text: exactly(text, text[: len(text) // 2]), text)


@pytest.fixture(scope="module")
def grader():
    made = MathGrader(1, SECONDS)
    yield made
    made.close()


@pytest.mark.long
@pytest.mark.parametrize("piece", FORM_FLOODS.values(), ids=FORM_FLOODS)
def test_a_flood_makes_no_sound_reference_unscorable(piece, grader):
    for reference in ("5", r"\frac{x}{2}"):
        for text in (piece * (READ // len(piece)), piece * 20, f"{piece * 20}5"):
            judged = quickly("grading", lambda text=text, r=reference: grader.grade(r, text), text)
            assert judged.outcome is not Outcome.UNSCORABLE, judged.reason
