"""What is read of a source's files: empty shards skipped, a limit over all files, and what the funnel then says."""

from __future__ import annotations

import gzip
import importlib
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from openklear import progress
from openklear.curation.cuts import cuts
from openklear.data.store import prepared
from openklear.durable.files import read_json
from openklear.errors import DataError
from openklear.evaluation.benchmarks import benchmarks
from openklear.recipe.curation import Source
from openklear.recipe.load import load_recipe
from openklear.run.context import StageContext
from openklear.run.fingerprint import stage_parts
from openklear.run.plan import stages

SOURCE = '[[data.source]]\nname = "{0}"\npath = "{0}"\nrole = "{1}"\ndomain = "math"\n'


def rows(first: int, last: int) -> str:
    return "".join(
        json.dumps({"prompt": f"Add {n} and {n * n}.", "answer": str(n + n * n)}) + "\n" for n in range(first, last)
    )


def shards(directory: Path) -> Path:
    """Ten rows in four files, and shards without any, in all formats."""
    directory.mkdir(parents=True)
    for name, text in (("a", rows(0, 4)), ("c", rows(4, 5)), ("d", rows(5, 9)), ("f", rows(9, 10))):
        (directory / f"{name}.jsonl").write_text(text)
    (directory / "b.jsonl").write_bytes(b"")
    (directory / "b.json").write_text("[]")
    (directory / "b.csv").write_text("prompt,answer\n")
    (directory / "b.jsonl.gz").write_bytes(gzip.compress(b"\n"))
    (directory / "b2.parquet").write_bytes(b"")
    pq.write_table(pa.table({"prompt": pa.array([], pa.string())}), directory / "e.parquet")
    return directory


def prepare(root: Path, recipe: str, *changes: str) -> dict[str, list[dict[str, Any]]]:
    """What the stage leaves: the rows by role, and the funnel."""
    (root / "recipe.toml").write_text(f"[data]\ncorrect_only = []\n{recipe}")
    of = load_recipe(root / "recipe.toml", changes)
    number = len([*root.glob("run-*")])
    stage = root / f"run-{number}" / "prepare"
    stage.mkdir(parents=True)
    importlib.import_module("openklear.stages.prepare").run(StageContext(of, stage.parent, "prepare", stage))
    paths = prepared(stage)
    found = {role: pq.read_table(getattr(paths, role)).to_pylist() for role in ("problems", "validation", "heldout")}
    return {**found, "funnel": read_json(paths.funnel), "steps": read_json(paths.steps)}


@pytest.fixture(autouse=True)
def _quiet():
    progress.quiet(True)
    yield
    progress.quiet(False)


def said(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    lines: list[str] = []
    monkeypatch.setattr(progress, "say", lines.append)
    return lines


def read_of(found: dict[str, Any]) -> list[tuple[int, int, int]]:
    return [(line["read"], line["kept"], line["dropped"]) for line in found["funnel"] if line["step"] == "read"]


def test_empty_shards_are_skipped_and_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shards(tmp_path / "set")
    lines = said(monkeypatch)
    found = prepare(tmp_path, SOURCE.format("set", "problems"))
    assert len(found["problems"]) == 10
    assert read_of(found) == [(10, 10, 0)]
    assert "prepare: set: no rows in b.csv, b.json, b.jsonl, b.jsonl.gz, b2.parquet, e.parquet; skipped" in lines


def test_empty_shards_alone_are_refused(tmp_path: Path) -> None:
    shards(tmp_path / "set")
    for name in ("a", "c", "d", "f"):
        (tmp_path / "set" / f"{name}.jsonl").unlink()
    with pytest.raises(DataError, match="set: none of its 6 files holds rows; add rows or remove it"):
        prepare(tmp_path, SOURCE.format("set", "problems"))
    (tmp_path / "one.jsonl").write_text("\n")
    with pytest.raises(DataError, match="the file holds no rows; add rows or remove the source"):
        prepare(tmp_path, SOURCE.format("one.jsonl", "problems").replace('"one.jsonl"', '"one"', 1))


def source(**changed: Any) -> Source:
    return Source(**{"name": "set", "path": "set", "role": "problems", **changed})


def test_the_first_rows_of_all_files_together(tmp_path: Path) -> None:
    files = sorted(shards(tmp_path / "set").iterdir())
    places = [list(cut.places) for cut in cuts(source(limit=6), files, 0) if cut]
    assert places == [[0, 1, 2, 3], [], [], [], [], [], [0], [0], [], []]
    assert [len(cut.places) for cut in cuts(source(limit=99), files, 0) if cut][-1] >= 1
    assert cuts(source(), files, 0) == [None] * len(files)
    assert cuts(source(limit=6, role="heldout"), files, 0) == [None] * len(files)


def test_reading_stops_at_the_limit(tmp_path: Path) -> None:
    """Whatever follows: the rest of the file is not even looked at."""
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "a.jsonl").write_text(rows(0, 3) + "no JSON\n")
    (tmp_path / "set" / "b.jsonl").write_text("nor this")
    found = prepare(tmp_path, SOURCE.format("set", "problems") + "limit = 3\n")
    assert len(found["problems"]) == 3
    assert read_of(found) == [(3, 3, 0)]


