"""Equivalence beyond spelling: identities, inequalities, options, qualifiers, systems and sequences, both ways.

The cases by kind (`kinds/equivalence.toml`) are the examples; here are more, the rules themselves, and hostile texts.
"""

import random
import time

import pytest

from openklear.types import Outcome
from openklear.verifiers.mathematics.exact import decide
from openklear.verifiers.mathematics.grader import MathGrader
from openklear.verifiers.mathematics.inequalities import one_way
from openklear.verifiers.mathematics.options import options, unlabelled
from openklear.verifiers.mathematics.qualifiers import differ, unqualified
from openklear.verifiers.mathematics.respelling import prepared
from openklear.verifiers.mathematics.sequences import written_out
from openklear.verifiers.mathematics.systems import as_list, by_cases


@pytest.fixture(scope="module")
def grader():
    made = MathGrader(1, seconds=5.0)
    yield made
    made.close()


SAME = {
    "identities": [
        (r"\frac{\sqrt{a}}{\sqrt{b}}", r"\sqrt{\frac{a}{b}}"),
        (r"2\pi\sqrt{\frac{l}{g}}", r"\frac{2\pi\sqrt{l}}{\sqrt{g}}"),
        (r"\log_2 x - \log_2 y", r"\log_2 \frac{x}{y}"),
        (r"\log x + \log y", r"\log(xy)"),
        (r"\ln \frac{1}{x}", r"-\ln x"),
        (r"\log_3 x", r"\frac{\ln x}{\ln 3}"),
        (r"\log_4 x", r"\frac12 \log_2 x"),
        (r"\sqrt[6]{x^5}", r"x^{5/6}"),
        (r"\sqrt{x^2}", r"|x|"),
        (r"2^{\log_2 x}", "x"),
        (r"\left(\frac{a}{b}\right)^{n}", r"\frac{a^n}{b^n}"),
        (r"(x^m)^{1/n}", r"x^{m/n}"),
        (r"(x^2)^n", r"x^{2n}"),
        (r"\ln x+C", r"\ln|x|+C"),
        (r"\ln(x+\sqrt{x^2+1})", r"\frac12\ln\frac{\sqrt{x^2+1}+x}{\sqrt{x^2+1}-x}"),
        (r"\cos(n\pi)", r"(-1)^n"),
        (r"\frac{n!}{k!(n-k)!}", r"\binom{n}{k}"),
        (r"f(x)=\frac{1}{\sqrt{x}}", r"f(x)=\sqrt{1/x}"),
        (r"(\frac{1}{\sqrt{n}},1)", r"(\sqrt{1/n},1)"),
        (r"\{\ln x, 2\ln x\}", r"\{\ln x^2, \ln x\}"),
        (r"\sqrt[3]{2+\sqrt5}+\sqrt[3]{2-\sqrt5}", "1"),
        (r"\sqrt[3]{-x}", r"-\sqrt[3]{x}"),
        (r"(-2)^n", r"(-1)^n2^n"),
        (r"\sqrt{-4}", "2i"),
        (r"\sqrt{i}", r"\frac{\sqrt2}{2}+\frac{\sqrt2}{2}i"),
        (r"e^{i\theta}", r"\cos\theta+i\sin\theta"),
        (r"-\frac{\sqrt2}{2}<x<\frac{\sqrt{2}}{2}", r"\frac{1}{\sqrt2}>x>-\frac{1}{\sqrt2}"),
    ],
    "inequalities": [
        ("f(2) < f(1) < f(4)", "f(4)>f(1)>f(2)"),
        (r"m > \frac{3}{2}", r"\left(\frac{3}{2},\infty\right)"),
        (r"-\sqrt{2} \le x \le \sqrt 2", r"|x| \le \sqrt{2}"),
        ("|k|>2", r"(-\infty,-2)\cup(2,\infty)"),
        (r"x \neq 0", r"(-\infty,0)\cup(0,\infty)"),
        (r"x \ge 0 \text{ and } x\le 2", "[0,2]"),
        ("x>0, y>0", "0<y, 0<x"),
        ("x > 1", r"\{x \mid x>1\}"),
        (r"x \leq 0 \cup x \geq 4", r"(-\infty,0]\cup[4,\infty)"),
    ],
    "options": [
        ("A, B, D", "ABD"),
        ("ABD", r"\{A,B,D\}"),
        ("12", "E: 12"),
        (r"3\sqrt{2}", r"\textbf{(B) } 3\sqrt 2"),
        (r"\textbf{(E)}\ 12", "(E) 12"),
        ("E", r"\text{Option E: 12}"),
        ("E", "E \u2014 A polygenic risk score"),
    ],
    "qualifiers": [
        ("f(x)=x", r"f(x)=x \quad \forall x \in \mathbb{R}"),
        (r"k\pi", r"k\pi\ (k \in \mathbb{Z})"),
        (r"f(x)=x \text{ for all } x > 0", r"f(x)=x \text{ for } x > 0"),
        ("x+2", r"x+2 \text{ with } x \neq 2"),
        ("f(x)=ax+b", r"f(x)=ax+b \text{ for all real } x \text{, where } a \text{ and } b \text{ are constants}"),
    ],
    "systems and sequences": [
        (r"\begin{cases} x=1\\ y=2\end{cases}", "(1,2)"),
        ("x = 1, y = 2", r"\left\{\begin{matrix} x=1\\ y=2\end{matrix}\right."),
        (r"\begin{cases} x^2 & x>0\\ 0 & x\le 0\end{cases}", r"\begin{cases} x^2 & x>0\\ 0 & \text{otherwise}\end{cases}"),
        (r"1, 2, \ldots, 10", "1,2,3,4,5,6,7,8,9,10"),
        (r"1,3,5,\ldots", "1,3,5,7,..."),
        (r"1+2+\cdots+n", "1+2+...+n"),
    ],
}  # fmt: skip
APART = {
    "identities": [
        (r"\sqrt{a+b}", r"\sqrt{a}+\sqrt{b}"),
        (r"\log_2 x + \log_2 y", r"\log_2(x+y)"),
        (r"\ln(x^2)", r"\ln 2x"),
        (r"\log_a b", r"\log_b a"),
        (r"x^{2/3}", r"x^{3/2}"),
        (r"\sqrt{x^{2n}}", "x^n"),
        (r"e^x|x|", "xe^x"),
        ("|x|^n", "x^n"),
        (r"a\sqrt{b}", r"\sqrt{a^2b}"),
        (r"\cos x", r"\sqrt{1-\sin^2 x}"),
        (r"\arctan x+\arctan\frac1x", r"\frac{\pi}{2}"),
        (r"\arcsin(\sin x)", "x"),
        (r"\lfloor x \rfloor", "x"),
        (r"\frac{2^n+(-1)^n}{3}", r"\frac{2^n-(-1)^n}{3}"),
        (r"e^{i\theta}", r"\cos\theta-i\sin\theta"),
        (r"\sqrt{x}\cdot 10^{60}", r"\sqrt{x}\cdot 10^{60}+1"),
    ],
    "inequalities": [
        ("a<b<c", "a<c<b"),
        ("x>3", "y>3"),
        (r"x\ge 2", "2"),
        ("k>2", r"k>2 \text{ or }k<-2"),
        (r"x \neq 0", "x>0"),
        (r"x \in (-1,3)", "-1<x<3"),
    ],
    "options": [
        ("ABD", "A, B, D, D"),
        ("AB", "A"),
        ("(A,B)", "(B,A)"),
        ("12", "(E)(12)"),
        (r"\textbf{(E)}\ 12", "(D) 12"),
        (r"\textbf{(E)}\ 12", "(E) 13"),
        ("E", "Options E and F"),
        ("E", "e"),
        ("A", "A + B"),
    ],
    "qualifiers": [
        (r"f(x)=x \text{ for all real } x", r"f(x)=x \text{ for all integers } x"),
        (r"f(x)=x \text{ for all } x > 0", r"f(x)=x \text{ for } x < 0"),
        ("f(x)=cx", r"f(x)=cx \text{ where } c=2"),
        (r"5 \text{ with remainder } 3", "5"),
    ],
    "systems and sequences": [
        (r"f(x)=\begin{cases} 1 & x>0\\ 0 & x\le 0\end{cases}", r"g(x)=\begin{cases} 1 & x>0\\ 0 & x\le 0\end{cases}"),
        (r"\begin{cases} 1 & n \text{ even}\\ 2 & n \text{ odd}\end{cases}", r"\begin{cases} 1 & n \text{ odd}\\ 2 & n \text{ even}\end{cases}"),
        (r"2,4,\ldots,20", r"2,\ldots,20"),
        (r"(1,2,\ldots,5)", "(5,4,3,2,1)"),
        (r"\{0,1,\ldots,n-1\}", r"\{0,1,2,\dots,n\}"),
    ],
}  # fmt: skip


