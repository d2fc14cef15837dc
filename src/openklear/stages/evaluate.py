"""The stages `evaluate-NAME`: the benchmarks, asked of the model that the stage NAME left.

Leaves an evaluation (`evaluation.stored` has its files) with scores.json ({"benchmarks": what was asked and the form of
what came back, "scores": the rows of summary.json}). Completions are kept as they end: a run that was killed samples
what is missing. Draws depend on the problem alone, so that the models of a run are compared under common random
numbers. timings.jsonl has how fast the completions were sampled.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import asdict

from openklear import progress
from openklear.data.store import prepared, read_problems
from openklear.durable.files import append_jsonl, read_whole_jsonl, write_json
from openklear.errors import DataError
from openklear.evaluation.benchmarks import Benchmark, benchmarks
from openklear.evaluation.completions import Drawing
from openklear.evaluation.lines import score_lines
from openklear.evaluation.outcome import leave
from openklear.evaluation.provenance import of_engine, provenance
from openklear.evaluation.queries import Query, cut_budgets, encoded, numbered, roomy, worded
from openklear.evaluation.runner import Interview
from openklear.evaluation.sources import TokenSource
from openklear.evaluation.stored import SETTINGS
from openklear.models.loading import LoadedModel, weights_hash
from openklear.recipe.schema import Recipe
from openklear.rollout.open import COMPLETIONS
from openklear.run.context import StageContext
from openklear.stages.crew import computing, open_model, open_panel
from openklear.training.memory import settled
from openklear.training.pace import gauge_of, sampled_throughput, say_pace
from openklear.training.sizes import found, resolved
from openklear.verifiers.judge import open_judge

TIMINGS = "timings.jsonl"
VERDICTS = "verdicts.jsonl"
"""The judge's journal. Models of a run answer alike: what one gave is not judged again for the next."""


def run(context: StageContext) -> None:
    """Evaluate the model of context.inputs["model"] on the recipe's benchmarks."""
    recipe, stage = context.recipe, context.name.removeprefix("evaluate-")
    directory = context.inputs["model"] / "model"
    loaded = open_model(context)
    where = computing(recipe)
    sizes = resolved(recipe, loaded, computing=where)
    context.tell(found(recipe, sizes, where))
    questions = _questions(context, loaded)
    sizes = roomy(sizes, questions)
    verdicts = context.directory / VERDICTS
    others = sorted(set(context.root.glob(f"evaluate-*/{VERDICTS}")) - {verdicts})
    domains = {question.problem.domain for question in questions}
    evaluation = recipe.evaluation
    identity = weights_hash(directory)
    named = {one.name: _asked(one, recipe) for one in benchmarks(recipe)}
    facts = provenance(recipe, loaded, {"name": stage, "weights": identity}, named)
    seed = recipe.seed_of("evaluation")
    drawing = Drawing(seed, evaluation.temperature, evaluation.top_p, evaluation.top_k, evaluation.min_p)
    with ExitStack() as stack:
        panel = stack.enter_context(open_panel(context, loaded, sizes))
        asked = panel.verifiers()
        judge = open_judge(panel.limits, domains, progress.say_once, journal=verdicts, others=others, verifiers=asked)
        stack.enter_context(judge)
        sampler = panel.sampler(COMPLETIONS)
        facts["engine"] |= of_engine(sampler)
        write_json(context.directory / SETTINGS, facts)
        stack.enter_context(settled())
        work = Interview(
            context.directory, questions, drawing, identity, judge, context.name, recipe.stop.unscorable_share
        )
        samples = work.run(TokenSource(loaded, sampler, sizes.slots * panel.samplers))
    if work.sampled:
        pace = {}
        if recipe.engine.type != "remote":  # of a server's machine nothing is known
            gauge = gauge_of(recipe, loaded, sizes, where)
            pace = sampled_throughput(gauge, questions, samples, work.sampled, work.seconds)
        append_jsonl(context.directory / TIMINGS, {"sampling": work.seconds, **pace})
    scores = leave(context.directory, stage, samples, named)
    say_pace(context.name, read_whole_jsonl(context.directory / TIMINGS))
    for line in score_lines(scores):
        progress.say(line)


def _asked(benchmark: Benchmark, recipe: Recipe) -> dict[str, object]:
    """How a benchmark is asked."""
    named = asdict(benchmark)
    named.pop("name")
    return {**named, "max_completion_tokens": recipe.evaluation.max_completion_tokens}


def _questions(context: StageContext, loaded: LoadedModel) -> list[Query]:
    """Every problem that is asked, as this model's tokens. What cannot be asked is said, and counts as wrong."""
    heldout = read_problems(prepared(context.inputs["prepare"]).heldout)
    recipe = context.recipe
    every: list[Query] = []
    for benchmark in benchmarks(recipe):
        problems = benchmark.problems(heldout, recipe.seed_of("data"))
        if not problems:
            progress.say(f"{context.name}: {benchmark.name}: curation left no problem to ask")
        for problem in problems:
            limit = recipe.evaluation.max_completion_tokens
            messages, fault = worded(problem, benchmark.wording)
            question = Query(benchmark.name, problem, benchmark.samples, limit, messages, refused=fault)
            every.append(question if fault else encoded(question, loaded))
        refused = [one for one in every if one.benchmark == benchmark.name and one.refused]
        if refused:
            first = f"{refused[0].problem.id}, {refused[0].refused}"
            text = f"{len(refused)} of {len(problems)} problems cannot be asked, and count as wrong"
            progress.say(f"{context.name}: {benchmark.name}: {text}; the first: {first}")
    if not every:
        raise DataError(f"{context.name}: no held-out problem can be asked; curation left none")
    if all(one.refused for one in every):
        raise DataError(f"{context.name}: no held-out problem can be asked; the first: {every[0].refused}")
    if said := cut_budgets(every, loaded.longest.sampled):
        progress.say(f"{context.name}: {said}")
    return numbered(every)
