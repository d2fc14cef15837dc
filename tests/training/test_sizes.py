"""What auto stands for: found once, from the model that is loaded, and kept by a stage that goes on."""

from pathlib import Path

import pytest
import torch

from openklear import progress
from openklear.durable.files import read_json, write_json
from openklear.models.tiny import make_tiny
from openklear.planner.auto import chosen
from openklear.planner.machines import machine_named, this_cpu
from openklear.recipe.load import load_recipe
from openklear.run.record import recorded, tell_found
from openklear.stages.crew import computing
from openklear.training.sizes import Computing, found, here, resolved, shape_of_loaded, stage_dtype

MINI = Path(__file__).parents[1] / "e2e" / "mini.toml"


@pytest.fixture
def loaded():
    return make_tiny(16, 2, 2, 64, seed=0)


def test_written_numbers_stand_and_auto_is_the_planner_s(loaded):
    recipe = load_recipe(MINI, ["microbatch_tokens=777", "activation_checkpointing=true", "engine.slots=5"])
    sizes = resolved(recipe, loaded)
    assert (sizes.microbatch_tokens, sizes.activation_checkpointing, sizes.slots) == (777, True, 5)
    assert sizes.dtype == "float32"
    automatic = load_recipe(MINI, ["microbatch_tokens=auto"])
    assert resolved(automatic, loaded) == chosen(automatic, shape_of_loaded(loaded), this_cpu())


def test_the_type_is_that_of_the_weights(loaded):
    loaded.model.to(torch.bfloat16)
    assert resolved(load_recipe(MINI), loaded).dtype == "bfloat16"


def test_the_shape_is_the_model_s_own(loaded):
    shape = shape_of_loaded(loaded)
    assert shape.parameters == sum(p.numel() for p in loaded.model.parameters())
    assert (shape.layers, shape.hidden, shape.heads, shape.kv_heads) == (2, 16, 2, 1)
    del loaded.model.config.num_hidden_layers  # some architectures have another name for it
    assert shape_of_loaded(loaded).layers == 2


def test_only_what_was_auto_is_told(loaded):
    recipe = load_recipe(MINI, ["microbatch_tokens=auto", "device=cpu", "activation_checkpointing=false"])
    told = found(recipe, resolved(recipe, loaded), here())
    assert told["microbatch_tokens"] == resolved(recipe, loaded).microbatch_tokens
    assert not {"device", "activation_checkpointing", "model.dtype"} & told.keys()
    assert found(load_recipe(MINI), resolved(load_recipe(MINI), loaded), here())["device"] == "cpu"


def test_on_a_cluster_auto_goes_by_where_its_trainers_are(loaded, tmp_path, monkeypatch):
    """The command may be given on a host without a GPU."""
    crew = pytest.importorskip("openklear.cluster.crew", reason="the extra `cluster` is not installed")
    there = Computing(machine_named("h200"), "cuda", "bfloat16")
    monkeypatch.setattr(crew, "computing_there", lambda address, device, threads: there)
    recipe = load_recipe(MINI, ["microbatch_tokens=auto", "cluster.address=there:6379"])
    assert computing(recipe) is there
    assert computing(load_recipe(MINI, ["cluster.address=local"])) == computing(load_recipe(MINI)) == here()
    sizes = resolved(recipe, loaded, None, there)
    assert sizes.microbatch_tokens > resolved(load_recipe(MINI, ["microbatch_tokens=auto"]), loaded).microbatch_tokens
    assert found(recipe, sizes, there)["device"] == "cuda"
    assert stage_dtype(load_recipe(MINI, ["model={ type='pretrained', path='x' }"]), tmp_path, "bfloat16") == "bfloat16"


def test_it_is_said_and_recorded_with_the_attempt(tmp_path, capsys):
    progress.quiet(False)
    with recorded(tmp_path, {"recipe": {}}, {"microbatch_tokens": "auto", "threads": 2}) as record:
        tell_found(tmp_path, record, {"microbatch_tokens": 2048, "activation_checkpointing": False})
        written = read_json(tmp_path / "stage.json")["attempts"][-1]["settings"]
    assert written == {"microbatch_tokens": 2048, "threads": 2, "activation_checkpointing": False}
    said = capsys.readouterr().err
    assert "auto stands for microbatch_tokens = 2_048, activation_checkpointing = false" in said


def test_a_stage_goes_on_in_the_type_that_it_began_with(tmp_path):
    text = MINI.read_text().replace(
        'type = "tiny"\nhidden_size = 16\nlayers = 1\nheads = 2', 'type = "pretrained"\npath = "here"'
    )
    (tmp_path / "recipe.toml").write_text(text)
    recipe = load_recipe(tmp_path / "recipe.toml")
    assert recipe.dtype == "auto"
    assert stage_dtype(recipe, tmp_path) == "float32", "what auto is on this machine"
    attempts = [{"settings": {"model.dtype": "bfloat16"}}, {"settings": {}}]
    record = {"state": "unfinished", "fingerprint": "", "parts": {}, "attempts": attempts}
    write_json(tmp_path / "stage.json", record)
    assert stage_dtype(recipe, tmp_path) == "bfloat16"
    written = load_recipe(tmp_path / "recipe.toml", ["model.dtype=float32"])
    assert stage_dtype(written, tmp_path) == "float32"
