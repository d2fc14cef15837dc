"""Training prompts that an evaluation set holds too.

The report's rule (section 2.1): a training prompt goes if it shares n = 9 tokens in a row with an evaluation prompt.
Tokens are lower-cased words and single punctuation marks. An evaluation prompt of fewer than n tokens has no n-gram;
it is compared whole. Equal normalised prompts are caught whatever n is, 0 (no n-grams) too.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from openklear.data.rows import Row, Sifted, normalise, prompt_key, prompt_text, sift
from openklear.types import Problem

_TOKEN = re.compile(r"\w+|[^\w\s]")

Gram = tuple[str, ...]


def tokens(text: str) -> list[str]:
    """Lower-cased words and single punctuation marks, in order."""
    return _TOKEN.findall(normalise(text))


def ngrams(words: Sequence[str], n: int) -> Iterator[Gram]:
    """Every n words in a row."""
    return zip(*(words[start:] for start in range(n)), strict=False)


@dataclass(frozen=True, slots=True)
class Index:
    """What the evaluation prompts hold: each entry leads to the id of the first of them that has it."""

    n: int
    grams: dict[Gram, str] = field(default_factory=dict)
    """n tokens in a row; of a shorter prompt all of them, which no n-gram equals."""
    prompts: dict[str, str] = field(default_factory=dict)
    """Whole normalised prompts."""


def build_index(evaluation: Iterable[Problem], n: int) -> Index:
    """Index the evaluation prompts; n = 0 indexes whole prompts only."""
    index = Index(n)
    for problem in evaluation:
        text = prompt_text(problem)
        index.prompts.setdefault(normalise(text), problem.id)
        if n:
            words = tokens(text)
            for gram in ngrams(words, n) if len(words) >= n else (tuple(words),):
                index.grams.setdefault(gram, problem.id)
    return index


def decontaminate(rows: Sequence[Row], index: Index) -> Sifted:
    """Drop rows whose prompt an evaluation prompt equals or shares n tokens in a row with; the detail names it."""
    known = index.grams.keys()

    def rule(row: Row) -> tuple[str, str] | None:
        same = index.prompts.get(prompt_key(row))
        if same is not None:
            return "evaluation prompt", f"the same prompt as {same}"
        if not index.n:
            return None
        words = tokens(prompt_text(row.problem))
        if len(words) < index.n:
            same = index.grams.get(tuple(words))
            return same and ("evaluation prompt", f"the same words as {same}")  # type: ignore[return-value]
        found = next((gram for gram in ngrams(words, index.n) if gram in known), None)
        if found is None:
            return None
        return f"shares {index.n} words in a row", f"with {index.grams[found]}: {' '.join(found)}"

    return sift(rows, rule)


def drop_shared(rows: Sequence[Row], prompts: dict[str, str]) -> Sifted:
    """Drop rows whose normalised prompt is a key of `prompts` (normalised prompt -> id)."""

    def rule(row: Row) -> tuple[str, str] | None:
        same = prompts.get(prompt_key(row))
        return None if same is None else ("held-out prompt", f"the same prompt as {same}")

    return sift(rows, rule)


def shared_prompts(training: Iterable[Row], evaluation: Iterable[Row]) -> set[str]:
    """The normalised prompts that both sides hold: empty after curation, and asserted to be."""
    return {prompt_key(row) for row in training} & {prompt_key(row) for row in evaluation}
