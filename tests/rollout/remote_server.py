"""A server over HTTP that really samples, with the answers of vLLM's."""

import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from openklear.rollout.local import LocalSampler
from openklear.types import SampleRequest


class Server:
    """What it serves, what it was asked, and what it does instead of answering."""

    def __init__(self, loaded):
        self.sampler, self.lock = LocalSampler(loaded.model, end_ids=loaded.end_ids, slots=1), threading.Lock()
        self.bodies, self.keys, self.statuses, self.spoil = [], [], [], lambda answer: answer

    def answer(self, body):
        cuts = {name: body[name] for name in ("temperature", "top_p", "top_k", "min_p") if name in body}
        request = SampleRequest(tuple(body["prompt"]), body["seed"], body["max_tokens"], **cuts)
        with self.lock:
            (made,) = self.sampler.sample([request])
        return {
            "choices": [
                {
                    "text": "?",
                    "token_ids": made.token_ids.tolist(),
                    "logprobs": {"token_logprobs": made.logprobs.tolist()},
                    "finish_reason": str(made.stop_reason),
                }
            ]
        }


@contextmanager
def served(loaded):
    server = Server(loaded)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            server.bodies.append(body)
            server.keys.append(self.headers.get("Authorization"))
            status = server.statuses.pop(0) if server.statuses else 200
            told = server.spoil(server.answer(body)) if status == 200 else {"error": {"message": f"no {status}"}}
            data = json.dumps(told).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *words):
            pass

    listening = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=listening.serve_forever, daemon=True)
    thread.start()
    server.endpoint = f"http://127.0.0.1:{listening.server_port}/v1"
    try:
        yield server
    finally:
        listening.shutdown()
        listening.server_close()
