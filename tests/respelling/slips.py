r"""Mutations of form: order, brackets, relations, units, words, options, and what stands around an answer."""

from __future__ import annotations

import random
import re

from tests.respelling.kinds import Made, Whole, boxed, mutation
from tests.respelling.shapes import BASED, DECIMAL, OPTION, differ, members, plain, whole

_OTHER_UNIT = {
    "cm": "m", "inches": "feet", "feet": "inches", "miles": "km", "meters": "cm", "m": "cm", "kg": "g", "minutes": "hours",
    "hours": "minutes", "days": "hours", "dollars": "cents", "cents": "dollars", "mph": "km/h", "pounds": "ounces", "years": "months",
    "seconds": "minutes", "km": "m", "in": "ft", "ft": "in", "degrees": "radians", "square cm": "cm", "square units": "cubic units",
    "square feet": "feet", "square inches": "inches", "cubic inches": "square inches", "sq units": "cubic units",
}  # fmt: skip
_CONDITIONS = (
    (r"n \text{ even}", r"n \text{ odd}"), (r"{} \text{ a.m.}", r"{} \text{ p.m.}"), ("{} am", "{} pm"),
    (r"{} \text{ north}", r"{} \text{ south}"), (r"x \text{ positive}", r"x \text{ negative}"),
    (r"{} \text{ increase}", r"{} \text{ decrease}"), (r"{} \text{ left}", r"{} \text{ right}"),
    (r"\text{at least } {}", r"\text{at most } {}"), (r"{} \text{ Monday}", r"{} \text{ Tuesday}"), (r"p \text{ prime}", "p"),
    (r"\text{more than } {}", r"\text{less than } {}"), (r"n \text{ even}", r"n"), ("{} BC", "{} AD"),
)  # fmt: skip
_OPPOSITE = {
    "even": "odd",
    "yes": "no",
    "true": "false",
    "negative": "positive",
    "none": "one",
    "monday": "tuesday",
    "finite": "infinite",
}
_RELATIONS = {"<": ">", ">": "<", r"\le": r"\ge", r"\ge": r"\le", r"\leq": r"\geq", r"\geq": r"\leq"}
_STRICT = {"<": r"\le", ">": r"\ge", r"\le": "<", r"\ge": ">", r"\leq": "<", r"\geq": ">"}
_RELATION = re.compile(r"\\leq?(?![a-zA-Z])|\\geq?(?![a-zA-Z])|[<>]")


def _different(parts: list[str]) -> bool:
    return all(differ(a, b) for i, a in enumerate(parts) for b in parts[:i])


@mutation("a member lost")
def member_lost(reference: str, chance: random.Random) -> str | None:
    found = members(reference)
    if not found or not _different(found[1]):
        return None
    opening, parts, closing = found
    parts.pop(chance.randrange(len(parts)))
    return opening + ", ".join(parts) + closing


@mutation("a member too many")
def member_added(reference: str, chance: random.Random) -> str | None:
    found = members(reference)
    if not found:
        return None
    opening, parts, closing = found
    return opening + ", ".join([*parts, "123"]) + closing if all(differ(part, "123") for part in parts) else None


@mutation("another answer beside the right one")
def hedged(reference: str, chance: random.Random) -> str | None:
    if not plain(reference) or (whole(reference) is None and not re.fullmatch(r"-?\\frac\{\d+\}\{\d+\}", reference)):
        return None
    other = str((whole(reference) or 0) + chance.choice((1, 2, -1, 10)))
    form = chance.choice(
        ("{} or {}", "{}, {}", r"{} \text{{ or }} {}", r"\{{{}, {}\}}", r"{} \text{{ and }} {}", "({}, {})")
    )
    return form.format(*((reference, other) if chance.random() < 0.5 else (other, reference)))


