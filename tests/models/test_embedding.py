import json
import pickle

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, pre_tokenizers, processors
from tokenizers.models import WordLevel
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast, T5Config, T5Model

from openklear.errors import ModelError
from openklear.models import embedding
from openklear.models.embedding import transformers_embedding
from openklear.models.loading import save_model
from openklear.models.tiny import make_tiny

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *(f"w{i}" for i in range(60))]
TEXTS = ["w1 w2 w3", "w1", "w7 w8 " * 30, "w1 w2 w3 w4", "unknown w59", "w3 w2 w1", ""] * 3


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    place = tmp_path_factory.mktemp("bert")
    backend = Tokenizer(WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    backend.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    PreTrainedTokenizerFast(tokenizer_object=backend, pad_token="[PAD]", model_max_length=48).save_pretrained(place)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(WORDS), hidden_size=24, num_hidden_layers=2, num_attention_heads=2, intermediate_size=48,
        max_position_embeddings=64, initializer_range=0.3,
    )  # fmt: skip
    BertModel(config).save_pretrained(place)
    return place


@pytest.fixture(scope="module")
def qwen(tmp_path_factory):
    place = tmp_path_factory.mktemp("qwen")
    save_model(make_tiny(32, 2, 2, 64, seed=4), place)
    return place


def alone(place, text, longest=48):
    """One text by itself, without a pad."""
    tokenizer = PreTrainedTokenizerFast.from_pretrained(place)
    model = BertModel.from_pretrained(place).eval()
    ids = tokenizer(text, return_tensors="pt", truncation=True, max_length=longest)["input_ids"]
    with torch.no_grad():
        mean = model(input_ids=ids).last_hidden_state[0].mean(dim=0)
    return (mean / mean.norm()).numpy()


def test_it_is_the_mean_over_the_texts_own_tokens(bert):
    found = transformers_embedding(bert).transform(TEXTS)
    assert found.shape == (len(TEXTS), 24)
    assert found.dtype == np.float32
    for text, vector in zip(TEXTS, found, strict=True):
        np.testing.assert_allclose(vector, alone(bert, text), atol=2e-6)


@pytest.mark.parametrize("kind", ["bert", "qwen"])
def test_a_text_has_one_vector_in_every_batch(kind, request):
    made = transformers_embedding(request.getfixturevalue(kind))
    whole = made.transform(TEXTS)
    for place in (0, 2, 4, 6):
        assert made.transform([TEXTS[place]])[0].tobytes() == whole[place].tobytes()
        assert made.transform(TEXTS[place:])[0].tobytes() == whole[place].tobytes()
    assert (whole[:7] == whole[7:14]).all()
    lengths = np.linalg.norm(whole, axis=1)
    assert all(abs(length - 1) < 1e-5 or not TEXTS[i] for i, length in enumerate(lengths))


def test_every_pass_has_a_shape_of_few(bert):
    """Matrix products give a row other bits in another shape (at real sizes; the model here is too small to show it)."""
    made = transformers_embedding(bert)
    shapes = []
    model = embedding.load_encoder(str(bert))[1]
    hook = model.register_forward_pre_hook(
        lambda _, __, given: shapes.append(given["input_ids"].shape), with_kwargs=True
    )
    made.transform(["w1"])
    made.transform([f"w1 {'w2 ' * (i % 50)}" for i in range(70)])
    hook.remove()
    assert set(shapes) == {(16, 32), (16, 48)}


def test_a_text_without_tokens_is_zero(qwen):
    assert (transformers_embedding(qwen).transform(["", "x"])[0] == 0).all()
    assert transformers_embedding(qwen).transform([]).shape == (0, 32)


def test_it_pickles_to_its_name(bert):
    made = transformers_embedding(bert)
    packed = pickle.dumps(made)
    assert len(packed) < 1000
    embedding.load_encoder.cache_clear()
    again = pickle.loads(packed)
    assert again.width == 24
    assert again.transform(TEXTS[:3]).tobytes() == made.transform(TEXTS[:3]).tobytes()


def test_what_cannot_be_loaded(bert, tmp_path):
    with pytest.raises(ModelError, match="cannot be loaded"):
        transformers_embedding(tmp_path / "none")
    for file in bert.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    weights = load_file(bert / "model.safetensors")
    kept = {name: tensor for name, tensor in weights.items() if not name.startswith("pooler.")}
    save_file(kept, tmp_path / "model.safetensors", {"format": "pt"})
    assert transformers_embedding(tmp_path).width == 24  # nobody looks at the pooler
    embedding.load_encoder.cache_clear()
    kept.pop("encoder.layer.1.output.dense.weight")
    save_file(kept, tmp_path / "model.safetensors", {"format": "pt"})
    with pytest.raises(ModelError, match=r"lack 1 of the model's tensors .*encoder.layer.1.output.dense.weight"):
        transformers_embedding(tmp_path)


def test_a_decoder_behind_an_encoder_is_refused(bert, tmp_path):
    for file in bert.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    T5Model(T5Config(vocab_size=64, d_model=16, d_kv=8, d_ff=16, num_layers=1, num_heads=2)).save_pretrained(tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())["is_encoder_decoder"]
    with pytest.raises(ModelError, match="an encoder with a decoder"):
        transformers_embedding(tmp_path)
