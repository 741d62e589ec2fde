"""What of the real set's variety a generator has: attribute values found, how often, repeats, copies."""

from __future__ import annotations

import numpy as np

from benchmarks.gan_distances import nearest, thumbnails

SURE = 0.9  # confidence from which a value counts as found
OFTEN = 5  # samples that a value needs for the stricter count
QUARTER = 0.25  # share of the real frequency that a value needs for the strictest count
GRID = 64  # pictures shown together
REAL_GRIDS = 100  # drawn from the real set, to know how alike pictures of a grid are by chance
COPY_QUERIES = 1000  # samples that are searched for in the real set


def frequencies(words: np.ndarray, names: list[str]) -> np.ndarray:
    """How often each of `names` stands in `words`, as shares (names,)."""
    return np.array([np.mean(words == name) for name in names])


def total_variation(a: np.ndarray, b: np.ndarray) -> float:
    """Half the sum of absolute differences of two frequency tables: 0 when equal, 1 when nothing is shared."""
    return float(0.5 * np.abs(np.asarray(a) - np.asarray(b)).sum())


def combinations(probabilities: dict[str, np.ndarray]) -> np.ndarray:
    """The most likely value of each attribute: (samples, 5) of indices."""
    return np.stack([found.argmax(axis=1) for found in probabilities.values()], axis=1)


def coverage(
    probabilities: dict[str, np.ndarray],
    values: dict[str, list[str]],
    real: dict[str, np.ndarray],
    sure: float = SURE,
) -> dict:
    """Which attribute values are found in samples, and how far their frequencies are from the real ones.

    A sample counts for a value when the classifier gives that value at least `sure`. One in thousands may do so by
    chance, hence the stricter counts: even a poor generator has nearly all values once. Frequencies are shares of the
    samples that are sure of the attribute, so they sum to one whatever the share of unclear samples, which stands
    beside them as `sure`.

    Args:
        probabilities: attribute -> (samples, values), rows summing to one; from `gan_classifier.Classifier`.
        values: attribute -> names of its values.
        real: attribute -> (pictures,) of words, of the real set.
        sure: the least confidence that counts.

    Returns:
        samples, covered, covered_often (in at least `OFTEN` samples), covered_well (at least a quarter as often as
        among real pictures), of (all values), missing (names as "eyes: monocle"), sure_of_all (share of samples
        sure of each attribute), combinations (different ones of the five most likely values), total_variation
        (mean over attributes), and attributes: per attribute its share `sure`, `total_variation`, and per value
        samples, frequency and real frequency.
    """
    table, missing, often, well, all_sure = {}, [], 0, 0, True
    for kind, names in values.items():
        found = probabilities[kind]
        is_sure = found.max(axis=1) >= sure
        all_sure = all_sure & is_sure
        counts = np.bincount(found.argmax(axis=1)[is_sure], minlength=len(names))
        shares = counts / max(1, counts.sum())
        expected = frequencies(real[kind], names)
        missing += [f"{kind}: {name}" for name, count in zip(names, counts) if count == 0]
        often += int(np.sum(counts >= OFTEN))
        well += int(np.sum((counts > 0) & (counts >= QUARTER * expected * len(found))))
        table[kind] = {
            "sure": float(np.mean(is_sure)),
            "total_variation": total_variation(shares, expected) if counts.sum() else 1.0,
            "values": {
                name: {"samples": int(count), "frequency": float(share), "real": float(real_share)}
                for name, count, share, real_share in zip(names, counts, shares, expected)
            },
        }
    of = sum(len(names) for names in values.values())
    return {
        "samples": len(next(iter(probabilities.values()))),
        "confidence": sure,
        "covered": of - len(missing),
        "covered_often": often,
        "covered_well": well,
        "of": of,
        "missing": missing,
        "sure_of_all": float(np.mean(all_sure)),
        "combinations": len(np.unique(combinations(probabilities), axis=0)),
        "total_variation": float(np.mean([row["total_variation"] for row in table.values()])),
        "attributes": table,
    }


