"""Losses as a measure: by hand and by a slow loop, as SFT computes them, after a kill, in a study, and in words."""

from __future__ import annotations

import json
import math
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import t

from openklear import progress
from openklear.ablation.budget import budget
from openklear.ablation.definition import Arm, Contrast, HeldoutRows, Measure, Study, StudySeeds, load_study
from openklear.ablation.design import design
from openklear.ablation.findings import findings
from openklear.ablation.page import html_page, markdown_page
from openklear.ablation.reports import publish, read_published
from openklear.ablation.scores import RunScores, SeriesScores, StudyScores, read_scores, write_scores
from openklear.ablation.study import run_study
from openklear.data.store import named_in, write_demonstrations
from openklear.durable.files import read_jsonl
from openklear.errors import DataError, NonFinite, RecipeError
from openklear.models.chat import EncodedDemonstration
from openklear.models.loading import load_model, save_model
from openklear.models.numerics import set_up
from openklear.models.tiny import make_tiny
from openklear.recipe.curation import Data, Source
from openklear.recipe.schema import Recipe, Sft, TinyModel
from openklear.run.context import StageContext
from openklear.stages import loss as stage
from openklear.training.demonstrations import encode_row
from openklear.training.learner import SupervisedLearner
from openklear.training.optimizer import build_optimizer
from openklear.types import Demonstration, Problem


@pytest.fixture(scope="module", autouse=True)
def _quiet():
    set_up(1)
    progress.quiet(True)
    yield
    progress.quiet(False)


# The loss of a row


def demonstration(number: int) -> Demonstration:
    problem = Problem(f"held/{number}", ({"role": "user", "content": "xy" * (number % 3 + 1)},), "math", source="held")
    return Demonstration(problem, f"<think>\n{'ab' * (3 * number + 1)}\n</think>\n\n{number}", f"held.jsonl:{number}")


@pytest.fixture(scope="module")
def loaded(tmp_path_factory):
    place = tmp_path_factory.mktemp("base")
    save_model(make_tiny(16, 2, 2, 256, 3), place / "model")
    return load_model(place / "model")


def slow_loss(model, row: EncodedDemonstration, most: int | None = None) -> float:
    """A forward pass for each token, log-softmax in float64."""
    lost = []
    for place in np.flatnonzero(row.loss_mask[:most]):
        with torch.no_grad():
            logits = model(input_ids=torch.as_tensor(row.ids[None, :place], dtype=torch.int64)).logits[0, -1].double()
        lost.append(float(torch.logsumexp(logits, 0) - logits[int(row.ids[place])]))
    return math.fsum(lost) / len(lost)


@pytest.mark.parametrize("number", range(4))
def test_a_loss_is_what_a_slow_loop_and_sft_say(loaded, number):
    row = encode_row(loaded, demonstration(number))
    found = stage.response_loss(loaded.model, row)
    assert found == pytest.approx(slow_loss(loaded.model, row), rel=1e-5)
    assert found > 0
    settings = Sft(batch_tokens=4096)
    learner = SupervisedLearner(loaded, build_optimizer(loaded.model, settings.optimizer), settings, 4096)
    assert found == pytest.approx(learner.update([row], 0.0)["loss"], rel=1e-6)


def test_only_the_response_counts(loaded):
    row = encode_row(loaded, demonstration(1))
    other = replace(row, loss_mask=np.roll(row.loss_mask, -1))
    assert stage.response_loss(loaded.model, other) != pytest.approx(stage.response_loss(loaded.model, row), rel=1e-4)


# The stage


def context(place: Path, rows: int = 5, most: int = 64) -> StageContext:
    """A loss stage of a tiny model on rows of which those from the third on are longer than 30 tokens."""
    if not (place / "rows").exists():
        (place / "rows/data").mkdir(parents=True)
        write_demonstrations(named_in(place / "rows/data").demonstrations, map(demonstration, range(rows)))
        save_model(make_tiny(16, 2, 2, 256, 3), place / "sft/model")
    out = place / f"loss-{most}"
    out.mkdir(exist_ok=True)
    source = Source(name="held", path="held.jsonl", role="demonstrations", system_prompt="Be brief.")
    recipe = Recipe.model_construct(
        model=TinyModel(), data=Data(source=(source,)), sft=Sft(max_tokens=most, overlong="cut"), rl=None
    )
    return StageContext(recipe, place, "loss-sft-held", out, {"prepare": place / "rows", "model": place / "sft"})


