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
        self.weight = tf.Variable(
            seeds.weights([kernel, kernel, outputs, inputs], fan_in), name=f"{name}/weight"
        )
        self.bias = tf.Variable(tf.zeros([outputs]), name=f"{name}/bias") if bias else None

    def __call__(self, x: tf.Tensor) -> tf.Tensor:
        shape = [tf.shape(x)[0], x.shape[1] * self.stride, x.shape[2] * self.stride, self.outputs]
        y = tf.nn.conv2d_transpose(x, tf.cast(self.weight, x.dtype), shape, self.stride, "SAME")
        return y if self.bias is None else tf.nn.bias_add(y, tf.cast(self.bias, x.dtype))


class BatchNorm(tf.Module):
    """Batch normalization over `(batch, h, w, channels)` (Ioffe and Szegedy 2015).

    In training: statistics of the global batch, and moving averages updated. In inference: the moving averages.
    One device uses TensorFlow's fused operation; several average their moments first. The moving variance takes the
    unbiased estimate n / (n - 1), as the fused operation does.
    """

    def __init__(
        self,
        seeds: Seeds,
        channels: int,
        momentum: float = 0.9,
        epsilon: float = 1e-5,
        name: str = "batch_norm",
    ):
        super().__init__(name)
        self.momentum, self.epsilon = momentum, epsilon
        self.gamma = tf.Variable(seeds.normal([channels], mean=1.0), name=f"{name}/gamma")
        self.beta = tf.Variable(tf.zeros([channels]), name=f"{name}/beta")
        # Every replica computes the same averages, so each keeps its own and the first one's are saved.
        local = {
            "trainable": False,
            "synchronization": tf.VariableSynchronization.ON_READ,
            "aggregation": tf.VariableAggregation.ONLY_FIRST_REPLICA,
        }
        self.moving_mean = tf.Variable(tf.zeros([channels]), name=f"{name}/moving_mean", **local)
        self.moving_variance = tf.Variable(tf.ones([channels]), name=f"{name}/moving_variance", **local)

    def __call__(self, x: tf.Tensor, training: bool) -> tf.Tensor:
        replicas = tf.distribute.get_replica_context().num_replicas_in_sync
        if training and replicas > 1:
            wide = tf.cast(x, tf.float32)
            mean = mean_over_replicas(tf.reduce_mean(wide, [0, 1, 2]))
            variance = mean_over_replicas(tf.reduce_mean(tf.square(wide - mean), [0, 1, 2]))
            y = (wide - mean) * tf.math.rsqrt(variance + self.epsilon) * self.gamma + self.beta
            y = tf.cast(y, x.dtype)
            count = tf.cast(tf.size(x[..., 0]) * replicas, tf.float32)
            unbiased = variance * count / (count - 1.0)
        else:
            y, mean, unbiased, *_ = tf.raw_ops.FusedBatchNormV3(
                x=x,
                scale=self.gamma,
                offset=self.beta,
                mean=[] if training else self.moving_mean,
                variance=[] if training else self.moving_variance,
                epsilon=self.epsilon,
                is_training=training,
            )
        if training:
            keep = self.momentum
            self.moving_mean.assign(keep * self.moving_mean + (1.0 - keep) * mean)
            self.moving_variance.assign(keep * self.moving_variance + (1.0 - keep) * unbiased)
        return y


def batch_spread(h: tf.Tensor) -> tf.Tensor:
    """`(batch, h, w, channels)` with one more channel that says how much the pictures of the global batch differ.

    The minibatch standard deviation of Karras et al. 2018: the standard deviation over the batch at each place and
    channel, averaged to one number. It lets a discriminator see that all generated pictures look alike.
    """
    wide = tf.cast(h, tf.float32)
    mean = mean_over_replicas(tf.reduce_mean(wide, 0))
    variance = mean_over_replicas(tf.reduce_mean(tf.square(wide - mean), 0))
    spread = tf.cast(tf.reduce_mean(tf.sqrt(variance + 1e-8)), h.dtype)
    return tf.concat([h, tf.zeros_like(h[..., :1]) + spread], axis=-1)


# ------------------------------------------------------------------------------------------------------- optimizers
def _slots(variables: Sequence[tf.Variable], kind: str, value: float = 0.0) -> list[tf.Variable]:
    name = lambda variable: variable.name.split(":")[0]
    return [
        tf.Variable(tf.fill(v.shape, value), trainable=False, name=f"{name(v)}/{kind}") for v in variables
    ]


