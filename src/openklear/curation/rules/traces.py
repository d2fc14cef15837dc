"""Broken traces: reasoning that never ends, runs in circles, breaks off, or ends without an answer.

Each check is a pure function of texts, linear in them but for a sort. `broken_trace` asks all of them about a
demonstration in the one form of `data.reasoning`; the first that finds something names the reason.
"""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from openklear.curation.rules import Reason
from openklear.curation.text.cut import GOLDEN
from openklear.data.rows import Row
from openklear.think import CLOSE, OPEN, split_thought
from openklear.verifiers.domains import DOMAINS


@dataclass(frozen=True, slots=True)
class TraceLimits:
    """What counts as running in circles; sizes in words (parts between white space).

    The defaults are ours. They are far from honest traces: of 1,604 real ones (five teachers, up to 15,000 words)
    none repeats anything three times in a row over more than 14 words, or says more than 13 % in runs of 20 words that
    it has said before. (MassiveText's limit for web pages, 10 % of the characters in repeated runs of 10 words, would
    drop 83 of the 1,521 correct ones: reasoning looks back on what it found.)
    """

    repeats: int = 4
    """A unit that follows itself so often, anywhere..."""
    unit_words: int = 128
    """...and has at most so many words..."""
    loop_words: int = 60
    """...over so many words in all, is a loop."""
    end_repeats: int = 3
    """A unit of any length at the end of a part is one after so many."""
    run_words: int = 20
    """Runs of so many words..."""
    said_before: float = 0.5
    """...that cover this share of a part and have been said before in it, are too many."""


DEFAULT_LIMITS = TraceLimits()


def broken_trace(row: Row) -> Reason:
    """Why the row's response is broken, or None. It looks at the problem's domain and the response alone.

    A response that neither opens nor closes a thought counts as an answer: whether it needs a thought is a question
    for `filters.bad_format`.
    """
    text = row.response or ""
    if OPEN in text and CLOSE not in text:
        return "no end of thought", _end(text)
    reasoning, answer = parts(text)
    if CLOSE in text and not reasoning.strip():
        return "empty reasoning", ""
    if not answer.strip():
        return "no answer", "nothing follows the reasoning"
    bare_program = DOMAINS[row.problem.domain].runs_programs and not _FENCE.search(answer)
    return (
        endless_repetition(reasoning)
        or endless_repetition(answer)
        or (None if bare_program else truncated(answer))  # one that breaks off does not compile
        or answer_missing(answer, row.problem.domain)
    )


def parts(text: str) -> tuple[str, str]:
    """(reasoning, answer) of a response; a mark that is missing leaves the reasoning empty."""
    _, reasoning, answer = split_thought(text)
    return reasoning, answer or ""


def endless_repetition(text: str, limits: TraceLimits = DEFAULT_LIMITS) -> Reason:
    """A loop inside the text or at its end, or too much that was said before.

    The last word is left out: a text that was cut off in a loop ends in a part of a word. The share of repeated n-grams
    follows MassiveText's filter (Rae et al. 2021, arXiv 2112.11446, table A1), over words and with longer runs.
    """
    words = text.split()[:-1]
    if len(words) < limits.loop_words:
        return None
    numbers: dict[str, int] = {}
    ids = np.array([numbers.setdefault(word, len(numbers)) for word in words], dtype=np.int64)
    before = said_before(ids, limits.run_words)
    loop = (loop_inside(ids, limits) or loop_at_end(ids, limits)) if _may_loop(before, limits) else None
    if loop is not None:
        start, period, covered = loop
        unit = " ".join(words[start : start + min(period, 12)])
        return "endless repetition", f"{covered // period} times {period} words: {unit}"
    share = float(before.mean())
    if share >= limits.said_before:
        return "endless repetition", f"{share:.0%} in runs of {limits.run_words} words said before"
    return None


def _may_loop(before: NDArray[np.bool_], limits: TraceLimits) -> bool:
    """Whether enough words in a row were said before: all of a loop but its first unit. Most texts end here."""
    fewest = min(limits.repeats, limits.end_repeats)
    needed = limits.loop_words * (fewest - 1) // fewest
    edges = np.flatnonzero(np.concatenate(([True], ~before, [True])))  # gaps between edges are runs said before
    return needed < limits.run_words or int(np.diff(edges).max()) > needed


Loop = tuple[int, int, int]
"""(start, period, words covered)."""


