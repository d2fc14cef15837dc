r"""Respellings of what has parts: lists, sets, names, relations, intervals, systems, options."""

from __future__ import annotations

import random
import re

from tests.respelling.kinds import Made, respelling
from tests.respelling.shapes import LETTER, OPTION, fraction, members, plain, whole


@respelling("a set in another order")
def set_order(reference: str, chance: random.Random) -> str | None:
    found = members(reference)
    if not found or found[0] not in (r"\{", ""):
        return None
    opening, parts, closing = found
    return opening + ", ".join(parts[1:] + parts[:1]) + closing


@respelling("a list with and, with or, in braces")
def list_in_words(reference: str, chance: random.Random) -> str | None:
    found = members(reference)
    if not found or found[0]:
        return None
    *first, last = found[1]
    head = ", ".join(first)
    return chance.choice(
        (
            rf"{head} \text{{ and }} {last}",
            rf"{head} \text{{ or }} {last}",
            rf"\{{{head}, {last}\}}",
            f"{head}; {last}" if len(first) == 1 else f"{head} and {last}",
        )
    )


@respelling("a name in front: x = R")
def named(reference: str, chance: random.Random) -> str | None:
    if not plain(reference) or re.search("[a-zA-Z]", re.sub(r"\\[a-zA-Z]+", "", reference)):
        return None
    return chance.choice(("x = ", "n=", r"\theta = ", "x_1 = ", "S = ")) + reference


@respelling("without the reference's name")
def unnamed(reference: str, chance: random.Random) -> str | None:
    match = re.fullmatch(r"([a-z])\s*=\s*([^=,]+)", reference)
    return match.group(2) if match and not LETTER.search(match.group(2)) else None


@respelling("sides of an equation swapped")
def sides_swapped(reference: str, chance: random.Random) -> str | None:
    match = re.fullmatch(r"([a-z])\s*=\s*([^=,<>]+)", reference)
    return f"{match.group(2)} = {match.group(1)}" if match and "text" not in reference else None


@respelling("a chain of inequalities read from its other end")
def chain_turned(reference: str, chance: random.Random) -> str | None:
    relation = r"\\leq?(?![a-zA-Z])|\\geq?(?![a-zA-Z])|[<>]"
    sides, signs = re.split(relation, reference), re.findall(relation, reference)
    turned = {"<": ">", ">": "<", r"\le": r"\ge", r"\ge": r"\le", r"\leq": r"\geq", r"\geq": r"\leq"}
    if not signs or re.search(r"text|\\\{|\\mid|,|\{[<>]", reference):
        return None
    written = sides[-1].strip()
    for side, sign in zip(sides[-2::-1], signs[::-1], strict=True):
        written += f" {turned[sign]} {side.strip()}"
    return written


@respelling("U for union, parts of a union swapped")
def union(reference: str, chance: random.Random) -> str | None:
    if r"\cup" not in reference:
        return None
    parts = [part.strip() for part in reference.split(r"\cup")]
    return chance.choice((" U ".join(parts), "U".join(parts), r" \cup ".join(reversed(parts)), " ∪ ".join(parts)))


@respelling("]0,1[ for an open interval")
def outward_brackets(reference: str, chance: random.Random) -> str | Made | None:
    found = members(reference)
    text = reference.replace(r"\left", "").replace(r"\right", "")
    ends = re.fullmatch(r"([(\[])(.*)([)\]])", text)
    if not found or not ends or len(found[1]) != 2 or (found[0] == "(" and text[-1] == ")" and "infty" not in text):
        return None
    if text[0] == "[" and text[-1] == "]":
        return None
    return ("]" if ends.group(1) == "(" else "[") + ", ".join(found[1]) + ("[" if ends.group(3) == ")" else "]")


