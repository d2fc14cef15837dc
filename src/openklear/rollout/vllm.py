"""vLLM as it is, in a process and an environment of its own, behind the protocol of every sampler.

Prompts go in as token ids, tokens come back with their log-probabilities and the version of the weights. Weights are
published in place (`vllm_weights`, `vllm_worker`), and after every time a fixed prompt is sampled from and held against
the trainer's own forward. A process that dies or hangs is named and started once more in a call; it gets the same
weights and what was not finished, with the same seeds.

vLLM draws with random numbers of its own. Each request gets a seed made of its key, so that it draws the same whatever
runs beside it, but not what the local engine would draw, nor what another version of vLLM or another batch arithmetic
would.
"""

from __future__ import annotations

import copy
import os
import tempfile
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from openklear import progress
from openklear.errors import EngineError, ModelError, ProcessLost
from openklear.models.limits import longest
from openklear.models.loading import LoadedModel
from openklear.models.vocabulary import known_ids
from openklear.recipe.engine import VllmEngine
from openklear.rollout.probe import gap, probe_requests
from openklear.rollout.protocol import OnCompletion, Progress, Supports, Until
from openklear.rollout.requests import checked_limit, seed_of
from openklear.rollout.vllm_process import Message, VllmFault, VllmLost, VllmProcess, found_python
from openklear.rollout.vllm_weights import Written, write_weights
from openklear.types import Completion, SampleRequest, StopReason

PROBE_BLOCKS, PROBE_REST = 2, 8
"""Two prompts are tried: one of so many tokens over so many blocks of vLLM's prefix cache, and one of a token less."""
PROBE_LIMIT = 1e-3
"""Largest difference of a log-probability in float32 from the trainer's; measured: 2e-6 (0.8 M parameters) to 3e-5
(135 M), and 3e-2 to 1 where the weights are others."""
COLDEST = 0.01
"""vLLM raises a lower temperature to this one."""


