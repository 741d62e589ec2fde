# %% [markdown]
# # T_04 A convolutional network on MNIST
#
# **Question**: what does a convolution compute, and why does a network made of convolutions read digits so well?
#
# **After this lesson you can**
# 1. compute a convolution and a pooling by hand, and predict the size of their output for any padding and stride;
# 2. build one network three ways, from raw operations, own layer functions and Keras layers, and prove them equal;
# 3. train it in mini-batches, and look at its kernels, its feature maps and its mistakes.
#
# **Read before**: [T_02](T_02_feedforward_mnist.ipynb) for loss, optimizer and batches, and
# [T_03](T_03_variable_naming.ipynb) for names of variables.
#
# **Time**: 1.2 minutes on a two-core CPU, from a measured run.

# %%
import json
import os
import time

from utils.lesson import RESULTS, quiet_start, report, save_figure
from utils.mnist import load_mnist

quiet_start()  # TensorFlow without its start-up messages
import keras
import matplotlib.pyplot as plt
import numpy as np
import tensorflow as tf

print("TensorFlow", tf.__version__, "· Keras", keras.__version__, "· NumPy", np.__version__)

# %% [markdown]
# ## Knobs

# %%
QUICK = os.environ.get("TUTORIAL_QUICK") == "1"
SEED = int(os.environ.get("TUTORIAL_SEED", "1"))  # benchmarks.seeds runs others
BATCH = 100  # images per training step
STEPS = 40 if QUICK else 2000  # 550 steps see every training image once
LEARNING_RATE = 0.002  # Adam's step size at the start; it falls to zero along a cosine
DROPOUT = 0.5  # the part of the 1,024 units that each training step leaves out
EVAL_BATCH = 500  # images per evaluation step: what fits in memory, see below
TEST_IMAGES = 500 if QUICK else 10000
MIN_ACCURACY = 0.5 if QUICK else 0.99  # of one seed; three seeds reach 0.992 in the mean

keras.utils.set_random_seed(SEED)

# %% [markdown]
# ## Data
# Unlike T_02 we keep the pictures as pictures: 28 rows, 28 columns, and one *channel*, since grey has one value
# per pixel. Colour pictures have three. TensorFlow's order is `(batch, height, width, channels)`.
#
# The pixels stay bytes and become numbers between 0 and 1 batch by batch: bytes take a quarter of the memory.

# %%
mnist = load_mnist()
train_images = tf.constant(mnist.train.images[..., None])  # (55000, 28, 28, 1) uint8
train_labels = tf.constant(mnist.train.labels.astype(np.int32))  # (55000,)
test_images = mnist.test.images[:TEST_IMAGES, ..., None]  # (10000, 28, 28, 1) uint8
test_labels = mnist.test.labels[:TEST_IMAGES].astype(np.int32)
validation_images = mnist.validation.images[:TEST_IMAGES, ..., None]  # (5000, 28, 28, 1) uint8
validation_labels = mnist.validation.labels[:TEST_IMAGES]


def scale(images):
    """Bytes 0 to 255 become float32 0 to 1; the shape stays."""
    return tf.cast(images, tf.float32) / 255.0


for name, array in [("train", train_images), ("validation", validation_images), ("test", test_images)]:
    print(f"{name:<10} {array.shape!s:<18} {np.prod(array.shape) / 2**20:5.1f} MiB as bytes")

# %% [markdown]
# ## Convolution by hand
# Lay a small array of weights, the *kernel*, on a patch of the picture. Multiply what lies on top of each other,
# add it all up: that is one number of the output. Slide the kernel on and repeat. For a kernel $K$ of size
# $k \times k$ and stride $s$ (how far it slides each time):
#
# $$\text{output}[i, j] = \sum_{a=0}^{k-1} \sum_{b=0}^{k-1} \text{image}[s\,i + a,\; s\,j + b] \cdot K[a, b]$$
#
# *Padding* says what happens at the border. `VALID` lets the kernel lie only where it fits, so the output is
# smaller. `SAME` puts zeros around the picture so that with stride 1 the output has the same size.


