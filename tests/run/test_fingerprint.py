import importlib
import sys
from pathlib import Path

import pytest

from openklear.recipe.load import load_recipe
from openklear.run.fingerprint import closure, difference, fingerprint, hash_files, package_versions, stage_parts
from openklear.run.plan import stages

MINI = Path(__file__).parents[1] / "e2e" / "mini.toml"
FILES = {
    "__init__.py": '"""Top."""\n',
    "stage.py": '"""Stage."""\nfrom fakehouse.room import wall\n\n\ndef run(c):\n    from .late import x\n',
    "late.py": "x = 1\n",
    "unused.py": "y = 1\n",
    "typed.py": "z = 1\n",
    "room/__init__.py": "import torch\n",
    "room/wall.py": (
        "from __future__ import annotations\nfrom typing import TYPE_CHECKING\n"
        "from ..other import brick\nfrom . import paint\nif TYPE_CHECKING:\n    from fakehouse import typed\n"
    ),
    "room/paint.py": 'import numpy as np\n\n\ndef red():\n    """Red."""\n    # why\n    return 1\n',
    "room/page.jinja": "<p>",
    "room/templates/style.css": "p {}",
    "other/__init__.py": "",
    "other/brick.py": "import json\n",
}
INSIDE = ["", ".late", ".other", ".other.brick", ".room", ".room.paint", ".room.wall", ".stage"]


@pytest.fixture
def house(tmp_path, monkeypatch):
    root = tmp_path / "fakehouse"
    for name, text in FILES.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    importlib.invalidate_caches()
    return root


def code() -> dict[str, str]:
    return stage_parts({}, "fakehouse.stage", {})["code"]


def test_the_closure_holds_what_is_imported_and_nothing_else(house):
    found, elsewhere = closure("fakehouse.stage")
    assert sorted(found) == [f"fakehouse{name}" for name in INSIDE]
    assert {"torch", "numpy", "json"} <= elsewhere
    assert "fakehouse" not in elsewhere
    assert "fakehouse" not in sys.modules, "the search must not run the code"


def test_modules_imported_by_name_count_too(house):
    found, elsewhere = closure("fakehouse.late", "fakehouse.room.paint")
    assert sorted(found) == [f"fakehouse{name}" for name in ("", ".late", ".room", ".room.paint")]
    assert elsewhere == {"numpy", "torch"}


def test_templates_are_code_too(house):
    assert {"fakehouse.room/page.jinja", "fakehouse.room/templates/style.css"} <= set(code())
    before = code()
    (house / "room" / "page.jinja").write_text("<b>")
    assert difference({"code": before}, {"code": code()}) == ["code fakehouse.room/page.jinja changed"]


@pytest.mark.parametrize(
    ("name", "old", "new", "changes"),
    [
        ("room/paint.py", "return 1", "return 2", True),
        ("late.py", "x = 1", "x = 2", True),
        ("room/__init__.py", "import torch", "import torch, os", True),
        ("room/paint.py", '"""Red."""', '"""Scarlet."""', False),
        ("room/paint.py", "# why", "# because", False),
        ("unused.py", "y = 1", "y = 2", False),
        ("typed.py", "z = 1", "z = 2", False),
    ],
)
def test_only_code_that_runs_counts(house, name, old, new, changes):
    before = code()
    text = (house / name).read_text()
    assert old in text
    (house / name).write_text(text.replace(old, new))
    assert (code() != before) == changes


def test_packages_count_where_they_are_imported(house):
    packages = stage_parts({}, "fakehouse.stage", {})["packages"]
    assert list(packages) == ["torch", "numpy"]
    assert all(version.count(".") == 1 and version.replace(".", "").isdigit() for version in packages.values())
    (house / "room" / "__init__.py").write_text("")
    assert list(stage_parts({}, "fakehouse.stage", {})["packages"]) == ["numpy"]
    assert list(package_versions({"transformers", "math_verify"})) == ["transformers", "tokenizers", "math-verify"]


def test_the_fingerprint_depends_on_every_part_and_not_on_order():
    parts = {"recipe": {"a": 1, "b": 2.0}, "code": {"m": "1"}, "inputs": {"model": "2"}, "packages": {"torch": "2.13"}}
    number = fingerprint(parts)
    assert len(number) == 32
    assert fingerprint({**parts, "recipe": {"b": 2.0, "a": 1}}) == number
    for part in parts:
        changed = {**parts, part: {**parts[part], "x": "y"}}
        assert fingerprint(changed) != number, part
    assert fingerprint({**parts, "recipe": {"a": 1, "b": 2.5}}) != number


