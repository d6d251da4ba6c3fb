import numpy as np
import pytest

from kmrcnn.config.schema import NeckConfig
from kmrcnn.necks.fpn import FPN, upsample_nearest
from tests.layer_check import layer_check

INFO = {"C2": (4, 4), "C3": (6, 8), "C4": (8, 16), "C5": (10, 32)}


def features(height=64, width=96, batch=2):
    draw = np.random.default_rng(0)
    return {
        name: draw.normal(size=(batch, -(-height // stride), -(-width // stride), channels)).astype(
            "float32"
        )
        for name, (channels, stride) in INFO.items()
    }


@pytest.mark.parametrize("norm", ["none", "batch_norm", "group_norm"])
def test_layer(norm):
    neck = layer_check(
        lambda: FPN(NeckConfig(channels=8, norm=norm, norm_groups=4), INFO, name="neck"), features()
    )
    paths = {weight.path for weight in neck.weights}
    assert {
        "neck/lateral2/kernel",
        "neck/lateral5/kernel",
        "neck/output2/kernel",
        "neck/output5/kernel",
    } <= paths
    assert ("neck/lateral2/bias" in paths) == (norm == "none")
    assert ("neck/output5/norm/gamma" in paths) == (norm != "none")


@pytest.mark.parametrize("height, width", [(64, 96), (33, 47), (1, 1)])
def test_shapes(height, width):
    neck = FPN(NeckConfig(channels=8), INFO)
    pyramid = neck(features(height, width))
    assert list(pyramid) == ["P2", "P3", "P4", "P5", "P6"]
    for level, (name, value) in enumerate(pyramid.items(), start=2):
        assert tuple(value.shape) == (2, -(-height // 2**level), -(-width // 2**level), 8)
        assert neck.feature_info[name] == (8, 2**level)


def test_equals_torchvision_at_odd_sizes(cases_dir):
    arrays = np.load(cases_dir / "fpn.npz")
    info = {"C2": (4, 4), "C3": (6, 8), "C4": (8, 16)}
    neck = FPN(NeckConfig(channels=5), info)
    inputs = {f"C{i + 2}": np.moveaxis(arrays[f"x{i}"], 1, -1) for i in range(3)}
    neck(inputs)
    for kind, convs in (("inner", neck.laterals), ("layer", neck.output_convs)):
        for i, conv in enumerate(convs):
            conv.kernel.assign(arrays[f"sd/{kind}_blocks.{i}.0.weight"].transpose(2, 3, 1, 0))
            conv.bias.assign(arrays[f"sd/{kind}_blocks.{i}.0.bias"])
    pyramid = neck(inputs)
    for name, key in (("P2", "y_0"), ("P3", "y_1"), ("P4", "y_2"), ("P5", "y_pool")):
        np.testing.assert_allclose(pyramid[name], np.moveaxis(arrays[key], 1, -1), atol=1e-5)


def test_top_down_path_by_hand():
    """One channel, identity convolutions: P3 = C3 + upsampled C4 and P4 = C4."""
    neck = FPN(NeckConfig(channels=1), {"C3": (1, 8), "C4": (1, 16)})
    fine = np.arange(12, dtype="float32").reshape(1, 3, 4, 1)
    coarse = np.array([[100, 200], [300, 400]], "float32").reshape(1, 2, 2, 1)
    neck({"C3": fine, "C4": coarse})
    for conv in neck.laterals:
        conv.kernel.assign(np.ones((1, 1, 1, 1)))
    for conv in neck.output_convs:
        conv.kernel.assign(np.pad(np.ones((1, 1)), 1)[..., None, None])
    pyramid = neck({"C3": fine, "C4": coarse})
    np.testing.assert_allclose(
        np.asarray(pyramid["P3"])[0, ..., 0],
        [[100, 101, 202, 203], [104, 105, 206, 207], [308, 309, 410, 411]],
    )
    np.testing.assert_allclose(pyramid["P4"], coarse)
    np.testing.assert_allclose(pyramid["P5"], coarse[:, ::2, ::2])


NEAREST = [
    (2, 4, [0, 0, 1, 1]),
    (2, 3, [0, 0, 1]),
    (3, 5, [0, 0, 1, 1, 2]),
    (1, 3, [0, 0, 0]),
    (4, 4, [0, 1, 2, 3]),
]


@pytest.mark.parametrize("small, large, index", NEAREST)
def test_upsample_nearest(small, large, index):
    column = np.arange(small, dtype="float32").reshape(1, small, 1, 1)
    got = upsample_nearest(column, like=np.zeros((1, large, 1, 1)))
    np.testing.assert_array_equal(np.asarray(got)[0, :, 0, 0], index)


def test_missing_level():
    with pytest.raises(KeyError, match="C5"):
        FPN(NeckConfig(channels=8), INFO)({k: v for k, v in features().items() if k != "C5"})
