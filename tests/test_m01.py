"""Batch normalization: the formulas against NumPy, Keras and automatic differentiation, and the two scripts."""

import gzip
import json
import shutil
import signal
import time

import keras
import numpy as np
import pytest
import tensorflow as tf
from conftest import REPO
from model_folders import copy_alone, finish, modules, start, start_workers, weights

FOLDER = "m01_batch_normalization"
batch_norm, model, mnist, digits, train, predict, runner = modules(
    FOLDER, "batch_norm", "model", "mnist", "digits", "train", "predict", "runner"
)
SHAPES = [(6, 4, 3, 5), (40, 7)]


def random(*shape, seed=0, mean=0.0, scale=1.0):
    return np.random.default_rng(seed).normal(mean, scale, shape)


def numpy_batch_norm(x, gamma, beta, epsilon):
    """In float64: output, mean and biased variance."""
    flat = x.reshape(-1, x.shape[-1])
    mean, variance = flat.mean(0), ((flat - flat.mean(0)) ** 2).mean(0)
    return (gamma * (flat - mean) / np.sqrt(variance + epsilon) + beta).reshape(x.shape), mean, variance


@pytest.fixture(params=SHAPES, ids=["convolution", "dense"])
def case(request):
    """x, gamma, beta, dy in float64; the mean of x is far from 0, its variance from 1."""
    features = request.param[-1]
    x = random(*request.param, mean=4.0, scale=3.0)
    return x, random(features, seed=1), random(features, seed=2), random(*request.param, seed=3)


# ------------------------------------------------------------------------------------------- the formulas
def test_every_form_computes_what_numpy_does_in_training(case):
    x, gamma, beta, _ = case
    y, mean, variance = numpy_batch_norm(x, gamma, beta, 0.01)
    found_mean, found_variance = batch_norm.batch_statistics(tf.constant(x))
    np.testing.assert_allclose(found_mean, mean)
    np.testing.assert_allclose(found_variance, variance)
    exact = batch_norm.normalise(*map(tf.constant, (x, mean, variance, gamma, beta)), epsilon=0.01)
    np.testing.assert_allclose(exact, y, atol=1e-12)
    singles = [tf.constant(value, tf.float32) for value in (x, gamma, beta)]
    m = x.size / x.shape[-1]
    np.testing.assert_allclose(batch_norm.batch_norm_by_hand(*singles, 0.01), y, atol=1e-5)
    for form in (batch_norm.fused_batch_norm, batch_norm.shared_batch_norm):
        found, found_mean, unbiased = form(*singles, 0.01)
        np.testing.assert_allclose(found, y, atol=1e-5, err_msg=form.__name__)
        np.testing.assert_allclose(found_mean, mean, rtol=1e-5)
        np.testing.assert_allclose(unbiased, variance * m / (m - 1), rtol=1e-5)


def test_the_gradient_by_hand_is_that_of_automatic_differentiation(case):
    x, gamma, beta, dy = map(tf.constant, case)
    with tf.GradientTape() as tape:
        tape.watch([x, gamma, beta])
        y = batch_norm.normalise(x, *batch_norm.batch_statistics(x), gamma, beta, 0.01)
    expected = tape.gradient(y, [x, gamma, beta], dy)
    for found, reference in zip(batch_norm.batch_norm_gradient(dy, x, gamma, 0.01), expected):
        np.testing.assert_allclose(found, reference, atol=1e-12)
    with tf.GradientTape() as tape:
        tape.watch([x, gamma, beta])
        y = batch_norm.batch_norm_by_hand(x, gamma, beta, 0.01)
    for found, reference in zip(tape.gradient(y, [x, gamma, beta], dy), expected):
        np.testing.assert_allclose(found, reference, atol=1e-12)


