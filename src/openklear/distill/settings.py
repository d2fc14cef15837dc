"""What a distillation is asked for, and which part of it decides what the responses are."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from openklear.durable.files import read_json, write_json
from openklear.errors import StageChanged, UsageError
from openklear.rollout.chat_server import OWN_FIELDS, ChatServer
from openklear.verifiers.domains import domain_named
from openklear.verifiers.limits import Limits


@dataclass(frozen=True, slots=True)
class Settings:
    """One distillation. Exactly one of `endpoint` (with `model`) and `local` is given."""

    problems: str
    """File, directory, glob or `hub:` name (`openklear.data.sources`)."""
    output: Path
    endpoint: str | None = None
    """Address of an OpenAI-compatible server, with its /v1."""
    model: str | None = None
    """The teacher's name, as the server knows it; for `local` what rows call it (its directory's name by default)."""
    local: Path | None = None
    """A model directory that is sampled in this process."""
    api_key_env: str | None = None
    """Environment variable that holds the server's key; no key is sent without it."""
    domain: str | None = None
    limit: int | None = None
    """Problems asked, from the first; None: all."""
    samples: int = 16
    temperature: float = 0.6
    top_p: float = 0.95
    max_tokens: int = 32768
    seed: int = 0
    extra: Mapping[str, Any] = field(default_factory=dict)
    """Further fields of every request, such as {"top_k": 20}."""
    concurrency: int = 64
    """Requests under way at once; for `local`, sequences decoded at once."""
    tries: int = 8
    """Requests for one response before it is recorded as failed."""
    timeout: float = 3600.0
    """Seconds a request may take."""
    first_wait: float = 1.0
    """Seconds before the second try, at most; every further wait may be twice as long."""
    requests_per_minute: float | None = None
    tokens_per_minute: float | None = None
    budget_tokens: int | None = None
    """Tokens of prompts and completions, over all runs with this output."""
    price_in: float = 0.0
    """Price of a million prompt tokens."""
    price_out: float = 0.0
    """Price of a million completion tokens."""
    judging: Limits | None = field(default_factory=Limits)
    """What the judge may use; None: responses are not judged."""
    retry_failed: bool = False
    """Ask again for responses that are recorded as failed."""
    restart: bool = False
    """Remove what is there and start over."""

    def __post_init__(self) -> None:
        """UsageError for settings that no run could have."""
        if (self.endpoint is None) == (self.local is None):
            raise UsageError("name one teacher: --endpoint URL with --model NAME, or --local MODEL_DIR")
        if self.endpoint is not None:
            _check_endpoint(self.endpoint, self.model)
        else:
            _check_local(self)
        if self.domain is not None:
            domain_named(self.domain)
        if own := [name for name in self.extra if name in OWN_FIELDS]:
            raise UsageError(f"--extra holds {', '.join(own)}, which this command sets itself; leave it out there")

    @property
    def teacher(self) -> str:
        """What rows call the model."""
        return self.model or (self.local.absolute().name if self.local is not None else "")

    @property
    def server(self) -> ChatServer:
        """The server that is asked; only where there is one."""
        assert self.endpoint is not None
        assert self.model is not None
        drawn = self.temperature, self.top_p, self.max_tokens, self.extra
        return ChatServer(self.endpoint, self.model, *drawn, self.api_key_env, self.timeout, self.concurrency)

    def cost(self, prompt_tokens: int, completion_tokens: int) -> float:
        """The price of so many tokens."""
        return (prompt_tokens * self.price_in + completion_tokens * self.price_out) / 1e6

    def decides(self, weights: str | None) -> dict[str, Any]:
        """What a response depends on besides its problem and its number. `weights`: the hash of a local model's.

        More samples, more problems, another address or other limits on speed and cost go on with what is there.
        """
        return {
            "model": self.teacher,
            "weights": weights,
            "temperature": self.temperature,
            "top_p": self.top_p,
            "max_tokens": self.max_tokens,
            "seed": self.seed,
            "extra": json.loads(json.dumps(dict(self.extra), sort_keys=True)),
        }


def _check_local(settings: Settings) -> None:
    given = {
        "--extra": settings.extra,
        "--api-key-env": settings.api_key_env,
        "--requests-per-minute": settings.requests_per_minute,
        "--tokens-per-minute": settings.tokens_per_minute,
    }
    if names := [name for name, value in given.items() if value]:
        raise UsageError(f"{', '.join(names)}: for requests to a server, and --local sends none; leave one of them out")
    if settings.temperature == 0.0 and settings.samples > 1:
        raise UsageError("--temperature 0 is greedy: all responses to a problem would be alike; give --samples 1")


def _check_endpoint(endpoint: str, model: str | None) -> None:
    parts = urlsplit(endpoint)
    if parts.scheme not in ("http", "https") or not parts.netloc:
        raise UsageError(f"--endpoint {endpoint!r} is not an http address; write it like http://localhost:8000/v1")
    if not model:
        raise UsageError("--endpoint needs --model NAME, the name by which the server knows its model")


def require_same(path: Path, decides: dict[str, Any]) -> None:
    """Write `decides` to `path`, or hold it against what stands there: StageChanged names what is different."""
    if not path.exists():
        write_json(path, decides)
        return
    known = read_json(path)
    old = known if isinstance(known, dict) else {}
    changed = [f"{name} was {old.get(name)!r} and is {now!r}" for name, now in decides.items() if old.get(name) != now]
    if changed:
        raise StageChanged(
            f"{path.parent} holds responses sampled with other settings: {'; '.join(changed)}. Give the settings of "
            "then, choose another --output, or give --restart to remove the responses and start over"
        )
