"""Score a trained tagger on text it has not seen, beside three rivals, and show what it gets wrong.

    python evaluate.py                                    # the test part of the data it was trained on
    python evaluate.py --part validation --examples 20
    python evaluate.py --test_path msr_test_gold.utf8     # another text of words separated by spaces

Rivals on the same text: the longest word of the training dictionary from the left, the same from the right, and jieba
with its own dictionary of 350,000 words (`pip install jieba`), which follows other conventions than this corpus.
"""

from __future__ import annotations

import argparse
import importlib.util
import itertools
import json
import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import runner
from corpus import Sentence
from runner import Stop
from score import Score, maximum_matching, score, tag_accuracy
from segmenter import Segmenter, load
from text import read_words, tags_of, words_of
from train import load_sentences

CLAUSE_ENDS = "，。！？、‘’“”"  # where the tagger of 2018 cut its corpus; the marks themselves were dropped
CLAUSE_LENGTH = 32  # and what it filled the clauses up to
PUBLISHED_2018 = 0.9442


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--output_dir", default="runs/m05", help="folder of the training run (default runs/m05)")
    add("--part", choices=("test", "validation"), default="test", help="of the data of the training")
    add("--test_path", help="score this file of words separated by spaces instead")
    add("--examples", type=int, default=8, help="sentences with mistakes to show (default 8)")
    add(
        "--rivals",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="score the rivals, too (default)",
    )
    return parser.parse_args(argv)


def rivals(texts: Sequence[str], dictionary: set[str]) -> dict[str, list[list[str]]]:
    """The texts as other methods cut them; jieba where it is installed."""
    longest = max(map(len, dictionary))
    cut = {
        f"maximum matching, from the {side}": [
            maximum_matching(t, dictionary, longest, side == "right") for t in texts
        ]
        for side in ("left", "right")
    }
    if importlib.util.find_spec("jieba"):
        import jieba

        jieba.setLogLevel(logging.WARNING)
        cut["jieba"] = [jieba.lcut(text) for text in texts]
    else:
        print("jieba is not installed and left out (pip install jieba)")
    return cut


def clauses(text: str, *tags: np.ndarray) -> list[tuple[np.ndarray, ...]]:
    """The tags of a sentence in pieces, cut at punctuation, which is left out: as the tagger of 2018 saw its corpus."""
    ends = [-1, *(place for place, c in enumerate(text) if c in CLAUSE_ENDS), len(text)]
    pieces = [(a + 1, b) for a, b in itertools.pairwise(ends) if b > a + 1]
    return [tuple(row[a:b] for row in tags) for a, b in pieces]


def ways_of_counting(reference: Sequence[Sentence], found: Sequence[np.ndarray]) -> dict[str, float]:
    """One segmentation, counted as in 2018 and counted right; and what 94.42 % is without its padding.

    In 2018 the corpus was cut into clauses, each filled up to 32 places, and a filled place counted as a tag that is
    right. Were all of them right, the share of right tags among the characters was (0.9442 - p) / (1 - p), where p is
    the share of filling.
    """
    expected = [np.array(tags_of(words), np.int32) for words in reference]
    pieces = [
        piece
        for words, ours, theirs in zip(reference, expected, found)
        for piece in clauses("".join(words), ours, theirs)
    ]
    if not pieces:
        return {}
    ours, theirs = zip(*pieces)
    filling = 1.0 - sum(min(len(piece), CLAUSE_LENGTH) for piece in ours) / (CLAUSE_LENGTH * len(ours))
    return {
        "tags_of_clauses_with_padding": tag_accuracy(ours, theirs, padded_to=CLAUSE_LENGTH),
        "padding_share": filling,
        "tags_of_clauses": tag_accuracy(ours, theirs),
        "tags": tag_accuracy(expected, found),
        "tags_2018_without_padding": (PUBLISHED_2018 - filling) / (1.0 - filling),
    }