def test_a_draw_is_stable_and_grows(tmp_path: Path) -> None:
    shards(tmp_path / "set")

    def drawn(limit: int, seed: int, *files: Path) -> set[int]:
        lines: list[str] = []
        of = files or tuple(sorted((tmp_path / "set").glob("*.jsonl")))
        for file, cut in zip(of, cuts(source(limit=limit, limit_by="seed"), of, seed), strict=True):
            assert cut is not None
            lines += [line for place, line in enumerate(file.read_text().splitlines()) if place in cut.places]
        return {int(json.loads(line)["prompt"].split()[1]) for line in lines}

    assert len(drawn(4, 0)) == 4
    assert drawn(4, 0) == drawn(4, 0) < drawn(7, 0)
    assert drawn(4, 0) != drawn(4, 1)
    assert drawn(99, 0) == set(range(10))
    backwards = tmp_path / "one.jsonl"
    backwards.write_text("".join(sorted(rows(0, 10).splitlines(keepends=True), reverse=True)))
    assert drawn(4, 0, backwards) == drawn(4, 0)


def test_the_limit_of_every_role(tmp_path: Path) -> None:
    """Training, validation and benchmarks are cut as they are read; held-out problems when they are asked."""
    shards(tmp_path / "set")
    (tmp_path / "held.jsonl").write_text(rows(0, 8))
    (tmp_path / "check.jsonl").write_text(rows(20, 28))
    text = SOURCE.format("set", "problems") + "limit = 9\n"
    for name, role in (("held.jsonl", "heldout"), ("check.jsonl", "validation")):
        text += SOURCE.format(name, role).replace(f'name = "{name}"', f'name = "{role}"') + "limit = 2\n"
    found = prepare(tmp_path, text)
    assert [row["prompt"][0]["content"] for row in found["problems"]] == ["Add 8 and 64."]  # 0 to 7 are held out
    assert len(found["heldout"]) == 8
    assert len(found["validation"]) == 2
    assert sorted(read_of(found)) == [(2, 2, 0), (8, 8, 0), (9, 9, 0)]
    facts = next(step["facts"] for step in found["steps"] if (step["dataset"], step["step"]) == ("problems", "read"))
    assert facts == {"files": {"set": "limit = 9, the first rows of its files"}}
    asked = next(benchmarks(load_recipe(tmp_path / "recipe.toml")))
    assert (asked.name, asked.limit) == ("heldout", 2)


def test_what_a_limit_repeats(tmp_path: Path) -> None:
    """A training source's limit repeats curation, a held-out one's only its evaluation; the seed only where it draws."""
    shards(tmp_path / "set")
    text = SOURCE.format("set", "problems") + SOURCE.format("set", "heldout").replace('"set"', '"held"', 1)
    (tmp_path / "recipe.toml").write_text(f"[data]\n{text}")

    def of(*changes: str) -> Any:
        recipe = load_recipe(tmp_path / "recipe.toml", changes)
        prepare = next(stage for stage in stages(recipe) if stage.name == "prepare")
        return stage_parts(prepare.settings, "openklear.errors", {})["recipe"]

    limited = "data.source.set.limit=3"
    assert of() == of("data.source.held.limit=3", "data.source.held.limit_by=seed", "seed=1")
    assert of() != of(limited)
    assert of(limited) == of(limited, "seed=1")
    assert of(limited, "data.source.set.limit_by=seed") != of(limited, "data.source.set.limit_by=seed", "seed=1")
