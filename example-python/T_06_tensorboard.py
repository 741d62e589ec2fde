# %% [markdown]
# # T_06 TensorBoard
#
# **Question**: how do we see what happens inside a training while it runs, and what does looking cost?
#
# **After this lesson you can**
# 1. log scalars, histograms, images, text, graphs, hyper-parameters, embeddings and profiles, and find each again;
# 2. compare train and test as two runs, and read any log back into Python to prove what it says;
# 3. read TensorFlow 1.x logging code: `FileWriter`, `merge_all`, `add_graph`.
#
# **Read before**: [T_02 A feed-forward network on MNIST](T_02_feedforward_mnist.ipynb).
#
# **Time**: 25 seconds on a two-core CPU, from a measured run.

# %%
import os
import shutil
import time

from utils.lesson import REPO, RUNS, quiet_start, report, save_figure
from utils.mnist import load_mnist

quiet_start()  # TensorFlow without its start-up messages
import keras
import matplotlib.pyplot as plt
import numpy as np
import tensorboard
import tensorflow as tf

tf.get_logger().setLevel("ERROR")  # the TF 1.x section would print notes on deprecated names
print("TensorFlow", tf.__version__, "· Keras", keras.__version__, "· TensorBoard", tensorboard.__version__)

# %% [markdown]
# ## Knobs

# %%
QUICK = os.environ.get("TUTORIAL_QUICK") == "1"
SEED = 1
DRIFT_STEPS = 10 if QUICK else 100  # steps of the drifting variable
HIDDEN = 128  # units of the hidden layer; also the number of dimensions of the embedding
LEARNING_RATE = 0.5  # plain gradient descent on small inputs stands a large step
BATCH = 100
STEPS = 60 if QUICK else 1100  # 550 steps see every training image once
TEST_EVERY = 10 if QUICK else 20  # steps between two looks at the test set
DETAIL_EVERY = 20 if QUICK else 100  # steps between two sets of histograms and images, which are dear
TRIAL_STEPS = 20 if QUICK else 200  # steps of each hyper-parameter trial
POINTS = 200 if QUICK else 1000  # test images in the embedding
V1_STEPS = 20 if QUICK else 200  # steps compared with TensorFlow 1.x
COST_ROUNDS, COST_STEPS = (1, 20) if QUICK else (7, 200)  # for the measurement of what logging costs
DEAR_STEPS = 3 if QUICK else 20  # the same, for the dearest way
MIN_ACCURACY = 0.7 if QUICK else 0.96  # test accuracy of the small network

keras.utils.set_random_seed(SEED)

# %% [markdown]
# A log lives in a folder. A second run into the same folder adds a second file, and TensorBoard draws both as one
# zigzag curve. So every run gets its own folder, and this lesson starts by removing its old ones.

# %%
LOGS = RUNS / "T_06"
shutil.rmtree(LOGS, ignore_errors=True)
print("logs go to", LOGS.relative_to(REPO).as_posix())

# %% [markdown]
# ## What a log is
# Three numbers first. A *writer* owns one file in one folder. `tf.summary.scalar` takes a name (the *tag*), a
# value and a step, and the writer that is the default at that moment puts them into its file.

# %%
writer = tf.summary.create_file_writer(str(LOGS / "squares"))
with writer.as_default():
    for step in range(3):
        tf.summary.scalar("square", (step + 1) ** 2, step=step)
writer.close()  # values wait in memory for up to two minutes; close() or flush() puts them on the disk

# %% [markdown]
# The file is a TFRecord file (T_09 takes one apart) whose records are `Event` messages: a time, a step, a value.
# A log is no more than that, so nothing stops us from reading it.

# %%
(file,) = (LOGS / "squares").iterdir()
print("its name starts with", ".".join(file.name.split(".")[:3]), "and holds", file.stat().st_size, "bytes")
for record in tf.data.TFRecordDataset(str(file)):
    event = tf.compat.v1.Event.FromString(record.numpy())
    if event.file_version:
        print("version", event.file_version)
    for value in event.summary.value:
        print(f"step {event.step}   {value.tag} = {tf.make_ndarray(value.tensor)}")

# %% [markdown]
# TensorBoard's own reader, the `EventAccumulator`, does this for a whole folder. By default it keeps a random
# sample of long series, only ten of most kinds, to save memory. `size_guidance` 0 means all of them, which is
# what a proof needs. A reader that forgets this draws a curve with holes. We use this function for everything
# below: first write, then read back.

# %%
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

KINDS = ("tensors", "scalars", "histograms", "images")


def read_run(folder):
    """The EventAccumulator of one run's folder with every value kept."""
    run = EventAccumulator(str(folder), size_guidance=dict.fromkeys(KINDS, 0))
    run.Reload()
    return run


def read_series(folder, tag):
    """Steps and values of one tag that TensorFlow 2 wrote: a list of ints, a list of NumPy arrays."""
    events = read_run(folder).Tensors(tag)
    return [e.step for e in events], [tf.make_ndarray(e.tensor_proto) for e in events]


