"""A stand-in for vLLM where vLLM is not: another process that samples from the weights it is sent, by the same messages.

It is run in place of `vllm_worker` and takes its messages from there; what samples is the local engine, from a
configuration and from tensors in the shared memory, so that the probe and the draws are real. STAND_IN in the
environment names a fault, STAND_IN_LOG a file for what it is told.
"""

import json
import mmap
import os
import signal
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "src"))
sys.path[:] = [path for path in sys.path if Path(path) != Path(__file__).parent]

from openklear.rollout import vllm_worker  # noqa: E402
from openklear.rollout.vllm_worker import Channel  # noqa: E402

FAULT = os.environ.get("STAND_IN", "")
FIRST = Path(os.environ["STAND_IN_LOG"] + ".started")
"""There from the first start on: some faults come once."""


class Engine:
    is_lost = False

    def __init__(self, channel, memory):
        self.channel, self.memory, self.samplings = channel, memory, 0
        self.once = not FIRST.exists()
        FIRST.touch()

    def log(self, **told):
        with open(os.environ["STAND_IN_LOG"], "a") as file:
            file.write(json.dumps(told) + "\n")

    def open(self, config, end_ids, **settings):
        import torch
        from transformers import AutoConfig, AutoModelForCausalLM

        from openklear.rollout.local import LocalSampler

        torch.set_num_threads(1)
        self.log(do="open", omp=os.environ["OMP_NUM_THREADS"], **settings)
        if FAULT == "unknown model":
            raise ValueError("Model architectures ['X'] are not supported for now.")
        if FAULT == "hangs":
            time.sleep(1000)
        model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(config)).eval()
        self.sampler = LocalSampler(model, end_ids=frozenset(end_ids), slots=settings["slots"])
        return {"vllm": "stand-in", "torch": torch.__version__, "longest": 96, "block": 16}

    def weights(self, version, size, hash, tensors):
        import torch

        with mmap.mmap(self.memory, size, access=mmap.ACCESS_COPY) as content:
            found = vllm_worker.digest(content)
            self.log(do="weights", version=version, right=found == hash)
            if FAULT != "old weights" or version == 0:
                own = dict(self.sampler.model.named_parameters())
                for name, tensor in vllm_worker.tensors_in(content, tensors):
                    with torch.no_grad():
                        own[name].copy_(tensor)
                    del tensor
        self.version = version
        return {"version": version, "hash": "0" if FAULT == "other bytes" else found, "free": True}

    def sample(self, requests):
        from openklear.types import SampleRequest

        self.samplings += 1
        probe = self.samplings == 1
        if FAULT == "fails" and not probe:
            raise RuntimeError("out of blocks")
        asked = [SampleRequest(tuple(r[0]), r[1], r[2], r[3], r[4], r[5], r[6]) for r in requests]
        self.log(do="sample", requests=len(asked), seeds=[r[1] for r in requests])
        told = []

        def tell(index, made, reason=None):
            told.append(index)
            one = {"tokens": made.token_ids.tolist(), "logprobs": made.logprobs.tolist()}
            self.channel.send(done=index, reason=reason or str(made.stop_reason), version=self.version, **one)
            dying = (FAULT == "dies once" and self.once) or FAULT == "dies always"
            if dying and not probe and len(told) == 2:
                os.kill(os.getpid(), signal.SIGKILL)
            if FAULT == "stops talking" and not probe and self.once:
                time.sleep(1000)

        def until():
            time.sleep(0.002)
            return self.channel.receive(wait=False) is not None

        made = self.sampler.sample(asked, lambda done, drawn: self.channel.send(drawn=drawn), tell, until)
        for index in range(len(made)):
            if index not in told:
                tell(index, made[index], "partial")
        return {}


def main():
    vllm_worker.die_with(int(sys.argv[1]))
    writing = os.dup(1)
    os.dup2(2, 1)
    channel = Channel(0, writing)
    print("the stand-in is here")
    try:
        vllm_worker.serve(channel, Engine(channel, int(sys.argv[2])))
    except EOFError:
        os._exit(0)


if __name__ == "__main__":
    main()