@respelling("a trailing qualifier: for all real x")
def qualified(reference: str, chance: random.Random) -> str | None:
    match = re.match(r"[fgh]\(([a-z])\)\s*=", reference)
    if not match:
        return None
    name = match.group(1)
    return reference + chance.choice(
        (
            rf" \text{{ for all real }} {name}",
            rf", \quad {name} \in \mathbb{{R}}",
            rf" \text{{ for all }} {name}",
            rf"\ \forall {name} \in \mathbb{{R}}",
        )
    )


@respelling("a system in cases, with and, in another order")
def system(reference: str, chance: random.Random) -> Made | None:
    found = members(reference)
    if not found or found[0] + found[2] != "()" or len(found[1]) > 3 or "infty" in reference:
        return None
    parts = [f"{name} = {part}" for name, part in zip("xyz", found[1], strict=False)]
    cases = r"\begin{cases} " + r" \\ ".join(parts) + r" \end{cases}"
    listed = r" \text{ and } ".join(parts) if len(parts) == 2 else "; ".join(parts)
    return Made(", ".join(parts), chance.choice((cases, listed, ", ".join(parts[::-1]))))


@respelling("options: (B), B., \\textbf{(B)}")
def option_label(reference: str, chance: random.Random) -> str | None:
    match = OPTION.fullmatch(reference)
    if not match:
        return None
    form = chance.choice(
        (
            "({})",
            "{}.",
            "{})",
            r"\textbf{{({})}}",
            r"\text{{{}}}",
            r"\mathrm{{({})}}",
            "**{}**",
            "Option {}",
            r"\text{{Option }} {}",
            "{}: 17",
            r"\textbf{{({})}}\ 17",
        )
    )
    return form.format(match.group(1))


@respelling("several options in any order: B, A and D for ABD")
def several_options(reference: str, chance: random.Random) -> Made | None:
    match = OPTION.fullmatch(reference)
    if not match:
        return None
    letters = sorted({match.group(1), *chance.sample("ABCDE", 2)})
    right = chance.choice(("".join(letters), ", ".join(letters)))
    chance.shuffle(letters)
    form = chance.choice(
        (", ".join(letters), "".join(letters), ",".join(letters), ", ".join(letters[:-1]) + f" and {letters[-1]}")
    )
    return Made(right, form)


@respelling("the value of an option beside its label, where the reference has the value")
def value_of_option(reference: str, chance: random.Random) -> str | None:
    if whole(reference) is None and fraction(reference) is None:
        return None
    letter = chance.choice("ABCDE")
    return chance.choice(
        (rf"\textbf{{({letter})}}\ {reference}", f"({letter}) {reference}", rf"\text{{({letter})}} {reference}")
    )


@respelling(r"a member of: x \in [0, 1], x \in \{1, 2\}")
def member_of(reference: str, chance: random.Random) -> str | None:
    found = members(reference)
    if not found or (found[0] + found[2] == "()" and "infty" not in reference) or len(found[1]) > 2 > len(found[0]):
        return None
    return rf"{chance.choice('xyn')} \in {reference}" if found[0] else rf"x \in \{{{', '.join(found[1])}\}}"


@respelling("names before a tuple: (x, y) = (1, 2)")
def names_before(reference: str, chance: random.Random) -> str | None:
    found = members(reference)
    if (
        not found
        or found[0] + found[2] != "()"
        or len(found[1]) > 3
        or "infty" in reference
        or LETTER.search(reference)
    ):
        return None
    return f"({', '.join('xyz'[: len(found[1])])}) = {reference}"


@respelling(r"sized or named braces of a set: \left\{ \right\}, \lbrace")
def named_braces(reference: str, chance: random.Random) -> str | None:
    if not reference.startswith(r"\{") or r"\left" in reference:
        return None
    left, right = chance.choice(((r"\left\{", r"\right\}"), (r"\lbrace ", r" \rbrace"), (r"\bigl\{", r"\bigr\}")))
    return reference.replace(r"\{", left).replace(r"\}", right)
