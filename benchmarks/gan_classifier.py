"""A small network that names the parts of a cat: body, fur, eyes, mouth, accessory.

Its five answers say which of the 66 values a generator can draw, and its 128 features are what the Fréchet distance
is measured on. It is trained on the avatars (18,000 of 20,000; the last 2,000 are held out) and lies with the
results as half-precision weights. `python -m benchmarks.gan_quality --train_classifier` trains it anew, in 160
seconds of processor time.

A classifier that has only seen clean cats is sure about everything, also about a smear. So that confidence means
something on generated pictures, it learns from shifted, blurred, noisy and tinted cats, from blends of two cats
(with both answers in proportion), from cats cut into shuffled blocks and static (no answer: every value as likely),
and from cats with a smeared face (no answer for eyes and mouth). The price is doubt: of held-out real cats it is sure
of all five parts in about six of seven, though it names nearly all of them right.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from pathlib import Path

import numpy as np

from benchmarks.gan_pictures import ATTRIBUTES, SIZE, QualityError
from tools.machine import facts
from utils.lesson import quiet_start

WEIGHTS = Path(__file__).resolve().parent / "results" / "gan_classifier.npz"
FEATURES = 128  # width of the layer before the answers
FEATURES_NAME = "128 outputs of the attribute classifier's last hidden layer"

HELD_OUT = 2000  # the last pictures of the set
EPOCHS = 8
BATCH = 128
PEAK_RATE = 2e-3  # Adam's; a warm-up of one epoch, then a cosine to zero
SHIFT = 2  # pixels, in any direction: generated cats do not sit exactly still
BLENDED, SHUFFLED, SMEARED = 0.12, 0.08, 0.06  # shares of a batch
FACE = (slice(18, 46), slice(16, 54))  # rows and columns in which eyes and mouth of each cat lie
SEED = 1

# kernel, stride, width of each convolution; 64 pixels become 4
LAYERS = ((5, 2, 32), (3, 2, 64), (3, 1, 64), (3, 2, 96), (3, 1, 96), (3, 2, 64))


def build_network(outputs: int, precision: str = "float32"):
    """The network: pictures (batch, 64, 64, 3) from 0 to 255 -> features, logits.

    Args:
        outputs: number of logits.
        precision: "float32", or "mixed_bfloat16", with which a training step takes two thirds of the time.

    Returns:
        keras.Model with the outputs (batch, 128) and (batch, outputs).
    """
    quiet_start()
    import keras

    pictures = keras.Input((SIZE, SIZE, 3))
    x = keras.layers.Rescaling(1 / 127.5, -1.0)(pictures)
    options = {"activation": "relu", "kernel_initializer": "he_normal", "dtype": precision}
    for kernel, stride, width in LAYERS:
        x = keras.layers.Conv2D(width, kernel, stride, "same", **options)(x)
    x = keras.layers.Flatten()(x)  # the place matters: a bow is not a collar
    features = keras.layers.Dense(FEATURES, **options)(x)
    return keras.Model(pictures, [features, keras.layers.Dense(outputs)(features)])


class Classifier:
    """The trained network with the names of its answers.

    Attributes:
        values: attribute -> its values, in the order of the answers.
        facts: accuracy on held-out pictures, data it was trained on, how.
    """

    def __init__(self, network, values: dict[str, list[str]], facts: dict) -> None:
        self.network, self.values, self.facts = network, values, facts
        quiet_start()
        import tensorflow as tf

        @tf.function(input_signature=[tf.TensorSpec((None, SIZE, SIZE, 3), tf.uint8)])
        def run(x):
            return network(tf.cast(x, tf.float32), training=False)

        self._run = run

    def __call__(self, pictures: np.ndarray, batch: int = 250) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """Features and probabilities of pictures.

        Args:
            pictures: uint8 (n, 64, 64, 3).
            batch: how many go through the network at a time.

        Returns:
            float32 (n, 128), and attribute -> float32 (n, values) of probabilities.
        """
        parts = [self._run(pictures[i : i + batch]) for i in range(0, len(pictures), batch)]
        features, logits = (np.concatenate([part[k].numpy() for part in parts]) for k in (0, 1))
        return features, split_softmax(logits, self.values)

    def save(self, path: Path) -> None:
        """Write the weights in half precision, whole or not at all."""
        arrays = {f"w{i}": w.astype(np.float16) for i, w in enumerate(self.network.get_weights())}
        text = json.dumps({"values": self.values, "facts": self.facts}, ensure_ascii=False)
        part = path.with_name(f".{path.name}.{os.getpid()}.part")
        with open(part, "wb") as file:
            np.savez_compressed(file, about=np.array(text), **arrays)
        part.replace(path)

    @classmethod
    def load(cls, path: Path = WEIGHTS) -> Classifier:
        """The classifier that `save` wrote.

        Raises:
            QualityError: no such file, or of another network.
        """
        train = "python -m benchmarks.gan_quality --train_classifier"
        if not path.exists():
            raise QualityError(f"{path} is missing; get it back with git checkout, or train it:  {train}")
        with np.load(path) as file:
            about = json.loads(str(file["about"]))
            weights = [file[f"w{i}"].astype(np.float32) for i in range(len(file.files) - 1)]
        network = build_network(sum(len(names) for names in about["values"].values()))
        if [w.shape for w in weights] != [w.shape for w in network.get_weights()]:
            raise QualityError(f"{path} holds weights of another network; train it anew:  {train}")
        network.set_weights(weights)
        return cls(network, about["values"], about["facts"])


def split_softmax(logits: np.ndarray, values: dict[str, list[str]]) -> dict[str, np.ndarray]:
    """Logits (n, 66) -> attribute -> probabilities (n, values of the attribute), each row summing to one."""
    found, start = {}, 0
    for kind, names in values.items():
        part = logits[:, start : start + len(names)]
        part = np.exp(part - part.max(axis=1, keepdims=True))
        found[kind] = part / part.sum(axis=1, keepdims=True)
        start += len(names)
    return found


def targets_of(attributes: dict[str, np.ndarray], values: dict[str, list[str]]) -> np.ndarray:
    """Attributes in words -> float32 (n, 66): five ones in each row, at the values the picture has."""
    columns = [np.asarray(attributes[kind])[:, None] == np.array(names) for kind, names in values.items()]
    return np.concatenate(columns, axis=1).astype(np.float32)


def data_hash(pictures: np.ndarray, attributes: dict[str, np.ndarray]) -> str:
    """SHA-256 over all pixels and all attributes, in order."""
    digest = hashlib.sha256()
    for i in range(0, len(pictures), 1000):
        digest.update(np.ascontiguousarray(pictures[i : i + 1000]).tobytes())
    for kind in ATTRIBUTES:
        digest.update("\n".join([kind, *attributes[kind]]).encode())
    return digest.hexdigest()


def disturb(x, y, values: dict[str, list[str]]):
    """Make a batch harder, so that the answers stay honest on pictures that are not perfect.

    Args:
        x: float32 (batch, 64, 64, 3) from 0 to 255.
        y: float32 (batch, 66), five ones in a row.

    Returns:
        The disturbed pictures and their targets; each attribute's targets still sum to one.
    """
    import tensorflow as tf

    n = tf.shape(x)[0]
    uniform = tf.random.uniform

    # Blends: the second cat is the neighbour in the batch, its share 0 for most.
    share = tf.where(uniform([n, 1]) < BLENDED, uniform([n, 1], 0.25, 0.75), 0.0)
    shares = share[:, :, None, None]
    x = (1.0 - shares) * x + shares * tf.roll(x, 1, 0)
    y = (1.0 - share) * y + share * tf.roll(y, 1, 0)

    # Blocks of 8x8 pixels in another order under more or less static: colours and strokes of a cat, but no cat.
    grid = SIZE // 8
    blocks = tf.reshape(x, [n, grid, 8, grid, 8, 3])
    blocks = tf.reshape(tf.transpose(blocks, [0, 1, 3, 2, 4, 5]), [n, grid * grid, 8, 8, 3])
    order = tf.argsort(uniform([n, grid * grid]), axis=1)
    shuffled = tf.reshape(tf.gather(blocks, order, batch_dims=1), [n, grid, grid, 8, 8, 3])
    shuffled = tf.reshape(tf.transpose(shuffled, [0, 1, 3, 2, 4, 5]), [n, SIZE, SIZE, 3])
    static = tf.maximum(uniform([n, 1, 1, 1], -1.0, 1.0), 0.0)
    nothing = (1.0 - static) * shuffled + static * uniform([n, SIZE, SIZE, 3], 0.0, 255.0)

    # Faces of 8x8 blocks' means, mixed with other blocks: the rest of the cat can be named, eyes and mouth cannot.
    coarse = tf.image.resize(tf.nn.avg_pool2d(x, 8, 8, "VALID"), [SIZE, SIZE])
    other = uniform([n, 1, 1, 1], 0.0, 0.6)
    in_face = np.zeros((1, SIZE, SIZE, 1), bool)
    in_face[(0, *FACE)] = True
    smeared = tf.where(in_face, (1.0 - other) * coarse + other * shuffled, x)

    even = tf.concat([tf.fill([1, len(names)], 1.0 / len(names)) for names in values.values()], axis=1)
    of_face = [[kind in ("eyes", "mouth") for kind, names in values.items() for _ in names]]
    faceless = tf.where(of_face, even, y)
    lot = uniform([n, 1])
    for chosen, pictures, targets in (
        (lot < SHUFFLED, nothing, even),
        (lot > 1.0 - SMEARED, smeared, faceless),
    ):
        x = tf.where(chosen[:, :, None, None], pictures, x)
        y = tf.where(chosen, targets, y)

    # Half of the batch blurred to some degree, half with noise, each picture's colours off by a little.
    line = tf.constant([0.25, 0.5, 0.25])
    kernel = tf.tile((line[:, None] * line[None, :])[:, :, None, None], [1, 1, 3, 1])
    degree = uniform([n, 1, 1, 1], -2.0, 2.0)
    for passes in (0.0, 1.0):
        wide = tf.pad(x, [[0, 0], [1, 1], [1, 1], [0, 0]], "REFLECT")
        soft = tf.nn.depthwise_conv2d(wide, kernel, [1, 1, 1, 1], "VALID")
        x += tf.clip_by_value(degree - passes, 0.0, 1.0) * (soft - x)
    x += tf.maximum(uniform([n, 1, 1, 1], -24.0, 24.0), 0.0) * tf.random.normal(tf.shape(x))
    x = x * uniform([n, 1, 1, 1], 0.94, 1.06) + uniform([n, 1, 1, 3], -6.0, 6.0)
    return tf.clip_by_value(x, 0.0, 255.0), y


def accuracy(probabilities: dict[str, np.ndarray], attributes: dict, values: dict) -> dict[str, float]:
    """Share of pictures named right, per attribute."""
    return {
        kind: float(np.mean(np.array(names)[probabilities[kind].argmax(axis=1)] == attributes[kind]))
        for kind, names in values.items()
    }


def train(pictures: np.ndarray, attributes: dict[str, np.ndarray], epochs: int = EPOCHS) -> Classifier:
    """Train the classifier on all but the last `HELD_OUT` pictures, with progress; a few minutes on two cores.

    Args:
        pictures: uint8 (n, 64, 64, 3).
        attributes: attribute -> (n,) of words.
        epochs: passes over the training pictures.

    Raises:
        QualityError: too few pictures.
    """
    if len(pictures) < 2 * HELD_OUT:
        raise QualityError(
            f"{len(pictures):,} pictures are too few to train on; expected the 20,000 avatars."
        )
    quiet_start()
    import keras
    import tensorflow as tf

    keras.utils.set_random_seed(SEED)
    values = {kind: sorted(set(map(str, attributes[kind]))) for kind in ATTRIBUTES}
    sizes = [len(names) for names in values.values()]
    targets = targets_of(attributes, values)
    network = build_network(sum(sizes), "mixed_bfloat16")
    count = len(pictures) - HELD_OUT
    steps = epochs * (count // BATCH)
    warm_up = count // BATCH
    rate = keras.optimizers.schedules.CosineDecay(
        0.0, steps - warm_up, warmup_target=PEAK_RATE, warmup_steps=warm_up
    )
    optimizer = keras.optimizers.Adam(rate)
    optimizer.build(network.trainable_variables)

    @tf.function(jit_compile=False)
    def step(x, y):
        x, y = disturb(tf.cast(x, tf.float32), y, values)
        with tf.GradientTape() as tape:
            logits = tf.cast(network(x, training=True)[1], tf.float32)
            losses = [
                tf.nn.softmax_cross_entropy_with_logits(a, b)
                for a, b in zip(tf.split(y, sizes, 1), tf.split(logits, sizes, 1))
            ]
            loss = tf.reduce_mean(tf.add_n(losses))
        weights = network.trainable_variables
        optimizer.apply_gradients(zip(tape.gradient(loss, weights), weights))
        return loss

    edge = ((0, 0), (SHIFT, SHIFT), (SHIFT, SHIFT), (0, 0))
    rng = np.random.default_rng(SEED)
    exact = build_network(sum(sizes))  # the same weights in single precision, to measure with
    classifier = Classifier(exact, values, {})
    started = time.perf_counter()
    for epoch in range(epochs):
        order, losses = rng.permutation(count), []
        for first in range(0, count - BATCH + 1, BATCH):
            chosen = np.sort(order[first : first + BATCH])
            wide = np.pad(pictures[chosen], edge, "edge")
            corners = rng.integers(0, 2 * SHIFT + 1, (BATCH, 2))
            x = np.stack([w[i : i + SIZE, j : j + SIZE] for w, (i, j) in zip(wide, corners)])
            losses.append(step(x, targets[chosen]))
        line = f"epoch {epoch + 1:>2}/{epochs}  loss {np.mean(losses):.3f}  {time.perf_counter() - started:.0f} s"
        exact.set_weights(network.get_weights())
        _, found = classifier(pictures[count:])
        right = accuracy(found, {kind: column[count:] for kind, column in attributes.items()}, values)
        print(
            line + "  held-out " + "  ".join(f"{kind} {part:.2%}" for kind, part in right.items()), flush=True
        )
    sure = np.all([p.max(axis=1) >= 0.9 for p in found.values()], axis=0)
    classifier.facts = {
        "data": data_hash(pictures, attributes),
        "trained_on": count,
        "held_out": HELD_OUT,
        "held_out_accuracy": right,
        "held_out_sure_of_all_five": float(np.mean(sure)),
        "epochs": epochs,
        "seed": SEED,
        "machine": facts(),
    }
    return classifier
