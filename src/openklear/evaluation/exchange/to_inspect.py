"""An evaluation as a log that `inspect view` and inspect_ai's reader open: a zip of JSON, written by Python alone."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import Any
from urllib.parse import quote

from openklear.durable.files import json_text, writing
from openklear.evaluation.exchange.about import About, about, apart, average, known, text_of_sample
from openklear.evaluation.exchange.inspect_logs import HEADER, OURS, SAMPLES, START
from openklear.evaluation.stored import Asked, Sample, Stored
from openklear.types import Outcome, StopReason

VERSION = 2
"""Of the log format."""
SCORER = "openklear"
STOPS = {StopReason.LENGTH: "max_tokens", StopReason.STOP: "stop"}
"""Other ends are `unknown` there."""


def write_eval(stored: Stored, benchmark: str, groups: Sequence[Sequence[Sample]], path: Path) -> None:
    """One benchmark as one log. An unscorable sample has no score there, and is in no metric, as with us."""
    said = about(stored, benchmark)
    header = _header(said, benchmark, groups)
    with writing(path) as file, zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as packed:
        _add(packed, START, {key: header[key] for key in ("version", "eval", "plan")})
        summaries = []
        for sample in chain.from_iterable(groups):
            row = _sample(stored, sample, said)
            _add(packed, f"{SAMPLES}{_file_name(sample)}", row)
            summaries.append(_summary(row))
        _add(packed, "summaries.json", summaries)
        _add(packed, HEADER, header)  # last: a log with a header is whole


def _file_name(sample: Sample) -> str:
    """As inspect names it. A zip's names hold no NUL and no half of a character; few ids do, and are then looked up by
    another name there."""
    name = f"{sample.problem}_epoch_{sample.sample + 1}.json".replace("\0", "\ufffd")
    return name.encode("utf-8", "replace").decode()


def _add(packed: zipfile.ZipFile, name: str, value: Any) -> None:
    info = zipfile.ZipInfo(name)  # with one date for all files: the same evaluation makes the same bytes
    info.compress_type = zipfile.ZIP_DEFLATED
    packed.writestr(info, json_text(value))


def _header(said: About, benchmark: str, groups: Sequence[Sequence[Sample]]) -> dict[str, Any]:
    made = said.made.isoformat()
    count, most = sum(map(len, groups)), max(map(len, groups))
    config = {"temperature": said.temperature, "top_p": said.top_p, "top_k": said.top_k, "max_tokens": said.max_tokens}
    evaluated = {
        "eval_id": _token(said, benchmark, "eval"),
        "run_id": _token(said, benchmark, "run"),
        "created": made,
        "task": benchmark,
        "task_id": _token(said, benchmark, "task"),
        "task_version": 0,
        "task_attribs": {},
        "task_args": {},
        "dataset": {
            "name": benchmark,
            "samples": len(groups),
            "sample_ids": [group[0].problem for group in groups],
            "shuffled": False,
        },
        "model": _model(said),
        "model_generate_config": known(config),
        "model_args": {},
        "config": {"epochs": most, "epochs_reducer": ["mean"]},
        "packages": known({said.tool: said.version}),
        "metadata": known({"protocol": said.protocol, "yarn": said.yarn}),
    }
    return {
        "version": VERSION,
        "status": "success",
        "eval": evaluated,
        "plan": {"name": "plan", "steps": [], "config": {}},
        "results": {"total_samples": count, "completed_samples": count, "scores": [_score(groups)]},
        "stats": {"started_at": made, "completed_at": made, "model_usage": {}},
    }


def _score(groups: Sequence[Sequence[Sample]]) -> dict[str, Any]:
    found = average(groups)
    scored = 0 if found is None else found.problems
    values = {} if found is None else {"accuracy": found.value, "ci_low": found.low, "ci_high": found.high}
    return {
        "name": SCORER,
        "scorer": SCORER,
        "reducer": "mean",
        "params": {},
        "scored_samples": scored,
        "unscored_samples": len(groups) - scored,
        "metrics": {name: {"name": name, "value": value, "params": {}} for name, value in values.items()},
    }


def _token(said: About, benchmark: str, what: str) -> str:
    """An id that is the same whenever the same evaluation is exported."""
    return quote(f"{what}-{benchmark}-{said.model or 'unknown'}-{said.made:%Y%m%dT%H%M%S}", safe="")


def _model(said: About) -> str:
    return said.model or "unknown"


def _sample(stored: Stored, sample: Sample, said: About) -> dict[str, Any]:
    asked = stored.asked.get(sample.place) or Asked(sample.benchmark, sample.problem, sample.domain, ())
    text, name = text_of_sample(stored, sample), f"{sample.problem}-{sample.sample}"
    parts = apart(text, asked.prompt_tail)
    content: Any = text
    if parts is not None:
        content = [{"type": "reasoning", "reasoning": parts[1]}, {"type": "text", "text": parts[2]}]
    answer = {
        "id": name,
        "content": content,
        "role": "assistant",
        "source": "generate",
        "model": _model(said),
    }
    messages = [
        {"id": f"{name}-{place}", "content": turn["content"], "role": turn["role"], "source": "input"}
        for place, turn in enumerate(asked.prompt)
    ]
    output = _output(sample, asked, answer, parts[2] if parts else text)
    return {
        "id": sample.problem,
        "epoch": sample.sample + 1,
        "input": asked.prompt[-1]["content"] if asked.prompt else "",
        "target": asked.reference or "",
        "messages": [*messages, answer],
        "output": output,
        "scores": _scores(sample),
        "metadata": {OURS: _kept(sample, asked, parts[0] if parts else None)},
        "store": {},
        "model_usage": {_model(said): output["usage"]} if "usage" in output else {},
        "attachments": {},
    }


def _output(sample: Sample, asked: Asked, answer: dict[str, Any], text: str) -> dict[str, Any]:
    choice = {"message": answer, "stop_reason": STOPS.get(sample.stop_reason, "unknown")}
    found = {"model": answer["model"], "choices": [choice], "completion": text}
    if sample.tokens is not None:
        given = asked.prompt_tokens
        total = None if given is None else given + sample.tokens
        found["usage"] = known({"input_tokens": given, "output_tokens": sample.tokens, "total_tokens": total})
    return found


def _scores(sample: Sample) -> dict[str, Any]:
    if sample.outcome is Outcome.UNSCORABLE:
        return {}
    score = {"value": "C" if sample.correct else "I", "answer": sample.extracted, "explanation": sample.reason}
    return {SCORER: known(score)}


def _kept(sample: Sample, asked: Asked, opened: str | None) -> dict[str, Any]:
    """What a way back needs, and inspect has no place for."""
    return known(
        {
            "outcome": str(sample.outcome),
            "reason": sample.reason,
            "extracted": sample.extracted if sample.outcome is Outcome.UNSCORABLE else None,
            "domain": sample.domain,
            "level": sample.level,
            "tests": asked.tests,
            "stop_reason": str(sample.stop_reason),
            "prompt_tail": asked.prompt_tail,
            "opened": opened,
        }
    )


def _summary(row: dict[str, Any]) -> dict[str, Any]:
    short = {key: row[key] for key in ("id", "epoch", "target", "scores", "metadata", "model_usage")}
    return {**short, "input": row["input"][:1000], "completed": True, "message_count": len(row["messages"])}
