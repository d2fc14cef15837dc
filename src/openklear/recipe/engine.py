"""The tables of [engine]: who samples."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from openklear.recipe.numbers import Auto, Seconds, Tokens
from openklear.recipe.section import Section


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
        1.0, description="GiB for keys and values, which bound the longest sequence too"
    )
    eager: bool = Field(True, description="without torch.compile, which costs minutes at the start")
    timeout: Seconds = Field(600.0, description="seconds without a sign of life after which vLLM counts as hung")


Engine = Annotated[LocalEngine | VllmEngine, Field(discriminator="type")]
