"""The local engine against teacher-forced forwards and Hugging Face's own greedy generation."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from openklear.errors import EngineError, ModelError
from openklear.models.tiny import make_tiny
from openklear.rollout.lean import LeanDecoder
from openklear.rollout.local import LocalSampler
from openklear.rollout.seeds import uniforms
from openklear.types import Completion, SampleRequest, StopReason

NO_END: frozenset[int] = frozenset()


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module", params=["qwen3", "llama"])
def model(request):
    if request.param == "qwen3":
        built = make_tiny(32, 2, 4, 128, seed=1).model
        with torch.no_grad():  # sharper logits than at the start of training: mistakes of a position show
            for parameter in built.parameters():
                parameter.mul_(2.0 if parameter.ndim > 1 else 1.0)
        return built
    torch.manual_seed(5)
    config = LlamaConfig(
        vocab_size=61, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=1, max_position_embeddings=128, initializer_range=0.3, pad_token_id=0,
    )  # fmt: skip
    return LlamaForCausalLM(config).eval()


def requests(count: int, *, seed: int = 0, vocabulary: int = 61, **changes: object) -> list[SampleRequest]:
    """Ragged prompts and ragged lengths."""
    rng = np.random.default_rng(seed)
    made = []
    for key in range(count):
        prompt = tuple(rng.integers(3, vocabulary, rng.integers(1, 40)).tolist())
        made.append(SampleRequest(prompt, key + 1000 * seed, int(rng.integers(1, 50))))
    return [replace(request, **changes) for request in made]


def teacher_forced(model, request: SampleRequest, completion: Completion) -> np.ndarray:
    """Log-probabilities of the completion by one uncached forward, without anything of the engine's."""
    ids = torch.tensor([[*request.prompt_ids, *completion.token_ids.tolist()]])
    with torch.no_grad():
        logits = model(input_ids=ids, use_cache=False).logits[0].double() / request.temperature
    rows = torch.arange(len(request.prompt_ids) - 1, ids.shape[1] - 1)
    return torch.log_softmax(logits, -1)[rows, ids[0, rows + 1]].numpy()


def in_double(model):
    """A copy that computes in float64 everywhere: transformers' own norms go through float32 whatever the weights."""
    exact = deepcopy(model).double()
    for module in exact.modules():
        if type(module).__name__.endswith("RMSNorm"):
            module.forward = partial(exact_norm, module)
    return exact


def exact_norm(module, states):
    return torch.nn.functional.rms_norm(states, module.weight.shape, module.weight, module.variance_epsilon)


def assert_same(one: list[Completion], other: list[Completion], tolerance: float = 0.0) -> None:
    assert len(one) == len(other)
    for a, b in zip(one, other, strict=True):
        assert a.token_ids.tolist() == b.token_ids.tolist()
        assert a.stop_reason == b.stop_reason
        np.testing.assert_allclose(a.logprobs, b.logprobs, rtol=0, atol=tolerance)


def test_recorded_logprobs_are_those_of_a_teacher_forced_forward(model):
    asked = requests(24, temperature=0.7)
    asked[::3] = [replace(request, temperature=1.3) for request in asked[::3]]
    for request, completion in zip(asked, LocalSampler(model, end_ids=NO_END, slots=7).sample(asked), strict=True):
        assert completion.token_ids.dtype == np.int32
        assert completion.logprobs.dtype == np.float32
        assert len(completion.token_ids) == request.max_new_tokens
        assert completion.stop_reason is StopReason.LENGTH
        np.testing.assert_allclose(completion.logprobs, teacher_forced(model, request, completion), atol=1e-4)


def test_logprobs_are_the_trainers_whatever_the_batch_around_them():
    """To 1e-5 at the size and spread of weights that a model starts training with."""
    plain = make_tiny(64, 4, 4, 256, seed=3).model
    asked = requests(64, seed=2, vocabulary=270, max_new_tokens=90)
    for slots, some in ((64, asked), (5, asked[::-1]), (1, asked[:3])):
        for request, completion in zip(
            some, LocalSampler(plain, end_ids=NO_END, slots=slots).sample(some), strict=True
        ):
            np.testing.assert_allclose(
                completion.logprobs, teacher_forced(plain, request, completion), rtol=0, atol=1e-5
            )


