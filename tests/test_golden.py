"""The core against stored numbers of torchvision and Detectron2; always runs, needs no folder.

The numbers come from golden/make_core.py; more of them are checked where KMRCNN_CASES is there.
Those of the whole path come from golden/make_tiny.py.
"""

import json
from pathlib import Path

import numpy as np
import pytest

from kmrcnn.config.schema import AnchorConfig
from kmrcnn.custom_ops import roi_align
from kmrcnn.postprocess.nms import NEVER, grouped_nms
from kmrcnn.postprocess.paste_masks import paste_masks
from kmrcnn.rpn.anchors import AnchorGenerator
from kmrcnn.targets.box_coder import decode, encode
from tests.box_cases import detect, reference
from tests.golden import make_tiny

FILE = Path(__file__).resolve().parent / "golden" / "core.npz"
WEIGHTS = (10.0, 10.0, 5.0, 5.0)
ANCHORS = {
    "tv": AnchorConfig(rounded=True, strides="derived", order="ratio_major"),
    "d2": AnchorConfig(),
}


@pytest.fixture(scope="module")
def core():
    return dict(np.load(FILE))


def part(core, name):
    return {key.split("/")[1]: value for key, value in core.items() if key.startswith(f"{name}/")}


def test_file_is_small_and_names_its_versions(core):
    assert FILE.stat().st_size < 200_000
    assert {"torchvision", "detectron2"} <= set(json.loads(str(core["versions"])))


@pytest.mark.parametrize("aligned", [True, False])
@pytest.mark.parametrize("ratio", [0, 2])
def test_roi_align(core, ratio, aligned):
    values = part(core, "roi_align")
    rois, maps = values["rois"], [np.moveaxis(values["map"], 1, -1)]
    index = rois[:, 0].astype("int32")
    pooled = roi_align(maps, rois[:, 1:], index, 4, 7, ratio, aligned)
    want = np.moveaxis(values[f"{ratio}_{'aligned' if aligned else 'plain'}"], 1, -1)
    np.testing.assert_allclose(pooled, want, atol=1e-5)


@pytest.mark.parametrize("kind", ["nms", "batched", "batched_d2"])
@pytest.mark.parametrize("case", ["c1", "c4"])
def test_nms(core, case, kind):
    values = part(core, "nms")
    boxes, scores, classes, want = (
        values[f"{case}_{k}"] for k in ("boxes", "scores", "classes", kind)
    )
    classes = classes * (kind != "nms")
    spread = np.full((1, len(boxes), classes.max() + 1), NEVER, "float32")
    spread[0, np.arange(len(boxes)), classes] = scores
    kept = grouped_nms(boxes[None, :, None], spread, float(values[f"{case}_threshold"]), len(boxes))
    valid = np.asarray(kept.valid)[0]
    assert valid.sum() == len(want) < len(boxes)
    np.testing.assert_array_equal(np.asarray(kept.boxes)[0][valid], boxes[want])
    np.testing.assert_array_equal(np.asarray(kept.groups)[0][valid], classes[want])


@pytest.mark.parametrize("rule, threshold", [("integer_box", None), ("grid_sample", 0.5)])
def test_paste(core, rule, threshold):
    values = part(core, "paste")
    pasted = paste_masks(values["masks"], values["boxes"], (60, 75), rule, threshold)
    assert values[rule].any()
    np.testing.assert_allclose(pasted, values[rule], atol=1e-5)


@pytest.mark.parametrize("system", ANCHORS)
def test_anchors(core, system):
    values = part(core, "anchors")
    generator = AnchorGenerator(ANCHORS[system], (4, 8, 16, 32, 64))
    image, grid = values["image"].tolist(), values["grid"].tolist()
    found = np.concatenate(generator(tuple(image), [tuple(size) for size in grid]))[::41]
    np.testing.assert_allclose(found, values[system], atol=1e-4)


@pytest.mark.parametrize("system", ["", "d2_"])
def test_box_coder(core, system):
    values = part(core, "box_coder")
    deltas = encode(values["gt"], values["anchors"], WEIGHTS)
    np.testing.assert_allclose(deltas, values[f"{system}enc_box"], rtol=1e-5, atol=1e-5)
    boxes = decode(values["deltas"].reshape(10, -1, 4), values["anchors"][:, None], WEIGHTS)
    want = values[f"{system}dec_box"].reshape(10, -1, 4)
    np.testing.assert_allclose(boxes, want, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("system", ["tv", "d2"])
def test_box_postprocess(core, system):
    values = part(core, "box_postprocess")
    (found,) = detect(values, system, rows=(35,))
    boxes, scores, classes = reference(values, system, 0)
    np.testing.assert_array_equal(found["classes"], classes)
    np.testing.assert_allclose(found["scores"], scores, atol=1e-5)
    np.testing.assert_allclose(found["boxes"], boxes, atol=1e-3)


@pytest.mark.parametrize("system", make_tiny.SETTINGS)
def test_whole_path(system):
    """Two tiny models, from a picture to detections in its pixels."""
    want = part(dict(np.load(FILE.with_name("tiny.npz"))), system)
    found = make_tiny.detect(system, int(want["seed"]))
    np.testing.assert_array_equal(found["classes"], want["classes"])
    np.testing.assert_allclose(found["boxes"], want["boxes"], atol=1e-2)
    np.testing.assert_allclose(found["scores"], want["scores"], atol=1e-4)
    np.testing.assert_allclose(found["areas"], want["areas"], atol=3)
