"""Rows to batches: canvases and slots."""

import numpy as np
import pytest

from kmrcnn.config.data_schema import DataConfig, KeypointDataConfig
from kmrcnn.config.schema import InputConfig
from kmrcnn.data.batches import check_canvas_sizes, to_inputs

INPUT = InputConfig(pad_multiple=32)


def rows(size=(40, 50), numbers=(2, 3)):
    count, largest = len(numbers), max(numbers)
    return {
        "images": np.ones((count, *size, 3), np.float32),
        "image_sizes": np.array([size] + [(20, 30)] * (count - 1), np.int32),
        "image_index": np.arange(count, dtype=np.int32),
        "number": np.array(numbers, np.int32),
        "boxes": np.ones((count, largest, 4), np.float32),
        "classes": np.ones((count, largest), np.int32),
        "masks": np.ones((count, largest, 8, 8), np.uint8),
        "mask_windows": np.ones((count, largest, 4), np.float32),
        "keypoints": np.ones((count, largest, 3, 3), np.float32),
    }


def make(config, **kwargs):
    import tensorflow as tf

    tensors = {name: tf.constant(value) for name, value in rows(**kwargs).items()}
    return to_inputs(tensors, INPUT, config)


@pytest.mark.parametrize("numbers, slots", [((0, 0), 2), ((1, 2), 2), ((0, 3), 5), ((5, 1), 5)])
def test_slots_are_rounded_up(numbers, slots):
    targets = make(DataConfig(slots=(2, 5)), numbers=numbers)["targets"]
    assert targets["boxes"].shape == (2, slots, 4)
    assert targets["masks"].shape == (2, slots, 8, 8)
    np.testing.assert_array_equal(targets["valid"].numpy().sum(axis=1), numbers)
    assert not targets["boxes"][:, max(numbers) :].numpy().any()


@pytest.mark.parametrize(
    "canvases, expected",
    [
        ((), (64, 64)),
        (((64, 96), (96, 64)), (64, 96)),  # equally large: the first that is given
        (((96, 96), (32, 64), (64, 128)), (64, 128)),
        (((32, 32),), (64, 64)),  # too small
    ],
)
def test_canvas(canvases, expected):
    images = make(DataConfig(canvas_sizes=canvases))["images"].numpy()
    assert images.shape == (2, *expected, 3)
    assert images[:, :40, :50].all() and not images[:, 40:].any() and not images[:, :, 50:].any()


def test_masks_are_left_out():
    targets = make(DataConfig(masks=False))["targets"]
    assert set(targets) == {"boxes", "classes", "valid"}


def test_keypoints_are_padded():
    config = DataConfig(masks=False, slots=(5,), keypoints=KeypointDataConfig(3))
    keypoints = make(config, numbers=(2, 3))["targets"]["keypoints"].numpy()
    assert keypoints.shape == (2, 5, 3, 3)
    assert keypoints[:, :3].all() and not keypoints[:, 3:].any()


def test_canvas_sizes_are_checked():
    with pytest.raises(ValueError, match=r"multiples of `input.pad_multiple` \(32\)"):
        check_canvas_sizes(INPUT, DataConfig(canvas_sizes=((64, 100),)))
