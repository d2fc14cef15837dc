"""An OpenAI-compatible server that misbehaves by a seeded schedule; its teacher adds whole numbers.

`python rough_server.py SEED FAULTS LOG [SECONDS]`: prints its port. FAULTS (0 to 1) is the chance of a fault before an
answer, drawn again after each fault, at most MOST in a row for one request; SECONDS the time of an answer. LOG gets a
line a request: {"prompt", "seed", "fault"} ("" where it answered).

The answer to "What is A + B?" is A + B for even seeds and A + B + 1 for odd ones. Words in the prompt choose its form:
FIELD (reasoning_content), REASONING (reasoning), PLAIN (no thought), otherwise tags; LONG is refused with status 400,
POISON always gets status 500. Requests of the model "refused" get 401 without the right key, of "gone" 404, of "hot"
400, of "seedless" 422 as long as they carry a seed, of "down" 503.
"""

import asyncio
import hashlib
import json
import re
import sys

FAULTS = ("429", "500", "drop", "broken", "empty", "hang", "408")
MOST = 3


class Server:
    def __init__(self, seed, chance, log, seconds):
        self.seed, self.chance, self.log, self.seconds = seed, chance, log, seconds
        self.asked = {}

    async def serve(self, reader, writer):
        try:
            while request := await read(reader):
                if not await self.answer(request, writer):
                    break
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def answer(self, request, writer):
        """Whether the connection stays open."""
        path, headers, body = request
        prompt, seed = body["messages"][-1]["content"], body.get("seed")
        if refusal := refused(path, headers, body, prompt):
            self.note(prompt, seed, refusal[0])
            await reply(writer, *refusal)
            return True
        fault = self.fault(prompt, seed)
        self.note(prompt, seed, fault)
        if fault in ("500", "408"):
            await reply(writer, int(fault), {"error": {"message": "try again"}})
        elif fault == "429":
            await reply(writer, 429, {"error": {"message": "too many"}}, "Retry-After: 0.02\r\n")
        elif fault == "empty":
            await reply(writer, 200, {"choices": []})
        elif fault == "broken":
            await send(writer, 200, b'{"choices": [{"message": {"con')
        elif fault == "drop":
            text = json.dumps(completion(prompt, seed, body)).encode()
            writer.write(head(200, len(text)) + text[: len(text) // 2])
            await writer.drain()
            return False
        elif fault == "hang":
            await asyncio.sleep(60)
        else:
            await asyncio.sleep(self.seconds)
            await reply(writer, 200, completion(prompt, seed, body))
        return True

    def fault(self, prompt, seed):
        number = self.asked[prompt, seed] = self.asked.get((prompt, seed), -1) + 1
        return fault(self.seed, self.chance, prompt, seed, number)

    def note(self, prompt, seed, fault):
        print(json.dumps({"prompt": prompt, "seed": seed, "fault": str(fault)}), file=self.log, flush=True)


def fault(server_seed, chance, prompt, seed, number):
    """The fault of the `number`-th request (from 0) for a response; "" for an answer."""
    if number >= MOST:
        return ""
    name = json.dumps([server_seed, prompt, seed, number]).encode()
    drawn = int.from_bytes(hashlib.blake2b(name, digest_size=8).digest(), "little")
    return FAULTS[drawn % len(FAULTS)] if (drawn >> 8) / 2**56 < chance else ""


def refused(path, headers, body, prompt):
    if path != "/v1/chat/completions":
        return 404, {"detail": "Not Found"}
    if body["model"] == "refused" and headers.get("authorization") != "Bearer right":
        return 401, {"error": {"message": "Incorrect API key provided."}}
    if body["model"] == "gone":
        return 404, {"message": "The model `gone` does not exist."}
    if body["model"] == "seedless" and "seed" in body:
        return 422, {"detail": "Unexpected fields in the request: {'seed'}"}
    if body["model"] == "down":
        return 503, {"error": "no workers"}
    if body["model"] == "hot":
        return 400, {"error": {"message": "temperature must be 1 for this model"}}
    if "LONG" in prompt:
        return 400, {"message": "This model's maximum context length is 16 tokens. Please reduce the length."}
    if "POISON" in prompt:
        return 500, {"error": {"message": "a bug of the server"}}
    return None


def completion(prompt, seed, body):
    a, b = map(int, re.search(r"What is (\d+) \+ (\d+)\?", prompt).groups())
    thought, answer = f"{a} and {b}.", f"The answer is {a + b + (seed or 0) % 2}."
    message = {"role": "assistant", "content": f"<think>\n{thought}\n</think>\n\n{answer}"}
    if "FIELD" in prompt:
        message |= {"content": answer, "reasoning_content": thought}
    elif "REASONING" in prompt:
        message |= {"content": answer, "reasoning": thought}
    elif "PLAIN" in prompt:
        message["content"] = answer
    return {
        "model": f"{body['model']}-v1",
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 10, "completion_tokens": 20, "total_tokens": 30},
    }


async def read(reader):
    head = await reader.readuntil(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines if line)}
    body = await reader.readexactly(int(headers.get("content-length", 0)))
    return first.split()[1], headers, json.loads(body)


async def reply(writer, status, document, more=""):
    await send(writer, status, json.dumps(document).encode(), more)


async def send(writer, status, text, more=""):
    writer.write(head(status, len(text), more) + text)
    await writer.drain()


def head(status, length, more=""):
    return f"HTTP/1.1 {status} X\r\nContent-Type: application/json\r\n{more}Content-Length: {length}\r\n\r\n".encode()


async def main(seed, chance, log, seconds=0.0):
    with open(log, "a") as file:
        teacher = Server(int(seed), float(chance), file, float(seconds))
        server = await asyncio.start_server(teacher.serve, "127.0.0.1", 0)
        print(server.sockets[0].getsockname()[1], flush=True)
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
