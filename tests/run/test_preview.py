"""--dry-run: what a run would meet, without torch, without fetching, without writing; every fault at once."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit

from openklear.cli import main
from openklear.demo.world import WORDS
from openklear.errors import UsageError
from openklear.models.head import CHUNK_BYTES, GPU_CHUNK_BYTES
from openklear.models.tiny import make_tiny, make_tokenizer
from openklear.planner.memory import HEAD_BYTES
from openklear.recipe.load import load_recipe
from openklear.recipe.schema import PretrainedModel
from openklear.run.model_facts import TINY_VOCABULARY, TokenCounter, model_facts
from openklear.run.preview import Preview, preview

RECIPE = """
microbatch_tokens = 256
[model]
type = "pretrained"
path = "model"
[data]
[[data.source]]
name = "shown"
path = "shown.jsonl"
role = "demonstrations"
domain = "math"
[[data.source]]
name = "asked"
path = "asked"
role = "problems"
domain = "math"
[[data.source]]
name = "held"
path = "asked"
role = "heldout"
domain = "math"
limit = 3
samples = 4
[sft]
epochs = 3
max_tokens = 128
batch_tokens = 60
[rl]
iterations = 2
problems_per_iteration = 4
problems_per_update = 4
group_size = 5
max_prompt_tokens = 64
max_completion_tokens = 100
[[rl.phase]]
name = "math"
domains = ["math"]
[evaluation]
max_completion_tokens = 50
"""
CONFIG = {
    "architectures": ["LlamaForCausalLM"],
    "hidden_size": 8,
    "intermediate_size": 20,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 11,
    "max_position_embeddings": 512,
    "tie_word_embeddings": True,
}


def write(path: Path, rows: list[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A recipe over a model that is nothing but heads of files, and data sets with splits."""
    (tmp_path / "recipe.toml").write_text(RECIPE)
    write(tmp_path / "shown.jsonl", [{"prompt": "one two three", "response": "four five", "answer": "5"}] * 12)
    for split, rows in (("train", 7), ("test", 5)):
        write(
            tmp_path / "asked" / f"{split}.jsonl",
            [{"question": f"what {split} is {n}", "answer": str(n)} for n in range(rows)],
        )
    model = tmp_path / "model"
    model.mkdir()
    (model / "config.json").write_text(json.dumps(CONFIG))
    (model / "tokenizer_config.json").write_text('{"chat_template": "{{ messages }}"}')
    tokenizer = Tokenizer(WordLevel({"what": 0, "?": 1}, unk_token="?"))
    tokenizer.pre_tokenizer = WhitespaceSplit()
    tokenizer.save(str(model / "tokenizer.json"))
    head = json.dumps({"a": {"dtype": "F32", "shape": [3, 5]}, "b": {"dtype": "F32", "shape": [4]}, "__metadata__": {}})
    (model / "model.safetensors").write_bytes(len(head).to_bytes(8, "little") + head.encode() + bytes(76))
    return tmp_path


def looked(place: Path, *changes: str) -> Preview:
    return preview(load_recipe(place / "recipe.toml", changes))


def test_what_the_files_say(place: Path) -> None:
    found = looked(place)
    assert found.faults == []
    assert found.model is not None
    shape = found.model.shape
    assert (shape.parameters, shape.vocabulary, found.model.longest) == (19, 11, 164)
    assert found.model.line() == (
        "model: LlamaForCausalLM, 0.0 million parameters; 2 layers of width 8; vocabulary 11; "
        "512 positions (the recipe's longest row has 164); chat template from tokenizer_config.json"
    )
    assert [source.line() for source in found.sources] == [
        "shown (demonstrations); 12 rows; math; columns prompt, response, answer; about 3 tokens a prompt; 2 a response",
        "asked (problems); 7 rows; math; columns question, answer; about 4 tokens a prompt; "
        "reads train.jsonl (split train); leaves test.jsonl (split test)",
        "held (heldout); 5 rows; math; columns question, answer; about 4 tokens a prompt; "
        "reads test.jsonl (split test); leaves train.jsonl (split train); limit 3",
    ]
    assert found.counted.startswith("with the model's tokenizer")
    assert found.stages == [
        "sft: about 12 demonstrations read, 60 tokens an epoch, 3 updates in 3 epochs",
        "rl-math: about 7 problems read; 40 rollouts, at most 4,160 tokens",
        "each evaluation: 3 problems, 12 completions, at most 600 tokens",
    ]


