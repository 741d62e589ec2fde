"""Files in class folders: `SRC/cat/a.png` has the class "cat", whose label is its place among the classes."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from .format import DataSetError


class Labelled(NamedTuple):
    """A file: its path below the source with forward slashes, and the number of its class."""

    file: str
    label: int


def find_files(
    src: Path, endings: tuple[str, ...], what: str, classes: Sequence[str] | None = None
) -> tuple[list[str], list[Labelled]]:
    """The class names and all files in the class folders of `src`, by class, then by path.

    Args:
        src: the folder of class folders. Hidden files and folders do not count.
        endings: which files count, such as `(".png",)`; capital letters are the same.
        what: what they are called in messages, "pictures".
        classes: class folders in the order of their labels; None: all that hold such a file, in alphabetical order.

    Raises:
        DataSetError: `src` or a class folder is not there, or there are no such files.
    """
    if not src.is_dir():
        raise DataSetError(f"{src} is not a folder" if src.exists() else f"{src} is not there")
    files = {
        path.name: list_files(path, endings, src)
        for path in sorted(src.iterdir())
        if path.is_dir() and not path.name.startswith(".")
    }
    names = [name for name in files if files[name]] if classes is None else list(classes)
    missing = [name for name in names if name not in files]
    if missing:
        raise DataSetError(
            f"{src} has no class folder {', '.join(missing)}; it has {', '.join(files) or 'none'}"
        )
    if len(set(names)) < len(names):
        raise DataSetError(f"a class is named twice: {', '.join(names)}")
    found = [Labelled(file, label) for label, name in enumerate(names) for file in files[name]]
    if not found:
        raise DataSetError(f"{src} has no {what} in class folders ({src}/CLASS/NAME{endings[0]})")
    return [printable(name) for name in names], found


def printable(name: str) -> str:
    """A file name that may be printed and stored: bytes in it that are no UTF-8 become `\\udcXX`."""
    return name.encode("utf-8", "backslashreplace").decode()


def list_files(folder: Path, endings: tuple[str, ...], src: Path) -> list[str]:
    """Paths below `src` of the files in `folder` and all folders in it, sorted."""
    files = []
    for place, folders, entries in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        files += [
            Path(place, name).relative_to(src).as_posix()
            for name in entries
            if name.lower().endswith(endings) and not name.startswith(".")
        ]
    return sorted(files)
