# %% [markdown]
# # T_10 Data sets from arrays
#
# **Question**: how does `tf.data` turn NumPy arrays into shuffled batches, and why was one way of doing it thousands
# of times slower than another?
#
# **After this lesson you can**
# 1. build an input pipeline from arrays and say what each stage does to the order of the elements;
# 2. choose a shuffle buffer, place `repeat`, `cache` and `prefetch`, and make the order repeatable;
# 3. read the one-shot and initializable iterators of TF 1.x, and find the mistake in them that cost minutes.
#
# **Read before**: [T_02](T_02_feedforward_mnist.ipynb).
#
# **Time**: 10 seconds on a two-core CPU, from a measured run.

# %%
import json
import os
import time

from utils.lesson import RESULTS, quiet_start, report, save_figure

quiet_start()  # TensorFlow without its start-up messages
import keras
import matplotlib.pyplot as plt
import numpy as np
import tensorflow as tf

from utils.mnist import load_mnist

print("TensorFlow", tf.__version__, "· NumPy", np.__version__)

# %%
QUICK = os.environ.get("TUTORIAL_QUICK") == "1"
SEED = 1
BATCH = 128
BATCHES = 10 if QUICK else 100  # batches in each measurement
ROWS = 5_000 if QUICK else 55_000  # rows of MNIST used
GRAPH_ROWS = 500 if QUICK else 2_000  # rows in the demonstration of the slow way; its cost grows fast
keras.utils.set_random_seed(SEED)

# %% [markdown]
# ## Elements, not arrays
# A `tf.data.Dataset` is a recipe for a stream of elements. `from_tensor_slices` cuts arrays along their first
# dimension: six rows become six elements. Several arrays are cut together, so a picture keeps its label.

# %%
features = np.arange(12).reshape(6, 2)  # (6, 2)
labels = np.array([0, 1, 0, 1, 0, 1])  # (6,)
dataset = tf.data.Dataset.from_tensor_slices((features, labels))
print(dataset.element_spec)
for x, y in dataset:
    print(x.numpy(), y.numpy())

# %% [markdown]
# Each method returns a new data set that reads from the old one; nothing runs until somebody asks for elements.
# `map` applies a function to each element, `batch` stacks neighbours. Six elements in batches of four leave a batch
# of two at the end. `drop_remainder=True` leaves it out, and then the batch size is part of the shape.

# %%
halves = dataset.map(lambda x, y: (x / 2, y))
for _, y in halves.batch(4):
    print("batch of", len(y), "labels", y.numpy())
whole_only = halves.batch(4, drop_remainder=True)
print("shapes:", halves.batch(4).element_spec[0].shape, "and", whole_only.element_spec[0].shape)

# %% [markdown]
# ## What the shuffle buffer does
# `shuffle(k)` keeps `k` elements in a buffer. To deliver one it picks at random among these, and fills the place
# with the next element of the stream. So the first element it delivers is one of the first `k`, always.
#
# With ten numbers and a buffer of three we can check it by hand: position 0 must hold 0, 1 or 2; position 1 at most 3.

# %%
ten = tf.data.Dataset.range(10).shuffle(3, seed=SEED)
order = [int(number) for number in ten]
print("delivered:", order)
assert all(number <= position + 2 for position, number in enumerate(order))

# %% [markdown]
# For a picture of it we shuffle 1,000 numbers with four buffers. A perfect shuffle fills the square evenly.

# %%
COUNT = 1000
figure, panels = plt.subplots(1, 4, figsize=(12, 3.4), sharey=True, layout="constrained")
correlation = {}
for panel, buffer in zip(panels, (1, 30, 300, COUNT)):
    delivered = np.array(list(tf.data.Dataset.range(COUNT).shuffle(buffer, seed=SEED).as_numpy_iterator()))
    correlation[buffer] = np.corrcoef(np.arange(COUNT), delivered)[0, 1]
    panel.scatter(np.arange(COUNT), delivered, s=2)
    panel.set(
        title=f"buffer {buffer}\ncorrelation {correlation[buffer]:.2f}", xlabel="position in the output"
    )
panels[0].set_ylabel("position in the input")
figure.suptitle("Where each element comes from")
save_figure(figure, "T_10_shuffle_buffer.png", dpi=90)

