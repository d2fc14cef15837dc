import itertools
import json
import threading
import time
from concurrent.futures import CancelledError, ThreadPoolExecutor
from dataclasses import replace

import pytest

from openklear.errors import DataError, VerifierError
from openklear.think import FormatFault
from openklear.types import Attempt, Outcome, Problem, StopReason, Test, Verdict
from openklear.verifiers.code import CodeGrader
from openklear.verifiers.judge import AttemptBatch, Judge, Limits

LIMITS = Limits(workers=2, math_seconds=2.0, code_seconds=0.5)
MATH = Problem("m", ({"role": "user", "content": "half of one"},), "math", answer=r"\frac{1}{2}")
CODE = Problem(
    "c", ({"role": "user", "content": "double"},), "code", tests=tuple(Test(f"{n}\n", f"{2 * n}\n") for n in range(4))
)
DOUBLE = "<think>easy</think>\n```python\nprint(int(input()) * 2)\n```"


@pytest.fixture(scope="module")
def judge(tmp_path_factory):
    with Judge(LIMITS, journal=tmp_path_factory.mktemp("judge") / "verdicts.jsonl") as made:
        yield made


def summary(verdict):
    return verdict.outcome.value, verdict.reason, verdict.extracted, verdict.passed, verdict.total, verdict.well_formed


@pytest.mark.parametrize(
    ("text", "tail", "expected"),
    [
        (r"<think>x</think>\boxed{0.5}", "", ("correct", "", "0.5", 1, 1, True)),
        (r"x</think>The answer is 1/2.", "<think>\n", ("correct", "", "1/2", 1, 1, True)),
        (r"\boxed{\frac12}", "", ("correct", "", r"\frac12", 1, 1, False)),
        (r"<think>\boxed{0.5}</think>\boxed{7}", "", ("incorrect", "wrong answer", "7", 0, 1, True)),
        (r"<think>\boxed{0.5}", "", ("incorrect", "no answer after the reasoning", None, 0, 1, False)),
        (r"<think>\boxed{0.5}</think>", "", ("incorrect", "no answer after the reasoning", None, 0, 1, False)),
        (r"<think>\boxed{0.5}</think> I do not really know it", "", ("incorrect", "no answer found", None, 0, 1, True)),
    ],
)
def test_mathematics(judge, text, tail, expected):
    assert summary(judge.judge([Attempt(MATH, text, tail)])[0]) == expected


def test_programs(judge):
    half_right = DOUBLE.replace("int(input()) * 2", "int(input()) // 2 * 4")
    verdicts = judge.judge([Attempt(CODE, DOUBLE), Attempt(CODE, half_right), Attempt(CODE, "<think>print(1)")])
    assert summary(verdicts[0]) == ("correct", "", "print(int(input()) * 2)", 4, 4, True)
    assert summary(verdicts[1])[1:5] == ("test 2 of 4: wrong output", "print(int(input()) // 2 * 4)", 2, 4)
    assert summary(verdicts[2]) == ("incorrect", "no answer after the reasoning", None, 0, 4, False)


def test_our_failures_are_unscorable(judge):
    bare = Problem("b", MATH.prompt, "math")
    empty = Problem("e", CODE.prompt, "code")
    verdicts = judge.judge(
        [Attempt(MATH, r"\boxed{0.5}", stop_reason=StopReason.ERROR), Attempt(bare, "5"), Attempt(empty, DOUBLE)]
    )
    assert [(v.outcome, v.reason) for v in verdicts] == [
        (Outcome.UNSCORABLE, "engine error"),
        (Outcome.UNSCORABLE, "no reference"),
        (Outcome.UNSCORABLE, "no reference"),
    ]


def test_what_was_cut_off_is_graded_as_it_is(judge):
    attempt = Attempt(MATH, r"<think>x</think>\boxed{0.5} and", stop_reason=StopReason.LENGTH)
    assert judge.judge([attempt])[0].correct


