"""Files of pictures to one batch in the network frame, in a TensorFlow graph."""

from __future__ import annotations

from typing import NamedTuple

import tensorflow as tf

from kmrcnn.config.schema import InputConfig
from kmrcnn.export.picture_graph.exif import orientation_of, upright
from kmrcnn.export.picture_graph.resize import pad, resize
from kmrcnn.export.picture_graph.sizes import canvas_size, network_sizes


class NetworkBatch(NamedTuple):
    """Pictures in the network frame, and the sizes they have there and had before."""

    images: tf.Tensor  # (B, H, W, C) float32, 0-255, zeros below and on the right
    image_sizes: tf.Tensor  # (B, 2) int32, (height, width) of the content
    picture_sizes: tf.Tensor  # (B, 2) int32, (height, width) of the pictures


def decoded_batch(files: tf.Tensor, config: InputConfig) -> NetworkBatch:
    """Decodes, resizes each picture by its own size, and pads all to one canvas.

    Args:
        files: (B,) strings, the bytes of JPEG or PNG files; B >= 1.
        config: Size, filter and rounding of the model; three channels.

    Raises:
        InvalidArgumentError: When run: a string is no picture, or truncated; a picture is tiny or
            too elongated.
    """
    number = tf.shape(files)[0]
    resized, sizes, picture_sizes = _resize_each(files, number, config)
    canvas = canvas_size(sizes, config.pad_multiple)
    images = tf.map_fn(
        lambda index: pad(resized.read(index)[None], canvas)[0],
        tf.range(number),
        fn_output_signature=tf.TensorSpec((None, None, config.channels), tf.float32),
    )
    return NetworkBatch(images, sizes, picture_sizes)


def decode(data: tf.Tensor) -> tf.Tensor:
    """`kmrcnn.data.images.decode_image` of a JPEG or PNG file: (h, w, 3) uint8 RGB, upright.

    Equal to what Pillow reads, bit for bit; only 16-bit grey loses its low byte unrounded. Exif's
    orientation is applied; one that only XMP has is not.

    Args:
        data: A scalar string.
    """
    # the accurate transform is Pillow's; the op reads PNG too, and the first picture of a GIF
    image = tf.io.decode_jpeg(data, channels=3, dct_method="INTEGER_ACCURATE")
    return upright(image, orientation_of(data))


def _resize_each(
    files: tf.Tensor, number: tf.Tensor, config: InputConfig
) -> tuple[tf.TensorArray, tf.Tensor, tf.Tensor]:
    """Pictures (height, width, C) float32 of different sizes, their sizes after and before."""

    def step(index, resized, sizes, picture_sizes):
        image = decode(files[index])
        picture_size = tf.shape(image)[:2]
        size = network_sizes(picture_size[None], config)[0]
        return (
            index + 1,
            resized.write(index, resize(image[None], size, config)[0]),
            sizes.write(index, size),
            picture_sizes.write(index, picture_size),
        )

    start = (
        0,
        tf.TensorArray(
            tf.float32, number, infer_shape=False, element_shape=(None, None, config.channels)
        ),
        tf.TensorArray(tf.int32, number, element_shape=(2,)),
        tf.TensorArray(tf.int32, number, element_shape=(2,)),
    )
    _, resized, sizes, picture_sizes = tf.while_loop(
        lambda index, *_: index < number, step, start, maximum_iterations=number
    )
    return resized, sizes.stack(), picture_sizes.stack()
