"""Write a folder of pictures as TFRecord, one `tf.train.Example` a picture; the class folders give the labels.

    python -m utils.u02_tfrecord.image_writer SRC DST --shards 16

    SRC/cat/anything.jpg          label 0, "cat": labels count the class folders in alphabetical order
    SRC/cat/more/of/them.png      folders inside a class folder belong to the class
    SRC/dog/old.bmp               label 1, "dog"

The bytes of each file are stored as they are: decoding a JPEG and packing it again would lose quality, and decoded
pixels take ten times the room. Each record has the features `image` (those bytes), `label` (int64) and `file` (the
path below SRC). Every picture is decoded once to see that it can be: what `read_images` could not read is left out,
counted and named.
"""

from __future__ import annotations

import argparse
import io
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from .class_folders import Labelled, find_files, printable
from .command import print_summary, run, writer_arguments, writer_options
from .features import Feature
from .format import DataSetError
from .manifest import Manifest
from .writer import Skipped, Staging, write_shards

if TYPE_CHECKING:
    import tensorflow as tf

ENDINGS = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp")
ALSO = (".jfif", ".tif", ".tiff", ".heic", ".avif")  # pictures too: most cannot be read, and are named then
FEATURES = {"image": Feature("image"), "label": Feature("int64"), "file": Feature("string")}


def write_images(
    src: str | Path,
    dst: str | Path,
    *,
    classes: Sequence[str] | None = None,
    shards: int = 1,
    seed: int | None = 0,
    workers: int | None = None,
    overwrite: bool = False,
    progress: bool = False,
) -> Manifest:
    """Write a data set of pictures from one folder for each class.

    Args:
        src: the folder that holds the class folders; JPEG, PNG, BMP, GIF and WebP files, known by their endings.
        dst: folder of the data set, outside `src`. It appears when everything is written.
        classes: names of the class folders, in the order of their labels; None: all, in alphabetical order. Give
            it when a test set must have the labels of a training set.
        shards: number of files. Never more than pictures.
        seed: the pictures are shuffled; None keeps the order: by class, then by path.
        workers: number of threads; None: one for each core.
        overwrite: replace the data set that is in `dst`.
        progress: show a bar on stderr.

    Returns:
        The `Manifest`; `.classes` are the names of the labels, `.skipped` the pictures left out and why.

    Raises:
        DataSetError: there are no pictures, none can be read, a class folder is missing, or `dst` exists.
    """
    src, dst = Path(src), Path(dst)
    if src.resolve() in (dst.resolve(), *dst.resolve().parents):
        raise DataSetError(
            f"{dst} lies inside {src}, where it would count as a class; choose a folder outside"
        )
    with Staging(dst, overwrite) as staging:
        names, pictures = find_files(src, (*ENDINGS, *ALSO), "pictures", classes)

        def encode(numbers: np.ndarray) -> list[bytes | Skipped]:
            return [encode_picture(src, pictures[number]) for number in numbers]

        counts = np.bincount([picture.label for picture in pictures], minlength=len(names)).tolist()
        manifest = Manifest(staging.folder, "images", seed, FEATURES, classes=names, class_records=counts)
        for name in sorted(os.listdir(src)):
            if name.lower().endswith((*ENDINGS, *ALSO)) and not name.startswith("."):
                manifest.skipped.append({"file": printable(name), "reason": "it lies in no class folder"})
        return write_shards(
            len(pictures),
            encode,
            staging,
            manifest,
            shards=shards,
            workers=workers,
            progress=progress,
        )


def encode_picture(src: Path, picture: Labelled) -> bytes | Skipped:
    """A picture as the bytes of an Example, or the reason why it cannot be one."""
    import tensorflow as tf

    try:
        content = (src / picture.file).read_bytes()
    except OSError as error:
        return Skipped(picture.file, error.strerror or str(error), picture.label)
    reason = why_unreadable(content)
    if reason:
        return Skipped(picture.file, reason, picture.label)
    feature = {
        "image": tf.train.Feature(bytes_list=tf.train.BytesList(value=[content])),
        "label": tf.train.Feature(int64_list=tf.train.Int64List(value=[picture.label])),
        "file": tf.train.Feature(bytes_list=tf.train.BytesList(value=[os.fsencode(picture.file)])),
    }
    return tf.train.Example(features=tf.train.Features(feature=feature)).SerializeToString(deterministic=True)


def decode_picture(content: bytes | tf.Tensor) -> tf.Tensor:
    """Decode a picture file as the reader does: `(height, width, 3)` uint8; of a moving picture the first frame."""
    import tensorflow as tf

    return tf.io.decode_image(content, channels=3, expand_animations=False)


def why_unreadable(content: bytes) -> str | None:
    """Why a picture file cannot be decoded; None when it can."""
    import tensorflow as tf

    if not content:
        return "the file is empty"
    if content.startswith(b"BM") and _has_palette(content):
        return "a BMP with a palette, which TensorFlow would read as grey levels; save it as PNG"
    try:
        decode_picture(content)
    except tf.errors.OpError as error:
        # "{{function_node __wrapped__…}} Invalid PNG data, size 48363 [Op:DecodeImage] name: "
        return error.message.rsplit("}} ", 1)[-1].split(" [Op:")[0].strip()
    return None


def _has_palette(content: bytes) -> bool:
    from PIL import Image

    try:
        return Image.open(io.BytesIO(content)).mode == "P"  # reads the header only
    except Exception:  # Pillow raises many kinds on broken files; TensorFlow will say what is wrong
        return False


def main(argv: list[str] | None = None) -> int:
    """The command; `argv` without the program's name."""
    parser = argparse.ArgumentParser(
        prog="python -m utils.u02_tfrecord.image_writer",
        description="Write the pictures of SRC/CLASS/ folders as TFRecord, their bytes as they are.",
        epilog="Example:  python -m utils.u02_tfrecord.image_writer data/robohash runs/robohash --shards 16",
    )
    parser.add_argument("src", metavar="SRC", help="a folder with one folder of pictures for each class")
    writer_options(parser)
    parser.add_argument(
        "--classes", nargs="+", metavar="NAME", help="class folders in the order of their labels"
    )
    args = parser.parse_args(argv)
    print_summary(write_images(args.src, args.dst, classes=args.classes, **writer_arguments(args)))
    return 0


if __name__ == "__main__":
    sys.exit(run(main))
