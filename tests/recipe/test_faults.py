"""Every fault of a recipe is named with its key and its remedy, and all of them at once."""

from pathlib import Path

import pytest

from openklear.errors import RecipeError
from openklear.recipe.load import load_recipe
from openklear.run.plan import stages

GOOD = """
seed = 1
microbatch_tokens = 512

[world]
seed = 2

[model]
type = "tiny"
heads = 4

[data]
deduplicate = true
decontaminate.length = 9
correct_only = ["1"]

[[data.source]]
name = "careful"
path = "world:demonstrations/careful.jsonl"
role = "demonstrations"

[[data.source]]
name = "easy"
path = "problems.jsonl"
role = "problems"
domain = "math"

[[data.source]]
name = "heldout"
path = "heldout.jsonl"
role = "heldout"

[sft]
epochs = 2
max_tokens = 128

[rl]
max_prompt_tokens = 64
max_completion_tokens = 64
problems_per_iteration = 16
reward.format_penalty = 0.5

[[rl.phase]]
name = "math"
domains = ["math"]
objective.type = "reinforce"

[checkpoints]
keep_last = 1
"""


def faults(folder: Path, text: str, *overrides: str) -> str:
    path = folder / "recipe.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(RecipeError) as caught:
        load_recipe(path, overrides)
    assert str(caught.value).startswith(str(path))
    return str(caught.value)


def test_the_good_recipe_is_good(tmp_path):
    (tmp_path / "recipe.toml").write_text(GOOD)
    load_recipe(tmp_path / "recipe.toml")


