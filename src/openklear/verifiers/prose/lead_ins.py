r"""Words that announce an answer ("The answer is", "So we get", "=", "Total:") and boxes that hold none.

Every look is at the first characters of a text, and bounded.
"""

from __future__ import annotations

import re

from openklear.verifiers.prose.markup import without_stars

_LOOK = 240
"""Characters at the start of a text in which a lead-in may lie."""
_VERB = (
    r"(?:is|are|was|were|be|equals?|becomes?|(?:will|would|should|must|can|has to|have to) (?:only )?be"
    r"|comes? (?:out )?to|turns? out to be|amounts? to|works? out (?:to|as))"
)
_FILLERS = (
    r"(?:therefore|thus|hence|then|indeed|just|now|also|again|still"
    r"|equal to|given by|that|approx\.?|about|around|almost|namely|[a-z]{2,15}ly)"
)
_ANSWER = re.compile(
    rf"\s*(?:(?:so|thus|hence|therefore|and|then)\b,?\s+)?(?:(?:the|my|our|your|its)\s+)?(?:(?:final|correct|right|exact)\s+)?"
    rf"(?:(?:answers?|ans|solution)\b\.?\s*(?:{_VERB}\b|[:=])|(?:答案|答)(?:是|为|為|[:=\uff1a]))\s*[:=\uff1a]?\s*",
    re.IGNORECASE,
)
_SYMBOLS = re.compile(
    r"\s*(?:=>|->|[=:\uff1a]|\\(?:approx|therefore|implies|Rightarrow|Longrightarrow|rightarrow|to|simeq)(?![a-zA-Z])"
    r"|[\u2248\u2234\u21d2\u2192]|\\(?:[,;:! ]|q?quad(?![a-zA-Z])|displaystyle(?![a-zA-Z])))\s*"
)
_OPENER = (
    r"(?:so|thus|hence|therefore|then|finally|consequently|overall|altogether|now|as a result|it follows"
    r"|in (?:total|all|conclusion|summary|short|sum|the end)|to sum up|of course|clearly)"
)
_PROSE = re.compile(
    rf"\s*(?:{_OPENER}\b(?:,|\s+that\b)?|{_FILLERS}(?![a-zA-Z'])"
    r"|(?:that|it|this|there|here|what|he|she)'s\b"
    r"|(?:we|i|you|one|they|he|she|it)\s+"
    r"(?:can |then |finally |thus |therefore |now |must |will |would |should |could )?"
    r"(?:get|find|obtain|see|conclude|need|know|say|deduce|compute|calculate|determine|derive|make|earn|pay|cost"
    r"|give|take|leave|spend|receive|arrive at|end up with|left with|equal|total)s?(?:\s+that\b)?"
    rf"|(?:it|this|that|there|which|these|they|he|she|we|you|[a-zA-Z])\s+{_VERB}\b"
    r"|(?:this|that|which|these|it)\s+(?:gives?|means|makes?|leaves?|yields?|implies|shows)(?:\s+us\b)?(?:\s+that\b)?"
    rf"|(?:the|our|my|your|its|his|her|their)\s+(?:(?:[^\W\d_]|['-]){{1,20}}\s+){{1,8}}?{_VERB}\b"
    r"|(?:(?:for )?a|the) total of\b|giving\b|yielding\b|leaving\b|making\b)[\s,:]*",
    re.IGNORECASE,
)
_LABEL = re.compile(r"\s*(?:[^\W\d_]{2,20}(?:[ '-]{1,2}[^\W\d_]{1,20}){0,8}\s?[:=](?![:=])|A\s?:)\s*")
_BARE_LABEL = re.compile(
    r"\s*(?:[a-zA-Z]{2,20}(?: [a-zA-Z]{2,20}){0,6}\s*:|(?:[a-zA-Z]{4,20}|[a-zA-Z]{2,20} [a-zA-Z]{2,20})"
    r"(?: [a-zA-Z]{2,20}){0,5}\s*=)(?![:=])\s*"
)
"""Words before an answer: Total: 5, Area = 5; xy = 5 may be a product."""
_VALUE = re.compile(r"[-+.\d\\$(\[{\u2212]|[a-zA-Z](?![a-zA-Z])")
_TEXT = re.compile(r"\s*\\(?:text|textbf|textit|textrm|mathrm|mathbf|mathit|mbox|rm)\s?\{([^{}]{0,200})\}\s*")
_RELATED = re.compile(r"[=<>,;]|\\(?:leq?|geq?|neq?|in)(?![a-zA-Z])|\b(?:and|or|if)\b")
_IS_ANSWER = re.compile(
    r"\s*(?:\\text\w{0,2}\s?\{\s?)?\bis (?:the|our|my) (?:final |correct )?answer\s?[.!]?\s?\}?\s*$", re.IGNORECASE
)


