"""Distances between two sets of pictures: sliced Wasserstein over scales, Fréchet, nearest neighbours."""

from __future__ import annotations

import numpy as np

PATCH = 7  # pixels of a patch's side
PATCHES = 128  # from each picture, at each scale
DIRECTIONS = 512  # random projections
SCALES = (64, 32, 16)  # pixels of a side
BINOMIAL = np.array([1, 4, 6, 4, 1], np.float32) / 16.0  # the pyramid's filter


def smaller(x: np.ndarray) -> np.ndarray:
    """Half the size: filtered, then every second pixel, edges mirrored; (n, h, w, 3) -> (n, h/2, w/2, 3)."""
    for axis in (1, 2):
        wide = np.moveaxis(np.pad(x, [(2, 2) if k == axis else (0, 0) for k in range(4)], "reflect"), axis, 0)
        half = x.shape[axis] // 2
        x = sum(tap * wide[k : k + 2 * half : 2] for k, tap in enumerate(BINOMIAL))
        x = np.moveaxis(x, 0, axis)
    return x


def larger(x: np.ndarray) -> np.ndarray:
    """Twice the size: zeros between the pixels, filtered with four times the weight.

    An even pixel then sees three of the small picture (1, 6, 1 eighths), an odd one two (a half each).
    """
    for axis in (1, 2):
        x = np.moveaxis(x, axis, 0)
        wide = np.concatenate([x[1:2], x, x[-1:]])  # what mirroring between the zeros gives
        double = np.empty((2 * len(x), *x.shape[1:]), np.float32)
        double[::2] = 0.125 * (wide[:-2] + wide[2:]) + 0.75 * x
        double[1::2] = 0.5 * (x + wide[2:])
        x = np.moveaxis(double, 0, axis)
    return x


def laplacian_level(x: np.ndarray, scale: int) -> np.ndarray:
    """One level of the Laplacian pyramid: what it adds to the next smaller picture; the last is the picture itself.

    Args:
        x: (n, 64, 64, 3).
        scale: 64, 32 or 16.

    Returns:
        float32 (n, scale, scale, 3).
    """
    x = x.astype(np.float32)
    while x.shape[1] > scale:
        x = smaller(x)
    return x if scale == SCALES[-1] else x - larger(smaller(x))


def patches_of(pictures: np.ndarray, scale: int, seed: int, chunk: int = 50) -> np.ndarray:
    """Patches at random places of one level of each picture's pyramid.

    Args:
        pictures: uint8 (n, 64, 64, 3).
        scale: the level, 64, 32 or 16.
        seed: where the places come from; the k-th picture of any set gets the same places.
        chunk: pictures whose pyramids are in memory at a time.

    Returns:
        float32 (n * 128, 7, 7, 3).
    """
    rng = np.random.default_rng((seed, scale))
    found = np.empty((len(pictures), PATCHES, PATCH, PATCH, 3), np.float32)
    for first in range(0, len(pictures), chunk):
        level = np.ascontiguousarray(laplacian_level(pictures[first : first + chunk], scale))
        windows = np.lib.stride_tricks.sliding_window_view(level, (PATCH, PATCH), axis=(1, 2))
        n, rows, columns = windows.shape[:3]  # (n, rows, columns, 3, 7, 7)
        y, x = rng.integers(0, rows, (n, PATCHES)), rng.integers(0, columns, (n, PATCHES))
        found[first : first + n] = np.moveaxis(windows[np.arange(n)[:, None], y, x], 2, -1)
    return found.reshape(-1, PATCH, PATCH, 3)


