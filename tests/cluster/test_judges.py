"""Verifiers as Ray actors: the verdicts of this machine's, whichever of them dies."""

import os
import signal
import threading
from pathlib import Path
from random import Random

import pytest

from openklear.demo import programs
from openklear.types import Attempt, Outcome, Problem, Test
from openklear.verifiers.judge import Judge, Limits

ray = pytest.importorskip("ray", reason="the extra `cluster` is not installed")
pytestmark = pytest.mark.cluster
LIMITS = Limits(workers=1, minimum_isolation="rlimits")
JUDGES = 2
ASKED = ({"role": "user", "content": "asked"},)


@pytest.fixture(scope="module")
def pool():
    from openklear.cluster.judges import JudgePool

    ray.init(num_cpus=4, include_dashboard=False, log_to_driver=False)
    group = ray.util.placement_group([{"CPU": 1}] * JUDGES)
    ray.get(group.ready())
    made = JudgePool(group, LIMITS, patience=3.0)
    yield made
    made.close()
    ray.shutdown()


def attempts(count: int) -> list[Attempt]:
    """Sums, right and wrong, and programs, right, wrong and without end."""
    rng, made = Random(3), []
    for number in range(count):
        sums = Problem(f"m{number}", ASKED, "math", answer=str(number))
        made.append(Attempt(sums, f"<think>so</think>\\boxed{{{number + number % 2}}}"))
        task = programs.draw_task(rng, 1 + number % 4)
        tests = tuple(Test(test["input"], test["output"]) for test in programs.tests(rng, task))
        code = Problem(f"c{number}", ASKED, "code", tests=tests)
        program = [task.program(), "print(7)", "while True:\n    pass"][0 if number % 3 else number % 2 + 1]
        made.append(Attempt(code, f"<think>so</think>```python\n{program}\n```"))
    return made


def judged(judge, some):
    return [(v.outcome, v.reason, v.passed, v.total) for v in judge.judge(some, stop_early=True)]


@pytest.fixture(scope="module")
def expected():
    with Judge(LIMITS) as judge:
        return judged(judge, attempts(12))


def test_verdicts_are_those_of_this_machine(pool, expected):
    with Judge(pool.driver_limits, verifiers=pool.verifiers()) as judge:
        assert judged(judge, attempts(12)) == expected
        assert judge.isolation().level in ("rlimits", "bubblewrap")
    outcomes = {outcome for outcome, *_ in expected}
    assert outcomes == {Outcome.CORRECT, Outcome.INCORRECT}


@pytest.mark.parametrize("blow", [signal.SIGKILL, signal.SIGSTOP], ids=["dies", "hangs"])
def test_a_judge_that_dies_or_hangs_is_replaced_and_the_verdicts_are_the_same(pool, expected, blow, capsys):
    before = pool.pids()
    threading.Timer(1.0, os.kill, (before[0], blow)).start()
    with Judge(pool.driver_limits, verifiers=pool.verifiers()) as judge:
        for _ in range(3):
            assert judged(judge, attempts(12)) == expected
    what = "died" if blow is signal.SIGKILL else "has not answered for 3 s"
    assert f"judge 0 {what}; another one takes its place" in capsys.readouterr().err
    assert pool.pids()[0] != before[0]
    assert not Path(f"/proc/{before[0]}").exists()
