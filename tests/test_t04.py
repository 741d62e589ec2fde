"""The picture of lesson T_04: sorting of kernels, the mosaic, and that frames mark the maps of the framed kernels."""

import json

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import pytest

from utils.feature_maps import FRAMES, Digit, by_direction, draw_network, mosaic
from utils.lesson import RESULTS


def plane(degrees, size=5):
    """A kernel that grows linearly in one direction; 0 is to the right, 90 downwards."""
    y, x = np.mgrid[:size, :size]
    return np.cos(np.radians(degrees)) * x + np.sin(np.radians(degrees)) * y + 0.3


def test_kernels_are_sorted_by_the_direction_in_which_they_grow():
    degrees = np.array([100, -170, 10, -45, 170, 60])
    order, steepness = by_direction(np.stack([plane(angle) for angle in degrees]))
    assert list(degrees[order]) == sorted(degrees)
    np.testing.assert_allclose(steepness, steepness[0])  # all planes are equally steep


def test_steepness_is_that_of_the_fitted_plane():
    kernels = np.random.default_rng(0).normal(size=(7, 5, 5))
    order, steepness = by_direction(kernels)
    y, x = np.mgrid[-2:3, -2:3]
    design = np.stack([x.ravel(), y.ravel(), np.ones(25)], axis=1)
    slopes = np.linalg.lstsq(design, kernels.reshape(7, 25).T, rcond=None)[0][:2]  # (2, kernels)
    ratio = steepness / np.hypot(*slopes)[order]
    np.testing.assert_allclose(ratio, ratio[0])


def test_mosaic_puts_map_by_map_with_empty_lines_between():
    maps = np.arange(1, 7)[:, None, None] * np.ones((6, 2, 3))
    tiles = mosaic(maps, columns=3)
    assert tiles.shape == (2 * 3 - 1, 3 * 4 - 1)
    for number in range(6):
        row, column = divmod(number, 3)
        assert (tiles[row * 3 : row * 3 + 2, column * 4 : column * 4 + 3] == number + 1).all()
    assert np.isnan(tiles[2]).all() and np.isnan(tiles[:, [3, 7]]).all()
    assert np.isnan(tiles).sum() == tiles.size - maps.size


def test_mosaic_refuses_maps_that_do_not_fill_the_rows():
    with pytest.raises(ValueError, match="5 maps do not fill rows of 3"):
        mosaic(np.zeros((5, 2, 2)), columns=3)


def test_frames_mark_the_maps_of_the_framed_kernels():
    random = np.random.default_rng(0)
    kernels = random.normal(size=(32, 5, 5))
    # Each kernel and its map carry one value, the kernel's number, so that a frame can be checked by what it holds.
    conv1 = np.arange(1.0, 33)[:, None, None] * np.ones((32, 28, 28))
    digit = Digit(random.random((28, 28)), conv1, random.random((64, 14, 14)), random.random((10, 24)),
                  np.full(10, 0.1), 3)  # fmt: skip
    figure = draw_network(kernels, [digit] * 3, "subtitle")
    framed = [axis for axis in figure.axes if len(axis.patches) == len(FRAMES)]
    assert len(framed) == 4, "the kernels and the first maps of three digits"

    def held(axis):
        """What lies in the middle of each frame of an axis."""
        tiles = axis.images[0].get_array()
        centres = [(patch.get_x() + patch.get_width() / 2, patch.get_y() + patch.get_height() / 2)
                   for patch in axis.patches]  # fmt: skip
        return [float(tiles[round(y), round(x)]) for x, y in centres]

    middles = kernels[:, 2, 2]
    numbers = [int(np.argmin(np.abs(middles - value))) + 1 for value in held(framed[0])]
    for axis in framed[1:]:
        assert held(axis) == numbers
    texts = [text.get_text() for text in figure.texts]
    assert "subtitle" in texts and any("32 feature maps of 28 × 28" in text for text in texts)
    plt.close(figure)


def test_recorded_runs_keep_what_the_lesson_promises():
    """At least 99.2 % in the mean of three seeds, each trained in at most three minutes."""
    recorded = json.loads((RESULTS / "T_04_seeds.json").read_text())
    runs = [recorded["runs"][seed] for seed in ("1", "2", "3")]
    assert np.mean([run["test_accuracy"] for run in runs]) >= 0.992
    assert max(run["training_seconds"] for run in runs) <= 180
