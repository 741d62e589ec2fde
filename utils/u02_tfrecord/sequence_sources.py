"""Where sequences come from: lists, generators, .jsonl files and folders of .npy files, read by number."""

from __future__ import annotations

import json
from array import array as packed_array
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from pathlib import Path

import numpy as np

from .class_folders import Labelled, find_files, list_files
from .format import DataSetError
from .sequence_spec import Pair, SequenceSpec
from .writer import Skipped


@contextmanager
def at(where: str) -> Iterator[None]:
    """Put `where` before the message of a `DataSetError` that is raised inside."""
    try:
        yield
    except DataSetError as error:
        raise DataSetError(f"{where}: {error}") from None


def find_spec(records: Iterable[tuple[str, Pair | Skipped]], everything: bool = False) -> SequenceSpec:
    """What records have in common: judged by the first ones, as many as it takes, or by everything.

    Args:
        records: pairs of the place of a record, for messages, and the record.
        everything: look at all records, so that `1` in the first line and `0.5` in the last make floats.
    """
    spec, skipped = None, None
    for where, record in records:
        if isinstance(record, Skipped):
            skipped = skipped or record
            continue
        with at(where):
            if spec is None:
                spec = SequenceSpec.of(record)
            else:
                spec.merge(SequenceSpec.of(record))
        if spec.complete and not everything:
            return spec
    if spec is None:
        why = f"none can be read; {skipped.file}: {skipped.reason}" if skipped else "there are no sequences"
        raise DataSetError(why)
    unknown = [name for name, feature in spec.sequences.items() if feature is None]
    if unknown:
        raise DataSetError(
            f"{unknown[0]!r} is empty in every record, so its type is not known; give NumPy arrays"
        )
    return spec


class Source:
    """Sequences that are read by number. `len()` counts them, `spec` says what they have in common."""

    spec: SequenceSpec
    classes: Sequence[str] = ()
    class_records: Sequence[int] = ()

    def __len__(self) -> int:
        raise NotImplementedError

    def load(self, numbers: Iterable[int]) -> Iterator[tuple[str, Pair | Skipped]]:
        """For each number the place of the record, for messages, and the record."""
        raise NotImplementedError

    def encode(self, numbers: Iterable[int]) -> list[bytes | Skipped]:
        """The records of these numbers as bytes; called from several threads at once."""
        encoded = []
        for where, record in self.load(numbers):
            with at(where):
                encoded.append(record if isinstance(record, Skipped) else self.spec.encode(record))
        return encoded


class Listed(Source):
    """Pairs in a list, or in anything else with a length and an index."""

    def __init__(self, records: Sequence[Pair]):
        self.records = records
        self.spec = find_spec(self.load(range(len(records))))

    def __len__(self) -> int:
        return len(self.records)

    def load(self, numbers: Iterable[int]) -> Iterator[tuple[str, Pair]]:
        for number in numbers:
            yield f"record {number}", self.records[number]


class Streamed(Source):
    """Pairs from a generator, encoded into one file as they come; only the places in that file are in memory."""

    def __init__(self, records: Iterable[Pair], scratch: Path):
        numbered = ((f"record {number}", record) for number, record in enumerate(records))
        first = []  # what it takes to find the types; nearly always one record
        self.spec = find_spec(first.append(item) or item for item in numbered)
        scratch.mkdir()
        self.path = scratch / "records"
        self.ends = packed_array("Q", [0])
        with open(self.path, "wb") as file:
            for where, record in chain(first, numbered):
                with at(where):
                    self.ends.append(self.ends[-1] + file.write(self.spec.encode(record)))

    def __len__(self) -> int:
        return len(self.ends) - 1

    def encode(self, numbers: Iterable[int]) -> list[bytes]:
        with open(self.path, "rb") as file:
            return [self._read(file, number) for number in numbers]

    def _read(self, file, number: int) -> bytes:
        file.seek(self.ends[number])
        return file.read(self.ends[number + 1] - self.ends[number])


class Lines(Source):
    """Objects in a .jsonl file; only the places of the lines are in memory."""

    def __init__(self, path: Path):
        self.path = path
        self.starts = packed_array("Q")
        self.numbers = packed_array("Q")
        with open(path, "rb") as file:
            start = 0
            for number, line in enumerate(file, start=1):
                if line.strip():
                    self.starts.append(start)
                    self.numbers.append(number)
                start += len(line)
        self.spec = find_spec(self.load(range(len(self))), everything=True)

    def __len__(self) -> int:
        return len(self.starts)

    def load(self, numbers: Iterable[int]) -> Iterator[tuple[str, Pair]]:
        with open(self.path, "rb") as file:
            for number in numbers:
                file.seek(self.starts[number])
                where = f"{self.path} line {self.numbers[number]}"
                yield where, self._parse(where, file.readline())

    @staticmethod
    def _parse(where: str, line: bytes) -> Pair:
        try:
            content = json.loads(line)
        except ValueError as error:
            raise DataSetError(f"{where} is not JSON: {error}") from None
        if not isinstance(content, dict):
            raise DataSetError(f"{where} is not an object, {{…}}")
        sequences = {name: value for name, value in content.items() if isinstance(value, list)}
        return {name: value for name, value in content.items() if name not in sequences}, sequences


class ArrayFiles(Source):
    """A folder of .npy files, each one sequence, perhaps in class folders."""

    def __init__(self, folder: Path):
        self.folder = folder
        loose = sorted(path.name for path in folder.glob("*.npy"))
        if loose:
            self.files = [Labelled(name, -1) for name in loose]
            if any(list_files(path, (".npy",), folder) for path in folder.iterdir() if path.is_dir()):
                raise DataSetError(f"{folder} has .npy files both in class folders and beside them")
        else:
            self.classes, self.files = find_files(folder, (".npy",), "arrays")
            self.class_records = np.bincount([file.label for file in self.files]).tolist()
        self.spec = find_spec(self.load(range(len(self))))

    def __len__(self) -> int:
        return len(self.files)

    def load(self, numbers: Iterable[int]) -> Iterator[tuple[str, Pair | Skipped]]:
        for number in numbers:
            file, label = self.files[number]
            where = str(self.folder / file)
            context = {"file": file, "label": label} if self.classes else {"file": file}
            try:
                yield where, (context, {"values": np.load(self.folder / file)})
            except (ValueError, EOFError, OSError) as error:
                yield where, Skipped(file, str(error), label if self.classes else None)


def open_source(path: Path) -> Source:
    """The sequences in a .jsonl file or a folder of .npy files.

    Raises:
        DataSetError: there is nothing to read, or records do not fit together.
    """
    if path.is_dir():
        return ArrayFiles(path)
    if not path.exists():
        raise DataSetError(f"{path} is not there")
    if path.suffix != ".jsonl":
        raise DataSetError(f"{path} is neither a .jsonl file nor a folder of .npy files")
    return Lines(path)