def test_the_fault_of_the_form_is_told(judge):
    texts = {
        r"<think>x</think>\boxed{0.5}": FormatFault.NONE,
        r"\boxed{0.5}": FormatFault.NOT_OPENED,
        r"<think>\boxed{0.5}": FormatFault.NOT_CLOSED,
        r"So: <think>x</think>\boxed{0.5}": FormatFault.TEXT_BEFORE,
    }
    assert [v.format_fault for v in judge.judge([Attempt(MATH, text) for text in texts])] == list(texts.values())


def test_order_progress_and_one_run_for_equal_work(judge, monkeypatch):
    graded = []
    grade = CodeGrader.grade

    def counting(grader, program, *more):
        graded.append(program)
        return grade(grader, program, *more)

    monkeypatch.setattr(CodeGrader, "grade", counting)
    texts = [DOUBLE.replace("* 2", f"* 2 + {n}") for n in range(4)]
    attempts = [Attempt(CODE, texts[n % 4]) for n in range(12)]
    attempts[5] = Attempt(CODE, "not <think>well formed</think>" + texts[1].split("</think>")[1])
    progress = []
    verdicts = judge.judge(attempts, progress.append)
    assert [v.passed for v in verdicts] == [4, 0, 0, 0] * 3
    assert [v.well_formed for v in verdicts] == [n != 5 for n in range(12)]
    assert len(graded) == 4
    assert sum(progress) == 12
    assert sorted(progress)[-4:] == [3, 3, 3, 3]
    judge.judge(attempts)
    assert len(graded) == 4  # the second call knows them all


def test_a_journal_replays_after_a_kill(tmp_path, monkeypatch):
    path = tmp_path / "verdicts.jsonl"
    attempts = [Attempt(CODE, DOUBLE), Attempt(MATH, r"\boxed{0.5}"), Attempt(MATH, r"\boxed{3}")]
    with Judge(LIMITS, journal=path) as judge:
        first = judge.judge(attempts)
    lines = path.read_bytes().splitlines(keepends=True)
    assert len(lines) == 3
    assert b"seconds" not in b"".join(lines)
    path.write_bytes(b"".join(lines) + lines[0][:20])  # torn by the kill
    with Judge(LIMITS, journal=path) as judge:
        monkeypatch.setattr(judge, "start", None)  # nothing may be graded again
        assert [summary(v) for v in judge.judge(attempts)] == [summary(v) for v in first]
    with Judge(LIMITS, journal=path) as judge:
        judge.judge([Attempt(MATH, r"\boxed{4}")])
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert len(rows) == 4  # the torn line is gone, the new one stands on its own


def test_journals_of_others_are_believed_and_left_alone(tmp_path, monkeypatch):
    theirs, mine = tmp_path / "theirs.jsonl", tmp_path / "mine.jsonl"
    attempts = [Attempt(CODE, DOUBLE), Attempt(MATH, r"\boxed{3}")]
    with Judge(LIMITS, journal=theirs) as judge:
        first = judge.judge(attempts)
    written = theirs.read_bytes() + b'{"key": "no verdict"}\n{"key": "torn'
    theirs.write_bytes(written)
    with Judge(LIMITS, journal=mine, others=[theirs, tmp_path / "nothing.jsonl"]) as judge:
        with monkeypatch.context() as patched:
            patched.setattr(judge, "start", None)  # nothing may be graded again
            assert [summary(v) for v in judge.judge(attempts)] == [summary(v) for v in first]
        assert judge.judge([Attempt(MATH, r"\boxed{0.5}")])[0].correct
    assert theirs.read_bytes() == written
    assert len(mine.read_text().splitlines()) == 1
    with Judge(Limits(1, 2.0, 0.6), others=[theirs]) as judge:  # other limits are other work
        graded = []
        start = judge.start
        monkeypatch.setattr(judge, "start", lambda *work: graded.append(work) or start(*work))
        judge.judge(attempts)
        assert len(graded) == 1  # the program; nothing of the answer depends on its seconds


