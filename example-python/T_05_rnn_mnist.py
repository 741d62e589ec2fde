# %% [markdown]
# # T_05 Recurrent networks on MNIST
#
# **Question**: how does a network read a digit row by row, and why are some recurrent layers so slow?
#
# **After this lesson you can**
# 1. write an LSTM and a GRU in a few lines each and get the numbers of the Keras layers;
# 2. train LSTM, GRU and bidirectional GRU classifiers, and watch a prediction grow row by row;
# 3. count what a recurrent layer costs, measure it, and explain the difference.
#
# **Read before**: [T_01](T_01_basic_usage.ipynb), [T_02](T_02_feedforward_mnist.ipynb).
#
# **Time**: 2.9 minutes on a two-core CPU, from a measured run.

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
SIZE_2018 = False  # True: the networks of the original tutorial, at ten times the time
SEED = int(os.environ.get("TUTORIAL_SEED", "1"))  # benchmarks.seeds runs others
LAYERS, UNITS, STEPS = (2, 256, 5000) if SIZE_2018 else (1, 128, 2500)
BATCH = 100  # images a step
PEAK_RATE = 2e-3 if SIZE_2018 else 4e-3  # highest learning rate; a small network takes a larger one
WARM_UP = 0.05  # share of the steps in which the rate rises; recurrent networks start badly at full rate
CLIP_NORM = 1.0  # longest gradient allowed, so that one bad batch cannot throw the weights far
DROPOUT = 0.3 if SIZE_2018 else 0.1  # share of outputs set to zero in training; large networks need more
REPORTS = 5  # how often training looks at the validation images
SPEED_ROWS, SPEED_REPEATS = 28, 15  # the speed measurement: rows of a sequence, steps timed
MIN_ACCURACY = 0.985  # what we promise for each network
if QUICK:
    UNITS, STEPS, REPORTS, SPEED_ROWS, SPEED_REPEATS, MIN_ACCURACY = 32, 80, 1, 2, 2, 0.3

keras.utils.set_random_seed(SEED)

# %% [markdown]
# ## An image as a sequence
# A recurrent network reads a sequence, one element after the other. An MNIST image becomes a sequence of 28 rows
# with 28 numbers each. This is not the best way to see an image, as T_04 shows, but it lets us watch such a
# network at work on something that we can look at.

# %%
mnist = load_mnist()
scale = lambda split: (split.images.astype(np.float32) / 255, split.labels.astype(np.int64))
(train_x, train_y), (validation_x, validation_y), (test_x, test_y) = map(scale, mnist)
print("training  ", train_x.shape, "= (images, steps, features)")
print("validation", validation_x.shape)
print("test      ", test_x.shape)

# %%
eight = int(np.flatnonzero(test_y == 8)[0])  # the first 8 of the test images
figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.8), layout="constrained")
left.imshow(test_x[eight], cmap="gray_r")
left.set(title=f"Test image {eight}", xlabel="column: the feature", ylabel="row: the step")
for row, colour in [(8, "tab:blue"), (14, "tab:orange"), (19, "tab:red")]:
    left.axhline(row, color=colour, lw=1)
    right.plot(test_x[eight, row], color=colour, label=f"row {row}")
right.set(
    title="Three of the 28 rows that the network gets", xlabel="column: the feature", ylabel="ink, 0 to 1"
)
right.legend(loc="upper left", bbox_to_anchor=(1, 1))
save_figure(figure, "lstm_8.png")

# %% [markdown]
# ## The LSTM cell
# A recurrent network keeps a *state* and updates it with each row. An LSTM (long short-term memory) has two: the
# output $h$ and the memory $c$. Three *gates* $i, f, o$, numbers between 0 and 1, decide what happens to the memory:
#
# $$\begin{aligned}
# i &= \sigma(x W_i + h U_i + b_i) && \text{how much of the new goes in}\\
# f &= \sigma(x W_f + h U_f + b_f) && \text{how much of the old is kept}\\
# g &= \tanh(x W_g + h U_g + b_g) && \text{the new}\\
# o &= \sigma(x W_o + h U_o + b_o) && \text{how much of the memory is shown}\\
# c &\leftarrow f\,c + i\,g, \qquad h \leftarrow o \tanh(c)
# \end{aligned}$$
#
# The line for $c$ is the whole point: the memory is multiplied by a number near 1 and added to. So a gradient can
# flow back over many steps without dying. The four matrices stand side by side, so that one product does all four.


