"""A whole file graded: checked first, resumed after a kill, and whole when it appears.

While it is graded, the directory `.partial-NAME` beside the output holds `job.json` (what the verdicts depend on: the
input's hash and the settings) and `verdicts.jsonl` (one line a row, in order). The same command reads them and goes
on; at the end the rows are written with their verdicts and take the output's name by a rename. `NAME.summary.json`
stays beside the output and tells the same command, given again, that there is nothing left to do.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib import metadata
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

from openklear import progress
from openklear.durable.files import disk_errors, fsync_directory, lock, read_json, remove, write_json
from openklear.errors import DataError, StageChanged, UsageError
from openklear.grading.files import file_kind, read, write
from openklear.grading.grader import Graded, Grader, Settings, Work, graded_batches, prepare
from openklear.grading.rows import dumps, malformed, to_attempt, verdict_fields
from openklear.verifiers.custom import function
from openklear.verifiers.judge import GRADER_VERSION

_SHOWN_FAULTS = 20
_SHOWN_REASONS = 8


@dataclass(frozen=True, slots=True)
class Job:
    """A file to grade, and how."""

    source: Path
    output: Path
    kind: str
    settings: Settings
    skip_bad: bool = False

    def parts(self) -> dict[str, Any]:
        """All that the verdicts depend on. Workers and isolation are not in it: they change no verdict."""
        settings = asdict(self.settings)
        numbers = ("math_seconds",) if self.kind == "math" else ("code_seconds", "memory_mb", "sandbox_url")
        return {
            "input": _hash(self.source),
            "kind": self.kind,
            "skip_bad": self.skip_bad,
            "grader": f"{GRADER_VERSION}, math-verify {metadata.version('math-verify')}",
            **{name: settings[name] for name in numbers},
            "checkers": {name: function(name).version for name in self.settings.checkers},
        }


def grade_file(job: Job, *, restart: bool = False) -> dict[str, Any]:
    """Grade a file, or go on with it, and return the summary.

    `restart` begins anew where unfinished work is of another input or other settings, and where the output is there
    already; without it these are errors (StageChanged, UsageError). DataError names every row that cannot be graded,
    before any is, unless the job skips them.
    """
    _check_paths(job)
    parts, record = job.parts(), _summary_path(job.output)
    work = job.output.with_name(f".partial-{job.output.name}")
    if job.output.exists() and not restart and not (work / "job.json").exists():
        return _finished(job.output, record, parts)
    with disk_errors(work), lock(work):
        if not _fits(work, parts, restart):
            try:
                rows = _check_rows(job)
            except BaseException:  # an interrupt too: nothing was done that could be gone on with
                remove(work)
                raise
            remove(work / "verdicts.jsonl")
            write_json(work / "job.json", {"parts": parts, "rows": rows})
        rows = read_json(work / "job.json")["rows"]
        started = time.monotonic()
        isolation, done = _grade(job, work / "verdicts.jsonl", rows)
        summary = _summary(job, work / "verdicts.jsonl", isolation, done, time.monotonic() - started)
        _publish(job, work, {"parts": parts, "summary": summary})
        remove(work)
    return summary


def _check_paths(job: Job) -> None:
    if not job.source.is_file():
        raise UsageError(f"{job.source}: no such file; name a .jsonl, .jsonl.gz or .parquet file of rows")
    if file_kind(job.source) != file_kind(job.output):
        raise UsageError(f"{job.output}: the output is of the input's kind; give it the ending of {job.source.name}")
    if job.output.exists() and job.output.samefile(job.source):
        raise UsageError(f"{job.output}: the output would replace the input; choose another --output")
    if not job.output.parent.is_dir():
        raise UsageError(f"{job.output.parent}: no such directory; make it or choose another --output")


def _hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()


def _summary_path(output: Path) -> Path:
    return output.with_name(f"{output.name}.summary.json")


def _finished(output: Path, record: Path, parts: dict[str, Any]) -> dict[str, Any]:
    """The summary of an output that this very job has made."""
    known = read_json(record) if record.exists() else {}
    if known.get("parts") != parts:
        raise UsageError(
            f"{output} is there already, and is not what this command would make; choose another --output, "
            "or give --restart to replace it"
        )
    progress.say(f"{output} is there already, graded from this input with these settings; --restart grades it again")
    return {**known["summary"], "rows_graded_now": 0}


def _fits(work: Path, parts: dict[str, Any], restart: bool) -> bool:
    """Whether unfinished work can be gone on with; StageChanged where there is some that does not fit."""
    if not (work / "job.json").exists():
        return False
    known = read_json(work / "job.json")["parts"]
    changed = [name for name in parts if known.get(name) != parts[name]]
    if changed and not restart:
        old, new = ({name: one.get(name) for name in changed if name != "input"} for one in (known, parts))
        what = "the input changed" if not old else f"{old} became {new}"
        raise StageChanged(
            f"{work} holds unfinished work on {'other' if 'input' in changed else 'these'} rows ({what}); "
            "give the same settings as then, or --restart to begin anew"
        )
    return not changed


def _check_rows(job: Job) -> int:
    """Looks at every row before any is graded; the number of rows. DataError lists all that cannot be graded."""
    faults: list[str] = []
    bad = rows = 0
    with progress.task("checking", None, "rows") as advance:
        for found in read(job.source):
            rows += 1
            advance()
            try:
                if found.fault is not None:
                    raise found.fault
                to_attempt(found.row, job.kind, job.settings.checkers)
            except DataError as error:
                bad += 1
                if len(faults) < _SHOWN_FAULTS:
                    faults.append(f"{found.where}: {error}")
    if rows and not (bad and not job.skip_bad):
        return rows
    if not rows:
        raise DataError(f"{job.source}: the file holds no rows; there is nothing to grade")
    more = f"\n... and {bad - len(faults):,} more" if bad > len(faults) else ""
    raise DataError(
        f"{bad:,} of {rows:,} rows of {job.source} cannot be graded, so none was. Correct them, or give --skip-bad: "
        "they then become unscorable, with the reason.\n" + "\n".join(faults) + more
    )


def _grade(job: Job, journal: Path, rows: int) -> tuple[str, int]:
    """Grades the rows that have no verdict yet; (isolation of programs, how many rows that were)."""
    with journal.open("ab") as file, Grader(job.settings) as grader:
        done = _whole_lines(journal, file)
        isolation = grader.isolation() if job.kind == "code" and done < rows else None
        if isolation is not None:
            progress.say(f"programs run under {isolation.level!r}: {isolation.description}")
        if done:
            progress.say(f"{done:,} of {rows:,} rows have their verdicts already")
        works = _works(job, done)
        with progress.task("grading", rows - done, "rows") as advance:
            for batch in graded_batches(grader, job.kind, works, advance):
                _append(file, batch)
    return (isolation.level if isolation is not None else ""), rows - done


def _works(job: Job, skip: int) -> Iterator[Work]:
    for found in islice(read(job.source), skip, None):
        yield (
            prepare(found.row, job.kind, job.settings.checkers)
            if found.fault is None
            else Work(found.row, malformed(found.fault))
        )


def _whole_lines(journal: Path, file: BinaryIO) -> int:
    """Verdicts that a killed run left; a line torn by the kill is cut off."""
    lines = whole = 0
    with journal.open("rb") as old:
        for line in old:
            if line.endswith(b"\n"):
                lines += 1
                whole += len(line)
    file.truncate(whole)
    return lines


def _append(file: BinaryIO, batch: Graded) -> None:
    file.write(b"".join(dumps(verdict_fields(verdict)) for _, verdict in batch))
    file.flush()
    os.fsync(file.fileno())


def _verdicts(journal: Path) -> Iterator[dict[str, Any]]:
    with journal.open("rb") as file:
        for line in file:
            yield json.loads(line)


def _summary(job: Job, journal: Path, isolation: str, done: int, seconds: float) -> dict[str, Any]:
    counts, reasons = Counter[str](), Counter[tuple[str, str]]()
    for one in _verdicts(journal):
        counts[one["verdict"]] += 1
        if one["reason"]:
            reasons[one["verdict"], short_reason(one["reason"])] += 1
    scorable = counts["correct"] + counts["incorrect"]
    return {
        "input": str(job.source),
        "output": str(job.output),
        "kind": job.kind,
        "rows": sum(counts.values()),
        "correct": counts["correct"],
        "incorrect": counts["incorrect"],
        "unscorable": counts["unscorable"],
        "share_correct": counts["correct"] / scorable if scorable else None,
        "reasons": [
            {"verdict": verdict, "reason": reason, "rows": count}
            for (verdict, reason), count in sorted(reasons.items(), key=lambda item: (-item[1], item[0]))[
                :_SHOWN_REASONS
            ]
        ],
        "isolation": isolation,
        "rows_graded_now": done,
        "seconds": round(seconds, 3),
    }


def short_reason(reason: str) -> str:
    """A reason that many rows share: without the number of the test, and up to its first colon."""
    what = reason.partition(": ")[2] if reason.startswith("test ") else reason
    return what.partition(":")[0]


def _publish(job: Job, work: Path, record: dict[str, Any]) -> None:
    """Writes the rows with their verdicts, and gives the whole file its name."""
    made = work / job.output.name
    write(job.source, made, _verdicts(work / "verdicts.jsonl"))
    with made.open("rb") as file:
        os.fsync(file.fileno())
    write_json(_summary_path(job.output), record)
    os.replace(made, job.output)
    fsync_directory(job.output.parent)
