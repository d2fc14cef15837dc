"""`openklear grade`: what is printed, the exit codes, pipes, Ctrl-C."""

import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from openklear.cli.main import main

SOURCE = Path(__file__).parents[2] / "src"
ROWS = [
    {"id": 1, "reference": "1/2", "completion": r"<think>x</think>\boxed{0.5}", "more": [1]},
    {"id": 2, "reference": "1/2", "completion": r"\boxed{2}"},
    {"id": 3, "reference": "1/2", "completion": "no idea at all, it is too hard"},
]
PROGRAMS = [
    {"id": 1, "completion": "```python\nprint(int(input()) * 2)\n```", "tests": [{"stdin": "4", "stdout": "8"}]},
    {"id": 2, "program": "def f(x): return [x]", "tests": [{"call": "f", "args": [1], "expected": [1]}]},
    {"id": 3, "program": "def f(x): return x", "tests": ["assert f(1) == 2"]},
    {"id": 4, "program": "while True: pass", "tests": [{"stdin": "", "stdout": ""}]},
]


def put(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def run(capsys, *words):
    code = main(["grade", *map(str, words)])
    out, err = capsys.readouterr()
    assert "Traceback" not in out + err
    return code, out, err


def test_answers(capsys, tmp_path):
    source = put(tmp_path / "a.jsonl", ROWS)
    code, out, err = run(capsys, "math", source, "--workers", 2)
    assert code == 0
    lines = out.splitlines()
    assert lines[0] == "3 rows: 1 correct, 2 incorrect, 0 unscorable; 0.3333 correct (n = 3)"
    assert "  1 incorrect: wrong answer" in lines
    assert lines[-1] == str(tmp_path / "a.graded.jsonl")
    assert "3 rows graded in" in lines[-2]
    assert "grading: 3/3 rows" in err
    rows = [json.loads(line) for line in (tmp_path / "a.graded.jsonl").read_text().splitlines()]
    assert [row["verdict"] for row in rows] == ["correct", "incorrect", "incorrect"]
    assert rows[0]["more"] == [1]


def test_programs(capsys, tmp_path):
    source, output = put(tmp_path / "a.jsonl", PROGRAMS), tmp_path / "b.jsonl"
    code, out, err = run(capsys, "code", source, "-o", output, "--seconds", 0.5, "--memory-mb", 128)
    assert code == 0
    assert "programs run under" in err
    assert "2 correct, 2 incorrect, 0 unscorable" in out
    rows = [json.loads(line) for line in output.read_text().splitlines()]
    assert [row["verdict"] for row in rows] == ["correct", "correct", "incorrect", "incorrect"]
    assert rows[3]["reason"] == "test 1 of 1: timeout"


def test_livecodebench_s_own_judge(capsys, tmp_path):
    tests = [{"stdin": "4", "stdout": "8"}]
    programs = [
        "print(int(input()) * 2)",
        "import sys\nfor line in sys.stdin: print(int(line) * 2)",
        "print(int(input()) * 2.0)",
    ]
    rows = [{"id": number, "program": program, "tests": tests} for number, program in enumerate(programs)]
    source, output = put(tmp_path / "a.jsonl", rows), tmp_path / "b.jsonl"
    found = {}
    for judge in ("openklear", "official"):
        code, _, err = run(capsys, "code", source, "-o", output, "--judge", judge, "--restart")
        assert code == 0
        assert ("as by LiveCodeBench" in err) == (judge == "official")
        found[judge] = [json.loads(line)["verdict"] for line in output.read_text().splitlines()]
    assert found["openklear"] == ["correct", "correct", "incorrect"]
    assert found["official"] == ["correct", "incorrect", "correct"]
    code, _, err = run(capsys, "code", source, "-o", output)
    assert code == 2
    assert "is not what this command would make" in err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--judge", "lcb"), "the judge 'lcb' is unknown; there are openklear and official"),
        (("--judge", "official", "--checker", "m:f"), "a --checker would never be asked"),
        (("--judge", "official", "--sandbox-url", "http://127.0.0.1:9"), "leave one of the two out"),
    ],
)
def test_judges_that_cannot_be(capsys, tmp_path, words, said):
    code, _, err = run(capsys, "code", put(tmp_path / "a.jsonl", PROGRAMS), *words)
    assert code == 2
    assert said in " ".join(err.split())


