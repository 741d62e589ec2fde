"""Write sequences of different length as TFRecord, one `tf.train.SequenceExample` a sequence.

    python -m utils.u02_tfrecord.sequence_writer SRC DST --shards 4

SRC is one of
    data.jsonl     one JSON object a line: {"label": 3, "name": "Li", "letters": [12, 9], "marks": [[1, 0], [0, 1]]}
                   single values go into the context, lists are sequences: one entry a step
    folder/        of .npy files, each one sequence `(steps, …)`: becomes the sequence "values", the context has its
                   "file"; when they lie in class folders, also a "label"

All records have the same names, types and shapes of one step. Lengths are free, also from one sequence of a record
to another, and may be 0.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from .command import print_summary, run, writer_arguments, writer_options
from .manifest import Manifest
from .sequence_sources import Listed, Streamed, open_source
from .sequence_spec import Pair
from .writer import Staging, write_shards


def write_sequences(
    records: Iterable[Pair] | str | Path,
    dst: str | Path,
    *,
    shards: int = 1,
    seed: int | None = 0,
    workers: int | None = None,
    overwrite: bool = False,
    progress: bool = False,
) -> Manifest:
    """Write a data set of sequences.

    Args:
        records: pairs `(context, sequences)` of dictionaries, such as `({"label": 3}, {"letters": [12, 9]})`. A value
            of the context is a number, a text or an array; a sequence is a list or an array `(steps, …)`. A list of
            pairs is read in any order; a generator is written to a temporary file on the way, so it may yield more
            than fits into memory. Or the path of a .jsonl file or of a folder of .npy files.
        dst: folder of the data set. It appears when everything is written.
        shards: number of files; their sizes differ by one record at most. Never more than records.
        seed: the records are shuffled; None keeps the order.
        workers: number of threads; None: one for each core.
        overwrite: replace the data set that is in `dst`.
        progress: show a bar on stderr.

    Returns:
        The `Manifest`: `.features` describe the context, `.sequences` one step of each sequence.

    Raises:
        DataSetError: records differ in names, types or shapes (the message says which); `dst` exists.
    """
    with Staging(dst, overwrite) as staging:
        if isinstance(records, (str, Path)):
            source = open_source(Path(records))
        elif isinstance(records, Sequence):
            source = Listed(records)
        else:
            source = Streamed(records, staging.scratch)
        manifest = Manifest(staging.folder, "sequences", seed, source.spec.context, source.spec.sequences)
        manifest.classes, manifest.class_records = list(source.classes), list(source.class_records)
        return write_shards(
            len(source),
            source.encode,
            staging,
            manifest,
            shards=shards,
            workers=workers,
            progress=progress,
        )


def main(argv: list[str] | None = None) -> int:
    """The command; `argv` without the program's name."""
    parser = argparse.ArgumentParser(
        prog="python -m utils.u02_tfrecord.sequence_writer",
        description="Write sequences of different length as TFRecord, one SequenceExample each.",
        epilog="Example:  python -m utils.u02_tfrecord.sequence_writer names.jsonl runs/names --shards 4",
    )
    parser.add_argument(
        "src", metavar="SRC", help=".jsonl (lists are sequences), or a folder of .npy files (steps, …)"
    )
    writer_options(parser)
    args = parser.parse_args(argv)
    print_summary(write_sequences(args.src, args.dst, **writer_arguments(args)))
    return 0


if __name__ == "__main__":
    sys.exit(run(main))
