"""Batch normalization (Ioffe and Szegedy 2015, https://arxiv.org/abs/1502.03167): written out, by hand, and fast.

    python batch_norm.py      # compares the three forms with automatic differentiation and with Keras

First the layer as a page of formulas: statistics of the batch, the normalisation, its gradient by the chain rule, the
moving averages. Then `BatchNorm`, the layer that the network uses: the same numbers from one fused operation, or, on
several replicas, from statistics that all replicas share.

Every function takes features in the last axis: `(batch, height, width, features)` after a convolution, `(batch,
features)` after a dense layer. "Over the batch" means over all other axes, `m` numbers a feature.
"""

from __future__ import annotations

import numpy as np
from runner import guard, tf

EPSILON = 1e-3  # keeps the division finite where a feature is constant
MOMENTUM = 0.99  # of the moving averages: they remember about the last 1 / (1 - 0.99) = 100 batches


# ------------------------------------------------------------------------------------- the formulas, one by one
def batch_statistics(x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Mean and variance over the batch, `(features,)` each; the variance divides by m (algorithm 1)."""
    over = list(range(x.shape.rank - 1))
    mean = tf.reduce_mean(x, over)
    return mean, tf.reduce_mean(tf.square(x - mean), over)


def normalise(
    x: tf.Tensor,
    mean: tf.Tensor,
    variance: tf.Tensor,
    gamma: tf.Tensor,
    beta: tf.Tensor,
    epsilon: float = EPSILON,
) -> tf.Tensor:
    """`gamma * (x - mean) / sqrt(variance + epsilon) + beta`; the shape of `x` stays, the others are `(features,)`.

    In training `mean` and `variance` are those of the batch, in inference the moving averages.
    """
    return (x - mean) * (gamma * tf.math.rsqrt(variance + epsilon)) + beta


def batch_norm_gradient(
    dy: tf.Tensor, x: tf.Tensor, gamma: tf.Tensor, epsilon: float = EPSILON
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Gradients of the loss by `x`, `gamma` and `beta`, from `dy`, its gradient by the output (section 3).

    Each `x` reaches the loss by three ways: directly, and through the mean and the variance of its batch. So the
    gradient of one picture contains the others: the layer removes from it what only shifts or scales the whole batch.
    """
    over = list(range(x.shape.rank - 1))
    m = tf.cast(tf.size(x) / tf.size(gamma), x.dtype)
    mean, variance = batch_statistics(x)
    centred, scale = x - mean, tf.math.rsqrt(variance + epsilon)
    d_gamma = tf.reduce_sum(dy * centred * scale, over)
    d_beta = tf.reduce_sum(dy, over)
    d_normal = dy * gamma
    d_variance = tf.reduce_sum(d_normal * centred, over) * -0.5 * scale**3
    d_mean = -scale * tf.reduce_sum(d_normal, over) - 2.0 * d_variance * tf.reduce_mean(centred, over)
    d_x = d_normal * scale + d_variance * 2.0 * centred / m + d_mean / m
    return d_x, d_gamma, d_beta


def batch_norm_by_hand(
    x: tf.Tensor, gamma: tf.Tensor, beta: tf.Tensor, epsilon: float = EPSILON
) -> tf.Tensor:
    """The layer in training, with the gradient above in place of automatic differentiation."""

    @tf.custom_gradient
    def layer(x, gamma, beta):
        def gradient(dy):
            return batch_norm_gradient(dy, x, gamma, epsilon)

        return normalise(x, *batch_statistics(x), gamma, beta, epsilon), gradient

    return layer(x, gamma, beta)


def moved(average: tf.Tensor, value: tf.Tensor, momentum: float = MOMENTUM) -> tf.Tensor:
    """The moving average one batch later: `momentum * average + (1 - momentum) * value`."""
    return average - (1.0 - momentum) * (average - value)


# ------------------------------------------------------------------------------- the same, as the network uses it
def fused_batch_norm(
    x: tf.Tensor, gamma: tf.Tensor, beta: tf.Tensor, epsilon: float = EPSILON
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """The layer in training as one operation: output, mean, and the variance that divides by m - 1.

    It reads `x` twice (statistics, normalisation) and so does its gradient, where the formulas above, operation by
    operation, read and write arrays of that size a dozen times. At these sizes time is memory traffic.
    """
    dense = x.shape.rank == 2
    # The operation wants (batch, height, width, features).
    pixels = tf.reshape(x, [-1, 1, 1, x.shape[-1]]) if dense else x
    y, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
        x=pixels, scale=gamma, offset=beta, mean=[], variance=[], epsilon=epsilon, is_training=True
    )
    return (tf.reshape(y, tf.shape(x)) if dense else y), mean, variance


def shared_batch_norm(
    x: tf.Tensor, gamma: tf.Tensor, beta: tf.Tensor, epsilon: float = EPSILON
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """The layer in training with statistics over the batches of all replicas; returns what `fused_batch_norm` does.

    Two small all-reduces, `(features,)` each: first the mean, then the squared distances from it. TensorFlow
    differentiates through them, so that a gradient, too, contains the pictures of the other replicas.
    """
    over, context = list(range(x.shape.rank - 1)), tf.distribute.get_replica_context()
    mean = context.all_reduce("mean", tf.reduce_mean(x, over))
    variance = context.all_reduce("mean", tf.reduce_mean(tf.square(x - mean), over))
    m = tf.cast(tf.size(x) / tf.size(gamma), x.dtype) * context.num_replicas_in_sync
    return normalise(x, mean, variance, gamma, beta, epsilon), mean, variance * m / (m - 1.0)


class BatchNorm(tf.Module):
    """Batch normalization with its variables, for one replica or many.

    Args:
        features: size of the last axis.
        momentum: of the moving averages.
        epsilon: added to the variance.
        update_averages: False leaves the averages as they are, the classic mistake of 2018 programs.
    """

    def __init__(
        self,
        features: int,
        momentum: float = MOMENTUM,
        epsilon: float = EPSILON,
        update_averages: bool = True,
        name: str = "batch_norm",
    ):
        super().__init__(name=name)
        self.momentum, self.epsilon, self.update_averages = momentum, epsilon, update_averages
        self.gamma = tf.Variable(tf.ones([features]), name="gamma")
        self.beta = tf.Variable(tf.zeros([features]), name="beta")
        # Every replica computes the same averages from shared statistics, so the first one's may stand for all.
        own = {
            "trainable": False,
            "synchronization": tf.VariableSynchronization.ON_READ,
            "aggregation": tf.VariableAggregation.ONLY_FIRST_REPLICA,
        }
        self.moving_mean = tf.Variable(tf.zeros([features]), name="moving_mean", **own)
        self.moving_variance = tf.Variable(tf.ones([features]), name="moving_variance", **own)

    def __call__(self, x: tf.Tensor, training: bool) -> tf.Tensor:
        """Normalise `x` (features last, 2 or 4 axes, float32): with its own statistics in training, else the averages.

        In training the averages move, too. They take the variance that divides by m - 1, the unbiased estimate of
        what inference will meet (algorithm 2 of the paper; Keras takes the biased one).
        """
        if not training:
            return normalise(x, self.moving_mean, self.moving_variance, self.gamma, self.beta, self.epsilon)
        many = tf.distribute.get_strategy().num_replicas_in_sync > 1
        layer = shared_batch_norm if many else fused_batch_norm
        y, mean, variance = layer(x, self.gamma, self.beta, self.epsilon)
        if self.update_averages:
            self.moving_mean.assign(moved(self.moving_mean, mean, self.momentum))
            self.moving_variance.assign(moved(self.moving_variance, variance, self.momentum))
        return y


# ------------------------------------------------------------------------------------------------------- the comparison
def compare(shape: tuple[int, ...] = (100, 14, 14, 64), seed: int = 1) -> dict[str, dict[str, float]]:
    """Largest relative differences of each form from the formulas under automatic differentiation.

    Args:
        shape: of the input, features last.
        seed: of the random input, weights and output gradients.

    Returns:
        Per form: the differences of output, d_x, d_gamma and d_beta, each divided by the largest reference value.
    """
    import keras

    random = np.random.default_rng(seed)
    x = tf.constant(random.normal(3.0, 2.0, shape).astype(np.float32))
    dy = tf.constant(random.normal(size=shape).astype(np.float32))
    gamma, beta = (tf.Variable(random.normal(size=shape[-1]).astype(np.float32)) for _ in range(2))
    layer = keras.layers.BatchNormalization(epsilon=EPSILON)
    layer.build(shape)
    layer.gamma.assign(gamma)
    layer.beta.assign(beta)
    forms = {
        "automatic differentiation": (lambda: normalise(x, *batch_statistics(x), gamma, beta), [gamma, beta]),
        "gradient by hand": (lambda: batch_norm_by_hand(x, gamma, beta), [gamma, beta]),
        "fused operation": (lambda: fused_batch_norm(x, gamma, beta)[0], [gamma, beta]),
        "Keras": (lambda: layer(x, training=True), [layer.gamma.value, layer.beta.value]),
    }
    found = {}
    for name, (form, weights) in forms.items():
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = form()
        found[name] = [y.numpy(), *(g.numpy() for g in tape.gradient(y, [x, *weights], dy))]
    reference = found.pop("automatic differentiation")
    parts = ("output", "d_x", "d_gamma", "d_beta")
    return {
        name: {
            part: float(np.abs(v - r).max() / np.abs(r).max()) for part, v, r in zip(parts, values, reference)
        }
        for name, values in found.items()
    }


def main() -> None:
    print("Largest difference from automatic differentiation of the formulas, relative:")
    print(f"{'':<18}{'output':>10}{'d_x':>10}{'d_gamma':>10}{'d_beta':>10}")
    for name, row in compare().items():
        print(f"{name:<18}" + "".join(f"{value:>10.1e}" for value in row.values()))


if __name__ == "__main__":
    guard(main)
