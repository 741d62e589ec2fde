# %% [markdown]
# # T_03 Variables and their names
#
# **Question**: how does a program know which weights are the same weights, and what became of `variable_scope`,
# `reuse` and collections?
#
# **After this lesson you can**
# 1. name, find and share variables with `tf.Variable`, `tf.Module` and Keras layers;
# 2. read a TensorFlow 1.x program with scopes, `reuse` and collections, and say what took the place of each;
# 3. avoid two costly mistakes: weights that are not shared, and batch normalization that is never updated.
#
# **Read before**: [T_01](T_01_basic_usage.ipynb); [T_02](T_02_feedforward_mnist.ipynb) for the network we train.
#
# **Time**: 10 seconds on a two-core CPU, from a measured run.

# %%
import inspect
import os
import tempfile

from utils.lesson import quiet_start, report, save_figure

quiet_start()  # TensorFlow without its start-up messages
import keras
import matplotlib.pyplot as plt
import numpy as np
import tensorflow as tf

from utils import tf1
from utils.mnist import load_mnist

tf.get_logger().setLevel("ERROR")  # each TF 1.x call below would print that it is deprecated
print("TensorFlow", tf.__version__, "· Keras", keras.__version__)

# %%
QUICK = os.environ.get("TUTORIAL_QUICK") == "1"
SEED = 1
STEPS = 60 if QUICK else 500  # training steps of each small network; enough to see who learns
BATCH = 100
HIDDEN = 100  # units of the hidden layer
LEARNING_RATE = 0.3  # plain gradient descent
MOMENTUM = 0.9  # of batch normalization's averages; 0.99 is usual, but takes thousands of steps to settle
L2 = 0.01  # strength of the weight penalty

keras.utils.set_random_seed(SEED)

# %% [markdown]
# # Part one: names
# ## A name is a label, the object is the thing
# A variable has a name for people to read. TensorFlow 2 does not look variables up by it: two variables may carry one
# name and stay two. `tf.name_scope` puts a prefix before names: those of variables, and inside a `tf.function` those
# of operations, which TensorBoard draws as a box that opens.


# %%
def doubled(x):
    with tf.name_scope("outer"), tf.name_scope("inner"):
        return tf.multiply(x, 2.0, name="times")


first, second = tf.Variable(1.0, name="w"), tf.Variable(2.0, name="w")
with tf.name_scope("layer"):
    third = tf.Variable(3.0, name="w")
print("variables: ", [variable.name for variable in (first, second, third)], "three objects")
recording = tf.function(doubled).get_concrete_function(tf.TensorSpec([])).graph
print("operations:", [operation.name for operation in recording.get_operations()])

# %% [markdown]
# (`:0` means "output 0 of the operation w", a relic of graphs.)
#
# ## `tf.Module`: variables are found through attributes
# How does a program collect its variables, if not by name? A `tf.Module` walks through its attributes, lists and
# dictionaries included, and into the modules it finds there. The labels below mirror this tree, thanks to
# `self.name_scope`. That is good manners, but the tree is what counts: a checkpoint stores each value under its
# *path of attributes*. `START` gives every network of this lesson the same start values.

# %%
random = np.random.default_rng(SEED)
START = {
    "hidden": random.normal(0, np.sqrt(2 / 784), (784, HIDDEN)).astype(np.float32),
    "output": random.normal(0, np.sqrt(1 / HIDDEN), (HIDDEN, 10)).astype(np.float32),
}


class Layer(tf.Module):
    def __init__(self, name):
        super().__init__(name=name)
        with self.name_scope:
            self.w = tf.Variable(START[name], name="w")

    def __call__(self, x):
        return x @ self.w


class Network(tf.Module):
    """Two layers: pixels (batch, 784), 0 to 255 -> logits (batch, 10)."""

    def __init__(self, name="net"):
        super().__init__(name=name)
        with self.name_scope:
            self.first, self.last = Layer("hidden"), Layer("output")

    def __call__(self, x):
        return self.last(tf.nn.relu(self.first(x / 255)))  # (batch, 784) -> (batch, hidden) -> (batch, 10)


