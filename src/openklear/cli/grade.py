"""`openklear grade`: stored generations, from files or over HTTP. What the commands do is imported when they run."""

from __future__ import annotations

import shutil
import sys
import tempfile
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from openklear.cli.limits import (
    CodeSeconds,
    Graders,
    Isolation,
    JudgeName,
    MathSeconds,
    Memory,
    Packages,
    Sandbox,
    Workers,
    limits_of,
)
from openklear.cli.options import EXIT_CODES, AsJson, above_zero, fail_where_unscorable, tell
from openklear.errors import UsageError
from openklear.verifiers.printable import printable

if TYPE_CHECKING:
    from openklear.verifiers.limits import Limits

app = typer.Typer(
    no_args_is_help=True,
    help="Grade stored generations of any project: files of rows, or rows sent over HTTP by another trainer.",
)

File = Annotated[
    Path, typer.Argument(metavar="FILE", help="Rows: .jsonl, .jsonl.gz or .parquet; - reads JSON lines from stdin.")
]
Output = Annotated[
    Path | None,
    typer.Option(
        "--output", "-o", metavar="OUT", help="Same kind of file; - is stdout. Without it: .graded before the ending."
    ),
]
SkipBad = Annotated[bool, typer.Option("--skip-bad", help="Malformed rows become unscorable, with the reason.")]
Restart = Annotated[
    bool,
    typer.Option(
        "--restart", help="Start over where unfinished work is of other rows or settings, or OUT exists already."
    ),
]
Checkers = Annotated[
    list[str] | None,
    typer.Option(
        "--checker",
        metavar="MODULE:FUNCTION",
        help="A checker of your own that rows may name; it runs in this process. Repeatable.",
    ),
]


@app.command(epilog=EXIT_CODES)
def math(
    file: File,
    output: Output = None,
    workers: Workers = None,
    seconds: Annotated[float, typer.Option(callback=above_zero, help="CPU seconds a comparison may take.")] = 5.0,
    graders: Graders = None,
    skip_bad: SkipBad = False,
    restart: Restart = False,
    as_json: AsJson = False,
) -> None:
    """Grade answers: rows {"id", "reference", "completion"} come back with verdict, reason, passed, total, seconds.

    The answer is what the completion ends with after its reasoning: the last box, else the last stated answer. The same
    command goes on after a kill and gives the same file.

    Example: openklear grade math generations.jsonl --output graded.jsonl
    """
    limits = limits_of(workers, graders=graders, math_seconds=seconds)
    _grade("math", file, output, limits, skip_bad=skip_bad, restart=restart, as_json=as_json)


@app.command(epilog=EXIT_CODES)
def code(
    file: File,
    output: Output = None,
    workers: Workers = None,
    seconds: Annotated[
        float | None,
        typer.Option(
            callback=above_zero,
            help="CPU seconds a test may take; 2 if not set. With --judge official wall seconds: 6.",
        ),
    ] = None,
    memory_mb: Annotated[
        int | None,
        typer.Option(
            "--memory-mb", min=16, help="Memory of a program, in MiB; 256 if not set, 4096 with --judge official."
        ),
    ] = None,
    judge: JudgeName = "openklear",
    isolation: Isolation = None,
    packages: Packages = None,
    sandbox_url: Sandbox = None,
    graders: Graders = None,
    checkers: Checkers = None,
    skip_bad: SkipBad = False,
    restart: Restart = False,
    as_json: AsJson = False,
) -> None:
    """Grade programs: rows {"id", "program" or "completion", "tests"} come back with their verdicts.

    `tests` is a list of {"stdin", "stdout"}, of {"call", "args", "expected"} or of assert strings. A program is graded
    as it stands; from a completion the last fenced block after the reasoning is taken. The same command goes on after
    a kill and gives the same file.

    `--judge official` says what LiveCodeBench's own harness would: output of a thread that is not joined is lost, stdin
    cannot be iterated, all tests run in one process, and a program is what stands between the last two lines with ```.

    Example: openklear grade code generations.parquet --seconds 4 --memory-mb 512
    """
    from openklear.verifiers.limits import OFFICIAL

    given = {"harness": judge, **(OFFICIAL if judge == "official" else {})}
    given |= {name: value for name, value in (("code_seconds", seconds), ("code_memory_mb", memory_mb)) if value}
    if judge == "official" and checkers:
        raise UsageError("--judge official compares in its own way, so a --checker would never be asked; leave it out")
    limits = limits_of(workers, isolation, sandbox_url, graders, packages, **given)
    _grade("code", file, output, limits, checkers, skip_bad=skip_bad, restart=restart, as_json=as_json)


