"""The stages `evaluate-NAME`: the benchmarks, asked of the model that the stage NAME left.

Leaves scores.json ({"benchmarks": what was asked and the form of what came back, "scores": the rows of summary.json})
and one Parquet file of rollouts for each part of the problems, written as soon as the part is judged: a run that was
killed continues with the next part. Draws depend on the problem alone, so that the models of a run are compared under
common random numbers. problems.jsonl counts the completions of each problem, so that models can be compared problem
by problem without the rollouts. timings.jsonl has how fast each part was sampled.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import ExitStack, closing
from itertools import chain, groupby, islice

from openklear import progress
from openklear.data.store import prepared, read_problems
from openklear.durable.files import append_jsonl, read_whole_jsonl, whole_directory, write_json
from openklear.errors import DataError
from openklear.evaluation.benchmarks import Benchmark, benchmarks
from openklear.evaluation.lines import score_lines
from openklear.evaluation.results import RESULTS, results, write_results
from openklear.evaluation.scores import Dropped, asked_rows, score_rows
from openklear.models.loading import LoadedModel, load_model
from openklear.planner.gauge import Gauge
from openklear.recipe.lengths import max_prompt_tokens
from openklear.recipe.reward import ReportReward
from openklear.rollout.collect import Collector, Sampling
from openklear.rollout.encoding import EncodedProblem, encode_problems
from openklear.rollout.open import open_sampler
from openklear.rollout.records import read_rollouts, write_rollouts
from openklear.rollout.seeds import copies
from openklear.run.context import StageContext
from openklear.training.memory import settled
from openklear.training.pace import gauge_of, say_pace, throughput
from openklear.training.sizes import found, resolved, stage_dtype
from openklear.types import Problem, RolloutGroup
from openklear.verifiers.judge import open_judge

PART = 128
"""Problems per part: what a kill may cost, and what the schedule of slots depends on."""

TIMINGS = "timings.jsonl"
VERDICTS = "verdicts.jsonl"
"""The judge's journal. Models of a run answer alike: what one gave is not judged again for the next."""

Asked = list[tuple[Benchmark, list[EncodedProblem]]]


def run(context: StageContext) -> None:
    """Evaluate the model of context.inputs["model"] on the recipe's benchmarks."""
    recipe, stage = context.recipe, context.name.removeprefix("evaluate-")
    loaded = load_model(context.inputs["model"] / "model", dtype=stage_dtype(recipe, context.directory))
    sizes = resolved(recipe, loaded)
    context.tell(found(recipe, sizes))
    asked, dropped = _asked(context, loaded)
    every = chain.from_iterable(problems for _, problems in asked)
    domains = {encoded.problem.domain for encoded in every}
    with ExitStack() as stack:
        verdicts = context.directory / VERDICTS
        others = sorted(set(context.root.glob(f"evaluate-*/{VERDICTS}")) - {verdicts})
        judge = open_judge(recipe.verifiers.limits, domains, progress.say_once, journal=verdicts, others=others)
        stack.enter_context(judge)
        share = recipe.stop.unscorable_share
        sampler = stack.enter_context(closing(open_sampler(recipe.engine, loaded, sizes=sizes)))
        collector = Collector(loaded, sampler, judge, recipe.seed, share)
        stack.enter_context(settled())
        here = recipe.engine.type != "remote"  # of a server's machine nothing is known
        groups = _rollouts(context, collector, asked, gauge_of(recipe, loaded, sizes) if here else None)
    named = list(benchmarks(recipe))
    rows, what = score_rows(stage, named, groups, dropped), asked_rows(stage, named, groups, dropped)
    write_results(context.directory / RESULTS, results(groups))
    write_json(context.directory / "scores.json", {"benchmarks": what, "scores": rows})
    say_pace(context.name, read_whole_jsonl(context.directory / TIMINGS))
    for line in score_lines({"benchmarks": what, "scores": rows}):
        progress.say(line)


