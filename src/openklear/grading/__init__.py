"""Stored generations of any project, graded: as a Python interface, over files, and over HTTP.

from openklear.grading import Grader, Limits, explain, grade_rows

with Grader() as grader:
    grader.math("1/2", r"Half of one is \\boxed{0.5}").correct
    grader.code("print(int(input()) * 2)", [{"stdin": "4\\n", "stdout": "8\\n"}]).passed

for row in grade_rows(rows, "math", Limits(workers=4)):
    row["verdict"], row["reason"], row["seconds"]

explain("1/2", r"Half of one is \\boxed{0.5}").lines()  # what was extracted, which rule decided, and why
"""

from openklear.grading.explain import Explanation, explain
from openklear.grading.grader import Grader, grade_rows
from openklear.verifiers.limits import Limits

__all__ = ["Explanation", "Grader", "Limits", "explain", "grade_rows"]
