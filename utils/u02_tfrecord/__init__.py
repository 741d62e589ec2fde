"""TFRecord data sets: what is in the files, writers for arrays, sequences and pictures, and readers that check.

Look at the format first: `format.py` (how a file frames its records) and `example.py` (what is inside a record)
are plain Python, short enough to read whole. The writers and readers below do the same with TensorFlow.

**Writing.** Each writer makes one *data set*: a folder of shards `data-00000-of-00004.tfrecord` … and a
`manifest.json` with the features, the counts and a SHA-256 of every shard.

    write_arrays({"image": images, "label": labels}, "runs/mnist", shards=4, seed=0)     # rows are records
    write_sequences(pairs, "runs/names", shards=4)         # pairs of ({"label": 3}, {"letters": [7, 1, 9]})
    write_images("data/robohash", "runs/robohash", shards=16)                 # one folder of pictures a class

Common keywords: `shards=1` (never more than records), `seed=0` (the order of the records; `None` keeps the order
given), `workers=None` (threads; as many as there are cores), `overwrite=False`, `progress=False` (a bar on stderr).
Each returns the `Manifest`. The data set appears under its name only when it is whole: work goes on in
`<dst>.part`, which is renamed at the end. A writer that was killed is simply started again.

As commands (`--help` tells more):

    python -m utils.u02_tfrecord.array_writer     SRC DST --shards 4      # SRC: .npz, .npy, or a folder of .npy
    python -m utils.u02_tfrecord.sequence_writer  SRC DST --shards 4      # SRC: .jsonl, or a folder of .npy
    python -m utils.u02_tfrecord.image_writer     SRC DST --shards 16     # SRC: a folder of class folders
    python -m utils.u02_tfrecord.inspector        DST                     # features, counts, checksums

**Reading** gives a `tf.data.Dataset` of dictionaries, one a record, in the order of the files:

    read_arrays("runs/mnist")          # {"image": (28, 28) uint8, "label": () int64}, as the arrays were
    read_sequences("runs/names")       # {"label": () int64, "letters": (steps,) int64, "letters_length": () int64}
    read_images("runs/robohash")       # {"image": (height, width, 3) uint8, "label": () int64, "file": () string}
    read_records("old.tfrecord")       # the records as bytes, for files from elsewhere (also a list of files)

Common keywords: `shuffle_files=False` (files in random order, four in turn), `shuffle_buffer=0` (records that wait to
be drawn at random, still encoded and so small), `seed=None` for both; `verify=True` (checksums of all files before
anything is read), `on_corrupt="raise"` or `"skip"` (damaged records are left out and named in the log).
`read_arrays(…, batch_size=128)` parses whole batches, which is faster; `read_images(…, decode=False)` leaves the
encoded bytes. Sequences of different length become batches by one of

    padded_batches(dataset, 32)                      # zeros up to the longest of each batch
    bucketed_batches(dataset, 32, [10, 20, 40])      # the same, but batches of similar length: less padding
    ragged_batches(dataset, 32)                      # tf.RaggedTensor, no padding

**Checking**: `load_manifest(folder)` (`.records`, `.features`, `.classes`, `.skipped`, `.shards`, `.files`) and
`find_damage(source)`, a list with file, record and byte of everything that is wrong. `CorruptRecord` is what
readers raise, `DataSetError` what is wrong with arguments and sources; both are `TFRecordError`.

**In plain code**: `masked_crc32c(data)`, `frame_record(data)`, `walk_frames(path)` and `read_plain(path)` from
`format.py`; `encode_example`, `parse_example` and `parse_sequence_example` from `example.py`.

Nothing here imports TensorFlow before it is needed.
"""

from importlib import import_module

# Where each public name lives. They are loaded when first used, so that `python -m utils.u02_tfrecord.…` runs the
# module it names exactly once, and `--help` answers at once.
_HOME = {
    "CorruptRecord": "format",
    "DataSetError": "format",
    "TFRecordError": "format",
    "frame_record": "format",
    "masked_crc32c": "format",
    "read_plain": "format",
    "walk_frames": "format",
    "encode_example": "example",
    "parse_example": "example",
    "parse_sequence_example": "example",
    "Feature": "features",
    "Manifest": "manifest",
    "load_manifest": "manifest",
    "write_arrays": "array_writer",
    "write_sequences": "sequence_writer",
    "write_images": "image_writer",
    "find_damage": "checks",
    "read_records": "reader",
    "read_arrays": "reader",
    "read_sequences": "reader",
    "read_images": "reader",
    "padded_batches": "reader",
    "bucketed_batches": "reader",
    "ragged_batches": "reader",
}
__all__ = sorted(_HOME)


def __getattr__(name: str):
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
