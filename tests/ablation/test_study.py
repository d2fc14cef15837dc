"""A study in real processes: to its end, in any order, over kills, with arms that fail; and what a changed file reuses."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.ablation import desk

from openklear import progress
from openklear.ablation import study, work
from openklear.ablation.definition import load_study
from openklear.ablation.design import Design, design
from openklear.ablation.scores import read_scores
from openklear.ablation.work import StudyCrew
from openklear.cli.main import main
from openklear.durable import files
from openklear.models.loading import weights_hash
from openklear.recipe.load import load_recipe

pytestmark = pytest.mark.slow

BOTH = {"measure": [*desk.STUDY["measure"], desk.START]}
GPPO, OTHER = desk.STUDY["arm"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, subprocess.CompletedProcess[str]]:
    place = desk.lay(tmp_path_factory.mktemp("finished") / "desk", **BOTH).parent
    return place, desk.finish(place, "--jobs", "2")


@pytest.fixture
def place(finished: tuple[Path, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A copy of the desk with the finished study."""
    shutil.copytree(finished[0], tmp_path / "desk", symlinks=True)
    monkeypatch.syspath_prepend(str(tmp_path / "desk"))
    yield tmp_path / "desk"
    progress.quiet(False)


def ablate(place: Path, *more: str) -> int:
    """The command in this process: for what is refused, or finished."""
    return main(["ablate", str(place / "study.toml"), "--output", str(place / "out"), *more])


def left(place: Path) -> StudyCrew:
    """What the study of the desk has done, and has not."""
    path = place / "study.toml"
    crew = StudyCrew(design(load_study(path), path).works, place / "out" / "stages")
    crew.look()
    return crew


# -- to the end


