"""Rules that look at one row at a time."""

from collections.abc import Callable

from openklear.data.rows import Row

Reason = tuple[str, str] | None
"""Why a row goes: (reason, detail); None if it stays."""
Rule = Callable[[Row], Reason]
