"""`openklear evaluate MODEL BENCHMARK...`: a model that there is, on benchmarks of the catalogue or of one's own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import asdict, dataclass, field, replace
from itertools import chain
from pathlib import Path
from typing import Any

from openklear import progress
from openklear.durable.files import disk_errors, lock, read_json, write_json
from openklear.errors import UsageError
from openklear.evaluation.catalogue.definition import Named, choose, prompt_named
from openklear.evaluation.catalogue.livecodebench import STARTER
from openklear.evaluation.catalogue.protocols import Protocol
from openklear.evaluation.catalogue.reading import Posed, Posing, read
from openklear.evaluation.completions import Drawing
from openklear.evaluation.evaluated import differences, flat
from openklear.evaluation.outcome import leave
from openklear.evaluation.provenance import of_engine, provenance
from openklear.evaluation.queries import Query, cut_budgets, encoded, numbered, roomy, worded
from openklear.evaluation.runner import Interview
from openklear.evaluation.sources import ChatSource, Completer, TokenSource
from openklear.evaluation.stored import COMPLETIONS, SETTINGS, Asked, Sample, Stored, open_stored
from openklear.models.hub import local_directory
from openklear.models.loading import LoadedModel, load_model, weights_hash
from openklear.models.numerics import set_up
from openklear.models.stretch import stretched
from openklear.recipe.curation import Data
from openklear.recipe.curation import Source as DataSource
from openklear.recipe.engine import Engine, LocalEngine, RemoteEngine
from openklear.recipe.hub import HUB
from openklear.recipe.schema import Evaluation as Sampling
from openklear.recipe.schema import PretrainedModel, Recipe
from openklear.recipe.verifiers import Verifiers
from openklear.rollout.chat_server import ChatServer
from openklear.rollout.open import open_sampler
from openklear.training.memory import settled
from openklear.training.sizes import resolved
from openklear.types import Message
from openklear.verifiers.judge import open_judge
from openklear.verifiers.limits import Limits

VERDICTS = "verdicts.jsonl"
ERRATA = "errata"


@dataclass(frozen=True, slots=True)
class EvaluationPlan:
    """One evaluation, as the command line asks for it."""

    benchmarks: tuple[str, ...]
    protocol: Protocol
    output: Path
    model: str | None = None
    """A directory, a stage of a run, or a hub's name; None where a server is asked."""
    server: ChatServer | None = None
    paths: Mapping[str, str] = field(default_factory=dict)
    """Benchmark -> where its data is."""
    directory: Path | None = None
    """Where the data of the others is looked for."""
    limit: int | None = None
    """Problems of each benchmark, at most, from the first."""
    prompt: str | None = None
    """For all benchmarks, in place of their own."""
    system_prompt: str | None = None
    template_args: Mapping[str, Any] = field(default_factory=dict)
    seed: int = 0
    engine: Engine = field(default_factory=LocalEngine)
    device: str = "auto"
    dtype: str = "auto"
    threads: int = 1
    limits: Limits = field(default_factory=Limits)
    unpinned: bool = False


def evaluate(plan: EvaluationPlan) -> dict[str, Any]:
    """Sample and judge what is not there yet, write the evaluation's files, and return its scores.

    Raises UsageError where the output holds an evaluation that was made otherwise, DataError for a benchmark's data,
    ModelError, EngineError and VerifierError for what evaluates. The same call goes on after a kill.
    """
    posings = _posings(plan)
    for note in chain.from_iterable(posing.notes for posing in posings):
        progress.say(note)
    with lock(plan.output), disk_errors(plan.output), ExitStack() as stack:
        recipe = _recipe(plan)
        set_up(plan.threads, plan.device)
        loaded = None if plan.model is None else _loaded(plan, recipe)
        questions = numbered(list(_questions(plan, posings, loaded)))
        _say_refused(questions)
        if loaded is not None and (said := cut_budgets(questions, loaded.longest.sampled)):
            progress.say(said)
        named = _model(plan)
        asked = dict(chain.from_iterable(_asked(plan, posing) for posing in posings))
        facts = provenance(recipe, loaded, named, asked) | {"protocol": _protocol(plan.protocol), "told": _told(plan)}
        kept = _kept(plan.output, facts, asked)
        domains = {question.problem.domain for question in questions}
        judge = stack.enter_context(open_judge(plan.limits, domains, progress.say_once, journal=plan.output / VERDICTS))
        source = stack.enter_context(_source(plan, recipe, loaded, questions))
        facts["engine"] |= of_engine(getattr(source, "sampler", None))
        write_json(plan.output / SETTINGS, facts | {"benchmarks": [*kept.settings, *facts["benchmarks"]]})
        identity = named.get("weights", named["name"]) + str(plan.protocol.yarn or "")
        work = Interview(
            plan.output, questions, _drawing(plan), identity, judge, "evaluate", kept=kept.samples, known=kept.asked
        )
        samples = work.run(source)
        every = {row["name"]: row for row in kept.settings} | asked
        return leave(plan.output, named["name"], samples, every)


