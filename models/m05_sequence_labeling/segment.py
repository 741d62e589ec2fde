"""Cut Chinese text into words with a tagger that train.py has trained.

    python segment.py 我爱北京天安门
    python segment.py --separator / 他来到了网易杭研大厦 我们2026年再见
    echo 我爱北京天安门 | python segment.py
    python segment.py --input news.txt --output news.words.txt
    python segment.py --json --input news.txt          # each line a JSON list: joined, it is the line again

Nothing of the text is lost or changed: take the separators away and the input is back. White space separates words
by itself; with --json it is kept as words of its own.
"""

from __future__ import annotations

import argparse
import itertools
import json
import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import runner
from runner import Stop
from segmenter import Segmenter, load, with_separator
from text import as_text, read_text

LINES = 1000  # of a file that are read and written at once


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("texts", nargs="*", help="texts; none: standard input, or the file of --input")
    add("--input", help="a file of UTF-8 text")
    add("--output", help="write there, not to standard output")
    add("--separator", default=" ", help="stands between words (default: a space)")
    add("--json", action="store_true", help="write each line as a JSON list of its words")
    add("--output_dir", default="runs/m05", help="folder of the training run (default runs/m05)")
    args = parser.parse_args(argv)
    if args.texts and args.input:
        raise Stop("give texts or --input, not both", code=2)
    for text in args.texts:
        try:
            text.encode()
        except UnicodeEncodeError:
            raise Stop(f"{text!r} is not UTF-8: set the terminal to UTF-8, or use --input", code=2) from None
    return args


def lines_of(args: argparse.Namespace) -> Iterator[str]:
    """The lines of the input, each with its end."""
    if args.texts:
        yield from (text + "\n" for text in args.texts)
    elif args.input:
        yield from re.findall(r"[^\n]*\n|[^\n]+", read_text(Path(args.input)))
    else:
        for number, line in enumerate(sys.stdin.buffer, start=1):
            yield as_text(line, f"line {number} of standard input")


def cut(
    segmenter: Segmenter, lines: Iterable[str], separator: str, as_json: bool, at_once: int
) -> Iterator[str]:
    """Each line cut into words, as it is to be written."""
    lines = iter(lines)
    while some := list(itertools.islice(lines, at_once)):
        for line, words in zip(some, segmenter.segment([line.removesuffix("\n") for line in some])):
            end = line[len(line.removesuffix("\n")) :]
            if as_json:
                yield json.dumps(words, ensure_ascii=False) + "\n"
            else:
                yield "".join(with_separator(words, separator)) + end


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    segmenter, _ = load(Path(args.output_dir))
    at_once = 1 if not args.texts and not args.input and sys.stdin.isatty() else LINES
    pieces = cut(segmenter, lines_of(args), args.separator, args.json, at_once)
    if args.output:
        runner.write_whole(Path(args.output), "".join(pieces).encode())
        return
    for piece in pieces:
        sys.stdout.buffer.write(piece.encode())
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    runner.guard(main)
