"""MNIST from the four original IDX files in `data/MNIST_data/`, checked before use.

The IDX format (http://yann.lecun.com/exdb/mnist/): two zero bytes, one byte for the element type (8 is unsigned
byte), one byte for the number of dimensions, each dimension as a big-endian 32-bit integer, then the elements.
"""

from __future__ import annotations

import gzip
import hashlib
import zlib
from pathlib import Path
from typing import NamedTuple

import numpy as np

FOLDER = Path(__file__).resolve().parent.parent / "data" / "MNIST_data"
MEND = "git checkout -- data/MNIST_data"

# SHA-256 of the *unpacked* files: gzip may pack the same bytes differently. data/README.md lists MD5 as well.
SHA256 = {
    "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}


class DataError(Exception):
    """A data file is missing or is not what it should be. The message names the file and what mends it."""


class Split(NamedTuple):
    """One part of the data set.

    images: `(n, 28, 28)` uint8, 0 is background and 255 is ink.
    labels: `(n,)` uint8, the digits 0 to 9.
    """

    images: np.ndarray
    labels: np.ndarray


class Mnist(NamedTuple):
    """The split of the original TensorFlow tutorial: 55,000 / 5,000 / 10,000."""

    train: Split
    validation: Split
    test: Split


def parse_idx(content: bytes, name: str) -> np.ndarray:
    """Turn the bytes of an IDX file of unsigned bytes into a read-only uint8 array of the shape its header says.

    Raises:
        DataError: the header is not that of an IDX file of unsigned bytes, or the length does not fit it.
    """
    if len(content) < 4 or content[:3] != b"\x00\x00\x08":
        raise DataError(f"{name}: not an IDX file of unsigned bytes (it starts with {content[:4].hex(' ')})")
    ndim = content[3]
    header = 4 + 4 * ndim
    shape = np.frombuffer(content[4:header], ">i4") if len(content) >= header else np.array([0])
    expected = header + int(np.prod(shape, dtype=np.int64))
    if len(content) != expected:
        raise DataError(f"{name}: its header says {expected:,} bytes, the file has {len(content):,}")
    return np.frombuffer(content, np.uint8, offset=header).reshape(shape)


def read_idx(name: str, folder: Path = FOLDER) -> np.ndarray:
    """Read and verify one of the four MNIST files.

    Args:
        name: the file's name without `.gz`, a key of `SHA256`.
        folder: where the gzip files are.

    Returns:
        A read-only uint8 array: images `(n, 28, 28)` or labels `(n,)`.

    Raises:
        DataError: the file is missing, truncated or altered.
    """
    path = Path(folder) / f"{name}.gz"
    try:
        content = gzip.decompress(path.read_bytes())
    except FileNotFoundError:
        raise DataError(
            f"{path} is missing. It comes with the repository; get it back with:  {MEND}"
        ) from None
    except (EOFError, OSError, zlib.error) as error:
        raise DataError(f"{path} is damaged ({error}). Get the original back with:  {MEND}") from None
    found = hashlib.sha256(content).hexdigest()
    if found != SHA256[name]:
        raise DataError(
            f"{path} is not the original file: SHA-256 of its content is {found[:12]}…, "
            f"expected {SHA256[name][:12]}…. Get the original back with:  {MEND}"
        )
    return parse_idx(content, path.name)


def load_mnist(folder: Path = FOLDER, validation: int = 5000) -> Mnist:
    """Load MNIST, split 55,000 / 5,000 / 10,000 as TensorFlow's own tutorial did: validation comes first.

    Args:
        folder: where the four gzip files are.
        validation: how many of the 60,000 training images become the validation set, 0 to 60,000.

    Returns:
        `Mnist(train, validation, test)`, each a `Split` of images `(n, 28, 28)` uint8 and labels `(n,)` uint8.

    Raises:
        DataError: a file is missing, truncated or altered.
        ValueError: `validation` is out of range.
    """
    if not 0 <= validation <= 60000:
        raise ValueError(f"validation must be between 0 and 60,000, not {validation}")
    images, labels = read_idx("train-images-idx3-ubyte", folder), read_idx("train-labels-idx1-ubyte", folder)
    return Mnist(
        train=Split(images[validation:], labels[validation:]),
        validation=Split(images[:validation], labels[:validation]),
        test=Split(read_idx("t10k-images-idx3-ubyte", folder), read_idx("t10k-labels-idx1-ubyte", folder)),
    )