# %% [markdown]
# Below the sharp upper edge a buffer mixes, above it nothing can come: an element never leaves more than `k - 1`
# places early. If the file is sorted by class, a small buffer gives batches of a single class. **Use a buffer as large
# as the data set**, or shuffle something smaller than the data. For arrays that is easy: shuffle row *numbers* (below).

# %% [markdown]
# ## `repeat`, and the order of the two
# Training needs many passes (*epochs*). `shuffle` then `repeat` finishes each pass before it begins the next.
# `repeat` then `shuffle` mixes across the border: some elements come twice before others come once.

# %%
small = tf.data.Dataset.range(5)
shuffled_first = list(small.shuffle(5, seed=SEED).repeat(2).as_numpy_iterator())
repeated_first = list(small.repeat(2).shuffle(5, seed=SEED).as_numpy_iterator())
print("shuffle, repeat:", *shuffled_first[:5], "|", *shuffled_first[5:])
print("repeat, shuffle:", *repeated_first[:5], "|", *repeated_first[5:])
assert set(shuffled_first[:5]) == set(range(5)), "each half of the first is a full pass"

# %% [markdown]
# The same holds for `batch`: batch before repeat and each pass ends with its own short batch; repeat before batch and
# batches run across the border. `shuffle → repeat → batch(drop_remainder=True)` is the usual order for training.

# %% [markdown]
# ## `take` after `shuffle` leaks
# A common way to split off validation data is `shuffle`, then `take` and `skip`. But `shuffle` shuffles anew on each
# pass, so the split is another one each time, and training sees validation data.

# %%
leaky = tf.data.Dataset.range(10).shuffle(10, seed=SEED)
fixed = tf.data.Dataset.range(10).shuffle(10, seed=SEED, reshuffle_each_iteration=False)
for name, whole in [("shuffled anew", leaky), ("shuffled once", fixed)]:
    validation = {int(number) for number in whole.take(3)}
    training = {int(number) for number in whole.skip(3)}
    print(
        f"{name}: validation {sorted(validation)}, also in training: {sorted(validation & training) or 'none'}"
    )
assert not {int(n) for n in fixed.take(3)} & {int(n) for n in fixed.skip(3)}

# %% [markdown]
# Better still, split the *arrays* before they become a data set, as `load_mnist` does.
#
# ## Order that repeats
# `shuffle(seed=...)`, or `keras.utils.set_random_seed` once at the top, gives the same orders on every run. Inside one
# run the passes differ from each other, which training wants. A parallel `map` keeps the order too, unless you
# allow otherwise with `deterministic=False`: then an element that is ready early goes first.


# %%
def two_passes():
    data = tf.data.Dataset.range(8).shuffle(8, seed=SEED)
    return [[int(number) for number in data] for _ in range(2)]


first_build, second_build = two_passes(), two_passes()
print("first build :", *first_build)
print("second build:", *second_build)
assert first_build == second_build and first_build[0] != first_build[1]


# %% [markdown]
# ## `cache` and `prefetch`
# Suppose preparing an element takes 2 ms and a training step takes 2 ms. Done in turns they add up. `prefetch` lets the
# pipeline prepare the next element while the step runs. `cache` keeps what was prepared, so from the second pass
# on preparing costs nothing. We imitate both with `sleep`.


# %%
def prepare(number):
    time.sleep(0.002)
    return number


def seconds_for(data, passes=2):
    """Seconds of each pass, with a pretended training step of 2 ms an element."""
    result = []
    for _ in range(passes):
        started = time.perf_counter()
        for _ in data:
            time.sleep(0.002)
        result.append(time.perf_counter() - started)
    return result


# One element at a time, so that we see the effect of each stage alone.
slow = tf.data.Dataset.range(100).map(
    lambda n: tf.numpy_function(prepare, [n], tf.int64), num_parallel_calls=None
)
options = tf.data.Options()
options.experimental_optimization.map_parallelization = (
    False  # TensorFlow would parallelise the map by itself
)
slow = slow.with_options(options)
pipelines = {"plain": slow, "prefetch": slow.prefetch(1), "cache": slow.cache()}
passes = {name: seconds_for(data) for name, data in pipelines.items()}
for name, (one, two) in passes.items():
    print(f"{name:<9} first pass {one * 1e3:4.0f} ms, second pass {two * 1e3:4.0f} ms")