# (what stands in the good recipe, what replaces it, fragments of the message)
KEYS = [
    ("epochs = 2", "epoch = 2", ["sft.epoch: unknown key; did you mean epochs?", "its keys are epochs, batch_tokens,"]),
    ("seed = 1", "sede = 1", ["sede: unknown key; did you mean seed?", "its keys are seed, seeds, threads,"]),
    ("seed = 1", "[evalution]\n[x]", ["evalution: unknown key; did you mean evaluation?"]),
    ("seed = 1", "group_size = 4", ["group_size: unknown key; it is a key elsewhere: rl.phase.NAME.group_size;"]),
    ("deduplicate = true", "dedup = true", ["data.dedup: unknown key; did you mean deduplicate?"]),
    ('domain = "math"', 'domian = "math"', ["data.source.easy.domian: unknown key; did you mean domain?"]),
    (
        "heads = 4",
        "head = 4",
        ["model.head: unknown key; did you mean heads?", "its keys are type, hidden_size, layers, heads"],
    ),
    (
        "heads = 4",
        'path = "x"',
        ["model.path: path is not a key of tiny; it belongs to pretrained; remove it or change type"],
    ),
    (
        'objective.type = "reinforce"',
        'objective = {type = "reinforce", clip_low = 0.1}',
        [
            "rl.phase.math.objective.clip_low: clip_low is not a key of reinforce; it belongs to gppo, ce_gppo, ppo_clip, two_sided, cispo, cispo_verl, aspo,"
        ],
    ),
    (
        'objective.type = "reinforce"',
        "iteration = 3",
        ["rl.phase.math.iteration: unknown key; did you mean iterations?"],
    ),
    (
        "reward.format_penalty",
        "reward.format_penlty",
        ["rl.reward.format_penlty: unknown key; did you mean format_penalty?"],
    ),
    ("[sft]", "[sft]\noptimizer = {momentum = 0.9}", ["momentum is not a key of adamw; it belongs to muon"]),
    ("[rl]", '[rl]\nname = "x"', ["rl.name: is not a default: each [[rl.phase]] has its own name; remove it here"]),
    ("[rl]", "[rl]\nlr = 1", ["rl.lr: unknown key;"]),
]
TYPES = [
    (
        "epochs = 2",
        'epochs = "2"',
        ['sft.epochs: must be a whole number > 0, not the text "2"; write it as TOML does, without quotes'],
    ),
    ("epochs = 2", "epochs = 2.0", ["sft.epochs: must be a whole number > 0, not 2.0; write 2"]),
    ("epochs = 2", "epochs = true", ["sft.epochs: must be a whole number > 0, not true; write, for example, 4"]),
    ("epochs = 2", "epochs = 2024-05-01", ["sft.epochs: must be a whole number > 0, not 2024-05-01"]),
    (
        "epochs = 2",
        'learning_rate = "fast"',
        ['sft.learning_rate: must be a number > 0, not the text "fast"; write, for example, 8e-05'],
    ),
    ("epochs = 2", "learning_rate = nan", ["sft.learning_rate: must be a number > 0, not nan"]),
    ("epochs = 2", "learning_rate = inf", ["sft.learning_rate: must be a number > 0, not inf"]),
    (
        "deduplicate = true",
        'deduplicate = "true"',
        ["data.deduplicate: must be true or false", "write true without quotes"],
    ),
    ("deduplicate = true", "deduplicate = 1", ["data.deduplicate: must be true or false, not 1"]),
    ('name = "easy"', "name = 7", ['must be text, not 7; write it in quotes, "7"']),
    (
        'correct_only = ["1"]',
        'correct_only = "1"',
        ['data.correct_only: must be a list of text, not the text "1"; write ["1"]'],
    ),
    (
        'correct_only = ["1"]',
        "correct_only = [1]",
        ['data.correct_only[0]: must be text, not 1; write it in quotes, "1"'],
    ),
    (
        'domains = ["math"]',
        'domains = ["maths"]',
        ['rl.phase.math.domains[0]: must be "math" or "code"', 'did you mean "math"?'],
    ),
    (
        "[sft]",
        "[sft]\noptimizer = 3",
        ["sft.optimizer: must be a table, not 3; write [sft.optimizer] with its keys below"],
    ),
    ("[checkpoints]\nkeep_last = 1", "[[checkpoints]]", ["checkpoints: must be a table"]),
    ("[[rl.phase]]", "[rl.phase]", ["rl.phase: must be a list of tables; write [[rl.phase]] with double brackets"]),
    (
        'role = "problems"\ndomain = "math"',
        'role = "problem"\ndomain = "math"',
        ['data.source.easy.role: must be "demonstrations", "problems",', 'did you mean "problems"?'],
    ),
]
RANGES = [
    ("epochs = 2", "epochs = 0", ["sft.epochs: must be a whole number > 0, not 0; write, for example, 4"]),
    ("[rl]", "[rl]\ngroup_size = 1", ["rl.group_size: must be a whole number >= 2, not 1; write, for example, 8"]),
    ("[rl]", "[rl]\nobjective = {clip_low = 1.5}", ["rl.objective.clip_low: must be a number from 0 to 1, not 1.5"]),
    (
        "[sft]",
        "[evaluation]\ntop_p = 0\n[sft]",
        ["evaluation.top_p: must be a number > 0 and <= 1, not 0; write, for example, 0.95"],
    ),
    ("[sft]", "[evaluation]\ntemperature = -1\n[sft]", ["evaluation.temperature: must be a number >= 0, not -1"]),
    ("[rl]", "[rl]\ntemperature = 0", ["rl.temperature: must be a number > 0, not 0"]),
    (
        "keep_last = 1",
        "keep_rollouts = -1",
        ["checkpoints.keep_rollouts: must be a whole number > 0, not -1; remove the key"],
    ),
]
MISSING = [
    (
        'path = "problems.jsonl"',
        "",
        ["data.source.easy.path: missing; add it (text: file, directory or glob of JSONL,"],
    ),
    ('name = "easy"', "", ["data.source[1].name: missing; add it (text: name in the funnel"]),
    ('domains = ["math"]', "", ["rl.phase.math.domains: missing; add it"]),
    (
        '[model]\ntype = "tiny"\nheads = 4',
        "",
        ["sft: [sft] trains a model, but there is no [model]; add it, or remove [sft]", "rl: [rl] trains"],
    ),
    ('type = "tiny"', "", ['model.type: missing; write type = one of "tiny", "pretrained"']),
    (
        'type = "tiny"',
        'type = "tinny"',
        ['model.type: there is no tinny; did you mean tiny? choose from "tiny", "pretrained"'],
    ),
    (
        'objective.type = "reinforce"',
        'objective.type = "dapo"',
        ['rl.phase.math.objective.type: there is no dapo; did you mean sapo or aspo or dgpo? choose from "gppo", '],
    ),
    (
        "[rl]",
        '[rl]\nobjective.type = "gpo"',
        ["rl.objective.type: there is no gpo; did you mean gppo or dgpo or gspo or gmpo?"],
    ),
    (
        '[[rl.phase]]\nname = "math"\ndomains = ["math"]\nobjective.type = "reinforce"',
        "",
        ["rl.phase: missing; add it (table: the phases, in order)"],
    ),
    ('type = "tiny"\nheads = 4', 'type = "pretrained"', ["model.path: missing; add it"]),
]
RULES = [
    ("[sft]", '[data.difficulty]\nresponses = "d"\nhard = 0.9\n\n[sft]', ["data.difficulty.hard: 0.9 is above easy 0.75"]),
    ("[sft]", '[data.vetting]\npolicy_low = 0.5\npolicy_high = 0.5\n\n[sft]', ["policy_low: 0.5 is not below policy_high 0.5"]),
    ('path = "problems.jsonl"', 'path = "$NOT_SET_ANYWHERE/x.jsonl"', ["data.source.easy.path: the environment variable NOT_SET_ANYWHERE is not set"]),
    ("heads = 4", "heads = 5", ["model.heads: 5 heads do not divide hidden_size 64; choose a divisor of it"]),
    ("heads = 4", "heads = 64", ["model.heads: a head's size (hidden_size / heads) is 1, but must be even"]),
    ("problems_per_iteration = 16", "problems_per_iteration = 8", ["rl.phase.math.problems_per_update: 16 is above problems_per_iteration 8; lower"]),
    ("epochs = 2", "min_learning_rate = 1.0", ["sft.min_learning_rate: 1 is above learning_rate 8e-05; lower"]),
    ('name = "math"', 'name = "Math 1"', ['.name: "Math 1" cannot name a phase; use lower-case letters, digits and -']),
    ('name = "math"', 'name = ""', ['"" cannot name a phase']),
    ("[checkpoints]", '[[rl.phase]]\nname = "math"\ndomains = ["math"]\n[checkpoints]', ['a second phase is named "math"; give each its own name']),
    ('name = "easy"', 'name = "careful"', ['a second source is named "careful"; give each its own name']),
    ('name = "easy"', 'name = "a.b"', ['"a.b" cannot name a source; use letters, digits, - and _ only']),
    ("[world]\nseed = 2", "", ["data.source.careful.path: world:demonstrations/careful.jsonl is a file of the demo world, but there is no [world]; add"]),
    ('domains = ["math"]', 'domains = ["math", "code"]', ["rl.phase.math.domains: no source has code problems; add a [[data.source]]"]),
    ('domains = ["math"]', 'domains = ["math", "math"]', ['rl.phase.math.domains: "math" is listed twice']),
    ('domains = ["math"]', "domains = []", ["rl.phase.math.domains: the phase trains on nothing; write"]),
    ('domains = ["math"]', 'domains = ["math"]\nmix = { math = 1, code = 1 }', ["rl.phase.math.mix: must give each of the phase's domains its share, and no other: math"]),
    ('domains = ["math"]', 'domains = ["math", "code"]\nmix = { math = 40, code = 1 }', ["rl.phase.math.mix: leaves no code problem among problems_per_iteration = 16; raise its share"]),
    ('domains = ["math"]', 'domains = ["math"]\nmix = { math = 0 }', ["rl.phase.math.mix.math: must be a number > 0, not 0"]),
    ('role = "problems"', 'role = "validation"', ["rl.phase.math.domains: no source has math problems"]),
    ('role = "heldout"', 'role = "validation"', ['data.source: no source has role = "heldout": the final evaluation has no problems; add']),
    ('role = "demonstrations"', 'role = "validation"', ['no source has role = "demonstrations": [sft] has nothing to learn from; add', "or remove [sft]"]),
    ("keep_last = 1", "patience = 3", ["checkpoints.patience: a run that stops early", "set keep_best = true, or remove patience"]),
    ("keep_last = 1", "keep_best = true", ['checkpoints.keep_best: nothing says which checkpoint is best; add a [[data.source]] with role = "validation"']),
    ("keep_last = 1", 'keep_best = true\n[[data.source]]\nname = "v"\npath = "v"\nrole = "validation"\ndomain = "code"', ["rl.phase.math.domains: checkpoints.keep_best chooses by validation, but no validation source has math problems; add"]),
    ("microbatch_tokens = 512", "microbatch_tokens = 127", ["microbatch_tokens: 127 tokens cannot hold the longest sequence", "128 (sft.max_tokens), 128 (rl.phase.math: max_prompt_tokens + max_completion_tokens); raise microbatch_tokens to 128 or more"]),
    ("decontaminate.length = 9", "decontaminate.length = 1", ["data.decontaminate.length: 1 words in a row are shared by unrelated prompts; write 4 or more, or 0"]),
    ("decontaminate.length = 9", "decontaminate.length = 3", ["data.decontaminate.length: 3 words"]),
    ('role = "problems"', 'role = "problems"\nsamples = 2', ['data.source.easy.samples: says how held-out problems are asked, but the role is "problems"; leave samples out']),
    ('role = "problems"', 'role = "problems"\nlimit_by = "seed"', ["data.source.easy.limit_by: there is no limit to draw by the seed; add limit, or leave"]),
    ('role = "demonstrations"', 'role = "demonstrations"\nsplit = "train"', ["data.source.careful.split: world:demonstrations/careful.jsonl is one file, which has no splits; leave split out"]),
    ('correct_only = ["1"]', 'correct_only = ["1", "easy", "simple"]\ndifficulty.responses = "said"', ["data.correct_only: simple is no level that [data.difficulty] gives; they are easy, medium, hard"]),
    ('role = "problems"', 'role = "problems"\nprompt_template = "{problem}!"', ["data.source.easy.prompt_template: says how held-out"]),
    ('role = "heldout"', 'role = "heldout"\nlimit_by = "seed"', ["data.source.heldout.limit_by: there is no limit to draw by the seed; add limit, or leave"]),
    ('role = "heldout"', 'role = "heldout"\nprompt_template = "{problem}!"\nprompt_suffix = "Now."', ["data.source.heldout.prompt_suffix: prompt_template already says how the question is worded"]),
    ('role = "heldout"', 'role = "benchmark"\nprompt_suffix = "Now."', ["data.source.heldout.prompt_suffix: a benchmark is never asked; leave prompt_suffix out"]),
    ('role = "problems"', 'role = "problems"\nsystem_prompt = " "', ["data.source.easy.system_prompt: says nothing; write a text, or leave system_prompt out"]),
    ('role = "heldout"', 'role = "heldout"\nprompt_template = "Solve it."', ["data.source.heldout.prompt_template: must hold {problem} exactly once"]),
    ('role = "heldout"', 'role = "heldout"\nprompt_template = "{problem}{problem}"', ["must hold {problem} exactly once"]),
    ("[sft]", "[evaluation]\ntemperature = 0\n[sft]", ["evaluation.samples: evaluation.temperature = 0 is greedy: all completions of a problem would be alike; write samples = 1", "evaluation.validation_samples: evaluation.temperature = 0", "write validation_samples = 1"]),
    ('role = "heldout"', 'role = "heldout"\nsamples = 2\n[evaluation]\ntemperature = 0\nsamples = 1\nvalidation_samples = 1', ["data.source.heldout.samples: evaluation.temperature = 0 is greedy"]),
    ('correct_only = ["1"]', 'levels = ["simple"]\ndifficulty.responses = "said"', ["data.levels: simple is no level that [data.difficulty] gives; they are easy, medium, hard"]),
    ('correct_only = ["1"]', 'correct_only = ["*", "1"]', ['data.correct_only: "*" already means every level; write ["*"]']),
]  # fmt: skip