def loop_inside(ids: NDArray[np.int64], limits: TraceLimits) -> Loop | None:
    """The longest stretch in which a short unit repeats often enough; limits.unit_words passes over the words."""
    found: Loop | None = None
    for period in range(1, min(limits.unit_words, len(ids) // limits.repeats) + 1):
        # stretches between two differences: there each word equals the one a period before it
        differs = np.flatnonzero(ids[period:] != ids[:-period])
        edges = np.concatenate(([-1], differs, [len(ids) - period]))
        gaps = np.diff(edges) - 1
        widest = int(gaps.argmax())
        covered = int(gaps[widest]) + period
        enough = covered >= limits.loop_words and covered >= limits.repeats * period
        if enough and (found is None or covered > found[2]):
            found = int(edges[widest]) + 1, period, covered
    return found


def loop_at_end(ids: NDArray[np.int64], limits: TraceLimits) -> Loop | None:
    """The longest end of the sequence that is some unit, of any length, again and again.

    By the prefix function of the reversed sequence (Knuth, Morris and Pratt 1977): its first i elements have the period
    i - border[i]. Linear.
    """
    backwards = ids[::-1].tolist()
    border = [0] * (len(backwards) + 1)
    found: Loop | None = None
    matched = 0
    for i in range(1, len(backwards)):
        while matched and backwards[i] != backwards[matched]:
            matched = border[matched]
        matched += backwards[i] == backwards[matched]
        border[i + 1] = matched
        covered, period = i + 1, i + 1 - matched
        if covered >= limits.loop_words and covered >= limits.end_repeats * period:
            found = len(backwards) - covered, period, covered
    return found


def said_before(ids: NDArray[np.int64], run: int) -> NDArray[np.bool_]:
    """(n,) for each word, whether it is in a run of `run` words that occurred earlier in the sequence."""
    if len(ids) <= run:
        return np.zeros(len(ids), dtype=bool)
    windows = np.lib.stride_tricks.sliding_window_view(ids, run)  # (n - run + 1, run)
    _, first = np.unique(_fingerprints(windows), return_index=True)
    repeated = np.ones(len(windows), dtype=bool)
    repeated[first] = False
    # +1 where a repeated run begins and -1 behind its end: the running sum counts the runs that cover a word
    changes = np.zeros(len(ids) + 1, dtype=np.int64)
    places = np.flatnonzero(repeated)
    changes[places] += 1
    changes[places + run] -= 1
    return changes[:-1].cumsum() > 0


def _fingerprints(windows: NDArray[np.int64]) -> NDArray[np.uint64]:
    """A polynomial in each window's elements, modulo 2^64: equal windows have equal ones."""
    found = np.zeros(len(windows), dtype=np.uint64)
    for column in range(windows.shape[1]):
        found = found * np.uint64(GOLDEN) + windows[:, column].astype(np.uint64) + np.uint64(1)
    return found


_FENCE = re.compile(r"^[^\S\n]*```", re.MULTILINE)
_CODE = re.compile(r"^[^\S\n]*```.*?^[^\S\n]*```|`[^`\n]*`", re.MULTILINE | re.DOTALL)
_PAIRS = ((r"\[", r"\]"), (r"\(", r"\)"), (r"\begin{", r"\end{"))
_BRACES = re.compile(r"\\.|[{}]", re.DOTALL)
_BOX = re.compile(r"\\(?:boxed|fbox)\s*\{")
_GOES_ON = frozenset(",;:=+<&^_([{\\/-")
"""Characters that end no sentence and no formula."""
_STATES = re.compile(r"\\boxed|\\fbox|\banswer\b|答案", re.IGNORECASE)
_RESULT = re.compile(r"[:=]\s*\S{1,40}\Z")
_FEW_WORDS = 3
_STATEMENT = 60
"""Characters at the end of a line in which it states its answer: one that begins with "Answer:" may be cut off."""


def truncated(answer: str) -> Reason:
    """Whether the answer breaks off: inside a code fence, a box or a formula, or in the middle of a sentence."""
    text = answer.rstrip()
    if len(_FENCE.findall(text)) % 2:
        return "truncated", "code fence not closed"
    prose = _CODE.sub("", text)
    boxes = list(_BOX.finditer(prose))
    if boxes and _stays_open(prose, boxes[-1].end()):
        return "truncated", "box not closed"
    for opened, closed in _PAIRS:
        if _last(prose, opened) > _last(prose, closed):
            return "truncated", f"{opened} not closed"
    line = text.rpartition("\n")[2]
    return ("truncated", _end(text)) if text and _mid_sentence(line, text) else None


def _stays_open(text: str, start: int) -> bool:
    depth = 1
    for match in _BRACES.finditer(text, start):
        depth += {"{": 1, "}": -1}.get(match.group(), 0)
        if not depth:
            return False
    return True


def _last(text: str, mark: str) -> int:
    r"""The last place of a mark; \\[ is a line break with a gap and no formula."""
    place = text.rfind(mark)
    while place > 0 and text[place - 1] == "\\":
        place = text.rfind(mark, 0, place)
    return place


def _mid_sentence(line: str, text: str) -> bool:
    """Whether the last line is a piece of a sentence.

    One that ends in a letter or a digit is none where it states the answer, is nothing but a result, or is a few words
    beside an answer that is stated already.
    """
    if line[-1] in _GOES_ON:
        return True
    if not line[-1].isalnum() or _STATES.search(line[-_STATEMENT:]):
        return False
    few = line.count(" ") < _FEW_WORDS
    if few and (line == text or _STATES.search(text)):
        return False
    return not (line[-1].isdigit() and (few or _RESULT.search(line)))


def answer_missing(answer: str, name: str) -> Reason:
    """An answer that holds nothing which the domain of that name could grade."""
    domain = DOMAINS[name]
    if domain.runs_programs:
        return None if _holds_program(answer) else ("no answer", "no program in what follows the reasoning")
    nothing = domain.extract(answer, None) is None
    return ("no answer", "no result in what follows the reasoning") if nothing else None


def _holds_program(answer: str) -> bool:
    """A fenced block with something in it, or a text that is itself Python."""
    blocks = _FENCE.split(answer)[1::2]
    if blocks:
        return any(block.partition("\n")[2].strip() for block in blocks)
    try:
        statements = ast.parse(answer).body
    except (SyntaxError, ValueError, RecursionError, MemoryError):  # prose, NUL, brackets nested too deep
        return False
    return any(not isinstance(one, ast.Expr) or isinstance(one.value, ast.Call) for one in statements)


def _end(text: str) -> str:
    return f"...{text.rstrip()[-60:]}"
