"""The tagger: characters, their pairs and hints → embeddings → bidirectional LSTM → scores of the four tags → field."""

from __future__ import annotations

import crf
from layers import Seeds, noise_seed
from lstm import BiLSTM
from runner import tf
from text import UNKNOWN

TAGS = 4


class Tagger(tf.Module):
    """Scores of the tags B, M, E, S for each character, and what follows from them.

    Args:
        characters, pairs: sizes of the two vocabularies.
        hints: numbers that the lexicon gives for each character; 0 without one.
        width: of the embedding of a character, and of a pair.
        units: of the LSTM, in each direction.
        layers: LSTMs on top of one another.
        use_crf: a field over neighbouring tags; otherwise each character decides alone.
        dropout: share of the features left out in training, the same ones all along a sentence.
        pair_dropout: share of the pairs that training treats as unknown.
        seed: of the initial weights and of what is left out.
        compute: type of the factors of the large products, float32 or bfloat16.
    """

    def __init__(
        self,
        characters: int,
        pairs: int,
        hints: int = 0,
        width: int = 64,
        units: int = 128,
        layers: int = 1,
        use_crf: bool = True,
        dropout: float = 0.0,
        pair_dropout: float = 0.0,
        seed: int = 1,
        compute: tf.DType = tf.float32,
    ):
        super().__init__("tagger")
        seeds = Seeds(seed, network=5)
        self.seed, self.dropout, self.pair_dropout, self.compute = seed, dropout, pair_dropout, compute
        self.character_table = tf.Variable(seeds.normal([characters, width], stddev=0.3), name="characters")
        self.pair_table = tf.Variable(seeds.normal([pairs, width], stddev=0.3), name="pairs")
        widths = [3 * width + hints] + [2 * units] * (layers - 1)
        self.lstms = [
            BiLSTM(seeds, inputs, units, name=f"bilstm{k}") for k, inputs in enumerate(widths, start=1)
        ]
        self.out_kernel = tf.Variable(
            seeds.normal([2 * units, TAGS], stddev=(2 * units) ** -0.5), name="out/kernel"
        )
        self.out_bias = tf.Variable(tf.zeros([TAGS]), name="out/bias")
        self.field = None
        if use_crf:
            self.start = tf.Variable(tf.zeros([TAGS]), name="field/start")
            self.transitions = tf.Variable(tf.zeros([TAGS, TAGS]), name="field/transitions")
            self.end = tf.Variable(tf.zeros([TAGS]), name="field/end")
            self.field = crf.Field(self.start, self.transitions, self.end)

    def scores(
        self,
        characters: tf.Tensor,
        pairs: tf.Tensor,
        hints: tf.Tensor,
        lengths: tf.Tensor,
        step: tf.Tensor | None = None,
    ) -> tf.Tensor:
        """Scores of the tags, `(batch, steps, 4)`, zero behind the end of a sentence.

        Args:
            characters: `(batch, steps)` int32.
            pairs: `(batch, steps + 1)` int32; pair t is that of characters t - 1 and t.
            hints: `(batch, steps, hints)` float32.
            lengths: `(batch,)` int32.
            step: number of the training step, from which dropout draws; None leaves nothing out.
        """
        steps = tf.shape(characters)[1]
        mask = tf.cast(tf.range(steps)[:, None] < lengths, tf.float32)[:, :, None]  # (steps, batch, 1)
        if step is not None and self.pair_dropout:
            kept = self._uniform(tf.shape(pairs)[0], steps + 1, step, purpose=0) >= self.pair_dropout
            pairs = tf.where(kept, pairs, UNKNOWN)
        of_pairs = tf.gather(self.pair_table, crf.swap_axes(pairs))  # (steps + 1, batch, width)
        of_characters = tf.gather(self.character_table, crf.swap_axes(characters))
        hints = tf.transpose(hints, [1, 0, 2])
        x = tf.concat([of_characters, of_pairs[:-1], of_pairs[1:], hints], axis=2)  # (steps, batch, features)
        for number, layer in enumerate(self.lstms, start=1):
            x = layer(self._drop(x, step, number), mask, self.compute)  # (steps, batch, 2 * units)
        x = self._drop(x, step, len(self.lstms) + 1)
        scores = tf.tensordot(x, self.out_kernel, 1) + self.out_bias
        return tf.transpose(scores * mask, [1, 0, 2])

    def _drop(self, x: tf.Tensor, step: tf.Tensor | None, purpose: int) -> tf.Tensor:
        """Leave features of `(steps, batch, features)` out, the same at each step of a sentence (Gal 2016)."""
        if step is None or not self.dropout:
            return x
        kept = self._uniform(tf.shape(x)[1], x.shape[2], step, purpose) >= self.dropout
        return x * tf.cast(kept, x.dtype) / (1.0 - self.dropout)

    def _uniform(self, rows: tf.Tensor, columns: tf.Tensor | int, step: tf.Tensor, purpose: int) -> tf.Tensor:
        """Numbers from 0 to 1, `(rows, columns)`, that depend on (seed, step, purpose) and on nothing else.

        They are drawn for the global batch, of which each replica takes its rows.
        """
        context = tf.distribute.get_replica_context()
        key = noise_seed(self.seed, step, purpose)
        drawn = tf.random.stateless_uniform([rows * context.num_replicas_in_sync, columns], key)
        first = tf.cast(context.replica_id_in_sync_group, tf.int32) * rows
        return drawn[first : first + rows]

    def losses(self, scores: tf.Tensor, tags: tf.Tensor, lengths: tf.Tensor) -> tf.Tensor:
        """-log P(tags | text) of each sentence: `(batch,)`."""
        if self.field:
            return crf.negative_log_likelihood(scores, tags, lengths, self.field)
        each = tf.nn.sparse_softmax_cross_entropy_with_logits(tags, scores)
        return tf.reduce_sum(each * crf.mask_of(lengths, tf.shape(scores)[1]), axis=1)

    def decode(self, scores: tf.Tensor, lengths: tf.Tensor) -> tf.Tensor:
        """The best tags, `(batch, steps)` int32; those behind the end of a sentence mean nothing."""
        if self.field:
            return crf.viterbi(scores, lengths, self.field)
        return tf.argmax(scores, axis=2, output_type=tf.int32)
