# %% [markdown]
# # T_08 Transfer learning
#
# **Question**: a network has learnt one task from many examples. How do we carry its knowledge to another task that
# has only a few?
#
# **After this lesson you can**
# 1. keep some variables of a saved model, add new ones, and initialise only the new;
# 2. freeze layers, train a new head, unfreeze, train everything, and save the whole;
# 3. measure fairly what the transfer is worth, against training from scratch with the same labels.
#
# **Read before**: [T_04](T_04_cnn_mnist.ipynb) for the network, [T_07](T_07_save_and_restore.ipynb) for checkpoints.
#
# **Time**: 2.6 minutes on a two-core CPU, from a measured run.

# %%
import os
import shutil

from utils.lesson import RUNS, quiet_start, report, save_figure
from utils.mnist import load_mnist

quiet_start()  # TensorFlow without its start-up messages
import keras
import matplotlib.pyplot as plt
import numpy as np
import tensorflow as tf

tf.get_logger().setLevel("ERROR")  # we compile one step per way of training; it would warn of so many
print("TensorFlow", tf.__version__, "· Keras", keras.__version__, "· NumPy", np.__version__)

# %% [markdown]
# ## Knobs
# The network has the shape of T_04's, with half the filters and a quarter of the dense units, so that some
# hundred trainings fit into minutes. Learning rates and steps were chosen on validation digits, for each way of
# training its own.

# %%
QUICK = os.environ.get("TUTORIAL_QUICK") == "1"
SEED = int(os.environ.get("TUTORIAL_SEED", "1"))  # benchmarks.seeds runs others
FILTERS = (16, 32)  # 5x5 filters of the two convolutions
FEATURES = 256  # units of the dense layer; what it puts out are the features that we transfer
DROPOUT = 0.5  # on the features, in training
BASE_EPOCHS, BASE_PICTURES = (1, 3000) if QUICK else (2, 28038)  # training of the old task; 28,038 are all
LABELS_PER_CLASS = (1, 20) if QUICK else (1, 2, 5, 10, 20, 50, 100)
REPEATS = 2 if QUICK else 8  # each with other pictures, other first weights, other batches
BATCH = 50  # or all pictures, when there are fewer
HEAD_STEPS, HEAD_RATE = (20 if QUICK else 300), 3e-3  # frozen: only the head learns
CONTROL_RATE = 1e-2  # for a head on random features, which are smaller
TUNE_STEPS, TUNE_RATE = (5 if QUICK else 100), 1e-3  # unfrozen: everything learns, after the head has
SCRATCH_STEPS, SCRATCH_RATE = (10 if QUICK else 200), 3e-3  # from scratch: everything learns
V1_STEPS, V1_RATE = (5 if QUICK else 20), 0.02  # frozen, then as many unfrozen, in TF 1.x and today
TEST_DIGITS = 500 if QUICK else 4861  # how many of the test digits 5 to 9 are used; 4861 are all
MIN_GAIN = -100.0 if QUICK else 1.0  # percentage points, mean over up to 10 labels; asserted at the end
FOLDER = RUNS / "T_08"

shutil.rmtree(FOLDER, ignore_errors=True)  # what you see below was written by this run
FOLDER.mkdir(parents=True)
keras.utils.set_random_seed(SEED)

# %% [markdown]
# ## Three variables
# The smallest transfer there is. A first program has two variables, `v1` and `v2`, and saves both.

# %%
first_v1 = tf.Variable([1.0, 2.0, 3.0], name="v1")
first_v2 = tf.Variable([4.0, 5.0], name="v2")
old_path = tf.train.Checkpoint(v1=first_v1, v2=first_v2).write(FOLDER / "tiny" / "old")
print("saved:", tf.train.list_variables(old_path)[1:])

# %% [markdown]
# A second program keeps `v1`, has no use for `v2`, and adds `v3`. It restores a checkpoint object that names `v1`
# alone. `v3` got its first value when it was made and keeps it. Then the whole is saved.

# %%
kept_v1 = tf.Variable([0.0, 0.0, 0.0], name="v1")
new_v3 = tf.Variable([7.0, 8.0], name="v3")
tf.train.Checkpoint(v1=kept_v1).read(old_path).assert_existing_objects_matched().expect_partial()
print("v1", kept_v1.numpy(), "from the file;  v3", new_v3.numpy(), "new")

