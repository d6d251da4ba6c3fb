import dataclasses
import json

import numpy as np
import pytest

from kmrcnn.config.loader import load_preset
from kmrcnn.config.schema import ModelConfig
from kmrcnn.weights.name_map import convert, find_keys
from kmrcnn.weights.native import NATIVE
from kmrcnn.weights.sources import SOURCES, find_source

LVIS = ["model.num_classes=1230", "model.class_names=null", "model.category_ids=null"]
KEY_LISTS = {
    "tv_maskrcnn_resnet50_fpn": ("maskrcnn_resnet50_fpn", []),
    "tv_maskrcnn_resnet50_fpn_v2": ("maskrcnn_resnet50_fpn_v2", []),
    "tv_fasterrcnn_resnet50_fpn": ("fasterrcnn_resnet50_fpn", []),
    "tv_fasterrcnn_resnet50_fpn_v2": ("fasterrcnn_resnet50_fpn_v2", []),
    "d2_mask_R50_FPN": ("mask_rcnn_R_50_FPN_3x", []),
    "d2_mask_R101_FPN": ("mask_rcnn_R_101_FPN_3x", []),
    "d2_mask_X101_FPN": ("mask_rcnn_X_101_32x8d_FPN_3x", []),
    "d2_faster_R50_FPN": ("faster_rcnn_R_50_FPN_3x", []),
    "d2_mask_R50_C4": ("mask_rcnn_R_50_C4_3x", []),
    "d2_mask_R50_DC5": ("mask_rcnn_R_50_DC5_3x", []),
    "d2_gn_R50_FPN": ("mask_rcnn_R_50_FPN_3x_gn", []),
    "tv_keypointrcnn_resnet50_fpn": ("keypointrcnn_resnet50_fpn", []),
    "d2_keypoint_R50_FPN": ("keypoint_rcnn_R_50_FPN_1x", []),
    "d2_lvis_R50": ("mask_rcnn_R_50_FPN_3x", LVIS),
}


@pytest.fixture(params=KEY_LISTS)
def key_list(request, cases_dir):
    """(config, key -> array of zeros that takes no memory) of a published architecture."""
    preset, overrides = KEY_LISTS[request.param]
    keys = json.loads((cases_dir / "keys" / f"{request.param}.json").read_text())
    tensors = {key: np.broadcast_to(np.float32(0), shape) for key, shape in keys.items()}
    return load_preset(preset, overrides).model, tensors


def test_every_key_of_a_published_model_finds_its_place(key_list, expected_shapes):
    config, tensors = key_list
    expected = expected_shapes(config)
    source = find_source(tensors)
    converted = convert(tensors, expected, config, source)
    assert {name: a.shape for name, a in converted.arrays.items()} == expected
    assert all(key.endswith("num_batches_tracked") for key in converted.ignored)
    assert len(converted.arrays) + len(converted.ignored) == len(tensors)
    assert not converted.filled


def test_every_key_is_used_once(key_list, expected_shapes):
    config, tensors = key_list
    source = find_source(tensors)
    keys = [
        next(key for key in find_keys(name, config, source)[1] if key in tensors)
        for name in expected_shapes(config)
    ]
    assert len(set(keys)) == len(keys)


@pytest.mark.parametrize(
    "other", ["d2_mask_R50_C4", "d2_cascade_R50_FPN", "d2_keypoint_R50_FPN", "d2_panoptic_R50"]
)
def test_other_architectures_are_refused(other, cases_dir, expected_shapes):
    keys = json.loads((cases_dir / "keys" / f"{other}.json").read_text())
    tensors = {key: np.broadcast_to(np.float32(0), shape) for key, shape in keys.items()}
    config = load_preset("mask_rcnn_R_50_FPN_3x").model
    with pytest.raises(ValueError):
        convert(tensors, expected_shapes(config), config, find_source(tensors))


