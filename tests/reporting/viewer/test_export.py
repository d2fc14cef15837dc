"""The exported page: one file in which no completion ends anything, and nothing but our script runs."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from tests.reporting.viewer.hostile import completions
from tests.reporting.viewer.made import Made, evaluation, with_texts

from openklear.reporting.viewer.export import document, export, fair_share, harmless, shortened
from openklear.reporting.viewer.pages import SCRIPTS, joined, static


class Tags(HTMLParser):
    """The elements of a page with their attributes, and the text of its scripts and styles."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.raw: list[tuple[str, str]] = []
        self._in: str | None = None
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._in = tag if tag in ("script", "style") else None

    def handle_endtag(self, tag: str) -> None:
        self._in = None

    def handle_data(self, data: str) -> None:
        if self._in:
            self.raw.append((self._in, data))


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> str:
    place = tmp_path_factory.mktemp("hostile")
    with_texts(place / "<script>name", completions())
    export([place / "<script>name"], place / "page.html")
    return (place / "page.html").read_bytes().decode()


def test_a_hundred_hostile_completions_are_text_and_nothing_else(page: str) -> None:
    found, plain = Tags(page), Tags(document({}))
    assert found.tags == [
        (tag, {**told, "content": told["content"]} if "content" in told else told) for tag, told in plain.tags
    ], "the completions add no element and no attribute"
    assert [tag for tag, _ in found.tags].count("script") == 2
    assert not any(name.startswith("on") for _, told in found.tags for name in told)
    assert not any(
        name in ("src", "href") and value != "#page" and value != "#/"
        for _, told in found.tags
        for name, value in told.items()
    )
    assert page.count("</script") == 2
    assert "<!--" not in page
    assert "hit" not in re.sub(r'<script type="application/json".*?</script>', "", page, flags=re.S).replace(
        "white", ""
    )


def test_the_texts_are_all_in_it(page: str) -> None:
    held = json.loads(next(text for tag, text in Tags(page).raw if text.startswith("{")))
    texts = completions()
    of = [held[key] for key in held if key.startswith("completion/")]
    assert len(of) == 100
    assert sorted(one["characters"] for one in of) == sorted(map(len, texts))
    assert held["exported"].startswith("100 texts are in this file")
    assert held["exported"].endswith("all there were")


def test_the_policy_allows_the_one_script_by_its_hash(page: str) -> None:
    found = Tags(page)
    policy = next(told["content"] for tag, told in found.tags if tag == "meta" and "http-equiv" in told)
    assert policy is not None
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    for kind in ("script", "style"):
        text = next(text for tag, text in found.raw if tag == kind and not text.startswith("{"))
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"{kind}-src 'sha256-{digest}'" in policy