@mutation("a tuple or an interval in another order")
def tuple_order(reference: str, chance: random.Random) -> str | None:
    found = members(reference)
    if not found or found[0] not in ("(", "["):
        return None
    opening, parts, closing = found
    turned = parts[1:] + parts[:1]
    return (
        opening + ", ".join(turned) + closing if any(differ(a, b) for a, b in zip(parts, turned, strict=True)) else None
    )


@mutation("another kind of bracket at an interval's end")
def bracket_changed(reference: str, chance: random.Random) -> str | None:
    found = members(reference)
    if (
        not found
        or len(found[1]) != 2
        or found[0] not in ("(", "[")
        or (found[0] + found[2] == "()" and "infty" not in reference)
    ):
        return None
    opening, (low, high), closing = found
    if "infty" in high or ("infty" not in low and chance.random() < 0.5):
        return f"{'(' if opening == '[' else '['}{low}, {high}{closing}"
    return f"{opening}{low}, {high}{')' if closing == ']' else ']'}"


@mutation("outward brackets that close what was open")
def outward_wrong(reference: str, chance: random.Random) -> str | None:
    found = members(reference)
    if not found or len(found[1]) != 2 or found[0] + found[2] not in ("(]", "[)", "[]"):
        return None
    return (
        f"]{found[1][0]}, {found[1][1]}["
        if found[0] + found[2] == "[]"
        else f"{'[' if found[0] == '(' else ']'}{found[1][0]}, {found[1][1]}{']' if found[2] == ')' else '['}"
    )


@mutation("a part of a union lost")
def union_part_lost(reference: str, chance: random.Random) -> str | None:
    parts = reference.split(r"\cup")
    if len(parts) < 2:
        return None
    parts.pop(chance.randrange(len(parts)))
    return r"\cup".join(parts).strip()


@mutation("an intersection for a union")
def intersection(reference: str, chance: random.Random) -> str | None:
    return reference.replace(r"\cup", r"\cap") if r"\cup" in reference else None


@mutation("the direction of an inequality turned")
def direction(reference: str, chance: random.Random) -> str | None:
    if not _RELATION.search(reference) or "text" in reference:
        return None
    return _RELATION.sub(lambda match: _RELATIONS[match.group()], reference)


@mutation("strict for not strict")
def strictness(reference: str, chance: random.Random) -> str | None:
    if not _RELATION.search(reference) or "text" in reference:
        return None
    return _RELATION.sub(lambda match: _STRICT[match.group()] + " ", reference, count=1)


@mutation("another unit")
def other_unit(reference: str, chance: random.Random) -> str | None:
    match = re.search(r"\\(text|mbox)\{ ?([a-z ]+?)\}", reference)
    if not match or match.group(2) not in _OTHER_UNIT:
        return None
    return reference[: match.start(2)] + _OTHER_UNIT[match.group(2)] + reference[match.end(2) :]


@mutation("another power of the unit")
def unit_power(reference: str, chance: random.Random) -> str | None:
    if re.search(r"\}\^\{?2", reference) and re.search(r"text|mbox", reference):
        return re.sub(r"\}\^(?:2|\{2\})", lambda _: chance.choice(("}", "}^3")), reference)
    match = re.fullmatch(r"([\d.]+)\s*\\(?:text|mbox)\{ ?(cm|inches|feet|meters|m)\}", reference)
    return rf"{match.group(1)}\text{{ {match.group(2)}}}^2" if match else None


@mutation("the opposite condition, half of a day or direction")
def other_condition(reference: str, chance: random.Random) -> Made | None:
    number = whole(reference)
    if number is None or not 0 < number < 2000:
        return None
    right, wrong = chance.choice(_CONDITIONS)
    return Made(right.replace("{}", reference), wrong.replace("{}", reference))


@mutation("another word")
def other_word(reference: str, chance: random.Random) -> str | None:
    match = re.fullmatch(r"\\text\{([a-zA-Z ]{2,})\}|([a-zA-Z]{4,})", reference)
    if not match:
        return None
    word = (match.group(1) or match.group(2)).strip()
    other = _OPPOSITE.get(word.casefold()) or chance.choice((f"non{word}", "Caroline", "circle", f"not {word}"))
    return rf"\text{{{other}}}" if match.group(1) else other


