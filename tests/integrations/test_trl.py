"""The TRL plug-in inside TRL: real trainers, its own steps, its own loop, on a model of a few weights."""

import dataclasses
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

pytest.importorskip("trl", reason="TRL is not installed: nothing shows that GPPO trains inside it (pip install trl)")

from datasets import Dataset
from transformers import TrainerCallback
from trl import GRPOConfig, GRPOTrainer

from openklear.conformance import trl as adapter
from openklear.errors import UsageError
from openklear.integrations import trl as plugin
from openklear.integrations.trl import GPPOConfig, GPPOTrainer, StepTotals
from openklear.models.tiny import make_tiny
from openklear.objectives.policy import OBJECTIVES

LENGTHS = (9, 1, 4, 7, 2, 9, 3, 6)
CORRECT = torch.tensor([True, False, False, True, True, False, False, False])
WIDTH, PROMPT, VOCABULARY = max(LENGTHS), 3, 90


@pytest.fixture(autouse=True)
def quiet(monkeypatch):
    monkeypatch.setenv("CI", "1")  # TRL then sends no word about its trainers over the network


def share_of_digits(completions, **_):
    return [sum(c.isdigit() for c in text) / max(len(text), 1) for text in completions]


def has_a_vowel(completions, **_):
    return [any(c in "aeiou" for c in text) for text in completions]


def make(folder, *, ours=True, verdict=None, reward=share_of_digits, evaluated=False, callbacks=(), **settings):
    """A real trainer on a tiny Qwen3, quiet and offline; `settings` are those of its config."""
    base = {
        "output_dir": str(folder),
        "use_cpu": True,
        "bf16": False,
        "report_to": "none",
        "log_level": "error",
        "disable_tqdm": True,
        "save_strategy": "no",
        "logging_steps": 1,
        "seed": 5,
        "per_device_train_batch_size": 8,
        "per_device_eval_batch_size": 8,
        "num_generations": 4,
        "max_completion_length": 12,
        "max_steps": 1,
        "lr_scheduler_type": "constant",
    }
    loaded = make_tiny(16, 1, 2, 64, seed=3)
    config, trainer = (GPPOConfig, GPPOTrainer) if ours else (GRPOConfig, GRPOTrainer)
    prompts = [f"{a}+{b}=" for a in range(4) for b in range(4)]
    data = Dataset.from_dict({"prompt": prompts, "answer": list(range(16))})
    more = {"verdict": verdict} if ours else {}
    return trainer(
        loaded.model,
        reward,
        config(**(base | settings)),
        train_dataset=data,
        eval_dataset=data.select(range(2)) if evaluated else None,
        processing_class=loaded.tokenizer,
        callbacks=list(callbacks),
        **more,
    )


def rollouts(seed=0, dtype=torch.float32):
    """Eight ragged completions as TRL hands them on, of old log-probabilities that put many tokens outside the band."""
    generator = torch.Generator().manual_seed(seed)
    mask = torch.arange(WIDTH) < torch.tensor(LENGTHS)[:, None]
    return {
        "prompt_ids": torch.randint(7, VOCABULARY, (8, PROMPT), generator=generator),
        "prompt_mask": torch.ones(8, PROMPT, dtype=torch.long),
        "completion_ids": torch.randint(7, VOCABULARY, (8, WIDTH), generator=generator).where(mask, torch.tensor(0)),
        "completion_mask": mask.long(),
        "advantages": torch.tensor([1.0, -1.0, 0.5, -0.5, 1.5, -1.5, 0.25, -2.0], dtype=dtype),
        "num_items_in_batch": mask.sum(),
        "old_per_token_logps": -5.5 + torch.randn(8, WIDTH, generator=generator, dtype=torch.float64).to(dtype),
    }


def cut(batch, rows):
    return {key: t[list(rows)] if t.ndim else t for key, t in batch.items()}


# Through TRL's own steps, on given log-probabilities


