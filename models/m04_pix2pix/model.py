"""The two networks of pix2pix and their losses: a U-Net that draws, a PatchGAN that judges.

Isola, Zhu, Zhou, Efros, "Image-to-Image Translation with Conditional Adversarial Networks", 2017 (arXiv 1611.07004).
"""

from __future__ import annotations

from collections.abc import Sequence

import layers
import tensorflow as tf

KERNEL = 4
DROPPED = 3  # decoder layers with dropout, the innermost ones
KEEP = 0.5


class PictureNorm(tf.Module):
    """Normalise each channel of each picture by its own mean and variance, then scale and shift.

    This is what batch normalization does at batch 1, the paper's setting, and it is done at test time too. There are
    no moving averages, pictures of a batch do not influence each other, and a picture comes out the same alone, in a
    batch, on several replicas, in training, in test mode and in an export.

    Args:
        fused: use TensorFlow's fused operation; False writes the formula out, in operations that other runtimes have.
    """

    def __init__(self, seeds: layers.Seeds, channels: int, epsilon: float = 1e-5, name: str = "norm"):
        super().__init__(name)
        self.epsilon, self.fused = epsilon, True
        self.gamma = tf.Variable(seeds.normal([channels], mean=1.0), name=f"{name}/gamma")
        self.beta = tf.Variable(tf.zeros([channels]), name=f"{name}/beta")

    def __call__(self, x: tf.Tensor) -> tf.Tensor:
        """`(batch, h, w, channels)` → the same shape and type."""
        if not self.fused:
            mean = tf.reduce_mean(x, [1, 2], keepdims=True)
            variance = tf.reduce_mean(tf.square(x - mean), [1, 2], keepdims=True)
            return (x - mean) * (self.gamma / tf.sqrt(variance + self.epsilon)) + self.beta
        rows = [x] if x.shape[0] == 1 else tf.split(x, x.shape[0])
        rows = [
            tf.raw_ops.FusedBatchNormV3(
                x=row,
                scale=self.gamma,
                offset=self.beta,
                mean=[],
                variance=[],
                epsilon=self.epsilon,
                is_training=True,
            ).y
            for row in rows
        ]
        return rows[0] if len(rows) == 1 else tf.concat(rows, axis=0)


class Conv(tf.Module):
    """4×4 convolution: stride 2 halves the side; stride 1 with one pixel of padding takes one pixel off."""

    def __init__(
        self, seeds: layers.Seeds, inputs: int, outputs: int, stride: int, bias: bool, name: str = "conv"
    ):
        super().__init__(name)
        self.stride = stride
        self.weight = tf.Variable(seeds.normal([KERNEL, KERNEL, inputs, outputs]), name=f"{name}/weight")
        self.bias = tf.Variable(tf.zeros([outputs]), name=f"{name}/bias") if bias else None

    def __call__(self, x: tf.Tensor) -> tf.Tensor:
        padding = "SAME"  # of an even side at stride 2: one pixel on each side
        if self.stride == 1:
            x, padding = tf.pad(x, [[0, 0], [1, 1], [1, 1], [0, 0]]), "VALID"
        return _biased(tf.nn.conv2d(x, tf.cast(self.weight, x.dtype), self.stride, padding), self.bias)


class Deconv(tf.Module):
    """4×4 transposed convolution of stride 2: doubles the side."""

    def __init__(self, seeds: layers.Seeds, inputs: int, outputs: int, bias: bool, name: str = "deconv"):
        super().__init__(name)
        self.outputs = outputs
        self.weight = tf.Variable(seeds.normal([KERNEL, KERNEL, outputs, inputs]), name=f"{name}/weight")
        self.bias = tf.Variable(tf.zeros([outputs]), name=f"{name}/bias") if bias else None

    def __call__(self, x: tf.Tensor) -> tf.Tensor:
        shape = [x.shape[0], x.shape[1] * 2, x.shape[2] * 2, self.outputs]
        y = tf.nn.conv2d_transpose(x, tf.cast(self.weight, x.dtype), shape, 2, "SAME")
        return _biased(y, self.bias)


