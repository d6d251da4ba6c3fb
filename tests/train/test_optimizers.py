"""Optimizers: PyTorch's SGD, which weights decay, Keras's own arguments."""

import keras
import numpy as np
import pytest

from kmrcnn.config.train_schema import OptimizerConfig
from kmrcnn.train.optimizers import make_optimizer
from kmrcnn.train.schedules import WarmUpMultiStep
from kmrcnn.train.sgd import MomentumSGD
from tests.tiny import tiny_config, tiny_model


def step(optimizer, variable, gradients):
    values = []
    for gradient in gradients:
        optimizer.apply([keras.ops.convert_to_tensor(gradient)], [variable])
        values.append(np.asarray(variable.value))
    return values


def pytorch_sgd(weight, gradients, rates, momentum, decay):
    """torch.optim.SGD's documented update."""
    velocity, values = np.zeros_like(weight), []
    for gradient, rate in zip(gradients, rates):
        velocity = momentum * velocity + gradient + decay * weight
        weight = weight - rate * velocity
        values.append(weight)
    return values


def test_momentum_sgd_is_pytorchs_under_a_changing_rate():
    start = np.array([1.0, -2.0, 0.5], np.float32)
    gradients = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)
    schedule = WarmUpMultiStep(0.1, (3,), 0.1, warmup_updates=2, warmup_factor=0.0)
    variable = keras.Variable(start, name="kernel")
    got = step(MomentumSGD(schedule, momentum=0.9, l2=0.01), variable, gradients)
    want = pytorch_sgd(start, gradients, [0.0, 0.05, 0.1, 0.01, 0.01], 0.9, 0.01)
    np.testing.assert_allclose(got, want, atol=1e-6)


def test_momentum_sgd_survives_saving():
    optimizer = MomentumSGD(0.1, momentum=0.8, l2=0.3, global_clipnorm=2.0)
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(optimizer))
    assert (again.momentum, again.l2, again.global_clipnorm) == (0.8, 0.3, 2.0)


def decayed(config: OptimizerConfig) -> set[str]:
    """Names of the weights that move although all gradients are zero."""
    names = ("conv/kernel", "conv/bias", "norm/gamma", "norm/beta")
    variables = [keras.Variable(np.ones(2, np.float32), name=name.split("/")[1]) for name in names]
    optimizer = make_optimizer(config, 0.1, variables)
    optimizer.apply([keras.ops.zeros(2)] * 4, variables)
    return {name for name, v in zip(names, variables) if np.asarray(v.value)[0] != 1.0}


@pytest.mark.parametrize("name", ["sgd", "adamw"])
@pytest.mark.parametrize(
    "norms,biases,expected",
    [
        (False, False, {"conv/kernel"}),
        (False, True, {"conv/kernel", "conv/bias"}),
        (True, True, {"conv/kernel", "conv/bias", "norm/gamma", "norm/beta"}),
    ],
)
def test_only_the_wanted_weights_decay(name, norms, biases, expected):
    config = OptimizerConfig(name, weight_decay=0.1, decay_norms=norms, decay_biases=biases)
    assert decayed(config) == expected


def test_the_names_cover_every_weight_of_a_model():
    """A model's trainable weights are kernels, biases, and a norm's gamma and beta."""
    backbone = tiny_config().backbone
    import dataclasses

    model = tiny_model(backbone=dataclasses.replace(backbone, norm="batch_norm"))
    names = {weight.name for weight in model.trainable_weights}
    assert names == {"kernel", "bias", "gamma", "beta"}


@pytest.mark.parametrize(
    "setting,gradient,moved",
    [
        ({"global_clipnorm": 1.0}, (3.0, 4.0), (0.6, 0.8)),
        ({"clipnorm": 2.5}, (3.0, 4.0), (1.5, 2.0)),
        ({"clipvalue": 3.5}, (3.0, 4.0), (3.0, 3.5)),
        ({}, (3.0, 4.0), (3.0, 4.0)),
    ],
)
def test_clipping(setting, gradient, moved):
    config = OptimizerConfig(momentum=0.0, weight_decay=0.0, **setting)
    variable = keras.Variable(np.zeros(2, np.float32), name="kernel")
    optimizer = make_optimizer(config, 1.0, [variable])
    (value,) = step(optimizer, variable, [np.array(gradient, np.float32)])
    np.testing.assert_allclose(value, -np.array(moved), rtol=1e-5)


def test_accumulation_averages_the_gradients_of_one_update():
    config = OptimizerConfig(momentum=0.0, weight_decay=0.0, accumulation=2)
    variable = keras.Variable(np.zeros(1, np.float32), name="kernel")
    optimizer = make_optimizer(config, 1.0, [variable])
    values = step(optimizer, variable, np.array([[1.0], [3.0], [5.0]], np.float32))
    np.testing.assert_allclose(values, [[0.0], [-2.0], [-2.0]])


def test_the_moving_average_replaces_the_weights_in_the_end():
    config = OptimizerConfig(momentum=0.0, weight_decay=0.0, ema_momentum=0.5)
    variable = keras.Variable(np.zeros(1, np.float32), name="kernel")
    optimizer = make_optimizer(config, 1.0, [variable])
    values = step(optimizer, variable, np.array([[-1.0], [-1.0]], np.float32))
    np.testing.assert_allclose(values, [[1.0], [2.0]])
    optimizer.finalize_variable_values([variable])
    np.testing.assert_allclose(variable.value, [1.5])  # Keras's average starts at the first value


def test_two_ways_to_clip_are_refused():
    with pytest.raises(ValueError, match="Only one of"):
        OptimizerConfig(clipnorm=1.0, clipvalue=1.0)
