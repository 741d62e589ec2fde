"""Type pinyin, get Chinese.

    python convert.py "wo ai bei jing tian an men"
    python convert.py woaibeijing --top 5              # syllables that run together are taken apart
    python convert.py --plot attention.png "wo ai bei jing"
    echo "jin tian tian qi hen hao" | python convert.py

Syllables have no tones, and ü is v: "nv ren". Everything else (numbers, punctuation, words with capital letters,
Chinese characters) comes back as it is.
"""

from __future__ import annotations

import argparse
import math
import re
import sys
from pathlib import Path

import numpy as np
import runner
import search
from network import read_run, sentence, with_bigram
from plots import attention_picture
from runner import Stop, tf

import data
from data import HANZI, Piece, Vocabulary

WIDE = dict(
    zip(",;:?!()", "，；：？！（）")
)  # typed in ASCII, the network knows them as Chinese text writes them
TYPED = re.compile(r"[A-Za-züÜ]+|\d+(?:\.\d+)*|\s+|'|.")


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("text", nargs="*", help="pinyin; without it, lines are read from the input")
    add("--run", default="runs/m06", help="folder of a trained network (default runs/m06)")
    add("--top", type=int, default=3, help="how many conversions to show (default 3)")
    add("--beam", type=int, default=8, help="beginnings that the search keeps (default 8)")
    add(
        "--bigram",
        type=float,
        default=search.WEIGHT,
        help=f"weight of the bigram model beside the network, 0 for none (default {search.WEIGHT})",
    )
    add("--plot", help="also draw the attention of the best conversion into this PNG file")
    args = parser.parse_args(argv)
    if args.top < 1 or args.beam < 1:
        parser.error("--top and --beam must be 1 or more")
    if args.bigram < 0:
        parser.error("--bigram must not be negative")
    return args


def take_apart(word: str, vocabulary: Vocabulary) -> list[str]:
    """The most probable division of letters into syllables, each with its share of the training text.

    Raises:
        runner.Stop: there is none; the message names what is left over.
    """
    total = sum(sum(seen.values()) for seen in vocabulary.counts.values())
    cost = {name: -math.log(sum(seen.values()) / total) for name, seen in vocabulary.counts.items()}
    longest = max(map(len, cost))
    best: list[tuple[float, list[str]] | None] = [(0.0, []), *[None] * len(word)]
    for end in range(1, len(word) + 1):
        for begin in range(max(0, end - longest), end):
            before, last = best[begin], word[begin:end]
            if before is not None and last in cost:
                found = before[0] + cost[last], [*before[1], last]
                if best[end] is None or found[0] < best[end][0]:
                    best[end] = found
    if best[-1] is None:
        reached = max(i for i, found in enumerate(best) if found is not None)
        raise Stop(
            f'"{word[reached:]}" begins with no pinyin syllable that the training text has'
            + (f' (in "{word}")' if reached else "")
            + ". Syllables have no tone marks or numbers, ü is v; words with capital letters are not converted."
        )
    return best[-1][1]


def parse(text: str, vocabulary: Vocabulary) -> Piece:
    """A typed line as symbols, and for each what it stands for: "" for a syllable, otherwise what was typed.

    Raises:
        runner.Stop: letters that are no syllables.
    """
    symbols, typed, gap = [], [], False
    for match in TYPED.finditer(text.strip()):
        token = match.group()
        if re.fullmatch(r"[a-zü]+", token):
            parts = take_apart(token.replace("ü", "v"), vocabulary)
            symbols += parts
            typed += [""] * len(parts)
        elif not token.isspace() and token != "'":
            symbols.append("#" if HANZI.match(token) else data.kind(WIDE.get(token, token)))
            typed.append(" " + token if gap and typed and typed[-1] else token)
        gap = token.isspace()
    return Piece(tuple(symbols), tuple(typed))


def sentences(line: Piece) -> list[Piece]:
    """A line cut as the training text is: after 。！？, and where it is too long."""
    ends = [i + 1 for i, symbol in enumerate(line.symbols) if symbol in "。！？"]
    found = []
    for begin, end in zip([0, *ends], [*ends, len(line.symbols)]):
        found += data.cut(Piece(line.symbols[begin:end], line.characters[begin:end]))
    return found


class Converter:
    """A trained network as an input method, with the bigram model of its training unless its weight is 0."""

    def __init__(self, run: str | Path, beam: int, bigram: float = search.WEIGHT):
        self.network, self.vocabulary, self.args, self.step = read_run(run)
        chooser = with_bigram(run, self.network, self.vocabulary, bigram)
        spec = tf.TensorSpec([None, None], tf.int32)
        self.search = tf.function(
            lambda symbols: search.beam(chooser, symbols, beam), autograph=False, input_signature=[spec]
        )

    def piece(self, piece: Piece) -> list[tuple[str, float]]:
        """The conversions of one sentence with their scores, best first."""
        stop = "。" if piece.symbols[-1] == "。" else ""  # sentences were learnt without it
        short = Piece(piece.symbols[:-1], piece.characters[:-1]) if stop else piece
        if not any(symbol in self.vocabulary.syllables for symbol in short.symbols):
            return [("".join(piece.characters), 0.0)]
        found, scores = self.search(tf.constant([self.vocabulary.encode(short)[0]], tf.int32))
        texts = ["".join(sentence(self.vocabulary, numbers, short)) + stop for numbers in found[0].numpy()]
        return [(text, float(score)) for text, score in zip(texts, scores[0]) if np.isfinite(score)]

    def __call__(self, text: str, top: int = 1) -> list[tuple[str, float]]:
        """The best conversions of a line, with the scores of `search.WithBigram`, or log probabilities without it.

        Raises:
            runner.Stop: it holds letters that are no syllables.
        """
        found = [("", 0.0)]
        for part in sentences(parse(text, self.vocabulary)):
            both = [(a + b, p + q) for a, p in found for b, q in self.piece(part)]
            found = sorted(both, key=lambda item: -item[1])[:top]
        return found


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    converter = Converter(args.run, args.beam, args.bigram)
    lines = [" ".join(args.text)] if args.text else (line.rstrip("\n") for line in sys.stdin)
    for number, line in enumerate(lines, start=1):
        try:
            found = converter(line, args.top)
        except Stop as stop:
            raise Stop(f"line {number}: {stop}" if not args.text else str(stop), stop.code) from None
        for text, score in found:
            print(f"{score:8.2f}  {text}" if args.top > 1 else text, flush=True)
        if args.plot and any(parse(line, converter.vocabulary).symbols):
            draw(converter, line, found[0][0], Path(args.plot))


def draw(converter: Converter, line: str, text: str, path: Path) -> None:
    """The attention of a line's first sentence as a PNG file."""
    import io

    from PIL import Image

    piece = sentences(parse(line, converter.vocabulary))[0]
    symbols = converter.vocabulary.encode(piece)[0]
    written = data.TOKEN.findall(text)[: len(symbols)]
    characters = converter.vocabulary.encode(Piece(piece.symbols, tuple(written)))[1]
    picture = attention_picture(converter.network, converter.vocabulary, symbols, characters)
    if picture is None:
        raise Stop("a transformer of this folder has no decoder whose attention could be drawn")
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "PNG")
    runner.write_whole(path, buffer.getvalue())
    print(f"attention: {path}", file=sys.stderr)


if __name__ == "__main__":
    runner.guard(main)