def test_a_longer_row_counts_as_far_as_its_limit(tmp_path, loaded):
    whole, cut = context(tmp_path, most=200), context(tmp_path, most=40)
    for one in (whole, cut):
        stage.run(one)
    told = Demonstration(
        replace(
            demonstration(4).problem,
            prompt=({"role": "system", "content": "Be brief."}, *demonstration(4).problem.prompt),
        ),
        demonstration(4).response,
    )
    row = encode_row(loaded, told)
    rows, first = read_jsonl(whole.directory / "losses.jsonl"), read_jsonl(cut.directory / "losses.jsonl")
    assert [one["id"] for one in rows] == [f"held/{number}" for number in range(5)]
    assert rows[4]["loss"] == pytest.approx(slow_loss(loaded.model, row), rel=1e-5)
    assert rows[4]["tokens"] == row.loss_mask.sum()
    assert first[4]["loss"] == pytest.approx(slow_loss(loaded.model, row, 40), rel=1e-5)
    assert first[4]["tokens"] == row.loss_mask[:40].sum() < rows[4]["tokens"]


def test_rows_without_a_token_of_the_response_are_dropped_and_named(tmp_path):
    """Prompts of 2, 4 and 6 letters beside the template's tokens: the limit leaves the shortest something."""
    short = next(most for most in range(10, 60) if len(kept(tmp_path / str(most), most)) == 2)
    directory = tmp_path / str(short) / f"loss-{short}"
    assert [one["where"] for one in read_jsonl(directory / "dropped.jsonl")] == [f"held.jsonl:{n}" for n in (1, 2, 4)]
    with pytest.raises(DataError, match=r"no held-out row can be encoded; raise the measure's max_tokens"):
        stage.run(context(tmp_path / str(short), most=4))


def kept(place: Path, most: int) -> list:
    try:
        stage.run(context(place, most=most))
    except DataError:
        return []
    return read_jsonl(place / f"loss-{most}" / "losses.jsonl")


class Killed(Exception):
    """Stands for a kill: nothing catches it, and nothing is written after it."""


@pytest.mark.parametrize("after", range(5))
def test_a_killed_stage_ends_with_the_same_bytes(tmp_path, monkeypatch, after):
    stage.run(context(tmp_path / "undisturbed"))
    left, append = [after], stage.append_jsonl

    def killed(path, row):
        if not left[0]:
            with open(path, "ab") as file:
                file.write(b'{"id": "held')  # power was lost in the middle of a line
            raise Killed
        left[0] -= 1
        append(path, row)

    monkeypatch.setattr(stage, "append_jsonl", killed)
    with pytest.raises(Killed):
        stage.run(context(tmp_path / "killed"))
    asked = []
    monkeypatch.setattr(stage, "append_jsonl", lambda path, row: (asked.append(row["id"]), append(path, row)))
    stage.run(context(tmp_path / "killed"))
    assert len(asked) == 5 - after, "what is there is not computed again"
    for name in ("losses.jsonl", "dropped.jsonl"):
        both = [(tmp_path / place / "loss-64" / name).read_bytes() for place in ("undisturbed", "killed")]
        assert both[0] == both[1]


def test_a_loss_that_is_no_number_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(stage, "response_loss", lambda model, row: math.nan)
    with pytest.raises(NonFinite, match=r"loss-sft-held: the loss of held/0 is nan; train with a smaller"):
        stage.run(context(tmp_path))


# A study of losses