# %% [markdown]
# `prefetch` hides the preparation behind the step, in every pass; `cache` removes it from the second pass on. Put
# `cache` before `shuffle` and before random augmentation, or you freeze these too; put `prefetch` last.

# %% [markdown]
# ## The real thing: MNIST from memory
# 100 batches of 128 digits as float32, shuffled. The plain pipeline shuffles whole elements: each of the 784 numbers
# of a row is handled alone on its way through the buffer, and `batch` copies rows one by one.

# %%
train = load_mnist().train
images = train.images[:ROWS].reshape(ROWS, 784).astype(np.float32) / 255  # (rows, 784), 0 to 1
digits = train.labels[:ROWS].astype(np.int64)  # (rows,)
print("images", images.shape, images.dtype, f"{images.nbytes / 1e6:.0f} MB;  labels", digits.shape)

slices = (
    tf.data.Dataset.from_tensor_slices((images, digits))
    .shuffle(5000)
    .batch(BATCH, drop_remainder=True)
    .prefetch(2)
)

# %% [markdown]
# It is faster to shuffle row *numbers*, batch the numbers, and fetch each batch of rows with one `tf.gather`.
# A number weighs 8 bytes instead of 3 kB, so the buffer may be as large as the data set, and the shuffle is perfect.

# %%
image_tensor, digit_tensor = tf.constant(images), tf.constant(digits)


