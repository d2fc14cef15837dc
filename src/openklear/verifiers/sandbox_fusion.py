"""Programs run by a SandboxFusion server, for teams that have one; their outputs are compared here.

One `POST {url}/run_code` a test, as the server's own interface has it: code, language, stdin and limits go out, and the
status, the return code and the outputs come back. Expected outputs never leave this process (house rule 7).

House rule 5: a server that cannot be reached, is busy or fails is tried once more, then the verdict is unscorable.
Where a request was taken in but came to nothing twice, and an innocent program still runs, the program is at fault.
How well the server walls programs in is the server's affair. It knows wall time only, so a test may take as long as the
local judge's wall limit: twice the CPU seconds and one more.
"""

from __future__ import annotations

import http.client
import json
import signal
import time
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from typing import Any
from urllib.parse import urlsplit

from openklear.errors import UsageError, VerifierError
from openklear.types import AnyTest, Outcome, Test, Verdict
from openklear.verifiers import checkers
from openklear.verifiers.asserts import BrokenTest
from openklear.verifiers.checkers import Checker, same_output
from openklear.verifiers.code import Finding, compared, stable

PATIENCE_SECONDS = 60.0
"""Added to a test's limits before a silent server counts as lost: it may have others to serve first."""
CONNECT_SECONDS = 10.0
PAUSE_SECONDS = 1.0
"""Between the two tries; a busy server may ask for up to `_LONGEST_PAUSE`."""
_LONGEST_PAUSE = 10.0
MAX_ANSWER = 16 * 2**20
_PROBE = "print(int(input()) + 1)", "1\n", "2"
_WRONG_ADDRESS = {401, 403, 404, 405}


class _NoResult(Exception):
    """The server gave no result. `unclear`: the program may have caused it."""

    def __init__(self, message: str, *, unclear: bool = False, pause: float | None = None):
        super().__init__(message)
        self.unclear, self.pause = unclear, PAUSE_SECONDS if pause is None else pause


