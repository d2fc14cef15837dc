"""Models saved here, read by transformers 4 in an environment of its own (make test-readers)."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest
import torch
from tests.models.architectures import ARCHITECTURES, make
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers.models.qwen2.tokenization_qwen2 import PRETOKENIZE_REGEX

from openklear.models.loading import LoadedModel, load_model, save_model
from openklear.models.tiny import make_tiny

pytestmark = pytest.mark.readers

TEXT = "<|user|>What is 12 + 3?\n\n 7<|im_end|>\n<think> é 漢  x\t</think>\\boxed{15}"


def byte_level(split=None, normalizer=None, bos=False):
    """A tokenizer of bytes with a few merges, as GPT-2's, Qwen's and Llama 3's are."""
    letters = {c: i for i, c in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    merges = [("Ċ", "Ċ"), ("Ġ", "Ġ"), ("1", "2"), ("Ġ", "x")]
    for pair in merges:
        letters["".join(pair)] = len(letters)
    made = Tokenizer(models.BPE(vocab=letters, merges=merges))
    rest = [pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=split is None)]
    made.pre_tokenizer = pre_tokenizers.Sequence([*([split] if split else []), *rest])
    made.decoder, made.normalizer = decoders.ByteLevel(), normalizer
    marks = ("<|endoftext|>", "<|user|>", "<|im_end|>")
    made.add_special_tokens([AddedToken(mark, special=True, normalized=False) for mark in marks])
    made.add_tokens([AddedToken(mark, normalized=False) for mark in ("<think>", "</think>")])
    if bos:
        mark = ("<|endoftext|>", made.token_to_id("<|endoftext|>"))
        made.post_processor = processors.TemplateProcessing(single=f"{mark[0]} $A", special_tokens=[mark])
    return made


def metaspace():
    """A tokenizer with the marks of SentencePiece, as Llama 2's and Gemma's are."""
    pieces = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), "▁", "▁x", *"What is?x0123456789"]
    made = Tokenizer(models.BPE(vocab={p: i for i, p in enumerate(dict.fromkeys(pieces))}, merges=[("▁", "x")], byte_fallback=True, unk_token="<unk>", fuse_unk=True))  # fmt: skip
    made.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    made.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)])  # fmt: skip
    made.add_special_tokens([AddedToken(mark, special=True, normalized=False) for mark in ("<unk>", "<s>", "</s>")])
    made.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return made


QWEN = pre_tokenizers.Split(Regex(PRETOKENIZE_REGEX), "isolated")
TOKENIZERS = {
    "smollm's": (byte_level(pre_tokenizers.Digits(individual_digits=True)), "GPT2Tokenizer", "llama"),
    "qwen's": (byte_level(QWEN, normalizers.NFC()), "Qwen2Tokenizer", "qwen3"),
    "under another class": (byte_level(pre_tokenizers.Digits(individual_digits=True)), "Qwen2Tokenizer", "qwen2"),
    "llama 3's": (byte_level(bos=True), "PreTrainedTokenizerFast", "llama"),
    "llama 2's": (metaspace(), "LlamaTokenizer", "llama"),
    "gemma's": (metaspace(), "GemmaTokenizer", "gemma"),
}


def with_tokenizer(directory: Path, backend: Tokenizer, kind: str, name: str) -> LoadedModel:
    """A directory as transformers 4 publishes it, loaded here."""
    save_model(make(name, vocab_size=backend.get_vocab_size()), directory)
    backend.save(str(directory / "tokenizer.json"))
    end = "<|im_end|>" if backend.token_to_id("<|im_end|>") else "</s>"
    settings = {"tokenizer_class": kind, "eos_token": end, "pad_token": end, "model_max_length": 128}
    if end == "<|im_end|>":
        settings["additional_special_tokens"] = ["<|user|>", "<|endoftext|>"]
    (directory / "tokenizer_config.json").write_text(json.dumps(settings))
    return load_model(directory)


def exports(root: Path) -> dict[str, tuple[LoadedModel, Path]]:
    found = {name: make(name) for name in ARCHITECTURES}
    found["tiny"] = make_tiny(32, 2, 2, 64, seed=1)
    for name, (backend, kind, model) in TOKENIZERS.items():
        found[name] = with_tokenizer(root / "published" / name.replace(" ", "-"), backend, kind, model)
    untied = make("qwen3 tied")
    untied.model.lm_head.weight = torch.nn.Parameter(untied.model.lm_head.weight.detach() * 1.5)
    (root / "own").mkdir()
    torch.manual_seed(1)
    untied.model.save_pretrained(root / "own")
    untied.tokenizer.save_pretrained(root / "own")
    found["a head of its own"] = load_model(root / "own")
    half = make("llama")
    found["bfloat16"] = LoadedModel(half.model.to(torch.bfloat16), half.tokenizer, half.end_ids)
    saved = {}
    for number, (name, loaded) in enumerate(found.items()):
        save_model(loaded, root / f"{number:02d}")
        saved[name] = loaded, root / f"{number:02d}"
    return saved


def test_logits_and_tokens_are_the_same_elsewhere(tmp_path):
    reader = os.environ.get("OPENKLEAR_READER")
    if reader is None:
        pytest.skip("NOT TESTED: OPENKLEAR_READER names no Python with transformers 4; run make test-readers")
    saved = exports(tmp_path)
    for loaded, directory in saved.values():
        rows = len(loaded.tokenizer)
        ids = (torch.arange(120).view(2, 60) * 7 + 3) % rows
        (directory / "asked.json").write_text(json.dumps({"text": TEXT, "ids": ids.tolist()}))
    script = Path(__file__).with_name("read_elsewhere.py")
    directories = [directory for _, directory in saved.values()]
    done = subprocess.run([reader, script, *directories], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    for name, read in zip(saved, json.loads(done.stdout), strict=True):
        loaded, directory = saved[name]
        assert read["version"].startswith("4.57"), name
        assert read["unused"] == [], name
        ours, ids = loaded.tokenizer, loaded.tokenizer(TEXT)["input_ids"]
        assert read["ids"] == ids, name
        assert read["decoded"] == ours.decode(ids), name
        assert read["plain"] == ours.decode(ids, skip_special_tokens=True), name
        assert read["special"] == sorted(map(str, ours.all_special_tokens)), name
        messages = [{"role": "user", "content": TEXT}]
        assert read["prompt"] == ours.apply_chat_template(messages, tokenize=False, add_generation_prompt=True), name
        assert set(read["ends"]) == loaded.end_ids, name
        assert read["dtype"] == str(loaded.model.dtype), name
        asked = torch.tensor(json.loads((directory / "asked.json").read_text())["ids"])
        with torch.no_grad():
            expected = loaded.model(asked).logits
        near = 1e-5 if expected.dtype == torch.float32 else 5e-2  # bfloat16 rounds to three digits
        torch.testing.assert_close(torch.load(directory / "logits.pt"), expected, atol=near, rtol=near, msg=name)
