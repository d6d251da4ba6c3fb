"""What is folded, split and reordered, layer by layer, against the layers' own arithmetic; whole
models are in tests/models/test_matterport.py.
"""

import numpy as np
import pytest

from kmrcnn.config.loader import load_preset
from kmrcnn.weights.matterport import to_our_names
from kmrcnn.weights.matterport_config import matterport_config
from kmrcnn.weights.name_map import convert
from kmrcnn.weights.sources import SOURCES, find_source
from tests.weights.matterport_file import DEPTHS, random_layers

CLASSES = 4  # with the background


def tensors_of(layers):
    return {f"{name}/{word}": a for name, words in layers.items() for word, a in words.items()}


@pytest.fixture(scope="module")
def layers():
    return random_layers(CLASSES, blocks=(1, 2, 1, 1))


@pytest.fixture(scope="module")
def ours(layers):
    return to_our_names(tensors_of(layers))


def batch_norm(x, norm):
    return (x - norm["moving_mean"]) / np.sqrt(norm["moving_variance"] + 1e-3) * norm[
        "gamma"
    ] + norm["beta"]


@pytest.mark.parametrize("depth", DEPTHS)
def test_every_weight_of_both_depths_finds_its_place(depth, expected_shapes):
    tensors = tensors_of(random_layers(81, DEPTHS[depth]))
    source = find_source(tensors)
    assert source is SOURCES["matterport"]
    config = matterport_config(load_preset("matterport_coco").model, tensors)
    assert config.backbone.name == depth and config.num_classes == 80
    assert config.class_names[0] == "person"
    expected = expected_shapes(config)
    converted = convert(source.prepare(tensors), expected, config, source)
    assert {name: a.shape for name, a in converted.arrays.items()} == expected
    assert not converted.ignored and not converted.filled


@pytest.mark.parametrize(
    "conv, norm, name",
    [
        ("conv1", "bn_conv1", "backbone/stem"),
        ("res3b_branch2c", "bn3b_branch2c", "backbone/res3_1/conv3"),
        ("res4a_branch1", "bn4a_branch1", "backbone/res4_0/shortcut"),
    ],
)
def test_biases_before_a_norm_move_its_mean(layers, ours, conv, norm, name):
    np.testing.assert_array_equal(ours[f"{name}/kernel"], layers[conv]["kernel"])
    assert f"{name}/bias" not in ours
    x = np.linspace(-2, 2, layers[conv]["bias"].size)  # what the convolution gives without bias
    folded = {word: ours[f"{name}/norm/{word}"] for word in layers[norm]}
    want = batch_norm(x + layers[conv]["bias"], layers[norm])
    np.testing.assert_allclose(batch_norm(x, folded), want, atol=1e-5)


def test_box_layers_take_up_their_norms(layers, ours):
    rng = np.random.default_rng(0)
    roi = rng.normal(size=(7, 7, 8))
    conv = layers["mrcnn_class_conv1"]
    x = np.einsum("hwc,hwco->o", roi, conv["kernel"]) + conv["bias"]
    want = batch_norm(x, layers["mrcnn_class_bn1"])
    got = roi.reshape(-1) @ ours["roi_heads/box/fc1/kernel"] + ours["roi_heads/box/fc1/bias"]
    np.testing.assert_allclose(got, want, atol=1e-4)


def test_mask_convolutions_take_up_their_norms(layers, ours):
    pixel = np.random.default_rng(0).normal(size=8)
    conv = layers["mrcnn_mask_conv3"]
    want = batch_norm(pixel @ conv["kernel"][1, 2] + conv["bias"], layers["mrcnn_mask_bn3"])
    name = "roi_heads/mask/conv3"
    got = pixel @ ours[f"{name}/kernel"][1, 2] + ours[f"{name}/bias"]
    np.testing.assert_allclose(got, want, atol=1e-5)


def test_rpn_logit_is_the_difference_of_two(layers, ours):
    x = np.random.default_rng(0).normal(size=6)
    raw = layers["rpn_class_raw"]
    pairs = (x @ raw["kernel"][0, 0] + raw["bias"]).reshape(3, 2)
    softmax = np.exp(pairs) / np.exp(pairs).sum(1, keepdims=True)
    got = x @ ours["rpn/objectness/kernel"][0, 0] + ours["rpn/objectness/bias"]
    np.testing.assert_allclose(1 / (1 + np.exp(-got)), softmax[:, 1], atol=1e-6)


def test_boxes_come_in_x_and_y_without_the_background():
    layers = random_layers(3, blocks=(1, 1, 1, 1))
    layers["mrcnn_bbox_fc"]["bias"] = np.arange(12, dtype="float32")
    layers["rpn_bbox_pred"]["bias"] = np.arange(12, dtype="float32")
    layers["mrcnn_class_logits"]["bias"] = np.float32([9, 1, 2])
    layers["mrcnn_mask"]["bias"] = np.float32([9, 1, 2])
    ours = to_our_names(tensors_of(layers))
    assert ours["roi_heads/box/box_deltas/bias"].tolist() == [5, 4, 7, 6, 9, 8, 11, 10]
    assert ours["rpn/deltas/bias"].tolist() == [1, 0, 3, 2, 5, 4, 7, 6, 9, 8, 11, 10]
    assert ours["roi_heads/box/class_logits/bias"].tolist() == [1, 2, 9]
    assert ours["roi_heads/mask/logits/bias"].tolist() == [1, 2]


def test_missing_and_unknown_layers_are_named(layers, expected_shapes):
    tensors = tensors_of(layers)
    config = matterport_config(load_preset("matterport_coco").model, tensors)
    del tensors["mrcnn_mask_bn2/gamma"]
    tensors["my_extra/kernel"] = np.zeros((2, 2), "float32")
    source = SOURCES["matterport"]
    with pytest.raises(ValueError) as caught:
        convert(source.prepare(tensors), expected_shapes(config), config, source)
    message = str(caught.value)
    assert "roi_heads/mask/conv2/kernel" in message and "my_extra/kernel" in message
