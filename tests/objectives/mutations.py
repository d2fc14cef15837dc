"""Does a test fail when a loss is wrong? One deliberate fault at a time, and the matrix of what caught it.

    python -m tests.objectives.mutations

For every policy loss: the sign of its gradient, the sign of its value, its two clip bounds exchanged, its other pair of
numbers exchanged, and its stop-gradient dropped (the value differentiated as it stands, as a naive program would). Each
fault is written into a copy of the package, and tests/objectives runs against the copy. What does not apply is named.
"""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).parents[2]
POLICY = Path("openklear/objectives/policy")
FILES = {
    "clip.py": ("ppo_clip", "two_sided", "gppo", "ce_gppo"),
    "weighted.py": ("cispo", "cispo_verl", "cispo_minimax", "cispo_trl", "sapo", "aspo", "dgpo", "topr", "dppo_tv"),
    "sequence.py": ("gspo", "gmpo"),
    "plain.py": ("reinforce",),
}
DELEGATES = {"two_sided": "ppo_clip", "ce_gppo": "gppo", "cispo_verl": "cispo"}
PAIRS = {
    "two_sided": (),
    "gppo": ("beta_low", "beta_high"),
    "ce_gppo": ("beta_low", "beta_high"),
    "sapo": ("tau_positive", "tau_negative"),
    "dgpo": ("n", "m"),
}
WITHOUT_STOP_GRADIENT = {
    "reinforce": "no ratio",
    "ppo_clip": "its formula has none",
    "two_sided": "its formula has none",
    "sapo": "its formula has none",
    "gspo": "its formula has none",
    "gmpo": "its formula has none",
    "ce_gppo": "it is gppo's",
    "cispo_verl": "it is cispo's",
}
LIVE = """

import dataclasses

def _live_read(*inputs):
    tokens = read(*inputs)
    log_ratio = tokens.logprobs - tokens.old_logprobs
    return dataclasses.replace(tokens, log_ratio=log_ratio, ratio=log_ratio.exp())

def _live_loss_of(tokens, value, weight):
    return torch.where(tokens.mask, value, 0.0)

def _live_log_value(tokens, weight):
    return -tokens.advantages * weight * tokens.logprobs
"""

Fault = Callable[[ast.FunctionDef], str]
"""Changes the function in place and returns "", or says why the fault does not apply."""


class Exchange(ast.NodeTransformer):
    """Names for names."""

    def __init__(self, names: dict[str, str]):
        self.names = names
        self.seen: set[str] = set()

    def visit_Name(self, node: ast.Name) -> ast.Name:
        if node.id in self.names:
            self.seen.add(node.id)
            return ast.copy_location(ast.Name(self.names[node.id], node.ctx), node)
        return node


def exchange(function: ast.FunctionDef, names: dict[str, str]) -> set[str]:
    """Exchange names in the body, not in the signature."""
    changer = Exchange(names)
    function.body = [changer.visit(statement) for statement in function.body]
    return changer.seen


def negate(function: ast.FunctionDef, position: int) -> str:
    """Argument `position` of `loss_of(tokens, value, weight)`, or of the `_dual_clipped` that stands for both."""
    last = function.body[-1]
    assert isinstance(last, ast.Return)
    assert isinstance(last.value, ast.Call)
    if function.name in DELEGATES:
        if position == 1:
            return f"it is {DELEGATES[function.name]}'s"
        last.value = ast.UnaryOp(ast.USub(), last.value)
        return ""
    call = last.value
    if isinstance(call.args[1], ast.Starred):
        call = call.args[1].value
        assert isinstance(call, ast.Call)
    call.args[position] = ast.UnaryOp(ast.USub(), call.args[position])
    return ""


def swap_clips(function: ast.FunctionDef) -> str:
    seen = exchange(function, {"clip_low": "clip_high", "clip_high": "clip_low"})
    return "" if seen == {"clip_low", "clip_high"} else "it has no two bounds"


def swap_pair(function: ast.FunctionDef) -> str:
    pair = PAIRS.get(function.name, ())
    if not pair:
        return "it has no other pair"
    one, other = pair
    assert exchange(function, {one: other, other: one}) == set(pair)
    return ""


def drop_stop_gradient(function: ast.FunctionDef) -> str:
    if function.name in WITHOUT_STOP_GRADIENT:
        return WITHOUT_STOP_GRADIENT[function.name]
    exchange(function, {name: f"_live_{name}" for name in ("read", "loss_of", "log_value")})
    return ""


FAULTS: dict[str, Fault] = {
    "gradient's sign": lambda function: negate(function, 2),
    "value's sign": lambda function: negate(function, 1),
    "clips swapped": swap_clips,
    "pair swapped": swap_pair,
    "no stop-gradient": drop_stop_gradient,
}


def mutant(file: str, name: str, fault: Fault) -> tuple[str, str]:
    """The file with the fault in one function, or why there is none."""
    tree = ast.parse((ROOT / "src" / POLICY / file).read_text())
    function = next(node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == name)
    why = fault(function)
    return ast.unparse(ast.fix_missing_locations(tree)) + LIVE, why


def caught_by(file: str, text: str) -> str:
    """The first test that fails on a copy of the package with this text in the file; empty if none does."""
    with tempfile.TemporaryDirectory() as directory:
        copy = Path(directory)
        shutil.copytree(ROOT / "src" / "openklear", copy / "openklear", ignore=shutil.ignore_patterns("__pycache__"))
        (copy / POLICY / file).write_text(text)
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-x", "-q", "-o", f"pythonpath={copy} {ROOT}", "tests/objectives"],
            cwd=ROOT,
            env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"},
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode in (0, 1), done.stdout + done.stderr
    failed = [line for line in done.stdout.splitlines() if line.startswith("FAILED")]
    return failed[0].partition("::")[2].split(" - ")[0] if failed else ""


def row(job: tuple[str, str]) -> list[str]:
    """The cells of one loss."""
    file, name = job
    cells = [name]
    for fault in FAULTS.values():
        text, why = mutant(file, name, fault)
        cells.append(f"n/a: {why}" if why else caught_by(file, text) or "SURVIVED")
    print(f"{name}: {cells[1:]}", file=sys.stderr, flush=True)
    return cells


def matrix() -> list[list[str]]:
    """One row a loss, one column a fault; the unchanged package passes first, or nothing below means anything."""
    unchanged = (ROOT / "src" / POLICY / "clip.py").read_text()
    assert not caught_by("clip.py", ast.unparse(ast.parse(unchanged)) + LIVE), "the tests fail without any fault"
    jobs = [(file, name) for file, names in FILES.items() for name in names]
    with ThreadPoolExecutor(max_workers=2) as pool:
        return list(pool.map(row, jobs))


def main() -> int:
    """Print the matrix as Markdown; 1 if a fault survived."""
    rows = matrix()
    print("| loss | " + " | ".join(FAULTS) + " |")
    print("|---" * (len(FAULTS) + 1) + "|")
    for cells in rows:
        print("| " + " | ".join(cells) + " |")
    survived = sum(cell == "SURVIVED" for cells in rows for cell in cells)
    faults = sum(not cell.startswith("n/a") for cells in rows for cell in cells[1:])
    print(f"\n{faults - survived} of {faults} faults caught")
    return bool(survived)


if __name__ == "__main__":
    sys.exit(main())
