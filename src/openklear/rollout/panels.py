"""Keys and values of running sequences, in panels of like lengths.

A panel holds rows that grow together: they end at the same column, so that a step writes one column and attention reads
one narrow view. Shorter rows begin further right; a mask hides what lies before them. A row that ends leaves its place
to the panel's last row, so no idle row is ever computed. Panels grow by a quarter when they are full, and two of them
become one where the padding that this costs is less than a call of attention.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Index = NDArray[np.int64]

_ROOM = 32
"""Columns that a new or grown panel has free, at least."""


@dataclass(slots=True)
class Prefilled:
    """Keys and values of tokens that a prefill has computed, and where each prompt's tokens are among them."""

    tensors: list[Tensor]
    """(S, tokens, heads, width) each: keys and values of a layer together (S = 2), or one of them (S = 1)."""
    places: dict[int, Index]
    """Prompt -> (its length,) places of its tokens."""
    states: dict[int, Tensor]
    """Prompt -> (H,) state that predicts its first token."""

    def only(self, prompt: int) -> Prefilled:
        """A copy with one prompt's tokens."""
        where = torch.from_numpy(self.places[prompt]).to(self.tensors[0].device)
        kept = [tensor.index_select(1, where) for tensor in self.tensors]
        return Prefilled(kept, {prompt: np.arange(len(where))}, {prompt: self.states[prompt].clone()})


class KeyPanel:
    """Rows that end at the same column."""

    def __init__(self, tensors: list[Tensor], start: Index, end: int) -> None:
        self.tensors = tensors
        """(S, rows, heads, columns, width) each; rows beyond `len(start)` and columns beyond `end` are free."""
        self.start = start
        """(rows in use,) first column of each row."""
        self.end = end
        """The next column to be written."""
        self._changed()

    @classmethod
    def filled(cls, source: Prefilled, prompts: Sequence[int], room: int) -> KeyPanel:
        """One row for each of `prompts`, with space for `room` more tokens."""
        places = [source.places[prompt] for prompt in prompts]
        lengths = np.array([len(place) for place in places])
        end = int(lengths.max())
        index = np.zeros((len(places), end), np.int64)  # what pads on the left is any token: the mask hides it
        for row, place in enumerate(places):
            index[row, end - len(place) :] = place
        flat = torch.from_numpy(index.reshape(-1)).to(source.tensors[0].device)
        tensors = []
        for tensor in source.tensors:
            sides, _, heads, width = tensor.shape
            whole = tensor.new_zeros((sides, len(places), heads, end + room, width))
            rows = tensor.index_select(1, flat).view(sides, len(places), end, heads, width)
            whole[:, :, :, :end] = rows.transpose(2, 3)
            tensors.append(whole)
        return cls(tensors, end - lengths, end)

    def __len__(self) -> int:
        return len(self.start)

    @property
    def length(self) -> int:
        """Tokens of the longest row."""
        return self.end - self.low

    @property
    def cells(self) -> int:
        """Tokens that it has space for."""
        _, rows, _, columns, _ = self.tensors[0].shape
        return rows * columns

    @property
    def free(self) -> int:
        """Columns that nothing has been written to."""
        return int(self.tensors[0].shape[3]) - self.end

    @property
    def is_full(self) -> bool:
        """Whether the next step needs more columns."""
        return self.free == 0

    def mask(self) -> Tensor | None:
        """0 where a row sees a column from `low` to the one being written, else -inf; (rows, 1, 1, columns).

        None where all rows see all of them.
        """
        if self._mask is None:
            return None
        return self._mask[:, :, :, self.low : self.end + 1]

    def keep(self, kept: NDArray[np.bool_]) -> Index:
        """Keep the rows where `kept` is set; returns which row each of the remaining ones was."""
        count = int(kept.sum())
        order = np.arange(count)
        holes, movers = np.flatnonzero(~kept[:count]), count + np.flatnonzero(kept[count:])
        if len(holes) and count:
            order[holes] = movers
            target, source = (torch.from_numpy(rows).to(self.tensors[0].device) for rows in (holes, movers))
            for tensor in self.tensors:
                used = tensor[:, :, :, self.low : self.end]
                used[:, target] = used[:, source]
        self.start = self.start[order]
        if count and 2 * count <= self.tensors[0].shape[1]:
            self.resize(self.free)
        self._changed()
        return order

    def resize(self, room: int) -> None:
        """Give back what is unused, and have space for `room` more tokens; one layer after the other."""
        rows, low = len(self.start), self.low
        for number, tensor in enumerate(self.tensors):
            self.tensors[number] = tensor.new_zeros(
                (tensor.shape[0], rows, tensor.shape[2], self.length + room, tensor.shape[4])
            )
            self.tensors[number][:, :, :, : self.length] = tensor[:, :rows, :, low : self.end]
        self.start, self.end = self.start - low, self.end - low
        self._changed()

    def joined(self, other: KeyPanel, room: int) -> KeyPanel:
        """The rows of both, those of this one first. Both are empty after it."""
        length, rows = max(self.length, other.length), len(self) + len(other)
        tensors = []
        for number, (mine, its) in enumerate(zip(self.tensors, other.tensors, strict=True)):
            whole = mine.new_zeros((mine.shape[0], rows, mine.shape[2], length + room, mine.shape[4]))
            whole[:, : len(self), :, length - self.length : length] = mine[:, : len(self), :, self.low : self.end]
            whole[:, len(self) :, :, length - other.length : length] = its[:, : len(other), :, other.low : other.end]
            tensors.append(whole)
            self.tensors[number] = other.tensors[number] = mine.new_zeros(0)
        start = np.concatenate((self.start - self.end, other.start - other.end)) + length
        return KeyPanel(tensors, start, length)

    def advance(self) -> None:
        """The column has been written."""
        self.end += 1

    def _changed(self) -> None:
        self.low = int(self.start.min(initial=self.end))
        self._mask: Tensor | None = None
        if len(self.start) and int(self.start.max()) > self.low:
            like = self.tensors[0]
            start = torch.from_numpy(self.start).to(like.device)
            hidden = torch.arange(like.shape[3], device=like.device) < start[:, None]  # (rows, columns)
            self._mask = like.new_zeros(hidden.shape).masked_fill_(hidden, float("-inf"))[:, None, None, :]


