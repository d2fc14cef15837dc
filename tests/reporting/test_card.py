"""The data card: every cell is recomputed from the files, hostile texts stay texts, and equal inputs give equal bytes."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import subprocess
import sys
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from markdown_it import MarkdownIt

from openklear.data.rows import Dropped, Row, prompt_text
from openklear.data.store import (
    DEMONSTRATION_SCHEMA,
    PreparedPaths,
    named_in,
    problem_columns,
    write_dropped,
    write_problems,
)
from openklear.errors import DataError
from openklear.reporting.card import write_card
from openklear.reporting.card.rows import chosen, ends, rows_at
from openklear.reporting.texts import excerpt, fenced, line, plain, sorted_values, tally, visible
from openklear.types import Problem

EVIL = (
    "</pre><script>alert(1)</script> <img src=x onerror=alert(2)> | a | ![x](http://evil.example/p.png) "
    "[y](javascript:alert(3)) ```` \n```\n# heading\n- item\n<!-- \u202etxet\u202c \x07 \u200b \U000e0041 &lt; {{ 7 * 7 }} www.evil.example"
)
NAME = 'so|urce<b>"x"</b>*_`'
LONG = "".join(f"step {i}. " for i in range(400))
VOID = {"meta", "link", "img", "br", "hr", "input"}


class Page(HTMLParser):
    """Cells by table, texts of <pre>, and every tag with its attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tables: dict[str, list[list[str]]] = {}
        self.blocks: list[str] = []
        self.facts: list[str] = []
        self.text = ""
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self._table = ""
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)
        if tag == "table":
            self._table = dict(attrs)["data-table"] or ""
            self.tables[self._table] = []
        elif tag == "tr":
            self.tables[self._table].append([])
        elif tag in ("td", "th"):
            self.tables[self._table][-1].append("")
        elif tag == "pre":
            self.blocks.append("")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data
        if "td" in self.open or "th" in self.open:
            self.tables[self._table][-1][-1] += data
        elif "pre" in self.open:
            self.blocks[-1] += data

    def rows(self, name: str) -> list[dict[str, str]]:
        head, *rows = self.tables[name]
        return [dict(zip(head, row, strict=True)) for row in rows]


def markdown_tables(text: str) -> list[list[list[str]]]:
    """Cells of the tables, as a Markdown reader sees them; a cell must hold text alone."""
    found: list[list[list[str]]] = []
    for token, after in zip(tokens := MarkdownIt("commonmark").enable("table").parse(text), tokens[1:], strict=False):
        if token.type == "table_open":
            found.append([])
        elif token.type == "tr_open":
            found[-1].append([])
        elif token.type in ("td_open", "th_open"):
            assert {child.type for child in after.children or ()} <= {"text"}, after
            found[-1][-1].append("".join(child.content for child in after.children or ()))
    return found


def problem(number: int, source: str, text: str, level: str | None = None, domain: Any = "math") -> Problem:
    turns = ({"role": "system", "content": "Be kind."}, {"role": "user", "content": text})
    return Problem(f"{source}/{number}", turns, domain, answer=str(number), level=level, source=source)