RECIPE = """
microbatch_tokens = 512
[model]
type = "tiny"
hidden_size = 16
layers = 1
heads = 2
[[data.source]]
name = "teacher"
path = "$TRACES/one.jsonl"
role = "demonstrations"
domain = "math"
[[data.source]]
name = "held"
path = "$TRACES/held-one.jsonl"
role = "heldout"
domain = "math"
[sft]
epochs = 8
batch_tokens = 256
max_tokens = 96
learning_rate = 0.03
warmup_steps = 0
save_every = 1000
[verifiers]
minimum_isolation = "rlimits"
workers = 1
"""
STUDY = """
name = "traces"
title = "Traces"
question = "Whose traces are imitated?"
recipe = "recipe.toml"
curves = false
[seeds]
values = [0, 1, 2]
vary = ["sft"]
[[arm]]
name = "one"
[[arm]]
name = "two"
set = { "data.source.teacher.path" = "$TRACES/two.jsonl", "sft.epochs" = 9 }
[[measure]]
name = "of-one"
kind = "loss"
model = "sft"
domain = "math"
max_tokens = 80
rows = { path = "$TRACES/held-one.jsonl" }
[[measure]]
name = "of-two"
kind = "loss"
model = "sft"
domain = "math"
max_tokens = 80
rows = { path = "held-two.jsonl", reasoning = "closing", columns = { response = "trace" } }
"""
THOUGHTS = {"one": "well let me see {} is it", "two": "WAIT. BUT {}; HMM."}


def lay(place: Path, monkeypatch, text: str = STUDY) -> Path:
    monkeypatch.setenv("TRACES", str(place))
    place.mkdir(exist_ok=True)
    (place / "recipe.toml").write_text(RECIPE)
    for teacher, thought in THOUGHTS.items():
        for name, first, last in ((teacher, 0, 16), (f"held-{teacher}", 16, 24)):
            rows = [
                {"problem": f"say {number}", "response": f"<think>\n{thought.format(number)}\n</think>\n\n{number}"}
                for number in range(first, last)
            ]
            if name == "held-two":
                rows = [{"problem": one["problem"], "trace": one["response"][8:]} for one in rows]
            (place / f"{name}.jsonl").write_text(
                "".join(json.dumps({**row, "id": row["problem"], "answer": row["problem"][4:]}) + "\n" for row in rows)
            )
    path = place / "study.toml"
    path.write_text(text)
    return path


def test_what_a_study_of_losses_runs(tmp_path, monkeypatch):
    """Rows once, a loss for each model and measure, no evaluation; other training data do not change the rows."""
    path = lay(tmp_path, monkeypatch)
    study = load_study(path)
    plan = design(study, path)
    kinds = sorted(re.sub("-[0-9a-f]{12}$", "", key) for key in plan.works)
    losses = sorted(["loss-sft-of-one", "loss-sft-of-two"] * 6)
    once = ["prepare", "prepare", "rows-of-one", "rows-of-two"]
    assert kinds == sorted([*once, *["base"] * 3, *["sft"] * 6, *losses])
    found = budget(study, path, "cpu")
    assert [one.name for one in found.stages] == ["sft"]
    assert any("NOT counted: the losses of 2 measures" in line for line in found.lines())
    assert not any("losses" in line for line in replace(found, losses=0).lines())
    row = json.loads((tmp_path / "held-one.jsonl").read_text().splitlines()[0])
    with open(tmp_path / "held-one.jsonl", "a") as file:
        file.write(json.dumps({**row, "problem": "say more", "id": "more"}) + "\n")
    again = design(study, path).works.keys() & plan.works.keys()
    kept = sorted(key.rpartition("-")[0] for key in again)
    assert kept == [*["base"] * 3, "rows-of-two"], "the recipe holds these rows out, so that they clean the others"
    longer = lay(tmp_path / "longer", monkeypatch, STUDY.replace("max_tokens = 80", "max_tokens = 70"))
    same = design(load_study(longer), longer).works.keys() & plan.works.keys()
    assert not any(key.startswith("loss-") for key in same)
    assert sum(key.startswith(("rows-", "sft-")) for key in same) == 2 + 6