def test_the_gradient_by_hand_is_the_slope_of_the_loss(case):
    """By finite differences in float64, with no differentiation rule at all."""
    x, gamma, beta, dy = case
    d_x = batch_norm.batch_norm_gradient(*map(tf.constant, (dy, x, gamma)), 0.01)[0].numpy()
    for index in (0, 7, x.size - 1):
        moved = [x.copy(), x.copy()]
        for copy, sign in zip(moved, (1, -1)):
            copy.flat[index] += sign * 1e-5
        up, down = ((numpy_batch_norm(copy, gamma, beta, 0.01)[0] * dy).sum() for copy in moved)
        assert d_x.flat[index] == pytest.approx((up - down) / 2e-5, rel=1e-5, abs=1e-8)


def test_the_gradient_by_x_neither_shifts_nor_scales_the_batch(case):
    x, gamma, _, dy = map(tf.constant, case)
    d_x = batch_norm.batch_norm_gradient(dy, x, gamma, 0.0)[0]
    over = list(range(x.shape.rank - 1))
    np.testing.assert_allclose(tf.reduce_sum(d_x, over), 0, atol=1e-11)
    np.testing.assert_allclose(tf.reduce_sum(d_x * x, over), 0, atol=1e-10)


def test_all_forms_agree_with_keras_and_each_other():
    for name, row in batch_norm.compare((20, 6, 6, 8)).items():
        assert max(row.values()) < 2e-5, (name, row)


# ------------------------------------------------------------------------------------------- averages and inference
def test_moving_averages_follow_the_recursion_and_inference_uses_them():
    norm = batch_norm.BatchNorm(5, momentum=0.9)
    mean, variance = np.zeros(5), np.ones(5)
    for number in range(4):
        x = random(6, 4, 3, 5, seed=number, mean=number, scale=1 + number)
        norm(tf.constant(x, tf.float32), training=True)
        _, batch_mean, batch_variance = numpy_batch_norm(x, 1, 0, 0)
        mean = 0.9 * mean + 0.1 * batch_mean
        variance = 0.9 * variance + 0.1 * batch_variance * 72 / 71
    np.testing.assert_allclose(norm.moving_mean, mean, rtol=1e-5)
    np.testing.assert_allclose(norm.moving_variance, variance, rtol=1e-5)
    norm.gamma.assign(random(5, seed=8))
    norm.beta.assign(random(5, seed=9))
    x = random(2, 4, 3, 5, seed=7)
    y = norm(tf.constant(x, tf.float32), training=False)
    expected = norm.gamma * (x - mean) / np.sqrt(variance + batch_norm.EPSILON) + norm.beta
    np.testing.assert_allclose(y, expected, atol=1e-5)
    np.testing.assert_allclose(norm.moving_mean, mean, rtol=1e-5, err_msg="inference moves nothing")
    keras_layer = keras.layers.BatchNormalization(epsilon=batch_norm.EPSILON)
    keras_layer.build(x.shape)
    keras_layer.set_weights([norm.gamma, norm.beta, norm.moving_mean, norm.moving_variance])
    np.testing.assert_allclose(y, keras_layer(x, training=False), atol=1e-5)


def test_averages_that_are_not_updated_stay_where_they_began():
    norm = batch_norm.BatchNorm(5, update_averages=False)
    x = tf.constant(random(50, 5, mean=4.0, scale=3.0), tf.float32)
    for _ in range(10):
        y = norm(x, training=True)
    np.testing.assert_allclose(tf.reduce_mean(y, 0), 0, atol=1e-5)
    assert not norm.moving_mean.numpy().any() and (norm.moving_variance.numpy() == 1).all()
    far = tf.reduce_mean(norm(x, training=False), 0)
    assert np.abs(far).min() > 2, "inference sees inputs that are not normalised at all"


def test_the_scale_of_the_weights_before_it_does_not_matter():
    small, large = (model.Network(init_scale=scale, dropout=0.0) for scale in (1.0, 50.0))
    images = tf.constant(random(20, 28, 28, 1, seed=4), tf.float32)
    for network in (small, large):
        network.kernels["fc2"].assign(small.kernels["fc2"])
    np.testing.assert_allclose(small(images, training=True), large(images, training=True), atol=0.02)


