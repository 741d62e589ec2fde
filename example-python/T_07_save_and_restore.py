# %% [markdown]
# # T_07 Saving and restoring
#
# **Question**: what must be saved so that a training goes on as if nothing had happened, and what so that somebody
# else can use the model?
#
# **After this lesson you can**
# 1. write checkpoints, keep the last few and the best, and resume a killed training bit for bit;
# 2. say what is inside a checkpoint, a weights file, a `.keras` file and a SavedModel, and choose among them;
# 3. read a TensorFlow 1.x checkpoint name by name, and continue its training in TensorFlow 2.
#
# **Read before**: [T_02](T_02_feedforward_mnist.ipynb); [T_03](T_03_variable_naming.ipynb) helps with the names.
#
# **Time**: 20 seconds on a two-core CPU, from a measured run.

# %%
import json
import os
import shutil
import zipfile

from utils.lesson import RUNS, quiet_start, report, save_figure
from utils.mnist import load_mnist

quiet_start()  # TensorFlow without its start-up messages
import h5py
import keras
import matplotlib.pyplot as plt
import numpy as np
import tensorflow as tf

tf.get_logger().setLevel("ERROR")  # a restore that fails on purpose, and old functions, would warn
print("TensorFlow", tf.__version__, "· Keras", keras.__version__, "· NumPy", np.__version__)

# %% [markdown]
# ## Knobs
# Everything that the lesson writes goes to one folder, which starts empty.

# %%
QUICK = os.environ.get("TUTORIAL_QUICK") == "1"
SEED = 1
HIDDEN = 128  # units of the hidden layer
BATCH = 100
LEARNING_RATE = 0.002  # of Adam; constant, so that the weights keep moving and averaging them pays
DROPOUT = 0.2  # draws random numbers in training: one more thing that a checkpoint must hold
SAVE_EVERY = 20 if QUICK else 100  # steps between two checkpoints
STOP_AT = (3 if QUICK else 6) * SAVE_EVERY  # the step at which the training is killed
RESUMED_STEPS = 30 if QUICK else 200  # how far we follow it after that
AVERAGED = 3 if QUICK else 8  # how many checkpoints are averaged
V1_STEPS = 40 if QUICK else 300  # training steps of the TF 1.x part
V1_MORE = V1_STEPS // 4  # its steps after the last checkpoint
FOLDER = RUNS / "T_07"

shutil.rmtree(FOLDER, ignore_errors=True)
FOLDER.mkdir(parents=True)


def show_folder(folder):
    """Print the files below a folder with their sizes."""
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        print(f"{path.stat().st_size:>12,} bytes  {path.relative_to(RUNS)}")


# %% [markdown]
# ## A checkpoint small enough to check by hand
# A `tf.train.Checkpoint` is given objects, each under a name that we choose. `write` stores the values of all
# variables that it finds in them.

# %%
weight = tf.Variable([1.0, 2.0, 3.0])
step = tf.Variable(7)
path = tf.train.Checkpoint(weight=weight, step=step).write(FOLDER / "tiny" / "first")
show_folder(FOLDER)

# %% [markdown]
# The *index* says which variable starts at which byte; the *data* file holds the bytes. (Large models get several
# data files, hence `00000-of-00001`.) `tf.train.list_variables` reads the index.

# %%
for name, shape in tf.train.list_variables(path):
    print(shape, name)

content = (FOLDER / "tiny" / "first.data-00000-of-00001").read_bytes()
start = content.index(weight.numpy().tobytes())
print(f"\n12 of the {len(content)} bytes, from byte {start}:", content[start : start + 12].hex(" "))
print("read as three float32:", np.frombuffer(content, np.float32, count=3, offset=start))

# %% [markdown]
# The numbers stand in the file as they stand in memory, four bytes each. `_CHECKPOINTABLE_OBJECT_GRAPH` describes
# which object holds which: a checkpoint finds a variable by its *path of attributes* (`weight`), not by the name of
# the `tf.Variable`. Every such path ends in `.ATTRIBUTES/VARIABLE_VALUE`.
#
# Restoring goes the other way: new objects under the same names, and `read`.

