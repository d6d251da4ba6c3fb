import dataclasses

import pytest

from kmrcnn.config.loader import dump, from_dict, list_presets, load_preset
from kmrcnn.config.schema import (
    AnchorConfig,
    BackboneConfig,
    Checkpoint,
    InputConfig,
    MaskConfig,
    ModelConfig,
    Preset,
    RPNConfig,
)
from kmrcnn.config.strict_yaml import parse_yaml

TORCHVISION = [
    "maskrcnn_resnet50_fpn",
    "maskrcnn_resnet50_fpn_v2",
    "fasterrcnn_resnet50_fpn",
    "fasterrcnn_resnet50_fpn_v2",
]
NETS = ("R_50_{}_1x", "R_50_{}_3x", "R_101_{}_3x")
PYRAMID = [
    f"{kind}_rcnn_{net}_3x"
    for kind in ("mask", "faster")
    for net in ("R_50_FPN", "R_101_FPN", "X_101_32x8d_FPN")
] + ["mask_rcnn_R_50_FPN_1x", "faster_rcnn_R_50_FPN_1x"]
ONE_MAP = [
    f"{kind}_rcnn_{net.format(form)}"
    for kind in ("mask", "faster")
    for form in ("C4", "DC5")
    for net in NETS
]
NORMALISED = [
    "mask_rcnn_R_50_FPN_3x_gn",
    "mask_rcnn_R_50_FPN_3x_syncbn",
    "scratch_mask_rcnn_R_50_FPN_3x_gn",
    "scratch_mask_rcnn_R_50_FPN_9x_gn",
    "scratch_mask_rcnn_R_50_FPN_9x_syncbn",
] + [f"mask_rcnn_{net}_FPN_{n}ep_LSJ" for net in ("R_50", "R_101") for n in (100, 200, 400)]
DETECTRON2 = PYRAMID + ONE_MAP + NORMALISED
COCO = TORCHVISION + DETECTRON2


def test_from_dict_fills_nested_dataclasses_and_keeps_defaults():
    config = from_dict(
        ModelConfig,
        {
            "num_classes": 2,
            "class_names": ["a", "b"],
            "anchors": {"sizes": [[16, 24], [32.5]]},
            "rpn": {"box_coder_weights": [1, 2, 3, 4]},
            "mask": None,
        },
    )
    assert config.class_names == ("a", "b")
    assert config.anchors == AnchorConfig(sizes=((16.0, 24.0), (32.5,)))
    assert all(isinstance(w, float) for w in config.rpn.box_coder_weights)
    assert config.mask is None and config.input == InputConfig()


@pytest.mark.parametrize("path", ["", "model"])
def test_from_dict_is_the_inverse_of_to_dict(path):
    config = load_preset("mask_rcnn_X_101_32x8d_FPN_3x").model
    assert from_dict(ModelConfig, config.to_dict(), path) == config


@pytest.mark.parametrize(
    "mapping,parts",
    [
        ({"rpn": {"nms_treshold": 0.5}}, ["model.rpn.nms_treshold", "model.rpn.nms_threshold"]),
        ({"backbon": {}}, ["model.backbon", "model.backbone"]),
        ({"num_classes": "80"}, ["model.num_classes", "whole number", "'80'"]),
        ({"num_classes": 2.0}, ["model.num_classes", "whole number"]),
        ({"num_classes": True}, ["model.num_classes", "True"]),
        ({"rpn": {"nms_threshold": "high"}}, ["model.rpn.nms_threshold", "number"]),
        ({"rpn": {"nms_threshold": None}}, ["model.rpn.nms_threshold", "number", "None"]),
        ({"rpn": 3}, ["model.rpn", "mapping"]),
        ({"pooler": {"aligned": 1}}, ["model.pooler.aligned", "true or false"]),
        ({"input": {"mean": 3.0}}, ["model.input.mean", "list"]),
        ({"input": {"mean": [1.0, "x", 2.0]}}, ["model.input.mean[1]", "number"]),
        ({"rpn": {"box_coder_weights": [1, 2]}}, ["model.rpn.box_coder_weights", "4 entries"]),
        ({"anchors": {"sizes": [32, 64]}}, ["model.anchors.sizes[0]", "list"]),
        ({"input": {"channel_order": "grb"}}, ["model.input.channel_order", "rgb"]),
        ({"backbone": {"norm": "layer_norm"}}, ["model.backbone.norm", "group_norm"]),
        ({"backbone": {"name": None}}, ["model.backbone.name", "string"]),
        ({"class_names": ["a", False]}, ["model.class_names[1]", "string"]),
        ({"rpn": {"nms_threshold": 1.5}}, ["model.rpn", "nms_threshold", "1.5"]),
    ],
)
def test_from_dict_errors_name_the_place(mapping, parts):
    with pytest.raises(ValueError) as caught:
        from_dict(ModelConfig, mapping, "model")
    for part in parts:
        assert part in str(caught.value)


