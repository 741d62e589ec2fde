"""MNIST from its four original files, batches of it, and small distortions of the training images."""

from __future__ import annotations

import argparse
import gzip
import itertools
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from model import uniform
from runner import Stop, tf

HERE = Path(__file__).resolve().parent
FILES = (
    "train-images-idx3-ubyte.gz",
    "train-labels-idx1-ubyte.gz",
    "t10k-images-idx3-ubyte.gz",
    "t10k-labels-idx1-ubyte.gz",
)


class Split(NamedTuple):
    """images `(n, 28, 28)` uint8, 0 background and 255 ink; labels `(n,)` uint8, 0 to 9."""

    images: np.ndarray
    labels: np.ndarray


def find_folder(data_path: str | None) -> Path:
    """The folder of the four files: what `--data_path` names, else `data/MNIST_data` of the repository.

    Raises:
        Stop: a file is missing there.
    """
    folder = Path(data_path) if data_path else HERE.parents[1] / "data" / "MNIST_data"
    missing = [name for name in FILES if not (folder / name).is_file()]
    if missing:
        raise Stop(
            f"{folder} does not hold {', '.join(missing)}. Say with --data_path where the four gzip files of MNIST "
            "are; the repository keeps them in data/MNIST_data"
        )
    return folder


def read_idx(path: Path) -> np.ndarray:
    """Read a gzip file of the IDX format: two zero bytes, 8 for bytes, the number of axes, their sizes, the elements.

    Raises:
        Stop: the file is damaged or something else.
    """
    try:
        content = gzip.decompress(path.read_bytes())
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise Stop(
            f"{path} is damaged ({error}). Fetch it anew; in the repository:  git checkout -- {path}"
        ) from None
    axes = content[3] if content[:3] == b"\x00\x00\x08" and len(content) > 3 else 0
    shape = [int.from_bytes(content[i : i + 4], "big") for i in range(4, 4 + 4 * axes, 4)]
    if not axes or len(content) != 4 + 4 * axes + int(np.prod(shape)):
        raise Stop(f"{path} is not an IDX file of bytes, or is cut short")
    return np.frombuffer(content, np.uint8, offset=4 + 4 * axes).reshape(shape)


def load(data_path: str | None) -> tuple[Split, Split, Split]:
    """Training, validation and test images: 55,000, 5,000 and 10,000, split as TensorFlow's own tutorial did.

    The first twelfth of the training file becomes the validation set.

    Raises:
        Stop: a file is missing or damaged, or images and labels do not belong together.
    """
    folder = find_folder(data_path)
    images, labels, test_images, test_labels = (read_idx(folder / name) for name in FILES)
    for name, x, y in (("train", images, labels), ("t10k", test_images, test_labels)):
        if x.shape[1:] != (28, 28) or y.shape != x.shape[:1] or not len(x):
            raise Stop(
                f"{folder}: {name} has images {x.shape} and labels {y.shape}; expected (n, 28, 28) and (n,)"
            )
    validation = len(images) // 12
    return (
        Split(images[validation:], labels[validation:]),
        Split(images[:validation], labels[:validation]),
        Split(test_images, test_labels),
    )


def batches(
    args: argparse.Namespace, strategy: tf.distribute.Strategy, data: Split, first_step: int
) -> Iterator[tuple[tf.Tensor, tf.Tensor]]:
    """Endless batches from step `first_step` on, each epoch shuffled anew: the order is a function of the seed alone.

    Args:
        args: `seed`, and `batch_size` over all replicas; each replica receives its rows of the global batch.
        strategy: who shares the batches.
        data: what to draw from; an epoch leaves out the last images where the batch size does not divide.
        first_step: where to begin.

    Returns:
        An iterator over images `(rows, 28, 28)` uint8 and labels `(rows,)` int32.
    """
    replicas, size = strategy.num_replicas_in_sync, args.batch_size
    share, per_epoch = size // replicas, len(data.labels) // size
    if not per_epoch:
        raise Stop(f"--batch_size {size} is more than the {len(data.labels)} training images", code=2)
    with tf.device("CPU:0"):  # pipelines run there
        images, labels = tf.constant(data.images), tf.constant(data.labels, tf.int32)

    def pipeline(context: tf.distribute.InputContext) -> tf.data.Dataset:
        local = replicas // context.num_input_pipelines  # replicas that this process feeds
        offset = context.input_pipeline_id * local

        def rows_of_epochs():
            first = first_step % per_epoch  # of the steps of an epoch
            for epoch in itertools.count(first_step // per_epoch):
                order = np.random.default_rng((args.seed, epoch)).permutation(len(data.labels))
                steps = order[: per_epoch * size].reshape(per_epoch, replicas, share)
                yield steps[first:, offset : offset + local].reshape(-1, share)
                first = 0

        signature = tf.TensorSpec((None, share), tf.int64)
        rows = tf.data.Dataset.from_generator(rows_of_epochs, output_signature=signature).unbatch()
        return rows.map(lambda chosen: (tf.gather(images, chosen), tf.gather(labels, chosen))).prefetch(8)

    return iter(strategy.distribute_datasets_from_function(pipeline))


def to_float(images: tf.Tensor) -> tf.Tensor:
    """`(batch, 28, 28)` uint8 to `(batch, 28, 28, 1)` float32, 0 background and 1 ink."""
    return tf.cast(images, tf.float32)[..., None] / 255.0


def distort(images: tf.Tensor, seed: int, step: tf.Tensor, strength: float = 1.0) -> tf.Tensor:
    """Turn, slant, scale and shift about half of the images a little, as another hand would have written them.

    The other half stays sharp: distorting blurs a picture a little, and those to be read later are not blurred.

    Args:
        images: `(batch, 28, 28, 1)` float32.
        seed: of the run.
        step: number of the training step.
        strength: 1 is up to 10 degrees, a slant of 0.15, 10 % of size and 2 pixels; 0 changes nothing.
    """
    drawn = uniform(tf.shape(images)[0], 7, seed, step, purpose=2)
    chosen = drawn[:, :1] < 0.5
    drawn = tf.where(chosen, strength * (2.0 * drawn[:, 1:] - 1.0), 0.0)
    turn, slant, wide, high, right, down = tf.unstack(drawn, axis=1)
    turn, slant, wide, high = turn * 0.175, slant * 0.15, 1.0 + wide * 0.1, 1.0 + high * 0.1
    # Where each output pixel (column, row) comes from: [a b c; d e f] around the centre, 13.5.
    a, b = wide * tf.cos(turn), slant - high * tf.sin(turn)
    d, e = wide * tf.sin(turn), high * tf.cos(turn)
    c = 13.5 * (1.0 - a - b) + 2.0 * right
    f = 13.5 * (1.0 - d - e) + 2.0 * down
    zero = tf.zeros_like(a)
    return tf.raw_ops.ImageProjectiveTransformV3(
        images=images,
        transforms=tf.stack([a, b, c, d, e, f, zero, zero], axis=1),
        output_shape=[28, 28],
        fill_value=0.0,
        interpolation="BILINEAR",
        fill_mode="CONSTANT",
    )
