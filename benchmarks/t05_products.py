"""What a single matrix product costs, in the ways one can write it: the bricks of `t05_fast_rnn` and of m01's layer.

    python -m benchmarks.t05_products

writes `benchmarks/results/T_05_products.json`. Each way is repeated in one `tf.function`, one call after the other,
in a process whose operations may use all cores and in one whose operations have one thread each; all take turns.
"""

from __future__ import annotations

import argparse
import itertools
import os
import statistics
import sys
from collections.abc import Callable
from typing import NamedTuple

from benchmarks import turns
from benchmarks.peer import THREADS, Peer
from benchmarks.peers.serve import serve, timed
from tools.machine import facts
from utils.lesson import RESULTS, quiet_start, write_json

quiet_start()
import tensorflow as tf

tf.get_logger().setLevel("ERROR")  # each way traces the same function anew, which is meant

RESULT = RESULTS / "T_05_products.json"
DTYPES = ("float32", "bfloat16")
BATCH, UNITS, STEPS = 100, 256, 28
PIXELS, HIDDEN = 3136, 1024  # of the dense layer of T_04 and m01


class Way(NamedTuple):
    """`first` and `second` are the shapes of two random matrices; `prepare` is done to the second once, before."""

    first: tuple[int, int]
    second: tuple[int, int]
    work: Callable[[tf.Tensor, tf.Tensor], tf.Tensor]
    times: int  # calls in one function
    prepare: Callable[[tf.Tensor], tf.Tensor] = tf.identity


RECURRENT, GATES = (UNITS, 4 * UNITS), (BATCH, 4 * UNITS)
BY_TRANSPOSED = lambda d, kernel: tf.matmul(d, kernel, transpose_b=True)
WAYS: dict[str, Way] = {
    "LSTM, a step: 100 rows": Way((BATCH, UNITS), RECURRENT, tf.matmul, 40),
    "LSTM, a step: 50 rows": Way((BATCH // 2, UNITS), RECURRENT, tf.matmul, 40),
    "its gradient: `tf.matmul(…, transpose_b=True)`": Way(GATES, RECURRENT, BY_TRANSPOSED, 40),
    "its gradient: `tf.transpose` before the loop": Way(GATES, RECURRENT, tf.matmul, 40, tf.transpose),
    "its gradient: turned by `tf.einsum` before the loop": Way(
        GATES, RECURRENT, tf.matmul, 40, lambda matrix: tf.einsum("ij->ji", matrix)
    ),
    "bias, 2,800 rows: `tf.reduce_sum`": Way(
        (STEPS * BATCH, 4 * UNITS), (1, 1), lambda d, _: tf.reduce_sum(d, axis=0), 10
    ),
    "bias, 2,800 rows: a product with ones": Way(
        (STEPS * BATCH, 4 * UNITS), (1, STEPS * BATCH), lambda d, ones: tf.matmul(ones, d), 10, tf.ones_like
    ),
    "dense layer": Way((BATCH, PIXELS), (PIXELS, HIDDEN), tf.matmul, 5),
    "gradient of its input: `tf.matmul(…, transpose_b=True)`": Way(
        (BATCH, HIDDEN), (PIXELS, HIDDEN), BY_TRANSPOSED, 5
    ),
    "gradient of its input: `tf.einsum`": Way(
        (BATCH, HIDDEN), (PIXELS, HIDDEN), lambda d, kernel: tf.einsum("bo,io->bi", d, kernel), 5
    ),
    "gradient of its kernel: `tf.matmul(…, transpose_a=True)`": Way(
        (BATCH, HIDDEN), (BATCH, PIXELS), lambda d, x: tf.matmul(x, d, transpose_a=True), 5
    ),
    "gradient of its kernel: `tf.einsum`": Way(
        (BATCH, HIDDEN), (BATCH, PIXELS), lambda d, x: tf.einsum("bi,bo->io", x, d), 5
    ),
}


def make(way: Way, dtype: str) -> Callable[[], float]:
    """A function that returns the seconds of one call of a way."""
    first, second = (
        tf.cast(tf.random.stateless_normal(shape, [1, 2]), dtype) for shape in (way.first, way.second)
    )

    @tf.function
    def repeated(first, second):
        second, results = way.prepare(second), []
        for number in range(way.times):
            with tf.control_dependencies(results[-1:]):  # one after the other, as in a loop over the steps
                # Another factor each time, or TensorFlow would compute the product only once.
                results.append(way.work(first * tf.cast(1 + number, dtype), second))
        return results

    repeated(first, second)
    return lambda: timed(lambda: repeated(first, second)) / way.times


class Row:
    """A way that is made when it is first asked for; it answers with the seconds of one call."""

    def __init__(self, way: Way, dtype: str):
        self.way, self.dtype, self.seconds = way, dtype, None

    def __call__(self, question: dict) -> dict:
        self.seconds = self.seconds or make(self.way, self.dtype)
        return {"seconds": self.seconds()}


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument(
        "--serve", action="store_true", help="be the process that measures; its settings say how"
    )
    args = parser.parse_args(argv)
    if args.serve:
        serve({f"{dtype} {name}": Row(way, dtype) for dtype in DTYPES for name, way in WAYS.items()}, {})
        return
    threads = {"one": 1, "all": THREADS}
    keys = list(itertools.product(WAYS, DTYPES, threads))
    process = lambda count: Peer(
        "benchmarks.t05_products", sys.executable, ["--serve"], {"TF_NUM_INTRAOP_THREADS": str(count)}
    )
    with process(1) as alone, process(THREADS) as together:
        helpers = {"one": alone, "all": together}
        rows = {
            key: lambda name=key[0], dtype=key[1], helper=helpers[key[2]]: helper.seconds(f"{dtype} {name}")
            for key in keys
        }
        for run in rows.values():
            run()  # makes it
        found, foreign = turns.take_turns(rows, args.rounds, [*alone.processes, *together.processes])
    figures: dict[str, dict] = {name: {dtype: {} for dtype in DTYPES} for name in WAYS}
    for (name, dtype, count), seconds in found.items():
        figures[name][dtype][count] = turns.spread([1e6 * value for value in seconds], 1)
    result = {
        "what": "microseconds of one call",
        "threads": threads,
        "foreign": statistics.median(foreign),
        "rows": figures,
        "machine": facts(),
    }
    write_json(RESULT, result)
    print(f"written: {os.path.relpath(RESULT)}")


if __name__ == "__main__":
    main()
