"""Box branch: decoding against torchvision and Detectron2, layers, targets."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from kmrcnn.config.schema import BoxConfig, PoolerConfig
from kmrcnn.heads.box import BoxBranch
from kmrcnn.postprocess.nms import NEVER
from kmrcnn.roi.pooler import RoIPooler
from kmrcnn.targets import box_coder
from kmrcnn.targets.roi_sampler import Samples
from tests.box_cases import detect, reference
from tests.layer_check import layer_check

INFO = {"P2": (6, 4), "P3": (6, 8)}
SMALL = BoxConfig(pooled_size=3, num_fcs=1, fc_channels=16)
VALID = np.array([[True, True, False], [True, False, False]])


def branch(config=SMALL):
    return BoxBranch(config, RoIPooler(PoolerConfig(sampling_ratio=2), 3, INFO, tuple(INFO)), 5)


def inputs():
    draw = np.random.default_rng(0)
    features = {
        f"P{i}": draw.standard_normal((2, 64 >> i, 64 >> i, 6)).astype("float32") for i in (2, 3)
    }
    corners = draw.uniform(0, 30, (2, 3, 2))
    boxes = np.concatenate([corners, corners + draw.uniform(5, 30, (2, 3, 2))], -1)
    return features, boxes.astype("float32"), VALID


@pytest.mark.parametrize("system", ["tv", "d2"])
def test_decode_equals_the_references(cases_dir, system):
    arrays = np.load(cases_dir / "box_postprocess.npz")
    for image, found in enumerate(detect(arrays, system)):
        boxes, scores, classes = reference(arrays, system, image)
        np.testing.assert_array_equal(found["classes"], classes)
        np.testing.assert_allclose(found["scores"], scores, atol=1e-5)
        np.testing.assert_allclose(found["boxes"], boxes, atol=1e-3)


@pytest.mark.parametrize(
    "config",
    [
        SMALL,
        dataclasses.replace(SMALL, num_convs=1, conv_channels=4, norm="group_norm", norm_groups=2),
        dataclasses.replace(SMALL, class_agnostic=True),
    ],
    ids=["fc", "conv_fc", "class_agnostic"],
)
def test_layer(config):
    layer = layer_check(lambda: branch(config), *inputs())
    outputs = layer(*inputs())
    assert outputs["class_logits"].shape == (2, 3, 6)
    assert outputs["box_deltas"].shape == (2, 3, 1 if config.class_agnostic else 5, 4)
    for value in outputs.values():
        assert (np.asarray(value)[~VALID] == 0).all()
        assert (np.abs(np.asarray(value)[VALID]).sum(axis=-1) > 0).all()


def test_no_proposals():
    features, boxes, valid = inputs()
    layer, nothing = branch(), np.zeros_like(valid)
    outputs = layer(features, boxes, nothing)
    sizes = np.array([[64, 64]] * 2, "int32")
    found = layer.decode(outputs, {"boxes": boxes, "valid": nothing}, sizes)
    assert not np.asarray(found["valid"]).any()
    for name, spec in layer.decoded_spec(2).items():
        assert (
            tuple(found[name].shape) == tuple(spec.shape) and found[name].dtype.name == spec.dtype
        )


def logits_of(classes):
    """Confident (1, R, 6) for the given classes; 5 is the background."""
    return np.eye(6, dtype="float32")[None, classes] * 9


@pytest.mark.parametrize("class_agnostic", [False, True])
def test_thresholds_hold(class_agnostic):
    layer = branch(dataclasses.replace(SMALL, class_agnostic=class_agnostic, min_size=2))
    boxes = np.array(
        [[[5, 5, 30, 30], [6, 5, 30, 30], [5, 5, 30, 31], [40, 40, 41, 60], [5, 40, 20, 99]]],
        "float32",
    )
    outputs = {
        "class_logits": logits_of([1, 1, 2, 3, 4])
        * np.array([1, 0.9, 1, 1, 1], "float32")[:, None],
        "box_deltas": np.zeros((1, 5, 1 if class_agnostic else 5, 4), "float32"),
    }
    proposals = {"boxes": boxes, "valid": np.ones((1, 5), bool)}
    found = layer.decode(outputs, proposals, np.array([[64, 64]], "int32"))
    valid = np.asarray(found["valid"])[0]
    got = {
        int(c): b.tolist()
        for c, b in zip(found["classes"][0][valid], np.asarray(found["boxes"])[0][valid])
    }
    # the second box is suppressed, the fourth too thin, the fifth clipped
    assert got == {1: [5, 5, 30, 30], 2: [5, 5, 30, 31], 4: [5, 40, 20, 64]} and valid.sum() == 3


def test_scores_that_are_not_finite_never_show():
    layer = branch()
    logits = logits_of([1, 2])
    logits[0, 0] = np.nan
    outputs = {"class_logits": logits, "box_deltas": np.zeros((1, 2, 5, 4), "float32")}
    proposals = {
        "boxes": np.array([[[0, 0, 9, 9], [20, 20, 40, 40]]], "float32"),
        "valid": np.ones((1, 2), bool),
    }
    sizes = np.array([[64, 64]], "int32")
    assert (np.asarray(layer.score_boxes(outputs, proposals, sizes)[1])[0, 0] == NEVER).all()
    found = layer.decode(outputs, proposals, sizes)
    assert np.asarray(found["classes"])[0][np.asarray(found["valid"])[0]].tolist() == [2]


def test_targets_lead_to_the_ground_truth():
    _, boxes, _ = inputs()
    gt = np.array([[[3, 3, 30, 40], [1, 2, 20, 20]], [[0, 0, 0, 0]] * 2], "float32")
    foreground = np.array([[True, True, False], [False] * 3])
    index = np.array([[1, 0, 0], [0, 0, 0]], "int32")
    samples = Samples(boxes, None, index, foreground, VALID)
    goals = np.asarray(branch().make_targets(samples, {"boxes": gt}))
    assert (goals[~foreground] == 0).all()
    decoded = box_coder.decode(goals[0, :2], boxes[0, :2], SMALL.box_coder_weights)
    np.testing.assert_allclose(decoded, gt[0, [1, 0]], atol=1e-4)


def test_losses_reach_the_features():
    features, boxes, valid = inputs()
    layer = branch()
    maps = tf.nest.map_structure(tf.constant, features)
    classes, gt_index = np.array([[1, 5, 5], [2, 5, 5]]), np.zeros((2, 3), "int32")
    samples = Samples(boxes, classes, gt_index, classes < 5, valid)
    goals = layer.make_targets(samples, {"boxes": boxes[:, :1] + 3})
    with tf.GradientTape() as tape:
        tape.watch(maps)
        losses = layer.compute_losses(layer(maps, boxes, valid), goals, samples)
        total = losses["loss_cls"] + losses["loss_box"]
    assert set(losses) == {"loss_cls", "loss_box"}
    assert np.abs(tape.gradient(total, maps["P2"])).max() > 0
