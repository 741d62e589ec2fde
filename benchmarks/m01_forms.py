"""The training steps that m01's benchmark compares, and its short trainings.

A form is a function that makes a network and returns `run(steps)`, which trains so many steps and waits for the last.
All do equal work: 100 undistorted images a step, the same network, dropout, Adam, float32 unless the name says else.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable

import numpy as np

from utils.lesson import REPO, quiet_start

quiet_start()
import keras
import tensorflow as tf

FOLDER = REPO / "models" / "m01_batch_normalization"
sys.path.insert(0, str(FOLDER))  # as when the scripts in it are run
import batch_norm as layer
import mnist
import train
from model import Adam, Network

v1 = tf.compat.v1
tf.get_logger().setLevel("ERROR")  # each form traces the same functions anew, which is meant
BATCH = 100
DATA = mnist.load(None)
Run = Callable[[int], float]


def settled(flags: list[str]) -> argparse.Namespace:
    return train.parse_args(["--preset", "cpu", *flags])


def folder_form(flags: list[str], normalisation: Callable | None = None) -> Run:
    """The step of `train.py` behind its own input pipeline, with another `fused_batch_norm` where one is given."""
    args = settled([*flags, "--distort", "0"])
    network = train.make_network(args)
    step_function = train.make_step(args, network, Adam(network.trainable_variables))
    source = mnist.batches(args, tf.distribute.get_strategy(), DATA[0], 0)
    number = tf.Variable(0, dtype=tf.int64)

    @tf.function
    def compiled(batch):
        loss = step_function(number.read_value(), *batch)["loss"]
        number.assign_add(1)
        return loss

    original = layer.fused_batch_norm
    layer.fused_batch_norm = normalisation or original
    try:
        compiled(next(source))  # traced here, with the form that was put in
    finally:
        layer.fused_batch_norm = original

    def run(steps: int) -> float:
        for _ in range(steps):
            loss = compiled(next(source))
        return float(loss)

    return run


def formulas(x, gamma, beta, epsilon):
    """The formulas, operation by operation, under automatic differentiation."""
    mean, variance = layer.batch_statistics(x)
    return layer.normalise(x, mean, variance, gamma, beta, epsilon), mean, variance


def by_hand(x, gamma, beta, epsilon):
    """The formulas with the gradient by hand."""
    mean, variance = layer.batch_statistics(x)
    return (
        layer.batch_norm_by_hand(x, gamma, beta, epsilon),
        tf.stop_gradient(mean),
        tf.stop_gradient(variance),
    )


def keras_model(batch_norm: bool) -> keras.Model:
    """The network from Keras layers."""
    layers = keras.layers
    images = x = keras.Input((28, 28))
    x = layers.Rescaling(1 / 255)(layers.Reshape((28, 28, 1))(x))
    for number, make in enumerate((32, 64, 1024)):
        if number < 2:
            x = layers.Conv2D(make, 5, padding="same", use_bias=not batch_norm)(x)
        else:
            x = layers.Dense(make, use_bias=not batch_norm)(layers.Flatten()(x))
        if batch_norm:
            x = layers.BatchNormalization()(x)
        x = layers.ReLU()(x)
        if number < 2:
            x = layers.MaxPooling2D(2)(x)
    return keras.Model(images, layers.Dense(10)(layers.Dropout(0.5)(x)))


def keras_loop(batch_norm: bool) -> Run:
    """Keras layers and Keras' Adam in a `tf.function` of their own."""
    model, adam = keras_model(batch_norm), keras.optimizers.Adam(0.002)
    adam.build(model.trainable_variables)
    objective = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    source = mnist.batches(settled([]), tf.distribute.get_strategy(), DATA[0], 0)

    @tf.function
    def step(images, labels):
        with tf.GradientTape() as tape:
            loss = objective(labels, model(images, training=True))
        adam.apply_gradients(zip(tape.gradient(loss, model.trainable_variables), model.trainable_variables))
        return loss

    def run(steps: int) -> float:
        for _ in range(steps):
            loss = step(*next(source))
        return float(loss)

    return run


