"""Who grades, as the recipe says: our boxes, a server, a function of the user's own; and which stages depend on it."""

import importlib
import json
import subprocess
import sys
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import ClassVar

import pytest

from openklear import progress
from openklear.errors import VerifierError
from openklear.recipe.load import load_recipe
from openklear.recipe.verifiers import Verifiers
from openklear.run.plan import stages
from openklear.types import Attempt, Outcome, Problem, Test
from openklear.verifiers.domains import DOMAINS
from openklear.verifiers.judge import open_judge
from openklear.verifiers.pool import WorkerLost
from openklear.verifiers.walls import Boxes

MINI = Path(__file__).parents[1] / "e2e" / "mini.toml"
CODE = Problem("c", ({"role": "user", "content": "double"},), "code", tests=(Test("1\n", "2\n"), Test("2\n", "4\n")))
DOUBLE = "<think>easy</think>\n```python\nprint(int(input()) * 2)\n```"


class Sandbox(BaseHTTPRequestHandler):
    """Answers as a SandboxFusion server does, by running what it is sent."""

    asked: ClassVar[list[dict]] = []

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.asked.append(body)
        done = subprocess.run(
            [sys.executable, "-c", body["code"]], input=body["stdin"], capture_output=True, text=True, check=False
        )
        result = {"status": "Finished", "return_code": done.returncode, "stdout": done.stdout, "stderr": done.stderr}
        data = json.dumps({"status": "Success" if not done.returncode else "Failed", "run_result": result}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *words):
        pass


@contextmanager
def sandbox():
    Sandbox.asked = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), Sandbox)
    thread = Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def said(monkeypatch):
    lines = []
    progress.say_once.cache_clear()
    monkeypatch.setattr(progress, "say", lines.append)
    yield lines
    progress.say_once.cache_clear()


@pytest.fixture
def own(tmp_path, monkeypatch):
    """The file of a user's module."""
    path = tmp_path / f"own_{tmp_path.name}.py"
    path.write_text(
        "def grade(problem, completion):\n    return True\n\ndef reward(verdict, domain):\n    return 1.0\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    importlib.invalidate_caches()
    return path


def opened(settings, tmp_path, domains):
    """The judge of a stage."""
    return open_judge(settings.limits, domains, progress.say_once, journal=tmp_path / "verdicts.jsonl")


def test_a_server_runs_the_programs(tmp_path, said):
    half = DOUBLE.replace("* 2", "+ 1")
    with sandbox() as url, opened(Verifiers(graders={"code": url}), tmp_path, DOMAINS) as judge:
        whole, part = judge.judge([Attempt(CODE, DOUBLE), Attempt(CODE, half)])
        (early,) = judge.judge([Attempt(CODE, half.replace("+ 1", "+ 7"))], stop_early=True)
        assert judge.isolation() is None
    assert whole.correct
    assert (part.outcome, part.reason, part.passed) == (Outcome.INCORRECT, "test 2 of 2: wrong output", 1)
    assert (early.outcome, early.passed, len(Sandbox.asked)) == (Outcome.INCORRECT, 0, 5)
    assert said == [f"programs run on the server {url}"]


def test_verdicts_of_boxes_are_not_those_of_a_server(tmp_path):
    path = tmp_path / "verdicts.jsonl"
    with sandbox() as url:
        for graders in ({}, {"code": url}, {}):
            with opened(Verifiers(graders=graders), tmp_path, DOMAINS) as judge:
                assert judge.judge([Attempt(CODE, DOUBLE)])[0].correct
    assert len(path.read_text().splitlines()) == 2
    assert len(Sandbox.asked) == 2


def test_a_function_of_the_users_own_is_named_and_no_box_is_started(tmp_path, said, own):
    graders = {"code": f"{own.stem}:grade"}
    with opened(Verifiers(graders=graders), tmp_path, DOMAINS) as judge:
        assert judge.judge([Attempt(CODE, "anything")])[0].correct
    assert said == [f"code is graded by {own.stem}:grade, in worker processes without walls"]


def test_the_stages_that_ask_it_depend_on_its_source(own):
    graders = [f"verifiers.graders.math={own.stem}:grade"]
    found = {stage.name: stage for stage in stages(load_recipe(MINI, graders))}
    asking = {name for name, stage in found.items() if stage.files.get("grader math") == own}
    assert asking == {"prepare", "sft", "rl-math", "rl-code"} | {n for n in found if n.startswith("evaluate-")}
    assert all("verifiers.graders" in found[name].settings for name in asking)
    plain = {stage.name: stage for stage in stages(load_recipe(MINI))}
    assert not any("grader math" in stage.files for stage in plain.values())


def test_only_the_phase_that_uses_it_depends_on_a_reward_function(own):
    reward = [f'rl.phase.code.reward={{type="custom", function="{own.stem}:reward"}}']
    found = {stage.name: stage for stage in stages(load_recipe(MINI, reward))}
    assert {name for name, stage in found.items() if stage.files.get("reward") == own} == {"rl-code"}


def test_walls_are_demanded_only_where_programs_run(tmp_path, monkeypatch):
    def denied(self, level):
        raise WorkerLost("bwrap: Operation not permitted")

    monkeypatch.setattr(Boxes, "start_at", denied)
    opened(Verifiers(), tmp_path, {"math"}).close()
    with pytest.raises(VerifierError, match="minimum_isolation is 'bubblewrap'"):
        opened(Verifiers(), tmp_path, {"math", "code"})
