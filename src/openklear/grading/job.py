"""A whole file graded: checked first, resumed after a kill, and whole when it appears.

While it is graded, the directory `.partial-NAME` beside the output holds `job.json` (what the verdicts depend on: the
input's hash and the limits) and `verdicts.jsonl` (one line per row, in order). The same command reads them and goes
on; at the end the rows are written with their verdicts and take the output's name by a rename. `NAME.summary.json`
stays beside the output and tells the same command, given again, that nothing is left to do.
"""

from __future__ import annotations

import hashlib
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from openklear import progress
from openklear.durable.files import disk_errors, lock, publish, read_json, remove, write_json
from openklear.durable.journal import Journal
from openklear.errors import DataError, StageChanged, UsageError
from openklear.grading.files import file_kind, read, write
from openklear.grading.grader import Grader, Row
from openklear.grading.rows import MALFORMED, malformed, to_attempt, verdict_fields
from openklear.types import Attempt, Verdict
from openklear.verifiers.custom import function, verifier
from openklear.verifiers.domains import DOMAINS
from openklear.verifiers.judge import GRADER_VERSION
from openklear.verifiers.limits import Limits
from openklear.verifiers.official import VERSION
from openklear.verifiers.packages import versions
from openklear.verifiers.stream import judged
from openklear.verifiers.unscorable import TRIED

_SHOWN_FAULTS = 20
_SHOWN_REASONS = 8


@dataclass(frozen=True, slots=True)
class Job:
    """A file to grade, and how."""

    source: Path
    output: Path
    kind: str
    limits: Limits
    checkers: tuple[str, ...] = ()
    """Checkers of the user's own (`module:function`) that rows may name."""
    skip_bad: bool = False

    def parts(self) -> dict[str, Any]:
        """All that the verdicts depend on. Workers and isolation are not in it: they change no verdict."""
        own = self.limits.custom.get(self.kind)
        names = ["math_seconds"] if self.kind == "math" else ["code_seconds", "code_memory_mb", "sandbox_url"]
        allowed = versions(self.limits.packages) if self.kind != "math" else []
        return {
            "input": _hash(self.source),
            "kind": self.kind,
            "skip_bad": self.skip_bad,
            "grader": GRADER_VERSION if own is None else verifier(own).identity,
            **{name: getattr(self.limits, name) for name in names},
            **({"packages": allowed} if allowed else {}),
            **({"judge": VERSION} if self.limits.harness == "official" and self.kind != "math" else {}),
            "checkers": {name: function(name).version for name in self.checkers},
        }


def grade_file(job: Job, *, restart: bool = False) -> dict[str, Any]:
    """Grade a file, or continue with it, and return the summary.

    `restart` starts over where unfinished work is of another input or other settings, and where the output exists
    already; without it these are errors (StageChanged, UsageError). DataError names every row that cannot be graded,
    before any is, unless the job skips them.
    """
    _check_paths(job)
    parts = job.parts()
    work = job.output.with_name(f".partial-{job.output.name}")
    if job.output.exists() and not restart and not (work / "job.json").exists():
        return _finished(job.output, parts)
    with disk_errors(work), lock(work):
        rows = _begun(job, work, parts, restart)
        with Journal(work / "verdicts.jsonl") as journal:
            done, started = len(journal), time.monotonic()
            isolation = _grade(job, journal, rows)
            seconds = round(time.monotonic() - started, 3)
            summary = _summary(job, journal) | {
                "isolation": isolation,
                "rows_graded_now": rows - done,
                "seconds": seconds,
            }
            made = work / job.output.name
            write(job.source, made, iter(journal))
            write_json(_summary_path(job.output), {"parts": parts, "summary": summary})
            publish(made, job.output)
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


def _finished(output: Path, parts: dict[str, Any]) -> dict[str, Any]:
    """The summary of an output that this very job has made."""
    record = _summary_path(output)
    known = read_json(record) if record.exists() else {}
    if known.get("parts") != parts:
        raise UsageError(
            f"{output} is there already, and is not what this command would make; choose another --output, "
            "or give --restart to replace it"
        )
    progress.say(f"{output} is there already, graded from this input with these settings; --restart grades it again")
    return {**known["summary"], "rows_graded_now": 0}


