"""A study that is run in seconds: a model of a few thousand weights, taught to stop, and RL by a verifier of its own.

The verifier finds half of all texts right, by a hash, so that rewards differ within a group, weights move, and every
seed has scores of its own.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from openklear.recipe.keys import toml_value

ROOT = Path(__file__).parents[2]
VERIFIER = '''
"""A verifier and rewards of a user's own."""
import hashlib
import os
import signal


def half(problem, completion):
    return hashlib.blake2b(completion.encode(), digest_size=1).digest()[0] % 2 == 0


def raises(verdict, domain):
    raise ValueError("no reward today")


def killed(verdict, domain):
    os.kill(os.getpid(), signal.SIGKILL)


def mended(verdict, domain):
    if not os.path.exists(os.environ["MENDED"]):
        raise ValueError("not mended yet")
    return float(verdict.correct)
'''
RECIPE = """
microbatch_tokens = 256

[model]
type = "tiny"
hidden_size = 16
layers = 1
heads = 2

[data]
correct_only = []
require_format = false
deduplicate = false

[[data.source]]
name = "taught"
path = "taught.jsonl"
role = "demonstrations"

[[data.source]]
name = "problems"
path = "math.jsonl"
role = "problems"

[[data.source]]
name = "heldout"
path = "heldout.jsonl"
role = "heldout"

[sft]
epochs = 12
batch_tokens = 256
max_tokens = 64
learning_rate = 0.03
warmup_steps = 0

[rl]
iterations = 2
problems_per_iteration = 2
problems_per_update = 1
group_size = 4
learning_rate = 0.01
warmup_steps = 0
max_prompt_tokens = 64
max_completion_tokens = 8
overlong = "soft"
filter_zero_advantage = false

[[rl.phase]]
name = "math"
domains = ["math"]

[evaluation]
samples = 4
temperature = 1.0
top_p = 1.0
max_completion_tokens = 8

[verifiers]
graders = { math = "desk_verifier:half" }
minimum_isolation = "rlimits"
"""
STUDY: dict[str, Any] = {
    "name": "tiny",
    "title": "A tiny study",
    "question": "Does the objective matter?",
    "recipe": "recipe.toml",
    "set": {},
    "seeds": {"values": [0, 1], "vary": ["rl"]},
    "measure": [{"name": "math", "model": "rl-math", "domain": "math"}],
    "arm": [{"name": "gppo"}, {"name": "reinforce", "set": {"rl.objective.type": "reinforce"}}],
}
START = {"name": "start", "model": "sft", "domain": "math"}
"""A second measure: what RL begins with."""
STAGES = 4 + 2 * 4
"""Of STUDY with START: prepare, base, sft and its evaluation once, RL and its evaluation for each run."""


def lay(place: Path, **changes: Any) -> Path:
    """Write recipe, data, verifier and study into a directory; the path of the study."""
    place.mkdir(parents=True, exist_ok=True)
    (place / "desk_verifier.py").write_text(VERIFIER)
    (place / "recipe.toml").write_text(RECIPE)
    for name, first, last in (("math", 0, 6), ("heldout", 6, 14), ("other", 14, 22)):
        rows = [{"prompt": f"m{i}", "answer": "1", "domain": "math", "level": "1"} for i in range(first, last)]
        (place / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    taught = [{"prompt": f"m{i}", "answer": "1", "domain": "math", "response": "ab"[: 1 + i % 2]} for i in range(40)]
    (place / "taught.jsonl").write_text("".join(json.dumps(row) + "\n" for row in taught))
    return write_study(place, **changes)


def write_study(place: Path, **changes: Any) -> Path:
    """STUDY with these keys instead, as a file."""
    path = place / "study.toml"
    path.write_text("".join(f"{name} = {toml_value(value)}\n" for name, value in {**STUDY, **changes}.items()))
    return path


def command(place: Path, *more: str, output: str = "out") -> list[str]:
    main = "import sys; from openklear.cli.main import main; sys.exit(main(sys.argv[1:]))"
    return [sys.executable, "-c", main, "ablate", str(place / "study.toml"), "--output", str(place / output), *more]


def environment(place: Path) -> dict[str, str]:
    return {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": os.pathsep.join((str(ROOT / "src"), str(place))),
        "MENDED": str(place / "mended"),
    }


def start(place: Path, *more: str, output: str = "out") -> subprocess.Popen[str]:
    """The command, in a process group of its own, as a terminal starts it."""
    return subprocess.Popen(
        command(place, *more, output=output),
        env=environment(place),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def finish(place: Path, *more: str, output: str = "out") -> subprocess.CompletedProcess[str]:
    """The command, to its end."""
    process = start(place, *more, output=output)
    try:
        out, err = process.communicate(timeout=240)
    except BaseException:
        os.killpg(process.pid, signal.SIGKILL)
        raise
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def scores(root: Path) -> dict[str, Any]:
    """Every file of scores below a study's directory, without what the clock says."""
    found = {}
    for path in sorted(root.glob("scores/*/*.json")):
        document = json.loads(path.read_text())
        del document["seconds"]
        found[str(path.relative_to(root))] = json.dumps(document)
    return found


def pages(root: Path) -> list[str]:
    """Both pages of a study, without what the clock says."""
    return [CLOCK.sub("T", (root / name).read_text()) for name in ("page.md", "page.html")]


CLOCK = re.compile(r"\d[\d.,]* (s|min|h)\b")


def alive(group: int) -> list[int]:
    """The processes of a group that live, from /proc."""
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        try:
            state, _, its_group = (place / "stat").read_text().rpartition(")")[2].split()[:3]
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(its_group) == group and state not in "ZX":
            found.append(int(place.name))
    return found


def begun(root: Path) -> int:
    """How many stages have begun in a study's directory."""
    return len(list(root.glob("stages/*/*/stage.json")))


def wait_until(holds: Callable[[], bool], what: str, seconds: float = 90.0) -> None:
    ends = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < ends, f"never came: {what}"
        time.sleep(0.01)