def through_the_trainer(trainer, logprobs, batch, split):
    """(loss, d loss / d logprobs) of one optimizer step; the forward pass gives rows of `logprobs`."""
    trainer.model.train()
    trainer.current_gradient_accumulation_steps = len(split)
    leaf = logprobs.clone().requires_grad_()
    microbatches = [cut(batch, rows) for rows in split]
    chosen = iter([list(rows) for rows in split])

    def forward(*_, **__):
        rows = next(chosen)
        return leaf[rows], torch.full_like(leaf[rows], 2.0), None

    trainer._get_per_token_logps_and_entropies = forward
    more = {"step_totals": trainer.totals_of(microbatches)} if isinstance(trainer, GPPOTrainer) else {}
    loss = torch.stack([trainer._compute_loss(trainer.model, m | more) for m in microbatches]).sum()
    return float(loss.detach()), torch.autograd.grad(loss, leaf)[0]


def oracle(objective, logprobs, batch, weight=0.0, **numbers):
    """Written out: the mean over the step's tokens, plus the mean of -log pi over those of correct completions."""
    leaf = logprobs.clone().requires_grad_()
    mask = batch["completion_mask"].bool() & batch.get("tool_mask", batch["completion_mask"]).bool()
    advantages = batch["advantages"][:, None].expand_as(leaf)
    losses = OBJECTIVES[objective](leaf, batch["old_per_token_logps"], advantages, loss_mask=mask, **numbers)
    loss = losses[mask].sum() / mask.sum()
    imitated = mask & batch["correct"][:, None] if "correct" in batch else torch.zeros_like(mask)
    if weight and imitated.any():
        loss = loss - weight * leaf[imitated].mean()
    return float(loss.detach()), torch.autograd.grad(loss, leaf)[0]