class SandboxFusionGrader:
    """Grades programs on a SandboxFusion server. Any thread may call; each call has a connection of its own."""

    def __init__(self, url: str, seconds: float, memory_mb: int):
        """`url` with or without `/run_code`. UsageError where it is not an http(s) address."""
        parts = urlsplit(url)
        try:
            port = parts.port
        except ValueError:
            port = -1
        if parts.scheme not in ("http", "https") or not parts.hostname or port == -1:
            raise UsageError(f"{url!r} is no address of a SandboxFusion server; write http://host:port")
        self._url, self._https, self._host, self._port = url, parts.scheme == "https", parts.hostname, port
        self._path = parts.path.rstrip("/").removesuffix("/run_code") + "/run_code"
        self._wall, self._memory_mb = 2 * seconds + 1.0, memory_mb

    def grade(
        self, program: str, tests: Sequence[AnyTest], checker: str | None = None, stop_early: bool = False
    ) -> Verdict:
        """Runs the program on every test's input; with `stop_early` none after the first that fails.

        Unscorable for tests that are not stdin/stdout. VerifierError where the address is no SandboxFusion server's.
        """
        how, total, passed, first_failure = checkers.checker(checker), len(tests), 0, ""
        for number, test in enumerate(tests, start=1):
            where = f"test {number} of {total}"
            if not isinstance(test, Test):
                return Verdict(Outcome.UNSCORABLE, "a SandboxFusion server runs stdin/stdout tests only", total=total)
            try:
                failure = self._finding(self._result(program, test.stdin), test, how)
            except _NoResult as error:
                if error.unclear and self._innocent_runs():
                    return Verdict(Outcome.INCORRECT, f"{where}: lost the sandbox twice", None, passed, total)
                return Verdict(Outcome.UNSCORABLE, f"{where}: {error}", None, passed, total)
            if isinstance(failure, BrokenTest):
                return Verdict(Outcome.UNSCORABLE, f"{where} cannot run: {failure}", None, passed, total)
            passed += not failure
            first_failure = first_failure or (failure and f"{where}: {failure}")
            if failure and stop_early:
                break
        return Verdict(Outcome.INCORRECT if first_failure else Outcome.CORRECT, first_failure, None, passed, total)

    def close(self) -> None:
        """Nothing is kept open."""

    def _finding(self, result: dict[str, Any], test: Test, how: Checker) -> Finding:
        """Why the program failed the test; empty where it passed. A BrokenTest where the checker cannot say."""
        status, code = result.get("status"), result.get("return_code")
        if status == "TimeLimitExceeded":
            return "timeout"
        assert isinstance(code, int)
        if code < 0:
            with suppress(ValueError):
                return f"killed by {signal.Signals(-code).name}"
        if code != 0:
            lines = str(result.get("stderr") or "").strip().splitlines()
            return stable(lines[-1]) if lines else f"exit status {code}"
        output = str(result.get("stdout") or "")
        return compared(how, partial(how.text, test.stdin, test.stdout), test.stdout, output, "output")

    def _innocent_runs(self) -> bool:
        program, stdin, stdout = _PROBE
        with suppress(_NoResult):
            result = self._result(program, stdin)
            return result.get("return_code") == 0 and same_output(stdout, result.get("stdout") or "")
        return False

    def _result(self, program: str, stdin: str) -> dict[str, Any]:
        """What became of the program: `run_result`, or `compile_result` if it never ran; tried twice."""
        try:
            return self._once(program, stdin)
        except _NoResult as first:
            time.sleep(first.pause)
        return self._once(program, stdin)

    def _once(self, program: str, stdin: str) -> dict[str, Any]:
        said = self._ask(program, stdin)
        result = said.get("run_result") or said.get("compile_result")
        if said.get("status") not in ("Success", "Failed") or not isinstance(result, dict):
            raise _NoResult(f"the sandbox failed: {str(said.get('message') or said.get('status'))[:200]}", unclear=True)
        timed_out = result.get("status") == "TimeLimitExceeded"
        if not timed_out and (result.get("status") != "Finished" or not isinstance(result.get("return_code"), int)):
            raise _NoResult(f"the sandbox ended a program as {result.get('status')!r}", unclear=True)
        return result

    def _ask(self, program: str, stdin: str) -> dict[str, Any]:
        body = {
            "code": program,
            "language": "python",
            "stdin": stdin,
            "compile_timeout": self._wall,
            "run_timeout": self._wall,
            "memory_limit_MB": self._memory_mb,
            "files": {},
            "fetch_files": [],
        }
        kind = http.client.HTTPSConnection if self._https else http.client.HTTPConnection
        connection = kind(self._host, self._port, timeout=CONNECT_SECONDS)
        try:
            connection.connect()
        except OSError as error:
            connection.close()
            raise _NoResult(f"the sandbox server cannot be reached: {error}") from error
        try:
            connection.sock.settimeout(2 * self._wall + PATIENCE_SECONDS)
            connection.request("POST", self._path, json.dumps(body), {"Content-Type": "application/json"})
            answer = connection.getresponse()
            data = answer.read(MAX_ANSWER + 1)
        except (OSError, http.client.HTTPException) as error:
            what = "did not answer in time" if isinstance(error, TimeoutError) else f"broke off: {error!r}"
            raise _NoResult(f"the sandbox server {what}", unclear=True) from error
        finally:
            connection.close()
        return self._understood(answer, data)

    def _understood(self, answer: http.client.HTTPResponse, data: bytes) -> dict[str, Any]:
        """The answer's JSON object; otherwise why there is none."""
        if answer.status in _WRONG_ADDRESS:
            raise VerifierError(
                f"{self._url} answers {answer.status} to POST {self._path}: it is no SandboxFusion server, or it does "
                "not let us in; correct the address"
            )
        if answer.status in (429, 503):
            asked = answer.headers.get("Retry-After", "")
            pause = min(float(asked), _LONGEST_PAUSE) if asked.isascii() and asked.isdigit() else None
            raise _NoResult("the sandbox server is busy", pause=pause)
        if answer.status != 200 or len(data) > MAX_ANSWER:
            what = f"answered {answer.status}" if answer.status != 200 else f"answered more than {MAX_ANSWER} bytes"
            raise _NoResult(f"the sandbox server {what}", unclear=True)
        try:
            said = json.loads(data)
        except (ValueError, RecursionError) as error:
            raise _NoResult("the sandbox server answered no JSON") from error
        if not isinstance(said, dict):
            raise _NoResult("the sandbox server answered no JSON object")
        return said
