"""Read data sets as `tf.data.Dataset`: parsed as they were written, checked before anything is read.

    dataset = read_images("runs/robohash", shuffle_files=True, shuffle_buffer=1000, seed=0)
    for element in dataset.batch(32): ...

Every reader gives one dictionary a record. Records are shuffled while they are still small encoded bytes.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from .checks import Run, Source, check_source, open_source
from .features import Feature
from .format import DataSetError
from .image_writer import decode_picture
from .manifest import Manifest, load_manifest

if TYPE_CHECKING:
    import tensorflow as tf

FILES_AT_ONCE = 4  # how many files are read in turn when their order is shuffled
BUFFER = 1 << 20  # bytes that are read from a file at a time


def read_records(
    source: Source,
    *,
    shuffle_files: bool = False,
    shuffle_buffer: int = 0,
    seed: int | None = None,
    verify: bool = True,
    on_corrupt: str = "raise",
) -> tf.data.Dataset:
    """The records as they are in the files, `()` strings of bytes.

    Args:
        source: folder of a data set, or a TFRecord file from anywhere, or a list of such files.
        shuffle_files: read the files in random order, anew in each epoch, four in turn.
        shuffle_buffer: how many records wait in a buffer from which the next is drawn at random; 0: no shuffling.
        seed: makes both repeatable.
        verify: check every file before anything is read. With False, damage shows as TensorFlow's `DataLossError`,
            which does not name the file; do without for data sets that are too large to be read twice.
        on_corrupt: "raise", or "skip" to leave damaged records out, and log a warning that names each.

    Raises:
        CorruptRecord: a record is damaged, a file is missing or is not the one that was written.
        DataSetError: there is no data set, or an argument is not possible.
    """
    import tensorflow as tf

    runs = _sound_runs(source, verify, on_corrupt)
    paths = tf.constant([str(run.path) for run in runs])
    offsets = tf.constant([run.offset for run in runs], tf.int64)
    counts = tf.constant([run.records for run in runs], tf.int64)
    dataset = tf.data.Dataset.from_tensor_slices((paths, offsets, counts))
    if shuffle_files:
        dataset = dataset.shuffle(len(runs), seed=seed)
        dataset = dataset.interleave(_open_run, cycle_length=min(FILES_AT_ONCE, len(runs)))
    else:
        dataset = dataset.flat_map(_open_run)
    if all(run.records >= 0 for run in runs):  # known, so that a progress bar has an end
        dataset = dataset.apply(tf.data.experimental.assert_cardinality(sum(run.records for run in runs)))
    if shuffle_buffer:
        dataset = dataset.shuffle(shuffle_buffer, seed=seed)
    return dataset


def _sound_runs(source: Source, verify: bool, on_corrupt: str) -> list[Run]:
    if on_corrupt not in ("raise", "skip"):
        raise DataSetError(f'on_corrupt must be "raise" or "skip", not {on_corrupt!r}')
    if not verify:
        if on_corrupt == "skip":
            raise DataSetError("damaged records can only be skipped when they are known: verify must be True")
        files, manifest = open_source(source)
        counts = [shard.records for shard in manifest.shards] if manifest else [-1] * len(files)
        return [Run(path, 0, count) for path, count in zip(files, counts)]
    reports = check_source(source)
    damage = [error for report in reports for error in report.damage]
    if damage and on_corrupt == "raise":
        raise damage[0]
    for error in damage:
        logging.getLogger(__name__).warning("skipped: %s", error)
    runs = [run for report in reports for run in report.sound]
    if damage and not runs:
        raise damage[0]
    return runs


def _open_run(path: tf.Tensor, offset: tf.Tensor, records: tf.Tensor) -> tf.data.Dataset:
    """`records` records (-1: all) from the one that begins at byte `offset`."""
    import tensorflow as tf

    # What tf.data.TFRecordDataset(path) makes, but its Python side does not know the place to begin.
    variant = tf.raw_ops.TFRecordDatasetV2(
        filenames=[path], compression_type="", buffer_size=BUFFER, byte_offsets=[offset]
    )
    return tf.data.experimental.from_variant(variant, tf.TensorSpec((), tf.string)).take(records)


# ---------------------------------------------------------------------------------------------- the three kinds


def read_arrays(folder: str | Path, *, batch_size: int | None = None, **options) -> tf.data.Dataset:
    """A data set of `write_arrays`: each array's row under its name, with the type and shape it had.

    Args:
        folder: of the data set.
        batch_size: records parsed together, `(batch, …)`, several times faster than one by one; None: one by one.
        **options: as in `read_records`.
    """
    import tensorflow as tf

    features = _manifest(folder, "arrays").features
    parsers = {name: feature.parser() for name, feature in features.items()}
    parse = tf.io.parse_example if batch_size else tf.io.parse_single_example
    records = read_records(folder, **options)
    if batch_size:
        records = records.batch(batch_size)
    return records.map(
        lambda data: _decoded(parse(data, parsers), features), num_parallel_calls=tf.data.AUTOTUNE
    )


def read_images(folder: str | Path, *, decode: bool = True, **options) -> tf.data.Dataset:
    """A data set of `write_images`: "image" `(height, width, 3)` uint8 0 to 255, "label" int64, "file" string.

    Pictures may differ in size: resize them before `batch`. Of a moving picture the first frame is read.

    Args:
        folder: of the data set.
        decode: False leaves "image" the `()` string of the encoded bytes.
        **options: as in `read_records`.
    """
    import tensorflow as tf

    features = _manifest(folder, "images").features
    parsers = {name: feature.parser() for name, feature in features.items()}

    def parse(data: tf.Tensor) -> dict[str, tf.Tensor]:
        element = tf.io.parse_single_example(data, parsers)
        if decode:
            element["image"] = tf.ensure_shape(decode_picture(element["image"]), (None, None, 3))
        return element

    return read_records(folder, **options).map(parse, num_parallel_calls=tf.data.AUTOTUNE)


def read_sequences(folder: str | Path, **options) -> tf.data.Dataset:
    """A data set of `write_sequences`: the context's values and, for each sequence X, X `(steps, …)` and X_length.

    Args:
        folder: of the data set.
        **options: as in `read_records`.
    """
    import tensorflow as tf

    manifest = _manifest(folder, "sequences")
    context = {name: feature.parser() for name, feature in manifest.features.items()}
    steps = {name: feature.parser(sequence=True) for name, feature in manifest.sequences.items()}

    def parse(data: tf.Tensor) -> dict[str, tf.Tensor]:
        single, sequences = tf.io.parse_single_sequence_example(data, context, steps)
        element = _decoded(single, manifest.features) | _decoded(sequences, manifest.sequences)
        for name in sequences:
            element[f"{name}_length"] = tf.shape(sequences[name], out_type=tf.int64)[0]
        return element

    return read_records(folder, **options).map(parse, num_parallel_calls=tf.data.AUTOTUNE)


def _manifest(folder: str | Path, kind: str) -> Manifest:
    manifest = load_manifest(folder)
    if manifest.kind != kind:
        raise DataSetError(f"{folder} is a data set of {manifest.kind}: read it with read_{manifest.kind}")
    return manifest


def _decoded(parsed: dict[str, tf.Tensor], features: dict[str, Feature]) -> dict[str, tf.Tensor]:
    return {name: features[name].decode(value) for name, value in parsed.items()}


# ---------------------------------------------------------------------------------------------- batches of sequences


def padded_batches(dataset: tf.data.Dataset, batch_size: int) -> tf.data.Dataset:
    """Batches `(batch, longest of the batch, …)`: shorter sequences are filled up with zeros (text: empty)."""
    return dataset.padded_batch(batch_size)


def bucketed_batches(
    dataset: tf.data.Dataset, batch_size: int, boundaries: Sequence[int], by: str | None = None
) -> tf.data.Dataset:
    """Padded batches of sequences of similar length, which need less padding.

    Args:
        dataset: from `read_sequences`.
        batch_size: sequences in a batch; the last batch of each bucket may be smaller.
        boundaries: lengths that divide the buckets: `[10, 20]` makes them for 0–9, 10–19 and 20 or more steps.
        by: the sequence whose length counts; None when there is only one.

    Raises:
        DataSetError: there are several sequences and `by` does not say which.
    """
    import tensorflow as tf

    spec = dataset.element_spec
    names = [
        name.removesuffix("_length") for name in spec if name.removesuffix("_length") in spec.keys() - {name}
    ]
    if by is None and len(names) == 1:
        by = names[0]
    if by not in names:
        raise DataSetError(
            f"by must name the sequence whose length counts: {', '.join(names) or 'there is none'}"
        )
    return dataset.bucket_by_sequence_length(
        lambda element: tf.cast(element[f"{by}_length"], tf.int32),  # it compares with int32 boundaries
        bucket_boundaries=list(boundaries),
        bucket_batch_sizes=[batch_size] * (len(boundaries) + 1),
    )


def ragged_batches(dataset: tf.data.Dataset, batch_size: int) -> tf.data.Dataset:
    """Batches in which sequences are `tf.RaggedTensor`s `(batch, None, …)`: no padding at all."""
    return dataset.ragged_batch(batch_size)