@pytest.mark.parametrize(("before", "after", "fragments"), [*KEYS, *TYPES, *RANGES, *MISSING, *RULES])
def test_fault(tmp_path, before, after, fragments):
    assert before in GOOD
    said = faults(tmp_path, GOOD.replace(before, after, 1))
    for fragment in fragments:
        assert fragment in said


def test_a_recipe_may_evaluate_and_train_nothing(tmp_path):
    path = tmp_path / "recipe.toml"
    path.write_text(GOOD[: GOOD.index("[sft]")] + GOOD[GOOD.index("[checkpoints]") :], encoding="utf-8")
    recipe = load_recipe(path)
    assert (recipe.sft, recipe.rl) == (None, None)
    assert "evaluate-base" in [stage.name for stage in stages(recipe)]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("decontaminate.length = 9", "decontaminate.length = 0"),
        ("decontaminate.length = 9", "decontaminate.length = 4"),
        ("microbatch_tokens = 512", "microbatch_tokens = 128"),
        ('correct_only = ["1"]', 'correct_only = ["*"]'),
        ('correct_only = ["1"]', "correct_only = []"),
        ("heads = 4", "heads = 32"),
        ('domain = "math"', ""),  # a source without a domain may hold any
        ("epochs = 2", "learning_rate = 1e-5\nmin_learning_rate = 1e-5"),
        ("[rl]", "[rl]\nproblems_per_update = 16"),
        (  # half a default is no fault where the phase holds the other half
            "problems_per_iteration = 16\nreward.format_penalty = 0.5\n\n[[rl.phase]]",
            "problems_per_iteration = 4\n\n[[rl.phase]]\nproblems_per_update = 4",
        ),
        ('role = "demonstrations"', 'role = "demonstrations"\n[[data.source]]\nname = "v"\npath = "v"\nrole = "validation"\n[checkpoints]\nkeep_best = true\npatience = 1\n[other]'),
    ],
)  # fmt: skip
def test_the_edge_that_is_allowed(tmp_path, before, after):
    assert before in GOOD
    text = GOOD.replace(before, after, 1)
    if "[other]" in text:
        text = (
            text[: text.index("[other]")]
            + text[text.index('[[data.source]]\nname = "easy"') : text.index("[checkpoints]\nkeep_last")]
        )
    (tmp_path / "recipe.toml").write_text(text)
    load_recipe(tmp_path / "recipe.toml")


