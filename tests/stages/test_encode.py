"""The stage `encode`: what the template and the limits take from the prepared rows is counted, named, said, refused."""

import json

import pytest

from openklear import progress
from openklear.data.store import named_in, write_demonstrations, write_problems
from openklear.durable.files import read_jsonl
from openklear.errors import DataError
from openklear.models.loading import save_model
from openklear.models.tiny import make_tiny
from openklear.recipe.curation import Data, Source
from openklear.recipe.schema import Checkpoints, Evaluation, Phase, Recipe, Rl, Sft, TinyModel
from openklear.recipe.stop import Stop
from openklear.run.context import StageContext
from openklear.stages import encode
from openklear.types import Demonstration, Problem

SYSTEM = {"role": "system", "content": "b"}
REFUSING = (
    "{% for m in messages %}{% if m.role == 'system' %}{{ raise_exception('no system turns here') }}{% endif %}"
    "{{ '<|' + m.role + '|>' + m.content }}{% if m.role == 'assistant' %}{{ '<|im_end|>' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)


def problem(name, text="xy", source="sums", system=False):
    prompt = ({"role": "user", "content": text},)
    return Problem(name, (SYSTEM, *prompt) if system else prompt, "math", answer="1", source=source)


def demonstration(name, response="<think>a</think>1", **more):
    return Demonstration(problem(name, source=more.pop("source", "lessons"), **more), response, f"d.jsonl:{name}")


@pytest.fixture
def desk(tmp_path):
    """Directories of finished stages, and the stage's run over them."""
    return Desk(tmp_path)


class Desk:
    def __init__(self, root):
        self.root, self.out = root, root / "encode"
        self.out.mkdir()
        self.demonstrations = [demonstration("1"), demonstration("2")]
        self.problems = [problem("p1"), problem("p2")]
        self.validation = [problem("v1", source="checks")]
        self.heldout = [problem("h1", source="exam"), problem("h2", source="exam")]
        self.template = None

    def run(self, *, share=0.5, tokens=200, longest=64, keep_best=False, sft=True, overlong="drop", exam=None):
        (self.root / "prepare/data").mkdir(parents=True, exist_ok=True)
        paths = named_in(self.root / "prepare/data")
        write_demonstrations(paths.demonstrations, self.demonstrations)
        write_problems(paths.problems, self.problems)
        write_problems(paths.validation, self.validation)
        write_problems(paths.heldout, self.heldout)
        made = make_tiny(16, 1, 2, 256, 0)
        if self.template is not None:
            made.tokenizer.chat_template = self.template
        save_model(made, self.root / "base/model")
        of = Recipe.model_construct(
            seed=0,
            model=TinyModel(),
            data=Data.model_construct(source=(Source(name="exam", path="x", role="heldout", **(exam or {})),)),
            sft=Sft(max_tokens=tokens, overlong=overlong) if sft else None,
            rl=Rl(phase=(Phase(name="sums", domains=("math",), max_prompt_tokens=longest),)),
            evaluation=Evaluation(),
            checkpoints=Checkpoints(keep_best=keep_best),
            stop=Stop(dropped_share=share),
        )
        inputs = {"prepare": self.root / "prepare", "model": self.root / "base"}
        encode.run(StageContext(of, self.root, "encode", self.out, inputs))
        return {(row["source"], row["consumer"]): row for row in self.read("rows.json")["roles"]}

    def read(self, name):
        return json.loads((self.out / name).read_text())


@pytest.fixture
def said(monkeypatch):
    lines = []
    monkeypatch.setattr(progress, "say", lines.append)
    return lines


def test_rows_that_fit_are_counted_and_nothing_is_said_of_them(desk, said):
    rows = desk.run()
    assert [tuple(row.values()) for row in rows.values()] == [
        ("demonstrations", "lessons", "sft", 2, 2, 0, 18, 10, {}),  # 4 of a prompt, 5 of a response
        ("validation", "checks", "sft", 1, 1, 0, 4, 0, {}),
        ("problems", "sums", "rl-sums", 2, 2, 0, 8, 0, {}),
        ("validation", "checks", "rl-sums", 1, 1, 0, 4, 0, {}),
        ("heldout", "exam", "evaluation", 2, 2, 0, 8, 0, {}),
    ]
    keys = ["role", "source", "consumer", "read", "kept", "cut", "tokens", "trained", "dropped"]
    assert list(next(iter(rows.values()))) == keys
    assert read_jsonl(desk.out / "dropped.jsonl") == []
    assert not [line for line in said if "loses" in line]


def test_one_example_of_each_source_shows_what_is_trained(desk):
    desk.demonstrations.append(demonstration("3", source="other"))
    desk.run(exam={"prompt_template": "{problem}?"})
    assert desk.read("examples.json") == [
        {
            "source": name,
            "role": "demonstrations",
            "segments": [["<|user|>xy<|assistant|>", False], ["<think>a</think>1<|im_end|>", True]],
        }
        for name in ("lessons", "other")
    ] + [
        {"source": "checks", "role": "validation", "segments": [["<|user|>xy<|assistant|>", False]]},
        {"source": "sums", "role": "problems", "segments": [["<|user|>xy<|assistant|>", False]]},
        {"source": "exam", "role": "heldout", "segments": [["<|user|>xy?<|assistant|>", False]]},
    ]


def test_a_template_that_refuses_a_row_costs_that_row_alone_in_every_role(desk, said):
    desk.template = REFUSING
    desk.demonstrations.append(demonstration("9", system=True))
    desk.problems.append(problem("p9", system=True))
    desk.heldout.append(problem("h9", source="exam", system=True))
    rows = desk.run()
    assert rows["lessons", "sft"]["dropped"] == {"refused by the chat template": 1}
    assert rows["sums", "rl-sums"]["kept"] == rows["exam", "evaluation"]["kept"] == 2
    lost = read_jsonl(desk.out / "dropped.jsonl")
    assert [(row["role"], row["where"]) for row in lost] == [
        ("demonstrations", "d.jsonl:9"),
        ("problems", "p9"),
        ("heldout", "h9"),
    ]
    assert all("no system turns here" in row["reason"] for row in lost)
    told = [line for line in said if "loses" in line]
    assert [line.partition(":")[0] for line in told] == ["encode"] * 3
    assert "sft loses 1 of 3 demonstrations of lessons: 1 refused by the chat template; the first: d.jsonl:9" in told[0]


def test_above_the_share_the_run_stops_with_the_first_reason_and_the_remedy(desk):
    desk.demonstrations = [demonstration("1"), *(demonstration(str(n), "z" * 40) for n in (2, 3))]
    with pytest.raises(DataError) as caught:
        desk.run(tokens=30)
    for text in ("sft would lose 2 of 3 demonstrations of lessons", "0.5", "d.jsonl:2", "Raise sft.max_tokens"):
        assert text in str(caught.value)
    assert len(read_jsonl(desk.out / "dropped.jsonl")) == 2  # what it stopped for is on disk
    assert desk.run(tokens=30, share=2 / 3)["lessons", "sft"]["kept"] == 1  # at the share itself it goes on


def test_lost_problems_stop_a_run_before_it_trains(desk):
    with pytest.raises(DataError, match=r"rl-sums would lose 2 of 2 problems.*max_prompt_tokens is 3"):
        desk.run(longest=3)
    desk.run(longest=3, share=1.0)  # never stops


def test_all_of_validation_lost_is_refused_where_it_chooses_the_checkpoint(desk):
    desk.validation = [problem("v1", "x" * 70, source="checks")]
    assert desk.run(share=1.0)["checks", "rl-sums"]["kept"] == 0
    with pytest.raises(DataError, match=r"rl-sums has no validation problem left.*keep_best.*Raise rl\.max_prompt"):
        desk.run(share=1.0, keep_best=True)


def test_rows_that_are_cut_are_said(desk, said):
    desk.demonstrations.append(demonstration("3", "z" * 40))
    row = desk.run(tokens=30, overlong="cut")["lessons", "sft"]
    assert (row["read"], row["kept"], row["cut"], row["dropped"]) == (3, 3, 1, {})
    assert any("trains 1 of 3 demonstrations of lessons without their end" in line for line in said)


def test_without_sft_no_demonstration_is_tried(desk):
    assert ("lessons", "sft") not in desk.run(sft=False)


def test_sources_word_their_problems_and_a_row_with_a_system_turn_of_its_own_is_dropped(desk):
    desk.heldout.append(problem("h9", source="exam", system=True))
    rows = desk.run(exam={"system_prompt": "Be kind.", "prompt_suffix": "Now."})
    assert rows["exam", "evaluation"]["dropped"] == {"system turn beside the source's system_prompt": 1}
    asked = next(one for one in desk.read("examples.json") if one["source"] == "exam")
    assert asked["segments"] == [["<|system|>Be kind.<|user|>xy\nNow.<|assistant|>", False]]


def test_only_the_problems_that_are_asked_are_tried(desk):
    assert desk.run(exam={"limit": 1})["exam", "evaluation"]["read"] == 1


def test_sources_that_take_turns_are_counted_apart_and_losses_stand_in_the_order_of_the_rows(desk):
    names = ("lessons", "other", "lessons", "other", "lessons")
    texts = ("<think>a</think>1", "z" * 40, "z" * 40, "<think>a</think>1", "z" * 40)
    desk.demonstrations = [
        demonstration(str(n), text, source=name) for n, (name, text) in enumerate(zip(names, texts, strict=True))
    ]
    rows = desk.run(tokens=30, share=1.0)
    assert {name: (rows[name, "sft"]["read"], rows[name, "sft"]["kept"]) for name in names} == {
        "lessons": (3, 1),
        "other": (2, 1),
    }
    lost = [row for row in read_jsonl(desk.out / "dropped.jsonl") if row["role"] == "demonstrations"]
    assert [row["where"] for row in lost] == ["d.jsonl:1", "d.jsonl:2", "d.jsonl:4"]
