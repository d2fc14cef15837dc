"""The address of a cluster, looked up as Ray looks it up, and knocked at before Ray spends minutes on it."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import pytest

from openklear.cli.main import main
from openklear.cluster import join
from openklear.cluster.join import knock, looked_up, use_ray
from openklear.errors import DataError


@pytest.fixture
def silent() -> str:
    """An address of this machine where nothing listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return f"127.0.0.1:{server.getsockname()[1]}"


@pytest.fixture
def note(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where `ray start` would note its cluster's address."""
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    (tmp_path / "ray").mkdir()
    return tmp_path / "ray" / "ray_current_cluster"


def test_the_recipe_comes_before_the_variable_and_the_variable_before_the_note(
    note: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert looked_up(None)[0] is None
    assert looked_up("auto")[0] is None
    note.write_text("10.0.0.1:6379\n")
    assert looked_up(None)[0] == looked_up("auto")[0] == "10.0.0.1:6379"
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.2:6379")
    assert looked_up(None)[0] == looked_up("auto")[0] == "10.0.0.2:6379"
    assert looked_up("10.0.0.3:6379")[0] == "10.0.0.3:6379"
    assert looked_up("local")[0] is None


def test_it_is_looked_up_as_ray_does(note: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    services = pytest.importorskip("ray._private.services", reason="the extra `cluster` is not installed")
    monkeypatch.setattr(services, "find_gcs_addresses", list)  # clusters of this machine that are not noted
    cases = (
        *[(given, None, None) for given in (None, "local", "10.0.0.3:6379")],
        *[(given, "10.0.0.1:6379", None) for given in (None, "auto", "local", "10.0.0.3:6379")],
        *[(given, "10.0.0.1:6379", "10.0.0.2:6379") for given in (None, "auto", "local", "10.0.0.3:6379")],
        *[(given, "10.0.0.1:6379", "local") for given in (None, "auto", "local", "10.0.0.3:6379")],
        *[(given, "10.0.0.1:6379", "auto") for given in (None, "auto", "local", "10.0.0.3:6379")],
    )
    for given, noted, variable in cases:
        note.write_text(noted or "")
        monkeypatch.setenv("RAY_ADDRESS", variable or "")
        if noted is None:
            note.unlink()
        assert looked_up(given)[0] == services.canonicalize_bootstrap_address(given), (given, noted, variable)


def test_a_cluster_that_does_not_answer_is_told_with_what_named_it(
    silent: str, note: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("ray", reason="the extra `cluster` is not installed")
    with pytest.raises(DataError, match=rf"nothing answers at {silent} .*named by data.engine.address; start"):
        use_ray(silent)
    note.write_text(silent)
    with pytest.raises(DataError, match=rf"nothing answers at {silent} .*named by {note}, which `ray stop` removes"):
        use_ray(None)
    monkeypatch.setenv("RAY_ADDRESS", silent)
    with pytest.raises(DataError, match="named by the environment variable RAY_ADDRESS"):
        use_ray("auto")


@pytest.mark.parametrize("wrong", ["nonsense", "host:", ":6379", "host:port", "http://host:1", "host:6379/x", " "])
def test_what_is_no_address(wrong: str) -> None:
    with pytest.raises(DataError, match="is not an address"):
        knock(wrong, "data.engine.address")


def test_a_port_that_cannot_be() -> None:
    with pytest.raises(DataError, match=r"nothing answers at 127\.0\.0\.1:99999"):
        knock("127.0.0.1:99999", "data.engine.address")


@pytest.mark.parametrize("form", ["{}", "ray://{}"])
def test_one_that_answers(form: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        knock(form.format(f"127.0.0.1:{server.getsockname()[1]}"), "data.engine.address")


def test_where_ray_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(join, "find_spec", {}.get)
    with pytest.raises(DataError, match=r"run pip install 'openklear\[cluster\]' here and on every node"):
        use_ray("local")


def test_no_cluster_to_be_found(note: Path) -> None:
    """In a process of its own: Daft takes a runner once."""
    services = pytest.importorskip("ray._private.services", reason="the extra `cluster` is not installed")
    if services.find_gcs_addresses():
        pytest.skip("a Ray cluster runs on this machine, and would be found")
    asked = "from openklear.cluster.join import use_ray; use_ray('auto')"
    done = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, timeout=60, check=False)
    assert "DataError: data.engine.address: Could not find any running Ray instance" in done.stderr
    assert "ray start --head" in done.stderr


def test_the_command_ends_with_it(
    silent: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "rows.jsonl").write_text('{"problem": "Compute 1 + 2.", "answer": "3"}\n')
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(
        f'[data.engine]\ntype = "ray"\naddress = "{silent}"\n'
        '[[data.source]]\nname = "rows"\npath = "rows.jsonl"\nrole = "problems"\ndomain = "math"\n'
    )
    assert main(["prepare", str(recipe), "--output", str(tmp_path / "run")]) == 2
    assert f"nothing answers at {silent}" in capsys.readouterr().err