# %%
def same_padding(size, kernel_size, stride):
    """Zeros that TensorFlow's SAME padding puts before and after `size` entries."""
    output_size = -(-size // stride)  # size / stride, rounded up
    total = max((output_size - 1) * stride + kernel_size - size, 0)
    return total // 2, total - total // 2  # an odd total gives the last side one more


def convolve(image, kernel, stride=1, padding="VALID"):
    """Convolution in plain Python: image (height, width), kernel (k, k), both NumPy arrays."""
    k = len(kernel)
    if padding == "SAME":
        image = np.pad(image, [same_padding(size, k, stride) for size in image.shape])
    rows = (image.shape[0] - k) // stride + 1
    columns = (image.shape[1] - k) // stride + 1
    output = np.zeros((rows, columns), image.dtype)
    for i in range(rows):
        for j in range(columns):
            patch = image[stride * i : stride * i + k, stride * j : stride * j + k]  # (k, k)
            output[i, j] = np.sum(patch * kernel)
    return output


image = np.array([[0, 0, 0, 0, 0, 0],
                  [0, 0, 1, 2, 2, 0],
                  [0, 0, 1, 2, 2, 0],
                  [0, 0, 1, 2, 2, 0],
                  [0, 0, 1, 2, 2, 0],
                  [0, 0, 0, 0, 0, 0]], np.float32)  # fmt: skip
kernel = np.array([[-1, 0, 1],
                   [-1, 0, 1],
                   [-1, 0, 1]], np.float32)  # fmt: skip
print("VALID\n", convolve(image, kernel))
print("SAME\n", convolve(image, kernel, padding="SAME"))

# %% [markdown]
# Check one number by hand. In the `VALID` output, row 1, column 1 (counting from 0) belongs to the patch of rows
# 1 to 3 and columns 1 to 3. Each of its rows is `0 1 2`; under `-1 0 1` it gives 0·(−1) + 1·0 + 2·1 = 2. Three rows
# make 6.
#
# This kernel subtracts the left neighbour from the right one. It answers with a large number where the picture
# gets brighter from left to right, with a negative one where it gets darker, and with 0 where nothing changes.
# It is a *detector of vertical edges*. In a network, nobody writes such kernels: training finds them.

# %%
figure, axes = plt.subplots(1, 4, figsize=(13, 4.2), layout="constrained", width_ratios=[6, 3, 4, 6])
valid, same = convolve(image, kernel), convolve(image, kernel, padding="SAME")
titles = ["Picture, 6 × 6", "Kernel, 3 × 3", "VALID output, 4 × 4", "SAME output, 6 × 6"]
frames = [(0.5, 3), (-0.5, 3), (0.5, 1), (1.5, 1)]  # corner and size of the orange frame
for axis, values, title, (corner, size) in zip(axes, (image, kernel, valid, same), titles, frames):
    limit = np.abs(values).max()
    axis.imshow(values, cmap="RdBu_r", vmin=-limit, vmax=limit)
    for (i, j), value in np.ndenumerate(values):
        shade = "white" if abs(value) > 0.6 * limit else "black"
        axis.text(j, i, f"{value:g}", ha="center", va="center", color=shade)
    axis.set(title=title, xlabel="column", xticks=range(len(values)), yticks=range(len(values)))
    square = plt.Rectangle((corner, corner), size, size, fill=False, ec="orange", lw=4, clip_on=False)
    axis.add_patch(square)
axes[0].set_ylabel("row")
figure.suptitle("The framed patch times the kernel, summed up, is the framed number of the output")
save_figure(figure, "T_04_convolution.png")

# %% [markdown]
# `tf.nn.conv2d` does the same for a batch of pictures and many kernels at once, so it wants four dimensions:
# pictures `(batch, height, width, channels)` and kernels `(height, width, channels in, channels out)`.


# %%
def conv2d_one(image, kernel, stride=1, padding="VALID"):
    """`tf.nn.conv2d` for one grey picture (height, width) and one kernel (k, k)."""
    output = tf.nn.conv2d(image[None, :, :, None], kernel[:, :, None, None], stride, padding)
    return output.numpy()[0, :, :, 0]  # (1, rows, columns, 1) -> (rows, columns)


for padding in ("VALID", "SAME"):
    by_hand = convolve(image, kernel, padding=padding)
    assert np.array_equal(by_hand, conv2d_one(image, kernel, padding=padding))
    print(f"{padding:<5} by hand and tf.nn.conv2d agree on all {by_hand.size} numbers")

# %% [markdown]
# One word on the name: in mathematics a convolution turns the kernel upside down and back to front first. What
# neural network libraries call convolution does not. It makes no difference to learning, since the kernel is learned
# either way round, but it does when you compare with SciPy.

# %%
from scipy.signal import convolve2d, correlate2d

assert np.array_equal(correlate2d(image, kernel, "valid"), valid)
assert np.array_equal(convolve2d(image, kernel[::-1, ::-1], "valid"), valid)
print("SciPy agrees: our convolution is its correlate2d, or its convolve2d with the kernel turned around")

# %% [markdown]
# ### How large is the output?
# For $n$ pixels along one side, kernel size $k$ and stride $s$ (`⌈ ⌉` rounds up):
#
# $$\text{VALID: } \left\lceil \frac{n - k + 1}{s} \right\rceil \qquad
# \text{SAME: } \left\lceil \frac{n}{s} \right\rceil$$
#
# We try the formulas, and the values as well, against `tf.nn.conv2d` for many sizes.


# %%
def output_size(size, kernel_size, stride, padding):
    """Length of one side of the output of a convolution or pooling."""
    places = size if padding == "SAME" else size - kernel_size + 1  # for stride 1
    return -(-places // stride)


random = np.random.default_rng(SEED)
checked = 0
for n in range(5, 12):
    for k in range(1, 6):
        for s in range(1, 4):
            for padding in ("VALID", "SAME"):
                picture = random.integers(-9, 10, (n, n)).astype(np.float32)
                detector = random.integers(-9, 10, (k, k)).astype(np.float32)
                found = convolve(picture, detector, s, padding)
                assert np.array_equal(found, conv2d_one(picture, detector, s, padding))
                assert len(found) == output_size(n, k, s, padding)
                checked += 1
print(f"{checked} combinations of size, kernel, stride and padding: sizes and values agree")
for n, k, s in [(28, 5, 1), (28, 5, 2), (28, 2, 2), (7, 2, 2)]:
    print(f"n={n:<2} k={k} s={s}:  VALID {output_size(n, k, s, 'VALID'):2d}   SAME {output_size(n, k, s, 'SAME'):2d}"
          f"   zeros before and after {same_padding(n, k, s)}")  # fmt: skip

# %% [markdown]
# Look at `n=28 k=5 s=2`: three zeros in all, one before and two after. When the number of zeros is odd,
# TensorFlow's `SAME` puts the extra one *after*: below and to the right. Other libraries pad both sides alike. The
# size may be the same, but the kernel lies elsewhere, as one row of six numbers shows. This is the usual reason
# why weights brought over from another library give wrong results.

# %%
row = np.arange(1, 7, dtype=np.float32)[None, :, None]  # (1 row, 6 numbers, 1 channel)
ones = np.ones((3, 1, 1), np.float32)  # sums three neighbours
print("numbers                ", row.ravel())
print("SAME, stride 2         ", tf.nn.conv1d(row, ones, 2, "SAME").numpy().ravel())
both_sides = np.pad(row, [(0, 0), (1, 1), (0, 0)])
print("one zero on both sides ", tf.nn.conv1d(both_sides, ones, 2, "VALID").numpy().ravel())

# %% [markdown]
# ### Channels
# A kernel spans *all* channels of its input and makes *one* channel of output; a layer has many kernels. So each
# output number is a sum over a patch of $k \times k \times \text{channels}$. Cut out all patches, write each as a
# row, write each kernel as a column: the convolution is then one matrix product.

# %%
pictures = random.normal(size=(2, 6, 6, 3)).astype(np.float32)  # (batch, height, width, channels in)
kernels = random.normal(size=(3, 3, 3, 4)).astype(np.float32)  # (3, 3, channels in, channels out)
patches = np.lib.stride_tricks.sliding_window_view(pictures, (3, 3), axis=(1, 2))  # (2, 4, 4, 3, 3, 3)
rows = patches.transpose(0, 1, 2, 4, 5, 3).reshape(2 * 4 * 4, 3 * 3 * 3)  # channels last, one patch a row
columns = kernels.reshape(3 * 3 * 3, 4)  # one kernel a column
as_product = (rows @ columns).reshape(2, 4, 4, 4)  # (batch, rows, columns, channels out)
difference = np.abs(as_product - tf.nn.conv2d(pictures, kernels, 1, "VALID")).max()
print(f"{rows.shape} @ {columns.shape}: largest difference to tf.nn.conv2d {difference:.0e}")
assert difference < 1e-5

# %% [markdown]
# ## Pooling by hand
# Max pooling keeps the largest number of each 2 × 2 block. A quarter of the numbers remains, and where exactly
# inside its block the number stood no longer matters.

# %%
feature_map = convolve(image, kernel, padding="SAME")
blocks = feature_map.reshape(3, 2, 3, 2)  # (block row, row in block, block column, column in block)
pooled = blocks.max(axis=(1, 3))  # (3, 3)
print(feature_map, "\n pooled:\n", pooled, sep="")
by_tensorflow = tf.nn.max_pool2d(feature_map[None, :, :, None], ksize=2, strides=2, padding="VALID")
assert np.array_equal(pooled, by_tensorflow.numpy()[0, :, :, 0])

# %% [markdown]
# ## One network
# Now the real thing. Two rounds of convolution, ReLU and pooling turn a picture of 28 × 28 × 1 into 7 × 7 × 64
# features; a dense layer of 1,024 units and one of 10 decide. The table is computed from the shapes.

# %%
SHAPES = {
    "conv1/kernel": (5, 5, 1, 32),
    "conv1/bias": (32,),
    "conv2/kernel": (5, 5, 32, 64),
    "conv2/bias": (64,),
    "fc1/kernel": (7 * 7 * 64, 1024),
    "fc1/bias": (1024,),
    "fc2/kernel": (1024, 10),
    "fc2/bias": (10,),
}
OUTPUTS = {  # without the batch
    "conv1": (28, 28, 32),
    "pool1": (14, 14, 32),
    "conv2": (14, 14, 64),
    "pool2": (7, 7, 64),
    "fc1": (1024,),
    "fc2": (10,),
}
print("layer   output          parameters   multiplications per image")
total_parameters = total_products = 0
for layer, shape in OUTPUTS.items():
    parameters = sum(int(np.prod(size)) for name, size in SHAPES.items() if name.startswith(layer))
    places = int(np.prod(shape[:2])) if len(shape) == 3 else 1  # each kernel is applied at every place
    products = places * int(np.prod(SHAPES.get(f"{layer}/kernel", 0)))
    total_parameters, total_products = total_parameters + parameters, total_products + products
    print(f"{layer:<7} {shape!s:<14} {parameters:12,} {products:15,}")
print(f"{'sum':<22} {total_parameters:12,} {total_products:15,}")

# %% [markdown]
# The second convolution has few of the parameters and does most of the work. This is *weight sharing*: the same
# 5 × 5 × 32 × 64 weights are used at each of the 14 × 14 places. A stroke is found wherever it is, with weights that
# had to be learned only once.
#
# ### First way: raw operations
# The weights are variables in a dictionary. The network is a function of pictures and weights.


# %%
glorot = keras.initializers.GlorotUniform  # by Glorot and Bengio (2010): variance fits the layer's size
weights = {
    name: tf.Variable(glorot()(shape) if name.endswith("kernel") else tf.zeros(shape), name=name)
    for name, shape in SHAPES.items()
}


def raw_network(images, w, dropout=0.0):
    """Images (batch, 28, 28, 1) in [0, 1] to logits (batch, 10), with the weights of the dictionary `w`."""
    x = tf.nn.conv2d(images, w["conv1/kernel"], strides=1, padding="SAME")  # (batch, 28, 28, 32)
    x = tf.nn.relu(x + w["conv1/bias"])
    x = tf.nn.max_pool2d(x, ksize=2, strides=2, padding="VALID")  # (batch, 14, 14, 32)
    x = tf.nn.conv2d(x, w["conv2/kernel"], strides=1, padding="SAME")  # (batch, 14, 14, 64)
    x = tf.nn.relu(x + w["conv2/bias"])
    x = tf.nn.max_pool2d(x, ksize=2, strides=2, padding="VALID")  # (batch, 7, 7, 64)
    x = tf.reshape(x, [-1, 7 * 7 * 64])  # (batch, 3136)
    x = tf.nn.relu(tf.matmul(x, w["fc1/kernel"]) + w["fc1/bias"])  # (batch, 1024)
    if dropout > 0:
        x = tf.nn.dropout(x, dropout)  # sets this part to zero, scales up the rest
    return tf.matmul(x, w["fc2/kernel"]) + w["fc2/bias"]  # (batch, 10)


probe = scale(test_images[:8])  # (8, 28, 28, 1)
raw_logits = raw_network(probe, weights)
print("logits", raw_logits.shape)

# %% [markdown]
# ### Second way: own layer functions
# The first way says most things twice. A function for each kind of layer removes the repetition, and derives input
# sizes by itself. But where do the variables live? A function that made new ones on each call would never learn. So
# each variable gets a name, `layer/what`, and lives in a store that makes it when its name is first asked for and
# returns the same one from then on. `VariableStore` is the one of [T_03](T_03_variable_naming.ipynb).

# %%
from utils.tf1 import VariableStore


def conv_layer(store, name, x, size, channels):
    """Convolution with SAME padding, bias, ReLU: (batch, h, w, c) to (batch, h, w, channels)."""
    with store.variable_scope(name):
        kernel = store.get_variable("kernel", [size, size, x.shape[-1], channels])  # starts as Glorot's
        bias = store.get_variable("bias", [channels], initializer=tf.zeros)
    return tf.nn.relu(tf.nn.conv2d(x, kernel, 1, "SAME") + bias)


def pool_layer(x):
    """The largest of each 2 × 2 block: (batch, h, w, c) to (batch, h / 2, w / 2, c)."""
    return tf.nn.max_pool2d(x, 2, 2, "VALID")


def dense_layer(store, name, x, units, activation=tf.identity):
    """Every unit sees every input: (batch, inputs) to (batch, units)."""
    with store.variable_scope(name):
        kernel = store.get_variable("kernel", [x.shape[-1], units])
        bias = store.get_variable("bias", [units], initializer=tf.zeros)
    return activation(tf.matmul(x, kernel) + bias)


def layered_network(images, store, dropout=0.0):
    """The same network, from layer functions."""
    x = pool_layer(conv_layer(store, "conv1", images, 5, 32))  # (batch, 14, 14, 32)
    x = pool_layer(conv_layer(store, "conv2", x, 5, 64))  # (batch, 7, 7, 64)
    x = tf.reshape(x, [-1, 7 * 7 * 64])
    x = dense_layer(store, "fc1", x, 1024, tf.nn.relu)
    x = tf.nn.dropout(x, dropout) if dropout > 0 else x
    return dense_layer(store, "fc2", x, 10)


# %% [markdown]
# The names are more than labels. Weights made elsewhere find their place by name, whatever the order.

# %%
store = VariableStore()
layered_network(probe, store)  # the first call makes the variables
for name, variable in store.by_name.items():
    variable.assign(weights[name])
    print(f"{name:<13} {variable.shape}")
layered_logits = layered_network(probe, store)  # the second call finds them
assert list(store.by_name) == list(SHAPES)

# %% [markdown]
# ### Third way: Keras layers
# A Keras layer is an object that owns its variables, so no store is needed. A layer's name becomes the first part
# of its variables' names, called `path` in Keras.

# %%
layers = keras.layers
model = keras.Sequential(
    [
        keras.Input((28, 28, 1)),
        layers.Conv2D(32, 5, padding="same", activation="relu", name="conv1"),
        layers.MaxPooling2D(2, name="pool1"),
        layers.Conv2D(64, 5, padding="same", activation="relu", name="conv2"),
        layers.MaxPooling2D(2, name="pool2"),
        layers.Flatten(name="flat"),
        layers.Dense(1024, activation="relu", name="fc1"),
        layers.Dropout(DROPOUT, name="dropout"),
        layers.Dense(10, name="fc2"),
    ],
    name="cnn",
)
for variable in model.trainable_variables:
    variable.assign(weights["/".join(variable.path.split("/")[-2:])])
keras_logits = model(probe, training=False)
print(*(variable.path for variable in model.trainable_variables), sep="\n")

# %% [markdown]
# ### Three ways, one network
# The same weights must give the same logits. We also compare the gradients of the loss: if they agree, all three
# learn alike.


# %%
def loss_of(logits, labels):
    """Mean cross-entropy of logits (batch, 10) and labels (batch,)."""
    return tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits))


