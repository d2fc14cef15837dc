"""The recipe's [data]: what is read, and the curation policy (report, section 2.1). A step whose table is left out is
skipped."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field

from openklear.recipe.numbers import Count, Rows
from openklear.recipe.section import Above, Broken, DomainName, Positive, Section, Share, repeated

Role = Literal["demonstrations", "problems", "validation", "heldout", "benchmark"]
Reasoning = Literal["think", "auto", "openthoughts", "s1", "closing", "plain", "boxed"]

SOURCE_NAME = re.compile(r"[\w-]+")
WORDING_KEYS = ("system_prompt", "prompt_suffix")
"""Keys of a source that say in which words its problems are put to the model."""
HELDOUT_KEYS = ("samples", "prompt_template")
"""Keys of a source that only say how held-out problems are asked in the evaluation."""
LIMIT_KEYS = ("limit", "limit_by")
"""Keys that cut a source when it is read; a held-out one when its problems are asked."""
DEFAULT_LEVELS = ("1",)
LABELS = ("easy", "medium", "hard")
"""Levels that [data.difficulty] gives."""
RESPONSES = (("difficulty", "responses"), ("vetting", "responses"), ("vetting", "policy_responses"))
"""Tables of [data], and their keys that name a directory of graded responses."""
FEWEST_NGRAMS = 4
"""Three words in a row are shared by unrelated prompts ("what is the"); decontamination would drop most rows."""


class Source(Section):
    """A file of rows; its columns tell its shape (messages, ShareGPT, prompt + answer or tests)."""

    paths = ("path",)
    name: str = Field(description="name in the funnel and the reports")
    path: str = Field(
        description="file, directory or glob of JSONL, JSON, CSV or Parquet; hub:OWNER/NAME is a data set of the hub, "
        "world:NAME a file of the demo world"
    )
    role: Role = Field(
        description="SFT rows, RL problems, problems that choose the best checkpoint, problems of the final "
        "evaluation, or a benchmark that is only used to clean the training rows"
    )
    domain: DomainName | None = Field(None, description="domain of the rows, for files without a `domain` column")
    columns: dict[str, str] = Field(
        {}, description="our column -> the file's, for a shape that is unknown: { response = 'solution' }"
    )
    reasoning: Reasoning = Field(
        "think", description="how responses mark their reasoning; it becomes <think>...</think> and an answer"
    )
    weight: Above = Field(1.0, description="share in the mixture, relative to the other sources")
    licence: str | None = Field(None, description="licence of the source, as the data card states it")
    samples: Positive | None = Field(
        None, description="held-out sources: completions per problem, k of avg@k; if not set, evaluation.samples"
    )
    split: str | None = Field(
        None,
        description='split of a directory or a data set of the hub, or "all" for every file; if not set, train for '
        "demonstrations and problems, validation for validation, test for held-out sources and benchmarks",
    )
    limit: Rows | None = Field(
        None,
        description="read at most this many rows of the files; held-out sources: ask at most this many problems, while "
        "all of them clean the training rows",
    )
    limit_by: Literal["first", "seed"] = Field(
        "first", description="the first rows of the files, or a draw by the recipe's seed"
    )
    system_prompt: str | None = Field(
        None, description="a system turn before the prompt where a problem is asked or a demonstration trained"
    )
    prompt_suffix: str | None = Field(
        None, description='a line after the prompt there: "Put the answer in \\\\boxed{}."; curation does not see it'
    )
    prompt_template: str | None = Field(
        None, description="held-out sources: the question, with {problem} in place of the problem's text"
    )

    @property
    def drawn(self) -> bool:
        """Whether the seed chooses the rows that are read."""
        return self.limit is not None and self.limit_by == "seed" and self.role != "heldout"


def asking_keys(role: str) -> tuple[str, ...]:
    """The keys of a source of this role that change no curated row: they say how its problems are asked."""
    return (*WORDING_KEYS, *HELDOUT_KEYS, *(LIMIT_KEYS if role == "heldout" else ()))


class NearDuplicates(Section):
    """MinHash over word 3-grams of the prompts, verified; the copy of the better source stays."""

    threshold: Annotated[float, Field(ge=0.5, le=1.0)] = Field(
        0.9, description="least Jaccard similarity of near duplicates"
    )


class Ngrams(Section):
    """The report's rule: a number of words in a row."""

    type: Literal["ngrams"] = Field("ngrams", description="words in a row, as published")
    length: Annotated[int, Field(ge=0, le=1000)] = Field(
        9, description="drop a training prompt that shares this many words in a row; 0 drops only equal prompts"
    )