def test_json_is_one_document(capsys, tmp_path):
    source = put(tmp_path / "a.jsonl", [*ROWS, {"id": 4}])
    code, out, err = run(capsys, "math", source, "--json", "--skip-bad")
    assert (code, err) == (0, "")
    summary = json.loads(out)
    assert (summary["rows"], summary["correct"], summary["incorrect"], summary["unscorable"]) == (4, 1, 2, 1)
    code, out, err = run(capsys, "math", tmp_path / "none.jsonl", "--json")
    assert code == 2
    assert "no such file" in json.loads(out)["error"]


def test_a_program_cannot_command_the_terminal(capsys, tmp_path):
    program = "import sys\nsys.stderr.write('\\x1b[2Jgone')\nsys.exit(1)"
    source = put(tmp_path / "a.jsonl", [{"program": program, "tests": [{"stdin": "", "stdout": ""}]}])
    _, out, err = run(capsys, "code", source)
    assert "\x1b" not in out + err
    assert "1 incorrect: \\x1b[2Jgone" in out


def test_unscorable_rows_are_said_aloud(capsys, tmp_path):
    source = put(tmp_path / "a.jsonl", [{"id": 4}])
    code, out, _ = run(capsys, "math", source, "--skip-bad")
    assert code == 0
    assert "none scorable (n = 0)" in out
    assert "1 rows are unscorable: they are not wrong answers" in out


def test_a_pipe(capsysbinary, tmp_path, monkeypatch):
    lines = "".join(json.dumps(row) + "\n" for row in ROWS).encode()
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(lines)))
    code = main(["grade", "math", "-"])
    out, err = capsysbinary.readouterr()
    assert code == 0
    assert [json.loads(line)["verdict"] for line in out.splitlines()] == ["correct", "incorrect", "incorrect"]
    assert b"3 rows: 1 correct" in err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("math", "a.jsonl", "--seconds", "0"), "must be above 0"),
        (("math", "a.csv"), "known endings"),
        (("math", "a.jsonl", "-o", "-", "--json"), "--json prints the summary to stdout"),
        (("code", "a.jsonl", "--isolation", "steel"), "'steel' is unknown; weakest first: rlimits"),
        (("code", "a.jsonl"), "3 of 3 rows of a.jsonl cannot be graded"),
        (("code", "a.jsonl", "--sandbox-url", "ftp://x"), "no address of a SandboxFusion server"),
        (("code", "a.jsonl", "--checker", "nowhere_to_be:found"), "nowhere_to_be cannot be imported"),
        (("serve", "--port", "0", "--checker", "operator:nix"), "operator has no nix"),
        (("serve", "--port", "70000"), "65535"),
        (("serve", "--host", "256.0.0.1", "--port", "0"), "cannot listen at 256.0.0.1"),
    ],
)
def test_bad_input_is_explained(capsys, tmp_path, monkeypatch, words, said):
    monkeypatch.chdir(tmp_path)
    put(Path("a.jsonl"), ROWS if words[-2:] != ("--sandbox-url", "ftp://x") else PROGRAMS)
    Path("a.csv").touch()
    code, out, err = run(capsys, *words)
    assert code == 2
    assert said in err + out


def test_interrupted_the_same_command_goes_on(tmp_path):
    slow = "import time\ntime.sleep(0.02)\nprint(1)"
    source = put(
        tmp_path / "a.jsonl",
        [{"id": n, "program": f"{slow} #{n}", "tests": [{"stdin": "", "stdout": "1"}]} for n in range(150)],
    )
    command = [sys.executable, "-m", "openklear", "grade", "code", str(source), "--workers", "2"]
    environment = {**os.environ, "PYTHONPATH": str(SOURCE)}
    journal = tmp_path / ".partial-a.graded.jsonl" / "verdicts.jsonl"
    process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, start_new_session=True)
    while process.poll() is None and not (journal.exists() and journal.stat().st_size):
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 130, err
    assert b"interrupted; give the same command again to continue" in err
    assert b"Traceback" not in err
    done = subprocess.run(command, env=environment, capture_output=True, check=True)
    assert re.search(rb"(64|128) of 150 rows have their verdicts already", done.stderr)
    assert b"150 rows: 150 correct" in done.stdout
