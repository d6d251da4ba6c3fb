"""Files of pictures are read as `decode_image` reads them, and become one batch."""

import io

import numpy as np
import pytest
import skimage.data
import tensorflow as tf
from PIL import Image

from kmrcnn.config.schema import InputConfig
from kmrcnn.data.images import decode_image
from kmrcnn.data.preprocess import pad_to_canvas, to_network
from kmrcnn.export.picture_graph.decode import decode, decoded_batch

PICTURE = skimage.data.astronaut()[:199, :301]


def encoded(picture, kind="PNG", mode=None, **options) -> bytes:
    image = Image.fromarray(picture)
    file = io.BytesIO()
    (image.convert(mode) if mode else image).save(file, kind, **options)
    return file.getvalue()


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize(
    "options", [{}, {"progressive": True}, {"subsampling": 0}, {"subsampling": 2, "quality": 30}]
)
def test_jpeg_pixels_equal_pillows(mode, options):
    data = encoded(PICTURE, "JPEG", mode, **options)
    np.testing.assert_array_equal(decode(tf.constant(data)), decode_image(data))


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA", "P", "1"])
def test_png_pixels_equal_pillows(mode):
    data = encoded(PICTURE, "PNG", mode)
    np.testing.assert_array_equal(decode(tf.constant(data)), decode_image(data))


def test_sixteen_bit_grey_differs_by_one_at_most():
    data = encoded(PICTURE[..., 0].astype(np.uint16) * 211)
    difference = decode(tf.constant(data)).numpy().astype(int) - decode_image(data)
    assert np.abs(difference).max() == 1


@pytest.mark.parametrize("kind", ["bilinear", "antialiased_uint8"])
def test_batch_equals_the_predictors(kind):
    config = InputConfig(short_side=96, long_side=160, resize=kind)
    pictures = [PICTURE, PICTURE[:100], skimage.data.coffee()[::2, ::2]]
    files = [encoded(picture) for picture in pictures]
    graph = tf.function(lambda values: decoded_batch(values, config))
    batch = graph(tf.constant(files))
    canvas, sizes = pad_to_canvas([to_network(picture, config) for picture in pictures], 32)
    np.testing.assert_array_equal(batch.image_sizes, sizes)
    np.testing.assert_array_equal(batch.picture_sizes, [p.shape[:2] for p in pictures])
    np.testing.assert_allclose(batch.images, canvas, rtol=0, atol=5e-4)


@pytest.mark.parametrize(
    "data", [b"", b"hello", encoded(PICTURE, "JPEG")[:3000], encoded(PICTURE)[:3000]]
)
def test_what_is_no_picture_is_refused(data):
    graph = tf.function(lambda values: decoded_batch(values, InputConfig()))
    with pytest.raises(tf.errors.InvalidArgumentError):
        graph(tf.constant([data]))
