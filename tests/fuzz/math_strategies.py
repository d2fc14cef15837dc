"""Random answers in LaTeX, ways to write the same one differently, and hostile texts, for fuzz_math and the suite."""

import random
import re
from collections.abc import Callable

SYMBOLS = ("x", "y", "n", "a", r"\alpha", r"\theta", "x_1")
FUNCTIONS = (r"\sin", r"\cos", r"\ln", r"\tan")


def atom(random_: random.Random) -> str:
    kind = random_.randrange(8)
    if kind < 3:
        return str(random_.choice((0, 1, 2, 3, 5, 7, 12, 100, 1024, 123456, 10**12)))
    if kind == 3:
        return f"{random_.randrange(50)}.{random_.randrange(1000)}"
    if kind == 4:
        return random_.choice((r"\pi", "e", "i"))
    return random_.choice(SYMBOLS)


def expression(random_: random.Random, depth: int = 3) -> str:
    """A term that LaTeX would typeset; not always one that has a value."""
    if depth <= 0 or random_.random() < 0.25:
        return atom(random_)
    left, right = expression(random_, depth - 1), expression(random_, depth - 1)
    small = str(random_.randrange(2, 9))
    return random_.choice((
        f"{left} + {right}", f"{left} - {right}", f"({left})({right})", rf"{left} \cdot {right}",
        rf"\frac{{{left}}}{{{right}}}", rf"\sqrt{{{left}}}", rf"\sqrt[{small}]{{{left}}}", f"({left})^{{{small}}}",
        f"-{left}", f"{small}!", rf"{random_.choice(FUNCTIONS)}({left})", rf"\left({left}\right)^{{-{small}}}",
        f"|{left}|", rf"\binom{{{random_.randrange(9, 20)}}}{{{small}}}", rf"\log_{{{small}}}({left})",
        rf"\lfloor {left} \rfloor", f"{left}/{right}", rf"\frac{{{small}}}{{7}}", rf"{small}\%",
    ))  # fmt: skip


def answer(random_: random.Random) -> str:
    """An answer: a term, or a tuple, interval, set, union, list, equation, relation, matrix, amount or word."""
    parts = [expression(random_, 2) for _ in range(random_.randrange(2, 4))]
    joined = ", ".join(parts)
    a, b = parts[0], parts[1]
    return random_.choice((
        a, a, expression(random_), f"({joined})", rf"\{{{joined}\}}", joined, f"x = {a}", f"[{a}, {b})",
        rf"(-\infty, {a}) \cup ({b}, \infty)", rf"x \geq {a}", rf"\begin{{pmatrix}} {a} \\ {b} \end{{pmatrix}}",
        rf"{random_.randrange(99)} \text{{ cm}}", rf"\text{{{random_.choice(('yes', 'even', 'no solution'))}}}",
        rf"{a} \text{{ or }} {b}", rf"{a} \pm {b}", f"{random_.randrange(99)}_{{2}}", f"f(x) = {a}", f"x = {a}, y = {b}",
        rf"\text{{({random_.choice('ABCDE')})}}", rf"{random_.randrange(200)}^\circ", f"{random_.randrange(1, 99)},000",
    ))  # fmt: skip


INNOCENT: dict[str, Callable[[str], str]] = {
    "dfrac": lambda text: text.replace(r"\frac", r"\dfrac"),
    "tfrac": lambda text: text.replace(r"\frac", r"\tfrac"),
    "spaces": lambda text: text.replace(" ", "  "),
    "left": lambda text: text if r"\left" in text else text.replace("(", r"\left(").replace(")", r"\right)"),
    "dollars": lambda text: f"${text}$",
    "brackets": lambda text: rf"\[{text}\]",
    "stop": lambda text: f"{text}.",
    "thin": lambda text: rf"{text}\!",
    "comma space": lambda text: text.replace(", ", r",\; "),
    "around": lambda text: f"  {text}\n",
    "quad": lambda text: rf"{text}\quad",
    "displaystyle": lambda text: rf"\displaystyle {text}",
    "display": lambda text: f"$${text}$$",
    "geq": lambda text: re.sub(r"\\geq(?![a-zA-Z])", r"\\ge", text),
    "bmatrix": lambda text: text.replace("pmatrix", "bmatrix"),
}
"""Ways of writing that change nothing."""

FLOODS = (
    r"\boxed{", "{", "}", "\\", "$", "(", ")", r"\frac{1}{", r"\sqrt", "^", "^{", "_", "!", "9", "9,", "1.", " ", "\n", ",",
    "~", r"\,", r"\text{", "and ", "or", "answer is ", "####", "**", "|", "&", r"\begin{pmatrix}", r"\cup", "%", "-", "=",
    r"\pm", "x", "B ", "\u4e2d", "\u0660", "\u00e9", "\ud83d\ude00", "1/", r"\left", r"\infty", "</think>", r"\\", "\x00",
)  # fmt: skip


def hostile(random_: random.Random) -> str:
    """Texts that break patterns: floods of one piece, and shuffles of several."""
    if random_.random() < 0.4:
        piece = random_.choice(FLOODS)
        count = random_.choice((3, 70, 300, 1500, 4000))
        return piece * count + random_.choice(("", "5", "}", r"\boxed{5}"))
    return "".join(random_.choice((*FLOODS, expression(random_, 1))) for _ in range(random_.randrange(1, 60)))


def corrupted(random_: random.Random, text: str) -> str:
    """A text with some of its characters dropped, doubled or swapped."""
    characters = list(text)
    for _ in range(random_.randrange(1, 4)):
        if not characters:
            break
        i = random_.randrange(len(characters))
        characters[i] = random_.choice(("", characters[i] * 2, random_.choice("{}()[]\\$^_,.!%=<>&|5x ")))
    return "".join(characters)
