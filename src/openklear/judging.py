"""The judge that a recipe asks for, opened in one place, which says aloud what programs are kept from here."""

from __future__ import annotations

from collections.abc import Collection
from functools import cache
from pathlib import Path

from openklear import progress
from openklear.recipe.schema import Verifiers
from openklear.verifiers.domains import DOMAINS
from openklear.verifiers.judge import Limits, LocalJudge


def open_judge(settings: Verifiers, journal: Path | None, domains: Collection[str]) -> LocalJudge:
    """A judge with the recipe's limits and graders; verdicts that a killed run left in `journal` are read back.

    Close it, or use it in a `with`. Raises VerifierError where `domains`, what it will be asked about, hold programs
    and the host has less isolation than `minimum_isolation`.
    """
    limits = Limits(
        settings.workers,
        settings.math_seconds,
        settings.code_seconds,
        settings.code_memory_mb,
        settings.minimum_isolation,
        settings.sandbox_url,
        settings.custom,
    )
    judge = LocalJudge(limits, journal=journal)
    for domain, name in limits.custom.items():
        if domain not in domains:
            continue
        _say_once(f"{domain} is graded by {name}, in worker processes without walls")
    if any(DOMAINS[name].runs_programs for name in domains):
        try:
            _say_walls(judge, limits)
        except BaseException:
            judge.close()
            raise
    return judge


def _say_walls(judge: LocalJudge, limits: Limits) -> None:
    if limits.sandbox_url is not None:
        _say_once(f"programs run on the server {limits.sandbox_url}")
    elif "code" not in limits.custom:
        isolation = judge.isolation()
        _say_once(f"programs run under {isolation.level!r}: {isolation.description}")


@cache
def _say_once(text: str) -> None:
    progress.say(text)
