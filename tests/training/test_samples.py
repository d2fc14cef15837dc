"""A rollout on the terminal: what it says, and that it commands nothing."""

from dataclasses import replace

from tests.training.test_metrics import LOST, RIGHT, WRONG, group

from openklear.training.samples import LONGEST, one_of, told
from openklear.types import Outcome, Verdict


def test_what_is_said():
    rollout = replace(RIGHT, text="<think>\nadd\n</think>\n2")
    assert told(rollout, "rl-math, iteration 1").splitlines() == [
        "rl-math, iteration 1, a sample: p, correct, reward 1, 6 tokens",
        "  > 1+1",
        "  | <think>",
        "  | add",
        "  | </think>",
        "  | 2",
    ]
    wrong = replace(WRONG, verdict=Verdict(Outcome.INCORRECT, "wrong\nanswer"))
    assert "incorrect (wrong answer), reward 0" in told(wrong, "x")
    assert "unscorable, no reward" in told(LOST, "x")


def test_it_commands_no_terminal_and_no_line_passes_for_ours():
    lines = told(replace(RIGHT, text="\x1b[2J\r\x07\nrl-math: done\u202e"), "x").splitlines()
    assert lines[2:] == ["  | \\x1b[2J\\x0d\\x07", "  | rl-math: done\\x202e"]


def test_long_ones_lose_their_middle():
    text = told(replace(RIGHT, text="a" * LONGEST + "b" * LONGEST), "x")
    assert f"[... {LONGEST} characters ...]" in text
    assert text.count("b") == LONGEST // 2
    assert len(told(replace(RIGHT, text="\n" * 10_000), "x").splitlines()) < 30


def test_every_number_shows_another():
    groups = [group(RIGHT, WRONG), group(WRONG, RIGHT)]
    assert [one_of(groups, number) for number in range(4)] == [RIGHT, RIGHT, RIGHT, RIGHT]
    assert one_of([group(RIGHT, WRONG)], 1) is WRONG
