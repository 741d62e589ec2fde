"""The network of the 2018 original, with and without batch normalization, and Adam."""

from __future__ import annotations

import math

from batch_norm import BatchNorm
from runner import tf

WIDTHS = (32, 64, 1024)  # features of the two convolutions and of the dense layer before the last


class Network(tf.Module):
    """Two convolutions of 5 × 5, each followed by a pooling, a dense layer, dropout, and ten scores.

    With batch normalization, a `BatchNorm` stands between each of the three layers and its ReLU, and the layer has no
    bias: the mean takes it away again, and `beta` does its work.

    Args:
        batch_norm: with or without.
        seed: of the initial weights.
        init_scale: factor on the standard deviation of the initial weights, sqrt(2 / inputs) of He et al. (2015).
        dropout: share of the 1,024 units that a training step leaves out.
        momentum: of the moving averages.
        update_averages: False is the classic mistake; see `BatchNorm`.
        compute: element type of convolutions and matrix products; the weights stay float32.
    """

    def __init__(
        self,
        batch_norm: bool = True,
        seed: int = 1,
        init_scale: float = 1.0,
        dropout: float = 0.5,
        momentum: float = 0.99,
        update_averages: bool = True,
        compute: tf.DType = tf.float32,
    ):
        super().__init__(name="network")
        self.batch_norm, self.dropout, self.seed, self.compute = batch_norm, dropout, seed, compute
        shapes = {
            "conv1": (5, 5, 1, WIDTHS[0]),
            "conv2": (5, 5, WIDTHS[0], WIDTHS[1]),
            "fc1": (7 * 7 * WIDTHS[1], WIDTHS[2]),
            "fc2": (WIDTHS[2], 10),
        }
        self.kernels, self.biases, self.norms = {}, {}, {}
        for number, (name, shape) in enumerate(shapes.items()):
            deviation = init_scale * math.sqrt(2.0 / math.prod(shape[:-1]))
            value = tf.random.stateless_truncated_normal(shape, (seed, number), stddev=deviation)
            self.kernels[name] = tf.Variable(value, name=f"{name}/kernel")
            if batch_norm and name != "fc2":
                self.norms[name] = BatchNorm(shape[-1], momentum, update_averages=update_averages, name=name)
            else:
                self.biases[name] = tf.Variable(tf.zeros(shape[-1:]), name=f"{name}/bias")

    def _product(self, operation, x: tf.Tensor, name: str) -> tf.Tensor:
        kernel = self.kernels[name]
        return tf.cast(operation(tf.cast(x, self.compute), tf.cast(kernel, self.compute)), tf.float32)

    def _convolution(self, x: tf.Tensor, name: str, training: bool) -> tf.Tensor:
        """Convolution, normalisation or bias, ReLU and 2 × 2 pooling: half the height and width.

        The maximum of four commutes with ReLU, and with adding the same bias to all four. So pooling comes first and
        leaves a quarter of the numbers to them. It does not commute with `gamma`, which may be negative.
        """
        x = self._product(lambda a, b: tf.nn.conv2d(a, b, strides=1, padding="SAME"), x, name)
        if self.batch_norm:
            return tf.nn.relu(pool(self.norms[name](x, training)))
        return tf.nn.relu(tf.nn.bias_add(pool(x), self.biases[name]))

    def __call__(self, images: tf.Tensor, training: bool = False, step: tf.Tensor | int = 0) -> tf.Tensor:
        """Scores of the ten digits, `(batch, 10)`.

        Args:
            images: `(batch, 28, 28, 1)` float32, 0 background and 1 ink.
            training: True takes the batch's statistics, moves the averages and leaves units out.
            step: number of the training step, from which dropout draws.
        """
        x = self._convolution(images, "conv1", training)  # (batch, 14, 14, 32)
        x = self._convolution(x, "conv2", training)  # (batch, 7, 7, 64)
        x = tf.reshape(x, [-1, 7 * 7 * WIDTHS[1]])
        x = self._product(dense, x, "fc1")  # (batch, 1024)
        x = self.norms["fc1"](x, training) if self.batch_norm else x + self.biases["fc1"]
        x = tf.nn.relu(x)
        if training and self.dropout:
            kept = uniform(tf.shape(x)[0], WIDTHS[2], self.seed, step, purpose=1) >= self.dropout
            x = tf.where(kept, x / (1.0 - self.dropout), 0.0)
        return self._product(dense, x, "fc2") + self.biases["fc2"]


