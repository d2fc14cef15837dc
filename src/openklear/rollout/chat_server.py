"""One request to an OpenAI-compatible server: an answer, or what to make of its absence."""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx2

from openklear import progress
from openklear.errors import UsageError
from openklear.rollout.answers import Answer, BadAnswer, read_answer
from openklear.rollout.refusals import (
    AskAgain,
    PromptRefused,
    is_about_the_prompt,
    is_retried,
    retry_after,
    server_words,
)
from openklear.types import Message

CONNECT_SECONDS = 30.0
OWN_FIELDS = ("model", "messages", "temperature", "top_p", "max_tokens", "max_completion_tokens", "seed", "n", "stream")
"""Fields of a request that have options of their own, or that this client depends on."""


@dataclass(frozen=True, slots=True)
class ChatServer:
    """A server, and what every request tells it."""

    endpoint: str
    """Its address, with its /v1."""
    model: str
    temperature: float
    top_p: float
    max_tokens: int
    extra: Mapping[str, Any] = field(default_factory=dict)
    """Further fields of every request."""
    api_key_env: str | None = None
    timeout: float = 3600.0
    """Seconds a request may take."""
    concurrency: int = 64
    """Requests under way at once."""

    def __post_init__(self) -> None:
        """UsageError where `extra` holds what this client says itself: two words for one thing."""
        if own := [name for name in self.extra if name in OWN_FIELDS]:
            raise UsageError(f"--extra holds {', '.join(own)}, which this command sets itself; leave it out there")


class Endpoint:
    """A server's /chat/completions. Use it in `contextlib.aclosing`."""

    def __init__(self, server: ChatServer):
        """UsageError where the variable that should hold the key is not set."""
        self._server = server
        self._url = server.endpoint.rstrip("/") + "/chat/completions"
        self._sends_seed = True
        self._limit_name = "max_tokens"
        self._client = httpx2.AsyncClient(
            headers=_headers(server.api_key_env),
            timeout=httpx2.Timeout(None, connect=min(CONNECT_SECONDS, server.timeout)),
            limits=httpx2.Limits(max_connections=None, max_keepalive_connections=server.concurrency),
        )

    async def ask(
        self, messages: Sequence[Message], seed: int, max_tokens: int | None = None
    ) -> tuple[Answer, int | None]:
        """The answer, and the seed that was sent (None where the server takes none).

        `max_tokens` of this request, where they are not the server's. Raises AskAgain, PromptRefused, and UsageError
        for refusals that every request would meet.
        """
        while True:
            body = self._body(messages, seed, max_tokens or self._server.max_tokens)
            try:
                async with asyncio.timeout(self._server.timeout):
                    reply = await self._client.post(self._url, json=body)
            except TimeoutError as error:
                raise AskAgain(f"no answer within {self._server.timeout:g} s") from error
            except httpx2.TransportError as error:
                unreachable = isinstance(error, httpx2.ConnectError | httpx2.ConnectTimeout)
                what = "cannot connect" if unreachable else "the connection broke"
                raise AskAgain(f"{what} ({str(error) or type(error).__name__})", unreachable=unreachable) from error
            except (httpx2.InvalidURL, httpx2.RequestError) as error:
                raise UsageError(f"--endpoint {self._server.endpoint}: {error}") from error
            if reply.status_code == 200:
                return _read(reply.content), body.get("seed")
            if not self._adapt(reply, body):
                raise self._refusal(reply)

    def _body(self, messages: Sequence[Message], seed: int, max_tokens: int) -> dict[str, Any]:
        server = self._server
        body: dict[str, Any] = {
            "model": server.model,
            "messages": list(messages),
            "temperature": server.temperature,
            "top_p": server.top_p,
            self._limit_name: max_tokens,
            **server.extra,
        }
        return {**body, "seed": seed} if self._sends_seed else body

    def _adapt(self, reply: httpx2.Response, body: dict[str, Any]) -> bool:
        """Whether the request can be sent in a form that the server said it takes; the next ones then have it too."""
        if reply.status_code not in (400, 422):
            return False
        words = server_words(reply.content)
        if "max_tokens" in body and "max_completion_tokens" in words:
            self._limit_name = "max_completion_tokens"
            return True
        if "seed" in body and "seed" in words:
            if self._sends_seed:
                progress.say(f"the server takes no seed ({words}); its responses cannot be repeated")
            self._sends_seed = False
            return True
        return False

    def _refusal(self, reply: httpx2.Response) -> Exception:
        status, words = reply.status_code, server_words(reply.content)
        said = f"{status}: {words.rstrip('.')}" if words else str(status)
        if is_retried(status):
            return AskAgain(f"status {said}", retry_after(reply.headers.get("Retry-After"), time.time()))
        if is_about_the_prompt(status, words):
            return PromptRefused(f"status {said}")
        return UsageError(
            f"{self._url} refuses the request, and would refuse every other. {said}. {self._advice(status)}"
        )

    def _advice(self, status: int) -> str:
        if status in (401, 403):
            name = self._server.api_key_env
            if name is None:
                return "Name the environment variable that holds the server's key: --api-key-env NAME"
            return f"The key is read from the environment variable {name} (--api-key-env); put a valid one there"
        if status == 404 or 300 <= status < 400:
            return "Correct --endpoint, which ends with /v1 on most servers, or --model"
        return "Change the settings that it names; what was sampled is kept"

    async def aclose(self) -> None:
        """Closes all connections."""
        await self._client.aclose()


def _headers(variable: str | None) -> dict[str, str]:
    if variable is None:
        return {}
    key = os.environ.get(variable, "").strip()
    if not key:
        raise UsageError(f"the environment variable {variable} (--api-key-env) is not set; put the server's key there")
    if not key.isascii() or not key.isprintable():
        raise UsageError(f"the environment variable {variable} (--api-key-env) holds letters that no key has")
    return {"Authorization": f"Bearer {key}"}


def _read(body: bytes) -> Answer:
    try:
        answer = read_answer(json.loads(body))
    except BadAnswer as error:
        raise AskAgain(str(error)) from error
    except (ValueError, RecursionError) as error:
        raise AskAgain("the answer is not valid JSON") from error
    if answer.finish_reason == "content_filter":
        raise PromptRefused("content filter")
    return answer
