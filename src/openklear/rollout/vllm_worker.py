"""What runs in vLLM's own environment: one engine, driven over two pipes. It needs vLLM alone, and what that brings.

A message is a line of JSON. Commands come in on standard input and are answered on what was standard output; what vLLM
prints goes to standard error. Every command ends with one line that holds "end" or "error". New weights lie in memory
that both sides share (an open file without a name): only where each tensor lies goes through the pipe. Where several
processes hold the model together (tensor parallelism), each of them reads that memory and keeps its part.

vLLM's own ways to take weights are for GPUs, so a small one is registered with it (`_register`); its layerwise reload
does the rest. Two things that reload leaves as they were are done here, because both would be wrong without a word: the
head that is tied to the embeddings keeps a packed copy of its own on CPUs, and the prefix cache keeps the keys and
values of the old weights. The other side tries a fixed prompt against its own model after every update.
"""

from __future__ import annotations

import ctypes
import gc
import hashlib
import json
import mmap
import os
import select
import signal
import sys
import time
from typing import Any

BACKEND = "openklear"
REPORT_SECONDS = 0.1
"""Between two reports of progress, at least."""
CPU_BLOCK = 32
"""Tokens of a block of the cache, as few as its kernels take: only whole blocks are shared by a group's prompt."""
_HEAD_TOLERANCE = 1e-3
"""Largest difference of a head's logit from the embeddings' own product, relative to the largest logit."""


class Channel:
    """Lines of JSON to and from the process that started this one."""

    def __init__(self, reading: int, writing: int) -> None:
        self._reading, self._writing, self._buffer = reading, writing, b""

    def receive(self, wait: bool = True) -> dict[str, Any] | None:
        """The next message; None where none is there and `wait` is False. EOFError: the other side is gone."""
        while b"\n" not in self._buffer:
            if not wait and not select.select([self._reading], [], [], 0)[0]:
                return None
            piece = os.read(self._reading, 1 << 20)
            if not piece:
                raise EOFError
            self._buffer += piece
        line, _, self._buffer = self._buffer.partition(b"\n")
        found: dict[str, Any] = json.loads(line)
        return found

    def send(self, **message: Any) -> None:
        """One message."""
        data = json.dumps(message).encode() + b"\n"
        while data:
            data = data[os.write(self._writing, data) :]


def digest(content: Any) -> str:
    """The hash by which both sides know the bytes of the weights."""
    return hashlib.blake2b(content, digest_size=16).hexdigest()


