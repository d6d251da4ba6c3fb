import keras
import numpy as np
import pytest

from kmrcnn.layers.frozen_batch_norm import FrozenBatchNorm
from tests.layer_check import layer_check, randomize

X = np.random.default_rng(0).normal(3, 2, (2, 5, 6, 4)).astype("float32")


def test_layer():
    layer = layer_check(lambda: FrozenBatchNorm(1e-3), X, trains=False)
    assert [w.path.split("/")[-1] for w in layer.weights] == [
        "gamma",
        "beta",
        "moving_mean",
        "moving_variance",
    ]


def test_value_by_hand():
    layer = FrozenBatchNorm(0.0)
    layer.build((None, 1))
    for name, value in (
        ("gamma", 3.0),
        ("beta", 1.0),
        ("moving_mean", 5.0),
        ("moving_variance", 4.0),
    ):
        getattr(layer, name).assign([value])
    np.testing.assert_allclose(layer(np.array([[9.0], [5.0]], "float32")), [[7.0], [1.0]])


@pytest.mark.parametrize("epsilon", [0.0, 1e-5, 1e-3])
def test_equals_keras_batch_norm_in_inference(epsilon):
    frozen, batch = FrozenBatchNorm(epsilon), keras.layers.BatchNormalization(epsilon=epsilon)
    frozen(X), batch(X)
    randomize(frozen)
    batch.set_weights(frozen.get_weights())
    np.testing.assert_allclose(frozen(X), batch(X, training=False), atol=1e-5)


def test_training_changes_nothing():
    layer = FrozenBatchNorm()
    layer.trainable = True
    layer(X)
    randomize(layer)
    before = layer.get_weights()
    for _ in range(2):
        layer(X, training=True) if "training" in layer.call.__code__.co_varnames else layer(X)
    assert not layer.trainable_variables
    for a, b in zip(layer.get_weights(), before):
        np.testing.assert_array_equal(a, b)


def test_config_round_trip():
    layer = FrozenBatchNorm(0.25, name="norm")
    again = FrozenBatchNorm.from_config(layer.get_config())
    assert (again.epsilon, again.name) == (0.25, "norm")


def test_gradient_passes_to_the_input():
    import tensorflow as tf

    layer = FrozenBatchNorm()
    layer(X)
    randomize(layer)
    x = tf.constant(X)
    with tf.GradientTape() as tape:
        tape.watch(x)
        total = tf.reduce_sum(layer(x))
    scale, _ = layer.scale_and_shift()
    np.testing.assert_allclose(tape.gradient(total, x), np.broadcast_to(scale, X.shape), rtol=1e-6)


def test_empty_batch():
    assert FrozenBatchNorm()(X[:0]).shape == (0, 5, 6, 4)