def pair_distances(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Root mean square differences of all pairs of `rows` (n, dimensions), and the two rows of each pair."""
    first, second = np.triu_indices(len(rows), 1)
    # Row by row, not as a matrix product: for matrices this small the threads of BLAS cost more than they do.
    squares = [np.mean((rows[i] - rows[i + 1 :]) ** 2, axis=1) for i in range(len(rows) - 1)]
    return np.sqrt(np.concatenate(squares)), first, second


def repeats(
    grid: np.ndarray, real: np.ndarray, probabilities: dict[str, np.ndarray] | None, seed: int
) -> dict:
    """Whether two pictures of a grid are alike, measured against grids of real pictures.

    Two pictures count as alike when they are closer, as 32x32 thumbnails, than the closest pair is in 95 % of
    `REAL_GRIDS` grids of real pictures.

    Args:
        grid: uint8 (64, 64, 64, 3), the samples of one grid (or fewer).
        real: uint8 (n, 64, 64, 3).
        probabilities: of the grid's pictures, to count pairs with the same five attributes; or None.
        seed: of the real grids.

    Returns:
        closest (distance, 0 to 255), closest_pair (positions in the grid), real_closest (median over real grids),
        limit (the 5 % quantile over real grids), alike (pairs closer than the limit), and same_attributes (pairs).
    """
    rng = np.random.default_rng((seed, 1))
    chosen = [
        np.sort(rng.choice(len(real), min(len(grid), len(real)), replace=False)) for _ in range(REAL_GRIDS)
    ]
    by_chance = [float(pair_distances(thumbnails(real[places]))[0].min()) for places in chosen]
    limit = float(np.quantile(by_chance, 0.05))
    gaps, first, second = pair_distances(thumbnails(grid))
    least = int(gaps.argmin())
    result = {
        "closest": float(gaps[least]),
        "closest_pair": [int(first[least]), int(second[least])],
        "real_closest": float(np.median(by_chance)),
        "limit": limit,
        "alike": int(np.sum(gaps < limit)),
    }
    if probabilities is not None:
        _, counts = np.unique(combinations(probabilities), axis=0, return_counts=True)
        result["same_attributes"] = int(np.sum(counts * (counts - 1) // 2))
    return result


def copies(generated: np.ndarray, real: np.ndarray, seed: int) -> dict:
    """Whether a generator repeats its training pictures.

    Each of up to `COPY_QUERIES` samples is looked for among all real pictures (32x32 thumbnails, root mean square
    difference, 0 to 255), and so is each of as many real pictures among the others. A generator that copies has
    smaller distances than two real pictures have.

    Returns:
        median and least: of the samples' distances; real_median, real_least: of the real ones; closer: share of
        samples nearer than the nearest 1 % of real pictures are to another (0.01 would be as real pictures).
    """
    rng = np.random.default_rng((seed, 2))
    every = thumbnails(real)
    places = np.sort(rng.choice(len(real), min(COPY_QUERIES, len(real)), replace=False))
    among_real, _ = nearest(every[places], every, leave_out=places)
    found, _ = nearest(thumbnails(generated[:COPY_QUERIES]), every)
    return {
        "queries": len(found),
        "median": float(np.median(found)),
        "least": float(found.min()),
        "real_median": float(np.median(among_real)),
        "real_least": float(among_real.min()),
        "closer": float(np.mean(found < np.quantile(among_real, 0.01))),
    }


def describe(result: dict) -> str:
    """The result of `coverage` as lines to read."""
    lines = [
        f"values found with confidence {result['confidence']:.0%} among {result['samples']:,} samples: "
        f"{result['covered']} of {result['of']}  ({result['covered_often']} in at least {OFTEN} samples, "
        f"{result['covered_well']} at least a quarter as often as in reality)",
        f"samples sure of all five attributes: {result['sure_of_all']:.1%}",
    ]
    for kind, row in result["attributes"].items():
        lines.append(
            f"  {kind:<10} sure {row['sure']:6.1%}   frequencies off by {row['total_variation']:.3f}   "
            + "  ".join(
                f"{name} {value['samples']}"
                for name, value in sorted(row["values"].items(), key=lambda item: -item[1]["samples"])
            )
        )
    lines.append("missing: " + (", ".join(result["missing"]) or "none"))
    return "\n".join(lines)
