"""Real files with values of any kind put in any place: an evaluation, or an error that says where, never a traceback."""

from __future__ import annotations

import copy
import json
import random
import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.evaluation.exchange.cases import taken
from tests.shared_data import shared

from openklear.errors import DataError
from openklear.evaluation.exchange.exporting import export
from openklear.evaluation.exchange.names import Format
from openklear.types import Outcome

STRANGE: list[Any] = [
    None,
    True,
    -1,
    0.5,
    float("nan"),
    1e300,
    "",
    "x",
    "\ud800",
    [],
    [None],
    {},
    {"a": 1},
    [[1]],
    ["y"],
]
TURNS = 20
STAMP = "2026-01-21T03-44-18.458309"
FILES = {
    "inspect": ["inspect/data_arc_qwen.json"],
    "lm-eval": [f"lm_eval/results_{STAMP}.json", f"lm_eval/samples_math_perturbed_full_{STAMP}.jsonl"],
    "evalscope": [
        f"evalscope/qwen-plus_{name}"
        for name in ("predictions_gsm8k_main.jsonl", "reviews_gsm8k_main.jsonl", "report_gsm8k.json")
    ],
    "nemo-skills": [f"nemo_skills/{name}" for name in ("output-rs0.jsonl", "math-aime25-rs1.jsonl", "metrics.json")],
    "livecodebench": ["livecodebench/official_eval_all_o1-mini.json"],
}


def places(value: Any) -> Iterator[tuple[Any, Any]]:
    """(container, key) of every value inside."""
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
        yield value, key
        if isinstance(inner, dict | list):
            yield from places(inner)


@pytest.mark.slow
@pytest.mark.parametrize("tool", FILES)
def test_any_value_in_any_place(tool: str, tmp_path: Path) -> None:
    chance = random.Random(tool)
    documents = {}
    for name in FILES[tool]:
        text = shared(f"evaluation/{name}").read_text()
        rows = [json.loads(line) for line in text.splitlines() if line] if name.endswith("l") else json.loads(text)
        documents[Path(name).name] = rows[:4] if isinstance(rows, list) else rows
    if tool == "nemo-skills":
        del documents["math-aime25-rs1.jsonl"]  # of other problems
    read = 0
    for turn in range(TURNS):
        damaged = copy.deepcopy(documents)
        spots = list(places(damaged))
        for _ in range(chance.randint(1, 4)):
            owner, key = chance.choice(spots)
            if owner is not damaged:
                owner[key] = copy.deepcopy(chance.choice(STRANGE))
        read += imported_or_refused(damaged, tmp_path / str(turn))
        shutil.rmtree(tmp_path / str(turn))
    assert read > TURNS / 4  # most places matter little


def imported_or_refused(documents: dict[str, Any], directory: Path) -> bool:
    directory.mkdir()
    paths = []
    for name, document in documents.items():
        path = directory / name
        many = name.endswith("l")
        path.write_text("".join(f"{json.dumps(row)}\n" for row in document) if many else json.dumps(document))
        paths.append(path)
    refused = ""
    try:
        stored, said = taken(directory / "e", *paths)
    except DataError as error:
        refused = str(error)
    if refused:
        assert any(word in refused for word in (str(directory), "sample", "id of")), refused
        return False
    assert len(stored.samples) == said["completions"]
    for one in stored.samples:
        if one.start is not None:
            assert isinstance(stored.text(one), str)
    forms: tuple[Format, ...] = ("inspect", "lm-eval", "every-eval-ever")
    scored = any(one.outcome is not Outcome.UNSCORABLE for one in stored.samples)
    for form in forms:
        if scored or form != "every-eval-ever":
            export(directory / "e", form, directory / form)
    with zipfile.ZipFile(directory / "inspect") as packed:
        assert packed.testzip() is None
    return True