@pytest.mark.long
def test_a_models_own_teacher_is_imitated_best(tmp_path, monkeypatch):
    """A whole study; its losses are those of the models that it left."""
    path = lay(tmp_path / "study", monkeypatch)
    study, root = load_study(path), tmp_path / "runs"
    scores = run_study(study, path, root, jobs=1)
    assert not scores.failed
    assert not scores.missing
    found = findings(study, scores)
    assert [one.seen for one in found.compared] == [True, True]
    assert found.compared[0].effect.value > 1, "the second arm has never read the first one's words"
    assert found.compared[1].effect.value < -1
    assert found.compared[1].effect.low < -1.5, "not cut at -1"
    assert re.fullmatch(
        r"of-one: two ends [\d.]+ nats per token higher \(worse\) than one \(95 % interval \+[\d.]+ to \+[\d.]+, .*",
        found.headline,
    )
    run = scores.runs[0]
    series = run.loss_of("sft", "of-two")
    loaded = load_model(root / "runs/one/0/sft/model")
    of_two = [
        Demonstration(
            Problem("p", ({"role": "user", "content": f"say {n}"},), "math"),
            f"<think>\n{THOUGHTS['two'].format(n)}\n</think>\n\n{n}",
        )
        for n in range(16, 24)
    ]
    by_hand = [slow_loss(loaded.model, encode_row(loaded, one), 80) for one in of_two]
    assert series.losses == pytest.approx(by_hand, rel=1e-4)
    assert series.tokens == sum(int(encode_row(loaded, one).loss_mask[:80].sum()) for one in of_two)
    assert run.of("sft", "math") is None, "there is no score"
    assert str(tmp_path) not in scores.facts["recipe"]
    assert 'path = "$TRACES/one.jsonl"' in scores.facts["recipe"]
    reports = tmp_path / "reports"
    publish(study, scores, found, reports)
    again = read_published(reports / "traces")
    assert again == (study, scores)
    assert str(tmp_path) not in "".join(one.read_text() for one in reports.rglob("*.*"))
    assert findings(*again) == found


# What is found


OF = Measure(name="r1", kind="loss", model="sft", domain="math", max_tokens=9, rows=HeldoutRows(path="r1.jsonl"))
QWQ = OF.model_copy(update={"name": "qwq", "label": "QwQ's traces"})
SUMS = Measure(name="sums", model="sft", domain="math")


def study(*measures: Measure, arms: str = "ab", seeds=(0, 1), comparison=()) -> Study:
    return Study(
        name="traces",
        title="T",
        question="Q?",
        recipe="r.toml",
        seeds=StudySeeds(values=tuple(seeds), vary=("sft",)),
        arm=tuple(Arm(name=name) for name in arms),
        measure=measures or (OF,),
        comparison=comparison,
    )


def series(losses, name="r1", problems="same", model="sft") -> SeriesScores:
    losses = tuple(float(one) for one in losses)
    return SeriesScores(model, name, "math", problems, (), (), 0, tokens=50, losses=losses)


def run(arm, seed, *some) -> RunScores:
    return RunScores(arm, seed, some, {}, {}, {})


def scores(tables, seeds=(0, 1)) -> StudyScores:
    """Arm -> losses by seed and row."""
    runs = [
        run(arm, seed, series(row)) for arm, table in tables.items() for seed, row in zip(seeds, table, strict=True)
    ]
    return StudyScores(tuple(runs), (), 0, {})


BEFORE = [[1.0, 2.0, 4.0], [1.5, 2.5, 3.0]]
AFTER = [[3.0, 4.5, 7.0], [4.5, 5.0, 5.0]]


def test_differences_by_hand_are_not_cut_where_shares_would_be():
    """Differences 2, 2.5, 3 and 3, 2.5, 2: seeds alike, so V = V_problem = 0 but for the floor of nothing."""
    (one,) = findings(study(), scores({"a": BEFORE, "b": AFTER})).compared
    assert one.by_seed == ((0, 2.5), (1, 2.5))
    assert one.effect.value == 2.5
    after = [[3.0, 4.5, 7.0], [4.0, 4.5, 4.0]]  # differences 2, 2.5, 3 and 2.5, 2, 1
    (one,) = findings(study(), scores({"a": BEFORE, "b": after})).compared
    cells = np.array([[2, 2.5, 3], [2.5, 2, 1]])
    by_seed, by_row = cells.mean(axis=1).var(ddof=1) / 2, cells.mean(axis=0).var(ddof=1) / 3
    by_cell = cells.var(ddof=1) / 6
    variance = max(by_seed + by_row - by_cell, by_seed, by_row)
    spread = by_seed**2 / 1 + by_row**2 / 2 + by_cell**2 / 5
    half = t.ppf(0.975, max(1, variance**2 / spread)) * math.sqrt(variance)
    assert (one.effect.low, one.effect.high) == pytest.approx((cells.mean() - half, cells.mean() + half))
    assert one.effect.high > 1
    half = t.ppf(0.975, 1) * math.sqrt(by_seed)
    assert (one.these.low, one.these.high) == pytest.approx((cells.mean() - half, cells.mean() + half))
    assert one.smallest > 1, "no bound on what could have been seen"
    assert "too small to see any difference" not in one.sentence