def without_words(sentence: str) -> str:
    """A sentence without what announces its answer: "So the total is 42 ways" is "42 ways"."""
    for _ in range(8):
        match = _first(sentence, _ANSWER, _SYMBOLS, _PROSE, _LABEL)
        if match is None or not sentence[match.end() :].strip(" ."):
            return sentence.strip()
        sentence = sentence[match.end() :]
    return sentence.strip()


def without_lead_in(content: str) -> str:
    r"""What a box holds, without a lead-in before it: = 5, \text{The answer is } 5, Answer: 5, \therefore 5.

    Other words than "the answer is" go only where a value follows them: "There are none" is an answer in words.
    """
    if ending := _IS_ANSWER.search(content, max(0, len(content) - 60)):
        content = content[: ending.start()]
    content = without_stars(content)
    for _ in range(6):
        shorter = _shorter(content).strip()
        if shorter in (content, ""):
            return content
        content = shorter
    return content


def _first(text: str, *patterns: re.Pattern[str]) -> re.Match[str] | None:
    """The first of the patterns that the start of a text matches with more than white space."""
    return next(
        (match for pattern in patterns if (match := pattern.match(text[:_LOOK])) and match.group().strip()), None
    )


def _shorter(content: str) -> str:
    if symbol := _SYMBOLS.match(content):
        return content[symbol.end() :]
    text = _TEXT.match(content)
    if text is None:
        return _led(content)
    words, rest = text.group(1), content[text.end() :]
    if not rest:
        inner = _led(words)
        return inner if inner != words else content
    symbol = _SYMBOLS.match(rest)
    if symbol and words.strip():  # \text{Area} = 5
        named = f"{words.strip().rstrip(':')}: {rest[symbol.end() :]}"
        shorter = _led(named)
        return content if shorter == named else shorter
    announced = _led(f"{words} 5") == "5"
    return rest if announced and _VALUE.match(rest) else content


def _led(words: str) -> str:
    """Words without their first lead-in; the same where they have none, or where it would leave no value."""
    if match := _first(words, _ANSWER):
        return words[match.end() :]
    for pattern in (_PROSE, _BARE_LABEL):
        match = _first(words, pattern)
        rest = words[match.end() :] if match else ""
        if _VALUE.match(rest) and (pattern is _PROSE or not _RELATED.search(rest)):
            return rest
    return words


_EMPTY = re.compile(
    r"\\(?:[hv]?phantom|hspace\*?)\s?\{[^{}]*\}|\\(?:text|textbf|textit|textrm|mathrm|mathbf|mbox|rm|quad|qquad|[lcv]?dots|dotsc|square|Box|underline|f?boxed"
    r"|langle|rangle|cdot|ldotp|_|[ ,;:!])(?![a-zA-Z])|[\s{}\[\]()<>~._?*#$\u2026\u22ef\u25a1\u25a2\uff1f\uff3f-]"
)
_ASKED = re.compile(
    r"(?:insert|put|write|enter|place)?(?:your|the|my|final|numerical|numeric|correct)*"
    r"(?:answer|ans|result|solution|value|number|letter|expression|option)s?(?:goes)?(?:here)?"
    r"|(?:最终|最后|你的|正确)?答案|xxx*|todo|tbd",
    re.IGNORECASE,
)


def is_placeholder(content: str) -> bool:
    r"""Whether a box answers nothing: it is empty, or dots, blanks, a question mark, or the words "your answer"."""
    if len(content) > 60 or r"\{" in content:
        return False
    left = _EMPTY.sub("", content)
    return not left or _ASKED.fullmatch(left) is not None
