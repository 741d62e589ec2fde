"""From words to tags and back, from characters to numbers, and files of words.

Tags: B begins a word of several characters, M stands inside, E ends it, S is a word of one character. What the
network reads of a place are three numbers: the character, its pair with the one before and its pair with the one
after. A pair says much about word borders (我们 is a word, 们我 is a border), and it is what a network of this size
cannot find out for itself from a million words.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import runner
from corpus import CLOSERS, STOPS, WIDE, Sentence, normalise
from lexicon import HINTS, Lexicon

TAG_NAMES = "BMES"
B, M, E, S = range(4)
PADDING, UNKNOWN, KNOWN = 0, 1, 2  # numbers in both vocabularies; the entries begin at KNOWN
EDGE = "\n"  # stands before the first and after the last character in a pair
LONGEST = (
    200  # characters that the network sees at once; longer sentences are read through overlapping windows
)
MARGIN = 20  # characters at each end of a window that only serve as context

# What the network sees alike: any digit, any Latin letter, and the ASCII and Chinese forms of punctuation.
_SAME = dict(zip("!(),:;?", "！（），：；？")) | dict.fromkeys("0123456789", "0")
_SAME |= dict.fromkeys("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ", "a")
_FOLD = {ord(c): same for c, same in _SAME.items()} | {ord("\u3000"): " "}
_FOLD |= {code: _SAME.get(chr(plain), chr(plain)) for code, plain in WIDE.items() if isinstance(plain, int)}


# ------------------------------------------------------------------------------------------------- words and tags
def tags_of(words: Iterable[str]) -> list[int]:
    """The tag of each character of a sentence of words."""
    tags = []
    for word in words:
        tags += [S] if len(word) == 1 else [B, *[M] * (len(word) - 2), E]
    return tags


def words_of(text: str, tags: Sequence[int]) -> list[str]:
    """Cut a text by its tags: before B and S, after E and S. The words joined are the text, whatever the tags."""
    words, first = [], 0
    for place in range(1, len(text) + 1):
        if place < len(text) and one_sign(text[place - 1], text[place]):
            continue
        if place == len(text) or tags[place] in (B, S) or tags[place - 1] in (E, S):
            words.append(text[first:place])
            first = place
    return words


def one_sign(before: str, after: str) -> bool:
    """Whether two code points belong to one sign: an accent and its letter, the parts of a composed emoji."""
    joiner, skin_tones = "\u200d", ("\U0001f3fb", "\U0001f3ff")
    mark = unicodedata.category(after) in ("Mn", "Me") or skin_tones[0] <= after <= skin_tones[1]
    return mark or after == joiner or before == joiner


# ------------------------------------------------------------------------------------------- characters to numbers
def fold(text: str) -> str:
    """The text as the network sees it, character by character: １, 1 and 7 are all 0, Ｂ and x are a, "," is "，"."""
    return text.translate(_FOLD)


class Vocabulary:
    """The characters and pairs that training has seen often enough, and their numbers; and the lexicon."""

    def __init__(self, characters: Sequence[str], pairs: Sequence[str], lexicon: Lexicon | None = None):
        self.characters = {character: KNOWN + k for k, character in enumerate(characters)}
        self.pairs = {pair: KNOWN + k for k, pair in enumerate(pairs)}
        self.lexicon = lexicon

    @classmethod
    def of(
        cls, sentences: Iterable[Sentence], min_character: int, min_pair: int, lexicon: bool = True
    ) -> Vocabulary:
        """What occurs at least so many times, the most frequent first."""
        sentences = [tuple(map(fold, words)) for words in sentences]
        characters, pairs = Counter(), Counter()
        for words in sentences:
            line = EDGE + "".join(words) + EDGE
            characters.update(line[1:-1])
            pairs.update(line[i : i + 2] for i in range(len(line) - 1))
        often = lambda counts, least: sorted(
            (k for k in counts if counts[k] >= least), key=lambda k: (-counts[k], k)
        )
        known = Lexicon.of(sentences) if lexicon else None
        return cls(often(characters, min_character), often(pairs, min_pair), known)

    def encode(self, text: str) -> tuple[np.ndarray, np.ndarray]:
        """Numbers of the n characters `(n,)` and of the n + 1 pairs `(n + 1,)`, int32."""
        line = EDGE + fold(text) + EDGE
        characters = [self.characters.get(c, UNKNOWN) for c in line[1:-1]]
        pairs = [self.pairs.get(line[i : i + 2], UNKNOWN) for i in range(len(line) - 1)]
        return np.array(characters, np.int32), np.array(pairs, np.int32)

    def hints(self, text: str) -> np.ndarray:
        """What the lexicon says of a new text: `(n, HINTS)`, or `(n, 0)` without a lexicon."""
        return self.lexicon.hints(fold(text)) if self.lexicon else np.zeros((len(text), 0), np.float32)

    @property
    def hint_width(self) -> int:
        return HINTS if self.lexicon else 0

    def save(self, path: Path) -> None:
        content = {"characters": list(self.characters), "pairs": list(self.pairs)}
        if self.lexicon:
            counts = (self.lexicon.as_word[1:].tolist(), self.lexicon.as_string[1:].tolist())
            content["lexicon"] = [list(self.lexicon.number), *counts]
        runner.write_whole(path, json.dumps(content, ensure_ascii=False).encode())

    @classmethod
    def read(cls, path: Path) -> Vocabulary:
        """What `save` wrote.

        Raises:
            runner.Stop: the file is missing or damaged.
        """
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            lexicon = Lexicon(*content["lexicon"]) if "lexicon" in content else None
            return cls(content["characters"], content["pairs"], lexicon)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise runner.Stop(
                f"the vocabulary {path} cannot be read ({error}). Train anew:  "
                f"python train.py --no-resume --output_dir {path.parent}"
            ) from None


# ----------------------------------------------------------------------------------------- long texts in portions
def portions(text: str) -> Iterator[str]:
    """Cut a text into white space, kept as it is, and sentences, which end as those of the corpus do."""
    yield from re.findall(rf"\s+|[^\s{STOPS}]*[{STOPS}][{CLOSERS}]*|[^\s{STOPS}]+", text)


def windows(length: int) -> Iterator[tuple[int, int, int, int]]:
    """How to read a sentence of any length through windows of at most LONGEST characters.

    Yields (first, last, from, to): look at characters first to last, and keep the tags of from to to.
    """
    if length <= LONGEST:
        yield 0, length, 0, length
        return
    inner = LONGEST - 2 * MARGIN
    for start in range(0, length, inner):
        stop = min(start + inner, length)
        yield max(0, start - MARGIN), min(length, stop + MARGIN), start, stop


def in_pieces(sentence: Sentence) -> Iterator[Sentence]:
    """For training: a sentence of more than LONGEST characters in pieces, cut between words."""
    piece, size = [], 0
    for word in sentence:
        if piece and size + len(word) > LONGEST:
            yield tuple(piece)
            piece, size = [], 0
        piece.append(word)
        size += len(word)
    if piece:
        yield tuple(piece)


# ------------------------------------------------------------------------------------------------- files of words
def read_words(path: Path) -> list[Sentence]:
    """Sentences from a file of the bakeoffs (PKU, MSR): one a line, words separated by spaces, UTF-8.

    Raises:
        runner.Stop: the file cannot be read, is not UTF-8 or holds no word.
    """
    found = []
    for line in read_text(path).removeprefix("\ufeff").splitlines():  # the mark that Windows puts in front
        words = tuple(word for word in map(normalise, line.split()) if word)
        if words:
            found.append(words)
    if not found:
        raise runner.Stop(f"{path} holds no words: expected a sentence a line, its words separated by spaces")
    return found


def read_text(path: Path) -> str:
    """A file of UTF-8 text; line ends stay as they are.

    Raises:
        runner.Stop: the file cannot be read, or is in another encoding.
    """
    try:
        return as_text(path.read_bytes(), str(path))
    except OSError as error:
        raise runner.Stop(f"{path} cannot be read: {error.strerror}", code=2) from None


def as_text(content: bytes, name: str) -> str:
    """Decode UTF-8.

    Raises:
        runner.Stop: it is another encoding; says where, and which one it may be.
    """
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        guess = "utf-16" if content[:2] in (b"\xff\xfe", b"\xfe\xff") else "gb18030"
        raise runner.Stop(
            f"{name} is not UTF-8 (line {line}, byte {error.start}). If it is {guess}, convert it:  "
            f"iconv -f {guess} -t utf-8 {name} > {name}.utf8",
            code=2,
        ) from None
