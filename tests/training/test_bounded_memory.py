"""Encoding and reading back four times as many rows takes no more memory: measured, in processes of their own."""

import subprocess
import sys
from pathlib import Path

import pytest

from openklear.data.store import write_demonstrations
from openklear.types import Demonstration, Problem

MEASURE = """
import resource, sys
from pathlib import Path
from openklear.data.store import stored_demonstrations
from openklear.models.tiny import make_tokenizer
from openklear.models.tokenizer import LoadedTokenizer
from openklear.recipe.schema import Sft
from openklear.training.demonstrations import RowEncoder
from openklear.training.schedule import batches_ahead
from openklear.training.token_file import write_rows

tokenizer = make_tokenizer()
encoder = RowEncoder(LoadedTokenizer(tokenizer, frozenset((tokenizer.eos_token_id,))), Sft(), {})
encoded = encoder.rows(stored_demonstrations(Path(sys.argv[1])), print)
rows = write_rows(Path(sys.argv[2]), encoded, key="", seed=0, counts=lambda: encoder.counts)
tokens = 0
for batch in batches_ahead(rows.lengths, 131072, seed=0, epochs=1):
    tokens += sum(len(row.ids) for row in rows.read(batch))
assert tokens == encoder.counts["tokens"]
status = Path("/proc/self/status")  # its peak is this program's own; that of getrusage begins with whoever started it
own = status.read_text().partition("VmHWM:")[2].split()[0] if status.is_file() else 0
print(len(rows), tokens, int(own) or resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""
ROW = 1000
"""Characters of a response, which are its tokens too."""


def measured(tmp_path: Path, rows: int) -> tuple[int, int, int]:
    """Rows, tokens, and the largest resident memory of the process in KiB."""
    problem = Problem("p", ({"role": "user", "content": "xy"},), "math", answer="1")
    text = "<think>" + "a" * ROW + "</think>1"
    path = tmp_path / f"{rows}.parquet"
    write_demonstrations(path, (Demonstration(problem, f"{number}{text}", f"d:{number}") for number in range(rows)))
    command = [sys.executable, "-c", MEASURE, str(path), str(tmp_path / f"rows-{rows}")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    count, tokens, peak = map(int, done.stdout.split())
    return count, tokens, peak


@pytest.mark.long
def test_memory_does_not_grow_with_the_rows(tmp_path):
    (few, _, peak), (many, tokens, higher) = (measured(tmp_path, rows) for rows in (1500, 6000))
    assert (few, many) == (1500, 6000)
    held = tokens * 5 / 1024  # KiB of ids and masks alone, had they been kept
    assert held > 25_000
    assert higher - peak < held / 3, f"peak of {few} rows {peak} KiB, of {many} {higher} KiB"
