"""A picture file of one digit, of any size, format and colours, as MNIST would have it: 28 × 28, white on black.

MNIST's digits were scaled into a box of 20 × 20 pixels and put into 28 × 28 with their centre of mass in the middle
(LeCun et al. 1998). A network that has seen only such pictures reads others badly, so each goes the same way here.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter, ImageOps, UnidentifiedImageError
from runner import Stop

CENTRE = 14.0  # row and column of the centre of mass in MNIST's files, counted from 0
ENDINGS = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".pgm"}


def find_files(paths: list[str]) -> list[Path]:
    """The files that the arguments name; a folder stands for the picture files in it.

    Raises:
        Stop: one does not exist, or a folder holds no pictures.
    """
    found = []
    for path in map(Path, paths):
        if path.is_dir():
            inside = sorted(p for p in path.iterdir() if p.suffix.lower() in ENDINGS and p.name[0] != ".")
            if not inside:
                raise Stop(f"{path} holds no pictures ({', '.join(sorted(ENDINGS))})")
            found += inside
        elif path.exists():
            found.append(path)
        else:
            raise Stop(f"there is no file {path}")
    return found


def read_ink(path: Path) -> np.ndarray:
    """How far each pixel is from the background, `(height, width)` float32: 0 background, 1 the strongest ink.

    The background is the median colour of the outermost pixels, so light on dark and dark on light, grey or coloured,
    are the same. What is nearer to the background than a tenth of the ink counts as background.

    Raises:
        Stop: the file is no picture, or shows one colour only.
    """
    try:
        with Image.open(path) as file:
            picture = ImageOps.exif_transpose(file).convert("RGBA")
    except (OSError, UnidentifiedImageError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise Stop(f"{path} cannot be read as a picture ({type(error).__name__})") from None
    pixels = np.asarray(picture, np.float32)  # (height, width, 4)
    colour, opaque = pixels[..., :3], pixels[..., 3:] / 255.0
    if opaque.min() < 1.0 and opaque.max() > 0.0:  # drawn on nothing: lay it on the paper that contrasts more
        paper = 255.0 if np.average(colour, weights=np.broadcast_to(opaque, colour.shape)) < 128 else 0.0
        colour = colour * opaque + paper * (1.0 - opaque)
    border = np.concatenate([colour[0], colour[-1], colour[:, 0], colour[:, -1]])
    ink = np.abs(colour - np.median(border, axis=0)).max(axis=-1)
    if ink.max() < 16:
        raise Stop(f"{path} shows no digit: all its pixels have about the same colour")
    ink /= ink.max()
    return np.where(ink < 0.1, 0.0, ink)


def thicken(ink: np.ndarray) -> np.ndarray:
    """Widen thin strokes: those of MNIST are about an eighth of the digit wide, and a hair line would fade away.

    The width of a stroke is twice its area over the length of its outline. Shape and value range stay.
    """
    dark = ink > 0.5
    inner = dark[1:-1, 1:-1] & dark[:-2, 1:-1] & dark[2:, 1:-1] & dark[1:-1, :-2] & dark[1:-1, 2:]
    outline = dark.sum() - inner.sum()
    width, wanted = 2.0 * dark.sum() / max(outline, 1), max(ink.shape) / 10
    if width > 0.75 * wanted:
        return ink
    size = 2 * round((wanted - width) / 2) + 1
    image = Image.fromarray(np.rint(np.pad(ink, size) * 255).astype(np.uint8))
    return np.asarray(image.filter(ImageFilter.MaxFilter(size)), np.float32) / 255.0


def to_mnist(ink: np.ndarray) -> np.ndarray:
    """Ink `(height, width)`, 0 to 1, to `(28, 28)` uint8: cut out, 20 pixels long, its centre of mass in the middle."""
    rows, columns = (np.flatnonzero((ink > 0.25).any(axis=axis)) for axis in (1, 0))
    ink = ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    if max(ink.shape) > 400:  # a photograph: enough to work on
        ink = _resized(ink, 400)
    ink = _resized(thicken(ink), 20)
    ink = ink / ink.max()
    mass = ink.sum()
    row = (ink.sum(axis=1) * np.arange(ink.shape[0])).sum() / mass
    column = (ink.sum(axis=0) * np.arange(ink.shape[1])).sum() / mass
    top = int(np.clip(round(CENTRE - row), 0, 28 - ink.shape[0]))
    left = int(np.clip(round(CENTRE - column), 0, 28 - ink.shape[1]))
    canvas = np.zeros((28, 28), np.uint8)
    canvas[top : top + ink.shape[0], left : left + ink.shape[1]] = np.rint(ink * 255)
    return canvas


def _resized(ink: np.ndarray, longest: int) -> np.ndarray:
    scale = longest / max(ink.shape)
    size = [max(1, round(n * scale)) for n in reversed(ink.shape)]
    image = Image.fromarray(ink.astype(np.float32)).resize(size, Image.Resampling.BICUBIC)
    return np.clip(np.asarray(image), 0.0, 1.0)


def read_digit(path: Path) -> np.ndarray:
    """A picture file as the network wants it: `(28, 28)` uint8, 0 background and 255 ink."""
    return to_mnist(read_ink(path))
