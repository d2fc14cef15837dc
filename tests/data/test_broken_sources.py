"""Broken inputs end in an error with file and line, or in drops that are counted; never in another exception.

    an error   bad encoding, half a line, a file that breaks off, a column of mixed types, an empty file, a line of
               200 MB, a pickle that would run, a zlib bomb, a damaged Parquet file, a torn CSV row
    a drop     an empty prompt, no response, half of a surrogate pair
Ids that stand twice are renamed by the stage (tests/data/test_prepare.py).
"""

from __future__ import annotations

import base64
import bz2
import gzip
import json
import lzma
import os
import pickle
import pickletools
import tracemalloc
import zlib
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from openklear.data import json_array, private_tests, streams
from openklear.data.formats import read_rows
from openklear.data.private_tests import read_private, read_texts
from openklear.data.rows import Dropped, Row
from openklear.data.shapes import Role, parse_rows
from openklear.errors import DataError

ROW = {"id": "a", "prompt": "1+1?", "answer": "2"}
LINE = json.dumps(ROW).encode() + b"\n"
SECRET = "text"


def read(path: Path, role: Role = "problems", domain: str = "math") -> list[Row | Dropped]:
    return [
        row for where, raw in read_rows(path) for row in parse_rows(raw, where, role=role, source="set", domain=domain)
    ]


def error_of(path: Path, domain: str = "math") -> str:
    with pytest.raises(DataError) as caught:
        read(path, domain=domain)
    message = str(caught.value)
    assert message.startswith(str(path))
    assert len(message) < 1000
    return message.removeprefix(str(path))


