"""K-Center Greedy at size: seconds, memory and coverage, beside the plain way on a smaller set in the same run.

    python benchmarks/kcenter.py                                   # 31,600 of 300,000 points, and 3,000 of 30,000
    python benchmarks/kcenter.py --points 50000 --centres 5000 --times 1

Two sets of unit vectors with 128 coordinates, the same for the same seed:

    clustered   2,000 clusters whose sizes fall with their rank (Zipf, 0.8); the spread differs by cluster (Gamma) and
                in a cluster by point (Student t with 3 degrees of freedom): dense cores and far outliers
    prompts     the project's TF-IDF embedding of generated prompts (benchmarks/million_prompts.py), fitted to them

The plain way compares all points with every new centre in one pass (a matrix-vector product, a minimum, an argmax), on
the same grid; its order must be the same. The two run in turns, `--times` times. The large set is read from a memory
map in a process of its own, whose peak is shown (Linux). Threads: set OPENBLAS_NUM_THREADS; on cores that are shared
with other work, to 1.

Predicted before the first run, for 31,600 of 300,000 on two shared cores: the plain way moves 154 MB for every centre,
4.9 TB, 4 to 8 minutes. All products of points and centres are 2.4 TFLOP, some 40 s in fp32 at the 60 GFLOP/s of one
shared core; if half of the points never get among the farthest, 20 to 30 s with all else. Plain to lazy, on 3,000 of
30,000: about 8.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import chain
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from million_prompts import generate
from openklear.curation.selection.embedding import TfidfProjection
from openklear.curation.selection.kcenter import GRID, coverage, k_center_greedy

WIDTH = 128
CLUSTERS = 2000
AT_ONCE = 50_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--points", type=int, default=300_000)
    parser.add_argument("--centres", type=int, default=31_600)
    parser.add_argument("--plain-points", type=int, default=30_000)
    parser.add_argument("--plain-centres", type=int, default=3_000)
    parser.add_argument("--times", type=int, default=3)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    threads = os.environ.get("OPENBLAS_NUM_THREADS") or os.environ.get("OMP_NUM_THREADS") or "as many as cores"
    print(f"BLAS threads: {threads}\n")
    for name, made in (("clustered", clustered), ("prompts", prompts)):
        print(f"## {name}", flush=True)
        with tempfile.TemporaryDirectory() as directory:
            small = np.concatenate(list(made(arguments.plain_points, arguments.seed)))
            against_plain(small, arguments.plain_centres, arguments.times)
            file = Path(directory) / "vectors.f32"
            store(made(arguments.points, arguments.seed), arguments.points, file)
            process = get_context("spawn").Process(target=alone, args=(file, arguments.points, arguments.centres))
            process.start()
            process.join()


def clustered(count: int, seed: int) -> Iterator[NDArray[np.float32]]:
    """Points in clusters of very different size and width."""
    rng = np.random.default_rng(seed)
    centres = unit(rng.standard_normal((CLUSTERS, WIDTH)))
    share = np.arange(1.0, CLUSTERS + 1) ** -0.8
    width = 0.06 * rng.gamma(2.0, 0.5, CLUSTERS)
    for start in range(0, count, AT_ONCE):
        which = rng.choice(CLUSTERS, min(AT_ONCE, count - start), p=share / share.sum())
        distance = width[which] * np.abs(rng.standard_t(3, len(which)))
        yield unit(centres[which] + distance[:, None] * rng.standard_normal((len(which), WIDTH)))


def prompts(count: int, seed: int) -> Iterator[NDArray[np.float32]]:
    """Embeddings of generated prompts."""
    with tempfile.TemporaryDirectory() as directory:
        generate(Path(directory), count, seed)
        files = sorted(Path(directory).glob("prompts-*.parquet"))
        texts = list(chain.from_iterable(pq.read_table(file)["prompt"].to_pylist() for file in files))
    batches = [texts[start : start + AT_ONCE] for start in range(0, count, AT_ONCE)]
    start = time.process_time()
    embedding = TfidfProjection.fit(batches, width=WIDTH)
    fitted = time.process_time()
    vectors = [embedding.transform(batch) for batch in batches]
    done = time.process_time()
    characters = sum(map(len, texts)) / count
    print(f"embedding of {count:,} prompts of {characters:.0f} characters: fit {count / (fitted - start):,.0f}", end="")
    print(f" and transform {count / (done - fitted):,.0f} texts per CPU second")
    yield from vectors


def unit(vectors: NDArray[np.float64]) -> NDArray[np.float32]:
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def store(parts: Iterator[NDArray[np.float32]], count: int, file: Path) -> None:
    """Write the vectors one behind the other."""
    with file.open("wb") as out:
        assert sum(out.write(part.tobytes()) for part in parts) == count * WIDTH * 4


def plain(vectors: NDArray[np.float32], count: int) -> list[int]:
    """One pass over all points for every centre."""
    points = np.rint(vectors * np.float32(GRID))
    squares = np.einsum("ij,ij->i", points, points)
    mean = points.sum(axis=0, dtype=np.float64) / len(points)
    order = [int(((points - mean) ** 2).sum(axis=1).argmin())]
    nearest = np.full(len(points), np.inf, np.float32)
    while len(order) < count:
        centre = order[-1]
        np.minimum(nearest, squares - 2 * (points @ points[centre]) + squares[centre], out=nearest)
        nearest[centre] = -1
        order.append(int(nearest.argmax()))
    return order


def against_plain(vectors: NDArray[np.float32], count: int, times: int) -> None:
    """Both ways in turns; their orders must agree."""
    ways: dict[str, Callable[[], list[int]]] = {
        "lazy": lambda: k_center_greedy(vectors, count).tolist(),
        "plain": lambda: plain(vectors, count),
    }
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    cpu: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(times):
        orders = {}
        for name in sorted(ways, reverse=bool(turn % 2)):
            start, busy = time.perf_counter(), time.process_time()
            orders[name] = ways[name]()
            seconds[name].append(time.perf_counter() - start)
            cpu[name].append(time.process_time() - busy)
        assert orders["lazy"] == orders["plain"], "the orders differ"
    print(f"{count:,} of {len(vectors):,}, {times} times in turns, the same order:")
    for kind, found in (("seconds", seconds), ("CPU seconds", cpu)):
        ratios = [p / q for p, q in zip(found["plain"], found["lazy"], strict=True)]
        middle = {name: statistics.median(values) for name, values in found.items()}
        print(f"  {kind}: plain {middle['plain']:.2f}, lazy {middle['lazy']:.2f},", end=" ")
        print(f"ratio {statistics.median(ratios):.1f} ({min(ratios):.1f} to {max(ratios):.1f})", flush=True)


def alone(file: Path, points: int, count: int) -> None:
    """The large set, in a process of its own: time, memory and how well the centres cover it."""
    vectors = np.memmap(file, np.float32, "r", shape=(points, WIDTH))
    before = peak()
    start, busy = time.perf_counter(), time.process_time()
    found = k_center_greedy(vectors, count)
    wall, cpu = time.perf_counter() - start, time.process_time() - busy
    print(f"{count:,} of {points:,}: {wall:.1f} s, {cpu:.1f} CPU seconds; peak RSS {peak():,.0f} MiB,", end=" ")
    print(f"of which {before:,.0f} before it and {vectors.nbytes / 2**20:.0f} the mapped vectors")
    start = time.perf_counter()
    seen = coverage(vectors, found)
    print(f"coverage ({time.perf_counter() - start:.0f} s): radius {seen.radius:.3f}, mean {seen.mean:.3f};", end=" ")
    print(f"of as many at random: radius {seen.random_radius:.3f}, mean {seen.random_mean:.3f}\n", flush=True)


def peak() -> float:
    """MiB of resident memory that this process had at most; ru_maxrss would count its parent's."""
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


if __name__ == "__main__":
    main()
