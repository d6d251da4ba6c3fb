"""Trained weights on annotated pictures and a full-size model, in every format and precision."""

import numpy as np
import pytest

import kmrcnn
from kmrcnn.data.images import find_images
from kmrcnn.export import export, verify
from kmrcnn.export.calibration import calibration_canvases
from kmrcnn.export.canvas_predictor import CanvasPredictor
from kmrcnn.export.comparison import Comparison
from kmrcnn.export.onnx import convert, open_file
from kmrcnn.export.onnx_int8 import quantize
from kmrcnn.export.options import ExportOptions
from kmrcnn.export.parser_tables import find_problems
from kmrcnn.export.tolerances import TOLERANCES
from kmrcnn.export.verify import _keras_run
from kmrcnn.models.build import build_model
from kmrcnn.weights.assign import load_tensors
from kmrcnn.weights.sources import SOURCES
from tests.reference_cases import Case

pytestmark = [pytest.mark.slow, pytest.mark.realdata]

NUCLEI_CANVAS = (416, 544)  # holds every picture of the set as the model resizes it
MOST_LOST_AP = {"float32": 1e-3, "float16": 2e-3, "dynamic_int8": 0.01, "int8": 0.01}
ARTEFACTS = [
    ("saved_model", "float32"),
    ("onnx", "float32"),
    ("onnx", "float16"),
    ("tflite", "float32"),
    ("tflite", "float16"),
    ("tflite", "dynamic_int8"),
    ("tflite", "int8"),
]


@pytest.fixture(scope="module")
def nuclei():
    return kmrcnn.load_model("mask_rcnn_nuclei", "bundled")


@pytest.mark.parametrize("format, precision", ARTEFACTS)
def test_trained_model_keeps_its_detections_and_its_ap(
    nuclei, data_dir, tmp_path, format, precision
):
    pictures = data_dir / "nuclei"
    options = {} if format == "saved_model" else {"image_size": NUCLEI_CANVAS}
    if precision == "int8":
        options["calibration_images"] = find_images(pictures / "train" / "images")[::8]
    path = export(nuclei, tmp_path / "a", format=format, precision=precision, **options)
    annotations = pictures / "annotations" / "instances_val.json"
    report = verify(path, nuclei, pictures / "val" / "images", annotations, progress=False)
    print(report)
    assert report.passed, report.failures()
    _check_float32(report.comparison, precision)
    assert report.comparison.num_pictures == 70 and report.comparison.num_reference > 2000
    for name in ("box_ap", "mask_ap"):
        figures = report.average_precisions[name]
        assert figures["keras"] > 0.5
        assert abs(figures["delta"]) <= MOST_LOST_AP[precision]


def test_int8_pairs_for_tensorrt_keep_the_detections(nuclei, data_dir, tmp_path):
    """What TensorRT would compute, computed by ONNX Runtime on a part of the pictures."""
    pictures = data_dir / "nuclei"
    proto = convert(nuclei, ExportOptions(image_size=NUCLEI_CANVAS, batch_size=1), "float32")
    shown = find_images(pictures / "train" / "images")[::8]
    canvases = calibration_canvases(shown, nuclei.config.input, NUCLEI_CANVAS)
    quantized = quantize(proto, canvases, 1)
    assert find_problems(quantized) == []
    (tmp_path / "model.onnx").write_bytes(quantized.SerializeToString())
    run = open_file(tmp_path / "model.onnx")
    found = CanvasPredictor(run, nuclei.config, NUCLEI_CANVAS, 0.0)
    wanted = CanvasPredictor(_keras_run(nuclei), nuclei.config, NUCLEI_CANVAS, 0.0)
    comparison = Comparison(TOLERANCES["int8"], score_floor=0.3)
    for path in find_images(pictures / "val" / "images")[::7]:
        comparison.add(wanted.predict(str(path)), found.predict(str(path)))
    assert comparison.failures() == []


@pytest.mark.parametrize("format", ["saved_model", "onnx", "tflite"])
def test_full_size_model_equals_keras(cases_dir, tmp_path, format):
    """torchvision's Mask R-CNN with the weights of a reference case, on its pictures."""
    case = Case(cases_dir, "tv_full_maskrcnn_resnet50_fpn")
    model = build_model(case.config)
    load_tensors(model, case.tensors, SOURCES[case.source])
    options = {} if format == "saved_model" else {"image_size": _canvas(case)}
    path = export(model, tmp_path / "a", format=format, **options)
    report = verify(path, model, case.images, score_floor=0.0, progress=False)
    print(report)
    assert report.passed, report.failures()
    _check_float32(report.comparison, "float32")


def _canvas(case) -> tuple[int, int]:
    """Multiples of 32 that hold the case's pictures as the model resizes them."""
    from kmrcnn.data.preprocess import canvas_size, network_size

    settings = case.config.input
    sizes = [network_size(image.shape[:2], settings) for image in case.images]
    return canvas_size(tuple(np.max(sizes, axis=0)), settings.pad_multiple)


def _check_float32(comparison, precision) -> None:
    """The limits that are promised, whatever `TOLERANCES` says."""
    if precision == "float32":
        assert comparison.matched == 1.0
        assert comparison.box_difference() <= 0.05
        assert comparison.score_difference() <= 1e-4
        assert not comparison.mask_pixels < 0.999