DEMONSTRATIONS = [
    (problem(0, NAME, EVIL, "hard"), EVIL, "r<1>", True),
    (problem(1, NAME, "Two?", "easy"), "<think>so</think>2", None, False),
    (problem(2, NAME, "Three, or so it is?", None, "code"), LONG, "qwq", True),
    (problem(0, "plain", "Four?", EVIL), "4", "qwq", None),
]
PROBLEMS = [problem(i, "rl", "x" * (10 * i + 5), str(i % 3), "code") for i in range(30)]
HELDOUT = [problem(i, "test", f"Held {i}?") for i in range(5)]
GONE = [
    *(("demonstrations", "decontaminate", Dropped(Row(problem(i, NAME, f"leak {i} {EVIL}"), "f:1", EVIL), "shares words", EVIL)) for i in range(7)),
    ("demonstrations", "correct_only", Dropped(Row(problem(9, "plain", "Five?"), "f:2", "6"), "wrong", "6 is not 5")),
    ("problems", "deduplicate", Dropped(Row(problem(9, "rl", EVIL), "f:3"), "repeated prompt")),
    ("problems", "deduplicate", Dropped(Row(problem(8, "rl", "Again"), "f:4"), "repeated prompt")),
]  # fmt: skip
FUNNEL = [
    ("heldout", "test", "read", 5, 0, {}),
    ("benchmark", "bench", "read", 50, 0, {}),
    ("demonstrations", NAME, "read", 10, 0, {}),
    ("demonstrations", "plain", "read", 2, 0, {}),
    ("demonstrations", NAME, "decontaminate", 10, 7, {"shares words": 7}),
    ("demonstrations", "plain", "decontaminate", 2, 0, {}),
    ("demonstrations", NAME, "correct_only", 3, 0, {}),
    ("demonstrations", "plain", "correct_only", 2, 1, {"wrong": 1}),
    ("demonstrations", NAME, "disjoint", 3, 0, {}),
    ("demonstrations", "plain", "disjoint", 1, 0, {}),
    ("problems", "rl", "read", 32, 0, {}),
    ("problems", "rl", "deduplicate", 32, 2, {"repeated prompt": 2}),
    ("problems", "rl", "disjoint", 30, 0, {}),
]
RECIPE = {
    "seed": 7,
    "sources": [
        {"name": NAME, "path": f"data/{EVIL}.jsonl", "role": "demonstrations", "domain": None, "licence": "MIT", "hash": {"data x/one": "ab" * 16, "data x/two": "cd" * 16}},
        {"name": "plain", "path": "plain.csv", "role": "demonstrations", "domain": "math", "licence": None, "hash": {"data plain": "ef" * 16}},
        {"name": "rl", "path": "rl.parquet", "role": "problems"},
    ],
    "steps": [{"dataset": "demonstrations", "step": "decontaminate", "parameters": {"type": EVIL, "length": 9}, "facts": {}}],
}  # fmt: skip


def write_all(
    data: Path, demonstrations: Any = DEMONSTRATIONS, gone: Any = GONE, funnel: Any = FUNNEL
) -> PreparedPaths:
    data.mkdir(parents=True)
    paths = named_in(data)
    schema = pa.schema([*DEMONSTRATION_SCHEMA, ("more", pa.int8())])
    rows = [
        {**problem_columns(p), "response": said, "where": "f:1", "teacher": teacher, "claimed": claimed, "more": 1}
        for p, said, teacher, claimed in demonstrations
    ]
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), paths.demonstrations, row_group_size=2)
    write_problems(paths.problems, PROBLEMS)
    write_problems(paths.validation, [])
    write_problems(paths.heldout, HELDOUT)
    write_dropped(paths.dropped, gone)
    names = ("dataset", "source", "step", "read", "dropped", "reasons")
    lines = [dict(zip(names, row, strict=True)) for row in funnel]
    paths.funnel.write_text(json.dumps([{**row, "kept": row["read"] - row["dropped"]} for row in lines]))
    return paths


def with_audit(paths: PreparedPaths) -> PreparedPaths:
    rows = [
        {
            "id": f"row {i}",
            "text": EVIL,
            "item": "test/<1>",
            "score": None if i == 3 else i / 40,
            "kind": "n-grams",
            "new": i,
        }
        for i in range(40)
    ]
    pq.write_table(pa.Table.from_pylist(rows), paths.audit, row_group_size=7)
    return paths


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> tuple[PreparedPaths, Path]:
    directory = tmp_path_factory.mktemp("card")
    paths = with_audit(write_all(directory / "data"))
    write_card(paths, RECIPE, directory)
    return paths, directory


def read(directory: Path) -> tuple[Page, str]:
    return Page((directory / "data-card.html").read_text()), (directory / "data-card.md").read_text()


def flat(text: str) -> str:
    return visible(" ".join(text.split()))


