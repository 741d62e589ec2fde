# %% [markdown]
# # T_11 Data sets from pictures
#
# **Question**: how do pictures in folders become batches for a network, and what does the time go to on the way?
#
# **After this lesson you can**
# 1. turn a folder of class folders into labelled, shuffled, augmented batches, by hand and with one Keras function;
# 2. put shuffle, map, cache and batch in the right order, and measure what each of them costs;
# 3. read the queues, runners and coordinators that fed pictures to programs of TF 1.x.
#
# **Read before**: [T_10](T_10_dataset_numpy.ipynb) for `tf.data`, [T_04](T_04_cnn_mnist.ipynb) for convolutions.
#
# **Time**: 1.2 minutes on a two-core CPU, from a measured run.

# %%
import io
import json
import os
import shutil
import subprocess
import sys
import time

from utils.lesson import DATA, REPO, RESULTS, RUNS, quiet_start, report, save_figure

quiet_start()  # TensorFlow without its start-up messages
import keras
import matplotlib.pyplot as plt
import numpy as np
import tensorflow as tf
from PIL import Image

from utils import u02_tfrecord as tfrecord

print("TensorFlow", tf.__version__, "· Keras", keras.__version__)

# %%
QUICK = os.environ.get("TUTORIAL_QUICK") == "1"
SEED = int(os.environ.get("TUTORIAL_SEED", "3"))  # benchmarks.seeds runs others
PER_CLASS = 20 if QUICK else 640  # pictures used of each class; 640 is all of them
SAMPLE = 50 if QUICK else 640  # pictures in a measurement: enough for a second, few enough for patience
SIDE = 64  # pixels of a side for the classifier; its work grows with the square
BATCH = 10 if QUICK else 64
EPOCHS = 1 if QUICK else 16
MIN_ACCURACY = 0.05 if QUICK else 0.97

keras.utils.set_random_seed(SEED)
CORES = os.cpu_count()
FOLDER = RUNS / "T_11"  # everything this lesson writes
for old in ("records", "jpeg"):
    shutil.rmtree(FOLDER / old, ignore_errors=True)

# %% [markdown]
# ## The pictures
# `make data` draws the set: five classes of 640 pictures, PNG files of 256×256, one folder for each class. Quick
# tests take a few of them, or draw these few where the set is missing.

# %%
ROOT = DATA / "robohash"
manifest = ROOT / "manifest.json"  # says when the set is complete
complete = manifest.exists() and json.loads(manifest.read_text())["complete"]
if QUICK:
    small = FOLDER / "robohash"
    if complete:
        for path in ROOT.glob("*/00[01]?.png"):  # 0000.png to 0019.png of each class
            target = small / path.parent.name / path.name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)
    else:
        program = [sys.executable, str(REPO / "data" / "avatars.py"), "--sets", "robohash", "--quiet"]
        size = ["--count", str(5 * PER_CLASS), "--out", str(FOLDER)]
        subprocess.run([*program, *size], check=True, stdout=subprocess.DEVNULL)
    ROOT = small
elif not complete:
    sys.exit("The pictures of data/robohash are not there. Draw them, in about a minute:  make data")

# %% [markdown]
# The *name of the folder* is the label. Sort the names, and each class gets the number of its place. Sort the files
# as well: the order in which a file system lists them differs from machine to machine.

# %%
classes = sorted(path.name for path in ROOT.iterdir() if path.is_dir())
files, labels = [], []
for label, name in enumerate(classes):
    of_class = sorted((ROOT / name).glob("*.png"))
    files += [str(path) for path in of_class]
    labels += [label] * len(of_class)
files, labels = np.array(files), np.array(labels)  # (pictures,) strings, (pictures,) int64
print(f"{len(files):,} pictures;", ", ".join(f"{label} {name}" for label, name in enumerate(classes)))
sizes = np.array([os.path.getsize(path) for path in files])
print(f"a file has {sizes.mean() / 1e3:.0f} kB in the mean, all of them {sizes.sum() / 1e6:.0f} MB")

# %%
figure, panels = plt.subplots(5, 8, figsize=(9, 6), dpi=75, layout="constrained")
for label, row in enumerate(panels):
    for panel, path in zip(row, files[labels == label]):
        panel.imshow(plt.imread(path))
        panel.set(xticks=[], yticks=[])
    row[0].set_ylabel(f"{label} {classes[label]}")
figure.suptitle("The first eight pictures of each class")
save_figure(figure, "T_11_classes.png", dpi=80)

# %% [markdown]
# ## From bytes to pixels
# A picture file is compressed. First by hand: six pixels, packed and unpacked. PNG gives back every value; JPEG gives
# back something that looks alike, because it throws away what the eye hardly sees.

