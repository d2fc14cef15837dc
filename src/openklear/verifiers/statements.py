"""What a statement says of outputs other than the recorded one: that they are right too, or that letter case is free.

The patterns are English as contests write it, and the commonest Chinese. They look within a sentence, which a full stop
or an empty line ends and a single line break does not. All their repetitions are bounded: linear in the statement.
"""

from __future__ import annotations

import re

_PRINT = r"\b(?<!not )(?<!n't )(?<!never )(?:print|output|return|report|display|write)(?:ing|ed)?\b"
_FIND = (
    r"\b(?<!not )(?<!n't )(?<!able to )(?<!fail to )(?<!fails to )(?<!can )(?<!cannot )(?<!could )(?<!possible to )"
    r"(?<!ly )(?<!\d\. )"
    r"(?:find|construct|restore|build|show|provide|reconstruct|generate|design|determine|recover|come up with)\b"
)
_GIVE = rf"(?:{_PRINT}|{_FIND}|\bgive\b)"
_GOOD = (
    r"(?:valid|such|possible|correct|suitable|optimal|acceptable|appropriate|feasible|good|right|legal|proper|matching"
    r"|permissible|admissible)"
)
_ANSWER = r"(?:answer|solution|output|result|option|variant|way|example|choice)s?"
_THING = (
    rf"(?:{_ANSWER}|(?:permutation|arrangement|assignment|sequence|pair|set|triplet?|path|route|cycle|order|ordering"
    r"|array|string|graph|tree|table|grid|colou?ring|partition|division|split|schedule|plan|subsequence|subset|pattern"
    r"|configuration|combination|word|distribution|decomposition|representation|placement|list|polygon"
    r"|point|rectangle)s?|matrix|matrices|series|strategy|strategies)"
)
_WORDS = r"(?:(?!(?:if|whether|when|where|of|than|unless|without|that|before|after)\b)[\w'-]{1,20} ){0,3}?"
_JUST = r"(?:(?:just|only|exactly|at least|me|us|him|her|them|for example) ){0,2}"
_ADJECTIVES = r"(?:(?!(?:of|the|that|which|in|for|on|to|and|or|with|from|by|at)\b)[\w-]{1,20} ){0,3}?"
_ANY = r"(?:any|either|arbitrary|an arbitrary|whichever)"
_SEVERAL = r"\b(?:multiple|several|many|more than one|different|various|numerous|two or more)\b"
_UNCHOSEN = r"(?<!select )(?<!choose )(?<!pick )(?<!take )(?<!use )(?<!of )(?<!in )(?<!to )(?<!from )"
_END = r"(?: ?[.,;!)]|$)"
_NUMBER = r"(?:numbers?|integers?|values?|vertices|vertex|index|indices|elements?|points?|pairs?)(?! of\b)"
_TAKEN = (
    r"(?:(?:is|are|will be|would be|can be|may be|would|should be) (?:\w{1,20} )?(?:accepted|acceptable|allowed|fine"
    r"|valid|considered|printed|output|returned|correct|ok|okay|good|enough)|will do|suffices|works)\b"
)
_SMALL = (
    r"(?:\b1(?:\.0{1,9})? ?e ?[-\u2212]|\b10 ?(?:\^|\*\*|<sup>) ?[{(]{0,2} ?[-\u2212\u2013]|\b10\u207b"
    r"|\b0\.0{1,12}[15]\b"
    r"|\\(?:var)?epsilon|(?:most|than|exceed|within|of|to|is|below|under) \$?10 ?[-\u2212\u2013] ?\d{1,2}\b)"
)
"""A small number that an error may reach: 1e-6, 10^{-6}, 10 - 9, 0.001."""