def check_tables(paths: PreparedPaths, directory: Path) -> None:
    """Every cell of the tables that count, against the files read row by row."""
    page, _ = read(directory)
    funnel = json.loads(paths.funnel.read_text())
    assert Counter(tuple(row.values())[:6] for row in page.rows("funnel")) == Counter(
        (flat(r["dataset"]), flat(r["source"]), r["step"], *(f"{r[n]:,}" for n in ("read", "kept", "dropped")))
        for r in funnel
    )
    expected, lengths = {}, []
    for dataset in ("demonstrations", "problems", "validation", "heldout"):
        rows = pq.read_table(getattr(paths, dataset)).to_pylist()
        for source in dict.fromkeys(r["source"] for r in rows):
            mine = [r for r in rows if r["source"] == source]
            steps = [r for r in funnel if (r["dataset"], r["source"]) == (dataset, source)]
            known = [r["claimed"] for r in mine if r.get("claimed") is not None]
            expected[dataset, flat(source)] = {
                "read": f"{steps[0]['read']:,}",
                "kept": f"{len(mine):,}",
                "share": f"{100 * len(mine) / steps[0]['read']:.1f} %",
                "domains": tally(Counter(r["domain"] for r in mine)),
                "levels": tally(Counter(r["level"] for r in mine)),
                "teachers": tally(Counter(r["teacher"] for r in mine)) if any(r.get("teacher") for r in mine) else "–",
                "claimed correct": f"{100 * sum(known) / len(known):.1f} %" if known else "–",
            }
            asked = [len(prompt_text(Problem("", tuple(r["prompt"]), "math"))) for r in mine]
            said = [len(r["response"]) for r in mine if r.get("response") is not None]
            for text, found in (("prompt", sorted(asked)), ("response", sorted(said))):
                if found:
                    at = [found[-(-percent * len(found) // 100) - 1] for percent in (50, 95)]
                    middle = f"{sum(found) / len(found):,.1f}"
                    cells = [f"{len(found):,}", middle, *(f"{n:,}" for n in (*at, found[-1]))]
                    lengths.append([dataset, flat(source), text, *cells])
    shown = {(row.pop("data set"), row.pop("source")): row for row in page.rows("sources")}
    for key, cells in expected.items():
        assert {name: shown[key][name] for name in cells} == cells
    for key in set(shown) - set(expected):
        last = [r for r in funnel if (r["dataset"], flat(r["source"])) == key][-1]
        assert shown[key]["kept"] == f"{last['kept']:,}"
        assert last["kept"] == 0 or key[0] == "benchmark"
    assert page.tables["lengths"][1:] == lengths
    gone = Counter((r["dataset"], r["step"], r["reason"]) for r in pq.read_table(paths.dropped).to_pylist())
    reads = Counter()
    for r in funnel:
        reads[r["dataset"], r["step"]] += r["read"]
    assert {tuple(row) for row in page.tables.get("dropped", [[]])[1:]} == {
        (*key, f"{count:,}", f"{100 * count / reads[key[:2]]:.1f} %") for key, count in gone.items()
    }
    for row in page.rows("files"):
        data = (paths.funnel.parent / row["file"]).read_bytes()
        assert row["bytes"] == f"{len(data):,}"
        assert row["blake2b, 128 bits"] == hashlib.blake2b(data, digest_size=16).hexdigest()
    assert len(page.rows("files")) == len(list(paths.funnel.parent.iterdir()))


def test_every_cell_is_what_the_files_hold(hostile: tuple[PreparedPaths, Path]) -> None:
    check_tables(*hostile)


def test_markdown_and_html_hold_the_same_tables(hostile: tuple[PreparedPaths, Path]) -> None:
    page, text = read(hostile[1])
    in_html = [[[" ".join(cell.split()) for cell in row] for row in table] for table in page.tables.values()]
    assert len(in_html) == 9
    assert markdown_tables(text) == in_html


def test_the_recipe_and_its_licences(hostile: tuple[PreparedPaths, Path]) -> None:
    page, _ = read(hostile[1])
    rows = page.rows("recipe")
    assert [row["licence"] for row in rows] == ["MIT", "not stated", "not stated"]
    assert [row["domain"] for row in rows] == ["by row", "math", "by row"]
    hashes = [row["blake2b, 128 bits"] for row in rows]
    assert hashes == [f"one: {'ab' * 16}; two: {'cd' * 16}", "ef" * 16, "–"]
    assert [row["licence"] for row in page.rows("sources")] == [
        "MIT",
        "not stated",
        "not stated",
        "not stated",
        "not stated",
    ]
    assert page.rows("steps")[0]["parameters"] == f"type: {flat(EVIL)}; length: 9"


def test_hostile_text_is_text(hostile: tuple[PreparedPaths, Path]) -> None:
    page, text = read(hostile[1])
    tags = Counter(tag for tag, _ in page.tags)
    assert not set(tags) & {"script", "img", "iframe", "object", "form", "input", "base"}
    assert {name for _, attrs in page.tags for name in attrs if name.startswith("on")} == set()
    links = [attrs.get("href") or attrs.get("src") or "" for _, attrs in page.tags if "href" in attrs or "src" in attrs]
    assert {link[:1] for link in links if link != "data:,"} == {"#"}
    raw = (hostile[1] / "data-card.html").read_text()
    for bad in ("\u202e", "\x07", "\u200b", "\U000e0041", "url(#", 'id="clip'):
        assert bad not in raw
        assert bad not in text
    assert visible(EVIL) in page.blocks  # whole, as it was, with what hid in it written out
    assert "⟨U+202E⟩txet⟨U+202C⟩ ⟨U+0007⟩ ⟨U+200B⟩ ⟨U+E0041⟩" in page.blocks[0] + page.blocks[1]
    tokens = MarkdownIt("commonmark").enable("table").parse(text)
    inside = [child for token in tokens for child in token.children or ()]
    assert {child.type for child in inside} <= {"text", "strong_open", "strong_close"}
    assert not [token for token in tokens if token.type.startswith(("html", "bullet_list")) and token.level > 0]
    assert visible(EVIL) + "\n" in [token.content for token in tokens if token.type == "fence"]


def test_examples_are_cut_with_a_mark(hostile: tuple[PreparedPaths, Path]) -> None:
    page, text = read(hostile[1])
    left = len(LONG) - 1000
    assert f"{LONG[:700]}{left:,} characters left out{LONG[-300:]}" in page.blocks
    assert f"{LONG[:700]}\n[... {left:,} characters left out ...]\n{LONG[-300:]}" in text


def test_dropped_rows_are_shown_up_to_three_a_reason(hostile: tuple[PreparedPaths, Path]) -> None:
    page, text = read(hostile[1])
    dropped = [block for block in page.blocks if re.match(r"leak \d", block)]
    assert len(set(dropped)) == 3
    assert "decontaminate: shares words (7)" in page.text
    assert "6 is not 5" in page.text
    assert text.count("Five?") == 1


def test_the_audit_shows_both_ends(hostile: tuple[PreparedPaths, Path]) -> None:
    page, _ = read(hostile[1])
    rows = page.rows("audit")
    assert [row["row"] for row in rows] == [f"row {i}" for i in (*range(39, 29, -1), *(0, 1, 2), *range(4, 11))]
    assert [row["score"] for row in rows[:2]] == ["0.975", "0.950"]
    assert page.rows("audit-kinds") == [{"kind of match": "n-grams", "rows": "40"}]


def test_the_proof(tmp_path: Path, hostile: tuple[PreparedPaths, Path]) -> None:
    proved = "Proved disjoint: none of the 34 training rows has the normalised prompt of one of the 5 evaluation rows."
    page, text = read(hostile[1])
    assert proved in page.text
    assert proved in text
    paths = write_all(tmp_path / "data", funnel=[row for row in FUNNEL if row[1:3] != ("rl", "disjoint")])
    write_card(paths, {}, tmp_path)
    page, text = read(tmp_path)
    assert "It was not proved that problems and evaluation sets share no prompt." in page.text
    assert "Proved" not in page.text + text
    write_problems(paths.heldout, [])
    paths.funnel.write_text(
        json.dumps([row for row in json.loads(paths.funnel.read_text()) if row["dataset"] != "heldout"])
    )
    write_card(paths, {}, tmp_path)
    assert "There are no evaluation sets" in read(tmp_path)[1]


def test_equal_inputs_give_equal_bytes_and_the_seed_chooses(
    tmp_path: Path, hostile: tuple[PreparedPaths, Path]
) -> None:
    """In another process too: neither Python's hashes nor the drawing of earlier figures leave a trace."""
    paths, directory = hostile
    code = (
        "import json, sys; from pathlib import Path; from openklear.data.store import named_in; "
        "from openklear.reporting.card import write_card; "
        "write_card(named_in(Path(sys.argv[1])), json.loads(sys.argv[2]), Path(sys.argv[3]))"
    )
    arguments = [str(paths.funnel.parent), json.dumps(RECIPE), str(tmp_path)]
    subprocess.run([sys.executable, "-c", code, *arguments], check=True, env={"PYTHONPATH": ":".join(sys.path), "PATH": "/usr/bin:/bin", "PYTHONHASHSEED": "1"})  # fmt: skip
    for name in ("data-card.md", "data-card.html"):
        assert (tmp_path / name).read_bytes() == (directory / name).read_bytes()
    found = [chosen(paths.problems, ("source",), ("id",), 3, seed)["rl",].rows for seed in (0, 1, 2)]
    assert found[0] != found[1] or found[1] != found[2]


@pytest.mark.parametrize("wrong", ["a kept row", "a dropped row", "no file", "no parquet"])
def test_files_that_do_not_agree_make_no_card(tmp_path: Path, wrong: str) -> None:
    paths = write_all(
        tmp_path / "data",
        demonstrations=DEMONSTRATIONS[1:] if wrong == "a kept row" else DEMONSTRATIONS,
        gone=GONE[1:] if wrong == "a dropped row" else GONE,
    )
    if wrong == "no file":
        paths.problems.unlink()
    elif wrong == "no parquet":
        paths.problems.write_text("rows")
    words = {"a kept row": "2 rows of .*kept 3", "a dropped row": "6 rows of .*shares words.*dropped 7"}
    with pytest.raises(DataError, match=words.get(wrong, "problems.parquet: cannot be read as Parquet")):
        write_card(paths, RECIPE, tmp_path)
    assert not (tmp_path / "data-card.md").exists()


def test_an_empty_set(tmp_path: Path) -> None:
    paths = write_all(tmp_path / "data", demonstrations=[], gone=[], funnel=[("benchmark", "b", "read", 0, 0, {})])
    write_problems(paths.problems, [])
    write_problems(paths.heldout, [])
    write_card(paths, {}, tmp_path)
    page, text = read(tmp_path)
    assert page.rows("sources")[0]["share"] == "–"
    assert "There are no training rows" in text
    assert "Nothing was dropped." in text


def test_ends_and_choices_against_a_sort(tmp_path: Path) -> None:
    scores = [(i * 7919 % 101) / 101 for i in range(500)]
    rows = {"kind": [f"k{i % 3}" if i % 7 else None for i in range(500)], "score": scores, "place": list(range(500))}
    pq.write_table(pa.table(rows), tmp_path / "x.parquet", row_group_size=37)
    top, low = ends(tmp_path / "x.parquet", "score", ("place", "absent"), 9)
    ranked = sorted(range(500), key=lambda i: (-scores[i], i))
    assert [row["place"] for row in top] == ranked[:9]
    assert [row["place"] for row in low] == ranked[:-10:-1]
    assert rows_at(tmp_path / "x.parquet", [499, 0, 36, 37], ("place",)) == {i: {"place": i} for i in (0, 36, 37, 499)}
    found = chosen(tmp_path / "x.parquet", ("kind", "absent"), ("place", "kind"), 4, 0)
    assert {key: some.count for key, some in found.items()} == Counter((kind, None) for kind in rows["kind"])
    assert list(found)[:3] == [(None, None), ("k1", None), ("k2", None)]
    for (kind, _), some in found.items():
        assert len({row["place"] for row in some.rows}) == 4
        assert {row["kind"] for row in some.rows} == {kind}


def test_choices_do_not_depend_on_batches_and_are_fair(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pq.write_table(pa.table({"place": list(range(1000)), "one": ["x"] * 1000}), tmp_path / "x.parquet")
    path = tmp_path / "x.parquet"
    whole = [chosen(path, ("one",), ("place",), 5, seed)["x",].rows for seed in range(40)]
    monkeypatch.setattr("openklear.reporting.card.rows.WORDS_AT_ONCE", 13)
    assert [chosen(path, ("one",), ("place",), 5, seed)["x",].rows for seed in range(40)] == whole
    places = [row["place"] for rows in whole for row in rows]
    assert 400 < sum(places) / len(places) < 600  # 500 +- 20 for a uniform choice
    assert len(set(places)) > 170


def test_the_tests_of_problems_are_never_read(tmp_path: Path) -> None:
    """They can be large, and the card shows none of them."""
    paths = write_all(tmp_path / "data")
    pq.write_table(pq.read_table(paths.problems).drop_columns(["tests"]), paths.problems)
    write_card(paths, RECIPE, tmp_path)
    assert read(tmp_path)[0].rows("sources")[2]["kept"] == "30"


def test_texts() -> None:
    assert excerpt("x" * 1100).left_out == 0
    assert (excerpt("x" * 1101).left_out, len(excerpt("x" * 1101).head), len(excerpt("x" * 1101).tail)) == (
        101,
        700,
        300,
    )
    assert visible("a\tb\r\nc\rd\u2066e") == "a\tb\nc⟨U+000D⟩d⟨U+2066⟩e"
    assert sorted_values(dict.fromkeys(["10", "hard", None, "x", "9", "easy", "medium"], 1)) == [
        "easy",
        "medium",
        "hard",
        "9",
        "10",
        "x",
        None,
    ]
    assert tally({str(i): 1000 for i in range(10)}, 2) == "0:\xa01,000, 1:\xa01,000, 8 more"
    assert tally({}) == "–"
    assert plain({"keep": ["en"], "n": 9, "type": "ngrams"}) == 'keep: ["en"]; n: 9; type: ngrams'
    assert line("a_b|c\nhttps://x www.y") == "a\\_b\\|c https:\\//x www\\.y"
    assert fenced("a\n`````").startswith("``````text\n")


def test_a_real_run(tmp_path: Path) -> None:
    from openklear.data.store import prepared
    from openklear.recipe.load import load_recipe
    from openklear.run.pipeline import run_pipeline

    root = tmp_path / "run"
    run_pipeline(load_recipe(Path(__file__).parents[1] / "e2e" / "mini.toml"), root, through="prepare")
    paths = prepared(root / "prepare")
    if not (root / "data-card.html").exists():
        write_card(paths, {}, root)
    check_tables(paths, root)
    page, _ = read(root)
    held = {r["prompt"][-1]["content"].lower() for name in ("validation", "heldout") for r in pq.read_table(getattr(paths, name)).to_pylist()}  # fmt: skip
    trained = [r["prompt"][-1]["content"].lower() for name in ("demonstrations", "problems") for r in pq.read_table(getattr(paths, name)).to_pylist()]  # fmt: skip
    assert not held & set(trained)
    assert f"none of the {len(trained):,} training rows has" in page.text


PROBE = """
<script>
window.addEventListener("load", () => {
  const boxes = [...document.querySelectorAll("figure svg")].map(s => s.getBoundingClientRect());
  const found = {wide: document.documentElement.scrollWidth > window.innerWidth + 1, figures: boxes.length,
                 small: boxes.filter(b => b.width < 100 || b.height < 40).length};
  document.body.innerHTML = "<pre id=probe></pre>";
  document.getElementById("probe").textContent = JSON.stringify(found);
});
</script>
"""


@pytest.mark.browser
@pytest.mark.parametrize("width", [1280, 700])
def test_the_page_in_chromium(hostile: tuple[PreparedPaths, Path], tmp_path: Path, width: int) -> None:
    found = next(
        (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None
    )
    if found is None:
        pytest.skip("no Chromium on this machine: the card is not looked at")
    page = (hostile[1] / "data-card.html").read_text().replace("<details>", "<details open>")
    page = re.sub(r"<meta http-equiv=[^>]*>", "", page, count=1)  # it would forbid the probe
    (tmp_path / "page.html").write_text(page.replace("</head>", PROBE + "</head>", 1))
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
    options += ["--host-resolver-rules=MAP * ~NOTFOUND", f"--window-size={width},900", "--virtual-time-budget=5000"]
    options += [f"--user-data-dir={tmp_path / 'profile'}", "--enable-logging=stderr", "--dump-dom"]
    done = subprocess.run(
        [found, *options, (tmp_path / "page.html").as_uri()], capture_output=True, text=True, timeout=120, check=False
    )
    shown = re.search(r'<pre id="probe">(.+?)</pre>', done.stdout)
    assert shown, done.stderr[-2000:]
    assert json.loads(shown[1]) == {"wide": False, "figures": 7, "small": 0}
    assert "CONSOLE" not in done.stderr, done.stderr
