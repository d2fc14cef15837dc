r"""LaTeX commands that say nothing or the same: colour, size, font, space; \frac12. Linear in the text."""

from __future__ import annotations

import re

_SIZES = (
    "big",
    "Big",
    "bigg",
    "Bigg",
    "bigl",
    "Bigl",
    "biggl",
    "Biggl",
    "bigr",
    "Bigr",
    "biggr",
    "Biggr",
    "bigm",
    "Bigm",
)
_SAME = {
    **dict.fromkeys((r"\le", r"\leq", r"\leqslant", r"\leqq"), r"\leq "),
    **dict.fromkeys((r"\ge", r"\geq", r"\geqslant", r"\geqq"), r"\geq "),
    **dict.fromkeys((r"\ne", r"\neq"), r"\neq "),
    **dict.fromkeys((r"\dfrac", r"\tfrac", r"\cfrac", r"\sfrac", r"\nicefrac", r"\xfrac"), r"\frac"),
    **dict.fromkeys((r"\dbinom", r"\tbinom"), r"\binom"),
    **dict.fromkeys((r"\varnothing", r"\emptyset"), r"\emptyset "),
    **dict.fromkeys((r"\backslash", r"\smallsetminus", r"\setminus"), r"\setminus "),
    **dict.fromkeys((r"\lVert", r"\rVert"), r"\|"),
    **dict.fromkeys((r"\vert", r"\lvert", r"\rvert"), "|"),
    **dict.fromkeys((r"\textbf", r"\textit", r"\textrm", r"\textsc", r"\textsf", r"\texttt", r"\textsl", r"\textup",
                     r"\textmd", r"\textnormal", r"\emph", r"\hbox"), r"\text"),
    **dict.fromkeys((r"\,", r"\;", r"\:", r"\ ", r"\/", r"\quad", r"\qquad", r"\enspace", r"\enskip", r"\thinspace",
                     r"\medspace", r"\thickspace", r"\hfill", r"\hfil", r"\newline", r"\par", r"\nobreakspace"), " "),
    **dict.fromkeys((r"\!", r"\-", r"\(", r"\)", r"\[", r"\]", r"\$", r"\negthinspace", r"\noindent", r"\null",
                     r"\strut", r"\mathstrut", r"\middle", r"\boxed", r"\displaylimits", r"\nolimits"), ""),
    **dict.fromkeys(map("\\{}".format, _SIZES), ""),
    **{rf"\{letter}": rf"\mathbb{{{letter}}}" for letter in "RZQNC"},
    r"\lt": "<", r"\gt": ">", r"\%": "%", r"\reals": r"\mathbb{R}", r"\tg": r"\tan", r"\ctg": r"\cot",
    r"\arctg": r"\arctan", r"\cosec": r"\csc", r"\infin": r"\infty", r"\varphi": r"\phi", r"\lbrace": r"\{",
    r"\varepsilon": r"\epsilon", r"\vartheta": r"\theta", r"\colon": ":", r"\rbrace": r"\}", r"\Bbb": r"\mathbb",
}  # fmt: skip
"""What each command, or escaped character, is another spelling of."""
_COMMAND = re.compile(r"\\(?:(left|right)(?![a-zA-Z])\s?\.?|[a-zA-Z]+|.)")


def _same(match: re.Match[str]) -> str:
    command = match.group()
    return "" if match.group(1) else _SAME.get(command, command)


_ENVIRONMENT = re.compile(
    r"^\\begin\{((?:align|equation|gather|multline|displaymath|math|center|split)(?:ed)?\*?)\}(.*)\\end\{\1\}$"
)
_TEXT_IN_TEXT = re.compile(r"\\text\s?\{\s?(\\text\s?\{[^{}]*\})\s?\}")


def alone(text: str) -> str:
    r"""What stands in an environment that only places it: \begin{align*}x &= 5\end{align*} of one line."""
    match = _ENVIRONMENT.match(text)
    return match.group(2).strip() if match and "\\\\" not in match.group(2) else text


def one_spelling(text: str) -> str:
    r"""Every command that has several spellings in one of them, without those that draw nothing (\left, \,)."""
    text = _COMMAND.sub(_same, text)
    return _TEXT_IN_TEXT.sub(r"\1", text) if text.count("\\text") > 1 else text