_MANY = [
    re.compile(pattern)
    for pattern in (
        # "If there are multiple answers, print any"; "you may find any one"; "anyone will do"; "all are accepted"
        rf"{_SEVERAL}[^.]{{0,100}}?{_GIVE} {_WORDS}(?:{_ANY}|anyone)\b",
        rf"{_SEVERAL} (?:\w{{1,20}} ){{0,2}}?{_ANSWER}\b[^.]{{0,80}}?\b(?:choose|select|pick|take|use) {_WORDS}any",
        rf"{_SEVERAL} [^.]{{0,80}}?\b{_UNCHOSEN}(?:any|anyone|either|whichever)"
        rf"(?:{_END}| (?:one|of (?:them|these|those)|{_TAKEN}))",
        rf"{_SEVERAL} [^.]{{0,80}}?\ball(?: of (?:them|these|those))? {_TAKEN}",
        rf"{_SEVERAL} (?:{_GOOD} )?{_ANSWER} {_TAKEN}",
        rf"{_SEVERAL} [^.]{{0,80}}?{_GIVE} (?:just |only )?(?:one|some)(?: of (?:them|these|those)\b|{_END})",
        # "Print any of them"; "output any permutation"; "print any two pairs"; not "choose any pair and swap it"
        rf"(?:{_PRINT}|\bgive) {_WORDS}(?:{_ANY} (?:one\b|of (?:them|these|those|such|all)\b|{_GOOD}\b)|any of the\b"
        rf"|(?:any|arbitrary|an arbitrary|whichever) {_ADJECTIVES}{_THING}\b|anyone\b)",
        rf"{_PRINT} {_WORDS}any(?: (?:two|three|\d|k|n|m) {_ADJECTIVES}{_NUMBER}\b|{_END}| if\b)",
        rf"{_PRINT} {_WORDS}any {_NUMBER} (?:[\w$]{{1,20}} )?(?:such that|that|which|satisfying)\b",
        # "Find any non-empty string that matches"; "construct any sequence satisfying the properties"
        rf"{_FIND} {_WORDS}{_ANY} (?:one\b|of (?:them|these|those|the|such)\b|{_GOOD}\b"
        rf"|{_ADJECTIVES}{_THING}\b(?! of length))",
        rf"[\u2014\u2013:-] ?any {_ADJECTIVES}{_THING} (?:that|which|satisfying|meeting)\b|\bor any other {_GOOD}\b",
        # "Find one valid partition"; "print one of the answers"; "output some solution"; "print a valid order"
        rf"{_GIVE} {_JUST}(?:one|some) (?:{_GOOD} {_ADJECTIVES}{_THING}\b|{_ANSWER}\b|of (?:them|these|those)\b)",
        rf"{_GIVE} {_JUST}one of the (?:(?:{_GOOD}|\w{{1,12}}est) )?{_ANSWER}\b",
        rf"{_GIVE} {_JUST}one of the (?:{_GOOD}|\w{{1,12}}est) {_THING}\b",
        rf"{_PRINT} {_JUST}an? (?:valid|possible|suitable|feasible) {_THING}\b|{_GIVE} {_JUST}an? example of\b",
        # "Find a permutation that is good or determine that there is none"; "the task is to construct a tree such that"
        rf"{_FIND} {_JUST}(?:an?|some) {_ADJECTIVES}{_THING}\b[^.]{{0,120}}?\bor (?:determine|report|state|say|tell)\b",
        rf"\b(?:task|goal) is to (?:construct|build) an? {_ADJECTIVES}{_THING} (?:with [^.,]{{1,40}}?)?such that\b",
        # "Any valid answer is accepted"; "any of them will do"; "the answer need not match"
        rf"\bany(?:one)? (?:(?:one )?of (?:them|these|those|the)(?: [\w-]{{1,20}}){{0,3}}?"
        rf"|(?:{_GOOD} )?(?:{_THING}|one))(?: (?:that|which|satisfying) [^.]{{1,60}}?)? {_TAKEN}",
        rf"\b(?:all|every|each) {_GOOD} (?:answers?|solutions?|outputs?) {_TAKEN}",
        r"\b(?:your|the) (?:answer|solution|output) (?:(?:may|might|can) (?:differ|be different|not match)"
        r"|(?:does not|doesn't|need not) (?:have to |need to )?(?:match|coincide|be the same))\b",
        r"(?:not|n't) (?:need|have|required|necessary|obliged) to minimi[sz]e|\b(?:special|custom) (?:judge|checker)\b",
        # "You may return the answer in any order"; not "perform the operations in any order"
        rf"(?:{_PRINT}|\b(?:answers?|results?|combinations|solutions?|(?:may|can) be listed)\b)"
        r"(?:(?! (?:to (?!output|print|return)\w|can ))[^.]){0,120}?"
        r"\bin (?:any|an arbitrary|arbitrary|whatever|whichever|no particular) (?:possible )?(?:order|sequence)\b"
        r"(?! (?:of|in which)\b)",
        rf"(?:{_PRINT}[^.]{{0,100}}?\border\b|\border of (?:the |your |[\w ]{{1,30}} in the )?"
        r"(?:outputs?|answers?|results?|lines)\b)"
        r"[^.]{0,40}?(?:n't matter|not matter|not important|arbitrary|irrelevant)\b",
        # "Answers within 10^-5 of the actual value will be accepted"; "differs by at most 10^-9"
        r"\b(?:absolute|relative) ?(?:and/or|or|and|/) ?(?:relative|absolute) (?:error|precision|tolerance|difference)",
        r"\b(?:absolute|relative|calculation|rounding) (?:error|deviation)s?\b[^.]{0,60}?"
        r"\b(?:10|1e|exceed|less|most|accepted|allowed|ignored)",
        r"\b(?:errors?|differ\w{0,6}|deviat\w{1,6}|toleran\w{1,6}|precision|accura\w{1,4}|within|away|close)\b"
        rf"[^.]{{0,100}}?{_SMALL}|\bwithin \$?10 ?[-\u2212\u2013] ?\d",
        r"\bat least (?:\w{1,9}|\$\d{1,2}\$) (?:digits|decimals?|decimal (?:digits|places))\b(?! long)",
        r"\bany number of (?:digits|decimals)\b",
        "\u8f93\u51fa\u4efb[\u610f\u4f55]|\u4efb[\u610f\u4f55]\u4e00[\u4e2a\u7ec4\u79cd][^\u3002]{0,12}?[\u5373\u5747\u90fd]\u53ef",
    )
]

