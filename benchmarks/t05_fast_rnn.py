"""LSTM and GRU layers written for speed: all that need not wait for the previous row is one large product.

A recurrent layer computes, for each of its steps, `x_t @ kernel + h_(t-1) @ recurrent`. Only the second product
has to wait for the step before. Automatic differentiation of the plain loop adds three more small products a step
in the backward pass. The layers here

- multiply the inputs of all steps by `kernel` in one product, before the loop;
- write the backward pass out, so that its loop holds one product a step (the gradient that flows to the step
  before) and the gradients of both weight matrices and of the input are one product each, after the loop;
- turn the recurrent matrix round once before the backward loop, not in each of its products;
- unroll the loop, because the number of steps is known;
- optionally feed the products with bfloat16 numbers (sums stay float32 in the hardware), which doubles their
  speed on processors that have such instructions.

A product of one step is too small for two cores: they spend more time on waiting for each other than they win. `Stack`
therefore cuts the batch into `parts`, whose loops have nothing to do with each other. With one part for each core, no
core waits before the gradients are added up.

Weights have the layout of `keras.layers.LSTM` and `keras.layers.GRU(reset_after=True)`, and equal results
(tests/test_t05.py). Everything here is time-major: `(steps, batch, features)`.

Equations: Hochreiter and Schmidhuber 1997 with the forget gate of Gers 2000 (LSTM); Cho 2014 in the form that
applies the reset gate after the product (GRU).
"""

from __future__ import annotations

from itertools import pairwise

import tensorflow as tf


def _matmul(a: tf.Tensor, b: tf.Tensor, dtype: tf.DType, **transpose: bool) -> tf.Tensor:
    """`a @ b` with both factors rounded to `dtype`, as float32."""
    return tf.cast(tf.matmul(tf.cast(a, dtype), tf.cast(b, dtype), **transpose), tf.float32)


def _all_steps(x: tf.Tensor, kernel: tf.Tensor, dtype: tf.DType) -> tf.Tensor:
    """`(steps, batch, features) @ kernel` as one product of `steps * batch` rows."""
    steps, batch, features = x.shape[0], tf.shape(x)[1], x.shape[2]
    flat = _matmul(tf.reshape(x, [-1, features]), kernel, dtype)
    return tf.reshape(flat, [steps, batch, flat.shape[1]])


def _turned(matrix: tf.Tensor) -> tf.Tensor:
    """The transposed matrix, laid out anew in memory.

    Not `tf.transpose`: TensorFlow would move that into every product, as `transpose_b=True`, which makes a small
    float32 product on a processor up to twice as slow (`t05_products`).
    """
    return tf.einsum("ij->ji", matrix)


def _sum_of_rows(x: tf.Tensor) -> tf.Tensor:
    """The sum over all but the last axis, as a product with ones: several times as fast as `tf.reduce_sum`."""
    x = tf.reshape(x, [-1, x.shape[-1]])
    return tf.matmul(tf.ones([1, tf.shape(x)[0]]), x)[0]


def _weight_gradient(x: tf.Tensor, dz: tf.Tensor, dtype: tf.DType) -> tf.Tensor:
    """Sum over all steps of `x_t^T @ dz_t`, as one product."""
    x, dz = tf.reshape(x, [-1, x.shape[2]]), tf.reshape(dz, [-1, dz.shape[2]])
    return _matmul(x, dz, dtype, transpose_a=True)


def _d_tanh(y: tf.Tensor, dy: tf.Tensor) -> tf.Tensor:
    """`dy * (1 - y²)`, the gradient by x where y = tanh(x), in one operation instead of three."""
    return tf.raw_ops.TanhGrad(y=y, dy=dy)


def _d_sigmoid(y: tf.Tensor, dy: tf.Tensor) -> tf.Tensor:
    """`dy * y * (1 - y)`, the gradient by x where y = sigmoid(x), in one operation instead of three."""
    return tf.raw_ops.SigmoidGrad(y=y, dy=dy)


