"""Which network a run has, its loss, and how a trained one is brought back."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import tensorflow as tf
from baselines import Bigram
from model import Seq2Seq, time_major
from runner import Stop
from search import WithBigram
from transformer import Tagger

import data
from data import END, OTHER, PAD, START, Vocabulary

SHAPING = ("model", "constrain", "units", "embedding", "encoder_layers")  # flags a checkpoint must agree with


def make_network(args: argparse.Namespace, vocabulary: Vocabulary) -> tf.Module:
    """The network that the flags describe."""
    return Tagger(args, vocabulary) if args.model == "transformer" else Seq2Seq(args, vocabulary)


def wanted(network: tf.Module, symbols: tf.Tensor, characters: tf.Tensor, first_syllable: int):
    """What training asks for: `(rows, steps)` the characters before, the class to name, and whether it counts.

    Padding does not count, nor does what cannot be named because training never saw it. A constrained network names
    the number of a candidate, and is not asked for the marks that are passed through. Another one names a character;
    it must write the marks, too, or it would lose its place at the first comma; and END after the last.
    """
    counts = (symbols >= first_syllable) & (characters != OTHER)
    if network.constrain:
        same = tf.gather(network.candidates, symbols) == characters[..., None]  # (rows, n, K)
        target = tf.argmax(same, 2, output_type=tf.int32)
        counts &= tf.reduce_any(same, 2)
    else:
        counts |= (symbols != PAD) & (symbols < first_syllable)
        column = tf.zeros_like(symbols[:, :1])
        symbols, characters = tf.concat([symbols, column], 1), tf.concat([characters, column], 1)
        ends = tf.math.count_nonzero(symbols, 1, dtype=tf.int32)[:, None] == tf.range(tf.shape(symbols)[1])
        target = tf.where(ends, END, characters)
        counts = tf.concat([counts, column > 0], 1) | ends
    before = tf.concat([tf.fill([tf.shape(characters)[0], 1], START), characters[:, :-1]], 1)
    return before, target, counts


def masked_loss(logits: tf.Tensor, target: tf.Tensor, counts: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Cross-entropy and right choices, each summed over the steps that count.

    Args:
        logits: `(steps, rows, classes)`; target: `(rows, steps)` int32; counts: `(rows, steps)` bool.
    """
    target, counts = time_major(target), time_major(tf.cast(counts, tf.int32)) > 0
    losses = tf.nn.sparse_softmax_cross_entropy_with_logits(target, logits)
    # `where`, not a product: on padding all logits are -inf, and 0 · NaN is NaN.
    total = tf.reduce_sum(tf.where(counts, losses, 0.0))
    right = tf.argmax(logits, 2, output_type=tf.int32) == target
    return total, tf.reduce_sum(tf.cast(counts & right, tf.float32))


def read_run(folder: str | Path) -> tuple[tf.Module, Vocabulary, argparse.Namespace, int]:
    """The network of a run's latest checkpoint, its vocabulary and flags, and the step.

    Raises:
        runner.Stop: there is no run in the folder, or it cannot be read.
    """
    folder = Path(folder)
    latest = tf.train.latest_checkpoint(str(folder / "checkpoints"))
    if latest is None or not (folder / "config.json").exists():
        raise Stop(
            f"{folder} holds no trained network. Train one:  python train.py --output_dir {folder}  "
            "or name another folder with --run"
        )
    vocabulary = Vocabulary.read(folder / "vocabulary.json")
    try:
        args = argparse.Namespace(**json.loads((folder / "config.json").read_text()))
        network = make_network(args, vocabulary)
        step = tf.Variable(0, dtype=tf.int64)
        restored = tf.train.Checkpoint(step=step, network=network).restore(latest)
        restored.assert_existing_objects_matched().expect_partial()
    except (ValueError, AttributeError, AssertionError, tf.errors.OpError) as error:
        reason = str(error).strip().splitlines()[0][:200]
        raise Stop(
            f"the run in {folder} cannot be read ({reason}). Train it anew:  python train.py"
        ) from None
    return network, vocabulary, args, int(step.numpy())


def with_bigram(folder: str | Path, network: tf.Module, vocabulary: Vocabulary, weight: float) -> tf.Module:
    """The network of a run beside the bigram model of its training, for `search`; the network itself at weight 0.

    An unconstrained network stays alone: its characters belong to no syllable in particular.

    Raises:
        runner.Stop: the bigram model cannot be read.
    """
    if not weight or not network.constrain:
        return network
    return WithBigram(network, Bigram.read(Path(folder) / "bigram.npz", vocabulary), weight)


def sentence(vocabulary: Vocabulary, numbers, piece: data.Piece) -> list[str]:
    """Character numbers as text; what was passed through is what stood in the piece, in its order."""
    passed = iter([c for c, s in zip(piece.characters, piece.symbols) if s not in vocabulary.syllables])
    names = []
    for number in numbers:
        if number == PAD:
            break
        name = vocabulary.characters[number]
        names.append(name if data.HANZI.match(name) else next(passed, ""))
    return [*names, *passed]  # an unconstrained network may write fewer marks than there are