ways = {  # the network as a function of (images, dropout), and its variables in the order of SHAPES
    "raw operations": (lambda x, rate: raw_network(x, weights, rate), list(weights.values())),
    "layer functions": (lambda x, rate: layered_network(x, store, rate), list(store.by_name.values())),
    "Keras layers": (lambda x, rate: model(x, training=rate > 0), model.trainable_variables),
}
gradients = {}
for way, (network, variables) in ways.items():
    with tf.GradientTape() as tape:
        loss = loss_of(network(probe, 0.0), test_labels[:8])
    gradients[way] = tape.gradient(loss, variables)
for way, logits in [("layer functions", layered_logits), ("Keras layers", keras_logits)]:
    pairs = zip(gradients[way], gradients["raw operations"])
    gradient_difference = max(float(tf.reduce_max(tf.abs(one - other))) for one, other in pairs)
    logit_difference = float(tf.reduce_max(tf.abs(logits - raw_logits)))
    print(f"{way:<16} differs from raw: logits {logit_difference:.0e}, gradients {gradient_difference:.0e}")
    assert logit_difference < 1e-5 and gradient_difference < 1e-5

# %% [markdown]
# ## Why mini-batches
# Training keeps the output of every layer in memory, because the gradient needs it later. Evaluation may forget a
# layer once the next is computed, but must hold the largest one. How much is that for all test images at once?

