"""Recursive descent over the tokens of a LaTeX expression, to its value (see `values`)."""

from __future__ import annotations

from fractions import Fraction

from openklear.verifiers.mathematics import values
from openklear.verifiers.mathematics.values import PI, TooLarge, Unknown, Value

_MAX_DEPTH = 100
_MAX_WORK = 40_000
"""Squares of kilobits over all results: the time of exact arithmetic, a fraction of a second."""
_ENDS = frozenset(("", *"+-)}]^!%_|", "**", r"\rfloor", r"\rceil", r"\rvert", r"\bmod", r"\pmod"))
"""Tokens that end a product."""


class _Parser:
    """One pass over the tokens; `peek` is the next one, "" at the end."""

    def __init__(self, tokens: list[str], ones: bool, point: int):
        self._tokens, self._ones, self._point = tokens, ones, point
        self._next = self._work = self._depth = 0

    @property
    def peek(self) -> str:
        return self._tokens[self._next] if self._next < len(self._tokens) else ""

    def take(self, wanted: str = "") -> str:
        token = self.peek
        if not token or (wanted and token != wanted):
            raise Unknown(f"no {wanted or 'end'} here")
        self._next += 1
        return token

    def _spend(self, value: Value) -> Value:
        """The value itself. TooLarge where it is, Unknown where the results so far took too much work."""
        if isinstance(value, Fraction):
            bits = [part.bit_length() for part in value.as_integer_ratio()]
            if max(bits) > values.MAX_BITS:
                raise TooLarge(f"a number of more than {values.MAX_BITS} bits")
            self._work += (sum(bits) >> 10) ** 2
            if self._work > _MAX_WORK:
                raise Unknown("too much work")
        return value

    def sum(self, closing: str = "") -> Value:
        """Terms up to `closing`, which is taken."""
        total = self._term()
        while self.peek in ("+", "-"):
            total = self._spend(total + self._term())
        if closing:
            self.take(closing)
        return total

    def _signed_power(self) -> Value:
        negative = False
        for _ in range(3):
            if self.peek == "-":
                negative = not negative
            elif self.peek != "+":
                break
            self.take()
        value = self._power()
        return -value if negative else value

    def _term(self) -> Value:
        product = self._signed_power()
        slashed = implicit = False
        while True:
            token = self.peek
            if token in ("*", r"\cdot", r"\times"):
                self.take()
                product = self._spend(product * self._signed_power())
                slashed = False
            elif token in ("/", r"\div"):
                if implicit and token == "/" and slashed:
                    raise Unknown("an ambiguous division")
                self.take()
                product = self._spend(product / self._signed_power())
                slashed = True
            elif token in _ENDS:
                return product
            elif slashed:
                raise Unknown("1/2x may mean two things")
            else:
                if token[0].isdigit() or token[0] == ".":
                    raise Unknown("a number after a factor")
                product = self._spend(product * self._power())
                implicit = True

    def _power(self) -> Value:
        """An atom with its factorials, percent signs and powers."""
        base = self._atom()
        while self.peek in ("!", "%"):
            base = self._spend(values.factorial(base) if self.take() == "!" else base / Fraction(100))
        if self.peek in ("^", "**"):
            self.take()
            base = self._spend(values.power(base, self._signed_power()))
            if self.peek == "!":
                raise Unknown("a factorial of a power")
        return base

    def _atom(self) -> Value:
        self._depth += 1
        if self._depth > _MAX_DEPTH:
            raise Unknown("too deep")
        value = self._primary(self.take())
        self._depth -= 1
        return value

    def _primary(self, token: str) -> Value:
        if token[0].isdigit() or token[0] == ".":
            return self._number(token)
        if token in ("(", "{", "["):
            return self.sum({"(": ")", "{": "}", "[": "]"}[token])
        if token in ("|", r"\lvert"):
            return values.absolute(self.sum("|" if token == "|" else r"\rvert"))
        if token[0] == "\\":
            return self._command(token[1:])
        if token.isalpha():
            return self._symbol(token)
        raise Unknown(token)

    def _number(self, token: str) -> Value:
        value = Fraction(token)
        if self.peek == r"\frac" and "." not in token:
            fraction = self._command(self.take()[1:])
            if not isinstance(fraction, Fraction) or not 0 < fraction < 1:
                raise Unknown("neither a mixed number nor a product")
            return value + fraction
        return value

    def _symbol(self, name: str) -> Value:
        if self.peek == "_":
            self.take()
            parts = [self.take()]
            depth = int(parts[0] == "{")
            while depth:
                parts.append(self.take())
                depth += (parts[-1] == "{") - (parts[-1] == "}")
            name = f"{name}_{''.join(parts).strip('{}')}"
        return Fraction(1) if self._ones and name not in ("e", "i") else values.symbol(name, self._point)

    def _group(self) -> Value:
        """The argument of a command: a group in braces, or one digit or command (\\frac12 is normalised before)."""
        if self.peek == "{":
            self.take()
            return self.sum("}")
        if self.peek and self.peek[0] == "\\":
            return self._atom()
        raise Unknown("an argument without braces")

    def _command(self, name: str) -> Value:
        if name == "pi":
            return PI
        if name == "frac":
            return self._spend(self._group() / self._group())
        if name == "binom":
            return self._spend(values.binomial(self._group(), self._group()))
        if name == "sqrt":
            degree: Value = Fraction(2)
            if self.peek == "[":
                self.take()
                degree = self.sum("]")
            return values.root(self._group(), degree)
        if name in ("lfloor", "lceil"):
            return values.rounded(self.sum(rf"\r{name[1:]}"), name == "lceil")
        if name in values.FUNCTIONS:
            return self._function(name)
        if name == "log":
            self.take("_")  # its base is written
            base = self._atom()
            return values.function("ln", self._argument()) / values.function("ln", base)
        if name in values.GREEK:
            return self._symbol(name)
        raise Unknown(name)

    def _function(self, name: str) -> Value:
        exponent: Value = Fraction(1)
        if self.peek == "^":
            self.take()
            exponent = self._signed_power()
            if not isinstance(exponent, Fraction) or exponent <= 0:
                raise Unknown("an inverse function or a power")
        return values.power(values.function(name, self._argument()), exponent)

    def _argument(self) -> Value:
        """The argument of a function: in brackets, or one factor that nothing could continue."""
        bracketed = self.peek in ("(", "{")
        value = self._atom() if bracketed else self._power()
        follows = self.peek
        if bracketed and follows not in ("^", "!"):
            return value
        if follows not in ("", "+", "-", ")", "}", "]", r"\rfloor", r"\rceil"):
            raise Unknown("where an argument ends")
        return value


def parse(text: str, point: int = 0) -> Value:
    """The value of a whole normalised text, where its symbols stand for the numbers of a point.

    Unknown where it is not an expression, TooLarge where it breaks a limit.
    """
    tokens = values.tokens(text)
    try:
        return _whole(tokens, ones=False, point=point)
    except TooLarge:
        if any(token.isalpha() for token in tokens):
            _whole(tokens, ones=True, point=0)  # is it large whatever the symbols stand for?
            raise Unknown("large for these values of its symbols") from None
        raise


def _whole(tokens: list[str], *, ones: bool, point: int) -> Value:
    parser = _Parser(tokens, ones, point)
    try:
        value = parser.sum()
    except (ArithmeticError, ValueError) as error:  # a division by zero, or a result that no float holds
        raise Unknown(str(error)) from error
    if parser.peek:
        raise Unknown("more than one expression")
    return value