class SeparableConv(tf.Module):
    """A 4×4 filter for each channel, then a mixture of the channels: fewer weights than `Conv` (`--separable_conv`).

    Args:
        up: enlarge the picture twofold first (in place of `Deconv`); otherwise stride 2 (in place of `Conv`).
    """

    def __init__(
        self, seeds: layers.Seeds, inputs: int, outputs: int, up: bool, bias: bool, name: str = "separable"
    ):
        super().__init__(name)
        self.up = up
        self.filters = tf.Variable(seeds.normal([KERNEL, KERNEL, inputs, 1]), name=f"{name}/filters")
        self.mixture = tf.Variable(seeds.normal([1, 1, inputs, outputs]), name=f"{name}/mixture")
        self.bias = tf.Variable(tf.zeros([outputs]), name=f"{name}/bias") if bias else None

    def __call__(self, x: tf.Tensor) -> tf.Tensor:
        if self.up:
            x = tf.repeat(tf.repeat(x, 2, axis=1), 2, axis=2)
        stride = 1 if self.up else 2
        y = tf.nn.depthwise_conv2d(x, tf.cast(self.filters, x.dtype), [1, stride, stride, 1], "SAME")
        return _biased(tf.nn.conv2d(y, tf.cast(self.mixture, x.dtype), 1, "VALID"), self.bias)


def _biased(y: tf.Tensor, bias: tf.Variable | None) -> tf.Tensor:
    return y if bias is None else tf.nn.bias_add(y, tf.cast(bias, y.dtype))


def channels(args) -> tuple[int, int]:
    """Channels of an input and of an output: 3 and 3, or brightness (1) and colour (2) with `--lab_colorization`."""
    a, b = (1, 2) if args.lab_colorization else (3, 3)
    return (a, b) if args.which_direction == "AtoB" else (b, a)


def generator_widths(args) -> list[int]:
    """Channels after each halving of the side, down to 1×1: crop 256, ngf 64 gives 64, 128, 256, 512 five times."""
    return [args.ngf * min(2**level, 8) for level in range(args.crop.bit_length() - 1)]


class Generator(tf.Module):
    """U-Net: `(batch, crop, crop, in)` in [-1, 1] → `(batch, crop, crop, out)` in [-1, 1].

    Halves the side until one pixel is left, which sees all of the picture, and doubles it again. Each level of the way
    down is handed over to the same level of the way up (a skip), so that lines stay where they were.

    What normalising takes away is the mean of each channel over the picture, and with it what holds for the picture as
    a whole, like the colour of a coat. So layers of a side of at most `args.norm_above` are left alone. In the paper
    that is the 1×1 layer only: the mean of one pixel is the pixel, and nothing would be left. (The first code of the
    paper did normalise it; a later edition removed it.)
    """

    def __init__(self, args):
        super().__init__("generator")
        seeds = layers.Seeds(args.seed, network=0)
        inputs, outputs = channels(args)
        widths = generator_widths(args)
        last = len(widths) - 1

        def make(kind, level, inputs, outputs, bias):
            name = f"{kind}_{level + 1}"
            if args.separable_conv:
                return SeparableConv(seeds, inputs, outputs, kind == "up", bias, name)
            if kind == "up":
                return Deconv(seeds, inputs, outputs, bias, name)
            return Conv(seeds, inputs, outputs, 2, bias, name)

        # Before each level of the way down, and after the last: 256, 128 … 1.
        sides = [args.crop >> level for level in range(last + 2)]
        normed = [level > 0 and sides[level + 1] > args.norm_above for level in range(last + 1)]
        self.down = [
            make("down", level, fan, width, not norm)
            for level, (fan, width, norm) in enumerate(zip([inputs, *widths], widths, normed))
        ]
        self.down_norms = [
            PictureNorm(seeds, width, name=f"down_norm_{level + 1}") if norm else None
            for level, (width, norm) in enumerate(zip(widths, normed))
        ]
        # From the bottom up: level `last` makes 2×2 out of 1×1, level 0 makes the picture.
        levels = range(last, -1, -1)
        up_widths = [widths[level - 1] if level else outputs for level in levels]
        up_normed = [level > 0 and sides[level] > args.norm_above for level in levels]
        fans = [widths[level] * (1 if level == last else 2) for level in levels]  # twice: the skip comes too
        self.up = [
            make("up", level, fan, width, not norm)
            for level, fan, width, norm in zip(levels, fans, up_widths, up_normed)
        ]
        self.up_norms = [
            PictureNorm(seeds, width, name=f"up_norm_{level + 1}") if norm else None
            for level, width, norm in zip(levels, up_widths, up_normed)
        ]
        dropped = min(DROPPED, last)
        self.mask_shapes = [(2 ** (i + 1), 2 ** (i + 1), up_widths[i]) for i in range(dropped)]

    @property
    def noise_size(self) -> int:
        """How many values dropout decides about in one picture."""
        return sum(height * width * depth for height, width, depth in self.mask_shapes)

    def __call__(self, x: tf.Tensor, noise: tf.Tensor) -> tf.Tensor:
        """Draw.

        Args:
            x: `(batch, crop, crop, in)`; its type is the type of the convolutions.
            noise: `(batch, noise_size)` of 1 (keep) and 0 (drop), see `dropout_noise`.

        Returns:
            float32.
        """
        h, skips = x, []
        for level, (conv, norm) in enumerate(zip(self.down, self.down_norms)):
            h = conv(tf.nn.leaky_relu(h, 0.2) if level else h)  # side halves
            h = norm(h) if norm else h
            skips.append(h)
        skips.pop()
        sizes = [height * width * depth for height, width, depth in self.mask_shapes]
        masks = tf.split(tf.cast(noise, x.dtype), sizes, axis=1)
        for index, (deconv, norm) in enumerate(zip(self.up, self.up_norms)):
            h = tf.concat([h, skips.pop()], axis=3) if index else h
            h = deconv(tf.nn.relu(h))  # side doubles
            h = norm(h) if norm else h
            if index < len(masks):
                h *= tf.reshape(masks[index], [-1, *self.mask_shapes[index]]) / KEEP
        return tf.tanh(tf.cast(h, tf.float32))