@mutation("another option")
def other_option(reference: str, chance: random.Random) -> str | None:
    match = OPTION.fullmatch(reference)
    if not match:
        return None
    letter = chance.choice([letter for letter in "ABCDE" if letter != match.group(1)])
    return chance.choice(("{}", "({})", "{}.", r"\textbf{{({})}}", r"\textbf{{({})}}\ 17", r"\text{{{}}}")).format(
        letter
    )


@mutation("one option too many")
def options_more(reference: str, chance: random.Random) -> str | None:
    match = OPTION.fullmatch(reference)
    if not match:
        return None
    letter = chance.choice([letter for letter in "ABCDE" if letter != match.group(1)])
    return chance.choice(("{}, {}", "{}{}", "{} or {}", "({}), ({})", r"{} \text{{ and }} {}")).format(
        match.group(1), letter
    )


@mutation("another base, or none")
def other_base(reference: str, chance: random.Random) -> str | None:
    match = BASED.fullmatch(reference)
    if not match or len(match.group(1)) < 2:
        return None
    digits, base = match.group(1), int(match.group(2))
    return chance.choice(
        (
            f"{digits}_{{{base + 1}}}",
            digits,
            rf"{digits}_{{\text{{{'ten' if base != 10 else 'two'}}}}}",
            f"-{digits}_{base}",
        )
    )


@mutation("a base where there is none")
def base_added(reference: str, chance: random.Random) -> str | None:
    number = whole(reference)
    if number is None or abs(number) < 10:
        return None
    base = max(int(digit) for digit in reference.lstrip("-")) + 1
    return reference + chance.choice((f"_{{{base}}}", f"_{base}")) if 1 < base < 10 else None


@mutation("a percent sign lost")
def percent_lost(reference: str, chance: random.Random) -> str | None:
    return reference.replace(r"\%", "").strip() if re.fullmatch(r"[1-9][\d.]*\s*\\%", reference) else None


@mutation("a matrix transposed, or its entries exchanged")
def transposed(reference: str, chance: random.Random) -> str | None:
    match = re.fullmatch(r"\\begin\{pmatrix\}(.*)\\end\{pmatrix\}", reference, re.DOTALL)
    if not match or r"\begin" in match.group(1):
        return None
    rows = [[entry.strip() for entry in row.split("&")] for row in match.group(1).split(r"\\")]
    turned = [list(column) for column in zip(*rows, strict=False)]
    written = r" \\ ".join(" & ".join(row) for row in turned)
    return None if turned == rows else rf"\begin{{pmatrix}} {written} \end{{pmatrix}}"


@mutation("the values at the wrong names")
def wrong_names(reference: str, chance: random.Random) -> str | Made | None:
    found = members(reference)
    if not found or found[0] + found[2] != "()" or len(found[1]) > 3 or "infty" in reference:
        return None
    names, parts = "xyz"[: len(found[1])], found[1]
    turned = parts[::-1]
    if not differ(parts[0], turned[0]):
        return None
    right = ", ".join(f"{name}={part}" for name, part in zip(names, parts, strict=True))
    wrong = ", ".join(f"{name}={part}" for name, part in zip(names, turned, strict=True))
    return Made(right, chance.choice((wrong, f"({', '.join(turned)})", ", ".join(turned))))


@mutation("another name or another slope of an equation")
def other_name(reference: str, chance: random.Random) -> str | None:
    match = re.fullmatch(r"([a-z])\s*=\s*([^=,]+)", reference)
    return f"{'z' if match.group(1) != 'z' else 'w'} = {match.group(2)}" if match else None


