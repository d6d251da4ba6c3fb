"""Keypoint branch: shapes, unused slots, decoding, mirrored views, losses."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from kmrcnn.config.schema import KeypointConfig, PoolerConfig
from kmrcnn.heads.keypoint import KeypointBranch
from kmrcnn.postprocess.keypoints import double_heatmaps, heatmaps_to_keypoints
from kmrcnn.roi.pooler import RoIPooler
from kmrcnn.targets.roi_sampler import Samples
from tests.layer_check import layer_check, randomize

INFO = {"P2": (6, 4), "P3": (6, 8)}
JOINTS = 3
SMALL = KeypointConfig(
    num_keypoints=JOINTS, flip_pairs=((0, 2),), pooled_size=4, num_convs=2, channels=8
)
CLASSES = np.zeros((2, 3), "int32")
VALID = np.array([[True, True, False], [True, False, False]])


def branch(**changes):
    config = dataclasses.replace(SMALL, **changes)
    pooler = RoIPooler(PoolerConfig(sampling_ratio=2), 4, INFO, tuple(INFO))
    return KeypointBranch(config, pooler, foreground_samples=5.0)


def inputs():
    draw = np.random.default_rng(0)
    features = {
        f"P{i}": draw.standard_normal((2, 64 >> i, 64 >> i, 6)).astype("float32") for i in (2, 3)
    }
    corners = draw.uniform(0, 30, (2, 3, 2))
    boxes = np.concatenate([corners, corners + draw.uniform(5, 30, (2, 3, 2))], -1)
    return features, boxes.astype("float32")


def randomized(**changes):
    layer, (features, boxes) = branch(**changes), inputs()
    layer(features, boxes, CLASSES, VALID)
    randomize(layer)
    return layer


def test_layer():
    features, boxes = inputs()
    layer = layer_check(branch, features, boxes, CLASSES, VALID)
    logits = np.asarray(layer(features, boxes, CLASSES, VALID))
    assert logits.shape == (2, 3, 8, 8, JOINTS)
    assert (logits[~VALID] == 0).all()
    assert (np.abs(logits[VALID]).max(axis=(1, 2)) > 0).all()


@pytest.mark.parametrize("score", ["probability", "logit"])
def test_decoded_points_are_those_of_the_heatmaps(score):
    _, boxes = inputs()
    layer = branch(score=score)
    logits = np.random.default_rng(0).normal(0, 3, (2, 3, 8, 8, JOINTS)).astype("float32")
    found = layer.decode(logits, {"boxes": boxes, "valid": VALID})
    points = np.asarray(found["keypoints"])
    want = heatmaps_to_keypoints(double_heatmaps(logits[VALID]), boxes[VALID], score)
    np.testing.assert_allclose(points[VALID], want, atol=1e-4)
    assert not points[~VALID].any()
    for name, spec in layer.decoded_spec(2, 3).items():
        assert tuple(found[name].shape) == tuple(spec.shape)


@pytest.mark.parametrize(
    "changes", [{}, {"flip_pairs": (), "names": ("left_hand", "nose", "right_hand")}]
)
def test_mirrored_views_are_turned_back_before_they_are_averaged(changes):
    upright = np.random.default_rng(0).normal(0, 1, (1, 2, 8, 8, JOINTS)).astype("float32")
    mirrored = upright[:, :, :, ::-1, [2, 1, 0]]
    average = branch(**changes).average([upright, mirrored], [False, True])
    np.testing.assert_allclose(average, upright, atol=1e-6)
    half = branch().average([upright, 0 * upright], [False, False])
    np.testing.assert_allclose(half, upright / 2, atol=1e-6)


def samples_and_targets(foreground, visibility=2.0):
    _, boxes = inputs()
    keypoints = np.zeros((2, 1, JOINTS, 3), "float32")
    keypoints[..., :2] = (boxes[:, :1, None, :2] + boxes[:, :1, None, 2:]) / 2
    keypoints[..., 2] = visibility
    classes = np.where(foreground, 0, 1).astype("int32")
    samples = Samples(boxes, classes, np.zeros((2, 3), "int32"), foreground, np.ones((2, 3), bool))
    return samples, {"keypoints": keypoints}


FIRST = np.array([[True, False, False], [False] * 3])


def test_loss_reaches_the_features_through_the_foreground_only():
    layer, (features, _) = randomized(), inputs()
    maps = tf.nest.map_structure(tf.constant, features)
    with tf.GradientTape() as tape:
        tape.watch(maps)
        loss = layer.compute_losses(maps, *samples_and_targets(FIRST))["loss_keypoint"]
    gradients = [np.asarray(g) for g in tf.nest.flatten(tape.gradient(loss, maps))]
    assert float(loss) > 0 and max(np.abs(g[0]).max() for g in gradients) > 0
    assert all((g[1] == 0).all() for g in gradients)  # no foreground in the second image


def test_configured_divisor_counts_all_keypoints_that_could_be():
    features, _ = inputs()
    mean, configured = randomized(), randomized(loss_divisor="configured")
    for weight, other in zip(configured.weights, mean.weights):
        weight.assign(other)
    losses = [
        float(layer.compute_losses(features, *samples_and_targets(FIRST))["loss_keypoint"])
        for layer in (mean, configured)
    ]
    # 3 visible keypoints; 2 images of 5 foreground RoIs of 3 keypoints
    assert losses[1] == pytest.approx(losses[0] * 3 / 30, rel=1e-5)


@pytest.mark.parametrize(
    "case", [samples_and_targets(np.zeros_like(VALID)), samples_and_targets(FIRST, visibility=0.0)]
)
def test_nothing_to_learn_gives_no_loss_and_no_gradient(case):
    layer, (features, boxes) = randomized(), inputs()
    assert not np.asarray(layer(features, boxes, CLASSES, np.zeros_like(VALID))).any()
    with tf.GradientTape() as tape:
        loss = layer.compute_losses(features, *case)["loss_keypoint"]
    assert float(loss) == 0
    gradients = tape.gradient(loss, [v.value for v in layer.trainable_variables])
    assert all(g is None or not np.asarray(g).any() for g in gradients)
