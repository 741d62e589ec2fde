"""The two speed tables of T_11: 100 batches of 128 pictures of 256x256, by the ways of 2018 and by today's.

    make data                               # the pictures, once
    python -m benchmarks.t11_images         # about six minutes; writes benchmarks/results/T_11.json
    python -m benchmarks.t11_images --peers # PyTorch beside

Every way delivers shuffled batches `(128, 256, 256, 3)` with labels; all but two deliver float32 from -1 to 1. Each
measurement is one whole pass over the 3,200 pictures, 25 batches, times four; the clock runs from the request for the
first batch to the arrival of the last. The files are in the memory of the operating system, no disk takes part.

The ways run in turns, so that a slow moment of the machine hits all of them. A measurement in which other programs
use more than 6 % of the processor is given up and repeated; on a machine that is never idle `--resume` collects
undisturbed ones over several starts. The table gives medians and the range.

The decode limit is libpng alone: one thread for each core calls `tf.io.decode_png` on bytes in memory and throws the
pixels away. No way that decodes these files with TensorFlow can be faster.
"""

from __future__ import annotations

import argparse
import gc
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path

from utils.lesson import DATA, RESULTS, RUNS, quiet_start, write_json

quiet_start()  # TensorFlow without its start-up messages
import keras
import numpy as np
import psutil
import tensorflow as tf

from benchmarks.peer import Peer
from benchmarks.turns import Meter
from tools.machine import facts
from utils import u02_tfrecord as tfrecord

v1 = tf.compat.v1
BATCH, SIDE = 128, 256
PASS = 25  # batches in a measurement; times SCALE makes 100
SCALE = 4
CORES = psutil.cpu_count()
ROUNDS, THREAD_ROUNDS = 5, 3  # undisturbed measurements of each row
FOREIGN = 0.06  # share of the processor that other programs may use
LIMIT = "decode limit"
COLLECTED = RUNS / "T_11" / "benchmark_runs.json"  # undisturbed measurements so far, for --resume
THREADS = (1, 2, 4, 6, 8)
SMALLER = 224  # the resize of 2018: 256 -> 224
FEATURES = {"image": tf.io.FixedLenFeature([], tf.string), "label": tf.io.FixedLenFeature([], tf.int64)}
ROWS_2018 = {
    "one-shot, shuffle 2000 pictures": 75.0,
    "one-shot, shuffle 5000 pictures": 86.0,
    "queue, 4 threads, capacity 2000": 11.0,
    "queue, 4 threads, capacity 5000": 11.0,
    "TFRecord queue, 3 threads, 2000": 5.3,
    "TFRecord queue, 3 threads, 5000": 5.3,
}
# TFRecord queue, seconds for 500 batches: threads -> (without resize, with resize 256 -> 224).
THREADS_2018 = {2: (35.58, 80.0), 4: (21.43, 44.0), 6: (16.35, 34.0)}

# A way is a context manager: entering prepares, what it gives starts the clock's work and returns `next_batch`.
Way = Callable[[], object]


def listing(folder: Path) -> tuple[list[str], np.ndarray]:
    """Paths and labels `(pictures,)` int64 of a folder of class folders, in alphabetical order."""
    names = sorted(path.name for path in folder.iterdir() if path.is_dir())
    pairs = [
        (str(path), label)
        for label, name in enumerate(names)
        for path in sorted((folder / name).glob("*.png"))
    ]
    return [path for path, _ in pairs], np.array([label for _, label in pairs], np.int64)


def scaled(picture: tf.Tensor) -> tf.Tensor:
    """uint8 0 to 255 -> float32 -1 to 1, any shape. A product is cheaper than the quotient `/ 127.5`."""
    return tf.cast(picture, tf.float32) * (1 / 127.5) - 1


def decoded(content: tf.Tensor) -> tf.Tensor:
    return tf.reshape(tf.io.decode_png(content, channels=3), [SIDE, SIDE, 3])


def smaller(picture: tf.Tensor, side: int) -> tf.Tensor:
    """Bilinear, without antialias, as in 2018; nothing is done when the size is right."""
    return picture if side == SIDE else tf.image.resize(picture, [side, side])


