"""Generated prompts at scale, with copies planted: word problems and programming tasks in an invented language.

    python benchmarks/million_prompts.py OUTPUT                          # 1,000,000 rows
    python benchmarks/million_prompts.py OUTPUT --rows 10000 --seed 2 --benchmark aime.jsonl

OUTPUT gets prompts-000.parquet ... (id, prompt, answer; 100,000 rows each), truth.parquet (one row for each prompt, in
order: kind, of, edits) and, unless a benchmark is given, benchmark.parquet (id, prompt, answer) of invented items.

kind is one of

    original   895 of 1000 rows
    exact       50: a copy of row `of`; a third as it is, a third in capitals, a third with other blanks and line breaks
    near        50: row `of` with `edits` (1, or with 3 in 10 rows 2) words changed or added; numbers stay
    benchmark    5: item `of` of the benchmark; a third as it is, a third between other sentences, a third with two
                    words added

Rows stand in random order. Sentences follow some 60 patterns with at most six fixed words in a row; their slots are
filled with numbers and with 6,000 words made of syllables, whose frequencies fall with their rank as in natural text
(Zipf). Of the 9-grams of 20,000 rows, 2.4 % stand in more than one of them.
The same seed gives the same rows (with the same versions of numpy and pyarrow, the same bytes).
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

SHARES = {"exact": 0.05, "near": 0.05, "benchmark": 0.005}
PART = 100_000
SLOTS = {"n": 2600, "v": 1300, "a": 1300, "N": 800}
"""How many nouns, verbs, adjectives and names there are."""
OPENINGS = """
%N has %d %a %n and wants to %v them before the %n .
In the town of %N there are %D %n , each with a %a %n .
A %a %n holds %d %n , but only the %a ones %v .
%N and %N %v a %n that costs %D coins .
Each %n of the %a %n in %N weighs %d grams .
Last %n , %N sold %D %n to the %a %n of %N .
The %n of %N 's %a %n is %d meters long .
Suppose that %d %n %v for %D days in a %a %n .
There is a %a %n with %d %n on every %n .
Every %n , %N can %v %d %n or %D %n .
When the %n opened , %D %a %n stood near the %n .
Let the %n be %a , and let %N %v it %d times .
You are given a %a %n of %D integers , called the %n .
A %n of length %d is %a if no %n in it can %v .
Write a function %n that takes the %a %n and a number %d .
Consider a tree whose %n are %a , with %D nodes and a %n .
%N plays a game on a %a %n of size %d .
A string is called %a when its %n and its %n %v .
The %a %n is stored as a list of %D %n .
Implement a class %n with the methods %v and %v .
"""
MIDDLES = """
Later %N gives %d %n to %N , who will %v the %n .
Of these , %d are %a and the others %v every %n .
The %n takes %d minutes , while a %a %n takes %D minutes .
If the %n were %a , it would %v %d more %n .
However , %N must %v the %n after %d %n .
Then a %a %n brings %D %n from %N .
One %n in %d is too %a to %v .
It is known that %N %v the %n in %d hours .
For each %n that they %v , %N pays %D coins .
Half of the %a %n %v , but the %n do not .
The price of a %n rises by %d percent when the %n %v .
Nobody may %v the %a %n more than %d times .
After the %n , %N finds %D %a %n under the %n .
The %n can %v at most %d %n at once .
With a %a %n , the same %n would last %d days .
Between %N and the %n lie %d %n and a %a %n .
In one move you may %v a %n and replace it by its %n .
Two %n are %a if they share the same %n .
Each query asks to %v the %n between positions %d and %D .
The first line gives the %n , the second the %a %n .
It is guaranteed that the %n never exceeds %D .
Your solution must %v each %a %n in linear time .
If several %n are %a , return the one with the least %n .
The %n must not %v while the %n is %a .
Every %n has a %a neighbour unless it is a %n .
Return an empty list if no %n can %v .
The input never holds a %a %n or a repeated %n .
For example , the %n of %d and %D is %a .
"""
QUESTIONS = """
How many %n does %N have after the %a %n ?
What is the %a %n of the remaining %n , in %n ?
How long does %N need to %v all the %n ?
Find the number of %a %n that %N can %v .
What fraction of the %n will %v in the %n ?
How much must %N pay for %d %a %n ?
Compute the %n modulo %D , if the %n is %a .
Print the largest %n that the %a %n can %v .
Return the %n of the %a %n as an integer .
Determine whether %N can %v every %n before the %n .
In how many ways can the %n %v %d %n ?
Output the minimal number of %n needed to %v the %a %n .
"""


@dataclass(frozen=True)
class Ragged:
    """Rows of token ids, one after the other: row i is tokens[offsets[i] : offsets[i + 1]]."""

    tokens: NDArray[np.int32]
    offsets: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def take(self, rows: NDArray[np.int64]) -> Ragged:
        sizes = np.diff(self.offsets)[rows]
        offsets = np.concatenate([[0], np.cumsum(sizes)])
        places = np.arange(offsets[-1]) + np.repeat(self.offsets[rows] - offsets[:-1], sizes)
        return Ragged(self.tokens[places], offsets)


class Language:
    """The words, and prompts made of them."""

    def __init__(self, seed: int):
        rng = np.random.default_rng([seed, 0])
        vocabulary = _vocabulary(rng, sum(SLOTS.values()))
        bounds = np.cumsum([0, *SLOTS.values()])
        self.ranges = dict(zip(SLOTS, zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True), strict=True))
        first, last = self.ranges["N"]
        vocabulary[first:last] = [word.capitalize() for word in vocabulary[first:last]]
        self.words = len(vocabulary)
        self.numbers = (self.words, self.words + 10_000)
        vocabulary += map(str, range(10_000))
        patterns = [[line.split() for line in part.strip().split("\n")] for part in (OPENINGS, MIDDLES, QUESTIONS)]
        fixed = sorted({token for part in patterns for line in part for token in line if token[0] != "%"})
        code = {token: len(vocabulary) + place for place, token in enumerate(fixed)}
        self.vocabulary = pa.array([*vocabulary, *fixed], pa.string())
        self.patterns = [[code.get(token, token) for token in line] for part in patterns for line in part]
        self.parts = np.cumsum([0, *map(len, patterns)])

    def draw(self, rng: np.random.Generator, kind: str, count: int) -> NDArray[np.int32]:
        """Token ids for a slot."""
        if kind in "dD":
            low, high = (2, 100) if kind == "d" else (100, 10_000)
            return (self.numbers[0] + rng.integers(low, high, count)).astype(np.int32)
        first, last = self.ranges[kind]
        weights = np.cumsum(1.0 / np.arange(4, 4 + last - first))
        places = first + np.searchsorted(weights, rng.random(count) * weights[-1])
        return np.asarray(places, np.int32)

    def prompts(self, rng: np.random.Generator, count: int) -> Ragged:
        """Prompts of an opening, one to five sentences, and a question."""
        sentences = rng.integers(3, 8, count)
        ends = np.cumsum(sentences)
        pattern = rng.integers(self.parts[1], self.parts[2], ends[-1])
        pattern[ends - sentences] = rng.integers(self.parts[0], self.parts[1], count)
        pattern[ends - 1] = rng.integers(self.parts[2], self.parts[3], count)
        lengths = np.asarray([len(line) for line in self.patterns])[pattern]
        starts = np.cumsum(lengths) - lengths
        tokens = np.empty(int(lengths.sum()), np.int32)
        for number, line in enumerate(self.patterns):
            here = starts[pattern == number]
            for place, token in enumerate(line):
                tokens[here + place] = self.draw(rng, token[1], len(here)) if isinstance(token, str) else token
        return Ragged(tokens, np.concatenate([[0], starts[ends[:-1]], [len(tokens)]]).astype(np.int64))

    def edited(self, rng: np.random.Generator, prompts: Ragged, added: NDArray[np.bool_]) -> Ragged:
        """Each prompt with one of its words followed by another one (`added`) or replaced."""
        words = np.flatnonzero(prompts.tokens < self.words)
        first = np.searchsorted(words, prompts.offsets)
        place = words[first[:-1] + (rng.random(len(prompts)) * np.diff(first)).astype(np.int64)]
        word = rng.integers(0, self.words, len(prompts)).astype(np.int32)
        tokens = prompts.tokens.copy()
        tokens[place[~added]] = word[~added]
        tokens = np.insert(tokens, place[added] + 1, word[added])
        return Ragged(tokens, prompts.offsets + np.concatenate([[0], np.cumsum(added)]))

    def texts(self, prompts: Ragged) -> pa.Array:
        """Prompts as text."""
        words = self.vocabulary.take(pa.array(prompts.tokens))
        joined = pc.binary_join(pa.ListArray.from_arrays(pa.array(prompts.offsets, pa.int32()), words), " ")
        for mark in (".", ",", "?", "'s"):
            joined = pc.replace_substring(joined, f" {mark}", mark)
        return joined


def _vocabulary(rng: np.random.Generator, count: int) -> list[str]:
    """Different words of two or three syllables."""
    onsets = [*"bcdfghjklmnprstvw", "br", "cl", "dr", "fl", "gr", "pl", "st", "tr"]
    syllables = ["".join(parts) for parts in product(onsets, "aeiou", ["", *"lmnrst"])]
    made: dict[str, None] = {}
    while len(made) < count:
        for size, *picks in rng.integers(0, len(syllables), (count, 4)).tolist():
            made.setdefault("".join(syllables[pick] for pick in picks[: 2 + size % 2]))
    return list(made)[:count]


def _plan(rng: np.random.Generator, rows: int, items: int) -> tuple[NDArray[np.object_], NDArray[np.int64]]:
    """The kind of every row, and for a copy the row or the item that it is a copy of."""
    counts = {kind: round(rows * share) for kind, share in SHARES.items()}
    counts = {"original": rows - sum(counts.values()), **counts}
    kind = rng.permutation(np.repeat(np.array([*counts], object), [*counts.values()]))
    of = np.full(rows, -1)
    originals = np.flatnonzero(kind == "original")
    for copied in ("exact", "near"):
        of[kind == copied] = rng.choice(originals, counts[copied], replace=False)
    of[kind == "benchmark"] = rng.permutation(np.arange(counts["benchmark"]) % max(items, 1))
    return kind, of


def _disguised(rng: np.random.Generator, texts: pa.Array) -> pa.Array:
    """Texts whose normal form stays: as they are, in capitals, with other blanks."""
    way = rng.integers(0, 3, len(texts))
    blanks = pc.replace_substring(pc.replace_substring(texts, ". ", ".\n\n"), " the ", "  the ")
    return pc.choose(pa.array(way, pa.int64()), texts, pc.utf8_upper(texts), blanks)


def _contaminated(rng: np.random.Generator, language: Language, items: pa.Array) -> pa.Array:
    """Texts that hold a benchmark's items: as they are, between other sentences, with two words added."""
    way = rng.integers(0, 3, len(items))
    before, after = (language.texts(language.prompts(rng, len(items))) for _ in range(2))
    between = pc.binary_join_element_wise(before, items, after, " ")
    words = language.vocabulary.take(pa.array(rng.integers(0, language.words, 2 * len(items)))).to_pylist()
    longer = []
    for place, text in enumerate(items.to_pylist()):
        parts = text.split(" ")
        for word in words[2 * place : 2 * place + 2]:
            parts.insert(int(rng.integers(0, len(parts) + 1)), word)
        longer.append(" ".join(parts))
    return pc.choose(pa.array(way, pa.int64()), items, between, pa.array(longer))


