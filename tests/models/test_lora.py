"""Adapters: gradients against a product of matrices by hand, merging that leaves no trace, files that others read."""

import json

import peft
import pytest
import torch
from safetensors.torch import load_file
from tests.models.architectures import make
from transformers import AutoModelForCausalLM

from openklear.errors import ModelError
from openklear.models.loading import load_model, save_model
from openklear.models.logprobs import sequence_logprobs
from openklear.models.lora import (
    add_adapters,
    as_sampled,
    has_adapters,
    load_adapters,
    merged,
    plain_weights,
    save_adapters,
    trained_parameters,
)
from openklear.models.tiny import make_tiny
from openklear.recipe.optimizers import AdamW, Lora, Muon
from openklear.rollout.local import LocalSampler
from openklear.training.optimizer import build_optimizer
from openklear.types import SampleRequest

SETTINGS = Lora(rank=4, alpha=6.0)
LAYERS = 7
"""Linear ones of a block of Qwen3: q, k, v, o, gate, up, down."""


@pytest.fixture
def loaded():
    return make_tiny(16, 2, 2, 64, seed=0)


def learned(model, seed=1):
    """Adapters as training leaves them: B is not zero."""
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            parameter.data = torch.randn(parameter.shape, generator=generator).to(parameter.dtype) * 0.3
    return model


def adapted(loaded, settings=SETTINGS):
    add_adapters(loaded.model, settings, 0, "sft")
    return learned(loaded.model)


def rows(seed=3):
    ids = torch.randint(7, 100, (3, 12), generator=torch.Generator().manual_seed(seed))
    mask = torch.ones_like(ids, dtype=torch.bool)
    mask[:, :3] = False
    return ids, mask


def bits(model):
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_nothing_changes_before_the_first_step(loaded):
    ids, mask = rows()
    before = sequence_logprobs(loaded.model, ids, mask)[0]
    kind = type(loaded.model)
    assert add_adapters(loaded.model, SETTINGS, 0, "sft") == 2 * LAYERS
    assert type(loaded.model) is kind
    assert not any(module.training for module in loaded.model.modules())
    assert torch.equal(sequence_logprobs(loaded.model, ids, mask)[0], before)


def test_only_adapters_learn(loaded):
    whole = {name: p.clone() for name, p in loaded.model.named_parameters()}
    model = adapted(loaded)
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    assert len(trained) == 2 * 2 * LAYERS
    assert all("lora_" in name for name in trained)
    # rank (in + out) of each layer: q 16x16, k and v 8x16, o 16x16, gate and up 48x16, down 16x48
    assert trained_parameters(model) == 2 * 4 * (32 + 24 + 24 + 32 + 64 + 64 + 64)
    ids, mask = rows()
    (-sequence_logprobs(model, ids, mask)[0].sum()).backward()
    for settings in (AdamW(), Muon()):
        optimizer = build_optimizer(model, settings)
        optimizer.set_learning_rate(0.01)
        before = {name: p.clone() for name, p in trained.items()}
        optimizer.step()
        assert all(not torch.equal(p, before[name]) for name, p in trained.items())
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            assert torch.equal(parameter, whole[name.replace(".base_layer", "")]), name


