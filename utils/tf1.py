"""What a TensorFlow 1.x code base needs and TensorFlow 2.21 no longer has, written out from what is left.

- `VariableStore`: `variable_scope`, `get_variable` and `reuse` for eager code and `tf.function`, where
  `tf.compat.v1.get_variable` still runs but shares nothing. Reads TF 1.x checkpoints by name.
- `dense`, `conv2d`, `batch_normalization`, `dropout`: the functions of `tf.layers` for a `tf.Graph`, with the
  variable names they had, so that old checkpoints fit. `tf.compat.v1.layers` raises an error since Keras 3.
- `GRAPH_KEYS`: what took the place of each standard collection.

Lessons T_03 and T_12 show them at work.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

import tensorflow as tf

v1 = tf.compat.v1

# The names in tf.GraphKeys -> what took their place.
GRAPH_KEYS = {
    "TRAINABLE_VARIABLES": "model.trainable_variables",
    "GLOBAL_VARIABLES": "model.variables and optimizer.variables",
    "VARIABLES": "(the older name of GLOBAL_VARIABLES)",
    "MODEL_VARIABLES": "model.variables",
    "LOCAL_VARIABLES": "variables left out of the checkpoint",
    "METRIC_VARIABLES": "metric.variables, metric.reset_state()",
    "MOVING_AVERAGE_VARIABLES": "use_ema=True of a Keras optimizer",
    "GLOBAL_STEP": "optimizer.iterations",
    "EVAL_STEP": "a counter in your loop",
    "WEIGHTS": "layer.kernel",
    "BIASES": "layer.bias",
    "ACTIVATIONS": "layer.output of a functional model",
    "LOSSES": "what your loss function returns",
    "REGULARIZATION_LOSSES": "model.losses",
    "UPDATE_OPS": "assignments inside call(training=True)",
    "TRAIN_OP": "optimizer.apply in your step function",
    "SUMMARIES": "tf.summary.scalar, written at once",
    "SUMMARY_OP": "gone together with merge_all",
    "QUEUE_RUNNERS": "tf.data",
    "SAVERS": "tf.train.Checkpoint",
    "SAVEABLE_OBJECTS": "attributes of a tf.Module",
    "TABLE_INITIALIZERS": "a table is filled when it is made",
    "INIT_OP": "a variable has its value when it is made",
    "LOCAL_INIT_OP": "the same",
    "READY_OP": "nothing to wait for",
    "READY_FOR_LOCAL_INIT_OP": "nothing to wait for",
    "ASSET_FILEPATHS": "tf.saved_model.Asset",
    "RESOURCES": "the Python object owns its resource",
    "LOCAL_RESOURCES": "the Python object owns its resource",
    "CONCATENATED_VARIABLES": "tf.distribute",
    "TRAINABLE_RESOURCE_VARIABLES": "tf.distribute",
    "COND_CONTEXT": "Python's if inside tf.function",
    "WHILE_CONTEXT": "Python's while inside tf.function",
}


class VariableStore(tf.Module):
    """The registry behind `get_variable`: a dictionary from full name to variable.

    Give old code a store where it says `tf.get_variable` and `tf.variable_scope`:

        store = VariableStore()
        with store.variable_scope("net"):
            w = store.get_variable("w", [784, 10])      # called again with reuse: the same variable

    Unlike in TF 1.x, `reuse` starts as AUTO_REUSE: eager code runs again and again, and each run after the first
    means the variables that are there. A `tf.function` may make variables in its first call only (a rule of
    TensorFlow), so call a network once before it is traced for several shapes.

    Attributes:
        by_name: full name ("net/w", without ":0") -> `tf.Variable`, in the order of their making.
    """

    def __init__(self) -> None:
        super().__init__()
        self.by_name: dict[str, tf.Variable] = {}
        self._regularizers: dict[str, Callable] = {}
        self._prefix, self._reuse = "", v1.AUTO_REUSE

    @contextlib.contextmanager
    def variable_scope(self, name: str, reuse: object = None) -> Iterator[None]:
        """Put `name/` before the names inside. `reuse` is None (as the scope around), True, False or AUTO_REUSE."""
        outside = self._prefix, self._reuse
        self._prefix = f"{self._prefix}{name}/"
        if (
            reuse is not None and self._reuse is not True
        ):  # as in TF 1.x, reuse=True holds for all inner scopes
            self._reuse = reuse
        try:
            yield
        finally:
            self._prefix, self._reuse = outside

    def get_variable(
        self,
        name: str,
        shape: list[int] | None = None,
        dtype: tf.DType = tf.float32,
        initializer: object = None,
        regularizer: Callable | None = None,
        trainable: bool = True,
    ) -> tf.Variable:
        """Return the variable of this name in the present scope; make it when it is new.

        Args:
            name: without the scope's prefix.
            shape: may be left out when `initializer` is an array, and when the variable exists.
            dtype: of a new variable, unless `initializer` is an array.
            initializer: an array, or a function of shape and dtype; Glorot's uniform one by default, as in TF 1.x.
            regularizer: a function from the variable to a scalar, see `regularization_losses`.
            trainable: of a new variable.

        Raises:
            ValueError: the name is new under reuse=True, taken under reuse=False, or has another shape.
        """
        name = self._prefix + name
        known = self.by_name.get(name)
        if known is not None and self._reuse is False:
            raise ValueError(f"variable {name} exists already and the scope says reuse=False")
        if known is None and self._reuse is True:
            raise ValueError(f"variable {name} does not exist and the scope says reuse=True")
        if known is not None:
            if shape is not None and not known.shape.is_compatible_with(shape):
                raise ValueError(
                    f"variable {name} has shape {known.shape.as_list()}, asked for {list(shape)}"
                )
            return known
        if shape is None and (initializer is None or callable(initializer)):
            raise ValueError(f"variable {name} is new: give a shape, or an array as initializer")
        if callable(initializer) or initializer is None:
            initializer = (initializer or v1.glorot_uniform_initializer())(shape, dtype=dtype)
        self.by_name[name] = tf.Variable(initializer, name=name, trainable=trainable, shape=shape)
        if regularizer is not None:
            self._regularizers[name] = regularizer
        return self.by_name[name]

    def regularization_losses(self) -> list[tf.Tensor]:
        """The penalties of the present values, one scalar for each variable with a regularizer."""
        return [regularizer(self.by_name[name]) for name, regularizer in self._regularizers.items()]

    def restore(self, checkpoint: str) -> None:
        """Assign every variable the value that a TF 1.x checkpoint has under its name.

        Args:
            checkpoint: the path that `Saver.save` returned, without `.index`.

        Raises:
            ValueError: names are missing in the checkpoint, or a shape differs; nothing is assigned then.
        """
        stored = dict(tf.train.list_variables(checkpoint))
        missing = [name for name in self.by_name if name not in stored]
        if missing:
            raise ValueError(f"{checkpoint} has no {', '.join(missing)}. It has: {', '.join(stored)}")
        for name, variable in self.by_name.items():
            if stored[name] != variable.shape.as_list():
                raise ValueError(
                    f"{name} is {stored[name]} in {checkpoint}, the variable {variable.shape.as_list()}"
                )
        for name, variable in self.by_name.items():
            variable.assign(tf.train.load_variable(checkpoint, name))


def dense(
    inputs: tf.Tensor,
    units: int,
    activation: Callable | None = None,
    use_bias: bool = True,
    kernel_initializer: Callable | None = None,
    kernel_regularizer: Callable | None = None,
    name: str | None = None,
    reuse: object = None,
) -> tf.Tensor:
    """`tf.layers.dense`: (batch, features) -> (batch, units), with the variables name/kernel and name/bias."""
    with v1.variable_scope(name, default_name="dense", reuse=reuse):
        shape = [inputs.shape[-1], units]
        kernel = v1.get_variable(
            "kernel", shape, initializer=kernel_initializer, regularizer=kernel_regularizer
        )
        outputs = inputs @ kernel
        if use_bias:
            outputs += v1.get_variable("bias", [units], initializer=v1.zeros_initializer())
        return activation(outputs) if activation else outputs


def conv2d(
    inputs: tf.Tensor,
    filters: int,
    kernel_size: int,
    strides: int = 1,
    padding: str = "valid",
    activation: Callable | None = None,
    use_bias: bool = True,
    kernel_initializer: Callable | None = None,
    kernel_regularizer: Callable | None = None,
    name: str | None = None,
    reuse: object = None,
) -> tf.Tensor:
    """`tf.layers.conv2d`: (batch, height, width, channels) -> (batch, new height, new width, filters).

    Square kernels; the variables are name/kernel and name/bias.
    """
    with v1.variable_scope(name, default_name="conv2d", reuse=reuse):
        shape = [kernel_size, kernel_size, inputs.shape[-1], filters]
        kernel = v1.get_variable(
            "kernel", shape, initializer=kernel_initializer, regularizer=kernel_regularizer
        )
        outputs = tf.nn.conv2d(inputs, kernel, strides=strides, padding=padding.upper())
        if use_bias:
            outputs += v1.get_variable("bias", [filters], initializer=v1.zeros_initializer())
        return activation(outputs) if activation else outputs


def batch_normalization(
    inputs: tf.Tensor,
    momentum: float = 0.99,
    epsilon: float = 1e-3,
    training: bool | tf.Tensor = False,
    name: str | None = None,
    reuse: object = None,
) -> tf.Tensor:
    """`tf.layers.batch_normalization` over the last axis of (batch, ..., channels).

    The updates of the moving averages go to the collection UPDATE_OPS; running them is up to you.
    """
    with v1.variable_scope(name, default_name="batch_normalization", reuse=reuse):
        channels, ones, zeros = [inputs.shape[-1]], v1.ones_initializer(), v1.zeros_initializer()
        gamma = v1.get_variable("gamma", channels, initializer=ones)
        beta = v1.get_variable("beta", channels, initializer=zeros)
        moving_mean = v1.get_variable("moving_mean", channels, initializer=zeros, trainable=False)
        moving_variance = v1.get_variable("moving_variance", channels, initializer=ones, trainable=False)

        training = tf.convert_to_tensor(training)
        batch_mean, batch_variance = tf.nn.moments(inputs, axes=list(range(inputs.shape.rank - 1)))
        rate = tf.where(training, 1 - momentum, 0.0)  # at inference the averages stay
        for moving, of_batch in [(moving_mean, batch_mean), (moving_variance, batch_variance)]:
            update = v1.assign_sub(moving, rate * (moving - of_batch))
            v1.add_to_collection(v1.GraphKeys.UPDATE_OPS, update)

        mean = tf.where(training, batch_mean, moving_mean)
        variance = tf.where(training, batch_variance, moving_variance)
        return tf.nn.batch_normalization(inputs, mean, variance, beta, gamma, epsilon)


def dropout(
    inputs: tf.Tensor, rate: float = 0.5, seed: int | None = None, training: bool | tf.Tensor = False
) -> tf.Tensor:
    """`tf.layers.dropout`: in training zero a random part `rate` and scale the rest by 1 / (1 - rate)."""
    return tf.cond(
        tf.convert_to_tensor(training),
        lambda: tf.nn.dropout(inputs, rate, seed=seed),
        lambda: tf.identity(inputs),
    )
