"""Cleaning of many texts at once: characters replaced by a table, and runs of blanks made one.

ASCII texts, nearly all of them in practice, are cleaned as one array of bytes; the others by a function that the caller
gives, which must agree with the table on ASCII.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from openklear.curation.text.cut import Bytes, Places, buffer_of

BLANK = 32


def table(kept: str, *, others: bool) -> Bytes:
    """(128,) what takes the place of each ASCII byte: capitals become small letters, `kept` stay, the others stay too
    or become blanks. Letters and digits that are to stay must stand in `kept`, small."""
    made = np.arange(128, dtype=np.uint8) if others else np.full(128, BLANK, np.uint8)
    for character in kept:
        made[ord(character)] = ord(character)
        made[ord(character.upper())] = ord(character)
    return made


def cleaned(texts: pa.Array | Sequence[str], replaced: Bytes, other: Callable[[pa.Array], pa.Array]) -> pa.Array:
    """Every text cleaned, as a large_string array without nulls (a null counts as empty).

    `replaced` (128,) is the table for texts of ASCII, whose runs of blanks become one and whose ends are trimmed;
    `other` gets the rest as a large_string array.
    """
    found = texts if isinstance(texts, pa.Array) else pa.array(texts, pa.large_string())
    found = pc.fill_null(found.cast(pa.large_string()), "")
    ascii_rows = pc.string_is_ascii(found)
    plain = np.asarray(ascii_rows.to_numpy(zero_copy_only=False), np.bool_)
    if plain.all():
        return _single_blanks(found, replaced)
    ours = _single_blanks(found.filter(ascii_rows), replaced)
    both = pa.concat_arrays([ours, other(found.filter(pc.invert(ascii_rows)))])
    place = np.argsort(np.concatenate([np.flatnonzero(plain), np.flatnonzero(~plain)]))  # (texts,) each one's in `both`
    return both.take(pa.array(place))


def _single_blanks(texts: pa.Array, replaced: Bytes) -> pa.Array:
    """ASCII texts (large_string) with their bytes replaced and every run of blanks one; none at the ends."""
    data, offsets = buffer_of(texts)
    data = replaced[data]
    blank = data == BLANK
    goes = blank.copy()
    goes[1:] &= blank[:-1]  # (bytes,) all but the first of a run, and two lines on also the first at a text's start
    starts = offsets[:-1][offsets[:-1] < offsets[1:]]
    goes[starts] = blank[starts]
    data, offsets = _without(np.flatnonzero(goes), data, offsets)
    last = offsets[1:][offsets[:-1] < offsets[1:]] - 1  # (texts that are not empty,) their last byte
    data, offsets = _without(last[data[last] == BLANK], data, offsets)
    return pa.Array.from_buffers(
        pa.large_string(), len(texts), [None, pa.py_buffer(offsets), pa.py_buffer(np.ascontiguousarray(data))]
    )


def _without(gone: Places, data: Bytes, offsets: Places) -> tuple[Bytes, Places]:
    """Bytes and offsets with the bytes at the places `gone` (ascending) taken out."""
    if not len(gone):
        return data, offsets
    keep = np.ones(len(data), np.bool_)
    keep[gone] = False
    return data[keep], offsets - np.searchsorted(gone, offsets)  # an offset moves by what went before it
