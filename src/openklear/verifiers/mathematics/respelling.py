r"""Two answers in one spelling, as far as one of them asks for it: what is compared, here and by math-verify."""

from __future__ import annotations

import re

from openklear.verifiers.mathematics.inequalities import one_way
from openklear.verifiers.mathematics.options import in_capitals, unlabelled
from openklear.verifiers.mathematics.qualifiers import unqualified
from openklear.verifiers.mathematics.sequences import DOTS, written_out
from openklear.verifiers.mathematics.systems import as_list, by_cases
from openklear.verifiers.mathematics.text import both, depths

_POLAR = re.compile(r"\\(?:operatorname|text|mathrm)\s?\{\s?cis\s?\}|(?<![a-zA-Z])\\?cis(?![a-zA-Z])")
_DEGREES = re.compile(r"(\d+(?:\.\d+)?) ?(?:\^ ?\{? ?\\circ ?\}?|°|\\degree(?![a-zA-Z]))")
_MOST = 8
"""Numbers in polar form that one answer may have."""


def prepared(reference: str, answer: str) -> tuple[str, str]:
    """Both texts normalised, and then one spelling for systems, sequences, labels, qualifiers and inequalities."""
    left, right = both(_before(reference), _before(answer))
    if "\\begin" in left or "\\begin" in right:
        left, right = by_cases(as_list(left), as_list(right))
    if "\\ldots" in left or "\\ldots" in right:
        left, right = written_out(left), written_out(right)
    return one_way(*unqualified(*unlabelled(*in_capitals(left, right))))


def _before(text: str) -> str:
    """What must be read before a text is normalised: a last ellipsis would go with the full stop, degrees for good."""
    if "dots" in text or "..." in text or "\u2026" in text:
        text = DOTS.sub(r"\\ldots ", text)
    return _polar(" ".join(text.split())) if "cis" in text else text


def _polar(text: str) -> str:
    r"""2 \operatorname{cis} 60^\circ as 2 e^{i(\frac{60\pi}{180})}."""
    for _ in range(_MOST):
        match = _POLAR.search(text)
        if match is None:
            return text
        end = match.end() + _argument(text[match.end() :])
        angle = _DEGREES.sub(r"\\frac{\1\\pi}{180}", text[match.end() : end])
        text = f"{text[: match.start()]} e^{{i({angle})}}{text[end:]}"
    return text


def _argument(text: str) -> int:
    """Where the argument of a function ends: with its brackets, else before the next sign or comma."""
    start = len(text) - len(text.lstrip())
    opened = depths(text)
    if text[start : start + 1] in ("(", "{", "["):
        return next((i + 1 for i, depth in enumerate(opened) if i >= start and depth == 0), len(text))
    stops = (i for i, one in enumerate(text) if opened[i] < 0 or (one in "+-,;=" and opened[i] == 0))
    return next(stops, len(text))