def graph_2018(batch_norm: bool) -> Run:
    """A TF 1.x graph and session, fed batch by batch, with the fused operation of that time."""
    with tf.Graph().as_default() as graph:
        images, labels = v1.placeholder(tf.float32, [None, 784]), v1.placeholder(tf.int32, [None])
        keep_prob, training = v1.placeholder(tf.float32, []), v1.placeholder(tf.bool, [])
        updates = []

        def get(name, shape, initial=None, trainable=True):
            return v1.get_variable(name, shape, initializer=initial, trainable=trainable, use_resource=False)

        def finished(x, features):
            if not batch_norm:
                return tf.nn.relu(x + get("bias", [features], v1.constant_initializer(0.1)))
            gamma = get("gamma", [features], v1.ones_initializer())
            beta = get("beta", [features], v1.zeros_initializer())
            pixels = x if x.shape.rank == 4 else x[:, None, None, :]
            y, mean, variance = v1.nn.fused_batch_norm(pixels, gamma, beta)
            for value, first in ((mean, v1.zeros_initializer()), (variance, v1.ones_initializer())):
                average = get(f"average_{len(updates)}", [features], first, trainable=False)
                updates.append(v1.assign_sub(average, 0.01 * (average - value)))
            return tf.nn.relu(tf.reshape(y, tf.shape(x)))

        x = tf.reshape(images, [-1, 28, 28, 1])
        for name, inputs, features in (("conv1", 1, 32), ("conv2", 32, 64)):
            with v1.variable_scope(name):
                x = finished(tf.nn.conv2d(x, get("kernel", [5, 5, inputs, features]), 1, "SAME"), features)
                x = v1.nn.max_pool(x, [1, 2, 2, 1], [1, 2, 2, 1], "SAME")
        with v1.variable_scope("fc1"):
            x = finished(tf.matmul(tf.reshape(x, [-1, 3136]), get("kernel", [3136, 1024])), 1024)
        with v1.variable_scope("fc2"):
            scores = tf.matmul(v1.nn.dropout(x, rate=1 - keep_prob), get("kernel", [1024, 10])) + get(
                "bias", [10]
            )
        loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels, scores))
        with tf.control_dependencies(updates):
            minimise = v1.train.AdamOptimizer(0.001).minimize(loss)
        session = v1.Session(graph=graph)
        session.run(v1.global_variables_initializer())
    order = np.random.default_rng(1)

    def run(steps: int) -> float:
        for _ in range(steps):
            rows = order.integers(0, len(DATA[0].labels), BATCH)
            pixels = DATA[0].images[rows].reshape(BATCH, 784).astype(np.float32) / 255
            feed = {images: pixels, labels: DATA[0].labels[rows], keep_prob: 0.5, training: True}
            value = session.run([loss, minimise], feed)[0]
        return float(value)

    return run


# The first word says in which row of the table it goes.
FORMS: dict[str, Callable[[], Run]] = {
    "graph without": lambda: graph_2018(False),
    "graph with": lambda: graph_2018(True),
    "loop without": lambda: keras_loop(False),
    "loop with": lambda: keras_loop(True),
    "ours without": lambda: folder_form(["--no-batch_norm"]),
    "ours with": lambda: folder_form([]),
    "bfloat16 without": lambda: folder_form(["--no-batch_norm", "--mixed_precision"]),
    "bfloat16 with": lambda: folder_form(["--mixed_precision"]),
    "formulas with": lambda: folder_form([], formulas),
    "by_hand with": lambda: folder_form([], by_hand),
}
PARTNER = {
    **{f"{row} with": f"{row} without" for row in ("graph", "loop", "ours", "bfloat16")},
    "formulas with": "ours without",
    "by_hand with": "ours without",
    "loop without": "ours without",
    "graph without": "ours without",
}