def show_mistakes(
    result: Score, reference: Sequence[Sentence], found: Sequence[list[str]], count: int
) -> None:
    """The stretches that are most often cut otherwise, and some sentences with their mistakes marked."""
    often = sorted(result.confusions.items(), key=lambda item: (-item[1], item[0]))
    print(f"\n{sum(result.confusions.values()):,} stretches are cut otherwise. The most frequent:")
    for (expected, ours), times in often[: count * 2]:
        print(f"  {times:>4} ×  {expected}  →  {ours}")
    wrong = [
        (words, ours) for words, ours in zip(reference, found) if list(words) != ours and len(words) < 20
    ]
    if wrong and count:
        print("\nSentences, the reference above and ours below:")
    for words, ours in wrong[:: max(1, len(wrong) // max(1, count))][:count]:
        print("  " + " ".join(words) + "\n  " + " ".join(ours) + "\n")


def evaluate(
    segmenter: Segmenter, reference: Sequence[Sentence], dictionary: set[str], with_rivals: bool
) -> tuple[dict[str, Score], dict[str, float], list[list[str]]]:
    """Scores by method, the ways of counting, and our words."""
    texts = ["".join(words) for words in reference]
    tags = segmenter.tags(texts)
    ours = [words_of(text, row) for text, row in zip(texts, tags)]
    scores = {"this tagger": score(reference, ours, dictionary)}
    for name, words in (rivals(texts, dictionary) if with_rivals else {}).items():
        scores[name] = score(reference, words, dictionary)
    return scores, ways_of_counting(reference, tags), ours


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    folder = Path(args.output_dir)
    segmenter, config = load(folder)
    parts = load_sentences(config["data_path"], config["train_path"], config["test_path"])
    reference = read_words(Path(args.test_path)) if args.test_path else parts[args.part]
    dictionary = {word for sentence in parts["train"] for word in sentence}
    if not reference:
        raise Stop(f"the {args.part} part is empty", code=2)
    scores, counted, ours = evaluate(segmenter, reference, dictionary, args.rivals)

    first = scores["this tagger"]
    print(
        f"{len(reference):,} sentences, {first.expected:,} words, {first.unseen / first.expected:.2%} not in training"
    )
    print(f"\n{'':<32}{'P':>8}{'R':>8}{'F1':>8}{'R unseen':>10}{'R seen':>8}")
    for name, result in scores.items():
        f = result.figures()
        row = (f[k] for k in ("precision", "recall", "f1", "unseen_recall", "seen_recall"))
        print(
            f"{name:<32}"
            + "".join(f"{100 * value:>{width}.2f}" for value, width in zip(row, (8, 8, 8, 10, 8)))
        )
    if counted:
        rows = {
            f"tags of clauses filled up to {CLAUSE_LENGTH}, filling counted": counted[
                "tags_of_clauses_with_padding"
            ],
            "tags of the same clauses, characters only": counted["tags_of_clauses"],
            "tags of all characters": counted["tags"],
            "F1 of words": first.f1,
        }
        print("\nThe same tagger, counted otherwise:")
        for name, value in rows.items():
            print(f"  {name:<45}{value:>8.2%}")
        print(
            f"{counted['padding_share']:.1%} of the places are filling. A tagger that counts them and reports "
            f"{PUBLISHED_2018:.2%} has {counted['tags_2018_without_padding']:.2%} of its characters right."
        )
    show_mistakes(first, reference, ours, args.examples)
    content = {"scores": {name: result.figures() for name, result in scores.items()}, "counted": counted}
    content["confusions"] = sorted(([*k, n] for k, n in first.confusions.items()), key=lambda row: -row[2])[
        :40
    ]
    content |= {"sentences": len(reference), "words": first.expected, "text": args.test_path or args.part}
    runner.write_whole(folder / "evaluation.json", json.dumps(content, indent=1, ensure_ascii=False).encode())


if __name__ == "__main__":
    runner.guard(main)
