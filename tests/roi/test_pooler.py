"""Level assignment by both rules; the pooling itself is tested in tests/custom_ops."""

import numpy as np
import pytest

from kmrcnn.config.schema import PoolerConfig
from kmrcnn.roi.pooler import RoIPooler
from tests.layer_check import layer_check

INFO = {f"P{i}": (3, 1 << i) for i in range(2, 7)}
RULES = {
    "tv": PoolerConfig(level_epsilon=1e-6, level_epsilon_on="logarithm"),
    "d2": PoolerConfig(level_epsilon=1e-8, level_epsilon_on="ratio"),
}


def levels(rule, boxes, names=("P2", "P3", "P4", "P5")):
    pooler = RoIPooler(RULES[rule], 7, INFO, names)
    return np.asarray(pooler.assign_levels(np.asarray(boxes, "float32").reshape(-1, 4)))


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize(
    "side, level",
    [
        (0, 2),
        (1, 2),
        (55, 2),
        (111.9, 2),
        (112, 3),
        (223.9, 3),
        (224, 4),
        (447.9, 4),
        (448, 5),
        (2000, 5),
    ],
)
def test_level_by_side(rule, side, level):
    assert levels(rule, [10, 20, 10 + side, 20 + side]) == [level]
    assert levels(rule, [0, 0, side * 2, side / 2]) == [level]  # the area counts


@pytest.mark.parametrize("rule", RULES)
def test_levels_equal_the_references(cases_dir, rule):
    arrays = np.load(cases_dir / "multilevel_roi_align.npz")
    boxes = np.concatenate([arrays["boxes0"], arrays["boxes1"]])
    np.testing.assert_array_equal(levels(rule, boxes) - 2, arrays[f"{rule}_levels"])


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("box", [[9, 9, 3, 3], [np.nan] * 4, [np.inf] * 4])
@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
def test_odd_boxes_go_to_the_finest_level(rule, box):
    assert levels(rule, box) == [2]


def test_levels_stay_among_those_given():
    boxes = [[0, 0, side, side] for side in (50, 120, 250, 2000)]
    assert levels("d2", boxes, ("P3", "P4")).tolist() == [3, 3, 4, 4]
    assert levels("d2", boxes, ("P4",)).tolist() == [4, 4, 4, 4]


@pytest.mark.parametrize("sampling_ratio", [0, 2])
def test_layer(sampling_ratio):
    draw = np.random.default_rng(0)
    features = {
        f"P{i}": draw.standard_normal((2, 64 >> i, 64 >> i, 3)).astype("float32")
        for i in range(2, 6)
    }
    boxes = np.array([[0, 0, 60, 50], [5, 9, 30, 31], [0, 0, 448, 448]], "float32")
    config = PoolerConfig(sampling_ratio=sampling_ratio)
    layer = layer_check(
        lambda: RoIPooler(config, 5, INFO, tuple(features)),
        features,
        boxes,
        np.array([0, 1, 1], "int32"),
        trains=False,
    )
    assert layer.strides == (4, 8, 16, 32) and layer.channels == 3
    pooled = layer(features, boxes[:0], np.zeros(0, "int32"))
    assert tuple(pooled.shape) == layer.compute_output_shape(None, (0, 4), None) == (0, 5, 5, 3)