class Weighted(Section):
    """Rare words in a row count more than stock phrases; see docs/curation.md."""

    type: Literal["weighted"] = Field("weighted", description="by an item's rare words, and its numbers")


class Lengths(Section):
    """Limits in characters; what is not set is not limited."""

    min_prompt: Rows | None = Field(None, description="shortest prompt in characters")
    max_prompt: Rows | None = Field(None, description="longest prompt in characters")
    max_response: Rows | None = Field(None, description="longest response in characters")


class Difficulty(Section):
    """Labels from the pass rate of a reference model, in place of the sources' levels."""

    at_most = ("hard", "easy")
    paths = ("responses",)
    responses: str = Field(
        description="output of `openklear distill`: the model's graded responses; world:responses, with world.responses"
    )
    easy: Share = Field(0.75, description="problems with at least this pass rate are easy")
    hard: Share = Field(0.25, description="problems below this pass rate are hard; those between are medium")


class Vetting(Section):
    """What an RL problem must pass (report, section 2.2)."""

    below = ("policy_low", "policy_high")
    paths = ("responses", "policy_responses")
    min_tests: Count = Field(16, description="a code problem needs at least this many tests")
    check_solutions: bool = Field(
        True, description="run the sources' own solutions, and drop tests or problems that they fail"
    )
    responses: str | None = Field(
        None, description="output of `openklear distill` with a teacher; world:responses, with world.responses"
    )
    code_pass_rate: Share = Field(0.5, description="the teacher must pass more than this share of the tests")
    policy_responses: str | None = Field(None, description="output of `openklear distill` with the policy")
    policy_low: Share = Field(0.0, description="keep problems with a pass rate of the policy above this")
    policy_high: Share = Field(1.0, description="keep problems with a pass rate of the policy below this")


class Selection(Section):
    """K-Center Greedy (Sener and Savarese 2018): the prompts that cover the set best."""

    paths = ("embedding",)
    budget: Rows = Field(description="rows to keep (report: 31,600 in the top-K study)")
    embedding: str = Field("tfidf", description="tfidf, or the directory of a sentence-embedding model")


class Local(Section):
    """Daft's own engine on this machine."""

    type: Literal["local"] = Field("local", description="on this machine")


class RayCluster(Section):
    """A Ray cluster whose nodes see the run directory and the sources under the same paths."""

    type: Literal["ray"] = Field("ray", description="on a Ray cluster")
    address: str | None = Field(
        None, description='host:port, "auto" or "local" (a new one here); not set means auto, or local if there is none'
    )


