"""Photographs stand upright, whichever way their file says how they were held."""

import io
import struct

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from kmrcnn.data.images import decode_image
from kmrcnn.export.picture_graph.decode import decode
from kmrcnn.export.picture_graph.exif import orientation_of

PICTURE = np.random.default_rng(0).integers(0, 256, (24, 40, 3), np.uint8)
SHORT, LONG = 3, 4


def exif(orientation: int, order: str, kind: int = SHORT, others: int = 2) -> bytes:
    """A TIFF block with `others` entries before the orientation."""
    values = [struct.pack(order + "HHI4s", 0x0100 + n, 3, 1, b"\1\0\0\0") for n in range(others)]
    value = struct.pack(
        order + ("HH" if kind == SHORT else "I"), *([orientation, 0][: 6 - kind - 1])
    )
    values.append(struct.pack(order + "HHI4s", 0x0112, kind, 1, value))
    header = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "I", 8)
    return header + struct.pack(order + "H", len(values)) + b"".join(values) + bytes(4)


def file_with(block: bytes, kind: str = "JPEG", picture=PICTURE) -> bytes:
    file = io.BytesIO()
    Image.fromarray(picture).save(file, kind, exif=b"Exif\0\0" + block)
    return file.getvalue()


def segment(marker: int, contents: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(contents) + 2) + contents


@pytest.fixture(scope="module")
def orientation():
    return tf.function(orientation_of, input_signature=[tf.TensorSpec((), tf.string)])


@pytest.fixture(scope="module")
def decoded():
    return tf.function(decode, input_signature=[tf.TensorSpec((), tf.string)])


@pytest.mark.parametrize("order", ["<", ">"], ids=["little", "big"])
@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
@pytest.mark.parametrize("value", range(1, 9))
def test_every_orientation_as_pillow_shows_it(decoded, value, kind, order):
    data = file_with(exif(value, order), kind)
    want = decode_image(data)
    assert want.shape[:2] == ((24, 40) if value < 5 else (40, 24))
    np.testing.assert_array_equal(decoded(data), want)


@pytest.mark.parametrize("order", ["<", ">"], ids=["little", "big"])
def test_long_value(orientation, decoded, order):
    data = file_with(exif(6, order, LONG))
    assert orientation(data) == 6
    np.testing.assert_array_equal(decoded(data), decode_image(data))


@pytest.mark.parametrize("value", [0, 9, 65535])
def test_other_values_mean_upright(orientation, value):
    assert orientation(file_with(exif(value, "<"))) == 1


@pytest.mark.parametrize(
    "block", [b"", exif(6, "<", others=0)[:10], b"II*\0\xff\xff\xff\x7f", b"?" * 30]
)
def test_damaged_exif_means_upright(orientation, block):
    assert orientation(file_with(block)) == 1


def test_segments_before_exif_are_passed(orientation):
    data = file_with(exif(8, ">"))
    comment, xmp = (
        segment(0xFE, b"Exif\0\0II*\0"),
        segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0 "),
    )
    assert orientation(data[:2] + comment + xmp + b"\xff\xff" + data[2:]) == 8


def test_exif_inside_the_pixels_is_not_taken(orientation):
    file = io.BytesIO()
    Image.fromarray(PICTURE).save(file, "JPEG")
    hidden = segment(0xE1, b"Exif\0\0" + exif(3, "<"))
    assert orientation(file.getvalue() + hidden) == 1


@pytest.mark.parametrize(
    "data",
    [b"", b"\xff\xd8", b"\xff\xd8\xff", b"\xff\xd8\xff\xe1", b"\x89PNG\r\n\x1a\n\0", b"text"],
)
def test_fragments_mean_upright(orientation, data):
    assert orientation(data) == 1


def test_random_damage_never_fails(orientation):
    rng = np.random.default_rng(1)
    for kind in ("JPEG", "PNG"):
        whole = np.frombuffer(file_with(exif(6, "<"), kind), np.uint8)
        for _ in range(150):
            damaged = whole[: rng.integers(1, len(whole))].copy()
            damaged[rng.integers(0, min(len(damaged), 80), 3)] = rng.integers(0, 256, 3)
            assert 1 <= orientation(damaged.tobytes()) <= 8


def test_chunks_without_end_are_given_up(orientation):
    assert orientation(b"\xff\xd8" + b"\xff" * 10**6) == 1
