"""LiteRT's RoIAlign against the reference, and what it converts to."""

import numpy as np
import pytest
import tensorflow as tf

from kmrcnn.custom_ops import fpn_level_areas, roi_align
from kmrcnn.export.litert_operators import operators
from kmrcnn.export.litert_roi_align import roi_align as litert_form

STRIDES = (4, 8, 16)
AREAS = fpn_level_areas(2, 4)
MAPS = [
    np.random.default_rng(0).standard_normal((1, 128 // s, 160 // s, 3)).astype(np.float32)
    for s in STRIDES
]


def random_boxes():
    """Of all levels, some reach over the border, some are thin, empty or a point."""
    rng = np.random.default_rng(1)
    corners = rng.uniform(-20, 150, (20, 2))
    sides = np.exp(rng.uniform(0, np.log(200), (20, 2)))
    odd = [[0, 0, 0, 0], [10, 10, 10, 90], [159, 127, 170, 130], [0, 0, 160, 128], [5, 5, 5.5, 5.5]]
    return np.concatenate([np.concatenate([corners, corners + sides], 1), odd]).astype(np.float32)


@pytest.mark.parametrize("sampling_ratio, aligned", [(0, True), (2, False)])
def test_file_gives_what_the_reference_gives(sampling_ratio, aligned):
    from ai_edge_litert.interpreter import Interpreter

    boxes, images = random_boxes(), np.zeros(25, np.int32)

    def pool(form, *arguments):
        return roi_align(*arguments, STRIDES, (7, 5), sampling_ratio, aligned, AREAS, form=form)

    signature = (
        *(tf.TensorSpec(maps.shape, tf.float32, f"p{i}") for i, maps in enumerate(MAPS)),
        tf.TensorSpec((25, 4), tf.float32, "boxes"),
    )

    @tf.function(input_signature=signature)
    def graph(p0, p1, p2, boxes):
        return {"pooled": pool(litert_form, [p0, p1, p2], boxes, tf.constant(images))}

    content = tf.lite.TFLiteConverter.from_concrete_functions(
        [graph.get_concrete_function()], tf.Module()
    ).convert()
    run = Interpreter(model_content=content).get_signature_runner()
    found = run(p0=MAPS[0], p1=MAPS[1], p2=MAPS[2], boxes=boxes)["pooled"]
    expected = pool("reference", MAPS, boxes, images)
    assert found.shape == (25, 7, 5, 3)
    np.testing.assert_allclose(found, expected, atol=2e-5)
    kinds = {one.kind for one in operators(content)}
    assert "GATHER" in kinds and not any(kind.startswith("CUSTOM") for kind in kinds)
