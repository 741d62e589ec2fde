"""The MNIST loader: what it returns, and what it says when a file is not right."""

import gzip
import shutil
import struct

import numpy as np
import pytest

from utils import mnist


@pytest.fixture
def folder(tmp_path):
    """A copy of the shipped files that a test may damage."""
    copy = tmp_path / "MNIST data 数据"
    shutil.copytree(mnist.FOLDER, copy)
    return copy


def test_shapes_split_and_order():
    data = mnist.load_mnist()
    assert [len(part.images) for part in data] == [55000, 5000, 10000]
    assert [len(part.labels) for part in data] == [55000, 5000, 10000]
    for part in data:
        assert part.images.shape[1:] == (28, 28) and part.images.dtype == np.uint8
        assert part.labels.dtype == np.uint8 and set(np.unique(part.labels)) == set(range(10))
    # The first digits of the original files are known: 5 0 4 1 9 (train) and 7 2 1 0 4 (test).
    assert data.validation.labels[:5].tolist() == [5, 0, 4, 1, 9]
    assert data.test.labels[:5].tolist() == [7, 2, 1, 0, 4]
    # Validation and training together are the 60,000 in their original order.
    everything = mnist.read_idx("train-images-idx3-ubyte")
    assert everything.shape == (60000, 28, 28)
    np.testing.assert_array_equal(data.validation.images, everything[:5000])
    np.testing.assert_array_equal(data.train.images, everything[5000:])


def test_validation_size_can_be_chosen():
    assert len(mnist.load_mnist(validation=0).train.images) == 60000
    with pytest.raises(ValueError, match="between 0 and 60,000"):
        mnist.load_mnist(validation=60001)


def assert_error(folder, *words):
    with pytest.raises(mnist.DataError) as caught:
        mnist.load_mnist(folder)
    for word in (*words, mnist.MEND):
        assert word in str(caught.value)


def test_missing_file(folder):
    (folder / "t10k-labels-idx1-ubyte.gz").unlink()
    assert_error(folder, "t10k-labels-idx1-ubyte.gz is missing")


def test_truncated_file(folder):
    path = folder / "train-images-idx3-ubyte.gz"
    path.write_bytes(path.read_bytes()[:-1000])
    assert_error(folder, "train-images-idx3-ubyte.gz", "damaged")


def test_not_gzip(folder):
    (folder / "train-labels-idx1-ubyte.gz").write_bytes(b"<html>not found</html>")
    assert_error(folder, "train-labels-idx1-ubyte.gz", "damaged")


def test_flipped_byte_inside_the_stream(folder):
    path = folder / "t10k-images-idx3-ubyte.gz"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)
    assert_error(folder, "t10k-images-idx3-ubyte.gz")


def test_valid_gzip_of_altered_content(folder):
    """One changed label, packed correctly: only the checksum can tell."""
    path = folder / "train-labels-idx1-ubyte.gz"
    content = bytearray(gzip.decompress(path.read_bytes()))
    content[8] ^= 1
    path.write_bytes(gzip.compress(bytes(content)))
    assert_error(folder, "train-labels-idx1-ubyte.gz", "not the original file")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not an IDX file"),
        (b"\x00\x00\x0d\x01" + struct.pack(">i", 1) + b"\x00" * 4, "not an IDX file"),  # float elements
        (b"\x00\x00\x08\x03" + struct.pack(">i", 2), "its header says"),  # header cut off
        (b"\x00\x00\x08\x01" + struct.pack(">i", 5) + b"1234", "its header says 13 bytes, the file has 12"),
        (b"\x00\x00\x08\x01" + struct.pack(">i", 3) + b"1234", "its header says 11 bytes, the file has 12"),
    ],
)
def test_parse_idx_refuses(content, message):
    with pytest.raises(mnist.DataError, match=message):
        mnist.parse_idx(content, "file")


def test_parse_idx_reads_rows_in_order():
    content = b"\x00\x00\x08\x02" + struct.pack(">ii", 2, 3) + bytes([1, 2, 3, 4, 5, 255])
    np.testing.assert_array_equal(mnist.parse_idx(content, "file"), [[1, 2, 3], [4, 5, 255]])
