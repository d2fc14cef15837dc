"""The judge that a recipe asks for, opened in one place, which says aloud what programs are kept from here."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from openklear import progress
from openklear.recipe.schema import Verifiers
from openklear.verifiers.judge import Limits, LocalJudge


def open_judge(settings: Verifiers, journal: Path) -> LocalJudge:
    """A judge with the recipe's limits; verdicts that a killed run left in `journal` are read back.

    Raises VerifierError where the host has less isolation than `minimum_isolation`. Close it, or use it in a `with`.
    """
    judge = LocalJudge(Limits(**settings.model_dump()), journal=journal)
    isolation = judge.isolation()
    _say_once(f"programs run under {isolation.level!r}: {isolation.description}")
    return judge


@cache
def _say_once(text: str) -> None:
    progress.say(text)
