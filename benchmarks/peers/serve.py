"""The conversation between a benchmark and PyTorch's side of it: a line of JSON asks, a line of JSON answers."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable

import torch


def timed(work: Callable[[], object]) -> float:
    """Seconds that `work` takes."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def matrix_weights(modules: list[torch.nn.Module]) -> int:
    """Numbers in all weights of two and more dimensions: equal work has equally many."""
    return sum(p.numel() for module in modules for p in module.parameters() if p.ndim > 1)


def serve(rows: dict[str, Callable[[dict], dict]]) -> None:
    """Answer until the questions end.

    Args:
        rows: name -> a function that takes the question and returns the answer, with its own `seconds`.
    """
    torch.set_num_threads(int(os.environ.get("PEER_THREADS", "2")))
    channel = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what others print must not get between the answers

    def say(answer: dict) -> None:
        print(json.dumps(answer), file=channel, flush=True)

    say({"pytorch": torch.__version__, "threads": torch.get_num_threads(), "rows": list(rows)})
    for line in sys.stdin:
        question = json.loads(line)
        try:
            say(rows[question["row"]](question))
        except Exception as error:  # the other side must hear of it; it ends the benchmark
            say({"error": f"{question['row']}: {type(error).__name__}: {error}"})
            raise
