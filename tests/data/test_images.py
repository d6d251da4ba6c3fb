"""Reading odd picture files, and finding the files that were meant."""

import warnings

import numpy as np
import pytest
from PIL import Image

from kmrcnn.data.images import decode_image, find_images, read_image, read_size

COLOURS = np.zeros((20, 30, 3), np.uint8)
COLOURS[:, :15] = (250, 20, 30)  # red on the left
COLOURS[:, 15:] = (10, 40, 240)  # blue on the right
COLOURS[:4] = (255, 255, 255)  # white above


def save(path, array, mode=None, **options):
    image = Image.fromarray(array)
    (image.convert(mode) if mode else image).save(path, **options)
    return path


@pytest.mark.parametrize(
    "suffix, mode, tolerance",
    [
        (".png", "RGB", 0),
        (".bmp", "RGB", 0),
        (".webp", "RGB", 40),
        (".tif", "RGB", 0),
        (".gif", "P", 40),
        (".png", "P", 40),
        (".jpg", "RGB", 40),
        (".jpg", "CMYK", 40),
        (".tif", "CMYK", 2),
        (".png", "RGBA", 0),
    ],
)
def test_colour_files_give_the_same_rgb(tmp_path, suffix, mode, tolerance):
    pixels = read_image(save(tmp_path / f"a{suffix}", COLOURS, mode))
    assert pixels.dtype == np.uint8 and pixels.shape == (20, 30, 3)
    assert pixels.flags.c_contiguous and pixels.flags.writeable
    for row, column in [(10, 5), (10, 25), (1, 20)]:
        difference = pixels[row, column].astype(int) - COLOURS[row, column]
        assert np.abs(difference).max() <= tolerance


@pytest.mark.parametrize("mode", ["L", "1", "LA", "P"])
def test_grey_files_become_equal_channels(tmp_path, mode):
    grey = np.repeat(np.array([[0, 255]], np.uint8), 10, axis=0)
    pixels = read_image(save(tmp_path / "a.png", grey, mode))
    assert pixels.shape == (10, 2, 3)
    assert (pixels[:, 0] == 0).all() and (pixels[:, 1] == 255).all()


def test_transparent_pixels_keep_their_stored_colour(tmp_path):
    rgba = np.dstack([COLOURS, np.zeros((20, 30), np.uint8)])
    assert np.array_equal(read_image(save(tmp_path / "a.png", rgba)), COLOURS)


@pytest.mark.parametrize("suffix", [".png", ".tif", ".pgm"])
def test_sixteen_bit_grey_keeps_its_range(tmp_path, suffix):
    values = np.array([[0, 257, 32768, 65535]], np.uint16)
    pixels = read_image(save(tmp_path / f"a{suffix}", values))
    assert pixels[0, :, 0].tolist() == [0, 1, 128, 255]
    assert (pixels[..., 0] == pixels[..., 2]).all()


def test_float_file_asks_for_an_array(tmp_path):
    path = save(tmp_path / "a.tif", np.ones((4, 4), np.float32))
    with pytest.raises(ValueError, match=r"a\.tif.*pass the array"):
        read_image(path)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(tmp_path, orientation):
    undo = {
        1: None,
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }[orientation]
    stored = Image.fromarray(COLOURS)
    stored = stored if undo is None else stored.transpose(undo)
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored.save(tmp_path / "a.png", exif=exif)
    assert np.array_equal(read_image(tmp_path / "a.png"), COLOURS)


def test_animation_gives_its_first_frame(tmp_path):
    first, second = Image.fromarray(COLOURS), Image.fromarray(255 - COLOURS)
    first.save(tmp_path / "a.webp", save_all=True, append_images=[second], lossless=True)
    assert np.array_equal(read_image(tmp_path / "a.webp"), COLOURS)


def test_one_channel(tmp_path):
    pixels = read_image(save(tmp_path / "a.png", COLOURS), channels=1)
    assert pixels.shape == (20, 30, 1)
    assert pixels[10, 5, 0] == round(0.299 * 250 + 0.587 * 20 + 0.114 * 30)


def test_four_channels_come_as_stored(tmp_path):
    rgba = np.dstack([COLOURS, np.full((20, 30), 9, np.uint8)])
    path = save(tmp_path / "a.png", rgba)
    assert np.array_equal(read_image(path, channels=4), rgba)