def given(seed=1):
    """Log-probabilities for `rollouts` in float64, NaN outside the mask."""
    batch = rollouts(dtype=torch.float64)
    logprobs = -5.5 + torch.randn(8, WIDTH, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    hidden = batch["completion_mask"] == 0
    batch["old_per_token_logps"][hidden] = torch.nan
    logprobs[hidden] = torch.nan
    return logprobs, batch


SPLITS = [(tuple(range(8)),), ((0, 1), (2, 3), (4, 5), (6, 7)), ((0, 1, 2), (3,), (4, 5, 6, 7))]


@pytest.mark.parametrize("split", SPLITS, ids=len)
@pytest.mark.parametrize(
    ("objective", "numbers"),
    [
        ("gppo", {}),
        ("gppo", {"clip_low": 0.1, "clip_high": 0.5, "beta_low": 0.5, "beta_high": 0.25, "dual_clip": 3.0}),
        ("ce_gppo", {}),
    ],
)
def test_value_and_gradient_are_the_objectives(tmp_path, objective, numbers, split):
    logprobs, batch = given()
    value, gradient = through_the_trainer(make(tmp_path, objective=objective, **numbers), logprobs, batch, split)
    wanted, slopes = oracle(objective, logprobs, batch, **numbers)
    assert value == pytest.approx(wanted, rel=1e-12)
    torch.testing.assert_close(gradient, slopes, rtol=1e-12, atol=0)
    assert not torch.equal(slopes, oracle("ppo_clip", logprobs, batch)[1]), "no token was clipped: nothing was shown"


def test_a_token_far_outside_the_band_keeps_a_finite_gradient(tmp_path):
    logprobs, batch = given()
    logprobs[0, 0], logprobs[1, 0] = batch["old_per_token_logps"][0, 0] + 100, batch["old_per_token_logps"][1, 0] - 1000
    value, gradient = through_the_trainer(make(tmp_path), logprobs, batch, SPLITS[1])
    assert abs(value) < 10
    assert float(gradient[0, 0]) == pytest.approx(-1.0 * 1.28 / sum(LENGTHS))
    assert float(gradient[1, 0]) == pytest.approx(+1.0 * 0.8 / sum(LENGTHS))


def test_what_is_not_the_loss_stays_trls(tmp_path):
    """Inside the band GPPO is PPO's clip: there KL, vLLM's correction, tool masks and entropy bonus give TRL's loss."""
    logprobs, batch = given()
    hidden = batch["completion_mask"] == 0
    logprobs[hidden] = batch["old_per_token_logps"][hidden] = -5.0  # TRL's own loss must stay finite to compare
    batch["old_per_token_logps"] = logprobs - 0.1 * torch.tanh(logprobs)
    noise = torch.rand(3, 8, WIDTH, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    batch |= {"ref_per_token_logps": logprobs + noise[0] - 0.5, "importance_sampling_ratio": noise[1] + 0.5}
    batch |= {"tool_mask": (noise[2] > 0.3).long()}
    batch["num_items_in_batch"] = (batch["completion_mask"] * batch["tool_mask"]).sum()
    for corrected in (True, False):
        found = []
        for ours in (True, False):
            trainer = make(
                tmp_path / str(ours),
                ours=ours,
                entropy_coef=0.01,
                use_bias_correction_kl=corrected,
                gradient_accumulation_steps=1,
            )
            trainer.beta, trainer.use_vllm = 0.2, True
            found.append(through_the_trainer(trainer, logprobs, batch, [tuple(range(8))]))
        (value, gradient), (wanted, slopes) = found
        assert value == pytest.approx(wanted, rel=1e-10)
        torch.testing.assert_close(gradient, slopes, rtol=1e-8, atol=1e-12)
        assert abs(value - oracle("gppo", logprobs, batch)[0]) > 1e-2, "none of it counted"


def test_vllms_correction_weighs_the_policy_loss_alone(tmp_path):
    logprobs, batch = given()
    batch |= {"correct": CORRECT, "importance_sampling_ratio": torch.full((8, 1), 0.5, dtype=torch.float64)}
    trainer = make(tmp_path, verdict=has_a_vowel, sft_loss_weight=0.1)
    half = through_the_trainer(trainer, logprobs, batch, SPLITS[1])[1]
    policy = oracle("gppo", logprobs, batch)[1]
    joint = oracle("gppo", logprobs, batch, weight=0.1)[1]
    torch.testing.assert_close(half, joint - policy / 2, rtol=1e-12, atol=1e-15)


# The joint loss


@pytest.mark.parametrize("split", SPLITS, ids=len)
def test_the_joint_loss_is_the_mean_over_tokens_of_correct_completions(tmp_path, split):
    logprobs, batch = given()
    batch["correct"] = CORRECT
    trainer = make(tmp_path, verdict=has_a_vowel, sft_loss_weight=0.1)
    value, gradient = through_the_trainer(trainer, logprobs, batch, split)
    wanted, slopes = oracle("gppo", logprobs, batch, weight=0.1)
    assert value == pytest.approx(wanted, rel=1e-12)
    torch.testing.assert_close(gradient, slopes, rtol=1e-12, atol=0)
    wrong_rows = gradient[~CORRECT]
    assert torch.equal(wrong_rows, oracle("gppo", logprobs, batch)[1][~CORRECT]), "a wrong completion was imitated"


def test_the_joint_loss_is_zero_when_nothing_is_correct(tmp_path):
    logprobs, batch = given()
    batch["correct"] = torch.zeros(8, dtype=torch.bool)
    trainer = make(tmp_path, verdict=has_a_vowel, sft_loss_weight=0.1)
    value, gradient = through_the_trainer(trainer, logprobs, batch, SPLITS[1])
    wanted, slopes = oracle("gppo", logprobs, batch)
    assert value == pytest.approx(wanted, rel=1e-12)
    torch.testing.assert_close(gradient, slopes, rtol=1e-12, atol=0)


class Watched(GPPOTrainer):
    """Keeps what its loss was given."""

    def _compute_loss(self, model, inputs):
        self.__dict__.setdefault("seen", []).append(inputs)
        return super()._compute_loss(model, inputs)


def test_verdicts_reach_the_rows_they_were_given_for(tmp_path, monkeypatch):
    """TRL shuffles a generation batch before it splits it. None is not imitated; dataset columns arrive."""
    monkeypatch.setattr(sys.modules[__name__], "GPPOTrainer", Watched)
    asked = []

    def verdict(prompts, completions, completion_ids, answer, trainer_state, **_):
        assert len(prompts) == len(answer) == len(completion_ids) == 16
        answers = [None if any(v in c for v in "vwxyz") else any(v in c for v in "aeiou") for c in completions]
        asked.append((list(completions), answers))
        return answers

    settings = {"per_device_train_batch_size": 4, "gradient_accumulation_steps": 2, "steps_per_generation": 4}
    trainer = make(tmp_path, verdict=verdict, sft_loss_weight=0.1, max_steps=8, temperature=1.0, **settings)
    trainer.train()
    said = {text: answer is True for texts, answers in asked for text, answer in zip(texts, answers, strict=True)}
    assert {None, True, False} == {answer for _, answers in asked for answer in answers}
    for inputs in trainer.seen:
        texts = trainer.processing_class.batch_decode(inputs["completion_ids"], skip_special_tokens=True)
        assert inputs["correct"].tolist() == [said[text] for text in texts]
    assert len(trainer.seen) == 16
    for pair in zip(trainer.seen[::2], trainer.seen[1::2], strict=True):  # an optimizer step
        tokens = sum(int(inputs["completion_mask"].sum()) for inputs in pair)
        correct = sum(int(inputs["completion_mask"][inputs["correct"]].sum()) for inputs in pair)
        assert [inputs["step_totals"] for inputs in pair] == [StepTotals(tokens, correct, 2)] * 2
    rows = [row for row in trainer.state.log_history if "verdict/correct" in row]
    shares = [sum(a is True for a in answers) / 16 for _, answers in asked]
    assert [row["verdict/correct"] for row in rows] == pytest.approx(shares)
    assert sum(row["verdict/unscorable"] for row in rows) > 0


def test_a_verdict_changes_nothing_when_the_joint_loss_has_no_weight(tmp_path):
    weights = []
    for verdict in (None, has_a_vowel):
        trainer = make(tmp_path, verdict=verdict, max_steps=4, learning_rate=0.01, num_iterations=2)
        trainer.train()
        weights.append([p.detach().clone() for p in trainer.model.parameters()])
    assert all(torch.equal(a, b) for a, b in zip(*weights, strict=True))
    assert "sft_loss" in trainer.state.log_history[0]


# Whole runs


class Snapshots(TrainerCallback):
    def __init__(self):
        self.weights, self.gradients = [], []

    def on_pre_optimizer_step(self, args, state, control, model=None, **_):
        self.gradients.append(torch.cat([p.grad.reshape(-1).clone() for p in model.parameters()]))

    def on_step_end(self, args, state, control, model=None, **_):
        self.weights.append(torch.cat([p.detach().reshape(-1).clone() for p in model.parameters()]))


def run(folder, **settings):
    watch = Snapshots()
    trainer = make(folder, callbacks=[watch], max_grad_norm=0.0, **settings)
    trainer.train()
    return trainer, watch


TWENTY = {"max_steps": 20, "num_iterations": 2, "learning_rate": 0.03}


def test_a_run_differs_from_trls_own_by_clipping_alone(tmp_path):
    trainer, gppo = run(tmp_path / "gppo", **TWENTY)
    theirs, dapo = run(tmp_path / "dapo", ours=False, epsilon=0.2, epsilon_high=0.28, **TWENTY)
    rows = [row for row in trainer.state.log_history if "kl_k3" in row]
    assert len(rows) == len(gppo.weights) == 20
    # The first update of a batch has r = 1 everywhere, and one denominator: TRL's gradient and ours are the same.
    torch.testing.assert_close(gppo.gradients[0], dapo.gradients[0], rtol=1e-5, atol=1e-8)
    torch.testing.assert_close(gppo.weights[0], dapo.weights[0], rtol=0, atol=1e-6)
    for row in rows[0::2]:
        assert row["kl_k3"] == 0
        assert row["clip_ratio/region_mean"] == 0
    # The second one has clipped tokens, whose gradient TRL drops.
    for row in rows[1::2]:
        assert row["clip_fraction_high_positive"] > 0
        assert row["clip_fraction_low_negative"] > 0
        assert row["preserved_gradient_share"] > 0
    for name in ("low_mean", "high_mean", "region_mean"):  # TRL's names mean the same in both
        name = f"clip_ratio/{name}"
        assert rows[1][name] == pytest.approx(theirs.state.log_history[1][name], abs=1e-6)
    assert rows[1]["clip_ratio/low_mean"] != rows[1]["clip_ratio/high_mean"]
    assert (gppo.gradients[1] - dapo.gradients[1]).norm() > 0.1 * dapo.gradients[1].norm()
    assert (gppo.weights[-1] - dapo.weights[-1]).abs().max() > 1e-2
    assert torch.isfinite(gppo.weights[-1]).all()


def test_without_a_band_the_run_is_trls_own(tmp_path):
    """The control of the test above: nothing but clipping sets them apart."""
    settings = TWENTY | {"learning_rate": 0.5, "optim": "sgd"}  # Adam would blow up the last bit of a gradient
    _, gppo = run(tmp_path / "gppo", clip_low=1.0, clip_high=1e9, **settings)
    _, dapo = run(tmp_path / "dapo", ours=False, epsilon=1.0, epsilon_high=1e9, **settings)
    assert (gppo.weights[-1] - gppo.weights[0]).abs().max() > 1e-2
    torch.testing.assert_close(gppo.weights[-1], dapo.weights[-1], rtol=0, atol=1e-5)


def test_a_step_without_a_token_leaves_the_weights(tmp_path):
    """Every completion is cut off and masked out: no token counts, and nothing is divided by zero."""
    trainer, watch = run(tmp_path, mask_truncated_completions=True, max_completion_length=1, max_steps=2, optim="sgd")
    assert [row["step_tokens"] for row in trainer.state.log_history if "step_tokens" in row] == [0, 0]
    assert not watch.gradients[0].any()


def test_evaluation_uses_its_own_counts(tmp_path):
    trainer = make(tmp_path, evaluated=True, verdict=has_a_vowel, sft_loss_weight=0.1)
    metrics = trainer.evaluate()
    assert metrics["eval_loss"] == pytest.approx(metrics["eval_policy_loss"] + 0.1 * metrics["eval_sft_loss"], abs=1e-6)
    assert metrics["eval_step_tokens"] == 8 * metrics["eval_completions/mean_length"]
    # The fresh model is all but uniform: a mean of -log pi over its own samples is near its entropy.
    assert metrics["eval_sft_loss"] == pytest.approx(metrics["eval_entropy"], rel=0.1)


# The law: the gradient of one optimizer step does not depend on how its tokens are split


@pytest.fixture
def fixed(monkeypatch):
    """TRL generates `rollouts()`; verdicts are CORRECT."""
    generate = lambda self, inputs: rollouts()  # noqa: E731
    monkeypatch.setattr(GRPOTrainer, "_generate_and_score_completions", generate)
    said = GPPOTrainer.__init__

    def start(self, *args, **kwargs):
        said(self, *args, **kwargs)
        self._correct = CORRECT

    monkeypatch.setattr(GPPOTrainer, "__init__", start)


def first_step(folder, accumulation, **settings):
    """(gradient of the first optimizer step, its logged numbers) with eight rows in so many micro-batches."""
    rows = {"per_device_train_batch_size": 8 // accumulation, "gradient_accumulation_steps": accumulation}
    trainer, watch = run(folder, learning_rate=0.0, num_iterations=2, **rows, **settings)
    return watch.gradients[0], trainer.state.log_history[0]


def apart(gradient, other):
    return float((gradient - other).norm() / other.norm())


JOINT = {"verdict": has_a_vowel, "sft_loss_weight": 0.1}


def test_the_gradient_of_a_step_does_not_depend_on_its_micro_batches(tmp_path, fixed):
    whole, shown = first_step(tmp_path, 1, **JOINT)
    for accumulation in (2, 4):
        gradient, row = first_step(tmp_path, accumulation, **JOINT)
        assert apart(gradient, whole) < 1e-6
        for name in (
            "loss",
            "step_tokens",
            "policy_loss",
            "sft_loss",
            "kl_k3",
            "ess",
            "preserved_gradient_share",
            "entropy",
        ):
            assert row[name] == pytest.approx(shown[name], rel=1e-5), name
        for name in (n for n in shown if n.startswith("clip_")):
            assert row[name] == shown[name], name
    assert shown["step_tokens"] == sum(LENGTHS)
    assert shown["clip_fraction_high_positive"] > 0.05
    assert shown["clip_fraction_low_negative"] > 0.05


def test_the_law_can_be_broken(tmp_path, fixed):
    """The control: TRL's bnpo takes a mean a micro-batch, and the same check sees it."""
    whole = first_step(tmp_path, 1, ours=False, loss_type="bnpo")[0]
    assert apart(first_step(tmp_path, 4, ours=False, loss_type="bnpo")[0], whole) > 0.1


def test_a_step_is_the_mean_over_its_own_tokens(tmp_path, fixed):
    """Two optimizer steps out of one generation batch: dapo divides both by half of its tokens, not by their own."""
    settings = {"per_device_train_batch_size": 4, "steps_per_generation": 2, "learning_rate": 0.0, "max_steps": 4}
    gradients, tokens = {}, {}
    for name, more in {"ours": {}, "dapo": {"ours": False, "epsilon": 1.0, "epsilon_high": 1e9}}.items():
        band = {"clip_low": 1.0, "clip_high": 1e9} if name == "ours" else {}
        trainer, watch = run(tmp_path / name, **settings, **more, **band)
        gradients[name] = watch.gradients
        tokens[name] = [row["step_tokens"] for row in trainer.state.log_history if "step_tokens" in row]
    first, second = tokens["ours"][:2]
    assert first + second == sum(LENGTHS)
    assert first != second
    for step, own in enumerate(tokens["ours"][:2]):
        dapo = gradients["dapo"][step] * (sum(LENGTHS) / 2) / own
        assert apart(gradients["ours"][step], dapo) < 1e-5
    # Added up as sums over tokens, both steps are the whole batch.
    total = sum(g * n for g, n in zip(gradients["ours"][:2], tokens["ours"][:2], strict=True)) / sum(LENGTHS)
    whole = first_step(tmp_path / "whole", 1, clip_low=1.0, clip_high=1e9)[0]
    assert apart(total, whole) < 1e-5


def test_a_step_may_hold_a_generation_batch_twice(tmp_path, fixed):
    settings = {"per_device_train_batch_size": 4, "gradient_accumulation_steps": 4, "steps_per_generation": 2}
    trainer, watch = run(tmp_path, num_iterations=2, learning_rate=0.0, **settings, **JOINT)
    assert trainer.state.log_history[0]["step_tokens"] == 2 * sum(LENGTHS)
    assert apart(watch.gradients[0], first_step(tmp_path, 1, **JOINT)[0]) < 1e-6


@pytest.mark.long
def test_two_processes_give_the_gradient_of_one(tmp_path, fixed):
    """Each holds half of the rows; DDP averages their gradients. In processes of their own, over gloo."""
    environment = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()), "WORLD_SIZE": "2"}
    root = Path(__file__).parents[2]
    paths = {"PYTHONPATH": f"{root / 'src'}:{root}", "OMP_NUM_THREADS": "1", "CI": "1"}
    started = [
        subprocess.Popen(
            [sys.executable, __file__, str(tmp_path)],
            env=os.environ | environment | paths | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in range(2)
    ]
    for process in started:
        said, _ = process.communicate(timeout=120)
        assert process.returncode == 0, said
    gradient, shown = torch.load(tmp_path / "rank0.pt")
    whole, row = first_step(tmp_path, 1, **JOINT)
    assert apart(gradient, whole) < 1e-6
    assert shown["step_tokens"] == sum(LENGTHS)
    for name in ("policy_loss", "sft_loss", "clip_fraction_low_negative", "preserved_gradient_share"):
        assert shown[name] == pytest.approx(row[name], rel=1e-5), name


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def one_of_two(folder):
    """What each of the two processes does."""
    rank = int(os.environ["RANK"])
    mine = slice(0, 3) if rank == 0 else slice(3, 8)  # of unequal sizes
    batch = {key: t[mine] if t.ndim else t for key, t in rollouts().items()}
    GRPOTrainer._generate_and_score_completions = lambda self, inputs: batch
    watch = Snapshots()
    settings = {"per_device_train_batch_size": 4, "num_iterations": 2, "learning_rate": 0.0, "max_grad_norm": 0.0}
    trainer = make(Path(folder) / "out", callbacks=[watch], **settings, **JOINT)
    trainer._correct = CORRECT[mine]
    trainer.train()
    assert trainer.accelerator.num_processes == 2
    torch.save((watch.gradients[0], trainer.state.log_history[0]), Path(folder) / f"rank{rank}.pt")


# With a real forward pass


def test_log_probabilities_are_those_of_the_completions(tmp_path, fixed):
    """The gradient by the weights of the model, from its logits and the objective alone."""
    found = first_step(tmp_path, 2, **JOINT)[0]
    model, batch = make_tiny(16, 1, 2, 64, seed=3).model, rollouts()
    ids = torch.cat([batch["prompt_ids"], batch["completion_ids"]], dim=1)
    attention = torch.cat([batch["prompt_mask"], batch["completion_mask"]], dim=1)
    logits = model(ids, attention_mask=attention).logits[:, PROMPT - 1 : -1]
    logprobs = logits.double().log_softmax(-1).gather(2, batch["completion_ids"][..., None])[..., 0]
    _, slopes = oracle("gppo", logprobs.detach(), batch | {"correct": CORRECT}, weight=0.1)
    logprobs.backward(slopes)
    wanted = torch.cat([p.grad.reshape(-1) for p in model.parameters()])
    assert apart(found, wanted) < 1e-6


# The conformance adapter


@dataclasses.dataclass
class Few:
    logprobs: torch.Tensor
    old_logprobs: torch.Tensor
    advantages: torch.Tensor
    mask: torch.Tensor


@pytest.mark.parametrize("objective", ["gppo", "ppo_clip"])
@pytest.mark.parametrize(("dtype", "bound"), [(torch.float64, 1e-12), (torch.float32, 1e-6)])
def test_the_adapter_measures_trls_loss(objective, dtype, bound):
    logprobs, batch = given()
    mask = batch["completion_mask"].bool()
    clean = [torch.where(mask, t, -5.0) for t in (logprobs, batch["old_per_token_logps"])]
    few = Few(clean[0].to(dtype), clean[1].to(dtype), batch["advantages"].to(dtype), mask)
    value, gradient = adapter.evaluate(objective, {"clip_low": 0.2, "clip_high": 0.28}, "token_mean", few, SPLITS[2])
    wanted, slopes = oracle(objective, logprobs, batch)
    assert gradient.dtype == dtype
    assert value == pytest.approx(wanted, rel=10 * bound)
    assert apart(gradient.double(), slopes) < bound


def test_the_adapter_says_what_trl_does_not_have():
    with pytest.raises(UsageError, match="TRL has no sapo with token_mean; it has sequence_mean"):
        adapter.evaluate("sapo", {}, "token_mean", Few(*[torch.zeros(1, 1)] * 4), ((0,),))
    assert adapter.peers()[0].version.count(".") >= 1


# Refusals


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"objective": "gpo"}, "'gpo' is not one of 'gppo', 'ce_gppo'"),
        ({"loss_type": "grpo"}, "loss_type: `objective` names the loss"),
        ({"epsilon": 0.1}, "write clip_low and clip_high"),
        ({"epsilon_high": 0.28}, "write clip_high"),
        ({"delta": 4.0}, "write dual_clip"),
        ({"importance_sampling_level": "sequence"}, "importance_sampling_level"),
        ({"top_entropy_quantile": 0.2}, "top_entropy_quantile"),
        ({"off_policy_mask_threshold": 0.5}, "off_policy_mask_threshold"),
        ({"use_adaptive_entropy": True}, "a constant entropy_coef works"),
        ({"sapo_temperature_neg": 2.0}, "sapo_temperature_neg: it belongs to another loss"),
        ({"vespo_k_pos": 1.0}, "vespo_k_pos"),
        ({"objective": "ce_gppo", "dual_clip": 3.0}, "has no dual_clip"),
        ({"clip_low": 1.5}, "clip_low = 1.5"),
        ({"clip_high": -0.1}, "clip_high = -0.1"),
        ({"beta_low": float("nan")}, "beta_low = nan"),
        ({"dual_clip": 0.9}, "dual_clip = 0.9"),
        ({"sft_loss_weight": -0.1}, "sft_loss_weight = -0.1"),
        ({"gradient_accumulation_steps": 4, "steps_per_generation": 2}, "Make steps_per_generation a multiple"),
    ],
    ids=str,
)
def test_options_that_would_be_ignored_or_are_impossible(tmp_path, settings, says):
    with pytest.raises(UsageError, match=".*".join(says.split(" | "))):
        make(tmp_path, **settings)