def test_it_runs_to_the_end(finished: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
    place, done = finished
    root = place / "out"
    assert done.returncode == 0, done.stderr
    for line in done.stdout.splitlines()[-2:]:
        assert Path(line).is_file()
    first = f"tiny: 2 arms x 2 seeds = 4 runs; {desk.STAGES} stages, shared ones once, 0 of them finished before; 2 at"
    assert done.stderr.startswith(first)
    for arm in ("gppo", "reinforce"):
        for seed in (0, 1):
            scores = read_scores(root / "scores" / arm / f"{seed}.json")
            said = f"{arm}, seed {seed}: math {100 * scores.of('rl-math', 'math').mean:.1f}, start "
            assert said in done.stderr, "each run is told as it ends"
            assert set(scores.curves) == {"sft", "rl-math"}
    assert len(set(desk.scores(root).values())) == 4
    assert len(list(root.glob("stages/*"))) == desk.STAGES
    for stage in root.glob("stages/*"):
        assert (stage / "log.txt").is_file()
        assert not (stage / "error.txt").exists()
    assert not list(root.rglob(".partial-*"))
    assert str(place) not in (root / "page.html").read_text(), "a page is published: it holds no path of this machine"
    assert "Failed to load" not in done.stderr, "of GPUs that are not there"


def test_a_run_can_be_looked_at_as_any_other(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one, other = (str(place / "out" / "runs" / "gppo" / seed) for seed in "01")
    assert main(["compare", one, other]) == 0
    assert "8 problems" in capsys.readouterr().out
    assert (Path(one) / "rl-math" / "model").is_dir()
    recipe = Path(one) / "recipe.toml"
    assert main(["evaluate", "recipe", str(recipe), "--output", one, "--dry-run"]) == 0


def test_the_same_command_again_does_nothing_and_leaves_the_same(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = desk.scores(place / "out"), desk.pages(place / "out")
    assert ablate(place) == 0
    assert f"{desk.STAGES} of them finished before" in capsys.readouterr().err
    assert (desk.scores(place / "out"), desk.pages(place / "out")) == before


def test_one_document_with_json(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    desk.write_study(place, **BOTH, seeds={"values": [0], "vary": ["rl"]})  # of one seed much is not known
    assert ablate(place, "--json") == 0
    out, err = capsys.readouterr()
    document = json.loads(out, parse_constant=lambda word: pytest.fail(f"{word} is no JSON"))
    assert document["study"] == "tiny"
    assert [(one["arm"], one["measure"]) for one in document["scores"]][:2] == [("gppo", "math"), ("reinforce", "math")]
    assert err == ""


# -- killed


@pytest.mark.chaos
def test_interrupted_and_killed_it_ends_with_the_scores_of_an_undisturbed_one(
    finished: tuple[Path, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C, then SIGKILL of the parent alone; then to the end, one stage at a time."""
    place = desk.lay(tmp_path / "desk", **BOTH).parent
    monkeypatch.syspath_prepend(str(place))
    root = place / "out"
    interrupted = desk.start(place, "--jobs", "2")
    desk.wait_until(lambda: desk.begun(root) >= 4, "four stages")
    os.killpg(interrupted.pid, signal.SIGINT)
    _, said = interrupted.communicate(timeout=60)
    assert interrupted.returncode == 130
    assert said.endswith("interrupted; give the same command again to continue\n")
    assert "Traceback" not in said
    desk.wait_until(lambda: not desk.alive(interrupted.pid), "the end of what was interrupted", 10.0)
    killed = desk.start(place, "--jobs", "2")
    desk.wait_until(lambda: desk.begun(root) >= 7, "seven stages")
    os.kill(killed.pid, signal.SIGKILL)
    killed.communicate(timeout=60)
    desk.wait_until(lambda: not desk.alive(killed.pid), "the end of the orphans", 10.0)
    states = [files.read_json(path)["state"] for path in root.glob("stages/*/*/stage.json")]
    assert "unfinished" in states, "orphans end in the middle of their stage, not after it"
    assert 0 < len(left(place).done) < desk.STAGES
    done = desk.finish(place, "--jobs", "1")
    assert done.returncode == 0, done.stderr
    assert desk.scores(root) == desk.scores(finished[0] / "out")
    assert desk.pages(root) == desk.pages(finished[0] / "out")


@pytest.mark.chaos
@pytest.mark.parametrize("number", range(6))
def test_killed_at_any_moment(number: int, finished: tuple[Path, Any], tmp_path: Path) -> None:
    """Twice at a random moment: the whole group, as when the machine goes down, or the parent alone."""
    place, draws = desk.lay(tmp_path / "desk", **BOTH).parent, random.Random(number)
    root = place / "out"
    for end in (os.killpg, os.kill) if number % 2 else (os.kill, os.killpg):
        jobs, stages = str(draws.choice((1, 2, 3))), draws.randrange(desk.STAGES)
        process = desk.start(place, "--jobs", jobs)
        desk.wait_until(lambda stages=stages: desk.begun(root) >= stages, f"{stages} stages")  # type: ignore[misc]
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(timeout=draws.random())
        end(process.pid, signal.SIGKILL)
        process.communicate(timeout=60)
    done = desk.finish(place, "--jobs", str(draws.choice((1, 2, 3))))
    assert done.returncode == 0, done.stderr
    assert desk.scores(root) == desk.scores(finished[0] / "out")
    assert desk.pages(root) == desk.pages(finished[0] / "out")


# -- failing arms


def rewarded(name: str, reward: str) -> dict[str, Any]:
    phase = "rl.phase.math.reward"
    return {"name": name, "set": {f"{phase}.type": "custom", f"{phase}.function": f"desk_verifier:{reward}"}}


@pytest.mark.long
def test_arms_that_fail_are_told_and_tried_again(place: Path) -> None:
    """The old scores of an arm that fails now are not used: the directory has scores of reinforce."""
    arms = [GPPO, rewarded("reinforce", "raises"), rewarded("killed", "killed"), rewarded("mended", "mended")]
    desk.write_study(place, **BOTH, arm=arms, seeds={"values": [0], "vary": ["rl"]})
    root = place / "out"
    before = desk.scores(root)
    failed = desk.finish(place, "--jobs", "2")
    assert failed.returncode == 1
    reasons = {
        line.split(": ", 1)[0]: line.split(": ", 1)[1]
        for line in failed.stderr.splitlines()
        if line.startswith("FAILED (")
    }
    assert set(reasons) == {f"FAILED ({name}, seed 0)" for name in ("reinforce", "killed", "mended")}
    assert "no reward today" in reasons["FAILED (reinforce, seed 0)"]
    assert reasons["FAILED (killed, seed 0)"].startswith("rl-math: its process was ended by SIGKILL (stages/rl-math-")
    for reason in reasons.values():
        log = reason.rpartition("(")[2].rstrip(")")
        assert (root / log).is_file(), f"no log is named in: {reason}"
    page = (root / "page.md").read_text()
    assert "no reward today" in page
    assert "SIGKILL" in page
    assert desk.scores(root) == before, "scores of an older reinforce stay where they are"
    assert "| reinforce | 0 |" in page, "it has no seed that counts"
    (place / "mended").touch()
    again = desk.finish(place, "--jobs", "2", "--json")
    assert again.returncode == 1
    document = json.loads(again.stdout)
    assert [one["arm"] for one in document["failed"]] == ["reinforce", "killed"]
    seeds = {one["arm"]: one["seeds"] for one in document["scores"] if one["measure"] == "math"}
    assert seeds == {"gppo": 1, "mended": 1, "reinforce": 0, "killed": 0}


@pytest.mark.long
def test_arms_that_were_asked_other_problems_are_not_compared(place: Path) -> None:
    """After the runs, which are kept."""
    other = {"name": "other", "set": {"data.source.heldout.path": "other.jsonl"}}
    desk.write_study(place, arm=[GPPO, other], measure=[desk.START], seeds={"values": [0], "vary": ["evaluation"]})
    done = desk.finish(place)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith(
        "arm gppo, seed 0 (sft) and arm other, seed 0 (sft) were asked different problems in math"
    )
    assert (place / "out" / "scores" / "other" / "0.json").is_file()
    assert len(left(place).done) == len(left(place).works)


# -- one directory, one study


def test_two_at_a_time_in_one_directory(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with files.lock(place / "out"):
        assert ablate(place) == 1
    assert f"is in use by process {os.getpid()}" in capsys.readouterr().err
    assert ablate(place) == 0


def test_the_directory_of_another_study(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    desk.write_study(place, name="other")
    before = sorted((place / "out").rglob("*"))
    assert ablate(place) == 2
    assert f"{place / 'out'} holds the study tiny, not other; choose another --output" in capsys.readouterr().err
    assert sorted((place / "out").rglob("*")) == before


def test_a_place_that_cannot_be_written(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ablate", str(place / "study.toml"), "--output", "/proc/study"]) == 2
    assert "cannot use /proc/study as a run directory" in capsys.readouterr().err
    assert main(["ablate", str(place / "study.toml"), "--output", str(place / "study.toml")]) == 2
    assert "as a run directory" in capsys.readouterr().err


# -- a changed file


def works(place: Path, **changes: Any) -> Design:
    path = desk.write_study(place, **{**BOTH, **changes})
    return design(load_study(path), path)


def test_more_seeds_and_arms_make_only_what_is_new(place: Path) -> None:
    desk.write_study(
        place,
        **BOTH,
        seeds={"values": [0, 1, 2], "vary": ["rl"]},
        arm=[GPPO, OTHER, {"name": "third", "set": {"rl.learning_rate": 0.02}}],
    )
    crew = left(place)
    assert len(crew.done) == desk.STAGES
    new = crew.works.keys() - crew.done
    assert sorted(key.rpartition("-")[0] for key in new) == ["evaluate-rl-math"] * 5 + ["rl-math"] * 5


def test_another_label_runs_nothing_and_is_on_the_page(place: Path) -> None:
    desk.write_study(place, **BOTH, arm=[GPPO, {**OTHER, "label": "without a clip"}])
    assert ablate(place) == 0
    assert "without a clip" in (place / "out" / "page.md").read_text()


def test_an_arm_that_was_removed_is_not_on_the_page(place: Path) -> None:
    desk.write_study(place, **BOTH, arm=[GPPO], comparison=[{"before": "gppo:sft", "after": "gppo"}])
    assert ablate(place) == 0
    assert (place / "out" / "scores" / "reinforce" / "0.json").is_file()
    assert "reinforce" not in (place / "out" / "page.md").read_text()


def test_scores_are_those_of_the_stages(place: Path) -> None:
    """Files of scores that are older than the stages, damaged or gone are written anew."""
    before, scores = desk.scores(place / "out"), place / "out" / "scores"
    (scores / "gppo" / "0.json").write_text((scores / "reinforce" / "1.json").read_text())
    (scores / "gppo" / "1.json").write_text("{")
    (scores / "reinforce" / "0.json").unlink()
    assert ablate(place) == 0
    assert desk.scores(place / "out") == before


def test_a_change_of_the_recipe_takes_the_scores_out(place: Path) -> None:
    """Whatever lies there of an older recipe: nothing of it is finished with the new one."""
    text = (place / "recipe.toml").read_text()
    (place / "recipe.toml").write_text(text.replace("learning_rate = 0.01", "learning_rate = 0.02"))
    assert {key.rpartition("-")[0] for key in left(place).done} == {"prepare", "base", "sft", "evaluate-sft"}


def test_what_a_person_put_into_a_run_stays(place: Path) -> None:
    run = place / "out" / "runs" / "gppo" / "0"
    (run / "evaluate-sft").unlink()
    (run / "evaluate-sft").mkdir()
    (run / "prepare").unlink()
    (run / "prepare").symlink_to("../../../stages/older/prepare")
    assert ablate(place) == 0
    assert not (run / "evaluate-sft").is_symlink()
    assert (run / "prepare" / "stage.json").is_file()


def test_a_domain_that_nobody_was_asked(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    desk.write_study(place, measure=[{**desk.START, "domain": "code"}, *desk.STUDY["measure"]])
    assert ablate(place) == 2
    assert capsys.readouterr().err.splitlines()[-1] == (
        "tiny: measure.start.domain: sft of arm gppo was asked no held-out problems of code; measure math, or give "
        "its recipe a held-out source of code"
    )


# -- its parts, in this process


def test_a_stage_that_someone_prolonged_through_a_link_is_made_anew(place: Path) -> None:
    """Its checkpoints are no beginning of the stage as the study wants it; and what is finished is left alone."""
    crew = left(place)
    key = next(key for key in crew.works if key.startswith("rl-math"))
    directory = crew.directory(key)
    told: list[str] = []
    before, record = weights_hash(directory / "model"), files.read_json(directory / "stage.json")
    crew.done.remove(key)
    crew.run(1, told.append)
    assert files.read_json(directory / "stage.json") == record
    files.write_json(directory / "stage.json", {**record, "fingerprint": "0" * 32, "state": "unfinished"})
    (directory / "model" / "model.safetensors").write_bytes(b"other weights")
    crew.done.remove(key)
    crew.run(1, told.append)
    assert told == [key, key]
    assert (place / "out" / "stages" / key / "superseded" / "rl-math-00000000").is_dir()
    assert weights_hash(directory / "model") == before
    assert len(files.read_json(directory / "stage.json")["attempts"]) == 1


@pytest.mark.parametrize(("threads", "jobs"), [(1, 8), (2, 4), (3, 2), (16, 1)])
def test_as_many_at_a_time_as_the_cores_have_threads_for(
    threads: int, jobs: int, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(study, "cores", lambda: 8)
    assert study.jobs_for(load_recipe(place / "recipe.toml", [f"threads={threads}", "device=cpu"])) == jobs


def test_a_stage_whose_code_changed_does_not_begin(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And what needs it fails with it; what is finished stays."""
    plan = works(place, seeds={"values": [0, 1, 2], "vary": ["rl"]})
    edited = {
        key: replace(one, parts={**one.parts, "code": {**one.parts["code"], "openklear.stages.rl": "older"}})
        for key, one in plan.works.items()
        if one.stage.kind == "rl"
    }
    crew = StudyCrew({**plan.works, **edited}, place / "out" / "stages")
    crew.done |= {key for key, one in plan.works.items() if not one.stage.name.endswith("rl-math")}
    monkeypatch.setattr(work, "carry_out", None)
    told: list[str] = []
    crew.run(2, told.append)
    assert sorted(told) == sorted(edited)
    rest = [key for key, one in plan.works.items() if one.stage.name == "evaluate-rl-math"]
    assert crew.failed.keys() >= {*edited, *rest}
    assert {crew.failed[key] for key in rest} == {
        "rl-math: its code changed while the study was under way; run the same command again: finished stages are kept"
    }


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (-9, "its process was ended by SIGKILL"),
        (-37, "its process was ended by signal 37"),  # one for real time: it has no name
        (3, "its process ended with 3"),
        (None, "its process ended with None"),
    ],
)
def test_how_a_process_ended(code: int | None, words: str, tmp_path: Path) -> None:
    assert work.how_it_ended(tmp_path / "error.txt", code) == words
    (tmp_path / "error.txt").write_text("out of paper")
    assert work.how_it_ended(tmp_path / "error.txt", code) == "out of paper"
