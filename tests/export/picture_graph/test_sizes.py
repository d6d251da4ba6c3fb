"""Sizes in the graph are those of `network_size`, to the pixel."""

import numpy as np
import pytest
import tensorflow as tf

from kmrcnn.config.schema import InputConfig
from kmrcnn.data import preprocess
from kmrcnn.export.picture_graph.sizes import canvas_size, network_sizes

SIDES = [(800, 1333), (640, 640), (96, 160)]


def many_sizes() -> np.ndarray:
    """(N, 2): all small ones, whole ratios, and photographs."""
    small = np.stack(np.meshgrid(np.arange(40, 160), np.arange(40, 160)), -1).reshape(-1, 2)
    rng = np.random.default_rng(0)
    ratios = rng.integers(1, 9, (3000, 2)) * rng.integers(50, 400, (3000, 1))
    return np.concatenate([small, ratios, rng.integers(200, 6000, (6000, 2))]).astype(np.int32)


@pytest.mark.parametrize("rounding", ["floor", "half_up", "half_even"])
@pytest.mark.parametrize("changes", [{}, {"enlarge_only": True}, {"min_scale": 1.7}], ids=str)
@pytest.mark.parametrize("short_side, long_side", SIDES)
def test_sizes_equal_those_of_the_predictor(rounding, changes, short_side, long_side):
    config = InputConfig(
        short_side=short_side, long_side=long_side, size_rounding=rounding, **changes
    )
    sizes = many_sizes()
    want = [preprocess.network_size(tuple(size), config) for size in sizes.tolist()]
    got = tf.function(lambda values: network_sizes(values, config))(sizes)
    np.testing.assert_array_equal(got, want)


def test_whole_results_are_not_lost_to_rounding():
    config = InputConfig(short_side=800, long_side=1333)
    got = network_sizes(tf.constant([[480, 640], [1000, 1500], [2, 3]]), config)
    assert got.numpy().tolist() == [[800, 1066], [800, 1200], [800, 1200]]


@pytest.mark.parametrize("rounding", ["floor", "half_up", "half_even"])
@pytest.mark.parametrize(
    "size, message", [((20000, 2), "too elongated"), ((1, 300), "at least 2"), ((0, 9), "at least")]
)
def test_odd_sizes_are_refused(rounding, size, message):
    config = InputConfig(short_side=60, long_side=100, size_rounding=rounding)
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        tf.function(lambda values: network_sizes(values, config))(tf.constant([[80, 90], size]))


def test_canvas_holds_the_largest_sides():
    canvas = canvas_size(tf.constant([[64, 33], [10, 96]]), 32)
    assert canvas.numpy().tolist() == [64, 96]
    assert canvas_size(tf.constant([[65, 97]]), 32).numpy().tolist() == [96, 128]
