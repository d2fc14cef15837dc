"""Every key of the schema changes rows, ids, the loss, the schedule or a file.

Most keys are proved by running the stage that they belong to under a base recipe and under one with the key changed:
one named file must differ, and it is never one that merely stores the recipe. Equal recipes give equal files, which is
asserted for every base, or a difference would say nothing.
"""

import hashlib
import importlib
import json
import re
import shutil
import tomllib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch
from tests.easy_sources import write_easy_sources
from tests.recipe import cluster_keys, curation_keys, engine_keys
from tests.training.step_cases import flat_gradient, rollouts, tiny_model
from transformers.models.qwen3.modeling_qwen3 import Qwen3MLP

from openklear import progress, tracking
from openklear.durable.files import read_jsonl
from openklear.errors import DataError, EngineError, ModelError, RecipeError, RunError, UsageError, VerifierError
from openklear.models.loading import save_model
from openklear.models.numerics import set_up
from openklear.models.tiny import make_tiny
from openklear.recipe.keys import keys
from openklear.recipe.load import load_recipe
from openklear.recipe.schema import Phase, Recipe
from openklear.recipe.verifiers import Verifiers
from openklear.rollout.lean import LeanDecoder
from openklear.run.context import StageContext
from openklear.run.pipeline import run_pipeline
from openklear.run.plan import stages
from openklear.stages import rl as rl_stage
from openklear.training.step import policy_gradient
from openklear.types import Attempt, Outcome, Problem, Test, Verdict
from openklear.verifiers.domains import DOMAINS
from openklear.verifiers.judge import open_judge
from openklear.verifiers.pool import WorkerLost
from openklear.verifiers.walls import Boxes

pytestmark = pytest.mark.slow

MINI = Path(__file__).parents[1] / "e2e" / "mini.toml"
WITHOUT_MEANING = {"timings.jsonl", "verdicts.jsonl", "optimizer.pt"}
"""Clocks; the journal, whose order is free; and the optimizer's state, which repeats the recipe's numbers."""

WEIGHTS = "model/model.safetensors"
ROWS = "metrics.jsonl"
SAMPLED = "iterations/000001/rollouts.parquet"
SECOND = "iterations/000002/rollouts.parquet"
ANSWERED = "samples.jsonl"
DEMONSTRATIONS = "data/demonstrations.parquet"
NAMES = "names"
"""Not a file: which files there are."""

Files = dict[str, str]


class Workshop:
    """Inputs that all cases share, and the files that stages leave, kept by stage and recipe."""

    def __init__(self, root: Path):
        self.root = root
        self.sources = write_easy_sources(root / "sources")
        self.known: dict[tuple[str, tuple[str, ...]], Files] = {}
        self.runs = 0
        easy = self.recipe("sft", ("sft.epochs=60", "sft.batch_tokens=600", "sft.learning_rate=0.05"))
        self.world = self.directory("world", self.recipe("world"), {})
        self.prepared = self.directory("prepare", easy, {"world": self.world})
        self.start = self.directory("base", easy, {})
        self.able = self.directory("sft", easy, {"prepare": self.prepared, "model": self.start})

    def recipe(self, stage: str, overrides: tuple[str, ...] = ()) -> Recipe:
        """mini.toml; for the stages with a model, over data that it can learn and with rewards that differ."""
        if stage in ("world", "base"):
            return load_recipe(MINI, overrides)
        if stage == "prepare":  # without grading, which would cost each case its workers
            return load_recipe(MINI, ("data.correct_only=[]", *overrides))
        paths = [f"data.source.{name}.path={path}" for name, path in self.sources.items()]
        loose = ("data.top_sources=1", "data.correct_only=[]", "data.require_format=false", "data.deduplicate=false")
        learn = (
            "model.hidden_size=32",
            "sft.warmup_steps=0",
            "sft.epochs=1",
            "sft.batch_tokens=400",
            "sft.save_every=9",
        )
        sample = ("rl.iterations=2", "rl.group_size=6", "rl.max_completion_tokens=24", "rl.problems_per_update=1")
        score = (
            "checkpoints.keep_last=9",
            "rl.validate_every=2",
            "evaluation.max_completion_tokens=24",
            "evaluation.validation_samples=4",
        )
        return load_recipe(MINI, (*paths, *loose, *learn, *sample, *score, *overrides))

    def directory(self, stage: str, recipe: Recipe, inputs: dict[str, Path]) -> Path:
        """What the stage leaves."""
        self.runs += 1
        directory = self.root / f"{self.runs:03d}-{stage}"
        directory.mkdir()
        module = next(s.module for s in stages(recipe) if s.name == stage)
        importlib.import_module(module).run(StageContext(recipe, self.root, stage, directory, inputs))
        return directory

    def make(self, stage: str, overrides: tuple[str, ...] = ()) -> Path:
        """The stage on the shared inputs."""
        able = {"prepare": self.prepared, "model": self.able}
        inputs = {
            "prepare": {"world": self.world},
            "sft": {"prepare": self.prepared, "model": self.start},
        }.get(stage, able)
        return self.directory(stage, self.recipe(stage, overrides), inputs)

    def files(self, stage: str, overrides: tuple[str, ...] = ()) -> Files:
        """Digests of what the stage leaves on the shared inputs."""
        if (stage, overrides) not in self.known:
            self.known[stage, overrides] = digests(self.make(stage, overrides))
        return self.known[stage, overrides]


def digests(directory: Path) -> Files:
    paths = sorted(p for p in directory.rglob("*") if p.is_file() and p.name not in WITHOUT_MEANING)
    found = {str(p.relative_to(directory)): hashlib.sha256(p.read_bytes()).hexdigest() for p in paths}
    return found | {NAMES: "\n".join(found)}


@pytest.fixture(scope="module")
def workshop(tmp_path_factory):
    progress.quiet(True)
    set_up(1)
    yield Workshop(tmp_path_factory.mktemp("every-key"))
    progress.quiet(False)


Proof = Callable[..., None]


