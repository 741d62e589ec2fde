# %% [markdown]
# # T_12 Layers
#
# **Question**: what do the layers of Keras compute, how do you write your own, and what became of `tf.layers`?
#
# **After this lesson you can**
# 1. choose an initialiser, and compute by hand what Dense, Conv2D, Conv2DTranspose, BatchNormalization and Dropout do;
# 2. build a model in three styles, write a layer of your own, and train with `fit` or with a loop of your own;
# 3. carry a program that used `tf.layers` over to Keras 3, layer by layer.
#
# **Read before**: [T_04](T_04_cnn_mnist.ipynb) for convolution, [T_03](T_03_variable_naming.ipynb) for collections.
#
# **Time**: 1.3 minutes on a two-core CPU, from a measured run.

# %%
import inspect
import json
import os
import tempfile

from utils.lesson import RESULTS, quiet_start, report, save_figure

quiet_start()  # TensorFlow without its start-up messages
import keras
import matplotlib.pyplot as plt
import numpy as np
import tensorflow as tf
from keras import layers

from utils import tf1
from utils.mnist import load_mnist

print("TensorFlow", tf.__version__, "· Keras", keras.__version__)

# %%
QUICK = os.environ.get("TUTORIAL_QUICK") == "1"
SEED = int(os.environ.get("TUTORIAL_SEED", "1"))  # benchmarks.seeds runs others
BATCH = 100
STEPS = 30 if QUICK else 2000  # of the CNN: 3.6 passes over the training images
LEARNING_RATE = 1e-3  # at the start; a cosine takes it down to zero
DROPOUT = 0.5  # part of the 1,024 units that is silent in each training step
SMALL = 1000 if QUICK else 5000  # images for the comparison of fit with an own loop
MIN_ACCURACY = 0.6 if QUICK else 0.99  # of the CNN on the test images; three seeds are reported below

keras.utils.set_random_seed(SEED)
random = np.random.default_rng(SEED)

# %% [markdown]
# ## Initialisers
# A layer's weights must start somewhere: not all equal, or all units would learn the same; not too large and not too
# small, or the signal grows or dies from layer to layer. For a matrix from $n$ inputs to $m$ outputs, Glorot's
# uniform initialiser (the default) uses the range $\pm\sqrt{6/(n+m)}$ and He's has the standard deviation
# $\sqrt{2/n}$, which makes up for ReLU setting half of the units to zero. A truncated normal distribution redraws
# what lies beyond two deviations; 0.88 of the deviation is left.

# %%
init = keras.initializers
INPUTS, OUTPUTS = 400, 100
shown = {
    "RandomNormal(stddev=0.05)": (init.RandomNormal(stddev=0.05), 0.05),
    "TruncatedNormal(stddev=0.05)": (init.TruncatedNormal(stddev=0.05), 0.88 * 0.05),
    "RandomUniform(-0.05, 0.05)": (init.RandomUniform(-0.05, 0.05), 0.05 / np.sqrt(3)),
    "GlorotUniform()": (init.GlorotUniform(), np.sqrt(2 / (INPUTS + OUTPUTS))),
    "HeNormal()": (init.HeNormal(), np.sqrt(2 / INPUTS)),
    "Orthogonal()": (init.Orthogonal(), np.sqrt(1 / INPUTS)),
}
figure, axes = plt.subplots(2, 3, figsize=(10, 5), layout="constrained")
for axis, (name, (initializer, expected)) in zip(axes.flat, shown.items()):
    weights = np.array(initializer([INPUTS, OUTPUTS])).ravel()
    print(f"{name:<29} standard deviation {weights.std():.4f}, by formula {expected:.4f}")
    assert abs(weights.std() / expected - 1) < 0.02
    axis.hist(weights, bins=60, range=(-0.25, 0.25), color="tab:blue")
    axis.set_title(name, fontsize=10)
    axis.set(xlabel="weight", ylabel="count")
