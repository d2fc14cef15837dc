"""A server that speaks SandboxFusion's `/run_code` and really runs the programs, with faults by the first word of the path.

/busy-ID: 503 to the first request of a name; /broken: 500; /garbage: no JSON; /sandbox: an error of the sandbox;
/closing: ends the connection at programs that say BREAK; /silent: never answers; /seen: what was asked, as JSON.
"""

import json
import subprocess
import sys
import tempfile
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

SEEN = []
SERVED = set()
PATHS = {"", "busy", "broken", "garbage", "sandbox", "closing", "silent"}


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.reply(200, json.dumps(SEEN))

    def do_POST(self):
        first, _, rest = self.path.strip("/").rpartition("/")
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        SEEN.append(body)
        if rest != "run_code" or first.partition("-")[0] not in PATHS:
            return self.reply(404, "{}")
        if first.startswith("busy") and first not in SERVED:
            SERVED.add(first)
            return self.reply(503, "{}", {"Retry-After": "0"})
        if first == "broken":
            return self.reply(500, "Internal Server Error")
        if first == "garbage":
            return self.reply(200, "<html>")
        if first == "silent":
            time.sleep(60)
        if first == "closing" and "BREAK" in body["code"]:
            return self.connection.close()
        if first == "sandbox":
            return self.reply(200, json.dumps({"status": "SandboxError", "message": "no pods", "run_result": None}))
        return self.reply(200, json.dumps(run(body)))

    def reply(self, status, text, headers=None):
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *_):
        pass


def run(body):
    """The fields and words of sandbox/runners/base.py and sandbox/server/sandbox_api.py."""
    assert body["language"] == "python"
    started = time.time()
    with tempfile.TemporaryDirectory() as directory:
        command = [sys.executable, "-I", "-c", body["code"]]
        try:
            done = subprocess.run(
                command, input=body["stdin"].encode(), capture_output=True, timeout=body["run_timeout"], cwd=directory
            )
        except subprocess.TimeoutExpired as error:
            result = {"status": "TimeLimitExceeded", "return_code": None, "stdout": (error.stdout or b"").decode()}
            result["stderr"] = ""
        else:
            result = {"status": "Finished", "return_code": done.returncode, "stdout": done.stdout.decode()}
            result["stderr"] = done.stderr.decode()
    result["execution_time"] = time.time() - started
    status = "Success" if result["return_code"] == 0 else "Failed"
    return {"status": status, "message": "", "compile_result": None, "run_result": result, "files": {}}


if __name__ == "__main__":
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    print(server.server_address[1], flush=True)
    server.serve_forever()