@dataclass(frozen=True)
class Differs:
    """The stage's file is another one after `change`; `base` is written into both recipes, so that the key can act."""

    stage: str
    file: str
    change: tuple[str, ...]
    base: tuple[str, ...] = ()

    def __call__(self, workshop: Workshop) -> None:
        before, after = (workshop.files(self.stage, (*self.base, *more)) for more in ((), self.change))
        assert self.file in before, sorted(before)
        assert self.file in after, sorted(after)
        assert before[self.file] != after[self.file], f"{self.change} left {self.file} of {self.stage} as it was"


def differs(stage: str, file: str, *change: str, base: tuple[str, ...] = ()) -> Differs:
    return Differs(stage, file, change, base)


def sft(change: str, *base: str, file: str = WEIGHTS) -> Differs:
    return differs("sft", file, f"sft.{change}", base=tuple(f"sft.{key}" for key in base))


def rl(change: str, *base: str, file: str = WEIGHTS, phase: str = "math") -> Differs:
    return differs(f"rl-{phase}", file, f"rl.phase.{phase}.{change}", base=tuple(f"rl.{key}" for key in base))


def pretrained(directory: Path, workshop: Workshop, *more: str) -> Files:
    """The base stage over a model directory. mini.toml's model is a tiny one, whose keys do not fit."""
    keys = "\n".join((f'path = "{directory}"', *more))
    text = MINI.read_text().replace(
        'type = "tiny"\nhidden_size = 16\nlayers = 1\nheads = 2', f'type = "pretrained"\n{keys}'
    )
    path = directory.parent / "pretrained.toml"
    path.write_text(text)
    return digests(workshop.directory("base", load_recipe(path), {}))


def saved(tmp_path: Path, name: str, seed: int) -> Path:
    save_model(make_tiny(16, 1, 2, 256, seed), tmp_path / name)
    return tmp_path / name


@dataclass(frozen=True)
class Moves:
    """The gradient of a step is another one after `change`: for the keys of the policy loss, whose stage costs more."""

    objective: str
    change: dict[str, Any]
    aggregation: str = "token_mean"
    table: str = "objective"

    def __call__(self) -> None:
        model = tiny_model()
        sequences = rollouts(model)
        layout = [list(range(len(sequences)))]
        settings = [self.phase({}), self.phase(self.change)]
        found = []
        for one in (*settings, settings[0]):
            model.zero_grad()
            policy_gradient(model, sequences, layout, one)
            found.append(flat_gradient(model))
        assert torch.equal(found[0], found[2])
        assert not torch.equal(found[0], found[1]), f"{self.table} {self.change} left the gradient as it was"

    def phase(self, change: dict[str, Any]) -> Phase:
        tables: dict[str, Any] = {"objective": {"type": self.objective}}
        tables[self.table] = {**tables.get(self.table, {}), **change} if change or self.table == "objective" else None
        tables = {name: table for name, table in tables.items() if table is not None}
        return Phase.model_validate(
            {"name": "math", "domains": ("math",), "aggregation": self.aggregation, "sft_loss_weight": 0.0, **tables}
        )


def moves(objective: str, aggregation: str = "token_mean", **change: float) -> Moves:
    return Moves(objective, change, aggregation)


def corrected(kind: str, **change: Any) -> Callable[[], None]:
    """A key of [rl.correction]: another gradient than the same correction without the change."""

    def proof() -> None:
        gradients = []
        for more in ({}, change):
            one = Moves("gppo", {"type": kind, **more}, table="correction")
            model = tiny_model()
            policy_gradient(model, rollouts(model), [list(range(12))], one.phase(one.change))
            gradients.append(flat_gradient(model))
        assert not torch.equal(*gradients)

    return proof


def gate(**change: float) -> Callable[[], None]:
    def proof() -> None:
        gradients = []
        for more in ({}, change):
            model = tiny_model()
            one = Moves("gppo", {"type": "ratio", "low": 0.95, "high": 1.05, **more}, table="entropy_gate")
            policy_gradient(model, rollouts(model), [list(range(12))], one.phase(one.change))
            gradients.append(flat_gradient(model))
        assert not torch.equal(*gradients)

    return proof


def model_path(workshop, tmp_path):
    one, other = (pretrained(saved(tmp_path, f"m{seed}", seed), workshop) for seed in (1, 2))
    assert one[WEIGHTS] != other[WEIGHTS]


def model_type(workshop, tmp_path):
    given = pretrained(saved(tmp_path, "m", 7), workshop)
    assert given[WEIGHTS] != workshop.files("base")[WEIGHTS]


def model_dtype(workshop, tmp_path):
    directory = saved(tmp_path, "m", 1)
    plain, half = (pretrained(directory, workshop, f'dtype = "{dtype}"') for dtype in ("float32", "bfloat16"))
    assert plain[WEIGHTS] != half[WEIGHTS]


def model_chat_template(workshop, tmp_path):
    directory = saved(tmp_path, "m", 1)
    own = tmp_path / "own.jinja"
    own.write_text("{% for m in messages %}{{ m.content }}<|im_end|>{% endfor %}")
    plain, other = pretrained(directory, workshop), pretrained(directory, workshop, f'chat_template = "{own}"')
    assert plain["model/chat_template.jinja"] != other["model/chat_template.jinja"]


def model_template_args(workshop, tmp_path):
    directory = saved(tmp_path, "m", 1)
    own = tmp_path / "own.jinja"
    own.write_text("{{ mood }}{% for m in messages %}{{ m.content }}<|im_end|>{% endfor %}")
    plain, other = (
        pretrained(directory, workshop, f'chat_template = "{own}"', *more)
        for more in ((), ("template_args = {mood='kind'}",))
    )
    assert plain["model/chat_template.jinja"] != other["model/chat_template.jinja"]


def model_gguf_file(workshop, tmp_path):
    """Without the packages that read such files: the directory is looked into for this file, which is not there."""
    directory = saved(tmp_path, "m", 1)
    pretrained(directory, workshop)
    with pytest.raises(ModelError, match=r"no file weights\.gguf"):
        pretrained(directory, workshop, 'gguf_file = "weights.gguf"')


def threads(workshop, tmp_path):
    recipe = load_recipe(MINI, ["threads=2"])
    try:
        run_pipeline(recipe, tmp_path / "run", stage_list=[s for s in stages(recipe) if s.name == "base"])
        assert torch.get_num_threads() == 2
    finally:
        set_up(1)


