"""The plug-in through verl's own code: its configuration composed by hydra, its `ppo_loss`, its micro-batches.

The oracle is written down here: -A w and its slope from `tests/objectives/closed_forms.py`, times a weight a token that
is counted by hand, in float64. Neither verl's aggregation nor our autograd function takes part in it.
"""

import math
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.verl
pytest.importorskip("verl", reason="verl has an environment of its own: make test-verl")

import torch  # noqa: E402
import verl  # noqa: E402
from hydra import compose, initialize_config_dir  # noqa: E402
from hydra.errors import ConfigCompositionException, InstantiationException  # noqa: E402
from tensordict import TensorDict  # noqa: E402
from tests.objectives import closed_forms  # noqa: E402
from verl.trainer.ppo import core_algos  # noqa: E402
from verl.utils import tensordict_utils as tu  # noqa: E402
from verl.utils.config import omega_conf_to_dataclass  # noqa: E402
from verl.workers.utils.losses import ppo_loss  # noqa: E402

from openklear.errors import UsageError  # noqa: E402
from openklear.integrations import verl as plugin  # noqa: E402

ROOT = Path(__file__).parents[2]
ACTOR = "actor_rollout_ref.actor"
OURS = f"{ACTOR}.policy_loss._target_=openklear.integrations.verl.PolicyLossConfig"
GPPO = {"clip_low": 0.2, "clip_high": 0.28, "beta_low": 1.0, "beta_high": 1.0}
CE_GPPO = {"clip_low": 0.2, "clip_high": 0.2, "beta_low": 0.75, "beta_high": 1.0}
PUBLISHED_BAND = (f"{ACTOR}.clip_ratio_low=0.2", f"{ACTOR}.clip_ratio_high=0.28")
CALLS = {"gppo": (PUBLISHED_BAND, GPPO), "ce_gppo": ((), CE_GPPO)}
MODES = ("token-mean", "token-sum", "seq-mean-token-sum", "seq-mean-token-mean", "seq-mean-token-sum-norm")
WHOLE = (tuple(range(6)),)
PARTITIONS = (WHOLE, tuple((b,) for b in range(6)), ((4, 0), (1, 2, 3), (5,)))

# Ratios on both sides of the band and of a dual clip of 3, for both signs of A; no two tokens alike.
LENGTHS = torch.tensor([7, 4, 2, 6, 1, 5])
RATIOS = torch.linspace(math.log(0.05), math.log(9.0), 42)[
    torch.randperm(42, generator=torch.Generator().manual_seed(21))
]
ADVANTAGES = torch.tensor([1.0, -1.0, 0.5, -0.5, 1.5, -1.5])


def batch(log_ratios=RATIOS):
    mask = torch.arange(7) < LENGTHS[:, None]
    old = -torch.linspace(12.0, 15.0, 42).view(6, 7)
    return {
        "log_probs": old + log_ratios.view(6, 7),
        "old_log_probs": old,
        "advantages": ADVANTAGES[:, None].expand(6, 7).clone(),
        "response_mask": mask,
    }


def actor(*overrides):
    """verl's actor config as its trainer makes it from the command line."""
    needed = (f"{ACTOR}.ppo_micro_batch_size_per_gpu=1",)
    with initialize_config_dir(str(Path(verl.__file__).parent / "trainer" / "config"), version_base=None):
        config = compose("ppo_trainer", overrides=[*needed, *overrides])
    return omega_conf_to_dataclass(config.actor_rollout_ref.actor)


def step(config, data, partition=WHOLE, *, counted=True):
    """One optimizer step as verl's engines take it: (loss, d loss / d log_probs, metrics of each micro-batch)."""
    log_probs = data["log_probs"].clone().requires_grad_()
    total, metrics = 0.0, []
    for rows in map(list, partition):
        width = log_probs.shape[1]
        ones = torch.ones(len(rows), width + 1, dtype=torch.long)
        given = {name: t[rows] for name, t in data.items() if name != "log_probs"}
        given |= {"prompts": ones[:, :1], "responses": ones[:, 1:], "attention_mask": ones}
        micro = TensorDict(given, batch_size=[len(rows)])
        tokens = int(data["response_mask"].sum()) if counted else None
        tu.assign_non_tensor(
            micro, dp_size=1, batch_num_tokens=tokens, global_batch_size=len(log_probs) if counted else None
        )
        # verl's model output has one more position a row: the log-probabilities stand one to the left of their tokens
        flat = torch.cat([log_probs[rows], torch.zeros(len(rows), 1)], dim=1).flatten()
        loss, shown = ppo_loss(config, {"log_probs": flat}, micro)
        loss.backward()
        total += float(loss.detach())
        metrics.append({name: metric.values for name, metric in shown.items()})
    return total, log_probs.grad, metrics


