"""How well a segmentation matches: precision, recall and F1 of words, recall of unseen words; and a simple rival."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np


def spans(words: Iterable[str]) -> list[tuple[int, int]]:
    """Where each word begins and ends: 我 爱 北京 → (0, 1), (1, 2), (2, 4)."""
    found, first = [], 0
    for word in words:
        found.append((first, first + len(word)))
        first += len(word)
    return found


@dataclass
class Score:
    """Counts over a text. A word is right when both its ends are, and no border lies between."""

    expected: int = 0  # words of the reference
    found: int = 0  # words of the segmentation
    right: int = 0
    unseen: int = 0  # words of the reference that the dictionary lacks
    unseen_right: int = 0
    confusions: dict[tuple[str, str], int] = field(default_factory=dict)  # (reference, found) → times

    @property
    def precision(self) -> float:
        return self.right / self.found if self.found else 0.0

    @property
    def recall(self) -> float:
        return self.right / self.expected if self.expected else 0.0

    @property
    def f1(self) -> float:
        """2 P R / (P + R), which is 2 right / (expected + found)."""
        return 2 * self.right / (self.expected + self.found) if self.expected + self.found else 0.0

    @property
    def unseen_recall(self) -> float:
        return self.unseen_right / self.unseen if self.unseen else 0.0

    @property
    def seen_recall(self) -> float:
        seen = self.expected - self.unseen
        return (self.right - self.unseen_right) / seen if seen else 0.0

    def figures(self) -> dict[str, float]:
        names = ("precision", "recall", "f1", "unseen_recall", "seen_recall")
        return {name: getattr(self, name) for name in names} | {
            "unseen_share": self.unseen / max(1, self.expected)
        }


def score(
    reference: Iterable[Sequence[str]], segmented: Iterable[Sequence[str]], dictionary: set[str]
) -> Score:
    """Compare sentences of words with the same sentences cut otherwise.

    Raises:
        ValueError: two sentences are not the same text, or their number differs.
    """
    total = Score()
    for expected, found in zip(reference, segmented, strict=True):
        if "".join(expected) != "".join(found):
            raise ValueError(f"not the same text: {''.join(expected)[:40]!r} and {''.join(found)[:40]!r}")
        ours = spans(found)
        common = set(spans(expected)) & set(ours)
        total.expected += len(expected)
        total.found += len(found)
        total.right += len(common)
        for word, span in zip(expected, spans(expected)):
            if word not in dictionary:
                total.unseen += 1
                total.unseen_right += span in common
        for pair in disagreements(expected, found):
            total.confusions[pair] = total.confusions.get(pair, 0) + 1
    return total


def disagreements(expected: Sequence[str], found: Sequence[str]) -> list[tuple[str, str]]:
    """The shortest stretches between common borders that are cut differently: (江 泽民, 江泽民)."""
    borders = {end for _, end in spans(expected)} & {end for _, end in spans(found)}
    pairs = []
    for ours, theirs in zip(stretches(expected, borders), stretches(found, borders)):
        if ours != theirs:
            pairs.append((" ".join(ours), " ".join(theirs)))
    return pairs


def stretches(words: Sequence[str], borders: set[int]) -> list[list[str]]:
    """The words in groups that end at the given borders."""
    groups, group, place = [], [], 0
    for word in words:
        group.append(word)
        place += len(word)
        if place in borders:
            groups.append(group)
            group = []
    return groups


def maximum_matching(text: str, dictionary: set[str], longest: int, backwards: bool = False) -> list[str]:
    """Always take the longest word of the dictionary that fits, from the left or from the right; else a character."""
    words, place, n = [], 0, len(text)
    while place < n:
        for length in range(min(longest, n - place), 0, -1):
            word = text[n - place - length : n - place] if backwards else text[place : place + length]
            if length == 1 or word in dictionary:
                break
        words.append(word)
        place += length
    return words[::-1] if backwards else words


def tag_accuracy(
    tags: Sequence[np.ndarray], found: Sequence[np.ndarray], padded_to: int | None = None
) -> float:
    """Share of tags that are right; with `padded_to`, of sentences cut or filled up to so many characters.

    The filling counts as right, as it does where a network is scored on padded arrays: that is how a tagger gets an
    accuracy that says nothing.
    """
    right = total = 0
    for expected, ours in zip(tags, found, strict=True):
        if padded_to is None:
            right, total = right + int((expected == ours).sum()), total + len(expected)
        else:
            right += int((expected == ours)[:padded_to].sum()) + max(0, padded_to - len(expected))
            total += padded_to
    return right / total