def device_key(workshop, tmp_path):
    """Where the weights are: without a GPU, one that is asked for is refused before anything is computed."""
    name = "cuda:99"  # no machine has so many
    recipe = load_recipe(MINI, [f"device={name}"])
    with pytest.raises(UsageError, match=rf'device = "{name}", but'):
        run_pipeline(recipe, tmp_path / "run", stage_list=[s for s in stages(recipe) if s.name == "base"])
    assert not (tmp_path / "run" / "base").exists()


def activation_checkpointing(workshop, monkeypatch):
    """How often a layer of the model is gone through in one step of SFT; its weights are the same."""

    def passes(value: str) -> tuple[int, str]:
        counted = [0]
        with monkeypatch.context() as patched:
            forward = Qwen3MLP.forward
            patched.setattr(
                Qwen3MLP,
                "forward",
                lambda self, x: counted.__setitem__(0, counted[0] + x.requires_grad) or forward(self, x),
            )
            directory = workshop.make("sft", (f"activation_checkpointing={value}",))
        return counted[0], digests(directory)[WEIGHTS]

    (once, plain), (twice, again) = passes("false"), passes("true")
    assert twice == 2 * once > 0
    assert plain == again


def engine_type(workshop):
    """Another kind is another sampler; a name of none is refused with the kinds there are."""
    assert load_recipe(MINI, ["engine.type=local"]) == load_recipe(MINI)
    with pytest.raises(EngineError, match=r"engine\.python: /none"):
        workshop.make("evaluate-sft", ("engine.type=vllm", "engine.python=/none"))
    with pytest.raises(RecipeError, match=r'engine\.type.*"local"'):
        load_recipe(MINI, ["engine.type=sglang"])


def slots(workshop, monkeypatch):
    """The most sequences that the model is ever given at once."""

    def widest(count: int) -> int:
        rows = []
        with monkeypatch.context() as patched:
            step = LeanDecoder.step
            patched.setattr(
                LeanDecoder, "step", lambda self, ids, *rest: rows.append(len(ids)) or step(self, ids, *rest)
            )
            workshop.make("evaluate-sft", (f"engine.slots={count}",))
        return max(rows)

    assert (widest(3), widest(5)) == (3, 5)


def cache_tokens(workshop, monkeypatch):
    """The most tokens of keys and values that there is ever space for; too few for one sequence are refused."""

    def most(count: int) -> int:
        held = []
        with monkeypatch.context() as patched:
            step = LeanDecoder.step

            def stepped(self, tokens, positions, panels):
                held.append(sum(panel.cells for panel in panels))
                return step(self, tokens, positions, panels)

            patched.setattr(LeanDecoder, "step", stepped)
            workshop.make("evaluate-sft", (f"engine.cache_tokens={count}",))
        return max(held)

    assert most(120) <= 120 < most(100_000)
    with pytest.raises(EngineError, match=r"the cache holds 20: raise engine\.cache_tokens"):
        workshop.make("evaluate-sft", ("engine.cache_tokens=20",))


def source_domain(workshop, tmp_path):
    """Rows that do not say what they are."""
    path = tmp_path / "plain.jsonl"
    path.write_text('{"prompt": "m1", "answer": "1", "tests": [{"input": "", "output": "1"}]}\n')

    def domains(value: str) -> list[str]:
        change = (f"data.source.math-problems.path={path}", f"data.source.math-problems.domain={value}")
        change += ("rl.problems_per_iteration=1", "rl.problems_per_update=1")
        rows = pq.read_table(workshop.make("prepare", change) / "data/problems.parquet").to_pylist()
        return [row["domain"] for row in rows if row["source"] == "math-problems"]

    # The recipe's phases want problems of both domains; the other source has the code ones, and mathematics is gone.
    assert domains("math") == ["math"]
    with pytest.raises(Exception, match="no math problems left"):
        domains("code")


def source_name(workshop):
    text = MINI.read_text().replace('"sloppy"\npath', '"teacher-two"\npath')
    path = workshop.root / "renamed.toml"
    path.write_text(text)
    renamed = workshop.directory("prepare", load_recipe(path, ["data.correct_only=[]"]), {"world": workshop.world})
    found = [pq.read_table(d / DEMONSTRATIONS).to_pylist() for d in (renamed, workshop.make("prepare"))]
    assert {row["source"] for row in found[0]} == {"careful", "teacher-two"}
    assert {row["source"] for row in found[1]} == {"careful", "sloppy"}


def dropped_share(workshop):
    """Some of the rows are over the limit: refused below that share, taken above it."""
    limits = ("sft.max_tokens=30",)
    with pytest.raises(DataError, match=r"stop\.dropped_share = 0\.01"):
        workshop.make("encode", (*limits, "stop.dropped_share=0.01"))
    rows = json.loads((workshop.make("encode", (*limits, "stop.dropped_share=0.9")) / "rows.json").read_text())
    assert any(row["dropped"] for row in rows["roles"])


def phase_name(workshop):
    text = MINI.read_text().replace('name = "math"\ndomains', 'name = "sums"\ndomains')
    recipe = load_recipe_text(workshop, text)
    assert [s.name for s in stages(recipe) if s.kind == "rl"] == ["rl-sums", "rl-code"]
    directory = workshop.directory("rl-sums", recipe, {"prepare": workshop.prepared, "model": workshop.able})
    same = workshop.directory("rl-math", load_recipe(MINI), {"prepare": workshop.prepared, "model": workshop.able})
    assert digests(directory)[SAMPLED] != digests(same)[SAMPLED]  # draws are seeded with the name


def load_recipe_text(workshop: Workshop, text: str) -> Recipe:
    path = workshop.root / "other.toml"
    path.write_text(text)
    return load_recipe(path)


def verdicts(limits: Verifiers, tmp_path: Path, *attempts: Attempt) -> tuple[list[Verdict], int]:
    """What the judge of a stage says, and how many processes it had for programs."""
    journal = tmp_path / f"journal-{len(list(tmp_path.iterdir()))}.jsonl"
    with open_judge(limits.limits, DOMAINS, print, journal=journal) as judge:
        return judge.judge(attempts), len(judge.verifiers["code"].grader.pool.pids())