def test_all_faults_are_told_together(tmp_path):
    text = GOOD.replace("epochs = 2", "epochs = 0\nmin_learning_rate = 1.0").replace("heads = 4", "heads = 5")
    said = faults(tmp_path, text.replace('role = "problems"', "role = 3"), "sft.x=1", "rl.phase.mth.seed=1", "nonsense")
    lines = said.splitlines()
    assert lines[0].endswith("recipe.toml: 6 faults")
    for start in (
        "--set rl.phase.mth",
        "--set nonsense",
        "model.heads",
        "data.source.easy.role",
        "sft.epochs",
        "sft.x",
    ):
        assert sum(line.startswith(f"  {start}") for line in lines) == 1, start


def test_a_fault_of_a_default_is_told_once(tmp_path):
    more = '[[rl.phase]]\nname = "b"\ndomains = ["math"]\n[[rl.phase]]\nname = "c"\ndomains = ["math"]\niterations = 3\n[checkpoints]'
    text = GOOD.replace("[rl]", '[rl]\niterations = "many"').replace("[checkpoints]", more)
    said = faults(tmp_path, text)
    assert said.count("must be") == 1
    assert "rl.iterations: must be a whole number" in said


def test_a_default_that_every_phase_overrides_is_checked(tmp_path):
    text = GOOD.replace("[rl]", "[rl]\niterations = -1").replace('objective.type = "reinforce"', "iterations = 2")
    assert "rl.iterations: must be a whole number > 0, not -1" in faults(tmp_path, text)


