import dataclasses
import json

import keras
import numpy as np
import pytest

from kmrcnn.config.schema import AnchorConfig
from kmrcnn.rpn.anchors import AnchorGenerator, cell_anchors

TORCHVISION = AnchorConfig(rounded=True, strides="derived", order="ratio_major")
DETECTRON2 = AnchorConfig()
STRIDES = (4, 8, 16, 32, 64)


@pytest.mark.parametrize("case", range(4))
@pytest.mark.parametrize("system", ["tv", "d2_off0", "d2_off0.5"])
def test_equal_reference_exactly(system, case, cases_dir):
    arrays = np.load(cases_dir / "anchors.npz")
    info = json.loads((cases_dir / "anchors.json").read_text())["cases"][case]
    config = TORCHVISION if system == "tv" else DETECTRON2
    config = dataclasses.replace(
        config,
        sizes=tuple(map(tuple, info["sizes"])),
        aspect_ratios=tuple(info["aspect_ratios"][0]),
        offset=0.5 if system == "d2_off0.5" else 0.0,
    )
    generator = AnchorGenerator(config, tuple(info["d2_strides"]))
    anchors = generator(tuple(info["image"]), [tuple(size) for size in info["grid"]])
    key = f"tv{case}" if system == "tv" else f"d2_{case}_{system[3:]}"
    np.testing.assert_array_equal(np.concatenate(anchors), arrays[key])


HALF_SIDES_ROUNDED = {  # size: half width and height for h / w = 0.5, 1, 2
    32: [(23, 11), (16, 16), (11, 23)],
    64: [(45, 23), (32, 32), (23, 45)],
    128: [(91, 45), (64, 64), (45, 91)],
    256: [(181, 91), (128, 128), (91, 181)],
    512: [(362, 181), (256, 256), (181, 362)],
}
HALF_SIDES = {32: (22.6274, 11.3137), 64: (45.2548, 22.6274), 128: (90.5097, 45.2548),
              256: (181.0193, 90.5097), 512: (362.0387, 181.0193)}  # fmt: skip


@pytest.mark.parametrize("size", HALF_SIDES_ROUNDED)
def test_rounded_cell_anchors(size):
    want = [(-w, -h, w, h) for w, h in HALF_SIDES_ROUNDED[size]]
    np.testing.assert_array_equal(cell_anchors(TORCHVISION, (size,)), want)


@pytest.mark.parametrize("size", HALF_SIDES)
def test_exact_cell_anchors(size):
    w, h = HALF_SIDES[size]
    half = size / 2
    want = [(-w, -h, w, h), (-half, -half, half, half), (-h, -w, h, w)]
    got = cell_anchors(DETECTRON2, (size,))
    np.testing.assert_allclose(got, want, atol=5e-5)
    assert got.dtype == np.float32


P6_STRIDES = [  # padded image, grid, stride that torchvision derives
    ((800, 1088), (13, 17), (61, 64)),
    ((800, 1216), (13, 19), (61, 64)),
    ((800, 800), (13, 13), (61, 61)),
    ((768, 1344), (12, 21), (64, 64)),
    ((672, 1344), (11, 21), (61, 64)),
]


@pytest.mark.parametrize("image, grid, stride", P6_STRIDES)
def test_derived_and_fixed_stride_of_the_top_level(image, grid, stride):
    for config, (step_y, step_x) in ((TORCHVISION, stride), (DETECTRON2, (64, 64))):
        config = dataclasses.replace(config, sizes=((512.0,),), aspect_ratios=(1.0,))
        (anchors,) = AnchorGenerator(config, (64,))(image, [grid])
        centres = np.asarray(anchors).reshape(*grid, 2, 2).mean(2)
        np.testing.assert_array_equal(centres[1, 0], (0, step_y))
        np.testing.assert_array_equal(centres[0, 1], (step_x, 0))


def test_order_inside_a_cell():
    sizes, ratios = (16.0, 32.0), (0.25, 1.0)
    by_size, by_ratio = (
        cell_anchors(AnchorConfig(sizes=(sizes,), aspect_ratios=ratios, order=order), sizes)
        for order in ("size_major", "ratio_major")
    )
    np.testing.assert_array_equal(by_size[:, 2:], [(16, 4), (8, 8), (32, 8), (16, 16)])
    np.testing.assert_array_equal(by_ratio[:, 2:], [(16, 4), (32, 8), (8, 8), (16, 16)])


def test_rows_run_over_y_x_and_cell():
    config = AnchorConfig(sizes=((8.0,),), aspect_ratios=(1.0,), offset=0.5)
    (anchors,) = AnchorGenerator(config, (10,))((20, 30), [(2, 3)])
    centres = np.asarray(anchors).reshape(-1, 2, 2).mean(1)
    np.testing.assert_array_equal(centres, [(5, 5), (15, 5), (25, 5), (5, 15), (15, 15), (25, 15)])


def test_sizes_known_at_run_time_only():
    tf = pytest.importorskip("tensorflow")
    generator = AnchorGenerator(TORCHVISION, STRIDES)
    grids = [(25, 38), (13, 19), (7, 10), (4, 5), (2, 3)]

    @tf.function
    def run(image, *grids):
        return generator(tuple(tf.unstack(image)), [tuple(tf.unstack(grid)) for grid in grids])

    got = run(tf.constant([100, 150]), *(tf.constant(grid) for grid in grids))
    for one, want in zip(got, generator((100, 150), grids)):
        np.testing.assert_array_equal(one, want)
        assert keras.backend.standardize_dtype(one.dtype) == "float32"


def test_empty_level():
    (anchors,) = AnchorGenerator(AnchorConfig(sizes=((8.0,),)), (4,))((8, 8), [(0, 2)])
    assert tuple(anchors.shape) == (0, 4)


def test_wrong_number_of_levels():
    with pytest.raises(ValueError, match=r"one entry per level \(2\)"):
        AnchorGenerator(AnchorConfig(), (4, 8))


def test_levels_with_different_numbers_of_sizes():
    with pytest.raises(ValueError, match="as many sizes on every level"):
        AnchorGenerator(AnchorConfig(sizes=((8.0,), (16.0, 32.0))), (4, 8))