# %%
new_weight, new_step = tf.Variable([0.0, 0.0, 0.0]), tf.Variable(0)
tf.train.Checkpoint(weight=new_weight, step=new_step).read(path).assert_consumed()
print("restored:", new_weight.numpy(), new_step.numpy())
assert np.array_equal(new_weight, weight) and new_step == step

# %% [markdown]
# ### The silent mistake
# A name that is not in the file is **no error**: the variable keeps its value, and training starts from nothing
# without a word. Always ask what `read` and `restore` return:
# - `assert_consumed()`: everything in the file found its variable, and every variable its value;
# - `assert_existing_objects_matched()`: every variable here found its value; the file may hold more;
# - `expect_partial()`: I know that it does not fit completely, do not warn.

# %%
forgotten = tf.Variable([0.0, 0.0, 0.0])
status = tf.train.Checkpoint(wieght=forgotten).read(path)  # misspelt
print("after a restore that found nothing:", forgotten.numpy())
try:
    status.assert_existing_objects_matched()
except AssertionError as error:
    print("assert_existing_objects_matched:", str(error).split(", likely")[0])
assert np.array_equal(forgotten, [0, 0, 0])

# %% [markdown]
# ## What a training consists of
# A network with one hidden layer reads MNIST digits. Besides its weights, more changes from step to step: the
# optimizer's memory (for Adam two running means per weight, and the number of steps), the position in the shuffled
# data, and the random state of dropout.

# %%
mnist = load_mnist()
train_images = tf.constant(mnist.train.images.reshape(-1, 784) / np.float32(255))  # (55000, 784), 0 to 1
train_labels = tf.constant(mnist.train.labels, tf.int32)  # (55000,)
val_images = tf.constant(mnist.validation.images.reshape(-1, 784) / np.float32(255))  # (5000, 784)
val_labels = mnist.validation.labels.astype(np.int32)
print("train", train_images.shape, train_labels.shape, "validation", val_images.shape)


@keras.saving.register_keras_serializable(package="lesson")  # so that a .keras file can name this class
class Net(keras.Model):
    """(batch, 784) -> (batch, classes): scores before the softmax."""

    def __init__(self, classes=10, dropout=DROPOUT, **kwargs):
        super().__init__(**kwargs)
        self.settings = {"classes": classes, "dropout": dropout}
        self.hidden = keras.layers.Dense(HIDDEN, activation="relu")
        self.dropout = keras.layers.Dropout(dropout)
        self.scores = keras.layers.Dense(classes)

    def call(self, x, training=False):
        h = self.hidden(x)  # (batch, 784) -> (batch, HIDDEN)
        return self.scores(self.dropout(h, training=training))  # (batch, classes)

    def get_config(self):
        return {**super().get_config(), **self.settings}


# %% [markdown]
# `Training` holds all that changes, and one checkpoint of it. Two lines deserve a look. The checkpoint does not
# find the random state of dropout by itself, so we name it. And the data set shuffles *row numbers*: the saved
# position includes the shuffle buffer, which would be large if it held pictures.

# %%
cross_entropy = keras.losses.SparseCategoricalCrossentropy(from_logits=True)


