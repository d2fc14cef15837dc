"""The law of every step: kept and dropped together are the rows read, each once and in order. And what each is for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openklear.data import dedup, filters
from openklear.data.decontaminate import build_index, decontaminate, drop_shared
from openklear.data.funnel import Funnel
from openklear.data.rows import Dropped, Row, Sifted, prompt_key
from openklear.errors import DataError
from openklear.types import Attempt, Domain, Message, Outcome, Problem, Test, Verdict

WORDS = ("find", "the", "sum", "of", "a", "b", "1", "+", "Find", " ")


def row(
    prompt: str,
    response: str | None = None,
    *,
    source: str = "s",
    level: str | None = None,
    domain: Domain = "math",
    answer: str | None = "1",
    tests: tuple[Test, ...] = (),
    where: str = "f:1",
) -> Row:
    problem = Problem(where, (Message(role="user", content=prompt),), domain, answer, tests, level=level, source=source)
    return Row(problem, where, response)


def judge(attempts: Sequence[Attempt]) -> list[Verdict]:
    """Right where the response holds the answer, unscorable where it holds a question mark."""
    return [
        Verdict(Outcome.UNSCORABLE, "lost worker")
        if "?" in a.text
        else Verdict(Outcome.CORRECT if (a.problem.answer or "") in a.text else Outcome.INCORRECT, "not equal")
        for a in attempts
    ]


EVALUATION = [row("find the sum of a", where="e:1").problem, row("a b 1 + find the", where="e:2").problem]
STEPS: dict[str, Callable[[Sequence[Row]], Sifted]] = {
    "top_sources": partial(filters.keep_top_sources, sources=["s", "t"], count=1),
    "require_reference": filters.require_reference,
    "require_format": filters.require_format,
    "correct_only some": partial(filters.correct_only, levels=("1", "2"), judge=judge),
    "correct_only all": partial(filters.correct_only, levels=("*",), judge=judge),
    "correct_only none": partial(filters.correct_only, levels=(), judge=judge),
    "deduplicate problems": dedup.deduplicate_problems,
    "deduplicate demonstrations": dedup.deduplicate_demonstrations,
    "decontaminate": partial(decontaminate, index=build_index(EVALUATION, 4)),
    "not_heldout": partial(drop_shared, prompts={"find the": "e:1"}),
}

texts = st.lists(st.sampled_from(WORDS), min_size=1, max_size=7).map(" ".join)
responses = st.sampled_from(["<think>a</think>1", "<think>a</think>", "1", "?", "<think>a</think>2", ""])
rows_of_all_kinds = st.lists(
    st.builds(
        row,
        texts,
        responses,
        source=st.sampled_from(["s", "t"]),
        level=st.sampled_from([None, "1", "2", "3"]),
        domain=st.sampled_from(["math", "code"]),
        answer=st.sampled_from([None, "1"]),
        tests=st.sampled_from([(), (Test("", "1"),)]),
    ),
    max_size=12,
)


@pytest.mark.parametrize("name", STEPS)
@settings(max_examples=40, deadline=None)
@given(rows=rows_of_all_kinds)
def test_kept_and_dropped_are_what_was_read_in_order(name: str, rows: list[Row]) -> None:
    sifted = STEPS[name](rows)
    place = {id(r): i for i, r in enumerate(rows)}
    kept, dropped = [place[id(r)] for r in sifted.kept], [place[id(d.row)] for d in sifted.dropped]
    assert sorted(kept + dropped) == list(range(len(rows)))
    assert kept == sorted(kept)
    assert dropped == sorted(dropped)
    assert all(d.reason for d in sifted.dropped)
    assert STEPS[name](sifted.kept) == Sifted(sifted.kept, ())  # what is clean stays


@settings(max_examples=40, deadline=None)
@given(rows=rows_of_all_kinds)
def test_the_funnel_writes_a_balanced_line_a_source(rows: list[Row]) -> None:
    funnel, left = Funnel(), rows
    for name, step in STEPS.items():
        left = funnel.pour("demonstrations", name, ["s", "t"], left, step)
    for source in ("s", "t"):
        lines = [line for line in funnel.columns() if line["source"] == source]
        assert lines[0]["read"] == sum(r.problem.source == source for r in rows)
        assert lines[-1]["kept"] == sum(r.problem.source == source for r in left)
        for line, after in pairwise(lines):
            assert line["kept"] == after["read"]
        assert all(line["read"] == line["kept"] + line["dropped"] for line in lines)
        assert all(sum(line["reasons"].values()) == line["dropped"] for line in lines)
    assert len(funnel.dropped) + len(left) == len(rows)


A, B = row("a"), row("b")


@pytest.mark.parametrize(
    "sifted",
    [
        Sifted((A,), ()),
        Sifted((B, A), ()),
        Sifted((A, B), (Dropped(B, "why"),)),
        Sifted((A, A), ()),
        Sifted((A, row("b")), ()),
    ],
    ids=["lost", "order", "both", "doubled", "made up"],
)
def test_the_funnel_refuses_a_step_that_loses_rows(sifted: Sifted) -> None:
    with pytest.raises(AssertionError):
        Funnel().pour("problems", "step", ["s"], [A, B], lambda rows: sifted)


def test_the_funnel_refuses_rows_that_come_from_nowhere() -> None:
    funnel = Funnel()
    funnel.pour("problems", "one", ["s"], [A], lambda rows: Sifted(tuple(rows), ()))
    with pytest.raises(AssertionError, match="does not balance"):
        funnel.pour("problems", "two", ["s"], [A, B], lambda rows: Sifted(tuple(rows), ()))


def test_an_empty_end_shows_the_line_that_emptied_it() -> None:
    funnel = Funnel()
    rows = [row("a", "x", where="f:1"), row("b", "x", where="f:2", domain="code", tests=(Test("", ""),))]
    rows = funnel.pour("problems", "one", ["s"], rows, lambda r: filters.keep_top_sources(r, ["s"], 1))
    rows = funnel.pour("problems", "two", ["s"], rows, lambda r: Sifted((r[1],), (Dropped(r[0], "too easy"),)))
    rows = funnel.pour("problems", "three", ["s"], rows, lambda r: Sifted(tuple(r), ()))
    funnel.require("problems", rows, "code", "a phase trains on them")
    funnel.require("problems", rows, None, "a phase trains on them")
    with pytest.raises(DataError, match=r"no math problems left.*\n.*two: read 2, kept 1, dropped 1 .too easy: 1"):
        funnel.require("problems", rows, "math", "a phase trains on them")
    with pytest.raises(DataError, match=r"no held-out problems left, but .* hold none"):
        funnel.require("heldout", [], None, "evaluation needs them")


def test_a_domain_that_no_source_holds_blames_no_step() -> None:
    funnel = Funnel()
    rows = funnel.pour(
        "problems", "read", ["s"], [row("a"), row("b")], lambda r: Sifted((r[0],), (Dropped(r[1], "x"),))
    )
    with pytest.raises(DataError, match=r"no code problems left, but a phase needs them; the sources .* hold none"):
        funnel.require("problems", rows, "code", "a phase needs them")


def kept_places(step: Callable[[Sequence[Row]], Sifted], rows: Sequence[Row]) -> list[int]:
    place = {id(r): i for i, r in enumerate(rows)}
    return [place[id(r)] for r in step(rows).kept]


def test_duplicate_problems_first_copy_stays() -> None:
    rows = [
        row("Find  x.", where="f:1"),
        row("find X.\n", where="f:2"),
        row("Find y.", where="f:3"),
        row("Find x²"),
        row("Find x2"),
        row("caf\u00e9"),
        row("cafe\u0301"),
    ]
    assert kept_places(dedup.deduplicate_problems, rows) == [0, 2, 3, 4, 5]
    assert dedup.deduplicate_problems(rows).dropped[0] == Dropped(rows[1], "repeated prompt", "first at f:1 (f:1)")


def test_system_prompts_do_not_tell_problems_apart() -> None:
    system = Message(role="system", content="Think.")
    plain = row("find x")
    instructed = Row(Problem("i", (system, *plain.problem.prompt), "math"), "f:2")
    assert prompt_key(plain) == prompt_key(instructed) == "find x"


def test_several_responses_to_a_prompt_stay() -> None:
    rows = [row("a", "1"), row("A", "2"), row(" a", "1\r\n"), row("a", "  if x:\n y"), row("a", "if x:\n   y")]
    assert kept_places(dedup.deduplicate_demonstrations, rows) == [0, 1, 3, 4]


def test_top_sources() -> None:
    rows = [row("a", source="w"), row("b", source="u"), row("c", source="v")]
    keep = partial(filters.keep_top_sources, sources=["u", "v", "w"])
    assert kept_places(partial(keep, count=2), rows) == [1, 2]
    assert kept_places(partial(keep, count=9), rows) == [0, 1, 2]


@pytest.mark.parametrize(
    ("response", "reason"),
    [
        ("<think>a</think>1", None),
        ("\n<think>a</think>\n1", None),
        ("1", "no reasoning"),
        ("<think>a", "reasoning not closed or not opened"),
        ("a</think>1", "reasoning not closed or not opened"),
        ("<think>a</think><think>b</think>1", "more than one reasoning"),
        ("<think>a</think>b</think>1", "more than one reasoning"),
        ("<think>a</think> \n", "no answer after the reasoning"),
        ("Well. <think>a</think>1", "text before the reasoning"),
        ("</think>a<think>1", "text before the reasoning"),
    ],
)
def test_require_format(response: str, reason: str | None) -> None:
    sifted = filters.require_format([row("p", response)])
    assert [d.reason for d in sifted.dropped] == ([] if reason is None else [reason])


def test_require_reference() -> None:
    tests = (Test("1", "2"),)
    rows = [
        row("a", answer="1"),
        row("b", answer=None, tests=tests),
        row("c", domain="code", answer="1"),
        row("d", domain="code", answer=None, tests=tests),
    ]
    assert kept_places(filters.require_reference, rows) == [0, 3]
    assert [d.reason for d in filters.require_reference(rows).dropped] == ["no reference answer", "no tests"]


def test_require_reference_wants_a_checker_where_many_answers_are_right() -> None:
    tests = (Test("1", "2"),)
    plain = row("Print any permutation.", domain="code", tests=tests)
    checked = Row(replace(plain.problem, checker="unordered"), "f:2")
    said = Row(replace(plain.problem, checker="lines"), "f:3")
    other = row("Print the first permutation.", domain="code", tests=tests)
    mathematical = row("Give any solution.", answer="1")
    rows = [plain, checked, said, other, mathematical]
    assert kept_places(filters.require_reference, rows) == [1, 2, 3, 4]
    assert [d.reason for d in filters.require_reference(rows).dropped] == ["many valid answers and no checker"]


GRADED = [
    row("a", "1", level="1"),
    row("b", "2", level="1"),
    row("c", "2", level="2"),
    row("d", "?", level="1"),
    row("e", "1", level="1", answer=None),
    row("f", "2", level=None),
]


def test_correct_only_grades_the_named_levels() -> None:
    asked: list[str] = []

    def spy(attempts: Sequence[Attempt]) -> list[Verdict]:
        asked.extend(a.problem.prompt[0]["content"] for a in attempts)
        return judge(attempts)

    sifted = filters.correct_only(GRADED, ("1",), spy)
    assert asked == ["a", "b", "d"]
    assert [r.problem.prompt[0]["content"] for r in sifted.kept] == ["a", "c", "f"]
    assert [d.reason for d in sifted.dropped] == ["wrong", "unscorable", "no reference answer"]
    assert [d.detail for d in sifted.dropped] == ["not equal", "lost worker", ""]


def test_correct_only_all_and_none() -> None:
    assert [r.problem.prompt[0]["content"] for r in filters.correct_only(GRADED, ("*",), judge).kept] == ["a"]

    def never(attempts: Sequence[Attempt]) -> list[Verdict]:
        raise AssertionError("nothing is to be graded")

    assert filters.correct_only(GRADED, (), never).kept == tuple(GRADED)
    assert filters.correct_only(GRADED, ("7",), never).kept == tuple(GRADED)