# %%
bytes_per_image = {name: 4 * int(np.prod(shape)) for name, shape in OUTPUTS.items()}  # a float32 has 4 bytes
largest, all_layers = max(bytes_per_image.values()), sum(bytes_per_image.values())
for count in (10000, EVAL_BATCH, BATCH):
    everything, one = (count * size / 2**20 for size in (all_layers, largest))
    print(f"{count:6,} images: all layers {everything:7,.1f} MiB, the largest alone {one:7,.1f} MiB")

look_inside = keras.Model(model.inputs, [model.get_layer(name).output for name in OUTPUTS])
measured = sum(output.numpy().nbytes for output in look_inside(probe))
assert measured == len(probe) * all_layers, "the formula must match real arrays"

# %% [markdown]
# Training needs more still, since each output also gets a gradient. And these pictures are tiny: photographs have a
# thousand times as many pixels, and the outputs of the layers grow with them. So we go through the data in
# mini-batches, for training and for evaluation. For evaluation this changes nothing but the memory, because every
# image is judged for itself. For training it also changes the path: a step after each batch, not after each pass.


# %%
compiled_network = tf.function(lambda images: raw_network(scale(images), weights), reduce_retracing=True)


def predict(network, images, batch=EVAL_BATCH):
    """Logits (n, 10) of n byte images, computed in mini-batches; the last one may be smaller."""
    parts = [network(tf.constant(images[i : i + batch])) for i in range(0, len(images), batch)]
    return np.concatenate(parts)