_QUOTES = "[\"'\u201c\u201d\u2018\u2019`*$ ]{0,4}"
_VERDICT = rf"{_QUOTES}\b(?:yes|no|true|false|alice|bob|possible|impossible)\b{_QUOTES}"
_LETTERS = r"(?:letters?|characters?|symbols?|words?|strings?)"
_CASE = r"\bin (?:any|either|arbitrary|an arbitrary|whatever|whichever) (?:letter )?(?:case|register)\b"
_CASE += r"(?![^.]{0,20}\binput)"
_MAY = r"\b(?:can|may|might|could|allowed|free)\b"
_SHOWN = r"(?:print|output|write|display|return|answer|type)(?:ed|ing|ten)?\b"
_OUTPUT = r"\b(?:outputs?|answers?|verdicts?|responses?|results?)\b"
_UPPER_OR_LOWER = r"\b(?:upper|lower|capital)(?: ?-?case)?(?: letters?)? (?:or|and|/) (?:upper|lower|small)"
_NO_MATTER = r"(?:(?:does not|doesn't|is not|isn't) (?:matter|important|relevant|significant)|is ignored)"
_ANY_CASE = [
    re.compile(pattern)
    for pattern in (
        # "You can print each letter in any case"; "you can output YES and NO in any case"; "may be printed in any case"
        rf"{_MAY} (?:be )?(?:to )?(?:\w{{1,20}} ){{0,2}}?{_SHOWN}[^.]{{0,80}}?(?:{_CASE}|{_UPPER_OR_LOWER})",
        rf"{_OUTPUT}[^.]{{0,40}}?{_MAY} be [^.]{{0,40}}?(?:{_CASE}|{_UPPER_OR_LOWER})",
        rf"\b{_LETTERS} (?:\w{{1,20}} ){{0,4}}?{_MAY} be (?:\w{{1,20}} ){{0,2}}?{_CASE}",
        rf"{_CASE} ?\(?(?:upper|lower)|{_VERDICT}\(?{_CASE}",
        # "You may choose the case (lower or upper) for each letter"
        r"\b(?:choose|use|pick) (?:any|the|either|whichever|upper|lower)(?: letter)? ?-?case\b[^.]{0,60}?"
        r"\b(?:each|every|any|all|the) (?:letters?|characters?|answer|output)",
        # "The output is case-insensitive"; "the case of the letters in the output does not matter"
        rf"(?:{_OUTPUT}|\b(?:checker|judge|grader)) (?:is|are|will be|should be)"
        r" (?:\w{1,20} ){0,3}?(?:case ?-? ?insensitive|insensitive to (?:the )?case|not case ?-?sensitive)",
        rf"{_VERDICT}(?:otherwise )?\(?case ?-? ?insensitive",
        rf"{_OUTPUT}[^.]{{0,60}}?\b(?:letter case|case|capitali[sz]ation) (?:of [\w ]{{1,30}}?)?{_NO_MATTER}",
        rf"\b(?:case|capitali[sz]ation) (?:of [\w ]{{1,30}}?)?{_NO_MATTER} (?:in|for) (?:the|your) {_OUTPUT}",
        rf"\bcase of (?:[\w ]{{1,30}}?)?{_OUTPUT} {_NO_MATTER}",
        rf"{_UPPER_OR_LOWER}[^.]{{0,20}}? in (?:the|your) {_OUTPUT}[^.]{{0,20}}? (?:treated|considered|regarded)\b",
        r"\b(?:checker|judge|grader)\b[^.]{0,40}?\bignor\w{1,4} (?:the )?(?:letter )?case\b",
        "\u8f93\u51fa[^\u3002]{0,20}?(?:\u4e0d\u533a\u5206\u5927\u5c0f\u5199|\u5927\u5c0f\u5199(?:\u5747\u53ef|\u4e0d\u9650|\u4efb\u610f))",
    )
]
_SPELT = re.compile(
    r"\b(?:yEs|yES|yeS|YeS|YEs)\b"
    r"|\b(?:YES|Yes|yes)[\"'\u201d\u2019`]{0,2}(?:,| and| or|, and|, or) [\"'\u201c\u2018`]{0,2}(?:YES|Yes|yes)\b"
)
"""Nobody writes yEs, or YES beside yes, but to say that it is taken for the same."""

