"""Train a convolutional network on MNIST, with batch normalization or without.

    python train.py                                       # with, about two minutes on a two-core CPU
    python train.py --no-batch_norm --output_dir runs/plain
    python train.py --learning_rate 0.03 --steps 500      # what the plain network cannot do
    python train.py --no-update_averages --steps 500      # the classic mistake: good in training, useless afterwards

A run that was stopped goes on when the same command is given again. `predict.py` reads what it leaves.

Paper: Ioffe and Szegedy 2015, https://arxiv.org/abs/1502.03167, section 4.1 of which is about MNIST, too. Differences:
a convolutional network instead of three dense layers, ReLU instead of sigmoid, Adam instead of plain gradient descent,
moving averages instead of a pass over the training set, slightly distorted training images.
"""

from __future__ import annotations

import argparse
import json
import math
import time

import numpy as np
import runner
from mnist import batches, distort, load, to_float
from model import Adam, Network
from runner import Stop, tf

PRESETS = {
    "cpu": {"steps": 3000, "batch_size": 100, "log_every": 100, "sample_every": 500, "save_every": 500},
    "paper": {"steps": 10000, "batch_size": 100, "log_every": 500, "sample_every": 1000, "save_every": 1000},
}
SHAPING = ("batch_norm", "momentum", "update_averages")  # flags that a checkpoint must agree with


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    yes_no = argparse.BooleanOptionalAction
    runner.common_flags(parser, output_dir="runs/m01")
    add = parser.add_argument
    add("--data_path", help="folder of the four MNIST files (default: data/MNIST_data of the repository)")
    add("--batch_norm", action=yes_no, default=True, help="normalise before each ReLU (the default)")
    add("--learning_rate", type=float, default=0.002, help="of Adam at the start (default 0.002)")
    add("--decay", action=yes_no, default=True, help="let it fall to zero along a cosine (the default)")
    add(
        "--dropout", type=float, default=0.5, help="share of the dense layer left out in a step (default 0.5)"
    )
    add(
        "--distort",
        type=float,
        default=1.0,
        help="how far training images are turned and shifted (default 1)",
    )
    add("--init_scale", type=float, default=1.0, help="factor on the initial weights (default 1)")
    add("--momentum", type=float, default=0.99, help="of the moving averages (default 0.99)")
    add("--update_averages", action=yes_no, default=True, help="move the averages in training (the default)")
    args = runner.settle(parser.parse_args(argv), PRESETS)
    for name, low, high in (
        ("dropout", 0, 1),
        ("momentum", 0, 1),
        ("distort", 0, 10),
        ("init_scale", 0, 1000),
    ):
        if not low <= getattr(args, name) < high:
            raise Stop(f"--{name} must be at least {low} and less than {high}", code=2)
    if not args.learning_rate > 0:
        raise Stop("--learning_rate must be greater than 0", code=2)
    return args


def make_network(args: argparse.Namespace) -> Network:
    """The network that the flags describe."""
    return Network(
        batch_norm=args.batch_norm,
        seed=args.seed,
        init_scale=args.init_scale,
        dropout=args.dropout,
        momentum=args.momentum,
        update_averages=args.update_averages,
        compute=tf.bfloat16 if args.mixed_precision else tf.float32,
    )


def learning_rate(args: argparse.Namespace, step: tf.Tensor) -> tf.Tensor:
    """The learning rate of a step: constant, or falling along half a cosine wave to zero at the last one."""
    if not args.decay:
        return tf.constant(args.learning_rate)
    done = tf.cast(step, tf.float32) / args.steps
    return args.learning_rate * 0.5 * (1.0 + tf.cos(math.pi * tf.minimum(done, 1.0)))


def make_step(args: argparse.Namespace, network: Network, optimizer: Adam):
    """The training step: `f(step, images, labels)` on one replica, giving its mean loss and accuracy.

    `images` are `(rows, 28, 28)` uint8, this replica's part of the global batch; `labels` `(rows,)` int32.
    """

    def step_function(step, images, labels):
        images = to_float(images)
        if args.distort:
            images = distort(images, args.seed, step, args.distort)
        with tf.GradientTape() as tape:
            logits = network(images, training=True, step=step)
            losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
            loss = tf.reduce_mean(losses)
        optimizer.apply(tape.gradient(loss, optimizer.weights), step, learning_rate(args, step))
        right = tf.argmax(logits, axis=1, output_type=tf.int32) == labels
        return {"loss": loss, "accuracy": tf.reduce_mean(tf.cast(right, tf.float32))}

    return step_function


def make_accuracy(network: Network):
    """A function that gives the share of images `(n, 28, 28)` uint8 whose label the network finds."""
    judge = tf.function(lambda images: tf.argmax(network(to_float(images)), axis=1))

    def accuracy(images: np.ndarray, labels: np.ndarray) -> float:
        parts = [judge(tf.constant(images[i : i + 1000])).numpy() for i in range(0, len(images), 1000)]
        return float(np.mean(np.concatenate(parts) == labels))

    return accuracy


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    strategy = runner.strategy_for(args)
    run = runner.Run(args, strategy, SHAPING, losses=["loss", "accuracy"])
    train, validation, test = load(args.data_path)
    with strategy.scope():
        network = make_network(args)
        optimizer = Adam(network.trainable_variables)
    first_step = run.restore(network=network, optimizer=optimizer)
    weights = sum(int(np.prod(v.shape)) for v in network.trainable_variables)
    norm = "with" if args.batch_norm else "without"
    run.say(
        f"preset {args.preset}: {args.steps} steps of {args.batch_size}; {weights:,} weights, {norm} batch norm"
    )
    accuracy = make_accuracy(network)
    started = time.perf_counter()
    run.loop(
        make_step(args, network, optimizer),
        batches(args, strategy, train, first_step),
        lambda: ({"validation_accuracy": accuracy(*validation)}, {}),
    )
    result = {"test_accuracy": accuracy(*test), "steps": args.steps, "seconds": time.perf_counter() - started}
    run.say(f"test accuracy {result['test_accuracy']:.4f} after {result['steps']} steps")
    if run.chief:
        runner.write_whole(run.folder / "result.json", json.dumps(result, indent=1).encode())


if __name__ == "__main__":
    runner.guard(main)