net = Network()
with tempfile.TemporaryDirectory() as folder:
    stored = tf.train.list_variables(tf.train.Checkpoint(net).save(f"{folder}/ckpt"))
print("labels:         ", [variable.name for variable in net.variables])
print("in a checkpoint:", [name.split("/.")[0] for name, _ in stored if name.endswith("VARIABLE_VALUE")])

# %% [markdown]
# ## Keras: layer names and variable paths
# A Keras variable has a short `name`, and a `path` that begins with its layers' names. A layer without a name gets
# one from its class and a running number, so its variables have other paths when the cell is run again.
#
# One trap for code that mixes both worlds: a Keras layer collects *Keras* variables, those of `self.add_weight`. A
# `tf.Variable` attribute is not trained, and nothing says so.


# %%
class Scale(keras.layers.Layer):
    def build(self, input_shape):
        self.found = self.add_weight(shape=(), initializer="ones", name="found")
        self.lost = tf.Variable(1.0, name="lost")

    def call(self, x):
        return x * self.found * self.lost


model = keras.Sequential([keras.Input([784]), keras.layers.Dense(8), Scale(name="scale")], name="model")
print("names:", [variable.name for variable in model.trainable_variables])
print("paths:", [variable.path for variable in model.trainable_variables])
assert not any("lost" in variable.path for variable in model.variables)

# %% [markdown]
# ## Sharing weights is sharing the object
# Call one object twice, say for training and for testing, and both calls use the same weights. Build it inside the
# function that uses it, and each call gets fresh weights: what one call learns, the next does not know. A
# `tf.function` refuses this.

# %%
x = tf.ones([1, 784])
net(x), net(x)
print("one object, two calls:", len(net.variables), "variables")
try:
    tf.function(lambda x: Network()(x))(x)
except ValueError as error:
    print("built in the call:    ", str(error).split("ValueError: ")[1].split(". ")[0])

# %% [markdown]
# # The same in TF 1.x
# ## `tf.Variable` renames, `tf.get_variable` refuses
# In a TF 1.x graph names are unique. `tf.Variable` and `tf.placeholder` always make something new and number it.
# `tf.get_variable` looks into a registry and complains when the name is there.

# %%
v1 = tf.compat.v1


def error_of(call):
    """The first sentence of the ValueError that call() raises."""
    try:
        call()
    except ValueError as error:
        return str(error).split(". ")[0]
    raise AssertionError("expected an error")


with tf.Graph().as_default():
    print("Variable:    ", v1.Variable(0.0, name="v").name, v1.Variable(0.0, name="v").name)
    print("placeholder: ", v1.placeholder("float", name="x").name, v1.placeholder("float", name="x").name)
    print("get_variable:", v1.get_variable("g", []).name, "then", error_of(lambda: v1.get_variable("g", [])))

# %% [markdown]
# ## `name_scope` against `variable_scope`
# Both put a prefix before names. The difference is one cell of this table: `get_variable` ignores `name_scope`.


# %%
def names_in(scope, title):
    with scope:
        made = [v1.get_variable("g", []), v1.Variable(0.0, name="v"), v1.placeholder("float", name="x")]
        names = [item.name for item in made] + [tf.add(1.0, 2.0, name="add").op.name]
    print(f"{title:<34}" + "".join(f"{name:<15}" for name in names))
    return names


with tf.Graph().as_default():
    print(f"{'':<34}{'get_variable':<15}{'Variable':<15}{'placeholder':<15}operation")
    in_name_scope = names_in(v1.name_scope("n"), 'name_scope("n")')
    in_variable_scope = names_in(v1.variable_scope("s"), 'variable_scope("s")')
    opened_again = names_in(v1.variable_scope("s", reuse=True), 'variable_scope("s", reuse=True)')
    with v1.variable_scope("a"), v1.name_scope("b"):
        names_in(v1.variable_scope("c"), "name scope b between a and c")
