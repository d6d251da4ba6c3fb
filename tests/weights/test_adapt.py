import dataclasses

import numpy as np
import pytest

from kmrcnn.config.schema import (
    BackboneConfig,
    BoxConfig,
    MaskConfig,
    ModelConfig,
    PoolerConfig,
)
from kmrcnn.weights.adapt import (
    ClassAxis,
    adapt_statistics,
    adapt_stem,
    class_axis,
    shared_classes,
    transfer_classes,
    with_classes,
)


def test_class_axis_of_each_layer():
    config = ModelConfig()
    assert class_axis("roi_heads/box/class_logits/bias", config).size(5) == 6
    assert class_axis("roi_heads/box/box_deltas/kernel", config).size(5) == 20
    assert class_axis("roi_heads/mask/logits/bias", config).size(5) == 5
    assert class_axis("roi_heads/box/fc1/kernel", config) is None
    agnostic = ModelConfig(box=BoxConfig(class_agnostic=True), mask=MaskConfig(class_agnostic=True))
    assert class_axis("roi_heads/box/box_deltas/kernel", agnostic) is None
    assert class_axis("roi_heads/mask/logits/bias", agnostic) is None
    softmax = ModelConfig(mask=MaskConfig(activation="softmax"))
    assert class_axis("roi_heads/mask/logits/bias", softmax) == ClassAxis(1, background=True)
    mlp = ModelConfig(mask=MaskConfig(head="mlp", pooled_size=7))
    assert class_axis("roi_heads/mask/logits/bias", mlp) == ClassAxis(196, background=False)
    c4 = BackboneConfig(last_stage=4)
    halved = dataclasses.replace(mlp, backbone=c4, pooler=PoolerConfig(stage="res5"))
    assert class_axis("roi_heads/mask/logits/bias", halved).group == 64  # 4 x 4, twice the side


def test_with_classes_changes_only_the_last_axis_of_class_layers():
    shapes = {"roi_heads/box/box_deltas/kernel": (7, 8), "roi_heads/box/fc1/kernel": (9, 7)}
    assert with_classes(shapes, 3, ModelConfig()) == {
        "roi_heads/box/box_deltas/kernel": (7, 12),
        "roi_heads/box/fc1/kernel": (9, 7),
    }


def test_shared_classes_pairs_unique_names_only():
    source = ["person", "N/A", "cat", "N/A", "dog"]
    target = ["dog", "N/A", "car", "person"]
    assert shared_classes(source, target) == [(4, 0), (0, 3)]
    assert shared_classes(["cat", "dog"], ["cat", "dog", "cat"]) == [(1, 1)]


@pytest.mark.parametrize("lead", [(), (2,), (1, 1, 2)])
def test_transfer_keeps_shared_classes_and_background(lead):
    ones = np.ones((*lead, 1), np.float32)
    logits = transfer_classes(
        ones * np.float32([10, 11, 12, 19]),
        ones * np.float32([0, 1, 9]),
        [(2, 0)],
        ClassAxis(1, background=True),
    )
    np.testing.assert_array_equal(logits, ones * np.float32([12, 1, 19]))
    deltas = transfer_classes(
        ones * np.arange(12, dtype=np.float32),
        ones * np.zeros(8, np.float32),
        [(1, 1)],
        ClassAxis(4, background=False),
    )
    np.testing.assert_array_equal(deltas, ones * np.float32([0, 0, 0, 0, 4, 5, 6, 7]))


def test_transfer_does_not_write_into_its_arguments():
    fresh = np.zeros(3, np.float32)
    transfer_classes(np.ones(4, np.float32), fresh, [(0, 0)], ClassAxis(1, background=True))
    assert not fresh.any()


def test_grey_stem_answers_as_the_colour_stem_to_a_grey_image():
    kernel = np.random.default_rng(0).standard_normal((7, 7, 3, 4)).astype(np.float32)
    grey, how = adapt_stem(kernel, 1)
    image = np.random.default_rng(1).standard_normal((7, 7, 1)).astype(np.float32)
    colour = np.einsum("yxc,yxco->o", np.repeat(image, 3, axis=2), kernel)
    np.testing.assert_allclose(np.einsum("yxc,yxco->o", image, grey), colour, rtol=1e-4)
    assert how == "sum"


@pytest.mark.parametrize("channels", [2, 4, 6])
def test_inflated_stem_repeats_and_keeps_the_size_of_activations(channels):
    kernel = np.float32([1, 2, 3]).reshape(1, 1, 3, 1)
    wide, how = adapt_stem(kernel, channels)
    expected = [(1, 2, 3)[c % 3] * 3 / channels for c in range(channels)]
    np.testing.assert_allclose(wide.ravel(), expected, rtol=1e-6)
    assert wide.dtype == np.float32 and how == "inflate"
    if channels == 6:
        assert wide.sum() == pytest.approx(kernel.sum())


def test_stem_of_other_than_three_channels_is_refused():
    with pytest.raises(ValueError, match="3 input channels"):
        adapt_stem(np.zeros((7, 7, 4, 8), np.float32), 3)


def test_statistics_follow_the_stem():
    config = dataclasses.replace(ModelConfig().input)
    assert adapt_statistics((1.0, 2.0, 6.0), 1) == (3.0,)
    assert adapt_statistics((1.0, 2.0, 6.0), 5) == (1.0, 2.0, 6.0, 1.0, 2.0)
    assert adapt_statistics(config.mean, 3) == config.mean
