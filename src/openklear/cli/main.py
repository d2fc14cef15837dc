"""The command line. Commands only: what they do lives in the other rooms, imported when a command runs."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from openklear import __version__, progress
from openklear.cli import (
    ablate,
    check,
    cluster,
    compare,
    distill,
    doctor,
    evaluate,
    exchange,
    exits,
    export,
    grade,
    leaderboard,
    objectives,
    plan,
    power,
    push,
    rescore,
    simulate,
    view,
)
from openklear.cli.groups import DefaultGroup
from openklear.cli.options import EXIT_CODES, AsJson, above_zero, json_only, not_negative, print_json, tell
from openklear.errors import UsageError
from openklear.think import split_thought
from openklear.verifiers.printable import printable

if TYPE_CHECKING:
    from openklear.recipe.schema import Recipe
    from openklear.rollout.generate import Generated
    from openklear.run.plan import Through

RecipeFile = Annotated[Path, typer.Argument(metavar="RECIPE", help="The recipe, a TOML file.")]
Output = Annotated[
    Path,
    typer.Option("--output", "-o", metavar="DIR", help="The run directory. Finished stages in it are not run again."),
]
Set = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Override a key of the recipe: sft.epochs=2, rl.phase.math.learning_rate=1e-6. Repeatable.",
    ),
]
DryRun = Annotated[
    bool,
    typer.Option(
        "--dry-run",
        help="Look at the model's configuration, every file's first row and the packages needed; print problems, "
        "tokens, memory and stages, with --fork what would be taken over; write nothing, and stop.",
    ),
]
Fork = Annotated[
    Path | None,
    typer.Option("--fork", metavar="OLD", help="Start from those finished stages of another run that fit this recipe."),
]
Anyway = Annotated[
    bool,
    typer.Option("--anyway", help="Run even if the plan says that it cannot fit the memory of this machine."),
]

app = typer.Typer(
    name="openklear",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Train reasoning models end to end: curated long chain-of-thought SFT, GPPO reinforcement learning with "
    "verifiable rewards, honest evaluation. One recipe file describes a run.\n\n"
    "Example: openklear run recipes/quickstart.toml --output runs/quickstart",
    epilog=EXIT_CODES,
)
recipe_app = typer.Typer(
    no_args_is_help=True, help="Look at recipes: what is trained, what a file resolves to, which keys exist."
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code; every failure has been told by then."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    progress.hush_imports()
    return exits.tell(lambda: app(words, prog_name="openklear", standalone_mode=False), as_json="--json" in words)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"openklear {__version__}")
        raise typer.Exit()


@app.callback()
def _openklear(
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_show_version, help="Print the version and stop.")
    ] = False,
) -> None:
    pass


STAGE_COMMANDS = {
    "run": (
        "Run a whole recipe: prepare data, fine-tune, reinforce, evaluate, report.\n\n"
        "After an interruption, a kill or a failure the same command continues the run where it was, and ends with the "
        "same bits.\n\n"
        "Example: openklear run recipes/quickstart.toml --output runs/quickstart"
    ),
    "prepare": (
        "Read, filter, deduplicate and decontaminate the recipe's sources, and stop there.\n\n"
        "The run directory then holds the rows kept, the rows dropped with their reasons, and the funnel."
        "\n\nExample: openklear prepare recipes/quickstart.toml --output runs/quickstart"
    ),
    "sft": (
        "Run the recipe up to and including supervised fine-tuning, reusing finished stages.\n\n"
        "The fine-tuned model is in DIR/sft/model; plain transformers can load it.\n\n"
        "Example: openklear sft recipes/quickstart.toml --output runs/quickstart --set sft.epochs=2"
    ),
    "rl": (
        "Run the recipe up to and including all phases of reinforcement learning, reusing finished stages.\n\n"
        "Each phase leaves its model in DIR/rl-NAME/model, and every rollout of every iteration beside it.\n\n"
        "Example: openklear rl recipes/quickstart.toml --output runs/cispo --set rl.objective.type=cispo"
    ),
    "evaluate recipe": (
        "Run the recipe up to and including the evaluation on held-out problems, reusing finished stages.\n\n"
        "Example: openklear evaluate recipes/quickstart.toml --output runs/quickstart --set evaluation.samples=16"
    ),
    "report": (
        "Write the report of a run, one self-contained HTML file, after running the stages that are missing.\n\n"
        "Example: openklear report recipes/quickstart.toml --output runs/quickstart"
    ),
}
"""Commands that run stages up to the one they are named after; `run` runs them all. Name -> help."""
TOOLS = "Tools"
"""The second panel of --help, below the commands that run a recipe."""


evaluate_app = typer.Typer(
    cls=DefaultGroup,
    no_args_is_help=True,
    help="Evaluate a model on benchmarks: `openklear evaluate MODEL BENCHMARK...` "
    "(`openklear evaluate model --help` has its options), or a recipe: `openklear evaluate RECIPE.toml`.\n\n"
    "Example: openklear evaluate runs/quickstart/rl-math aime24 math500 --data-dir benchmarks",
)
_EVALUATE: dict[str, Any] = {
    "model": evaluate.evaluate,
    "rescore": rescore.rescore,
    "power": power.power,
    "import": exchange.import_,
    "export": exchange.export,
    "benchmarks": evaluate.benchmarks,
}
for _name, _function in _EVALUATE.items():
    evaluate_app.command(_name, epilog=EXIT_CODES)(_function)


def _add_stage_command(name: str, text: str) -> None:
    group, _, own = name.rpartition(" ")
    through = None if name == "run" else cast("Through", group or name)
    where, panel = (evaluate_app, None) if group else (app, "Run a recipe")

    @where.command(own, help=text, epilog=EXIT_CODES, rich_help_panel=panel)
    def command(
        recipe: RecipeFile,
        output: Output,
        overrides: Set = None,
        dry_run: DryRun = False,
        as_json: AsJson = False,
        fork: Fork = None,
        anyway: Anyway = False,
    ) -> None:
        from openklear.recipe.load import load_recipe
        from openklear.recipe.show import arithmetic

        loaded = load_recipe(recipe, overrides or ())
        if dry_run:
            _print_plan(loaded, output, through, fork, as_json)
            return
        exits.write_crashes_to(output)
        progress.quiet(as_json)
        if through != "prepare":
            from openklear.run.room import require_room

            require_room(loaded, anyway=anyway)
        for line in arithmetic(loaded):
            progress.say(line)
        from openklear.run.pipeline import run_pipeline

        with json_only(as_json):
            summary = run_pipeline(loaded, output, through=through, fork=fork)
        from openklear.evaluation.lines import gain_lines, score_lines

        written = [output / name for name in ("summary.json", "funnel.json", "data-card.html", "report.html")]
        lines = [*score_lines(summary), *gain_lines(summary), *(f"{path}" for path in written if path.exists())]
        tell(summary, lines, as_json=as_json)


for _name, _text in STAGE_COMMANDS.items():
    _add_stage_command(_name, _text)
app.command(epilog=f"{EXIT_CODES} 3: does not fit.", rich_help_panel="Run a recipe")(plan.plan)
app.command(epilog=EXIT_CODES, rich_help_panel="Run a recipe")(simulate.simulate)
app.command(epilog=EXIT_CODES, rich_help_panel="Run a recipe")(ablate.ablate)


@app.command(epilog=EXIT_CODES, rich_help_panel=TOOLS)
def generate(
    model: Annotated[
        Path, typer.Argument(metavar="MODEL", help="A model directory, such as DIR/rl-math/model, or OWNER/NAME.")
    ],
    prompt: Annotated[
        list[str] | None, typer.Option("--prompt", "-p", help="What to ask. Repeatable; without it, stdin is read.")
    ] = None,
    count: Annotated[int, typer.Option(min=1, help="Completions for each prompt.")] = 1,
    temperature: Annotated[float, typer.Option(callback=not_negative, help="Sampling temperature; 0 is greedy.")] = 0.6,
    top_p: Annotated[
        float,
        typer.Option(
            max=1.0, callback=above_zero, help="Sample from the likeliest tokens that make up this probability."
        ),
    ] = 0.95,
    max_tokens: Annotated[int, typer.Option(min=1, help="Longest completion, in tokens.")] = 1024,
    seed: Annotated[int, typer.Option(help="The same seed gives the same completions.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Ask a model. Prompts come from --prompt, from stdin (one per line), or from the terminal as you type them.

    Completions are printed once they are complete, with the reasoning dimmed.

    Example: openklear generate runs/quickstart/rl-math/model --prompt "What is 2 + 3?" --count 4
    """

    if temperature == 0.0 and count > 1:
        raise UsageError("--temperature 0 is greedy: all completions would be alike; leave --count out")

    def answer(prompts: Sequence[str]) -> list[list[Generated]]:
        from openklear.rollout.generate import generate as sample

        with json_only(as_json):
            return sample(
                model, prompts, count=count, temperature=temperature, top_p=top_p, max_tokens=max_tokens, seed=seed
            )

    if not prompt and sys.stdin.isatty():
        if as_json:
            raise UsageError("--json needs prompts from --prompt or from a pipe")
        for asked in _ask():
            _print_completions([asked], answer([asked]))
        return
    prompts = prompt or [line.rstrip("\n") for line in sys.stdin if line.strip()]
    if not prompts:
        raise UsageError("there is no prompt; give --prompt, or write one per line to stdin")
    answers = answer(prompts)
    if as_json:
        print_json([_as_document(asked, found) for asked, found in zip(prompts, answers, strict=True)])
    else:
        _print_completions(prompts, answers)