def program(text: str) -> Attempt:
    problem = Problem(text, ({"role": "user", "content": text},), "code", tests=(Test("", "1\n"),))
    return Attempt(problem, f"<think>a</think>\n```python\n{text}\n```")


def workers(workshop, tmp_path):
    attempts = [program(f"import time; time.sleep(0.4); print({n})") for n in (1, 2, 3)]
    counts = [verdicts(Verifiers(workers=n), tmp_path, *attempts)[1] for n in (1, 3)]
    assert counts == [1, 3]


def outcome(attempt: Attempt, tmp_path: Path, **limits: float) -> Outcome:
    ((verdict,), _) = verdicts(Verifiers(**limits), tmp_path, attempt)
    return verdict.outcome


def code_seconds(workshop, tmp_path):
    slow = program("import time\nwhile time.process_time() < 0.7: pass\nprint(1)")
    assert outcome(slow, tmp_path, code_seconds=0.3) is Outcome.INCORRECT
    assert outcome(slow, tmp_path, code_seconds=5.0) is Outcome.CORRECT


def code_memory_mb(workshop, tmp_path):
    large = program("held = bytearray(100 * 2**20)\nprint(1)")
    assert outcome(large, tmp_path, code_memory_mb=64) is Outcome.INCORRECT
    assert outcome(large, tmp_path, code_memory_mb=256) is Outcome.CORRECT


def packages(workshop, tmp_path):
    importing = program("import sortedcontainers\nprint(1)")
    assert outcome(importing, tmp_path) is Outcome.INCORRECT
    assert outcome(importing, tmp_path, packages=("sortedcontainers",)) is Outcome.CORRECT


def math_seconds(workshop, tmp_path):
    problem = Problem("p", ({"role": "user", "content": "x"},), "math", answer=r"\ln x+1")
    attempt = Attempt(problem, r"<think>a</think> \boxed{1+\ln x}")
    assert outcome(attempt, tmp_path, math_seconds=20.0) is Outcome.CORRECT
    # With no time at all the reference cannot be compared with itself either: nobody's answer.
    assert outcome(attempt, tmp_path, math_seconds=0.0001) is Outcome.UNSCORABLE


def minimum_isolation(workshop, tmp_path, monkeypatch):
    start = Boxes.start_at

    def only_rlimits(self, level):
        if level != "rlimits":
            raise WorkerLost("bwrap: Operation not permitted")
        return start(self, level)

    monkeypatch.setattr(Boxes, "start_at", only_rlimits)
    assert outcome(program("print(1)"), tmp_path, minimum_isolation="rlimits") is Outcome.CORRECT
    with pytest.raises(VerifierError, match="minimum_isolation"):
        outcome(program("print(1)"), tmp_path, minimum_isolation="bubblewrap")


OWN = """
def grade(problem, completion):
    return "17" in completion

def odd(problem, completion):
    if problem["id"] < "math-heldout/7":
        raise ValueError("an odd problem")
    return True

def reward(verdict, domain):
    return {"right": 3.0 * verdict.correct, "form": float(verdict.well_formed)}

def other(verdict, domain):
    return -float(verdict.correct)

def loss(logprobs, old_logprobs, advantages, *, loss_mask, clip_low=0.2, clip_high=0.28):
    from openklear.objectives.policy import gppo
    return gppo(logprobs, old_logprobs, advantages, loss_mask=loss_mask, clip_low=clip_low, clip_high=clip_high)

def opposite(logprobs, old_logprobs, advantages, *, loss_mask):
    return -loss(logprobs, old_logprobs, advantages, loss_mask=loss_mask)
"""


@pytest.fixture
def own(tmp_path, monkeypatch):
    """A module of a user: a verifier, reward functions and policy losses."""
    name = f"own_{hashlib.sha256(str(tmp_path).encode()).hexdigest()[:8]}"
    (tmp_path / f"{name}.py").write_text(OWN)
    monkeypatch.syspath_prepend(str(tmp_path))
    return name


def graders(workshop, tmp_path, own):
    """Another verifier, another verdict; and a stage of RL trains on its verdicts, to the stated effect."""
    right = Attempt(Problem("p", ({"role": "user", "content": "x"},), "math", answer="1"), "<think>a</think> 1")
    assert outcome(right, tmp_path) is Outcome.CORRECT
    assert outcome(right, tmp_path, graders={"math": f"{own}:grade"}) is Outcome.INCORRECT
    ours = workshop.files("rl-math")
    assert workshop.files("rl-math", (f"verifiers.graders.math={own}:grade",))[SAMPLED] != ours[SAMPLED]


def tracked(workshop, monkeypatch):
    """What a tracker is told of an SFT stage; its rows come in order."""
    told, rows = [], []

    class Window:
        def __init__(self, opening):
            told.append((opening.project, opening.run))

        def log(self, numbers, step):
            rows.append(step)

        def close(self, summary):
            pass

    monkeypatch.setitem(tracking.KINDS, "trackio", Window)
    workshop.make("sft", ('track.to=["trackio"]', "track.project=mine", "track.name=first"))
    assert told == [("mine", "first")]
    assert rows == list(range(1, len(rows) + 1))
    workshop.make("sft")
    assert len(told) == 1


def sample_every(workshop, capsys):
    progress.quiet(False)
    try:
        for every, shown in ((1, {"1", "2"}), (0, set())):
            workshop.make("rl-math", (f"track.sample_every={every}",))
            said = capsys.readouterr().err
            assert set(re.findall(r"rl-math, iteration (\d+), a sample", said)) == shown
            assert ("validation at 2, a sample" in said) is bool(every)
    finally:
        progress.quiet(True)


def unscorable_share(workshop, own):
    """A verifier that fails at one of two problems: above the share the evaluation stops, below it is scored."""
    keys = (f"verifiers.graders.math={own}:odd", "evaluation.samples=4")
    with pytest.raises(RunError, match=r"are unscorable, above stop\.unscorable_share = 0, .*an odd problem"):
        workshop.make(EVALUATE, (*keys, "stop.unscorable_share=0.0"))
    assert "scores.json" in workshop.files(EVALUATE, (*keys, "stop.unscorable_share=1.0"))


