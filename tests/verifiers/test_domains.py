"""The table of domains; and a toy domain, registered here, taken through a whole run in this process."""

import hashlib
import json
from itertools import product
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from openklear.data.store import prepared
from openklear.errors import RecipeError, UsageError
from openklear.evaluation.stored import open_stored
from openklear.recipe.load import load_recipe
from openklear.run.pipeline import run_pipeline
from openklear.types import Attempt, Message, Outcome, Problem, Test, Verdict
from openklear.verifiers.domains import DOMAINS, Domain, domain_named, register
from openklear.verifiers.judge import Judge, Limits

RECIPE = """
seed = 3
microbatch_tokens = 2048
model = { type = "tiny", hidden_size = 32, layers = 1, heads = 2 }
engine.slots = 16
verifiers.workers = 1

[data]
correct_only = ["graded"]
require_format = false

[[data.source]]
name = "taught"
path = "taught.jsonl"
role = "demonstrations"

[[data.source]]
name = "asked"
path = "asked.jsonl"
role = "problems"
domain = "sorting"

[[data.source]]
name = "chosen-by"
path = "validation.jsonl"
role = "validation"
domain = "sorting"

[[data.source]]
name = "words"
path = "heldout.jsonl"
role = "heldout"
domain = "sorting"

[sft]
epochs = 40
batch_tokens = 400
max_tokens = 200
learning_rate = 0.05
min_learning_rate = 0.005
warmup_steps = 0
save_every = 99
optimizer.type = "muon"

[[rl.phase]]
name = "words"
domains = ["sorting"]
iterations = 1
problems_per_iteration = 4
group_size = 4
problems_per_update = 4
learning_rate = 1e-3
warmup_steps = 0
max_prompt_tokens = 128
max_completion_tokens = 24
validate_every = 1
filter_zero_advantage = false

[evaluation]
samples = 4
temperature = 1.0
top_p = 1.0
max_completion_tokens = 24
validation_samples = 1
"""


class SortingVerifier:
    """Right are the reference's words in the reference's order, whatever stands between them."""

    def grade(self, problem: Problem, graded: str, *, stop_early: bool) -> Verdict:
        right = graded.replace(",", " ").split() == (problem.answer or "").split()
        outcome = Outcome.CORRECT if right else Outcome.INCORRECT
        return Verdict(outcome, "" if right else "not sorted", passed=int(right), total=1)

    def close(self) -> None:
        """Nothing was started."""


@pytest.fixture
def sorting():
    yield register(
        Domain(
            name="sorting",
            reference="answer",
            extract=lambda text, reference: text.strip().rpartition("\n")[2],
            verifier=lambda limits: SortingVerifier(),
            seconds=lambda limits: 1.0,
            settings=lambda limits, stop_early: (),
            refuse=lambda problem: "nothing to sort" if len((problem.answer or "").split()) < 2 else "",
        )
    )
    del DOMAINS["sorting"]


def problem(domain: str, answer: str | None = None, tests: tuple[Test, ...] = (), prompt: str = "sort b a") -> Problem:
    return Problem("p", (Message(role="user", content=prompt),), domain, answer=answer, tests=tests)


def test_the_order_is_that_of_the_table(sorting):
    assert list(DOMAINS) == ["math", "code", "sorting"]  # stored tables hold places in it


def test_a_name_is_taken_once(sorting):
    with pytest.raises(UsageError, match="there is a domain sorting already"):
        register(sorting)


def test_an_unknown_domain_names_the_nearest(sorting):
    assert domain_named("sorting") is sorting
    with pytest.raises(
        UsageError, match=r"no domain sortin; did you mean sorting\? the domains are math, code, sorting"
    ):
        domain_named("sortin")


def test_where_a_domain_is_written_counts(sorting):
    assert sorting.file == Path(__file__)
    assert sorting.version == hashlib.blake2b(Path(__file__).read_bytes(), digest_size=8).hexdigest()
    assert [(DOMAINS[name].file, DOMAINS[name].version) for name in ("math", "code")] == [(None, "")] * 2


