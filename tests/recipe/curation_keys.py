"""Sources in which every key of [data] finds something to do, and the proofs that it does."""

from __future__ import annotations

import importlib
import json
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from openklear.cluster import join
from openklear.data.store import prepared
from openklear.durable.files import read_json
from openklear.models.loading import save_model
from openklear.models.tiny import make_tiny
from openklear.recipe.load import load_recipe
from openklear.run.context import StageContext
from openklear.run.plan import stages
from openklear.stages import card

RECIPE = """
[data]
correct_only = []
require_format = false
[verifiers]
minimum_isolation = "rlimits"
workers = 1
"""
SOURCE = '[[data.source]]\nname = "{0}"\npath = "{0}.jsonl"\nrole = "{1}"\ndomain = "{2}"\n'
STORY = (
    "A farmer named {} keeps {} brown hens behind the old mill and sells their eggs on the market every Friday morning"
)
THOUGHT = "<think>I count them one by one.</think>It is \\boxed{3}."


def _demonstrations() -> dict[str, list[dict[str, Any]]]:
    good = [
        {"prompt": STORY.format("Ann", 7) + ". How many does she sell?", "response": THOUGHT},
        {"prompt": STORY.format("Ann", 7) + ". How many eggs does she sell now?", "response": THOUGHT},
        {
            "prompt": "Combien de poules le fermier garde-t-il derrière le vieux moulin, et pourquoi?",
            "response": THOUGHT,
        },
        {"prompt": "Short one?", "response": THOUGHT},
        {"prompt": "Count the stones.\r\nCount the sticks.", "response": THOUGHT},
        {"prompt": "How long is a train that takes a minute to pass?", "response": THOUGHT + " And so on." * 40},
        {"prompt": "How far does the swallow fly?", "response": "<think>It flies and flies and"},
        {
            "prompt": "The first line contains a single integer n, the number of towers in the town. Sort them.",
            "response": THOUGHT,
        },
    ]
    more = [
        {"prompt": f"What is the {name} number after {n}?", "response": f"We add.\n#### {n}", "other": "It is so."}
        for n, name in enumerate(("next", "odd", "even", "prime"))
    ]
    return {"good": [{**row, "answer": "3"} for row in good], "more": [{**row, "answer": "3"} for row in more]}


def _problems() -> list[dict[str, Any]]:
    tests = [{"input": "1 2", "output": "3"}, {"input": "2 2", "output": "5"}, {"input": "4 5", "output": "9"}]
    sums = "print(sum(map(int, input().split())))"
    return [
        {"id": "sum", "prompt": "Print the sum of two numbers.", "tests": tests, "solution": sums},
        {"id": "one", "prompt": "Print the first number.", "tests": tests[:1]},
        {"id": "easy", "prompt": "Print three.", "tests": tests},
    ]


BENCH = [
    "The first line contains a single integer n, the number of towers. Print the height of the tallest pair of kites."
]
FILES = {
    "good": ("demonstrations", "math"),
    "more": ("demonstrations", "math"),
    "code": ("problems", "code"),
    "bench": ("benchmark", "math"),
}
SAID = {
    _demonstrations()["good"][0]["prompt"]: (True, True, True, True, False),
    "Short one?": (True, False, False, False, False),
    "Print the sum of two numbers.": (True, True, False),
    "Print three.": (True, True, True, False),
}


def write(directory: Path) -> Path:
    """The sources, responses of a model, and the recipe that names the sources."""
    rows = {**_demonstrations(), "code": _problems(), "bench": [{"prompt": text} for text in BENCH]}
    directory.mkdir(parents=True)
    for name, some in rows.items():
        (directory / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in some))
    (directory / "set").mkdir()
    for split, name in (("train", "good"), ("test", "more")):
        (directory / "set" / f"{split}.jsonl").write_bytes((directory / f"{name}.jsonl").read_bytes())
    said = [
        {
            "prompt": [{"role": "user", "content": prompt}],
            "sample": sample,
            "outcome": "correct" if right else "incorrect",
            "passed": 3 if right else 1,
            "total": 3,
            "extracted": "3" if right else "4",
        }
        for prompt, answers in SAID.items()
        for sample, right in enumerate(answers)
    ]
    (directory / "said").mkdir()
    pq.write_table(pa.Table.from_pylist(said), directory / "said" / "responses.parquet")
    sources = "".join(SOURCE.format(name, *place) for name, place in FILES.items())
    (directory / "recipe.toml").write_text(RECIPE + sources)
    return directory / "recipe.toml"


def made(root: Path, name: str, overrides: tuple[str, ...]) -> Path:
    """The stage prepare in `root/name`, over the sources in `root/sources`."""
    recipe = root / "sources" / "recipe.toml"
    if not recipe.exists():
        write(recipe.parent)
    stage = root / name / "prepare"
    stage.mkdir(parents=True)
    of = load_recipe(recipe, overrides)
    module = next(one.module for one in stages(of) if one.name == "prepare")
    importlib.import_module(module).run(StageContext(of, root / name, "prepare", stage))
    return stage


