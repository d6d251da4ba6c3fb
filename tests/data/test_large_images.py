"""Pictures opened without being read, where the file allows it; else as `read_image` reads them."""

import numpy as np
import pytest
from PIL import Image

from kmrcnn.data.images import read_image
from kmrcnn.data.large_images import open_image

RGB = np.random.default_rng(0).integers(0, 256, (50, 70, 3)).astype(np.uint8)
RGBA = np.random.default_rng(1).integers(0, 256, (50, 70, 4)).astype(np.uint8)


def save(folder, pixels, name="one.tif", **options):
    path = folder / name
    Image.fromarray(pixels).save(path, **options)
    return path


@pytest.mark.parametrize(
    "pixels, channels, options",
    [
        (RGB, 3, {}),
        (RGBA, 3, {}),
        (RGB[..., 0], 1, {}),
        (RGB, 3, {"tiffinfo": {278: 7}}),  # several strips
        (RGB, 3, {"big_tiff": True}),
    ],
)
def test_plain_tiff_is_mapped(tmp_path, pixels, channels, options):
    path = save(tmp_path, pixels, **options)
    picture = open_image(path, channels)
    assert isinstance(picture, np.memmap) and not picture.flags.writeable
    np.testing.assert_array_equal(picture, pixels.reshape(picture.shape))
    np.testing.assert_array_equal(
        picture[10:20, 30:40], pixels.reshape(picture.shape)[10:20, 30:40]
    )


@pytest.mark.parametrize(
    "pixels, name, options",
    [
        (RGB, "one.png", {}),
        (RGB, "one.jpg", {"quality": 90}),
        (RGB, "one.tif", {"compression": "tiff_lzw"}),
        (RGB, "one.tif", {"compression": "tiff_deflate"}),
        (RGB, "one.tif", {"tiffinfo": {274: 6}}),  # lies on its side
        (RGB[..., 0].astype(np.uint16) * 257, "one.tif", {}),
        (RGB[..., 0] > 127, "one.tif", {}),
    ],
)
def test_other_files_are_read_as_a_whole(tmp_path, pixels, name, options):
    path = save(tmp_path, pixels, name, **options)
    picture = open_image(path, 3)
    assert not isinstance(picture, np.memmap)
    np.testing.assert_array_equal(picture, read_image(path, 3))


def test_a_model_of_other_channels_gets_the_reader(tmp_path):
    path = save(tmp_path, RGB)
    np.testing.assert_array_equal(open_image(path, 1), read_image(path, 1))


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
def test_missing_and_damaged_files(tmp_path):
    with pytest.raises(FileNotFoundError, match="none.tif"):
        open_image(tmp_path / "none.tif")
    path = save(tmp_path, RGB)
    whole = path.read_bytes()
    for content in (b"", b"II*\0", whole[:8], whole[: len(whole) // 2], b"hello, no picture"):
        path.write_bytes(content)
        with pytest.raises(ValueError, match="one.tif"):
            open_image(path)
