"""Run by another environment's Python, with directories: what its transformers makes of each, as JSON on stdout."""

import json
import sys
from pathlib import Path

import torch
import transformers
from transformers import AutoModelForCausalLM, AutoTokenizer


def read(directory: Path) -> dict:
    model, info = AutoModelForCausalLM.from_pretrained(directory, dtype="auto", output_loading_info=True)
    tokenizer = AutoTokenizer.from_pretrained(directory)
    asked = json.loads((directory / "asked.json").read_text())
    with torch.no_grad():
        logits = model(torch.tensor(asked["ids"])).logits
    torch.save(logits, directory / "logits.pt")
    ids = tokenizer(asked["text"])["input_ids"]
    messages = [{"role": "user", "content": asked["text"]}]
    return {
        "version": transformers.__version__,
        "dtype": str(model.dtype),
        "unused": sorted(info["missing_keys"]) + sorted(info["unexpected_keys"]),
        "ids": ids,
        "decoded": tokenizer.decode(ids),
        "plain": tokenizer.decode(ids, skip_special_tokens=True),
        "special": sorted(map(str, tokenizer.all_special_tokens)),
        "prompt": tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True),
        "ends": model.generation_config.eos_token_id,
    }


if __name__ == "__main__":
    print(json.dumps([read(Path(name)) for name in sys.argv[1:]]))
