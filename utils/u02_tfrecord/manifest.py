"""`manifest.json`, the description of a data set beside its shards: features, counts, checksums."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path

from .features import Feature
from .format import DataSetError

NAME = "manifest.json"
FORMAT = "TFRecord data set, version 1"


@dataclass(frozen=True)
class Shard:
    """One file of a data set: its name, how many records and bytes it has, and the SHA-256 of its bytes."""

    file: str
    records: int
    bytes: int
    sha256: str


@dataclass
class Manifest:
    """What a data set holds. Made by a writer, read back by `load_manifest`.

    folder: where the data set is.
    kind: "arrays", "sequences" or "images".
    seed: the order of the records; None when it is the order in which they were given.
    features: of each record, by name; of a sequence, its context.
    sequences: what a record has once a step, by name; the shapes are those of one step.
    classes: class names of pictures; `classes[label]` is the name that belongs to a label.
    class_records: how many records each class has.
    skipped: what could not be read and was left out: `{"file": …, "reason": …}`.
    shards: the files in order.
    """

    folder: Path
    kind: str
    seed: int | None
    features: dict[str, Feature]
    sequences: dict[str, Feature] = field(default_factory=dict)
    classes: list[str] = field(default_factory=list)
    class_records: list[int] = field(default_factory=list)
    skipped: list[dict[str, str]] = field(default_factory=list)
    shards: list[Shard] = field(default_factory=list)

    @property
    def records(self) -> int:
        """How many records all shards have together."""
        return sum(shard.records for shard in self.shards)

    @property
    def bytes(self) -> int:
        """How many bytes all shards have together."""
        return sum(shard.bytes for shard in self.shards)

    @property
    def files(self) -> list[Path]:
        """The paths of the shards, in order."""
        return [self.folder / shard.file for shard in self.shards]

    def save(self) -> None:
        """Write `folder/manifest.json`."""
        content = {"format": FORMAT, "records": self.records}
        content |= {key: value for key, value in asdict(self).items() if key != "folder"}
        with open(self.folder / NAME, "w", encoding="utf-8") as file:
            json.dump(content, file, indent=1, ensure_ascii=False)
            file.write("\n")
            file.flush()
            os.fsync(file.fileno())


def load_manifest(folder: str | Path) -> Manifest:
    """Read the description of the data set in `folder`.

    Raises:
        DataSetError: there is none, or it is not one of this package.
    """
    folder = Path(folder)
    if not folder.is_dir():
        unfinished = folder.with_name(folder.name + ".part")
        hint = (
            f" {unfinished.name} beside it was not finished: run its writer again."
            if unfinished.is_dir()
            else ""
        )
        raise DataSetError(f"{folder} is not there.{hint}")
    try:
        content = json.loads((folder / NAME).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DataSetError(
            f"{folder} has no {NAME}: its writer did not finish, or the files come from elsewhere. "
            f"Run the writer again, or name the .tfrecord files themselves."
        ) from None
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise DataSetError(f"{folder / NAME} is damaged ({error}). Run the writer again.") from None
    try:
        if content.pop("format") != FORMAT:
            raise ValueError("it is of another format")
        records = content.pop("records")
        for part in ("features", "sequences"):
            content[part] = {
                name: Feature(feature["dtype"], tuple(feature["shape"]))
                for name, feature in content[part].items()
            }
        content["shards"] = [Shard(**shard) for shard in content["shards"]]
        manifest = Manifest(folder, **content)
        if manifest.records != records:
            raise ValueError(f"it says {records} records, its shards have {manifest.records}")
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DataSetError(f"{folder / NAME} is not a description of a data set: {error!r}") from None
    return manifest


def sha256_of(path: Path, progress: Callable[[int], object] = lambda count: None) -> str:
    """SHA-256 of a file in hexadecimal; `progress` is called with the number of bytes of each piece."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while piece := file.read(1 << 20):
            digest.update(piece)
            progress(len(piece))
    return digest.hexdigest()
