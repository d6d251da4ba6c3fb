import functools

import keras
import pytest

from kmrcnn.config.loader import load_preset
from kmrcnn.config.schema import (
    AnchorConfig,
    BackboneConfig,
    BoxConfig,
    MaskConfig,
    ModelConfig,
    NeckConfig,
    PoolerConfig,
)
from kmrcnn.layers.conv_norm_act import ConvNormAct, NormSpec
from kmrcnn.layers.deconv import Deconv2x2
from kmrcnn.models import complexity
from kmrcnn.models.build import build_model
from kmrcnn.weights.canonical import canonical_weights


@functools.cache
def _published(preset):
    return build_model(load_preset(preset).model)


@functools.cache
def _small(**changes):
    settings = {
        "num_classes": 3,
        "backbone": BackboneConfig(name="resnet18", stem_channels=4, res2_channels=4),
        "neck": NeckConfig(channels=4),
        "box": BoxConfig(pooled_size=3, fc_channels=5),
        "mask": MaskConfig(pooled_size=4, num_convs=1, channels=6),
    }
    return build_model(ModelConfig(**(settings | changes)))


def test_convolution_by_hand():
    conv = ConvNormAct(8, 3)
    conv.build((None, None, None, 6))
    counted = complexity.count_layer(conv, "neck", 5 * 7)
    assert counted.parameters == 3 * 3 * 6 * 8 + 8
    assert counted.multiply_adds == 5 * 7 * 8 * (3 * 3 * 6)


def test_grouped_convolution_sees_its_own_channels_only():
    conv = ConvNormAct(8, 3, groups=2)
    conv.build((None, None, None, 6))
    counted = complexity.count_layer(conv, "backbone", 5 * 7)
    assert counted.multiply_adds == 5 * 7 * 8 * (3 * 3 * 3)


@pytest.mark.parametrize(
    "norm,extra", [("frozen_batch_norm", 0), ("batch_norm", 16), ("group_norm", 16)]
)
def test_norm_counts_what_it_learns(norm, extra):
    conv = ConvNormAct(8, 1, norm=NormSpec(norm, groups=2))
    conv.build((None, None, None, 6))
    assert complexity.count_layer(conv, "neck", 1).parameters == 6 * 8 + extra


def test_dense_by_hand():
    dense = keras.layers.Dense(7)
    dense.build((None, 11))
    counted = complexity.count_layer(dense, "box", 10)
    assert counted.parameters == 11 * 7 + 7 and counted.multiply_adds == 10 * 11 * 7


def test_deconvolution_by_hand():
    deconv = Deconv2x2(8)
    deconv.build((None, 3, 5, 6))
    counted = complexity.count_layer(deconv, "mask", 6 * 10)
    assert counted.parameters == 2 * 2 * 6 * 8 + 8
    assert counted.multiply_adds == 3 * 5 * (2 * 2 * 6 * 8)  # each input pixel meets all weights


@pytest.mark.parametrize(
    "preset,count,unused",
    [
        ("maskrcnn_resnet50_fpn", 44_401_393, True),
        ("maskrcnn_resnet50_fpn_v2", 46_359_409, True),
        ("mask_rcnn_R_50_FPN_3x", 44_343_216, False),
        ("keypointrcnn_resnet50_fpn", 59_137_258, True),
    ],
)
def test_published_parameter_counts(preset, count, unused):
    model = _published(preset)
    parameters = complexity.count_parameters(model)
    branch = "keypoint" if "keypoint" in preset else "mask"
    assert set(parameters) == set(complexity.PARTS) - ({"mask", "keypoint"} - {branch})
    assert parameters["normalize"] == 0
    background = complexity.count_unused_background(model)
    assert background == (1024 + 1) * 4 + (256 + 1 if branch == "mask" else 0)
    assert sum(parameters.values()) + (background if unused else 0) == count


# By torch.utils.flop_counter (torch 2.13, halved: it counts multiplications and additions) on
# torchvision's modules for 320 x 256 pixels, 10 RoIs and 3 mask RoIs; less the unused background
# and the masks of other classes.
@pytest.mark.parametrize(
    "preset,features,rpn,box",
    [
        ("maskrcnn_resnet50_fpn", 11_312_824_320, 4_048_788_480, 143_595_520),
        ("maskrcnn_resnet50_fpn_v2", 11_312_824_320, 8_071_388_160, 1_289_164_800),
    ],
)
def test_multiply_adds_equal_torchs_count(preset, features, rpn, box):
    counted = complexity.count_multiply_adds(_published(preset), (320, 256), 10, 3)
    assert counted["backbone"] + counted["neck"] == features
    assert counted["rpn"] == rpn
    assert counted["box"] == box - 10 * 1024 * 4
    assert counted["mask"] == 1_596_198_912 - 3 * 28 * 28 * 256 * 90


