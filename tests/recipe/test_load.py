"""A recipe file means what it says: phases inherit, unions merge or replace, paths belong to the file."""

from pathlib import Path

import pytest

from openklear.errors import RecipeError
from openklear.recipe.load import load_recipe
from openklear.recipe.objectives import Cispo, Gppo, PpoClip, Reinforce, Truncate
from openklear.recipe.optimizers import Muon
from openklear.recipe.partial import CarryOver
from openklear.recipe.schema import Phase, PretrainedModel, Recipe
from openklear.run.fingerprint import hash_files
from openklear.run.plan import stages

MINI = Path(__file__).parents[1] / "e2e" / "mini.toml"

HEAD = """
microbatch_tokens = 512
[model]
type = "tiny"
[[data.source]]
name = "careful"
path = "rows/careful.jsonl"
role = "demonstrations"
[[data.source]]
name = "problems"
path = "problems.jsonl"
role = "problems"
[[data.source]]
name = "heldout"
path = "/elsewhere/heldout.jsonl"
role = "heldout"
"""
SMALL_RL = "[rl]\nmax_prompt_tokens = 64\nmax_completion_tokens = 64\n"


def load(folder: Path, text: str, *overrides: str) -> Recipe:
    path = folder / "recipe.toml"
    path.write_text(text, encoding="utf-8")
    return load_recipe(path, overrides)


def phases(folder: Path, text: str, *overrides: str):
    recipe = load(folder, HEAD + SMALL_RL + text, *overrides)
    assert recipe.rl is not None
    return recipe.rl.phase


def test_phases_inherit_and_override(tmp_path):
    text = """
learning_rate = 2e-6
iterations = 7
[[rl.phase]]
name = "math"
domains = ["math"]
[[rl.phase]]
name = "code"
domains = ["math", "code"]
learning_rate = 5e-7
"""
    math, code = phases(tmp_path, text)
    assert (math.learning_rate, code.learning_rate) == (2e-6, 5e-7)
    assert (math.iterations, code.iterations) == (7, 7)
    assert (math.group_size, code.domains) == (8, ("math", "code"))


def test_tables_merge_unless_the_type_differs(tmp_path):
    text = """
objective = { type = "ppo_clip", clip_low = 0.1 }
optimizer = { weight_decay = 0.3 }
reward = { format_penalty = 0.25 }
[[rl.phase]]
name = "same"
domains = ["math"]
objective = { clip_high = 0.4 }
optimizer = { beta1 = 0.8 }
reward.code = "hard"
[[rl.phase]]
name = "named-again"
domains = ["math"]
objective = { type = "ppo_clip", clip_high = 0.5 }
[[rl.phase]]
name = "other"
domains = ["math"]
objective.type = "cispo"
optimizer.type = "muon"
"""
    same, again, other = phases(tmp_path, text)
    assert same.objective == PpoClip(clip_low=0.1, clip_high=0.4)
    assert (same.optimizer.beta1, same.optimizer.weight_decay) == (0.8, 0.3)
    assert (same.reward.code, same.reward.format_penalty) == ("hard", 0.25)
    assert again.objective == PpoClip(clip_low=0.1, clip_high=0.5)
    assert other.objective == Cispo()  # ppo_clip's clip_low does not leak into another objective
    assert other.optimizer == Muon()  # nor AdamW's weight_decay
    assert other.reward.format_penalty == 0.25


def test_a_union_without_type_is_its_default(tmp_path):
    text = """
[[rl.phase]]
name = "a"
domains = ["math"]
objective.clip_low = 0.1
[[rl.phase]]
name = "b"
domains = ["math"]
objective = { type = "gppo", clip_low = 0.1 }
"""
    a, b = phases(tmp_path, text)
    assert a.objective == b.objective == Gppo(clip_low=0.1)


def test_a_default_without_type_and_a_phase_that_names_it_are_the_same_member(tmp_path):
    text = 'objective.clip_low = 0.1\n[[rl.phase]]\nname = "a"\ndomains = ["math"]\nobjective.type = "gppo"\n'
    assert phases(tmp_path, text)[0].objective == Gppo(clip_low=0.1)


