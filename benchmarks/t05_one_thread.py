"""A helper process of `benchmarks.t05_speed` in which every operation of TensorFlow has one thread.

    python -m benchmarks.t05_one_thread      # then a line of JSON asks, as in benchmarks/peers/serve.py

A product of one step of a recurrent layer is too small to be shared by two cores. Here no operation is shared; instead
operations that do not depend on each other run side by side, a thread for each core. TensorFlow fixes the number of
threads once for a process, hence the process.
"""

from __future__ import annotations

from utils.lesson import quiet_start

quiet_start()
import tensorflow as tf

tf.config.threading.set_intra_op_parallelism_threads(1)

from benchmarks.peers.serve import serve, timed
from benchmarks.t05_speed import NETWORKS, ONE_THREAD, batches_of, column_name
from utils.mnist import load_mnist


class Row:
    """One form; it holds the network that it was asked for last."""

    def __init__(self, form: str):
        self.form, self.column = form, None

    def __call__(self, question: dict) -> dict:
        if question["column"] != self.column:
            self.column, networks = (
                question["column"],
                {column_name(*network): network for network in NETWORKS},
            )
            self.run = ONE_THREAD[self.form](*networks[self.column])
            self.batches = batches_of(load_mnist().train)
        values = []
        seconds = timed(lambda: values.append(self.run(self.batches)))
        return {"seconds": seconds, "last": values[0]}


if __name__ == "__main__":
    threads = tf.config.threading.get_intra_op_parallelism_threads()
    serve({form: Row(form) for form in ONE_THREAD}, {"threads": threads})
