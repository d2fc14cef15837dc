"""The figure of gradient weights shows the closed forms, jumps upright, and stands alone."""

import itertools
import math
import re
from xml.etree import ElementTree

import pytest

from openklear.errors import UsageError
from openklear.objectives.policy import CATALOG
from openklear.recipe.objectives import MEMBERS
from openklear.reporting.weights import FLOOR, curves, figure, write

ALL = {name: member().model_dump(exclude={"type"}) for name, member in MEMBERS.items()}


def at(rows, objective, sign, ratio):
    mine = [r for r in rows if (r["objective"], r["sign"]) == (CATALOG[objective].title, sign)]
    return min(mine, key=lambda r: abs(math.log(r["ratio"] / ratio)))


def test_curves_by_hand():
    rows = curves(ALL, 0.05, 10.0)
    for objective, sign, ratio, expected in (
        ("gppo", "A > 0", 3.0, 1.28),
        ("gppo", "A < 0", 0.1, 0.8),
        ("ppo_clip", "A > 0", 3.0, 0.0),
        ("ppo_clip", "A < 0", 0.1, 0.0),
        ("ce_gppo", "A < 0", 0.1, 0.6),
        ("reinforce", "A < 0", 0.1, 1.0),
        ("topr", "A > 0", 0.1, 1.0),
        ("cispo_trl", "A > 0", 9.0, 5.0),
    ):
        found = at(rows, objective, sign, ratio)
        assert found["w"] == pytest.approx(expected, rel=1e-12), (objective, sign)
        assert found["w_over_pi"] == pytest.approx(max(expected / found["ratio"], FLOOR))


def test_jumps_are_upright_and_lie_where_the_band_ends():
    rows = curves({"ppo_clip": ALL["ppo_clip"]}, 0.05, 10.0)
    for sign, edge, height in (("A > 0", 1.28, 1.28), ("A < 0", 0.8, 0.8)):
        mine = sorted((r for r in rows if r["sign"] == sign), key=lambda r: r["order"])
        assert [r["ratio"] for r in mine] == sorted(r["ratio"] for r in mine)
        jumps = [(a, b) for a, b in itertools.pairwise(mine) if abs(a["w"] - b["w"]) > 0.5]
        ((left, right),) = jumps
        assert left["ratio"] == pytest.approx(edge, rel=1e-7)
        assert right["ratio"] == pytest.approx(edge, rel=1e-7)
        assert {round(left["w"], 6), round(right["w"], 6)} == {0.0, height}


def test_every_objective_can_be_drawn_and_is_in_the_legend():
    drawn = figure(ALL, 0.05, 10.0)
    root = ElementTree.fromstring(drawn)
    texts = {"".join(e.itertext()) for e in root.iter() if e.tag.endswith("text")}
    assert {entry.title for entry in CATALOG.values()} <= texts
    lines = re.findall(r'aria-roledescription="line mark"[^>]* d="([^"]+)"|d="([^"]+)"[^>]*aria-roledescription', drawn)
    assert len(lines) >= 4
    assert "NaN" not in drawn


@pytest.mark.parametrize(("suffix", "start"), [(".svg", b"<svg"), (".png", b"\x89PNG"), (".html", b"<!doctype html>")])
def test_files_stand_alone(tmp_path, suffix, start):
    path = tmp_path / f"weights{suffix}"
    write(path, {"gppo": ALL["gppo"]}, 0.1, 10.0)
    content = path.read_bytes()
    assert content.startswith(start)
    assert b"<script" not in content
    if suffix == ".html":
        assert "clip_low 0.2, clip_high 0.28" in content.decode()
        assert "http" not in content.decode().replace("http://www.w3.org", "")


@pytest.mark.parametrize(("name", "said"), [("w.pdf", r"\.svg, \.png, \.html"), ("no/w.svg", "does not exist")])
def test_files_that_cannot_be_written_say_why(tmp_path, name, said):
    with pytest.raises(UsageError, match=said):
        write(tmp_path / name, {"gppo": ALL["gppo"]}, 0.1, 10.0)