def expected(data, numbers, mode, *, scale=None, correction=1.0):
    mask, lengths = data["response_mask"], LENGTHS.double()[:, None]
    of_token = {
        "token-mean": 1 / lengths.sum(),
        "token-sum": torch.tensor(1.0),
        "seq-mean-token-sum": torch.tensor(1 / 6),
        "seq-mean-token-mean": 1 / (6 * lengths),
        "seq-mean-token-sum-norm": torch.tensor(1 / (6 * (scale or 7))),
    }[mode]
    ratio = (data["log_probs"].double() - data["old_log_probs"].double()).clamp(-20, 20).exp()
    advantages = data["advantages"].double()
    pushes = -advantages * closed_forms.gppo(ratio, advantages > 0, **numbers) * correction * of_token
    pushes = torch.where(mask, pushes, 0.0)
    return float(pushes.sum()), pushes  # GPPO's value and its derivative by log pi are the same number


def close(found, wanted, tolerance=1e-6):
    torch.testing.assert_close(
        torch.as_tensor(found).double(), torch.as_tensor(wanted).double(), rtol=tolerance, atol=tolerance
    )


@pytest.mark.parametrize("partition", PARTITIONS, ids=["whole", "one by one", "unequal"])
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("loss_mode", CALLS)
def test_value_and_gradient_are_the_published_ones_however_the_step_is_split(loss_mode, mode, partition):
    band, numbers = CALLS[loss_mode]
    config = actor(f"{ACTOR}.policy_loss.loss_mode={loss_mode}", f"{ACTOR}.loss_agg_mode={mode}", *band)
    data = batch()
    loss, gradient, _ = step(config, data, partition)
    value, pushes = expected(data, numbers, mode)
    close(loss, value)
    close(gradient, pushes)


def test_the_fixture_has_tokens_in_every_cell():
    data = batch()
    ratio, mask = (data["log_probs"] - data["old_log_probs"]).exp(), data["response_mask"]
    for sign in (ADVANTAGES > 0, ADVANTAGES < 0):
        inside = ratio[mask & sign[:, None]]
        assert min(((inside < 0.8).sum(), (inside > 1.28).sum(), (inside > 3).sum())) >= 2


def test_without_verls_global_counts_a_micro_batch_is_normalised_by_itself():
    config = actor(f"{ACTOR}.policy_loss.loss_mode=gppo", *PUBLISHED_BAND)
    data = batch()
    loss, gradient, _ = step(config, data, WHOLE, counted=False)
    value, pushes = expected(data, GPPO, "token-mean")
    close(loss, value)
    close(gradient, pushes)
    assert not torch.allclose(step(config, data, PARTITIONS[1], counted=False)[1], gradient)


def test_a_scale_factor_of_the_command_line_reaches_the_loss():
    mode = "seq-mean-token-sum-norm"
    config = actor(
        f"{ACTOR}.policy_loss.loss_mode=gppo",
        f"{ACTOR}.loss_agg_mode={mode}",
        f"{ACTOR}.loss_scale_factor=100",
        *PUBLISHED_BAND,
    )
    data = batch()
    close(step(config, data, PARTITIONS[2])[1], expected(data, GPPO, mode, scale=100)[1])


def test_gppo_differs_from_vanilla_exactly_where_the_clip_drops_a_token():
    data = batch()
    value, gradient, _ = step(actor(f"{ACTOR}.policy_loss.loss_mode=gppo", *PUBLISHED_BAND), data)
    # verl's vanilla has a dual clip unless it is moved out of reach
    vanilla, dropped, _ = step(actor(f"{ACTOR}.clip_ratio_c=1000", *PUBLISHED_BAND), data)
    close(value, vanilla)
    ratio = (data["log_probs"] - data["old_log_probs"]).exp()
    clipped = torch.where(data["advantages"] > 0, ratio > 1.28, ratio < 0.8) & data["response_mask"]
    assert torch.equal((gradient - dropped).abs() > 1e-6, clipped)
    assert (dropped[clipped] == 0).all()
    assert (gradient[clipped] != 0).all()


def documented():
    """The overrides of the page's longest command line for verl."""
    section = (ROOT / "README.md").read_text().split("\n### verl\n")[1].split("\n## ")[0]
    return re.findall(rf"\+?{ACTOR}\.\S+=\S+", section)


