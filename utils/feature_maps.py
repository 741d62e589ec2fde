"""The picture of lesson T_04: a small convolutional network from its kernels to its answer, for a few digits.

    figure = draw_network(kernels, digits, subtitle="…")

Only NumPy and Matplotlib: the arrays come from whatever computed them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

PAPER, INK, DIM, RIGHT = "#0d1117", "#e6edf3", "#484f58", "#ff7b72"
FRAMES = ("#39d0ff", "#ffd33d", "#7ee787")  # one colour for each framed kernel and its maps
WIDTH, HEIGHT, ROW = 15.0, 12.3, 2.72  # inches: the page, and one digit with the gap below it
COLUMNS = [(0.3, 1.6), (2.25, 5.1), (7.7, 2.55), (10.75, 1.75), (12.85, 1.75)]  # inches: left edge and width
HEADINGS = (
    "the picture\n{0[0]} × {0[1]} pixels",
    "conv1: {1[0]} feature maps of {1[1]} × {1[2]}\nwhere each kernel finds what it looks for",
    "conv2: {2[0]} maps of {2[1]} × {2[2]}\ncombinations of those",
    "fc1: the {3[1]} units that\nspeak most for each",
    "the answer: how\nprobable each digit is",
)


class Digit(NamedTuple):
    """What the network makes of one picture; all maps channels first.

    picture: `(28, 28)` pixels, any range.
    conv1: `(32, 28, 28)` output of the first convolution after ReLU, at least 0.
    conv2: `(64, 14, 14)` output of the second one, at least 0.
    votes: `(10, units)` outputs of those units of the dense layer that weigh most for each digit.
    probabilities: `(10,)`, adding up to 1.
    label: the digit that it is.
    """

    picture: np.ndarray
    conv1: np.ndarray
    conv2: np.ndarray
    votes: np.ndarray
    probabilities: np.ndarray
    label: int


def by_direction(kernels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Sort kernels by the direction in which their weights grow.

    The direction is that of the plane fitted to a kernel by least squares. On a square grid centred at zero the
    plane's slopes along x and y are proportional to the sums of weight times x and weight times y.

    Args:
        kernels: `(count, k, k)`.

    Returns:
        `(count,)` indices sorted by angle from -π to π (0 grows to the right, π/2 downwards), and the `(count,)`
        steepness of the planes in that order, in arbitrary units.
    """
    ramp = np.arange(kernels.shape[1]) - (kernels.shape[1] - 1) / 2
    slope_x, slope_y = kernels.sum(axis=1) @ ramp, kernels.sum(axis=2) @ ramp  # (count,) each
    order = np.argsort(np.arctan2(slope_y, slope_x))
    return order, np.hypot(slope_x, slope_y)[order]


def mosaic(maps: np.ndarray, columns: int) -> np.ndarray:
    """Maps side by side with a line of NaN between neighbours.

    Args:
        maps: `(count, height, width)`.
        columns: maps in a row; `count` must be a multiple of it.

    Returns:
        `(rows * (height + 1) - 1, columns * (width + 1) - 1)` floats.

    Raises:
        ValueError: the maps do not fill the rows.
    """
    count, height, width = maps.shape
    if count % columns:
        raise ValueError(f"{count} maps do not fill rows of {columns}")
    cells = np.full((count, height + 1, width + 1), np.nan)
    cells[:, :height, :width] = maps
    cells = cells.reshape(count // columns, columns, height + 1, width + 1)
    return cells.transpose(0, 2, 1, 3).reshape(-1, columns * (width + 1))[:-1, :-1]


def show_maps(
    axis: Axes, maps: np.ndarray, columns: int, framed: Sequence[int] = (), **style: object
) -> None:
    """Draw maps `(count, height, width)` as a mosaic; `framed` are the positions to mark in the colours `FRAMES`."""
    height, width = maps.shape[1] + 1, maps.shape[2] + 1
    axis.imshow(mosaic(maps, columns), interpolation="nearest", **style)
    axis.axis("off")
    for position, colour in zip(framed, FRAMES):
        corner = position % columns * width - 1, position // columns * height - 1
        axis.add_patch(plt.Rectangle(corner, width, height, fill=False, ec=colour, lw=2.5, clip_on=False))


def draw_network(kernels: np.ndarray, digits: Sequence[Digit], subtitle: str) -> Figure:
    """Draw the kernels above, and below a row for each digit: picture, feature maps, dense units, answer.

    Kernels and their maps are sorted by direction; three clear ones are framed, and so are their maps. In each
    group of maps, brightness is relative to the strongest percent of that group.

    Args:
        kernels: `(32, 5, 5)` weights of the first convolution.
        digits: three of them fill the page.
        subtitle: one line below the title, up to about 110 characters.
    """
    order, steepness = by_direction(kernels)
    framed = [int(third[np.argmax(steepness[third])]) for third in np.array_split(np.arange(len(order)), 3)]
    with plt.rc_context({"text.color": INK, "xtick.color": INK, "ytick.color": INK}):
        figure = plt.figure(figsize=(WIDTH, HEIGHT), facecolor=PAPER)

        def write(left: float, top: float, text: str, **style: object) -> None:
            figure.text(left / WIDTH, 1 - top / HEIGHT, text, va="center", linespacing=1.4, **style)

        def place(left: float, top: float, width: float, height: float) -> Axes:
            return figure.add_axes(
                [left / WIDTH, 1 - (top + height) / HEIGHT, width / WIDTH, height / HEIGHT], facecolor=PAPER
            )

        write(0.3, 0.4, "What a convolutional network sees in a digit", size=28, weight="bold")
        write(0.3, 0.88, subtitle, size=15)
        write(
            0.3,
            1.35,
            f"The {len(kernels)} kernels of the first layer, 5 × 5 weights each: red adds a pixel, blue subtracts it. "
            "Three are framed, and so is what they find below.",
            size=13.5,
        )
        limit = np.percentile(np.abs(kernels), 98)
        style = {"cmap": "berlin", "vmin": -limit, "vmax": limit}
        show_maps(place(0.3, 1.6, 14.4, 1.67), kernels[order], 16, framed, **style)
        first = digits[0]
        shapes = first.picture.shape, first.conv1.shape, first.conv2.shape, first.votes.shape
        for (left, _), heading in zip(COLUMNS, HEADINGS):
            write(left, 3.72, heading.format(*shapes), size=12.5)
        for row, digit in enumerate(digits):
            top = 4.15 + ROW * row
            picture, conv1, conv2 = (place(left, top, width, 2.55) for left, width in COLUMNS[:3])
            votes, answer = (place(left, top + 0.1, width, 2.2) for left, width in COLUMNS[3:])
            show_maps(picture, digit.picture[None], 1, cmap="gray")
            bright = [np.percentile(maps, 99) for maps in (digit.conv1, digit.conv2)]
            show_maps(conv1, digit.conv1[order], 8, framed, cmap="magma", vmin=0, vmax=bright[0])
            show_maps(conv2, digit.conv2, 8, cmap="magma", vmin=0, vmax=bright[1])
            votes.imshow(digit.votes, cmap="magma", aspect="auto", vmin=0)  # rows beside the answer's bars
            answer.barh(
                range(10), digit.probabilities, color=[RIGHT if d == digit.label else DIM for d in range(10)]
            )
            answer.set(
                xlim=(0, 1), ylim=(9.5, -0.5), xticks=[0, 1], xticklabels=["0", "100 %"], yticks=range(10)
            )
            votes.set(xticks=[], yticks=[])
            for axis in (votes, answer):
                axis.spines[:].set_visible(False)
                axis.tick_params(length=0, labelsize=12)
    return figure
