"""Runs the `openklear` command and kills it with SIGKILL at a chosen moment; the product has no hooks for this.

python kill_at.py count FILE -- run RECIPE --output DIR     write how often each kind of moment came
python kill_at.py rename:17 -- run RECIPE --output DIR      die between the 17th write and its rename
python kill_at.py half-save:2 -- ...                        die with the 2nd optimizer file half written
python kill_at.py sync:9 / step:5 / sample:3 -- ...         die after an fsync, in an optimizer step, while sampling
"""

import json
import os
import signal
import sys
from collections import Counter
from pathlib import Path

MOMENTS = ("rename", "sync", "half-save", "step", "sample")


class Reaper:
    def __init__(self, moment: str | None) -> None:
        self.counts: Counter[str] = Counter()
        kind, _, number = (moment or ":0").partition(":")
        self.kind, self.number = kind, int(number)

    def due(self, kind: str) -> bool:
        self.counts[kind] += 1
        return kind == self.kind and self.counts[kind] == self.number

    def strike(self, kind: str) -> None:
        if self.due(kind):
            os.kill(os.getpid(), signal.SIGKILL)


def patch(reaper: Reaper) -> None:
    import torch

    from openklear.rollout import local

    replace, rename, fsync, save = os.replace, os.rename, os.fsync, torch.save
    step, sample = torch.optim.Optimizer.zero_grad, local.LocalSampler.sample

    def before(kind, original):
        def patched(*args, **kwargs):
            reaper.strike(kind)
            return original(*args, **kwargs)

        return patched

    def half_save(value, target, *args, **kwargs):
        if reaper.due("half-save"):
            save(value, target, *args, **kwargs)
            whole = Path(target).read_bytes()
            Path(target).write_bytes(whole[: len(whole) // 2])
            os.kill(os.getpid(), signal.SIGKILL)
        return save(value, target, *args, **kwargs)

    os.replace, os.rename, os.fsync = before("rename", replace), before("rename", rename), before("sync", fsync)
    torch.save = half_save
    torch.optim.Optimizer.zero_grad = before("step", step)

    def logged_sample(self, requests, *args, **kwargs):
        completions = sample(self, requests, *args, **kwargs)
        with open(os.environ["KILL_LOG"], "a") as log:  # which batches were sampled to their end, over all attempts
            log.write(f"{requests[0].key}\n")
        return completions

    local.LocalSampler.sample = before("sample", logged_sample)


def main() -> int:
    separator = sys.argv.index("--")
    arguments, command = sys.argv[1:separator], sys.argv[separator + 1 :]
    counting = arguments[0] == "count"
    reaper = Reaper(None if counting else arguments[0])
    patch(reaper)
    from openklear.cli.main import main as openklear

    sys.argv = ["openklear", *command]
    try:
        openklear()
    except SystemExit as ended:
        if counting:
            Path(arguments[1]).write_text(json.dumps(reaper.counts))
        return int(ended.code or 0)
    if counting:
        Path(arguments[1]).write_text(json.dumps(reaper.counts))
    return 0


if __name__ == "__main__":
    sys.exit(main())