def test_an_option_that_a_later_trl_reads_in_its_loss_is_refused_too(tmp_path, monkeypatch):
    def later(self, model, inputs):
        return self.args.max_grad_norm

    monkeypatch.setattr(GRPOTrainer, "_compute_loss", later)
    with pytest.raises(UsageError, match="would ignore max_grad_norm"):
        make(tmp_path, max_grad_norm=0.5)


def test_the_published_numbers_are_the_defaults(tmp_path):
    config = {"output_dir": str(tmp_path), "use_cpu": True, "bf16": False, "report_to": "none"}
    plain = GPPOConfig(**config).numbers()
    assert plain == {"clip_low": 0.2, "clip_high": 0.28, "beta_low": 1.0, "beta_high": 1.0, "dual_clip": None}
    ce = GPPOConfig(**config, objective="ce_gppo", beta_low=0.5).numbers()
    assert ce == {"clip_low": 0.2, "clip_high": 0.2, "beta_low": 0.5, "beta_high": 1.0}


def test_the_joint_loss_needs_a_verdict(tmp_path):
    with pytest.raises(UsageError, match=r"verdict=f"):
        make(tmp_path, sft_loss_weight=0.1)


async def later(completions, **_):
    return [True] * len(completions)


@pytest.mark.parametrize(
    ("verdict", "says"),
    [
        (share_of_digits, "of type float. A reward is not a verdict"),
        (lambda completions, **_: [True], "for each of 8 completions, and returned 1 answers"),
        (lambda completions, **_: [1] * len(completions), "of type int"),
    ],
)
def test_a_reward_is_not_a_verdict(tmp_path, verdict, says):
    with pytest.raises(UsageError, match=says):
        make(tmp_path, verdict=verdict).train()


