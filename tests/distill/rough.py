"""What the tests of distillation share: problems, the rough server as a process, the command as a process."""

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from openklear.cli import distill, exits

ROOT = Path(__file__).parents[2]
COMMAND = (
    "import sys; from openklear.cli import distill, exits; sys.exit(exits.tell("
    "lambda: distill.app(sys.argv[1:], standalone_mode=False), as_json='--json' in sys.argv))"
)


def put_problems(path, count, more=()):
    """`count` sums, and further (id, prompt, answer)."""
    rows = [(f"sum-{n}", f"What is {n} + {n % 7}?", n + n % 7) for n in range(count)]
    rows += more
    path.write_text(
        "".join(json.dumps({"id": i, "problem": p, "answer": str(a), "domain": "math"}) + "\n" for i, p, a in rows)
    )
    return path


@contextmanager
def rough_server(log, *, seed=1, faults=0.0, seconds=0.0):
    """Yields the endpoint of a rough server that logs to `log`."""
    script = Path(__file__).with_name("rough_server.py")
    words = [sys.executable, str(script), str(seed), str(faults), str(log), str(seconds)]
    server = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
    try:
        yield f"http://127.0.0.1:{server.stdout.readline().strip()}/v1"
    finally:
        server.kill()
        server.wait()
        server.stdout.close()


def command(*words):
    """The command line of `openklear distill`, and its environment."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1", "NO_PROXY": "127.0.0.1"}
    return [sys.executable, "-c", COMMAND, *map(str, words)], environment


def run(*words, code=0):
    """Run `openklear distill`; its stdout and stderr."""
    argv, environment = command(*words)
    done = subprocess.run(argv, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    return done.stdout, done.stderr


def here(capsys, *words, code=0):
    """Run `openklear distill` in this process; its stdout and stderr."""
    words = [str(word) for word in words]
    found = exits.tell(lambda: distill.app(words, standalone_mode=False), as_json="--json" in words)
    out, err = capsys.readouterr()
    assert found == code, out + err
    assert "Traceback" not in out + err
    return out, err


def killed(journal, lines, *words, by=signal.SIGKILL):
    """Start `openklear distill`, and end it by a signal once `journal` holds so many lines; (return code, stderr)."""
    argv, environment = command(*words)
    # A shell's background jobs ignore Ctrl-C and hand that on; here it must arrive, also where the suite is such a job.
    listening = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    pipes = {"stderr": subprocess.PIPE, "text": True}
    process = subprocess.Popen(argv, env=environment, start_new_session=True, preexec_fn=listening, **pipes)
    deadline = time.monotonic() + 60
    while process.poll() is None and (not journal.exists() or journal.read_bytes().count(b"\n") < lines):
        assert time.monotonic() < deadline, "the command does not get on"
        time.sleep(0.005)
    process.send_signal(by)
    _, err = process.communicate(timeout=30)
    return process.returncode, err


def rows_of(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def keys(rows):
    return [(row["id"], row["content_hash"], row["sample"]) for row in rows]
