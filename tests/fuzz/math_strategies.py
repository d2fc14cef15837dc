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


def form(random_: random.Random) -> str:
    """An answer in one of the forms that rules of their own read."""
    a, b, c = (random_.randrange(1, 40) for _ in range(3))
    letters = "".join(sorted(random_.sample("ABCDE", 3)))
    return random_.choice((
        f"{a} {b}/{b + c}", rf"{a}\frac{{{b}}}{{{b + c}}}", rf"{a}.\overline{{{b}}}", rf"0.{a}\overline{{{b}}}", f"{a}e{b}", f"-{a}.{b}E-{c}",
        rf"{a} \times 10^{{{b}}}", f"{a}th", rf"{a}^{{\text{{th}}}}", "twenty-one", rf"\text{{{random_.choice(('seven', 'ninety', 'two hundred'))}}}",
        letters, ", ".join(letters), rf"\textbf{{({letters[0]})}}\ {a}", rf"10{a % 2}_{{\text{{two}}}}", f"-{a}_{{{b + 10}}}", f"{a}:{b + 10}",
        rf"{a} \text{{ a.m.}}", rf"n \text{{ {random_.choice(('even', 'odd', 'prime'))}}}", f"{a} < x < {a + b}", rf"{a + b} \geq x > {a}", f"]{a}, {a + b}[",
        rf"x < {a} \text{{ or }} x > {a + b}", rf"\begin{{cases}} x = {a} \\ y = {b} \end{{cases}}", f"x = {a}, y = {b}", f"f'(x) = {a}x",
        rf"f(x) = {a}x \text{{ for all real }} x", rf"\{{x \mid x > {a}\}}", rf"\mathbb{{R}} \setminus \{{{a}\}}", rf"1, 2, \ldots, {a}", rf"{a},0", f"{a},{b}{c}",
        rf"{a}\% \text{{ increase}}", rf"\${a}", rf"e^{{i\pi/{a}}}", rf"\sqrt[3]{{-{a}}}", rf"\log_{{{a + 1}}}(x) + \log_{{{a + 1}}}(y)", rf"\sqrt{{\frac{{{a}}}{{n}}}}",
    ))  # fmt: skip


def answer(random_: random.Random) -> str:
    """An answer: a term, or a tuple, interval, set, union, list, equation, relation, matrix, amount or word."""
    if random_.random() < 0.25:
        return form(random_)
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
    "left": lambda text: (
        text if re.search(r"\\(?:left|[()])", text) else text.replace("(", r"\left(").replace(")", r"\right)")
    ),
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

FORM_FLOODS = {
    "digits": "7", "zeros behind a point": "0.0000", "grouped digits": "123,", "digits apart": "1 2 ", "blanks": " ",
    "line breaks": "\n \n", "full-width digits": "１２", "Arabic digits": "٣", "superscripts": "x²³", "vulgar fractions": "1½",
    "invisible characters": "\u200b\u2060", "exponents of e notation": "1e999999999", "small exponents": "1e-999999999",
    "e and signs": "1e+-", "times ten": r"1 x 10^", "powers of ten": r"\times 10^{", "repeating decimals": r"0.\overline{3}",
    "bars that stay open": r"0.\overline{", "bars in bars": r"\overline{\overline{", "dots over digits": r"0.\dot{1}", "ellipses": "0.333...",
    "colours in colours": r"\textcolor{red}{", "colours": r"\textcolor{red}{5}", "old colours": r"{\color{red}", "bold in bold": r"\mathbf{",
    "fonts": r"\bf ", "sizes": r"\large ", "stars": "**", "stars and digits": "*5* ", "backticks": "`", "styled braces": "{{", "closing": "}}",
    "fractions without braces": r"\frac", "fractions of one sign": r"\frac\pi", "fractions in fractions": r"\frac{1}{", "roots": r"\sqrt", "roots in brackets": r"\sqrt(",
    "plain roots": "sqrt(", "functions": "ln(", "bare functions": "sin ", "Python powers": "**2", "powers": "x**", "towers": "2^{",
    "mixed numbers": "1 1/2 ", "mixed fractions": r"1\frac{1}{2} ", "slashes": "1/", "numerals in words": "twenty ", "long numerals": "nine hundred ninety-nine thousand ",
    "and": "one and ", "hyphens": "one-", "ordinals": "1st ", "ordinal marks": r"^{\text{th}}", "halves": "one half ",
    "bases": "10_2", "bases in words": r"10_{\text{two}}", "open bases": "10_{", "subscripts": "_", "options": "A, B, ", "option letters": "AB", "labels": r"\textbf{(A)} ", "bare labels": "(A) ",
    "names": "x=1, ", "equations": "=", "names of names": "x=y=", "chains": "1<x<", "other chains": r"x \leq ", "unions": "U ", "more unions": r"(0,1)\cup",
    "outward brackets": "]0,1[", "brackets": "][", "sets": r"\{x \mid ", "bars": "|", "minus": r"\setminus ", "empty sets": r"\varnothing ", "cases": r"\begin{cases} x=1 \\ ",
    "rows": r"\\ x=1 ", "ellipsis of lists": r"1, \ldots, ", "qualifiers": r" \text{ for all real } x", "for all": r"\forall x ", "conditions": r"n \text{ even} ", "units": "5 cm ",
    "text": r"\text{ a.m.} ", "clock times": "12:00:", "ratios": "1:2:", "degrees": r"^\circ", "primes": "f'", "percent": r"\%", "money": r"\$", "decimal commas": "1,0", "other commas": "1,00,",
    "answer tags": "<answer>", "closed answer tags": "<answer></answer>", "closing tags": "</answer>", "open brackets": "<", "boxes": r"\boxed{", "empty boxes": r"\boxed{} ", "boxes with blanks": r"\boxed{  ",
    "lead-ins": "The answer is ", "lead-ins in text": r"\text{The answer is } ", "colons": "Total: ", "hashes": "#### ", "Chinese lead-ins": "答案是：", "Chinese stops": "。", "sentences": "We get 4. ",
    "minus signs": "−", "points": ".", "leading points": " .5", "logarithms": r"\ln x+", "exponentials": r"e^{i\pi}", "odd roots": r"\sqrt[3]{-", "logarithms in logarithms": r"\log_{",
}  # fmt: skip
"""What the rules for forms look for, by what it is."""


def hostile(random_: random.Random) -> str:
    """Texts that break patterns: floods of one piece, and shuffles of several."""
    if random_.random() < 0.4:
        piece = random_.choice((*FLOODS, *FORM_FLOODS.values()))
        count = random_.choice((3, 70, 300, 1500, 4000))
        return piece * count + random_.choice(("", "5", "}", r"\boxed{5}"))
    return "".join(
        random_.choice((*FLOODS, *FORM_FLOODS.values(), expression(random_, 1)))
        for _ in range(random_.randrange(1, 60))
    )


def corrupted(random_: random.Random, text: str) -> str:
    """A text with some of its characters dropped, doubled or swapped."""
    characters = list(text)
    for _ in range(random_.randrange(1, 4)):
        if not characters:
            break
        i = random_.randrange(len(characters))
        characters[i] = random_.choice(("", characters[i] * 2, random_.choice("{}()[]\\$^_,.!%=<>&|5x ")))
    return "".join(characters)
