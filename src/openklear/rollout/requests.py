"""What engines make of a request alike: whether it can be served, how far, and with which seed."""

from __future__ import annotations

import hashlib

from openklear.errors import EngineError
from openklear.types import SampleRequest


def checked_limit(
    index: int, request: SampleRequest, positions: int | None, vocabulary: int, cache_tokens: int | None = None
) -> int:
    """How many tokens the request may sample from a model of `positions`; EngineError where it cannot be served.

    `cache_tokens`: a whole sequence must find room in so many, where that is bounded.
    """
    length = len(request.prompt_ids)
    room = request.max_new_tokens if positions is None else min(request.max_new_tokens, positions - length)
    problem = None
    if request.max_new_tokens < 1:
        problem = f"max_new_tokens is {request.max_new_tokens}: ask for at least one"
    elif length == 0:
        problem = "the prompt has no tokens"
    elif room < 1:
        problem = f"the prompt has {length} tokens, and the model {positions} positions: drop or shorten the prompt"
    elif min(request.prompt_ids) < 0 or max(request.prompt_ids) >= vocabulary:
        problem = (
            f"the prompt has token ids outside the model's vocabulary of {vocabulary}: is it this tokenizer's model?"
        )
    elif not (0.0 <= request.temperature < float("inf")):
        problem = f"temperature is {request.temperature}: it must be 0 (greedy) or positive"
    elif not (0.0 < request.top_p <= 1.0):
        problem = f"top_p is {request.top_p}: it must be in (0, 1]"
    elif request.top_k < 0:
        problem = f"top_k is {request.top_k}: it must be 0 (all tokens) or positive"
    elif not (0.0 <= request.min_p <= 1.0):
        problem = f"min_p is {request.min_p}: it must be in [0, 1]"
    elif not (0 <= request.sampled < length):
        problem = f"sampled is {request.sampled}, of a prompt of {length} tokens: it counts the last of these"
    elif cache_tokens is not None and length + room > cache_tokens:
        problem = (
            f"prompt and completion may have {length + room} tokens, and the cache holds {cache_tokens}: "
            "raise engine.cache_tokens or lower the longest completion"
        )
    if problem:
        raise EngineError(f"request {index} cannot be sampled: {problem}")
    return room


def seed_of(request: SampleRequest) -> int:
    """A seed of 31 bits for an engine with random numbers of its own: of the key and the position to go on at."""
    name = f"{request.key}/{request.sampled}".encode()
    return int.from_bytes(hashlib.blake2b(name, digest_size=4).digest(), "little") >> 1
