"""Exact and near deduplication of generated prompts: seconds, memory, what is found, and a peer beside it.

    python benchmarks/deduplication.py                          # 1,000,000 rows, 10^4 and 10^5, datasketch on 20,000
    python benchmarks/deduplication.py --sizes 10000 100000 --svg docs/dedup-scaling.svg

For each size, `million_prompts.py` generates rows, and a process of its own, whose peak memory is read at its end,
reads them with Daft, drops exact copies (`text.hashes`) and near ones (`near`, threshold 0.8). A planted copy is found
if it ends with the same row as what it is a copy of. Recall is of the planted near copies whose exact similarity,
computed here in plain Python, is at least 0.8; precision is the share of the dropped rows whose similarity with the row
that they are named with is.

The peer, datasketch, does what its documentation shows on 20,000 rows: MinHash of 64 permutations of word 3-grams (made
in bulk, with xxhash where it is installed), MinHashLSH of 16 bands x 4 rows, a query before each insertion. It does not
verify what it finds; ours does, and that is in its time. Both are given a list of texts. Rounds alternate. rensa is
timed too where it is installed.

Predicted before the first run (2 cores): 1,000,000 rows in 13 s (exact 4, signatures 4, candidates 2.5, verification 2)
and 0.9 GiB; recall 0.999, precision 1; 15 to 25 times datasketch; time in proportion to the rows from 10^5 on, below it
Daft's start is seen.

Measured on 2 cores that others used too (load 4 to 6): 1,000,000 rows in 18.5 to 19 CPU seconds, 30 to 42 s by the
clock, 1.0 GiB; recall and precision 1. datasketch 2.0 takes 5.5 to 7.6 times as long, not 15: its bulk interface makes
6,000 to 9,000 signatures a second, three times what was expected of it. On quiet cores (load 1), nine rounds, twice:
10.2 times (6.5 to 11.0) and 10.3 times (7.9 to 10.6).
"""

from __future__ import annotations

import argparse
import json
import re
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import altair as alt
import daft
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from daft import DataType, Series, col
from numpy.typing import NDArray

from million_prompts import PART, generate
from openklear.curation.near import near_duplicates, signed
from openklear.curation.text.hashes import first_copies, text_digests
from openklear.data.rows import normalise

THRESHOLD = 0.8
GROUP = 4096
PEER_ROWS = 20_000
ROUNDS = 9
DIGEST = DataType.fixed_size_list(DataType.uint64(), 2)


@daft.func.batch(return_dtype=DIGEST, unnest=False, batch_size=16384)
def _digests(text: Series) -> pa.Array:
    return pa.FixedSizeListArray.from_arrays(pa.array(text_digests(text.to_arrow()).reshape(-1)), 2)


def _matrix(frame: daft.DataFrame, column: str) -> tuple[NDArray[np.int64], NDArray[Any]]:
    """Row numbers, and a column of fixed-size lists as a matrix."""
    found = frame.to_arrow()
    flat = np.concatenate([chunk.flatten().to_numpy() for chunk in found[column].chunks])
    return found["row"].to_numpy(), flat.reshape(len(found), -1)


