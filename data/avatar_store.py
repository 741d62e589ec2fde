"""Writing a set of pictures so that it can be interrupted at any moment, continued, checked and repeated.

Each picture is written under a temporary name and renamed, so a file that is there is whole. A manifest says which
settings the pictures belong to; it is written before the first picture, marked incomplete, and once more after the
last, with the number of pictures, their bytes and a checksum of their pixels for each folder. A later call compares
names and bytes with it, which takes a fraction of a second, and makes again only what is missing.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from avatar_parts import check_parts
from avatar_workers import Picture, SetError, paint_all, write_whole

try:
    import fcntl
except ImportError:  # not on Windows; there two runs at once are not noticed
    fcntl = None

MANIFEST = "manifest.json"
# A change of these alone means that the program has changed, not the wish of the user: the set is made again.
PROGRAM_SETTINGS = {"recipe", "robohash"}


class Plan(NamedTuple):
    """A set of pictures, before any is painted.

    name: of the set and of its folder.
    settings: what the pictures follow from, as JSON can hold it; "seed" and "count" are the user's.
    paint: "module:function", called as function(*arguments), returns a `PIL.Image.Image`.
    pictures: in order; no path twice.
    texts: other files of the set, name to content.
    bytes_each: of a picture, about, to tell whether the disk is large enough.
    """

    name: str
    settings: dict
    paint: str
    pictures: list[Picture]
    texts: dict[str, str]
    bytes_each: int


class Result(NamedTuple):
    """What `make_set` found or did.

    pictures, size: how many there are now, and their bytes.
    made: how many of them had to be painted.
    pixels: SHA-256 over the pixels of all pictures, in order.
    """

    pictures: int
    size: int
    made: int
    pixels: str
    seconds: float


def combine(fingerprints: list[str]) -> str:
    """One SHA-256 for many."""
    return hashlib.sha256("".join(fingerprints).encode()).hexdigest()


# ---- the manifest ------------------------------------------------------------------------------------------


def read_manifest(folder: Path) -> dict | None:
    """The manifest of a set; None if there is none.

    Raises:
        ValueError: the file is no manifest.
    """
    try:
        content = json.loads((folder / MANIFEST).read_text("utf-8"))
    except FileNotFoundError:
        return None
    try:
        records = [(int(record["bytes"]), str(record["pixels"])) for record in content["folders"].values()]
        wishes = int(content["settings"]["seed"]), int(content["settings"]["count"])
        if content["complete"] in (True, False) and (records or not content["complete"]) and min(wishes) >= 0:
            return content
    except (AttributeError, KeyError, TypeError):
        pass
    raise ValueError("it is not what this program writes")


def write_manifest(plan: Plan, folder: Path, folders: dict | None = None) -> None:
    """Write the manifest; without figures of the folders it says that the set is incomplete."""
    content = {
        "set": plan.name,
        "settings": plan.settings,
        "complete": folders is not None,
        "pictures": len(plan.pictures),
        "folders": folders or {},
        "texts": {name: hashlib.sha256(text.encode()).hexdigest() for name, text in plan.texts.items()},
    }
    write_whole(folder / MANIFEST, (json.dumps(content, indent=1) + "\n").encode())


def by_folder(pictures: list[Picture]) -> dict[str, list[Picture]]:
    """The pictures of each folder below the set's own."""
    groups: dict[str, list[Picture]] = {}
    for picture in pictures:
        groups.setdefault(os.path.dirname(picture.path), []).append(picture)
    return groups


