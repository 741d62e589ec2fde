"""A Transformer encoder that names each symbol's character directly, all at once: `--model transformer`.

As one symbol has one character, no decoder is needed: self-attention looks at all symbols, and each place is scored by
itself (Vaswani et al. 2017, the encoder; layers normalise first, as in Xiong et al. 2020). Two neighbouring choices do
not know of each other, which is what the decoder of `model.py` is for.
"""

from __future__ import annotations

import argparse
import math

import tensorflow as tf
from layers import Seeds
from model import Candidates, Everything, Linear, dropout, dropout_seeds, embedding, positions, time_major

from data import PAD, Vocabulary

HEADS = 4


class Norm(tf.Module):
    """Layer normalization over the last axis (Ba et al. 2016)."""

    def __init__(self, features: int, name: str):
        super().__init__(name)
        self.scale = tf.Variable(tf.ones([features]), name=f"{name}/scale")
        self.offset = tf.Variable(tf.zeros([features]), name=f"{name}/offset")

    def __call__(self, x: tf.Tensor) -> tf.Tensor:
        mean, variance = tf.nn.moments(x, [-1], keepdims=True)
        return (x - mean) * tf.math.rsqrt(variance + 1e-6) * self.scale + self.offset


class Block(tf.Module):
    """Self-attention, then two dense layers, each added to what came in: `(rows, n, units)` to the same shape."""

    def __init__(self, seeds: Seeds, units: int, name: str):
        super().__init__(name)
        self.norms = Norm(units, f"{name}_norm_1"), Norm(units, f"{name}_norm_2")
        self.mixed = Linear(seeds, units, 3 * units, name=f"{name}_queries_keys_values")
        self.out = Linear(seeds, units, units, name=f"{name}_out")
        self.wide, self.narrow = Linear(seeds, units, 4 * units), Linear(seeds, 4 * units, units)

    def __call__(self, x: tf.Tensor, symbols: tf.Tensor, drop) -> tf.Tensor:
        rows, n, units = tf.shape(x)[0], tf.shape(x)[1], x.shape[2]
        heads = tf.reshape(self.mixed(self.norms[0](x)), [rows, n, 3, HEADS, units // HEADS])
        query, key, value = tf.unstack(
            tf.transpose(heads, [2, 0, 3, 1, 4])
        )  # each (rows, heads, n, units / heads)
        scores = tf.matmul(query, key, transpose_b=True) / math.sqrt(units // HEADS)
        scores = tf.where((symbols == PAD)[:, None, None], -math.inf, scores)
        seen = tf.matmul(tf.nn.softmax(scores), value)  # (rows, heads, n, units / heads)
        x += drop(self.out(tf.reshape(tf.transpose(seen, [0, 2, 1, 3]), [rows, n, units])))
        return x + drop(self.narrow(tf.nn.relu(self.wide(self.norms[1](x)))))


class Tagger(tf.Module):
    """The network of `--model transformer`."""

    def __init__(self, args: argparse.Namespace, vocabulary: Vocabulary):
        super().__init__("tagger")
        self.constrain, self.seed, self.rate, self.units = args.constrain, args.seed, args.dropout, args.units
        self.characters = len(vocabulary.characters)
        self.candidates = tf.constant(vocabulary.candidates)
        seeds = Seeds(args.seed, 0)
        self.embedding = embedding(seeds, len(vocabulary.symbols), args.units, "embedding")
        self.blocks = [Block(seeds, args.units, f"block_{i}") for i in range(args.encoder_layers)]
        self.norm = Norm(args.units, "norm")
        self.scores = (Candidates if args.constrain else Everything)(seeds, vocabulary, args.units)

    def logits(self, symbols: tf.Tensor, before: tf.Tensor | None = None, step: tf.Tensor | None = None):
        """As `Seq2Seq.logits`, though the characters before are not looked at; None instead of weights.

        An unconstrained network gives a step more than there are symbols, at which the sentence ends.
        """
        seeds = dropout_seeds(self.seed, step)
        if not self.constrain:
            symbols = tf.pad(symbols, [[0, 0], [0, 1]])
        drop = lambda x: tf.transpose(dropout(tf.transpose(x, [1, 0, 2]), self.rate, seeds), [1, 0, 2])
        x = tf.gather(self.embedding, symbols) * math.sqrt(self.units)
        x = drop(x + positions(tf.shape(symbols)[1], self.units))
        for block in self.blocks:
            x = block(x, symbols, drop)
        flat = tf.reshape(tf.transpose(self.norm(x), [1, 0, 2]), [-1, self.units])
        logits = self.scores(flat, tf.reshape(time_major(symbols), [-1]))
        return tf.reshape(logits, [tf.shape(symbols)[1], tf.shape(symbols)[0], logits.shape[1]]), None

    def begin(self, symbols: tf.Tensor):
        """For `search`: all scores are known from the start, so the memory is they; there is no state."""
        return tf.transpose(self.logits(symbols)[0], [1, 0, 2]), ()

    def advance(self, memory: tf.Tensor, state: tuple, t: tf.Tensor, last: tf.Tensor):
        return tf.nn.log_softmax(memory[:, tf.minimum(t, tf.shape(memory)[1] - 1)]), state
