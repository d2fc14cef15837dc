"""Real files of other tools become evaluations that give the tools' own scores."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest
from tests.evaluation.exchange.cases import imported, scores, taken
from tests.shared_data import shared

from openklear.evaluation.outcome import SCORES
from openklear.evaluation.results import RESULTS, read_results
from openklear.types import Outcome, StopReason

NEMO = [f"nemo_skills/math-aime25-rs{seed}.jsonl" for seed in range(3)]


def test_nemo_skills_gives_its_own_scores(tmp_path: Path) -> None:
    stored, said = imported(tmp_path / "e", *NEMO, "nemo_skills/metrics.json", benchmark="math")
    found = scores(said)
    shown = {metric: round(100 * found[metric][1], 2) for metric in ("pass@1[avg-of-3]", "majority@3", "pass@3")}
    assert shown == {"pass@1[avg-of-3]": 71.43, "majority@3": 76.19, "pass@3": 85.71}
    assert {row["agrees"] for row in said["scores"] if not row["metric"].startswith("rm_")} == {True}
    assert len(scores(said, "aime25")) == 7  # its metrics of a subset are ours of a level
    assert scores(said, "aime24")["majority@3"][1] == pytest.approx(2 / 3)
    assert stored.samples[0].tokens == 3492
    assert stored.samples[0].start is None  # the file holds answers alone


def test_our_own_scores_beside_those_of_nemo_skills(tmp_path: Path) -> None:
    """Ours vote by equality, not by text; here every answer is a number, and the two are the same. Ties are shared."""
    imported(tmp_path / "e", *NEMO, "nemo_skills/metrics.json", benchmark="math")
    rows = json.loads((tmp_path / "e" / SCORES).read_text())["scores"]
    ours = {f"{row['metric']}@{row['k']}": row["value"] for row in rows if row["level"] is None}
    assert [round(100 * ours[name], 2) for name in ("avg@3", "maj@3", "pass@3")] == [71.43, 76.19, 85.71]


def test_majority_of_nemo_skills_again_by_hand() -> None:
    """76.19: six of seven problems have a majority; the seventh has three answers, one right, which count a third."""
    files = [[json.loads(line) for line in shared(f"evaluation/{name}").read_text().splitlines()] for name in NEMO]
    total = 0.0
    for rows in zip(*files, strict=True):
        votes = Counter(row["predicted_answer"] for row in rows)
        first = [answer for answer, count in votes.items() if count == max(votes.values())]
        right = {row["predicted_answer"] for row in rows if row["symbolic_correct"]}
        total += sum(answer in right for answer in first) / len(first)
    assert total == pytest.approx(4 + 1 + 1 / 3)
    assert round(100 * total / 7, 2) == 76.19


def test_what_differs_is_said(tmp_path: Path) -> None:
    """The files' own name is that of a subset in metrics.json, which is over 5 problems, and the rows are 7."""
    _, said = imported(tmp_path / "e", *NEMO, "nemo_skills/metrics.json")
    row = next(row for row in said["scores"] if row["metric"] == "majority@3")
    assert row["agrees"] is False
    assert row["says"] == "0.8000 there, 0.7619 from the rows, over 5 problems there and 7 here"


def test_nemo_skills_text_and_ids(tmp_path: Path) -> None:
    stored, said = imported(tmp_path / "e", *(f"nemo_skills/output-rs{seed}.jsonl" for seed in range(3)))
    results = read_results(tmp_path / "e" / RESULTS)
    assert len(results) == 29
    assert {one.samples for one in results} == {3}
    assert sum(one.correct for one in results) == sum(one.correct for one in stored.samples)
    first = stored.samples[0]
    assert "\\boxed" in stored.text(first)
    assert stored.asked[first.place].prompt[0]["content"].startswith("Let")
    assert said["notes"] == []


@pytest.mark.parametrize(
    ("name", "scorer", "value", "problems", "samples"),
    [
        ("log_streaming.eval", "match", 0.75, 2, 2),
        ("data_arc_qwen.json", "choice", 1 / 3, 3, 1),
        ("data_pubmedqa_gpt4o_mini.json", "choice", 1.0, 2, 1),
    ],
)
def test_inspect_gives_its_own_accuracy(
    tmp_path: Path, name: str, scorer: str, value: float, problems: int, samples: int
) -> None:
    stored, said = imported(tmp_path / "e", f"inspect/{name}")
    assert scores(said) == {"accuracy": (pytest.approx(value), pytest.approx(value))}
    assert said["score"] == scorer
    results = read_results(tmp_path / "e" / RESULTS)
    assert [(one.samples) for one in results] == [samples] * problems
    assert stored.settings["model"]["name"]
    assert all(stored.text(one) for one in stored.samples)


