"""Mask branch: the wanted class only, unused slots, losses."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from kmrcnn.config.schema import MaskConfig, PoolerConfig
from kmrcnn.heads.mask import MaskBranch
from kmrcnn.heads.mask_classes import CompetingClasses, IndependentClasses
from kmrcnn.heads.mask_head import FCNMaskHead, MLPMaskHead
from kmrcnn.roi.packing import pack, pack_values
from kmrcnn.roi.pooler import RoIPooler
from kmrcnn.targets.roi_sampler import Samples
from tests.layer_check import layer_check, randomize

INFO = {"P2": (6, 4), "P3": (6, 8)}
SMALL = MaskConfig(pooled_size=4, num_convs=1, channels=8)
CLASSES = np.array([[4, 0, 2], [1, 3, 0]], "int32")
VALID = np.array([[True, True, False], [True, False, False]])


def branch(**changes):
    config = dataclasses.replace(SMALL, **changes)
    kind = {"sigmoid": IndependentClasses, "softmax": CompetingClasses}[config.activation]
    classes = kind(5, config.class_agnostic)
    head = {"fcn": FCNMaskHead, "mlp": MLPMaskHead}[config.head](
        config, classes.num_channels, name="head"
    )
    pooler = RoIPooler(PoolerConfig(sampling_ratio=2), 4, INFO, tuple(INFO))
    return MaskBranch(config, pooler, head, classes)


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


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"num_convs": 0},
        {"norm": "group_norm", "norm_groups": 2},
        {"class_agnostic": True},
        {"activation": "softmax"},
        {"head": "mlp", "num_fcs": 2, "fc_channels": 16},
        {"head": "mlp", "num_fcs": 3, "fc_channels": 16, "activation": "softmax"},
    ],
    ids=["plain", "no_convs", "group_norm", "class_agnostic", "softmax", "mlp", "mlp_softmax"],
)
def test_layer(changes):
    features, boxes = inputs()
    layer = layer_check(lambda: branch(**changes), features, boxes, CLASSES, VALID)
    logits = np.asarray(layer(features, boxes, CLASSES, VALID))
    assert logits.shape == (2, 3, 8, 8)
    assert (logits[~VALID] == 0).all() and (np.abs(logits[VALID]).max(axis=(1, 2)) > 0).all()


def test_one_class_equals_a_channel_of_all_classes():
    layer, (features, boxes) = randomized(), inputs()
    packed = pack(boxes, VALID)
    classes = np.asarray(pack_values(CLASSES, packed))
    every = np.asarray(layer.predict_packed(features, packed))
    assert every.shape == (3, 8, 8, 5)
    one = np.asarray(layer.predict_packed(features, packed, classes))
    np.testing.assert_allclose(one, every[np.arange(3), :, :, classes], atol=1e-5)
    assert np.abs(every[..., 0] - every[..., 1]).max() > 0.1


def test_class_agnostic_masks_ignore_the_class():
    layer, (features, boxes) = randomized(class_agnostic=True), inputs()
    assert layer.head.logits.kernel.shape[-1] == 1
    first = layer(features, boxes, CLASSES, VALID)
    np.testing.assert_array_equal(first, layer(features, boxes, CLASSES * 0, VALID))


def test_predictor_after_the_deconvolution_gives_the_same():
    """The usual order: deconvolution in place, relu, 1x1 convolution."""
    layer, (features, boxes) = randomized(), inputs()
    packed = pack(boxes, VALID)
    x = layer.pooler(features, packed.boxes, packed.batch_indices)
    for conv in layer.head.convs:
        x = conv(x)
    want = layer.head.logits(tf.nn.relu(layer.head.deconv(x)))
    np.testing.assert_allclose(layer.predict_packed(features, packed), want, atol=1e-5)


def test_decode_gives_probabilities_and_zero_in_unused_slots():
    logits = np.random.default_rng(0).normal(0, 3, (2, 3, 8, 8)).astype("float32")
    layer = branch()
    masks = layer.decode(logits, {"valid": VALID})["masks"]
    np.testing.assert_allclose(
        np.asarray(masks)[VALID], 1 / (1 + np.exp(-logits[VALID])), atol=1e-6
    )
    assert (np.asarray(masks)[~VALID] == 0).all()
    assert tuple(masks.shape) == tuple(layer.decoded_spec(2, 3)["masks"].shape)


def samples_and_targets(foreground):
    _, boxes = inputs()
    masks = np.zeros((2, 1, 64, 64), "uint8")
    masks[:, :, 10:30, 5:40] = 1
    classes = np.where(foreground, CLASSES, 5).astype("int32")
    return Samples(boxes, classes, np.zeros((2, 3), "int32"), foreground, np.ones((2, 3), bool)), {
        "masks": masks,
        "mask_windows": np.full((2, 1, 4), [0, 0, 64, 64], "float32"),
    }


VARIANTS = [{}, {"activation": "softmax"}, {"head": "mlp", "fc_channels": 16}]


@pytest.mark.parametrize("changes", [{"target": "soft"}, *VARIANTS])
def test_loss_reaches_the_features_through_the_foreground_only(changes):
    layer, (features, _) = randomized(**changes), inputs()
    maps = tf.nest.map_structure(tf.constant, features)
    foreground = np.array([[True, False, False], [False] * 3])
    with tf.GradientTape() as tape:
        tape.watch(maps)
        loss = layer.compute_losses(maps, *samples_and_targets(foreground))["loss_mask"]
    gradients = [np.asarray(g) for g in tf.nest.flatten(tape.gradient(loss, maps))]
    assert float(loss) > 0 and max(np.abs(g[0]).max() for g in gradients) > 0
    assert all((g[1] == 0).all() for g in gradients)  # no foreground in the second image


@pytest.mark.parametrize("changes", VARIANTS)
def test_empty_set(changes):
    layer, (features, boxes) = randomized(**changes), inputs()
    nothing = np.zeros_like(VALID)
    assert not np.asarray(layer(features, boxes, CLASSES, nothing)).any()
    with tf.GradientTape() as tape:
        loss = layer.compute_losses(features, *samples_and_targets(nothing))["loss_mask"]
    assert float(loss) == 0
    gradients = tape.gradient(loss, [v.value for v in layer.trainable_variables])
    assert all(g is None or not np.asarray(g).any() for g in gradients)