def test_what_a_problem_lacks_and_how_much_it_can_earn():
    math, code = DOMAINS["math"], DOMAINS["code"]
    tests = (Test("1", "1"), Test("2", "2"))
    assert (math.missing(problem("math")), math.missing(problem("math", ""))) == ("no reference answer", "")
    assert (code.missing(problem("code", "1")), code.missing(problem("code", tests=tests))) == ("no tests", "")
    assert (math.total(problem("math", "1", tests)), code.total(problem("code", tests=tests))) == (1, 2)
    several = "Print any valid answer. If there are multiple answers, print any of them."
    assert code.refuse(problem("code", tests=tests, prompt=several)) == "many valid answers and no checker"
    assert code.refuse(problem("code", tests=tests)) == ""


def test_the_judge_asks_the_table(sorting):
    right, short, nothing = problem("sorting", "a b"), problem("sorting", "a"), problem("sorting")
    with Judge(Limits(workers=1)) as judge:
        verdicts = judge.judge(
            [
                Attempt(right, "<think>b a</think>So:\na, b"),
                Attempt(right, "<think>b a</think>So:\nb a"),
                Attempt(right, "a b", exact=True),
                Attempt(right, "<think>a b"),
                Attempt(short, "<think>x</think>a"),
                Attempt(nothing, "<think>x</think>a"),
            ]
        )
    assert [(str(one.outcome), one.reason, one.extracted) for one in verdicts] == [
        ("correct", "", "a, b"),
        ("incorrect", "not sorted", "b a"),
        ("correct", "", "a b"),
        ("incorrect", "no answer after the reasoning", None),
        ("unscorable", "nothing to sort", None),
        ("unscorable", "no reference", None),
    ]


@pytest.mark.slow
def test_a_run_of_a_toy_domain(sorting, tmp_path):
    write_sources(tmp_path)
    (tmp_path / "recipe.toml").write_text(RECIPE)
    root = tmp_path / "run"
    summary = run_pipeline(load_recipe(tmp_path / "recipe.toml"), root)

    dropped = pq.read_table(prepared(root / "prepare").dropped).to_pylist()
    assert [(row["id"], row["reason"], row["detail"]) for row in dropped] == [("taught/t12", "wrong", "not sorted")]
    (scored,) = [row for row in summary["scores"] if (row["stage"], row["metric"]) == ("rl-words", "avg")]
    assert scored["domain"] == "sorting"
    there = open_stored(root / "evaluate-rl-words")
    right = [not one.truncated and is_sorted(there.text(one)) for one in there.samples]
    assert [one.correct for one in there.samples] == right
    assert scored["value"] == sum(right) / len(right)
    assert 0 < sum(right) < len(right)  # it has learned both
    assert "sorting" in (root / "report.html").read_text()


def is_sorted(text: str) -> bool:
    words = text.rpartition("</think>")[2].replace(",", " ").split()
    return words == sorted(words) and set(words) == {"a", "b"}


def test_recipes_know_the_registered_domains(sorting, tmp_path):
    path = tmp_path / "recipe.toml"
    path.write_text(RECIPE.replace('domains = ["sorting"]', 'domains = ["sortng"]'))
    with pytest.raises(RecipeError) as caught:
        load_recipe(path)
    assert 'rl.phase.words.domains[0]: must be "math", "code" or "sorting"' in str(caught.value)
    assert 'did you mean "sorting"?' in str(caught.value)


def test_recipes_refuse_what_is_not_registered(tmp_path):
    (tmp_path / "recipe.toml").write_text(RECIPE)
    with pytest.raises(RecipeError) as caught:
        load_recipe(tmp_path / "recipe.toml")
    assert 'data.source.asked.domain: must be "math" or "code", not the text "sorting"' in str(caught.value)


def write_sources(directory: Path) -> None:
    """Prompts that differ in a number; half of the answers taught are right."""
    asked = [{"id": f"a{i}", "prompt": f"{i}: b a", "answer": "a b"} for i in range(4)]
    taught = [
        {**row, "id": f"t{number}", "domain": "sorting", "response": f"<think>s</think>{answer}"}
        for number, (row, answer) in enumerate(product(asked, ("a b", "a, b", "b a")))
    ]
    taught.append({**taught[-1], "id": "t12", "prompt": "9: b a", "level": "graded"})
    unlike = [{"id": f"v{i}", "prompt": f"v{i}: b a", "answer": "a b"} for i in range(2)]
    heldout = [{"id": f"h{i}", "prompt": f"h{i}: b a", "answer": "a b"} for i in range(4)]
    for name, rows in (("taught", taught), ("asked", asked), ("validation", unlike), ("heldout", heldout)):
        (directory / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