whole_path = tf.train.Checkpoint(v1=kept_v1, v3=new_v3).write(FOLDER / "tiny" / "whole")
print("saved:", tf.train.list_variables(whole_path)[1:])
assert np.array_equal(kept_v1, first_v1) and np.array_equal(new_v3, [7, 8])

# %% [markdown]
# ## Two tasks
# The *old task*: read the digits 0 to 4, with all their training pictures. The *new task*: read 5 to 9, with a few
# labelled pictures of each. No picture of the new digits is seen in the old task.

# %%
mnist = load_mnist()


def digits(split, lowest):
    """The five digits from `lowest` on: images (n, 28, 28, 1) float32 from 0 to 1, labels (n,) from 0 to 4."""
    chosen = (split.labels >= lowest) & (split.labels < lowest + 5)
    images = split.images[chosen][..., None] / np.float32(255)
    return images, split.labels[chosen].astype(np.int32) - lowest


old_train, old_test = digits(mnist.train, 0), digits(mnist.test, 0)
new_train, new_test = digits(mnist.train, 5), digits(mnist.test, 5)
new_test = new_test[0][:TEST_DIGITS], new_test[1][:TEST_DIGITS]
print("old task: train", old_train[0].shape, "test", old_test[0].shape)
print("new task: train", new_train[0].shape, "test", new_test[0].shape)

