"""Single pictures: the 64-pixel cats that GANs learn from, and the five classes of 256-pixel pictures.

Everything about a picture follows from its seed, a string. Only `random.Random.random` is used to draw from it: its
values are the same in every version of Python.
"""

from __future__ import annotations

import colorsys
import random
from collections.abc import Sequence
from functools import lru_cache
from typing import TypeVar

from avatar_parts import CATS, FURS, cat, compose, load_background, part_files, part_folders
from PIL import Image, ImageOps

AVATAR = 64  # pixels of an avatar's side
PICTURE = 256  # pixels of a class picture's side
CLASSES = ("cats", "heads", "humans", "monsters", "robots")  # sets 4, 3, 5, 2 and 1 of the package

Item = TypeVar("Item")


def pick(rng: random.Random, items: Sequence[Item]) -> Item:
    """One of `items`, each as likely."""
    return items[int(rng.random() * len(items))]


def between(rng: random.Random, low: float, high: float) -> float:
    """A number from `low` to `high`, each as likely."""
    return low + (high - low) * rng.random()


def colour(hue: float, saturation: float, value: float) -> tuple[int, int, int]:
    """A colour as (red, green, blue), 0 to 255, from hue, saturation and value, 0 to 1."""
    return tuple(round(255 * channel) for channel in colorsys.hsv_to_rgb(hue % 1.0, saturation, value))


def gradient(size: int, top: tuple[int, int, int], bottom: tuple[int, int, int]) -> Image.Image:
    """An RGB picture that turns from one colour at the top into another at the bottom."""
    column = Image.new("RGB", (1, size))
    column.putdata(
        [tuple(round(a + (b - a) * row / (size - 1)) for a, b in zip(top, bottom)) for row in range(size)]
    )
    return column.resize((size, size), Image.Resampling.NEAREST)


def avatar(numbers: Sequence[int], seed: str) -> Image.Image:
    """A cat on a pale background, its colour from the seed.

    Args:
        numbers: of the cat's five parts, in the order of `CATS`.
        seed: of the background.

    Returns:
        RGB picture of 64 by 64.
    """
    rng = random.Random(seed)
    hue, saturation = rng.random(), between(rng, 0.10, 0.26)
    whole = gradient(AVATAR, colour(hue, 0.5 * saturation, 0.99), colour(hue, saturation, 0.95))
    painted = cat(numbers, AVATAR)
    whole.paste(painted, (0, 0), painted)
    return whole


def draw_cat(rng: random.Random) -> tuple[int, ...]:
    """Numbers of the parts of a random cat, in the order of `CATS`."""
    return tuple(
        pick(rng, FURS if kind == "fur" else range(len(group.names))) for kind, group in CATS.items()
    )


def draw_any(rng: random.Random, name: str) -> list[tuple[str, int]]:
    """One random part from each folder of a set, in the package's drawing order."""
    return [(folder, int(rng.random() * len(part_files(folder)))) for folder in part_folders(name)]


@lru_cache(maxsize=1)
def human_parts() -> dict[str, tuple[str, dict[str, int]]]:
    """The parts of set 5 by kind: kind -> (folder, {name: number})."""
    return {
        folder.split("#")[-1]: (folder, {path.stem: number for number, path in enumerate(part_files(folder))})
        for folder in part_folders("set5")
    }


def draw_human(rng: random.Random) -> list[tuple[str, int]]:
    """Parts of a random person.

    The package lays the parts of set 5 on each other by the alphabet, which puts glasses under the face. Here the
    order is that of the Avataaars library the set was drawn for. A style is drawn first, then its colour, as styles
    come in different numbers of colours; a beard has the colour of the hair.
    """
    chosen = {}
    for kind in ("Body", "Cloth", "Mouth", "Eye", "Eyebrow", "Top"):
        names = human_parts()[kind][1]
        styles = sorted({name.split("-")[0] for name in names} - {"Vomit"})
        style = pick(rng, styles)
        chosen[kind] = pick(rng, [name for name in names if name.split("-")[0] == style])
    if not chosen["Top"].startswith(("LongHair", "Hijab")) and rng.random() < 0.4:
        style = pick(rng, ("BeardLight", "BeardMagestic", "BeardMedium", "MoustacheFancy", "MoustacheMagnum"))
        matching = f"{style}-{chosen['Top'].partition('-')[2]}"
        chosen["FacialHair"] = matching if matching in human_parts()["FacialHair"][1] else style
    if rng.random() < 0.4:
        chosen["Accessories"] = pick(
            rng, [name for name in human_parts()["Accessories"][1] if name != "Blank"]
        )
    return [(human_parts()[kind][0], human_parts()[kind][1][name]) for kind, name in chosen.items()]


def draw_figure(rng: random.Random, kind: str, size: int) -> Image.Image:
    """A random figure of one of `CLASSES`, RGBA of `size` by `size`."""
    if kind == "cats":
        return cat(draw_cat(rng), size)
    if kind == "humans":
        return compose(draw_human(rng), size)
    if kind == "robots":  # set 1 comes in ten colours
        return compose(draw_any(rng, f"set1/{pick(rng, part_folders('set1'))}"), size)
    return compose(draw_any(rng, {"heads": "set3", "monsters": "set2"}[kind]), size)


def background(rng: random.Random) -> Image.Image:
    """A background of 256 by 256, RGB: two in three are plain gradients, the others the package's scenes.

    It is drawn the same way for each class, so that it says nothing about the class.
    """
    if rng.random() < 2 / 3:
        hue, turn = rng.random(), between(rng, -0.08, 0.08)
        top = colour(hue, between(rng, 0.05, 0.45), between(rng, 0.75, 1.0))
        return gradient(PICTURE, top, colour(hue + turn, between(rng, 0.15, 0.65), between(rng, 0.55, 0.95)))
    scenes = range(len(part_files("backgrounds/bg1")) + len(part_files("backgrounds/bg2")))
    scene = load_background(pick(rng, scenes), PICTURE)
    return ImageOps.mirror(scene) if rng.random() < 0.5 else scene.copy()


def class_picture(kind: str, seed: str) -> Image.Image:
    """A random picture of one of `CLASSES`, in varying size and place, RGB of 256 by 256.

    Heads float; all others stand on the lower rim, which cuts them.
    """
    rng = random.Random(seed)
    whole = background(rng)
    figure = draw_figure(rng, kind, 320)
    size = int(between(rng, 180, 257))
    figure = figure.resize((size, size), Image.Resampling.LANCZOS)
    if rng.random() < 0.5 and kind != "humans":  # their shirts carry words
        figure = ImageOps.mirror(figure)
    left = (PICTURE - size) // 2 + int(between(rng, -24, 24))
    top = (PICTURE - size) // 2 + int(between(rng, -20, 20)) if kind == "heads" else PICTURE - size
    whole.paste(figure, (left, top), figure)
    return whole