class Adam(tf.Module):
    """Adam (Kingma and Ba 2015) by TensorFlow's fused operation: one pass over memory for each variable.

    Gradients are averaged over the replicas, so each replica's loss is a mean over its own rows.
    """

    def __init__(
        self,
        variables: Sequence[tf.Variable],
        learning_rate: float,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        name: str = "adam",
    ):
        super().__init__(name)
        self.targets = list(variables)
        self.learning_rate, self.beta_1, self.beta_2, self.epsilon = learning_rate, beta_1, beta_2, epsilon
        self.first, self.second = _slots(variables, "m"), _slots(variables, "v")
        self.count = tf.Variable(0, dtype=tf.int64, trainable=False, name=f"{name}/count")

    def apply(self, gradients: Sequence[tf.Tensor], scale: tf.Tensor | float = 1.0) -> None:
        """One update; `gradients` in the order of the variables, `scale` times the learning rate."""
        count = tf.raw_ops.AssignAddVariableOp(resource=self.count.handle, value=tf.constant(1, tf.int64))
        with tf.control_dependencies([count] if count is not None else []):
            power = tf.cast(self.count.read_value(), tf.float32)
        for variable, first, second, gradient in zip(
            self.targets, self.first, self.second, mean_over_replicas(list(gradients))
        ):
            tf.raw_ops.ResourceApplyAdam(
                var=variable.handle,
                m=first.handle,
                v=second.handle,
                beta1_power=tf.pow(self.beta_1, power),
                beta2_power=tf.pow(self.beta_2, power),
                lr=self.learning_rate * scale,
                beta1=self.beta_1,
                beta2=self.beta_2,
                epsilon=self.epsilon,
                grad=gradient,
            )


class RMSProp(tf.Module):
    """RMSProp (Hinton 2012) by TensorFlow's fused operation; the optimizer of the WGAN paper."""

    def __init__(
        self,
        variables: Sequence[tf.Variable],
        learning_rate: float,
        decay: float = 0.9,
        epsilon: float = 1e-10,
        name: str = "rmsprop",
    ):
        super().__init__(name)
        self.targets = list(variables)
        self.learning_rate, self.decay, self.epsilon = learning_rate, decay, epsilon
        # The mean square starts at 1, as in TensorFlow 1.x, so that the first updates are small.
        self.square, self.moment = _slots(variables, "mean_square", 1.0), _slots(variables, "momentum")

    def apply(self, gradients: Sequence[tf.Tensor], scale: tf.Tensor | float = 1.0) -> None:
        """One update; `gradients` in the order of the variables, `scale` times the learning rate."""
        for variable, square, moment, gradient in zip(
            self.targets, self.square, self.moment, mean_over_replicas(list(gradients))
        ):
            tf.raw_ops.ResourceApplyRMSProp(
                var=variable.handle,
                ms=square.handle,
                mom=moment.handle,
                lr=self.learning_rate * scale,
                rho=self.decay,
                momentum=0.0,
                epsilon=self.epsilon,
                grad=gradient,
            )


def copy_values(source: tf.Module, target: tf.Module) -> None:
    """Give one network the values of another of the same shape; outside a step."""
    for old, new in zip(source.variables, target.variables, strict=True):
        new.assign(old)


def follow(source: tf.Module, average: tf.Module, decay: float) -> None:
    """Move every value of `average`, a network of the same shape, towards `source`: a ← decay · a + (1 - decay) · s.

    The exponential moving average of a generator's weights wanders less than the generator does, and its pictures are
    better (Yazici et al. 2019). Within a step. Before drawing from `average`: `measure_statistics`.
    """
    for now, mean in zip(source.variables, average.variables, strict=True):
        value = decay * mean.read_value() + (1.0 - decay) * now.read_value()
        tf.raw_ops.AssignVariableOp(resource=mean.handle, value=value)


def measure_statistics(network: tf.Module, inputs: tf.Tensor) -> None:
    """Replace the moving averages in a network's batch normalization by the statistics of these inputs; outside a step.

    Averaged weights have statistics of their own: averages of other weights' statistics do not fit them (Brock et al.
    2019 measure them too, as "standing statistics"). `network` is called as `network(inputs, training=True)`.
    """
    norms = [module for module in network.submodules if isinstance(module, BatchNorm)]
    before = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 0.0
    network(inputs, training=True)
    for norm, momentum in zip(norms, before):
        norm.momentum = momentum