@pytest.mark.parametrize(
    ("override", "fragments"),
    [
        ("sft.epochs", ["--set sft.epochs: not of the form a.b.c=value; write, for example,"]),
        ("=3", ["not of the form"]),
        ("sft..epochs=3", ["not of the form"]),
        ("sft.epochs=two", ["sft.epochs (--set sft.epochs=two): must be a whole number"]),
        ("sft.epoch=2", ["sft.epoch (--set sft.epoch=2): unknown key; did you mean epochs?"]),
        ("rl.phase.mat.iterations=2", ['no phase is named "mat"; did you mean "math"? there are math']),
        ("data.source.hard.path=x", ['no source is named "hard"; there are careful, easy, heldout']),
        ("rl.phase.math=2", ["rl.phase.math is a table; name one of its keys"]),
        ("seed.x=2", ["--set seed.x=2: seed is 1, not a table; drop .x"]),
        (
            "rl.phase.math.objective.clip_low=0.1",
            ["rl.phase.math.objective.clip_low (--set", "is not a key of reinforce"],
        ),
        ("model.heads=5", ["model.heads (--set model.heads=5): 5 heads do not divide"]),
        ("rl.iterations=0", ["rl.iterations (--set rl.iterations=0): must be"]),
    ],
)
def test_override_that_cannot_be(tmp_path, override, fragments):
    said = faults(tmp_path, GOOD, override)
    for fragment in fragments:
        assert fragment in said


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["cluster.trainers=2", "lora.rank=4"], "lora: adapters are trained on one device"),
        (["sft.optimizer.type=adamw8bit", "cluster.trainers=2"], "sft.optimizer: moments of 8 bits are of one device"),
        (["rl.aggregation=klear_released", "cluster.trainers=2"], "depends on what shares a micro-batch"),
        (
            ["cluster.samplers=0", "engine.type=vllm", "engine.tensor_parallel=2"],
            "engine.tensor_parallel (--set engine.tensor_parallel=2): with cluster.samplers = 0 an engine has the place",
        ),
    ],
)
def test_what_a_cluster_cannot_do(tmp_path, overrides, said):
    assert said in faults(tmp_path, GOOD, *overrides)