# ------------------------------------------------------------------------------------------- network and training step
def test_pooling_before_bias_and_relu_is_pooling_after_them():
    network = model.Network(batch_norm=False)
    network.biases["conv1"].assign(random(32, seed=1))
    images = tf.constant(random(3, 28, 28, 1), tf.float32)
    found = network._convolution(images, "conv1", training=True)
    x = tf.nn.conv2d(images, network.kernels["conv1"], 1, "SAME") + network.biases["conv1"]
    np.testing.assert_allclose(found, tf.nn.max_pool2d(tf.nn.relu(x), 2, 2, "VALID"), atol=1e-6)


def test_the_dense_layer_and_its_gradients_are_those_of_matmul():
    x, kernel, pull = (tf.constant(random(*shape, seed=7), tf.float32) for shape in ((3, 5), (5, 4), (3, 4)))
    found = []
    for product in (model.dense, tf.matmul):
        with tf.GradientTape() as tape:
            tape.watch([x, kernel])
            y = product(x, kernel)
        found.append([y, *tape.gradient(y, [x, kernel], pull)])
    for ours, reference in zip(*found):
        np.testing.assert_allclose(ours, reference, atol=1e-6)


@pytest.mark.parametrize("with_norm", [True, False])
def test_the_network_has_the_shapes_of_the_original(with_norm):
    network = model.Network(batch_norm=with_norm)
    sizes = {name: tuple(kernel.shape) for name, kernel in network.kernels.items()}
    assert sizes == {"conv1": (5, 5, 1, 32), "conv2": (5, 5, 32, 64), "fc1": (3136, 1024), "fc2": (1024, 10)}
    per_unit = 2 if with_norm else 1  # gamma and beta, or a bias
    count = sum(int(np.prod(v.shape)) for v in network.trainable_variables)
    assert count == 800 + 51200 + 3136 * 1024 + 10240 + 10 + per_unit * (32 + 64 + 1024)
    assert network(tf.zeros([3, 28, 28, 1])).shape == (3, 10)


def test_adam_is_that_of_the_paper():
    weight = tf.Variable([1.0, -2.0, 3.0])
    adam = model.Adam([weight], beta1=0.8, beta2=0.95, epsilon=1e-3)
    value, mean, square = weight.numpy().astype(float), 0.0, 0.0
    for step in range(5):
        gradient = random(3, seed=step)
        adam.apply([tf.constant(gradient, tf.float32)], tf.constant(step), 0.1)
        mean, square = 0.8 * mean + 0.2 * gradient, 0.95 * square + 0.05 * gradient**2
        rate = 0.1 * np.sqrt(1 - 0.95 ** (step + 1)) / (1 - 0.8 ** (step + 1))
        value -= rate * mean / (np.sqrt(square) + 1e-3)
    np.testing.assert_allclose(weight, value, rtol=1e-5)


def options(*flags):
    return train.parse_args(["--preset", "cpu", "--batch_size", "20", *map(str, flags)])


def images_and_labels(count=20):
    labels = np.arange(count) % 10
    pictures = np.zeros((count, 28, 28), np.uint8)
    for row, label in enumerate(labels):
        pictures[row, 3 + 2 * label : 6 + 2 * label, 5:23] = 200 + row
    return tf.constant(pictures), tf.constant(labels, tf.int32)


@pytest.mark.parametrize("flags", [["--batch_norm"], ["--no-batch_norm"], ["--mixed_precision"]])
def test_a_step_changes_every_weight_and_learns(flags):
    args = options(*flags, "--no-decay")
    network = train.make_network(args)
    before = [v.numpy() for v in network.variables]
    step = tf.function(train.make_step(args, network, model.Adam(network.trainable_variables)))
    losses = [float(step(tf.constant(n, tf.int64), *images_and_labels())["loss"]) for n in range(8)]
    assert len(network.variables) == (8 if "--no-batch_norm" in flags else 17)
    for old, variable in zip(before, network.variables):
        assert not np.array_equal(old, variable), f"{variable.name} did not change"
        assert np.isfinite(variable.numpy()).all() and variable.dtype == tf.float32
    assert losses[-1] < 0.5 * losses[0]


