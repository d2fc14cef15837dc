import time

from openklear.distill.answers import Answer
from openklear.distill.grade import Graders
from openklear.distill.ledger import Task, row_of
from openklear.grading.grader import Settings as Grading
from openklear.types import Problem


def test_a_response_is_graded_while_others_are_sampled(tmp_path):
    problem = Problem("a", ({"role": "user", "content": "What is 2 + 3?"},), "math", answer="5")
    task, answer = Task(problem, 3), Answer("The answer is 5.", None, "stop", "m", 1, 1)
    row = row_of(task, answer, seed=1, tries=1, seconds=0.0, response=answer.response)
    with Graders(tmp_path / "verdicts.jsonl", Grading(workers=1), [problem]) as graders:
        graders.add(task, row)
        deadline = time.monotonic() + 30
        while graders.verdict(task.key) is None:
            assert time.monotonic() < deadline
            time.sleep(0.005)
        verdict = graders.verdict(task.key)
    assert (verdict["outcome"], verdict["passed"], verdict["total"], verdict["sample"]) == ("correct", 1, 1, 3)
    assert (tmp_path / "verdicts.jsonl").read_text().count("\n") == 1
