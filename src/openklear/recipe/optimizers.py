"""What moves the weights, and which of them: the optimizers, and the adapters of [lora]."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field

from openklear.recipe.section import Above, Broken, Decay, NotNegative, Section, repeated


class AdamW(Section):
    """AdamW with fp32 state; no weight decay on norms and embeddings."""

    type: Literal["adamw"] = Field("adamw", description="AdamW on every parameter")
    beta1: Decay = Field(0.9, description="decay of the first moment")
    beta2: Decay = Field(0.95, description="decay of the second moment")
    weight_decay: NotNegative = Field(0.1, description="decoupled weight decay")


class AdamW8bit(Section):
    """AdamW whose two moments take a byte each (Dettmers et al. 2022), by torchao."""

    type: Literal["adamw8bit"] = Field("adamw8bit", description="AdamW with moments of 8 bits (torchao)")
    beta1: Decay = Field(0.9, description="decay of the first moment")
    beta2: Decay = Field(0.95, description="decay of the second moment")
    weight_decay: NotNegative = Field(0.1, description="decoupled weight decay")


class Muon(Section):
    """Muon on the 2-D matrices of the blocks, AdamW (betas 0.9, 0.95) on the rest."""

    type: Literal["muon"] = Field("muon", description="Muon on matrices, AdamW on norms and embeddings")
    momentum: Decay = Field(0.95, description="Nesterov momentum of Muon")
    adam_ratio: Above = Field(0.15, description="learning rate of the AdamW part over Muon's")
    weight_decay: NotNegative = Field(0.1, description="decoupled weight decay of the matrices")


Optimizer = Annotated[AdamW | AdamW8bit | Muon, Field(discriminator="type")]


class Lora(Section):
    """Low-rank adapters (Hu et al. 2021, arXiv 2106.09685): y = W x + alpha / rank * B A x, of which A and B learn.

    Every stage that trains begins with adapters of its own on the weights handed to it, and hands on whole weights.
    """

    rank: Annotated[int, Field(gt=0, le=65_536)] = Field(16, description="rows of A and columns of B in each layer")
    alpha: Above = Field(32.0, description="the adapters' product counts alpha / rank times")
    dropout: Annotated[float, Field(ge=0.0, lt=1.0)] = Field(
        0.0, description="share of its inputs that an adapter does not see, drawn anew in each step of SFT; none in RL"
    )
    targets: tuple[str, ...] = Field(
        (), description='layers that get adapters, by the ends of their names: ["q_proj", "v_proj"]; [] all linear ones'
    )

    def broken_rules(self) -> Iterator[Broken]:
        """Names that name something, once each."""
        if "" in self.targets:
            yield Broken(("targets",), "a layer's name is missing between the quotes; write it, or leave it out")
        for _, name in repeated(list(self.targets)):
            yield Broken(("targets",), f'"{name}" is listed twice; name each layer once')
