"""Evaluations with a real model, sampler and judge: kept at every completion, and the same however often they end."""

import json
import time
from collections import Counter
from contextlib import closing
from dataclasses import replace

import pytest

from openklear.durable.files import read_jsonl
from openklear.errors import DataError
from openklear.evaluation.completions import Drawing, key_of
from openklear.evaluation.queries import Query, encoded, numbered
from openklear.evaluation.runner import Interview
from openklear.evaluation.sources import TokenSource
from openklear.evaluation.stored import open_stored, unpacked
from openklear.models.chat import decode_completion
from openklear.models.tiny import make_tiny
from openklear.recipe.engine import LocalEngine
from openklear.rollout.open import open_sampler
from openklear.types import Outcome, Problem, StopReason, Verdict
from openklear.verifiers.judge import Judge
from openklear.verifiers.limits import Limits

LIMITS = Limits(workers=1)
LONG, WARM = 12, Drawing(3, 1.0, 1.0)
FILES = ("completions.jsonl", "samples.jsonl", "prompts.jsonl")


class Stopped(Exception):
    """What a kill does to a call."""


@pytest.fixture(scope="module")
def loaded():
    return make_tiny(16, 1, 2, 128, 0)


def questions(loaded, count=5, samples=3, limit=LONG):
    problems = [
        Problem(f"p{n}", ({"role": "user", "content": f"What is {n} + {n}?"},), "math", answer=f"{2 * n}")
        for n in range(count)
    ]
    asked = [Query("sums", one, samples, limit, one.prompt) for one in problems]
    return numbered([encoded(one, loaded) for one in asked])


class Counted:
    """A source that says what it was asked for, and may end in the middle."""

    def __init__(self, loaded, sampler, until=None):
        self.inner, self.until, self.asked, self.ended = TokenSource(loaded, sampler, 4), until, Counter(), 0

    slots = 4

    def complete(self, wanted, drawing, ended, told):
        def counted(one, drawn):
            if self.ended == self.until:
                raise Stopped
            self.asked[one.query.problem.id, one.sample] += 1
            self.ended += 1
            ended(one, drawn)

        self.inner.complete(wanted, drawing, counted, told)


def evaluate(directory, loaded, asked, *, until=None, drawing=WARM, identity="m"):
    """(samples or None where it was ended, the source)."""
    directory.mkdir(exist_ok=True)
    with (
        Judge(LIMITS, journal=directory / "verdicts.jsonl") as judge,
        closing(open_sampler(LocalEngine(slots=4), loaded)) as sampler,
    ):
        source = Counted(loaded, sampler, until)
        work = Interview(directory, asked, drawing, identity, judge)
        try:
            return work.run(source), source
        except Stopped:
            return None, source


def test_samples_are_what_the_model_wrote_and_the_judge_said(tmp_path, loaded):
    found, source = evaluate(tmp_path / "e", loaded, questions(loaded))
    assert [(one.problem, one.sample) for one in found] == [(f"p{n}", k) for n in range(5) for k in range(3)]
    assert set(source.asked.values()) == {1}
    (tmp_path / "e" / "evaluation.json").write_text("{}")
    there = open_stored(tmp_path / "e")
    assert there.samples == found
    for one in found:
        row = there.completion(one)
        ids = unpacked(row["ids"])
        assert len(ids) == one.tokens <= LONG
        assert decode_completion(loaded.tokenizer, ids, loaded.end_ids) == row["text"]
        assert one.truncated == (not loaded.end_ids.intersection(ids.tolist()))
    asked = there.asked["sums", "p3"]
    assert (asked.reference, asked.prompt[-1]["content"]) == ("6", "What is 3 + 3?")


