"""The networks of wgan.py and wgan_gp.py: DCGAN's, and fully connected ones.

Neither critic ends in a sigmoid: a score is any number.
"""

import argparse
import itertools

import layers
import tensorflow as tf


def channels(size: int, width: int) -> list[int]:
    """Channels from the finest hidden layer to the 4×4 one: size 64, width 128 gives [128, 256, 512, 1024]."""
    return [width * 2**level for level in range(size.bit_length() - 3)]


class LayerNorm(tf.Module):
    """Layer normalization of `(batch, h, w, channels)`: each picture by its own mean and variance (Ba et al. 2016)."""

    def __init__(self, seeds: layers.Seeds, channels: int, name: str = "layer_norm"):
        super().__init__(name)
        self.gamma = tf.Variable(tf.ones([channels]), name=f"{name}/gamma")
        self.beta = tf.Variable(tf.zeros([channels]), name=f"{name}/beta")

    def __call__(self, x: tf.Tensor, training: bool) -> tf.Tensor:
        wide = tf.cast(x, tf.float32)
        mean, variance = tf.nn.moments(wide, [1, 2, 3], keepdims=True)  # (batch, 1, 1, 1)
        return tf.cast((wide - mean) * tf.math.rsqrt(variance + 1e-5) * self.gamma + self.beta, x.dtype)


NORMS = {"batch": layers.BatchNorm, "layer": LayerNorm, "none": lambda *_, **__: None}


class Generator(tf.Module):
    """`z` of shape `(batch, z_dim)` → pictures `(batch, size, size, 3)` in [-1, 1]; DCGAN's."""

    def __init__(self, args: argparse.Namespace):
        super().__init__("generator")
        seeds = layers.Seeds(args.seed, network=0, he=args.he)
        depths = channels(args.size, args.width_g)[::-1]  # 1024, 512, 256, 128 in the paper
        self.start = depths[0]
        self.project = layers.Dense(seeds, args.z_dim, 4 * 4 * depths[0], bias=False, name="project")
        self.norms = [layers.BatchNorm(seeds, depth, name=f"norm_{i}") for i, depth in enumerate(depths)]
        self.deconvs = [
            layers.Deconv(seeds, inputs, outputs, bias=outputs == 3, name=f"deconv_{i}")
            for i, (inputs, outputs) in enumerate(zip(depths, depths[1:] + [3]))
        ]

    def __call__(self, z: tf.Tensor, training: bool) -> tf.Tensor:
        h = tf.reshape(self.project(z), [-1, 4, 4, self.start])  # (batch, 4, 4, 1024)
        for norm, deconv in zip(self.norms, self.deconvs):
            h = deconv(tf.nn.relu(norm(h, training)))  # side doubles, channels halve
        return tf.tanh(tf.cast(h, tf.float32))  # (batch, 64, 64, 3)


class Critic(tf.Module):
    """Pictures `(batch, size, size, 3)` in [-1, 1] → scores `(batch,)`: DCGAN's discriminator, without its sigmoid."""

    def __init__(self, args: argparse.Namespace):
        super().__init__("critic")
        seeds = layers.Seeds(args.seed, network=1, he=args.he)
        depths = channels(args.size, args.width_d)
        self.norms = [None] + [
            NORMS[args.critic_norm](seeds, depth, name=f"norm_{i}") for i, depth in enumerate(depths[1:], 1)
        ]
        self.convs = [
            layers.Conv(seeds, inputs, outputs, bias=norm is None, name=f"conv_{i}")
            for i, (norm, inputs, outputs) in enumerate(zip(self.norms, [3] + depths, depths))
        ]
        self.judge = layers.Dense(seeds, 4 * 4 * depths[-1], 1, name="judge")

    def __call__(self, x: tf.Tensor) -> tf.Tensor:
        h = x
        for conv, norm in zip(self.convs, self.norms):
            h = conv(h)  # side halves, channels double
            h = tf.nn.leaky_relu(h if norm is None else norm(h, training=True), 0.2)
        h = tf.reshape(h, [-1, self.judge.weight.shape[0]])
        return tf.cast(self.judge(h), tf.float32)[:, 0]  # (batch,)


class MLP(tf.Module):
    """`(batch, inputs)` → `(batch, outputs)` through four hidden layers of 512 ReLUs, as in the paper's figure 3."""

    def __init__(self, seeds: layers.Seeds, inputs: int, outputs: int):
        super().__init__("mlp")
        sizes = [inputs, 512, 512, 512, 512, outputs]
        self.layers = [
            layers.Dense(seeds, before, after, name=f"dense_{i}")
            for i, (before, after) in enumerate(itertools.pairwise(sizes))
        ]

    def __call__(self, h: tf.Tensor) -> tf.Tensor:
        for dense in self.layers[:-1]:
            h = tf.nn.relu(dense(h))  # (batch, 512)
        return tf.cast(self.layers[-1](h), tf.float32)


class MLPGenerator(tf.Module):
    """`z` of shape `(batch, z_dim)` → pictures `(batch, size, size, 3)` in [-1, 1], without convolutions."""

    def __init__(self, args: argparse.Namespace):
        super().__init__("generator")
        self.shape = [-1, args.size, args.size, 3]
        self.mlp = MLP(layers.Seeds(args.seed, network=0, he=True), args.z_dim, 3 * args.size**2)

    def __call__(self, z: tf.Tensor, training: bool) -> tf.Tensor:
        return tf.tanh(tf.reshape(self.mlp(z), self.shape))  # (batch, 64, 64, 3)


class MLPCritic(tf.Module):
    """Pictures `(batch, size, size, 3)` in [-1, 1] → scores `(batch,)`, without convolutions."""

    def __init__(self, args: argparse.Namespace):
        super().__init__("critic")
        self.mlp = MLP(layers.Seeds(args.seed, network=1, he=True), 3 * args.size**2, 1)

    def __call__(self, x: tf.Tensor) -> tf.Tensor:
        return self.mlp(tf.reshape(x, [-1, x.shape[1] * x.shape[2] * x.shape[3]]))[:, 0]  # (batch,)


def make_generator(args: argparse.Namespace) -> tf.Module:
    """The generator that `--arch` names."""
    return MLPGenerator(args) if args.arch == "mlp" else Generator(args)


def make_critic(args: argparse.Namespace) -> tf.Module:
    """The critic that `--arch` names."""
    return MLPCritic(args) if args.arch == "mlp" else Critic(args)