def test_the_documented_command_line_sets_what_it_says():
    overrides = documented()
    assert len(overrides) >= 5
    config = actor(*overrides)
    assert isinstance(config.policy_loss, plugin.PolicyLossConfig)
    asked = dict(line.lstrip("+").removeprefix(f"{ACTOR}.").split("=") for line in overrides)
    numbers = plugin.numbers_of(config, asked["policy_loss.loss_mode"])
    assert numbers.clip_low == float(asked["clip_ratio_low"])
    assert numbers.clip_high == float(asked["clip_ratio_high"])
    assert numbers.beta_low == float(asked["policy_loss.beta_low"])


@pytest.mark.parametrize("loss_mode", CALLS)
def test_betas_act(loss_mode):
    data = batch()
    band, numbers = CALLS[loss_mode]
    betas = (f"+{ACTOR}.policy_loss.beta_low=0.5", f"+{ACTOR}.policy_loss.beta_high=0.25")
    config = actor(OURS, f"{ACTOR}.policy_loss.loss_mode={loss_mode}", *band, *betas)
    close(step(config, data)[1], expected(data, numbers | {"beta_low": 0.5, "beta_high": 0.25}, "token-mean")[1])


def test_a_dual_clip_is_there_when_asked_for_and_only_then():
    data = batch()
    asked = actor(OURS, f"{ACTOR}.policy_loss.loss_mode=gppo", f"+{ACTOR}.policy_loss.dual_clip=3", *PUBLISHED_BAND)
    loss, gradient, metrics = step(asked, data)
    ratio = (data["log_probs"] - data["old_log_probs"]).exp()
    held = (data["advantages"] < 0) & (ratio > 3) & data["response_mask"]
    assert int(held.sum()) > 1
    assert torch.equal(held & (gradient != 0), torch.zeros_like(held))
    close(gradient, expected(data, GPPO | {"dual_clip": 3.0}, "token-mean")[1])
    close(metrics[0]["actor/pg_clipfrac_lower"], [int(held.sum()) / int(data["response_mask"].sum())])
    free, _, shown = step(actor(f"{ACTOR}.policy_loss.loss_mode=gppo", *PUBLISHED_BAND), data)
    assert free > loss + 0.01, "verl's clip_ratio_c of 3 must not act on its own"
    assert shown[0]["actor/pg_clipfrac_lower"] == [0.0]


def test_the_band_is_verls_and_clip_ratio_stands_in_for_a_missing_edge():
    data = batch()
    missing = (f"{ACTOR}.clip_ratio=0.3", f"{ACTOR}.clip_ratio_low=null", f"{ACTOR}.clip_ratio_high=0.4")
    config = actor(f"{ACTOR}.policy_loss.loss_mode=gppo", *missing)
    numbers = GPPO | {"clip_low": 0.3, "clip_high": 0.4}
    close(step(config, data)[1], expected(data, numbers, "token-mean")[1])


def test_rollout_weights_multiply_each_token_and_are_not_read_under_the_mask():
    data = batch()
    correction = torch.linspace(0.1, 2.0, 42).view(6, 7)
    data["rollout_is_weights"] = torch.where(data["response_mask"], correction, math.nan)
    config = actor(f"{ACTOR}.policy_loss.loss_mode=gppo", *PUBLISHED_BAND)
    for mode in ("token-mean", "seq-mean-token-mean"):
        config = actor(f"{ACTOR}.policy_loss.loss_mode=gppo", f"{ACTOR}.loss_agg_mode={mode}", *PUBLISHED_BAND)
        loss, gradient, _ = step(config, data, PARTITIONS[2])
        value, pushes = expected(data, GPPO, mode, correction=correction.double())
        close(loss, value)
        close(gradient, pushes)


@pytest.mark.parametrize("mode", MODES)
def test_nothing_under_the_mask_has_an_effect(mode):
    config = actor(f"{ACTOR}.policy_loss.loss_mode=gppo", f"{ACTOR}.loss_agg_mode={mode}", *PUBLISHED_BAND)
    clean = batch()
    spoiled = {
        name: t if name == "response_mask" else torch.where(clean["response_mask"], t, math.nan)
        for name, t in clean.items()
    }
    wanted, found = step(config, clean), step(config, spoiled)
    assert found[0] == wanted[0]
    assert torch.equal(found[1], wanted[1])
    assert found[2] == wanted[2]


