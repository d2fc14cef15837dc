"""The references that respellings and mutations start from: a list of our own, and real ones of OPENKLEAR_DATA."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from itertools import zip_longest
from pathlib import Path

OWN = r"""
7 | 42 | -3 | 1200 | 48480 | 1000000 | 225 | 1034289 | 16 | -18 | 90 | 12 | 31 | 6400 | 97 | 5040 | 23 | 86 | 1999 | 300
\frac{1}{2} | \frac{3}{4} | -\frac{7}{16} | \frac{5}{3} | \frac{22}{7} | \dfrac{14}{25} | \frac{1}{3} | -\frac{2}{9} | \frac{13}{6} | \frac{9}{8}
2.5 | 0.375 | -1.25 | 13.6 | .3 | 28.25 | 20\% | 62.5\% | 5\% | 30^\circ | 72^{\circ} | 135^\circ
\sqrt{2} | 4\sqrt{3} | \frac{\sqrt{5}}{2} | 2 - \sqrt{3} | 1 + \sqrt{7} | \frac{3+\sqrt{5}}{2} | 5\sqrt[3]{4} | \frac{\sqrt{3}}{3}
\pi | 6\pi | \frac{\pi}{4} | 12 + 5\pi | 3\pi^2 | \frac{2\pi}{3} | \pi - 2 | 8\pi\sqrt{2}
2^{10} | 3^{2024} | e^2 | \ln 2 | 3\ln 5 | 2^{15} - 1 | \frac{e - 1}{2} | 10! | \binom{12}{5}
x^2 + 3x - 4 | 2x^3 - 7x | (x+1)(x-2) | 3y + 2 | \frac{x}{x+1} | 4a^2b | n^2 - n + 1 | -6t^4 + 11t^3 - 10 | p - q | 15x - 80
(1, 2) | (-3, 0, 5) | \left(\frac{1}{2}, 3\right) | (\sqrt{2}, -1) | (4, 7, 9) | (0, -8) | (12, 5) | (6, 1, 3, 2)
[0, 1] | (-2, 3] | [5, \infty) | (-\infty, 4) | \left[-\frac{1}{2}, 2\right) | (0, 9) | [-7, 7] | (1, 6]
(-\infty, -1) \cup (4, \infty) | [-2, 0) \cup (0, 2] | (-\infty, 5) \cup (5, \infty) | (1, 2) \cup (3, 4)
2, 3 | -1, 0, 4 | 1, -6 | \frac{1}{2}, 5 | \{1, 2, 3\} | \{4, 7\} | \{-1, 0, 5\} | \{\sqrt{2}, 3\}
3 + 4i | -2 - i | 5i | 6 - 5i | 1 + 2i | \frac{1}{2} + 3i
1011_2 | 234_5 | 66_8 | 2107_9 | 1212_3 | 453_{6} | A | (B) | \text{C} | \text{(D)} | E
8 \text{ cm} | 12\text{ cm}^2 | 60 \text{ inches} | 35\text{ kg} | 0.4\mbox{ miles} | 20 \text{ minutes} | 14\text{ meters} | 9 \text{ feet}
\text{even} | \text{Tuesday} | \text{yes} | \text{ellipse} | \text{Evelyn} | \text{negative} | \text{no solution}
y = 2x + 3 | x = 5 | k = \frac{3}{4} | x = 1, y = 2 | f(x) = 3x - 1 | a=2, b=7, c=1 | y=-2x+1 | x^2 + y^2 = 25
x \ge 2 | -2 < x < 5 | x > 7 | 0 \le a \leq 1 | x < -3 | 3 \le n < 9
\begin{pmatrix} 1 \\ 2 \end{pmatrix} | \begin{pmatrix} 3 & -1 \\ 0 & 4 \end{pmatrix} | \begin{pmatrix} -7 \\ 16 \\ 5 \end{pmatrix} | \begin{pmatrix} 2 & 5 \\ 1 & 3 \end{pmatrix}
\emptyset | \mathbb{R} | 2\frac{1}{2} | 3.4 \times 10^{8} | 95,\!040 | 1,\!722 | \sin x | \tan \frac{x}{2} | 1 \pm \sqrt{2} | 3\cos(2x) | |x - 3| | 2|y|
"""
"""Written by us in the ways of MATH, AIME, DeepMath and GSM8K; the suite runs on these everywhere."""


def own() -> list[str]:
    """Our own references, shuffled, the same in every run."""
    found = [piece.strip() for line in OWN.strip().split("\n") for piece in line.split(" | ")]
    random.Random(0).shuffle(found)
    return found


def real(data: Path) -> list[str]:
    """Different references of six sets, shuffled within each and then one of each set in turn."""
    sets = []
    for answers in _sets(data):
        texts = sorted({answer.strip() for answer in answers if answer.strip() and "box" not in answer})
        random.Random(0).shuffle(texts)
        sets.append(texts)
    turns = zip_longest(*sets)
    return list(dict.fromkeys(text for turn in turns for text in turn if text is not None))


def _sets(data: Path) -> Iterator[list[str]]:
    for name in ("train/math_train.json", "train/aime_1983_2023.json"):
        yield [str(row["answer"]) for row in json.loads((data / name).read_text(encoding="utf-8"))]
    yield [str(row["ground_truth"]) for row in _rows(data / "train/deepmath.jsonl")]
    yield [str(row["answer"]).rpartition("####")[2] for row in _rows(data / "train/gsm8k_train.jsonl")]
    for names in (("math500",), ("hmmt_feb_2024", "hmmt_feb_2025", "aime24", "aime25")):
        rows = [row for name in names for row in _rows(data / f"benchmarks/{name}.jsonl")]
        yield [str(row["answer"]) for row in rows]


def _rows(path: Path) -> list[dict[str, object]]:
    with open(path, encoding="utf-8") as file:
        return [json.loads(line) for line in file]
