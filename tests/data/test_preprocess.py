"""Pictures to the network frame, as torchvision and Detectron2 do it."""

import json

import numpy as np
import pytest
from PIL import Image

from kmrcnn.config.schema import InputConfig
from kmrcnn.data.preprocess import canvas_size, network_size, pad_to_canvas, to_network

TV = {"resize": "bilinear", "size_rounding": "floor"}
D2 = {"resize": "antialiased_uint8", "size_rounding": "half_up"}
SYSTEMS = {"tv": TV, "d2": D2}


def settings(system="tv", channels=3, short=800, long=1333, order="rgb"):
    return InputConfig(
        channels=channels,
        channel_order=order,
        mean=(0.0,) * channels,
        std=(1.0,) * channels,
        short_side=short,
        long_side=long,
        **SYSTEMS[system],
    )


@pytest.mark.parametrize(
    "size, torchvision, detectron2, padded",
    [
        ((480, 640), (800, 1066), (800, 1067), (800, 1088)),
        ((427, 640), (800, 1199), (800, 1199), (800, 1216)),
        ((426, 640), (800, 1201), (800, 1202), (800, 1216)),
        ((375, 500), (800, 1066), (800, 1067), (800, 1088)),
        ((612, 612), (800, 800), (800, 800), (800, 800)),
        ((1080, 1920), (749, 1333), (750, 1333), (768, 1344)),
        ((600, 1200), (666, 1333), (667, 1333), (672, 1344)),
        ((640, 480), (1066, 800), (1067, 800), (1088, 800)),
    ],
)
def test_sizes_of_both_systems(size, torchvision, detectron2, padded):
    assert network_size(size, settings("tv")) == torchvision
    assert network_size(size, settings("d2")) == detectron2
    assert canvas_size(torchvision, 32) == padded


@pytest.mark.parametrize("system", SYSTEMS)
@pytest.mark.parametrize("size", [(1, 5000), (5000, 1)])
def test_too_elongated(size, system):
    with pytest.raises(ValueError, match=f"too elongated: {size[0]} x {size[1]}"):
        network_size(size, settings(system))


@pytest.fixture(scope="module", params=range(4))
def case(request, cases_dir):
    info = json.loads((cases_dir / "resize.json").read_text())["cases"][request.param]
    return np.load(cases_dir / "resize.npz"), info


def test_equals_torchvision(case):
    arrays, info = case
    config = settings("tv", short=info["min_size"], long=info["max_size"])
    image = to_network(arrays["image"], config)
    assert list(image.shape[:2]) == info["tv_size"]
    defaults = InputConfig()
    normalised = (image - np.array(defaults.mean, "float32")) / np.array(defaults.std, "float32")
    canvas, sizes = pad_to_canvas([normalised], 32)
    assert list(canvas.shape[1:3]) == info["tv_padded"] and sizes.tolist() == [info["tv_size"]]
    np.testing.assert_allclose(
        canvas[0], np.moveaxis(arrays[f"tv{info['case']}"], 0, -1), atol=1e-5
    )


def test_equals_detectron2_exactly(case):
    arrays, info = case
    config = settings("d2", short=info["min_size"], long=info["max_size"])
    image = to_network(arrays["image"], config)
    assert image.dtype == np.float32
    np.testing.assert_array_equal(image, arrays[f"d2_{info['case']}"])


@pytest.mark.parametrize("system", SYSTEMS)
@pytest.mark.parametrize("channels", [1, 2, 3, 4, 6])
@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_any_number_of_channels(dtype, channels, system):
    image = np.random.default_rng(0).uniform(0, 255, (40, 50, channels)).astype(dtype)
    got = to_network(image, settings(system, channels, short=24, long=60))
    assert got.shape == (24, 30, channels) and got.dtype == np.float32
    for c in range(channels):
        one = to_network(image[:, :, c : c + 1], settings(system, 1, short=24, long=60))
        np.testing.assert_allclose(got[:, :, c], one[:, :, 0], atol=1e-4)
    assert (got == got.round()).all() == (dtype == "uint8" and system == "d2")


def test_float_pictures_are_filtered_like_uint8():
    image = np.random.default_rng(0).integers(0, 256, (40, 50, 3)).astype("uint8")
    whole, real = (
        to_network(image.astype(t), settings("d2", short=24)) for t in ("uint8", "float32")
    )
    assert 0 < np.abs(whole - real).max() <= 1.01
    want = np.asarray(
        Image.fromarray(image[..., 0].astype("float32")).resize((30, 24), Image.Resampling.BILINEAR)
    )
    np.testing.assert_allclose(real[..., 0], want, atol=1e-4)


@pytest.mark.parametrize("system", SYSTEMS)
def test_channel_order(system):
    image = np.random.default_rng(0).integers(0, 256, (40, 50, 3)).astype("uint8")
    rgb, bgr = (
        to_network(image, settings(system, short=24, order=order)) for order in ("rgb", "bgr")
    )
    np.testing.assert_array_equal(bgr, rgb[..., ::-1])


@pytest.mark.parametrize("system", SYSTEMS)
def test_same_size_changes_nothing(system):
    image = np.random.default_rng(0).integers(0, 256, (40, 50, 3)).astype("uint8")
    np.testing.assert_array_equal(to_network(image, settings(system, short=40)), image)


def test_padding_is_zero_below_and_on_the_right():
    images = [np.ones((20, 30, 3), "float32"), np.ones((33, 10, 3), "float32")]
    canvas, sizes = pad_to_canvas(images, 16)
    assert canvas.shape == (2, 48, 32, 3) and canvas.dtype == np.float32
    assert sizes.tolist() == [[20, 30], [33, 10]] and sizes.dtype == np.int32
    for plane, (height, width) in zip(canvas, sizes):
        assert plane[:height, :width].all() and plane.sum() == height * width * 3
