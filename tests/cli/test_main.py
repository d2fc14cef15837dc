"""The command line: what it prints where, and how it ends. Stages and models are doubles here."""

import errno
import importlib
import json
import os
import re
import subprocess
import sys
import types
from dataclasses import dataclass
from pathlib import Path

import pytest

from openklear import __version__, progress
from openklear.cli import exits, main
from openklear.errors import NonFinite, OpenKlearError, RunLocked, StageChanged

RECIPE = """
microbatch_tokens = 512
[model]
type = "tiny"
[[data.source]]
name = "careful"
path = "careful.jsonl"
role = "demonstrations"
[[data.source]]
name = "heldout"
path = "heldout.jsonl"
role = "heldout"
[[data.source]]
name = "easy"
path = "easy.jsonl"
role = "problems"
[sft]
max_tokens = 128
[rl]
max_prompt_tokens = 64
max_completion_tokens = 64
[[rl.phase]]
name = "math"
domains = ["math"]
"""
COMMANDS = [
    "run",
    "prepare",
    "sft",
    "rl",
    "evaluate",
    "report",
    "plan",
    "simulate",
    "generate",
    "recipe show",
    "recipe keys",
]
STAGE_COMMANDS = COMMANDS[:6]
SRC = str(Path(main.__file__).parents[2])


@dataclass
class PlannedStage:
    name: str
    state: str
    why: tuple[str, ...] = ()


@dataclass
class Generated:
    text: str
    stop_reason: str
    tokens: int


@pytest.fixture
def recipe_file(tmp_path):
    path = tmp_path / "recipe.toml"
    path.write_text(RECIPE)
    return str(path)


@pytest.fixture
def pipeline(monkeypatch):
    """A pipeline that remembers how it was called and does what the test wants."""
    importlib.import_module("openklear.run.preview")  # while the real one is there, which it takes names from
    double = types.SimpleNamespace(calls=[], then=lambda: {"accuracy": 0.5})

    def run_pipeline(recipe, root, *, through=None, fork=None):
        double.calls.append((recipe, root, through, fork))
        return double.then()

    module = types.ModuleType("openklear.run.pipeline")
    module.run_pipeline = run_pipeline
    module.plan = lambda recipe, root, *, through=None: [
        PlannedStage("prepare", "reuse"),
        PlannedStage("sft", "redo", ("it was 1",)),
    ][: 2 if through is None else 1]
    monkeypatch.setitem(sys.modules, "openklear.run.pipeline", module)
    return double


@pytest.fixture
def model(monkeypatch):
    """A model that answers every prompt with count completions."""
    double = types.SimpleNamespace(calls=[])

    def generate(model_dir, prompts, *, count, temperature, top_p, max_tokens, seed):
        print("a library that chatters")
        double.calls.append((model_dir, list(prompts), count, temperature, top_p, max_tokens, seed))
        return [[Generated(f"<think>about {p}</think>{i}\x1b[2J", "stop", 7) for i in range(count)] for p in prompts]

    module = types.ModuleType("openklear.rollout.generate")
    module.generate = generate
    monkeypatch.setitem(sys.modules, "openklear.rollout.generate", module)
    return double


@pytest.fixture(autouse=True)
def loud_again(tmp_path, monkeypatch):
    monkeypatch.setattr(exits.tempfile, "gettempdir", lambda: str(tmp_path))
    monkeypatch.delenv("OPENKLEAR_DEBUG", raising=False)
    yield
    progress.quiet(False)
    exits.write_crashes_to(None)


def in_process(*words, env=(), stdin=""):
    return subprocess.run(
        [sys.executable, *words],
        capture_output=True,
        text=True,
        input=stdin,
        env={**os.environ, "PYTHONPATH": SRC, "COLUMNS": "120", **dict(env)},
        timeout=60,
        check=False,
    )


def test_help_is_light():
    code = (
        "import sys; from openklear.cli.main import main; code = main(['--help']); "
        "heavy = {'torch', 'transformers', 'daft', 'pydantic', 'numpy', 'pyarrow'} & set(sys.modules); "
        "print(heavy, file=sys.stderr); sys.exit(code or bool(heavy))"
    )
    ended = in_process("-c", code)
    assert ended.returncode == 0, ended.stderr
    for command in ("run", "generate", "recipe", "report"):
        assert command in ended.stdout


