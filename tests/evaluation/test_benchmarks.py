"""Which problems of a benchmark are asked, and in which words."""

from dataclasses import replace

from openklear.evaluation.benchmarks import Benchmark, benchmarks
from openklear.evaluation.queries import Query, cut_budgets, encoded, numbered, worded
from openklear.models.tiny import make_tiny
from openklear.recipe.curation import Data, Source
from openklear.recipe.schema import Evaluation, Recipe, Sft, TinyModel
from openklear.types import Problem


def problem(source: str, number: int) -> Problem:
    turns = ({"role": "system", "content": "Be brief."}, {"role": "user", "content": f"What is {number}?"})
    return Problem(f"{source}/{number}", turns, "math", answer=str(number), source=source)


AIME = [problem("aime", number) for number in range(30)]
MATH = [problem("math", number) for number in range(100, 140)]
DRAWN = (103, 107, 110, 113, 115, 118, 127, 128, 129, 131, 133, 137)
"""Computed once without this package: the 12 smallest blake2b-64 (little-endian) of '[3,"limit",0,"CONTENT_HASH",0]'."""


def test_the_whole_set_is_asked_unless_there_is_a_limit():
    assert Benchmark("aime", 8).problems([*MATH, *AIME], seed=0) == AIME
    assert Benchmark("aime", 8, limit=99).problems(AIME, seed=0) == AIME


def test_the_first_are_the_first_of_the_file_whatever_the_seed():
    few = Benchmark("math", 2, limit=20)
    assert few.problems([*AIME, *MATH], seed=0) == few.problems([*AIME, *MATH], seed=1) == MATH[:20]


def test_a_draw_is_stable_and_independent_of_other_sources():
    drawn = Benchmark("math", 2, limit=12, limit_by="seed")
    alone = drawn.problems(MATH, seed=3)
    assert [p.id for p in alone] == [f"math/{n}" for n in DRAWN]
    assert drawn.problems([*AIME, *MATH], seed=3) == alone
    assert drawn.problems(MATH, seed=4) != alone
    assert alone not in (MATH[:12], MATH[-12:])


def test_a_draw_does_not_depend_on_the_order_of_the_file_and_grows_with_the_limit():
    few, more = (
        {p.id for p in Benchmark("math", 2, limit=n, limit_by="seed").problems(MATH[::-1], seed=3)} for n in (12, 25)
    )
    assert few == {f"math/{n}" for n in DRAWN}
    assert few < more
    assert len(more) == 25


def test_every_problem_may_be_drawn():
    draw = Benchmark("math", 2, limit=5, limit_by="seed")
    seen = [p.id for seed in range(400) for p in draw.problems(MATH, seed)]
    assert len(seen) == 2000
    counts = {one.id: seen.count(one.id) for one in MATH}
    assert min(counts.values()) > 25  # 50 expected, with a standard deviation of 6.6
    assert max(counts.values()) < 75


def test_a_template_changes_the_last_turn_alone():
    asked = Benchmark("aime", 8, prompt_template="Q: {problem} \\boxed{}. {again}").ask(AIME[7])
    assert asked.prompt == (AIME[7].prompt[0], {"role": "user", "content": "Q: What is 7? \\boxed{}. {again}"})
    assert (asked.id, asked.answer, asked.source) == (AIME[7].id, "7", "aime")
    assert Benchmark("aime", 8).ask(AIME[7]) is AIME[7]


def questions(loaded, benchmark, problems):
    found = []
    for one in problems:
        messages, fault = worded(one, benchmark.wording)
        found.append(encoded(Query(benchmark.name, one, benchmark.samples, 8, messages, refused=fault), loaded))
    return found


def test_the_words_of_a_template_reach_the_ids_of_the_prompt_and_nothing_else():
    loaded = make_tiny(16, 1, 2, 256, 0)
    plain, asked = Benchmark("aime", 8), Benchmark("aime", 8, prompt_template="{problem} Answer in \\boxed{}.")
    before, after = (questions(loaded, one, AIME[:3]) for one in (plain, asked))
    texts = [loaded.tokenizer.decode(list(one.prompt_ids)) for one in (*before, *after)]
    for old, new in zip(texts[:3], texts[3:], strict=True):
        assert "boxed" not in old
        assert new == old.replace("?", "? Answer in \\boxed{}.")
    assert [one.problem for one in after] == AIME[:3]  # what is drawn, recorded and judged
    assert [one.prompt_tail for one in after] == [one.prompt_tail for one in before]
    assert after[0].asked().prompt[-1]["content"] == "What is 0? Answer in \\boxed{}."


def test_a_prompt_that_leaves_no_room_for_an_answer_is_refused_with_its_words_counted():
    length = len(questions(make_tiny(16, 1, 2, 256, 0), Benchmark("aime", 8), AIME[:1])[0].prompt_ids)
    loaded = make_tiny(16, 1, 2, 64 * (length // 64 + 1), 0)
    room = 64 * (length // 64 + 1) - length
    fits, refused = (
        questions(loaded, Benchmark("aime", 8, prompt_template="{problem}" + "!" * more), AIME[:1])[0]
        for more in (room - 1, room)
    )
    assert (fits.refused, len(fits.prompt_ids)) == ("", length + room - 1)
    assert refused.prompt_ids is None
    assert refused.refused.startswith(f"prompt of {length + room} tokens; the model has {length + room} positions")


def test_a_budget_that_the_model_has_no_room_for_is_said():
    loaded = make_tiny(16, 1, 2, 128, 0)
    (one,) = questions(loaded, Benchmark("aime", 8), AIME[:1])
    room = 128 - len(one.prompt_ids)
    assert cut_budgets([replace(one, limit=room)], 128) is None
    said = cut_budgets([replace(one, limit=room + 1), replace(one, limit=1)], 128)
    assert said.startswith("1 of 2 problems: completions end at the model's 128 positions, before the budget of ")
    assert cut_budgets([replace(one, limit=10**9)], None) is None


def test_a_system_turn_beside_that_of_the_row_is_refused():
    messages, fault = worded(AIME[0], Benchmark("aime", 8, system_prompt="Think.").wording)
    assert "system turn of its own" in fault
    assert messages == AIME[0].prompt


def test_equal_prompts_are_drawn_for_apart():
    loaded = make_tiny(16, 1, 2, 256, 0)
    twice = questions(loaded, Benchmark("aime", 8), [AIME[0], AIME[1], AIME[0]])
    assert [one.copy for one in numbered(twice)] == [0, 0, 1]


def test_the_benchmarks_of_a_recipe_are_its_heldout_sources_in_their_order():
    sources = (
        Source(name="b", path="b.jsonl", role="heldout", samples=64, limit=5, limit_by="seed"),
        Source(name="v", path="v.jsonl", role="validation"),
        Source(name="d", path="d.jsonl", role="demonstrations"),
        Source(name="a", path="a.jsonl", role="heldout", prompt_template="{problem}."),
    )
    recipe = Recipe(
        model=TinyModel(), data=Data(source=sources), sft=Sft(max_tokens=64), evaluation=Evaluation(samples=3)
    )
    assert list(benchmarks(recipe)) == [
        Benchmark("b", 64, 5, "seed"),
        Benchmark("a", 3, prompt_template="{problem}."),
    ]
