"""Unicode in answers: what is one spelling with ASCII, and what must not become one."""

import time
import unicodedata

import pytest

from openklear.verifiers.mathematics.characters import plain
from openklear.verifiers.mathematics.limits import over_limit
from openklear.verifiers.mathematics.text import normalise

PLAIN = {
    "x²+1": "x^{2}+1",
    "10⁻⁵": "10^{-5}",
    "x²⁄³": "x^{2/3}",
    "12ᵗʰ": "12^{th}",
    "1011₂": "1011_{2}",
    "aₙ₊₁": "a_{n+1}",
    "log₂8": "log_{2}8",
    "（１，２）": "(1,2)",
    "５．３": "5.3",
    "｛1｝": r"\{1\}",
    "½": r"\frac{1}{2}",
    "3½": r"3\frac{1}{2}",
    "¹⁄₂": r"\frac{1}{2}",
    "⅟3": "1/3",
    "2√12": r"2\sqrt{12}",
    "√(2)": r"\sqrt(2)",
    "³√8": r"\sqrt[3]{8}",
    "∛x": r"\sqrt[3]{x}",
    "√2̅": r"\sqrt{2}",
    "x³√5": r"x^{3}\sqrt{5}",
    "−5": "-5",
    "⁻5": "-5",
    "x – 1": "x - 1",
    "-45\u200b": "-45",
    "\ufeff\u202e5\u00ad": "5",
    "12\u202f000": "12 000",
    "٣٫٥": "3.5",
    "१२": "12",
    "𝑥 + 𝟓": "x + 5",
    "𝜋r²": r"\pi r^{2}",
    "ℝ∖{1}": r"\mathbb{R}\setminus {1}",
    "0.1̇6̇": r"0.\dot{1}\dot{6}",
    "0.16̅": r"0.1\overline{6}",
    "f′(x)": "f'(x)",
    "=\u0338": r"\neq ",
    "Ⓑ": "B",
    "5️⃣": "5",
    "λ": r"\lambda ",
    "45º": "45°",
}


@pytest.mark.parametrize("text", PLAIN)
def test_one_spelling(text):
    assert plain(text) == PLAIN[text]


def test_meaning_stays():
    assert plain("10⁵") != "105"
    assert plain("5。3") != "5.3"  # two sentences
    assert plain("⒈5") != "1.5"  # the first item of a list
    assert plain("①③") == "①③"  # statements 1 and 3, not 13
    assert plain("Α") == "Α"  # a Greek capital that is no Latin letter
    assert plain("réponse, 答案, ответ") == "réponse, 答案, ответ"


def test_twice_is_once():
    for text in PLAIN:
        assert plain(plain(text)) == plain(text)


def test_every_character_has_its_place():
    """None becomes another one's digit, none becomes a control character or grows without bounds."""
    for code in (*range(128, 0x3400), *range(0xA000, 0xAC00), *range(0xE000, 0x20000)):
        said = plain(chr(code))
        assert len(said) <= 24, hex(code)
        assert not any(unicodedata.category(one) == "Cc" and one != "\n" for one in said) or code < 160, hex(code)


@pytest.mark.parametrize(
    "piece", ["²", "⁻", "√", "√ ", "½", "\u0327\u0300", "3\u0305", "¹/", "¹/₂", "⁻5", "⁻√", "\u0305"]
)
def test_hostile_runs_take_linear_time(piece):
    started = time.process_time()
    plain(piece * 200_000)
    plain("√" + " " * 200_000)
    assert time.process_time() - started < 4.0


def test_limits_see_the_plain_text():
    assert over_limit("10⁹⁹⁹⁹⁹⁹") == "an exponent above 10000"
    assert over_limit("½" * 4000) == "longer than 4096 characters"
    assert over_limit("10⁹") is None
    assert normalise("10⁵") == "10^{5}"
