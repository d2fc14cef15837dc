"""Words, units, bases, times, ratios, dates, marks, commas and named unknowns beside values: pairs, and hostile texts."""

import time

import pytest

from openklear.types import Outcome
from openklear.verifiers.mathematics.exact import decide
from openklear.verifiers.mathematics.grader import MathGrader
from openklear.verifiers.mathematics.text import normalise, squeeze
from openklear.verifiers.mathematics.words import without_words, words

EQUAL = r"""
n \text{ even} ~ n \text{ is even}
8 \text{ a.m.} ~ 8 am
8:00 \text{ a.m.} ~ 8 \text{ a.m.}
12 \text{ noon} ~ 12:00 \text{ p.m.}
05:00 ~ 5:00
7 ~ 7 nickels
15 \text{ square units} ~ 15 \text{ units}^2
15 \text{ square units} ~ 15 \text{ cm}^2
60 \text{ miles per hour} ~ 60 mph
60 \text{ mph} ~ 60 \text{ miles/hour}
60 \text{ mph} ~ 60
5% increase ~ \text{an increase of } 5\%
5 \text{ or more} ~ 5 \text{ or more}
5 apples left ~ 5
5 more ~ 5
5 \text{ apples and } 3 \text{ pears} ~ 3 \text{ pears and } 5 \text{ apples}
5 red, 3 blue ~ 3 blue, 5 red
2 \text{ hours } 5 \text{ minutes} ~ 2 h 5 min
\pi \text{ cm } + 5 \text{ cm} ~ 5+\pi
\text{5 apples} ~ 5
x = \text{5 apples} ~ 5
x + \text{12} ~ x + 12
\text{Area} = 5 ~ 5
\text{no solution} ~ \text{no solutions}
864 \mbox{ inches}^2 ~ 864 \text{ square inches}
abc ~ cab
f(x) = 2x \text{ for all real } x ~ f(x) = 2x
\frac{1}{2} \text{ hour} ~ 0.5 \text{ h}
2\pi \text{ radians} ~ 2\pi
\text{approximately } 5 ~ 5
x=1, y=2 ~ (1,2)
a=3,b=5,c=7 ~ c=7, a=3, b=5
(x,y)=(1,2) ~ (y,x)=(2,1)
(x,y)=(1,2),(3,4) ~ (3,4),(1,2)
x=\sqrt{8}, y=\sqrt{3} ~ (2\sqrt{2},\sqrt{3})
x = 1 \text{ and } y = 2 ~ (1,2)
k = 45, n = 2 ~ (45,2)
2 1/4 ~ 2\,\frac14
(1 1/2, 2) ~ (3/2, 2)
1 1/2 hours ~ 1.5 \text{ hours}
x^{1 1/2} ~ x^{3/2}
1\,000 ~ 1000
1 000 \text{ cm} ~ 1000
1 000 x ~ 1000 x
1000 ~ 1,000
3{,}14 ~ 3.14
5.5\text{ cm} ~ 5,5\text{ cm}
1011_2 ~ 1011_{\text{two}}
1011_2 ~ (1011)_2
1A_{16} ~ 1a_{16}
37_8, 12_8 ~ 12_8, 37_8
f'(x) ~ f^{\prime}(x)
90^\circ ~ 90 \text{ degrees}
30^\circ, 60^\circ ~ 30, 60
6:8 ~ 3:4
3:4 ~ 3 \text{ to } 4
1:\sqrt{3} ~ \sqrt{3}:3
a:b=11:21 ~ 11:21
2024-01-05 ~ 2024-1-5
10-5-2 ~ 3
\{n : n \text{ is even}\} ~ \{n : n \text{ even}\}
\text{all primes } p ~ p \text{ prime}
n = 5 \text{ only} ~ n = 5
3 \text{ boys and } 2 \text{ girls} ~ 3, 2
\text{Alice } 3, \text{Bob } 5 ~ \text{Bob } 5, \text{Alice } 3
1000.5 ~ 1 000,5
\$5 ~ \$5.00
£5 ~ 5 \text{ pounds}
1A_{16} ~ 1A_{\text{sixteen}}
f(2)=3 ~ 3
"""
UNEQUAL = r"""
8 \text{ a.m.} ~ 8 p.m.
8:30 \text{ p.m.} ~ 8:30
12:00 ~ 6:00
7 \text{ nickels} ~ 7 \text{ dimes}
60 \text{ mph} ~ 60 \text{ km/h}
\$5 \text{ profit} ~ \$5 \text{ loss}
\text{at least } 5 ~ 5
\text{no more than } 5 ~ \text{more than } 5
5 \text{ or more} ~ 5 \text{ or less}
not 5 ~ 5
5 \text{ left} ~ 5 \text{ right}
x \text{ even}, y \text{ odd} ~ x \text{ odd}, y \text{ even}
5 \text{ apples, } 3 \text{ pears} ~ 5 \text{ pears, } 3 \text{ apples}
2 h 5 min ~ 2 h 6 min
\pi \text{ cm } + 5 \text{ cm} ~ \pi \text{ cm } + 6 \text{ cm}
5 \text{ A} ~ 5 \text{ V}
\text{May 5} ~ \text{May 6}
\text{profit} = 5 ~ \text{loss} = 5
\text{lcm}(2,3) ~ (2,3)
n \text{ {even}} ~ n \text{ {odd}}
n \mathrm{even} ~ n \mathrm{odd}
p prime ~ p
44 \text{ BC} ~ 44
15 \text{ units}^2 ~ 15 \text{ units}^3
A ~ A dog
x=1, y=2 ~ 2, 1
a=3,b=5 ~ x=3,y=5
a_1=1, a_2=2 ~ 2, 1
(1,2) ~ y=1, x=2
AB=3, CD=5 ~ 5, 3
f(1)=2, f(2)=3 ~ 3, 2
x=1,y=2 ~ (1,2,3)
(12 34, 5) ~ (1234, 5)
\frac{12 34}{5} ~ \frac{1234}{5}
x + 12 34 ~ x + 1234
5 apples 3 pears ~ 53
-1/2 ~ -1 1/2
1.5 ~ 1, 5
10 ~ 1,0
-1 ~ -1,0
5\text{ cm} ~ 5,0\text{ cm}
(-37)_8 ~ -37
\frac{37_8}{2} ~ \frac{37}{2}
37_8, 12_8 ~ 37, 12
f(x) = 2x ~ g(x) = 2x
(A', B) ~ (A, B)
90^\circ ~ 90 kg
1:2:3 ~ 1:3:2
1:\sqrt{3} ~ \sqrt{3}:1
978-3-16-148410-0 ~ 978-3-16-148410-1
\{n \mid n \text{ even}\} ~ \{n \mid n \text{ odd}\}
1 \text{ if } n \text{ is even}, 0 \text{ if } n \text{ is odd} ~ 0 \text{ if } n \text{ is even}, 1 \text{ if } n \text{ is odd}
n {\rm even} ~ n {\rm odd}
n \text{ divisible by } 3 ~ 3
\text{powers of } 3 ~ 3
\text{yes, } 5 ~ \text{no, } 5
3 \text{ boys and } 2 \text{ girls} ~ 2 \text{ boys and } 3 \text{ girls}
5 \frac{\text{m}}{\text{s}} ~ 5 \frac{\text{m}}{\text{h}}
\$5 ~ €5
1A_{13} ~ 1A_{\text{sixteen}}
f(2)=3 ~ f(3)=3
\frac{dy}{dx}=2 ~ \frac{dx}{dy}=2
1-2-3-4 ~ 1-2-4-3
x_1=1, x_2=2 ~ (2,1)
"""
PAIRS = [(*line.split(" ~ "), Outcome.CORRECT) for line in EQUAL.strip().splitlines()]
PAIRS += [(*line.split(" ~ "), Outcome.INCORRECT) for line in UNEQUAL.strip().splitlines()]


