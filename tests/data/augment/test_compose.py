"""Which transforms a configuration means."""

import numpy as np
import pytest

from kmrcnn.config.data_schema import (
    ColorConfig,
    DataConfig,
    KeypointDataConfig,
    ScaleJitterConfig,
)
from kmrcnn.config.schema import InputConfig
from kmrcnn.data.augment.compose import Compose, make_augmentation
from kmrcnn.data.augment.flip import HorizontalFlip, VerticalFlip
from kmrcnn.data.augment.multi_scale import draw_short_side
from tests.data.augment.painted import painted

OFF = DataConfig(horizontal_flip=0.0)


class Named(list):
    keypoint_names = ("left_end", "right_end", "middle")


def test_transforms_are_applied_in_order():
    both = Compose([HorizontalFlip(1.0), VerticalFlip(1.0)])
    flipped = both(painted(), np.random.default_rng(0))
    np.testing.assert_array_equal(flipped.image, painted().image[::-1, ::-1])


def test_everything_off_changes_nothing():
    example = painted()
    assert make_augmentation(OFF, [example])(example, np.random.default_rng(0)) is example


def test_names_of_key_points_say_what_changes_places():
    config = DataConfig(horizontal_flip=1.0)
    example, rng = painted(), np.random.default_rng(0)
    plain = make_augmentation(config, [example])(example, rng).keypoints
    swapped = make_augmentation(config, Named([example]))(example, rng).keypoints
    np.testing.assert_array_equal(swapped, plain[:, [1, 0, 2]])


@pytest.mark.parametrize(
    "settings",
    [
        {"vertical_flip": 1.0},
        {"quarter_turn": 1.0},
        {"rotation": 0.5},
        {"crop": "relative_range", "crop_side": 0.5},
        {"crop": "iou"},
        {"scale_jitter": ScaleJitterConfig((50, 50))},
        {"copy_paste": 1.0},
        {"color": ColorConfig(1.0, brightness=0.5)},
        {"color": ColorConfig(gray=1.0)},
    ],
    ids=str,
)
def test_every_setting_has_its_transform(settings):
    colourful = painted(image_id=1)
    colourful.image[..., 1] //= 2
    other = painted(((15, 5, 20, 50),))
    augment = make_augmentation(DataConfig(horizontal_flip=0.0, **settings), [other] * 3)
    results = [augment(colourful, np.random.default_rng(seed)) for seed in range(5)]
    assert any(r.size != colourful.size or (r.image != colourful.image).any() for r in results)
    again = augment(colourful, np.random.default_rng(0))
    np.testing.assert_array_equal(again.image, results[0].image)
    np.testing.assert_array_equal(again.boxes, results[0].boxes)


def test_short_sides_are_drawn():
    rng, frame = np.random.default_rng(0), InputConfig(short_side=800, long_side=1333)
    assert draw_short_side(frame, OFF, rng) is frame
    choice = DataConfig(short_sides=(640, 800))
    between = DataConfig(short_sides=(640, 644), short_side_sampling="range")
    assert {draw_short_side(frame, choice, rng).short_side for _ in range(30)} == {640, 800}
    sides = {draw_short_side(frame, between, rng).short_side for _ in range(60)}
    assert sides == {640, 641, 642, 643, 644}
    assert draw_short_side(frame, between, rng).long_side == 1333


def test_configured_pairs_come_first_and_points_are_moved_before_the_flip():
    config = DataConfig(horizontal_flip=1.0, keypoints=KeypointDataConfig(3, flip_pairs=((0, 1),)))
    example, rng = painted(), np.random.default_rng(0)
    found = make_augmentation(config, [example])(example, rng).keypoints
    labelled = example.keypoints[:, [1, 0]]
    np.testing.assert_allclose(found[:, :2, 0], example.size[1] - (labelled[..., 0] + 0.5))
    np.testing.assert_allclose(found[:, :2, 1], labelled[..., 1] + 0.5)
    assert not found[:, 2].any()  # not labelled