def test_help_lists_the_run_first_and_then_the_tools(capsys):
    assert main.main(["--help"]) == 0
    listed = re.findall(r"^│ ([a-z]+) ", capsys.readouterr().out, re.MULTILINE)
    assert listed[:8] == [*(name for name in STAGE_COMMANDS if name != "evaluate"), "plan", "simulate", "ablate"]
    assert set(listed[8:]) == {
        "generate",
        "evaluate",
        "leaderboard",
        "view",
        "distill",
        "compare",
        "export",
        "push",
        "conformance",
        "recipe",
        "objectives",
        "grade",
        "cluster",
        "doctor",
    }


@pytest.mark.parametrize("command", COMMANDS)
def test_every_help_teaches(command, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    assert main.main([*command.split(), "--help"]) == 0
    out = capsys.readouterr().out
    assert f"Example: openklear {command}" in out
    assert "Exit codes: 0 done, 1 the run failed, 2 bad input or usage, 130 interrupted." in out


@pytest.mark.parametrize("command", STAGE_COMMANDS)
def test_examples_are_true(command, pipeline, tmp_path, recipe_file):
    """An example is run as it stands, but for its paths."""
    named = f"{command} recipe" if command == "evaluate" else command
    words = main.STAGE_COMMANDS[named].partition("Example: openklear ")[2].split()
    assert words[0] == command
    words[1] = recipe_file
    words[words.index("--output") + 1] = str(tmp_path / "run")
    assert main.main(words) == 0
    assert len(pipeline.calls) == 1


def test_version(capsys):
    assert main.main(["--version"]) == 0
    assert capsys.readouterr().out == f"openklear {__version__}\n"


@pytest.mark.parametrize("command", STAGE_COMMANDS)
def test_stage_commands(command, pipeline, recipe_file, tmp_path, capsys):
    words = [
        command,
        recipe_file,
        "--output",
        str(tmp_path / "run"),
        "--set",
        "sft.epochs=3",
        "--set",
        "seed=9",
        "--fork",
        "old",
    ]
    assert main.main(words) == 0
    ((recipe, root, through, fork),) = pipeline.calls
    assert (recipe.sft.epochs, recipe.seed) == (3, 9)
    assert (root, fork) == (tmp_path / "run", Path("old"))
    assert through == (None if command == "run" else command)
    captured = capsys.readouterr()
    assert captured.out == ""  # there is no report yet
    assert captured.err.startswith("sft: 3 epochs")


def test_the_files_of_a_run_are_named(pipeline, recipe_file, tmp_path, capsys):
    (tmp_path / "report.html").write_text("")
    assert main.main(["run", recipe_file, "-o", str(tmp_path)]) == 0
    assert capsys.readouterr().out == f"{tmp_path / 'report.html'}\n"


def test_scores_are_printed(pipeline, recipe_file, tmp_path, capsys):
    score = {
        "stage": "base",
        "benchmark": "aime24",
        "domain": "math",
        "level": None,
        "metric": "avg",
        "k": 8,
        "value": 0.5,
        "low": 0.25,
        "high": 0.75,
        "problems": 24,
        "of": 30,
    }
    others = [
        {**score, "stage": "rl-math", "low": None, "high": None},
        {**score, "benchmark": "mixed", "k": 2},
        {**score, "benchmark": "mixed", "domain": "code", "k": 2},
        {**score, "level": "1"},
        {**score, "metric": "pass"},
        {**score, "benchmark": "hard", "value": None, "problems": 0},
    ]
    pipeline.then = lambda: {"scores": [score, *others]}
    assert main.main(["run", recipe_file, "-o", str(tmp_path / "run")]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "base     aime24        avg@8 0.500 (0.250 to 0.750), pass@8 0.500, 24 of 30 problems",
        "rl-math  aime24        avg@8 0.500, 24 of 30 problems",
        "base     mixed (math)  avg@2 0.500 (0.250 to 0.750), 24 of 30 problems",
        "base     mixed (code)  avg@2 0.500 (0.250 to 0.750), 24 of 30 problems",
        "base     hard          avg@8 none, 0 of 30 problems",
    ]


def test_json_is_one_document(pipeline, recipe_file, tmp_path, capsys):
    def chatter():
        print("a library that chatters")
        progress.say("working")
        return {"accuracy": 0.5, "where": tmp_path}

    pipeline.then = chatter
    assert main.main(["run", recipe_file, "-o", str(tmp_path / "run"), "--json"]) == 0
    captured = capsys.readouterr()
    assert json.loads(captured.out) == {"accuracy": 0.5, "where": str(tmp_path)}
    assert captured.err == "a library that chatters\n"


def test_dry_run(pipeline, recipe_file, tmp_path, capsys):
    row = '{"prompt": "1+1?", "answer": "2", "response": "<think>a</think>2", "domain": "math"}\n'
    for name in ("careful", "heldout", "easy"):
        (Path(recipe_file).parent / f"{name}.jsonl").write_text(row)
    words = ["run", recipe_file, "-o", str(tmp_path / "run"), "--dry-run"]
    assert main.main(words) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("sft: 4 epochs")
    assert lines[-3:] == ["prepare  reuse", "sft      redo", "    it was 1"]
    assert main.main([*words, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["stages"] == [
        {"name": "prepare", "state": "reuse", "why": []},
        {"name": "sft", "state": "redo", "why": ["it was 1"]},
    ]
    assert document["arithmetic"][0].startswith("sft:")
    assert main.main(["prepare", *words[1:], "--json"]) == 0
    assert [stage["name"] for stage in json.loads(capsys.readouterr().out)["stages"]] == ["prepare"]
    assert pipeline.calls == []
    assert not (tmp_path / "run").exists()


def test_a_bad_recipe(pipeline, recipe_file, tmp_path, capsys):
    assert main.main(["run", recipe_file, "-o", str(tmp_path), "--set", "sft.epoch=3"]) == 2
    captured = capsys.readouterr()
    assert "did you mean epochs?" in captured.err
    assert captured.out == ""
    assert "Traceback" not in captured.err
    assert pipeline.calls == []
    assert main.main(["recipe", "show", recipe_file, "--json", "--set", "sft.epoch=3"]) == 2
    document = json.loads(capsys.readouterr().out)
    assert "did you mean epochs?" in document["error"]
    assert document["exit_code"] == 2


@pytest.mark.parametrize(
    ("words", "fragment"),
    [
        (["run"], "Missing argument 'RECIPE'. (see openklear run --help)"),
        (["run", "r.toml"], "Missing option '--output'"),
        (["run", "r.toml", "-o", "x", "--bogus"], "No such option: --bogus"),
        (["bogus"], "No such command 'bogus'."),
        (["generate", "m", "-p", "x", "--temperature", "-0.1"], "must be 0 or above"),
        (["generate", "m", "-p", "x", "--temperature", "nan"], "must be 0 or above"),
        (["generate", "m", "-p", "x", "--temperature", "inf"], "must be 0 or above"),
        (["generate", "m", "-p", "x", "--temperature", "0", "--count", "2"], "all completions would be alike"),
        (["generate", "m", "-p", "x", "--top-p", "0"], "must be above 0"),
        (["generate", "m", "-p", "x", "--count", "0"], "--count"),
    ],
)
def test_usage(words, fragment, capsys):
    assert main.main(words) == 2
    captured = capsys.readouterr()
    assert fragment in captured.err
    assert captured.out == ""
    assert main.main([*words, "--json"]) == 2
    assert fragment in json.loads(capsys.readouterr().out)["error"]


def raiser(error):
    def then():
        raise error

    return then


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (OpenKlearError("all went wrong; do this"), 1, "all went wrong; do this"),
        (NonFinite("the loss is not a number"), 1, "the loss is not a number"),
        (RunLocked("process 7 works here"), 1, "process 7 works here"),
        (StageChanged("sft changed; fork"), 2, "sft changed; fork"),
        (KeyboardInterrupt(), 130, "interrupted; give the same command again to continue"),
        (OSError(errno.ENOSPC, "No space left on device", "/d/x"), 1, "the disk is full: /d/x; make room and"),
        (PermissionError(errno.EACCES, "Permission denied", "/d/x"), 1, "permission denied: /d/x; fix that and"),
    ],
)
def test_failures(error, code, message, pipeline, recipe_file, tmp_path, capsys):
    pipeline.then = raiser(error)
    words = ["run", recipe_file, "-o", str(tmp_path / "run")]
    assert main.main(words) == code
    captured = capsys.readouterr()
    assert captured.err.splitlines()[-1].startswith(message)
    assert "Traceback" not in captured.err
    assert not list(tmp_path.rglob("crash-*"))
    assert main.main([*words, "--json"]) == code
    document = json.loads(capsys.readouterr().out)
    assert document["error"].startswith(message)
    assert document["exit_code"] == code


@pytest.mark.parametrize("has_run", [True, False])
def test_a_bug_of_ours(has_run, pipeline, recipe_file, tmp_path, capsys):
    root = tmp_path / "run"
    if has_run:
        root.mkdir()
    pipeline.then = raiser(ValueError("shapes (2,) and (3,)\nmore"))
    assert main.main(["run", recipe_file, "-o", str(root)]) == 1
    last = capsys.readouterr().err.splitlines()[-1]
    (crash,) = (root if has_run else tmp_path).glob("crash-*.txt")
    assert "this is a bug in openklear (ValueError: shapes (2,) and (3,))" in last
    assert "please report it" in last
    assert last.endswith(str(crash))
    assert "Traceback" in crash.read_text()
    assert __version__ in crash.read_text()


def test_a_bug_of_ours_can_be_debugged(pipeline, recipe_file, tmp_path, monkeypatch):
    monkeypatch.setenv("OPENKLEAR_DEBUG", "1")
    pipeline.then = raiser(ValueError("shapes"))
    with pytest.raises(ValueError, match="shapes"):
        main.main(["run", recipe_file, "-o", str(tmp_path)])


def test_a_reader_that_leaves_is_no_failure():
    command = f"{sys.executable} -m openklear recipe keys | head -1; echo ${{PIPESTATUS[0]}}"
    env = {**os.environ, "PYTHONPATH": SRC}
    ended = subprocess.run(["bash", "-c", command], capture_output=True, text=True, env=env, timeout=60, check=True)
    assert ended.stdout.startswith("seed")
    assert ended.stderr == ""
    assert exits.tell(raiser(BrokenPipeError()), as_json=False) == 1


def test_show(recipe_file, tmp_path, capsys):
    assert main.main(["recipe", "show", recipe_file, "--set", "seed=7"]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith("seed = 7 ")
    (tmp_path / "again.toml").write_text(shown)
    assert main.main(["recipe", "show", str(tmp_path / "again.toml")]) == 0
    assert capsys.readouterr().out == shown
    assert main.main(["recipe", "show", recipe_file, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["sft"]["epochs"], document["rl"]["phase"][0]["objective"]["type"]) == (4, "gppo")


def test_keys(capsys):
    assert main.main(["recipe", "keys"]) == 0
    out = capsys.readouterr().out
    assert "rl.phase.NAME.group_size" in out
    assert "whole number >= 2; 8. Rollouts per problem" in out
    assert main.main(["recipe", "keys", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert {"path", "only", "type", "default", "help"} == set(found[0])


def test_generate(model, capsys):
    words = [
        "generate",
        "m",
        "-p",
        "two",
        "--prompt",
        "three",
        "--count",
        "2",
        "--temperature",
        "0.5",
        "--top-p",
        "0.9",
    ]
    words += ["--max-tokens", "11", "--seed", "3"]
    assert main.main([*words, "--json"]) == 0
    assert model.calls == [(Path("m"), ["two", "three"], 2, 0.5, 0.9, 11, 3)]
    captured = capsys.readouterr()
    document = json.loads(captured.out)
    assert [one["prompt"] for one in document] == ["two", "three"]
    last = {"text": "<think>about three</think>1\x1b[2J", "stop_reason": "stop", "tokens": 7}
    assert document[1]["completions"][1] == last
    assert captured.err == "a library that chatters\n"
    assert main.main(words) == 0
    captured = capsys.readouterr()
    assert "\x1b[2J" not in captured.out  # a model cannot clear the screen
    assert "<think>about two</think>0\\x1b[2J" in captured.out
    assert captured.out.count("---") == 4


def test_generate_reads_stdin(model, capsys, monkeypatch):
    import io

    monkeypatch.setattr(sys, "stdin", io.StringIO("one\n\ntwo\n"))
    assert main.main(["generate", "m"]) == 0
    assert model.calls[0][1] == ["one", "two"]
    monkeypatch.setattr(sys, "stdin", io.StringIO("\n"))
    assert main.main(["generate", "m"]) == 2
    assert "there is no prompt" in capsys.readouterr().err


def test_generate_asks_on_a_terminal(model, capsys, monkeypatch):
    import io

    typed = io.StringIO("one\n\ntwo\n")
    typed.isatty = lambda: True
    monkeypatch.setattr(sys, "stdin", typed)
    assert main.main(["generate", "m"]) == 0
    assert [call[1] for call in model.calls] == [["one"], ["two"]]
    assert main.main(["generate", "m", "--json"]) == 2


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("<think>a</think>b", ("<think>a</think>", "b")),
        ("a</think>b", ("a</think>", "b")),  # the template may have opened it
        ("<think>a", ("<think>a", "")),
        ("b", ("", "b")),
        ("", ("", "")),
    ],
)
def test_a_thought_is_dim_and_the_answer_is_not(text, parts):
    thought, answer = parts
    assert main.dimmed(text) == (f"\x1b[2m{thought}\x1b[0m" if thought else "") + answer
