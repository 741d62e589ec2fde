"""What the training text knows of strings of characters: how often each was a word, and how often it was not.

A tagger sees characters; that 精神文明 is one word in this corpus and 精神 财富 two it has to keep in its weights,
for 50,000 words of which half occurred once. A list does that better. So for each character the network is told of the
strings of one to five characters that begin and that end there: was this string ever a word, in which share of its
occurrences, and how often. Where words overlap or the list knows none, the network decides from what stands around.

In training the list must not know more than it will know of a new text. Every word of a training sentence is in the
list, and a network that sees so learns to believe it blindly. So the counts leave out the BLOCK of sentences that the
sentence belongs to: a name that one article uses ten times is then as unknown as it would be in tomorrow's newspaper.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

LENGTHS = range(1, 6)  # of the strings; longer words are rare
HINTS = 2 * 3 * len(LENGTHS)  # numbers a character: beginning and ending there, three numbers a string
BLOCK = 100  # sentences, in the order of the newspaper


class Lexicon:
    """Strings that occurred as words, with two counts each.

    Args:
        words: the strings; folded, at most five characters long.
        as_word: how often each was a word, `(words,)`.
        as_string: how often its characters stood side by side, words or not, `(words,)`.
    """

    def __init__(self, words: Sequence[str], as_word: Sequence[int], as_string: Sequence[int]):
        self.number = {word: k for k, word in enumerate(words, start=1)}  # 0: no word
        self.as_word = np.array([0, *as_word], np.int64)
        self.as_string = np.array([0, *as_string], np.int64)

    @classmethod
    def of(cls, sentences: Iterable[Sequence[str]]) -> Lexicon:
        """Count over sentences of folded words."""
        sentences = list(sentences)
        words = sorted({word for sentence in sentences for word in sentence if len(word) in LENGTHS})
        empty = cls(words, np.zeros(len(words)), np.zeros(len(words)))
        return cls(words, *(counts[1:] for counts in empty.count(sentences)))

    def count(self, sentences: Iterable[Sequence[str]]) -> tuple[np.ndarray, np.ndarray]:
        """How often each entry is a word, and a string, in these sentences: two arrays `(words + 1,)`."""
        as_word, as_string = np.zeros_like(self.as_word), np.zeros_like(self.as_string)
        for words in sentences:
            np.add.at(as_word, [self.number.get(word, 0) for word in words], 1)
            np.add.at(as_string, self.look_up("".join(words)).ravel(), 1)
        as_word[0] = as_string[0] = 0
        return as_word, as_string

    def look_up(self, text: str) -> np.ndarray:
        """The entry that begins at each character of a folded text and has each length, `(n, lengths)`; 0 for none."""
        number, n = self.number, len(text)
        rows = [[number.get(text[i : i + k], 0) if i + k <= n else 0 for k in LENGTHS] for i in range(n)]
        return np.array(rows, np.int32).reshape(n, len(LENGTHS))

    def hints(self, text: str, without: tuple[np.ndarray, np.ndarray] | None = None) -> np.ndarray:
        """What the list says of each character of a folded text: `(n, HINTS)` float32, from 0 to about 1.

        Args:
            text: the sentence.
            without: counts to leave out, as `count` gives them.
        """
        found = self.look_up(text)
        as_word, as_string = self.as_word[found], self.as_string[found]
        if without:
            as_word, as_string = as_word - without[0][found], as_string - without[1][found]
        known, share = as_word > 0, as_word / np.maximum(as_string, 1)
        begins = np.stack([known, share, 0.1 * np.log1p(as_word)], axis=2).astype(np.float32)
        ends = np.zeros_like(begins)
        for place, length in enumerate(LENGTHS):
            ends[length - 1 :, place] = begins[: max(0, len(text) - length + 1), place]
        return np.concatenate([begins, ends], axis=1).reshape(len(text), HINTS)

    def hints_for_training(self, sentences: Sequence[Sequence[str]]) -> list[np.ndarray]:
        """The hints of the sentences that the list was made from, each without its own block."""
        found = []
        for first in range(0, len(sentences), BLOCK):
            block = sentences[first : first + BLOCK]
            own = self.count(block)
            found += [self.hints("".join(words), without=own) for words in block]
        return found
