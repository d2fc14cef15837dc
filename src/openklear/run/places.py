"""Whether a place in one schedule means something in another: it counts rows seen, in the order of the same rows.

Another size of batches goes on with the rows that were not seen. Other rows, or another order of them, have no place
to go on from. Fewer epochs or iterations than were done cannot be undone.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from openklear.durable.files import read_json
from openklear.durable.sealed import PLACE
from openklear.errors import UsageError
from openklear.run.fingerprint import flat
from openklear.run.plan import Stage

ORDER = {"sft": ("max_tokens", "overlong"), "rl": ("domains", "max_prompt_tokens")}
"""Kind of stage -> keys of its own that decide which rows there are; the seed decides their order."""


ADAPTERS = ("lora.rank", "lora.alpha", "lora.targets")
"""A checkpoint holds the adapters alone, and all weights where there are none."""


def why_no_place(stage: Stage, checkpoint: Path, old: Mapping[str, Any], new: Mapping[str, Any]) -> str | None:
    """The key by which the rows or their order are others; None where the place holds."""
    facts = read_json(checkpoint / PLACE)
    if "places" not in facts:
        return "its checkpoint, of an older version, does not say which rows it has seen"
    before, after = flat(old), flat(new)
    keys = ("seed", *(f"{_own(stage)}.{key}" for key in ORDER.get(stage.kind, ())))
    changed = [key for key in keys if before.get(key) != after.get(key)]
    if changed:
        return f"another {' and '.join(changed)} means other rows, or another order of them"
    if adapters := [key for key in ADAPTERS if before.get(key) != after.get(key)]:
        return f"another {' and '.join(adapters)} means that other weights are trained"
    if stage.kind == "rl" and _mixed(stage, before) != _mixed(stage, after):
        return f"{_own(stage)}.mix draws from other domains by themselves"
    return None


def require_place(stage: Stage, checkpoint: Path, old: Mapping[str, Any], new: Mapping[str, Any]) -> None:
    """UsageError where nothing would be left to train: what was done is as long as the new schedule, or longer."""
    facts = read_json(checkpoint / PLACE)
    key = f"{_own(stage)}.{'epochs' if stage.kind == 'sft' else 'iterations'}"
    before, wanted = flat(old).get(key), flat(new).get(key)
    if wanted is None or before is None or wanted >= before:
        return
    place = facts["places"].get("", {"epoch": 0})
    done = place["epoch"] if stage.kind == "sft" else facts["at"]
    if done >= wanted:
        unit = key.rpartition(".")[2]
        raise UsageError(
            f"{stage.name}: {unit} done in {checkpoint}: {done}, so {key} = {wanted} (it was {before}) leaves "
            f"nothing to train, with a model from the middle of a schedule of {before}. Write more than {done}, or "
            "train the stage anew in a run directory of its own, without --fork"
        )


def _own(stage: Stage) -> str:
    return "sft" if stage.kind == "sft" else f"rl.phase.{stage.name.removeprefix('rl-')}"


def _mixed(stage: Stage, recipe: Mapping[str, Any]) -> set[str]:
    """The domains that have orders of their own."""
    prefix = f"{_own(stage)}.mix."
    return {key.removeprefix(prefix) for key in recipe if key.startswith(prefix)}
