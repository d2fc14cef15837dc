"""Rows with known verdicts for the load on the grading server, hostile ones among them: the same in every run."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any

HOSTILE_EVERY = 20
TRACE = "/tmp/openklear-load-was-here"
"""What an answer that is executed leaves."""

HOSTILE_PROGRAMS = {
    "loop": "while True: pass",
    "sleep": "import time\ntime.sleep(1000)",
    "memory at once": "x = bytearray(10**10)\nprint(1)",
    "memory bit by bit": "x = []\nwhile True: x.append(bytearray(10**6))",
    "forks": "import os\nwhile True:\n    try: os.fork()\n    except OSError: pass",
    "threads": "import threading, time\nwhile True: threading.Thread(target=time.sleep, args=(9,)).start()",
    "kills its parent": "import os, signal\nos.kill(os.getppid(), signal.SIGKILL)\nprint(1)",
    "kills all": "import os, signal\nos.kill(-1, signal.SIGKILL)\nprint(1)",
    "kills its group": "import os, signal\nos.killpg(0, signal.SIGKILL)\nprint(1)",
    "flood": "while True: print('x' * 10000)",
    "closes everything": "import os\nos.closerange(0, 1000)\nprint(1)",
    "recursion": "def f(): return f()\nf()",
    "leaves a child": "import os\nif os.fork() == 0:\n    while True: pass\nprint(1)",
    "files": "i = 0\nwhile True:\n    i += 1\n    open(f'/tmp/{i}', 'w').write('x' * 10**6)",
}
HOSTILE_ANSWERS = {
    "power tower": "10**10**10",
    "latex tower": r"10^{10^{10^{10}}}",
    "factorials": "9!!!!!!",
    "long": "1+" * 40_000 + "1",
    "deep": "(" * 5000 + "1" + ")" * 5000,
    "digits": "7" * 100_000,
    "code": f"__import__('os').system('touch {TRACE}')",
    "braces": r"\frac{" * 3000,
}


@dataclass(frozen=True, slots=True)
class Item:
    """A row to send and the verdict it must get."""

    kind: str
    row: dict[str, Any]
    verdict: str
    hostile: str = ""


def item(index: int, *, hostile: bool = True) -> Item:
    """The item of an index: the same in every run."""
    dice = random.Random(index)
    code = dice.random() < 0.5
    if hostile and index % HOSTILE_EVERY == HOSTILE_EVERY - 1:
        return hostile_item(index, dice, code)
    right = dice.random() < 2 / 3
    kind = "code" if code else "math"
    row = (program_row if code else answer_row)(dice, right)
    return Item(kind, {"id": index, **row}, "correct" if right else "incorrect")


def hostile_item(index: int, dice: random.Random, code: bool) -> Item:
    if code:
        name = dice.choice(sorted(HOSTILE_PROGRAMS))
        row = {"id": index, "program": f"# {index}\n{HOSTILE_PROGRAMS[name]}", "tests": [{"stdin": "", "stdout": "2"}]}
        return Item("code", row, "incorrect", name)
    name = dice.choice(sorted(HOSTILE_ANSWERS))
    row = {"id": index, "reference": str(index), "completion": rf"\boxed{{{HOSTILE_ANSWERS[name]}}}"}
    return Item("math", row, "incorrect", name)


def answer_row(dice: random.Random, right: bool) -> dict[str, Any]:
    n, off = dice.randint(2, 10**6), 0 if right else dice.randint(1, 9)
    shape = dice.randrange(6)
    if shape == 0:
        reference, answer = str(n), str(n + off)
    elif shape == 1:
        reference, answer = rf"\frac{{{n}}}{{7919}}", f"{n + off}/7919"
    elif shape == 2:
        reference, answer = f"{n / 4}", rf"\dfrac{{{n + off}}}{{4}}"
    elif shape == 3:  # from here on only a computer algebra system knows
        reference, answer = rf"{n % 99 + 2}\sqrt{{2}}", rf"\sqrt{{{2 * (n % 99 + 2 + off) ** 2}}}"
    elif shape == 4:
        reference, answer = f"x^2+{2 * (n % 50)}x+{(n % 50) ** 2}", f"(x+{n % 50 + off})^2"
    else:
        reference, answer = f"({n}, {n + 5})", f"({n}, {n + 5 + off})"
    return {"reference": reference, "completion": rf"<think>Let me see.</think> So it is \boxed{{{answer}}}."}


def program_row(dice: random.Random, right: bool) -> dict[str, Any]:
    a, b = dice.randint(2, 10**6), dice.randint(2, 10**6)
    shape = dice.randrange(4)
    operator = "+" if right else "-"
    if shape == 0:
        program = f"a, b = map(int, input().split())\nprint(a {operator} b)"
        tests: list[Any] = [{"stdin": f"{a} {b + i}\n", "stdout": f"{a + b + i}\n"} for i in range(4)]
    elif shape == 1:
        tail = "" if right else "[::-1]"
        program = f"import sys\nfor x in sorted(map(int, sys.stdin)){tail}: print(x)"
        tests = [{"stdin": f"{b}\n{b + a + 1}\n{b + a}", "stdout": f"{b}\n{b + a}\n{b + a + 1}"}]
    elif shape == 2:
        program = f"def join(a, b):\n    return [a {operator} b, 'x']"
        tests = [{"call": "join", "args": [a, b], "expected": [a + b, "x"]}]
    else:
        program = f"def join(a, b):\n    return (a {operator} b,)"
        tests = [f"assert join({a}, {b}) == ({a + b},)"]
    if dice.random() < 0.5:
        return {"program": program, "tests": tests}
    return {"completion": f"<think>Easy.</think>\n```python\n{program}\n```\n", "tests": tests}