assert in_name_scope[0] == "g:0" and in_variable_scope[0] == opened_again[0] == "s/g:0"

# %% [markdown]
# Rows 2 and 3: a scope that is opened again keeps its *variable* prefix `s/`, for that is how sharing works; its
# operations get a number. **What changed**: one scope is left, `tf.name_scope`, and it prefixes every name.
#
# ## `reuse`
# What `get_variable` does depends on the scope: by default it only makes new variables, with `reuse=True` it only
# returns existing ones, with `tf.AUTO_REUSE` it does whichever is possible. `reuse=True` holds for inner scopes too.

# %%
with tf.Graph().as_default():
    with v1.variable_scope("s") as scope:
        original = v1.get_variable("weights", [2, 3])
        scope.reuse_variables()  # from here to the end of the scope, as reuse=True
        assert v1.get_variable("weights", [2, 3]) is original
    with v1.variable_scope("s", reuse=True):
        assert v1.get_variable("weights", [2, 3]) is original
        print("unknown name:", error_of(lambda: v1.get_variable("weight", [2, 3])))
        print("other shape: ", error_of(lambda: v1.get_variable("weights", [5])))
    with v1.variable_scope("s", reuse=v1.AUTO_REUSE):
        assert v1.get_variable("weights", [2, 3]) is original
        print("AUTO_REUSE:   no error, a new variable", v1.get_variable("weight", [2, 3]).name)
    print("global:", [v.name for v in v1.global_variables()], len(v1.trainable_variables()), "trainable")

# %% [markdown]
# `is` shows that reuse returned the very same object. The last lines show the danger of `AUTO_REUSE`: a misspelt name
# shares nothing and tells nobody. Likewise, two layers that happen to use one name share weights by accident.
#
# ## The two-layer network, wrong and right
# We train on MNIST and need two helpers: one counts right answers, one trains anything that can make a step.

# %%
mnist = load_mnist()
x_test = mnist.test.images.reshape(-1, 784).astype(np.float32)  # (10000, 784), 0 to 255
y_test = mnist.test.labels.astype(np.int64)  # (10000,)


def accuracy_of(logits, labels):
    return tf.reduce_mean(tf.cast(tf.equal(tf.argmax(logits, 1), labels), tf.float32))