def _begun(job: Job, work: Path, parts: dict[str, Any], restart: bool) -> int:
    """The number of rows of unfinished work, or of work that begins here; StageChanged where some does not fit."""
    record = work / "job.json"
    if record.exists():
        known = read_json(record)
        changed = [name for name in parts if known["parts"].get(name) != parts[name]]
        if not changed:
            return int(known["rows"])
        verdicts = work / "verdicts.jsonl"
        if not restart and verdicts.is_file() and verdicts.stat().st_size:  # else nothing is lost
            raise _other_work(work, known["parts"], parts, changed)
    try:
        rows = _check_rows(job)
    except BaseException:  # an interrupt too: nothing was done that could be continued
        remove(work)
        raise
    remove(work / "verdicts.jsonl")
    write_json(record, {"parts": parts, "rows": rows})
    return rows


def _other_work(work: Path, known: dict[str, Any], parts: dict[str, Any], changed: list[str]) -> StageChanged:
    settings = [name for name in changed if name != "input"]
    old, new = {name: known.get(name) for name in settings}, {name: parts[name] for name in settings}
    what = f"{old} became {new}" if settings else "the input changed"
    return StageChanged(
        f"{work} holds unfinished work on {'other' if 'input' in changed else 'these'} rows ({what}); "
        "give the same settings as then, or --restart to start over"
    )


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
                to_attempt(found.row, job.kind, job.checkers)
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


def _grade(job: Job, journal: Journal, rows: int) -> str:
    """Grades the rows that have no verdict yet; what programs were kept from, empty where none ran here."""
    level, done = "", len(journal)
    with Grader(job.limits, checkers=job.checkers) as grader:
        if done < rows:
            grader.judge.announce({job.kind}, progress.say)
            isolation = grader.isolation() if DOMAINS[job.kind].runs_programs else None
            level = "" if isolation is None else isolation.level
            first = (asked.problem for _, asked in _asked(job, grader, done) if isinstance(asked, Attempt))
            grader.judge.trial(list(islice(first, TRIED)))
        if done:
            progress.say(f"{done:,} of {rows:,} rows have their verdicts already")
        with progress.task("grading", rows - done, "rows") as advance:
            for batch in judged(grader.judge, _asked(job, grader, done), DOMAINS[job.kind].batch, advance):
                journal.add([verdict_fields(verdict) for _, verdict in batch])
    return level


def _asked(job: Job, grader: Grader, skip: int) -> Iterator[tuple[Row, Attempt | Verdict]]:
    for found in islice(read(job.source), skip, None):
        yield grader.asked(found.row, job.kind) if found.fault is None else (found.row, malformed(found.fault))


def _summary(job: Job, journal: Journal) -> dict[str, Any]:
    counts, reasons = Counter[str](), Counter[tuple[str, str]]()
    failed: list[str] = []
    for one in journal:
        counts[one["verdict"]] += 1
        if one["reason"]:
            reasons[one["verdict"], short_reason(one["reason"])] += 1
        if one["verdict"] == "unscorable" and not one["reason"].startswith(MALFORMED):
            failed.append(one["reason"] if not failed else "")
    scorable = counts["correct"] + counts["incorrect"]
    most_first = sorted((-count, verdict, reason) for (verdict, reason), count in reasons.items())[:_SHOWN_REASONS]
    return {
        "input": str(job.source),
        "output": str(job.output),
        "kind": job.kind,
        "rows": sum(counts.values()),
        **{name: counts[name] for name in ("correct", "incorrect", "unscorable")},
        "verifier_failed": len(failed),
        "first_failure": failed[0] if failed else None,
        "share_correct": counts["correct"] / scorable if scorable else None,
        "reasons": [{"verdict": verdict, "reason": reason, "rows": -count} for count, verdict, reason in most_first],
    }


def short_reason(reason: str) -> str:
    """A reason that many rows share: without the number of the test, and up to its first colon."""
    what = reason.partition(": ")[2] if reason.startswith("test ") else reason
    return what.partition(":")[0]
