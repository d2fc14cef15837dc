"""The two rules of decontamination: against a slow version, by hand, laws, and on real data."""

from __future__ import annotations

import gzip
import json
import pickle
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from benchmarks.planted_copies import CHANGES, plant
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.shared_data import shared

from openklear.curation.contamination import BenchmarkItem, Match, NgramRule, WeightedRule
from openklear.curation.contamination.items import EQUAL, NEAR, NUMBERS, SAME_WORDS, WHOLE, WORDS_IN_A_ROW
from openklear.curation.contamination.ngram import tokens
from openklear.curation.contamination.weighted import rule as weighted
from openklear.curation.contamination.weighted.candidates import CANDIDATES, MOST_ITEMS
from openklear.curation.contamination.weighted.index import FEW, worth_of
from openklear.data.rows import normalise
from openklear.errors import DataError


def kinds(rule: Any, texts: list[str]) -> list[str | None]:
    return [match and match.kind for match in rule.match(texts)]


# --- the report's rule


def slow_contaminated(prompt: str, evaluation: list[str], n: int) -> bool:
    mine = tokens(prompt)
    for other in evaluation:
        theirs = tokens(other)
        if normalise(prompt) == normalise(other) or (n and len(theirs) < n and mine == theirs):
            return True
        for i in range(len(mine) - n + 1 if n else 0):
            spoken = any(character.isalnum() for character in "".join(mine[i : i + n]))
            if spoken and any(mine[i : i + n] == theirs[j : j + n] for j in range(len(theirs) - n + 1)):
                return True
    return False


LETTERS = st.text(alphabet="aB1 .,$\n_é’", max_size=14)


@settings(max_examples=200)
@given(prompts=st.lists(LETTERS, max_size=5), evaluation=st.lists(LETTERS, max_size=4), n=st.integers(0, 5))
def test_ngrams_against_the_slow_version(prompts: list[str], evaluation: list[str], n: int) -> None:
    rule = NgramRule.build([BenchmarkItem(f"e{i}", e) for i, e in enumerate(evaluation)], n)
    assert [m is not None for m in rule.match(prompts)] == [slow_contaminated(p, evaluation, n) for p in prompts]


NINE = "one two three four five six seven eight nine"


def test_nine_words_are_enough_eight_are_not_and_the_match_names_the_item() -> None:
    rule = NgramRule.build([BenchmarkItem("aime/3", f"Zero {NINE} ten"), BenchmarkItem("aime/4", NINE)])
    shifted, eight = f"Here {NINE.upper()}, eleven", NINE.replace(" nine", ", eleven")
    assert rule.match([shifted, eight, NINE.replace("five", "five,")]) == [
        Match("aime/3", 1.0, NINE, WORDS_IN_A_ROW),
        None,
        None,
    ]


def test_short_items_compare_whole() -> None:
    rule = NgramRule.build([BenchmarkItem("e/1", "What is 1 + 1?")])
    assert kinds(rule, ["what is 1 + 1?", "What is 1+1 ?", "So: what is 1 + 1? Answer in one word."]) == [
        EQUAL,
        SAME_WORDS,
        None,
    ]


def test_no_ngrams_still_finds_equal_prompts() -> None:
    rule = NgramRule.build([BenchmarkItem("e/1", NINE)], 0)
    assert kinds(rule, [NINE.upper(), f"{NINE} ten"]) == [EQUAL, None]


RULED = "| --- | --- | ---- | ____ | … … … … … … … … …"


def test_punctuation_alone_is_no_ngram() -> None:
    """A rule of a table, a line of dashes, a blank to fill in: rows of unrelated problems share them."""
    item = f"How many apples does Ann hold in her two hands?\n{RULED}\n===================="
    strangers = [
        f"Which of the cities is larger?\n{RULED}\nParis",
        "====================",
        "… … … … … … … … … …",
        "_" * 40,
    ]
    for rule in (NgramRule.build([BenchmarkItem("e/1", item)]), WeightedRule.build([BenchmarkItem("e/1", item)])):
        assert rule.match(strangers) == [None] * len(strangers)
        assert rule.match([item, item.replace("----", "-----")]) != [None, None]
        assert None not in rule.match([f"{item} Say it."])