def test_pages_become_channels(tmp_path):
    planes = [np.full((6, 7), value, np.uint16) for value in (257, 514, 65535, 0, 2570)]
    images = [Image.fromarray(plane) for plane in planes]
    images[0].save(tmp_path / "a.tif", save_all=True, append_images=images[1:])
    pixels = read_image(tmp_path / "a.tif", channels=5)
    assert pixels.shape == (6, 7, 5) and pixels[3, 3].tolist() == [1, 2, 255, 0, 10]
    with pytest.raises(ValueError, match=r"a\.tif.*5 page.*6 channels"):
        read_image(tmp_path / "a.tif", channels=6)


def test_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.jpg"):
        read_image(tmp_path / "none.jpg")


def test_folder_and_empty_file(tmp_path):
    (tmp_path / "empty.jpg").touch()
    with pytest.raises(ValueError, match=r"empty\.jpg is empty"):
        read_image(tmp_path / "empty.jpg")
    with pytest.raises(ValueError, match="is a folder"):
        read_image(tmp_path)


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".tif", ".gif", ".bmp", ".webp"])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_truncated_files_name_themselves(tmp_path, suffix, share):
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
    path = save(tmp_path / f"cut{suffix}", noise)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    with warnings.catch_warnings(), pytest.raises(ValueError, match="cut"):
        warnings.simplefilter("ignore")
        read_image(path)


@pytest.mark.parametrize("content", [b"hello", b"\xff\xd8\xff\xe0 nothing", b"\0" * 1000])
def test_other_files_name_themselves(tmp_path, content):
    path = tmp_path / "page.jpg"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"page\.jpg"):
        read_image(path)


@pytest.fixture
def folder(tmp_path):
    for name in ("b.JPG", "a.png", "c.txt", ".hidden.png", "[1].png", "clip.mp4", "sub/d.webp"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    return tmp_path


def names(paths):
    return [path.name for path in paths]


def test_find_lists_a_folder_by_name(folder):
    assert names(find_images(folder)) == ["[1].png", "a.png", "b.JPG"]


def test_find_expands_patterns(folder):
    assert names(find_images(str(folder / "*"))) == ["[1].png", "a.png", "b.JPG", "clip.mp4"]
    assert "d.webp" in names(find_images(str(folder / "**" / "*")))
    assert names(find_images(str(folder / "[ab].*"))) == ["a.png", "b.JPG"]


def test_find_keeps_files_order_and_drops_duplicates(folder):
    inputs = [folder / "c.txt", folder / "[1].png", folder, folder / "none.jpg", "no*match"]
    assert names(find_images(inputs)) == [
        "c.txt",
        "[1].png",
        "a.png",
        "b.JPG",
        "none.jpg",
        "no*match",
    ]


def test_find_tells_of_a_folder_without_pictures(tmp_path):
    with pytest.raises(ValueError, match="no pictures"):
        find_images([tmp_path])


def test_decode_gives_what_reading_the_file_gives(tmp_path):
    path = save(tmp_path / "a.jpg", COLOURS)
    np.testing.assert_array_equal(decode_image(path.read_bytes()), read_image(path))


@pytest.mark.parametrize("data", [b"", b"no picture"])
def test_decode_names_what_it_cannot_read(data):
    with pytest.raises(ValueError, match="^Picture 7 is not a picture"):
        decode_image(data, name="Picture 7")


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".tif", ".webp"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_size_is_that_of_the_upright_picture(tmp_path, suffix, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = save(tmp_path / f"a{suffix}", COLOURS, exif=exif)
    assert read_size(path) == read_size(path.read_bytes()) == read_image(path).shape[:2]


@pytest.mark.parametrize("source", [b"no picture", "gone.jpg", "text.jpg"])
def test_the_size_of_something_else_is_an_error(tmp_path, source):
    (tmp_path / "text.jpg").write_text("no picture")
    with pytest.raises((ValueError, FileNotFoundError)):
        read_size(source if isinstance(source, bytes) else tmp_path / source)


def test_too_large_for_pillow(tmp_path, monkeypatch):
    path = tmp_path / "huge.png"
    Image.new("RGB", (40, 40)).save(path)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(ValueError, match="huge.png is too large: .* can be predicted in tiles"):
        read_image(path)
