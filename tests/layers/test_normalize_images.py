import numpy as np
import pytest

from kmrcnn.layers.normalize_images import NormalizeImages
from tests.layer_check import layer_check

MEAN, STD = (10.0, 20.0, 30.0), (2.0, 4.0, 5.0)


def batch(dtype="float32"):
    return np.random.default_rng(0).integers(0, 256, (2, 6, 8, 3)).astype(dtype)


def test_layer():
    sizes = np.array([[6, 8], [3, 5]], "int32")
    layer = layer_check(
        lambda: NormalizeImages(MEAN, STD), batch(), sizes, trains=False, float16_atol=1e-3
    )
    assert layer(batch(), sizes).shape == layer.compute_output_shape(batch().shape) == (2, 6, 8, 3)
    assert not layer.weights


def test_content_is_normalised_and_padding_is_zero():
    images = np.full((1, 2, 3, 3), (12.0, 12.0, 30.0), "float32")
    got = np.asarray(NormalizeImages(MEAN, STD)(images, np.array([[1, 2]])))
    want = np.zeros((1, 2, 3, 3))
    want[0, 0, :2] = (1.0, -2.0, 0.0)
    np.testing.assert_allclose(got, want)


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_any_dtype(dtype):
    sizes = np.array([[6, 8], [6, 8]])
    want = (batch("float64") - MEAN) / STD
    np.testing.assert_allclose(NormalizeImages(MEAN, STD)(batch(dtype), sizes), want, atol=1e-5)


def test_each_image_has_its_own_padding():
    sizes = np.array([[2, 8], [6, 3]])
    got = np.asarray(NormalizeImages((300.0,) * 3, STD)(batch(), sizes))  # content is never 0
    for image, (height, width) in zip(got, sizes):
        inside = np.zeros((6, 8), bool)
        inside[:height, :width] = True
        np.testing.assert_array_equal((image != 0).all(-1), inside)


def test_other_numbers_of_channels():
    got = NormalizeImages((1.0,), (2.0,))(np.full((1, 2, 2, 1), 5.0), np.array([[2, 2]]))
    np.testing.assert_allclose(got, np.full((1, 2, 2, 1), 2.0))


def test_config_round_trip():
    again = NormalizeImages.from_config(NormalizeImages(MEAN, STD).get_config())
    assert (again.mean, again.std) == (MEAN, STD)