def test_the_fingerprint_is_the_same_in_every_process_and_release():
    """Computed once with coreutils: printf '{"code": {}, "recipe": {"seed": 0}}' | b2sum -l 128."""
    assert fingerprint({"recipe": {"seed": 0}, "code": {}}) == "a2f9cf64ae8e6d9e87185137e61b2b98"


def test_differences_are_named_by_key():
    old = {
        "recipe": {
            "seed": 0,
            "rl.phase.math": {"learning_rate": 1e-6, "domains": ["math"], "objective": {"type": "gppo", "x": 1}},
            "data": {"source": [{"name": "a", "role": "heldout"}, {"name": "b", "role": "problems"}]},
        },
        "code": {"openklear.a": "1", "openklear.b": "1"},
        "inputs": {"model": "1"},
        "packages": {"torch": "2.12"},
    }
    new = {
        "recipe": {
            "seed": 0,
            "rl.phase.math": {"learning_rate": 2e-6, "domains": ["math", "code"], "objective": {"type": "ppo"}},
            "data": {"source": [{"name": "a", "role": "validation"}, {"name": "b", "role": "problems"}]},
        },
        "code": {"openklear.a": "2", "openklear.c": "1"},
        "inputs": {"model": "2"},
        "packages": {"torch": "2.13"},
    }
    assert difference(old, new) == [
        "recipe rl.phase.math.learning_rate: 1e-06 -> 2e-06",
        "recipe rl.phase.math.domains: ['math'] -> ['math', 'code']",
        'recipe rl.phase.math.objective.type: "gppo" -> "ppo"',
        "recipe rl.phase.math.objective.x: 1 -> not set",
        'recipe data.source.a.role: "heldout" -> "validation"',
        "code openklear.a changed",
        "code openklear.b removed",
        "code openklear.c added",
        "input model changed",
        'package torch: "2.12" -> "2.13"',
    ]
    assert difference(old, old) == []


def test_the_order_of_sources_is_a_difference():
    sources = [{"name": "a"}, {"name": "b"}]
    old, new = ({"recipe": {"data": {"source": order}}} for order in (sources, sources[::-1]))
    assert difference(old, new) == ["recipe: the order of a list changed"]


def test_files_count_by_content_not_by_place(tmp_path):
    for place in ("one", "two"):
        (tmp_path / place / "sub").mkdir(parents=True)
        (tmp_path / place / "config.json").write_text("{}")
        (tmp_path / place / "sub" / "weights").write_text("w")
    one, two = (hash_files("model", tmp_path / place) for place in ("one", "two"))
    assert one == two
    assert sorted(one) == ["model/config.json", "model/sub/weights"]
    (tmp_path / "two" / "sub" / "weights").write_text("v")
    changed = hash_files("model", tmp_path / "two")
    assert [label for label in one if changed[label] != one[label]] == ["model/sub/weights"]
    assert hash_files("data a", tmp_path / "none") == {"data a": "missing"}


def test_only_a_sentence_model_makes_curation_depend_on_torch(tmp_path):
    (tmp_path / "model").mkdir()
    for embedding, torch in (("tfidf", False), (str(tmp_path / "model"), True)):
        chosen = ("data.selection.budget=5", f"data.selection.embedding={embedding}")
        prepare = next(one for one in stages(load_recipe(MINI, chosen)) if one.name == "prepare")
        parts = stage_parts({}, prepare.module, {}, prepare.also)
        assert ("torch" in parts["packages"]) == ("openklear.models.embedding" in parts["code"]) == torch


def test_the_stages_of_this_package_depend_on_what_they_should():
    prepare, without_torch = closure("openklear.stages.prepare")
    training, with_torch = closure("openklear.stages.rl")
    assert {"openklear.verifiers.workers.zygote", "openklear.verifiers.workers.equivalence"} <= set(prepare)
    assert "torch" not in without_torch
    assert "torch" in closure("openklear.stages.prepare", "openklear.models.embedding")[1]
    assert "math_verify" in without_torch
    assert {"openklear.objectives.policy", "openklear.rollout.local", "openklear.rewards"} <= set(training)
    assert "torch" in with_torch
    for found in (prepare, training):
        quiet = {"openklear", "openklear.errors", "openklear.progress", "openklear.cli.main", "openklear.run.pipeline"}
        assert not quiet & set(found)
        assert not any(name.startswith("openklear.recipe") for name in found)
