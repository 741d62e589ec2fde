"""Draw the pictures of doc/faq.md: dead ReLUs, the zig-zag, gradients through 20 layers.

.venv/bin/python doc/faq_figures.py        # about half a minute; writes figs/faq_*.png
"""

from __future__ import annotations

from itertools import pairwise

from utils.lesson import quiet_start, save_figure

quiet_start()
import matplotlib.pyplot as plt
import numpy as np
import tensorflow as tf

from utils.mnist import load_mnist

STEPS = 150
UNITS = 256
SEEDS = (1, 2, 3)


def dead_units(images: np.ndarray, labels: np.ndarray, rate: float, bias: float, seed: int) -> list[float]:
    """Share of dead units of the second hidden layer, every ten steps of plain gradient descent on MNIST.

    Args:
        images: `(n, 784)` float32, 0 to 1. labels: `(n,)` int64.
        rate: the learning rate.
        bias: initial value of all biases.
        seed: for the initial weights.
    """
    random = tf.random.Generator.from_seed(seed)
    sizes = [784, UNITS, UNITS, 10]
    weights = [tf.Variable(random.normal([a, b], stddev=(2 / a) ** 0.5)) for a, b in pairwise(sizes)]
    biases = [tf.Variable(tf.fill([b], bias)) for b in sizes[1:]]

    def hidden(x):
        for w, b in zip(weights[:-1], biases[:-1]):
            x = tf.nn.relu(x @ w + b)
        return x  # (batch, units)

    @tf.function
    def step(x, y):
        with tf.GradientTape() as tape:
            logits = hidden(x) @ weights[-1] + biases[-1]
            loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(y, logits))
        for variable, gradient in zip(weights + biases, tape.gradient(loss, weights + biases)):
            variable.assign_sub(rate * gradient)

    shares = []
    for number in range(STEPS):
        if number % 10 == 0:
            silent = tf.reduce_all(hidden(images[:2000]) == 0, axis=0)
            shares.append(float(tf.reduce_mean(tf.cast(silent, tf.float32))))
        begin = number * 100 % len(images)
        step(images[begin : begin + 100], labels[begin : begin + 100])
    return shares


def draw_dead_units() -> None:
    train = load_mnist().train
    images = train.images[:20000].reshape(-1, 784).astype(np.float32) / 255
    labels = train.labels[:20000].astype(np.int64)
    figure, axes = plt.subplots(figsize=(8.5, 3.8), layout="constrained")
    for rate, colour in ((0.1, "tab:green"), (0.5, "tab:orange"), (1.0, "tab:red")):
        for bias, style in ((0.0, "-"), (0.01, "--"), (0.1, ":")):
            shares = np.mean([dead_units(images, labels, rate, bias, seed) for seed in SEEDS], axis=0)
            axes.plot(
                range(0, STEPS, 10), shares, style, color=colour, label=f"learning rate {rate}, bias {bias}"
            )
    axes.set(xlabel="step", ylabel="dead units (share of 256)", ylim=(-0.03, 1.03))
    axes.set_title(f"Dead ReLUs in the second hidden layer, mean of {len(SEEDS)} seeds")
    figure.legend(fontsize=8, loc="outside right upper")
    save_figure(figure, "faq_dead_units.png")


def draw_zigzag() -> None:
    """Two weights of one unit, to be found from positive inputs and from the same inputs centred."""
    random = np.random.default_rng(1)
    x = random.uniform(0, 1, (500, 2))  # (examples, inputs)
    goal = np.array([1.5, -1.0])
    figure, panels = plt.subplots(1, 2, figsize=(10, 3.9), sharey=True, layout="constrained")
    grid = np.meshgrid(np.linspace(-0.9, 2.1, 80), np.linspace(-1.7, 1.1, 80))
    for panel, inputs, title in zip(panels, (x, x - x.mean(axis=0)), ("positive inputs", "centred inputs")):
        curvature = inputs.T @ inputs / len(inputs)
        flat, steep = np.linalg.eigvalsh(curvature)
        rate = 2 / (flat + steep)  # the best constant learning rate for this loss
        path = [np.array([0.6, 1.0])]
        for _ in range(25):
            path.append(path[-1] - rate * curvature @ (path[-1] - goal))
        offset = np.stack([grid[0] - goal[0], grid[1] - goal[1]])
        loss = np.einsum("iab,ij,jab->ab", offset, curvature, offset)
        panel.contour(*grid, np.sqrt(loss), levels=12, colors="0.8", linewidths=0.8)
        panel.plot(*np.array(path).T, ".-", color="tab:red", lw=1, label="25 steps of gradient descent")
        panel.plot(*goal, "*", color="tab:blue", ms=13, label="the best weights")
        panel.set(title=title, xlabel="weight 1")
        panel.legend(fontsize=8, loc="lower left")
    panels[0].set_ylabel("weight 2")
    save_figure(figure, "faq_zigzag.png")


def draw_gradients() -> None:
    """Size of the gradient that arrives at each of 20 sigmoid layers, with and without batch normalization."""
    depth, width = 20, 100
    figure, axes = plt.subplots(figsize=(7, 3.8), layout="constrained")
    for normalised, colour in ((False, "tab:red"), (True, "tab:blue")):
        random = tf.random.Generator.from_seed(1)
        weights = [random.normal([width, width], stddev=width**-0.5) for _ in range(depth)]
        with tf.GradientTape(persistent=True) as tape:
            h = random.normal([256, width])
            outputs = []
            for w in weights:
                h = tf.identity(h)
                tape.watch(h)
                outputs.append(h)
                z = h @ w  # (batch, width)
                if normalised:
                    mean, variance = tf.nn.moments(z, axes=[0])
                    z = (z - mean) * tf.math.rsqrt(variance + 1e-5)
                h = tf.nn.sigmoid(z)
            loss = tf.reduce_sum(h * random.normal([256, width]))
        sizes = [float(tf.norm(tape.gradient(loss, output))) for output in outputs]
        label = "with batch normalization" if normalised else "without"
        axes.semilogy(range(1, depth + 1), np.array(sizes) / sizes[-1], "o-", color=colour, ms=4, label=label)
    axes.set(xlabel="layer, counted from the input", ylabel="gradient, relative to the last layer")
    axes.set_xticks(range(1, depth + 1, 3))
    axes.set_title("The gradient on its way back through 20 sigmoid layers")
    axes.legend()
    save_figure(figure, "faq_gradients.png")


if __name__ == "__main__":
    draw_dead_units()
    draw_zigzag()
    draw_gradients()
