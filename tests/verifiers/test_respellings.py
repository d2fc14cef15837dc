"""A right answer stays right however it is written, and a wrong one wrong: every kind of tests/respelling.

Here a few references a kind, ours and real ones; `python -m benchmarks.respellings` prints both tables over 200 of each.
"""

import pytest
from tests.respelling.kinds import Pair
from tests.respelling.references import own, real
from tests.respelling.tables import MUTATIONS, RESPELLINGS
from tests.shared_data import ROOT, shared

from openklear.grading import Grader, Limits

OWN_PAIRS, REAL_PAIRS = 10, 4
"""Of each kind: few, for the suite is run often."""

KNOWN: dict[Pair, str] = {}
"""Pairs that are judged otherwise, with the reason why that stays so."""


@pytest.fixture(scope="module")
def outcome():
    with Grader(Limits(workers=1, math_seconds=5.0)) as grader:
        yield lambda pair: grader.math(pair.reference, pair.completion).outcome.value


def named(kinds):
    return [pytest.param(kind, id=kind.function.__name__) for kind in kinds]


def judged_otherwise(kind, references, most, outcome, expected):
    pairs = kind.pairs(references, most)
    return [(pair, said) for pair in pairs if pair not in KNOWN and (said := outcome(pair)) != expected]


@pytest.mark.parametrize("kind", named(RESPELLINGS))
def test_an_answer_that_is_only_written_differently_is_right(kind, outcome):
    assert judged_otherwise(kind, own(), OWN_PAIRS, outcome, "correct") == []


@pytest.mark.parametrize("kind", named(MUTATIONS))
def test_a_wrong_answer_is_wrong(kind, outcome):
    assert judged_otherwise(kind, own(), OWN_PAIRS, outcome, "incorrect") == []


@pytest.fixture(scope="module")
def real_references():
    shared("train/deepmath.jsonl")
    return real(ROOT)


def test_of_real_references_respelt_at_least_99_in_100_are_right(outcome, real_references):
    wrong = [judged_otherwise(kind, real_references, REAL_PAIRS, outcome, "correct") for kind in RESPELLINGS]
    pairs = sum(len(kind.pairs(real_references, REAL_PAIRS)) for kind in RESPELLINGS)
    assert sum(map(len, wrong)) <= pairs / 100, [found for found in wrong if found]


def test_of_real_references_mutated_none_is_right(outcome, real_references):
    for kind in MUTATIONS:
        assert judged_otherwise(kind, real_references, REAL_PAIRS, outcome, "incorrect") == []


def test_the_tables_hold_what_they_promise():
    for table, least in ((RESPELLINGS, 30), (MUTATIONS, 12)):
        assert len({kind.name for kind in table}) == len(table) >= least
        for kind in table:
            pairs = kind.pairs(own(), OWN_PAIRS)
            assert pairs, f"none of our own references shows: {kind.name}"
            assert pairs == kind.pairs(own(), OWN_PAIRS)
