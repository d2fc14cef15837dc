"""The card beside a model's weights, README.md: what it was trained from and on, what it scores, how it is loaded.

It is a rendering of summary.json, like the report, and is written anew when scores are known: no stage reads it, and no
hash holds it. Its head is the hub's metadata, JSON values being YAML.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from openklear.durable.files import write_atomic
from openklear.evaluation.scores import labels, totals

__all__ = ["leave_cards", "licence_of", "model_card"]

Summary = Mapping[str, Any]
HUB = "hub:"
NAME = "README.md"
_LICENCE = re.compile(r"^license:\s*([\w.-]+)\s*$", re.MULTILINE)
LOADING = """```python
from transformers import AutoModelForCausalLM, AutoTokenizer

path = "{place}"  # this directory, or its name on the hub
model, tokenizer = AutoModelForCausalLM.from_pretrained(path), AutoTokenizer.from_pretrained(path)
messages = [{{"role": "user", "content": "What is 2 + 3?"}}]
inputs = tokenizer.apply_chat_template(
    messages, add_generation_prompt=True, return_dict=True, return_tensors="pt"{arguments}
)
print(tokenizer.decode(model.generate(**inputs, max_new_tokens=512)[0]))
```"""


def leave_cards(root: Path, summary: Summary) -> None:
    """Write the card of every model of a run whose card would be another than it is."""
    for stage in summary["weights"]:
        directory = root / stage / "model"
        text = model_card(summary, stage, licence_of(root, summary))
        path = directory / NAME
        if directory.is_dir() and (not path.is_file() or path.read_text(encoding="utf-8") != text):
            write_atomic(path, text)
            path.chmod(0o644)


def licence_of(root: Path, summary: Summary) -> str | None:
    """The licence that the README beside the base model states; None where it is not known."""
    path = (summary["recipe"].get("model") or {}).get("path")
    place = root / "base" / "base-model.txt" if path is None or path.startswith(HUB) else Path(path) / NAME
    try:
        text = place.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return None
    found = _LICENCE.search(text)
    return found[1] if found else None


def model_card(summary: Summary, stage: str, licence: str | None = None) -> str:
    """The card of the model that `stage` left, with the scores that are known by now."""
    made = list(summary["weights"])
    made = made[: made.index(stage) + 1]
    parts = [
        _head(summary, stage, licence),
        f"# {stage}: {_base(summary)}, trained with OpenKlear",
        " ".join(_made(summary, made)),
        "## Scores",
        *_scores(summary, stage),
        "## Data",
        *_data(summary),
        "## Loading",
        LOADING.format(place=".", arguments=_arguments(summary)),
        "A completion ends at any of the tokens in generation_config.json.",
    ]
    return "\n\n".join(parts) + "\n"


def _head(summary: Summary, stage: str, licence: str | None) -> str:
    recipe = summary["recipe"]
    path = str((recipe.get("model") or {}).get("path", ""))
    data = [source["path"].removeprefix(HUB) for source in recipe["data"]["source"] if source["path"].startswith(HUB)]
    fields: dict[str, Any] = {
        "library_name": "transformers",
        "pipeline_tag": "text-generation",
        "tags": ["openklear", *(["reinforcement-learning"] if stage.startswith("rl-") else []), "reasoning"],
    }
    if licence is not None:
        fields["license"] = licence
    if path.startswith(HUB):
        fields["base_model"] = path.removeprefix(HUB).partition("@")[0]
    if data:
        fields["datasets"] = list(dict.fromkeys(name.partition("@")[0].partition(":")[0] for name in data))
    if results := list(_results(summary, stage)):
        fields["model-index"] = [{"name": stage, "results": results}]
    return "\n".join(["---", *(f"{key}: {json.dumps(value)}" for key, value in fields.items()), "---"])


def _results(summary: Summary, stage: str) -> Iterator[dict[str, Any]]:
    rows = [row for row in totals(summary["scores"]) if row["stage"] == stage]
    names = labels(rows)
    for row in rows:
        name = names[row["benchmark"], row["domain"]]
        metric = {"type": "accuracy", "name": f"avg@{row['k']}", "value": round(row["value"], 4)}
        yield {
            "task": {"type": "text-generation"},
            "dataset": {"type": row["benchmark"], "name": name},
            "metrics": [metric],
        }


def _base(summary: Summary) -> str:
    model = summary["recipe"].get("model") or {}
    if "path" not in model:
        return f"a model of {model.get('layers')} layers made from scratch"
    return str(model["path"]).removeprefix(HUB) if model["path"].startswith(HUB) else Path(model["path"]).name


def _made(summary: Summary, made: Sequence[str]) -> Iterator[str]:
    """How the model came about, in sentences."""
    recipe = summary["recipe"]
    yield f"From {_base(summary)} by the stages {', '.join(f'`{name}`' for name in made)}."
    if (sft := recipe.get("sft")) is not None and "sft" in made:
        yield f"SFT: {sft['epochs']} epochs at a peak learning rate of {sft['learning_rate']:g}."
    for phase in (recipe.get("rl") or {}).get("phase", ()):
        if f"rl-{phase['name']}" in made:
            yield (
                f"RL phase {phase['name']} ({', '.join(phase['domains'])}): {phase['iterations']} iterations of "
                f"{phase['problems_per_iteration']} problems with {phase['group_size']} rollouts each, objective "
                f"{phase['objective']['type']}, learning rate {phase['learning_rate']:g}."
            )
    if (lora := recipe.get("lora")) is not None and len(made) > 1:
        yield (
            f"Every stage trained adapters of low rank (LoRA, rank {lora['rank']}, alpha {lora['alpha']:g}, "
            f"{' and '.join(lora['targets']) or 'all linear layers'}), which are merged here."
        )
    yield f"Seed {summary['seed']}; OpenKlear {summary['version']}; weights {summary['weights'][made[-1]]}."


def _scores(summary: Summary, stage: str) -> Iterator[str]:
    rows = totals(summary["scores"])
    mine = [row for row in rows if row["stage"] == stage]
    if not mine:
        yield "Not evaluated."
        return
    names = labels(rows)
    gained = {(g["benchmark"], g["domain"]): g for g in summary.get("gains", ()) if g["to"] == stage}
    lines = [
        "| benchmark | score | 95 % interval | problems | cut off by length | gain |",
        "|---|---|---|---|---|---|",
    ]
    for row in mine:
        place = row["benchmark"], row["domain"]
        problems = f"{row['problems']} of {row.get('of', row['problems'])}"
        cut = "" if row.get("stopped_by_length") is None else f"{row['stopped_by_length']:.1%}"
        cells = (
            names[place],
            f"avg@{row['k']} {row['value']:.1%}",
            _interval(row),
            problems,
            cut,
            _gain(gained.get(place)),
        )
        lines.append(f"| {' | '.join(cells)} |")
    yield "\n".join(lines)
    yield (
        "Intervals are over problems; gains are paired, problem by problem. Both are those of a single run: another "
        "seed gives other numbers."
    )


def _interval(row: Mapping[str, Any], sign: str = "") -> str:
    return "" if row["low"] is None else f"{row['low']:{sign}.1%} to {row['high']:{sign}.1%}"


def _gain(row: Mapping[str, Any] | None) -> str:
    if row is None:
        return ""
    span = _interval(row, "+")
    return f"{row['gain']:+.1%}{f' ({span})' if span else ''} from {row['from']}"


def _data(summary: Summary) -> Iterator[str]:
    lines = ["| source | role | path | licence |", "|---|---|---|---|"]
    for source in summary["recipe"]["data"]["source"]:
        path = source["path"]
        shown = (
            path if path.startswith((HUB, "world:")) else Path(path).name
        )  # whose directory it was is nobody's matter
        lines.append(f"| {source['name']} | {source['role']} | {shown} | {source.get('licence') or 'not stated'} |")
    yield "\n".join(lines)


def _arguments(summary: Summary) -> str:
    """Arguments of the chat template that the model was trained with."""
    given = (summary["recipe"].get("model") or {}).get("template_args") or {}
    return "".join(f", {name}={value!r}" for name, value in given.items())