def test_dropout_and_distortion_follow_seed_and_step_only():
    draw = lambda seed, step, purpose: model.uniform(tf.constant(4), 3, seed, step, purpose).numpy()
    assert np.array_equal(draw(1, 2, 1), draw(1, tf.constant(2, tf.int64), 1))
    different = [draw(1, 2, 1), draw(2, 2, 1), draw(1, 3, 1), draw(1, 2, 2)]
    assert len({array.tobytes() for array in different}) == 4
    network = model.Network(dropout=0.3, batch_norm=False)
    network.biases["fc1"].assign(tf.fill([1024], 1.0))
    network.kernels["fc2"].assign(tf.ones([1024, 10]))
    kept = network(tf.zeros([50, 28, 28, 1]), training=True, step=5).numpy()[:, 0] / 1024
    assert abs(kept.mean() - 1.0) < 0.02 and kept.std() > 0, "what is kept makes up for what is left out"


def test_half_of_the_images_are_distorted_and_keep_their_digit():
    images = tf.repeat(mnist.to_float(images_and_labels()[0]), 20, axis=0)
    np.testing.assert_allclose(mnist.distort(images, 1, tf.constant(0), 0.0), images, atol=1e-6)
    moved = mnist.distort(images, 1, tf.constant(0)).numpy()
    far = np.abs(moved - images).max((1, 2, 3)) > 0.1
    assert 0.4 < far.mean() < 0.6
    np.testing.assert_allclose(moved[~far], images.numpy()[~far], atol=0.1)
    mass = moved.sum((1, 2, 3)) / images.numpy().sum((1, 2, 3))
    assert mass.min() > 0.7 and mass.max() < 1.3
    rows = np.arange(28)
    middle = lambda x: (x.sum((2, 3)) * rows).sum(1) / x.sum((1, 2, 3))
    shift = np.abs(middle(moved) - middle(images.numpy()))
    assert 0.5 < shift.max() < 5


# ------------------------------------------------------------------------------------------- data
def write_idx(path, array):
    header = bytes([0, 0, 8, array.ndim]) + b"".join(n.to_bytes(4, "big") for n in array.shape)
    path.write_bytes(gzip.compress(header + array.tobytes(), 1))


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A folder of four files in MNIST's format, with the first 6,000 training and 600 test images."""
    folder = tmp_path_factory.mktemp("mnist")
    for name, count in zip(mnist.FILES, (6000, 6000, 600, 600)):
        write_idx(folder / name, mnist.read_idx(REPO / "data" / "MNIST_data" / name)[:count])
    return folder


def test_mnist_is_split_as_in_the_original_tutorial():
    parts = mnist.load(None)
    assert [part.images.shape for part in parts] == [(55000, 28, 28), (5000, 28, 28), (10000, 28, 28)]
    assert parts[1].labels[:8].tolist() == [5, 0, 4, 1, 9, 2, 1, 3], "the validation images come first"
    assert parts[2].labels[:8].tolist() == [7, 2, 1, 0, 4, 1, 4, 9]


def test_data_errors_are_sentences(small, tmp_path, monkeypatch):
    with pytest.raises(runner.Stop, match=r"nowhere does not hold train-images.*--data_path"):
        mnist.load("nowhere")
    monkeypatch.setattr(mnist, "HERE", tmp_path / "far" / "away")
    with pytest.raises(runner.Stop, match=r"data/MNIST_data does not hold"):
        mnist.load(None)
    bad = shutil.copytree(small, tmp_path / "bad")
    name = mnist.FILES[0]
    for content, message in (
        (b"no gzip", "is damaged"),
        ((small / name).read_bytes()[:1000], "is damaged"),
        (gzip.compress(b"\0\0\x0d\3" + bytes(100)), "is not an IDX file"),
        (gzip.compress(b"\0\0\x08\1\0\0\0\x09" + bytes(8)), "is not an IDX file"),
        (gzip.compress(b"\0\0\x08\1\0\0\0\x09" + bytes(9)), "has images"),
    ):
        (bad / name).write_bytes(content)
        with pytest.raises(runner.Stop, match=message):
            mnist.load(bad)


