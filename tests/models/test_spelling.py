"""Saved settings in both spellings, by hand; whether others read them is for test_readers."""

import json
import os
import stat

import pytest
from tests.models.architectures import ARCHITECTURES, make

from openklear.models.loading import load_model, save_model
from openklear.models.tiny import make_tokenizer

FLAT = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32}


def saved(directory, name, **changes):
    save_model(make(name, **changes), directory)
    return json.loads((directory / "config.json").read_text())


def test_rope_settings_stand_in_both_spellings(tmp_path):
    plain = saved(tmp_path / "plain", "qwen3")
    assert plain["rope_theta"] == plain["rope_parameters"]["rope_theta"] == 1e6
    assert "rope_scaling" not in plain
    assert plain["dtype"] == plain["torch_dtype"] == "float32"
    yarn = saved(tmp_path / "yarn", "qwen3 yarn")
    assert yarn["rope_theta"] == 3e4
    assert yarn["rope_scaling"] == FLAT
    layered = saved(tmp_path / "layered", "gemma3")
    assert (layered["rope_theta"], layered["rope_local_base_freq"]) == (7e5, 3e3)
    assert layered["rope_scaling"] == {"rope_type": "linear", "factor": 4.0}
    assert saved(tmp_path / "partial", "phi")["partial_rotary_factor"] == 0.5
    neox = saved(tmp_path / "neox", "gpt neox")
    assert (neox["rotary_emb_base"], neox["rotary_pct"]) == (5e5, 0.5)
    assert "rope_theta" not in saved(tmp_path / "learned", "gpt2")
    assert saved(tmp_path / "moe", "qwen3 moe")["num_experts"] == 4


@pytest.mark.parametrize("name", ["qwen3 yarn", "gemma3", "gpt neox", "olmo3", "qwen3 moe"])
def test_saved_again_it_is_the_same(tmp_path, name):
    assert name in ARCHITECTURES
    save_model(make(name), tmp_path / "one")
    save_model(load_model(tmp_path / "one"), tmp_path / "two")
    for path in (tmp_path / "one").iterdir():
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes(), path.name


def test_everybody_may_read_it(tmp_path):
    before = os.umask(0o077)
    try:
        save_model(make("llama"), tmp_path / "model")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "model").stat().st_mode) == 0o755
    assert {stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "model").iterdir()} == {0o644}


def test_the_tokenizer_has_a_class_and_names_that_others_know(tmp_path):
    loaded = make("llama")
    loaded.tokenizer.add_special_tokens({"extra_special_tokens": ["<|user|>"]})
    save_model(loaded, tmp_path / "model")
    settings = json.loads((tmp_path / "model/tokenizer_config.json").read_text())
    assert settings["tokenizer_class"] == "PreTrainedTokenizerFast"
    assert settings["additional_special_tokens"] == ["<|user|>"]
    assert "extra_special_tokens" not in settings
    assert load_model(tmp_path / "model").tokenizer.extra_special_tokens == ["<|user|>"]


@pytest.mark.parametrize("kind", ["Qwen2Tokenizer", "LlamaTokenizer", "GPT2Tokenizer"])
def test_the_tokenizer_is_the_one_in_its_file_whatever_its_class_would_make_of_it(tmp_path, kind):
    """Some classes split text by a rule of their own, and add tokens."""
    save_model(make("qwen2"), tmp_path)
    path = tmp_path / "tokenizer_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "tokenizer_class": kind}))
    own, found = make_tokenizer(), load_model(tmp_path).tokenizer
    text = "What is 12 + 3?\n\n 7 <think>é"
    assert found(text)["input_ids"] == own(text)["input_ids"]
    assert len(found) == len(own)