def die_with(parent: int) -> None:
    """No engine outlives who started it: on Linux the kernel sees to it, elsewhere the end of standard input does."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
        if os.getppid() != parent:
            os._exit(1)


def _register() -> None:
    """Make vLLM know a way to take weights on every device: from memory that two processes share."""
    from dataclasses import dataclass

    import torch
    from vllm.distributed.weight_transfer.base import (
        WeightTransferEngine,
        WeightTransferInitInfo,
        WeightTransferUpdateInfo,
    )
    from vllm.distributed.weight_transfer.factory import WeightTransferEngineFactory
    from vllm.model_executor.model_loader.reload import finalize_layerwise_reload, initialize_layerwise_reload

    @dataclass
    class Nothing(WeightTransferInitInfo):  # type: ignore[misc]  # vLLM is not here where types are checked
        pass

    @dataclass
    class Update(WeightTransferUpdateInfo):  # type: ignore[misc]
        memory: Any = ()
        hash: str = ""
        tensors: Any = ()

    class SharedMemory(WeightTransferEngine[Nothing, Update]):  # type: ignore[misc]
        init_info_cls = Nothing
        update_info_cls = Update

        def init_transfer_engine(self, init_info: Nothing) -> None:
            pass

        @torch.inference_mode()
        def start_weight_update(self) -> None:
            initialize_layerwise_reload(self.model)

        @torch.inference_mode()
        def update_weights(self, update_info: dict[str, Any]) -> None:
            self.receive_weights(self.parse_update_info(update_info))

        def receive_weights(self, update_info: Update) -> None:
            wanted = {name for name, _ in self.model.named_parameters()}
            self.memory = mapped(*update_info.memory)
            if (found := digest(self.memory)) != update_info.hash:
                raise ValueError(f"the bytes that arrived have the hash {found}, but {update_info.hash} were sent")
            loaded = self.model.load_weights(tensors_in(self.memory, update_info.tensors))
            if loaded is not None and (lacking := sorted(wanted - set(loaded) - _tied(self.model))):
                raise ValueError(f"the trainer sent no weights for {', '.join(lacking[:3])} ({len(lacking)} in all)")

        @torch.inference_mode()
        def finish_weight_update(self) -> None:
            finalize_layerwise_reload(self.model, self.model_config)
            rebuild_head(self.model)
            if torch.cuda.is_available():
                torch.cuda.synchronize()

        def shutdown(self) -> None:
            pass

    WeightTransferEngineFactory.register_engine(BACKEND, SharedMemory)


def mapped(process: int, memory: int, size: int) -> mmap.mmap:
    """The shared memory, an open file of another process or of this one; what is changed in it stays here."""
    with open(os.dup(memory) if process == os.getpid() else f"/proc/{process}/fd/{memory}", "rb") as file:
        return mmap.mmap(file.fileno(), size, access=mmap.ACCESS_COPY)


def let_go(worker: Any) -> bool:
    """Close the shared memory in a process that holds the model; False where something still points into it."""
    gc.collect()
    try:
        worker.weight_transfer_engine.memory.close()
    except BufferError:
        return False
    return True


def check_heads(size: int) -> None:
    """ValueError for heads that vLLM's attention on CPUs does not have: it would say so at the first prompt only."""
    from vllm.platforms import current_platform

    if current_platform.is_cpu():
        from vllm.v1.attention.backends.cpu_attn import CPUAttentionBackend

        if size not in (known := CPUAttentionBackend.get_supported_head_sizes()):
            raise ValueError(f"a head has {size} numbers, and vLLM's attention on CPUs takes only {known}")


def tensors_in(memory: Any, tensors: Any) -> Any:
    """(name, tensor) of each row (name, dtype, shape, offset); views of the shared memory."""
    import torch

    for name, dtype, shape, offset in tensors:
        kind, count = getattr(torch, dtype), 1
        for size in shape:
            count *= size
        flat = torch.frombuffer(memory, dtype=kind, count=count, offset=offset)
        yield name, flat.view(shape)


def _tied(model: Any) -> set[str]:
    """Names of a head's parameters that are the embeddings'."""
    named = dict(model.named_parameters(remove_duplicate=False))
    head = next((name for name in named if name.endswith("lm_head.weight")), None)
    return {head} if head is not None and getattr(model.config, "tie_word_embeddings", False) else set()


def rebuild_head(model: Any) -> None:
    """A head that is tied to the embeddings is made of them anew, and tried on one vector.

    On CPUs a head computes with a packed copy, which the layerwise reload leaves as it was, so that it would go on with
    the old weights.
    """
    import torch

    head, embeddings = _part(model, "lm_head"), _part(model, "embed_tokens")
    if head is None or embeddings is None or not getattr(model.config, "tie_word_embeddings", False):
        return
    if head is not embeddings:
        head.weight = embeddings.weight
    head.quant_method.process_weights_after_loading(head)
    with torch.inference_mode():
        rows = embeddings.weight.detach()
        vector = torch.sin(torch.arange(rows.shape[1], dtype=torch.float32)).to(rows)[None, :]
        found, wanted = head.quant_method.apply(head, vector), vector @ rows.T
        apart = float((found - wanted).abs().max()) / max(float(wanted.abs().max()), 1e-30)
    if rows.dtype == torch.float32 and not apart <= _HEAD_TOLERANCE:
        raise ValueError(
            f"the head does not compute with the embeddings that it is tied to (they differ by {apart:.2g})"
        )


