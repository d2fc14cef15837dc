"""What encoding row by row into a file costs beside keeping all rows in memory: CPU seconds, and peak memory.

    python benchmarks/streaming.py

Makes demonstrations of 2,000 characters (or those of --rows and --characters), and encodes them with the tiny model's
tokenizer in processes of their own: kept (a list of all rows, as before) and streamed (`training.token_file`, with one
epoch of batches read back), alternating; then both again with four times the rows.

Prediction, before the first run: CPU seconds within 5 %, since the chat template and the tokenizer take nearly all;
kept grows by at least 5 bytes a token and the texts, streamed by less than 10 MB.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from openklear.data.store import write_demonstrations
from openklear.types import Demonstration, Problem

WORK = """
import resource, sys, time
from pathlib import Path
from openklear.data.store import read_demonstrations, stored_demonstrations
from openklear.models.tiny import make_tokenizer
from openklear.models.tokenizer import LoadedTokenizer
from openklear.recipe.schema import Sft
from openklear.training.demonstrations import RowEncoder
from openklear.training.schedule import batches_ahead
from openklear.training.token_file import write_rows

way, path, target = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
tokenizer = make_tokenizer()
encoder = RowEncoder(LoadedTokenizer(tokenizer, frozenset((tokenizer.eos_token_id,))), Sft(), {})
began = time.process_time()
if way == "kept":
    rows = list(encoder.rows(read_demonstrations(path), print))
    lengths, take = [len(row.ids) for row in rows], lambda batch: [rows[i] for i in batch]
else:
    stored = encoder.rows(stored_demonstrations(path), print)
    made = write_rows(target, stored, key="", seed=0, counts=lambda: encoder.counts)
    lengths, take = made.lengths, made.read
encoded = time.process_time()
tokens = sum(len(row.ids) for batch in batches_ahead(lengths, 131072, 0, 1) for row in take(batch))
read = time.process_time()
print(tokens, encoded - began, read - encoded, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
"""


def measured(way: str, path: Path) -> list[float]:
    """Tokens, CPU seconds of encoding, of reading an epoch, and MiB at the peak."""
    with tempfile.TemporaryDirectory() as target:
        command = [sys.executable, "-c", WORK, way, str(path), f"{target}/rows"]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    return [float(number) for number in done.stdout.split()]


def made(path: Path, rows: int, characters: int) -> Path:
    """A prepared file of demonstrations."""
    problem = Problem("p", ({"role": "user", "content": "What is it?"},), "math", answer="1")
    texts = (f"<think>{number} {'so it is ' * (characters // 9)}</think>1" for number in range(rows))
    write_demonstrations(path, (Demonstration(problem, text, f"d:{n}") for n, text in enumerate(texts)))
    return path


def spread(values: list[float]) -> str:
    return f"{statistics.median(values):.3f} ({min(values):.3f} to {max(values):.3f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=500)
    parser.add_argument("--characters", type=int, default=2000)
    parser.add_argument("--pairs", type=int, default=5)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        few, many = (
            made(Path(place) / f"{times}.parquet", times * arguments.rows, arguments.characters) for times in (1, 4)
        )
        pairs = [(measured("streamed", few), measured("kept", few)) for _ in range(arguments.pairs)]
        tokens = pairs[0][0][0]
        print(f"{arguments.rows} rows, {tokens:,.0f} tokens, {arguments.pairs} alternating pairs")
        print(f"encoding, CPU seconds streamed over kept: {spread([new[1] / old[1] for new, old in pairs])}")
        print(f"an epoch read back: {spread([1e9 * new[2] / tokens for new, _ in pairs])} CPU ns a token")
        peaks = {way: statistics.median(pair[i][3] for pair in pairs) for i, way in enumerate(("streamed", "kept"))}
        for way, peak in peaks.items():
            more, *_, higher = measured(way, many)
            print(f"{way}: peak {peak:.0f} MiB; with {more:,.0f} tokens {higher:.0f} MiB, {higher - peak:+.0f}")


if __name__ == "__main__":
    main()
