"""Responses from a model directory, sampled in this process by the local engine."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from openklear.distill.answers import Answer, one_form
from openklear.distill.ledger import Ledger, Wanted, failed_row, row_of
from openklear.distill.settings import Settings
from openklear.think import OPEN
from openklear.types import Completion, Problem, SampleRequest, StopReason

if TYPE_CHECKING:
    from openklear.models.loading import LoadedModel

TASKS_AT_ONCE = 4096
"""Tasks handed to the engine in one call, which keeps their completions in memory."""

Keep = Callable[[Wanted, dict[str, Any]], None]


class _Spent(Exception):
    """The budget is used up; leaves the engine between two decoding steps."""


def weights_of(directory: Path) -> str:
    """The hash of the model's weights. ModelError where there are none."""
    from openklear.models.loading import weights_hash

    return weights_hash(directory)


def sample_locally(tasks: Sequence[Wanted], settings: Settings, ledger: Ledger, keep: Keep) -> None:
    """Sample tasks until all are through or the budget is spent; each goes to `keep` as it ends.

    Raises ModelError where the directory cannot be used, EngineError where the engine fails.
    """
    from openklear.models.loading import load_model
    from openklear.recipe.schema import LocalEngine
    from openklear.rollout.open import open_sampler

    assert settings.local is not None, "asked for only where there is one"
    loaded = load_model(settings.local)
    engine = open_sampler(LocalEngine(slots=settings.concurrency), loaded)
    with suppress(_Spent):
        for start in range(0, len(tasks), TASKS_AT_ONCE):
            _Chunk(loaded, settings, ledger, keep).sample(engine, tasks[start : start + TASKS_AT_ONCE])


class _Chunk:
    """Tasks that are sampled in one call of the engine."""

    def __init__(self, loaded: LoadedModel, settings: Settings, ledger: Ledger, keep: Keep):
        self._loaded, self._settings, self._ledger, self._keep = loaded, settings, ledger, keep
        self._prompts: dict[str, tuple[tuple[int, ...], bool]] = {}

    def sample(self, engine: Any, tasks: Sequence[Wanted]) -> None:
        self._require_budget()
        positions = getattr(self._loaded.model.config, "max_position_embeddings", None)
        fitting: list[Wanted] = []
        for task in tasks:
            length = len(self._prompt(task.problem)[0])
            if positions is not None and length >= positions:
                reason = f"the prompt has {length} tokens, and the model {positions} positions"
                self._keep(task, failed_row(task, reason, tries=1, seconds=0.0))
            else:
                fitting.append(task)
        requests = [self._request(task) for task in fitting]
        engine.sample(requests, on_completion=lambda index, made: self._ended(fitting[index], made))

    def _request(self, task: Wanted) -> SampleRequest:
        settings = self._settings
        ids = self._prompt(task.problem)[0]
        key = task.random_key(settings.seed)
        return SampleRequest(ids, key, settings.max_tokens, settings.temperature, settings.top_p)

    def _ended(self, task: Wanted, made: Completion) -> None:
        from openklear.models.chat import decode_completion

        ids, opened = self._prompt(task.problem)
        text = decode_completion(self._loaded.tokenizer, made.token_ids, self._loaded.end_ids)
        cut = made.stop_reason is StopReason.LENGTH
        answer = Answer(text, None, made.stop_reason.value, self._settings.teacher, len(ids), len(made.token_ids))
        response = one_form(text, None, cut=cut, opened=opened)
        # Neither tries nor seconds are a completion's own here: all are decoded together.
        self._keep(
            task,
            row_of(task, answer, seed=task.random_key(self._settings.seed), tries=1, seconds=0.0, response=response),
        )
        self._require_budget()

    def _require_budget(self) -> None:
        budget = self._settings.budget_tokens
        if budget is not None and self._ledger.tokens >= budget:
            raise _Spent

    def _prompt(self, problem: Problem) -> tuple[tuple[int, ...], bool]:
        """Token ids, and whether the template already opens the thought."""
        from openklear.models.chat import encode_prompt, prompt_tail

        known = self._prompts.get(problem.content_hash)
        if known is None:
            tokenizer = self._loaded.tokenizer
            opened = prompt_tail(tokenizer, problem.prompt).rstrip().endswith(OPEN)
            known = encode_prompt(tokenizer, problem.prompt), opened
            self._prompts[problem.content_hash] = known
        return known