# %%
def lstm_step(x, state, weights):
    """Read one row: x `(batch, features)`, state `(h, c)`, each `(batch, units)`; returns the new state."""
    h, c = state
    kernel, recurrent, bias = weights  # (features, 4 * units), (units, 4 * units), (4 * units,)
    gates = x @ kernel + h @ recurrent + bias  # (batch, 4 * units)
    i, f, g, o = tf.split(gates, 4, axis=1)  # each (batch, units)
    c = tf.sigmoid(f) * c + tf.sigmoid(i) * tf.tanh(g)
    h = tf.sigmoid(o) * tf.tanh(c)
    return h, c


# %% [markdown]
# By hand first: one unit and matrices of zeros, so that the gates come from the bias alone. We choose it such that
# $i = 0.5$, $f = 0.9$, $g = -0.5$, $o = 0.8$, and start with the memory at 2. Then
# $c = 0.9 \cdot 2 + 0.5 \cdot (-0.5) = 1.55$ and $h = 0.8 \tanh(1.55) = 0.731$.

# %%
logit = lambda p: np.log(p / (1 - p))  # the number whose sigmoid is p
tiny_bias = tf.constant([logit(0.5), logit(0.9), np.arctanh(-0.5), logit(0.8)], tf.float32)
tiny_weights = tf.zeros([1, 4]), tf.zeros([1, 4]), tiny_bias
h, c = lstm_step(tf.constant([[1.0]]), (tf.constant([[0.0]]), tf.constant([[2.0]])), tiny_weights)
print(f"c = {c.numpy().item():.3f}   h = {h.numpy().item():.3f}")

# %% [markdown]
# ## The GRU cell
# A GRU (gated recurrent unit) has one state and two gates. The update gate $z$ mixes the old state with the new
# candidate $g$; the reset gate $r$ says how much of the old state the candidate may see:
#
# $$z = \sigma(x W_z + h U_z + b_z), \quad r = \sigma(x W_r + h U_r + b_r), \quad
#   g = \tanh\big(x W_g + b_g + r\,(h U_g + b'_g)\big), \quad h \leftarrow z\,h + (1 - z)\,g.$$
#
# Three matrices instead of four: a quarter less to compute and to store.


# %%
def gru_step(x, state, weights):
    """Read one row: x `(batch, features)`, state `(h,)` of shape `(batch, units)`; returns the new state."""
    (h,) = state
    kernel, recurrent, bias = weights  # (features, 3 * units), (units, 3 * units), (2, 3 * units)
    x_z, x_r, x_g = tf.split(x @ kernel + bias[0], 3, axis=1)  # each (batch, units)
    h_z, h_r, h_g = tf.split(h @ recurrent + bias[1], 3, axis=1)
    z, r = tf.sigmoid(x_z + h_z), tf.sigmoid(x_r + h_r)
    g = tf.tanh(x_g + r * h_g)
    return (z * h + (1 - z) * g,)


# %% [markdown]
# ## From the cell to the layer
# A layer runs its cell along the sequence and keeps every output. Our loop is Python, so a `tf.function` records
# it step by step: the loop is *unrolled*.


# %%
def read(step, x, weights):
    """Run a cell from a state of zeros: x `(batch, steps, features)` to all outputs `(batch, steps, units)`."""
    zero = tf.zeros([tf.shape(x)[0], weights[1].shape[0]])  # (batch, units)
    state = (zero, zero) if step is lstm_step else (zero,)
    outputs = []
    for row in tf.unstack(x, axis=1):  # steps × (batch, features)
        state = step(row, state, weights)
        outputs.append(state[0])
    return tf.stack(outputs, axis=1)


# %% [markdown]
# Are these the layers that Keras has? We make Keras layers, take their weights, and compare on five images.

# %%
five = tf.constant(test_x[:5])  # (5, 28, 28)
for step, make_layer in [(lstm_step, keras.layers.LSTM), (gru_step, keras.layers.GRU)]:
    layer = make_layer(8, return_sequences=True)
    theirs = layer(five)  # (5, 28, 8); the first call makes the weights
    ours = read(step, five, layer.weights)
    difference = np.abs(ours - theirs).max()
    print(
        f"{layer.name:<5} weights {[tuple(w.shape) for w in layer.weights]}, largest difference {difference:.0e}"
    )
    assert difference < 1e-6

