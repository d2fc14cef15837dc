import pytest
import torch

from openklear.errors import NoSpace
from openklear.models.loading import load_model, weights_hash
from openklear.models.tiny import make_tiny
from openklear.recipe import lengths
from openklear.recipe.schema import Evaluation, Phase, PretrainedModel, Recipe, Rl, Sft, TinyModel
from openklear.run.context import StageContext
from openklear.stages import base

TINY = TinyModel(hidden_size=16, layers=1, heads=2)


def recipe(model=TINY, sft=None, phases=(), completion=100, seed=0):
    """Only what the stage reads; the rules of whole recipes are tested with the recipe."""
    return Recipe.model_construct(
        seed=seed,
        model=model,
        sft=sft,
        rl=Rl(phase=tuple(phases)) if phases else None,
        evaluation=Evaluation(max_completion_tokens=completion),
    )


def phase(prompt, completion):
    return Phase(name=f"p{prompt}", domains=("math",), max_prompt_tokens=prompt, max_completion_tokens=completion)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"completion": 100}, 128),
        ({"completion": 128}, 128),
        ({"completion": 10, "sft": Sft(max_tokens=129)}, 192),
        ({"completion": 10, "phases": [phase(30, 40), phase(100, 100)]}, 256),
        ({"completion": 90, "phases": [phase(100, 1), phase(60, 10)]}, 192),  # the longest prompt meets evaluation
    ],
)
def test_max_positions(arguments, expected):
    assert lengths.max_positions(recipe(**arguments)) == expected


def context(tmp_path, **arguments):
    directory = tmp_path / "base"
    directory.mkdir(exist_ok=True)
    return StageContext(recipe=recipe(**arguments), root=tmp_path, name="base", directory=directory)


def test_tiny(tmp_path):
    run = context(tmp_path, seed=3)
    base.run(run)
    loaded = load_model(run.directory / "model")
    expected = make_tiny(16, 1, 2, 128, seed=3).model
    assert all(torch.equal(a, b) for a, b in zip(loaded.model.parameters(), expected.parameters(), strict=True))
    assert sorted(path.name for path in run.directory.iterdir()) == ["model"]


def test_a_finished_model_is_left_alone(tmp_path):
    run = context(tmp_path)
    base.run(run)
    before = {path: path.stat().st_mtime_ns for path in (run.directory / "model").iterdir()}
    base.run(run)
    assert before == {path: path.stat().st_mtime_ns for path in (run.directory / "model").iterdir()}


def test_pretrained_with_its_own_template(tmp_path):
    first = context(tmp_path)
    base.run(first)
    template = tmp_path / "own.jinja"
    template.write_text("{% for m in messages %}{{ m.content + '<|im_end|>' }}{% endfor %}")
    (tmp_path / "second").mkdir()
    model = PretrainedModel(type="pretrained", path=str(first.directory / "model"), chat_template=str(template))
    second = context(tmp_path / "second", model=model)
    base.run(second)
    assert weights_hash(second.directory / "model") == weights_hash(first.directory / "model")
    assert load_model(second.directory / "model").tokenizer.chat_template == template.read_text()


def test_a_failure_leaves_nothing(tmp_path, monkeypatch):
    def fail(loaded, directory):
        (directory / "half").write_text("x")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(base, "save_model", fail)
    run = context(tmp_path)
    with pytest.raises(NoSpace):
        base.run(run)
    assert list(run.directory.iterdir()) == []
