"""Find what is damaged in TFRecord files, and what is still sound.

Three steps, from fast to slow, each only when the one before cannot answer:
1. the SHA-256 of a shard equals the one in the manifest: nothing has changed (about 1 GB a second);
2. TensorFlow reads the whole file to its last byte: every record is sound (about 500 MB a second);
3. plain Python goes through the file record by record (about 10 MB a second) and names each damaged one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

from utils.lesson import quiet_start

from .format import FRAMING, CorruptRecord, DataSetError, find_next_frame, read_data, walk_frames
from .manifest import Manifest, Shard, load_manifest, sha256_of

Source = str | Path | Iterable[str | Path]


class Run(NamedTuple):
    """Sound records one after the other: their file, where the first begins, and how many there are."""

    path: Path
    offset: int
    records: int


class Report(NamedTuple):
    """What was found in a file: runs of sound records, and the damage between them."""

    sound: list[Run]
    damage: list[CorruptRecord]

    @property
    def records(self) -> int:
        """How many sound records there are."""
        return sum(run.records for run in self.sound)


def open_source(source: Source) -> tuple[list[Path], Manifest | None]:
    """The files of a data set and its manifest; or of a path or several, which have none.

    Raises:
        DataSetError: a file or the manifest is not there.
    """
    if not isinstance(source, (str, Path)):
        files = [Path(path) for path in source]
    elif Path(source).is_file():
        files = [Path(source)]
    else:
        manifest = load_manifest(source)
        return manifest.files, manifest
    if not files:
        raise DataSetError("there are no files to read")
    missing = [path for path in files if not path.is_file()]
    if missing:
        raise DataSetError(f"{missing[0]} is not there")
    return files, None


def find_damage(source: Source) -> list[CorruptRecord]:
    """Everything that is wrong with the files of a data set; an empty list when it is whole.

    Args:
        source: folder of a data set, or a TFRecord file from anywhere, or a list of such files.

    Returns:
        `CorruptRecord` objects with `path`, `record`, `offset` and `reason`; raise one, or print it.
    """
    return [damage for report in check_source(source) for damage in report.damage]


def check_source(source: Source, progress: Callable[[int], object] = lambda count: None) -> list[Report]:
    """Check every file of a source; `progress` is called with the number of bytes of each piece."""
    files, manifest = open_source(source)
    shards = manifest.shards if manifest else [None] * len(files)
    return [check_file(path, shard, progress) for path, shard in zip(files, shards)]


def check_file(
    path: Path, shard: Shard | None = None, progress: Callable[[int], object] = lambda count: None
) -> Report:
    """Check one file against its entry in the manifest, if there is one, and against its own checksums."""
    if not path.is_file():
        return Report([], [CorruptRecord(path, None, None, "the file is missing")])
    size = path.stat().st_size
    if shard and size == shard.bytes and sha256_of(path, progress) == shard.sha256:
        return Report([Run(path, 0, shard.records)], [])
    report = examine(path)
    if not shard:
        progress(size)
        return report
    if not report.damage and report.records != shard.records:
        reason = f"it has {report.records:,} records, the manifest says {shard.records:,}"
        report.damage.append(CorruptRecord(path, None, None, reason))
    elif not report.damage:
        reason = "its records are sound, but it is not the file that was written: its SHA-256 is another"
        report.damage.append(CorruptRecord(path, None, None, reason))
    return report


def examine(path: Path) -> Report:
    """Check a file against its own checksums."""
    count = _count_with_tensorflow(path)
    return Report([Run(path, 0, count)], []) if count is not None else examine_plainly(path)


def _count_with_tensorflow(path: Path) -> int | None:
    """How many records TensorFlow reads from a file; None when it meets a damaged one or does not reach the end."""
    quiet_start()
    import tensorflow as tf

    zero = tf.constant(0, tf.int64)

    def add(counted: tuple[tf.Tensor, tf.Tensor], data: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return counted[0] + 1, counted[1] + FRAMING + tf.cast(tf.strings.length(data), tf.int64)

    try:
        records, size = tf.data.TFRecordDataset(str(path)).reduce((zero, zero), add)
    except tf.errors.DataLossError:
        return None
    # TensorFlow takes a header that is cut off for the end of the file. The records must fill the file.
    return int(records) if int(size) == path.stat().st_size else None


def examine_plainly(path: Path) -> Report:
    """Check a file record by record in plain Python: the runs of sound records, and each damaged one.

    Behind a record whose data is damaged the next one stands where the length says. Behind a damaged length the
    next sound header is searched; numbers then go on as if one record had been lost.
    """
    sound, damage = [], []
    start = offset = number = count = 0  # `count` sound records in a row since `start`
    while True:
        try:
            for frame in walk_frames(path, offset, number):
                try:
                    read_data(path, frame)
                    count += 1
                except CorruptRecord as error:
                    damage.append(error)
                    sound.append(Run(path, start, count))
                    start, count = frame.end, 0
                offset, number = frame.end, frame.number + 1
            break
        except CorruptRecord as error:
            damage.append(error)
            sound.append(Run(path, start, count))
            found = find_next_frame(path, offset + 1)
            if found is None:
                count = 0
                break
            start = offset = found
            number, count = number + 1, 0
    sound.append(Run(path, start, count))
    return Report([run for run in sound if run.records], damage)
