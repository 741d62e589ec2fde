"""The conversation between a benchmark and a helper process: a line of JSON asks, a line of JSON answers."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable


def timed(work: Callable[[], object]) -> float:
    """Seconds that `work` takes."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def pytorch() -> dict:
    """Give PyTorch the number of threads that the benchmark says; its version and that number."""
    import torch

    torch.set_num_threads(int(os.environ.get("PEER_THREADS", "2")))
    return {"pytorch": torch.__version__, "threads": torch.get_num_threads()}


def matrix_weights(modules: list) -> int:
    """Numbers in all weights of two and more dimensions: equal work has equally many."""
    return sum(p.numel() for module in modules for p in module.parameters() if p.ndim > 1)


def serve(rows: dict[str, Callable[[dict], dict]], about: dict) -> None:
    """Answer until the questions end.

    Args:
        rows: name -> a function that takes the question and returns the answer, with its own `seconds`.
        about: what to say first, besides the names of the rows.
    """
    channel = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what others print must not get between the answers

    def say(answer: dict) -> None:
        print(json.dumps(answer), file=channel, flush=True)

    say({**about, "rows": list(rows)})
    for line in sys.stdin:
        question = json.loads(line)
        try:
            say(rows[question["row"]](question))
        except Exception as error:  # the other side must hear of it; it ends the benchmark
            say({"error": f"{question['row']}: {type(error).__name__}: {error}"})
            raise
