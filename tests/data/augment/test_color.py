"""Colours."""

import colorsys

import numpy as np
import pytest

from kmrcnn.data.augment.color import (
    ColorJitter,
    RandomGray,
    change_brightness,
    change_contrast,
    change_saturation,
    shift_hue,
)
from kmrcnn.data.example import Example

IMAGE = np.random.default_rng(0).integers(0, 256, (6, 8, 3)).astype(np.float32)
EXAMPLE = Example(IMAGE.astype(np.uint8), np.zeros((0, 4), np.float32), np.zeros(0, np.int32))
CHANGES = (change_brightness, change_contrast, change_saturation)


@pytest.mark.parametrize("change", CHANGES)
def test_factor_one_changes_nothing(change):
    np.testing.assert_allclose(change(IMAGE, 1.0), IMAGE, atol=1e-3)


def test_brightness():
    np.testing.assert_allclose(change_brightness(IMAGE, 1.5), np.minimum(IMAGE * 1.5, 255))


def test_contrast_and_saturation_zero_leave_gray():
    luma = IMAGE @ np.float32([0.299, 0.587, 0.114])
    flat, gray = change_contrast(IMAGE, 0.0), change_saturation(IMAGE, 0.0)
    np.testing.assert_allclose(flat, np.full_like(IMAGE, luma.mean()), rtol=1e-5)
    np.testing.assert_allclose(gray, np.repeat(luma[..., None], 3, 2), rtol=1e-4)


@pytest.mark.parametrize("shift", [-0.3, 0.1, 0.5])
def test_hue_turns_the_colour_circle(shift):
    def turned(pixel):
        hue, saturation, value = colorsys.rgb_to_hsv(*(pixel / 255))
        return np.array(colorsys.hsv_to_rgb((hue + shift) % 1, saturation, value)) * 255

    expected = np.apply_along_axis(turned, 2, IMAGE.astype(np.float64))
    np.testing.assert_allclose(shift_hue(IMAGE, shift), expected, atol=0.1)


def test_jitter_draws_within_its_strengths():
    rng, means = np.random.default_rng(0), []
    gray = Example(np.full((4, 4, 3), 100, np.uint8), EXAMPLE.boxes, EXAMPLE.classes)
    for _ in range(100):
        means.append(ColorJitter(brightness=0.4)(gray, rng).image.mean())
    assert 60 <= min(means) < 65 and 135 < max(means) <= 140


def test_order_is_drawn_and_objects_stay():
    jitter = ColorJitter(0.5, 0.5, 0.5, 0.2)
    first = jitter(EXAMPLE, np.random.default_rng(1))
    np.testing.assert_array_equal(first.image, jitter(EXAMPLE, np.random.default_rng(1)).image)
    assert first.boxes is EXAMPLE.boxes and first.image.dtype == np.uint8
    assert (first.image != EXAMPLE.image).any()


def test_probability_and_channels():
    rng = np.random.default_rng(0)
    assert ColorJitter(0.5, probability=0.0)(EXAMPLE, rng) is EXAMPLE
    assert RandomGray(0.0)(EXAMPLE, rng) is EXAMPLE
    image = RandomGray(1.0)(EXAMPLE, rng).image
    assert (image == image[..., :1]).all()
    single = Example(EXAMPLE.image[..., :1].copy(), EXAMPLE.boxes, EXAMPLE.classes)
    assert ColorJitter(0.5, 0.5)(single, rng).image.shape == (6, 8, 1)