@app.command(epilog=EXIT_CODES)
def serve(
    host: Annotated[str, typer.Option(help="The address to listen at. There is no authentication.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="The port; 0 takes any that is free.")] = 8000,
    workers: Workers = None,
    math_seconds: MathSeconds = 5.0,
    code_seconds: CodeSeconds = 2.0,
    memory_mb: Memory = 256,
    isolation: Isolation = None,
    packages: Packages = None,
    sandbox_url: Sandbox = None,
    graders: Graders = None,
    checkers: Checkers = None,
    max_rows: Annotated[int, typer.Option("--max-rows", min=1, help="Rows a request may hold.")] = 1024,
    max_body_mb: Annotated[int, typer.Option("--max-body-mb", min=1, help="MiB a request may hold.")] = 16,
    max_waiting: Annotated[
        int, typer.Option("--max-waiting", min=1, help="Requests in work or waiting; further ones get 503.")
    ] = 256,
) -> None:
    """Grade rows sent over HTTP: POST /grade/math, POST /grade/code, GET /health. Ctrl-C or SIGTERM ends it.

    A request holds one row, or {"rows": [...]}; the answer holds the same with verdicts. Ends with 0 once what was
    running is answered, with 1 where something had to be cut off.

    Example: openklear grade serve --port 8000 --workers 8
    """
    from openklear.grading.bounds import ServerBounds
    from openklear.grading.server import serve

    given = {"math_seconds": math_seconds, "code_seconds": code_seconds, "code_memory_mb": memory_mb}
    limits = limits_of(workers, isolation, sandbox_url, graders, packages, **given)
    bounds = ServerBounds(rows=max_rows, body_bytes=max_body_mb * 2**20, waiting=max_waiting)
    if not serve(host, port, limits, bounds, typer.echo, checkers or ()):
        raise typer.Exit(1)


@app.command(epilog=EXIT_CODES)
def explain(
    reference: Annotated[str, typer.Option("--reference", "-r", help="The reference answer.")],
    completion: Annotated[
        str, typer.Option("--completion", "-c", help="The completion; - reads it from stdin, @FILE from a file.")
    ],
    prompt_tail: Annotated[str, typer.Option(help="The prompt's end, which may open the thought.")] = "",
    seconds: Annotated[float, typer.Option(callback=above_zero, help="CPU seconds a comparison may take.")] = 5.0,
    as_json: AsJson = False,
) -> None:
    r"""Explain a verdict on an answer: what was extracted and from where, and which rule decided on which two texts.

    Exits with 0 whatever the verdict is.

    Example: openklear grade explain --reference 1/2 --completion 'Half of it: $\boxed{0.5}$'
    """
    from openklear.grading.explain import explain

    text = _completion(completion)
    found = explain(reference, text, prompt_tail=prompt_tail, limits=limits_of(1, math_seconds=seconds))
    tell(found.as_dict(), [printable(line, "\n") for line in found.lines()], as_json=as_json)


def _completion(given: str) -> str:
    """The text itself, or that of stdin or a file."""
    if given == "-":
        return sys.stdin.read()
    if not given.startswith("@"):
        return given
    try:
        return Path(given[1:]).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"--completion {given}: cannot read this file: {error}") from error


def _grade(
    kind: Literal["math", "code"],
    file: Path,
    output: Path | None,
    limits: Limits,
    checkers: list[str] | None = None,
    *,
    skip_bad: bool,
    restart: bool,
    as_json: bool,
) -> None:
    """Grades a file; stdin and stdout go through a temporary directory."""
    from openklear import progress
    from openklear.grading.files import graded_name
    from openklear.grading.job import Job, grade_file

    for domain in limits.graders:
        if domain != kind:
            raise UsageError(
                f"--grader {domain}=...: `openklear grade {kind}` has nothing for it to judge; leave it out"
            )
    piped_in, piped_out = str(file) == "-", str(output) == "-" or (output is None and str(file) == "-")
    if piped_out and as_json:
        raise UsageError("--json prints the summary to stdout; give --output a file")
    progress.quiet(as_json)
    piped = piped_in or piped_out
    with tempfile.TemporaryDirectory(prefix="openklear-grade-") if piped else nullcontext("") as scratch:
        source = file
        if piped_in:
            source = Path(scratch, "stdin.jsonl")
            with source.open("wb") as copy:
                shutil.copyfileobj(sys.stdin.buffer, copy)
        target = Path(scratch, f"graded-{source.name}") if piped_out else output
        job = Job(source, target or graded_name(source), kind, limits, tuple(checkers or ()), skip_bad)
        summary = grade_file(job, restart=restart)
        if piped_out:
            with job.output.open("rb") as made:
                shutil.copyfileobj(made, sys.stdout.buffer)
    lines = summary_lines(summary) if piped_out else [*summary_lines(summary), f"{job.output}"]
    tell(summary, lines, as_json=as_json, err=piped_out)
    fail_where_unscorable(kind, summary["verifier_failed"], summary["rows"], summary["first_failure"])


def summary_lines(summary: dict[str, Any]) -> list[str]:
    """What a graded file came to, for a person."""
    scorable = summary["correct"] + summary["incorrect"]
    share = "none scorable" if summary["share_correct"] is None else f"{summary['share_correct']:.4f} correct"
    lines = [
        f"{summary['rows']:,} rows: {summary['correct']:,} correct, {summary['incorrect']:,} incorrect, "
        f"{summary['unscorable']:,} unscorable; {share} (n = {scorable:,})"
    ]
    lines += [f"  {one['rows']:,} {one['verdict']}: {printable(one['reason'])}" for one in summary["reasons"]]
    if summary["unscorable"]:
        lines.append(
            f"{summary['unscorable']:,} rows are unscorable: they are not wrong answers and are left out of the share"
        )
    seconds, now = summary["seconds"], summary["rows_graded_now"]
    if now:
        lines.append(f"{now:,} rows graded in {seconds:.1f} s, {now / max(seconds, 1e-9):,.1f} rows/s")
    return lines
