"""A phase of RL as the page shows it: its iterations, an iteration's groups, one rollout token by token."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from openklear.data.store import prepared
from openklear.durable.files import read_whole_jsonl
from openklear.errors import DataError, OpenKlearError
from openklear.recipe.load import load_recipe
from openklear.recipe.schema import Phase, Recipe
from openklear.reporting.band import band_at, kind_of
from openklear.reporting.texts import short, visible
from openklear.reporting.viewer.details import known_problems, messages, parts
from openklear.types import Problem

CURVES = ("reward", "accuracy", "length_mean", "no_eos", "zero_advantage", "bounded_tokens", "entropy", "kl_k1")
"""What is shown of each iteration; see docs/metrics.md."""
_BATCH = 32
"""Rollouts that are in memory at once."""
_UNFINISHED, _LONGEST = "\ufffd", 8
"""How a decoder shows bytes that are no character (yet), and for how many tokens one is waited for."""
_FACTS = ("group", "problem_id", "sample_index", "outcome", "reason", "reward", "advantage", "stop_reason", "extracted")
_INSIDE, _HIGH, _LOW, _NEAR = "", "high", "low", "near"
_LETTERS = {_INSIDE: ".", _HIGH: "h", _LOW: "l", _NEAR: "n"}


class PhaseView:
    """One stage rl-NAME, read as it is asked about."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._lock = Lock()
        self._weights: tuple[str, Any] | None = None
        self._spoken: tuple[str, Any] | None = None

    def overview(self) -> dict[str, Any]:
        """Its iterations: the figures of each, and which of them have their rollouts still."""
        rows = [row for row in read_whole_jsonl(self.directory / "metrics.jsonl") if "iteration" in row]
        kept = self.kept()
        phase = self.phase()
        curves: dict[str, list[Any]] = {name: [] for name in CURVES}
        for row in rows:
            for name, values in curves.items():
                values.append(row.get(name))
        return {
            "iterations": [row["iteration"] for row in rows],
            "curves": curves,
            "kept": kept,
            "weights": [number for number in kept if self._checkpoint(number) is not None],
            "objective": phase.objective.type if phase else None,
            "band": None if phase is None else band_at(phase),
        }

    def kept(self) -> list[int]:
        """The iterations whose rollouts are on disk."""
        found = self.directory.glob("iterations/*/rollouts.parquet")
        return sorted(int(path.parent.name) for path in found if path.parent.name.isdigit())

    def iteration(self, number: int) -> dict[str, Any]:
        """The groups of an iteration, each rollout with its reward and advantage; texts are asked for one by one."""
        rows = []
        for batch in _batches(self._record(number), [*_FACTS, "token_ids"]):
            lengths = pc.list_value_length(batch.column("token_ids")).to_pylist()
            facts = batch.select(list(_FACTS)).to_pylist()
            rows += [{**row, "tokens": length} for row, length in zip(facts, lengths, strict=True)]
        problems = self._problems(sorted({row["problem_id"] for row in rows}))
        groups: dict[int, dict[str, Any]] = {}
        for row in rows:
            found = problems.get(row["problem_id"])
            group = groups.setdefault(row["group"], _group(row["group"], row["problem_id"], found))
            group["rollouts"].append(_facts(row))
        return {"number": number, "groups": [groups[key] for key in sorted(groups)]}

    def rollout(self, number: int, group: int, sample: int) -> dict[str, Any]:
        """One rollout: its text, and its tokens with the ratio of the policy before the updates to what sampled it."""
        row = self._row(number, group, sample)
        problem = self._problems([row["problem_id"]]).get(row["problem_id"])
        prompt = messages(problem.prompt) if problem else []
        reference = problem.answer if problem else None
        tokens = self._tokens(row["token_ids"])
        before = row["old_logprobs"]
        ratios = None if before is None else _ratios(before, row["logprobs"])
        return {
            **_facts(row),
            "problem": visible(row["problem_id"]),
            "prompt": prompt,
            "reference": None if reference is None else visible(reference),
            "reward_parts": row["reward_parts"],
            "format_fault": row["format_fault"],
            "passed": row["passed"],
            "total": row["total"],
            "policy_version": row["policy_version"],
            "parts": parts(row["text"]),
            "tokens": tokens,
            "logprobs": _rounded(row["logprobs"]),
            "before": self._kinds(ratios, row["advantage"]),
            "has_weights": self._checkpoint(number) is not None,
        }

    def clip(self, number: int, group: int, sample: int) -> dict[str, Any]:
        """Where the clip acts on a rollout under the weights after its iteration's updates; loads them.

        DataError where the weights or the recipe are not there, or the rollout was in no update.
        """
        from openklear.reporting.tokens import logprobs_of

        phase, checkpoint, recipe = self.phase(), self._checkpoint(number), self.recipe()
        row = self._row(number, group, sample)
        if row["old_logprobs"] is None:
            raise DataError(f"rollout {sample} of group {group} was in no update, so no clip acted on it")
        if recipe is None or phase is None or checkpoint is None:
            raise DataError(f"{self.directory}: the weights after iteration {number} are not on disk any more")
        with self._lock:
            loaded, room = self._loaded(checkpoint, recipe)
            (new,) = logprobs_of(loaded, [(row["prompt_ids"], row["token_ids"])], phase, room)
        return {"after": self._kinds(_ratios(new, row["old_logprobs"]), row["advantage"])}

    def recipe(self) -> Recipe | None:
        """The run's; None where it is absent, or of another version."""
        try:
            return load_recipe(self.directory.parent / "recipe.toml")
        except (OpenKlearError, OSError):
            return None

    def phase(self) -> Phase | None:
        """Of the recipe."""
        recipe = self.recipe()
        phases = recipe.rl.phase if recipe is not None and recipe.rl is not None else ()
        return next((one for one in phases if f"rl-{one.name}" == self.directory.name), None)

    def _kinds(self, ratios: np.ndarray | None, advantage: float | None) -> dict[str, Any] | None:
        """A letter a token: h, l where the clip acts above or below the band, n outside it elsewhere."""
        phase = self.phase()
        band = None if phase is None else band_at(phase)
        if ratios is None or band is None or advantage is None:
            return None
        letters = [_LETTERS[kind_of(ratio, advantage, *band)] for ratio in ratios.tolist()]
        return {"kinds": "".join(letters), "ratios": _rounded(ratios)}

    def _loaded(self, checkpoint: Path, recipe: Recipe) -> tuple[Any, int]:
        from openklear.reporting.tokens import open_weights
        from openklear.training.sizes import resolved

        if self._weights is None or self._weights[0] != str(checkpoint):
            self._weights = None  # the old ones go first
            loaded = open_weights(checkpoint, recipe, self._start(recipe))
            self._weights = str(checkpoint), (loaded, resolved(recipe, loaded).microbatch_tokens)
        found: tuple[Any, int] = self._weights[1]
        return found

    def _start(self, recipe: Recipe) -> Path:
        """The stage whose model the phase began with."""
        root, names = self.directory.parent, [one.name for one in recipe.rl.phase] if recipe.rl else []
        place = names.index(self.directory.name.removeprefix("rl-"))
        if place:
            return root / f"rl-{names[place - 1]}"
        return root / ("base" if recipe.sft is None else "sft")

    def _checkpoint(self, number: int) -> Path | None:
        path = self.directory / "checkpoints" / f"{number:06d}"
        return path if (path / "place.json").is_file() else None

    def _record(self, number: int) -> Path:
        path = self.directory / "iterations" / f"{number:06d}" / "rollouts.parquet"
        if not path.is_file():
            raise DataError(f"{path}: these rollouts are not on disk (any more); look at another iteration")
        return path

    def _row(self, number: int, group: int, sample: int) -> dict[str, Any]:
        path = self._record(number)
        for batch in _batches(path, None):
            for index in range(batch.num_rows):
                if batch.column("group")[index].as_py() == group:
                    row = batch.slice(index, 1)
                    if row.column("sample_index")[0].as_py() == sample:
                        return _plain(row)
        raise DataError(f"{path}: has no rollout {sample} in group {group}; reload the page")

    def _problems(self, ids: Sequence[str]) -> dict[str, Problem]:
        return known_problems(prepared(self.directory.parent / "prepare").problems, ids)

    def _tokens(self, ids: np.ndarray) -> list[str] | None:
        """Each token as text; None where no tokenizer is on disk."""
        from tokenizers import Tokenizer

        places = [self.directory / "model", *sorted(self.directory.glob("checkpoints/*"), reverse=True)]
        path = next((one / "tokenizer.json" for one in places if (one / "tokenizer.json").is_file()), None)
        if path is None:
            return None
        if self._spoken is None or self._spoken[0] != str(path):
            try:
                self._spoken = str(path), Tokenizer.from_file(str(path))
            except Exception:  # trust boundary: the library raises a bare Exception; the text is shown without tokens
                return None
        decode = self._spoken[1].decode
        return spelled(ids.tolist(), lambda some: str(decode(some, skip_special_tokens=False)))


