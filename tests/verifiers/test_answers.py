import time

import pytest

from openklear.verifiers.answers import extract_answer, extract_boxed, is_option, join_boxes


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (r"\boxed{5}", "5"),
        (r"\boxed{\frac{1}{2}} and then \boxed{\frac{3}{4}}.", r"\frac{3}{4}"),
        (r"\boxed{\boxed{7}}", r"\boxed{7}"),
        (r"\boxed{4} wait \boxed{5", "4"),
        (r"\boxed {\{1,2\}}", r"\{1,2\}"),
        (r"\boxed{a\}b}", r"a\}b"),
        (r"} \boxed{5}", "5"),
        (r"\fbox{3}", "3"),
        (r"\boxed 5", None),
        ("nothing", None),
        (r"\beginboxed{8\sqrt{6}}", r"8\sqrt{6}"),
        (r"\boxed{4} wait, actually \boxed{5}", "5"),
        (r"\\boxed{\\frac{1}{2}}", r"\frac{1}{2}"),  # escaped twice
        (r"\\\boxed{5}", "5"),  # a line break and a box
        (r"\\\\boxed{5}", None),  # two line breaks
    ],
)
def test_extract_boxed(text, expected):
    assert extract_boxed(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (r"The answer is 3, so \boxed{4}.", "4"),
        (r"\boxed{-8", "-8"),  # never closed, and no other box is
        (r"\boxed{\frac{1}{2}", r"\frac{1}{2}"),
        (r"\boxed{" * 300, None),
        ("The answer is 42.", "42"),
        ("The answer is 42 because geometry proves it.", "42"),
        ("the answer is $\\frac{1}{2}$, since $x>3$.", r"\frac{1}{2}"),
        ("Final answer: 17\nThat is all.", "17"),
        ("The answer is that the volume of $ABC$ is 120.", "120"),
        ("some work 2+2=4\n#### 1,234", "1,234"),
        ("We add 3 and 4 to get 7", "7"),
        ("So we have $x=3$ and finally $x = 9$.", "x = 9"),
        ("no number here at all, sorry", None),
        (r"So it is \frac{1}{2}", r"\frac{1}{2}"),
        (r"So it is (3\sqrt{2}).", r"3\sqrt{2}"),
        ("I had $10,200 + $255 = $10,455", "10,455"),
        (r"Answer $ \frac{1}{2} \$ = \frac{10}{9} $", r"\frac{1}{2} \$ = \frac{10}{9}"),
        ("how many $? just about 1$", "1"),
        ("\u4e00\u5171\u6709**858\u9897**\u7cd6\u679c\u3002", "858"),
        ("It costs 480. Answer: The problem asks for the whole cost of it", "480"),
        ("The answer is that nobody can ever know it", "that nobody can ever know it"),
        ("", None),
    ],
)
def test_extract_answer(text, expected):
    assert extract_answer(text) == expected


@pytest.mark.parametrize(
    ("text", "reference", "expected"),
    [
        ("It's not A because it makes no sense, therefore I think it's B", "B", "B"),
        ("The answer is for sure D, it can't be A or B", "(D)", "D"),
        ("D. it can't be A or B", "D", "D"),
        ("A good choice would be C.", "C", "C"),
        (r"A is wrong, so \boxed{\text{(B)}}", "B", r"\text{(B)}"),
        ("B\u3002\u4e0d\u662f A", "B", "B"),
        ("no letter here", "B", None),
        ("The answer is 5", "A", None),
        ("odd $n$", "odd $n$", "odd $n$"),
        ("the odd $n$", "odd $n$", "n"),
        ("x + A", "x + A", "x + A"),
    ],
)
def test_extract_answer_beside_its_reference(text, reference, expected):
    assert extract_answer(text, reference) == expected


@pytest.mark.parametrize(
    ("reference", "expected"),
    [
        ("B", True),
        ("(B)", True),
        ("B.", True),
        ("(B) blue", True),
        ("B) blue", True),
        ("Z", False),
        ("5", False),
        ("A + B", False),
        ("A", True),
        ("(A) + 1", False),
    ],
)
def test_is_option(reference, expected):
    assert is_option(reference) is expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (r"\boxed{5}", "5"),
        ("5", "5"),
        (r"\boxed{1} and \boxed{2}", "1, 2"),
        (r"\boxed{\boxed{7}}", r"\boxed{7}"),
        (r"\boxed{5}, that is \boxed{5}", "5"),
        (r"\boxed{20}\%", r"20\%"),
        (r"$\boxed{20}$ percent", r"20\%"),
        (r"\boxed{5", r"\boxed{5"),
    ],
)
def test_join_boxes(text, expected):
    assert join_boxes(text) == expected


PIECES = [
    r"\boxed{",
    "{",
    "}",
    "\\",
    "$",
    r"\[",
    "answer is ",
    "1,",
    "1.",
    "A ",
    "(",
    r"\frac",
    " ",
    "\n",
    "**",
    "#### ",
]


@pytest.mark.parametrize("piece", [*PIECES, "\u7b54\u6848\uff1a", "\u4e2d"])
def test_floods_take_linear_time(piece):
    text = piece * (400_000 // len(piece))
    start = time.process_time()
    extract_answer(text)
    extract_answer(text, "B")
    join_boxes(text)
    assert time.process_time() - start < 3.0  # a quadratic pass would take minutes