def test_every_fault_at_once_with_its_place(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(place / "asked" / "train.jsonl", [{"question": "q"}])
    (place / "shown.jsonl").write_text('{"prompt": \n')
    (place / "model" / "config.json").unlink()
    changes = ["--set", 'data.languages=["en"]', "--set", "data.source.held.split=tset"]
    words = ["run", str(place / "recipe.toml"), "-o", str(place / "run"), "--dry-run", *changes]
    assert main.main(words) == 2
    said = capsys.readouterr().err
    assert f"{place}/model/config.json: cannot be read" in said
    assert f"data.source.shown: {place}/shown.jsonl:1: not valid JSON" in said
    assert f"data.source.asked: {place}/asked/train.jsonl:1: no known shape of problems" in said
    assert 'split = "tset" is not one of its splits; they are test, train' in said
    assert main.main([*words, "--json"]) == 2
    document = json.loads(capsys.readouterr().out)
    assert document["exit_code"] == 2
    assert document["error"].startswith("the run would end with 4 faults:\n")
    assert not (place / "run").exists()


def test_every_file_of_a_source_is_opened(place: Path) -> None:
    write(place / "asked" / "train2.jsonl", [{"question": "q", "answer": "1"}])
    (place / "asked" / "train3.jsonl").write_text("")
    (place / "asked" / "train4.jsonl").write_text("no JSON")
    write(place / "asked" / "train5.jsonl", [{"nothing": "known"}])
    (fault,) = looked(place).faults
    assert "train4.jsonl:1: not valid JSON" in fault
    assert "train5.jsonl:1: no known shape" in fault


def test_missing_extras_are_named_with_what_to_install(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("openklear.run.extras.find_spec", lambda name: None)
    asked = ('data.languages=["en"]', "data.engine.type=ray", "model.gguf_file=m.gguf")
    found = looked(place, *asked, "lora.rank=4", "sft.optimizer.type=adamw8bit")
    assert found.faults == [
        "model.gguf_file: needs the packages gguf, accelerate; run pip install 'openklear[gguf]'",
        "data.languages: needs the package py3langid; run pip install 'openklear[language]'",
        "data.engine: needs the package ray; run pip install 'openklear[cluster]'",
        "lora: needs the package peft; run pip install 'openklear[lora]'",
        "sft.optimizer: needs the package torchao; run pip install 'openklear[torchao]'",
    ]


@pytest.mark.parametrize(
    ("break_it", "fault"),
    [
        (lambda model: (model / "tokenizer_config.json").write_text("{}"), "there is no chat template; give one as model.chat_template"),
        (lambda model: (model / "config.json").write_text('{"vocab_size": 3}'), "it is no configuration of a decoder"),
        (lambda model: (model / "model.safetensors").unlink(), "holds no weights"),
        (lambda model: (model / "model.safetensors").write_bytes(b"\xff" * 20), "its head cannot be read"),
    ],
)  # fmt: skip
def test_a_model_that_cannot_be_used(place: Path, break_it: Any, fault: str) -> None:
    break_it(place / "model")
    found = looked(place)
    assert len(found.faults) == 1
    assert fault in found.faults[0]
    with pytest.raises(UsageError, match="the run would end with 1 fault:"):
        found.require()


def test_fewer_positions_than_the_recipe_allows_are_said(place: Path) -> None:
    (place / "model" / "config.json").write_text(json.dumps({**CONFIG, "max_position_embeddings": 100}))
    found = looked(place)
    assert found.model is not None
    assert "100 positions (the recipe's longest row has 164; longer ones are cut or left out)" in found.model.line()


def test_nothing_of_the_hub_is_fetched(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(place / "cache"))
    monkeypatch.setattr("openklear.data.hub.names", lambda source: ["a.jsonl", "b.jsonl"])
    found = looked(place, "data.source.asked.path=hub:nobody/nothing-of-the-kind")
    assert found.faults == []
    assert (
        found.sources[1].line() == "asked (problems); hub:nobody/nothing-of-the-kind is not fetched yet; 2 files there"
    )


def test_a_model_of_the_hub_that_is_not_fetched_is_no_fault(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = PretrainedModel(path="hub:nobody/nothing-of-the-kind@v1")
    found = preview(load_recipe(place / "recipe.toml").model_copy(update={"model": model}))
    assert (found.faults, found.model, found.plan) == ([], None, None)
    assert "model: hub:nobody/nothing-of-the-kind@v1 is not fetched yet, so its size is not known" in found.lines()
    assert found.counted == "as 3.5 characters each, on the first rows"


def test_a_run_through_prepare_needs_no_model(place: Path) -> None:
    (place / "model" / "config.json").unlink()
    recipe = load_recipe(place / "recipe.toml")
    assert len(preview(recipe).faults) == 1
    found = preview(recipe, "prepare")
    assert (found.faults, found.model, found.plan, found.stages) == ([], None, None, [])
    assert len(found.sources) == 3


def test_odd_rows_among_the_first_are_counted(place: Path) -> None:
    rows = [
        {"prompt": "a", "response": "b"},
        {"prompt": "a", "response": ""},
        {"prompt": 3},
        {"prompt": "c", "response": "d"},
    ]
    write(place / "shown.jsonl", rows)
    line = looked(place).sources[0].line()
    assert "about 2 rows" in line
    assert f"2 rows of the first 4 dropped (no response: 1, malformed row: 1; {place}/shown.jsonl:2)" in line


def test_what_a_fork_would_take_over(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["prepare", str(place / "recipe.toml"), "--set", "model={ type = 'tiny', heads = 2, hidden_size = 8 }"]
    words += ["--set", "data.require_format=false"]
    old, new = str(place / "old"), str(place / "new")
    assert main.main([*words, "-o", old]) == 0
    capsys.readouterr()
    dry = [*words, "-o", new, "--fork", old, "--dry-run", "--json"]
    assert main.main(dry) == 0
    stages = json.loads(capsys.readouterr().out)["stages"]
    assert [(stage["name"], stage["state"]) for stage in stages] == [("prepare", "take over"), ("card", "take over")]
    assert main.main([*dry, "--set", "data.deduplicate=false"]) == 0
    stages = json.loads(capsys.readouterr().out)["stages"]
    assert [stage["state"] for stage in stages] == ["run", "run"]
    assert main.main([*words, "-o", new, "--fork", str(place / "nowhere"), "--dry-run"]) == 2
    assert "holds no stage of this recipe; give --fork the directory of a run" in capsys.readouterr().err
    assert not Path(new).exists()


def test_the_tiny_models_sizes_are_those_it_gets(place: Path) -> None:
    model = "model={ type = 'tiny', heads = 2, hidden_size = 16, layers = 3 }"
    facts = model_facts(load_recipe(place / "recipe.toml", [model]))
    made = make_tiny(16, 3, 2, 256, 0).model
    assert facts.shape.parameters == sum(parameter.numel() for parameter in made.parameters())
    assert len(make_tokenizer()) == TINY_VOCABULARY
    assert HEAD_BYTES == {"cpu": CHUNK_BYTES, "gpu": GPU_CHUNK_BYTES}
    assert facts.shape.positions == 192  # 164 rounded up to a multiple of 64


def test_the_tiny_models_tokens_are_counted_as_it_counts_them(place: Path) -> None:
    recipe = load_recipe(place / "recipe.toml", ["model={ type = 'tiny', heads = 2, hidden_size = 8 }"])
    counter, tokenizer = TokenCounter.of(recipe), make_tokenizer()
    exercises = [
        *WORDS,
        "<think>\n3 + 4 * 2 = 11\n</think>\n\\boxed{11}",
        "def f(x):\n    return x\n",
        "Größe: π 学",
        "",
    ]
    for text in exercises:
        assert counter.count(text) == len(tokenizer.encode(text, add_special_tokens=False))


def test_the_plan_of_the_machine_at_hand_is_in_the_preview(place: Path) -> None:
    found = looked(place)
    assert found.plan is not None
    assert found.plan.amounts.demonstrations.number == 12
    assert found.plan.amounts.completions == 12
    lines = found.plan.short()
    assert [line.split(":")[0] for line in lines[1:4]] == ["sft", "rl-math", "evaluate"]
    assert lines[-1].startswith("fits: at most ")
    assert found.document()["plan"]["fits"] is True


def test_no_torch_is_loaded(place: Path) -> None:
    code = (
        "import sys; from openklear.cli.main import main; "
        f"main(['run', {str(place / 'recipe.toml')!r}, '-o', {str(place / 'run')!r}, '--dry-run']); "
        "print(*(set(sys.modules) & {'torch', 'transformers', 'daft', 'sympy'}), 'loaded')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1].strip() == "loaded", done.stdout
