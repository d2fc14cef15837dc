"""Graders as a user writes them, for the tests of the commands; tests copy this file where PYTHONPATH finds it."""

import os


def in_metres(problem, completion):
    """Right where the text ends with the answer and its unit."""
    with open(os.environ["ASKED"], "a") as asked:
        asked.write(f"{problem['id']}\n")
    right = completion.rstrip().endswith(f"{problem['answer']}m")
    return {"outcome": "correct" if right else "incorrect", "reason": "" if right else "no metres"}


def raising(problem, completion):
    raise KeyError("no such unit")


def nonsense(problem, completion):
    return "maybe"


def many_lines(problem, completion):
    """Programs by their length, whatever their tests say."""
    lines = len(completion.splitlines())
    return {"outcome": "correct" if lines > 1 else "incorrect", "passed": min(lines, 2), "total": 2}


def picky(problem, completion):
    if "<think>" not in completion:
        raise KeyError("no such unit")
    return True