def _small(norm="frozen_batch_norm", **box):
    base = ModelConfig()
    return dataclasses.replace(
        base,
        num_classes=3,
        backbone=dataclasses.replace(
            base.backbone, name="resnet18", stem_channels=4, res2_channels=4, norm=norm
        ),
        neck=dataclasses.replace(base.neck, channels=6),
        box=dataclasses.replace(base.box, pooled_size=3, fc_channels=5, **box),
        mask=dataclasses.replace(base.mask, num_convs=2, channels=4),
    )


def _file(config, source, expected_shapes, to_torch, seed=0):
    """(the arrays a model should get, the file they come from)."""
    rng = np.random.default_rng(seed)
    arrays = {
        name: rng.standard_normal(shape).astype(np.float32)
        for name, shape in expected_shapes(config).items()
    }
    tensors = {
        find_keys(name, config, source)[1][0]: to_torch(
            name, array, config, background_first=source.name == "torchvision"
        )
        for name, array in arrays.items()
    }
    return arrays, tensors


@pytest.mark.parametrize("source", ["torchvision", "detectron2"])
@pytest.mark.parametrize("box", [{}, {"num_convs": 2, "num_fcs": 1, "norm": "batch_norm"}])
def test_values_come_back_from_the_inverse(source, box, expected_shapes, to_torch):
    config, source = _small(**box), SOURCES[source]
    arrays, tensors = _file(config, source, expected_shapes, to_torch)
    tensors["backbone.body.bn1.num_batches_tracked"] = np.int64(3)
    converted = convert(tensors, expected_shapes(config), config, source)
    for name, expected in arrays.items():
        np.testing.assert_array_equal(converted.arrays[name], expected, err_msg=name)
        assert converted.arrays[name].dtype == np.float32
    assert converted.ignored == ["backbone.body.bn1.num_batches_tracked"]


def test_old_torchvision_names_are_read(expected_shapes, to_torch):
    config, source = _small(), SOURCES["torchvision"]
    arrays, tensors = _file(config, source, expected_shapes, to_torch)
    old = {}
    for key, tensor in tensors.items():
        for block in ("inner_blocks", "layer_blocks"):
            for i in range(4):
                key = key.replace(f"fpn.{block}.{i}.0.", f"fpn.{block}.{i}.")
        key = key.replace("rpn.head.conv.0.0.", "rpn.head.conv.")
        for i in range(2):
            key = key.replace(f"mask_head.{i}.0.", f"mask_head.mask_fcn{i + 1}.")
        old[key] = tensor
    assert "roi_heads.mask_head.mask_fcn2.weight" in old and "rpn.head.conv.bias" in old
    converted = convert(old, expected_shapes(config), config, source)
    for name, expected in arrays.items():
        np.testing.assert_array_equal(converted.arrays[name], expected, err_msg=name)


def test_torchvision_background_moves_last_and_loses_its_box_and_mask(expected_shapes, to_torch):
    config, source = _small(), SOURCES["torchvision"]
    _, tensors = _file(config, source, expected_shapes, to_torch)
    tensors["roi_heads.box_predictor.cls_score.bias"] = np.float32([9, 0, 1, 2])
    tensors["roi_heads.box_predictor.bbox_pred.bias"] = np.float32([9] * 4 + list(range(12)))
    tensors["roi_heads.mask_predictor.mask_fcn_logits.bias"] = np.float32([9, 0, 1, 2])
    arrays = convert(tensors, expected_shapes(config), config, source).arrays
    assert arrays["roi_heads/box/class_logits/bias"].tolist() == [0, 1, 2, 9]
    assert arrays["roi_heads/box/box_deltas/bias"].tolist() == list(range(12))
    assert arrays["roi_heads/mask/logits/bias"].tolist() == [0, 1, 2]