def reward_type(workshop):
    found = [
        workshop.files("rl-math", (f"rl.phase.math.reward.type={kind}",))[SAMPLED]
        for kind in ("report", "klear_released")
    ]
    assert found[0] == workshop.files("rl-math")[SAMPLED]
    assert found[0] != found[1]


def reward_function(workshop, own):
    keys = [
        ("rl.phase.math.reward.type=custom", f"rl.phase.math.reward.function={own}:{name}")
        for name in ("reward", "other")
    ]
    directories = [workshop.make("rl-math", change) for change in keys]
    rows = [pq.read_table(directory / SAMPLED).to_pylist() for directory in directories]
    assert all(json.loads(row["reward_parts"]).keys() == {"right", "form"} for row in rows[0])
    assert {row["reward"] for row in rows[0]} <= {0.0, 1.0, 3.0, 4.0}
    assert {row["reward"] for row in rows[1]} <= {0.0, -1.0}


def objective_function(workshop, own):
    """A function that computes GPPO gives GPPO's weights, bit for bit; one that does not, others."""
    ours = workshop.files("rl-math", (*ONCE, "rl.phase.math.objective={type='gppo'}"))
    found = [digests(workshop.make("rl-math", (*ONCE, custom(own, name)))) for name in ("loss", "opposite")]
    assert found[0][WEIGHTS] == ours[WEIGHTS] != found[1][WEIGHTS]
    assert found[0][SAMPLED] == ours[SAMPLED]


def objective_arguments(workshop, own):
    narrow = "clip_low=0.001, clip_high=0.001"
    ours = workshop.files("rl-math", (*ONCE, f"rl.phase.math.objective={{type='gppo', {narrow}}}"))
    found = [digests(workshop.make("rl-math", (*ONCE, custom(own, "loss", more)))) for more in ("", narrow)]
    assert found[0][WEIGHTS] != ours[WEIGHTS] == found[1][WEIGHTS]


def custom(own: str, name: str, arguments: str = "") -> str:
    return f"rl.phase.math.objective={{type='custom', function='{own}:{name}', arguments={{{arguments}}}}}"


ONCE = ("rl.iterations=1", "rl.validate_every=1")
ADAMW, EIGHT, MUON = (f"optimizer.type={name}" for name in ("adamw", "adamw8bit", "muon"))
STEEP = ("learning_rate=0.003", "validate_every=1", "iterations=3")
"""Reinforcement that soon does harm, so that the best checkpoint is not the last."""
BEST = "checkpoints.keep_best=true"
PREPARE, EVALUATE, HARM = "prepare", "evaluate-sft", tuple(f"rl.{key}" for key in STEEP)

CARRY, CARRIED = "partial_rollouts.type=carry_over", "iterations/000002/carried.parquet"
CARRIES = (CARRY, "correction.type=truncate", "partial_rollouts.extra=1.5", "problems_per_iteration=2")

