"""An evaluation as lm-evaluation-harness leaves it: results_*.json and a samples_*.jsonl for each benchmark.

A document of theirs has one score: the share of its samples that are correct. Who reads only their fields sees that;
the verdicts of the samples stand beside it, under `openklear`, so that the way back loses none.
"""

from __future__ import annotations

import hashlib
import statistics
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from openklear.durable.files import json_text, whole_directory, write_json, write_jsonl_atomic
from openklear.evaluation.exchange.about import About, about, file_names, known, text_of_sample
from openklear.evaluation.exchange.lm_eval import OURS
from openklear.evaluation.stored import Sample, Stored
from openklear.types import Outcome

Groups = Sequence[Sequence[Sample]]
METRIC, FILTER = "exact_match", "openklear"


def write_lm_eval(stored: Stored, benchmarks: Mapping[str, Groups], path: Path) -> None:
    """The directory `path`."""
    stamp = about(stored).made.strftime("%Y-%m-%dT%H-%M-%S.%f")
    with whole_directory(path) as directory:
        names = file_names(benchmarks)
        for name, groups in benchmarks.items():
            write_jsonl_atomic(
                directory / f"samples_{names[name]}_{stamp}.jsonl", _rows(stored, groups, about(stored, name))
            )
        write_json(directory / f"results_{stamp}.json", _results(stored, benchmarks))


def _rows(stored: Stored, groups: Groups, said: About) -> Iterator[dict[str, Any]]:
    for number, group in enumerate(groups):
        first = group[0]
        asked = stored.asked.get(first.place)
        prompt = list(asked.prompt) if asked else []
        document = {"id": first.problem, "problem": prompt[-1]["content"] if prompt else ""}
        target = (asked.reference if asked else None) or ""
        request = json_text(prompt)
        yield {
            "doc_id": number,
            "doc": known({**document, "answer": target or None, "level": first.level}),
            "target": target,
            "arguments": {"gen_args_0": {"arg_0": request, "arg_1": _generation(said)}},
            "resps": [[text_of_sample(stored, one) for one in group]],
            "filtered_resps": [one.extracted for one in group],
            "filter": FILTER,
            "metrics": [METRIC],
            "doc_hash": _hash(json_text(document)),
            "prompt_hash": _hash(request),
            "target_hash": _hash(target),
            METRIC: _share(group),
            OURS: {
                "problem": first.problem,
                "domain": first.domain,
                "outcomes": [str(one.outcome) for one in group],
                "reasons": [one.reason for one in group],
                "stops": [str(one.stop_reason) for one in group],
                "tokens": [one.tokens for one in group],
            },
        }


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _generation(said: About) -> dict[str, Any]:
    sampled = None if said.temperature is None else said.temperature > 0.0
    given = {"do_sample": sampled, "temperature": said.temperature, "top_p": said.top_p, "top_k": said.top_k}
    return known({**given, "max_gen_toks": said.max_tokens})


def _share(group: Sequence[Sample]) -> float | None:
    """None where no sample could be scored."""
    scored = [one.correct for one in group if one.outcome is not Outcome.UNSCORABLE]
    return sum(scored) / len(scored) if scored else None


def _results(stored: Stored, benchmarks: Mapping[str, Groups]) -> dict[str, Any]:
    said = about(stored)
    results = {name: _sums(name, groups) for name, groups in benchmarks.items()}
    sizes = {name: {"original": len(groups), "effective": len(groups)} for name, groups in benchmarks.items()}
    configs = {name: _config(about(stored, name), name, groups) for name, groups in benchmarks.items()}
    return {
        "results": results,
        "group_subtasks": {name: [] for name in benchmarks},
        "configs": configs,
        "versions": dict.fromkeys(benchmarks, "N/A"),
        "n-shot": dict.fromkeys(benchmarks, 0),
        "higher_is_better": {name: {METRIC: True} for name in benchmarks},
        "n-samples": sizes,
        "config": {"model": said.tool, "model_args": f"pretrained={said.model}" if said.model else ""},
        "date": said.made.timestamp(),
        "model_source": said.tool,
        "model_name": said.model,
    }


def _sums(name: str, groups: Groups) -> dict[str, Any]:
    shares = [share for share in map(_share, groups) if share is not None]
    # Their standard error is that of a mean over documents; the house's interval has no place here.
    error: Any = statistics.stdev(shares) / len(shares) ** 0.5 if len(shares) > 1 else "N/A"
    mean = sum(shares) / len(shares) if shares else None
    return known({"alias": name, f"{METRIC},{FILTER}": mean, f"{METRIC}_stderr,{FILTER}": error if shares else None})


def _config(said: About, name: str, groups: Groups) -> dict[str, Any]:
    return {
        "task": name,
        "num_fewshot": 0,
        "metric_list": [{"metric": METRIC, "aggregation": "mean", "higher_is_better": True}],
        "output_type": "generate_until",
        "generation_kwargs": _generation(said),
        "repeats": max(map(len, groups)),
    }
