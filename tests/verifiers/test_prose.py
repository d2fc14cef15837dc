"""Extraction from prose: markup, announced and closing sentences, the values of a sentence, units behind a value."""

import time

import pytest

from openklear.verifiers.answers import extract_answer
from openklear.verifiers.prose.lead_ins import is_placeholder, without_lead_in, without_words
from openklear.verifiers.prose.markup import without_markup, without_stars
from openklear.verifiers.prose.pieces import pieces
from openklear.verifiers.prose.sentences import announced, closing, phrase
from openklear.verifiers.prose.stated import stated
from openklear.verifiers.prose.units import with_unit


@pytest.mark.parametrize(
    ("sentence", "expected"),
    [
        ("We get 42.", ["42"]),
        ("6*7 = 42", ["42"]),
        ("so x + y = 5 holds", ["x + y = 5"]),
        ("from (1, 2) to [3, 4)", ["(1, 2)", "[3, 4)"]),
        ("the set {1, 2} has 2", ["{1, 2}", "2"]),
        (r"it is \frac{a b}{2} cm and $x$", [r"\frac{a b}{2}\text{ cm}", "x"]),
        ("3-5 days, -5 days, 10 - 5", ["3-5\\text{ days}", "-5\\text{ days}", "10 - 5"]),
        ("In 2020, 3 of 4", ["2020", "3", "4"]),
        ("It costs $5 and then $10.", ["5", "10"]),
        ("a 2 x 3 grid, I think", ["2 x 3"]),
        (r"\[ 6 \] or \( 7 \)", ["6", "7"]),
        ("sqrt(3)/2 of max(2, 3)", ["sqrt(3)/2", "max(2, 3)"]),
        ("no values at all", []),
        ("x and y", []),
        ("the 5th", ["5"]),
        ("(5) and (5", ["5", "5"]),
    ],
)
def test_pieces(sentence, expected):
    assert [piece.value for piece in pieces(sentence)] == expected


@pytest.mark.parametrize(
    ("sentence", "expected"),
    [
        ("42 because 8 > 3", "42"),
        ("5 or 6", "5 or 6"),
        ("5, 6", "5, 6"),
        ("5, not 6", "5"),
        ("5 boys and 6 girls", "5 boys and 6"),
        ("5 feet 3 inches", "5 feet 3 inches"),
        ("more than 5", "more than 5"),
        ("therefore simply 42", "42"),
        ("5 times 6", ""),
        ("We add 3 and 4", ""),
        ("no solution", "no solution"),
    ],
)
def test_announced(sentence, expected):
    assert announced(sentence) == expected


@pytest.mark.parametrize(
    ("sentence", "expected"),
    [
        ("3 friends get 14 each", "14"),
        ("There are 42 after 3 days", "42"),
        ("There are 42 (3 of them new)", "42"),
        ("Total: 42 after all", "42"),
        ("It is 5 or 6", "5 or 6"),
        ("so k = 900 and n = 890", "890"),
        ("30 + 28, or 58", "58"),
        ("not 5", ""),
        ("not 5 but 6", "6"),
        ("nothing", ""),
    ],
)
def test_closing(sentence, expected):
    assert closing(sentence) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("x = 5", "x = 5"),
        ("odd n", "odd n"),
        ("May 12", "May 12"),
        ("42 ways", ""),
        ("$5$", ""),
        ("a sentence that is too long to be an answer", ""),
    ],
)
def test_phrase(text, expected):
    assert phrase(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("So the total number of ways is 42", "42"),
        ("Hence, we obtain that x is 42", "42"),
        ("The dog", "The dog"),
        ("Thus", "Thus"),
        ("Ratio 3:4", "Ratio 3:4"),
        ("=> 42", "42"),
    ],
)
def test_without_words(text, expected):
    assert without_words(text) == expected


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (r"\text{(B)}", r"\text{(B)}"),
        (r"\text{There are none}", r"\text{There are none}"),
        (r"\text{Area} = 5 \text{ cm}^2", r"5 \text{ cm}^2"),
        (r"\text{The answer is Monday}", "Monday"),
        (r"\text{So } x", "x"),
        (r"x = 5", "x = 5"),
        (r"\sin x = 5", r"\sin x = 5"),
        (r"a = 3, b = 5", "a = 3, b = 5"),
        (r"5 \text{ is the answer}", "5"),
        ("=", "="),
    ],
)
def test_without_lead_in(content, expected):
    assert without_lead_in(content) == expected


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("", True),
        (r"\text{ }", True),
        ("...", True),
        (r"\text{Your Final Answer Here}", True),
        (r"\boxed{}", True),
        (r"\phantom{0}", True),
        ("x", False),
        ("0", False),
        (r"\{\}", False),
        (r"\text{none}", False),
        (r"\emptyset", False),
    ],
)
def test_is_placeholder(content, expected):
    assert is_placeholder(content) is expected


