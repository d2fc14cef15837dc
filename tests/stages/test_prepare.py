"""The stage `prepare` on a small set written by hand, where every row's fate is known."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from openklear.curation.vetting import steps as vetting
from openklear.data.store import PreparedPaths, prepared, read_demonstrations, read_problems
from openklear.durable.files import read_json
from openklear.errors import DataError
from openklear.recipe.curation import Data, Ngrams, Source
from openklear.recipe.schema import Phase, Recipe, Rl, Sft, TinyModel, World
from openklear.recipe.verifiers import Verifiers
from openklear.run.context import StageContext
from openklear.stages import prepare
from openklear.stages import world as world_stage
from openklear.types import Attempt, Outcome, Problem, Verdict

PRINT_SUM = "<think>Add.</think>\n```python\nprint(sum(map(int, input().split())))\n```"
PRINT_ONE = "<think>Guess.</think>\n```python\nprint(1)\n```"
SUM_TESTS = [{"input": "1 2", "output": "3"}, {"input": "4 5", "output": "9"}]
LONG = "A farmer has seven hens and each hen lays two eggs"  # 11 words


def say(answer: str) -> str:
    return f"<think>Count.</think>The answer is \\boxed{{{answer}}}."


def chat(prompt: str, response: str, **columns: Any) -> dict[str, Any]:
    turns = [{"role": "user", "content": prompt}, {"role": "assistant", "content": response}]
    return {"messages": turns, **columns}


GOOD = [
    chat("Compute 1+1.", say("2"), id="g1", level="1", answer="2"),
    chat("Compute 1+2.", say("4"), id="g2", level="1", answer="3"),  # wrong on a graded level
    chat("Compute 1+3.", say("5"), id="g3", level="2", answer="4"),  # wrong on another
    chat("Compute 1+4.", "5", id="g4", level="1", answer="5"),  # no reasoning
    chat("Compute  1+1.", say("2"), id="g5", level="1", answer="2"),  # a copy of g1
    chat("Compute 1+1.", say("2.0"), id="g6", level="1", answer="2"),  # another response
    chat(f"{LONG}, how many a week?", say("14"), id="g7", level="2", answer="14"),  # leaked
    chat("Compute 1+5.", say("6"), id="g8", level="1"),  # nothing to grade against
    chat("Print the sum.", PRINT_SUM, id="g9", level="1", tests=SUM_TESTS, domain="code"),
    chat("Print it.", PRINT_ONE, id="g10", level="1", tests=SUM_TESTS, domain="code"),  # wrong program
    chat("Compute 1+6.", "", id="g11", level="1", answer="7"),  # no response
]
MORE = [
    {"conversations": [{"from": "human", "value": "Compute 1+1."}, {"from": "gpt", "value": say("2")}], "answer": 2},
    {"conversations": [{"from": "human", "value": "Compute 2+2."}, {"from": "gpt", "value": say("4")}], "answer": 4},
]
NOISE = [chat("Compute 3+3.", say("6"), answer="6")]
PROBLEMS = [
    {"id": "p", "problem": "Compute 5+5.", "answer": 10},
    {"id": "p", "problem": "Compute 5+6.", "answer": "11"},  # the same id
    {"id": "q", "problem": "compute 5+5.", "answer": 10},  # a copy
    {"id": "r", "problem": "Compute 9+9.", "answer": None},  # nothing to grade against
    {"id": "s", "problem": "compute 7 + 7.", "answer": 14},  # the words of a held-out problem
    {"id": "t", "problem": "Compute 10^(10^10).", "answer": "10^{10^{10}}"},  # equal to itself, comparable with nothing
]
CODE = [{"prompt": "Print the difference.", "tests": json.dumps([{"stdin": "2 1", "stdout": "1"}]), "domain": "code"}]
VALIDATION = [{"problem": "Compute 6+6.", "answer": 12}, {"problem": "Compute 7+7.", "answer": 14}]
HELDOUT = [
    {"id": "h1", "problem": "Compute 7+7.", "answer": 14},
    {"id": "h2", "problem": f"{LONG} a day?", "answer": 14},
    {"id": "h3", "problem": "Compute 7+7.", "answer": 14},
]
FILES = {
    "good": ("demonstrations", None, GOOD),
    "more": ("demonstrations", "math", MORE),
    "noise": ("demonstrations", "math", NOISE),
    "math": ("problems", "math", PROBLEMS),
    "code": ("problems", None, CODE),
    "val": ("validation", "math", VALIDATION),
    "test": ("heldout", "math", HELDOUT),
}


def sources_of(directory: Path, files: dict[str, Any]) -> tuple[Source, ...]:
    sources = []
    for name, (role, domain, rows) in files.items():
        path = directory / f"{name}.jsonl"
        rows = [{"domain": "math", **row} if domain is None else row for row in rows]
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        sources.append(Source(name=name, path=str(path), role=role, domain=domain))
    return tuple(sources)


def recipe_of(directory: Path, files: dict[str, Any] = FILES, **data: Any) -> Recipe:
    lengths = {"max_prompt_tokens": 10, "max_completion_tokens": 10}
    phase = Phase(name="all", domains=("math", "code"), problems_per_iteration=2, problems_per_update=1, **lengths)
    return Recipe(
        model=TinyModel(),
        data=Data(source=sources_of(directory, files), **data),
        sft=Sft(max_tokens=20),
        rl=Rl(phase=(phase,)),
        verifiers=Verifiers(workers=1),
    )


def run(recipe: Recipe, root: Path, **inputs: Path) -> PreparedPaths:
    directory = root / "prepare"
    directory.mkdir(exist_ok=True)
    prepare.run(StageContext(recipe, root, "prepare", directory, inputs))
    return prepared(directory)


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> PreparedPaths:
    root = tmp_path_factory.mktemp("run")
    return run(recipe_of(root, top_sources=2), root)


def test_demonstrations(done: PreparedPaths) -> None:
    rows = read_demonstrations(done.demonstrations)
    assert [row.problem.id.split("/")[1] for row in rows[:-1]] == ["g1", "g3", "g6", "g9"]
    assert rows[-1].problem.id.startswith("more/")
    assert rows[-1].problem.prompt[0]["content"] == "Compute 2+2."
    assert rows[1].response == say("5")
    assert rows[1].where.endswith("good.jsonl:3")


def test_problems_and_evaluation_sets(done: PreparedPaths) -> None:
    problems = read_problems(done.problems)
    assert [p.id for p in problems[:-1]] == ["math/p", "math/p#2"]
    assert problems[-1].tests[0].stdout == "1"
    assert [p.prompt[0]["content"] for p in read_problems(done.validation)] == ["Compute 6+6."]
    assert [p.id for p in read_problems(done.heldout)] == ["test/h1", "test/h2"]


def test_every_dropped_row_has_its_reason_and_its_home(done: PreparedPaths) -> None:
    rows = pq.read_table(done.dropped).to_pylist()
    assert {(r["id"].split("/")[1], r["step"], r["reason"]) for r in rows if r["source"] == "good"} == {
        ("g11", "read", "no response"),
        ("g4", "require_format", "no reasoning"),
        ("g5", "deduplicate", "repeated demonstration"),
        ("g7", "decontaminate", "words in a row"),
        ("g2", "correct_only", "wrong"),
        ("g8", "correct_only", "no reference answer"),
        ("g10", "correct_only", "wrong"),
    }
    others = [(r["dataset"], r["step"], r["reason"]) for r in rows if r["source"] != "good"]
    assert others == [
        ("heldout", "deduplicate", "repeated prompt"),
        ("validation", "not_heldout", "held-out prompt"),
        ("demonstrations", "top_sources", "not in the first 2 sources"),
        ("demonstrations", "deduplicate", "repeated demonstration"),
        ("problems", "require_reference", "no reference answer"),
        ("problems", "require_reference", "a reference beyond the limits"),
        ("problems", "deduplicate", "repeated prompt"),
        ("problems", "decontaminate", "same words"),
    ]
    leaked = next(r for r in rows if r["id"] == "good/g7")
    assert "test/h2" in leaked["detail"]
    assert leaked["text"] == f"{LONG}, how many a week?\n\n{say('14')}"


def test_the_funnel_balances_to_the_files(done: PreparedPaths) -> None:
    funnel, dropped = read_json(done.funnel), pq.read_table(done.dropped).to_pylist()
    for name, (role, _, rows) in FILES.items():
        lines = [line for line in funnel if line["source"] == name]
        assert {line["dataset"] for line in lines} == {role}
        assert lines[0]["step"] == "read"
        assert lines[0]["read"] == len(rows)
        assert len(rows) == lines[-1]["kept"] + sum(r["source"] == name for r in dropped)
        for line, after in pairwise(lines):
            assert line["kept"] == after["read"]
        if role in ("demonstrations", "problems"):
            assert lines[-1]["step"] == "disjoint"
            assert lines[-1]["dropped"] == 0


def test_again_gives_the_same_bytes_and_grades_nothing(done: PreparedPaths) -> None:
    """A stage that was killed after grading: its journal is there, its files are not."""
    first = {path.name: path.read_bytes() for path in done.funnel.parent.iterdir()}
    assert set(first) == {Path(p).name for p in (done.demonstrations, done.problems, done.validation, done.heldout)} | {
        "dropped.parquet",
        "audit.parquet",
        "funnel.json",
        "steps.json",
    }
    root = done.funnel.parents[2]
    journal = (root / "prepare" / "verdicts.jsonl").read_bytes()
    run(recipe_of(root, top_sources=2), root)
    assert {path.name: path.read_bytes() for path in done.funnel.parent.iterdir()} == first
    assert (root / "prepare" / "verdicts.jsonl").read_bytes() == journal


def test_the_table_shows_reads_and_drops(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(recipe_of(tmp_path, correct_only=()), tmp_path)
    shown = capsys.readouterr().err
    line = next(line for line in shown.splitlines() if line.split()[:3] == ["demonstrations", "good", "deduplicate"])
    assert line.split()[3:] == ["9", "8", "1", "repeated", "demonstration:", "1"]
    assert "disjoint" not in shown
    # good 7, more 1, noise 1; math 2, code 1
    assert "12 training rows kept; none has the prompt of an evaluation row" in shown


class StrictJudge:
    """Finds everything wrong, and counts."""

    asked: list[str]

    def __init__(self, limits: Any, domains: object, say: object, *, journal: Path | None = None) -> None:
        if journal is not None:  # without one it is only asked whether it could judge
            StrictJudge.asked = []

    def close(self) -> None: ...

    def __enter__(self) -> StrictJudge:
        return self

    def __exit__(self, *error: object) -> None: ...

    def undecidable(self, problems: Sequence[Problem]) -> list[tuple[str, str] | None]:
        return [("a reference beyond the limits", "") if "^" in str(p.answer) else None for p in problems]

    def trial(self, problems: Sequence[Problem]) -> None: ...

    def judge(self, attempts: Sequence[Attempt]) -> list[Verdict]:
        StrictJudge.asked += [a.problem.id for a in attempts]
        return [Verdict(Outcome.INCORRECT, "strict") for _ in attempts]


@pytest.fixture
def strict(monkeypatch: pytest.MonkeyPatch) -> type[StrictJudge]:
    monkeypatch.setattr(prepare, "open_judge", StrictJudge)
    monkeypatch.setattr(vetting, "open_judge", StrictJudge)
    monkeypatch.setattr(vetting, "GRADED_AT_ONCE", 2)
    return StrictJudge


def kept_ids(paths: PreparedPaths) -> list[str]:
    return [row.problem.id for row in read_demonstrations(paths.demonstrations)]


def test_each_switch_turns_its_step_off(tmp_path: Path, strict: type[StrictJudge]) -> None:
    recipe = recipe_of(
        tmp_path, deduplicate=False, decontaminate=Ngrams(length=0), correct_only=(), require_format=False
    )
    paths = run(recipe, tmp_path)
    ids = kept_ids(paths)
    assert ids[:10] == [f"good/g{i}" for i in range(1, 11)]
    assert len(ids) == 13
    # an equal prompt goes even so; another spacing of it is the 9-gram filter's work
    assert [p.id for p in read_problems(paths.problems)[:-1]] == ["math/p", "math/p#2", "math/q", "math/s"]
    steps = {line["step"] for line in read_json(paths.funnel) if line["dataset"] == "demonstrations"}
    assert steps == {"read", "normalise", "decontaminate", "disjoint"}
    assert not hasattr(strict, "asked")


def test_correct_only_asks_about_its_levels_alone(tmp_path: Path, strict: type[StrictJudge]) -> None:
    paths = run(recipe_of(tmp_path, correct_only=("2",)), tmp_path)
    assert strict.asked == ["good/g3"]
    assert "good/g2" in kept_ids(paths)


def test_nothing_left_shows_the_line(tmp_path: Path, strict: type[StrictJudge]) -> None:
    with pytest.raises(DataError, match=r"no demonstrations left.*\n.*good / correct_only: read 7, kept 0.*wrong: 6"):
        run(recipe_of(tmp_path, correct_only=("*",)), tmp_path)
    assert not (tmp_path / "prepare" / "data").exists()


@pytest.mark.parametrize(
    ("name", "rows", "words"),
    [
        (
            "code",
            [{"prompt": "Print.", "tests": [], "domain": "code"}],
            "no code problems left.*\n  problems / code / require_reference.*no tests: 1",
        ),
        (
            "test",
            [{"problem": "Compute 7+7.", "answer": None}],
            "no held-out problems left.*\n.*no reference answer: 1",
        ),
        ("val", [{"problem": "Compute 7+7.", "answer": 14}], "no validation problems left.*\n.*held-out prompt: 1"),
    ],
)
def test_a_needed_set_without_rows(
    tmp_path: Path, strict: type[StrictJudge], name: str, rows: list[dict[str, Any]], words: str
) -> None:
    role, domain, _ = FILES[name]
    recipe = recipe_of(tmp_path, {**FILES, name: (role, domain, rows)}, correct_only=())
    with pytest.raises(DataError, match=words):
        run(recipe, tmp_path)


def test_a_bad_row_is_dropped_and_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bad = {"id": "v3", "problem": "x", "answer": ["y"]}
    files = {**FILES, "val": ("validation", "math", [*VALIDATION, bad])}
    paths = run(recipe_of(tmp_path, files, correct_only=()), tmp_path)
    said = " ".join(capsys.readouterr().err.split())
    assert "prepare: validation / val: 1 of 3 rows (33.3 %) cannot be used (malformed row: 1)" in said
    assert re.search(r"the first is \S*val\.jsonl:3: answer is \['y'\], but a string or a number is expected", said)
    (gone,) = [row for row in pq.read_table(paths.dropped).to_pylist() if row["reason"] == "malformed row"]
    assert (gone["dataset"], gone["source"], gone["id"], gone["step"]) == ("validation", "val", "val/v3", "read")
    assert gone["where"].endswith("val.jsonl:3")
    assert gone["detail"].startswith("answer is ['y']")
    assert json.loads(gone["text"]) == bad
    (line,) = [one for one in read_json(paths.funnel) if (one["source"], one["step"]) == ("val", "read")]
    assert (line["read"], line["kept"], line["reasons"]) == (3, 2, {"malformed row": 1})


def test_a_file_of_bad_rows_alone_is_refused(tmp_path: Path) -> None:
    rows = [{"problem": "x", "answer": ["y"]}, {"problem": "z", "answer": ["y"]}]
    words = r"val\.jsonl:1: answer is \['y'\].*\(as in all of the first 2 rows\)"
    with pytest.raises(DataError, match=words):
        run(recipe_of(tmp_path, {**FILES, "val": ("validation", "math", rows)}), tmp_path)


def test_the_demo_world(tmp_path: Path, strict: type[StrictJudge]) -> None:
    """World files reach `prepare` as `world:NAME`, and stored rows hold no path of this machine."""
    world = World(demonstrations=60, problems=20, validation=5, heldout=10)
    base = recipe_of(tmp_path)
    sources = [Source(name="careful", path="world:demonstrations/careful.jsonl", role="demonstrations")]
    sources += [Source(name="sloppy", path="world:demonstrations/sloppy.parquet", role="demonstrations")]
    for domain in ("math", "code"):
        for role in ("problems", "validation", "heldout"):
            sources.append(Source(name=f"{role}-{domain}", path=f"world:{role}/{domain}.jsonl", role=role))
    recipe = base.model_copy(update={"world": world, "data": Data(source=tuple(sources), correct_only=())})
    stage = tmp_path / "world"
    stage.mkdir()
    world_stage.run(StageContext(recipe, tmp_path, "world", stage))
    paths = run(recipe, tmp_path, world=stage)
    assert read_demonstrations(paths.demonstrations)[0].where.startswith("world:demonstrations/careful.jsonl:")
    assert len(read_problems(paths.heldout)) == 20
    with pytest.raises(DataError, match=r"add .world. to the recipe"):
        run(recipe, tmp_path)


def test_curation_alone_needs_no_evaluation_sets(tmp_path: Path) -> None:
    """Validation problems without held-out ones, a benchmark that is held against and not written, no model."""
    leak = chat(f"{LONG}, and how many do two farmers have in all?", say("14"), answer="14")
    files = {
        "rows": ("demonstrations", "math", [leak, chat("Compute 8+1.", say("9"), answer="9")]),
        "val": ("validation", "math", VALIDATION),
        "bench": ("benchmark", "math", [{"problem": f"{LONG} and how many do two farmers have?"}]),
    }
    paths = run(Recipe(data=Data(source=sources_of(tmp_path, files)), verifiers=Verifiers(workers=1)), tmp_path)
    assert [row.problem.prompt[0]["content"] for row in read_demonstrations(paths.demonstrations)] == ["Compute 8+1."]
    assert len(read_problems(paths.validation)) == 2
    assert read_problems(paths.heldout) == []
    (audited,) = pq.read_table(paths.audit).to_pylist()
    assert audited["item"].startswith("bench/")
    assert audited["text"] == leak["messages"][0]["content"]


def test_a_benchmark_of_programs_asks_for_no_walls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of it is ever run: a host without walls may train on mathematics and be held against MBPP."""
    asked: list[set[str]] = []

    class Asked(StrictJudge):
        def __init__(self, limits: Any, domains: Any, say: object, *, journal: Path | None = None) -> None:
            asked.append(set(domains))

    monkeypatch.setattr(prepare, "open_judge", Asked)
    files = {name: FILES[name] for name in ("more", "test")}
    files["bench"] = ("benchmark", "code", [{"prompt": "Print the sum of all towers."}])
    data = Data(source=sources_of(tmp_path, files), correct_only=())
    run(Recipe(model=TinyModel(), data=data, sft=Sft(max_tokens=20)), tmp_path)
    assert asked == [{"math"}]
