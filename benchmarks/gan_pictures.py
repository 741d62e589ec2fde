"""Pictures as arrays: a folder of pictures, a `.npy` file, or the avatars with their attributes."""

from __future__ import annotations

import csv
import hashlib
import os
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from utils.lesson import REPO

SIZE = 64  # pixels of a picture's side; all measures work at this size
ENDINGS = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp")
CACHE = REPO / "build" / "gan_quality"  # decoded folders
ATTRIBUTES = ("body", "fur", "eyes", "mouth", "accessory")  # columns of attributes.csv


class QualityError(Exception):
    """Something that was given cannot be measured. The message says what, and what would do."""


def picture_files(folder: Path) -> list[Path]:
    """All pictures below `folder`, sorted by their path.

    Raises:
        QualityError: there is no such folder, or it holds no picture.
    """
    if not folder.is_dir():
        raise QualityError(f"{folder} is not a folder of pictures (nor a .npy file of samples).")
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in ENDINGS)
    if not files:
        raise QualityError(
            f"{folder} holds no pictures ({', '.join(ENDINGS)}), not in its subfolders either."
        )
    return files


def to_size(picture: Image.Image) -> np.ndarray:
    """A picture as uint8 (64, 64, 3): transparency on white, the middle square, scaled."""
    if picture.mode in ("RGBA", "LA", "PA") or "transparency" in picture.info:
        picture = picture.convert("RGBA")
        picture = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture)
    picture = picture.convert("RGB")
    if picture.size != (SIZE, SIZE):
        picture = ImageOps.fit(picture, (SIZE, SIZE), Image.Resampling.LANCZOS)
    return np.asarray(picture)


def decode(path: Path) -> tuple[np.ndarray, tuple[int, int]] | None:
    """A picture file as (uint8 (64, 64, 3), its own (width, height)); None when it cannot be read."""
    try:
        with Image.open(path) as picture:
            return to_size(picture), picture.size
    except (OSError, ValueError, SyntaxError):  # Pillow raises SyntaxError for some broken PNGs
        return None


def read_files(files: list[Path]) -> np.ndarray:
    """Decode picture files; what had to be resized or left out is said.

    Returns:
        uint8 (pictures, 64, 64, 3), in the order of `files`.

    Raises:
        QualityError: none of them can be read.
    """
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        decoded = list(pool.map(decode, files))
    broken = [path for path, found in zip(files, decoded) if found is None]
    good = [found for found in decoded if found is not None]
    if not good:
        raise QualityError(f"none of the {len(files):,} pictures in {files[0].parent} can be read.")
    if broken:
        print(f"{len(broken):,} of {len(files):,} pictures cannot be read and are left out: {broken[0]} …")
    sizes = [size for _, size in good if size != (SIZE, SIZE)]
    if sizes:
        print(
            f"{len(sizes):,} pictures were resized to {SIZE}x{SIZE}; the first was {sizes[0][0]}x{sizes[0][1]}."
        )
    return np.stack([pixels for pixels, _ in good])


def read_npy(path: Path) -> np.ndarray:
    """Samples from a `.npy` file as uint8 (n, 64, 64, 3); see `as_pictures` for what it may hold."""
    try:
        return as_pictures(np.load(path, mmap_mode="r"), path.name)
    except (OSError, ValueError, EOFError) as error:
        raise QualityError(f"{path} is not a readable .npy array: {error}") from error


def as_pictures(array: np.ndarray, name: str = "the array") -> np.ndarray:
    """Check an array of samples and bring it to uint8 (n, 64, 64, 3).

    Args:
        array: (n, height, width, 3); uint8, or floating point from -1 to 1.
        name: what to call it in messages.

    Raises:
        QualityError: another shape or other values.
    """
    if array.ndim != 4 or array.shape[-1] != 3 or not len(array):
        raise QualityError(f"{name} has the shape {array.shape}; expected (pictures, height, width, 3).")
    if array.dtype != np.uint8:
        low, high = float(np.min(array)), float(np.max(array))
        if not np.issubdtype(array.dtype, np.floating) or not (low >= -1.001 and high <= 1.001):
            raise QualityError(
                f"{name} holds {array.dtype} from {low:.3g} to {high:.3g}; expected uint8 from 0 to 255, or "
                "floating point from -1 to 1."
            )
        array = np.rint((np.clip(array, -1.0, 1.0) + 1.0) * 127.5).astype(np.uint8)
    if array.shape[1:3] != (SIZE, SIZE):
        print(f"{name}: {array.shape[2]}x{array.shape[1]} pictures were resized to {SIZE}x{SIZE}.")
        array = np.stack([to_size(Image.fromarray(picture)) for picture in array])
    return np.ascontiguousarray(array)


def read_pictures(source: Path, count: int | None = None) -> np.ndarray:
    """The first `count` pictures of a folder (by path) or of a `.npy` file; all when None.

    Returns:
        uint8 (n, 64, 64, 3).
    """
    if source.suffix == ".npy":
        return read_npy(source)[:count]
    return read_files(picture_files(source)[:count])


def read_real(folder: Path) -> tuple[np.ndarray, dict[str, np.ndarray] | None]:
    """All real pictures, decoded once and kept in `build/` until the folder changes.

    Returns:
        uint8 (n, 64, 64, 3), and the attributes, name -> (n,) of words, when the folder has an attributes.csv.

    Raises:
        QualityError: no pictures, or attributes.csv does not name them all.
    """
    if folder.suffix == ".npy":
        return read_npy(folder), None
    try:
        files = picture_files(folder)
    except QualityError as error:
        hint = "  `make data` makes data/avatars." if folder.name == "avatars" else ""
        raise QualityError(f"{error}{hint}") from error
    stamp = hashlib.sha256()
    for path in files:
        state = path.stat()
        stamp.update(f"{path}|{state.st_size}|{state.st_mtime_ns}\n".encode())
    cached = CACHE / f"{folder.name}_{stamp.hexdigest()[:16]}.npy"
    if cached.exists():
        pictures = np.load(cached, mmap_mode="r")
    else:
        pictures = read_files(files)
        CACHE.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=CACHE, suffix=".part", delete=False) as part:
            np.save(part, pictures)
        os.replace(part.name, cached)
    table = folder / "attributes.csv"
    if not table.exists():
        return pictures, None
    with open(table, newline="", encoding="utf-8") as lines:
        rows = {row["file"]: row for row in csv.DictReader(lines)}
    names = [path.relative_to(folder).as_posix() for path in files]
    if len(pictures) != len(files) or any(name not in rows for name in names):
        raise QualityError(
            f"{table} does not describe exactly the pictures of its folder; mend the set with:  "
            "python data/avatars.py --sets avatars --verify"
        )
    return pictures, {kind: np.array([rows[name][kind] for name in names]) for kind in ATTRIBUTES}
