"""Logs of inspect_ai, read: `.eval` (a zip of JSON files) and `.json`.

An epoch is a sample. A sample whose run failed, or that its scorer left without a score, is unscorable.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from typing import Any

from openklear.errors import DataError
from openklear.evaluation.exchange.opening import OpenedFile
from openklear.evaluation.exchange.rows import (
    Claim,
    Fields,
    ImportChoice,
    ImportedFiles,
    JudgedRow,
    Mark,
    count_or_none,
    first_score,
    items,
    mapping,
    mark_of,
    messages_of,
    other_scores,
    share_or_none,
    stop_of,
    text_of,
    text_or_none,
)
from openklear.evaluation.stored import Asked
from openklear.think import CLOSE
from openklear.types import Message, Outcome

LOOKED_FOR = "a zip with header.json or _journal/start.json (.eval), or a document with `eval`, `version` and `samples`"
HEADER, START, SAMPLES = "header.json", "_journal/start.json", "samples/"
SUBSTITUTE = "attachment://"
OURS = "openklear"
"""Under this name the logs that we write keep what inspect has no place for."""


def role(file: OpenedFile) -> str | None:
    """What a file is to this tool; None: nothing."""
    if file.members:
        return "log" if {HEADER, START} & file.members else None
    document = file.document
    if isinstance(document, dict) and isinstance(document.get("eval"), dict) and "version" in document:
        return "log"
    return None


def read(files: Sequence[tuple[str, OpenedFile]], choice: ImportChoice) -> ImportedFiles:
    """Logs of one model; each is a benchmark, named after its task."""
    logs = [(file, _header(file)) for _, file in files]
    models = {text_or_none(_eval(header).get("model")) for _, header in logs}
    if len(models) > 1:
        raise DataError(f"{files[0][1].path}: the logs are of several models ({', '.join(map(str, models))}); take one")
    read_ones = [_log(file, header, choice) for file, header in logs]
    first = read_ones[0]
    return ImportedFiles(
        tool="inspect",
        version=text_or_none(mapping(_eval(logs[0][1]).get("packages")).get("inspect_ai")),
        model=models.pop(),
        rows=list(chain.from_iterable(one.rows for one in read_ones)),
        claims=list(chain.from_iterable(one.claims for one in read_ones)),
        sampling=first.sampling,
        score=first.score,
        notes=list(dict.fromkeys(chain.from_iterable(one.notes for one in read_ones))),
    )


def _header(file: OpenedFile) -> Fields:
    header = file.member(HEADER if HEADER in file.members else START) if file.members else file.document
    if not isinstance(header, dict) or not isinstance(header.get("eval"), dict):
        raise DataError(f"{file.path}: its header has no `eval`; it is no log of inspect_ai")
    return header


def _eval(header: Fields) -> Fields:
    return mapping(header.get("eval"))


def _log(file: OpenedFile, header: Fields, choice: ImportChoice) -> ImportedFiles:
    task = text_or_none(_eval(header).get("task")) or "inspect"
    benchmark = choice.benchmark or task.rpartition("/")[2]
    order = {
        str(one): place for place, one in enumerate(items(mapping(_eval(header).get("dataset")).get("sample_ids")))
    }
    samples = sorted(_samples(file), key=lambda one: order.get(str(one[1].get("id")), len(order)))
    names = list(chain.from_iterable(mapping(one.get("scores")) for _, one in samples))
    score = first_score(names, choice, str(file.path))
    rows = [_row(one, where, benchmark, score, choice) for where, one in samples]
    claims = list(_claims(header, benchmark, score))
    config = {
        **mapping(mapping(header.get("plan")).get("config")),
        **mapping(_eval(header).get("model_generate_config")),
    }
    notes = other_scores(names, score)
    if header.get("status") not in ("success", None) or HEADER not in (file.members or {HEADER}):
        notes.append(f"{file.path.name}: the run did not end: status {header.get('status') or 'started'}")
    return ImportedFiles("inspect", None, None, rows, claims, config, score, notes)


def _samples(file: OpenedFile) -> Iterator[tuple[str, dict[str, Any]]]:
    """(place, sample), each a JSON object, in the order of the file."""
    if file.members:
        names = sorted(name for name in file.members if name.startswith(SAMPLES) and name.endswith(".json"))
        found = ((f"{file.path}: {name}", file.member(name)) for name in names)
    else:
        samples = items(file.document.get("samples"))
        found = ((f"{file.path}: sample {place}", one) for place, one in enumerate(samples, 1))
    for where, sample in found:
        if not isinstance(sample, dict):
            raise DataError(f"{where}: a JSON object was expected, not {type(sample).__name__}")
        yield where, sample


def _row(sample: dict[str, Any], where: str, benchmark: str, score: str | None, choice: ImportChoice) -> JudgedRow:
    name, epoch = text_or_none(sample.get("id")), count_or_none(sample.get("epoch", 1))
    if name is None or not epoch:
        raise DataError(f"{where}: has no id or no epoch; it is no sample of inspect_ai")
    attached = mapping(sample.get("attachments"))
    ours = mapping(mapping(sample.get("metadata")).get(OURS))
    spoken = mapping(mapping(sample.get("scores")).get(score)) if score else {}
    asked = Asked(
        benchmark,
        name,
        choice.domain or text_or_none(ours.get("domain")) or "math",
        _prompt(sample, attached),
        level=text_or_none(ours.get("level")),
        reference=_target(sample.get("target")),
        tests=count_or_none(ours.get("tests")) or 0,
        prompt_tail=text_or_none(ours.get("prompt_tail")) or "",
    )
    output = mapping(sample.get("output"))
    choices = items(output.get("choices"))
    first = mapping(choices[0]) if choices else {}
    mark = _mark(sample, spoken, where)
    content = _attached(mapping(first.get("message")).get("content"), attached)
    return JudgedRow(
        asked,
        mark,
        None if not choices and mark.outcome is Outcome.UNSCORABLE else _text(content, ours),
        epoch - 1,
        extracted=text_or_none(_attached(spoken.get("answer", ours.get("extracted")), attached)),
        stop_reason=stop_of(ours.get("stop_reason", first.get("stop_reason"))),
        tokens=count_or_none(mapping(output.get("usage")).get("output_tokens")),
    )


def _text(content: object, ours: Fields) -> str:
    """What the model wrote; in a log that we have written, to the letter."""
    if "opened" not in ours or not isinstance(content, list) or len(content) != 2:
        return text_of(content)
    thought, answer = mapping(content[0]), mapping(content[1])
    return f"{ours['opened']}{thought.get('reasoning', '')}{CLOSE}{answer.get('text', '')}"


def _mark(sample: Fields, score: Fields, where: str) -> Mark:
    if sample.get("error"):
        said = text_or_none(mapping(sample["error"]).get("message")) or "no reason given"
        return Mark(Outcome.UNSCORABLE, f"the run of it failed: {said}")
    mark = mark_of(score.get("value"), where)
    ours = mapping(mapping(sample.get("metadata")).get(OURS))
    if ours.get("outcome") == Outcome.UNSCORABLE:
        return Mark(Outcome.UNSCORABLE, str(ours.get("reason") or "no score"))
    reason = mark.reason
    if not reason and mark.outcome is Outcome.INCORRECT:
        reason = str(ours.get("reason") or "")
    return mark._replace(reason=reason)


def _target(value: object) -> str | None:
    """One answer, or several that each count as right."""
    return " | ".join(map(str, value)) if isinstance(value, list) else text_or_none(value)


def _prompt(sample: Fields, attached: Fields) -> tuple[Message, ...]:
    """As the model was given it, which solvers may have changed from `input`."""
    spoken: list[Any] = []
    for one in items(sample.get("messages")):
        if mapping(one).get("role") == "assistant":
            break
        spoken.append(one)
    return messages_of(_attached(spoken or sample.get("input"), attached))


def _attached(value: object, attached: Fields) -> Any:
    """With long texts, which a log keeps apart, in their places."""
    if isinstance(value, str) and value.startswith(SUBSTITUTE):
        return attached.get(value.removeprefix(SUBSTITUTE), value)
    if isinstance(value, list):
        return [_attached(one, attached) for one in value]
    if isinstance(value, Mapping):
        return {key: _attached(one, attached) for key, one in value.items()}
    return value


def _claims(header: Fields, benchmark: str, score: str | None) -> Iterator[Claim]:
    for one in items(mapping(header.get("results")).get("scores")):
        found = mapping(one)
        mine = score in (found.get("scorer"), found.get("name"))
        for name, metric in mapping(found.get("metrics")).items():
            value = share_or_none(mapping(metric).get("value"))
            if value is not None:
                ours = _ours(str(name), text_or_none(found.get("reducer"))) if mine else None
                label = str(name) if found.get("reducer") in (None, "mean") else f"{name} ({found['reducer']})"
                label = label if mine else f"{found.get('name')}: {label}"
                # scored_samples counts problems in some versions, and samples in others: it is not a size to hold to.
                yield Claim(benchmark, label, value, ours)


def _ours(metric: str, reducer: str | None) -> tuple[str, int] | None:
    named = re.fullmatch(r"(avg|pass)@(\d+)", metric)
    if named:
        return named[1], int(named[2])
    if metric not in ("accuracy", "mean"):
        return None
    several = re.fullmatch(r"pass_at_(\d+)", reducer or "")
    if several:
        return "pass", int(several[1])
    return ("avg", 0) if reducer in (None, "mean") else None
