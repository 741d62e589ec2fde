"""T_05: the cells of the lesson and the fast layers against NumPy, Keras and automatic differentiation."""

import ast
import itertools
import json
import signal
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
from conftest import REPO

from benchmarks import peer, t05_accuracy, t05_fast_rnn, t05_products

STEPS, BATCH, FEATURES, UNITS = 5, 3, 4, 6


@pytest.fixture(scope="module")
def lesson():
    """The functions that the lesson script defines, without running the lesson."""
    source = (REPO / "example-python" / "T_05_rnn_mnist.py").read_text(encoding="utf-8")
    wanted = {"lstm_step", "gru_step", "read", "read_both_ways"}
    body = [
        node for node in ast.parse(source).body if isinstance(node, ast.FunctionDef) and node.name in wanted
    ]
    assert {node.name for node in body} == wanted
    names = {"tf": tf}
    exec(compile(ast.Module(body, type_ignores=[]), "T_05_rnn_mnist.py", "exec"), names)
    return names


def sequence(seed=0):
    """`(batch, steps, features)`."""
    return np.random.default_rng(seed).normal(size=(BATCH, STEPS, FEATURES)).astype(np.float32)


def weights_of(kind, seed=1, features=FEATURES):
    """Random kernel, recurrent kernel and bias in the layout of Keras; no two entries are alike."""
    random, gates = np.random.default_rng(seed), 4 if kind == "LSTM" else 3
    shapes = [(features, gates * UNITS), (UNITS, gates * UNITS), (gates * UNITS,)]
    if kind == "GRU":
        shapes[2] = (2, gates * UNITS)
    return [random.normal(0, 0.5, shape).astype(np.float32) for shape in shapes]


def numpy_layer(kind, x, weights):
    """An independent plain loop: `(batch, steps, features)` to `(batch, steps, units)`, in float64."""
    kernel, recurrent, bias = (np.asarray(w, np.float64) for w in weights)
    sigmoid = lambda a: 1 / (1 + np.exp(-a))
    part = lambda a, n: a[..., n * UNITS : (n + 1) * UNITS]
    result = np.zeros((x.shape[0], x.shape[1], UNITS))
    for example in range(x.shape[0]):
        h, c = np.zeros(UNITS), np.zeros(UNITS)
        for step in range(x.shape[1]):
            row = x[example, step].astype(np.float64)
            if kind == "LSTM":
                a = row @ kernel + h @ recurrent + bias
                c = sigmoid(part(a, 1)) * c + sigmoid(part(a, 0)) * np.tanh(part(a, 2))
                h = sigmoid(part(a, 3)) * np.tanh(c)
            else:
                a, b = row @ kernel + bias[0], h @ recurrent + bias[1]
                z, r = sigmoid(part(a, 0) + part(b, 0)), sigmoid(part(a, 1) + part(b, 1))
                h = z * h + (1 - z) * np.tanh(part(a, 2) + r * part(b, 2))
            result[example, step] = h
    return result


def keras_layer(kind, x, weights):
    layer = (keras.layers.LSTM if kind == "LSTM" else keras.layers.GRU)(UNITS, return_sequences=True)
    layer.build(x.shape)
    layer.set_weights(weights)
    return layer(x).numpy()


def fast_layer(kind, x, weights, dtype=tf.float32):
    """The fast layer is time-major; turn in and out."""
    layer = t05_fast_rnn.lstm_layer if kind == "LSTM" else t05_fast_rnn.gru_layer
    outputs = layer(tf.transpose(x, [1, 0, 2]), *map(tf.convert_to_tensor, weights), dtype=dtype)
    return tf.transpose(outputs, [1, 0, 2])


def step_of(lesson, kind):
    return lesson["lstm_step"] if kind == "LSTM" else lesson["gru_step"]


