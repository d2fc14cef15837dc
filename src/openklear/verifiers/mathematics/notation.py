r"""Plain and printed notation of one thing: sqrt(2), x**2, 1.5e6, 0.(3), 12th. Each rule is linear in the text."""

from __future__ import annotations

import re
from fractions import Fraction

from openklear.verifiers.mathematics.commands import closings

_FUNCTIONS = "arcsin arccos arctan sinh cosh tanh sin cos tan cot csc ln log sqrt"
_CALLED = "sec exp min max gcd lcm abs floor ceil frac cbrt asin acos atan"
"""Names that may be words of their own (5 sec, 3 min): functions only before a bracket."""
_GREEK = "pi theta alpha beta gamma delta lambda sigma omega phi"
_NAMES = re.compile(
    rf"(?<![a-zA-Z\\])(?:({'|'.join(_FUNCTIONS.split())})(?:(?![a-zA-Z])|(?=x(?![a-zA-Z])))"
    rf"|({'|'.join(_CALLED.split())})(?=\s?[({{^])"
    rf"|({'|'.join(_GREEK.split())})(?![a-zA-Z])|(infinity|infty|inf|oo)(?![a-zA-Z]))"
    r"|(?<=[a-zA-Z])(?<!\\)sqrt(?=\()|(?<=(?<![a-zA-Z\\])[b-zA-Z])(?:ln|log|sin|cos|tan)(?=\()"
)
_PLAIN_ROOT = re.compile(r"(?<!\\)sqrt\s?(\d+(?:\.\d+)?)")
_FULL_NAMES = {"asin": "arcsin", "acos": "arccos", "atan": "arctan"}
_LOGARITHM = re.compile(r"(?<![a-zA-Z])\\?log(2|10)\(")
_OPERATORS = re.compile(
    rf"\\(?:operatorname\*?|mathrm|text)\s?\{{\s?({'|'.join(_FUNCTIONS.split())}|exp|gcd|lcm)\s?\}}"
    r"(?=\s?[\^{(\\a-z0-9_|]|\s?$)"
)
_CALLS = re.compile(r"(?:\\(sqrt(?:\[[^\[\]]*\])?|abs|floor|ceil|exp|cbrt)|\^)\s?\(")
_CALL = {
    "abs": ("|", "|"),
    "cbrt": (r"\sqrt[3]{", "}"),
    "floor": (r"\lfloor ", r"\rfloor "),
    "ceil": (r"\lceil ", r"\rceil "),
    "exp": ("e^{", "}"),
}


def _named(match: re.Match[str]) -> str:
    return r"\infty " if match.group(4) else rf"\{_FULL_NAMES.get(match.group(), match.group())} "


def functions(text: str) -> str:
    r"""Function names and Greek letters in plain letters as commands, and sqrt(x), abs(x) as they are printed."""
    if "sqrt" in text:
        text = _PLAIN_ROOT.sub(r"\\sqrt{\1}", text)
    text = _LOGARITHM.sub(r"\\log_{\1}(", text) if "log" in text else text
    text = _NAMES.sub(_named, _OPERATORS.sub(r"\\\1 ", text) if "{" in text else text)
    return _calls(text) if "(" in text and _CALLS.search(text) else text


def _calls(text: str) -> str:
    """Roots, exponents and the like with their brackets as they are printed; f^(4)(x) is a derivative and stays."""
    ends, written = closings(text, "()"), list(text)
    for match in _CALLS.finditer(text):
        opening = match.end() - 1
        end = ends.get(opening, -1)
        derivative = match.group()[0] == "^" and text[opening + 1 : end].isalnum() and text[end + 1 : end + 2] == "("
        if end > 0 and not derivative:
            name = match.group(1)
            before, after = _CALL.get(name, (rf"\{name}{{", "}")) if name else ("^{", "}")
            written[match.start() : match.end()] = [before] + [""] * (match.end() - match.start() - 1)
            written[end] = after
    return "".join(written)


