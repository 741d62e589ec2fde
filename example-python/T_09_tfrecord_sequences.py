# %% [markdown]
# # T_09 Sequences of different length in TFRecord files
#
# **Question**: how are sequences of different length stored, read back, and batched without drowning in padding?
#
# **After this lesson you can**
# 1. say what the bytes of a TFRecord file are, and write and read `Example` and `SequenceExample` records;
# 2. make padded, bucketed and ragged batches, and measure how much of each batch is padding;
# 3. read the queue runners, `TFRecordReader` and `dynamic_pad` of TF 1.x.
#
# **Read before**: [T_05](T_05_rnn_mnist.ipynb) for the recurrent layer, [T_10](T_10_dataset_numpy.ipynb) for `tf.data`.
#
# **Time**: 45 seconds on a two-core CPU, from a measured run.

# %%
import os
import shutil
import time

from utils.lesson import RUNS, quiet_start, report, save_figure

quiet_start()  # TensorFlow without its start-up messages
import keras
import matplotlib.pyplot as plt
import numpy as np
import tensorflow as tf

from utils import u02_tfrecord as tfrecord
from utils.mnist import load_mnist

print("TensorFlow", tf.__version__, "· Keras", keras.__version__)

# %%
QUICK = os.environ.get("TUTORIAL_QUICK") == "1"
SEED = 1
TRAIN, TEST = (600, 200) if QUICK else (20_000, 5_000)  # digits turned into sequences
BATCH = 64
STEPS = 20 if QUICK else 1500  # training steps
UNITS = 64  # of the recurrent layer
MIN_ACCURACY = 0.05 if QUICK else 0.93

keras.utils.set_random_seed(SEED)
FOLDER = RUNS / "T_09"  # everything this lesson writes
shutil.rmtree(FOLDER, ignore_errors=True)
FOLDER.mkdir(parents=True)

# %% [markdown]
# ## The bytes of a file
# A TFRecord file is a row of records and nothing else. Each record is framed: its length (8 bytes), a checksum of the
# length (4), the data, a checksum of the data (4). We write three records with TensorFlow and take the file apart.

# %%
small = FOLDER / "small.tfrecord"
with tf.io.TFRecordWriter(str(small)) as writer:
    for text in (b"one", b"two", b"three"):
        writer.write(text)

content = small.read_bytes()
print("the whole file:", content.hex(" "))
place = 0
while place < len(content):
    length = int.from_bytes(content[place : place + 8], "little")
    data = content[place + 12 : place + 12 + length]
    stored = int.from_bytes(content[place + 12 + length : place + 16 + length], "little")
    assert stored == tfrecord.masked_crc32c(data), "the checksum is computed in plain Python here"
    print(f"at byte {place:2d}: length {length}, data {data}, checksum {stored:08x}")
    place += 16 + length

# %% [markdown]
# The checksum makes damage visible. We flip one bit of the data and read again; the reader names file and record.

# %%
damaged = bytearray(content)
damaged[12] ^= 1  # the first letter of "one"
broken = FOLDER / "broken.tfrecord"
broken.write_bytes(damaged)
for error in tfrecord.find_damage(broken):
    print(error.path.name, "record", error.record, ":", error.reason)
print("read with the damaged record left out:", end=" ")
import logging

logging.getLogger("utils.u02_tfrecord").setLevel(logging.ERROR)  # it also warns in the log; here we know
print([record.numpy() for record in tfrecord.read_records(broken, on_corrupt="skip")])

# %% [markdown]
# ## What is inside a record
# Any bytes will do. By custom it is a `tf.train.Example`: a dictionary from names to lists of bytes, floats or
# integers. For sequences there is `tf.train.SequenceExample` with two parts: the *context* holds what belongs to the
# sequence as a whole (a label), the *feature lists* hold one entry for each step. Two sequences may have different
# numbers of steps.

# %%
int64_feature = lambda values: tf.train.Feature(int64_list=tf.train.Int64List(value=values))


