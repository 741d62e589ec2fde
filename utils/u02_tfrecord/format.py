"""The TFRecord file format in plain Python: how a file frames its records, and how damage is noticed.

A TFRecord file is nothing but records, one after the other; no header, no index, no end mark:

    8 bytes   length of the data, little-endian
    4 bytes   masked CRC-32C of those 8 bytes
    n bytes   data
    4 bytes   masked CRC-32C of the data

So an empty file is a valid data set of no records, two files may be joined by `cat`, and the only way to the
thousandth record is through the 999 before it. The length has a checksum of its own because a wrong length would
send the reader astray through the whole rest of the file.

Checksums here take about a second per 10 MB, which is what plain Python can do. The writers and readers of this
package let TensorFlow's C++ do the same work at several hundred MB a second, and come back to this module to tell
which record is damaged and why.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

HEADER = struct.Struct("<QI")  # length of the data (8 bytes), its masked CRC-32C (4 bytes)
FOOTER = struct.Struct("<I")  # masked CRC-32C of the data
FRAMING = HEADER.size + FOOTER.size  # 16 bytes that every record costs besides its data
WINDOW = 1 << 20  # bytes that are looked through at a time for the next record after a damaged one


class TFRecordError(Exception):
    """What this package raises; the message says what was expected and what mends it."""


class DataSetError(TFRecordError):
    """A source, an argument or a folder is not what it should be."""


class CorruptRecord(TFRecordError):
    """A damaged place: `path`, `record` (counted from 0), `offset` (in bytes), `reason`.

    `record` and `offset` are None when it is about the file as a whole.
    """

    def __init__(self, path: str | Path, record: int | None, offset: int | None, reason: str):
        where = "" if record is None else f" record {record} (counted from 0, at byte {offset:,}):"
        super().__init__(f"{path}:{where} {reason}")
        self.path, self.record, self.offset, self.reason = Path(path), record, offset, reason


# ---------------------------------------------------------------------------------------------- checksum


def _crc_table() -> list[int]:
    """What each of the 256 values of a byte does to the checksum: eight steps of division by the polynomial."""
    table = []
    for value in range(256):
        for _ in range(8):
            # The bits are handled lowest first, hence the polynomial 0x1EDC6F41 written backwards: 0x82F63B78.
            value = (value >> 1) ^ 0x82F63B78 if value & 1 else value >> 1
        table.append(value)
    return table


_TABLE = _crc_table()


def crc32c(data: bytes) -> int:
    """CRC-32C (Castagnoli) of `data`: the remainder of a division of polynomials whose coefficients are bits.

    It notices every change of up to 32 neighbouring bits, and any other change with probability 1 - 2**-32.
    It is another polynomial than that of `zlib.crc32`, chosen because processors have an instruction for it.
    """
    crc = 0xFFFFFFFF
    for byte in data:
        crc = _TABLE[(crc ^ byte) & 0xFF] ^ (crc >> 8)
    return crc ^ 0xFFFFFFFF


def masked_crc32c(data: bytes) -> int:
    """The checksum as TFRecord stores it: CRC-32C turned right by 15 bits, plus a constant, modulo 2**32.

    The mask is for data that itself contains checksums, such as a TFRecord file inside a record: the CRC of
    something that ends in its own CRC is always the same number, and would check nothing.
    """
    crc = crc32c(data)
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


# ---------------------------------------------------------------------------------------------- one record


def frame_record(data: bytes) -> bytes:
    """The bytes that stand for one record in a file: length, checksum, data, checksum.

    `b"".join(frame_record(data) for data in records)` is a complete TFRecord file.
    """
    length = struct.pack("<Q", len(data))
    return length + FOOTER.pack(masked_crc32c(length)) + data + FOOTER.pack(masked_crc32c(data))


class Frame(NamedTuple):
    """Where a record stands in its file.

    number: counted from 0.
    offset: where its header begins, in bytes from the beginning of the file.
    length: how many bytes of data it has.
    """

    number: int
    offset: int
    length: int

    @property
    def end(self) -> int:
        """Where the next record begins."""
        return self.offset + FRAMING + self.length


# ---------------------------------------------------------------------------------------------- one file


def walk_frames(path: str | Path, offset: int = 0, number: int = 0) -> Iterator[Frame]:
    """Step from header to header through a TFRecord file without reading the data.

    Args:
        path: the file.
        offset: where to begin; a record must begin there.
        number: the number that the record at `offset` gets.

    Yields:
        A `Frame` for each record whose header is sound and whose data and checksum lie inside the file. The
        checksum of the data is not compared here: see `read_data`.

    Raises:
        CorruptRecord: a header is damaged or the file ends inside a record.
    """
    size = os.path.getsize(path)
    with open(path, "rb") as file:
        while offset < size:
            file.seek(offset)
            header = file.read(HEADER.size)
            if len(header) < HEADER.size:
                reason = (
                    f"the file ends after {len(header)} of the {HEADER.size} bytes of the record's header"
                )
                raise CorruptRecord(path, number, offset, reason)
            length, stored = HEADER.unpack(header)
            computed = masked_crc32c(header[:8])
            if stored != computed:
                reason = f"the length is damaged: its checksum is {computed:08x}, the file says {stored:08x}"
                if offset == 0:
                    packed = header.startswith(b"\x1f\x8b")
                    reason += (
                        "; it is a gzip file, unpack it (gunzip)"
                        if packed
                        else ", or this is no TFRecord file"
                    )
                raise CorruptRecord(path, number, offset, reason)
            frame = Frame(number, offset, length)
            if frame.end > size:
                reason = f"cut off: the record needs {FRAMING + length:,} bytes, the file has {size - offset:,} more"
                raise CorruptRecord(path, number, offset, reason)
            yield frame
            offset, number = frame.end, number + 1


def read_data(path: str | Path, frame: Frame) -> bytes:
    """The data of one record, checked.

    Raises:
        CorruptRecord: the data does not have the checksum that stands behind it.
    """
    with open(path, "rb") as file:
        file.seek(frame.offset + HEADER.size)
        data = file.read(frame.length)
        (stored,) = FOOTER.unpack(file.read(FOOTER.size))
    computed = masked_crc32c(data)
    if stored != computed:
        reason = f"the data is damaged: its checksum is {computed:08x}, the file says {stored:08x}"
        raise CorruptRecord(path, frame.number, frame.offset, reason)
    return data


def read_plain(path: str | Path) -> Iterator[bytes]:
    """Read a TFRecord file record by record, checking every checksum: `TFRecordDataset` in ten lines of Python.

    Raises:
        CorruptRecord: at the first damaged record.
    """
    for frame in walk_frames(path):
        yield read_data(path, frame)


def find_next_frame(path: str | Path, offset: int) -> int | None:
    """Where the next sound header begins at or after `offset`; None when there is none.

    A damaged length loses the way to the next record. But a header can be recognised: its length must fit into
    the file and have the right checksum, which happens by chance once in four thousand million places.
    """
    size = os.path.getsize(path)
    with open(path, "rb") as file:
        while offset + FRAMING <= size:
            file.seek(offset)
            window = file.read(WINDOW + HEADER.size - 1)
            for place in range(min(WINDOW, len(window) - HEADER.size + 1)):
                length, stored = HEADER.unpack_from(window, place)
                if (
                    offset + place + FRAMING + length <= size
                    and masked_crc32c(window[place : place + 8]) == stored
                ):
                    return offset + place
            offset += WINDOW
    return None
