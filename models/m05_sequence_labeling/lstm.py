"""A bidirectional LSTM for batches of sentences of different lengths, written for speed on a CPU.

Of the work of a step only the product of the last state with `recurrent` has to wait for the step before. So the
products with the input are one large product before the loop, and the gradients of all weights and of the input are
one product each after the loop of the backward pass, which is written out: automatic differentiation would put three
small products into each step. Behind the end of a sentence the states are held at zero, so padding reaches nothing.

Equations: Hochreiter and Schmidhuber 1997 with the forget gate of Gers et al. 2000. Time-major:
`(steps, batch, features)`.
"""

from __future__ import annotations

from layers import Seeds
from runner import tf


def matmul(a: tf.Tensor, b: tf.Tensor, dtype: tf.DType, **transpose: bool) -> tf.Tensor:
    """`a @ b` with both factors rounded to `dtype`, as float32."""
    return tf.cast(tf.matmul(tf.cast(a, dtype), tf.cast(b, dtype), **transpose), tf.float32)


def lstm(
    x: tf.Tensor,
    mask: tf.Tensor,
    kernel: tf.Tensor,
    recurrent: tf.Tensor,
    bias: tf.Tensor,
    backwards: bool = False,
    dtype: tf.DType = tf.float32,
) -> tf.Tensor:
    """One layer in one direction, from zero states.

    Args:
        x: `(steps, batch, features)` float32.
        mask: `(steps, batch, 1)` float32, 1 at the characters of a sentence and 0 behind its end.
        kernel: `(features, 4 * units)`; the gates in the order input, forget, output, candidate.
        recurrent: `(units, 4 * units)`.
        bias: `(4 * units,)`.
        backwards: read from the last step to the first.
        dtype: type of the factors of all products, float32 or bfloat16.

    Returns:
        The output of each step, zero behind the end of a sentence: `(steps, batch, units)` float32.
    """
    units = recurrent.shape[0]

    @tf.custom_gradient
    def layer(x, kernel, recurrent, bias):
        steps, batch = tf.shape(x)[0], tf.shape(x)[1]
        place = (
            (lambda t: steps - 1 - t) if backwards else (lambda t: t)
        )  # where the t-th step of the loop stands
        flat = tf.reshape(x, [-1, x.shape[2]])
        z = tf.reshape(matmul(flat, kernel, dtype) + bias, [steps, batch, 4 * units])
        z, masks = _array(steps).unstack(z), _array(steps).unstack(mask)
        low = tf.cast(recurrent, dtype)

        def forward(t, h, c, gates, cells, outputs):
            at = place(t)
            total = z.read(at) + matmul(h, low, dtype)
            ifo, g = tf.sigmoid(total[:, : 3 * units]), tf.tanh(total[:, 3 * units :])
            i, f, o = tf.split(ifo, 3, axis=1)
            c = (f * c + i * g) * masks.read(at)
            h = o * tf.tanh(c)
            gates = gates.write(at, tf.concat([ifo, g], axis=1))
            return t + 1, h, c, gates, cells.write(at, c), outputs.write(at, h)

        zero = tf.zeros([batch, units])
        kept = [_array(steps, 4 * units), _array(steps, units), _array(steps, units)]
        _, _, _, *kept = tf.while_loop(lambda t, *_: t < steps, forward, [0, zero, zero, *kept])
        gates, cells, outputs = (array.stack() for array in kept)

        def before(states):  # the state that each step started from
            none = tf.zeros_like(states[:1])
            return tf.concat([states[1:], none] if backwards else [none, states[:-1]], axis=0)

        def gradient(d_outputs):
            # All factors that do not depend on the later steps, for all steps at once.
            i, f, o, g = tf.split(gates, 4, axis=2)
            tanh_c = tf.tanh(cells)
            factors = [
                o * (1.0 - tanh_c * tanh_c),  # dc / dh
                g * i * (1.0 - i),  # d(input gate's sum) / dc
                before(cells) * f * (1.0 - f),
                tanh_c * o * (1.0 - o),  # d(output gate's sum) / dh
                i * (1.0 - g * g),
                f,  # dc before / dc
            ]
            factors = _array(steps).unstack(tf.concat(factors, axis=2) * mask)
            d_output = _array(steps).unstack(d_outputs)

            def backward(t, dh, dc, dz):
                at = place(t)
                c_by_h, i_by_c, f_by_c, o_by_h, g_by_c, c_by_c = tf.split(factors.read(at), 6, axis=1)
                dh += d_output.read(at)
                dc += dh * c_by_h
                d = tf.concat([dc * i_by_c, dc * f_by_c, dh * o_by_h, dc * g_by_c], axis=1)
                return t - 1, matmul(d, low, dtype, transpose_b=True), dc * c_by_c, dz.write(at, d)

            start = [steps - 1, zero, zero, _array(steps, 4 * units)]
            *_, dz = tf.while_loop(lambda t, *_: t >= 0, backward, start)
            dz = tf.reshape(dz.stack(), [-1, 4 * units])
            return (
                tf.reshape(matmul(dz, kernel, dtype, transpose_b=True), tf.shape(x)),
                matmul(flat, dz, dtype, transpose_a=True),
                matmul(tf.reshape(before(outputs), [-1, units]), dz, dtype, transpose_a=True),
                tf.reduce_sum(dz, axis=0),
            )

        return outputs, gradient

    return layer(x, tf.convert_to_tensor(kernel), tf.convert_to_tensor(recurrent), tf.convert_to_tensor(bias))


def _array(steps: tf.Tensor, width: int | None = None) -> tf.TensorArray:
    """Room for one tensor a step."""
    return tf.TensorArray(tf.float32, steps, element_shape=None if width is None else [None, width])


class BiLSTM(tf.Module):
    """Two LSTMs, one in each direction, their outputs side by side: `(steps, batch, 2 * units)`."""

    def __init__(self, seeds: Seeds, features: int, units: int, name: str = "bilstm"):
        super().__init__(name)
        self.weights = []
        forget = tf.concat(
            [tf.zeros(units), tf.ones(units), tf.zeros(2 * units)], axis=0
        )  # remembers at first
        for direction in ("forwards", "backwards"):
            kernel = seeds.normal([features, 4 * units], stddev=features**-0.5)
            recurrent = seeds.normal([units, 4 * units], stddev=0.5 * units**-0.5)
            named = {"kernel": kernel, "recurrent": recurrent, "bias": forget}
            self.weights.append([tf.Variable(v, name=f"{name}/{direction}/{k}") for k, v in named.items()])

    def __call__(self, x: tf.Tensor, mask: tf.Tensor, dtype: tf.DType = tf.float32) -> tf.Tensor:
        """`x` `(steps, batch, features)`, `mask` `(steps, batch, 1)`."""
        forwards = lstm(x, mask, *self.weights[0], dtype=dtype)
        backwards = lstm(x, mask, *self.weights[1], backwards=True, dtype=dtype)
        return tf.concat([forwards, backwards], axis=2)