def test_numbers(tmp_path):
    text = HEAD + "[sft]\nmax_tokens = 9\nlearning_rate = 1\nmin_learning_rate = 0\n"
    sft = load(tmp_path, text).sft
    assert sft is not None
    assert (sft.learning_rate, type(sft.learning_rate)) == (1.0, float)
    assert (sft.min_learning_rate, type(sft.min_learning_rate)) == (0.0, float)


def test_paths_belong_to_the_file(tmp_path, monkeypatch):
    folder = tmp_path / "recipes"
    folder.mkdir()
    text = (
        HEAD.replace("rows/", "../rows/").replace('path = "problems', 'path = "world:problems')
        + "[world]\n[sft]\nmax_tokens = 9\n"
    )
    text = text.replace(
        'type = "tiny"', 'type = "pretrained"\npath = "models/m"\nchat_template = "t.jinja"\ngguf_file = "m.gguf"'
    )
    (folder / "recipe.toml").write_text(text)
    monkeypatch.chdir(tmp_path)
    recipe = load_recipe(Path("recipes/recipe.toml"), ["data.source.heldout.path=other.jsonl"])
    assert [source.path for source in recipe.data.source] == [
        str(tmp_path / "rows/careful.jsonl"),
        "world:problems.jsonl",
        str(folder / "other.jsonl"),
    ]
    assert isinstance(recipe.model, PretrainedModel)
    assert recipe.model.path == str(folder / "models/m")
    assert recipe.model.chat_template == str(folder / "t.jinja")
    assert recipe.model.gguf_file == "m.gguf"  # a name inside the model's directory