def test_arms_of_many_seeds_and_of_one():
    both = findings(study(), scores({"a": BEFORE, "b": AFTER})).scores
    assert [one.mean for one in both] == pytest.approx([14 / 6, 29 / 6])
    assert both[1].high > both[1].mean > 1
    alone = findings(study(seeds=(4,)), scores({"a": BEFORE[:1], "b": AFTER[:1]}, seeds=(4,)))
    half = t.ppf(0.975, 2) * np.std(BEFORE[0], ddof=1) / math.sqrt(3)
    assert (alone.scores[0].low, alone.scores[0].high) == pytest.approx((7 / 3 - half, 7 / 3 + half))
    assert math.isnan(alone.compared[0].effect.low)
    assert alone.headline == (
        "One seed says nothing of training: +2.500 nats per token from a to b with seed 4, on 3 problems."
    )


def test_what_is_lower_is_called_better():
    rng = np.random.default_rng(0)
    base = rng.uniform(1, 2, 30) + rng.normal(0, 0.01, (8, 1))
    seeds = tuple(range(8))
    noise = rng.normal(0, 0.01, (3, 8, 30))
    tables = {"a": base, "b": base - 0.12 + noise[0], "c": base + 0.25 + noise[1], "d": base + noise[2]}
    found = findings(study(arms="abcd", seeds=seeds), scores(tables, seeds))
    down, up, same = found.compared
    assert re.match(r"b ends 0\.1[12]\d nats per token lower \(better\) than a \(95 % interval -0\.1", down.sentence)
    assert re.match(r"c ends 0\.2[45]\d nats per token higher \(worse\) than a \(95 % interval \+0\.2", up.sentence)
    assert re.match(r"No difference seen from a to d: [+-]?0\.00\d nats per token \(95 % interval", same.sentence)
    assert re.search(r"a difference of 0\.00\d nats per token would have been seen in 80 %", same.sentence)
    assert re.match(
        r"Against a, b ends 0\.1\d\d nats per token lower \(better\) and c ends 0\.2\d\d nats per token higher "
        r"\(worse\); no difference was seen for d, where a difference of 0\.00\d nats per token would",
        found.headline,
    )
    flipped = findings(study(arms="abcd", seeds=seeds), scores({arm: -table for arm, table in tables.items()}, seeds))
    assert "higher (worse)" in flipped.compared[0].sentence
    assert "points" not in "".join(one.sentence for one in found.compared)


def test_nothing_that_varies_is_said_in_words_of_losses():
    alike = findings(study(), scores({"a": BEFORE, "b": BEFORE}))
    assert alike.headline == "a and b have the same loss with every seed and every problem (2 seeds x 3 problems)."
    moved = findings(study(), scores({"a": BEFORE, "b": np.array(BEFORE) + 0.5}))
    assert moved.headline.startswith("From a to b it is +0.500 nats per token with every seed and every problem")


def both_kinds() -> tuple[Study, StudyScores]:
    asked = study(OF, QWQ, SUMS, comparison=(
        *(Contrast(before="a", after="b", measure=name) for name in ("r1", "qwq", "sums")),
        Contrast(before="a:base", after="a", measure="qwq"),
    ))  # fmt: skip
    of = SeriesScores("sft", "heldout", "math", "p", (1, 2, 3), (4, 4, 4), 4)
    runs = []
    for arm, table in (("a", BEFORE), ("b", AFTER)):
        for seed, row in enumerate(table):
            lower = [one - 0.25 - seed / 8 for one in row]
            of_both = series(row), series(lower, "qwq"), series([9.0, 8, 7], "qwq", model="base")
            runs.append(run(arm, seed, *of_both, replace(of, correct=(seed, 2, 3 + (arm == "b")))))
    return asked, StudyScores(tuple(runs), (), 0, {})