class VllmSampler:
    """A Sampler (see rollout.protocol) over a vLLM process. Use `close`; it ends with this process in any case."""

    def __init__(self, loaded: LoadedModel, engine: VllmEngine, worker: Path | None = None) -> None:
        """Start vLLM with the weights of `loaded` as version 0.

        `worker`: another worker file than ours. EngineError where there is no vLLM or it fails, ModelError where it
        does not know the architecture or computes something else than the trainer.
        """
        self.slots, self.version = engine.slots, 0
        self._engine, self._worker, self._model = engine, worker, loaded.model
        self._end_ids = sorted(i for i in loaded.end_ids if i < loaded.model.get_output_embeddings().weight.shape[0])
        self._python = found_python(engine.python)
        self._process: VllmProcess | None = None
        self._written: Written | None = None
        self._hash = ""
        """Of the weights of the present version."""
        self._longest = self._block = 0
        self._processes: list[VllmProcess] = []
        weakref.finalize(self, _ended, self._processes)
        try:
            self.publish(loaded.model, 0)
        except BaseException:
            self.close()
            raise

    @property
    def supports(self) -> Supports:
        """Everything."""
        return Supports(logprobs=True, publish=True, partial=True)

    @property
    def pid(self) -> int | None:
        """Of the process that runs vLLM; None once it is closed."""
        return None if self._process is None else self._process.pid

    def publish(self, model: Any, version: int) -> None:
        """Give vLLM the weights of `model`; the same ones under the same number are not sent twice."""
        self._model = model
        for last in (False, True):
            try:
                self._publish(version)
                return
            except VllmLost as lost:
                self._restart(lost, last)
            except VllmFault as fault:
                raise self._failed(f"could not take the weights of version {version}: {fault}") from fault

    def _publish(self, version: int) -> None:
        process = self._opened()
        written = write_weights(self._model, process.memory)
        if written == self._written and version == self.version:
            return
        what = f"taking the weights of version {version}"
        answer = process.answer(
            what, "weights", version=version, size=written.size, hash=written.hash, tensors=written.tensors
        )
        if answer["version"] != version or answer["hash"] != written.hash:
            raise self._failed(f"says that it has weights {answer['version']} ({answer['hash']}), not {version}")
        if answer["free"]:
            os.ftruncate(process.memory, 0)
        self.version, self._written, self._hash = version, written, written.hash
        self._try()

    def _try(self) -> None:
        """Hold a fixed prompt against the trainer's forward: old weights or an old cache anywhere would show."""
        sizes = PROBE_BLOCKS * self._block + PROBE_REST, PROBE_REST - 1
        requests = probe_requests(self._model, [max(1, min(size, self._longest - 9)) for size in sizes])
        found = self._sample(requests, [request.max_new_tokens for request in requests], {}, None, None, None)
        apart, dtype = gap(self._model, requests, found), self._model.dtype
        if not apart <= PROBE_LIMIT * max(1.0, torch.finfo(dtype).eps / torch.finfo(torch.float32).eps / 64):
            self.close()
            raise ModelError(
                f"vLLM does not compute what the trainer does: log-probabilities of its tokens differ by {apart:.2g} "
                f'(weights of version {self.version}, {dtype}). Set engine.type = "local", or use another version of '
                "vLLM"
            )

    def sample(
        self,
        requests: Sequence[SampleRequest],
        on_progress: Progress | None = None,
        on_completion: OnCompletion | None = None,
        until: Until | None = None,
    ) -> list[Completion]:
        """One completion per request, in their order. After a death of vLLM, what had not ended is sampled again."""
        limits = [self._limit(index, request) for index, request in enumerate(requests)]
        if not requests:
            return []
        done: dict[int, Completion] = {}
        for last in (False, True):
            try:
                if self._process is None:
                    self._publish_again()
                return self._sample(requests, limits, done, on_progress, on_completion, until)
            except VllmLost as lost:
                self._restart(lost, last)
            except VllmFault as fault:
                raise self._failed(f"failed while sampling: {fault}") from fault
        raise AssertionError("the second loss is raised")

    def _publish_again(self) -> None:
        """To a process that was started once more. ProcessLost where the weights are not those it sampled from."""
        if write_weights(self._model, self._opened().memory).hash != self._hash:  # they are trained beside it
            self._forget()
            raise ProcessLost(f"vLLM was lost, and the weights of version {self.version} have changed meanwhile")
        self._publish(self.version)

    def _limit(self, index: int, request: SampleRequest) -> int:
        known = [limit for limit in (longest(self._model.config).sampled, self._longest) if limit is not None]
        vocabulary = self._model.get_output_embeddings().weight.shape[0]
        if 0.0 < request.temperature < COLDEST:
            raise EngineError(
                f"request {index} cannot be sampled: vLLM has no temperature between 0 and {COLDEST}, and "
                f"{request.temperature} was asked for; take 0 (greedy), {COLDEST} or more"
            )
        return checked_limit(index, request, min(known), vocabulary)

    def _sample(
        self,
        requests: Sequence[SampleRequest],
        limits: Sequence[int],
        done: dict[int, Completion],
        on_progress: Progress | None,
        on_completion: OnCompletion | None,
        until: Until | None,
    ) -> list[Completion]:
        """Ask for what is not in `done`, and put it there; what comes back is in the order of all requests."""
        process = self._opened()
        wanted = [index for index in range(len(requests)) if index not in done]
        rows = [_row(requests[index], limits[index]) for index in wanted]
        breaker = _Breaker(process, until)
        try:
            for message in process.ask("sampling", "sample", breaker.look, requests=rows):
                ended = 0
                if "done" in message:
                    index, made = wanted[message["done"]], _completion(message)
                    done[index] = made
                    if made.stop_reason is not StopReason.PARTIAL:
                        ended = 1
                        if on_completion is not None:
                            on_completion(index, made)
                if on_progress is not None and (ended or message.get("drawn")):
                    on_progress(ended, message.get("drawn", 0))
        except (VllmLost, VllmFault):
            raise
        except BaseException:  # a callback's: vLLM is left as it was found
            process.settle("ending what was being sampled")
            raise
        return [done[index] for index in range(len(requests))]

    def _opened(self) -> VllmProcess:
        """The process, started where there is none."""
        if self._process is not None:
            return self._process
        several = self._engine.tensor_parallel > 1
        process = VllmProcess(
            self._python, self._engine.timeout, torch.get_num_threads(), self._worker, several=several
        )
        self._process, self._written = process, None
        self._processes[:] = [process]
        with tempfile.TemporaryDirectory(prefix="openklear-vllm-") as directory:
            config = copy.deepcopy(self._model.config)
            config.architectures = [type(self._model).__name__]
            config.save_pretrained(directory)
            try:
                answer = process.answer("starting", "open", config=directory, **self._settings())
            except VllmFault as fault:
                error = self._failed(f"({self._python}) cannot serve this model: {fault}")
                raise ModelError(str(error)) from fault
        self._longest, self._block = answer["longest"], answer["block"]
        self.engine_version = str(answer["vllm"])
        version = f"vLLM {answer['vllm']} with torch {answer['torch']}"
        progress.say_once(f"the sampler is {version} ({self._python})")
        return process

    def _settings(self) -> Message:
        return {
            "dtype": str(self._model.dtype).removeprefix("torch."),
            "slots": self.slots,
            "cache_bytes": int(self._engine.cache_gb * 2**30),
            "eager": self._engine.eager,
            "tensor_parallel": self._engine.tensor_parallel,
            "end_ids": self._end_ids,
            "known": known_ids(self._model),
        }

    def _restart(self, lost: VllmLost, last: bool) -> None:
        """Forget a process that is lost; EngineError where that was the second one of a call."""
        if last:
            raise self._failed(f"{lost}; it was started twice") from lost
        self._forget()
        progress.say(f"vLLM {lost}; it is started once more, with the weights of version {self.version}")

    def _failed(self, text: str) -> EngineError:
        printed = "" if self._process is None else self._process.printed()
        self.close()
        return EngineError(f"vLLM {text}{'. It printed:' + printed if printed else ''}")

    def _forget(self) -> None:
        if self._process is not None:
            self._process.close()
        self._process = self._written = None
        self._processes.clear()

    def close(self) -> None:
        """End vLLM."""
        self._forget()


def _ended(processes: list[VllmProcess]) -> None:
    for process in processes:
        process.close()


class _Breaker:
    """Tells vLLM, once, that the caller wants no more."""

    def __init__(self, process: VllmProcess, until: Until | None) -> None:
        self._process, self._until = process, until

    def look(self) -> None:
        """Called between messages."""
        if self._until is not None and self._until():
            self._until = None
            self._process.send("breaking off", do="abort")


def _row(request: SampleRequest, limit: int) -> list[Any]:
    """A request as the worker reads it; greedy ones have the model's own distribution."""
    head = [list(request.prompt_ids), seed_of(request), limit, request.temperature]
    return head + ([1.0, 0, 0.0] if request.temperature == 0.0 else [request.top_p, request.top_k, request.min_p])


def _completion(message: Message) -> Completion:
    tokens, logprobs = np.array(message["tokens"], np.int32), np.array(message["logprobs"], np.float32)
    if not np.isfinite(logprobs).all():
        raise EngineError("the model's logits are not finite: its weights have diverged")
    known = {reason.value for reason in StopReason}
    reason = StopReason(message["reason"]) if message["reason"] in known else StopReason.ERROR
    return Completion(tokens, logprobs, reason, np.full(len(tokens), message["version"], np.int32))