def _part(model: Any, name: str) -> Any:
    return next((part for path, part in model.named_modules() if path.split(".")[-1] == name), None)


class Engine:
    """vLLM's engine in this process, and the commands that it answers."""

    def __init__(self, channel: Channel, memory: int) -> None:
        self.channel, self.memory = channel, memory
        self.engine: Any = None
        self.end_ids: list[int] = []
        self.known: int | None = None
        self.version = 0

    def open(self, config: str, end_ids: list[int], known: int | None, **settings: Any) -> dict[str, Any]:
        """Build the engine with weights drawn at random: those to sample from are published before anything else.

        `settings`: dtype, slots, cache_bytes, eager, tensor_parallel.
        """
        import torch
        import vllm
        from vllm.config.weight_transfer import WeightTransferConfig
        from vllm.engine.arg_utils import EngineArgs
        from vllm.platforms import current_platform
        from vllm.v1.engine.llm_engine import LLMEngine

        _register()
        several = settings["tensor_parallel"] > 1
        arguments = EngineArgs(
            model=config,
            runner="generate",
            skip_tokenizer_init=True,
            load_format="dummy",
            dtype=settings["dtype"],
            enforce_eager=settings["eager"],
            tensor_parallel_size=settings["tensor_parallel"],
            distributed_executor_backend="mp" if several else None,
            kv_cache_memory_bytes=settings["cache_bytes"],
            max_model_len=-1,  # the longest that the cache holds
            max_num_seqs=settings["slots"],
            enable_prefix_caching=True,
            # A CPU's generator cannot be set back, as vLLM does after a part of a prompt that has a seed.
            enable_chunked_prefill=not current_platform.is_cpu(),
            block_size=CPU_BLOCK if current_platform.is_cpu() else None,
            logprobs_mode="processed_logprobs",  # of what is drawn from; its default leaves the temperature out
            generation_config="vllm",
            disable_log_stats=True,
            weight_transfer_config=WeightTransferConfig(backend=BACKEND),
        )
        self.engine = LLMEngine.from_engine_args(arguments)
        if several:  # what one of several processes leaves undone is waited for without end
            self.engine.model_executor.register_failure_callback(lambda: os._exit(1))
        self.end_ids, self.known = end_ids, known
        found = self.engine.model_config
        check_heads(found.get_head_size())
        block = self.engine.vllm_config.cache_config.block_size
        return {"vllm": vllm.__version__, "torch": torch.__version__, "longest": found.max_model_len, "block": block}

    @property
    def is_lost(self) -> bool:
        """Whether one of several processes that hold the model is dead."""
        return self.engine is not None and getattr(self.engine.model_executor, "is_failed", False)

    def weights(self, version: int, size: int, hash: str, tensors: list[Any]) -> dict[str, Any]:
        """Load what lies in the shared memory, in place, in every process that holds the model."""
        rpc = self.engine.collective_rpc
        update = {"memory": [os.getpid(), self.memory, size], "hash": hash, "tensors": tensors}
        rpc("start_weight_update")
        rpc("update_weights", kwargs={"update_info": update})
        rpc("finish_weight_update")
        self.engine.set_weight_version(str(version))
        if not self.engine.reset_prefix_cache():
            raise ValueError(
                "the prefix cache could not be emptied, so it would serve the old weights' keys and values"
            )
        self.version = version
        return {"version": int(self.engine.get_weight_version()), "hash": hash, "free": all(rpc(let_go))}

    def sample(self, requests: list[list[Any]]) -> dict[str, Any]:
        """Serve rows (prompt, seed, most tokens, temperature, top_p, top_k, min_p); each is sent when it ends.

        The message "abort" ends what runs with what it has, and what waits with nothing.
        """
        running = {str(index): _Row(index) for index in range(len(requests))}
        for name, asked in zip(running, requests, strict=True):
            self.engine.add_request(name, {"prompt_token_ids": asked[0]}, self._parameters(asked))
        drawn, told = 0, time.monotonic()
        while running:
            for output in self.engine.step():
                row = running[output.request_id]
                drawn += row.add(output.outputs[0])
                if output.finished:
                    self._tell(running.pop(output.request_id))
            if time.monotonic() - told >= REPORT_SECONDS or not running:
                self.channel.send(drawn=drawn)
                drawn, told = 0, time.monotonic()
            if running and self.channel.receive(wait=False) is not None:
                self.engine.abort_request(list(running))
                self.engine.step()  # the scheduler lets them go
                for row in running.values():
                    row.reason = "partial"
                    self._tell(row)
                running = {}
        return {}

    def _parameters(self, row: list[Any]) -> Any:
        from vllm import SamplingParams
        from vllm.sampling_params import RequestOutputKind

        _, seed, most, temperature, top_p, top_k, min_p = row
        return SamplingParams(
            seed=seed,
            max_tokens=most,
            temperature=temperature,
            top_p=top_p,
            top_k=top_k,
            min_p=min_p,
            logprobs=0,
            ignore_eos=True,  # of its configuration: the trainer names every token that ends a completion
            stop_token_ids=self.end_ids,
            allowed_token_ids=None if self.known is None else list(range(self.known)),
            detokenize=False,
            output_kind=RequestOutputKind.DELTA,
        )

    def _tell(self, row: _Row) -> None:
        if row.versions - {str(self.version)}:
            raise ValueError(f"tokens were drawn with the weights {sorted(row.versions)} and not {self.version}")
        self.channel.send(
            done=row.index, tokens=row.tokens, logprobs=row.logprobs, reason=row.reason, version=self.version
        )


