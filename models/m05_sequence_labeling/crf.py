"""A linear-chain conditional random field (Lafferty et al. 2001): formulas one by one.

A sentence of n characters has 4ⁿ sequences of tags. The field gives each a score, the sum of what the network says of
every character and of what it has learnt about neighbouring tags, and a probability proportional to exp(score). Sums
and maxima over all sequences take n steps, not 4ⁿ, because a tag sees its neighbours only.

All functions take batches of sentences of different lengths: `lengths` says where each ends, and what stands behind
the end changes nothing. Shapes: scores `(batch, steps, tags)` float, lengths and paths of tags `(batch,)` and
`(batch, steps)` int32. A `Field` holds the numbers that are learnt.
"""

from __future__ import annotations

from typing import NamedTuple

from runner import tf


class Field(NamedTuple):
    """What the field knows of tags alone, without the text."""

    start: tf.Tensor | tf.Variable  # (tags,): score of beginning with a tag
    transitions: tf.Tensor | tf.Variable  # (tags, tags): [i, j], score of j right after i
    end: tf.Tensor | tf.Variable  # (tags,): score of ending with a tag


def mask_of(lengths: tf.Tensor, steps: tf.Tensor, dtype: tf.DType = tf.float32) -> tf.Tensor:
    """1 at the characters of each sentence, 0 behind its end: `(batch, steps)`."""
    return tf.sequence_mask(lengths, steps, dtype)


def swap_axes(table: tf.Tensor) -> tf.Tensor:
    """`(a, b)` int32 → `(b, a)`, by way of float32, exact for numbers below 2²⁴: the CPU library has no fast
    transposition of integers, and prints an error line before TensorFlow falls back on another."""
    return tf.cast(tf.transpose(tf.cast(table, tf.float32)), tf.int32)


def path_score(scores: tf.Tensor, paths: tf.Tensor, lengths: tf.Tensor, field: Field) -> tf.Tensor:
    """The score of one path a sentence, `(batch,)`.

    score(y) = start[y₁] + Σ scores[t, yₜ] + Σ transitions[yₜ₋₁, yₜ] + end[yₙ].
    """
    mask = mask_of(lengths, tf.shape(scores)[1], scores.dtype)
    of_characters = tf.gather(scores, paths, batch_dims=2)  # (batch, steps)
    pairs = tf.stack([paths[:, :-1], paths[:, 1:]], axis=2)
    of_neighbours = tf.gather_nd(field.transitions, pairs)  # (batch, steps - 1)
    last = tf.gather(paths, lengths - 1, batch_dims=1)
    return (
        tf.gather(field.start, paths[:, 0])
        + tf.reduce_sum(of_characters * mask, axis=1)
        + tf.reduce_sum(of_neighbours * mask[:, 1:], axis=1)
        + tf.gather(field.end, last)
    )


def log_partition(scores: tf.Tensor, lengths: tf.Tensor, field: Field) -> tf.Tensor:
    """log Z = log Σ over all paths of exp(score), by the forward algorithm: `(batch,)`.

    alpha[t, j] is the log of the sum over all paths of the first t characters that end with tag j:
    alpha[t, j] = scores[t, j] + log Σᵢ exp(alpha[t-1, i] + transitions[i, j]).
    """
    steps = tf.shape(scores)[1]
    by_step = tf.TensorArray(scores.dtype, steps).unstack(tf.transpose(scores, [1, 0, 2]))

    def advance(t, alpha):
        through = alpha[:, :, None] + field.transitions  # (batch, tag before, tag)
        longer = tf.reduce_logsumexp(through, axis=1) + by_step.read(t)
        return t + 1, tf.where((t < lengths)[:, None], longer, alpha)  # a sentence that has ended waits

    first = field.start + by_step.read(0)
    _, alpha = tf.while_loop(lambda t, _: t < steps, advance, [1, first])
    return tf.reduce_logsumexp(alpha + field.end, axis=1)


def negative_log_likelihood(
    scores: tf.Tensor, paths: tf.Tensor, lengths: tf.Tensor, field: Field
) -> tf.Tensor:
    """-log P(y | x) = log Z - score(y): what training makes small, `(batch,)`."""
    return log_partition(scores, lengths, field) - path_score(scores, paths, lengths, field)


def viterbi(scores: tf.Tensor, lengths: tf.Tensor, field: Field) -> tf.Tensor:
    """The path of the highest score: `(batch, steps)` int32, the last tag repeated behind the end of a sentence.

    The forward algorithm with a maximum where the sum was, and a note of which tag before gave it; then back along
    the notes (Viterbi 1967).
    """
    steps, tags = tf.shape(scores)[1], tf.shape(scores)[2]
    by_step = tf.TensorArray(scores.dtype, steps).unstack(tf.transpose(scores, [1, 0, 2]))
    stay = tf.zeros_like(scores[:, 0, :], tf.int32) + tf.range(
        tags
    )  # behind the end: each tag comes from itself

    def advance(t, best, before):
        through = best[:, :, None] + field.transitions  # (batch, tag before, tag)
        runs_on = (t < lengths)[:, None]
        longer = tf.reduce_max(through, axis=1) + by_step.read(t)
        came_from = tf.where(runs_on, tf.argmax(through, axis=1, output_type=tf.int32), stay)
        return t + 1, tf.where(runs_on, longer, best), before.write(t, came_from)

    notes = tf.TensorArray(tf.int32, steps).write(0, stay)
    first = field.start + by_step.read(0)
    _, best, notes = tf.while_loop(lambda t, *_: t < steps, advance, [1, first, notes])
    last = tf.argmax(best + field.end, axis=1, output_type=tf.int32)

    def go_back(t, tag, path):
        path = path.write(t, tag)
        return t - 1, tf.gather(notes.read(t), tag, batch_dims=1), path

    path = tf.TensorArray(tf.int32, steps, element_shape=[None])
    _, _, path = tf.while_loop(lambda t, *_: t >= 0, go_back, [steps - 1, last, path])
    return swap_axes(path.stack())
