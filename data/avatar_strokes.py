"""Outlines that look drawn by hand, for the pairs of `data/edges2cats/`.

An edge filter marks every change of brightness: both sides of each line, and the grain of the paint. A person draws
one stroke where a shape ends. So, once for each part:

1. mark where a stroke belongs: the rim of the part, its drawn lines, the borders between its areas of colour;
2. thin the marks to lines one pixel wide (Zhang and Suen 1984), follow them from crossing to crossing, and join
   at each crossing the two that go straight on, as a pen would;
3. drop specks and stubs, and smooth.

`avatar_pairs` draws the strokes. They have the coordinates of the 1024-pixel parts, as (x, y).
"""

from __future__ import annotations

import math
from functools import cache
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from avatar_parts import CATS, PART_SIZE, compose
from scipy import ndimage

GRID = 512  # strokes are searched for at half the size of the parts: finer shows the grain of the paint
MARGIN = 24  # grid pixels by which masks are continued beyond the frame, so that a cut shape stays open there


class Drawing(NamedTuple):
    """What a person would draw of one part.

    strokes: arrays `(points, 2)` float of x, y in the coordinates of the part.
    fills: `(GRID, GRID)` bool, where the pen fills an area (pupils, nose).
    cover: `(GRID, GRID)` bool, where the part hides what lies behind it.
    depth: `(GRID, GRID)` float, distance to the rim of the part in grid pixels, 0 outside of it.
    """

    strokes: list[np.ndarray]
    fills: np.ndarray
    cover: np.ndarray
    depth: np.ndarray


class Pen(NamedTuple):
    """How marks become strokes, in grid pixels: small parts keep smaller details."""

    hole: int  # holes in the marks up to this many pixels are closed
    stub: int  # a hanging line shorter than this is dropped
    shortest: int  # so is any stroke with fewer points
    smooth: float  # standard deviation of the smoothing along a stroke


PENS = {
    "body": Pen(40, 12, 8, 2.0),
    "fur": Pen(40, 12, 10, 2.0),
    "eyes": Pen(12, 7, 5, 1.5),
    "mouth": Pen(12, 7, 5, 1.5),
    "accessory": Pen(30, 12, 10, 2.0),
}


# ---- marks -------------------------------------------------------------------------------------------------


def disk(radius: float) -> np.ndarray:
    """A round structuring element, `(2r + 1, 2r + 1)` bool."""
    reach = int(radius)
    y, x = np.ogrid[-reach : reach + 1, -reach : reach + 1]
    return x * x + y * y <= radius * radius + radius * 0.5


def beyond_frame(operation, mask: np.ndarray, *args) -> np.ndarray:
    """Apply an operation to a mask `(height, width)` as if the picture went on beyond its frame."""
    return operation(np.pad(mask, MARGIN, mode="edge"), *args)[MARGIN:-MARGIN, MARGIN:-MARGIN]


def opened(mask: np.ndarray, radius: float) -> np.ndarray:
    """A mask without what is narrower than a disk of this radius: eroded, then dilated, by distances."""
    core = ndimage.distance_transform_edt(mask) > radius
    return ndimage.distance_transform_edt(~core) <= radius if core.any() else core


def without_specks(mask: np.ndarray, smallest: int) -> np.ndarray:
    """Drop connected areas of a mask that have fewer than `smallest` pixels."""
    labels, count = ndimage.label(mask, np.ones((3, 3)))
    keep = np.bincount(labels.ravel(), minlength=count + 1) >= smallest
    keep[0] = False
    return keep[labels]


def colour_slope(rgb: np.ndarray, scale: float = 1.2) -> np.ndarray:
    """Length of the colour gradient of `(height, width, 3)`, smoothed by a Gaussian: `(height, width)`."""
    squares = [
        ndimage.gaussian_filter(rgb[..., channel], scale, order=order) ** 2
        for channel in range(3)
        for order in ((0, 1), (1, 0))
    ]
    return np.sqrt(sum(squares))