def test_batches_cover_an_epoch_once_and_go_on_where_they_stopped():
    labels = np.arange(50, dtype=np.uint8)
    data = mnist.Split(np.broadcast_to(labels[:, None, None], (50, 28, 28)), labels)
    args, alone = options("--batch_size", 10), tf.distribute.get_strategy()
    read = lambda first, count: [
        batch for _, batch in zip(range(count), mnist.batches(args, alone, data, first))
    ]
    order = np.stack([labels.numpy() for _, labels in read(0, 15)]).reshape(3, 50)
    assert all(sorted(epoch) == list(range(50)) for epoch in order) and not np.array_equal(*order[:2])
    for (images, found), expected in zip(read(7, 8), order.reshape(15, 10)[7:], strict=True):
        assert np.array_equal(found, expected) and np.array_equal(images[:, 0, 0], expected)


# ------------------------------------------------------------------------------------------- pictures of digits
def test_a_picture_of_mnist_comes_out_as_it_was(tmp_path):
    from PIL import Image

    images = mnist.load(None)[2].images[:50]
    near = 0
    for image in images:
        enlarged = 255 - image.repeat(10, axis=0).repeat(10, axis=1)  # ten times as large, black on white
        Image.fromarray(enlarged).save(tmp_path / "digit.png")
        found = digits.read_digit(tmp_path / "digit.png").astype(int)
        assert found.shape == (28, 28) and found.max() == 255
        near += np.abs(found - image).mean() < 12
    assert near >= 45, f"only {near} of {len(images)} are as they were"


def test_the_ink_is_the_same_for_all_papers(tmp_path):
    from PIL import Image

    ink = np.zeros((40, 30), bool)
    ink[5:35, 12:18] = True
    papers = {
        "black on white": (ink, (0, 0, 0), (255, 255, 255)),
        "white on black": (ink, (255, 255, 255), (0, 0, 0)),
        "red on green of the same brightness": (ink, (200, 50, 50), (50, 130, 50)),
    }
    for name, (where, colour, paper) in papers.items():
        Image.fromarray(np.where(where[..., None], colour, paper).astype(np.uint8)).save(tmp_path / "a.png")
        np.testing.assert_array_equal(digits.read_ink(tmp_path / "a.png"), ink, name)
    for colour in (0, 255):  # drawn on nothing
        drawn = np.full((40, 30, 4), colour, np.uint8)
        drawn[..., 3] = ink * 255
        Image.fromarray(drawn).save(tmp_path / "a.png")
        np.testing.assert_array_equal(digits.read_ink(tmp_path / "a.png"), ink)


def test_hair_lines_are_widened_and_broad_strokes_are_not():
    line, bar = np.zeros((200, 200), np.float32), np.zeros((200, 200), np.float32)
    line[10:190, 100] = 1
    bar[10:190, 90:120] = 1
    assert 15 <= (digits.thicken(line)[100] > 0.5).sum() <= 25
    assert digits.thicken(bar) is bar


def test_pictures_without_a_digit_are_refused(tmp_path):
    from PIL import Image

    Image.new("RGB", (50, 50), "white").save(tmp_path / "empty.png")
    (tmp_path / "text.png").write_text("no picture")
    with pytest.raises(runner.Stop, match=r"empty\.png shows no digit"):
        digits.read_digit(tmp_path / "empty.png")
    with pytest.raises(runner.Stop, match=r"text\.png cannot be read"):
        digits.read_digit(tmp_path / "text.png")
    with pytest.raises(runner.Stop, match="there is no file"):
        digits.find_files([str(tmp_path / "missing.png")])