def train(step, evaluate):
    """Call step(x, y) on STEPS batches. Returns evaluate() before the first and after every tenth part of them."""
    curve = [evaluate()]
    for number in range(STEPS):
        rows = slice(number * BATCH, (number + 1) * BATCH)
        x = mnist.train.images[rows].reshape(-1, 784).astype(np.float32)
        step(x, mnist.train.labels[rows].astype(np.int64))
        if (number + 1) % (STEPS // 10) == 0:
            curve.append(evaluate())
    return np.array(curve)


# %% [markdown]
# In 2018 one built a network twice: for training, perhaps with dropout, and for testing. The two copies must share
# their weights. `network` receives the function that makes a variable; that is the only difference.


# %%
def network(x, variable_scope, get_variable):
    """Two layers in the style of 2018: pixels (batch, 784), 0 to 255 -> logits (batch, 10)."""
    with variable_scope("hidden"):
        x = tf.nn.relu(x / 255 @ get_variable("w", initializer=START["hidden"]))  # (batch, hidden)
    with variable_scope("output"):
        return x @ get_variable("w", initializer=START["output"])


def train_two_copies(get_variable, save_to=None):
    """Train one copy, test the other. Returns the names of all variables and the test accuracies."""
    with tf.Graph().as_default() as graph:
        x, y = v1.placeholder(tf.float32, [None, 784]), v1.placeholder(tf.int64, [None])
        with v1.variable_scope("net"):
            loss = v1.losses.sparse_softmax_cross_entropy(y, network(x, v1.variable_scope, get_variable))
        with v1.variable_scope("net", reuse=True):
            accuracy = accuracy_of(network(x, v1.variable_scope, get_variable), y)
        minimize = v1.train.GradientDescentOptimizer(LEARNING_RATE).minimize(loss)
        with v1.Session(graph=graph) as session:
            session.run(v1.global_variables_initializer())
            curve = train(lambda images, labels: session.run(minimize, {x: images, y: labels}),
                          lambda: session.run(accuracy, {x: x_test, y: y_test}))  # fmt: skip
            if save_to:
                v1.train.Saver().save(session, save_to)
        return [variable.op.name for variable in v1.global_variables()], curve


folder = tempfile.TemporaryDirectory()
wrong_names, wrong = train_two_copies(lambda name, initializer: v1.Variable(initializer, name=name))
right_names, right = train_two_copies(v1.get_variable, save_to=f"{folder.name}/two-layer")
print(f"Variable:     test accuracy {wrong[-1]:.3f}", wrong_names)
print(f"get_variable: test accuracy {right[-1]:.3f}", right_names)
assert wrong[-1] == wrong[0] and len(wrong_names) == 2 * len(right_names)

# %%
figure, axes = plt.subplots(1, 2, figsize=(10, 2.4), layout="constrained")
box = {"ha": "center", "va": "center", "bbox": {"boxstyle": "round", "facecolor": "white"}}
titles = (
    f"tf.Variable: test accuracy {wrong[-1]:.3f}",
    f"tf.get_variable with reuse: test accuracy {right[-1]:.3f}",
)
for axis, title, names in zip(axes, titles, (wrong_names, right_names)):
    rows = np.linspace(3, 0, len(names))
    for name, row in zip(names, rows):
        axis.text(2.2, row, name, **box)
    for copy, y, used in [("training copy", 2.5, rows[:2]), ("test copy", 0.5, rows[-2:])]:
        axis.text(0, y, copy, **box)
        for row in used:
            axis.annotate("", (1.8, row), (0.4, y), arrowprops={"arrowstyle": "-|>"})
    axis.set(title=title, xlim=(-0.5, 2.8), ylim=(-0.4, 3.4))
    axis.axis("off")
save_figure(figure, "T_03_sharing.png")

# %% [markdown]
# The wrong network has four variables. Two were trained and the other two tested: their accuracy stays what it was
# before training. There is no error message; counting the variables finds the bug. The right one has two.
# **What changed**: an object is called twice; scopes and `reuse` are not needed.
#
# ## `get_variable` is a dictionary: how to take old code along
# Called eagerly, `v1.get_variable` still runs but shares nothing any more, even with `AUTO_REUSE`. That breaks code
# which is moved over line by line. The registry is soon rebuilt: it is a dictionary from full name to variable.
# [`utils/tf1.py`](../utils/tf1.py) has one that you may use in your own programs. `network` runs on it unchanged.

# %%
with v1.variable_scope("eager", reuse=v1.AUTO_REUSE):
    print("v1.get_variable, eagerly: one object?", v1.get_variable("w", []) is v1.get_variable("w", []))

store = tf1.VariableStore()
for phase in ("new", "restored"):
    with store.variable_scope("net"):
        logits = network(x_test, store.variable_scope, store.get_variable)
    print(
        f"VariableStore, {phase}: {len(store.variables)} variables, accuracy",
        accuracy_of(logits, y_test).numpy(),
    )
    store.restore(f"{folder.name}/two-layer")  # what the TF 1.x session saved above, by name
assert list(store.by_name) == right_names and abs(accuracy_of(logits, y_test) - right[-1]) < 1e-3

for variable in net.variables:
    variable.assign(tf.train.load_variable(f"{folder.name}/two-layer", variable.name.removesuffix(":0")))
folder.cleanup()
tf.debugging.assert_near(net(x_test), logits, atol=1e-4)
print("the Network object has the same logits")

# %% [markdown]
# `network`, written for TF 1.x, ran eagerly on the names and values of a TF 1.x checkpoint. Scope by scope it can then
# become a class: the last lines gave the same values to the `Network` object, whose labels are the old names.
#
# # Part two: collections
# ## Lists that belong to the graph
# A TF 1.x graph carried named lists. Anything could be put in and found again from anywhere. That is how
# `tf.trainable_variables()` could do without mentioning a model.

# %%
with tf.Graph().as_default():
    for name in ("layer1", "layer2", "layer10"):
        with v1.variable_scope(name):
            v1.add_to_collection("weights", v1.get_variable("w", [2]))
            v1.add_to_collection("sums", tf.reduce_sum(v1.get_collection("weights")[-1], name="sum"))
    v1.add_to_collection("weights", "any object")
    print("weights:         ", [getattr(item, "name", item) for item in v1.get_collection("weights")])
    print("operations:      ", [item.name for item in v1.get_collection("sums")])
    print("scope 'layer1':  ", [item.name for item in v1.get_collection("weights", scope="layer1")])
    print("scope 'layer1/': ", [item.name for item in v1.get_collection("weights", scope="layer1/")])
    print("trainable, 2:    ", [item.name for item in v1.trainable_variables(scope="layer2/")])
print("eagerly:         ", v1.trainable_variables())

# %% [markdown]
# `scope` is a regular expression for the beginning, so `"layer1"` finds `layer10` as well: end it with a slash. GANs
# trained one of two networks so; today it is `discriminator.trainable_variables`. The last line is a trap: eagerly
# there is no graph to ask, the list is empty, and whoever loops over it trains nothing.
#
# ## The standard collections, one by one
# TensorFlow named its own collections in `tf.GraphKeys`. The graph below fills them by the ordinary calls of 2018, as
# far as these still exist. The table says what took the place of each key, and what the graph holds in it.

# %%
KEYS = v1.GraphKeys
with tf.Graph().as_default() as graph:
    w = v1.get_variable("w", [3], regularizer=lambda w: L2 * tf.reduce_sum(w**2))
    v1.get_local_variable("seen", [])
    v1.train.string_input_producer(["a.csv"])
    tf.lookup.StaticHashTable(tf.lookup.KeyValueTensorInitializer(["a"], [1]), default_value=0)
    loss = v1.losses.mean_squared_error([0.0, 0.0, 0.0], w)
    v1.metrics.mean(loss)
    v1.summary.scalar("loss", loss)
    v1.train.ExponentialMovingAverage(0.9).apply([w])
    step = v1.train.get_or_create_global_step()
    v1.train.GradientDescentOptimizer(0.1).minimize(loss, global_step=step)
    v1.train.Scaffold().finalize()  # MonitoredTrainingSession began with this
    for key, became in tf1.GRAPH_KEYS.items():
        names = [
            getattr(item, "name", type(item).__name__) for item in graph.get_collection(getattr(KEYS, key))
        ]
        print(f"{key:<29}{became:<41}{', '.join(names)}")
assert set(tf1.GRAPH_KEYS) == {key for key in dir(KEYS) if key.isupper() and key[0] != "_"}

# %% [markdown]
# ## Regularisation losses, both ways to one number
# A penalty keeps weights small. TF 1.x collected the penalties, and you had to add the collection to the loss. Beware
# of a factor: `tf.contrib.layers.l2_regularizer(s)` meant $\frac{s}{2}\sum w^2$; `keras.regularizers.L2(s)` means
# $s\sum w^2$. Whoever moves a program over halves the number.

# %%
with tf.Graph().as_default() as graph:
    contrib_l2 = lambda w: L2 * tf.nn.l2_loss(w)  # tf.nn.l2_loss has the factor 1/2
    with v1.variable_scope("net", regularizer=contrib_l2, reuse=v1.AUTO_REUSE):  # a default for all inside
        for _ in range(2):  # sharing does not count the penalty twice
            v1.get_variable("w", initializer=START["output"])
    with v1.Session(graph=graph) as session:
        session.run(v1.global_variables_initializer())
        v1_penalty = session.run(v1.losses.get_regularization_loss())

dense = keras.layers.Dense(10, use_bias=False, kernel_regularizer=keras.regularizers.L2(L2 / 2))
dense.build([None, HIDDEN])
dense.set_weights([START["output"]])
by_hand = L2 / 2 * np.sum(START["output"] ** 2)
print(f"TF 1.x {v1_penalty:.6f}   Keras layer.losses {dense.losses[0]:.6f}   by hand {by_hand:.6f}")
np.testing.assert_allclose([v1_penalty, dense.losses[0]], by_hand, rtol=1e-5)

# %% [markdown]
# **What changed**: `model.losses` holds the penalties. `fit` adds them by itself; in a loop of your own, write
# `loss + sum(model.losses)`. To forget it is as silent as to forget the collection.
#
# ## The `UPDATE_OPS` trap of batch normalization
# Batch normalization subtracts the mean of the batch and divides by its standard deviation. A single image has no
# batch, so running averages are kept in training, for use at inference ([T_12](T_12_layers_api.ipynb) has the
# details). In TF 1.x, operations in the collection `UPDATE_OPS` moved the averages, and nothing ran them unless you
# said so. `tf.layers` is gone, so here is `tf.layers.batch_normalization` written out; look for the collection.
#
# We feed pixels from 0 to 255 and leave the scaling to the normalisation. `right` is the only difference.

# %%
print(inspect.getsource(tf1.batch_normalization))


# %%
def train_normalized(right):
    """Returns (checks, 3): test accuracy in training mode, in inference mode, and unit 0's moving mean."""
    with tf.Graph().as_default() as graph:
        x, y = v1.placeholder(tf.float32, [None, 784]), v1.placeholder(tf.int64, [None])
        training = v1.placeholder(tf.bool, [])
        w1, w2 = (v1.get_variable(name, initializer=START[name]) for name in ("hidden", "output"))
        normalized = tf1.batch_normalization(x @ w1, momentum=MOMENTUM, training=training, name="bn")
        logits = tf.tanh(normalized) @ w2
        loss, accuracy = v1.losses.sparse_softmax_cross_entropy(y, logits), accuracy_of(logits, y)
        with tf.control_dependencies(v1.get_collection(KEYS.UPDATE_OPS) if right else []):
            minimize = v1.train.GradientDescentOptimizer(LEARNING_RATE).minimize(loss)
        [moving_mean] = v1.global_variables(scope="bn/moving_mean")
        with v1.Session(graph=graph) as session:
            session.run(v1.global_variables_initializer())
            test = [{x: x_test, y: y_test, training: mode} for mode in (True, False)]
            return train(
                lambda images, labels: session.run(minimize, {x: images, y: labels, training: True}),
                lambda: [*(session.run(accuracy, feed) for feed in test), session.run(moving_mean)[0]],
            )


forgotten, updated = train_normalized(right=False), train_normalized(right=True)
for title, curve in [("UPDATE_OPS forgotten", forgotten), ("UPDATE_OPS run", updated)]:
    print(f"{title:<21} test accuracy in training mode {curve[-1, 0]:.3f}, at inference {curve[-1, 1]:.3f}")

# %% [markdown]
# A Keras layer assigns its averages inside the call. Nothing can be forgotten, except `training=True` in a loop of
# your own; `fit` and `train_on_batch` pass it.

# %%
model = keras.Sequential([
    keras.Input([784]),
    keras.layers.Dense(HIDDEN, use_bias=False),
    keras.layers.BatchNormalization(momentum=MOMENTUM),
    keras.layers.Activation("tanh"),
    keras.layers.Dense(10, use_bias=False),
])  # fmt: skip
model.layers[0].set_weights([START["hidden"]])
model.layers[3].set_weights([START["output"]])
loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
model.compile(keras.optimizers.SGD(LEARNING_RATE), loss)
keras_curve = train(model.train_on_batch, lambda: accuracy_of(model(x_test, training=False), y_test))
print(f"Keras at inference {keras_curve[-1]:.3f}; largest difference to TF 1.x with UPDATE_OPS:",
      f"{np.abs(keras_curve - updated[:, 1]).max():.1e}")  # fmt: skip
assert np.abs(keras_curve - updated[:, 1]).max() < 5e-3

# %%
figure, axes = plt.subplots(1, 2, figsize=(10, 3.6), layout="constrained")
panels = [
    ("Moving mean of one unit", "moving mean", {"UPDATE_OPS run": updated[:, 2], "forgotten": forgotten[:, 2]}),
    ("Batch normalization at inference", "test accuracy",
     {"UPDATE_OPS run": updated[:, 1], "forgotten": forgotten[:, 1],
      "forgotten, training mode": forgotten[:, 0], "Keras layer": keras_curve}),
]  # fmt: skip
for axis, (title, ylabel, curves) in zip(axes, panels):
    for (label, values), style in zip(curves.items(), ["go-", "ro-", "r:", "kx"]):
        axis.plot(np.linspace(0, STEPS, 11), values, style, label=label, ms=5)
    axis.set(title=title, xlabel="training step", ylabel=ylabel)
    axis.legend(fontsize=8)
save_figure(figure, "T_03_update_ops.png")

# %% [markdown]
# Left: the average that nobody updates stays at 0, while the unit's mean is far from it. Right: in training mode the
# mistake does not show (dotted). At inference every unit is divided by 1 instead of its standard deviation, `tanh` is
# driven to its ends, and accuracy is lost.
#
# ## Summary
# 1. Today a variable is an object; names and paths are labels for people and files.
# 2. Sharing weights means calling one object twice; count the variables to be sure.
# 3. In TF 1.x, `get_variable` looked names up in a registry, prefixed by `variable_scope` but not by `name_scope`.
# 4. Collections were global lists; now each object carries its own: `trainable_variables`, `losses`, `metrics`.
# 5. `UPDATE_OPS` had to be run by hand; a Keras layer updates itself if it is told that it trains.

# %%
assert right[-1] > wrong[-1] + 0.3, "the shared network should be far better than the one that is not shared"
assert updated[-1, 1] > forgotten[-1, 1] + 0.05, "batch normalization without its updates should do worse"
report(accuracy_shared=right[-1], accuracy_not_shared=wrong[-1],
       accuracy_with_update_ops=updated[-1, 1], accuracy_without_update_ops=forgotten[-1, 1])  # fmt: skip

# %% [markdown]
# ## Exercises
# 1. Build `network` twice under `tf.AUTO_REUSE`, first in `variable_scope("net")`, then in `variable_scope("Net")`. How
#    many variables are there, and what would `reuse=True` have said?
# 2. A colleague reads the collection of regularisation losses *before* building the layers. What is the penalty?
# 3. Set `MOMENTUM = 0.999`. What happens to the left panel and to inference, and why?
#
# <details><summary>Outlines of the answers</summary>
#
# 1. Four: the scopes differ in one letter. `reuse=True` would have said that `Net/hidden/w` does not exist.
# 2. Zero, without an error: the list was empty when it was read. The same happens with `UPDATE_OPS`.
# 3. The average creeps: after 500 steps it still holds 0.999⁵⁰⁰ = 61 % of its start value. Inference suffers although
#    all is wired correctly. Train longer, or use a smaller momentum.
# </details>
#
# **Next**: [T_04 A convolutional network on MNIST](T_04_cnn_mnist.ipynb)