def encode(label, steps):
    """A record from a label and a sequence (steps, features) of integers."""
    return tf.train.SequenceExample(
        context=tf.train.Features(feature={"label": int64_feature([label])}),
        feature_lists=tf.train.FeatureLists(
            feature_list={"runs": tf.train.FeatureList(feature=[int64_feature(step) for step in steps])}
        ),
    ).SerializeToString()


two = [encode(7, [[1, 2, 3], [4, 5, 6]]), encode(8, [[9, 9, 9]])]
context, sequences = tfrecord.parse_sequence_example(two[0])  # plain Python, short enough to read
print("plain Python reads:", context, sequences)

# %% [markdown]
# TensorFlow parses a record by a description of its features. The shape of one step is given, the number of steps not.

# %%
CONTEXT = {"label": tf.io.FixedLenFeature([], tf.int64)}
LISTS = {"runs": tf.io.FixedLenSequenceFeature([3], tf.int64)}
for record in two:
    parsed_context, parsed_lists = tf.io.parse_single_sequence_example(record, CONTEXT, LISTS)
    print("label", parsed_context["label"].numpy(), "runs", parsed_lists["runs"].numpy().tolist())

# %% [markdown]
# ## Real sequences: digits as runs of ink
# We need sequences whose length varies for a reason. Go through a digit row by row and note each run of ink as
# `(row, first column, length)`. A slim 1 has few runs, a curly 8 has many.


# %%
def runs_of_ink(picture):
    """The runs of pixels above half ink, in reading order: (steps, 3) of row, first column, length."""
    ink = np.zeros((28, 30), np.int8)
    ink[:, 1:-1] = picture > 127
    edges = np.diff(ink, axis=1)  # +1 where a run begins, -1 behind its end
    rows, starts = np.nonzero(edges == 1)
    ends = np.nonzero(edges == -1)[1]
    return np.stack([rows, starts, ends - starts], axis=1).astype(np.int64)  # (steps, 3)


tiny = np.zeros((28, 28), np.uint8)
tiny[3, 5:9] = 255  # by hand: row 3, first column 5, length 4 ...
tiny[4, 0] = tiny[4, 27] = 255  # ... and two single pixels at the ends of row 4
print("by hand:", runs_of_ink(tiny).tolist())
assert runs_of_ink(tiny).tolist() == [[3, 5, 4], [4, 0, 1], [4, 27, 1]]

mnist = load_mnist()
train_runs = [runs_of_ink(picture) for picture in mnist.train.images[:TRAIN]]
test_runs = [runs_of_ink(picture) for picture in mnist.test.images[:TEST]]
lengths = np.array([len(runs) for runs in train_runs])
print(
    f"{len(lengths):,} sequences of {lengths.min()} to {lengths.max()} steps, {lengths.mean():.1f} in the mean"
)

# %%
figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.6), layout="constrained", width_ratios=[1, 2])
example = int(np.argmax(mnist.train.labels[:TRAIN] == 8))
left.imshow(mnist.train.images[example], cmap="gray_r")
for row, first, length in train_runs[example]:
    left.plot([first, first + length - 1], [row, row], color="tab:red", lw=2)
left.set(title=f"an 8 as {len(train_runs[example])} runs of ink", xlabel="column", ylabel="row")
bins = np.arange(0, lengths.max() + 2)
for digit, colour in ((1, "tab:blue"), (0, "tab:orange"), (8, "tab:red")):
    right.hist(
        lengths[mnist.train.labels[:TRAIN] == digit], bins, alpha=0.6, color=colour, label=f"digit {digit}"
    )
right.set(title="How long the sequences are", xlabel="steps", ylabel="sequences")
right.legend()
save_figure(figure, "T_09_runs.png")

# %% [markdown]
# ## Writing a data set
# One file would do. Several files (*shards*) can be written and read in parallel and shuffled as wholes. The writer in
# `utils/u02_tfrecord` adds a manifest with counts and checksums, and the folder appears only when it is complete.