def _items(language: Language, seed: int, count: int) -> pa.Table:
    """Invented items of a benchmark."""
    rng = np.random.default_rng([seed, 2])
    prompts = language.texts(language.prompts(rng, count))
    answers = pc.cast(pa.array(rng.integers(0, 10_000, count)), pa.string())
    return pa.table({"id": [f"item/{place}" for place in range(count)], "prompt": prompts, "answer": answers})


def _read_items(path: Path) -> pa.Table:
    """Items of a JSONL file with id and prompt or problem."""
    found = [json.loads(line) for line in path.read_text().splitlines()]
    prompts = [item.get("prompt") or item["problem"] for item in found]
    return pa.table({"id": [str(item["id"]) for item in found], "prompt": prompts})


def generate(output: Path, rows: int = 1_000_000, seed: int = 1, benchmark: Path | None = None) -> None:
    """Write the files that the module's docstring lists."""
    output.mkdir(parents=True, exist_ok=True)
    language = Language(seed)
    items = (
        _read_items(benchmark) if benchmark else _items(language, seed, max(2 * round(rows * SHARES["benchmark"]), 1))
    )
    if benchmark is None:
        pq.write_table(items, output / "benchmark.parquet")
    rng = np.random.default_rng([seed, 1])
    kind, of = _plan(rng, rows, len(items))
    edits = np.where(kind == "near", 1 + (rng.random(rows) < 0.3), 0)
    originals = np.flatnonzero(kind == "original")
    made = language.prompts(rng, len(originals))
    place = np.full(rows, -1)
    place[originals] = np.arange(len(originals))
    source = np.where(kind == "benchmark", of, place[np.where(kind == "original", np.arange(rows), of)])
    for number, start in enumerate(range(0, rows, PART)):
        here = np.arange(start, min(start + PART, rows))
        prompts = _part(rng, language, made, items["prompt"].combine_chunks(), kind[here], source[here], edits[here])
        answers = pc.cast(pa.array(rng.integers(0, 10_000, len(here))), pa.string())
        table = pa.table({"id": [f"row/{row}" for row in here.tolist()], "prompt": prompts, "answer": answers})
        pq.write_table(table, output / f"prompts-{number:03}.parquet", row_group_size=4096, compression="zstd")
    truth = pa.table({"kind": pa.array(kind, pa.string()), "of": of, "edits": edits})
    pq.write_table(truth, output / "truth.parquet", compression="zstd")


