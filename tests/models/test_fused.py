"""Norms and rotations as one operation: the model's own states and gradients, and the model's own code elsewhere."""

import copy
import gc
import weakref

import pytest
import torch
from tests.models.architectures import ARCHITECTURES, make
from tests.models.test_attention import SINGLE
from torch import nn

from openklear.models.fused import fuse, using_fused
from openklear.models.recompute import recompute_layers

FUSED = {"qwen3", "qwen3 tied", "qwen3 yarn", "qwen2", "llama", "llama3 rope", "llama linear", "mistral", "mixtral"}
"""Of these norms and rotations are known; of others some, or none."""


def passed(model, ids, fused):
    """States, and the gradients of a weighed sum of them."""
    model.zero_grad()
    with using_fused(fused):
        states = model.get_decoder()(input_ids=ids, use_cache=False).last_hidden_state
    weigh = torch.randn(states.shape, generator=torch.Generator().manual_seed(2), dtype=states.dtype)
    (states * weigh).sum().backward()
    return states.detach(), {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def distance(one, other):
    return float((one - other).norm() / (1e-30 + other.norm()))


def some_ids():
    return torch.randint(3, 200, (2, 23), generator=torch.Generator().manual_seed(3))


def changed(model):
    """Kinds of the modules whose class is derived from one of the same name."""
    return [type(m).__name__ for m in model.modules() if type(m).__base__.__name__ == type(m).__name__]


CASES = [(name, torch.float32) for name in ARCHITECTURES]
CASES += [(name, torch.float64) for name in ARCHITECTURES if name not in SINGLE]


@pytest.mark.parametrize(("name", "dtype"), CASES)
def test_states_and_gradients_are_the_models_own(name, dtype):
    model = make(name).model.to(dtype)
    own = passed(copy.deepcopy(model), some_ids(), fused=False)
    fuse(model)
    found = passed(model, some_ids(), fused=True)
    accurate = 1e-6 if dtype == torch.float32 else 1e-12
    assert distance(found[0], own[0]) <= accurate
    assert found[1].keys() == own[1].keys()
    together = [torch.cat([g.ravel() for g in gradients.values()]) for gradients in (found[1], own[1])]
    assert distance(*together) <= accurate
    if name in FUSED:
        kinds = changed(model)
        assert sum(kind.endswith("Attention") for kind in kinds) == model.config.num_hidden_layers
        assert sum(kind.endswith("RMSNorm") for kind in kinds) > 2 * model.config.num_hidden_layers


def test_outside_it_is_the_models_own_code():
    """Not a bit changes for who has not asked: sampling, evaluation, other trainers."""
    model = make("qwen3").model
    own = passed(copy.deepcopy(model), some_ids(), fused=False)
    fuse(model)
    found, used = passed(model, some_ids(), fused=False), passed(model, some_ids(), fused=True)
    assert torch.equal(found[0], own[0])
    assert all(torch.equal(found[1][name], own[1][name]) for name in own[1])
    assert not torch.equal(used[0], own[0])


def test_a_pass_computed_anew_is_the_one_before():
    """Layers are run again after the context was left: fused where they were, and not where they were not."""
    model = make("llama").model
    fuse(model)
    again = copy.deepcopy(model)
    recompute_layers(again)
    for fused in (False, True):
        plain, repeated = passed(model, some_ids(), fused), passed(again, some_ids(), fused)
        assert torch.equal(plain[0], repeated[0])
        assert all(torch.equal(plain[1][name], repeated[1][name]) for name in plain[1])


def test_a_copy_has_its_own_weights():
    model = make("qwen3").model
    fuse(model)
    other = copy.deepcopy(model)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.mul_(1.5)
    fuse(other)
    assert distance(passed(other, some_ids(), True)[0], passed(other, some_ids(), False)[0]) <= 1e-6


def test_other_code_stays():
    """A norm that does more than the known one, by its class or by its object, is left alone."""
    model = make("llama").model
    norm = model.model.layers[0].input_layernorm

    class Louder(type(norm)):
        def forward(self, hidden_states):
            return 2 * super().forward(hidden_states)

    norm.__class__ = Louder
    final = model.model.norm
    final.forward = lambda hidden_states: 3 * hidden_states
    own = passed(copy.deepcopy(model), some_ids(), fused=False)
    fuse(model)
    assert type(norm) is Louder
    assert distance(passed(model, some_ids(), fused=True)[0], own[0]) <= 1e-6


def test_nothing_is_fused_where_states_would_change(monkeypatch):
    """Asked for equal bits, which rounding denies, the probe takes everything back."""
    monkeypatch.setattr("openklear.models.fused.PROBE_TOLERANCE", 0.0)
    model = make("llama").model
    fuse(model)
    assert not changed(model)


def test_a_model_goes_when_nobody_holds_it():
    """Without a collection: a stage's model is gone before the next stage loads its own."""
    gc.collect()
    gc.disable()
    try:
        model = make("llama").model
        fuse(model)
        passed(model, some_ids(), fused=True)
        weight = weakref.ref(model.model.norm.weight)
        del model
        assert weight() is None
    finally:
        gc.enable()


def test_adapters_are_seen():
    """A layer that is put in later is used: modules keep their own parts."""
    model = make("qwen3").model
    fuse(model)
    attention = model.model.layers[0].self_attn
    attention.q_proj = nn.Sequential(attention.q_proj, nn.Tanh())
    found, own = passed(model, some_ids(), True), passed(model, some_ids(), False)
    assert distance(found[0], own[0]) <= 1e-6
