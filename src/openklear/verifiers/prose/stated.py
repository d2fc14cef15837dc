r"""What prose answers: a text without a box. It states its answer ("The answer is 42"), or closes with it.

Linear in the text, of which the caller gives the end, in plain characters: the text is hostile.
"""

from __future__ import annotations

import re

from openklear.verifiers.prose.lead_ins import without_words
from openklear.verifiers.prose.markup import BOLD, without_markup, without_stars
from openklear.verifiers.prose.pieces import has_words, pieces
from openklear.verifiers.prose.sentences import announced, closing, phrase

_IS = r"is|are|was|will be|would be|should be|must be|equals?|becomes|comes (?:out )?to|turns out to be"
_STEM = re.compile(
    "answer|Answer|ANSWER|ans|Ans|ANS|####"
    "|réponse|Réponse|respuesta|Respuesta|risposta|Risposta|resposta|Resposta|Antwort|ответ|Ответ|答|正解|【|답"
)
_STATED = re.compile(
    rf"(?<!incorrect )(?<!wrong )\banswer\b(?:\s+(?:to|for)\b[^.\n:=$]{{1,80}}?)?(?:\s*(?:{_IS})\b|\s*[:=])(?:\s*[:=])?"
    rf"|(?:^|(?<=the )|(?<=final ))answers\s*(?:(?:{_IS})\b|[:=])|(?<=final )answer of\b"
    r"|\bans\b\.?\s*[:=]?(?=\s*[-+$\\(\[\d])"
    r"|####\s*(?=[-+$\\(\[.*\d])(?!\d+[.)]\s+[a-z])|####[ \t]*(?=[^\n]*\Z)"
    r"|\b(?:réponses?|respuestas?|risposta|resposta|antwort|ответ)(?:\s+(?:finale?|final|correcta?|correcte))?"
    r"(?:\s+(?:est?|es|son|sont|è|é|ist|lautet)\b|\s*:)"
    r"|答案(?:应该|應該|应|就|即|便)?(?:是|为|為|等于|\s*[:=])|答え?(?:は|\s*[:=])|正解は|【(?:答案|解答)】\s*:?|答\s*:|답(?:은|\s*:)",
    re.IGNORECASE | re.MULTILINE,
)
_HEADING = re.compile(r"^[ \t]{0,8}(?:the )?(?:final )?(?:answer|result)s?[ \t]{0,8}$", re.IGNORECASE | re.MULTILINE)
_SENTENCE_END = re.compile(
    r"(?<!approx)(?<!\bca)(?<!\bi\.e)(?<!\be\.g)(?<!\bvs)(?<!\bNo)(?<!\bMr)(?<!\bMrs)(?<!\bDr)\.(?=\s|$)|\n|[!?](?=\s+[A-Z]|\s*$)"
)
_CONCLUDES = re.compile(r"\s*(?:so|thus|hence|therefore|in conclusion|finally)\b", re.IGNORECASE)
_WORDS = re.compile(
    r"\b(?:no|none|yes|not|impossible|infinite(?:ly)?|undefined|never|always|true|false)\b", re.IGNORECASE
)
_VERB = re.compile(r"\b(?:is|are|was)\b[\s:=]*$", re.IGNORECASE)
_TAKEN_BACK = re.compile(
    r"\b(?:wait|correction|scratch that|oops|hold on|i mean|my mistake|that(?: is|'s) wrong)\b|\bactually,",
    re.IGNORECASE,
)
_HEDGED = re.compile(
    r"[ .,;!]*(?:(?:or|alternatively|otherwise|maybe|perhaps|possibly)\b"
    r"|(?:but )?(?:it )?(?:could|might|may) (?:also )?be\b)[^\n.!?]{1,40}(?=[.!?\n]|$)",
    re.IGNORECASE,
)
"""A short sentence right behind the answer that offers another one: "Or maybe 6."."""
_NUMBERED = re.compile(r"\d+[.)]\s")


def stated(tail: str, is_answer: bool = False) -> str:
    """What the end of a text answers; empty where it answers nothing.

    What follows the last "the answer is" (in several languages, #### and a heading too) comes first; then a text that
    is one line and nothing but an answer (a sentence too, where it stands in answer tags: `is_answer`); then the last
    line that holds a value, read as a closing sentence.
    """
    marked = without_markup(tail)
    text = without_stars(marked).strip()
    said = _said(text)
    if said and (found := _after_words(said, text)):
        return found
    if "\n" not in text and (found := announced(text.rstrip("?")) if is_answer else _bare(text)):
        return found
    return _last_line(marked) or (_sentence(said) if said else "")


def _bare(line: str) -> str:
    """What a line is that is nothing but an answer, once the words before it are gone: "So x > 5."."""
    words = without_words(line)
    if words == line:
        return phrase(line)
    return "" if len(pieces(words)) == 1 else phrase(words.rstrip("!."))


def _after_words(said: str, text: str) -> str:
    """What the words after "the answer is" state. After "Answer:" an explanation may start ("We add the two."), which
    states it at its end only, as does a text that takes it back ("Wait, no")."""
    sentence = _sentence(said)
    rest = said.partition(sentence)[2] if sentence else said
    if rest.startswith("?") or takes_back(rest):
        return ""
    in_sentence = _VERB.search(text[-len(said) - 20 : -len(said)]) is not None
    if not in_sentence and not has_words(sentence) and rest.startswith("!"):
        sentence += "!"  # a factorial; in a sentence it would be an exclamation
    found = announced(sentence) or (closing(sentence) if in_sentence else "")
    other = closing(hedge.group()) if found and (hedge := _HEDGED.match(rest)) else ""
    return f"{found} or {other}" if other and other != found else found


def takes_back(text: str) -> bool:
    """Whether a text says that what stands before it was wrong."""
    return _TAKEN_BACK.search(text) is not None


def said_from(text: str) -> int:
    """Where what follows the last "the answer is" begins; the end of the text where it is not said."""
    return len(text) - len(_said(text))


def _said(text: str) -> str:
    stated_at = (_STATED.match(text, stem.start()) for stem in _STEM.finditer(text))
    ends = [match.end() for match in stated_at if match] + [match.end() for match in _HEADING.finditer(text)]
    return text[max(ends) :] if ends else ""


def _sentence(text: str) -> str:
    return _SENTENCE_END.split(text.strip(" \t*:=\n"), maxsplit=1)[0].strip(" *`\"'").rstrip(".\u2026")


def _last_line(marked: str) -> str:
    """What the last line with a value states: what is bold in it, else its last sentence with one."""
    lines = [line for line in marked.split("\n") if line.strip()]
    if lines and (found := _in_words(lines[-1])):
        return found
    for line in reversed(lines):
        bold = {found for span in BOLD.findall(line) if (found := _bold(span.strip()))}
        if len(bold) == 1:
            return bold.pop()
        for sentence in reversed(_SENTENCE_END.split(without_stars(line))):
            if found := closing(sentence.strip(" \t*:")):
                return found
    return ""


def _in_words(line: str) -> str:
    """An answer in words that the last line is: **No solution**, or "Therefore there are none"."""
    text = without_stars(line)
    bold = BOLD.fullmatch(line.strip(" ."))
    if pieces(text) or not (bold or (_CONCLUDES.match(text) and _WORDS.search(text))):
        return ""
    return phrase(without_words(_sentence(text)))


def _bold(span: str) -> str:
    """The value that a bold span states; empty for headings (Step 2:, 2. Add)."""
    return "" if span.endswith(":") or _NUMBERED.match(span) or not pieces(span) else announced(span)
