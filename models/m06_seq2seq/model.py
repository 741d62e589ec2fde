"""Encoder, attention, decoder: what is typed becomes vectors, and each character is chosen with a look at them.

Shapes: `rows` sentences of `n` symbols, padded with PAD = 0. Inside, sequences are time-major, `(n, rows, …)`.
"""

from __future__ import annotations

import argparse
import itertools
import math
from collections.abc import Iterator

import numpy as np
import tensorflow as tf
from layers import Dense, Seeds, noise_seed
from recurrent import LSTM

from data import PAD, START, Vocabulary

CHUNK = 16  # rows that share one syllable's characters in `Candidates`


def dropout(x: tf.Tensor, rate: float, seeds: Iterator | None) -> tf.Tensor:
    """Set a share of the numbers of `(n, rows, features)` to zero and scale the others up; nothing without seeds.

    The random numbers are drawn for the rows of all replicas, of which each takes its own.
    """
    if seeds is None or not rate:
        return x
    context = tf.distribute.get_replica_context()
    rows = tf.shape(x)[1]
    shape = [tf.shape(x)[0], rows * context.num_replicas_in_sync, x.shape[2]]
    first = tf.cast(context.replica_id_in_sync_group, tf.int32) * rows
    kept = tf.random.stateless_uniform(shape, next(seeds))[:, first : first + rows] >= rate
    return tf.where(kept, x / (1.0 - rate), 0.0)


def dropout_seeds(seed: int, step: tf.Tensor | None) -> Iterator | None:
    """A seed for each `dropout` of a training step; None, which is no dropout, without a step."""
    return None if step is None else (noise_seed(seed, step, 10 + i) for i in itertools.count())