def test_samplers_of_several_gpus_have_places_of_their_own(tmp_path):
    path = tmp_path / "recipe.toml"
    path.write_text(GOOD)
    recipe = load_recipe(path, ["cluster.samplers=2", "engine.type=vllm", "engine.tensor_parallel=4"])
    assert recipe.cluster.places(recipe.engine) == 1 + 2 * 4


def test_override_of_a_list_that_is_not_there(tmp_path):
    text = GOOD[: GOOD.index("[rl]")]
    said = faults(tmp_path, text, "rl.phase.math.iterations=3")
    assert "the recipe has no phases; add [[rl.phase]] to the file" in said


def test_unclaimed_faults_do_not_blame_an_override(tmp_path):
    said = faults(tmp_path, GOOD.replace("epochs = 2", "epochs = 0"), "seed=3")
    assert "--set" not in said


def test_a_fault_is_told_where_it_was_written(tmp_path):
    text = GOOD.replace("[rl]", "[rl]\niterations = 5").replace('objective.type = "reinforce"', "iterations = 0")
    assert "rl.phase.math.iterations: must be a whole number > 0, not 0" in faults(tmp_path, text)


def test_a_rule_does_not_blame_an_override_below_it(tmp_path):
    text = GOOD.replace('role = "heldout"', 'role = "validation"')
    said = faults(tmp_path, text, "data.source.careful.domain=math")
    assert "data.source: no source has" in said


GRADERS = [
    (
        'maths = "a:b"',
        ["verifiers.graders.maths: there is no domain maths; did you mean math? the domains are math, code"],
    ),
    ('other = "a:b"', ["verifiers.graders.other: there is no domain other; the domains are math, code"]),
    ('math = "http://host:8080"', ["verifiers.graders.math: a server runs programs, which math has none of"]),
    ('code = "http://"', ["verifiers.graders.code: 'http://' is no address of a SandboxFusion server"]),
    ("math = 7", ['verifiers.graders.math: must be text, not 7; write it in quotes, "7"']),
    ('math = "no_such_package.grading:grade"', ["verifiers.graders.math: no_such_package.grading cannot be imported"]),
    ('math = "json:nothing"', ["verifiers.graders.math: json has no nothing; name one of its functions"]),
    ('math = "units"', ['verifiers.graders.math: no installed package has an entry point "units"']),
]


@pytest.mark.parametrize(("line", "fragments"), GRADERS, ids=[line for line, _ in GRADERS])
def test_graders(tmp_path, line, fragments):
    said = faults(tmp_path, GOOD + f"[verifiers.graders]\n{line}\n")
    for fragment in fragments:
        assert fragment in said


def test_graders_are_a_table(tmp_path):
    said = faults(tmp_path, GOOD + '[verifiers]\ngraders = "json:loads"\n')
    assert 'verifiers.graders: must be a table of text, not the text "json:loads"; remove the key' in said


def test_no_box_is_demanded_where_none_is_used(tmp_path):
    text = GOOD + '[verifiers]\nminimum_isolation = "rlimits"\ngraders.code = "http://host:8080"\n'
    assert "verifiers.minimum_isolation: programs run in no box of this machine" in faults(tmp_path, text)


