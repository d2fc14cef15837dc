"""Markup around what a text says: bold, headings, quotes, fences, tags. Linear, on a text that is short."""

from __future__ import annotations

import re
from collections.abc import Callable


def _one_line(formula: re.Match[str]) -> str:
    return r"\[" + " ".join(formula.group(1).split()) + r"\]"


_MARKUP: tuple[tuple[str, re.Pattern[str], str | Callable[[re.Match[str]], str]], ...] = tuple(
    (needed, re.compile(pattern, re.IGNORECASE | re.MULTILINE), meant)
    for needed, pattern, meant in (
        ("<<", r"<<[^<>\n]{0,200}>>", ""),  # calculations of GSM8K
        ("\\[", r"\\\[\s*((?:(?!\\[\[\]])[^$])*?)\s*\\\]", _one_line),
        ("$$", r"\$\$\s*([^$]*?)\s*\$\$", _one_line),
        ("<", r"</?(?:b|strong)(?:\s[^<>]{0,100})?>", "**"),
        ("<", r"<sup>([^<>]{1,40})</sup>", r"^{\1}"),
        ("<", r"<(?:br|/p|/div|/li)(?:\s[^<>]{0,100})?/?>", "\n"),
        ("<", r"</?(?:answer|i|em|u|p|span|div|li|ul|ol|code|pre|center|mark|font|big|h[1-6])(?:\s[^<>]{0,100})?>", ""),
        ("~~~", r"^[ \t]{0,8}~{3,}[a-z]{0,20}[ \t]{0,8}$", ""),
        ("```", r"^[ \t]{0,8}`{3,}[a-z]{0,20}[ \t]{0,8}$", ""),
        ("`", r"`+", ""),
        ("~~", r"~~[^~\n]+~~", ""),
        ("==", r"==(?=\S)([^=\n]+)==", r"**\1**"),
        (">", r"^[ \t]{0,8}(?:>[ \t]{0,4})+", ""),
        ("#", r"^[ \t]{0,8}#{1,3}[ \t]|^[ \t]{0,8}#{4,6}[ \t](?![\s*$\\(\[.\d-]|[^\n]*\s*\Z)", ""),
        ("*", r"^[ \t]{0,8}\*[ \t](?=[ \t]?\S)", ""),
        ("-", r"(?<=\n)[ \t]{0,8}-[ \t](?=[ \t]?\S)", ""),  # on the first line it may be a sign
        ("\u2022", r"^[ \t]{0,8}\u2022[ \t]?", ""),
        ("__", r"(?<![\w\\}])__(?=\S)([^_\n]+)__(?![\w{])", r"**\1**"),
        ("_", r"(?<![\w\\}_])_(?=[^\s_])([^_\n]+)_(?![\w{_])", r"\1"),
        ("*", r"(?<![\w)\]}*])\*(?=[^\s*])([^*\n]*[^\s*])\*(?![\w(*])", r"\1"),
    )
)
"""What a text must hold for a rule, the rule, and what it leaves."""
BOLD = re.compile(r"(?<![a-zA-Z\d)\]}])\*\*(?=[^\s*])([^*\n]+)\*\*")
_STARS = re.compile(r"(?<![a-zA-Z\d)\]}])\*\*+|\*\*+(?![a-zA-Z\d(\\-])")


def without_markup(text: str) -> str:
    """The text with bold in one spelling (**42**), a formula on one line, and no other markup."""
    for needed, pattern, meant in _MARKUP:
        if needed in text:
            text = pattern.sub(meant, text)
    return text


def without_stars(text: str) -> str:
    """Without bold marks; a power (x**2) keeps its stars."""
    return _STARS.sub("", BOLD.sub(r"\1", text)) if "**" in text else text
