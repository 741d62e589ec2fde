"""The speed table of T_10: 100 batches of 128 MNIST digits from memory, by the ways of 2018 and by today's.

    python -m benchmarks.t10_dataset               # about two minutes; writes benchmarks/results/T_10.json
    python -m benchmarks.t10_dataset --peers       # PyTorch beside

Every way delivers 100 shuffled batches `(128, 784)` float32 with labels out of 55,000 rows. The ways run in turns,
several rounds, so that a busy moment of the machine hits all of them; the table gives medians and the range.
The worst way of 2018 is run at a tenth of the rows and a twentieth of the batches and scaled up linearly, which
flatters it: its cost per call grows faster than the number of rows.
"""

from __future__ import annotations

import argparse
import itertools
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack

from utils.lesson import RESULTS, quiet_start, write_json

quiet_start()  # TensorFlow without its start-up messages
import numpy as np
import tensorflow as tf

from benchmarks import turns
from benchmarks.peer import Peer
from benchmarks.peers.serve import serve
from tools.machine import facts
from utils.mnist import load_mnist

v1 = tf.compat.v1
BATCH = 128
BATCHES = 100
SMALL_ROWS, SMALL_BATCHES = 5500, 5
ROWS_2018 = {
    "one-shot, 2000": 125.0,
    "one-shot, 5000": 149.0,
    "initializable, 2000": 0.7,
    "initializable, 5000": 0.7,
}


def arrays(rows: int = 55000) -> tuple[np.ndarray, np.ndarray]:
    """MNIST's training images `(rows, 784)` float32 in 0..1 and labels `(rows,)` int64."""
    train = load_mnist().train
    images = train.images[:rows].reshape(rows, 784).astype(np.float32) / 255
    return images, train.labels[:rows].astype(np.int64)


# ---- 2018 ----------------------------------------------------------------------------------------------------


def graph_way(images, labels, buffer: int, one_shot: bool, in_loop: bool, batches: int) -> None:
    """TF 1.x iterators. `in_loop` calls `get_next()` for every batch, as nearly all code of 2018 did by mistake."""
    with tf.Graph().as_default() as graph:
        sources = (images, labels)
        if not one_shot:
            sources = (v1.placeholder(tf.float32, images.shape), v1.placeholder(tf.int64, labels.shape))
        dataset = tf.data.Dataset.from_tensor_slices(sources).shuffle(buffer).batch(BATCH).repeat()
        make = v1.data.make_one_shot_iterator if one_shot else v1.data.make_initializable_iterator
        iterator = make(dataset)
        following = None if in_loop else iterator.get_next()
        with v1.Session(graph=graph) as session:
            if not one_shot:
                session.run(iterator.initializer, dict(zip(sources, (images, labels))))
            for _ in range(batches):
                x, _y = session.run(iterator.get_next() if in_loop else following)
                assert x.shape == (BATCH, 784)


# ---- today ---------------------------------------------------------------------------------------------------


def drain(batches: Iterable) -> None:
    """Take 100 batches from a data set, whose iterator then starts, or from an iterator."""
    for x, _y in itertools.islice(batches, BATCHES):
        assert x.shape == (BATCH, 784)


def gather_batches(images: np.ndarray, labels: np.ndarray) -> tf.data.Dataset:
    """Shuffle the row numbers once an epoch, batch the numbers, fetch a whole batch of rows in one operation."""
    x, y = tf.constant(images), tf.constant(labels)
    rows = len(images)
    return (
        tf.data.Dataset.range(rows)
        .batch(rows)
        .map(tf.random.shuffle)  # (rows,): all numbers in one tensor, a perfect shuffle
        .unbatch()
        .batch(BATCH, drop_remainder=True)
        .map(lambda index: (tf.gather(x, index), tf.gather(y, index)))
        .prefetch(2)
    )