@recipe_app.command("show", epilog=EXIT_CODES)
def show_recipe(recipe: RecipeFile, overrides: Set = None, as_json: AsJson = False) -> None:
    """Print the recipe with every key resolved: defaults filled in, phases merged, --set applied, paths absolute.

    The output is itself a recipe, with the meaning of each key beside it.

    Example: openklear recipe show recipes/quickstart.toml --set sft.epochs=2 > mine.toml
    """
    from openklear.recipe.load import load_recipe
    from openklear.recipe.show import resolved_toml

    loaded = load_recipe(recipe, overrides or ())
    tell(loaded.model_dump(mode="json"), [resolved_toml(loaded).rstrip("\n")], as_json=as_json)


recipe_app.command("check", epilog=EXIT_CODES)(check.check)


@recipe_app.command("keys", epilog=EXIT_CODES)
def show_keys(as_json: AsJson = False) -> None:
    """List every key a recipe may have: its path, type, default and meaning.

    Paths are those of --set; NAME is the name of a source or phase. A phase's key written as rl.KEY holds for all
    phases that do not set it themselves.

    Example: openklear recipe keys | grep learning_rate
    """
    from openklear.recipe.keys import keys
    from openklear.recipe.schema import Recipe
    from openklear.recipe.show import key_lines

    tell([asdict(key) for key in keys(Recipe)], key_lines(), as_json=as_json)


