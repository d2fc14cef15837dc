"""Exact duplicates: the first copy stays, so the order of the sources decides which (report, section 2.1)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from openklear.data.rows import Row, Sifted, prompt_key, sift


def deduplicate_problems(rows: Sequence[Row]) -> Sifted:
    """Drop rows whose normalised prompt stood before."""
    return _first_copies(rows, prompt_key, "repeated prompt")


def deduplicate_demonstrations(rows: Sequence[Row]) -> Sifted:
    """Drop rows whose normalised prompt stood before with the same response.

    Several different responses to one prompt stay: the report keeps up to 16. Responses are compared as they are, but
    for outer blanks and line ends, since in a program the indentation is the meaning.
    """
    return _first_copies(rows, lambda row: (prompt_key(row), _response_key(row)), "repeated demonstration")


def _response_key(row: Row) -> str:
    return (row.response or "").replace("\r\n", "\n").strip()


def _first_copies(rows: Sequence[Row], key: Callable[[Row], object], reason: str) -> Sifted:
    first: dict[object, Row] = {}

    def rule(row: Row) -> tuple[str, str] | None:
        earlier = first.setdefault(key(row), row)
        return None if earlier is row else (reason, f"first at {earlier.where} ({earlier.problem.id})")

    return sift(rows, rule)
