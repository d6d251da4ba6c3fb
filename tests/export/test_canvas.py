import itertools

import numpy as np
import pytest

from kmrcnn.config.schema import InputConfig
from kmrcnn.data.preprocess import network_size, pad_to_canvas, to_network
from kmrcnn.export.canvas import default_canvas, to_canvas

CONFIGS = [
    InputConfig(short_side=60, long_side=100, resize=resize, size_rounding=rounding)
    for resize, rounding in itertools.product(
        ("bilinear", "antialiased_uint8"), ("floor", "half_up", "half_even")
    )
]


def picture(height, width, channels=3, seed=0):
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (height, width, channels)).astype(np.uint8)


@pytest.mark.parametrize("config", CONFIGS)
@pytest.mark.parametrize("size", [(45, 75), (60, 100), (61, 80), (33, 200), (7, 9)])
def test_equal_to_the_model_s_own_where_the_picture_fits(config, size):
    image = picture(*size)
    canvas, content = to_canvas(image, config, (64, 128))
    expected, sizes = pad_to_canvas([to_network(image, config)], 1)
    height, width = sizes[0]
    assert (content == sizes[0]).all() and content.dtype == np.int32
    assert canvas.shape == (64, 128, 3) and canvas.dtype == np.float32
    np.testing.assert_array_equal(canvas[:height, :width], expected[0])
    assert not canvas[height:].any() and not canvas[:, width:].any()


@pytest.mark.parametrize("config", CONFIGS)
def test_other_pictures_are_shrunk_until_they_just_fit(config):
    rng = np.random.default_rng(1)
    for _ in range(200):
        height, width = (int(side) for side in rng.integers(20, 400, 2))
        limits = tuple(int(side) for side in rng.integers(1, 4, 2) * 32)
        _, content = to_canvas(picture(height, width), config, limits)
        wanted = network_size((height, width), config)
        if wanted[0] <= limits[0] and wanted[1] <= limits[1]:
            assert tuple(content) == wanted
            continue
        assert content[0] <= limits[0] and content[1] <= limits[1]
        scale = min(limits[0] / height, limits[1] / width)
        away = abs(content - np.array([height, width]) * scale)
        assert away.max() <= 2  # rounded down once for the longer side, and once for the other


def test_a_portrait_on_a_landscape_canvas_keeps_its_shape():
    canvas, content = to_canvas(picture(200, 100), CONFIGS[0], (64, 128))
    assert tuple(content) == (64, 32)
    assert canvas[:64, :32].all(axis=-1).mean() > 0.9 and not canvas[:, 32:].any()


def test_channels_stay_rgb_for_models_that_want_bgr():
    config = InputConfig(short_side=8, long_side=8, channel_order="bgr")
    red = np.zeros((8, 8, 3), np.uint8) + np.array([200, 10, 20], np.uint8)
    canvas, _ = to_canvas(red, config, (8, 8))
    assert canvas[4, 4].tolist() == [200.0, 10.0, 20.0]


@pytest.mark.parametrize("channels", [1, 4])
def test_any_number_of_channels(channels):
    statistics = (100.0,) * channels
    config = InputConfig(
        channels=channels, mean=statistics, std=statistics, short_side=30, long_side=50
    )
    canvas, content = to_canvas(picture(60, 90, channels), config, (32, 64))
    assert canvas.shape == (32, 64, channels) and tuple(content) == (30, 45)


def test_default_canvas_holds_every_landscape_picture():
    assert default_canvas(InputConfig()) == (800, 1344)
    assert default_canvas(CONFIGS[0]) == (64, 128)
