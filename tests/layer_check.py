"""What every layer must survive, in one call."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf


def layer_check(
    make: Callable[[], keras.layers.Layer],
    *inputs: Any,
    atol: float = 1e-5,
    float16_atol: float = 0.05,
    trains: bool = True,
    loss: Callable[[keras.layers.Layer], Any] | None = None,
) -> keras.layers.Layer:
    """Build, graph = eager, save and reload of the weights, float16 policy, one gradient step.

    Args:
        make: Makes the layer; it is called several times, under different policies.
        *inputs: Call arguments, NumPy arrays or dictionaries of them.
        atol: Between eager and graph mode, and after a reload.
        float16_atol: Between float32 and mixed float16, relative to the largest output.
        trains: Whether the layer has trainable weights that its outputs depend on.
        loss: What the gradient step minimises; without it, the mean square of the outputs.

    Returns:
        A built float32 layer.
    """
    layer = make()
    eager = _flat(layer(*inputs))
    assert layer.built
    assert all(np.isfinite(value).all() for value in eager)
    _compare(_flat(tf.function(lambda *x: layer(*x))(*inputs)), eager, atol)
    _compare(_flat(_reloaded(layer, make, inputs)(*inputs)), eager, atol)
    _check_float16(layer, make, inputs, eager, float16_atol)
    _check_gradient_step(layer, trains, loss or partial(_mean_square, inputs=inputs))
    return layer


@contextmanager
def dtype_policy(name: str):
    """Layers made inside have this policy, the parts of composed layers included."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(name)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def randomize(layer: keras.layers.Layer, seed: int = 0) -> None:
    """Weights that are neither zero nor one; variances stay positive."""
    generator = np.random.default_rng(seed)
    for weight in layer.weights:
        if not str(weight.dtype).startswith("float"):
            continue
        scale = 1 / np.sqrt(max(np.prod(weight.shape[:-1]), 1)) if len(weight.shape) > 1 else 0.2
        value = generator.normal(0, scale, weight.shape).astype("float32")
        weight.assign(1 + np.abs(value) if weight.path.endswith(("variance", "gamma")) else value)


def _reloaded(layer, make, inputs):
    """Another layer with the weights of this one, through a file; its paths must agree."""
    other = make()
    other(*inputs)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "layer.weights.h5"
        _Shell(layer).save_weights(path)
        _Shell(other).load_weights(path)
    return other


class _Shell(keras.Model):
    """A model of one layer, only to save it."""

    def __init__(self, layer):
        super().__init__()
        self.layer = layer
        self.built = True


def _check_float16(layer, make, inputs, want, tolerance):
    with dtype_policy("mixed_float16"):
        half = make()
        half(*inputs)
        for target, source in zip(half.weights, layer.weights):
            assert target.dtype == source.dtype  # variables stay float32
            target.assign(source)
        got = half(*inputs)
    for value in _flat(got):
        assert np.isfinite(value.astype("float32")).all()
    _compare(
        [v.astype("float32") for v in _flat(got)], want, tolerance * max(1, *map(_largest, want))
    )


def _mean_square(layer, inputs):
    outputs = [v for v in tf.nest.flatten(layer(*inputs)) if v.dtype.is_floating]
    return sum(tf.reduce_mean(tf.cast(v, "float32") ** 2) for v in outputs)


def _check_gradient_step(layer, trains, loss):
    with tf.GradientTape() as tape:
        value = loss(layer)
    variables = layer.trainable_variables
    assert bool(variables) == trains
    if not trains:
        return
    gradients = tape.gradient(value, [v.value for v in variables])
    for variable, gradient in zip(variables, gradients):
        assert gradient is not None, variable.path
        assert np.isfinite(gradient).all(), variable.path
    before = [np.array(v) for v in variables]
    keras.optimizers.SGD(0.1).apply(gradients, variables)
    assert any((np.array(v) != b).any() for v, b in zip(variables, before))
    for variable, value in zip(variables, before):
        variable.assign(value)


def _flat(outputs) -> list[np.ndarray]:
    return [np.asarray(value) for value in tf.nest.flatten(outputs)]


def _largest(value: np.ndarray) -> float:
    return float(np.abs(value.astype("float32")).max(initial=0))


def _compare(got, want, atol):
    assert len(got) == len(want)
    for a, b in zip(got, want):
        assert a.shape == b.shape
        np.testing.assert_allclose(a, b, atol=atol, rtol=1e-5)