# %%
def pairs(runs, labels):
    for steps, label in zip(runs, labels):
        yield {"label": int(label)}, {"runs": steps}


manifest = tfrecord.write_sequences(
    pairs(train_runs, mnist.train.labels), FOLDER / "train", shards=4, seed=SEED
)
tfrecord.write_sequences(pairs(test_runs, mnist.test.labels), FOLDER / "test", shards=1, seed=None)
for path in sorted((FOLDER / "train").iterdir()):
    print(f"{path.name:<32} {path.stat().st_size / 1e3:8.1f} kB")
print("records:", manifest.records, " features:", manifest.features, manifest.sequences)

# %% [markdown]
# ## Three kinds of batches
# A batch is a rectangle, sequences are not. We can
#
# - **pad**: fill up with zeros to the longest sequence of the batch;
# - **bucket** first: collect sequences of similar length, then pad, so there is less to fill;
# - use a **ragged** tensor, which stores the sequences end to end and remembers where each begins.

# %%
BOUNDARIES = [20, 24, 28, 32, 36]  # buckets: below 20 steps, 20 to 23, ...


def read(part, shuffle=True):
    """One pass over a part; each element is a dictionary with label, runs (steps, 3) and runs_length."""
    options = {"shuffle_files": True, "shuffle_buffer": TRAIN, "seed": SEED} if shuffle else {}
    return tfrecord.read_sequences(FOLDER / part, **options)


ways = {
    "padded": tfrecord.padded_batches(read("train"), BATCH),
    "bucketed": tfrecord.bucketed_batches(read("train"), BATCH, BOUNDARIES),
    "ragged": tfrecord.ragged_batches(read("train"), BATCH),
}
padding = {}
for name, batches in ways.items():
    stored = useful = count = 0
    for batch in batches:
        runs = batch["runs"]
        values = runs.flat_values if isinstance(runs, tf.RaggedTensor) else runs
        stored += int(tf.size(values)) // 3
        useful += int(tf.reduce_sum(batch["runs_length"]))
        count += len(batch["label"])
    padding[name] = 1 - useful / stored
    print(f"{name:<9} {count:,} sequences, {stored:,} steps stored, {padding[name]:.1%} of them padding")
    assert count == TRAIN, "no sequence is lost"

# %% [markdown]
# ## Padding must not change the answer
# The network has to ignore the filled-up steps. A *mask* says which steps are real; Keras' recurrent layers carry the
# last state over masked steps. We check it: the same sequence alone, and in a batch with a longer one, must give the
# same output.


# %%
class RunReader(keras.Model):
    """Runs (batch, steps, 3) and their lengths (batch,) to logits (batch, 10)."""

    def __init__(self):
        super().__init__()
        self.widen = keras.layers.Dense(UNITS, "relu")
        self.first = keras.layers.GRU(UNITS, return_sequences=True)
        self.second = keras.layers.GRU(UNITS)
        self.answer = keras.layers.Dense(10)

    def call(self, runs, length):
        real = tf.sequence_mask(length, tf.shape(runs)[1])  # (batch, steps) bool
        x = self.widen(runs)  # (batch, steps, units)
        x = self.first(x, mask=real)
        x = self.second(x, mask=real)  # (batch, units): the state after the last real step
        return self.answer(x)


network = RunReader()
short, longer = train_runs[0][:12] / 28, train_runs[1] / 28
alone = network(short[None].astype(np.float32), np.array([12]))
padded = np.zeros((2, len(longer), 3), np.float32)
padded[0, :12], padded[1] = short, longer
together = network(padded, np.array([12, len(longer)]))
difference = float(tf.reduce_max(tf.abs(alone[0] - together[0])))
print(f"alone and padded differ by at most {difference:.1e}")
assert difference < 1e-5

# %% [markdown]
# ## Training from the files
# We train on the bucketed batches. Batches now have several lengths, and each new shape would be traced again, so the
# step names its input signature: any batch, any number of steps.

