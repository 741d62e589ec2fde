"""From scores of the next character to sentences: greedy, and by beam search. Both run wholly in the graph.

A network offers `begin(symbols) -> memory, state` and `advance(memory, state, t, last) -> gains, state`: for each
choice of character number t, when `last` is the one before, its log probability. When the network is constrained, the
choices are the symbol's candidates, a sentence has as many characters as symbols, and its end needs no choice.

`WithBigram` is a network and a bigram model that search together.
"""

from __future__ import annotations

import tensorflow as tf

from data import END, PAD, START

WEIGHT = 0.5  # of the bigram model beside the network; the best of five on the validation part
LONGER = 8  # characters that an unconstrained sentence may have more than symbols


class WithBigram(tf.Module):
    """A constrained network and a bigram model that choose together: shallow fusion, Gulcehre et al. 2015.

    gain(c) = log p(c | characters before, symbols) + weight · (log P(c | last) + log P(symbol | c))

    The network reads the whole sentence and forgets rare pairs of characters; the bigram model has counted each of them
    and knows nothing else. What a sentence gains is a score, no longer a log probability.

    Args:
        bigram: of the same vocabulary, see `baselines.Bigram`.
        weight: 0 leaves the network alone.
    """

    def __init__(self, network, bigram, weight: float):
        super().__init__("with_bigram")
        assert network.constrain, "the choices must be the symbol's candidates"
        self.network, self.constrain, self.candidates = network, True, network.candidates
        self.characters = len(bigram.follows)
        self.follows = tf.constant((weight * bigram.follows).ravel())
        self.sounds = tf.constant((weight * bigram.sounds).ravel())

    def begin(self, symbols: tf.Tensor):
        memory, state = self.network.begin(symbols)
        return (memory, symbols), state

    def advance(self, memory: tuple, state: tuple, t: tf.Tensor, last: tf.Tensor):
        memory, symbols = memory
        gains, state = self.network.advance(memory, state, t, last)
        candidates = characters_at(self, symbols, t)  # (rows, K)
        follows = tf.gather(self.follows, last[:, None] * self.characters + candidates)
        sounds = tf.gather(self.sounds, symbols[:, t, None] * self.characters + candidates)
        return gains + follows + sounds, state


def plan(network, symbols: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """How many steps to take, and how many characters each sentence must have (-1: until END)."""
    if network.constrain:
        return tf.shape(symbols)[1], tf.math.count_nonzero(symbols, 1, dtype=tf.int32)
    return tf.shape(symbols)[1] + LONGER, tf.fill([tf.shape(symbols)[0]], -1)


def characters_at(network, symbols: tf.Tensor, t: tf.Tensor) -> tf.Tensor:
    """`(rows, choices)`: the character behind each of the scores of step t."""
    if network.constrain:
        return tf.gather(network.candidates, symbols[:, t])
    return tf.tile(tf.range(network.characters)[None], [tf.shape(symbols)[0], 1])


def set_column(values: tf.Tensor, t: tf.Tensor, column: tf.Tensor) -> tf.Tensor:
    """`values` (…, n) with place t of the last axis replaced."""
    return tf.where(tf.range(tf.shape(values)[-1]) == t, column[..., None], values)


def greedy(network, symbols: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """The best next character, and again.

    Args:
        symbols: `(rows, n)` int32.

    Returns:
        Characters `(rows, n or more)` int32, PAD after the end, and their log probability `(rows,)`.
    """
    rows = tf.shape(symbols)[0]
    steps, wanted = plan(network, symbols)
    memory, state = network.begin(symbols)

    def body(t, last, state, found, score, done):
        gains, state = network.advance(memory, state, t, last)
        choice = tf.argmax(gains, 1, output_type=tf.int32)
        gain = tf.gather(gains, choice, batch_dims=1)
        last = tf.gather(
            characters_at(network, symbols, tf.minimum(t, tf.shape(symbols)[1] - 1)), choice, batch_dims=1
        )
        last = tf.where(done | (t == wanted), PAD, last)
        score = tf.where(last == PAD, score, score + gain)
        return t + 1, last, state, set_column(found, t, last), score, done | (last == END) | (last == PAD)

    begin = (
        0,
        tf.fill([rows], START),
        state,
        tf.fill([rows, steps], PAD),
        tf.zeros([rows]),
        tf.fill([rows], False),
    )
    *_, found, score, _ = tf.while_loop(lambda t, *_: t < steps, body, begin)
    return tf.where(found == END, PAD, found), score


def beam(network, symbols: tf.Tensor, width: int) -> tuple[tf.Tensor, tf.Tensor]:
    """Keep the `width` best beginnings of each sentence; extend all by one character; keep the best again.

    Args:
        symbols: `(rows, n)` int32.
        width: 1 gives the greedy result.

    Returns:
        Characters `(rows, width, n or more)` int32, best first, and log probabilities `(rows, width)`: -inf where a
        sentence has fewer conversions than `width`.
    """
    rows = tf.shape(symbols)[0]
    steps, wanted = plan(network, symbols)
    memory, state = network.begin(symbols)
    # Item r * width + b is beginning b of row r; all of them look at the same symbols.
    memory = tf.nest.map_structure(lambda values: tf.repeat(values, width, axis=0), memory)
    state = tf.nest.map_structure(lambda values: tf.repeat(values, width, axis=0), state)

    def body(t, last, state, found, scores, done):
        gains, state = network.advance(memory, state, t, last)
        choices = tf.shape(gains)[1]
        gains = tf.reshape(gains, [rows, width, choices])
        ended = done | (t == wanted)[:, None]  # what has ended stays as it is: one extension, for nothing
        stay = tf.where(tf.range(choices) == 0, 0.0, -float("inf"))
        gains = tf.where(ended[..., None], stay, gains)
        totals = tf.reshape(scores[..., None] + gains, [rows, width * choices])
        scores, best = tf.math.top_k(totals, width)  # (rows, width)
        parent, choice = best // choices, best % choices
        ids = characters_at(network, symbols, tf.minimum(t, tf.shape(symbols)[1] - 1))
        ended = tf.gather(ended, parent, batch_dims=1)
        last = tf.where(ended, PAD, tf.gather(ids, choice, batch_dims=1))
        found = set_column(tf.gather(found, parent, batch_dims=1), t, last)
        items = tf.reshape(tf.range(rows)[:, None] * width + parent, [-1])
        state = tf.nest.map_structure(lambda values: tf.gather(values, items), state)
        return t + 1, tf.reshape(last, [-1]), state, found, scores, ended | (last == END)

    # At first all beginnings are the same, so only one of them counts.
    scores = tf.tile(tf.where(tf.range(width) == 0, 0.0, -float("inf"))[None], [rows, 1])
    begin = (
        0,
        tf.fill([rows * width], START),
        state,
        tf.fill([rows, width, steps], PAD),
        scores,
        tf.fill([rows, width], False),
    )
    *_, found, scores, _ = tf.while_loop(lambda t, *_: t < steps, body, begin)
    return tf.where(found == END, PAD, found), scores