@pytest.mark.parametrize("kind", ["LSTM", "GRU"])
def test_one_step_by_hand(lesson, kind):
    """With zero matrices the gates are those of the bias: the new state has a closed form."""
    gates = [0.5, 0.9, 0.2, 0.8] if kind == "LSTM" else [0.25, 0.6, 0.5]
    logits = [np.log(p / (1 - p)) for p in gates]
    if kind == "LSTM":
        logits[2] = np.arctanh(gates[2])
        bias, state = tf.constant(logits, tf.float32), (tf.constant([[0.3]]), tf.constant([[2.0]]))
        c = 0.9 * 2.0 + 0.5 * 0.2
        expected = [0.8 * np.tanh(c), c]
    else:
        bias, state = tf.constant([logits, [0.0, 0.0, 0.7]], tf.float32), (tf.constant([[0.3]]),)
        expected = [0.25 * 0.3 + 0.75 * np.tanh(logits[2] + 0.6 * 0.7)]
    zero = tf.zeros([1, len(gates)])
    new = step_of(lesson, kind)(tf.constant([[1.0]]), state, (zero, zero, bias))
    np.testing.assert_allclose([value.numpy().item() for value in new], expected, rtol=1e-6)


@pytest.mark.parametrize("kind", ["LSTM", "GRU"])
def test_layers_agree_with_numpy_and_keras(lesson, kind):
    x, weights = sequence(), weights_of(kind)
    expected = numpy_layer(kind, x, weights)
    assert np.abs(expected).max() > 0.1
    np.testing.assert_allclose(lesson["read"](step_of(lesson, kind), x, weights), expected, atol=1e-6)
    np.testing.assert_allclose(fast_layer(kind, x, weights), expected, atol=1e-6)
    np.testing.assert_allclose(keras_layer(kind, x, weights), expected, atol=1e-6)