def test_rounding_takes_them_no_further_from_the_exact_ones_than_the_trainers_own(model):
    """Sharp distributions magnify rounding in any float32 forward: float64 says which of two is nearer."""
    asked, exact = requests(48, seed=4, max_new_tokens=60), in_double(model)
    ours, trainers = [], []
    for request, completion in zip(asked, LocalSampler(model, end_ids=NO_END, slots=11).sample(asked), strict=True):
        true = teacher_forced(exact, request, completion)
        ours.append(np.abs(completion.logprobs - true))
        trainers.append(np.abs(teacher_forced(model, request, completion) - true))
    assert np.concatenate(ours).max() <= 2 * np.concatenate(trainers).max()
    assert np.concatenate(ours).mean() <= 2 * np.concatenate(trainers).mean() + 1e-7


def test_a_double_model_is_sampled_to_the_rounding_of_its_logits(model):
    """What is left when the layers do not round: logits and probabilities are float32."""
    exact, asked = in_double(model), requests(24, seed=5)
    for request, completion in zip(asked, LocalSampler(exact, end_ids=NO_END, slots=7).sample(asked), strict=True):
        np.testing.assert_allclose(completion.logprobs, teacher_forced(exact, request, completion), rtol=0, atol=1e-6)


def test_tiny_temperature_is_greedy_generation(model):
    asked = requests(6, seed=2, temperature=1e-6, max_new_tokens=20)
    end = int(LocalSampler(model, end_ids=NO_END, slots=2).sample(asked)[0].token_ids[7])
    for request, completion in zip(
        asked, LocalSampler(model, end_ids=frozenset({end}), slots=4).sample(asked), strict=True
    ):
        prompt = torch.tensor([request.prompt_ids])
        whole = model.generate(
            prompt, attention_mask=torch.ones_like(prompt), do_sample=False, max_new_tokens=20, eos_token_id=end
        )
        assert completion.token_ids.tolist() == whole[0, prompt.shape[1] :].tolist()


def test_temperature_zero_is_greedy_and_its_logprobs_are_the_models_own(model):
    """Beside sampled requests, whose bits it leaves alone; key and nucleus play no part."""
    asked = requests(12, seed=2, max_new_tokens=20, temperature=0.0, top_p=0.9)
    drawn = requests(12, seed=3, max_new_tokens=20, temperature=0.8)
    mixed = [one for pair in zip(asked, drawn, strict=True) for one in pair]
    engine = LocalSampler(model, end_ids=NO_END, slots=5)
    found = engine.sample(mixed)
    for request, completion in zip(asked, found[::2], strict=True):
        prompt = torch.tensor([request.prompt_ids])
        options = {"do_sample": False, "max_new_tokens": 20, "eos_token_id": None}
        whole = model.generate(prompt, attention_mask=torch.ones_like(prompt), **options)
        assert completion.token_ids.tolist() == whole[0, prompt.shape[1] :].tolist()
        own = teacher_forced(model, replace(request, temperature=1.0), completion)
        np.testing.assert_allclose(completion.logprobs, own, atol=1e-4)
    others = [replace(one, temperature=0.8) for one in asked]  # sampled ones among sampled ones: the same bits
    neighbours = [one for pair in zip(others, drawn, strict=True) for one in pair]
    assert_same(found[1::2], engine.sample(neighbours)[1::2])
    rekeyed = [replace(one, key=one.key + 1, top_p=0.5) for one in asked]
    assert_same(engine.sample(asked), engine.sample(rekeyed))


def test_tokens_are_the_inversion_of_the_uniform_of_key_and_position(model):
    asked = requests(12, seed=12, temperature=0.9)
    for request, completion in zip(asked, LocalSampler(model, end_ids=NO_END, slots=5).sample(asked), strict=True):
        ids = torch.tensor([[*request.prompt_ids, *completion.token_ids.tolist()]])
        with torch.no_grad():
            logits = model(input_ids=ids, use_cache=False).logits[0].double() / 0.9
        for position, token in enumerate(completion.token_ids.tolist()):
            edges = torch.softmax(logits[len(request.prompt_ids) - 1 + position], 0).cumsum(0)
            uniform = float(uniforms(np.array([request.key], np.uint64), np.array([position]))[0])
            assert (float(edges[token - 1]) if token else 0.0) - 1e-5 <= uniform <= float(edges[token]) + 1e-5


@pytest.mark.parametrize("slots", [1, 3, 64])
def test_the_number_of_slots_changes_no_token(model, slots):
    asked = requests(20, seed=3)
    assert_same(
        LocalSampler(model, end_ids=frozenset({9, 10}), slots=16).sample(asked),
        LocalSampler(model, end_ids=frozenset({9, 10}), slots=slots).sample(asked),
        tolerance=1e-4,
    )