def test_other_limits_are_other_verdicts(tmp_path):
    path = tmp_path / "verdicts.jsonl"
    for seconds in (0.5, 0.6):
        with Judge(Limits(1, 2.0, seconds), journal=path) as judge:
            judge.judge([Attempt(CODE, DOUBLE)])
    assert len(path.read_text().splitlines()) == 2


def test_a_broken_journal_is_named(tmp_path):
    path = tmp_path / "verdicts.jsonl"
    path.write_text('{"key": "a"}\n{"key": "b"}\n')
    with pytest.raises(DataError, match=r"verdicts.jsonl:1"):
        Judge(LIMITS, journal=path)


def test_unscorable_verdicts_are_tried_again(tmp_path, monkeypatch):
    path = tmp_path / "verdicts.jsonl"
    with Judge(LIMITS, journal=path) as judge:
        lost = Verdict(Outcome.UNSCORABLE, "workers are lost", total=4)
        with monkeypatch.context() as patch:
            patch.setattr(CodeGrader, "grade", lambda *asked: lost)
            assert judge.judge([Attempt(CODE, DOUBLE)])[0].outcome is Outcome.UNSCORABLE
        assert judge.judge([Attempt(CODE, DOUBLE)])[0].correct


def test_isolation_speaks_plainly(judge):
    isolation = judge.isolation()
    assert isolation.level in ("bubblewrap", "rlimits")
    assert isolation.description.startswith(isolation.level)


def test_a_batch_grades_while_more_is_added(judge, monkeypatch):
    """The first verdict is there before the last attempt is added; equal work, added later, is done once."""
    slow = Attempt(CODE, DOUBLE.replace("print(", "print(sum(range(9)) * 0 + "))
    started, start = [], judge.start
    monkeypatch.setattr(judge, "start", lambda work, early: (started.append(work), start(work, early))[1])
    with judge.begin() as batch:
        batch.add(slow)
        deadline = time.monotonic() + 60.0
        while not batch.done:
            assert time.monotonic() < deadline
            time.sleep(0.005)
        batch.add(slow)
        batch.add(Attempt(MATH, r"\boxed{707}"))
        assert len(started) == 2
        progress = []
        verdicts = batch.finish(progress.append)
    assert [v.outcome.value for v in verdicts] == ["correct", "correct", "incorrect"]
    assert sum(progress) == 3


def test_a_failure_of_grading_stops_who_adds(judge, monkeypatch):
    def failing(*asked):
        raise VerifierError("no boxes here")

    monkeypatch.setattr(CodeGrader, "grade", failing)
    with judge.begin() as batch:

        def add_for_ever():
            for n in itertools.count(17):
                batch.add(Attempt(CODE, DOUBLE.replace("* 2", f"* {n}")))

        with pytest.raises(VerifierError, match="no boxes here"):
            add_for_ever()
    with pytest.raises(VerifierError, match="no boxes here"):
        judge.judge([Attempt(CODE, DOUBLE.replace("* 2", "* 5"))])


def test_an_abandoned_batch_grades_no_further(monkeypatch):
    graded, grade, gate = [], CodeGrader.grade, threading.Event()

    def counting(grader, program, *more):
        graded.append(program)
        gate.wait(60.0)
        return grade(grader, program, *more)

    monkeypatch.setattr(CodeGrader, "grade", counting)
    with Judge(Limits(1, 2.0, 0.5)) as judge:

        def interrupted():
            with judge.begin() as batch:
                for n in range(20):
                    batch.add(Attempt(CODE, DOUBLE.replace("* 2", f"* {n}")))
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            interrupted()
        gate.set()
        assert judge.judge([Attempt(CODE, DOUBLE)])[0].correct  # its one thread is free again
    assert len(graded) <= 2


