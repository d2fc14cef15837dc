"""Values as the card shows them. Texts come from models and strangers' files, so nothing in them may stay hidden."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

NOT_STATED = "not stated"
NOTHING = "–"
HEAD, TAIL = 700, 300
"""Characters of a text that an example shows from its start and from its end."""
_SLACK = 100
"""A text that is longer by at most this many characters is shown in full."""
_HIDDEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f"  # controls but tab and line end
    "\u00ad\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"  # no width, or they turn text around
    "\U000e0000-\U000e007f]"  # tags: letters that no font draws
)


@dataclass(frozen=True, slots=True)
class Excerpt:
    """A text's start and end; between them `left_out` characters are not shown."""

    head: str
    left_out: int = 0
    tail: str = ""


def excerpt(text: str, head: int = HEAD, tail: int = TAIL) -> Excerpt:
    """The text, or where it is long its first `head` and last `tail` characters, made visible."""
    if len(text) <= head + tail + _SLACK:
        return Excerpt(visible(text))
    return Excerpt(visible(text[:head]), len(text) - head - tail, visible(text[len(text) - tail :]))


def visible(text: str) -> str:
    """The text with its invisible and direction-changing characters written out, as in ⟨U+202E⟩."""
    return _HIDDEN.sub(lambda found: f"⟨U+{ord(found[0]):04X}⟩", text.replace("\r\n", "\n"))


def short(value: object, limit: int = 60) -> str:
    """A value on one line of at most `limit` characters."""
    text = visible(" ".join(str(value).split()))
    return text if len(text) <= limit else f"{text[: limit - 1]}…"


def share(part: float, whole: float) -> str:
    """Per cent with one decimal; a share of nothing is not stated."""
    return f"{100 * part / whole:.1f} %" if whole else NOTHING


def tally(counts: Mapping[Any, int], most: int = 8) -> str:
    """'1: 20, 2: 25, not stated: 3', in the order of `sorted_values`, at most `most` of them."""
    words = {value: NOT_STATED if value is None else short(value, 40) for value in sorted_values(counts)}
    shown = [f"{word}:\N{NO-BREAK SPACE}{counts[value]:,}" for value, word in words.items()]
    if len(shown) > most:
        shown[most:] = [f"{len(shown) - most:,} more"]
    return ", ".join(shown) or NOTHING


def sorted_values(values: Mapping[Any, int]) -> list[Any]:
    """easy, medium, hard; numbers by size; other words alphabetically; None last."""
    known = {"easy": 0, "medium": 1, "hard": 2}

    def key(value: Any) -> tuple[int, float, str]:
        text = str(value)
        if value is None:
            return 3, 0, ""
        if text in known:
            return 0, known[text], text
        return (1, float(text), text) if re.fullmatch(r"[0-9]{1,9}", text) else (2, 0, text)

    return sorted(values, key=key)


def plain(values: Mapping[str, Any]) -> str:
    """Parameters and facts: 'threshold: 0.8; keep: ["en"]'."""
    texts = {key: one if isinstance(one, str) else json.dumps(one, ensure_ascii=False) for key, one in values.items()}
    return "; ".join(f"{short(key)}: {short(text, 400)}" for key, text in texts.items()) or NOTHING


def line(text: str) -> str:
    """Text as one line that Markdown shows as it is: no link, image, table or tag."""
    text = re.sub(r"([\\`*_\[\]<>|~&$#])", r"\\\1", visible(" ".join(text.split())))
    text = text.replace("://", ":\\//")  # bare addresses would become links
    return re.sub(r"(?i)\b(www)\.", r"\1\\.", text)


def fenced(text: str) -> str:
    """Text as a block that nothing inside it can close."""
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}text\n{text}\n{fence}"
