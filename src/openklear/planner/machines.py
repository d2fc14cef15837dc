"""Machines: how much memory they have, how fast it is read, and how fast they multiply. Without torch.

Figures of GPUs are the makers' own, dense (no sparsity), with fp32 accumulation; each row says where they are from.
Those of the machine at hand follow from what its processor can do in a cycle, and are upper bounds.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Literal

from openklear.errors import UsageError


@dataclass(frozen=True, slots=True)
class Machine:
    """One device that computes, with its memory."""

    name: str
    kind: Literal["cpu", "gpu"]
    memory_bytes: int
    bandwidth: float
    """Bytes of that memory that are read in a second."""
    flops: Mapping[str, float]
    """Type of numbers -> operations a second of a matrix product; on a CPU those of one core."""
    cores: int = 1
    """Of the CPU."""
    source: str = ""
    """Where the figures are from."""

    def flops_of(self, dtype: str, threads: int = 1) -> float:
        """Operations a second in that type, on so many CPU threads."""
        each = self.flops.get(dtype, self.flops["float32"])
        return each * min(threads, self.cores) if self.kind == "cpu" else each


def _gpu(name: str, gigabytes: float, gb_per_second: float, bf16: float, fp32: float, source: str) -> Machine:
    """Memory as torch finds it is some percent less than `gigabytes` (10^9 bytes); operations in 10^12 a second."""
    flops = {"bfloat16": bf16 * 1e12, "float32": fp32 * 1e12}
    return Machine(name, "gpu", int(gigabytes * 1e9), gb_per_second * 1e9, flops, source=source)


GPUS = {
    "b200": _gpu("NVIDIA B200", 180, 8000, 2250, 80, "NVIDIA Blackwell datasheet (dense, half of the sparse figure)"),
    "h200": _gpu("NVIDIA H200", 141, 4800, 989, 67, "NVIDIA H200 datasheet, SXM"),
    "h100": _gpu("NVIDIA H100 80GB HBM3", 80, 3350, 989, 67, "NVIDIA H100 datasheet, SXM"),
    "h100-pcie": _gpu("NVIDIA H100 PCIe", 80, 2000, 756, 51, "NVIDIA H100 datasheet, PCIe"),
    "h100-nvl": _gpu("NVIDIA H100 NVL", 94, 3900, 835, 60, "NVIDIA H100 datasheet, NVL"),
    "a100": _gpu("NVIDIA A100-SXM4-80GB", 80, 2039, 312, 19.5, "NVIDIA A100 datasheet, 80 GB SXM"),
    "a100-40": _gpu("NVIDIA A100-SXM4-40GB", 40, 1555, 312, 19.5, "NVIDIA A100 datasheet, 40 GB"),
    "l40s": _gpu("NVIDIA L40S", 48, 864, 362, 91.6, "NVIDIA L40S datasheet"),
    "l4": _gpu("NVIDIA L4", 24, 300, 121, 30.3, "NVIDIA L4 datasheet"),
    "a10": _gpu("NVIDIA A10", 24, 600, 125, 31.2, "NVIDIA A10 datasheet"),
    "a6000": _gpu("NVIDIA RTX A6000", 48, 768, 154.8, 38.7, "NVIDIA RTX A6000 datasheet; GA102 whitepaper"),
    "5090": _gpu("NVIDIA GeForce RTX 5090", 32, 1792, 209.5, 104.8, "NVIDIA RTX Blackwell whitepaper, appendix A"),
    "4090": _gpu("NVIDIA GeForce RTX 4090", 24, 1008, 165.2, 82.6, "NVIDIA Ada whitepaper, appendix A"),
    "3090": _gpu("NVIDIA GeForce RTX 3090", 24, 936, 71, 35.6, "NVIDIA GA102 whitepaper, appendix A"),
}
"""Names for --device -> the machine."""
WORDS = {
    "b200": "b200", "h200": "h200", "h100 pcie": "h100-pcie", "h100 nvl": "h100-nvl", "h100": "h100",
    "a100-sxm4-40": "a100-40", "a100-pcie-40": "a100-40", "a100": "a100", "l40s": "l40s", "a10g": "a10", "a10": "a10",
    "rtx a6000": "a6000", "l4": "l4", "5090": "5090", "4090": "4090", "3090": "3090",
}  # fmt: skip
"""What a driver's name of a card holds -> ours; the first that fits."""
CYCLE = {"avx512f": 40.0, "avx2": 32.0}
"""Flag -> fp32 operations that a hardware thread ends in a cycle of its base clock: two fused multiply-adds on eight
lanes. AVX-512 gives little more, as two threads share the units of an Intel core and AMD's Zen 4 takes two cycles; 40
is what its higher clock makes of it (104e9 a second measured at 2.6 GHz; 94e9 on an Ice Lake at 2.8 GHz)."""
OTHER_CYCLE = 16.0
"""Of others: two multiply-adds on four lanes (Neon)."""
DEFAULT_HERTZ = 2.5e9
"""Where the system does not say how fast its cores run."""
CHANNEL = 20e9
"""Bytes a second of main memory on a machine of few cores: a channel of DDR4-2666 and faster, less what is lost."""