# ------------------------------------------------------------------------------------------------- short trainings
def trainer(flags: list[str], steps: int) -> tuple[Network, Callable[[], tuple[float, float]]]:
    """A network and a function that trains it one step and gives loss and accuracy of the batch."""
    args = settled([*flags, "--steps", str(steps)])
    network = train.make_network(args)
    step_function = train.make_step(args, network, Adam(network.trainable_variables))
    source = mnist.batches(args, tf.distribute.get_strategy(), DATA[0], 0)
    number = tf.Variable(0, dtype=tf.int64)

    @tf.function
    def compiled(batch):
        found = step_function(number.read_value(), *batch)
        number.assign_add(1)
        return found["loss"], found["accuracy"]

    return network, lambda: tuple(map(float, compiled(next(source))))


def curve(flags: list[str], steps: int, every: int, images: int) -> dict[str, list[float]]:
    """Train; give the loss of every fifth step and the accuracy on validation images every so many.

    Args:
        flags: of `train.py`.
        steps: how many.
        every: steps between two readings of the validation images.
        images: how many of these.
    """
    network, step = trainer(flags, steps)
    accuracy = train.make_accuracy(network)
    validation = DATA[1].images[:images], DATA[1].labels[:images]
    losses, readings = [], [accuracy(*validation)]
    for number in range(1, steps + 1):
        loss, _ = step()
        if number % 5 == 0:
            losses.append(round(loss, 5) if np.isfinite(loss) else None)
        if number % every == 0:
            readings.append(accuracy(*validation))
    return {"loss": losses, "accuracy": readings}


def four_readings(seed: int, steps: int, every: int, images: int) -> dict[str, list[float]]:
    """Train once; read validation images as the weights come, with four sets of statistics.

    Returns:
        Accuracies under the moving averages of momentum 0.99 and 0.999, under averages that were never updated, and
        under the statistics of each batch of 100 itself.
    """
    network, step = trainer(["--seed", str(seed), "--no-decay", "--distort", "0"], steps)
    validation = DATA[1].images[:images], DATA[1].labels[:images]
    norms = list(network.norms.values())

    def averages() -> list[tuple[np.ndarray, np.ndarray]]:
        return [(norm.moving_mean.numpy(), norm.moving_variance.numpy()) for norm in norms]

    slow, never = averages(), averages()
    dropout, accuracy = network.dropout, train.make_accuracy(network)
    by_batch = tf.function(lambda x: tf.argmax(network(mnist.to_float(x), training=True), axis=1))

    def assign(values):
        for norm, (mean, variance) in zip(norms, values):
            norm.moving_mean.assign(mean)
            norm.moving_variance.assign(variance)

    found = {"steps": [], "momentum 0.99": [], "momentum 0.999": [], "never updated": [], "own batch": []}
    for number in range(steps + 1):
        if number % every == 0:
            kept = averages()
            found["steps"].append(number)
            found["momentum 0.99"].append(accuracy(*validation))
            for name, values in (("momentum 0.999", slow), ("never updated", never)):
                assign(values)
                found[name].append(accuracy(*validation))
            network.dropout = 0.0
            parts = [by_batch(tf.constant(validation[0][i : i + 100])).numpy() for i in range(0, images, 100)]
            network.dropout = dropout
            found["own batch"].append(float(np.mean(np.concatenate(parts) == validation[1])))
            assign(kept)
        if number < steps:
            before = averages()
            step()
            for i, (old, now) in enumerate(zip(before, averages())):
                # now = 0.99 old + 0.01 batch gives the batch's statistics, which the slower averages take, too.
                batch = [(n - 0.99 * o) / 0.01 for o, n in zip(old, now)]
                slow[i] = tuple(0.999 * s + 0.001 * b for s, b in zip(slow[i], batch))
    return found
