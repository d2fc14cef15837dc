"""What one sentence states: announced ("The answer is ..."), or closing a text that announced nothing. Plain text."""

from __future__ import annotations

import re

from openklear.verifiers.prose.lead_ins import without_words
from openklear.verifiers.prose.offers import COMMA, links, offer, offered_in_closing, runs, says_one
from openklear.verifiers.prose.pieces import Piece, has_words

_WORDS = re.compile(r"(?<![\\\w{])[^\W\d_]{2,}")
_SENTENCE_WORDS = frozenset(("at", "in", "to", "of", "by", "on", "if", "as", "is", "so", "we", "it", "be", "no"))
"""Words as short as a unit (cm) or as "or", which an answer that is no sentence may hold."""
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
_LABELLED = re.compile(r"[^\W\d_]{1,20}(?: [^\W\d_]{1,20}){0,6}\s?:")
_ASIDE = re.compile(
    r"\b(?:after|before|within|per|than|out of|every|each|since|until|during|instead of|starting with|starting from"
    r"|(?:attained|achieved|reached|occurs?|occurring) (?:at|when|for|by)"
    r"|over the (?:next|last|past))(?:\s+(?:the|a|an|about|next|first|last|\$))*\s*\$?$",
    re.IGNORECASE,
)
_GIVEN = re.compile(r"\b(?:if|when|where|given|with|at|since|because|as|assuming|let)(?: that)?\s*\$?$", re.IGNORECASE)
"""Before a name and its value: a condition, as in "42 when x = 3"."""
_EXPLAINED = re.compile(r",?\s+(?:where|since|because|given that)\b|\s+(?:is|are)\s+(?:the|our)\b")
_YES = re.compile(r"(yes|no|true|false)[,.;:!]", re.IGNORECASE)
_DIGIT = re.compile(r"\d")
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
    first = next(iter(runs(words, loosely=True)), None)
    if not first or first[0].start or _GOES_ON.match(words, first[-1].end):
        return ""
    together = _is_whole(words, first) or any(not COMMA.fullmatch(link) for link in links(words, first))
    return offer(words, first) if together else first[0].value


def closing(sentence: str) -> str:
    """What a sentence states that nothing announced: its last value, or the first where a label (Total: 42) is before
    it. It tells what was done as often as it states: "3 friends get 14 each", "there are 42 after 3 days"."""
    words = without_words(sentence)
    offered: list[tuple[Piece, str]] = []
    for run in runs(words, loosely=False):
        together = offered_in_closing(words, run)
        offered += [(run[0], offer(words, run))] if together else [(piece, piece.value) for piece in run]
    offered = [(piece, value) for piece, value in offered if not _DENIED.search(words[: piece.start])]
    if not offered:
        return ""
    first, value = offered[0]
    labelled = _LABELLED.match(sentence) and "=" not in words[first.end :]
    if not first.start and (labelled or (_EXPLAINED.match(words, first.end) and _DIGIT.search(value))):
        return value
    results = [value for piece, value in offered if not _is_aside(words[: piece.start], piece)]
    return (results or [value for _, value in offered])[-1]


def phrase(text: str) -> str:
    """The text where it is an answer and not a sentence with one in it, else nothing. Where it says one number twice
    (1/2, or 50%), that number."""
    if "$" in text or r"\[" in text or r"\(" in text or _FOREIGN_SENTENCE.search(text):
        return ""
    found = runs(text, loosely=True)
    if _has_no_prose(text):
        said_twice = len(found) == 1 and not found[0][0].start and _is_whole(text, found[0]) and says_one(found[0])
        odd = found and (_FOREIGN.search(text) or _ORDINAL.search(text))
        return "" if odd else found[0][0].value if said_twice else text.rstrip(" ,;:")
    if not found and (yes := _YES.match(text)):
        return yes.group(1)
    short = len(text) <= _SHORT and text.count(" ") <= _SPACES
    return text if short and (_QUALIFIED.match(text) or not found) else ""


def _has_no_prose(text: str) -> bool:
    words = "".join(_WORDS.findall(text)).casefold()
    return not has_words(text) or (len(words) <= 2 and words not in _SENTENCE_WORDS)


def _is_whole(text: str, run: list[Piece]) -> bool:
    return not _WORDS.search(text, run[-1].end)


def _is_aside(before: str, piece: Piece) -> bool:
    """Whether a value follows "after", "per" and the like, or stands in brackets: it is no result."""
    if piece.named:
        return _GIVEN.search(before[-60:]) is not None
    return piece.alone and (_ASIDE.search(before[-60:]) is not None or before.count("(") > before.count(")"))
