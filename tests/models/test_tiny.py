import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from openklear.errors import ModelError
from openklear.models import tiny
from openklear.models.tiny import make_tiny, make_tokenizer

TOKENIZER = make_tokenizer()


def ids_of(text):
    return TOKENIZER(text, add_special_tokens=False)["input_ids"]


@settings(max_examples=200, deadline=None)
@given(
    st.one_of(
        st.text(),
        st.text(alphabet=tiny.CHARACTERS),
        st.lists(st.sampled_from([*tiny.WORDS, " ", "\n", "i", "<think>"])).map("".join),
    )
)
def test_any_text_survives(text):
    assert TOKENIZER.decode(ids_of(text)) == text
    assert TOKENIZER(text)["input_ids"] == ids_of(text)  # nothing is put around it


def test_every_ascii_character_survives_alone():
    for code in range(128):
        assert TOKENIZER.decode(ids_of(chr(code))) == chr(code)


def test_a_token_a_character_and_a_word():
    assert len(ids_of(" a \nb")) == 5
    assert len(ids_of("\\boxed{12}")) == 4
    assert len(ids_of("<think>x</think>")) == 3


def test_no_two_tokens_are_alike():
    vocabulary = [*tiny.SPECIAL_TOKENS, *tiny.THOUGHT_MARKS, *tiny.WORDS, *tiny.CHARACTERS, *tiny.BYTES]
    assert len(set(vocabulary)) == len(vocabulary) == len(TOKENIZER)
    assert sorted(TOKENIZER.get_vocab().values()) == list(range(len(TOKENIZER)))


def test_think_is_kept_where_special_tokens_are_skipped():
    assert TOKENIZER.decode(ids_of("<think>a</think>b<|im_end|>"), skip_special_tokens=True) == "<think>a</think>b"


def test_shape():
    model = make_tiny(48, 2, 3, 128, seed=0).model
    assert model.config.num_key_value_heads == 3  # an odd number of heads is not halved
    assert make_tiny(64, 2, 4, 128, seed=0).model.config.num_key_value_heads == 2
    assert (model.config.head_dim, model.config.intermediate_size) == (16, 144)
    assert model.lm_head.weight is model.model.embed_tokens.weight
    assert model.config.max_position_embeddings == 128
    assert not model.training


def test_seed_decides_and_the_global_generator_is_left_alone():
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    first = make_tiny(16, 1, 2, 64, seed=1).model.state_dict()
    assert torch.equal(before, torch.random.get_rng_state())
    torch.manual_seed(6)
    again = make_tiny(16, 1, 2, 64, seed=1).model.state_dict()
    other = make_tiny(16, 1, 2, 64, seed=2).model.state_dict()
    for name, weight in first.items():
        assert torch.equal(weight, again[name])
        assert torch.equal(weight, other[name]) == ("norm" in name)
    assert first["model.layers.0.mlp.up_proj.weight"].std().item() == pytest.approx(0.5 / 4, rel=0.1)


def test_heads_that_do_not_divide():
    with pytest.raises(ModelError, match=r"model\.heads"):
        make_tiny(64, 1, 3, 64, seed=0)
    with pytest.raises(ModelError, match="even"):
        make_tiny(6, 1, 2, 64, seed=0)
