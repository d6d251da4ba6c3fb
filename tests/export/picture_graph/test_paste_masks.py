"""Masks are pasted in the graph as NumPy pastes them."""

import numpy as np
import pytest
import tensorflow as tf

from kmrcnn.config.schema import MaskConfig
from kmrcnn.export.picture_graph.paste_masks import paste_masks
from kmrcnn.postprocess import paste_masks as numpy_rules

SIZES = np.array([[97, 140], [60, 75]], np.int32)


def boxes_and_masks(seed=0, slots=20):
    """Boxes of all sizes, some cut off by the picture; smooth masks, as a network gives them."""
    rng = np.random.default_rng(seed)
    side = rng.uniform(0.5, 80, (2, slots, 2))
    start = rng.uniform(-5, 60, (2, slots, 2))
    boxes = np.concatenate([start, start + side], -1)
    limits = SIZES[:, None, [1, 0, 1, 0]]
    boxes = np.clip(boxes, 0, limits).astype(np.float32)
    boxes[0, 0] = (10, 20, 38, 48)  # pixel centres fall on cell centres
    masks = rng.uniform(0, 1, (2, slots, 14, 14)).astype(np.float32)
    masks[:, ::2] = rng.integers(0, 2, masks[:, ::2].shape)
    return boxes, masks


@pytest.mark.parametrize("threshold", [0.5, 0.2])
@pytest.mark.parametrize("rule", ["grid_sample", "integer_box", "resize_into_box"])
def test_pixels_equal_numpys(rule, threshold):
    boxes, masks = boxes_and_masks()
    used = np.array([20, 7], np.int32)
    config = MaskConfig(paste=rule, threshold=threshold)
    graph = tf.function(lambda *arrays: paste_masks(*arrays, config))
    got = graph(masks, boxes, used, SIZES).numpy()
    assert got.dtype == np.uint8 and got.shape == (2, 20, 97, 140)
    different = 0
    for image, (height, width) in enumerate(SIZES):
        number = used[image]
        want = numpy_rules.paste_masks(
            masks[image, :number], boxes[image, :number], (height, width), rule, threshold
        )
        assert 0 < want.sum() < want.size
        pasted = got[image, :number, :height, :width]
        different += (pasted != want).sum() / want[want].size
        assert got[image].sum() == pasted.sum()  # nothing beyond the picture or in unused slots
    assert different < 1e-3
