"""Copies: of rows, of prompts, and of the prompts of another table. The smallest row number stays, which is the copy of
the better source (report, section 2.1: exact-match deduplication of queries)."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from openklear.curation import engine
from openklear.curation.finished import StepResult
from openklear.curation.near import near_duplicates, signed
from openklear.curation.table import RowTable
from openklear.curation.text.hashes import digests, first_copies, text_digests


def problems(table: RowTable) -> StepResult:
    """Drop rows whose normalised prompt has occurred before."""
    return _marks(table, *first_copies(*prompt_keys(table)), "repeated prompt")


def demonstrations(table: RowTable) -> StepResult:
    """Drop rows whose normalised prompt has occurred before with the same response.

    Several different responses to one prompt stay: the report keeps up to 16. Responses are compared as they are,
    except for outer blanks and line ends, since in a program indentation has a meaning.
    """
    rows, keys = engine.keys(table, ("text", "response"), _both_keys, 4)
    return _marks(table, *first_copies(rows, keys), "repeated demonstration")


def not_in(table: RowTable, other: RowTable) -> StepResult:
    """Drop rows whose normalised prompt is in `other`."""
    rows, there = _found(table, other)
    ids = other.lookup(there, "id")["id"].to_pylist()
    return StepResult(
        engine.marks(rows, ["held-out prompt"] * len(rows), [f"the same prompt as {name}" for name in ids])
    )


def shared(table: RowTable, other: RowTable) -> NDArray[np.int64]:
    """The rows whose normalised prompt is in `other`."""
    return _found(table, other)[0]


def near(table: RowTable, threshold: float) -> StepResult:
    """Drop rows whose prompt nearly repeats an earlier one; rows with the same prompt share their fate."""
    rows, keys = prompt_keys(table)
    copies, firsts = first_copies(rows, keys)
    own = rows[~np.isin(rows, copies)]  # (p,) the first row of each prompt
    signed_rows, signatures = engine.lists(signed(table.frame("text"), threshold), "signature")
    matrix = signatures[np.isin(signed_rows, own)]  # (p, width)
    dropped, kept, similarity = near_duplicates(own, matrix, table.texts, threshold)
    # every row, and where in `own` the first row of its prompt is
    place = np.searchsorted(own, np.concatenate([own, firsts]))
    everything = np.concatenate([own, copies])
    gone = np.isin(own[place], dropped)
    at = np.searchsorted(dropped, own[place][gone])
    return _marks(table, everything[gone], kept[at], "nearly a repeated prompt", similarity[at])


def prompt_keys(table: RowTable) -> tuple[NDArray[np.int64], NDArray[np.uint64]]:
    """(n,) row numbers and (n, 2) keys of the normalised prompts."""
    return engine.keys(table, ("text",), text_digests, 2)


def _both_keys(texts: pa.Array, responses: pa.Array) -> NDArray[np.uint64]:
    plain = (response.replace("\r\n", "\n").strip().encode() for response in responses.to_pylist())
    return np.hstack([text_digests(texts), digests(plain)])


def _marks(
    table: RowTable,
    rows: NDArray[np.int64],
    firsts: NDArray[np.int64],
    reason: str,
    similarity: NDArray[np.float64] | None = None,
) -> StepResult:
    """Marks of copies, each with the place of what it is a copy of."""
    found = table.lookup(firsts, "where", "id")
    pairs = zip(found["where"].to_pylist(), found["id"].to_pylist(), strict=True)
    places = [f"first at {where} ({name})" for where, name in pairs]
    if similarity is not None:
        places = [f"{share:.2f} alike, {place}" for share, place in zip(similarity.tolist(), places, strict=True)]
    return StepResult(engine.marks(rows, [reason] * len(rows), places))


def _found(table: RowTable, other: RowTable) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows whose prompt is in `other`, and the first row there that has it."""
    rows, keys = prompt_keys(table)
    theirs, known = prompt_keys(other)
    both = np.concatenate([known, keys])  # places in it stand for the rows, theirs first
    copies, firsts = first_copies(np.arange(len(both)), both)
    hit = (copies >= len(theirs)) & (firsts < len(theirs))
    return rows[copies[hit] - len(theirs)], theirs[firsts[hit]]
