"""Responses from a model directory, sampled in this process by the local engine."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from openklear.distill.ledger import Keep, Ledger, Wanted, failed_row, row_of
from openklear.distill.settings import Settings
from openklear.rollout.answers import Answer
from openklear.think import OPEN
from openklear.types import Completion, Problem, SampleRequest

if TYPE_CHECKING:
    from openklear.models.loading import LoadedModel

TASKS_AT_ONCE = 4096
"""Tasks handed to the engine in one call, which keeps their completions in memory."""


class _Spent(Exception):
    """The budget is used up; leaves the engine between two decoding steps."""


def sample_locally(tasks: Sequence[Wanted], settings: Settings, ledger: Ledger, keep: Keep) -> None:
    """Sample tasks until all are through or the budget is spent; each goes to `keep` as it ends.

    Raises ModelError where the directory cannot be used, EngineError where the engine fails.
    """
    from openklear.models.loading import load_model
    from openklear.recipe.engine import LocalEngine
    from openklear.rollout.open import open_sampler

    assert settings.local is not None, "asked for only where there is one"
    loaded = load_model(settings.local)
    engine = open_sampler(LocalEngine(slots=settings.concurrency), loaded)
    with suppress(_Spent):
        for start in range(0, len(tasks), TASKS_AT_ONCE):
            if ledger.spent:
                return
            _sample(engine, loaded, tasks[start : start + TASKS_AT_ONCE], settings, ledger, keep)


def _sample(
    engine: Any, loaded: LoadedModel, tasks: Sequence[Wanted], settings: Settings, ledger: Ledger, keep: Keep
) -> None:
    """Sample tasks in one call of the engine."""
    from openklear.models.chat import decode_completion

    problems = {task.problem.content_hash: task.problem for task in tasks}
    prompts = {name: _encoded(loaded, problem) for name, problem in problems.items()}
    positions = getattr(loaded.model.config, "max_position_embeddings", None)
    fitting, requests = [], []
    for task in tasks:
        ids, _ = prompts[task.problem.content_hash]
        if positions is not None and len(ids) >= positions:
            reason = f"the prompt has {len(ids)} tokens, and the model {positions} positions"
            keep(task, failed_row(task, reason, tries=1, seconds=0.0))
        else:
            key = task.random_key(settings.seed)
            requests.append(SampleRequest(ids, key, settings.max_tokens, settings.temperature, settings.top_p))
            fitting.append(task)

    def ended(index: int, made: Completion) -> None:
        task = fitting[index]
        ids, opened = prompts[task.problem.content_hash]
        text = decode_completion(loaded.tokenizer, made.token_ids, loaded.end_ids)
        tokens = len(ids), len(made.token_ids)
        answer = Answer(text, None, made.stop_reason.value, settings.teacher, *tokens, opened=opened)
        # Neither tries nor seconds are a completion's own here: all are decoded together.
        keep(task, row_of(task, answer, seed=task.random_key(settings.seed), tries=1, seconds=0.0))
        if ledger.spent:
            raise _Spent

    engine.sample(requests, on_completion=ended)


def _encoded(loaded: LoadedModel, problem: Problem) -> tuple[tuple[int, ...], bool]:
    """Token ids of the prompt, and whether the template already opens the thought."""
    from openklear.models.chat import encode_prompt, prompt_tail

    opened = prompt_tail(loaded.tokenizer, problem.prompt).rstrip().endswith(OPEN)
    return encode_prompt(loaded.tokenizer, problem.prompt), opened
