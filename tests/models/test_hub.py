"""Models of the hub: what is fetched, what is kept, and what is said where it fails. The client is the real one."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import huggingface_hub
import pytest
from tests.data.hub_server import HubServer
from tests.models.architectures import make

from openklear.errors import ModelError
from openklear.models.hub import fetch, local_directory
from openklear.models.loading import load_model, save_model, weights_hash
from openklear.recipe.hub import model_place
from openklear.recipe.load import load_recipe
from openklear.run.context import StageContext
from openklear.stages import base

NAME = "hub:o/n"


@pytest.fixture(scope="module")
def published(tmp_path_factory) -> dict[str, dict[str, bytes]]:
    """A model at two revisions, with much that nobody needs."""
    found = {}
    for revision, changes in (("main", {}), ("v2", {"num_hidden_layers": 2})):
        directory = tmp_path_factory.mktemp(revision) / "model"
        save_model(make("llama", **changes), directory)
        files = {path.name: path.read_bytes() for path in directory.iterdir()}
        more = {"onnx/model.safetensors": b"1", "original/x.json": b"{}", "consolidated.safetensors": b"2", "a.py": b""}
        found[revision] = {**files, **more, "pytorch_model.bin": b"3", "README.md": b"card"}
    return found


@pytest.fixture
def server(published, tmp_path, monkeypatch) -> Iterator[HubServer]:
    with HubServer("o/n", published, "models") as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", running.endpoint)
        monkeypatch.setattr(
            huggingface_hub.constants,
            "HUGGINGFACE_CO_URL_TEMPLATE",
            running.endpoint + "/{repo_id}/resolve/{revision}/{filename}",
        )
        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        yield running
        running.shutdown()


def test_only_what_a_model_is_loaded_from_is_fetched(server):
    directory, commit = fetch(NAME)
    assert commit == server.commit("main")
    names = {path.relative_to(directory).as_posix() for path in directory.rglob("*") if path.is_file()}
    assert {"model.safetensors", "config.json", "tokenizer.json", "chat_template.jinja"} <= names
    assert not names & {"onnx/model.safetensors", "original/x.json", "consolidated.safetensors", "a.py"}
    assert not any(name.endswith(".bin") for name in names)
    assert load_model(directory).model.config.num_hidden_layers == 3


def test_a_revision_a_commit_and_a_single_file(server):
    assert load_model(fetch(f"{NAME}@v2")[0]).model.config.num_hidden_layers == 2
    assert fetch(NAME, commit=server.commit("v2"))[1] == server.commit("v2")
    directory, _ = fetch(NAME, gguf_file="README.md")
    assert (directory / "README.md").is_file()


def test_older_weights_where_there_are_no_others(server, published):
    old = {name: data for name, data in published["main"].items() if not name.endswith("safetensors")}
    server.files = {"main": old}
    assert (fetch(NAME)[0] / "pytorch_model.bin").read_bytes() == b"3"


def test_what_is_in_the_cache_needs_no_hub(server):
    directory, commit = fetch(NAME)
    server.shutdown()
    server.server_close()
    assert fetch(NAME, commit=commit) == (directory, commit)


@pytest.mark.parametrize("name", ["hub:o/other", "hub:o/n@v9", "hub:o", "hub:o/n:x"])
def test_what_cannot_be_fetched_is_said(server, name):
    with pytest.raises(ModelError, match=r"model\.path"):
        fetch(name)


def test_which_paths_are_names(tmp_path):
    (tmp_path / "here/model").mkdir(parents=True)
    assert model_place("o/n", tmp_path) == "hub:o/n"
    assert model_place("o/n@v2", tmp_path) == "hub:o/n@v2"
    assert model_place("hub:o/n", tmp_path) == "hub:o/n"
    for path in ("here/model", "here/modle", "./o/n", "/o/n", "o/n/m", "n", "../n", "~/n"):
        assert model_place(path, tmp_path) == path


def test_a_directory_stays_one(tmp_path, monkeypatch, server):
    monkeypatch.chdir(tmp_path)
    assert local_directory("o") == Path("o")
    assert local_directory("o/n").name == server.commit("main")
    assert local_directory(Path("o/n")).name == server.commit("main")


RECIPE = """
[model]
type = "pretrained"
path = "o/n"
[[data.source]]
name = "rows"
path = "rows.jsonl"
role = "demonstrations"
[[data.source]]
name = "asked"
path = "asked.jsonl"
role = "heldout"
[evaluation]
max_completion_tokens = 64
"""


def test_a_run_keeps_the_commit_that_it_began_with(server, tmp_path, published):
    (tmp_path / "recipe.toml").write_text(RECIPE + "[sft]\nmax_tokens = 64\n")
    recipe = load_recipe(tmp_path / "recipe.toml")
    assert recipe.model.path == NAME
    context = StageContext(recipe=recipe, root=tmp_path, name="base", directory=tmp_path / "base", inputs={})
    (tmp_path / "base").mkdir()
    base.run(context)
    first = weights_hash(tmp_path / "base/model")
    assert json.loads((tmp_path / "manifest.json").read_text())["models"] == {NAME: server.commit("main")}
    shutil.rmtree(tmp_path / "base/model")
    moved = "f" * 40
    server.files = {"main": published["v2"], server.commit("main"): published["main"]}
    server.commit = lambda revision: moved if revision == "main" else revision
    assert fetch(NAME)[1] == moved
    base.run(context)
    assert weights_hash(tmp_path / "base/model") == first


def test_a_malformed_name_is_a_fault_of_the_recipe(tmp_path):
    (tmp_path / "recipe.toml").write_text(RECIPE.replace("o/n", "hub:o"))
    with pytest.raises(Exception, match="not the name of a model on the hub"):
        load_recipe(tmp_path / "recipe.toml")