# ---- 2018 ----------------------------------------------------------------------------------------------------


@contextmanager
def graph_session(build: Callable[[], list[tf.Tensor]]) -> Iterator[Callable]:
    """A TF 1.x graph whose `build` returns the tensors of a batch; queue runners are started and stopped."""
    with tf.Graph().as_default() as graph:
        fetches = build()
        with v1.Session(graph=graph) as session:
            session.run([v1.global_variables_initializer(), v1.local_variables_initializer()])
            coordinator = v1.train.Coordinator()
            threads = []

            def start():
                threads.extend(v1.train.start_queue_runners(session, coordinator))
                return lambda: session.run(fetches)

            yield start
            coordinator.request_stop()
            coordinator.join(threads)


def one_shot(paths: list[str], labels: np.ndarray, buffer: int) -> list[tf.Tensor]:
    """2018's first way: a sequential map that decodes, then a shuffle of decoded pictures."""

    def parse(path, label):
        return scaled(decoded(tf.io.read_file(path))), label

    dataset = tf.data.Dataset.from_tensor_slices((paths, labels)).map(parse)
    dataset = dataset.shuffle(buffer).batch(BATCH, drop_remainder=True)
    options = tf.data.Options()
    options.experimental_optimization.map_parallelization = False  # in 2018 a plain map used one thread
    return list(v1.data.make_one_shot_iterator(dataset.with_options(options)).get_next())


def picture_queue(paths: list[str], labels: np.ndarray, capacity: int) -> list[tf.Tensor]:
    """2018's second way: a shuffled queue of paths, four threads that decode, a queue of decoded pictures."""
    path, label = v1.train.slice_input_producer([tf.constant(paths), tf.constant(labels)], shuffle=True)
    picture = scaled(decoded(tf.io.read_file(path)))
    return v1.train.batch([picture, label], BATCH, num_threads=4, capacity=capacity)


def record_queue(files: list[str], capacity: int, threads: int, side: int = SIDE) -> list[tf.Tensor]:
    """2018's third way: a queue of TFRecord files, a reader, a queue from which batches are drawn at random."""
    names = v1.train.string_input_producer(files, shuffle=True)
    _, record = v1.TFRecordReader().read(names)
    element = tf.io.parse_single_example(record, FEATURES)
    picture = scaled(smaller(decoded(element["image"]), side))
    return v1.train.shuffle_batch(
        [picture, element["label"]], BATCH, capacity, min_after_dequeue=100, num_threads=threads
    )


# ---- today ---------------------------------------------------------------------------------------------------


def finished(dataset: tf.data.Dataset) -> tf.data.Dataset:
    """Prefetch, and fixed numbers of threads: autotuning would need longer than a measurement to settle."""
    options = tf.data.Options()
    options.autotune.enabled = False
    return dataset.prefetch(2).with_options(options)


@contextmanager
def iterated(dataset: tf.data.Dataset) -> Iterator[Callable]:
    iterators = []

    def start():
        iterators.append(iter(dataset))
        return iterators[0].__next__

    yield start
    iterators.clear()
    gc.collect()


def decode_first(paths, labels, buffer: int) -> tf.data.Dataset:
    """The order of 2018, shuffle after map, with a parallel map."""
    dataset = tf.data.Dataset.from_tensor_slices((paths, labels))
    dataset = dataset.map(lambda p, y: (scaled(decoded(tf.io.read_file(p))), y), CORES)
    return finished(dataset.shuffle(buffer).batch(BATCH, drop_remainder=True))


def shuffle_first(paths, labels, to_float: bool = True) -> tf.data.Dataset:
    """Shuffle the paths, then decode. Without `to_float` batches stay uint8, for a model that scales them itself."""
    finish = scaled if to_float else tf.identity
    dataset = tf.data.Dataset.from_tensor_slices((paths, labels)).shuffle(len(paths))
    dataset = dataset.map(lambda p, y: (finish(decoded(tf.io.read_file(p))), y), CORES)
    return finished(dataset.batch(BATCH, drop_remainder=True))