@pytest.mark.parametrize("kind", ["LSTM", "GRU"])
def test_written_gradient_is_the_automatic_one(lesson, kind):
    """For a loss that weighs every output differently, and with respect to input and all weights."""
    x, weights = tf.constant(sequence()), [tf.constant(w) for w in weights_of(kind)]
    pull = tf.constant(np.random.default_rng(5).normal(size=(BATCH, STEPS, UNITS)).astype(np.float32))
    results = []
    for layer in (
        lambda: lesson["read"](step_of(lesson, kind), x, weights),
        lambda: fast_layer(kind, x, weights),
    ):
        with tf.GradientTape() as tape:
            tape.watch([x, *weights])
            loss = tf.reduce_sum(layer() * pull)
        results.append(tape.gradient(loss, [x, *weights]))
    for automatic, written in zip(*results, strict=True):
        assert np.abs(automatic).max() > 0.01
        np.testing.assert_allclose(written, automatic, atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize("kind", ["LSTM", "GRU"])
def test_bfloat16_products_stay_close(kind):
    """Factors with 8 significant bits: outputs within a percent, gradients in nearly the same direction."""
    x = sequence()
    gradients, outputs = [], []
    for dtype in (tf.float32, tf.bfloat16):
        weights = [tf.constant(w) for w in weights_of(kind)]
        with tf.GradientTape() as tape:
            tape.watch(weights)
            outputs.append(fast_layer(kind, x, weights, dtype))
            loss = tf.reduce_sum(outputs[-1] ** 2)
        gradients.append(np.concatenate([g.numpy().ravel() for g in tape.gradient(loss, weights)]))
    assert outputs[1].dtype == tf.float32
    difference = np.abs(outputs[0] - outputs[1]).max()
    assert 0 < difference < 0.02
    full, low = gradients
    assert full @ low / (np.linalg.norm(full) * np.linalg.norm(low)) > 0.999


def test_bidirectional_layer_and_mean(lesson):
    """The backward half reads the reversed sequence, its outputs turned back; the mean is over the rows."""
    x, forward, backward = sequence(), weights_of("GRU", 1), weights_of("GRU", 2)
    ahead = numpy_layer("GRU", x, forward)
    back = numpy_layer("GRU", x[:, ::-1], backward)[:, ::-1]
    expected = np.concatenate([ahead, back], axis=2)
    ours = lesson["read_both_ways"](lesson["gru_step"], tf.constant(x), forward, backward)
    np.testing.assert_allclose(ours, expected, atol=1e-6)
    layer = keras.layers.Bidirectional(keras.layers.GRU(UNITS, return_sequences=True))
    layer.build(x.shape)
    layer.set_weights([*forward, *backward])
    np.testing.assert_allclose(layer(x), expected, atol=1e-6)
    pooled = keras.layers.GlobalAveragePooling1D()(layer(x))
    np.testing.assert_allclose(pooled, expected.mean(axis=1), atol=1e-6)


@pytest.mark.parametrize("kind", t05_accuracy.KINDS)
def test_stack_is_the_keras_network(kind):
    """Two layers with the same weights give the scores of the network made from Keras layers."""
    stack = t05_fast_rnn.Stack(kind, layers=2, units=UNITS, seed=3)
    images = x = keras.Input((28, 28))
    layers = []
    for _ in range(2):
        layer = (keras.layers.LSTM if kind == "LSTM" else keras.layers.GRU)(UNITS, return_sequences=True)
        layers.append(keras.layers.Bidirectional(layer) if kind == "Bi-GRU" else layer)
        x = layers[-1](x)
    x = keras.layers.GlobalAveragePooling1D()(x) if kind == "Bi-GRU" else x[:, -1]
    model = keras.Model(images, keras.layers.Dense(10)(x))
    directions = 2 if kind == "Bi-GRU" else 1
    values = [variable.numpy() for triple in stack.weights for variable in triple]
    for number, layer in enumerate(layers):
        layer.set_weights(values[number * 3 * directions : (number + 1) * 3 * directions])
    model.layers[-1].set_weights([stack.out_kernel.numpy(), stack.out_bias.numpy()])
    pictures = np.random.default_rng(0).uniform(size=(3, 28, 28)).astype(np.float32)
    np.testing.assert_allclose(stack(pictures), model(pictures), atol=2e-6)


def test_stack_refuses_an_unknown_kind():
    with pytest.raises(ValueError, match="RNN"):
        t05_fast_rnn.Stack("RNN", 1, UNITS, seed=1)


def test_dropout_follows_its_seed():
    stack = t05_fast_rnn.Stack("GRU", layers=1, units=UNITS, seed=3)
    pictures = np.random.default_rng(0).uniform(size=(3, 28, 28)).astype(np.float32)
    scores = lambda *seed: stack(pictures, dropout=0.5, seed=tf.constant(seed)).numpy()
    np.testing.assert_array_equal(scores(1, 2), scores(1, 2))
    assert np.abs(scores(1, 2) - scores(2, 2)).max() > 1e-3
    assert np.abs(scores(1, 2) - stack(pictures)).max() > 1e-3


@pytest.mark.parametrize("kind", t05_accuracy.KINDS)
def test_parts_change_neither_scores_nor_gradients(kind):
    """Seven pictures in three parts of different sizes, with dropout, against all at once."""
    pictures = tf.constant(np.random.default_rng(0).uniform(size=(7, 28, 28)).astype(np.float32))
    pull = tf.constant(np.random.default_rng(1).normal(size=(7, 10)).astype(np.float32))
    found = []
    for parts in (1, 3):
        stack = t05_fast_rnn.Stack(kind, layers=2, units=UNITS, seed=3, parts=parts)
        with tf.GradientTape() as tape:
            scores = stack(pictures, dropout=0.5, seed=tf.constant([1, 2]))
            loss = tf.reduce_sum(scores * pull)
        found.append([scores, *tape.gradient(loss, stack.trainable_variables)])
    for whole, cut in zip(*found, strict=True):
        assert np.abs(whole).max() > 1e-3
        np.testing.assert_allclose(cut, whole, atol=1e-5, rtol=1e-5)


def test_the_helper_of_the_speed_table_gives_an_operation_one_thread():
    with peer.Peer("benchmarks.t05_one_thread", interpreter=sys.executable) as helper:
        assert helper.about["threads"] == 1
        answer = helper.ask("Keras, unroll=True, 1-thread ops", column="GRU-1")
        assert answer["seconds"] > 0 and 0 < answer["last"] < 1  # the accuracy on the last test batch


def test_the_ways_to_write_a_product_agree():
    """Rows of the table of products that stand for one another give the same numbers, here for small matrices."""
    small = lambda side: min(side, 20 + side % 7)
    matrix = lambda shape: tf.constant(np.random.default_rng(0).normal(size=[*map(small, shape)]), tf.float32)
    found = {}
    for name, way in t05_products.WAYS.items():
        result = way.work(matrix(way.first), way.prepare(matrix(way.second)))
        found.setdefault(name.partition(":")[0], []).append(np.ravel(result))
    alike = {group: results for group, results in found.items() if "gradient" in group or "bias" in group}
    assert sorted(map(len, alike.values())) == [2, 2, 2, 3]
    for group, (first, *others) in alike.items():
        for other in others:
            np.testing.assert_allclose(other, first, atol=1e-5, err_msg=group)


def test_learning_rate_rises_and_falls_to_zero():
    rates = [t05_accuracy.learning_rate(step, 1000, 0.5) for step in range(1001)]
    peak = t05_accuracy.WARM_UP
    assert rates[peak - 1] == rates[peak] == max(rates) == 0.5
    rising, falling = itertools.pairwise(rates[:peak]), itertools.pairwise(rates[peak:])
    assert all(a < b for a, b in rising) and all(a > b for a, b in falling)
    assert rates[1000] == pytest.approx(0, abs=1e-12)


def test_an_epoch_shows_every_image_once():
    examples = 250  # not a multiple of the batch: one batch lies in two epochs
    stream = np.concatenate([t05_accuracy.batch_indices(step, 1, examples) for step in range(5)])
    assert len(stream) == 500
    assert sorted(stream[:250]) == sorted(stream[250:]) == list(range(250))
    assert list(stream[:250]) != list(stream[250:])
    np.testing.assert_array_equal(t05_accuracy.batch_indices(2, 1, examples), stream[200:300])
    assert list(t05_accuracy.batch_indices(0, 2, examples)) != list(stream[:100])


def test_table_counts_only_finished_runs(tmp_path, monkeypatch):
    monkeypatch.setattr(t05_accuracy, "WORK", tmp_path)
    for seed, value in [(1, 0.98), (3, 0.99)]:
        folder = tmp_path / f"GRU_{seed}"
        folder.mkdir()
        content = {"kind": "GRU", "seed": seed, "accuracy": value, "train_seconds": 1.0}
        (folder / "result.json").write_text(json.dumps(content))
    (tmp_path / "GRU_2" / "state").mkdir(parents=True)  # begun, not finished
    rows = t05_accuracy.collect()["rows"]
    assert set(rows) == {"GRU"}
    assert rows["GRU"]["seeds"] == [1, 3] and rows["GRU"]["mean"] == pytest.approx(0.985)
    assert rows["GRU"]["std"] == pytest.approx(np.std([0.98, 0.99], ddof=1), abs=1e-5)


SMALL_RUN = """
import sys
from pathlib import Path
from benchmarks import t05_accuracy as t05
t05.LAYERS, t05.UNITS, t05.SAVE_EVERY, t05.WARM_UP = 1, 8, 2, 2
t05.run("GRU", 1, 8, 1e-2, 0.3, "validation", Path(sys.argv[1]))
"""


def test_a_killed_run_continues_to_the_same_weights(tmp_path):
    """SIGKILL after the second save, then the same call again: bit for bit the weights of an unbroken run."""
    command = lambda name: [sys.executable, "-u", "-c", SMALL_RUN, str(tmp_path / name)]
    subprocess.run(command("whole"), cwd=REPO, check=True, capture_output=True, timeout=300)
    with subprocess.Popen(command("killed"), cwd=REPO, stdout=subprocess.PIPE, text=True) as process:
        for line in process.stdout:
            if "step     4" in line:
                process.send_signal(signal.SIGKILL)
                break
    assert not (tmp_path / "killed" / "result.json").exists()
    again = subprocess.run(command("killed"), cwd=REPO, capture_output=True, text=True, timeout=300)
    assert again.returncode == 0, again.stderr
    assert "step     2" not in again.stdout and "step     8" in again.stdout
    found = []
    for name in ("whole", "killed"):
        reader = tf.train.load_checkpoint(tf.train.latest_checkpoint(tmp_path / name / "state"))
        shapes = reader.get_variable_to_shape_map()
        keys = [key for key in shapes if not key.startswith(("seconds", "save_counter", "_CHECKPOINTABLE"))]
        found.append({key: reader.get_tensor(key) for key in keys})
    whole, killed = found
    assert whole.keys() == killed.keys() and any(key.startswith("model/") for key in whole)
    for key, value in whole.items():
        np.testing.assert_array_equal(killed[key], value, err_msg=key)
    results = [json.loads((tmp_path / name / "result.json").read_text()) for name in ("whole", "killed")]
    assert results[0]["accuracy"] == results[1]["accuracy"]
