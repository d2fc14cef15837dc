"""Which block of an answer is its program."""

import ast
import json
import random
import time

import pytest
from tests.shared_data import shared

from openklear.verifiers.blocks import extract_program

GOOD = "n = int(input())\nprint(n * 2)"
OTHER = "print(1)"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("print(1)", "print(1)"),
        ("```python\nprint(1)\n```", "print(1)"),
        ("first\n```\nprint(1)\n```\nno:\n```py\nprint(2)\nprint(3)\n```\nbye", "print(2)\nprint(3)"),
        ("```python\nprint(1)", "print(1)"),
        ("```python\nprint(1)\n```\nand\n```python\nprint(", "print(1)"),
        ("  plain = 1 \n", "plain = 1"),
        ("```\nif x:\n    y\n```", "if x:\n    y"),
    ],
)
def test_extract_program(text, expected):
    assert extract_program(text) == expected


def fenced(program, fence="```", info="python"):
    return f"{fence}{info}\n{program}\n{fence}"


def indented(text, by="   "):
    return "\n".join(by + line if line.strip() else line for line in text.split("\n"))


def quoted(text):
    return "\n".join(f"> {line}" for line in text.split("\n"))


AROUND = {
    "bare": lambda p: fenced(p, info=""),
    "output after": lambda p: f"{fenced(p)}\n\nExample output:\n```\n8\n```\n",
    "output labelled text": lambda p: f"{fenced(p)}\n```text\nYES\nprint nothing\n```",
    "output of words": lambda p: f"{fenced(p)}\nFor input `4` it prints\n\n```\nAlice 3\n[1, 2, 3]\n```",
    "output as an assignment": lambda p: f"{fenced(p)}\nThen\n```\nx = 5\n```",
    "bash after": lambda p: f"{fenced(p)}\nRun it:\n```bash\npython sol.py < in.txt\n```",
    "console after": lambda p: f"{fenced(p)}\nRun it:\n```console\n$ python sol.py\n4\n```",
    "session after": lambda p: f"{fenced(p)}\n```pycon\n>>> print(5)\n5\n```",
    "session labelled python": lambda p: f"{fenced(p)}\n```python\n>>> print(5)\n5\n```",
    "C++ after": lambda p: f'{fenced(p)}\nIn C++:\n```cpp\n#include <cstdio>\nint main() {{ puts("1"); }}\n```',
    "C++ without a label": lambda p: f'{fenced(p)}\n```\n#include <cstdio>\nint main() {{\n  puts("1");\n}}\n```',
    "Java after": lambda p: f"{fenced(p)}\n```java\nclass A {{ void print() {{}} }}\n```",
    "JSON after": lambda p: f'{fenced(p)}\n```json\n{{"complexity": "O(n)"}}\n```',
    "traceback after": lambda p: (
        f'{fenced(p)}\n```\nTraceback (most recent call last):\n  File "a.py"\n    print(x)\n```'
    ),
    "empty block after": lambda p: f"{fenced(p)}\n```\n```",
    "empty python block after": lambda p: f"{fenced(p)}\n```python\n\n```",
    "stray fence after": lambda p: f"{fenced(p)}\nThat is all.\n```",
    "values labelled python": lambda p: f"{fenced(p)}\n```python\n[1, 2, 3]\n```",
    "a formula after": lambda p: f"{fenced(p)}\n```\nT(n) = 2 T(n / 2) + n\n```",
    "draft before": lambda p: f"{fenced(OTHER)}\nNo, better:\n{fenced(p)}",
    "draft without a label": lambda p: f"{fenced(OTHER, info='')}\nNo, better:\n{fenced(p)}",
    "final without a label": lambda p: f"{fenced(OTHER)}\nNo, better:\n{fenced(p, info='')}",
    "draft left open": lambda p: f"```python\n{OTHER}\n{fenced(p)}",
    "input before": lambda p: f"```\n4\n1 2 3 4\n```\nis solved by\n{fenced(p)}",
    "within a line": lambda p: f"Here is the code:```python\n{p}\n```",
    "within a line, bare": lambda p: f"Here is the code: ```\n{p}\n```\nDone.",
    "closed behind the code": lambda p: f"```python\n{p}```\nIt is linear.",
    "text behind the fence": lambda p: f"```python\n{p}\n``` This is O(n).",
    "in a list": lambda p: f"1. Code:\n\n{indented(fenced(p))}\n\n2. Done.",
    "deep in a list": lambda p: f"- a\n    - b\n\n{indented(fenced(p), ' ' * 6)}\n",
    "tabs in a list": lambda p: f"1. Code:\n{indented(fenced(p), chr(9))}",
    "on the bullet's line": lambda p: f"- {indented(fenced(p), '  ').lstrip()}",
    "fences in a list, code not": lambda p: f"1. Code:\n   ```python\n{p}\n   ```",
    "only the code indented": lambda p: f"```python\n{indented(p, '    ')}\n```",
    "quoted": lambda p: quoted(fenced(p)),
    "tildes": lambda p: fenced(p, "~~~"),
    "longer fences": lambda p: fenced(p, "`````"),
    "closed by a shorter fence": lambda p: f"````python\n{p}\n```\nDone.",
    "closed by a longer fence": lambda p: f"```python\n{p}\n`````\nDone.",
    "in markdown": lambda p: f"```markdown\nSolution\n{fenced(p)}\n```",
    "left open": lambda p: f"Code:\n```python\n{p}",
    "left open after a draft": lambda p: f"{fenced(OTHER)}\nBetter:\n```python\n{p}",
    "fence opened by the prompt": lambda p: f"{p}\n```",
    "fence opened by the prompt, output after": lambda p: f"{p}\n```\nOutput:\n```\n8\n```",
    "answer tags": lambda p: f"<answer>\n{p}\n</answer>",
    "answer tags on its lines": lambda p: f"So <answer>{p}</answer>" if "\n" not in p else f"<answer>{p}</answer>",
    "fences in answer tags": lambda p: f"Draft:\n{fenced(OTHER)}\n<answer>\n{fenced(p)}\n</answer>",
    "code after the answer": lambda p: f"<answer>\n{fenced(p)}\n</answer>\nA slower one:\n{fenced(OTHER)}",
    "fence behind the tag": lambda p: f"<answer>```python\n{p}\n```</answer>",
    "answer after a draft": lambda p: f"{fenced(OTHER)}\n<answer>\n{p}\n</answer>",
    "answer left open": lambda p: f"Well.\n<answer>\n{p}",
    "answer opened by the prompt": lambda p: f"{p}\n</answer>",
    "code tags": lambda p: f"<code>\n{p}\n</code>",
    "python tags": lambda p: f"The program:\n<python>\n{p}\n</python>\nis linear.",
    "CRLF": lambda p: f"Code:\n{fenced(p)}\nDone.\n".replace("\n", "\r\n"),
    "a mark before the text": lambda p: f"\ufeff{fenced(p)}",
    "a mark before the program": lambda p: fenced(f"\ufeff{p}"),
    "a mark and no fence": lambda p: f"\ufeff{p}",
    "label without fences": lambda p: f"python\n{p}",
}
for label in (
    "Python",
    "python3",
    "py",
    "PY3",
    "python 3",
    'python title="main.py"',
    "{.python}",
    "{.python .numberLines}",
):
    AROUND[f"label {label}"] = lambda p, label=label: f"{fenced(p, info=label)}\n```\n8\n```"
