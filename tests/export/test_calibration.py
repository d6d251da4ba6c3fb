"""Pictures for calibration: what is taken, how it is laid out, what is refused."""

import cv2
import numpy as np
import pytest

from kmrcnn.config.schema import InputConfig
from kmrcnn.export.calibration import calibration_canvases

CONFIG = InputConfig(short_side=64, long_side=96)
CANVAS = (64, 96)


def plain(value, shape=(32, 40, 3)):
    return np.full(shape, value, np.uint8)


@pytest.fixture
def folder(tmp_path):
    for number in range(5):
        cv2.imwrite(str(tmp_path / f"{number}.png"), plain(10 * number))
    (tmp_path / "notes.txt").write_text("no picture")
    return tmp_path


def brightness(canvases):
    """The value at the upper left of each picture: which one it is."""
    return [float(images[0, 0, 0, 0]) for images, _ in canvases]


def test_folder_gives_its_pictures_in_order(folder):
    assert brightness(calibration_canvases(folder, CONFIG, CANVAS)) == [0, 10, 20, 30, 40]


def test_pattern_and_list_of_paths_and_arrays(folder):
    source = [str(folder / "4.png"), plain(77), folder / "1.png"]
    assert brightness(calibration_canvases(source, CONFIG, CANVAS)) == [40, 77, 10]
    assert brightness(calibration_canvases(f"{folder}/[34].png", CONFIG, CANVAS)) == [30, 40]


def test_picture_lies_resized_on_the_canvas():
    [(images, sizes)] = calibration_canvases([plain(200)], CONFIG, CANVAS)
    assert images.shape == (1, 64, 96, 3) and images.dtype == np.float32
    assert sizes.dtype == np.int32 and sizes.tolist() == [[64, 80]]  # twice 32 x 40
    assert (images[0, :, :80] == 200).all() and (images[0, :, 80:] == 0).all()


def test_channels_stay_rgb_for_a_bgr_model():
    """The reversal is in the exported graph."""
    image = np.zeros((32, 40, 3), np.uint8)
    image[..., 0] = 255
    config = InputConfig(short_side=64, long_side=96, channel_order="bgr")
    [(images, _)] = calibration_canvases([image], config, CANVAS)
    assert images[0, 5, 5].tolist() == [255, 0, 0]


def test_portrait_picture_shrinks_to_fit_a_landscape_canvas():
    [(images, sizes)] = calibration_canvases([plain(9, (80, 40, 3))], CONFIG, CANVAS)
    assert images.shape == (1, 64, 96, 3) and sizes.tolist() == [[64, 32]]


def test_limit_takes_pictures_from_the_whole_source(folder):
    assert brightness(calibration_canvases(folder, CONFIG, CANVAS, limit=2)) == [0, 20]
    with pytest.raises(ValueError, match="limit"):
        calibration_canvases(folder, CONFIG, CANVAS, limit=0)


@pytest.mark.parametrize("source", [None, [], (image for image in ())])
def test_no_pictures_is_an_error(source):
    with pytest.raises(ValueError, match="calibration_images"):
        calibration_canvases(source, CONFIG, CANVAS)


def test_wrong_paths_fail_before_iteration(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        calibration_canvases(tmp_path / "nowhere", CONFIG, CANVAS)
    with pytest.raises(ValueError, match="has no pictures"):
        calibration_canvases(tmp_path, CONFIG, CANVAS)


def test_damaged_file_is_named(tmp_path):
    path = tmp_path / "broken.png"
    path.write_bytes(b"not a picture")
    with pytest.raises(ValueError, match="broken.png"):
        list(calibration_canvases(path, CONFIG, CANVAS))


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.zeros((32, 40), np.uint8), "shape"),
        (np.zeros((2, 32, 40, 3), np.uint8), "list of pictures"),
        (np.zeros((0, 40, 3), np.uint8), "shape"),
        (np.full((32, 40, 3), 300.0), "0..255"),
        (np.full((32, 40, 3), np.nan), "0..255"),
        (np.full((32, 40, 3), 0.5), "multiply"),
    ],
)
def test_arrays_that_cannot_be_pictures(image, message):
    with pytest.raises(ValueError, match=message):
        calibration_canvases([image], CONFIG, CANVAS)
