"""The speed table of T_05: seconds for 500 training and 100 test batches of 100, 256 units.

    python -m benchmarks.t05_speed                   # all networks
    python -m benchmarks.t05_speed LSTM-2 GRU-2      # some anew; the other columns of the file stay
    python -m benchmarks.t05_speed --peers           # PyTorch beside

writes `benchmarks/results/T_05_speed.json`. Every row trains the same networks (28 rows of 28, the last output or,
for Bi-GRU, the mean of all, then ten scores) with Adam, float32 weights and no dropout. A figure is the median of
several rounds of 10 training and 2 test batches, times 50. The forms of one network take turns; compare rows of one
column. The rows of ONE_THREAD run in a process of their own, whose operations have one thread each. The row of 2018
is what the original tutorial published, on a GPU that it does not name.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial

import numpy as np

from tools.machine import facts
from utils.lesson import RESULTS, quiet_start, write_json

quiet_start()
import keras
import tensorflow as tf

from benchmarks import turns
from benchmarks.peer import THREADS, Peer
from benchmarks.t05_fast_rnn import Stack
from utils.mnist import load_mnist

UNITS, BATCH = 256, 100
TRAIN, TEST = 10, 2  # batches a round
FULL = 500 // TRAIN  # the published table counts 500 and 100
NETWORKS = [("LSTM", 1), ("LSTM", 2), ("GRU", 1), ("GRU", 2), ("Bi-GRU", 1), ("Bi-GRU", 2), ("CNN", 2)]
PUBLISHED_2018 = [6.3, 13.2, 4.8, 10.2, 24.0, 46.7, 2.4]
RESULT = RESULTS / "T_05_speed.json"
PEER = "PyTorch, nn.LSTM and nn.GRU"

v1 = tf.compat.v1
Round = Callable[[list[tuple[np.ndarray, np.ndarray]]], float]


def keras_model(kind: str, layers: int, unroll: bool = False) -> keras.Model:
    """The network from Keras layers; "CNN" is the convolutional network of T_04."""
    images = x = keras.Input((28, 28))
    if kind == "CNN":
        x = keras.layers.Reshape((28, 28, 1))(x)
        for filters in (32, 64):
            x = keras.layers.Conv2D(filters, 5, padding="same", activation="relu")(x)
            x = keras.layers.MaxPooling2D(2, padding="same")(x)
        x = keras.layers.Dense(1024, activation="relu")(keras.layers.Flatten()(x))
        return keras.Model(images, keras.layers.Dense(10)(x))
    for _ in range(layers):
        make = keras.layers.LSTM if kind == "LSTM" else keras.layers.GRU
        layer = make(UNITS, return_sequences=True, unroll=unroll)
        x = keras.layers.Bidirectional(layer)(x) if kind == "Bi-GRU" else layer(x)
    x = keras.layers.GlobalAveragePooling1D()(x) if kind == "Bi-GRU" else x[:, -1]
    return keras.Model(images, keras.layers.Dense(10)(x))


def modern_round(network: Callable, variables: list[tf.Variable]) -> Round:
    """One round in a `tf.function` loop; `network` maps images to scores."""
    optimizer = keras.optimizers.Adam(1e-3)
    optimizer.build(variables)

    @tf.function
    def train_step(x, y):
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(y, network(x)))
        optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables))
        return loss

    @tf.function
    def test_step(x, y):
        return tf.reduce_mean(tf.cast(tf.argmax(network(x), axis=1) == y, tf.float32))

    def run(batches):
        for number, (x, y) in enumerate(batches):
            last = (train_step if number < TRAIN else test_step)(tf.constant(x), tf.constant(y))
        return float(last)

    return run


class V1Cell:
    """An LSTM or GRU cell for `v1.nn.dynamic_rnn`, made of the operations of a TF 1.x graph.

    `output_size` is the number of units; `state_size` is that number, or twice it as a pair for an LSTM.
    """

    def __init__(self, kind: str, features: int, units: int):
        self.lstm, self.output_size = kind == "LSTM", units
        self.state_size = (units, units) if self.lstm else units
        gates = 4 if self.lstm else 3
        self.kernel = v1.get_variable("kernel", [features, gates * units])
        self.recurrent = v1.get_variable("recurrent", [units, gates * units])
        self.bias = v1.get_variable("bias", [2, gates * units], initializer=v1.zeros_initializer())

    def zero_state(self, batch_size, dtype):
        zero = tf.zeros([batch_size, self.output_size], dtype)
        return (zero, zero) if self.lstm else zero

    def get_initial_state(self, inputs=None, batch_size=None, dtype=None):
        return self.zero_state(batch_size, dtype)

    def __call__(self, x, state, scope=None):
        from_x = tf.matmul(x, self.kernel) + self.bias[0]
        if self.lstm:
            h, c = state
            i, f, g, o = tf.split(from_x + tf.matmul(h, self.recurrent), 4, axis=1)
            c = tf.sigmoid(f + 1.0) * c + tf.sigmoid(i) * tf.tanh(g)
            h = tf.sigmoid(o) * tf.tanh(c)
            return h, (h, c)
        x_z, x_r, x_g = tf.split(from_x, 3, axis=1)
        h_z, h_r, h_g = tf.split(tf.matmul(state, self.recurrent) + self.bias[1], 3, axis=1)
        z = tf.sigmoid(x_z + h_z)
        h = z * state + (1.0 - z) * tf.tanh(x_g + tf.sigmoid(x_r + h_r) * h_g)
        return h, h


def v1_layer(cell: V1Cell, x: tf.Tensor, dynamic: bool, scope: str) -> tf.Tensor:
    """All outputs of a cell, `(batch, steps, units)`, by `dynamic_rnn` or by a Python loop over the rows."""
    if dynamic:
        return v1.nn.dynamic_rnn(cell, x, dtype=tf.float32, scope=scope)[0]
    state, outputs = cell.zero_state(tf.shape(x)[0], tf.float32), []
    for row in range(x.shape[1]):
        output, state = cell(x[:, row], state)
        outputs.append(output)
    return tf.stack(outputs, axis=1)


def v1_round(kind: str, layers: int, dynamic: bool) -> Round:
    """One round of the graph, session and feed_dict of TF 1.x."""
    tf.get_logger().setLevel("ERROR")  # dynamic_rnn is deprecated, which is known
    with tf.Graph().as_default() as graph:
        images, labels = v1.placeholder(tf.float32, [None, 28, 28]), v1.placeholder(tf.int64, [None])
        x = images
        for number in range(layers):
            outputs = []
            for direction in range(2 if kind == "Bi-GRU" else 1):
                with v1.variable_scope(f"layer_{number}_{direction}"):
                    cell = V1Cell(kind, x.shape[2], UNITS)
                turned = tf.reverse(x, [1]) if direction else x
                read = v1_layer(cell, turned, dynamic, f"rnn_{number}_{direction}")
                outputs.append(tf.reverse(read, [1]) if direction else read)
            x = tf.concat(outputs, axis=2)
            x.set_shape([None, 28, UNITS * len(outputs)])
        summary = tf.reduce_mean(x, axis=1) if kind == "Bi-GRU" else x[:, -1]
        scores = tf.matmul(summary, v1.get_variable("out", [x.shape[2], 10])) + v1.get_variable(
            "out_bias", [10]
        )
        loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels, scores))
        train = v1.train.AdamOptimizer(1e-3).minimize(loss)
        right = tf.reduce_mean(tf.cast(tf.equal(tf.argmax(scores, 1), labels), tf.float32))
        session = v1.Session(graph=graph)
        session.run(v1.global_variables_initializer())

    def run(batches):
        for number, (x, y) in enumerate(batches):
            last = session.run([loss, train] if number < TRAIN else [right], {images: x, labels: y})[0]
        return float(last)

    return run


def keras_round(kind: str, layers: int, unroll: bool) -> Round:
    model = keras_model(kind, layers, unroll)
    return modern_round(lambda x: model(x, training=True), model.trainable_variables)


def fast_round(kind: str, layers: int, dtype: tf.DType) -> Round:
    """The layers written by hand, with as many parts that do not wait for each other as there are cores, at most 4."""
    directions = 2 if kind == "Bi-GRU" else 1  # they do not wait for each other either
    model = Stack(kind, layers, UNITS, seed=1, dtype=dtype, parts=max(1, min(THREADS, 4) // directions))
    return modern_round(model, list(model.trainable_variables))


Form = Callable[[str, int], Round]
FORMS: dict[str, Form] = {
    "TF 1.x graph, dynamic_rnn": lambda kind, layers: v1_round(kind, layers, dynamic=True),
    "TF 1.x graph, Python loop": lambda kind, layers: v1_round(kind, layers, dynamic=False),
    "Keras layers": lambda kind, layers: keras_round(kind, layers, unroll=False),
    "Keras layers, unroll=True": lambda kind, layers: keras_round(kind, layers, unroll=True),
}
ONE_THREAD: dict[str, Form] = {
    "Keras, unroll=True, 1-thread ops": lambda kind, layers: keras_round(kind, layers, unroll=True),
    "written by hand": lambda kind, layers: fast_round(kind, layers, tf.float32),
    "written by hand, bfloat16 products": lambda kind, layers: fast_round(kind, layers, tf.bfloat16),
}


def batches_of(data) -> list[tuple[np.ndarray, np.ndarray]]:
    """The batches of one round: images `(100, 28, 28)` float32, 0 to 1, and labels `(100,)` int64."""
    random = np.random.default_rng(1)
    indices = [random.integers(0, len(data.images), BATCH) for _ in range(TRAIN + TEST)]
    return [(data.images[i].astype(np.float32) / 255, data.labels[i].astype(np.int64)) for i in indices]


def measure(kind: str, layers: int, rounds: int, data, helper: Peer, peer: Peer | None) -> dict:
    """Time one network in every form. The forms take turns, so that a disturbance meets all of them.

    Args:
        kind, layers: of NETWORKS.
        rounds: how often every form has its turn.
        data: the training images and labels.
        helper: `benchmarks.t05_one_thread`.
        peer: PyTorch's side, or None.

    Returns:
        "forms" and, with a peer, "peers": name -> seconds for 500 + 100 batches (median, quartiles, extremes) and the
        set-up time (building and the first round); "foreign": the share of the processor that others used.

    Raises:
        SystemExit: a network's last value is not a finite number, or the peer's network is another one.
    """
    column, batches, rows, set_up = column_name(kind, layers), batches_of(data), {}, {}

    def checked(name: str, seconds: float, last: float) -> float:
        if not np.isfinite(last):
            raise SystemExit(f"{name}, {kind}: the last value is {last}, it did not train; nothing written")
        return seconds * FULL

    def here(name: str, run: Round) -> float:
        start = time.perf_counter()
        last = run(batches)
        return checked(name, time.perf_counter() - start, last)

    def there(name: str) -> float:
        answer = helper.ask(name, column=column)
        return checked(name, answer["seconds"], answer["last"])

    for name, make in FORMS.items():
        if kind == "CNN" and name != "Keras layers":
            continue
        start = time.perf_counter()
        rows[name] = partial(here, name, make(kind, layers))
        rows[name]()
        set_up[name] = round(time.perf_counter() - start, 2)
    for name in ONE_THREAD if kind != "CNN" else ():
        start = time.perf_counter()
        rows[name] = partial(there, name)
        rows[name]()
        set_up[name] = round(time.perf_counter() - start, 2)
    if peer:
        answer = peer.ask(column, train=TRAIN, test=TEST)
        ours = sum(w.shape.num_elements() for w in keras_model(kind, layers).trainable_variables if matrix(w))
        if answer["matrix_weights"] != ours:
            raise SystemExit(f"PyTorch's {column} is another network: {answer} against {ours} weights")
        rows[PEER] = lambda: peer.seconds(column, train=TRAIN, test=TEST) * FULL
        set_up[PEER] = round(answer["seconds"], 2)
    found, foreign = turns.take_turns(rows, rounds, [*helper.processes, *(peer.processes if peer else ())])
    if peer:
        peer.ask(column, forget=True)
    figures = {name: {**turns.spread(values, 2), "set_up": set_up[name]} for name, values in found.items()}
    peers = {PEER: figures.pop(PEER)} if peer else {}
    return {"forms": figures, "peers": peers, "foreign": round(float(np.median(foreign)), 3)}


def matrix(weight) -> bool:
    """Whether a weight of Keras is a matrix or a kernel; biases differ from library to library."""
    return len(weight.shape) > 1 and weight.shape[0] != 2  # a GRU of Keras has its two biases in one array


def column_name(kind: str, layers: int) -> str:
    return kind if kind == "CNN" else f"{kind}-{layers}"


def table(measured: dict[str, dict]) -> dict:
    """The measured columns as rows, in the order of NETWORKS, FORMS and ONE_THREAD; what was not measured is None."""
    columns = [column_name(*network) for network in NETWORKS]

    def row(name: str, part: str) -> dict:
        cells = [measured.get(column, {}).get(part, {}).get(name, {}) for column in columns]
        keys = {"seconds": "median", "quartiles": "quartiles", "fastest": "fastest", "set_up": "set_up"}
        return {
            "name": name,
            "published": False,
            **{key: [cell.get(own) for cell in cells] for key, own in keys.items()},
        }

    published = {"name": "the original of 2018, its GPU", "seconds": PUBLISHED_2018, "published": True}
    return {
        "columns": columns,
        "rows": [published, *(row(name, "forms") for name in FORMS | ONE_THREAD)],
        "peers": [row(PEER, "peers")] if any(column["peers"] for column in measured.values()) else [],
    }


def earlier(machine: dict) -> dict[str, dict]:
    """Columns measured before on this machine with these versions; they stay when only some are measured anew."""
    stored = json.loads(RESULT.read_text(encoding="utf-8")) if RESULT.exists() else {}
    same = {**stored.get("machine", {}), "date": ""} == {**machine, "date": ""}
    return stored.get("measured", {}) if same else {}


def write(measured: dict[str, dict], rounds: int, machine: dict) -> None:
    """The result file from the columns measured so far."""
    result = {
        "what": "seconds for 500 training and 100 test batches of 100; 28 rows of 28, 256 units",
        "command": "python -m benchmarks.t05_speed",
        "method": f"median of {rounds} rounds of {TRAIN} + {TEST} batches, in turns, times {FULL}",
        "rounds": rounds,
        "foreign": float(np.median([column["foreign"] for column in measured.values()])),
        **table(measured),
        "measured": measured,
        "machine": machine,
    }
    write_json(RESULT, result)


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    names = {column_name(*network): network for network in NETWORKS}
    parser.add_argument("networks", nargs="*", help=f"some of {', '.join(names)}; none: all")
    parser.add_argument("--rounds", type=int, default=7, help="timed rounds of 10 + 2 batches (default 7)")
    parser.add_argument("--peers", action="store_true", help="measure PyTorch beside")
    args = parser.parse_args(argv)
    if unknown := set(args.networks) - set(names):
        parser.error(f"no network {', '.join(sorted(unknown))}; there are {', '.join(names)}")
    machine, data = facts(), load_mnist().train
    measured = earlier(machine) if args.networks else {}
    helper_process = Peer("benchmarks.t05_one_thread", interpreter=sys.executable)
    with helper_process as helper, Peer("t05") if args.peers else nullcontext() as peer:
        versions = {"pytorch": peer.about["pytorch"]} if peer else {}
        for column in args.networks or names:
            print(f"{column}: building", flush=True)
            found = measure(*names[column], args.rounds, data, helper, peer)
            measured[column] = {**found, **versions, "date": machine["date"]}
            keras.backend.clear_session()
            figures = {name: cell["median"] for name, cell in (found["forms"] | found["peers"]).items()}
            print(column, figures, flush=True)
            write(measured, args.rounds, machine)  # an interrupted run keeps what it has
    print(f"written: {os.path.relpath(RESULT)}")


if __name__ == "__main__":
    main()