_BOLD = re.compile(r"(^|[=,(:]\s?)\*\*([^*]+)\*\*(?=$|[\s,.)])")
_MARKED = re.compile(r"^([*_`\"])(.*)\1$")
_TAGGED = re.compile(r"^<(b|strong|i|em|u|mark)>(.*)</\1>$")
_PYTHON_POWER = re.compile(r"\s?\*\*\s?(?:(-?\s?\d+(?:\.\d+)?|[a-zA-Z])(?![a-zA-Z\d(]))?")


_NEGATIVE_POWER = re.compile(r"\^-\s?(\d+|[a-zA-Z])(?![\d.])")


def _power(match: re.Match[str]) -> str:
    return f"^{{{match.group(1)}}}" if match.group(1) else "^"


def powers(text: str) -> str:
    """x**2 as x^{2}, without the marks of Markdown or HTML around an answer."""
    if "**" in text:
        text = _BOLD.sub(r"\1\2", text)
    if text[:1] == "<" and (match := _TAGGED.match(text)):
        text = match.group(2).strip()
    while len(text) > 2 and (match := _MARKED.match(text)):
        text = match.group(2).strip()
    text = _PYTHON_POWER.sub(_power, text) if "**" in text else text
    return _NEGATIVE_POWER.sub(r"^{-\1}", text) if "^-" in text else text


_TIMES = re.compile(r"(?<=\d)(?:\s?(?:[xX]|\\text\s?\{\s?[xX]\s?\})\s?(?=10\s?\^)|\s[xX]\s(?=\d))")
_SCIENTIFIC = re.compile(r"(?<![\w.\\}/^])(\d+(?:\.\d*)?|\.\d+)[eE](\d+)(?![\w.^{(])")
_SIGNED = re.compile(r"(?<![\w.\\}/^])(\d+(?:\.\d*)?|\.\d+)([eE])([+-]\d+)(?![\w.^{(])")


def scientific(text: str) -> str:
    r"""1.5e6 as 1.5 \times 10^{6}, and x as a times sign: 2 x 3, 1.5x10^6; 2x3 keeps its x, which may be a name."""
    text = _TIMES.sub(r"\\times ", text)
    return _SCIENTIFIC.sub(r"\1\\times 10^{\2}", text)


_EULER = re.compile(r"(?<![\\a-zA-Z])[eE](?![a-zA-Z])")


def signed_exponents(text: str, other: str) -> str:
    """2e-5 as 2 \\times 10^{-5} beside a text without an e of its own; else e may be Euler's number, and it stays."""
    if not _SIGNED.search(text) or _EULER.search(_SIGNED.sub("", text)) or _EULER.search(_SIGNED.sub("", other)):
        return text
    return _SIGNED.sub(lambda match: rf"{match.group(1)}\times 10^{{{match.group(3).removeprefix('+')}}}", text)


_MOST_DIGITS = 256
_POINT = r"(?<![\d.])(?<!\d,)(\d*)(?:\.|(?<=(?<!\d)0),)(\d*)"
_OVERLINED = re.compile(
    _POINT + r"\\(?:overline|bar|overbar|widebar)\s?(?:\{\s?(\d+)\s?\}|(\d))(?:\.\.\.|\\ldots)?(?!\s?[\d.])"
)
_DOTTED = re.compile(
    _POINT + r"\\dot\s?(?:\{\s?(\d+)\s?\}|(\d))(?:(\d*)\\dot\s?(?:\{\s?(\d+)\s?\}|(\d)))?(?!\s?[\d.\\])"
)
_BRACKETED = re.compile(r"(?<![\w.,)\]}])(?:(\d*)\.|(0),)(\d*)\((\d+)\)(?=\s?(?:$|[,;)\]}+=<>%-]))")
_ELLIPSIS = re.compile(r"(?<![\d.])(?<!\d,)(\d*)\.(\d+)\s?(?:\.\.\.|\\(?:ldots|dots|cdots|dotsc)(?![a-zA-Z]))(?!\s?\d)")


