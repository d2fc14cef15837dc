"""Reasoning marked in the ways of its sources, brought to one form:

    <think>
    reasoning
    </think>

    answer

Pure functions of the response; the text between the marks stays as it is, only blank lines beside a mark go.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from openklear.data.finals import CALCULATION, last_result
from openklear.think import CLOSE, FormatFault, join_thought, split_thought
from openklear.verifiers.answers import extract_answer, extract_boxed

Parts = tuple[str, str]
"""(reasoning, answer)."""

_BLANK_LINES = re.compile(r"(?:[^\S\n]*\n)+")
_THOUGHT = "<|begin_of_thought|>", "<|end_of_thought|>"
_SOLUTION = "<|begin_of_solution|>", "<|end_of_solution|>"
_TURN = "<|im_start|>"
_HEADING = re.compile(r"(?:#+ .*|\*\*.*\*\*:?|.*:)\Z")
"""A paragraph that is one line and announces the next: in bold, as Markdown's heading, or with a colon."""
_FINAL = re.compile(r"^[#*\s]*final answer\b", re.IGNORECASE)
_CONCLUDES = re.compile(r"\b(?:answer|therefore|thus|hence|so)\b", re.IGNORECASE)
_AFTER = 1000
"""Characters that may follow the last box of a text which is all reasoning: more is no answer but more reasoning."""


def to_one_form(response: str, form: str) -> str:
    """The response, whose reasoning is marked as `form` (a key of FORMS) says, in the one form.

    Nothing is raised for a response that is not of the form: what cannot be brought there, and what opens <think>
    already, comes back as it is, for `filters.bad_format` to drop with a reason. So the result is the response itself
    or well formed, and a second call changes nothing. KeyError for an unknown form.
    """
    found = FORMS[form](response)
    if found is None or not found[0].strip():
        return response
    formed = one_form(*found)  # with a mark inside a part it is not well formed
    return formed if split_thought(formed).fault is FormatFault.NONE else response


def one_form(reasoning: str, answer: str) -> str:
    """Reasoning and answer, which some sources keep apart (R1's API: reasoning_content and content), in one text."""
    return join_thought(_trimmed(reasoning), _trimmed(answer))


def _trimmed(text: str) -> str:
    """Without blank lines at its ends; the first line keeps its indentation."""
    blank = _BLANK_LINES.match(text)
    return text[blank.end() if blank else 0 :].rstrip()


def _as_it_is(response: str) -> Parts | None:
    return None


def _openthoughts(response: str) -> Parts | None:
    """OpenThoughts-114k (github.com/open-thoughts/open-thoughts), after Sky-T1: special words around both parts."""
    before, opened, rest = response.partition(_THOUGHT[0])
    reasoning, closed, rest = rest.partition(_THOUGHT[1])
    between, began, rest = rest.partition(_SOLUTION[0])
    if not (opened and closed and began) or before.strip() or between.strip():
        return None
    answer, ended, after = rest.rpartition(_SOLUTION[1])
    return (reasoning, answer) if ended and not after.strip() else None


def _s1(response: str) -> Parts | None:
    """s1 and s1.1 (Muennighoff et al. 2025, arXiv 2501.19393): roles `think` and `answer` on lines of their own.

    They are the roles of ChatML turns (<|im_start|>think), whose special tokens are lost where a decoder skips them.
    If several lines hold `answer` alone, it is unclear which is the mark, and nothing is guessed.
    """
    first, _, rest = response.lstrip().partition("\n")
    if first.removeprefix(_TURN).strip() != "think":
        return None
    lines = rest.split("\n")
    marks = [index for index, line in enumerate(lines) if line.removeprefix(_TURN).strip() == "answer"]
    if len(marks) != 1:
        return None
    return "\n".join(lines[: marks[0]]), "\n".join(lines[marks[0] + 1 :])


def _closing(response: str) -> Parts | None:
    """DeepSeek-R1 and QwQ served with a chat template that opens <think> in the prompt: only </think> is left."""
    reasoning, closed, answer = response.partition(CLOSE)
    return (reasoning, answer) if closed else None


def _gsm8k(response: str) -> Parts | None:
    """GSM8K (Cobbe et al. 2021, arXiv 2110.14168): the result on a last line after ####; <<48/2=24>> is taken out."""
    found = last_result(response)
    return None if found is None else _with_result(CALCULATION.sub("", found[0]), found[1])


def _plain(response: str) -> Parts | None:
    r"""A worked solution: its steps are the reasoning, its result in \boxed{} is the answer.

    The result is written as in GSM8K, or in the last box, as in MATH (Hendrycks et al. 2021, arXiv 2103.03874).
    """
    return _gsm8k(response) or _with_result(response, extract_boxed(response) or "")


def _with_result(steps: str, result: str) -> Parts | None:
    answer = rf"\boxed{{{result}}}"
    return (steps, answer) if result and extract_boxed(answer) == result else None


def _boxed(response: str) -> Parts | None:
    """LIMO (Ye et al. 2025, arXiv 2502.03387) and others whose text is all reasoning: the end of it is the answer.

    That is the last paragraph with a box, and what follows it; without a box the one that says "final answer"; else
    the last one, where it says "the answer is". A heading right before goes with it. Nothing else is guessed.
    """
    paragraphs = re.split(r"(\n[^\S\n]*\n)", response.rstrip())
    start = _answer_at(paragraphs[::2])
    if start is None:
        return None
    return "".join(paragraphs[: 2 * start]), "".join(paragraphs[2 * start :])


def _answer_at(paragraphs: list[str]) -> int | None:
    """Which paragraph begins the answer."""
    last = len(paragraphs) - 1
    found = next((i for i in range(last, -1, -1) if extract_boxed(paragraphs[i]) is not None), None)
    if found is None:
        found = next((i for i in range(last, -1, -1) if _FINAL.match(paragraphs[i])), None)
    if found is None and _CONCLUDES.search(paragraphs[last]) and extract_answer(paragraphs[last]) is not None:
        found = last
    if found is None or sum(map(len, paragraphs[found + 1 :])) > _AFTER:
        return None
    before = paragraphs[found - 1].strip() if found else ""
    return found - 1 if _HEADING.match(before) else found


def _auto(response: str) -> Parts | None:
    """By the marks that the response holds; one without any looks like an answer without reasoning."""
    return next((found for form in _RECOGNISED if (found := form(response)) is not None), None)


_RECOGNISED = (_openthoughts, _closing, _s1, _gsm8k)

FORMS: dict[str, Callable[[str], Parts | None]] = {
    "think": _as_it_is,
    "auto": _auto,
    "openthoughts": _openthoughts,
    "s1": _s1,
    "closing": _closing,
    "plain": _plain,
    "boxed": _boxed,
}
"""How a source marks its reasoning -> (reasoning, answer) of its response; None where the response is not of it."""
