"""TensorBoard, W&B, Trackio and Prometheus behind one function: every row of metrics.jsonl, by stage.

A tracker is a window, never a part of the run: it changes no result, and where it fails, hangs or is away the run says
so once and goes on without it. What was sent is noted beside the stage, so that a run that goes on after a kill sends
no row twice; a stage that runs anew gets a run of its own.
"""

from __future__ import annotations

import importlib.util
import os
import re
import secrets
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from openklear import progress
from openklear.durable.files import read_json, remove, write_json
from openklear.errors import UsageError
from openklear.recipe.schema import Recipe

PATIENCE = 60.0
"""Seconds that a tracker may take to open or to close."""
NOTES = "track.json"

Numbers = dict[str, float]


class Window(Protocol):
    """One tracker, open for one stage."""

    def log(self, numbers: Numbers, step: int) -> None:
        """Show a row."""
        ...

    def close(self, summary: Numbers) -> None:
        """Bring all to where it belongs, with the last figures."""
        ...


@dataclass(frozen=True, slots=True)
class Opening:
    """What a tracker is told of the stage that it shows."""

    project: str
    run: str
    stage: str
    identity: str
    """Of this attempt at the stage, and of those that go on with it."""
    fresh: bool
    """Nothing has been sent under this identity yet."""
    root: Path
    config: dict[str, Any]


def require_trackers(names: Sequence[str]) -> None:
    """UsageError where a tracker that the recipe names is not installed."""
    for name in names:
        if importlib.util.find_spec(PACKAGES.get(name, name)) is None:
            raise UsageError(
                f'track.to: {name} is not installed; run pip install "openklear[{name}]", or take it out of the list'
            )


class Tracker:
    """All trackers of a stage."""

    def __init__(self, windows: dict[str, Window], notes: Path, identity: str, sent: int):
        self._windows, self._notes, self._identity, self._sent = windows, notes, identity, sent
        self._last: Numbers = {}

    def log(self, row: Mapping[str, Any], step: int) -> None:
        """Send a row's numbers, unless one of this step or a later one has been sent."""
        if not self._windows:
            return
        self._last = numbers_of(row)
        if step <= self._sent:
            return
        self._sent = step
        write_json(self._notes, {"id": self._identity, "sent": step})  # first: rather a row lost than one doubled
        for name, window in list(self._windows.items()):
            self._dropped_where_it_fails(name, partial(window.log, self._last, step))

    def close(self) -> None:
        """Close all."""
        for name, window in list(self._windows.items()):
            self._dropped_where_it_fails(name, partial(bounded, partial(window.close, self._last)))

    def _dropped_where_it_fails(self, name: str, call: Callable[[], None]) -> None:
        try:
            call()
        except Exception as error:  # a tracker may raise anything; the run does not depend on it
            del self._windows[name]
            _say_lost(name, error)


@contextmanager
def run_tracker(recipe: Recipe, root: Path, stage: str, directory: Path) -> Iterator[Tracker]:
    """The recipe's trackers, open for a stage that works in `directory`; they are closed whatever ends it."""
    tracker = _opened(recipe, root, stage, directory)
    try:
        yield tracker
    finally:
        tracker.close()


def _opened(recipe: Recipe, root: Path, stage: str, directory: Path) -> Tracker:
    notes, windows = directory / NOTES, dict[str, Window]()
    if not recipe.track.to:
        return Tracker({}, notes, "", 0)
    known: dict[str, Any] = read_json(notes) if notes.is_file() else {"id": secrets.token_hex(4), "sent": 0}
    name = recipe.track.name or root.resolve().name
    config = recipe.model_dump(mode="json")
    opening = Opening(recipe.track.project, name, stage, known["id"], not known["sent"], root.resolve(), config)
    for kind in recipe.track.to:
        try:
            windows[kind] = bounded(partial(KINDS[kind], opening))
        except Exception as error:  # a tracker may raise anything; the run does not depend on it
            _say_lost(kind, error)
    return Tracker(windows, notes, known["id"], known["sent"])


