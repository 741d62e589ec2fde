"""How NumPy values become the three kinds of list that a Feature has, and how TensorFlow turns them back.

| values                                     | stored as    | because |
|--------------------------------------------|--------------|---------|
| float32                                    | `float_list` | it is what a FloatList holds |
| int64 and uint32; a single integer or bool | `int64_list` | readable by everyone; the type comes back on reading |
| text and bytes                             | `bytes_list` | |
| every other array: uint8, float16, …       | `raw`        | one bytes string of the array's memory: small, exact |

A uint8 picture of 784 pixels takes 784 bytes as `raw`; as `int64_list` it would take up to 1,568 and much longer to
read. `raw` is little-endian, the last axis runs fastest.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from .format import DataSetError

if TYPE_CHECKING:
    import tensorflow as tf

RAW = ("bool", "uint8", "uint16", "int8", "int16", "int32", "float16", "float64", "complex64", "complex128")


def as_array(value: object) -> np.ndarray:
    """`value` as a NumPy array of a type that can be stored.

    Python's own numbers, also in lists, become int64 and float32, as they do in `tf.constant`; NumPy arrays keep
    their type. Text becomes UTF-8 bytes in an array of objects.

    Raises:
        DataSetError: the value is ragged or of a type that is not supported.
    """
    if isinstance(value, (str, bytes)):
        return _texts(np.array(value, dtype=object))
    try:
        array = np.asarray(value)
    except (ValueError, TypeError, OverflowError) as error:
        raise DataSetError(f"the values do not form an array: {error}") from None
    if array.dtype.kind in "USO":
        # Made anew as objects: NumPy's own text types cut zero bytes off the end.
        return _texts(array if array.dtype.kind == "O" else np.array(value, dtype=object))
    if array.dtype == np.float64 and not isinstance(value, (np.ndarray, np.generic)):
        array = array.astype(np.float32)
    if array.dtype.name not in (*RAW, "float32", "int64", "uint32"):
        hint = "int64" if array.dtype.kind in "iu" else "another type"
        raise DataSetError(f"values of type {array.dtype.name} cannot be stored; convert them to {hint}")
    return array


def _texts(array: np.ndarray) -> np.ndarray:
    encoded = np.empty(array.shape, dtype=object)
    for place, text in np.ndenumerate(array):
        if not isinstance(text, (str, bytes)):
            raise DataSetError(
                f"an array of objects may hold only texts and bytes, not {type(text).__name__}"
            )
        encoded[place] = text.encode() if isinstance(text, str) else text
    return encoded


@dataclass(frozen=True)
class Feature:
    """Type and shape of one named value of a record, or of one step of a sequence.

    dtype: a NumPy type name, "string" for text and bytes, or "image" for the bytes of a picture file.
    shape: `()` for a single number; of one step, not of the sequence.
    """

    dtype: str
    shape: tuple[int, ...] = ()

    @classmethod
    def of(cls, array: np.ndarray) -> Feature:
        """The feature that describes `array`, which comes from `as_array`."""
        return cls("string" if array.dtype == object else array.dtype.name, array.shape)

    def __str__(self) -> str:
        if self.dtype == "image":
            return "encoded picture"
        return f"{self.dtype} {self.shape}" if self.shape else self.dtype

    @property
    def stored(self) -> str:
        """ "float_list", "int64_list", "bytes_list" or "raw", by the table above."""
        if self.dtype in ("string", "image"):
            return "bytes_list"
        if self.dtype == "float32":
            return "float_list"
        if self.dtype in ("int64", "uint32") or (self.shape == () and np.dtype(self.dtype).kind in "iub"):
            return "int64_list"
        return "raw"

    def encode(self, rows: np.ndarray) -> list[tf.train.Feature]:
        """Each of `rows`, an array `(n,) + shape` of this type, as a `tf.train.Feature`; a list of n."""
        import tensorflow as tf

        if self.stored == "raw":
            little = rows.astype(rows.dtype.newbyteorder("<"), copy=False)
            return [tf.train.Feature(bytes_list=tf.train.BytesList(value=[row.tobytes()])) for row in little]
        if self.stored == "int64_list":
            rows = rows.astype(np.int64, copy=False)
        # protobuf takes lists of Python's numbers several times faster than arrays
        lists = rows.reshape(len(rows), math.prod(self.shape)).tolist()
        if self.stored == "bytes_list":
            return [tf.train.Feature(bytes_list=tf.train.BytesList(value=values)) for values in lists]
        if self.stored == "float_list":
            return [tf.train.Feature(float_list=tf.train.FloatList(value=values)) for values in lists]
        return [tf.train.Feature(int64_list=tf.train.Int64List(value=values)) for values in lists]

    def parser(self, sequence: bool = False) -> tf.io.FixedLenFeature | tf.io.FixedLenSequenceFeature:
        """What `tf.io.parse_example` (or, for a step, `tf.io.parse_sequence_example`) must be told about it."""
        import tensorflow as tf

        dtype = {"float_list": tf.float32, "int64_list": tf.int64}.get(self.stored, tf.string)
        shape = () if self.stored == "raw" else self.shape
        return (tf.io.FixedLenSequenceFeature if sequence else tf.io.FixedLenFeature)(shape, dtype)

    def decode(self, parsed: tf.Tensor) -> tf.Tensor:
        """What the parser gave, `(…)` of stored values, as `(…,) + shape` of the type that was written."""
        import tensorflow as tf

        if self.stored == "raw":
            flat = tf.io.decode_raw(parsed, tf.as_dtype(self.dtype))  # (…, values)
            values = tf.reshape(flat, tf.concat([tf.shape(parsed), self.shape], 0))
            return tf.ensure_shape(values, parsed.shape + self.shape)
        if self.stored == "int64_list" and self.dtype != "int64":
            return tf.cast(parsed, self.dtype)
        return parsed


def check_names(names: Sequence[str]) -> None:
    """Raise `DataSetError` unless every name is a text that is not empty."""
    for name in names:
        if not isinstance(name, str) or not name:
            raise DataSetError(f"the name of a feature must be a text that is not empty, not {name!r}")