class Panels:
    """All panels. Running rows are numbered panel by panel; what changes their order returns the old numbers."""

    def __init__(self, merge_cells: int) -> None:
        self.panels: list[KeyPanel] = []
        self.merge_cells = merge_cells
        """Columns of padding that are worth a call of attention less."""

    @property
    def cells(self) -> int:
        """Tokens that there is space for."""
        return sum(panel.cells for panel in self.panels)

    def keep(self, kept: NDArray[np.bool_]) -> Index:
        """Keep the rows where `kept` is set."""
        orders, first, left = [], 0, []
        for panel in self.panels:
            mine = kept[first : first + len(panel)]
            rows = len(panel)
            orders.append(first + (np.arange(rows) if mine.all() else panel.keep(mine)))
            first += rows
            if len(panel):
                left.append(panel)
        self.panels = left
        return np.concatenate(orders)

    def wanted(self, remaining: Index) -> int:
        """Cells after `grow`, without what may be given back. `remaining` (rows,): tokens each row may still get."""
        return sum(
            len(panel) * (panel.length + (_room(panel.length, left) if panel.is_full else panel.free))
            for panel, left in self._each(remaining)
        )

    def grow(self, remaining: Index, most: int | None) -> None:
        """Have space for one more token in every panel; give back what is unused where there are more than `most`."""
        each = self._each(remaining)
        if most is not None and self.cells > most:
            for panel, _ in each:
                panel.resize(panel.free)
        for panel, left in each:
            if panel.is_full:
                panel.resize(_room(panel.length, left))

    def merge(self, remaining: Index) -> Index | None:
        """Join the pair whose joining pads least, where that pays. None: nothing was joined."""
        by_length = sorted(range(len(self.panels)), key=lambda number: (self.panels[number].length, number))
        best = min(pairwise(by_length), key=lambda pair: self._padding(*pair), default=None)
        if best is None or self._padding(*best) > self.merge_cells:
            return None
        firsts = np.cumsum([0, *(len(panel) for panel in self.panels)])
        rest = [number for number in range(len(self.panels)) if number not in best]
        order = np.concatenate([np.arange(firsts[number], firsts[number + 1]) for number in (*rest, *best)])
        one, other = (self.panels[number] for number in best)
        left = int(max(remaining[firsts[number] : firsts[number + 1]].max() for number in best))
        joined = one.joined(other, _room(max(one.length, other.length), left))
        self.panels = [*(self.panels[number] for number in rest), joined]
        return order

    def _padding(self, shorter: int, longer: int) -> int:
        one, other = self.panels[shorter], self.panels[longer]
        return len(one) * (other.length - one.length)

    def _each(self, remaining: Index) -> list[tuple[KeyPanel, int]]:
        """The panels, each with the most tokens that one of its rows may still get."""
        found, first = [], 0
        for panel in self.panels:
            found.append((panel, int(remaining[first : first + len(panel)].max())))
            first += len(panel)
        return found


def _room(length: int, remaining: int) -> int:
    """Free columns of a panel of so many tokens: a quarter more, but no more than its rows may still get."""
    return max(1, min(max(_ROOM, length // 4), remaining))


def new_room(lengths: Sequence[int], remaining: int) -> int:
    """Free columns of a new panel with rows of these lengths."""
    return _room(max(lengths), remaining)
