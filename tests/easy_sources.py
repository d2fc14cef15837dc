"""Data that a model of a few thousand weights learns in seconds, so that rewards differ within a group of rollouts.

Half of the answers it learns are right, some are badly formed, and some run on after the answer.
"""

import json
from pathlib import Path

MATH = (
    "<think>a</think>\\boxed{1}",
    "<think>a</think>\\boxed{2}",
    "\\boxed{1}",
    "<think>a</think>\\boxed{1} aaaaaaaaaaaaaaaaaaaaaaaaaaaa",
)
CODE = ("<think>a</think>print(1)", "<think>a</think>print(input())")
TESTS = ({"input": "1", "output": "1"}, {"input": "2", "output": "2"})


def write_easy_sources(directory: Path) -> dict[str, Path]:
    """Name of a source of mini.toml -> file."""
    return {
        "careful": write(directory / "demonstrations.jsonl", _demonstrations()),
        "math-problems": write(directory / "math.jsonl", [_math(f"m{i}") for i in range(6)] + [_math("m" * 50)]),
        "code-problems": write(directory / "code.jsonl", [_code(f"c{i}") for i in range(6)]),
        "math-validation": write(directory / "math-validation.jsonl", [_math(f"m{i}") for i in (6, 7)]),
        "code-validation": write(directory / "code-validation.jsonl", [_code(f"c{i}") for i in (6, 7)]),
        "math-heldout": write(directory / "math-heldout.jsonl", [_math(f"m{i}") for i in (8, 9)]),
        "code-heldout": write(directory / "code-heldout.jsonl", [_code(f"c{i}") for i in (8, 9)]),
    }


def write(path: Path, rows: list[dict]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def _math(prompt: str) -> dict:
    return {"prompt": prompt, "answer": "1", "domain": "math", "level": "1"}


def _code(prompt: str) -> dict:
    return {"prompt": prompt, "tests": TESTS, "domain": "code", "level": "1"}


def _demonstrations() -> list[dict]:
    math = [{**_math(f"m{i}"), "response": response} for i in range(6) for response in MATH]
    code = [{**_code(f"c{i}"), "response": response} for i in range(6) for response in CODE * 2]
    return [row for pair in zip(math, code, strict=True) for row in pair]
