"""What is refused at load, and what is computed rightly: a directory a kind, each made of one that loads."""

from __future__ import annotations

import json
import sys

import pytest
import torch
from safetensors.torch import load_file, save_file
from tests.models.architectures import make

from openklear.errors import ModelError
from openklear.models.loading import load_model, save_model

UP = "model.layers.0.mlp.up_proj.weight"


@pytest.fixture
def saved(tmp_path):
    save_model(make("llama"), tmp_path / "model")
    return tmp_path / "model"


def edit(directory, name="config.json", **changes):
    path = directory / name
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def change(directory, tensors):
    """Rewrite the weights: `tensors` gets the dictionary of them."""
    weights = load_file(directory / "model.safetensors")
    tensors(weights)
    save_file(weights, directory / "model.safetensors", metadata={"format": "pt"})


REFUSED = {
    "adapter": (lambda d: (d / "adapter_config.json").write_text("{}"), "an adapter.*merge_and_unload"),
    "adapter's weights": (lambda d: (d / "adapter_model.safetensors").write_bytes(b""), "an adapter"),
    "remote code": (lambda d: edit(d, model_type="own", auto_map={"AutoModelForCausalLM": "own.Model"}), "never run"),
    "unknown type": (lambda d: edit(d, model_type="own"), "cannot be loaded"),
    "4 bit": (lambda d: edit(d, quantization_config={"quant_method": "bitsandbytes"}), "quantised.*bitsandbytes"),
    "fp8": (lambda d: edit(d, quantization_config={"quant_method": "fp8"}), "quantised.*fp8"),
    "modelopt": (lambda d: (d / "hf_quant_config.json").write_text("{}"), "quantised.*hf_quant_config"),
    "whole numbers": (lambda d: change(d, lambda w: w.update({UP: w[UP].to(torch.int8)})), "quantised.*I8"),
    "encoder-decoder": (lambda d: edit(d, is_encoder_decoder=True, model_type="bart"), "encoder with a decoder"),
    "pictures": (lambda d: edit(d, vision_config={"hidden_size": 8}), "pictures or sound.*vision_config"),
    "fewer layers": (lambda d: edit(d, num_hidden_layers=2), "no place for 9.*model.layers.2.*fewer layers"),
    "more layers": (lambda d: edit(d, num_hidden_layers=4), "lack 9"),
    "other shapes": (lambda d: edit(d, intermediate_size=32), "other shapes than config.json"),
    "value head": (lambda d: change(d, lambda w: w.update({"v_head.weight": torch.ones(2)})), "no place for 1.*v_head"),
    "tied in the file alone": (lambda d: change(d, lambda w: w.pop("lm_head.weight")), "tie_word_embeddings"),
    "nan": (lambda d: change(d, lambda w: w[UP].view(-1)[5:6].fill_(float("nan"))), f"not finite .{UP}"),
    "infinity": (lambda d: change(d, lambda w: w[UP].view(-1)[5:6].fill_(float("inf"))), f"not finite .{UP}"),
    "no JSON": (lambda d: (d / "config.json").write_text("{"), "not valid JSON"),
    "no table": (lambda d: (d / "config.json").write_text("[]"), "JSON object was expected"),
    "nonsense in it": (lambda d: edit(d, num_hidden_layers="three"), "cannot be loaded"),
}


@pytest.mark.parametrize(("spoil", "message"), REFUSED.values(), ids=REFUSED)
def test_refused(saved, spoil, message, monkeypatch):
    monkeypatch.setattr(sys, "stdin", None)  # nothing is ever asked
    spoil(saved)
    with pytest.raises(ModelError, match=message) as caught:
        load_model(saved)
    assert str(saved) in str(caught.value)
    assert str(caught.value).endswith(".")


def test_code_beside_a_known_model_is_not_run(saved, tmp_path):
    edit(saved, auto_map={"AutoModelForCausalLM": "own.Model", "AutoConfig": "own.Config"})
    edit(saved, "tokenizer_config.json", auto_map={"AutoTokenizer": ["own.Slow", "own.Fast"]})
    (saved / "own.py").write_text("raise SystemExit('run')")
    loaded = load_model(saved)
    assert type(loaded.model).__name__ == "LlamaForCausalLM"
    save_model(loaded, tmp_path / "again")
    for name in ("config.json", "tokenizer_config.json"):
        assert "auto_map" not in json.loads((tmp_path / "again" / name).read_text())


def test_buffers_and_heads_that_look_further_ahead_are_left_out(saved):
    expected = load_model(saved)
    more = {f"model.layers.{i}.self_attn.rotary_emb.inv_freq": torch.ones(4) for i in range(3)}
    change(saved, lambda w: w.update({**more, "mtp.layers.0.weight": torch.ones(2)}))
    ids = torch.arange(8)[None]
    with torch.no_grad():
        assert torch.equal(load_model(saved).model(ids).logits, expected.model(ids).logits)


def test_a_head_of_its_own_under_a_tied_configuration_is_kept_and_said(saved, tmp_path, capsys):
    ids = torch.arange(8)[None]
    with torch.no_grad():
        expected = load_model(saved).model(ids).logits
        edit(saved, tie_word_embeddings=True)
        loaded = load_model(saved)
        assert torch.equal(loaded.model(ids).logits, expected)
        assert "kept apart" in capsys.readouterr().err
        save_model(loaded, tmp_path / "again")
        assert json.loads((tmp_path / "again/config.json").read_text())["tie_word_embeddings"] is False
        assert torch.equal(load_model(tmp_path / "again").model(ids).logits, expected)


def test_equal_matrices_under_a_tied_configuration_stay_tied(tmp_path, capsys):
    save_model(make("qwen3 tied"), tmp_path)
    change(tmp_path, lambda w: w.update({"lm_head.weight": w["model.embed_tokens.weight"].clone()}))
    model = load_model(tmp_path).model
    assert model.lm_head.weight is model.model.embed_tokens.weight
    assert "kept apart" not in capsys.readouterr().err