def test_absolute_paths_and_home_stay(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", "/somebody")
    recipe = load(tmp_path, HEAD.replace("rows/careful", "~/careful") + "[sft]\nmax_tokens = 9\n")
    assert recipe.data.source[0].path == "/somebody/careful.jsonl"
    assert recipe.data.source[2].path == "/elsewhere/heldout.jsonl"


def test_a_byte_order_mark_is_no_key(tmp_path):
    assert load(tmp_path, "\ufeff" + HEAD + "[sft]\nmax_tokens = 9\n").sft is not None


@pytest.mark.parametrize(
    ("content", "fragments"),
    [
        (b"seed = 1\nmodel = = 2\n", ["recipe.toml:2", "malformed TOML", "fix that line"]),
        (b"seed = 1\nseed = 2\n", ["recipe.toml:2", "overwrite"]),
        (b"seed = 1\n\nname = '''x", ["recipe.toml:3", "malformed TOML"]),
        (b"seed = '\xff'\n", ["recipe.toml", "UTF-8", "byte 8"]),
    ],
)
def test_a_file_that_is_no_toml(tmp_path, content, fragments):
    (tmp_path / "recipe.toml").write_bytes(content)
    with pytest.raises(RecipeError) as caught:
        load_recipe(tmp_path / "recipe.toml")
    for fragment in fragments:
        assert fragment in str(caught.value)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(RecipeError, match=r"gone\.toml: cannot be read \(no such file or directory\)"):
        load_recipe(tmp_path / "gone.toml")
    with pytest.raises(RecipeError, match="cannot be read"):
        load_recipe(tmp_path)


class TestSet:
    """`--set` is the same as writing the key in the file."""

    TEXT = (
        HEAD
        + "[sft]\nmax_tokens = 9\n"
        + SMALL_RL
        + """
[[rl.phase]]
name = "math"
domains = ["math"]
[[rl.phase]]
name = "code"
domains = ["code"]
learning_rate = 5e-7
"""
    )

    def test_phase_by_name(self, tmp_path):
        recipe = load(tmp_path, self.TEXT, "rl.phase.math.learning_rate=1e-3")
        assert [phase.learning_rate for phase in recipe.rl.phase] == [1e-3, 5e-7]

    def test_default_leaves_phases_that_set_it_alone(self, tmp_path):
        recipe = load(tmp_path, self.TEXT, "rl.learning_rate=1e-3")
        assert [phase.learning_rate for phase in recipe.rl.phase] == [1e-3, 5e-7]
        recipe = load(tmp_path, self.TEXT, "rl.iterations=3")
        assert [phase.iterations for phase in recipe.rl.phase] == [3, 3]

    def test_source_by_name(self, tmp_path):
        recipe = load(tmp_path, self.TEXT, "data.source.careful.domain=math", "data.source.careful.path=/x.jsonl")
        assert (recipe.data.source[0].domain, recipe.data.source[0].path) == ("math", "/x.jsonl")
        assert recipe.data.source[1].domain is None

    def test_unions(self, tmp_path):
        one = load(tmp_path, self.TEXT, "rl.objective.type=reinforce", "rl.phase.code.objective.type=cispo")
        assert [phase.objective for phase in one.rl.phase] == [Reinforce(), Cispo()]
        two = load(tmp_path, self.TEXT, 'rl.objective={type="reinforce"}', 'rl.phase.code.objective={type="cispo"}')
        assert one == two

    @pytest.mark.parametrize(
        ("override", "line"),
        [
            ("seed=3", "seed = 3"),
            ("data.correct_only=['2', \"3\"]", 'data.correct_only = ["2", "3"]'),
            ("data.deduplicate=false", "data.deduplicate = false"),
            ("world.seed=4", "world.seed = 4"),  # a table that was not there appears
            ("verifiers.minimum_isolation=rlimits", 'verifiers.minimum_isolation = "rlimits"'),
            ('verifiers.minimum_isolation="rlimits"', 'verifiers.minimum_isolation = "rlimits"'),
            (" evaluation.temperature = 1 ", "evaluation.temperature = 1"),
        ],
    )
    def test_is_as_written_in_the_file(self, tmp_path, override, line):
        # A dotted key above [data] would define the table twice, so the oracle's line goes where TOML wants it.
        table, _, rest = line.rpartition(".") if "." in line.partition("=")[0] else ("", "", line)
        text = self.TEXT.replace("[data]", "[data]") if table else line + self.TEXT
        if table == "data":
            text = text.replace("[[data.source]]", f"[data]\n{rest}\n[[data.source]]", 1)
        elif table:
            text += f"\n[{table}]\n{rest}\n"
        written = load(tmp_path, text)
        assert load(tmp_path, self.TEXT, override) == written
        assert written != load(tmp_path, self.TEXT)

    def test_the_last_one_holds(self, tmp_path):
        assert load(tmp_path, self.TEXT, "seed=1", "seed=2").seed == 2

    def test_a_value_cannot_smuggle_in_another_key(self, tmp_path):
        with pytest.raises(RecipeError, match=r"(?s)seed .*must be a whole number"):
            load(tmp_path, self.TEXT, "seed=1\nthreads = 4")


def test_graders_name_servers_entry_points_and_functions(tmp_path):
    """What runs programs is a server where it is an address; anything else is a verifier of the user's own."""
    text = TestSet.TEXT + '[verifiers.graders]\nmath = "json:loads"\ncode = "https://host/sandbox"\n'
    found = load(tmp_path, text).verifiers.limits
    assert (found.sandbox_url, found.custom) == ("https://host/sandbox", {"math": "json:loads"})
    plain = load(tmp_path, TestSet.TEXT).verifiers.limits
    assert (plain.sandbox_url, plain.custom) == (None, {})
    own = load(tmp_path, TestSet.TEXT, "verifiers.graders.code=json:loads").verifiers.limits
    assert (own.sandbox_url, own.custom) == (None, {"code": "json:loads"})


def test_only_the_phase_that_uses_it_depends_on_an_objective_of_the_users_own(tmp_path, monkeypatch):
    """On the content of its source, so that a changed function is trained with anew."""
    source = tmp_path / "own_objective_of_a_test.py"
    source.write_text(
        "def loss(logprobs, old_logprobs, advantages, *, loss_mask):\n    return -advantages * logprobs\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    change = "rl.phase.code.objective={type='custom', function='own_objective_of_a_test:loss'}"
    found = {stage.name: stage.files for stage in stages(load_recipe(MINI, [change]))}
    assert {name for name, files in found.items() if files.get("objective") == source} == {"rl-code"}
    before = hash_files("objective", source)
    source.write_text(source.read_text().replace("-advantages", "advantages"))
    assert hash_files("objective", source) != before


@pytest.mark.parametrize(
    ("mix", "problems", "counts"),
    [
        ({"code": 3, "math": 1}, 16, {"code": 12, "math": 4}),
        ({"math": 0.3, "code": 0.7}, 16, {"code": 11, "math": 5}),  # 11.2 and 4.8
        ({"code": 1, "math": 1}, 5, {"code": 3, "math": 2}),  # equal remainders: the first of domains
        ({"code": 1e-9, "math": 1e-9}, 4, {"code": 2, "math": 2}),
    ],
)
def test_shares_of_a_mix_become_whole_problems(mix, problems, counts):
    phase = Phase(
        name="both", domains=("code", "math"), mix=mix, problems_per_iteration=problems, problems_per_update=1
    )
    assert list(phase.counts.items()) == list(counts.items())
    assert phase.lacking(counts) is None
    assert phase.lacking(counts | {"code": 1}) == f"mix takes {counts['code']} code problems at a time, but 1 are left"


CARRY_MATH = "rl.phase.math.partial_rollouts.type=carry_over"
CARRY = "rl.partial_rollouts={ type = 'carry_over', extra = 0.25 }"


def test_what_is_carried_over_must_be_corrected_for():
    with pytest.raises(RecipeError, match=r'rl\.phase\.math\.correction.*older weights.*correction = \{ type = "trunc'):
        load_recipe(MINI, [CARRY])
    for correction in ("truncate", "mask"):
        assert load_recipe(MINI, [CARRY, f"rl.correction.type={correction}"]).rl.phase[0].partial_rollouts.carries
    with pytest.raises(RecipeError, match="old_logprobs"):  # the sampler's are of several policies
        load_recipe(MINI, [CARRY, "rl.correction.type=truncate", "rl.old_logprobs=sampler"])


@pytest.mark.parametrize(
    ("mix", "extra", "sampled", "lacking"),
    [
        ({}, 0.25, {"": 20}, "problems_per_iteration and partial_rollouts.extra take 20 problems at a time, but 19"),
        ({}, 0.01, {"": 17}, "problems_per_iteration and partial_rollouts.extra take 17 problems at a time, but 16"),
        ({"code": 3, "math": 1}, 0.3, {"code": 16, "math": 6}, "mix and partial_rollouts take 16 code problems"),
    ],
)
def test_problems_under_way_are_those_trained_on_and_the_extra_rounded_up(mix, extra, sampled, lacking):
    phase = Phase(
        name="both",
        domains=("code", "math"),
        mix=mix,
        problems_per_iteration=16,
        correction=Truncate(),
        partial_rollouts=CarryOver(extra=extra),
    )
    assert phase.sampled_at_once == sampled
    enough = sampled if mix else {"code": sampled[""], "math": 0}
    assert phase.lacking(enough) is None
    assert phase.lacking(enough | {"code": enough["code"] - 1}).startswith(lacking)


def test_how_much_is_sampled_at_once_counts_where_rollouts_are_carried_over():
    """It decides what is broken off, so another number of slots is another run; else it changes only the pace."""
    carried = {s.name: s for s in stages(load_recipe(MINI, ["rl.phase.math.correction.type=truncate", CARRY_MATH]))}
    assert carried["rl-math"].settings["engine.slots"] == 16
    assert "engine.slots" not in carried["rl-math"].pace
    assert carried["rl-code"].pace["engine.slots"] == 16
    assert "engine.slots" not in carried["rl-code"].settings
