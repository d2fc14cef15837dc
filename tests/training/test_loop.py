"""What SFT and RL share around their steps, with files alone: nothing is sampled or trained here."""

import json
import os
import signal

import pytest

from openklear import progress
from openklear.durable import notice
from openklear.errors import NonFinite, Preempted
from openklear.models.tiny import make_tiny
from openklear.recipe.optimizers import AdamW
from openklear.recipe.schema import Checkpoints
from openklear.training.loop import Loop
from openklear.training.optimizer import build_optimizer
from openklear.training.trainee import LocalTrainee


def loop(directory, unit="step", total=5, **keep):
    loaded = make_tiny(16, 1, 2, 64, seed=0)
    optimizer = build_optimizer(loaded.model, AdamW())
    return Loop("sft", directory, unit, total, LocalTrainee(loaded, optimizer), Checkpoints(**keep))


def pass_over(one, number, save=False):
    one.advance(updates=2)
    one.log({one.unit: number, "loss": 1.0 / number}, {"seconds": 0.5})
    if save:
        one.save()


def rows(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.mark.parametrize("unit", ["step", "iteration"])
def test_a_resumed_loop_writes_no_row_twice(unit, tmp_path):
    first = loop(tmp_path, unit)
    assert not first.resume()
    for number in first.ahead():
        pass_over(first, number, save=number == 3)
        if number == 4:  # killed: its row is in memory alone
            break
    second = loop(tmp_path, unit)
    assert second.resume()
    assert (second.position.at, second.position.updates) == (3, 6)
    for number in second.ahead():
        pass_over(second, number, save=True)
    assert [row[unit] for row in rows(tmp_path / "metrics.jsonl")] == [1, 2, 3, 4, 5]
    assert rows(tmp_path / "timings.jsonl") == [{unit: number, "seconds": 0.5} for number in range(1, 6)]


def test_rows_beyond_the_newest_checkpoint_are_cut(tmp_path):
    first = loop(tmp_path)
    for number in first.ahead():
        pass_over(first, number, save=number == 2)
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in first.metrics))
    second = loop(tmp_path)
    second.resume()
    assert [row["step"] for row in second.metrics] == [1, 2]


def test_every_row_is_on_disk_at_once_and_whole(tmp_path):
    one = loop(tmp_path, "iteration")
    one.resume()
    assert rows(tmp_path / "metrics.jsonl") == []
    for number in one.ahead():
        pass_over(one, number)
        for name in ("metrics.jsonl", "timings.jsonl"):
            assert (tmp_path / name).read_bytes().endswith(b"}\n")
            assert [row["iteration"] for row in rows(tmp_path / name)] == [*range(1, number + 1)]


def test_a_line_cut_off_by_a_loss_of_power_is_not_read(tmp_path):
    first = loop(tmp_path)
    for number in first.ahead():
        pass_over(first, number, save=number == 2)
    whole = (tmp_path / "metrics.jsonl").read_bytes()
    (tmp_path / "metrics.jsonl").write_bytes(whole[:-5] + b"\0\0\0")
    second = loop(tmp_path)
    assert second.resume()
    for number in second.ahead():
        pass_over(second, number)
    assert (tmp_path / "metrics.jsonl").read_bytes() == whole


def test_patience_ends_the_schedule(tmp_path):
    """Scores 0.5, 0.4, 0.5, 0.6: an equal one is no better, so the second without progress is the third."""
    for patience, last in ((2, 3), (3, 5), (None, 5)):
        one = loop(tmp_path, patience=patience)
        for number, score in zip(one.ahead(), (0.5, 0.4, 0.5, 0.6, 0.7), strict=False):
            pass_over(one, number)
            one.position = one.position.after_validation(number, score)
        assert one.position.at == last


def test_a_batch_that_is_not_finite_is_written_and_named(tmp_path):
    one = loop(tmp_path, "iteration")
    pass_over(one, 1)
    found = one.nonfinite(NonFinite("the loss is nan"), [{"ids": [1, 2]}], ", update 3")
    assert str(found).startswith("the loss is nan (sft, iteration 2, update 3). ")
    assert "nonfinite-iteration-000002.jsonl" in str(found)
    assert rows(tmp_path / "nonfinite-iteration-000002.jsonl") == [{"ids": [1, 2]}]


def told_to_end(one, number):
    """A loop that is told to end while it works on `number`; the error that ends it."""
    try:
        with notice.heeded("sft", one.unit, progress.say):
            for at in one.ahead():
                if at == number:
                    os.kill(os.getpid(), signal.SIGTERM)
                pass_over(one, at)
    except Preempted as error:
        return error
    return pytest.fail("it went on")


def test_told_to_end_it_ends_the_step_under_way_and_saves_it(tmp_path, capsys):
    error = told_to_end(loop(tmp_path), 3)
    assert str(error).startswith("sft: ended as told (SIGTERM); step 3 of 5 is saved")
    assert error.exit_code == 143
    assert "told to end (SIGTERM): the step under way is finished and saved first" in capsys.readouterr().err
    notice.forget()
    again = loop(tmp_path)
    assert again.resume()
    assert again.position.at == 3
    assert next(again.ahead()) == 4


def test_once_it_is_over_a_signal_ends_the_process_as_ever(tmp_path):
    before = signal.getsignal(signal.SIGTERM)
    told_to_end(loop(tmp_path), 1)
    assert signal.getsignal(signal.SIGTERM) is before
    assert notice.given(), "no other stage begins"
    notice.forget()
    assert not notice.given()


def test_told_to_end_before_its_first_step_it_claims_none(tmp_path):
    one = loop(tmp_path)
    with notice.heeded("sft", one.unit, progress.say):
        os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises(Preempted, match=r"no step was done yet, and the same command goes on"):
            next(one.ahead())
    notice.forget()
    assert not loop(tmp_path).resume()
