"""`openklear export`: what prepare left, as files that other trainers read."""

from __future__ import annotations

from pathlib import Path

import pytest

from openklear.cli.main import main
from openklear.data.formats import read_rows
from openklear.data.shapes import parse_rows
from openklear.data.store import prepared, read_demonstrations, read_problems

MINI = Path(__file__).parents[1] / "e2e" / "mini.toml"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("run")
    assert main(["prepare", str(MINI), "--output", str(root), "--set", "data.correct_only=[]"]) == 0
    return root


@pytest.mark.parametrize(
    ("form", "name", "role"),
    [
        ("verl", "problems.parquet", "problems"),
        ("trl-grpo", "problems.jsonl", "problems"),
        ("trl-sft", "rows.jsonl", "demonstrations"),
        ("sharegpt", "rows.jsonl", "demonstrations"),
    ],
)
def test_what_is_exported_is_what_was_prepared(run: Path, tmp_path: Path, form: str, name: str, role: str) -> None:
    assert main(["export", str(run), "--form", form, "--output", str(tmp_path / name)]) == 0
    paths = prepared(run / "prepare")
    rows = (
        read_problems(paths.problems)
        if role == "problems"
        else [row.problem for row in read_demonstrations(paths.demonstrations)]
    )
    read = [
        parse_rows(raw, where, role=role, source="x", domain=None)[0]  # type: ignore[arg-type]
        for where, raw in read_rows(tmp_path / name)
    ]
    assert [row.problem.prompt for row in read] == [problem.prompt for problem in rows]  # type: ignore[union-attr]


def test_other_sets_and_refusals(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = str(tmp_path / "held.parquet")
    assert main(["export", str(run), "--form", "verl", "--rows", "heldout", "--output", out]) == 0
    assert len(list(read_rows(Path(out)))) == len(read_problems(prepared(run / "prepare").heldout))
    for arguments, words in (
        (["export", str(run), "--form", "verl", "--output", out], "exists already"),
        (["export", str(run), "--form", "verll", "--output", out + "2"], 'the nearest is "verl"'),
        (
            ["export", str(run), "--form", "sharegpt", "--rows", "problems", "--output", out + "3"],
            "holds demonstrations",
        ),
        (["export", str(tmp_path), "--form", "verl", "--output", out + "4"], "run openklear prepare"),
    ):
        capsys.readouterr()
        assert main(arguments) == 2
        said = capsys.readouterr().err
        assert words in said
        assert "Traceback" not in said


def test_a_recipe_of_curation_alone_plans_prepare_and_card(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("OPENKLEAR_DATA", str(tmp_path))
    recipe = Path(__file__).parents[2] / "recipes" / "curation.toml"
    assert main(["prepare", str(recipe), "--output", str(tmp_path / "run"), "--dry-run"]) == 2  # no file is there
    said = capsys.readouterr()
    assert "data.source.gsm8k: " in said.err
    assert [line.split()[0] for line in said.out.splitlines()[-2:]] == ["prepare", "card"]
