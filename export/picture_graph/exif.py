"""How a photograph was held: the orientation in the bytes of a JPEG or PNG file, in a graph.

JPEG: segments from byte 2, each FF, kind, length (2 bytes, counts itself); Exif is in an APP1.
PNG: chunks from byte 8, each length, kind, contents, checksum; Exif is in an eXIf.
Exif itself is a TIFF header: byte order, 42, place of the first directory; a directory is a number
of entries of 12 bytes: tag, type, count, value. Whatever is damaged counts as upright.
"""

from __future__ import annotations

import numpy as np
import tensorflow as tf

MAX_PARTS = 10000  # segments or chunks looked at
_ORIENTATION, _SHORT, _LONG = 0x0112, 3, 4
_ENTRY = 12  # bytes
_FIRST_SEGMENT, _FIRST_CHUNK = np.int64(2), np.int64(8)  # bytes from the beginning of the file
_START_OF_SCAN, _END_OF_IMAGE, _APP1 = 0xDA, 0xD9, 0xE1
_MIRRORED_LEFT_RIGHT = (2, 3, 6, 7)  # after the transposition of 5..8
_MIRRORED_UP_DOWN = (3, 4, 7, 8)


def upright(image: tf.Tensor, orientation: tf.Tensor) -> tf.Tensor:
    """A picture (h, w, C) turned and mirrored as its orientation 1..8 says."""
    image = tf.cond(orientation >= 5, lambda: tf.transpose(image, (1, 0, 2)), lambda: image)
    image = _mirror_if(image, orientation, _MIRRORED_LEFT_RIGHT, axis=1)
    return _mirror_if(image, orientation, _MIRRORED_UP_DOWN, axis=0)


def orientation_of(data: tf.Tensor) -> tf.Tensor:
    """Exif's orientation 1..8, a scalar int32; 1, upright, where there is none.

    Args:
        data: A scalar string, the bytes of a file.
    """
    start = _exif_in_jpeg(data) + _exif_in_png(data)  # one of them is 0
    little = _text(data, start, 2) == b"II"
    known = (start > 0) & (little | (_text(data, start, 2) == b"MM"))
    directory = start + _number(data, start + 4, 4, little)
    count = _number(data, directory, 2, little)
    size = tf.maximum(count, 1) * _ENTRY
    entries = tf.reshape(_bytes(data, directory + 2, tf.cast(size, tf.int32)), (-1, _ENTRY))
    tags = _value(entries[:, 0:2], little)
    found = tf.where((tags == _ORIENTATION) & known & (count > 0))[:, 0]
    orientation = _orientation_in(tf.gather(entries, found), little)  # (0 or more,)
    return tf.concat([orientation, [1]], axis=0)[0]


def _orientation_in(entries: tf.Tensor, little: tf.Tensor) -> tf.Tensor:
    """Orientation (N,) int32 of directory entries (N, 12) that hold one."""
    types = _value(entries[:, 2:4], little)
    short, long = _value(entries[:, 8:10], little), _value(entries[:, 8:12], little)
    values = tf.where(types == _SHORT, short, tf.where(types == _LONG, long, 1))
    return tf.cast(tf.where((values >= 1) & (values <= 8), values, 1), tf.int32)


def _exif_in_jpeg(data: tf.Tensor) -> tf.Tensor:
    """Place of the TIFF header, int64; 0 where there is none."""

    def is_exif(at):
        return (_number(data, at, 2) == 0xFF00 + _APP1) & (_text(data, at + 4, 6) == b"Exif\0\0")

    def goes_on(at):
        marker = _number(data, at, 2)
        last = (marker == 0xFF00 + _START_OF_SCAN) | (marker == 0xFF00 + _END_OF_IMAGE)
        return (marker >= 0xFF00) & ~last & ~is_exif(at)

    def to_next(at):
        filling = _number(data, at, 2) == 0xFFFF
        return tf.where(filling, at + 1, at + 2 + _number(data, at + 2, 2))

    is_jpeg = _text(data, 0, 2) == b"\xff\xd8"
    at = _walk(goes_on, to_next, tf.where(is_jpeg, _FIRST_SEGMENT, _length(data)))
    return tf.where(is_exif(at), at + 10, 0)


def _exif_in_png(data: tf.Tensor) -> tf.Tensor:
    """Place of the TIFF header, int64; 0 where there is none."""
    length = _length(data)

    def goes_on(at):
        kind = _text(data, at + 4, 4)
        return (at < length) & (kind != b"eXIf") & (kind != b"IEND")

    def to_next(at):
        return at + 12 + _number(data, at, 4)

    is_png = _text(data, 0, 8) == b"\x89PNG\r\n\x1a\n"
    at = _walk(goes_on, to_next, tf.where(is_png, _FIRST_CHUNK, length))
    return tf.where(_text(data, at + 4, 4) == b"eXIf", at + 8, 0)


def _walk(goes_on, to_next, start: tf.Tensor) -> tf.Tensor:
    """The first place, from `start` on, where it does not go on."""
    step = tf.while_loop(goes_on, lambda at: [to_next(at)], [start], maximum_iterations=MAX_PARTS)
    return step[0]


def _mirror_if(image: tf.Tensor, orientation: tf.Tensor, which: tuple, axis: int) -> tf.Tensor:
    needed = tf.reduce_any(orientation == tf.constant(which))
    return tf.cond(needed, lambda: tf.reverse(image, [axis]), lambda: image)


def _number(data: tf.Tensor, at, size: int, little=False) -> tf.Tensor:
    """An unsigned number of `size` bytes, int64."""
    return _value(_bytes(data, at, size)[None], little)[0]


def _value(numbers: tf.Tensor, little) -> tf.Tensor:
    """(N,) int64 from the bytes (N, size) of unsigned numbers."""
    size = numbers.shape[1]
    numbers = tf.cast(tf.where(little, numbers[:, ::-1], numbers), tf.int64)
    return tf.reduce_sum(numbers * [256**place for place in reversed(range(size))], axis=1)


def _bytes(data: tf.Tensor, at, size) -> tf.Tensor:
    """(size,) uint8 from place `at` on; zeros beyond the end."""
    return tf.io.decode_raw(_text(data, at, size), tf.uint8, fixed_length=size)


def _text(data: tf.Tensor, at, size) -> tf.Tensor:
    """At most `size` bytes from place `at` on, fewer at the end."""
    at = tf.clip_by_value(tf.cast(at, tf.int64), 0, _length(data))
    return tf.strings.substr(data, at, tf.cast(size, tf.int64))


def _length(data: tf.Tensor) -> tf.Tensor:
    return tf.cast(tf.strings.length(data), tf.int64)
