"""The demo world: deterministic, right where it says it is right, and dirty where it says it is dirty."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from typing import Any

import pyarrow.parquet as pq
import pytest

from openklear.demo import arithmetic
from openklear.demo import programs as world_code
from openklear.demo.exercises import DOMAINS, LEVELS
from openklear.demo.world import WORDS, write_world

DUPLICATES, LEAKS = 24, 16  # what the default shares come to in the recipe below, per domain
SPLITS = ("problems", "validation", "heldout")


@dataclass(frozen=True)
class Recipe:
    seed: int = 0
    demonstrations: int = 600
    problems: int = 200
    validation: int = 40
    heldout: int = 80


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("world")
    write_world(directory, **vars(Recipe()))
    return directory


def read_jsonl(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def demonstrations(directory: Path) -> Iterator[dict[str, Any]]:
    """Every demonstration with its prompt and completion lifted out of either shape."""
    folder = directory / "demonstrations"
    rows = read_jsonl(folder / "careful.jsonl") + read_jsonl(folder / "noise.jsonl")
    for row in rows + pq.read_table(folder / "sloppy.parquet").to_pylist():
        if "messages" in row:
            prompt, completion = (turn["content"] for turn in row["messages"])
        else:
            prompt, completion = (turn["value"] for turn in row["conversations"])
        yield {**row, "prompt": prompt, "completion": completion}


def split_rows(directory: Path, split: str) -> list[dict[str, Any]]:
    return [row for domain in DOMAINS for row in read_jsonl(directory / split / f"{domain}.jsonl")]


def normalised(prompt: str) -> str:
    return " ".join(prompt.lower().split())


def ngrams(prompt: str) -> set[tuple[str, ...]]:
    tokens = re.findall(r"\w+|[^\w\s]", prompt.lower())
    return {tuple(tokens[start : start + 9]) for start in range(max(1, len(tokens) - 8))}


def evaluate(node: ast.expr) -> int:
    """Arithmetic by walking the syntax tree: nothing shared with the generator."""
    if isinstance(node, ast.BinOp):
        left, right = evaluate(node.left), evaluate(node.right)
        if isinstance(node.op, ast.Add):
            return left + right
        if isinstance(node.op, ast.Sub):
            return left - right
        assert isinstance(node.op, ast.Mult)
        return left * right
    if isinstance(node, ast.UnaryOp):
        assert isinstance(node.op, ast.USub)
        return -evaluate(node.operand)
    assert isinstance(node, ast.Constant)
    assert isinstance(node.value, int)
    return node.value


def run_program(program: str, inputs: list[str]) -> list[str]:
    """What a program prints for each input, in one subprocess."""
    driver = (
        "import io, json, sys\n"
        "job = json.load(sys.stdin)\n"
        "outputs = []\n"
        "for text in job['inputs']:\n"
        "    sys.stdin, sys.stdout = io.StringIO(text), io.StringIO()\n"
        "    exec(compile(job['program'], 'program', 'exec'), {'__name__': '__main__'})\n"
        "    outputs.append(sys.stdout.getvalue())\n"
        "json.dump(outputs, sys.__stdout__)\n"
    )
    job = json.dumps({"program": program, "inputs": inputs})
    done = subprocess.run([sys.executable, "-I", "-c", driver], input=job, capture_output=True, text=True, check=True)
    outputs: list[str] = json.loads(done.stdout)
    return outputs


def program_of(completion: str) -> str:
    match = re.search(r"```python\n(.+?)\n```$", completion, re.DOTALL)
    assert match is not None
    return match.group(1)


def passed(program: str, tests: list[dict[str, str]]) -> int:
    outputs = run_program(program, [test["input"] for test in tests])
    return sum(output == test["output"] for output, test in zip(outputs, tests, strict=True))


def test_the_same_seed_writes_the_same_bytes_and_another_seed_does_not(world: Path, tmp_path: Path) -> None:
    write_world(tmp_path / "again", **vars(Recipe()))
    write_world(tmp_path / "other", **vars(replace(Recipe(), seed=1)))
    files = sorted(path.relative_to(world) for path in world.rglob("*") if path.is_file())
    assert len(files) == 3 + len(SPLITS) * len(DOMAINS)
    for file in files:
        assert (world / file).read_bytes() == (tmp_path / "again" / file).read_bytes()
        assert (world / file).read_bytes() != (tmp_path / "other" / file).read_bytes()


def test_counts_and_columns_are_those_of_the_recipe(world: Path) -> None:
    recipe = Recipe()
    assert len(list(demonstrations(world))) == 2 * (recipe.demonstrations + LEAKS + DUPLICATES)
    for split, count in (("problems", 200 + LEAKS), ("validation", 40), ("heldout", 80)):
        rows = split_rows(world, split)
        assert len(rows) == 2 * count
        assert len({row["id"] for row in rows}) == len(rows)
        assert {row["level"] for row in rows} == {str(level) for level in LEVELS}
        for row in rows:
            assert (row["answer"] is None, row["tests"] is None) == (row["domain"] == "code", row["domain"] == "math")


def test_every_reference_answer_is_the_value_of_its_expression(world: Path) -> None:
    rows = [*demonstrations(world), *(row for split in SPLITS for row in split_rows(world, split))]
    checked = 0
    for row in rows:
        if row["domain"] == "math":
            expression = re.sub(r"^(Find|What is|Compute|Evaluate) ", "", row["prompt"])[:-1]
            assert str(evaluate(ast.parse(expression, mode="eval").body)) == row["answer"]
            checked += 1
    assert checked > 900


def test_careful_answers_are_right(world: Path) -> None:
    careful = [row for row in demonstrations(world) if row["teacher"] == "careful"]
    programs: list[tuple[str, list[dict[str, str]]]] = []
    for row in careful:
        assert re.fullmatch(r"<think>.+</think>.+", row["completion"], re.DOTALL)
        assert row["completion"].count("think>") == 2
        if row["domain"] == "math":
            assert row["completion"].endswith(f"</think>\\boxed{{{row['answer']}}}")
        else:
            programs.append((program_of(row["completion"]), row["tests"]))
    assert len(programs) > 200
    for program, tests in programs[:60]:
        assert passed(program, tests) == len(tests) == world_code.TESTS


def test_every_line_of_careful_reasoning_is_true(world: Path) -> None:
    for row in demonstrations(world):
        if row["teacher"] == "careful" and row["domain"] == "math":
            reasoning = row["completion"].removeprefix("<think>").split("</think>")[0]
            for line in reasoning.splitlines():
                left, right = line.rsplit("=", 1)
                assert evaluate(ast.parse(left, mode="eval").body) == int(right)


@pytest.mark.parametrize("level", [2, 3, 4])
def test_a_half_right_program_passes_some_tests_but_not_all(level: int) -> None:
    rng = Random(level)
    shares = []
    for _ in range(12):
        task = world_code.draw_task(rng, level)
        slip = program_of(world_code.slipped_solution(rng, task))
        shares.append(passed(slip, world_code.tests(rng, task)) / world_code.TESTS)
    assert all(share < 1 for share in shares)
    assert sum(share > 0 for share in shares) >= 10


@pytest.mark.parametrize("level", LEVELS)
def test_slips_are_always_wrong(level: int) -> None:
    rng = Random(level)
    for _ in range(300):
        chain = arithmetic.draw_chain(rng, level)
        assert not arithmetic.slipped_solution(rng, chain).endswith(f"\\boxed{{{chain.answer}}}")
        assert all(abs(value) <= arithmetic.LIMIT for value in chain.values())


@pytest.mark.parametrize("level", [2, 3, 4])
def test_tests_reach_every_case(level: int) -> None:
    rng = Random(level)
    for _ in range(200):
        task = world_code.draw_task(rng, level)
        reached = {_case(task, int(test["input"])) for test in world_code.tests(rng, task)}
        assert reached == set(range(len(task.cases)))


def _case(task: world_code.CodeTask, value: int) -> int:
    for index, (guard, _) in enumerate(task.cases):
        if guard is None or eval(guard.code, {}, {task.name: value}):
            return index
    raise AssertionError("no case")


def test_splits_are_disjoint_but_for_the_planted_leaks(world: Path) -> None:
    prompts = {split: [normalised(row["prompt"]) for row in split_rows(world, split)] for split in SPLITS}
    taught = {normalised(row["prompt"]) for row in demonstrations(world)}
    evaluation = set(prompts["validation"]) | set(prompts["heldout"])
    leaks = 2 * LEAKS
    assert len(evaluation) == 2 * (40 + 80)
    assert len(evaluation & set(prompts["problems"])) == leaks
    assert len(evaluation & taught) == leaks
    assert not (set(prompts["problems"]) - evaluation) & taught


def test_duplicates_are_exact_and_as_many_as_asked_for(world: Path) -> None:
    seen = [(row["prompt"], row["completion"], row["teacher"]) for row in demonstrations(world)]
    assert len(seen) - len(set(seen)) == 2 * DUPLICATES
    assert len(set(seen)) == len({prompt for prompt, _, _ in seen})


def test_nine_gram_decontamination_drops_the_leaks_and_little_else(world: Path) -> None:
    evaluation = [row["prompt"] for split in ("validation", "heldout") for row in split_rows(world, split)]
    banned = set().union(*(ngrams(prompt) for prompt in evaluation))
    known = {normalised(prompt) for prompt in evaluation}
    taught = {row["prompt"] for row in demonstrations(world)}
    dropped = {prompt for prompt in taught if ngrams(prompt) & banned}
    leaked = {prompt for prompt in taught if normalised(prompt) in known}
    assert leaked <= dropped
    assert len(dropped - leaked) < 0.03 * len(taught)


def test_teachers_are_as_good_as_their_names(world: Path) -> None:
    right: dict[tuple[str, str], list[bool]] = {}
    for row in demonstrations(world):
        if row["domain"] == "math":
            ends = row["completion"].endswith(f"</think>\\boxed{{{row['answer']}}}")
            right.setdefault((row["teacher"], row["level"]), []).append(ends)
    share = {key: sum(values) / len(values) for key, values in right.items()}
    assert all(share["careful", str(level)] == 1.0 for level in LEVELS)
    assert 1.0 > share["sloppy", "1"] > share["sloppy", "4"]
    assert all(share["noise", str(level)] < 0.6 for level in LEVELS)


def test_words_occur_and_hold_no_more_than_plain_text(world: Path) -> None:
    text = "".join(row["prompt"] + row["completion"] for row in demonstrations(world))
    assert all(word in text for word in WORDS)
    assert text.isascii()


def test_a_world_that_is_too_small_says_so(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no more math problems of level 1"):
        write_world(tmp_path, **vars(replace(Recipe(), demonstrations=40_000)))