def test_signs_alone_are_no_run_of_the_weighted_rule() -> None:
    """`>>>` and `+` are words of this rule, since x + 5 is not x - 5; alone they say nothing."""
    items = [
        BenchmarkItem("long", "Write a function that reverses a list in place.\n>>>> >>>> ++++ ++++"),
        BenchmarkItem("short", ">>> +++"),
    ]
    rule = WeightedRule.build(items)
    strangers = [
        "Name the capital of France.\n>>>> >>>> ++++ ++++\nThink.",
        "Why? >>> +++. Say it, in a long sentence now.",
    ]
    assert rule.match(strangers) == [None, None]
    assert kinds(rule, [items[0].text, ">>> +++"]) == [EQUAL, EQUAL]


def test_an_impossible_n_is_told() -> None:
    with pytest.raises(DataError, match="n = 65 words in a row; choose 0"):
        NgramRule.build([], 65)


# --- the weighted rule, by hand

STORY = (
    "Janet's ducks lay 16 eggs per day. She eats three for breakfast every morning and bakes muffins for her friends "
    "every day with four. How much does she make at the farmers' market when every fresh egg sells for $2?"
)
LAYOUT = "Let's think step by step and output the final answer within \\boxed{}."


@pytest.fixture(scope="module")
def rule() -> WeightedRule:
    items = [
        BenchmarkItem("duck", STORY),
        BenchmarkItem("sin", "Compute $\\sin 60^\\circ$."),
        BenchmarkItem("line", "Find the slope of the line."),
    ]
    return WeightedRule.build(items)


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        (STORY.upper(), EQUAL),
        (STORY.replace(",", "").replace("$", ""), SAME_WORDS),
        (f"{STORY} {LAYOUT}", WHOLE),
        (f"A farm.\n{STORY}\nAnother story follows.", WHOLE),
        (STORY.replace("breakfast", "lunch"), NEAR),
        (STORY.replace("her friends ", ""), NEAR),
        (STORY.replace("every morning", "each and every single morning"), NEAR),
        (STORY.replace("16", "17"), NUMBERS),
        (STORY.replace("three", "five"), NUMBERS),
        (STORY.replace("16", "17").replace("three", "five"), None),
        (STORY.replace("16 eggs", "17 4 eggs"), None),
        (STORY.replace("ducks lay 16 eggs per day", "shop earns"), None),
        ("Janet's ducks lay 16 eggs per day. She sells all. What does she make?", None),
        ("Compute $\\sin 60^\\circ$", SAME_WORDS),
        ("Find $\\sin 60^\\circ$.", NEAR),
        ("Please compute $\\sin 60^\\circ$.", NEAR),
        ("Compute $\\cos 60^\\circ$.", None),
        ("Compute $\\sin 30^\\circ$.", None),
        ("Compute $\\sin -60^\\circ$.", None),
        (f"Compute $\\sin 60^\\circ$. {LAYOUT}", WHOLE),
        ("A first step. Compute $\\sin 60^\\circ$.", WHOLE),
        ("Compute $\\sin 60^\\circ + 1$.", None),
        ("We compute $\\sin 60^\\circ$ and add it to the rest.", None),
        ("", None),
    ],
)
def test_by_hand(rule: WeightedRule, text: str, kind: str | None) -> None:
    found = rule.match([text])[0]
    assert (found and found.kind) == kind


def test_a_match_tells_item_score_and_words(rule: WeightedRule) -> None:
    found = rule.match([f"A farm. {STORY.replace('breakfast', 'lunch')} The end."])[0]
    assert found is not None
    assert found.item == "duck"
    assert 0.9 < found.score < 1
    assert found.text.startswith("Janet's ducks lay")
    assert found.text.endswith("sells for $2")


def test_numbers_of_a_short_item_are_the_problem() -> None:
    rule = WeightedRule.build([BenchmarkItem("gcf", "What is the greatest common factor of 32 and 48?")])
    other, copy = "What is the greatest common factor of 32 and 45?", "What's the greatest common factor of 32 and 48?"
    assert kinds(rule, [other, copy]) == [None, NEAR]