steps, values = read_series(LOGS / "squares", "square")
print("read back:", dict(zip(steps, map(float, values))))
assert (steps, values) == ([0, 1, 2], [1.0, 4.0, 9.0])

# %% [markdown]
# A **histogram** does not store the values, only how many fall into each of (by default) 30 buckets of equal
# width. Each row is left edge, right edge, count. Eight numbers and four buckets can be checked by hand: one 0,
# three 1s, and so on.

# %%
with tf.summary.create_file_writer(str(LOGS / "squares")).as_default():
    tf.summary.histogram("eight_numbers", [0.0, 1.0, 1.0, 1.0, 2.0, 2.0, 4.0, 4.0], step=0, buckets=4)
    tf.summary.flush()
_, (buckets,) = read_series(LOGS / "squares", "eight_numbers")
print(buckets)
assert buckets[:, 2].tolist() == [1, 3, 2, 2]  # the last bucket includes its right edge

# %% [markdown]
# ## Example 1: a variable that drifts
# A variable of 1000 numbers starts at zero. Each step adds noise of mean 0.05 and standard deviation 0.2 to each.
# After $t$ steps theory says: mean $0.05\,t$, standard deviation $0.2\sqrt t$. The histogram must move to the
# right and widen.

# %%
DRIFT_MEAN, DRIFT_STD = 0.05, 0.2


def drift_noise(step):
    """Noise of shape (1000,) that depends on the step only, so that TF 1.x below can draw the same."""
    return tf.random.stateless_normal([1000], seed=[SEED, step], mean=DRIFT_MEAN, stddev=DRIFT_STD)


drifting = tf.Variable(tf.zeros([1000]), name="drifting")
with tf.summary.create_file_writer(str(LOGS / "drift")).as_default():
    for step in range(1, DRIFT_STEPS + 1):
        drifting.assign_add(drift_noise(step))
        tf.summary.histogram("drifting", drifting, step=step)
        tf.summary.scalar("mean", tf.reduce_mean(drifting), step=step)
        tf.summary.scalar("std", tf.math.reduce_std(drifting), step=step)
    tf.summary.flush()

drift_steps, drift_buckets = read_series(LOGS / "drift", "drifting")  # each (30, 3)
counts = np.stack([b[:, 2] for b in drift_buckets])
centres = np.stack([b[:, :2].mean(axis=1) for b in drift_buckets])
bucket_means = (counts * centres).sum(axis=1) / counts.sum(axis=1)
true_means = np.array(read_series(LOGS / "drift", "mean")[1])
widths = np.array([b[0, 1] - b[0, 0] for b in drift_buckets])
print("numbers in each histogram:", int(counts[0].sum()))
print(f"mean after {DRIFT_STEPS} steps: logged {true_means[-1]:.3f}, from the buckets {bucket_means[-1]:.3f}, "
      f"theory {DRIFT_MEAN * DRIFT_STEPS:.3f}")  # fmt: skip
assert drift_steps == list(range(1, DRIFT_STEPS + 1)) and np.all(counts.sum(axis=1) == 1000)
assert np.all(np.abs(bucket_means - true_means) < widths / 2)  # buckets blur a mean by half a width at most

# %% [markdown]
# TensorBoard shows such a histogram twice. **Histograms** stacks the shapes, one layer a step, the newest in
# front.
#
# ![The Histograms tab: a ridge that moves right and grows wide](../figs/T_06_histograms.png)
#
# **Distributions** shows the same data from above, as bands of quantiles over the steps: the line in the middle
# is the median.
#
# ![The Distributions tab: a band that rises and widens](../figs/T_06_distributions.png)

# %% [markdown]
# ## Example 2: train and test curves
# A network with one hidden layer learns MNIST. It is written as a function of its parameters, so that TF 1.x
# below can use the same lines. `tf.name_scope` groups operations under a name; the graph tab draws each group as
# one box.

# %%
mnist = load_mnist()
train_x, test_x = (
    part.images.reshape(-1, 784).astype(np.float32) / 255 for part in (mnist.train, mnist.test)
)
train_y, test_y = mnist.train.labels.astype(np.int32), mnist.test.labels.astype(np.int32)
print("train", train_x.shape, "  test", test_x.shape)


def hidden_layer(x, parameters):
    """(batch, 784) -> (batch, hidden)"""
    with tf.name_scope("hidden"):
        return tf.nn.relu(x @ parameters["hidden_weight"] + parameters["hidden_bias"])


def scores(x, parameters):
    """(batch, 784) -> (batch, 10)"""
    hidden = hidden_layer(x, parameters)
    with tf.name_scope("output"):
        return hidden @ parameters["output_weight"] + parameters["output_bias"]