# %%
learning_rate = keras.optimizers.schedules.CosineDecay(0.004, STEPS)
optimizer = keras.optimizers.Adam(learning_rate, clipnorm=1.0)
optimizer.build(network.trainable_variables)


@tf.function(
    input_signature=[
        tf.TensorSpec([None, None, 3], tf.int64),
        tf.TensorSpec([None], tf.int64),
        tf.TensorSpec([None], tf.int64),
    ]
)
def train_step(runs, length, label):
    """One step of Adam; returns the loss."""
    with tf.GradientTape() as tape:
        logits = network(tf.cast(runs, tf.float32) / 28, length)
        loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(label, logits))
    optimizer.apply(tape.gradient(loss, network.trainable_variables), network.trainable_variables)
    return loss


# Batches of one length come in rows out of the buckets; a shuffle of batches mixes them.
batches = (
    tfrecord.bucketed_batches(read("train").repeat(), BATCH, BOUNDARIES).shuffle(32, seed=SEED).prefetch(2)
)
started, losses = time.perf_counter(), []
for step, batch in enumerate(batches.take(STEPS), start=1):
    losses.append(train_step(batch["runs"], batch["runs_length"], batch["label"]))
    if step % (STEPS // 5) == 0:
        recent = float(tf.reduce_mean(losses[-100:]))
        print(f"step {step:4d}   loss {recent:.3f}   {step / (time.perf_counter() - started):.0f} steps/s")
assert train_step.experimental_get_tracing_count() == 1, "one trace serves every length"

# %%
correct, total, by_length = 0, 0, []
for batch in tfrecord.padded_batches(read("test", shuffle=False), 500):
    logits = network(tf.cast(batch["runs"], tf.float32) / 28, batch["runs_length"])
    right = tf.argmax(logits, axis=1) == batch["label"]
    by_length += zip(batch["runs_length"].numpy(), right.numpy())
    correct, total = correct + int(tf.reduce_sum(tf.cast(right, tf.int64))), total + len(right)
accuracy = correct / total
print(f"test accuracy {accuracy:.2%} of {total:,} digits, read as runs of ink")

# %%
counted, hits = np.array(by_length, dtype=float).T
groups = np.digitize(counted, BOUNDARIES)
names = ["below 20", "20–23", "24–27", "28–31", "32–35", "36 and more"]
figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.4), layout="constrained")
left.bar(
    list(padding), [100 * share for share in padding.values()], color=["tab:red", "tab:orange", "tab:green"]
)
left.set(title="Padding in a batch of 64", ylabel="% of the steps")
shown = [group for group in range(6) if np.any(groups == group)]
right.bar([names[g] for g in shown], [100 * (1 - hits[groups == g].mean()) for g in shown], color="tab:blue")
right.set(title="Errors by length of the sequence", ylabel="% wrong", xlabel="steps")
right.tick_params(axis="x", labelsize=8)
save_figure(figure, "T_09_padding.png")

# %% [markdown]
# Bucketing removes most of the padding, and a recurrent network spends time on every padded step. It has a price: the
# sequences of a batch resemble each other, so the batches must be mixed well.

# %% [markdown]
# # The same in TF 1.x
# In 2018 files went through *queues*. A queue of file names feeds a reader; the parsed records go into a second queue,
# from which `train.batch(..., dynamic_pad=True)` takes padded batches. Threads (*queue runners*) fill the queues, a
# *coordinator* stops them. We read our own test file that way and compare with `tf.data`.

# %%
v1 = tf.compat.v1
tf.get_logger().setLevel("ERROR")  # each of these functions would print that it is deprecated
test_file = str(tfrecord.load_manifest(FOLDER / "test").files[0])

