"""How a GGUF file's tokenizer splits text before its merges, where transformers leaves that out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tokenizers import pre_tokenizers

from openklear import progress

__all__ = ["restore_split"]

DIGITS_ALONE = ("smollm", "starcoder", "refact", "command-r", "codeshell", "exaone", "minerva-7b")
"""llama.cpp's names of vocabularies in which every digit is a token of its own (llama-vocab.cpp)."""
PLAIN = ("gpt-2", "default", "phi-2", "olmo", "mpt", "jais")
"""Those that GPT-2's rule splits, which transformers takes where it knows no other."""


def restore_split(tokenizer: Any, file: Path) -> None:
    """Split as the file says: with GPT-2's rule alone, a line break before a digit would be another token."""
    backend = tokenizer.backend_tokenizer
    if not isinstance(backend.pre_tokenizer, pre_tokenizers.ByteLevel):
        return  # the library knew the rule, or the vocabulary is of another kind
    rule = _rule(file)
    if rule in DIGITS_ALONE:
        byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
        backend.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), byte_level])
    elif rule is not None and rule not in PLAIN:
        progress.say(
            f"{file}: its tokenizer splits text by the rule {rule!r}, which is not known here; GPT-2's is used, and "
            "some tokens may differ from those the model was trained on. The model's own tokenizer.json knows the rule"
        )


def _rule(file: Path) -> str | None:
    """tokenizer.ggml.pre of the file."""
    from gguf import GGUFReader  # an extra, looked for by then

    field = GGUFReader(str(file)).get_field("tokenizer.ggml.pre")
    return None if field is None else str(field.contents())