def test_what_many_rows_share_is_a_template() -> None:
    """ELLIPSE for RADII is a changed word where nobody else asks so, and another problem where many rows do."""
    item = BenchmarkItem("ellipse", "Determine the number of ways to arrange the letters of the word ELLIPSE.")
    filler = [item.text.replace("ELLIPSE", word) for word in ["MADAM", "TOOT", "TARTAR", "ALABAMA", "PROOF", "BANANA"]]
    corpus = [f"An unrelated row number {i} on topic {i}" for i in range(500)] + filler
    plain = WeightedRule.build([item])
    told = plain.with_frequencies(plain.count(corpus), len(corpus))
    row = item.text.replace("ELLIPSE", "RADII")
    assert kinds(plain, [row]) == [NEAR]
    assert kinds(told, [row, item.text, f"{item.text} {LAYOUT}"]) == [None, EQUAL, WHOLE]


def test_boilerplate_of_corpus_and_benchmark_weighs_next_to_nothing() -> None:
    head = "Please solve the programming task below using a self-contained code snippet in a markdown code block. "
    tail = " Please complete the following python code precisely: ```python class Solution: def solve(self) -> int:```"
    tasks = ["Count the islands in a grid of water and land", "Merge two sorted linked lists of integers into one"]
    rule = WeightedRule.build([BenchmarkItem(f"i{n}", head + task + tail) for n, task in enumerate(tasks)])
    others = [f"{head}Rotate string number {n} by {n} places.{tail}" for n in range(400)]
    rule = rule.with_frequencies(rule.count(others), len(others))
    bare = "Merge two sorted linked lists of integers into one"
    assert kinds(rule, others[:3]) == [None] * 3
    assert kinds(rule, [bare, f"Exercise. {bare}, then stop."]) == [NEAR, NEAR]


def test_words_strewn_over_a_long_text_are_no_copy() -> None:
    words = STORY.split()
    fives = [" ".join(words[at : at + 5]) for at in range(0, len(words), 5)]
    rule = WeightedRule.build([BenchmarkItem("duck", STORY)])
    filler = " and so it goes on and on "
    assert kinds(rule, [" and so ".join(fives), filler.join(fives)]) == [NEAR, None]


def test_a_short_item_bears_one_edit_and_ends_with_its_sentence() -> None:
    item = "Write a function to find the depth of a nested dictionary"
    rule = WeightedRule.build([BenchmarkItem("depth", item)])
    rows = {
        item.replace("depth", "size"): NEAR,
        item.replace("depth", "size").replace("function", "program"): None,
        item.replace("depth", "greatest depth"): NEAR,
        item.replace("depth", "greatest or least depth"): None,
        f"Please: {item}. Then test it.": WHOLE,
        f"{item} and of all its values": None,
    }
    assert kinds(rule, [*rows]) == [*rows.values()]


def test_a_plain_copy_goes_in_front_of_a_changed_number() -> None:
    other = "A robe takes two bolts of blue fiber and half that much white fiber, so that the tailor wonders about it."
    rule = WeightedRule.build([BenchmarkItem("duck", STORY), BenchmarkItem("robe", other)])
    row = f"{STORY.replace('16', '17')} {other.replace('tailor', 'seller').replace('blue', 'red')}"
    found = rule.match([row])[0]
    assert found is not None
    assert (found.item, found.kind) == ("robe", NEAR)


def test_worth_by_hand() -> None:
    """Of 99 texts: one holds it, ten do, all do."""
    assert worth_of(np.array([1, 10, 100]), 99) == pytest.approx([1.0, 0.25, 0.0])


def test_a_corpus_full_of_copies_does_not_hide_them() -> None:
    rule = WeightedRule.build([BenchmarkItem("duck", STORY)])
    copies = [STORY.replace("breakfast", f"meal {n}") for n in range(900)]
    rule = rule.with_frequencies(rule.count(copies), len(copies))
    assert kinds(rule, [STORY.replace("muffins", "cakes")]) == [NEAR]


# --- laws

TEXTS = st.lists(st.text(alphabet="ab c1.$+\n’", max_size=40), max_size=6)


@given(TEXTS, TEXTS)
def test_equal_prompts_always_match(items: list[str], rows: list[str]) -> None:
    rule = WeightedRule.build([BenchmarkItem(str(n), text) for n, text in enumerate(items)])
    rows = [*rows, *(f" {text.upper()}\n" for text in items)]
    normal = {normalise(text) for text in items}
    for text, match in zip(rows, rule.match(rows), strict=True):
        assert (normalise(text) in normal) == (match is not None and match.kind == EQUAL)


