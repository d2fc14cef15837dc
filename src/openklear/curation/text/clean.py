"""Cleaning of many texts at once: characters replaced by a table, and runs of blanks made one.

ASCII texts, nearly all of them in practice, are cleaned as one array of bytes; the others by a function that the caller
gives, which must agree with the table on ASCII.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

BLANK = 32


def table(kept: str, *, others: bool) -> NDArray[np.uint8]:
    """(128,) what takes the place of each ASCII byte: capitals become small letters, `kept` stay, the others stay too
    or become blanks. Letters and digits that are to stay must stand in `kept`, small."""
    made = np.arange(128, dtype=np.uint8) if others else np.full(128, BLANK, np.uint8)
    for character in kept:
        made[ord(character)] = ord(character)
        made[ord(character.upper())] = ord(character)
    return made


def cleaned(
    texts: pa.Array | Sequence[str], replaced: NDArray[np.uint8], other: Callable[[pa.Array], pa.Array]
) -> pa.Array:
    """Every text cleaned, as a large_string array without nulls (a null counts as empty).

    `replaced` (128,) is the table for texts of ASCII, whose runs of blanks become one and whose ends are trimmed;
    `other` gets the rest as a large_string array.
    """
    found = texts if isinstance(texts, pa.Array) else pa.array(texts, pa.large_string())
    found = pc.fill_null(found.cast(pa.large_string()), "")
    ascii_rows = pc.string_is_ascii(found)
    plain = np.asarray(ascii_rows.to_numpy(zero_copy_only=False), np.bool_)
    if plain.all():
        return _squeezed(found, replaced)
    both = pa.concat_arrays([_squeezed(found.filter(ascii_rows), replaced), other(found.filter(pc.invert(ascii_rows)))])
    place = np.empty(len(plain), np.int64)
    place[plain] = np.arange(plain.sum())
    place[~plain] = np.arange(plain.sum(), len(plain))
    return both.take(pa.array(place))


def _squeezed(texts: pa.Array, replaced: NDArray[np.uint8]) -> pa.Array:
    """ASCII texts (large_string) with their bytes replaced and every run of blanks one; none at the ends."""
    offsets, data = _bytes(texts)
    data = replaced[data]
    blank = data == BLANK
    goes = blank.copy()
    goes[1:] &= blank[:-1]  # all but the first of a run, and in the next line all at a text's start
    starts = offsets[:-1][offsets[:-1] < offsets[1:]]
    goes[starts] = blank[starts]
    offsets, data = _without(np.flatnonzero(goes), offsets, data)
    ends = offsets[1:][offsets[:-1] < offsets[1:]] - 1
    offsets, data = _without(ends[data[ends] == BLANK], offsets, data)
    return pa.Array.from_buffers(
        pa.large_string(), len(texts), [None, pa.py_buffer(offsets), pa.py_buffer(np.ascontiguousarray(data))]
    )


def _bytes(texts: pa.Array) -> tuple[NDArray[np.int64], NDArray[np.uint8]]:
    """(n + 1,) offsets from 0 and the bytes of a large_string array."""
    _, where, data = texts.buffers()
    if where is None or not len(texts):
        return np.zeros(len(texts) + 1, np.int64), np.zeros(0, np.uint8)
    offsets = np.frombuffer(where, np.int64)[texts.offset : texts.offset + len(texts) + 1]
    everything = np.zeros(0, np.uint8) if data is None else np.frombuffer(data, np.uint8)
    return offsets - offsets[0], everything[offsets[0] : offsets[-1]]


def _without(
    gone: NDArray[np.int64], offsets: NDArray[np.int64], data: NDArray[np.uint8]
) -> tuple[NDArray[np.int64], NDArray[np.uint8]]:
    """Offsets and bytes with the bytes at the places `gone` (ascending) taken out."""
    if not len(gone):
        return offsets, data
    keep = np.ones(len(data), np.bool_)
    keep[gone] = False
    return offsets - np.searchsorted(gone, offsets), data[keep]