for label in ("pypy3", "python3.11", " python", "language-python", "main.py", "python:main.py", "code", "solution"):
    AROUND[f"label {label}"] = lambda p, label=label: f"{fenced(p, info=label)}\n```\n8\n```"

UNFENCED = (
    "closed behind the code",
    "fence opened by the prompt",
    "fence opened by the prompt, output after",
    "python tags",
)

PROGRAMS = {
    "plain": GOOD,
    "one line": "print(int(input())*2)",
    "function": "def f(a, k):\n    return sum(a) + k",
    "fence in a string": 'def f():\n    """Doubles.\n\n    ```\n    f(2)\n    ```\n    """\n    return 4\n\n\nprint(f())',
    "labelled fence in a string": "s = '''\n```python\nprint(0)\n```\n'''\nprint(s)",
    "one fence in a string": 's = """\n```\n"""\nprint(s)',
    "fence in a short string": "print(\"```\")\nprint('```python')",
    "fence in a comment": "# ``` is a fence\nprint(2)  # ```",
    "quotes in comments": "# don't \"\"\" stop\nprint(2)  # '''\n# it's \"\nprint(3)",
    "answer in a string": 'print("<answer>")\nprint("</answer> <code>")',
    "brackets in a string": "s = '}}}]])'\nprint(s)",
    "several strings": "a = '''x''' + \"\"\"y\n\"\"\"\nb = r'\\w'\nprint(a, b)",
    "blank lines and a string to the left": 'def f():\n    s = """\nleft\n"""\n\n    return s\n\n\nprint(f())',
}


def alike(program, other):
    """Whether the two mean the same to Python; those that do not parse must be equal."""
    try:
        return ast.dump(ast.parse(program)) == ast.dump(ast.parse(other.removeprefix("\ufeff")))
    except SyntaxError:
        return program.strip() == other.strip()


