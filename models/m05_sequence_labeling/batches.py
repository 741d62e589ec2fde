"""Sentences as numbers, and batches of sentences of nearly the same length."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from corpus import Sentence
from lexicon import BLOCK
from runner import Stop, tf
from text import PADDING, UNKNOWN, Vocabulary, fold, in_pieces, tags_of

POOL = 50  # batches that are sorted by length together: more waste less, fewer mix better


class Encoded(NamedTuple):
    """One sentence: characters `(n,)`, pairs `(n + 1,)`, tags `(n,)`, int32; hints `(n, hint width)` float32."""

    characters: np.ndarray
    pairs: np.ndarray
    tags: np.ndarray
    hints: np.ndarray


def encode(sentences: Iterable[Sentence], vocabulary: Vocabulary) -> list[Encoded]:
    """Training sentences as numbers, long ones in pieces.

    Neither hints nor pairs know of a sentence what only its own block of the newspaper could have told them.
    """
    pieces = [piece for sentence in sentences for piece in in_pieces(sentence)]
    if vocabulary.lexicon:
        hints = vocabulary.lexicon.hints_for_training([tuple(map(fold, piece)) for piece in pieces])
    else:
        hints = [vocabulary.hints("".join(piece)) for piece in pieces]
    numbers = [vocabulary.encode("".join(piece)) for piece in pieces]
    pairs = known_elsewhere([pairs for _, pairs in numbers])
    tags = [np.array(tags_of(piece), np.int32) for piece in pieces]
    return [Encoded(c, *rest) for (c, _), *rest in zip(numbers, pairs, tags, hints)]


def known_elsewhere(rows: list[np.ndarray]) -> list[np.ndarray]:
    """The numbers of pairs, those that no other block of sentences has replaced by UNKNOWN.

    A new word brings new pairs. Were the pairs of each training sentence known, the network would never learn what to
    do with a word it has not seen. Texts of a single block keep all.
    """
    if len(rows) <= BLOCK:
        return rows
    size = max(row.max() for row in rows) + 1
    total = np.bincount(np.concatenate(rows), minlength=size)
    found = []
    for first in range(0, len(rows), BLOCK):
        block = rows[first : first + BLOCK]
        elsewhere = total - np.bincount(np.concatenate(block), minlength=size) > 0
        found += [np.where(elsewhere[row], row, UNKNOWN).astype(np.int32) for row in block]
    return found


def pad(rows: Sequence[np.ndarray], width: int) -> np.ndarray:
    """Rows of different length as one array `(rows, width, …)` of their type, filled up with PADDING, which is 0."""
    filled = np.full((len(rows), width, *rows[0].shape[1:]), PADDING, rows[0].dtype)
    for target, row in zip(filled, rows):
        target[: len(row)] = row
    return filled


def epoch_of_batches(
    lengths: np.ndarray, size: int, seed: int, epoch: int, bucketed: bool = True
) -> np.ndarray:
    """The order of an epoch: `(batches, size)`, numbers of sentences; a function of its arguments alone.

    All sentences are shuffled. Then each POOL batches of them are sorted by length and cut into batches, so that a
    batch holds sentences of about one length, and all batches are shuffled. The last sentences are left out where
    `size` does not divide their number: other ones in each epoch.
    """
    random = np.random.default_rng((seed, epoch))
    order = random.permutation(len(lengths))
    order = order[: len(order) // size * size]
    if not bucketed:
        return order.reshape(-1, size)
    for first in range(0, len(order), POOL * size):
        pool = order[first : first + POOL * size]
        order[first : first + POOL * size] = pool[np.argsort(lengths[pool], kind="stable")]
    return random.permutation(order.reshape(-1, size))


def padding_share(lengths: np.ndarray, plan: np.ndarray) -> float:
    """Of all places in the batches of a plan, the share that holds padding."""
    used = lengths[plan]
    return 1.0 - used.sum() / (used.max(axis=1) * plan.shape[1]).sum()


def batches(
    args: argparse.Namespace, strategy: tf.distribute.Strategy, data: list[Encoded], first_step: int
) -> Iterator[tuple[tf.Tensor, ...]]:
    """Endless batches from step `first_step` on; each replica receives its rows of the global batch.

    Returns:
        An iterator over characters `(rows, steps)`, pairs `(rows, steps + 1)`, hints `(rows, steps, hint width)`, tags
        `(rows, steps)` and lengths `(rows,)`; `steps` is the longest sentence of the global batch.

    Raises:
        Stop: a batch is more than all sentences.
    """
    replicas, size = strategy.num_replicas_in_sync, args.batch_size
    share, lengths = size // replicas, np.array([len(item.tags) for item in data])
    if len(data) < size:
        raise Stop(f"--batch_size {size} is more than the {len(data)} training sentences", code=2)

    def pipeline(context: tf.distribute.InputContext) -> tf.data.Dataset:
        local = replicas // context.num_input_pipelines  # replicas that this process feeds
        offset = context.input_pipeline_id * local

        def generate():
            step, epoch, per_epoch = first_step, -1, len(data) // size
            while True:
                if step // per_epoch != epoch:
                    epoch = step // per_epoch
                    plan = epoch_of_batches(lengths, size, args.seed, epoch, args.bucketed)
                rows = plan[step % per_epoch]
                width = lengths[rows].max()
                for replica in range(offset, offset + local):
                    own = [data[row] for row in rows[replica * share : (replica + 1) * share]]
                    yield (
                        pad([item.characters for item in own], width),
                        pad([item.pairs for item in own], width + 1),
                        pad([item.hints for item in own], width),
                        pad([item.tags for item in own], width),
                        np.array([len(item.tags) for item in own], np.int32),
                    )
                step += 1

        table, wide = tf.TensorSpec((share, None), tf.int32), data[0].hints.shape[1]
        hints, row = tf.TensorSpec((share, None, wide)), tf.TensorSpec((share,), tf.int32)
        signature = (table, table, hints, table, row)
        return tf.data.Dataset.from_generator(generate, output_signature=signature).prefetch(8)

    return iter(strategy.distribute_datasets_from_function(pipeline))