PROOFS: dict[str, Proof] = {
    "stop.dropped_share": dropped_share,
    "seed": differs("base", WEIGHTS, "seed=1"),
    "threads": threads,
    "device": device_key,
    "activation_checkpointing": activation_checkpointing,
    "microbatch_tokens": differs("sft", WEIGHTS, "microbatch_tokens=210"),
    "seeds.sft": differs("base", WEIGHTS, "seeds.sft=1"),
    "seeds.rl": differs("rl-math", SAMPLED, "seeds.rl=1"),
    "seeds.evaluation": differs("evaluate-sft", ANSWERED, "seeds.evaluation=1"),
    "world.seed": differs("world", "files/heldout/math.jsonl", "world.seed=1"),
    "world.demonstrations": differs("world", "files/demonstrations/careful.jsonl", "world.demonstrations=50"),
    "world.problems": differs("world", "files/problems/math.jsonl", "world.problems=30"),
    "world.validation": differs("world", "files/validation/code.jsonl", "world.validation=5"),
    "world.heldout": differs("world", "files/heldout/code.jsonl", "world.heldout=7"),
    "world.same_prompts": differs("world", "files/demonstrations/careful.jsonl", "world.same_prompts=true"),
    "world.slips": differs("world", "files/demonstrations/sloppy.parquet", "world.slips=0"),
    "world.faulty_tests": differs("world", "files/problems/code.jsonl", "world.faulty_tests=0.5"),
    "world.responses": differs("world", NAMES, "world.responses=1"),
    "model.type": model_type,
    "model.hidden_size [tiny]": differs("base", WEIGHTS, "model.hidden_size=32"),
    "model.layers [tiny]": differs("base", WEIGHTS, "model.layers=2"),
    "model.heads [tiny]": differs("base", WEIGHTS, "model.heads=4"),
    "model.path [pretrained]": model_path,
    "model.gguf_file [pretrained]": model_gguf_file,
    "model.chat_template [pretrained]": model_chat_template,
    "model.template_args [pretrained]": model_template_args,
    "model.dtype [pretrained]": model_dtype,
    "data.source.NAME.name": source_name,
    "data.source.NAME.path": differs(
        PREPARE, "data/heldout.parquet", "data.source.math-heldout.path=world:validation/math.jsonl"
    ),
    "data.source.NAME.role": differs(PREPARE, "data/validation.parquet", "data.source.math-validation.role=heldout"),
    "data.source.NAME.domain": source_domain,
    "data.top_sources": differs(PREPARE, DEMONSTRATIONS, "data.top_sources=1"),
    "data.deduplicate": differs(PREPARE, DEMONSTRATIONS, "data.deduplicate=false"),
    "data.decontaminate.length [ngrams]": differs(PREPARE, DEMONSTRATIONS, "data.decontaminate.length=4"),
    "data.correct_only": differs(PREPARE, DEMONSTRATIONS, 'data.correct_only=["*"]'),
    "data.require_format": differs(
        PREPARE,
        DEMONSTRATIONS,
        "data.require_format=false",
        base=("data.source.sloppy.path=world:demonstrations/noise.jsonl",),
    ),
    "sft.epochs": sft("epochs=2"),
    "sft.batch_tokens": sft("batch_tokens=700"),
    "sft.max_tokens": sft("max_tokens=20", file="tokens.json"),
    "sft.overlong": sft("overlong=cut", "max_tokens=20"),
    "sft.learning_rate": sft("learning_rate=0.01"),
    "sft.min_learning_rate": sft("min_learning_rate=0.001"),
    "sft.warmup_steps": sft("warmup_steps=2"),
    "sft.max_grad_norm": sft("max_grad_norm=0.01", ADAMW, "optimizer.beta2=0.999"),
    "sft.save_every": sft("save_every=1", file=NAMES),
    "sft.optimizer.type": sft(ADAMW),
    "sft.optimizer.beta1 [adamw]": sft("optimizer.beta1=0.5", ADAMW),
    "sft.optimizer.beta2 [adamw]": sft("optimizer.beta2=0.5", ADAMW),
    "sft.optimizer.weight_decay [adamw]": sft("optimizer.weight_decay=0.5", ADAMW),
    "sft.optimizer.beta1 [adamw8bit]": sft("optimizer.beta1=0.5", EIGHT),
    "sft.optimizer.beta2 [adamw8bit]": sft("optimizer.beta2=0.5", EIGHT),
    "sft.optimizer.weight_decay [adamw8bit]": sft("optimizer.weight_decay=0.5", EIGHT),
    "sft.optimizer.momentum [muon]": sft("optimizer.momentum=0.5", MUON),
    "sft.optimizer.adam_ratio [muon]": sft("optimizer.adam_ratio=0.5", MUON),
    "sft.optimizer.weight_decay [muon]": sft("optimizer.weight_decay=0.5", MUON),
    "rl.phase.NAME.name": phase_name,
    "rl.phase.NAME.domains": rl('domains=["code"]', file=SAMPLED),
    "rl.phase.NAME.mix": differs(
        "rl-code",
        SAMPLED,
        "rl.phase.code.mix={ code = 1, math = 3 }",
        base=('rl.phase.code.domains=["code", "math"]', "rl.problems_per_iteration=4"),
    ),
    "rl.phase.NAME.iterations": rl("iterations=3", file=NAMES),
    "rl.phase.NAME.problems_per_iteration": rl("problems_per_iteration=3", file=SAMPLED),
    "rl.phase.NAME.group_size": rl("group_size=5", file=SAMPLED),
    "rl.phase.NAME.problems_per_update": rl("problems_per_update=4"),
    "rl.phase.NAME.learning_rate": rl("learning_rate=0.002"),
    "rl.phase.NAME.warmup_steps": rl("warmup_steps=3"),
    "rl.phase.NAME.max_grad_norm": rl("max_grad_norm=0.1", MUON),
    "rl.phase.NAME.temperature": rl("temperature=0.5", file=SAMPLED),
    "rl.phase.NAME.max_prompt_tokens": rl("max_prompt_tokens=30", file="dropped.jsonl"),
    "rl.phase.NAME.max_completion_tokens": rl("max_completion_tokens=12", file=SAMPLED),
    "rl.phase.NAME.overlong": rl("overlong=incorrect", file=SAMPLED),
    "rl.phase.NAME.sft_loss_weight": rl("sft_loss_weight=0.5"),
    "rl.phase.NAME.filter_zero_advantage": rl("filter_zero_advantage=true", "group_size=2"),
    "rl.phase.NAME.aggregation": rl("aggregation=sequence_mean"),
    "rl.phase.NAME.validate_every": rl("validate_every=1", file=ROWS),
    "rl.phase.NAME.save_every": rl("save_every=1", "validate_every=4", "iterations=3", file=NAMES),
    "rl.phase.NAME.objective.type": rl("objective.type=reinforce"),
    "rl.phase.NAME.objective.function [custom]": objective_function,
    "rl.phase.NAME.objective.arguments [custom]": objective_arguments,
    "rl.phase.NAME.objective.clip_low [gppo]": rl("objective.clip_low=0.001"),
    "rl.phase.NAME.objective.clip_high [gppo]": rl("objective.clip_high=0.001"),
    "rl.phase.NAME.objective.clip_low [ppo_clip]": rl("objective.clip_low=0.001", "objective.type=ppo_clip"),
    "rl.phase.NAME.objective.clip_high [ppo_clip]": rl("objective.clip_high=0.001", "objective.type=ppo_clip"),
    **{
        f"rl.phase.NAME.objective.{key} [{kind}]": moves(kind, aggregation, **{key: value})
        for kind, aggregation, numbers in (
            ("gppo", "token_mean", {"beta_low": 0.5, "beta_high": 0.5, "dual_clip": 1.1}),
            ("ce_gppo", "token_mean", {"clip_low": 0.1, "clip_high": 0.1, "beta_low": 0.5, "beta_high": 0.5}),
            ("ppo_clip", "token_mean", {"dual_clip": 1.1}),
            ("two_sided", "token_mean", {"clip_low": 0.1, "clip_high": 0.1, "delta": 1.1}),
            ("cispo", "token_mean", {"clip_low": 0.1, "clip_high": 0.1}),
            ("cispo_minimax", "token_mean", {"clip_high": 0.1}),
            ("cispo_verl", "token_mean", {"clip_low": 0.1, "clip_high": 0.1}),
            ("cispo_trl", "token_mean", {"cap": 1.1}),
            ("sapo", "token_mean", {"tau_positive": 2.0, "tau_negative": 2.0}),
            ("aspo", "token_mean", {"clip_low": 0.1, "clip_high": 0.1, "cap": 1.1}),
            ("dgpo", "token_mean", {"clip_low": 0.1, "clip_high": 0.1, "n": 2.0, "m": 3.0}),
            ("dppo_tv", "token_mean", {"divergence": 1e-3, "cap": 1.1}),
            ("gspo", "sequence_mean", {"clip_low": 0.5, "clip_high": 0.5}),
            ("gmpo", "sequence_mean", {"clip_low": 0.1, "clip_high": 0.1}),
        )
        for key, value in numbers.items()
    },
    "rl.phase.NAME.entropy_gate.type": rl("entropy_gate={type='ratio', low=0.99, high=1.01}"),
    "rl.phase.NAME.entropy_gate.low [ratio]": gate(low=0.99),
    "rl.phase.NAME.entropy_gate.high [ratio]": gate(high=1.01),
    "rl.phase.NAME.advantage.type": rl("advantage.type=mean_only"),
    "rl.phase.NAME.advantage.std_floor [grpo]": rl("advantage.std_floor=0.9"),
    "rl.phase.NAME.advantage.std_floor [batch_std]": rl("advantage.std_floor=0.9", "advantage.type=batch_std"),
    "rl.phase.NAME.old_logprobs": rl("old_logprobs=trainer", "phase.math.problems_per_update=2"),
    "rl.phase.NAME.correction.type": rl("correction.type=truncate"),
    "rl.phase.NAME.correction.level [truncate]": corrected("truncate", level="sequence"),
    "rl.phase.NAME.correction.cap [truncate]": corrected("truncate", cap=1.1),
    "rl.phase.NAME.correction.level [mask]": corrected("mask", level="sequence"),
    "rl.phase.NAME.correction.low [mask]": corrected("mask", low=0.9),
    "rl.phase.NAME.correction.high [mask]": corrected("mask", high=1.1),
    "rl.phase.NAME.partial_rollouts.type": rl(CARRY, "correction.type=truncate", file=SECOND),
    "rl.phase.NAME.partial_rollouts.extra [carry_over]": rl("partial_rollouts.extra=0.5", *CARRIES, file=CARRIED),
    "rl.phase.NAME.partial_rollouts.oldest [carry_over]": rl(
        "partial_rollouts.oldest=1", *CARRIES, "iterations=3", file="iterations/000003/carried.parquet"
    ),
    "rl.phase.NAME.optimizer.type": rl(MUON),
    "rl.phase.NAME.optimizer.beta1 [adamw]": rl("optimizer.beta1=0.5"),
    "rl.phase.NAME.optimizer.beta2 [adamw]": rl("optimizer.beta2=0.5"),
    "rl.phase.NAME.optimizer.weight_decay [adamw]": rl("optimizer.weight_decay=0.5"),
    "rl.phase.NAME.optimizer.beta1 [adamw8bit]": rl("optimizer.beta1=0.5", EIGHT),
    "rl.phase.NAME.optimizer.beta2 [adamw8bit]": rl("optimizer.beta2=0.5", EIGHT),
    "rl.phase.NAME.optimizer.weight_decay [adamw8bit]": rl("optimizer.weight_decay=0.5", EIGHT),
    "rl.phase.NAME.optimizer.momentum [muon]": rl("optimizer.momentum=0.5", MUON),
    "rl.phase.NAME.optimizer.adam_ratio [muon]": rl("optimizer.adam_ratio=0.5", MUON),
    "rl.phase.NAME.optimizer.weight_decay [muon]": rl("optimizer.weight_decay=0.5", MUON),
    "rl.phase.NAME.reward.type": reward_type,
    "rl.phase.NAME.reward.format_penalty [report]": rl("reward.format_penalty=0.1"),
    "rl.phase.NAME.reward.code [report]": rl("reward.code=hard", phase="code"),
    "rl.phase.NAME.reward.function [custom]": reward_function,
    "data.source.NAME.samples": differs(EVALUATE, ANSWERED, "data.source.math-heldout.samples=3"),
    "data.source.NAME.split": curation_keys.curates("data.source.good.split=test", base=("data.source.good.path=set",)),
    "data.source.NAME.limit": differs(EVALUATE, ANSWERED, "data.source.math-heldout.limit=1"),
    "data.source.NAME.limit_by": differs(
        EVALUATE,
        ANSWERED,
        "data.source.math-heldout.limit_by=seed",
        base=("data.source.math-heldout.limit=1", "seed=1"),
    ),
    "data.source.NAME.system_prompt": differs(EVALUATE, "prompts.jsonl", 'data.source.math-heldout.system_prompt="m"'),
    "data.source.NAME.prompt_suffix": differs("sft", WEIGHTS, 'data.source.careful.prompt_suffix="m"'),
    "data.source.NAME.prompt_template": differs(
        EVALUATE, ANSWERED, 'data.source.math-heldout.prompt_template="{problem} m"'
    ),
    "lora.rank": differs("sft", WEIGHTS, "lora.rank=2", base=("lora.rank=4",)),
    "lora.alpha": differs("sft", WEIGHTS, "lora.alpha=8.0", base=("lora.rank=4",)),
    "lora.dropout": differs("sft", WEIGHTS, "lora.dropout=0.5", base=("lora.rank=4",)),
    "lora.targets": differs("rl-math", WEIGHTS, 'lora.targets=["v_proj"]', base=("lora.rank=4",)),
    "evaluation.samples": differs(EVALUATE, ANSWERED, "evaluation.samples=3"),
    "evaluation.temperature": differs(EVALUATE, ANSWERED, "evaluation.temperature=0.4"),
    "evaluation.top_p": differs(EVALUATE, ANSWERED, "evaluation.top_p=0.5"),
    "evaluation.top_k": differs(EVALUATE, ANSWERED, "evaluation.top_k=1"),
    "evaluation.min_p": differs(EVALUATE, ANSWERED, "evaluation.min_p=0.5"),
    "evaluation.max_completion_tokens": differs(EVALUATE, ANSWERED, "evaluation.max_completion_tokens=9"),
    "evaluation.validation_samples": differs("rl-math", ROWS, "evaluation.validation_samples=3"),
    "verifiers.workers": workers,
    "verifiers.math_seconds": math_seconds,
    "verifiers.code_seconds": code_seconds,
    "verifiers.code_memory_mb": code_memory_mb,
    "verifiers.minimum_isolation": minimum_isolation,
    "verifiers.packages": packages,
    "verifiers.graders": graders,
    "engine.type": engine_type,
    "engine.slots [local]": slots,
    "engine.cache_tokens [local]": cache_tokens,
    **engine_keys.PROOFS,
    **cluster_keys.PROOFS,
    "checkpoints.keep_last": differs("rl-math", NAMES, "checkpoints.keep_last=1", base=("rl.validate_every=1",)),
    "checkpoints.keep_best": differs("rl-math", WEIGHTS, BEST, base=HARM),
    "checkpoints.patience": differs("rl-math", NAMES, "checkpoints.patience=1", base=(*HARM, BEST)),
    "checkpoints.keep_rollouts": differs("rl-math", NAMES, "checkpoints.keep_rollouts=1"),
    "stop.unscorable_share": unscorable_share,
    "track.to": tracked,
    "track.project": tracked,
    "track.name": tracked,
    "track.sample_every": sample_every,
    **curation_keys.PROOFS,
}