def test_gradients_are_those_of_the_product():
    """With G = dL/dW at W + s B A of a model without adapters, dL/dA = s B^T G and dL/dB = s G A^T."""
    loaded = make_tiny(16, 2, 2, 64, seed=0)
    loaded.model.double()
    model = adapted(loaded)
    ids, mask = rows()
    (-sequence_logprobs(model, ids, mask, entropy=False)[0].sum()).backward()
    plain = make_tiny(16, 2, 2, 64, seed=0).model.double()
    scale = SETTINGS.alpha / SETTINGS.rank
    layers = [
        name for name, module in plain.named_modules() if isinstance(module, torch.nn.Linear) and "layers" in name
    ]
    matrices = {}
    for name in layers:
        layer = model.get_submodule(name)
        matrices[name] = layer.lora_A["default"].weight, layer.lora_B["default"].weight
        a, b = (m.detach() for m in matrices[name])
        plain.get_submodule(name).weight.data += scale * b @ a
    (-sequence_logprobs(plain, ids, mask, entropy=False)[0].sum()).backward()
    for name, (a, b) in matrices.items():
        whole = plain.get_submodule(name).weight.grad
        torch.testing.assert_close(a.grad, scale * b.detach().T @ whole, rtol=1e-9, atol=1e-12)
        torch.testing.assert_close(b.grad, scale * whole @ a.detach().T, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", ["qwen3", "qwen2", "gpt2", "mixtral", "phi3", "gemma2", "gpt neox"])
def test_merged_is_the_adapted_model_and_leaves_no_trace(name):
    loaded = make(name)
    model = adapted(loaded)
    ids, mask = rows()
    before, names = bits(model), [n for n, _ in model.named_modules()]
    with torch.no_grad():
        through = sequence_logprobs(model, ids, mask)[0]
        with merged(model):
            assert not any("lora" in n for n, _ in model.named_modules())
            assert set(bits(model)) == set(bits(make(name).model))
            whole = sequence_logprobs(model, ids, mask)[0]
            with merged(model):  # a second time changes nothing more
                assert torch.equal(sequence_logprobs(model, ids, mask)[0], whole)
        again = sequence_logprobs(model, ids, mask)[0]
    torch.testing.assert_close(whole, through, rtol=0, atol=1e-5)
    plain = sequence_logprobs(make(name).model, ids, mask)[0].detach()
    assert (plain - through).abs().max() > 1e-2, "adapters that do nothing prove nothing"
    assert torch.equal(again, through)
    assert same(bits(model), before)
    assert [n for n, _ in model.named_modules()] == names


def test_a_failure_while_merged_restores_the_model(loaded):
    model = adapted(loaded)
    before = bits(model)
    with pytest.raises(KeyError), merged(model):
        raise KeyError
    assert same(bits(model), before)


def test_what_is_saved_is_read_by_plain_transformers(loaded, tmp_path):
    model = adapted(loaded)
    save_model(loaded, tmp_path)
    assert not list(tmp_path.glob("adapter*"))
    ids, _ = rows()
    other, info = AutoModelForCausalLM.from_pretrained(tmp_path, output_loading_info=True)
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    with torch.no_grad():
        torch.testing.assert_close(other(ids).logits, model(ids).logits, rtol=0, atol=1e-5)
    assert has_adapters(model)
    files = load_file(tmp_path / "model.safetensors")
    plain = dict(plain_weights(model))
    assert {*plain} - {*files} == {"lm_head.weight"}  # tied
    assert all(torch.equal(tensor, plain[name]) for name, tensor in files.items())


def test_plain_weights_of_a_model_without_adapters(loaded):
    assert same(dict(plain_weights(loaded.model)), bits(loaded.model))


def test_saved_adapters_are_read_by_peft(loaded, tmp_path):
    base, mine = tmp_path / "base", tmp_path / "adapters"
    save_model(loaded, base)
    model = adapted(loaded, Lora(rank=3, alpha=5.0, targets=("down_proj", "q_proj")))
    mine.mkdir()
    save_adapters(model, mine)
    once = {path.name: path.read_bytes() for path in mine.iterdir()}
    save_adapters(model, mine)
    assert once == {path.name: path.read_bytes() for path in mine.iterdir()}
    names = [f"model.layers.{i}.{name}" for i in (0, 1) for name in ("mlp.down_proj", "self_attn.q_proj")]
    assert json.loads(once["adapter_config.json"])["target_modules"] == names
    other = peft.PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), mine)
    ids, _ = rows()
    with torch.no_grad():
        torch.testing.assert_close(other(ids).logits, model(ids).logits, rtol=0, atol=1e-6)


def test_adapters_come_back_with_their_bits(loaded, tmp_path):
    model = adapted(loaded)
    save_adapters(model, tmp_path)
    other = make_tiny(16, 2, 2, 64, seed=0)
    add_adapters(other.model, SETTINGS, 5, "other")
    load_adapters(tmp_path, other.model)
    assert same(bits(other.model), bits(model))


@pytest.mark.parametrize("settings", [Lora(rank=5), Lora(rank=4, targets=("q_proj",))])
def test_adapters_of_other_layers_are_refused(loaded, tmp_path, settings):
    save_adapters(adapted(loaded), tmp_path)
    other = make_tiny(16, 2, 2, 64, seed=0)
    add_adapters(other.model, settings, 0, "sft")
    with pytest.raises(ModelError, match="of other layers, or of another rank"):
        load_adapters(tmp_path, other.model)


def test_lost_or_damaged_adapters_are_named(loaded, tmp_path):
    model = adapted(loaded)
    with pytest.raises(ModelError, match=r"adapter_model\.safetensors: the adapters cannot be read"):
        load_adapters(tmp_path, model)
    (tmp_path / "adapter_model.safetensors").write_bytes(b"no tensors")
    with pytest.raises(ModelError, match="cannot be read"):
        load_adapters(tmp_path, model)