def accuracy(logits, labels):
    """The part of the images whose largest logit belongs to the right digit."""
    return float(np.mean(logits.argmax(axis=1) == labels))


some = test_images[:250]
whole, in_parts = predict(compiled_network, some, batch=250), predict(compiled_network, some, batch=60)
print(f"250 images at once or in 60s: logits differ by {np.abs(whole - in_parts).max():.0e}")
np.testing.assert_allclose(whole, in_parts, atol=1e-5)
untrained = accuracy(predict(compiled_network, validation_images), validation_labels)
print(f"accuracy before training: {untrained:.3f}")

# %% [markdown]
# ## Training
# One training step is one compiled function: it gathers a batch by its row numbers, computes loss and gradients,
# and lets Adam update the weights. The rows are shuffled anew for every pass over the data.
#
# The learning rate falls along half a cosine to zero. Large steps find the region; small steps at the end settle
# in it. Steps and learning rate were chosen on the validation images; the test images are used once, at the end.


# %%
def make_step(network, variables):
    """A compiled training step for row numbers (batch,): updates the variables, returns the loss."""
    schedule = keras.optimizers.schedules.CosineDecay(LEARNING_RATE, STEPS)
    optimizer = keras.optimizers.Adam(schedule)
    optimizer.build(variables)

    @tf.function
    def step(rows):
        images = scale(tf.gather(train_images, rows))  # (batch, 28, 28, 1)
        with tf.GradientTape() as tape:
            loss = loss_of(network(images, DROPOUT), tf.gather(train_labels, rows))
        optimizer.apply(tape.gradient(loss, variables), variables)
        return loss

    return step