def test_other_arguments_that_cannot_be_meant(tmp_path):
    with pytest.raises(UsageError, match="ordinary function"):
        make(tmp_path, verdict=later)
    with pytest.raises(UsageError, match=r"args=GPPOConfig\(\.\.\.\), not GRPOConfig"):
        GPPOTrainer(None, share_of_digits, GRPOConfig(output_dir=str(tmp_path), use_cpu=True, bf16=False))


def test_a_trl_without_the_hooks_is_refused_aloud():
    class Renamed(GRPOTrainer):
        def _prepare_inputs(self, batch):
            return batch

    plugin.check_hooks(GRPOTrainer, "1.16.0")
    with pytest.raises(ImportError, match=r"needs trl>=1.16 and found trl 1.15.2.*a version of 1.16 or later"):
        plugin.check_hooks(GRPOTrainer, "1.15.2")
    with pytest.raises(ImportError, match=r"found trl 2.0.*_prepare_inputs\(self, generation_batch\).*pip install"):
        plugin.check_hooks(Renamed, "2.0.0.dev0")
    with pytest.raises(ImportError, match=r"loss_is_scaled_for_ga.*_buffered_inputs"):
        plugin.check_hooks(type("Bare", (), {}), "1.16.0")


def run_python(code):
    path = str(Path(__file__).parents[2] / "src")
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, env=os.environ | {"PYTHONPATH": path}
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_without_trl_the_import_says_so():
    code = """
import sys
sys.modules["trl"] = None
import openklear.integrations
try:
    import openklear.integrations.trl
except ImportError as error:
    print(error)
"""
    said = run_python(code)
    assert "needs trl>=1.16, which does not load" in said
    assert "pip install 'openklear[trl]'" in said


def test_the_losses_bring_in_no_other_package():
    code = """
import sys
import torch
before = set(sys.modules)
import openklear.integrations, openklear.integrations.trl_loss
print(*sorted({name.partition(".")[0] for name in set(sys.modules) - before} - set(sys.stdlib_module_names)))
"""
    assert run_python(code).split() == ["openklear"]


if __name__ == "__main__":
    one_of_two(sys.argv[1])
