"""Curation that is killed goes on after the last finished step, and ends with the bytes of an undisturbed run."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.e2e.curation_sources import STEPS, write_recipe

from openklear.durable.files import read_json

pytestmark = pytest.mark.slow
FILES = ("demonstrations.parquet", "problems.parquet", "dropped.parquet", "audit.parquet", "funnel.json")


def command(recipe: Path, root: Path, *more: str) -> list[str]:
    return [sys.executable, "-m", "openklear", "prepare", str(recipe), "--output", str(root), *more]


def contents(root: Path) -> list[bytes]:
    return [(root / "prepare" / "data" / name).read_bytes() for name in FILES]


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_recipe(tmp_path_factory.mktemp("sources"))


@pytest.fixture(scope="module")
def undisturbed(recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("undisturbed")
    subprocess.run(command(recipe, root), check=True, capture_output=True)
    return root


def killed_behind(step: str, recipe: Path, root: Path) -> None:
    """Run until the step of the demonstrations is done, and kill -9."""
    process = subprocess.Popen(command(recipe, root), stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    while not list((root / "prepare.work").glob(f"demonstrations-{step}-*")):
        assert process.poll() is None, f"the run ended before {step}"
        time.sleep(0.002)
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL


@pytest.mark.long
@pytest.mark.parametrize(
    "step",
    ["decontaminate", "read", "deduplicate", "selection"],
)
def test_a_killed_run_goes_on_after_the_step(step: str, recipe: Path, undisturbed: Path, tmp_path: Path) -> None:
    killed_behind(step, recipe, tmp_path)
    assert not (tmp_path / "prepare" / "data").exists()
    done = subprocess.run(command(recipe, tmp_path), capture_output=True, text=True, check=True)
    assert contents(tmp_path) == contents(undisturbed)
    assert not (tmp_path / "prepare.work").exists()
    before = 2 + 1 + ("read", *STEPS).index(step)  # two steps of the benchmark
    count, last = re.search(
        r"prepare: (\d+) steps were finished by an earlier run, the last of them (.+)", done.stderr
    ).groups()
    assert int(count) >= before
    assert last.startswith("demonstrations / ")
    assert ("read", *STEPS).index(last.split(" / ")[1]) == int(count) - 3  # it may have done more before it died


@pytest.mark.long
def test_a_changed_key_repeats_from_its_step_on(recipe: Path, tmp_path: Path) -> None:
    """The recipe may be mended while curation is unfinished; what the change does not touch is not done again."""
    killed_behind("decontaminate", recipe, tmp_path)
    change = ("--set", "data.near_duplicates.threshold=0.95")
    done = subprocess.run(command(recipe, tmp_path, *change), capture_output=True, text=True, check=True)
    assert "by an earlier run, the last of them demonstrations / deduplicate" in done.stderr


def test_the_funnel_lies_where_people_look(undisturbed: Path) -> None:
    lines = read_json(undisturbed / "funnel.json")
    assert lines == read_json(undisturbed / "prepare" / "data" / "funnel.json")
    assert {"step", "read", "kept", "dropped", "reasons"} <= lines[0].keys()
    assert (undisturbed / "data-card.html").exists()
    assert (undisturbed / "data-card.md").exists()
    assert [line["step"] for line in lines if line["source"] == "s0"] == ["read", *STEPS]
