"""Layers, optimizers and the averaged copy, written for speed on one device and exactness on several.

The same file stands in several model folders, so that each folder runs alone.

A layer computes in the type of its input: cast the input of a network to bfloat16 and its convolutions run in
bfloat16, with weights, batch statistics and optimizer in float32. Everything here works on one device, and inside
`strategy.run` on several, where statistics and gradients are taken over the global batch: N replicas then compute what
one process with the same global batch computes, up to rounding.
"""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf

# Grappler's fusion of a bias with a leaky ReLU fails with an error line in each training, and brings nothing here.
tf.config.optimizer.set_experimental_options({"remapping": False})


# ------------------------------------------------------------------------------------------ random, without a state
class Seeds:
    """Initial values that depend on (seed, network, position in the network) and on nothing else.

    Weights start from N(0, 0.02²) as in the DCGAN paper, or with `he=True` from N(0, 2 / fan-in) (He et al. 2015),
    which keeps the size of the activations from layer to layer where no batch normalization does it.
    """

    def __init__(self, seed: int, network: int, he: bool = False):
        self.seed, self.network, self.he, self.drawn = seed, network, he, 0

    def weights(self, shape: Sequence[int], fan_in: float) -> tf.Tensor:
        """Initial weights; `fan_in` is the number of inputs that one output sums up."""
        return self.normal(shape, stddev=(2.0 / fan_in) ** 0.5 if self.he else 0.02)

    def normal(self, shape: Sequence[int], mean: float = 0.0, stddev: float = 0.02) -> tf.Tensor:
        """N(mean, stddev²) of the given shape, float32; DCGAN's initialisation by default."""
        self.drawn += 1
        return tf.random.stateless_normal(
            shape, noise_seed(self.seed, self.drawn, self.network), mean, stddev
        )


def noise_seed(seed: int, step: tf.Tensor | int, purpose: int) -> tf.Tensor:
    """A seed for `tf.random.stateless_*`: (seed, step) with the purpose folded in, so that no two draws agree."""
    pair = tf.stack([tf.cast(seed, tf.int64), tf.cast(step, tf.int64)])
    return tf.random.experimental.stateless_fold_in(pair, tf.constant(purpose, tf.int64))


def rows_of_this_replica(rows: tf.Tensor) -> tf.Tensor:
    """This replica's share of a tensor `(global batch, …)`; all of it when there is one replica."""
    context = tf.distribute.get_replica_context()
    share = rows.shape[0] // context.num_replicas_in_sync
    first = tf.cast(context.replica_id_in_sync_group, tf.int32) * share
    return rows[first : first + share]


def mean_over_replicas(values):
    """The mean of a tensor, or of each in a list, over all replicas; differentiable."""
    context = tf.distribute.get_replica_context()
    return values if context.num_replicas_in_sync == 1 else context.all_reduce("MEAN", values)


# ----------------------------------------------------------------------------------------------------------- layers
class Dense(tf.Module):
    """`(batch, inputs)` → `(batch, outputs)`."""

    def __init__(self, seeds: Seeds, inputs: int, outputs: int, bias: bool = True, name: str = "dense"):
        super().__init__(name)
        self.weight = tf.Variable(seeds.weights([inputs, outputs], inputs), name=f"{name}/weight")
        self.bias = tf.Variable(tf.zeros([outputs]), name=f"{name}/bias") if bias else None

    def __call__(self, x: tf.Tensor) -> tf.Tensor:
        y = x @ tf.cast(self.weight, x.dtype)
        return y if self.bias is None else tf.nn.bias_add(y, tf.cast(self.bias, x.dtype))


class Conv(tf.Module):
    """Convolution, padding "SAME": `(batch, h, w, inputs)` → `(batch, h / stride, w / stride, outputs)`."""

    def __init__(
        self,
        seeds: Seeds,
        inputs: int,
        outputs: int,
        kernel: int = 5,
        stride: int = 2,
        bias: bool = True,
        name: str = "conv",
    ):
        super().__init__(name)
        self.stride = stride
        self.weight = tf.Variable(
            seeds.weights([kernel, kernel, inputs, outputs], kernel**2 * inputs), name=f"{name}/weight"
        )
        self.bias = tf.Variable(tf.zeros([outputs]), name=f"{name}/bias") if bias else None

    def __call__(self, x: tf.Tensor) -> tf.Tensor:
        y = tf.nn.conv2d(x, tf.cast(self.weight, x.dtype), self.stride, "SAME")
        return y if self.bias is None else tf.nn.bias_add(y, tf.cast(self.bias, x.dtype))


class Deconv(tf.Module):
    """Transposed convolution, padding "SAME": `(batch, h, w, inputs)` → `(batch, h · stride, w · stride, outputs)`."""

    def __init__(
        self,
        seeds: Seeds,
        inputs: int,
        outputs: int,
        kernel: int = 5,
        stride: int = 2,
        bias: bool = True,
        name: str = "deconv",
    ):
        super().__init__(name)
        self.stride, self.outputs = stride, outputs
        fan_in = kernel**2 * inputs / stride**2  # of the stretched input, one place in stride² is not zero