with tf.Graph().as_default() as graph:
    names_queue = v1.train.string_input_producer([test_file], shuffle=False, num_epochs=1)
    _, record = v1.TFRecordReader().read(names_queue)
    context, lists = tf.io.parse_single_sequence_example(record, CONTEXT, LISTS)
    label_batch, runs_batch = v1.train.batch(
        [context["label"], lists["runs"]], batch_size=50, num_threads=1, dynamic_pad=True
    )
    with v1.Session(graph=graph) as session:
        session.run(
            [v1.global_variables_initializer(), v1.local_variables_initializer()]
        )  # num_epochs is local
        coordinator = v1.train.Coordinator()
        threads = v1.train.start_queue_runners(session, coordinator)
        v1_batches = []
        try:
            while not coordinator.should_stop():
                v1_batches.append(session.run([label_batch, runs_batch]))
        except tf.errors.OutOfRangeError:  # the only sign that the data has ended
            pass
        finally:
            coordinator.request_stop()
            coordinator.join(threads)

modern_batches = list(tfrecord.padded_batches(read("test", shuffle=False), 50).as_numpy_iterator())
assert len(v1_batches) == TEST // 50
for (labels, runs), modern in zip(v1_batches, modern_batches):
    np.testing.assert_array_equal(labels, modern["label"])
    np.testing.assert_array_equal(runs, modern["runs"])
print(
    f"{len(v1_batches)} batches from queues and from tf.data: equal; the first has shape {v1_batches[0][1].shape}"
)

# %% [markdown]
# Writing has hardly changed: `tf.python_io.TFRecordWriter` became `tf.io.TFRecordWriter`; both write the same bytes.

# %%
old_file = FOLDER / "old.tfrecord"
with v1.python_io.TFRecordWriter(str(old_file)) as writer:
    for record in two:
        writer.write(record)
assert old_file.read_bytes() == b"".join(tfrecord.frame_record(record) for record in two)
print("written by tf.compat.v1.python_io, by hand, byte for byte:", old_file.stat().st_size, "bytes")

# %% [markdown]
# **What changed**: queues, runners and coordinator are gone from new code. `tf.data` does the same with one object that
# starts and stops itself, `padded_batch` replaces `dynamic_pad`, and `bucket_by_sequence_length`, once in
# `tf.contrib.training`, is a method of the data set. The files are the same: TF 1.x reads ours, and we read its files.

# %% [markdown]
# ## Summary
# 1. A TFRecord file is a row of records, each framed by length and checksums; the content is up to you.
# 2. A `SequenceExample` holds a context and lists with one entry a step; lengths are free.
# 3. Pad within a batch, and bucket by length to pad less; ragged tensors need no padding.
# 4. A mask keeps padding out of the result. Check that it does.
# 5. TF 1.x read with queues and threads; `tf.data` does the same work and ends by itself.

# %%
assert accuracy > MIN_ACCURACY, "the network did not learn to read runs of ink"
assert padding["bucketed"] < padding["padded"] / 2 and padding["ragged"] == 0, (
    "bucketing should halve the padding"
)
report(test_accuracy=accuracy, padding_padded=padding["padded"], padding_bucketed=padding["bucketed"])

# %% [markdown]
# ## Exercises
# 1. Remove the mask from both recurrent layers and train again. How does the accuracy change, and why not more?
# 2. Choose boundaries that make all buckets equally full, from quantiles of `lengths`. How much padding is left?
# 3. Cut the last 20 bytes off `train/data-00000-of-00004.tfrecord` and call `tfrecord.find_damage(FOLDER / "train")`.
#
# <details><summary>Outlines of the answers</summary>
#
# 1. It falls a little. Padded steps are all zeros, which the network can learn to ignore, but it has to spend
#    capacity on it, and answers then depend on the other sequences of the batch.
# 2. `np.quantile(lengths, [1/6, 2/6, ...])`; a little less than with ours.
# 3. It names the file, the record that is cut off, and that the manifest's checksum differs.
# </details>
#
# **Next**: [T_10 Data sets from arrays](T_10_dataset_numpy.ipynb)
