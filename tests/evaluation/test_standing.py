"""Whether the right answer stands in a completion that is not right: by hand."""

import pytest

from openklear.evaluation.standing import LAST, stands


@pytest.mark.parametrize(
    ("text", "reference", "found"),
    [
        (r"<think>\boxed{7}</think>So it is \boxed{8}.", "7", True),  # taken back, or the wrong box
        (r"We get \boxed{\frac{1}{2}}, no: \boxed{3}", "0.5", True),  # equal by the exact rules
        ("so x is 204", "204", True),  # never boxed
        ("so x is 2040", "204", False),
        ("so x is 1204", "204", False),
        ("so x is 204.5", "204", False),
        ("so x is -204", "204", True),
        ("204" + " and so on" * LAST, "204", False),  # long ago, and never marked
        (r"\boxed{204}" + " and so on" * LAST, "204", True),
        ("nothing", "204", False),
        ("", "204", False),
        ("anything", None, False),
        (r"\boxed{" + "9" * 100_000 + "}", "9", False),
        ("\\boxed{" * 5000, "5", False),
        (r"\boxed{(1, 2)}", "(1,2)", True),
    ],
)
def test_by_hand(text, reference, found):
    assert stands(text, reference) is found
