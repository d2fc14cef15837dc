"""The step on a CPU is torchao's own, to the bit; its codes are those of a search through the map."""

import pytest
import torch
from torch import nn
from torchao.optim import AdamW8bit as Theirs
from torchao.optim.quant_utils import create_dynamic_map, quantize_8bit_with_qmap

from openklear.recipe.optimizers import AdamW8bit
from openklear.training.optimizer import build_optimizer
from openklear.training.quantised_step import STRETCH, Quantiser


@pytest.mark.parametrize("signed", [True, False])
def test_codes_are_those_of_the_search(signed):
    """On the values, the middles between them and their neighbours, where a rounding would show, and on the rest."""
    qmap = torch.tensor(create_dynamic_map(signed))
    middles = (qmap[1:] + qmap[:-1]) / 2
    edges = [qmap, middles]
    for _ in range(5):
        edges += [torch.nextafter(e, torch.full_like(e, sign)) for e in edges[-2:] for sign in (-9.0, 9.0)]
    generator = torch.Generator().manual_seed(0)
    wide = torch.rand(200_000, generator=generator) * 2 - 1
    small = wide * 10 ** (-8 * torch.rand(200_000, generator=generator))
    special = torch.tensor([0.0, -0.0, 1.0, -1.0, 1e-45, -1e-45, 1e-38, -1e-38])
    numbers = torch.cat([*edges, wide, small, special]).clamp(-1, 1)
    assert torch.equal(Quantiser(tuple(qmap.tolist())).codes(numbers), quantize_8bit_with_qmap(numbers, qmap))


def test_steps_have_torchaos_bits():
    """Through several stretches, with rows and a bias that are not quantised, some gradients missing or zero."""
    shapes = [(STRETCH // 64 + 8, 128), (64, 64), (7, 9), (256,)]
    generator = torch.Generator().manual_seed(0)
    start = [torch.randn(shape, generator=generator) for shape in shapes]
    mine, theirs = ([nn.Parameter(t.clone()) for t in start] for _ in range(2))
    holder = nn.Module()
    holder.weights = nn.ParameterList(mine)
    ours = build_optimizer(holder, AdamW8bit(beta1=0.85, beta2=0.97, weight_decay=0.2))
    groups = [{"params": theirs[:3], "weight_decay": 0.2}, {"params": theirs[3:], "weight_decay": 0.0}]
    other = Theirs(groups, lr=0.0, betas=(0.85, 0.97))
    for number in range(4):
        for index, (a, b) in enumerate(zip(mine, theirs, strict=True)):
            size = 10.0 ** -(number + index)
            gradient = (
                torch.randn(a.shape, generator=generator) * size * (torch.rand(a.shape, generator=generator) > 0.3)
            )
            a.grad = b.grad = None if (number, index) == (1, 1) else gradient
        ours.set_learning_rate(0.01 / (number + 1))
        for group in other.param_groups:
            group["lr"].fill_(0.01 / (number + 1))
        ours.step()
        with torch.compiler.set_stance("force_eager"):
            other.step()
        assert all(torch.equal(a, b) for a, b in zip(mine, theirs, strict=True)), number
    state = ours.state_dict()["parts"][0]["state"]
    for index, parameter in enumerate(theirs):
        for name in ("exp_avg", "exp_avg_sq"):
            found, wanted = state[index][name], other.state[parameter][name]
            if isinstance(found, dict):
                assert torch.equal(found["codes"], wanted.codes)
                assert torch.equal(found["scale"], wanted.scale)
            else:
                assert torch.equal(found, wanted)
    assert isinstance(state[0]["exp_avg"], dict)
    assert not isinstance(state[2]["exp_avg"], dict)
