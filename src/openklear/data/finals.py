r"""The final answer of a text that a source gives as its reference, where that text is more than an answer.

Sources of mathematics are often published with the whole solution where a reference is expected: GSM8K's "... #### 72",
MATH's "... $\boxed{72}$", a model's "<think> ... </think> ...". No attempt is equal to such a text. A text is more than
an answer if it holds a thought, GSM8K's marks, a box behind other words, several paragraphs or sentences, or words that
give reasons; everything else is an answer as it stands, whatever it holds. Of a longer text the final answer is, in
this order,

    what follows #### in its last line, as `reasoning` has it too ("1,000" is written 1000);
    what the boxes of the last line with a box hold;
    what it states in answer tags, in its last line ("the answer is"), or at its start ("Answer:");

after the thought, where there is one. Pure functions; the text may be hostile.
"""

from __future__ import annotations

import re

from openklear.data.test_cases import as_json
from openklear.think import CLOSE, OPEN, split_thought
from openklear.verifiers.answers import extract_answer, extract_boxed, join_boxes
from openklear.verifiers.prose.stated import said_from

STATED = "####"
CALCULATION = re.compile(r"<<[^\s<>=][^<>=\n]*=[^<>\n]*>>")
"""GSM8K's: <<48/2=24>>."""
NO_ANSWER = "no final answer"
"""Reason."""
_NONE_GIVEN = ("proof", "notfound")
"""What NuminaMath 1.5 has as the answer of problems without one."""
_THOUSANDS = re.compile(r"(-?\$?)(\d{1,3}(?:,\d{3})+(?:\.\d+)?)")
_NO_PROSE = re.compile(r"\\(?:text|textbf|textrm|textit|mathrm|mbox)\s?\{[^{}]*\}|\\[A-Za-z]+|\$[^$]*\$")
_WORD = re.compile(r"[^\W\d_]{2,}")
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+|\n+|(?<=[\u3002\uff01\uff1f])")
_PARAGRAPH = re.compile(r"\n\s*\n")
_TAGGED = re.compile(r"<\s?(?:final[ _-]?)?answer", re.IGNORECASE)
_BOX = re.compile(r"\\(?:boxed|fbox)\b")
_OPENS = 30
"""Characters in which a text that begins with its answer says so, in a line not twice as long: **Answer:** 72."""
_GOES_ON = re.compile(r"[.!?]\s+[A-Z]")
_GIVES_REASONS = re.compile(
    r"\b(?:since|because|hence|therefore|thus|let|note|suppose|assume|deduce|consider)\b", re.IGNORECASE
)
_REASONED = 100
"""Characters of a text from which on a word of these makes it a solution."""
_LONG = 400
"""Characters of prose from which on a text is no answer, whatever its form."""
_WORDS = 5
"""Words of a sentence: fewer are a label or a name."""
_SHORT = 40
"""Characters below which only a mark makes a text more than an answer."""
_LETTERS = 20
"""Letters of a paragraph of prose."""


def final_answer(reference: str) -> str | None:
    """The reference itself, or of a text that is more than an answer its final answer; None where it has none."""
    if len(reference) < _SHORT and reference.isalnum() and not reference.isalpha():
        return reference
    text = reference.strip()
    if text.lower() in _NONE_GIVEN:
        return None
    if not _is_more(text) or isinstance(as_json(text), dict | list):
        return reference
    if OPEN in text or CLOSE in text:
        text = (split_thought(text).answer or "").strip()
        if not _is_more(text):
            return join_boxes(text) or None
    return _found(text)


def last_result(text: str) -> tuple[str, str] | None:
    """(what stands before it, the result) of a text that ends with a line that begins with ####; GSM8K's form."""
    steps, _, last = text.rstrip().rpartition("\n")
    return (steps, last.removeprefix(STATED).strip()) if last.startswith(STATED) else None


def _found(text: str) -> str | None:
    last = text.rpartition("\n")[2]
    if STATED in last:
        return _written_out(last.rpartition(STATED)[2].strip())
    for line in reversed(text.split("\n")) if "box" in text else ():
        if extract_boxed(line):
            return join_boxes(line)
    if boxed := extract_boxed(text):
        return boxed
    if _TAGGED.search(text):
        return extract_answer(text)
    if said_from(last) < len(last) and not _GOES_ON.search(last, said_from(last)):
        return extract_answer(last)
    first = text.partition("\n")[0]
    opens = first[: said_from(first)]
    says = len(opens) < min(len(first), _OPENS) and len(first) < 2 * _OPENS and "$" not in opens
    return extract_answer(first) if says else None


def _written_out(result: str) -> str | None:
    """A result without a box, and a number without commas between its thousands."""
    result = join_boxes(result)
    number = _THOUSANDS.fullmatch(result)
    return number[1] + number[2].replace(",", "") if number else result or None


def _is_more(text: str) -> bool:
    """Whether a text is more than an answer."""
    if OPEN in text or CLOSE in text or STATED in text.rpartition("\n")[2] or CALCULATION.search(text):
        return True
    if (box := _BOX.search(text)) and _letters(_NO_PROSE.sub(" ", text[: box.start()])) and extract_boxed(text):
        return True
    if len(text) < _SHORT:
        return False
    prose = _NO_PROSE.sub(" ", text)
    paragraphs = _PARAGRAPH.split(prose)
    if sum(_letters(paragraph) >= _LETTERS for paragraph in paragraphs) and len(paragraphs) > 1:
        return True
    if len(text) > _REASONED and _GIVES_REASONS.search(prose):
        return True
    sentences = [part for part in _SENTENCE_END.split(prose) if len(_WORD.findall(part)) >= _WORDS]
    return len(sentences) > 1 or (len(text) > _LONG and _letters(prose) > _LONG // 4)


def _letters(text: str) -> int:
    return sum(map(len, _WORD.findall(text)))