def _posings(plan: EvaluationPlan) -> list[Posing]:
    """The problems of each benchmark that is named. UsageError where two have one name."""
    found: list[Posing] = []
    for text in dict.fromkeys(plan.benchmarks):
        named = choose(text)
        if any(named.name == other.named.name for other in found):
            raise UsageError(f"{text}: a second benchmark is called {named.name}; give its file another name")
        path = plan.paths.get(text) or plan.paths.get(named.name.partition(":")[0])
        named = named if path is None else replace(named, path=path)
        posing = read(named, plan.directory, unpinned=plan.unpinned)
        found.append(posing if plan.limit is None else replace(posing, problems=posing.problems[: plan.limit]))
    return found


def _questions(plan: EvaluationPlan, posings: Sequence[Posing], loaded: LoadedModel | None) -> Iterator[Query]:
    for posing in posings:
        samples, limit = plan.protocol.samples_of(posing.named), plan.protocol.budget_of(posing.named)
        for posed in posing.problems:
            name = _name(posing.named, posed)
            messages, fault = _messages(plan, posed)
            query = Query(name, posed.problem, samples, limit, messages, refused=fault, facts=posed.facts)
            yield query if fault or loaded is None else encoded(query, loaded)


def _messages(plan: EvaluationPlan, posed: Posed) -> tuple[tuple[Message, ...], str]:
    """(what is asked, why it cannot be)."""
    if posed.messages and plan.prompt is None:
        system, *rest = posed.messages
        own = system if plan.system_prompt is None else Message(role="system", content=plan.system_prompt)
        return (own, *rest), ""
    prompt = prompt_named(plan.prompt or posed.prompt)
    if STARTER in prompt.template:
        raise UsageError(f"--prompt {plan.prompt}: is for LiveCodeBench's rows, which are asked so without it")
    wording = prompt.wording
    if plan.system_prompt is not None:
        wording = replace(wording, system_prompt=plan.system_prompt)
    return worded(posed.problem, wording)


def _name(named: Named, posed: Posed) -> str:
    """Problems that are known to be wrong have scores of their own."""
    return f"{named.name}-{ERRATA}" if posed.erratum else named.name


def _say_refused(questions: Sequence[Query]) -> None:
    refused = [question for question in questions if question.refused]
    if len(refused) == len(questions):
        raise UsageError(f"no problem can be asked; the first: {questions[0].problem.id}, {questions[0].refused}")
    if refused:
        first = f"{refused[0].problem.id}, {refused[0].refused}"
        progress.say(
            f"{len(refused):,} of {len(questions):,} problems cannot be asked, and count as wrong; the first: {first}"
        )


def _asked(plan: EvaluationPlan, posing: Posing) -> Iterator[tuple[str, dict[str, Any]]]:
    """How each benchmark is asked, by its name: what stands beside its score."""
    named, definition = posing.named, posing.named.definition
    names = dict.fromkeys(_name(named, posed) for posed in posing.problems)
    prompts = dict.fromkeys(plan.prompt or posed.prompt for posed in posing.problems)
    for name in names:
        yield (
            name,
            {
                "title": definition.title or name,
                "source": definition.source,
                "benchmark": named.text,
                "data": posing.path if posing.path.startswith(HUB) else str(Path(posing.path).absolute()),
                "data_hash": posing.texts,
                "copy": posing.copy,
                "window": None if named.window is None else "..".join(day.isoformat() for day in named.window),
                "samples": plan.protocol.samples_of(named),
                "max_completion_tokens": plan.protocol.budget_of(named),
                "prompts": {prompt: asdict(prompt_named(prompt)) for prompt in prompts},
                "system_prompt": plan.system_prompt,
                "limit": plan.limit,
            },
        )


def _told(plan: EvaluationPlan) -> dict[str, Any]:
    """What else the model or its server is told."""
    extra = {} if plan.server is None else dict(plan.server.extra)
    return {"template_args": dict(plan.template_args), "extra": extra}


def _protocol(protocol: Protocol) -> dict[str, Any]:
    return {"name": protocol.name, "source": protocol.source, "yarn": protocol.yarn, "judge": protocol.judge}


def _model(plan: EvaluationPlan) -> dict[str, Any]:
    """What names the model."""
    if plan.server is not None:
        return {"name": plan.server.model, "endpoint": plan.server.endpoint}
    assert plan.model is not None
    directory = local_directory(plan.model)
    return {"name": plan.model, "weights": weights_hash(directory)}


