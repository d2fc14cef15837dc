"""An evaluation in the interchange format of Every Eval Ever: for each benchmark an aggregate and its instances.

PATH/data/BENCHMARK/DEVELOPER/MODEL/UUID.json and UUID_samples.jsonl, as its repository lays them out. An instance must
be right or wrong there, so unscorable samples are left out of the instances; the aggregate counts them.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from openklear.durable.files import json_line, whole_directory, write_atomic, write_json
from openklear.evaluation.exchange.about import (
    About,
    about,
    apart,
    average,
    file_names,
    known,
    problem_text,
    text_of_sample,
)
from openklear.evaluation.exchange.rows import text_or_none
from openklear.evaluation.stored import Sample, Stored
from openklear.types import Outcome

SCHEMA = "0.3.0"
Groups = Sequence[Sequence[Sample]]
METHOD = "Wilson's score interval over problems with an effective number of trials"


def write_every_eval_ever(stored: Stored, benchmarks: Mapping[str, Groups], path: Path) -> None:
    """The directory `path`; every benchmark has a scorable sample."""
    with whole_directory(path) as directory:
        for name, groups in benchmarks.items():
            _write(directory, stored, about(stored, name), name, groups)


def _write(directory: Path, stored: Stored, said: About, name: str, groups: Groups) -> None:
    where = f"{name}/{said.model or 'unknown'}/{int(said.made.timestamp())}"
    place = _uuid(where)
    developer, _, model = (said.model or "unknown").rpartition("/")
    folder = "/".join(["data", *(file_names([one])[one] for one in (name, developer or "unknown", model))])
    data = b"".join(json_line(row) for row in _instances(stored, said, where, name, groups))
    instances = f"{folder}/{place}_samples.jsonl"
    write_atomic(directory / instances, data)
    detailed = {
        "format": "jsonl",
        "file_path": instances,
        "hash_algorithm": "sha256",
        "checksum": hashlib.sha256(data).hexdigest(),
        "total_rows": data.count(b"\n"),
    }
    aggregate = _aggregate(said, where, name, groups)
    write_json(directory / folder / f"{place}.json", {**aggregate, "detailed_evaluation_results": detailed})


def _uuid(where: str) -> str:
    """The same for the same evaluation, in the form of a random one, which the format asks for."""
    return str(uuid.UUID(bytes=hashlib.blake2b(where.encode(), digest_size=16).digest(), version=4))


def _aggregate(said: About, where: str, name: str, groups: Groups) -> dict[str, Any]:
    made = str(int(said.made.timestamp()))
    open_model = {"deployment_type": "unknown", "model_availability": "unknown"}
    return {
        "schema_version": SCHEMA,
        "evaluation_id": where,
        "evaluation_timestamp": made,
        "retrieved_timestamp": made,
        "source_metadata": {
            "source_name": said.tool,
            "source_type": "evaluation_run",
            "source_organization_name": "unknown",
            "evaluator_relationship": "other",
        },
        "eval_library": {"name": said.tool, "version": said.version or "unknown"},
        "model_info": {
            "name": said.model or "unknown",
            "id": said.model or "unknown",
            "additional_details": open_model,
        },
        "evaluation_results": [_result(said, where, name, groups)],
    }


def _result(said: About, where: str, name: str, groups: Groups) -> dict[str, Any]:
    found = average(groups)
    assert found is not None
    k, samples = max(map(len, groups)), list(chain.from_iterable(groups))
    lost = sum(one.outcome is Outcome.UNSCORABLE for one in samples)
    cut = sum(one.truncated for one in samples)
    arguments = {"temperature": said.temperature, "top_p": said.top_p, "top_k": said.top_k}
    generation = known({**arguments, "max_tokens": said.max_tokens})
    details = {"problems": len(groups), "completions": len(samples), "unscorable": lost, "stopped_by_length": cut}
    return {
        "evaluation_result_id": _result_id(where),
        "evaluation_name": name,
        "source_data": {"dataset_name": name, "source_type": "other"},
        "metric_config": {
            "metric_id": "accuracy",
            "metric_name": f"avg@{k}",
            "metric_kind": "accuracy",
            "metric_unit": "proportion",
            "metric_parameters": {"k": k},
            "lower_is_better": False,
            "score_type": "continuous",
            "min_score": 0.0,
            "max_score": 1.0,
        },
        "score_details": {
            "score": found.value,
            "details": {key: str(value) for key, value in details.items()},
            "uncertainty": {
                "confidence_interval": {
                    "lower": found.low,
                    "upper": found.high,
                    "confidence_level": 0.95,
                    "method": METHOD,
                },
                "num_samples": found.problems,
            },
        },
        "generation_config": {
            "generation_args": generation,
            "additional_details": known({"protocol": said.protocol, "yarn": text_or_none(said.yarn)}),
        },
    }


def _result_id(where: str) -> str:
    return f"{where}/accuracy"


def _instances(stored: Stored, said: About, where: str, name: str, groups: Groups) -> Iterator[dict[str, Any]]:
    for sample in chain.from_iterable(groups):
        if sample.outcome is not Outcome.UNSCORABLE:
            yield _instance(stored, sample, said, where, name)


def _instance(stored: Stored, sample: Sample, said: About, where: str, name: str) -> dict[str, Any]:
    asked, text = stored.asked.get(sample.place), text_of_sample(stored, sample)
    parts = apart(text, asked.prompt_tail if asked else "")
    prompt = problem_text(stored, sample)
    reference = [asked.reference] if asked and asked.reference else []
    given = asked.prompt_tokens if asked else None
    usage = None
    if given is not None and sample.tokens is not None:
        usage = {"input_tokens": given, "output_tokens": sample.tokens, "total_tokens": given + sample.tokens}
    facts = {"sample": str(sample.sample), "stop_reason": str(sample.stop_reason), "reason": sample.reason or None}
    return {
        "schema_version": SCHEMA,
        "evaluation_id": where,
        "evaluation_result_id": _result_id(where),
        "model_id": said.model or "unknown",
        "evaluation_name": name,
        "sample_id": sample.problem,
        "sample_hash": hashlib.sha256((prompt + "".join(reference)).encode("utf-8", "surrogatepass")).hexdigest(),
        "interaction_type": "single_turn",
        "input": {"raw": prompt, "reference": reference},
        "output": {"raw": [parts[2] if parts else text], "reasoning_trace": [parts[1]] if parts else None},
        "messages": None,
        "answer_attribution": _attribution(sample, said),
        "evaluation": {"score": float(sample.correct), "is_correct": sample.correct},
        "token_usage": usage,
        "metadata": known({**facts, "level": sample.level}),
    }


def _attribution(sample: Sample, said: About) -> list[dict[str, Any]]:
    if sample.extracted is None:
        return []
    return [
        {
            "turn_idx": 0,
            "source": "output.raw",
            "extracted_value": sample.extracted,
            "extraction_method": said.tool,
            "is_terminal": True,
        }
    ]