def shuffled_rows(count, seed):
    """Yield `count` batches of row numbers; each pass over the training set has a new order."""
    order, random = np.empty(0, np.int32), np.random.default_rng(seed)
    for _ in range(count):
        if len(order) < BATCH:
            order = np.concatenate([order, random.permutation(len(train_labels)).astype(np.int32)])
        yield tf.constant(order[:BATCH])
        order = order[BATCH:]


train_step = make_step(*ways["raw operations"])
history = []  # the loss of every step, still on the device
start = time.perf_counter()
for number, rows in enumerate(shuffled_rows(STEPS, SEED), 1):
    history.append(train_step(rows))
    if number % (STEPS // 10) == 0:
        validation = accuracy(predict(compiled_network, validation_images), validation_labels)
        mean_loss = np.mean(history[-STEPS // 10 :])
        print(f"step {number:4d}   loss {mean_loss:.4f}   validation accuracy {validation:.4f}", flush=True)
seconds = time.perf_counter() - start
print(f"{seconds:.0f} s for training and ten validations")

# %% [markdown]
# Most is learned in the first few hundred steps. The rest is gained while the learning rate falls.
#
# ## The result
# Now the test images, once. The trained weights go into all three ways, by name, and each judges all images.

# %%
trained = {name: variable.numpy() for name, variable in weights.items()}
for name, keras_variable in zip(trained, model.trainable_variables):
    store.by_name[name].assign(trained[name])
    keras_variable.assign(trained[name])

test_logits = {}
for way, (network, _) in ways.items():
    judge = tf.function(lambda images, network=network: network(scale(images), 0.0), reduce_retracing=True)
    test_logits[way] = predict(judge, test_images)
    print(f"{way:<16} test accuracy {accuracy(test_logits[way], test_labels):.4f}")
    np.testing.assert_allclose(test_logits[way], test_logits["raw operations"], atol=1e-3)
logits = test_logits["raw operations"]
test_accuracy = accuracy(logits, test_labels)

# %% [markdown]
# One seed is one throw of the dice. The same lesson with three seeds, recorded by `python -m benchmarks.seeds T_04`:

# %%
seeds_file = RESULTS / "T_04_seeds.json"
if seeds_file.exists():
    seeds = json.loads(seeds_file.read_text())
    for seed, run in seeds["runs"].items():
        print(f"seed {seed}   {run['test_accuracy']:.4f}   trained in {run['training_seconds']:.0f} s")
    spread = seeds["summary"]["test_accuracy"]
    print(f"mean     {spread['mean']:.4f}, standard deviation {spread['std']:.4f}")
else:
    print("not recorded yet: run  python -m benchmarks.seeds T_04")

# %% [markdown]
# ## What it gets wrong
# The mistakes, those it was surest of first.

# %%
probabilities = tf.nn.softmax(logits).numpy()  # (images, 10)
guesses = probabilities.argmax(axis=1)
wrong = np.flatnonzero(guesses != test_labels)
wrong = wrong[np.argsort(-probabilities[wrong, guesses[wrong]])]
figure, axes = plt.subplots(3, 10, figsize=(12, 4.6), layout="constrained")
for axis in axes.flat:
    axis.axis("off")
for axis, index in zip(axes.flat, wrong):
    axis.imshow(test_images[index, :, :, 0], cmap="gray_r")
    says = f"{guesses[index]} ({probabilities[index, guesses[index]]:.0%})"
    axis.set_title(f"is {test_labels[index]}, says {says}", fontsize=8)
figure.suptitle(f"{min(30, len(wrong))} of the {len(wrong)} mistakes on {len(test_images):,} test images")
save_figure(figure, "T_04_mistakes.png", dpi=90)

# %% [markdown]
# Some are hard for us, too; a few labels may be wrong. Others are plain digits with an unusual slant or a broken
# stroke, and the network is sure all the same: a probability of 99 % is the network's own opinion of itself.
#
# ## What it sees
# `look_inside` above gives out the outputs of all layers. We follow three digits through the network. The kernels
# of the first layer, and their maps, are sorted by the direction in which their weights grow.

# %%
from utils.feature_maps import Digit, draw_network

SHOWN = (2, 4, 8)  # the digits to follow
first_kernels = trained["conv1/kernel"][:, :, 0].transpose(2, 0, 1)  # (5, 5, 1, 32) -> (32, 5, 5)
voters = np.argsort(-trained["fc2/kernel"], axis=0)[:24].T  # (10 digits, 24 units with the largest weights)
digits = []
for digit in SHOWN:
    index = np.flatnonzero((test_labels == digit) & (guesses == digit))[0]  # the first one judged correctly
    outputs = dict(zip(OUTPUTS, look_inside(scale(test_images[index : index + 1]))))
    conv1, conv2 = (outputs[name].numpy()[0].transpose(2, 0, 1) for name in ("conv1", "conv2"))  # maps first
    votes = outputs["fc1"].numpy()[0][voters]  # (10, 24)
    digits.append(Digit(test_images[index, :, :, 0], conv1, conv2, votes, probabilities[index], digit))
score = f"{test_accuracy:.2%} of {len(test_images):,} digits it has never seen"
subtitle = f"Trained for {STEPS:,} steps, it reads {score}. Bright means a strong answer."
save_figure(draw_network(first_kernels, digits, subtitle), "conv_mnist.png", dpi=80)

# %% [markdown]
# Follow a framed kernel to its framed map: it lights up where the picture looks like the kernel, and stays dark
# elsewhere. The maps of the second convolution are coarser and mostly dark: each waits for one combination, and
# finds it at few places. In `fc1` there are no places any more. The row of units that speak for the right digit is
# the brightest, and that decides.

# %% [markdown]
# # The same in TF 1.x
# In 2018 the store that we used above was part of the graph. `variable_scope` put the layer's name before the names
# of variables and operations; `name_scope` does so for operations, to group them in TensorBoard, and leaves
# `get_variable` alone. Here is the program of 2018, in layer functions.

# %%
v1 = tf.compat.v1


def v1_layer(name, x, shape, operation, activation=tf.identity):
    """One layer with its variables and operations in a scope: activation(operation(x, kernel) + bias)."""
    with v1.variable_scope(name):
        kernel = v1.get_variable("kernel", shape, initializer=v1.glorot_uniform_initializer())
        bias = v1.get_variable("bias", shape[-1:], initializer=v1.zeros_initializer())
        return activation(operation(x, kernel) + bias)


def v1_network(images, keep_prob):
    """The network of this lesson in the style of 2018: images (batch, 28, 28, 1) to logits (batch, 10)."""
    convolution = lambda x, kernel: tf.nn.conv2d(x, kernel, strides=[1, 1, 1, 1], padding="SAME")
    x = images
    for number in (1, 2):
        x = v1_layer(f"conv{number}", x, SHAPES[f"conv{number}/kernel"], convolution, tf.nn.relu)
        with v1.name_scope(f"pool{number}"):
            x = v1.nn.max_pool(x, ksize=[1, 2, 2, 1], strides=[1, 2, 2, 1], padding="SAME")
    x = tf.reshape(x, [-1, 7 * 7 * 64])
    x = v1_layer("fc1", x, SHAPES["fc1/kernel"], tf.matmul, tf.nn.relu)
    x = v1.nn.dropout(x, rate=1 - keep_prob)
    return v1_layer("fc2", x, SHAPES["fc2/kernel"], tf.matmul)


with tf.Graph().as_default() as graph:
    images_in = v1.placeholder(tf.float32, [None, 28, 28, 1], name="images")
    keep_prob = v1.placeholder(tf.float32, [], name="keep_prob")  # 1 - dropout rate
    logits_out = v1_network(images_in, keep_prob)
    variables = v1.global_variables()
    with v1.Session(graph=graph) as session:
        session.run(v1.global_variables_initializer())
        for variable in variables:
            value_in = v1.placeholder(tf.float32, variable.shape)
            assign = v1.assign(variable, value_in)
            session.run(assign, {value_in: trained[variable.op.name]})  # by name, as above
        pixels = test_images[:500].astype(np.float32) / 255
        batches = [pixels[i : i + BATCH] for i in range(0, len(pixels), BATCH)]
        parts = [session.run(logits_out, {images_in: batch, keep_prob: 1.0}) for batch in batches]
v1_logits = np.concatenate(parts)
difference = np.abs(v1_logits - logits[:500]).max()
print(f"logits of 500 test images, TF 1.x against modern: largest difference {difference:.0e}")
np.testing.assert_allclose(v1_logits, logits[:500], atol=1e-3)

# %% [markdown]
# A graph knows every variable and every operation by name. Variables first, then the operations of the first
# layers, without those that only initialise and read variables.

# %%
for variable in variables:
    print(f"{variable.name:<15} {variable.shape}")
print()
for operation in graph.get_operations():
    scope, _, rest = operation.name.partition("/")
    if scope in ("images", "conv1", "pool1") and not rest.startswith(("kernel", "bias")):
        print(f"{operation.name:<28} {operation.type}")
assert [variable.op.name for variable in variables] == list(SHAPES)

# %% [markdown]
# The scope `conv1` holds variables and operations; the scope `pool1` only an operation. The difference shows when
# a name scope meets both ways to make a variable, and when the network is called a second time:

# %%
for kind, scope in [("name_scope", v1.name_scope), ("variable_scope", v1.variable_scope)]:
    with tf.Graph().as_default(), scope("layer"):
        made = v1.get_variable("v", [1]).name, v1.Variable(0.0, name="w").name
    print(f"in a {kind:<15} get_variable -> {made[0]:<10} Variable -> {made[1]}")

with tf.Graph().as_default(), v1.variable_scope("cnn", reuse=v1.AUTO_REUSE):
    v1_network(tf.zeros([1, 28, 28, 1]), 1.0)
    v1_network(tf.ones([1, 28, 28, 1]), 1.0)
    assert len(v1.global_variables()) == len(SHAPES), "the second call must find the variables of the first"
print("two networks, one set of variables")

# %% [markdown]
# Most programs of 2018 did not write their layers. They called `tf.layers.conv2d` or `tf.contrib.layers.conv2d`.
# Both are gone:

# %%
for name, attempt in [("tf.contrib", lambda: tf.contrib), ("v1.layers.conv2d", lambda: v1.layers.conv2d)]:
    try:
        attempt()
    except AttributeError as error:
        print(f"{name}: {error}")

# %% [markdown]
# | 2018 | today |
# |---|---|
# | `tf.layers.conv2d(x, 32, 5)`: makes variables in the graph | `keras.layers.Conv2D(32, 5)(x)`: owns them |
# | `tf.contrib.layers.conv2d`, `slim.conv2d`, with ReLU by default | the same; say `activation="relu"` |
# | `tf.contrib.layers.xavier_initializer()` | `keras.initializers.GlorotUniform()`, the default of Keras layers |
# | `tf.contrib.layers.flatten(x)` | `keras.layers.Flatten()` |
# | `variable_scope(..., reuse=True)` to use weights twice | call the same layer object twice |
# | `tf.nn.dropout(x, keep_prob)`: the part to keep | `tf.nn.dropout(x, rate)`: the part to drop |
#
# **What changed**: variables belonged to the graph and were found by name; now they belong to objects. The names
# stayed, for people, for TensorBoard and for files. The arithmetic is the same, to the last digits.

# %% [markdown]
# ## Summary
# 1. A convolution slides a kernel over the picture and sums products; `SAME` pads with zeros, `VALID` does not.
# 2. Output sizes: ⌈n / s⌉ for `SAME`, ⌈(n − k + 1) / s⌉ for `VALID`; an odd padding zero goes below and right.
# 3. Weight sharing makes a convolution small in parameters, and finds a stroke wherever it is.
# 4. Raw operations, own layer functions and Keras layers compute the same; names tell which weight goes where.
# 5. Mini-batches bound the memory, in training and in evaluation, and do not change what the network answers.

# %%
assert test_accuracy > MIN_ACCURACY, f"expected more than {MIN_ACCURACY:.1%} of the test digits right"
report(test_accuracy=test_accuracy, training_seconds=seconds)

# %% [markdown]
# ## Exercises
# 1. What are the output sizes if both convolutions use `VALID` padding? How many parameters has `fc1` then? Predict,
#    then change the network and see.
# 2. Shift every test image two pixels to the right (`np.roll`). How much accuracy is lost here, and in T_02?
# 3. Replace pooling by a stride of 2 in the convolutions. What happens to time and accuracy?
#
# <details><summary>Outlines of the answers</summary>
#
# 1. 28 → 24 → 12 → 8 → 4, so `fc1` has 4 · 4 · 64 · 1,024 + 1,024 = 1,049,600 parameters, a third of before.
# 2. The convolutional network loses little, the dense one much more: its weights know a stroke only at its old
#    place.
# 3. The shapes stay the same. The convolutions compute a quarter of the places, so a step is much shorter; accuracy
#    falls a little, since the largest of four neighbours is no longer looked for.
# </details>
#
# **Next**: [T_05 A recurrent network on MNIST](T_05_rnn_mnist.ipynb)