def permuted_batches(images: np.ndarray, labels: np.ndarray) -> tf.data.Dataset:
    """As `gather_batches`, with the permutation cut into batches by a reshape: no row number travels alone."""
    x, y = tf.constant(images), tf.constant(labels)
    whole = len(images) // BATCH * BATCH

    def epoch(_):
        order = tf.random.shuffle(tf.range(len(images)))[:whole]
        return tf.data.Dataset.from_tensor_slices(tf.reshape(order, [-1, BATCH]))  # (batches, 128)

    fetch = lambda index: (tf.gather(x, index), tf.gather(y, index))
    return tf.data.Dataset.range(1).repeat().flat_map(epoch).map(fetch).prefetch(2)


def permuted_bytes(images: np.ndarray, labels: np.ndarray) -> tf.data.Dataset:
    """As `permuted_batches`, from rows of bytes: a quarter of the memory is read, and a whole batch becomes float."""
    x, y = tf.constant(np.rint(images * 255).astype(np.uint8)), tf.constant(labels)
    whole = len(images) // BATCH * BATCH

    def epoch(_):
        order = tf.random.shuffle(tf.range(len(images)))[:whole]
        return tf.data.Dataset.from_tensor_slices(tf.reshape(order, [-1, BATCH]))  # (batches, 128)

    fetch = lambda index: (tf.cast(tf.gather(x, index), tf.float32) * (1 / 255), tf.gather(y, index))
    options = tf.data.Options()
    options.autotune.enabled = False  # nothing to tune here, and its thread costs more than it finds
    return tf.data.Dataset.range(1).repeat().flat_map(epoch).map(fetch).prefetch(2).with_options(options)


def numpy_batches(images: np.ndarray, labels: np.ndarray) -> Iterator[tuple[tf.Tensor, tf.Tensor]]:
    """No tf.data: index the array and hand it over."""
    order = np.random.default_rng(1).permutation(len(images))
    for start in range(0, BATCHES * BATCH, BATCH):
        index = order[start : start + BATCH]
        yield tf.constant(images[index]), tf.constant(labels[index])


def copy_limit(images: np.ndarray) -> None:
    """What the memory allows: copy the rows of 100 shuffled batches into one buffer, nothing else."""
    order = np.random.default_rng(1).permutation(len(images))
    buffer = np.empty((BATCH, 784), np.float32)
    for start in range(0, BATCHES * BATCH, BATCH):
        np.take(images, order[start : start + BATCH], axis=0, out=buffer, mode="clip")


KEPT = "permuted bytes, freed memory kept"
# glibc may give freed memory back to the system, which has to fill new pages with zeros for the next batch. These
# settings let it keep what it has; they work from the start of a program only. The row tests whether this matters.
KEEP = {
    "MALLOC_TRIM_THRESHOLD_": str(2**30),
    "MALLOC_MMAP_THRESHOLD_": str(2**25),
    "MALLOC_TOP_PAD_": str(2**26),
}


def ways() -> dict[str, tuple[Callable[[], object], float, int]]:
    """Name -> (what to run, factor to scale its time by, rounds)."""
    images, labels = arrays()
    few_images, few_labels = images[:SMALL_ROWS], labels[:SMALL_ROWS]
    scale = len(images) / SMALL_ROWS * BATCHES / SMALL_BATCHES
    slices = tf.data.Dataset.from_tensor_slices((images, labels))
    shuffled = lambda buffer: slices.shuffle(buffer).batch(BATCH, drop_remainder=True).prefetch(2)
    batched_first = slices.batch(BATCH, drop_remainder=True).shuffle(400).prefetch(2)
    gathered, permuted = gather_batches(images, labels), permuted_batches(images, labels)
    of_bytes = permuted_bytes(images, labels)
    running = iter(of_bytes)
    return {
        "one-shot, 2000": (
            lambda: graph_way(few_images, few_labels, 2000, True, True, SMALL_BATCHES),
            scale,
            2,
        ),
        "one-shot, 5000": (
            lambda: graph_way(few_images, few_labels, 5000, True, True, SMALL_BATCHES),
            scale,
            2,
        ),
        "one-shot, 5000, get_next hoisted": (
            lambda: graph_way(images, labels, 5000, True, False, BATCHES),
            1,
            2,
        ),
        "initializable, 2000": (lambda: graph_way(images, labels, 2000, False, True, BATCHES), 1, 5),
        "initializable, 5000": (lambda: graph_way(images, labels, 5000, False, True, BATCHES), 1, 5),
        "initializable, 5000, get_next hoisted": (
            lambda: graph_way(images, labels, 5000, False, False, BATCHES),
            1,
            5,
        ),
        "slices, shuffle 2000, batch": (lambda: drain(shuffled(2000)), 1, 7),
        "slices, shuffle 5000, batch": (lambda: drain(shuffled(5000)), 1, 7),
        "slices, batch, shuffle the batches": (lambda: drain(batched_first), 1, 7),
        "shuffle indices, batch, gather": (lambda: drain(gathered), 1, 7),
        "permutation cut by a reshape, gather": (lambda: drain(permuted), 1, 7),
        "permuted bytes, gather, to float": (lambda: drain(of_bytes), 1, 7),
        "permuted bytes, iterator already running": (lambda: drain(running), 1, 7),
        "NumPy index, tf.constant": (lambda: list(numpy_batches(images, labels)), 1, 7),
        "copy limit": (lambda: copy_limit(images), 1, 7),
    }