_ARGUMENTS = """mathbf mathit mathsf mathtt mathnormal bm boldsymbol pmb ensuremath underline uline fbox framebox mathop
mathord mathbin mathrel mathclap smash mathstyle red blue green orange purple pink gray"""
_ARGUMENT_STYLES = frozenset(_ARGUMENTS.split())
"""Commands whose argument says all they say; mathstyle stands for those of colour."""
_TEXT_STYLES = frozenset(("text", "textbf", "textit", "textrm", "emph", "mbox", "textnormal", "hbox"))
_DECLARED = """displaystyle textstyle scriptstyle scriptscriptstyle tiny scriptsize footnotesize small normalsize large
Large LARGE huge Huge bf it rm sf tt em bfseries itshape rmfamily sffamily ttfamily boldmath normalfont upshape
centering"""
_DECLARATIONS = frozenset(_DECLARED.split())
"""Commands for all that follows them in their group."""
_UNSEEN = frozenset(("phantom", "hphantom", "vphantom", "label", "tag"))
_TAKERS = frozenset((r"\frac", r"\dfrac", r"\tfrac", r"\sqrt", r"\binom", "^", "_"))
"""After these braces are no mere group."""
_STYLED = re.compile(
    r"\\(?:"
    + "|".join((*_ARGUMENT_STYLES, *_DECLARATIONS, *_UNSEEN))
    + r"|(?:text|math)?color|f?colorbox|(?:raise|scale|b)box|style|class|cssId|[hvm]space|[hm]skip|m?kern)(?![a-zA-Z])"
)
_NAME = r"\s?(?:\[[^\[\]{}]*\]\s?)?\{[^{}]*\}\s?"
_STYLE = r"\\mathstyle"
_DRESSED = tuple(
    (re.compile(pattern), meant)
    for pattern, meant in (
        (
            rf"\\(?:fcolorbox{_NAME}{_NAME}|(?:textcolor|colorbox|mathcolor|raisebox|scalebox|style|class|cssId){_NAME})",
            _STYLE,
        ),
        (r"\\bbox(?![a-zA-Z])\s?(?:\[[^\[\]{}]*\])?", _STYLE),
        (rf"\\color{_NAME}", r"\\normalsize "),
        (r"\\[hvm]space\*?\s?\{[^{}]*\}|\\(?:[hm]skip|m?kern)\s?-?[\d.]+\s?[a-z]{2}", " "),
    )
)
_PIECE = re.compile(r"\\(?:[a-zA-Z]+|.)|[{}]|\s+|[^\\{}\s]+|\\", re.DOTALL)
_SEAM = re.compile(r"(?<=[a-zA-Z0-9])\0+(?=[a-zA-Z])|(\0)")


class _Undressing:
    """One pass over the pieces of a text that drops what only dresses it, and the braces that it needed."""

    def __init__(self) -> None:
        self._out: list[str] = []
        self._open: list[tuple[int, str]] = []  # for every open brace: its place, and what its end does
        self._waiting = ""  # for the argument of a command just dropped
        self._last = ""  # the last piece kept that is no white space

    def take(self, piece: str) -> None:
        """The next piece of the text."""
        name = piece[1:] if piece[:1] == "\\" else ""
        if piece.isspace():
            self._out.append(piece)
        elif name in _ARGUMENT_STYLES or name in _DECLARATIONS:
            if name in _DECLARATIONS and self._open and self._open[-1][1] == "group":
                self._open[-1] = (self._open[-1][0], "style")
            self._out.append("\0")
            self._waiting = "style"
        elif name in _UNSEEN:
            self._waiting = "unseen"
        elif piece == "{":
            kind = self._waiting or ("text" if self._last[1:] in _TEXT_STYLES else "group")
            taken = self._last[:1] == "\\" or self._last in ("^", "_", "}", "]")
            if (kind == "style" and self._last in _TAKERS) or (kind == "group" and taken):
                kind = "argument"
            self._open.append((len(self._out), kind))
            self._keep(piece)
        elif piece == "}" and self._open:
            self._close(*self._open.pop())
        elif self._waiting == "unseen":
            self._keep(piece[1:])  # \phantom -1: its argument is one character
        else:
            self._keep(piece)

    def _keep(self, piece: str) -> None:
        self._waiting = ""
        if piece:
            self._out.append(piece)
            self._last = piece if piece[0] == "\\" else piece[-1]

    def _close(self, place: int, kind: str) -> None:
        if kind == "unseen":
            del self._out[place:]
            self._out.append(" ")
        elif kind == "style" or (kind == "text" and self._is_formula(place)):
            self._out[place] = "\0"
            self._keep("\0")
        else:
            self._keep("}")

    def _is_formula(self, place: int) -> bool:
        r"""Whether the argument of a text command that ends here is $...$; the command is dropped then."""
        inside = len(self._out) > place + 1 and self._out[place + 1][0] == self._out[-1][-1] == "$"
        if not inside or self._out[place - 1][1:] not in _TEXT_STYLES:
            return False
        self._out[place - 1] = "\0"
        return True

    def text(self) -> str:
        """What is left, with a space where two words would grow together."""
        return _SEAM.sub(lambda match: "" if match.group(1) else " ", "".join(self._out))