def spread_colours(rgb: np.ndarray, certain: np.ndarray, median: int) -> np.ndarray:
    """Give uncertain pixels the colour of the nearest certain one, so that a rim makes no colour edge."""
    nearest = ndimage.distance_transform_edt(~certain, return_distances=False, return_indices=True)
    rgb = rgb[tuple(nearest)]
    return np.stack([ndimage.median_filter(rgb[..., channel], median) for channel in range(3)], axis=-1)


def mark_body(rgb: np.ndarray, alpha: np.ndarray, depth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Marks of a cat's body, which is a flat colour with darker lines, shadows and ears: (lines, areas to fill)."""
    solid = depth > 0
    rgb = spread_colours(rgb, solid & (alpha > 0.95), median=3)
    codes = (rgb[solid] * 31).astype(int) @ (1024, 32, 1)
    coat = rgb[solid][codes == np.bincount(codes).argmax()].mean(axis=0)
    rim = np.median(rgb[(depth > 1.5) & (depth < 3.5)], axis=0)
    contrast = np.linalg.norm(rgb - coat, axis=-1)
    drawn = solid & (contrast > max(0.5 * np.linalg.norm(rim - coat), 0.03))
    drawn = ndimage.binary_opening(drawn, disk(1)) | (drawn & (contrast > 0.25))
    band = drawn | (solid & (depth <= 4))
    # Shadows and ears are areas: of these only the border counts, and borders between colours within.
    wide = beyond_frame(opened, band, 9)
    wide = ndimage.binary_dilation(wide, disk(2)) & band
    core = beyond_frame(ndimage.binary_erosion, wide, disk(2))
    lines = (band & ~core) | (core & (colour_slope(rgb) > 0.05))
    labels, _ = ndimage.label(band & (depth > 20))
    nose = np.isin(labels, _compact(labels, smallest=60, widest=40))
    return lines & ~nose, nose


def mark_eyes(rgb: np.ndarray, alpha: np.ndarray, depth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Marks of eyes and glasses: rim and dark lines; pupils are filled."""
    ink = (depth > 0) & (rgb.max(axis=-1) < 0.42)
    labels, _ = ndimage.label(ndimage.binary_opening(ink, disk(3.6)))
    pupils = np.isin(labels, _compact(labels, smallest=50, widest=40))
    pupils = ndimage.binary_dilation(pupils, disk(1.5)) & ink
    return (ink & ~pupils) | ((depth > 0) & (depth <= 4)), pupils


def mark_object(rgb: np.ndarray, alpha: np.ndarray, depth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Marks of mouths and accessories: rim, dark lines, borders of colours, by the contrast the part itself has."""
    solid = depth > 0
    rgb = spread_colours(rgb, alpha > 0.9, median=5)
    slope = colour_slope(rgb)
    inside = slope[depth > 5]
    border = float(np.clip(0.5 * np.percentile(inside, 98), 0.035, 0.14)) if inside.size else 0.14
    darker = max(
        (
            ndimage.grey_closing(rgb[..., channel], footprint=disk(6)) - rgb[..., channel]
            for channel in range(3)
        ),
        key=lambda line: float(line[solid].sum()),
    )
    line = float(np.clip(1.2 * border, 0.05, 0.10))
    return solid & ((slope > border) | (darker > line) | (depth <= 5)), np.zeros_like(solid)


def mark_fur(rgb: np.ndarray, alpha: np.ndarray, depth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Marks of a coat's pattern: the rims of its patches."""
    return (depth > 0) & (depth <= 3), np.zeros(depth.shape, bool)


MARKERS = {
    "body": mark_body,
    "fur": mark_fur,
    "eyes": mark_eyes,
    "mouth": mark_object,
    "accessory": mark_object,
}


def _compact(labels: np.ndarray, smallest: int, widest: int) -> list[int]:
    """Numbers of the labelled areas that are roundish blobs: within `widest` pixels, and not mere lines."""
    found = []
    for number, box in enumerate(ndimage.find_objects(labels), start=1):
        height, width = (part.stop - part.start for part in box)
        area = int((labels[box] == number).sum())
        if area >= smallest and max(height, width) <= widest and area > 0.45 * height * width:
            found.append(number)
    return found


# ---- marks to strokes --------------------------------------------------------------------------------------


def thin(mask: np.ndarray) -> np.ndarray:
    """Thin a mask to lines one pixel wide: Zhang and Suen, Communications of the ACM 27(3), 1984.

    Args:
        mask: `(height, width)` bool.

    Returns:
        `(height, width)` bool, a subset of `mask`.
    """
    grid = np.pad(mask, 1).astype(np.uint8)
    low, mid, high = slice(None, -2), slice(1, -1), slice(2, None)
    # The eight neighbours of every pixel, clockwise from the one above.
    around = [
        (low, mid),
        (low, high),
        (mid, high),
        (high, high),
        (high, mid),
        (high, low),
        (mid, low),
        (low, low),
    ]
    centre = grid[mid, mid]
    while True:
        before = int(centre.sum())
        for first in (True, False):
            ring = [grid[place] for place in around]
            count = sum(ring)
            rises = sum((ring[i] < ring[(i + 1) % 8]).astype(np.uint8) for i in range(8))
            n, e, s, w = ring[0], ring[2], ring[4], ring[6]
            free = (n * e * s == 0) & (e * s * w == 0) if first else (n * e * w == 0) & (n * s * w == 0)
            centre[(centre == 1) & (count >= 2) & (count <= 6) & (rises == 1) & free] = 0
        if int(centre.sum()) == before:
            return centre.astype(bool)


def follow(skeleton: np.ndarray) -> list[list[tuple[int, int]]]:
    """Split a skeleton into its lines: from end or crossing to end or crossing, and closed rings.

    Args:
        skeleton: `(height, width)` bool, lines one pixel wide.

    Returns:
        Lists of (row, column), each of at least two points; a ring ends where it began.
    """
    pixels = set(map(tuple, np.argwhere(skeleton).tolist()))
    links = {}
    for y, x in sorted(pixels):
        near = [(y + dy, x + dx) for dy, dx in ((-1, 0), (0, 1), (1, 0), (0, -1))]
        # A diagonal step counts only where there is no way round by straight ones; else every bend were a crossing.
        near += [
            (y + dy, x + dx)
            for dy, dx in ((-1, 1), (1, 1), (1, -1), (-1, -1))
            if (y + dy, x) not in pixels and (y, x + dx) not in pixels
        ]
        links[y, x] = [pixel for pixel in near if pixel in pixels]
    lines, walked = [], set()

    def walk(start: tuple[int, int], step: tuple[int, int]) -> None:
        if (start, step) in walked:
            return
        line = [start, step]
        while len(links[step]) == 2 and step != start:
            step = next(pixel for pixel in links[step] if pixel != line[-2])
            line.append(step)
        walked.update(pairwise(line))
        walked.update(pairwise(line[::-1]))
        lines.append(line)

    for crossings in (True, False):  # what the first round leaves over are rings without a crossing
        for pixel, steps in links.items():
            if (len(steps) != 2) == crossings:
                for step in steps:
                    walk(pixel, step)
    return lines


def prune(lines: list[list[tuple[int, int]]], shortest: int) -> list[list[tuple[int, int]]]:
    """Drop stubs: lines of fewer than `shortest` points that hang with just one end on another line."""
    uses: dict[tuple[int, int], int] = {}
    for line in lines:
        for end in (line[0], line[-1]):
            uses[end] = uses.get(end, 0) + 1
    return [line for line in lines if len(line) >= shortest or (uses[line[0]] > 1) == (uses[line[-1]] > 1)]


def join(lines: list[list[tuple[int, int]]], sharpest: float = 50.0) -> list[list[tuple[int, int]]]:
    """At each crossing join the two lines that go straight on, so that strokes are as long as a pen's.

    Args:
        lines: from `follow`.
        sharpest: the largest turn, in degrees, that still counts as straight on.
    """
    lines = [list(line) for line in lines]

    def heading(line: list[tuple[int, int]]) -> float:
        """The direction in which a line leaves its first point."""
        (y0, x0), (y1, x1) = line[0], line[min(7, len(line) - 1)]
        return math.atan2(y1 - y0, x1 - x0)

    while True:
        meeting: dict[tuple[int, int], list[tuple[int, list]]] = {}
        for number, line in enumerate(lines):
            if line[0] != line[-1]:
                meeting.setdefault(line[0], []).append((number, line))
                meeting.setdefault(line[-1], []).append((number, line[::-1]))
        best = (sharpest, -1, -1, [])
        for _, ends in sorted(meeting.items()):
            for i, (a, from_a) in enumerate(ends):
                for b, from_b in ends[i + 1 :]:
                    # Straight on means that the two lines leave the crossing in opposite directions.
                    turn = abs(math.remainder(heading(from_a) - heading(from_b) + math.pi, 2 * math.pi))
                    if a != b and math.degrees(turn) < best[0]:
                        best = (math.degrees(turn), a, b, from_a[::-1] + from_b[1:])
        _, a, b, joined = best
        if not joined:
            return lines
        lines = [line for number, line in enumerate(lines) if number not in (a, b)] + [joined]


def strokes_of(marks: np.ndarray, pen: Pen) -> list[np.ndarray]:
    """Turn marks `(height, width)` bool into strokes `(points, 2)` float, x and y in pixels of the marks."""
    marks = beyond_frame(ndimage.binary_closing, marks, disk(1))
    marks = without_specks(~without_specks(~marks, pen.hole), 25)
    lines = follow(beyond_frame(thin, marks))
    for _ in range(2):  # once a stub has gone, what it hung on can be joined
        lines = join(prune(lines, pen.stub))
    strokes = []
    for line in lines:
        if len(line) < pen.shortest:
            continue
        points = np.array(line, np.float64)[:, ::-1]
        if line[0] == line[-1]:
            ring = ndimage.gaussian_filter1d(points[:-1], pen.smooth, axis=0, mode="wrap")
            strokes.append(np.vstack([ring, ring[:1]]))
        else:
            smooth = ndimage.gaussian_filter1d(points, pen.smooth, axis=0, mode="nearest")
            smooth[[0, -1]] = points[[0, -1]]
            strokes.append(smooth)
    return strokes


@cache
def draw_part(group: str, number: int) -> Drawing:
    """The strokes of one of the cats' parts, found once and kept.

    Args:
        group: a key of `avatar_parts.CATS`.
        number: the number of the part in its group.
    """
    rgba = np.asarray(compose([(CATS[group].folder, number)], GRID), np.float32) / 255
    rgb, alpha = rgba[..., :3], rgba[..., 3]
    # Markings of a coat are faint throughout; the shadows under hats are faint and no shape of their own.
    solid = without_specks(alpha > (0.5 * alpha.max() if group == "fur" else 0.6), 25) & (alpha > 0)
    if not solid.any():
        nothing = np.zeros((GRID, GRID), bool)
        return Drawing([], nothing, nothing, nothing.astype(float))
    depth = beyond_frame(ndimage.distance_transform_edt, solid)
    rows, columns = ndimage.find_objects(solid.astype(np.uint8))[0]
    reach = 16  # neighbourhood of the filters
    box = (
        slice(max(0, rows.start - reach), rows.stop + reach),
        slice(max(0, columns.start - reach), columns.stop + reach),
    )
    fills = np.zeros((GRID, GRID), bool)
    lines, fills[box] = MARKERS[group](rgb[box], alpha[box], depth[box])
    corner = np.array([box[1].start, box[0].start]) + 0.5  # x, y of the first pixel's middle
    strokes = [(points + corner) * (PART_SIZE / GRID) for points in strokes_of(lines, PENS[group])]
    return Drawing(strokes, fills, (depth > 2) if group != "fur" else np.zeros_like(solid), depth)