@pytest.fixture(scope="module")
def grader():
    made = MathGrader(1, seconds=5.0)
    yield made
    made.close()


@pytest.mark.parametrize(("reference", "answer", "outcome"), PAIRS)
def test_what_stands_beside_a_value_counts(grader, reference, answer, outcome):
    assert grader.grade(reference, answer).outcome is outcome
    assert grader.grade(reference, reference).outcome is Outcome.CORRECT


@pytest.mark.parametrize(
    "hostile",
    [
        "1 " * 2048,
        "1 000" + " 000" * 1000,
        "1 1/" * 1000 + "2",
        r"\text{ " * 680,
        r"\text{" + "a " * 2000 + "}",
        r"5 \text{ apples}" * 240,
        "a" * 4096,
        "even " * 800,
        "5 even " * 580,
        "'" * 4096,
        "f'" * 2000,
        "1:" * 2000 + "1",
        "1-" * 1000 + "1",
        "1_2" * 500,
        "(" * 60 + "37" + ")" * 60 + "_8",
        "x=1," * 500 + "y=2",
        "(" + "x," * 800 + "y)=(" + "1," * 800 + "2)",
        "x(" + "a," * 1800,
        r"\text{" + "x" * 4000,
        r"\text{a and }" * 300,
        "{" * 4096,
        "5 " + "a.m." * 1000,
        "1" + r"\text{ }" * 500 + "2",
        "0." + "123 " * 1000,
    ],
)
def test_hostile_texts_take_no_time(hostile):
    for left, right in ((hostile, "12"), ("12", hostile), (hostile, hostile + " 1"), ("x=1, y=2", hostile)):
        normalise.cache_clear()
        words.cache_clear()
        before = time.process_time()
        decide(left, right)
        without_words(normalise(hostile))
        squeeze(normalise(hostile))
        assert time.process_time() - before < 2.0