@pytest.mark.parametrize("name", AROUND)
@pytest.mark.parametrize("program", PROGRAMS)
def test_a_program_is_found_whatever_stands_around_it(name, program):
    text = AROUND[name](PROGRAMS[program])
    if program.startswith(("blank", "several")) and "list" in name:
        pytest.skip("an indented string is another string")
    if name in UNFENCED and (program == "fence in a comment" or name == "python tags"):
        pytest.skip("outside of a block a fence at the end of a line opens one")
    assert alike(PROGRAMS[program], extract_program(text)), text


def taco_and_leetcode():
    for name in ("taco_stdin", "leetcode_functional"):
        for line in shared(f"train/{name}.jsonl").read_text().splitlines():
            yield json.loads(line)["reference_solution"].strip("\n")


def test_every_real_program_is_found_in_surroundings_drawn_for_it():
    """585 programs, each in 8 of the surroundings."""
    draw = random.Random(12)
    several_lines = ('"""', "'''")
    for program in taco_and_leetcode():
        for name in draw.sample(list(AROUND), 8):
            if any(quote in program for quote in several_lines) and ("list" in name or "indented" in name):
                continue
            found = extract_program(AROUND[name](program))
            assert alike(program, found), (name, program)


SOLVE = "def solve(a):\n    return sum(a)"
STATEMENT = "class Solution:\n    def f(self, a: List[int]) -> int:\n        return sum(a)"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        # an example of use needs what an earlier block makes
        (f"{fenced(SOLVE)}\nFor example\n{fenced('print(solve([1, 2]))')}", SOLVE),
        (f"{fenced(SOLVE)}\nFor example\n{fenced('solve([1, 2])  # 3')}", SOLVE),
        (f"{fenced(SOLVE)}\nFor example\n{fenced('print(solve([1, 2]))', info='')}", SOLVE),
        (f"{fenced(SOLVE)}\nTests:\n{fenced('assert solve([]) == 0')}", SOLVE),
        (f"{fenced(SOLVE)}\nTests:\n{fenced('import math' + chr(10) + 'print(math.sqrt(solve([4])))')}", SOLVE),
        (f"{fenced(SOLVE)}\nTests:\n{fenced('def test_solve():' + chr(10) + '    assert solve([]) == 0')}", SOLVE),
        (f"{fenced(STATEMENT)}\n{fenced('s = Solution()' + chr(10) + 'print(s.f([1]))')}", STATEMENT),
        (f"{fenced(GOOD)}\nThe core:\n{fenced('print(n * 2)')}", GOOD),
        # what makes all it needs is the last program, whatever it shares with earlier ones
        (f"{fenced(SOLVE)}\nBetter:\n{fenced(GOOD)}", GOOD),
        (
            f"{fenced(GOOD)}\nBetter:\n{fenced('n = int(input())' + chr(10) + 'print(n + n)')}",
            "n = int(input())\nprint(n + n)",
        ),
        (f"{fenced('from typing import List')}\n{fenced(STATEMENT)}", STATEMENT),
        (
            f"{fenced(SOLVE)}\nSo\n{fenced('def f(a):' + chr(10) + '    return solve(a)')}",
            "def f(a):\n    return solve(a)",
        ),
        (f"{fenced(SOLVE)}\nOnly\n{fenced('f = lambda a: sum(a)')}", "f = lambda a: sum(a)"),
        # a snippet is no program, where there is one
        (f"{fenced(GOOD)}\nwhere\n{fenced('x = n * 2')}", GOOD),
        (f"{fenced('x = 5')}\nand\n{fenced('y = 6')}", "y = 6"),
        (f"{fenced(SOLVE)}\nThe signature:\n{fenced('def solve(a): ...')}", SOLVE),
        (f"{fenced(STATEMENT)}\n{fenced(STATEMENT.replace('return sum(a)', 'pass'), info='')}", STATEMENT),
        # a program that is wrong is still what was answered
        (f"{fenced(OTHER)}\nBetter:\n{fenced('print(int(input())')}", "print(int(input())"),
        (f"{fenced(OTHER)}\nBetter:\n{fenced('import sys' + chr(10) + 'x = ')}", "import sys\nx ="),
        # but one that was cut off, and prose about one, are not
        (f"{fenced(OTHER)}\nBetter:\n```python\nprint(int(input()", OTHER),
        (f"{fenced(OTHER)}\n```\nuse print(n) to print n\n```", OTHER),
        (f"{fenced(OTHER)}\n```\nfor each n:\n    print(n)\n    next n\n```", OTHER),
        # of other languages and of values the last Python is better, and the last of them where there is none
        ("```cpp\nint main() {}\n```\nor\n```java\nclass A {}\n```", "class A {}"),
        ("```\n8\n```", "8"),
        ("```python\n8\n```\n```\n9\n```", "9"),
        ("```cpp\nint x;\n```\n```\nprint(1)\n```", "print(1)"),
        ("```python\n#include <cstdio>\nint main() {}\n```\n```\nprint(2)\n```", "print(2)"),
        (f"{fenced(OTHER)}\n```python\n#include <cstdio>\nint main() {{}}\n```", OTHER),
        # a string that was left open does not swallow the text
        ("```python\ns = '''oh\n```\nFixed:\n```python\ns = '''x'''\nprint(s)\n```", "s = '''x'''\nprint(s)"),
        ("```python\ns = '''oh\n```\nNo.", "s = '''oh"),
        # one line
        ("Just ```print(int(input()) * 2)``` will do.", "print(int(input()) * 2)"),
        ("Just ```python print(int(input()) * 2)``` will do.", "print(int(input()) * 2)"),
        ("```python import sys\nprint(sys.stdin.read())\n```", "import sys\nprint(sys.stdin.read())"),
        ("Use ```x``` and ```y```.\n```python\nprint(x)\n```", "print(x)"),
        # tags
        ("<answer>42</answer>\n```python\nprint(42)\n```", "print(42)"),
        ("I put it in <answer> tags.\n```python\nprint(42)\n```", "print(42)"),
        ("<answer>\nprint(1)\n</answer>\n<answer>\nprint(2)\n</answer>", "print(2)"),
        ("<ANSWER>\nprint(2)\n</ANSWER>\nThat is it.", "print(2)"),
        ("<answer>\nThe program is\n```python\nprint(3)\n```\nand prints\n```\n3\n```\n</answer>", "print(3)"),
        ("Use <code>print</code>.\n<code>\nprint(4)\n</code>", "print(4)"),
        ('<answer type="code">\nprint(5)\n</answer>', "print(5)"),
        ("So:\n<final_answer>\nprint(5)\n</final_answer>", "print(5)"),
        ("[BEGIN]\nprint(5)\n[DONE]", "print(5)"),
        ("It is\n[PYTHON]\nprint(5)\n[/PYTHON]\nas asked.", "print(5)"),
        ("`print(int(input()) * 2)`", "print(int(input()) * 2)"),
        # no fence at all: nothing says where the program begins
        ("Here it is:\nimport sys\nprint(1)", "Here it is:\nimport sys\nprint(1)"),
        ("", ""),
        ("\ufeff", ""),
        ("```", ""),
        ("Nothing:\n```python\n\n```", ""),
    ],
)
def test_which_block_a_person_takes(text, expected):
    assert extract_program(text).strip() == expected