@given(TEXTS, st.integers(0, 6))
def test_batches_do_not_matter(rows: list[str], cut: int) -> None:
    rule = WeightedRule.build([BenchmarkItem("a", "a b c a b ca b abc"), BenchmarkItem("b", "1 b 1 c")])
    assert rule.match(rows) == rule.match(rows[:cut]) + rule.match(rows[cut:])
    assert rule.count(rows).tolist() == (rule.count(rows[:cut]) + rule.count(rows[cut:])).tolist()


def test_chunks_do_not_matter(monkeypatch: pytest.MonkeyPatch, rule: WeightedRule) -> None:
    rows = [STORY, "nothing", STORY.replace("16", "9"), "Find $\\sin 60^\\circ$."] * 3
    nines = NgramRule.build([BenchmarkItem("duck", STORY)])
    expected, counts, theirs = rule.match(rows), rule.count(rows), nines.match(rows)
    monkeypatch.setattr("openklear.curation.text.cut.CHUNK", 50)
    assert rule.match(rows) == expected
    assert rule.count(rows).tolist() == counts.tolist()
    assert nines.match(rows) == theirs


def test_counts_are_rows_not_occurrences() -> None:
    rule = WeightedRule.build([BenchmarkItem("i", " ".join("abcdefghijklmnopq"))])
    counts = rule.count(["a b c d", "x a b c d a b c d y", "b c d e f", ""])
    assert sorted(counts.tolist(), reverse=True)[:4] == [2, 1, 1, 0]
    assert len(counts) == 14


def test_rules_pickle(rule: WeightedRule) -> None:
    rows = [STORY, STORY.replace("16", "9"), "Find $\\sin 60^\\circ$."]
    for one in (rule, NgramRule.build([BenchmarkItem("duck", STORY)])):
        again = pickle.loads(pickle.dumps(one))
        assert again.match(rows) == one.match(rows)


def test_a_row_is_aligned_with_few_items(monkeypatch: pytest.MonkeyPatch) -> None:
    """The work a row causes is bounded however many items resemble it."""
    items = [BenchmarkItem(str(n), f"{STORY} Variant {n}") for n in range(MOST_ITEMS)]
    items += [BenchmarkItem(f"other {n}", f"Another item number {n} asks about {n} other things") for n in range(500)]
    rule, asked = WeightedRule.build(items), []
    monkeypatch.setattr(weighted, "holding", lambda item, *_: asked.append(item.codes))
    rule.match([STORY.replace("muffins", "cakes")] * 5)
    assert len(asked) == 5 * CANDIDATES


def test_no_items_and_no_rows(rule: WeightedRule) -> None:
    for empty in (WeightedRule.build([]), NgramRule.build([])):
        assert empty.match(["a b c d e f g h i j k", ""]) == [None, None]
    assert rule.match([]) == []
    assert not rule.count([]).any()
    assert WeightedRule.build([]).count(["a b c d e"]).tolist() == []


# --- real data


def read(name: str) -> list[dict[str, Any]]:
    path = shared(name)
    raw = gzip.decompress(path.read_bytes()) if name.endswith(".gz") else path.read_bytes()
    return [json.loads(line) for line in raw.decode().split("\n") if line.strip()]


def problems(name: str) -> list[BenchmarkItem]:
    return [BenchmarkItem(f"{name}/{row['id']}", row["problem"]) for row in read(f"benchmarks/{name}.jsonl")]


def test_real_traces_are_all_found() -> None:
    """Every row of the file is an item of GSM8K test or MATH-500 (SOURCES.md)."""
    items = problems("gsm8k_test") + problems("math500")
    rows = [row["problem"] for row in read("traces/long_cot.jsonl")]
    rule = WeightedRule.build(items)
    assert len(rows) == 1604
    for one in (rule, rule.with_frequencies(rule.count(rows), len(rows)), NgramRule.build(items)):
        assert None not in one.match(rows)


def test_published_rule_on_gsm8k_train() -> None:
    """machine.md: a plain 9-gram filter drops 0.4 % of GSM8K train for GSM8K test; here with punctuation as tokens."""
    found = NgramRule.build(problems("gsm8k_test")).match([row["problem"] for row in read("train/gsm8k_train.jsonl")])
    assert 0.001 < sum(match is not None for match in found) / len(found) < 0.02


