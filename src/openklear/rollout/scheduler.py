"""One call of the local engine: the queue, what runs, and the cache behind it.

What happens when depends on counts only, never on clocks, so the same requests on the same weights give the same bits.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from openklear.errors import EngineError
from openklear.rollout.lean import LeanDecoder
from openklear.rollout.panels import KeyPanel, Panels, Prefilled, new_room
from openklear.rollout.protocol import OnCompletion, Progress, Until
from openklear.rollout.sampling import Cuts, draw, likeliest, next_token_probabilities
from openklear.rollout.seeds import uniforms
from openklear.rollout.slots import Running, distinct_prompts
from openklear.rollout.whole import WholeDecoder
from openklear.types import Completion, SampleRequest, StopReason

# A prefill costs about as much as a decoding step, however few prompts it has: wait until this share of slots is free.
_REFILL_SHARE = 8
# Steps between two reports of progress.
_REPORT_EVERY = 16
# Tokens prefilled in one forward, at most (a longer prompt goes alone), by kind of device.
_PREFILL_TOKENS = {"cpu": 4096}
_PREFILL_TOKENS_ELSEWHERE = 16384
# Numbers of keys that a CPU reads in the time that a call of attention costs, measured; a GPU reads far more.
_CALL = {"cpu": 48 * 1024}
_CALL_ELSEWHERE = 64 << 20
# From so many tokens on, what all prompts begin with is prefilled once.
_PREFIX_TOKENS = 16
_PREFIX = -1


class Room(NamedTuple):
    """What may run at once."""

    slots: int
    cache_tokens: int | None


class Call:
    """Requests on their way to completions."""

    def __init__(
        self,
        decoder: LeanDecoder | WholeDecoder,
        room: Room,
        is_end: NDArray[np.bool_],
        version: int,
        on_completion: OnCompletion | None,
        known: int | None,
    ) -> None:
        self.decoder, self.room, self.is_end, self.version = decoder, room, is_end, version
        self.on_completion, self.known = on_completion, known

    def run(
        self,
        requests: Sequence[SampleRequest],
        limits: Sequence[int],
        on_progress: Progress | None,
        until: Until | None,
    ) -> list[Completion]:
        """Run until every request is served, or `until` breaks it off."""
        self._begin(requests, limits)
        finished = tokens = steps = 0
        while True:
            broken = until is not None and until()
            if broken:
                self._break_off()
            else:
                self._admit()
                finished_now, tokens_now = self._sample()
                finished, tokens, steps = finished + finished_now, tokens + tokens_now, steps + 1
            done = broken or not (self.queue or len(self.rows))
            if on_progress is not None and (done or steps % _REPORT_EVERY == 0):
                on_progress(finished, tokens)
                finished = tokens = 0
            if done:
                return [self.completions[index] for index in range(len(requests))]
            if len(self.rows):
                self._decode()

    def _begin(self, requests: Sequence[SampleRequest], limits: Sequence[int]) -> None:
        self.requests, self.limits = list(requests), list(limits)
        self.prompts, self.prompt_of = distinct_prompts(requests)
        self.queue = deque(range(len(requests)))
        self.earlier: dict[int, tuple[NDArray[np.int32], NDArray[np.float32]]] = {}  # of what lost its place
        self.completions: dict[int, Completion] = {}
        self.rows = Running([], [], [])
        self.kept: Prefilled | None = None  # the prompt of the first in the queue, where it is known already
        weight = self.decoder.head_weight
        self.device: torch.device = weight.device
        self.slots = min(self.room.slots, len(requests))
        self.panels: Panels | None = None
        self.states = weight.new_zeros((0, weight.shape[1]))  # (R, H) state that predicts the next token
        self.prefix = self._common_prefix()

    def _common_prefix(self) -> Prefilled | None:
        """What all prompts begin with, where that is worth a forward of its own."""
        if len(self.prompts) < 2 or not isinstance(self.decoder, LeanDecoder):
            return None
        first, last = min(self.prompts), max(self.prompts)  # in the order of ids; all others begin as both of these do
        shortest = min(len(prompt) for prompt in self.prompts)
        common = 0
        while common < shortest - 1 and first[common] == last[common]:
            common += 1
        return self.decoder.prefill({_PREFIX: first[:common]}) if common >= _PREFIX_TOKENS else None

    def _break_off(self) -> None:
        """What runs ends with what it has, what waits with what it had."""
        for row, index in enumerate(self.rows.request.tolist()):
            self.completions[index] = self._completion(index, *self.rows.sampled(row), StopReason.PARTIAL)
        for index in self.queue:
            nothing = np.zeros(0, np.int32), np.zeros(0, np.float32)
            self.completions[index] = self._completion(index, *nothing, StopReason.PARTIAL)

    def _completion(
        self, index: int, tokens: NDArray[np.int32], logprobs: NDArray[np.float32], reason: StopReason
    ) -> Completion:
        if index in self.earlier:
            before = self.earlier[index]
            tokens, logprobs = np.concatenate((before[0], tokens)), np.concatenate((before[1], logprobs))
        return Completion(tokens, logprobs, reason, np.full(len(tokens), self.version, np.int32))

    # -- giving rows to requests

    def _admit(self) -> None:
        """Let requests at the head of the queue run, where enough slots are free."""
        free = self.slots - len(self.rows)
        if not self.queue or free < min(len(self.queue), max(1, self.slots // _REFILL_SHARE)):
            return
        taken = self._taken(free)
        if not taken:
            return
        by_prompt: dict[int, list[int]] = {}
        for index in taken:
            by_prompt.setdefault(self.prompt_of[index], []).append(index)
        last = self.prompt_of[self.queue[0]] if self.queue else None
        kept, self.kept = self.kept, None
        for source in self._sources(by_prompt, kept):
            self._place(source, by_prompt)
            if last in source.places:
                self.kept = source.only(last)
        self._merge()

    def _taken(self, free: int) -> list[int]:
        """The first requests of the queue, as many as there are slots and cache for; one at least where none runs."""
        taken: list[int] = []
        cells = self.panels.cells if self.panels else 0
        while self.queue and len(taken) < free:
            index = self.queue[0]
            length = len(self.requests[index].prompt_ids)
            cells += length + new_room([length], self.limits[index])
            beyond = self.room.cache_tokens is not None and cells > self.room.cache_tokens
            if beyond and (taken or len(self.rows)):
                break
            taken.append(self.queue.popleft())
        return taken

    def _sources(self, by_prompt: dict[int, list[int]], kept: Prefilled | None) -> Iterator[Prefilled]:
        """Keys and values of the prompts, a bounded number of tokens at a time, like lengths together."""
        missing = sorted(by_prompt, key=lambda prompt: (len(self.prompts[prompt]), prompt))
        if kept is not None and (found := [prompt for prompt in missing if prompt in kept.places]):
            missing = [prompt for prompt in missing if prompt not in found]
            yield kept
        most = _PREFILL_TOKENS.get(self.device.type, _PREFILL_TOKENS_ELSEWHERE)
        chunk: dict[int, tuple[int, ...]] = {}
        for prompt in missing:
            if chunk and (len(chunk) + 1) * len(self.prompts[prompt]) > most:
                yield self._prefilled(chunk)
                chunk = {}
            chunk[prompt] = self.prompts[prompt]
        if chunk:
            yield self._prefilled(chunk)

    def _prefilled(self, chunk: dict[int, tuple[int, ...]]) -> Prefilled:
        if isinstance(self.decoder, LeanDecoder):
            return self.decoder.prefill(chunk, self.prefix)
        return self.decoder.prefill(chunk)

    def _place(self, source: Prefilled, by_prompt: dict[int, list[int]]) -> None:
        """Running for the requests of the prompts in `source`, in panels of like lengths."""
        if self.panels is None:
            _, _, heads, width = source.tensors[0].shape
            self.panels = Panels(_CALL.get(self.device.type, _CALL_ELSEWHERE) // (heads * width))
        for some in _like(source, by_prompt, self.panels.merge_cells):
            indices = list(chain.from_iterable(by_prompt[prompt] for prompt in some))
            rows = Running(indices, [self.requests[i] for i in indices], [self.limits[i] for i in indices])
            prompts = [self.prompt_of[index] for index in indices]
            room = new_room([len(source.places[prompt]) for prompt in some], int(rows.remaining.max()))
            self.panels.panels.append(KeyPanel.filled(source, prompts, room))
            self.rows.add(rows)
            self.states = torch.cat((self.states, torch.stack([source.states[prompt] for prompt in prompts])))
        self._upload_settings()

    def _merge(self) -> None:
        """Join panels where that pays. Only between a prefill and a draw, or a draw and a step: rows change places."""
        assert self.panels is not None
        while (order := self.panels.merge(self.rows.remaining)) is not None:
            self._reorder(order)

    def _reorder(self, order: NDArray[np.int64]) -> None:
        where = torch.from_numpy(order).to(self.device)
        self.rows.keep(order)
        self.states = self.states[where]
        self._upload_settings()

    def _upload_settings(self) -> None:
        """Temperature, cuts and greediness of each row on the device, only where some row uses them."""

        def uploaded(column: NDArray[Any], used: NDArray[np.bool_]) -> Tensor | None:
            return torch.from_numpy(column).to(self.device) if used.any() else None

        rows = self.rows
        self.temperature = uploaded(rows.temperature, rows.temperature != 1.0)
        self.greedy = uploaded(rows.greedy, rows.greedy)
        self.cuts = Cuts(
            uploaded(rows.top_p, rows.top_p < 1.0),
            uploaded(rows.top_k, rows.top_k > 0),
            uploaded(rows.min_p, rows.min_p > 0.0),
        )

    # -- one step

    def _sample(self) -> tuple[int, int]:
        """Draw the next token of every row, and let go of those that end; returns (requests finished, tokens drawn)."""
        rows = self.rows
        logits = self.decoder.head(self.states)[:, : self.known]  # (R, V)
        probabilities = next_token_probabilities(logits, self.temperature, self.cuts)
        uniform = torch.from_numpy(uniforms(rows.key, rows.before + rows.count)).to(self.device)
        tokens = draw(probabilities, uniform)
        if self.greedy is not None:
            tokens = torch.where(self.greedy, likeliest(logits), tokens)
        chosen = probabilities.gather(1, tokens[:, None])[:, 0].log()  # (R,) log-probability of each drawn token
        # One transfer for both, (2, R): ids are exact in float64.
        host = torch.stack((tokens.double(), chosen.double())).cpu().numpy()
        if not np.isfinite(host[1]).all():
            raise EngineError("the model's logits are not finite: its weights have diverged")
        ids = host[0].astype(np.int32)
        rows.record(ids, host[1].astype(np.float32))
        stopped = self.is_end[ids]
        ended = stopped | (rows.remaining <= 0)
        for row in np.flatnonzero(ended).tolist():
            index = int(rows.request[row])
            reason = StopReason.STOP if stopped[row] else StopReason.LENGTH
            completion = self.completions[index] = self._completion(index, *rows.sampled(row), reason)
            if self.on_completion is not None:
                self.on_completion(index, completion)
        self.tokens = tokens
        if ended.any():
            self._keep(~ended)
        return int(ended.sum()), len(ids)

    def _keep(self, kept: NDArray[np.bool_]) -> None:
        assert self.panels is not None
        order = self.panels.keep(kept)
        self.tokens = self.tokens[torch.from_numpy(order).to(self.device)]
        self.rows.keep(order)
        self.states = self.states[:0]  # of no use once the tokens are drawn
        if len(order):
            self._upload_settings()

    def _decode(self) -> None:
        """Feed the tokens just drawn."""
        assert self.panels is not None
        self._make_room()
        positions = torch.from_numpy(self.rows.position.copy()).to(self.device)
        self.states = self.decoder.step(self.tokens, positions, self.panels.panels)
        for panel in self.panels.panels:
            panel.advance()
        self.rows.position += 1

    def _make_room(self) -> None:
        """A column more for every panel. Where the cache has no room, those that came last wait once more."""
        assert self.panels is not None
        most = self.room.cache_tokens
        while most is not None and len(self.rows) > 1 and self.panels.wanted(self.rows.remaining) > most:
            self._send_back(int(self.rows.request.argmax()))
        self.panels.grow(self.rows.remaining, most)

    def _send_back(self, row: int) -> None:
        """The row's request goes back to the head of the queue, with what it has sampled as the end of its prompt."""
        index = int(self.rows.request[row])
        tokens, logprobs = self.rows.sampled(row)
        before = self.earlier.get(index, (tokens[:0], logprobs[:0]))
        self.earlier[index] = np.concatenate((before[0], tokens)), np.concatenate((before[1], logprobs))
        request = self.requests[index]
        self.requests[index] = replace(
            request,
            prompt_ids=(*request.prompt_ids, *tokens.tolist()),
            sampled=request.sampled + len(tokens),
        )
        self.limits[index] -= len(tokens)
        self.prompt_of[index] = len(self.prompts)
        self.prompts.append(self.requests[index].prompt_ids)
        self.queue.appendleft(index)
        self.kept = None
        kept = np.ones(len(self.rows), np.bool_)
        kept[row] = False
        self._keep(kept)


def _like(source: Prefilled, prompts: Iterable[int], most: int) -> Iterator[list[int]]:
    """Those of the prompts that are in `source`, in groups of like lengths: of at most so many columns of padding."""
    some: list[int] = []
    padding = 0
    for prompt in sorted((one for one in prompts if one in source.places), key=lambda one: len(source.places[one])):
        if some:
            padding += len(some) * (len(source.places[prompt]) - len(source.places[some[-1]]))
        if padding > most:
            yield some
            some, padding = [], 0
        some.append(prompt)
    if some:
        yield some
