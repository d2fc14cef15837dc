"""Problems as the model is asked them: token ids, or the reason why one cannot be asked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from openklear.errors import RowRefused
from openklear.models.chat import encode_prompt, prompt_tail
from openklear.models.limits import OVER_POSITIONS
from openklear.models.tokenizer import Speaker
from openklear.rollout.wording import PLAIN, Wording
from openklear.types import Problem


@dataclass(frozen=True, slots=True)
class EncodedProblem:
    """A problem as the model sees it."""

    problem: Problem
    prompt_ids: tuple[int, ...]
    prompt_tail: str
    """Text after the user's turn; a template that opens `<think>` itself shows it here."""


def encode_problem(
    speaker: Speaker, problem: Problem, max_prompt_tokens: int, wording: Wording = PLAIN
) -> EncodedProblem:
    """The problem as the model sees it. RowRefused where the template does not take it or the prompt is too long."""
    prompt = wording.of(problem.prompt)
    ids = encode_prompt(speaker.tokenizer, prompt)
    if len(ids) > max_prompt_tokens:
        text = f"prompt of {len(ids)} tokens; max_prompt_tokens is {max_prompt_tokens}"
        raise RowRefused(text, f"prompt over max_prompt_tokens = {max_prompt_tokens}")
    if (fault := speaker.longest.prompt_fault(len(ids))) is not None:
        raise RowRefused(fault, OVER_POSITIONS)
    return EncodedProblem(problem, ids, prompt_tail(speaker.tokenizer, prompt))


def encode_problems(
    speaker: Speaker,
    problems: Sequence[Problem],
    max_prompt_tokens: int,
    wordings: Mapping[str, Wording] | None = None,
) -> tuple[list[EncodedProblem], list[tuple[Problem, str]]]:
    """Encode prompts; those that cannot be asked are returned apart with their reason, never cut."""
    kept: list[EncodedProblem] = []
    dropped: list[tuple[Problem, str]] = []
    for problem in problems:
        try:
            wording = (wordings or {}).get(problem.source, PLAIN)
            kept.append(encode_problem(speaker, problem, max_prompt_tokens, wording))
        except RowRefused as error:
            dropped.append((problem, str(error)))
    return kept, dropped
