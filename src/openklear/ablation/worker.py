"""One stage of a study in a process of its own, forked from one that has torch loaded already."""

from __future__ import annotations

import os
import sys
import threading
import time
import traceback
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from multiprocessing import parent_process
from pathlib import Path

from openklear.ablation.design import StageWork
from openklear.durable import files
from openklear.errors import OpenKlearError, RunLocked
from openklear.run.fingerprint import difference, fingerprint

PRELOADED = ("openklear.ablation.preloaded",)
"""What the server of forks imports, once."""
ERROR, LOG = "error.txt", "log.txt"
"""In the work's directory: why it failed, and all that it said."""
SECONDS_FOR_LOCK = 30.0
"""How long the orphan of a killed study may take to notice, before its place is asked for again."""


@dataclass(frozen=True, slots=True)
class Order:
    """What a process is told to do."""

    work: StageWork
    root: Path
    """The work's directory; the stage's own is below it."""
    inputs: Mapping[str, Path]
    """Role -> directory of the finished stage that plays it."""


def carry_out(order: Order) -> None:
    """Run the stage; what it says goes to log.txt. The process ends with 1 where it failed, and error.txt says why."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    order.root.mkdir(parents=True, exist_ok=True)
    (order.root / ERROR).unlink(missing_ok=True)
    with open(order.root / LOG, "a", encoding="utf-8") as log:
        for descriptor in (1, 2):  # what its own processes say goes there too
            os.dup2(log.fileno(), descriptor)
    reason = _failure(order)
    if reason is not None:
        files.write_atomic(order.root / ERROR, reason)
        sys.exit(1)


def _end_with_parent() -> None:
    """A stage whose study was killed must not go on beside the next attempt at it."""
    study = parent_process()
    if study is not None:
        study.join()
        os._exit(1)


def _failure(order: Order) -> str | None:
    """The stage, run; why it failed, if it did. Anything may go wrong in it, and none of it stops the study."""
    try:
        _run(order)
    except OpenKlearError as error:
        print(error, file=sys.stderr)
        return str(error)
    except Exception as error:  # our own bug, or the machine's: the other runs go on
        traceback.print_exc()
        return f"{type(error).__name__}: {error}; the traceback is in its log"
    return None


def _run(order: Order) -> None:
    from openklear.run.pipeline import run_stage
    from openklear.run.record import settle
    from openklear.run.superseded import set_aside

    work, directory = order.work, order.root / order.work.stage.name
    with _lock(order.root), files.disk_errors(order.root):
        settle([directory])
        files.remove_partials(order.root)
        record = files.stage_record(directory)
        if record is not None and record["fingerprint"] != fingerprint(work.parts):
            # A run that someone continued in DIR/runs, with other keys, wrote through its link: its checkpoints are
            # no beginning of this stage.
            set_aside(directory, difference(record["parts"], work.parts))
        elif record is not None and record["state"] == "finished":  # by the orphan of a killed study, meanwhile
            return
        if work.stage.torch:
            from openklear.models.numerics import set_up

            set_up(work.recipe.threads, work.recipe.device)
        run_stage(work.stage, work.parts, work.recipe, order.root, order.inputs)


@contextmanager
def _lock(root: Path) -> Iterator[None]:
    """The lock of the work's directory; it is waited for while the orphan of a killed study has it."""
    ends = time.monotonic() + SECONDS_FOR_LOCK
    with ExitStack() as stack:
        while True:
            try:
                stack.enter_context(files.lock(root))
                break
            except RunLocked:
                if time.monotonic() > ends:
                    raise
                time.sleep(0.2)
        yield
