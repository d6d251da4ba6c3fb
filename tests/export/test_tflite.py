"""LiteRT files against the Keras model they come from."""

import dataclasses

import numpy as np
import pytest
from skimage.data import coins

import kmrcnn
from kmrcnn.config.schema import KeypointConfig
from kmrcnn.export import ArtefactPredictor, export
from kmrcnn.export.litert_operators import operators
from kmrcnn.export.tflite import open_artefact
from tests.export.against_keras import (
    CANVAS,
    batch_norms,
    c4,
    check_batches,
    check_export,
    check_unused_slots_are_zero,
    detectron2_like,
    faster_rcnn_of_80_classes,
    parts_of_the_paper,
    pictures_with_an_empty_row,
    torchvision_like,
)
from tests.tiny import tiny_config, tiny_model


@pytest.fixture(scope="module")
def model():
    return tiny_model()


@pytest.fixture(scope="module")
def folder(model, tmp_path_factory):
    path = tmp_path_factory.mktemp("tflite") / "artefact"
    return export(model, path, format="tflite", image_size=CANVAS)


def test_float32_equals_keras(model, folder):
    """One, two and five pictures, one after the other; one is black, one is padding only."""
    found = check_batches(ArtefactPredictor(folder), model)
    assert found["num_detections"][4] == 0
    check_unused_slots_are_zero(found)


def test_operators_are_builtin_and_fast(model, folder):
    """NMS by LiteRT's kernel, nothing from TensorFlow, and every weight once."""
    content = (folder / "model.tflite").read_bytes()
    kinds = {one.kind for one in operators(content)}
    assert "NON_MAX_SUPPRESSION_V4" in kinds and {"CONV_2D", "FULLY_CONNECTED"} <= kinds
    assert not any(kind.startswith(("CUSTOM", "FLEX", "STABLEHLO")) for kind in kinds)
    weights = sum(np.prod(weight.shape) * 4 for weight in model.weights)
    assert len(content) < 1.1 * weights + 300_000  # the graph itself


def test_metadata_says_what_the_file_takes_and_gives(model, folder):
    from ai_edge_litert.interpreter import Interpreter

    metadata = ArtefactPredictor(folder).metadata
    assert metadata["batch_size"] == 1 and metadata["image_size"] == list(CANVAS)
    runner = Interpreter(str(folder / "model.tflite")).get_signature_runner(metadata["signature"])
    for kind, details in (
        ("inputs", runner.get_input_details()),
        ("outputs", runner.get_output_details()),
    ):
        shapes = {name: one["shape"].tolist() for name, one in details.items()}
        assert shapes == {name: spec["shape"] for name, spec in metadata[kind].items()}
        dtypes = {name: np.dtype(one["dtype"]).name for name, one in details.items()}
        assert dtypes == {name: spec["dtype"] for name, spec in metadata[kind].items()}
    slots = model.config.box.max_detections
    assert metadata["outputs"]["boxes"]["shape"] == [1, slots, 4]


def test_number_of_threads_changes_nothing(folder):
    metadata = ArtefactPredictor(folder).metadata
    images, sizes = (values[:1] for values in pictures_with_an_empty_row())
    alone, together = (open_artefact(folder, metadata, n)(images, sizes) for n in (1, 2))
    for name in alone:
        np.testing.assert_allclose(alone[name], together[name], atol=1e-3)


@pytest.mark.parametrize(
    "options, problem",
    [
        ({"batch_size": 2}, "`batch_size` of tflite must be 1"),
        ({"image_size": (100, 128)}, "must be multiples of 32"),
        ({"precision": "int8"}, "needs `calibration_images`"),
        ({"precision": "int8", "calibration_images": []}, "has no pictures"),
        ({"precision": "int4"}, "`precision` of tflite must be one of"),
    ],
)
def test_refused_options(model, tmp_path, options, problem):
    with pytest.raises(ValueError, match=problem):
        export(model, tmp_path / "a", format="tflite", **{"image_size": CANVAS} | options)
    assert not (tmp_path / "a").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [
        detectron2_like,
        torchvision_like,
        faster_rcnn_of_80_classes,
        batch_norms,
        c4,
        parts_of_the_paper,
    ],
)
def test_other_models_equal_keras(changes, tmp_path):
    found, _ = check_export(tmp_path, changes(), (1, 2), format="tflite")
    assert ("masks" in found) == (changes is not faster_rcnn_of_80_classes)


@pytest.mark.slow
def test_thresholds_of_the_export(model, tmp_path):
    path = export(
        model,
        tmp_path / "a",
        format="tflite",
        image_size=CANVAS,
        score_threshold=0.2,
        max_detections=3,
    )
    images, sizes = pictures_with_an_empty_row()
    found = ArtefactPredictor(path).run(images, sizes)
    assert found["scores"].shape == (5, 3) and found["num_detections"][0] == 3
    assert found["scores"][0].min() > 0.2


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["float32", "float16", "dynamic_int8", "int8"])
def test_trained_model_in_every_precision(precision, tmp_path):
    """All coins, none in a black picture, and ever smaller files."""
    model = kmrcnn.load_model("mask_rcnn_r18_coins", "bundled")
    picture = np.repeat(coins()[..., None], 3, axis=-1)
    options = {"calibration_images": [picture]} if precision == "int8" else {}
    path = export(
        model,
        tmp_path / "a",
        format="tflite",
        precision=precision,
        image_size=(256, 352),
        **options,
    )
    report = kmrcnn.export.verify(path, model, [picture], progress=False)
    assert report.passed, report.failures()
    black = np.zeros_like(picture)
    assert len(ArtefactPredictor(path).predict(black)) == 0
    weights = sum(np.prod(weight.shape) * 4 for weight in model.weights)
    share = {"float32": 1.1, "float16": 0.6, "dynamic_int8": 0.35, "int8": 0.35}[precision]
    assert (path / "model.tflite").stat().st_size < share * weights


@pytest.mark.slow
def test_quantized_keypoint_model(tmp_path):
    keypoint = KeypointConfig(num_keypoints=4, num_convs=1, channels=16)
    model = tiny_model(keypoint=keypoint, box=dataclasses.replace(tiny_config().box))
    picture = np.random.default_rng(0).integers(0, 255, (*CANVAS, 3)).astype(np.uint8)
    path = export(
        model,
        tmp_path / "a",
        format="tflite",
        precision="int8",
        image_size=CANVAS,
        calibration_images=[picture],
    )
    found = ArtefactPredictor(path, score_threshold=0.1).predict(picture)
    assert len(found) > 3 and found.keypoints.shape == (len(found), 4, 3)
    x1, y1, x2, y2 = (found.boxes[:, None, side] for side in range(4))
    x, y = found.keypoints[..., 0], found.keypoints[..., 1]
    assert ((x >= x1 - 1) & (x <= x2 + 1) & (y >= y1 - 1) & (y <= y2 + 1)).all()
