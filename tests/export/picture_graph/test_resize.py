"""Resizing in the graph gives the pixels of `to_network`."""

import numpy as np
import pytest
import skimage.data
import tensorflow as tf

from kmrcnn.config.schema import InputConfig
from kmrcnn.data import preprocess
from kmrcnn.export.picture_graph.resize import pad, resize

TARGETS = [(96, 160), (256, 225), (512, 512), (700, 701), (1200, 450)]  # smaller and larger
TALL = [(300, 400), (123, 457)]  # Pillow from 13 on takes the columns first
KINDS = [("bilinear", 5e-4), ("antialiased_uint8", 0), ("black_border_uint8", 0)]  # levels


def resized(images, size, config):
    graph = tf.function(lambda values, wanted: resize(values, wanted, config))
    return graph(tf.constant(images), tf.constant(size)).numpy()


@pytest.mark.parametrize("size", TARGETS)
@pytest.mark.parametrize("kind, tolerance", KINDS)
def test_pixels_equal_those_of_the_predictor(monkeypatch, size, kind, tolerance):
    picture = skimage.data.astronaut()[:, 30:480]
    config = InputConfig(resize=kind)
    monkeypatch.setattr(preprocess, "network_size", lambda *_: size)
    want = preprocess.to_network(picture, config)
    got = resized(np.stack([picture, picture[::-1]]), size, config)
    assert got.dtype == np.float32 and got.shape == (2, *size, 3)
    assert np.abs(got[0] - want).max() <= tolerance
    assert np.abs(got[1] - preprocess.to_network(picture[::-1], config)).max() <= tolerance


@pytest.mark.parametrize("size", TALL)
def test_another_order_of_the_axes_rounds_by_one_level(monkeypatch, size):
    picture = skimage.data.astronaut()[:, 30:480]
    config = InputConfig(resize="antialiased_uint8")
    monkeypatch.setattr(preprocess, "network_size", lambda *_: size)
    difference = np.abs(
        resized(picture[None], size, config)[0] - preprocess.to_network(picture, config)
    )
    assert difference.max() <= 1 and (difference > 0).mean() < 0.25


@pytest.mark.parametrize("channels", [1, 2, 4])
@pytest.mark.parametrize("kind, tolerance", KINDS)
def test_any_number_of_channels(channels, kind, tolerance):
    rng = np.random.default_rng(channels)
    picture = rng.integers(0, 256, (50, 70, channels), np.uint8)
    statistics = (0.0,) * channels
    config = InputConfig(
        channels=channels, mean=statistics, std=statistics, short_side=33, long_side=60, resize=kind
    )
    want = preprocess.to_network(picture, config)
    got = resized(picture[None], want.shape[:2], config)[0]
    assert np.abs(got - want).max() <= tolerance


def test_extremes_stay_in_range():
    stripes = np.zeros((1, 40, 40, 3), np.uint8)
    stripes[:, ::2] = 255
    got = resized(stripes, (101, 13), InputConfig(resize="antialiased_uint8"))
    assert got.min() == 0 and got.max() == 255


def test_padding_is_zero_below_and_on_the_right():
    padded = pad(tf.ones((1, 2, 3, 1)), tf.constant([4, 5])).numpy()[0, :, :, 0]
    assert padded.shape == (4, 5) and padded.sum() == 6 and (padded[:2, :3] == 1).all()
