"""The same recipe on this machine's own engine and on a Ray cluster of three nodes: the same rows, byte for byte."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.e2e.curation_sources import write_recipe

pytest.importorskip("ray", reason="the extra `cluster` is not installed")
pytestmark = pytest.mark.cluster

RUN = Path(__file__).with_name("cluster_run.py")
FILES = ("demonstrations", "problems", "dropped", "audit")


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_recipe(tmp_path_factory.mktemp("sources"))


@pytest.fixture(scope="module")
def alone(recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("local")
    done = subprocess.run([sys.executable, "-m", "openklear", "prepare", recipe, "--output", root], check=False)
    assert done.returncode == 0
    return root


@pytest.mark.parametrize("more", [[], ["--lose-a-node"]], ids=["three nodes", "a node is lost"])
def test_the_same_rows(recipe: Path, alone: Path, tmp_path: Path, more: list[str]) -> None:
    paths = [str(Path(__file__).parents[2] / "src"), os.environ.get("PYTHONPATH", "")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths)), "RAY_DEDUP_LOGS": "0"}
    command = [sys.executable, str(RUN), str(recipe), str(tmp_path), *more]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    assert f"a node was lost: {bool(more)}\n" in done.stdout
    assert f"nodes left: {2 if more else 3}\n" in done.stdout
    for name in FILES:
        one, other = (root / "prepare" / "data" / f"{name}.parquet" for root in (alone, tmp_path))
        assert one.read_bytes() == other.read_bytes(), name
    assert (alone / "funnel.json").read_bytes() == (tmp_path / "funnel.json").read_bytes()
    lines = json.loads((alone / "funnel.json").read_text())
    assert {line["step"] for line in lines if line["dropped"]} >= {
        *("broken_traces", "deduplicate", "near_duplicates", "decontaminate", "selection", "mixture", "lengths"),
    }
