"""What one sentence states: announced ("The answer is ..."), or closing a text that announced nothing. Plain text."""

from __future__ import annotations

import re
from itertools import pairwise

from openklear.verifiers.prose.lead_ins import without_words
from openklear.verifiers.prose.pieces import Piece, has_words, pieces

_WORDS = re.compile(r"(?<![\\\w{])[^\W\d_]{2,}")
_FIRST_WORD = re.compile(r"[a-z]{2}\b", re.IGNORECASE)
_ORDINAL = re.compile(r"\d(?:st|nd|rd|th)\b")
_FOREIGN = re.compile(r"[^\x00-\x7f\W\d_]")
_FOREIGN_SENTENCE = re.compile(r"[^\x00-\x7f\W\d_]{4,}|[\u3001\u3002\uff0c]")
"""A run of letters that are not Latin, or their punctuation: Chinese marks a sentence by no spaces."""
_SHORT, _SPACES = 40, 2
"""Longest phrase, in characters and in spaces, that may be nothing but an answer."""
_QUALIFIED = re.compile(
    r"(?:at (?:least|most)|(?:more|less|fewer|greater|larger|smaller) than|over|under|up to|below|above|between"
    r"|(?:jan|febr)uary|march|april|may|june|july|august|(?:septem|octo|novem|decem)ber"
    r"|(?:mon|tues|wednes|thurs|fri|satur|sun)day)\b",
    re.IGNORECASE,
)
"""Words that make another answer of the value behind them: more than 5, May 12."""
_LINK = re.compile(
    r"\s*(?:(?P<comma>,)\s*)?\(?(?:\b(?P<word>and|or|y|o|et|ou|und|oder)\b|[&\u6216\u548c\u53ca])\s*", re.IGNORECASE
)
"""Between values that are offered together: 5 or 6 is neither 5 nor 6."""
_COMMA = re.compile(r"\s*[,;]\s*")
_LOOSE = re.compile(r"\s+(?:to|through|versus|vs)\s+|(?:\s+[a-z]{2,20}){1,2},?\s+(?:and|or)\s+|\s*\(\s*or\s+")
_OR = re.compile(r"[,\s(]*(?:or|o|ou|oder|\u6216)\s*", re.IGNORECASE)
_LABELLED = re.compile(r"[^\W\d_]{1,20}(?: [^\W\d_]{1,20}){0,6}\s?:")
_ASIDE = re.compile(
    r"\b(?:after|before|within|per|than|out of|every|each|since|until|during|instead of|starting with|starting from"
    r"|over the (?:next|last|past))(?:\s+(?:the|a|an|about|next|first|last|\$))*\s*\$?$",
    re.IGNORECASE,
)
_DENIED = re.compile(
    r"(?:\bnot|n't|\bnever|\bwithout|\\neq?|!=)\s*(?:\b(?:be|equal to|equal|just|simply)\s*)?\$?$", re.IGNORECASE
)
_GOES_ON = re.compile(r"\s*(?:times|plus|minus|divided|multiplied|over|more than|less than)\b", re.IGNORECASE)


def announced(sentence: str) -> str:
    """What a sentence states that is said to state the answer: all of it, where it is nothing else; or the value that
    it starts with. Where an explanation starts instead ("We add the two numbers."), nothing."""
    words = without_words(sentence)
    if found := phrase(words):
        return found
    first = [run for run in _runs(words, loosely=True) if not run[0].start]
    if not first or _GOES_ON.match(words, first[0][-1].end):
        return ""
    run = first[0]
    alone = not _WORDS.search(words, run[-1].end)
    together = alone or any(not _COMMA.fullmatch(link) for link in _links(words, run))
    return _offer(words, run) if together else run[0].value


def closing(sentence: str) -> str:
    """What a sentence states that nothing announced: its last value, or the first where a label (Total: 42) is before
    it. It tells what was done as often as it states: "3 friends get 14 each", "there are 42 after 3 days"."""
    words = without_words(sentence)
    offered: list[tuple[Piece, str]] = []
    for run in _runs(words, loosely=False):
        together = _is_offered(words, run)
        offered += [(run[0], _offer(words, run))] if together else [(piece, piece.value) for piece in run]
    offered = [(piece, value) for piece, value in offered if not _DENIED.search(words[: piece.start])]
    if not offered:
        return ""
    first, value = offered[0]
    if not first.start and _LABELLED.match(sentence) and "=" not in words[first.end :]:
        return value
    results = [value for piece, value in offered if not (piece.alone and _is_aside(words[: piece.start]))]
    return (results or [value for _, value in offered])[-1]


def phrase(text: str) -> str:
    """The text where it is an answer and not a sentence with one in it, else nothing."""
    if "$" in text or r"\[" in text or r"\(" in text or _FOREIGN_SENTENCE.search(text):
        return ""
    found, words = pieces(text), _WORDS.findall(text)
    if not has_words(text) or (len(words) <= 1 and len("".join(words)) <= 2 and not _FIRST_WORD.match(text)):
        return "" if found and (_FOREIGN.search(text) or _ORDINAL.search(text)) else text
    short = len(text) <= _SHORT and text.count(" ") <= _SPACES
    return text if short and (_QUALIFIED.match(text) or not found) else ""


def _runs(text: str, loosely: bool) -> list[list[Piece]]:
    """The values of a sentence, those with nothing but a comma, "and" or "or" between them in one list."""
    runs: list[list[Piece]] = []
    for piece in pieces(text):
        between = text[runs[-1][-1].end : piece.start].replace("$", "") if runs else ""
        linked = _LINK.fullmatch(between) or _COMMA.fullmatch(between)
        if runs and (linked or (loosely and (_LOOSE.fullmatch(between) or between.isspace()))):
            runs[-1].append(piece)
        else:
            runs.append([piece])
    return runs


def _links(text: str, run: list[Piece]) -> list[str]:
    return [text[left.end : right.start] for left, right in pairwise(run)]


def _is_offered(text: str, run: list[Piece]) -> bool:
    """Whether a sentence that closes a text offers a run as one answer: 5 or 6; x = 1 or x = 2; 1, 2, and 3.

    Not "k = 900 and n = 890", of which one was asked for, nor "30 + 28, or 58", which says the same again, nor
    "in 2020, 42".
    """
    links = _links(text, run)
    words = [link for link in links if not _COMMA.fullmatch(link)]
    if not words or not all(piece.alone or (piece.named and _OR.fullmatch(words[0])) for piece in run):
        return False
    return len(run) > 2 or "," not in words[0]


def _offer(text: str, run: list[Piece]) -> str:
    """A run of values as one answer."""
    if len(run) == 1:
        return run[0].value
    return text[run[0].start : run[-1].end].strip().replace("\u6216", " or ")


def _is_aside(before: str) -> bool:
    """Whether a value follows "after", "per" and the like, or stands in brackets: it is no result."""
    return _ASIDE.search(before[-60:]) is not None or before.count("(") > before.count(")")
