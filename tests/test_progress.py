"""Progress without a terminal: few lines, the right figures, all on stderr; and bars on a terminal."""

import io
import sys

import pytest
from rich.console import Console

from openklear import progress


@pytest.fixture
def clock(monkeypatch):
    """A clock that the test moves."""
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])

    def forward(seconds):
        now[0] += seconds

    return forward


def test_lines(clock, capsys):
    with progress.task("sft", total=100, unit="steps") as advance:
        for _ in range(100):
            clock(0.25)
            advance(loss=1.23456, rate=8e-5, note="ok")
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.splitlines() == [
        "sft: 40/100 steps, 4 steps/s, 15 s left, loss 1.235, rate 8e-05, note ok",
        "sft: 80/100 steps, 4 steps/s, 5 s left, loss 1.235, rate 8e-05, note ok",
        "sft: 100/100 steps in 25 s, loss 1.235, rate 8e-05, note ok",
    ]


def test_a_line_every_ten_seconds_at_most(clock, capsys):
    with progress.task("rl", total=None, unit="tokens") as advance:
        clock(9.99)
        advance(5)
        clock(0.01)
        advance(5)
        clock(9.99)
        advance(5, mean_reward=0.5)
        clock(1000)
        advance(5)
    assert capsys.readouterr().err.splitlines() == [
        "rl: 10 tokens, 1 tokens/s",
        "rl: 20 tokens, 0.0196 tokens/s, mean reward 0.5",
        "rl: 20 tokens in 17 min 0 s, mean reward 0.5",
    ]


def test_nothing_done_yet_is_no_division(clock, capsys):
    with progress.task("sft", total=2000, unit="steps") as advance:
        clock(11)
        advance(0)
    assert capsys.readouterr().err.splitlines() == ["sft: 0/2,000 steps", "sft: 0/2,000 steps in 11 s"]


def test_an_error_passes_and_is_not_the_end(clock, capsys):
    def work():
        with progress.task("sft", 3, "steps") as advance:
            advance()
            raise ValueError("x")

    with pytest.raises(ValueError, match="x"):
        work()
    assert capsys.readouterr().err.splitlines()[-1] == "sft: stopped at 1/3 steps in 0 s"


def test_nested(clock, capsys):
    with progress.task("rl", 1, "iterations") as outer:
        with progress.task("sample", 2, "rollouts") as inner:
            inner(2)
        outer()
    assert [line.partition(":")[0] for line in capsys.readouterr().err.splitlines()] == ["sample", "rl"]


def test_say_is_literal_and_one_line(capsys):
    long = "[bold]x[/bold] :smile: " + "word " * 60
    progress.say(long)
    captured = capsys.readouterr()
    assert captured.err == long + "\n"
    assert captured.out == ""


def test_quiet(capsys):
    progress.quiet(True)
    try:
        progress.say("nothing")
        with progress.task("sft", 3, "steps") as advance:
            advance(3, loss=1.0)
    finally:
        progress.quiet(False)
    progress.say("again")
    assert capsys.readouterr().err == "again\n"


def test_bars(monkeypatch):
    screen = io.StringIO()
    screen.isatty = lambda: True
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "160")
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setattr(progress, "CONSOLE", Console(stderr=True))  # made anew, for these variables
    with progress.task("rl [math]", 2, "iterations") as outer:
        for _ in range(2):
            with progress.task("sample", None, "rollouts") as inner:
                inner(3)
                progress.say("between")
            outer(reward=0.25)
    drawn = screen.getvalue()
    for words in ("rl [math]", "2/2 iterations", "reward 0.25", "between"):
        assert words in drawn
    assert "3 rollouts" not in drawn.rpartition("2/2 iterations")[2]  # inner bars do not pile up
    assert progress.shared_bars is None


def test_bars_are_put_away_after_an_error(monkeypatch):
    screen = io.StringIO()
    screen.isatty = lambda: True
    monkeypatch.setattr(sys, "stderr", screen)
    with pytest.raises(ValueError, match="x"), progress.task("a", 2, "n"), progress.task("b", 2, "n"):
        raise ValueError("x")
    assert progress.shared_bars is None


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.4, "0 s"),
        (59.4, "59 s"),
        (59.6, "1 min 0 s"),
        (125, "2 min 5 s"),
        (3599.7, "1 h 0 min"),
        (11400, "3 h 10 min"),
    ],
)
def test_duration(seconds, text):
    assert progress.duration(seconds) == text


def test_the_end_is_told_once(clock, capsys):
    with progress.task("sft", total=1, unit="steps") as advance:
        clock(11)
        advance()
    assert [line for line in capsys.readouterr().err.splitlines() if "1/1" in line] == ["sft: 1/1 steps in 11 s"]


def test_seconds_left_as_the_caller_knows_them(clock, capsys):
    with progress.task("rl-math", 10, "iterations") as outer:
        outer(1, 600.0)
        with progress.task("rl-math, iteration 2: sampling", 64, "rollouts", brief=True) as inner:
            for _ in range(2):
                clock(10)
                inner(1, 50.0)
    assert capsys.readouterr().err.splitlines()[:2] == [
        "rl-math, iteration 2: sampling: 1/64 rollouts, 0.1 rollouts/s, 50 s left, 9 min 50 s left of rl-math",
        "rl-math, iteration 2: sampling: 2/64 rollouts, 0.1 rollouts/s, 50 s left, 9 min 40 s left of rl-math",
    ]


def test_a_brief_task_that_is_over_soon_says_nothing(clock, capsys):
    with progress.task("a", 2, "updates", brief=True) as advance:
        advance(2)
    with pytest.raises(ValueError, match="x"), progress.task("b", 2, "updates", brief=True):
        raise ValueError("x")
    with progress.task("c", 2, "updates", brief=True) as advance:
        clock(11)
        advance()
        advance()
    assert [line.partition(":")[0] for line in capsys.readouterr().err.splitlines()] == ["b", "c", "c"]


def test_what_was_done_before_says_nothing_of_the_speed(clock, capsys):
    with progress.task("sft", 1000, "steps", done=900) as advance:
        clock(10)
        advance(5)
    assert capsys.readouterr().err.splitlines()[0] == "sft: 905/1,000 steps, 0.5 steps/s, 3 min 10 s left"


def test_bars_count_down_by_what_the_caller_knows(monkeypatch):
    screen = io.StringIO()
    screen.isatty = lambda: True
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "160")
    monkeypatch.setattr(progress, "CONSOLE", Console(stderr=True))
    with progress.task("sft", 1000, "steps", done=900) as advance:
        advance(5, 7384.0)
    assert "905/1,000 steps" in screen.getvalue()
    assert "2 h 3 min left" in screen.getvalue()