save_figure(figure, "T_12_initialisers.png")

# %% [markdown]
# Does it matter? Send a signal through many layers and watch its strength.

# %%
DEPTH = 30
makers = {
    "RandomNormal(stddev=0.2)": lambda: init.RandomNormal(stddev=0.2),
    "HeNormal()": init.HeNormal,
    "GlorotUniform()": init.GlorotUniform,
    "RandomNormal(stddev=0.05)": init.RandomNormal,
}
figure, axis = plt.subplots(figsize=(7, 3.6), layout="constrained")
for name, make in makers.items():
    x, strength = tf.random.normal([1000, 200]), []
    for _ in range(DEPTH):
        x = tf.nn.relu(x @ make()([200, 200]))  # (1000, 200)
        strength.append(np.std(x))
    axis.semilogy(range(1, DEPTH + 1), strength, "o-", ms=3, label=name)
axis.set(title="A signal through ReLU layers of 200 units", xlabel="layer", ylabel="standard deviation")
axis.legend(fontsize=8)
save_figure(figure, "T_12_signal.png")

# %% [markdown]
# With He's initialiser the signal is about as strong at layer 30 as at layer 1. Glorot's was made for `tanh`; under
# ReLU the signal loses half of its power in each layer. A fixed deviation fits one width only.
#
# One trap: in Keras 3 an initialiser *object* gives the same numbers at each call. Two layers of one shape that share
# the object start equal. Write the name, or make an object for each layer.

# %%
for label, choice in [("one object HeNormal()", init.HeNormal()), ('the name "he_normal"', "he_normal")]:
    pair = [layers.Dense(3, kernel_initializer=choice) for _ in range(2)]
    for layer in pair:
        layer.build([None, 4])
    equal = np.array_equal(pair[0].kernel, pair[1].kernel)
    print(f"two layers, {label}: the same weights? {equal}")
    assert equal == (choice != "he_normal")

# %% [markdown]
# ## Dense
# `x @ kernel + bias`, then the activation. It works on the last axis; all axes before it are kept.

# %%
x = random.normal(size=(2, 3, 4)).astype(np.float32)
dense = layers.Dense(5, activation="relu")
y = dense(x)  # (2, 3, 4) -> (2, 3, 5)
by_hand = np.maximum(x @ dense.kernel.numpy() + dense.bias.numpy(), 0)
print("shape", y.shape, "parameters", dense.count_params(), "= 4 · 5 + 5")
np.testing.assert_allclose(y, by_hand, atol=1e-6)

# %% [markdown]
# ## Conv2D and Conv2DTranspose: shapes
# A convolution with kernel $k$ and stride $s$ makes from $n$ pixels in a row $\lceil (n-k+1)/s \rceil$ with padding
# `valid` and $\lceil n/s \rceil$ with `same`. A *transposed* convolution goes back: each input pixel puts a copy of the
# kernel, times its value, into the output, $s$ pixels apart. That makes $(n-1)s + \max(k, s)$ and $n s$ pixels.

