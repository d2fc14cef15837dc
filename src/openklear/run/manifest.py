"""What a run was made with: code, packages, machine, seeds and data."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from openklear import __version__
from openklear.durable.files import read_json
from openklear.errors import DataError

PACKAGES = (
    *("torch", "transformers", "tokenizers", "safetensors", "numpy", "pyarrow", "pydantic", "math-verify", "sympy"),
    *("latex2sympy2_extended", "jinja2", "altair", "vl-convert-python"),
)


VECTORS = {"avx512f": "AVX-512", "avx2": "AVX2"}
"""Flag of a processor -> what it is called; the widest first."""


def manifest(root: Path, *, seed: int, threads: int, data: Mapping[str, str]) -> dict[str, Any]:
    """Facts of this start, and the list of all starts in `root` that had something to run, each with its facts.

    `data` maps the files from outside the run to the hashes of their contents. `git` is None where the package does
    not stand in a checkout. Whether there is a GPU is asked only of a torch that is loaded already.
    """
    facts = {
        "version": __version__,
        "git": git_revision(Path(__file__).parent),
        "packages": package_versions(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpu": cpu_model(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_bytes": memory_bytes(),
        "gpu": gpu_names(),
    }
    start = {"time": datetime.now(UTC).isoformat(timespec="seconds"), "command": sys.argv, "pid": os.getpid()}
    starts = [*_earlier(root / "manifest.json", "starts", []), {**start, **facts}]
    models = _earlier(root / "manifest.json", "models", {})  # the stage base names them
    return {**facts, "seed": seed, "threads": threads, "data": dict(data), "models": models, "starts": starts}


def git_revision(directory: Path) -> dict[str, Any] | None:
    """{revision, dirty} of the checkout that `directory` stands in; None without a checkout or without git."""
    try:
        revision = _git(directory, "rev-parse", "HEAD")
        _git(directory, "ls-files", "--error-unmatch", Path(__file__).name)
        changes = _git(directory, "status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.SubprocessError):  # no git, no checkout, or installed inside somebody else's
        return None
    return {"revision": revision, "dirty": bool(changes)}


def package_versions() -> dict[str, str]:
    """Full versions of the packages that matter to results; those that are not installed are left out."""
    found: dict[str, str] = {}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def cpu_model() -> str:
    """The processor's name as the system gives it, with its widest vectors: the bits of a result go by them."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    told = {line.partition(":")[0].strip(): line.partition(":")[2].strip() for line in lines}
    name = told.get("model name") or platform.processor() or platform.machine()
    widest = next((shown for flag, shown in VECTORS.items() if flag in told.get("flags", "").split()), None)
    return name if widest is None else f"{name} ({widest})"


def memory_bytes() -> int | None:
    """Physical memory; None where the system does not say."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError):
        return None


def gpu_names() -> list[str]:
    """Names of the GPUs; [] without any, or while torch is not loaded."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_available():
        return []
    return [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]


def _earlier(path: Path, key: str, first: Any) -> Any:
    """What an earlier start wrote under the key; `first` at the first start."""
    try:
        return read_json(path).get(key, first)
    except DataError:
        return first


def _git(directory: Path, *arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=directory, capture_output=True, text=True, check=True, timeout=20)
    return done.stdout.strip()
