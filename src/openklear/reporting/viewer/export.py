"""One HTML file that holds the page and what it would ask the server for; it needs no network and no server."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from openklear.durable.files import json_text, write_atomic
from openklear.errors import OpenKlearError
from openklear.reporting.texts import excerpt
from openklear.reporting.viewer.answers import Answers
from openklear.reporting.viewer.growing import Snapshot
from openklear.reporting.viewer.pages import STYLES, joined, static
from openklear.reporting.viewer.places import EVALUATION, PHASE

TEXT_BYTES = 24_000_000
"""Of all texts of an exported page together: browsers open such a file at once, and it can be sent by mail."""
TEXT_SHOWN = 6_000
"""Characters that a text is not shortened below, two thirds of them from its start; then others are left out."""
_BESIDE = 2_500
"""Bytes of what is carried beside a text, about."""
_HEAD = '<link rel="stylesheet" href="static/viewer.css">\n'
_FOOT = '<script type="module" src="static/main.js"></script>\n'


@dataclass(slots=True)
class Carried:
    """What an exported page holds: answers by the path that the page asks for."""

    most: int
    answers: dict[str, Any] = field(default_factory=dict)
    used: int = 0
    texts: int = 0
    left_out: int = 0
    cut: int = 0
    phases: int = 0

    def add_text(self, path: str, value: Any) -> None:
        """A text with what belongs to it, where there is room for it."""
        size = len(json_text(value).encode())
        if self.used + size > self.most:
            self.left_out += 1
            return
        self.used += size
        self.texts += 1
        self.answers[path] = value

    def said(self) -> str:
        """What is in it and what is not."""
        told = f"{self.texts:,} texts are in this file ({self.used / 1e6:.1f} MB)"
        if self.phases:
            told += ", of RL those of the newest iteration"
        if self.cut:
            told += f", {self.cut:,} of them without their middle"
        if self.left_out:
            told += f"; {self.left_out:,} were left out (those that are not correct come first)"
        if not self.cut and not self.left_out:
            return told if self.phases else f"{told}, all there were"
        return f"{told}: it holds {self.most / 1e6:g} MB of texts. openklear view on the directory itself shows all"


def export(roots: Sequence[Path], path: Path, most: int = TEXT_BYTES) -> str:
    """Write the page to `path`; what is in it, in a sentence. NoSpace where the disk is full."""
    asked = Answers(roots)
    carried = Carried(most, {"list": asked.listed()})
    exhibits = asked.exhibits()
    for one in exhibits:
        if one.kind == EVALUATION:
            carried.answers[f"evaluation/{one.id}"] = asked.evaluation(one.id)
        elif one.kind == PHASE:
            _add_phase(asked, one.id, carried)
    turn = list(_in_turn([(one.id, asked) for one in exhibits if one.kind == EVALUATION]))
    lengths: list[int] = []
    for one in exhibits:
        lengths += _lengths(asked.snapshot(one.id)) if one.kind == EVALUATION else []
    room = max(TEXT_SHOWN, fair_share(lengths, most - carried.used - _BESIDE * len(turn)))
    for number, problem, sample in turn:
        if carried.used < most:
            answer = asked.completion(number, problem, sample)
            parts, is_cut = shortened(answer["parts"], room)
            carried.cut += is_cut
            carried.add_text(
                f"completion/{number}/{problem}/{sample}", {**answer, "parts": parts, "explainable": False}
            )
        else:
            carried.left_out += 1
    write_atomic(path, document({**carried.answers, "exported": carried.said()}))
    return carried.said()


def _add_phase(asked: Answers, number: str, carried: Carried) -> None:
    """A phase with the newest iteration whose rollouts are there."""
    found = asked.phase(number)
    carried.phases += 1
    newest = found["kept"][-1:]
    carried.answers[f"phase/{number}"] = {**found, "kept": newest}
    for iteration in newest:
        groups = asked.phase_view(number).iteration(iteration)
        carried.answers[f"iteration/{number}/{iteration}"] = groups
        for place, group in enumerate(groups["groups"]):
            for rollout in group["rollouts"]:
                sample = rollout["sample"]
                answer = asked.phase_view(number).rollout(iteration, place, sample)
                carried.add_text(f"rollout/{number}/{iteration}/{place}/{sample}", {**answer, "has_weights": False})


def fair_share(lengths: Sequence[int], most: int) -> int:
    """The length at which all must be cut so that together they are not longer than `most`."""
    for place, length in enumerate(ordered := sorted(lengths)):
        share = most // (len(ordered) - place)
        if length > share:
            return share
        most -= length
    return max(lengths, default=0)


def shortened(parts: Sequence[tuple[str, str]], room: int) -> tuple[list[Any], bool]:
    """The parts of a completion in `room` characters, and whether that took anything from them.

    What is too long becomes (kind, its start, how many characters are missing, its end); short parts stay whole.
    """
    left = room
    found: dict[int, Any] = {}
    for place, (kind, text) in sorted(enumerate(parts), key=lambda one: len(one[1][1])):
        share = left // (len(parts) - len(found))
        cut = excerpt(text, share * 2 // 3, share // 3)
        found[place] = (kind, cut.head, cut.left_out, cut.tail) if cut.left_out else (kind, text)
        left -= min(share, len(text))
    whole = [found[place] for place in range(len(parts))]
    return whole, any(len(one) > 2 for one in whole)


def _in_turn(evaluations: Sequence[tuple[str, Answers]]) -> Iterator[tuple[str, int, int]]:
    """Completions in the order in which they get room: those that are not correct, then the rest; of all problems one
    before of any a second."""
    for correct in (False, True):
        turn = []
        for number, asked in evaluations:
            turn += [(sample, number, problem) for problem, sample in _places(asked.snapshot(number), correct)]
        yield from ((number, problem, sample) for sample, number, problem in sorted(turn))


def _lengths(snapshot: Snapshot) -> list[int]:
    """Bytes of each completion's line, which are at least those of its text."""
    return [one.length for one in snapshot.stored.samples if one.start is not None]


def _places(snapshot: Snapshot, correct: bool) -> list[tuple[int, int]]:
    places = {place: number for number, place in enumerate(snapshot.problems)}
    last = {(places[one.place], one.sample): one for one in snapshot.stored.samples}
    return [place for place, one in last.items() if one.correct is correct and one.start is not None]


def document(answers: dict[str, Any]) -> str:
    """The page with its answers inside, in an element that no browser runs and no text can end."""
    script, style = joined(), "".join(map(static, STYLES))
    policy = (
        f"default-src 'none'; script-src '{_hash(script)}'; style-src '{_hash(style)}'; base-uri 'none'; "
        "form-action 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
    )
    page = static("index.html")
    if _HEAD not in page or _FOOT not in page:
        raise OpenKlearError("static/index.html of the viewer is not as its export expects it; install openklear again")
    meta = f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
    held = f'<script type="application/json" id="embedded">{harmless(json_text(answers))}</script>\n'
    before, _, after = page.partition(_HEAD)
    middle, _, end = after.partition(_FOOT)
    return f"{before}{meta}<style>{style}</style>\n{middle}{held}<script>{script}</script>\n{end}"


def harmless(text: str) -> str:
    """JSON that means the same and holds no character that HTML gives a meaning to."""
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def _hash(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"
