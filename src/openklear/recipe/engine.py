"""The tables of [engine]: who samples."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import Field

from openklear.recipe.numbers import Auto, Seconds, Tokens
from openklear.recipe.section import Broken, Positive, Section


class LocalEngine(Section):
    """The sampler in this process, on the very weights that are trained."""

    type: Literal["local"] = Field("local", description="sample in this process")
    slots: Auto | Annotated[int, Field(gt=0, le=100_000)] = Field(
        "auto", description="sequences decoded at once, at most; auto: what fits and runs fast"
    )
    cache_tokens: Auto | Tokens = Field(
        "auto", description="most tokens whose keys and values are held at once; auto: what fits"
    )


class VllmEngine(Section):
    """vLLM in a process and an environment of its own, given the weights after every iteration."""

    paths = ("python",)
    type: Literal["vllm"] = Field("vllm", description="sample with vLLM, in a process of its own")
    python: str | None = Field(
        None,
        description="interpreter of the environment that holds vLLM; without it the variable OPENKLEAR_VLLM, or "
        ".venv-vllm/bin/python where the run is started",
    )
    slots: Annotated[int, Field(gt=0, le=100_000)] = Field(128, description="sequences decoded at once, at most")
    cache_gb: Annotated[float, Field(gt=0.0, le=100_000.0)] = Field(
        1.0, description="GiB of each GPU for keys and values, which bound the longest sequence too"
    )
    tensor_parallel: Positive = Field(
        1, description="GPUs that hold one engine's weights and cache together, all of one host; on a CPU, processes"
    )
    eager: bool = Field(True, description="without torch.compile, which costs minutes at the start")
    timeout: Seconds = Field(600.0, description="seconds without a sign of life after which vLLM counts as hung")


class RemoteEngine(Section):
    """A server that holds the model already: for recipes that evaluate and train nothing."""

    type: Literal["remote"] = Field("remote", description="ask a server that holds the very model; nothing is trained")
    endpoint: str = Field(description="address of the OpenAI-compatible server, with its /v1")
    model: str = Field(description="the model's name, as the server knows it")
    api_key_env: str | None = Field(None, description="environment variable that holds the server's key")
    slots: Annotated[int, Field(gt=0, le=100_000)] = Field(64, description="requests under way at once")
    timeout: Seconds = Field(3600.0, description="seconds that a request may take")

    def broken_rules(self) -> Iterator[Broken]:
        """The address is one."""
        parts = urlsplit(self.endpoint)
        if parts.scheme not in ("http", "https") or not parts.netloc:
            yield Broken(
                ("endpoint",), f'"{self.endpoint}" is no http address; write one like http://localhost:8000/v1'
            )


def remote_faults(trained: list[str]) -> Iterator[Broken]:
    """A server has the weights that it was started with: in a recipe that trains, it would score others."""
    for name in trained:
        text = f"a server cannot be given the weights that [{name}] trains, so its scores would be those of other "
        text += 'weights; write "local" or "vllm", or remove [sft] and [rl] to evaluate what it serves'
        yield Broken(("engine", "type"), text)


def gpus_of(engine: LocalEngine | VllmEngine | RemoteEngine) -> int:
    """That one engine takes."""
    return engine.tensor_parallel if isinstance(engine, VllmEngine) else 1


Engine = Annotated[LocalEngine | VllmEngine | RemoteEngine, Field(discriminator="type")]
