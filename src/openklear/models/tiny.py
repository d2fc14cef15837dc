"""A small Qwen3-architecture model made from scratch, with a character tokenizer: the demo's and the tests' model.

A token is a printable ASCII character or a newline; the demo world's frequent strings (`WORDS`) and the marks of a
conversation have tokens of their own. Every other character is spelled in its UTF-8 bytes, so any text survives
encoding and decoding exactly and there is no unknown token.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from tokenizers import AddedToken, Tokenizer, decoders
from tokenizers.models import BPE
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast, Qwen3Config

from openklear.demo.world import WORDS
from openklear.errors import ModelError
from openklear.models.loading import LoadedModel
from openklear.think import CLOSE, OPEN

__all__ = ["make_tiny", "make_tokenizer"]

PAD, END, USER, ASSISTANT, SYSTEM = "<|pad|>", "<|im_end|>", "<|user|>", "<|assistant|>", "<|system|>"
SPECIAL_TOKENS = (PAD, END, USER, ASSISTANT, SYSTEM)
THOUGHT_MARKS = (OPEN, CLOSE)
"""Ordinary added tokens, as in Qwen3: skipping special tokens leaves them in the text."""
CHARACTERS = "\n" + "".join(chr(code) for code in range(32, 127))
BYTES = tuple(
    f"<0x{byte:02X}>"
    for byte in range(256)
    if chr(byte) not in CHARACTERS and byte not in (0xC0, 0xC1, *range(0xF5, 256))
)
"""Tokens of the bytes of UTF-8 that are not a character above; the excluded ones occur in no UTF-8 text."""
CHAT_TEMPLATE = Path(__file__).with_name("tiny.jinja")


def make_tokenizer() -> PreTrainedTokenizerFast:
    """The character tokenizer with its chat template; `decode(encode(text)) == text` for every text."""
    vocabulary = (*SPECIAL_TOKENS, *THOUGHT_MARKS, *WORDS, *CHARACTERS, *BYTES)
    backend = Tokenizer(
        BPE(vocab={token: index for index, token in enumerate(vocabulary)}, merges=[], byte_fallback=True)
    )
    backend.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in SPECIAL_TOKENS])
    backend.add_tokens([AddedToken(token, normalized=False) for token in (*THOUGHT_MARKS, *WORDS)])
    backend.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Fuse()])
    build: Any = PreTrainedTokenizerFast  # the library leaves it without types
    tokenizer: PreTrainedTokenizerFast = build(
        tokenizer_object=backend, pad_token=PAD, eos_token=END, clean_up_tokenization_spaces=False
    )
    tokenizer.chat_template = CHAT_TEMPLATE.read_text(encoding="utf-8")
    return tokenizer


def make_tiny(hidden_size: int, layers: int, heads: int, max_positions: int, seed: int) -> LoadedModel:
    """A fp32 Qwen3 model on the CPU, the same bits for the same arguments; torch's global generator is not touched.

    `heads` must divide `hidden_size` into an even head size (rotary embedding), else ModelError. Grouped-query
    attention with half as many key-value heads where `heads` is even, MLP of width 3 x `hidden_size`, tied embeddings.
    """
    if hidden_size % (2 * heads):
        raise ModelError(
            f"model: hidden_size = {hidden_size} cannot be split over heads = {heads}: hidden_size / heads must be an "
            "even number. Change model.hidden_size or model.heads."
        )
    tokenizer = make_tokenizer()
    config = Qwen3Config(
        vocab_size=len(tokenizer),
        hidden_size=hidden_size,
        intermediate_size=3 * hidden_size,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=heads // 2 if heads % 2 == 0 else heads,
        head_dim=hidden_size // heads,
        max_position_embeddings=max_positions,
        rope_parameters={"rope_type": "default", "rope_theta": 10_000.0},
        initializer_range=0.5 / hidden_size**0.5,
        tie_word_embeddings=True,
        pad_token_id=tokenizer.get_vocab()[PAD],
        eos_token_id=tokenizer.get_vocab()[END],
        bos_token_id=None,
        dtype="float32",
    )
    make: Any = AutoModelForCausalLM
    with torch.random.fork_rng(devices=[]):
        model = make.from_config(config, attn_implementation="sdpa", dtype=torch.float32)
    _initialise(model, config.initializer_range, seed)
    model.eval()
    return LoadedModel(model, tokenizer, frozenset({tokenizer.get_vocab()[END]}))


@torch.no_grad()
def _initialise(model: torch.nn.Module, deviation: float, seed: int) -> None:
    """Matrices from N(0, deviation^2), drawn in the order of their names; norms are one.

    Drawn here, not by the library, so that another version of it gives the same weights.
    """
    generator = torch.Generator().manual_seed(seed)
    for _, parameter in sorted(model.named_parameters()):
        if parameter.ndim < 2:
            parameter.fill_(1.0)
        else:
            parameter.normal_(0.0, deviation, generator=generator)
