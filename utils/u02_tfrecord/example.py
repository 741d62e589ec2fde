"""What is inside a record: `tf.train.Example` and `tf.train.SequenceExample`, written and read in plain Python.

A record may hold any bytes. By custom it holds a protocol buffer message of one of two kinds:

    Example                                       SequenceExample
      features: Features                            context: Features                 what holds for the whole record
        name -> Feature                             feature_lists: FeatureLists       what has a value at each step
                                                      name -> FeatureList: one Feature a step
    Feature: a list of bytes strings, or of float32 numbers, or of int64 numbers

There is no type for a picture or a matrix: those become bytes or a flat list, and whoever reads must know the
shape. That is why the writers of this package put shapes and types into `manifest.json`.

A message is a series of fields. A field begins with a tag, `number * 8 + wire type`, as a *varint*: seven bits a
byte, lowest first, the eighth bit says that more follow. Then comes the content, by wire type: 0 a varint; 5 four
bytes; 1 eight bytes; 2 a varint length and that many bytes (texts, numbers in a row, messages inside messages).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping, Sequence

Values = list[bytes] | list[float] | list[int]

# ---------------------------------------------------------------------------------------------- writing


def varint(number: int) -> bytes:
    """Seven bits a byte, lowest first: 1 is `01`, 300 is `ac 02`. Negative numbers count as 64-bit two's complement."""
    number &= 0xFFFFFFFFFFFFFFFF
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def field(number: int, content: bytes) -> bytes:
    """A field of wire type 2: tag, length, content."""
    return varint(number << 3 | 2) + varint(len(content)) + content


def encode_feature(values: Sequence[bytes | str | float | int]) -> bytes:
    """A `Feature`: field 1 is a BytesList, 2 a FloatList, 3 an Int64List; inside each, field 1 holds the values.

    The first value decides which list it is. Texts are stored as UTF-8.

    Raises:
        TypeError: the values are of different kinds.
    """
    kinds = {bytes if isinstance(value, str) else type(value) for value in values}
    if len(kinds) > 1:
        raise TypeError(f"a feature holds values of one kind, not {sorted(kind.__name__ for kind in kinds)}")
    if not kinds:
        return b""
    kind = kinds.pop()
    if kind is bytes:
        texts = [value.encode() if isinstance(value, str) else value for value in values]
        return field(1, b"".join(field(1, text) for text in texts))
    if kind is float:
        return field(2, field(1, struct.pack(f"<{len(values)}f", *values)))
    return field(3, field(1, b"".join(varint(value) for value in values)))


def encode_example(features: Mapping[str, Sequence[bytes | str | float | int]]) -> bytes:
    """An `Example` as bytes, the same that `tf.train.Example(…).SerializeToString(deterministic=True)` gives.

    Args:
        features: lists of `bytes`/`str`, of `float` or of `int` by name, such as `{"label": [3]}`.
    """
    entries = b""
    for name in sorted(features, key=str.encode):
        # A map is a list of small messages: field 1 is the key, field 2 the value.
        entries += field(1, field(1, name.encode()) + field(2, encode_feature(features[name])))
    return field(1, entries)


# ---------------------------------------------------------------------------------------------- reading


def read_varint(message: bytes, place: int) -> tuple[int, int]:
    """The number that begins at `place`, and the place behind it."""
    number = shift = 0
    while True:
        if place >= len(message) or shift > 63:
            raise ValueError("not a protocol buffer message: a number does not end")
        byte = message[place]
        number |= (byte & 0x7F) << shift
        place, shift = place + 1, shift + 7
        if byte < 0x80:
            return number, place


def read_fields(message: bytes) -> Iterator[tuple[int, int | bytes]]:
    """The fields of a message: pairs of number and content, an `int` for a varint, else the bytes."""
    place = 0
    while place < len(message):
        tag, place = read_varint(message, place)
        number, wire_type = tag >> 3, tag & 7
        if wire_type == 0:
            content, place = read_varint(message, place)
            yield number, content
            continue
        if wire_type == 2:
            length, place = read_varint(message, place)
        elif wire_type in (1, 5):
            length = 8 if wire_type == 1 else 4
        else:
            raise ValueError(f"not a protocol buffer message: wire type {wire_type}")
        if place + length > len(message):
            raise ValueError("not a protocol buffer message: a field is longer than the rest")
        yield number, message[place : place + length]
        place += length


def parse_feature(message: bytes) -> Values:
    """The values of a `Feature`; an empty list when it holds none."""
    values: Values = []
    for kind, content in read_fields(message):
        for _, item in read_fields(content):
            if kind == 1:
                values.append(item)
            elif kind == 2:  # all numbers in one field, or one field a number: both are allowed
                values += struct.unpack(f"<{len(item) // 4}f", item)
            elif kind == 3:
                numbers = [item] if isinstance(item, int) else list(_varints(item))
                values += [number - (1 << 64) if number >> 63 else number for number in numbers]
    return values


def _varints(content: bytes) -> Iterator[int]:
    place = 0
    while place < len(content):
        number, place = read_varint(content, place)
        yield number


def _parse_map(message: bytes) -> Iterator[tuple[str, bytes]]:
    """The entries of a map: name and the bytes of the value."""
    for number, entry in read_fields(message):
        if number == 1:
            parts = dict(read_fields(entry))
            yield parts.get(1, b"").decode(), parts.get(2, b"")


def parse_example(data: bytes) -> dict[str, Values]:
    """The features of an `Example` by name, sorted; the reverse of `encode_example`.

    Raises:
        ValueError: `data` is not an Example.
    """
    return parse_sequence_example(data)[0]


def parse_sequence_example(data: bytes) -> tuple[dict[str, Values], dict[str, list[Values]]]:
    """Context and feature lists of a `SequenceExample`, each by name, sorted.

    An Example reads as a SequenceExample without feature lists: field 1 is a `Features` message in both.

    Returns:
        `(context, feature_lists)`, such as `({"label": [3]}, {"letters": [[7], [1], [9]]})`.

    Raises:
        ValueError: `data` is neither.
    """
    context: dict[str, Values] = {}
    lists: dict[str, list[Values]] = {}
    try:
        for number, content in read_fields(data):
            if number == 1:
                context |= {name: parse_feature(feature) for name, feature in _parse_map(content)}
            elif number == 2:
                for name, feature_list in _parse_map(content):
                    lists[name] = [parse_feature(feature) for _, feature in read_fields(feature_list)]
            else:
                raise ValueError(f"not an Example: it has a field {number}")
    except (TypeError, AttributeError, UnicodeDecodeError, struct.error) as error:
        raise ValueError(f"not an Example or SequenceExample ({error})") from None
    return dict(sorted(context.items())), dict(sorted(lists.items()))