# %% [markdown]
# They are. With more layers, the second reads the outputs of the first as if they were the rows.
#
# A **bidirectional** layer has a second cell with its own weights, which reads the sequence from the end. Its
# outputs are turned round again and put beside the first, so each step knows what came before *and* what comes
# after. At the last row, though, the backward cell has read only that one row. So a bidirectional classifier takes
# the mean over all rows, not the last output.


# %%
def read_both_ways(step, x, forward, backward):
    """A bidirectional layer: x `(batch, steps, features)` to `(batch, steps, 2 * units)`."""
    ahead = read(step, x, forward)
    back = tf.reverse(read(step, tf.reverse(x, axis=[1]), backward), axis=[1])
    return tf.concat([ahead, back], axis=2)


layer = keras.layers.Bidirectional(keras.layers.GRU(8, return_sequences=True))
theirs = keras.layers.GlobalAveragePooling1D()(layer(five))  # (5, 28, 16), then (5, 16)
both_ways = read_both_ways(gru_step, five, layer.weights[:3], layer.weights[3:])
ours = tf.reduce_mean(both_ways, axis=1)
print("outputs", both_ways.shape, "mean", ours.shape, f"largest difference {np.abs(ours - theirs).max():.0e}")
np.testing.assert_allclose(ours, theirs, atol=1e-6)

# %% [markdown]
# **Dropout**: in training it sets a random share of the outputs to zero and enlarges the others, so that the sum
# stays the same on average; otherwise it does nothing. We place it on what a layer hands *on*. Between the steps of
# a layer it would wipe the memory 28 times.

# %%
half = keras.layers.Dropout(0.5, seed=SEED)
print("training ", half(tf.ones([1, 10]), training=True).numpy()[0])
print("otherwise", half(tf.ones([1, 10]), training=False).numpy()[0])


# %% [markdown]
# ## Three classifiers
# LSTM and GRU answer from the last row, the bidirectional GRU (Bi-GRU) from the mean of all rows.


# %%
def build(kind, layers=LAYERS, rows=28, dropout=DROPOUT, unroll=False):
    """A Keras model from images `(batch, rows, 28)` to scores `(batch, 10)`."""
    images = x = keras.Input((rows, 28))
    for _ in range(layers):
        make_layer = keras.layers.LSTM if kind == "LSTM" else keras.layers.GRU
        layer = make_layer(UNITS, return_sequences=True, unroll=unroll)
        x = keras.layers.Bidirectional(layer)(x) if kind == "Bi-GRU" else layer(x)  # (batch, rows, units)
        x = keras.layers.Dropout(dropout)(x)
    outputs = keras.layers.Identity(name="outputs")(x)  # a name for what we look at later
    summary = keras.layers.GlobalAveragePooling1D()(outputs) if kind == "Bi-GRU" else outputs[:, -1]
    return keras.Model(images, keras.layers.Dense(10, name="scores")(summary), name=kind)


def loss_and_gradients(model, x, y):
    """The mean cross entropy of a batch, and its gradient with respect to each trainable variable."""
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(y, model(x, training=True)))
    return loss, tape.gradient(loss, model.trainable_variables)


KINDS = ("LSTM", "GRU", "Bi-GRU")
models = {kind: build(kind) for kind in KINDS}
for kind, model in models.items():
    print(f"{kind:<7} {LAYERS} layer(s) of {UNITS}: {model.count_params():>9,} parameters")

# %% [markdown]
# The learning rate rises for a moment and then falls along a cosine to zero. The fall matters: at a constant rate
# the weights keep jumping around the solution. `global_clipnorm` shortens long gradients.


# %%
def accuracy(model, images, labels):
    """Share of the images whose highest score is the label's."""
    scores = model.predict(images, batch_size=500, verbose=0)  # (images, 10)
    return float(np.mean(np.argmax(scores, axis=1) == labels))