def test_detectron2_leftovers_are_ignored_by_name(expected_shapes, to_torch):
    config, source = _small(), SOURCES["detectron2"]
    _, tensors = _file(config, source, expected_shapes, to_torch)
    leftovers = ["pixel_mean", "pixel_std", "proposal_generator.anchor_generator.cell_anchors.0"]
    tensors |= {key: np.zeros(3) for key in leftovers}
    assert convert(tensors, expected_shapes(config), config, source).ignored == leftovers


def test_absent_statistics_of_a_caffe2_backbone_are_the_identity(expected_shapes, to_torch):
    config, source = _small(), SOURCES["detectron2"]
    _, tensors = _file(config, source, expected_shapes, to_torch)
    tensors = {k: t for k, t in tensors.items() if "running" not in k}
    converted = convert(tensors, expected_shapes(config), config, source)
    assert not converted.arrays["backbone/res2_0/conv1/norm/moving_mean"].any()
    assert (converted.arrays["backbone/stem/norm/moving_variance"] == 1).all()
    assert len(converted.filled) == 2 * sum(k.endswith("norm.weight") for k in tensors)


def test_missing_extra_and_misshapen_tensors_are_named_on_both_sides(expected_shapes, to_torch):
    config, source = _small(), SOURCES["detectron2"]
    _, tensors = _file(config, source, expected_shapes, to_torch)
    del tensors["backbone.fpn_lateral3.bias"]
    tensors["roi_heads.box_head.fc2.weight"] = np.zeros((5, 6), np.float32)
    tensors["roi_heads.keypoint_head.conv_fcn1.bias"] = np.zeros(2)
    with pytest.raises(ValueError) as caught:
        convert(tensors, expected_shapes(config), config, source)
    message = str(caught.value)
    for part in (
        "neck/lateral3/bias",
        "backbone.fpn_lateral3.bias",
        "roi_heads/box/fc2/kernel",
        "(5, 5)",
        "roi_heads.box_head.fc2.weight",
        "(5, 6)",
        "roi_heads.keypoint_head.conv_fcn1.bias",
    ):
        assert part in message


@pytest.mark.parametrize(
    "key", ["backbone.bottom_up.stem.conv1.weight", "roi_heads.box_head.fc1.weight"]
)
def test_tensor_of_another_rank_is_named_and_not_a_crash(key, expected_shapes, to_torch):
    config, source = _small(), SOURCES["detectron2"]
    _, tensors = _file(config, source, expected_shapes, to_torch)
    tensors[key] = np.zeros((7, 3, 2), np.float32)
    with pytest.raises(ValueError, match=key):
        convert(tensors, expected_shapes(config), config, source)


def test_a_weight_no_rule_knows_is_an_error(expected_shapes, to_torch):
    config, source = _small(), SOURCES["detectron2"]
    _, tensors = _file(config, source, expected_shapes, to_torch)
    expected = expected_shapes(config) | {"roi_heads/keypoint/logits/bias": (3,)}
    with pytest.raises(ValueError, match="roi_heads/keypoint/logits/bias"):
        convert(tensors, expected, config, source)


def test_native_names_pass_unchanged_and_half_becomes_float():
    tensors = {"backbone/stem/kernel": np.ones((7, 7, 3, 2), np.float16)}
    expected = {"backbone/stem/kernel": (7, 7, 3, 2)}
    converted = convert(tensors, expected, ModelConfig(), NATIVE)
    assert converted.arrays["backbone/stem/kernel"].dtype == np.float32


def test_find_source_by_keys_by_name_and_neither():
    assert find_source({"backbone.body.conv1.weight": 0}).name == "torchvision"
    assert find_source({"backbone.bottom_up.stem.conv1.weight": 0}).name == "detectron2"
    assert find_source({"backbone/stem/kernel": 0}).name == "native"
    assert find_source({}, "detectron2").name == "detectron2"
    with pytest.raises(ValueError, match="conv1.weight"):
        find_source({"conv1.weight": 0})
    with pytest.raises(ValueError, match="caffe"):
        find_source({}, "caffe")
