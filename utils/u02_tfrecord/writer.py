"""The engine of the three writers: order, threads, shards, checksums, and a folder that appears whole or not at all.

    order      a permutation of the record numbers from the seed, cut into `shards` parts of nearly equal size
    encode     threads turn pieces of that order into bytes. Reading files and decoding pictures run outside Python's
               interpreter lock, so threads share that work well; records of small arrays are built by Python itself
               and gain nothing, but take less time altogether than processes need to start
    write      one thread writes the bytes in order; the result does not depend on the number of threads
    publish    all of it happens in `<dst>.part`, which is renamed to `<dst>` when the manifest is written

Only the record numbers and the pieces under way are in memory, whatever the size of the data set.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import TypeVar

import numpy as np
from tqdm import tqdm

from utils.lesson import quiet_start

from .class_folders import printable
from .format import DataSetError
from .manifest import NAME, Manifest, Shard, load_manifest, sha256_of

try:
    import fcntl
except ImportError:  # Windows without WSL has no such lock; two writers of one data set are not noticed there
    fcntl = None

UNITS = {"arrays": "records", "sequences": "sequences", "images": "pictures"}
# What a thread encodes at a time: large enough to be worth the hand-over, small enough that several may wait.
PIECE_BYTES = 1_000_000
Task = TypeVar("Task")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Skipped:
    """Stands for a record that could not be made: the file, the reason and, for a picture, its label."""

    file: str
    reason: str
    label: int | None = None


@dataclass
class Written:
    """How much has been written so far."""

    records: int = 0
    bytes: int = 0

    def records_of(self, size: int) -> int:
        """How many records make about `size` bytes, judged by those written: 1 to 256; before the first, 1."""
        return max(1, min(256, size * self.records // max(self.bytes, 1)))


class Staging:
    """The folder `<dst>.part` in which a data set grows; `publish` gives it its name.

    Used as a context: leaving it without `publish` (an error, Ctrl-C) removes the folder. A killed process leaves
    it behind; the next writer of the same data set locks it, empties it and begins again.

    Raises:
        DataSetError: `dst` exists and may not be replaced, or another process is writing it.
    """

    def __init__(self, dst: str | Path, overwrite: bool):
        self.dst = Path(os.path.abspath(dst))
        self.folder = self.dst.with_name(self.dst.name + ".part")
        self.overwrite = overwrite
        self.scratch = self.folder / "scratch"  # for what a writer unpacks; not part of the data set
        self.published = False

    def __enter__(self) -> Staging:
        check_destination(self.dst, self.overwrite)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._lock = os.open(self.folder, os.O_RDONLY) if fcntl else None
        except OSError as error:
            raise DataSetError(f"cannot write to {self.folder}: {error.strerror}") from None
        try:
            if fcntl:
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._lock)
            raise DataSetError(f"another process is writing {self.dst} at this moment") from None
        _empty(self.folder)
        return self

    def publish(self, manifest: Manifest) -> None:
        """Write the manifest and rename the folder to `dst`, in place of an older data set when there is one."""
        shutil.rmtree(self.scratch, ignore_errors=True)
        manifest.save()
        check_destination(self.dst, self.overwrite)  # again: much time has passed
        old = self.dst.with_name(self.dst.name + ".old.part")
        shutil.rmtree(old, ignore_errors=True)
        if self.dst.exists() and any(self.dst.iterdir()):
            self.dst.rename(old)
        self.folder.replace(self.dst)
        self.published = True
        manifest.folder = self.dst
        shutil.rmtree(old, ignore_errors=True)

    def __exit__(self, *error) -> None:
        if not self.published:
            shutil.rmtree(self.folder, ignore_errors=True)
        if self._lock is not None:
            os.close(self._lock)


def check_destination(dst: str | Path, overwrite: bool) -> None:
    """Raise `DataSetError` unless a data set may be written to `dst`: nothing is there, or one that may be replaced."""
    dst = Path(dst)
    if not dst.exists():
        return
    if not dst.is_dir():
        raise DataSetError(f"{dst} is a file; a data set is a folder")
    if not any(dst.iterdir()):
        return
    if not (dst / NAME).exists():
        raise DataSetError(f"{dst} holds files that are no data set of these tools. Choose another name")
    if not overwrite:
        raise DataSetError(
            f"{dst} exists. Choose another name, or replace it with --overwrite (overwrite=True)"
        )
    others = (
        {path.name for path in dst.iterdir()} - {NAME} - {shard.file for shard in load_manifest(dst).shards}
    )
    if others:
        raise DataSetError(f"{dst} is not replaced: it also holds {', '.join(sorted(others)[:3])}")


def _empty(folder: Path) -> None:
    for path in folder.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()


def in_order(function: Callable[[Task], Result], tasks: Iterable[Task], workers: int) -> Iterator[Result]:
    """`map(function, tasks)` on threads: the results come in the order of the tasks, few of them wait in memory."""
    pool = ThreadPoolExecutor(workers)
    waiting = deque()
    try:
        for task in tasks:
            waiting.append(pool.submit(function, task))
            if len(waiting) > 2 * workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def write_shards(
    count: int,
    encode: Callable[[np.ndarray], list[bytes | Skipped]],
    staging: Staging,
    manifest: Manifest,
    *,
    shards: int,
    workers: int | None,
    progress: bool,
) -> Manifest:
    """Write records 0 to `count - 1` in the order that `manifest.seed` asks for, then publish the data set.

    Args:
        count: how many records there are, at least 1.
        encode: turns an array of record numbers into as many byte strings, or `Skipped`. Called from threads.
        staging: the open folder.
        manifest: filled in but for shards and skipped records.
        shards: how many files, at least 1; never more than records.
        workers: how many threads; None: one for each core.
        progress: show a bar on stderr.

    Raises:
        DataSetError: there is nothing to write, an argument is out of range, or the disk is full.
    """
    for name, value, least in [("shards", shards, 1), ("workers", workers, 1), ("seed", manifest.seed, 0)]:
        whole = isinstance(value, (int, np.integer)) and value >= least
        if not whole and (name == "shards" or value is not None):
            raise DataSetError(f"{name} must be a whole number from {least} upwards, not {value!r}")
    if count < 1:
        raise DataSetError("there are no records to write")
    order = np.arange(count)
    if manifest.seed is not None:
        np.random.default_rng(manifest.seed).shuffle(order)
    parts = np.array_split(order, min(shards, count))
    written = Written()

    def tasks() -> Iterator[tuple[int, np.ndarray]]:
        for number, part in enumerate(parts):
            start = 0
            while start < len(part):
                end = start + written.records_of(PIECE_BYTES)
                yield number, part[start:end]
                start = end

    def work(task: tuple[int, np.ndarray]) -> tuple[int, list[bytes | Skipped]]:
        return task[0], encode(task[1])

    quiet_start()  # TensorFlow is loaded here, before the threads that use it start
    results = in_order(work, tasks(), workers or os.cpu_count() or 1)
    unit = UNITS[manifest.kind]
    interval = 0.1 if sys.stderr.isatty() else 10  # seconds; a log file needs no moving bar
    with tqdm(
        total=count, unit=f" {unit}", disable=not progress, desc="writing", mininterval=interval
    ) as bar:
        for number, group in groupby(results, key=lambda result: result[0]):
            name = f"data-{number:05d}-of-{len(parts):05d}.tfrecord"
            records = _kept((record for _, records in group for record in records), manifest, written, bar)
            manifest.shards.append(_write_shard(staging.folder / name, records))
    if manifest.records == 0:
        last = manifest.skipped[-1]
        raise DataSetError(f"none of the {count:,} {unit} could be read; {last['file']}: {last['reason']}")
    staging.publish(manifest)
    return manifest


def _kept(
    records: Iterable[bytes | Skipped], manifest: Manifest, written: Written, bar: tqdm
) -> Iterator[bytes]:
    """The records that could be made; the others go to `manifest.skipped`."""
    for record in records:
        bar.update()
        if isinstance(record, Skipped):
            manifest.skipped.append({"file": printable(record.file), "reason": record.reason})
            if record.label is not None:
                manifest.class_records[record.label] -= 1
            bar.set_postfix(skipped=len(manifest.skipped))
        else:
            written.records += 1
            written.bytes += len(record)
            yield record


def _write_shard(path: Path, records: Iterable[bytes]) -> Shard:
    """Write one file. It has its final name only when all of it is on the disk."""
    import tensorflow as tf

    part = path.with_name(path.name + ".part")
    count = 0
    try:
        with tf.io.TFRecordWriter(str(part)) as file:
            for record in records:
                file.write(record)
                count += 1
        with open(part, "rb") as file:
            os.fsync(file.fileno())
    except tf.errors.OpError as error:
        raise DataSetError(f"cannot write {part}: {error.message}") from None
    shard = Shard(path.name, count, part.stat().st_size, sha256_of(part))
    part.rename(path)
    return shard
