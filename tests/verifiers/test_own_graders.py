"""`--grader DOMAIN=NAME`: a function of the user's own, end to end, in `openklear grade` and `openklear distill`."""

import importlib
import json
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from tests.distill.rough import put_problems, rough_server

from openklear import progress
from openklear.cli.main import main
from openklear.verifiers.custom import function

ROWS = [
    {"id": 1, "reference": "3", "completion": "It is 3m"},
    {"id": 2, "reference": "3", "completion": r"\boxed{3}"},
    {"id": 3, "reference": "4", "completion": "It is 4m"},
]


@pytest.fixture
def own(tmp_path, monkeypatch):
    """The name of a module of graders, and the file of what they were asked."""
    name = f"own_{tmp_path.name}"
    folder, asked = tmp_path / "own", tmp_path / "asked"
    folder.mkdir()
    (folder / f"{name}.py").write_text(Path(__file__).with_name("own_graders.py").read_text())
    monkeypatch.syspath_prepend(str(folder))
    importlib.invalidate_caches()
    monkeypatch.setenv("ASKED", str(asked))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    yield name, asked
    sys.modules.pop(name, None)
    function.cache_clear()
    progress.quiet(False)


def run(capsys, *words):
    code = main([str(word) for word in words])
    out, err = capsys.readouterr()
    assert "Traceback" not in out + err
    return code, out, err


def put(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def graded(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_grade_asks_the_function_instead_of_ours(own, tmp_path, capsys):
    name, asked = own
    source, output = put(tmp_path / "a.jsonl", ROWS), tmp_path / "b.jsonl"
    code, out, err = run(capsys, "grade", "math", source, "-o", output, "--grader", f"math={name}:in_metres")
    assert code == 0, err
    assert f"math is graded by {name}:in_metres, in worker processes without walls" in err
    assert "3 rows: 2 correct, 1 incorrect, 0 unscorable" in out
    assert [(row["verdict"], row["reason"]) for row in graded(output)] == [
        ("correct", ""),
        ("incorrect", "no metres"),
        ("correct", ""),
    ]
    # once about the reference of each row, before anything is graded, and once about the row
    assert sorted(asked.read_text().split()) == ["1", "1", "2", "2", "3", "3"]
    # Ours says otherwise of the same rows, and the command knows that it is another grader.
    code, _, err = run(capsys, "grade", "math", source, "-o", output)
    assert code == 2
    assert "is not what this command would make" in err
    run(capsys, "grade", "math", source, "-o", output, "--restart")
    assert [row["verdict"] for row in graded(output)] == ["correct", "correct", "correct"]


def test_another_version_of_the_function_is_another_grader(own, tmp_path, capsys):
    name, _ = own
    source, output = put(tmp_path / "a.jsonl", ROWS), tmp_path / "b.jsonl"
    words = ("grade", "math", source, "-o", output, "--grader", f"math={name}:in_metres")
    assert run(capsys, *words)[0] == 0
    assert "graded from this input with these settings" in run(capsys, *words)[2]
    file = Path(function(f"{name}:in_metres").file)
    file.write_text(file.read_text() + "\n# another version\n")
    code, _, err = run(capsys, *words)
    assert code == 2
    assert "is not what this command would make" in err


def test_programs_too_and_no_box_is_started(own, tmp_path, capsys):
    name, _ = own
    tests = [{"stdin": "", "stdout": "1"}]
    rows = [{"program": "print(1)", "tests": tests}, {"program": "# two\nlines", "tests": tests}]
    source, output = put(tmp_path / "a.jsonl", rows), tmp_path / "b.jsonl"
    code, out, err = run(capsys, "grade", "code", source, "-o", output, "--grader", f"code={name}:many_lines", "--json")
    assert (code, err) == (0, "")
    assert json.loads(out)["isolation"] == ""
    assert [(row["verdict"], row["passed"], row["total"]) for row in graded(output)] == [
        ("incorrect", 1, 2),
        ("correct", 2, 2),
    ]


@pytest.mark.parametrize(
    ("grader", "words"),
    [
        ("raising", "asked twice: it raised KeyError: 'no such unit'"),
        ("nonsense", "asked twice: it raised ValueError: a result of type str; return True, False or a mapping"),
    ],
)
def test_a_function_that_scores_no_reference_grades_nothing(own, tmp_path, capsys, grader, words):
    name, _ = own
    source, output = put(tmp_path / "a.jsonl", ROWS), tmp_path / "b.jsonl"
    code, out, err = run(capsys, "grade", "math", source, "-o", output, "--grader", f"math={name}:{grader}")
    assert (code, out) == (1, "")
    assert "could score none" in err
    assert f"{name}:{grader}, {words}" in err
    assert not output.exists()


def test_what_the_function_cannot_say_is_unscorable(own, tmp_path, capsys):
    """It can of references, which are asked about first; of no row it can."""
    name, _ = own
    source, output = put(tmp_path / "a.jsonl", ROWS), tmp_path / "b.jsonl"
    code, out, _ = run(capsys, "grade", "math", source, "-o", output, "--grader", f"math={name}:picky")
    assert code == 1  # the file is there, and nothing in it is an answer
    assert "0 correct, 0 incorrect, 3 unscorable; none scorable" in out
    words = "asked twice: it raised KeyError: 'no such unit'"
    assert all(row["reason"].startswith(f"{name}:picky, {words}") for row in graded(output))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--grader", "maths=json:loads"), "there is no domain maths; did you mean math? the domains are math, code"),
        (("--grader", "math=http://host"), "a server runs programs, which math has none of"),
        (("--grader", "json:loads"), "write DOMAIN=NAME, such as math=my_module:grade"),
        (("--grader", "math=no_such_module:f"), "no_such_module cannot be imported"),
        (("--grader", "math=json:nothing"), "json has no nothing; name one of its functions"),
        (("--grader", "math=units"), 'no installed package has an entry point "units"'),
        (("--grader", "code=json:loads"), "`openklear grade math` has nothing for it to judge"),
    ],
)
def test_graders_that_cannot_be_are_refused(tmp_path, capsys, words, said):
    source = put(tmp_path / "a.jsonl", ROWS)
    code, out, err = run(capsys, "grade", "math", source, *words)
    assert code == 2
    assert said in out + err
    assert [path.name for path in tmp_path.iterdir()] == ["a.jsonl"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--sandbox-url", "http://h", "--grader", "code=json:loads"), "leave one of them out"),
        (("--isolation", "rlimits", "--grader", "code=json:loads"), "no program runs in a box of this machine"),
        (("--isolation", "rlimits", "--sandbox-url", "http://h"), "no program runs in a box of this machine"),
    ],
)
def test_options_that_say_nothing_beside_a_grader_of_programs(tmp_path, capsys, words, said):
    source = put(tmp_path / "a.jsonl", ROWS)
    code, out, err = run(capsys, "grade", "code", source, *words)
    assert code == 2
    assert said in out + err