@pytest.mark.parametrize("kind", CHANGES)
def test_planted_copies_are_found(kind: str) -> None:
    """A third of the items; benchmarks/decontamination.py plants all."""
    items = (problems("gsm8k_test") + problems("math500") + problems("aime24"))[::3]
    pool = [row["problem"] for row in read("train/gsm8k_train.jsonl")][:500]
    copies = [text for _, text in plant(items, kind, 11, pool)]
    rule = WeightedRule.build(items)
    rule = rule.with_frequencies(rule.count(pool + copies), len(pool) + len(copies))
    found = Counter(kinds(rule, copies))
    assert len(copies) > 500
    assert found[None] <= len(copies) * (0.07 if kind == "number changed" else 0.01)
    if kind == "number changed":
        assert found[NUMBERS] + found[None] + found[EQUAL] == len(copies)


def test_planting_is_deterministic_and_changes_one_thing() -> None:
    items = [BenchmarkItem("duck", STORY)]
    for kind in CHANGES:
        assert plant(items, kind, 5, ["Some words to draw from"]) == plant(items, kind, 5, ["Some words to draw from"])
    lengths = {kind: len(plant(items, kind, 5, ["zebra"])[0][1].split()) - len(STORY.split()) for kind in CHANGES}
    assert lengths["word inserted"] == 1
    assert lengths["word deleted"] == -1
    assert lengths["word changed"] == lengths["number changed"] == 0


DECON = {
    "clean": [None] * 5,
    "contaminated_at_beginning": ["101"],
    "contaminated_at_end": ["101"],
    "contaminated_middle_position": ["101"],
    "contaminated_punctuation_variation": ["101"],
    "contaminated_single_deletion": ["101"],
    "contaminated_single_edit": ["101"],
    "contaminated_single_insertion": ["101"],
    "contaminated_edge_cases": ["101/passage", "101/passage", "101/passage", "102", None],
    "contaminated_mixed": ["101", None, None, "102", "103/answer"],
    "contaminated_multiple_in_one": ["102"],
    "long_document": ["102"],
    "demo": [None, None],
}
"""By file of allenai/decon's fixtures the item that each row holds (of several the one found with the best score, then
the first). Its own tests ask for `clean` to stay and for rows 0 and 3 of `contaminated_mixed`, and leave the single
edits, `edge_cases` and the rest to the settings. Row 4 of `edge_cases` has four misspelt words in nineteen; rows 1 and
2 of `mixed` paraphrase or are innocent; what `demo` holds is in other benchmarks."""


def test_decon_fixtures() -> None:
    items: list[BenchmarkItem] = []
    for row in read("decontamination/reference/passage_question_answer_reference.jsonl"):
        passage, name = row.get("passage", ""), str(row["doc_id"])
        items.append(BenchmarkItem(name, f"{passage} {row['question']}".strip()))
        items += [BenchmarkItem(f"{name}/passage", passage)] if passage else []
        items += [BenchmarkItem(f"{name}/answer", row["answer"])] if len(row["answer"].split()) > FEW else []
    folder: Path = shared("decontamination/training")
    files = {
        path.stem: [row["text"] for row in read(f"decontamination/training/{path.name}")]
        for path in sorted(folder.iterdir())
    }
    rows = [text for texts in files.values() for text in texts]
    rule = WeightedRule.build(items)
    rule = rule.with_frequencies(rule.count(rows), len(rows))
    found = {name: [match and match.item for match in rule.match(files[name])] for name in DECON}
    assert sorted(files) == sorted(DECON)
    named = [(item or "").split("/")[0] for row in found.values() for item in row]
    assert named == [(item or "").split("/")[0] for row in DECON.values() for item in row]


def test_judged_sample_says_what_the_rules_do() -> None:
    """The committed judgements are of rows that the rules drop still, and the weighted rule is right with 9 in 10."""
    path = Path(__file__).parents[2] / "benchmarks" / "contamination_judgements.jsonl"
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    main = [row for row in rows if row["set"] == "main"]
    assert len(main) == 200
    assert all(row["reason"] and len(row["matched"]) <= 200 for row in rows)
    mine = [row["contaminated"] for row in rows if "weighted" in row["rules"]]
    assert np.mean(mine) >= 0.9
