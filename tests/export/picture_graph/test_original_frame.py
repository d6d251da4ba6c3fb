"""Detections come back to the pixels of the pictures as the predictor's do."""

import numpy as np
import pytest
import tensorflow as tf

from kmrcnn.export.picture_graph.original_frame import to_original_frame
from kmrcnn.postprocess import to_original


def detections(number_of_slots=6, used=(5, 0), seed=0):
    rng = np.random.default_rng(seed)
    corners = rng.uniform(0, 90, (2, number_of_slots, 2, 2))
    boxes = np.concatenate([corners.min(2), corners.max(2)], -1).astype(np.float32)
    boxes[0, 1, 2] = boxes[0, 1, 0]  # empty
    boxes[0, 3] = (96, 10, 130, 40)  # beyond the content, empty when clipped
    slots = np.arange(number_of_slots) < np.array(used)[:, None]
    found = {
        "boxes": boxes * slots[..., None],
        "scores": np.sort(rng.uniform(0.1, 1, slots.shape))[:, ::-1].astype(np.float32) * slots,
        "classes": rng.integers(0, 5, slots.shape).astype(np.int32) * slots,
        "masks": rng.uniform(0, 1, (*slots.shape, 4, 4)).astype(np.float32)
        * slots[..., None, None],
        "keypoints": rng.uniform(0, 90, (*slots.shape, 3, 3)).astype(np.float32)
        * slots[..., None, None],
    }
    return found, np.array(used, np.int32)


@pytest.mark.parametrize("box_ends", ["edge", "last_pixel"])
def test_detections_equal_those_of_the_predictor(box_ends):
    found, number = detections()
    image_sizes, picture_sizes = np.array([[90, 95], [80, 96]]), np.array([[181, 203], [40, 48]])
    got = to_original_frame(
        {name: tf.constant(value) for name, value in found.items()} | {"num_detections": number},
        tf.constant(image_sizes, tf.int32),
        tf.constant(picture_sizes, tf.int32),
        box_ends,
    )
    assert got["num_detections"].numpy().tolist() == [3, 0]
    one = {name: value[0] for name, value in found.items() if name != "masks"}
    one["valid"] = np.arange(6) < number[0]
    want = to_original.to_original_frame(one, image_sizes[0], picture_sizes[0], box_ends=box_ends)
    for name in ("boxes", "scores", "classes", "keypoints"):
        np.testing.assert_array_equal(got[name][0, :3], want[name])
    np.testing.assert_array_equal(got["masks"][0, :3], found["masks"][0, [0, 2, 4]])
    assert all((value[0, 3:].numpy() == 0).all() for name, value in got.items() if name in found)
    assert all((value[1].numpy() == 0).all() for name, value in got.items() if name in found)
