import numpy as np
import pytest
from keras import ops

from kmrcnn.backbones.resnet import DEPTHS, ResidualBlock, ResNet
from kmrcnn.config.schema import BackboneConfig
from kmrcnn.layers.conv_norm_act import NormSpec
from tests.layer_check import layer_check, randomize

NARROW = {"stem_channels": 4, "res2_channels": 8, "width_per_group": 2}


def images(height=64, width=96, batch=1, channels=3):
    return np.random.default_rng(0).normal(size=(batch, height, width, channels)).astype("float32")


def shapes(features):
    return {name: tuple(value.shape[1:]) for name, value in features.items()}


@pytest.mark.parametrize("name", DEPTHS)
def test_levels_of_every_depth(name):
    backbone = ResNet(BackboneConfig(name=name, **NARROW))
    assert shapes(backbone(images())) == {
        "C2": (16, 24, 8),
        "C3": (8, 12, 16),
        "C4": (4, 6, 32),
        "C5": (2, 3, 64),
    }
    assert backbone.feature_info == {"C2": (8, 4), "C3": (16, 8), "C4": (32, 16), "C5": (64, 32)}
    blocks, bottleneck = DEPTHS[name]
    convs = sum(weight.path.endswith("kernel") for weight in backbone.weights)
    shortcuts = 4  # the width changes at every stage, 4 -> 8 at res2
    assert convs == 1 + sum(blocks) * (3 if bottleneck else 2) + shortcuts


def test_layer():
    config = BackboneConfig(name="resnet18", stem_channels=4, res2_channels=4, norm="batch_norm")
    backbone = layer_check(lambda: ResNet(config, name="backbone"), images(33, 47), atol=1e-3)
    paths = {weight.path for weight in backbone.weights}
    assert {
        "backbone/stem/kernel",
        "backbone/stem/norm/gamma",
        "backbone/res5_1/conv2/norm/moving_mean",
        "backbone/res3_0/shortcut/kernel",
    } <= paths
    assert "backbone/res2_0/shortcut/kernel" not in paths


