"""Ids beyond the tokenizer have no probability, in the sampler and in the trainer."""

import numpy as np
import pytest
import torch
from tests.models.architectures import make

from openklear.models.loading import load_model, save_model
from openklear.models.logprobs import sequence_logprobs
from openklear.models.vocabulary import known_ids
from openklear.rollout.local import LocalSampler
from openklear.types import SampleRequest

MORE = 40


@pytest.fixture(scope="module")
def padded(tmp_path_factory):
    """Its 40 rows beyond the tokenizer would win every draw."""
    made = make("qwen3 tied")
    known = len(made.tokenizer)
    wide = make("qwen3 tied", vocab_size=known + MORE)
    with torch.no_grad():
        wide.model.get_input_embeddings().weight[known:] = 20.0
    directory = tmp_path_factory.mktemp("padded") / "model"
    save_model(wide, directory)
    return load_model(directory)


def test_what_is_known(padded, tmp_path):
    assert known_ids(padded.model) == len(padded.tokenizer)
    made = make("qwen3 tied")
    assert known_ids(made.model) is None
    save_model(made, tmp_path / "model")
    assert known_ids(load_model(tmp_path / "model").model) is None


def test_none_is_sampled_and_log_probabilities_are_over_the_rest(padded):
    known = len(padded.tokenizer)
    requests = [SampleRequest((5, 6, 7 + i), i, 30) for i in range(12)]
    found = LocalSampler(padded.model, end_ids=padded.end_ids, slots=5).sample(requests)
    for request, completion in zip(requests, found, strict=True):
        assert completion.token_ids.max() < known
        ids = torch.tensor([[*request.prompt_ids, *completion.token_ids.tolist()]])
        with torch.no_grad():
            logits = padded.model(ids).logits[0, 2:-1, :known].double()
        expected = torch.log_softmax(logits, -1).gather(1, ids[0, 3:, None])[:, 0]
        np.testing.assert_allclose(completion.logprobs, expected.numpy(), atol=1e-4)
        mask = torch.arange(ids.shape[1])[None] >= 3
        logprobs, entropies = sequence_logprobs(padded.model, ids, mask)
        torch.testing.assert_close(logprobs[mask].double(), expected, atol=1e-4, rtol=0)
        p = torch.softmax(logits, -1)
        torch.testing.assert_close(entropies[mask].double(), -(p * p.log()).sum(-1), atol=1e-4, rtol=1e-4)


def test_the_gradient_is_that_of_a_head_without_them():
    made = make("llama")
    known = len(made.tokenizer)
    ids = torch.randint(5, known, (2, 9), generator=torch.Generator().manual_seed(0))
    mask = torch.arange(9).expand(2, 9) >= 3
    gradients = {}
    for name in ("cut", "marked"):
        model = make("llama", vocab_size=known + MORE).model
        if name == "cut":
            model.resize_token_embeddings(known)
        else:
            model.openklear_known_ids = known
        sequence_logprobs(model, ids, mask)[0].sum().backward()
        gradients[name] = {n: p.grad for n, p in model.named_parameters()}
    for name, gradient in gradients["marked"].items():
        expected = gradients["cut"][name]
        torch.testing.assert_close(gradient[: len(expected)], expected)
        assert not gradient[len(expected) :].any()