def held_by(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(next(text for _, text in Tags(path.read_text()).raw if text.startswith("{")))
    return found


def test_what_has_no_room_is_said_and_the_wrong_ones_come_first(tmp_path: Path) -> None:
    made = Made(tmp_path / "a", 3)
    for problem in range(3):
        for sample, fate in enumerate(["correct", "wrong", "wrong"]):
            made.judge(problem, sample, fate, f"{problem} {sample} " + "x" * 4000)
    said = export([tmp_path / "a"], tmp_path / "page.html", most=20_000)
    held = held_by(tmp_path / "page.html")
    places = [key.split("/")[2:] for key in held if key.startswith("completion/")]
    assert places == [["0", "1"], ["1", "1"], ["2", "1"], ["0", "2"]]
    assert said == held["exported"]
    assert said.startswith("4 texts are in this file")
    assert "5 were left out" in said
    assert len(next(value for key, value in held.items() if key.startswith("evaluation/"))["samples"]["problem"]) == 9


def test_long_texts_lose_their_middle_before_others_lose_their_place(tmp_path: Path) -> None:
    made = Made(tmp_path / "a", 1)
    for sample in range(8):
        made.judge(0, sample, "wrong", "<think>" + "t" * 100_000 + "</think>" + "the answer")
    said = export([tmp_path / "a"], tmp_path / "page.html", most=200_000)
    held = held_by(tmp_path / "page.html")
    of = [value for key, value in held.items() if key.startswith("completion/")]
    assert len(of) == 8
    assert "8 of them without their middle" in said
    assert "left out" not in said
    for one in of:
        (kind, head, left_out, tail), answer = one["parts"]
        assert (kind, answer) == ("thought", ["text", "the answer"])
        assert head.startswith("<think>ttt")
        assert tail.endswith("t</think>")
        assert len(head) + left_out + len(tail) == one["characters"] - len("the answer")
    export([tmp_path / "a"], tmp_path / "page.html")
    assert held_by(tmp_path / "page.html")["exported"].endswith("all there were")


def test_what_all_must_be_cut_at() -> None:
    lengths = [10, 40, 100, 1000]
    for most in (0, 4, 40, 41, 130, 151, 400, 1149):
        share = fair_share(lengths, most)
        assert sum(min(one, share) for one in lengths) <= most < sum(min(one, share + 1) for one in lengths)
    assert fair_share(lengths, 1150) == 1000
    assert fair_share([], 5) == 0


def test_a_completion_is_shortened_where_it_is_long() -> None:
    parts = [("text", "a"), ("thought", "b" * 1000), ("text", "c" * 2000)]
    assert shortened(parts, 9000) == (parts, False)
    found, is_cut = shortened(parts, 1500)
    assert is_cut
    assert found[0] == ("text", "a")
    assert found[1][:1] + found[2][:1] == ("thought", "text")
    kept = [len(one[1]) + len(one[3]) for one in found[1:]]
    assert sum(kept) <= 1500
    assert [one[2] + size for one, size in zip(found[1:], kept, strict=True)] == [1000, 2000]
    assert shortened([], 10) == ([], False)


def test_the_same_directory_gives_the_same_texts(tmp_path: Path) -> None:
    evaluation(tmp_path / "a", 2, 3)
    export([tmp_path / "a"], tmp_path / "one.html")
    export([tmp_path / "a"], tmp_path / "two.html")
    bare = [re.sub(r'"generation": "\w+"', "", (tmp_path / f"{one}.html").read_text()) for one in ("one", "two")]
    assert bare[0] == bare[1]


def test_harmless_json_means_the_same() -> None:
    value = {"</script><!-- & \u2028\u2029": ["<", ">", "&", "\\u003c", '"', "\ud800"]}
    text = harmless(json.dumps(value))
    assert not set(text) & set("<>&\u2028\u2029")
    assert json.loads(text) == value


def test_the_scripts_can_be_joined() -> None:
    """Each imports only from those before it, in one line, and no name stands in two of them."""
    before: list[str] = []
    names: list[str] = []
    for name in SCRIPTS:
        text = static(name)
        sources = re.findall(r'^import \{[^}]*\} from "\./(.+)";$', text, re.M)
        assert len(sources) == text.count("import {"), name
        assert set(sources) <= set(before), name
        names += re.findall(r"^(?:export )?(?:async )?(?:function|const|let|class) (\w+)", text, re.M)
        for several in re.findall(r"^(?:export )?const (\w+ = [^,;\n]+(?:, \w+ = [^,;\n]+)+);", text, re.M):
            names += re.findall(r", (\w+) =", several)
        before.append(name)
    assert len(names) == len(set(names)), sorted(one for one in names if names.count(one) > 1)
    whole = joined()
    assert not re.search(r"^\s*(import|export)\b", whole, re.M)
    assert "</script" not in whole
    assert "<!--" not in whole


def test_the_page_makes_no_markup_of_strings() -> None:
    for name in SCRIPTS:
        assert not re.search(
            r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function", static(name)
        )
    assert not re.search(
        r"https?://|//\w", re.sub(r"http://www\.w3\.org/2000/svg", "", "".join(map(static, SCRIPTS))).replace("// ", "")
    )
