"""Sources in which every step of curation finds something, written from a seed."""

from __future__ import annotations

import json
import random
from pathlib import Path

RECIPE = """
[data]
drop_broken = true
correct_only = []
mixture_rows = 500
[data.near_duplicates]
[data.decontaminate]
type = "weighted"
[data.lengths]
max_prompt = 400
[data.selection]
budget = 700
"""
STEPS = (
    *("normalise", "lengths", "require_format", "broken_traces", "deduplicate", "near_duplicates", "decontaminate"),
    *("selection", "mixture", "disjoint"),
)
"""Of the demonstrations, after `read`."""


def write_recipe(directory: Path) -> Path:
    """Six files of seeded word problems with copies, near copies, leaks, and rows that rules drop; and the recipe."""
    seeded = random.Random(7)
    words = ["".join(seeded.choices("abcdefghiklmnoprstuvw", k=seeded.randint(2, 9))) for _ in range(3000)]
    leaks = [" ".join(seeded.choices(words, k=30)) for _ in range(20)]
    (directory / "bench.jsonl").write_text("".join(json.dumps({"problem": t, "answer": "1"}) + "\n" for t in leaks))
    text, prompts = RECIPE, list(leaks)
    for number in range(6):
        role = "demonstrations" if number < 4 else "problems"
        with (directory / f"{number}.jsonl").open("w") as file:
            for _ in range(600):
                prompt = " ".join(seeded.choices(words, k=seeded.randint(5, 90)))
                if seeded.random() < 0.2:
                    prompt = seeded.choice(prompts)
                if seeded.random() < 0.1:
                    prompt += " " + seeded.choice(words)
                prompts.append(prompt)
                response = f"<think>{prompt}</think>" + seeded.choice(
                    ["\\boxed{1}", "\\boxed{1}", "It is 1.", "", "So we take the"]
                )
                file.write(json.dumps({"prompt": prompt, "response": response, "answer": "1"}) + "\n")
        text += f'[[data.source]]\nname = "s{number}"\npath = "{number}.jsonl"\nrole = "{role}"\ndomain = "math"\n'
    text += '[[data.source]]\nname = "bench"\npath = "bench.jsonl"\nrole = "benchmark"\ndomain = "math"\n'
    (directory / "recipe.toml").write_text(text)
    return directory / "recipe.toml"
