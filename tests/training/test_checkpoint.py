"""Checkpoints: what stays, what is handed on, and that training goes on with the same bits."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from openklear.models.chat import EncodedDemonstration
from openklear.models.loading import load_model, weights_hash
from openklear.models.lora import add_adapters, plain_weights, trained_parameters
from openklear.models.tiny import make_tiny
from openklear.recipe.optimizers import AdamW, AdamW8bit, Lora, Muon
from openklear.recipe.schema import Checkpoints
from openklear.training import checkpoint
from openklear.training.checkpoint import Position
from openklear.training.optimizer import build_optimizer, clip_gradients
from openklear.training.step import supervised_gradient
from openklear.training.trainee import LocalTrainee


@pytest.fixture
def loaded():
    return make_tiny(16, 1, 2, 64, seed=0)


def step(loaded, optimizer, token):
    ids = np.array([5, token, token + 1, 7], dtype=np.int32)
    row = EncodedDemonstration(ids=ids, loss_mask=np.array([False, True, True, True]))
    optimizer.zero_grad()
    supervised_gradient(loaded.model, [row], [[0]])
    clip_gradients(loaded.model, 1.0)
    optimizer.set_learning_rate(0.01)
    optimizer.step()


@pytest.mark.parametrize("lora", [None, Lora(rank=4)], ids=["all", "adapters"])
@pytest.mark.parametrize("settings", [AdamW(), AdamW8bit(), Muon()], ids=lambda s: s.type)
def test_training_goes_on_with_the_same_bits(loaded, settings, lora, tmp_path):
    if lora is not None:
        add_adapters(loaded.model, lora, 0, "sft")
    optimizer = build_optimizer(loaded.model, settings)
    for token in (20, 30):
        step(loaded, optimizer, token)
    position = Position(at=2, updates=2, best_at=1, best_score=0.25, validations_since_best=1)
    checkpoint.save(tmp_path, position, LocalTrainee(loaded, optimizer), Checkpoints())
    step(loaded, optimizer, 40)

    other = make_tiny(16, 1, 2, 64, seed=9 if lora is None else 0)  # adapters go on the weights that they are of
    if lora is not None:
        add_adapters(other.model, lora, 1, "other")
    optimizer = build_optimizer(other.model, settings)
    assert checkpoint.restore(checkpoint.latest(tmp_path), LocalTrainee(other, optimizer)) == position
    step(other, optimizer, 40)
    for name, tensor in loaded.model.state_dict().items():
        assert torch.equal(tensor, other.model.state_dict()[name]), name


def test_the_best_adapters_are_handed_on_in_a_whole_model(loaded, tmp_path):
    add_adapters(loaded.model, Lora(rank=4), 0, "sft")
    optimizer = build_optimizer(loaded.model, AdamW())
    keep = Checkpoints(keep_best=True)
    step(loaded, optimizer, 20)
    best = Position().after_validation(1, 0.9)
    checkpoint.save(tmp_path, best, LocalTrainee(loaded, optimizer), keep)
    wanted = {name: tensor.clone() for name, tensor in plain_weights(loaded.model)}
    step(loaded, optimizer, 30)
    last = Position(2, 1, best.best_at, best.best_score).after_validation(2, 0.1)
    checkpoint.save(tmp_path, last, LocalTrainee(loaded, optimizer), keep)
    assert checkpoint.hand_on(tmp_path, last, LocalTrainee(loaded, optimizer), keep) == 1
    saved = load_model(tmp_path / "model").model.state_dict()
    assert saved.keys() == wanted.keys()
    assert all(torch.equal(tensor, wanted[name]) for name, tensor in saved.items())
    size = sum(path.stat().st_size for path in checkpoint.latest(tmp_path).iterdir())
    assert size < LocalTrainee(loaded, optimizer).needed_bytes() < 1_000_000 + 13 * trained_parameters(loaded.model)


def test_which_checkpoints_stay(loaded, tmp_path):
    optimizer = build_optimizer(loaded.model, AdamW())
    keep = Checkpoints(keep_last=2, keep_best=True)
    position = Position()
    for at, score in ((1, 0.1), (2, 0.9), (3, 0.2), (4, 0.9), (5, 0.3)):
        position = Position(at, at, position.best_at, position.best_score).after_validation(at, score)
        checkpoint.save(tmp_path, position, LocalTrainee(loaded, optimizer), keep)
    assert position.best_at == 2, "the earlier of two equal scores is the best"
    assert sorted(p.name for p in (tmp_path / "checkpoints").iterdir()) == ["000002", "000004", "000005"]


def test_the_best_or_the_last_is_handed_on(loaded, tmp_path):
    optimizer = build_optimizer(loaded.model, AdamW())
    keep = Checkpoints(keep_best=True)
    best = Position().after_validation(1, 0.9)
    checkpoint.save(tmp_path, best, LocalTrainee(loaded, optimizer), keep)
    best_hash = weights_hash(checkpoint.checkpoint_directory(tmp_path, 1))
    step(loaded, optimizer, 20)
    last = Position(2, 1, best.best_at, best.best_score).after_validation(2, 0.1)
    checkpoint.save(tmp_path, last, LocalTrainee(loaded, optimizer), keep)
    last_hash = weights_hash(checkpoint.latest(tmp_path))
    assert last_hash != best_hash

    assert checkpoint.hand_on(tmp_path, last, LocalTrainee(loaded, optimizer), keep) == 1
    assert weights_hash(tmp_path / "model") == best_hash
    assert not (tmp_path / "model" / "optimizer.pt").exists()
    assert checkpoint.hand_on(tmp_path, last, LocalTrainee(loaded, optimizer), Checkpoints()) == 2
    assert weights_hash(tmp_path / "model") == last_hash


def test_a_torn_checkpoint_is_not_the_newest(loaded, tmp_path):
    optimizer = build_optimizer(loaded.model, AdamW())
    checkpoint.save(tmp_path, Position(at=1), LocalTrainee(loaded, optimizer), Checkpoints())
    (tmp_path / "checkpoints" / ".partial-000002").mkdir()
    (tmp_path / "checkpoints" / "000003").mkdir()
    assert checkpoint.latest(tmp_path).name == "000001"


def test_patience_counts_validations_without_a_better_one():
    position = Position().after_validation(1, 0.5).after_validation(2, 0.5).after_validation(3, 0.4)
    assert (position.best_at, position.best_score, position.validations_since_best) == (1, 0.5, 2)
    assert position.after_validation(4, 0.6).validations_since_best == 0


def test_a_checkpoint_names_its_place(loaded, tmp_path):
    checkpoint.save(
        tmp_path, Position(at=3, updates=7), LocalTrainee(loaded, build_optimizer(loaded.model, AdamW())), Checkpoints()
    )
    assert json.loads((checkpoint.latest(tmp_path) / "place.json").read_text())["updates"] == 7


# ---- damage


def cut(path):
    path.write_bytes(path.read_bytes()[:-7])


def flipped(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.write_bytes(bytes(data))


def other_number(path):
    path.write_text(path.read_text().replace('"updates": 2', '"updates": 3'))


DAMAGE = {
    "weights cut": ("model.safetensors", cut),
    "weights flipped": ("model.safetensors", flipped),
    "no optimizer": ("optimizer.pt", lambda path: path.unlink()),
    "optimizer flipped": ("optimizer.pt", flipped),
    "config gone": ("config.json", lambda path: path.unlink()),
    "no place": ("place.json", lambda path: path.unlink()),
    "place is no JSON": ("place.json", lambda path: path.write_text("{")),
    "place is a list": ("place.json", lambda path: path.write_text("[1]")),
    "place is binary": ("place.json", lambda path: path.write_bytes(b"\xff\x00")),
    "place says another number": ("place.json", other_number),
}


@pytest.mark.parametrize(("name", "damage"), DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_checkpoint_is_named_and_the_one_before_it_is_used(name, damage, loaded, tmp_path):
    optimizer = build_optimizer(loaded.model, AdamW())
    for at in (1, 2):
        checkpoint.save(
            tmp_path, Position(at=at, updates=at), LocalTrainee(loaded, optimizer), Checkpoints(keep_last=2)
        )
    assert checkpoint.newest_sound(tmp_path)[1] == []
    damage(tmp_path / "checkpoints" / "000002" / name)
    assert checkpoint.latest(tmp_path).name == "000001"
    found, (wrong,) = checkpoint.newest_sound(tmp_path)
    assert found.name == "000001"
    assert f"000002/{name}" in wrong
    assert "kept as damaged-000002" in wrong
    assert sorted(p.name for p in (tmp_path / "checkpoints").iterdir()) == ["000001", "damaged-000002"]
    checkpoint.save(tmp_path, Position(at=2, updates=2), LocalTrainee(loaded, optimizer), Checkpoints(keep_last=1))
    assert checkpoint.latest(tmp_path).name == "000002"


def test_new_betas_and_decay_hold_after_a_resume_and_moments_stay(loaded, tmp_path):
    optimizer = build_optimizer(loaded.model, AdamW())
    step(loaded, optimizer, 20)
    checkpoint.save(tmp_path, Position(at=1), LocalTrainee(loaded, optimizer), Checkpoints())
    other = build_optimizer(loaded.model, AdamW(beta1=0.5, weight_decay=0.25))
    checkpoint.restore(checkpoint.latest(tmp_path), LocalTrainee(loaded, other))
    (saved,), (now,) = optimizer.state_dict()["parts"], other.state_dict()["parts"]
    assert now["param_groups"][0]["betas"] == (0.5, 0.95)
    assert now["param_groups"][0]["weight_decay"] == 0.25
    for key, moments in saved["state"].items():
        assert torch.equal(moments["exp_avg"], now["state"][key]["exp_avg"])


@pytest.mark.parametrize(("old", "new"), [(AdamW(), Muon()), (Muon(), AdamW())])
def test_another_optimizer_begins_its_moments_anew_and_says_so(old, new, loaded, tmp_path, capsys):
    optimizer = build_optimizer(loaded.model, old)
    step(loaded, optimizer, 20)
    checkpoint.save(tmp_path, Position(at=1), LocalTrainee(loaded, optimizer), Checkpoints())
    other = build_optimizer(loaded.model, new)
    checkpoint.restore(checkpoint.latest(tmp_path), LocalTrainee(loaded, other))
    assert "moments begin anew" in capsys.readouterr().err
    assert not any(part["state"] for part in other.state_dict()["parts"])
    step(loaded, other, 30)


def test_the_end_of_a_shorter_schedule_leaves_no_trace_in_a_longer_one(loaded, tmp_path):
    """The checkpoint that only the end asked for goes with the next; the best of before its validation stays."""
    optimizer = build_optimizer(loaded.model, AdamW())
    keep = Checkpoints(keep_last=2, keep_best=True)
    position = Position(at=2).after_validation(2, 0.5)
    checkpoint.save(tmp_path, position, LocalTrainee(loaded, optimizer), keep)
    checkpoint.save(tmp_path, replace(position, at=3).after_validation(3, 0.1), LocalTrainee(loaded, optimizer), keep)
    last = replace(position, at=5, ended=True).after_last(5, 0.9)
    assert (last.best_at, last.before) == (5, (2, 0.5, 0))
    checkpoint.save(tmp_path, last, LocalTrainee(loaded, optimizer), keep)
    assert [p.name for p in sorted((tmp_path / "checkpoints").iterdir())] == ["000002", "000003", "000005"]
    position = last.with_best(*last.before)
    assert (position.best_at, position.before) == (2, None)
    checkpoint.save(tmp_path, replace(position, at=6, ended=False), LocalTrainee(loaded, optimizer), keep)
    assert [p.name for p in sorted((tmp_path / "checkpoints").iterdir())] == ["000002", "000003", "000006"]
