"""The score: character error rate, the edit distance between what came out and what should, per character.

Only hanzi count. Numbers, letters and punctuation are passed through, and counting them as right would flatter.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np


def edit_distance(found: Sequence, wanted: Sequence) -> int:
    """The least number of insertions, deletions and replacements that turn `found` into `wanted` (Levenshtein 1966).

    Dynamic programming, row by row: `best[j]` is the distance between the items of `found` so far and `wanted[:j]`.
    """
    best = list(range(len(wanted) + 1))
    for i, item in enumerate(found, start=1):
        diagonal, best[0] = best[0], i
        for j, other in enumerate(wanted, start=1):
            replaced = diagonal + (item != other)
            diagonal = best[j]
            best[j] = min(replaced, best[j] + 1, best[j - 1] + 1)
    return best[-1]


def character_error_rate(pairs: Iterable[tuple[Sequence, Sequence]]) -> float:
    """Edit distances of all (found, wanted), summed, over the number of characters wanted.

    Raises:
        ValueError: nothing was wanted.
    """
    errors = characters = 0
    for found, wanted in pairs:
        errors += edit_distance(found, wanted)
        characters += len(wanted)
    if not characters:
        raise ValueError("there is no text to compare with")
    return errors / characters


def interval(
    pairs: Sequence[tuple[Sequence, Sequence]], draws: int = 1000, seed: int = 0
) -> tuple[float, float]:
    """The range that holds 95 % of the error rates of bootstrap samples of the pairs."""
    errors = np.array([edit_distance(found, wanted) for found, wanted in pairs])
    lengths = np.array([len(wanted) for _, wanted in pairs])
    rows = np.random.default_rng(seed).integers(0, len(errors), (draws, len(errors)))
    low, high = np.percentile(errors[rows].sum(1) / lengths[rows].sum(1), [2.5, 97.5])
    return float(low), float(high)
