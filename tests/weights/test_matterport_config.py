import json

import numpy as np
import pytest

from kmrcnn.config.loader import load_preset
from kmrcnn.weights.matterport_config import matterport_config, read_settings
from tests.weights.matterport_file import random_layers

PRESET = load_preset("matterport_coco").model


def tensors(**options):
    layers = random_layers(options.pop("num_classes", 3), blocks=(3, 4, 6, 3), **options)
    return {f"{name}/{word}": a for name, words in layers.items() for word, a in words.items()}


def test_shapes_give_classes_depth_and_widths():
    config = matterport_config(PRESET, tensors(width=4, pyramid=6, rpn=5, fc=7))
    assert (config.num_classes, config.class_names, config.category_ids) == (2, None, None)
    assert (config.backbone.name, config.backbone.blocks) == ("resnet50", None)
    assert (config.backbone.stem_channels, config.backbone.res2_channels) == (4, 16)
    assert (config.neck.channels, config.rpn.channels, config.box.fc_channels) == (6, 5, 7)
    assert config.input == PRESET.input and config.anchors == PRESET.anchors


def test_settings_of_inference_are_taken_over():
    settings = {
        "NUM_CLASSES": 3,
        "IMAGE_MIN_DIM": 400,
        "IMAGE_MAX_DIM": 512,
        "IMAGE_MIN_SCALE": 2.0,
        "MEAN_PIXEL": [1, 2, 3],
        "RPN_ANCHOR_SCALES": [8, 16, 32, 64, 128],
        "RPN_ANCHOR_RATIOS": [0.25, 1, 4],
        "RPN_NMS_THRESHOLD": 0.9,
        "PRE_NMS_LIMIT": 3000,
        "POST_NMS_ROIS_INFERENCE": 500,
        "RPN_BBOX_STD_DEV": [0.1, 0.2, 0.25, 0.5],
        "BBOX_STD_DEV": [0.5, 0.25, 0.2, 0.1],
        "DETECTION_MIN_CONFIDENCE": 0,
        "DETECTION_NMS_THRESHOLD": 0.2,
        "DETECTION_MAX_INSTANCES": 400,
        "LEARNING_RATE": 7,
    }
    config = matterport_config(PRESET, tensors(), settings)
    frame = config.input
    assert (frame.short_side, frame.long_side, frame.pad_multiple) == (400, 512, 512)
    assert (frame.min_scale, frame.mean) == (2.0, (1.0, 2.0, 3.0))
    assert config.anchors.sizes == ((8.0,), (16.0,), (32.0,), (64.0,), (128.0,))
    assert config.anchors.aspect_ratios == (4.0, 1.0, 0.25)  # height / width, in the same order
    assert (config.rpn.nms_threshold, config.rpn.pre_nms_top_n) == (0.9, 3000)
    assert config.rpn.post_nms_top_n == 500
    assert config.rpn.box_coder_weights == pytest.approx((5, 10, 2, 4))  # x, y, width, height
    assert config.box.box_coder_weights == pytest.approx((4, 2, 10, 5))
    assert (config.box.score_threshold, config.box.nms_threshold) == (0.0, 0.2)
    assert config.box.max_detections == 400
    assert config.pooler.canonical_size == pytest.approx(224 * 511 / 512)


@pytest.mark.parametrize("mode, short", [("pad64", 800), ("none", 1)])
def test_other_resize_modes(mode, short):
    frame = matterport_config(PRESET, tensors(), {"IMAGE_RESIZE_MODE": mode}).input
    assert (frame.short_side, frame.pad_multiple) == (short, 64) and frame.long_side > 10**5


def test_images_of_other_channels_need_their_mean():
    one = tensors(channels=1)
    assert matterport_config(PRESET, one, {"MEAN_PIXEL": [110]}).input.std == (1.0,)
    with pytest.raises(ValueError, match="MEAN_PIXEL"):
        matterport_config(PRESET, one)


@pytest.mark.parametrize(
    "settings, part",
    [
        ({"NUM_CLASSES": 81}, "NUM_CLASSES = 81"),
        ({"RPN_ANCHOR_RATIOS": [1, 2]}, "3 anchors"),
        ({"RPN_ANCHOR_STRIDE": 2}, "RPN_ANCHOR_STRIDE"),
        ({"IMAGE_RESIZE_MODE": "crop"}, "crop"),
        ({"IMAGE_MAX_DIM": 500}, "multiple of 64"),
        ({"MASK_SHAPE": [56, 56]}, "MASK_SHAPE"),
    ],
)
def test_contradictions_and_unknown_values_are_errors(settings, part):
    with pytest.raises(ValueError, match=part):
        matterport_config(PRESET, tensors(), settings)


def test_a_file_of_something_else_is_named():
    with pytest.raises(ValueError, match="mrcnn_class_logits"):
        matterport_config(PRESET, {"conv1/kernel": np.zeros((7, 7, 3, 4))})


PYTHON = """
import numpy as np
from mrcnn.config import Config

class BalloonConfig(Config):
    NAME = "balloon"
    NUM_CLASSES = 1 + 1  # background + balloon
    IMAGE_MAX_DIM = 8 * 64
    RPN_ANCHOR_SCALES = (8, 16, 32, 64, 128)
    MEAN_PIXEL = np.array([1.5, 2, 3])
    STEPS_PER_EPOCH = len(open("/never/opened").read())

class InferenceConfig(BalloonConfig):
    DETECTION_MIN_CONFIDENCE = 0.9
    IMAGE_MAX_DIM = 256

raise SystemExit("not to be run")
"""


def test_a_python_file_is_read_and_not_run(tmp_path):
    path = tmp_path / "balloon.py"
    path.write_text(PYTHON)
    assert read_settings(path) == {
        "NAME": "balloon",
        "NUM_CLASSES": 2,
        "IMAGE_MAX_DIM": 256,
        "RPN_ANCHOR_SCALES": (8, 16, 32, 64, 128),
        "MEAN_PIXEL": [1.5, 2, 3],
        "DETECTION_MIN_CONFIDENCE": 0.9,
    }


def test_a_json_file_is_read(tmp_path):
    path = tmp_path / "config.json"
    path.write_text(json.dumps({"IMAGE_MIN_DIM": 256, "note": "mine"}))
    assert read_settings(path) == {"IMAGE_MIN_DIM": 256}
    for text in ("{", "[]", '{"a": 1}'):
        path.write_text(text)
        with pytest.raises(ValueError, match="config.json"):
            read_settings(path)
