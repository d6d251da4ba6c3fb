"""Each conversion is checked by doing the layer's arithmetic on both sides."""

import keras
import numpy as np

from kmrcnn.config.schema import BoxConfig, ModelConfig
from kmrcnn.weights import layouts

RNG = np.random.default_rng(0)
CONFIG = ModelConfig(box=BoxConfig(pooled_size=3))


def _random(*shape):
    return RNG.standard_normal(shape).astype(np.float32)


def test_conv_kernel_convolves_the_same():
    kernel, x = _random(4, 2, 3, 3), _random(1, 5, 6, 2)
    ours = keras.ops.conv(x, np.ascontiguousarray(layouts.conv(kernel, CONFIG)), padding="valid")
    for i, j in ((0, 0), (2, 3)):
        patch = x[0, i : i + 3, j : j + 3]  # (3, 3, 2)
        expected = np.einsum("yxc,ocyx->o", patch, kernel)
        np.testing.assert_allclose(np.asarray(ours)[0, i, j], expected, rtol=1e-4, atol=1e-5)


def test_deconv_kernel_spreads_the_same():
    kernel, x = _random(3, 5, 2, 2), _random(1, 4, 3, 3)  # (in, out, kh, kw)
    ours = keras.ops.conv_transpose(
        x, np.ascontiguousarray(layouts.conv(kernel, CONFIG)), strides=2, padding="valid"
    )
    expected = np.einsum("bijc,coyx->biyjxo", x, kernel).reshape(1, 8, 6, 5)
    np.testing.assert_allclose(np.asarray(ours), expected, rtol=1e-4, atol=1e-5)


def test_dense_after_flatten_sees_the_same_features():
    features, kernel = _random(3, 3, 4), _random(6, 4 * 3 * 3)  # (h, w, c)
    expected = kernel @ features.transpose(2, 0, 1).ravel()
    ours = features.ravel() @ layouts.dense_after_flatten(kernel, CONFIG)
    np.testing.assert_allclose(ours, expected, rtol=1e-4, atol=1e-5)


def test_dense_predictor_follows_the_features_where_there_is_no_dense_layer():
    config = ModelConfig(box=BoxConfig(pooled_size=3, num_convs=1, num_fcs=0))
    kernel = _random(6, 36)
    np.testing.assert_array_equal(
        layouts.dense_predictor(kernel, config), layouts.dense_after_flatten(kernel, config)
    )
    np.testing.assert_array_equal(layouts.dense_predictor(kernel, CONFIG), kernel.T)
