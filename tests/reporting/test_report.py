"""The page of runs of many shapes, each made by hand from the files that its stages would leave."""

import json
import re

import pytest
from tests.samples import RIGHT, WRONG, leave_evaluation, refused, together

from openklear.data.store import prepared, write_problems
from openklear.durable.files import write_json, write_jsonl_atomic
from openklear.evaluation.results import RESULTS
from openklear.evaluation.stored import Sample
from openklear.recipe.curation import Data, Source
from openklear.recipe.schema import Phase, Recipe, Rl, Sft, TinyModel
from openklear.reporting import training
from openklear.reporting.cases import chosen
from openklear.reporting.report import render
from openklear.types import Problem
from openklear.verifiers.domains import DOMAINS

PHASE = Phase(name="math", domains=("math",), max_prompt_tokens=64, max_completion_tokens=64)


def recipe(*, sft=True, phases=(), benchmarks=("sums",)):
    source = tuple(Source(name=name, path=f"{name}.jsonl", role="heldout") for name in benchmarks)
    source += (
        Source(name="d", path="d.jsonl", role="demonstrations"),
        Source(name="p", path="p.jsonl", role="problems"),
    )
    rl = Rl(phase=phases) if phases else None
    return Recipe(model=TinyModel(), data=Data(source=source), sft=Sft(max_tokens=64) if sft else None, rl=rl)


def problems(benchmark="sums", count=4, domain="math"):
    turn = {"role": "user", "content": f"What is {benchmark} <b>& more</b>?"}
    return [Problem(f"{benchmark}/{n}", (turn,), domain, answer="4", level="1", source=benchmark) for n in range(count)]


def samples(problem, right):
    """Four samples, the first `right` of which are correct."""
    facts = {"level": problem.level, "tokens": 3, "extracted": "0"}
    return [
        Sample(
            problem.source,
            problem.id,
            problem.domain,
            n,
            *((RIGHT,) if n < right else (WRONG,)),
            reason="" if n < right else "wrong answer",
            **facts,
        )
        for n in range(4)
    ]


def begun(root, asked):
    """A run that has prepared its held-out problems."""
    write_json(root / "manifest.json", {"starts": [{"time": "2026-01-01T00:00:00+00:00"}], "cores": 2, "cpu": "X"})
    data = prepared(root / "prepare")
    data.heldout.parent.mkdir(parents=True)
    write_problems(data.heldout, asked)
    write_problems(data.problems, [])
    read = {
        "dataset": "demonstrations",
        "source": "d",
        "step": "read",
        "read": 9,
        "kept": 9,
        "dropped": 0,
        "reasons": {},
    }
    write_json(data.funnel, [read])


def evaluated(root, stage, asked, rights, unasked=()):
    directory = root / f"evaluate-{stage}"
    every = together(samples(problem, right) for problem, right in zip(asked, rights, strict=True))
    leave_evaluation(directory, stage, [*every, *unasked], lambda one: f"<think>so</think>\\boxed{{{one.sample}}}")
    write_json(directory / "stage.json", {"state": "finished", "fingerprint": "", "parts": {}, "seconds": 65.0})


def gains_shown(page):
    return re.findall(r'<span class="gain \w+">([^<]+)</span> <span class="label">\[([^\]]+)\]<br>([^<]+)</span>', page)


def whole(page):
    """The page is one that a browser can draw: no figure or section without content, nothing undefined."""
    assert not re.search(r"\b(nan|None|Undefined|Infinity)\b", re.sub(r"<pre>.*?</pre>", "", page, flags=re.S))
    figures = re.findall(r"<figure[^>]*>(.*?)</figure>", page, re.S)
    assert all("<svg" in figure and "mark" in figure for figure in figures)
    assert "<script" not in page
    return page


def test_a_run_of_sft_and_a_phase(tmp_path):
    asked = problems()
    begun(tmp_path, asked)
    for stage, rights in (("base", (0, 0, 0, 0)), ("sft", (4, 1, 2, 0)), ("rl-math", (1, 4, 2, 0))):
        evaluated(tmp_path, stage, asked, rights)
    page = whole(render(tmp_path, recipe(phases=(PHASE,))))
    assert [(points, note) for points, _, note in gains_shown(page)] == [
        ("+43.8", "over random weights"),
        ("0.0", "over sft"),
    ]
    assert "sums: gained most, 25% to 100% of its completions are correct" in page
    assert "sums: lost most, 100% to 25% of its completions are correct" in page
    assert "What is sums &lt;b&gt;&amp; more&lt;/b&gt;?" in page, "texts of strangers are escaped"
    assert 'sft, draw 2, 3 tokens: <b class="worse">incorrect: wrong answer</b>' in page
    assert 'rl-math, draw 2, 3 tokens: <b class="better">correct</b>' in page
    assert "1 min 5 s" in page
    assert "<h2>sft</h2>" not in page, "a stage that measured nothing has no section"