def rows_of_an_epoch(_):
    """A new permutation of all row numbers, cut into batches."""
    order = tf.random.shuffle(tf.range(ROWS))[: ROWS // BATCH * BATCH]
    return tf.data.Dataset.from_tensor_slices(tf.reshape(order, [-1, BATCH]))  # (batches, 128)


gathered = (
    tf.data.Dataset.range(1)
    .repeat()
    .flat_map(rows_of_an_epoch)
    .map(lambda rows: (tf.gather(image_tensor, rows), tf.gather(digit_tensor, rows)))
    .prefetch(2)
)


# %%
def milliseconds(data):
    """Time for BATCHES batches; the best of three, after one to warm up."""
    times = []
    for _ in range(4):
        started = time.perf_counter()
        for x, _y in data.take(BATCHES):
            assert x.shape == (BATCH, 784)
        times.append((time.perf_counter() - started) * 1e3)
    return min(times[1:])


slices_ms, gathered_ms = milliseconds(slices), milliseconds(gathered)
print(f"{BATCHES} batches: shuffling rows {slices_ms:.0f} ms, shuffling row numbers {gathered_ms:.0f} ms")

# %% [markdown]
# The pairs stay together, and each pass visits every row once. Do not believe it, check it.

# %%
seen = []
for x, y in gathered.take(ROWS // BATCH):
    seen.append((x.numpy().sum(), y.numpy()))
label_count = np.bincount(np.concatenate([y for _, y in seen]), minlength=10)
print("digits seen in one pass:", label_count, "in total", label_count.sum())
assert np.all(label_count <= np.bincount(digits, minlength=10)), "no row came twice"
one_batch, one_label = next(iter(gathered))
row = np.flatnonzero((images == one_batch[0].numpy()).all(axis=1))
assert one_label[0].numpy() in digits[row], "the picture has its own label"

# %% [markdown]
# ## Arrays larger than memory
# `from_tensor_slices` copies its arrays into the pipeline. Data that does not fit in memory stays on disk: open it as a
# memory map and let only the rows of a batch be read, or write it to TFRecord files
# ([T_09](T_09_tfrecord_sequences.ipynb)).

# %%
import tempfile

with tempfile.TemporaryDirectory() as folder:
    path = os.path.join(folder, "images.npy")
    np.save(path, images)
    on_disk = np.load(path, mmap_mode="r")  # nothing is read yet

    def read_rows(rows, on_disk=on_disk):
        return on_disk[np.sort(rows)]  # sorted: the disk reads forward

    from_disk = (
        tf.data.Dataset.range(ROWS)
        .shuffle(ROWS)
        .batch(BATCH, drop_remainder=True)
        .map(lambda rows: tf.ensure_shape(tf.numpy_function(read_rows, [rows], tf.float32), [BATCH, 784]))
        .prefetch(2)
    )
    for x in from_disk.take(1):
        print("a batch from disk:", x.shape, x.dtype.name)
    del from_disk, on_disk

# %% [markdown]
# # The same in TF 1.x
# In 2018 an *iterator* stood between data set and graph. `get_next()` added an operation that delivers the next
# element each time it is run.
#
# - A **one-shot** iterator needs no set-up. The arrays become constants of the graph.
# - An **initializable** iterator is started by running its initialiser, with the arrays fed to placeholders then.
#
# Without shuffling, all three must deliver the same batches.

# %%
v1 = tf.compat.v1
few_images, few_digits = images[:GRAPH_ROWS], digits[:GRAPH_ROWS]

modern = [
    x.numpy() for x, _ in tf.data.Dataset.from_tensor_slices((few_images, few_digits)).batch(BATCH).take(3)
]

with tf.Graph().as_default() as graph:
    data = tf.data.Dataset.from_tensor_slices((few_images, few_digits)).batch(BATCH)
    next_images, _ = v1.data.make_one_shot_iterator(data).get_next()
    with v1.Session(graph=graph) as session:
        one_shot = [session.run(next_images) for _ in range(3)]

with tf.Graph().as_default() as graph:
    image_input = v1.placeholder(tf.float32, [None, 784])
    digit_input = v1.placeholder(tf.int64, [None])
    data = tf.data.Dataset.from_tensor_slices((image_input, digit_input)).batch(BATCH)
    iterator = v1.data.make_initializable_iterator(data)
    next_images, _ = iterator.get_next()
    with v1.Session(graph=graph) as session:
        session.run(iterator.initializer, {image_input: few_images, digit_input: few_digits})
        initializable = [session.run(next_images) for _ in range(3)]

for a, b, c in zip(modern, one_shot, initializable):
    np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(a, c)
print("three batches, three ways: equal")

# %% [markdown]
# The end of the data was an exception. Programs of 2018 are full of this loop:

# %%
with tf.Graph().as_default() as graph:
    number = v1.data.make_one_shot_iterator(tf.data.Dataset.range(3)).get_next()
    with v1.Session(graph=graph) as session:
        try:
            while True:
                print(session.run(number), end=" ")
        except tf.errors.OutOfRangeError:
            print("end of data")

# %% [markdown]
# ## The mistake that cost minutes
# Most programs called `get_next()` *inside* the loop: `session.run(iterator.get_next())`. It looks like Python's
# `next()`. But each call adds operations to the graph, and a graph that changed is handed to the runtime again before
# the next run. With a one-shot iterator the data set, constants and all, is part of what is handled each time. We
# count the operations and measure, with few rows.

# %%
import warnings


def run_graph(one_shot, in_loop, count=20):
    """Milliseconds per batch, and how many operations the graph has at the end."""
    with tf.Graph().as_default() as graph:
        sources = (few_images, few_digits)
        if not one_shot:
            sources = (
                v1.placeholder(tf.float32, few_images.shape),
                v1.placeholder(tf.int64, few_digits.shape),
            )
        data = tf.data.Dataset.from_tensor_slices(sources).repeat().batch(BATCH)
        make = v1.data.make_one_shot_iterator if one_shot else v1.data.make_initializable_iterator
        iterator = make(data)
        following = iterator.get_next()
        with v1.Session(graph=graph) as session, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # TensorFlow 2 warns about exactly this; in 2018 it was silent
            if not one_shot:
                session.run(iterator.initializer, dict(zip(sources, (few_images, few_digits))))
            session.run(following)
            started = time.perf_counter()
            for _ in range(count):
                session.run(iterator.get_next() if in_loop else following)
            spent = (time.perf_counter() - started) / count * 1e3
        return spent, len(graph.get_operations())


costs = {}
for one_shot in (False, True):
    for in_loop in (False, True):
        name = (
            f"{'one-shot' if one_shot else 'initializable'}, get_next {'in the loop' if in_loop else 'once'}"
        )
        costs[name] = run_graph(one_shot, in_loop)
        print(f"{name:<34} {costs[name][0]:7.2f} ms a batch, {costs[name][1]:3d} operations in the graph")
assert costs["one-shot, get_next in the loop"][1] > costs["one-shot, get_next once"][1]

# %% [markdown]
# With `get_next` once, before the loop, both iterators are fast, and the graph stays as it was. **What changed**: today
# a data set is iterated with `for`, in Python or inside a `tf.function`, and this mistake cannot be written any more.
#
# ## The speed table
# The 2018 tutorial published a table of these iterators that many people copied, without the reason. Here it is again
# in full size, measured by `.venv/bin/python -m benchmarks.t10_dataset`, beside today's ways.

# %%
stored = RESULTS / "T_10.json"
if stored.exists():
    result = json.loads(stored.read_text())
    print(f"{'100 batches of 128 from 55,000 rows':<40}{'ms':>10}{'range':>20}{'2018, ms':>10}")
    for name, row in result["rows"].items():
        spread = f"{row['low']:,.0f} to {row['high']:,.0f}"
        before = f"{row['seconds_2018'] * 1e3:,.0f}" if row["seconds_2018"] else ""
        print(
            f"{name:<40}{row['ms']:>10,.0f}{spread:>20}{before:>10}{'  (scaled up)' if row['scaled'] else ''}"
        )
    machine = result["machine"]
    print(f"measured {machine['date']} on {machine['cpu']}, {machine['cores']} cores")

# %%
if stored.exists():
    names = list(result["rows"])[::-1]
    values = [result["rows"][name]["ms"] for name in names]
    old = [name.startswith(("one-shot", "initializable")) for name in names]
    figure, axes = plt.subplots(figsize=(9, 4.6), layout="constrained")
    bars = axes.barh(names, values, color=["tab:orange" if is_old else "tab:blue" for is_old in old])
    axes.bar_label(bars, labels=[f"{value:,.0f} ms" for value in values], padding=3, fontsize=8)
    axes.set(xscale="log", xlabel="milliseconds for 100 batches (log scale)", xlim=(1, max(values) * 6))
    axes.set_title("100 batches of 128 digits: the ways of 2018 (orange) and of today (blue)")
    save_figure(figure, "T_10_speed.png", dpi=90)

# %% [markdown]
# From top to bottom the same work gets faster by orders of magnitude. The first rows copy the whole data set on
# every call. Taking `get_next` out of the loop removes that. Today's plain pipeline still moves rows one by one;
# gathering by row number is close to plain NumPy indexing, and the copy limit is what the memory itself allows.

# %% [markdown]
# ## Summary
# 1. A data set is a recipe; `map`, `shuffle`, `batch` and `repeat` each return a new one, and their order matters.
# 2. A shuffle buffer of `k` moves no element forward by `k` places or more; use one as large as the data.
# 3. Shuffle, repeat, batch, and prefetch last; cache before anything random; split arrays before shuffling.
# 4. For arrays in memory, shuffle row numbers and gather whole batches.
# 5. In TF 1.x, `get_next()` in the loop grew the graph; with one-shot iterators that copied all data on every call.

# %%
assert correlation[1] == 1.0 and abs(correlation[COUNT]) < 0.15, "only a large buffer shuffles well"
assert passes["cache"][1] < passes["plain"][1], "the second pass from a cache is faster"
report(shuffling_rows_ms=slices_ms, shuffling_row_numbers_ms=gathered_ms)

# %% [markdown]
# ## Exercises
# 1. Sort the digits by label and shuffle with a buffer of 1,000. How many different digits does the first batch hold?
# 2. Put `cache` after `shuffle`. What happens to the order in the second pass?
# 3. Write the one-shot program with `get_next` in the loop for 500, 1,000 and 2,000 rows, and plot the time per batch.
#
# <details><summary>Outlines of the answers</summary>
#
# 1. One or two: there are several thousand zeros, and the buffer never reaches past the first 1,128 rows.
# 2. It is the order of the first pass, again and again: the cache holds the shuffled stream.
# 3. The time grows with the number of rows, as all of them are handled on every call, though the batch stays the same.
# </details>
#
# **Next**: [T_11 Data sets from pictures](T_11_dataset_images.ipynb)
