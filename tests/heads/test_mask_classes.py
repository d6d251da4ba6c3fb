"""Masks on their own and in competition, against plain NumPy."""

import numpy as np
import pytest
import tensorflow as tf

from kmrcnn.config.schema import MaskConfig
from kmrcnn.heads.mask_classes import CompetingClasses, IndependentClasses, one_against_rest
from kmrcnn.heads.mask_head import FCNMaskHead
from tests.layer_check import randomize

DRAW = np.random.default_rng(0)
LOGITS = DRAW.normal(0, 3, (5, 4, 4, 4)).astype("float32")
CLASSES = np.array([0, 2, 1, 1, 0], "int32")
FEATURES = DRAW.standard_normal((5, 2, 2, 6)).astype("float32")


def softmax(logits):
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


def head(channels):
    layer = FCNMaskHead(MaskConfig(num_convs=0, channels=8), channels)
    layer(FEATURES)
    randomize(layer)
    return layer


def test_one_against_rest_is_the_softmax_as_a_logit():
    got = np.asarray(one_against_rest(LOGITS, CLASSES))
    want = softmax(LOGITS)[np.arange(5), :, :, CLASSES]
    np.testing.assert_allclose(1 / (1 + np.exp(-got)), want, atol=1e-6)


def test_one_against_rest_survives_large_logits():
    logits = np.array([[[[1e4, -1e4, 3e4]]]], "float32")
    assert float(one_against_rest(logits, np.array([0]))[0, 0, 0]) == pytest.approx(-2e4)
    assert float(one_against_rest(logits, np.array([2]))[0, 0, 0]) == pytest.approx(2e4)


def test_gradient_of_one_against_rest_is_finite_and_reaches_all_classes():
    logits = tf.constant(LOGITS)
    with tf.GradientTape() as tape:
        tape.watch(logits)
        total = tf.reduce_sum(one_against_rest(logits, CLASSES))
    gradient = np.asarray(tape.gradient(total, logits))
    assert np.isfinite(gradient).all() and (gradient != 0).all()


def test_independent_classes_answer_with_the_channel_of_the_class():
    classes = IndependentClasses(3, class_agnostic=False)
    layer = head(classes.num_channels)
    every = np.asarray(layer(FEATURES))
    assert every.shape[-1] == 3
    got = classes.logits(layer, FEATURES, CLASSES)
    np.testing.assert_allclose(got, every[np.arange(5), :, :, CLASSES], atol=1e-5)
    assert IndependentClasses(3, class_agnostic=True).num_channels == 1


def test_competing_classes_have_a_background_and_answer_with_the_softmax():
    classes = CompetingClasses(3, class_agnostic=False)
    layer = head(classes.num_channels)
    every = np.asarray(layer(FEATURES))
    assert every.shape[-1] == 4
    got = np.asarray(classes.logits(layer, FEATURES, CLASSES))
    want = softmax(every)[np.arange(5), :, :, CLASSES]
    np.testing.assert_allclose(1 / (1 + np.exp(-got)), want, atol=1e-6)


def test_losses_are_the_two_of_table_2b():
    goals = (DRAW.random((5, 4, 4)) > 0.5).astype("float32")
    valid = np.array([True, True, False, True, True])
    alone, together = IndependentClasses(3, False), CompetingClasses(3, False)
    layer = head(3)
    p = 1 / (1 + np.exp(-np.asarray(layer(FEATURES, CLASSES))))
    binary = -(goals * np.log(p) + (1 - goals) * np.log(1 - p))[valid].mean()
    got = alone.loss(layer, FEATURES, CLASSES, goals, valid, None)
    assert float(got) == pytest.approx(binary, rel=1e-4)
    layer = head(4)
    p = softmax(np.asarray(layer(FEATURES)))
    inside = p[np.arange(5), :, :, CLASSES]
    multinomial = -(goals * np.log(inside) + (1 - goals) * np.log(p[..., 3]))[valid].mean()
    got = together.loss(layer, FEATURES, CLASSES, goals, valid, None)
    assert float(got) == pytest.approx(multinomial, rel=1e-4)


def test_a_class_agnostic_mask_cannot_compete():
    with pytest.raises(ValueError, match="class_agnostic"):
        CompetingClasses(3, class_agnostic=True)
    with pytest.raises(ValueError, match="nothing to compete with"):
        MaskConfig(class_agnostic=True, activation="softmax")
    for settings in ({"activation": "tanh"}, {"head": "unet"}, {"num_fcs": 0}):
        with pytest.raises(ValueError, match=f"MaskConfig.{next(iter(settings))}"):
            MaskConfig(**settings)
