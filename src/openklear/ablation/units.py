"""What the numbers of a measure are counted in: how levels and differences are written, and which of two is better."""

from __future__ import annotations

import math
from dataclasses import dataclass

UNKNOWN = "\N{EN DASH}"


@dataclass(frozen=True, slots=True)
class MeasureUnit:
    """Of a measure: levels (what an arm has) and differences of them, each written in one way everywhere."""

    name: str
    """Of differences, in sentences and tables."""
    axis: str
    """The same under a figure."""
    scale: float
    """What is written is so many times the value."""
    digits: int
    """Behind the point."""
    possible: float
    """The largest difference that there can be."""
    lower_is_better: bool = False

    def size(self, value: float) -> str:
        """How large a difference is: `9.7 points`."""
        return f"{self._number(abs(value))} {self.name}"

    def signed(self, value: float) -> str:
        """A difference with its direction: `-9.7 points`."""
        return f"{self.difference(value)} {self.name}"

    def difference(self, value: float) -> str:
        """The same without its unit: `-9.7`, `0.0` where it rounds to nothing, a dash where it is not known."""
        text = self._number(value, sign="+")
        return text[1:] if not math.isnan(value) and float(text) == 0 else text

    def level(self, value: float) -> str:
        """What an arm has, without its unit: `69.1`; a dash where it is not known."""
        return self._number(value)

    def compared(self, value: float, other: str) -> str:
        """`9.7 points below PPO`, `0.120 nats per token higher (worse) than R1`; `other` may be empty: it was said."""
        if self.lower_is_better:
            way, other = "lower (better)" if value < 0 else "higher (worse)", other and f" than {other}"
        else:
            way, other = "below" if value < 0 else "above", other and f" {other}"
        return f"{self.size(value)} {way}{other}"

    def _number(self, value: float, sign: str = "") -> str:
        return UNKNOWN if math.isnan(value) else f"{self.scale * value:{sign}.{self.digits}f}"


SHARE = MeasureUnit("points", "percentage points", scale=100.0, digits=1, possible=1.0)
"""Of shares correct: the largest difference is none right against all."""
NATS = MeasureUnit(*("nats per token", "nats per token"), scale=1.0, digits=3, possible=math.inf, lower_is_better=True)
"""Of losses."""