def _loaded(plan: EvaluationPlan, recipe: Recipe) -> LoadedModel:
    assert plan.model is not None
    directory = local_directory(plan.model)
    if plan.protocol.yarn is not None:
        directory = stretched(directory, plan.protocol.yarn, plan.output / f"model-yarn-{plan.protocol.yarn:g}")
    return load_model(directory, dtype=recipe.dtype, template_args=plan.template_args)


def _recipe(plan: EvaluationPlan) -> Recipe:
    """The recipe that this is: no training, and the sizes that a machine is planned for."""
    protocol = plan.protocol
    longest = max(protocol.budget_of(choose(text)) for text in plan.benchmarks)
    sampling = Sampling(
        samples=1,
        validation_samples=1,
        temperature=protocol.temperature,
        top_p=protocol.top_p,
        top_k=protocol.top_k,
        min_p=protocol.min_p,
        max_completion_tokens=longest,
    )
    engine = plan.engine
    if plan.server is not None:
        engine = RemoteEngine(endpoint=plan.server.endpoint, model=plan.server.model)
    limits = plan.limits
    verifiers = Verifiers(**{name: getattr(limits, name) for name in Verifiers.model_fields})
    return Recipe(
        seed=plan.seed,
        threads=plan.threads,
        device=plan.device,
        model=PretrainedModel(path=plan.model or "none", dtype=plan.dtype),  # type: ignore[arg-type]
        data=Data(source=(DataSource(name="benchmarks", path="-", role="heldout"),)),
        evaluation=sampling,
        verifiers=verifiers,
        engine=engine,
    )


def _drawing(plan: EvaluationPlan) -> Drawing:
    protocol = plan.protocol
    extra = None if plan.server is None else plan.server.extra
    return Drawing(plan.seed, protocol.temperature, protocol.top_p, protocol.top_k, protocol.min_p, extra)


@contextmanager
def _source(
    plan: EvaluationPlan, recipe: Recipe, loaded: LoadedModel | None, questions: Sequence[Query]
) -> Iterator[Completer]:
    if plan.server is not None:
        yield ChatSource(plan.server)
        return
    assert loaded is not None
    sizes = roomy(resolved(recipe, loaded), questions)
    with closing(open_sampler(recipe.engine, loaded, sizes=sizes)) as sampler, settled():
        yield TokenSource(loaded, sampler, sizes.slots)


@dataclass(frozen=True, slots=True)
class _Kept:
    """Benchmarks that the output holds already, and that are not asked now."""

    settings: list[dict[str, Any]]
    asked: list[Asked]
    samples: list[Sample]


def _kept(output: Path, facts: Mapping[str, Any], asked: Mapping[str, Any]) -> _Kept:
    """What is whole of the benchmarks that are not asked now.

    UsageError where what is there was made otherwise: one directory is one model, asked in one way.
    """
    nothing = _Kept([], [], [])
    if not (output / SETTINGS).is_file() or not (output / COMPLETIONS).is_file():
        return nothing
    if not (output / COMPLETIONS).stat().st_size:
        return nothing
    before = read_json(output / SETTINGS)
    changed = differences(*(dict(flat(_compared(one))) for one in (before, facts)))
    if changed:
        told = "; ".join(f"{name} was {old!r} and is {new!r}" for name, (old, new) in changed.items())
        raise UsageError(f"{output} holds an evaluation that was made otherwise: {told}. Choose another --output")
    there = open_stored(output)
    whole = [row for row in before["benchmarks"] if row["name"] not in asked and _is_whole(row, there)]
    names = {row["name"] for row in whole}
    for row in before["benchmarks"]:
        if row["name"] not in asked and row["name"] not in names:
            progress.say(f"{row['name']} is not finished there; name it again to go on: its completions are kept")
    return _Kept(
        whole,
        [one for one in there.asked.values() if one.benchmark in names],
        [one for one in there.samples if one.benchmark in names],
    )


def _compared(facts: Mapping[str, Any]) -> dict[str, Any]:
    """What two evaluations of one directory must have in common: the model, not how it is called or where it is."""
    model = {key: value for key, value in facts.get("model", {}).items() if key != "endpoint"}
    if "weights" in model:
        model.pop("name", None)
    protocol = {key: facts.get("protocol", {}).get(key) for key in ("yarn", "judge")}
    same = ("sampling", "seed", "engine", "verifiers", "grader", "told")
    engine = {key: value for key, value in facts.get("engine", {}).items() if key not in ("endpoint", "version")}
    return {**{key: facts.get(key) for key in same}, "engine": engine, "model": model, "protocol": protocol}


def _is_whole(row: Mapping[str, Any], there: Stored) -> bool:
    """Whether every sample of a benchmark is judged."""
    problems = sum(one.benchmark == row["name"] for one in there.asked.values())
    samples = {(one.problem, one.sample) for one in there.samples if one.benchmark == row["name"]}
    return bool(len(samples) == problems * int(row["samples"]))
