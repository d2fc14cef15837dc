"""What a server's refusal means: ask again, give this prompt up, or stop. Pure functions of status and words."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Any

RETRIED = frozenset({408, 409, 425, 429})
"""Besides all 5xx."""
_ABOUT_THE_PROMPT = re.compile(
    r"context.{0,12}(length|window|size)|maximum.{0,24}(length|tokens)|max_(model_len|seq_len|input)|too long|too many "
    r"tokens|max_tokens must be at least|max_total_tokens|exceeds? the (max|limit|model)|longer than|"
    r"content.{0,12}(filter|management|policy)|moderation|safety",
    re.IGNORECASE,
)
_SHOWN_CHARACTERS = 400


class AskAgain(Exception):
    """The request failed for a reason that may pass. `wait`: seconds the server asked for."""

    def __init__(self, reason: str, wait: float | None = None, *, unreachable: bool = False):
        super().__init__(reason)
        self.wait, self.unreachable = wait, unreachable


class PromptRefused(Exception):
    """The server will never answer this prompt; the others are not concerned."""


def is_retried(status: int) -> bool:
    """Whether the same request may succeed later."""
    return status in RETRIED or status >= 500


def is_about_the_prompt(status: int, words: str) -> bool:
    """Whether a refusal is about the length or the content of one prompt."""
    return status == 413 or (status in (400, 422) and _ABOUT_THE_PROMPT.search(words) is not None)


def server_words(body: bytes) -> str:
    """What the server says is wrong, in one printable line."""
    text = body.decode("utf-8", "replace")
    try:
        found = _message(json.loads(text)) or text
    except (ValueError, RecursionError):
        found = text
    line = " ".join("".join(c if c.isprintable() else " " for c in found).split())
    return line if len(line) <= _SHOWN_CHARACTERS else f"{line[:_SHOWN_CHARACTERS]}..."


def _message(document: Any) -> str | None:
    """The words in {"error": {"message"}} (OpenAI), {"message"} (vLLM), {"detail"} (FastAPI) and the like."""
    for name in ("error", "message", "detail"):
        value = document.get(name) if isinstance(document, Mapping) else None
        if isinstance(value, Mapping):
            return _message(value) or json.dumps(value, ensure_ascii=False)
        if value:
            return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return None


def retry_after(value: str | None, now: float) -> float | None:
    """Seconds that a Retry-After header asks for: a number, or a date after `now` (seconds since 1970)."""
    if value is None:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(value).timestamp() - now
        except ValueError:
            return None
    return max(0.0, seconds) if math.isfinite(seconds) else None
