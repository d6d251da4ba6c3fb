"""The deconvolution and the doubling of keypoint heads, by hand."""

import numpy as np
import pytest

from kmrcnn.layers.deconv_upsample import Deconv4x4, double
from tests.layer_check import layer_check


def test_layer():
    x = np.random.default_rng(0).standard_normal((2, 3, 5, 4)).astype("float32")
    layer = layer_check(lambda: Deconv4x4(6), x)
    assert layer(x).shape == (2, 6, 10, 6) == tuple(layer.compute_output_shape(x.shape))


@pytest.mark.parametrize("row,column", [(0, 0), (1, 2), (2, 2)])
def test_a_pixel_spreads_over_its_window_less_one_pixel_of_the_border(row, column):
    """Pixel i reaches the outputs 2 i - 1 .. 2 i + 2, as with stride 2 and padding 1 in PyTorch."""
    layer = Deconv4x4(1)
    layer.build((None, 3, 3, 1))
    kernel = np.arange(1, 17, dtype="float32").reshape(4, 4)
    layer.kernel.assign(kernel[:, :, None, None])
    x = np.zeros((1, 3, 3, 1), "float32")
    x[0, row, column] = 1
    padded = np.zeros((8, 8), "float32")
    padded[2 * row : 2 * row + 4, 2 * column : 2 * column + 4] = kernel
    np.testing.assert_array_equal(np.asarray(layer(x))[0, :, :, 0], padded[1:7, 1:7])


def test_doubling_by_hand():
    x = np.array([0.0, 4.0, 8.0], "float32").reshape(1, 1, 3, 1)
    want = [[0, 1, 3, 5, 7, 8]] * 2
    np.testing.assert_allclose(np.asarray(double(x))[0, :, :, 0], want)


def test_no_rois():
    layer = Deconv4x4(6)
    none = layer(np.zeros((0, 3, 5, 4), "float32"))
    assert none.shape == (0, 6, 10, 6) and double(none).shape == (0, 12, 20, 6)