def _repeating(match: re.Match[str], whole: str, first: str, block: str) -> str:
    """The fraction of a decimal: its whole part, the decimals before the block that repeats, and the block."""
    if len(whole) + len(first) + len(block) > _MOST_DIGITS:
        return match.group()
    top = int(whole + first + block) - int(whole + first or "0")
    value = Fraction(top, 10 ** len(first) * (10 ** len(block) - 1))
    return rf"\frac{{{value.numerator}}}{{{value.denominator}}}"


def _overlined(match: re.Match[str]) -> str:
    return _repeating(match, match.group(1), match.group(2), match.group(3) or match.group(4))


def _dotted(match: re.Match[str]) -> str:
    whole, first, *block = match.groups("")
    return _repeating(match, whole, first, "".join(block))


def _bracketed(match: re.Match[str]) -> str:
    return _repeating(match, match.group(1) or match.group(2) or "", match.group(3), match.group(4))


def _trailing(match: re.Match[str]) -> str:
    """A decimal before an ellipsis: the shortest block that was repeated is."""
    digits = match.group(2)
    for size in range(1, min(12, len(digits) // 2) + 1):
        run = size
        while run < len(digits) and digits[-run - 1] == digits[len(digits) - run - 1 + size]:
            run += 1
        times = 2 if size == 1 or run == len(digits) else 3
        if run >= times * size:
            return _repeating(match, match.group(1), digits[: len(digits) - run], digits[len(digits) - run :][:size])
    return match.group()


def repeating_decimals(text: str) -> str:
    r"""0.\overline{3}, 0.\dot{3}, 0.(3) and 0.333... as fractions.

    A decimal before digits in brackets is one of these, not a product. An ellipsis repeats what stood there twice
    (0.33..., 0.1212...), or three times where other digits come first.
    """
    if "\\" in text and ("over" in text or "bar" in text or "\\dot" in text):
        text = _DOTTED.sub(_dotted, _OVERLINED.sub(_overlined, text))
    if "(" in text:
        text = _BRACKETED.sub(_bracketed, text)
    return _ELLIPSIS.sub(_trailing, text) if "..." in text or "dots" in text else text


_ORDINAL = re.compile(
    r"(?<![\d.])(\d+)(\s?\^\s?|\\textsuperscript\s?|\s?(?=\\)|-)?\{?\s?(?:\\(?:text|mathrm|mbox)\s?)?\{?\s?(st|nd|rd|th)s?(?:\s?\}){0,2}(?![a-zA-Z])"
)


def _suffix(number: str) -> str:
    teen = number[-2:-1] == "1"
    return {"1": "st", "2": "nd", "3": "rd"}.get("" if teen else number[-1], "th")


def _ordinal(match: re.Match[str]) -> str:
    said = match.group()
    unlike = _suffix(match.group(1)) != match.group(3) or said.count("{") > said.count("}")
    exponent = "^" in said and "\\" not in said and match.span() != (0, len(match.string))  # 2^{nd} + 1
    return said if unlike or exponent else match.group(1) + "}" * (said.count("}") - said.count("{"))


def ordinals(text: str) -> str:
    r"""12th, 12^{\text{th}} and \text{12th} as 12, where the ending is the number's own."""
    return _ORDINAL.sub(_ordinal, text) if any(map(text.__contains__, ("th", "st", "nd", "rd"))) else text


_MODULUS = re.compile(
    r"\(?\s?(?:\\text\s?\{\s?\(?\s?)?(?:\\[pb]?mod(?![a-zA-Z])|(?<![a-zA-Z\\])mod(?![a-zA-Z]))"
    r"\s?\{?\s?(\d{1,40}|[a-zA-Z](?![a-zA-Z]))\s?\}?\s?\)?(?:\s?\})?\s?\)?$"
)


def moduli(text: str) -> str:
    r"""One spelling of what a congruence ends with: \pmod{4}, \pmod 4, (\bmod 4), \text{ (mod 4)}."""
    return _MODULUS.sub(r"\\pmod{\1}", text) if "mod" in text and "\\equiv" in text else text