# %%
tiny = np.array(
    [[[255, 0, 0], [0, 255, 0], [0, 0, 255]], [[0, 0, 0], [128, 128, 128], [255, 255, 255]]], np.uint8
)
png, jpeg = tf.io.encode_png(tiny).numpy(), tf.io.encode_jpeg(tiny, quality=90).numpy()
print("a PNG file begins with", png[:8], "and a JPEG file with", jpeg[:2].hex(" "))
from_png, from_jpeg = tf.io.decode_png(png).numpy(), tf.io.decode_jpeg(jpeg).numpy()
print("shape", from_png.shape, "= (height, width, channels)")
print("second row:", tiny[1].tolist())
print("from PNG  :", from_png[1].tolist())
print("from JPEG :", from_jpeg[1].tolist())
assert np.array_equal(from_png, tiny) and not np.array_equal(from_jpeg, tiny)

# %% [markdown]
# `channels` says what you want, whatever the file holds: 3 for colour, 1 for grey, 0 for as many as are in the file.
# Ask for 3: a single grey or half-transparent file among thousands of others would otherwise stop the batch.

# %%
with_alpha = tf.io.encode_png(np.dstack([tiny, np.full((2, 3), 99, np.uint8)]))
for channels in (0, 3, 1):
    print(f"channels={channels}: shape", tf.io.decode_png(with_alpha, channels=channels).shape)
print("grey:", tf.io.decode_png(png, channels=1)[..., 0].numpy().tolist(), "(green counts most, blue least)")

# %% [markdown]
# `decode_image` finds out the format by itself: PNG, JPEG, BMP or GIF. A GIF may move, so its result may have a
# fourth dimension, and inside a pipeline TensorFlow then knows no shape at all, for any file.
# `expand_animations=False` promises a single picture, the first.

# %%
moving = io.BytesIO()
frames = [Image.fromarray(np.full((4, 4, 3), value, np.uint8)) for value in (0, 255)]
frames[0].save(moving, "GIF", save_all=True, append_images=frames[1:])
print("a GIF of two frames:", tf.io.decode_image(moving.getvalue()).shape, end=", ")
print("first frame only:", tf.io.decode_image(moving.getvalue(), expand_animations=False).shape)

paths_only = tf.data.Dataset.from_tensor_slices(files)
try:
    paths_only.map(lambda path: tf.image.resize(tf.io.decode_image(tf.io.read_file(path)), [64, 64]))
except ValueError as error:
    print("without expand_animations=False, resize says:", str(error).strip().splitlines()[-1].strip())

# %% [markdown]
# ## Resizing
# Pictures of a batch must have one size. Making them smaller is where quality gets lost without anybody noticing.
# By default `tf.image.resize` looks only at the pixels around each *sampling point*. By hand: nine pixels become
# three, so the points lie on pixels 1, 4 and 7. Two thirds of this line are white, and all three points hit black.

# %%
line = np.array([255, 0, 255] * 3, np.float32).reshape(1, 9, 1)  # (height, width, channels)
for antialias in (False, True):
    small = tf.image.resize(line, [1, 3], antialias=antialias)
    print(f"antialias={antialias!s:<5}", small.numpy().ravel().round(1))
assert abs(float(small[0, 1, 0]) - 170) < 0.1, "the middle one is the mean of its surroundings, 2/3 of 255"

# %%
whole = tf.io.decode_png(tf.io.read_file(files[labels == 3][0]), channels=3)  # (256, 256, 3)
ways = {
    "nearest": {"method": "nearest"},
    "bilinear (the default)": {},
    "bilinear, antialias": {"antialias": True},
    "area": {"method": "area"},
}
figure, panels = plt.subplots(1, 5, figsize=(12, 3.2), dpi=80, layout="constrained")
panels[0].imshow(whole)
panels[0].set_title("256×256")
for panel, (name, options) in zip(panels[1:], ways.items()):
    small = tf.image.resize(whole, [48, 48], **options)
    times = []
    for _ in range(40):
        started = time.perf_counter()
        tf.image.resize(whole, [48, 48], **options)
        times.append(time.perf_counter() - started)
    spent = np.median(times) * 1e3
    panel.imshow(np.clip(small, 0, 255).astype(np.uint8), interpolation="nearest")
    panel.set_title(f"{name}\n{spent:.2f} ms a picture", fontsize=9)
for panel in panels:
    panel.set(xticks=[], yticks=[])
figure.suptitle("256×256 made 48×48 in four ways")
save_figure(figure, "T_11_resize.png", dpi=90)

# %% [markdown]
# Without antialias thin lines break into dots, and the network sees jagged rims that were never drawn.
# `antialias=True` costs more, so do it once and keep the result (see *cache* below); `area` averages as well, for
# less, and is a good choice when the size is divided by a whole number. The result is float32, but still from 0 to
# 255.
#
# ## A pipeline
# Listing, shuffling, reading, decoding, batching, scaling. Networks like small numbers around zero, here -1 to 1. The
# scaling comes after the batch: one operation for all pictures together, and up to there a pixel is one byte
# instead of four.


# %%
def read(path):
    """A path to pixels (256, 256, 3) uint8, 0 to 255."""
    picture = tf.io.decode_png(tf.io.read_file(path), channels=3)
    return tf.ensure_shape(picture, [256, 256, 3])  # decoding happens later, so the shape must be told


def scale(pictures):
    """uint8 0 to 255 to float32 -1 to 1."""
    return tf.cast(pictures, tf.float32) * (1 / 127.5) - 1