def lstm_layer(
    x: tf.Tensor, kernel: tf.Tensor, recurrent: tf.Tensor, bias: tf.Tensor, dtype: tf.DType = tf.float32
) -> tf.Tensor:
    """One LSTM layer over a whole sequence, starting from zero states.

    Args:
        x: `(steps, batch, features)` float32; `steps` must be known when the graph is built.
        kernel: `(features, 4 * units)`, the gates in Keras' order: input, forget, candidate, output.
        recurrent: `(units, 4 * units)`.
        bias: `(4 * units,)`.
        dtype: the type of the factors of all products, float32 or bfloat16.

    Returns:
        The output of every step, `(steps, batch, units)` float32.
    """

    @tf.custom_gradient
    def layer(x, kernel, recurrent, bias):
        recurrent_low = tf.cast(recurrent, dtype)  # rounded once, not at every step
        units = recurrent.shape[0]
        inputs = tf.unstack(_all_steps(x, kernel, dtype) + bias)  # steps × (batch, 4 * units)
        h = c = None
        saved, outputs = [], []
        for z in inputs:
            if h is not None:
                z += _matmul(h, recurrent_low, dtype)
            i_f, g, o = tf.split(z, [2 * units, units, units], axis=1)
            i, f = tf.split(tf.sigmoid(i_f), 2, axis=1)  # one operation for two gates
            g, o = tf.tanh(g), tf.sigmoid(o)
            c_before = tf.zeros_like(g) if c is None else c
            c = f * c_before + i * g
            tanh_c = tf.tanh(c)
            h = o * tanh_c
            saved.append((i, f, g, o, c_before, tanh_c))
            outputs.append(h)
        outputs = tf.stack(outputs)

        def gradient(d_outputs):
            recurrent_turned = _turned(recurrent_low)
            dh_next, dc_next, dz_all = None, None, []
            for step, dh in reversed(list(enumerate(tf.unstack(d_outputs)))):
                i, f, g, o, c_before, tanh_c = saved[step]
                if dh_next is not None:
                    dh += dh_next
                dc = _d_tanh(tanh_c, dh * o)
                if dc_next is not None:
                    dc += dc_next
                dz = tf.concat(
                    [
                        _d_sigmoid(i, dc * g),
                        _d_sigmoid(f, dc * c_before),
                        _d_tanh(g, dc * i),
                        _d_sigmoid(o, dh * tanh_c),
                    ],
                    axis=1,
                )
                dz_all.append(dz)
                dh_next = _matmul(dz, recurrent_turned, dtype)
                dc_next = dc * f
            dz = tf.stack(dz_all[::-1])  # (steps, batch, 4 * units)
            return (
                _all_steps(dz, _turned(kernel), dtype),
                _weight_gradient(x, dz, dtype),
                _weight_gradient(outputs[:-1], dz[1:], dtype),  # the first step has no state before it
                _sum_of_rows(dz),
            )

        return outputs, gradient

    return layer(x, tf.convert_to_tensor(kernel), tf.convert_to_tensor(recurrent), tf.convert_to_tensor(bias))


def gru_layer(
    x: tf.Tensor, kernel: tf.Tensor, recurrent: tf.Tensor, bias: tf.Tensor, dtype: tf.DType = tf.float32
) -> tf.Tensor:
    """One GRU layer over a whole sequence, starting from a zero state.

    Args:
        x: `(steps, batch, features)` float32; `steps` must be known when the graph is built.
        kernel: `(features, 3 * units)`, the gates in Keras' order: update, reset, candidate.
        recurrent: `(units, 3 * units)`.
        bias: `(2, 3 * units)`, one row for the input's product and one for the state's.
        dtype: the type of the factors of all products, float32 or bfloat16.

    Returns:
        The output of every step, `(steps, batch, units)` float32.
    """

    @tf.custom_gradient
    def layer(x, kernel, recurrent, bias):
        recurrent_low = tf.cast(recurrent, dtype)
        units = recurrent.shape[0]
        inputs = tf.unstack(_all_steps(x, kernel, dtype) + bias[0])  # steps × (batch, 3 * units)
        h = tf.zeros_like(inputs[0][:, :units])
        saved, outputs = [], []
        for from_input in inputs:
            from_state = _matmul(h, recurrent_low, dtype) + bias[1]
            gates = tf.sigmoid(from_input[:, : 2 * units] + from_state[:, : 2 * units])
            z, r = tf.split(gates, 2, axis=1)
            from_state = from_state[:, 2 * units :]
            g = tf.tanh(from_input[:, 2 * units :] + r * from_state)
            h_before = h
            h = g + z * (h_before - g)
            saved.append((z, r, g, h_before, from_state))
            outputs.append(h)
        outputs = tf.stack(outputs)

        def gradient(d_outputs):
            recurrent_turned = _turned(recurrent_low)
            dh_next, d_input_all, d_state_all = None, [], []
            for step, dh in reversed(list(enumerate(tf.unstack(d_outputs)))):
                z, r, g, h_before, from_state = saved[step]
                if dh_next is not None:
                    dh += dh_next
                dg = _d_tanh(g, dh * (1.0 - z))
                dz = _d_sigmoid(z, dh * (h_before - g))
                dr = _d_sigmoid(r, dg * from_state)
                d_input_all.append(tf.concat([dz, dr, dg], axis=1))
                d_state = tf.concat([dz, dr, dg * r], axis=1)
                d_state_all.append(d_state)
                dh_next = dh * z + _matmul(d_state, recurrent_turned, dtype)
            d_input, d_state = tf.stack(d_input_all[::-1]), tf.stack(d_state_all[::-1])
            return (
                _all_steps(d_input, _turned(kernel), dtype),
                _weight_gradient(x, d_input, dtype),
                _weight_gradient(outputs[:-1], d_state[1:], dtype),
                tf.stack([_sum_of_rows(d_input), _sum_of_rows(d_state)]),
            )

        return outputs, gradient

    return layer(x, tf.convert_to_tensor(kernel), tf.convert_to_tensor(recurrent), tf.convert_to_tensor(bias))


