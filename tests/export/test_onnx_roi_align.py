"""ONNX's RoiAlign against the reference: border rule, alignment, sampling, levels."""

import numpy as np
import onnxruntime
import pytest
import tensorflow as tf
import tf2onnx

from kmrcnn.custom_ops import fpn_level_areas, roi_align
from kmrcnn.export.onnx_roi_align import OnnxRoIAlign

STRIDES = (4, 8, 16)
AREAS = fpn_level_areas(2, 4)
MAPS = [
    np.random.default_rng(0).standard_normal((2, 256 // s, 320 // s, 3)).astype(np.float32)
    for s in STRIDES
]


def random_boxes():
    """Of all levels, some reach over the border, some are thin, empty or a point."""
    rng = np.random.default_rng(1)
    corners = rng.uniform(-20, 300, (60, 2))
    sides = np.exp(rng.uniform(0, np.log(400), (60, 2)))
    odd = [[0, 0, 0, 0], [10, 10, 10, 90], [319, 255, 330, 260], [0, 0, 320, 256], [5, 5, 5.5, 5.5]]
    boxes = np.concatenate([np.concatenate([corners, corners + sides], 1), odd])
    return boxes.astype(np.float32), rng.integers(0, 2, len(boxes)).astype(np.int32)


def pool(form, maps, boxes, images, sampling_ratio, aligned):
    return roi_align(
        maps, boxes, images, STRIDES, (7, 5), sampling_ratio, aligned, AREAS, form=form
    )


@pytest.mark.parametrize("aligned", [True, False])
@pytest.mark.parametrize("sampling_ratio", [0, 2])
def test_operator_equals_the_reference(sampling_ratio, aligned):
    form = OnnxRoIAlign()
    boxes, images = random_boxes()
    signature = (
        *(tf.TensorSpec(maps.shape, tf.float32, f"p{i}") for i, maps in enumerate(MAPS)),
        tf.TensorSpec((None, 4), tf.float32, "boxes"),
        tf.TensorSpec((None,), tf.int32, "images"),
    )

    @tf.function(input_signature=signature)
    def graph(p0, p1, p2, boxes, images):
        return pool(form, [p0, p1, p2], boxes, images, sampling_ratio, aligned)

    proto, _ = tf2onnx.convert.from_function(
        graph, signature, opset=17, custom_op_handlers=form.handlers()
    )
    session = onnxruntime.InferenceSession(proto.SerializeToString())
    feeds = dict(zip(["p0", "p1", "p2"], MAPS)) | {"boxes": boxes, "images": images}
    (found,) = session.run(None, feeds)
    expected = pool("reference", MAPS, boxes, images, sampling_ratio, aligned)
    assert found.shape == (65, 7, 5, 3)
    np.testing.assert_allclose(found, expected, atol=2e-5)
    used = {node.op_type for node in proto.graph.node}
    assert "RoiAlign" in used and not used & {"PyFunc", "Loop", "If", "NonZero", "Mod"}


def test_stand_in_cannot_run():
    boxes, images = random_boxes()

    @tf.function
    def graph():
        return pool(OnnxRoIAlign(), MAPS, boxes, images, 2, True)

    with pytest.raises(Exception, match="stands for an operator"):
        graph()