def at_once(pictures: tf.Tensor) -> tf.Tensor:
    """The numbers of `scaled` in one pass over the memory instead of three: bytes taken as numbers from -1 to 1."""
    return tf.quantization.dequantize(tf.bitcast(pictures, tf.quint8), -1.0, 1.0, mode="MIN_COMBINED")


def float_last(paths, labels) -> tf.data.Dataset:
    """As `shuffle_first`, but batches are put together as bytes, and a whole batch becomes float in one operation."""
    dataset = tf.data.Dataset.from_tensor_slices((paths, labels)).shuffle(len(paths))
    dataset = dataset.map(lambda p, y: (decoded(tf.io.read_file(p)), y), CORES)
    return finished(dataset.batch(BATCH, drop_remainder=True).map(lambda x, y: (at_once(x), y)))


def from_records(files: list[str], jpeg: bool = False, threads: int = CORES, side: int = SIDE):
    """TFRecord files of encoded pictures; the records are shuffled while they are still encoded."""

    def parse(record):
        element = tf.io.parse_single_example(record, FEATURES)
        if jpeg:
            picture = tf.reshape(tf.io.decode_jpeg(element["image"], channels=3), [SIDE, SIDE, 3])
        else:
            picture = decoded(element["image"])
        return scaled(smaller(picture, side)), element["label"]

    dataset = tf.data.TFRecordDataset(files, buffer_size=1 << 20).shuffle(5000)
    return finished(dataset.map(parse, threads).batch(BATCH, drop_remainder=True))


def cached(paths, labels) -> tf.data.Dataset:
    """Decoded once and kept as uint8; a batch becomes float in one operation. The first pass runs here."""
    dataset = tf.data.Dataset.from_tensor_slices((paths, labels))
    dataset = dataset.map(lambda p, y: (decoded(tf.io.read_file(p)), y), CORES).cache()
    for _ in dataset:
        pass
    dataset = dataset.shuffle(len(paths)).batch(BATCH, drop_remainder=True)
    return finished(dataset.map(lambda x, y: (scaled(x), y), CORES))


def short_way(folder: Path) -> tf.data.Dataset:
    """Keras' own function; its pictures are float32 from 0 to 255. It sets the number of threads by itself."""
    dataset = keras.utils.image_dataset_from_directory(
        folder, batch_size=BATCH, image_size=(SIDE, SIDE), seed=1, verbose=False
    )
    return dataset.map(lambda x, y: (x * (1 / 127.5) - 1, y))


def decode_limit(contents: list[tf.Tensor]) -> None:
    """Decode every picture, one thread a core, and keep nothing."""

    def part(first: int) -> None:
        for content in contents[first::CORES]:
            tf.io.decode_png(content, channels=3)

    with ThreadPoolExecutor(CORES) as pool:
        list(pool.map(part, range(CORES)))


# ---- measuring -----------------------------------------------------------------------------------------------


def write_records(folder: Path, work: Path) -> tuple[list[str], list[str]]:
    """Sixteen TFRecord files with the PNGs as they are, and sixteen with JPEGs of quality 90 made from them."""
    for path in folder.glob("*/*.png"):
        target = work / "jpeg-files" / path.parent.name / f"{path.stem}.jpg"
        target.parent.mkdir(parents=True, exist_ok=True)
        picture = tf.io.decode_png(path.read_bytes(), channels=3)
        target.write_bytes(tf.io.encode_jpeg(picture, quality=90).numpy())
    png = tfrecord.write_images(folder, work / "png", shards=16, seed=1)
    jpeg = tfrecord.write_images(work / "jpeg-files", work / "jpeg", shards=16, seed=1)
    return [str(path) for path in png.files], [str(path) for path in jpeg.files]