def test_from_dict_reads_dicts_of_dataclasses():
    preset = from_dict(Preset, {"checkpoints": {"coco": {"url": "u", "box_ap": 38}}})
    assert preset.checkpoints == {"coco": Checkpoint(url="u", box_ap=38.0)}
    with pytest.raises(ValueError, match=r"checkpoints\.coco\.urll"):
        from_dict(Preset, {"checkpoints": {"coco": {"urll": "u"}}})


def test_overrides_are_yaml_and_change_one_value():
    plain = load_preset("mask_rcnn_R_50_FPN_3x").model
    changed = load_preset(
        "mask_rcnn_R_50_FPN_3x",
        ["model.rpn.nms_threshold=0.6", "model.mask=null", "model.box.min_size=1e-3"],
    ).model
    assert changed.rpn == dataclasses.replace(plain.rpn, nms_threshold=0.6)
    assert changed.mask is None and changed.box.min_size == 0.001
    assert changed.backbone == plain.backbone


@pytest.mark.parametrize(
    "override,part",
    [
        ("model.rpn.nms_thresh=0.6", "model.rpn.nms_threshold"),
        ("model.rpn.nms_threshold", "dotted.key=value"),
        ("model..rpn=1", "dotted.key=value"),
        ("model.rpn.nms_threshold=[", "not valid YAML"),
        ("model.rpn.nms_threshold=abc", "number"),
    ],
)
def test_wrong_overrides_are_errors(override, part):
    with pytest.raises(ValueError, match=part.replace(".", r"\.")):
        load_preset("mask_rcnn_R_50_FPN_3x", [override])


def test_unknown_preset_offers_near_names():
    with pytest.raises(ValueError, match="mask_rcnn_R_50_FPN_3x"):
        load_preset("mask_rcnn_R50_FPN_3x")
    with pytest.raises(ValueError, match="no file"):
        load_preset("nowhere/mine.yaml")


def test_list_presets_has_no_bases():
    presets = list_presets()
    assert set(COCO) <= set(presets) and presets == sorted(set(presets))
    assert not any("torchvision" in name or "coco8" in name for name in presets)


def test_own_file_merges_own_and_published_bases_in_order(tmp_path):
    (tmp_path / "small.yaml").write_text(
        "model: {num_classes: 1, class_names: [cell], category_ids: null, rpn: {num_convs: 3}}"
    )
    path = tmp_path / "mine.yaml"
    path.write_text(
        "base: [_base_/classes/coco80.yaml, _base_/models/detectron2_fpn.yaml, small.yaml]\n"
        "model: {rpn: {pre_nms_top_n: 7}}\n"
    )
    preset = load_preset(path)
    assert preset.name == "mine"
    assert preset.model.class_names == ("cell",)
    assert preset.model.input.channel_order == "bgr"
    assert (preset.model.rpn.num_convs, preset.model.rpn.pre_nms_top_n) == (3, 7)


