"""How many rows, problems and tokens a recipe will go through: what a plan is made from besides the recipe."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from openklear.recipe.schema import Phase, Recipe


@dataclass(frozen=True, slots=True)
class RowCount:
    """Rows of one kind: how many, and the mean tokens of a prompt and a response."""

    number: int = 0
    prompt: float = 0.0
    response: float = 0.0
    longest: int | None = None
    """Tokens of the longest that was looked at; None: none was."""


@dataclass(frozen=True, slots=True)
class Amounts:
    """Of all sources together. Zero rows: not known."""

    demonstrations: RowCount = RowCount()
    problems: Mapping[str, RowCount] = field(default_factory=dict)
    """Domain -> RL's problems."""
    validation: Mapping[str, RowCount] = field(default_factory=dict)
    heldout: RowCount = RowCount()
    completions: int = 0
    """Of one evaluation."""
    code: float = 0.0
    """Share of those that are programs."""
    length: float | None = None
    """Tokens of a completion on average, where the user says so, or nothing else does."""
    told: bool = True
    """Whether it was the user."""
    unknown: tuple[str, ...] = ()
    """Sources whose rows cannot be counted yet."""
    exact: bool = False
    """Counted after curation; else before it, from the first rows of each source."""

    def completion(self, most: int) -> float:
        """Tokens of a sampled completion of at most so many, on average."""
        if self.length is not None:
            return min(self.length, float(most))
        return min(self.demonstrations.response or float(most), float(most))

    def said(self) -> str:
        """Where the length of completions comes from."""
        if self.length is not None and not self.told:
            return (
                f"completions are taken to have {self.length:,.0f} tokens on average, half of the longest, as nothing "
                "says how long they are (--completion-tokens does)"
            )
        if self.length is not None:
            return f"completions are taken to have {self.length:,.0f} tokens on average, as told"
        if self.demonstrations.response:
            return f"completions are taken to be as long as demonstrations, {self.demonstrations.response:,.0f} tokens"
        return "completions are taken to be as long as they may be; say how long with --completion-tokens"

    def prompts(self, phase: Phase) -> float:
        """Mean tokens of a prompt of the phase's problems; a quarter of the longest where none is known."""
        rows = [self.problems[name] for name in phase.domains if name in self.problems]
        number = sum(one.number for one in rows)
        if not number:
            return phase.max_prompt_tokens / 4
        return sum(one.number * one.prompt for one in rows) / number

    def validated(self, recipe: Recipe, phase: Phase | None) -> tuple[int, float]:
        """(completions of one validation of the phase, None: of SFT; mean tokens of their prompts)."""
        chosen = [rows for name, rows in self.validation.items() if phase is None or name in phase.domains]
        number = sum(one.number for one in chosen)
        prompt = sum(one.number * one.prompt for one in chosen) / max(number, 1)
        return number * recipe.evaluation.validation_samples, prompt
