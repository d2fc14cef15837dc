"""The sampler inside the process: any Hugging Face decoder, a slot cache of its own, continuous refill.

It shares the learner's model object, so the weights it samples from are always the current ones. `slots` sequences are
decoded at once; a slot whose sequence has ended is refilled from the queue, first in first out. Requests that share a
prompt (a group) prefill it once: the keys and values are copied between slots. What happens when depends on counts
only, never on clocks, so the same requests on the same weights give the same bits.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from transformers.cache_utils import DynamicCache

from openklear.errors import EngineError, ModelError
from openklear.models.batching import pad_right
from openklear.models.limits import longest
from openklear.models.lora import as_sampled, plain_weights
from openklear.models.vocabulary import known_ids
from openklear.rollout.cache import SlotCache
from openklear.rollout.protocol import OnCompletion, Progress, Supports, Until
from openklear.rollout.requests import checked_limit
from openklear.rollout.sampling import Cuts, draw, likeliest, next_token_logprobs
from openklear.rollout.seeds import uniforms
from openklear.rollout.slots import Slots, distinct_prompts
from openklear.types import Completion, SampleRequest, StopReason

# Padded tokens prefilled in one forward, at most (a longer prompt goes alone).
_PREFILL_TOKENS = 16384
# A prefill costs about as much as a decoding step, however few prompts it has: wait until this share of slots is free.
_REFILL_SHARE = 8
# How configurations without a list of layer types name a window of attention.
_WINDOWS = ("sliding_window", "window_size", "attention_window_size", "local_window_size")
# Steps between two reports of progress.
_REPORT_EVERY = 16


class LocalSampler:
    """A Sampler (see rollout.protocol) over `model`, a decoder with a plain linear head (Qwen3, Llama, SmolLM2, ...).

    Sampling stops at any of `end_ids` (kept in token_ids, STOP), or after max_new_tokens or at the model's last
    position (LENGTH). A completion depends on its own request only, up to the rounding of batched arithmetic.
    """

    def __init__(self, model: Any, *, end_ids: frozenset[int], slots: int) -> None:
        """Raises ModelError where the architecture is not one that this engine samples from correctly."""
        _check_architecture(model)
        if slots < 1:
            raise ValueError(f"slots must be positive: {slots}")
        self.model, self.end_ids, self.slots = model, end_ids, slots
        self.version = 0

    @property
    def supports(self) -> Supports:
        """Everything."""
        return Supports(logprobs=True, publish=True, partial=True)

    def close(self) -> None:
        """Nothing is held beyond a call."""

    def publish(self, model: Any, version: int) -> None:
        """The model that it shares with a learner is current as it is; the weights of another one are copied."""
        if model is not self.model:
            self.model.load_state_dict(dict(plain_weights(model)))
        self.version = version

    def sample(
        self,
        requests: Sequence[SampleRequest],
        on_progress: Progress | None = None,
        on_completion: OnCompletion | None = None,
        until: Until | None = None,
    ) -> list[Completion]:
        """One completion per request, in their order. on_progress gets (requests finished, tokens) since its last call.

        on_completion gets (index of the request, its completion) between two decoding steps; `until` is asked there
        too, and what it breaks off is PARTIAL.

        Raises EngineError: before anything is sampled where a request cannot be served; when memory runs out; when
        logits are not finite.
        """
        positions = longest(self.model.config).sampled
        vocabulary = self.model.get_output_embeddings().weight.shape[0]
        limits = [checked_limit(index, request, positions, vocabulary) for index, request in enumerate(requests)]
        if not requests:
            return []
        with as_sampled(self.model), _evaluating(self.model), torch.inference_mode():
            try:
                return _Call(self, requests, limits, on_completion).finish(on_progress, until)
            except torch.OutOfMemoryError as error:
                raise EngineError(
                    f"the sampler ran out of device memory with {self.slots} slots: "
                    "lower engine.slots or the longest completion"
                ) from error


class _Call:
    """One call of sample: the queue, the slots, and the cache behind them."""

    def __init__(
        self,
        engine: LocalSampler,
        requests: Sequence[SampleRequest],
        limits: Sequence[int],
        on_completion: OnCompletion | None,
    ) -> None:
        self.on_completion, self.version = on_completion, engine.version
        self.decoder, self.head = engine.model.base_model, engine.model.get_output_embeddings()
        self.known = known_ids(engine.model)  # no other token is drawn
        self.device: torch.device = self.head.weight.device
        self.requests, self.limits = requests, limits
        self.prompts, self.prompt_of = distinct_prompts(requests)
        self.waiting = np.bincount(self.prompt_of)  # requests of each prompt still in the queue
        self.prompt_hidden: dict[int, Tensor] = {}  # prompt -> (H,) state that predicts its first token
        self.holder: dict[int, int] = {}  # prompt -> a slot whose cache row begins with it
        self.queue = 0  # requests before this one have been given a slot
        self.slots = Slots(min(engine.slots, len(requests)))
        self.is_end = np.zeros(self.head.weight.shape[0], np.bool_)
        self.is_end[[i for i in engine.end_ids if i < len(self.is_end)]] = True
        self.completions: list[Completion | None] = [None] * len(requests)
        self.cache: SlotCache | None = None
        self.hidden = torch.zeros(0)  # (N, H) last hidden state of each slot

    def finish(self, on_progress: Progress | None, until: Until | None) -> list[Completion]:
        """Run until every request is served, or `until` breaks it off."""
        finished = tokens = steps = 0
        while True:
            if until is not None and until():
                self._break_off()
                if on_progress is not None:
                    on_progress(finished, tokens)
                return [completion for completion in self.completions if completion is not None]
            self._refill()
            finished_now, tokens_now = self._sample()
            finished, tokens, steps = finished + finished_now, tokens + tokens_now, steps + 1
            done = self.queue == len(self.requests) and not self.slots.active.any()
            if on_progress is not None and (done or steps % _REPORT_EVERY == 0):
                on_progress(finished, tokens)
                finished = tokens = 0
            if done:
                return [completion for completion in self.completions if completion is not None]
            if self.slots.active.any():
                self._compact()
                self._decode()

    def _break_off(self) -> None:
        """What runs ends with what it has, what waits is empty."""
        for row in np.flatnonzero(self.slots.active).tolist():
            index, completion = self.slots.release(row, StopReason.PARTIAL, self.version)
            self.completions[index] = completion
        for index in range(self.queue, len(self.requests)):
            self.completions[index] = Completion(
                np.zeros(0, np.int32), np.zeros(0, np.float32), StopReason.PARTIAL, np.zeros(0, np.int32)
            )

    # -- giving slots to requests

    def _refill(self) -> None:
        """Give free slots to the requests at the head of the queue, where that is due."""
        free = np.flatnonzero(~self.slots.active)
        left = len(self.requests) - self.queue
        if not left or not free.size:
            return
        due = free.size >= min(left, max(1, len(self.slots) // _REFILL_SHARE))
        copies: list[tuple[int, int, int]] = []  # (source slot, slot, prompt)
        fresh: dict[int, list[int]] = {}  # prompt to prefill -> slots
        given: list[tuple[int, int]] = []
        for slot, index in zip(free.tolist(), range(self.queue, len(self.requests)), strict=False):
            prompt = self.prompt_of[index]
            if prompt in self.holder:
                copies.append((self.holder[prompt], slot, prompt))
            elif due or prompt in fresh:
                fresh.setdefault(prompt, []).append(slot)
            else:
                break
            given.append((slot, index))
        if given:
            self._place(given, copies, fresh)

    def _place(
        self, given: list[tuple[int, int]], copies: list[tuple[int, int, int]], fresh: dict[int, list[int]]
    ) -> None:
        """Carry a refill out: copies first, since a prefill may overwrite the row that a copy reads."""
        if copies:
            self._copy(copies)
        for chunk in self._prefill_chunks(fresh):
            self._prefill(chunk, fresh)
        for slot, index in given:
            prompt, overwritten = self.prompt_of[index], int(self.slots.prompt[slot])
            if self.holder.get(overwritten) == slot:
                del self.holder[overwritten]
            self.slots.assign(slot, index, self.requests[index], prompt, self.limits[index])
            self.waiting[prompt] -= 1
        for slot, index in given:
            prompt = self.prompt_of[index]
            if self.waiting[prompt]:
                self.holder[prompt] = slot
            else:
                self.holder.pop(prompt, None)
                self.prompt_hidden.pop(prompt, None)
        self.queue += len(given)
        self._upload_settings()

    def _copy(self, copies: list[tuple[int, int, int]]) -> None:
        """Prompts that are in the cache already: copy their rows."""
        assert self.cache is not None
        source, target, _ = torch.tensor(copies, device=self.device).T
        self.cache.copy_rows(source, target, max(len(self.prompts[prompt]) for _, _, prompt in copies))
        self.hidden[target] = torch.stack([self.prompt_hidden[prompt] for _, _, prompt in copies])

    def _prefill_chunks(self, fresh: dict[int, list[int]]) -> Iterator[list[int]]:
        """Prompts that are prefilled together: like lengths, bounded padded tokens."""
        chunk: list[int] = []
        for prompt in sorted(fresh, key=lambda p: len(self.prompts[p])):
            if chunk and (len(chunk) + 1) * len(self.prompts[prompt]) > _PREFILL_TOKENS:
                yield chunk
                chunk = []
            chunk.append(prompt)
        if chunk:
            yield chunk

    def _prefill(self, chunk: list[int], fresh: dict[int, list[int]]) -> None:
        """Run the prompts of a chunk, and put each into all slots that wait for it."""
        prompts = [self.prompts[prompt] for prompt in chunk]
        ids = pad_right(prompts, 0, torch.int64).to(self.device)  # (P, T); causal attention never sees the padding
        lengths = torch.tensor([len(prompt) for prompt in prompts], device=self.device)
        cache = DynamicCache()
        states = self.decoder(
            input_ids=ids,
            position_ids=torch.arange(ids.shape[1], device=self.device)[None, :],
            past_key_values=cache,
            use_cache=True,
        ).last_hidden_state
        last = states[torch.arange(len(chunk), device=self.device), lengths - 1]  # (P, H) at each prompt's last token
        if self.cache is None:
            self.cache = SlotCache(cache, len(self.slots), ids.shape[1] + 1)
            self.hidden = last.new_zeros((len(self.slots), last.shape[1]))
        self.cache.widen(ids.shape[1] + 1)
        counts = [len(fresh[prompt]) for prompt in chunk]
        source = torch.arange(len(chunk)).repeat_interleave(torch.tensor(counts)).to(self.device)  # (K,) prefilled rows
        target = torch.tensor(list(chain.from_iterable(fresh[p] for p in chunk)), device=self.device)  # (K,) slots
        self.cache.fill_rows(cache, source, target)
        self.hidden[target] = last[source]
        self.prompt_hidden.update(zip(chunk, last.unbind(), strict=True))

    def _upload_settings(self) -> None:
        """Per-slot temperature, cuts and greediness on the device; all but the first only where some row uses them."""

        def uploaded(column: NDArray[Any], used: NDArray[np.bool_]) -> Tensor | None:
            return torch.from_numpy(column.copy()).to(self.device) if used.any() else None

        slots = self.slots
        self.temperature = torch.from_numpy(slots.temperature.copy()).to(self.device)
        self.greedy = uploaded(slots.greedy, slots.greedy)
        self.cuts = Cuts(
            uploaded(slots.top_p, slots.top_p < 1.0),
            uploaded(slots.top_k, slots.top_k > 0),
            uploaded(slots.min_p, slots.min_p > 0.0),
        )

    # -- one step

    def _sample(self) -> tuple[int, int]:
        """Draw the next token of every active slot; returns (requests finished, tokens drawn)."""
        slots, rows = self.slots, np.flatnonzero(self.slots.active)
        logits = self.head(self.hidden)[:, : self.known]  # (N, V)
        logprobs = next_token_logprobs(logits, self.temperature, self.cuts)
        uniform = torch.from_numpy(uniforms(slots.key, slots.before + slots.count)).to(self.device)
        tokens = draw(logprobs, uniform)
        if self.greedy is not None:
            tokens = torch.where(self.greedy, likeliest(logits), tokens)
        chosen = logprobs.gather(1, tokens[:, None])[:, 0]  # (N,) log-probability of each drawn token
        self.tokens = tokens
        # One transfer for both, (2, K) of the active rows: ids are exact in float64.
        host = torch.stack((tokens.double(), chosen.double())).cpu().numpy()[:, rows]
        if not np.isfinite(host[1]).all():
            raise EngineError("the model's logits are not finite: its weights have diverged")
        ids = host[0].astype(np.int32)
        slots.record(rows, ids, host[1].astype(np.float32))
        stopped = self.is_end[ids]
        ended = stopped | (slots.count[rows] >= slots.limit[rows])
        for row, stop in zip(rows[ended].tolist(), stopped[ended].tolist(), strict=True):
            index, completion = slots.release(row, StopReason.STOP if stop else StopReason.LENGTH, self.version)
            self.completions[index] = completion
            if self.on_completion is not None:
                self.on_completion(index, completion)
        return int(ended.sum()), len(rows)

    def _compact(self) -> None:
        """Drop idle slots once the queue is empty and half of the slots or more are idle."""
        rows = np.flatnonzero(self.slots.active)
        if self.queue < len(self.requests) or len(rows) * 2 > len(self.slots):
            return
        assert self.cache is not None
        keep = torch.from_numpy(rows).to(self.device)
        self.cache.keep_rows(keep)
        self.tokens = self.tokens[keep]
        self.slots.keep(rows)
        self._upload_settings()

    def _decode(self) -> None:
        """Feed the tokens just drawn; idle slots feed something unread behind their prompt."""
        assert self.cache is not None
        longest = int(self.slots.position.max()) + 1
        self.cache.narrow(longest)
        self.cache.widen(longest)
        positions = torch.from_numpy(self.slots.position.copy()).to(self.device)
        mask = self.cache.seek(positions)
        self.hidden = self.decoder(
            input_ids=self.tokens[:, None],
            attention_mask=mask,
            position_ids=positions[:, None],
            past_key_values=self.cache,
            use_cache=True,
        ).last_hidden_state[:, 0]  # (N, H)
        self.slots.position += self.slots.active  # idle rows write to the same column again


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    """No dropout and no gradient checkpointing meanwhile; the learner finds its model as it left it."""
    training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(training)


def _check_architecture(model: Any) -> None:
    """ModelError for what would be sampled wrongly: windows of attention, logits changed after the head."""
    config = model.config
    layer_types = getattr(config, "layer_types", None)
    if layer_types is not None:
        windowed = any(kind != "full_attention" for kind in layer_types)
    else:
        windowed = any(getattr(config, name, None) is not None for name in _WINDOWS)
    changed = [
        name
        for name, neutral in (("final_logit_softcapping", None), ("logits_scaling", 1.0), ("logit_scale", 1.0))
        if getattr(config, name, neutral) not in (None, neutral)
    ]
    if windowed or changed:
        what = "attention other than full" if windowed else f"logits changed after the head ({', '.join(changed)})"
        raise ModelError(
            f"{type(model).__name__}: the local engine does not support {what}; use a Qwen3 or Llama model"
        )