@pytest.mark.parametrize("kind", SAME)
def test_the_same(grader, kind):
    for pair in SAME[kind]:
        assert grader.grade(*pair).outcome is Outcome.CORRECT, pair


@pytest.mark.parametrize("kind", APART)
def test_apart(grader, kind):
    for pair in APART[kind]:
        assert grader.grade(*pair).outcome is Outcome.INCORRECT, pair


PARTS = ("x", "y", "2x", "x+1", "x+y", "xy", "x^2+y^2", "3")
LAWS = (
    (r"\sqrt{A}\sqrt{B}", r"\sqrt{(A)(B)}"),
    (r"\frac{\sqrt{A}}{\sqrt{B}}", r"\sqrt{\frac{A}{B}}"),
    (r"\ln(A)+\ln(B)", r"\ln((A)(B))"),
    (r"\log_5(A)-\log_5(B)", r"\log_5\frac{A}{B}"),
    (r"3\ln(A)", r"\ln((A)^3)"),
    (r"(A)^{\frac{2}{3}}", r"\sqrt[3]{(A)^2}"),
    (r"\frac{1}{\sqrt{A}}", r"\sqrt{\frac{1}{A}}"),
    (r"(A)^{n}(B)^{n}", r"((A)(B))^n"),
)
HARM = ("2({})", "{}+1", r"{}+\frac{{1}}{{1000}}", "{}+x", "-({})", r"{}\cdot x", "({})^2", r"\left|{}\right|+y")


