"""`openklear evaluate`: a model on benchmarks. What the command does is imported when it runs."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from openklear.cli import exits
from openklear.cli.limits import (
    CodeSeconds,
    Graders,
    Isolation,
    MathSeconds,
    Memory,
    Packages,
    Workers,
    judged_by,
    limits_of,
)
from openklear.cli.options import AsJson, above_zero, json_only, not_negative, tell
from openklear.errors import UsageError

if TYPE_CHECKING:
    from openklear.evaluation.catalogue.protocols import Protocol as Protocol_
    from openklear.recipe.engine import Engine
    from openklear.rollout.chat_server import ChatServer
    from openklear.run.evaluation import EvaluationPlan

Names = Annotated[
    list[str],
    typer.Argument(
        metavar="MODEL BENCHMARK...",
        help="A model directory, a stage of a run (runs/a/sft), or OWNER/NAME of the hub; then benchmarks: names of "
        "the catalogue (`openklear evaluate benchmarks`), parts of it such as lcb:v5 or lcb:2024-08-01..2024-12-31, "
        "definitions of your own (.toml) or files of problems. With --endpoint benchmarks alone.",
    ),
]
Output = Annotated[
    Path | None,
    typer.Option(
        "--output",
        "-o",
        metavar="DIR",
        help="Where the evaluation goes; what is there is not sampled again. Without it: evaluations/MODEL-PROTOCOL.",
    ),
]
Where = Annotated[
    list[str] | None,
    typer.Option("--data", metavar="NAME=PATH", help="Where a benchmark's data is. Repeatable."),
]
TemplateArgs = Annotated[
    str | None,
    typer.Option(metavar="JSON", help="Arguments of the chat template: '{\"enable_thinking\": false}'."),
]
Extra = Annotated[str | None, typer.Option(metavar="JSON", help="Further fields of every request to --endpoint.")]


Protocol = Annotated[str, typer.Option(metavar="NAME", help="klear, klear-64k, r1, qwen3, greedy or lcb-official.")]
DataDir = Annotated[
    Path | None,
    typer.Option(metavar="DIR", envvar="OPENKLEAR_BENCHMARKS", help="Directory of the benchmarks' files."),
]
Samples = Annotated[int | None, typer.Option(min=1, help="Completions per problem, in place of the protocol's.")]
Limit = Annotated[int | None, typer.Option(min=1, help="Ask the first N problems of each benchmark only.")]
Temperature = Annotated[float | None, typer.Option(help="In place of the protocol's; 0 is greedy.")]
TopP = Annotated[float | None, typer.Option(max=1.0, callback=above_zero, help="In place of the protocol's.")]
TopK = Annotated[int | None, typer.Option(min=0, help="In place of the protocol's; 0 keeps all.")]
MinP = Annotated[float | None, typer.Option(min=0.0, max=1.0, help="In place of the protocol's; 0 keeps all.")]
Budget = Annotated[int | None, typer.Option(min=1, help="Tokens of a completion, in place of the protocol's.")]
Yarn = Annotated[float | None, typer.Option(callback=above_zero, help="Stretch the model's positions by this factor.")]
Prompt = Annotated[
    str | None,
    typer.Option(metavar="NAME|TEXT", help="A named prompt, or a text with {problem}, for all problems."),
]
SystemPrompt = Annotated[str | None, typer.Option(help="A system turn before every prompt.")]
Seed = Annotated[int, typer.Option(help="The same seed gives the same completions.")]
EngineName = Annotated[str, typer.Option(help="local, or vllm in an environment of its own.")]
Slots = Annotated[int | None, typer.Option(min=1, help="Sequences (requests) under way at once.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")]
Dtype = Annotated[str, typer.Option(help="auto, float32 or bfloat16.")]
Threads = Annotated[int | None, typer.Option(min=1, help="CPU threads. Without it: all cores.")]
Address = Annotated[
    str | None, typer.Option(metavar="URL", help="Ask an OpenAI-compatible server: http://localhost:8000/v1.")
]
ServedModel = Annotated[str | None, typer.Option(metavar="NAME", help="The model, as the server knows it.")]
KeyVariable = Annotated[
    str | None, typer.Option(metavar="NAME", help="Environment variable that holds the server's key.")
]
Timeout = Annotated[float, typer.Option(callback=above_zero, help="Seconds that a request may take.")]
Judge = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="official: say beside our scores what LiveCodeBench's own harness makes of the programs, and why.",
    ),
]
Unpinned = Annotated[
    bool, typer.Option("--unpinned", help="Take data as it is that is not the benchmark as it is known.")
]


def evaluate(
    names: Names,
    protocol: Protocol = "klear",
    output: Output = None,
    data: Where = None,
    data_dir: DataDir = None,
    samples: Samples = None,
    limit: Limit = None,
    temperature: Temperature = None,
    top_p: TopP = None,
    top_k: TopK = None,
    min_p: MinP = None,
    max_completion_tokens: Budget = None,
    yarn: Yarn = None,
    prompt: Prompt = None,
    system_prompt: SystemPrompt = None,
    template_args: TemplateArgs = None,
    seed: Seed = 0,
    engine: EngineName = "local",
    slots: Slots = None,
    device: Device = "auto",
    dtype: Dtype = "auto",
    threads: Threads = None,
    endpoint: Address = None,
    model: ServedModel = None,
    api_key_env: KeyVariable = None,
    extra: Extra = None,
    timeout: Timeout = 3600.0,
    workers: Workers = None,
    math_seconds: MathSeconds = 5.0,
    code_seconds: CodeSeconds = 2.0,
    memory_mb: Memory = 256,
    isolation: Isolation = None,
    packages: Packages = None,
    graders: Graders = None,
    judge: Judge = None,
    unpinned: Unpinned = False,
    as_json: AsJson = False,
) -> None:
    """Ask a model the problems of benchmarks, judge what it answers, and say its scores with all they depend on.

    Every completion is kept: the same command goes on after a kill, and a larger --samples samples only what is
    missing. What does not fit the model counts as wrong. Beside each score stand the completions that were cut, that
    held no answer, and that could not be scored.

    Example: openklear evaluate runs/quickstart/rl-math aime24 math500 --data-dir benchmarks --protocol klear
    """
    _run(**locals())


def _run(**given: Any) -> None:
    """The command, given its options by their names."""
    from openklear import progress

    _refuse_idle(given)
    as_json, protocol = given["as_json"], _protocol(given)
    model, benchmarks = _split(given["names"], given["endpoint"])
    limits = limits_of(
        *(given["workers"], given["isolation"], None, given["graders"], given["packages"]),
        math_seconds=given["math_seconds"], code_seconds=given["code_seconds"], code_memory_mb=given["memory_mb"],
    )  # fmt: skip
    name = given["model"] if given["endpoint"] is not None else model
    output = given["output"] or Path("evaluations") / re.sub(
        r"[^\w.-]+", "-", f"{name}-{given['protocol']}".strip("/.")
    )
    server = None if given["endpoint"] is None else _server(given, protocol)
    paths = dict(map(_pair, given["data"] or ()))
    arguments = _table(given["template_args"], "--template-args")
    judge = given["judge"] or protocol.judge
    judged_by(judge, limits)  # a name that is none is refused before anything is sampled
    if server is not None and protocol.yarn is not None:
        raise UsageError(
            f"{protocol.name} stretches the model's positions, which a server has done or not; start it so"
        )
    engine = _engine(given["engine"], given["slots"])
    exits.write_crashes_to(output)
    progress.quiet(as_json)
    with json_only(as_json):
        from openklear.run.evaluation import EvaluationPlan, evaluate
        from openklear.verifiers.limits import cores

        same = ("limit", "prompt", "system_prompt", "seed", "device", "dtype", "unpinned")
        plan = EvaluationPlan(
            benchmarks=benchmarks,
            protocol=protocol,
            output=output,
            model=model,
            server=server,
            paths=paths,
            directory=given["data_dir"],
            template_args=arguments,
            engine=engine,
            threads=given["threads"] or cores(),
            limits=limits,
            **{key: given[key] for key in same},
        )
        scores = evaluate(plan)
    if not as_json:
        tell(scores, _lines(scores), as_json=False)
    with json_only(as_json):
        beside = _official(plan, judge)
    tell({**scores, **beside[0]}, [*beside[1], f"{output}"], as_json=as_json)


OF_A_SERVER = ("model", "extra", "api_key_env")
OF_A_MODEL = ("template_args", "yarn", "engine", "device", "dtype", "threads")
"""Options that mean something with --endpoint alone, and without it alone."""
USUAL = {"engine": "local", "device": "auto", "dtype": "auto"}


def _refuse_idle(given: Mapping[str, Any]) -> None:
    """UsageError for options that would do nothing."""
    served = given["endpoint"] is not None
    idle = [name for name in (OF_A_MODEL if served else OF_A_SERVER) if given[name] != USUAL.get(name)]
    if idle:
        listed = ", ".join(f"--{name.replace('_', '-')}" for name in idle)
        where = "of a model that is sampled here, and --endpoint asks a server" if served else "for --endpoint alone"
        raise UsageError(f"{listed}: {where}; leave it out")


def _official(plan: EvaluationPlan, judge: str) -> tuple[dict[str, Any], list[str]]:
    """What LiveCodeBench's harness says of the same programs, beside ours; it is left in official.json too."""
    from openklear.cli.rescore import lines
    from openklear.durable.files import write_json
    from openklear.evaluation import rescoring

    limits = judged_by(judge, plan.limits)
    if judge != "official":
        return {}, []
    found = rescoring.rescore(plan.output, limits)
    write_json(plan.output / "official.json", rescoring.rows(found))
    return {"official": rescoring.rows(found)}, ["LiveCodeBench's own harness, beside our judge:", *lines(found, 20)]