def spelled(ids: Sequence[int], decode: Callable[[Sequence[int]], str]) -> list[str]:
    """What each token adds to the text; a character of several tokens stands at its last one."""
    found, begin, done = [], 0, 0  # what begins at `begin` and ends before `done` has been told; the rest follows it
    for place in range(len(ids)):
        told, now = decode(ids[begin:done]), decode(ids[begin : place + 1])
        if now.endswith(_UNFINISHED) and place - done < _LONGEST and place + 1 < len(ids):
            found.append("")
            continue
        found.append(visible(now[len(told) :]))
        begin, done = done, place + 1
    return found


def _batches(path: Path, columns: list[str] | None) -> Iterator[pa.RecordBatch]:
    try:
        yield from pq.ParquetFile(path).iter_batches(batch_size=_BATCH, columns=columns)
    except (pa.ArrowException, OSError, KeyError) as error:
        raise DataError(f"{path}: cannot be read: {error}; the run makes it again, or look at another one") from error


def _plain(row: pa.RecordBatch) -> dict[str, Any]:
    """One row, with numpy arrays for lists."""
    found: dict[str, Any] = {}
    for name, column in zip(row.schema.names, row.columns, strict=True):
        value = column[0]
        is_list = pa.types.is_large_list(column.type)
        found[name] = value.values.to_numpy() if is_list and value.is_valid else value.as_py()
    return found


def _ratios(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    """(T,) of chances, from logarithms; bounded as the losses bound them."""
    ratios: np.ndarray = np.exp(np.clip(above - below, -20, 20))
    return ratios


def _rounded(values: np.ndarray) -> list[float]:
    return [round(float(value), 4) for value in values]


def _group(number: int, name: str, problem: Problem | None) -> dict[str, Any]:
    title = problem.prompt[-1]["content"][:360] if problem and problem.prompt else ""
    return {"group": number, "problem": visible(name), "title": short(title, 90), "rollouts": []}


def _facts(row: dict[str, Any]) -> dict[str, Any]:
    return {
        "sample": row["sample_index"],
        "outcome": row["outcome"],
        "reason": short(row["reason"], 200),
        "reward": row["reward"],
        "advantage": row["advantage"],
        "truncated": row["stop_reason"] == "length",
        "extracted": None if row["extracted"] is None else visible(row["extracted"][:400]),
        "length": row["tokens"] if "tokens" in row else len(row["token_ids"]),
    }
