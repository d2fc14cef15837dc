"""A policy loss of the user's own: what is refused before a run, and while it runs."""

import pytest
import torch

from openklear.errors import UsageError
from openklear.objectives import policy
from openklear.objectives.catalog import more_inputs
from openklear.objectives.policy.custom import check, guarded


def ratio(logprobs, old_logprobs):
    return (logprobs - old_logprobs).exp()


def capped(logprobs, old_logprobs, advantages, *, loss_mask, cap, floor=0.0):
    return -ratio(logprobs, old_logprobs).clamp(floor, cap) * advantages


def without_mask(logprobs, old_logprobs, advantages):
    return -advantages * logprobs


def told_everything(logprobs, old_logprobs, advantages, *, loss_mask, segment_ids, correct, **numbers):
    assert (logprobs.shape, correct.dtype, segment_ids.dtype) == ((2, 4), torch.bool, torch.int64)
    return -logprobs * numbers["scale"] * correct


def short(logprobs, old_logprobs, advantages, *, loss_mask):
    return (-advantages * logprobs)[:, 1:]


def mean(logprobs, old_logprobs, advantages, *, loss_mask):
    return (-advantages * logprobs)[loss_mask].mean().item()


def infinite(logprobs, old_logprobs, advantages, *, loss_mask):
    return -advantages * logprobs / (logprobs - old_logprobs)


def infinitely_steep(logprobs, old_logprobs, advantages, *, loss_mask):
    return -advantages * (logprobs - old_logprobs).abs().sqrt()


def constant(logprobs, old_logprobs, advantages, *, loss_mask):
    return -advantages * ratio(logprobs, old_logprobs).detach()


def flat(logprobs, old_logprobs, advantages, *, loss_mask):
    return advantages * (logprobs - old_logprobs).square()


def broken(logprobs, old_logprobs, advantages, *, loss_mask):
    raise RuntimeError("no such column")


def test_a_loss_that_can_be_trained_with_passes():
    check(capped, "own:capped", {"cap": 2.0})
    check(capped, "own:capped", {"cap": 2.0, "floor": 0.5})
    check(told_everything, "own:told", {"scale": 0.5})
    for name, loss in policy.OBJECTIVES.items():
        check(loss, name, {})


@pytest.mark.parametrize(
    ("loss", "arguments", "words"),
    [
        (capped, {}, "missing a required argument: 'cap'"),
        (capped, {"cap": 2.0, "top": 1.0}, "got an unexpected keyword argument 'top'"),
        (capped, {"cap": 2.0, "loss_mask": 1.0}, "loss_mask is given to every loss; take it out of arguments"),
        (without_mask, {}, "got an unexpected keyword argument 'loss_mask'"),
        (
            short,
            {},
            r"own:f returned shape \(2, 3\); return the loss of each token, a tensor of shape \(B, T\) = \(2, 4",
        ),
        (mean, {}, "own:f returned a float; return the loss of each token"),
        (infinite, {}, "the loss of a token with r = 1 and A = 1 is -?inf; make it finite"),
        (infinitely_steep, {}, "the gradient of a token with r = 1 and A = 1 is nan; make it finite"),
        (constant, {}, "no gradient reaches logprobs"),
        (flat, {}, "its gradient is 0 wherever r = 1"),
        (broken, {}, "own:f raised RuntimeError: no such column; fix the function"),
        (torch.add, {}, "its parameters cannot be read; wrap it in a Python function"),
    ],
)
def test_what_cannot_be_trained_with_is_refused(loss, arguments, words):
    with pytest.raises(UsageError, match=words):
        check(loss, "own:f", arguments)


def test_a_guarded_loss_is_the_loss_itself():
    """With its parameters, so that what it reads can still be told from them."""
    logprobs, old, advantages = torch.randn(3, 2, 4)
    assert torch.equal(guarded(policy.gppo, "x")(logprobs, old, advantages), policy.gppo(logprobs, old, advantages))
    assert more_inputs(guarded(policy.topr, "x")) == ("correct",)
    with pytest.raises(UsageError, match=r"x returned shape \(2, 3\)"):
        guarded(short, "x")(logprobs, old, advantages, loss_mask=None)
