"""`openklear recipe check`: what will be trained is shown, and what would stop a run is found, before weights are read."""

import json

import pytest

from openklear.cli import main
from openklear.models.loading import save_model
from openklear.models.tiny import make_tiny

TEMPLATE = (
    "{% for m in messages %}{% if m.role == 'system' %}{{ raise_exception('no system turns') }}{% endif %}"
    "{{ '<|' + m.role + '|>' + m.content }}{% if m.role == 'assistant' %}{{ '<|im_end|>' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)
RECIPE = """
[model]
type = "pretrained"
path = "model"
chat_template = "t.jinja"
[[data.source]]
name = "lessons"
path = "lessons.jsonl"
role = "demonstrations"
domain = "math"
[[data.source]]
name = "exam"
path = "exam.jsonl"
role = "heldout"
domain = "math"
prompt_suffix = "Now."
[data]
correct_only = []
[sft]
max_tokens = 64
"""


def row(text, *before):
    turns = [*before, {"role": "user", "content": text}, {"role": "assistant", "content": "<think>a</think>2"}]
    return {"messages": turns, "answer": "2"}


SYSTEM = {"role": "system", "content": "b"}


@pytest.fixture
def desk(tmp_path, capsys):
    def write(name, rows):
        (tmp_path / name).write_text("".join(json.dumps(one) + "\n" for one in rows))

    def run(*more):
        capsys.readouterr()
        code = main.main(["recipe", "check", str(tmp_path / "r.toml"), *more])
        return code, *capsys.readouterr()

    model = make_tiny(16, 1, 2, 128, 0)
    save_model(model, tmp_path / "model")
    (tmp_path / "t.jinja").write_text(TEMPLATE)
    (tmp_path / "r.toml").write_text(RECIPE)
    write("lessons.jsonl", [row("x y"), row("z<|im_end|>")])
    write("exam.jsonl", [{"prompt": "1+1?", "answer": "2"}])
    run.write, run.root = write, tmp_path
    return run


def test_an_example_of_each_source_is_shown_with_the_trained_part_marked(desk):
    code, out, err = desk()
    assert code == 0, err
    assert "lessons (demonstrations), sft: 2 of the first 2 rows" in out
    assert "    <|user|>x y<|assistant|>⟦<think>a</think>2<|im_end|>⟧" in out
    assert "    <|user|>1+1?\n    Now.<|assistant|>" in out
    assert not {path.name for path in desk.root.iterdir()} - {
        "model",
        "t.jinja",
        "r.toml",
        "lessons.jsonl",
        "exam.jsonl",
    }


def test_the_first_row_that_is_kept_is_shown_and_the_lost_are_said(desk):
    desk.write("lessons.jsonl", [row("x", SYSTEM), row("y"), row("z")])
    code, out, _ = desk()
    assert code == 0
    assert "<|user|>y<|assistant|>⟦" in out
    assert "lost: sft loses 1 of 3 demonstrations of lessons: 1 refused by the chat template" in out
    assert "lessons.jsonl:1" in out


def test_what_would_stop_a_run_ends_with_2(desk):
    desk.write("lessons.jsonl", [row("x", SYSTEM), row("y", SYSTEM), row("z")])
    code, _, err = desk()
    assert code == 2
    assert "sft would lose 2 of 3 demonstrations of lessons" in err


@pytest.mark.parametrize(
    ("file", "text", "said"),
    [
        ("t.jinja", TEMPLATE.partition("{% if add_generation_prompt")[0], "ignores add_generation_prompt"),
        ("t.jinja", "{{ messages[0].content + 1 }}", "TypeError"),
        ("exam.jsonl", "no json\n", "exam.jsonl:1"),
        ("lessons.jsonl", "", "lessons"),
    ],
)
def test_every_fault_is_told_without_a_traceback(desk, file, text, said):
    (desk.root / file).write_text(text)
    code, out, err = desk()
    assert code == 2
    assert said in err
    assert "Traceback" not in out + err


def test_faults_of_several_sources_are_told_together(desk):
    (desk.root / "exam.jsonl").write_text("no json\n")
    (desk.root / "lessons.jsonl").unlink()
    _, _, err = desk()
    assert "exam.jsonl:1" in err
    assert "lessons.jsonl" in err


def test_for_programs(desk):
    code, out, _ = desk("--json")
    found = json.loads(out)
    assert code == 0
    assert [(one["source"], one["kept"], one["trained"]) for one in found["examples"]] == [
        ("lessons", 2, 10),
        ("exam", 1, 0),
    ]
    assert found["examples"][0]["segments"] == [
        ["<|user|>x y<|assistant|>", False],
        ["<think>a</think>2<|im_end|>", True],
    ]
    assert found["notes"] == found["faults"] == []