def machine_named(name: str, key: str = "--device") -> Machine:
    """One of GPUS, `cpu` for this machine's processor, `auto` for what is at hand, `cuda` or `cuda:N` for a GPU of it.

    `key` is where the name was written. UsageError for a machine that is not known, or not here.
    """
    if name == "auto":
        return this_machine()
    if name == "cpu":
        return this_cpu()
    kind, _, number = name.partition(":")
    if kind == "cuda" and number.isdigit() == bool(number):
        cards = _driver()
        if int(number or 0) < len(cards):
            return gpu_called(*cards[int(number or 0)])
        others = f"one of {', '.join(GPUS)}, or cpu" if key == "--device" else "auto or cpu"
        raise UsageError(f"{key} {name}: there is no such GPU here; choose {others}")
    if name not in GPUS:
        raise UsageError(f"{key} {name}: no such machine; choose one of {', '.join(GPUS)}, or cpu (this one's)")
    return GPUS[name]


def this_machine() -> Machine:
    """The GPU where the driver names one, else the CPU."""
    for name, size in _driver():
        return gpu_called(name, size)
    return this_cpu()


def gpu_called(name: str, memory_bytes: int) -> Machine:
    """A GPU as its driver calls it, with its own memory; one that is not known gets the speeds of an RTX 3090."""
    lower = name.lower()
    for word, key in WORDS.items():
        if word in lower:
            return replace(GPUS[key], name=name, memory_bytes=memory_bytes)
    text = "not a card that is known here: speeds of an RTX 3090 are assumed"
    return replace(GPUS["3090"], name=name, memory_bytes=memory_bytes, source=text)


@cache
def this_cpu() -> Machine:
    """The processor and its main memory; the same each time on the same machine."""
    information = _text("/proc/cpuinfo")
    flags = set(information.partition("\nflags")[2].partition("\n")[0].split())
    per_cycle = next((each for flag, each in CYCLE.items() if flag in flags), OTHER_CYCLE)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    each = per_cycle * _hertz(information)
    name = (re.search(r"model name\s*:\s*(.+)", information) or ["", "CPU"])[1].strip()
    return Machine(
        f"{name}, {cores} core{'s' if cores > 1 else ''}",
        "cpu",
        total_memory(),
        CHANNEL * max(1.0, cores / 8),
        {"float32": each},
        cores=cores,
        source="what its cores can do in a cycle; memory at 20 GB/s for each 8 cores",
    )


def total_memory() -> int:
    """Bytes of main memory that this process may use: the machine's, or the limit of the control group it is in."""
    found = re.search(r"MemTotal:\s*(\d+) kB", _text("/proc/meminfo"))
    pages = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return min([int(found[1]) * 1024 if found is not None else pages, *_limits()])


def _limits() -> list[int]:
    """Of this process's control group and every group above it, version 1 and 2."""
    found = []
    for line in _text("/proc/self/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers not in ("", "memory") and "memory" not in controllers.split(","):
            continue
        root, file = (Path("/sys/fs/cgroup"), "memory.max")
        if controllers:
            root, file = root / "memory", "memory.limit_in_bytes"
        group = root / path.lstrip("/")
        for place in (root, group, *group.parents):
            if place.is_relative_to(root) and (text := _text(place / file).strip()).isdigit():
                found.append(int(text))
    return found


def _hertz(information: str) -> float:
    most = _text("/sys/devices/system/cpu/cpu0/cpufreq/base_frequency").strip()
    if most.isdigit():
        return int(most) * 1e3
    said = re.search(r"model name.*@ ([\d.]+)GHz", information)
    if said is not None:
        return float(said[1]) * 1e9
    bogus = re.search(r"bogomips\s*:\s*([\d.]+)", information, re.IGNORECASE)  # twice the clock of the time stamps
    return float(bogus[1]) / 2 * 1e6 if bogus is not None and float(bogus[1]) > 1000 else DEFAULT_HERTZ


def _driver() -> list[tuple[str, int]]:
    """(name, bytes) of the GPUs that this process may use, by NVIDIA's own tool."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    tool = shutil.which("nvidia-smi")
    if tool is None or visible == "":
        return []
    words = [tool, "--query-gpu=index,uuid,name,memory.total", "--format=csv,noheader,nounits"]
    try:
        said = subprocess.run(words, capture_output=True, text=True, timeout=20, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return []
    rows = [line.replace(", ", ",").split(",") for line in said.splitlines()]
    cards = {row[0]: row for row in rows if len(row) == 4 and row[3].isdigit()}
    if visible is not None:  # numbers or beginnings of UUIDs, in the order that torch will have them
        named = [one.strip() for one in visible.split(",")]
        cards = {name: row for name in named if (row := _card(cards, name)) is not None}
    return [(name, int(size) << 20) for _, _, name, size in cards.values()]


def _card(cards: Mapping[str, list[str]], name: str) -> list[str] | None:
    return cards.get(name) or next((row for row in cards.values() if row[1].startswith(name)), None)


def _text(path: str | Path) -> str:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:  # another system, or not for us
        return ""