def test_a_run_that_ended_after_its_base_model(tmp_path):
    asked = problems()
    begun(tmp_path, asked)
    evaluated(tmp_path, "base", asked, (0, 1, 0, 0))
    page = whole(render(tmp_path, recipe(phases=(PHASE,))))
    assert gains_shown(page) == []
    assert "Gain of each stage" not in page
    assert "before and after" not in page


def test_a_phase_that_has_begun_but_not_measured_anything_has_no_section(tmp_path):
    begun(tmp_path, problems())
    (tmp_path / "rl-math").mkdir()
    torn = json.dumps(iteration(1))[:20]
    for text in ("", torn):
        (tmp_path / "rl-math" / "metrics.jsonl").write_text(text)
        assert "<h2>rl-math</h2>" not in whole(render(tmp_path, recipe(phases=(PHASE,))))
    (tmp_path / "rl-math" / "metrics.jsonl").write_text(f"{json.dumps(iteration(1))}\n{torn}")
    assert ": 1 iterations of" in whole(render(tmp_path, recipe(phases=(PHASE,)))), "a line that a kill cut is no row"


def test_a_run_that_has_not_evaluated_anything(tmp_path):
    begun(tmp_path, problems())
    page = whole(render(tmp_path, recipe()))
    assert '<div class="card">' not in page
    assert "<h2>All scores</h2>" not in page


def test_a_run_without_sft_or_without_rl(tmp_path):
    asked = problems()
    for name, of, last in (("a", recipe(sft=False, phases=(PHASE,)), "rl-math"), ("b", recipe(), "sft")):
        root = tmp_path / name
        root.mkdir()
        begun(root, asked)
        evaluated(root, "base", asked, (0, 1, 0, 0))
        evaluated(root, last, asked, (4, 4, 3, 2))
        page = whole(render(root, of))
        assert [points for points, _, _ in gains_shown(page)] == ["+75.0"]
        assert "Gain of each stage" in page, "the only gain is drawn, even over random weights"


def test_one_problem_has_a_score_whose_interval_says_that_nothing_is_known(tmp_path):
    asked = problems(count=1)
    begun(tmp_path, asked)
    evaluated(tmp_path, "base", asked, (0,))
    evaluated(tmp_path, "sft", asked, (4,))
    page = whole(render(tmp_path, recipe()))
    assert gains_shown(page) == [("+100.0", "-100.0 to +100.0", "over random weights")]
    assert "avg@4 on 1 held-out problem<" in page
    assert '100.0 %</span> <span class="label">[0.0 to 100.0]' in page


def test_several_benchmarks_one_of_another_domain_and_one_not_asked_at_all(tmp_path, monkeypatch):
    monkeypatch.setitem(DOMAINS, "chess", DOMAINS["math"])
    asked = [*problems(), *problems("chess-set", 3, "chess")]
    gone = together(refused("long", number, 4, "prompt of 31 tokens; the model has 30") for number in range(2))
    begun(tmp_path, [*asked, *problems("long", 2)])
    for stage, rights in (("base", (0, 0, 0, 0, 0, 0, 0)), ("sft", (4, 4, 4, 4, 0, 0, 2))):
        evaluated(tmp_path, stage, asked, rights, gone)
    page = whole(render(tmp_path, recipe(benchmarks=("sums", "chess-set", "long"))))
    assert [points for points, _, _ in gains_shown(page)] == ["+100.0", "+16.7", "0.0"]
    assert "2 problems (2 not asked, which counts as wrong: prompt too long)" in page


def test_old_runs_without_counts_by_problem_still_have_a_page(tmp_path):
    asked = problems()
    begun(tmp_path, asked)
    for stage in ("base", "sft"):
        evaluated(tmp_path, stage, asked, (1, 1, 1, 1))
        (tmp_path / f"evaluate-{stage}" / RESULTS).unlink()
    page = whole(render(tmp_path, recipe()))
    assert gains_shown(page) == []
    assert "not known" in page