def test_laws_hold_for_any_parts_and_no_harm_passes(grader):
    drawn = random.Random(0)
    for _ in range(60):
        law, (first, second) = drawn.choice(LAWS), drawn.sample(PARTS, 2)
        left, right = (side.replace("A", first).replace("B", second) for side in law)
        assert grader.grade(left, right).outcome is Outcome.CORRECT, (left, right)
        harmed = drawn.choice(HARM).format(right)
        assert grader.grade(left, harmed).outcome is Outcome.INCORRECT, (left, harmed)


@pytest.mark.parametrize(
    ("reference", "answer", "written"),
    [
        ("-2<x<1", "1>x>-2", ("-2 < x < 1", "-2 < x < 1")),
        ("x<1 or x>3", r"(-\infty,1]\cup[3,\infty)", (r"(-\infty, 1) \cup (3, \infty)", r"(-\infty,1]\cup[3,\infty)")),
        ("x>1, x<3", "1<x<3", ("1 < x < 3", "1 < x < 3")),
        ("3<m", "m>3", ("m > 3", "m > 3")),
        ("x>0, y>0", "5", ("x > 0, y > 0", "5")),
        ("x>a, x<b", "5", ("a < x, x < b", "5")),
        (r"x \neq 1, x \neq 2", r"\cup", (r"x \neq 1, x \neq 2", r"\cup")),
    ],
)
def test_inequalities_are_written_one_way(reference, answer, written):
    assert prepared(reference, answer) == written