class Training:
    """A network in training, and a checkpoint of everything that changes in it."""

    def __init__(self, dropout=DROPOUT):
        keras.utils.set_random_seed(SEED)
        self.model = Net(dropout=dropout)
        self.model(train_images[:1])  # builds the layers
        self.optimizer = keras.optimizers.Adam(LEARNING_RATE)
        self.optimizer.build(
            self.model.trainable_variables
        )  # else its variables are missing until the first step
        rows = tf.data.Dataset.range(len(train_labels)).shuffle(5000, seed=SEED).repeat().batch(BATCH)
        self.rows = iter(rows)
        random_state = {"dropout": self.model.dropout.seed_generator.state.value} if dropout else {}
        self.checkpoint = tf.train.Checkpoint(
            model=self.model, optimizer=self.optimizer, rows=self.rows, **random_state
        )

    @tf.function
    def step(self, rows):
        """One step on the pictures with these row numbers, (batch,); returns the loss before it."""
        with tf.GradientTape() as tape:
            scores = self.model(tf.gather(train_images, rows), training=True)  # (batch, 10)
            loss = cross_entropy(tf.gather(train_labels, rows), scores)
        variables = self.model.trainable_variables
        self.optimizer.apply(tape.gradient(loss, variables), variables)
        return loss

    def run(self, steps):
        """Train so many steps; returns the losses, (steps,)."""
        return np.array([self.step(next(self.rows)).numpy() for _ in range(steps)])


def accuracy(model):
    """Share of the validation digits that the model gets right."""
    return float(np.mean(np.argmax(model(val_images), axis=1) == val_labels))


# %% [markdown]
# ## Keep the last three, and the best
# A `CheckpointManager` numbers checkpoints and deletes old ones. One keeps the last three, to resume from; another
# keeps only the one with the best validation accuracy. (With `fit`, the callback `keras.callbacks.ModelCheckpoint`
# with `save_best_only=True` does the latter.)

# %%
training = Training()
latest = tf.train.CheckpointManager(training.checkpoint, FOLDER / "latest", max_to_keep=3)
best = tf.train.CheckpointManager(training.checkpoint, FOLDER / "best", max_to_keep=1)

best_accuracy = 0.0
while training.optimizer.iterations < STOP_AT:
    loss = training.run(SAVE_EVERY).mean()
    number = int(training.optimizer.iterations)
    latest.save(checkpoint_number=number)
    current, note = accuracy(training.model), ""
    if current > best_accuracy:
        best_accuracy, note = current, "  best so far"
        best.save(checkpoint_number=number)
    print(f"step {number:4d}   loss {loss:.4f}   validation accuracy {current:.4f}{note}")

# %%
show_folder(FOLDER / "latest")
listed = [line for line in (FOLDER / "latest" / "checkpoint").read_text().splitlines() if "path" in line]
print("\nin the file 'checkpoint':", *listed, sep="\n")
print("\nbest:", os.path.basename(best.latest_checkpoint), f"with validation accuracy {best_accuracy:.4f}")
kept = [os.path.basename(name) for name in latest.checkpoints]
assert kept == [f"ckpt-{STOP_AT - back * SAVE_EVERY}" for back in (2, 1, 0)]

# %% [markdown]
# Three are left. The text file `checkpoint` says which is the latest; its paths are relative, so the folder can
# move. It is replaced only after a new checkpoint is complete, so a process that dies while writing leaves the
# previous one in force. What is in one of them, and what takes the space?

# %%
totals = {"model": 0, "optimizer": 0}
for name, shape in tf.train.list_variables(latest.latest_checkpoint):
    owner = name.split("/")[0]
    if owner in totals:
        totals[owner] += tf.train.load_variable(latest.latest_checkpoint, name).nbytes
    print(f"{shape!s:<11} {name.split('/.ATTRIBUTES/VARIABLE_VALUE')[0]}")
data_size = os.path.getsize(latest.latest_checkpoint + ".data-00000-of-00001")
print(f"model {totals['model']:,} bytes, optimizer {totals['optimizer']:,} bytes, "
      f"the rest {data_size - sum(totals.values()):,} bytes")  # fmt: skip

# %% [markdown]
# `optimizer/_variables/2` and `3` are Adam's two means for `hidden/_kernel`, of the same shape; so the optimizer takes
# twice the space of the model. The rest is nearly all data position: each of the 5,000 row numbers in the shuffle
# buffer is stored as a tensor of its own, which takes a megabyte. 5,000 pictures would take 16.