def methods(folder: Path, png: list[str], jpeg: list[str]) -> dict[str, Way]:
    """Name -> way, in the order of the table."""
    paths, labels = listing(folder)
    datasets = {
        "decode, shuffle 5000 pictures": decode_first(paths, labels, 5000),
        "image_dataset_from_directory": short_way(folder),
        "shuffle paths, decode": shuffle_first(paths, labels),
        "shuffle paths, decode, float last": float_last(paths, labels),
        "shuffle paths, decode, stay uint8": shuffle_first(paths, labels, to_float=False),
        "TFRecord of PNG": from_records(png),
        "TFRecord of JPEG": from_records(jpeg, jpeg=True),
        "cached uint8, batch, to float": cached(paths, labels),
    }
    graphs = {}
    for size in (2000, 5000):
        graphs[f"one-shot, shuffle {size} pictures"] = lambda size=size: one_shot(paths, labels, size)
    for size in (2000, 5000):
        graphs[f"queue, 4 threads, capacity {size}"] = lambda size=size: picture_queue(paths, labels, size)
    for size in (2000, 5000):
        graphs[f"TFRecord queue, 3 threads, {size}"] = lambda size=size: record_queue(png, size, 3)
    ways = {name: lambda build=build: graph_session(build) for name, build in graphs.items()}
    ways |= {name: lambda dataset=dataset: iterated(dataset) for name, dataset in datasets.items()}
    return ways


def thread_ways(png: list[str]) -> dict[str, Way]:
    """TFRecord of PNG with 1 to 8 threads, with and without a resize: the queue of 2018 and tf.data."""
    ways = {}
    for side in (SIDE, SMALLER):
        for count in THREADS:
            ways[f"queue {side} {count}"] = lambda count=count, side=side: graph_session(
                lambda: record_queue(png, 5000, count, side)
            )
            ways[f"today {side} {count}"] = lambda count=count, side=side: iterated(
                from_records(png, threads=count, side=side)
            )
    return ways


def measure(way: Way, to_the_end: bool = False) -> dict[str, float]:
    """Seconds for one pass ("s") and until its first batch ("first"), and the share that others used ("foreign").

    Gives up, without "s", as soon as others use too much, unless `to_the_end`.
    """
    with way() as start:
        meter, first = Meter(), 0.0
        next_batch = start()
        for _number in range(PASS):
            pictures, labels = next_batch()
            assert len(pictures) == len(labels) == BATCH
            first = first or meter.seconds()
            if not to_the_end and meter.seconds() > 0.4 and meter.foreign() > FOREIGN:
                return {"foreign": meter.foreign()}
        return {"s": meter.seconds(), "first": first, "foreign": meter.foreign()}


def measure_limit(contents: list[tf.Tensor]) -> dict[str, float]:
    meter = Meter()
    decode_limit(contents)
    return {"s": meter.seconds(), "first": 0.0, "foreign": meter.foreign()}


def measure_peer(peer: Peer, row: str) -> dict[str, float]:
    """One pass in PyTorch's process. It reports when it has ended, so that the first batch is not seen.

    Raises:
        SystemExit: it delivered another number of batches.
    """
    meter = Meter(peer.processes)
    answer = peer.ask(row)
    if answer["batches"] != PASS:
        sys.exit(f"{row} delivered {answer['batches']} batches instead of {PASS}")
    return {"s": answer["seconds"], "first": 0.0, "foreign": meter.foreign()}


def undisturbed(run: dict[str, float]) -> bool:
    return "s" in run and run["foreign"] <= FOREIGN


def take_turns(
    table: dict[str, Callable[..., dict]], wanted: dict[str, int], runs: dict[str, list], minutes: float
) -> None:
    """Measure all rows in turns until each has its undisturbed runs or the time is over; `runs` takes them.

    Args:
        table: name -> a function that measures; a keyword makes it go on to the end whatever else runs.
        wanted: name -> how many undisturbed runs.
        runs: name -> its runs so far.
        minutes: time limit; afterwards a row without any run is measured once more, disturbed or not.
    """
    meter = Meter()
    print("measuring", flush=True)
    turn = max((run["turn"] for values in runs.values() for run in values), default=0)
    while meter.seconds() < minutes * 60:
        missing = [name for name in table if len(runs[name]) < wanted[name]]
        if not missing:
            return
        turn += 1
        for name in [*missing, *({LIMIT} - set(missing))]:
            for _attempt in range(5):
                run = table[name]()
                if undisturbed(run):
                    runs[name].append(run | {"turn": turn})
                    write_json(COLLECTED, runs)
                    break
                time.sleep(0.5)
            if meter.seconds() > minutes * 60:
                break
        found = sum(len(values) for values in runs.values())
        print(f"turn {turn}: {found} of {sum(wanted.values())} runs, {meter.seconds():.0f} s", flush=True)
    for name in table:
        if not runs[name]:
            runs[name].append(table[name](to_the_end=True) | {"turn": turn})