def test_a_request_does_not_depend_on_its_neighbours(model):
    asked = requests(30, seed=4)
    engine = LocalSampler(model, end_ids=NO_END, slots=8)
    together = engine.sample(asked)
    assert_same([together[i] for i in (29, 3, 17)], engine.sample([asked[i] for i in (29, 3, 17)]), tolerance=1e-4)
    assert_same(together[::-1], engine.sample(asked[::-1]), tolerance=1e-4)


def test_the_same_call_twice_gives_the_same_bits(model):
    asked = requests(30, seed=5, top_p=0.9)
    engine = LocalSampler(model, end_ids=frozenset({4}), slots=8)
    assert_same(engine.sample(asked), engine.sample(asked), tolerance=0.0)


@pytest.mark.parametrize("slots", [2, 5, 64])
def test_groups_share_their_prompt(model, slots, monkeypatch):
    prompts = [request.prompt_ids for request in requests(6, seed=6)]
    lengths = np.random.default_rng(0).integers(1, 30, 48).tolist()
    asked = [SampleRequest(prompts[i // 8], i, lengths[i], temperature=0.8) for i in range(48)]
    engine = LocalSampler(model, end_ids=NO_END, slots=slots)
    prefilled: list[int] = []
    inner = LeanDecoder.prefill

    def counting(decoder, prompts, prefix=None):
        prefilled.append(len(prompts))
        return inner(decoder, prompts, prefix)

    monkeypatch.setattr(LeanDecoder, "prefill", counting)
    completions = engine.sample(asked)
    monkeypatch.undo()
    assert sum(prefilled) == 6  # each distinct prompt once
    for request, completion in zip(asked, completions, strict=True):
        np.testing.assert_allclose(completion.logprobs, teacher_forced(model, request, completion), atol=1e-4)
    first = [tuple(completions[i].token_ids.tolist()) for i in range(8)]
    assert len(set(first)) > 1  # the members of a group have keys of their own


def test_a_prompt_that_comes_back_after_its_slot_was_reused_is_prefilled_again(model):
    prompts = [request.prompt_ids for request in requests(5, seed=7)]
    asked = [SampleRequest(prompts[i % 5], i, 3 + i % 4) for i in range(20)]  # never two of a prompt in a row
    for request, completion in zip(asked, LocalSampler(model, end_ids=NO_END, slots=2).sample(asked), strict=True):
        np.testing.assert_allclose(completion.logprobs, teacher_forced(model, request, completion), atol=1e-4)


def test_a_copied_prompt_is_read_before_its_row_is_overwritten(model):
    first, other, between = (request.prompt_ids for request in requests(3, seed=13))
    # Both slots end at once; the first, which holds the prompt that the last request wants, is given to `between`.
    asked = [SampleRequest(prompt, key, 4) for key, prompt in enumerate((first, other, between, first))]
    for request, completion in zip(asked, LocalSampler(model, end_ids=NO_END, slots=2).sample(asked), strict=True):
        np.testing.assert_allclose(completion.logprobs, teacher_forced(model, request, completion), atol=1e-4)


def test_first_tokens_follow_the_softmax(model):
    prompt, n = (5, 6, 7, 8), 4000
    with torch.no_grad():
        expected = torch.softmax(model(input_ids=torch.tensor([prompt])).logits[0, -1].double(), 0).numpy() * n
    asked = [SampleRequest(prompt, key, 1) for key in range(n)]
    completions = LocalSampler(model, end_ids=NO_END, slots=256).sample(asked)
    observed = np.bincount([int(c.token_ids[0]) for c in completions], minlength=len(expected))
    frequent = expected >= 5  # the usual condition of the chi-square test; the rest is one cell
    cells = (
        np.append(expected[frequent], expected[~frequent].sum()),
        np.append(observed[frequent], observed[~frequent].sum()),
    )
    chi_square, freedom = float(((cells[1] - cells[0]) ** 2 / cells[0]).sum()), int(frequent.sum())
    assert abs(chi_square - freedom) < 3.3 * (2 * freedom) ** 0.5


def test_top_p_samples_inside_the_nucleus_and_records_its_logprobs(model):
    prompt = (5, 6, 7, 8)
    with torch.no_grad():
        probabilities = torch.softmax(model(input_ids=torch.tensor([prompt])).logits[0, -1].double(), 0)
    ordered = torch.sort(probabilities, descending=True)
    kept = int((ordered.values.cumsum(0) < 0.6).sum()) + 1
    nucleus = {
        int(i): float(p / ordered.values[:kept].sum())
        for i, p in zip(ordered.indices[:kept], ordered.values, strict=False)
    }
    asked = [SampleRequest(prompt, key, 1, top_p=0.6) for key in range(500)]
    for completion in LocalSampler(model, end_ids=NO_END, slots=128).sample(asked):
        assert float(np.exp(completion.logprobs[0])) == pytest.approx(nucleus[int(completion.token_ids[0])], abs=1e-5)


def test_stops_at_every_end_token_and_keeps_it(model):
    asked = requests(20, seed=8, max_new_tokens=40)
    free = LocalSampler(model, end_ids=NO_END, slots=6).sample(asked)
    ends = frozenset({int(free[0].token_ids[5]), int(free[1].token_ids[11])})
    for whole, cut in zip(free, LocalSampler(model, end_ids=ends, slots=6).sample(asked), strict=True):
        at = next((i for i, token in enumerate(whole.token_ids.tolist()) if token in ends), None)
        assert cut.stop_reason is (StopReason.LENGTH if at is None else StopReason.STOP)
        assert cut.token_ids.tolist() == whole.token_ids.tolist()[: 40 if at is None else at + 1]


def test_an_end_token_as_the_last_allowed_one_is_a_stop(model):
    request = SampleRequest((5, 6), 1, 1)
    token = int(LocalSampler(model, end_ids=NO_END, slots=1).sample([request])[0].token_ids[0])
    assert LocalSampler(model, end_ids=frozenset({token}), slots=1).sample([request])[0].stop_reason is StopReason.STOP


def test_completions_end_at_the_models_last_position(model):
    asked = [SampleRequest(tuple(range(3, 3 + n)), n, 500) for n in (40, 57)]
    asked.append(SampleRequest(tuple([5] * 127), 1, 500))
    completions = LocalSampler(model, end_ids=NO_END, slots=2).sample(asked)
    assert [len(c.token_ids) for c in completions] == [88, 71, 1]
    assert {c.stop_reason for c in completions} == {StopReason.LENGTH}
    for request, completion in zip(asked, completions, strict=True):
        np.testing.assert_allclose(completion.logprobs, teacher_forced(model, request, completion), atol=1e-4)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"max_new_tokens": 0}, "max_new_tokens is 0"),
        ({"prompt_ids": ()}, "no tokens"),
        ({"prompt_ids": (5,) * 128}, "128 tokens, and the model 128 positions"),
        ({"temperature": -0.1}, "temperature"),
        ({"temperature": float("nan")}, "temperature"),
        ({"top_p": 0.0}, "top_p"),
        ({"top_k": -1}, "top_k"),
        ({"min_p": 1.5}, "min_p"),
        ({"min_p": float("nan")}, "min_p"),
        ({"sampled": 1}, "sampled"),
        ({"sampled": -1}, "sampled"),
        ({"prompt_ids": (5, 10**6)}, "vocabulary"),
    ],
)
def test_impossible_requests_are_refused_before_anything_is_sampled(model, changes, message):
    asked = [*requests(3), replace(SampleRequest((5,), 0, 4), **changes)]
    calls: list[tuple[int, int]] = []
    with pytest.raises(EngineError, match=message) as raised:
        LocalSampler(model, end_ids=NO_END, slots=2).sample(asked, lambda *counts: calls.append(counts))
    assert "request 3" in str(raised.value)
    assert calls == []