def measures(x, y, parameters):
    """Mean cross-entropy and the fraction of correct answers, both scalars."""
    logits = scores(x, parameters)  # (batch, 10)
    with tf.name_scope("loss"):
        loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels=y, logits=logits))
    with tf.name_scope("accuracy"):
        right = tf.equal(tf.argmax(logits, axis=1, output_type=tf.int32), y)
        return loss, tf.reduce_mean(tf.cast(right, tf.float32))


def initial_values(hidden=HIDDEN):
    """Random weights with standard deviation sqrt(2 / inputs), biases 0."""
    random = np.random.default_rng(SEED)
    normal = lambda rows, columns: random.normal(0, np.sqrt(2 / rows), (rows, columns)).astype(np.float32)
    return {
        "hidden_weight": normal(784, hidden),
        "hidden_bias": np.zeros(hidden, np.float32),
        "output_weight": normal(hidden, 10),
        "output_bias": np.zeros(10, np.float32),
    }


def batches(steps):
    """Yield the step number and a batch, in an order that the seed fixes."""
    random = np.random.default_rng(SEED)
    for step in range(1, steps + 1):
        rows = random.integers(0, len(train_x), BATCH)
        yield step, train_x[rows], train_y[rows]


def make_training(hidden=HIDDEN, learning_rate=LEARNING_RATE):
    """Fresh variables, and a compiled training step and evaluation on them."""
    variables = {name: tf.Variable(value, name=name) for name, value in initial_values(hidden).items()}

    @tf.function
    def train_step(x, y):
        with tf.GradientTape() as tape:
            loss, accuracy = measures(x, y, variables)
        with tf.name_scope("descent"):
            gradients = tape.gradient(loss, variables)
            for name, variable in variables.items():
                variable.assign_sub(learning_rate * gradients[name])
        return loss, accuracy, gradients

    evaluate = tf.function(lambda x, y: measures(x, y, variables))
    return variables, train_step, evaluate


# %% [markdown]
# Two writers with two folders make two *runs*. Both use the tags `loss` and `accuracy`: TensorBoard draws what
# has the same tag into one chart, one line for each run. Details go in rarely: histograms of each weight and its
# gradient, and the weights of six hidden units as pictures, since each unit has one weight for each pixel.

# %%
variables, train_step, evaluate = make_training()
train_log = tf.summary.create_file_writer(str(LOGS / "mnist/train"))
test_log = tf.summary.create_file_writer(str(LOGS / "mnist/test"))


def weight_pictures():
    """The weights of six hidden units as uint8 pictures (6, 28, 28, 1): 128 is zero."""
    weights = variables["hidden_weight"].numpy()[:, :6].T.reshape(6, 28, 28, 1)
    return np.clip(128 + 127 * weights / np.abs(weights).max(), 0, 255).astype(np.uint8)