def test_the_page_has_each_measure_in_its_own_unit():
    asked, some = both_kinds()
    found = findings(asked, some)
    told = markdown_page(asked, some, found)
    assert "The loss of the model of sft on 3 held-out responses, each as far as token 9; lower is better." in told
    assert "The loss of the model of sft and base on 3 held-out responses" in told
    assert "The model of sft on 3 problems, 4 samples each." in told
    assert "| arm | seeds | loss, nats per token | 95 % interval |" in told
    assert "The loss of every run, nats per token:" in told
    assert "The score of every run, avg@4, %:" in told
    assert "| a | 2.333 | 2.333 |" in told
    assert "| a | 41.7 | 50.0 |" in told
    assert "difference, nats per token" in told
    assert "difference, points" in told
    assert "Percentage points, of losses nats per token, in which lower is better, after less before" in told
    drawn = html_page(asked, some, found)
    assert "Losses, QwQ&#39;s traces" in drawn
    assert "loss, nats per token" in drawn
    only = study(comparison=(Contrast(before="a", after="b"),))
    few = scores({"a": BEFORE, "b": AFTER})
    assert "Nats per token, in which lower is better, after less" in markdown_page(only, few, findings(only, few))


def test_series_are_told_apart_and_kept_to_the_last_bit(tmp_path):
    _, some = both_kinds()
    one = some.runs[0]
    assert one.of("sft", "math").correct == (0, 2, 3)
    assert one.loss_of("sft", "qwq").losses == (0.75, 1.75, 3.75)
    assert one.loss_of("base", "r1") is None
    third = replace(one, series=(series([1 / 3, math.pi, 1e-17]),))
    write_scores(tmp_path / "run.json", third)
    assert read_scores(tmp_path / "run.json") == third


def test_other_rows_are_not_compared():
    other = StudyScores((run("a", 0, series([1, 2])), run("b", 0, series([1, 2], problems="others"))), (), 0, {})
    with pytest.raises(DataError, match=r"arm a, seed 0 \(sft\) and arm b, seed 0 \(sft\) were asked different"):
        findings(study(), other)


# What is refused


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        ("max_tokens = 80\nrows", "rows", r"measure\.of-one\.max_tokens: a loss is of the responses of rows, up to"),
        ('rows = { path = "held-two', 'label = "x"\n#', r"measure\.of-two\.rows: a loss is of the responses of rows"),
        ('kind = "loss"\nmodel = "sft"', 'model = "sft"', r'rows: a score has no use for it; leave it out, or write kind'),
        ('kind = "loss"', 'kind = "lost"', r"measure\.of-one\.kind: .*loss"),
        ("$TRACES/held-one", "world:held", r"rows\.path: arms may make other worlds"),
    ],
)  # fmt: skip
def test_faults_of_a_measure_say_what_to_do(tmp_path, monkeypatch, old, new, fault):
    assert old in STUDY
    with pytest.raises(RecipeError, match=fault):
        load_study(lay(tmp_path, monkeypatch, STUDY.replace(old, new)))


def test_faults_that_the_recipe_shows_say_what_to_do(tmp_path, monkeypatch):
    path = lay(tmp_path, monkeypatch, STUDY.replace("$TRACES/held-one", "$NOWHERE/held-one"))
    with pytest.raises(RecipeError, match=r"measure of-one: rows\.path: the environment variable NOWHERE is not set"):
        design(load_study(path), path)
    path = lay(tmp_path, monkeypatch, STUDY.replace('model = "sft"', 'model = "rl-math"'))
    with pytest.raises(RecipeError, match=r"arm one: its recipe makes no model rl-math; measure one of base, sft"):
        design(load_study(path), path)
