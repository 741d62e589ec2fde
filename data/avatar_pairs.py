"""Pairs for pix2pix: a cat's outline as a person might draw it (left, A), and the cat (right, B)."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from functools import cache

import numpy as np
from avatar_parts import CATS, PART_SIZE, cat
from avatar_strokes import GRID, Drawing, draw_part
from PIL import Image, ImageDraw

SIZE = 256  # pixels of one picture of the pair
CANVAS = 768  # the outline is drawn three times as large and reduced, which smooths the rims of the strokes
INK = 40  # grey value of the pen
WHITE = (255, 255, 255)


class Hand:
    """The hand that draws one outline: how thick its pen is and how it trembles.

    Args:
        rng: the source of its habits.
    """

    def __init__(self, rng: random.Random):
        self.rng = rng
        self.width = 8.5 + 4.0 * rng.random()  # in units of the parts: 2.1 to 3.1 pixels of the picture
        # A sum of waves over the page: lines that meet stay together, as they move alike.
        waves = [
            (angle, 2 * math.pi / length, 2 * math.pi * rng.random(), strength)
            for length, strength in ((420, 3.0), (230, 2.2), (130, 1.4), (75, 0.7))
            for angle in (2 * math.pi * rng.random() for _ in range(2))
        ]
        self.waves = np.array(waves)

    def displace(self, points: np.ndarray) -> np.ndarray:
        """Move points `(n, 2)` as an unsteady hand would, by about one pixel of the picture."""
        angle, frequency, phase, strength = self.waves.T
        along = points @ np.stack([np.cos(angle), np.sin(angle)])  # (n, waves)
        push = strength * np.sin(frequency * along + phase)
        # Even waves push sideways, odd ones up and down.
        return points + np.stack([push[:, 0::2].sum(axis=1), push[:, 1::2].sum(axis=1)], axis=1)

    def draw(self, pen: ImageDraw.ImageDraw, stroke: np.ndarray, thickness: float = 1.0) -> None:
        """Draw one stroke `(points, 2)`: its width swells and falls, and runs out at loose ends."""
        steps = np.hypot(*np.diff(stroke, axis=0).T)
        position = np.concatenate([[0.0], np.cumsum(steps)])  # along the stroke
        length = position[-1]
        at = np.linspace(0.0, length, max(2, int(length / 7) + 1))
        points = np.stack([np.interp(at, position, stroke[:, axis]) for axis in (0, 1)], axis=1)
        points = self.displace(points) * (CANVAS / PART_SIZE)
        pressure = 1 + 0.16 * np.sin(at / (60 + 80 * self.rng.random()) + 6.3 * self.rng.random())
        if not np.allclose(stroke[0], stroke[-1]):
            loose = np.minimum(at, length - at)
            pressure *= 0.55 + 0.45 * np.minimum(1.0, loose / min(45.0, 0.4 * length))
        radii = 0.5 * self.width * thickness * pressure * (CANVAS / PART_SIZE)
        points, radii = points.tolist(), radii.tolist()
        for (x0, y0), (x1, y1), radius in zip(points, points[1:], radii):
            pen.line((x0, y0, x1, y1), fill=INK, width=max(1, round(2 * radius)))
        for (x, y), radius in zip(points, radii):
            pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=INK)


@cache
def stencil(group: str, number: int, kind: str) -> Image.Image | None:
    """A mask of a part's drawing ("fills" or "cover"), enlarged to the canvas, mode "L"; None if it is empty."""
    mask = getattr(draw_part(group, number), kind)
    if not mask.any():
        return None
    grey = Image.fromarray(mask.astype(np.uint8) * 255)
    return grey.resize((CANVAS, CANVAS), Image.Resampling.BICUBIC).point(
        lambda value: 255 if value > 127 else 0
    )


def within(stroke: np.ndarray, body: Drawing, least: float = 5.0) -> list[np.ndarray]:
    """The pieces of a stroke that lie at least `least` grid pixels inside of the body."""
    x, y = np.clip((stroke * (GRID / PART_SIZE)).astype(int), 0, GRID - 1).T
    inside = body.depth[y, x] >= least
    cuts = np.flatnonzero(np.diff(inside)) + 1
    pieces = zip(np.split(stroke, cuts), np.split(inside, cuts))
    return [piece for piece, is_inside in pieces if is_inside[0] and len(piece) > 12]


def outline(numbers: Sequence[int], rng: random.Random) -> Image.Image:
    """Draw a cat's outline.

    Args:
        numbers: of its five parts, in the order of `CATS`.
        rng: source of the hand's habits.

    Returns:
        `(CANVAS, CANVAS)` picture, mode "L": dark strokes on white.
    """
    hand = Hand(rng)
    page = Image.new("L", (CANVAS, CANVAS), 255)
    pen = ImageDraw.Draw(page)
    body = draw_part("body", numbers[0])
    for group, number in zip(CATS, numbers):
        drawing = draw_part(group, number)
        for shade, kind in ((255, "cover"), (INK, "fills")):
            mask = stencil(group, number, kind)
            if mask is not None:
                page.paste(shade, (0, 0), mask)
        for stroke in drawing.strokes:
            if group == "fur":  # markings are drawn more lightly, and end at the body's own outline
                for piece in within(stroke, body):
                    hand.draw(pen, piece, thickness=0.7)
            else:
                hand.draw(pen, stroke)
    return page


def pair(numbers: Sequence[int], size: int, left: int, seed: str) -> Image.Image:
    """A pair: outline left, cat right, both on white and in the same place.

    Args:
        numbers: of the cat's five parts, in the order of `CATS`.
        size: pixels of the cat; it sits on the lower rim.
        left: where the cat begins from the left.
        seed: of the hand that draws.

    Returns:
        RGB picture, 512 wide and 256 high.
    """
    both = Image.new("RGB", (2 * SIZE, SIZE), WHITE)
    drawn = outline(numbers, random.Random(seed)).resize((size, size), Image.Resampling.LANCZOS)
    painted = cat(numbers, GRID).resize((size, size), Image.Resampling.LANCZOS)
    both.paste(drawn.convert("RGB"), (left, SIZE - size))
    both.paste(painted, (SIZE + left, SIZE - size), painted)
    return both
