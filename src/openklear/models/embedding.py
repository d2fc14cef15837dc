"""Sentence embeddings by any transformers encoder: the mean of the last hidden states over a text's tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from transformers import AutoModel, AutoTokenizer

from openklear.errors import ModelError
from openklear.models.numerics import device

MAX_TOKENS = 512
"""Of a longer text the first; most sentence-embedding models were trained with no more."""
STEP = 32
"""Lengths are filled up to a multiple of this."""
TILE = 16
"""Texts in a forward pass, always."""
UNUSED = ("pooler.",)
"""Weights that a checkpoint may lack: what they make is not looked at."""


@dataclass(frozen=True)
class SentenceEmbedding:
    """An `openklear.curation.selection.embedding.Embedding`, made by `transformers_embedding`.

    It pickles to its name: every process loads the model when it first needs it.
    """

    name: str
    """A model directory, or a name on the hub."""

    @property
    def width(self) -> int:
        """Coordinates of a vector: the model's hidden size."""
        return int(load_encoder(self.name)[1].config.get_text_config().hidden_size)

    @torch.inference_mode()
    def transform(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """(n, width) vectors of length 1; 0 for a text without tokens.

        Texts run through the model in tiles of one shape, which their own length decides, so that on the CPU a text has
        the same vector in any batch (on one machine, with one number of threads).
        """
        tokenizer, model, longest = load_encoder(self.name)
        out = np.zeros((len(texts), self.width), np.float32)
        encoded = tokenizer(list(texts), truncation=True, max_length=longest)["input_ids"] if len(texts) else []
        by_length: dict[int, list[int]] = {}
        for place, ids in enumerate(encoded):
            if ids:
                filled = min(-(-len(ids) // STEP) * STEP, longest)  # rounded up to a multiple of STEP
                by_length.setdefault(filled, []).append(place)
        for length, places in sorted(by_length.items()):
            for start in range(0, len(places), TILE):
                some = places[start : start + TILE]
                out[some] = _means(tokenizer, model, [encoded[place] for place in some], length)
        return out


def transformers_embedding(name: str | Path) -> SentenceEmbedding:
    """The embedding by the model in a directory, or of this name on the hub (the client's cache is asked first).

    fp32, on the GPU where there is one. ModelError: model or tokenizer cannot be read, weights are missing, or the
    architecture also has a decoder.
    """
    embedding = SentenceEmbedding(str(name))
    load_encoder(embedding.name)
    return embedding


def _means(tokenizer: Any, model: Any, texts: Sequence[Sequence[int]], length: int) -> NDArray[np.float32]:
    """(n, width) unit vectors of at most TILE token lists, each of 1..length tokens."""
    ids = torch.full((TILE, length), tokenizer.pad_token_id or 0)
    mask = torch.zeros_like(ids)
    for row, text in enumerate(texts):  # the other rows only fill the tile; whatever they become is left out
        ids[row, : len(text)] = torch.tensor(text)
        mask[row, : len(text)] = 1
    ids, mask = ids.to(model.device), mask.to(model.device)
    states = model(input_ids=ids, attention_mask=mask).last_hidden_state.float()  # (TILE, length, width)
    # The mean's direction is the sum's: only the direction stays.
    sums = torch.where(mask[:, :, None] > 0, states, 0.0).sum(dim=1)
    unit = torch.nn.functional.normalize(sums, dim=1)[: len(texts)]
    found: NDArray[np.float32] = unit.cpu().numpy()
    return found


@lru_cache(maxsize=1)
def load_encoder(name: str) -> tuple[Any, Any, int]:
    """Tokenizer, model and the most tokens that it takes."""
    read_tokenizer: Any = AutoTokenizer.from_pretrained
    read_model: Any = AutoModel.from_pretrained
    try:
        tokenizer = read_tokenizer(name)
        model, info = read_model(name, dtype=torch.float32, output_loading_info=True)
    except (OSError, ValueError, KeyError, RuntimeError, ImportError, SafetensorError) as error:
        first = str(error).strip().partition("\n")[0] or type(error).__name__
        raise ModelError(
            f"{name}: the embedding model cannot be loaded ({first}). Name a directory with a model and its tokenizer "
            "in the Hugging Face layout, or a model of the hub."
        ) from error
    if missing := sorted(key for key in info["missing_keys"] if not key.startswith(UNUSED)):
        raise ModelError(
            f"{name}: the files lack {len(missing)} of the model's tensors ({', '.join(missing[:3])}...), which would "
            "be random numbers. Copy the directory again."
        )
    if getattr(model.config, "is_encoder_decoder", False):
        raise ModelError(
            f"{name}: an encoder with a decoder makes no embedding here; name a model that is one of the two"
        )
    positions = getattr(model.config.get_text_config(), "max_position_embeddings", MAX_TOKENS)
    longest = min(MAX_TOKENS, int(positions), int(tokenizer.model_max_length))
    return tokenizer, model.to(device()), longest