def test_far_ratios_keep_gppos_gradient():
    """A clamp of log r inside the graph, as verl's losses have it, gives 0 at each of these tokens."""
    far = RATIOS.clone().view(6, 7)
    far[0, :4] = torch.tensor([25.0, 100.0, 400.0, 25.5])
    far[1, :4] = torch.tensor([-25.0, -100.0, -400.0, -1e4])
    data = batch(far)
    _, gradient, _ = step(actor(f"{ACTOR}.policy_loss.loss_mode=gppo", *PUBLISHED_BAND), data)
    close(gradient * 25, torch.where(data["response_mask"], expected(data, GPPO, "token-mean")[1] * 25, 0))
    close(gradient[0, :4] * 25, torch.full((4,), -1.28))
    close(gradient[1, :4] * 25, torch.full((4,), 0.8))


def test_metrics_are_counted_by_hand():
    data = batch()
    config = actor(f"{ACTOR}.policy_loss.loss_mode=gppo", *PUBLISHED_BAND)
    _, gradient, (shown,) = step(config, data)
    mask = data["response_mask"]
    log_ratio, positive = (data["log_probs"] - data["old_log_probs"])[mask], (data["advantages"] > 0)[mask]
    above, below, n = log_ratio.exp() > 1.28, log_ratio.exp() < 0.8, int(mask.sum())
    acts, push = torch.where(positive, above, below), gradient[mask].abs()
    wanted = {
        "actor/pg_clipfrac": float(acts.sum()) / n,
        "actor/ppo_kl": float(-log_ratio.mean()),
        "actor/pg_clipfrac_lower": 0.0,
        "actor/preserved_gradient_share": float(push[acts].sum() / push.sum()),
        "actor/clip_fraction_high_positive": float((positive & above).sum()) / n,
        "actor/clip_fraction_low_positive": float((positive & below).sum()) / n,
        "actor/clip_fraction_high_negative": float((~positive & above).sum()) / n,
        "actor/clip_fraction_low_negative": float((~positive & below).sum()) / n,
    }
    assert set(shown) == {*wanted, "actor/pg_loss"}
    assert len({*wanted.values()}) == len(wanted), "numbers that are alike could be swapped unseen"
    for name, value in wanted.items():
        close(shown[name], [value], 1e-5)
    _, _, (vanilla,) = step(actor(f"{ACTOR}.clip_ratio_c=1000", *PUBLISHED_BAND), data)
    for name in set(vanilla) - {"actor/pg_loss"}:
        close(shown[name], vanilla[name], 1e-5)


LATE = {
    "a dual clip in verl's words": ((f"{ACTOR}.clip_ratio_c=10.0",), "policy_loss.dual_clip=10.0"),
    "two dual clips": ((OURS, f"+{ACTOR}.policy_loss.dual_clip=5", f"{ACTOR}.clip_ratio_c=10"), "clip_ratio_c=10"),
    "a band that verl does not read": ((f"{ACTOR}.clip_ratio=0.3",), "clip_ratio_low"),
    "a band below nothing": ((f"{ACTOR}.clip_ratio_low=1.5",), "clip_ratio_low"),
    "a band turned over": ((f"{ACTOR}.clip_ratio_high=-0.1",), "clip_ratio_high"),
}


@pytest.mark.parametrize(("overrides", "named"), LATE.values(), ids=LATE)
def test_settings_without_effect_are_refused_at_the_first_loss(overrides, named):
    config = actor(f"{ACTOR}.policy_loss.loss_mode=gppo", *overrides)
    with pytest.raises(UsageError, match=re.escape(named)):
        step(config, batch())


EARLY = {
    "beta without the class that knows it": (f"+{ACTOR}.policy_loss.beta_low=0.5",),
    "beta without plus": (OURS, f"{ACTOR}.policy_loss.beta_low=0.5"),
    "unknown": (OURS, f"+{ACTOR}.policy_loss.beta_lo=0.5"),
    "ours with verl's loss": (OURS, f"{ACTOR}.policy_loss.loss_mode=vanilla"),
    "negative": (OURS, f"+{ACTOR}.policy_loss.beta_high=-1"),
    "no number": (OURS, f"+{ACTOR}.policy_loss.beta_high=much"),
    "not finite": (OURS, f"+{ACTOR}.policy_loss.beta_high=.inf"),
    "a truth": (OURS, f"+{ACTOR}.policy_loss.beta_high=true"),
    "inside the band": (OURS, f"+{ACTOR}.policy_loss.dual_clip=0.9"),
}