@pytest.mark.parametrize("mask", [MaskConfig(pooled_size=4, channels=6), None])
def test_layers_add_up_to_the_parts(mask):
    model = _small(mask=mask)
    layers = complexity.list_layers(model, (64, 96), 20, 5)
    parameters = complexity.count_parameters(model)
    multiply_adds = complexity.count_multiply_adds(model, (64, 96), 20, 5)
    assert ("mask" in parameters) == ("mask" in multiply_adds) == (mask is not None)
    for part in parameters:
        mine = [layer for layer in layers if layer.part == part]
        assert parameters[part] == sum(layer.parameters for layer in mine)
        assert multiply_adds[part] == sum(layer.multiply_adds for layer in mine)


@pytest.mark.parametrize(
    "changes",
    [
        {"neck": NeckConfig(channels=4, norm="batch_norm")},
        {"mask": MaskConfig(pooled_size=4, head="mlp", fc_channels=5, activation="softmax")},
        {"backbone": BackboneConfig("resnet18", None, 4, 4, non_local_stage=4)},
        {
            "backbone": BackboneConfig("resnet18", None, 4, 4, last_stage=4),
            "neck": NeckConfig("single_level"),
            "anchors": AnchorConfig(sizes=((32.0,),)),
            "pooler": PoolerConfig(stage="res5"),
            "box": BoxConfig(pooled_size=4, reduce="mean", num_fcs=0),
        },
    ],
    ids=["norm", "mlp", "non_local", "c4"],
)
def test_every_kernel_of_the_model_is_listed_once(changes):
    model = _small(**changes)
    kernels = [name for name in canonical_weights(model) if name.endswith("/kernel")]
    listed = [layer.name + "/kernel" for layer in complexity.list_layers(model, (64, 64), 1, 1)]
    assert sorted(listed) == sorted(kernels)


def test_res5_on_rois_is_counted_for_proposals_and_detections():
    model = _small(
        backbone=BackboneConfig("resnet18", (1, 1, 1, 1), 4, 4, last_stage=4),
        neck=NeckConfig("single_level"),
        anchors=AnchorConfig(sizes=((32.0,),)),
        pooler=PoolerConfig(stage="res5"),
        box=BoxConfig(pooled_size=4, reduce="mean", num_fcs=0),
        mask=MaskConfig(pooled_size=4, num_convs=0, channels=6),
    )
    layers = {layer.name: layer for layer in complexity.list_layers(model, (64, 96), 20, 5)}
    assert layers["backbone/res5_0/conv1"].positions == (20 + 5) * 2 * 2
    assert layers["backbone/res5_0/conv1"].multiply_adds == 100 * 32 * 16 * 3 * 3
    assert layers["rpn/conv1"].positions == 4 * 6  # the one map, of stride 16
    assert layers["roi_heads/mask/deconv"].positions == 5 * 4 * 2 * 2


def test_sizes_that_do_not_divide_are_those_of_the_model():
    model = _small()
    size = (97, 131)
    features = model.neck(model.backbone(keras.ops.zeros((1, *size, 3))))
    pixels = {name: x.shape[1] * x.shape[2] for name, x in features.items()}
    layers = {layer.name: layer for layer in complexity.list_layers(model, size, 1, 1)}
    for level in range(2, 6):
        assert layers[f"neck/output{level}"].positions == pixels[f"P{level}"]
    assert layers["rpn/conv1"].positions == sum(pixels.values())


def test_mask_branch_counts_one_class():
    few, many = (
        complexity.count_multiply_adds(_small(num_classes=n), (64, 64), 1, 5)["mask"]
        for n in (2, 9)
    )
    assert few == many


@pytest.mark.parametrize(
    "size,proposals,detections", [((0, 64), 1, 1), ((64, 64), 0, 1), ((64, 64), 1, -1)]
)
def test_wrong_numbers_are_refused(size, proposals, detections):
    with pytest.raises(ValueError, match="must be positive. Received"):
        complexity.list_layers(_small(), size, proposals, detections)
