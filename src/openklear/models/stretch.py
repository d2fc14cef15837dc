"""A model whose positions are stretched by YaRN (Peng et al. 2023, arXiv 2309.00071): the same weights, another config.

Klear-Reasoner's 64K numbers are made so, with a factor of 2.5 (report, section 4).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from openklear.durable.files import write_json
from openklear.errors import ModelError


def stretched(directory: Path, factor: float, target: Path) -> Path:
    """Make `target` a model directory that links to the files of `directory`, with its positions times `factor`.

    ModelError where the model has no rotary positions, or has them stretched already in another way.
    """
    path = directory / "config.json"
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"{path}: cannot be read ({error}). Name a model directory.") from error
    rope: dict[str, Any] = dict(config.get("rope_parameters") or config.get("rope_scaling") or {})
    kind = rope.get("rope_type", rope.get("type", "default"))
    positions = config.get("max_position_embeddings")
    if kind != "default" or not isinstance(positions, int):
        raise ModelError(f"{directory}: has rotary positions of the kind {kind!r}; YaRN stretches plain ones.")
    rope |= {"rope_type": "yarn", "factor": factor, "original_max_position_embeddings": positions}
    rope.setdefault("rope_theta", config.get("rope_theta", 10000.0))
    config.pop("rope_scaling", None)
    target.mkdir(parents=True, exist_ok=True)
    for file in directory.iterdir():
        link = target / file.name
        if file.is_file() and file.name != "config.json":
            link.unlink(missing_ok=True)
            link.symlink_to(file.absolute())
    changed = {**config, "rope_parameters": rope, "max_position_embeddings": int(positions * factor)}
    write_json(target / "config.json", changed)
    return target
