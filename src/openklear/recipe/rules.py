"""Rules that bind two or more keys of a recipe. Each yields the key to blame, what is wrong and the remedy."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from openklear.verifiers.domains import DOMAINS, grader_faults

if TYPE_CHECKING:
    from openklear.recipe.curation import Data, Difficulty, Source, Vetting
    from openklear.recipe.schema import Phase, Recipe, Rl, Sft, TinyModel, Verifiers

PHASE_NAME = re.compile(r"[a-z0-9-]+")
SOURCE_NAME = re.compile(r"[\w-]+")
VARIABLE = re.compile(r"\$\{?(\w+)\}?")
HELDOUT_KEYS = ("samples", "limit", "limit_by", "prompt_template")
"""Keys of a source that say how its problems are asked in the evaluation: they change no curated row."""
FEWEST_NGRAMS = 4
"""Three words in a row are shared by unrelated prompts ("what is the"); decontamination would drop most rows."""


class Broken(NamedTuple):
    """A rule that does not hold: the key, relative to the table that was checked, and what to do."""

    path: tuple[str | int, ...]
    message: str


def tiny_model(model: TinyModel) -> Iterator[Broken]:
    """Heads divide the width, and a head's size is even (rotary embeddings turn pairs of numbers)."""
    if model.hidden_size % model.heads:
        text = f"{model.heads} heads do not divide hidden_size {model.hidden_size}; choose a divisor of it"
        yield Broken(("heads",), text)
    elif (model.hidden_size // model.heads) % 2:
        size = model.hidden_size // model.heads
        yield Broken(("heads",), f"a head's size (hidden_size / heads) is {size}, but must be even; change one of them")


def data(table: Data) -> Iterator[Broken]:
    """Names of sources, a sensible decontamination, and `*` alone."""
    for index, name in _repeated([source.name for source in table.source]):
        yield Broken(("source", index, "name"), f'a second source is named "{name}"; give each its own name')
    for index, source in enumerate(table.source):
        if not SOURCE_NAME.fullmatch(source.name):
            text = f'"{source.name}" cannot name a source; use letters, digits, - and _ only'
            yield Broken(("source", index, "name"), text)
        if variable := VARIABLE.search(source.path):
            text = f"the environment variable {variable[1]} is not set; set it, or write the path without it"
            yield Broken(("source", index, "path"), text)
        for key, message in _asked(source):
            yield Broken(("source", index, key), message)
    length = getattr(table.decontaminate, "length", 0)
    if 0 < length < FEWEST_NGRAMS:
        text = f"{length} words in a row are shared by unrelated prompts; "
        yield Broken(("decontaminate", "length"), text + f"write {FEWEST_NGRAMS} or more, or 0 to turn it off")
    if "*" in table.correct_only and len(table.correct_only) > 1:
        yield Broken(("correct_only",), '"*" already means every level; write ["*"], or name the levels without it')


def _asked(source: Source) -> Iterator[tuple[str, str]]:
    """How problems are asked is for held-out sources to say, and a template holds the problem once."""
    for key in HELDOUT_KEYS:
        if source.role != "heldout" and getattr(source, key) != type(source).model_fields[key].default:
            yield key, f'says how held-out problems are asked, but the role is "{source.role}"; leave {key} out'
    if source.limit_by != "first" and source.limit is None:
        yield "limit_by", "there is no limit to draw by the seed; add limit, or leave limit_by out"
    if source.prompt_template is not None and source.prompt_template.count("{problem}") != 1:
        yield "prompt_template", "must hold {problem} exactly once, where the problem's text goes; correct the template"


def difficulty(table: Difficulty) -> Iterator[Broken]:
    """Hard is below easy."""
    if table.hard > table.easy:
        yield Broken(("hard",), f"{table.hard:g} is above easy {table.easy:g}; lower hard or raise easy")


def vetting(table: Vetting) -> Iterator[Broken]:
    """The window is not empty."""
    if table.policy_low >= table.policy_high:
        text = f"{table.policy_low:g} is not below policy_high {table.policy_high:g}, so no problem would be left; "
        yield Broken(("policy_low",), text + "lower policy_low or raise policy_high")


def sft(table: Sft) -> Iterator[Broken]:
    """The learning rate does not rise."""
    if table.min_learning_rate > table.learning_rate:
        text = f"{table.min_learning_rate:g} is above learning_rate {table.learning_rate:g}; "
        yield Broken(("min_learning_rate",), text + "lower min_learning_rate or raise learning_rate")


def phase(table: Phase) -> Iterator[Broken]:
    """Names that fit a directory, domains, and updates no larger than an iteration."""
    if not PHASE_NAME.fullmatch(table.name):
        yield Broken(("name",), f'"{table.name}" cannot name a phase; use lower-case letters, digits and - only')
    if not table.domains:
        yield Broken(("domains",), f"the phase trains on nothing; write one or more of {', '.join(DOMAINS)}")
    for _, name in _repeated(list(table.domains)):
        yield Broken(("domains",), f'"{name}" is listed twice; name each domain once')
    if table.problems_per_update > table.problems_per_iteration:
        text = f"{table.problems_per_update} is more than the problems_per_iteration {table.problems_per_iteration}; "
        yield Broken(("problems_per_update",), text + "lower problems_per_update or raise problems_per_iteration")
    if getattr(table.objective, "sequence", False) and table.aggregation != "sequence_mean":
        text = (
            f'{table.objective.type} has one ratio per rollout, which "{table.aggregation}" would weigh by its length; '
        )
        yield Broken(("aggregation",), text + 'write aggregation = "sequence_mean", or choose another objective')


def verifiers(table: Verifiers) -> Iterator[Broken]:
    """Graders for domains that there are; and no demand on a box that no program runs in."""
    for domain, fault in grader_faults(table.graders):
        yield Broken(("graders", domain), fault)
    if "code" in table.graders and table.minimum_isolation != type(table).model_fields["minimum_isolation"].default:
        text = "programs run in no box of this machine, because graders.code says otherwise; leave one of the two out"
        yield Broken(("minimum_isolation",), text)


def band(low: float, high: float) -> Iterator[Broken]:
    """A band is not empty."""
    if low >= high:
        yield Broken(("low",), f"{low:g} is not below high {high:g}, so no token would count; lower low or raise high")


def rl(table: Rl) -> Iterator[Broken]:
    """At least one phase; each with its own name."""
    if not table.phase:
        yield Broken(("phase",), "there are no phases; add a [[rl.phase]] with a name and domains, or remove [rl]")
    for index, name in _repeated([item.name for item in table.phase]):
        yield Broken(("phase", index, "name"), f'a second phase is named "{name}"; give each its own name')


def recipe(whole: Recipe) -> Iterator[Broken]:
    """Rules between tables."""
    yield from _training(whole)
    yield from _sources(whole)
    yield from _checkpoints(whole)
    yield from _microbatch(whole)


def _training(whole: Recipe) -> Iterator[Broken]:
    if whole.model is None:
        for name in ("sft", "rl"):
            if getattr(whole, name) is not None:
                yield Broken((name,), f"[{name}] trains a model, but there is no [model]; add it, or remove [{name}]")
    elif whole.sft is None and whole.rl is None:
        yield Broken((), "there is neither [sft] nor [rl], so nothing would be trained; add at least one")


def _sources(whole: Recipe) -> Iterator[Broken]:
    sources = whole.data.source
    roles = {source.role for source in sources}
    for index, source in enumerate(sources):
        if source.path.startswith("world:") and whole.world is None:
            text = f"{source.path} is a file of the demo world, but there is no [world]; add [world] or name a file"
            yield Broken(("data", "source", index, "path"), text)
    if "heldout" not in roles and whole.model is not None:
        yield _no_source("heldout", "the final evaluation has no problems")
    if whole.sft is not None and "demonstrations" not in roles:
        yield _no_source("demonstrations", "[sft] has nothing to learn from", ", or remove [sft]")
    for index, item in enumerate(whole.rl.phase if whole.rl else ()):
        for domain in item.domains:
            if not any(source.role == "problems" and source.domain in (domain, None) for source in sources):
                text = f'no source has {domain} problems; add a [[data.source]] with role = "problems" and '
                path = ("rl", "phase", index, "domains")
                yield Broken(path, text + f'domain = "{domain}", or remove "{domain}" from domains')


def _checkpoints(whole: Recipe) -> Iterator[Broken]:
    kept = whole.checkpoints
    if kept.patience is not None and not kept.keep_best:
        text = "a run that stops early would hand on its last checkpoint, not its best; set keep_best = true"
        yield Broken(("checkpoints", "patience"), text + ", or remove patience")
    if kept.keep_best and not any(source.role == "validation" for source in whole.data.source):
        text = (
            'nothing says which checkpoint is best; add a [[data.source]] with role = "validation", or set it to false'
        )
        yield Broken(("checkpoints", "keep_best"), text)


def _microbatch(whole: Recipe) -> Iterator[Broken]:
    longest = {"sft.max_tokens": whole.sft.max_tokens} if whole.sft else {}
    for item in whole.rl.phase if whole.rl else ():
        key = f"rl.phase.{item.name}: max_prompt_tokens + max_completion_tokens"
        longest[key] = item.max_prompt_tokens + item.max_completion_tokens
    too_long = {key: tokens for key, tokens in longest.items() if tokens > whole.microbatch_tokens}
    if too_long:
        listed = ", ".join(f"{tokens} ({key})" for key, tokens in too_long.items())
        text = f"{whole.microbatch_tokens} tokens cannot hold the longest sequence the recipe allows, {listed}; "
        text += f"raise microbatch_tokens to {max(too_long.values())} or more, or lower those keys"
        yield Broken(("microbatch_tokens",), text)


def _no_source(role: str, consequence: str, otherwise: str = "") -> Broken:
    text = f'no source has role = "{role}": {consequence}; add a [[data.source]] with role = "{role}"{otherwise}'
    return Broken(("data", "source"), text)


def _repeated(names: list[str]) -> Iterator[tuple[int, str]]:
    """Index and name of every name that stood there before."""
    seen: Counter[str] = Counter()
    for index, name in enumerate(names):
        if seen[name] == 1:
            yield index, name
        seen[name] += 1