@pytest.mark.parametrize("overrides", EARLY.values(), ids=EARLY)
def test_wrong_settings_are_refused_when_the_configuration_is_made(overrides):
    modes = () if "loss_mode" in overrides[-1] else (f"{ACTOR}.policy_loss.loss_mode=gppo",)
    with pytest.raises((ConfigCompositionException, InstantiationException)):
        actor(*modes, *overrides)


def test_verls_default_band_is_named_once_where_the_paper_has_another(caplog):
    plugin.say_numbers.cache_clear()
    config = actor(f"{ACTOR}.policy_loss.loss_mode=gppo")
    step(config, batch(), PARTITIONS[1])
    step(actor(f"{ACTOR}.policy_loss.loss_mode=ce_gppo"), batch())
    said = [record for record in caplog.records if record.name == plugin.__name__ and record.levelname == "WARNING"]
    assert len(said) == 1
    assert "0.28" in said[0].getMessage()


def python(code, cwd, timeout=120):
    """In a fresh process that finds openklear as an installed distribution alone."""
    env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return subprocess.run(
        [sys.executable, "-c", code], cwd=cwd, env=env, capture_output=True, text=True, timeout=timeout, check=False
    )


def test_importing_verl_alone_registers(tmp_path):
    """And loads nothing of openklear beyond the objectives: the plug-in is installed without dependencies."""
    done = python(
        "import sys, verl; losses = sys.modules['verl.trainer.ppo.core_algos'].POLICY_LOSS_REGISTRY;"
        "print(*(name for name in losses if 'gppo' in name));"
        "print(*sorted({m.split('.')[1] for m in sys.modules if m.startswith('openklear.')}))",
        tmp_path,
    )
    assert done.stdout.splitlines() == ["gppo ce_gppo", "errors integrations objectives"], done.stderr


def test_importing_the_plugin_first_registers_too(tmp_path):
    """verl then loads it in the middle of its own import: it must stand being met half done."""
    done = python(
        "import openklear.integrations.verl as p; from verl.trainer.ppo.core_algos import get_policy_loss_fn;"
        "print(get_policy_loss_fn('gppo').__module__ == p.__name__)",
        tmp_path,
    )
    assert done.stdout.split() == ["True"], done.stderr
    assert "openklear" not in done.stderr


def test_a_ray_worker_knows_it(tmp_path):
    done = python(
        "import ray\n"
        "ray.init(address='local', num_cpus=1, include_dashboard=False, object_store_memory=80_000_000,"
        " log_to_driver=False)\n"
        "@ray.remote\n"
        "def known():\n"
        "    from verl.trainer.ppo.core_algos import get_policy_loss_fn\n"
        "    return get_policy_loss_fn('gppo').__qualname__\n"
        "print(ray.get(known.remote()))\n",
        tmp_path,
    )
    assert done.stdout.split() == ["compute_policy_loss_gppo"], done.stderr


BROKEN = {
    "no registry": "module = types.ModuleType('broken')",
    "another signature": (
        "import verl.trainer.ppo.core_algos as module\n"
        "module.POLICY_LOSS_REGISTRY['vanilla'] = lambda old_log_prob, log_prob: None"
    ),
    "the name is taken": ("import verl.trainer.ppo.core_algos as module\nmodule.POLICY_LOSS_REGISTRY['gppo'] = print"),
}


@pytest.mark.parametrize("broken", BROKEN.values(), ids=BROKEN)
def test_a_plugin_that_cannot_load_is_heard(broken, tmp_path):
    """verl swallows it at debug level and goes on; the user must not learn it from 'unsupported loss mode' hours on."""
    done = python(
        "import importlib.metadata, os, sys, types\n"
        "os.environ['VERL_USE_EXTERNAL_PLUGINS'] = 'none'\n"
        f"{broken}\n"
        "sys.modules['verl.trainer.ppo.core_algos'] = module\n"
        "os.environ['VERL_USE_EXTERNAL_PLUGINS'] = 'auto'\n"
        "sys.modules.pop('verl', None)\n"
        "import verl\n"
        "print('on it goes')\n",
        tmp_path,
    )
    assert done.stdout.split("\n")[0] == "on it goes", done.stderr
    assert "ERROR" in done.stderr
    assert "openklear's plug-in" in done.stderr
    assert "gppo and ce_gppo are not registered" in done.stderr
    assert "Traceback" in done.stderr


def test_every_loss_is_what_verl_will_find():
    for name in plugin.PUBLISHED:
        assert core_algos.get_policy_loss_fn(name).__module__ == plugin.__name__