def _protocol(given: Mapping[str, Any]) -> Protocol_:
    """The protocol that is named, with what the options change of it."""
    from openklear.evaluation.catalogue.protocols import protocol_named

    if given["temperature"] is not None:
        not_negative(given["temperature"])
    same = ("temperature", "top_p", "top_k", "min_p", "max_completion_tokens", "yarn")
    return protocol_named(given["protocol"], {"every": given["samples"], **{key: given[key] for key in same}})


def _split(names: Sequence[str], endpoint: str | None) -> tuple[str | None, tuple[str, ...]]:
    """(model, benchmarks)."""
    model, benchmarks = (None, tuple(names)) if endpoint is not None else (names[0], tuple(names[1:]))
    if not benchmarks:
        raise UsageError(f"{names[0]}: name at least one benchmark after the model, such as aime24")
    if model is not None and (Path(model) / "model" / "config.json").is_file():
        model = f"{Path(model) / 'model'}"
    return model, benchmarks


def _engine(name: str, slots: int | None) -> Engine:
    from openklear.recipe.engine import LocalEngine, VllmEngine

    given: dict[str, Any] = {} if slots is None else {"slots": slots}
    if name == "local":
        return LocalEngine(**given)
    if name == "vllm":
        return VllmEngine(**given)
    raise UsageError(f"--engine {name}: write local or vllm; a server is named by --endpoint")