def test_progress_adds_up_and_nothing_asked_is_nothing_done(model):
    asked = requests(25, seed=9)
    calls: list[tuple[int, int]] = []
    engine = LocalSampler(model, end_ids=NO_END, slots=4)
    completions = engine.sample(asked, lambda *counts: calls.append(counts))
    assert sum(finished for finished, _ in calls) == 25
    assert sum(tokens for _, tokens in calls) == sum(len(c.token_ids) for c in completions)
    assert engine.sample([]) == []


def test_completions_are_told_as_they_end(model):
    """Each once, with its index, long before the last one is sampled; and telling them changes no bit."""
    asked = requests(12)
    told = []
    engine = LocalSampler(model, end_ids=frozenset({9, 10}), slots=3)
    sampled = []
    made = engine.sample(asked, lambda done, tokens: sampled.append(done), lambda i, c: told.append((i, c)))
    assert sorted(index for index, _ in told) == list(range(12))
    for index, completion in told:
        assert completion is made[index]
    assert [index for index, _ in told] != list(range(12)), "short ones end first"
    assert_same(made, engine.sample(asked), tolerance=0.0)


def test_what_a_callback_raises_ends_the_sampling_and_the_model_is_as_before(model):
    engine, told = LocalSampler(model, end_ids=NO_END, slots=2), []
    asked = requests(8)
    before = engine.sample(asked)

    def interrupt(index, completion):
        told.append(index)
        if len(told) == 2:
            raise KeyboardInterrupt

    model.train()
    with pytest.raises(KeyboardInterrupt):
        engine.sample(asked, None, interrupt)
    assert model.training
    model.eval()
    assert len(told) == 2
    assert_same(before, engine.sample(asked), tolerance=0.0)


