"""Areas at which the FPN level rules step, against the rules themselves."""

import numpy as np
import pytest

from kmrcnn.custom_ops import fpn_level_areas
from kmrcnn.custom_ops.roi_align import reference

RULES = {"torchvision": (1e-6, "logarithm"), "detectron2": (1e-8, "ratio")}


def rule(area, epsilon, epsilon_on):
    """Lin et al. 2017, equation 1, in the float32 arithmetic of the two systems."""
    ratio = np.sqrt(area) / np.float32(224)
    if epsilon_on == "logarithm":
        level = np.float32(4) + np.log2(ratio) + np.float32(epsilon)
    else:
        level = np.float32(4) + np.log2(ratio + np.float32(epsilon))
    return np.clip(np.floor(level), 2, 5)


@pytest.mark.parametrize("name", RULES)
def test_steps_are_where_the_rule_has_them(name):
    """Among all float32 areas near each step, and on random ones."""
    areas = fpn_level_areas(2, 5, 4, 224.0, *RULES[name])
    assert len(areas) == 3
    draw = np.random.default_rng(0)
    tried = [np.exp(draw.uniform(0, 16, 10_000)).astype("float32")]
    for area in areas:
        bits = np.float32(area).view("int32") + np.arange(-500, 500, dtype="int32")
        tried.append(bits.view("float32"))
    tried = np.concatenate(tried)
    levels = 2 + (tried[:, None] >= np.array(areas, "float32")).sum(1)
    np.testing.assert_array_equal(levels, rule(tried, *RULES[name]))
    assert set(levels) == {2, 3, 4, 5}


def test_steps_lie_at_the_canonical_sides():
    sides = np.sqrt(fpn_level_areas(2, 5, 4, 224.0, 1e-8, "ratio"))
    np.testing.assert_allclose(sides, [112, 224, 448], rtol=1e-6)
    np.testing.assert_allclose(np.sqrt(fpn_level_areas(3, 4, 5, 100.0)), [50], rtol=2e-6)


def test_one_level_has_no_step():
    assert fpn_level_areas(4, 4) == ()


def test_boxes_are_assigned_by_area():
    boxes = [[0, 0, 2, 2], [0, 0, 2, 3], [0, 0, 100, 1], [5, 5, 1, 1], [0, 0, np.nan, 9]]
    levels = reference.assign_levels(np.array(boxes, "float32"), (5.0, 50.0))
    assert np.asarray(levels).tolist() == [0, 1, 2, 0, 0]


@pytest.mark.parametrize(
    "arguments, message",
    [((5, 2), "`highest` must be at least `lowest`. Received: 5..2")],
)
def test_levels_out_of_order_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        fpn_level_areas(*arguments)


def test_unknown_rule_is_refused():
    with pytest.raises(ValueError, match="`epsilon_on` must be 'logarithm' or 'ratio'.*'side'"):
        fpn_level_areas(2, 5, epsilon_on="side")
