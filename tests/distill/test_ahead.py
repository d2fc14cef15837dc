import json
import time

from openklear.distill import ahead as module
from openklear.distill.ahead import Ahead, attempt_of
from openklear.distill.ledger import Wanted, row_of
from openklear.rollout.answers import Answer
from openklear.types import Problem, StopReason
from openklear.verifiers.judge import Judge, Limits

PROBLEM = Problem("a", ({"role": "user", "content": "What is 2 + 3?"},), "math", answer="5")


def attempt(content, finish_reason="stop"):
    answer = Answer(content, None, finish_reason, "m", 1, 1)
    row = row_of(Wanted(PROBLEM, 3), answer, seed=1, tries=1, seconds=0.0)
    return attempt_of(PROBLEM, row)


def test_a_response_is_judged_while_others_are_sampled(tmp_path):
    """Its verdict is in the journal before the end; the end waits for what has begun, and finds the share."""
    journal = tmp_path / "verdicts.jsonl"
    with Judge(Limits(workers=1), journal=journal) as judge:
        ahead = Ahead(judge)
        ahead.add(attempt("The answer is 5."))
        deadline = time.monotonic() + 30
        while not ahead.judged:
            assert time.monotonic() < deadline
            time.sleep(0.005)
            ahead.add(attempt("The answer is 5."))
        (line,) = journal.read_text().splitlines()
        ahead.collect()
        assert ahead.figures() == {"correct": "100.0%"}
        for n in range(ahead.judged):
            ahead.add(attempt(f"The answer is {10 + n}."))
        ahead.collect()
        assert ahead.figures() == {"correct": "50.0%"}
    found = json.loads(line)
    assert (found["outcome"], found["passed"], found["total"]) == ("correct", 1, 1)


def test_what_does_not_fit_in_memory_waits_on_the_disk(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "MOST_WAITING", 0)
    with Judge(Limits(workers=1), journal=tmp_path / "verdicts.jsonl") as judge:
        ahead = Ahead(judge)
        ahead.add(attempt("The answer is 5."))
        ahead.collect()
    assert (ahead.judged, ahead.figures()) == (0, {})


def test_a_response_that_was_cut_off_is_judged_as_one():
    assert attempt("x", "length").stop_reason is StopReason.LENGTH
    assert attempt("x", None).stop_reason is StopReason.STOP
