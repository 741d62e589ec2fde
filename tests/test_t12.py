"""The functions of tf.layers written out in utils.tf1, against the Keras layers."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from utils import tf1

v1 = tf.compat.v1


@pytest.fixture
def random():
    return np.random.default_rng(3)


def run(build, x, weights):
    """Build a graph on a placeholder, give its variables `weights` in order; return the outputs and the names."""
    with tf.Graph().as_default() as graph:
        x_in = v1.placeholder(tf.float32, [None, *x.shape[1:]])
        outputs = build(x_in)
        variables = v1.global_variables()
        with v1.Session(graph=graph) as session:
            for variable, value in zip(variables, weights, strict=True):
                session.run(variable.initializer, {variable.initial_value: value})
            return session.run(outputs, {x_in: x}), [variable.op.name for variable in variables]


@pytest.mark.parametrize("use_bias", [True, False])
def test_dense(random, use_bias):
    x = random.normal(size=(4, 6)).astype(np.float32)
    layer = keras.layers.Dense(5, "relu", use_bias=use_bias, bias_initializer="random_normal")
    expected = layer(x)
    outputs, names = run(lambda x: tf1.dense(x, 5, tf.nn.relu, use_bias, name="fc"), x, layer.get_weights())
    np.testing.assert_allclose(outputs, expected, atol=1e-6)
    assert names == (["fc/kernel", "fc/bias"] if use_bias else ["fc/kernel"])


@pytest.mark.parametrize("padding", ["same", "valid"])
@pytest.mark.parametrize(("kernel", "strides"), [(3, 1), (4, 2), (5, 3)])
def test_conv2d(random, padding, kernel, strides):
    x = random.normal(size=(2, 9, 11, 3)).astype(np.float32)
    layer = keras.layers.Conv2D(4, kernel, strides, padding, bias_initializer="random_normal")
    expected = layer(x)
    outputs, names = run(lambda x: tf1.conv2d(x, 4, kernel, strides, padding), x, layer.get_weights())
    np.testing.assert_allclose(outputs, expected, atol=1e-5)
    assert names == ["conv2d/kernel", "conv2d/bias"]


def test_names_are_numbered_and_reuse_shares():
    with tf.Graph().as_default():
        x = tf.zeros([2, 3])
        tf1.dense(x, 4)
        tf1.dense(x, 4)
        tf1.dense(x, 4, name="shared")
        tf1.dense(x, 4, name="shared", reuse=True)
        names = [variable.op.name for variable in v1.global_variables()]
        with pytest.raises(ValueError, match="already exists"):
            tf1.dense(x, 4, name="shared")
    assert names == [
        f"{name}/{part}" for name in ("dense", "dense_1", "shared") for part in ("kernel", "bias")
    ]


def test_regularizer_goes_to_the_collection():
    with tf.Graph().as_default():
        tf1.dense(tf.zeros([2, 3]), 4, kernel_regularizer=tf.nn.l2_loss)
        tf1.conv2d(tf.zeros([2, 5, 5, 1]), 4, 3, kernel_regularizer=tf.nn.l2_loss)
        assert len(v1.get_collection(v1.GraphKeys.REGULARIZATION_LOSSES)) == 2


@pytest.mark.parametrize("shape", [(16, 3), (4, 5, 5, 3)])
def test_batch_normalization_follows_keras_for_several_steps(random, shape):
    layer = keras.layers.BatchNormalization(
        momentum=0.8, gamma_initializer="random_normal", beta_initializer="random_normal"
    )
    layer.build(shape)
    start = layer.get_weights()
    batches = [random.normal(2, 3, size=shape).astype(np.float32) for _ in range(3)]
    expected = [layer(batch, training=True).numpy() for batch in batches]
    at_inference = layer(batches[0], training=False).numpy()

    with tf.Graph().as_default() as graph:
        x_in, training = v1.placeholder(tf.float32, [None, *shape[1:]]), v1.placeholder(tf.bool, [])
        outputs = tf1.batch_normalization(x_in, momentum=0.8, training=training)
        updates = v1.get_collection(v1.GraphKeys.UPDATE_OPS)
        assert len(updates) == 2 and len(v1.trainable_variables()) == 2
        with v1.Session(graph=graph) as session:
            session.run(v1.global_variables_initializer())
            for variable, value in zip(v1.global_variables(), start, strict=True):
                session.run(variable.initializer, {variable.initial_value: value})
            got = [session.run([outputs, updates], {x_in: batch, training: True})[0] for batch in batches]
            inference, _ = session.run([outputs, updates], {x_in: batches[0], training: False})
            final = session.run(v1.global_variables())
    np.testing.assert_allclose(got, expected, atol=1e-4)
    np.testing.assert_allclose(inference, at_inference, atol=1e-4)
    for value, wanted in zip(final, layer.get_weights(), strict=True):  # updates at inference changed nothing
        np.testing.assert_allclose(value, wanted, rtol=1e-4)


def test_dropout():
    x = np.ones((200, 100), np.float32)
    with tf.Graph().as_default() as graph:
        training = v1.placeholder(tf.bool, [])
        outputs = tf1.dropout(tf.constant(x), 0.4, seed=1, training=training)
        constant = tf1.dropout(tf.constant(x), 0.4)  # training=False as a Python value
        with v1.Session(graph=graph) as session:
            dropped = session.run(outputs, {training: True})
            np.testing.assert_array_equal(session.run(outputs, {training: False}), x)
            np.testing.assert_array_equal(session.run(constant), x)
    np.testing.assert_allclose(np.unique(dropped), [0, 1 / 0.6], rtol=1e-6)
    assert abs(np.mean(dropped == 0) - 0.4) < 0.02