@mutation("the right one first, another one in the last box")
def last_box(reference: str, chance: random.Random) -> Whole | None:
    number = whole(reference)
    return (
        None
        if number is None
        else Whole(f"First I thought $\\boxed{{{reference}}}$, but no.\n\n{boxed(str(number + 1))}")
    )


@mutation("the right one in the thought alone")
def in_the_thought(reference: str, chance: random.Random) -> Whole | None:
    number = whole(reference)
    return (
        None
        if number is None
        else Whole(f"<think>It is \\boxed{{{reference}}}.</think>\n<answer>{number + 1}</answer>")
    )


@mutation("another number in a closing sentence")
def closing_sentence(reference: str, chance: random.Random) -> Whole | None:
    if whole(reference) is None and not DECIMAL.fullmatch(reference):
        return None
    sign = chance.choice(("-", "\u2212", "2", "1,"))
    other = sign + reference.lstrip("-") if reference[0] != "-" else reference[1:]
    if not differ(reference, other.replace("\u2212", "-").replace("1,", "1")):
        return None
    return Whole(
        "Both sides are added.\n\n"
        + chance.choice(("We get R.", "Total: R", "So x equals R.", "所以答案是：R。")).replace("R", other)
    )


@mutation("a derivative for its function")
def derivative(reference: str, chance: random.Random) -> str | None:
    match = re.match(r"([fgh])\(([a-z])\)\s*=", reference)
    return reference.replace(f"{match.group(1)}(", f"{match.group(1)}'(", 1) if match else None


@mutation("a sign or a factor before a tuple or an interval")
def scaled(reference: str, chance: random.Random) -> str | None:
    found = members(reference)
    if not found or found[0] not in ("(", "[") or not any(differ(part, "0") for part in found[1]):
        return None
    return f"{chance.choice(('-', '2', '-3', '5 '))}{reference}"


@mutation("another unit behind the box")
def unit_behind(reference: str, chance: random.Random) -> Whole | None:
    match = re.fullmatch(r"([\d.]+)\s*\\(?:text|mbox)\{ ?([a-z ]+?)\}", reference)
    if not match or match.group(2) not in _OTHER_UNIT:
        return None
    number, unit = match.group(1), _OTHER_UNIT[match.group(2)]
    return Whole(
        chance.choice((rf"So it is $\boxed{{{number}}} \text{{ {unit}}}$.", rf"So it is $\boxed{{{number}}}$ {unit}."))
    )


@mutation("a set for a tuple, a tuple for a set")
def other_container(reference: str, chance: random.Random) -> str | None:
    found = members(reference)
    if not found or "infty" in reference or not _different(found[1]):
        return None
    pairs = {"()": (r"\{", r"\}"), r"\{\}": ("(", ")")}
    held = pairs.get(found[0] + found[2])
    return held[0] + ", ".join(found[1]) + held[1] if held else None


@mutation("one sign of two")
def one_sign(reference: str, chance: random.Random) -> str | None:
    return (
        reference.replace(r"\pm", chance.choice(("", "-")))
        if re.search(r"\\pm(?![a-zA-Z])", reference) and "," not in reference
        else None
    )


@mutation("the other infinity")
def other_infinity(reference: str, chance: random.Random) -> str | None:
    if r"\infty" not in reference or r"\cup" in reference or "^" in reference:
        return None
    return (
        reference.replace(r"-\infty", r"\infty")
        if r"-\infty" in reference
        else reference.replace(r"\infty", r"-\infty")
    )


@mutation("denied: not R")
def denied(reference: str, chance: random.Random) -> str | None:
    if whole(reference) is None and not re.fullmatch(r"\\text\{[a-z]{3,}\}", reference):
        return None
    bare = re.sub(r"\\text\{(.*)\}", r"\1", reference)
    return chance.choice(
        (
            rf"\text{{not }} {reference}",
            f"not {bare}",
            rf"\neq {reference}" if whole(reference) is not None else f"not {bare}",
        )
    )
