"""Test accuracy of the recurrent networks of T_05 at the size of 2018, three seeds each.

Two layers of 256 units, 5,000 steps of 100 images: LSTM, GRU and bidirectional GRU. The 2018 original reported
one run of each. Here each row is the mean and the spread of three, taken after the last step: no choosing of the
best step, and the test images are looked at once. The recipe was chosen on the validation images.

    python -m benchmarks.t05_accuracy

writes `benchmarks/results/T_05_2018_size.json`. A run is one process with one thread, as many at a time as there
are processors; each saves its state every 250 steps under `build/t05_accuracy/`, so that the command, killed at
any moment and started again, goes on where it was and ends with the same numbers.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import functools
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from tools.machine import facts
from utils.lesson import REPO, RESULTS, quiet_start, write_json

KINDS = ("LSTM", "GRU", "Bi-GRU")
SEEDS = (1, 2, 3)
PUBLISHED = {"LSTM": 0.9891, "GRU": 0.9873, "Bi-GRU": 0.9904}  # the README of 2018, one run each

LAYERS, UNITS, STEPS, BATCH = 2, 256, 5000, 100  # the size of 2018
PEAK_RATE = 2e-3  # Adam's learning rate after the warm-up; a cosine takes it to zero at the last step
WARM_UP = 250  # steps; recurrent networks may diverge when the full rate meets random weights
CLIP = 1.0  # longest gradient allowed, over all weights together
DROPOUT = 0.3  # on each layer's outputs
SAVE_EVERY = 250  # steps

RESULT = RESULTS / "T_05_2018_size.json"
# The folder carries the recipe's name: a state saved under one recipe is never continued under another.
WORK = REPO / "build" / "t05_accuracy" / f"{LAYERS}x{UNITS}_{STEPS}_steps_rate_{PEAK_RATE}_dropout_{DROPOUT}"


def learning_rate(step: int, steps: int, peak: float) -> float:
    """Linear warm-up to `peak`, then half a cosine down to zero at `steps`; `step` counts from zero."""
    if step < WARM_UP:
        return peak * (step + 1) / WARM_UP
    return peak * 0.5 * (1.0 + np.cos(np.pi * (step - WARM_UP) / (steps - WARM_UP)))


@functools.lru_cache(maxsize=2)
def epoch_order(epoch: int, seed: int, examples: int) -> np.ndarray:
    """The order of the training images in one epoch; the same for the same epoch and seed, in every process."""
    return np.random.default_rng([seed, epoch]).permutation(examples)


def batch_indices(step: int, seed: int, examples: int) -> np.ndarray:
    """Which training images step `step` sees: every image once an epoch, each epoch in its own order."""
    epoch, position = divmod(step * BATCH, examples)
    indices = epoch_order(epoch, seed, examples)[position : position + BATCH]
    if len(indices) == BATCH:
        return indices
    return np.concatenate([indices, epoch_order(epoch + 1, seed, examples)[: BATCH - len(indices)]])


def run(kind: str, seed: int, steps: int, peak: float, dropout: float, on: str, folder: Path) -> None:
    """Train one network, from its last saved state if there is one, and write its result file.

    Args:
        kind, seed: see `Stack`.
        steps: training steps; the learning rate reaches zero at the last.
        peak: the highest learning rate.
        dropout: share of outputs dropped.
        on: "test" or "validation", the images that accuracy is counted on.
        folder: where state and result go.
    """
    quiet_start()
    import tensorflow as tf

    from benchmarks.t05_fast_rnn import Stack
    from utils.mnist import load_mnist

    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    data = load_mnist()
    images, labels = tf.constant(data.train.images), tf.constant(data.train.labels, tf.int64)
    model = Stack(kind, LAYERS, UNITS, seed, dtype=tf.bfloat16)
    weights = model.trainable_variables
    means = [tf.Variable(tf.zeros_like(weight)) for weight in weights]
    squares = [tf.Variable(tf.zeros_like(weight)) for weight in weights]
    done, seconds = tf.Variable(0, dtype=tf.int64), tf.Variable(0.0, dtype=tf.float64)
    checkpoint = tf.train.Checkpoint(model=model, means=means, squares=squares, done=done, seconds=seconds)
    manager = tf.train.CheckpointManager(checkpoint, folder / "state", max_to_keep=1)
    if manager.latest_checkpoint:
        checkpoint.restore(manager.latest_checkpoint).assert_consumed()

    @tf.function
    def train_step(indices, rate, step):
        x = tf.cast(tf.gather(images, indices), tf.float32) / 255.0  # (batch, 28, 28)
        with tf.GradientTape() as tape:
            logits = model(x, dropout, seed=tf.stack([tf.cast(step, tf.int32), seed]))
            loss = tf.reduce_mean(
                tf.nn.sparse_softmax_cross_entropy_with_logits(tf.gather(labels, indices), logits)
            )
        gradients, _ = tf.clip_by_global_norm(tape.gradient(loss, weights), CLIP)
        power = tf.cast(step + 1, tf.float32)
        for weight, mean, square, gradient in zip(weights, means, squares, gradients):
            tf.raw_ops.ResourceApplyAdam(  # one pass over the weights; Keras' Adam makes about ten
                var=weight.handle,
                m=mean.handle,
                v=square.handle,
                beta1_power=tf.pow(0.9, power),
                beta2_power=tf.pow(0.999, power),
                lr=rate,
                beta1=0.9,
                beta2=0.999,
                epsilon=1e-7,
                grad=gradient,
            )
        return loss

    @tf.function
    def predict(x):
        return tf.argmax(model(tf.cast(x, tf.float32) / 255.0), axis=1)

    losses, started = [], time.perf_counter()
    for step in range(int(done.numpy()), steps):
        rate = tf.constant(learning_rate(step, steps, peak), tf.float32)
        losses.append(train_step(batch_indices(step, seed, len(images)), rate, tf.constant(step, tf.int64)))
        if (step + 1) % SAVE_EVERY == 0 or step + 1 == steps:
            loss = float(np.mean(losses))
            if not np.isfinite(loss):
                raise SystemExit(
                    f"{kind} seed {seed}: the loss is {loss} at step {step + 1}; nothing written"
                )
            seconds.assign_add(time.perf_counter() - started)
            losses, started = [], time.perf_counter()
            done.assign(step + 1)
            manager.save()
            print(
                f"{kind} seed {seed} step {step + 1:>5,} loss {loss:.4f} {seconds.numpy():.0f} s", flush=True
            )

    split = getattr(data, on)
    right = [predict(x).numpy() == y for x, y in zip(np.split(split.images, 20), np.split(split.labels, 20))]
    accuracy = float(np.mean(np.concatenate(right)))
    print(f"{kind} seed {seed} {on} accuracy {accuracy:.4f}", flush=True)
    write_json(
        folder / "result.json",
        {"kind": kind, "seed": seed, "accuracy": accuracy, "train_seconds": round(float(seconds.numpy()), 1)},
    )


def collect() -> dict:
    """Every finished run of the full size as one table; a seed that is not there is not counted."""
    finished = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(WORK.glob("*/result.json"))]
    rows = {}
    for kind in KINDS:
        runs = [result for result in finished if result["kind"] == kind and result["seed"] in SEEDS]
        values = [result["accuracy"] for result in runs]
        if values:
            rows[kind] = {
                "seeds": [result["seed"] for result in runs],
                "accuracies": values,
                "mean": round(float(np.mean(values)), 5),
                "std": round(float(np.std(values, ddof=1)), 5) if len(values) > 1 else None,
                "published_2018": PUBLISHED[kind],
            }
    return {
        "what": "test accuracy after the last step",
        "command": "python -m benchmarks.t05_accuracy",
        "recipe": {
            "layers": LAYERS,
            "units": UNITS,
            "steps": STEPS,
            "batch": BATCH,
            "optimizer": f"Adam, {WARM_UP} steps of warm-up to {PEAK_RATE}, cosine to zero",
            "clip_norm": CLIP,
            "dropout": DROPOUT,
            "products": "bfloat16 factors, float32 weights and sums",
        },
        "rows": rows,
        "machine": facts(),
    }


def main(argv: list[str] | None = None) -> None:
    """Run what is missing, several processes at a time, and write the table after each."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="runs at a time")
    parser.add_argument("--one", nargs=2, metavar=("KIND", "SEED"), help="one run, in this process")
    parser.add_argument("--steps", type=int, default=STEPS, help="with --one: training steps")
    parser.add_argument("--rate", type=float, default=PEAK_RATE, help="with --one: highest learning rate")
    parser.add_argument("--dropout", type=float, default=DROPOUT, help="with --one: share of outputs dropped")
    parser.add_argument("--on", choices=("test", "validation"), default="test", help="with --one")
    parser.add_argument("--folder", type=Path, help="with --one: where its state and result go")
    args = parser.parse_args(argv)
    if args.one:
        kind, seed = args.one[0], int(args.one[1])
        folder = args.folder or WORK / f"{kind}_{seed}"
        run(kind, seed, args.steps, args.rate, args.dropout, args.on, folder)
        return

    def job(task: tuple[str, int]) -> int:
        kind, seed = task
        if not (WORK / f"{kind}_{seed}" / "result.json").exists():
            command = [sys.executable, "-m", "benchmarks.t05_accuracy", "--one", kind, str(seed)]
            code = subprocess.run(command, cwd=REPO).returncode
            if code:
                return code
        write_json(RESULT, collect())
        return 0

    tasks = [(kind, seed) for seed in SEEDS for kind in KINDS]
    with concurrent.futures.ThreadPoolExecutor(args.jobs) as pool:
        codes = list(pool.map(job, tasks))
    failed = [f"{kind} seed {seed}" for (kind, seed), code in zip(tasks, codes) if code]
    if failed:
        raise SystemExit(f"These runs failed, see above: {', '.join(failed)}. Start the same command again.")
    for kind, row in collect()["rows"].items():
        print(f"{kind:<7} {row['mean']:.2%}  {', '.join(f'{value:.2%}' for value in row['accuracies'])}")


if __name__ == "__main__":
    main()
