"""The page in a real browser without a network: keys, hostile texts, two evaluations, growth, and as one file."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from pathlib import Path

import pytest
from benchmarks.chromium import Browser, found
from tests.reporting.viewer.hostile import completions
from tests.reporting.viewer.made import Made, evaluation, with_texts
from tests.reporting.viewer.serving import served

from openklear.reporting.viewer.export import export

pytestmark = pytest.mark.browser

READER = "document.querySelector('#reader:not([hidden]) .verdict')"
AT = "document.querySelector('#at').textContent"


@pytest.fixture
def page() -> Iterator[Browser]:
    path = found()
    if path is None:
        pytest.skip("no Chromium on this machine: the page is not looked at")
    with Browser(path) as browser:
        yield browser
        assert browser.messages == []
        outside = [one for one in browser.requests if not one.startswith(("http://127.0.0.1:", "file://", "about:"))]
        assert outside == []
        assert browser.run("window.hit") is None


def opened(page: Browser, address: str) -> None:
    page.open(address)
    page.wait("document.documentElement.dataset.ready")


def test_everything_by_keys(page: Browser, tmp_path: Path) -> None:
    made = Made(tmp_path / "a", 3)
    for problem, row in enumerate([("correct", "wrong"), ("correct", "truncated"), ("stands", "correct")]):
        for sample, fate in enumerate(row):
            made.judge(problem, sample, fate, f"<think>thought {problem} {sample}</think>said {problem} {sample}")
    with served(tmp_path) as host:
        opened(page, f"http://{host}/")
        assert page.run(AT).startswith("aime24 2024-00, sample 0: correct")
        page.key("ArrowRight")
        assert page.run(AT).startswith("aime24 2024-00, sample 1: wrong")
        page.key("ArrowDown")
        assert page.run(AT).startswith("aime24 2024-01, sample 1: stopped by length")
        page.key("Enter")
        page.wait(READER)
        assert page.run("document.querySelector('#reader h2').textContent") == "aime24 2024-01, sample 1 of 2"
        assert page.run("document.activeElement.id") == "reader"
        assert page.run("document.querySelector('#reader .answered').textContent") == "said 1 1"
        assert not page.run("document.querySelector('#reader .thought').open")
        page.key("t")
        assert (
            page.wait("document.querySelector('#reader .thought .text')?.textContent") == "<think>thought 1 1</think>"
        )
        page.key("n")
        page.wait("document.querySelector('#reader .answered')?.textContent === 'said 2 0'")
        assert page.run("document.querySelector('#reader .thought').open"), "it stays as it was set"
        page.key("p")
        page.wait("document.querySelector('#reader .answered')?.textContent === 'said 1 1'")
        page.key("Escape")
        assert page.run("document.querySelector('#reader').hidden")
        assert page.run("document.activeElement.className") == "grid"
        page.key("/")
        for letter in "-02":
            page.key(letter)
        page.wait(f"{AT}.startsWith('aime24 2024-02')")
        page.key("Escape")
        assert page.run("document.activeElement.className") == "grid"
        page.key("?")
        assert page.wait("document.querySelector('#help').open")
        page.key("Escape")
        page.wait("!document.querySelector('#help').open")


def test_filters_leave_what_they_name(page: Browser, tmp_path: Path) -> None:
    made = Made(tmp_path / "a", 4)
    for problem, fate in enumerate(["correct", "truncated", "unanswered", "stands"]):
        made.judge(problem, 0, fate, "x")
    with served(tmp_path) as host:
        opened(page, f"http://{host}/")
        for name, problem in (("truncated", 1), ("unanswered", 2), ("stands", 3)):
            chip = f"document.querySelector('[data-name={name}]')"
            assert page.run(f"{chip}.querySelector('b').textContent") == "1"
            page.run(f"{chip}.click()")
            assert page.run(AT).startswith(f"aime24 2024-0{problem}, sample 0"), name
            assert page.run(f"{chip}.getAttribute('aria-pressed')") == "true"
            page.run(f"{chip}.click()")
        page.run("document.querySelector('[data-name=unscorable]').click()")
        assert page.run(AT) == "Nothing is left by the filters."
        page.run("document.querySelector('[data-name=unscorable]').click()")
        page.run("document.querySelector('.card button').click()")
        assert page.run("document.querySelector('input').value") == "aime24/"
        assert page.run(AT).startswith("aime24 2024-0")
        page.run("document.querySelector('.card button').click()")
        assert page.run("document.querySelector('input').value") == ""


def test_two_side_by_side_and_what_moved(page: Browser, tmp_path: Path) -> None:
    for name, row in (("a", ("correct", "wrong", "wrong")), ("b", ("correct", "correct", "wrong"))):
        made = Made(tmp_path / name, 3, temperature=0.6 if name == "a" else 1.0)
        for problem, fate in enumerate(row):
            made.judge(problem, 0, fate, f"{name} said {problem}")
    with served(tmp_path) as host:
        opened(page, f"http://{host}/")
        a, b = page.run("[...document.querySelectorAll('#where option')].slice(1).map(one => one.value)")
        page.run(f"location.hash = '{a}/beside/{b.rpartition('/')[2]}'")
        page.wait("document.querySelector('[data-name=moved]')")
        assert "1 problem rose, 0 fell, 2 stayed" in page.run("document.querySelector('#page').textContent")
        assert "settings that differ: 1" in page.run("document.querySelector('#page').textContent")
        page.run("document.querySelector('[data-name=moved]').click()")
        assert page.run(AT).startswith("A, aime24 2024-01, sample 0: wrong")
        page.key("ArrowDown")
        assert page.run(AT).startswith("B, aime24 2024-01, sample 0: correct")
        page.key("Enter")
        page.wait("document.querySelectorAll('#reader .answered').length === 2")
        said = page.run("[...document.querySelectorAll('#reader .answered')].map(one => one.textContent)")
        assert said == ["a said 1", "b said 1"]


def test_it_grows_while_it_is_looked_at(page: Browser, tmp_path: Path) -> None:
    made = Made(tmp_path / "a", 2)
    made.judge(0, 0, "wrong", "x")
    many = "document.querySelector('[data-name=wrong] b').textContent"
    with served(tmp_path) as host:
        opened(page, f"http://{host}/")
        assert page.run(many) == "1"
        made.judge(1, 0, "truncated", "y")
        page.wait(f"{many} === '2'", 15)
        assert "avg@1" in page.run("document.querySelector('.score').textContent")
        Made(tmp_path / "b", 1)
        page.wait("document.querySelectorAll('#where option').length === 3", 15)
    page.wait("document.querySelector('#live').textContent.startsWith('The server does not answer')", 15)
    page.messages[:] = [one for one in page.messages if "ERR_CONNECTION" not in one]


def test_the_tokens_of_a_rollout_are_coloured(page: Browser, stage: Path) -> None:
    with served(stage.parent) as host:
        opened(page, f"http://{host}/")
        assert "gppo, 1 iteration, 1 with their rollouts" in page.run("document.querySelector('.sub').textContent")
        page.key("ArrowDown")
        assert "advantage +0.500" in page.run(AT)
        page.key("Enter")
        page.wait(READER)
        kinds = page.run("[...document.querySelectorAll('#reader .tokens .t')].map(one => one.className + one.title)")
        assert kinds == ["t highratio 2.000, log-probability -1.000", "t nearratio 0.500, log-probability -1.000"]
        assert "The clip acts on 1 of 4 tokens" in page.run("document.querySelector('#reader').textContent")


def hostile_walk(page: Browser, many: int) -> None:
    """Opens the first of many completions one after the other, with their thinking, and reads what is shown."""
    texts = completions()
    for sample in range(many):
        page.key("Enter")
        page.wait(READER)
        page.run("document.querySelectorAll('#reader details').forEach(one => { one.open = true })")
        page.wait("[...document.querySelectorAll('#reader details')].every(one => one.children.length > 1)")
        inside = page.run(
            "[...document.querySelectorAll('#reader .text *')].filter(one => one.className !== 'piece').length"
        )
        assert inside == 0, "a completion makes no element"
        shown = page.run(
            "[...document.querySelectorAll('#reader .answered, #reader .thought .text')].reduce((n, one) => n + "
            "one.textContent.length, 0)"
        )
        assert shown >= len(texts[sample]) * 0.98, sample  # line ends between pieces are none
        page.key("Escape")
        page.key("ArrowRight")


def test_hostile_completions_are_text_and_nothing_else(page: Browser, tmp_path: Path) -> None:
    with_texts(tmp_path / "a", completions())
    with served(tmp_path) as host:
        opened(page, f"http://{host}/")
        hostile_walk(page, 100)


def test_the_exported_page_works_from_a_file(page: Browser, tmp_path: Path) -> None:
    with_texts(tmp_path / "a", completions())
    export([tmp_path / "a"], tmp_path / "page.html")
    opened(page, (tmp_path / "page.html").as_uri())
    assert page.run("document.querySelector('#live').textContent") == "an exported page"
    hostile_walk(page, 45)
    assert all(one.startswith("file://") for one in page.requests)


def test_what_an_exported_page_left_out_is_said(page: Browser, tmp_path: Path) -> None:
    evaluation(tmp_path / "a", 2, 2)
    said = export([tmp_path / "a"], tmp_path / "page.html", most=10)
    assert "4 were left out" in said
    opened(page, (tmp_path / "page.html").as_uri())
    page.key("Enter")
    page.wait("document.querySelector('#reader .fault')")
    assert said in page.run("document.querySelector('#reader .fault').textContent")


def test_nothing_juts_out_at_any_width(page: Browser, tmp_path: Path) -> None:
    evaluation(tmp_path / "a", 4, 24)
    evaluation(tmp_path / "b", 4, 24, seed=2)
    wide = "(one => one.scrollWidth - one.clientWidth)(document.querySelector('{}'))"
    with served(tmp_path) as host:
        for width, dark in product((1280, 390, 320), (False, True)):
            page.shape(width, 844, dark=dark)
            opened(page, f"http://{host}/#/")
            a, b = page.run("[...document.querySelectorAll('#where option')].slice(1).map(one => one.value)")
            for place in (a, f"{a}/beside/{b.rpartition('/')[2]}", "#/", a):
                page.run("delete document.documentElement.dataset.ready")
                page.run(f"location.hash = '{place}'")
                page.wait("document.documentElement.dataset.ready")
                assert page.run(wide.format("html")) <= 0, (width, place)
            ground = page.run("getComputedStyle(document.body).backgroundColor")
            assert ground == ("rgb(15, 23, 32)" if dark else "rgb(245, 247, 250)")
            page.key("Enter")
            page.wait(READER)
            assert page.run(wide.format("#reader")) <= 0, width
            page.key("Escape")
