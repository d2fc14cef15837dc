"""The stage `world`: the demo world's files, whole or not there, in `world/files`."""

from __future__ import annotations

from openklear import progress
from openklear.demo.world import write_world
from openklear.durable.files import whole_directory
from openklear.run.context import StageContext


def run(context: StageContext) -> None:
    """Write the demo world of the recipe into `files`; sources name its files as `world:NAME`."""
    world = context.recipe.world
    assert world is not None, "the pipeline plans this stage only for recipes with [world]"
    with progress.task("world", None, "files") as advance, whole_directory(context.directory / "files") as directory:
        write_world(directory, **world.model_dump())
        advance(sum(1 for path in directory.rglob("*") if path.is_file()))