# ------------------------------------------------------------------------------------------- the scripts
@pytest.fixture(scope="module")
def trained(small, tmp_path_factory):
    """The folder of a run of 120 steps on 5,500 images."""
    folder = tmp_path_factory.mktemp("run")
    flags = ["--batch_size", 100, "--steps", 120, "--sample_every", 120, "--learning_rate", 0.004]
    train.main(list(map(str, ["--preset", "cpu", "--data_path", small, "--output_dir", folder, *flags])))
    return folder


def test_training_reports_what_it_reached(trained):
    result = json.loads((trained / "result.json").read_text())
    assert result["steps"] == 120 and result["test_accuracy"] > 0.9
    assert f"test accuracy {result['test_accuracy']:.4f}" in (trained / "train.log").read_text()


def test_predict_reads_the_drawn_digits(trained, tmp_path, capsys):
    folder = REPO / "models" / FOLDER / "digits"
    predict.main([str(folder), "--output_dir", str(trained), "--prepared", str(tmp_path / "seen.png")])
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert len(rows) == 10
    right = [row[1] == row[0].rsplit("/", 1)[1][0] for row in rows]
    assert sum(right) >= 8, rows
    assert (tmp_path / "seen.png").stat().st_size > 1000


def test_predict_reads_the_test_images_and_names_what_it_cannot_read(trained, small, tmp_path, capsys):
    predict.main(["--output_dir", str(trained), "--data_path", str(small)])
    out = capsys.readouterr().out
    accuracy = json.loads((trained / "result.json").read_text())["test_accuracy"]
    assert out.startswith(f"{accuracy:.2%} of 600 test images")
    (tmp_path / "bad.png").write_text("no picture")
    good = REPO / "models" / FOLDER / "digits" / "0.png"
    predict.main([str(good), str(tmp_path / "bad.png"), "--output_dir", str(trained)])
    out, err = capsys.readouterr()
    assert len(out.splitlines()) == 1 and "bad.png cannot be read" in err
    with pytest.raises(runner.Stop, match="no picture could be read"):
        predict.main([str(tmp_path / "bad.png"), "--output_dir", str(trained)])
    with pytest.raises(runner.Stop, match=r"no checkpoint in .*python train.py --output_dir"):
        predict.main(["--output_dir", str(tmp_path / "none")])


@pytest.mark.parametrize(
    ("flags", "code", "message"),
    [
        (["--dropout", "1"], 2, "--dropout must be"),
        (["--learning_rate", "0"], 2, "--learning_rate must be"),
        (["--batch_size", "6000"], 2, "more than the 5500 training images"),
        (["--no-batch_norm", "--steps", "200"], 1, "batch_norm True, this one has False"),
        (["--learning_rate", "1e38", "--steps", "140", "--no-decay"], 3, "is not a finite number"),
    ],
)
def test_errors_are_sentences(trained, small, capsys, flags, code, message):
    common = ["--preset", "cpu", "--data_path", str(small), "--output_dir", str(trained)]
    with pytest.raises(SystemExit) as stopped:
        runner.guard(lambda: train.main([*common, *flags]))
    err = capsys.readouterr().err
    assert (
        stopped.value.code == code and message in err and err.startswith("error: ") and "Traceback" not in err
    )


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """The folder, copied to where nothing else of the repository is."""
    return copy_alone(FOLDER, tmp_path_factory.mktemp("alone") / "m01")


