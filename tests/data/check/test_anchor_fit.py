import dataclasses

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from kmrcnn.config.loader import load_preset
from kmrcnn.config.schema import AnchorConfig, ModelConfig
from kmrcnn.data.check.anchor_coverage import check_coverage, measure_coverage
from kmrcnn.data.check.anchor_fit import best_ious
from kmrcnn.data.records import Instance, Record
from kmrcnn.rpn.anchors import AnchorGenerator

STRIDES = (4, 8, 16, 32, 64)


@pytest.mark.parametrize("preset", ["mask_rcnn_R_50_FPN_3x", "maskrcnn_resnet50_fpn"])
@pytest.mark.parametrize("offset", [0.0, 0.5])
def test_best_iou_is_that_of_all_anchors_compared(preset, offset):
    config = dataclasses.replace(load_preset(preset).model.anchors, offset=offset)
    canvas = (192, 288)
    rng = np.random.default_rng(0)
    low = rng.uniform(-10, (250, 150), (40, 2))
    boxes = np.concatenate([low, low + np.exp(rng.uniform(1, 5.5, (40, 2)))], axis=1)
    level_sizes = [(-(-canvas[0] // s), -(-canvas[1] // s)) for s in STRIDES]
    anchors = AnchorGenerator(config, STRIDES)(canvas, level_sizes)
    anchors = np.concatenate([np.asarray(level, np.float64) for level in anchors])
    expected = coco_mask.iou(_xywh(boxes), _xywh(anchors), [0] * len(anchors)).max(axis=1)
    np.testing.assert_allclose(
        best_ious(boxes, np.tile(canvas, (40, 1)), config), expected, atol=1e-6
    )


@pytest.mark.parametrize(
    "side,matched",
    [
        (32, (1.0, 1.0)),  # the smallest anchor
        (8, (0.0, 0.0)),  # at most 64 / 1024
    ],
)
def test_share_of_objects_in_the_network_frame(side, matched):
    # 400 x 640 is doubled: objects of half the side, on the grid's points
    instances = tuple(
        Instance((x - side / 4, 100 - side / 4, x + side / 4, 100 + side / 4), 0, None)
        for x in (50, 100, 150)
    )
    records = [Record(1, None, (400, 640), instances)]
    coverage = measure_coverage(records, [(400, 640)], ["cell"], ModelConfig())
    assert coverage.total.number == 3 and coverage.total.matched == matched
    assert coverage.by_class["cell"] == coverage.by_size["small"] == coverage.total
    assert coverage.network_sides == (side, side, side)


def test_small_objects_get_a_setting_that_fits():
    instances = tuple(
        Instance((x - 2.0, 98.0, x + 2.0, 102.0), 0, None) for x in range(50, 600, 50)
    )
    records = [Record(1, None, (400, 640), instances)]
    coverage = measure_coverage(records, [(400, 640)], ["cell"], ModelConfig())
    (note,) = check_coverage(coverage)
    assert note.kind == "low-anchor-match"
    sizes = "[[8.0],[16.0],[32.0],[64.0],[128.0]]"
    assert f"100% with --set model.anchors.sizes={sizes}" in note.message
    assert "aspect_ratios" not in note.message
    fitting = AnchorConfig(sizes=((8.0,), (16.0,), (32.0,), (64.0,), (128.0,)))
    coverage = measure_coverage(records, [(400, 640)], ["cell"], ModelConfig(anchors=fitting))
    assert check_coverage(coverage) == []


def test_crowds_and_pictures_without_a_size_are_left_out():
    crowd = Record(1, None, (40, 40), (Instance((1, 1, 9, 9), 0, None, is_crowd=True),))
    plain = Record(2, None, None, (Instance((1, 1, 9, 9), 0, None),))
    assert measure_coverage([crowd, plain], [(40, 40), None], ["cell"], ModelConfig()) is None


def _xywh(boxes):
    return np.ascontiguousarray(np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], 1))