def _fetcher(directory: Path) -> Callable[[NDArray[np.int64]], list[str]]:
    """The prompts of rows (ascending), read from the row groups that hold them."""

    def texts(rows: NDArray[np.int64]) -> list[str]:
        found: list[str] = []
        for part in np.unique(rows // PART):
            inside = rows[rows // PART == part] - part * PART
            with pq.ParquetFile(directory / f"prompts-{part:03}.parquet") as file:
                for group in np.unique(inside // GROUP):
                    here = inside[inside // GROUP == group] - group * GROUP
                    column = file.read_row_group(int(group), columns=["prompt"])["prompt"]
                    found += column.take(pa.array(here)).to_pylist()
        return found

    return texts


def deduplicate(directory: Path, output: Path) -> None:
    """The measured process: what is dropped goes to an .npz file, the seconds to standard output as JSON."""
    seconds: dict[str, float] = {}

    @contextmanager
    def timed(name: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        seconds[name] = time.perf_counter() - start

    row = col("id").substr(4).cast(DataType.int64()).alias("row")
    frame = daft.read_parquet(str(directory / "prompts-*.parquet")).select(row, col("prompt").alias("text"))
    with timed("exact"):
        rows, digests = _matrix(frame.select("row", _digests(col("text")).alias("digest")), "digest")
        copies, firsts = first_copies(rows, digests)
        gone = np.zeros(len(rows), np.bool_)
        gone[copies] = True
        del rows, digests

    @daft.func.batch(return_dtype=DataType.bool(), unnest=False)
    def kept(row: Series) -> pa.Array:
        return pa.array(~gone[row.to_arrow().to_numpy()])

    with timed("signatures"):
        left, signatures = _matrix(signed(frame.where(kept(col("row"))), THRESHOLD), "signature")
    with timed("near"):
        dropped, named, similarity = near_duplicates(left, signatures, _fetcher(directory), THRESHOLD)
    used = resource.getrusage(resource.RUSAGE_SELF)
    np.savez(output, copies=copies, firsts=firsts, dropped=dropped, named=named, similarity=similarity)
    print(json.dumps({**seconds, "cpu": used.ru_utime + used.ru_stime, "peak": used.ru_maxrss / 2**20}))


def _measured(directory: Path) -> dict[str, float]:
    """Run `deduplicate` in a process of its own and judge what it dropped."""
    output = directory / "dropped.npz"
    command = [sys.executable, __file__, "--only", str(directory)]
    start = time.perf_counter()
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    wall = time.perf_counter() - start
    figures = json.loads(said.splitlines()[-1])
    return {**figures, "wall": wall, **_judged(directory, dict(np.load(output)))}


def _shingles(text: str) -> set[tuple[str, ...]]:
    words = re.findall(r"[a-z0-9]+", text.lower())
    return {tuple(words[place : place + 3]) for place in range(len(words) - 2)} or {tuple(words)}


def _similarity(one: str, other: str) -> float:
    a, b = _shingles(one), _shingles(other)
    same_numbers = re.findall(r"\d+", one) == re.findall(r"\d+", other)
    return len(a & b) / len(a | b) if same_numbers else 0.0


def _judged(directory: Path, found: dict[str, NDArray[Any]]) -> dict[str, float]:
    """Recall and precision by plain Python."""
    truth = pq.read_table(directory / "truth.parquet")
    parts = sorted(directory.glob("prompts-*.parquet"))
    prompts = pa.concat_arrays(
        [pq.read_table(part)["prompt"].combine_chunks().cast(pa.large_string()) for part in parts]
    )
    text = lambda row: prompts[int(row)].as_py()  # noqa: E731
    ends = np.arange(len(prompts))
    ends[found["dropped"]] = found["named"]
    ends[found["copies"]] = ends[found["firsts"]]
    kind, of = np.asarray(truth["kind"].to_pylist()), truth["of"].to_numpy()
    exact, near = np.flatnonzero(kind == "exact"), np.flatnonzero(kind == "near")
    alike = np.asarray([_similarity(text(row), text(of[row])) for row in near])
    hit = ends[near] == ends[of[near]]
    right = [_similarity(text(a), text(b)) >= THRESHOLD for a, b in zip(found["dropped"], found["named"], strict=True)]
    equal = [normalise(text(a)) == normalise(text(b)) for a, b in zip(found["copies"], found["firsts"], strict=True)]
    return {
        "exact_recall": float((ends[exact] == ends[of[exact]]).mean()),
        "exact_precision": float(np.mean(equal)),
        "recall": float(hit[alike >= THRESHOLD].mean()),
        "planted": int((alike >= THRESHOLD).sum()),
        "below": int(hit[alike < THRESHOLD].sum()),
        "precision": float(np.mean(right)),
        "dropped": len(found["dropped"]),
    }


def ours(texts: list[str]) -> set[int]:
    """Near copies among texts."""
    frame = daft.from_arrow(pa.table({"row": np.arange(len(texts)), "text": pa.array(texts, pa.large_string())}))
    rows, signatures = _matrix(signed(frame, THRESHOLD), "signature")
    return set(near_duplicates(rows, signatures, lambda some: [texts[row] for row in some], THRESHOLD)[0].tolist())


def _peer_shingles(text: str) -> list[bytes]:
    words = text.lower().split()
    return [" ".join(words[place : place + 3]).encode() for place in range(max(len(words) - 2, 1))]


def datasketch(texts: list[str]) -> set[int]:
    """The same by datasketch."""
    from datasketch import MinHash, MinHashLSH

    options = {"hashfunc": import_module("xxhash").xxh32_intdigest} if find_spec("xxhash") else {}
    index = MinHashLSH(threshold=THRESHOLD, num_perm=64, params=(16, 4))
    found = set()
    hashes = MinHash.generator(map(_peer_shingles, texts), num_perm=64, seed=1, **options)
    for row, value in enumerate(hashes):
        if index.query(value):
            found.add(row)
        else:
            index.insert(row, value)
    return found


def rensa(texts: list[str]) -> set[int]:
    """The same by rensa."""
    from rensa import RMinHash, RMinHashLSH

    index = RMinHashLSH(threshold=THRESHOLD, num_perm=64, num_bands=16)
    found = set()
    for row, text in enumerate(texts):
        value = RMinHash(num_perm=64, seed=1)
        value.update([shingle.decode() for shingle in _peer_shingles(text)])
        if index.query(value):
            found.add(row)
        else:
            index.insert(row, value)
    return found


def beside(directory: Path) -> None:
    """Ours and the peers in turn on the same rows; prints a table."""
    generate(directory, PEER_ROWS)
    texts = pq.read_table(directory / "prompts-000.parquet")["prompt"].to_pylist()
    ways: dict[str, Callable[[list[str]], set[int]]] = {"openklear": ours, "datasketch": datasketch}
    if find_spec("rensa"):
        ways["rensa"] = rensa
    wall: dict[str, list[float]] = {name: [] for name in ways}
    cpu: dict[str, list[float]] = {name: [] for name in ways}
    found: dict[str, set[int]] = {}
    ours(texts[:100])  # Daft starts
    for _ in range(ROUNDS):
        for name, way in ways.items():
            start, used = time.perf_counter(), time.process_time()
            found[name] = way(texts)
            wall[name].append(time.perf_counter() - start)
            cpu[name].append(time.process_time() - used)
    print("\n| near copies of 20,000 rows | s (least - most) | CPU s | rows/s | ours is faster, times | found |")
    print("|" + "---|" * 6)
    for name in ways:
        ratio = [theirs / mine for theirs, mine in zip(wall[name], wall["openklear"], strict=True)]
        middle = statistics.median(wall[name])
        spread = f"{min(wall[name]):.2f} - {max(wall[name]):.2f}"
        print(
            f"| {name} | {middle:.2f} ({spread}) | {statistics.median(cpu[name]):.2f} | {len(texts) / middle:,.0f} "
            f"| {statistics.median(ratio):.1f} ({min(ratio):.1f} - {max(ratio):.1f}) | {len(found[name]):,} |"
        )


def _plot(points: list[dict[str, float]], path: Path) -> None:
    axis: dict[str, Any] = {"scale": alt.Scale(type="log")}
    base = alt.Chart(alt.Data(values=points)).encode(
        alt.X("rows:Q", title="rows", **axis), alt.Y("seconds:Q", title="seconds", **axis)
    )
    chart = base.mark_line() + base.mark_point(filled=True, size=60)
    chart.properties(width=320, height=200, title="Exact and near deduplication").save(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--svg", type=Path, help="write a plot of the seconds")
    parser.add_argument("--only", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.only:
        deduplicate(arguments.only, arguments.only / "dropped.npz")
        return
    print(
        "| rows | exact, s | signatures, s | near, s | together, s | rows/s | process, s | CPU s | peak, GiB |", end=""
    )
    print(" exact recall, precision | near recall (of) | precision (of) | found below 0.8 |\n|" + "---|" * 13)
    points = []
    with tempfile.TemporaryDirectory() as scratch:
        for size in arguments.sizes:
            generate(Path(scratch, str(size)), size)
            m = _measured(Path(scratch, str(size)))
            together = m["exact"] + m["signatures"] + m["near"]
            points.append({"rows": size, "seconds": together})
            print(
                f"| {size:,} | {m['exact']:.2f} | {m['signatures']:.2f} | {m['near']:.2f} | {together:.2f} "
                f"| {size / together:,.0f} | {m['wall']:.1f} | {m['cpu']:.1f} | {m['peak']:.2f} "
                f"| {m['exact_recall']:.4f}, {m['exact_precision']:.4f} | {m['recall']:.4f} ({m['planted']:,}) "
                f"| {m['precision']:.4f} ({m['dropped']:,}) | {m['below']} |",
                flush=True,
            )
        beside(Path(scratch, "peer"))
    if arguments.svg:
        _plot(points, arguments.svg)


if __name__ == "__main__":
    main()
