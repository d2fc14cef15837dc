"""`openklear grade explain`: what was extracted and from where, which rule decided, and the verdict."""

import json
import subprocess
import sys

import pytest

from openklear.cli.main import main
from openklear.grading import Grader, Limits, explain
from openklear.types import Outcome


def told(capsys, *words):
    code = main(["grade", "explain", *words])
    printed = capsys.readouterr()
    return code, printed.out.splitlines(), printed.err


def test_the_command_as_a_person_runs_it():
    command = [sys.executable, "-m", "openklear", "grade", "explain", "--reference", "1/2", "--completion"]
    done = subprocess.run([*command, r"<think>a</think>\boxed{0.50}"], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [
        "reference  1/2",
        "extracted  0.50",
        "           from the last box",
        "compared   1/2  with  0.50",
        "           two numbers, as exact fractions: equal",
        "verdict    correct",
    ]
    assert not done.stderr


@pytest.mark.parametrize(
    ("reference", "completion", "line"),
    [
        ("3", r"\boxed{3}", "           two numbers, as exact fractions: equal"),
        ("x+1", r"\boxed{x + 1}", "           equal spelling: equal"),
        (
            "B",
            r"\boxed{(C)}",
            "           An option is the same whatever marks it: E, (E), E - with its text; ABD is A, B, D: not equal",
        ),
        ("-2<x<1", r"\boxed{1>x>-2}", "compared   -2 < x < 1  with  -2 < x < 1"),
        ("5", r"\boxed{5 or 6}", "           several members beside one: not equal"),
        ("(1,2)", r"\boxed{(2,1)}", "           lists, member by member: not equal"),
        (r"\ln x^2", r"\boxed{2\ln x}", "           equal values, to 300 digits, wherever both are real: equal"),
        ("2^x", r"\boxed{\otimes}", "           math-verify reads nothing in the answer: not equal"),
        ("5", r"\boxed{" + "x" * 5000 + "}", "longer than 4096 characters: cannot tell"),
        ("5", "So we get 5.", "           from what the text states"),
        ("5", "<answer>5</answer>", "           from the last answer tags, a text that is the reference"),
        ("B", "I choose B", "           from the option that the text states"),
        ("5", "It is \\boxed{5", "           from a box that is never closed"),
        ("5", "", "verdict    incorrect: no answer after the reasoning"),
        ("5", "<think>5", "form       no </think> (no part of this verdict)"),
    ],
)
def test_lines(reference, completion, line):
    found = explain(reference, completion)
    assert any(line in one for one in found.lines()), found.lines()
    with Grader(Limits(workers=1)) as grader:
        verdict = grader.math(reference, completion)
    assert (verdict.outcome, verdict.reason) == (found.verdict.outcome, found.verdict.reason)


def test_members_stand_below_their_list_and_a_long_comparison_is_cut_short():
    lines = explain("(1, x)", r"\boxed{(1, y)}").lines()
    assert lines[3:6] == [
        "form       no <think> (no part of this verdict)",
        "compared   (1, x)  with  (1, y)",
        "           lists, member by member: not equal",
    ]
    assert "             1  with  1" in lines
    many = ", ".join(f"x+{number}" for number in range(30))
    lines = explain(many, rf"\boxed{{{many}, y}}").lines()
    assert len(lines) < 100
    assert any("more comparisons" in line for line in lines)


def test_a_verdict_is_no_error_and_json_is_one_document(capsys):
    code, lines, _ = told(capsys, "-r", "5", "-c", r"\boxed{6}")
    assert (code, lines[-1]) == (0, "verdict    incorrect: wrong answer")
    code, lines, _ = told(capsys, "-r", "5", "-c", r"\boxed{6}", "--json")
    document = json.loads("\n".join(lines))
    assert (code, document["verdict"], document["extracted"], document["from"]) == (0, "incorrect", "6", "the last box")
    assert document["steps"] == [
        {"depth": 0, "left": "5", "right": "6", "rule": "two numbers, as exact fractions", "said": False}
    ]


def test_a_completion_from_a_file_and_one_that_is_missing(capsys, tmp_path):
    file = tmp_path / "completion.txt"
    file.write_text("so \\boxed{\x1b[31m5}", encoding="utf-8")
    code, lines, _ = told(capsys, "-r", "5", "-c", f"@{file}")
    assert code == 0
    assert r"extracted  \x1b[31m5" in lines
    code, lines, errors = told(capsys, "-r", "5", "-c", f"@{tmp_path / 'none'}")
    assert code == 2
    assert "cannot read this file" in errors


def test_the_end_of_the_prompt_may_open_the_thought():
    found = explain("5", r"a</think>\boxed{5}", prompt_tail="<think>\n")
    assert not found.fault
    assert found.verdict.outcome is Outcome.CORRECT