def _print_plan(recipe: Recipe, root: Path, through: Through | None, fork: Path | None, as_json: bool) -> None:
    """What the run would meet and do; ends with every fault that would end it."""
    from openklear.recipe.show import arithmetic
    from openklear.run.pipeline import plan
    from openklear.run.preview import fork_states, preview

    with json_only(as_json):
        found = preview(recipe, through)
        states = [asdict(stage) for stage in plan(recipe, root, through=through)]
        if fork is not None:
            fork_states(states, recipe, root, fork, found.faults)
    width = max((len(stage["name"]) for stage in states), default=0)
    told = ["\n    ".join((f"{stage['name']:{width}}  {stage['state']}", *stage["why"])) for stage in states]
    lines = arithmetic(recipe)
    if not (as_json and found.faults):
        document = {"arithmetic": lines, **found.document(), "stages": states}
        tell(document, [*lines, "", *found.lines(), "", *told], as_json=as_json)
    found.require()


def _as_document(asked: str, found: Sequence[Generated]) -> dict[str, Any]:
    texts = [{"text": one.text, "stop_reason": str(one.stop_reason), "tokens": one.tokens} for one in found]
    return {"prompt": asked, "completions": texts}


def _ask() -> Iterator[str]:
    """Lines typed by a person, until the end of input."""
    while True:
        try:
            line = input("> ")
        except EOFError:
            typer.echo()
            return
        if line.strip():
            yield line


def _print_completions(prompts: Sequence[str], answers: Sequence[Sequence[Generated]]) -> None:
    alone = sum(len(found) for found in answers) == 1
    for asked, found in zip(prompts, answers, strict=True):
        for number, one in enumerate(found, 1):
            if not alone:
                typer.secho(f"--- {printable(asked)[:60]!r}, completion {number} of {len(found)}", bold=True)
            typer.echo(dimmed(printable(one.text, "\n\t")))
            typer.secho(f"({one.stop_reason}, {one.tokens} tokens)", fg="cyan", err=True)


def dimmed(text: str) -> str:
    """The text with all that is not its answer dim."""
    answer = split_thought(text).answer or ""
    thought = text.removesuffix(answer)
    return (typer.style(thought, dim=True) if thought else "") + answer


_SINGLE = (
    *(compare.compare, leaderboard.leaderboard, view.view, distill.distill, export.export, push.push),
    objectives.conformance,
)
for _command in _SINGLE:
    app.command(epilog=EXIT_CODES, rich_help_panel=TOOLS)(_command)
for _name, _group in {
    "evaluate": evaluate_app,
    "recipe": recipe_app,
    "objectives": objectives.app,
    "grade": grade.app,
    "cluster": cluster.app,
    "doctor": doctor.app,
}.items():
    app.add_typer(_group, name=_name, epilog=EXIT_CODES, rich_help_panel=TOOLS)
