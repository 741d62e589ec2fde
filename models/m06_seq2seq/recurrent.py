"""An LSTM layer for long batches on a processor: what need not wait for the previous step is one large product.

At each step an LSTM adds `x_t @ kernel` and `h_(t-1) @ recurrent`, of which only the second has to wait. So here the
first is one product over all steps, and the backward pass is written out: its loop holds one product a step, and the
gradients of both matrices are one product each after it. Everything is time-major, `(steps, rows, features)`.

Hochreiter and Schmidhuber 1997, with the forget gate of Gers et al. 2000.
"""

from __future__ import annotations

import tensorflow as tf
from layers import Seeds


def product(a: tf.Tensor, b: tf.Tensor, dtype: tf.DType) -> tf.Tensor:
    """`a @ b` for `a` (…, n) and a matrix `b`, both rounded to `dtype`; the result is float32."""
    flat = tf.reshape(a, [-1, a.shape[-1]])
    result = tf.cast(tf.matmul(tf.cast(flat, dtype), tf.cast(b, dtype)), tf.float32)
    return tf.reshape(result, tf.concat([tf.shape(a)[:-1], [result.shape[-1]]], 0))


def cell(z: tf.Tensor, c: tf.Tensor) -> tuple[tf.Tensor, ...]:
    """One step: `(rows, 4 units)` sums and the `(rows, units)` cell before → h, c, and the gates for the gradient."""
    i, f, g, o = tf.split(z, 4, axis=1)
    i, f, g, o = tf.sigmoid(i), tf.sigmoid(f), tf.tanh(g), tf.sigmoid(o)
    c = f * c + i * g
    return o * tf.tanh(c), c, tf.concat([i, f, g, o], 1)


def cell_gradient(gates: tf.Tensor, c: tf.Tensor, c_before: tf.Tensor, dh: tf.Tensor, dc: tf.Tensor):
    """The gradients of one step's sums, `(rows, 4 units)`, and of the cell before it, `(rows, units)`."""
    i, f, g, o = tf.split(gates, 4, axis=1)
    tanh_c = tf.tanh(c)
    dc += dh * o * (1.0 - tanh_c * tanh_c)
    dz = [
        dc * g * i * (1.0 - i),
        dc * c_before * f * (1.0 - f),
        dc * i * (1.0 - g * g),
        dh * tanh_c * o * (1.0 - o),
    ]
    return tf.concat(dz, 1), dc * f


def lstm(x: tf.Tensor, kernel, recurrent, bias, dtype: tf.DType = tf.float32) -> tf.Tensor:
    """A whole sequence from zero states.

    Args:
        x: `(steps, rows, features)` float32.
        kernel: `(features, 4 units)`; the gates in the order input, forget, candidate, output.
        recurrent: `(units, 4 units)`.
        bias: `(4 units,)`.
        dtype: of the factors of all products.

    Returns:
        The output of every step, `(steps, rows, units)`. Steps after step t have no influence on it.
    """

    @tf.custom_gradient
    def layer(x, kernel, recurrent, bias):
        steps, rows, units = tf.shape(x)[0], tf.shape(x)[1], recurrent.shape[0]
        low = tf.cast(recurrent, dtype)
        sums = tf.TensorArray(tf.float32, steps).unstack(product(x, kernel, dtype) + bias)
        zero = tf.zeros([rows, units])

        def forward(t, h, c, saved):
            h, c, gates = cell(sums.read(t) + product(h, low, dtype), c)
            return t + 1, h, c, [a.write(t, value) for a, value in zip(saved, (h, c, gates))]

        saved = [
            tf.TensorArray(tf.float32, steps, element_shape=[None, n]) for n in (units, units, 4 * units)
        ]
        *_, saved = tf.while_loop(
            lambda t, *_: t < steps, forward, (0, zero, zero, saved), maximum_iterations=steps
        )
        h_all, c_all, gates_all = (array.stack() for array in saved)

        def gradient(dh_all):
            before = lambda states: tf.concat([zero[None], states[:-1]], 0)
            read = [
                tf.TensorArray(tf.float32, steps, clear_after_read=False).unstack(values)
                for values in (gates_all, c_all, before(c_all), dh_all)
            ]

            # Laid out anew once: a product with `transpose_b=True` does so in every step. Not `tf.transpose`, which
            # TensorFlow would turn into just that.
            low_turned = tf.einsum("ij->ji", low)

            def backward(t, dh, dc, written):
                gates, c, c_before, d_output = (array.read(t) for array in read)
                dz, dc = cell_gradient(gates, c, c_before, dh + d_output, dc)
                return t - 1, product(dz, low_turned, dtype), dc, written.write(t, dz)

            written = tf.TensorArray(tf.float32, steps, element_shape=[None, 4 * units])
            *_, written = tf.while_loop(
                lambda t, *_: t >= 0, backward, (steps - 1, zero, zero, written), maximum_iterations=steps
            )
            dz = tf.reshape(written.stack(), [-1, 4 * units])
            flat = lambda values: tf.cast(tf.reshape(values, [-1, values.shape[-1]]), dtype)
            summed = lambda values: tf.cast(
                tf.matmul(flat(values), tf.cast(dz, dtype), transpose_a=True), tf.float32
            )
            dx = tf.reshape(product(dz, tf.einsum("ij->ji", kernel), dtype), tf.shape(x))
            # The sum of the rows as a product: faster than tf.reduce_sum.
            d_bias = tf.matmul(tf.ones([1, tf.shape(dz)[0]]), dz)[0]
            return dx, summed(x), summed(before(h_all)), d_bias

        return h_all, gradient

    return layer(x, *(tf.convert_to_tensor(weight) for weight in (kernel, recurrent, bias)))


class LSTM(tf.Module):
    """The weights of one layer; `(steps, rows, inputs)` → `(steps, rows, units)`."""

    def __init__(
        self, seeds: Seeds, inputs: int, units: int, dtype: tf.DType = tf.float32, name: str = "lstm"
    ):
        super().__init__(name)
        self.dtype = dtype
        spread = (2.0 / (inputs + units)) ** 0.5
        self.kernel = tf.Variable(seeds.normal([inputs, 4 * units], stddev=spread), name=f"{name}/kernel")
        spread = (1.0 / units) ** 0.5
        self.recurrent = tf.Variable(
            seeds.normal([units, 4 * units], stddev=spread), name=f"{name}/recurrent"
        )
        bias = tf.concat([tf.zeros([units]), tf.ones([units]), tf.zeros([2 * units])], 0)  # remember at first
        self.bias = tf.Variable(bias, name=f"{name}/bias")

    def __call__(self, x: tf.Tensor) -> tf.Tensor:
        return lstm(x, self.kernel, self.recurrent, self.bias, self.dtype)

    def step(self, x: tf.Tensor, h: tf.Tensor, c: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """One step from a state: `(rows, inputs)` and twice `(rows, units)` → the new h and c."""
        sums = product(x, self.kernel, self.dtype) + product(h, self.recurrent, self.dtype) + self.bias
        return cell(sums, c)[:2]