def test_any_thread_may_ask(judge):
    """Eight callers at once, over work that they share and work of their own: each gets its own verdicts in order."""

    def ask(caller):
        texts = [DOUBLE, DOUBLE.replace("* 2", f"* 2 + {caller % 2}"), DOUBLE.replace("* 2", f"* {caller + 3}")]
        attempts = [Attempt(CODE, text) for text in texts] + [Attempt(MATH, rf"\boxed{{\frac{{{caller}}}{{4}}}}")]
        return [v.correct for v in judge.judge(attempts)]

    with ThreadPoolExecutor(8) as callers:
        answers = list(callers.map(ask, range(8)))
    assert answers == [[True, caller % 2 == 0, False, caller == 2] for caller in range(8)]


def test_stopping_early_is_another_verdict(tmp_path):
    """No test runs after the first that fails; and what was stopped early is never believed by who needs every test."""
    path = tmp_path / "verdicts.jsonl"
    wrong_for_one = Attempt(CODE, DOUBLE.replace("int(input()) * 2", "(n := int(input())) * 2 + (n == 1)"))
    for _ in range(2):
        with Judge(LIMITS, journal=path) as judge:
            early = judge.judge([wrong_for_one, Attempt(CODE, DOUBLE)], stop_early=True)
            whole = judge.judge([wrong_for_one, Attempt(CODE, DOUBLE)])
        assert [(v.outcome.value, v.passed, v.total) for v in early] == [("incorrect", 1, 4), ("correct", 4, 4)]
        assert [(v.outcome.value, v.passed, v.total) for v in whole] == [("incorrect", 3, 4), ("correct", 4, 4)]
        assert early[0].reason == whole[0].reason == "test 2 of 4: wrong output"
    assert len(path.read_text().splitlines()) == 4


def test_many_valid_answers_need_a_checker(judge):
    statement = (
        "Print any permutation of 1..n that has no fixed point. If there are multiple answers, print any of them."
    )
    tests = (Test("2\n", "2 1\n"),)
    open_ended = Problem("o", ({"role": "user", "content": statement},), "code", tests=tests)
    attempt = "<think>x</think>\n```python\nprint('2 1')\n```"
    refused = judge.judge([Attempt(open_ended, attempt)])[0]
    assert (refused.outcome, refused.reason) == (Outcome.UNSCORABLE, "many valid answers and no checker")
    checked = replace(open_ended, checker="unordered")
    assert judge.judge([Attempt(checked, attempt)])[0].outcome is not Outcome.UNSCORABLE


def test_the_journal_does_not_depend_on_who_was_first(tmp_path):
    """One add a batch, in the order of the keys: equal batches leave equal bytes, in whatever order they were graded."""
    attempts = [Attempt(MATH, rf"\boxed{{{n}}}") for n in range(12)] + [Attempt(CODE, DOUBLE)]
    for name, order in (("a", attempts), ("b", attempts[::-1])):
        with Judge(LIMITS, journal=tmp_path / name) as judge:
            judge.judge(order)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_who_waits_is_told_when_the_judge_closes(monkeypatch):
    """Ctrl-C while attempts wait in the queue: the thread that asked must not wait for ever."""
    judge = Judge(Limits(1, 2.0, 5.0))
    added, add = [], AttemptBatch.add
    monkeypatch.setattr(AttemptBatch, "add", lambda batch, attempt: (add(batch, attempt), added.append(attempt)))
    slow = [Attempt(CODE, f"<think>x</think>\n```python\nwhile True: pass  # {n}\n```") for n in range(5)]
    with ThreadPoolExecutor(1) as asking:
        asked = asking.submit(judge.judge, slow)
        while len(added) < 5:  # one is run, four wait
            time.sleep(0.005)
        judge.close()
        with pytest.raises((CancelledError, VerifierError)):
            asked.result(timeout=30)