LAYER_CHECK = """
import json
import sys

from runner import tf
from batch_norm import BatchNorm

devices = [tf.config.LogicalDeviceConfiguration()] * 2
tf.config.set_logical_device_configuration(tf.config.list_physical_devices("CPU")[0], devices)
strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
x = tf.random.stateless_normal([8, 3, 3, 4], [1, 2], 3.0, 2.0)


def step(norm, x):
    with tf.GradientTape() as tape:
        tape.watch(x)
        loss = tf.reduce_mean(norm(x, training=True) ** 3)
    return tape.gradient(loss, [x, norm.gamma, norm.beta])


@tf.function
def shared(norm):
    def on_replica():
        context = tf.distribute.get_replica_context()
        d_x, *others = step(norm, x[4 * context.replica_id_in_sync_group :][:4])
        return [d_x, *context.all_reduce("mean", others)]

    return strategy.run(on_replica)


one = BatchNorm(4)
with strategy.scope():
    two = BatchNorm(4)
expected = step(one, x)
parts, *others = (strategy.experimental_local_results(value) for value in shared(two))
found = [tf.concat(parts, axis=0) / 2, *(values[0] for values in others)]  # each half's loss is a mean over the half
expected += [one.moving_mean, one.moving_variance]
found += [two.moving_mean, two.moving_variance]
far = [float(tf.reduce_max(tf.abs(a - b)) / tf.reduce_max(tf.abs(a))) for a, b in zip(expected, found)]
print(json.dumps(far))
"""


def test_replicas_and_workers_compute_what_one_process_does(alone, small, tmp_path):
    """One layer on two replicas; one step of train.py on the whole batch at once, on two replicas, on two workers.

    The layer is smooth and must agree closely. In the network a rounding error may turn a ReLU on or off, which
    changes a gradient by a visible step at one place: there the whole of each gradient is compared.
    """
    (alone / "layer_check.py").write_text(LAYER_CHECK)
    layer = start(alone / "layer_check.py", cwd=tmp_path)
    flags = ["--preset", "cpu", "--data_path", small, "--steps", 1, "--batch_size", 40]
    ways = {"one": [], "replicas": ["--distribute", "mirrored", "--logical_devices", 2]}
    running = [
        start(alone / "train.py", *flags, *more, "--output_dir", tmp_path / way, cwd=tmp_path)
        for way, more in ways.items()
    ]
    running += start_workers(alone / "train.py", *flags, "--output_dir", tmp_path / "workers", cwd=tmp_path)
    code, out, err = finish(layer)
    assert code == 0 and max(json.loads(out)) < 1e-5, out + err
    for process in running:
        code, out, err = finish(process)
        assert code == 0, out + err
    one = weights(tmp_path / "one")
    compared = [name for name in one if "means" in name or "moving" in name]
    assert len(compared) == 11 + 6
    for way in ("replicas", "workers"):
        many = weights(tmp_path / way)
        for name in compared:
            difference = np.linalg.norm(one[name] - many[name]) / np.linalg.norm(one[name])
            assert difference < (1e-4 if "moving" in name else 0.02), (
                f"{way}: {name} differs by {difference:.1e}"
            )


def test_a_killed_run_ends_as_one_that_was_not(alone, small, tmp_path):
    """SIGKILL at some moment after the first checkpoint; then the same command again, and predict.py on the result."""
    flags = ["--preset", "cpu", "--data_path", small, "--batch_size", 40, "--steps", 40, "--save_every", 4]
    whole = start(alone / "train.py", *flags, "--output_dir", tmp_path / "whole", cwd=tmp_path)
    killed = start(alone / "train.py", *flags, "--output_dir", tmp_path / "killed", cwd=tmp_path)
    deadline = time.monotonic() + 120
    while not list((tmp_path / "killed").glob("checkpoints/checkpoint")):
        assert killed.poll() is None and time.monotonic() < deadline, killed.communicate()
        time.sleep(0.02)
    killed.send_signal(signal.SIGKILL)
    finish(killed)
    assert finish(whole)[0] == 0
    code, out, err = finish(
        start(alone / "train.py", *flags, "--output_dir", tmp_path / "killed", cwd=tmp_path)
    )
    assert code == 0 and "going on from step" in out, out + err
    a, b = weights(tmp_path / "whole"), weights(tmp_path / "killed")
    assert a.keys() == b.keys() and all(np.array_equal(a[name], b[name]) for name in a)
    code, out, err = finish(
        start(
            alone / "predict.py",
            alone / "digits" / "1.jpg",
            "--output_dir",
            tmp_path / "killed",
            cwd=tmp_path,
        )
    )
    assert code == 0 and "1.jpg" in out, out + err
