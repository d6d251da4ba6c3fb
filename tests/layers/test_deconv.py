import keras
import numpy as np

from kmrcnn.layers.deconv import Deconv2x2, interleave
from tests.layer_check import layer_check, randomize

X = np.random.default_rng(0).normal(size=(3, 4, 5, 6)).astype("float32")


def test_layer():
    layer = layer_check(lambda: Deconv2x2(7), X)
    assert layer.kernel.shape == (2, 2, 7, 6)
    assert layer(X).shape == (3, 8, 10, 7) == layer.compute_output_shape(X.shape)
    assert layer.compute_output_shape((None, None, 5, 6)) == (None, None, 10, 7)


def test_value_by_hand():
    layer = Deconv2x2(1)
    layer.build((None, 1, 2, 2))
    layer.kernel.assign(np.array([[[[1, 10]], [[2, 20]]], [[[3, 30]], [[4, 40]]]]))  # (2, 2, 1, 2)
    layer.bias.assign([0.5])
    got = np.asarray(layer(np.array([[[[1, 0], [2, 1]]]], "float32")))[0, ..., 0]
    np.testing.assert_allclose(got, [[1.5, 2.5, 12.5, 24.5], [3.5, 4.5, 36.5, 48.5]])


def test_equals_transposed_convolution():
    layer = Deconv2x2(7)
    layer(X)
    randomize(layer)
    want = keras.ops.conv_transpose(X, layer.kernel, strides=2, padding="valid") + layer.bias
    np.testing.assert_allclose(layer(X), want, atol=1e-5)


def test_subpixels_are_the_output_before_interleaving():
    layer = Deconv2x2(7)
    whole = np.asarray(layer(X))
    parts = np.asarray(layer.subpixels(X))
    for i in range(2):
        for j in range(2):
            np.testing.assert_allclose(parts[:, :, :, i, j], whole[:, i::2, j::2], atol=1e-6)


def test_interleave_keeps_further_axes():
    x = np.arange(2 * 3 * 2 * 2).reshape(1, 2, 3, 2, 2)
    got = np.asarray(interleave(x))
    want = [[0, 1, 4, 5, 8, 9], [2, 3, 6, 7, 10, 11]]
    np.testing.assert_array_equal(got[0], want + [[12 + v for v in row] for row in want])
    assert interleave(np.zeros((4, 2, 3, 2, 2, 5, 6))).shape == (4, 4, 6, 5, 6)


def test_config_round_trip():
    assert Deconv2x2.from_config(Deconv2x2(9).get_config()).filters == 9


def test_no_rois():
    assert Deconv2x2(7)(X[:0]).shape == (0, 8, 10, 7)