class Stack(tf.Module):
    """Recurrent layers, one on the other, and a linear layer to ten scores.

    `kind` is "LSTM", "GRU" or "Bi-GRU". The first two are read at the last row; the bidirectional one is the mean
    of its outputs over all rows, forward and backward side by side. Initial values are those of Keras: Glorot
    uniform, orthogonal for the recurrent matrices, forget gate bias 1. The batch is computed in `parts` that do not
    wait for each other: one for each core is fastest on a processor.
    """

    def __init__(
        self,
        kind: str,
        layers: int,
        units: int,
        seed: int,
        features: int = 28,
        dtype: tf.DType = tf.float32,
        parts: int = 1,
    ):
        super().__init__()
        if kind not in ("LSTM", "GRU", "Bi-GRU"):
            raise ValueError(f'kind must be "LSTM", "GRU" or "Bi-GRU", not {kind!r}')
        import keras

        self.kind, self.dtype, self.parts = kind, dtype, parts
        directions, gates = (2 if kind == "Bi-GRU" else 1), (4 if kind == "LSTM" else 3)
        seeds = iter(range(1000 * seed, 1000 * seed + 100))
        glorot = lambda shape: keras.initializers.GlorotUniform(seed=next(seeds))(shape)
        orthogonal = lambda shape: keras.initializers.Orthogonal(seed=next(seeds))(shape)
        self.weights = []
        for layer in range(layers):
            width = features if layer == 0 else units * directions
            for _ in range(directions):
                bias = tf.zeros([2, gates * units])
                if kind == "LSTM":
                    bias = tf.concat([tf.zeros(units), tf.ones(units), tf.zeros(2 * units)], axis=0)
                initial = glorot((width, gates * units)), orthogonal((units, gates * units)), bias
                self.weights.append([tf.Variable(value) for value in initial])
        self.out_kernel = tf.Variable(glorot((units * directions, 10)))
        self.out_bias = tf.Variable(tf.zeros(10))

    def __call__(self, images: tf.Tensor, dropout: float = 0.0, seed: tf.Tensor | None = None) -> tf.Tensor:
        """Scores of a batch of images.

        Args:
            images: `(batch, 28, 28)` float32, 0 to 1.
            dropout: share of each layer's outputs set to zero, the same ones at every row of an image.
            seed: two integers that decide which ones; needed when `dropout` is above 0.

        Returns:
            Scores (logits), `(batch, 10)` float32.
        """
        batch = images.shape[0] or tf.shape(images)[0]
        cuts = [batch * part // self.parts for part in range(self.parts + 1)]
        weights = tf.nest.map_structure(tf.convert_to_tensor, self.weights)  # read once for all parts
        scores = [self._scores(images[a:b], weights, dropout, seed, (a, b, batch)) for a, b in pairwise(cuts)]
        return tf.concat(scores, axis=0)

    def _scores(self, images, weights, dropout, seed, place) -> tf.Tensor:
        """The scores of one part: the rows from `place[0]` to `place[1]` of a batch of `place[2]`."""
        x = tf.transpose(images, [1, 0, 2])  # (steps, batch, features)
        layer = lstm_layer if self.kind == "LSTM" else gru_layer
        directions = 2 if self.kind == "Bi-GRU" else 1
        for first in range(0, len(weights), directions):
            if directions == 1:
                x = layer(x, *weights[first], dtype=self.dtype)
            else:
                forward = layer(x, *weights[first], dtype=self.dtype)
                backward = layer(tf.reverse(x, [0]), *weights[first + 1], dtype=self.dtype)
                x = tf.concat([forward, tf.reverse(backward, [0])], axis=2)
            if dropout:
                start, end, batch = (
                    place  # every part draws for the whole batch, so that parts change no number
                )
                random = tf.random.stateless_uniform([batch, x.shape[2]], seed + [0, first])[start:end]
                x *= tf.cast(random >= dropout, tf.float32) / (1.0 - dropout)
        summary = tf.reduce_mean(x, axis=0) if directions == 2 else x[-1]  # (batch, units * directions)
        return tf.matmul(summary, self.out_kernel) + self.out_bias