def track_scores(recipe: Recipe, root: Path, directory: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """The scores of summary.json as a run of their own: a step for every model that was evaluated."""
    with run_tracker(recipe, root, "scores", directory) as tracker:
        for step, stage in enumerate(dict.fromkeys(row["stage"] for row in rows), start=1):
            mine = [row for row in rows if row["stage"] == stage]
            tracker.log({f"{row['benchmark']}/{row['domain']}/avg@{row['k']}": row["value"] for row in mine}, step)


def numbers_of(row: Mapping[str, Any]) -> Numbers:
    """The row's figures; no histograms, no texts, and not its own number, which is the step."""
    return {
        key: float(value)
        for key, value in row.items()
        if isinstance(value, int | float) and key not in ("step", "iteration")
    }


def _say_lost(name: str, error: Exception) -> None:
    progress.say_once(f"{name}: {type(error).__name__}: {error}; the run goes on without it")


@dataclass(slots=True)
class _Outcome:
    """What became of a call on another thread."""

    result: Any = None
    error: BaseException | None = None


def bounded(call: Callable[[], Any], seconds: float | None = None) -> Any:
    """The call's result; TimeoutError where it takes longer: it is then left alone."""
    made = _Outcome()

    def work() -> None:
        try:
            made.result = call()
        except BaseException as error:  # handed to the caller, whatever it is
            made.error = error

    thread = threading.Thread(target=work, daemon=True)
    limit = PATIENCE if seconds is None else seconds
    # What a tracker prints is no result of a command. Not in the thread: a call that hangs would keep stdout, which is
    # one for all threads, and hand back at some later moment what it had found.
    with redirect_stdout(sys.stderr):
        thread.start()
        thread.join(limit)
    if thread.is_alive():
        raise TimeoutError(f"no answer in {limit:g} s")
    if made.error is not None:
        raise RuntimeError(f"{type(made.error).__name__}: {made.error}") from made.error
    return made.result


class TensorBoard:
    """Event files in DIR/tensorboard/STAGE; `tensorboard --logdir DIR/tensorboard` shows them."""

    def __init__(self, opening: Opening):
        place = opening.root / "tensorboard" / opening.stage
        if opening.fresh:
            remove(place)  # of an attempt that a changed recipe replaced
        from torch.utils.tensorboard import SummaryWriter  # here, since it is an extra

        self._writer: Any = SummaryWriter(log_dir=str(place))
        if opening.fresh:
            self._writer.add_text("recipe", "\n".join(f"    {line}" for line in _listed(opening.config)))

    def log(self, numbers: Numbers, step: int) -> None:
        """On disk at once, so that a kill loses nothing."""
        for key, value in numbers.items():
            self._writer.add_scalar(key, value, step)
        self._writer.flush()

    def close(self, summary: Numbers) -> None:
        """The last row is there already."""
        self._writer.close()


class Wandb:
    """A run of Weights & Biases; WANDB_MODE=offline keeps it in DIR/wandb."""

    def __init__(self, opening: Opening):
        import wandb  # here, since it is an extra

        online = os.environ.get("WANDB_MODE", "online") == "online"
        if online and not wandb.api.api_key:  # it would ask on the terminal, and wait
            raise UsageError("nobody is logged in; run wandb login, or set WANDB_MODE=offline")
        self._run = wandb.init(
            project=opening.project,
            name=f"{opening.run}/{opening.stage}",
            group=opening.run,
            job_type=opening.stage,
            id=opening.identity,
            resume="allow",
            dir=str(opening.root),
            config=opening.config,
            reinit="create_new",
            settings=wandb.Settings(silent=True, console="off", init_timeout=PATIENCE),
        )

    def log(self, numbers: Numbers, step: int) -> None:
        """In the background."""
        self._run.log(numbers, step=step)

    def close(self, summary: Numbers) -> None:
        """Waits until all is sent."""
        self._run.summary.update(summary)
        self._run.finish()


class Trackio:
    """A run of Trackio, on this machine or in a Space (TRACKIO_SPACE_ID); `trackio show` shows it."""

    def __init__(self, opening: Opening):
        import trackio  # here, since it is an extra

        self._run = trackio.init(
            project=opening.project,
            name=f"{opening.run}/{opening.stage}-{opening.identity}",
            group=opening.run,
            config=opening.config,
            resume="allow",
            embed=False,
            auto_log_gpu=False,
        )

    def log(self, numbers: Numbers, step: int) -> None:
        """In the background."""
        self._run.log(numbers, step=step)

    def close(self, summary: Numbers) -> None:
        """Waits until all is written."""
        self._run.finish()


class Prometheus:
    """The newest row at http://HOST:PORT/metrics while the stage runs; OPENKLEAR_PROMETHEUS is HOST:PORT."""

    def __init__(self, opening: Opening):
        import prometheus_client  # here, since it is an extra

        address = os.environ.get(METRICS_ADDRESS, "127.0.0.1:9400")
        host, _, port = address.rpartition(":")
        if not port.isdecimal():
            raise UsageError(f"{METRICS_ADDRESS}={address}: write host:port, such as 0.0.0.0:9400")
        self._gauge = prometheus_client.Gauge
        self._registry = prometheus_client.CollectorRegistry()
        self._labels = {"run": opening.run, "stage": opening.stage}
        self._gauges: dict[str, Any] = {}
        self._server, self._thread = prometheus_client.start_http_server(
            int(port), host or "0.0.0.0", registry=self._registry
        )

    def log(self, numbers: Numbers, step: int) -> None:
        """In place of the row before; `openklear_row_timestamp_seconds` tells how old it is."""
        for key, value in {**numbers, "step": step, "row_timestamp_seconds": time.time()}.items():
            name = "openklear_" + re.sub(r"[^a-zA-Z0-9_]", "_", key)
            if name not in self._gauges:
                self._gauges[name] = self._gauge(name, key, self._labels, registry=self._registry)
            self._gauges[name].labels(**self._labels).set(value)

    def close(self, summary: Numbers) -> None:
        """The port is free for the next stage."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


METRICS_ADDRESS = "OPENKLEAR_PROMETHEUS"
PACKAGES = {"prometheus": "prometheus_client"}
"""Name of a tracker -> of its package, where they differ."""
KINDS: dict[str, Callable[[Opening], Window]] = {
    "tensorboard": TensorBoard,
    "wandb": Wandb,
    "trackio": Trackio,
    "prometheus": Prometheus,
}
"""Name in `track.to`, and of the extra -> the tracker."""


def _listed(table: Mapping[str, Any], above: str = "") -> Iterator[str]:
    for key, value in table.items():
        if isinstance(value, Mapping):
            yield from _listed(value, f"{above}{key}.")
        else:
            yield f"{above}{key} = {value}"