@pytest.mark.parametrize(
    ("behind", "expected"),
    [
        (r"\% of them", r"5\%"),
        ("$ pct", r"5\%"),
        (" cm wide", r"5\text{ cm}"),
        ("$ square metres", r"5\text{ square metres}"),
        (r"\text{ cm}^2$", r"5\text{ cm}^2"),
        (" in the end", "5"),
        (" in.", r"5\text{ in}"),
        (" miles per hour", "5"),
        (" apples", "5"),
        (" million", "5 million"),
        ("_2", "5_2"),
        (r"^\circ", r"5^\circ"),
        ("\n\nhours", "5"),
        ("", "5"),
    ],
)
def test_with_unit(behind, expected):
    assert with_unit("5", behind, 0)[0] == expected


def test_a_value_with_a_unit_takes_no_other():
    assert with_unit(r"5\text{ cm}", " km", 0) == (r"5\text{ cm}", 0)
    assert with_unit(r"5\pi", " km", 0) == (r"5\pi", 0)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("**42**", "42"),
        ("x**2 + y**2", "x**2 + y**2"),
        ("2*3*4", "2*3*4"),
        ("__42__ and _43_", "42 and 43"),
        ("a_1 and b_1", "a_1 and b_1"),
        ("<b>42</b><br>", "42\n"),
        ("## 42", "42"),
        ("#### Step 2: add\n#### 42", "Step 2: add\n#### 42"),
        ("> 42", "42"),
        ("$$\n42\n$$", r"\[42\]"),
        ("a < b and c > d", "a < b and c > d"),
    ],
)
def test_markup(text, expected):
    assert without_stars(without_markup(text)) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Answer: 10!", "10!"),
        ("The answer is 42!", "42"),
        ("The wrong answer: 5. We get 6.", "6"),
        ("#### x = 1, y = 2", "x = 1, y = 2"),
        ("**Step 2:** add\n\nSo 42", "42"),
        ("So it is 5.\n\nTherefore there is no such number", "no such number"),
        ("So it is 5.\n\nHence proved.", "5"),
        ("", ""),
    ],
)
def test_stated(text, expected):
    assert stated(text) == expected


FLOODS = [
    "<answer>",
    "</answer>!",
    "<answer x",
    "**",
    "*a",
    "_a ",
    "`",
    "\\(",
    "$1",
    "５",
    "：",
    "５ or ",
    "5 and ",
    "- ",
]
FLOODS += [
    "the ",
    "Total: ",
    "so ",
    "= ",
    "\\text{",
    "\\boxed{}",
    "\\boxed{?}",
    "<<1",
    "<b>",
    "> ",
    "| ",
    "answer to ",
    "a-",
]


@pytest.mark.parametrize("piece", FLOODS)
def test_floods_take_linear_time(piece):
    flood = piece * (1_000_000 // len(piece))
    start = time.process_time()
    extract_answer(flood)
    extract_answer("<answer>" + flood, "B")
    extract_answer(r"\boxed{" + flood + "}")
    assert time.process_time() - start < 6.0  # under a second each on a quiet machine; a quadratic pass takes minutes


@pytest.mark.parametrize("within", [r"\boxed{", r"\text{", "{", r"\boxed{\text{The answer is }"])
def test_deep_nesting_takes_linear_time(within):
    depth = 60_000
    start = time.process_time()
    extract_answer(within * depth + "5" + "}" * depth)
    assert time.process_time() - start < 3.0