@pytest.mark.parametrize(
    "text,part",
    [
        ("base: coco/mask_rcnn_R_50_FPN_3x.yaml", "list"),
        ("base: [coco/mask_rcnn_R_50_FPN_3x.yaml]", "one level"),
        ("base: [_base_/nothing.yaml]", "_base_/nothing.yaml"),
        ("model: {num_classes: 3, num_classes: 4}", "given twice"),
        ("model: {1: 2}", "must be strings"),
        ("- 1", "mapping"),
        ("model: [", "not valid YAML"),
        ("model: !!python/object/apply:os.getcwd []", "not valid YAML"),
        ("model: {num_classes: 3, class_names: [a]}", "mine.yaml"),
    ],
)
def test_wrong_files_are_errors(tmp_path, text, part):
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(ValueError, match=part):
        load_preset(path)


def test_dump_quotes_what_reads_as_a_number():
    preset = Preset(checkpoints={"coco": Checkpoint(md5="3e0943")})
    assert from_dict(Preset, parse_yaml(dump(preset), "text")) == preset


def test_dump_is_resolved_yaml_that_reads_back(tmp_path):
    for name in list_presets():
        preset = load_preset(name)
        text = dump(preset)
        assert from_dict(Preset, parse_yaml(text, name)) == preset
        path = tmp_path / "again.yaml"
        path.write_text(text)
        assert load_preset(path) == preset


@pytest.mark.parametrize("name", COCO)
def test_published_presets_say_where_their_weights_are(name):
    preset = load_preset(name)
    coco = preset.checkpoints["coco"]
    faster = "faster" in name
    assert preset.name == name and preset.description
    assert (preset.model.mask is None) == faster == (coco.mask_ap is None)
    assert coco.url.startswith("https://") and coco.licence and coco.box_ap > 30
    if name in TORCHVISION:
        assert coco.format == "torchvision" and coco.url.endswith(f"-{coco.sha256}.pth")
        assert preset.model.num_classes == 90 and preset.model.class_names[89] == "toothbrush"
        assert preset.model.class_names.count("N/A") == 10
        assert preset.model.category_ids is None
    else:
        assert coco.format == "detectron2" and f"/{name}/" in coco.url and coco.sha256 is None
        assert coco.url.endswith(f"/model_final_{coco.md5}.pkl") and len(coco.md5) == 6
        assert preset.model.num_classes == 80 and preset.model.category_ids[-1] == 90


def test_both_class_lists_are_the_same_classes():
    d2, tv = load_preset(DETECTRON2[0]).model, load_preset(TORCHVISION[0]).model
    assert [tv.class_names[i - 1] for i in d2.category_ids] == list(d2.class_names)


@pytest.mark.parametrize("name", TORCHVISION)
def test_torchvision_presets_follow_its_defaults(name):
    m, v2 = load_preset(name).model, name.endswith("v2")
    norm = "batch_norm" if v2 else "none"
    assert m.input == InputConfig()  # rgb, ImageNet statistics, floor, float bilinear
    assert m.backbone.norm_epsilon == (1e-5 if v2 else 0.0)
    assert m.backbone.norm == ("batch_norm" if v2 else "frozen_batch_norm")
    assert not m.backbone.stride_in_1x1
    assert m.neck.norm == norm
    assert (m.anchors.rounded, m.anchors.strides, m.anchors.order) == (
        True,
        "derived",
        "ratio_major",
    )
    assert m.rpn == RPNConfig(
        num_convs=2 if v2 else 1,
        post_nms_top_n_train=2000,
        rank_by="sigmoid",
        min_size=1e-3,
        smooth_l1_beta=1 / 9,
        loss_divisor="sampled",
    )
    assert (m.pooler.aligned, m.pooler.sampling_ratio) == (False, 2)
    assert (m.pooler.level_epsilon, m.pooler.level_epsilon_on) == (1e-6, "logarithm")
    assert (m.box.num_convs, m.box.num_fcs) == ((4, 1) if v2 else (0, 2))
    assert (m.box.norm, m.box.min_size, m.box.smooth_l1_beta) == (norm, 1e-2, 1 / 9)
    if m.mask is not None:
        assert m.mask == MaskConfig(norm=norm, target="soft", paste="integer_box")


