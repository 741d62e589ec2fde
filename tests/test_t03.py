"""utils.tf1: the variable registry and the functions of tf.layers, against TF 1.x graphs and Keras."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from utils import tf1
from utils.tf1 import VariableStore

v1 = tf.compat.v1


def build(api):
    """Nested scopes and one variable made twice; `api` is tf.compat.v1 or a store."""
    with api.variable_scope("net", reuse=v1.AUTO_REUSE):
        with api.variable_scope("a"):
            first = api.get_variable("w", [2, 3])
        with api.variable_scope("a"):
            again = api.get_variable("w", [2, 3])
        api.get_variable("b", [3], initializer=v1.zeros_initializer(), trainable=False)
    return first, again


def test_store_gives_the_names_of_a_tf1_graph():
    with tf.Graph().as_default():
        first, again = build(v1)
        names = [variable.op.name for variable in v1.global_variables()]
        trainable = [variable.op.name for variable in v1.trainable_variables()]
    assert first is again
    store = VariableStore()
    first, again = build(store)
    assert first is again
    assert list(store.by_name) == names == ["net/a/w", "net/b"]
    assert [name for name, variable in store.by_name.items() if variable.trainable] == trainable
    assert len(store.variables) == 2 and len(store.trainable_variables) == 1


def test_reuse_modes_of_the_store():
    store = VariableStore()
    with store.variable_scope("s"):
        store.get_variable("w", [2])
    with pytest.raises(ValueError, match="s/w exists already"), store.variable_scope("s", reuse=False):
        store.get_variable("w", [2])
    with pytest.raises(ValueError, match="s/new does not exist"), store.variable_scope("s", reuse=True):
        store.get_variable("new", [2])
    with pytest.raises(ValueError, match=r"shape \[2\], asked for \[3\]"), store.variable_scope("s"):
        store.get_variable("w", [3])
    with pytest.raises(ValueError, match="give a shape"):
        store.get_variable("w")
    # reuse=True holds inside, whatever the inner scope says; and errors above must not leave a prefix behind
    with (
        store.variable_scope("s", reuse=True),
        store.variable_scope("t", reuse=False),
        pytest.raises(ValueError, match="s/t/w does not exist"),
    ):
        store.get_variable("w", [2])
    assert store.get_variable("w", [2]) is store.by_name["w"]
    assert list(store.by_name) == ["s/w", "w"]


def test_store_inside_tf_function_shares_between_traces():
    store = VariableStore()

    @tf.function
    def scaled(x):
        return x * store.get_variable("scale", [], initializer=v1.ones_initializer())

    scaled(tf.constant(2.0))
    store.by_name["scale"].assign(3.0)
    assert scaled(tf.constant(2.0)) == 6.0
    np.testing.assert_array_equal(scaled(tf.constant([1.0, 2.0])), [3.0, 6.0])  # a second trace
    assert scaled.experimental_get_tracing_count() >= 2 and len(store.variables) == 1


def test_regularization_losses_follow_the_values():
    store = VariableStore()
    store.get_variable("w", initializer=np.ones((2, 2), np.float32), regularizer=keras.regularizers.L2(0.5))
    store.get_variable("free", [3])
    assert [float(loss) for loss in store.regularization_losses()] == [2.0]
    store.by_name["w"].assign(2 * tf.ones([2, 2]))
    assert [float(loss) for loss in store.regularization_losses()] == [8.0]


def test_restore_by_name_is_whole_or_not_at_all(tmp_path):
    with tf.Graph().as_default() as graph, v1.Session(graph=graph) as session:
        with v1.variable_scope("net"):
            v1.get_variable("w", initializer=np.arange(6, dtype=np.float32).reshape(2, 3))
            v1.get_variable("b", initializer=np.float32([7, 8, 9]))
        session.run(v1.global_variables_initializer())
        path = v1.train.Saver().save(session, str(tmp_path / "old model"))
    store = VariableStore()
    with store.variable_scope("net"):
        w = store.get_variable("w", [2, 3])
        b = store.get_variable("b", [3])
    store.restore(path)
    np.testing.assert_array_equal(w, np.arange(6).reshape(2, 3))
    np.testing.assert_array_equal(b, [7, 8, 9])

    wrong_shape = VariableStore()
    with wrong_shape.variable_scope("net"):
        w = wrong_shape.get_variable("w", initializer=np.zeros((2, 3), np.float32))
        wrong_shape.get_variable("b", [4])
    with pytest.raises(ValueError, match=r"net/b is \[3\]"):
        wrong_shape.restore(path)
    assert not np.any(w)
    store.get_variable("unknown", [1])
    with pytest.raises(ValueError, match=r"has no unknown\. It has: .*net/w"):
        store.restore(path)


def test_store_goes_into_a_checkpoint(tmp_path):
    def make(value):
        store = VariableStore()
        with store.variable_scope("net"):
            store.get_variable("w", [2], initializer=v1.constant_initializer(value),
                               regularizer=keras.regularizers.L2(0.1))  # fmt: skip
        return store

    path = tf.train.Checkpoint(make(5.0)).save(str(tmp_path / "ckpt"))
    fresh = make(0.0)
    tf.train.Checkpoint(fresh).restore(path).assert_consumed()
    np.testing.assert_array_equal(fresh.by_name["net/w"], [5.0, 5.0])


def test_graph_keys_are_all_there():
    keys = {key for key in dir(v1.GraphKeys) if key.isupper() and not key.startswith("_")}
    assert set(tf1.GRAPH_KEYS) == keys