def summary(runs: list[dict[str, float]]) -> dict[str, object]:
    """Median and range of the runs, for 100 batches."""
    seconds = [run["s"] * SCALE for run in runs]
    return {
        "s": round(statistics.median(seconds), 2),
        "low": round(min(seconds), 2),
        "high": round(max(seconds), 2),
        "first_batch_s": round(statistics.median(run["first"] for run in runs), 3),
        "rounds": len(runs),
        "disturbed": not all(undisturbed(run) for run in runs),
    }


def share_of_limit(runs: list[dict[str, float]], limits: list[dict[str, float]]) -> float:
    """How much of the possible speed a way reaches: the median of the ratios within a turn, or of all medians."""
    limit_of = {run["turn"]: run["s"] for run in limits}
    ratios = [limit_of[run["turn"]] / run["s"] for run in runs if run["turn"] in limit_of]
    medians = [statistics.median(run["s"] for run in part) for part in (limits, runs)]
    return round(statistics.median(ratios or [medians[0] / medians[1]]), 3)


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=6, help="stop measuring after this time (default 6)")
    parser.add_argument("--peers", action="store_true", help="measure PyTorch beside")
    parser.add_argument("--resume", action="store_true", help="add to the runs of earlier starts")
    args = parser.parse_args(argv)
    folder, target = DATA / "robohash", RESULTS / "T_11.json"
    if len(listing(folder)[0] if folder.is_dir() else []) != PASS * BATCH:
        sys.exit(f"{folder} does not hold the {PASS * BATCH:,} pictures of T_11. Make them:  make data")
    tf.get_logger().setLevel("ERROR")  # the functions of TF 1.x say that they are deprecated
    kept = json.loads(COLLECTED.read_text()) if args.resume and COLLECTED.exists() else {}
    with tempfile.TemporaryDirectory() as work, Peer("t11") if args.peers else nullcontext() as peer:
        png, jpeg = write_records(folder, Path(work))
        contents = [tf.constant(Path(path).read_bytes()) for path in listing(folder)[0]]
        ways, more = methods(folder, png, jpeg), thread_ways(png)
        table = {name: partial(measure, way) for name, way in (ways | more).items()}
        table[LIMIT] = lambda to_the_end=False: measure_limit(contents)
        peers = peer.about["rows"] if peer else []
        table |= {name: lambda to_the_end=False, name=name: measure_peer(peer, name) for name in peers}
        wanted = {name: ROUNDS if name in ways or name == LIMIT else THREAD_ROUNDS for name in table}
        runs = {name: [run for run in kept.get(name, []) if undisturbed(run)] for name in table}
        for name in (LIMIT, "shuffle paths, decode", "cached uint8, batch, to float"):
            table[name](to_the_end=True)  # warm up
        take_turns(table, wanted, runs, args.minutes)
    rows = {name: summary(runs[name]) for name in [*ways, LIMIT]}
    beside = {name: summary(runs[name]) for name in peers}
    for name, row in (rows | beside).items():
        row["share_of_limit"] = share_of_limit(runs[name], runs[LIMIT])
        row["seconds_2018"] = ROWS_2018.get(name)
    threads = {name: summary(runs[name]) for name in more}
    content = {
        "rows": rows,
        "peers": beside,
        **({"pytorch": peer.about["pytorch"]} if peer else {}),
        "threads": threads,
        "threads_2018_seconds_for_500_batches": THREADS_2018,
        "batches_measured": PASS,
        "scaled_by": SCALE,
        "machine": facts(),
        "runs": runs,
    }
    write_json(target, content)
    for name, row in (rows | beside | threads).items():
        note = " (disturbed)" if row["disturbed"] else ""
        print(
            f"{name:<36}{row['s']:>8.2f} s   {row['low']:.2f} to {row['high']:.2f}, {row['rounds']} runs{note}"
        )


if __name__ == "__main__":
    main()