def _detectron2_input(name):
    divided = "X_101" in name or "9x" in name
    return InputConfig(
        channel_order="bgr",
        mean=(103.53, 116.28, 123.675),
        std=(57.375, 57.12, 58.395) if divided else (1.0, 1.0, 1.0),
        resize="antialiased_uint8",
        size_rounding="half_up",
        pad_multiple=1 if "C4" in name or "DC5" in name else 32,
    )


@pytest.mark.parametrize("name", DETECTRON2)
def test_detectron2_presets_follow_its_defaults(name):
    m, x101 = load_preset(name).model, "X_101" in name
    assert m.input == _detectron2_input(name)
    assert (m.backbone.groups, m.backbone.width_per_group) == ((32, 8) if x101 else (1, 64))
    assert m.backbone.name == ("resnet101" if "101" in name else "resnet50")
    assert m.backbone.norm_epsilon == 1e-5
    assert (m.pooler.aligned, m.pooler.sampling_ratio) == (True, 0)
    assert (m.pooler.level_epsilon, m.pooler.level_epsilon_on) == (1e-8, "ratio")
    assert (m.box.min_size, m.box.smooth_l1_beta, m.box.score_threshold) == (0, 0, 0.05)
    if m.mask is not None:
        assert (m.mask.target, m.mask.paste) == ("binary", "grid_sample")


@pytest.mark.parametrize("name", PYRAMID)
def test_detectron2_presets_with_a_pyramid(name):
    m = load_preset(name).model
    assert m.backbone == dataclasses.replace(
        BackboneConfig(stride_in_1x1="X_101" not in name),
        name=m.backbone.name,
        groups=m.backbone.groups,
        width_per_group=m.backbone.width_per_group,
    )
    assert (m.anchors, m.rpn, m.pooler.stage) == (AnchorConfig(), RPNConfig(), "none")
    assert (m.box.num_convs, m.box.num_fcs, m.box.norm) == (0, 2, "none")
    assert m.mask in (None, MaskConfig())


@pytest.mark.parametrize("name", ONE_MAP)
def test_detectron2_presets_with_one_map(name):
    m, c4 = load_preset(name).model, "C4" in name
    assert m.neck.name == "single_level" and m.backbone.stride_in_1x1
    assert (m.backbone.last_stage, m.backbone.res5_dilation) == ((4, 1) if c4 else (5, 2))
    assert m.pooler.stage == ("res5" if c4 else "none")
    assert m.anchors == AnchorConfig(sizes=((32.0, 64.0, 128.0, 256.0, 512.0),))
    assert m.rpn == RPNConfig(
        pre_nms_top_n=6000, pre_nms_top_n_train=12000, post_nms_top_n_train=2000
    )
    assert (m.box.pooled_size, m.box.num_fcs) == ((14, 0) if c4 else (7, 2))
    assert m.mask in (None, MaskConfig(num_convs=0 if c4 else 4))


@pytest.mark.parametrize("name", NORMALISED)
def test_detectron2_presets_with_normalised_heads(name):
    m = load_preset(name).model
    norm = "group_norm" if name.endswith("gn") else "sync_batch_norm"
    parts = (m.backbone, m.neck, m.box, m.mask)
    assert [(part.norm, part.norm_groups) for part in parts] == [(norm, 32)] * 4
    assert (m.box.num_convs, m.box.num_fcs) == (4, 1)
    assert m.rpn == RPNConfig(num_convs=2 if "LSJ" in name else 1)
    assert m.backbone.freeze_at == (0 if "LSJ" in name or "scratch" in name else 2)
    assert m.backbone.stride_in_1x1 == ("LSJ" in name or name == "mask_rcnn_R_50_FPN_3x_syncbn")


@pytest.mark.parametrize(
    "name,network,groups,width",
    [
        ("mask_rcnn_X_101_64x4d_FPN", "resnet101", 64, 4),
        ("mask_rcnn_X_152_32x8d_FPN", "resnet152", 32, 8),
    ],
)
def test_presets_without_published_weights(name, network, groups, width):
    preset = load_preset(name)
    backbone = preset.model.backbone
    assert preset.checkpoints == {} and not backbone.stride_in_1x1
    assert (backbone.name, backbone.groups, backbone.width_per_group) == (network, groups, width)
