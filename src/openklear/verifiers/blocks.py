"""Which block of a text is its program. Pure functions, linear in the text: the text is hostile."""

from __future__ import annotations


def extract_program(text: str) -> str:
    """The last fenced block that is closed; else one that is still open at the end; else the whole text."""
    lines = text.split("\n")
    fences = [number for number, line in enumerate(lines) if line.lstrip().startswith("```")]
    if not fences:
        return text.strip()
    if len(fences) == 1:
        return "\n".join(lines[fences[0] + 1 :])
    closed = fences[: len(fences) // 2 * 2]
    return "\n".join(lines[closed[-2] + 1 : closed[-1]])