def test_what_is_prepared_says_nothing_else():
    assert prepared(r"\operatorname{cis}(60^\circ)+1", "x")[0].replace(" ", "") == r"e^{i((\frac{60\pi}{180}))}+1"
    assert as_list(r"\begin{aligned} x &= 1 \\ &= 2 \end{aligned}").startswith(r"\begin")  # a derivation, no system
    assert as_list(r"\begin{matrix} 1 \\ 2 \end{matrix}").startswith(r"\begin")
    assert by_cases("x", r"\begin{cases} 1 & x \\ 2 & y \end{cases}")[0] == "x"
    assert written_out(r"1, 4, 9, \ldots") == r"1, 4, 9, \ldots"
    assert written_out(r"1, 2, \ldots, 1000000000") == r"1, 2, \ldots, 1000000000"
    assert unlabelled("C(x+1)", "(C)(x+1)") == ("C(x+1)", "(C)(x+1)")
    assert unqualified("x", r"x \text{ for tea}") == ("x", r"x \text{ for tea}")
    assert decide(r"k\pi, k \in \mathbb{Z}", r"k\pi, k \in \mathbb{N}") is False


LONG = 4000
HOSTILE = [
    "<" * LONG, "x<" * (LONG // 2), "x<1," * (LONG // 4), "1<x<2 or " * (LONG // 9), r"x \neq 1 or " * (LONG // 12),
    "A, " * (LONG // 3), "(A)" * (LONG // 3), "A" * LONG, "option " * (LONG // 7), "(E)" + " " * LONG + "x",
    r"\ldots " * (LONG // 7), r"1,\ldots," * (LONG // 9), "... " * (LONG // 4), ",..." * (LONG // 4),
    r"\begin{cases}" * (LONG // 13), r"\begin{cases} x & y\\" * (LONG // 21),
    r"\begin{cases}" + r"x&y\\" * (LONG // 6) + r"\end{cases}", r"\left\{" * (LONG // 7),
    r"\text{for all }" * (LONG // 15), "for " * (LONG // 4), r", k \in \mathbb{Z}" * (LONG // 18),
    r"x \text{ for all " + "a " * (LONG // 2) + "}", r"\forall" * (LONG // 7), "|x" * (LONG // 2) + "<2",
    r"\{x|" + "x" * LONG, "x_{" * (LONG // 3) + "<1", "cis " * (LONG // 4), r"\operatorname{cis}(" * (LONG // 20),
]  # fmt: skip


@pytest.mark.parametrize("text", HOSTILE, ids=lambda text: text[:16])
def test_hostile_texts_take_no_time(text):
    for other in ("5", "x<1", "ABD", r"(-\infty,1)\cup(2,\infty)", r"f(x)=x \text{ for all } x", text):
        for pair in ((text, other), (other, text)):
            began = time.process_time()
            left, right = prepared(*pair)
            options(left, right)
            differ(left, right)
            one_way(left, right)
            assert time.process_time() - began < 2.0, other


@pytest.mark.parametrize(
    ("reference", "answer"),
    [
        (r"\sqrt{x}", r"\sqrt{x}^{9999}+9999!"),
        ("x^{0.5}", r"\binom{9999}{x}"),
        ("x^{0.5}", "e^{e^{e^{x}}}"),
        ("x^{0.5}", r"\sin(10^{9999} x)"),
        ("x^{0.5}", "+".join(rf"\sqrt{{x+{number}}}" for number in range(120))),
        (r"\{\sqrt{x}, \ln x\}", r"\{" + ",".join(rf"\sqrt{{{number}x}}" for number in range(40)) + r"\}"),
    ],
)
def test_no_answer_is_too_much_to_evaluate(grader, reference, answer):
    assert grader.grade(reference, answer).outcome is Outcome.INCORRECT
    assert grader.grade(reference, reference.replace("x", "{x}")).outcome is Outcome.CORRECT
