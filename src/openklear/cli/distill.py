"""`openklear distill`: a teacher's responses to problems. What the command does is imported when it runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from openklear.cli.limits import (
    CodeSeconds,
    Graders,
    Isolation,
    MathSeconds,
    Memory,
    Packages,
    Sandbox,
    Workers,
    limits_of,
)
from openklear.cli.options import EXIT_CODES, AsJson, above_zero, fail_where_unscorable, json_only, not_negative, tell
from openklear.errors import UsageError
from openklear.verifiers.printable import printable

app = typer.Typer()

Problems = Annotated[
    str,
    typer.Argument(
        metavar="PROBLEMS",
        help="Rows with answers or tests: a file, directory, glob or hub:OWNER/NAME, or prepare's problems.parquet.",
    ),
]
Output = Annotated[
    Path, typer.Option("--output", "-o", metavar="DIR", help="Where responses go; what is there is not sampled again.")
]
Endpoint = Annotated[
    str | None, typer.Option(metavar="URL", help="An OpenAI-compatible server: http://localhost:8000/v1.")
]
Model = Annotated[
    str | None, typer.Option(metavar="NAME", help="The teacher, as the server knows it; for --local what rows call it.")
]
Local = Annotated[
    Path | None, typer.Option(metavar="MODEL_DIR", help="Sample this model here instead of asking a server.")
]
KeyVariable = Annotated[
    str | None, typer.Option(metavar="NAME", help="Environment variable that holds the server's key.")
]
Extra = Annotated[str | None, typer.Option(metavar="JSON", help="Further fields of every request: '{\"top_k\": 20}'.")]


@app.command(epilog=EXIT_CODES)
def distill(
    problems: Problems,
    output: Output,
    endpoint: Endpoint = None,
    model: Model = None,
    local: Local = None,
    api_key_env: KeyVariable = None,
    domain: Annotated[
        str | None, typer.Option(metavar="NAME", help="math or code, for files without a `domain` column.")
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Ask the first N problems only.")] = None,
    samples: Annotated[int, typer.Option(min=1, help="Responses per problem.")] = 16,
    temperature: Annotated[float, typer.Option(callback=not_negative, help="Sampling temperature; 0 is greedy.")] = 0.6,
    top_p: Annotated[float, typer.Option(max=1.0, callback=above_zero, help="Nucleus, above 0.")] = 0.95,
    max_tokens: Annotated[int, typer.Option(min=1, help="Responses end here by length.")] = 32768,
    seed: Annotated[
        int, typer.Option(help="Decides each response's seed, with the problem and the sample's number.")
    ] = 0,
    extra: Extra = None,
    concurrency: Annotated[
        int, typer.Option(min=1, help="Requests under way at once; for --local, sequences at once.")
    ] = 64,
    tries: Annotated[int, typer.Option(min=1, help="Requests for one response before it is recorded as failed.")] = 8,
    timeout: Annotated[float, typer.Option(callback=above_zero, help="Seconds a request may take.")] = 3600.0,
    requests_per_minute: Annotated[
        float | None, typer.Option(callback=above_zero, help="Requests per minute, at most.")
    ] = None,
    tokens_per_minute: Annotated[
        float | None, typer.Option(callback=above_zero, help="Tokens per minute, at most, prompts included.")
    ] = None,
    budget_tokens: Annotated[
        int | None, typer.Option(min=1, help="Stop once DIR's responses have used this, prompts included.")
    ] = None,
    price_in: Annotated[float, typer.Option(min=0.0, help="Price of a million prompt tokens.")] = 0.0,
    price_out: Annotated[float, typer.Option(min=0.0, help="Price of a million completion tokens.")] = 0.0,
    grade: Annotated[
        bool, typer.Option("--grade/--no-grade", help="Grade each response while others are sampled.")
    ] = True,
    workers: Workers = None,
    math_seconds: MathSeconds = 5.0,
    code_seconds: CodeSeconds = 2.0,
    memory_mb: Memory = 256,
    isolation: Isolation = None,
    packages: Packages = None,
    sandbox_url: Sandbox = None,
    graders: Graders = None,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Ask again for responses recorded as failed.")
    ] = False,
    restart: Annotated[bool, typer.Option("--restart", help="Remove DIR's responses and start over.")] = False,
    as_json: AsJson = False,
) -> None:
    """Sample a teacher's responses to problems, from a server or a model directory, and grade them as they come.

    DIR then holds responses.parquet, a source of demonstrations for `prepare` and of pass rates, beside every response
    as it came. The same command goes on after a kill; no response is lost or asked for twice.

    Example: openklear distill problems.jsonl --output responses --endpoint http://localhost:8000/v1 --model Qwen3-32B
    """
    _run(**locals())


def _run(grade: bool, extra: str | None, as_json: bool, **given: Any) -> None:
    """The command, given its options by their names, which are those of `distill.settings.Settings`."""
    from openklear import progress
    from openklear.cli import exits
    from openklear.distill.run import distill as run
    from openklear.distill.settings import Settings

    names = ("workers", "isolation", "packages", "sandbox_url", "graders", "math_seconds", "code_seconds")
    asked = {name: given.pop(name) for name in names}
    limits = limits_of(**asked, code_memory_mb=given.pop("memory_mb"))
    settings = Settings(**given, extra=_object(extra), judging=limits if grade else None)
    exits.write_crashes_to(settings.output)
    progress.quiet(as_json)
    with json_only(as_json):
        summary = run(settings)
    tell(summary, summary_lines(summary), as_json=as_json)
    for name, one in summary["domains"].items():
        graded = one["correct"] + one["incorrect"] + one["unscorable"]
        fail_where_unscorable(name, one["unscorable"], graded, one["first_failure"])


def summary_lines(summary: dict[str, Any]) -> list[str]:
    """What a distillation came to, for a person."""
    tokens = summary["prompt_tokens"] + summary["completion_tokens"]
    cost = f", cost {summary['cost']:,.2f}" if summary["cost"] else ""
    lines = [
        f"{summary['responses']:,} responses to {summary['problems']:,} problems ({summary['sampled_now']:,} of them "
        f"now), {tokens:,} tokens{cost}"
    ]
    for name, one in summary["domains"].items():
        lines += _domain_lines(name, one)
    for reason, count in list(summary["failures"].items())[:8]:
        lines.append(f"  {count:,} failed: {printable(reason)}")
    if summary["stopped"]:
        lines.append(f"stopped: {summary['stopped']}; the same command with a larger one goes on")
    return [*lines, f"{Path(summary['output']) / 'responses.parquet'}"]


def _domain_lines(name: str, one: dict[str, Any]) -> list[str]:
    if one["not_graded"] == one["responses"]:
        return [f"  {name}: {one['responses']:,} responses, not graded"]
    share = "none scorable" if one["share_correct"] is None else f"{one['share_correct']:.4f} correct"
    lines = [
        f"  {name}: {one['responses']:,} responses, {share} (n = {one['correct'] + one['incorrect']:,}), "
        f"{one['unscorable']:,} unscorable"
    ]
    if one["mean_pass_rate"] is not None:
        lines.append(
            f"  {name}: pass rate {one['mean_pass_rate']:.4f} over {one['problems_graded']:,} problems, "
            f"{one['problems_always_solved']:,} always solved, {one['problems_never_solved']:,} never"
        )
    return lines


def _object(text: str | None) -> dict[str, Any]:
    """The fields of --extra."""
    if text is None:
        return {}
    try:
        found = json.loads(text)
    except ValueError as error:
        raise UsageError(f"--extra is not valid JSON: {error}") from error
    if not isinstance(found, dict):
        raise UsageError("--extra must be one JSON object, such as '{\"top_k\": 20}'")
    return found