class Data(Section):
    """What is read, and the curation policy (report, section 2.1)."""

    source: tuple[Source, ...] = Field(
        description="the files; demonstrations best first: of equal rows the first stays"
    )
    top_sources: Positive | None = Field(None, description="use only the first K demonstration sources (Tables 4, 5)")
    domains: tuple[DomainName, ...] = Field((), description="keep demonstrations of these alone; empty keeps all")
    normalise: bool = Field(True, description="bring prompts to composed Unicode, plain line ends and no outer blanks")
    deduplicate: bool = Field(True, description="drop repeated prompts (RL) and repeated demonstrations (SFT)")
    near_duplicates: NearDuplicates | None = Field(None, description="drop prompts that are near copies of another")
    decontaminate: Annotated[Ngrams | Weighted, Field(discriminator="type")] = Field(
        Ngrams(), description="drop training prompts that occur in an evaluation set or a benchmark"
    )
    lengths: Lengths | None = Field(None, description="limits in characters")
    languages: tuple[str, ...] = Field((), description="ISO 639-1 codes of the languages to keep; empty keeps all")
    require_format: bool = Field(True, description="drop demonstrations without one <think>...</think> and an answer")
    drop_broken: bool = Field(
        False, description="drop demonstrations whose reasoning repeats itself, breaks off or ends without an answer"
    )
    difficulty: Difficulty | None = Field(None, description="label problems easy, medium or hard")
    levels: tuple[str, ...] = Field(
        (),
        description="keep demonstrations of these levels alone (Table 2: the easy or the hard ones); empty keeps all",
    )
    correct_only: tuple[str, ...] = Field(
        DEFAULT_LEVELS,
        description='levels of which wrong demonstrations are dropped (Table 2: the easy ones); ["*"] means all',
    )
    vetting: Vetting | None = Field(None, description="what an RL problem must pass")
    selection: Selection | None = Field(None, description="keep a subset of demonstrations that covers the whole")
    mixture_rows: Rows | None = Field(
        None, description="mix the sources' demonstrations by their weights to this many rows, drawn by the seed"
    )
    engine: Annotated[Local | RayCluster, Field(discriminator="type")] = Field(
        Local(), description="where rows are processed; it changes no result"
    )

    def broken_rules(self) -> Iterator[Broken]:
        """Names of sources, a sensible decontamination, and `*` alone."""
        for index, name in repeated([source.name for source in self.source]):
            yield Broken(("source", index, "name"), f'a second source is named "{name}"; give each its own name')
        for index, source in enumerate(self.source):
            if not SOURCE_NAME.fullmatch(source.name):
                text = f'"{source.name}" cannot name a source; use letters, digits, - and _ only'
                yield Broken(("source", index, "name"), text)
            for key, message in _source_faults(source):
                yield Broken(("source", index, key), message)
        length = getattr(self.decontaminate, "length", 0)
        if 0 < length < FEWEST_NGRAMS:
            text = f"{length} words in a row are shared by unrelated prompts; "
            yield Broken(("decontaminate", "length"), text + f"write {FEWEST_NGRAMS} or more, or 0 to turn it off")
        if "*" in self.correct_only and len(self.correct_only) > 1:
            yield Broken(("correct_only",), '"*" already means every level; write ["*"], or name the levels without it')
        more = {"levels": (), "correct_only": ("*", *DEFAULT_LEVELS)}
        for key in more if self.difficulty is not None else ():
            if odd := set(getattr(self, key)) - {*LABELS, *more[key]}:
                text = f"{', '.join(sorted(odd))} is no level that [data.difficulty] gives; they are "
                yield Broken((key,), text + ", ".join(LABELS))


def _source_faults(source: Source) -> Iterator[tuple[str, str]]:
    """How problems are asked is for held-out sources to say, and a template holds the problem once."""
    for key in HELDOUT_KEYS:
        if source.role != "heldout" and getattr(source, key) != type(source).model_fields[key].default:
            yield key, f'says how held-out problems are asked, but the role is "{source.role}"; leave {key} out'
    for key in WORDING_KEYS:
        text = getattr(source, key)
        if text is not None and source.role == "benchmark":
            yield key, f"a benchmark is never asked; leave {key} out"
        elif text is not None and not text.strip():
            yield key, f"says nothing; write a text, or leave {key} out"
    if source.prompt_suffix is not None and source.prompt_template is not None:
        yield "prompt_suffix", "prompt_template already says how the question is worded; put the text there"
    if source.limit_by != "first" and source.limit is None:
        yield "limit_by", "there is no limit to draw by the seed; add limit, or leave limit_by out"
    if source.split is not None and source.path.startswith("world:"):
        yield "split", f"{source.path} is one file, which has no splits; leave split out"
    if source.prompt_template is not None and source.prompt_template.count("{problem}") != 1:
        yield "prompt_template", "must hold {problem} exactly once, where the problem's text goes; correct the template"
