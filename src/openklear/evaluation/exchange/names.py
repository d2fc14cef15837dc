"""Names of the tools whose files are read, and of the formats that are written; nothing is imported with them."""

from __future__ import annotations

from typing import Literal

Tool = Literal["inspect", "lm-eval", "evalscope", "nemo-skills", "livecodebench"]
Format = Literal["inspect", "every-eval-ever", "lm-eval", "livecodebench"]
