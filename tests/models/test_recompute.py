"""Layers that are gone through twice: the same bits of gradients, fewer numbers kept, and nothing of it in sampling."""

import copy

import pytest
import torch
from tests.models.architectures import ARCHITECTURES, make
from tests.training.step_cases import rollouts, settings
from torch import nn
from torch.autograd.graph import saved_tensors_hooks
from torch.utils._python_dispatch import TorchDispatchMode

from openklear.errors import ModelError
from openklear.models.attention import can_pack
from openklear.models.logprobs import sequence_logprobs
from openklear.models.lora import add_adapters
from openklear.models.recompute import layers, recompute_layers
from openklear.models.tiny import make_tiny
from openklear.recipe.optimizers import Lora
from openklear.rollout.local import LocalSampler
from openklear.training.layout import members
from openklear.training.step import policy_gradient
from openklear.types import SampleRequest


class Counted(TorchDispatchMode):
    """How often each operation is computed."""

    def __init__(self):
        super().__init__()
        self.calls = {}

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        name = operation.name().partition(".")[0]
        self.calls[name] = self.calls.get(name, 0) + 1
        return operation(*args, **(kwargs or {}))


def gradient(model, ids, mask):
    model.zero_grad()
    logprobs, _ = sequence_logprobs(model, ids, mask, entropy=False)
    logprobs.square().sum().backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def rows(model):
    vocabulary = model.get_input_embeddings().weight.shape[0]
    ids = torch.randint(0, vocabulary, (2, 19), generator=torch.Generator().manual_seed(3))
    mask = torch.ones_like(ids, dtype=torch.bool)
    mask[:, 0] = False
    return ids, mask


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_the_gradient_has_the_same_bits(name):
    model = make(name).model
    other = copy.deepcopy(model)
    recompute_layers(other)
    recompute_layers(other)  # twice does no harm
    plain, again = gradient(model, *rows(model)), gradient(other, *rows(model))
    assert plain.keys() == again.keys()
    for parameter, expected in plain.items():
        assert torch.equal(again[parameter], expected), parameter


def test_layers_are_gone_through_twice_and_attention_once():
    loaded = make_tiny(16, 3, 2, 64, seed=0)
    counts = []
    gradient(loaded.model, *rows(loaded.model))  # the head is verified by passes of its own, once
    for _ in range(2):
        with Counted() as counted:
            gradient(loaded.model, *rows(loaded.model))
        counts.append(counted.calls)
        recompute_layers(loaded.model)
    plain, again = counts
    assert len(layers(loaded.model)) == 3
    assert plain["aten::silu"] == 3
    assert again["aten::silu"] == 6
    attention = "aten::_scaled_dot_product_flash_attention_for_cpu"
    assert plain[attention] == again[attention] == 3


def test_less_is_kept_between_the_passes():
    """By the law of the module: a layer's input, what attention gave, and one number a head, of each token."""
    loaded = make_tiny(32, 4, 2, 64, seed=0)
    ids, _ = rows(loaded.model)

    def kept():
        """Bytes that autograd holds after a forward pass of the decoder."""
        held = {}

        def pack(tensor):
            held[tensor.untyped_storage().data_ptr()] = tensor  # holding it: no place is used twice
            return tensor

        with saved_tensors_hooks(pack, lambda tensor: tensor):
            loaded.model.get_decoder()(input_ids=ids, use_cache=False)
        own = {p.untyped_storage().data_ptr() for p in loaded.model.parameters()}
        return sum(t.untyped_storage().nbytes() for place, t in held.items() if place not in own)

    before = kept()
    recompute_layers(loaded.model)
    assert kept() < before / 4


@pytest.mark.parametrize("lora", [None, Lora(rank=2, alpha=4.0), Lora(rank=2, alpha=4.0, dropout=0.3)])
def test_packed_updates_with_and_without_adapters(lora):
    """The whole step: several packs, the head in chunks, joint loss; dropout drops the same when computed again."""
    gradients = []
    for recompute in (False, True):
        loaded = make_tiny(16, 2, 2, 64, seed=0)
        sequences = rollouts(loaded.model)
        assert can_pack(loaded.model)
        if lora is not None:
            add_adapters(loaded.model, lora, 0, "sft")
            for name, parameter in loaded.model.named_parameters():
                if "lora_B" in name:
                    nn.init.normal_(parameter, generator=torch.Generator().manual_seed(len(name)))
        if recompute:
            recompute_layers(loaded.model)
        microbatches = [[tuple(range(7))], [tuple(range(7, 12))]]
        assert sorted(members(microbatches[0]) + members(microbatches[1])) == list(range(12))
        policy_gradient(loaded.model, sequences, microbatches, settings())
        gradients.append({n: p.grad for n, p in loaded.model.named_parameters() if p.grad is not None})
    plain, again = gradients
    assert plain.keys() == again.keys()
    for name in plain:
        assert torch.equal(plain[name], again[name]), name


def test_sampling_is_as_it_was():
    """Nothing is computed twice without a gradient, and a cache is written to once."""
    loaded = make_tiny(16, 2, 2, 64, seed=0)
    requests = [SampleRequest((9, 11 + k, 13), k, 12) for k in range(5)]
    found = []
    for _ in range(2):
        with Counted() as counted:
            sampler = LocalSampler(loaded.model, end_ids=frozenset(), slots=3)
            found.append((sampler.sample(requests), counted.calls["aten::silu"]))
        recompute_layers(loaded.model)
    (plain, once), (again, as_often) = found
    assert once == as_often
    for a, b in zip(plain, again, strict=True):
        assert a.token_ids.tolist() == b.token_ids.tolist()
        assert a.logprobs.tolist() == b.logprobs.tolist()


def test_a_model_without_layers_is_refused():
    with pytest.raises(ModelError, match="write activation_checkpointing = false"):
        recompute_layers(nn.Sequential(nn.Linear(2, 2)))