def put(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def test_bad_encoding(tmp_path: Path) -> None:
    assert error_of(put(tmp_path / "a.jsonl", LINE + b'{"prompt": "\xe9"}\n')).startswith(":2: byte 12 is not UTF-8")
    assert error_of(put(tmp_path / "a.json", b"[" + LINE + b',{"prompt": "\xe9"}]')).startswith(":2: byte ")
    packed = zstandard.ZstdCompressor().compress(b"[" + LINE + b',{"prompt": "\xe9"}]')
    assert error_of(put(tmp_path / "a.json.zst", packed)).startswith(f":2: byte {len(LINE) + 14} is not UTF-8")
    assert error_of(put(tmp_path / "a.csv", b"prompt,answer\np,1\n\xe9,2\n")).startswith(":3: byte 0 is not UTF-8")
    utf16 = put(tmp_path / "b.jsonl", LINE.decode().encode("utf-16"))
    assert error_of(utf16).startswith(":1: byte 0 is not UTF-8")
    column = pa.array([b"\xe9"], pa.binary()).view(pa.string())
    pq.write_table(pa.table({"prompt": column}), tmp_path / "a.parquet")
    assert "a text after row 0 is not UTF-8" in error_of(tmp_path / "a.parquet")


def test_half_a_line(tmp_path: Path) -> None:
    assert error_of(put(tmp_path / "a.jsonl", LINE * 2 + LINE[:-9])).startswith(":3: not valid JSON at column")
    assert error_of(put(tmp_path / "a.json", b"[" + LINE + b"," + LINE[:-9])).startswith(":2: not valid JSON at column")
    assert "in the row that begins here" in error_of(put(tmp_path / "a.csv", b'prompt,answer\np,1\n"never closed,2\n'))
    assert error_of(put(tmp_path / "b.csv", b"prompt,answer\np,1\np\n")).startswith(
        ":3: the row has 1 cells, but the first"
    )


@pytest.mark.parametrize(
    ("ending", "pack", "name"),
    [
        (".gz", gzip.compress, "gzip"),
        (".bz2", bz2.compress, "bzip2"),
        (".xz", lzma.compress, "xz"),
        (".zst", zstandard.ZstdCompressor().compress, "zstd"),
    ],
)
def test_compressed_files_that_break_off(
    tmp_path: Path, ending: str, pack: Callable[[bytes], bytes], name: str
) -> None:
    rng = Random(5)  # so that the packed file is long
    ids = [f"{rng.getrandbits(200):x}" for _ in range(1000)]
    lines = b"".join(json.dumps({**ROW, "id": name}).encode() + b"\n" for name in ids)
    cells = b"prompt,answer,id\n" + b"".join(f"p,1,{name}\n".encode() for name in ids)
    for kind, content in ((".jsonl", lines), (".csv", cells)):
        whole = pack(content)
        path = put(tmp_path / f"a{kind}{ending}", whole)
        assert len(read(path)) == 1000
        for broken in (whole[: len(whole) // 2], whole[:-3], LINE):
            assert f": the {name} file is damaged" in error_of(put(path, broken))
    assert f"the {name} file is damaged" in error_of(put(tmp_path / f"a.json{ending}", pack(b"[" + LINE)[:-3]))


def test_a_column_of_mixed_types(tmp_path: Path) -> None:
    rows = [ROW, {**ROW, "answer": 2}, {**ROW, "answer": [2]}]
    path = put(tmp_path / "a.jsonl", b"".join(json.dumps(row).encode() + b"\n" for row in rows))
    assert error_of(path).startswith(":3: answer is [2], but a string or a number is expected")


def test_an_empty_file(tmp_path: Path) -> None:
    for name, content in (
        ("a.jsonl", b""),
        ("a.json", b" \n"),
        ("a.csv", b""),
        ("b.csv", b"prompt,answer\n"),
        ("a.jsonl.gz", gzip.compress(b"")),
        ("a.jsonl.zst", b""),
    ):
        assert "the file holds no rows" in error_of(put(tmp_path / name, content))
    assert "cannot be read as Parquet" in error_of(put(tmp_path / "a.parquet", b""))


@pytest.mark.parametrize(
    ("name", "megabytes"), [("a.jsonl", 200), ("a.json", 80), ("a.csv", 80), ("b.jsonl.gz", 80), ("b.json.gz", 80)]
)
def test_a_line_of_200_mb_is_refused_before_it_fills_memory(tmp_path: Path, name: str, megabytes: int) -> None:
    path = tmp_path / name
    with gzip.open(path, "wb", compresslevel=1) if name.endswith(".gz") else path.open("wb") as file:
        file.write(LINE if "jsonl" in name else b"[" + LINE + b"," if "json" in name else b"prompt,answer\np,1\n")
        file.write(b'{"prompt": "' if "json" in name else b'"')
        for _ in range(megabytes):
            file.write(b"x" * 1_000_000)
    tracemalloc.start()
    try:
        message = error_of(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert "is longer than 64 MiB; split or remove it" in message
    assert message.startswith(":3: " if name == "a.csv" else ":2: ")
    assert peak < 4 * streams.MAX_LINE


def test_a_cell_over_many_lines_is_bounded_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("openklear.data.formats.MAX_LINE", 1000)
    path = put(tmp_path / "a.csv", b'prompt,answer\np,1\n"' + b"x\n" * 2000)
    assert error_of(path).startswith(":3: a cell that begins here is longer than 64 MiB")


class Boom:
    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.system, ("touch pickle-ran",)


def packed(data: bytes) -> str:
    return base64.b64encode(zlib.compress(data)).decode()


@pytest.mark.parametrize(
    "data",
    [
        *(pickle.dumps(Boom(), protocol=protocol) for protocol in range(6)),
        pickle.dumps([SECRET]),
        pickle.dumps({"a": 1}),
        pickle.dumps({"a": {"b": SECRET}}),
        pickle.dumps(b"bytes"),
        pickle.dumps(SECRET)[:-1],
        pickle.dumps(SECRET)[:-4],
        b"\x80\x04\x96\xff\xff\xff\xff\xff\xff\xff\x7f.",  # BYTEARRAY8: unpicklers reserve what it announces
        b"\x80\x04X\xff\xff\xff\x7fabc.",
        b"\x80\x04r\xff\xff\xff\xff.",  # LONG_BINPUT: a memo of four thousand million places
        b"\x80\x04s.",
        b"\x80\x04u.",
        b"\x80\x04h\x05.",
        b"Vtext\np0\n0.",
        b"",
        b"not a pickle",
    ],
)
def test_a_pickle_of_anything_but_texts_is_not_opened(
    data: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        DataError, match=r"^f:1: test holds a pickle of something other than texts .*distrust its source"
    ):
        read_private(packed(data), "test", "f:1")
    path = put(tmp_path / "a.jsonl", json.dumps({"content": "q", "test": packed(data)}).encode())
    assert ":1: test holds a pickle" in error_of(path, domain="code")
    assert not (tmp_path / "pickle-ran").exists()


@pytest.mark.parametrize("protocol", range(6))
def test_texts_come_out_of_every_protocol(protocol: int) -> None:
    long = "ü" * 300
    for value in (SECRET, long, {}, {"a": SECRET}, {"a": SECRET, "b": SECRET, "c": long}):
        assert read_texts(pickle.dumps(value, protocol=protocol)) == value
        assert read_texts(pickletools.optimize(pickle.dumps(value, protocol=protocol))) == value


@settings(max_examples=300, deadline=None)
@given(
    st.binary(max_size=40)
    | st.lists(st.sampled_from([b"X\x01\x00\x00\x00a", *(bytes([b]) for b in range(256))])).map(b"".join)
)
def test_random_steps_of_a_pickle(data: bytes) -> None:
    try:
        found = read_private(packed(data), "test", "f:1")
    except DataError:
        return
    assert isinstance(found, str | dict)


def test_a_zlib_bomb(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(private_tests, "MAX_BYTES", 1 << 20)
    bomb = packed(pickle.dumps("x" * (8 << 20)))
    tracemalloc.start()
    try:
        with pytest.raises(DataError, match=r"^f:1: test grows to more than 1 MiB; remove the row"):
            read_private(bomb, "test", "f:1")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 4 << 20
    assert read_private(packed(pickle.dumps(SECRET)), "test", "f:1") == SECRET


def test_torn_base64() -> None:
    whole = packed(pickle.dumps("text" * 99))
    for text, words in (
        ("%", "is not base64 of zlib"),
        (whole[:-2], "is not base64 of zlib"),
        ("AAAA", "is not base64 of zlib"),
        (whole[:-4], "is cut off; download the file again"),
        (whole[:20] + whole[24:], ""),
    ):
        with pytest.raises(DataError, match=f"^f:1: test .*{words}"):
            read_private(text, "test", "f:1")


def test_nested_too_deep(tmp_path: Path) -> None:
    deep = b'{"prompt": "p", "answer": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"
    assert error_of(put(tmp_path / "a.jsonl", deep)).startswith(":1: JSON nested too deep")
    assert error_of(put(tmp_path / "a.json", b"[" + deep + b"]")).startswith(":1: JSON nested too deep")
    cell = json.dumps({"prompt": "p", "tests": "[" * 100_000}).encode()
    assert ":1: tests is text, but not the JSON" in error_of(put(tmp_path / "b.jsonl", cell))
    long = put(tmp_path / "c.json", b'[{"prompt": 1' + b"1" * 5000 + b"}]")
    assert "not readable JSON" in error_of(long)
    nested: Any = []
    for _ in range(5000):
        nested = [nested]
    with pytest.raises(DataError, match=r"^f:1: ground_truth is \{'a': \[\[.* a value of JSON is expected"):
        parse_rows(
            {"prompt": "p", "ground_truth": {"a": nested, "b": 1}}, "f:1", role="problems", source="s", domain="math"
        )


def test_damaged_parquet(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.Table.from_pylist([ROW] * 1000), path)
    whole = path.read_bytes()
    for content in (whole[:-20], whole[:50], b"PAR1" + whole[4:60][::-1] + whole[60:]):
        assert "annot be read" in error_of(put(path, content)) or "UTF-8" in error_of(path)


def test_rows_that_say_nothing_are_counted(tmp_path: Path) -> None:
    rows = [
        {"prompt": "p", "response": "r"},
        {"prompt": " ", "response": "r"},
        {"prompt": "p", "response": None},
        {"prompt": "p", "response": "half: \ud83d"},
        {"prompt": "p", "response": "r", "solution": "half: \udc00"},
        {"messages": []},
    ]
    path = put(tmp_path / "a.jsonl", b"".join(json.dumps(row).encode() + b"\n" for row in rows))
    found = read(path, "demonstrations")
    reasons = Counter(row.reason for row in found if isinstance(row, Dropped))
    assert reasons == {"empty prompt": 2, "no response": 1, "not valid Unicode": 2}
    assert len(found) == len(rows)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    values=st.lists(VALUES, max_size=8),
    indent=st.sampled_from([None, 0, 3]),
    plain=st.booleans(),
    chunk=st.integers(1, 40),
)
def test_an_array_is_read_the_same_in_pieces_of_any_size(
    tmp_path: Path, values: list[Any], indent: int | None, plain: bool, chunk: int
) -> None:
    text = json.dumps(values, indent=indent, ensure_ascii=plain)
    path = put(tmp_path / "a.json", text.encode("utf-8", "replace"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_array, "CHUNK", chunk)
        assert list(json_array.json_array(path)) == json.loads(path.read_text())


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    place=st.integers(0, 10_000),
    what=st.sampled_from([b"", b",", b"]", b'"', b"\\", b"\xff", b"\n", b"x"]),
    chunk=st.integers(1, 40),
)
def test_a_damaged_array_is_named_at_the_same_place_in_pieces_of_any_size(
    tmp_path: Path, place: int, what: bytes, chunk: int
) -> None:
    whole = json.dumps([{**ROW, "n": [1, -2.5e3, None, True, "é\n"]}] * 3, indent=1, ensure_ascii=False).encode()
    place = 1 + place % (len(whole) - 1)  # behind the first bracket
    path = put(tmp_path / "a.json", whole[:place] + what + whole[place + 1 :])
    said = []
    for size in (chunk, 1 << 20):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(json_array, "CHUNK", size)
            try:
                said.append(str(list(json_array.json_array(path))))
            except DataError as error:
                said.append(str(error))
    assert said[0].split(" ")[0] == said[1].split(" ")[0]  # file and line
    assert said[1].startswith(wanted(path))


def wanted(path: Path) -> str:
    """What the standard library says of the whole file."""
    try:
        return str(json.loads(path.read_bytes()))
    except json.JSONDecodeError as error:
        return f"{path}:{error.lineno}: not valid JSON at column {error.colno}"
    except UnicodeDecodeError as error:
        return f"{path}:{1 + error.object.count(bytes([10]), 0, error.start)}: byte {error.start} is not UTF-8"
