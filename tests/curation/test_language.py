"""Prompts in English stay, those in other languages go, and nothing is said where nothing can be told."""

from __future__ import annotations

import builtins
import json
import pickle
from typing import Any

import pytest
from tests.shared_data import shared

from openklear.curation.rules import language
from openklear.curation.rules.language import language_rule, languages, prose
from openklear.data.rows import Row
from openklear.errors import DataError
from openklear.types import Message, Problem


@pytest.fixture(autouse=True)
def installed(request: pytest.FixtureRequest) -> None:
    if "without" not in request.node.name and "prose" not in request.node.name:
        pytest.importorskip("py3langid", reason="the extra `language` is not installed")


def row(prompt: str) -> Row:
    return Row(Problem("i", (Message(role="user", content=prompt),), "math", "1"), "f:1")


SENTENCES = {
    "de": ["Bestimme alle reellen Zahlen $x$, für die $x^2+3x-4=0$ gilt.", "Wie viele Möglichkeiten gibt es, 8 Personen an einen Tisch zu setzen?"],
    "fr": ["Trouver tous les réels $x$ tels que $x^2=2$.", "Combien y a-t-il de façons de ranger 5 livres sur une étagère ?"],
    "es": ["Encuentra todos los números reales $x$ tales que $x^2=2$.", "¿Cuántas maneras hay de ordenar 5 libros en un estante?"],
    "it": ["In quanti modi si possono disporre 5 libri su uno scaffale?", "Scrivi un programma che legge un intero e stampa il suo quadrato."],
    "pt": ["De quantas maneiras podemos organizar 5 livros em uma estante?", "João tem 5 maçãs e compra mais 7. Quantas maçãs ele tem agora?"],
    "ru": ["Найдите все действительные числа $x$, для которых $x^2=2$.", "Сколькими способами можно расставить 5 книг на полке?"],
    "zh": ["求所有满足 $x^2=2$ 的实数 $x$。", "将5本书排列在书架上有多少种方法?"],
    "ja": ["次の方程式 $x^2=2$ を満たす実数をすべて求めよ。", "整数を読み込んでその二乗を出力するプログラムを書いてください。"],
    "en": ["Find all real $x$ with $x^2 = 2$.", "Write a program that reads an integer and prints its square."],
}  # fmt: skip


@pytest.mark.parametrize("code", SENTENCES)
def test_sentences(code: str) -> None:
    own, english = language_rule([code]), pickle.loads(pickle.dumps(language_rule(["en"])))
    both = language_rule(["en", code])
    for sentence in SENTENCES[code]:
        assert own(row(sentence)) is None
        assert both(row(sentence)) is None
        found = english(row(sentence))
        assert (found is None) == (code == "en")
        if found:
            assert found[0] == "another language"
            assert found[1].endswith("%)")


def test_where_nothing_can_be_told() -> None:
    for text in ("", "Compute.", "$x^2 + y^2 = z^2$", "\\[\\text{Berechne die Summe der ersten Zahlen}\\]", "```python\nwert = summe\n```", "12 + 4 = 16"):  # fmt: skip
        assert languages(text) == {}
        assert language_rule(["de"])(row(text)) is None
    assert sum(languages("Find the sum of all positive divisors.").values()) == pytest.approx(1.0)


def test_prose() -> None:
    assert prose("Let $f(x)=x$ and \\(y\\) be a map; \\textbf{don't} use `code` or\n```py\nx = 1\n```\nat https://a.b/c now.") == (
        "Let and be map don't use or at now"
    )  # fmt: skip
    assert prose("Look at [asy]draw(circle);[/asy] the figure \\begin{align*}abc &= de\\end{align*} closely") == (
        "Look at the figure closely"
    )
    assert prose("open [asy] draw") == "open"
    assert prose("求 x 的值") == "求 的值"


def problems(name: str) -> list[str]:
    return [json.loads(line)["problem"] for line in shared(name).read_text().split("\n") if line]


@pytest.mark.parametrize("name", ["benchmarks/math500.jsonl", "train/taco_stdin.jsonl", "train/deepmath.jsonl"])
def test_real_prompts_are_english(name: str) -> None:
    texts = problems(name)[:1000] if "deepmath" not in name else shared_prompts(name)
    english, french = language_rule(["en"]), language_rule(["fr"])
    assert sum(english(row(text)) is not None for text in texts) <= 0.002 * len(texts)
    assert sum(french(row(text)) is not None for text in texts) > 0.85 * len(texts)


def shared_prompts(name: str) -> list[str]:
    rows: list[dict[str, Any]] = [json.loads(line) for line in shared(name).read_text().split("\n")[:1000] if line]
    return [str(one.get("problem") or one.get("prompt") or one.get("messages")) for one in rows]


def test_codes() -> None:
    with pytest.raises(DataError, match=r"'english' is no known language; is it 'en'\?"):
        language_rule(["en", "english"])


def test_without_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def missing(name: str, *rest: Any) -> Any:
        if name.startswith("py3langid"):
            raise ImportError(name)
        return real(name, *rest)

    language.identifier.cache_clear()
    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(DataError, match=r"pip install 'openklear\[language\]'"):
        language_rule(["en"])
    monkeypatch.undo()
    language.identifier.cache_clear()
