"""Which files of a directory or a data set are rows, of which configuration, and of which split; the hub's rules."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pytest
from datasets import Dataset, DatasetDict
from datasets.data_files import get_data_patterns

from openklear.data.formats import read_rows
from openklear.data.sources import Chosen, choose
from openklear.data.splits import family, split_of
from openklear.errors import DataError

ROW = '{"prompt": "p", "answer": "1"}\n'


def laid(root: Path, *names: str, **texts: str) -> Path:
    """Files with one row each; `texts` are others, a double underscore for the dot."""
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(ROW)
    for name, text in texts.items():
        (root / name.replace("__", ".")).write_text(text)
    return root


def read(path: Path | str, role: str = "problems", split: str | None = None) -> list[str]:
    return [file.name for file in choose(str(path), role, split).files]


def refused(path: Path | str, role: str = "problems", split: str | None = None) -> str:
    with pytest.raises(DataError) as caught:
        choose(str(path), role, split)
    assert str(caught.value).startswith(str(path))
    return str(caught.value)


def left(found: Chosen) -> dict[str, str]:
    return dict(found.left)


NAMES = {
    "data/train-00000-of-00005.parquet": "train",
    "data/train_sft-00000-of-00001.parquet": "train_sft",
    "data/en-00000-of-00001.parquet": "en",
    "main/test-00000-of-00001.parquet": "test",
    "main/part-00000-of-00001.parquet": None,
    "train/data-00000-of-00001.arrow": "train",
    "gsm8k_train.jsonl": "train",
    "Test.JSONL": "test",
    "en/c4-validation.00000-of-00008.json.gz": "validation",
    "dev.csv": "validation",
    "val1.csv": "validation",
    "evaluation/a.json": "test",
    "held/out.jsonl": None,
    "heldout/math.jsonl": "test",
    "latest.jsonl": None,
    "contest/devices.jsonl": None,
    "training_rows.jsonl": "train",
    "test/train.jsonl": "test",
    "train_test.jsonl": "test",
}


@pytest.mark.parametrize("name", NAMES)
def test_the_split_of_a_name(name: str) -> None:
    assert split_of(name) == NAMES[name]


@pytest.mark.parametrize(
    "names",
    [
        ("train.jsonl", "test.jsonl", "notes.jsonl"),
        ("data/train-00000-of-00002.parquet", "data/train-00001-of-00002.parquet", "data/test-00000-of-00001.parquet"),
        ("data/train_sft-00000-of-00001.parquet", "data/test_gen-00000-of-00001.parquet"),
        ("train/a.jsonl", "validation/b.jsonl", "test/c.jsonl"),
        ("my_train_rows.csv", "my-dev-rows.csv", "my eval rows.csv"),
        ("a.jsonl", "b.jsonl"),
    ],
    ids=str,
)
def test_splits_are_those_of_the_hubs_own_library(tmp_path: Path, names: tuple[str, ...], monkeypatch) -> None:
    laid(tmp_path, *names)
    theirs = set(get_data_patterns(str(tmp_path)))
    assert {split_of(name) for name in names} - {None} == (theirs if names[0] != "a.jsonl" else set())


def test_a_clone_leaves_its_descriptions_and_its_test_split(tmp_path: Path) -> None:
    """shared/data/field: s1_clone."""
    laid(
        tmp_path, "data/train-00000.jsonl", "data/test-00000.jsonl", dataset_infos__json='{"default": {"features": {}}}'
    )
    trained, measured = choose(str(tmp_path), "demonstrations"), choose(str(tmp_path), "heldout")
    assert [file.name for file in trained.files] == ["train-00000.jsonl"]
    assert left(trained) == {"dataset_infos.json": "describes the set", "data/test-00000.jsonl": "split test"}
    assert trained.said() == (
        "reads data/train-00000.jsonl (split train); leaves dataset_infos.json (describes the set); "
        "data/test-00000.jsonl (split test)"
    )
    assert [file.name for file in measured.files] == ["test-00000.jsonl"]
    for role in ("validation", "problems", "benchmark"):
        assert read(tmp_path, role, "test") == ["test-00000.jsonl"]
    assert read(tmp_path, split="all") == ["test-00000.jsonl", "train-00000.jsonl"]


def test_files_that_describe_are_no_rows_and_files_of_rows_stay(tmp_path: Path) -> None:
    laid(tmp_path, "a.jsonl", "README.md", ".gitattributes", "a.jsonl.lock", "__MACOSX/b.jsonl")
    pretty = json.dumps({"@context": {"@language": "en"}, "name": "set"}, indent=1)
    laid(tmp_path, metadata__json=pretty, config__json="{}", index__json=f"[{ROW}]", odd__json=pretty, state__json="{}")
    laid(tmp_path, lines__json=ROW + ROW, array__json=f"[{ROW}]", train2__json=pretty)
    (tmp_path / "train2.json").unlink()
    found = choose(str(tmp_path), "problems")
    assert [file.name for file in found.files] == ["a.jsonl", "array.json", "index.json", "lines.json"]
    assert left(found) == {
        "config.json": "describes the set",
        "metadata.json": "describes the set",
        "odd.json": "one object, no array of rows",
        "state.json": "describes the set",
    }


def test_a_set_of_descriptions_alone_is_refused(tmp_path: Path) -> None:
    laid(tmp_path, dataset_infos__json="{}", other__json='{"a": 1}')
    assert "holds dataset_infos.json, other.json, but no rows" in refused(tmp_path)


def test_a_file_that_is_named_is_read_whatever_its_name(tmp_path: Path) -> None:
    laid(tmp_path, "test.jsonl", "config.json")
    assert read(tmp_path / "test.jsonl") == ["test.jsonl"]
    assert read(tmp_path / "config.json") == ["config.json"]
    assert "is one file, which has no splits; leave split out" in refused(tmp_path / "test.jsonl", split="test")


def test_a_glob_may_name_the_split(tmp_path: Path) -> None:
    laid(tmp_path, "main/train-0.jsonl", "main/test-0.jsonl", "socratic/train-0.jsonl", "socratic/test-0.jsonl")
    assert read(tmp_path / "main" / "*") == ["train-0.jsonl"]
    assert read(tmp_path / "main" / "*", "heldout") == ["test-0.jsonl"]
    assert read(tmp_path / "main" / "test*") == ["test-0.jsonl"]  # it says so itself
    assert read(tmp_path / "main" / "train*", "heldout") == ["train-0.jsonl"]
    assert read(tmp_path / "*" / "train*") == ["train-0.jsonl", "train-0.jsonl"]  # and this, of both


def test_several_configurations_are_never_read_together(tmp_path: Path) -> None:
    laid(tmp_path, "main/train-0.jsonl", "main/test-0.jsonl", "socratic/train-0.jsonl", "socratic/test-0.jsonl")
    said = refused(tmp_path)
    assert f'holds 2 configurations, main, socratic; name the files of one, as in path = "{tmp_path}/main/*"' in said
    assert f'as in path = "{tmp_path}/main/*"' in refused(tmp_path / "**" / "*.jsonl")


CARD = """---
license: mit
configs:
- config_name: main
  data_files:
  - {split: train, path: main/part-a*}
  - {split: test, path: main/part-b.jsonl}