def _server(given: Mapping[str, Any], protocol: Protocol_) -> ChatServer:
    from openklear.rollout.chat_server import ChatServer

    endpoint, model = given["endpoint"], given["model"]
    if not model:
        raise UsageError("--endpoint needs --model NAME, the name by which the server knows its model")
    if not re.match(r"https?://[^/]", endpoint):
        raise UsageError(f"--endpoint {endpoint!r} is not an http address; write it like http://localhost:8000/v1")
    cuts = {"top_k": protocol.top_k, "min_p": protocol.min_p}
    fields = {key: value for key, value in cuts.items() if value} | _table(given["extra"], "--extra")
    drawn = protocol.temperature, protocol.top_p, protocol.max_completion_tokens or 32768
    return ChatServer(endpoint, model, *drawn, fields, given["api_key_env"], given["timeout"], given["slots"] or 64)


def _pair(text: str) -> tuple[str, str]:
    name, equals, path = text.partition("=")
    if not equals or not path:
        raise UsageError(f"--data {text}: write NAME=PATH, such as aime24=data/aime24.jsonl")
    return name, path


def _table(text: str | None, option: str) -> dict[str, Any]:
    """A JSON object from the command line."""
    try:
        found = json.loads(text) if text else {}
    except ValueError as error:
        raise UsageError(f"{option}: not JSON ({error}); write an object such as '{{\"top_k\": 20}}'") from error
    if not isinstance(found, dict):
        raise UsageError(f"{option}: write a JSON object such as '{{\"top_k\": 20}}'")
    return found


def _lines(scores: Mapping[str, Any]) -> list[str]:
    from openklear.evaluation.lines import score_lines

    return score_lines(scores)


def benchmarks(as_json: AsJson = False) -> None:
    """List the benchmarks of the catalogue, the protocols and the named prompts, with their sources.

    Example: openklear evaluate benchmarks
    """
    from dataclasses import asdict

    from openklear.evaluation.catalogue.definition import DATA, names, prompts, read_definition
    from openklear.evaluation.catalogue.protocols import protocols

    known = {name: read_definition(DATA / "benchmarks" / f"{name}.toml") for name in names()}
    document = {
        "benchmarks": {name: one.model_dump(mode="json") for name, one in known.items()},
        "protocols": {name: asdict(one) for name, one in protocols().items()},
        "prompts": {name: asdict(one) for name, one in prompts().items()},
    }
    lines = ["Benchmarks"]
    for name, one in known.items():
        parts = f"; parts: {', '.join(one.parts)}" if one.parts else ""
        count = f"{one.problems:,} problems, " if one.problems else ""
        lines.append(f"  {name:15} {one.title}: {count}k {one.samples}{parts}. {one.source}")
    lines += ["Protocols", *(f"  {name:15} {one.source}" for name, one in protocols().items())]
    lines += ["Prompts", *(f"  {name:15} {one.template!r}" for name, one in prompts().items())]
    tell(document, lines, as_json=as_json)