@pytest.mark.parametrize("until", [0, 1, 4, 7, 14])
def test_what_ended_is_never_sampled_again_and_the_files_are_the_same(tmp_path, loaded, until):
    asked = questions(loaded)
    evaluate(tmp_path / "whole", loaded, asked)
    none, first = evaluate(tmp_path / "parts", loaded, asked, until=until)
    assert none is None
    assert len(read_jsonl(tmp_path / "parts" / "completions.jsonl")) == until
    _, second = evaluate(tmp_path / "parts", loaded, asked)
    assert not first.asked.keys() & second.asked.keys()
    assert len(first.asked) + len(second.asked) == 15
    for name in FILES:
        assert (tmp_path / "parts" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name


def test_more_samples_ask_only_for_those_that_are_missing(tmp_path, loaded):
    few, _ = evaluate(tmp_path / "e", loaded, questions(loaded, samples=2))
    more, source = evaluate(tmp_path / "e", loaded, questions(loaded, samples=5))
    assert {sample for _, sample in source.asked} == {2, 3, 4}
    texts = {(one.problem, one.sample): one.tokens for one in more}
    assert all(texts[one.problem, one.sample] == one.tokens for one in few)
    again, source = evaluate(tmp_path / "e", loaded, questions(loaded, samples=5))
    assert (again, source.ended) == (more, 0)


@pytest.mark.parametrize("change", ["seed", "temperature", "model", "budget"])
def test_what_was_drawn_in_another_way_is_not_taken(tmp_path, loaded, change):
    evaluate(tmp_path / "e", loaded, questions(loaded, count=2))
    drawing = {"seed": Drawing(4, 1.0, 1.0), "temperature": Drawing(3, 0.7, 1.0)}.get(change, WARM)
    asked = questions(loaded, count=2, limit=LONG + (change == "budget"))
    _, source = evaluate(tmp_path / "e", loaded, asked, drawing=drawing, identity="n" if change == "model" else "m")
    assert source.ended == 6


def test_greedy_completions_do_not_depend_on_the_seed(loaded):
    (one,) = questions(loaded, count=1)
    assert key_of("m", Drawing(1, 0.0, 1.0), one, 0) == key_of("m", Drawing(2, 0.0, 1.0), one, 0)
    assert key_of("m", Drawing(1, 0.5, 1.0), one, 0) != key_of("m", Drawing(2, 0.5, 1.0), one, 0)


def test_what_cannot_be_asked_counts_as_wrong(tmp_path, loaded):
    long = Problem("long", ({"role": "user", "content": "9" * 200},), "math", answer="1")
    asked = [*questions(loaded, count=1), encoded(Query("sums", long, 3, LONG, long.prompt), loaded)]
    found, source = evaluate(tmp_path / "e", loaded, asked)
    assert source.ended == 3
    refused = [one for one in found if one.problem == "long"]
    assert [(one.correct, one.stop_reason, one.tokens) for one in refused] == [(False, StopReason.ERROR, None)] * 3
    assert refused[0].reason.startswith("not asked: prompt of ")
    assert not any(one.unanswered for one in refused)


def test_benchmarks_that_are_not_asked_now_stay(tmp_path, loaded):
    first = questions(loaded, count=2)
    before, _ = evaluate(tmp_path / "e", loaded, first)
    other = [
        encoded(Query("more", one.problem, 1, LONG, one.messages), loaded) for one in questions(loaded, count=4)[2:]
    ]
    with (
        Judge(LIMITS) as judge,
        closing(open_sampler(LocalEngine(slots=4), loaded)) as sampler,
    ):
        known = [one.asked() for one in first]
        work = Interview(tmp_path / "e", other, WARM, "m", judge, kept=before, known=known)
        found = work.run(TokenSource(loaded, sampler, 4))
    assert [one.benchmark for one in found] == ["sums"] * 6 + ["more"] * 2
    (tmp_path / "e" / "evaluation.json").write_text("{}")
    there = open_stored(tmp_path / "e")
    assert there.samples == found
    assert len({there.text(one) for one in found}) > 1
    assert set(there.asked) == {("sums", "p0"), ("sums", "p1"), ("more", "p2"), ("more", "p3")}
    for one in before:
        (now,) = [x for x in found if (x.place, x.sample) == (one.place, one.sample)]
        assert len(unpacked(there.completion(now)["ids"])) == one.tokens


def test_benchmarks_share_the_completions_of_a_problem_that_both_have(tmp_path, loaded):
    first = questions(loaded, count=3)
    shared = [replace(one, benchmark="again") for one in first[1:]]
    found, source = evaluate(tmp_path / "e", loaded, [*first, *shared])
    assert source.ended == 9
    by_place = {(one.benchmark, one.problem, one.sample): (one.outcome, one.tokens, one.start) for one in found}
    assert len(by_place) == 15
    for one in shared:
        for sample in range(3):
            assert by_place["again", one.problem.id, sample] == by_place["sums", one.problem.id, sample]


def test_a_prompt_that_stands_twice_in_a_benchmark_is_drawn_for_twice(tmp_path, loaded):
    (one,) = questions(loaded, count=1)
    twice = numbered([one, replace(one, problem=replace(one.problem, id="twin"))])
    _, source = evaluate(tmp_path / "e", loaded, twice)
    assert source.ended == 6


class Slow:
    """A grader of one's own whose last verdict comes long after the last completion."""

    def grade(self, problem, graded, *, stop_early):
        time.sleep(0.02)
        return Verdict(Outcome.CORRECT)

    def close(self):
        pass


@pytest.mark.parametrize("times", range(5))
def test_no_verdict_is_lost_however_late_it_comes(tmp_path, loaded, monkeypatch, times):
    monkeypatch.setattr("openklear.evaluation.pending.LOOK_SECONDS", 0.0)
    asked = questions(loaded, count=4)
    with Judge(LIMITS) as judge, closing(open_sampler(LocalEngine(slots=4), loaded)) as sampler:
        judge.verifiers["math"] = Slow()
        found = Interview(tmp_path, asked, WARM, "m", judge).run(TokenSource(loaded, sampler, 4))
    assert len(found) == 12


def test_a_text_that_is_not_the_samples_own_is_not_shown(tmp_path, loaded):
    found, _ = evaluate(tmp_path / "e", loaded, questions(loaded, count=2))
    (tmp_path / "e" / "evaluation.json").write_text("{}")
    there = open_stored(tmp_path / "e")
    other = replace(found[0], start=found[1].start, length=found[1].length)
    with pytest.raises(DataError, match="another completion stands there"):
        there.text(other)


def test_files_of_an_earlier_end_do_not_stand_beside_what_is_under_way(tmp_path, loaded):
    directory = tmp_path / "e"
    evaluate(directory, loaded, questions(loaded, samples=1))
    for name in ("problems.jsonl", "scores.json"):
        (directory / name).write_text("")
    evaluate(directory, loaded, questions(loaded, samples=3), until=2)
    assert not (directory / "problems.jsonl").exists()
    assert not (directory / "scores.json").exists()


def test_verdicts_stand_in_samples_while_others_are_sampled(tmp_path, loaded, monkeypatch):
    monkeypatch.setattr("openklear.evaluation.pending.LOOK_SECONDS", 0.0)
    evaluate(tmp_path / "e", loaded, questions(loaded), until=14)
    rows = [json.loads(line) for line in (tmp_path / "e" / "samples.jsonl").read_text().splitlines()]
    assert 10 <= len(rows) <= 14
    assert {row["benchmark"] for row in rows} == {"sums"}
