"""From scores of the next character to sentences: greedy, and by beam search. Both run wholly in the graph.

A network offers `begin(symbols) -> memory, state` and `advance(memory, state, t, last) -> logits, state`: the scores of
character number t when `last` is the one before. When the network is constrained, the scores are those of the
symbol's candidates, a sentence has as many characters as symbols, and its end needs no choice.
"""

from __future__ import annotations

import tensorflow as tf

from data import END, PAD, START

LONGER = 8  # characters that an unconstrained sentence may have more than symbols


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
        logits, state = network.advance(memory, state, t, last)
        choice = tf.argmax(logits, 1, output_type=tf.int32)
        gain = tf.gather(tf.nn.log_softmax(logits), choice, batch_dims=1)
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
        logits, state = network.advance(memory, state, t, last)
        choices = tf.shape(logits)[1]
        gains = tf.reshape(tf.nn.log_softmax(logits), [rows, width, choices])
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
