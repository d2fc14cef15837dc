"""The stage `card`: the data card of what `prepare` left, beside a copy of its funnel, where people look first."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from openklear.data.store import prepared
from openklear.durable.files import read_json, stage_record, write_json
from openklear.recipe.curation import Source
from openklear.recipe.schema import Recipe
from openklear.reporting.card import write_card
from openklear.run.context import StageContext


def run(context: StageContext) -> None:
    """Write data-card.md, data-card.html and funnel.json into the run directory."""
    paths = prepared(context.inputs["prepare"])
    record = stage_record(context.inputs["prepare"]) or {}
    write_card(paths, facts(context.recipe, record, read_json(paths.steps)), context.root)
    write_json(context.root / "funnel.json", read_json(paths.funnel))


def facts(recipe: Recipe, record: dict[str, Any], steps: list[dict[str, Any]]) -> dict[str, Any]:
    """What the card says of the recipe: its sources with the hashes of their contents, and the steps."""
    hashes = record.get("parts", {}).get("inputs", {})
    sources = [_source_facts(source, hashes) for source in recipe.data.source]
    return {"seed": recipe.seed_of("data"), "sources": sources, "steps": steps}


def _source_facts(source: Source, hashes: Mapping[str, str]) -> dict[str, Any]:
    mine = {name: text for name, text in hashes.items() if name.split("/")[0] == f"data {source.name}"}
    return {**source.model_dump(include={"name", "path", "role", "domain", "licence"}), "hash": mine}