# %%
figure, axes = plt.subplots(2, 10, figsize=(9, 2.2), layout="constrained")
for row, (title, (images, labels)) in zip(axes, {"old": old_train, "new": new_train}.items()):
    for column, axis in enumerate(row):
        axis.imshow(images[np.flatnonzero(labels == column // 2)[column % 2], :, :, 0], cmap="gray_r")
        axis.set(xticks=[], yticks=[], title=f"{title} {column // 2}" if column % 2 == 0 else "")
figure.suptitle("Two pictures of each class; the number is the label inside its task")
save_figure(figure, "T_08_tasks.png")

# %% [markdown]
# ## The old task
# Two convolutions, a dense layer whose 256 outputs we call *features*, and a *head* that turns features into five
# scores. `fit` trains it. `trainer` is for the many small trainings further down: a loop that is compiled once and
# starts with a fresh optimizer at each call.


# %%
def network(dropout=DROPOUT):
    """(batch, 28, 28, 1) -> (batch, 5) scores; the last layer is the head, the rest makes the features."""
    layers, settings = keras.layers, {"padding": "same", "activation": "relu"}
    return keras.Sequential(
        [
            keras.Input((28, 28, 1)),
            layers.Conv2D(FILTERS[0], 5, name="conv1", **settings),  # (batch, 28, 28, 16)
            layers.MaxPooling2D(name="pool1"),  # (batch, 14, 14, 16)
            layers.Conv2D(FILTERS[1], 5, name="conv2", **settings),  # (batch, 14, 14, 32)
            layers.MaxPooling2D(name="pool2"),  # (batch, 7, 7, 32)
            layers.Flatten(name="flatten"),  # (batch, 1568)
            layers.Dense(FEATURES, activation="relu", name="features"),  # (batch, 256)
            layers.Dropout(dropout, name="dropout"),
            layers.Dense(5, name="head"),  # (batch, 5)
        ]
    )


Adam, SGD = keras.optimizers.Adam, keras.optimizers.SGD
cross_entropy = keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def trainer(model, optimizer):
    """Return `train(inputs, labels, batches)`, which changes the *trainable* variables of `model`.

    `batches` are row numbers, (steps, batch). All steps run in one compiled loop. Freeze or unfreeze first: what is
    trainable is looked up here, once.
    """
    variables = model.trainable_variables
    optimizer.build(variables)
    fresh = [variable.numpy() for variable in optimizer.variables]

    inputs_spec = tf.TensorSpec(model.input_shape, tf.float32)

    @tf.function(
        input_signature=[inputs_spec, tf.TensorSpec([None], tf.int32), tf.TensorSpec([None, None], tf.int64)]
    )
    def run(inputs, labels, batches):
        for rows in batches:  # (batch,)
            with tf.GradientTape() as tape:
                loss = cross_entropy(tf.gather(labels, rows), model(tf.gather(inputs, rows), training=True))
            optimizer.apply(tape.gradient(loss, variables), variables)

    def train(inputs, labels, batches):
        for variable, value in zip(optimizer.variables, fresh):
            variable.assign(value)
        run(inputs, labels, batches)

    return train


def outputs(model, inputs):
    """What the model gives for all inputs, computed in pieces of 1,000."""
    return np.concatenate([model(inputs[i : i + 1000]).numpy() for i in range(0, len(inputs), 1000)])


def accuracy(model, inputs, labels):
    return float(np.mean(outputs(model, inputs).argmax(axis=1) == labels))


# %%
base = network()
base.compile(Adam(1e-3), cross_entropy, metrics=["accuracy"])
few = slice(BASE_PICTURES)
base.fit(old_train[0][few], old_train[1][few], batch_size=100, epochs=BASE_EPOCHS, verbose=2)
base_accuracy = accuracy(base, *old_test)
print(f"test accuracy on the old digits: {base_accuracy:.4f}")
base.save(FOLDER / "base.keras")

# %% [markdown]
# ## One transfer, step by step
# **Keep and add.** We load the saved model, keep all its layers but the head, and put a new head on them. Only the
# new layer gets first weights; the others come as they were saved.

# %%
saved = keras.saving.load_model(FOLDER / "base.keras")
student = keras.Sequential(
    [keras.Input((28, 28, 1)), *saved.layers[:-1], keras.layers.Dense(5, name="new_head")]
)
head = student.layers[-1]
for layer in student.layers:
    if layer.weights:
        source = "new" if layer is head else "kept"
        print(f"{layer.name:<9} {layer.count_params():>7,} parameters  {source}")
for ours, theirs in zip(student.weights[:-2], base.weights[:-2]):
    assert np.array_equal(ours, theirs)

# %% [markdown]
# **Freeze.** `layer.trainable = False` takes a layer's variables out of `trainable_variables`, and so out of
# training. (A frozen batch normalization also stops updating its statistics and uses the stored ones.) A training
# function that was compiled before does not notice: freeze first, then build the optimizer and the step.


# %%
def freeze(model, frozen):
    """Freeze or unfreeze all layers but the last."""
    for layer in model.layers[:-1]:
        layer.trainable = not frozen


def pick(per_class, seed):
    """Row numbers of so many training pictures of each new class, (5 * per_class,)."""
    random = np.random.default_rng([SEED, seed])
    return np.concatenate(
        [random.permutation(np.flatnonzero(new_train[1] == c))[:per_class] for c in range(5)]
    )


def draw(pictures, steps, seed):
    """Batches of row numbers below `pictures`, (steps, batch); no picture twice in one batch."""
    random = np.random.default_rng([SEED, seed, pictures])
    return np.stack([random.permutation(pictures)[:BATCH] for _ in range(steps)])


rows = pick(10, seed=0)
images, labels = new_train[0][rows], new_train[1][rows]  # (50, 28, 28, 1), (50,)
print("a new head, untrained: test accuracy", round(accuracy(student, *new_test), 4))

freeze(student, True)
print("trainable now:", [variable.path for variable in student.trainable_variables])
trainer(student, Adam(HEAD_RATE))(images, labels, draw(len(rows), HEAD_STEPS, seed=0))
frozen_accuracy = accuracy(student, *new_test)
print(f"frozen, the head trained on 10 pictures of each digit: test accuracy {frozen_accuracy:.4f}")
for ours, theirs in zip(student.weights[:-2], base.weights[:-2]):
    assert np.array_equal(ours, theirs), "a frozen weight has moved"

# %% [markdown]
# **Unfreeze** and train everything. The head was trained first because a random head would send random gradients into
# good layers. And since the layers below now change, we look at what becomes of the old task.

# %%
freeze(student, False)
trainer(student, Adam(TUNE_RATE))(images, labels, draw(len(rows), TUNE_STEPS, seed=1))
tuned_accuracy = accuracy(student, *new_test)
print(f"unfrozen: test accuracy {tuned_accuracy:.4f}")
assert not any(np.array_equal(ours, theirs) for ours, theirs in zip(student.weights[:-2], base.weights[:-2]))

old_head_again = keras.Sequential([*student.layers[:-1], base.layers[-1]])
forgetful_accuracy = accuracy(old_head_again, *old_test)
print(
    f"the old head on the tuned layers: {forgetful_accuracy:.4f} on the old digits, {base_accuracy:.4f} before"
)

# %% [markdown]
# After so short a tuning hardly anything is forgotten. There is no promise of that: the old digits have no say in the
# new loss.
#
# **Save the whole**, kept and new variables together. It is a model like any other now.

# %%
student.save(FOLDER / "student.keras")
again = keras.saving.load_model(FOLDER / "student.keras")
difference = np.abs(outputs(again, new_test[0][:200]) - outputs(student, new_test[0][:200])).max()
print(f"saved and loaded: scores differ by at most {difference:.1e}")
assert difference < 1e-6

# %% [markdown]
# ## Compute frozen features once
# A frozen part gives the same features for a picture at every step. So we compute them once, and the head becomes a
# small model of its own. To check: with the old head it gives the old network's scores.

# %%
features_of = keras.Model(base.inputs[0], base.get_layer("features").output)
head_alone = keras.Sequential(
    [keras.Input((FEATURES,)), keras.layers.Dropout(DROPOUT), keras.layers.Dense(5)]
)
untrained = network()  # the same layers with random weights
random_features_of = keras.Model(untrained.inputs[0], untrained.get_layer("features").output)
head_alone.set_weights(base.get_weights()[-2:])
pieces, whole = outputs(head_alone, outputs(features_of, old_test[0][:500])), outputs(base, old_test[0][:500])
np.testing.assert_allclose(pieces, whole, atol=1e-4)

test_features, test_random = outputs(features_of, new_test[0]), outputs(random_features_of, new_test[0])
print("images", new_test[0].shape, "-> features", test_features.shape)

# %% [markdown]
# ## What is it worth?
# Four ways to use the same few labels (the tables count them per class):
# - **from scratch**: a network with random weights, everything trained;
# - **random, frozen**: only a head on an untrained network. This control says what the architecture alone
#   gives, without any knowledge from the old task;
# - **transferred, frozen**: only a head on the features of the old task;
# - **transferred, unfrozen**: first the same, then everything trained.
#
# Everything is repeated with other pictures, other first weights and other batches. Within one repeat all four get
# the same pictures; the old task was learnt once, for all repeats. One network object serves all trainings: its
# weights are set anew each time, so that each way is compiled once.

# %%
worker = network()
train_tuned, train_scratch = trainer(worker, Adam(TUNE_RATE)), trainer(worker, Adam(SCRATCH_RATE))
train_head, train_control = trainer(head_alone, Adam(HEAD_RATE)), trainer(head_alone, Adam(CONTROL_RATE))
ways = ["from scratch", "random, frozen", "transferred, frozen", "transferred, unfrozen"]
results = {way: np.zeros((len(LABELS_PER_CLASS), REPEATS)) for way in ways}  # test accuracies


def repeat(per_class, seed):
    """Train the four ways on the same pictures; returns their test accuracies in the order of `ways`."""
    keras.utils.set_random_seed(1000 * SEED + seed)
    rows = pick(per_class, seed)
    images, labels = new_train[0][rows], new_train[1][rows]
    first_weights = network().get_weights()
    head_batches = draw(len(rows), HEAD_STEPS, seed)

    worker.set_weights(first_weights)
    train_scratch(images, labels, draw(len(rows), SCRATCH_STEPS, seed))
    scratch = accuracy(worker, *new_test)

    head_alone.set_weights(first_weights[-2:])
    train_control(outputs(random_features_of, images), labels, head_batches)
    control = accuracy(head_alone, test_random, new_test[1])

    head_alone.set_weights(first_weights[-2:])
    train_head(outputs(features_of, images), labels, head_batches)
    frozen = accuracy(head_alone, test_features, new_test[1])

    worker.set_weights(base.get_weights()[:-2] + head_alone.get_weights())
    train_tuned(images, labels, draw(len(rows), TUNE_STEPS, seed))
    return scratch, control, frozen, accuracy(worker, *new_test)


print("labels" + "".join(f"{way:>23}" for way in ways))
for position, per_class in enumerate(LABELS_PER_CLASS):
    for seed in range(REPEATS):
        for way, value in zip(ways, repeat(per_class, seed)):
            results[way][position, seed] = value
    cells = [
        f"{results[way][position].mean():.3f} ± {results[way][position].std(ddof=1):.3f}" for way in ways
    ]
    print(f"{per_class:>6}" + "".join(f"{cell:>23}" for cell in cells), flush=True)

# %%
figure, (left, right) = plt.subplots(1, 2, figsize=(10.5, 4.2), width_ratios=(3, 2), layout="constrained")
for way, colour, style in zip(ways, ("tab:red", "0.6", "tab:cyan", "tab:blue"), ("-", ":", "--", "-")):
    mean, spread = results[way].mean(axis=1), results[way].std(axis=1, ddof=1)
    left.plot(LABELS_PER_CLASS, mean, style, color=colour, marker="o", ms=4, label=way)
    left.fill_between(LABELS_PER_CLASS, mean - spread, mean + spread, color=colour, alpha=0.15, lw=0)
left.set(title=f"Digits 5 to 9: mean and standard deviation, {REPEATS} repeats", xscale="log")
left.set(xlabel="labelled pictures per class", ylabel="test accuracy", ylim=(None, 1))
left.legend(fontsize=8, loc="lower right")

gain = 100 * (results["transferred, unfrozen"] - results["from scratch"])  # (sizes, repeats)
right.plot(LABELS_PER_CLASS, gain, "o", color="tab:blue", ms=4, alpha=0.5)
right.plot(LABELS_PER_CLASS, gain.mean(axis=1), "_", color="black", ms=18, mew=2, label="mean")
right.axhline(0, color="tab:red", lw=1, label="from scratch")
right.set(title="Gain over scratch, same pictures", xscale="log")
right.set(xlabel="labelled pictures per class", ylabel="percentage points")
right.legend(fontsize=8)
for axis in (left, right):
    axis.set_xticks(LABELS_PER_CLASS, [str(number) for number in LABELS_PER_CLASS])
    axis.minorticks_off()
save_figure(figure, "T_08_transfer.png")

# %% [markdown]
# How many labels does the transfer save? For each accuracy of the transferred network we look up, on the red curve,
# how many labelled pictures training from scratch needs for the same.

# %%
means = {way: results[way].mean(axis=1) for way in ways}
steady = np.maximum.accumulate(means["from scratch"])  # interpolation needs a curve that never falls
for position, per_class in enumerate(LABELS_PER_CLASS):
    reached = means["transferred, unfrozen"][position]
    same = np.exp(np.interp(reached, steady, np.log(LABELS_PER_CLASS)))
    worth = (
        f"worth {same:.0f} ({same / per_class:.1f} times as many)"
        if steady[0] < reached < steady[-1]
        else "outside the red curve"
    )
    wins = int(np.sum(gain[position] > 0))
    print(f"{per_class:>3} per class: gain {gain[position].mean():+5.1f} points, "
          f"better in {wins} of {REPEATS} repeats, {worth}")  # fmt: skip

# %% [markdown]
# Four things to see.
# - The transfer helps most where labels are fewest, and fades as they grow: with a hundred of each digit, training
#   from scratch is nearly as good by itself. The last column says what it saves.
# - **Frozen** features are as good as tuned ones with one or two labels, and then fall behind: what told 0 to 4 apart
#   is not all that tells 5 to 9 apart. With enough labels even training from scratch passes them.
# - The grey control is clearly below the frozen transfer: the old task did teach something. Yet it is far above
#   guessing (0.2): random filters and a trained head already read digits.
# - With few labels the spread is large: which pictures happen to be labelled matters as much as the method. One run
#   per point would show noise; the right panel compares within the same pictures.

# %% [markdown]
# # The same in TF 1.x
# A `Saver` with a list of variables restores only these, and `variables_initializer` with a list initialises only
# those. First the three variables. Two errors lead the way: a `Saver` without a list wants every variable of the
# graph in the file, and a variable that nobody initialised has no value.

# %%
from utils.tf1 import conv2d, dense

v1 = tf.compat.v1
old_path, whole_path = str(FOLDER / "tiny" / "tf1_old.ckpt"), str(FOLDER / "tiny" / "tf1_whole.ckpt")

with tf.Graph().as_default() as graph, v1.Session(graph=graph) as session:  # the first program
    v1.get_variable("v1", initializer=[1.0, 2.0, 3.0])
    v1.get_variable("v2", initializer=[4.0, 5.0])
    session.run(v1.global_variables_initializer())
    v1.train.Saver().save(session, old_path)

with tf.Graph().as_default() as graph, v1.Session(graph=graph) as session:  # the second program
    kept = v1.get_variable("v1", shape=[3])
    added = v1.get_variable("v3", initializer=[7.0, 8.0])
    try:
        v1.train.Saver().restore(session, old_path)
    except tf.errors.NotFoundError as error:
        print("Saver():", next(line for line in error.message.splitlines() if line.startswith("Key")))
    v1.train.Saver([kept]).restore(session, old_path)
    try:
        session.run(added)
    except tf.errors.FailedPreconditionError as error:
        message = next(line for line in error.message.splitlines() if "find variable" in line)
        print("before its initialiser:", message.split(".")[0])
    session.run(v1.variables_initializer([added]))
    values = session.run([kept, added])
    v1.train.Saver().save(session, whole_path)  # now the whole

print("v1", values[0], " v3", values[1], " saved:", tf.train.list_variables(whole_path))
assert np.array_equal(values[0], kept_v1) and np.array_equal(values[1], new_v3)

# %% [markdown]
# The popular mistake was `global_variables_initializer` *after* the restore: it overwrites the kept values with
# random ones, and no error says so.
#
# Now the network, in the same three moves. The old weights are first written as a TF 1.x program would have left
# them. **Frozen** meant: give `minimize` a `var_list` without them. Dropout is off, so that both compute the same; and
# momentum takes the place of Adam, which can turn a rounding difference of a tiny gradient into a whole step.


# %%
def v1_network(pictures, head):
    """(batch, 28, 28, 1) -> (batch, 5); `head` names the last layer."""
    x = conv2d(pictures, FILTERS[0], 5, padding="same", activation=tf.nn.relu, name="conv1")
    x = tf.nn.max_pool2d(x, 2, 2, "VALID")  # (batch, 14, 14, 16)
    x = conv2d(x, FILTERS[1], 5, padding="same", activation=tf.nn.relu, name="conv2")
    x = tf.nn.max_pool2d(x, 2, 2, "VALID")  # (batch, 7, 7, 32)
    x = dense(tf.reshape(x, [-1, 7 * 7 * FILTERS[1]]), FEATURES, tf.nn.relu, name="features")
    return dense(x, 5, name=head)


base_path = str(FOLDER / "tf1_base.ckpt")
base_weights, first_head = base.get_weights(), network().get_weights()[-2:]  # as arrays, outside of any graph
with tf.Graph().as_default() as graph, v1.Session(graph=graph) as session:
    v1_network(v1.placeholder(tf.float32, [None, 28, 28, 1]), "head")
    for variable, value in zip(v1.trainable_variables(), base_weights):
        variable.load(value, session)
    v1.train.Saver().save(session, base_path)

rows = pick(20, seed=0)
images, labels = new_train[0][rows], new_train[1][rows]  # (100, 28, 28, 1), (100,)
batches = draw(len(rows), 2 * V1_STEPS, seed=0)  # half of them frozen, half unfrozen

with tf.Graph().as_default() as graph, v1.Session(graph=graph) as session:
    pictures, targets = v1.placeholder(tf.float32, [None, 28, 28, 1]), v1.placeholder(tf.int32, [None])
    scores = v1_network(pictures, "new_head")
    loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels=targets, logits=scores))
    kept = v1.trainable_variables(scope="conv|features")  # names that begin so
    head_variables = v1.trainable_variables(scope="new_head")
    train_new = v1.train.MomentumOptimizer(V1_RATE, 0.9).minimize(loss, var_list=head_variables)
    train_all = v1.train.MomentumOptimizer(V1_RATE, 0.9, name="all").minimize(loss)

    v1.train.Saver(kept).restore(session, base_path)
    kept_names = {variable.name for variable in kept}
    new = [variable for variable in v1.global_variables() if variable.name not in kept_names]
    session.run(v1.variables_initializer(new))  # the new head, and what the two optimizers remember
    print("kept:", len(kept), "variables;  new:", len(new))
    for variable, value in zip(head_variables, first_head):
        variable.load(value, session)  # the same first head as below

    for step, chosen in enumerate(batches):
        session.run(
            train_new if step < V1_STEPS else train_all, {pictures: images[chosen], targets: labels[chosen]}
        )
    v1_weights = session.run(v1.trainable_variables())
    v1_scores = session.run(scores, {pictures: new_test[0][:500]})  # (500, 5)
    v1.train.Saver().save(session, str(FOLDER / "tf1_whole.ckpt"))

modern = network(dropout=0.0)
modern.set_weights(base_weights[:-2] + first_head)
freeze(modern, True)
trainer(modern, SGD(V1_RATE, momentum=0.9))(images, labels, batches[:V1_STEPS])
freeze(modern, False)
trainer(modern, SGD(V1_RATE, momentum=0.9))(images, labels, batches[V1_STEPS:])
weight_difference = max(np.abs(ours - theirs).max() for ours, theirs in zip(modern.get_weights(), v1_weights))
score_difference = np.abs(outputs(modern, new_test[0][:500]) - v1_scores).max()
print(
    f"after {2 * V1_STEPS} steps: weights differ by at most {weight_difference:.1e}, scores by {score_difference:.1e}"
)
assert weight_difference < 1e-4 and score_difference < 1e-3

# %% [markdown]
# **What changed**: `var_list` became `layer.trainable`, a property of the layer and not of one `minimize` call;
# variables are picked as objects and not by patterns of their names; and nothing must be initialised, since a
# variable has its value from the moment it is made. What is left of differences is rounding: the same sums in another
# order.
#
# ## Summary
# 1. Transfer: keep the variables you trust, add new ones, and let only the new start from their initialisers.
# 2. Freeze by `layer.trainable = False`, *before* the optimizer and the step are built.
# 3. Frozen features are computed once; then a head is cheap to train.
# 4. Unfreezing afterwards was the best way from a few labels on; with one or two, frozen features do as well.
# 5. Compare with training from scratch on the same labels, several times, or you measure luck.

# %%
few = [position for position, per_class in enumerate(LABELS_PER_CLASS) if per_class <= 10]
gain_few = gain[few].mean()
assert gain_few > MIN_GAIN, "with few labels the transfer should beat training from scratch"
report(
    old_task_accuracy=base_accuracy,
    gain_in_points_up_to_10_labels=gain_few,
    **{
        f"{name}_{count}_labels": means[way][LABELS_PER_CLASS.index(count)]
        for count in (LABELS_PER_CLASS[0], LABELS_PER_CLASS[-1])
        for name, way in (("transferred", ways[3]), ("scratch", ways[0]))
    },
    old_task_after_tuning=forgetful_accuracy,
)

# %% [markdown]
# ## Exercises
# 1. Skip the training of the head: unfreeze at once, with a random head. How much is lost?
# 2. Transfer only the two convolutions and train a new dense layer together with the head. Where does that help?
# 3. Exchange the tasks: learn 5 to 9 first. Is the gain the same?
#
# <details><summary>Outlines of the answers</summary>
#
# 1. Almost nothing: in `repeat`, put `first_weights[-2:]` in place of the trained head. This network is small and
#    recovers within a few steps; the habit pays with large networks and large learning rates.
# 2. Set `worker`'s weights to `base_weights[:4] + first_weights[4:]` and use the tuning rate. With many labels it is
#    as good as the transfer of everything, since filters are the more general part. With one label it is hardly
#    better than from scratch: the new dense layer has too little to learn from.
# 3. Exchange 0 and 5 in the calls of `digits`. It helps there too, with one label even more; both curves lie higher,
#    because 0 to 4 are easier to tell apart.
# </details>
#
# **Next**: [T_09 Sequences in TFRecord files](T_09_tfrecord_sequences.ipynb)