def _asked(context: StageContext, loaded: LoadedModel) -> tuple[Asked, list[Dropped]]:
    """The encoded problems of each benchmark, and those that cannot be asked: they are said, and go to dropped.json."""
    heldout = read_problems(prepared(context.inputs["prepare"]).heldout)
    asked: Asked = []
    gone: list[Dropped] = []
    for benchmark in benchmarks(context.recipe):
        problems = benchmark.problems(heldout, context.recipe.seed)
        kept, dropped = encoded(loaded, benchmark, problems, max_prompt_tokens(context.recipe))
        if not problems:
            progress.say(f"{context.name}: {benchmark.name}: curation left no problem to ask")
        elif dropped:
            text = f"{len(kept)} of {len(problems)} problems can be asked; see dropped.json. The first that cannot: "
            progress.say(f"{context.name}: {benchmark.name}: {text}{dropped[0][0].id}, {dropped[0][1]}")
        asked.append((benchmark, kept))
        gone += dropped
    write_json(context.directory / "dropped.json", [{"id": p.id, "reason": why} for p, why in gone])
    if not any(kept for _, kept in asked):
        first = f"the first of {len(gone)}: {gone[0][1]}; raise it" if gone else "curation left none"
        raise DataError(f"{context.name}: no held-out problem can be asked; {first}")
    return asked, gone


def encoded(
    loaded: LoadedModel, benchmark: Benchmark, problems: Sequence[Problem], longest: int
) -> tuple[list[EncodedProblem], list[Dropped]]:
    """The wording changes the prompt's ids alone: draws, records and verdicts are those of the problem itself."""
    return encode_problems(loaded, problems, longest, {benchmark.name: benchmark.wording})


def parts(asked: Asked) -> list[tuple[int, list[EncodedProblem]]]:
    """(samples, problems): neighbours that are sampled equally often, at most PART of them together."""
    found: list[tuple[int, list[EncodedProblem]]] = []
    for samples, alike in groupby(asked, lambda one: one[0].samples):
        problems = list(chain.from_iterable(encoded for _, encoded in alike))
        found += [(samples, problems[start : start + PART]) for start in range(0, len(problems), PART)]
    return found


def _rollouts(context: StageContext, collector: Collector, asked: Asked, gauge: Gauge | None) -> list[RolloutGroup]:
    """All groups, in the order of the benchmarks; parts that an earlier attempt finished are read back."""
    groups: list[RolloutGroup] = []
    every = parts(asked)
    in_order = chain.from_iterable(problems for _, problems in every)
    numbers = iter(
        copies(encoded.problem.content_hash for encoded in in_order)
    )  # over all parts: a prompt that stands there twice is drawn for twice
    for number, (samples, problems) in enumerate(every, 1):
        copy_numbers = list(islice(numbers, len(problems)))
        target = context.directory / "parts" / f"{number:05d}"
        if not target.is_dir():
            label = f"{context.name}, part {number} of {len(every)}"
            began = time.perf_counter()
            found = _sampled(context, collector, samples, problems, label, copy_numbers)
            laps = {"sampling": time.perf_counter() - began}
            with whole_directory(target) as partial:
                write_rollouts(partial / "rollouts.parquet", found)
            pace = throughput(gauge, found, [], laps) if gauge else {}
            append_jsonl(context.directory / TIMINGS, {"part": number, **laps, **pace})
        by_id = {encoded.problem.id: encoded.problem for encoded in problems}
        groups += read_rollouts(target / "rollouts.parquet", by_id).groups
    return groups


def _sampled(
    context: StageContext,
    collector: Collector,
    samples: int,
    problems: Sequence[EncodedProblem],
    label: str,
    copy_numbers: Sequence[int],
) -> list[RolloutGroup]:
    evaluation = context.recipe.evaluation
    sampling = Sampling(
        samples,
        evaluation.temperature,
        evaluation.top_p,
        evaluation.max_completion_tokens,
        top_k=evaluation.top_k,
        min_p=evaluation.min_p,
    )
    # Scores need correctness alone, but every test runs: the rollouts are kept, to be read and scored again.
    return collector.collect(
        problems, sampling, ReportReward(), purpose="evaluation", label=label, copy_numbers=copy_numbers
    )
