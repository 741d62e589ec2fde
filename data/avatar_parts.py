"""The hand-drawn parts of the package `robohash`: found, scaled and put together.

The package carries its parts as RGBA pictures of 300 to 1024 pixels, in five sets. Its own `assemble()` reads and
scales them anew for each picture. Here a part is read once, scaled once to the size at which it is used, and kept;
putting a picture together is then a handful of `alpha_composite` calls.

Pillow scales RGBA pictures with the colours multiplied by alpha, so the invisible colour of transparent
pixels never bleeds into a rim: no dark halos.
"""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Iterable
from functools import cache, lru_cache
from pathlib import Path
from typing import NamedTuple

from PIL import Image

ROBOHASH = "2.0"  # the version whose parts are described here
PART_SIZE = 1024  # pixels of the cats' parts as they were drawn


class PartsError(Exception):
    """The drawn parts are missing or not the ones described here. The message says what mends it."""


class Group(NamedTuple):
    """Parts of which each picture takes one.

    folder: where they are in the package.
    names: what each is called; the position of a name is the number of the part.
    """

    folder: str
    names: tuple[str, ...]


# Set 4, in the order in which the parts are laid on each other. The package numbers its parts; the names are ours.
CATS = {
    "body": Group(
        "sets/set4/000#00body",
        ("maroon", "lime", "charcoal", "mauve", "red", "tan", "pink", "brown")
        + ("blue", "yellow", "gold", "grey", "caramel", "cream", "orange"),
    ),
    "fur": Group(
        "sets/set4/001#01fur",
        (
            "tabby",
            "tiger",
            "plain",
            "rosettes",
            "mask",
            "white patches",
            "plain",
            "white tips",
            "blocks",
            "dots",
        ),
    ),
    "eyes": Group(
        "sets/set4/002#02eyes",
        ("round", "almond", "beads", "tall", "monocle", "square", "closed", "big")
        + ("soft", "green", "eyeliner", "oval", "glasses", "narrow", "lashes"),
    ),
    "mouth": Group(
        "sets/set4/003#03mouth",
        ("tongue", "smile", "o", "shout", "laugh", "side", "smirk", "peep", "grin", "cheer"),
    ),
    "accessory": Group(
        "sets/set4/004#04accessories",
        ("red scarf", "bell", "red collar", "headband", "pink bow", "black hat", "headphones", "blue scarf")
        + ("barrel", "typewriter", "diamond", "bandana", "blue bow", "red hat", "white headphones", "none"),
    ),
}
# Furs 2 and 6 are both blank pictures: a plain coat. Number 6 is never drawn, so that a plain coat has one number.
FURS = (0, 1, 2, 3, 4, 5, 7, 8, 9)
# These accessories lie over the whole mouth.
SCARVES = (0, 7)


@lru_cache(maxsize=1)
def package_folder() -> Path:
    """Where the installed package keeps its pictures.

    Raises:
        PartsError: the package is not installed.
    """
    # find_spec looks for the package without running its code, which we do not need.
    spec = importlib.util.find_spec("robohash")
    if spec is None or not spec.submodule_search_locations:
        raise PartsError(
            "the package robohash, which carries the hand-drawn parts, is not installed in this Python. "
            f"Install it with:  make setup   (or:  pip install robohash=={ROBOHASH})"
        )
    return Path(next(iter(spec.submodule_search_locations)))


def natural(path: Path) -> list:
    """Sorting key that puts "body10.png" behind "body9.png"."""
    return [int(piece) if piece.isdigit() else piece for piece in re.split(r"(\d+)", path.name)]


@cache
def part_files(folder: str) -> tuple[Path, ...]:
    """The pictures of one folder of the package, in the order of their numbers.

    Raises:
        PartsError: there are none.
    """
    files = tuple(sorted((package_folder() / folder).glob("*.png"), key=natural))
    if not files:
        raise PartsError(
            f"{package_folder() / folder} holds no pictures: the installed robohash is not version {ROBOHASH}, or "
            f"is damaged. Get it back with:  pip install --force-reinstall robohash=={ROBOHASH}"
        )
    return files


@cache
def part_folders(name: str) -> tuple[str, ...]:
    """The folders of a set of parts, in drawing order, as paths below the package; of "set1": its ten colours.

    A folder is called like "003#01Body": the package draws by what stands behind the "#".
    """
    root = package_folder() / "sets" / name
    found = sorted(
        (path.name for path in root.iterdir() if path.is_dir()), key=lambda folder: folder.split("#")[-1]
    )
    return tuple(found if name == "set1" else (f"sets/{name}/{folder}" for folder in found))


def check_parts() -> None:
    """Make sure that the package is installed and has the cats' parts that `CATS` names.

    Raises:
        PartsError: it is not, or a group has another number of parts.
    """
    for kind, (folder, names) in CATS.items():
        found = len(part_files(folder))
        if found != len(names):
            raise PartsError(
                f"the installed robohash has {found} cats' parts of the kind '{kind}', expected {len(names)}. "
                f"Get the right version with:  pip install robohash=={ROBOHASH}"
            )


class Part(NamedTuple):
    """A part at the size at which it is used, cut to what of it is visible.

    image: RGBA picture.
    place: where its upper left corner lies in the whole picture, (x, y).
    """

    image: Image.Image
    place: tuple[int, int]


@cache
def load_part(folder: str, number: int, size: int) -> Part | None:
    """Part `number` of a folder of the package, for pictures of `size` pixels; None if it is blank. Kept in memory.

    Raises:
        PartsError: the file is damaged.
    """
    path = part_files(folder)[number]
    try:
        with Image.open(path) as picture:
            whole = picture.convert("RGBA").resize((size, size), Image.Resampling.LANCZOS)
    except (OSError, SyntaxError) as error:
        raise PartsError(
            f"{path} is damaged ({error}). Get the package back with:  "
            f"pip install --force-reinstall robohash=={ROBOHASH}"
        ) from None
    box = whole.getbbox()
    return Part(whole.crop(box), box[:2]) if box else None


def lay(whole: Image.Image, part: Part | None) -> None:
    """Lay a part on a picture."""
    if part is not None:
        whole.alpha_composite(part.image, part.place)


def compose(parts: Iterable[tuple[str, int]], size: int) -> Image.Image:
    """Lay parts on each other, the first one lowest.

    Args:
        parts: pairs of a folder of the package and the number of a part in it.
        size: pixels of the picture's side.

    Returns:
        An RGBA picture of `size` by `size`, transparent where no part is.
    """
    whole = Image.new("RGBA", (size, size))
    for folder, number in parts:
        lay(whole, load_part(folder, number, size))
    return whole


def cat(numbers: Iterable[int], size: int) -> Image.Image:
    """A cat from the numbers of its five parts, in the order of `CATS`: RGBA, `size` by `size`."""
    body, fur, *others = (
        load_part(group.folder, number, size) for group, number in zip(CATS.values(), numbers)
    )
    whole = Image.new("RGBA", (size, size))
    lay(whole, body)
    if fur is not None:
        # The markings of some coats are painted beyond the body; they colour it, and leave its shape as it is.
        shape = whole.getchannel("A")
        whole.paste(fur.image, fur.place, fur.image)
        whole.putalpha(shape)
    for part in others:
        lay(whole, part)
    return whole


@cache
def load_background(number: int, size: int) -> Image.Image:
    """One of the package's 20 backgrounds as an RGB picture of `size` by `size`."""
    places = [
        (folder, i)
        for folder in ("backgrounds/bg1", "backgrounds/bg2")
        for i in range(len(part_files(folder)))
    ]
    return compose([places[number]], size).convert("RGB")