@pytest.mark.parametrize(
    ("reward", "fragments"),
    [
        ('type = "custom"', ["rl.reward.function: missing; add it (text: module:function of (verdict, domain)"]),
        (
            'type = "custom"\nfunction = "no_such_package:f"',
            ["rl.reward.function: no_such_package cannot be imported: ModuleNotFoundError", "PYTHONPATH"],
        ),
        ('type = "custom"\nfunction = "rewards"', ['rl.reward.function: "rewards" is not of the form']),
        ('type = "custom"\nfunction = "json:__name__"', ["rl.reward.function: json has an uncallable __name__"]),
        (
            'type = "klear_released"\nformat_penalty = 0.5',
            ["rl.reward.format_penalty: format_penalty is not a key of klear_released; it belongs to report"],
        ),
        ('type = "klear"', ['rl.reward.type: there is no klear; choose from "report", "klear_released"']),
        ('type = "ours"', ['rl.reward.type: "ours" is now "report"; write "report"']),
    ],
)
def test_rewards(tmp_path, reward, fragments):
    said = faults(
        tmp_path,
        GOOD.replace("reward.format_penalty = 0.5\n", "").replace(
            "[[rl.phase]]", f"[rl.reward]\n{reward}\n[[rl.phase]]"
        ),
    )
    for fragment in fragments:
        assert fragment in said


@pytest.mark.parametrize(
    ("objective", "said"),
    [
        ("", "function: missing; add it (text: module:function of (logprobs, old_logprobs, advantages,"),
        ("function = 'no_such_package:f'", "function: no_such_package cannot be imported: ModuleNotFound"),
        ("function = 'json:dumps'", "function: json:dumps(obj, skipkeys, "),
        (
            "function = 'openklear.objectives.policy:gate_open'",
            "function: openklear.objectives.policy:gate_open(entropy, old_entropy, ",
        ),
        (
            "function = 'openklear.objectives.policy:gppo', arguments = {clip = 0.2}",
            "function: openklear.objectives.policy:gppo(logprobs",
        ),
        (
            "function = 'openklear.objectives.policy:gppo', arguments = {clip_low = '0.2'}",
            'arguments.clip_low: must be a number, not the text "0.2"',
        ),
        ("function = 'torch:rand_like'", "function: torch:rand_like: its parameters cannot be read"),
        (
            "function = 'openklear.objectives.policy:gppo', cap = 2.0",
            "cap: cap is not a key of custom; it belongs to cispo_trl, aspo, dppo_tv",
        ),
    ],
)
def test_objectives(tmp_path, objective, said):
    written = ", ".join(filter(None, ("type = 'custom'", objective)))
    text = GOOD.replace('objective.type = "reinforce"', f"objective = {{{written}}}")
    assert f"rl.phase.math.objective.{said}" in faults(tmp_path, text)


def test_a_phase_tells_its_own_reward(tmp_path):
    text = GOOD.replace("reward.format_penalty = 0.5\n", "")
    text = text.replace('objective.type = "reinforce"', 'reward = {type = "custom", function = "json:nothing"}')
    assert "rl.phase.math.reward.function: json has no nothing" in faults(tmp_path, text)


VARIABLES = {
    "data.source.easy.path": "{}/x.jsonl",
    "data.source.heldout.path": "hub:owner/{}",
    "data.difficulty.responses": "{}",
    "data.selection.embedding": "/models/{}",
    "model.path": "{}/model",
    "model.chat_template": "a/{}.jinja",
}


@pytest.mark.parametrize("key", VARIABLES)
@pytest.mark.parametrize("spelling", ["$OPENKLEAR_NOWHERE", "${OPENKLEAR_NOWHERE}"])
def test_a_variable_that_is_empty_or_not_set_is_no_path(tmp_path, monkeypatch, key, spelling):
    """Expanded, "$DATA/x.jsonl" would be a file of the root directory."""
    more = ["model={ type = 'pretrained', path = 'm' }"] if key.startswith("model") else []
    more += ["data.selection.budget=3"] if key.startswith("data.selection") else []
    more = [*more, f"{key}={VARIABLES[key].format(spelling)}"]
    monkeypatch.delenv("OPENKLEAR_NOWHERE", raising=False)
    for value, word in ((None, "not set"), ("", "empty"), ("  ", "empty")):
        if value is not None:
            monkeypatch.setenv("OPENKLEAR_NOWHERE", value)
        said = faults(tmp_path, GOOD, *more)
        assert key in said
        assert f"the environment variable OPENKLEAR_NOWHERE is {word}; set it, or write the path without it" in said
    monkeypatch.setenv("OPENKLEAR_NOWHERE", "there")
    (tmp_path / "recipe.toml").write_text(GOOD)
    assert "there" in str(load_recipe(tmp_path / "recipe.toml", more))
