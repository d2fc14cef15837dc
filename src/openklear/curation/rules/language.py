"""The language of prompts, found in what is left of them without formulas, code and numbers.

By py3langid (Lui and Baldwin 2012, "langid.py", ACL; a fork kept up to date; BSD), the extra `language`. On the English
prompts of MATH, half of them formulas, it errs at 0.2 % of what is long enough to ask about; lingua errs at 1 % and
takes 8 s and 1 GB to load, or at 5 % in its small mode.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from difflib import get_close_matches
from functools import lru_cache, partial
from typing import Any

from openklear.curation.rules import Reason, Rule
from openklear.data.rows import Row, prompt_text
from openklear.errors import DataError

MIN_BYTES = 20
"""UTF-8 bytes of words from which on a text is asked about: three English words, or seven Chinese characters."""
MAX_LEFT = 0.1
"""A text is of another language where the kept ones have less than this probability together."""
_LOOKED_AT = 8192
"""Characters at a prompt's start that are looked at."""
_NO_LANGUAGE = "zxx"

_NOT_PROSE = re.compile(
    r"```.*?(?:```|\Z)"
    r"|`[^`\n]*`"
    r"|\[asy\].*?(?:\[/asy\]|\Z)"
    r"|\$\$.*?(?:\$\$|\Z)"
    r"|\$[^$]*\$"
    r"|\\\[.*?(?:\\\]|\Z)"
    r"|\\\(.*?(?:\\\)|\Z)"
    r"|\\begin\{(\w+\*?)\}.*?(?:\\end\{\1\}|\Z)"
    r"|\\[A-Za-z]+"
    r"|https?://\S+",
    re.DOTALL,
)
_WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)*")


def prose(text: str) -> str:
    """The words of a text, without LaTeX, code, addresses, numbers and names of one Latin letter."""
    words = _WORD.findall(_NOT_PROSE.sub(" ", text[:_LOOKED_AT]))
    return " ".join(word for word in words if len(word) > 1 or not word.isascii())


def languages(text: str) -> dict[str, float]:
    """ISO 639-1 code -> probability of the text's language; empty where too little of it is prose to say.

    A few languages without such a code have a longer one. DataError where py3langid is not installed.
    """
    words = prose(text)
    if len(words.encode("utf-8", "replace")) < MIN_BYTES:
        return {}
    return {code: float(probability) for code, probability in identifier().rank(words)}


def another_language(row: Row, keep: Sequence[str]) -> Reason:
    """A prompt that is surely in none of the languages `keep`.

    One whose language is unclear (too short, all formulas, nearly alike languages) stays.
    """
    found = languages(prompt_text(row.problem))
    left = sum(found.get(code, 0.0) for code in (*keep, _NO_LANGUAGE))
    if not found or left >= MAX_LEFT:
        return None
    likeliest = max(found, key=lambda code: found[code])
    return "another language", f"{likeliest} ({found[likeliest]:.0%}), not {', '.join(keep)} ({left:.0%})"


def language_rule(keep: Sequence[str]) -> Rule:
    """Keep rows whose prompt is, or may be, in one of the languages `keep` (ISO 639-1 codes: en, zh).

    DataError for a code that is not known, and where py3langid is not installed.
    """
    known = list(identifier().labels)
    unknown = next((code for code in keep if code not in known), None)
    if unknown is not None:
        (near,) = get_close_matches(unknown.lower()[:2], known, n=1, cutoff=0.0)
        hint = f"{unknown!r} is no known language; is it {near!r}?"
        raise DataError(f"languages: {hint} write ISO 639-1 codes, as in ['en', 'zh']")
    return partial(another_language, keep=tuple(keep))


@lru_cache(maxsize=1)
def identifier() -> Any:
    """The model, loaded once in a process (0.6 s)."""
    try:
        from py3langid import langid  # type: ignore[import-untyped,import-not-found,unused-ignore]
    except ImportError as error:
        raise DataError(
            "languages: recognising languages needs py3langid; run pip install 'openklear[language]', "
            "or take languages out of the recipe"
        ) from error
    return langid.LanguageIdentifier.from_model_file(langid.MODEL_FILE, norm_probs=True)