_LONGEST = 100_000
"""Characters of a statement that are looked at; the longest of real ones have a tenth of it."""
_MARKUP = re.compile(r"</?(?:b|i|u|em|strong|p|span|code|li|br ?/?)>|\*{1,2}(?=[A-Za-z])|(?<=[A-Za-z.])\*{1,2}|&nbsp;")
_SENTENCE_END = re.compile(r"(?<!\d)\. ")
_MANY_CUES = re.compile(
    rf"{_SEVERAL}|\b(?:any|arbitrary|either|whichever|(?:one|some|all) (?:of|are|will|would|{_GOOD}|{_ANSWER})"
    rf"|(?:every|each) {_GOOD}|(?:just|only|exactly|print|output) (?:one|some)"
    r"|a (?:valid|possible|suitable|feasible)|(?:solution|answer|output)s? (?:may|might|can|could|does|need|is|are)"
    r"|or (?:determine|report|state|say|tell)|(?:task|goal) is|order|error|differ|deviat|toleran|precision|accura"
    r"|within|away|close|at least|minimi|special|custom|example)|\u4efb"
)
_CASE_CUES = re.compile("(?<!test )case|upper|register|capital|\u5927\u5c0f\u5199")


def needs_checker(statement: str) -> bool:
    """Whether the statement says that other outputs than the recorded one are right: no equality can grade it then."""
    return _says(statement, _MANY_CUES, _MANY)


def takes_any_case(statement: str) -> bool:
    """Whether the statement says that an output is right in capital and in small letters."""
    return _SPELT.search(statement[:_LONGEST]) is not None or _says(statement, _CASE_CUES, _ANY_CASE)


def checker_said(statement: str) -> str | None:
    """The checker that the statement asks for by its words; None where it asks for none, or for one of its own."""
    return "anycase" if takes_any_case(statement) and not needs_checker(statement) else None


def _says(statement: str, cues: re.Pattern[str], patterns: list[re.Pattern[str]]) -> bool:
    """Whether a sentence with one of the cues, in small letters and with single spaces, fits a pattern."""
    plain = _MARKUP.sub("", statement[:_LONGEST]).replace("\u2019", "'").replace("\u2011", "-")
    paragraphs = plain.lower().replace("\r\n", "\n").split("\n\n")
    text = ". ".join(" ".join(paragraph.split()) for paragraph in paragraphs)
    telling = ". ".join(sentence for sentence in _SENTENCE_END.split(text) if cues.search(sentence))
    return any(pattern.search(telling) for pattern in patterns)