# %% [markdown]
# ## Killed and resumed
# Imagine that the process dies here. We go on twice, with fresh objects that know nothing but the folder:
# - **everything restored**: the whole checkpoint;
# - **optimizer forgotten**: all but the optimizer, as happens to those who save only the model.
#
# Both are compared with the training that was never interrupted.

# %%
restored, forgetful = Training(), Training()
restored.checkpoint.restore(tf.train.latest_checkpoint(FOLDER / "latest")).assert_consumed()
all_but_optimizer = tf.train.Checkpoint(
    model=forgetful.model, rows=forgetful.rows, dropout=forgetful.model.dropout.seed_generator.state.value
)
all_but_optimizer.restore(latest.latest_checkpoint).assert_existing_objects_matched().expect_partial()


def follow(training, steps):
    """Train on; returns how far each step moves the hidden kernel, and the validation loss before each step."""
    moved, validation = [], []
    for _ in range(steps):
        before = training.model.hidden.kernel.numpy()
        validation.append(float(cross_entropy(val_labels, training.model(val_images))))
        training.run(1)
        moved.append(np.linalg.norm(training.model.hidden.kernel.numpy() - before))
    return moved, validation


ways = {"never interrupted": training, "everything restored": restored, "optimizer forgotten": forgetful}
curves = {name: follow(way, RESUMED_STEPS) for name, way in ways.items()}
for name, (moved, validation) in curves.items():
    print(f"{name:<20} first step moves the kernel by {moved[0]:.3f}; mean validation loss of the next 20 "
          f"{np.mean(validation[1:21]):.4f}")  # fmt: skip
same = [np.array_equal(a, b) for a, b in zip(training.model.get_weights(), restored.model.get_weights())]
assert all(same) and curves["never interrupted"] == curves["everything restored"]
print(f"after {RESUMED_STEPS} steps 'everything restored' has the uninterrupted weights, bit for bit:", same)

# %%
figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.8), layout="constrained")
steps_axis = STOP_AT + np.arange(min(60, RESUMED_STEPS))
for name, colour, width in zip(curves, ("0.7", "tab:blue", "tab:red"), (5, 1.5, 1.5)):
    moved, validation = curves[name]
    left.plot(steps_axis, validation[: len(steps_axis)], color=colour, lw=width, label=name)
    right.plot(steps_axis, moved[: len(steps_axis)], color=colour, lw=width, label=name)
left.set(title="Validation loss after the restart", xlabel="step", ylabel="cross-entropy")
right.set(title="How far each step moves the hidden kernel", xlabel="step", ylabel="Euclidean norm")
left.legend(fontsize=8)
right.legend(fontsize=8)
save_figure(figure, "T_07_resume.png")

# %% [markdown]
# Blue lies on grey: the restored training *is* the uninterrupted one. Red sees the same batches with a fresh Adam.
# Adam divides each gradient by its running size. A fresh one knows no size yet, so its first steps move every weight
# that has a gradient by nearly the full learning rate, and the network is pushed away from where it was.

# %% [markdown]
# ## Average several checkpoints
# With a constant learning rate the weights circle around a good place, and the mean of several checkpoints lies
# nearer to its middle. We train on and average the last few, weight by weight. (Batch normalization would need its
# moving statistics computed anew for the mean.)

# %%
recent = tf.train.CheckpointManager(training.checkpoint, FOLDER / "recent", max_to_keep=AVERAGED)
for _ in range(AVERAGED):
    training.run(SAVE_EVERY)
    recent.save(checkpoint_number=int(training.optimizer.iterations))

averaged = Net()
averaged(val_images[:1])
collected, single_accuracies = [], []
for path in recent.checkpoints:
    tf.train.Checkpoint(model=averaged).restore(path).expect_partial()
    collected.append(averaged.get_weights())
    single_accuracies.append(accuracy(averaged))
    print(f"{os.path.basename(path):<10} validation accuracy {single_accuracies[-1]:.4f}")
