"""Draw the sample digits of m01: ten picture files of different sizes, formats and colours.

    python -m benchmarks.m01_digits

writes `models/m01_batch_normalization/digits/`, and `figs/m01_prepared.png`, which shows the files and what `digits.py`
makes of them. Each digit is a few strokes through points of a unit square, drawn with a round pen of even width.
"""

from __future__ import annotations

import io
import sys
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from utils.lesson import REPO, save_figure

FOLDER = REPO / "models" / "m01_batch_normalization" / "digits"


def arc(
    x: float, y: float, width: float, height: float, start: float, end: float
) -> list[tuple[float, float]]:
    """Points on an ellipse around (x, y), from angle `start` to `end` in degrees, 0 to the right, 90 down."""
    angles = np.radians(np.linspace(start, end, 30))
    return [(x + width * np.cos(a), y + height * np.sin(a)) for a in angles]


# Strokes in a unit square, x to the right and y down.
STROKES = {
    0: [arc(0.5, 0.5, 0.32, 0.45, -80, 285)],
    1: [[(0.34, 0.24), (0.54, 0.06), (0.5, 0.95)]],
    2: [[*arc(0.48, 0.3, 0.3, 0.25, -165, 50), (0.2, 0.92), (0.85, 0.9)]],
    3: [[*arc(0.45, 0.28, 0.28, 0.23, -150, 80), *arc(0.45, 0.72, 0.32, 0.23, -85, 150)]],
    4: [[(0.4, 0.05), (0.16, 0.58), (0.84, 0.56)], [(0.66, 0.3), (0.6, 0.96)]],
    5: [[(0.8, 0.06), (0.32, 0.08), (0.27, 0.45), *arc(0.47, 0.67, 0.32, 0.27, -100, 145)]],
    6: [[(0.68, 0.05), (0.4, 0.3), *arc(0.5, 0.7, 0.28, 0.25, 190, -150)]],
    7: [[(0.18, 0.1), (0.82, 0.07), (0.42, 0.96)]],
    8: [[*arc(0.5, 0.28, 0.24, 0.22, 80, -260), *arc(0.5, 0.73, 0.29, 0.24, -95, 265)]],
    9: [[*arc(0.48, 0.3, 0.26, 0.24, -20, -350), (0.72, 0.35), (0.6, 0.95)]],
}


def draw(
    digit: int, size: tuple[int, int], box: float, pen: float, ink: object, paper: object, mode: str = "RGB"
) -> Image.Image:
    """Draw one digit.

    Args:
        digit: which, 0 to 9.
        size: width and height of the picture in pixels.
        box: height of the digit, as a share of the picture's shorter side.
        pen: width of the stroke, as a share of the digit's height.
        ink: colour of the stroke, as Pillow takes it.
        paper: colour of the background.
        mode: Pillow mode, for example "RGB" or "RGBA".
    """
    large = 4  # drawn four times as large and scaled down: smooth edges
    canvas = Image.new(mode, (size[0] * large, size[1] * large), paper)
    brush = ImageDraw.Draw(canvas)
    side = min(canvas.size) * box
    left, top, width = (canvas.width - side) / 2, (canvas.height - side) / 2, max(side * pen, 1)
    for stroke in STROKES[digit]:
        points = [(left + x * side, top + y * side) for x, y in stroke]
        brush.line(points, fill=ink, width=round(width), joint="curve")
        for x, y in points:
            brush.ellipse((x - width / 2, y - width / 2, x + width / 2, y + width / 2), fill=ink)
    return canvas.resize(size, Image.Resampling.BOX)


def samples() -> dict[str, Image.Image]:
    """The ten files by name: dark on light and light on dark, large and small, grey, coloured and transparent."""
    return {
        "0.png": draw(0, (28, 28), 0.75, 0.12, "white", "black").convert("L"),
        "1.jpg": draw(1, (640, 480), 0.5, 0.08, "black", "white"),
        "2.gif": draw(2, (120, 90), 0.8, 0.12, "black", "white").convert("L"),
        "3.webp": draw(3, (300, 300), 0.6, 0.1, (30, 40, 160), (250, 240, 210)),
        "4.png": draw(4, (200, 320), 0.9, 0.11, (20, 20, 20, 255), (255, 255, 255, 0), "RGBA"),
        "5.bmp": draw(5, (64, 64), 0.7, 0.13, (230, 230, 230), (70, 90, 80)),
        "6.jpg": draw(6, (1000, 700), 0.3, 0.1, "white", (20, 60, 40)),
        "7.png": draw(7, (256, 256), 0.8, 0.02, "black", "white").convert("1"),
        "8.tiff": draw(8, (80, 100), 0.8, 0.1, "black", (190, 190, 190)),
        "9.png": draw(9, (400, 400), 0.5, 0.16, (200, 30, 30), (120, 200, 120)),
    }


def main() -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, picture in samples().items():
        buffer = io.BytesIO()
        picture.save(
            buffer, {"jpg": "JPEG", "tiff": "TIFF"}.get(Path(name).suffix[1:], Path(name).suffix[1:].upper())
        )
        part = FOLDER / f".{name}.part"
        part.write_bytes(buffer.getvalue())
        part.replace(FOLDER / name)
        print(
            f"{name:<8} {picture.width} × {picture.height} {picture.mode:<5} {len(buffer.getvalue()):>7,} bytes"
        )
    draw_prepared()


def draw_prepared() -> None:
    """The files above, and below them what the network sees."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    sys.path.insert(0, str(FOLDER.parent))  # as when the scripts in it are run
    from digits import find_files, read_digit

    files = find_files([str(FOLDER)])
    figure, axes = plt.subplots(2, len(files), figsize=(12, 3), layout="constrained", height_ratios=[1.2, 1])
    for path, (above, below) in zip(files, axes.T):
        with Image.open(path) as picture:
            above.imshow(picture.convert("RGBA"))
            above.set_title(f"{path.name}\n{picture.width} × {picture.height}", fontsize=9)
        below.imshow(read_digit(path), cmap="gray")
        for axis in (above, below):
            axis.set(xticks=[], yticks=[])
    axes[0, 0].set_ylabel("file")
    axes[1, 0].set_ylabel("prepared,\n28 × 28")
    save_figure(figure, "m01_prepared.png", dpi=90)


if __name__ == "__main__":
    main()