@tf.custom_gradient
def dense(x: tf.Tensor, kernel: tf.Tensor):
    """`x @ kernel`, `(batch, inputs)` times `(inputs, outputs)`, with the gradient of `tf.matmul` written out.

    Only the gradient of `x` is another operation: `tf.matmul(…, transpose_b=True)`, which TensorFlow would take, needs
    twice as long on a processor.
    """

    def gradient(dy: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return tf.einsum("bo,io->bi", dy, kernel), tf.matmul(x, dy, transpose_a=True)

    return tf.matmul(x, kernel), gradient


def pool(x: tf.Tensor) -> tf.Tensor:
    """The largest of each 2 × 2 block: half the height and width."""
    return tf.nn.max_pool2d(x, ksize=2, strides=2, padding="VALID")


def uniform(rows: tf.Tensor, width: int, seed: int, step: tf.Tensor | int, purpose: int) -> tf.Tensor:
    """Random numbers from 0 to 1, `(rows, width)`, that depend on seed, step and purpose and on nothing else.

    They are drawn for the global batch, of which each replica takes its rows: so the number of replicas, or a restart
    in between, changes nothing.
    """
    context = tf.distribute.get_replica_context()
    key = tf.stack([tf.constant(seed, tf.int64), tf.cast(step, tf.int64) * 8 + purpose])
    drawn = tf.random.stateless_uniform([rows * context.num_replicas_in_sync, width], key)
    first = tf.cast(context.replica_id_in_sync_group, tf.int32) * rows
    return drawn[first : first + rows]


class Adam(tf.Module):
    """Adam (Kingma and Ba 2015, https://arxiv.org/abs/1412.6980) in TensorFlow's fused operation, one a weight.

    Args:
        weights: what it trains.
        beta1: decay of the mean of the gradients.
        beta2: decay of the mean of their squares.
        epsilon: added to the square root.
    """

    def __init__(self, weights, beta1: float = 0.9, beta2: float = 0.999, epsilon: float = 1e-7):
        super().__init__(name="adam")
        self.betas, self.epsilon = (beta1, beta2), epsilon
        self.weights = list(weights)
        self.means = [tf.Variable(tf.zeros_like(w), trainable=False, name="mean") for w in self.weights]
        self.squares = [tf.Variable(tf.zeros_like(w), trainable=False, name="square") for w in self.weights]

    def apply(self, gradients, step: tf.Tensor, learning_rate: tf.Tensor | float) -> None:
        """One update, on each replica alike: the mean of the replicas' gradients.

        Args:
            gradients: of the replica's mean loss, one a weight.
            step: 0 for the first update.
            learning_rate: step size.
        """
        context = tf.distribute.get_replica_context()
        if context.num_replicas_in_sync > 1:
            gradients = context.all_reduce("mean", list(gradients))
        done = tf.cast(step, tf.float32) + 1.0
        for weight, mean, square, gradient in zip(self.weights, self.means, self.squares, gradients):
            tf.raw_ops.ResourceApplyAdam(
                var=weight.handle,
                m=mean.handle,
                v=square.handle,
                beta1_power=tf.pow(self.betas[0], done),
                beta2_power=tf.pow(self.betas[1], done),
                lr=learning_rate,
                beta1=self.betas[0],
                beta2=self.betas[1],
                epsilon=self.epsilon,
                grad=gradient,
            )
