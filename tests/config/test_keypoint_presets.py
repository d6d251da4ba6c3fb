"""Published keypoint presets, and the checks of their settings."""

import pytest

from kmrcnn.config.loader import load_preset
from kmrcnn.config.schema import InputConfig, KeypointConfig, ModelConfig, RPNConfig
from kmrcnn.structures.keypoint_layout import left_right_pairs

TORCHVISION = "keypointrcnn_resnet50_fpn"
DETECTRON2 = [
    f"keypoint_rcnn_{net}"
    for net in ("R_50_FPN_1x", "R_50_FPN_3x", "R_101_FPN_3x", "X_101_32x8d_FPN_3x")
]


@pytest.mark.parametrize("name", [TORCHVISION, *DETECTRON2])
def test_presets_know_persons_and_their_joints(name):
    preset = load_preset(name)
    model, coco = preset.model, preset.checkpoints["coco"]
    assert model.class_names == ("person",) and model.category_ids == (1,) and model.mask is None
    assert coco.keypoint_ap > 60 and coco.box_ap > 50 and coco.mask_ap is None
    keypoint = model.keypoint
    assert (keypoint.num_convs, keypoint.channels, keypoint.pooled_size) == (8, 512, 14)
    assert len(keypoint.names) == 17 and keypoint.is_scorable
    assert list(keypoint.flip_pairs) == left_right_pairs(keypoint.names)
    named = {tuple(keypoint.names[i] for i in pair) for pair in keypoint.skeleton}
    assert (
        len(named) == 19 and ("left_ankle", "left_knee") in named and ("nose", "left_eye") in named
    )


@pytest.mark.parametrize("name", DETECTRON2)
def test_detectron2_presets_follow_its_keypoint_defaults(name):
    preset = load_preset(name)
    model, coco = preset.model, preset.checkpoints["coco"]
    assert f"/COCO-Keypoints/{name}/" in coco.url and coco.url.endswith(f"_{coco.md5}.pkl")
    assert model.rpn == RPNConfig(post_nms_top_n_train=1500)
    assert model.box.smooth_l1_beta == 0.5
    assert (model.keypoint.score, model.keypoint.annotation_offset) == ("probability", 0.5)
    assert (model.backbone.groups == 32) == (not model.backbone.stride_in_1x1) == ("X_101" in name)


def test_torchvision_preset_follows_its_defaults():
    preset = load_preset(TORCHVISION)
    model, coco = preset.model, preset.checkpoints["coco"]
    assert coco.url.endswith(f"-{coco.sha256}.pth") and model.backbone.norm_epsilon == 0.0
    assert model.input == InputConfig() and model.rpn.post_nms_top_n_train == 2000
    assert (model.keypoint.score, model.keypoint.annotation_offset) == ("logit", 0.0)


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"names": ("nose",)}, "`keypoint.names` must have one entry per keypoint .2."),
        ({"sigmas": (0.1,) * 3}, "`keypoint.sigmas`"),
        ({"flip_pairs": ((0, 2),)}, "`keypoint.flip_pairs` must have indices in 0..1"),
        ({"skeleton": ((-1, 0),)}, "`keypoint.skeleton`"),
        ({"score": "best"}, "`KeypointConfig.score` must be one of"),
        ({"num_keypoints": 0}, "must be positive"),
    ],
)
def test_wrong_settings_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        KeypointConfig(**({"num_keypoints": 2} | settings))


def test_what_can_be_scored():
    assert KeypointConfig().is_scorable
    assert not KeypointConfig(num_keypoints=2).is_scorable
    assert KeypointConfig(num_keypoints=2, sigmas=(0.1, 0.1)).is_scorable
    assert ModelConfig().keypoint is None