averaged.set_weights([np.mean(arrays, axis=0) for arrays in zip(*collected)])
average_accuracy = accuracy(averaged)
print(f"mean of these {np.mean(single_accuracies):.4f}, accuracy of the mean weights {average_accuracy:.4f}")

# %% [markdown]
# ## Restore a part
# Another task with three classes, the same hidden layer. A whole restore fails where a shape does not fit. To
# restore a part, make a checkpoint of that part under the same path.

# %%
other = Net(classes=3)
other(val_images[:1])
try:
    tf.train.Checkpoint(model=other).restore(latest.latest_checkpoint)
except ValueError as error:
    print("whole:", str(error).split(" and name")[0])

before = other.scores.kernel.numpy()
part = tf.train.Checkpoint(model=tf.train.Checkpoint(hidden=other.hidden))
part.restore(latest.latest_checkpoint).assert_existing_objects_matched().expect_partial()
stored = tf.train.load_variable(latest.latest_checkpoint, "model/hidden/_kernel/.ATTRIBUTES/VARIABLE_VALUE")
assert np.array_equal(other.hidden.kernel, stored)
assert np.array_equal(other.scores.kernel, before)
print("part: the hidden layer is restored, the output layer is untouched")

# %% [markdown]
# `tf.train.load_variable`, used for the check, is a third way: it gives any entry of a checkpoint as an array.
#
# ## Four kinds of files
# | kind | holds | needs your program | for |
# |---|---|---|---|
# | checkpoint | anything: weights, optimizer, data position | yes | resuming a training |
# | `.weights.h5` | weights, a group for each layer | yes | the same network elsewhere |
# | `.keras` | architecture and weights; optimizer if compiled | own classes only | other Keras programs |
# | SavedModel | weights and the recorded graph | no | serving, from any language |
#
# We write the averaged model in all four, into a folder whose name has a space and Chinese characters. In 2018 such
# paths were best avoided; today they work.

# %%
home = FOLDER / "保存的 模型"
home.mkdir()
tf.train.Checkpoint(model=averaged).write(home / "checkpoint" / "averaged")
averaged.save_weights(home / "averaged.weights.h5")
averaged.save(home / "averaged.keras")
averaged.export(home / "exported", verbose=False)
show_folder(home)

# %%
with h5py.File(home / "averaged.weights.h5") as file:
    datasets = {}
    file.visititems(lambda name, item: datasets.update({name: item.shape} if hasattr(item, "shape") else {}))
    print("averaged.weights.h5:", datasets)
with zipfile.ZipFile(home / "averaged.keras") as file:
    print("averaged.keras, a zip archive:", [item.filename for item in file.infolist()])
    print("   config.json names the class", json.loads(file.read("config.json"))["registered_name"])
exported = tf.saved_model.load(home / "exported")
print("exported, a SavedModel: the graph of", list(exported.signatures))
print("  ", [(variable.name, variable.shape.as_list()) for variable in exported.variables])

# %% [markdown]
# A `.keras` file names own classes, it does not contain them: the loading program must have imported `Net`, or it
# stops with "Could not locate class 'Net'". The SavedModel brings its graph along and needs no class. (Its variables
# take twice the space because Keras lists each under two names.) All four must give the same scores:

# %%
sample = val_images[:500]  # (500, 784)
expected = averaged(sample).numpy()  # (500, 10)

from_checkpoint, from_weights = Net(), Net()
from_checkpoint(sample[:1]), from_weights(sample[:1])
tf.train.Checkpoint(model=from_checkpoint).read(home / "checkpoint" / "averaged").assert_consumed()
from_weights.load_weights(home / "averaged.weights.h5")
from_keras = keras.saving.load_model(home / "averaged.keras")
loaded = {
    "checkpoint": from_checkpoint,
    "weights": from_weights,
    ".keras": from_keras,
    "SavedModel": exported.serve,
}
for kind, model in loaded.items():
    difference = np.abs(model(sample) - expected).max()
    print(f"{kind:<11} largest difference {difference:.1e}")
    assert difference < 1e-5