class _Row:
    """What was drawn for one request."""

    def __init__(self, index: int) -> None:
        self.index = index
        self.tokens: list[int] = []
        self.logprobs: list[float] = []
        self.reason = ""
        self.versions: set[str] = set()
        """Of the weights, by vLLM's own account."""

    def add(self, output: Any) -> int:
        """Take a step's tokens; how many."""
        new = list(output.token_ids)
        self.tokens += new
        self.logprobs += [output.logprobs[place][token].logprob for place, token in enumerate(new)]
        self.reason = output.finish_reason or ""
        self.versions |= {span.version for span in output.weight_versions or ()}
        return len(new)


def serve(channel: Channel, engine: Engine) -> None:
    """Answer commands until the other side is gone."""
    while True:
        message = channel.receive()
        assert message is not None
        command = message.pop("do")
        if command == "abort":  # it came when everything had ended
            continue
        try:
            answer = getattr(engine, command)(**message)
        except Exception as error:  # whatever vLLM raises is told; the other side decides
            import traceback

            traceback.print_exc()
            if engine.is_lost:  # so is this one, then: it is started once more as a whole
                os._exit(1)
            channel.send(error=f"{type(error).__name__}: {str(error).strip()[:2000]}", **{"while": command})
        else:
            channel.send(end=command, **answer)


def main(parent: int, memory: int) -> None:
    """Run by the process `parent`, whose shared memory is the open file `memory`."""
    die_with(parent)
    here = os.path.dirname(os.path.abspath(__file__))
    sys.path[:] = [path for path in sys.path if os.path.abspath(path or ".") != here]  # our files are none of its
    writing = os.dup(1)
    os.dup2(2, 1)
    channel = Channel(0, writing)
    try:
        serve(channel, Engine(channel, memory))
    except (EOFError, BrokenPipeError, KeyboardInterrupt):
        os._exit(0)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
elif __name__ == "__mp_main__":  # one of several that hold the model, which vLLM starts afresh
    die_with(os.getppid())
    _register()
