"""The two speed tables of T_11: 100 batches of 128 pictures of 256x256, by the ways of 2018 and by today's.

    make data                               # the pictures, once
    python -m benchmarks.t11_images         # about four minutes; writes benchmarks/results/T_11.json

Every way delivers shuffled batches `(128, 256, 256, 3)` with labels; all but two deliver float32 from -1 to 1. Each
measurement is one whole pass over the 3,200 pictures, 25 batches, times four; the clock runs from the request for the
first batch to the arrival of the last. The files are in the memory of the operating system, no disk takes part.

The ways run in turns, so that a slow moment of the machine hits all of them. A measurement in which other programs
used more than 6 % of the processor is not counted and is repeated. The table gives medians and the range.

The decode limit is libpng alone: one thread for each core calls `tf.io.decode_png` on bytes in memory and throws the
pixels away. No way that decodes these files with TensorFlow can be faster.
"""

from __future__ import annotations

import argparse
import gc
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from utils.lesson import DATA, RESULTS, quiet_start, write_json

quiet_start()  # TensorFlow without its start-up messages
import keras
import numpy as np
import psutil
import tensorflow as tf

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


def measure(way: Way) -> dict[str, float]:
    """Seconds for one pass and until its first batch, and the share of the processor that others used."""
    with way() as start:
        own, machine = psutil.Process(), psutil.cpu_times()
        own_before, began = own.cpu_times(), time.perf_counter()
        next_batch = start()
        for number in range(PASS):
            pictures, labels = next_batch()
            assert len(pictures) == len(labels) == BATCH
            if number == 0:
                first = time.perf_counter() - began
        seconds = time.perf_counter() - began
        return {"s": seconds, "first": first, "foreign": foreign(machine, own_before, seconds)}


def measure_limit(contents: list[tf.Tensor]) -> dict[str, float]:
    machine, own_before, began = psutil.cpu_times(), psutil.Process().cpu_times(), time.perf_counter()
    decode_limit(contents)
    seconds = time.perf_counter() - began
    return {"s": seconds, "first": 0.0, "foreign": foreign(machine, own_before, seconds)}


def foreign(machine_before, own_before, seconds: float) -> float:
    """The share of all cores that was busy and not with this process."""
    kinds = ("user", "nice", "system", "irq", "softirq", "steal")
    total = lambda times: sum(getattr(times, kind, 0.0) for kind in kinds)
    own = psutil.Process().cpu_times()
    mine = own.user + own.system - own_before.user - own_before.system
    return max(0.0, (total(psutil.cpu_times()) - total(machine_before) - mine) / (seconds * CORES))


def wait_for_quiet(longest: float = 10) -> None:
    """Return when the processor is idle, at the latest after `longest` seconds."""
    began = time.perf_counter()
    while psutil.cpu_percent(interval=0.2) > 100 * FOREIGN and time.perf_counter() - began < longest:
        pass


def summary(runs: list[dict[str, float]]) -> dict[str, object]:
    """Median and range of the undisturbed runs, for 100 batches; of all runs when none was undisturbed."""
    good = [run for run in runs if run["foreign"] <= FOREIGN]
    used = good or runs
    seconds = [run["s"] * SCALE for run in used]
    return {
        "s": round(statistics.median(seconds), 2),
        "low": round(min(seconds), 2),
        "high": round(max(seconds), 2),
        "first_batch_s": round(statistics.median(run["first"] for run in used), 3),
        "rounds": len(used),
        "disturbed": not good,
    }


def share_of_limit(runs: list[dict[str, float]], limits: list[dict[str, float]]) -> float:
    """How much of the possible speed a way reaches: the median of the ratios within a turn, undisturbed ones first."""
    limit_of = {run["turn"]: run for run in limits}
    pairs = [(run, limit_of[run["turn"]]) for run in runs if run["turn"] in limit_of]
    good = [pair for pair in pairs if max(run["foreign"] for run in pair) <= FOREIGN]
    return round(statistics.median(limit["s"] / run["s"] for run, limit in good or pairs), 3)


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=6, help="stop measuring after this time (default 6)")
    args = parser.parse_args(argv)
    folder = DATA / "robohash"
    if len(listing(folder)[0] if folder.is_dir() else []) != PASS * BATCH:
        sys.exit(f"{folder} does not hold the {PASS * BATCH:,} pictures of T_11. Make them:  make data")
    tf.get_logger().setLevel("ERROR")  # the functions of TF 1.x say that they are deprecated
    with tempfile.TemporaryDirectory() as work:
        png, jpeg = write_records(folder, Path(work))
        contents = [tf.constant(Path(path).read_bytes()) for path in listing(folder)[0]]
        table = {name: lambda way=way: measure(way) for name, way in methods(folder, png, jpeg).items()}
        table[LIMIT] = lambda: measure_limit(contents)
        wanted = dict.fromkeys(table, ROUNDS)
        threads = {name: lambda way=way: measure(way) for name, way in thread_ways(png).items()}
        wanted |= dict.fromkeys(threads, THREAD_ROUNDS)
        table |= threads
        runs: dict[str, list[dict]] = {name: [] for name in table}
        for name in (LIMIT, "shuffle paths, decode", "cached uint8, batch, to float"):
            table[name]()  # warm up
        began, turn = time.perf_counter(), 0
        undisturbed = lambda name: sum(run["foreign"] <= FOREIGN for run in runs[name])
        while time.perf_counter() - began < args.minutes * 60:
            missing = [name for name in table if undisturbed(name) < wanted[name]]
            if not missing:
                break
            turn += 1
            for name in [*missing, *({LIMIT} - set(missing))]:
                wait_for_quiet()
                runs[name].append(table[name]() | {"turn": turn})
                if time.perf_counter() - began > args.minutes * 60 and turn > 1:
                    break
            spent = time.perf_counter() - began
            print(f"turn {turn}: {len(missing)} rows measured, {spent:.0f} s", flush=True)
    results = {name: summary(values) for name, values in runs.items()}
    rows = {name: results[name] for name in results if name not in threads}
    for name, row in rows.items():
        row["share_of_limit"] = share_of_limit(runs[name], runs[LIMIT])
        row["seconds_2018"] = ROWS_2018.get(name)
    content = {
        "rows": rows,
        "threads": {name: results[name] for name in threads},
        "threads_2018_seconds_for_500_batches": THREADS_2018,
        "batches_measured": PASS,
        "scaled_by": SCALE,
        "machine": facts(),
    }
    write_json(RESULTS / "T_11.json", content)
    for name, row in results.items():
        note = " (disturbed)" if row["disturbed"] else ""
        print(f"{name:<36}{row['s']:>8.2f} s   {row['low']:.2f} to {row['high']:.2f}{note}")


if __name__ == "__main__":
    main()