# %% [markdown]
# # The same in TF 1.x
# A `Saver` stored variables under their *names in the graph*. Three of its details caused most of the trouble:
# - `max_to_keep` is 5 unless you say otherwise: older checkpoints vanish;
# - `global_step` counts only if `minimize` is given it, and is in the file name only if `save` is given it;
# - every checkpoint has a `.meta` file with the whole graph, from which `import_meta_graph` rebuilds it.
#
# The same network in a session; `dense` of `utils/tf1.py` is what `tf.layers.dense` was, which Keras 3 removed.
# After the last checkpoint we train a little further, to compare later.

# %%
from utils.tf1 import dense

v1 = tf.compat.v1
v1_folder = FOLDER / "TF 1.x 检查点"
v1_folder.mkdir()
pictures_np, labels_np = train_images.numpy(), train_labels.numpy()
batches = np.random.default_rng(SEED).integers(0, len(labels_np), (V1_STEPS + V1_MORE, BATCH))

with tf.Graph().as_default() as graph:
    v1.set_random_seed(SEED)
    pictures = v1.placeholder(tf.float32, [None, 784])
    labels = v1.placeholder(tf.int32, [None])
    scores = dense(dense(pictures, HIDDEN, tf.nn.relu, name="hidden"), 10, name="scores")  # (batch, 10)
    loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=scores))
    global_step = v1.train.get_or_create_global_step()
    optimizer = v1.train.AdamOptimizer(LEARNING_RATE, epsilon=1e-7)  # 1e-8 was its default, 1e-7 is Keras's
    train = optimizer.minimize(loss, global_step=global_step)
    saver = v1.train.Saver(max_to_keep=3)
    with v1.Session(graph=graph) as session:
        session.run(v1.global_variables_initializer())
        v1_losses = []
        for number, rows in enumerate(batches, 1):
            feed = {pictures: pictures_np[rows], labels: labels_np[rows]}
            v1_losses.append(session.run([loss, train], feed)[0])
            if number <= V1_STEPS and number % (V1_STEPS // 5) == 0:
                v1_path = saver.save(session, str(v1_folder / "model.ckpt"), global_step=global_step)
                v1_scores = session.run(scores, {pictures: sample.numpy()})  # (500, 10)
                print(f"step {number:3d}   loss {v1_losses[-1]:.4f}   saved {os.path.basename(v1_path)}")
        v1_weights = session.run(v1.trainable_variables())
show_folder(v1_folder)

# %% [markdown]
# **A subset, under other names.** A `Saver` with a dictionary `{name in the file: variable here}` restores just
# these. The others must be initialised, or the first `run` that needs them fails.

# %%
with tf.Graph().as_default() as graph:
    encoder = v1.get_variable("encoder/kernel", [784, HIDDEN])
    head = v1.get_variable("head/kernel", [HIDDEN, 3])
    with v1.Session(graph=graph) as session:
        v1.train.Saver({"hidden/kernel": encoder}).restore(session, v1_path)
        print("restored, not yet initialised:", session.run(v1.report_uninitialized_variables()))
        session.run(v1.variables_initializer([head]))
        v1_encoder = session.run(encoder)
assert np.array_equal(v1_encoder, tf.train.load_variable(v1_path, "hidden/kernel"))

# %% [markdown]
# ### A TF 1.x checkpoint in TensorFlow 2, name by name
# The file format is the same to this day; only the names differ. So an old checkpoint is read with a table from old
# name to new variable. This is all that it holds:

# %%
reader = tf.train.load_checkpoint(v1_path)
in_file = reader.get_variable_to_shape_map()
print(*(f"{name} {in_file[name]}" for name in sorted(in_file)), sep="\n")

# %% [markdown]
# `Adam` and `Adam_1` are the two running means; Keras keeps them in `optimizer.variables` after the step counter and
# the learning rate, pair by pair. `global_step` is `optimizer.iterations` today. The two `beta_power` are not needed:
# they are 0.9 and 0.999 to the power of the step, which Keras computes.

# %%
continued = Training(dropout=0.0)
table = {"global_step": continued.optimizer.iterations}
moments = iter(continued.optimizer.variables[2:])
for name in ("hidden/kernel", "hidden/bias", "scores/kernel", "scores/bias"):
    layer, kind = name.split("/")
    table[name] = getattr(getattr(continued.model, layer), kind)
    table[f"{name}/Adam"], table[f"{name}/Adam_1"] = next(moments), next(moments)
for name, variable in table.items():
    variable.assign(reader.get_tensor(name))
assert set(in_file) - set(table) == {"beta1_power", "beta2_power"}

score_difference = np.abs(continued.model(sample) - v1_scores).max()
print(f"largest difference of the scores of {len(sample)} digits: {score_difference:.1e}")
assert score_difference < 1e-5

# %% [markdown]
# The harder test: TensorFlow 2 continues the training that TF 1.x began, on the batches that TF 1.x saw next, and
# must arrive at the same weights.

# %%
losses = np.array([continued.step(tf.constant(rows)).numpy() for rows in batches[V1_STEPS:]])
loss_difference = np.abs(losses - v1_losses[V1_STEPS:]).max()
weight_difference = max(np.abs(a - b).max() for a, b in zip(continued.model.get_weights(), v1_weights))
print(
    f"{V1_MORE} more steps: losses differ by at most {loss_difference:.1e}, weights by {weight_difference:.1e}"
)
assert loss_difference < 1e-4 and weight_difference < 1e-4

# %% [markdown]
# `tests/test_t07.py` runs these cells on a file that TensorFlow 1.15.5 itself wrote, with the same result.
#
# **What changed**: names in one global list became paths through objects; the graph left the checkpoint and went to
# the SavedModel; the manager took over `max_to_keep`; and the data position can be saved, which a `Saver` could not.
#
# ## Summary
# 1. A checkpoint stores values under paths of attributes; check each restore, because a wrong path is no error.
# 2. To resume exactly, save weights, optimizer, data position and random states, all in one checkpoint.
# 3. `CheckpointManager` keeps the last few or the best; the mean of several checkpoints can beat each of them.
# 4. Checkpoints are for going on, `.keras` for Keras programs, SavedModel for use without the program.
# 5. A TF 1.x checkpoint is read name by name, and its training can go on in TensorFlow 2.

# %%
assert average_accuracy >= np.mean(single_accuracies), "averaging the weights should not hurt here"
report(
    accuracy_of_single_checkpoints=np.mean(single_accuracies),
    accuracy_of_averaged_weights=average_accuracy,
    first_step_everything_restored=curves["everything restored"][0][0],
    first_step_optimizer_forgotten=curves["optimizer forgotten"][0][0],
    tf1_continued_in_tf2_difference=weight_difference,
)

# %% [markdown]
# ## Exercises
# 1. Leave the random state out of the checkpoint in `Training` and run again. What fails, and why does
#    `assert_consumed` not notice?
# 2. Average checkpoints that lie only 5 steps apart. What happens to the gain?
# 3. Rename the attribute `scores` of `Net` to `logits`. How can the old checkpoints still be restored?
#
# <details><summary>Outlines of the answers</summary>
#
# 1. "Bit for bit" fails: other units are dropped. What was never named is neither in the file nor expected from
#    it, so nothing is missing.
# 2. It shrinks: neighbouring weights are nearly the same point, and their mean is that point.
# 3. `tf.train.Checkpoint(model=tf.train.Checkpoint(hidden=net.hidden, scores=net.logits))` gives the layer its
#    old path.
# </details>
#
# **Next**: [T_08 Transfer learning](T_08_transfer_learning.ipynb)