class Discriminator(tf.Module):
    """PatchGAN: input and picture `(batch, crop, crop, …)` → logits `(batch, n, n)`; positive means "from the data".

    Each logit sees a patch of 70×70 pixels and judges it alone; crop 256 gives 30×30 of them. What lies further apart
    than a patch is left to the L1 loss.
    """

    def __init__(self, args):
        super().__init__("discriminator")
        seeds = layers.Seeds(args.seed, network=1)
        widths = [args.ndf * factor for factor in (1, 2, 4, 8)]
        strides = [2, 2, 2, 1]
        self.convs = [
            Conv(seeds, fan, width, stride, bias=index == 0, name=f"conv_{index + 1}")
            for index, (fan, width, stride) in enumerate(zip([sum(channels(args)), *widths], widths, strides))
        ]
        self.norms = [None] + [
            PictureNorm(seeds, width, name=f"norm_{i + 2}") for i, width in enumerate(widths[1:])
        ]
        self.judge = Conv(seeds, widths[-1], 1, 1, bias=True, name="judge")

    def __call__(self, inputs: tf.Tensor, picture: tf.Tensor) -> tf.Tensor:
        h = tf.concat([inputs, picture], axis=3)
        for conv, norm in zip(self.convs, self.norms):
            h = conv(h)
            h = tf.nn.leaky_relu(norm(h) if norm else h, 0.2)
        return tf.cast(self.judge(h), tf.float32)[..., 0]


# ---------------------------------------------------------------------------------------------- noise and losses
def dropout_noise(seed: int, numbers: Sequence[int] | tf.Tensor, size: int) -> tf.Tensor:
    """Which values dropout keeps: `(len(numbers), size)` float32 of 1 and 0, row i a function of (seed, numbers[i]).

    The noise of pix2pix: there is no latent vector, chance comes in by dropout, at test time too.
    """
    rows = [
        tf.random.stateless_uniform([size], layers.noise_seed(seed, number, 7)) < KEEP
        for number in (tf.unstack(numbers) if tf.is_tensor(numbers) else numbers)
    ]
    return tf.cast(tf.stack(rows), tf.float32)


def discriminator_loss(real: tf.Tensor, fake: tf.Tensor) -> tf.Tensor:
    """-log D(x, y) - log(1 - D(x, G(x))), mean over patches and pictures, from logits `(batch, n, n)`."""
    # -log sigmoid(a) = softplus(-a), and 1 - sigmoid(a) = sigmoid(-a)
    return tf.reduce_mean(tf.nn.softplus(-real)) + tf.reduce_mean(tf.nn.softplus(fake))


def gan_loss(fake: tf.Tensor) -> tf.Tensor:
    """-log D(x, G(x)), mean over patches and pictures, from logits `(batch, n, n)`."""
    return tf.reduce_mean(tf.nn.softplus(-fake))


def l1_loss(outputs: tf.Tensor, targets: tf.Tensor) -> tf.Tensor:
    """|y - G(x)|, mean over values; for pictures in [-1, 1], so twice the difference in [0, 1]."""
    return tf.reduce_mean(tf.abs(targets - outputs))