def undressed(text: str) -> str:
    """A text without commands of colour, size and font, without their braces, and without what cannot be seen."""
    if not _STYLED.search(text) and "{$" not in text:
        return text
    for pattern, meant in _DRESSED:
        text = pattern.sub(meant, text)
    undressing = _Undressing()
    for piece in _PIECE.findall(text):
        undressing.take(piece)
    return undressing.text()


_TAKES = re.compile(r"\\(frac|binom|sqrt)(?![a-zA-Z])(?:\s?\[[^\[\]]*\])?")
_BARE = re.compile(r"\\[a-zA-Z]+|[a-zA-Z0-9]")
_OVER = re.compile(r"\{((?:[^{}\\]|\\(?!(?:over|choose)(?![a-zA-Z])))*)\\(over|choose)(?![a-zA-Z])([^{}]*)\}")


def closings(text: str, pair: str) -> dict[int, int]:
    """Where each bracket of one kind closes; those that are not closed are missing."""
    opened: list[int] = []
    found = {}
    for place, character in enumerate(text):
        if character == pair[0]:
            opened.append(place)
        elif character == pair[1] and opened:
            found[opened.pop()] = place
    return found


def braced(text: str) -> str:
    r"""Braces around every argument of \frac, \binom and \sqrt that has none: \frac\pi 2, \sqrt2, {1 \over 2}.

    TeX takes one digit, letter or command. What has a digit too many (\frac123, \sqrt12) stays: who wrote it may have
    meant more than one.
    """
    if "\\over" in text or "\\choose" in text:
        names = {"over": "frac", "choose": "binom"}
        text = _OVER.sub(lambda match: rf"\{names[match.group(2)]}{{{match.group(1)}}}{{{match.group(3)}}}", text)
    ends = closings(text, "{}")
    added: list[tuple[int, str]] = []
    for match in _TAKES.finditer(text):
        added += _arguments(text, match.end(), 1 if match.group(1) == "sqrt" else 2, ends)
    parts, start = [], 0
    for place, brace in sorted(added, key=lambda one: one[0]):
        parts += [text[start:place], brace]
        start = place
    return "".join((*parts, text[start:]))


def _arguments(text: str, start: int, count: int, ends: dict[int, int]) -> list[tuple[int, str]]:
    """The braces missing around the arguments of a command that ends at `start`; none where they are not plain."""
    added = []
    for left in reversed(range(count)):
        start += text[start : start + 1] == " "
        if text[start : start + 1] == "{":
            if start not in ends:
                return []
            start = ends[start] + 1
            continue
        bare = _BARE.match(text, start)
        if bare is None or (not left and bare.group().isdigit() and text[bare.end() : bare.end() + 1].isdigit()):
            return []
        if bare.group()[0] == "\\" and bare.group()[1:] in ("frac", "binom", "sqrt", "text", "mathrm", "left"):
            return []
        added += [(start, "{"), (bare.end(), "}")]
        start = bare.end()
    return added