- config_name: socratic
  data_files:
  - {split: train, path: socratic/part-a*}
---
# A set
"""


def test_the_readme_names_configurations_and_splits(tmp_path: Path) -> None:
    names = ("main/part-a1.jsonl", "main/part-b.jsonl", "socratic/part-a1.jsonl", "socratic/part-b.jsonl")
    laid(tmp_path, *names, README__md=CARD)
    said = refused(tmp_path)
    assert f'holds 2 configurations, main, socratic; name the files of one, as in path = "{tmp_path}/main/*"' in said
    (tmp_path / "README.md").write_text(CARD.replace("config_name: main", "config_name: main\n  default: true"))
    found = choose(str(tmp_path), "problems")
    assert found.read == ("main/part-a1.jsonl",)
    assert left(found) == {
        "main/part-b.jsonl": "split test",
        "socratic/part-a1.jsonl": "not of the configuration main",
        "socratic/part-b.jsonl": "not of the configuration main",
    }
    laid(tmp_path, README__md="---\nconfigs:\n- config_name: x\n  data_files: nothing/*\n---\n")
    assert "the configuration x of its README matches no file" in refused(tmp_path)


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ("  data_files: a.jsonl", {"a.jsonl": "train"}),
        ('  data_files: ["a.jsonl", "b/*.jsonl"]', {"a.jsonl": "train", "b/c.jsonl": "train"}),
        ("  data_files: {train: a.jsonl, test: ['b/**']}", {"a.jsonl": "train", "b/c.jsonl": "test"}),
        ("  data_dir: b", {"b/c.jsonl": None}),
        ("  drop_labels: true", {"a.jsonl": None, "b/c.jsonl": None}),
        ("  data_files: [", {"a.jsonl": None, "b/c.jsonl": None}),  # YAML that cannot be read
    ],
    ids=str,
)
def test_every_form_of_data_files(tmp_path: Path, files: str, expected: dict[str, str | None]) -> None:
    laid(tmp_path, "a.jsonl", "b/c.jsonl", README__md=f"---\nconfigs:\n- config_name: default\n{files}\n---\n")
    broken = files.endswith("[")
    assert ("README.md" in left(choose(str(tmp_path), "problems"))) is broken, "what is passed over is said"
    for split in {*expected.values()}:
        found = choose(str(tmp_path), "problems" if split != "test" else "heldout")
        assert list(found.read) == [name for name, one in expected.items() if one == split]


ROLES = ("demonstrations", "problems", "validation", "heldout", "benchmark")
TABLE: dict[tuple[str, ...], tuple[str, ...]] = {
    # files: what each role reads; ! where it must be said
    ("train.csv", "test.csv"): ("train", "train", "!", "test", "test"),
    ("train.csv", "dev.csv", "test.csv"): ("train", "train", "dev", "test", "test"),
    ("train.csv", "dev.csv"): ("train", "train", "dev", "!", "!"),
    ("test.csv",): ("!", "!", "test", "test", "test"),
    ("dev.csv",): ("!", "!", "dev", "dev", "dev"),
    ("train.csv",): ("train", "train", "train", "train", "train"),
    ("rows.csv", "test.csv"): ("rows", "rows", "!", "test", "test"),
    ("rows.csv", "train.csv"): ("train", "train", "!", "!", "!"),
    ("data/train_sft-00000-of-00001.csv", "data/test_sft-00000-of-00001.csv"): ("train", "train", "!", "test", "test"),
    ("data/train_a-00000-of-00001.csv", "data/train_b-00000-of-00001.csv"): ("!", "!", "!", "!", "!"),
    ("data/en-00000-of-00001.csv", "data/de-00000-of-00001.csv"): ("!", "!", "!", "!", "!"),
    ("data/cot-00000-of-00001.csv",): ("cot", "cot", "cot", "cot", "cot"),
}


@pytest.mark.parametrize("names", TABLE, ids=str)
def test_what_each_role_reads(tmp_path: Path, names: tuple[str, ...]) -> None:
    laid(tmp_path, *names)
    for role, expected in zip(ROLES, TABLE[names], strict=True):
        if expected == "!":
            said = refused(tmp_path, role)
            assert "say which one is meant, as in split = " in said
            assert 'or split = "all" for every file' in said
        else:
            assert [name for name in names if expected in name][:1] == list(choose(str(tmp_path), role).read)


def test_a_split_that_is_not_there_is_told(tmp_path: Path) -> None:
    laid(tmp_path, "train.csv", "dev.csv")
    assert 'split = "test" is not one of its splits; they are validation, train' in refused(tmp_path, split="test")
    assert read(tmp_path, split="val") == read(tmp_path, split="validation") == ["dev.csv"]
    laid(tmp_path / "plain", "a.csv")
    assert "its files name no split, so leave split out" in refused(tmp_path / "plain", split="train")


def saved(name: str) -> Dataset:
    return Dataset.from_list([{"prompt": f"{name} {n}", "answer": str(n)} for n in range(3)])


def test_save_to_disk_is_read(tmp_path: Path) -> None:
    DatasetDict({"train": saved("a"), "test": saved("b"), "odd": saved("c")}).save_to_disk(tmp_path / "dict")
    found = choose(str(tmp_path / "dict"), "problems")
    assert found.read == ("train/data-00000-of-00001.arrow",)
    assert [row for _, row in read_rows(found.files[0])] == saved("a").to_list()
    assert choose(str(tmp_path / "dict"), "problems", "odd").read == ("odd/data-00000-of-00001.arrow",)
    assert set(left(found).values()) == {"split test", "split odd", "describes the set"}
    saved("d").save_to_disk(tmp_path / "one")
    (tmp_path / "one" / "cache-0123.arrow").write_bytes((tmp_path / "one" / "data-00000-of-00001.arrow").read_bytes())
    alone = choose(str(tmp_path / "one"), "demonstrations")
    assert alone.read == ("data-00000-of-00001.arrow",)
    assert left(alone)["cache-0123.arrow"] == "not listed in state.json"


def test_a_saved_split_keeps_its_name(tmp_path: Path) -> None:
    Dataset.from_list([{"prompt": "p", "answer": "1"}], split="test").save_to_disk(tmp_path / "one")
    assert "has only the split test, which other models are measured by" in refused(tmp_path / "one")
    assert read(tmp_path / "one", "heldout") == ["data-00000-of-00001.arrow"]


def test_arrow_in_both_of_its_formats(tmp_path: Path) -> None:
    table = pa.table({"prompt": ["a", "b"], "n": [1, 2]})
    for name, writer in (("stream", pa.ipc.new_stream), ("file", pa.ipc.new_file)):
        with writer(tmp_path / f"{name}.arrow", table.schema) as file:
            file.write_table(table, max_chunksize=1)
        assert [row for _, row in read_rows(tmp_path / f"{name}.arrow")] == table.to_pylist()
    (tmp_path / "torn.arrow").write_bytes((tmp_path / "stream.arrow").read_bytes()[:300])
    (tmp_path / "none.arrow").write_bytes(b"nothing of the kind, and long enough")
    for name in ("torn", "none"):
        with pytest.raises(DataError, match=f"{name}.arrow: cannot be read as Arrow"):
            list(read_rows(tmp_path / f"{name}.arrow"))


def test_a_pointer_of_git_lfs_is_no_file(tmp_path: Path) -> None:
    for name in ("a.parquet", "a.jsonl", "a.jsonl.gz"):
        (tmp_path / name).write_text("version https://git-lfs.github.com/spec/v1\noid sha256:12\nsize 9\n")
        with pytest.raises(DataError, match="is a pointer of Git LFS, not the file itself; run git lfs pull"):
            list(read_rows(tmp_path / name))


def test_families() -> None:
    assert [family(name) for name in ("train", "dev", "eval", "en", "main/test*", "t[re]st")] == [
        *("train", "validation", "test", None, "test", None)
    ]
