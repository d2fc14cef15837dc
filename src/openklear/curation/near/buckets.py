"""MinHash signatures folded into one hash for each band, and the pairs of rows that share one."""

from __future__ import annotations

from collections.abc import Callable

import daft
import numpy as np
import pyarrow as pa
from daft import DataType, Series, col
from numpy.typing import NDArray

from openklear.curation.near.shingles import SHINGLE, distinct, figures, words
from openklear.curation.text.cut import GOLDEN

HASHES = 64
SEED = 1
BATCH = 16384
RECALL = 0.995
"""Least share of the pairs at the threshold that banding finds."""
NEIGHBOURS = 4
"""Rows of a bucket after a row that it is compared with, beside the first one."""
_MIX = np.uint64(GOLDEN)


def banding(threshold: float) -> tuple[int, int]:
    """Bands, and rows in each: the longest bands that still find RECALL of the pairs at the threshold.

    A pair with similarity s agrees in one MinHash with probability s, in a band of r with s^r, and in at least one of b
    bands with 1 - (1 - s^r)^b, an S-shaped curve (Leskovec, Rajaraman, Ullman: Mining of Massive Datasets, 3.4.2). At
    0.8 that is 16 x 4, which finds 0.9998 of them, and 0.89 of the pairs at 0.6: the exact similarity rejects those.
    """
    fitting = [(HASHES // r, r) for r in range(1, HASHES + 1) if recall(threshold, HASHES // r, r) >= RECALL]
    return fitting[-1]


def recall(similarity: float, bands: int, rows: int) -> float:
    """Share of the pairs with this similarity that agree in at least one band."""
    return 1.0 - (1.0 - similarity**rows) ** bands


def signed(frame: daft.DataFrame, threshold: float) -> daft.DataFrame:
    """Columns `row` and `signature` of a frame with columns row (int64) and text (string), lazily and in any order.

    `signature` is fixed_size_list(uint32, bands): for every band of `banding(threshold)` a hash of its MinHashes and of
    the text's figures (4 bytes per band: 64 bytes per row at 0.8, where the 64 MinHashes would take 256). Daft makes
    the MinHashes of the words (`near.words`) in Rust: word 3-grams; of a shorter text, all its words. Rows of one
    template that differ in their numbers therefore never meet.
    """
    mixed = _folded(*banding(threshold))
    hashes = col("words").minhash(num_hashes=HASHES, ngram_size=SHINGLE, seed=SEED, hash_function="xxhash3_64")
    both = frame.select("row", "text", _words(col("text")).alias("words"))
    return both.select("row", mixed(hashes, col("text")).alias("signature"))


@daft.func.batch(return_dtype=DataType.string(), batch_size=BATCH)
def _words(text: Series) -> pa.Array:
    return words(text.to_pylist())


def _folded(bands: int, rows: int) -> Callable[..., daft.Expression]:
    """A Daft function of MinHashes and texts: the hashes of the bands."""
    kind = DataType.fixed_size_list(DataType.uint32(), bands)

    @daft.func.batch(return_dtype=kind, unnest=False, batch_size=BATCH)
    def folded(hashes: Series, text: Series) -> pa.Array:
        minhashes = hashes.to_arrow().flatten().to_numpy(zero_copy_only=False).reshape(-1, HASHES)
        figured = Series.from_arrow(figures(text.to_pylist())).hash().to_arrow().to_numpy(zero_copy_only=False)
        signature = fold(minhashes[:, : bands * rows].reshape(-1, bands, rows), figured)  # (texts, bands)
        return pa.FixedSizeListArray.from_arrays(pa.array(signature.reshape(-1)), bands)

    return folded


def fold(hashes: NDArray[np.uint32], figured: NDArray[np.uint64]) -> NDArray[np.uint32]:
    """(n, b, r) MinHashes and (n,) hashes of the figures -> (n, b) a hash for each band.

    Two different bands share one with a probability of 2^-32.
    """
    mixed = np.repeat(figured[:, None], hashes.shape[1], axis=1)  # (n,) -> (n, b)
    for row in range(hashes.shape[2]):
        mixed = (mixed ^ hashes[:, :, row]) * _MIX
        mixed ^= mixed >> np.uint64(32)
    return (mixed * _MIX >> np.uint64(32)).astype(np.uint32)


def candidates(signatures: NDArray[np.uint32]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Pairs of rows that share a bucket, and which rows stand in one that was too large to compare in full.

    signatures (n, bands), n < 2^31; a bucket holds the rows that agree in one band's hash. Pairs (p,) are packed as
    smaller << 32 | larger place, ascending and distinct. In a bucket every row is paired with the first one and with
    the NEIGHBOURS after it, so that a bucket of m rows makes at most 5 m pairs; up to 6 rows that is every pair.
    """
    pairs = np.zeros(0, np.int64)
    partial = np.zeros(len(signatures), np.bool_)
    for hashes in signatures.T:
        made, large = _in_buckets(hashes)
        partial[large] = True
        pairs = distinct(np.concatenate([pairs, made]))
    return pairs, partial


def _in_buckets(hashes: NDArray[np.uint32]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The pairs of one band, some of them twice, and the places in its large buckets; hashes (n,)."""
    ordered = (hashes.astype(np.uint64) << np.uint64(32)) | np.arange(len(hashes), dtype=np.uint64)
    ordered.sort()  # (n,) the hash in the upper half, the place in the lower one: a bucket stands together
    bucket, place = ordered >> np.uint64(32), (ordered & np.uint64(0xFFFFFFFF)).astype(np.int64)
    shared = np.zeros(len(hashes), np.bool_)  # (n,) not the first one of its bucket
    shared[1:] = bucket[1:] == bucket[:-1]
    starts = np.flatnonzero(~shared)
    sizes = np.diff(starts, append=len(hashes))  # (buckets,)
    first = np.repeat(place[starts], sizes)  # (buckets,) -> (n,)
    pairs = [first[shared] << 32 | place[shared]]
    for step in range(1, NEIGHBOURS + 1):
        near = np.flatnonzero(bucket[step:] == bucket[:-step])
        pairs.append(place[near] << 32 | place[near + step])
    large = np.repeat(sizes > NEIGHBOURS + 2, sizes)  # (buckets,) -> (n,)
    return np.concatenate(pairs), place[large]
