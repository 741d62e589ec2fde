"""A trained tagger put to use: texts in, words out."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from batches import pad
from model import Tagger
from runner import Stop, tf
from text import Vocabulary, portions, windows, words_of

ROWS = 128  # windows that the network reads at once


class Segmenter:
    """Cuts texts into words.

    Args:
        tagger: the network.
        vocabulary: of the training that made it.
    """

    def __init__(self, tagger: Tagger, vocabulary: Vocabulary):
        self.tagger, self.vocabulary = tagger, vocabulary
        table = tf.TensorSpec([None, None], tf.int32)
        hints = tf.TensorSpec([None, None, vocabulary.hint_width])
        self._best = tf.function(
            lambda *text: tagger.decode(tagger.scores(*text), text[-1]),  # the last are the lengths
            input_signature=[table, table, hints, tf.TensorSpec([None], tf.int32)],
            autograph=False,
        )

    def tags(self, texts: Sequence[str]) -> list[np.ndarray]:
        """The tag of each character of each text, `(n,)` int32; texts of any length, in any order."""
        found = [np.zeros(len(text), np.int32) for text in texts]
        places = [(k, *window) for k, text in enumerate(texts) if text for window in windows(len(text))]
        places.sort(key=lambda place: place[2] - place[1])  # neighbours of one length: little padding
        for first in range(0, len(places), ROWS):
            some = places[first : first + ROWS]
            parts = [texts[k][start:stop] for k, start, stop, _, _ in some]
            coded = [(*self.vocabulary.encode(part), self.vocabulary.hints(part)) for part in parts]
            lengths = np.array([len(part) for part in parts], np.int32)
            widths = (lengths.max(), lengths.max() + 1, lengths.max())
            arrays = [pad(rows, width) for rows, width in zip(zip(*coded), widths)]
            best = self._best(*arrays, lengths).numpy()
            for (k, start, _, keep, until), row in zip(some, best):
                found[k][keep:until] = row[keep - start : until - start]
        return found

    def sentences(self, texts: Sequence[str]) -> list[list[str]]:
        """The words of each text, which is taken as one sentence whatever it contains."""
        return [words_of(text, tags) for text, tags in zip(texts, self.tags(texts))]

    def segment(self, texts: Sequence[str]) -> list[list[str]]:
        """The words of each text; runs of white space are words of their own, so that the words joined are the text."""
        parts = [(k, part) for k, text in enumerate(texts) for part in portions(text)]
        words = iter(self.sentences([part for _, part in parts if not part.isspace()]))
        found: list[list[str]] = [[] for _ in texts]
        for k, part in parts:
            found[k] += [part] if part.isspace() else next(words)
        return found


def make_tagger(config: dict, vocabulary: Vocabulary, training: bool = False) -> Tagger:
    """The network that the flags of a training describe; without dropout unless it is to be trained."""
    return Tagger(
        characters=len(vocabulary.characters) + 2,
        pairs=len(vocabulary.pairs) + 2,
        hints=vocabulary.hint_width,
        width=config["width"],
        units=config["units"],
        layers=config["layers"],
        use_crf=config["crf"],
        dropout=config["dropout"] if training else 0.0,
        pair_dropout=config["pair_dropout"] if training else 0.0,
        seed=config["seed"],
        compute=tf.bfloat16 if config["mixed_precision"] and training else tf.float32,
    )


def load(folder: Path) -> tuple[Segmenter, dict]:
    """The segmenter of a training run, from its latest checkpoint, and the flags it was trained with.

    Raises:
        Stop: there is none, or it cannot be read.
    """
    latest = tf.train.latest_checkpoint(str(folder / "checkpoints"))
    if not latest:
        raise Stop(
            f"no checkpoint in {folder / 'checkpoints'}. Make one:  python train.py --output_dir {folder}"
        )
    try:
        config = json.loads((folder / "config.json").read_text())
        vocabulary = Vocabulary.read(folder / "vocabulary.json")
        tagger = make_tagger(config, vocabulary)
        restored = tf.train.Checkpoint(tagger=tagger).restore(latest)
        restored.assert_existing_objects_matched().expect_partial()
    except (AssertionError, ValueError, KeyError, OSError, tf.errors.OpError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
        raise Stop(f"the run in {folder} does not fit or cannot be read ({reason})") from None
    return Segmenter(tagger, vocabulary), config


def with_separator(words: Sequence[str], separator: str) -> Iterator[str]:
    """The words with a separator between neighbours, but none beside white space, which separates by itself."""
    previous = " "
    for word in words:
        if not (previous.isspace() or word.isspace()):
            yield separator
        yield word
        previous = word
