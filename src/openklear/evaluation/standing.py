"""Whether the right answer stands in a completion that does not count as right.

It does where one of its boxes, also in the reasoning or before the last one, holds what equals the reference by the
exact rules, or where the last lines hold the reference as a word of its own. That is a hint to look, no verdict: of
short references some stand there by chance.
"""

from __future__ import annotations

import re

from openklear.verifiers.answers import boxed_texts, join_boxes
from openklear.verifiers.mathematics.exact import decide
from openklear.verifiers.mathematics.limits import over_limit
from openklear.verifiers.mathematics.text import normalise
from openklear.verifiers.mathematics.values import TooLarge

LAST = 300
"""Characters at the end of a completion in which the reference is looked for as it is written."""
_WORD = r"(?<![\w.\\]){}(?![\w\\]|\.\d)"


def stands(text: str, reference: str | None) -> bool:
    """Whether the reference stands in the text; never without one."""
    if reference is None or over_limit(reference):
        return False
    wanted = join_boxes(reference)
    if any(_equal(wanted, one) for one in dict.fromkeys(boxed_texts(text))):
        return True
    word = normalise(wanted)
    return bool(word) and re.search(_WORD.format(re.escape(word)), text[-LAST:]) is not None


def _equal(reference: str, answer: str) -> bool:
    if over_limit(answer):
        return False
    try:
        return decide(reference, answer) is True
    except TooLarge:
        return False