def test_distill_asks_the_function_and_keeps_its_verdicts_by_its_version(own, tmp_path, capsys):
    name, asked = own
    source, output = put_problems(tmp_path / "problems.jsonl", 3), tmp_path / "out"
    with rough_server(tmp_path / "log") as endpoint:
        words = ("distill", source, "--output", output, "--endpoint", endpoint, "--model", "adder", "--samples", 2)
        words += ("--workers", 1, "--grader", f"math={name}:in_metres")
        code, _, err = run(capsys, *words)
        assert code == 0, err
        assert f"math is graded by {name}:in_metres, in worker processes without walls" in err
        rows = pq.read_table(output / "responses.parquet").to_pylist()
        assert [(row["outcome"], row["reason"]) for row in rows] == [("incorrect", "no metres")] * 6
        known = len(asked.read_text().split())
        assert 3 + 3 <= known <= 3 + 6  # the references first; equal responses to one problem are one work
        # The same command asks for nothing again; another version of the function is asked for all.
        assert run(capsys, *words)[0] == 0
        assert len(asked.read_text().split()) == known
        file = Path(function(f"{name}:in_metres").file)
        file.write_text(file.read_text() + "\n# another version\n")
        assert run(capsys, *words)[0] == 0
        assert len(asked.read_text().split()) > known
        # A function that cannot say is our failure, not the teacher's.
        code, _, err = run(capsys, *words[:-1], f"math={name}:raising")
    assert code == 1
    assert "could score none" in err