def measure(rounds: int, peers: bool) -> dict:
    """All ways in turns, with the best one once more in a process that keeps its memory, and PyTorch's.

    Args:
        rounds: at most so many of each way; the slow ways of 2018 have fewer.
        peers: whether to measure PyTorch.

    Returns:
        The result file's "rows" and "peers", and "foreign", the share of the processor that others used.
    """
    table, times, foreign, versions = ways(), {}, [], {}
    with ExitStack() as stack:
        helper = stack.enter_context(Peer("benchmarks.t10_dataset", sys.executable, ["--serve"], KEEP))
        runs = {name: lambda work=work: turns.timed(work) for name, (work, _, _) in table.items()}
        runs[KEPT] = lambda: helper.seconds(KEPT)
        helpers, peer_rows = [helper], []
        if peers:
            peer = stack.enter_context(Peer("t10"))
            helpers.append(peer)
            versions, peer_rows = {"pytorch": peer.about["pytorch"]}, peer.about["rows"]
            runs |= {name: lambda name=name: peer.seconds(name) for name in peer_rows}
        processes = [process for helper in helpers for process in helper.processes]
        for turn in range(rounds + 1):  # the first turn warms up
            meter = turns.Meter(processes)
            for name, run in runs.items():
                _, scale, wanted = table.get(name, (None, 1, rounds))
                if turn <= wanted:
                    milliseconds = run() * scale * 1e3
                    if turn:
                        times.setdefault(name, []).append(milliseconds)
            foreign.append(meter.foreign())
            print(f"turn {turn} of {rounds}, {meter.seconds():.1f} s", flush=True)

    def row(name: str) -> dict:
        figures = turns.spread(times[name], 2)
        return {
            "ms": figures["median"],
            "quartiles": figures["quartiles"],
            "low": figures["fastest"],
            "high": figures["slowest"],
            "rounds": figures["rounds"],
            "scaled": table.get(name, (None, 1))[1] != 1,
            "seconds_2018": ROWS_2018.get(name),
        }

    order = [*table]
    order.insert(order.index("permuted bytes, gather, to float") + 1, KEPT)
    return {
        "rows": {name: row(name) for name in order},
        "peers": {name: row(name) for name in peer_rows},
        "foreign": round(sorted(foreign[1:])[rounds // 2], 3),
        **versions,
    }


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7, help="timed rounds of the fast ways (default 7)")
    parser.add_argument("--peers", action="store_true", help="measure PyTorch beside")
    parser.add_argument(
        "--serve", action="store_true", help=argparse.SUPPRESS
    )  # the helper of a running benchmark
    args = parser.parse_args(argv)
    if args.serve:
        dataset = permuted_bytes(*arrays())
        return serve({KEPT: lambda _: {"seconds": turns.timed(lambda: drain(dataset))}}, {})
    result = measure(args.rounds, args.peers)
    write_json(RESULTS / "T_10.json", {**result, "machine": facts()})
    for name, row in (result["rows"] | result["peers"]).items():
        print(f"{name:<46} {row['ms']:>10.1f} ms   {row['low']:.1f} to {row['high']:.1f}")


if __name__ == "__main__":
    main()