def test_every_key_has_a_proof():
    named = [f"{key.path} [{key.only}]" if key.only else key.path for key in keys(Recipe)]
    assert sorted(PROOFS) == sorted(named)


BASES = sorted({(proof.stage, proof.base) for proof in PROOFS.values() if isinstance(proof, Differs)})


@pytest.mark.long
@pytest.mark.parametrize(("stage", "base"), BASES, ids=[" ".join((stage, *base)) for stage, base in BASES])
def test_the_same_recipe_gives_the_same_files(stage, base, workshop):
    assert digests(workshop.make(stage, base)) == workshop.files(stage, base)


def written(table, place=""):
    """Keys that a recipe sets, as the schema names them."""
    for name, value in table.items():
        if isinstance(value, dict):
            yield from written(value, f"{place}{name}.")
        elif isinstance(value, list) and value and isinstance(value[0], dict):
            for item in value:
                yield from written(item, f"{place}{name}.NAME.")
        else:
            yield place + name


QUICKSTART = set(written(tomllib.loads((MINI.parents[2] / "recipes" / "quickstart.toml").read_text())))


def seldom(key):
    """Whether .ci/run proves the key, and make test does not: all that the quickstart does not set, and a phase's."""
    return key not in QUICKSTART or key.startswith("rl.phase.NAME.")