@pytest.mark.parametrize("height, width", [(33, 47), (1, 1), (65, 31), (32, 32)])
def test_odd_sizes_are_rounded_up(height, width):
    features = ResNet(BackboneConfig(name="resnet18", **NARROW))(images(height, width))
    for level, name in enumerate(features, start=2):
        assert shapes(features)[name][:2] == (-(-height // 2**level), -(-width // 2**level))


def test_default_widths_are_those_of_the_papers():
    for name, channels in (("resnet18", 64), ("resnet50", 256)):
        assert ResNet(BackboneConfig(name=name)).feature_info == {
            f"C{i + 2}": (channels * 2**i, 4 * 2**i) for i in range(4)
        }


def test_groups_make_resnext():
    backbone = ResNet(
        BackboneConfig(
            name="resnet50", blocks=(1, 1, 1, 1), stem_channels=8, groups=4, width_per_group=2
        )
    )
    backbone(images())
    kernels = {
        w.path.split("/", 1)[1]: tuple(w.shape)
        for w in backbone.weights
        if w.path.endswith("kernel")
    }
    assert kernels["res2_0/conv1/kernel"] == (1, 1, 8, 8)
    assert kernels["res2_0/conv2/kernel"] == (3, 3, 2, 8)
    assert kernels["res2_0/conv3/kernel"] == (1, 1, 8, 256)
    assert kernels["res5_0/conv2/kernel"] == (3, 3, 16, 64)


@pytest.mark.parametrize("norm", ["frozen_batch_norm", "batch_norm", "group_norm"])
@pytest.mark.parametrize("freeze_at", range(6))
def test_freeze_at(freeze_at, norm):
    backbone = ResNet(
        BackboneConfig(name="resnet18", norm=norm, norm_groups=4, freeze_at=freeze_at, **NARROW)
    )
    backbone.build((None, None, None, 3))
    kernels = [
        v.path.split("/")[1] for v in backbone.trainable_variables if v.path.endswith("kernel")
    ]
    trained = {"stem" if part == "stem" else part[:4] for part in kernels}
    assert trained == set(["stem", "res2", "res3", "res4", "res5"][freeze_at:])
    gammas = [v for v in backbone.trainable_variables if v.path.endswith("gamma")]
    assert len(gammas) == (0 if norm == "frozen_batch_norm" else len(kernels))


def test_frozen_stages_use_their_running_statistics():
    config = BackboneConfig(name="resnet18", norm="batch_norm", freeze_at=2, **NARROW)
    backbone = ResNet(config)
    backbone(images())
    before = {w.path: np.array(w) for w in backbone.weights if "moving" in w.path}
    backbone(images(), training=True)
    changed = {
        w.path.split("/")[1][:4]
        for w in backbone.weights
        if "moving" in w.path and (np.array(w) != before[w.path]).any()
    }
    assert changed == {"res3", "res4", "res5"}


def test_gradient_reaches_every_trainable_weight():
    import tensorflow as tf

    backbone = ResNet(BackboneConfig(name="resnet50", blocks=(1, 2, 1, 1), freeze_at=1, **NARROW))
    backbone(images())
    with tf.GradientTape() as tape:
        total = sum(tf.reduce_mean(value**2) for value in backbone(images()).values())
    gradients = tape.gradient(total, [v.value for v in backbone.trainable_variables])
    assert gradients
    for variable, gradient in zip(backbone.trainable_variables, gradients):
        assert np.abs(gradient).max() > 0, variable.path


@pytest.mark.parametrize("stride_in_1x1", [True, False])
@pytest.mark.parametrize("inner", [None, 6])
def test_residual_block_by_parts(inner, stride_in_1x1):
    block = ResidualBlock(
        8, inner, strides=2, stride_in_1x1=stride_in_1x1, norm=NormSpec("batch_norm")
    )
    x = images(9, 8, 2, channels=4)
    block(x)
    randomize(block)
    strides = [conv.strides for conv in block.convs]
    assert strides == ([2, 1] if inner is None else [2, 1, 1] if stride_in_1x1 else [1, 2, 1])
    assert [conv.kernel_size for conv in block.convs] == ([3, 3] if inner is None else [1, 3, 1])
    want = x
    for conv in block.convs[:-1]:
        want = ops.relu(_convolve_and_norm(conv, want))
    want = ops.relu(
        _convolve_and_norm(block.convs[-1], want) + _convolve_and_norm(block.shortcut, x)
    )
    np.testing.assert_allclose(block(x), want, atol=1e-5)


def _convolve_and_norm(conv, x):
    pad = conv.kernel_size // 2
    x = ops.pad(x, ((0, 0), (pad, pad), (pad, pad), (0, 0)))
    return conv.norm(
        ops.conv(x, conv.kernel, strides=conv.strides, padding="valid"), training=False
    )


def test_dilated_res5_keeps_the_stride_of_res4():
    config = BackboneConfig(name="resnet50", blocks=(1, 1, 1, 3), res5_dilation=2, **NARROW)
    backbone = ResNet(config)
    assert shapes(backbone(images(48, 64)))["C5"] == (3, 4, 64)
    assert backbone.feature_info["C5"] == (64, 16)
    assert backbone.feature_info["C4"] == (32, 16)
    odd = shapes(backbone(images(33, 47)))
    assert odd["C4"][:2] == odd["C5"][:2] == (3, 3)
    convs = [conv for block in backbone.stages[3] for conv in block.convs]
    assert {(conv.kernel_size, conv.dilation) for conv in convs} == {(1, 1), (3, 2)}


@pytest.mark.parametrize("height, width", [(5, 7), (2, 3)])  # the second is within the kernel
def test_dilated_res5_against_sums_over_taps(height, width):
    """Every output pixel of the stage as the sum over the kernel's taps, two pixels apart."""
    config = BackboneConfig(name="resnet50", blocks=(1, 1, 1, 2), res5_dilation=2, **NARROW)
    stage = ResNet(config).stages[3]
    x = images(height, width, channels=32)
    got = x
    for block in stage:
        got = block(got)
        randomize(block)
    got = x
    for block in stage:
        got = block(got)
    want = x[0].astype("float64")
    for block in stage:
        want = _dilated_block(block, want)
    np.testing.assert_allclose(got[0], want, rtol=1e-4, atol=1e-4)


def _dilated_block(block, x):
    first, second, third = block.convs
    inner = np.maximum(_taps(first, x, distance=1), 0)
    inner = np.maximum(_taps(second, inner, distance=2), 0)
    shortcut = x if block.shortcut is None else _taps(block.shortcut, x, distance=1)
    return np.maximum(_taps(third, inner, distance=1) + shortcut, 0)


def _taps(conv, x, distance):
    """Convolution of stride 1 with taps `distance` apart, zero outside, and its norm, float64."""
    kernel = np.asarray(conv.kernel, "float64")
    height, width = x.shape[:2]
    out = np.zeros((height, width, kernel.shape[3]))
    middle = kernel.shape[0] // 2
    for row, column in np.ndindex(height, width):
        for i, j in np.ndindex(kernel.shape[:2]):
            y, z = row + (i - middle) * distance, column + (j - middle) * distance
            if 0 <= y < height and 0 <= z < width:
                out[row, column] += x[y, z] @ kernel[i, j]
    gamma, beta, mean, variance = (np.asarray(v, "float64") for v in conv.norm.weights)
    return (out - mean) / np.sqrt(variance + conv.norm.epsilon) * gamma + beta


def test_identity_shortcut_only_where_shapes_agree():
    same, wider, strided = ResidualBlock(4, 2), ResidualBlock(8, 2), ResidualBlock(4, 2, strides=2)
    for block in (same, wider, strided):
        block.build((None, None, None, 4))
    assert same.shortcut is None
    assert wider.shortcut is not None
    assert strided.shortcut is not None


def test_stem_is_pooled_by_maximum():
    """A single bright pixel spreads to the pooled cells whose 3x3 windows see it."""
    backbone = ResNet(
        BackboneConfig(
            name="resnet18", blocks=(1, 1, 1, 1), stem_channels=1, res2_channels=1, norm="none"
        )
    )
    backbone.build((None, None, None, 1))
    backbone.stages[0] = []  # C2 is then what comes out of the pooling
    kernel = np.zeros((7, 7, 1, 1))
    kernel[3, 3] = 1
    backbone.stem.kernel.assign(kernel)
    image = np.zeros((1, 16, 16, 1), "float32")
    image[0, 6, 4] = 5.0  # (3, 2) after the stem: rows 1 and 2, column 1 after pooling
    want = np.zeros((4, 4))
    want[1:3, 1] = 5.0
    np.testing.assert_array_equal(np.asarray(backbone(image)["C2"])[0, ..., 0], want)


def test_unknown_name():
    with pytest.raises(ValueError, match="`backbone.name` must be one of.*resnet42"):
        ResNet(BackboneConfig(name="resnet42"))