def colour_statistics(patches: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of each colour channel over patches (n, 7, 7, 3): (3,) and (3,)."""
    mean = patches.mean(axis=(0, 1, 2), dtype=np.float64)
    spread = patches.std(axis=(0, 1, 2), dtype=np.float64)
    return mean.astype(np.float32), np.maximum(spread, 1e-8).astype(np.float32)


def wasserstein_of_projections(
    a: np.ndarray, b: np.ndarray, rng: np.random.Generator, directions: int = DIRECTIONS, chunk: int = 64
) -> float:
    """Mean over random directions of the one-dimensional Wasserstein distance.

    In one dimension the best transport pairs the sorted values, so the distance is the mean absolute difference of
    the sorted projections.

    Args:
        a, b: float32 (points, dimensions), as many points in each.
        rng: where the directions come from.
        chunk: directions at a time.
    """
    total = 0.0
    for first in range(0, directions, chunk):
        lines = rng.standard_normal((min(chunk, directions - first), a.shape[1])).astype(np.float32)
        lines /= np.linalg.norm(lines, axis=1, keepdims=True)
        left, right = lines @ a.T, lines @ b.T  # (directions, points)
        left.sort(axis=1)
        right.sort(axis=1)
        total += float(np.abs(left - right).mean(axis=1, dtype=np.float64).sum())
    return total / directions


def sliced_wasserstein(
    generated: np.ndarray,
    real: np.ndarray,
    seed: int = 1,
    directions: int = DIRECTIONS,
    own_statistics: bool = False,
) -> dict[str, float]:
    """Sliced Wasserstein distance over the scales of a Laplacian pyramid, times 1000 (Karras et al. 2018).

    Patches of 7x7 from each scale, 128 a picture, are brought to mean 0 and variance 1 per colour channel and
    compared as point clouds of 147 dimensions. The paper scales each set by its own mean and variance, which
    hides an error that all pictures share, such as a tint; here both are scaled by those of the real set.
    `own_statistics` gives the paper's way.

    Args:
        generated, real: uint8 (n, 64, 64, 3), as many of each (the larger set is cut).
        seed: of places and directions; the same places in both sets, so that equal sets have distance 0.
        directions: random projections.
        own_statistics: scale each set by its own mean and variance.

    Returns:
        "64", "32", "16" and "mean".
    """
    n = min(len(generated), len(real))
    result = {}
    for scale in SCALES:
        a, b = (patches_of(pictures[:n], scale, seed) for pictures in (generated, real))
        of_b = colour_statistics(b)
        of_a = colour_statistics(a) if own_statistics else of_b
        for patches, (mean, spread) in ((a, of_a), (b, of_b)):
            patches -= mean  # in place: a set of 5,000 has 376 MB of patches
            patches /= spread
        a, b = (patches.reshape(len(patches), -1) for patches in (a, b))
        rng = np.random.default_rng((seed, scale, directions))
        result[str(scale)] = 1000.0 * wasserstein_of_projections(a, b, rng, directions)
    result["mean"] = float(np.mean(list(result.values())))
    return result


def frechet(a: np.ndarray, b: np.ndarray) -> float:
    """Fréchet distance of two sets of features, each taken as a Gaussian (Heusel et al. 2017).

    |m_a - m_b|² + trace(S_a + S_b - 2 (S_a S_b)^(1/2)). The trace of the root is the sum of the roots of the
    eigenvalues of S_a^(1/2) S_b S_a^(1/2), which is symmetric: no root of a general matrix is needed, and small
    negative eigenvalues from rounding are taken as 0.

    Args:
        a, b: (n, dimensions) and (m, dimensions), n and m at least 2.
    """
    a, b = a.astype(np.float64), b.astype(np.float64)
    cov_a, cov_b = np.atleast_2d(np.cov(a.T)), np.atleast_2d(np.cov(b.T))
    values, vectors = np.linalg.eigh(cov_a)
    root = (vectors * np.sqrt(np.maximum(values, 0.0))) @ vectors.T
    eigenvalues = np.linalg.eigvalsh(root @ cov_b @ root)
    shared = np.sqrt(np.maximum(eigenvalues, 0.0)).sum()
    apart = np.sum((a.mean(axis=0) - b.mean(axis=0)) ** 2)
    return float(max(0.0, apart + np.trace(cov_a) + np.trace(cov_b) - 2.0 * shared))


def thumbnails(pictures: np.ndarray) -> np.ndarray:
    """Means over 2x2 pixels, flat: uint8 (n, 64, 64, 3) -> float32 (n, 3072), 0 to 255."""
    wide = np.asarray(pictures).astype(np.uint16)
    wide = wide[:, ::2] + wide[:, 1::2]
    return (wide[:, :, ::2] + wide[:, :, 1::2]).reshape(len(wide), -1) / np.float32(4.0)


def nearest(
    queries: np.ndarray, others: np.ndarray, leave_out: np.ndarray | None = None, chunk: int = 2000
) -> tuple[np.ndarray, np.ndarray]:
    """For each query its nearest among `others`, by the root mean square difference.

    Args:
        queries: float32 (n, dimensions).
        others: float32 (m, dimensions).
        leave_out: (n,) for each query the row of `others` that does not count (itself), or None.
        chunk: rows of `others` at a time.

    Returns:
        distances (n,) in the units of the rows, and the rows of the nearest (n,).
    """
    best, where = np.full(len(queries), np.inf), np.zeros(len(queries), np.int64)
    lengths = np.einsum("ij,ij->i", queries, queries, dtype=np.float64)
    for first in range(0, len(others), chunk):
        part = others[first : first + chunk]
        squares = lengths[:, None] + np.einsum("ij,ij->i", part, part, dtype=np.float64)[None, :]
        squares -= 2.0 * (queries @ part.T)
        if leave_out is not None:
            here = np.flatnonzero((leave_out >= first) & (leave_out < first + len(part)))
            squares[here, leave_out[here] - first] = np.inf
        column = squares.argmin(axis=1)
        lowest = squares[np.arange(len(queries)), column]
        better = lowest < best
        best[better], where[better] = lowest[better], column[better] + first
    return np.sqrt(np.maximum(best, 0.0) / queries.shape[1]), where