@pytest.mark.parametrize("key", [pytest.param(k, marks=pytest.mark.long) if seldom(k) else k for k in PROOFS])
def test_the_key_changes_what_it_says(key, request):
    proof = PROOFS[key]
    if isinstance(proof, Moves):
        fixtures: Sequence[str] = ()
    elif isinstance(proof, Differs):
        fixtures = ("workshop",)
    elif isinstance(proof, curation_keys.Curates):
        fixtures = ("tmp_path",)
    else:
        fixtures = proof.__code__.co_varnames[: proof.__code__.co_argcount]
    proof(**{name: request.getfixturevalue(name) for name in fixtures})


@pytest.mark.long
@pytest.mark.parametrize(
    ("key", "values"),
    [
        ("overlong", ("incorrect", "mask", "soft")),
        ("aggregation", ("token_mean", "group_token_mean", "sequence_mean", "constant", "klear_released")),
        ("advantage.type", ("grpo", "mean_only", "leave_one_out", "batch_std", "length_weighted")),
    ],
)
def test_no_two_choices_are_the_same(key, values, workshop):
    narrow = ("objective.clip_high=0.001", "objective.clip_low=0.001", "problems_per_update=2")
    models = []
    for value in values:
        phase = tuple(f"rl.phase.math.{k}" for k in (f"{key}={value}", *narrow))
        # Small micro-batches, for klear_released alone depends on them.
        models.append(workshop.files("rl-math", (*phase, "microbatch_tokens=300"))[WEIGHTS])
    assert len(set(models)) == len(values)


def test_patience_stops_early_and_the_best_checkpoint_is_handed_on(workshop):
    directory = workshop.make("rl-math", (*HARM, BEST, "checkpoints.patience=1", "checkpoints.keep_last=9"))
    rows = read_jsonl(directory / ROWS)
    assert len(rows) == 2
    files = digests(directory)
    assert files[WEIGHTS] == files["checkpoints/000001/model.safetensors"]


@pytest.mark.long
def test_adapters_go_on_with_the_same_bits_and_leave_a_whole_model(workshop):
    """A phase that is killed after its first checkpoint, which holds adapters alone, ends with the same weights."""
    changes = ("lora.rank=4", "rl.phase.math.learning_rate=0.01", "rl.phase.math.iterations=3", "rl.save_every=1")
    directory = workshop.make("rl-math", changes)
    whole, before = digests(directory), digests(workshop.able)
    assert whole[WEIGHTS] != before[WEIGHTS]
    assert {name: whole[f"model/{name}"] for name in ("config.json", "tokenizer.json")} == {
        name: before[f"model/{name}"] for name in ("config.json", "tokenizer.json")
    }
    kept = directory / "checkpoints" / "000001"
    assert {path.name for path in kept.iterdir()} == {
        "adapter_config.json",
        "adapter_model.safetensors",
        "optimizer.pt",
        "place.json",
    }
    for name in ("000002", "000003"):
        shutil.rmtree(directory / "checkpoints" / name)
    shutil.rmtree(directory / "model")
    shutil.rmtree(directory / "iterations" / "000003")
    inputs = {"prepare": workshop.prepared, "model": workshop.able}
    rl_stage.run(StageContext(workshop.recipe("rl-math", changes), workshop.root, "rl-math", directory, inputs))
    assert digests(directory) == whole


def test_replayed_iterations_know_what_gate_and_correction_need(workshop):
    """Killed after its first checkpoint, a phase replays recorded iterations and ends with the same weights."""
    keys = (
        "iterations=3",
        "entropy_gate={type='ratio', low=0.99, high=1.01}",
        "correction.type=truncate",
        "save_every=1",
    )
    changes = tuple(f"rl.phase.math.{key}" for key in (*keys, "problems_per_update=2", "learning_rate=0.003"))
    directory = workshop.make("rl-math", changes)
    whole = digests(directory)
    assert whole[WEIGHTS] != workshop.files("rl-math", (*changes[:1], *changes[2:]))[WEIGHTS]  # the gate acts
    for name in ("000002", "000003"):
        shutil.rmtree(directory / "checkpoints" / name)
    shutil.rmtree(directory / "model")
    recorded = (directory / "iterations/000003/rollouts.parquet").stat().st_mtime_ns
    inputs = {"prepare": workshop.prepared, "model": workshop.able}
    rl_stage.run(StageContext(workshop.recipe("rl-math", changes), workshop.root, "rl-math", directory, inputs))
    assert (directory / "iterations/000003/rollouts.parquet").stat().st_mtime_ns == recorded  # not sampled again
    assert digests(directory) == whole
