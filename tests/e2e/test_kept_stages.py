"""What voids a finished stage and what does not; and what is done about a byte that changed in one."""

import shutil

import pytest
from tests.e2e.conftest import MINI

from openklear.durable.files import read_json, stage_record
from openklear.models.loading import weights_hash
from openklear.recipe.load import load_recipe
from openklear.run.pipeline import plan, run_pipeline

pytestmark = pytest.mark.slow
PACE = (
    *("engine.slots=3", "microbatch_tokens=400", "sft.save_every=7", "rl.save_every=3", "threads=2"),
    *("verifiers.workers=1", "checkpoints.keep_last=5"),
)


def states(root, *overrides):
    return {one.name: one.state for one in plan(load_recipe(MINI, overrides), root) if one.state != "reuse"}


@pytest.fixture
def copy(finished, tmp_path):
    root = tmp_path / "elsewhere" / "run"
    shutil.copytree(finished, root)
    return root


def flip(path, at=-3):
    """One bit of one byte."""
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(bytes(data))


def test_speed_and_memory_void_nothing(copy):
    assert states(copy) == {}, "a run directory may be copied"
    for change in PACE:
        assert states(copy, change) == {"report": "redo"}, change
    assert states(copy, *PACE) == {"report": "redo"}


def test_raised_iterations_prolong_and_lowered_ones_do_not(copy):
    after = {"evaluate-rl-math": "redo", "rl-code": "redo", "evaluate-rl-code": "redo", "report": "redo"}
    assert states(copy, "rl.phase.math.iterations=5") == {"rl-math": "prolong", **after}
    assert states(copy, "rl.phase.math.iterations=2") == {"rl-math": "redo", **after}
    lowered = next(s for s in plan(load_recipe(MINI, ["rl.phase.math.iterations=2"]), copy) if s.name == "rl-math")
    assert "(rl.phase.math.iterations can be raised to go on" in lowered.why[-1]
    assert states(copy, "rl.phase.math.iterations=5", "rl.phase.math.learning_rate=0.1")["rl-math"] == "redo"
    epochs = next(s for s in plan(load_recipe(MINI, ["sft.epochs=3"]), copy) if s.name == "sft")
    assert epochs.state == "redo"
    assert "the learning rate of every step follows from sft.epochs" in epochs.why[-1]


@pytest.mark.long
def test_a_run_whose_pace_changed_after_sft_and_whose_phase_is_prolonged(finished, tmp_path):
    """SFT keeps its bits; the phase prolonged from 3 to 5 has those of one of 5 from the start."""
    quick = ("rl.group_size=2", "rl.problems_per_iteration=2", "rl.max_completion_tokens=12")
    roots = [tmp_path / name / "run" for name in ("parts", "whole")]
    for root in roots:
        root.mkdir(parents=True)
        for name in ("world", "prepare", "card", "base", "encode", "evaluate-base", "sft", "evaluate-sft"):
            shutil.copytree(finished / name, root / name)
    later = (*PACE, *quick)
    run_pipeline(load_recipe(MINI, (*later, "rl.phase.math.iterations=3")), roots[0], through="rl")
    summaries = [
        run_pipeline(load_recipe(MINI, (*later, "rl.phase.math.iterations=5")), root, through="rl") for root in roots
    ]
    assert summaries[0]["weights"] == summaries[1]["weights"]
    assert summaries[0]["weights"]["sft"] == weights_hash(finished / "sft" / "model")
    assert not list((roots[0] / "superseded").glob("sft*"))
    (kept,) = (roots[0] / "superseded").glob("rl-math-*")
    assert weights_hash(kept / "model") == stage_record(kept)["weights"]
    for name in ("metrics.jsonl", *(f"iterations/{n:06d}/rollouts.parquet" for n in range(1, 6))):
        assert (roots[0] / "rl-math" / name).read_bytes() == (roots[1] / "rl-math" / name).read_bytes(), name
    attempts = stage_record(roots[0] / "rl-math")["attempts"]
    assert [a["ended"] for a in attempts] == ["finished", "finished"]
    assert attempts[0]["settings"] == {
        "device": "cpu",
        "threads": 2,
        "engine.slots": 3,
        "engine.cache_tokens": 456,  # "auto": 3 sequences of the longest that is sampled, 152 tokens
        "stop.unscorable_share": read_json(roots[0] / "summary.json")["recipe"]["stop"]["unscorable_share"],
        "microbatch_tokens": 400,
        "activation_checkpointing": False,
        "cluster": None,  # in one process
        "rl.phase.math.save_every": 3,
    }


def test_a_damaged_model_is_written_again_from_its_checkpoint(copy, finished, capsys):
    flip(copy / "rl-math" / "model" / "model.safetensors")
    shutil.rmtree(copy / "evaluate-rl-math")
    run_pipeline(load_recipe(MINI), copy, through="evaluate")
    assert "rl-math is damaged:\n  model/model.safetensors is not what the stage wrote" in capsys.readouterr().err
    assert weights_hash(copy / "rl-math" / "model") == weights_hash(finished / "rl-math" / "model")
    scores = [read_json(root / "evaluate-rl-math" / "scores.json") for root in (copy, finished)]
    assert scores[0] == scores[1]
    assert (copy / "superseded" / "rl-math-damaged" / "model").is_dir()
    assert states(copy) == {"report": "reuse"} or states(copy) == {}


def test_damaged_data_are_made_again_and_what_was_trained_on_the_sound_ones_stays(copy, finished, capsys):
    flip(copy / "prepare" / "data" / "heldout.parquet", at=200)
    shutil.rmtree(copy / "evaluate-rl-code")
    before = (copy / "sft" / "model" / "model.safetensors").stat().st_mtime_ns
    run_pipeline(load_recipe(MINI), copy, through="evaluate")
    said = capsys.readouterr().err
    assert "prepare runs again" in said
    assert "data/heldout.parquet is not what the stage wrote" in said
    assert (copy / "sft" / "model" / "model.safetensors").stat().st_mtime_ns == before
    for name in ("prepare/data/heldout.parquet", "evaluate-rl-code/scores.json"):
        assert (copy / name).read_bytes() == (finished / name).read_bytes()