def test_the_model_is_left_as_it_was_and_its_current_weights_are_used(model):
    asked = requests(3, seed=10, max_new_tokens=5)
    engine = LocalSampler(model, end_ids=NO_END, slots=2)
    before = engine.sample(asked)
    model.train()
    weight = model.get_output_embeddings().weight
    try:
        with torch.no_grad():
            weight.mul_(0.5)
        after = engine.sample(asked)
        assert model.training
        for request, completion in zip(asked, after, strict=True):
            np.testing.assert_allclose(
                completion.logprobs, teacher_forced(model.eval(), request, completion), atol=1e-4
            )
        model(input_ids=torch.tensor([[5, 6]])).logits.sum().backward()  # nothing of inference mode stays behind
    finally:
        with torch.no_grad():
            weight.mul_(2.0)
        model.zero_grad()
        model.eval()
    assert_same(before, engine.sample(asked))


def test_diverged_weights_are_an_error(model):
    norm = model.base_model.norm.weight
    with torch.no_grad():
        kept = norm[0].clone()
        norm[0] = float("nan")
    try:
        with pytest.raises(EngineError, match="not finite"):
            LocalSampler(model, end_ids=NO_END, slots=2).sample(requests(3))
    finally:
        with torch.no_grad():
            norm[0] = kept


def test_architectures_that_would_be_sampled_wrongly_are_refused():
    model = make_tiny(32, 2, 4, 128, seed=1).model
    model.config.layer_types = ["full_attention", "sliding_attention"]
    with pytest.raises(ModelError, match="attention"):
        LocalSampler(model, end_ids=NO_END, slots=2)
    model.config.layer_types = ["full_attention"] * 2
    model.config.final_logit_softcapping = 30.0
    with pytest.raises(ModelError, match="final_logit_softcapping"):
        LocalSampler(model, end_ids=NO_END, slots=2)


def test_dropout_of_a_training_learner_does_not_reach_the_sampler():
    model = make_tiny(32, 2, 4, 128, seed=1).model
    asked = requests(4, seed=11)
    engine = LocalSampler(model, end_ids=NO_END, slots=2)
    before = engine.sample(asked)
    for module in model.modules():
        if hasattr(module, "attention_dropout"):
            module.attention_dropout = 0.5
    model.train()
    assert_same(before, engine.sample(asked))


def test_what_is_broken_off_goes_on_with_the_draws_it_would_have_had(model):
    asked = requests(20, seed=14, temperature=0.8)
    engine = LocalSampler(model, end_ids=frozenset({9, 10}), slots=6)
    whole, told, calls = engine.sample(asked), [], []
    steps = iter(range(1000))
    parts = engine.sample(
        asked, lambda *counts: calls.append(counts), lambda index, _: told.append(index), lambda: next(steps) >= 9
    )
    assert sum(tokens for _, tokens in calls) == sum(len(part.token_ids) for part in parts)
    broken = [index for index, part in enumerate(parts) if part.stop_reason is StopReason.PARTIAL]
    assert sorted([*told, *broken]) == list(range(20))
    assert {len(parts[index].token_ids) for index in broken} >= {0, 9}, "waiting ones are empty, running ones are not"
    rest = engine.sample([resumed(asked[index], parts[index]) for index in broken])
    for index, more in zip(broken, rest, strict=True):
        both = np.concatenate((parts[index].token_ids, more.token_ids))
        assert both.tolist() == whole[index].token_ids.tolist()
        assert more.stop_reason is whole[index].stop_reason
        logprobs = np.concatenate((parts[index].logprobs, more.logprobs))
        np.testing.assert_allclose(logprobs, whole[index].logprobs, atol=1e-4)