FLOODS = {
    "fences": "```\n" * 100_000,
    "python fences": "```python\n" * 100_000,
    "programs": "```python\nprint(1)\n```\n" * 50_000,
    "backticks": "`" * 1_000_000,
    "fences in a line": "```x" * 250_000,
    "nested": "\n".join("`" * (3 + n % 60) for n in range(30_000)),
    "shrinking": "\n".join("`" * (900 - n) for n in range(890)),
    "open strings": "```python\n'''\n```\n" * 60_000,
    "two kinds of strings": "```python\n'''\n```python\n" * 20_000 + '"""\n```python\n' * 20_000,
    "escaped strings": "```python\n" + "\\'''\n```\n```python\n" * 50_000 + "'''",
    "fences in a string": "```python\n'''\n" + "```\n" * 200_000 + "'''\n```\n",
    "examples of use": "```python\ndef f(): pass\n```\n" + "```python\nprint(f())\n```\n" * 40_000,
    "tags": "<answer>" * 120_000,
    "tags on lines": "</answer>\n<answer>\n" * 50_000,
    "blanks": " " * 1_000_000 + "</answer>",
    "lines": "\n" * 1_000_000,
    "brackets": "```\nprint" + "(" * 1_000_000,
    "unary": "```\nprint(1)\n" + "-" * 19_000 + "1\n```",
    "commands": "```\nprint(1)\n" + "lambda:" * 2_000 + "1\n```",
    "quotations": "> " * 500_000 + "```",
    "list": "- ```\n" * 150_000,
}


@pytest.mark.parametrize("name", FLOODS)
def test_a_flood_is_read_in_a_second(name):
    start = time.process_time()
    extract_program(FLOODS[name])
    assert time.process_time() - start < 6.0  # half a second on an idle machine; a quadratic pass would take minutes