# %%
image = np.ones([1, 7, 7, 1], np.float32)
print(
    "from 7 pixels          Conv2D            Conv2DTranspose\n               valid   same     valid   same"
)
for k, s in [(3, 1), (3, 2), (4, 2), (5, 3)]:
    sizes = [layer(1, k, strides=s, padding=padding)(image).shape[1]
             for layer in (layers.Conv2D, layers.Conv2DTranspose) for padding in ("valid", "same")]  # fmt: skip
    print(f"kernel {k} stride {s} {sizes[0]:>5} {sizes[1]:>6} {sizes[2]:>9} {sizes[3]:>6}")
    assert sizes == [-((7 - k + 1) // -s), -(7 // -s), 6 * s + max(k, s), 7 * s]

# %% [markdown]
# Why "transposed"? Its matrix is the transposed matrix of the convolution, so it is the convolution's *gradient*.

# %%
kernel = random.normal(size=(3, 3, 1, 1)).astype(np.float32)
small = random.normal(size=(1, 4, 4, 1)).astype(np.float32)
with tf.GradientTape() as tape:
    large = tf.Variable(tf.zeros([1, 8, 8, 1]))
    convolved = tf.nn.conv2d(large, kernel, strides=2, padding="SAME")  # (1, 8, 8, 1) -> (1, 4, 4, 1)
gradient = tape.gradient(convolved, large, output_gradients=small)
transposed = tf.nn.conv2d_transpose(small, kernel, [1, 8, 8, 1], strides=2, padding="SAME")
tf.debugging.assert_near(gradient, transposed)
print("the transposed convolution equals the gradient of the convolution:", transposed.shape)

# %% [markdown]
# ### The checkerboard
# Where copies of the kernel overlap, the output adds up. With kernel 3 and stride 2 the overlap is uneven: 1, 2, 1, 2
# copies in a row, and 4 where both directions overlap. Networks that draw pictures show this as a checkerboard. A
# kernel that the stride divides covers every pixel equally often; so does enlarging the picture first and then
# convolving. We enlarge a digit with kernels of equal entries, so that nothing but the overlap is seen.

# %%
mnist = load_mnist()
digit = mnist.test.images[:1, :, :, None] / np.float32(255)  # (1, 28, 28, 1)
flat = 0.4 + 0.6 * digit  # grey background: the pattern shows there as well
ways = {f"Conv2DTranspose, kernel {k}, stride 2": layers.Conv2DTranspose(
            1, k, strides=2, padding="same", kernel_initializer="ones") for k in (2, 3, 4)}  # fmt: skip
ways["UpSampling2D, then Conv2D, kernel 3"] = keras.Sequential(
    [layers.UpSampling2D(2), layers.Conv2D(1, 3, padding="same", kernel_initializer="ones")]
)
figure, axes = plt.subplots(1, 4, figsize=(13, 3.6), layout="constrained")
for axis, (name, layer) in zip(axes, ways.items()):
    enlarged = layer(flat)[0, :, :, 0].numpy()  # (56, 56)
    copies = layer(np.ones_like(flat))[0, 8:12, 8:12, 0].numpy()
    print(f"{name:<37} copies that reach a pixel: {sorted({int(c) for c in copies.ravel()})}")
    axis.imshow(enlarged[2:-2, 2:-2], cmap="gray")
    axis.set(title=name, xlabel="column", ylabel="row", xticks=[], yticks=[])
    axis.title.set_fontsize(9)
save_figure(figure, "T_12_checkerboard.png")

# %% [markdown]
# Kernel 3 paints its grid over the empty background too, where the input is perfectly even. Training can learn weights
# that hide the grid, but it has to work against the layer.
#
# ## BatchNormalization: training against inference
# In training each channel is normalised with the mean and variance of *this batch*, then scaled by $\gamma$ and shifted
# by $\beta$, and the running averages move a step of `1 - momentum` towards the batch. At inference the averages take
# the batch's place, so that an image's result does not depend on its neighbours. Compare the layer with NumPy:

# %%
x = np.array([[1.0, 10.0], [3.0, 30.0], [5.0, 80.0]], np.float32)  # (batch 3, channels 2)
norm = layers.BatchNormalization(momentum=0.9, epsilon=1e-3)
in_training = norm(x, training=True)
at_inference = norm(x, training=False)

mean, variance = x.mean(axis=0), x.var(axis=0)
moving_mean, moving_variance = 0.9 * 0 + 0.1 * mean, 0.9 * 1 + 0.1 * variance
print("mean of the batch", mean, "  moving mean after one step", norm.moving_mean.numpy())
print("in training, by hand\n", (x - mean) / np.sqrt(variance + 1e-3))
np.testing.assert_allclose(in_training, (x - mean) / np.sqrt(variance + 1e-3), rtol=1e-4)
np.testing.assert_allclose(norm.moving_variance, moving_variance, rtol=1e-5)
np.testing.assert_allclose(at_inference, (x - moving_mean) / np.sqrt(moving_variance + 1e-3), rtol=1e-4)
norm.trainable = False  # a frozen layer uses its averages, even when told to train
np.testing.assert_array_equal(norm(x, training=True), at_inference)

# %% [markdown]
# ## Dropout
# In training each value is set to zero with probability `rate`, and the others are divided by `1 - rate`, so that the
# mean stays. At inference nothing happens.

# %%
ones = np.ones([1000, 100], np.float32)
dropped = layers.Dropout(0.25, seed=SEED)(ones, training=True).numpy()
print(f"values {np.unique(dropped)}, zeros {np.mean(dropped == 0):.3f}, mean {dropped.mean():.3f}")
assert np.array_equal(layers.Dropout(0.25)(ones, training=False), ones) and abs(dropped.mean() - 1) < 0.01

# %% [markdown]
# ## Regularisers
# A penalty on the weights goes into `layer.losses`; `fit` adds it to the loss. L1 pushes weights to exactly zero, L2
# makes all of them small.

# %%
regularized = keras.Sequential(
    [keras.Input([4]), layers.Dense(3, kernel_regularizer=keras.regularizers.L1L2(l1=0.01, l2=0.02))]
)
w = regularized.layers[0].kernel.numpy()
regularized.compile(loss="mse")
x, y = random.normal(size=(8, 4)).astype(np.float32), np.zeros((8, 3), np.float32)
by_hand = np.mean(regularized(x) ** 2) + 0.01 * np.abs(w).sum() + 0.02 * (w**2).sum()
total = regularized.evaluate(x, y, verbose=0)
print(f"penalty {float(regularized.losses[0]):.5f}, loss with penalty {total:.5f}, by hand {by_hand:.5f}")
np.testing.assert_allclose(total, by_hand, rtol=1e-5)

# %% [markdown]
# ## Models: functional and subclassed
# `Sequential` is a chain. When a network branches, call layers on symbolic inputs (the functional style): Keras then
# knows the whole graph, can print and save it, and checks the shapes while you write. When the way through the layers
# needs Python, write a class: `__init__` makes the layers, `call` uses them. Here is one network with a skip in both.


# %%
def functional_network():
    inputs = keras.Input([784], name="pixels")
    hidden = layers.Dense(64, activation="relu")(inputs)
    hidden = layers.add([hidden, layers.Dense(64, activation="relu")(hidden)])  # the skip
    return keras.Model(inputs, layers.Dense(10)(hidden), name="functional")


class SubclassedNetwork(keras.Model):
    def __init__(self):
        super().__init__()
        self.first = layers.Dense(64, activation="relu")
        self.second = layers.Dense(64, activation="relu")
        self.last = layers.Dense(10)

    def call(self, x):
        hidden = self.first(x)  # (batch, 784) -> (batch, 64)
        return self.last(hidden + self.second(hidden))


x = mnist.test.images[:5].reshape(5, 784) / np.float32(255)
functional, subclassed = functional_network(), SubclassedNetwork()
subclassed(x)  # the first call builds the weights: before it, nobody knows the number of inputs
subclassed.set_weights(functional.get_weights())
np.testing.assert_allclose(functional(x), subclassed(x), atol=1e-6)
functional.summary()

# %% [markdown]
# ## A layer of your own
# A layer has four parts. `__init__` keeps the settings; `build` makes the weights as soon as the input's shape is
# known; `call` computes; `get_config` returns the settings, so that a saved model can make the layer again. As an
# example take *maxout* (Goodfellow et al., 2013): each unit computes a few linear functions and returns the largest.


# %%
class Maxout(layers.Layer):
    """(batch, features) -> (batch, units): each unit is the largest of `pieces` linear functions."""

    def __init__(self, units, pieces=2, **options):
        super().__init__(**options)
        self.units, self.pieces = units, pieces

    def build(self, input_shape):
        self.kernel = self.add_weight(shape=(input_shape[-1], self.units * self.pieces), name="kernel")
        self.bias = self.add_weight(shape=(self.units * self.pieces,), initializer="zeros", name="bias")

    def call(self, x):
        linear = keras.ops.matmul(x, self.kernel) + self.bias  # (batch, units * pieces)
        return keras.ops.max(keras.ops.reshape(linear, (-1, self.units, self.pieces)), axis=-1)

    def get_config(self):
        return {**super().get_config(), "units": self.units, "pieces": self.pieces}


absolute = Maxout(1)
absolute.build((None, 1))
absolute.set_weights([np.float32([[1, -1]]), np.float32([0, 0])])  # the larger of x and -x
print("|x| as a maxout unit:", absolute(np.float32([[-3], [2]])).numpy().ravel())

# %% [markdown]
# Saving and loading is the test of `get_config`. The file stores settings and weights, but not Python code: whoever
# loads it must bring the class. The decorator `@keras.saving.register_keras_serializable()` above the class does the
# same as `custom_objects` below.

# %%
own = keras.Sequential([keras.Input([784]), Maxout(32, pieces=3, name="maxout"), layers.Dense(10)])
with tempfile.TemporaryDirectory() as folder:
    own.save(f"{folder}/own.keras")
    try:
        keras.models.load_model(f"{folder}/own.keras")
    except TypeError as error:
        print("without the class:    Could not" + str(error).split("Could not")[1].split(". ")[0])
    loaded = keras.models.load_model(f"{folder}/own.keras", custom_objects={"Maxout": Maxout})
np.testing.assert_array_equal(own(x), loaded(x))
print("with custom_objects:  same outputs; settings", loaded.layers[0].units, loaded.layers[0].pieces)

# %% [markdown]
# ## `fit` against a loop of your own
# `fit` is the loop that you would write: batches, tape, optimizer, metrics. *Callbacks* act in between. To prove it we
# train twins, one with `fit`, one by hand, with everything that could differ: penalties, batch normalization, dropout,
# a changing learning rate, and the best weights kept.


# %%
def make_twin():
    keras.utils.set_random_seed(SEED)  # same start values, same dropout
    regularizer = keras.regularizers.L2(1e-4)
    return keras.Sequential([
        keras.Input([784]), layers.Dense(64, activation="relu", kernel_regularizer=regularizer),
        layers.BatchNormalization(momentum=0.9), layers.Dropout(0.2), layers.Dense(10),
    ])  # fmt: skip


x_small = mnist.train.images[:SMALL].reshape(-1, 784) / np.float32(255)
y_small = mnist.train.labels[:SMALL].astype(np.int32)
x_check = mnist.validation.images.reshape(-1, 784) / np.float32(255)
y_check = mnist.validation.labels.astype(np.int32)
cross_entropy = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
rate_of = lambda epoch: 0.002 * 0.5**epoch
EPOCHS = 4

twin = make_twin()
twin.compile(keras.optimizers.Adam(), cross_entropy, metrics=["accuracy"])
with tempfile.TemporaryDirectory() as folder:
    best = f"{folder}/best.weights.h5"
    callbacks = [
        keras.callbacks.LearningRateScheduler(lambda epoch, rate: rate_of(epoch)),
        keras.callbacks.ModelCheckpoint(best, "val_accuracy", save_best_only=True, save_weights_only=True),
        keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: print(
            f"fit   epoch {epoch}  loss {logs['loss']:.4f}  validation {logs['val_accuracy']:.4f}")),
    ]  # fmt: skip
    twin.fit(x_small, y_small, BATCH, EPOCHS, shuffle=False, validation_data=(x_check, y_check), verbose=0,
             callbacks=callbacks)  # fmt: skip
    fit_weights = twin.get_weights()
    twin.load_weights(best)

# %%
other = make_twin()
optimizer = keras.optimizers.Adam()
optimizer.build(other.trainable_variables)


@tf.function
def step(x, y):
    with tf.GradientTape() as tape:
        loss = cross_entropy(y, other(x, training=True)) + sum(other.losses)
    gradients = tape.gradient(loss, other.trainable_variables)
    optimizer.apply(gradients, other.trainable_variables)
    return loss


best_accuracy = 0.0
for epoch in range(EPOCHS):
    optimizer.learning_rate = rate_of(epoch)
    losses = [float(step(tf.constant(x_small[i : i + BATCH]), tf.constant(y_small[i : i + BATCH])))
              for i in range(0, SMALL, BATCH)]  # fmt: skip
    accuracy = np.mean(np.argmax(other(x_check), axis=1) == y_check)
    if accuracy > best_accuracy:
        best_accuracy, best_weights = accuracy, other.get_weights()
    print(f"loop  epoch {epoch}  loss {np.mean(losses):.4f}  validation {accuracy:.4f}")
difference = max(np.abs(a - b).max() for a, b in zip(fit_weights, other.get_weights()))
print("largest difference between the weights of the twins:", difference)
assert difference < 1e-6
assert all(np.allclose(a, b, atol=1e-6) for a, b in zip(twin.get_weights(), best_weights))

# %% [markdown]
# The twins agree. Use `fit` as long as its callbacks suffice; write the loop when the step itself is unusual, as with
# the two networks of a GAN. Two things `fit` did for us and the loop must remember: `training=True` and `other.losses`.
#
# ## The CNN in a few lines
# The network of [T_04](T_04_cnn_mnist.ipynb), in layers. The learning rate falls along a cosine, with large steps first
# and tiny ones at the end. We batch *indices* and pick the images afterwards: shuffling numbers is cheaper than
# shuffling pictures.


# %%
class Progress(keras.callbacks.Callback):
    def on_train_batch_end(self, batch, logs=None):
        if (batch + 1) % max(1, STEPS // 10) == 0:
            print(
                f"step {batch + 1:5d}  loss {logs['loss']:.4f}  accuracy {logs['accuracy']:.4f}  (mean so far)"
            )


keras.utils.set_random_seed(SEED)
cnn = keras.Sequential([
    keras.Input([28, 28, 1]),
    layers.Rescaling(1 / 255),
    layers.Conv2D(32, 5, padding="same", activation="relu"),  # (batch, 28, 28, 32)
    layers.MaxPooling2D(),  # (batch, 14, 14, 32)
    layers.Conv2D(64, 5, padding="same", activation="relu"),  # (batch, 14, 14, 64)
    layers.MaxPooling2D(),  # (batch, 7, 7, 64)
    layers.Flatten(),  # (batch, 3136)
    layers.Dense(1024, activation="relu"),
    layers.Dropout(DROPOUT),
    layers.Dense(10),
])  # fmt: skip
images, labels = tf.constant(mnist.train.images[..., None]), tf.constant(mnist.train.labels, tf.int32)
batches = tf.data.Dataset.range(len(images)).shuffle(len(images), seed=SEED).repeat().batch(BATCH).take(STEPS)
batches = batches.map(lambda rows: (tf.gather(images, rows), tf.gather(labels, rows))).prefetch(2)
options = tf.data.Options()
options.autotune.enabled = False  # with so light a pipeline, the tuner's waits can cost more than it gains
cnn.compile(
    keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(LEARNING_RATE, STEPS)),
    keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    metrics=["accuracy"],
)
cnn.fit(batches.with_options(options), verbose=0, shuffle=False, callbacks=[Progress()])
_, test_accuracy = cnn.evaluate(
    mnist.test.images[..., None], mnist.test.labels.astype(np.int32), 1000, verbose=0
)
print(f"test accuracy {test_accuracy:.4f}, {cnn.count_params():,} parameters")

# %%
seeds_file = RESULTS / "T_12_seeds.json"
if seeds_file.exists():
    seeds = json.loads(seeds_file.read_text())
    for seed, run in seeds["runs"].items():
        print(f"seed {seed}: test accuracy {run['test_accuracy']:.4f}, {run['seconds']:.0f} s")
    print("mean {mean:.4f}, standard deviation {std:.4f}".format(**seeds["summary"]["test_accuracy"]))

# %% [markdown]
# # The same in TF 1.x
# `tf.layers` had functions, `tf.layers.dense(x, 10)`, which made variables by `get_variable`, put penalties and updates
# into collections, and returned the output. Keras 3 has objects instead, and `tf.compat.v1.layers` raises an error.
# Each call has its counterpart:
#
# | `tf.layers` | Keras 3 | take care |
# |---|---|---|
# | `dense(x, 10, tf.nn.relu, name="fc")` | `Dense(10, "relu", name="fc")(x)` | `fc/kernel`, `fc/bias` in both |
# | `conv2d(x, 32, 5)` | `Conv2D(32, 5)(x)` | padding `valid` by default in both |
# | `conv2d_transpose(x, 32, 4, 2)` | `Conv2DTranspose(32, 4, 2)(x)` | kernel (height, width, out, in) in both |
# | `separable_conv2d(x, 32, 3)` | `SeparableConv2D(32, 3)(x)` | |
# | `max_pooling2d(x, 2, 2)` | `MaxPooling2D(2)(x)` | strides were required; now they are the pool size |
# | `flatten(x)` | `Flatten()(x)` | |
# | `dropout(x, 0.5, training=t)` | `Dropout(0.5)(x, training=t)` | `tf.nn.dropout(x, keep_prob)` counted what it kept |
# | `batch_normalization(x, training=t)` | `BatchNormalization()(x, training=t)` | no `UPDATE_OPS` any more, see T_03 |
# | `tf.contrib.layers.xavier_initializer()` | `"glorot_uniform"` | the default in both |
# | `tf.contrib.layers.l2_regularizer(s)` | `keras.regularizers.L2(s / 2)` | contrib's had a factor ½ |
# | `reuse=True` | call the object again | |
# | `trainable=False` | `layer.trainable = False` | freezes moving averages too |
#
# To show the two sides equal, [`utils/tf1.py`](../utils/tf1.py) writes four of the functions out from `tf.nn` and
# `get_variable`. This is one of them:

# %%
v1 = tf.compat.v1
tf.get_logger().setLevel("ERROR")  # Variable.load would print that it is deprecated
try:
    v1.layers.dense(x, 10)
except AttributeError as error:
    print("v1.layers.dense:", str(error).splitlines()[0], "\n")
print(inspect.getsource(tf1.dense))

# %% [markdown]
# A network in both forms: convolution, batch normalization, dense layers with a penalty. The graph's variables take
# the values of the Keras variables *by name*. Then one forward pass in training mode, with the updates run, and one at
# inference.

# %%
modern = keras.Sequential([
    keras.Input([28, 28, 1]),
    layers.Conv2D(8, 3, strides=2, padding="same", name="conv"),
    layers.BatchNormalization(name="norm"),
    layers.Activation("relu"),
    layers.Flatten(),
    layers.Dense(10, kernel_regularizer=keras.regularizers.L2(0.01), name="fc"),
])  # fmt: skip
values = {"/".join(variable.path.split("/")[-2:]): variable.numpy() for variable in modern.variables}
x = mnist.test.images[:50, ..., None] / np.float32(255)

with tf.Graph().as_default() as graph:
    x_in, training = v1.placeholder(tf.float32, [None, 28, 28, 1]), v1.placeholder(tf.bool, [])
    hidden = tf1.conv2d(x_in, 8, 3, strides=2, padding="same", name="conv")
    hidden = tf.nn.relu(tf1.batch_normalization(hidden, training=training, name="norm"))
    hidden = tf.reshape(hidden, [-1, 14 * 14 * 8])
    logits = tf1.dense(hidden, 10, kernel_regularizer=lambda w: 0.02 * tf.nn.l2_loss(w), name="fc")
    kept = tf1.dropout(tf.ones([1000, 100]), 0.25, training=training)
    same_seed = tf.nn.experimental.stateless_dropout(tf.ones([1000, 100]), 0.25, seed=[SEED, 0])
    updates = v1.get_collection(v1.GraphKeys.UPDATE_OPS)
    penalty = v1.losses.get_regularization_loss()
    with v1.Session(graph=graph) as session:
        session.run(v1.global_variables_initializer())
        for variable in v1.global_variables():
            variable.load(values[variable.op.name], session)
        v1_training, v1_dropped, *_ = session.run([logits, kept, *updates], {x_in: x, training: True})
        v1_inference, v1_kept = session.run([logits, kept], {x_in: x, training: False})
        v1_values = {variable.op.name: session.run(variable) for variable in v1.global_variables()}
        v1_penalty, v1_same_seed = session.run([penalty, same_seed])

pairs = {
    "logits in training": (v1_training, modern(x, training=True)),  # this call moves the averages
    "logits at inference": (v1_inference, modern(x, training=False)),
    "moving mean": (v1_values["norm/moving_mean"], modern.get_layer("norm").moving_mean),
    "moving variance": (v1_values["norm/moving_variance"], modern.get_layer("norm").moving_variance),
    "penalty": (v1_penalty, sum(modern.losses)),
    "dropout at inference": (v1_kept, np.ones([1000, 100])),
    "dropout, same seed": (v1_same_seed, dropped),
}
for name, (old, new) in pairs.items():
    print(f"{name:<21} largest difference {np.abs(old - keras.ops.convert_to_numpy(new)).max():.1e}")
    np.testing.assert_allclose(old, new, atol=1e-5)
print(f"v1 dropout in training: values {np.unique(v1_dropped)}, zeros {np.mean(v1_dropped == 0):.3f}")
assert sorted(v1_values) == sorted(values) and abs(np.mean(v1_dropped == 0) - 0.25) < 0.01

# %% [markdown]
# The names agree as well, so an old checkpoint fits. The dropout masks agree when both draw from one seed.
#
# ## Summary
# 1. Initialisers keep the signal's strength: He for ReLU, Glorot for `tanh`; one object for each layer.
# 2. A transposed convolution is the gradient of a convolution; let the stride divide its kernel.
# 3. Batch normalization and dropout differ in training and at inference: pass `training`.
# 4. A layer is `__init__`, `build`, `call`, `get_config`; `fit` is the loop you would write, with callbacks.
# 5. `tf.layers` functions became objects with the same arithmetic, defaults and variable names.

# %%
assert test_accuracy > MIN_ACCURACY, "the CNN should read nearly every digit"
report(test_accuracy=test_accuracy, fit_against_loop=difference)

# %% [markdown]
# ## Exercises
# 1. In which of these do overlaps differ from pixel to pixel: kernel 5 with stride 2, 6 with 3, 4 with 1? Predict, then
#    count as above.
# 2. Put `GlobalAveragePooling2D` in the place of `Flatten` and the dense layer of 1,024. How many parameters are left?
#    Train it and compare.
# 3. Delete `get_config` from `Maxout`. Why does saving and loading still work, and when would it not?
#
# <details><summary>Outlines of the answers</summary>
#
# 1. Only 5 with 2: the stride must divide the kernel. With stride 1 there is nothing between the copies.
# 2. 832 + 51,264 + 650 = 52,746 instead of 3,274,634, all but the dense layer's. It learns more slowly.
# 3. Keras notes arguments of `__init__` that are plain numbers, strings and lists. For an array or an object,
#    `get_config` must say how to describe it.
# </details>
#
# **Next**: this was the last lesson. Back to the first, [T_01 Basic usage](T_01_basic_usage.ipynb).
