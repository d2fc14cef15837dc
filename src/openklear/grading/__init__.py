"""Stored generations of any project, graded: as a Python interface, over files, and over HTTP.

from openklear.grading import Grader, Limits, grade_rows

with Grader() as grader:
    grader.math("1/2", r"Half of one is \\boxed{0.5}").correct
    grader.code("print(int(input()) * 2)", [{"stdin": "4\\n", "stdout": "8\\n"}]).passed

for row in grade_rows(rows, "math", Limits(workers=4)):
    row["verdict"], row["reason"], row["seconds"]
"""

from openklear.grading.grader import Grader, grade_rows
from openklear.verifiers.limits import Limits

__all__ = ["Grader", "Limits", "grade_rows"]
