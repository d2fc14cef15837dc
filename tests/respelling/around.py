r"""Respellings of what stands around an answer: sentences, tags, markup, boxes, styles."""

from __future__ import annotations

import random
import re

from tests.respelling.kinds import Whole, boxed, respelling
from tests.respelling.shapes import DECIMAL, WORDS, plain, whole


@respelling(r"in a box, as it stands")
def as_it_stands(reference: str, chance: random.Random) -> Whole:
    return Whole(boxed(reference))


@respelling(r"The answer is $R$.")
def in_a_sentence(reference: str, chance: random.Random) -> Whole:
    opening = chance.choice(("The answer is", "So the final answer is", "**Answer:**", "Therefore, the answer is:"))
    return Whole(f"We add both sides.\n\n{opening} ${reference}$.")


@respelling(r"\[ \boxed{R} \]")
def displayed(reference: str, chance: random.Random) -> Whole:
    return Whole(f"### Solution\n\nThus\n\n\\[\n\\boxed{{{reference}}}\n\\]\n")


@respelling(r"<answer>R</answer>")
def in_tags(reference: str, chance: random.Random) -> Whole:
    before, within = chance.choice(("", "\n")), chance.choice(("", " ", "\n"))
    return Whole(f"<think>So it is.</think>{before}<answer>{within}{reference}{within}</answer>")


@respelling(r"<answer>$\boxed{R}$</answer>")
def box_in_tags(reference: str, chance: random.Random) -> Whole:
    return Whole(f"<think>So it is.</think>\n<answer>The answer is $\\boxed{{{reference}}}$</answer>")


@respelling(r"**R** on the last line")
def bold_line(reference: str, chance: random.Random) -> Whole | None:
    if whole(reference) is None and not DECIMAL.fullmatch(reference):
        return None
    return Whole(f"We count the cases one by one.\n\n**{reference}**")


@respelling(r"**Final Answer:** $\boxed{R}$")
def final_answer(reference: str, chance: random.Random) -> Whole:
    return Whole(f"We count.\n\n**Final Answer:** $\\boxed{{{reference}}}$")


@respelling(r"#### R")
def gsm_style(reference: str, chance: random.Random) -> Whole | None:
    if reference.endswith("!"):  # would end a sentence
        return None
    return Whole(f"First we count the boxes.\nThen we add.\n#### {reference}")


@respelling(r"a short closing sentence: We get R.")
def closing_sentence(reference: str, chance: random.Random) -> Whole | None:
    if whole(reference) is None and not DECIMAL.fullmatch(reference):
        return None
    last = chance.choice(("We get R.", "Total: R", "So the result is R.", "It is R.", "Hence x = R.", "A: R"))
    return Whole("Both sides are added.\n\n" + last.replace("R", reference))


@respelling("所以答案是：R。")
def chinese_sentence(reference: str, chance: random.Random) -> Whole | None:
    if not plain(reference):
        return None
    return Whole(
        "因此两边相加。\n" + chance.choice(("所以答案是：R。", "故答案为：R．", "答案：R")).replace("R", reference)
    )


@respelling(r"text behind the box")
def text_behind(reference: str, chance: random.Random) -> Whole:
    behind = chance.choice((
        "This matches our first estimate, so we are done.",
        r"\text{ is the answer.}",
        "I checked it with x = 3, which gives 17.",
        "(Note that 2 would be too small.)",
    ))  # fmt: skip
    return Whole(f"Thus $\\boxed{{{reference}}}$. {behind}")


@respelling(r"an empty box after the answer")
def empty_box(reference: str, chance: random.Random) -> Whole:
    empty = chance.choice((r"\boxed{}", r"\boxed{ }", r"\boxed{...}", r"\boxed{\text{answer}}"))
    return Whole(f"The answer is $\\boxed{{{reference}}}$. I put it within {empty}.")


@respelling(r"\boxed{= R}")
def equals_in_front(reference: str, chance: random.Random) -> str | None:
    return f"= {reference}" if plain(reference) else None


@respelling(r"\boxed{\text{The answer is } R}")
def lead_in(reference: str, chance: random.Random) -> str:
    opening = chance.choice(("The answer is ", "Answer: ", "The final answer is: ", "So the answer is "))
    if re.fullmatch(r"[a-zA-Z ]+", reference):
        return rf"\text{{{opening}{reference}}}"
    return rf"\text{{{opening}}} {reference}" if chance.random() < 0.7 else f"{opening}{reference}"


@respelling(r"a box in the box")
def box_in_box(reference: str, chance: random.Random) -> str:
    return chance.choice((rf"\boxed{{{reference}}}", rf"\text{{The answer is }} \boxed{{{reference}}}"))


@respelling(r"\boxed{$R$}")
def dollars_in_box(reference: str, chance: random.Random) -> str:
    return chance.choice((f"${reference}$", rf"\({reference}\)"))


@respelling(r"\boxed{R.} and blanks")
def full_stop(reference: str, chance: random.Random) -> str:
    return chance.choice((f"{reference}.", f" {reference} ", rf"\ {reference}\ ", f"{reference} \\\\"))


@respelling(r"colours: \textcolor{blue}{R}")
def colour(reference: str, chance: random.Random) -> str:
    return chance.choice(
        (rf"\textcolor{{blue}}{{{reference}}}", rf"\color{{red}}{{{reference}}}", rf"{{\color{{red}} {reference}}}")
    )


@respelling(r"fonts: \mathbf{R}, \boldsymbol{R}")
def font(reference: str, chance: random.Random) -> str | None:
    if WORDS.search(reference):
        return None
    return rf"\{chance.choice(('mathbf', 'boldsymbol', 'bm', 'mathrm'))}{{{reference}}}"


@respelling(r"sizes: \large R, \displaystyle R")
def size(reference: str, chance: random.Random) -> str:
    return rf"\{chance.choice(('large', 'Large', 'huge', 'displaystyle', 'normalsize'))} {reference}"


@respelling(r"\boxed{**R**}")
def markdown_bold(reference: str, chance: random.Random) -> str:
    return f"**{reference}**"


@respelling(r"numbers as text: \text{R}, \textbf{R}")
def number_as_text(reference: str, chance: random.Random) -> str | None:
    if whole(reference) is None and not DECIMAL.fullmatch(reference):
        return None
    return rf"\{chance.choice(('text', 'textbf', 'mathrm', 'textit'))}{{{reference}}}"


@respelling(r"the unit or the percent sign behind the box")
def sign_behind(reference: str, chance: random.Random) -> Whole | None:
    match = re.fullmatch(r"([\d.]+)\s*(\\%|\\(?:text|mbox)\{ ?[a-z .]+\}(?:\^2)?)", reference)
    if not match or re.search(r"[ap]\.m|million|or|and", match.group(2)):
        return None
    number, unit = match.groups()
    word = re.sub(r"\\(?:text|mbox)\{ ?([a-z .]+)\}", r"\1", unit).replace(r"\%", "percent")
    return Whole(chance.choice((rf"So it is $\boxed{{{number}}}{unit}$.", rf"So it is $\boxed{{{number}}}$ {word}.")))
