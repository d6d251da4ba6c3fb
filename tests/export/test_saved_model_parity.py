"""SavedModels of whole models on photographs: the Keras model's numbers, and torchvision's."""

import numpy as np
import pytest
import tensorflow as tf

import kmrcnn
from kmrcnn.export import export, verify
from kmrcnn.models.build import build_model
from kmrcnn.postprocess.paste_masks import paste_masks
from kmrcnn.weights.assign import load_tensors
from kmrcnn.weights.sources import SOURCES
from tests.export.pictures import encoded
from tests.reference_cases import Case

pytestmark = [pytest.mark.slow, pytest.mark.realdata]


def assert_within_tolerance(comparison):
    print("\n", comparison.to_dict())  # shown with -s
    assert comparison.matched == 1.0
    assert comparison.box_difference() < 0.05
    assert comparison.score_difference() < 1e-4
    assert comparison.mask_pixels >= 0.999


def test_nuclei(data_dir, tmp_path):
    """The way of the network frame, and that of the files."""
    model = kmrcnn.load_model("mask_rcnn_nuclei", "bundled")
    folder = export(model, tmp_path / "model")
    report = verify(folder, model, data_dir / "nuclei" / "val" / "images", limit=10)
    assert report.comparison.num_reference > 100
    assert_within_tolerance(report.comparison)
    assert_within_tolerance(report.files)


@pytest.fixture(scope="module")
def torchvision_case(cases_dir):
    return Case(cases_dir, "tv_full_maskrcnn_resnet50_fpn")


@pytest.fixture(scope="module")
def torchvision_model(torchvision_case):
    model = build_model(torchvision_case.config)
    load_tensors(model, torchvision_case.tensors, SOURCES["torchvision"])
    return model


@pytest.fixture(scope="module")
def torchvision_folder(torchvision_model, tmp_path_factory):
    return export(torchvision_model, tmp_path_factory.mktemp("export") / "model")


def test_maskrcnn_resnet50_fpn(torchvision_case, torchvision_model, torchvision_folder, tmp_path):
    file = tmp_path / "picture.png"
    file.write_bytes(encoded(torchvision_case.images[0]))
    report = verify(torchvision_folder, torchvision_model, [file])
    assert report.comparison.num_reference > 10
    assert_within_tolerance(report.comparison)
    assert_within_tolerance(report.files)


def test_maskrcnn_resnet50_fpn_equals_torchvision(torchvision_case, torchvision_folder):
    """From the bytes of a file to what torchvision found on the picture."""
    case, config = torchvision_case, torchvision_case.config
    loaded = tf.saved_model.load(str(torchvision_folder / "1"))
    found = loaded.signatures["serve_bytes"](image_bytes=[encoded(case.images[0])])
    found = {name: value[0].numpy() for name, value in found.items()}
    boxes, classes = case.output(0, "boxes"), case.output(0, "labels") - 1
    assert found["num_detections"] == len(boxes) == 100
    distance = np.abs(found["boxes"][None] - boxes[:, None]).max(axis=-1)
    distance[found["classes"][None] != classes[:, None]] = np.inf
    order = distance.argmin(axis=1)
    assert sorted(order) == list(range(100))
    assert distance.min(axis=1).max() < 0.05
    np.testing.assert_allclose(found["scores"][order], case.output(0, "scores"), atol=1e-4)
    want = case.output(0, "masks")[:, 0]
    picked = order[: len(want)]
    masks = paste_masks(
        found["masks"][picked], found["boxes"][picked], want.shape[1:], config.mask.paste
    )
    assert want.any() and (masks == want).mean() >= 0.999