pipeline = (
    tf.data.Dataset.from_tensor_slices((files, labels))
    .shuffle(len(files), seed=SEED)
    .map(lambda path, label: (read(path), label), num_parallel_calls=tf.data.AUTOTUNE)
    .batch(BATCH, drop_remainder=True)
    .map(lambda pictures, label: (scale(pictures), label))
    .prefetch(2)
)
for pictures, numbers in pipeline.take(1):
    print("a batch:", pictures.shape, pictures.dtype.name, "labels", numbers.numpy()[:10])
    print(f"values from {tf.reduce_min(pictures):.0f} to {tf.reduce_max(pictures):.0f}")

# %% [markdown]
# ## Shuffle paths, then map
# `shuffle` fills its buffer before it gives anything away. If pictures are decoded first, the buffer holds pictures,
# and the first batch waits until all of these are decoded. A path weighs a few dozen bytes and needs no decoding. We
# measure when the first batch is there, and when the last.


# %%
def fixed_threads(dataset, automatic=False):
    """The data set with TensorFlow's own choices of threads switched off, so that we see what we wrote."""
    options = tf.data.Options()
    options.autotune.enabled = automatic
    options.experimental_optimization.map_parallelization = automatic
    return dataset.with_options(options)


def clock(dataset):
    """Seconds until the first batch, the last batch, and the end of the pass."""
    started, arrivals = time.perf_counter(), []
    for _ in dataset:
        arrivals.append(time.perf_counter() - started)
    return arrivals[0], arrivals[-1], time.perf_counter() - started


some = np.random.default_rng(SEED).permutation(len(files))[:SAMPLE]
source = tf.data.Dataset.from_tensor_slices(files[some])
orders = {
    "map, shuffle": source.map(read, CORES).shuffle(SAMPLE),
    "shuffle, map": source.shuffle(SAMPLE).map(read, CORES),
}
clock(fixed_threads(orders["shuffle, map"].batch(BATCH)))  # once to warm up
arrival, held = {}, {"map, shuffle": SAMPLE * 256 * 256 * 3, "shuffle, map": SAMPLE * len(files[0])}
for name, dataset in orders.items():
    arrival[name] = min(clock(fixed_threads(dataset.batch(BATCH))) for _ in range(3))  # the best of three
    first, last, _ = arrival[name]
    print(
        f"{name}: first batch after {first:5.2f} s, last after {last:.2f} s; buffer {held[name] / 1e6:8.3f} MB"
    )

# %% [markdown]
# The whole pass takes about as long, but the first batch is there at once, and the buffer is thousands of times
# smaller. So it can hold *all* paths, which is the only perfect shuffle ([T_10](T_10_dataset_numpy.ipynb)). In a
# folder sorted by class a smaller one gives batches of a single class.

# %% [markdown]
# ## Parallel calls
# `num_parallel_calls` says how many pictures are worked on at a time. Today a plain `map` is made parallel
# automatically, by the option `map_parallelization`; we switch it off to see what sequential means.

# %%
threads = {
    "sequential": fixed_threads(source.map(read).batch(BATCH)),
    f"{CORES} calls": fixed_threads(source.map(read, CORES).batch(BATCH)),
    "AUTOTUNE": fixed_threads(source.map(read, tf.data.AUTOTUNE).batch(BATCH), automatic=True),
    "plain map, as TensorFlow comes": source.map(read).batch(BATCH),
}
last_batch = {}
for name, dataset in threads.items():
    last_batch[name] = min(clock(dataset)[1] for _ in range(3))  # the best of three
    print(f"{name:<31} {SAMPLE / last_batch[name]:6.0f} pictures a second")

ordered = list(source.map(read, CORES).take(20))
assert all(np.array_equal(picture, read(path)) for picture, path in zip(ordered, files[some]))
print("parallel calls keep the order: the first 20 pictures are those of the first 20 paths")

# %% [markdown]
# Decoding is work for the processor, so there is nothing to win beyond its cores.
#
# One thing may surprise in small data sets: with automatic choices on, a pass can end with a *wait*. The thread that
# makes these choices sleeps for longer and longer times, and the end of the pass waits until it wakes. One remedy is
# `repeat()` with `steps_per_epoch`, so that there is no end; the other is `options.autotune.enabled = False`.

# %%
every = tf.data.Dataset.from_tensor_slices(files)
pass_of = {
    "fixed threads": fixed_threads(every.map(read, CORES).batch(BATCH)),
    "AUTOTUNE": fixed_threads(every.map(read, tf.data.AUTOTUNE).batch(BATCH), automatic=True),
}
for name, dataset in pass_of.items():
    waits = [end - last for _, last, end in (clock(dataset) for _ in range(5))]
    print(
        f"{name:<14} wait after the last batch of five passes:", "  ".join(f"{wait:.2f} s" for wait in waits)
    )

# %% [markdown]
# ## Where the time goes
# We take the pipeline apart and time each stage alone, in one thread: reading the file (from the memory of the
# operating system, as in every pass after the first), decoding, resizing to 224 as many published networks want it,
# scaling, and copying into a batch. The same for JPEG files of quality 90.