def is_intact(folder: Path, pictures: list[Picture], record: dict | None) -> bool:
    """Whether a folder holds all of its pictures and these have as many bytes as the manifest says."""
    if record is None:
        return False
    try:
        with os.scandir(folder / os.path.dirname(pictures[0].path)) as entries:
            sizes = {entry.name: entry.stat().st_size for entry in entries}
        return sum(sizes[os.path.basename(path)] for path, _ in pictures) == record["bytes"]
    except (OSError, KeyError, TypeError):
        return False


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep a second run out of a folder. The lock ends with the process, however that ends."""
    if fcntl is None:
        yield
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise SetError(f"another run is writing {folder} just now; wait until it has ended.") from None
        yield
    finally:
        os.close(handle)


# ---- making a set ------------------------------------------------------------------------------------------


def outdated(plan: Plan, replan: Callable[[int, int], Plan], folder: Path, remake: bool) -> list[str] | None:
    """Which pictures in the folder belong to other settings and have to go; None if the folder is as planned.

    Raises:
        SetError: the folder holds files that are not ours, or a set with other wishes of the user.
    """
    try:
        manifest = read_manifest(folder)
    except ValueError as error:
        ours = {picture.path for picture in plan.pictures}
        found = {path.relative_to(folder).as_posix() for path in folder.rglob("*.png")}
        if strangers := sorted(found - ours):
            raise SetError(
                f"{folder / MANIFEST} is damaged ({error}), and {folder} holds pictures that the set '{plan.name}' "
                f"does not have, such as {strangers[0]}. Delete {folder} or choose another place with --out."
            ) from None
        print(f"{folder / MANIFEST} is damaged ({error}): the set is made again.")
        return sorted(found)
    if manifest is None:
        # A run that was killed while it wrote its first manifest leaves a temporary file.
        strangers = sorted(
            path.name for path in folder.iterdir() if not path.name.startswith(f".{MANIFEST}.")
        )
        if strangers:
            raise SetError(
                f"{folder} holds files that this program did not write, such as {strangers[0]}; they were left "
                "alone. Move them away or choose another place with --out."
            )
        return []
    old = manifest["settings"]
    differing = {key for key in old.keys() | plan.settings.keys() if old.get(key) != plan.settings.get(key)}
    if not differing:
        return None
    if not differing <= PROGRAM_SETTINGS and not remake:
        wishes = ", ".join(f"{key} {old.get(key)}" for key in sorted(differing))
        raise SetError(
            f"{folder} holds this set with other settings ({wishes}). To replace it add --remake; to keep it "
            "choose another place with --out."
        )
    print(f"{folder} was made with other settings: the set is made again.")
    return [picture.path for picture in replan(old["seed"], old["count"]).pictures]


def prepare_folder(plan: Plan, folder: Path, groups: dict[str, list[Picture]], old: list[str] | None) -> None:
    """Remove what belongs to other settings, say in the manifest what is under way, and make the folders."""
    free, needed = shutil.disk_usage(folder).free, plan.bytes_each * len(plan.pictures)
    present = sum(1 for name in groups for _ in (folder / name).glob("*.png"))
    if free + present * plan.bytes_each < 1.05 * needed:
        raise SetError(
            f"the set '{plan.name}' needs about {needed / 1e6:.0f} MB, and the disk of {folder} has "
            f"{free / 1e6:.0f} MB free. Make room or choose another place with --out."
        )
    if old is not None:
        # The old manifest stays until its pictures have gone: killed in between, the next run goes on with this.
        for path in old:
            (folder / path).unlink(missing_ok=True)
    write_manifest(plan, folder)
    for name in groups:
        (folder / name).mkdir(parents=True, exist_ok=True)
        for leftover in (folder / name).glob(".*.png.*.part"):
            leftover.unlink(missing_ok=True)
    for name in (MANIFEST, *plan.texts):
        for leftover in folder.glob(f".{name}.*.part"):
            leftover.unlink(missing_ok=True)


def make_set(
    replan: Callable[[int, int], Plan],
    seed: int,
    count: int,
    folder: Path,
    workers: int = 2,
    remake: bool = False,
    thorough: bool = False,
    progress: bool = True,
) -> Result:
    """Write a set of pictures into a folder, or what of it is missing there.

    Args:
        replan: makes the plan of the set from a seed and a count.
        seed: the pictures follow from it.
        count: of pictures.
        folder: is made if it is not there.
        workers: processes that paint.
        remake: replace a set with other settings instead of refusing to.
        thorough: decode all pictures that are there, instead of comparing names and bytes.
        progress: show a progress bar.

    Raises:
        SetError: the folder holds something else, can't be written, or the disk is full.
        PartsError: the drawn parts are missing.
    """
    begin = time.monotonic()
    plan = replan(seed, count)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with locked(folder):
            return _make_set(plan, replan, folder, workers, remake, thorough, progress, begin)
    except OSError as error:
        place = error.filename or folder
        raise SetError(
            f"can't write {place}: {error.strerror or error}. Choose another place with --out; if it is the right "
            "one, see who owns it and whether it has room."
        ) from None


def _make_set(plan, replan, folder, workers, remake, thorough, progress, begin) -> Result:
    old = outdated(plan, replan, folder, remake)
    groups = by_folder(plan.pictures)
    records: dict[str, dict] = {}
    known: dict[str, dict] = {}
    if old is None:
        manifest = read_manifest(folder)
        known = manifest["folders"] if manifest["complete"] else {}
        if not thorough:
            records = {
                name: known[name] for name in groups if is_intact(folder, groups[name], known.get(name))
            }
    texts_intact = all(
        (folder / name).is_file() and (folder / name).read_bytes() == text.encode()
        for name, text in plan.texts.items()
    )
    made = 0
    if len(records) < len(groups) or not texts_intact:
        check_parts()
        prepare_folder(plan, folder, groups, old)
        for attempt in ("mend", "repaint"):
            todo = [picture for name in groups if name not in records for picture in groups[name]]
            made += _paint_folders(plan, folder, groups, todo, records, workers, progress)
            # Whole pictures with other pixels than before are not those of this set: paint these folders anew.
            wrong = [
                name for name in groups if name in known and records[name]["pixels"] != known[name]["pixels"]
            ]
            if not wrong or attempt == "repaint":
                break
            for name in wrong:
                del records[name]
                for picture in groups[name]:
                    (folder / picture.path).unlink(missing_ok=True)
        for name, text in plan.texts.items():
            write_whole(folder / name, text.encode())
        write_manifest(plan, folder, {name: records[name] for name in groups})
    return Result(
        pictures=len(plan.pictures),
        size=sum(record["bytes"] for record in records.values()),
        made=made,
        pixels=combine([records[name]["pixels"] for name in groups]),
        seconds=time.monotonic() - begin,
    )


def _paint_folders(plan, folder, groups, todo, records, workers, progress) -> int:
    """Paint what is missing of `todo` and enter the folders' figures into `records`; how many were painted."""
    from tqdm import tqdm

    figures, made = {}, 0
    often = (
        0.2 if sys.stderr.isatty() else 10
    )  # seconds between updates; each is a line of its own in a log file
    with tqdm(
        total=len(todo), desc=plan.name, unit="picture", mininterval=often, disable=not progress
    ) as bar:
        for chunk in paint_all(plan.paint, folder, todo, workers):
            for path, size, pixels, painted in chunk:
                figures[path] = (size, pixels)
                made += painted
            bar.update(len(chunk))
    for name, pictures in groups.items():
        if name not in records:
            done = [figures[path] for path, _ in pictures]
            records[name] = {
                "pictures": len(done),
                "bytes": sum(size for size, _ in done),
                "pixels": combine([pixels for _, pixels in done]),
            }
    return made
