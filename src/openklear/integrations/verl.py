"""GPPO and CE-GPPO as policy losses of verl: `actor_rollout_ref.actor.policy_loss.loss_mode=gppo`.

verl finds this module through the entry point group "verl.plugins" whenever it is imported, in Ray workers too. The
band is verl's own `actor.clip_ratio_low` / `clip_ratio_high`; the other numbers are keys of `PolicyLossConfig` here,
chosen with `actor_rollout_ref.actor.policy_loss._target_=openklear.integrations.verl.PolicyLossConfig`. verl drops the
errors of plug-ins at debug level, so an error while this module is imported is logged first.
"""

from __future__ import annotations

import functools
import inspect
import logging
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from typing import Any

__all__ = ["PolicyLossConfig", "policy_loss"]

LOG = logging.getLogger(__name__)

try:
    import torch
    from torch import Tensor
    from verl.trainer.ppo import core_algos
    from verl.workers.config import ActorConfig
    from verl.workers.config import PolicyLossConfig as VerlPolicyLossConfig

    from openklear.errors import UsageError
    from openklear.objectives.diagnostics import Sums, clip_sums, slopes_of
    from openklear.objectives.policy import CATALOG, gppo
    from openklear.objectives.ratio import at_least_fp32, bounded_log_ratio, require_same_shape
except Exception:  # verl drops any error at debug level, so it is logged here before it is raised again
    LOG.exception("openklear's plug-in for verl could not be imported: gppo and ce_gppo are not registered")
    raise

PUBLISHED: dict[str, dict[str, Any]] = {name: CATALOG[name].numbers for name in ("gppo", "ce_gppo")}
"""`loss_mode` -> the numbers of its paper (arXiv 2508.07629, 2509.20712). The band's are only compared with."""


@dataclass
class PolicyLossConfig(VerlPolicyLossConfig):  # type: ignore[misc]  # verl is not there when types are checked
    """verl's `policy_loss` section with the numbers of `gppo` and `ce_gppo`; None is the published number.

    beta_low, beta_high: factors of the two clipped cells (Eq. 17); 1, 1 for gppo and 0.75, 1 for ce_gppo.
    dual_clip: no gradient for A < 0 above this ratio; None has none, as in the report. verl's `actor.clip_ratio_c` is
    not read, because it is 3 by default: the code released with the report left it on that way.
    """

    loss_mode: str = "gppo"
    beta_low: float | None = None
    beta_high: float | None = None
    dual_clip: float | None = None

    def __post_init__(self) -> None:
        """UsageError for impossible numbers, or a loss that would not read them."""
        if self.loss_mode not in PUBLISHED:
            raise UsageError(
                f"policy_loss.loss_mode={self.loss_mode} does not read beta_low, beta_high and dual_clip: set it to "
                f"{' or '.join(PUBLISHED)}, or leave policy_loss._target_ to verl's own"
            )
        for key in ("beta_low", "beta_high"):
            _require(f"policy_loss.{key}", getattr(self, key), lambda x: x >= 0, "at least 0")
        _require("policy_loss.dual_clip", self.dual_clip, lambda x: x > 1, "more than 1")


@dataclass(frozen=True, slots=True)
class Numbers:
    """What a loss runs with; the arguments of `openklear.objectives.policy.gppo`."""

    clip_low: float
    clip_high: float
    beta_low: float
    beta_high: float
    dual_clip: float | None


def numbers_of(config: Any, loss_mode: str) -> Numbers:
    """From verl's actor config. UsageError for a key that was changed and would have no effect.

    The band is `clip_ratio_low` / `clip_ratio_high`, or `clip_ratio` for one that is null, as in every loss of verl.
    """
    if config is None:
        raise UsageError(f"{loss_mode} needs verl's actor config")
    low, high = config.clip_ratio_low, config.clip_ratio_high
    if low is not None and high is not None and config.clip_ratio not in (_default("clip_ratio"), low, high):
        raise UsageError(
            f"actor.clip_ratio={config.clip_ratio} has no effect, since verl sets clip_ratio_low={low} and "
            f"clip_ratio_high={high}: set those two"
        )
    section = config.policy_loss
    dual_clip = getattr(section, "dual_clip", None)
    if config.clip_ratio_c not in (_default("clip_ratio_c"), dual_clip):
        raise UsageError(
            f"actor.clip_ratio_c={config.clip_ratio_c} has no effect on {loss_mode}, which has no dual clip unless "
            f"asked for: write policy_loss.dual_clip={config.clip_ratio_c} (with openklear's policy_loss._target_) to "
            "have one, or leave clip_ratio_c alone"
        )
    band = [config.clip_ratio if edge is None else edge for edge in (low, high)]
    _require("actor.clip_ratio_low", band[0], lambda x: 0 <= x <= 1, "from 0 to 1")
    _require("actor.clip_ratio_high", band[1], lambda x: x >= 0, "at least 0")
    betas = [getattr(section, key, None) for key in ("beta_low", "beta_high")]
    published = [PUBLISHED[loss_mode][key] for key in ("beta_low", "beta_high")]
    beta_low, beta_high = (float(p if given is None else given) for given, p in zip(betas, published, strict=True))
    return Numbers(float(band[0]), float(band[1]), beta_low, beta_high, dual_clip)