# %%
jpegs = []
for path in files[some[: SAMPLE // 4]]:
    target = FOLDER / "jpeg" / f"{len(jpegs):04d}.jpg"
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(tf.io.encode_jpeg(read(path), quality=90).numpy())
    jpegs.append(str(target))
pngs = files[some[: SAMPLE // 4]]


def stages(paths, decode):
    """Milliseconds a picture of each stage, in order; the median over groups of ten pictures."""
    spent = {}

    def timed(name, function, inputs):
        started = time.perf_counter()
        outputs = [function(value) for value in inputs]
        spent.setdefault(name, []).append((time.perf_counter() - started) / 10 * 1e3)
        return outputs

    for start in range(0, len(paths) - 9, 10):
        contents = timed("read", tf.io.read_file, paths[start : start + 10])
        pictures = timed("decode", lambda content: decode(content, channels=3), contents)
        resized = timed("resize to 224", lambda picture: tf.image.resize(picture, [224, 224]), pictures)
        scaled = timed("scale", lambda picture: picture * (1 / 127.5) - 1, resized)
        timed("batch", tf.stack, [scaled])
    return {name: float(np.median(values)) for name, values in spent.items()}


stages(pngs[:10], tf.io.decode_png)  # once to warm up
time_of = {"PNG": stages(pngs, tf.io.decode_png), "JPEG": stages(jpegs, tf.io.decode_jpeg)}
for kind, parts in time_of.items():
    print(f"{kind:<5}", "   ".join(f"{name} {spent:.2f} ms" for name, spent in parts.items()))

# %%
figure, axes = plt.subplots(figsize=(9, 2.6), layout="constrained")
colours = dict(zip(time_of["PNG"], ("tab:gray", "tab:red", "tab:orange", "tab:blue", "tab:green")))
for kind, parts in list(time_of.items())[::-1]:
    left = 0
    for name, spent in parts.items():
        axes.barh(kind, spent, left=left, color=colours[name], label=name if kind == "PNG" else None)
        left += spent
axes.set(title="Where the time of one picture goes, one thread", xlabel="milliseconds")
axes.legend(ncols=5, loc="upper center", bbox_to_anchor=(0.5, -0.3), fontsize=8)
save_figure(figure, "T_11_stages.png", dpi=90)

# %% [markdown]
# Reading hardly counts. Decoding is by far the largest part of a PNG. A JPEG is decoded several times faster, and
# then resizing and scaling take more than it does, because they write four bytes for each byte they read. So: store
# pictures in the size you need, as JPEG where its small errors do no harm, keep them uint8 as long as possible, and
# decode each only once if memory allows.

# %% [markdown]
# ## `cache`: decode once
# `cache` keeps what the first pass has made. Where it stands decides how much memory it takes and what gets frozen:
# after decoding, *before* everything random, and before the pixels become floats.

# %%
cached = source.map(read, CORES).cache().shuffle(SAMPLE).batch(BATCH).map(scale).prefetch(2)
cache_seconds = [clock(fixed_threads(cached))[1] for _ in range(3)]
print("passes:", "  ".join(f"{spent:.2f} s" for spent in cache_seconds))
for name, width in (("uint8", 1), ("float32", 4)):
    print(
        f"all {len(files):,} pictures in the cache as {name:<8} {len(files) * 256 * 256 * 3 * width / 1e6:6,.0f} MB"
    )

# %% [markdown]
# ## TFRecord
# Thousands of small files are slow on disks with moving parts and on network drives. A TFRecord file
# ([T_09](T_09_tfrecord_sequences.ipynb)) is read from front to back. Store the *encoded bytes as they are*: decoded
# they would take six times the room. The writer of this tutorial does, and a manifest says what is inside.

# %%
written = tfrecord.write_images(ROOT, FOLDER / "records", shards=4, seed=SEED)
print(f"{written.records:,} records in {len(written.files)} files; classes: {', '.join(written.classes)}")
stored = sum(path.stat().st_size for path in written.files)
in_files = sum(path.stat().st_size for path in ROOT.glob("*/*.png"))
print(f"{stored / 1e6:.1f} MB, the pictures alone {in_files / 1e6:.1f} MB")

records = tfrecord.read_images(FOLDER / "records", shuffle_files=True, shuffle_buffer=1000, seed=SEED)
for element in records.take(3):
    file = element["file"].numpy().decode()
    assert np.array_equal(element["image"], read(str(ROOT / file))), "the same pixels as in the file"
    print(file, element["image"].shape, "label", element["label"].numpy())

# %% [markdown]
# ## The short way
# For a first try one function of Keras does the listing, decoding, resizing and batching. Its pictures
# are float32, values 0 to 255. It shuffles the paths once, and then for each pass anew, but only within a window of
# eight batches.

# %%
short = keras.utils.image_dataset_from_directory(
    ROOT, image_size=(256, 256), batch_size=BATCH, shuffle=False, verbose=False
)
print("classes:", short.class_names)
for pictures, numbers in short.take(1):
    print("a batch:", pictures.shape, pictures.dtype.name, "labels", numbers.numpy()[:10])
assert short.class_names == classes and short.file_paths == files.tolist()
assert np.array_equal(pictures[0], read(files[0]))

# %% [markdown]
# ## Augmentation
# A mirrored cat is a cat, and so is one a little to the left, or darker. Such changes, drawn anew in each pass,
# multiply the pictures at no cost. They must not change the class: mirrored digits, for example, are wrong.
#
# Each picture gets *its own seed*. The `stateless` operations depend on the seed alone, so the order in which threads
# finish cannot change the result, and a run can be repeated.


# %%
def augment(picture, seed):
    """A picture (height, width, 3) uint8 and a seed (2,) to a changed picture of the same shape."""
    height, width = picture.shape[:2]
    for_flip, for_place, for_brightness, for_colour = tf.unstack(tf.random.split(seed, 4))
    picture = tf.image.stateless_random_flip_left_right(picture, for_flip)
    edge = [[height // 8, height // 8], [width // 8, width // 8], [0, 0]]
    wider = tf.pad(picture, edge, mode="REFLECT")  # no black borders
    picture = tf.image.stateless_random_crop(wider, [height, width, 3], for_place)
    picture = tf.image.stateless_random_brightness(picture, 0.15, for_brightness)
    return tf.image.stateless_random_saturation(picture, 0.6, 1.4, for_colour)


figure, panels = plt.subplots(2, 8, figsize=(12, 3.3), dpi=75, layout="constrained")
for row, number in zip(panels, (np.flatnonzero(labels == 0)[4], np.flatnonzero(labels == 2)[2])):
    original = read(files[number])
    row[0].imshow(original)
    row[0].set_title("original", fontsize=9)
    for draw, panel in enumerate(row[1:]):
        panel.imshow(augment(original, [SEED, draw]))
        panel.set_title(f"seed ({SEED}, {draw})", fontsize=9)
    for panel in row:
        panel.set(xticks=[], yticks=[])
figure.suptitle("Two pictures, each changed in seven ways")
save_figure(figure, "T_11_augmentation.png", dpi=80)
assert np.array_equal(augment(original, [SEED, 3]), augment(original, [SEED, 3])), "one seed, one result"

# %% [markdown]
# ## A classifier
# First the split, of the *list of files*: a fifth of each class is held out, for the end. Then a pipeline with
# everything in its place. The pictures are made small once, and the cache holds those. What is random comes behind
# the cache.

# %%
shuffled = np.random.default_rng(SEED).permutation(len(files))
held_out = np.concatenate([shuffled[labels[shuffled] == label][: len(files) // 25] for label in range(5)])
training = np.setdiff1d(shuffled, held_out)
print(f"{len(training):,} pictures to learn from, {len(held_out):,} held out")
assert not set(files[training]) & set(files[held_out])


def small_pictures(numbers):
    """The pictures of these numbers, (SIDE, SIDE, 3) uint8, with labels; decoded and resized in the first pass only."""

    def make_small(path, label):
        picture = tf.image.resize(read(path), [SIDE, SIDE], antialias=True)
        return tf.cast(tf.round(picture), tf.uint8), label

    data = tf.data.Dataset.from_tensor_slices((files[numbers], labels[numbers]))
    return data.map(make_small, tf.data.AUTOTUNE).cache()


numbers = tf.data.Dataset.random(
    SEED, rerandomize_each_iteration=True
)  # others in each pass, the same in each run
seeds = numbers.batch(2, drop_remainder=True)  # (2,) int64
train_data = (
    tf.data.Dataset.zip(small_pictures(training).shuffle(len(training), seed=SEED), seeds)
    .map(lambda example, seed: (augment(example[0], seed), example[1]), CORES)
    .repeat()
    .batch(BATCH)
    .prefetch(2)
)
test_data = small_pictures(held_out).batch(BATCH)
print(train_data.element_spec)

# %% [markdown]
# The network takes bytes: its first layer scales them. Whoever uses the saved model later cannot forget it.


# %%
def block(filters, kernel=3, strides=1):
    """A convolution, batch normalization and ReLU; the normalization makes the bias superfluous."""
    return [
        keras.layers.Conv2D(filters, kernel, strides=strides, padding="same", use_bias=False),
        keras.layers.BatchNormalization(),
        keras.layers.ReLU(),
    ]


model = keras.Sequential(
    [
        keras.Input([SIDE, SIDE, 3], dtype="uint8"),
        keras.layers.Rescaling(1 / 127.5, -1),
        *block(16, kernel=5, strides=2),  # (batch, 32, 32, 16)
        *block(32),
        keras.layers.MaxPooling2D(),  # (batch, 16, 16, 32)
        *block(64),
        keras.layers.MaxPooling2D(),  # (batch, 8, 8, 64)
        *block(128),
        keras.layers.GlobalAveragePooling2D(),  # (batch, 128)
        keras.layers.Dense(5),
    ]
)
steps = len(training) // BATCH
model.compile(
    keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(3e-3, EPOCHS * steps)),
    keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    metrics=["accuracy"],
)
started = time.perf_counter()


def say(epoch, logs):
    spent = time.perf_counter() - started
    print(f"epoch {epoch + 1:2d}   loss {logs['loss']:.3f}   accuracy {logs['accuracy']:.1%}   {spent:.0f} s")


progress = keras.callbacks.LambdaCallback(on_epoch_end=say)
model.fit(train_data, epochs=EPOCHS, steps_per_epoch=steps, shuffle=False, callbacks=[progress], verbose=0)
_, accuracy = model.evaluate(test_data, verbose=0)
print(f"{accuracy:.2%} of the {len(held_out)} held-out pictures are recognised")
seeds_file = RESULTS / "T_11_seeds.json"  # written by: python -m benchmarks.seeds T_11
if seeds_file.exists():
    runs = json.loads(seeds_file.read_text())
    over_seeds = runs["summary"]["held_out_accuracy"]
    print(f"over {len(runs['runs'])} seeds: {over_seeds['mean']:.2%} ± {over_seeds['std']:.2%}")

# %%
pictures = np.concatenate([pictures for pictures, _ in test_data])  # (held out, SIDE, SIDE, 3)
probabilities = keras.ops.convert_to_numpy(keras.ops.softmax(model.predict(pictures, verbose=0)))
answers, sure = probabilities.argmax(1), probabilities.max(1)
mistakes = np.flatnonzero(answers != labels[held_out])
doubtful = np.argsort(sure)
doubtful = doubtful[~np.isin(doubtful, mistakes)]
easy = [np.flatnonzero(labels[held_out] == label)[0] for label in range(5)]
shown = [*mistakes[:4], *doubtful[: 9 - len(mistakes[:4])], *easy]

figure, panels = plt.subplots(2, 7, figsize=(12, 4.2), dpi=75, layout="constrained")
for panel, number in zip(panels.flat, shown):
    right = answers[number] == labels[held_out][number]
    panel.imshow(plt.imread(files[held_out][number]))
    title = f"{classes[answers[number]]}, {sure[number]:.0%}"
    if not right:
        title += f"\nit is {classes[labels[held_out][number]]}"
    panel.set_title(title, color="black" if right else "tab:red", fontsize=9)
    panel.set(xticks=[], yticks=[])
figure.suptitle("Held-out pictures: mistakes (red) first, then the most doubtful, then one of each class")
save_figure(figure, "T_11_predictions.png", dpi=80)
print(f"{len(mistakes)} mistakes")

# %% [markdown]
# Look at the mistakes, not only at their number. With `SEED = 1` and `SEED = 2` people with dark skin or with a
# headscarf are among the few that are taken for something else. An average does not show whom a network fails:
# before one judges people, count its errors for each group.
#
# # The same in TF 1.x
# In 2018 pictures went through *queues*. `slice_input_producer` puts one path after another into a queue. Operations
# read and decode. `train.batch` puts the pictures into a second queue and takes out a batch at a time. Nothing moves
# until threads push: `start_queue_runners` starts them, a `Coordinator` stops them. With one thread and without
# shuffling the batches must equal those of today.

# %%
v1 = tf.compat.v1
tf.get_logger().setLevel("ERROR")  # each of these functions would print that it is deprecated
few = np.concatenate([np.flatnonzero(labels == label)[:8] for label in range(5)])  # 40 pictures
few_files, few_labels = files[few], labels[few]


def run_queues(build):
    """Run a graph whose `build` returns the tensors of a batch, until its queues are empty; all batches."""
    with tf.Graph().as_default() as graph:
        fetches = build()
        with v1.Session(graph=graph) as session:
            session.run(v1.local_variables_initializer())  # num_epochs counts in a local variable
            coordinator = v1.train.Coordinator()
            threads = v1.train.start_queue_runners(session, coordinator)
            batches = []
            try:
                while not coordinator.should_stop():
                    batches.append(session.run(fetches))
            except tf.errors.OutOfRangeError:  # how a queue says that it is empty and closed
                pass
            finally:
                coordinator.request_stop()
                coordinator.join(threads)
    return batches, len(threads)


def in_order():
    path, label = v1.train.slice_input_producer([few_files, few_labels], shuffle=False, num_epochs=1)
    picture = v1.image.decode_png(v1.read_file(path), channels=3)
    picture = tf.reshape(picture, [256, 256, 3])  # train.batch must know the shape
    return v1.train.batch([scale(picture), label, path], batch_size=8, num_threads=1, capacity=32)


modern = tf.data.Dataset.from_tensor_slices((few_files, few_labels))
modern = modern.map(lambda path, label: (read(path), label, path)).batch(8)
modern = list(modern.map(lambda pictures, label, path: (scale(pictures), label, path)).as_numpy_iterator())

queued, count = run_queues(in_order)
assert len(queued) == len(modern) == 5
for old, new in zip(queued, modern):
    for old_part, new_part in zip(old, new):  # pictures, labels, paths
        np.testing.assert_array_equal(old_part, new_part)
print(
    f"{len(queued)} batches {queued[0][0].shape}, {count} threads: equal to those of tf.data, value by value"
)


# %% [markdown]
# `shuffle_batch` draws each batch at random from its queue, which must hold decoded pictures for that: the order of
# 2018 was map, then shuffle. With several threads the order is left to chance, but no picture is lost and none comes
# twice.


# %%
def at_random():
    path, label = v1.train.slice_input_producer(
        [few_files, few_labels], shuffle=True, num_epochs=1, seed=SEED
    )
    return v1.train.shuffle_batch(
        [scale(read(path)), label, path], 8, capacity=40, min_after_dequeue=16, num_threads=4, seed=SEED
    )


shuffled_batches, count = run_queues(at_random)
drawn = [path.decode() for _, _, paths in shuffled_batches for path in paths]
print(f"{count} threads; the first batch has the labels", shuffled_batches[0][1].tolist())
assert sorted(drawn) == sorted(few_files.tolist()) and drawn != few_files.tolist()
picture_of = {path: picture for pictures, _, paths in modern for picture, path in zip(pictures, paths)}
for pictures, _, paths in shuffled_batches:
    for picture, path in zip(pictures, paths):
        np.testing.assert_array_equal(picture, picture_of[path])
print("every file once, every picture with its own path")

# %% [markdown]
# The other way of 2018 was `tf.data` in its first form, with a one-shot iterator. Its mistake of calling
# `get_next()` in the loop is the story of [T_10](T_10_dataset_numpy.ipynb).

# %%
with tf.Graph().as_default() as graph:
    data = tf.data.Dataset.from_tensor_slices((few_files, few_labels))
    data = data.map(lambda path, label: (scale(read(path)), label)).batch(8)
    following = v1.data.make_one_shot_iterator(data).get_next()
    with v1.Session(graph=graph) as session:
        one_shot = [session.run(following) for _ in range(5)]
for old, new in zip(one_shot, modern):
    np.testing.assert_array_equal(old[0], new[0])
    np.testing.assert_array_equal(old[1], new[1])
print("one-shot iterator: the same five batches")

# %% [markdown]
# One thing changed without a warning: where `resize` takes its sampling points. TF 1.x laid them on the corner of
# each new pixel, TF 2.x lays them on its middle. Our line of nine shows it: the old points are pixels 0, 3 and 6,
# all white, the new ones 1, 4 and 7, all black. A network trained on pictures of the one kind sees the others
# shifted.

# %%
with tf.Graph().as_default() as graph:
    old_resize = v1.image.resize_images(tf.constant(line), [1, 3])
    with v1.Session(graph=graph) as session:
        old_points = session.run(old_resize).ravel()
new_points = tf.image.resize(line, [1, 3]).numpy().ravel()
print("line", line.ravel().astype(int), " TF 1.x:", old_points, " TF 2.x:", new_points)
assert old_points.tolist() == line[0, [0, 3, 6], 0].tolist()
assert new_points.tolist() == line[0, [1, 4, 7], 0].tolist()

# %% [markdown]
# **What changed**: a data set is an object that starts its threads when it is iterated and stops them afterwards; the
# end of the data ends the loop. `num_threads` became `num_parallel_calls`, and keeps the order. `capacity` became
# `prefetch`, counted in batches. And since paths are shuffled before they are read, nobody keeps thousands of decoded
# pictures.

# %% [markdown]
# ## The speed tables
# The tutorial of 2018 published two tables about 100 batches of 128 PNG files of 256×256. Here they are again,
# measured on all pictures by `.venv/bin/python -m benchmarks.t11_images`, beside today's ways. The last row is the
# *decode limit*: all cores do nothing but decode, and throw the pixels away.

# %%
stored = RESULTS / "T_11.json"
if stored.exists():
    result = json.loads(stored.read_text())
    print(
        f"{'100 batches of 128':<36}{'s':>6}{'range':>15}{'first batch':>13}{'of the limit':>14}{'2018, s':>9}"
    )
    for name, row in result["rows"].items():
        spread = f"{row['low']:.1f} to {row['high']:.1f}"
        first = f"{row['first_batch_s']:.2f} s" if row["first_batch_s"] else ""
        share = "" if "JPEG" in name or "cached" in name else f"{row['share_of_limit']:.0%}"
        before = f"{row['seconds_2018']:g}" if row["seconds_2018"] else ""
        print(f"{name:<36}{row['s']:>6.1f}{spread:>15}{first:>13}{share:>14}{before:>9}")
    machine = result["machine"]
    print(f"one pass of {result['batches_measured']} batches, times {result['scaled_by']}; measured", end=" ")
    print(f"{machine['date']} on {machine['cpu']}, {machine['cores']} cores")

# %% [markdown]
# From top to bottom:
#
# - The **one-shot** program of 2018 decoded in one thread, and filled a buffer of decoded pictures before it gave out
#   the first batch. Its disk had to find each file as well; ours are in memory, so here it loses little more than the
#   cores that it does not use.
# - The **queues** were faster because several threads decoded. Their capacity makes no difference: who waits for
#   pictures finds the queue empty, however long it could be. TFRecord was faster still in 2018 because it spared the
#   disk, and because that program left its pictures uint8. From memory, and with floats, it gains nothing.
# - **Today's ways** decode with all cores as well and copy less. Shuffling decoded pictures takes hardly longer in
#   total, but look at its first batch; with shuffled paths it is there after a moment.
# - What is left between a float pipeline and the limit is mostly writing floats, four bytes for each byte decoded.
#   Leave the batches **uint8** and scale in the model, as our classifier does, and half of it is gone.
# - To go below the limit, decode something else (**JPEG**) or nothing at all (the **cache**).
#
# The second table asked how threads and a resize from 256 to 224 count, with TFRecord files. It gave the time for 500
# batches; a fifth of that stands below.

# %%
if stored.exists():
    cells, before = result["threads"], result["threads_2018_seconds_for_500_batches"]
    counts = sorted({int(name.split()[2]) for name in cells})
    kinds = {
        "queue as in 2018, no resize": "queue 256",
        "queue as in 2018, resize": "queue 224",
        "tf.data, no resize": "today 256",
        "tf.data, resize": "today 224",
    }
    print(f"{'seconds for 100 batches; threads':<34}", *(f"{count:>6}" for count in counts))
    for name, key in kinds.items():
        print(f"{name:<34}", *(f"{cells[f'{key} {count}']['s']:6.1f}" for count in counts))
    for name, place in (("published in 2018, no resize", 0), ("published in 2018, resize", 1)):
        published = [before[str(count)][place] / 5 if str(count) in before else None for count in counts]
        print(f"{name:<34}", *(f"{value:6.1f}" if value else f"{'':>6}" for value in published))

# %%
if stored.exists():
    names = list(result["rows"])[::-1]
    seconds = [result["rows"][name]["s"] for name in names]
    colours = ["tab:orange" if result["rows"][name]["seconds_2018"] else "tab:blue" for name in names]
    colours[0] = "tab:gray"
    figure, (left, right) = plt.subplots(1, 2, figsize=(12, 4.6), layout="constrained", width_ratios=[3, 2])
    bars = left.barh(names, seconds, color=colours)
    left.bar_label(bars, labels=[f"{value:.1f}" for value in seconds], padding=3, fontsize=8)
    left.axvline(seconds[0], color="tab:gray", linestyle="--", linewidth=1)
    left.set(xlabel="seconds for 100 batches", xlim=(0, max(seconds) * 1.1))
    left.set_title("The ways of 2018 (orange), of today (blue), and the limit")
    for name, key in kinds.items():
        style = {"color": "tab:orange" if "queue" in key else "tab:blue", "marker": "o"}
        dashes = "--" if "224" in key else "-"
        right.plot(counts, [cells[f"{key} {count}"]["s"] for count in counts], dashes, label=name, **style)
    right.set(title="Threads, with and without a resize", xlabel="threads", ylabel="seconds for 100 batches")
    right.set_ylim(bottom=0)
    right.legend(fontsize=8)
    save_figure(figure, "T_11_speed.png", dpi=90)

# %% [markdown]
# Threads help as far as there are cores, here two, and then no more. The machine of 2018 must have had more, as its
# times kept falling to six threads. There the resize doubled the time, as the program converted nothing to float
# without it; here both pipelines deliver floats, and the resize adds little to the decoding.
#
# ## Summary
# 1. The folder is the label. Sort names and files, and split the list of files before anything else.
# 2. Shuffle paths, then read, decode and resize in parallel, then `cache`, then what is random, then batch and scale.
# 3. Decoding is what costs. Ask for `channels=3`, resize with `antialias=True`, and do both once.
# 4. Keep bytes as bytes for as long as you can: in the cache, in TFRecord files, and up to the model.
# 5. TF 1.x moved pictures through queues with threads, runners and a coordinator; a data set brings its own.

# %%
assert accuracy > MIN_ACCURACY, "the network did not learn to tell the five classes apart"
assert arrival["shuffle, map"][0] < arrival["map, shuffle"][0], "a buffer of paths is full at once"
assert min(cache_seconds[1:]) < cache_seconds[0], "a pass from the cache is faster than the first"
report(
    held_out_accuracy=accuracy,
    first_batch_shuffling_pictures_s=arrival["map, shuffle"][0],
    first_batch_shuffling_paths_s=arrival["shuffle, map"][0],
    decode_png_ms=time_of["PNG"]["decode"],
    decode_jpeg_ms=time_of["JPEG"]["decode"],
)

# %% [markdown]
# ## Exercises
# 1. Train on ten pictures of each class, with and without `augment`. Which recognises more of the held-out ones?
# 2. Move `cache()` behind the map with `augment`. What do the network and you see in the second epoch?
# 3. Write a damaged file: the first half of a PNG, in one of the class folders of a copy. What do the pipeline,
#    `tfrecord.write_images` and `dataset.ignore_errors()` make of it?
#
# <details><summary>Outlines of the answers</summary>
#
# 1. `training = np.concatenate([training[labels[training] == label][:10] for label in range(5)])`, then more epochs.
#    With so few pictures augmentation gains several points; repeat with other seeds before you believe a difference.
# 2. The same changed pictures again: the cache has frozen the first draw, and augmentation adds nothing any more.
# 3. The pipeline stops with "Invalid PNG data" and does not say which file. The writer leaves it out and names it in
#    `manifest.skipped`. `ignore_errors()` goes on as well, but silently: count what you lose.
# </details>
#
# **Next**: [T_12 Layers](T_12_layers_api.ipynb)