def train(model):
    """Train for STEPS steps; returns the seconds spent in them."""
    keras.utils.set_random_seed(SEED)
    warm_up = int(WARM_UP * STEPS)
    rate = keras.optimizers.schedules.CosineDecay(
        0.0, decay_steps=STEPS - warm_up, warmup_target=PEAK_RATE, warmup_steps=warm_up
    )
    optimizer = keras.optimizers.Adam(rate, global_clipnorm=CLIP_NORM)
    optimizer.build(model.trainable_variables)

    @tf.function
    def train_step(x, y):
        loss, gradients = loss_and_gradients(model, x, y)
        optimizer.apply_gradients(zip(gradients, model.trainable_variables))
        return loss

    batches = tf.data.Dataset.from_tensor_slices((train_x, train_y)).shuffle(len(train_x), seed=SEED)
    seconds, start = 0.0, time.perf_counter()
    for number, (x, y) in enumerate(batches.repeat().batch(BATCH).take(STEPS).prefetch(2), 1):
        loss = train_step(x, y)
        if number % (STEPS // REPORTS) == 0:
            loss = loss.numpy()  # waits for the step to end
            seconds += time.perf_counter() - start
            right = accuracy(model, validation_x, validation_y)
            print(f"{model.name:<7} step {number:>5,}  loss {loss:.4f}  validation accuracy {right:.2%}")
            start = time.perf_counter()
    return seconds


seconds, test_accuracy = {}, {}
for kind, model in models.items():
    seconds[kind] = train(model)
    test_accuracy[kind] = accuracy(model, test_x, test_y)
    print(
        f"{kind:<7} test accuracy {test_accuracy[kind]:.2%} after {seconds[kind]:.0f} seconds of training\n"
    )

# %% [markdown]
# All three end close to each other. A tenth of a percent is ten images of the test set, and changes from seed to
# seed. The time differs more: the bidirectional network takes the longest.
#
# ## The prediction grows row by row
# The network was trained to answer after row 28. But its output at every row has the same shape, so we can send
# each of the 28 through the layer of scores and see what it would have said, had the image stopped there.

# %%
lstm = models["LSTM"]
all_outputs = keras.Model(lstm.input, lstm.get_layer("outputs").output)


def probabilities_by_row(images):
    """Images `(batch, 28, 28)` to the ten probabilities after each row, `(batch, 28, 10)`."""
    outputs = all_outputs.predict(images, batch_size=500, verbose=0)  # (batch, 28, units)
    return tf.nn.softmax(lstm.get_layer("scores")(outputs)).numpy()


growth = probabilities_by_row(test_x[eight : eight + 1])[0]  # (28, 10)
figure, axes = plt.subplots(4, 7, figsize=(11, 6.2), sharex=True, sharey=True, layout="constrained")
for row, (panel, values) in enumerate(zip(axes.flat, growth), 1):
    panel.bar(range(10), values, color=["tab:red" if digit == 8 else "0.55" for digit in range(10)])
    panel.set(ylim=(0, 1), xticks=range(10))
    panel.set_title(f"{row} rows read" if row > 1 else "1 row read", fontsize=9)
    panel.tick_params(labelsize=7)
figure.supxlabel("digit (the true one, 8, in red)")
figure.supylabel("probability")
figure.suptitle(f"What the LSTM believes while it reads test image {eight}")
save_figure(figure, "lstm_mnist.png")

# %% [markdown]
# Read it beside the picture of the digit. The first rows are empty and say nothing. Then the network holds opinions
# that later rows overturn: the upper loop alone could be the top of a 9. The lower loop decides. The last rows are
# empty again; the memory has to carry the answer across them.
#
# One image is an anecdote. Here is the accuracy over all test images when the network is stopped after each row.

# %%
right_by_row = np.mean(np.argmax(probabilities_by_row(test_x), axis=2) == test_y[:, None], axis=0)  # (28,)
figure, axes = plt.subplots(figsize=(7, 3.6), layout="constrained")
axes.plot(range(1, 29), right_by_row, "o-", color="tab:blue", label="accuracy, stopped after this row")
axes.bar(range(1, 29), test_x.mean(axis=(0, 2)), color="0.8", label="mean ink in this row")
axes.set(title="How much the LSTM knows after each row", xlabel="rows read", ylabel="accuracy; ink, 0 to 1")
axes.legend()
save_figure(figure, "T_05_rows.png")
print("  ".join(f"row {row}: {right_by_row[row - 1]:.1%}" for row in (7, 14, 21, 28)))

# %% [markdown]
# For more than half of the rows the answer is hardly better than guessing, then it gets good within a few rows. The
# upper half of a digit does say something about it, and the state must hold it, or the end could not be right. But
# the layer of scores was trained on the last output alone and cannot read the earlier ones. Exercise 4 mends that.

# %% [markdown]
# ## What a recurrent layer costs
# Two things take time: the *arithmetic*, and the *waiting*. The product $h U$ of a step cannot start before the
# last step has ended, so a layer is a chain of small products that no machine can do side by side. Both can be
# counted: a layer that reads $n$ features with $u$ units and $k$ matrices ($k = 4$ for an LSTM, 3 for a GRU) does
# $k\,u\,(n + u)$ multiplications for a row.
#
# Then the clock, for a training step: forward and gradient of one batch. Each network runs in two forms. *Loop* is
# the Keras layer as it comes: `tf.while_loop` repeats one recorded step. *Unrolled* is the layer with
# `unroll=True`: as with our `read`, the graph holds a copy of the step for every row.


# %%
def count(kind, layers):
    """The number of products in a row, and millions of multiplications, for one image forward."""
    directions, matrices = (2 if kind == "Bi-GRU" else 1), (4 if kind == "LSTM" else 3)
    features = [28] + [UNITS * directions] * (layers - 1)  # what each layer reads
    multiplications = sum(directions * SPEED_ROWS * matrices * UNITS * (n + UNITS) for n in features)
    return layers * directions * SPEED_ROWS, multiplications / 1e6


def step_time(model, x, y):
    """Median milliseconds of one loss and its gradients."""
    recorded = tf.function(lambda x, y: loss_and_gradients(model, x, y))
    milliseconds = []
    for _ in range(SPEED_REPEATS + 2):
        start = time.perf_counter()
        recorded(x, y)[0].numpy()
        milliseconds.append((time.perf_counter() - start) * 1e3)
    return float(np.median(milliseconds[2:]))  # the first two runs record and prepare


x, y = tf.constant(train_x[:BATCH, :SPEED_ROWS]), tf.constant(train_y[:BATCH])
speed = {}
print("network, layers   products in a row   million multiplications   loop ms   unrolled ms")
for kind, layers in [("LSTM", 1), ("GRU", 1), ("Bi-GRU", 1), ("GRU", 2), ("Bi-GRU", 2)]:
    networks = [build(kind, layers, SPEED_ROWS, dropout=0.0, unroll=unroll) for unroll in (False, True)]
    speed[kind, layers] = loop_ms, unrolled_ms = [step_time(network, x, y) for network in networks]
    in_a_row, millions = count(kind, layers)
    print(f"{kind:<8} {layers}{in_a_row:25d}{millions:26.2f}{loop_ms:10.0f}{unrolled_ms:14.0f}")

# %% [markdown]
# - **GRU against LSTM**: a quarter less arithmetic. With 128 units the clock hardly shows it, as the products are only
#   a part of the work at this size; with 256, in the next table, it does.
# - **Bi-GRU against GRU**: with one layer twice the products in a row and twice the arithmetic, and about twice the
#   time, somewhat less when the two directions, which do not wait for each other, share the cores. With two layers
#   it is more: the second layer reads both directions of the first, twice as many features.
# - **Loop against unrolled**: the same arithmetic, and on a processor nearly the same time. Unrolling takes longer to
#   record.

# %%
bi_gru_over_gru = {}
for layers in (1, 2):
    bi_gru_over_gru[layers] = speed["Bi-GRU", layers][1] / speed["GRU", layers][1]
    arithmetic = count("Bi-GRU", layers)[1] / count("GRU", layers)[1]
    print(f"{layers} layer(s): Bi-GRU has {arithmetic:.1f} times the arithmetic of GRU"
          f" and takes {bi_gru_over_gru[layers]:.1f} times as long, both unrolled")  # fmt: skip

# %% [markdown]
# ### The speed table of 2018 lives again
# 256 units, one and two layers; seconds for 500 training and 100 test batches of 100. `python -m
# benchmarks.t05_speed` measures it. The hand-written layers (`benchmarks/t05_fast_rnn.py`) multiply the rows of
# *all* steps by the input matrix in one product before the loop, and find the gradients of the weights in one
# product each after it. Only the product that must wait stays in the loop, and the batch is cut into one part for
# each core, so that no core waits for another.

# %%
table = json.loads((RESULTS / "T_05_speed.json").read_text(encoding="utf-8"))
print(" " * 34 + "".join(f"{name:>9}" for name in table["columns"]))
for row in table["rows"]:
    cells = ("" if value is None else f"{value:.1f}" for value in row["seconds"])
    print(f"{row['name']:<34}" + "".join(f"{cell:>9}" for cell in cells))
print(f"{table['machine']['cpu']}, {table['machine']['cores']} cores, {table['machine']['date']}")

# %% [markdown]
# *1-thread ops* means that each operation has one thread (`tf.config.threading.set_intra_op_parallelism_threads(1)`
# when the program starts). The product of one step is too small to be shared by two cores; with this setting,
# operations that do not depend on each other run side by side instead. The rows written by hand have it, too. Factors
# of 16 bits (`bfloat16`, sums stay at 32) make every network faster still, on a processor that has instructions for
# them.
#
# The first row has a riddle: on the GPU of 2018 the Bi-GRU took 5 times as long as the GRU, and the tutorial could
# not say why. Its programs differ in more than the second direction: LSTM and GRU were unrolled in Python, but the
# Bi-GRU ran through `stack_bidirectional_dynamic_rnn`, which is a `while_loop`. Two layers were compared, and with
# them two loops. The two TF 1.x rows repeat the comparison, as it was and then like with like.

# %%
seconds_of = {row["name"]: dict(zip(table["columns"], row["seconds"])) for row in table["rows"]}
loop, static = seconds_of["TF 1.x graph, dynamic_rnn"], seconds_of["TF 1.x graph, Python loop"]
for layers in (1, 2):
    gru, bi_gru = f"GRU-{layers}", f"Bi-GRU-{layers}"
    print(f"{layers} layer(s): Bi-GRU in a while_loop over GRU unrolled {loop[bi_gru] / static[gru]:.1f},"
          f" both unrolled {static[bi_gru] / static[gru]:.1f}")  # fmt: skip

# %% [markdown]
# So the second direction explains a factor of about two. The rest of the 5 does not appear here, and it could not:
# on a processor the loop itself costs little beside the products in it. A GPU finishes such a small product in
# microseconds, faster than the loop can decide whether to go on, push on a stack what the gradient will need, and start
# the next; there the loop would set the pace. We have no GPU of that time to prove it, but nothing else of weight
# differs in the programs.

# %% [markdown]
# ## The size of 2018
# Two layers of 256 units and 5,000 steps, measured by `python -m benchmarks.t05_accuracy`, which trains each network
# with three seeds. `SIZE_2018 = True` runs this lesson at that size.

# %%
results = json.loads((RESULTS / "T_05_2018_size.json").read_text(encoding="utf-8"))
for kind, row in results["rows"].items():
    each = ", ".join(f"{value:.2%}" for value in row["accuracies"])
    spread = "" if row["std"] is None else f" (standard deviation {row['std']:.2%})"
    print(
        f"{kind:<7} mean {row['mean']:.2%}{spread}; each seed: {each}; one run in 2018: {row['published_2018']:.2%}"
    )

# %% [markdown]
# # The same in TF 1.x
# TensorFlow 1.x had its cells in `tf.nn.rnn_cell` and `tf.contrib.rnn`. The second went with `contrib`; the first
# still has its names, but they refuse to work with Keras 3:

# %%
v1 = tf.compat.v1
tf.get_logger().setLevel("ERROR")  # dynamic_rnn reports at each call that it is deprecated; now we know

try:
    v1.nn.rnn_cell.BasicLSTMCell(UNITS)
except (ImportError, AttributeError) as error:
    print(str(error).strip())

# %% [markdown]
# What runs a cell, `dynamic_rnn`, is still there and takes any object with the members below. So we write the cell
# around the same `lstm_step` as above, and start it from the weights of the LSTM that we trained.


# %%
class GraphCell:
    """An LSTM cell as TF 1.x knew it; `values` are the kernel, recurrent kernel and bias to start from."""

    def __init__(self, values):
        names = ("kernel", "recurrent_kernel", "bias")
        self.weights = [v1.get_variable(name, initializer=value) for name, value in zip(names, values)]
        self.output_size = values[1].shape[0]
        self.state_size = (self.output_size, self.output_size)  # h and c

    def zero_state(self, batch_size, dtype):
        return tuple(tf.zeros([batch_size, size], dtype) for size in self.state_size)

    def get_initial_state(self, inputs=None, batch_size=None, dtype=None):
        return self.zero_state(batch_size, dtype)

    def __call__(self, x, state, scope=None):
        state = lstm_step(x, state, self.weights)
        return state[0], state


# %% [markdown]
# 2018 had two ways to run it: `dynamic_rnn`, a loop in the graph, and a Python loop over the rows, which unrolls.
# Here both use one cell, and so its variables.

# %%
trained = [
    [w.numpy() for w in layer.weights] for layer in lstm.layers if isinstance(layer, keras.layers.LSTM)
]
kernel, bias = (w.numpy() for w in lstm.get_layer("scores").weights)
with tf.Graph().as_default() as graph:
    images = v1.placeholder(tf.float32, [None, 28, 28], name="images")
    dynamic = static = images
    for number, values in enumerate(trained):
        with v1.variable_scope(f"layer_{number}"):
            cell = GraphCell(values)
            dynamic, _ = v1.nn.dynamic_rnn(cell, dynamic, dtype=tf.float32)  # (batch, 28, units)
        state, outputs = cell.zero_state(tf.shape(images)[0], tf.float32), []
        for row in range(28):
            output, state = cell(static[:, row], state)
            outputs.append(output)
        static = tf.stack(outputs, axis=1)  # (batch, 28, units)
    scores = {"dynamic_rnn": dynamic[:, -1] @ kernel + bias, "Python loop": static[:, -1] @ kernel + bias}
    with v1.Session(graph=graph) as session:
        session.run(v1.global_variables_initializer())
        v1_scores = session.run(scores, feed_dict={images: test_x[:100]})
        print([(variable.name, variable.shape.as_list()) for variable in v1.global_variables()])

modern_scores = lstm.predict(test_x[:100], verbose=0)  # (100, 10)
for name, values in v1_scores.items():
    print(
        f"{name}: largest difference from the Keras model's scores {np.abs(values - modern_scores).max():.0e}"
    )
    np.testing.assert_allclose(values, modern_scores, atol=1e-4)

# %% [markdown]
# **What changed**: `LSTMCell` moved from `tf.nn.rnn_cell` to `keras.layers`, `dynamic_rnn` became
# `keras.layers.RNN(cell)`, and the two together are `keras.layers.LSTM`. `MultiRNNCell` became one layer after
# another, `bidirectional_dynamic_rnn` became `keras.layers.Bidirectional`, `DropoutWrapper` a `Dropout` layer. The
# choice between a loop in the graph and one in Python is now the argument `unroll`.

# %% [markdown]
# ## Summary
# 1. A recurrent cell updates a state with each row; an LSTM's memory is kept by one gate and fed by another.
# 2. A GRU does the same work with three matrices instead of four, and as well on this task.
# 3. A bidirectional layer reads from both ends; take the mean of its outputs, not the last.
# 4. Time goes to arithmetic and to waiting for the step before; two directions double both.
# 5. TF 1.x ran a cell object through `dynamic_rnn`; with the same weights it gives the same scores.

# %%
for kind in KINDS:
    assert test_accuracy[kind] >= MIN_ACCURACY, f"{kind} reached only {test_accuracy[kind]:.2%}"
names = {"LSTM": "lstm", "GRU": "gru", "Bi-GRU": "bi_gru"}
report(
    **{f"{names[kind]}_accuracy": test_accuracy[kind] for kind in KINDS},
    **{f"{names[kind]}_seconds": seconds[kind] for kind in KINDS},
    bi_gru_over_gru=bi_gru_over_gru[1],
)

# %% [markdown]
# ## Exercises
# 1. Let the network read columns instead of rows. Does it matter?
# 2. Let the Bi-GRU answer from its last output instead of the mean. What does its backward half know?
# 3. Set the forget gate's bias of the trained LSTM to -10 and measure its accuracy again. Explain.
# 4. Train the LSTM to answer after every row, and draw the accuracy by row again.
#
# <details><summary>Outlines of the answers</summary>
#
# 1. `np.swapaxes(train_x, 1, 2)`, likewise for the other two. Little changes: a digit has as much structure from
#    left to right as from top to bottom.
# 2. Use `outputs[:, -1]` for all kinds. The backward half has read only the last row, which is empty in nearly
#    every image. It adds nothing, and you have a GRU at twice the price.
# 3. `bias = lstm.layers[1].cell.bias; b = bias.numpy(); b[UNITS : 2 * UNITS] = -10; bias.assign(b)`. The gate
#    stays shut and the memory is lost at every row. The last rows are empty, so accuracy falls to guessing.
# 4. Give `Dense` all `outputs` (it works on the last axis), repeat each label 28 times, and average the loss. The
#    curve now rises from the first inked row on, at a small cost at the last.
# </details>
#
# **Next**: [T_06 TensorBoard](T_06_tensorboard.ipynb)
