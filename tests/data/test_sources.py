"""What a source's path means: files, directories, globs, and data sets of a hub that runs here."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from threading import Thread

import pytest
from tests.data.hub_server import HubServer

from openklear.data.sources import resolve
from openklear.errors import DataError

NAMES = (
    "b.jsonl",
    "a/z.parquet",
    "a/y.csv.zst",
    "a-b/c.json",
    "README.md",
    ".cache/x.jsonl",
    "a/.hidden.jsonl",
    "a/n.txt",
)


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in NAMES:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("{}")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def found(source: str) -> list[str]:
    return [path.as_posix() for path in resolve(source)]


def error_of(source: str) -> str:
    with pytest.raises(DataError) as caught:
        resolve(source)
    assert str(caught.value).startswith(source)
    return str(caught.value)


def test_files_directories_and_globs(files: Path) -> None:
    assert found("b.jsonl") == ["b.jsonl"]
    assert found("README.md") == ["README.md"]  # a file that was named is read, or said to be of no known kind
    assert found(".") == ["a/y.csv.zst", "a/z.parquet", "a-b/c.json", "b.jsonl"]
    assert found(str(files / "a")) == [str(files / "a/y.csv.zst"), str(files / "a/z.parquet")]
    assert found("*") == ["b.jsonl"]
    assert found("**/*.json*") == ["a-b/c.json", "b.jsonl"]
    assert found("a*/[yc].*") == ["a/y.csv.zst", "a-b/c.json"]


def test_a_name_with_letters_of_a_glob_is_a_file_where_it_is_one(files: Path) -> None:
    (files / "[x].jsonl").write_text("{}")
    assert found("[x].jsonl") == ["[x].jsonl"]


def test_nothing_found_names_the_nearest(files: Path) -> None:
    assert "no such file or directory; the nearest name there is b.jsonl" in error_of("b.json")
    assert "and no directory nowhere" in error_of("nowhere/b.jsonl")
    assert "the nearest name there is z.parquet" in error_of("a/*.parq")
    assert "there is no directory" in error_of("nowhere/*.jsonl")
    assert "holds n.txt, but no readable file" in error_of("a/*.txt")
    (files / "empty").mkdir()
    assert "holds no files, but no readable file" in error_of("empty")


ROWS = b'{"prompt": "p", "answer": 1}\n'
FILES = {
    "main": {"README.md": b"x", "data/train.jsonl": ROWS, "data/test.jsonl": ROWS * 2, "more/a.csv": b"a\n1\n"},
    "v1": {"data/train.jsonl": ROWS * 3},
}
SCRIPT = """
import json, sys
from openklear.data.sources import resolve
from openklear.errors import DataError
for source in sys.argv[1:]:
    try:
        found = resolve(source)
        print(json.dumps([["/".join(path.parts[path.parts.index("snapshots") + 2:]), path.read_text()] for path in found]))
    except DataError as error:
        print(json.dumps(str(error)))
"""


@pytest.fixture
def server() -> Iterator[HubServer]:
    running = HubServer("o/n", FILES)
    thread = Thread(target=running.serve_forever, daemon=True)
    thread.start()
    yield running
    running.shutdown()
    running.server_close()
    thread.join()


CHOOSING = """
import json, sys
from openklear.data.sources import choose
from openklear.errors import DataError
for asked in sys.argv[1:]:
    role, _, source = asked.partition(" ")
    try:
        print(json.dumps(choose(source, role).said()))
    except DataError as error:
        print(json.dumps(str(error)))
"""


def ask(endpoint: str, cache: Path, *sources: str, script: str = SCRIPT, **more: str) -> list[object]:
    """`resolve` in a process of its own: the client reads its environment once."""
    own = {"HF_ENDPOINT": endpoint, "HF_HOME": str(cache), "HF_HUB_DISABLE_PROGRESS_BARS": "1", "NO_PROXY": "*", **more}
    plain = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    ran = subprocess.run(
        [sys.executable, "-c", script, *sources], env={**plain, **own}, capture_output=True, text=True, timeout=120
    )
    assert ran.returncode == 0, ran.stderr
    return [json.loads(line) for line in ran.stdout.splitlines()]


def test_a_data_set_of_the_hub(server: HubServer, tmp_path: Path) -> None:
    text = ROWS.decode()
    every, some, older, none, unknown, no_name, no_revision = ask(
        server.endpoint,
        tmp_path,
        "hub:o/n",
        "hub:o/n:data/tr*",
        "hub:o/n@v1",
        "hub:o/n:data/trian*",
        "hub:o/other",
        "hub:o",
        "hub:o/n@v2",
    )
    assert every == [["data/test.jsonl", text * 2], ["data/train.jsonl", text], ["more/a.csv", "a\n1\n"]]
    assert some == [["data/train.jsonl", text]]
    assert older == [["data/train.jsonl", text * 3]]
    assert "the nearest name there is data/train.jsonl" in str(none)
    assert str(unknown).startswith("hub:o/other: cannot be fetched: ")
    assert "write hub:OWNER/NAME" in str(no_name)
    assert str(no_revision).startswith("hub:o/n@v2: cannot be fetched: ")
    assert not any(path.endswith("README.md") for path in server.asked)
    (again,) = ask(server.endpoint, tmp_path, "hub:o/n", HF_HUB_OFFLINE="1")
    assert again == every


CARD = b"""---
configs:
- config_name: main
  data_files: [{split: train, path: main/train-*}, {split: test, path: main/test-*}]
- config_name: socratic
  data_files: [{split: train, path: socratic/train-*}, {split: test, path: socratic/test-*}]
---
"""


def test_a_data_set_of_the_hub_with_configurations_and_splits(tmp_path: Path) -> None:
    """Laid out as openai/gsm8k; its README is fetched, since it names them."""
    place = "{}/{}-00000-of-00001.jsonl"
    files = {place.format(config, split): ROWS for config in ("main", "socratic") for split in ("train", "test")}
    with HubServer("openai/gsm8k", {"main": {**files, "README.md": CARD, "dataset_infos.json": b"{}"}}) as running:
        Thread(target=running.serve_forever, daemon=True).start()
        asked = ("problems hub:openai/gsm8k", "problems hub:openai/gsm8k:main/*", "heldout hub:openai/gsm8k:main/*")
        more = ("demonstrations hub:openai/gsm8k:main/test*", "problems hub:openai/gsm8k:*")
        found = ask(running.endpoint, tmp_path, *asked, *more, script=CHOOSING)
        running.shutdown()
    several = "holds 2 configurations, main, socratic; name the files of one, as in path = "
    assert several + '"hub:openai/gsm8k:main/*"' in str(found[0])
    train, test = place.format("main", "train"), place.format("main", "test")
    assert found[1] == f"reads {train} (split train); leaves {test} (split test)"
    assert found[2] == f"reads {test} (split test); leaves {train} (split train)"
    assert found[3] == f"reads {test} (split test)"
    assert several + '"hub:openai/gsm8k:main/*"' in str(found[4])