@dataclass(frozen=True)
class Curates:
    """The rows of the set are others after `change`; `base` is written into both recipes."""

    change: tuple[str, ...]
    base: tuple[str, ...] = ()
    rows: str = "demonstrations"

    def __call__(self, tmp_path: Path) -> None:
        """Run both, and the first again: equal recipes must give equal rows, or a difference would say nothing."""
        found = [
            pq.read_table(getattr(prepared(made(tmp_path, name, (*self.base, *more))), self.rows)).to_pylist()
            for name, more in (("one", ()), ("again", ()), ("other", self.change))
        ]
        assert found[0] == found[1]
        assert found[0] != found[2], f"{self.change} left the {self.rows} as they were"


def curates(*change: str, base: tuple[str, ...] = (), rows: str = "demonstrations") -> Curates:
    """Short for `Curates`."""
    return Curates(change, base, rows)


def licence(tmp_path: Path) -> None:
    """The data card states it."""
    cards = []
    for name, change in (("one", ()), ("other", ('data.source.good.licence="MIT-like"',))):
        stage = made(tmp_path, name, change)
        recipe = load_recipe(tmp_path / "sources" / "recipe.toml", change)
        card.run(StageContext(recipe, tmp_path / name, "card", tmp_path / name, {"prepare": stage}))
        cards.append((tmp_path / name / "data-card.md").read_text())
    assert "MIT-like" not in cards[0]
    assert "MIT-like" in cards[1]


def sentence_model(tmp_path: Path) -> None:
    """Another embedding, another choice; the facts of the step say how well each covers."""
    save_model(make_tiny(16, 1, 2, 256, 1), tmp_path / "model")
    base = ("data.selection.budget=5",)
    facts = []
    for name, change in (("one", ()), ("other", (f"data.selection.embedding={tmp_path / 'model'}",))):
        steps = read_json(prepared(made(tmp_path, name, (*base, *change))).steps)
        facts.append(next(step["facts"]["coverage"] for step in steps if step["step"] == "selection"))
    assert facts[0]["radius"] != facts[1]["radius"]


def engines(tmp_path: Path, monkeypatch: Any) -> None:
    """It changes no row, so what is seen is that the cluster is asked, at the address (tests/e2e/test_cluster.py)."""
    asked: list[str | None] = []

    def use_ray(address: str | None) -> None:
        asked.append(address)
        raise InterruptedError

    monkeypatch.setattr(join, "use_ray", use_ray)
    made(tmp_path, "local", ())
    assert asked == []
    for number, more in enumerate(((), ('data.engine.address="there:1"',))):
        try:
            made(tmp_path, f"ray{number}", ("data.engine.type=ray", *more))
        except InterruptedError:
            continue
        raise AssertionError("the cluster was not asked")
    assert asked == [None, "there:1"]


SAYS, VETS = "data.difficulty.responses=said", "data.vetting.min_tests=0"
CODE = partial(curates, rows="problems")
RUN = {"base": (VETS, "data.vetting.check_solutions=false")}
PROOFS = {
    "seeds.data": curates("seeds.data=1", base=("data.mixture_rows=4",)),
    "data.source.NAME.columns": curates("data.source.more.columns={response='other'}"),
    "data.source.NAME.reasoning": curates("data.source.more.reasoning=plain"),
    "data.source.NAME.weight": curates("data.source.more.weight=3", base=("data.mixture_rows=4",)),
    "data.source.NAME.licence": licence,
    "data.domains": curates('data.domains=["code"]', base=('data.source.more.domain="code"',)),
    "data.normalise": curates("data.normalise=false"),
    "data.near_duplicates.threshold": curates(
        "data.near_duplicates.threshold=0.7", base=("data.near_duplicates.threshold=1",)
    ),
    "data.decontaminate.type": curates("data.decontaminate.type=weighted"),
    "data.lengths.min_prompt": curates("data.lengths.min_prompt=15"),
    "data.lengths.max_prompt": curates("data.lengths.max_prompt=60"),
    "data.lengths.max_response": curates("data.lengths.max_response=200"),
    "data.languages": curates('data.languages=["en"]'),
    "data.drop_broken": curates("data.drop_broken=true"),
    "data.difficulty.responses": curates(SAYS),
    "data.difficulty.easy": curates("data.difficulty.easy=0.9", base=(SAYS,)),
    "data.difficulty.hard": curates("data.difficulty.hard=0.1", base=(SAYS,)),
    "data.levels": curates('data.levels=["easy"]', base=(SAYS,)),
    "data.vetting.min_tests": CODE("data.vetting.min_tests=2", **RUN),
    "data.vetting.check_solutions": CODE("data.vetting.check_solutions=true", **RUN),
    "data.vetting.responses": CODE("data.vetting.responses=said", **RUN),
    "data.vetting.code_pass_rate": CODE(
        "data.vetting.code_pass_rate=0.8", base=(*RUN["base"], "data.vetting.responses=said")
    ),
    "data.vetting.policy_responses": CODE("data.vetting.policy_responses=said", **RUN),
    "data.vetting.policy_low": CODE(
        "data.vetting.policy_low=0.7", base=(*RUN["base"], "data.vetting.policy_responses=said")
    ),
    "data.vetting.policy_high": CODE(
        "data.vetting.policy_high=0.7", base=(*RUN["base"], "data.vetting.policy_responses=said")
    ),
    "data.selection.budget": curates("data.selection.budget=4", base=("data.selection.budget=6",)),
    "data.selection.embedding": sentence_model,
    "data.mixture_rows": curates("data.mixture_rows=4"),
    "data.engine.type": engines,
    "data.engine.address [ray]": engines,
}