train_losses = []  # what went in, to be compared with what comes out
for step, x, y in batches(STEPS):
    loss, accuracy, gradients = train_step(x, y)
    train_losses.append(float(loss))
    with train_log.as_default(step=step):
        tf.summary.scalar("loss", loss)
        tf.summary.scalar("accuracy", accuracy)
        if step % DETAIL_EVERY == 0:
            for name, variable in variables.items():
                tf.summary.histogram(f"weights/{name}", variable)
                tf.summary.histogram(f"gradients/{name}", gradients[name])
            tf.summary.image("hidden_units", weight_pictures(), max_outputs=6)
    if step % TEST_EVERY == 0:
        test_loss, test_accuracy = evaluate(test_x, test_y)
        with test_log.as_default(step=step):
            tf.summary.scalar("loss", test_loss)
            tf.summary.scalar("accuracy", test_accuracy)
    if step % (STEPS // 5) == 0:
        print(
            f"step {step:4d}   train loss {loss:.4f}   test loss {test_loss:.4f}   test accuracy {test_accuracy:.4f}"
        )
train_log.flush()
test_log.flush()
last_pictures, final_accuracy = weight_pictures(), float(test_accuracy)

# %% [markdown]
# ![The Scalars view: loss and accuracy, a noisy train line and a smooth test line](../figs/T_06_scalars.png)
#
# The pale line is the data. The bold one is smoothed by a slider; set it to 0 before you judge a number. The same
# curves come straight from the files.

# %%
curves = {
    (run, tag): read_series(LOGS / "mnist" / run, tag)
    for run in ("train", "test")
    for tag in ("loss", "accuracy")
}
assert curves["train", "loss"][1] == train_losses  # every value, in order, bit for bit
assert curves["test", "loss"][0] == list(range(TEST_EVERY, STEPS + 1, TEST_EVERY))

figure, axes = plt.subplots(1, 3, figsize=(13, 3.8), layout="constrained")
edge = drift_steps
axes[0].plot(edge, true_means, color="tab:orange", label="logged mean")
axes[0].fill_between(edge, [b[0, 0] for b in drift_buckets], [b[-1, 1] for b in drift_buckets], alpha=0.2,
                     color="tab:orange", label="first to last bucket")  # fmt: skip
axes[0].plot(edge, DRIFT_MEAN * np.array(edge), "k:", label="theory: 0.05 × step")
axes[0].set(title="The drifting variable", xlabel="step", ylabel="value")
for axis, tag in zip(axes[1:], ("loss", "accuracy")):
    axis.plot(*curves["train", tag], color="0.75", lw=0.7, label="train, one batch")
    axis.plot(*curves["test", tag], color="tab:blue", label="test, 10,000 images")
    axis.set(title=f"MNIST: {tag}", xlabel="step", ylabel=tag)
axes[1].set_yscale("log")
for axis in axes:
    axis.legend(fontsize=8)
save_figure(figure, "T_06_readback.png")

# %% [markdown]
# The train line is noisy because each point is one batch of 100 images; the test line is the one to judge by.
#
# ## Images
# `tf.summary.image` takes `(pictures, height, width, channels)`, uint8 or floats from 0 to 1, and stores PNG
# files, so nothing is lost. A slider above each picture goes through the steps.

# %%
_, stored = read_series(LOGS / "mnist/train", "hidden_units")
print("first entries: width and height:", stored[-1][:2], "  then", len(stored[-1]) - 2, "PNG files")
decoded = np.stack([tf.io.decode_png(png).numpy() for png in stored[-1][2:]])  # (6, 28, 28, 1)
assert np.array_equal(decoded, last_pictures)

# %% [markdown]
# ![The Images tab: weights of hidden units](../figs/T_06_images.png)
#
# Bright pixels speak for the unit, dark ones against it. The grain of the random start is still there, mostly at
# the rim, where every image is 0 and no gradient comes.
#
# ## Text
# What you will want to know in a month goes into the log as Markdown.

# %%
NOTES = f"""| knob | value |
|---|---|
| hidden units | {HIDDEN} |
| learning rate | {LEARNING_RATE} |
| batch | {BATCH} |

**Result**: test accuracy {final_accuracy:.2%} after {STEPS} steps."""
with train_log.as_default(step=0):
    tf.summary.text("notes", NOTES)
    tf.summary.flush()
assert read_series(LOGS / "mnist/train", "notes")[1][0].item().decode() == NOTES
print(NOTES.splitlines()[-1])

# %% [markdown]
# ![The Text tab: the table of knobs](../figs/T_06_text.png)
#
# ## The graph
# A `tf.function` has a graph for each kind of input. Ask for one and write it.

# %%
graph_log = tf.summary.create_file_writer(str(LOGS / "graph"))
concrete = evaluate.get_concrete_function(
    tf.TensorSpec([None, 784], tf.float32, name="images"), tf.TensorSpec([None], tf.int32, name="labels")
)
with graph_log.as_default():
    tf.summary.graph(concrete.graph)
    tf.summary.flush()


def products(folder):
    """The names of the matrix products in the graph that a log holds."""
    return [node.name for node in read_run(folder).Graph().node if node.op == "MatMul"]


print("matrix products in the log:", products(LOGS / "graph"))
assert products(LOGS / "graph") == ["hidden/matmul", "output/matmul"]

# %% [markdown]
# ![The graph tab: boxes hidden, output, loss and accuracy, joined by arrows](../figs/graph2.png)
#
# Data flows from bottom to top, each box is a name scope, and a double click opens it. The number on an arrow is
# the shape that flows there. Use the graph to check that a layer is where you think it is.
#
# ## Hyper-parameters
# The **HParams** tab sets several runs beside each other in a table. Each run states its settings once; the
# result is an ordinary scalar.

# %%
from tensorboard.plugins.hparams import api as hp
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

TRIALS = [{"hidden": hidden, "learning_rate": rate} for hidden in (16, 128) for rate in (0.05, 0.5)]
with tf.summary.create_file_writer(str(LOGS / "hparams")).as_default():
    hp.hparams_config(
        hparams=[
            hp.HParam("hidden", hp.Discrete([16, 128])),
            hp.HParam("learning_rate", hp.Discrete([0.05, 0.5])),
        ],
        metrics=[hp.Metric("test_accuracy", display_name="test accuracy")],
    )
    tf.summary.flush()
for number, trial in enumerate(TRIALS):
    _, trial_step, trial_evaluate = make_training(**trial)
    for _, x, y in batches(TRIAL_STEPS):
        trial_step(x, y)
    with tf.summary.create_file_writer(str(LOGS / f"hparams/trial_{number}")).as_default(step=TRIAL_STEPS):
        hp.hparams(trial)
        tf.summary.scalar("test_accuracy", trial_evaluate(test_x, test_y)[1])
        tf.summary.flush()

for number, trial in enumerate(TRIALS):
    run = read_run(LOGS / f"hparams/trial_{number}")
    metadata = run.SummaryMetadata("_hparams_/session_start_info").plugin_data.content
    logged = HParamsPluginData.FromString(metadata).session_start_info.hparams
    found = {name: value.number_value for name, value in logged.items()}
    (accuracy,) = read_series(LOGS / f"hparams/trial_{number}", "test_accuracy")[1]
    print(
        f"trial {number}   hidden {found['hidden']:4.0f}   rate {found['learning_rate']:.2f}   accuracy {accuracy:.4f}"
    )
    assert found == trial

# %% [markdown]
# ![The HParams tab: a table of four trials](../figs/T_06_hparams.png)
#
# In so short a training the learning rate matters more than the width. These accuracies come from the test set
# because this is about the tool; choose settings by a validation set, as T_02 does.

# %% [markdown]
# ## Embeddings
# The **Projector** turns points of many dimensions so that we can see their neighbours. It reads plain files: the
# vectors, one label a line, a *sprite* (all thumbnails in one picture, row by row), and a small file that names
# them. Our points are the 128 outputs of the hidden layer for test images.

# %%
from PIL import Image
from tensorboard.plugins import projector

EMBEDDING = LOGS / "embedding"
EMBEDDING.mkdir(parents=True)
points = hidden_layer(test_x[:POINTS], variables).numpy()  # (points, 128)
np.savetxt(EMBEDDING / "vectors.tsv", points, fmt="%.4f", delimiter="\t")
np.savetxt(EMBEDDING / "labels.tsv", test_y[:POINTS], fmt="%d")

side = int(np.ceil(np.sqrt(POINTS)))  # the sprite is a square of side × side thumbnails, the rest stays black
sprite = np.zeros((side * side, 28, 28), np.uint8)
sprite[:POINTS] = mnist.test.images[:POINTS]
sprite = sprite.reshape(side, side, 28, 28).swapaxes(1, 2).reshape(side * 28, side * 28)
Image.fromarray(255 - sprite).save(EMBEDDING / "sprite.png")  # dark ink on white

config = projector.ProjectorConfig()
entry = config.embeddings.add(tensor_name="hidden", tensor_path="vectors.tsv", metadata_path="labels.tsv")
entry.sprite.image_path = "sprite.png"
entry.sprite.single_image_dim.extend([28, 28])
projector.visualize_embeddings(str(EMBEDDING), config)
print(sorted(path.name for path in EMBEDDING.iterdir()), "sprite", sprite.shape)

# %% [markdown]
# ![The Projector: test images in the space of the hidden layer](../figs/T_06_projector.png)
#
# A picture of 128 dimensions on a plane can deceive, so measure what it suggests: how often is the nearest
# neighbour of an image the same digit, by pixels and by the hidden layer?


# %%
def neighbour_agreement(vectors, labels):
    """The fraction of rows of (points, dimensions) whose nearest other row has the same label."""
    squares = (vectors**2).sum(axis=1)
    distances = squares[:, None] - 2 * vectors @ vectors.T + squares  # (points, points)
    np.fill_diagonal(distances, np.inf)
    return float(np.mean(labels[distances.argmin(axis=1)] == labels))


stored_points = np.loadtxt(EMBEDDING / "vectors.tsv", dtype=np.float32, ndmin=2)
np.testing.assert_allclose(stored_points, points, atol=1e-4)
pixel_agreement = neighbour_agreement(test_x[:POINTS], test_y[:POINTS])
hidden_agreement = neighbour_agreement(stored_points, test_y[:POINTS])
print(
    f"nearest neighbour is the same digit: pixels {pixel_agreement:.1%}, hidden layer {hidden_agreement:.1%}"
)

# %% [markdown]
# ## The profiler
# The profiler records when each operation ran and how long. Wrap a few steps, after the first, which would show
# the tracing. `Trace` marks where a step begins and ends.

# %%
profile_step = make_training()[1]
first_batch = next(batches(1))[1:]
profile_step(*first_batch)
tf.profiler.experimental.start(str(LOGS / "profile"))
for step, x, y in batches(20):
    with tf.profiler.experimental.Trace("train", step_num=step, _r=1):
        profile_step(x, y)
tf.profiler.experimental.stop()

# %% [markdown]
# The result is one `xplane.pb` file. The page that draws it is an add-on, the package
# `tensorboard-plugin-profile`. The file can also be read directly: planes (devices) hold lines (threads) hold
# events. An operation's event is called `name:type`; we add up by type.

# %%
from collections import Counter

from tensorflow.tsl.profiler.protobuf import xplane_pb2

(profile_file,) = (LOGS / "profile").rglob("*.xplane.pb")
space = xplane_pb2.XSpace.FromString(profile_file.read_bytes())
microseconds, marked_steps = Counter(), 0
for plane in space.planes:
    for line in plane.lines:
        for event in line.events:
            name = plane.event_metadata[event.metadata_id].name
            marked_steps += name == "train"
            scope, _, kind = name.rpartition(":")
            if scope.replace("/", "").replace("_", "").isalnum() and kind.isidentifier():
                microseconds[kind] += event.duration_ps / 1e6
print("steps in the profile:", marked_steps)
assert marked_steps == 20 and any("MatMul" in kind for kind in microseconds)

figure, axis = plt.subplots(figsize=(8, 3.4), layout="constrained")
kinds, amounts = zip(*microseconds.most_common(8))
axis.barh(kinds[::-1], [amount / 20 for amount in amounts[::-1]], color="tab:green")
axis.set(title="Where a training step spends its time", xlabel="microseconds a step (sum over threads)",
         ylabel="type of operation")  # fmt: skip
save_figure(figure, "T_06_profile.png")

# %% [markdown]
# The arithmetic is in the matrix products: `_MklMatMul`, and the fused one, which TensorFlow made of `@`, the
# addition behind it and ReLU. The update of the weights, `AssignSubVariableOp`, does one subtraction for each
# weight and yet is among the longest bars. Counting multiplications would not have told you; that is why one
# profiles.

# %% [markdown]
# ## What logging costs
# Five ways to log the same training, in turns so that a busy machine troubles all alike. We report the median
# over the rounds and what each way writes.

# %%
cost_variables, cost_step, _ = make_training()
cost_step(*first_batch)


def log_scalars(loss, accuracy, gradients):
    tf.summary.scalar("loss", loss)
    tf.summary.scalar("accuracy", accuracy)


def log_histograms(loss, accuracy, gradients):
    for name, variable in cost_variables.items():
        tf.summary.histogram(name, variable)
        tf.summary.histogram(f"gradient/{name}", gradients[name])


WAYS = {  # name: (what to log, every how many steps, how many steps)
    "no logging": (None, 0, COST_STEPS),
    "scalars, every 100 steps": (log_scalars, 100, COST_STEPS),
    "scalars, every step": (log_scalars, 1, COST_STEPS),
    "histograms, every 100 steps": (log_histograms, 100, COST_STEPS),
    "histograms, every step": (log_histograms, 1, DEAR_STEPS),
}
rates, sizes = {way: [] for way in WAYS}, {}
for _ in range(COST_ROUNDS + 1):  # the first round warms up and is dropped
    for number, (way, (log, every, count)) in enumerate(WAYS.items()):
        folder = LOGS / f"cost/way_{number}"
        shutil.rmtree(folder, ignore_errors=True)
        with tf.summary.create_file_writer(str(folder)).as_default():
            start = time.perf_counter()
            for step, x, y in batches(count):
                results = cost_step(x, y)
                if log and step % every == 0:
                    tf.summary.experimental.set_step(step)
                    log(*results)
            results[0].numpy()
            tf.summary.flush()
            rates[way].append(count / (time.perf_counter() - start))
        sizes[way] = sum(path.stat().st_size for path in folder.iterdir()) / count
tf.summary.experimental.set_step(None)
shutil.rmtree(LOGS / "cost")  # not a training that anybody wants to look at

rates = {way: values[1:] for way, values in rates.items()}
median = {way: float(np.median(values)) for way, values in rates.items()}
print(f"{'':<28}{'steps/s':>8}{'spread':>14}{'slower by':>11}{'bytes/step':>12}")
for way, values in rates.items():
    slower = median["no logging"] / median[way]
    print(f"{way:<28}{median[way]:8.0f}{f'{min(values):.0f} to {max(values):.0f}':>14}{f'{slower:.2f} ×':>11}"
          f"{sizes[way]:12,.0f}")  # fmt: skip
assert QUICK or median["histograms, every step"] < median["no logging"]

figure, axis = plt.subplots(figsize=(8, 3), layout="constrained")
ways = list(WAYS)[::-1]
low = [median[way] - min(rates[way]) for way in ways]
high = [max(rates[way]) - median[way] for way in ways]
axis.barh(ways, [median[way] for way in ways], xerr=[low, high], color="tab:blue", ecolor="0.4", capsize=3)
axis.set(
    title="What logging costs",
    xlabel="training steps a second (median; bars: all rounds)",
    ylabel="what is logged",
)
save_figure(figure, "T_06_cost.png")

# %% [markdown]
# A logged scalar costs a fixed time, which weighs on a step as short as this one and vanishes in a step of a
# second. A histogram costs far more: its buckets are counted by comparing each value with each bucket, for 100,000
# weights and as many gradients. The rule that follows: scalars every so many steps, histograms and images a few
# times in a training.
#
# ## Looking at it
# From the command line, in the repository's folder, then open the address that it prints:
#
# ```
# .venv/bin/tensorboard --logdir runs/T_06
# ```
#
# In a notebook, a cell of its own, after the next one has run. It shows the same page below the cell, as long as
# the notebook runs:
#
# ```
# %load_ext tensorboard
# %tensorboard --logdir ../runs/T_06
# ```
#
# Lines with `%` are commands of the notebook, not Python, and a page from a server on your machine cannot be
# stored in a file. That is why this lesson stores screenshots instead. This is the cell in JupyterLab:
#
# ![TensorBoard below a cell in JupyterLab](../figs/T_06_notebook.png)
#
# The other pictures show one folder each, for example `--logdir runs/T_06/mnist`: fewer runs, clearer pages.
# `python doc/tensorboard_screenshots.py` makes all screenshots again. TensorBoard is also a library. Here we
# start it, ask it what a browser would ask, and compare its answer with the files.

# %%
import json
import sys
import urllib.request

from tensorboard import program

# A notebook's kernel may not have this environment's programs on its path; `%tensorboard` needs them there.
os.environ["PATH"] = os.pathsep.join([os.path.dirname(sys.executable), os.environ.get("PATH", "")])

server = program.TensorBoard()
# An interval of 0 reads the files once: no thread is left reading when the program ends.
options = {"--logdir": LOGS, "--port": 0, "--load_fast": "false", "--reload_interval": 0}
server.configure(argv=["tensorboard", *(str(part) for pair in options.items() for part in pair)])
address = server.launch()  # a thread of this process: it ends with the lesson
browser = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # straight to this machine


def ask(path):
    """The JSON that TensorBoard answers."""
    with browser.open(address + path, timeout=30) as answer:
        return json.load(answer)


EXPECTED = {"drift", "graph", "hparams", "mnist/test", "mnist/train", "squares"}
deadline = time.perf_counter() + 60
while not EXPECTED.issubset(ask("data/runs")) and time.perf_counter() < deadline:
    time.sleep(0.2)  # it reads the files in the background
print("runs:", sorted(ask("data/runs"))[:5], "…")
served = ask("data/plugin/scalars/scalars?run=mnist/test&tag=accuracy")  # rows of [time, step, value]
assert EXPECTED.issubset(ask("data/runs"))
assert [value for _, _, value in served] == [float(value) for value in curves["test", "accuracy"][1]]
print("last test accuracy that TensorBoard serves:", round(served[-1][2], 4))

# %% [markdown]
# With `fit` a callback writes scalars and histograms. It makes the runs `train` and `validation` by itself. We leave
# its graph out: TensorBoard 2.21 answers "Graph visualization failed" to the one that Keras 3 writes.

# %%
model = keras.Sequential([keras.Input([784]), keras.layers.Dense(HIDDEN, "relu"), keras.layers.Dense(10)])
model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"])
callback = keras.callbacks.TensorBoard(LOGS / "fit", histogram_freq=1, write_graph=False)
model.fit(train_x[:5000], train_y[:5000], batch_size=BATCH, epochs=2, verbose=0, callbacks=[callback],
          validation_data=(test_x[:1000], test_y[:1000]))  # fmt: skip
for run in ("train", "validation"):
    tags = read_run(LOGS / "fit" / run).Tags()["tensors"]
    print(f"{run:<10} {len(tags)} tags, among them", [tag for tag in tags if tag.startswith("epoch_")])
    assert {"epoch_loss", "epoch_accuracy"}.issubset(tags)

# %% [markdown]
# # The same in TF 1.x
# A summary was an operation in the graph. `merge_all` gathered them from a collection into one operation, running
# it gave bytes, and a `FileWriter` put the bytes into a file. First the drifting variable.

# %%
v1 = tf.compat.v1

with tf.Graph().as_default() as graph:
    step_in = v1.placeholder(tf.int32, [], name="step")
    v1_drifting = v1.get_variable("drifting", [1000], initializer=v1.zeros_initializer())
    moved = v1.assign_add(v1_drifting, drift_noise(step_in))
    v1.summary.histogram("drifting", moved)
    v1.summary.scalar("mean", tf.reduce_mean(moved))
    merged = v1.summary.merge_all()
    with v1.Session(graph=graph) as session:
        v1_writer = v1.summary.FileWriter(str(LOGS / "v1/drift"))
        session.run(v1.global_variables_initializer())
        for step in range(1, DRIFT_STEPS + 1):
            v1_writer.add_summary(session.run(merged, {step_in: step}), step)
        v1_writer.close()

v1_drift = read_run(LOGS / "v1/drift")
print("tags:", v1_drift.Tags()["scalars"], v1_drift.Tags()["histograms"])
v1_means = [event.value for event in v1_drift.Scalars("mean_1")]
v1_last = v1_drift.Histograms("drifting_1")[-1].histogram_value
print(
    f"largest difference of the means, over {len(v1_means)} steps: {np.abs(v1_means - true_means).max():.1e}"
)
np.testing.assert_allclose(v1_means, true_means, atol=1e-5)
np.testing.assert_allclose(
    [v1_last.min, v1_last.max], [drift_buckets[-1][0, 0], drift_buckets[-1][-1, 1]], atol=1e-5
)
assert v1_last.num == 1000
print(
    "buckets: TF 1.x",
    len(v1_last.bucket),
    "of growing width, today",
    len(drift_buckets[-1]),
    "of equal width",
)

# %% [markdown]
# We asked for the tags `drifting` and `mean` and got `drifting_1` and `mean_1`. In TF 1.x a tag was the name of
# an operation, and names are unique in a graph: `drifting` was the variable, and `Mean` (case does not count) the
# operation of `reduce_mean`. Below, the name scopes `loss` and `accuracy` do the same to the tags. Today a tag is
# only a string.
#
# **Train and test curves**, from the same functions `measures` and `initial_values`, with the same batches. Two
# file writers, one merged operation; `graph=` writes the graph, which one had to build anyway.

# %%
with tf.Graph().as_default() as graph:
    x_in = v1.placeholder(tf.float32, [None, 784], name="images")
    y_in = v1.placeholder(tf.int32, [None], name="labels")
    v1_variables = {
        name: v1.get_variable(name, initializer=value) for name, value in initial_values().items()
    }
    loss, accuracy = measures(x_in, y_in, v1_variables)
    v1.summary.scalar("loss", loss)
    v1.summary.scalar("accuracy", accuracy)
    merged = v1.summary.merge_all()
    train = v1.train.GradientDescentOptimizer(LEARNING_RATE).minimize(loss)
    with v1.Session(graph=graph) as session:
        v1_train = v1.summary.FileWriter(
            str(LOGS / "v1/train"), graph=graph
        )  # add_graph(graph) does the same later
        v1_test = v1.summary.FileWriter(str(LOGS / "v1/test"))
        session.run(v1.global_variables_initializer())
        for step, x, y in batches(V1_STEPS):
            summary, _ = session.run([merged, train], {x_in: x, y_in: y})
            v1_train.add_summary(summary, step)
            if step % TEST_EVERY == 0:
                v1_test.add_summary(session.run(merged, {x_in: test_x, y_in: test_y}), step)
        v1_train.close()
        v1_test.close()

for run in ("train", "test"):
    v1_run = read_run(LOGS / "v1" / run)
    for tag in ("loss", "accuracy"):
        v1_steps, v1_values = zip(*((event.step, event.value) for event in v1_run.Scalars(f"{tag}_1")))
        modern_steps, modern_values = (part[: len(v1_steps)] for part in curves[run, tag])
        difference = np.abs(np.array(v1_values) - modern_values).max()
        print(
            f"{run:<5} {tag:<8}  {len(v1_steps):3d} values in both files, largest difference {difference:.1e}"
        )
        assert list(v1_steps) == modern_steps and difference < 1e-4
print("matrix products in the TF 1.x graph:", *products(LOGS / "v1/train"), sep="\n  ")
assert {"hidden/matmul", "output/matmul"} <= set(products(LOGS / "v1/train"))

# %% [markdown]
# The list is longer than before: the whole graph went into the file, gradients and training included. **What
# changed**: an operation that you had to fetch became a call that writes; one merged operation became as many
# calls as you like; the writer is a context instead of an argument; values are stored as tensors (`Tensors`)
# instead of floats (`Scalars`). TensorBoard shows both.
#
# ## Summary
# 1. A log is a file of events: step, tag, value. One run, one folder.
# 2. The same tag in two runs gives one chart: this is how train and test are compared.
# 3. Histograms, images, text, graph, hyper-parameters and embeddings each have their tab and their call.
# 4. Log cheap things often and dear things rarely; the table above says what is dear.
# 5. What is written can be read back, by `EventAccumulator` or over HTTP, and then asserted.

# %%
assert final_accuracy >= MIN_ACCURACY, f"the logged network reached only {final_accuracy:.2%}"
report(
    test_accuracy=final_accuracy,
    steps_per_second=median["no logging"],
    slower_with_scalars_each_step=median["no logging"] / median["scalars, every step"],
    slower_with_histograms_each_step=median["no logging"] / median["histograms, every step"],
)

# %% [markdown]
# ## Exercises
# 1. Run the training of example 2 twice into the same folder and look at the curve. What happened?
# 2. Log the norm of each gradient as a scalar. At `LEARNING_RATE = 0.05`, which layer's is larger?
# 3. Read `mnist/train` with a plain `EventAccumulator(folder)`. How many losses do you get, and why?
#
# <details><summary>Outlines of the answers</summary>
#
# 1. Two files, one run: the line goes back to the first step and draws a second curve over the first. Give each
#    training its own folder, for example with the date in its name.
# 2. `tf.summary.scalar(f"norm/{name}", tf.norm(gradients[name]))`. Compare the two weights, not the biases; the
#    norm falls as the loss does, and is noisy because the batch changes.
# 3. Ten, chosen at random: the default `size_guidance` keeps ten tensors of each tag. TensorBoard itself keeps 1000
#    scalars; `--samples_per_plugin scalars=0` keeps all.
# </details>
#
# **Next**: [T_07 Save and restore](T_07_save_and_restore.ipynb)