def _part(
    rng: np.random.Generator,
    language: Language,
    made: Ragged,
    items: pa.Array,
    kind: NDArray[np.object_],
    source: NDArray[np.int64],
    edits: NDArray[np.int64],
) -> pa.Array:
    """The prompts of some rows: `source` is the place of each in `made`, or of its item in `items`."""
    rows = {name: np.flatnonzero(kind == name) for name in ("original", "exact", "near", "benchmark")}
    of = {name: source[here] for name, here in rows.items()}
    copies = made.take(of["near"])
    once = language.edited(rng, copies, rng.random(len(copies)) < 0.5)
    twice = language.edited(rng, once, rng.random(len(copies)) < 0.5)
    texts = [
        language.texts(made.take(of["original"])),
        _disguised(rng, language.texts(made.take(of["exact"]))),
        pc.if_else(pa.array(edits[rows["near"]] == 2), language.texts(twice), language.texts(once)),
        _contaminated(rng, language, items.take(pa.array(of["benchmark"]))),
    ]
    return pa.concat_arrays(texts).take(pa.array(np.argsort(np.concatenate([*rows.values()]))))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", type=Path)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--benchmark", type=Path, help="JSONL with id and prompt (or problem)")
    arguments = parser.parse_args()
    generate(arguments.output, arguments.rows, arguments.seed, arguments.benchmark)


if __name__ == "__main__":
    main()