def test_inspect_samples_without_score_are_unscorable(tmp_path: Path) -> None:
    stored, said = imported(tmp_path / "e", "inspect/popularity_a.eval")
    assert said["unscorable"] == 10 == len(stored.samples)
    assert {one.reason for one in stored.samples} == {"no score"}
    assert stored.text(stored.samples[0]) in ("Yes", "No")


def test_inspect_thoughts_stand_in_front(tmp_path: Path) -> None:
    stored, said = imported(tmp_path / "e", "inspect/handmade_stdlib_aime25.eval")
    assert stored.text(stored.samples[0]) == "<think>\nLet $x=3$. Then …\n</think>\n\nSo \\boxed{17}."
    assert stored.samples[0].stop_reason is StopReason.LENGTH
    assert stored.samples[0].extracted == "17"
    assert scores(said)["avg@2"] == (0.5, 0.5)
    assert stored.settings["sampling"]["temperature"] == 0.6


def test_evalscope_gives_its_own_scores(tmp_path: Path) -> None:
    names = [
        f"evalscope/qwen-plus_{kind}_{name}.jsonl"
        for kind in ("predictions", "reviews")
        for name in ("gsm8k_main", "gpqa_diamond_default")
    ]
    names += [f"evalscope/qwen-plus_report_{name}.json" for name in ("gsm8k", "gpqa_diamond")]
    stored, said = imported(tmp_path / "e", *names)
    found = {(row["benchmark"], row["metric"]): row["rows_give"] for row in said["scores"]}
    assert found["gsm8k", "mean_acc"] == found["gsm8k", "score"] == 1.0
    assert found["gpqa_diamond", "mean_acc"] == pytest.approx(0.8)
    assert {row["agrees"] for row in said["scores"]} == {True}
    wrong = next(one for one in stored.samples if one.benchmark == "gpqa_diamond" and not one.correct)
    assert stored.text(wrong).rstrip().endswith(f"ANSWER: {wrong.extracted}")
    assert sum(one.tokens or 0 for one in stored.samples if one.benchmark == "gpqa_diamond") == 14948  # its report's
    assert stored.settings["model"] == {"name": "qwen-plus"}


def test_evalscope_reviews_alone(tmp_path: Path) -> None:
    stored, said = imported(tmp_path / "e", "evalscope/qwen-plus_reviews_gsm8k_main.jsonl")
    assert len(stored.samples) == 10
    assert said["scores"] == []
    assert stored.settings["model"] == {"name": "qwen-plus"}


def test_lm_eval_gives_its_own_score(tmp_path: Path) -> None:
    stamp = "2026-01-21T03-44-18.458309"
    names = [f"lm_eval/results_{stamp}.json", f"lm_eval/samples_math_perturbed_full_{stamp}.jsonl"]
    stored, said = imported(tmp_path / "e", *names)
    row = next(row for row in said["scores"] if row["metric"] == "exact_match,none")
    assert row["says"] == "the same (0.0000), over 5,000 problems there and 10 here"
    assert said["version"] == "0.4.9.2"
    assert stored.settings["sampling"]["max_gen_toks"] == 512
    assert stored.text(stored.samples[0]).startswith(" 1. The graph")
    assert stored.asked[stored.samples[0].place].reference == "3"
    assert stored.samples[0].benchmark == "math_perturbed_full"


def test_livecodebench_gives_its_own_pass_at_1(tmp_path: Path) -> None:
    stored, said = imported(tmp_path / "e", "livecodebench/official_eval_all_o1-mini.json")
    assert scores(said) == {"pass@1": (pytest.approx(98 / 180), pytest.approx(98 / 180))}
    wrong = next(one for one in stored.samples if not one.correct)
    assert wrong.reason == "Wrong Answer"
    assert stored.asked[wrong.place].facts["contest_date"].startswith("202")
    assert wrong.domain == "code"
    assert wrong.level in ("easy", "medium", "hard")


def test_livecodebench_programs_without_verdicts(tmp_path: Path) -> None:
    path = tmp_path / "mine.json"
    path.write_text(json.dumps([{"question_id": "abc1", "code_list": ["print(1)", "print(2)"]}]))
    stored, said = taken(tmp_path / "e", path)
    assert [one.outcome for one in stored.samples] == [Outcome.UNSCORABLE] * 2
    assert "without verdicts" in said["notes"][0]
    assert stored.text(stored.samples[1]) == "print(2)"