def test_the_beginning_is_of_seed_and_stage_alone():
    def begun(seed=0, purpose="sft", noise=0):
        torch.manual_seed(noise)
        loaded = make_tiny(16, 2, 2, 64, seed=0)
        add_adapters(loaded.model, SETTINGS, seed, purpose)
        after = torch.rand(1).item()
        return bits(loaded.model), after

    one, after = begun()
    other, _ = begun(noise=1)
    assert same(one, other)
    torch.manual_seed(0)
    assert torch.rand(1).item() == after, "torch's own generator was touched"
    assert not same(one, begun(seed=1)[0])
    assert not same(one, begun(purpose="rl-math")[0])
    for name, tensor in one.items():
        if "lora_A" in name:
            bound = tensor.shape[1] ** -0.5
            assert tensor.abs().max() <= bound
            assert tensor.std() == pytest.approx(bound / 3**0.5, rel=0.2)
        if "lora_B" in name:
            assert not tensor.any()


def test_targets_by_the_ends_of_names():
    model = make_tiny(16, 2, 2, 64, seed=0).model
    assert add_adapters(model, Lora(targets=("self_attn.q_proj", "layers.1.mlp.up_proj")), 0, "sft") == 3
    assert {n for n, m in model.named_modules() if hasattr(m, "lora_A")} == {
        "model.layers.0.self_attn.q_proj",
        "model.layers.1.self_attn.q_proj",
        "model.layers.1.mlp.up_proj",
    }


@pytest.mark.parametrize("target", ["query", "proj", "lm_head", "embed_tokens", "q_proj.weight"])
def test_a_target_that_is_no_linear_layer(target):
    model = make_tiny(16, 2, 2, 64, seed=0).model
    with pytest.raises(ModelError, match=f'is called "{target}"; there are q_proj, k_proj, v_proj, o_proj, gate_proj'):
        add_adapters(model, Lora(targets=("q_proj", target)), 0, "sft")
    assert not has_adapters(model)


def test_sampled_log_probabilities_are_the_adapted_models(loaded):
    model = adapted(loaded)
    before = bits(model)
    sampler = LocalSampler(model, end_ids=frozenset(), slots=4)
    requests = [SampleRequest(tuple(range(20, 24 + key)), key, 9) for key in range(6)]
    for request, made in zip(requests, sampler.sample(requests), strict=True):
        ids = torch.tensor([[*request.prompt_ids, *made.token_ids.tolist()]])
        mask = torch.arange(ids.shape[1])[None] >= len(request.prompt_ids)
        with torch.no_grad():
            trainer = sequence_logprobs(model, ids, mask)[0][mask]
        torch.testing.assert_close(torch.from_numpy(made.logprobs), trainer, rtol=0, atol=1e-5)
    assert same(bits(model), before)


def test_weights_of_another_model_are_published_whole(loaded):
    model = adapted(loaded)
    other = make_tiny(16, 2, 2, 64, seed=7)
    sampler = LocalSampler(other.model, end_ids=frozenset(), slots=2)
    sampler.publish(model, 3)
    assert same(bits(other.model), dict(plain_weights(model)))


def test_narrow_weights_are_sampled_through_their_adapters(loaded):
    """Merged they would be rounded: 2^-9 of a bf16 weight is lost there, and is another policy."""
    model = adapted(loaded)
    with as_sampled(model):
        assert not any("lora" in n for n, _ in model.named_modules())
    model.bfloat16()
    with as_sampled(model):
        assert any("lora" in n for n, _ in model.named_modules())


def test_half_precision_is_rounded_once(loaded):
    model = adapted(loaded).bfloat16()
    layer = model.model.layers[0].mlp.down_proj
    a, b = (m["default"].weight.double() for m in (layer.lora_A, layer.lora_B))
    exact = layer.base_layer.weight.double() + SETTINGS.alpha / SETTINGS.rank * b @ a
    found = dict(plain_weights(model))["model.layers.0.mlp.down_proj.weight"]
    assert found.dtype == torch.bfloat16
    assert torch.equal(found, exact.float().bfloat16())


def test_a_whole_model_beside_its_merged_export_loads_here(loaded, tmp_path):
    model = adapted(loaded)
    save_model(loaded, tmp_path)
    again = load_model(tmp_path)
    assert same(bits(again.model), dict(plain_weights(model)))
