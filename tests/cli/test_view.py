"""openklear view as a command: help, what it refuses, the exported file."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import typer
from tests.reporting.viewer.made import evaluation
from tests.reporting.viewer.serving import SOURCE
from typer.testing import CliRunner

from openklear.cli.view import view
from openklear.errors import UsageError

app = typer.Typer()
app.command()(view)


def test_help_names_every_option() -> None:
    said = CliRunner().invoke(app, ["--help"], terminal_width=200).output
    for option in ("DIR...", "--port", "--export", "--no-browser"):
        assert option in said


def test_an_exported_file_is_named_with_what_is_in_it(tmp_path: Path) -> None:
    evaluation(tmp_path / "a", 2, 2)
    done = CliRunner().invoke(app, [str(tmp_path), "--export", str(tmp_path / "page.html")])
    assert done.exit_code == 0
    assert done.output.startswith(f"{tmp_path / 'page.html'}: 4 texts are in this file")


def test_a_directory_without_anything_is_refused(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, [str(tmp_path / "gone")])
    assert isinstance(done.exception, UsageError)
    assert "there is no such directory" in str(done.exception)


@pytest.mark.parametrize("module", ["openklear.cli.view", "openklear.reporting.viewer.places"])
def test_it_starts_light(module: str) -> None:
    banned = "torch transformers pyarrow starlette uvicorn"
    code = f"import sys, {module}; print(*(set(sys.modules) & set({banned.split()!r})))"
    environment = {"PYTHONPATH": str(SOURCE), "PATH": "/usr/bin:/bin"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True)
    assert done.stdout.split() == []