def test_rows_lost_and_what_is_trained_are_shown(tmp_path):
    begun(tmp_path, problems())
    lost = {"role": "demonstrations", "source": "d", "consumer": "sft", "read": 9, "kept": 5}
    kept = {"role": "validation", "source": "v", "consumer": "sft", "read": 3, "kept": 3, "dropped": {}}
    place = tmp_path / "encode"
    write_json(place / "rows.json", {"roles": [{**lost, "dropped": {"over max_tokens": 3, "no header": 1}}, kept]})
    segments = [["<|im_start|>user\nWhat?", False], ["<think>so</think>4" + "x" * 5000, True]]
    write_json(place / "examples.json", [{"source": "d", "role": "demonstrations", "segments": segments}])
    page = whole(render(tmp_path, recipe()))
    assert re.search(r"<td>d</td><td>demonstrations</td><td>sft</td>.*over max_tokens: 3; no header: 1</td>", page)
    assert "<td>v</td>" not in page
    assert "d (5)" in page, "the rows that were used stand at the head"
    assert '<span>&lt;|im_start|&gt;user\nWhat?</span><span class="t trained">&lt;think&gt;so' in page
    assert "characters left out" in page
    write_json(place / "rows.json", {"roles": [kept]})
    assert "no row was lost to the chat template" in render(tmp_path, recipe())


def iteration(number, **more):
    return {
        "iteration": number,
        "updates": 2,
        "reward": 0.5,
        "accuracy": 0.5,
        "unscorable": 0.0,
        "timeouts": 0.0,
        **more,
    }


def test_a_phase_shows_all_kinds_of_equal_groups_its_alarms_and_its_machine(tmp_path):
    begun(tmp_path, problems())
    stage = tmp_path / "rl-math"
    stage.mkdir()
    alike = {"zero_advantage_all_right": 0.1, "zero_advantage_all_wrong": 0.0, "zero_advantage_all_alike": 0.7}
    rows = [iteration(n, **alike, alarms=[f"{70 + n}% groups without advantage (alarm above 60%)"]) for n in (1, 2)]
    write_jsonl_atomic(stage / "metrics.jsonl", [*rows, iteration(3, **alike, alarms=["entropy is 0.2"])])
    times = [
        {"iteration": n, "sampling": 1.5, "sampled_tokens_per_second": 900.0, "peak_memory_bytes": 3 * 2**30}
        for n in (1, 2, 3)
    ]
    write_jsonl_atomic(stage / "timings.jsonl", times)
    page = whole(render(tmp_path, recipe(phases=(PHASE,))))
    for label in ("all right", "all wrong", "alike otherwise"):
        assert re.search(rf'class="key"><i [^>]+></i>{label}</span>', page)
    assert "72% groups without advantage (alarm above 60%)" in page
    assert "2 times, iteration 1 to 2; this is the last" in page
    assert 'entropy is 0.2 <span class="label">iteration 3</span>' in page
    assert {"Seconds", "Tokens per second", "Peak memory, GiB"} <= set(re.findall(r"<figcaption><b>([^<]+)</b>", page))
    assert "Zero throughout, so not drawn: Grading." in page


def test_a_phase_of_mixed_domains_says_in_which_shares(tmp_path):
    begun(tmp_path, problems())
    (tmp_path / "rl-both").mkdir()
    write_jsonl_atomic(tmp_path / "rl-both" / "metrics.jsonl", [iteration(1), iteration(2)])
    shares = {"domains": ("code", "math"), "mix": {"code": 3, "math": 1}, "problems_per_iteration": 16}
    phase = PHASE.model_copy(update={"name": "both", **shares})
    page = whole(render(tmp_path, recipe(phases=(phase,))))
    assert "gppo on code and math: 2 iterations of 16 problems (12 of code, 4 of math) x 8 rollouts, 4 updates." in page


def test_alarms_of_one_kind_stand_together_in_the_order_of_their_first():
    rows = [
        {"step": 1, "alarms": ["norm 3.1e-2 is over"]},
        {"step": 4, "alarms": ["7% cut", "norm 5e+1 is over"]},
        {"step": 5},
    ]
    found = [(one["text"], one["times"], one["first"], one["last"]) for one in training.alarms(rows, "step")]
    assert found == [("norm 5e+1 is over", 2, 1, 4), ("7% cut", 1, 4, 4)]


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ({"a": 0.0, "b": 0.0, "c": 1.0}, {"a": 1.0, "b": 1.0, "c": 0.5}, {"gained": "a", "lost": "c"}),
        ({"a": 0.5, "b": 0.5}, {"a": 0.5, "b": 0.75}, {"gained": "b"}),
        ({"a": None, "b": 1.0, "gone": 1.0}, {"a": 1.0, "b": None}, {}),
        ({}, {}, {}),
    ],
)
def test_the_problems_that_moved_most_are_chosen_ties_going_to_the_earlier(before, after, expected):
    assert chosen(before, after) == expected