def policy_loss(loss_mode: str) -> Callable[..., tuple[Tensor, dict[str, float]]]:
    """verl's policy loss function of that name: aggregated by verl's `agg_loss`, with its global counts if given."""

    def loss(
        old_log_prob: Tensor,
        log_prob: Tensor,
        advantages: Tensor,
        response_mask: Tensor,
        loss_agg_mode: str = "token-mean",
        config: Any = None,
        rollout_is_weights: Tensor | None = None,
    ) -> tuple[Tensor, dict[str, float]]:
        numbers = numbers_of(config, loss_mode)
        say_numbers(loss_mode, numbers)
        mask = response_mask.bool()
        losses = gppo(log_prob, old_log_prob, advantages, loss_mask=mask, **asdict(numbers))
        correction = torch.ones_like(losses)
        if rollout_is_weights is not None:
            require_same_shape(rollout_is_weights=rollout_is_weights, response_mask=mask)
            correction = torch.where(mask, at_least_fp32(rollout_is_weights.detach()), 0.0)
        total = core_algos.agg_loss(
            loss_mat=losses * correction, loss_mask=mask, loss_agg_mode=loss_agg_mode, **config.global_batch_info
        )
        return total, _metrics(log_prob, old_log_prob, advantages, mask, correction, numbers)

    loss.__name__ = loss.__qualname__ = f"compute_policy_loss_{loss_mode}"
    return loss


def _metrics(
    log_prob: Tensor, old_log_prob: Tensor, advantages: Tensor, mask: Tensor, correction: Tensor, numbers: Numbers
) -> dict[str, float]:
    """Of one micro-batch; verl takes the mean over micro-batches. Names of verl first, with verl's meaning."""
    # (B, T); outside the mask r = 1.
    log_ratio = bounded_log_ratio(*(torch.where(mask, t, 0.0) for t in (log_prob, old_log_prob)))
    advantage = at_least_fp32(advantages)  # the sums look at it inside the mask alone, and r is 1 outside
    slopes = slopes_of(
        lambda leaf: gppo(leaf, old_log_prob, advantages, loss_mask=mask, **asdict(numbers)) * correction,
        at_least_fp32(log_prob),
    )
    band = {"clip_low": numbers.clip_low, "clip_high": numbers.clip_high}
    sums: Sums = clip_sums(log_ratio, advantage, slopes, mask, **band)
    held = (advantage < 0) & (log_ratio.exp() > (math.inf if numbers.dual_clip is None else numbers.dual_clip))
    sums |= {"tokens": mask.sum().double(), "kl": -log_ratio.double().sum(), "held": held.sum().double()}
    values = dict(zip(sums, torch.stack(list(sums.values())).tolist(), strict=True))  # one transfer from the device
    n = max(values["tokens"], 1.0)
    return {
        "actor/pg_clipfrac": (values["clip_fraction_high_positive"] + values["clip_fraction_low_negative"]) / n,
        "actor/ppo_kl": values["kl"] / n,
        "actor/pg_clipfrac_lower": values["held"] / n,
        "actor/preserved_gradient_share": values["push_clipped"] / values["push"] if values["push"] else 0.0,
        **{f"actor/{name}": value / n for name, value in values.items() if name.startswith("clip_fraction")},
    }


@functools.cache
def say_numbers(loss_mode: str, numbers: Numbers) -> None:
    """Once per process: a band that is verl's default where the paper has another may surprise people."""
    published = (PUBLISHED[loss_mode]["clip_low"], PUBLISHED[loss_mode]["clip_high"])
    default = (_default("clip_ratio_low"), _default("clip_ratio_high"))
    if (numbers.clip_low, numbers.clip_high) == default != published:
        LOG.warning(
            "%s runs with verl's band, clip_ratio_low=%s clip_ratio_high=%s; the published one is %s / %s",
            loss_mode,
            *default,
            *published,
        )
    LOG.info("%s: %s", loss_mode, numbers)


def _default(key: str) -> Any:
    """verl's default of a key of its actor config. Its YAML repeats it, so a value like it need not be the user's."""
    return next(field.default for field in fields(ActorConfig) if field.name == key)


def _require(key: str, value: Any, holds: Callable[[float], bool], what: str) -> None:
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or not holds(value):
        raise UsageError(f"{key}={value!r} must be a number {what}")


def _register() -> None:
    """UsageError if this verl calls policy losses another way, or has losses of these names from elsewhere."""
    losses = {name: policy_loss(name) for name in PUBLISHED}
    theirs = list(inspect.signature(core_algos.get_policy_loss_fn("vanilla")).parameters)
    ours = list(inspect.signature(losses["gppo"]).parameters)
    if theirs != ours:
        raise UsageError(f"this verl calls policy losses with {theirs}; openklear's plug-in knows {ours}")
    missing = {"loss_mat", "loss_mask", "loss_agg_mode"} - set(inspect.signature(core_algos.agg_loss).parameters)
    if missing:
        raise UsageError(f"this verl's agg_loss does not take {sorted(missing)}")
    for name, loss in losses.items():
        registered = core_algos.POLICY_LOSS_REGISTRY.get(name)
        if registered is not None and registered.__module__ != __name__:
            raise UsageError(f"a policy loss {name} is registered already, by {registered.__module__}")
        core_algos.register_policy_loss(name)(loss)


try:
    _register()
except Exception:  # as above
    LOG.exception("openklear's plug-in does not fit this verl: gppo and ce_gppo are not registered")
    raise
