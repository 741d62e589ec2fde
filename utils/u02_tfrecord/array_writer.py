"""Write arrays as TFRecord: row i of every array becomes record i, a `tf.train.Example`.

    python -m utils.u02_tfrecord.array_writer SRC DST --shards 4

SRC is one of
    data.npz     each array in it is a feature of that name
    data.npy     one array, the feature has the name of the file: "data"
    folder/      of .npy files, each a feature; for arrays larger than memory

All arrays have the same first dimension, the number of records. Arrays are read a few rows at a time. An .npz file
is unpacked beside DST first, because rows in the middle of a packed file cannot be reached.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from .command import print_summary, run, writer_arguments, writer_options
from .features import Feature, as_array, check_names
from .format import DataSetError
from .manifest import Manifest
from .writer import Staging, write_shards


def write_arrays(
    arrays: Mapping[str, np.ndarray] | str | Path,
    dst: str | Path,
    *,
    shards: int = 1,
    seed: int | None = 0,
    workers: int | None = None,
    overwrite: bool = False,
    progress: bool = False,
) -> Manifest:
    """Write a data set whose record i is row i of every array.

    Args:
        arrays: arrays `(records, …)` by name, with the same number of records; `np.memmap` works, only the rows under
            way are in memory. Or the path of an .npz, an .npy or a folder of .npy files.
        dst: folder of the data set. It appears when everything is written.
        shards: number of files; their sizes differ by one record at most. Never more than records.
        seed: the records are shuffled; None keeps the order.
        workers: number of threads; None: one for each core.
        overwrite: replace the data set that is in `dst`.
        progress: show a bar on stderr.

    Returns:
        The `Manifest` of the data set.

    Raises:
        DataSetError: the arrays do not fit together or have a type that cannot be stored; `dst` exists.
    """
    with Staging(dst, overwrite) as staging:
        if isinstance(arrays, (str, Path)):
            arrays = open_arrays(Path(arrays), staging.scratch)
        arrays, features = check_arrays(arrays)

        def encode(rows: np.ndarray) -> list[bytes]:
            import tensorflow as tf

            columns = [features[name].encode(as_array(array[rows])) for name, array in arrays.items()]
            examples = []
            for row in zip(*columns):
                example = tf.train.Example(features=tf.train.Features(feature=dict(zip(arrays, row))))
                examples.append(example.SerializeToString(deterministic=True))
            return examples

        return write_shards(
            len(next(iter(arrays.values()))),
            encode,
            staging,
            Manifest(staging.folder, "arrays", seed, features),
            shards=shards,
            workers=workers,
            progress=progress,
        )


def check_arrays(arrays: Mapping[str, object]) -> tuple[dict[str, np.ndarray], dict[str, Feature]]:
    """The arrays, lists made into arrays, and the feature that describes a row of each.

    Raises:
        DataSetError: they differ in length, are empty, or have a type that cannot be stored.
    """
    check_names(list(arrays))
    if not arrays:
        raise DataSetError("there are no arrays to write")
    checked, features = {}, {}
    for name, array in arrays.items():
        try:
            # A large array stays where it is: its type is judged by its first row.
            checked[name] = array if isinstance(array, np.ndarray) else as_array(array)
            if checked[name].ndim == 0:
                raise DataSetError("it is a single value; the first dimension must count the records")
            first = as_array(checked[name][:1])
        except DataSetError as error:
            raise DataSetError(f"array {name!r}: {error}") from None
        features[name] = Feature(Feature.of(first).dtype, first.shape[1:])
    lengths = {name: len(array) for name, array in checked.items()}
    if len(set(lengths.values())) > 1:
        raise DataSetError(f"the arrays differ in their number of records: {lengths}")
    if not any(lengths.values()):
        raise DataSetError(f"the arrays have no rows: {', '.join(lengths)}")
    return checked, features


def open_arrays(source: Path, scratch: Path) -> dict[str, np.ndarray]:
    """The arrays of an .npy, an .npz or a folder of .npy files, left on the disk until they are read.

    Args:
        source: the file or folder.
        scratch: folder for the arrays of an .npz; made when needed.

    Raises:
        DataSetError: there is nothing to read or it cannot be read.
    """
    if source.is_dir():
        files = {path.stem: path for path in sorted(source.glob("*.npy"))}
        if not files:
            raise DataSetError(f"{source} holds no .npy file")
    elif not source.exists():
        raise DataSetError(f"{source} is not there")
    elif source.suffix == ".npz":
        files = _unpack(source, scratch)
    elif source.suffix == ".npy":
        files = {source.stem: source}
    else:
        raise DataSetError(f"{source} is neither .npz nor .npy nor a folder")
    arrays = {}
    for name, path in files.items():
        try:
            arrays[name] = np.load(path, mmap_mode="r")
        except (ValueError, EOFError, OSError) as error:
            where = source if source == path else f"{source}, array {name!r}"
            raise DataSetError(f"{where} cannot be read as an array: {error}") from None
    return arrays


def _unpack(source: Path, scratch: Path) -> dict[str, Path]:
    """Unpack an .npz, which is a zip file of .npy files, piece by piece."""
    scratch.mkdir()
    files = {}
    try:
        with zipfile.ZipFile(source) as archive:
            for number, member in enumerate(archive.namelist()):
                path = scratch / f"{number}.npy"  # not by its name, which may be anything
                with archive.open(member) as packed, open(path, "wb") as unpacked:
                    shutil.copyfileobj(packed, unpacked, 1 << 20)
                files[member.removesuffix(".npy")] = path
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
        raise DataSetError(f"{source} is not an intact .npz file: {error}") from None
    if not files:
        raise DataSetError(f"{source} holds no arrays")
    return files


def main(argv: list[str] | None = None) -> int:
    """The command; `argv` without the program's name."""
    parser = argparse.ArgumentParser(
        prog="python -m utils.u02_tfrecord.array_writer",
        description="Write arrays as TFRecord: row i of every array becomes record i.",
        epilog="Example:  python -m utils.u02_tfrecord.array_writer mnist.npz runs/mnist --shards 4",
    )
    parser.add_argument(
        "src", metavar="SRC", help=".npz, .npy, or a folder of .npy files with the same number of rows"
    )
    writer_options(parser)
    args = parser.parse_args(argv)
    print_summary(write_arrays(args.src, args.dst, **writer_arguments(args)))
    return 0


if __name__ == "__main__":
    sys.exit(run(main))
