"""Rotation by quarters."""

import numpy as np
import pytest

from kmrcnn.data.augment.quarter_turn import RandomQuarterTurn, quarter_turn
from tests.data.augment.painted import LEVEL, painted, pixels_under, require_agreement


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_objects_follow_the_picture(turns):
    turned = quarter_turn(painted(), turns)
    np.testing.assert_array_equal(turned.image, np.rot90(painted().image, turns))
    require_agreement(turned)
    assert pixels_under(turned).tolist() == [LEVEL, 2 * LEVEL, 3 * LEVEL]


def test_boxes_without_masks():
    turned = quarter_turn(painted(((2, 3, 12, 15),), masks=False), 1)
    # left becomes the distance from the bottom of a picture 60 pixels high
    np.testing.assert_array_equal(turned.boxes, [[2, 60 - 18, 14, 60 - 3]])


def test_every_turn_is_drawn():
    rng, example = np.random.default_rng(0), painted(size=(60, 60))
    seen = {RandomQuarterTurn(1.0)(example, rng).image.tobytes() for _ in range(40)}
    assert seen == {np.rot90(example.image, turns).tobytes() for turns in (1, 2, 3)}
    assert RandomQuarterTurn(0.0)(example, rng) is example
