"""A server that holds the model already, asked through /completions of the OpenAI interface: tokens both ways.

Prompts go as token ids, and token ids must come back (`return_token_ids`, as vLLM's server has it), so that nothing is
tokenised twice. It cannot be given weights. Whether it holds the very model that a stage evaluates is found out at the
start: a few of its tokens are held against this process's own forward.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import Any

import httpx2
import numpy as np

from openklear.errors import EngineError, ModelError, UsageError
from openklear.models.limits import longest
from openklear.models.loading import LoadedModel
from openklear.recipe.engine import RemoteEngine
from openklear.rollout.probe import gaps, probe_requests
from openklear.rollout.protocol import OnCompletion, Progress, Supports, Until
from openklear.rollout.refusals import is_retried, retry_after, server_words
from openklear.rollout.requests import checked_limit, seed_of
from openklear.types import Completion, SampleRequest, StopReason

TRIES = 8
FIRST_WAIT = 0.5
"""Seconds before the second try; every further wait is twice as long."""
CONNECT_SECONDS = 30.0
FAR = 0.1
"""Mean difference of log-probabilities from this process's own, nats per token, above which it is another model. The
same one in bfloat16 differs by about 0.01."""


class RemoteSampler:
    """A Sampler (see rollout.protocol) over a server. Log-probabilities of its completions are nan."""

    supports = Supports()

    def __init__(self, loaded: LoadedModel, engine: RemoteEngine) -> None:
        """EngineError where it cannot be used, ModelError where it holds another model than `loaded`."""
        self.slots, self.version = engine.slots, 0
        self._engine, self._model, self._end_ids = engine, loaded.model, sorted(loaded.end_ids)
        self._url = engine.endpoint.rstrip("/") + "/completions"
        seconds = httpx2.Timeout(engine.timeout, connect=min(CONNECT_SECONDS, engine.timeout))
        self._client = httpx2.Client(headers=_headers(engine.api_key_env), timeout=seconds)
        self._ended = threading.Event()
        try:
            self._try()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close all connections."""
        self._ended.set()
        self._client.close()

    def publish(self, model: Any, version: int) -> None:
        """EngineError: a server has the weights that it was started with."""
        raise EngineError('engine.type = "remote" cannot be given weights; set engine.type = "local" or "vllm"')

    def _try(self) -> None:
        requests = probe_requests(self._model)
        found = [self._one(request, request.max_new_tokens) for request in requests]
        apart = float(gaps(self._model, requests, found).mean())
        if not apart <= FAR:
            raise ModelError(
                f"{self._url} does not serve the model of this stage: log-probabilities of its tokens differ by "
                f"{apart:.2g} nats on average. Start the server with this very model, or correct engine.endpoint or "
                "engine.model"
            )

    def sample(
        self,
        requests: Sequence[SampleRequest],
        on_progress: Progress | None = None,
        on_completion: OnCompletion | None = None,
        until: Until | None = None,
    ) -> list[Completion]:
        """One completion per request, in their order; `until` is not asked, as `supports` says."""
        positions = longest(self._model.config).sampled
        vocabulary = self._model.get_output_embeddings().weight.shape[0]
        limits = [checked_limit(index, one, positions, vocabulary) for index, one in enumerate(requests)]
        made: dict[int, Completion] = {}
        pool = ThreadPoolExecutor(min(self.slots, max(1, len(requests))))
        try:
            waiting = {pool.submit(self._one, one, limits[index]): index for index, one in enumerate(requests)}
            for future in as_completed(waiting):
                index, whole = waiting[future], future.result()
                unknown = np.full(len(whole.token_ids), np.nan, np.float32)
                made[index] = Completion(whole.token_ids, unknown, whole.stop_reason)
                if on_completion is not None:
                    on_completion(index, made[index])
                if on_progress is not None:
                    on_progress(1, len(whole.token_ids))
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
        return [made[index] for index in range(len(requests))]

    def _one(self, request: SampleRequest, limit: int) -> Completion:
        """A completion with the server's own log-probabilities, which leave temperature and cuts out."""
        body = {**self._body(request), "max_tokens": limit}
        why = ""
        for tries in range(TRIES):
            if self._ended.is_set():
                break
            try:
                reply = self._client.post(self._url, json=body)
            except httpx2.TransportError as error:
                why, wait = f"{type(error).__name__} {error}".strip(), None
            else:
                if reply.status_code == 200:
                    return _read(self._url, reply)
                why = f"status {reply.status_code}: {server_words(reply.content)}"
                if not is_retried(reply.status_code):
                    raise EngineError(f"{self._url} refuses a request with {why}. Correct what it complains of")
                wait = retry_after(reply.headers.get("Retry-After"), time.time())
            if tries + 1 < TRIES:
                self._ended.wait(FIRST_WAIT * 2**tries if wait is None else wait)
        raise EngineError(f"{self._url} gave no answer in {TRIES} tries, at last with {why}. Start it, and run again")

    def _body(self, request: SampleRequest) -> dict[str, Any]:
        body: dict[str, Any] = {
            "model": self._engine.model,
            "prompt": list(request.prompt_ids),
            "temperature": request.temperature,
            "seed": seed_of(request),
            "logprobs": 1,
            "return_token_ids": True,
            "stop_token_ids": self._end_ids,
        }
        if request.temperature > 0.0:
            body["top_p"] = request.top_p
            # no field of OpenAI's own: sent where it cuts something
            body |= {"top_k": request.top_k} if request.top_k else {}
            body |= {"min_p": request.min_p} if request.min_p else {}
        return body


def _read(url: str, reply: httpx2.Response) -> Completion:
    try:
        choice = reply.json()["choices"][0]
        ids, logprobs, reason = choice["token_ids"], choice["logprobs"]["token_logprobs"], choice["finish_reason"]
        tokens, known = np.array(ids, np.int32), np.array(logprobs, np.float32)
    except (ValueError, KeyError, IndexError, TypeError, OverflowError) as error:
        raise EngineError(
            f"{url} answers without the token ids of its completion and their log-probabilities, which vLLM's server "
            "sends for return_token_ids; use a server that does"
        ) from error
    if tokens.ndim != 1 or tokens.shape != known.shape or reason not in ("stop", "length"):
        raise EngineError(f"{url} sent {tokens.shape} tokens with {known.shape} log-probabilities, ended by {reason!r}")
    return Completion(tokens, known, StopReason(reason))


def _headers(variable: str | None) -> Mapping[str, str]:
    if variable is None:
        return {}
    key = os.environ.get(variable, "").strip()
    if not key or not key.isascii() or not key.isprintable():
        raise UsageError(f"engine.api_key_env: the variable {variable} holds no key; put the server's key there")
    return {"Authorization": f"Bearer {key}"}