def positions(count: int | tf.Tensor, features: int) -> tf.Tensor:
    """`(count, features)`: sines and cosines of the position, at wave lengths from 3 to 150 symbols.

    As Vaswani et al. 2017 have it, but for sentences: their waves reach 63,000, of which few tell neighbours apart.
    """
    waves = 2.0 * math.pi / 3.0 * tf.pow(50.0, -tf.range(features // 2, dtype=tf.float32) / (features // 2))
    angles = tf.cast(tf.range(count), tf.float32)[:, None] * waves
    return tf.concat([tf.sin(angles), tf.cos(angles)], 1)


def time_major(ids: tf.Tensor) -> tf.Tensor:
    """`(rows, n)` int32 → `(n, rows)`. As floats, which is exact: on some processors oneDNN warns of integers."""
    return tf.cast(tf.transpose(tf.cast(ids, tf.float32)), tf.int32)


def embedding(seeds: Seeds, count: int, features: int, name: str) -> tf.Variable:
    return tf.Variable(seeds.normal([count, features], stddev=features**-0.5), name=name)


class Linear(Dense):
    """A dense layer for `(…, inputs)`, initial values of Glorot and Bengio 2010."""

    def __init__(self, seeds: Seeds, inputs: int, outputs: int, bias: bool = True, name: str = "linear"):
        super().__init__(seeds, inputs, outputs, bias, name)
        self.weight.assign(seeds.normal([inputs, outputs], stddev=(2.0 / (inputs + outputs)) ** 0.5))

    def __call__(self, x: tf.Tensor) -> tf.Tensor:
        flat = super().__call__(tf.reshape(x, [-1, x.shape[-1]]))
        return tf.reshape(flat, tf.concat([tf.shape(x)[:-1], [flat.shape[-1]]], 0))


class Encoder(tf.Module):
    """Symbols → vectors that know both sides: bidirectional LSTM layers, each reading the one below.

    `(rows, n)` int32 → `(n, rows, 2 units)`.
    """

    def __init__(self, seeds: Seeds, args: argparse.Namespace, symbols: int, dtype: tf.DType):
        super().__init__("encoder")
        self.rate = args.dropout
        self.embedding = embedding(seeds, symbols, args.embedding, "encoder/embedding")
        widths = [args.embedding] + [2 * args.units] * (args.encoder_layers - 1)
        self.forward = [
            LSTM(seeds, w, args.units, dtype, f"encoder_forward_{i}") for i, w in enumerate(widths)
        ]
        self.backward = [
            LSTM(seeds, w, args.units, dtype, f"encoder_backward_{i}") for i, w in enumerate(widths)
        ]

    def __call__(self, symbols: tf.Tensor, seeds: Iterator | None = None) -> tf.Tensor:
        lengths = tf.math.count_nonzero(symbols, 1, dtype=tf.int32)
        # Reversed within its own length, a sentence still has its padding at the end, where nothing reads it.
        turn = lambda x: tf.reverse_sequence(x, lengths, seq_axis=0, batch_axis=1)
        x = tf.gather(self.embedding, time_major(symbols))  # (n, rows, embedding)
        for forward, backward in zip(self.forward, self.backward):
            x = dropout(x, self.rate, seeds)
            x = tf.concat([forward(x), turn(backward(turn(x)))], 2)
        return x


class Attention(tf.Module):
    """Which symbols to look at while a character is chosen: Luong et al. 2015, "general", with positions.

    score(t, j) = (W_q h_t + P p_t) · (W_k e_j + P p_j) / √features;  a_t = softmax_j;  context_t = Σ_j a_tj e_j

    `h` are the decoder's states, `e` the encoder's outputs, `p` the sinusoids of a position. That the t-th character
    belongs to the t-th symbol is not built in: the matrix of the positions starts from chance.
    """

    WAVES = 64

    def __init__(self, seeds: Seeds, units: int, encoded: int, features: int = 128):
        super().__init__("attention")
        self.query = Linear(seeds, units, features, bias=False, name="attention_query")
        self.key = Linear(seeds, encoded, features, bias=False, name="attention_key")
        self.place = Linear(seeds, self.WAVES, features, bias=False, name="attention_place")

    def keys(self, encoded: tf.Tensor) -> tf.Tensor:
        """`(n, rows, encoded)` → `(rows, n, features)`, once a sentence."""
        places = self.place(positions(tf.shape(encoded)[0], self.WAVES))
        return tf.transpose(self.key(encoded) + places[:, None], [1, 0, 2])

    def __call__(self, h: tf.Tensor, first: tf.Tensor | int, keys, values, symbols):
        """Contexts and weights for the decoder's states of the steps from `first` on.

        Args:
            h: `(steps, rows, units)`.
            keys: `(rows, n, features)`; values: the encoder's outputs, `(rows, n, encoded)`; symbols: `(rows, n)`.

        Returns:
            `(steps, rows, encoded)` and `(rows, steps, n)`; a weight on padding is exactly 0.
        """
        steps = tf.shape(h)[0]
        places = self.place(positions(first + steps, self.WAVES)[first:])
        queries = tf.transpose(self.query(h) + places[:, None], [1, 0, 2])  # (rows, steps, features)
        scores = tf.matmul(queries, keys, transpose_b=True) / math.sqrt(keys.shape[2])  # (rows, steps, n)
        scores = tf.where((symbols == PAD)[:, None], -math.inf, scores)
        weights = tf.nn.softmax(scores)
        context = tf.matmul(weights, values)  # (rows, steps, encoded)
        return tf.transpose(context, [1, 0, 2]), weights


class Candidates(tf.Module):
    """Scores of the characters that a syllable can be, and of no others.

    Each (syllable, character) that training has seen has a vector. The vectors of one syllable are a matrix of at most
    K rows, and computing only those is a small part of a product with all characters. Vectors `h` that belong to one
    syllable are brought together in chunks of 16, so that a chunk takes one matrix.
    """

    def __init__(self, seeds: Seeds, vocabulary: Vocabulary, features: int):
        super().__init__("candidates")
        table = vocabulary.candidates  # (S, K)
        index = np.where(table > 0, np.cumsum(table > 0).reshape(table.shape) - 1, 0)
        self.index = tf.constant(index, tf.int32)
        self.table = tf.constant(table)
        count = int((table > 0).sum())
        self.vectors = tf.Variable(
            seeds.normal([count, features], stddev=features**-0.5), name="candidates/vectors"
        )
        seen = np.zeros(count, np.float32)
        for name, counts in vocabulary.counts.items():
            row = vocabulary.syllables[name]
            for k, character in enumerate(table[row][table[row] > 0]):
                share = counts[vocabulary.characters[character]] / sum(counts.values())
                seen[index[row, k]] = math.log(share)
        self.bias = tf.Variable(
            seen, name="candidates/bias"
        )  # training starts from the syllable's frequencies

    def __call__(self, h: tf.Tensor, symbols: tf.Tensor) -> tf.Tensor:
        """`(items, features)` and `(items,)` → logits `(items, K)`, -inf where a symbol has fewer characters."""
        order = tf.argsort(symbols)
        ordered = tf.gather(symbols, order)
        rank = tf.range(tf.size(order)) - tf.searchsorted(ordered, ordered)  # among those of the same symbol
        chunk = tf.cumsum(tf.cast(rank % CHUNK == 0, tf.int32)) - 1
        place = tf.scatter_nd(order[:, None], chunk * CHUNK + rank % CHUNK, [tf.size(order)])
        chunks = chunk[-1] + 1
        held = tf.scatter_nd(place[:, None], h, [chunks * CHUNK, h.shape[1]])
        held = tf.reshape(held, [chunks, CHUNK, h.shape[1]])
        owner = tf.gather(ordered, tf.where(rank % CHUNK == 0)[:, 0])  # the symbol of each chunk
        rows = tf.gather(self.index, owner)  # (chunks, K)
        logits = tf.matmul(held, tf.gather(self.vectors, rows), transpose_b=True)  # (chunks, 16, K)
        logits += tf.gather(self.bias, rows)[:, None]
        logits = tf.where((tf.gather(self.table, owner) == PAD)[:, None], -math.inf, logits)
        return tf.gather(tf.reshape(logits, [chunks * CHUNK, rows.shape[1]]), place)


class Everything(tf.Module):
    """Scores of all characters, whatever the syllable: what `--no-constrain` trains."""

    def __init__(self, seeds: Seeds, vocabulary: Vocabulary, features: int):
        super().__init__("everything")
        self.layer = Linear(seeds, features, len(vocabulary.characters), name="everything")

    def __call__(self, h: tf.Tensor, symbols: tf.Tensor) -> tf.Tensor:
        logits = self.layer(h)  # (items, V)
        return tf.where(
            tf.range(logits.shape[1]) <= START, -math.inf, logits
        )  # padding and the start are not written


class Decoder(tf.Module):
    """Chooses character after character: an LSTM over the characters so far, attention, and the scores."""

    def __init__(self, seeds: Seeds, args: argparse.Namespace, vocabulary: Vocabulary, dtype: tf.DType):
        super().__init__("decoder")
        self.rate = args.dropout
        self.embedding = embedding(seeds, len(vocabulary.characters), args.embedding, "decoder/embedding")
        self.lstm = LSTM(seeds, args.embedding, args.units, dtype, "decoder_lstm")
        self.attention = Attention(seeds, args.units, 2 * args.units)
        self.mix = Linear(seeds, 3 * args.units, args.units, name="decoder_mix")
        self.scores = (Candidates if args.constrain else Everything)(seeds, vocabulary, args.units)

    def mixed(self, h: tf.Tensor, first: tf.Tensor | int, memory: tuple):
        """tanh(W [context; h]), `(steps, rows, units)`, and the attention weights `(rows, steps, n)`."""
        context, weights = self.attention(h, first, *memory)
        return tf.tanh(self.mix(tf.concat([context, h], 2))), weights


class Seq2Seq(tf.Module):
    """The network of `--model attention`."""

    def __init__(self, args: argparse.Namespace, vocabulary: Vocabulary):
        super().__init__("seq2seq")
        dtype = tf.bfloat16 if args.mixed_precision else tf.float32
        self.constrain, self.seed, self.units = args.constrain, args.seed, args.units
        self.characters = len(vocabulary.characters)
        self.candidates = tf.constant(vocabulary.candidates)
        self.encoder = Encoder(Seeds(args.seed, 0), args, len(vocabulary.symbols), dtype)
        self.decoder = Decoder(Seeds(args.seed, 1), args, vocabulary, dtype)

    def remember(self, symbols: tf.Tensor, seeds: Iterator | None = None) -> tuple[tf.Tensor, ...]:
        """What the decoder looks at: keys `(rows, n, features)`, values `(rows, n, 2 units)`, symbols `(rows, n)`."""
        encoded = dropout(self.encoder(symbols, seeds), self.decoder.rate, seeds)
        return self.decoder.attention.keys(encoded), tf.transpose(encoded, [1, 0, 2]), symbols

    def logits(self, symbols: tf.Tensor, before: tf.Tensor, step: tf.Tensor | None = None):
        """Scores of each next character when the ones before are given: teacher forcing.

        Args:
            symbols: `(rows, n)` int32.
            before: `(rows, steps)` int32, the characters before each that is asked for, START at first.
            step: of the training, which draws the dropout; None for none.

        Returns:
            Logits `(steps, rows, K)` over the candidates of the step's symbol, or `(steps, rows, V)` over all
            characters; attention weights `(rows, steps, n)`.
        """
        decoder, seeds = self.decoder, dropout_seeds(self.seed, step)
        memory = self.remember(symbols, seeds)
        x = tf.gather(decoder.embedding, time_major(before))
        h = decoder.lstm(dropout(x, decoder.rate, seeds))  # (steps, rows, units)
        mixed, weights = decoder.mixed(dropout(h, decoder.rate, seeds), 0, memory)
        mixed = tf.reshape(dropout(mixed, decoder.rate, seeds), [-1, self.units])
        logits = decoder.scores(mixed, tf.reshape(time_major(symbols), [-1]))
        return tf.reshape(logits, [tf.shape(h)[0], tf.shape(h)[1], logits.shape[1]]), weights

    def begin(self, symbols: tf.Tensor):
        """The memory of sentences and the decoder's first state (h, c), for `search`."""
        zero = tf.zeros([tf.shape(symbols)[0], self.units])
        return self.remember(symbols), (zero, zero)

    def advance(self, memory: tuple, state: tuple, t: tf.Tensor, last: tf.Tensor):
        """Log probabilities of character t, `(rows, K or V)`, when `last` `(rows,)` is before it; the next state."""
        decoder, symbols = self.decoder, memory[2]
        h, c = decoder.lstm.step(tf.gather(decoder.embedding, last), *state)
        mixed, _ = decoder.mixed(h[None], t, memory)
        place = tf.minimum(
            t, tf.shape(symbols)[1] - 1
        )  # an unconstrained sentence may be longer than its symbols
        return tf.nn.log_softmax(decoder.scores(mixed[0], symbols[:, place])), (h, c)