def resumed(request: SampleRequest, part: Completion) -> SampleRequest:
    made = tuple(part.token_ids.tolist())
    return replace(
        request,
        prompt_ids=request.prompt_ids + made,
        sampled=request.sampled + len(made),
        max_new_tokens=request.max_new_tokens - len(made),
    )


def test_each_token_says_the_version_it_was_drawn_from(model):
    engine = LocalSampler(model, end_ids=NO_END, slots=6)
    engine.publish(model, 7)
    for completion in engine.sample(requests(5)):
        assert completion.versions.dtype == np.int32
        assert completion.versions.tolist() == [7] * len(completion.token_ids)


def test_cut_distributions_record_the_logprobs_of_what_was_drawn(model):
    """Requests with other cuts side by side, each against a distribution cut here by hand."""
    changes = [{"top_k": 3}, {"min_p": 0.2}, {"top_k": 8, "top_p": 0.7}, {"min_p": 0.05, "top_p": 0.9}, {}]
    asked = [replace(one, temperature=0.7, **changes[i % 5]) for i, one in enumerate(requests(20, seed=15))]
    for request, completion in zip(asked, LocalSampler(model, end_ids=NO_END, slots=7).sample(asked), strict=True):
        ids = [*request.prompt_ids, *completion.token_ids.tolist()]
        with torch.no_grad():
            logits = model(input_ids=torch.tensor([ids]), use_cache=False).logits[0].double() / request.temperature
        for place, found in enumerate(completion.logprobs.tolist(), len(request.prompt_ids)):
            kept = cut_by_hand(torch.softmax(logits[place - 1], 0).tolist(), request)
            assert found == pytest.approx(float(np.log(kept[ids[place]] / sum(kept.values()))), abs=1e-4)


def cut_by_hand(probabilities: list[float], request: SampleRequest) -> dict[int, float]:
    ordered = sorted(enumerate(probabilities), key=lambda one: -one[1])
    ordered = [one for one in ordered if one[1] >= request.min_p * ordered[0][1]]
    ordered = ordered[: request.top_k or None]
    total, reached, kept = sum(share for _, share in ordered), 0.0, {}
    for token, share in ordered:
        if reached < request.top_p * total or request.top_p == 1.0:
            kept[token] = share
        reached += share
    return kept


def test_a_full_cache_sends_the_last_back_and_every_token_stays_what_it_was(model):
    """Room for about two sequences: requests lose their place and go on with the draws they would have had."""
    asked = requests(12, seed=16)
    need = max(len(request.prompt_ids) + request.max_new_tokens for request in asked)
    free, tight = (LocalSampler(model, end_ids=NO_END, slots=6, cache_tokens=most) for most in (None, 2 * need))
    assert_same(free.sample(asked), tight.sample(asked), tolerance=1e-4)
    with pytest.raises(EngineError, match=f"the cache holds {need - 1}: raise"):
        LocalSampler(model, end_ids=NO_END, slots=6, cache_tokens=need - 1).sample(asked)


def test_what_all_prompts_begin_with_is_computed_once(model, monkeypatch):
    common = tuple(range(3, 33))
    asked = [SampleRequest((*common, *one.prompt_ids), one.key, 8) for one in requests(9, seed=17)]
    computed = []
    inner = LeanDecoder.prefill

    def counting(decoder, prompts, prefix=None):
        known = 0 if prefix is None else prefix.tensors[0].shape[1]
        computed.append(sum(len(prompt) - known for prompt in prompts.values()))
        return inner(decoder, prompts, prefix)

    monkeypatch.setattr(LeanDecoder, "prefill", counting)
    found = LocalSampler(model, end_ids=NO_END, slots=9).sample(asked)
    assert computed == [30, sum(len(request.prompt_ids) - 30 for request in asked)]
    for request, completion in zip(asked, found, strict=True):
        np.testing.assert_allclose(completion.logprobs, teacher_forced(model, request, completion), atol=1e-4)


def test_transformers_own_forward_samples_the_same(model, monkeypatch):
    asked = requests(14, seed=18)
    lean = LocalSampler(model, end_ids=frozenset({9}), slots=5).sample(asked)
    monkeypatch.setattr("openklear.rollout.local.is_lean", lambda model: False)
    whole = LocalSampler(model, end_ids=frozenset({9}), slots=5).sample(asked)
    assert_same(lean, whole, tolerance=1e-4)
