"""Ranks in processes of their own, led over pipes: `training.rank` and `training.leading` without a cluster."""

from __future__ import annotations

import multiprocessing as mp
import socket
from contextlib import contextmanager
from dataclasses import replace

from openklear.training.rank import Rank


def serve(pipe, post) -> None:
    rank = Rank(post)
    pipe.send(None)
    while (asked := pipe.recv()) is not None:
        method, arguments = asked
        try:
            pipe.send(getattr(rank, method)(*arguments))
        except Exception as error:
            pipe.send(error)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


@contextmanager
def gang(post, ranks):
    """An `Ask` of so many ranks; `post` is that of each but for its number."""
    context = mp.get_context("spawn")
    address = f"tcp://127.0.0.1:{free_port()}"
    pipes, processes = [], []
    for number in range(ranks):
        ours, theirs = context.Pipe()
        mine = replace(post, rank=number, ranks=ranks, address=address)
        process = context.Process(target=serve, args=(theirs, mine), daemon=True)
        process.start()
        pipes.append(ours)
        processes.append(process)

    def ask(method, arguments):
        for pipe, mine in zip(pipes, arguments, strict=True):
            pipe.send((method, mine))
        found = [pipe.recv() for pipe in pipes]
        for one in found:
            if isinstance(one, Exception):
                raise one
        return found

    try:
        for pipe in pipes:
            assert pipe.recv() is None
        yield ask
    finally:
        for pipe in pipes:
            pipe.send(None)
        for process in processes:
            process.join(20)
            process.kill()
